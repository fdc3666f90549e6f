//! Vouchers as JSON and as text.

use hutong_client::proto;
use serde_json::{Value, json};

use super::{Names, label, money, money_json, promotion::mode, time, time_json, word};
use crate::cli::output::{fields, table};

/// A voucher.
pub(crate) fn voucher_json(voucher: &proto::Voucher) -> Value {
    json!({
        "id": voucher.id,
        "promotion_id": voucher.promotion_id,
        "promotion_title": voucher.promotion_title,
        "distributor_id": voucher.distributor_id,
        "redeemer_id": voucher.redeemer_id,
        "funder_id": voucher.funder_id,
        "card_id": voucher.card_id,
        "issue_time": time_json(voucher.issue_time.as_ref()),
        "expire_time": time_json(voucher.expire_time.as_ref()),
        "state": voucher_state(voucher),
        "qr_text": voucher.qr_text,
        "code": voucher.code,
        "redeem_time": time_json(voucher.redeem_time.as_ref()),
        "holder_id": voucher.holder_id,
        "uses": voucher.uses,
        "uses_left": voucher.uses_left,
        "revoke_time": time_json(voucher.revoke_time.as_ref()),
        "round": voucher.round,
        "mode": mode(voucher.mode()),
        "reserve_expire_time": time_json(voucher.reserve_expire_time.as_ref()),
    })
}

/// How it stands; nothing where the answer does not tell.
fn voucher_state(voucher: &proto::Voucher) -> String {
    match voucher.state() {
        proto::VoucherState::Unspecified => String::new(),
        state => word(state.as_str_name(), "VOUCHER_STATE_"),
    }
}

/// Where it can be used.
fn good_at(voucher: &proto::Voucher, names: &Names) -> String {
    let holder = if voucher.holder_id.is_empty() { &voucher.redeemer_id } else { &voucher.holder_id };
    match (voucher.mode(), holder.as_str()) {
        (proto::VoucherMode::Anywhere, "") => "anywhere".to_owned(),
        (proto::VoucherMode::Anywhere, holder) => format!("anywhere, held by {}", names.label(holder)),
        (_, holder) => names.label(holder),
    }
}

/// Worth a word only where there is more than one.
fn uses_left(voucher: &proto::Voucher) -> String {
    match voucher.uses_left {
        Some(left) if voucher.uses > 1 => format!("{left} of {}", voucher.uses),
        _ => String::new(),
    }
}

/// A voucher, all of it.
pub(crate) fn voucher_text(voucher: &proto::Voucher, names: &Names) -> String {
    fields([
        ("voucher", voucher.id.clone()),
        ("state", voucher_state(voucher)),
        ("promotion", label(&voucher.promotion_title, &voucher.promotion_id)),
        ("handed out by", names.label(&voucher.distributor_id)),
        ("good at", good_at(voucher, names)),
        ("uses left", uses_left(voucher)),
        ("card", voucher.card_id.clone()),
        ("issued", time(voucher.issue_time.as_ref())),
        ("good until", time(voucher.expire_time.as_ref())),
        ("redeemed", time(voucher.redeem_time.as_ref())),
        ("kept free until", time(voucher.reserve_expire_time.as_ref())),
        ("taken back", time(voucher.revoke_time.as_ref())),
        ("code", voucher.code.clone()),
        ("QR text", voucher.qr_text.clone()),
    ])
}

/// Vouchers, a line each.
pub(crate) fn vouchers_text(vouchers: &[proto::Voucher], names: &Names) -> String {
    let row = |voucher: &proto::Voucher| {
        [
            voucher.id.clone(),
            voucher.promotion_title.clone(),
            voucher_state(voucher),
            good_at(voucher, names),
            time(voucher.expire_time.as_ref()),
            voucher.code.clone(),
        ]
    };
    table(
        ["voucher", "promotion", "state", "good at", "good until", "code"],
        vouchers.iter().map(row).collect(),
    )
}

/// A redemption.
pub(crate) fn redemption_json(request_id: &str, answer: &proto::RedeemVoucherResponse) -> Value {
    json!({
        "request_id": request_id,
        "redemption_id": answer.redemption_id,
        "voucher": answer.voucher.as_ref().map(voucher_json),
        "discount": money_json(answer.discount.as_ref()),
        "credited_id": answer.credited_id,
        "bounty": money_json(answer.bounty.as_ref()),
        "uses_left": answer.uses_left,
        "at_risk": answer.at_risk,
    })
}

/// What one voucher would do. Of `applies` and `refused` one is null.
pub(crate) fn qualified_json(qualified: &proto::QualifiedVoucher) -> Value {
    use proto::qualified_voucher::Outcome;
    let (applies, refused) = match &qualified.outcome {
        Some(Outcome::Applies(applies)) => (applies_json(applies), Value::Null),
        Some(Outcome::Refused(refused)) => (Value::Null, refused_json(refused)),
        None => (Value::Null, Value::Null),
    };
    json!({
        "voucher_id": qualified.voucher_id,
        "promotion_title": qualified.promotion_title,
        "applies": applies,
        "refused": refused,
    })
}

fn applies_json(applies: &proto::VoucherApplies) -> Value {
    json!({
        "discount": money_json(applies.discount.as_ref()),
        "eligible": money_json(applies.eligible.as_ref()),
        "needs_confirmation": applies.needs_confirmation,
    })
}

fn refused_json(refused: &proto::VoucherRefused) -> Value {
    let metadata: std::collections::BTreeMap<_, _> = refused.metadata.iter().collect();
    json!({ "reason": refused.reason, "message": refused.message, "metadata": metadata })
}

/// What vouchers would do, a line each.
pub(crate) fn qualified_text(vouchers: &[proto::QualifiedVoucher]) -> String {
    use proto::qualified_voucher::Outcome;
    let row = |one: &proto::QualifiedVoucher| {
        let (discount, why) = match &one.outcome {
            Some(Outcome::Applies(applies)) if applies.needs_confirmation => {
                (money(applies.discount.as_ref()), "if its home agrees".to_owned())
            }
            Some(Outcome::Applies(applies)) => (money(applies.discount.as_ref()), String::new()),
            Some(Outcome::Refused(refused)) => {
                (String::new(), format!("{} [{}]", refused.message, refused.reason))
            }
            None => Default::default(),
        };
        [one.voucher_id.clone(), one.promotion_title.clone(), discount, why]
    };
    table(["voucher", "promotion", "takes off", "but"], vouchers.iter().map(row).collect())
}
