//! Starting, stopping, and what a stop takes with it.

use std::sync::Arc;

use hutong_store::{
    journal::{JournalConfig, JournalError, SegmentJournal, TailLoss},
    ledger::{self, Ledger, Opening},
    writer::Writer,
};
use hutong_sync::{GoodbyeReason, Replica};
use rand::RngExt as _;

use crate::{
    check::Invariant,
    clock::MINUTE_MS,
    fault::FaultKind,
    fuse::FusedJournal,
    hub::sync_head,
    node::{NodeNumber, Process, Seat},
    views::SimViews,
    world::{Event, World},
};

/// Segments so small that a run fills several.
pub(crate) const JOURNAL: JournalConfig =
    JournalConfig { segment_bytes_max: 96 << 10, checksum_seed: 0x5eed };
/// How long a process that stopped is down, ms: a supervisor starts it again, or a person does.
const DOWN_MS: std::ops::Range<i64> = 500..10 * MINUTE_MS;

impl World {
    /// Starts a node on what its disk holds. On an old backup or a copy it asks its peers for its own head before it signs.
    pub(crate) fn start(&mut self, node: NodeNumber, seat: Seat) {
        if self.nodes[node].process.is_some() || self.nodes[node].shut {
            return;
        }
        let shop = &self.shops[self.nodes[node].shop];
        let (me, keys) = (shop.id(), shop.keys.clone());
        let slot = &mut self.nodes[node];
        slot.fuse.replace();
        slot.boots += 1;
        if seat != Seat::Own {
            slot.told.clear();
            slot.mark = ledger::Seat::Moved;
        }
        let journal = match SegmentJournal::open(slot.disk.clone(), JOURNAL) {
            Ok(journal) => journal,
            // The disk fails or is full: whoever looks after the node tries again.
            Err(JournalError::Io { .. }) => return self.after(MINUTE_MS, Event::Start(node)),
            Err(error) => return self.broken(Invariant::Log2, format!("node {node}: {error}")),
        };
        if let Some(damage) = journal.damage().first().filter(|_| !slot.flipped) {
            return self.broken(Invariant::Log2, format!("node {node} lost records: {damage:?}"));
        }
        // What this opening finds of the journal's end, the next one finds nothing of.
        let files = slot.mark;
        slot.mark = match (files, journal.reader().tail_loss(me)) {
            (ledger::Seat::Moved, _) | (_, TailLoss::Damaged) => ledger::Seat::Moved,
            (_, TailLoss::Torn) => ledger::Seat::Cut,
            (files, TailLoss::Nothing) => files,
        };
        let journal = Box::new(FusedJournal { journal, fuse: slot.fuse.clone() });
        let views = slot.views.clone();
        let opening = Opening {
            charter: self.charter.clone(),
            me,
            keys,
            seat: files,
            journal,
            views,
            cryptography: self.memory.clone(),
        };
        let opened = Ledger::open_with(opening, &mut |_, _| {});
        let ledger = match opened {
            Ok(ledger) => ledger,
            Err(error) => return self.broken(Invariant::Log2, format!("node {node}: {error}")),
        };
        self.take_seat(node, ledger);
    }

    fn take_seat(&mut self, node: NodeNumber, ledger: Ledger<SimViews>) {
        let frontier = ledger.reader().frontier();
        let head = |h: hutong_store::journal::LogHead| hutong_core::ingest::Head {
            sequence: h.sequence,
            id: h.id,
            incarnation: h.incarnation,
        };
        let heads: Vec<_> = frontier.into_iter().map(|(shop, h)| (shop, head(h))).collect();
        self.trace.event(self.now_ms, "start", &[node as u64, ledger.reader().head().0]);
        let me = ledger.alliance().me();
        let known = heads.iter().map(|(shop, head)| (*shop, sync_head(*head))).collect();
        let replica = Replica::new(self.charter.id, me, known);
        self.nodes[node].process = Some(Process::new(Writer::new(ledger), replica));
        self.check_told(node);
        self.observe_heads(node, &heads);
        self.nodes[node].told = heads.into_iter().collect();
        self.members(node);
        self.plan_dial(node);
        // This looks for damage, too.
        self.tick(node);
    }

    /// The process is gone at once; with the power, what was not synced too.
    pub(crate) fn stop(&mut self, node: NodeNumber, power_goes: bool) {
        if self.nodes[node].process.take().is_none() {
            return;
        }
        self.trace.event(self.now_ms, "stop", &[node as u64, u64::from(power_goes)]);
        for link in std::mem::take(&mut self.nodes[node].links) {
            self.close_link(node, link);
        }
        if power_goes {
            self.nodes[node].disk.power_cut(&mut self.rng);
            self.nodes[node].views.power_cut(&mut self.rng);
        }
        let down_ms = self.rng.random_range(DOWN_MS);
        self.after(down_ms, Event::Start(node));
    }

    /// The armed fuse has blown.
    pub(crate) fn fuse_blew(&mut self, node: NodeNumber) {
        let power_goes = self.nodes[node].power_goes;
        self.faults.add(if power_goes { FaultKind::PowerCut } else { FaultKind::ProcessKill });
        self.stop(node, power_goes);
    }

    /// The shop shuts in order.
    pub(crate) fn shut_in_order(&mut self, node: NodeNumber, away_ms: i64) {
        for link in self.nodes[node].links.clone() {
            self.replicate(node, |replica, now| replica.close(link, GoodbyeReason::Shutdown, now));
        }
        if self.nodes[node].process.take().is_some() {
            self.trace.event(self.now_ms, "shut", &[node as u64]);
            for link in std::mem::take(&mut self.nodes[node].links) {
                self.close_link(node, link);
            }
            self.after(away_ms, Event::Start(node));
        }
    }

    /// Stops the process, and starts it again on the spot.
    pub(crate) fn reopen(&mut self, node: NodeNumber) {
        if self.nodes[node].process.take().is_some() {
            for link in std::mem::take(&mut self.nodes[node].links) {
                self.close_link(node, link);
            }
            self.start(node, Seat::Own);
        }
    }

    /// The views are gone; the next start folds them anew.
    pub(crate) fn lose_views(&mut self, node: NodeNumber) {
        self.nodes[node].views = Arc::default();
    }
}
