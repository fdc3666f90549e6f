//! Writing a bundle: every log up to where it went when the export began, in the order in which records came here, so
//! that whoever reads on from the beginning knows each author before its records come.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use hutong_record::{AllianceId, ShopId};
use hutong_store::journal::{JournalError, JournalReader, Lsn};
use hutong_sync::{Head, frontier_digest};

use super::format::Writer;
use crate::federation::hub::sparsely_signed;

/// How much of the journal is looked through at once for what comes next.
const PAGE_RECORDS_MAX: usize = 1_024;
const PAGE_BYTES_MAX: usize = 1 << 20;
/// A run is cut after so many bytes.
const RUN_BYTES_MAX: usize = 256 << 10;

/// Why nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal cannot be read. Damage is not among it: that log ends early, and is counted.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The next bytes of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// A frame, or the title and the first frame.
    pub bytes: Vec<u8>,
    /// Records written so far.
    pub records: u64,
    /// Logs that end early so far.
    pub damaged_logs: u64,
}

/// A bundle being written.
pub struct Export {
    reader: Arc<dyn JournalReader>,
    writer: Option<Writer>,
    /// The title, not taken yet.
    title: Option<Vec<u8>>,
    /// How far each log went at the beginning.
    heads: BTreeMap<ShopId, u64>,
    /// How far each log is written.
    written: BTreeMap<ShopId, u64>,
    damaged: BTreeSet<ShopId>,
    /// Authors and numbers of records whose turn comes next.
    page: VecDeque<(ShopId, u64)>,
    next: Lsn,
    last: Lsn,
    records: u64,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Export({} of {})", self.next, self.last)
    }
}

impl Export {
    /// Of what the journal holds now.
    pub fn new(alliance: AllianceId, reader: Arc<dyn JournalReader>) -> Self {
        let last = reader.head();
        let heads: BTreeMap<_, _> = reader
            .frontier()
            .into_iter()
            .map(|(shop, h)| (shop, Head { sequence: h.sequence, id: h.id, incarnation: h.incarnation }))
            .collect();
        let (writer, title) = Writer::begin(alliance, frontier_digest(&heads));
        Self {
            reader,
            writer: Some(writer),
            title: Some(title),
            heads: heads.into_iter().map(|(shop, head)| (shop, head.sequence)).collect(),
            written: BTreeMap::new(),
            damaged: BTreeSet::new(),
            page: VecDeque::new(),
            next: Lsn(1),
            last,
            records: 0,
        }
    }

    /// The next bytes; none: the bundle is whole. It reads the disk.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, ExportError> {
        if let Some(title) = self.title.take() {
            return Ok(Some(self.piece(title)));
        }
        loop {
            while let Some((shop, sequence)) = self.page.pop_front() {
                if let Some(bytes) = self.run_with(shop, sequence)? {
                    return Ok(Some(self.piece(bytes)));
                }
            }
            if self.next > self.last {
                let end = self.writer.take().map(Writer::end);
                return Ok(end.map(|bytes| self.piece(bytes)));
            }
            self.turn_page()?;
        }
    }

    fn piece(&self, bytes: Vec<u8>) -> Piece {
        Piece { bytes, records: self.records, damaged_logs: self.damaged.len() as u64 }
    }

    fn turn_page(&mut self) -> Result<(), ExportError> {
        match self.reader.read(self.next, PAGE_RECORDS_MAX, PAGE_BYTES_MAX) {
            Ok(records) => {
                self.next = records.last().map_or(self.last, |(lsn, _)| *lsn).next();
                let reader = &self.reader;
                let counts = records.iter().filter(|(lsn, r)| !reader.is_superseded(*lsn, r.header()));
                self.page.extend(counts.map(|(_, record)| (record.header().shop, record.header().sequence)));
            }
            // Whose records are lost there shows when their logs are read.
            Err(JournalError::Damaged { resume, .. }) => self.next = resume.max(self.next.next()),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The run that goes on with a log, if the record of that number is not written yet.
    fn run_with(&mut self, shop: ShopId, sequence: u64) -> Result<Option<Vec<u8>>, ExportError> {
        let written = self.written.get(&shop).copied().unwrap_or_default();
        let end = self.heads.get(&shop).copied().unwrap_or_default();
        if sequence <= written || sequence > end || self.damaged.contains(&shop) {
            return Ok(None);
        }
        let mut run = match self.reader.read_log(shop, written + 1, RUN_BYTES_MAX) {
            Err(JournalError::Damaged { .. }) => Vec::new(),
            read => read?,
        };
        run.retain(|record| record.header().sequence <= end);
        // A run is worth nothing without its last signature.
        let run_end = run.last().filter(|last| last.signature().is_some()).map(|last| last.header().sequence);
        let message = sparsely_signed(&run);
        let bytes = run_end.and_then(|_| self.writer.as_mut()?.run(shop, message));
        let (Some(run_end), Some(bytes)) = (run_end, bytes) else {
            tracing::warn!(shop = shop.short(), "the log cannot be read on: the bundle ends it here");
            self.damaged.insert(shop);
            return Ok(None);
        };
        // Should the run end before the record that is looked for, the log's next records bring the rest.
        if run_end < sequence {
            self.page.push_front((shop, sequence));
        }
        self.written.insert(shop, run_end);
        self.records += run.len() as u64;
        Ok(Some(bytes))
    }
}
