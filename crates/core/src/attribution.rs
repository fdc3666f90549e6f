//! Who is credited with a conversion: from customers' paths to each shop's share.
//!
//! A [`Path`] is an ordered row of touches and how often it ended in a conversion, how often in nothing. A [`Model`] splits
//! each conversion among the shops of its path:
//!
//! | model | of one conversion |
//! | --- | --- |
//! | first, last | all to the first, or the last, touch |
//! | linear | the same to every touch |
//! | position | 40 % to the first, 40 % to the last, 20 % evenly to those between; two touches get half each, one gets all |
//! | decay | halved with every half-life between the touch and the conversion ([`HalfLife`], in steps or in time) |
//! | Shapley | the same to every *distinct* shop: the Shapley value of v(S) = conversions of the paths whose shops all lie in S |
//! | Markov | by removal effect in a chain of order k estimated from the paths ([`markov`]) |
//!
//! Several touches of one shop add up. **All nodes compute identical bits**: shops are numbered by rank and not by arrival,
//! counts are integers, and sums of credit are exact rationals, so neither order nor grouping of the paths matters. Credits
//! add up to the conversions exactly, in every model. What is irrational is made by a fixed sequence of operations that
//! are exact or correctly rounded: decay from integer square roots in fixed point, Markov from IEEE 754 `+`, `*` and `/`
//! in a fixed order. No floating-point function of a platform is called. See `crates/adr/0012`.

mod credit;
mod decay;
mod elimination;
pub mod markov;
mod path;
pub(crate) mod paying;
mod share_out;
mod split;
#[cfg(test)]
mod tests;

use alloc::{collections::BTreeMap, vec, vec::Vec};

use num_bigint::BigUint;

pub use credit::Credit;
pub use decay::HalfLife;
pub use markov::{Chain, Nulls, Order};
pub use path::{COUNT_MAX, Path, PathError, SHOPS_MAX, ShopIndex, Shops, TOUCHES_MAX, Tally};
pub use paying::{PAID_TOUCHES_MAX, PaidShop};
pub use share_out::{ShareOutError, share_out};
use split::Split;

/// How credit is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// All to the first touch.
    First,
    /// All to the last touch.
    Last,
    /// The same to every touch.
    Linear,
    /// 40/20/40: the ends, and evenly what lies between.
    Position,
    /// The nearer to the conversion, the more.
    Decay(HalfLife),
    /// The same to every distinct shop.
    Shapley,
    /// Removal effects of a Markov chain.
    Markov(Order, Nulls),
}

/// What a model came to. Lists go by [`ShopIndex`].
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// Of the conversions, each shop's. They add up to the conversions of all paths.
    pub conversions: Vec<Credit>,
    /// Of the conversions' value, each shop's, in the unit of the paths' tallies. They add up to the value of all paths.
    pub values: Vec<Credit>,
    /// Of the chain, where the model is one.
    pub chain: Option<Chain>,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttributionError {
    /// A path names a shop that is not among those counted.
    #[error("a path names shop number {}, but there are only {shops}", .shop.0)]
    UnknownShop {
        /// The shop.
        shop: ShopIndex,
        /// How many there are.
        shops: usize,
    },
    /// All paths together ended more often than [`COUNT_MAX`].
    #[error("all paths together count more than {COUNT_MAX} ends")]
    TooMany,
    /// A half-life in time takes the touches' ages.
    #[error("a half-life in time needs the age of every touch, and a path has none")]
    NoAges,
    /// The chain has too many states, of so high an order.
    #[error("the chain has {states} states, more than {}: take a lower order", markov::STATES_MAX)]
    TooManyStates {
        /// How many it has.
        states: usize,
    },
    /// The chain's equations would take too long.
    #[error(
        "the chain's equations take more than {} steps to solve: take a lower order",
        markov::UPDATES_MAX
    )]
    TooMuchWork,
}

/// Splits the conversions of the paths among `shops` shops.
pub fn attribute(shops: usize, paths: &[Path], model: Model) -> Result<Attribution, AttributionError> {
    check(shops, paths)?;
    match model {
        Model::First => by_path(shops, paths, |path| Ok(split::first(path))),
        Model::Last => by_path(shops, paths, |path| Ok(split::last(path))),
        Model::Linear => by_path(shops, paths, |path| Ok(split::linear(path))),
        Model::Position => by_path(shops, paths, |path| Ok(split::position(path))),
        Model::Decay(half_life) => by_path(shops, paths, |path| split::decay(path, half_life)),
        Model::Shapley => by_path(shops, paths, |path| Ok(split::shapley(path))),
        Model::Markov(order, nulls) => {
            Ok(by_removal_effect(paths, markov::solve(shops, paths, order, nulls)?))
        }
    }
}

fn check(shops: usize, paths: &[Path]) -> Result<(), AttributionError> {
    let mut ends = 0_u64;
    for path in paths {
        if let Some(&shop) = path.shops().iter().find(|shop| shop.usize() >= shops) {
            return Err(AttributionError::UnknownShop { shop, shops });
        }
        // Each tally is at most twice the bound, so the sum cannot overflow before it is noticed.
        ends += path.tally().conversions + path.tally().nulls;
        if ends > COUNT_MAX {
            return Err(AttributionError::TooMany);
        }
    }
    Ok(())
}

/// Parts of a conversion and of its value that are still to be divided by a common whole.
#[derive(Default)]
struct Parts {
    conversions: BigUint,
    value: BigUint,
}

/// The models that look at one path at a time. Parts of the same whole are added up as integers first, so that a sum over
/// many paths costs few fractions.
fn by_path(
    shops: usize,
    paths: &[Path],
    split: impl Fn(&Path) -> Result<Split, AttributionError>,
) -> Result<Attribution, AttributionError> {
    let mut sums: BTreeMap<(ShopIndex, u64), Parts> = BTreeMap::new();
    for path in paths {
        let Split { parts, whole } = split(path)?;
        for (shop, part) in parts {
            let sum = sums.entry((shop, whole)).or_default();
            sum.conversions += BigUint::from(part) * path.tally().conversions;
            sum.value += BigUint::from(part) * path.tally().value;
        }
    }
    let mut conversions = vec![Credit::zero(); shops];
    let mut values = conversions.clone();
    for ((shop, whole), sum) in sums {
        conversions[shop.usize()] += Credit::new(sum.conversions, whole);
        values[shop.usize()] += Credit::new(sum.value, whole);
    }
    Ok(Attribution { conversions, values, chain: None })
}

/// Conversions and value in proportion to the removal effects; exactly, once these are given.
fn by_removal_effect(paths: &[Path], chain: Chain) -> Attribution {
    let effects: Vec<_> = chain.removal_effects.iter().map(|&effect| Credit::from_f64(effect)).collect();
    let all: Credit = effects.iter().cloned().sum();
    let in_proportion = |total: BigUint| {
        let total = Credit::new(total, 1_u32);
        let part = |effect: &Credit| if all.is_zero() { Credit::zero() } else { &(&total * effect) / &all };
        effects.iter().map(part).collect()
    };
    Attribution {
        conversions: in_proportion(paths.iter().map(|path| path.tally().conversions).sum()),
        values: in_proportion(paths.iter().map(|path| path.tally().value).sum()),
        chain: Some(chain),
    }
}
