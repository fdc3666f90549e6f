//! Merchant messages to and from what the rules speak of. Parsing checks form and names the field that is wrong;
//! whether a thing is allowed, the rules decide.

use hutong_core::{
    answer::RequestTag,
    promotion::{Purchase, PurchaseLine},
    refusal::Refusal,
    voucher::Presented,
};
use hutong_record::{
    AllianceId, CardId, Currency, Money, MoneyError, RecordId, ShopId, UnixMillis, proto as record,
    request_hash,
};
use prost_types::Timestamp;

use crate::merchant::v1 as merchant;

mod activity;
mod bounty;
mod governance;
mod promotion;
mod report;
mod settlement;
mod voucher;

pub use activity::{activity_message, booking_kind, credit_model, reciprocity_message, span};
pub use bounty::{attribution_rules, attribution_rules_message, channel_message};
pub use governance::{
    Proposal, bar_message, governance, governance_message, motion_id, motion_id_or_none, motion_message,
    motion_text, origin, origin_message, proposal,
};
pub use promotion::{promotion, promotion_message};
pub use report::{offence_message, share_message};
pub use settlement::{
    Sides, credit_line_message, differences_message, dispute_reason, exposure_message, line_message,
    payment_message, receipt_answer, run_message, settlement_rules, settlement_rules_message,
    statement_message,
};
pub use voucher::{handed_out_message, qualified_message, redeemed_message, token_message, voucher_message};

type Parsed<T> = Result<T, Refusal>;

/// Milliseconds in the longest duration that is read: a thousand years.
const DURATION_MS_MAX: i64 = 1_000 * 366 * 86_400_000;

/// The tag of a request: its id, and the hash of method and body.
pub fn request_tag(id: &str, method: &str, message: &impl prost::Message) -> Parsed<RequestTag> {
    let mut bytes = method.as_bytes().to_vec();
    bytes.push(0);
    bytes.extend(message.encode_to_vec());
    let tag = RequestTag { id: id.into(), hash: request_hash(&bytes) };
    tag.check().map(|()| tag)
}

/// A moment.
pub fn time(field: &str, time: &Timestamp) -> Parsed<UnixMillis> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let nanos = nanos.ok_or_else(|| Refusal::field(field, "nanos are not within 0 to 999,999,999"))?;
    let ms = time.seconds.checked_mul(1_000).and_then(|ms| ms.checked_add(i64::from(nanos / 1_000_000)));
    let ms = ms.ok_or_else(|| Refusal::field(field, "is beyond the year 9999"))?;
    UnixMillis::new(ms).map_err(|e| Refusal::field(field, e))
}

/// A moment, or the given one where it is absent.
pub fn time_or(field: &str, at: Option<&Timestamp>, default: UnixMillis) -> Parsed<UnixMillis> {
    at.map_or(Ok(default), |at| time(field, at))
}

/// A moment, where there is one.
pub fn optional_time(field: &str, at: Option<&Timestamp>) -> Parsed<Option<UnixMillis>> {
    at.map(|at| time(field, at)).transpose()
}

/// A moment as a message.
pub fn timestamp(at: UnixMillis) -> Timestamp {
    let nanos = i32::try_from(at.ms() % 1_000 * 1_000_000).expect("below a thousand million");
    Timestamp { seconds: at.ms() / 1_000, nanos }
}

/// A span of time in milliseconds, not negative.
pub fn duration_ms(field: &str, duration: &prost_types::Duration) -> Parsed<i64> {
    let ms = duration
        .seconds
        .checked_mul(1_000)
        .and_then(|ms| ms.checked_add(i64::from(duration.nanos / 1_000_000)));
    match ms {
        Some(ms) if (0..=DURATION_MS_MAX).contains(&ms) => Ok(ms),
        _ => Err(Refusal::field(field, "is negative, or longer than a thousand years")),
    }
}

/// A span of time as a message.
pub fn duration(ms: i64) -> prost_types::Duration {
    let nanos = i32::try_from(ms % 1_000 * 1_000_000).expect("below a thousand million");
    prost_types::Duration { seconds: ms / 1_000, nanos }
}

/// An amount, not below zero; without a currency it is in the alliance's.
pub fn money(field: &str, message: Option<&merchant::Money>, currency: Currency) -> Parsed<Money> {
    let message = message.ok_or_else(|| Refusal::field(field, "is missing"))?;
    let currency = match message.currency_code.as_str() {
        "" => currency,
        code => code.parse().map_err(|e: MoneyError| Refusal::field(field, e))?,
    };
    let money = Money::new(currency, message.minor).map_err(|e| Refusal::field(field, e))?;
    if money.minor() < 0 { Err(Refusal::field(field, MoneyError::Negative)) } else { Ok(money) }
}

/// An amount as a message.
pub fn money_message(money: Money) -> merchant::Money {
    minor_message(money.minor().into(), money.currency())
}

/// A sum as a message; sums beyond an `i64` are not reached in the lifetime of a street.
pub fn minor_message(minor: i128, currency: Currency) -> merchant::Money {
    let minor = i64::try_from(minor).unwrap_or(if minor < 0 { i64::MIN } else { i64::MAX });
    merchant::Money { currency_code: currency.code().into(), minor }
}

/// A card, or none where the text is empty.
pub fn card(field: &str, text: &str) -> Parsed<Option<CardId>> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Refusal::field(field, "a card has 32 hex digits")),
    }
}

/// A shop's id.
pub fn shop(field: &str, text: &str) -> Parsed<ShopId> {
    text.parse().map_err(|e| Refusal::field(field, e))
}

/// A shop's id, or none where the text is empty.
pub fn shop_or_none(field: &str, text: &str) -> Parsed<Option<ShopId>> {
    if text.is_empty() { Ok(None) } else { shop(field, text).map(Some) }
}

/// A record's id.
pub fn record_id(field: &str, text: &str) -> Parsed<RecordId> {
    text.parse().map_err(|e| Refusal::field(field, e))
}

/// An alliance's id, or none where the text is empty.
pub fn alliance(field: &str, text: &str) -> Parsed<Option<AllianceId>> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|e| Refusal::field(field, e)),
    }
}

/// What a customer buys. Whether the lines fit the total, the rules check.
pub fn purchase(
    total: Option<&merchant::Money>,
    lines: &[merchant::PurchaseLine],
    id: &str,
    currency: Currency,
) -> Parsed<Purchase> {
    let line = |line: &merchant::PurchaseLine| {
        let amount = money("lines.amount", line.amount.as_ref(), currency)?;
        Ok(PurchaseLine { category: line.category.clone(), amount })
    };
    Ok(Purchase {
        lines: lines.iter().map(line).collect::<Parsed<_>>()?,
        id: id.into(),
        ..Purchase::of(money("purchase", total, currency)?)
    })
}

/// What a customer shows; text that is no voucher's is none.
pub fn presented(text: &str) -> Option<Presented> {
    text.parse().ok()
}

/// How a customer was sent.
pub fn touch_kind(kind: merchant::TouchKind) -> record::TouchKind {
    match kind {
        merchant::TouchKind::Scan => record::TouchKind::Scan,
        merchant::TouchKind::Invite => record::TouchKind::Invite,
        merchant::TouchKind::Visit => record::TouchKind::Visit,
        merchant::TouchKind::Unspecified => record::TouchKind::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(parsed: Parsed<impl std::fmt::Debug>) -> String {
        parsed.unwrap_err().fact("field").expect("a field is named").into()
    }

    #[test]
    fn times_out_of_range_are_refused() {
        for bad in [
            Timestamp { seconds: -1, nanos: 0 },
            Timestamp { seconds: 0, nanos: -1 },
            Timestamp { seconds: 0, nanos: 2_000_000_000 },
            Timestamp { seconds: i64::MAX, nanos: 0 },
            Timestamp { seconds: 253_402_300_800, nanos: 0 },
        ] {
            assert_eq!(refused(time("sale_time", &bad)), "sale_time", "{bad:?}");
        }
        let last = Timestamp { seconds: 253_402_300_799, nanos: 999_999_999 };
        assert_eq!(time("t", &last), Ok(UnixMillis::MAX));
        assert_eq!(time("t", &timestamp(UnixMillis::MAX)), Ok(UnixMillis::MAX));
    }

    #[test]
    fn amounts_are_not_negative_and_in_a_currency() {
        let parse = |code: &str, minor| {
            money("amount", Some(&merchant::Money { currency_code: code.into(), minor }), Currency::CNY)
        };
        assert_eq!(parse("", 5), Ok(Money::new(Currency::CNY, 5).unwrap()));
        assert_eq!(refused(parse("CNY", -1)), "amount");
        assert_eq!(refused(parse("yuan", 1)), "amount");
        assert_eq!(refused(parse("CNY", i64::MAX)), "amount");
        assert_eq!(refused(money("amount", None, Currency::CNY)), "amount");
    }

    #[test]
    fn a_purchase_names_the_part_that_is_wrong() {
        let money = |minor| Some(merchant::Money { currency_code: String::new(), minor });
        let line = |amount| merchant::PurchaseLine { category: "fruit".into(), amount };
        let parse = |total, amount| purchase(money(total).as_ref(), &[line(amount)], "p-1", Currency::CNY);
        let good = parse(500, money(200)).unwrap();
        assert_eq!((good.total.minor(), good.id.as_str(), good.remote), (500, "p-1", false));
        assert_eq!((good.lines[0].category.as_str(), good.lines[0].amount.minor()), ("fruit", 200));
        assert_eq!(refused(parse(500, None)), "lines.amount");
        assert_eq!(refused(parse(500, money(-1))), "lines.amount");
        assert_eq!(refused(parse(-1, money(1))), "purchase");
        assert_eq!(refused(purchase(None, &[], "", Currency::CNY)), "purchase");
    }

    #[test]
    fn ids_may_be_absent_and_are_never_half_there() {
        assert_eq!(shop_or_none("to_shop_id", ""), Ok(None));
        assert_eq!(refused(shop_or_none("to_shop_id", "ab")), "to_shop_id");
        let id = ShopId::new([7; 32]);
        assert_eq!(shop_or_none("to_shop_id", &id.to_string()), Ok(Some(id)));
    }

    #[test]
    fn another_body_or_method_gives_another_hash() {
        let one = merchant::Money { currency_code: "CNY".into(), minor: 1 };
        let two = merchant::Money { minor: 2, ..one.clone() };
        let hash = |method, message: &merchant::Money| request_tag("r-1", method, message).unwrap().hash;
        assert_eq!(hash("Sell", &one), hash("Sell", &one));
        assert_ne!(hash("Sell", &one), hash("Sell", &two));
        assert_ne!(hash("Sell", &one), hash("Redeem", &one));
        assert!(request_tag("", "Sell", &one).is_err());
        assert!(request_tag("有", "Sell", &one).is_err());
    }
}
