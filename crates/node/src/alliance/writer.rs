//! The writer: one thread an alliance that decides, signs, journals, syncs and folds, in groups. While one group is
//! being synced the next one gathers, so there is no timer. Nobody is answered before the sync: the order is
//! [`hutong_store::writer`]'s.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use hutong_core::{alliance::Alliance, command::Command, ingest::Head, refusal::Refusal};
use hutong_record::{Record, RecordId, ShopId, UnixMillis, proto};
use hutong_store::{
    journal::{Healed, JournalError, Leftover, Lsn, Survey},
    ledger::{Committed, Executed, HeadAnswer, Ledger, LedgerError, Patience, ShopKeys, Signing},
    views::SledViews,
    writer::{self, News, Refused, Taken},
};
use hutong_sync::{IngestOutcome, LinkId, Refusal as LinkRefusal};
use rand::{SeedableRng as _, TryRng as _, rngs::StdRng, rngs::SysRng};
use tokio::sync::{mpsc, oneshot, watch};

use super::{OpenError, queue::Counter, seat::SeatMark};
use crate::{
    clock,
    metrics::{CommandLabels, IngestLabels, NameLabels, Outcome, ReasonLabels},
    telemetry::Telemetry,
    trace::{Place, Rights, Step, Told},
};

type Reply = oneshot::Sender<Result<Executed, Refusal>>;

/// Of one log in one commit; whoever catches up does not trace what is long past.
const TRACED_MAX: u64 = 64;
/// Of this shop's own log in one commit: what its tills did together. More are traces of their own, each.
const OWN_TRACED_MAX: u64 = 256;

/// Who waits for a command, and since when.
pub(super) struct Till {
    reply: Reply,
    command: &'static str,
    queued: Instant,
    queued_at: UnixMillis,
}

impl Till {
    /// Waits from now on.
    pub(super) fn new(reply: Reply, command: &'static str) -> Self {
        Self { reply, command, queued: Instant::now(), queued_at: clock::now() }
    }
}

/// What the writer is asked to do.
pub(super) enum Job {
    Execute {
        command: Box<Command>,
        till: Till,
    },
    Ingest(IngestJob),
    Examine(IngestJob),
    /// Take in a file's records of one log.
    Import {
        source: Source,
        shop: ShopId,
        runs: Vec<Vec<proto::Record>>,
    },
    /// Look for a fork in a file's records of one log.
    Inspect {
        source: Source,
        shop: ShopId,
        runs: Vec<Vec<proto::Record>>,
    },
    Alarm {
        link: LinkId,
        proof: bytes::Bytes,
    },
    Confirm {
        answers: Vec<HeadAnswer>,
        patience: Patience,
    },
    /// Put records back that damage took.
    Heal {
        survey: Arc<Survey>,
        found: Vec<Record>,
        leftover: Leftover,
    },
    /// Time has passed: something may be due.
    Tick,
}

impl From<Job> for writer::Job<Till, Source> {
    fn from(job: Job) -> Self {
        match job {
            Job::Execute { command, till } => Self::Execute { command, till },
            Job::Ingest(IngestJob { link, shop, runs }) => {
                Self::Ingest { peer: Source::Link(link), shop, runs }
            }
            Job::Examine(IngestJob { link, shop, runs }) => {
                Self::Examine { peer: Source::Link(link), shop, runs }
            }
            Job::Import { source, shop, runs } => Self::Ingest { peer: source, shop, runs },
            Job::Inspect { source, shop, runs } => Self::Examine { peer: source, shop, runs },
            Job::Alarm { link, proof } => Self::Alarm { peer: Source::Link(link), proof },
            Job::Confirm { answers, patience } => Self::Confirm { answers, patience },
            Job::Heal { survey, found, leftover } => Self::Heal { survey, found, leftover },
            Job::Tick => Self::Tick,
        }
    }
}

/// Where records come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A peer.
    Link(LinkId),
    /// A file; what became of its records is told here, once.
    Bundle(mpsc::Sender<Taken>),
}

/// A peer's records of one log.
#[derive(Debug)]
pub struct IngestJob {
    /// Whom they came from.
    pub link: LinkId,
    /// Whose log.
    pub shop: ShopId,
    /// Unverified.
    pub runs: Vec<Vec<proto::Record>>,
}

/// What the writer tells the alliance's hub, in order.
#[derive(Debug)]
pub enum Notice {
    /// These logs are durable up to here.
    Committed(Vec<(ShopId, Head)>),
    /// What became of an [`IngestJob`].
    Ingested {
        /// Whom they came from.
        link: LinkId,
        /// Whose log.
        shop: ShopId,
        /// What became of them.
        outcome: IngestOutcome,
    },
    /// The peer's branch of a log leaves the one held elsewhere: it is to show its records from this place on.
    Show {
        /// Who.
        link: LinkId,
        /// Whose log.
        shop: ShopId,
        /// From where.
        from_sequence: u64,
    },
    /// The peer sent a proof that does not hold.
    Disproved {
        /// Who.
        link: LinkId,
    },
    /// What came of putting records back that damage took.
    Healed(Result<Healed, JournalError>),
}

/// Where the writer's news goes.
pub(super) struct Outlets {
    pub(super) state: watch::Sender<Arc<Alliance>>,
    pub(super) position: watch::Sender<Lsn>,
    pub(super) signing: watch::Sender<Signing>,
    /// Unbounded: the hub hands jobs over without waiting, and the writer must not wait for the hub in turn. At most
    /// two notices for each job.
    pub(super) notices: mpsc::UnboundedSender<Notice>,
    /// Which files this shop signs on.
    pub(super) seat: SeatMark,
    /// Who watches.
    pub(super) telemetry: Telemetry,
    /// For reading what a record is about.
    pub(super) keys: Arc<ShopKeys>,
}

/// What a turn has told so far.
#[derive(Default)]
struct Turn {
    roster_changed: bool,
    /// A peer's records were refused for now.
    later: bool,
    /// The journal's head before the last commit.
    position: Lsn,
    /// Where logs ended before the last commit; kept where records are traced.
    heads: BTreeMap<ShopId, u64>,
    begun: Option<UnixMillis>,
    /// Questions for rights, of this turn and those before.
    rights: Rights,
    /// Where this turn's own records belong that do not stand alone.
    places: BTreeMap<RecordId, Place>,
}

/// Starts the thread. It ends when the door is closed, with all views stored, or when the journal fails.
pub(super) fn start(
    ledger: Ledger<SledViews>,
    jobs: Counter<Job>,
    outlets: Outlets,
) -> Result<(), OpenError> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|_| OpenError::System("random bytes"))?;
    let rng = StdRng::from_seed(seed);
    outlets.say_how_it_starts(&ledger);
    let name = format!("writer-{}", ledger.id().short());
    let writer = writer::Writer::new(ledger);
    let thread = std::thread::Builder::new().name(name).spawn(move || run(writer, outlets, rng, jobs));
    thread.map(drop).map_err(|_| OpenError::System("thread"))
}

fn run(mut writer: writer::Writer<SledViews>, outlets: Outlets, mut rng: StdRng, jobs: Counter<Job>) {
    let mut rights = Rights::default();
    while let Some(first) = jobs.wait() {
        if let Err(error) = turn(&mut writer, &outlets, &mut rng, &mut rights, first, &jobs) {
            tracing::error!(%error, "the writer stops: nothing unsynced was acknowledged");
            return;
        }
    }
    if let Err(error) = hutong_store::views::Views::flush(&*writer.ledger().views()) {
        tracing::warn!(%error, "views were not flushed; they are folded again at the next start");
    }
}

fn turn(
    writer: &mut writer::Writer<SledViews>,
    outlets: &Outlets,
    rng: &mut StdRng,
    rights: &mut Rights,
    first: Job,
    jobs: &Counter<Job>,
) -> Result<(), LedgerError> {
    let mut of_till = matches!(first, Job::Execute { .. });
    let next = || {
        let job = jobs.next(of_till)?;
        of_till |= matches!(job, Job::Execute { .. });
        Some(job.into())
    };
    let mut told = Turn::begin(writer.ledger(), outlets.telemetry.spans.is_some());
    told.rights = std::mem::take(rights);
    let mut tell = |ledger: &Ledger<SledViews>, news| outlets.tell(ledger, news, &mut told);
    writer.turn(first.into(), next, &clock::now, rng, &mut tell)?;
    *rights = std::mem::take(&mut told.rights);
    if told.roster_changed && told.later {
        // The hub may have heard of the new roster before it heard of the refusals that the old one gave.
        outlets.state.send_modify(|_| {});
    }
    Ok(())
}

impl Outlets {
    fn tell(&self, ledger: &Ledger<SledViews>, news: News<Till, Source>, told: &mut Turn) {
        match news {
            News::Committed(committed) => {
                told.roster_changed |= committed.roster_changed;
                self.count_commit(ledger, &committed, told);
                self.publish(ledger, committed);
                self.publish_signing(ledger);
            }
            // The till may have hung up meanwhile; its answer is kept under its request id.
            News::Answered { till, outcome } => {
                self.count_answer(ledger, &till, &outcome, told);
                drop(till.reply.send(*outcome));
            }
            News::Ingested { peer, shop, outcome, taken } => {
                told.later |= outcome == Err(Refused::Later);
                let labels = IngestLabels { outcome: ingest_word(&outcome) };
                self.telemetry.metrics.ingests.get_or_create(&labels).inc();
                match peer {
                    Source::Link(link) => {
                        self.notify(Notice::Ingested { link, shop, outcome: link_outcome(outcome) });
                    }
                    // Whoever read the file may have gone; the records are here all the same.
                    Source::Bundle(reader) => drop(reader.try_send(taken)),
                }
            }
            News::Show { peer: Source::Link(link), shop, from_sequence } => {
                self.notify(Notice::Show { link, shop, from_sequence });
            }
            News::Disproved { peer: Source::Link(link) } => self.notify(Notice::Disproved { link }),
            News::Healed(outcome) => {
                self.count_healed(ledger, &outcome);
                self.notify(Notice::Healed(outcome));
            }
            // A file has nothing more to show.
            News::Show { peer: Source::Bundle(_), .. } | News::Disproved { peer: Source::Bundle(_) } => {}
        }
    }

    /// The newest segment may be another file now, which is as much this shop's own.
    fn count_healed(&self, ledger: &Ledger<SledViews>, outcome: &Result<Healed, JournalError>) {
        let Ok(healed) = outcome else { return };
        self.telemetry.metrics.journal_healed_records.inc_by(healed.records);
        if healed.segments > 0 && ledger.signing() == Signing::Confirmed {
            self.mark(Signing::Confirmed);
        }
    }

    fn count_answer(
        &self,
        ledger: &Ledger<SledViews>,
        till: &Till,
        outcome: &Result<Executed, Refusal>,
        turn: &Turn,
    ) {
        let (metrics, command) = (&self.telemetry.metrics, till.command);
        let came_to = if outcome.is_ok() { Outcome::Done } else { Outcome::Refused };
        metrics.commands.get_or_create(&CommandLabels { command, outcome: came_to }).inc();
        let waited = till.queued.elapsed().as_secs_f64();
        metrics.command_seconds.get_or_create(&NameLabels { command }).observe(waited);
        match outcome {
            Err(refusal) => {
                metrics.refusals.get_or_create(&ReasonLabels { reason: refusal.reason.code() }).inc();
            }
            Ok(executed) => {
                let Some(spans) = &self.telemetry.spans else { return };
                let (author, step) = (ledger.alliance().me(), Step::Wrote { command });
                let (begun, ended) = (till.queued_at, clock::now());
                for record in &executed.records {
                    let place = turn.places.get(record).copied();
                    spans.tell(Told { record: *record, author, step, begun, ended, place });
                }
            }
        }
    }

    fn count_commit(&self, ledger: &Ledger<SledViews>, committed: &Committed, turn: &mut Turn) {
        let records = committed.position.0.saturating_sub(turn.position.0);
        turn.position = committed.position;
        if records > 0 {
            #[allow(clippy::cast_precision_loss, reason = "a group has at most thousands")]
            self.telemetry.metrics.group_records.observe(records as f64);
        }
        self.trace_commit(ledger, committed, turn);
    }

    /// Tells of other shops' records that have just become durable here, and of this shop's answers to them; its tills'
    /// records are told of when the tills are answered.
    fn trace_commit(&self, ledger: &Ledger<SledViews>, committed: &Committed, turn: &mut Turn) {
        let Some(spans) = &self.telemetry.spans else { return };
        let (me, ended) = (ledger.alliance().me(), clock::now());
        let begun = turn.begun.unwrap_or(ended);
        for (shop, head) in &committed.heads {
            let before = turn.heads.insert(*shop, head.sequence).unwrap_or_default();
            let most = if *shop == me { OWN_TRACED_MAX } else { TRACED_MAX };
            if head.sequence.saturating_sub(before) > most {
                continue;
            }
            for record in &new_records(ledger, *shop, before + 1, head.sequence) {
                let open = |record: &Record| self.keys.open(record, me);
                let (place, kind) = (turn.rights.place(record, open), record.header().kind);
                let answers = matches!(kind, proto::Kind::VoucherTransfer | proto::Kind::RightDenial);
                let step = match (*shop == me, place) {
                    (false, _) => Step::TookIn { kind: kind.as_str_name() },
                    (true, Some(_)) if answers => Step::Wrote { command: "answer_right" },
                    (true, Some(place)) => {
                        turn.places.insert(record.id(), place);
                        continue;
                    }
                    (true, None) => continue,
                };
                spans.tell(Told { record: record.id(), author: *shop, step, begun, ended, place });
            }
        }
    }

    fn publish(&self, ledger: &Ledger<SledViews>, committed: Committed) {
        if committed.roster_changed {
            self.state.send_replace(Arc::new(ledger.alliance().clone()));
        }
        self.position.send_replace(committed.position);
        if !committed.heads.is_empty() {
            self.notify(Notice::Committed(committed.heads));
        }
    }

    fn say_how_it_starts(&self, ledger: &Ledger<SledViews>) {
        match ledger.signing() {
            Signing::Confirmed => self.mark(Signing::Confirmed),
            Signing::Unconfirmed(doubt) if !doubt.passes() => tracing::warn!(
                doubt = doubt.code(),
                members = ledger.confirming_peers(),
                "these files are a copy, a backup or damaged: nothing is signed until so many members have told how far \
                 this shop's log goes"
            ),
            Signing::Unconfirmed(doubt) => tracing::debug!(doubt = doubt.code(), "members are asked"),
            Signing::Forked => {}
        }
    }

    /// Says so where signing has become possible, or has ceased to be.
    fn publish_signing(&self, ledger: &Ledger<SledViews>) {
        let now = ledger.signing();
        if *self.signing.borrow() == now {
            return;
        }
        match now {
            Signing::Confirmed => tracing::info!("this shop's log is confirmed; it signs"),
            Signing::Forked => tracing::error!(
                "this shop's log has two branches, both signed with its key: it signs nothing more. Was it run from two \
                 copies of its folder? Core members must admit it anew"
            ),
            Signing::Unconfirmed(doubt) => tracing::error!(
                doubt = doubt.code(),
                "another copy of this shop signs: stop it, then start this one anew if it is the one to go on"
            ),
        }
        self.mark(now);
        self.signing.send_replace(now);
    }

    /// Whoever starts on these files next must know whether they are the ones in which this shop signs.
    fn mark(&self, now: Signing) {
        let marked = if now == Signing::Confirmed { self.seat.keep(false) } else { self.seat.give_up() };
        if let Err(error) = marked {
            tracing::warn!(%error, "the seat mark was not written; members will be asked at the next start");
        }
    }

    fn notify(&self, notice: Notice) {
        // The hub is gone only when the node stops.
        let _ = self.notices.send(notice);
    }
}

/// The records of a log from one place to another. What cannot be read is not traced.
fn new_records(ledger: &Ledger<SledViews>, shop: ShopId, from: u64, until: u64) -> Vec<Record> {
    let (mut next, mut all) = (from, Vec::new());
    while next <= until {
        let records = ledger.reader().read_log(shop, next, usize::MAX).unwrap_or_default();
        let Some(last) = records.last() else { break };
        next = last.header().sequence + 1;
        all.extend(records);
    }
    all
}

impl Turn {
    fn begin(ledger: &Ledger<SledViews>, traced: bool) -> Self {
        let reader = ledger.reader();
        let mut turn = Self { position: reader.head(), ..Self::default() };
        if traced {
            turn.heads = reader.frontier().into_iter().map(|(shop, head)| (shop, head.sequence)).collect();
            turn.begun = Some(clock::now());
        }
        turn
    }
}

const fn ingest_word(outcome: &Result<Head, Refused>) -> &'static str {
    match outcome {
        Ok(_) => "accepted",
        Err(Refused::Faulty) => "faulty",
        Err(Refused::Later | Refused::NotBefore(_)) => "later",
        Err(Refused::Diverged) => "diverged",
        Err(Refused::Earlier) => "earlier",
    }
}

fn link_outcome(outcome: Result<Head, Refused>) -> IngestOutcome {
    match outcome {
        Ok(Head { sequence, id, incarnation }) => {
            IngestOutcome::Accepted(hutong_sync::Head { sequence, id, incarnation })
        }
        Err(Refused::Faulty) => IngestOutcome::Refused(LinkRefusal::Faulty),
        Err(Refused::Later) => IngestOutcome::Refused(LinkRefusal::Later),
        Err(Refused::NotBefore(time)) => IngestOutcome::Refused(LinkRefusal::NotBefore(time)),
        Err(Refused::Diverged) => IngestOutcome::Refused(LinkRefusal::Diverged),
        Err(Refused::Earlier) => IngestOutcome::Refused(LinkRefusal::Earlier),
    }
}
