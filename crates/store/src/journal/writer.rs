//! The journal's writer.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hutong_record::{Record, RecordId, SIGNATURE_BYTES, ShopId};

use super::{
    Damage, Healed, Journal, JournalConfig, JournalError, JournalReader, Leftover, LogHead, Lsn, Survey,
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
    pub(super) disk: D,
    pub(super) config: JournalConfig,
    pub(super) shared: Arc<Shared<D::File>>,
    pub(super) file: Arc<D::File>,
    pub(super) segment: SegmentHeader,
    /// Length of the last segment.
    pub(super) written: u32,
    /// How much of it is synced.
    pub(super) durable: u32,
    pub(super) head: Lsn,
    /// Written and not synced.
    staged: Vec<Entry>,
    staged_tails: BTreeMap<ShopId, (LogHead, Position)>,
    buffer: Vec<u8>,
    pub(super) seal_next: bool,
    poisoned: bool,
}

/// How far a log goes while a batch is looked through.
#[derive(Debug, Clone, Copy)]
struct Tip {
    /// 0: it is empty.
    sequence: u64,
    id: Option<RecordId>,
    incarnation: u32,
}

impl Tip {
    fn of(tail: Option<(LogHead, Position)>) -> Self {
        tail.map_or(Self { sequence: 0, id: None, incarnation: 0 }, |(head, _)| Self {
            sequence: head.sequence,
            id: Some(head.id),
            incarnation: head.incarnation,
        })
    }

    fn is_before(&self, record: &Record) -> bool {
        let header = record.header();
        self.sequence.checked_add(1) == Some(header.sequence) && self.id == header.previous
    }
}

/// A batch in stretches of one log each: whatever is looked up by log is looked up once for each.
fn stretches(batch: &[Record]) -> impl Iterator<Item = &[Record]> {
    batch.chunk_by(|one, next| one.header().shop == next.header().shop)
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

    pub(super) fn index_mut(&self) -> RwLockWriteGuard<'_, Index<F>> {
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

    pub(super) fn check_open(&self) -> Result<(), JournalError> {
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

    /// Each record continues its shop's log, as it stands or as the batch has made it: at its end or, where the
    /// batch takes it on to a later incarnation, anywhere before.
    fn check_logs(&self, batch: &[Record]) -> Result<(), JournalError> {
        let mut heads: BTreeMap<ShopId, Tip> = BTreeMap::new();
        // Logs that go on before their end, and the incarnation that they had come to.
        let mut switched: BTreeMap<ShopId, u32> = BTreeMap::new();
        let mut before = 0;
        for stretch in stretches(batch) {
            let shop = stretch[0].header().shop;
            let head = heads.entry(shop).or_insert_with(|| Tip::of(self.tail_of(shop)));
            for (place, record) in stretch.iter().enumerate() {
                let header = record.header();
                if !head.is_before(record) {
                    let not_next =
                        JournalError::NotNext { shop, sequence: header.sequence, head: head.sequence };
                    let Some(at) = header.sequence.checked_sub(1).filter(|at| *at < head.sequence) else {
                        return Err(not_next);
                    };
                    switched.entry(shop).or_insert(head.incarnation);
                    if self.id_at(&batch[..before + place], shop, at)? != header.previous {
                        return Err(not_next);
                    }
                }
                *head =
                    Tip { sequence: header.sequence, id: Some(record.id()), incarnation: header.incarnation };
            }
            before += stretch.len();
        }
        for (shop, before) in switched {
            let Tip { sequence, incarnation, .. } = heads[&shop];
            if incarnation <= before {
                return Err(JournalError::NotNext { shop, sequence, head: sequence });
            }
        }
        Ok(())
    }

    /// The id of a log's record: in the batch so far, written, or in the journal.
    fn id_at(&self, batch: &[Record], shop: ShopId, sequence: u64) -> Result<Option<RecordId>, JournalError> {
        let is_it = |r: &&Record| r.header().shop == shop && r.header().sequence == sequence;
        if let Some(record) = batch.iter().rev().find(is_it) {
            return Ok(Some(record.id()));
        }
        match self.staged_at(shop, sequence) {
            Some(entry) => Ok(Some(entry.head.id)),
            None => Reader::new(Arc::clone(&self.shared)).record_id(shop, sequence),
        }
    }

    /// Where the record lies that a record at this place follows, `tail` being the log's last one.
    fn back_of(
        &self,
        tail: Option<(LogHead, Position)>,
        shop: ShopId,
        sequence: u64,
    ) -> Result<Option<Position>, JournalError> {
        match tail {
            None => Ok(None),
            Some((head, at)) if head.sequence < sequence => Ok(Some(at)),
            Some(_) => {
                let before = sequence - 1;
                match self.staged_at(shop, before) {
                    Some(entry) => Ok(Some(entry.at)),
                    None => match Reader::new(Arc::clone(&self.shared)).position_of(shop, before) {
                        // It is looked for when somebody asks.
                        Err(JournalError::Damaged { .. }) => Ok(None),
                        found => found,
                    },
                }
            }
        }
    }

    /// A log's record that is written and not synced. They are looked through from the end, so that a superseded record
    /// is not taken for the one that superseded it.
    fn staged_at(&self, shop: ShopId, sequence: u64) -> Option<&Entry> {
        self.staged.iter().rev().find(|entry| entry.shop == shop && entry.head.sequence == sequence)
    }

    /// Encodes a batch and writes it in one go.
    fn write(&mut self, batch: &[Record]) -> Result<(), JournalError> {
        self.buffer.clear();
        let mut left = batch.len();
        for stretch in stretches(batch) {
            let shop = stretch[0].header().shop;
            let mut tail = self.tail_of(shop);
            for record in stretch {
                left -= 1;
                tail = Some(self.write_one(record, tail, left > 0)?);
            }
            self.staged_tails.extend(tail.map(|tail| (shop, tail)));
        }
        self.file.append(&self.buffer)?;
        self.written = self.offset();
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    /// Encodes a record behind the log's `tail`, which it is from then on.
    fn write_one(
        &mut self,
        record: &Record,
        tail: Option<(LogHead, Position)>,
        more: bool,
    ) -> Result<(LogHead, Position), JournalError> {
        let shop = record.header().shop;
        let lsn = self.head.next();
        let index = u32::try_from(lsn.0 - self.segment.first.0).expect("a segment's offsets fit 32 bits");
        let back = self.back_of(tail, shop, record.header().sequence)?;
        let at = Position { segment: self.segment.number, offset: self.offset() };
        let prefix = Prefix { more, void: false, index, durable: self.durable, back };
        frame::encode(&mut self.buffer, prefix, record, self.segment.seed);
        let head = LogHead::of(record);
        self.staged.push(Entry { shop, head, at, index, end: self.offset() });
        self.head = lsn;
        Ok((head, at))
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
    pub(super) fn seal(&mut self) -> Result<(), JournalError> {
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
            let sound = |segment: &&Segment<D::File>| !damaged && !segment.has_branch;
            index.segment(number).filter(sound).map(|segment| Sidecar::of(&index, segment))
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
    pub(super) fn poison<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
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

    fn heal(
        &mut self,
        survey: &Survey,
        found: Vec<Record>,
        leftover: Leftover,
    ) -> Result<Healed, JournalError> {
        self.put_back(survey, found, leftover)
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Self::reader(self)
    }
}
