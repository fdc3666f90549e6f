//! VOU-1 and VOU-2 for what is accepted at risk: never more than a shop's cap is open or lost; at rest every such use is
//! settled, or lost with a proof that every sound shop holds and that names the shop that took the risk. And no proof
//! names an honest shop for anything else.

use std::collections::{BTreeMap, BTreeSet};

use hutong_core::{
    promotion::Promotion,
    proof::{self, Offence},
    report,
    voucher::{UseStanding, VoucherKey},
};
use hutong_record::{Currency, RecordId, ShopId, proto};

use super::{Checked, Invariant, mon1::Booked};
use crate::{
    node::{NodeNumber, ShopNumber},
    offers::Offer,
    world::World,
};

/// A use at risk, as a till was told of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) voucher: VoucherKey,
    pub(crate) shop: ShopNumber,
    pub(crate) booked: Booked,
}

/// What was accepted at risk.
#[derive(Debug, Default)]
pub(crate) struct Risks {
    accepted: BTreeMap<RecordId, Accepted>,
    settled: BTreeSet<RecordId>,
    lost: BTreeSet<RecordId>,
    undetected: BTreeSet<(ShopNumber, VoucherKey)>,
    over_cap: u64,
}

impl Risks {
    /// Vouchers accepted at risk.
    pub(crate) fn count(&self) -> u64 {
        self.accepted.len() as u64
    }

    /// Of these, those whose right arrived.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.len() as u64
    }

    /// Of these, those whose right went to another shop.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.len() as u64
    }

    /// Double uses of which no proof names the liable shop.
    pub(crate) fn undetected(&self) -> u64 {
        self.undetected.len() as u64
    }

    /// Times that a cap was passed.
    pub(crate) const fn over_cap(&self) -> u64 {
        self.over_cap
    }

    pub(super) fn was_accepted(&self, voucher: &VoucherKey) -> bool {
        self.accepted.values().any(|accepted| accepted.voucher == *voucher)
    }
}

/// What proofs say: who is liable, for what, with which voucher.
type Verdicts = BTreeSet<(ShopId, u8, VoucherKey)>;
/// Of each honest node that runs.
pub(super) type AllVerdicts = BTreeMap<NodeNumber, Verdicts>;

impl World {
    /// A till was told that a voucher is accepted at risk.
    pub(super) fn accept_risk(&mut self, id: RecordId, accepted: Accepted, offer: &Offer) -> Checked {
        self.checks.risk.accepted.insert(id, accepted);
        let same =
            |a: &&Accepted| a.shop == accepted.shop && a.voucher.promotion == accepted.voucher.promotion;
        let ids: Vec<_> = self.checks.risk.accepted.iter().filter(|(_, a)| same(a)).collect();
        let counts = |(id, a): &(&RecordId, &Accepted)| {
            matches!(self.standing(**id, a), Some(UseStanding::AtRisk | UseStanding::Lost))
        };
        let open: i64 = ids.into_iter().filter(counts).map(|(_, a)| a.booked.discount_minor).sum();
        let cap =
            offer.message.risk.as_ref().and_then(|risk| risk.per_shop_max.as_ref()).map_or(0, |m| m.minor);
        if open <= cap {
            return Ok(());
        }
        self.checks.risk.over_cap += 1;
        Err((Invariant::Vou2, format!("shop {} has {open} at risk, and its cap is {cap}", accepted.shop)))
    }

    /// How a use stands at the shop that accepted it; none: taken back, or the shop is shut.
    fn standing(&self, id: RecordId, accepted: &Accepted) -> Option<UseStanding> {
        self.standing_at(accepted.shop, id, accepted)
    }

    fn standing_at(&self, shop: ShopNumber, id: RecordId, accepted: &Accepted) -> Option<UseStanding> {
        let node = *self.shops[shop].nodes.first()?;
        let views = self.nodes[node].ledger()?.views();
        let voucher = report::voucher(&*views, &accepted.voucher).ok()??;
        voucher.use_of(id).map(|used| used.standing)
    }

    /// At rest: what became of everything that was accepted at risk.
    pub(super) fn check_risks(&mut self, verdicts: &AllVerdicts) {
        let accepted: Vec<_> = self.checks.risk.accepted.iter().map(|(id, a)| (*id, *a)).collect();
        let standings: Vec<_> = accepted
            .into_iter()
            .filter_map(|(id, a)| Some((id, a, self.standing_at(self.witness(&a)?, id, &a))))
            .collect();
        for (id, a, standing) in &standings {
            match standing {
                Some(UseStanding::ByRight) => self.count_settled(*id, a),
                Some(UseStanding::Lost) => drop(self.checks.risk.lost.insert(*id)),
                Some(UseStanding::AtRisk) if self.can_settle(a) => {
                    let what = format!("{:?} stays at risk at shop {}", a.voucher, a.shop);
                    self.broken(Invariant::Live1, what);
                }
                Some(UseStanding::AtRisk) | None => {}
            }
        }
        for (_, a, standing) in standings {
            if matches!(standing, Some(UseStanding::Lost | UseStanding::AtRisk)) {
                self.check_loss_is_proven(&a, verdicts);
            }
        }
    }

    /// Who knows how a use stands: the shop that accepted it, or, where an honest shop's disk is gone, who pays.
    fn witness(&self, accepted: &Accepted) -> Option<ShopNumber> {
        if self.shops[accepted.shop].faulty.is_some() {
            return None;
        }
        let funder = self.offer_of(&accepted.voucher).map(|offer| offer.funder);
        [Some(accepted.shop), funder].into_iter().flatten().find(|shop| self.is_sound(*shop))
    }

    fn count_settled(&mut self, id: RecordId, accepted: &Accepted) {
        self.checks.risk.settled.insert(id);
        let _booked_before = self.checks.mon1.booked(id, accepted.booked);
        let Some(offer) = self.offer_of(&accepted.voucher).cloned() else { return };
        if !self.checks.crooked.contains(&accepted.voucher) {
            let outcome = self.checks.vou1.redeemed(accepted.voucher, id, accepted.shop, offer.uses());
            self.expect(outcome);
        }
    }

    /// Whether every shop on which a settlement can depend is sound.
    fn can_settle(&self, accepted: &Accepted) -> bool {
        let Some(offer) = self.offer_of(&accepted.voucher) else { return false };
        let all = offer.distributors.iter().chain(&offer.redeemers);
        all.chain([&offer.funder]).all(|shop| self.is_sound(*shop))
    }

    /// A loss beside another shop's use is shown to all by a proof against the shop that took the risk.
    fn check_loss_is_proven(&mut self, accepted: &Accepted, verdicts: &AllVerdicts) {
        let Some(offer) = self.offer_of(&accepted.voucher) else { return };
        let uses = self.checks.vou1.live_uses(&accepted.voucher);
        let used_elsewhere =
            uses.into_iter().any(|(id, shop)| self.is_known(offer.funder, id, shop, &accepted.voucher));
        // Who sees both uses: the issuer and the funder.
        let seen = self.is_sound(offer.funder);
        let expected = (self.shops[accepted.shop].id(), Offence::RiskLost as u8, accepted.voucher);
        if used_elsewhere && seen {
            self.expect_proof(accepted.shop, expected, verdicts);
        }
    }

    /// Whether a funder has heard of a use. An honest shop's record comes to it in the end; what a shop signed before it
    /// was put back from an old backup, or on a branch that nobody goes on with, may be gone for good.
    fn is_known(&self, funder: ShopNumber, id: RecordId, shop: ShopNumber, voucher: &VoucherKey) -> bool {
        if self.shops[shop].faulty.is_none() {
            return true;
        }
        let ledger = self.shops[funder].nodes.first().and_then(|node| self.nodes[*node].ledger());
        let voucher = ledger.and_then(|ledger| report::voucher(&*ledger.views(), voucher).ok()?);
        voucher.is_some_and(|voucher| voucher.use_of(id).is_some())
    }

    fn expect_proof(&mut self, shop: ShopNumber, expected: (ShopId, u8, VoucherKey), verdicts: &AllVerdicts) {
        let missing = verdicts.iter().find(|(_, verdicts)| !verdicts.contains(&expected));
        if let Some((node, _)) = missing {
            self.checks.risk.undetected.insert((shop, expected.2));
            let what = format!("node {node} has no proof that shop {shop} is liable for {:?}", expected.2);
            self.broken(Invariant::Vou1, what);
        }
    }

    /// At rest: cheats that passed one right on twice are proven, and no honest shop is liable for more than its risks.
    pub(super) fn check_proofs(&mut self, all: &AllVerdicts) {
        for (voucher, cheat) in self.checks.passed_twice.clone() {
            let funder = self.offer_of(&voucher).map(|offer| offer.funder);
            let seen = funder.is_some_and(|funder| self.is_sound(funder));
            if seen && self.checks.vou1.live_at(&voucher).len() > 1 {
                let expected = (self.shops[cheat].id(), Offence::PassedTwice as u8, voucher);
                self.expect_proof(cheat, expected, all);
            }
        }
        let Some((first, verdicts)) = all.first_key_value() else { return };
        for (liable, offence, voucher) in verdicts {
            let shop = self.shop_number(*liable);
            let honest = shop.is_some_and(|shop| self.shops[shop].faulty.is_none());
            if honest && *offence != Offence::RiskLost as u8 {
                let what = format!("shop {shop:?} is honest and liable for {voucher:?}, offence {offence}");
                self.broken(Invariant::Aut1, what);
            }
        }
        if let Some((other, _)) = all.iter().find(|(_, other)| *other != verdicts) {
            self.broken(Invariant::Con2, format!("nodes {first} and {other} hold other shops liable"));
        }
    }

    /// Whom the honest nodes hold liable, each for itself.
    pub(super) fn all_verdicts(&self) -> AllVerdicts {
        let runs = |node: &NodeNumber| self.nodes[*node].process.is_some();
        self.honest_nodes().filter(runs).map(|node| (node, self.verdicts(node))).collect()
    }

    /// Whom a node holds liable.
    fn verdicts(&self, node: NodeNumber) -> Verdicts {
        let Some(ledger) = self.nodes[node].ledger() else { return Verdicts::new() };
        let views = ledger.views();
        let judged = |(_, proof): (ShopId, proto::VoucherProof)| {
            let promotion = Promotion::load(&*views, proof::promotion_id(&proof)?, Currency::CNY).ok()??;
            let verdict = ledger.alliance().judge_proof(&proof, &promotion).ok()?;
            Some((verdict.liable, verdict.offence as u8, verdict.voucher))
        };
        proof::all(&*views).unwrap_or_default().into_iter().filter_map(judged).collect()
    }

    /// Proofs that the first sound node holds.
    pub(crate) fn proof_count(&self) -> u64 {
        self.honest_nodes().next().map_or(0, |node| self.verdicts(node).len() as u64)
    }

    fn offer_of(&self, voucher: &VoucherKey) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.id == Some(voucher.promotion))
    }
}
