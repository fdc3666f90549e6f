//! Netting: cancelling debts around the circle, as much as can be.
//!
//! If A owes B, B owes C and C owes A, the smallest of the three can be taken off each, and nobody is better or worse off.
//! What is taken off all debts together is a *circulation*: at each shop, as much comes in as goes out. [`net`] finds the
//! largest one, by amount. Each debt is reduced by an integer between zero and itself, every shop's net position stays
//! what it was, and total = cleared + remainder (MON-1). No debt arises between shops that had none.
//!
//! What is left is the cheapest way to carry the net positions over the debts there are, where carrying one unit over one
//! debt costs one: a minimum-cost flow, found in integers. There may be several largest circulations; the one
//! found depends on the debts alone (shops by rank, debts merged by pair), not on how they are arranged. Debts of one
//! debtor to one creditor are cleared in the order given. [`verify`] tells whether a result is right and the largest
//! possible, without trusting how it was found. See `crates/adr/0012`.
//!
//! With *credit lines* ([`net_with_lines`]) new debts may arise, where both shops of a line agreed beforehand: A owes B, B owes
//! C, and C takes on a new debt of A; then B is out of it. A circulation may draw on lines up to their limits, and what
//! counts is what it clears less what it draws. Of several that come to the same, one is taken that draws the least: no
//! line is drawn on where a circle of debts would do as well. Net positions stay, debts that are left and new ones together.
//! See `crates/adr/0027`.
//!
//! All amounts are of one currency; each currency is netted by itself.

mod flow;
mod line;
mod proof;
#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hutong_record::MINOR_MAX;

use flow::{Carrier, Edge};
pub use line::{CreditLine, LINES_MAX};
pub use proof::{Discrepancy, verify, verify_with_lines};

/// Shops in one netting: four times the largest alliance.
pub const SHOPS_MAX: usize = 2_048;
/// Debts in one netting.
pub const DEBTS_MAX: usize = 1_000_000;

/// What one shop owes another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debt<S> {
    /// Who owes.
    pub debtor: S,
    /// To whom; another shop.
    pub creditor: S,
    /// Minor units, 1 to [`MINOR_MAX`].
    pub minor: i64,
}

/// What netting came to, in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netting<S> {
    /// All debts.
    pub total: i64,
    /// What cancelled.
    pub cleared: i64,
    /// What did not.
    pub remainder: i64,
    /// What is left of the debts, in the order given; those that are gone are left out.
    pub obligations: Vec<Debt<S>>,
    /// What came new by credit lines, all of it.
    pub drawn: i64,
    /// The new debts that came by credit lines, ascending by debtor and creditor.
    pub new_debts: Vec<Debt<S>>,
}

/// Why debts cannot be netted. Debts and credit lines are counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NettingError {
    /// Zero or less.
    #[error("an amount is {minor}: it must be above zero")]
    NotPositive {
        /// Which debt.
        debt: usize,
        /// Its amount.
        minor: i64,
    },
    /// More than [`MINOR_MAX`].
    #[error("an amount is {minor}: more than 10^15 minor units")]
    TooLarge {
        /// Which debt.
        debt: usize,
        /// Its amount.
        minor: i64,
    },
    /// Debtor and creditor are one.
    #[error("a shop owes itself")]
    OwesItself {
        /// Which debt.
        debt: usize,
    },
    /// The debts together are beyond 64 bits.
    #[error("the debts add up to more than {} minor units", i64::MAX)]
    Overflow,
    /// More than [`SHOPS_MAX`] shops.
    #[error("there are more than {SHOPS_MAX} shops")]
    TooManyShops,
    /// More than [`DEBTS_MAX`] debts.
    #[error("there are more than {DEBTS_MAX} debts")]
    TooManyDebts,
    /// A credit line's limit is zero or less.
    #[error("a limit is {minor}: it must be above zero")]
    LimitNotPositive {
        /// Which line.
        line: usize,
        /// Its limit.
        minor: i64,
    },
    /// A credit line's limit is more than [`MINOR_MAX`].
    #[error("a limit is {minor}: more than 10^15 minor units")]
    LimitTooLarge {
        /// Which line.
        line: usize,
        /// Its limit.
        minor: i64,
    },
    /// A credit line's creditor and debtor are one.
    #[error("a credit line is between two shops")]
    LineToItself {
        /// Which line.
        line: usize,
    },
    /// Another line has the same creditor and debtor: it is not clear which limit holds.
    #[error("there is a credit line of this creditor for this debtor already")]
    LineTwice {
        /// Which line: the later one.
        line: usize,
    },
    /// More than [`LINES_MAX`] credit lines.
    #[error("there are more than {LINES_MAX} credit lines")]
    TooManyLines,
}

/// Cancels as much as can be cancelled.
pub fn net<S: Ord + Clone>(debts: &[Debt<S>]) -> Result<Netting<S>, NettingError> {
    net_with_lines(debts, &[])
}

/// Cancels so much that what is cleared less what is drawn on lines is the most, and draws no more than that takes.
pub fn net_with_lines<S: Ord + Clone>(
    debts: &[Debt<S>],
    lines: &[CreditLine<S>],
) -> Result<Netting<S>, NettingError> {
    let books = Books::open(debts, lines)?;
    let mut left_by_pair = flow::cheapest(books.shops.len(), &books.edges());
    let drawn_by_line = left_by_pair.split_off(books.pairs.len());
    // Of each pair, what is left lies on the last of its debts.
    let mut left: Vec<i64> = Vec::with_capacity(debts.len());
    for (debt, &pair) in debts.iter().zip(&books.pair_by_debt).rev() {
        let kept = debt.minor.min(left_by_pair[pair]);
        left_by_pair[pair] -= kept;
        left.push(kept);
    }
    let kept = debts.iter().zip(left.iter().rev()).filter(|(_, minor)| **minor > 0);
    let obligations: Vec<_> = kept.map(|(debt, &minor)| Debt { minor, ..debt.clone() }).collect();
    let remainder: i64 = left.iter().sum();
    let cleared = books.total - remainder;
    let (drawn, new_debts) = (drawn_by_line.iter().sum(), books.new_debts(&drawn_by_line));
    Ok(Netting { total: books.total, cleared, remainder, obligations, drawn, new_debts })
}

/// Debts merged by pair, shops by rank.
struct Books<'a, S> {
    shops: Vec<&'a S>,
    /// By debtor and creditor, in their order.
    pairs: Vec<((usize, usize), i64)>,
    /// Limits by debtor and creditor, in their order.
    lines: Vec<((usize, usize), i64)>,
    /// Where each debt went.
    pair_by_debt: Vec<usize>,
    total: i64,
}

impl<'a, S: Ord> Books<'a, S> {
    fn open(debts: &'a [Debt<S>], lines: &'a [CreditLine<S>]) -> Result<Self, NettingError> {
        let total = check(debts)?;
        line::check(lines)?;
        let in_debts = debts.iter().flat_map(|debt| [&debt.debtor, &debt.creditor]);
        let in_lines = lines.iter().flat_map(|line| [&line.debtor, &line.creditor]);
        let shops: BTreeSet<&S> = in_debts.chain(in_lines).collect();
        if shops.len() > SHOPS_MAX {
            return Err(NettingError::TooManyShops);
        }
        let shops: Vec<&S> = shops.into_iter().collect();
        let rank = |shop: &S| shops.binary_search(&shop).expect("all shops are there");
        let keys: Vec<_> = debts.iter().map(|debt| (rank(&debt.debtor), rank(&debt.creditor))).collect();
        let mut merged: BTreeMap<(usize, usize), i64> = BTreeMap::new();
        for (key, debt) in keys.iter().zip(debts) {
            // Below the total, which fits.
            *merged.entry(*key).or_default() += debt.minor;
        }
        let pairs: Vec<_> = merged.into_iter().collect();
        let place =
            |key: &(usize, usize)| pairs.binary_search_by_key(key, |pair| pair.0).expect("all are there");
        let pair_by_debt = keys.iter().map(place).collect();
        let mut lines: Vec<_> =
            lines.iter().map(|line| ((rank(&line.debtor), rank(&line.creditor)), line.limit_minor)).collect();
        lines.sort_unstable();
        Ok(Self { shops, pairs, lines, pair_by_debt, total })
    }

    /// Debts, then lines.
    fn edges(&self) -> Vec<Edge> {
        let debts = self.pairs.iter().map(|pair| (pair, Carrier::Debt));
        let lines = self.lines.iter().map(|line| (line, Carrier::Line));
        let edge = |(&((from, to), capacity), carrier)| Edge { from, to, capacity, carrier };
        debts.chain(lines).map(edge).collect()
    }

    fn new_debts(&self, drawn_by_line: &[i64]) -> Vec<Debt<S>>
    where
        S: Clone,
    {
        let drawn = self.lines.iter().zip(drawn_by_line).filter(|(_, minor)| **minor > 0);
        let debt = |(&((debtor, creditor), _), &minor): (&((usize, usize), i64), &i64)| Debt {
            debtor: self.shops[debtor].clone(),
            creditor: self.shops[creditor].clone(),
            minor,
        };
        drawn.map(debt).collect()
    }
}

/// Looks at each debt by itself, and at their sum.
fn check<S: Ord>(debts: &[Debt<S>]) -> Result<i64, NettingError> {
    if debts.len() > DEBTS_MAX {
        return Err(NettingError::TooManyDebts);
    }
    for (debt, Debt { debtor, creditor, minor }) in debts.iter().enumerate() {
        match *minor {
            minor @ ..=0 => return Err(NettingError::NotPositive { debt, minor }),
            minor if minor > MINOR_MAX => return Err(NettingError::TooLarge { debt, minor }),
            _ if debtor == creditor => return Err(NettingError::OwesItself { debt }),
            _ => {}
        }
    }
    let total: i128 = debts.iter().map(|debt| i128::from(debt.minor)).sum();
    i64::try_from(total).map_err(|_| NettingError::Overflow)
}
