//! Credit as an exact fraction.

use core::{
    iter::Sum,
    ops::{AddAssign, Div, Mul},
};

use num_bigint::BigUint;
use num_rational::Ratio;

/// Bits that a quotient is worked out to before it is rounded to the 53 of an `f64`.
const QUOTIENT_BITS: i64 = 64;
/// Bits of an `f64`'s fraction.
const FRACTION_BITS: u32 = 52;
/// What an `f64`'s exponent field counts from.
const EXPONENT_BIAS: i64 = 1023;

/// How much a shop is credited with: an exact fraction, not below zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credit(Ratio<BigUint>);

impl Credit {
    /// None.
    pub fn zero() -> Self {
        Self(Ratio::from_integer(BigUint::ZERO))
    }

    /// `parts` of `whole`, which is not zero.
    pub(super) fn new(parts: impl Into<BigUint>, whole: impl Into<BigUint>) -> Self {
        Self(Ratio::new(parts.into(), whole.into()))
    }

    /// Exactly what a finite `f64` above zero says; zero for all others.
    pub(super) fn from_f64(value: f64) -> Self {
        let bits = value.to_bits();
        let exponent = i64::try_from(bits >> FRACTION_BITS).expect("twelve bits") & 0x7ff;
        let fraction = bits & ((1 << FRACTION_BITS) - 1);
        // What is not normal (exponent 0) is below 2^-1022 and counts as nothing.
        if !value.is_finite() || value < 0.0 || exponent == 0 {
            return Self::zero();
        }
        let significand = BigUint::from(fraction | (1 << FRACTION_BITS));
        let shift = exponent - EXPONENT_BIAS - i64::from(FRACTION_BITS);
        match usize::try_from(shift) {
            Ok(up) => Self::new(significand << up, 1_u32),
            Err(_) => Self::new(significand, BigUint::from(1_u32) << shift.unsigned_abs()),
        }
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        *self.0.numer() == BigUint::ZERO
    }

    /// A `units`-th of it: value counted in a finer unit becomes value in the coarser. `units` is not zero.
    pub fn per(&self, units: u128) -> Self {
        Self(&self.0 / BigUint::from(units))
    }

    /// The whole number in it, and what is left over.
    pub(super) fn split_whole(&self) -> (BigUint, Self) {
        (self.0.to_integer(), Self(self.0.fract()))
    }

    /// The nearest `f64`, ties to even: correctly rounded, so the same bits everywhere.
    pub fn to_f64(&self) -> f64 {
        if self.is_zero() {
            return 0.0;
        }
        let bits = |n: &BigUint| i64::try_from(n.bits()).expect("numbers fit into memory");
        let shift = QUOTIENT_BITS + bits(self.0.denom()) - bits(self.0.numer());
        let (mut above, mut below) = (self.0.numer().clone(), self.0.denom().clone());
        if shift >= 0 {
            above <<= shift.unsigned_abs()
        } else {
            below <<= shift.unsigned_abs()
        }
        let quotient = &above / &below;
        let exact = &quotient * &below == above;
        // 64 or 65 bits. Its last bit is far below those that are kept and only says that more follows.
        let quotient = u128::try_from(quotient).expect("64 or 65 bits") | u128::from(!exact);
        scaled_down(quotient as f64, shift)
    }
}

/// `value` halved `shift` times (doubled where negative). Exact unless the result is below 2^-1022.
fn scaled_down(value: f64, shift: i64) -> f64 {
    let mut value = value;
    let mut left = shift;
    while left != 0 {
        let step = left.clamp(-1_000, 1_000);
        let power = u64::try_from(EXPONENT_BIAS - step).expect("23 to 2023") << FRACTION_BITS;
        value *= f64::from_bits(power);
        left -= step;
    }
    value
}

impl AddAssign for Credit {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sum for Credit {
    fn sum<I: Iterator<Item = Self>>(credits: I) -> Self {
        credits.fold(Self::zero(), |mut sum, credit| {
            sum += credit;
            sum
        })
    }
}

impl Mul for &Credit {
    type Output = Credit;

    fn mul(self, other: Self) -> Credit {
        Credit(&self.0 * &other.0)
    }
}

impl Div for &Credit {
    type Output = Credit;

    /// `other` is not zero.
    fn div(self, other: Self) -> Credit {
        Credit(&self.0 / &other.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thirds_add_up_to_one() {
        let third = Credit::new(1_u32, 3_u32);
        assert_eq!(
            [third.clone(), third.clone(), third].into_iter().sum::<Credit>(),
            Credit::new(1_u32, 1_u32)
        );
    }

    #[test]
    fn halfway_rounds_to_even() {
        let two_53 = 1_u64 << 53;
        assert_eq!(Credit::new(two_53 + 1, 1_u32).to_f64(), 9_007_199_254_740_992.0);
        assert_eq!(Credit::new(two_53 + 3, 1_u32).to_f64(), 9_007_199_254_740_996.0);
        // A trace above halfway rounds up.
        let trace = (BigUint::from(two_53 + 1) << 200_u32) + 1_u32;
        assert_eq!(Credit::new(trace, BigUint::from(1_u32) << 200_u32).to_f64(), 9_007_199_254_740_994.0);
    }

    #[test]
    fn what_is_no_number_above_zero_is_nothing() {
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE / 2.0] {
            assert!(Credit::from_f64(value).is_zero(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_float_goes_through_unchanged(value in f64::MIN_POSITIVE..f64::MAX) {
            prop_assert_eq!(Credit::from_f64(value).to_f64().to_bits(), value.to_bits());
        }

        #[test]
        fn fractions_of_small_integers_round_as_ieee_division_does(n in 1..1_u64 << 53, d in 1..1_u64 << 53) {
            prop_assert_eq!(Credit::new(n, d).to_f64().to_bits(), (n as f64 / d as f64).to_bits());
        }
    }
}
