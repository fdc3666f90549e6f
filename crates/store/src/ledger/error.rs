//! What can go wrong in a ledger, by whose fault.

use hutong_core::{command::DecideError, refusal::Refusal, view::ViewError};
use hutong_record::PayloadError;

use crate::journal::JournalError;

/// The ledger itself failed. After a journal error it must be opened anew; nothing acknowledged is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The views; they are folded anew when next opened.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A record too large to be one.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A record for a shop whose key is not in the roster.
    #[error("a party of the record is not in the roster")]
    UnknownParty,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// The rules say no.
    #[error("{0}")]
    Refused(Refusal),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DecideError> for ExecuteError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Refused(refusal) => Self::Refused(refusal),
            DecideError::View(error) => Self::Ledger(error.into()),
        }
    }
}

impl From<Refusal> for ExecuteError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
