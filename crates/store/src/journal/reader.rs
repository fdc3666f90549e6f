//! Reading the journal, by place and by log.

use std::{ops::RangeInclusive, sync::Arc};

use hutong_record::{Header, RUN_RECORDS_MAX, Record, RecordId, ShopId};

use super::{
    Damage, JournalError, JournalReader, LogHead, Lsn, Scrub, ScrubStep, SetAside, TailLoss,
    frame::{self, Frame, Position},
    index::{Index, Segment},
    scan::{FETCH_BYTES, SCAN_BYTES, Scan, Step, Window},
    segment::HEADER_BYTES,
    writer::Shared,
};
use crate::disk::DiskFile;

/// How much is read at once when a log's records must be looked for along the journal.
const SEARCH_RECORDS: usize = 1_024;
const SEARCH_BYTES: usize = 1 << 20;
/// A log's record that lies so close before its next one has its own predecessors there, too: they came in one run.
const NEAR_BYTES: u32 = 2_048;
/// How much of them is read at once: some 64 records of usual size, as many as lie between two marks.
const BACK_BYTES: u32 = 24 << 10;
/// So many records are remembered that lie elsewhere in their segment than a later one says: one a log, and a healed
/// segment or two.
const MOVED_MAX: usize = 4_096;

pub(super) struct Reader<F> {
    shared: Arc<Shared<F>>,
}

impl<F: DiskFile> Reader<F> {
    pub(super) const fn new(shared: Arc<Shared<F>>) -> Self {
        Self { shared }
    }

    pub(super) const fn shared(&self) -> &Arc<Shared<F>> {
        &self.shared
    }

    /// Reads on from the record `next` to the end of its segment or until `out` is full, and answers where it stopped.
    /// Ahead of damage it stops with the error, whatever it has read before.
    fn read_segment(&self, next: Lsn, out: &mut Page) -> Result<Lsn, JournalError> {
        let Some(stretch) = Stretch::of(&self.shared.index(), next) else { return Ok(next) };
        let Some(file) = &stretch.file else { return Err(self.damaged(&stretch, 0, stretch.wanted, None)) };
        let chunk_bytes = out.bytes_left().clamp(FETCH_BYTES, SCAN_BYTES);
        let mut scan = Scan::at(&**file, stretch.begin, stretch.end, stretch.seed, chunk_bytes);
        let (mut expected, mut damaged_from) = (stretch.wanted, stretch.begin.1);
        while !out.is_full() && expected < stretch.records {
            match scan.step()? {
                None => return Err(self.damaged(&stretch, damaged_from, expected, None)),
                Some(Step::Hole { offset, .. }) => damaged_from = offset,
                Some(Step::Frame { frame, .. }) if frame.prefix.index < expected => {}
                Some(Step::Frame { offset, frame }) => {
                    let index = frame.prefix.index;
                    if index > expected {
                        return Err(self.damaged(&stretch, damaged_from, expected, Some(index)));
                    }
                    let unreadable = || self.damaged(&stretch, offset, expected, Some(index + 1));
                    if !frame.prefix.void {
                        let record = frame.record().ok_or_else(unreadable)?;
                        out.push(stretch.lsn(index), record, frame.record_bytes());
                    }
                    (expected, damaged_from) = (index + 1, offset + frame.bytes);
                }
            }
        }
        Ok(stretch.lsn(expected))
    }

    /// The error for a record that cannot be read. `resume` is the next one of the segment that can.
    fn damaged(&self, stretch: &Stretch<F>, offset: u32, record: u32, resume: Option<u32>) -> JournalError {
        let index = self.shared.index();
        let next = || index.segments.iter().find(|s| s.header.number > stretch.segment);
        let next_first = || next().map_or_else(|| index.head().next(), |s| s.header.first);
        let resume = resume.filter(|record| *record < stretch.records);
        let resume = resume.map_or_else(next_first, |record| stretch.lsn(record));
        let (segment, offset, lsn) = (stretch.segment, u64::from(offset), stretch.lsn(record));
        JournalError::Damaged { segment, offset, lsn, resume }
    }

    /// The record that is wanted, if it lies at a position that the index or a back pointer names. If the segment was
    /// healed since, it lies elsewhere in it, and `at` is moved there.
    fn fetch(
        &self,
        window: &mut Window<'_, F>,
        seed: u32,
        at: &mut Position,
        wanted: &Wanted,
    ) -> Result<(Record, Frame), JournalError> {
        let here = Self::look(window, seed, *at, wanted)?;
        let found = match here {
            Some(found) => Some(found),
            None => match self.moved(*at, wanted)? {
                Some(place) => {
                    *at = place;
                    Self::look(window, seed, place, wanted)?
                }
                None => None,
            },
        };
        found.ok_or_else(|| self.damaged_at(*at))
    }

    fn look(
        window: &mut Window<'_, F>,
        seed: u32,
        at: Position,
        wanted: &Wanted,
    ) -> Result<Option<(Record, Frame)>, JournalError> {
        let Some(frame) = frame::read(window, at.offset, seed, |_| true)? else { return Ok(None) };
        Ok(frame.record().filter(|record| wanted.is(record)).map(|record| (record, frame)))
    }

    /// Where in a segment a record lies that is not where it was said to be. Only what a successor pins is looked for.
    fn moved(&self, said: Position, wanted: &Wanted) -> Result<Option<Position>, JournalError> {
        let Some(id) = wanted.id else { return Ok(None) };
        if let Some(known) = self.shared.index().moved.get(&id) {
            return Ok(*known);
        }
        let generation = self.shared.index().generation;
        let Some((file, end, seed)) = self.file_of(said.segment) else { return Ok(None) };
        let mut scan = Scan::whole(&*file, end, seed);
        let mut found = None;
        while let Some(step) = scan.step()? {
            if let Step::Frame { offset, frame } = step
                && frame.record().is_some_and(|record| wanted.is(&record))
            {
                found = Some(Position { segment: said.segment, offset });
                break;
            }
        }
        let mut index = self.shared.index_mut();
        if index.generation == generation {
            if index.moved.len() >= MOVED_MAX {
                index.moved.clear();
            }
            index.moved.insert(id, found);
        }
        Ok(found)
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
        let mut expected = mark;
        while let Some(left) = self.walk_segment(shop, sequence..=expected, &mut at, &mut records)? {
            expected = left;
        }
        records.reverse();
        Ok(records)
    }

    /// Walks back from the record at `at` over those of one segment, last sequence number first. Returns the next one
    /// and moves `at` there; none when the first one was reached.
    fn walk_segment(
        &self,
        shop: ShopId,
        sequences: RangeInclusive<u64>,
        at: &mut Position,
        records: &mut Vec<(Record, usize)>,
    ) -> Result<Option<u64>, JournalError> {
        let Some((file, end, seed)) = self.file_of(at.segment) else { return Err(self.damaged_at(*at)) };
        let mut window = Window::new(&*file, end, FETCH_BYTES);
        let (first, mut expected) = sequences.into_inner();
        loop {
            let id = records.last().and_then(|(successor, _)| successor.header().previous);
            let wanted = Wanted { shop, sequence: expected, id };
            let (record, frame) = self.fetch(&mut window, seed, at, &wanted)?;
            records.push((record, frame.record_bytes()));
            if expected == first {
                return Ok(None);
            }
            let back = frame.prefix.back.ok_or_else(|| self.damaged_at(*at))?;
            expected -= 1;
            if back.segment != at.segment {
                *at = back;
                return Ok(Some(expected));
            }
            if at.offset.saturating_sub(back.offset) <= NEAR_BYTES {
                window.load_before(at.offset, BACK_BYTES)?;
            }
            *at = back;
        }
    }

    /// A segment's file, up to where it may be read, and its seed.
    fn file_of(&self, segment: u32) -> Option<(Arc<F>, u32, u32)> {
        let index = self.shared.index();
        let segment = index.segment(segment)?;
        Some((Arc::clone(segment.file.as_ref()?), segment.bytes, segment.header.seed))
    }

    /// Where a record of a log lies; none if there is no such record.
    pub(super) fn position_of(&self, shop: ShopId, sequence: u64) -> Result<Option<Position>, JournalError> {
        let begin = {
            let index = self.shared.index();
            let log = index.logs.get(&shop).filter(|log| (1..=log.head.sequence).contains(&sequence));
            log.map(|log| log.mark_at_or_after(sequence))
        };
        let Some((mark, mut at)) = begin else { return Ok(None) };
        let (mut expected, mut id) = (mark, None);
        loop {
            let Some((file, end, seed)) = self.file_of(at.segment) else { return Err(self.damaged_at(at)) };
            let mut window = Window::new(&*file, end, FETCH_BYTES);
            let wanted = Wanted { shop, sequence: expected, id };
            let (record, frame) = self.fetch(&mut window, seed, &mut at, &wanted)?;
            if expected == sequence {
                return Ok(Some(at));
            }
            at = frame.prefix.back.ok_or_else(|| self.damaged_at(at))?;
            (expected, id) = (expected - 1, record.header().previous);
        }
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
                    for (lsn, record) in page {
                        let header = record.header();
                        let superseded = self.is_superseded(lsn, header);
                        let follows = found.last().is_none_or(|(last, _)| header.previous == Some(last.id()));
                        let next = header.shop == shop && header.sequence == sequence + found.len() as u64;
                        if next && follows && !superseded {
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
            let reached = match self.read_segment(next, &mut page) {
                Err(JournalError::Damaged { .. }) if !page.records.is_empty() => break,
                reached => reached?,
            };
            if reached == next {
                break;
            }
            next = reached;
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
        'run: while wanted(run.len(), bytes, signed) {
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
                let ends = record.header().kind.ends_run();
                run.push(record);
                bytes += size;
                if is_signed {
                    signed = run.len();
                }
                if ends && is_signed {
                    // Another key signs what follows: no signature there covers what is here.
                    break 'run;
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

    fn scrub(&self, pass: &mut Scrub, bytes_max: u32) -> Result<ScrubStep, JournalError> {
        self.scrub_part(pass, bytes_max)
    }

    fn healed_count(&self) -> u64 {
        self.shared.index().healed
    }

    fn set_aside(&self) -> Vec<SetAside> {
        self.shared.index().set_aside.clone()
    }

    fn is_superseded(&self, lsn: Lsn, header: &Header) -> bool {
        let index = self.shared.index();
        index.logs.get(&header.shop).is_some_and(|log| log.is_superseded(lsn, header.sequence))
    }

    fn last_switch(&self) -> Lsn {
        self.shared.index().last_switch
    }

    fn tail_loss(&self, shop: ShopId) -> TailLoss {
        let index = self.shared.index();
        let end = index.logs.get(&shop).map(|log| log.head_at);
        let past_end = |damage: &Damage| {
            let at = Some((damage.segment, damage.offset));
            damage.records > 0 && at > end.map(|end| (end.segment, u64::from(end.offset)))
        };
        if index.damage.iter().any(past_end) { TailLoss::Damaged } else { index.tail_cut }
    }
}

/// A record of a log, as its successor names it where there is one.
struct Wanted {
    shop: ShopId,
    sequence: u64,
    id: Option<RecordId>,
}

impl Wanted {
    fn is(&self, record: &Record) -> bool {
        let header = record.header();
        let place = header.shop == self.shop && header.sequence == self.sequence;
        place && self.id.is_none_or(|id| id == record.id())
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
    /// `None` if it is lost.
    file: Option<Arc<F>>,
    /// Where readable bytes end.
    end: u32,
    /// How many records the segment has.
    records: u32,
    /// Index of the record wanted.
    wanted: u32,
    /// Index and offset of a record at or before the one wanted.
    begin: (u32, u32),
}

impl<F> Stretch<F> {
    /// `None` past the head.
    fn of(index: &Index<F>, lsn: Lsn) -> Option<Self> {
        if lsn > index.head() {
            return None;
        }
        let (place, wanted) = index.find(lsn)?;
        let segment = &index.segments[place];
        Some(Self {
            segment: segment.header.number,
            first: segment.header.first,
            seed: segment.header.seed,
            file: segment.file.clone(),
            end: segment.bytes,
            records: segment.records,
            wanted,
            begin: segment.mark_before(wanted).unwrap_or((0, HEADER_BYTES)),
        })
    }

    fn lsn(&self, index: u32) -> Lsn {
        Lsn(self.first.0 + u64::from(index))
    }
}
