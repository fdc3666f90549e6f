//! Putting lost records back. A damaged segment is written anew beside the old one, with every record at the place in the
//! journal that it had, synced, and renamed over it; a copy of the damaged file is kept.
//!
//! Offsets within the segment change. Whoever comes to it by an offset that a later segment names finds another record
//! there, or none, and looks for the right one in the segment (`reader`).

use std::{collections::BTreeMap, io, sync::Arc};

use hutong_record::{Record, RecordId};

use super::{
    JournalError, Lsn,
    frame::{self, FRAME_BYTES_MIN, Frame, Position, Prefix},
    index::Index,
    reader::Reader,
    recovery::{Recovered, recover},
    scan::{Scan, Step},
    segment::{SEGMENT_BYTES_LIMIT, SegmentHeader, UNFINISHED, parse_name, segment_name},
    sidecar::sidecar_name,
    survey::{Lost, Survey},
    writer::SegmentJournal,
};
use crate::disk::{Disk, DiskFile};

/// Ends the names of damaged files that are kept for whoever looks into the disk: `00000002.bad`.
pub(super) const SET_ASIDE: &str = "bad";
/// So many of them are kept, which at 64 MiB a segment is half a GiB; later ones are not. The operator may remove them.
pub const SET_ASIDE_MAX: usize = 8;
/// So much is written or copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The longest file that is written anew: several segments that are missing side by side come back as one.
const REWRITTEN_BYTES_MAX: usize = SEGMENT_BYTES_LIMIT as usize;

/// What becomes of damaged places for which no log lacks a record. They held what was superseded, or the ends of logs,
/// which peers bring as they bring anything new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// They stay damage: a peer may yet say that it knows more.
    Keep,
    /// They become void: those who should know have been asked.
    Void,
}

/// What healing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Healed {
    /// Records put back.
    pub records: u64,
    /// Places that are void now.
    pub void: u64,
    /// Segments written anew.
    pub segments: u64,
}

/// A damaged file that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its name in the journal's folder.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
}

/// What is to lie at a lost place.
enum Filling {
    Record(Box<Record>),
    Void,
}

type Plan = BTreeMap<Lsn, Filling>;

impl<D: Disk> SegmentJournal<D> {
    /// As [`super::Journal::heal`].
    pub(super) fn put_back(
        &mut self,
        survey: &Survey,
        found: Vec<Record>,
        leftover: Leftover,
    ) -> Result<Healed, JournalError> {
        self.check_open()?;
        super::Journal::sync(self)?;
        if self.shared.index().generation != survey.generation {
            return Ok(Healed::default());
        }
        let plan = plan(survey, found, leftover);
        let mut segments: Vec<u32> = survey.holes.iter().map(|hole| hole.segment).collect();
        segments.dedup();
        let changes = |number: &u32| {
            let of_it = |hole: &&super::Hole| hole.segment == *number;
            let mut holes = survey.holes.iter().filter(of_it);
            holes.any(|hole| hole.lost == 0 || hole.places().any(|lsn| plan.contains_key(&lsn)))
        };
        segments.retain(changes);
        if segments.is_empty() {
            return Ok(Healed::default());
        }
        if segments.contains(&self.segment.number) {
            let sealed = self.seal();
            self.poison(sealed)?;
        }
        for number in &segments {
            self.rewrite(*number, &plan)?;
        }
        let void = plan.values().filter(|filling| matches!(filling, Filling::Void)).count() as u64;
        let reopened = self.reopen(plan.len() as u64 - void);
        self.poison(reopened)?;
        let healed = Healed { records: plan.len() as u64 - void, void, segments: segments.len() as u64 };
        tracing::info!(healed.records, healed.void, healed.segments, "the journal was healed");
        Ok(healed)
    }

    /// Writes one segment anew. An error leaves the old one, and no more bytes on the disk than before: the next till needs
    /// them.
    fn rewrite(&self, number: u32, plan: &Plan) -> Result<(), JournalError> {
        let unfinished = format!("{}{UNFINISHED}", segment_name(number));
        let rewritten = self.rewrite_by(&unfinished, number, plan);
        if rewritten.is_err() {
            let _what_went_wrong_first_is_told = remove(&self.disk, &unfinished);
        }
        rewritten
    }

    fn rewrite_by(&self, unfinished: &str, number: u32, plan: &Plan) -> Result<(), JournalError> {
        let old = self.old(number)?;
        let name = segment_name(number);
        remove(&self.disk, unfinished)?;
        let file = self.disk.create(unfinished)?;
        let mut copy = Rewriting {
            file: &file,
            reader: Reader::new(Arc::clone(&self.shared)),
            header: old.header,
            buffer: old.header.encode(),
            written: 0,
            places: BTreeMap::new(),
        };
        copy.all(&old, plan)?;
        file.sync_data()?;
        if let Some(damaged) = &old.file {
            keep_damaged(&self.disk, number, &**damaged);
        }
        remove(&self.disk, &sidecar_name(number))?;
        self.disk.sync_folder()?;
        self.disk.rename(unfinished, &name)?;
        Ok(self.disk.sync_folder()?)
    }

    fn old(&self, number: u32) -> Result<Old<D::File>, JournalError> {
        let index = self.shared.index();
        let segment = index.segment(number).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let lost = SegmentHeader { seed: self.config.checksum_seed, ..segment.header };
        Ok(Old {
            header: if segment.file.is_some() { segment.header } else { lost },
            file: segment.file.clone(),
            end: segment.bytes,
            records: segment.records,
        })
    }

    /// Takes the files as they are now. Where a log's end is still lost, it is known from before: nobody may sign at that
    /// place a second time (LOG-1).
    fn reopen(&mut self, healed: u64) -> Result<(), JournalError> {
        let Recovered { mut index, seal_last } = recover(&self.disk, &self.config)?;
        if index.head() != self.head {
            return Err(JournalError::Conflict { expected: self.head, head: index.head() });
        }
        let last = index.segments.last().expect("recovery leaves at least one segment");
        self.file = last.file.clone().expect("the last segment was opened");
        (self.segment, self.written, self.durable) = (last.header, last.bytes, last.bytes);
        self.seal_next = seal_last;
        let mut shared = self.shared.index_mut();
        keep_ends(&mut index, &shared);
        index.tail_cut = shared.tail_cut;
        index.generation = shared.generation + 1;
        index.healed = shared.healed + healed;
        *shared = index;
        Ok(())
    }
}

fn keep_ends<F>(index: &mut Index<F>, before: &Index<F>) {
    for (shop, log) in &before.logs {
        if index.logs.get(shop).is_none_or(|found| found.head != log.head) {
            index.logs.insert(*shop, log.clone());
        }
    }
}

/// Which record, if any, is to lie at each lost place. Places of records that were not found stay as they are.
fn plan(survey: &Survey, found: Vec<Record>, leftover: Leftover) -> Plan {
    let key = |record: &Record| (record.header().shop, record.header().sequence);
    let mut found: BTreeMap<_, _> = found.into_iter().map(|record| (key(&record), record)).collect();
    let mut plan = Plan::new();
    let assigned = survey.assign();
    // A place is spare only if no lost record may belong there.
    let all_assigned = assigned.iter().flat_map(|(_, record)| record).count() as u64
        == survey.lost.iter().map(Lost::count).sum();
    for (lsn, assigned) in assigned {
        let filling = match assigned {
            Some((place, sequence)) => found
                .remove(&(survey.lost[place].records.shop, sequence))
                .map(|record| Filling::Record(Box::new(record))),
            None => (leftover == Leftover::Void && survey.complete && all_assigned).then_some(Filling::Void),
        };
        plan.extend(filling.map(|filling| (lsn, filling)));
    }
    plan
}

/// A segment as it was.
struct Old<F> {
    header: SegmentHeader,
    /// `None` if it is missing.
    file: Option<Arc<F>>,
    end: u32,
    records: u32,
}

/// A segment on its way into a new file.
struct Rewriting<'a, F> {
    file: &'a F,
    reader: Reader<F>,
    header: SegmentHeader,
    buffer: Vec<u8>,
    /// Bytes that went out of the buffer.
    written: usize,
    /// Where each record lies.
    places: BTreeMap<RecordId, u32>,
}

impl<F: DiskFile> Rewriting<'_, F> {
    fn all(&mut self, old: &Old<F>, plan: &Plan) -> Result<(), JournalError> {
        let mut next = 0;
        if let Some(file) = &old.file {
            let mut scan = Scan::whole(&**file, old.end, old.header.seed);
            while let Some(step) = scan.step()? {
                let Step::Frame { frame, .. } = step else { continue };
                let index = frame.prefix.index;
                self.fill(next, index, plan)?;
                // A whole frame that holds another record than it should gives way to the right one alone.
                if plan.contains_key(&self.lsn(index)) {
                    self.fill(index, index + 1, plan)?;
                } else {
                    self.again(&frame)?;
                }
                next = index + 1;
            }
        }
        self.fill(next, old.records, plan)?;
        self.flush()
    }

    fn lsn(&self, index: u32) -> Lsn {
        Lsn(self.header.first.0 + u64::from(index))
    }

    fn offset(&self) -> Result<u32, JournalError> {
        let offset = self.written + self.buffer.len();
        if offset > REWRITTEN_BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
        }
        Ok(u32::try_from(offset).expect("the bound fits 32 bits"))
    }

    /// Everything before a frame is durable before the file has its name.
    fn prefix(&self, index: u32) -> Result<Prefix, JournalError> {
        Ok(Prefix { more: false, void: false, index, durable: self.offset()?, back: None })
    }

    /// What is to lie at lost places, or as many bytes of nothing as a scan needs to know that so many are lost.
    fn fill(&mut self, from: u32, to: u32, plan: &Plan) -> Result<(), JournalError> {
        for index in from..to {
            let prefix = self.prefix(index)?;
            match plan.get(&self.lsn(index)) {
                Some(Filling::Record(record)) => {
                    let back = self.back_of(record, None);
                    self.places.insert(record.id(), prefix.durable);
                    frame::encode(&mut self.buffer, Prefix { back, ..prefix }, record, self.header.seed);
                }
                Some(Filling::Void) => frame::encode_void(&mut self.buffer, prefix, self.header.seed),
                None => self.buffer.resize(self.buffer.len() + FRAME_BYTES_MIN, 0),
            }
            self.flush_if_full()?;
        }
        Ok(())
    }

    fn again(&mut self, old: &Frame) -> Result<(), JournalError> {
        let Prefix { more, void, back, index, .. } = old.prefix;
        let prefix = self.prefix(index)?;
        let back = match old.record() {
            Some(record) => {
                self.places.insert(record.id(), prefix.durable);
                self.back_of(&record, back)
            }
            None => None,
        };
        frame::encode_again(&mut self.buffer, Prefix { more, void, back, ..prefix }, old, self.header.seed);
        self.flush_if_full()
    }

    /// Where a record's predecessor lies; none where that is not known, so that it must be looked for.
    fn back_of(&self, record: &Record, before: Option<Position>) -> Option<Position> {
        let segment = self.header.number;
        let header = record.header();
        let previous = header.previous?;
        if let Some(offset) = self.places.get(&previous) {
            return Some(Position { segment, offset: *offset });
        }
        let known = before
            .or_else(|| self.reader.position_of(header.shop, header.sequence.checked_sub(1)?).ok().flatten());
        known.filter(|at| at.segment != segment)
    }

    fn flush_if_full(&mut self) -> Result<(), JournalError> {
        if self.buffer.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.file.append(&self.buffer)?;
        self.written += self.buffer.len();
        self.buffer.clear();
        Ok(())
    }
}

fn remove<D: Disk>(disk: &D, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Keeps a copy of a damaged segment, if the disk has room for it; the journal does not need it.
fn keep_damaged<D: Disk>(disk: &D, number: u32, damaged: &D::File) {
    if let Err(error) = set_aside(disk, number, damaged) {
        tracing::warn!(segment = number, %error, "the damaged segment is not kept");
        let _it_is_removed_at_the_next_start = remove(disk, &format!("{number:08x}.{SET_ASIDE}{UNFINISHED}"));
    }
}

/// Keeps a copy of a damaged segment, unless there is one or there are enough. Which it is.
pub(super) fn set_aside<D: Disk>(disk: &D, number: u32, damaged: &D::File) -> io::Result<Option<SetAside>> {
    let name = format!("{number:08x}.{SET_ASIDE}");
    let kept: Vec<_> = disk.list()?.into_iter().filter(|n| parse_name(n, SET_ASIDE).is_some()).collect();
    if kept.len() >= SET_ASIDE_MAX || kept.contains(&name) {
        tracing::warn!(segment = number, "the damaged segment is not kept: enough of them are");
        return Ok(None);
    }
    let unfinished = format!("{name}{UNFINISHED}");
    remove(disk, &unfinished)?;
    let copy = disk.create(&unfinished)?;
    let bytes = damaged.bytes()?;
    let mut buffer = Vec::new();
    let mut offset = 0;
    while offset < bytes {
        let length = usize::try_from(bytes - offset).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        buffer.resize(length, 0);
        damaged.read_at(offset, &mut buffer)?;
        copy.append(&buffer)?;
        offset += length as u64;
    }
    copy.sync_data()?;
    disk.rename(&unfinished, &name)?;
    disk.sync_folder()?;
    tracing::warn!(segment = number, kept = name, "a damaged segment is set aside");
    Ok(Some(SetAside { name, bytes }))
}
