//! Merchant messages to and from what the rules speak of. Parsing checks form and names the field that is wrong;
//! whether a thing is allowed, the rules decide.

use hutong_core::answer::RequestTag;
use hutong_core::{
    promotion::{Benefit, Promotion},
    refusal::Refusal,
    voucher::{Presented, Token, Voucher, VoucherState},
};
use hutong_record::{
    AllianceId, CardId, Currency, Money, MoneyError, RecordId, ShopId, UnixMillis, proto as record,
    request_hash,
};
use prost_types::Timestamp;

use crate::merchant::v1 as merchant;

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

/// What a customer shows; text that is no voucher's is none.
pub fn presented(text: &str) -> Option<Presented> {
    text.parse().ok()
}

/// The terms of a promotion, as they will be signed.
pub fn promotion(message: &merchant::Promotion, currency: Currency) -> Parsed<record::Promotion> {
    let amount = |field: &str, m: &merchant::Money| money(field, Some(m), currency).map(record::Money::from);
    let optional =
        |field: &str, m: &Option<merchant::Money>| m.as_ref().map(|m| amount(field, m)).transpose();
    let missing = |field: &str| Refusal::field(field, "is missing");
    let start = message.start_time.as_ref().ok_or_else(|| missing("start_time"))?;
    let end = message.end_time.as_ref().ok_or_else(|| missing("end_time"))?;
    let validity = message.voucher_validity.as_ref().ok_or_else(|| missing("voucher_validity"))?;
    let benefit = match message.benefit.as_ref().ok_or_else(|| missing("benefit"))? {
        merchant::promotion::Benefit::AmountOff(off) => {
            record::benefit::Benefit::AmountOff(amount("amount_off", off)?)
        }
        merchant::promotion::Benefit::PercentOff(off) => {
            record::benefit::Benefit::PercentOff(record::PercentOff {
                basis_points: off.basis_points,
                amount_max: optional("amount_max", &off.amount_max)?,
            })
        }
    };
    let distributor = |d: &merchant::Distributor| {
        let shop_id = shop("distributors.shop_id", &d.shop_id)?.as_bytes().to_vec().into();
        Ok(record::Distributor { shop_id, quota: d.quota })
    };
    Ok(record::Promotion {
        title: message.title.clone(),
        distributors: message.distributors.iter().map(distributor).collect::<Parsed<_>>()?,
        redeemer_id: shop("redeemer_id", &message.redeemer_id)?.as_bytes().to_vec().into(),
        earn_spend_min: optional("earn_spend_min", &message.earn_spend_min)?,
        benefit: Some(record::Benefit { benefit: Some(benefit) }),
        redeem_spend_min: optional("redeem_spend_min", &message.redeem_spend_min)?,
        starts_unix_ms: time("start_time", start)?.ms(),
        ends_unix_ms: time("end_time", end)?.ms(),
        voucher_valid_ms: duration_ms("voucher_validity", validity)?,
        per_card_max: message.per_card_max,
        per_day_max: message.per_day_max,
        budget: optional("budget", &message.budget)?,
        bounty: optional("bounty", &message.bounty)?,
        card_required: message.card_required,
        ..Default::default()
    })
}

/// A published promotion as a message. `own_issued`: this shop, and how many vouchers it has handed out.
pub fn promotion_message(
    promotion: &Promotion,
    ended: Option<UnixMillis>,
    own_issued: (ShopId, u32),
) -> merchant::Promotion {
    let distributor = |d: &hutong_core::promotion::Distributor| merchant::Distributor {
        shop_id: d.shop.to_string(),
        quota: d.quota,
        issued: if d.shop == own_issued.0 { own_issued.1 } else { 0 },
    };
    let some = |money: Money| (money.minor() > 0).then(|| money_message(money));
    merchant::Promotion {
        id: promotion.id.to_string(),
        funder_id: promotion.funder.to_string(),
        title: promotion.title.clone(),
        distributors: promotion.distributors.iter().map(distributor).collect(),
        redeemer_id: promotion.redeemers.first().map(ToString::to_string).unwrap_or_default(),
        earn_spend_min: promotion.earn_spend_min.map(money_message),
        redeem_spend_min: some(promotion.redeem_spend_min),
        start_time: Some(timestamp(promotion.starts)),
        end_time: Some(timestamp(promotion.ends)),
        voucher_validity: Some(duration(promotion.valid_ms)),
        per_card_max: promotion.per_card_max,
        per_day_max: promotion.per_day_max,
        budget: some(promotion.budget),
        bounty: some(promotion.bounty),
        card_required: promotion.card_required,
        ended_time: ended.map(timestamp),
        benefit: Some(match promotion.benefit {
            Benefit::AmountOff(amount) => merchant::promotion::Benefit::AmountOff(money_message(amount)),
            Benefit::PercentOff(basis_points, most) => {
                let amount_max = Some(money_message(most));
                merchant::promotion::Benefit::PercentOff(merchant::PercentOff { basis_points, amount_max })
            }
        }),
    }
}

/// A voucher as it was handed out. `may_hand_out`: with QR text and typed code.
pub fn token_message(token: &Token, promotion: &Promotion, may_hand_out: bool) -> merchant::Voucher {
    let body = token.body();
    let distributor = promotion.distributor(body.issuer());
    merchant::Voucher {
        id: body.key.to_string(),
        promotion_id: promotion.id.to_string(),
        promotion_title: promotion.title.clone(),
        distributor_id: distributor.map(|d| d.shop.to_string()).unwrap_or_default(),
        redeemer_id: promotion.redeemers.first().map(ToString::to_string).unwrap_or_default(),
        funder_id: promotion.funder.to_string(),
        card_id: body.card.map(|card| card.reveal()).unwrap_or_default(),
        issue_time: Some(timestamp(body.issued)),
        expire_time: Some(timestamp(body.expires)),
        state: merchant::VoucherState::Issued.into(),
        qr_text: if may_hand_out { token.qr_text() } else { String::new() },
        code: if may_hand_out { token.code() } else { String::new() },
        redeem_time: None,
    }
}

/// A voucher as it stands at a moment.
pub fn voucher_message(
    voucher: &Voucher,
    promotion: &Promotion,
    me: ShopId,
    at: UnixMillis,
) -> merchant::Voucher {
    let distributor = promotion.distributor(voucher.token.body().issuer());
    let may_hand_out = distributor.is_some_and(|d| d.shop == me);
    let state = match voucher.state(at) {
        VoucherState::Issued | VoucherState::Reserved => merchant::VoucherState::Issued,
        VoucherState::Redeemed | VoucherState::AtRisk => merchant::VoucherState::Redeemed,
        VoucherState::Expired | VoucherState::Revoked => merchant::VoucherState::Expired,
    };
    merchant::Voucher {
        state: state.into(),
        redeem_time: voucher.last_use().map(|used| timestamp(used.at)),
        ..token_message(&voucher.token, promotion, may_hand_out)
    }
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
