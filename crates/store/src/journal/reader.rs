//! Reading the journal, by place and by log.

use std::sync::Arc;

use hutong_record::{RUN_RECORDS_MAX, Record, RecordId, ShopId};

use super::{
    Damage, JournalError, JournalReader, LogHead, Lsn,
    frame::{self, Frame, Position},
    index::{Index, Segment},
    scan::{FETCH_BYTES, SCAN_BYTES, Window},
    writer::Shared,
};
use crate::disk::DiskFile;

/// How much is read at once when a log's records must be looked for along the journal.
const SEARCH_RECORDS: usize = 1_024;
const SEARCH_BYTES: usize = 1 << 20;

pub(super) struct Reader<F> {
    shared: Arc<Shared<F>>,
}

impl<F: DiskFile> Reader<F> {
    pub(super) const fn new(shared: Arc<Shared<F>>) -> Self {
        Self { shared }
    }

    /// Reads on from the record `next` to the end of its segment or until `out` is full.
    fn read_segment(&self, next: Lsn, out: &mut Page) -> Result<(), JournalError> {
        let Some(stretch) = Stretch::of(&self.shared.index(), next) else { return Ok(()) };
        let Some((file, (index, offset))) = stretch.begin.as_ref() else {
            return Err(self.damaged(&stretch, 0, stretch.index, None));
        };
        let chunk_bytes = out.bytes_left().clamp(FETCH_BYTES, SCAN_BYTES);
        let mut window = Window::new(&**file, stretch.end, chunk_bytes);
        let mut offset = *offset;
        for _ in *index..stretch.index {
            match frame::claimed_bytes(&mut window, offset)? {
                Some(bytes) if bytes <= stretch.end - offset => offset += bytes,
                _ => return Err(self.damaged(&stretch, offset, stretch.index, None)),
            }
        }
        for index in stretch.index..stretch.records {
            if out.is_full() {
                break;
            }
            let frame = frame::read(&mut window, offset, stretch.seed, |p| p.index == index)?;
            let Some((bytes, size, record)) =
                frame.and_then(|f| Some((f.bytes, f.record_bytes(), f.record()?)))
            else {
                let resume = stretch.after_damage(&mut window, offset, index)?;
                return Err(self.damaged(&stretch, offset, index, resume));
            };
            out.push(stretch.lsn(index), record, size);
            offset += bytes;
        }
        Ok(())
    }

    fn damaged(&self, stretch: &Stretch<F>, offset: u32, record: u32, resume: Option<u32>) -> JournalError {
        let index = self.shared.index();
        let marked = || index.segment(stretch.segment)?.mark_after(record);
        let resume = resume.or_else(marked).map_or_else(
            || {
                let next = index.segments.iter().find(|s| s.header.number > stretch.segment);
                next.map_or_else(|| index.head().next(), |s| s.header.first)
            },
            |record| stretch.lsn(record),
        );
        let (segment, offset, lsn) = (stretch.segment, u64::from(offset), stretch.lsn(record));
        JournalError::Damaged { segment, offset, lsn, resume }
    }

    /// The frame at a position that the index or a back pointer names.
    fn fetch(&self, at: Position) -> Result<Frame, JournalError> {
        let place = {
            let index = self.shared.index();
            index
                .segment(at.segment)
                .and_then(|s| Some((Arc::clone(s.file.as_ref()?), s.bytes, s.header.seed)))
        };
        let frame = match place {
            Some((file, end, seed)) => {
                frame::read(&mut Window::new(&*file, end, FETCH_BYTES), at.offset, seed, |_| true)?
            }
            None => None,
        };
        frame.ok_or_else(|| self.damaged_at(at))
    }

    fn damaged_at(&self, at: Position) -> JournalError {
        let index = self.shared.index();
        let head = index.head();
        let (lsn, resume) = index.segment(at.segment).map_or((Lsn(1), head.next()), |s| {
            let next = s.marks.partition_point(|(_, offset)| *offset <= at.offset);
            let lsn = |(index, _): (u32, u32)| Lsn(s.header.first.0 + u64::from(index));
            let before = next.checked_sub(1).map_or(s.header.first, |place| lsn(s.marks[place]));
            (before, s.marks.get(next).copied().map_or_else(|| s.last().next(), lsn))
        });
        JournalError::Damaged { segment: at.segment, offset: u64::from(at.offset), lsn, resume }
    }

    /// Walks back along the log from the nearest marked record to `sequence`. Returns the records from there to the
    /// mark, ascending, each with its encoded length; none if the log ends before.
    fn walk_back(&self, shop: ShopId, sequence: u64) -> Result<Vec<(Record, usize)>, JournalError> {
        let begin = {
            let index = self.shared.index();
            let log = index.logs.get(&shop).filter(|log| sequence <= log.head.sequence);
            log.map(|log| log.mark_at_or_after(sequence))
        };
        let Some((mark, mut at)) = begin else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        for expected in (sequence..=mark).rev() {
            let frame = self.fetch(at)?;
            let is_it = |r: &Record| r.header().shop == shop && r.header().sequence == expected;
            let record = frame.record().filter(is_it).ok_or_else(|| self.damaged_at(at))?;
            records.push((record, frame.record_bytes()));
            match frame.prefix.back {
                Some(back) => at = back,
                None if expected == sequence => {}
                None => return Err(self.damaged_at(at)),
            }
        }
        records.reverse();
        Ok(records)
    }

    /// The records of a log from `sequence` on, as many as are quickly found. Where damage cuts the way back to them,
    /// they are looked for along the journal.
    fn log_from(&self, shop: ShopId, sequence: u64) -> Result<Vec<(Record, usize)>, JournalError> {
        match self.walk_back(shop, sequence) {
            Err(error @ JournalError::Damaged { .. }) => {
                let found = self.search(shop, sequence)?;
                if found.is_empty() { Err(error) } else { Ok(found) }
            }
            walked => walked,
        }
    }

    fn search(&self, shop: ShopId, sequence: u64) -> Result<Vec<(Record, usize)>, JournalError> {
        let (mut next, last) = {
            let index = self.shared.index();
            let Some(log) = index.logs.get(&shop) else { return Ok(Vec::new()) };
            let first_of = |at: Position| index.segment(at.segment).map(|s| s.header.first);
            let begin = log.mark_at_or_before(sequence).and_then(|(_, at)| first_of(at)).unwrap_or(Lsn(1));
            let end =
                index.segment(log.mark_at_or_after(sequence).1.segment).map_or(Lsn::ZERO, Segment::last);
            (begin, end)
        };
        let mut found: Vec<(Record, usize)> = Vec::new();
        while next <= last {
            match self.read(next, SEARCH_RECORDS, SEARCH_BYTES) {
                Ok(page) if page.is_empty() => break,
                Ok(page) => {
                    next = page[page.len() - 1].0.next();
                    for (_, record) in page {
                        let header = record.header();
                        if header.shop == shop && header.sequence == sequence + found.len() as u64 {
                            let size =
                                record.header_bytes().len() + record.payload().map_or(0, |p| p.bytes().len());
                            found.push((record, size));
                        }
                    }
                }
                Err(JournalError::Damaged { resume, .. }) if resume > next => next = resume,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

impl<F: DiskFile> JournalReader for Reader<F> {
    fn head(&self) -> Lsn {
        self.shared.index().head()
    }

    fn read(
        &self,
        from: Lsn,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Lsn, Record)>, JournalError> {
        let mut page = Page { records: Vec::new(), bytes: 0, records_max, bytes_max };
        let mut next = from.max(Lsn(1));
        while !page.is_full() {
            let before = page.records.len();
            match self.read_segment(next, &mut page) {
                Err(JournalError::Damaged { .. }) if !page.records.is_empty() => break,
                result => result?,
            }
            if page.records.len() == before {
                break;
            }
            next = page.records[page.records.len() - 1].0.next();
        }
        Ok(page.records)
    }

    fn read_log(
        &self,
        shop: ShopId,
        from_sequence: u64,
        bytes_max: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let from = from_sequence.max(1);
        let mut run: Vec<Record> = Vec::new();
        let (mut bytes, mut signed) = (0, 0);
        let wanted = |length: usize, bytes: usize, signed: usize| {
            length < RUN_RECORDS_MAX && (signed == 0 || bytes < bytes_max)
        };
        while wanted(run.len(), bytes, signed) {
            let found = match self.log_from(shop, from.saturating_add(run.len() as u64)) {
                Err(JournalError::Damaged { .. }) if signed > 0 => break,
                result => result?,
            };
            if found.is_empty() {
                break;
            }
            for (record, size) in found {
                if !wanted(run.len(), bytes, signed) {
                    break;
                }
                let is_signed = record.signature().is_some();
                run.push(record);
                bytes += size;
                if is_signed {
                    signed = run.len();
                }
            }
        }
        run.truncate(signed);
        Ok(run)
    }

    fn head_of(&self, shop: ShopId) -> Option<LogHead> {
        self.shared.index().logs.get(&shop).map(|log| log.head)
    }

    fn record_id(&self, shop: ShopId, sequence: u64) -> Result<Option<RecordId>, JournalError> {
        match self.head_of(shop) {
            Some(head) if head.sequence == sequence => Ok(Some(head.id)),
            Some(head) if (1..head.sequence).contains(&sequence) => {
                Ok(self.log_from(shop, sequence)?.first().map(|(record, _)| record.id()))
            }
            _ => Ok(None),
        }
    }

    fn frontier(&self) -> Vec<(ShopId, LogHead)> {
        self.shared.index().logs.iter().map(|(shop, log)| (*shop, log.head)).collect()
    }

    fn bytes_on_disk(&self) -> u64 {
        let index = self.shared.index();
        index.sidecar_bytes + index.segments.iter().map(|s| u64::from(s.bytes)).sum::<u64>()
    }

    fn record_count(&self) -> u64 {
        self.shared.index().segments.iter().map(|s| u64::from(s.present)).sum()
    }

    fn damage(&self) -> Vec<Damage> {
        self.shared.index().damage.clone()
    }
}

/// Records on their way to a caller.
struct Page {
    records: Vec<(Lsn, Record)>,
    bytes: usize,
    records_max: usize,
    bytes_max: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.records.len() >= self.records_max || (!self.records.is_empty() && self.bytes >= self.bytes_max)
    }

    fn bytes_left(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes)
    }

    fn push(&mut self, lsn: Lsn, record: Record, bytes: usize) {
        self.records.push((lsn, record));
        self.bytes += bytes;
    }
}

/// A part of one segment that is about to be read, as the index stood.
struct Stretch<F> {
    segment: u32,
    first: Lsn,
    seed: u32,
    /// Where readable bytes end.
    end: u32,
    /// How many records the segment has.
    records: u32,
    /// The record wanted.
    index: u32,
    /// The file, and index and offset of a record at or before the one wanted.
    begin: Option<(Arc<F>, (u32, u32))>,
}

impl<F: DiskFile> Stretch<F> {
    /// `None` past the head.
    fn of(index: &Index<F>, lsn: Lsn) -> Option<Self> {
        if lsn > index.head() {
            return None;
        }
        let (place, wanted) = index.find(lsn)?;
        let segment: &Segment<F> = &index.segments[place];
        let file = segment.file.as_ref().filter(|_| wanted < segment.records);
        Some(Self {
            segment: segment.header.number,
            first: segment.header.first,
            seed: segment.header.seed,
            end: segment.bytes,
            records: segment.records,
            index: wanted,
            begin: file.and_then(|file| Some((Arc::clone(file), segment.mark_before(wanted)?))),
        })
    }

    fn lsn(&self, index: u32) -> Lsn {
        Lsn(self.first.0 + u64::from(index))
    }

    /// The index after a damaged frame, if its length still leads to the next one.
    fn after_damage(
        &self,
        window: &mut Window<'_, F>,
        offset: u32,
        index: u32,
    ) -> Result<Option<u32>, JournalError> {
        let Some(bytes) = frame::claimed_bytes(window, offset)? else { return Ok(None) };
        let next = frame::read(window, offset.saturating_add(bytes), self.seed, |p| p.index == index + 1)?;
        Ok(next.map(|frame| frame.prefix.index))
    }
}
