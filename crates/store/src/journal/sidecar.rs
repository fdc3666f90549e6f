//! `<8 hex digits>.idx`: what the index knows of a sealed segment, so that opening a journal need not read the segment.
//!
//! ```text
//! magic [4] | format u32 | number u32 | seed u32 | first Lsn u64 | bytes u32 | records u32 | present u32
//! marks: count u32, then index u32 | offset u32 each
//! logs: count u32, then shop [32] | first sequence u64 | head: sequence u64, id [32], incarnation u32, time u64,
//!       offset u32 | marks: count u32, then sequence u64 | offset u32 each
//! crc32c u32
//! ```
//!
//! All little-endian. A sidecar that is missing, damaged or does not fit its segment is made anew from the segment.

use std::collections::BTreeMap;

use hutong_record::{RecordId, ShopId, UnixMillis};

use super::{
    LogHead, Lsn,
    frame::{Position, u32_at},
    index::{Index, Log, Segment},
    segment::SegmentHeader,
};

const MAGIC: [u8; 4] = *b"htix";
const FORMAT: u32 = 1;
/// The largest sidecar that is read. One of a 64 MiB segment takes some 100 kB, more only with thousands of shops.
pub(super) const SIDECAR_BYTES_MAX: u64 = 256 << 20;

/// What a sidecar says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sidecar {
    pub(super) header: SegmentHeader,
    pub(super) bytes: u32,
    pub(super) records: u32,
    pub(super) present: u32,
    pub(super) marks: Vec<(u32, u32)>,
    pub(super) logs: BTreeMap<ShopId, Log>,
}

/// The name of a segment's sidecar.
pub(super) fn sidecar_name(number: u32) -> String {
    format!("{number:08x}.idx")
}

impl Sidecar {
    /// What the index knows of one of its segments, the last one that was written to.
    pub(super) fn of<F>(index: &Index<F>, segment: &Segment<F>) -> Self {
        let number = segment.header.number;
        let logs = index.logs.iter().filter(|(_, log)| log.head_at.segment == number);
        let own_marks = |log: &Log| {
            let from = log.marks.partition_point(|(_, at)| at.segment < number);
            Log { marks: log.marks[from..].to_vec(), ..log.clone() }
        };
        Self {
            header: segment.header,
            bytes: segment.bytes,
            records: segment.records,
            present: segment.present,
            marks: segment.marks.clone(),
            logs: logs.map(|(shop, log)| (*shop, own_marks(log))).collect(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        let put = |out: &mut Vec<u8>, number: u32| out.extend_from_slice(&number.to_le_bytes());
        for number in [FORMAT, self.header.number, self.header.seed] {
            put(&mut out, number);
        }
        out.extend_from_slice(&self.header.first.0.to_le_bytes());
        for number in [self.bytes, self.records, self.present, count(self.marks.len())] {
            put(&mut out, number);
        }
        for (index, offset) in &self.marks {
            put(&mut out, *index);
            put(&mut out, *offset);
        }
        put(&mut out, count(self.logs.len()));
        for (shop, log) in &self.logs {
            encode_log(&mut out, *shop, log);
        }
        let checksum = crc32c::crc32c(&out);
        put(&mut out, checksum);
        out
    }

    /// `None` if it is damaged, of another format, or not in canonical form.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let body = bytes.len().checked_sub(4)?;
        if crc32c::crc32c(&bytes[..body]) != u32_at(bytes, body) {
            return None;
        }
        let mut fields = Fields(&bytes[..body]);
        if fields.array()? != MAGIC || fields.u32()? != FORMAT {
            return None;
        }
        let header = SegmentHeader { number: fields.u32()?, seed: fields.u32()?, first: Lsn(fields.u64()?) };
        let (segment_bytes, records, present) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let mut marks = Vec::new();
        for _ in 0..fields.u32()? {
            marks.push((fields.u32()?, fields.u32()?));
        }
        let mut logs = BTreeMap::new();
        for _ in 0..fields.u32()? {
            let (shop, log) = parse_log(&mut fields, header.number)?;
            logs.insert(shop, log);
        }
        fields.0.is_empty().then_some(Self { header, bytes: segment_bytes, records, present, marks, logs })
    }
}

fn encode_log(out: &mut Vec<u8>, shop: ShopId, log: &Log) {
    out.extend_from_slice(shop.as_bytes());
    out.extend_from_slice(&log.first_in_segment.to_le_bytes());
    out.extend_from_slice(&log.head.sequence.to_le_bytes());
    out.extend_from_slice(log.head.id.as_bytes());
    out.extend_from_slice(&log.head.incarnation.to_le_bytes());
    out.extend_from_slice(&log.head.time.ms().to_le_bytes());
    out.extend_from_slice(&log.head_at.offset.to_le_bytes());
    out.extend_from_slice(&count(log.marks.len()).to_le_bytes());
    for (sequence, at) in &log.marks {
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&at.offset.to_le_bytes());
    }
}

fn parse_log(fields: &mut Fields<'_>, segment: u32) -> Option<(ShopId, Log)> {
    let shop = ShopId::new(fields.array()?);
    let first_in_segment = fields.u64()?;
    let head = LogHead {
        sequence: fields.u64()?,
        id: RecordId::new(fields.array()?),
        incarnation: fields.u32()?,
        time: UnixMillis::new(i64::try_from(fields.u64()?).ok()?).ok()?,
    };
    let head_at = Position { segment, offset: fields.u32()? };
    let mut marks = Vec::new();
    for _ in 0..fields.u32()? {
        marks.push((fields.u64()?, Position { segment, offset: fields.u32()? }));
    }
    Some((shop, Log { head, head_at, first_in_segment, marks, branches: Vec::new() }))
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a segment of 32-bit offsets has fewer records than that")
}

/// What is left to parse. Nothing is allocated ahead of it.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
