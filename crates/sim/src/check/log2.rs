//! LOG-2: what a node said was durable is there after every start; and what a damaged disk still gives is what was
//! written.

use hutong_core::ingest::Head;
use hutong_record::Record;
use hutong_store::journal::{Journal as _, JournalError, JournalReader, Lsn, SegmentJournal};

use super::Invariant;
use crate::{node::NodeNumber, restart::JOURNAL, world::World};

/// Records read at a time.
const PAGE_RECORDS: usize = 256;
const PAGE_BYTES: usize = 1 << 20;

impl World {
    /// After a start: every log reaches as far as it was told, with the same record there, unless a later incarnation of it
    /// was journaled before anybody was told.
    pub(crate) fn check_told(&mut self, node: NodeNumber) {
        let Some(ledger) = self.nodes[node].ledger() else { return };
        let reader = ledger.reader();
        let kept = |shop, head: &Head| {
            matches!(reader.record_id(shop, head.sequence), Ok(Some(id)) if id == head.id)
                || reader.head_of(shop).is_some_and(|held| held.incarnation > head.incarnation)
        };
        let lost = self.nodes[node].told.iter().find(|(shop, head)| !kept(**shop, head));
        if let Some((shop, head)) = lost {
            let what = format!("node {node} lost record {} of {shop:?}, which it had", head.sequence);
            self.broken(Invariant::Log2, what);
        }
    }

    /// Reads a copy of a damaged disk through and through.
    pub(crate) fn inspect(&self, node: NodeNumber) -> Result<(), String> {
        let image = self.nodes[node].disk.image();
        let journal = match SegmentJournal::open(image, JOURNAL) {
            Ok(journal) => journal,
            // The whole journal is refused, by name.
            Err(JournalError::Damaged { .. } | JournalError::Format { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let (reader, head) = (journal.reader(), journal.head());
        let mut next = Lsn(1);
        while next <= head {
            let records = match reader.read(next, PAGE_RECORDS, PAGE_BYTES) {
                Ok(records) => records,
                Err(JournalError::Damaged { resume, .. }) if resume > next => {
                    next = resume;
                    continue;
                }
                Err(error) => return Err(error.to_string()),
            };
            let Some((last, _)) = records.last() else { break };
            next = last.next();
            records.iter().try_for_each(|(_, record)| self.check_unchanged(record))?;
        }
        self.check_loss_named(node, &*reader, !journal.damage().is_empty())
    }

    fn check_unchanged(&self, record: &Record) -> Result<(), String> {
        let header = record.header();
        let Some(shop) = self.shop_number(header.shop) else { return Ok(()) };
        let known = self.signed(shop, header.sequence);
        let same = self.shops[shop].faulty.is_some() || known.is_none_or(|id| id == record.id());
        let whole = record.check_payload().is_ok();
        if same && whole {
            Ok(())
        } else {
            Err(format!("record {} of shop {shop} was changed", header.sequence))
        }
    }

    /// Records that are gone without damage being named can only be those of the last group, whose frames look like
    /// a torn tail.
    fn check_loss_named(
        &self,
        node: NodeNumber,
        reader: &dyn JournalReader,
        named: bool,
    ) -> Result<(), String> {
        let told: u64 = self.nodes[node].told.values().map(|head| head.sequence).sum();
        let held: u64 = reader.frontier().iter().map(|(_, head)| head.sequence).sum();
        let group = hutong_store::writer::GROUP_RECORDS_MAX as u64 + hutong_record::RUN_RECORDS_MAX as u64;
        if named || held + group >= told {
            Ok(())
        } else {
            Err(format!("{held} of {told} records left, unnamed"))
        }
    }
}
