//! What a pass over the journal found: the places that are damaged, and the records that logs lack for it.

use std::{cmp::Reverse, collections::BinaryHeap};

use hutong_record::RecordId;

use super::{Damage, Lsn, MissingRecords};

/// The most places, and the most ranges of records, that one survey names: some MiB of memory. A journal that is damaged
/// in more is healed in several passes.
pub const SURVEY_ENTRIES_MAX: usize = 65_536;

/// A damaged place: bytes that are no frame, or frames that are not the ones that were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Number of the segment file.
    pub segment: u32,
    /// Where in it, bytes.
    pub offset: u32,
    /// Where it ends.
    pub end: u32,
    /// The first record lost.
    pub first: Lsn,
    /// How many are lost; 0 if only a header or spare bytes were hit.
    pub lost: u32,
}

impl Hole {
    /// The records lost, by place.
    pub(super) fn places(&self) -> impl Iterator<Item = Lsn> + use<> {
        (self.first.0..self.first.0 + u64::from(self.lost)).map(Lsn)
    }
}

/// Consecutive records of one log that are lost. Their successor, or the log's known end, says which they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Whose log, and which sequence numbers.
    pub records: MissingRecords,
    /// The id of the last of them. Each names its predecessor's, so that nobody who brings them need be believed.
    pub pin: RecordId,
    /// They lay after this place in the journal.
    pub after: Lsn,
    /// And before this one.
    pub before: Lsn,
}

impl Lost {
    /// How many they are.
    pub const fn count(&self) -> u64 {
        self.records.to_sequence - self.records.from_sequence + 1
    }
}

/// What a pass over the whole journal found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Of which state of the files. They change when the journal is healed.
    pub(super) generation: u64,
    /// Damaged places, in the order of the journal.
    pub holes: Vec<Hole>,
    /// What logs lack.
    pub lost: Vec<Lost>,
    /// Everything is named: neither list came to [`SURVEY_ENTRIES_MAX`].
    pub complete: bool,
    /// How much was read.
    pub bytes: u64,
}

impl Survey {
    /// Whether the journal is as it was written.
    pub const fn is_sound(&self) -> bool {
        self.holes.is_empty() && self.lost.is_empty()
    }

    /// Places whose records are lost.
    pub fn lost_places(&self) -> u64 {
        self.holes.iter().map(|hole| u64::from(hole.lost)).sum()
    }

    /// For each lost place the record that is to lie there, as an index into `lost` and a sequence number. Each record
    /// comes after its predecessor and before its successor; the one with the nearest successor first, which finds a
    /// place for all if there is one.
    pub(super) fn assign(&self) -> Vec<(Lsn, Option<(usize, u64)>)> {
        let mut coming: Vec<usize> = (0..self.lost.len()).collect();
        coming.sort_unstable_by_key(|place| Reverse(self.lost[*place].after));
        // The end of their window, the next sequence number, whose.
        let mut waiting = BinaryHeap::new();
        let mut assigned = Vec::new();
        for lsn in self.holes.iter().flat_map(Hole::places) {
            while let Some(next) = coming.pop_if(|next| self.lost[*next].after < lsn) {
                let Lost { before, records, .. } = self.lost[next];
                waiting.push(Reverse((before, records.from_sequence, next)));
            }
            while waiting.peek().is_some_and(|Reverse((before, ..))| *before <= lsn) {
                waiting.pop();
            }
            let taken = waiting.pop().map(|Reverse((before, sequence, place))| {
                if sequence < self.lost[place].records.to_sequence {
                    waiting.push(Reverse((before, sequence + 1, place)));
                }
                (place, sequence)
            });
            assigned.push((lsn, taken));
        }
        assigned
    }

    /// As the journal tells of damage.
    pub(super) fn damage(&self) -> Vec<Damage> {
        let damage = |hole: &Hole| Damage {
            segment: hole.segment,
            offset: u64::from(hole.offset),
            bytes: u64::from(hole.end - hole.offset),
            first: hole.first,
            records: u64::from(hole.lost),
            missing: Vec::new(),
        };
        let mut all: Vec<_> = self.holes.iter().map(damage).collect();
        for lost in &self.lost {
            let fits = |d: &&mut Damage| d.records > 0 && d.first > lost.after && d.first < lost.before;
            if let Some(damage) = all.iter_mut().find(fits) {
                damage.missing.push(lost.records);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use hutong_record::ShopId;

    use super::*;

    fn lost(shop: u8, sequences: std::ops::RangeInclusive<u64>, after: u64, before: u64) -> Lost {
        let (from_sequence, to_sequence) = sequences.into_inner();
        let records = MissingRecords { shop: ShopId::new([shop; 32]), from_sequence, to_sequence };
        Lost { records, pin: RecordId::new([shop; 32]), after: Lsn(after), before: Lsn(before) }
    }

    fn survey(holes: &[(u64, u32)], lost: Vec<Lost>) -> Survey {
        let hole = |(first, lost): &(u64, u32)| Hole {
            segment: 1,
            offset: 100,
            end: 200,
            first: Lsn(*first),
            lost: *lost,
        };
        let holes = holes.iter().map(hole).collect();
        Survey { generation: 0, holes, lost, complete: true, bytes: 0 }
    }

    #[test]
    fn whoever_must_come_first_gets_the_first_place() {
        let found = survey(&[(5, 1), (9, 2)], vec![lost(2, 7..=8, 1, 30), lost(1, 3..=3, 2, 8)]);
        assert_eq!(found.assign(), [(Lsn(5), Some((1, 3))), (Lsn(9), Some((0, 7))), (Lsn(10), Some((0, 8)))]);
    }

    #[test]
    fn a_place_that_fits_nobody_stays_empty() {
        let found = survey(&[(5, 2)], vec![lost(1, 3..=3, 6, 9), lost(2, 1..=1, 0, 5)]);
        assert_eq!(found.assign(), [(Lsn(5), None), (Lsn(6), None)]);
        assert!(found.damage()[0].missing.is_empty());
    }
}
