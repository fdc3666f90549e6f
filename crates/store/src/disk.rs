//! A folder of files, with the few operations that the journal needs.
//!
//! [`OsDisk`] is the system's; [`MemDisk`] lives in memory, is deterministic, and can lose power, space or bits.

mod memory;
mod os;

use std::io;

pub use memory::{MemDisk, MemFile};
pub(crate) use os::lock_file;
pub use os::{LOCK_FILE, OsDisk, OsFile};

/// A folder of files. Names are plain file names, without a path.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Creates an empty file. It survives a power cut only after [`Disk::sync_folder`].
    ///
    /// # Errors
    /// `AlreadyExists`, or what the system says.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Renames a file, replacing what had the name. Survives a power cut only after [`Disk::sync_folder`].
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Survives a power cut only after [`Disk::sync_folder`].
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Names of the files, ascending.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// What the system says. What was not durable before may then be lost, whatever a later call says.
    fn sync_folder(&self) -> io::Result<()>;
}

/// An open file: read anywhere, written at its end.
pub trait DiskFile: Send + Sync + 'static {
    /// Length, bytes.
    ///
    /// # Errors
    /// What the system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before, or what the system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes at the end. Survives a power cut only after [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// What the system says (`StorageFull`, for one). Some of the bytes may have been written.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file back to `bytes`.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// Makes contents and length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the system says. What was not durable before may then be lost, whatever a later call says.
    fn sync_data(&self) -> io::Result<()>;
}
