//! Disks that lost bytes: a node that finds its journal damaged asks its neighbours for what it lost, as `hutong-node` does.

use std::sync::Arc;

use hutong_record::ShopId;
use hutong_store::{
    journal::{JournalReader, Leftover, Scrub, ScrubStep, SegmentJournal, Survey},
    ledger::Signing,
    repair::Repair,
    writer::Job,
};
use hutong_sync::LinkId;

use crate::{node::NodeNumber, restart::JOURNAL, world::World};

/// Read at a time.
const PART_BYTES: u32 = 1 << 20;

/// A pass over a whole journal.
fn survey(reader: &dyn JournalReader) -> Option<Survey> {
    let mut pass = Scrub::default();
    loop {
        match reader.scrub(&mut pass, PART_BYTES) {
            Ok(ScrubStep::Read(_)) => {}
            Ok(ScrubStep::Done(survey)) => return Some(survey),
            // The disk fails: another time.
            Err(_) => return None,
        }
    }
}

impl World {
    /// Whether a damaged disk still has all that its own shop ever told. What it lost of that, nobody may have.
    pub(crate) fn keeps_own_log(&self, node: NodeNumber) -> bool {
        let me = self.shops[self.nodes[node].shop].id();
        let Ok(journal) = SegmentJournal::open(self.nodes[node].disk.image(), JOURNAL) else { return false };
        let reader = journal.reader();
        let told = self.nodes[node].told.get(&me).map_or(0, |head| head.sequence);
        let held = reader.head_of(me).map_or(0, |head| head.sequence);
        let of_own = |survey: Survey| survey.lost.iter().any(|lost| lost.records.shop == me);
        held >= told && !survey(&*reader).is_none_or(of_own)
    }

    /// A node whose disk lost bytes looks what it lost, and begins to ask for it.
    pub(crate) fn look_for_damage(&mut self, node: NodeNumber) {
        if !self.nodes[node].flipped {
            return;
        }
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(survey) = survey(&*process.ledger().reader()) else { return };
        self.trace.event(self.now_ms, "survey", &[node as u64, survey.lost_places()]);
        let sound = survey.is_sound();
        process.repair = (!sound).then(|| Repair::new(Arc::new(survey)));
        self.nodes[node].flipped = !sound;
    }

    /// What a node's journal lacks: whose record, and which is the first.
    pub(crate) fn lost_records(&self, node: NodeNumber) -> Vec<(ShopId, u64)> {
        let survey = self.nodes[node].ledger().and_then(|ledger| survey(&*ledger.reader()));
        let lost = survey.map_or_else(Vec::new, |survey| survey.lost);
        lost.iter().map(|lost| (lost.records.shop, lost.records.from_sequence)).collect()
    }

    fn peers(&self, node: NodeNumber) -> Vec<(LinkId, ShopId)> {
        let peer = |link: &LinkId| {
            let wire = self.network.wires.get(link)?;
            let other = wire.ends[usize::from(wire.ends[0] == node)];
            Some((*link, self.shops[self.nodes[other].shop].id()))
        };
        self.nodes[node].links.iter().filter_map(peer).collect()
    }

    /// Asks whoever can be asked for lost records, and puts back what was found once nobody has more.
    pub(crate) fn ask_for_lost(&mut self, node: NodeNumber) {
        if self.nodes[node].process.as_ref().is_none_or(|process| process.repair.is_none()) {
            return;
        }
        let (peers, now) = (self.peers(node), self.clock(node));
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(repair) = &mut process.repair else { return };
        repair.ask_all(&peers, |link, asked| {
            process.replica.want_lost(link, asked.shop, asked.sequence, asked.bytes_max, now)
        });
        if peers.is_empty() || !repair.is_settled(&peers) {
            return;
        }
        let ledger = process.writer.ledger();
        let links = peers.iter().map(|(link, _)| *link);
        let sure = repair.is_complete()
            && ledger.signing() == Signing::Confirmed
            && process.replica.is_level_with(links, ledger.confirming_peers());
        let Some(repair) = process.repair.take() else { return };
        let (survey, found) = repair.into_found();
        let leftover = if sure { Leftover::Void } else { Leftover::Keep };
        // Looked at again with the next tick, if the queue is full or something is left.
        let _given = self.give(node, Job::Heal { survey, found, leftover });
    }
}
