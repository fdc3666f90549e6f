//! Funding: who bears what a promotion costs.

use alloc::vec::Vec;

use hutong_record::{Money, ShopId, proto};
use serde::{Deserialize, Serialize};

use crate::{bounds, refusal::Refusal};

/// Shops that bear one promotion: each is a party to its receipts.
pub const FUNDERS_MAX: usize = 5;
/// All of it, in hundredths of a percent.
const WHOLE_BASIS_POINTS: u32 = 10_000;

/// What one shop bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Who.
    pub shop: ShopId,
    /// Hundredths of a percent.
    pub basis_points: u32,
}

/// Checks a promotion's list of who bears it; none: the funder alone.
pub(super) fn parse(messages: &[proto::FundingShare]) -> Result<Vec<Share>, Refusal> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    bounds::number("funding", messages.len(), 2..=FUNDERS_MAX)?;
    let mut shares: Vec<Share> = Vec::with_capacity(messages.len());
    for message in messages {
        let shop =
            ShopId::try_from(message.shop_id.as_ref()).map_err(|e| Refusal::field("funding.shop_id", e))?;
        bounds::number("funding.basis_points", message.basis_points, 1..=WHOLE_BASIS_POINTS)?;
        if shares.iter().any(|share| share.shop == shop) {
            return Err(Refusal::field("funding", "a shop is named twice"));
        }
        shares.push(Share { shop, basis_points: message.basis_points });
    }
    let all: u32 = shares.iter().map(|share| share.basis_points).sum();
    if all == WHOLE_BASIS_POINTS {
        Ok(shares)
    } else {
        Err(Refusal::field(
            "funding",
            alloc::format!("the shares add up to {all}, not to {WHOLE_BASIS_POINTS}"),
        ))
    }
}

/// Who bears a use: the shops that agreed their shares, the funder the rest. The funder comes first, then the list's order.
pub fn bearers(funder: ShopId, listed: &[Share], agreed: &[ShopId]) -> Vec<Share> {
    let others = listed.iter().filter(|share| share.shop != funder && agreed.contains(&share.shop)).copied();
    let others: Vec<Share> = others.collect();
    let rest = WHOLE_BASIS_POINTS - others.iter().map(|share| share.basis_points).sum::<u32>();
    let own = (rest > 0).then_some(Share { shop: funder, basis_points: rest });
    own.into_iter().chain(others).collect()
}

/// Shares an amount out among those who bear it, by largest remainder: what is missing by rounding down goes, a minor
/// unit each, to the largest remainders, among equal ones to the earlier. The parts add up to the amount (MON-1).
pub fn split(amount: Money, bearers: &[Share]) -> Vec<(ShopId, i64)> {
    let whole = i128::from(WHOLE_BASIS_POINTS);
    let exact = |share: &Share| i128::from(amount.minor()) * i128::from(share.basis_points);
    let mut parts: Vec<i64> = Vec::with_capacity(bearers.len());
    for share in bearers {
        parts.push(i64::try_from(exact(share).div_euclid(whole)).expect("at most the amount"));
    }
    let missing = usize::try_from(amount.minor() - parts.iter().sum::<i64>()).unwrap_or(0);
    let mut order: Vec<usize> = (0..bearers.len()).collect();
    order.sort_by_key(|&place| core::cmp::Reverse(exact(&bearers[place]).rem_euclid(whole)));
    order.iter().take(missing).for_each(|&place| parts[place] += 1);
    bearers.iter().map(|share| share.shop).zip(parts).collect()
}

#[cfg(test)]
mod tests {
    use hutong_record::Currency;
    use proptest::prelude::*;

    use super::*;

    fn shop(n: u8) -> ShopId {
        ShopId::new([n; 32])
    }

    fn shares(parts: &[(u8, u32)]) -> Vec<Share> {
        parts.iter().map(|&(n, basis_points)| Share { shop: shop(n), basis_points }).collect()
    }

    fn cny(minor: i64) -> Money {
        Money::new(Currency::CNY, minor).unwrap()
    }

    #[test]
    fn who_has_not_agreed_bears_nothing_and_the_funder_the_rest() {
        let listed = shares(&[(1, 5_000), (2, 3_000), (3, 2_000)]);
        assert_eq!(bearers(shop(1), &listed, &[]), shares(&[(1, 10_000)]));
        assert_eq!(bearers(shop(1), &listed, &[shop(3)]), shares(&[(1, 8_000), (3, 2_000)]));
        assert_eq!(bearers(shop(1), &listed, &[shop(2), shop(3)]), listed);
        let sponsors = shares(&[(2, 4_000), (3, 6_000)]);
        assert_eq!(bearers(shop(1), &sponsors, &[shop(2), shop(3)]), sponsors, "the funder bears nothing");
        assert_eq!(bearers(shop(1), &[], &[]), shares(&[(1, 10_000)]));
    }

    #[test]
    fn the_odd_cent_goes_to_the_largest_remainder() {
        let parts = |minor, listed: &[(u8, u32)]| -> Vec<i64> {
            split(cny(minor), &shares(listed)).into_iter().map(|(_, part)| part).collect()
        };
        assert_eq!(parts(100, &[(1, 3_334), (2, 3_333), (3, 3_333)]), [34, 33, 33]);
        assert_eq!(parts(1, &[(1, 5_000), (2, 5_000)]), [1, 0]);
        assert_eq!(parts(1, &[(1, 4_999), (2, 5_001)]), [0, 1]);
    }

    #[test]
    fn bad_lists_name_the_field() {
        let message = |n: u8, basis_points| proto::FundingShare { shop_id: vec![n; 32].into(), basis_points };
        let field = |list: &[proto::FundingShare]| parse(list).unwrap_err().fact("field").unwrap().to_owned();
        assert_eq!(field(&[message(1, 10_000)]), "funding");
        assert_eq!(field(&[message(1, 5_000), message(1, 5_000)]), "funding");
        assert_eq!(field(&[message(1, 5_000), message(2, 4_999)]), "funding");
        assert_eq!(field(&[message(1, 0), message(2, 10_000)]), "funding.basis_points");
        let short = proto::FundingShare { shop_id: vec![1; 31].into(), basis_points: 1 };
        assert_eq!(field(&[short, message(2, 9_999)]), "funding.shop_id");
        let six: Vec<_> = (1..=6).map(|n| message(n, 1_000)).collect();
        assert_eq!(field(&six), "funding");
    }

    proptest! {
        #[test]
        fn parts_add_up(minor in 0..1_000_000_000_000i64, one in 1..9_998u32, two in 1..5_000u32) {
            let two = two.min(9_999 - one);
            let listed = shares(&[(1, one), (2, two), (3, 10_000 - one - two)]);
            let parts = split(cny(minor), &listed);
            prop_assert_eq!(parts.iter().map(|(_, part)| part).sum::<i64>(), minor);
            prop_assert!(parts.iter().all(|(_, part)| *part >= 0));
        }
    }
}
