//! Walking through a segment's frames, and over what is damaged.

use std::io;

use super::{
    frame::{self, FRAME_BYTES_MIN, Frame},
    segment::HEADER_BYTES,
};
use crate::disk::DiskFile;

/// How much is read at once when going through a segment.
pub(super) const SCAN_BYTES: usize = 256 << 10;
/// How much is read at once when fetching one frame: most are shorter.
pub(super) const FETCH_BYTES: usize = 1 << 10;

/// A file seen through a buffer, up to an end that the caller sets.
pub(super) struct Window<'a, F> {
    file: &'a F,
    end: u32,
    chunk_bytes: usize,
    buffer: Vec<u8>,
    start: u32,
}

impl<'a, F: DiskFile> Window<'a, F> {
    pub(super) const fn new(file: &'a F, end: u32, chunk_bytes: usize) -> Self {
        Self { file, end, chunk_bytes, buffer: Vec::new(), start: 0 }
    }

    /// `length` bytes at `offset`; `None` if they are not all before the end, or the file is shorter than it was.
    pub(super) fn bytes(&mut self, offset: u32, length: usize) -> io::Result<Option<&[u8]>> {
        match self.load(offset, length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.end = self.end.min(u32::try_from(self.file.bytes()?).unwrap_or(u32::MAX));
                if !self.load(offset, length)? {
                    return Ok(None);
                }
            }
            loaded => {
                if !loaded? {
                    return Ok(None);
                }
            }
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.buffer[from..from + length]))
    }

    /// Has so many bytes in the buffer; false: they are not all before the end.
    fn load(&mut self, offset: u32, length: usize) -> io::Result<bool> {
        let left = self.end.saturating_sub(offset) as usize;
        if length > left {
            return Ok(false);
        }
        let buffered = offset >= self.start && (offset - self.start) as usize + length <= self.buffer.len();
        if !buffered {
            self.buffer.resize(left.min(self.chunk_bytes.max(length)), 0);
            self.start = offset;
            if let Err(error) = self.file.read_at(u64::from(offset), &mut self.buffer) {
                self.buffer.clear();
                return Err(error);
            }
        }
        Ok(true)
    }
}

impl<F: DiskFile> Window<'_, F> {
    /// Has the bytes before `offset` at hand, as many as `length` at the most: for going back.
    pub(super) fn load_before(&mut self, offset: u32, length: u32) -> io::Result<()> {
        let buffered = self.start..self.start.saturating_add(u32::try_from(self.buffer.len()).unwrap_or(0));
        let next = offset.saturating_sub(u32::try_from(FETCH_BYTES).unwrap_or(0));
        if buffered.contains(&next) && offset <= buffered.end {
            return Ok(());
        }
        let start = offset.saturating_sub(length);
        let length = (offset.min(self.end).saturating_sub(start)) as usize;
        self.buffer.clear();
        self.bytes(start, length).map(|_| ())
    }
}

/// What a scan meets.
#[derive(Debug)]
pub(super) enum Step {
    /// A whole frame.
    Frame {
        /// Where.
        offset: u32,
        /// What.
        frame: Frame,
    },
    /// Bytes that are no frame, up to the next one or to the end.
    Hole {
        /// Where it begins.
        offset: u32,
        /// Where it ends.
        end: u32,
        /// Index of the first record that should be there.
        index: u32,
        /// Index of the next frame; `None` at the end of the segment.
        next_index: Option<u32>,
    },
}

/// Goes through all frames of a segment, over holes.
pub(super) struct Scan<'a, F> {
    window: Window<'a, F>,
    seed: u32,
    offset: u32,
    index: u32,
    durable: u32,
}

impl<'a, F: DiskFile> Scan<'a, F> {
    /// From the frame with this index and offset to `end`.
    pub(super) const fn at(
        file: &'a F,
        (index, offset): (u32, u32),
        end: u32,
        seed: u32,
        chunk_bytes: usize,
    ) -> Self {
        Self { window: Window::new(file, end, chunk_bytes), seed, offset, index, durable: 0 }
    }

    /// From the first frame of a segment to `end`.
    pub(super) const fn whole(file: &'a F, end: u32, seed: u32) -> Self {
        Self::at(file, (0, HEADER_BYTES), end, seed, SCAN_BYTES)
    }

    /// The next frame or hole; `None` at the end.
    pub(super) fn step(&mut self) -> io::Result<Option<Step>> {
        let (offset, index, end) = (self.offset, self.index, self.window.end);
        if offset >= end {
            return Ok(None);
        }
        if let Some(frame) = frame::read(&mut self.window, offset, self.seed, |p| p.index == index)? {
            self.pass(offset, &frame);
            return Ok(Some(Step::Frame { offset, frame }));
        }
        let next = self.find_frame()?;
        self.offset = next.map_or(end, |(offset, _)| offset);
        self.index = next.map_or(index, |(_, index)| index);
        Ok(Some(Step::Hole { offset, end: self.offset, index, next_index: next.map(|(_, index)| index) }))
    }

    fn pass(&mut self, offset: u32, frame: &Frame) {
        self.offset = offset + frame.bytes;
        self.index = frame.prefix.index + 1;
        self.durable = frame.prefix.durable;
    }

    /// The next place after the current one where a frame could begin and its checksum holds. Its index and durable
    /// offset must fit what came before, so few checksums are made.
    fn find_frame(&mut self) -> io::Result<Option<(u32, u32)>> {
        let (index, durable, start) = (self.index, self.durable, self.offset);
        for offset in start + 1..self.window.end {
            let lost_max = u32::try_from((offset - start) as usize / FRAME_BYTES_MIN + 1).unwrap_or(u32::MAX);
            let fits = |p: &frame::Prefix| {
                (index..=index.saturating_add(lost_max)).contains(&p.index)
                    && (durable..=offset).contains(&p.durable)
            };
            if let Some(frame) = frame::read(&mut self.window, offset, self.seed, fits)? {
                return Ok(Some((offset, frame.prefix.index)));
            }
        }
        Ok(None)
    }
}
