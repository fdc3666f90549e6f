//! Customers' paths: which shops they touched, in order, and how that ended.

use alloc::{collections::BTreeSet, vec::Vec};

/// Shops in one run: far above any alliance, and enough for the campaigns of a plain file.
pub const SHOPS_MAX: usize = 10_000;
/// Touches of one path. Models are linear in them; 40/20/40 multiplies by five.
pub const TOUCHES_MAX: usize = 10_000;
/// Ends (conversions and nulls) of all paths together: with [`TOUCHES_MAX`], counted steps stay below 2^54.
pub const COUNT_MAX: u64 = 1_000_000_000_000;

/// A shop's rank among all shops of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShopIndex(pub u32);

impl ShopIndex {
    /// As an index into lists.
    pub const fn usize(self) -> usize {
        self.0 as usize
    }
}

/// The shops of a run, by rank: ids or names, each once. The rank depends on the set alone, never on arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shops<S>(Vec<S>);

impl<S: Ord> Shops<S> {
    /// Ranks the shops; repeats are left out. At most [`SHOPS_MAX`].
    pub fn rank(shops: impl IntoIterator<Item = S>) -> Result<Self, PathError> {
        let ranked: BTreeSet<S> = shops.into_iter().collect();
        if ranked.len() > SHOPS_MAX {
            return Err(PathError::Shops);
        }
        Ok(Self(ranked.into_iter().collect()))
    }

    /// Where a shop stands.
    pub fn index<Q>(&self, shop: &Q) -> Option<ShopIndex>
    where
        S: core::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let index = self.0.binary_search_by(|probe| probe.borrow().cmp(shop)).ok()?;
        u32::try_from(index).ok().map(ShopIndex)
    }

    /// The shops in the order of their rank.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &S> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How often a path was walked, and to what end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Times that it ended in a conversion; at most [`COUNT_MAX`].
    pub conversions: u64,
    /// Times that it ended in nothing; at most [`COUNT_MAX`].
    pub nulls: u64,
    /// What the conversions were worth together, in minor units, or any finer unit that all paths share.
    pub value: u128,
}

/// Touches in order, the first first, and what they led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    shops: Vec<ShopIndex>,
    /// By touch; empty where times are not known.
    ages_ms: Vec<u64>,
    tally: Tally,
}

/// Why something is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No touch.
    #[error("a path has at least one touch")]
    Empty,
    /// More than [`TOUCHES_MAX`] touches.
    #[error("a path has at most {TOUCHES_MAX} touches")]
    Touches,
    /// More than [`COUNT_MAX`] ends.
    #[error("a path counts at most {COUNT_MAX} conversions and as many nulls")]
    Count,
    /// More than [`SHOPS_MAX`] shops.
    #[error("there are at most {SHOPS_MAX} shops")]
    Shops,
    /// Not one age a touch.
    #[error("{ages} ages are given for {touches} touches")]
    AgeCount {
        /// Ages given.
        ages: usize,
        /// Touches.
        touches: usize,
    },
    /// A later touch is older than an earlier one.
    #[error("a later touch is older than an earlier one")]
    AgeOrder,
}

impl Path {
    /// A path of which the order of the touches alone is known.
    pub fn new(shops: Vec<ShopIndex>, tally: Tally) -> Result<Self, PathError> {
        if shops.is_empty() {
            return Err(PathError::Empty);
        }
        if shops.len() > TOUCHES_MAX {
            return Err(PathError::Touches);
        }
        if tally.conversions > COUNT_MAX || tally.nulls > COUNT_MAX {
            return Err(PathError::Count);
        }
        Ok(Self { shops, ages_ms: Vec::new(), tally })
    }

    /// Adds how long before the end each touch was, in milliseconds.
    pub fn with_ages(mut self, ages_ms: Vec<u64>) -> Result<Self, PathError> {
        if ages_ms.len() != self.shops.len() {
            return Err(PathError::AgeCount { ages: ages_ms.len(), touches: self.shops.len() });
        }
        if !ages_ms.is_sorted_by(|earlier, later| earlier >= later) {
            return Err(PathError::AgeOrder);
        }
        self.ages_ms = ages_ms;
        Ok(self)
    }

    /// The touched shops in order; never empty.
    pub fn shops(&self) -> &[ShopIndex] {
        &self.shops
    }

    /// How long before the end each touch was, if known.
    pub fn ages_ms(&self) -> Option<&[u64]> {
        (!self.ages_ms.is_empty()).then_some(&self.ages_ms)
    }

    /// How it ended.
    pub const fn tally(&self) -> Tally {
        self.tally
    }
}
