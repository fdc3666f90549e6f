//! Alarms: proofs of forks, which pass from node to node ahead of records, for they may be in logs that do not.

use alloc::{collections::BTreeSet, vec::Vec};

use bytes::Bytes;
use hutong_record::{ShopId, UnixMillis};

use crate::{
    Frame, GoodbyeReason, LinkId, Output, Replica,
    frame::Fault,
    limits::{ALARM_BYTES_MAX, LOGS_MAX},
    link::{Link, Stage},
};

/// A log whose branches part earlier than is proven.
#[derive(Debug)]
pub(crate) struct Parting {
    pub(crate) from_sequence: u64,
    asked: BTreeSet<LinkId>,
}

impl Replica {
    /// A fork of a shop's log is proven at a place, by an encoded `ForkProof` of at most [`ALARM_BYTES_MAX`] bytes:
    /// passed on to all linked peers that may not know. Of several proofs the earliest place counts.
    pub fn proven(&mut self, shop: ShopId, sequence: u64, proof: Bytes) {
        let known = self.alarms.get(&shop).is_some_and(|(known, _)| *known <= sequence);
        let full = !self.alarms.contains_key(&shop) && self.alarms.len() >= LOGS_MAX;
        if known || full || proof.len() > ALARM_BYTES_MAX {
            return;
        }
        if self.partings.get(&shop).is_some_and(|parting| sequence <= parting.from_sequence) {
            self.partings.remove(&shop);
        }
        self.alarms.insert(shop, (sequence, proof));
        let greeted = self.links.iter().filter(|(_, link)| link.stage != Stage::Greeting);
        for link in greeted.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.alarm(link, shop);
        }
    }

    /// The branches of a proof leave the log that is held here before the place that it proves: each peer is asked once for
    /// its records from `from_sequence` on, as by [`Replica::want_exact`], until an earlier place is proven.
    pub fn find_parting(&mut self, shop: ShopId, from_sequence: u64, now: UnixMillis) {
        let known = self.partings.get(&shop).is_some_and(|parting| parting.from_sequence <= from_sequence);
        if known || from_sequence == 0 {
            return;
        }
        self.partings.insert(shop, Parting { from_sequence, asked: BTreeSet::new() });
        self.review.insert(shop);
        self.ask(now);
    }

    /// Whether a log's records are asked for. Those of a log that ends at a proven fork are if the one held parts from it before:
    /// the others may have gone on from there in a later incarnation.
    pub(crate) fn is_wanted(&self, shop: &ShopId) -> bool {
        self.wanted.contains(shop) || self.partings.contains_key(shop)
    }

    /// A peer that was not asked yet, and from where on; it counts as asked.
    pub(crate) fn next_to_show(&mut self, shop: &ShopId) -> Option<(LinkId, u64)> {
        let parting = self.partings.get_mut(shop)?;
        parting.asked.retain(|id| self.links.contains_key(id));
        let able = |(id, link): &(&LinkId, &Link)| {
            let free = link.stage != Stage::Greeting && link.has_slot() && !link.asked.contains_key(shop);
            free && !parting.asked.contains(id)
        };
        let id = self.links.iter().find(able).map(|(id, _)| *id)?;
        parting.asked.insert(id);
        Some((id, parting.from_sequence))
    }

    /// A proof that a peer sent does not hold.
    pub fn disproved(&mut self, link: LinkId) {
        self.goodbye(link, GoodbyeReason::Record, "a proof does not hold");
    }

    /// Tells a peer of every proven fork.
    pub(crate) fn alarm_all(&mut self, link: LinkId) {
        for shop in self.alarms.keys().copied().collect::<Vec<_>>() {
            self.alarm(link, shop);
        }
    }

    fn alarm(&mut self, id: LinkId, shop: ShopId) {
        let (Some((sequence, proof)), Some(link)) = (self.alarms.get(&shop), self.links.get_mut(&id)) else {
            return;
        };
        if link.alarms.get(&shop).is_some_and(|told| told <= sequence) {
            return;
        }
        link.alarms.insert(shop, *sequence);
        let frame = Frame::Alarm { shop, sequence: *sequence, proof: proof.clone() };
        self.send(id, frame);
    }

    /// A peer sent a proof. What it told before, or what is known, is passed over.
    pub(crate) fn alarmed(
        &mut self,
        id: LinkId,
        shop: ShopId,
        sequence: u64,
        proof: Bytes,
    ) -> Result<(), Fault> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if proof.len() > ALARM_BYTES_MAX || sequence == 0 {
            return Err(Fault::Size);
        }
        if !link.alarms.contains_key(&shop) && link.alarms.len() >= LOGS_MAX {
            return Err(Fault::Logs);
        }
        let told = link.alarms.get(&shop).is_some_and(|told| *told <= sequence);
        let known = self.alarms.get(&shop).is_some_and(|(known, _)| *known <= sequence);
        if !told {
            link.alarms.insert(shop, sequence);
        }
        if !told && !known {
            self.emit(Output::Alarm { link: id, proof });
        }
        Ok(())
    }
}
