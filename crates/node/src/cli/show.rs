//! Messages as JSON and as text. JSON has the fields of the protos: ids in hex, times in RFC 3339, durations in seconds
//! with an `s` (as in proto3 JSON), enums as lower-case words, absent messages as null.

use std::collections::BTreeMap;

use hutong_client::{Duration, Language, Timestamp, proto};
use hutong_record::{Currency, UnixMillis};
use serde_json::{Value, json};

use super::output::{fields, table};
use crate::clock;

pub(crate) mod motion;
mod promotion;
mod voucher;

pub(crate) use promotion::{
    offence_json, offences_text, promotion_json, promotion_text, promotions_text, share_json, shares_text,
};
pub(crate) use voucher::{
    qualified_json, qualified_text, redemption_json, voucher_json, voucher_text, vouchers_text,
};

/// An amount for people: `12.50 CNY`.
pub(crate) fn money(money: Option<&proto::Money>) -> String {
    let Some(proto::Money { currency_code, minor }) = money else { return String::new() };
    match currency_code.parse::<Currency>() {
        Ok(currency) => currency.amount_text((*minor).into()),
        Err(_) => format!("{minor} {currency_code}").trim_end().to_owned(),
    }
}

/// A time in UTC.
pub(crate) fn time(time: Option<&Timestamp>) -> String {
    let Some(Timestamp { seconds, nanos }) = time else { return String::new() };
    match jiff::Timestamp::new(*seconds, *nanos) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{seconds}s"),
    }
}

/// A duration as it can be typed.
pub(crate) fn duration(duration: Option<&Duration>) -> String {
    let Some(Duration { seconds, .. }) = duration else { return String::new() };
    for (unit_seconds, unit) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
        if *seconds != 0 && seconds % unit_seconds == 0 {
            return format!("{}{unit}", seconds / unit_seconds);
        }
    }
    format!("{seconds}s")
}

/// The beginning of an id.
pub(crate) fn short(id: &str) -> String {
    id.get(..8).unwrap_or(id).to_owned()
}

/// A name and the beginning of the id, which alone is unique.
pub(crate) fn label(name: &str, id: &str) -> String {
    format!("{name} {}", short(id)).trim_start().to_owned()
}

/// `MEMBER_STATE_PENDING` → `pending`.
pub(crate) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

pub(crate) fn money_json(money: Option<&proto::Money>) -> Value {
    money.map_or(Value::Null, |money| json!({ "currency_code": money.currency_code, "minor": money.minor }))
}

pub(crate) fn time_json(value: Option<&Timestamp>) -> Value {
    value.map_or(Value::Null, |value| time(Some(value)).into())
}

pub(crate) fn duration_json(value: Option<&Duration>) -> Value {
    value.map_or(Value::Null, |value| format!("{}s", value.seconds).into())
}

pub(crate) fn member_state(state: proto::MemberState) -> String {
    word(state.as_str_name(), "MEMBER_STATE_")
}

/// Shops' names by id, so that people read names.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<String, String>);

impl Names {
    /// Of these members.
    pub(crate) fn of(members: Vec<proto::Member>) -> Self {
        Self(members.into_iter().map(|member| (member.shop_id, member.name)).collect())
    }

    /// Name and beginning of the id.
    pub(crate) fn label(&self, id: &str) -> String {
        label(self.0.get(id).map_or("", String::as_str), id)
    }
}

/// An alliance.
pub(crate) fn alliance_json(alliance: &proto::Alliance) -> Value {
    json!({
        "id": alliance.id,
        "name": alliance.name,
        "purpose": alliance.purpose,
        "currency_code": alliance.currency_code,
        "utc_offset_minutes": alliance.utc_offset_minutes,
        "admission_votes": alliance.admission_votes,
        "removal_votes": alliance.removal_votes,
        "late_entry_max": duration_json(alliance.late_entry_max.as_ref()),
        "attribution_window": duration_json(alliance.attribution_window.as_ref()),
        "attribution": alliance.attribution.as_ref().map(attribution_json),
        "settlement": alliance.settlement.as_ref().map(|rules| json!({
            "period_days": rules.period_days,
            "dispute_days": rules.dispute_days,
        })),
        "create_time": time_json(alliance.create_time.as_ref()),
        "own_state": member_state(alliance.own_state()),
        "member_count": alliance.member_count,
        "origin": alliance.origin.as_ref().map(|o| json!({ "alliance_id": o.alliance_id, "motion_id": o.motion_id })),
    })
}

/// Its rules of evidence.
fn attribution_json(rules: &proto::AttributionRules) -> Value {
    json!({
        "paying_model": word(rules.paying_model().as_str_name(), "PAYING_MODEL_"),
        "paying_half_life": duration_json(rules.paying_half_life.as_ref()),
        "hand_out_window": duration_json(rules.hand_out_window.as_ref()),
        "scan_window": duration_json(rules.scan_window.as_ref()),
        "invite_window": duration_json(rules.invite_window.as_ref()),
        "visit_window": duration_json(rules.visit_window.as_ref()),
        "redemption_window": duration_json(rules.redemption_window.as_ref()),
        "purchase_window": duration_json(rules.purchase_window.as_ref()),
        "card_touches_per_hour_max": rules.card_touches_per_hour_max,
        "shop_touches_per_ten_minutes_max": rules.shop_touches_per_ten_minutes_max,
    })
}

/// An alliance, all of it; `announced_until`: this shop's admission is open to objections until then.
pub(crate) fn alliance_text(alliance: &proto::Alliance, announced_until: Option<&Timestamp>) -> String {
    fields([
        ("alliance", alliance.name.clone()),
        ("id", alliance.id.clone()),
        ("purpose", alliance.purpose.clone()),
        ("currency", alliance.currency_code.clone()),
        ("UTC offset", format!("{} min", alliance.utc_offset_minutes)),
        ("votes to admit", alliance.admission_votes.to_string()),
        ("votes to remove", alliance.removal_votes.to_string()),
        ("late entries up to", duration(alliance.late_entry_max.as_ref())),
        ("attribution window", duration(alliance.attribution_window.as_ref())),
        ("settled every", days(alliance.settlement.map(|rules| rules.period_days))),
        ("disputes within", days(alliance.settlement.map(|rules| rules.dispute_days))),
        ("founded", time(alliance.create_time.as_ref())),
        ("this shop", announced_until.map_or_else(|| member_state(alliance.own_state()), announced)),
        ("members", alliance.member_count.to_string()),
    ])
}

fn days(days: Option<u32>) -> String {
    days.map(|days| format!("{days} d")).unwrap_or_default()
}

/// A shop in an alliance.
pub(crate) fn member_json(member: &proto::Member) -> Value {
    json!({
        "shop_id": member.shop_id,
        "name": member.name,
        "category": member.category,
        "addresses": member.addresses,
        "state": member_state(member.state()),
        "core": member.core,
        "record_count": member.record_count,
        "votes": member.votes,
        "admitted_category": member.admitted_category,
        "effective_time": time_json(member.effective_time.as_ref()),
        "strikes": member.strikes,
        "bar": word(member.bar().as_str_name(), "MEMBER_BAR_"),
        "bar_until_time": time_json(member.bar_until_time.as_ref()),
        "dormant": member.dormant,
        "continues_shop_ids": member.continues_shop_ids,
        "continued_by_shop_id": member.continued_by_shop_id,
        "frozen_time": time_json(member.frozen_time.as_ref()),
    })
}

/// Until when a member's admission is open to objections; none: it is not, or not any more.
pub(crate) fn announced_until(member: &proto::Member, now: UnixMillis) -> Option<&Timestamp> {
    let is_ahead = |until: &&Timestamp| {
        until.seconds.saturating_mul(1_000).saturating_add(i64::from(until.nanos / 1_000_000)) > now.ms()
    };
    member.effective_time.as_ref().filter(|_| member.state() == proto::MemberState::Member).filter(is_ahead)
}

/// How a shop stands whose admission is open to objections.
pub(crate) fn announced(until: &Timestamp) -> String {
    format!("announced, open to objections until {}", time(Some(until)))
}

/// How a member stands, with what keeps it from beginning anything new.
fn member_standing(member: &proto::Member, now: UnixMillis) -> String {
    if let Some(until) = announced_until(member, now) {
        return announced(until);
    }
    let state = member_state(member.state());
    match (member.bar(), member.dormant) {
        (proto::MemberBar::Unspecified, false) => state,
        (proto::MemberBar::Unspecified, true) => format!("{state}, dormant"),
        (bar, _) => format!("{state}, {}", word(bar.as_str_name(), "MEMBER_BAR_")),
    }
}

/// Which shops continue others, a line each; empty where none does.
pub(crate) fn continuations_text(language: Language, members: &[proto::Member]) -> String {
    let names = Names::of(members.to_vec());
    let closed = |id: &String| {
        let frozen = members.iter().find(|member| member.shop_id == *id);
        let since = time(frozen.and_then(|member| member.frozen_time.as_ref()));
        match (language, since.is_empty()) {
            (Language::En, true) => format!("{} (voted out)", names.label(id)),
            (Language::Zh, true) => format!("{}（已除名）", names.label(id)),
            (Language::En, false) => format!("{} (frozen since {since})", names.label(id)),
            (Language::Zh, false) => format!("{}（自 {since} 起冻结）", names.label(id)),
        }
    };
    let line = |member: &proto::Member| {
        let old: Vec<_> = member.continues_shop_ids.iter().map(closed).collect();
        let (shop, old) = (names.label(&member.shop_id), old.join(", "));
        let waits = member.state() == proto::MemberState::Pending;
        match (language, waits) {
            (Language::En, true) => format!("{shop}, once it is in, continues {old}"),
            (Language::Zh, true) => format!("{shop} 获准加入后将接续 {old}"),
            (Language::En, false) => format!("{shop} continues {old}"),
            (Language::Zh, false) => format!("{shop} 接续 {old}"),
        }
    };
    let lines = members.iter().filter(|member| !member.continues_shop_ids.is_empty()).map(line);
    lines.collect::<Vec<_>>().join("\n")
}

/// Shops, a line each.
pub(crate) fn members_text(members: &[proto::Member]) -> String {
    let now = clock::now();
    let row = |member: &proto::Member| {
        [
            short(&member.shop_id),
            member.name.clone(),
            member.category.clone(),
            member_standing(member, now),
            if member.core { "yes" } else { "" }.to_owned(),
            if member.votes == 0 { String::new() } else { member.votes.to_string() },
            member.record_count.to_string(),
            member.addresses.join(" "),
        ]
    };
    let header = ["id", "name", "category", "state", "core", "votes", "records", "addresses"];
    table(header, members.iter().map(row).collect())
}

/// This shop's counts.
pub(crate) fn summary_json(summary: &proto::GetSummaryResponse) -> Value {
    let refusal = |one: &proto::RefusalCount| json!({ "reason": one.reason, "count": one.count });
    json!({
        "sales": summary.sales,
        "sales_amount": money_json(summary.sales_amount.as_ref()),
        "vouchers_issued": summary.vouchers_issued,
        "vouchers_used": summary.vouchers_used,
        "vouchers_expired": summary.vouchers_expired,
        "redemptions": summary.redemptions,
        "voids": summary.voids,
        "discounts": money_json(summary.discounts.as_ref()),
        "refusals": summary.refusals.iter().map(refusal).collect::<Vec<_>>(),
        "double_redemptions": summary.double_redemptions,
        "risk_open": money_json(summary.risk_open.as_ref()),
        "risk_lost": money_json(summary.risk_lost.as_ref()),
    })
}

/// This shop and one ally.
pub(crate) fn pair_json(pair: &proto::Pair) -> Value {
    json!({
        "ally_id": pair.ally_id,
        "ally_name": pair.ally_name,
        "vouchers_given": pair.vouchers_given,
        "customers_sent": pair.customers_sent,
        "vouchers_received": pair.vouchers_received,
        "customers_received": pair.customers_received,
        "balance": money_json(pair.balance.as_ref()),
        "state_digest": pair.state_digest,
    })
}

/// The node.
pub(crate) fn status_json(status: &proto::GetStatusResponse) -> Value {
    let link = |link: &proto::Link| {
        json!({
            "shop_id": link.shop_id,
            "shop_name": link.shop_name,
            "connected": link.connected,
            "record_count": link.record_count,
            "last_heard_time": time_json(link.last_heard_time.as_ref()),
            "last_error": link.last_error,
            "standing": link.standing,
            "last_record_time": time_json(link.last_record_time.as_ref()),
            "program_version": link.program_version,
            "logs_behind": link.logs_behind,
            "stale_since_time": time_json(link.stale_since_time.as_ref()),
            "key_epoch": link.key_epoch,
        })
    };
    let alliance = |alliance: &proto::AllianceStatus| {
        json!({
            "alliance_id": alliance.alliance_id,
            "name": alliance.name,
            "record_count": alliance.record_count,
            "journal_bytes": alliance.journal_bytes,
            "views_bytes": alliance.views_bytes,
            "unfolded_count": alliance.unfolded_count,
            "signing_doubt": alliance.signing_doubt,
            "doubtful_until_time": time_json(alliance.doubtful_until_time.as_ref()),
            "own_standing": alliance.own_standing,
            "lost_record_count": alliance.lost_record_count,
            "scrub": alliance.scrub.as_ref().map(scrub_json),
            "damages": alliance.damages.iter().map(damage_json).collect::<Vec<_>>(),
            "set_aside_segments": alliance.set_aside_segments.iter().map(set_aside_json).collect::<Vec<_>>(),
            "duty_count": alliance.duty_count,
            "risk_open": money_json(alliance.risk_open.as_ref()),
            "queued_job_count": alliance.queued_job_count,
            "queued_job_count_max": alliance.queued_job_count_max,
            "clock_ahead_ms": alliance.clock_ahead_ms,
            "key_epoch": alliance.key_epoch,
            "links": alliance.links.iter().map(link).collect::<Vec<_>>(),
        })
    };
    json!({
        "version": status.version,
        "shop_id": status.shop_id,
        "start_time": time_json(status.start_time.as_ref()),
        "peer_address": status.peer_address,
        "alliances": status.alliances.iter().map(alliance).collect::<Vec<_>>(),
        "federation_paused": status.federation_paused,
        "memory_bytes": status.memory_bytes,
        "memory_bytes_peak": status.memory_bytes_peak,
        "open_file_count": status.open_file_count,
        "open_file_count_max": status.open_file_count_max,
        "key_epoch": status.key_epoch,
    })
}

fn scrub_json(scrub: &proto::ScrubStatus) -> Value {
    json!({
        "running": scrub.running,
        "checked_bytes": scrub.checked_bytes,
        "finished_pass": scrub.finished_pass,
        "finish_time": time_json(scrub.finish_time.as_ref()),
        "error": scrub.error,
        "healed_record_count": scrub.healed_record_count,
        "healing_error": scrub.healing_error,
    })
}

/// A damaged place in the journal.
pub(crate) fn damage_json(damage: &proto::JournalDamage) -> Value {
    let lost = |lost: &proto::LostRecords| {
        json!({
            "shop_id": lost.shop_id,
            "from_sequence": lost.from_sequence,
            "to_sequence": lost.to_sequence,
        })
    };
    json!({
        "file": damage.file,
        "offset": damage.offset,
        "byte_count": damage.byte_count,
        "record_count": damage.record_count,
        "lost": damage.lost.iter().map(lost).collect::<Vec<_>>(),
    })
}

fn set_aside_json(segment: &proto::SetAsideSegment) -> Value {
    json!({ "file": segment.file, "byte_count": segment.byte_count })
}

/// Something that happened.
pub(crate) fn event_json(event: &proto::WatchResponse) -> Value {
    json!({
        "resume_token": event.resume_token,
        "type": word(event.r#type().as_str_name(), "EVENT_TYPE_"),
        "record_id": event.record_id,
        "author_id": event.author_id,
        "record_time": time_json(event.record_time.as_ref()),
        "voucher_id": event.voucher_id,
        "promotion_id": event.promotion_id,
        "motion_id": event.motion_id,
    })
}

/// Whether the shop signs, and if not, why.
pub(crate) fn signing(doubt: &str, language: Language) -> &'static str {
    let (en, zh) = match doubt {
        "" => ("yes", "可以签发"),
        "STARTED" => (
            "not yet: members are being asked how far this shop's log goes",
            "暂不签发：正在向成员确认日志末端",
        ),
        "TAIL_TORN" => (
            "not yet: the journal's end was cut, members are being asked",
            "暂不签发：日志尾部曾被截断，正在向成员确认",
        ),
        "TAIL_DAMAGED" => (
            "no: the journal's end is damaged, and members have not told yet how far this shop's log goes",
            "不签发：日志尾部损坏，尚未有足够成员确认本店日志末端",
        ),
        "MOVED" => (
            "no: this folder is a copy or a backup, and members have not told yet how far this shop's log goes",
            "不签发：数据目录是副本或备份，尚未有足够成员确认本店日志末端",
        ),
        "SHARED" => ("no: another copy of this shop signs, too", "不签发：本店的另一份副本也在签发"),
        "KEY_MISSING" => (
            "no: this shop has gone over to keys that this node has not got",
            "不签发：本店已换用新密钥，而本机没有",
        ),
        "FORKED" => {
            ("no: this shop's log has two branches, both signed", "不签发：本店日志出现两个都已签名的分支")
        }
        _ => ("no, for a reason that this program does not know", "不签发，原因未知"),
    };
    match language {
        Language::En => en,
        Language::Zh => zh,
    }
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut shown) = (u128::from(count) * 10, "B");
    for unit in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, shown) = (tenths / 1_024, unit);
    }
    if shown == "B" { format!("{count} B") } else { format!("{}.{} {shown}", tenths / 10, tenths % 10) }
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
