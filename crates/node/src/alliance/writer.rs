//! The writer: one thread an alliance that decides, signs, journals, syncs and folds, in groups. While one group is
//! being synced the next one gathers, so there is no timer. Nobody is answered before the sync.

use std::sync::Arc;

use hutong_core::{
    alliance::Alliance,
    command::Command,
    ingest::{Head, IngestError},
    refusal::{Reason, Refusal},
};
use hutong_record::{ShopId, proto};
use hutong_store::{
    journal::Lsn,
    ledger::{
        Committed, Examined, ExecuteError, Executed, HeadAnswer, Ledger, LedgerError, Patience, ProofTaken,
        Signing,
    },
    views::SledViews,
};
use hutong_sync::{IngestOutcome, LinkId, Refusal as LinkRefusal};
use prost::Message as _;
use rand::{SeedableRng as _, TryRng as _, rngs::StdRng, rngs::SysRng};
use tokio::sync::{mpsc, oneshot, watch};

use super::{OpenError, internal, seat::SeatMark};
use crate::clock;

/// Records in one group: a sync costs as much as signing some tens of them, and a batch must fit the journal's bound.
const GROUP_RECORDS_MAX: usize = 512;

/// What the writer is asked to do.
pub(super) enum Job {
    Execute { command: Box<Command>, reply: oneshot::Sender<Result<Executed, Refusal>> },
    Ingest(IngestJob),
    Examine(IngestJob),
    Alarm { link: LinkId, proof: bytes::Bytes },
    Confirm { answers: Vec<HeadAnswer>, patience: Patience },
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
}

/// Where the writer's news goes.
pub(super) struct Outlets {
    pub(super) state: watch::Sender<Arc<Alliance>>,
    pub(super) position: watch::Sender<Lsn>,
    pub(super) signing: watch::Sender<Signing>,
    /// Unbounded: the hub hands jobs over without waiting, and the writer must not wait for the hub in turn. At most
    /// two notices for each job.
    pub(super) notices: mpsc::UnboundedSender<Notice>,
}

/// Who waits for the group's sync.
enum Waiting {
    Till(oneshot::Sender<Result<Executed, Refusal>>, Box<Result<Executed, Refusal>>),
    Peer { link: LinkId, shop: ShopId, refused: Option<LinkRefusal> },
}

/// Starts the thread. It ends when all senders of jobs are gone, or when the journal fails.
pub(super) fn start(
    ledger: Ledger<SledViews>,
    seat: SeatMark,
    jobs: mpsc::Receiver<Job>,
    outlets: Outlets,
) -> Result<(), OpenError> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|_| OpenError::System("random bytes"))?;
    let rng = StdRng::from_seed(seed);
    let writer = Writer { ledger, seat, outlets, rng, roster_changed: false };
    writer.say_how_it_starts();
    let name = format!("writer-{}", writer.ledger.id().short());
    let thread = std::thread::Builder::new().name(name).spawn(move || writer.run(jobs));
    thread.map(drop).map_err(|_| OpenError::System("thread"))
}

struct Writer {
    ledger: Ledger<SledViews>,
    seat: SeatMark,
    outlets: Outlets,
    rng: StdRng,
    /// The group that is carried out has changed the roster.
    roster_changed: bool,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            if let Err(error) = self.group(first, &mut jobs) {
                tracing::error!(%error, "the writer stops: nothing unsynced was acknowledged");
                return;
            }
        }
        if let Err(error) = hutong_store::views::Views::flush(&*self.ledger.views()) {
            tracing::warn!(%error, "views were not flushed; they are folded again at the next start");
        }
    }

    /// Carries out the first job and those that wait behind it, commits them together, then answers.
    fn group(&mut self, first: Job, jobs: &mut mpsc::Receiver<Job>) -> Result<(), LedgerError> {
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            waiting.extend(self.carry_out(job)?);
            next = if self.ledger.staged_count() < GROUP_RECORDS_MAX { jobs.try_recv().ok() } else { None };
        }
        let committed = self.ledger.commit()?;
        self.publish(committed);
        self.publish_signing();
        let told_later =
            |who: &Waiting| matches!(who, Waiting::Peer { refused: Some(LinkRefusal::Later), .. });
        let too_early = std::mem::take(&mut self.roster_changed) && waiting.iter().any(told_later);
        waiting.into_iter().for_each(|who| self.answer(who));
        if too_early {
            // The hub may have heard of the new roster before it hears of the refusals that the old one gave.
            self.outlets.state.send_modify(|_| {});
        }
        Ok(())
    }

    fn carry_out(&mut self, job: Job) -> Result<Option<Waiting>, LedgerError> {
        match job {
            Job::Execute { command, reply } => {
                let outcome = match self.ledger.execute(&command, clock::now(), &mut self.rng) {
                    Ok(executed) => Ok(executed),
                    Err(ExecuteError::Refused(refusal)) => Err(refusal),
                    Err(ExecuteError::Ledger(LedgerError::Payload(error))) => Err(internal(&error)),
                    Err(ExecuteError::Ledger(LedgerError::UnknownParty)) => {
                        Err(Refusal::new(Reason::MemberUnknown))
                    }
                    Err(ExecuteError::Ledger(error)) => return Err(error),
                };
                Ok(Some(Waiting::Till(reply, Box::new(outcome))))
            }
            Job::Ingest(IngestJob { link, shop, runs }) => {
                let refused = self.ingest(link, shop, runs)?;
                Ok(Some(Waiting::Peer { link, shop, refused }))
            }
            Job::Confirm { answers, patience } => {
                match self.ledger.confirm_head(&answers, patience, clock::now(), &mut self.rng) {
                    Ok(_) => Ok(None),
                    Err(ExecuteError::Refused(refusal)) => {
                        tracing::warn!(%refusal, "the new incarnation could not be begun");
                        Ok(None)
                    }
                    Err(ExecuteError::Ledger(error)) => Err(error),
                }
            }
            Job::Examine(job) => {
                self.examine(job)?;
                Ok(None)
            }
            Job::Alarm { link, proof } => {
                self.alarm(link, &proof)?;
                Ok(None)
            }
        }
    }

    fn ingest(
        &mut self,
        link: LinkId,
        shop: ShopId,
        runs: Vec<Vec<proto::Record>>,
    ) -> Result<Option<LinkRefusal>, LedgerError> {
        for run in runs {
            if let Err(error) = self.ledger.ingest(run, clock::now())? {
                tracing::debug!(shop = shop.short(), %error, "records refused");
                return Ok(Some(self.refuse(link, shop, error)?));
            }
            // One answer may bring more records than the journal takes at once.
            if self.ledger.staged_count() >= GROUP_RECORDS_MAX {
                let committed = self.ledger.commit()?;
                self.publish(committed);
            }
        }
        Ok(None)
    }

    /// What a refused rung means for the link. A contradiction is looked into on the spot: it may prove a fork.
    fn refuse(&mut self, link: LinkId, shop: ShopId, error: IngestError) -> Result<LinkRefusal, LedgerError> {
        Ok(match error {
            IngestError::NotMember(_)
            | IngestError::KeyEpoch(_)
            | IngestError::Sealed(_)
            | IngestError::Gap { .. }
            | IngestError::HeldBack(_) => LinkRefusal::Later,
            IngestError::Diverged(record) => {
                if record.signature().is_some() {
                    self.examine(IngestJob { link, shop, runs: vec![vec![record.to_message()]] })?;
                } else {
                    // What covers it proves it.
                    let from_sequence = record.header().sequence;
                    self.notify(Notice::Show { link, shop, from_sequence });
                }
                LinkRefusal::Diverged
            }
            IngestError::Earlier(_) => LinkRefusal::Earlier,
            // The peer will take what superseded it from here.
            IngestError::Superseded(_) => LinkRefusal::Diverged,
            IngestError::Length(_)
            | IngestError::Size(_)
            | IngestError::Malformed(_)
            | IngestError::WrongAlliance(_)
            | IngestError::PayloadMissing(_)
            | IngestError::Run(_) => LinkRefusal::Faulty,
        })
    }

    /// Looks for the place where a peer's branch of a log leaves the one held, run by run; what is not among its records
    /// it is asked for.
    fn examine(&mut self, job: IngestJob) -> Result<(), LedgerError> {
        let IngestJob { link, shop, runs } = job;
        let mut show = None;
        for run in runs {
            match self.ledger.examine_branch(run, clock::now(), &mut self.rng) {
                Ok(Examined::Settled) => {
                    tracing::warn!(
                        shop = shop.short(),
                        "a log is forked, and nothing of it counts from there on"
                    );
                    return Ok(());
                }
                Ok(Examined::Nothing) => return Ok(()),
                Ok(Examined::Earlier(from_sequence)) => {
                    show = Some(from_sequence);
                    break;
                }
                Ok(Examined::Later(from_sequence)) => show = Some(from_sequence),
                Err(ExecuteError::Refused(refusal)) => {
                    tracing::warn!(%refusal, "a fork could not be published")
                }
                Err(ExecuteError::Ledger(error)) => return Err(error),
            }
        }
        if let Some(from_sequence) = show {
            self.notify(Notice::Show { link, shop, from_sequence });
        }
        Ok(())
    }

    fn alarm(&mut self, link: LinkId, proof: &[u8]) -> Result<(), LedgerError> {
        let taken = match proto::ForkProof::decode(proof) {
            Ok(proof) => self.ledger.take_proof(&proof, clock::now(), &mut self.rng),
            Err(_) => Ok(ProofTaken::False),
        };
        match taken {
            Ok(ProofTaken::News) => tracing::warn!("a peer proved that a member forked its log"),
            Ok(ProofTaken::Known | ProofTaken::Unknown) => {}
            Ok(ProofTaken::False) => self.notify(Notice::Disproved { link }),
            Err(ExecuteError::Refused(refusal)) => tracing::warn!(%refusal, "a fork could not be published"),
            Err(ExecuteError::Ledger(error)) => return Err(error),
        }
        Ok(())
    }

    fn publish(&mut self, committed: Committed) {
        self.roster_changed |= committed.roster_changed;
        if committed.roster_changed {
            self.outlets.state.send_replace(Arc::new(self.ledger.alliance().clone()));
        }
        self.outlets.position.send_replace(committed.position);
        if !committed.heads.is_empty() {
            self.notify(Notice::Committed(committed.heads));
        }
    }

    fn say_how_it_starts(&self) {
        match self.ledger.signing() {
            Signing::Confirmed => self.mark(Signing::Confirmed),
            Signing::Unconfirmed(doubt) if !doubt.passes() => tracing::warn!(
                doubt = doubt.code(),
                members = self.ledger.confirming_peers(),
                "these files are a copy, a backup or damaged: nothing is signed until so many members have told how far \
                 this shop's log goes"
            ),
            Signing::Unconfirmed(doubt) => tracing::debug!(doubt = doubt.code(), "members are asked"),
            Signing::Forked => {}
        }
    }

    /// Says so where signing has become possible, or has ceased to be.
    fn publish_signing(&self) {
        let now = self.ledger.signing();
        if *self.outlets.signing.borrow() == now {
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
        self.outlets.signing.send_replace(now);
    }

    /// Whoever starts on these files next must know whether they are the ones in which this shop signs.
    fn mark(&self, now: Signing) {
        let marked = if now == Signing::Confirmed { self.seat.keep(false) } else { self.seat.give_up() };
        if let Err(error) = marked {
            tracing::warn!(%error, "the seat mark was not written; members will be asked at the next start");
        }
    }

    fn answer(&self, who: Waiting) {
        match who {
            // The till may have hung up meanwhile; its answer is kept under its request id.
            Waiting::Till(reply, outcome) => drop(reply.send(*outcome)),
            Waiting::Peer { link, shop, refused } => {
                let outcome = match (refused, self.ledger.head(shop)) {
                    (Some(refusal), _) => IngestOutcome::Refused(refusal),
                    (None, Some(head)) => {
                        let Head { sequence, id, incarnation } = head;
                        IngestOutcome::Accepted(hutong_sync::Head { sequence, id, incarnation })
                    }
                    (None, None) => IngestOutcome::Refused(LinkRefusal::Later),
                };
                self.notify(Notice::Ingested { link, shop, outcome });
            }
        }
    }

    fn notify(&self, notice: Notice) {
        // The hub is gone only when the node stops.
        let _ = self.outlets.notices.send(notice);
    }
}
