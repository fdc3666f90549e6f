//! The ingest ladder: the one way in for records of other nodes. Cheap checks first, nothing is allocated on a peer's
//! word, and each rung has a refusal of its own: size, canonical form, membership, incarnation, sequence and previous id,
//! key epoch, signature, rotation or override, time, payload. What a record then means, [`Alliance::fold`] says; a record that is well signed but
//! makes no sense is kept, so that the chain goes on, and does not count.

use alloc::vec::Vec;
use core::cmp::Ordering;

use hutong_record::{
    AllianceId, Header, OverrideError, PAYLOAD_BYTES_MAX, RUN_RECORDS_MAX, Record, RecordError, RecordId,
    RunError, ShopId, SuccessionError, UnixMillis, VerifiedRun, incarnation_first, incarnation_last, proto,
    proto::Kind,
};

use crate::{alliance::Alliance, charter::CLOCK_AHEAD_MS_MAX};

mod runs;

/// The most records of one message in which a log goes on in a later incarnation: it counts only as a whole, for the
/// records before the one that names the incarnation are outranked by those held. Half of what the journal writes at once;
/// the largest answer of a peer has some 3,000.
pub const BRANCH_RECORDS_MAX: usize = 2_048;

/// How far a log goes at this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Sequence number of the last record.
    pub sequence: u64,
    /// Its id.
    pub id: RecordId,
    /// Its incarnation.
    pub incarnation: u32,
}

/// Why a peer's records are not taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// No records, or more than a run has.
    #[error("a run has 1 to {RUN_RECORDS_MAX} records, not {0}")]
    Length(usize),
    /// A payload beyond its bound.
    #[error("a payload of {0} bytes is beyond {PAYLOAD_BYTES_MAX}")]
    Size(usize),
    /// Not canonical.
    #[error("malformed: {0}")]
    Malformed(#[from] RecordError),
    /// For another alliance.
    #[error("the record belongs to alliance {0:?}")]
    WrongAlliance(AllianceId),
    /// By a shop that was never admitted, as far as this node knows.
    #[error("{0:?} is not a member")]
    NotMember(ShopId),
    /// Under a key that this node does not know.
    #[error("key epoch {0} is unknown")]
    KeyEpoch(u32),
    /// Under a key of an epoch that its author's rotation has ended before this place: whoever signed this has a key that
    /// the shop uses no more.
    #[error("key epoch {0} was over before this record")]
    KeyRetired(u32),
    /// In an incarnation that is not its key epoch's: none may outrank the branches of keys that come later, and an override
    /// must outrank those of all keys before.
    #[error("record {sequence} names incarnation {incarnation}, which is not its key epoch's")]
    Incarnation {
        /// Of the record.
        sequence: u64,
        /// What it names.
        incarnation: u32,
    },
    /// An override that was not ordered by the shop's recovery key, or not for the place where it stands.
    #[error("record {sequence} overrides no key: {source}")]
    Override {
        /// Of the record.
        sequence: u64,
        /// Why.
        source: OverrideError,
    },
    /// A rotation that does not lead to the next epoch, or that the shop's recovery key did not order.
    #[error("record {sequence} rotates no key: {source}")]
    Rotation {
        /// Of the record.
        sequence: u64,
        /// Why.
        source: SuccessionError,
    },
    /// Past the seal of a removed or frozen shop.
    #[error("the log ends at record {0}")]
    Sealed(u64),
    /// Records in between are missing.
    #[error("record {found} does not follow record {head}")]
    Gap {
        /// The last record held.
        head: u64,
        /// What came.
        found: u64,
    },
    /// Records of an incarnation after the one held, on a branch that leaves the log held before their first one: they
    /// are to be asked for from an earlier place.
    #[error("the new incarnation begins before record {0}")]
    Earlier(u64),
    /// Records of an incarnation that a later one, which is held, has superseded.
    #[error("record {0} is superseded by a later incarnation")]
    Superseded(u64),
    /// A record that contradicts the one held: the author may have forked its log.
    #[error("record {} is another than the one held", .0.header().sequence)]
    Diverged(alloc::boxed::Box<Record>),
    /// Without its payload. What an author erases, it erases by a record; nobody else may leave a payload out.
    #[error("record {0} comes without its payload")]
    PayloadMissing(u64),
    /// Not a chain, or not signed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// From too far in the future: not refused, to be asked for again later.
    #[error("held back: dated {0:?}")]
    HeldBack(UnixMillis),
}

impl IngestError {
    /// The stable name of the rung.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length(_) => "LENGTH",
            Self::Size(_) => "SIZE",
            Self::Malformed(_) => "MALFORMED",
            Self::WrongAlliance(_) => "OTHER_ALLIANCE",
            Self::NotMember(_) => "NOT_MEMBER",
            Self::KeyEpoch(_) => "KEY_EPOCH",
            Self::KeyRetired(_) => "KEY_RETIRED",
            Self::Incarnation { .. } => "INCARNATION",
            Self::Override { .. } => "OVERRIDE",
            Self::Rotation { .. } => "ROTATION",
            Self::Sealed(_) => "SEALED",
            Self::Gap { .. } => "GAP",
            Self::Earlier(_) => "EARLIER",
            Self::Superseded(_) => "SUPERSEDED",
            Self::Diverged(_) => "DIVERGED",
            Self::PayloadMissing(_) => "PAYLOAD_MISSING",
            Self::Run(_) => "RUN",
            Self::HeldBack(_) => "HELD_BACK",
        }
    }
}

/// Records that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// They continue the log that is held, at its end or, where [`Admitted::supersedes`], before. At least one run; those that
    /// a rotation or an override ends are followed by one of the epoch to which that leads.
    pub runs: Vec<VerifiedRun>,
    /// The author went on in a new incarnation from an earlier place than is held: what is held from the first of these
    /// records' place on never counts.
    pub supersedes: bool,
}

impl Alliance {
    /// Climbs the ladder with records of one log. `head` is how far the log is held; `held` gives the ids of records
    /// held. `None`: nothing new in them.
    pub fn admit(
        &self,
        messages: Vec<proto::Record>,
        head: impl FnOnce(ShopId) -> Option<Head>,
        held: impl Fn(ShopId, u64) -> Option<RecordId>,
        now: UnixMillis,
    ) -> Result<Option<Admitted>, IngestError> {
        let count = messages.len();
        if !(1..=BRANCH_RECORDS_MAX).contains(&count) {
            return Err(IngestError::Length(count));
        }
        if let Some(message) = messages.iter().find(|m| m.payload.len() > PAYLOAD_BYTES_MAX) {
            return Err(IngestError::Size(message.payload.len()));
        }
        let records = messages.into_iter().map(Record::parse).collect::<Result<Vec<_>, _>>()?;
        let first = records[0].header();
        let shop = first.shop;
        if let Some(record) = records.iter().find(|r| r.header().alliance != self.charter().id) {
            return Err(IngestError::WrongAlliance(record.header().alliance));
        }
        let member = self.judge().shop(shop).filter(|member| member.was_admitted());
        let identity = &member.ok_or(IngestError::NotMember(shop))?.identity;
        let head = head(shop);
        check_incarnations(&records, head)?;
        let (new, supersedes) = continue_log(records, head, |sequence| held(shop, sequence))?;
        let Some(first) = new.first().map(|r| r.header()) else { return Ok(None) };
        // Where the run's only signature lies past the seal, the records before it come with those past it, which do
        // not count.
        if let Some(seal) = self.roster().counts_up_to(shop).filter(|seal| first.sequence > *seal) {
            return Err(IngestError::Sealed(seal));
        }
        if let Some(bare) = new.iter().find(|r| r.payload().is_none()) {
            return Err(IngestError::PayloadMissing(bare.header().sequence));
        }
        let runs = self.verify_runs(new, identity)?;
        let ahead = |record: &&Record| record.header().time.ms_since(now) > CLOCK_AHEAD_MS_MAX;
        match runs.iter().flat_map(VerifiedRun::records).find(ahead) {
            Some(record) => Err(IngestError::HeldBack(record.header().time)),
            None => Ok(Some(Admitted { runs, supersedes })),
        }
    }
}

/// Each epoch's keys name incarnations of their own, and only what comes to a later one than is held may be longer than a
/// run.
fn check_incarnations(records: &[Record], head: Option<Head>) -> Result<(), IngestError> {
    let beyond = |header: &&Header| {
        let Header { incarnation, key_epoch, kind, .. } = **header;
        incarnation > incarnation_last(key_epoch)
            || (kind == Kind::KeyOverride && incarnation < incarnation_first(key_epoch))
    };
    if let Some(Header { sequence, incarnation, .. }) = records.iter().map(Record::header).find(beyond) {
        return Err(IngestError::Incarnation { sequence: *sequence, incarnation: *incarnation });
    }
    let last = records.last().map_or(0, |record| record.header().incarnation);
    let later = last > head.map_or(0, |head| head.incarnation);
    if later || records.len() <= RUN_RECORDS_MAX { Ok(()) } else { Err(IngestError::Length(records.len())) }
}

/// The records that are new, and whether they supersede some that are held. They must follow the head; those up to the
/// head must be the ones held, unless a later incarnation begins among them.
fn continue_log(
    mut records: Vec<Record>,
    head: Option<Head>,
    held: impl Fn(u64) -> Option<RecordId>,
) -> Result<(Vec<Record>, bool), IngestError> {
    let head_sequence = head.map_or(0, |h| h.sequence);
    let differs = |record: &Record| {
        let sequence = record.header().sequence;
        sequence <= head_sequence && held(sequence).is_some_and(|id| id != record.id())
    };
    if let Some(place) = records.iter().position(differs) {
        let branch = records.split_off(place);
        contend(&branch, head, &held)?;
        return Ok((branch, true));
    }
    records.retain(|record| record.header().sequence > head_sequence);
    let new = records;
    let Some(first) = new.first() else { return Ok((new, false)) };
    let sequence = first.header().sequence;
    if sequence != head_sequence + 1 {
        return Err(IngestError::Gap { head: head_sequence, found: sequence });
    }
    let follows = first.header().previous == head.map(|h| h.id)
        && head.is_none_or(|h| first.header().incarnation >= h.incarnation);
    match head {
        _ if follows => Ok((new, false)),
        Some(head) if first.header().previous != Some(head.id) => {
            // It leaves the log that is held before its end.
            contend(&new, Some(head), &held).map(|()| (new, false))
        }
        _ => Err(IngestError::Diverged(alloc::boxed::Box::new(first.clone()))),
    }
}

/// Of two branches the one that comes to a later incarnation counts, where it leaves the other at a place that is held
/// on both; of two that come to the same one, the author signed both.
fn contend(
    branch: &[Record],
    head: Option<Head>,
    held: impl Fn(u64) -> Option<RecordId>,
) -> Result<(), IngestError> {
    let (first, last) = (&branch[0], &branch[branch.len() - 1]);
    let sequence = first.header().sequence;
    let held_incarnation = head.map_or(0, |head| head.incarnation);
    match last.header().incarnation.cmp(&held_incarnation) {
        Ordering::Less => Err(IngestError::Superseded(sequence)),
        Ordering::Equal => Err(IngestError::Diverged(alloc::boxed::Box::new(first.clone()))),
        Ordering::Greater => {
            let before = sequence.checked_sub(1).filter(|before| *before > 0).and_then(held);
            if first.header().previous == before { Ok(()) } else { Err(IngestError::Earlier(sequence)) }
        }
    }
}
