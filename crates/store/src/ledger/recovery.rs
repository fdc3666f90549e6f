//! Bringing the views up to the journal: after a start, after damage, after a seal or fork that takes records back.

use std::collections::BTreeSet;

use hutong_core::{fold, keys, view::Overlay};
use hutong_record::{RUN_RECORDS_MAX, Record, ShopId, proto::Kind};

use super::{Ledger, LedgerError, Staged};
use crate::{
    journal::{JournalError, JournalReader, Lsn},
    views::Views,
};

/// Records folded into one batch of the views: large enough that sled's cost per batch vanishes.
const REPLAY_RECORDS_MAX: usize = 1_024;
const REPLAY_BYTES_MAX: usize = 4 << 20;
/// Rounds of folding everything anew: the second one has the roster that the votes of all logs come to, and a further
/// one is needed only where a vote waited for what another roster let in.
const REBUILD_ROUNDS_MAX: usize = 16;

impl<V: Views> Ledger<V> {
    /// Folds what the journal has and the views have not.
    pub(super) fn catch_up(&mut self, progress: &mut dyn FnMut(Lsn, Lsn)) -> Result<(), LedgerError> {
        if self.views.position()? > self.reader.head() {
            // The journal lost records that the views have seen: they were never acknowledged, and must not show.
            return self.rebuild(progress);
        }
        // What an incarnation superseded may have been folded before.
        let superseded = self.reader.last_switch() > self.views.position()?;
        if superseded || !self.replay(progress)? {
            return self.rebuild(progress);
        }
        // A log that was set going may have stopped with the process before it was folded on.
        let mut behind = BTreeSet::new();
        for (shop, head) in self.reader.frontier() {
            if fold::cursor(&*self.views, shop)? < head.sequence {
                behind.insert(shop);
            }
        }
        self.resume(behind)?;
        self.open_anew(progress)
    }

    /// Where keys have come that this shop's log went over to before, what is sealed to them was folded unread.
    fn open_anew(&mut self, progress: &mut dyn FnMut(Lsn, Lsn)) -> Result<(), LedgerError> {
        let (held, newest) = (keys::held(&*self.views)?, self.keys.newest());
        if newest > held && self.alliance.key_epoch(self.alliance.me()) > held {
            return self.rebuild(progress);
        }
        self.note_newest_keys()
    }

    fn note_newest_keys(&self) -> Result<(), LedgerError> {
        let views = self.views.clone();
        if keys::held(&*views)? == self.keys.newest() {
            return Ok(());
        }
        let mut view = Overlay::new(&*views);
        keys::note_held(&mut view, self.keys.newest());
        let position = self.views.position()?;
        Ok(self.views.apply(&view.into_writes(), position)?)
    }

    /// Folds the whole journal into empty views. The roster that all of it comes to judges every record from the first
    /// one on, so it takes another round where the roster turns out otherwise than it was known.
    pub(super) fn rebuild(&mut self, progress: &mut dyn FnMut(Lsn, Lsn)) -> Result<(), LedgerError> {
        for _ in 0..REBUILD_ROUNDS_MAX {
            self.staged = Staged::default();
            self.views.reset()?;
            self.alliance = self.alliance.from_the_start();
            self.replay(progress)?;
            if self.alliance.settle() {
                return self.note_newest_keys();
            }
        }
        tracing::error!("the roster still changes after {REBUILD_ROUNDS_MAX} rounds of folding");
        Ok(())
    }

    /// Folds from the views' position to the journal's head; false: what was folded before does not count any more.
    fn replay(&mut self, progress: &mut dyn FnMut(Lsn, Lsn)) -> Result<bool, LedgerError> {
        let head = self.reader.head();
        let mut next = self.views.position()?.next();
        while next <= head {
            let records = match self.reader.read(next, REPLAY_RECORDS_MAX, REPLAY_BYTES_MAX) {
                Ok(records) => records,
                Err(JournalError::Damaged { lsn, resume, .. }) if resume > next => {
                    tracing::error!(%lsn, %resume, "damaged records are left out until peers send them again");
                    next = resume;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some((last, _)) = records.last() else { break };
            next = last.next();
            let last = *last;
            let reader = self.reader.clone();
            let mut followed = Vec::with_capacity(records.len());
            for (lsn, record) in records {
                let superseded = reader.is_superseded(lsn, record.header());
                // Where its branch was taken up again, it counts, and is folded where it was written last.
                if !(superseded && counts_again(&*reader, &record)?) {
                    followed.push((record, superseded));
                }
            }
            let staged = self.fold_all(followed)?;
            if staged.rebuild {
                return Ok(false);
            }
            self.views.apply(&staged.writes, last)?;
            self.resume(staged.resume)?;
            progress(last, head);
        }
        Ok(true)
    }

    /// Folds records, each with whether a later incarnation superseded it.
    fn fold_all(&mut self, records: impl IntoIterator<Item = (Record, bool)>) -> Result<Staged, LedgerError> {
        let mut staged = Staged::default();
        let views = self.views.clone();
        let mut view = Overlay::new(&*views);
        for (record, superseded) in records {
            let message = self.keys.open(&record, self.alliance.me());
            let message = message.filter(|_| !forgotten(&record));
            if superseded {
                self.alliance.fold_superseded(&mut view, &record, message)?;
                continue;
            }
            staged.note(self.alliance.fold(&mut view, &record, message)?);
        }
        staged.put_back(view);
        Ok(staged)
    }

    /// Goes on with logs that stood still, as far as they go; what they bring may set others going. True: the roster
    /// may have changed.
    pub(super) fn resume(&mut self, mut shops: BTreeSet<ShopId>) -> Result<bool, LedgerError> {
        let mut roster_changed = false;
        while let Some(shop) = shops.pop_first() {
            loop {
                let from = fold::cursor(&*self.views, shop)? + 1;
                let records = match self.reader.read_log(shop, from, REPLAY_BYTES_MAX) {
                    Err(JournalError::Damaged { .. }) => break, // it stands still, and the others go on
                    records => records?,
                };
                debug_assert!(records.len() <= RUN_RECORDS_MAX, "read_log gives one run");
                if records.is_empty() {
                    break;
                }
                let staged = self.fold_all(records.into_iter().map(|record| (record, false)))?;
                let position = self.views.position()?;
                self.views.apply(&staged.writes, position)?;
                shops.extend(staged.resume);
                roster_changed |= staged.roster_changed;
                if staged.rebuild {
                    return self.rebuild(&mut |_, _| {}).map(|()| true);
                }
                if fold::cursor(&*self.views, shop)? < from {
                    break; // it waits again
                }
            }
        }
        Ok(roster_changed)
    }
}

/// Whether a record that was superseded once is the one in its place again: a later branch went on from after it.
fn counts_again(reader: &dyn JournalReader, record: &Record) -> Result<bool, LedgerError> {
    let header = record.header();
    Ok(reader.readable_id(header.shop, header.sequence)? == Some(record.id()))
}

/// Whether a planted bug leaves a record's message out of a rebuild.
fn forgotten(record: &Record) -> bool {
    match record.header().kind {
        Kind::Redemption => hutong_record::planted!(ForgetUsesOnRebuild),
        Kind::VoucherIssue => hutong_record::planted!(ForgetNumbersOnRebuild),
        _ => false,
    }
}
