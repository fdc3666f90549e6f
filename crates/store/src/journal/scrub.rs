//! Reading the whole journal again, part by part: every frame's checksum, every payload's hash, and whether each record is
//! the one that its successor in the log names.

use std::{collections::BTreeMap, sync::Arc};

use hutong_record::{Record, RecordId, ShopId};

use super::{
    JournalError, JournalReader, LogHead, Lsn, MissingRecords,
    index::Index,
    reader::Reader,
    scan::{SCAN_BYTES, Scan, Step},
    segment::{self, HEADER_BYTES},
    survey::{Hole, Lost, SURVEY_ENTRIES_MAX, Survey},
};
use crate::disk::DiskFile;

/// A pass over the journal, on its way. It begins anew where the journal is healed meanwhile.
#[derive(Debug, Default)]
pub struct Scrub {
    /// `None` before the first part.
    generation: Option<u64>,
    /// The segment that is being read, and the next frame in it.
    segment: u32,
    next: (u32, u32),
    /// Where each log stands so far.
    logs: BTreeMap<ShopId, Seen>,
    holes: Vec<Hole>,
    lost: Vec<Lost>,
    bytes: u64,
}

/// What a part of a pass came to.
#[derive(Debug)]
pub enum ScrubStep {
    /// There is more; so many bytes were read.
    Read(u64),
    /// The end.
    Done(Survey),
}

/// The last record of a log so far.
#[derive(Debug, Clone, Copy)]
struct Seen {
    sequence: u64,
    id: RecordId,
    hole: Hole,
}

/// The part of a segment that comes next.
struct Part<F> {
    number: u32,
    first: Lsn,
    seed: u32,
    file: Option<Arc<F>>,
    end: u32,
    records: u32,
}

impl<F> Part<F> {
    fn of(index: &Index<F>, pass: &Scrub) -> Option<Self> {
        let is_next = |number: u32, bytes: u32| {
            number > pass.segment || (number == pass.segment && pass.next.1 < bytes)
        };
        let segment = index.segments.iter().find(|s| is_next(s.header.number, s.bytes))?;
        Some(Self {
            number: segment.header.number,
            first: segment.header.first,
            seed: segment.header.seed,
            file: segment.file.clone(),
            end: segment.bytes,
            records: segment.records,
        })
    }

    fn hole(&self, (offset, end): (u32, u32), index: u32, lost: u32) -> Hole {
        let first = Lsn(self.first.0 + u64::from(index));
        Hole { segment: self.number, offset, end, first, lost }
    }
}

impl Scrub {
    /// How much of the journal was read so far, bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn note_hole(&mut self, hole: Hole) {
        if self.holes.len() < SURVEY_ENTRIES_MAX {
            self.holes.push(hole);
        }
    }

    fn note_lost(&mut self, shop: ShopId, sequences: (u64, u64), pin: RecordId, window: (Lsn, Lsn)) {
        if self.lost.len() < SURVEY_ENTRIES_MAX {
            let records = MissingRecords { shop, from_sequence: sequences.0, to_sequence: sequences.1 };
            self.lost.push(Lost { records, pin, after: window.0, before: window.1 });
        }
    }

    /// The record that was seen last is another than its successor, or the log's end, names: it counts as damage.
    fn reject(&mut self, shop: ShopId, seen: Seen, pin: RecordId, before: Lsn) {
        self.note_hole(seen.hole);
        let after = Lsn(seen.hole.first.0 - 1);
        self.note_lost(shop, (seen.sequence, seen.sequence), pin, (after, before));
    }

    /// Everything up to `head` has been seen, or is lost.
    fn end_log(&mut self, shop: ShopId, head: &LogHead, end: Lsn) {
        match self.logs.get(&shop).copied() {
            Some(seen) if seen.sequence == head.sequence && seen.id != head.id => {
                self.reject(shop, seen, head.id, end);
            }
            Some(seen) if seen.sequence < head.sequence => {
                let after = seen.hole.first;
                self.note_lost(shop, (seen.sequence + 1, head.sequence), head.id, (after, end));
            }
            None => self.note_lost(shop, (1, head.sequence), head.id, (Lsn::ZERO, end)),
            Some(_) => {}
        }
    }

    fn survey(&mut self, generation: u64) -> Survey {
        let mut holes = std::mem::take(&mut self.holes);
        holes.sort_unstable_by_key(|hole| (hole.first, hole.segment, hole.offset));
        let lost = std::mem::take(&mut self.lost);
        let complete = holes.len() < SURVEY_ENTRIES_MAX && lost.len() < SURVEY_ENTRIES_MAX;
        Survey { generation, holes, lost, complete, bytes: self.bytes }
    }
}

impl<F: DiskFile> Reader<F> {
    /// Reads the next part.
    pub(super) fn scrub_part(&self, pass: &mut Scrub, bytes_max: u32) -> Result<ScrubStep, JournalError> {
        let (generation, part) = {
            let index = self.shared().index();
            if pass.generation != Some(index.generation) {
                *pass = Scrub { generation: Some(index.generation), ..Scrub::default() };
            }
            (index.generation, Part::of(&index, pass))
        };
        let Some(part) = part else { return Ok(self.end_pass(pass, generation)) };
        let before = pass.bytes;
        if part.number != pass.segment {
            begin_segment(pass, &part)?;
        }
        if let Some(file) = part.file.clone() {
            self.scrub_frames(pass, &part, &file, bytes_max)?;
        }
        Ok(ScrubStep::Read(pass.bytes - before))
    }

    fn scrub_frames(
        &self,
        pass: &mut Scrub,
        part: &Part<F>,
        file: &F,
        bytes_max: u32,
    ) -> Result<(), JournalError> {
        let begin = pass.next.1;
        let mut scan = Scan::at(file, pass.next, part.end, part.seed, SCAN_BYTES);
        let mut ended = false;
        while !ended && pass.next.1 - begin < bytes_max.max(1) {
            let Some(step) = scan.step()? else {
                ended = true;
                continue;
            };
            match step {
                Step::Frame { offset, frame } => {
                    let (index, end) = (frame.prefix.index, offset + frame.bytes);
                    let hole = part.hole((offset, end), index, 1);
                    pass.next = (index + 1, end);
                    if frame.prefix.void {
                        continue;
                    }
                    match frame.record().filter(|record| record.check_payload().is_ok()) {
                        Some(record) => self.scrub_record(pass, &record, hole)?,
                        None => pass.note_hole(hole),
                    }
                }
                Step::Hole { offset, end, index, next_index } => {
                    let next = next_index.unwrap_or(part.records).max(index);
                    pass.note_hole(part.hole((offset, end), index, next - index));
                    pass.next = (next, end);
                }
            }
        }
        pass.bytes += u64::from(pass.next.1 - begin);
        // The file may be shorter than it was, or end before all of its records have come.
        let (index, offset) = pass.next;
        if (ended || offset >= part.end) && (index < part.records || offset < part.end) {
            pass.note_hole(part.hole((offset, part.end), index, part.records - index));
            pass.next = (part.records, part.end);
        }
        Ok(())
    }

    /// Holds a record against the one before it in its log.
    fn scrub_record(&self, pass: &mut Scrub, record: &Record, hole: Hole) -> Result<(), JournalError> {
        let (header, lsn) = (record.header(), hole.first);
        let (shop, sequence) = (header.shop, header.sequence);
        let seen = pass.logs.insert(shop, Seen { sequence, id: record.id(), hole });
        let Some(pin) = header.previous.filter(|_| sequence > 1) else { return Ok(()) };
        match seen {
            None => pass.note_lost(shop, (1, sequence - 1), pin, (Lsn::ZERO, lsn)),
            Some(seen) if seen.sequence + 1 == sequence && seen.id == pin => {}
            Some(_) if self.is_superseded(lsn, header) => {} // nobody asks for it any more
            Some(seen) if seen.sequence + 1 == sequence => pass.reject(shop, seen, pin, lsn),
            Some(seen) if seen.sequence < sequence => {
                pass.note_lost(shop, (seen.sequence + 1, sequence - 1), pin, (seen.hole.first, lsn));
            }
            // The log goes on in a later incarnation, from a place before its end.
            Some(seen) => {
                if self.readable_id(shop, sequence - 1)? != Some(pin) {
                    let window = (seen.hole.first, lsn);
                    pass.note_lost(shop, (sequence - 1, sequence - 1), pin, window);
                }
            }
        }
        Ok(())
    }

    fn end_pass(&self, pass: &mut Scrub, generation: u64) -> ScrubStep {
        let mut index = self.shared().index_mut();
        // Records may have come meanwhile.
        if index.generation != generation || Part::of(&index, pass).is_some() {
            return ScrubStep::Read(0);
        }
        let end = index.head().next();
        for (shop, log) in &index.logs {
            pass.end_log(*shop, &log.head, end);
        }
        let survey = pass.survey(generation);
        index.damage = survey.damage();
        drop(index);
        *pass = Scrub::default();
        ScrubStep::Done(survey)
    }
}

/// The next segment: are both copies of its header whole, and is the file there at all?
fn begin_segment<F: DiskFile>(pass: &mut Scrub, part: &Part<F>) -> Result<(), JournalError> {
    (pass.segment, pass.next) = (part.number, (0, HEADER_BYTES));
    match &part.file {
        None if part.records > 0 => pass.note_hole(part.hole((0, 0), 0, part.records)),
        None => {}
        Some(file) if segment::read_header(&**file, part.number, part.end)?.damaged => {
            pass.note_hole(part.hole((0, HEADER_BYTES), 0, 0));
        }
        Some(_) => {}
    }
    Ok(())
}
