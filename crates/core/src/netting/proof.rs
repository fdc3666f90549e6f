//! Checking a netting without trusting how it was found.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::{Books, Debt, Netting, NettingError};

/// What is wrong with a netting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Discrepancy {
    /// The debts themselves cannot be netted.
    #[error("the debts: {0}")]
    Debts(NettingError),
    /// The obligations are no debts.
    #[error("the obligations: {0}")]
    Obligations(NettingError),
    /// One shop is left owing another more than it did.
    #[error("obligation number {} is more than was owed", .obligation + 1)]
    MoreThanOwed {
        /// Which one, from zero.
        obligation: usize,
    },
    /// A shop is better or worse off.
    #[error("the net position of a shop has changed")]
    NetPosition,
    /// Total, cleared and remainder are not those of the debts and obligations.
    #[error("total, cleared and remainder do not add up")]
    Sums,
    /// More could have been cancelled.
    #[error("more could have been cancelled")]
    NotMaximal,
}

/// Whether a netting of the debts is right, and no larger one exists. Any member can ask, of any result, however it was
/// found. It is not asked which of several equally large ones was chosen: whoever wants to know nets again and compares.
pub fn verify<S: Ord>(debts: &[Debt<S>], netting: &Netting<S>) -> Result<(), Discrepancy> {
    let books = Books::open(debts).map_err(Discrepancy::Debts)?;
    let remainder = super::check(&netting.obligations).map_err(Discrepancy::Obligations)?;
    let left = left_by_pair(&books, netting)?;
    if !positions_are_kept(&books, &left) {
        return Err(Discrepancy::NetPosition);
    }
    if netting.total != books.total
        || netting.remainder != remainder
        || i128::from(netting.cleared) + i128::from(remainder) != i128::from(books.total)
    {
        return Err(Discrepancy::Sums);
    }
    if can_be_improved(&books, &left) { Err(Discrepancy::NotMaximal) } else { Ok(()) }
}

fn left_by_pair<S: Ord>(books: &Books<'_, S>, netting: &Netting<S>) -> Result<Vec<i64>, Discrepancy> {
    let mut left = vec![0_i64; books.pairs.len()];
    for (obligation, debt) in netting.obligations.iter().enumerate() {
        let rank = |shop: &S| books.shops.binary_search(&shop).ok();
        let key = rank(&debt.debtor).zip(rank(&debt.creditor));
        let pair = key.and_then(|key| books.pairs.binary_search_by_key(&key, |pair| pair.0).ok());
        let pair = pair.ok_or(Discrepancy::MoreThanOwed { obligation })?;
        // All obligations together were found to fit.
        left[pair] += debt.minor;
        if left[pair] > books.pairs[pair].1 {
            return Err(Discrepancy::MoreThanOwed { obligation });
        }
    }
    Ok(left)
}

fn positions_are_kept<S>(books: &Books<'_, S>, left: &[i64]) -> bool {
    let mut changes: BTreeMap<usize, i64> = BTreeMap::new();
    for (((debtor, creditor), owed), left) in books.pairs.iter().zip(left) {
        *changes.entry(*debtor).or_default() += owed - left;
        *changes.entry(*creditor).or_default() -= owed - left;
    }
    changes.into_values().all(|change| change == 0)
}

/// A flow is cheapest if and only if no circle of changes makes it cheaper (Klein 1967). Taking a unit off a debt that is left
/// saves one, putting one back on costs one; a circle that saves more than it costs is found by the method of Bellman and
/// Ford: without one, distances settle within as many rounds as there are shops.
fn can_be_improved<S>(books: &Books<'_, S>, left: &[i64]) -> bool {
    let mut distance = vec![0_i64; books.shops.len()];
    for _round in 0..=books.shops.len() {
        let mut settled = true;
        for (&((debtor, creditor), owed), &left) in books.pairs.iter().zip(left) {
            if left < owed && distance[debtor] + 1 < distance[creditor] {
                distance[creditor] = distance[debtor] + 1;
                settled = false;
            }
            if left > 0 && distance[creditor] - 1 < distance[debtor] {
                distance[debtor] = distance[creditor] - 1;
                settled = false;
            }
        }
        if settled {
            return false;
        }
    }
    true
}
