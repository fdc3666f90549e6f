//! CON-2: when faults have stopped, honest nodes come to the same records; of a log that was forked or sealed, to the
//! same part that counts.

use std::collections::BTreeMap;

use hutong_record::{RecordId, ShopId};

use super::Invariant;
use crate::{node::NodeNumber, world::World};

/// How far each log counts at a node, and the record there.
type Reach = BTreeMap<ShopId, (u64, Option<RecordId>)>;

impl World {
    pub(super) fn check_same_records(&mut self) {
        let nodes: Vec<_> = self.honest_nodes().collect();
        let Some(first) = nodes.first().copied() else { return };
        let (reach, digest) = (self.reach(first), self.public_digest(first));
        for node in nodes {
            let other = self.reach(node);
            let differs = reach.iter().find(|(shop, at)| other.get(*shop) != Some(*at));
            if let Some((shop, at)) = differs {
                let shop_number = self.shop_number(*shop);
                let what = format!(
                    "node {first} holds shop {shop_number:?} up to {at:?}, node {node} up to {:?}",
                    other.get(shop)
                );
                self.broken(Invariant::Con2, what);
            }
            if other.len() != reach.len() || self.public_digest(node) != digest {
                self.broken(
                    Invariant::Con2,
                    format!("nodes {first} and {node} did not come to the same state"),
                );
            }
        }
    }

    /// What a damaged disk lost came back: all of it that a shop has which can be asked.
    pub(super) fn check_healed(&mut self) {
        let nodes: Vec<_> = self.honest_nodes().filter(|node| self.nodes[*node].flipped).collect();
        for node in nodes {
            let lost = self.lost_records(node);
            let there = |shop: &ShopId| {
                let number = self.shops.iter().position(|known| known.id() == *shop);
                number.is_some_and(|number| self.is_sound(number))
            };
            if let Some((shop, sequence)) = lost.into_iter().find(|(shop, _)| there(shop)) {
                let what = format!("node {node} did not get record {sequence} of {shop:?} back");
                self.broken(Invariant::Con2, what);
            }
        }
    }

    fn reach(&self, node: NodeNumber) -> Reach {
        let Some(ledger) = self.nodes[node].ledger() else { return Reach::new() };
        let (roster, reader) = (ledger.alliance().roster(), ledger.reader());
        let counts = |(shop, head): (ShopId, hutong_store::journal::LogHead)| {
            let last = roster.counts_up_to(shop).map_or(head.sequence, |last| last.min(head.sequence));
            (shop, (last, reader.record_id(shop, last).ok().flatten()))
        };
        reader.frontier().into_iter().map(counts).collect()
    }
}
