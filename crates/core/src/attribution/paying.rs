//! A bounty that all shops of one path share: in integer parts, reckoned from the touches that a receipt lists, so that every
//! party of it comes to the same minor units (CON-1) and the shares add up to the bounty (MON-1).

use alloc::vec::Vec;

use hutong_record::{Money, ShopId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{Credit, Model, Path, Shops, Tally, share_out, split};

/// Touches that share one bounty, the latest ones: with redeemer, issuer, funder and co-funders, their shops are parties of
/// one record ([`hutong_record::PARTIES_MAX`]).
pub const PAID_TOUCHES_MAX: usize = 8;

/// A shop's part of a bounty; the whole is what all of them come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidShop {
    /// Who is paid.
    pub shop: ShopId,
    /// Its parts of the whole.
    pub parts: u64,
}

/// The parts of the shops of a path, ascending by shop. None: the touches are no path, or the model does not share.
pub(crate) fn paid_shops(
    touches: &[(UnixMillis, ShopId)],
    at: UnixMillis,
    model: Model,
) -> Option<Vec<PaidShop>> {
    let shops = Shops::rank(touches.iter().map(|(_, shop)| *shop)).ok()?;
    let places = touches.iter().map(|(_, shop)| shops.index(shop)).collect::<Option<_>>()?;
    let age = |touched: UnixMillis| u64::try_from(at.ms_since(touched)).unwrap_or(0);
    let ages = touches.iter().map(|(touched, _)| age(*touched)).collect();
    let path = Path::new(places, Tally::default()).and_then(|path| path.with_ages(ages)).ok()?;
    let split = match model {
        Model::Linear => split::linear(&path),
        Model::Position => split::position(&path),
        Model::Decay(half_life) => split::decay(&path, half_life).ok()?,
        Model::First | Model::Last | Model::Shapley | Model::Markov(..) => return None,
    };
    let parts = shops.iter().zip(split.parts.into_values());
    Some(parts.map(|(shop, parts)| PaidShop { shop: *shop, parts }).collect())
}

/// What each shop gets of a bounty: by largest remainder, to the lower shop among equals.
pub(crate) fn shares(bounty: Money, paid: &[PaidShop]) -> Vec<(ShopId, Money)> {
    let credits: Vec<Credit> = paid.iter().map(|paid| Credit::new(paid.parts, 1_u32)).collect();
    let nothing = Money::zero(bounty.currency());
    // Somebody always has a part; where nobody had, nobody would be paid.
    let shares = share_out(bounty, &credits).unwrap_or_else(|_| credits.iter().map(|_| nothing).collect());
    paid.iter().map(|paid| paid.shop).zip(shares).collect()
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU64;

    use hutong_record::Currency;
    use proptest::prelude::*;

    use super::*;
    use crate::attribution::HalfLife;

    fn shop(number: u8) -> ShopId {
        ShopId::new([number; 32])
    }

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    fn minors(model: Model, touches: &[(i64, u8)], bounty: i64) -> Vec<(u8, i64)> {
        let touches: Vec<_> = touches.iter().map(|(ms, number)| (at(*ms), shop(*number))).collect();
        let paid = paid_shops(&touches, at(1_000), model).unwrap();
        let shares = shares(Money::new(Currency::CNY, bounty).unwrap(), &paid);
        shares.into_iter().map(|(shop, money)| (shop.as_bytes()[0], money.minor())).collect()
    }

    fn hundred() -> Model {
        Model::Decay(HalfLife::Millis(NonZeroU64::new(100).unwrap()))
    }

    #[test]
    fn shares_follow_the_model_to_the_cent() {
        let path = [(100, 3), (200, 1), (300, 2)];
        assert_eq!(minors(Model::Linear, &path, 100), [(1, 34), (2, 33), (3, 33)]);
        assert_eq!(minors(Model::Position, &path, 100), [(1, 20), (2, 40), (3, 40)]);
        assert_eq!(minors(hundred(), &path, 700), [(1, 200), (2, 400), (3, 100)]);
        assert_eq!(minors(Model::Linear, &[(100, 3), (200, 1), (300, 3)], 99), [(1, 33), (3, 66)]);
        assert_eq!(minors(Model::Position, &[(100, 3)], 5), [(3, 5)]);
    }

    #[test]
    fn one_shop_models_and_empty_paths_share_nothing() {
        let touches = [(at(1), shop(1))];
        for model in [Model::First, Model::Last, Model::Shapley] {
            assert_eq!(paid_shops(&touches, at(2), model), None);
        }
        assert_eq!(paid_shops(&[], at(2), Model::Linear), None);
    }

    proptest! {
        #[test]
        fn shares_add_up_to_the_bounty(
            path in proptest::collection::vec((0_i64..2_000, 0_u8..6), 1..=PAID_TOUCHES_MAX),
            bounty in 0_i64..=hutong_record::MINOR_MAX,
            half_life in 1_u64..1_000_000,
        ) {
            let mut path = path;
            path.sort_unstable();
            let decay = Model::Decay(HalfLife::Millis(NonZeroU64::new(half_life).unwrap()));
            for model in [Model::Linear, Model::Position, decay] {
                let sum: i64 = minors(model, &path, bounty).into_iter().map(|(_, minor)| minor).sum();
                prop_assert_eq!(sum, bounty);
            }
        }
    }
}
