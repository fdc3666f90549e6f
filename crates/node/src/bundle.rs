//! Bundles: the records that a node holds of one alliance as a file, to be carried to a node that has no line.
//!
//! A bundle says what a link between two members would say, in the frames of a link: Hello, the runs of every log, Goodbye.
//!
//! ```text
//! hutong bundle v1\n
//! frames: length u32, big-endian | hutong.peer.v1.Frame | checksum, 16 bytes
//! ```
//!
//! A checksum is the beginning of the BLAKE3 hash over all that lies before it, so that a frame that was flipped, moved or
//! left out is noticed before it is read. Who may be believed, the signatures say: the importing node takes the records up
//! the ladder that a peer's records climb.

mod export;
mod format;
mod import;

pub use export::{Export, ExportError, Piece};
pub use format::{BundleError, Entry, FRAME_BYTES_MAX, Reader, Writer};
pub use import::{Counts, Import, ImportError};

/// A piece of a bundle on its way over the merchant port, bytes: below what one request may have there.
pub const CHUNK_BYTES_MAX: usize = 128 << 10;
