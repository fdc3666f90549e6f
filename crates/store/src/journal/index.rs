//! The sparse index in memory: where every 64th record lies, by place and by log. The rest is found from there, forward
//! along the frames or back along the back pointers. A million records take about half a megabyte.

use std::{collections::BTreeMap, sync::Arc};

use hutong_record::{RecordId, ShopId};

use super::{
    Damage, LogHead, Lsn, TailLoss,
    frame::Position,
    heal::SetAside,
    segment::{HEADER_BYTES, SegmentHeader},
};

/// One entry for so many records: a lookup reads half as many frames, and a million records need 15,625 entries.
pub(super) const STRIDE: u32 = 64;

/// Everything that readers know.
#[derive(Debug)]
pub(super) struct Index<F> {
    /// Ascending by number and first record.
    pub(super) segments: Vec<Segment<F>>,
    pub(super) logs: BTreeMap<ShopId, Log>,
    pub(super) damage: Vec<Damage>,
    /// The last record with which a log went on before its end, so that records before it in the journal do not belong
    /// to that log any more.
    pub(super) last_switch: Lsn,
    /// How the end looked that was cut off when the journal was opened.
    pub(super) tail_cut: TailLoss,
    /// Of the files beside the segments.
    pub(super) sidecar_bytes: u64,
    /// How often the segments were replaced.
    pub(super) generation: u64,
    /// Records put back since the journal was opened.
    pub(super) healed: u64,
    /// Damaged segments that are kept.
    pub(super) set_aside: Vec<SetAside>,
    /// Where records lie that are elsewhere in their segment than a later one says; `None`: nowhere in it.
    pub(super) moved: BTreeMap<RecordId, Option<Position>>,
}

/// What is known of one segment.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) header: SegmentHeader,
    /// `None` if the file is missing or its seed is lost.
    pub(super) file: Option<Arc<F>>,
    /// Up to where it may be read.
    pub(super) bytes: u32,
    /// How many records it had, lost ones included.
    pub(super) records: u32,
    /// How many of them can be read.
    pub(super) present: u32,
    /// Index and offset of every 64th record, and of the first one after each hole.
    pub(super) marks: Vec<(u32, u32)>,
    /// The next record comes after a hole.
    pub(super) resumes: bool,
    /// A log went on in here before its end. The segment gets no index file: that says nothing of such places.
    pub(super) has_branch: bool,
}

/// What is known of one shop's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) head: LogHead,
    pub(super) head_at: Position,
    /// The first record in the segment of the head.
    pub(super) first_in_segment: u64,
    /// Sequence number and place of every 64th record.
    pub(super) marks: Vec<(u64, Position)>,
    /// Where the log went on before its end: the records that did, and their sequence numbers, both ascending.
    pub(super) branches: Vec<(Lsn, u64)>,
}

/// A record that was written or found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) shop: ShopId,
    pub(super) head: LogHead,
    pub(super) at: Position,
    /// Place in the segment.
    pub(super) index: u32,
    /// Where its frame ends.
    pub(super) end: u32,
}

impl<F> Segment<F> {
    pub(super) fn new(header: SegmentHeader, file: Option<Arc<F>>) -> Self {
        Self {
            header,
            file,
            bytes: HEADER_BYTES,
            records: 0,
            present: 0,
            marks: Vec::new(),
            resumes: false,
            has_branch: false,
        }
    }

    /// The last record in it; one before the first if it is empty.
    pub(super) fn last(&self) -> Lsn {
        Lsn(self.header.first.0 + u64::from(self.records) - 1)
    }

    /// Takes in a frame without a record.
    pub(super) fn add_void(&mut self, index: u32, end: u32) {
        (self.records, self.bytes) = (index + 1, end);
        self.resumes = true;
    }

    fn add(&mut self, entry: &Entry) {
        if entry.index.is_multiple_of(STRIDE) || std::mem::take(&mut self.resumes) {
            self.marks.push((entry.index, entry.at.offset));
        }
        (self.records, self.bytes) = (entry.index + 1, entry.end);
        self.present += 1;
    }

    /// The last mark at or before a record; none if the segment begins with a hole.
    pub(super) fn mark_before(&self, index: u32) -> Option<(u32, u32)> {
        let after = self.marks.partition_point(|(marked, _)| *marked <= index);
        Some(self.marks[after.checked_sub(1)?])
    }
}

impl Log {
    /// The log goes on from a place before its end; what it held from there on is superseded.
    fn branch(&mut self, lsn: Lsn, sequence: u64) {
        self.marks.retain(|(marked, _)| *marked < sequence);
        self.branches.retain(|(_, begins)| *begins < sequence);
        self.branches.push((lsn, sequence));
        self.first_in_segment = self.first_in_segment.min(sequence);
    }

    /// Whether a record does not belong to the log any more.
    pub(super) fn is_superseded(&self, lsn: Lsn, sequence: u64) -> bool {
        self.branches.iter().any(|(later, begins)| *later > lsn && *begins <= sequence)
    }

    /// A marked record at or after a sequence number, the nearest: the place to walk back from.
    pub(super) fn mark_at_or_after(&self, sequence: u64) -> (u64, Position) {
        let place = self.marks.partition_point(|(marked, _)| *marked < sequence);
        self.marks.get(place).copied().unwrap_or((self.head.sequence, self.head_at))
    }

    /// The last marked record at or before a sequence number.
    pub(super) fn mark_at_or_before(&self, sequence: u64) -> Option<(u64, Position)> {
        let after = self.marks.partition_point(|(marked, _)| *marked <= sequence);
        Some(self.marks[after.checked_sub(1)?])
    }
}

impl<F> Index<F> {
    pub(super) const fn new() -> Self {
        Self {
            segments: Vec::new(),
            logs: BTreeMap::new(),
            damage: Vec::new(),
            last_switch: Lsn::ZERO,
            tail_cut: TailLoss::Nothing,
            sidecar_bytes: 0,
            generation: 0,
            healed: 0,
            set_aside: Vec::new(),
            moved: BTreeMap::new(),
        }
    }

    /// The last record.
    pub(super) fn head(&self) -> Lsn {
        self.segments.last().map_or(Lsn::ZERO, Segment::last)
    }

    /// Takes in a record of the last segment.
    pub(super) fn add(&mut self, entry: &Entry) {
        if let Some(segment) = self.segments.last_mut() {
            segment.add(entry);
        }
        let lsn = self.head();
        let log = self.logs.entry(entry.shop).or_insert_with(|| Log {
            head: LogHead { sequence: 0, ..entry.head },
            head_at: entry.at,
            first_in_segment: entry.head.sequence,
            marks: Vec::new(),
            branches: Vec::new(),
        });
        if log.head_at.segment != entry.at.segment {
            log.first_in_segment = entry.head.sequence;
        }
        if entry.head.sequence <= log.head.sequence {
            log.branch(lsn, entry.head.sequence);
            self.last_switch = lsn;
            if let Some(segment) = self.segments.last_mut() {
                segment.has_branch = true;
            }
        }
        (log.head, log.head_at) = (entry.head, entry.at);
        if entry.head.sequence.is_multiple_of(u64::from(STRIDE)) {
            log.marks.push((entry.head.sequence, entry.at));
        }
    }

    /// Place in `segments` of the segment with a record, and the record's index there. The index may lie past its
    /// records where some are lost.
    pub(super) fn find(&self, lsn: Lsn) -> Option<(usize, u32)> {
        let after = self.segments.partition_point(|s| s.header.first <= lsn);
        let place = after.checked_sub(1)?;
        let index = u32::try_from(lsn.0 - self.segments[place].header.first.0).ok()?;
        Some((place, index))
    }

    /// The segment with a number.
    pub(super) fn segment(&self, number: u32) -> Option<&Segment<F>> {
        let place = self.segments.binary_search_by_key(&number, |s| s.header.number).ok()?;
        Some(&self.segments[place])
    }
}
