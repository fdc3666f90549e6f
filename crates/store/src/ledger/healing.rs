//! Putting records back that damage took, and going on with the logs that stood still for want of them.

use std::collections::BTreeSet;

use hutong_core::fold;
use hutong_record::{RUN_RECORDS_MAX, Record, verify_run};

use super::{Ledger, LedgerError};
use crate::{
    journal::{Healed, JournalError, Leftover, Survey},
    views::Views,
};

/// A run has a signature at its end, if nowhere else.
const UNSIGNED_MAX: usize = RUN_RECORDS_MAX - 1;

impl<V: Views> Ledger<V> {
    /// Puts records back that damage took: those of `survey` that peers had, each the one that its successor names.
    /// Nothing may be staged. Views do not change but for what could not be folded before. True: the roster may have
    /// changed by that.
    ///
    /// # Errors
    /// Inner: the journal could not be healed, for want of room for example; nothing has changed. Outer: the journal or the
    /// views failed, and the ledger must be opened anew.
    pub fn heal(
        &mut self,
        survey: &Survey,
        found: Vec<Record>,
        leftover: Leftover,
    ) -> Result<Result<(Healed, bool), JournalError>, LedgerError> {
        debug_assert_eq!(self.staged_count(), 0, "healing comes after a commit");
        let switch = self.reader.last_switch();
        let found = self.with_good_signatures(found);
        let healed = match self.journal.heal(survey, found, leftover) {
            Ok(healed) => healed,
            Err(JournalError::Poisoned) => return Err(JournalError::Poisoned.into()),
            Err(error) => return Ok(Err(error)),
        };
        if healed.records == 0 {
            return Ok(Ok((healed, false)));
        }
        if self.reader.last_switch() != switch {
            // What was folded may have been superseded by what came back.
            self.rebuild(&mut |_, _| {})?;
            return Ok(Ok((healed, true)));
        }
        let mut behind = BTreeSet::new();
        for (shop, head) in self.reader.frontier() {
            if fold::cursor(&*self.views, shop)? < head.sequence {
                behind.insert(shop);
            }
        }
        Ok(Ok((healed, self.resume(behind)?)))
    }

    /// Signatures are not part of what a hash pins: those that do not hold are taken off, and this shop's own are made
    /// again, to the same bytes. Records of others that come without any for too long would be of no use to whoever is to
    /// get them from here: they are left out.
    fn with_good_signatures(&self, found: Vec<Record>) -> Vec<Record> {
        let mut good = Vec::with_capacity(found.len());
        for log in found.chunk_by(|one, next| Some(one.id()) == next.header().previous) {
            let signed: Vec<_> = log.iter().map(|record| self.signed_well(record)).collect();
            let longest = signed.split(|record| record.signature().is_some()).map(<[_]>::len).max();
            // A run must end at a rotation or an override, and by its signature.
            let ends = |record: &Record| record.header().kind.ends_run();
            let unsigned_end = signed.iter().any(|record| ends(record) && record.signature().is_none());
            if unsigned_end || longest.is_some_and(|unsigned| unsigned > UNSIGNED_MAX) {
                let shop = log[0].header().shop;
                tracing::warn!(
                    shop = shop.short(),
                    "a peer brought lost records without signatures that hold"
                );
                continue;
            }
            good.extend(signed);
        }
        good
    }

    fn signed_well(&self, record: &Record) -> Record {
        let header = record.header();
        let own = || self.keys.signing_of(header.key_epoch);
        if let Some(key) = (header.shop == self.alliance.me()).then(own).flatten() {
            return record.clone().signed_again(&key);
        }
        let key = self.alliance.key_of_run(core::slice::from_ref(record));
        let holds = key.is_some_and(|key| verify_run(vec![record.clone()], &key).is_ok());
        if holds { record.clone() } else { record.clone().without_signature() }
    }
}
