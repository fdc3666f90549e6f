//! Segment files: a header, twice, then frames.
//!
//! ```text
//! magic [4] | format u16 | zero u16 | number u32 | seed u32 | first Lsn u64 | crc32c u32
//! ```
//!
//! The header lies there twice, so that one flipped byte cannot hide a segment's seed.

use std::io;

use super::{JournalError, Lsn, frame::u32_at, scan::Window};
use crate::disk::{Disk, DiskFile};

const MAGIC: [u8; 4] = *b"htsg";
/// The format that this code writes and reads.
const FORMAT: u16 = 1;
const COPY_BYTES: usize = 28;
/// Where the second copy begins.
const SECOND_COPY: u32 = 28;
/// Where the first frame begins.
pub(super) const HEADER_BYTES: u32 = 2 * SECOND_COPY;
/// The largest `segment_bytes_max`, bytes: with the largest batch on top, offsets stay well within 32 bits.
pub const SEGMENT_BYTES_LIMIT: u32 = 1 << 30;

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u32,
    pub(super) seed: u32,
    /// Of its first record.
    pub(super) first: Lsn,
}

/// A header as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FoundHeader {
    /// `None` if both copies are damaged.
    pub(super) header: Option<SegmentHeader>,
    /// One copy at least is damaged.
    pub(super) damaged: bool,
}

/// The name of a segment's file.
pub(super) fn segment_name(number: u32) -> String {
    format!("{number:08x}.seg")
}

/// The number of the segment with this file name and extension.
pub(super) fn parse_name(name: &str, extension: &str) -> Option<u32> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let canonical =
        digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    canonical.then(|| u32::from_str_radix(digits, 16).ok())?.filter(|number| *number > 0)
}

impl SegmentHeader {
    fn copy(&self) -> [u8; COPY_BYTES] {
        let mut bytes = [0; COPY_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.number.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.seed.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..24]);
        bytes[24..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Both copies.
    pub(super) fn encode(&self) -> Vec<u8> {
        let copy = self.copy();
        [copy, copy].concat()
    }

    fn parse(bytes: &[u8], number: u32) -> Result<Option<Self>, JournalError> {
        let sound = bytes[..4] == MAGIC && crc32c::crc32c(&bytes[..24]) == u32_at(bytes, 24);
        if !sound {
            return Ok(None);
        }
        let format = u16::from_le_bytes([bytes[4], bytes[5]]);
        if format != FORMAT {
            return Err(JournalError::Format { segment: number, format });
        }
        let first = u64::from(u32_at(bytes, 16)) | u64::from(u32_at(bytes, 20)) << 32;
        let header = Self { number: u32_at(bytes, 8), seed: u32_at(bytes, 12), first: Lsn(first) };
        // A file under another segment's name is as good as none.
        Ok((header.number == number && first > 0).then_some(header))
    }
}

/// Reads the header of segment `number`.
pub(super) fn read_header<F: DiskFile>(
    file: &F,
    number: u32,
    bytes: u32,
) -> Result<FoundHeader, JournalError> {
    let mut window = Window::new(file, bytes, HEADER_BYTES as usize);
    let mut copies = [None; 2];
    for (place, copy) in [0, SECOND_COPY].into_iter().zip(&mut copies) {
        if let Some(bytes) = window.bytes(place, COPY_BYTES)? {
            *copy = SegmentHeader::parse(bytes, number)?;
        }
    }
    Ok(FoundHeader { header: copies[0].or(copies[1]), damaged: copies.contains(&None) })
}

/// Makes a segment, durably, before any frame goes into it: a file with the name of a segment always had its header.
pub(super) fn create<D: Disk>(disk: &D, header: &SegmentHeader) -> io::Result<D::File> {
    replace(disk, &segment_name(header.number), &header.encode())?;
    disk.open(&segment_name(header.number))
}

/// Writes a file whole and durable under a name, or leaves what had the name.
pub(super) fn replace<D: Disk>(disk: &D, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = format!("{name}{UNFINISHED}");
    match disk.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&unfinished)?;
    file.append(bytes)?;
    file.sync_data()?;
    disk.rename(&unfinished, name)?;
    disk.sync_folder()
}

/// Ends the names of files that were never finished.
pub(super) const UNFINISHED: &str = ".tmp";
