//! The hub: does what comes out of a node's replication state machine, as `hutong-node`'s hub does, and runs the
//! writer's turns.

use hutong_core::{ingest::Head, roster::Standing};
use hutong_record::{Record, ShopId, UnixMillis};
use hutong_store::{
    ledger::{Committed, Doubt, HeadAnswer, Ledger, LedgerError, Patience, Seat, Signing, known_forks},
    writer::{Job, News, Refused},
};
use hutong_sync::{
    Frame, GoodbyeReason, IngestOutcome, LinkId, Output, OwnHead, RawRun, ReadRequest, Refusal, Replica,
};
use rand::RngExt as _;

use crate::{
    check::Invariant,
    clock::MINUTE_MS,
    fuse::Step,
    node::{Node, NodeNumber, Notice, RequestNumber},
    views::SimViews,
    world::{Event, World},
};

/// Jobs that wait for the writer, as in `hutong-node`.
pub(crate) const JOBS_MAX: usize = 1_024;
/// The replica is looked after at least this often while it waits for something, ms.
const REST_MS_MAX: i64 = 10_000;
/// A turn takes as long as a sync does, ms.
const TURN_MS: std::ops::Range<i64> = 1..12;
/// News reach the hub this much later, ms.
const NEWS_MS: std::ops::Range<i64> = 0..4;
/// How often a node looks for what is due, ms; less than a street has to be quiet to be at rest.
const TICK_MS: i64 = 10 * MINUTE_MS;
/// Whose records a cheat plants in its own log; no link has this number.
pub(crate) const OWN_HAND: LinkId = LinkId(0);

type WriterNews = News<RequestNumber, LinkId>;

impl World {
    /// Does something to a node's replica, if it runs, and carries out what comes of it.
    pub(crate) fn replicate(&mut self, node: NodeNumber, act: impl FnOnce(&mut Replica, UnixMillis)) {
        let now = self.clock(node);
        let Some(process) = &mut self.nodes[node].process else { return };
        act(&mut process.replica, now);
        loop {
            self.ask_for_lost(node);
            let next = |process: &mut crate::node::Process| process.replica.next_output();
            let Some(output) = self.nodes[node].process.as_mut().and_then(next) else { break };
            self.carry_out(node, output, now);
        }
        self.ask_own_head(node);
        self.plan_wake(node, now);
    }

    /// Has the ledger weigh what linked members say of this shop's own log, until it is confirmed. Nobody waits for
    /// those who do not answer: where that would do, it does at once.
    fn ask_own_head(&mut self, node: NodeNumber) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let ledger = process.writer.ledger();
        if !matches!(ledger.signing(), Signing::Unconfirmed(doubt) if doubt != Doubt::Shared) {
            return;
        }
        let answer = |head: OwnHead| HeadAnswer {
            peer: head.peer,
            sequence: head.sequence,
            incarnation: head.incarnation,
            id_prefix: head.prefix,
        };
        let answers: Vec<_> = process.replica.own_heads().map(answer).collect();
        let own =
            ledger.head(ledger.alliance().me()).map_or((0, 0), |head| (head.sequence, head.incarnation));
        let roster = ledger.alliance().roster();
        let members = roster.iter().filter(|(_, member)| member.standing == Standing::Member).count();
        let question = (answers.clone(), own, members);
        if process.question.as_ref() != Some(&question) {
            process.question = Some(question);
            self.give(node, Job::Confirm { answers, patience: Patience::Over });
        }
    }

    /// Passes proven forks on, ahead of records.
    fn spread_proofs(&mut self, node: NodeNumber) {
        let Some(ledger) = self.nodes[node].ledger() else { return };
        let known = known_forks(ledger.alliance().roster(), &*ledger.views(), &*ledger.reader());
        let forks = known.unwrap_or_default();
        self.replicate(node, |replica, now| {
            for fork in forks {
                replica.proven(fork.shop, fork.sequence, fork.proof.into());
                if fork.parts_before {
                    replica.find_parting(fork.shop, fork.sequence - 1, now);
                }
            }
        });
    }

    fn plan_wake(&mut self, node: NodeNumber, now: UnixMillis) {
        let (now_ms, boot) = (self.now_ms, self.nodes[node].boots);
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(at) = process.replica.next_wakeup() else { return };
        let at_ms = now_ms + at.ms_since(now).clamp(1, REST_MS_MAX);
        if process.wake_at_ms.is_none_or(|planned| at_ms < planned) {
            process.wake_at_ms = Some(at_ms);
            self.queue.plan(at_ms, Event::Wake(node, boot));
        }
    }

    /// A replica's time has come, unless it was put off meanwhile: the later time is planned, too.
    pub(crate) fn wake(&mut self, node: NodeNumber) {
        let now_ms = self.now_ms;
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.wake_at_ms.is_some_and(|planned| planned > now_ms) {
            return;
        }
        process.wake_at_ms = None;
        self.replicate(node, |replica, now| {
            if replica.next_wakeup().is_some_and(|at| at <= now) {
                replica.tick(now);
            }
        });
    }

    fn carry_out(&mut self, node: NodeNumber, output: Output, now: UnixMillis) {
        match output {
            Output::Send { link, frame } => self.send(node, link, frame),
            Output::Read(request) => {
                let Some(process) = &mut self.nodes[node].process else { return };
                let runs = runs(process.ledger(), &request);
                process.replica.served(request, runs, now);
            }
            Output::Ingest { link, shop, runs } => {
                if !self.give(node, Job::Ingest { peer: link, shop, runs }) {
                    let later = IngestOutcome::Refused(Refusal::Later);
                    if let Some(process) = &mut self.nodes[node].process {
                        process.replica.ingested(link, shop, later, now);
                    }
                }
            }
            Output::Evidence { link, shop, runs, .. } => {
                if !self.give(node, Job::Examine { peer: link, shop, runs })
                    && let Some(process) = &mut self.nodes[node].process
                {
                    process.replica.unblock(shop, now);
                }
            }
            Output::Found { link, shop, sequence, runs } => {
                let process = self.nodes[node].process.as_mut();
                if let Some(repair) = process.and_then(|process| process.repair.as_mut()) {
                    repair.answered(link, shop, sequence, runs);
                }
            }
            Output::Diverged { link, shop, sequence } => {
                self.trace.event(self.now_ms, "diverged", &[node as u64, link.0, sequence]);
                if let Some(process) = &mut self.nodes[node].process {
                    let _asked = process.replica.want_exact(link, shop, sequence, now);
                }
            }
            Output::Alarm { link, proof } => {
                // A writer that is busy hears of it again with the records.
                let _given = self.give(node, Job::Alarm { peer: link, proof });
            }
            Output::OwnLogAhead { sequence, .. } => {
                self.trace.event(self.now_ms, "own log ahead", &[node as u64, sequence]);
            }
            Output::Close { link, .. } => self.close_link(node, link),
        }
    }

    /// Sends a frame, unless a cheat keeps it back.
    fn send(&mut self, node: NodeNumber, link: LinkId, frame: Frame) {
        let from = &self.nodes[node];
        if !from.withheld_from.is_empty() {
            let me = self.shops[from.shop].id();
            let wire = self.network.wires.get(&link);
            let to = wire.map(|wire| wire.ends[usize::from(wire.ends[0] == node)]);
            let own = matches!(&frame, Frame::Records { shop, .. } if *shop == me);
            if own && to.is_some_and(|to| from.withheld_from.contains(&to)) {
                return;
            }
        }
        self.put(node, link, frame);
    }

    /// The writer looks for what is due, now and again after a while.
    pub(crate) fn tick(&mut self, node: NodeNumber) {
        self.look_for_damage(node);
        let _full_queue_looks_too = self.give(node, Job::Tick);
        let boot = self.nodes[node].boots;
        self.after(TICK_MS, Event::Tick(node, boot));
    }

    /// Gives the writer something to do. False: its queue is full, or the node is down.
    pub(crate) fn give(&mut self, node: NodeNumber, job: Job<RequestNumber, LinkId>) -> bool {
        let boot = self.nodes[node].boots;
        let Some(process) = &mut self.nodes[node].process else { return false };
        if process.jobs.len() >= JOBS_MAX {
            return false;
        }
        process.jobs.push_back(job);
        if !std::mem::replace(&mut process.turn_planned, true) {
            let wait_ms = self.rng.random_range(TURN_MS);
            self.after(wait_ms, Event::Turn(node, boot));
        }
        true
    }

    /// The writer carries out a group of what waits.
    pub(crate) fn turn(&mut self, node: NodeNumber) {
        let now = self.clock(node);
        let boot = self.nodes[node].boots;
        let Node { process, fuse, mark, .. } = &mut self.nodes[node];
        let Some(process) = process else { return };
        process.turn_planned = false;
        let Some(first) = process.jobs.pop_front() else { return };
        let mut news = Vec::new();
        let jobs = &mut process.jobs;
        let mut tell = |_: &Ledger<SimViews>, item: WriterNews| {
            let step = match item {
                News::Committed(_) => Step::BeforePublish,
                News::Answered { .. }
                | News::Ingested { .. }
                | News::Show { .. }
                | News::Healed(_)
                | News::Disproved { .. } => Step::BeforeAnswer,
            };
            if fuse.reach(step).is_ok() {
                news.push(item);
            }
        };
        let outcome = process.writer.turn(first, || jobs.pop_front(), &|| now, &mut self.rng, &mut tell);
        let signing = process.ledger().signing();
        if outcome.is_ok() && !fuse.is_blown() && std::mem::replace(&mut process.marked, signing) != signing {
            *mark = if signing == Signing::Confirmed { Seat::Kept } else { Seat::Moved };
        }
        let waits = !process.jobs.is_empty();
        if waits {
            process.turn_planned = true;
            let wait_ms = self.rng.random_range(TURN_MS);
            self.after(wait_ms, Event::Turn(node, boot));
        }
        self.trace.event(self.now_ms, "turn", &[node as u64, news.len() as u64, u64::from(outcome.is_ok())]);
        for item in news {
            self.heard(node, item);
        }
        let blown = self.nodes[node].fuse.reach(Step::AfterAnswer).is_err();
        match outcome {
            _ if blown => self.fuse_blew(node),
            Ok(()) => {}
            Err(error) => self.writer_stopped(node, &error),
        }
    }

    /// The writer stops when its disk fails; anything else is our own fault.
    fn writer_stopped(&mut self, node: NodeNumber, error: &LedgerError) {
        if matches!(error, LedgerError::Journal(hutong_store::journal::JournalError::Io { .. })) {
            self.stop(node, false);
        } else {
            self.broken(Invariant::Live1, format!("node {node}: the writer stopped: {error}"));
        }
    }

    fn heard(&mut self, node: NodeNumber, item: WriterNews) {
        match item {
            News::Committed(committed) => self.committed(node, &committed),
            News::Answered { till, outcome } => self.reply(till, *outcome),
            News::Ingested { peer: OWN_HAND, .. } => {}
            News::Ingested { peer, shop, outcome, .. } => {
                self.notify(node, Notice::Ingested(peer, shop, link_outcome(outcome)));
            }
            News::Show { peer, shop, from_sequence } => {
                self.notify(node, Notice::Show(peer, shop, from_sequence));
            }
            News::Disproved { peer } => self.notify(node, Notice::Disproved(peer)),
            News::Healed(outcome) => {
                let records = outcome.map_or(0, |healed| healed.records);
                self.trace.event(self.now_ms, "healed", &[node as u64, records]);
                if records > 0 {
                    self.progress_ms = self.now_ms;
                    self.look_for_damage(node);
                }
            }
        }
    }

    fn committed(&mut self, node: NodeNumber, committed: &Committed) {
        for (shop, head) in &committed.heads {
            self.progress_ms = self.now_ms;
            self.trace.event(self.now_ms, "committed", &[node as u64, head.sequence]);
            self.trace.bytes(shop.as_bytes());
            self.trace.bytes(head.id.as_bytes());
        }
        self.observe_heads(node, &committed.heads);
        self.nodes[node].told.extend(committed.heads.iter().copied());
        if committed.roster_changed {
            self.notify(node, Notice::Roster);
        }
        if !committed.heads.is_empty() {
            self.notify(node, Notice::Committed(committed.heads.clone()));
        }
    }

    fn notify(&mut self, node: NodeNumber, notice: Notice) {
        let boot = self.nodes[node].boots;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.notices.push_back(notice);
        if !std::mem::replace(&mut process.hub_planned, true) {
            let wait_ms = self.rng.random_range(NEWS_MS);
            self.after(wait_ms, Event::Hub(node, boot));
        }
    }

    /// News reach the hub, in order.
    pub(crate) fn hub(&mut self, node: NodeNumber) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.hub_planned = false;
        for notice in std::mem::take(&mut process.notices) {
            match notice {
                Notice::Committed(heads) => {
                    let heads = heads.into_iter().map(|(shop, head)| (shop, sync_head(head)));
                    self.replicate(node, |replica, now| replica.committed(heads, now));
                }
                Notice::Roster => {
                    self.members(node);
                }
                Notice::Show(link, shop, from_sequence) => self.replicate(node, |replica, now| {
                    let _asked = replica.want_exact(link, shop, from_sequence, now);
                }),
                Notice::Disproved(link) => self.replicate(node, |replica, _| replica.disproved(link)),
                Notice::Ingested(link, shop, outcome) => {
                    self.replicate(node, |replica, now| replica.ingested(link, shop, outcome, now));
                }
            }
        }
    }

    /// Tells the replica whose logs are wanted and which are forked, and closes links with those who are not in any more.
    pub(crate) fn members(&mut self, node: NodeNumber) {
        let Some(ledger) = self.nodes[node].ledger() else { return };
        let (roster, reader) = (ledger.alliance().roster(), ledger.reader());
        let open = |(shop, member): &(ShopId, &hutong_core::roster::Member)| {
            let held = reader.head_of(*shop).map_or(0, |head| head.sequence);
            member.was_admitted() && member.counts_up_to.is_none_or(|last| held < last)
        };
        let shops: Vec<_> = roster.iter().filter(open).map(|(shop, _)| shop).collect();
        let strangers: Vec<_> = match ledger.alliance().own_membership() {
            Err(_) => Vec::new(),
            Ok(_) => {
                let peer = |link: &LinkId| {
                    let wire = self.network.wires.get(link)?;
                    let other = wire.ends[usize::from(wire.ends[0] == node)];
                    Some(self.shops[self.nodes[other].shop].id())
                };
                let strange = |link: &LinkId| peer(link).is_some_and(|shop| roster.member(shop).is_none());
                self.nodes[node].links.iter().copied().filter(strange).collect()
            }
        };
        self.replicate(node, |replica, now| replica.members_changed(shops, now));
        self.spread_proofs(node);
        for link in strangers {
            self.replicate(node, |replica, now| replica.close(link, GoodbyeReason::Membership, now));
        }
        self.plan_dial(node);
    }
}

/// Consecutive runs of a log, up to the budget.
fn runs(ledger: &Ledger<SimViews>, request: &ReadRequest) -> Vec<RawRun> {
    let budget = usize::try_from(request.bytes_max).unwrap_or(usize::MAX);
    let reader = ledger.reader();
    let (mut runs, mut bytes, mut next): (Vec<RawRun>, _, _) = (Vec::new(), 0, request.from_sequence);
    while bytes < budget {
        let Ok(records) = reader.read_log(request.shop, next, budget - bytes) else { break };
        let Some(last) = records.last() else { break };
        next = last.header().sequence + 1;
        let run: RawRun = records.iter().map(Record::to_message).collect();
        bytes += hutong_sync::raw_run_bytes(&run);
        runs.push(run);
    }
    runs
}

pub(crate) fn sync_head(head: Head) -> hutong_sync::Head {
    hutong_sync::Head { sequence: head.sequence, id: head.id, incarnation: head.incarnation }
}

fn link_outcome(outcome: Result<Head, Refused>) -> IngestOutcome {
    match outcome {
        Ok(head) => IngestOutcome::Accepted(sync_head(head)),
        Err(Refused::Faulty) => IngestOutcome::Refused(Refusal::Faulty),
        Err(Refused::Later) => IngestOutcome::Refused(Refusal::Later),
        Err(Refused::NotBefore(time)) => IngestOutcome::Refused(Refusal::NotBefore(time)),
        Err(Refused::Diverged) => IngestOutcome::Refused(Refusal::Diverged),
        Err(Refused::Earlier) => IngestOutcome::Refused(Refusal::Earlier),
    }
}
