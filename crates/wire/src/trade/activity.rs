//! Reports: what is asked for, and rows as messages.

use std::num::NonZeroU64;

use hutong_core::{
    attribution::{HalfLife, Model, Nulls, Order},
    charter::PayingModel,
    refusal::Refusal,
    report::{Activity, ActivityKey, BookingKind, Reciprocity, Span},
};
use hutong_record::Currency;
use prost_types::{Duration, Timestamp};

use super::{Parsed, duration_ms, merchant, minor_message, time_or};

/// After how long a touch counts half, where nobody says: a week.
const HALF_LIFE_MS_DEFAULT: NonZeroU64 = NonZeroU64::new(7 * 86_400_000).expect("not zero");
/// Chains of the reports remember at most so many touches.
const MARKOV_ORDER_MAX: u32 = 6;

/// A span of time; what is absent is open.
pub fn span(from: Option<&Timestamp>, until: Option<&Timestamp>) -> Parsed<Span> {
    let span = Span {
        from: time_or("from_time", from, Span::ALWAYS.from)?,
        until: time_or("until_time", until, Span::ALWAYS.until)?,
    };
    if span.from < span.until {
        Ok(span)
    } else {
        Err(Refusal::field("until_time", "is not after from_time"))
    }
}

/// A model, and its name for the answer; none named: the one that pays.
pub fn credit_model(
    model: i32,
    markov_order: u32,
    half_life: Option<&Duration>,
    paying: PayingModel,
) -> Parsed<(Model, merchant::CreditModel)> {
    use merchant::CreditModel as Name;
    let name = match Name::try_from(model) {
        Ok(Name::Unspecified) => match paying {
            PayingModel::First => Name::First,
            PayingModel::Last => Name::Last,
            PayingModel::Linear => Name::Linear,
            PayingModel::Position => Name::Position,
            PayingModel::Decay(_) => Name::Decay,
        },
        Ok(name) => name,
        Err(_) => return Err(Refusal::field("model", "is none of the models")),
    };
    if markov_order > 0 && name != Name::Markov {
        return Err(Refusal::field("markov_order", "is for the model markov alone"));
    }
    if half_life.is_some() && name != Name::Decay {
        return Err(Refusal::field("half_life", "is for the model decay alone"));
    }
    let model = match name {
        Name::First => Model::First,
        Name::Last | Name::Unspecified => Model::Last,
        Name::Linear => Model::Linear,
        Name::Position => Model::Position,
        Name::Shapley => Model::Shapley,
        Name::Decay => Model::Decay(HalfLife::Millis(half_life_ms(half_life, paying)?)),
        Name::Markov => Model::Markov(order(markov_order)?, Nulls::Without),
    };
    Ok((model, name))
}

/// What is asked for; else what the charter pays by; else the default.
fn half_life_ms(half_life: Option<&Duration>, paying: PayingModel) -> Parsed<NonZeroU64> {
    let Some(half_life) = half_life else {
        return Ok(if let PayingModel::Decay(ms) = paying { ms } else { HALF_LIFE_MS_DEFAULT });
    };
    let ms = u64::try_from(duration_ms("half_life", half_life)?).ok().and_then(NonZeroU64::new);
    ms.ok_or_else(|| Refusal::field("half_life", "is no time at all"))
}

fn order(markov_order: u32) -> Parsed<Order> {
    let order = usize::try_from(markov_order.max(1)).ok().filter(|_| markov_order <= MARKOV_ORDER_MAX);
    let order = order.and_then(Order::new);
    order.ok_or_else(|| Refusal::field("markov_order", format!("is more than {MARKOV_ORDER_MAX}")))
}

/// A row of activity; names, whoever knows adds.
pub fn activity_message(key: &ActivityKey, row: &Activity, currency: Currency) -> merchant::Activity {
    let mut message = merchant::Activity {
        touches: row.touches,
        vouchers: row.vouchers,
        redemptions: row.redemptions,
        purchases: Some(minor_message(row.purchases_minor, currency)),
        discounts: Some(minor_message(row.discounts_minor, currency)),
        bounties: Some(minor_message(row.bounties_minor, currency)),
        sales: row.sales,
        sales_amount: Some(minor_message(row.sales_minor, currency)),
        ..Default::default()
    };
    match key {
        ActivityKey::Shop(shop) => message.shop_id = shop.to_string(),
        ActivityKey::Promotion(id) => message.promotion_id = id.to_string(),
        ActivityKey::Channel { from, to, name } => {
            (message.shop_id, message.to_shop_id) = (from.to_string(), to.to_string());
            message.channel.clone_from(name);
        }
        ActivityKey::Hour { weekday, hour } => {
            (message.weekday, message.hour) = ((*weekday).into(), (*hour).into());
        }
    }
    message
}

/// This shop and one ally; ids and names, whoever knows adds.
pub fn reciprocity_message(row: &Reciprocity, currency: Currency) -> merchant::Reciprocity {
    merchant::Reciprocity {
        touches_given: row.given.touches,
        customers_given: row.given.customers,
        value_given: Some(minor_message(row.given.value_minor, currency)),
        touches_received: row.received.touches,
        customers_received: row.received.customers,
        value_received: Some(minor_message(row.received.value_minor, currency)),
        bounties_earned: Some(minor_message(row.given.bounties_minor, currency)),
        bounties_caused: Some(minor_message(row.received.bounties_minor, currency)),
        ..Default::default()
    }
}

/// What a line is.
pub const fn booking_kind(kind: BookingKind) -> merchant::BookingKind {
    match kind {
        BookingKind::Discount => merchant::BookingKind::Discount,
        BookingKind::ReferralFee => merchant::BookingKind::ReferralFee,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_questions_name_their_field() {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let field = |refusal: Refusal| refusal.fact("field").unwrap().to_owned();
        assert_eq!(field(span(Some(&at(5)), Some(&at(5))).unwrap_err()), "until_time");
        assert_eq!(field(span(Some(&at(-1)), None).unwrap_err()), "from_time");
        let model = |name: i32, order, half_life: Option<i64>| {
            let half_life = half_life.map(|seconds| Duration { seconds, nanos: 0 });
            credit_model(name, order, half_life.as_ref(), PayingModel::Last)
        };
        let markov = merchant::CreditModel::Markov as i32;
        let decay = merchant::CreditModel::Decay as i32;
        assert_eq!(field(model(99, 0, None).unwrap_err()), "model");
        assert_eq!(field(model(markov, 7, None).unwrap_err()), "markov_order");
        assert_eq!(field(model(decay, 1, None).unwrap_err()), "markov_order");
        assert_eq!(field(model(markov, 1, Some(5)).unwrap_err()), "half_life");
        assert_eq!(field(model(decay, 0, Some(0)).unwrap_err()), "half_life");
    }

    #[test]
    fn with_no_model_named_it_is_the_one_that_pays() {
        let name = |paying| credit_model(0, 0, None, paying).unwrap().1;
        assert_eq!(name(PayingModel::First), merchant::CreditModel::First);
        assert_eq!(name(PayingModel::Last), merchant::CreditModel::Last);
    }
}
