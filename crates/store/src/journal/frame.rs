//! Frames: how one record lies in a segment.
//!
//! ```text
//! length u32 | crc32c u32 | body: flags u8 | index u32 | durable u32 | back segment u32 | back offset u32 | record
//! ```
//!
//! All little-endian. `length` and the checksum are of the body; the checksum starts from the segment's seed. `index`
//! counts the segment's records from 0; `durable` says up to which offset the segment was synced when the frame was
//! written, which tells damage (before it) from a torn tail (after it); `back` is the frame of the same shop's previous
//! record, all zero if there is none. `record` is an encoded `hutong.record.v1.Record`; of a *void* frame it is one zero
//! byte: a damaged place that no log lacks a record for.

use std::io;

use bytes::Bytes;
use hutong_record::{HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX, Record, SIGNATURE_BYTES, proto};
use prost::Message as _;

use super::scan::Window;
use crate::disk::DiskFile;

/// Length and checksum.
const FRAME_HEAD_BYTES: usize = 8;
const PREFIX_BYTES: usize = 17;
const BODY_BYTES_MIN: usize = PREFIX_BYTES + 1;
/// Tags and lengths of the record's three fields take at most 12 bytes.
const BODY_BYTES_MAX: usize = PREFIX_BYTES + HEADER_BYTES_MAX + SIGNATURE_BYTES + PAYLOAD_BYTES_MAX + 12;
/// The longest frame, bytes: a record with the longest header and payload.
pub const FRAME_BYTES_MAX: usize = FRAME_HEAD_BYTES + BODY_BYTES_MAX;
/// The shortest frame, bytes.
pub(super) const FRAME_BYTES_MIN: usize = FRAME_HEAD_BYTES + BODY_BYTES_MIN;

const FLAG_MORE: u8 = 1;
const FLAG_VOID: u8 = 2;

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Number of the segment, from 1.
    pub(super) segment: u32,
    /// Byte offset in its file.
    pub(super) offset: u32,
}

/// What a frame says besides its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    /// More frames of the same batch follow.
    pub(super) more: bool,
    /// There is no record in it.
    pub(super) void: bool,
    /// Place in the segment, from 0.
    pub(super) index: u32,
    /// The segment was durable up to this offset when the frame was written.
    pub(super) durable: u32,
    /// The same shop's previous record.
    pub(super) back: Option<Position>,
}

/// A frame whose checksum holds.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) prefix: Prefix,
    /// Of the whole frame.
    pub(super) bytes: u32,
    record: Bytes,
}

/// Appends one frame to `buffer`.
pub(super) fn encode(buffer: &mut Vec<u8>, prefix: Prefix, record: &Record, seed: u32) {
    let start = begin(buffer, prefix);
    record.to_message().encode(buffer).expect("a vector grows as needed");
    finish(buffer, start, seed);
}

/// Appends a frame that holds no record.
pub(super) fn encode_void(buffer: &mut Vec<u8>, prefix: Prefix, seed: u32) {
    let start = begin(buffer, Prefix { void: true, ..prefix });
    buffer.push(0);
    finish(buffer, start, seed);
}

/// Appends a frame again, with another prefix.
pub(super) fn encode_again(buffer: &mut Vec<u8>, prefix: Prefix, frame: &Frame, seed: u32) {
    let start = begin(buffer, prefix);
    buffer.extend_from_slice(&frame.record);
    finish(buffer, start, seed);
}

fn begin(buffer: &mut Vec<u8>, prefix: Prefix) -> usize {
    let start = buffer.len();
    let back = prefix.back.unwrap_or(Position { segment: 0, offset: 0 });
    buffer.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    let (more, void) = (if prefix.more { FLAG_MORE } else { 0 }, if prefix.void { FLAG_VOID } else { 0 });
    buffer.push(more | void);
    for number in [prefix.index, prefix.durable, back.segment, back.offset] {
        buffer.extend_from_slice(&number.to_le_bytes());
    }
    start
}

/// Fills in the head of the frame that begins at `start` and ends with the buffer.
fn finish(buffer: &mut [u8], start: usize, seed: u32) {
    let body = start + FRAME_HEAD_BYTES;
    let length = u32::try_from(buffer.len() - body).expect("a record has at most BODY_BYTES_MAX bytes");
    let checksum = crc32c::crc32c_append(seed, &buffer[body..]);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..body].copy_from_slice(&checksum.to_le_bytes());
}

impl Prefix {
    fn parse(body: &[u8]) -> Option<Self> {
        let (&flags, numbers) = body.get(..PREFIX_BYTES)?.split_first()?;
        let number = |n: usize| u32_at(numbers, 4 * n);
        let back = match (number(2), number(3)) {
            (0, 0) => None,
            (segment, offset) => Some(Position { segment, offset }),
        };
        (flags & !(FLAG_MORE | FLAG_VOID) == 0).then(|| Self {
            more: flags & FLAG_MORE != 0,
            void: flags & FLAG_VOID != 0,
            index: number(0),
            durable: number(1),
            back,
        })
    }
}

impl Frame {
    /// The record in it; `None` if it does not parse, which the checksum all but rules out.
    pub(super) fn record(&self) -> Option<Record> {
        if self.prefix.void {
            return None;
        }
        Record::parse(proto::Record::decode(self.record.clone()).ok()?).ok()
    }

    /// Length of the encoded record.
    pub(super) fn record_bytes(&self) -> usize {
        self.record.len()
    }
}

/// The length of the frame at `offset` as its head claims it, if it is within the limits.
fn claimed_bytes<F: DiskFile>(window: &mut Window<'_, F>, offset: u32) -> io::Result<Option<usize>> {
    let Some(head) = window.bytes(offset, FRAME_HEAD_BYTES)? else { return Ok(None) };
    let length = u32_at(head, 0) as usize;
    let possible = (BODY_BYTES_MIN..=BODY_BYTES_MAX).contains(&length);
    Ok(possible.then_some(FRAME_HEAD_BYTES + length))
}

/// The frame at `offset`; `None` if there is no whole frame with the right checksum. The length is checked against the
/// limits and the file before anything is allocated, and `plausible` may refuse a frame before its checksum is made.
pub(super) fn read<F: DiskFile>(
    window: &mut Window<'_, F>,
    offset: u32,
    seed: u32,
    plausible: impl FnOnce(&Prefix) -> bool,
) -> io::Result<Option<Frame>> {
    let Some(bytes) = claimed_bytes(window, offset)? else { return Ok(None) };
    let Some(prefix) = window.bytes(offset, FRAME_HEAD_BYTES + PREFIX_BYTES)? else { return Ok(None) };
    let Some(prefix) = Prefix::parse(&prefix[FRAME_HEAD_BYTES..]).filter(plausible) else { return Ok(None) };
    let Some(frame) = window.bytes(offset, bytes)? else { return Ok(None) };
    let (head, body) = frame.split_at(FRAME_HEAD_BYTES);
    if crc32c::crc32c_append(seed, body) != u32_at(head, 4) {
        return Ok(None);
    }
    let record = Bytes::copy_from_slice(&body[PREFIX_BYTES..]);
    Ok(Some(Frame { prefix, bytes: u32::try_from(bytes).expect("at most FRAME_BYTES_MAX"), record }))
}

/// Whether bytes end in zeros, as blocks do that were never filled. Salts and ciphertexts end in so many once in 2^128.
pub(super) fn ends_in_zeros(bytes: &[u8]) -> bool {
    const ZEROS: usize = 16;
    bytes[bytes.len().saturating_sub(ZEROS)..].iter().all(|byte| *byte == 0)
}

/// Whether bytes that are no frame are the beginning of one: it claims more than there is, and what is there is not all
/// of a frame whose length alone was hit.
pub(super) fn is_cut_short(bytes: &[u8], seed: u32) -> bool {
    let Some((head, body)) = bytes.split_at_checked(FRAME_HEAD_BYTES) else { return true };
    let claimed = u32_at(head, 0) as usize;
    (BODY_BYTES_MIN..=BODY_BYTES_MAX).contains(&claimed)
        && claimed > body.len()
        && crc32c::crc32c_append(seed, body) != u32_at(head, 4)
}

/// The little-endian number at `offset`; the caller has checked that it is there.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}
