//! Opening a journal: what is whole is indexed, a torn tail is cut, damage is named.

use std::{io, sync::Arc};

use hutong_record::ShopId;

use super::{
    Damage, JournalConfig, JournalError, LogHead, Lsn, MissingRecords, TailLoss,
    frame::{self, FRAME_BYTES_MAX, Frame, Position},
    heal::{self, SET_ASIDE, SetAside},
    index::{Entry, Index, Segment},
    scan::{Scan, Step},
    segment::{self, FoundHeader, HEADER_BYTES, SegmentHeader, UNFINISHED, parse_name},
    sidecar::{SIDECAR_BYTES_MAX, Sidecar, sidecar_name},
};
use crate::disk::{Disk, DiskFile};

/// A journal as found.
pub(super) struct Recovered<F> {
    pub(super) index: Index<F>,
    /// The last segment must not be written to again.
    pub(super) seal_last: bool,
}

/// A segment file before its frames are looked at.
struct Found<F> {
    number: u32,
    file: Arc<F>,
    bytes: u32,
    header: FoundHeader,
}

/// Reads what the disk holds, and makes the first segment if there is none.
pub(super) fn recover<D: Disk>(disk: &D, config: &JournalConfig) -> Result<Recovered<D::File>, JournalError> {
    let mut index = Index::new();
    let found = find_segments(disk, &mut index.set_aside)?;
    let mut recovery = Recovery { disk, config, index };
    let mut seal_last = false;
    for (place, segment) in found.iter().enumerate() {
        let sidecar = recovery.read_sidecar(segment)?;
        let header = recovery.settle_header(segment, sidecar.as_ref())?;
        recovery.note_header_damage(segment, &header);
        match found.get(place + 1) {
            Some(next) => {
                let next_first =
                    next.header.header.filter(|_| next.number == segment.number + 1).map(|h| h.first);
                recovery.sealed(segment, header, sidecar, next_first)?;
            }
            None => {
                seal_last = recovery.last(segment, header)? || segment.header.header.is_none();
            }
        }
    }
    if found.is_empty() {
        recovery.begin()?;
    }
    Ok(Recovered { index: recovery.index, seal_last })
}

fn find_segments<D: Disk>(
    disk: &D,
    set_aside: &mut Vec<SetAside>,
) -> Result<Vec<Found<D::File>>, JournalError> {
    let mut found = Vec::new();
    for name in disk.list()? {
        if name.ends_with(UNFINISHED) {
            disk.remove(&name)?;
        } else if parse_name(&name, SET_ASIDE).is_some() {
            let bytes = disk.open(&name)?.bytes()?;
            set_aside.push(SetAside { name, bytes });
        } else if let Some(number) = parse_name(&name, "seg") {
            let file = disk.open(&name)?;
            // What lies past 4 GiB was not written by us.
            let bytes = u32::try_from(file.bytes()?).unwrap_or(u32::MAX);
            let header = segment::read_header(&file, number, bytes)?;
            found.push(Found { number, file: Arc::new(file), bytes, header });
        }
    }
    found.sort_unstable_by_key(|segment| segment.number);
    Ok(found)
}

struct Recovery<'a, D: Disk> {
    disk: &'a D,
    config: &'a JournalConfig,
    index: Index<D::File>,
}

impl<D: Disk> Recovery<'_, D> {
    fn begin(&mut self) -> Result<(), JournalError> {
        let header = SegmentHeader { number: 1, seed: self.config.checksum_seed, first: Lsn(1) };
        let file = segment::create(self.disk, &header)?;
        self.index.segments.push(Segment::new(header, Some(Arc::new(file))));
        Ok(())
    }

    fn read_sidecar(&mut self, segment: &Found<D::File>) -> Result<Option<Sidecar>, JournalError> {
        let file = match self.disk.open(&sidecar_name(segment.number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes = file.bytes()?;
        if bytes > SIDECAR_BYTES_MAX {
            return Ok(None);
        }
        let mut contents = vec![0; usize::try_from(bytes).expect("at most SIDECAR_BYTES_MAX")];
        file.read_at(0, &mut contents)?;
        Ok(Sidecar::parse(&contents).filter(|s| s.header.number == segment.number))
    }

    /// The header of a segment, or what its sidecar and the segment before say of it. Segments that are missing
    /// before it are entered as lost.
    fn settle_header(
        &mut self,
        found: &Found<D::File>,
        sidecar: Option<&Sidecar>,
    ) -> Result<SegmentHeader, JournalError> {
        let previous = self.index.segments.last();
        let (previous_number, seed) =
            previous.map_or((0, self.config.checksum_seed), |s| (s.header.number, s.header.seed));
        let expected = self.index.head().next();
        let guess = SegmentHeader { number: found.number, seed, first: expected };
        let header = found.header.header.or(sidecar.map(|s| s.header)).unwrap_or(guess);
        if header.first < expected {
            let (segment, offset) = (found.number, 0);
            return Err(JournalError::Damaged { segment, offset, lsn: header.first, resume: expected });
        }
        // Several that were missing may have come back as one.
        if found.number > previous_number + 1 && header.first > expected {
            self.lose_segment(previous_number + 1, expected, header.first);
        }
        Ok(header)
    }

    fn lose_segment(&mut self, number: u32, first: Lsn, next_first: Lsn) {
        let records = next_first.0 - first.0;
        tracing::error!(segment = number, first = first.0, records, "a journal segment is missing");
        self.index.damage.push(Damage {
            segment: number,
            offset: 0,
            bytes: 0,
            first,
            records,
            missing: Vec::new(),
        });
        let header = SegmentHeader { number, seed: 0, first };
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        self.index.segments.push(Segment { records, bytes: 0, ..Segment::new(header, None) });
    }

    fn note_header_damage(&mut self, found: &Found<D::File>, header: &SegmentHeader) {
        if found.header.damaged {
            let (offset, bytes) = (0, u64::from(HEADER_BYTES));
            self.note(Damage {
                segment: found.number,
                offset,
                bytes,
                first: header.first,
                records: 0,
                missing: Vec::new(),
            });
        }
    }

    fn note(&mut self, damage: Damage) {
        let Damage { segment, offset, bytes, first, records, .. } = damage;
        tracing::error!(segment, offset, bytes, first = first.0, records, "the journal is damaged");
        self.index.damage.push(damage);
    }

    /// Takes in a sealed segment: from its sidecar if that fits, else frame by frame.
    fn sealed(
        &mut self,
        found: &Found<D::File>,
        header: SegmentHeader,
        sidecar: Option<Sidecar>,
        next_first: Option<Lsn>,
    ) -> Result<(), JournalError> {
        let fits = |s: &Sidecar| {
            let next = Lsn(header.first.0 + u64::from(s.records));
            s.header == header && s.bytes == found.bytes && next_first.is_none_or(|first| first == next)
        };
        if let Some(sidecar) = sidecar.filter(fits) {
            self.take_sidecar(found, sidecar);
            return Ok(());
        }
        tracing::warn!(
            segment = found.number,
            "the index of a journal segment is missing or damaged; making it anew"
        );
        let damage_before = self.index.damage.len();
        let records =
            next_first.map(|next| u32::try_from(next.0.saturating_sub(header.first.0)).unwrap_or(u32::MAX));
        self.take_frames(found, header, found.bytes, records)?;
        let segment = &self.index.segments[self.index.segments.len() - 1];
        if self.index.damage.len() == damage_before && !segment.has_branch {
            let bytes = Sidecar::of(&self.index, segment).encode();
            segment::replace(self.disk, &sidecar_name(found.number), &bytes)?;
            self.index.sidecar_bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn take_sidecar(&mut self, found: &Found<D::File>, sidecar: Sidecar) {
        self.index.sidecar_bytes += sidecar.encode().len() as u64;
        let Sidecar { header, bytes, records, present, marks, logs } = sidecar;
        let file = Some(Arc::clone(&found.file));
        let read = Segment { bytes, records, present, marks, ..Segment::new(header, file) };
        self.index.segments.push(read);
        for (shop, mut log) in logs {
            self.note_missing(shop, log.first_in_segment);
            if let Some(known) = self.index.logs.remove(&shop) {
                let own = std::mem::replace(&mut log.marks, known.marks);
                log.marks.extend(own);
                log.branches = known.branches;
            }
            self.index.logs.insert(shop, log);
        }
    }

    /// Takes in the frames of a segment up to `end`. `records` is how many it should hold, if that is known.
    fn take_frames(
        &mut self,
        found: &Found<D::File>,
        header: SegmentHeader,
        end: u32,
        records: Option<u32>,
    ) -> Result<(), JournalError> {
        self.index.segments.push(Segment::new(header, Some(Arc::clone(&found.file))));
        let mut scan = Scan::whole(&*found.file, end, header.seed);
        while let Some(step) = scan.step()? {
            match step {
                Step::Frame { offset, frame } => self.take_frame(&header, offset, &frame),
                Step::Hole { offset, end, index, next_index } => {
                    let lost = next_index.or(records).unwrap_or(index).saturating_sub(index);
                    self.lose(&header, offset, end, index, lost);
                }
            }
        }
        let segment = &self.index.segments[self.index.segments.len() - 1];
        let (taken, bytes) = (segment.records, segment.bytes);
        if let Some(lost) = records.and_then(|r| r.checked_sub(taken)).filter(|lost| *lost > 0) {
            self.lose(&header, bytes, bytes, taken, lost);
        }
        Ok(())
    }

    fn take_frame(&mut self, header: &SegmentHeader, offset: u32, frame: &Frame) {
        let (index, end) = (frame.prefix.index, offset + frame.bytes);
        if frame.prefix.void {
            if let Some(segment) = self.index.segments.last_mut() {
                segment.add_void(index, end);
            }
            return;
        }
        let Some(record) = frame.record() else {
            return self.lose(header, offset, end, index, 1);
        };
        let (shop, head) = (record.header().shop, LogHead::of(&record));
        self.note_missing(shop, head.sequence);
        let at = Position { segment: header.number, offset };
        self.index.add(&Entry { shop, head, at, index, end });
    }

    /// Enters `lost` records, from `index` on, as damage. The segment goes on after them.
    fn lose(&mut self, header: &SegmentHeader, offset: u32, end: u32, index: u32, lost: u32) {
        self.note(Damage {
            segment: header.number,
            offset: u64::from(offset),
            bytes: u64::from(end - offset),
            first: Lsn(header.first.0 + u64::from(index)),
            records: u64::from(lost),
            missing: Vec::new(),
        });
        if let Some(segment) = self.index.segments.last_mut() {
            (segment.records, segment.bytes) = (index + lost, end);
            segment.resumes = true;
        }
    }

    /// A log that goes on at `sequence` may have lost what lies between.
    fn note_missing(&mut self, shop: ShopId, sequence: u64) {
        let next = self.index.logs.get(&shop).map_or(1, |log| log.head.sequence + 1);
        if let Some(damage) = self.index.damage.last_mut().filter(|_| sequence > next) {
            damage.missing.push(MissingRecords { shop, from_sequence: next, to_sequence: sequence - 1 });
        }
    }

    /// Takes in the last segment: cuts a torn tail, then makes the rest durable, since a process that was killed may
    /// have left it in the system's cache. Returns whether the segment must not be written to again.
    fn last(&mut self, found: &Found<D::File>, header: SegmentHeader) -> Result<bool, JournalError> {
        let tail = find_tail(&*found.file, found.bytes, header.seed)?;
        let unreadable = found.header.header.is_none() && tail.records == 0 && found.bytes > HEADER_BYTES;
        if unreadable {
            return self.give_up_last(found).map(|()| false);
        }
        if tail.end < found.bytes {
            let (segment, cut_bytes) = (found.number, found.bytes - tail.end);
            let looks = tail.cut;
            tracing::warn!(segment, offset = tail.end, cut_bytes, ?looks, "cut the tail off the journal");
            found.file.truncate(u64::from(tail.end))?;
            self.index.tail_cut = tail.cut;
        }
        found.file.sync_data()?;
        self.take_frames(found, header, tail.end, Some(tail.records))?;
        Ok(tail.ends_in_hole)
    }
}

impl<D: Disk> Recovery<'_, D> {
    /// Sets a last segment aside of which nothing can be read, and begins it anew. How many records it had is not known;
    /// what it had is up to the peers, and so is how far the own log went (LOG-1).
    fn give_up_last(&mut self, found: &Found<D::File>) -> Result<(), JournalError> {
        let first = self.index.head().next();
        let (number, bytes) = (found.number, u64::from(found.bytes));
        tracing::error!(
            segment = number,
            bytes,
            "nothing of the last journal segment can be read: it is begun anew"
        );
        let kept = heal::set_aside(self.disk, number, &*found.file)?;
        self.index.set_aside.extend(kept);
        let header = SegmentHeader { number, seed: self.config.checksum_seed, first };
        let file = segment::create(self.disk, &header)?;
        self.index.segments.push(Segment::new(header, Some(Arc::new(file))));
        self.index.tail_cut = TailLoss::Damaged;
        Ok(())
    }
}

/// Where the last segment ends.
#[derive(Debug, Clone, Copy)]
struct Tail {
    end: u32,
    /// How many records lie before the end, lost ones included.
    records: u32,
    ends_in_hole: bool,
    /// How what lies past the end looks, if anything does.
    cut: TailLoss,
}

/// Bytes of the last segment that are no frame.
struct Hole {
    offset: u32,
    /// The end of the last whole batch before it.
    before: Tail,
    /// The index after it.
    next: u32,
    /// Whether whole frames follow.
    ends_in_frame: bool,
}

/// Finds the end of what counts in the last segment: of the last whole batch before the first bytes that are neither a
/// frame nor known, from a later frame, to have been durable.
fn find_tail<F: DiskFile>(file: &F, bytes: u32, seed: u32) -> io::Result<Tail> {
    let mut scan = Scan::whole(file, bytes, seed);
    let mut whole =
        Tail { end: HEADER_BYTES.min(bytes), records: 0, ends_in_hole: false, cut: TailLoss::Torn };
    let mut durable = 0;
    let mut holes: Vec<Hole> = Vec::new();
    while let Some(step) = scan.step()? {
        match step {
            Step::Frame { offset, frame } => {
                durable = durable.max(frame.prefix.durable);
                if !frame.prefix.more {
                    let (end, records) = (offset + frame.bytes, frame.prefix.index + 1);
                    whole = Tail { end, records, ..whole };
                }
            }
            Step::Hole { offset, index, next_index, .. } => {
                let (next, ends_in_frame) = (next_index.unwrap_or(index), next_index.is_some());
                holes.push(Hole { offset, before: whole, next, ends_in_frame });
            }
        }
    }
    let torn = holes.iter().find(|hole| hole.offset >= durable);
    let cut = torn.map_or(Ok(TailLoss::Torn), |hole| look_at(file, bytes, seed, hole))?;
    let tail = torn.map_or(whole, |hole| hole.before);
    if tail.end >= durable {
        return Ok(Tail { cut, ..tail });
    }
    let lost = holes.iter().rfind(|hole| hole.offset < durable);
    let records = lost.map_or(tail.records, |hole| hole.next);
    Ok(Tail { end: durable, records, ends_in_hole: true, cut })
}

/// Whether the bytes of a hole look like a write that did not come to its end, or like one that did and was damaged.
/// An unfinished write is short, or ends in the zeros of blocks that were never filled; only where it looks so and
/// nothing whole follows is it taken for one.
fn look_at<F: DiskFile>(file: &F, bytes: u32, seed: u32, hole: &Hole) -> io::Result<TailLoss> {
    if hole.ends_in_frame {
        return Ok(TailLoss::Damaged);
    }
    let length = (bytes - hole.offset) as usize;
    // One frame that was cut short is shorter than the longest one; of more than that the end alone says something.
    let mut rest = vec![0; length.min(FRAME_BYTES_MAX)];
    file.read_at(u64::from(bytes) - rest.len() as u64, &mut rest)?;
    let unfinished = frame::ends_in_zeros(&rest)
        || (rest.len() == length && length < FRAME_BYTES_MAX && frame::is_cut_short(&rest, seed));
    Ok(if unfinished { TailLoss::Torn } else { TailLoss::Damaged })
}
