//! The writer's turn: one group of jobs is parsed, decided, journaled, synced and folded; only then is it published and
//! are those who asked answered. The node runs it on a thread of its own, the simulator step by step.

use hutong_core::{
    command::Command,
    ingest::{Head, IngestError},
    refusal::{Reason, Refusal},
};
use hutong_record::{ShopId, UnixMillis, proto};
use rand_core::CryptoRng;

use crate::{
    ledger::{Committed, ExecuteError, Executed, Ledger, LedgerError},
    views::Views,
};

/// Records in one group: a sync costs as much as signing some tens of them, and a batch must fit the journal's bound.
pub const GROUP_RECORDS_MAX: usize = 512;
/// Duties carried out in one group, so that tills do not wait for them.
const GROUP_DUTIES_MAX: usize = 64;

/// What the writer is asked to do. `T` answers a till, `P` names a peer.
#[derive(Debug)]
pub enum Job<T, P> {
    /// Carry out a command.
    Execute {
        /// Which.
        command: Box<Command>,
        /// Who waits for the outcome.
        till: T,
    },
    /// Take in a peer's records of one log.
    Ingest {
        /// Whom they came from.
        peer: P,
        /// Whose log.
        shop: ShopId,
        /// Unverified.
        runs: Vec<Vec<proto::Record>>,
    },
    /// Look for a fork in records that are not to be stored.
    Examine(Vec<Vec<proto::Record>>),
    /// Time has passed: something may be due.
    Tick,
}

/// What a turn came to, in the order in which it is to be told.
#[derive(Debug)]
pub enum News<T, P> {
    /// Records are durable, and folded.
    Committed(Committed),
    /// A till's command is carried out, or refused.
    Answered {
        /// Who waits.
        till: T,
        /// What to tell.
        outcome: Box<Result<Executed, Refusal>>,
    },
    /// What became of a peer's records.
    Ingested {
        /// Whom they came from.
        peer: P,
        /// Whose log.
        shop: ShopId,
        /// How far the log goes now, or why some of it was refused.
        outcome: Result<Head, Refused>,
    },
}

/// What a refusal of the ingest ladder says of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No honest node sends this.
    Faulty,
    /// Not now: a clock ahead, a roster or key that is not here yet.
    Later,
    /// It continues another branch of the log.
    Diverged,
}

/// Who waits for the group's sync.
enum Waiting<T, P> {
    Till(T, Box<Result<Executed, Refusal>>),
    Peer(P, ShopId, Option<Refused>),
}

/// The writer of one ledger.
#[derive(Debug)]
pub struct Writer<V> {
    ledger: Ledger<V>,
}

impl<V: Views> Writer<V> {
    /// Writes this ledger.
    pub const fn new(ledger: Ledger<V>) -> Self {
        Self { ledger }
    }

    /// The ledger, to read.
    pub const fn ledger(&self) -> &Ledger<V> {
        &self.ledger
    }

    /// Carries out the first job and those that wait behind it, commits them together, then tells the news.
    ///
    /// # Errors
    /// The ledger failed: nothing of the group was told, except what an earlier commit of it had made durable. The
    /// ledger must be opened anew.
    pub fn turn<T, P>(
        &mut self,
        first: Job<T, P>,
        mut next: impl FnMut() -> Option<Job<T, P>>,
        now: &impl Fn() -> UnixMillis,
        rng: &mut impl CryptoRng,
        tell: &mut impl FnMut(&Ledger<V>, News<T, P>),
    ) -> Result<(), LedgerError> {
        let mut waiting = Vec::new();
        let mut job = Some(first);
        while let Some(current) = job {
            waiting.extend(self.carry_out(current, now, rng, tell)?);
            job = if self.ledger.staged_count() < GROUP_RECORDS_MAX { next() } else { None };
        }
        self.fulfil_duties(now(), rng)?;
        if hutong_record::planted!(AnswerBeforeCommit) {
            for who in std::mem::take(&mut waiting) {
                let news = self.answer(who);
                tell(&self.ledger, news);
            }
        }
        self.commit(tell)?;
        for who in waiting {
            let news = self.answer(who);
            tell(&self.ledger, news);
        }
        Ok(())
    }

    fn carry_out<T, P>(
        &mut self,
        job: Job<T, P>,
        now: &impl Fn() -> UnixMillis,
        rng: &mut impl CryptoRng,
        tell: &mut impl FnMut(&Ledger<V>, News<T, P>),
    ) -> Result<Option<Waiting<T, P>>, LedgerError> {
        match job {
            Job::Execute { command, till } => {
                let outcome = self.execute(&command, now(), rng)?;
                Ok(Some(Waiting::Till(till, Box::new(outcome))))
            }
            Job::Ingest { peer, shop, runs } => {
                let refused = self.ingest(shop, runs, now, rng, tell)?;
                Ok(Some(Waiting::Peer(peer, shop, refused)))
            }
            Job::Examine(runs) => {
                for run in runs {
                    self.examine(run, now(), rng)?;
                }
                Ok(None)
            }
            Job::Tick => Ok(None),
        }
    }

    /// Does what this shop owes others by now, in the same group as what gave rise to it. What is refused stands, and
    /// is tried again with the next group.
    fn fulfil_duties(&mut self, now: UnixMillis, rng: &mut impl CryptoRng) -> Result<(), LedgerError> {
        for duty in self.ledger.duties(now, GROUP_DUTIES_MAX)? {
            if let Err(refusal) = self.execute(&Command::Fulfil(duty), now, rng)? {
                tracing::debug!(%refusal, "a duty has to wait");
            }
        }
        Ok(())
    }

    fn execute(
        &mut self,
        command: &Command,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Result<Executed, Refusal>, LedgerError> {
        match self.ledger.execute(command, now, rng) {
            Ok(executed) => Ok(Ok(executed)),
            Err(ExecuteError::Refused(refusal)) => Ok(Err(refusal)),
            Err(ExecuteError::Ledger(LedgerError::Payload(error))) => {
                tracing::error!(%error, "internal error");
                Ok(Err(Refusal::new(Reason::Internal)))
            }
            Err(ExecuteError::Ledger(LedgerError::UnknownParty)) => {
                Ok(Err(Refusal::new(Reason::MemberUnknown)))
            }
            Err(ExecuteError::Ledger(error)) => Err(error),
        }
    }

    fn ingest<T, P>(
        &mut self,
        shop: ShopId,
        runs: Vec<Vec<proto::Record>>,
        now: &impl Fn() -> UnixMillis,
        rng: &mut impl CryptoRng,
        tell: &mut impl FnMut(&Ledger<V>, News<T, P>),
    ) -> Result<Option<Refused>, LedgerError> {
        for run in runs {
            if let Err(error) = self.ledger.ingest(run, now())? {
                tracing::debug!(shop = shop.short(), %error, "records refused");
                return Ok(Some(self.refuse(error, now(), rng)?));
            }
            // One answer may bring more records than the journal takes at once.
            if self.ledger.staged_count() >= GROUP_RECORDS_MAX {
                self.commit(tell)?;
            }
        }
        Ok(None)
    }

    /// What a refused rung means for the link. A contradiction is looked into on the spot: it may prove a fork.
    fn refuse(
        &mut self,
        error: IngestError,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Refused, LedgerError> {
        Ok(match error {
            IngestError::NotMember(_)
            | IngestError::KeyEpoch(_)
            | IngestError::Sealed(_)
            | IngestError::Gap { .. }
            | IngestError::HeldBack(_) => Refused::Later,
            IngestError::Diverged(record) => {
                self.examine(vec![record.to_message()], now, rng)?;
                Refused::Diverged
            }
            IngestError::Length(_)
            | IngestError::Size(_)
            | IngestError::Malformed(_)
            | IngestError::WrongAlliance(_)
            | IngestError::PayloadMissing(_)
            | IngestError::Run(_) => Refused::Faulty,
        })
    }

    fn examine(
        &mut self,
        records: Vec<proto::Record>,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<(), LedgerError> {
        match self.ledger.examine(records, now, rng) {
            Ok(true) => tracing::warn!("a member forked its log; the proof is published and the log frozen"),
            Ok(false) => {}
            Err(ExecuteError::Refused(refusal)) => tracing::warn!(%refusal, "a fork could not be published"),
            Err(ExecuteError::Ledger(error)) => return Err(error),
        }
        Ok(())
    }

    fn commit<T, P>(&mut self, tell: &mut impl FnMut(&Ledger<V>, News<T, P>)) -> Result<(), LedgerError> {
        let committed = self.ledger.commit()?;
        tell(&self.ledger, News::Committed(committed));
        Ok(())
    }

    fn answer<T, P>(&self, who: Waiting<T, P>) -> News<T, P> {
        match who {
            Waiting::Till(till, outcome) => News::Answered { till, outcome },
            Waiting::Peer(peer, shop, refused) => {
                let outcome = match refused {
                    Some(refused) => Err(refused),
                    None => self.ledger.head(shop).ok_or(Refused::Later),
                };
                News::Ingested { peer, shop, outcome }
            }
        }
    }
}
