//! Views: what was folded from the journal, in ordered keys and values, with the journal position that it reflects.
//!
//! None of it is precious: views that are missing, damaged or of another version are thrown away and folded anew.

mod memory;
mod sled;
mod write_behind;

use hutong_core::view::{Batch, Reader, ViewError};

pub use memory::MemViews;
pub use sled::{OpenedViews, RebuildReason, SledViews};

use crate::journal::Lsn;

/// The longest value, bytes. sled moves longer ones into files of their own, which it never syncs.
pub const VALUE_BYTES_MAX: usize = 64_000;
/// The longest key, bytes. Keys are a table's letter and a few ids.
pub const KEY_BYTES_MAX: usize = 512;

/// Views that can be written.
pub trait Views: Reader + Send + Sync {
    /// Stores a group's writes together with the position that the views then reflect: after a crash both are there,
    /// or neither. They can be read at once, and may be lost in a crash; the journal is then replayed from
    /// [`Views::position`].
    ///
    /// # Errors
    /// `Io` if a key passes [`KEY_BYTES_MAX`] or a value [`VALUE_BYTES_MAX`], with nothing stored; `Damaged`; `Io`. The
    /// last two may be about what was applied before.
    fn apply(&self, batch: &Batch, position: Lsn) -> Result<(), ViewError>;

    /// The last journal record that the views reflect; [`Lsn::ZERO`] if they are empty.
    ///
    /// # Errors
    /// `Damaged`; `Io`.
    fn position(&self) -> Result<Lsn, ViewError>;

    /// Throws everything away: no keys, position zero.
    ///
    /// # Errors
    /// `Io`. The views are then unusable until a reset succeeds.
    fn reset(&self) -> Result<(), ViewError>;

    /// Writes out what is in memory, as before a clean stop.
    ///
    /// # Errors
    /// `Damaged`; `Io`.
    fn flush(&self) -> Result<(), ViewError>;

    /// What the views take on the disk, bytes.
    ///
    /// # Errors
    /// `Damaged`; `Io`.
    fn bytes_on_disk(&self) -> Result<u64, ViewError>;
}

/// Refuses a batch that sled could not keep safely. Both twins refuse the same.
fn check_sizes(batch: &Batch) -> Result<(), ViewError> {
    for (key, value) in batch {
        let value_bytes = value.as_ref().map_or(0, Vec::len);
        if key.len() > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX {
            let message = format!(
                "a key of {} bytes with a value of {value_bytes} passes the limits of {KEY_BYTES_MAX} and {VALUE_BYTES_MAX}",
                key.len()
            );
            return Err(ViewError::Io(message));
        }
    }
    Ok(())
}
