//! The charter's rules of evidence: which touches count, and who is paid.

use core::num::NonZeroU64;

use hutong_record::proto;

use super::ATTRIBUTION_WINDOW_MS_MAX;
use crate::{
    attribution::{HalfLife, Model},
    bounds,
    refusal::Refusal,
};

/// How much earlier a touch is paid half, where the charter does not say: a week.
const PAYING_HALF_LIFE_MS_DEFAULT: NonZeroU64 =
    NonZeroU64::new(7 * 86_400_000).expect("a week is not nothing");
/// Touches of one card by one shop that count within one hour, where the charter does not say: nobody scans the same
/// shop's posters more often with a purchase in mind.
const CARD_TOUCHES_PER_HOUR_DEFAULT: u32 = 3;
const CARD_TOUCHES_PER_HOUR_MAX: u32 = 1_000;
/// Touches by one shop within ten minutes, where the charter does not say: one every six seconds is no till any more.
const SHOP_TOUCHES_PER_TEN_MINUTES_DEFAULT: u32 = 100;
const SHOP_TOUCHES_PER_TEN_MINUTES_MAX: u32 = 100_000;

/// Which touches count as evidence that one shop sent a customer to another, and which of them pays. All times in
/// milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributionRules {
    /// Who is paid.
    pub paying_model: PayingModel,
    /// How long before a conversion a hand-out may lie.
    pub hand_out_window_ms: i64,
    /// The same for scans.
    pub scan_window_ms: i64,
    /// The same for invitations.
    pub invite_window_ms: i64,
    /// The same for visits.
    pub visit_window_ms: i64,
    /// The same for redemptions at other shops.
    pub redemption_window_ms: i64,
    /// How long before a purchase without a voucher any touch may lie.
    pub purchase_window_ms: i64,
    /// Touches of one card by one shop that count within one hour.
    pub card_touches_per_hour_max: u32,
    /// Touches by one shop within ten minutes; where there are more, none of them counts.
    pub shop_touches_per_ten_minutes_max: u32,
}

/// Whose evidence pays. What a receipt lists must suffice to reckon the shares, for its parties read nothing else of a
/// path; so a Markov chain, which is made of all paths of a shop, cannot pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayingModel {
    /// The shop of the last touch.
    Last,
    /// The shop of the first touch.
    First,
    /// All shops of the path, the same for every touch.
    Linear,
    /// All shops of the path: 40 % for the first touch, 40 % for the last, the rest for those between.
    Position,
    /// All shops of the path, half as much for a touch so many milliseconds earlier.
    Decay(NonZeroU64),
}

impl AttributionRules {
    /// Checks the rules; what they leave open, defaults say.
    pub(super) fn parse(message: Option<&proto::AttributionRules>, window_ms: i64) -> Result<Self, Refusal> {
        let message = message.copied().unwrap_or_default();
        let window = |field, ms: i64| {
            bounds::number(field, ms, 0..=ATTRIBUTION_WINDOW_MS_MAX)?;
            Ok::<_, Refusal>(if ms == 0 { window_ms } else { ms })
        };
        let count = |field, count: u32, default, most| {
            bounds::number(field, count, 0..=most)?;
            Ok::<_, Refusal>(if count == 0 { default } else { count })
        };
        Ok(Self {
            paying_model: PayingModel::parse(message.paying_model, message.paying_half_life_ms)?,
            hand_out_window_ms: window("attribution.hand_out_window_ms", message.hand_out_window_ms)?,
            scan_window_ms: window("attribution.scan_window_ms", message.scan_window_ms)?,
            invite_window_ms: window("attribution.invite_window_ms", message.invite_window_ms)?,
            visit_window_ms: window("attribution.visit_window_ms", message.visit_window_ms)?,
            redemption_window_ms: window("attribution.redemption_window_ms", message.redemption_window_ms)?,
            purchase_window_ms: window("attribution.purchase_window_ms", message.purchase_window_ms)?,
            card_touches_per_hour_max: count(
                "attribution.card_touches_per_hour_max",
                message.card_touches_per_hour_max,
                CARD_TOUCHES_PER_HOUR_DEFAULT,
                CARD_TOUCHES_PER_HOUR_MAX,
            )?,
            shop_touches_per_ten_minutes_max: count(
                "attribution.shop_touches_per_ten_minutes_max",
                message.shop_touches_per_ten_minutes_max,
                SHOP_TOUCHES_PER_TEN_MINUTES_DEFAULT,
                SHOP_TOUCHES_PER_TEN_MINUTES_MAX,
            )?,
        })
    }

    /// The longest window of a touch.
    pub fn window_ms_max(&self) -> i64 {
        self.paying_window_ms_max().max(self.redemption_window_ms)
    }

    /// The longest window of a touch that can be paid.
    pub fn paying_window_ms_max(&self) -> i64 {
        let windows =
            [self.hand_out_window_ms, self.scan_window_ms, self.invite_window_ms, self.visit_window_ms];
        windows.into_iter().max().unwrap_or(0)
    }
}

impl PayingModel {
    fn parse(model: i32, half_life_ms: i64) -> Result<Self, Refusal> {
        const HALF_LIFE: &str = "attribution.paying_half_life_ms";
        use proto::PayingModel as P;
        bounds::number(HALF_LIFE, half_life_ms, 0..=ATTRIBUTION_WINDOW_MS_MAX)?;
        let half_life = u64::try_from(half_life_ms).ok().and_then(NonZeroU64::new);
        let model = match P::try_from(model) {
            Ok(P::Unspecified | P::Last) => Self::Last,
            Ok(P::First) => Self::First,
            Ok(P::Linear) => Self::Linear,
            Ok(P::Position) => Self::Position,
            Ok(P::Decay) => return Ok(Self::Decay(half_life.unwrap_or(PAYING_HALF_LIFE_MS_DEFAULT))),
            Err(_) => {
                return Err(Refusal::field("attribution.paying_model", "is none of the models that pay"));
            }
        };
        match half_life {
            None => Ok(model),
            Some(_) => Err(Refusal::field(HALF_LIFE, "is for the model decay alone")),
        }
    }

    /// The model by which all shops of a path share; none: one shop is paid.
    pub const fn shared_by(self) -> Option<Model> {
        match self {
            Self::Last | Self::First => None,
            Self::Linear => Some(Model::Linear),
            Self::Position => Some(Model::Position),
            Self::Decay(half_life) => Some(Model::Decay(HalfLife::Millis(half_life))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charter_that_says_nothing_has_the_old_window_and_the_last_touch() {
        let rules = AttributionRules::parse(None, 77).unwrap();
        assert_eq!(
            (rules.paying_model, rules.window_ms_max(), rules.purchase_window_ms),
            (PayingModel::Last, 77, 77)
        );
        assert_eq!(rules.card_touches_per_hour_max, CARD_TOUCHES_PER_HOUR_DEFAULT);
        let longer = proto::AttributionRules { scan_window_ms: 99, ..Default::default() };
        let rules = AttributionRules::parse(Some(&longer), 77).unwrap();
        assert_eq!((rules.scan_window_ms, rules.invite_window_ms, rules.window_ms_max()), (99, 77, 99));
    }

    #[test]
    fn models_that_share_are_named_with_their_half_life() {
        let model = |model: proto::PayingModel, paying_half_life_ms| {
            let rules = proto::AttributionRules {
                paying_model: model.into(),
                paying_half_life_ms,
                ..Default::default()
            };
            AttributionRules::parse(Some(&rules), 77).map(|rules| rules.paying_model)
        };
        assert_eq!(model(proto::PayingModel::Linear, 0), Ok(PayingModel::Linear));
        assert_eq!(model(proto::PayingModel::Position, 0), Ok(PayingModel::Position));
        let week = PayingModel::Decay(PAYING_HALF_LIFE_MS_DEFAULT);
        assert_eq!(model(proto::PayingModel::Decay, 0), Ok(week));
        assert_eq!(model(proto::PayingModel::Decay, 5), Ok(PayingModel::Decay(NonZeroU64::new(5).unwrap())));
        assert!(model(proto::PayingModel::Linear, 5).is_err());
        assert_eq!(PayingModel::First.shared_by(), None);
    }

    #[test]
    fn rules_out_of_bounds_name_the_field() {
        let field = |message: proto::AttributionRules| {
            AttributionRules::parse(Some(&message), 1).unwrap_err().fact("field").unwrap().to_owned()
        };
        let rules = proto::AttributionRules::default();
        let cases = [
            ("paying_model", proto::AttributionRules { paying_model: 7, ..rules }),
            ("paying_half_life_ms", proto::AttributionRules { paying_half_life_ms: 1, ..rules }),
            ("paying_half_life_ms", proto::AttributionRules { paying_half_life_ms: -1, ..rules }),
            ("hand_out_window_ms", proto::AttributionRules { hand_out_window_ms: -1, ..rules }),
            ("scan_window_ms", proto::AttributionRules { scan_window_ms: i64::MAX, ..rules }),
            ("purchase_window_ms", proto::AttributionRules { purchase_window_ms: -1, ..rules }),
            ("redemption_window_ms", proto::AttributionRules { redemption_window_ms: -1, ..rules }),
            (
                "card_touches_per_hour_max",
                proto::AttributionRules { card_touches_per_hour_max: 1_001, ..rules },
            ),
            (
                "shop_touches_per_ten_minutes_max",
                proto::AttributionRules { shop_touches_per_ten_minutes_max: u32::MAX, ..rules },
            ),
        ];
        for (name, message) in cases {
            assert_eq!(field(message), format!("attribution.{name}"));
        }
    }
}
