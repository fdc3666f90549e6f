//! What a redeemer may accept at its own risk while a voucher's home cannot be asked.

use hutong_record::{Currency, Money, proto};

use crate::{bounds, refusal::Refusal};

const OFFLINE_MS_MIN: i64 = 60_000;
const OFFLINE_MS_MAX: i64 = 30 * 86_400_000;

/// Caps of what is accepted at risk. A use that turns out to be a second one is the loss of whoever accepted it, so
/// no shop loses more than its cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RiskTerms {
    /// The largest discount of one voucher.
    pub per_voucher_max: Money,
    /// All discounts of one redeemer that are open or lost.
    pub per_shop_max: Money,
    /// All discounts that one redeemer accepts at risk on one day.
    pub per_day_max: Money,
    /// How long a redeemer may have been cut off.
    pub offline_ms_max: i64,
}

impl RiskTerms {
    pub(super) fn parse(message: &proto::RiskTerms, currency: Currency) -> Result<Self, Refusal> {
        let amount = |field, money: Option<&proto::Money>| {
            let money = money.ok_or_else(|| Refusal::field(field, "is missing"))?;
            bounds::amount(field, money, currency)
        };
        bounds::number("risk.offline_ms_max", message.offline_ms_max, OFFLINE_MS_MIN..=OFFLINE_MS_MAX)?;
        Ok(Self {
            per_voucher_max: amount("risk.per_voucher_max", message.per_voucher_max.as_ref())?,
            per_shop_max: amount("risk.per_shop_max", message.per_shop_max.as_ref())?,
            per_day_max: amount("risk.per_day_max", message.per_day_max.as_ref())?,
            offline_ms_max: message.offline_ms_max,
        })
    }
}
