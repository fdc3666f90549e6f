//! The journal: every record that this node holds of one alliance, in the order in which it came.
//!
//! It knows nothing of meaning: which shops may write, whether signatures hold and what a payload says was checked
//! before a record comes here. It keeps each shop's log whole, and it keeps the bytes.

mod frame;
mod heal;
mod index;
mod reader;
mod recovery;
mod scan;
mod scrub;
mod segment;
mod sidecar;
mod survey;
mod writer;

use std::{fmt, io, sync::Arc};

use hutong_record::{Header, Record, RecordId, ShopId, UnixMillis};

pub use frame::FRAME_BYTES_MAX;
pub use heal::{Healed, Leftover, SET_ASIDE_MAX, SetAside};
pub use scrub::{Scrub, ScrubStep};
pub use segment::SEGMENT_BYTES_LIMIT;
pub use survey::{Hole, Lost, SURVEY_ENTRIES_MAX, Survey};
pub use writer::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, SegmentJournal};

/// A place in the journal: record number n, counted from 1, has Lsn n. As a head: how many records there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The latest record of one shop's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// Its sequence number, from 1.
    pub sequence: u64,
    /// Its id.
    pub id: RecordId,
    /// Its incarnation.
    pub incarnation: u32,
    /// When its author says that it was written.
    pub time: UnixMillis,
}

impl LogHead {
    fn of(record: &Record) -> Self {
        let header = record.header();
        Self {
            sequence: header.sequence,
            id: record.id(),
            incarnation: header.incarnation,
            time: header.time,
        }
    }
}

/// How a journal is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalConfig {
    /// A segment that has grown to so many bytes is sealed before the next batch. Default 64 MiB, at most
    /// [`SEGMENT_BYTES_LIMIT`].
    pub segment_bytes_max: u32,
    /// Mixed into the checksums of new segments. Make it random for each journal: then nobody can craft a payload
    /// that, found after damage, passes for a stored frame.
    pub checksum_seed: u32,
}

impl JournalConfig {
    /// Segments of 64 MiB: large enough that their indexes stay few, small enough to rewrite or heal at once.
    pub const SEGMENT_BYTES_MAX: u32 = 64 << 20;

    /// The usual layout with this seed.
    pub const fn new(checksum_seed: u32) -> Self {
        Self { segment_bytes_max: Self::SEGMENT_BYTES_MAX, checksum_seed }
    }
}

/// A part of the journal that cannot be read any more. Nothing in it is served; what surrounds it is.
///
/// If it held the last record of a log, [`JournalReader::head_of`] names an earlier one. So with any damage, a node must
/// learn its own head from its peers before it signs again (LOG-1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment file, `<8 hex digits>.seg`.
    pub segment: u32,
    /// Where in the file it begins, bytes.
    pub offset: u64,
    /// How long it is, bytes. 0 if the whole file is missing.
    pub bytes: u64,
    /// The first record lost.
    pub first: Lsn,
    /// How many records are lost; 0 if only a header or a spare byte was hit.
    pub records: u64,
    /// The records lost, by log, as far as later records of the same log tell.
    pub missing: Vec<MissingRecords>,
}

impl Damage {
    /// The segment's file.
    pub fn file(&self) -> String {
        segment::segment_name(self.segment)
    }
}

/// Consecutive records of one log that are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingRecords {
    /// Whose log.
    pub shop: ShopId,
    /// The first sequence number lost.
    pub from_sequence: u64,
    /// The last sequence number lost.
    pub to_sequence: u64,
}

/// What may be gone from the end of a log, as found when the journal was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TailLoss {
    /// Nothing that was ever acknowledged, unless the disk lies.
    Nothing,
    /// The journal ended in a batch that was not written to its end: nobody was told of it, unless the disk lies.
    Torn,
    /// The bytes there are not what was written, so acknowledged records may be gone, and with them the numbers that
    /// they used up (LOG-1).
    Damaged,
}

/// Why the journal cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Somebody else appended, or the caller is behind. Nothing was written.
    #[error("the journal's head is {head}, not {expected}")]
    Conflict {
        /// What the caller took for the head.
        expected: Lsn,
        /// The head.
        head: Lsn,
    },
    /// A record that does not continue its shop's log. Nothing was written.
    #[error("record {sequence} of shop {} does not continue its log, which ends at {head}", shop.short())]
    NotNext {
        /// Whose log.
        shop: ShopId,
        /// Of the record.
        sequence: u64,
        /// The log's last sequence number; 0 if it has none.
        head: u64,
    },
    /// More than [`BATCH_RECORDS_MAX`] records or [`BATCH_BYTES_MAX`] bytes at once. Nothing was written.
    #[error("a batch of {records} records and {bytes} bytes is too large")]
    BatchTooLarge {
        /// How many records it has.
        records: usize,
        /// How many bytes were encoded before giving up.
        bytes: usize,
    },
    /// The bytes at this place are not what was written. Ask the peers for them.
    #[error(
        "segment {segment:08x} is damaged at byte {offset}, record {lsn}; the journal can be read again from record {resume}"
    )]
    Damaged {
        /// Number of the segment file.
        segment: u32,
        /// Where in it, bytes.
        offset: u64,
        /// The first record that cannot be read.
        lsn: Lsn,
        /// A later record from which reading can go on; one past the head if there is none.
        resume: Lsn,
    },
    /// Written by a newer program.
    #[error("segment {segment:08x} has format {format}, which this program does not know")]
    Format {
        /// Number of the segment file.
        segment: u32,
        /// Its format.
        format: u16,
    },
    /// An earlier write or sync failed, so that nobody knows what the disk holds. Open the journal anew.
    #[error("the journal was closed by an earlier failure")]
    Poisoned,
    /// The system refused to read or write.
    #[error("the journal's disk failed: {message}")]
    Io {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// What the system says.
        message: String,
    },
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Io { kind: error.kind(), message: error.to_string() }
    }
}

/// The one writer of a journal. It may live on another machine; whoever appends states the head it expects.
pub trait Journal: Send {
    /// The last record appended, synced or not.
    fn head(&self) -> Lsn;

    /// Appends a batch: after a crash all of it is there, or none. A record continues its log, or supersedes its end:
    /// it may follow any record of the log if the batch takes the log on to a later incarnation, and what was there
    /// after that one does not belong to the log any more. At most [`BATCH_RECORDS_MAX`] records and
    /// [`BATCH_BYTES_MAX`] bytes. Nothing is durable, or visible to readers, before [`Journal::sync`]. Returns the
    /// new head.
    ///
    /// # Errors
    /// `Conflict`, `NotNext` and `BatchTooLarge` leave the journal as it was. Any other closes it for good.
    fn append(&mut self, expected: Lsn, batch: &[Record]) -> Result<Lsn, JournalError>;

    /// Makes all that was appended durable, then visible. Returns the head, up to which records may now be acknowledged.
    ///
    /// # Errors
    /// Any error closes the journal for good: after a failed sync, nobody knows what the disk holds.
    fn sync(&mut self) -> Result<Lsn, JournalError>;

    /// Puts records back that damage took: `found` are those among `survey.lost` that peers had, each the one that its
    /// successor names (a range of them whole or not at all). Every record keeps its place in the journal. Syncs what was
    /// appended before. Nothing is done if the journal was healed since the survey was made.
    ///
    /// # Errors
    /// The disk's, as for want of room for a second copy of the damaged segment; if the journal cannot go on, it says
    /// `Poisoned` from then on.
    fn heal(
        &mut self,
        survey: &Survey,
        found: Vec<Record>,
        leftover: Leftover,
    ) -> Result<Healed, JournalError>;

    /// A reader, to be shared; it outlives the writer.
    fn reader(&self) -> Arc<dyn JournalReader>;
}

/// Reads what was synced, from any thread.
pub trait JournalReader: Send + Sync {
    /// The last record synced.
    fn head(&self) -> Lsn;

    /// Records in journal order from `from` on (0 is taken for 1): at most `records_max`, ending with the one that
    /// reaches `bytes_max` encoded bytes, so at least one if there is any. Empty past the head.
    ///
    /// # Errors
    /// `Damaged` if the first of them cannot be read (ahead of later damage, what comes before it is returned); `Io`.
    fn read(
        &self,
        from: Lsn,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(Lsn, Record)>, JournalError>;

    /// Consecutive records of one shop from `from_sequence` on (0 is taken for 1), ending with a signed one: as many
    /// as reach `bytes_max` encoded bytes, yet always one signed stretch, and at most
    /// [`hutong_record::RUN_RECORDS_MAX`]. Empty if there is no such record.
    ///
    /// # Errors
    /// `Damaged` if the first signed stretch cannot be read; `Io`.
    fn read_log(
        &self,
        shop: ShopId,
        from_sequence: u64,
        bytes_max: usize,
    ) -> Result<Vec<Record>, JournalError>;

    /// The end of a shop's log, if it has one.
    fn head_of(&self, shop: ShopId) -> Option<LogHead>;

    /// The id of one record, if it is there.
    ///
    /// # Errors
    /// `Damaged` if it is there and cannot be read; `Io`.
    fn record_id(&self, shop: ShopId, sequence: u64) -> Result<Option<RecordId>, JournalError>;

    /// The id of one record, if it is there and can be read.
    ///
    /// # Errors
    /// `Io`.
    fn readable_id(&self, shop: ShopId, sequence: u64) -> Result<Option<RecordId>, JournalError> {
        match self.record_id(shop, sequence) {
            Err(JournalError::Damaged { .. }) => Ok(None),
            held => held,
        }
    }

    /// The end of every log, ascending by shop.
    fn frontier(&self) -> Vec<(ShopId, LogHead)>;

    /// What the journal's files take, bytes.
    fn bytes_on_disk(&self) -> u64;

    /// How many records can be read; less than the head if some are lost.
    fn record_count(&self) -> u64;

    /// What is known to be lost, as found when the journal was opened or when a pass over it ended, whichever was later.
    fn damage(&self) -> Vec<Damage>;

    /// Reads the next part of the journal again, about so many bytes, and checks each record against its checksum and
    /// against its successor. The pass is at its end once it says what it found; it can then be begun anew.
    ///
    /// # Errors
    /// `Io`.
    fn scrub(&self, pass: &mut Scrub, bytes_max: u32) -> Result<ScrubStep, JournalError>;

    /// How many records were put back since the journal was opened. Damage that is not told any more is counted here.
    fn healed_count(&self) -> u64;

    /// Damaged segments that are kept beside the journal, at most [`SET_ASIDE_MAX`].
    fn set_aside(&self) -> Vec<SetAside>;

    /// Whether a record, which may still be read by its place in the journal, does not belong to its log any more: the
    /// log went on in a later incarnation from an earlier place.
    fn is_superseded(&self, lsn: Lsn, header: &Header) -> bool;

    /// The last record by which others became superseded; 0 if none did.
    fn last_switch(&self) -> Lsn;

    /// Whether a log may once have gone further than [`JournalReader::head_of`] says, as found when the journal was
    /// opened. Damage before a log's last record is no doubt about its end.
    fn tail_loss(&self, shop: ShopId) -> TailLoss;
}
