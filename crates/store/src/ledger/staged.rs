//! What a group has gathered and not yet committed.

use std::collections::{BTreeMap, BTreeSet};

use hutong_core::{
    fold::Effects,
    ingest::Head,
    view::{Batch, Layered, Overlay, Reader},
};
use hutong_record::{Record, RecordId, ShopId};

/// Records and writes that wait for the next commit.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) records: Vec<Record>,
    pub(super) heads: BTreeMap<ShopId, Head>,
    pub(super) writes: Batch,
    /// Logs that stood still and can go on.
    pub(super) resume: BTreeSet<ShopId>,
    pub(super) roster_changed: bool,
    pub(super) rebuild: bool,
    ids: BTreeMap<(ShopId, u64), RecordId>,
}

impl Staged {
    /// The views as they will be, to read.
    pub(super) fn overlay<'v, R: Reader + ?Sized>(&'v self, base: &'v R) -> Layered<'v, R> {
        Layered::new(base, &self.writes)
    }

    /// The views as they will be, to write; [`Staged::put_back`] ends it.
    pub(super) fn take_overlay<'v, R: Reader + ?Sized>(&mut self, base: &'v R) -> Overlay<'v, R> {
        Overlay::with(base, std::mem::take(&mut self.writes))
    }

    pub(super) fn put_back<R: Reader + ?Sized>(&mut self, overlay: Overlay<'_, R>) {
        self.writes = overlay.into_writes();
    }

    pub(super) fn add(&mut self, record: Record, effects: Effects) {
        let header = record.header();
        let head = Head { sequence: header.sequence, id: record.id(), incarnation: header.incarnation };
        self.heads.insert(header.shop, head);
        self.ids.insert((header.shop, header.sequence), record.id());
        self.records.push(record);
        self.note(effects);
    }

    /// Records of a new incarnation that begins before the end of its log. What is folded of that log does not count any
    /// more, so everything is folded anew after the next commit.
    pub(super) fn supersede(&mut self, records: Vec<Record>) {
        let Some(first) = records.first().map(|record| (record.header().shop, record.header().sequence))
        else {
            return;
        };
        self.ids.retain(|(shop, sequence), _| *shop != first.0 || *sequence < first.1);
        for record in records {
            self.add(record, Effects { rebuild: true, roster_changed: true, ..Effects::default() });
        }
    }

    pub(super) fn note(&mut self, effects: Effects) {
        self.resume.extend(effects.resume);
        self.roster_changed |= effects.roster_changed;
        self.rebuild |= effects.rebuild;
    }

    pub(super) fn id(&self, shop: ShopId, sequence: u64) -> Option<RecordId> {
        self.ids.get(&(shop, sequence)).copied()
    }
}
