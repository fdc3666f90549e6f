//! Promotions: terms as they are typed and as they will be signed.

use hutong_core::{
    promotion::{Benefit, Conditions, Distributor, FundingShare, Mode, Promotion, RiskTerms, WeeklyHours},
    refusal::Refusal,
};
use hutong_record::{Currency, Money, ShopId, UnixMillis, proto as record};

use super::{Parsed, bounty, duration, duration_ms, merchant, money, money_message, shop, time, timestamp};

/// Monday's first: bit n of a record's weekdays is the n-th of these.
const WEEK: [merchant::Weekday; 7] = [
    merchant::Weekday::Monday,
    merchant::Weekday::Tuesday,
    merchant::Weekday::Wednesday,
    merchant::Weekday::Thursday,
    merchant::Weekday::Friday,
    merchant::Weekday::Saturday,
    merchant::Weekday::Sunday,
];

/// The terms of a promotion, as they will be signed.
pub fn promotion(message: &merchant::Promotion, currency: Currency) -> Parsed<record::Promotion> {
    let required = |field: &str, at: &Option<prost_types::Timestamp>| {
        at.as_ref().map_or_else(|| Err(missing(field)), |at| time(field, at))
    };
    let amount = |field, m| optional_amount(field, m, currency);
    let validity = message.voucher_validity.as_ref().ok_or_else(|| missing("voucher_validity"))?;
    let mode = mode_of(message.mode)?;
    let conditions = message.conditions.as_ref();
    let risk = message.risk.as_ref();
    Ok(record::Promotion {
        title: message.title.clone(),
        distributors: message.distributors.iter().map(distributor).collect::<Parsed<_>>()?,
        redeemer_id: redeemer(mode, &message.redeemer_id)?,
        earn_spend_min: amount("earn_spend_min", &message.earn_spend_min)?,
        benefit: Some(record::Benefit { benefit: Some(benefit(message.benefit.as_ref(), currency)?) }),
        redeem_spend_min: amount("redeem_spend_min", &message.redeem_spend_min)?,
        starts_unix_ms: required("start_time", &message.start_time)?.ms(),
        ends_unix_ms: required("end_time", &message.end_time)?.ms(),
        voucher_valid_ms: duration_ms("voucher_validity", validity)?,
        per_card_max: message.per_card_max,
        per_day_max: message.per_day_max,
        budget: amount("budget", &message.budget)?,
        bounty: amount("bounty", &message.bounty)?,
        card_required: message.card_required,
        request: None,
        mode: mode.into(),
        redeemer_ids: message
            .redeemer_ids
            .iter()
            .map(|id| shop_bytes("redeemer_ids", id))
            .collect::<Parsed<_>>()?,
        uses: message.uses,
        conditions: conditions.map(|c| conditions_of(c, currency)).transpose()?,
        risk: risk.map(|risk| risk_of(risk, currency)).transpose()?,
        reuse_expired: message.reuse_expired,
        bounty_terms: message.bounty_terms.as_ref().map(|b| bounty::terms(b, currency)).transpose()?,
        funding: message.funding.iter().map(funding).collect::<Parsed<_>>()?,
    })
}

fn funding(message: &merchant::FundingShare) -> Parsed<record::FundingShare> {
    let shop_id = shop_bytes("funding.shop_id", &message.shop_id)?;
    Ok(record::FundingShare { shop_id, basis_points: message.basis_points })
}

fn missing(field: &str) -> Refusal {
    Refusal::field(field, "is missing")
}

pub(super) fn optional_amount(
    field: &str,
    message: &Option<merchant::Money>,
    currency: Currency,
) -> Parsed<Option<record::Money>> {
    let amount = |m: &merchant::Money| money(field, Some(m), currency).map(record::Money::from);
    message.as_ref().map(amount).transpose()
}

fn shop_bytes(field: &str, text: &str) -> Parsed<bytes::Bytes> {
    Ok(shop(field, text)?.as_bytes().to_vec().into())
}

/// A designated promotion names its redeemer; others must not, and the rules say so.
fn redeemer(mode: record::VoucherMode, text: &str) -> Parsed<bytes::Bytes> {
    match mode {
        record::VoucherMode::Leased | record::VoucherMode::Anywhere if text.is_empty() => {
            Ok(bytes::Bytes::new())
        }
        _ => shop_bytes("redeemer_id", text),
    }
}

fn distributor(message: &merchant::Distributor) -> Parsed<record::Distributor> {
    Ok(record::Distributor {
        shop_id: shop_bytes("distributors.shop_id", &message.shop_id)?,
        quota: message.quota,
    })
}

fn mode_of(number: i32) -> Parsed<record::VoucherMode> {
    match merchant::VoucherMode::try_from(number) {
        Ok(merchant::VoucherMode::Unspecified) => Ok(record::VoucherMode::Unspecified),
        Ok(merchant::VoucherMode::Designated) => Ok(record::VoucherMode::Designated),
        Ok(merchant::VoucherMode::Leased) => Ok(record::VoucherMode::Leased),
        Ok(merchant::VoucherMode::Anywhere) => Ok(record::VoucherMode::Anywhere),
        Err(_) => Err(Refusal::field("mode", "is none of the modes")),
    }
}

fn benefit(
    message: Option<&merchant::promotion::Benefit>,
    currency: Currency,
) -> Parsed<record::benefit::Benefit> {
    Ok(match message.ok_or_else(|| missing("benefit"))? {
        merchant::promotion::Benefit::AmountOff(off) => {
            let off = money("amount_off", Some(off), currency)?;
            record::benefit::Benefit::AmountOff(off.into())
        }
        merchant::promotion::Benefit::PercentOff(off) => {
            record::benefit::Benefit::PercentOff(record::PercentOff {
                basis_points: off.basis_points,
                amount_max: optional_amount("amount_max", &off.amount_max, currency)?,
            })
        }
    })
}

fn conditions_of(message: &merchant::Conditions, currency: Currency) -> Parsed<record::Conditions> {
    let moment = |field, at: &Option<prost_types::Timestamp>| {
        at.as_ref().map_or(Ok(0), |at| time(field, at).map(UnixMillis::ms))
    };
    Ok(record::Conditions {
        from_unix_ms: moment("conditions.from_time", &message.from_time)?,
        until_unix_ms: moment("conditions.until_time", &message.until_time)?,
        hours: message.hours.iter().map(hours_of).collect::<Parsed<_>>()?,
        categories: message.categories.clone(),
        first_visit: message.first_visit,
        in_person_only: message.in_person_only,
        per_card_max: message.per_card_max,
        per_card_day_max: message.per_card_day_max,
        per_day_max: message.per_day_max,
        per_shop_max: message.per_shop_max,
        per_shop_budget: optional_amount("conditions.per_shop_budget", &message.per_shop_budget, currency)?,
        stackable: message.stackable,
        exclusion_group: message.exclusion_group.clone(),
    })
}

fn hours_of(message: &merchant::WeeklyHours) -> Parsed<record::WeeklyHours> {
    let mut weekdays = 0;
    for day in &message.weekdays {
        let bit = WEEK.iter().position(|known| i32::from(*known) == *day);
        let bit = bit.ok_or_else(|| Refusal::field("conditions.hours.weekdays", "is no day of the week"))?;
        weekdays |= 1 << bit;
    }
    let (from_minute, until_minute) = (message.from_minute, message.until_minute);
    Ok(record::WeeklyHours { weekdays, from_minute, until_minute })
}

fn risk_of(message: &merchant::RiskTerms, currency: Currency) -> Parsed<record::RiskTerms> {
    let offline = message.offline_max.as_ref().ok_or_else(|| missing("risk.offline_max"))?;
    Ok(record::RiskTerms {
        per_voucher_max: optional_amount("risk.per_voucher_max", &message.per_voucher_max, currency)?,
        per_shop_max: optional_amount("risk.per_shop_max", &message.per_shop_max, currency)?,
        per_day_max: optional_amount("risk.per_day_max", &message.per_day_max, currency)?,
        offline_ms_max: duration_ms("risk.offline_max", offline)?,
    })
}

/// A promotion's terms as a message; how it goes, whoever knows adds.
pub fn promotion_message(promotion: &Promotion) -> merchant::Promotion {
    let distributor = |d: &Distributor| merchant::Distributor {
        shop_id: d.shop.to_string(),
        quota: d.quota,
        issued: 0,
        owned: 0,
    };
    let share = |share: &FundingShare| merchant::FundingShare {
        shop_id: share.shop.to_string(),
        basis_points: share.basis_points,
        agreed: share.shop == promotion.funder,
    };
    let some = |money: Money| (money.minor() > 0).then(|| money_message(money));
    let (redeemer_id, others) = redeemers(promotion);
    merchant::Promotion {
        id: promotion.id.to_string(),
        funder_id: promotion.funder.to_string(),
        title: promotion.title.clone(),
        distributors: promotion.distributors.iter().map(distributor).collect(),
        redeemer_id,
        earn_spend_min: promotion.earn_spend_min.map(money_message),
        redeem_spend_min: some(promotion.redeem_spend_min),
        start_time: Some(timestamp(promotion.starts)),
        end_time: Some(timestamp(promotion.ends)),
        voucher_validity: Some(duration(promotion.valid_ms)),
        per_card_max: promotion.per_card_max,
        per_day_max: promotion.per_day_max,
        budget: some(promotion.budget),
        bounty: bounty::fixed(&promotion.bounty).and_then(some),
        card_required: promotion.card_required,
        ended_time: None,
        benefit: Some(match promotion.benefit {
            Benefit::AmountOff(amount) => merchant::promotion::Benefit::AmountOff(money_message(amount)),
            Benefit::PercentOff(basis_points, most) => {
                let amount_max = Some(money_message(most));
                merchant::promotion::Benefit::PercentOff(merchant::PercentOff { basis_points, amount_max })
            }
        }),
        mode: mode_message(promotion.mode).into(),
        redeemer_ids: others.iter().map(ShopId::to_string).collect(),
        uses: promotion.uses,
        conditions: conditions_message(&promotion.conditions),
        risk: promotion.risk.as_ref().map(risk_message),
        reuse_expired: promotion.reuse_expired,
        bounty_terms: bounty::terms_message(&promotion.bounty),
        funding: promotion.funding.iter().map(share).collect(),
    }
}

/// A designated promotion's usual redeemer, and the others.
fn redeemers(promotion: &Promotion) -> (String, &[ShopId]) {
    match (promotion.mode, promotion.redeemers.split_first()) {
        (Mode::Designated, Some((usual, others))) => (usual.to_string(), others),
        _ => (String::new(), &promotion.redeemers),
    }
}

/// Who decides whether a voucher is used, as a message.
pub(super) const fn mode_message(mode: Mode) -> merchant::VoucherMode {
    match mode {
        Mode::Designated => merchant::VoucherMode::Designated,
        Mode::Leased => merchant::VoucherMode::Leased,
        Mode::Anywhere => merchant::VoucherMode::Anywhere,
    }
}

fn conditions_message(conditions: &Conditions) -> Option<merchant::Conditions> {
    if *conditions == Conditions::default() {
        return None;
    }
    Some(merchant::Conditions {
        from_time: conditions.from.map(timestamp),
        until_time: conditions.until.map(timestamp),
        hours: conditions.hours.iter().map(hours_message).collect(),
        categories: conditions.categories.clone(),
        first_visit: conditions.first_visit,
        in_person_only: conditions.in_person_only,
        per_card_max: conditions.per_card_max,
        per_card_day_max: conditions.per_card_day_max,
        per_day_max: conditions.per_day_max,
        per_shop_max: conditions.per_shop_max,
        per_shop_budget: conditions.per_shop_budget.map(money_message),
        stackable: conditions.stackable,
        exclusion_group: conditions.exclusion_group.clone(),
    })
}

fn hours_message(hours: &WeeklyHours) -> merchant::WeeklyHours {
    let open = WEEK.iter().enumerate().filter(|(bit, _)| hours.weekdays >> bit & 1 == 1);
    merchant::WeeklyHours {
        weekdays: open.map(|(_, day)| i32::from(*day)).collect(),
        from_minute: hours.from_minute.into(),
        until_minute: hours.until_minute.into(),
    }
}

fn risk_message(risk: &RiskTerms) -> merchant::RiskTerms {
    merchant::RiskTerms {
        per_voucher_max: Some(money_message(risk.per_voucher_max)),
        per_shop_max: Some(money_message(risk.per_shop_max)),
        per_day_max: Some(money_message(risk.per_day_max)),
        offline_max: Some(duration(risk.offline_ms_max)),
    }
}

#[cfg(test)]
mod tests {
    use hutong_record::RecordId;
    use prost_types::{Duration, Timestamp};

    use super::*;

    fn cny(minor: i64) -> Option<merchant::Money> {
        Some(merchant::Money { currency_code: "CNY".into(), minor })
    }

    /// Every field set, as an anywhere promotion may have them.
    fn whole() -> merchant::Promotion {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let id = |n: u8| ShopId::new([n; 32]).to_string();
        merchant::Promotion {
            title: "通用券".into(),
            distributors: vec![merchant::Distributor { shop_id: id(1), quota: 10, issued: 0, owned: 0 }],
            earn_spend_min: cny(3_000),
            benefit: cny(500).map(merchant::promotion::Benefit::AmountOff),
            redeem_spend_min: cny(1_000),
            start_time: at(1_000),
            end_time: at(2_000),
            voucher_validity: Some(Duration { seconds: 86_400, nanos: 0 }),
            per_card_max: 2,
            per_day_max: 3,
            budget: cny(6_000),
            bounty: cny(100),
            card_required: true,
            mode: merchant::VoucherMode::Anywhere.into(),
            redeemer_ids: vec![id(2), id(3)],
            uses: 1,
            conditions: Some(merchant::Conditions {
                from_time: at(1_500),
                until_time: at(9_000),
                hours: vec![merchant::WeeklyHours {
                    weekdays: vec![merchant::Weekday::Monday.into(), merchant::Weekday::Sunday.into()],
                    from_minute: 600,
                    until_minute: 1_440,
                }],
                categories: vec!["fruit".into()],
                first_visit: true,
                in_person_only: true,
                per_card_max: 4,
                per_card_day_max: 5,
                per_day_max: 6,
                per_shop_max: 7,
                per_shop_budget: cny(8_000),
                stackable: true,
                exclusion_group: "summer".into(),
            }),
            risk: Some(merchant::RiskTerms {
                per_voucher_max: cny(500),
                per_shop_max: cny(2_000),
                per_day_max: cny(1_000),
                offline_max: Some(Duration { seconds: 3_600, nanos: 0 }),
            }),
            reuse_expired: true,
            bounty_terms: Some(merchant::BountyTerms {
                terms: None,
                period: merchant::BountyPeriod::Week.into(),
                per_period_max: cny(1_000),
                per_card_max: cny(300),
                new_customers_only: true,
            }),
            funding: vec![
                merchant::FundingShare { shop_id: id(4), basis_points: 6_000, agreed: true },
                merchant::FundingShare { shop_id: id(5), basis_points: 4_000, agreed: false },
            ],
            ..Default::default()
        }
    }

    fn checked(message: &merchant::Promotion) -> Parsed<Promotion> {
        let terms = promotion(message, Currency::CNY)?;
        Promotion::check(&terms, RecordId::new([9; 32]), ShopId::new([4; 32]), Currency::CNY)
    }

    #[test]
    fn terms_read_back_as_they_were_said() {
        let shown = promotion_message(&checked(&whole()).unwrap());
        let set = merchant::Promotion { id: shown.id.clone(), funder_id: shown.funder_id.clone(), ..whole() };
        assert_eq!(shown, set);
        let designated = merchant::Promotion {
            mode: merchant::VoucherMode::Designated.into(),
            redeemer_id: ShopId::new([2; 32]).to_string(),
            redeemer_ids: vec![ShopId::new([3; 32]).to_string()],
            conditions: None,
            risk: None,
            ..set
        };
        assert_eq!(promotion_message(&checked(&designated).unwrap()), designated);
        let leased = merchant::Promotion {
            mode: merchant::VoucherMode::Leased.into(),
            redeemer_id: String::new(),
            redeemer_ids: Vec::new(),
            ..designated
        };
        assert_eq!(promotion_message(&checked(&leased).unwrap()), leased);
    }

    #[test]
    fn each_scale_of_bounties_reads_back() {
        use merchant::bounty_terms::Terms;
        let tier = |from, minor| merchant::BountyTier { from, amount: cny(minor) };
        let tiers = || merchant::BountyTiers { tiers: vec![tier(1, 50), tier(1_000, 100)] };
        let percent = merchant::PercentOff { basis_points: 500, amount_max: cny(100) };
        for terms in [Terms::Percent(percent), Terms::ByPurchase(tiers()), Terms::ByCount(tiers())] {
            let bounty_terms = Some(merchant::BountyTerms { terms: Some(terms), ..Default::default() });
            let message = merchant::Promotion { bounty: None, bounty_terms, ..whole() };
            let shown = promotion_message(&checked(&message).unwrap());
            assert_eq!((shown.bounty, shown.bounty_terms), (None, message.bounty_terms));
        }
    }

    #[test]
    fn what_older_apps_send_means_what_it_meant() {
        let old = merchant::Promotion {
            mode: 0,
            redeemer_id: ShopId::new([2; 32]).to_string(),
            redeemer_ids: Vec::new(),
            uses: 0,
            conditions: None,
            risk: None,
            reuse_expired: false,
            bounty_terms: None,
            funding: Vec::new(),
            ..whole()
        };
        let promotion = checked(&old).unwrap();
        assert_eq!((promotion.mode, promotion.uses), (Mode::Designated, 1));
        assert_eq!(promotion.redeemers, [ShopId::new([2; 32])]);
    }

    #[test]
    fn each_bad_field_is_named() {
        type Change = fn(&mut merchant::Promotion);
        let cases: [(&str, Change); 21] = [
            ("start_time", |p| p.start_time = None),
            ("funding.shop_id", |p| p.funding[0].shop_id = "x".into()),
            ("bounty_terms.per_card_max", |p| p.bounty_terms.as_mut().unwrap().per_card_max = cny(-1)),
            ("end_time", |p| p.end_time = Some(Timestamp { seconds: -1, nanos: 0 })),
            ("voucher_validity", |p| p.voucher_validity = None),
            ("benefit", |p| p.benefit = None),
            ("amount_off", |p| p.benefit = cny(-1).map(merchant::promotion::Benefit::AmountOff)),
            ("budget", |p| p.budget = cny(-1)),
            ("bounty", |p| p.bounty = cny(-1)),
            ("distributors.shop_id", |p| p.distributors[0].shop_id = "x".into()),
            ("mode", |p| p.mode = 9),
            ("redeemer_id", |p| p.mode = 0),
            ("redeemer_id", |p| p.redeemer_id = "x".into()),
            ("redeemer_ids", |p| p.redeemer_ids[1] = "x".into()),
            ("conditions.from_time", |p| conditions(p).from_time = Some(Timestamp { seconds: 0, nanos: -1 })),
            ("conditions.until_time", |p| {
                conditions(p).until_time = Some(Timestamp { seconds: -1, nanos: 0 })
            }),
            ("conditions.hours.weekdays", |p| conditions(p).hours[0].weekdays = vec![8]),
            ("conditions.per_shop_budget", |p| conditions(p).per_shop_budget = cny(-1)),
            ("risk.per_shop_max", |p| risk(p).per_shop_max = cny(-1)),
            ("risk.offline_max", |p| risk(p).offline_max = None),
            ("risk.offline_max", |p| risk(p).offline_max = Some(Duration { seconds: -1, nanos: 0 })),
        ];
        for (field, change) in cases {
            let mut message = whole();
            change(&mut message);
            let refusal = promotion(&message, Currency::CNY).unwrap_err();
            assert_eq!(refusal.fact("field"), Some(field));
        }
    }

    fn conditions(promotion: &mut merchant::Promotion) -> &mut merchant::Conditions {
        promotion.conditions.as_mut().unwrap()
    }

    fn risk(promotion: &mut merchant::Promotion) -> &mut merchant::RiskTerms {
        promotion.risk.as_mut().unwrap()
    }
}
