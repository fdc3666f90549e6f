//! Rules and motions, as the command line shows them.

use hutong_client::proto;
use serde_json::{Value, json};

use super::{Names, duration, duration_json, short, time, time_json, word};
use crate::cli::output::{fields, table};

fn governance_json(rules: &proto::Governance) -> Value {
    json!({
        "admission_votes": rules.admission_votes,
        "removal_votes": rules.removal_votes,
        "amendment_votes": rules.amendment_votes,
        "amendment_percent": rules.amendment_percent,
        "admission_sponsors": rules.admission_sponsors,
        "objection_period": duration_json(rules.objection_period.as_ref()),
        "objection_votes": rules.objection_votes,
        "dormancy_days": rules.dormancy_days,
        "category_shops": rules.category_shops,
        "strike_votes": rules.strike_votes,
        "strike_limit": rules.strike_limit,
        "strike_days": rules.strike_days,
        "suspension_days": rules.suspension_days,
        "appeal_days": rules.appeal_days,
        "season_end_time": time_json(rules.season_end_time.as_ref()),
    })
}

/// The rules that are named, as name and value.
fn governance_fields(rules: &proto::Governance) -> Vec<(&'static str, String)> {
    let count = |name, value: Option<u32>| value.map(|value| (name, value.to_string()));
    let named = [
        count("votes to admit", rules.admission_votes),
        count("votes to remove", rules.removal_votes),
        count("votes to change rules", rules.amendment_votes),
        count("percent to change rules", rules.amendment_percent),
        count("sponsors", rules.admission_sponsors),
        rules.objection_period.as_ref().map(|period| ("open to objections", duration(Some(period)))),
        count("objections that stop", rules.objection_votes),
        count("dormant after days", rules.dormancy_days),
        count("shops of one trade", rules.category_shops),
        count("votes to strike", rules.strike_votes),
        count("strikes that suspend", rules.strike_limit),
        count("days of a strike", rules.strike_days),
        count("days of suspension", rules.suspension_days),
        count("days to appeal", rules.appeal_days),
        rules.season_end_time.as_ref().map(|end| ("season ends", time(Some(end)))),
    ];
    named.into_iter().flatten().collect()
}

/// The rules in force.
pub(crate) fn rules_json(told: &proto::GetGovernanceResponse) -> Value {
    let limit =
        |limit: &proto::CategoryLimit| json!({ "category": limit.category, "shops_max": limit.shops_max });
    json!({
        "governance": told.governance.as_ref().map(governance_json),
        "amendment_id": told.amendment_id,
        "category_limits": told.category_limits.iter().map(limit).collect::<Vec<_>>(),
        "season": told.season,
        "season_over": told.season_over,
    })
}

/// The rules in force, one a line.
pub(crate) fn rules_text(told: &proto::GetGovernanceResponse) -> String {
    let mut rows = told.governance.as_ref().map(governance_fields).unwrap_or_default();
    let limits = told.category_limits.iter().map(|l| format!("{} {}", l.category, l.shops_max));
    let over = if told.season_over { " (over)" } else { "" };
    rows.push(("limits of trades", limits.collect::<Vec<_>>().join(", ")));
    rows.push(("season", format!("{}{over}", told.season)));
    rows.push(("amended by", told.amendment_id.clone()));
    fields(rows)
}

/// A motion.
pub(crate) fn motion_json(motion: &proto::Motion) -> Value {
    json!({
        "id": motion.id,
        "state": word(motion.state().as_str_name(), "MOTION_STATE_"),
        "decide_time": time_json(motion.decide_time.as_ref()),
        "for": motion.for_shop_ids,
        "against": motion.against_shop_ids,
        "votes_needed": motion.votes_needed,
        "proposer_id": motion.proposer_id,
        "propose_time": time_json(motion.propose_time.as_ref()),
        "content": motion.content.as_ref().map(content_json),
    })
}

fn content_json(content: &proto::motion::Content) -> Value {
    use proto::motion::Content;
    match content {
        Content::Admission(m) => {
            json!({ "admission": {
                "shop_id": m.shop_id, "core": m.core, "category": m.category,
                "continues_shop_id": m.continues_shop_id,
            } })
        }
        Content::Removal(m) => json!({ "removal": {
            "shop_id": m.shop_id, "last_sequence": m.last_sequence, "reason": m.reason,
        } }),
        Content::Amendment(m) => {
            json!({ "amendment": { "change": m.change.as_ref().map(governance_json), "reason": m.reason } })
        }
        Content::CoreChange(m) => {
            json!({ "core_change": { "shop_id": m.shop_id, "core": m.core, "reason": m.reason } })
        }
        Content::CategoryLimit(m) => {
            json!({ "category_limit": { "category": m.category, "shops_max": m.shops_max } })
        }
        Content::Strike(m) => json!({ "strike": {
            "shop_id": m.shop_id,
            "cause": word(m.cause().as_str_name(), "STRIKE_CAUSE_"),
            "evidence_id": m.evidence_id,
            "reason": m.reason,
            "appeal": m.appeal,
        } }),
        Content::Annulment(m) => json!({ "annulment": { "strike_id": m.strike_id } }),
        Content::Renewal(m) => {
            json!({ "renewal": { "season": m.season, "end_time": time_json(m.end_time.as_ref()) } })
        }
        Content::Split(m) => {
            json!({ "split": { "name": m.name, "shop_ids": m.shop_ids, "reason": m.reason } })
        }
    }
}

/// Motions, a line each.
pub(crate) fn motions_text(motions: &[proto::Motion], names: &Names) -> String {
    let row = |motion: &proto::Motion| {
        [
            short(&motion.id),
            word(motion.state().as_str_name(), "MOTION_STATE_"),
            format!("{}/{}", motion.for_shop_ids.len(), motion.votes_needed),
            motion.against_shop_ids.len().to_string(),
            names.label(&motion.proposer_id),
            time(motion.decide_time.as_ref()),
            motion.content.as_ref().map(|content| says(content, names)).unwrap_or_default(),
        ]
    };
    let header = ["id", "state", "for/needed", "against", "proposed by", "decided", "what"];
    table(header, motions.iter().map(row).collect())
}

/// A motion in a few words.
fn says(content: &proto::motion::Content, names: &Names) -> String {
    use proto::motion::Content;
    let shop = |id: &str| names.label(id);
    match content {
        Content::Admission(m) => {
            let core = if m.core { " as a core member" } else { "" };
            let text = format!("let {} in{core} {}", shop(&m.shop_id), m.category);
            match m.continues_shop_id.as_str() {
                "" => text.trim_end().to_owned(),
                old => format!("{}, says to continue {}", text.trim_end(), shop(old)),
            }
        }
        Content::Removal(m) => format!("remove {}: {}", shop(&m.shop_id), m.reason),
        Content::Amendment(m) => {
            let fields = m.change.as_ref().map(governance_fields).unwrap_or_default();
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
            format!("rules: {}", fields.join(", "))
        }
        Content::CoreChange(m) if m.core => format!("make {} a core member", shop(&m.shop_id)),
        Content::CoreChange(m) => format!("make {} an ordinary member", shop(&m.shop_id)),
        Content::CategoryLimit(m) => format!("let {} shops of {} in", m.shops_max, m.category),
        Content::Strike(m) => {
            let cause = word(m.cause().as_str_name(), "STRIKE_CAUSE_");
            let appeal = if m.appeal.is_empty() { String::new() } else { format!("; appeal: {}", m.appeal) };
            format!("strike {} ({cause}): {}{appeal}", shop(&m.shop_id), m.reason)
        }
        Content::Annulment(m) => format!("annul strike {}", short(&m.strike_id)),
        Content::Renewal(m) => format!("season {} until {}", m.season, time(m.end_time.as_ref())),
        Content::Split(m) => {
            let shops: Vec<_> = m.shop_ids.iter().map(|id| shop(id)).collect();
            format!("split off {}: {}", m.name, shops.join(", "))
        }
    }
}
