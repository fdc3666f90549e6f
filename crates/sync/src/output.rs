//! What the owner is to do, and what it answers.

use alloc::vec::Vec;

use bytes::Bytes;
use hutong_record::{ShopId, UnixMillis};

use crate::{Frame, GoodbyeReason, Head, LinkId, RawRun};

/// What the owner is to do. Outputs are taken in order; frames of one link go out in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a frame.
    Send {
        /// Where to.
        link: LinkId,
        /// What.
        frame: Frame,
    },
    /// Read the journal and answer with [`crate::Replica::served`].
    Read(ReadRequest),
    /// Hand the runs to the ingest ladder and answer with [`crate::Replica::ingested`], once for each, and in order
    /// for the runs of one shop.
    Ingest {
        /// Whom they came from.
        link: LinkId,
        /// Whose log.
        shop: ShopId,
        /// Unverified; they claim to continue the log that we hold.
        runs: Vec<RawRun>,
    },
    /// The answer to [`crate::Replica::want_exact`]; not to be stored. Empty: the peer has none, or did not answer.
    Evidence {
        /// Whom it came from.
        link: LinkId,
        /// Whose log.
        shop: ShopId,
        /// The sequence number that was asked for.
        sequence: u64,
        /// Unverified.
        runs: Vec<RawRun>,
    },
    /// The answer to [`crate::Replica::want_lost`]. Empty: the peer has none, or did not answer.
    Found {
        /// Whom it came from.
        link: LinkId,
        /// Whose log.
        shop: ShopId,
        /// The sequence number that was asked for.
        sequence: u64,
        /// Unverified.
        runs: Vec<RawRun>,
    },
    /// The peer's record at this place is another than ours. The log is not wanted from this link any more, until
    /// [`crate::Replica::unblock`]. Said once per link and shop.
    Diverged {
        /// Whose copy differs.
        link: LinkId,
        /// Whose log.
        shop: ShopId,
        /// Where they are known to differ; they may differ before.
        sequence: u64,
    },
    /// A peer says that it holds more of this node's own log than the node does: the node's disk was lost or is an
    /// old backup, and nothing may be signed before the log is back. A claim, not a proof. Said once per link.
    OwnLogAhead {
        /// Who says so.
        link: LinkId,
        /// How far the peer's copy goes.
        sequence: u64,
    },
    /// A peer says that it can prove a fork. To be verified; what holds is told to [`crate::Replica::proven`], what does
    /// not to [`crate::Replica::disproved`].
    Alarm {
        /// Who says so.
        link: LinkId,
        /// Encoded `hutong.record.v1.ForkProof`, unverified.
        proof: Bytes,
    },
    /// Close the connection, after what was sent before on it. The replica has forgotten the link.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        reason: GoodbyeReason,
        /// Whose wish it was.
        by: ClosedBy,
    },
}

/// Who ended a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// This node; a Goodbye was sent.
    Us,
    /// The peer; a Goodbye came.
    Peer,
}

/// Records to read from the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRequest {
    /// For whom.
    pub link: LinkId,
    /// Whose log.
    pub shop: ShopId,
    /// First sequence number, from 1.
    pub from_sequence: u64,
    /// Stop after about this many bytes, but read at least one run; no run above [`crate::limits::RUN_BYTES_MAX`].
    pub bytes_max: u32,
    /// What for.
    pub purpose: ReadPurpose,
}

/// What records are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPurpose {
    /// The peer wants them.
    Answer,
    /// They are our own and new.
    Push,
    /// The peer lacks them and lets them come unasked.
    Fill,
}

/// What became of an [`Output::Ingest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestOutcome {
    /// All of it is durable; the log's head is now this.
    Accepted(Head),
    /// Some or all of it was refused. If a part was stored, [`crate::Replica::committed`] was told before.
    Refused(Refusal),
}

/// What a refusal means for the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No honest node sends this: the link is closed.
    Faulty,
    /// Not now: a roster or key that is not here yet. Asked for again later.
    Later,
    /// Not before this time: its author's clock is ahead. Asked for again then.
    NotBefore(UnixMillis),
    /// It continues another branch of the log: not wanted from this link any more.
    Diverged,
    /// It is of a later incarnation, which leaves the log held before these records: wanted from an earlier place.
    Earlier,
}
