//! The street and all that is in it, and what happens next.

use std::{collections::BTreeMap, sync::Arc};

use hutong_core::{charter::Charter, refusal::Refusal};
use hutong_record::{ShopId, UnixMillis};
use hutong_store::ledger::Executed;
use hutong_sync::LinkId;
use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    check::{Checks, Invariant, Violation},
    config::Config,
    fault::{FaultCounts, FaultKind},
    flash::FlashSale,
    memory::Memory,
    network::{Cut, Network},
    node::{Node, NodeNumber, RequestNumber, Shop, ShopNumber},
    offers::Offer,
    queue::Queue,
    storm::Mishap,
    tills::Request,
    trace::Trace,
    workload::Deed,
};

/// What a till is told.
pub(crate) type Outcome = Result<Executed, Refusal>;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame reaches an end of a link.
    Deliver(LinkId, usize),
    /// An end of a link finds that it is gone.
    LinkLost(LinkId, usize),
    /// A connection that is cut off goes down at an end, if it still is cut off.
    KeepAlive(LinkId, usize),
    /// A node looks whom it is not linked to.
    Dial(NodeNumber, u64),
    /// A replica's time has come.
    Wake(NodeNumber, u64),
    /// The writer's turn is over: its group is carried out.
    Turn(NodeNumber, u64),
    /// News reach the hub.
    Hub(NodeNumber, u64),
    /// A till's request reaches its node.
    Ask(RequestNumber),
    /// A till repeats a request that was answered.
    AskAgain(RequestNumber),
    /// A till has waited long enough for the answer to its nth try.
    Impatient(RequestNumber, u32),
    /// An answer reaches its till.
    Answer(RequestNumber, Box<Outcome>),
    /// A node looks whether the voucher's home has answered.
    Confirm(RequestNumber),
    /// A node looks for what is due.
    Tick(NodeNumber, u64),
    /// A customer does something.
    Customer(Deed),
    /// Something goes wrong.
    Mishap(Mishap),
    /// What was cut is joined.
    Rejoin(Cut),
    /// A node that is down starts.
    Start(NodeNumber),
    /// A clock is set right.
    SetClock(NodeNumber),
    /// A disk has room again.
    Room(NodeNumber),
    /// A cheat stops to keep records back.
    Reveal(NodeNumber),
    /// The slow checks.
    Check,
}

/// Whether things go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Everything works.
    Calm,
    /// Faults are on.
    Storm,
}

/// The street.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) rng: StdRng,
    pub(crate) now_ms: i64,
    /// When a log last grew or a till was last answered.
    pub(crate) progress_ms: i64,
    pub(crate) weather: Weather,
    pub(crate) queue: Queue<Event>,
    pub(crate) trace: Trace,
    pub(crate) charter: Charter,
    /// What all shops have found of signatures.
    pub(crate) memory: Arc<Memory>,
    pub(crate) shops: Vec<Shop>,
    numbers: BTreeMap<ShopId, ShopNumber>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) requests: Vec<Request>,
    pub(crate) offers: Vec<Offer>,
    /// The flash sale, once it has begun.
    pub(crate) flash: Option<FlashSale>,
    pub(crate) presentations_left: u32,
    /// No customer sets out after this.
    pub(crate) closing_ms: i64,
    pub(crate) checks: Checks,
    pub(crate) faults: FaultCounts,
    pub(crate) violation: Option<Violation>,
}

impl World {
    pub(crate) fn new(config: &Config, charter: Charter, shops: Vec<Shop>, rng: StdRng) -> Self {
        let nodes = (0..shops.len()).map(|shop| Node::new(shop, hutong_store::disk::MemDisk::new()));
        Self {
            config: config.clone(),
            rng,
            now_ms: 0,
            progress_ms: 0,
            weather: Weather::Calm,
            queue: Queue::new(),
            trace: Trace::new(),
            charter,
            memory: Arc::default(),
            nodes: nodes.collect(),
            network: Network::default(),
            requests: Vec::new(),
            offers: Vec::new(),
            flash: None,
            presentations_left: config.redemptions,
            closing_ms: i64::from(config.days) * crate::clock::DAY_MS,
            checks: Checks::new(shops.len()),
            numbers: shops.iter().enumerate().map(|(number, shop)| (shop.id(), number)).collect(),
            shops,
            faults: FaultCounts::of(config.faults),
            violation: None,
        }
    }

    pub(crate) fn seeded(seed: u64) -> StdRng {
        StdRng::seed_from_u64(seed)
    }

    /// Plans something for later.
    pub(crate) fn after(&mut self, ms: i64, event: Event) {
        self.queue.plan(self.now_ms + ms, event);
    }

    /// What a node's clock shows.
    pub(crate) fn clock(&self, node: NodeNumber) -> UnixMillis {
        self.nodes[node].clock.read(self.now_ms)
    }

    /// The shop with an id; none: it is a stranger.
    pub(crate) fn shop_number(&self, id: ShopId) -> Option<ShopNumber> {
        self.numbers.get(&id).copied()
    }

    /// Whether everything is promised of a node's shop.
    pub(crate) fn is_honest(&self, node: NodeNumber) -> bool {
        self.shops[self.nodes[node].shop].faulty.is_none()
    }

    /// Whether a shop is honest, and not shut for good.
    pub(crate) fn is_sound(&self, shop: ShopNumber) -> bool {
        let shop = &self.shops[shop];
        shop.faulty.is_none() && shop.nodes.iter().all(|node| !self.nodes[*node].shut)
    }

    /// Honest nodes that run, or could.
    pub(crate) fn honest_nodes(&self) -> impl Iterator<Item = NodeNumber> {
        (0..self.nodes.len()).filter(|n| self.is_honest(*n) && !self.nodes[*n].shut)
    }

    /// Whether a kind of fault strikes now, where it is on.
    pub(crate) fn strikes(&mut self, kind: FaultKind, chance: f64) -> bool {
        use rand::RngExt as _;
        let on = self.weather == Weather::Storm && self.config.faults.has(kind);
        on && self.rng.random_bool(chance)
    }

    /// An invariant broke. The first one ends the run.
    pub(crate) fn broken(&mut self, invariant: Invariant, what: impl Into<String>) {
        let (at_ms, event) = (self.now_ms, self.trace.event_count());
        self.violation.get_or_insert(Violation { invariant, what: what.into(), at_ms, event });
    }

    /// Takes note of the outcome of a check.
    pub(crate) fn expect(&mut self, outcome: Result<(), (Invariant, String)>) {
        if let Err((invariant, what)) = outcome {
            self.broken(invariant, what);
        }
    }

    /// The next thing up to a time happens. False: nothing is left to, or an invariant broke.
    pub(crate) fn step(&mut self, until_ms: i64) -> bool {
        if self.violation.is_some() {
            return false;
        }
        let Some((at_ms, event)) = self.queue.next_until(until_ms) else { return false };
        self.now_ms = self.now_ms.max(at_ms);
        self.happen(event);
        self.violation.is_none()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(link, end) => self.deliver(link, end),
            Event::LinkLost(link, end) => self.link_lost(link, end),
            Event::KeepAlive(link, end) => self.keep_alive(link, end),
            Event::Dial(node, boot) if self.runs(node, boot) => self.dial(node),
            Event::Wake(node, boot) if self.runs(node, boot) => self.wake(node),
            Event::Turn(node, boot) if self.runs(node, boot) => self.turn(node),
            Event::Hub(node, boot) if self.runs(node, boot) => self.hub(node),
            Event::Tick(node, boot) if self.runs(node, boot) => self.tick(node),
            Event::Dial(..) | Event::Wake(..) | Event::Turn(..) | Event::Hub(..) | Event::Tick(..) => {}
            Event::Ask(request) => self.arrive(request),
            Event::AskAgain(request) => self.ask_again(request),
            Event::Impatient(request, tries) => self.impatient(request, tries),
            Event::Answer(request, outcome) => self.answered(request, *outcome),
            Event::Confirm(request) => self.confirm(request),
            Event::Customer(deed) => self.customer(deed),
            Event::Mishap(mishap) => self.mishap(mishap),
            Event::Rejoin(cut) => self.rejoin(cut),
            Event::Start(node) => self.start(node, crate::node::Seat::Own),
            Event::SetClock(node) => self.set_clock(node),
            Event::Room(node) => self.nodes[node].disk.limit_space(None),
            Event::Reveal(node) => self.nodes[node].withheld_from.clear(),
            Event::Check => self.slow_checks(),
        }
    }

    /// Whether the process for which something was meant still runs.
    fn runs(&self, node: NodeNumber, boot: u64) -> bool {
        let node = &self.nodes[node];
        node.process.is_some() && node.boots == boot
    }
}
