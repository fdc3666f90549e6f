//! From credit to money: integer minor units that add up exactly (MON-1).

use alloc::vec::Vec;
use core::cmp::Reverse;

use hutong_record::Money;
use num_bigint::BigUint;

use super::Credit;

/// Why an amount cannot be shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareOutError {
    /// There is an amount, and nobody to give it to.
    #[error("nobody has any credit, so the amount cannot be shared out")]
    NoCredit,
}

/// Shares an amount out in proportion to credit, by largest remainder: each share is rounded towards zero, and the minor
/// units still missing go, one each, to the largest remainders; among equal ones to the lower index. The shares have the
/// amount's sign and add up to it exactly.
pub fn share_out(amount: Money, credits: &[Credit]) -> Result<Vec<Money>, ShareOutError> {
    let all: Credit = credits.iter().cloned().sum();
    if all.is_zero() {
        return if amount.minor() == 0 {
            Ok(credits.iter().map(|_| amount).collect())
        } else {
            Err(ShareOutError::NoCredit)
        };
    }
    let units = Credit::new(amount.minor().unsigned_abs(), 1_u32);
    let (mut shares, remainders): (Vec<BigUint>, Vec<Credit>) =
        credits.iter().map(|credit| (&(&units * credit) / &all).split_whole()).unzip();
    let given: BigUint = shares.iter().sum();
    let missing = usize::try_from(BigUint::from(amount.minor().unsigned_abs()) - given)
        .expect("fewer units are missing than there are shares");
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|&index| Reverse(&remainders[index]));
    for &index in order.iter().take(missing) {
        shares[index] += 1_u32;
    }
    Ok(shares.iter().map(|share| with_sign_of(amount, share)).collect())
}

fn with_sign_of(amount: Money, share: &BigUint) -> Money {
    let minor = i64::try_from(share).expect("a share is at most the amount");
    let signed = if amount.minor() < 0 { -minor } else { minor };
    Money::new(amount.currency(), signed).expect("a share is within the amount's bounds")
}

#[cfg(test)]
mod tests {
    use hutong_record::Currency;
    use proptest::prelude::*;

    use super::*;

    fn cny(minor: i64) -> Money {
        Money::new(Currency::CNY, minor).unwrap()
    }

    fn shares(amount: i64, credits: &[(u64, u64)]) -> Vec<i64> {
        let credits: Vec<_> = credits.iter().map(|&(parts, whole)| Credit::new(parts, whole)).collect();
        share_out(cny(amount), &credits).unwrap().into_iter().map(Money::minor).collect()
    }

    #[test]
    fn the_largest_remainder_gets_the_odd_cent_and_the_lower_index_wins_ties() {
        assert_eq!(shares(100, &[(1, 3), (1, 3), (1, 3)]), [34, 33, 33]);
        assert_eq!(shares(-100, &[(1, 3), (1, 3), (1, 3)]), [-34, -33, -33]);
        assert_eq!(shares(10, &[(1, 4), (1, 4), (1, 2)]), [3, 2, 5]);
        assert_eq!(shares(10, &[(149, 1), (351, 1), (500, 1)]), [1, 4, 5]);
        assert_eq!(shares(1, &[(0, 1), (1, 7)]), [0, 1]);
    }

    #[test]
    fn nobody_s_credit_takes_nothing_but_nothing() {
        let nobody = [Credit::zero()];
        assert_eq!(share_out(cny(1), &nobody), Err(ShareOutError::NoCredit));
        assert_eq!(share_out(cny(0), &nobody), Ok(vec![cny(0)]));
        assert_eq!(share_out(cny(1), &[]), Err(ShareOutError::NoCredit));
    }

    proptest! {
        #[test]
        fn shares_add_up_and_are_less_than_one_unit_off(
            amount in 0..1_000_000_000_000_i64,
            credits in prop::collection::vec((0..1_000_000_u64, 1..1_000_u64), 1..20),
        ) {
            prop_assume!(credits.iter().any(|credit| credit.0 > 0));
            let exact: Vec<_> = credits.iter().map(|&(parts, whole)| Credit::new(parts, whole)).collect();
            let all: Credit = exact.iter().cloned().sum();
            let shares = shares(amount, &credits);
            prop_assert_eq!(shares.iter().sum::<i64>(), amount);
            for (share, credit) in shares.into_iter().zip(&exact) {
                let due = &(&Credit::new(amount.unsigned_abs(), 1_u32) * credit) / &all;
                let share = share.unsigned_abs();
                prop_assert!(Credit::new(share + 1, 1_u32) > due);
                prop_assert!(share == 0 || Credit::new(share - 1, 1_u32) < due);
            }
        }
    }
}
