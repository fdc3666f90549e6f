//! Bringing the views up to the journal: after a start, after damage, after a seal or fork that takes records back.

use std::collections::BTreeSet;

use hutong_core::{fold, view::Overlay};
use hutong_record::{RUN_RECORDS_MAX, Record, ShopId};

use super::{Ledger, LedgerError, Staged, open_payload};
use crate::{
    journal::{JournalError, Lsn},
    views::Views,
};

/// Records folded into one batch of the views: large enough that sled's cost per batch vanishes.
const REPLAY_RECORDS_MAX: usize = 1_024;
const REPLAY_BYTES_MAX: usize = 4 << 20;

impl<V: Views> Ledger<V> {
    /// Folds what the journal has and the views have not.
    pub(super) fn catch_up(&mut self, progress: &mut dyn FnMut(Lsn, Lsn)) -> Result<(), LedgerError> {
        if self.views.position()? > self.reader.head() {
            // The journal lost records that the views have seen: they were never acknowledged, and must not show.
            return self.rebuild(progress);
        }
        if self.replay(progress)? { Ok(()) } else { self.rebuild(progress) }
    }

    /// Folds the whole journal into empty views. Seals and forks found on the way hold from the first record on, so
    /// it may take another round; each round knows more of them.
    pub(super) fn rebuild(&mut self, progress: &mut dyn FnMut(Lsn, Lsn)) -> Result<(), LedgerError> {
        loop {
            self.staged = Staged::default();
            self.views.reset()?;
            self.alliance = self.alliance.from_the_start();
            if self.replay(progress)? {
                return Ok(());
            }
        }
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
            let staged = self.fold_all(records.into_iter().map(|(_, record)| record))?;
            if staged.rebuild {
                return Ok(false);
            }
            self.views.apply(&staged.writes, last)?;
            self.resume(staged.resume)?;
            progress(last, head);
        }
        Ok(true)
    }

    fn fold_all(&mut self, records: impl IntoIterator<Item = Record>) -> Result<Staged, LedgerError> {
        let mut staged = Staged::default();
        let views = self.views.clone();
        let mut view = Overlay::new(&*views);
        for record in records {
            let message = open_payload(&record, self.alliance.me(), &self.keys.decryption);
            staged.note(self.alliance.fold(&mut view, &record, message)?);
        }
        staged.put_back(view);
        Ok(staged)
    }

    /// Goes on with logs that stood still, as far as they go; what they bring may set others going.
    pub(super) fn resume(&mut self, mut shops: BTreeSet<ShopId>) -> Result<(), LedgerError> {
        while let Some(shop) = shops.pop_first() {
            loop {
                let from = fold::cursor(&*self.views, shop)? + 1;
                let records = self.reader.read_log(shop, from, REPLAY_BYTES_MAX)?;
                debug_assert!(records.len() <= RUN_RECORDS_MAX, "read_log gives one run");
                if records.is_empty() {
                    break;
                }
                let staged = self.fold_all(records)?;
                let position = self.views.position()?;
                self.views.apply(&staged.writes, position)?;
                shops.extend(staged.resume);
                if staged.rebuild {
                    return self.rebuild(&mut |_, _| {});
                }
                if fold::cursor(&*self.views, shop)? < from {
                    break; // it waits again
                }
            }
        }
        Ok(())
    }
}
