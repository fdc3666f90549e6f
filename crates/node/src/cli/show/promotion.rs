//! Promotions, their numbers, and what was proven against shops, as JSON and as text.

use hutong_client::proto;
use proto::{bounty_terms::Terms as BountyScale, promotion::Benefit};
use serde_json::{Value, json};

use super::{Names, duration, duration_json, money, money_json, short, time, time_json, word};
use crate::cli::output::{fields, table};

/// Names of shops in one line of a table; more make it unreadable.
const SHOPS_IN_A_LINE_MAX: usize = 2;

/// A promotion.
pub(crate) fn promotion_json(promotion: &proto::Promotion) -> Value {
    let (amount_off, percent_off) = match &promotion.benefit {
        Some(Benefit::AmountOff(amount)) => (money_json(Some(amount)), Value::Null),
        Some(Benefit::PercentOff(percent)) => {
            let amount_max = money_json(percent.amount_max.as_ref());
            (Value::Null, json!({ "basis_points": percent.basis_points, "amount_max": amount_max }))
        }
        None => (Value::Null, Value::Null),
    };
    let distributor = |one: &proto::Distributor| json!({ "shop_id": one.shop_id, "quota": one.quota, "issued": one.issued, "owned": one.owned });
    json!({
        "id": promotion.id,
        "funder_id": promotion.funder_id,
        "title": promotion.title,
        "distributors": promotion.distributors.iter().map(distributor).collect::<Vec<_>>(),
        "redeemer_id": promotion.redeemer_id,
        "earn_spend_min": money_json(promotion.earn_spend_min.as_ref()),
        "amount_off": amount_off,
        "percent_off": percent_off,
        "redeem_spend_min": money_json(promotion.redeem_spend_min.as_ref()),
        "start_time": time_json(promotion.start_time.as_ref()),
        "end_time": time_json(promotion.end_time.as_ref()),
        "voucher_validity": duration_json(promotion.voucher_validity.as_ref()),
        "per_card_max": promotion.per_card_max,
        "per_day_max": promotion.per_day_max,
        "budget": money_json(promotion.budget.as_ref()),
        "bounty": money_json(promotion.bounty.as_ref()),
        "card_required": promotion.card_required,
        "ended_time": time_json(promotion.ended_time.as_ref()),
        "mode": mode(promotion.mode()),
        "redeemer_ids": promotion.redeemer_ids,
        "uses": promotion.uses,
        "conditions": promotion.conditions.as_ref().map(conditions_json),
        "risk": promotion.risk.as_ref().map(risk_json),
        "reuse_expired": promotion.reuse_expired,
        "bounty_terms": promotion.bounty_terms.as_ref().map(bounty_json),
        "funding": promotion.funding.iter().map(funding_json).collect::<Vec<_>>(),
    })
}

fn bounty_json(terms: &proto::BountyTerms) -> Value {
    let tiers = |tiers: &proto::BountyTiers| {
        let tier = |tier: &proto::BountyTier| json!({ "from": tier.from, "amount": money_json(tier.amount.as_ref()) });
        tiers.tiers.iter().map(tier).collect::<Vec<_>>()
    };
    let (mut percent, mut by_purchase, mut by_count) = (Value::Null, Value::Null, Value::Null);
    match &terms.terms {
        Some(BountyScale::Percent(one)) => {
            let amount_max = money_json(one.amount_max.as_ref());
            percent = json!({ "basis_points": one.basis_points, "amount_max": amount_max });
        }
        Some(BountyScale::ByPurchase(steps)) => by_purchase = json!(tiers(steps)),
        Some(BountyScale::ByCount(steps)) => by_count = json!(tiers(steps)),
        None => {}
    }
    json!({
        "percent": percent,
        "by_purchase": by_purchase,
        "by_count": by_count,
        "period": word(terms.period().as_str_name(), "BOUNTY_PERIOD_"),
        "per_period_max": money_json(terms.per_period_max.as_ref()),
        "per_card_max": money_json(terms.per_card_max.as_ref()),
        "new_customers_only": terms.new_customers_only,
    })
}

fn funding_json(share: &proto::FundingShare) -> Value {
    json!({ "shop_id": share.shop_id, "basis_points": share.basis_points, "agreed": share.agreed })
}

/// What the credited shop gets.
fn bounty(promotion: &proto::Promotion) -> String {
    let Some(terms) = &promotion.bounty_terms else { return money(promotion.bounty.as_ref()) };
    let tiers = |tiers: &proto::BountyTiers| {
        let tier = |tier: &proto::BountyTier| format!("{} from {}", money(tier.amount.as_ref()), tier.from);
        tiers.tiers.iter().map(tier).collect::<Vec<_>>().join(", ")
    };
    let mut parts = vec![match &terms.terms {
        None => money(promotion.bounty.as_ref()),
        Some(BountyScale::Percent(one)) => {
            format!("{}, up to {}", percent(one.basis_points), money(one.amount_max.as_ref()))
        }
        Some(BountyScale::ByPurchase(steps)) => format!("by purchase in minor units: {}", tiers(steps)),
        Some(BountyScale::ByCount(steps)) => format!("by count: {}", tiers(steps)),
    }];
    if terms.period() != proto::BountyPeriod::Unspecified {
        parts.push(format!("counted by {}", word(terms.period().as_str_name(), "BOUNTY_PERIOD_")));
    }
    let cap =
        |name, cap: &Option<proto::Money>| cap.as_ref().map(|cap| format!("{} a {name}", money(Some(cap))));
    parts.extend(cap("period", &terms.per_period_max));
    parts.extend(cap("card", &terms.per_card_max));
    parts.extend(terms.new_customers_only.then(|| "for new customers only".to_owned()));
    parts.join("; ")
}

fn funding(promotion: &proto::Promotion, names: &Names) -> String {
    let share = |share: &proto::FundingShare| {
        let open = if share.agreed { "" } else { " (has not agreed)" };
        format!("{} {}{open}", names.label(&share.shop_id), percent(share.basis_points))
    };
    promotion.funding.iter().map(share).collect::<Vec<_>>().join("; ")
}

fn percent(basis_points: u32) -> String {
    format!("{}.{:02} %", basis_points / 100, basis_points % 100)
}

pub(super) fn conditions_json(conditions: &proto::Conditions) -> Value {
    let hours = |one: &proto::WeeklyHours| {
        let days: Vec<_> = one.weekdays().map(|day| word(day.as_str_name(), "WEEKDAY_")).collect();
        json!({ "weekdays": days, "from_minute": one.from_minute, "until_minute": one.until_minute })
    };
    json!({
        "from_time": time_json(conditions.from_time.as_ref()),
        "until_time": time_json(conditions.until_time.as_ref()),
        "hours": conditions.hours.iter().map(hours).collect::<Vec<_>>(),
        "categories": conditions.categories,
        "first_visit": conditions.first_visit,
        "in_person_only": conditions.in_person_only,
        "per_card_max": conditions.per_card_max,
        "per_card_day_max": conditions.per_card_day_max,
        "per_day_max": conditions.per_day_max,
        "per_shop_max": conditions.per_shop_max,
        "per_shop_budget": money_json(conditions.per_shop_budget.as_ref()),
        "stackable": conditions.stackable,
        "exclusion_group": conditions.exclusion_group,
    })
}

pub(super) fn risk_json(risk: &proto::RiskTerms) -> Value {
    json!({
        "per_voucher_max": money_json(risk.per_voucher_max.as_ref()),
        "per_shop_max": money_json(risk.per_shop_max.as_ref()),
        "per_day_max": money_json(risk.per_day_max.as_ref()),
        "offline_max": duration_json(risk.offline_max.as_ref()),
    })
}

fn benefit(promotion: &proto::Promotion) -> String {
    match &promotion.benefit {
        Some(Benefit::AmountOff(amount)) => format!("{} off", money(Some(amount))),
        Some(Benefit::PercentOff(percent)) => {
            let (whole, hundredths) = (percent.basis_points / 100, percent.basis_points % 100);
            format!("{whole}.{hundredths:02} % off, at most {}", money(percent.amount_max.as_ref()))
        }
        None => String::new(),
    }
}

/// A promotion, all of it.
pub(crate) fn promotion_text(promotion: &proto::Promotion, names: &Names) -> String {
    let distributors: Vec<_> = promotion.distributors.iter().map(|one| distributor(one, names)).collect();
    let conditions = promotion.conditions.clone().unwrap_or_default();
    fields([
        ("promotion", promotion.title.clone()),
        ("id", promotion.id.clone()),
        ("benefit", benefit(promotion)),
        ("uses of a voucher", count_over(promotion.uses, 1)),
        ("handed out by", distributors.join("; ")),
        ("for a sale from", money(promotion.earn_spend_min.as_ref())),
        ("mode", mode(promotion.mode())),
        ("good at", good_at(promotion, names, usize::MAX)),
        ("on a purchase from", money(promotion.redeem_spend_min.as_ref())),
        ("when", when(&conditions)),
        ("for", conditions.categories.join(", ")),
        ("only", only(&conditions)),
        ("uses at a shop", use_limits(&conditions)),
        ("budget of a shop", money(conditions.per_shop_budget.as_ref())),
        ("together with others", together(&conditions)),
        ("at a shop's own risk", promotion.risk.as_ref().map(risk).unwrap_or_default()),
        ("paid by", names.label(&promotion.funder_id)),
        ("budget", money(promotion.budget.as_ref())),
        ("bounty", bounty(promotion)),
        ("borne by", funding(promotion, names)),
        ("from", time(promotion.start_time.as_ref())),
        ("to", time(promotion.end_time.as_ref())),
        ("ended early", time(promotion.ended_time.as_ref())),
        ("voucher good for", duration(promotion.voucher_validity.as_ref())),
        ("per card", limit(promotion.per_card_max)),
        ("per day", limit(promotion.per_day_max)),
        ("card", if promotion.card_required { "required" } else { "not required" }.to_owned()),
        ("expired numbers", if promotion.reuse_expired { "handed out again" } else { "" }.to_owned()),
    ])
}

fn distributor(one: &proto::Distributor, names: &Names) -> String {
    let issued = if one.issued == 0 { String::new() } else { format!(", {} handed out", one.issued) };
    let moved = if one.owned == one.quota { String::new() } else { format!(" (now {})", one.owned) };
    format!("{} up to {}{moved}{issued}", names.label(&one.shop_id), one.quota)
}

fn limit(count: u32) -> String {
    if count == 0 { "no limit".to_owned() } else { count.to_string() }
}

/// A number that is worth a word only above another.
fn count_over(count: u32, usual: u32) -> String {
    if count <= usual { String::new() } else { count.to_string() }
}

/// `VOUCHER_MODE_ANYWHERE` → `anywhere`; absent means designated.
pub(super) fn mode(mode: proto::VoucherMode) -> String {
    match mode {
        proto::VoucherMode::Unspecified => mode_word(proto::VoucherMode::Designated),
        mode => mode_word(mode),
    }
}

fn mode_word(mode: proto::VoucherMode) -> String {
    word(mode.as_str_name(), "VOUCHER_MODE_")
}

/// Where vouchers are used, in so many shops' names at most.
fn good_at(promotion: &proto::Promotion, names: &Names, most: usize) -> String {
    if promotion.mode() == proto::VoucherMode::Leased {
        return "the shop that handed it out".to_owned();
    }
    let all = [&promotion.redeemer_id].into_iter().chain(&promotion.redeemer_ids);
    let mut shops: Vec<_> = all.filter(|id| !id.is_empty()).map(|id| names.label(id)).collect();
    let more = shops.len().saturating_sub(most);
    shops.truncate(most);
    if more > 0 { format!("{} and {more} more", shops.join("; ")) } else { shops.join("; ") }
}

fn when(conditions: &proto::Conditions) -> String {
    let from = conditions.from_time.as_ref().map(|at| format!("from {}", time(Some(at))));
    let until = conditions.until_time.as_ref().map(|at| format!("until {}", time(Some(at))));
    let hours = conditions.hours.iter().map(hours);
    from.into_iter().chain(until).chain(hours).collect::<Vec<_>>().join("; ")
}

/// As it can be typed: `mon,tue 11:00-14:00`.
fn hours(hours: &proto::WeeklyHours) -> String {
    let day = |day: proto::Weekday| word(day.as_str_name(), "WEEKDAY_").chars().take(3).collect::<String>();
    let days: Vec<_> = hours.weekdays().map(day).collect();
    let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!("{} {}-{}", days.join(","), clock(hours.from_minute), clock(hours.until_minute))
}

fn only(conditions: &proto::Conditions) -> String {
    let words = [(conditions.first_visit, "on a first visit"), (conditions.in_person_only, "in person")];
    words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
}

fn use_limits(conditions: &proto::Conditions) -> String {
    let limits = [
        (conditions.per_card_max, "a card"),
        (conditions.per_card_day_max, "a card and day"),
        (conditions.per_day_max, "a day"),
        (conditions.per_shop_max, "in all"),
    ];
    let said = limits.iter().filter(|(count, _)| *count > 0).map(|(count, of)| format!("{count} {of}"));
    said.collect::<Vec<_>>().join(", ")
}

fn together(conditions: &proto::Conditions) -> String {
    let stackable = conditions.stackable.then(|| "yes".to_owned());
    let group = Some(&conditions.exclusion_group).filter(|group| !group.is_empty());
    let excluded = group.map(|group| format!("not with others of {group}"));
    stackable.into_iter().chain(excluded).collect::<Vec<_>>().join(", ")
}

fn risk(risk: &proto::RiskTerms) -> String {
    format!(
        "{} a voucher, {} a day, {} in all, within {} offline",
        money(risk.per_voucher_max.as_ref()),
        money(risk.per_day_max.as_ref()),
        money(risk.per_shop_max.as_ref()),
        duration(risk.offline_max.as_ref())
    )
}

/// Promotions, a line each.
pub(crate) fn promotions_text(promotions: &[proto::Promotion], names: &Names) -> String {
    let row = |promotion: &proto::Promotion| {
        let end = promotion.ended_time.as_ref().or(promotion.end_time.as_ref());
        [
            short(&promotion.id),
            promotion.title.clone(),
            benefit(promotion),
            promotion.distributors.len().to_string(),
            good_at(promotion, names, SHOPS_IN_A_LINE_MAX),
            time(promotion.start_time.as_ref()),
            time(end),
        ]
    };
    let header = ["id", "title", "benefit", "distributors", "good at", "from", "to"];
    table(header, promotions.iter().map(row).collect())
}

/// Consecutive numbers with one owner.
pub(crate) fn share_json(share: &proto::Share) -> Value {
    json!({
        "distributor_id": share.distributor_id,
        "owner_id": share.owner_id,
        "first_number": share.first_number,
        "last_number": share.last_number,
        "move_id": share.move_id,
    })
}

/// Whose numbers they are, a line for each stretch.
pub(crate) fn shares_text(shares: &[proto::Share], names: &Names) -> String {
    let row = |share: &proto::Share| {
        [
            names.label(&share.owner_id),
            format!("{}-{}", share.first_number, share.last_number),
            (share.last_number - share.first_number + 1).to_string(),
            names.label(&share.distributor_id),
            short(&share.move_id),
        ]
    };
    table(["owner", "numbers", "count", "at first of", "moved by"], shares.iter().map(row).collect())
}

/// What a shop was proven to have done.
pub(crate) fn offence_json(offence: &proto::Offence) -> Value {
    json!({
        "id": offence.id,
        "liable_id": offence.liable_id,
        "kind": word(offence.kind().as_str_name(), "OFFENCE_KIND_"),
        "voucher_id": offence.voucher_id,
        "promotion_id": offence.promotion_id,
        "charge": money_json(offence.charge.as_ref()),
    })
}

/// Offences, a line each.
pub(crate) fn offences_text(offences: &[proto::Offence], names: &Names) -> String {
    let what = |kind| match kind {
        proto::OffenceKind::NumberTwice => "two vouchers under one number",
        proto::OffenceKind::PastQuota => "a number past the quota",
        proto::OffenceKind::PassedTwice => "one right passed to two shops",
        proto::OffenceKind::RiskLost => "taken at risk, used elsewhere by right",
        proto::OffenceKind::Unspecified => "",
    };
    let row = |offence: &proto::Offence| {
        [
            names.label(&offence.liable_id),
            what(offence.kind()).to_owned(),
            offence.voucher_id.clone(),
            money(offence.charge.as_ref()),
        ]
    };
    table(["shop", "did", "voucher", "owes the funder"], offences.iter().map(row).collect())
}
