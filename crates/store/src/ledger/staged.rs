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
        self.records.push(record);
        self.note(effects);
    }

    /// Records of a new incarnation that begins before the end of its log. What is folded of that log does not count any
    /// more, so everything is folded anew after the next commit.
    pub(super) fn supersede(&mut self, records: Vec<Record>) {
        for record in records {
            self.add(record, Effects { rebuild: true, roster_changed: true, ..Effects::default() });
        }
    }

    pub(super) fn note(&mut self, effects: Effects) {
        self.resume.extend(effects.resume);
        self.roster_changed |= effects.roster_changed;
        self.rebuild |= effects.rebuild;
    }

    /// The id of a record that waits. They are looked through from the end, so that a superseded record is not taken for
    /// the one that superseded it; seldom does anybody ask.
    pub(super) fn id(&self, shop: ShopId, sequence: u64) -> Option<RecordId> {
        self.heads.get(&shop).filter(|head| sequence <= head.sequence)?;
        let is_it = |r: &&Record| r.header().shop == shop && r.header().sequence == sequence;
        self.records.iter().rev().find(is_it).map(Record::id)
    }
}
