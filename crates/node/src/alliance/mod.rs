//! A hosted alliance: its ledger behind one writer thread, its views and journal open to readers.

mod folder;
mod home;
mod measured;
mod queue;
mod scrubbing;
mod seat;
mod writer;

use std::{sync::Arc, time::Duration};

use hutong_core::{
    alliance::Alliance,
    answer::Answer,
    command::{Command, DecideError, Decider, Qualified, Qualify, SignCommand},
    fold,
    refusal::{Reason, Refusal},
    settlement::statement::{self, Statement},
    view::{Reader as _, ViewError},
};
use hutong_record::{AllianceId, Record, RecordId, ShopId, UnixMillis, proto};
use hutong_store::{
    journal::{JournalReader, Leftover, Lsn, Survey},
    ledger::{Executed, HeadAnswer, Patience, QUESTION_MS, ShopKeys, Signing},
    views::{SledViews, Views as _},
};
use hutong_sync::LinkId;
use tokio::sync::{mpsc, oneshot, watch};

pub use folder::{AllianceFolder, Bootstrap, OpenError};
pub use home::HomeAnswer;
pub use hutong_store::writer::Taken;
pub use scrubbing::{JournalHealth, ScrubState};
pub use writer::{IngestJob, Notice, Source};

use writer::{Job, Till};

use crate::{clock, metrics::command_name, telemetry::Telemetry};

/// A command waits so long for members' answers after a start: as long as they are asked, and a moment to weigh them.
const QUESTION_WAIT: Duration = Duration::from_millis(QUESTION_MS.unsigned_abs() + 1_000);

/// An alliance that this node takes part in.
pub struct Hosted {
    me: ShopId,
    keys: Arc<ShopKeys>,
    bootstrap: Option<Bootstrap>,
    views: Arc<SledViews>,
    reader: Arc<dyn JournalReader>,
    jobs: queue::Door<Job>,
    state: watch::Receiver<Arc<Alliance>>,
    position: watch::Receiver<Lsn>,
    signing: watch::Receiver<Signing>,
    scrubbing: scrubbing::Scrubbing,
}

impl std::fmt::Debug for Hosted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hosted({:?})", self.id())
    }
}

impl Hosted {
    /// Opens the alliance's folder and starts its writer. Notices of what became durable go to `notices`.
    ///
    /// # Errors
    /// The folder, journal or views cannot be opened.
    pub fn open(
        folder: &AllianceFolder,
        me: ShopId,
        keys: Arc<ShopKeys>,
        cache_bytes: u64,
        notices: mpsc::UnboundedSender<Notice>,
        telemetry: Telemetry,
    ) -> Result<Self, OpenError> {
        let metrics = telemetry.metrics.clone();
        let (ledger, bootstrap) = folder.open(me, keys.clone(), cache_bytes, metrics)?;
        let (views, reader) = (ledger.views(), ledger.reader());
        let (jobs, queue) = queue::lines();
        let (state_sender, state) = watch::channel(Arc::new(ledger.alliance().clone()));
        let (position_sender, position) = watch::channel(reader.head());
        let (signing_sender, signing) = watch::channel(ledger.signing());
        let outlets = writer::Outlets {
            state: state_sender,
            position: position_sender,
            signing: signing_sender,
            notices,
            seat: folder.seat(),
            telemetry,
            keys: keys.clone(),
        };
        writer::start(ledger, queue, outlets)?;
        let scrubbing = scrubbing::Scrubbing::default();
        Ok(Self { me, keys, bootstrap, views, reader, jobs, state, position, signing, scrubbing })
    }

    /// The alliance's id.
    pub fn id(&self) -> AllianceId {
        self.state.borrow().charter().id
    }

    /// This shop.
    pub const fn me(&self) -> ShopId {
        self.me
    }

    /// Charter and roster as they are now.
    pub fn alliance(&self) -> Arc<Alliance> {
        self.state.borrow().clone()
    }

    /// Tells when charter or roster change.
    pub fn alliance_changes(&self) -> watch::Receiver<Arc<Alliance>> {
        self.state.clone()
    }

    /// Tells when records became durable and were folded.
    pub fn positions(&self) -> watch::Receiver<Lsn> {
        self.position.clone()
    }

    /// Whether this shop may sign; tells when that changes.
    pub fn signing(&self) -> watch::Receiver<Signing> {
        self.signing.clone()
    }

    /// The journal, to read.
    pub fn reader(&self) -> &Arc<dyn JournalReader> {
        &self.reader
    }

    /// The folded state, to read.
    pub fn views(&self) -> &Arc<SledViews> {
        &self.views
    }

    /// The shop by whose invitation this one joined; none for the founder.
    pub const fn bootstrap(&self) -> Option<&Bootstrap> {
        self.bootstrap.as_ref()
    }

    /// What a record says, if this shop can read it.
    pub fn open_payload(&self, record: &hutong_record::Record) -> Option<bytes::Bytes> {
        self.keys.open(record, self.me)
    }

    /// Carries out a command. When it returns, its records are durable. While members are asked how far this shop's log
    /// goes, after an ordinary start, it waits for the answer, for seconds.
    ///
    /// # Errors
    /// A refusal: by the rules, or `BUSY`, `STOPPED`, `INTERNAL`, `HEAD_UNCONFIRMED`.
    pub async fn execute(&self, command: Command) -> Result<Executed, Refusal> {
        let asked = |signing: &Signing| !matches!(signing, Signing::Unconfirmed(doubt) if doubt.passes());
        let mut signing = self.signing.clone();
        // Whatever came of it, the ledger decides.
        let _ = tokio::time::timeout(QUESTION_WAIT, signing.wait_for(asked)).await;
        let (reply, answer) = oneshot::channel();
        let till = Till::new(reply, command_name(&command));
        self.jobs.put(Job::Execute { command: Box::new(command), till }).map_err(|error| match error {
            queue::NotTaken::Full => Refusal::new(Reason::Busy),
            queue::NotTaken::Stopped => Refusal::new(Reason::Stopped),
        })?;
        answer.await.map_err(|_| Refusal::new(Reason::Stopped))?
    }

    /// Carries out a till's command, which has an answer.
    ///
    /// # Errors
    /// As [`Hosted::execute`].
    pub async fn ask(&self, command: Command) -> Result<Answer, Refusal> {
        let executed = self.execute(command).await?;
        executed.answer.ok_or_else(|| {
            // Own records that wait for another shop's to arrive again, as after a lost disk.
            Refusal::new(Reason::Busy)
        })
    }

    /// Hands a peer's records to the writer; the outcome comes as a [`Notice`]. False: the queue is full.
    pub fn ingest(&self, job: IngestJob) -> bool {
        self.jobs.put(Job::Ingest(job)).is_ok()
    }

    /// Hands a file's records of one log to the writer, when there is room; what became of them is told to the source.
    ///
    /// # Errors
    /// `STOPPED`.
    pub async fn take_in(
        &self,
        source: Source,
        shop: ShopId,
        runs: Vec<Vec<proto::Record>>,
    ) -> Result<(), Refusal> {
        self.put_when_room(Job::Import { source, shop, runs }).await
    }

    /// Has the writer look for a fork in a file's records of a log, when there is room.
    ///
    /// # Errors
    /// `STOPPED`.
    pub async fn look_into(
        &self,
        source: Source,
        shop: ShopId,
        runs: Vec<Vec<proto::Record>>,
    ) -> Result<(), Refusal> {
        self.put_when_room(Job::Inspect { source, shop, runs }).await
    }

    async fn put_when_room(&self, job: Job) -> Result<(), Refusal> {
        self.jobs.put_when_room(job).await.ok_or_else(|| Refusal::new(Reason::Stopped))
    }

    /// Has the writer weigh what peers say of this shop's own log. False: the queue is full.
    pub fn confirm(&self, answers: Vec<HeadAnswer>, patience: Patience) -> bool {
        self.jobs.put(Job::Confirm { answers, patience }).is_ok()
    }

    /// Has the writer look for a fork in a peer's records of a log. It may ask for others by a [`Notice`]. False: the
    /// queue is full.
    pub fn examine(&self, link: LinkId, shop: ShopId, runs: Vec<Vec<proto::Record>>) -> bool {
        self.jobs.put(Job::Examine(IngestJob { link, shop, runs })).is_ok()
    }

    /// Has the writer verify a peer's proof of a fork. False: the queue is full.
    pub fn alarm(&self, link: LinkId, proof: bytes::Bytes) -> bool {
        self.jobs.put(Job::Alarm { link, proof }).is_ok()
    }

    /// Has the writer put records back that damage took. False: the queue is full.
    pub fn heal(&self, survey: Arc<Survey>, found: Vec<Record>, leftover: Leftover) -> bool {
        self.jobs.put(Job::Heal { survey, found, leftover }).is_ok()
    }

    /// Has the writer look for what is due. A full queue does not matter: each group looks, too.
    pub fn tick(&self) {
        let _ = self.jobs.put(Job::Tick);
    }

    /// Reads the views without holding up the caller's thread.
    ///
    /// # Errors
    /// `INTERNAL` where the views cannot be read.
    pub async fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&SledViews) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let views = self.views.clone();
        let outcome = tokio::task::spawn_blocking(move || read(&views)).await;
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(internal(&error)),
            Err(error) => Err(internal(&error)),
        }
    }

    /// The dry run of a purchase: which vouchers would apply, and why others would not. Nothing is written.
    ///
    /// # Errors
    /// The question is malformed, this shop is no member, or `INTERNAL` where the views cannot be read.
    pub async fn qualify(&self, question: Qualify) -> Result<Vec<Qualified>, Refusal> {
        let (alliance, keys) = (self.alliance(), self.keys.clone());
        let qualify = move |view: &SledViews| {
            // Nothing is signed.
            let (key, key_epoch) = (&*keys.signing, 0);
            let decider = Decider { alliance: &alliance, view, now: clock::now(), key, key_epoch };
            match decider.qualify(&question) {
                Ok(found) => Ok(Ok(found)),
                Err(DecideError::Refused(refusal)) => Ok(Err(refusal)),
                Err(DecideError::View(error)) => Err(error),
            }
        };
        self.query(qualify).await?
    }

    /// The statement that this shop would sign now. Nothing is written.
    ///
    /// # Errors
    /// `STATEMENT_WAITS`, a period end out of bounds, or `INTERNAL` where the views cannot be read.
    pub async fn draft_statement(&self, sign: SignCommand) -> Result<Statement, Refusal> {
        let (alliance, keys) = (self.alliance(), self.keys.clone());
        let draft = move |view: &SledViews| {
            // Nothing is signed.
            let (key, key_epoch) = (&*keys.signing, 0);
            let decider = Decider { alliance: &alliance, view, now: clock::now(), key, key_epoch };
            let cases = statement::cases(view, alliance.me(), sign.ally)?;
            let (open, before) = cases.split_last().expect("the last one is never agreed");
            match decider.draft_statement(&sign, open, before) {
                Ok((content, _)) => Ok(Ok(content)),
                Err(DecideError::Refused(refusal)) => Ok(Err(refusal)),
                Err(DecideError::View(error)) => Err(error),
            }
        };
        self.query(draft).await?
    }

    /// Records held and not folded: a till's question may miss what is in them.
    ///
    /// # Errors
    /// `INTERNAL` where the views cannot be read.
    pub async fn unfolded_count(&self) -> Result<u64, Refusal> {
        let frontier = self.reader.frontier();
        self.query(move |views| {
            let mut count = 0;
            for (shop, head) in frontier {
                count += head.sequence.saturating_sub(fold::cursor(views, shop)?);
            }
            Ok(count)
        })
        .await
    }

    /// Whether a promotion is known.
    ///
    /// # Errors
    /// `PROMOTION_UNKNOWN`, or `INTERNAL` where the views cannot be read.
    pub async fn promotion(&self, id: RecordId) -> Result<hutong_core::promotion::Promotion, Refusal> {
        let currency = self.alliance().charter().currency;
        let found = self.query(move |v| hutong_core::promotion::Promotion::load(v, id, currency)).await?;
        found.ok_or(Refusal::new(Reason::PromotionUnknown))
    }

    /// The guest keys of invitations that are open at a moment.
    ///
    /// # Errors
    /// The views cannot be read.
    pub fn open_invitations(&self, at: UnixMillis) -> Result<Vec<[u8; 32]>, ViewError> {
        hutong_core::command::open_invitations(&*self.views, at)
    }

    /// Jobs that wait for the writer, and the most that may.
    pub fn queued_jobs(&self) -> (usize, usize) {
        self.jobs.waiting()
    }

    /// Bytes of journal and views on disk.
    pub fn bytes_on_disk(&self) -> (u64, u64) {
        (self.reader.bytes_on_disk(), self.views.bytes_on_disk().unwrap_or_default())
    }

    /// Takes no more jobs, and waits until those that were taken are done and the views are stored.
    pub async fn finish(&self) {
        self.jobs.close();
        // The writer's end of the channel goes with the writer.
        drop(self.position.clone().wait_for(|_| false).await);
    }

    /// Whether the views answer at all.
    pub fn is_healthy(&self) -> bool {
        !self.jobs.is_stopped() && self.views.get(&[0]).is_ok()
    }
}

/// Notes what went wrong, and gives the caller no more than that something did.
pub fn internal(error: &(impl std::fmt::Display + ?Sized)) -> Refusal {
    tracing::error!(%error, "internal error");
    Refusal::new(Reason::Internal)
}
