//! The file, written and read frame by frame.

use bytes::{Buf as _, Bytes, BytesMut};
use hutong_record::{AllianceId, ShopId, proto};
use hutong_sync::{Frame, FrontierDigest, GoodbyeReason};
use hutong_wire::{
    frame::{self, FrameError},
    peer::v1 as wire,
};
use prost::Message as _;

use crate::federation::hub::MESSAGE_BYTES_MAX;

/// What every version's title begins with.
const NAME: &[u8] = b"hutong bundle v";
const TITLE: &[u8] = b"hutong bundle v1\n";
const HASH_CONTEXT: &str = "hutong 2026 v1 bundle";
/// The frames' own version, as in a Hello.
const FRAMES_VERSION: u32 = 1;
const LENGTH_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 16;
/// The longest frame, bytes: what a link carries, a bundle carries.
pub const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// Why a file, or the rest of it, is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It does not begin as a bundle does.
    #[error("the file is no bundle")]
    Title,
    /// A newer program wrote it.
    #[error("the bundle is of a version that this program does not know")]
    Version,
    /// It ends before its last frame does.
    #[error("the bundle is cut off")]
    Truncated,
    /// The bytes are not what was written.
    #[error("the bundle is damaged at byte {0}")]
    Damaged(u64),
    /// What was written is no frame.
    #[error("the bundle holds what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// A frame where none like it belongs.
    #[error("the bundle holds a frame that does not belong there")]
    Unexpected,
    /// More comes after the end.
    #[error("the bundle goes on after its end")]
    Trailing,
}

/// Writes a bundle's bytes, in this order: [`Writer::begin`], any number of [`Writer::run`], [`Writer::end`].
#[derive(Debug)]
pub struct Writer {
    hasher: blake3::Hasher,
}

impl Writer {
    /// The title, and whose records follow.
    pub fn begin(alliance: AllianceId, digest: FrontierDigest) -> (Self, Vec<u8>) {
        let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
        hasher.update(TITLE);
        let mut writer = Self { hasher };
        let mut bytes = TITLE.to_vec();
        bytes.extend(writer.frame(Frame::Hello { versions: vec![FRAMES_VERSION], alliance, digest }));
        (writer, bytes)
    }

    /// A run of one log; none where it is longer than a frame may be, and nothing is written then.
    pub fn run(&mut self, shop: ShopId, run: Vec<proto::Record>) -> Option<Vec<u8>> {
        let message = frame::to_wire(Frame::Records { shop, runs: vec![run], pushed: false });
        (message.encoded_len() <= FRAME_BYTES_MAX).then(|| self.message(&message))
    }

    /// The last frame, without which a bundle is not whole.
    pub fn end(mut self) -> Vec<u8> {
        self.frame(Frame::Goodbye { reason: GoodbyeReason::Shutdown, detail: String::new() })
    }

    fn frame(&mut self, frame: Frame) -> Vec<u8> {
        self.message(&frame::to_wire(frame))
    }

    fn message(&mut self, message: &wire::Frame) -> Vec<u8> {
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).expect("a frame is far shorter than 4 GiB");
        let mut bytes = Vec::with_capacity(LENGTH_BYTES + message.len() + CHECKSUM_BYTES);
        bytes.extend(length.to_be_bytes());
        bytes.extend(message);
        self.hasher.update(&bytes);
        bytes.extend(checksum(&self.hasher));
        bytes
    }
}

/// What a bundle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Whose records follow; always first.
    Begin {
        /// The alliance.
        alliance: AllianceId,
        /// What the writing node's frontier came to.
        digest: FrontierDigest,
    },
    /// Records of one log.
    Runs {
        /// Whose log.
        shop: ShopId,
        /// Unverified.
        runs: Vec<Vec<proto::Record>>,
    },
    /// The bundle is whole.
    End,
}

/// Where in the file a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Title,
    Hello,
    Records,
    Ended,
}

/// Reads a bundle from pieces of any size. It holds one frame and one piece at most; a length beyond
/// [`FRAME_BYTES_MAX`] is refused before anything is kept for it.
#[derive(Debug)]
pub struct Reader {
    buffer: BytesMut,
    hasher: blake3::Hasher,
    place: Place,
    /// Bytes read over.
    offset: u64,
}

impl Default for Reader {
    fn default() -> Self {
        let hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
        Self { buffer: BytesMut::new(), hasher, place: Place::Title, offset: 0 }
    }
}

impl Reader {
    /// Takes the next piece; [`Reader::next_entry`] is to be called until it has nothing more to say.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// What the next frame says; none: more pieces are needed, or it has ended.
    ///
    /// # Errors
    /// Nothing can be read from here on.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, BundleError> {
        if self.place == Place::Title && !self.read_title()? {
            return Ok(None);
        }
        if self.place == Place::Ended {
            return if self.buffer.is_empty() { Ok(None) } else { Err(BundleError::Trailing) };
        }
        let Some(message) = self.read_frame()? else { return Ok(None) };
        let message = wire::Frame::decode(message).map_err(|_| BundleError::Damaged(self.offset))?;
        self.entry(frame::from_wire(message)?).map(Some)
    }

    /// To be asked when no more pieces come.
    ///
    /// # Errors
    /// The bundle is not whole.
    pub fn finish(&self) -> Result<(), BundleError> {
        match self.place {
            Place::Title => Err(BundleError::Title),
            Place::Ended => Ok(()),
            Place::Hello | Place::Records => Err(BundleError::Truncated),
        }
    }

    fn read_title(&mut self) -> Result<bool, BundleError> {
        let seen = self.buffer.len().min(NAME.len());
        if self.buffer[..seen] != NAME[..seen] {
            return Err(BundleError::Title);
        }
        if self.buffer.len() < TITLE.len() {
            return Ok(false);
        }
        if !self.buffer.starts_with(TITLE) {
            return Err(BundleError::Version);
        }
        self.hasher.update(TITLE);
        self.skip(TITLE.len());
        self.place = Place::Hello;
        Ok(true)
    }

    /// The next frame's bytes, if it is here whole and as it was written.
    fn read_frame(&mut self) -> Result<Option<Bytes>, BundleError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(BundleError::Damaged(self.offset));
        }
        let hashed = LENGTH_BYTES + length;
        let Some(told) = self.buffer.get(hashed..hashed + CHECKSUM_BYTES) else { return Ok(None) };
        self.hasher.update(&self.buffer[..hashed]);
        if told != checksum(&self.hasher) {
            return Err(BundleError::Damaged(self.offset));
        }
        let mut frame = self.buffer.split_to(hashed);
        frame.advance(LENGTH_BYTES);
        self.offset += hashed as u64;
        self.skip(CHECKSUM_BYTES);
        Ok(Some(frame.freeze()))
    }

    fn skip(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.offset += bytes as u64;
    }

    fn entry(&mut self, frame: Frame) -> Result<Entry, BundleError> {
        match (self.place, frame) {
            (Place::Hello, Frame::Hello { versions, alliance, digest }) => {
                if !versions.contains(&FRAMES_VERSION) {
                    return Err(BundleError::Version);
                }
                self.place = Place::Records;
                Ok(Entry::Begin { alliance, digest })
            }
            (Place::Records, Frame::Records { shop, runs, .. }) => Ok(Entry::Runs { shop, runs }),
            (Place::Records, Frame::Goodbye { .. }) => {
                self.place = Place::Ended;
                Ok(Entry::End)
            }
            _ => Err(BundleError::Unexpected),
        }
    }
}

fn checksum(hasher: &blake3::Hasher) -> [u8; CHECKSUM_BYTES] {
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
