//! The writer: one thread an alliance that decides, signs, journals, syncs and folds, in groups. While one group is
//! being synced the next one gathers, so there is no timer. Nobody is answered before the sync: the order is
//! [`hutong_store::writer`]'s.

use std::sync::Arc;

use hutong_core::{alliance::Alliance, command::Command, ingest::Head, refusal::Refusal};
use hutong_record::{ShopId, proto};
use hutong_store::{
    journal::Lsn,
    ledger::{Committed, Executed, Ledger, LedgerError},
    views::SledViews,
    writer::{self, News, Refused},
};
use hutong_sync::{IngestOutcome, LinkId, Refusal as LinkRefusal};
use rand::{SeedableRng as _, TryRng as _, rngs::StdRng, rngs::SysRng};
use tokio::sync::{mpsc, oneshot, watch};

use super::OpenError;
use crate::clock;

type Reply = oneshot::Sender<Result<Executed, Refusal>>;

/// What the writer is asked to do.
pub(super) enum Job {
    Execute {
        command: Box<Command>,
        reply: Reply,
    },
    Ingest(IngestJob),
    Examine(Vec<Vec<proto::Record>>),
    /// Time has passed: something may be due.
    Tick,
}

impl From<Job> for writer::Job<Reply, LinkId> {
    fn from(job: Job) -> Self {
        match job {
            Job::Execute { command, reply } => Self::Execute { command, till: reply },
            Job::Ingest(IngestJob { link, shop, runs }) => Self::Ingest { peer: link, shop, runs },
            Job::Examine(runs) => Self::Examine(runs),
            Job::Tick => Self::Tick,
        }
    }
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
}

/// Where the writer's news goes.
pub(super) struct Outlets {
    pub(super) state: watch::Sender<Arc<Alliance>>,
    pub(super) position: watch::Sender<Lsn>,
    /// Unbounded: the hub hands jobs over without waiting, and the writer must not wait for the hub in turn. At most
    /// two notices for each job.
    pub(super) notices: mpsc::UnboundedSender<Notice>,
}

/// Starts the thread. It ends when all senders of jobs are gone, or when the journal fails.
pub(super) fn start(
    ledger: Ledger<SledViews>,
    jobs: mpsc::Receiver<Job>,
    outlets: Outlets,
) -> Result<(), OpenError> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|_| OpenError::System("random bytes"))?;
    let rng = StdRng::from_seed(seed);
    let name = format!("writer-{}", ledger.id().short());
    let writer = writer::Writer::new(ledger);
    let thread = std::thread::Builder::new().name(name).spawn(move || run(writer, outlets, rng, jobs));
    thread.map(drop).map_err(|_| OpenError::System("thread"))
}

fn run(
    mut writer: writer::Writer<SledViews>,
    outlets: Outlets,
    mut rng: StdRng,
    mut jobs: mpsc::Receiver<Job>,
) {
    while let Some(first) = jobs.blocking_recv() {
        if let Err(error) = turn(&mut writer, &outlets, &mut rng, first, &mut jobs) {
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
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
) -> Result<(), LedgerError> {
    let next = || jobs.try_recv().ok().map(Into::into);
    let mut tell = |ledger: &Ledger<SledViews>, news| outlets.tell(ledger, news);
    writer.turn(first.into(), next, &clock::now, rng, &mut tell)
}

impl Outlets {
    fn tell(&self, ledger: &Ledger<SledViews>, news: News<Reply, LinkId>) {
        match news {
            News::Committed(committed) => self.publish(ledger, committed),
            // The till may have hung up meanwhile; its answer is kept under its request id.
            News::Answered { till, outcome } => drop(till.send(*outcome)),
            News::Ingested { peer, shop, outcome } => {
                self.notify(Notice::Ingested { link: peer, shop, outcome: link_outcome(outcome) });
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

    fn notify(&self, notice: Notice) {
        // The hub is gone only when the node stops.
        let _ = self.notices.send(notice);
    }
}

fn link_outcome(outcome: Result<Head, Refused>) -> IngestOutcome {
    match outcome {
        Ok(head) => IngestOutcome::Accepted(hutong_sync::Head { sequence: head.sequence, id: head.id }),
        Err(Refused::Faulty) => IngestOutcome::Refused(LinkRefusal::Faulty),
        Err(Refused::Later) => IngestOutcome::Refused(LinkRefusal::Later),
        Err(Refused::Diverged) => IngestOutcome::Refused(LinkRefusal::Diverged),
    }
}
