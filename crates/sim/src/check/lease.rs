//! VOU-2 for numbers that move: what a shop owns is what it had from the beginning, with what tills were told that it
//! received and without what it sent; and it has handed out no more than that.

use std::collections::BTreeMap;

use hutong_core::{promotion::Promotion, report, stock};
use hutong_record::{Currency, RecordId};

use super::Invariant;
use crate::{
    node::{NodeNumber, RequestNumber, ShopNumber},
    offers::Offer,
    world::World,
};

/// Numbers that went from one shop of an offer to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Supplied {
    pub(crate) offer: usize,
    pub(crate) from: ShopNumber,
    pub(crate) to: ShopNumber,
    pub(crate) count: u32,
}

/// Moves that tills were told of.
#[derive(Debug, Default)]
pub(crate) struct Moves(BTreeMap<RequestNumber, Supplied>);

impl Moves {
    pub(crate) fn moved(&mut self, request: RequestNumber, supplied: Supplied) {
        self.0.insert(request, supplied);
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn sum(&self, wanted: impl Fn(&Supplied) -> bool) -> u64 {
        self.0.values().filter(|moved| wanted(moved)).map(|moved| u64::from(moved.count)).sum()
    }
}

impl World {
    /// At rest: every sound node's account of every offer's numbers, where no shop of the offer cheats.
    pub(super) fn check_leases(&mut self) {
        for node in self.honest_nodes().collect::<Vec<_>>() {
            for offer in 0..self.offers.len() {
                let Offer { id: Some(id), ref distributors, .. } = self.offers[offer] else { continue };
                if distributors.iter().all(|shop| self.is_sound(*shop))
                    && let Err(what) = self.check_numbers(node, offer, id)
                {
                    self.broken(Invariant::Vou2, format!("node {node}, offer {offer}: {what}"));
                }
            }
        }
    }

    fn check_numbers(&self, node: NodeNumber, number: usize, id: RecordId) -> Result<(), String> {
        let Some(ledger) = self.nodes[node].ledger() else { return Ok(()) };
        let views = ledger.views();
        let promotion = Promotion::load(&*views, id, Currency::CNY).map_err(|e| e.to_string())?;
        let promotion = promotion.ok_or("the promotion is unknown")?;
        let offer = &self.offers[number];
        for (place, shop) in (0u8..).zip(&offer.distributors) {
            let shares = stock::owned_by(&*views, &promotion, place).map_err(|e| e.to_string())?;
            let owned: u64 = shares.iter().map(|share| u64::from(share.count())).sum();
            let moves = &self.checks.lease;
            let received = moves.sum(|m| m.offer == number && m.to == *shop);
            let sent = moves.sum(|m| m.offer == number && m.from == *shop);
            let initial = u64::from(offer.quota_of(*shop));
            if owned + sent != initial + received {
                return Err(format!("shop {shop} owns {owned} of {initial} + {received} - {sent}"));
            }
            let handed_out = self.checks.vou2.first_round_at(id, *shop);
            if handed_out > owned {
                return Err(format!("shop {shop} handed out {handed_out} of its {owned} numbers"));
            }
            if *shop == self.nodes[node].shop {
                let counted = report::issued_count(&*views, id).map_err(|e| e.to_string())?;
                let told = self.checks.vou2.count_at(Some(id), *shop);
                if u64::from(counted) != told {
                    return Err(format!("shop {shop} counts {counted} vouchers, its tills {told}"));
                }
            }
        }
        Ok(())
    }
}
