//! Time decay in fixed point: the same bits everywhere, with no floats and no mathematical library.

use alloc::vec::Vec;
use core::num::NonZeroU64;

/// After how much a touch counts half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfLife {
    /// So many touches further from the conversion; the last touch is zero steps away.
    Steps(NonZeroU64),
    /// So many milliseconds further from the conversion.
    Millis(NonZeroU64),
}

impl HalfLife {
    const fn length(self) -> NonZeroU64 {
        match self {
            Self::Steps(length) | Self::Millis(length) => length,
        }
    }
}

/// Binary places of a weight. What is more half-lives away than that weighs nothing.
const PLACES: u32 = 63;
/// A weight of one.
const ONE: u128 = 1 << PLACES;
/// Parts of a conversion: the grid that shares are put on, so that they add up exactly.
pub(super) const WHOLE: u64 = 1 << 62;

/// Parts of [`WHOLE`] by touch, in proportion to 2^(-age / half-life), ages counted from the latest touch; what is left after
/// rounding down goes, one part each, to the largest remainders, and among equal ones to the later touch.
pub(super) fn parts(ages: &[u64], half_life: HalfLife) -> Vec<u64> {
    let latest = ages.iter().min().copied().unwrap_or(0);
    let roots = roots();
    let weights: Vec<u128> =
        ages.iter().map(|age| weight(age - latest, half_life.length(), &roots)).collect();
    // The latest touch weighs one, so this is above zero.
    let all: u128 = weights.iter().sum();
    let scaled = |weight: &u128| weight * u128::from(WHOLE);
    let mut parts: Vec<u64> = weights
        .iter()
        .map(|weight| u64::try_from(scaled(weight) / all).expect("a part is at most the whole"))
        .collect();
    let missing = WHOLE - parts.iter().sum::<u64>();
    let mut order: Vec<usize> = (0..parts.len()).rev().collect();
    // Stable: later touches stay before earlier ones of the same remainder.
    order.sort_by_key(|&touch| core::cmp::Reverse(scaled(&weights[touch]) % all));
    for &touch in order.iter().take(usize::try_from(missing).expect("fewer than touches")) {
        parts[touch] += 1;
    }
    parts
}

/// 2^(-1/2), 2^(-1/4), 2^(-1/8), … rounded down: each the integer square root of the one before.
fn roots() -> [u128; PLACES as usize] {
    let mut power = ONE / 2;
    core::array::from_fn(|_| {
        power = (power << PLACES).isqrt();
        power
    })
}

/// 2^(-age / half-life), rounded down step by step: whole half-lives by shifting, the rest bit by bit from the roots. Within
/// 2^-56 of the true value.
fn weight(age: u64, half_life: NonZeroU64, roots: &[u128]) -> u128 {
    let halvings = age / half_life;
    let rest = (u128::from(age % half_life) << PLACES) / u128::from(half_life.get());
    let bit_is_set = |place: usize| rest >> (PLACES as usize - 1 - place) & 1 == 1;
    let fraction = roots
        .iter()
        .enumerate()
        .filter(|(place, _)| bit_is_set(*place))
        .fold(ONE, |product, (_, root)| (product * root) >> PLACES);
    // Beyond all places nothing is left.
    u32::try_from(halvings).ok().and_then(|halvings| fraction.checked_shr(halvings)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn half_life(length: u64) -> NonZeroU64 {
        NonZeroU64::new(length).unwrap()
    }

    #[test]
    fn one_half_life_halves_exactly() {
        for halvings in 0..=63 {
            assert_eq!(weight(halvings * 7, half_life(7), &roots()), ONE >> halvings);
        }
        assert_eq!(weight(64 * 7, half_life(7), &roots()), 0);
        assert_eq!(weight(u64::MAX, half_life(1), &roots()), 0);
        assert_eq!(parts(&[2, 1, 0], HalfLife::Steps(half_life(1))).iter().sum::<u64>(), WHOLE);
    }

    #[test]
    fn only_the_distance_to_the_latest_touch_counts() {
        let half_life = HalfLife::Millis(half_life(3_600_000));
        assert_eq!(parts(&[u64::MAX, u64::MAX - 5], half_life), parts(&[5, 0], half_life));
    }

    #[test]
    fn equal_ages_get_the_same_but_for_one_part() {
        let shares = parts(&[0; 3], HalfLife::Steps(half_life(1)));
        assert_eq!(shares, [WHOLE / 3, WHOLE / 3, WHOLE / 3 + 1]);
    }

    proptest! {
        #[test]
        fn weights_are_powers_of_two(age in 0..1_000_000_u64, length in 1..1_000_000_u64) {
            let weight = weight(age, half_life(length), &roots()) as f64 / ONE as f64;
            let expected = (-(age as f64) / length as f64).exp2();
            prop_assert!((weight - expected).abs() <= 1e-15, "{} {}", weight, expected);
        }

        #[test]
        fn parts_add_up(mut ages in prop::collection::vec(0..10_000_u64, 1..200), length in 1..10_000_u64) {
            ages.sort_unstable();
            ages.reverse();
            let parts = parts(&ages, HalfLife::Steps(half_life(length)));
            prop_assert_eq!(parts.iter().sum::<u64>(), WHOLE);
        }
    }
}
