//! What nodes say to each other: the domain form of `hutong.peer.v1.Frame`, and the checks that need no state.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;
use hutong_record::{AllianceId, RUN_RECORDS_MAX, RecordId, ShopId, proto};

use crate::{
    FrontierDigest,
    limits::{HEADS_PER_FRAME_MAX, RUN_BYTES_MAX, VERSIONS_MAX, WANT_BYTES_MAX},
};

/// One connection's life with one peer. The owner numbers links and never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Which end of a link this node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// It dialled.
    Dialling,
    /// It was dialled.
    Dialled,
}

/// How far a log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Sequence number of the last record, from 1.
    pub sequence: u64,
    /// That record's id.
    pub id: RecordId,
    /// Its incarnation: a log of a later one supersedes a longer one of an earlier.
    pub incarnation: u32,
}

/// How new a copy of a log is: by incarnation, then by length.
pub(crate) type Rank = (u32, u64);

impl Head {
    pub(crate) const fn rank(&self) -> Rank {
        (self.incarnation, self.sequence)
    }

    /// What a peer is told of the id.
    pub fn prefix(&self) -> HeadPrefix {
        prefix_of(&self.id)
    }
}

/// The first 8 bytes of a head's id: enough to notice by chance-free comparison that two logs differ; the records
/// themselves prove it.
pub type HeadPrefix = [u8; 8];

pub(crate) fn prefix_of(id: &RecordId) -> HeadPrefix {
    let mut prefix = HeadPrefix::default();
    prefix.copy_from_slice(&id.as_bytes()[..8]);
    prefix
}

/// How far a peer says that its copy of a log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerHead {
    /// Whose log.
    pub shop: ShopId,
    /// Last sequence number; 0: none.
    pub sequence: u64,
    /// First bytes of that record's id.
    pub head_prefix: HeadPrefix,
    /// Its incarnation.
    pub incarnation: u32,
}

impl PeerHead {
    /// A log of which nothing is held.
    pub(crate) const fn none(shop: ShopId) -> Self {
        Self { shop, sequence: 0, head_prefix: [0; 8], incarnation: 0 }
    }
}

/// Records of one run as they travel, unparsed and unverified.
pub type RawRun = Vec<proto::Record>;

/// Fields and lengths around a record's three parts on the wire.
const RECORD_OVERHEAD_BYTES: usize = 16;

/// About how many bytes a run takes on the wire; never less.
pub fn raw_run_bytes(run: &[proto::Record]) -> usize {
    let bytes =
        |r: &proto::Record| r.header.len() + r.signature.len() + r.payload.len() + RECORD_OVERHEAD_BYTES;
    run.iter().map(bytes).sum()
}

/// Why a link is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GoodbyeReason {
    /// The node stops or pauses federation; dial again later.
    Shutdown,
    /// The other side broke the protocol.
    Protocol,
    /// A record was refused.
    Record,
    /// A newer link of the same pair took over.
    Replaced,
    /// The other side is no member of this alliance.
    Membership,
    /// No common protocol version.
    Version,
}

/// One message of the protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Opens a link, from both sides.
    Hello {
        /// Versions that the sender speaks, ascending.
        versions: Vec<u32>,
        /// The alliance that the link is for.
        alliance: AllianceId,
        /// Of the sender's frontier.
        digest: FrontierDigest,
    },
    /// The sender's logs; sent when digests differ.
    Frontier {
        /// Ascending by shop, over all chunks, at most 512 in each.
        heads: Vec<PeerHead>,
        /// This is the last chunk.
        complete: bool,
    },
    /// A few bits for each bucket of the dialled side's logs, as they were at its Hello; sent when digests differ.
    Sketch {
        /// A power of two, 1 to 512.
        bucket_count: u32,
        /// 12 bits a bucket, two buckets in three bytes.
        bits: Bytes,
    },
    /// The dialling side's logs in the buckets that differ.
    Part {
        /// A power of two, 1 to 512: as many as the coarser sketch has.
        bucket_count: u32,
        /// A bit for each, lowest first: set where they differ.
        buckets: Bytes,
        /// Ascending by shop, over all chunks, at most 512 in each.
        heads: Vec<PeerHead>,
        /// This is the last chunk.
        complete: bool,
        /// Of the sender's logs in all other buckets. Another one than the receiver's: both list all.
        rest: FrontierDigest,
        /// About how many bytes the receiver may send of what the sender lacks, unasked; 0: none.
        fill_bytes_max: u32,
    },
    /// Of which logs in these buckets the dialled side holds more, less or something else; it holds the others as listed.
    Counterpart {
        /// Ascending by shop, over all chunks, at most 512 in each; sequence 0: none of it.
        heads: Vec<PeerHead>,
        /// This is the last chunk.
        complete: bool,
        /// As in a part.
        fill_bytes_max: u32,
    },
    /// The sender has sent what it was let send unasked.
    Filled,
    /// Logs that have grown and are durable at the sender.
    Have {
        /// Ascending by shop, at most 512.
        heads: Vec<PeerHead>,
    },
    /// Asks for records; answered by one Records.
    Want {
        /// Whose log.
        shop: ShopId,
        /// The first sequence number wanted, from 1.
        from_sequence: u64,
        /// About how many bytes, 1 to 1,048,576; at least one run is sent.
        body_bytes_max: u32,
    },
    /// Answers a want, or brings the sender's own new records.
    Records {
        /// Whose log.
        shop: ShopId,
        /// Consecutive runs; empty: the sender has none from there on.
        runs: Vec<RawRun>,
        /// Sent unasked.
        pushed: bool,
    },
    /// Proves that a shop forked its log. Sent ahead of records, and passed on by whoever did not know.
    Alarm {
        /// Whose log, as the sender says.
        shop: ShopId,
        /// Where it forks, as the sender says.
        sequence: u64,
        /// Encoded `hutong.record.v1.ForkProof`, at most 16,384 bytes.
        proof: Bytes,
    },
    /// Closes the link.
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
        /// For the operator, at most 200 characters.
        detail: String,
    },
}

impl Frame {
    /// Its name, in small letters: for metrics and traces.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Frontier { .. } => "frontier",
            Self::Sketch { .. } => "sketch",
            Self::Part { .. } => "part",
            Self::Counterpart { .. } => "counterpart",
            Self::Filled => "filled",
            Self::Have { .. } => "have",
            Self::Want { .. } => "want",
            Self::Records { .. } => "records",
            Self::Goodbye { .. } => "goodbye",
            Self::Alarm { .. } => "alarm",
        }
    }
}

/// What a peer did that the protocol forbids; the text goes into the Goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the first frame is Hello, and only the first")]
    Order,
    #[error("versions are 1 to 16, ascending")]
    Versions,
    #[error("heads are at most 512 in a frame, ascending by shop")]
    Heads,
    #[error("a frontier was sent twice or unasked")]
    Frontier,
    #[error("a sketch has 1 to 512 buckets, a power of two, and 12 bits for each")]
    Sketch,
    #[error("more logs than an alliance has")]
    Logs,
    #[error("a want starts at 1 and asks for 1 to 1048576 bytes")]
    Want,
    #[error("more wants at a time than allowed")]
    Credit,
    #[error("records that nobody asked for")]
    Unasked,
    #[error("records beyond the size or number allowed")]
    Size,
    #[error("records of another log, or with a gap")]
    Log,
    #[error("a want was never answered")]
    Unanswered,
}

pub(crate) fn check_versions(versions: &[u32]) -> Result<(), Fault> {
    let fits = (1..=VERSIONS_MAX).contains(&versions.len()) && versions.is_sorted_by(|a, b| a < b);
    if fits { Ok(()) } else { Err(Fault::Versions) }
}

pub(crate) fn check_heads(heads: &[PeerHead]) -> Result<(), Fault> {
    let fits = heads.len() <= HEADS_PER_FRAME_MAX && heads.is_sorted_by(|a, b| a.shop < b.shop);
    if fits { Ok(()) } else { Err(Fault::Heads) }
}

pub(crate) fn check_want(from_sequence: u64, body_bytes_max: u32) -> Result<(), Fault> {
    let fits = from_sequence > 0 && (1..=WANT_BYTES_MAX).contains(&body_bytes_max);
    if fits { Ok(()) } else { Err(Fault::Want) }
}

/// Checks lengths and sizes of an answer to a want for `asked_bytes`; gives the bytes.
pub(crate) fn check_runs(runs: &[RawRun], asked_bytes: u32) -> Result<usize, Fault> {
    let asked = usize::try_from(asked_bytes).unwrap_or(usize::MAX);
    let mut total = 0usize;
    for run in runs {
        let bytes = raw_run_bytes(run);
        // The budget may be passed by the last run alone.
        if run.is_empty() || run.len() > RUN_RECORDS_MAX || bytes > RUN_BYTES_MAX || total >= asked {
            return Err(Fault::Size);
        }
        total += bytes;
    }
    Ok(total)
}

/// The leading runs that an answer of `asked_bytes` may hold.
pub(crate) fn cut_runs(mut runs: Vec<RawRun>, asked_bytes: u32) -> Vec<RawRun> {
    let fitting = (0..=runs.len()).rev().find(|&n| check_runs(&runs[..n], asked_bytes).is_ok()).unwrap_or(0);
    runs.truncate(fitting);
    runs
}
