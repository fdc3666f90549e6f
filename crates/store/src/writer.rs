//! The writer's turn: one group of jobs is parsed, decided, journaled, synced and folded; only then is it published and
//! are those who asked answered. The node runs it on a thread of its own, the simulator step by step.

use std::sync::Arc;

use bytes::Bytes;
use hutong_core::{
    charter::CLOCK_AHEAD_MS_MAX,
    command::Command,
    ingest::{BRANCH_RECORDS_MAX, Head, IngestError},
    refusal::{Reason, Refusal},
};
use hutong_record::{Header, RUN_RECORDS_MAX, Record, ShopId, UnixMillis, proto};
use prost::Message as _;
use rand_core::CryptoRng;

use crate::{
    journal::{Healed, JournalError, Leftover, Survey},
    ledger::{
        Committed, Examined, ExecuteError, Executed, HeadAnswer, Ledger, LedgerError, Patience, ProofTaken,
    },
    views::Views,
};

/// Records in one group. A slow disk syncs in some milliseconds, in which a peer's records are verified by the thousand,
/// so a group has thousands; a till that waits behind it waits some 10 ms more. A batch must fit the journal's bound.
pub const GROUP_RECORDS_MAX: usize = 2_048;
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
    /// Look in a peer's records, which are not to be stored, for the place where its branch of a log leaves ours.
    Examine {
        /// Whom they came from.
        peer: P,
        /// Whose log.
        shop: ShopId,
        /// Unverified.
        runs: Vec<Vec<proto::Record>>,
    },
    /// Weigh a proof of a fork that a peer brought.
    Alarm {
        /// Whom it came from.
        peer: P,
        /// Encoded `ForkProof`, unverified.
        proof: Bytes,
    },
    /// Weigh what peers say of this shop's own log.
    Confirm {
        /// Each connected peer's latest word.
        answers: Vec<HeadAnswer>,
        /// Whether others may yet tell.
        patience: Patience,
    },
    /// Put records back that damage took.
    Heal {
        /// What is lost.
        survey: Arc<Survey>,
        /// What of it peers had.
        found: Vec<Record>,
        /// What becomes of places that no log lacks a record for.
        leftover: Leftover,
    },
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
        /// How many were new, and at which rung the others were refused.
        taken: Taken,
    },
    /// A peer's branch of a log leaves ours elsewhere: it is to show its records from this place on.
    Show {
        /// Who.
        peer: P,
        /// Whose log.
        shop: ShopId,
        /// From where.
        from_sequence: u64,
    },
    /// A peer sent a proof that does not hold.
    Disproved {
        /// Who.
        peer: P,
    },
    /// What came of putting records back.
    Healed(Result<Healed, JournalError>),
}

/// What a refusal of the ingest ladder says of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No honest node sends this.
    Faulty,
    /// Not now: a roster or key that is not here yet.
    Later,
    /// Not before this time: its author's clock is ahead.
    NotBefore(UnixMillis),
    /// It continues another branch of the log.
    Diverged,
    /// It is of a later incarnation, which leaves our log before these records.
    Earlier,
}

/// What was taken of a peer's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Records that are new.
    pub new_records: u64,
    /// Why one run, and what came after it, was refused: [`IngestError::code`].
    pub refused: Option<&'static str>,
    /// The records are of another branch of the log than the one held.
    pub contradicts: bool,
}

/// Who waits for the group's sync.
enum Waiting<T, P> {
    Till(T, Box<Result<Executed, Refusal>>),
    Peer(P, ShopId, Option<Refused>, Taken),
}

/// The writer of one ledger.
#[derive(Debug)]
pub struct Writer<V> {
    ledger: Ledger<V>,
    /// Where the next group goes on with duties, if there were more than one group carries out.
    next_duty: Option<Vec<u8>>,
}

fn last_header(run: &[proto::Record]) -> Option<Header> {
    run.last().and_then(|last| Header::parse(&last.header).ok())
}

/// Runs end where a key epoch ends. A branch may come to the incarnation by which it counts only after that, so what
/// follows a rotation is taken in with it, as far as one run goes.
fn across_rotations(runs: Vec<Vec<proto::Record>>) -> Vec<Vec<proto::Record>> {
    let ends = |run: &[proto::Record]| last_header(run).is_some_and(|header| header.kind.ends_run());
    let mut joined: Vec<Vec<proto::Record>> = Vec::with_capacity(runs.len());
    for run in runs {
        match joined.last_mut() {
            Some(before) if before.len() + run.len() <= RUN_RECORDS_MAX && ends(before) => before.extend(run),
            _ => joined.push(run),
        }
    }
    joined
}

/// All runs as one branch, where only their end comes to a later incarnation than the one held: should the first of them be
/// outranked, they count as a whole. None: that cannot be, or they are more than one message may have.
fn as_one_branch(runs: &[Vec<proto::Record>], held_incarnation: u32) -> Option<Vec<proto::Record>> {
    let incarnation = |run: &[proto::Record]| last_header(run).map_or(0, |header| header.incarnation);
    let (first, last) = (runs.first()?, runs.last()?);
    let comes_to_count = incarnation(first) <= held_incarnation && incarnation(last) > held_incarnation;
    let records: usize = runs.iter().map(Vec::len).sum();
    (comes_to_count && records <= BRANCH_RECORDS_MAX).then(|| runs.iter().flatten().cloned().collect())
}

impl<V: Views> Writer<V> {
    /// Writes this ledger.
    pub const fn new(ledger: Ledger<V>) -> Self {
        Self { ledger, next_duty: None }
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
    pub fn turn<T, P: Clone>(
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

    fn carry_out<T, P: Clone>(
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
                let (refused, taken) = self.ingest(&peer, shop, runs, now, rng, tell)?;
                Ok(Some(Waiting::Peer(peer, shop, refused, taken)))
            }
            Job::Examine { peer, shop, runs } => {
                self.examine(&peer, shop, runs, now(), rng, tell)?;
                Ok(None)
            }
            Job::Alarm { peer, proof } => {
                self.alarm(peer, &proof, now(), rng, tell)?;
                Ok(None)
            }
            Job::Confirm { answers, patience } => {
                match self.ledger.confirm_head(&answers, patience, now(), rng) {
                    Ok(_) => {}
                    Err(ExecuteError::Refused(refusal)) => {
                        tracing::warn!(%refusal, "the new incarnation could not be begun");
                    }
                    Err(ExecuteError::Ledger(error)) => return Err(error),
                }
                Ok(None)
            }
            Job::Heal { survey, found, leftover } => {
                self.heal(&survey, found, leftover, tell)?;
                Ok(None)
            }
            Job::Tick => Ok(None),
        }
    }

    /// What is staged is committed before. A disk without room for it does not stop the shop.
    fn heal<T, P>(
        &mut self,
        survey: &Survey,
        found: Vec<Record>,
        leftover: Leftover,
        tell: &mut impl FnMut(&Ledger<V>, News<T, P>),
    ) -> Result<(), LedgerError> {
        self.commit(tell)?;
        match self.ledger.heal(survey, found, leftover)? {
            Ok((healed, roster_changed)) => {
                tell(&self.ledger, News::Healed(Ok(healed)));
                let position = self.ledger.reader().head();
                let committed = Committed { position, roster_changed, ..Committed::default() };
                tell(&self.ledger, News::Committed(committed));
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the journal could not be healed");
                tell(&self.ledger, News::Healed(Err(error)));
                Ok(())
            }
        }
    }

    /// Does what this shop owes others by now, in the same group as what gave rise to it. What is refused stands, and
    /// is tried again with the next group.
    fn fulfil_duties(&mut self, now: UnixMillis, rng: &mut impl CryptoRng) -> Result<(), LedgerError> {
        for duty in self.ledger.duties_after(now, GROUP_DUTIES_MAX, &mut self.next_duty)? {
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

    fn ingest<T, P: Clone>(
        &mut self,
        peer: &P,
        shop: ShopId,
        runs: Vec<Vec<proto::Record>>,
        now: &impl Fn() -> UnixMillis,
        rng: &mut impl CryptoRng,
        tell: &mut impl FnMut(&Ledger<V>, News<T, P>),
    ) -> Result<(Option<Refused>, Taken), LedgerError> {
        let mut taken = Taken::default();
        let held = self.ledger.head(shop).map_or(0, |head| head.incarnation);
        let mut whole = as_one_branch(&runs, held);
        for run in across_rotations(runs) {
            let mut outcome = self.ingest_run(run, &mut taken, now(), tell)?;
            let branch = whole.take_if(|_| matches!(outcome, Err(IngestError::Superseded(_))));
            let is_whole = branch.is_some();
            if let Some(branch) = branch {
                outcome = self.ingest_run(branch, &mut taken, now(), tell)?;
            }
            if let Err(error) = outcome {
                tracing::debug!(shop = shop.short(), %error, "records refused");
                taken.refused = Some(error.code());
                taken.contradicts = matches!(error, IngestError::Diverged(_));
                return Ok((Some(self.refuse(peer, shop, error, now(), rng, tell)?), taken));
            }
            // One answer may bring more records than the journal takes at once.
            if self.ledger.staged_count() >= GROUP_RECORDS_MAX {
                self.commit(tell)?;
            }
            if is_whole {
                break;
            }
        }
        Ok((None, taken))
    }

    /// Takes records in that belong together. They are written at once, and may be as many as a group has.
    fn ingest_run<T, P>(
        &mut self,
        run: Vec<proto::Record>,
        taken: &mut Taken,
        now: UnixMillis,
        tell: &mut impl FnMut(&Ledger<V>, News<T, P>),
    ) -> Result<Result<bool, IngestError>, LedgerError> {
        if self.ledger.staged_count() + run.len() > GROUP_RECORDS_MAX {
            self.commit(tell)?;
        }
        let staged = self.ledger.staged_count();
        let outcome = self.ledger.ingest(run, now)?;
        taken.new_records += (self.ledger.staged_count() - staged) as u64;
        Ok(outcome)
    }

    /// What a refused rung means for the link. A contradiction is looked into on the spot: it may prove a fork.
    fn refuse<T, P: Clone>(
        &mut self,
        peer: &P,
        shop: ShopId,
        error: IngestError,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
        tell: &mut impl FnMut(&Ledger<V>, News<T, P>),
    ) -> Result<Refused, LedgerError> {
        Ok(match error {
            IngestError::NotMember(_)
            | IngestError::KeyEpoch(_)
            | IngestError::Sealed(_)
            | IngestError::Gap { .. } => Refused::Later,
            IngestError::HeldBack(dated) => Refused::NotBefore(dated.saturating_add_ms(-CLOCK_AHEAD_MS_MAX)),
            IngestError::Diverged(record) => {
                if record.signature().is_some() {
                    self.examine(peer, shop, vec![vec![record.to_message()]], now, rng, tell)?;
                } else {
                    // What covers it proves it.
                    let from_sequence = record.header().sequence;
                    tell(&self.ledger, News::Show { peer: peer.clone(), shop, from_sequence });
                }
                Refused::Diverged
            }
            IngestError::Earlier(_) => Refused::Earlier,
            // The peer will take what superseded it from here.
            IngestError::Superseded(_) => Refused::Diverged,
            IngestError::Length(_)
            | IngestError::Size(_)
            | IngestError::Malformed(_)
            | IngestError::WrongAlliance(_)
            | IngestError::PayloadMissing(_)
            | IngestError::KeyRetired(_)
            | IngestError::Rotation { .. }
            | IngestError::Override { .. }
            | IngestError::Incarnation { .. }
            | IngestError::Run(_) => Refused::Faulty,
        })
    }

    /// Looks for the place where a peer's branch of a log leaves the one held, run by run; what is not among its records
    /// it is asked for.
    fn examine<T, P: Clone>(
        &mut self,
        peer: &P,
        shop: ShopId,
        runs: Vec<Vec<proto::Record>>,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
        tell: &mut impl FnMut(&Ledger<V>, News<T, P>),
    ) -> Result<(), LedgerError> {
        let mut show = None;
        for run in runs {
            match self.ledger.examine_branch(run.clone(), now, rng) {
                Ok(Examined::Settled) => {
                    tracing::warn!(
                        shop = shop.short(),
                        "a log is forked: nothing of it counts from there on"
                    );
                    return Ok(());
                }
                Ok(Examined::Nothing) => return Ok(()),
                Ok(Examined::Earlier(from_sequence)) => {
                    show = Some(from_sequence);
                    break;
                }
                Ok(Examined::Later(from_sequence)) => show = Some(from_sequence),
                Ok(Examined::Supersede) => {
                    if let Err(error) = self.ingest_run(run, &mut Taken::default(), now, tell)? {
                        tracing::debug!(shop = shop.short(), %error, "a later incarnation was refused");
                        return Ok(());
                    }
                }
                Err(ExecuteError::Refused(refusal)) => {
                    tracing::warn!(%refusal, "a fork could not be published");
                }
                Err(ExecuteError::Ledger(error)) => return Err(error),
            }
        }
        if let Some(from_sequence) = show {
            tell(&self.ledger, News::Show { peer: peer.clone(), shop, from_sequence });
        }
        Ok(())
    }

    fn alarm<T, P>(
        &mut self,
        peer: P,
        proof: &Bytes,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
        tell: &mut impl FnMut(&Ledger<V>, News<T, P>),
    ) -> Result<(), LedgerError> {
        let taken = match proto::ForkProof::decode(proof.clone()) {
            Ok(proof) => self.ledger.take_proof(&proof, now, rng),
            Err(_) => Ok(ProofTaken::False),
        };
        match taken {
            Ok(ProofTaken::News) => tracing::warn!("a peer proved that a member forked its log"),
            Ok(ProofTaken::Known | ProofTaken::Unknown) => {}
            Ok(ProofTaken::False) => tell(&self.ledger, News::Disproved { peer }),
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
            Waiting::Peer(peer, shop, refused, taken) => {
                let outcome = match refused {
                    Some(refused) => Err(refused),
                    None => self.ledger.head(shop).ok_or(Refused::Later),
                };
                News::Ingested { peer, shop, outcome, taken }
            }
        }
    }
}
