//! Bounds of texts and numbers, and the refusals that name the field.

use alloc::format;
use core::{fmt::Display, ops::RangeInclusive};

use hutong_record::{Currency, Money, MoneyError, UnixMillis, proto};

use crate::refusal::{Reason, Refusal};

pub(crate) fn text(field: &str, text: &str, chars: RangeInclusive<usize>) -> Result<(), Refusal> {
    let count = text.chars().count();
    if !chars.contains(&count) {
        return Err(Refusal::field(
            field,
            format!("has {count} characters, not {} to {}", chars.start(), chars.end()),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::field(field, "has control characters"));
    }
    Ok(())
}

pub(crate) fn number<N: PartialOrd + Display>(
    field: &str,
    n: N,
    range: RangeInclusive<N>,
) -> Result<(), Refusal> {
    if range.contains(&n) {
        return Ok(());
    }
    Err(Refusal::field(field, format!("{n} is not within {} to {}", range.start(), range.end())))
}

pub(crate) fn time(field: &str, ms: i64) -> Result<UnixMillis, Refusal> {
    UnixMillis::new(ms).map_err(|e| Refusal::field(field, e))
}

/// An amount of the alliance's currency, not below zero.
pub(crate) fn amount(field: &str, money: &proto::Money, currency: Currency) -> Result<Money, Refusal> {
    let money = Money::non_negative(money).map_err(|e: MoneyError| Refusal::field(field, e))?;
    if money.currency() != currency {
        return Err(Refusal::new(Reason::CurrencyMismatch).with("currency", currency.code()));
    }
    Ok(money)
}

/// The amount, or zero where it is absent.
pub(crate) fn amount_or_zero(
    field: &str,
    m: Option<&proto::Money>,
    currency: Currency,
) -> Result<Money, Refusal> {
    m.map_or(Ok(Money::zero(currency)), |money| amount(field, money, currency))
}
