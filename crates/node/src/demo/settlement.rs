//! What is owed at the end, and how much of it cancels around the circle.

use hutong_core::netting::{self, Debt};
use serde::Serialize;

use super::street::Shop;

/// All balances of the street, netted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Settlement {
    /// Pairs between which something is owed.
    pub(super) debts: usize,
    /// What is owed, cents.
    pub(super) gross_debt_cents: i64,
    /// What cancels around the circle, cents.
    pub(super) cancelled_cents: i64,
    /// What is left to be paid, cents.
    pub(super) left_cents: i64,
    /// `cancelled_cents` of `gross_debt_cents`, in percent.
    pub(super) cancelled_percent: f64,
}

/// What one pair's balance says: a debt, unless they are even. Positive: the second owes the first.
pub(super) fn debt(shop: Shop, ally: Shop, balance_cents: i64) -> Option<Debt<Shop>> {
    let (debtor, creditor) = if balance_cents > 0 { (ally, shop) } else { (shop, ally) };
    let minor = balance_cents.checked_abs()?;
    (minor > 0).then_some(Debt { debtor, creditor, minor })
}

impl Settlement {
    /// Nets the debts, and has the result checked.
    ///
    /// # Errors
    /// An amount is out of bounds, or the result does not hold.
    pub(super) fn of(debts: &[Debt<Shop>]) -> anyhow::Result<Self> {
        let netting = netting::net(debts)?;
        netting::verify(debts, &netting)?;
        Ok(Self {
            debts: debts.len(),
            gross_debt_cents: netting.total,
            cancelled_cents: netting.cleared,
            left_cents: netting.remainder,
            cancelled_percent: netting.cleared as f64 * 100.0 / netting.total.max(1) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(key: &str) -> Shop {
        key.parse().unwrap()
    }

    #[test]
    fn a_circle_cancels_and_the_rest_stays() {
        let debts: Vec<_> = [("deli", "bakery", 500), ("bakery", "grocer", -300), ("deli", "grocer", 0)]
            .into_iter()
            .filter_map(|(one, other, cents)| debt(shop(one), shop(other), cents))
            .collect();
        assert_eq!(debts.len(), 2, "those who are even owe nothing");
        let circle = debt(shop("grocer"), shop("deli"), -200).unwrap();
        let settlement = Settlement::of(&[debts, vec![circle]].concat()).unwrap();
        // The bakery owes the deli 500, the bakery owes the grocer 300, the grocer owes the deli 200: no circle.
        assert_eq!((settlement.gross_debt_cents, settlement.cancelled_cents), (1_000, 0));
        let debts: Vec<_> = [("deli", "bakery", 500), ("bakery", "grocer", 300), ("grocer", "deli", 200)]
            .into_iter()
            .filter_map(|(one, other, cents)| debt(shop(one), shop(other), cents))
            .collect();
        let settlement = Settlement::of(&debts).unwrap();
        assert_eq!((settlement.debts, settlement.gross_debt_cents), (3, 1_000));
        assert_eq!((settlement.cancelled_cents, settlement.left_cents), (600, 400));
        assert!((settlement.cancelled_percent - 60.0).abs() < 1e-9);
    }
}
