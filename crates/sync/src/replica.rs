//! The replica: all links of one node in one alliance.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::ToString as _,
    vec::Vec,
};

use bytes::Bytes;
use hutong_record::{AllianceId, Header, ShopId, UnixMillis};

use crate::{
    ClosedBy, Frame, GoodbyeReason, Head, IngestOutcome, LinkId, Output, RawRun, ReadPurpose, ReadRequest,
    Refusal, Side,
    alarm::Parting,
    fill::Filled,
    frame::{Fault, cut_runs, raw_run_bytes},
    frontier_digest,
    held_back::HeldBack,
    intake::Intake,
    limits::{EXACTS_MAX, LOGS_MAX, VERSIONS, WANT_BYTES},
    link::{Known, Link, Purpose},
};

/// A question for single records, on its way to a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exact {
    pub(crate) link: LinkId,
    pub(crate) sequence: u64,
    pub(crate) bytes_max: u32,
    pub(crate) purpose: Purpose,
}

/// The replication of one alliance at one node.
///
/// After each call the owner takes all of [`Replica::next_output`]. `now` is any clock that does not run backwards
/// in the usual case; a step back costs repeated wants, nothing else.
#[derive(Debug)]
pub struct Replica {
    pub(crate) alliance: AllianceId,
    pub(crate) me: ShopId,
    /// What is durable here.
    pub(crate) heads: BTreeMap<ShopId, Head>,
    /// Whose logs are asked for.
    pub(crate) wanted: BTreeSet<ShopId>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    /// Which link was asked for a log: one at a time.
    pub(crate) wants: BTreeMap<ShopId, LinkId>,
    /// Single records that the owner asked for and that are still to be wanted.
    pub(crate) exacts: BTreeMap<ShopId, Exact>,
    /// What waits for the ladder.
    pub(crate) intakes: BTreeMap<ShopId, Intake>,
    pub(crate) ingest_bytes: usize,
    /// Logs for which something changed, so that a want may be due.
    pub(crate) review: BTreeSet<ShopId>,
    /// Logs that the ladder held back as one link sent them: nobody can hold back what others send.
    pub(crate) held_back: HeldBack,
    /// Who sends unasked what this node lacks: one link at a time.
    pub(crate) filled: Option<Filled>,
    /// No filling before.
    pub(crate) fill_after: Option<UnixMillis>,
    /// Proven forks: where they are, and the proofs.
    pub(crate) alarms: BTreeMap<ShopId, (u64, Bytes)>,
    /// Logs whose branches part before the place that is proven.
    pub(crate) partings: BTreeMap<ShopId, Parting>,
    outputs: VecDeque<Output>,
}

impl Replica {
    /// Of `me`, which holds `heads` durably (at most [`LOGS_MAX`]; those beyond, in order of shop, are left out). It
    /// wants its own log alone until [`Replica::members_changed`].
    pub fn new(alliance: AllianceId, me: ShopId, heads: BTreeMap<ShopId, Head>) -> Self {
        Self {
            alliance,
            me,
            heads: heads.into_iter().take(LOGS_MAX).collect(),
            wanted: BTreeSet::from([me]),
            links: BTreeMap::new(),
            wants: BTreeMap::new(),
            exacts: BTreeMap::new(),
            intakes: BTreeMap::new(),
            ingest_bytes: 0,
            review: BTreeSet::new(),
            held_back: HeldBack::default(),
            filled: None,
            fill_after: None,
            alarms: BTreeMap::new(),
            partings: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do; none: wait for something to happen.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A connection to `peer` is up, by this node's dialling or the peer's. The owner has settled simultaneous dials: an older
    /// link with the same peer is closed.
    pub fn link_up(&mut self, link: LinkId, peer: ShopId, side: Side, now: UnixMillis) {
        let older: Vec<_> = self.links.iter().filter(|(_, l)| l.peer == peer).map(|(id, _)| *id).collect();
        for id in older {
            self.goodbye(id, GoodbyeReason::Replaced, "");
        }
        let digest = frontier_digest(&self.heads);
        self.links.insert(link, Link::new(peer, side, digest, &self.heads, now));
        self.send(link, Frame::Hello { versions: VERSIONS.to_vec(), alliance: self.alliance, digest });
        self.ask(now);
    }

    /// A connection is gone. Unknown links are ignored, for the replica may have closed it itself.
    pub fn link_down(&mut self, link: LinkId, now: UnixMillis) {
        self.forget(link);
        self.ask(now);
    }

    /// A frame arrived. Frames of unknown links are ignored: they were on their way when the link was closed.
    pub fn frame_received(&mut self, link: LinkId, frame: Frame, now: UnixMillis) {
        if !self.links.contains_key(&link) {
            return;
        }
        if let Err(fault) = self.receive(link, frame, now) {
            self.fault(link, fault);
        }
        self.ask(now);
    }

    /// The roster: whose logs are asked for from now on, besides our own; at most [`LOGS_MAX`].
    pub fn members_changed(&mut self, members: impl IntoIterator<Item = ShopId>, now: UnixMillis) {
        self.wanted = members.into_iter().take(LOGS_MAX).collect();
        self.wanted.insert(self.me);
        // What was held back may have been held back for want of this roster.
        self.held_back.clear();
        self.review.extend(self.wanted.iter().copied());
        self.ask(now);
    }

    /// Logs have grown and are durable: own new records, or ones that came another way than [`Output::Ingest`].
    pub fn committed(&mut self, heads: impl IntoIterator<Item = (ShopId, Head)>, now: UnixMillis) {
        self.advance(heads, now);
        self.ask(now);
    }

    /// The answer to an [`Output::Read`]: consecutive runs that begin at the sequence number asked for; none if the
    /// journal has no such record.
    pub fn served(&mut self, read: ReadRequest, runs: Vec<RawRun>, now: UnixMillis) {
        if self.links.contains_key(&read.link) {
            let runs = cut_runs(runs, read.bytes_max);
            match read.purpose {
                ReadPurpose::Answer => self.answer(read, runs),
                ReadPurpose::Push => self.push(read, runs, now),
                ReadPurpose::Fill => self.fill(read, runs),
            }
        }
    }

    /// The answer to an [`Output::Ingest`].
    pub fn ingested(&mut self, link: LinkId, shop: ShopId, outcome: IngestOutcome, now: UnixMillis) {
        let Some(intake) = self.intakes.get_mut(&shop) else { return };
        self.ingest_bytes -= intake.finish().unwrap_or(0);
        let first_refusal = !intake.broken;
        intake.broken |= matches!(outcome, IngestOutcome::Refused(_));
        if intake.len() == 0 {
            self.intakes.remove(&shop);
        }
        self.review.insert(shop);
        match outcome {
            IngestOutcome::Accepted(head) => self.advance([(shop, head)], now),
            IngestOutcome::Refused(refusal) if first_refusal => self.refused(link, shop, refusal, now),
            IngestOutcome::Refused(_) => {}
        }
        self.ask(now);
    }

    fn refused(&mut self, link: LinkId, shop: ShopId, refusal: Refusal, now: UnixMillis) {
        match refusal {
            Refusal::Faulty => self.goodbye(link, GoodbyeReason::Record, "a record was refused"),
            Refusal::Later => self.held_back.insert(link, shop, now),
            Refusal::NotBefore(time) => self.held_back.insert_until(link, shop, time, now),
            Refusal::Diverged => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.blocked.insert(shop);
                }
            }
            Refusal::Earlier => {
                let ours = self.heads.get(&shop).map_or((0, 0), Head::rank);
                if let Some(link) = self.links.get_mut(&link)
                    && !link.go_back(shop, ours)
                {
                    link.blocked.insert(shop);
                }
            }
        }
    }

    /// Asks one link for the run that begins at a sequence number, whether it is held here or not: to look for a
    /// fork. The answer is an [`Output::Evidence`], unless the link goes down first.
    /// False: the link is unknown, or too many such questions are open.
    #[must_use]
    pub fn want_exact(&mut self, link: LinkId, shop: ShopId, sequence: u64, now: UnixMillis) -> bool {
        let (bytes_max, purpose) = (WANT_BYTES, Purpose::Evidence);
        self.want_one(shop, Exact { link, sequence, bytes_max, purpose }, now)
    }

    /// Asks one link for about `bytes_max` bytes (up to [`WANT_BYTES`]) of a log from a sequence number on that was held
    /// here and is lost. The answer is an [`Output::Found`], unless the link goes down first. False: the link is unknown,
    /// or too many such questions are open.
    #[must_use]
    pub fn want_lost(
        &mut self,
        link: LinkId,
        shop: ShopId,
        sequence: u64,
        bytes_max: u32,
        now: UnixMillis,
    ) -> bool {
        let (bytes_max, purpose) = (bytes_max.clamp(1, WANT_BYTES), Purpose::Healing);
        self.want_one(shop, Exact { link, sequence, bytes_max, purpose }, now)
    }

    fn want_one(&mut self, shop: ShopId, exact: Exact, now: UnixMillis) -> bool {
        let room = self.exacts.len() < EXACTS_MAX && !self.exacts.contains_key(&shop);
        if !room || exact.sequence == 0 || !self.links.contains_key(&exact.link) {
            return false;
        }
        self.exacts.insert(shop, exact);
        self.review.insert(shop);
        self.ask(now);
        true
    }

    /// A divergence was dealt with: the log is wanted from every link again.
    pub fn unblock(&mut self, shop: ShopId, now: UnixMillis) {
        for link in self.links.values_mut() {
            link.blocked.remove(&shop);
        }
        self.review.insert(shop);
        self.ask(now);
    }

    /// Ends a link from our side, as on shutdown.
    pub fn close(&mut self, link: LinkId, reason: GoodbyeReason, now: UnixMillis) {
        self.goodbye(link, reason, "");
        self.ask(now);
    }

    fn answer(&mut self, read: ReadRequest, runs: Vec<RawRun>) {
        let Some(link) = self.links.get_mut(&read.link) else { return };
        if link.serving.remove(&read.shop) {
            self.send_runs(read, runs, false);
        }
    }

    /// Sends what was read, and remembers that the peer has it.
    pub(crate) fn send_runs(&mut self, read: ReadRequest, runs: Vec<RawRun>, pushed: bool) {
        let Some(link) = self.links.get_mut(&read.link) else { return };
        let sequence = last_sequence(&read, &runs);
        let head = self.heads.get(&read.shop).filter(|head| head.sequence == sequence);
        let incarnation = head.map_or_else(|| incarnation_of(&runs), |head| head.incarnation);
        let known = Known { sequence, prefix: head.map(Head::prefix), incarnation };
        // It has them as soon as it has read them; there is room, for only logs of ours are served.
        if link.learn(read.shop, known).is_ok() && read.shop == self.me {
            link.push.sent_sequence = link.push.sent_sequence.max(sequence);
        }
        self.send(read.link, Frame::Records { shop: read.shop, runs, pushed });
    }

    pub(crate) fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn send(&mut self, link: LinkId, frame: Frame) {
        self.emit(Output::Send { link, frame });
    }

    pub(crate) fn fault(&mut self, link: LinkId, fault: Fault) {
        self.goodbye(link, GoodbyeReason::Protocol, &fault.to_string());
    }

    pub(crate) fn goodbye(&mut self, link: LinkId, reason: GoodbyeReason, detail: &str) {
        if self.links.contains_key(&link) {
            self.send(link, Frame::Goodbye { reason, detail: detail.into() });
            self.emit(Output::Close { link, reason, by: ClosedBy::Us });
            self.forget(link);
        }
    }

    /// Drops a link's state; what it was asked is asked elsewhere.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.fill_over(link);
        self.exacts.retain(|_, exact| exact.link != link);
        self.held_back.forget(link);
        let Some(gone) = self.links.remove(&link) else { return };
        for shop in gone.asked.into_keys() {
            if self.wants.get(&shop) == Some(&link) {
                self.wants.remove(&shop);
            }
            self.review.insert(shop);
        }
    }

    pub(crate) fn give_up_evidence(&mut self, link: LinkId, shop: ShopId, purpose: Purpose, sequence: u64) {
        match purpose {
            Purpose::CatchUp => {}
            Purpose::Evidence => self.emit(Output::Evidence { link, shop, sequence, runs: Vec::new() }),
            Purpose::Healing => self.emit(Output::Found { link, shop, sequence, runs: Vec::new() }),
        }
    }
}

/// The last sequence number that a read brought; the one before the first if it brought nothing.
pub(crate) fn last_sequence(read: &ReadRequest, runs: &[RawRun]) -> u64 {
    let count = runs.iter().map(|run| run.len() as u64).sum::<u64>();
    (read.from_sequence - 1).saturating_add(count)
}

/// The incarnation of the last record of runs from our own journal; the first one if there is none.
fn incarnation_of(runs: &[RawRun]) -> u32 {
    let last = runs.last().and_then(|run| run.last());
    last.and_then(|record| Header::parse(&record.header).ok()).map_or(0, |header| header.incarnation)
}

pub(crate) fn bytes_of(runs: &[RawRun]) -> usize {
    runs.iter().map(|run| raw_run_bytes(run)).sum()
}
