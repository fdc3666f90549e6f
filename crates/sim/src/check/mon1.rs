//! MON-1: what one shop says that another owes it is what the other says that it owes; and in the end it is what the
//! tills were told.

use std::collections::{BTreeMap, BTreeSet};

use hutong_core::pair;
use hutong_record::{RecordId, ShopId};

use super::Invariant;
use crate::{node::NodeNumber, world::World};

/// What a redemption makes owed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Booked {
    pub(crate) funder: ShopId,
    pub(crate) redeemer: ShopId,
    pub(crate) credited: ShopId,
    pub(crate) discount_minor: i64,
    pub(crate) bounty_minor: i64,
}

/// The books as tills know them.
#[derive(Debug, Default)]
pub(crate) struct Books {
    booked: BTreeMap<RecordId, Booked>,
    voided: BTreeSet<RecordId>,
    /// Discounts after returns.
    lowered: BTreeMap<RecordId, i64>,
}

impl Books {
    /// A redemption by right. True: it was not booked before.
    pub(crate) fn booked(&mut self, redemption: RecordId, booked: Booked) -> bool {
        self.booked.insert(redemption, booked).is_none()
    }

    /// A part of a purchase was returned: the discount on the rest, which returns only lower.
    pub(crate) fn lowered(&mut self, redemption: RecordId, discount_minor: i64) {
        let least = self.lowered.entry(redemption).or_insert(discount_minor);
        *least = discount_minor.min(*least);
    }

    pub(crate) fn voided(&mut self, redemption: RecordId) {
        self.voided.insert(redemption);
    }

    /// Redemptions taken back.
    pub(crate) fn void_count(&self) -> u64 {
        self.voided.len() as u64
    }

    /// What the second shop of each pair owes the first.
    fn balances(&self) -> BTreeMap<(ShopId, ShopId), i128> {
        let mut balances = BTreeMap::new();
        let mut owe = |creditor: ShopId, debtor: ShopId, minor: i64| {
            *balances.entry((creditor, debtor)).or_default() += i128::from(minor);
            *balances.entry((debtor, creditor)).or_default() -= i128::from(minor);
        };
        for (id, booked) in self.booked.iter().filter(|(id, _)| !self.voided.contains(*id)) {
            let discount_minor = self.lowered.get(id).copied().unwrap_or(booked.discount_minor);
            owe(booked.redeemer, booked.funder, discount_minor);
            owe(booked.credited, booked.funder, booked.bounty_minor);
        }
        balances
    }
}

impl World {
    /// Pairs of honest nodes that hold the same pair state owe each other the same.
    pub(super) fn check_mirrored_balances(&mut self) {
        let nodes: Vec<_> = self.honest_nodes().collect();
        for (index, one) in nodes.iter().enumerate() {
            for other in &nodes[index + 1..] {
                let (Some(a), Some(b)) = (self.pair(*one, *other), self.pair(*other, *one)) else { continue };
                if a.digest == b.digest && a.balance_minor != -b.balance_minor {
                    self.broken(Invariant::Mon1, format!("nodes {one} and {other} disagree on what is owed"));
                }
            }
        }
    }

    /// At rest: balances between honest shops are the sum of what tills were told, but for pairs that a cheat can
    /// book for, as the redeemer of vouchers that one of them pays for, or a shop whose disk is gone, with receipts and
    /// voids that nobody else has.
    pub(super) fn check_books(&mut self) {
        let nodes: Vec<_> = self.honest_nodes().collect();
        let cheated = |shop: usize| {
            self.offers.iter().any(|o| o.funder == shop && o.redeemers.iter().any(|r| !self.is_sound(*r)))
        };
        let balances = self.checks.mon1.balances();
        let clean: Vec<_> = nodes.into_iter().filter(|n| !cheated(self.nodes[*n].shop)).collect();
        for (index, one) in clean.iter().enumerate() {
            for other in &clean[index + 1..] {
                let Some(report) = self.pair(*one, *other) else { continue };
                let me = self.shops[self.nodes[*one].shop].id();
                let expected = balances.get(&(me, report.ally)).copied().unwrap_or_default();
                if report.balance_minor != expected {
                    let what = format!(
                        "node {one}'s balance with {other} is {}, not {expected}",
                        report.balance_minor
                    );
                    self.broken(Invariant::Mon1, what);
                }
            }
        }
    }

    fn pair(&self, one: NodeNumber, other: NodeNumber) -> Option<pair::PairReport> {
        let (me, ally) = (self.shops[self.nodes[one].shop].id(), self.shops[self.nodes[other].shop].id());
        pair::report(&*self.nodes[one].ledger()?.views(), me, ally).ok()
    }
}
