//! Checking a netting without trusting how it was found.

use alloc::{vec, vec::Vec};

use super::{
    Books, CreditLine, Debt, Netting, NettingError,
    flow::{Carrier, Edge},
};

/// What is wrong with a netting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Discrepancy {
    /// The debts, or the credit lines, cannot be netted.
    #[error("what was netted: {0}")]
    Debts(NettingError),
    /// The obligations are no debts.
    #[error("the obligations: {0}")]
    Obligations(NettingError),
    /// The new debts are no debts.
    #[error("the new debts: {0}")]
    NewDebts(NettingError),
    /// One shop is left owing another more than it did.
    #[error("obligation number {} is more than was owed", .obligation + 1)]
    MoreThanOwed {
        /// Which one, from zero.
        obligation: usize,
    },
    /// A new debt is more than its line, or there is no line for it.
    #[error("new debt number {} is more than its credit line", .new_debt + 1)]
    MoreThanLine {
        /// Which one, from zero.
        new_debt: usize,
    },
    /// A shop is better or worse off.
    #[error("the net position of a shop has changed")]
    NetPosition,
    /// Total, cleared, remainder and drawn are not those of the debts, obligations and new debts.
    #[error("total, cleared, remainder and drawn do not add up")]
    Sums,
    /// More could have been cancelled.
    #[error("more could have been cancelled")]
    NotMaximal,
    /// As much could have been cancelled with less drawn on lines.
    #[error("more was drawn on credit lines than that takes")]
    NeedlessLine,
}

/// Whether a netting of the debts is right, and no larger one exists. Any member can ask, of any result, however it was
/// found. It is not asked which of several equally large ones was chosen: whoever wants to know nets again and compares.
pub fn verify<S: Ord>(debts: &[Debt<S>], netting: &Netting<S>) -> Result<(), Discrepancy> {
    verify_with_lines(debts, &[], netting)
}

/// As [`verify`], where credit lines could be drawn on: no line is passed, and nothing is drawn that an equally good netting
/// does without.
pub fn verify_with_lines<S: Ord>(
    debts: &[Debt<S>],
    lines: &[CreditLine<S>],
    netting: &Netting<S>,
) -> Result<(), Discrepancy> {
    let books = Books::open(debts, lines).map_err(Discrepancy::Debts)?;
    let remainder = super::check(&netting.obligations).map_err(Discrepancy::Obligations)?;
    let drawn = super::check(&netting.new_debts).map_err(Discrepancy::NewDebts)?;
    let left = by_pair(&books, &books.pairs, &netting.obligations)
        .map_err(|obligation| Discrepancy::MoreThanOwed { obligation })?;
    let new = by_pair(&books, &books.lines, &netting.new_debts)
        .map_err(|new_debt| Discrepancy::MoreThanLine { new_debt })?;
    let flow = Flow { shops: books.shops.len(), edges: books.edges(), left: [left, new].concat() };
    if !flow.keeps_positions() {
        return Err(Discrepancy::NetPosition);
    }
    if netting.total != books.total
        || netting.remainder != remainder
        || netting.drawn != drawn
        || i128::from(netting.cleared) + i128::from(remainder) != i128::from(books.total)
    {
        return Err(Discrepancy::Sums);
    }
    if flow.can_be_cheaper(|_| 1) {
        return Err(Discrepancy::NotMaximal);
    }
    // No circle has more steps than there are shops, so that one unit more or less outweighs all the lines of a circle.
    let unit = flow.shops as i64 + 1;
    let cost = |carrier| if carrier == Carrier::Line { unit + 1 } else { unit };
    if drawn > 0 && flow.can_be_cheaper(cost) { Err(Discrepancy::NeedlessLine) } else { Ok(()) }
}

/// Debts added up by pair; which debt is the first that a pair does not allow, where one is.
fn by_pair<S: Ord>(
    books: &Books<'_, S>,
    pairs: &[((usize, usize), i64)],
    debts: &[Debt<S>],
) -> Result<Vec<i64>, usize> {
    let mut sums = vec![0_i64; pairs.len()];
    for (place, debt) in debts.iter().enumerate() {
        let rank = |shop: &S| books.shops.binary_search(&shop).ok();
        let key = rank(&debt.debtor).zip(rank(&debt.creditor));
        let pair = key.and_then(|key| pairs.binary_search_by_key(&key, |pair| pair.0).ok()).ok_or(place)?;
        // All of them together were found to fit.
        sums[pair] += debt.minor;
        if sums[pair] > pairs[pair].1 {
            return Err(place);
        }
    }
    Ok(sums)
}

/// A result as a flow: what is left of each pair's debts, and what is drawn on each line.
struct Flow {
    shops: usize,
    edges: Vec<Edge>,
    /// By edge.
    left: Vec<i64>,
}

impl Flow {
    fn keeps_positions(&self) -> bool {
        let mut changes = vec![0_i128; self.shops];
        for (edge, left) in self.edges.iter().zip(&self.left) {
            let before = if edge.carrier == Carrier::Debt { edge.capacity } else { 0 };
            let change = i128::from(before - left);
            changes[edge.from] += change;
            changes[edge.to] -= change;
        }
        changes.into_iter().all(|change| change == 0)
    }

    /// A flow is cheapest if and only if no circle of changes makes it cheaper (Klein 1967). Taking a unit off what is left
    /// saves its cost, putting one on costs it; a circle that saves more than it costs is found by the method of Bellman and
    /// Ford: without one, distances settle within as many rounds as there are shops.
    fn can_be_cheaper(&self, cost: impl Fn(Carrier) -> i64) -> bool {
        let mut distance = vec![0_i64; self.shops];
        for _round in 0..=self.shops {
            let mut settled = true;
            for (edge, &left) in self.edges.iter().zip(&self.left) {
                let cost = cost(edge.carrier);
                if left < edge.capacity && distance[edge.from] + cost < distance[edge.to] {
                    distance[edge.to] = distance[edge.from] + cost;
                    settled = false;
                }
                if left > 0 && distance[edge.to] - cost < distance[edge.from] {
                    distance[edge.from] = distance[edge.to] - cost;
                    settled = false;
                }
            }
            if settled {
                return false;
            }
        }
        true
    }
}
