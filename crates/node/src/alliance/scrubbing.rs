//! Reading the journal again in the background: slowly every week, at full speed when somebody asks or when it is known
//! to be damaged. What a pass finds is there for the hub, which asks members for it, and for the operator.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use hutong_record::UnixMillis;
use hutong_store::journal::{Damage, Healed, JournalError, Scrub, ScrubStep, Survey};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::Hosted;
use crate::{clock, metrics::Metrics};

/// So much is read at a time.
const STEP_BYTES: u32 = 256 << 10;
/// One step in so long: 2 MiB a second, a fiftieth of what the slowest disks read, 170 GiB a day.
const STEP_EVERY: Duration = Duration::from_millis(125);
/// The first pass after a start: tills, links and views come first.
const FIRST_PASS_AFTER: Duration = Duration::from_secs(60);
/// From the end of a pass to the next.
const PASS_EVERY: Duration = Duration::from_secs(7 * 24 * 3_600);
/// A disk that could not be read is tried again after this.
const FAILED_PASS_AFTER: Duration = Duration::from_secs(600);

/// Where scrubbing stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubState {
    /// A pass is under way.
    pub running: bool,
    /// How much of the journal it has read, bytes.
    pub checked_bytes: u64,
    /// The number of the pass that began last, from 1 since the start.
    pub begun_pass: u64,
    /// The number of the pass that came to its end last; 0: none has.
    pub finished_pass: u64,
    /// When the last one did.
    pub finished_at: Option<UnixMillis>,
    /// Why the last one did not.
    pub error: Option<String>,
    /// Why lost records could not be put back, last time.
    pub healing_error: Option<String>,
}

/// What is known of the journal's health.
#[derive(Debug)]
pub struct JournalHealth {
    /// Where scrubbing stands.
    pub scrub: ScrubState,
    /// What is damaged: all that the pass which `scrub` says has finished found, and was not healed since.
    pub damage: Vec<Damage>,
    /// How many records were put back since the start: all that `damage` no longer names are among them.
    pub healed_count: u64,
}

/// The state of one alliance's scrubbing, and its bell.
#[derive(Debug, Default)]
pub(super) struct Scrubbing {
    state: RwLock<ScrubState>,
    /// What the last pass found.
    survey: watch::Sender<Option<Arc<Survey>>>,
    wish: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// A step in [`STEP_EVERY`].
    Slow,
    /// As fast as the disk reads.
    Full,
}

impl Scrubbing {
    fn change(&self, change: impl FnOnce(&mut ScrubState)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> ScrubState {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Hosted {
    /// What is known of the journal's health. Read in this order, it never shows a pass as finished without what it found,
    /// nor damage gone without its records counted as healed.
    pub fn journal_health(&self) -> JournalHealth {
        let scrub = self.scrubbing.state();
        let damage = self.reader().damage();
        let healed_count = self.reader().healed_count();
        JournalHealth { scrub, damage, healed_count }
    }

    /// Has the journal read again from its beginning, at full speed. Returns the number of the pass that will tell.
    pub fn scrub_now(&self) -> u64 {
        let number = self.scrubbing.state().begun_pass + 1;
        self.scrubbing.wish.notify_one();
        number
    }

    /// What the last pass found, and each later one's findings.
    pub fn surveys(&self) -> watch::Receiver<Option<Arc<Survey>>> {
        self.scrubbing.survey.subscribe()
    }

    /// Records were put back, or could not be. The journal is looked through again to see what is left.
    pub fn healed(&self, outcome: &Result<Healed, JournalError>) {
        let error = outcome.as_ref().err().map(ToString::to_string);
        self.scrubbing.change(|state| state.healing_error = error);
        if outcome.as_ref().is_ok_and(|healed| healed.segments > 0) {
            self.scrub_now();
        }
    }

    /// Reads the journal again, pass by pass, until the node stops.
    pub async fn scrub(self: Arc<Self>, metrics: Arc<Metrics>, stop: CancellationToken) {
        let mut hurry = !self.reader().damage().is_empty();
        let mut wait = if hurry { Duration::ZERO } else { FIRST_PASS_AFTER };
        loop {
            let pace = tokio::select! {
                () = stop.cancelled() => return,
                () = self.scrubbing.wish.notified() => Pace::Full,
                () = tokio::time::sleep(wait) => if hurry { Pace::Full } else { Pace::Slow },
            };
            hurry = false;
            let passed = tokio::select! {
                () = stop.cancelled() => return,
                passed = self.pass(pace, &metrics) => passed,
            };
            wait = match passed {
                Ok(()) => PASS_EVERY,
                Err(error) => {
                    tracing::error!(error, "the journal could not be read to its end");
                    self.scrubbing.change(|state| {
                        state.running = false;
                        state.error = Some(error);
                    });
                    FAILED_PASS_AFTER
                }
            };
        }
    }

    /// One pass. It begins anew, at full speed, when somebody asks meanwhile: what was read before may have been damaged
    /// since.
    async fn pass(&self, mut pace: Pace, metrics: &Metrics) -> Result<(), String> {
        let mut pass = self.begin();
        loop {
            let begun = Instant::now();
            let (back, step) = self.step(pass).await?;
            pass = back;
            let checked_bytes = pass.bytes();
            match step {
                ScrubStep::Read(bytes) => {
                    metrics.journal_scrubbed_bytes.inc_by(bytes);
                    self.scrubbing.change(|state| state.checked_bytes = checked_bytes);
                }
                ScrubStep::Done(survey) => {
                    metrics.journal_scrubs.inc();
                    self.found(survey);
                    return Ok(());
                }
            }
            if pace == Pace::Slow {
                tokio::select! {
                    () = self.scrubbing.wish.notified() => {
                        pace = Pace::Full;
                        pass = self.begin();
                    }
                    () = tokio::time::sleep_until(begun + STEP_EVERY) => {}
                }
            }
        }
    }

    fn begin(&self) -> Scrub {
        self.scrubbing.change(|state| {
            (state.running, state.checked_bytes) = (true, 0);
            state.begun_pass += 1;
            state.error = None;
        });
        Scrub::default()
    }

    async fn step(&self, mut pass: Scrub) -> Result<(Scrub, ScrubStep), String> {
        let reader = self.reader().clone();
        let read = move || reader.scrub(&mut pass, STEP_BYTES).map(|step| (pass, step));
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn found(&self, survey: Survey) {
        for damage in self.reader().damage() {
            let (segment, offset, bytes, records) =
                (damage.segment, damage.offset, damage.bytes, damage.records);
            tracing::error!(segment, offset, bytes, records, "the journal is damaged");
            for missing in damage.missing {
                let (from, to) = (missing.from_sequence, missing.to_sequence);
                tracing::error!(
                    shop = missing.shop.short(),
                    from,
                    to,
                    "records are lost until members send them"
                );
            }
        }
        self.scrubbing.change(|state| {
            state.running = false;
            state.checked_bytes = survey.bytes;
            state.finished_pass = state.begun_pass;
            state.finished_at = Some(clock::now());
            state.error = None;
        });
        let damaged = !survey.is_sound();
        self.scrubbing.survey.send_replace(damaged.then(|| Arc::new(survey)));
    }
}
