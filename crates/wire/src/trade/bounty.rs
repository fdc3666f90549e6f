//! Bounties, the rules of evidence, and channels: as they are typed and as they will be signed.

use hutong_core::{
    channel::Channel,
    charter::{AttributionRules, PayingModel},
    promotion::{Bounty, Period, Scale, Tier},
    refusal::Refusal,
};
use hutong_record::{Currency, Money, ShopId, proto as record};

use super::{Parsed, duration, duration_ms, merchant, money_message, promotion::optional_amount, timestamp};

/// A bounty's terms, as they will be signed.
pub(super) fn terms(message: &merchant::BountyTerms, currency: Currency) -> Parsed<record::BountyTerms> {
    let amount = |field, money| optional_amount(field, money, currency);
    Ok(record::BountyTerms {
        terms: message.terms.as_ref().map(|terms| scale(terms, currency)).transpose()?,
        period: message.period,
        per_period_max: amount("bounty_terms.per_period_max", &message.per_period_max)?,
        per_card_max: amount("bounty_terms.per_card_max", &message.per_card_max)?,
        new_customers_only: message.new_customers_only,
    })
}

fn scale(terms: &merchant::bounty_terms::Terms, currency: Currency) -> Parsed<record::bounty_terms::Terms> {
    use merchant::bounty_terms::Terms;
    Ok(match terms {
        Terms::Percent(percent) => record::bounty_terms::Terms::Percent(record::PercentOff {
            basis_points: percent.basis_points,
            amount_max: optional_amount("bounty_terms.percent.amount_max", &percent.amount_max, currency)?,
        }),
        Terms::ByPurchase(steps) => {
            record::bounty_terms::Terms::ByPurchase(tiers("bounty_terms.by_purchase", steps, currency)?)
        }
        Terms::ByCount(steps) => {
            record::bounty_terms::Terms::ByCount(tiers("bounty_terms.by_count", steps, currency)?)
        }
    })
}

fn tiers(field: &str, message: &merchant::BountyTiers, currency: Currency) -> Parsed<record::BountyTiers> {
    let tier = |tier: &merchant::BountyTier| {
        let amount = optional_amount(field, &tier.amount, currency)?;
        Ok(record::BountyTier { from: tier.from, amount })
    };
    Ok(record::BountyTiers { tiers: message.tiers.iter().map(tier).collect::<Parsed<_>>()? })
}

/// The amount of a bounty that is always the same.
pub(super) const fn fixed(bounty: &Bounty) -> Option<Money> {
    match bounty.scale {
        Scale::Fixed(amount) => Some(amount),
        _ => None,
    }
}

/// A bounty's terms as a message; none: nothing but an amount.
pub(super) fn terms_message(bounty: &Bounty) -> Option<merchant::BountyTerms> {
    use merchant::bounty_terms::Terms;
    let steps = |tiers: &[Tier]| {
        let tier = |t: &Tier| merchant::BountyTier { from: t.from, amount: Some(money_message(t.amount)) };
        merchant::BountyTiers { tiers: tiers.iter().map(tier).collect() }
    };
    let terms = match &bounty.scale {
        Scale::Fixed(_) => None,
        Scale::Percent(basis_points, most) => Some(Terms::Percent(merchant::PercentOff {
            basis_points: *basis_points,
            amount_max: Some(money_message(*most)),
        })),
        Scale::ByPurchase(tiers) => Some(Terms::ByPurchase(steps(tiers))),
        Scale::ByCount(tiers) => Some(Terms::ByCount(steps(tiers))),
    };
    let message = merchant::BountyTerms {
        terms,
        period: period_message(bounty.period).into(),
        per_period_max: bounty.per_period_max.map(money_message),
        per_card_max: bounty.per_card_max.map(money_message),
        new_customers_only: bounty.new_customers_only,
    };
    (message != merchant::BountyTerms::default()).then_some(message)
}

const fn period_message(period: Period) -> merchant::BountyPeriod {
    match period {
        Period::Promotion => merchant::BountyPeriod::Unspecified,
        Period::Day => merchant::BountyPeriod::Day,
        Period::Week => merchant::BountyPeriod::Week,
        Period::Month => merchant::BountyPeriod::Month,
    }
}

/// The charter's rules of evidence, as they will be signed.
pub fn attribution_rules(message: &merchant::AttributionRules) -> Parsed<record::AttributionRules> {
    let window = |field, window: &Option<prost_types::Duration>| match window {
        None => Ok(0),
        Some(window) => match duration_ms(field, window)? {
            0 => Err(Refusal::field(field, "is no time at all")),
            ms => Ok(ms),
        },
    };
    Ok(record::AttributionRules {
        paying_model: message.paying_model,
        hand_out_window_ms: window("attribution.hand_out_window", &message.hand_out_window)?,
        scan_window_ms: window("attribution.scan_window", &message.scan_window)?,
        invite_window_ms: window("attribution.invite_window", &message.invite_window)?,
        visit_window_ms: window("attribution.visit_window", &message.visit_window)?,
        paying_half_life_ms: window("attribution.paying_half_life", &message.paying_half_life)?,
        redemption_window_ms: window("attribution.redemption_window", &message.redemption_window)?,
        purchase_window_ms: window("attribution.purchase_window", &message.purchase_window)?,
        card_touches_per_hour_max: message.card_touches_per_hour_max,
        shop_touches_per_ten_minutes_max: message.shop_touches_per_ten_minutes_max,
    })
}

/// The charter's rules of evidence as a message, with all that is left open filled in.
pub fn attribution_rules_message(rules: &AttributionRules) -> merchant::AttributionRules {
    let model = match rules.paying_model {
        PayingModel::Last => merchant::PayingModel::Last,
        PayingModel::First => merchant::PayingModel::First,
        PayingModel::Linear => merchant::PayingModel::Linear,
        PayingModel::Position => merchant::PayingModel::Position,
        PayingModel::Decay(_) => merchant::PayingModel::Decay,
    };
    merchant::AttributionRules {
        paying_model: model.into(),
        hand_out_window: Some(duration(rules.hand_out_window_ms)),
        scan_window: Some(duration(rules.scan_window_ms)),
        invite_window: Some(duration(rules.invite_window_ms)),
        visit_window: Some(duration(rules.visit_window_ms)),
        paying_half_life: match rules.paying_model {
            PayingModel::Decay(ms) => Some(duration(i64::try_from(ms.get()).unwrap_or(i64::MAX))),
            _ => None,
        },
        redemption_window: Some(duration(rules.redemption_window_ms)),
        purchase_window: Some(duration(rules.purchase_window_ms)),
        card_touches_per_hour_max: rules.card_touches_per_hour_max,
        shop_touches_per_ten_minutes_max: rules.shop_touches_per_ten_minutes_max,
    }
}

/// A channel of `shop`, with its link.
pub fn channel_message(channel: &Channel, shop: ShopId) -> merchant::Channel {
    merchant::Channel {
        name: channel.name.clone(),
        to_shop_id: channel.to.to_string(),
        promotion_id: channel.promotion.map(|id| id.to_string()).unwrap_or_default(),
        link: channel.link(shop).text(),
        create_time: Some(timestamp(channel.created)),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;

    use super::*;

    #[test]
    fn windows_are_more_than_nothing_and_named_if_wrong() {
        let window = |seconds| Some(Duration { seconds, nanos: 0 });
        let rules = merchant::AttributionRules { scan_window: window(60), ..Default::default() };
        assert_eq!(attribution_rules(&rules).unwrap().scan_window_ms, 60_000);
        for seconds in [0, -1] {
            let rules = merchant::AttributionRules { visit_window: window(seconds), ..Default::default() };
            assert_eq!(
                attribution_rules(&rules).unwrap_err().fact("field"),
                Some("attribution.visit_window")
            );
        }
    }
}
