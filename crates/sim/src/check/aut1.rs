//! AUT-1: what cheats wrote without being entitled counts nowhere.

use std::collections::{BTreeMap, BTreeSet};

use hutong_core::{promotion, report, roster::Standing, voucher::VoucherKey};
use hutong_record::{RecordId, ShopId};

use super::{Checked, Invariant};
use crate::{
    byzantine::Forgery,
    node::{NodeNumber, ShopNumber},
    offers::Offer,
    workload::Purpose,
    world::World,
};

/// Vouchers looked through at a time.
const PAGE: usize = 1_000;

/// What must not count.
#[derive(Debug, Default)]
pub(crate) struct Forbidden {
    /// Redemptions, and the vouchers that they would use.
    redemptions: BTreeMap<RecordId, VoucherKey>,
    strangers: BTreeSet<ShopId>,
    running: BTreeSet<RecordId>,
}

impl Forbidden {
    /// A redemption that must not count.
    pub(crate) fn forbid(&mut self, redemption: RecordId, voucher: VoucherKey) {
        self.redemptions.insert(redemption, voucher);
    }

    /// A shop that nobody with a vote has named.
    pub(crate) fn keep_out(&mut self, stranger: ShopId) {
        self.strangers.insert(stranger);
    }

    /// A promotion that its funder has not ended.
    pub(crate) fn must_run(&mut self, promotion: RecordId) {
        self.running.insert(promotion);
    }
}

/// A voucher is redeemed by the shop that it names, and not if it was forged.
pub(super) fn check_use(shop: ShopNumber, offer: &Offer, purpose: &Purpose) -> Checked {
    if !offer.redeemers.contains(&shop) {
        return Err((Invariant::Aut1, format!("shop {shop} redeemed for {:?}", offer.redeemers)));
    }
    match purpose {
        Purpose::UseForged { forgery: Forgery::ForeignKey } => {
            Err((Invariant::Aut1, "a voucher with a foreign signature was redeemed".into()))
        }
        Purpose::UseForged { forgery: Forgery::PastQuota } => {
            Err((Invariant::Vou2, "a voucher past the quota was redeemed".into()))
        }
        _ => Ok(()),
    }
}

impl World {
    pub(super) fn check_forbidden(&mut self) {
        for node in self.honest_nodes().collect::<Vec<_>>() {
            self.check_nobody_accused(node);
            if let Err(what) = self.find_forbidden(node) {
                self.broken(Invariant::Aut1, format!("node {node}: {what}"));
            }
        }
    }

    fn find_forbidden(&self, node: NodeNumber) -> Result<(), String> {
        let Some(ledger) = self.nodes[node].ledger() else { return Ok(()) };
        let forbidden = &self.checks.aut1;
        let (views, roster) = (ledger.views(), ledger.alliance().roster());
        for stranger in &forbidden.strangers {
            if roster.shop(*stranger).is_some_and(|m| m.standing != Standing::Pending) {
                return Err("a shop is in that nobody with a vote took in".into());
            }
        }
        for id in &forbidden.running {
            if promotion::ended(&*views, *id).map_err(|e| e.to_string())?.is_some() {
                return Err("a promotion was ended by another than its funder".into());
            }
        }
        for (redemption, voucher) in &forbidden.redemptions {
            let voucher = report::voucher(&*views, voucher).map_err(|e| e.to_string())?;
            if voucher.is_some_and(|voucher| voucher.use_of(*redemption).is_some()) {
                return Err(format!("{redemption:?} counts and must not"));
            }
        }
        Ok(())
    }

    /// At rest: the same, whatever voucher a redemption may have been taken for.
    pub(super) fn check_forbidden_anywhere(&mut self) {
        for node in self.honest_nodes().collect::<Vec<_>>() {
            if let Err(what) = self.find_forbidden_anywhere(node) {
                self.broken(Invariant::Aut1, format!("node {node}: {what}"));
            }
        }
    }

    fn find_forbidden_anywhere(&self, node: NodeNumber) -> Result<(), String> {
        let Some(ledger) = self.nodes[node].ledger() else { return Ok(()) };
        let (views, forbidden) = (ledger.views(), &self.checks.aut1.redemptions);
        let mut after = None;
        while !forbidden.is_empty() {
            let page = report::vouchers(&*views, after.as_ref(), PAGE).map_err(|e| e.to_string())?;
            let Some(last) = page.last() else { break };
            after = Some(last.token.body().key);
            let counts = page.iter().flat_map(|v| &v.uses).find(|r| forbidden.contains_key(&r.id));
            if let Some(used) = counts {
                return Err(format!("{:?} counts and must not", used.id));
            }
        }
        Ok(())
    }
}
