//! A node: a shop's disk and clock, and the process that runs on them while it runs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use hutong_core::ingest::Head;
use hutong_record::{Identity, ShopId};
use hutong_store::{
    disk::MemDisk,
    ledger::{self, HeadAnswer, Ledger, ShopKeys, Signing},
    repair::Repair,
    writer::{Job, Writer},
};
use hutong_sync::{IngestOutcome, LinkId, Replica};

use crate::{clock::Clock, fault::FaultKind, fuse::Fuse, views::SimViews};

/// A shop of the street, by number.
pub(crate) type ShopNumber = usize;
/// A node, by number. The first ones are the shops' own, in their order; clones come after.
pub(crate) type NodeNumber = usize;
/// A till's request, by number.
pub(crate) type RequestNumber = usize;

/// A shop: who it is, and whether it can be relied upon.
pub(crate) struct Shop {
    pub(crate) identity: Identity,
    pub(crate) keys: Arc<ShopKeys>,
    /// Why not everything is promised of it (any more): it cheats, or an old disk or a copy of it was put to work. Of a
    /// shop with an old disk it is still promised that it signs no number twice (LOG-1).
    pub(crate) faulty: Option<FaultKind>,
    /// Records were signed with its key that its node did not sign, or a copy of its node.
    pub(crate) cheated: bool,
    /// Its own node, then clones.
    pub(crate) nodes: Vec<NodeNumber>,
}

impl Shop {
    pub(crate) const fn id(&self) -> ShopId {
        self.identity.id()
    }
}

/// What a node finds on its disk when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// Its own journal, as it left it.
    Own,
    /// An old backup of it.
    Backup,
    /// A copy of the journal of a node that goes on as well.
    Copy,
}

/// A node.
pub(crate) struct Node {
    pub(crate) shop: ShopNumber,
    pub(crate) disk: MemDisk,
    /// What the mark beside the journal says: whether this shop signed here last. It outlives the process, so a node that
    /// stops before its peers have told it its own head asks again.
    pub(crate) mark: ledger::Seat,
    pub(crate) views: Arc<SimViews>,
    pub(crate) clock: Clock,
    pub(crate) fuse: Arc<Fuse>,
    /// How the armed fuse ends the process: with the power.
    pub(crate) power_goes: bool,
    pub(crate) process: Option<Process>,
    /// Starts so far; what was meant for an earlier process is dropped.
    pub(crate) boots: u64,
    /// Shut for good: its disk lost records of its own, which nobody may have.
    pub(crate) shut: bool,
    /// Its disk lost bytes that have not come back yet.
    pub(crate) flipped: bool,
    /// How far each log was durable when it was last told.
    pub(crate) told: BTreeMap<ShopId, Head>,
    /// An old image of the disk.
    pub(crate) backup: Option<Backup>,
    pub(crate) links: BTreeSet<LinkId>,
    /// The members on the circle when it last dialled, and its neighbours among them.
    pub(crate) circle: Option<(Vec<ShopId>, Vec<ShopNumber>)>,
    /// How long to wait before the next dial, ms.
    pub(crate) back_off_ms: i64,
    /// When each shop was last dialled.
    pub(crate) dialled_ms: BTreeMap<ShopNumber, i64>,
    /// When it last received anything from another node.
    pub(crate) heard_ms: i64,
    /// Nodes to which it does not send its own records.
    pub(crate) withheld_from: BTreeSet<NodeNumber>,
}

/// What the hub hears of the writer.
pub(crate) enum Notice {
    /// These logs are durable up to here.
    Committed(Vec<(ShopId, Head)>),
    /// The roster may have changed.
    Roster,
    /// What became of a peer's records.
    Ingested(LinkId, ShopId, IngestOutcome),
    /// A peer is to show its records of a log from a place on.
    Show(LinkId, ShopId, u64),
    /// A peer's proof does not hold.
    Disproved(LinkId),
}

/// What the ledger was last given to weigh of how far its own log goes: answers, own place, members.
pub(crate) type Question = (Vec<HeadAnswer>, (u64, u32), usize);

/// A running node.
pub(crate) struct Process {
    pub(crate) writer: Writer<SimViews>,
    pub(crate) replica: Replica,
    /// What waits for the writer.
    pub(crate) jobs: VecDeque<Job<RequestNumber, LinkId>>,
    /// What waits for the hub.
    pub(crate) notices: VecDeque<Notice>,
    pub(crate) turn_planned: bool,
    pub(crate) hub_planned: bool,
    /// When the replica is next looked after, at the earliest that was planned.
    pub(crate) wake_at_ms: Option<i64>,
    pub(crate) dial_planned: bool,
    pub(crate) question: Option<Question>,
    /// Under way where the journal is damaged.
    pub(crate) repair: Option<Repair<LinkId>>,
    /// What the mark was last written for.
    pub(crate) marked: Signing,
}

/// An image of a disk.
pub(crate) struct Backup {
    pub(crate) disk: MemDisk,
    /// Bytes were lost when it was taken.
    pub(crate) flipped: bool,
}

impl Process {
    pub(crate) fn new(writer: Writer<SimViews>, replica: Replica) -> Self {
        let marked = writer.ledger().signing();
        Self {
            writer,
            marked,
            replica,
            jobs: VecDeque::new(),
            notices: VecDeque::new(),
            turn_planned: false,
            hub_planned: false,
            wake_at_ms: None,
            dial_planned: false,
            question: None,
            repair: None,
        }
    }

    pub(crate) const fn ledger(&self) -> &Ledger<SimViews> {
        self.writer.ledger()
    }
}

impl Node {
    pub(crate) fn new(shop: ShopNumber, disk: MemDisk) -> Self {
        Self {
            shop,
            disk,
            mark: ledger::Seat::Kept,
            views: Arc::default(),
            clock: Clock::default(),
            fuse: Arc::default(),
            power_goes: false,
            process: None,
            boots: 0,
            shut: false,
            flipped: false,
            told: BTreeMap::new(),
            backup: None,
            links: BTreeSet::new(),
            circle: None,
            back_off_ms: 0,
            dialled_ms: BTreeMap::new(),
            heard_ms: 0,
            withheld_from: BTreeSet::new(),
        }
    }

    pub(crate) fn ledger(&self) -> Option<&Ledger<SimViews>> {
        self.process.as_ref().map(Process::ledger)
    }
}
