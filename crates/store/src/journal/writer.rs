//! The journal's writer.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hutong_record::{Record, RecordId, SIGNATURE_BYTES, ShopId};

use super::{
    Damage, Journal, JournalConfig, JournalError, JournalReader, LogHead, Lsn,
    frame::{self, Position, Prefix},
    index::{Entry, Index, Segment},
    reader::Reader,
    recovery::{Recovered, recover},
    segment::{self, SEGMENT_BYTES_LIMIT, SegmentHeader},
    sidecar::{Sidecar, sidecar_name},
};
use crate::disk::{Disk, DiskFile};

/// The most records of one batch: sixteen runs.
pub const BATCH_RECORDS_MAX: usize = 4_096;
/// The most bytes of one batch, as encoded in frames; bounds the encode buffer and how far a segment overshoots.
pub const BATCH_BYTES_MAX: usize = 64 << 20;
/// What a frame adds to header, signature and payload, at most.
const FRAME_OVERHEAD_BYTES: usize = 40;
/// The encode buffer is given back after a batch larger than this.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// A journal in segment files on a [`Disk`].
///
/// A batch is one write into the last segment; a segment that is full is synced, sealed with an index file beside it,
/// and followed by a new one. Opening reads the index files and scans the last segment.
#[derive(Debug)]
pub struct SegmentJournal<D: Disk> {
    disk: D,
    config: JournalConfig,
    shared: Arc<Shared<D::File>>,
    file: Arc<D::File>,
    segment: SegmentHeader,
    /// Length of the last segment.
    written: u32,
    /// How much of it is synced.
    durable: u32,
    head: Lsn,
    /// Written and not synced.
    staged: Vec<Entry>,
    staged_tails: BTreeMap<ShopId, (LogHead, Position)>,
    buffer: Vec<u8>,
    seal_next: bool,
    poisoned: bool,
}

/// What the writer shares with readers.
#[derive(Debug)]
pub(super) struct Shared<F> {
    index: RwLock<Index<F>>,
}

impl<F> Shared<F> {
    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index<F>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index<F>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Disk> SegmentJournal<D> {
    /// Opens the journal on a disk, or begins one on an empty disk. A torn tail is cut, with a warning; other damage is
    /// kept, logged as an error and listed by [`SegmentJournal::damage`].
    ///
    /// # Errors
    /// `Io`; `Format` if a newer program wrote it; `Damaged` if it cannot be known where the journal ends: the last
    /// segment has lost both copies of its header and no frame of it can be read, or segments overlap.
    pub fn open(disk: D, config: JournalConfig) -> Result<Self, JournalError> {
        let Recovered { index, seal_last } = recover(&disk, &config)?;
        let last = index.segments.last().expect("recovery leaves at least one segment");
        let file = last.file.clone().expect("the last segment was opened");
        let (segment, written, head) = (last.header, last.bytes, index.head());
        Ok(Self {
            disk,
            config,
            shared: Arc::new(Shared { index: RwLock::new(index) }),
            file,
            segment,
            written,
            durable: written,
            head,
            staged: Vec::new(),
            staged_tails: BTreeMap::new(),
            buffer: Vec::new(),
            seal_next: seal_last,
            poisoned: false,
        })
    }

    /// What was lost, as found on opening.
    pub fn damage(&self) -> Vec<Damage> {
        self.shared.index().damage.clone()
    }

    /// A reader, to be shared; it outlives the writer.
    pub fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::new(Reader::new(Arc::clone(&self.shared)))
    }

    fn tail_of(&self, shop: ShopId) -> Option<(LogHead, Position)> {
        let published = || self.shared.index().logs.get(&shop).map(|log| (log.head, log.head_at));
        self.staged_tails.get(&shop).copied().or_else(published)
    }

    fn check_open(&self) -> Result<(), JournalError> {
        if self.poisoned { Err(JournalError::Poisoned) } else { Ok(()) }
    }

    fn check_size(batch: &[Record]) -> Result<(), JournalError> {
        let payload_bytes = |record: &Record| record.payload().map_or(0, |p| p.bytes().len());
        let record_bytes =
            |r: &Record| FRAME_OVERHEAD_BYTES + r.header_bytes().len() + SIGNATURE_BYTES + payload_bytes(r);
        let (records, bytes) = (batch.len(), batch.iter().map(record_bytes).sum());
        if records > BATCH_RECORDS_MAX || bytes > BATCH_BYTES_MAX {
            return Err(JournalError::BatchTooLarge { records, bytes });
        }
        Ok(())
    }

    /// Each record continues its shop's log, as it stands or as the batch has made it.
    fn check_logs(&self, batch: &[Record]) -> Result<(), JournalError> {
        let mut heads: BTreeMap<ShopId, (u64, Option<RecordId>)> = BTreeMap::new();
        for record in batch {
            let header = record.header();
            let (shop, sequence) = (header.shop, header.sequence);
            let stored = || self.tail_of(shop).map_or((0, None), |(head, _)| (head.sequence, Some(head.id)));
            let head = heads.entry(shop).or_insert_with(stored);
            if head.0.checked_add(1) != Some(sequence) || head.1 != header.previous {
                return Err(JournalError::NotNext { shop, sequence, head: head.0 });
            }
            *head = (sequence, Some(record.id()));
        }
        Ok(())
    }

    /// Encodes a batch and writes it in one go.
    fn write(&mut self, batch: &[Record]) -> Result<(), JournalError> {
        self.buffer.clear();
        for (place, record) in batch.iter().enumerate() {
            let shop = record.header().shop;
            let lsn = self.head.next();
            let index = u32::try_from(lsn.0 - self.segment.first.0).expect("a segment's offsets fit 32 bits");
            let more = place + 1 < batch.len();
            let back = self.tail_of(shop).map(|(_, at)| at);
            let at = Position { segment: self.segment.number, offset: self.offset() };
            let prefix = Prefix { more, index, durable: self.durable, back };
            frame::encode(&mut self.buffer, prefix, record, self.segment.seed);
            let head = LogHead::of(record);
            self.staged.push(Entry { shop, head, at, index, end: self.offset() });
            self.staged_tails.insert(shop, (head, at));
            self.head = lsn;
        }
        self.file.append(&self.buffer)?;
        self.written = self.offset();
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    /// Where the end of the buffer will lie in the segment.
    fn offset(&self) -> u32 {
        let buffered = u32::try_from(self.buffer.len()).expect("batches are limited");
        self.written + buffered
    }

    fn is_full(&self) -> bool {
        self.seal_next || self.written >= self.config.segment_bytes_max.min(SEGMENT_BYTES_LIMIT)
    }

    /// Ends the segment, with its index beside it, and begins the next one.
    fn seal(&mut self) -> Result<(), JournalError> {
        self.make_durable()?;
        self.write_sidecar()?;
        let number = self.segment.number.checked_add(1).expect("four billion segments are not reached");
        let header = SegmentHeader { number, seed: self.config.checksum_seed, first: self.head.next() };
        let file = Arc::new(segment::create(&self.disk, &header)?);
        let next = Segment::new(header, Some(Arc::clone(&file)));
        (self.file, self.segment) = (file, header);
        (self.written, self.durable, self.seal_next) = (next.bytes, next.bytes, false);
        self.shared.index_mut().segments.push(next);
        Ok(())
    }

    /// A damaged segment gets no index file: each opening is to find and name the damage again.
    fn write_sidecar(&self) -> Result<(), JournalError> {
        let number = self.segment.number;
        let sidecar = {
            let index = self.shared.index();
            let damaged = index.damage.iter().any(|damage| damage.segment == number);
            index.segment(number).filter(|_| !damaged).map(|segment| Sidecar::of(&index, segment))
        };
        let Some(sidecar) = sidecar else { return Ok(()) };
        let bytes = sidecar.encode();
        segment::replace(&self.disk, &sidecar_name(number), &bytes)?;
        self.shared.index_mut().sidecar_bytes += bytes.len() as u64;
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), JournalError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        if !hutong_record::planted!(SkipSync) {
            self.file.sync_data()?;
        }
        self.durable = self.written;
        let mut index = self.shared.index_mut();
        for entry in self.staged.drain(..) {
            index.add(&entry);
        }
        self.staged_tails.clear();
        Ok(())
    }

    /// A failure after which the disk's state is unknown closes the journal.
    fn poison<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(error) = &result {
            self.poisoned = true;
            tracing::error!(%error, "the journal failed and is closed until it is opened anew");
        }
        result
    }
}

impl<D: Disk> Journal for SegmentJournal<D> {
    fn head(&self) -> Lsn {
        self.head
    }

    fn append(&mut self, expected: Lsn, batch: &[Record]) -> Result<Lsn, JournalError> {
        self.check_open()?;
        if expected != self.head {
            return Err(JournalError::Conflict { expected, head: self.head });
        }
        Self::check_size(batch)?;
        self.check_logs(batch)?;
        if batch.is_empty() {
            return Ok(self.head);
        }
        if self.is_full() {
            let sealed = self.seal();
            self.poison(sealed)?;
        }
        let written = self.write(batch);
        self.poison(written)?;
        Ok(self.head)
    }

    fn sync(&mut self) -> Result<Lsn, JournalError> {
        self.check_open()?;
        let synced = self.make_durable();
        self.poison(synced)?;
        Ok(self.head)
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Self::reader(self)
    }
}
