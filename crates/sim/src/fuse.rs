//! Fuses: where in its work a node stops short. A fuse sits between the real ledger and the real journal, and in the
//! writer's outlets; once blown, nothing of the node works until it is started again.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use hutong_record::Record;
use hutong_store::{
    disk::MemDisk,
    journal::{Healed, Journal, JournalError, JournalReader, Leftover, Lsn, SegmentJournal, Survey},
};

/// A step of the writer's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Decided and signed, nothing written.
    BeforeAppend,
    /// Written, not synced.
    BeforeSync,
    /// Durable, not in the views.
    BeforeViews,
    /// In the views, nobody was told.
    BeforePublish,
    /// The hub was told, the tills were not.
    BeforeAnswer,
    /// Some were answered.
    AfterAnswer,
}

impl Step {
    pub(crate) const ALL: [Self; 6] = [
        Self::BeforeAppend,
        Self::BeforeSync,
        Self::BeforeViews,
        Self::BeforePublish,
        Self::BeforeAnswer,
        Self::AfterAnswer,
    ];
}

/// The fuse has blown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blown;

impl From<Blown> for JournalError {
    fn from(_: Blown) -> Self {
        Self::Io { kind: std::io::ErrorKind::Other, message: "the node has stopped".into() }
    }
}

/// One node's fuse.
#[derive(Debug, Default)]
pub(crate) struct Fuse {
    armed: Mutex<Option<Step>>,
    blown: AtomicBool,
}

impl Fuse {
    /// To blow when the node next comes to this step.
    pub(crate) fn arm(&self, step: Option<Step>) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    /// Whole again, for a new start.
    pub(crate) fn replace(&self) {
        self.arm(None);
        self.blown.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_blown(&self) -> bool {
        self.blown.load(Ordering::Relaxed)
    }

    /// The node comes to a step.
    pub(crate) fn reach(&self, step: Step) -> Result<(), Blown> {
        let armed = *self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if armed == Some(step) {
            self.blown.store(true, Ordering::Relaxed);
        }
        if self.is_blown() { Err(Blown) } else { Ok(()) }
    }
}

/// A journal behind a fuse.
pub(crate) struct FusedJournal {
    pub(crate) journal: SegmentJournal<MemDisk>,
    pub(crate) fuse: Arc<Fuse>,
}

impl Journal for FusedJournal {
    fn head(&self) -> Lsn {
        self.journal.head()
    }

    fn append(&mut self, expected: Lsn, batch: &[Record]) -> Result<Lsn, JournalError> {
        self.fuse.reach(Step::BeforeAppend)?;
        let head = self.journal.append(expected, batch)?;
        self.fuse.reach(Step::BeforeSync)?;
        Ok(head)
    }

    fn sync(&mut self) -> Result<Lsn, JournalError> {
        let head = self.journal.sync()?;
        self.fuse.reach(Step::BeforeViews)?;
        Ok(head)
    }

    fn heal(
        &mut self,
        survey: &Survey,
        found: Vec<Record>,
        leftover: Leftover,
    ) -> Result<Healed, JournalError> {
        self.fuse.reach(Step::BeforeAppend)?;
        self.journal.heal(survey, found, leftover)
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        self.journal.reader()
    }
}
