//! The hub: one task an alliance that owns the replication state machine and does what comes out of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hutong_core::roster::Standing;
use hutong_record::{Header, Record, ShopId, UnixMillis};
use hutong_store::ledger::{Doubt, HeadAnswer, Patience, QUESTION_MS, Signing, known_forks};
use hutong_sync::{
    Frame, GoodbyeReason, Head, IngestOutcome, LinkId, Output, OwnHead, RawRun, ReadRequest, Refusal,
    Replica, Side,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{healing::Healing, link::NewLink, table::LinkTable};
use crate::{
    alliance::{Hosted, IngestJob, Notice},
    clock,
    metrics::{Direction, DirectionLabels, FrameLabels, Metrics},
    transport::FAREWELL,
};

/// The hub looks after its state machine at least this often, for the clock may have been set back meanwhile.
const REST_MS_MAX: i64 = 10_000;
/// Whoever has opened a link says Hello within this time.
const HELLO_WAIT: Duration = Duration::from_secs(15);
/// How often it is noted how far links are ahead of this node.
const REVIEW: Duration = Duration::from_secs(1);
/// How long members are waited for after an ordinary start.
const QUESTION: Duration = Duration::from_millis(QUESTION_MS.unsigned_abs());
/// Events that wait for the hub; full: links are not read.
const EVENTS_MAX: usize = 256;
/// The largest message on a link: an answer to a want, whose last run may pass the budget.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// How often one link is asked where its branch of a log leaves ours: halving finds the place in far fewer.
const LOOKS_MAX: u32 = 256;
/// Of the records of a run that is served, one in so many keeps its signature: a proof of a fork holds some 60 headers.
const SIGNED_EVERY: usize = 16;
/// With more links than the rings give, those that nobody wants any more are closed.
const LINKS_KEPT: usize = 8;
/// Not before this time, so that a member that comes and goes does not make its stand-in do so, too.
const STAND_IN_KEPT: Duration = Duration::from_secs(60);
/// Records under way on one link: eight answers of 256 KiB with long last runs, and pushes. Only who asks for more without
/// reading what came fills this, and is cut.
const OUT_BYTES_MAX: usize = 16 << 20;
/// Of all links together; above it whoever has more than its share under way is cut.
const OUT_BYTES_OF_ALL_MAX: usize = 64 << 20;
/// That share.
const OUT_BYTES_SHARE: usize = 1 << 20;
/// Links of one alliance: each member once, with room for takeovers.
const LINKS_MAX: usize = 1_024;

/// What happens to the hub.
#[derive(Debug)]
pub enum Event {
    /// A stream is open, in either direction.
    LinkUp(NewLink),
    /// A stream is gone.
    LinkDown(LinkId),
    /// A frame arrived.
    Frame {
        /// On which link.
        link: LinkId,
        /// What.
        frame: Frame,
    },
    /// Something arrived that is no frame.
    Malformed {
        /// On which link.
        link: LinkId,
        /// What is wrong with it.
        error: String,
    },
    /// These are to be linked to; other links that this node dialled are let go when there are too many.
    Wanted(BTreeSet<ShopId>),
    /// Every link is to be closed: federation is paused, or the node stops.
    CloseAll,
}

/// The hub's door.
#[derive(Debug, Clone)]
pub struct HubHandle {
    events: mpsc::Sender<Event>,
    links: Arc<AtomicU64>,
    table: Arc<LinkTable>,
    /// What the hub was last told of wanted links.
    wanted: Arc<Mutex<BTreeSet<ShopId>>>,
}

/// The hub is gone: the node stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node stops")]
pub struct HubGone;

impl HubHandle {
    /// Hands an event over; waits while the hub is busy.
    ///
    /// # Errors
    /// The hub is gone.
    pub async fn send(&self, event: Event) -> Result<(), HubGone> {
        self.events.send(event).await.map_err(|_| HubGone)
    }

    /// False: the hub has stopped, which it does by itself only if it failed.
    pub fn is_running(&self) -> bool {
        !self.events.is_closed()
    }

    /// Tells which links are wanted, if that has changed. Told again at the next occasion where the hub is busy.
    pub fn wants_links_to(&self, wanted: BTreeSet<ShopId>) {
        let mut told = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != wanted && self.events.try_send(Event::Wanted(wanted.clone())).is_ok() {
            *told = wanted;
        }
    }

    /// A number for a new link.
    pub fn next_link(&self) -> LinkId {
        LinkId(self.links.fetch_add(1, Ordering::Relaxed))
    }

    /// How this node stands with each member.
    pub const fn table(&self) -> &Arc<LinkTable> {
        &self.table
    }
}

/// Starts the hub of an alliance. `notices` come from its writer.
pub fn start(
    hosted: Arc<Hosted>,
    notices: mpsc::UnboundedReceiver<Notice>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> HubHandle {
    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let handle = HubHandle { events, links: Arc::default(), table: Arc::default(), wanted: Arc::default() };
    let heads = hosted.reader().frontier().into_iter();
    let heads = heads.map(|(shop, head)| {
        (shop, Head { sequence: head.sequence, id: head.id, incarnation: head.incarnation })
    });
    let heads = heads.collect();
    let replica = Replica::new(hosted.id(), hosted.me(), heads);
    let question = Question { signing: hosted.signing(), since: tokio::time::Instant::now(), put: None };
    let healing = Healing::new(hosted.surveys());
    let hub = Hub {
        replica,
        links: BTreeMap::new(),
        wanted: BTreeSet::new(),
        table: handle.table.clone(),
        hosted,
        question,
        looks: BTreeMap::new(),
        leaving: BTreeMap::new(),
        metrics,
        reviewed: tokio::time::Instant::now(),
        healing,
    };
    tokio::spawn(hub.run(inbox, notices, stop));
    handle
}

/// How far this shop's own log goes: asked after each start.
struct Question {
    signing: watch::Receiver<Signing>,
    since: tokio::time::Instant,
    /// What the ledger was last given to weigh.
    put: Option<Put>,
}

/// What the ledger's verdict depends on.
#[derive(PartialEq, Eq)]
struct Put {
    answers: Vec<HeadAnswer>,
    patience: Patience,
    own_head: u64,
    incarnation: u32,
    members: usize,
    is_member: bool,
}

impl Question {
    fn is_open(&self) -> bool {
        matches!(*self.signing.borrow(), Signing::Unconfirmed(doubt) if doubt != Doubt::Shared)
    }

    /// How long members may still take to answer, if they are waited for.
    fn time_left(&self) -> Option<Duration> {
        let left = QUESTION.checked_sub(self.since.elapsed()).filter(|left| !left.is_zero())?;
        self.is_open().then_some(left)
    }
}

struct Hub {
    replica: Replica,
    links: BTreeMap<LinkId, NewLink>,
    /// Whom the dialler wants to be linked to.
    wanted: BTreeSet<ShopId>,
    table: Arc<LinkTable>,
    hosted: Arc<Hosted>,
    question: Question,
    /// How often a link was asked where its branch of a log leaves ours.
    looks: BTreeMap<(LinkId, ShopId), u32>,
    /// Links to shops that are no members any more, and when they end.
    leaving: BTreeMap<LinkId, tokio::time::Instant>,
    metrics: Arc<Metrics>,
    reviewed: tokio::time::Instant,
    healing: Healing,
}

impl Hub {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Event>,
        mut notices: mpsc::UnboundedReceiver<Notice>,
        stop: CancellationToken,
    ) {
        let mut roster = self.hosted.alliance_changes();
        self.members(&mut roster);
        self.drain();
        loop {
            let rest = self.until_wakeup();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(notice) = notices.recv() => self.noticed(notice),
                Ok(()) = roster.changed() => self.members(&mut roster),
                Some(event) = inbox.recv() => self.happened(event),
                () = self.healing.changed() => {}
                () = tokio::time::sleep(rest) => self.cut_silent(),
            }
            // Here and not in the branch above: under load there is always something else to do.
            self.tick();
            self.see_off();
            self.drain();
            self.confirm();
            self.heal();
            self.review();
        }
        self.close_all();
        self.drain();
    }

    fn members(&mut self, roster: &mut watch::Receiver<Arc<hutong_core::alliance::Alliance>>) {
        let alliance = roster.borrow_and_update().clone();
        let admitted = alliance.roster().iter().filter(|(_, member)| member.was_admitted());
        let open = admitted.filter(|(shop, member)| {
            let held = self.hosted.reader().head_of(*shop).map_or(0, |head| head.sequence);
            member.counts_up_to.is_none_or(|last| held < last)
        });
        let shops: Vec<_> = open.map(|(shop, _)| shop).collect();
        let now = clock::now();
        self.replica.members_changed(shops, now);
        self.spread_proofs(&alliance);
        let am_in = alliance.own_membership().is_ok();
        let is_stranger = |link: &&NewLink| am_in && alliance.roster().member(link.peer).is_none();
        let strangers = self.links.values().filter(is_stranger);
        let end = tokio::time::Instant::now() + FAREWELL;
        let before = std::mem::take(&mut self.leaving);
        self.leaving =
            strangers.map(|link| (link.id, before.get(&link.id).copied().unwrap_or(end))).collect();
    }

    /// Closes links to shops that have had the time to hear that they are no members any more.
    fn see_off(&mut self) {
        let now = tokio::time::Instant::now();
        self.leaving.retain(|id, end| {
            if *end <= now {
                self.replica.close(*id, GoodbyeReason::Membership, clock::now());
            }
            *end > now
        });
    }

    /// Cuts links over which nothing has come since they opened: not even a Hello.
    fn cut_silent(&mut self) {
        let silent = |link: &&NewLink| !link.heard && link.opened.elapsed() >= HELLO_WAIT;
        for id in self.links.values().filter(silent).map(|link| link.id).collect::<Vec<_>>() {
            self.cut(id);
            self.replica.link_down(id, clock::now());
        }
    }

    /// Asks a peer for its records from a place on, to find where its branch of a log leaves ours.
    fn look_into(&mut self, link: LinkId, shop: ShopId, from_sequence: u64) {
        let looks = self.looks.entry((link, shop)).or_default();
        *looks += 1;
        if *looks <= LOOKS_MAX {
            let _ = self.replica.want_exact(link, shop, from_sequence, clock::now());
        }
    }

    /// Passes proven forks on, ahead of records.
    fn spread_proofs(&mut self, alliance: &hutong_core::alliance::Alliance) {
        let forks = known_forks(alliance.roster(), &**self.hosted.views(), &**self.hosted.reader());
        match forks {
            Ok(forks) => {
                for fork in forks {
                    self.replica.proven(fork.shop, fork.sequence, fork.proof.into());
                    if fork.parts_before {
                        self.replica.find_parting(fork.shop, fork.sequence - 1, clock::now());
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the proofs of forks cannot be read"),
        }
    }

    fn tick(&mut self) {
        let now = clock::now();
        if self.replica.next_wakeup().is_some_and(|at| at <= now) {
            self.replica.tick(now);
        }
    }

    /// How long nothing has to be done by itself.
    fn until_wakeup(&self) -> Duration {
        let ms = self.replica.next_wakeup().map_or(REST_MS_MAX, |at| at.ms_since(clock::now()));
        let rest = Duration::from_millis(u64::try_from(ms.clamp(1, REST_MS_MAX)).unwrap_or_default());
        let rest = self.question.time_left().map_or(rest, |left| rest.min(left));
        let end = self.leaving.values().min();
        end.map_or(rest, |end| rest.min(end.saturating_duration_since(tokio::time::Instant::now())))
    }

    /// Has the ledger weigh what linked members say of this shop's own log, until it is confirmed.
    fn confirm(&mut self) {
        if !self.question.is_open() {
            return;
        }
        let alliance = self.hosted.alliance();
        let answer = |head: OwnHead| HeadAnswer {
            peer: head.peer,
            sequence: head.sequence,
            incarnation: head.incarnation,
            id_prefix: head.prefix,
        };
        let put = Put {
            answers: self.replica.own_heads().map(answer).collect(),
            patience: if self.question.time_left().is_some() { Patience::Waits } else { Patience::Over },
            own_head: self.own_head(),
            incarnation: self.hosted.reader().head_of(self.hosted.me()).map_or(0, |head| head.incarnation),
            members: alliance
                .roster()
                .iter()
                .filter(|(_, member)| member.standing == Standing::Member)
                .count(),
            is_member: alliance.own_membership().is_ok(),
        };
        if self.question.put.as_ref() != Some(&put) && self.hosted.confirm(put.answers.clone(), put.patience)
        {
            self.question.put = Some(put);
        }
    }

    /// Has members asked for records that damage took.
    fn heal(&mut self) {
        let peers: Vec<_> = self.links.values().map(|link| (link.id, link.peer)).collect();
        self.healing.step(&mut self.replica, &self.hosted, &peers);
        self.drain();
    }

    fn noticed(&mut self, notice: Notice) {
        let now = clock::now();
        match notice {
            Notice::Committed(heads) => {
                let head = |h: hutong_core::ingest::Head| Head {
                    sequence: h.sequence,
                    id: h.id,
                    incarnation: h.incarnation,
                };
                self.replica.committed(heads.into_iter().map(|(shop, h)| (shop, head(h))), now);
            }
            Notice::Ingested { link, shop, outcome } => self.replica.ingested(link, shop, outcome, now),
            Notice::Show { link, shop, from_sequence } => self.look_into(link, shop, from_sequence),
            Notice::Disproved { link } => self.replica.disproved(link),
            Notice::Healed(outcome) => {
                self.healing.healed(&outcome);
                self.hosted.healed(&outcome);
            }
        }
    }

    fn happened(&mut self, event: Event) {
        let now = clock::now();
        match event {
            Event::LinkUp(link) => self.link_up(link),
            Event::LinkDown(link) => {
                self.cut(link);
                self.replica.link_down(link, now);
            }
            Event::Frame { link, frame } => {
                if let Some(known) = self.links.get_mut(&link) {
                    known.heard = true;
                    self.table.heard(known.peer, now);
                    if let Some(made) = just_made(known.peer, &frame) {
                        self.table.made(known.peer, made, now);
                    }
                }
                self.count(Direction::In, &frame);
                self.replica.frame_received(link, frame, now);
            }
            Event::Malformed { link, error } => {
                tracing::warn!(link = link.0, error, "malformed frame");
                self.replica.close(link, GoodbyeReason::Protocol, now);
            }
            Event::Wanted(wanted) => self.wanted = wanted,
            Event::CloseAll => self.close_all(),
        }
    }

    /// Of two links to one member that were dialled by both at once, the one stays that the lower id dialled, so that
    /// both sides keep the same; of two dialled by the same side, the newer.
    fn link_up(&mut self, link: NewLink) {
        let lower_dialled = |l: &NewLink| l.dialled == (self.hosted.me() < link.peer);
        let rival = self.links.values().find(|l| l.peer == link.peer);
        let loses = rival.is_some_and(|rival| lower_dialled(rival) && !lower_dialled(&link));
        if loses || self.links.len() >= LINKS_MAX {
            link.stop.cancel();
            return;
        }
        let now = clock::now();
        self.table.connected(link.peer, link.version.clone(), now);
        let direction = if link.dialled { Direction::Out } else { Direction::In };
        self.metrics.links_opened.get_or_create(&DirectionLabels { direction }).inc();
        let side = if link.dialled { Side::Dialling } else { Side::Dialled };
        let (id, peer) = (link.id, link.peer);
        tracing::info!(peer = peer.short(), dialled = link.dialled, "link up");
        self.links.insert(id, link);
        self.replica.link_up(id, peer, side, now);
    }

    /// Ends a link at once, whatever waits to go out on it.
    fn cut(&mut self, id: LinkId) {
        if let Some(link) = self.forget(id) {
            link.stop.cancel();
        }
    }

    /// Lets go of a link. What was queued still goes out; then its stream ends, for the sender is gone.
    fn forget(&mut self, id: LinkId) -> Option<NewLink> {
        self.healing.link_down(id);
        let link = self.links.remove(&id)?;
        self.metrics.links_closed.inc();
        self.looks.retain(|(at, _), _| *at != id);
        self.leaving.remove(&id);
        if !self.links.values().any(|l| l.peer == link.peer) {
            tracing::info!(peer = link.peer.short(), "link down");
            self.table.disconnected(link.peer);
        }
        Some(link)
    }

    fn close_all(&mut self) {
        let ids: Vec<_> = self.links.keys().copied().collect();
        for id in ids {
            self.replica.close(id, GoodbyeReason::Shutdown, clock::now());
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.replica.next_output() {
            match output {
                Output::Send { link, frame } => self.send(link, frame),
                Output::Read(request) => self.read(request),
                Output::Ingest { link, shop, runs } => {
                    if !self.hosted.ingest(IngestJob { link, shop, runs }) {
                        let later = IngestOutcome::Refused(Refusal::Later);
                        self.replica.ingested(link, shop, later, clock::now());
                    }
                }
                Output::Evidence { link, shop, runs, .. } => {
                    if !self.hosted.examine(link, shop, runs) {
                        self.replica.unblock(shop, clock::now());
                        tracing::warn!("the writer is busy; evidence of a fork is asked for again later");
                    }
                }
                Output::Found { link, shop, sequence, runs } => {
                    self.healing.found(link, shop, sequence, runs);
                }
                Output::Diverged { link, shop, sequence } => {
                    tracing::warn!(shop = shop.short(), sequence, "a peer holds another record here");
                    self.look_into(link, shop, sequence);
                }
                Output::Alarm { link, proof } => {
                    if !self.hosted.alarm(link, proof) {
                        tracing::warn!(
                            "the writer is busy; a proof of a fork is heard of again with the records"
                        );
                    }
                }
                // A peer may have read a record from the journal before this hub was told of it: no alarm.
                Output::OwnLogAhead { sequence, .. } if self.own_head() >= sequence => {}
                Output::OwnLogAhead { sequence, .. } => {
                    tracing::error!(
                        sequence,
                        "a peer holds more of this shop's own log than this node: was an old backup restored?"
                    );
                }
                // Frames queued before go out first: the stream ends when its sender is gone and its queue empty.
                Output::Close { link, reason, by } => {
                    tracing::debug!(link = link.0, ?reason, ?by, "link closed");
                    self.forget(link);
                }
            }
        }
    }

    /// How far this shop's own log is durable.
    fn own_head(&self) -> u64 {
        self.hosted.reader().head_of(self.hosted.me()).map_or(0, |head| head.sequence)
    }

    fn send(&mut self, link: LinkId, frame: Frame) {
        self.count(Direction::Out, &frame);
        let Some(known) = self.links.get(&link) else { return };
        let bytes = waiting_bytes(&frame);
        let waiting = known.out.bytes() + bytes;
        let of_all = self.links.values().map(|link| link.out.bytes()).sum::<usize>() + bytes;
        let too_much =
            waiting > OUT_BYTES_MAX || (of_all > OUT_BYTES_OF_ALL_MAX && waiting > OUT_BYTES_SHARE);
        if too_much || known.out.put(frame, bytes).is_err() {
            tracing::warn!(peer = known.peer.short(), "the peer does not read: link cut");
            self.cut(link);
            self.replica.link_down(link, clock::now());
        }
    }

    fn count(&self, direction: Direction, frame: &Frame) {
        self.metrics.frames.get_or_create(&FrameLabels { direction, frame: frame.name() }).inc();
        let Frame::Records { runs, pushed, .. } = frame else { return };
        let (records, bytes) = runs.iter().fold((0, 0), |(records, bytes), run| {
            (records + run.len() as u64, bytes + hutong_sync::raw_run_bytes(run) as u64)
        });
        let labels = DirectionLabels { direction };
        self.metrics.sync_records.get_or_create(&labels).inc_by(records);
        self.metrics.sync_bytes.get_or_create(&labels).inc_by(bytes);
        if direction == Direction::In && !pushed {
            self.metrics.round_trips.inc();
        }
    }

    /// Notes from time to time of how many logs each link's other end has more.
    fn review(&mut self) {
        if self.reviewed.elapsed() < REVIEW {
            return;
        }
        self.reviewed = tokio::time::Instant::now();
        self.let_go();
        for status in self.links.keys().filter_map(|id| self.replica.link_status(*id)) {
            self.table.behind(status.peer, status.logs_ahead as u64);
        }
    }

    /// Closes links that stood in for others, or that an older roster wanted, where there are more than enough.
    fn let_go(&mut self) {
        let surplus = self.links.len().saturating_sub(LINKS_KEPT);
        let spare = |link: &&NewLink| {
            link.dialled && !self.wanted.contains(&link.peer) && link.opened.elapsed() >= STAND_IN_KEPT
        };
        for id in self.links.values().filter(spare).map(|link| link.id).take(surplus).collect::<Vec<_>>() {
            self.replica.close(id, GoodbyeReason::Shutdown, clock::now());
        }
        self.drain();
    }

    fn read(&mut self, request: ReadRequest) {
        let runs = self.runs(&request).unwrap_or_else(|error| {
            tracing::error!(%error, "the journal cannot be read for a peer");
            Vec::new()
        });
        self.replica.served(request, runs, clock::now());
    }

    /// Consecutive runs up to the budget.
    fn runs(&self, request: &ReadRequest) -> Result<Vec<RawRun>, hutong_store::journal::JournalError> {
        let budget = usize::try_from(request.bytes_max).unwrap_or(usize::MAX);
        let (mut runs, mut bytes, mut next): (Vec<RawRun>, _, _) = (Vec::new(), 0, request.from_sequence);
        while bytes < budget {
            let records = self.hosted.reader().read_log(request.shop, next, budget - bytes)?;
            let Some(last) = records.last() else { break };
            next = last.header().sequence + 1;
            let run = sparsely_signed(&records);
            bytes += hutong_sync::raw_run_bytes(&run);
            runs.push(run);
        }
        Ok(runs)
    }
}

/// When a peer made the record of its own that it pushes with a frame, by its clock. Nothing is decided by it, so that it
/// need not be verified first.
fn just_made(peer: ShopId, frame: &Frame) -> Option<UnixMillis> {
    let Frame::Records { shop, runs, pushed: true } = frame else { return None };
    let record = runs.last()?.last().filter(|_| *shop == peer)?;
    Header::parse(&record.header).ok().map(|header| header.time)
}

/// What of a frame takes memory while it waits; everything else is small and bounded in number.
fn waiting_bytes(frame: &Frame) -> usize {
    match frame {
        Frame::Records { runs, .. } => runs.iter().map(|run| hutong_sync::raw_run_bytes(run)).sum(),
        Frame::Frontier { heads, .. }
        | Frame::Part { heads, .. }
        | Frame::Counterpart { heads, .. }
        | Frame::Have { heads } => size_of_val(heads.as_slice()),
        Frame::Alarm { proof, .. } => proof.len(),
        _ => 0,
    }
}

/// A run as it travels. An author's log has a signature at each record; the last one covers the run. Some of the others
/// stay, since a proof of a fork needs one near the fork.
pub(crate) fn sparsely_signed(records: &[Record]) -> RawRun {
    let mut run: RawRun = records.iter().map(Record::to_message).collect();
    if let Some((_, covered)) = run.split_last_mut() {
        let others =
            covered.iter_mut().enumerate().filter(|(place, _)| place % SIGNED_EVERY != SIGNED_EVERY - 1);
        others.for_each(|(_, message)| message.signature.clear());
    }
    run
}
