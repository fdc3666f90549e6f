//! How one conversion is split among the shops of its path, in integer parts of a whole.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::{AttributionError, HalfLife, Path, ShopIndex, decay};

/// Each shop's parts of a conversion; they add up to the whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) parts: BTreeMap<ShopIndex, u64>,
    pub(super) whole: u64,
}

pub(super) fn first(path: &Path) -> Split {
    by_touch(&path.shops()[..1], &[1])
}

pub(super) fn last(path: &Path) -> Split {
    by_touch(&path.shops()[path.shops().len() - 1..], &[1])
}

pub(super) fn linear(path: &Path) -> Split {
    by_touch(path.shops(), &vec![1; path.shops().len()])
}

pub(super) fn position(path: &Path) -> Split {
    by_touch(path.shops(), &ends_and_between(path.shops().len()))
}

pub(super) fn decay(path: &Path, half_life: HalfLife) -> Result<Split, AttributionError> {
    Ok(by_touch(path.shops(), &decay::parts(&ages(path, half_life)?, half_life)))
}

/// The Shapley value. v is a sum over the paths of games in which a coalition earns a path's conversions if it holds all of
/// the path's shops. In such a game (a unanimity game) all of them are interchangeable and the others add nothing, so
/// each gets the same share; and the value of a sum of games is the sum of their values.
pub(super) fn shapley(path: &Path) -> Split {
    let parts: BTreeMap<_, _> = path.shops().iter().map(|&shop| (shop, 1)).collect();
    let whole = parts.values().sum();
    Split { parts, whole }
}

/// Parts go to the touches in order; those of one shop add up.
fn by_touch(shops: &[ShopIndex], parts_by_touch: &[u64]) -> Split {
    let mut parts = BTreeMap::new();
    for (&shop, &part) in shops.iter().zip(parts_by_touch) {
        *parts.entry(shop).or_default() += part;
    }
    Split { parts, whole: parts_by_touch.iter().sum() }
}

/// 40/20/40 over three touches and more: with m touches in the middle, 2m, m times 1, and 2m parts of 5m.
fn ends_and_between(touches: usize) -> Vec<u64> {
    let mut parts = vec![1; touches];
    let middle = touches.saturating_sub(2) as u64;
    if let (true, [first, .., last]) = (middle > 0, parts.as_mut_slice()) {
        *first = 2 * middle;
        *last = 2 * middle;
    }
    parts
}

/// How long before the conversion each touch was, in the half-life's unit.
fn ages(path: &Path, half_life: HalfLife) -> Result<Vec<u64>, AttributionError> {
    match half_life {
        HalfLife::Steps(_) => Ok((0..path.shops().len() as u64).rev().collect()),
        HalfLife::Millis(_) => path.ages_ms().map(<[u64]>::to_vec).ok_or(AttributionError::NoAges),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_get_two_fifths_and_short_paths_are_shared_evenly() {
        assert_eq!(ends_and_between(1), [1]);
        assert_eq!(ends_and_between(2), [1, 1]);
        assert_eq!(ends_and_between(3), [2, 1, 2]);
        assert_eq!(ends_and_between(5), [6, 1, 1, 1, 6]);
    }
}
