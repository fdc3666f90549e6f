//! The ledger: one shop's copy of one alliance. It parses, decides, journals, syncs and folds, in that order, a group
//! at a time; nothing is acknowledged before [`Ledger::commit`] has returned.
//!
//! The node calls it from its writer task, the simulator directly. It has no clock, no thread and no randomness.

mod error;
mod forks;
mod healing;
mod keys;
mod opening;
mod overriding;
mod recovery;
mod signing;
mod staged;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use hutong_core::{
    alliance::Alliance,
    answer::{self, Answer},
    charter::Charter,
    command::{Command, DecideError, Decider, DraftRecord, Qualified, Qualify},
    duty::{self, Duty},
    fold,
    ingest::{Admitted, Head, IngestError},
    keys as key_book,
    refusal::{Reason, Refusal},
    view::ViewError,
};
use hutong_record::{
    Afresh, AllianceId, Draft, Payload, Place, Record, RecordId, Sealer, ShopId, SigningKey, Succession,
    UnixMillis, VerifiedRun, incarnation_first, proto, sign,
};
use rand_core::CryptoRng;

pub use error::{ExecuteError, LedgerError};
pub use forks::{Examined, KnownFork, ProofTaken, known_forks};
pub use keys::{EpochKeys, ShopKeys};
pub use opening::Opening;
pub use signing::{Doubt, HeadAnswer, Patience, QUESTION_MS, Seat, Signing, confirming_peers};

use crate::{
    journal::{Journal, JournalError, JournalReader, LogHead, Lsn},
    views::Views,
};
use staged::Staged;

/// One shop's copy of one alliance.
pub struct Ledger<V> {
    alliance: Alliance,
    keys: Arc<ShopKeys>,
    journal: Box<dyn Journal>,
    reader: Arc<dyn JournalReader>,
    views: Arc<V>,
    staged: Staged,
    signing: Signing,
    sealer: Sealer,
    /// The next record of this shop's log begins an incarnation.
    next_incarnation: bool,
    /// Proofs of forks, by shop, that wait until this shop may sign.
    waiting_proofs: BTreeMap<ShopId, DraftRecord>,
}

impl<V> std::fmt::Debug for Ledger<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger of {:?}", self.alliance.charter().id)
    }
}

/// Where the next record of this shop's log stands, and what signs it.
struct Spot {
    sequence: u64,
    previous: Option<RecordId>,
    incarnation: u32,
    key: Arc<SigningKey>,
    key_epoch: u32,
}

/// What a command came to. Not durable before the group is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// The records that carry it out; none if it was carried out before.
    pub records: Vec<RecordId>,
    /// What to tell the till, for commands that belong to a request.
    pub answer: Option<Answer>,
}

/// What a commit made durable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// The journal's head.
    pub position: Lsn,
    /// The logs that grew, and how far they go now.
    pub heads: Vec<(ShopId, Head)>,
    /// Whether the roster may have changed.
    pub roster_changed: bool,
}

impl<V: Views> Ledger<V> {
    /// Opens a shop's copy: views that lag behind the journal, or are empty, are folded up to it. `progress` is told
    /// how many records are folded, and of how many. Unless the shop is alone it signs nothing before
    /// [`Ledger::confirm_head`] has confirmed how far its log goes.
    ///
    /// # Errors
    /// The journal or the views cannot be read.
    pub fn open(
        charter: Charter,
        me: ShopId,
        keys: Arc<ShopKeys>,
        seat: Seat,
        journal: Box<dyn Journal>,
        views: Arc<V>,
        progress: &mut dyn FnMut(Lsn, Lsn),
    ) -> Result<Self, LedgerError> {
        let cryptography = Arc::new(Afresh);
        Self::open_with(Opening { charter, me, keys, seat, journal, views, cryptography }, progress)
    }

    /// The same, with somebody else to do the sums of signatures.
    ///
    /// # Errors
    /// See [`Ledger::open`].
    pub fn open_with(opening: Opening<V>, progress: &mut dyn FnMut(Lsn, Lsn)) -> Result<Self, LedgerError> {
        let Opening { charter, me, keys, seat, journal, views, cryptography } = opening;
        let reader = journal.reader();
        let alliance = Alliance::load_with(cryptography, charter, me, &*views)?;
        let signing = Signing::Unconfirmed(Doubt::of(seat, reader.tail_loss(me)));
        let mut ledger = Self {
            alliance,
            keys,
            journal,
            reader,
            views,
            staged: Staged::default(),
            signing,
            sealer: Sealer::default(),
            next_incarnation: false,
            waiting_proofs: BTreeMap::new(),
        };
        ledger.catch_up(progress)?;
        ledger.confirm_if_alone();
        Ok(ledger)
    }

    /// The rules and the roster.
    pub const fn alliance(&self) -> &Alliance {
        &self.alliance
    }

    /// The alliance's id.
    pub const fn id(&self) -> AllianceId {
        self.alliance.charter().id
    }

    /// What others may read while this ledger writes.
    pub fn reader(&self) -> Arc<dyn JournalReader> {
        self.reader.clone()
    }

    /// The folded state.
    pub fn views(&self) -> Arc<V> {
        self.views.clone()
    }

    /// How many records wait for [`Ledger::commit`].
    pub fn staged_count(&self) -> usize {
        self.staged.records.len()
    }

    /// How far a log goes, with what is staged.
    pub fn head(&self, shop: ShopId) -> Option<Head> {
        self.staged.heads.get(&shop).copied().or_else(|| self.reader.head_of(shop).map(head))
    }

    /// Takes in a peer's records of one log; true: some were new. Records of this shop's own log that are new while it
    /// signs were signed by another copy of it: it stops signing.
    ///
    /// # Errors
    /// The rung of the ladder that refused them, or the views' or journal's failure.
    pub fn ingest(
        &mut self,
        messages: Vec<proto::Record>,
        now: UnixMillis,
    ) -> Result<Result<bool, IngestError>, LedgerError> {
        let staged = &self.staged;
        let reader = &self.reader;
        let head = |shop| staged.heads.get(&shop).copied().or_else(|| reader.head_of(shop).map(head));
        let held =
            |shop, sequence| staged.id(shop, sequence).or_else(|| reader.record_id(shop, sequence).ok()?);
        let Admitted { runs, supersedes } = match self.alliance.admit(messages, head, held, now) {
            Ok(Some(admitted)) => admitted,
            Ok(None) => return Ok(Ok(false)),
            Err(error) => return Ok(Err(error)),
        };
        let records: Vec<_> = runs.into_iter().flat_map(VerifiedRun::into_records).collect();
        let first = records[0].header().clone();
        if first.shop == self.alliance.me() && self.signing == Signing::Confirmed {
            self.signing = Signing::Unconfirmed(Doubt::Shared);
        }
        if supersedes {
            tracing::warn!(
                shop = first.shop.short(),
                from = first.sequence,
                "a log goes on in a new incarnation from an earlier place; what was held from there on does not count"
            );
            self.alliance.switch_keys(&records);
            self.staged.supersede(records);
            return Ok(Ok(true));
        }
        for record in records {
            let message = self.keys.open(&record, self.alliance.me());
            self.stage(record, message)?;
        }
        Ok(Ok(true))
    }

    /// Decides a command and stages its records. A repeated request is answered as it was the first time.
    ///
    /// # Errors
    /// A refusal by the rules (kept as a record where attempts are), or a failure of views or journal. `HEAD_UNCONFIRMED`
    /// and `LOG_FROZEN`: nothing may be signed, nor is anything.
    pub fn execute(
        &mut self,
        command: &Command,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Executed, ExecuteError> {
        if let Some(earlier) = self.earlier(command)?.filter(|_| !hutong_record::planted!(ForgetAnswers)) {
            return match earlier {
                Answer::Refused(refusal) => Err(ExecuteError::Refused(refusal)),
                answer => Ok(Executed { records: Vec::new(), answer: Some(answer) }),
            };
        }
        if let Command::OverrideKey(order) = command {
            return self.override_key(command, order, now, rng);
        }
        let (key, key_epoch) = self.signer()?;
        if let Err(refusal) = self.signing.check() {
            self.alliance.own_membership()?;
            return Err(refusal.into());
        }
        self.check_folded()?;
        self.check_key_held(command)?;
        let view = self.staged.overlay(&*self.views);
        let decider = Decider { alliance: &self.alliance, view: &view, now, key: &key, key_epoch };
        let (drafts, refusal) = match decider.decide(command, rng) {
            Ok(drafts) => (drafts, None),
            Err(DecideError::Refused(refusal)) => {
                (decider.keep_refusal(command, &refusal).map_err(LedgerError::from)?, Some(refusal))
            }
            Err(error) => return Err(error.into()),
        };
        let records = self.write(drafts, now, rng)?;
        if let Command::RotateKey(succession) = command {
            self.note_keys_held(succession.epoch()).map_err(LedgerError::from)?;
        }
        match refusal {
            Some(refusal) => Err(ExecuteError::Refused(refusal)),
            None => Ok(Executed { records, answer: self.earlier(command)? }),
        }
    }

    /// The dry run of a purchase: which vouchers would apply, and why others would not. Nothing is written.
    ///
    /// # Errors
    /// The question is malformed, or the views cannot be read.
    pub fn qualify(&self, question: &Qualify, now: UnixMillis) -> Result<Vec<Qualified>, ExecuteError> {
        self.check_folded()?;
        let view = self.staged.overlay(&*self.views);
        let (key, key_epoch) = self.signer()?;
        let decider = Decider { alliance: &self.alliance, view: &view, now, key: &key, key_epoch };
        Ok(decider.qualify(question)?)
    }

    /// What this shop's node owes others and nobody at a till asks for, at most `most` duties: each is carried out by
    /// executing [`Command::Fulfil`], and stands until that is committed. None while this shop may not write.
    ///
    /// # Errors
    /// The views cannot be read.
    pub fn duties(&self, now: UnixMillis, most: usize) -> Result<Vec<Duty>, LedgerError> {
        self.duties_after(now, most, &mut None)
    }

    /// As [`Ledger::duties`], but only those after a place, which is then where to go on.
    ///
    /// # Errors
    /// The views cannot be read.
    pub fn duties_after(
        &self,
        now: UnixMillis,
        most: usize,
        place: &mut Option<Vec<u8>>,
    ) -> Result<Vec<Duty>, LedgerError> {
        if self.alliance.own_membership().is_err() {
            return Ok(Vec::new());
        }
        Ok(duty::due_after(&self.staged.overlay(&*self.views), &self.alliance, now, most, place)?)
    }

    /// Refuses to decide while records of this shop's own log wait for others, as after a lost disk: their numbers,
    /// counts and answers are not known yet, and would be given out again.
    fn check_folded(&self) -> Result<(), ExecuteError> {
        let me = self.alliance.me();
        if self.alliance.own_membership().is_err() {
            return Ok(()); // refused by the rules, with the reason
        }
        let folded = fold::cursor(&self.staged.overlay(&*self.views), me).map_err(LedgerError::from)?;
        if folded == self.head(me).map_or(0, |head| head.sequence) {
            return Ok(());
        }
        Err(Refusal::new(Reason::Busy).into())
    }

    /// What signs this shop's next record, and in which key epoch.
    fn signer(&self) -> Result<(Arc<SigningKey>, u32), Refusal> {
        let epoch = self.alliance.key_epoch(self.alliance.me());
        let key = self.keys.signing_of(epoch);
        Ok((key.ok_or_else(|| Refusal::new(Reason::KeyMissing).with("epoch", epoch))?, epoch))
    }

    /// Refuses to go over to keys that this node has not got: it could sign nothing after that.
    fn check_key_held(&self, command: &Command) -> Result<(), Refusal> {
        let Command::RotateKey(succession) = command else { return Ok(()) };
        self.key_of(succession).map(|_| ())
    }

    /// The key to which a succession leads, if this node has got it.
    fn key_of(&self, succession: &Succession) -> Result<Arc<SigningKey>, Refusal> {
        let epoch = succession.epoch();
        let held = self.keys.signing_of(epoch).filter(|key| key.public() == *succession.signing_key());
        held.ok_or_else(|| Refusal::new(Reason::KeyMissing).with("epoch", epoch))
    }

    /// The id of a record that is held or staged; none, too, where it is damaged.
    fn id_at(&self, shop: ShopId, sequence: u64) -> Result<Option<RecordId>, JournalError> {
        match self.staged.id(shop, sequence) {
            Some(id) => Ok(Some(id)),
            None => self.reader.readable_id(shop, sequence),
        }
    }

    /// Unless the keys of the epoch before came late: what was sealed to those is opened at the next start.
    fn note_keys_held(&mut self, epoch: u32) -> Result<(), ViewError> {
        let mut view = self.staged.take_overlay(&*self.views);
        let held = key_book::held(&view);
        if held.as_ref().is_ok_and(|held| held.saturating_add(1) >= epoch) {
            key_book::note_held(&mut view, epoch);
        }
        self.staged.put_back(view);
        held.map(|_| ())
    }

    /// What the same request was told before.
    fn earlier(&self, command: &Command) -> Result<Option<Answer>, ExecuteError> {
        let Some(request) = command.request() else { return Ok(None) };
        let view = self.staged.overlay(&*self.views);
        Ok(answer::earlier(&view, request).map_err(LedgerError::from)??)
    }

    /// Signs drafts as the next records of this shop's log. Everything that can fail for a draft's sake comes first.
    fn write(
        &mut self,
        drafts: Vec<DraftRecord>,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<RecordId>, ExecuteError> {
        let mut head = self.head(self.alliance.me());
        let mut records = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let record = self.sign(&draft, head, now, rng)?;
            self.next_incarnation = false;
            let header = record.header();
            let (sequence, incarnation) = (header.sequence, header.incarnation);
            head = Some(Head { sequence, id: record.id(), incarnation });
            records.push((record, Bytes::from(draft.message)));
        }
        let ids = records.iter().map(|(record, _)| record.id()).collect();
        for (record, message) in records {
            self.stage(record, Some(message))?;
        }
        Ok(ids)
    }

    fn sign(
        &mut self,
        draft: &DraftRecord,
        head: Option<Head>,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Record, ExecuteError> {
        let (key, key_epoch) = self.signer()?;
        let (sequence, incarnation) = head.map_or((1, 0), |h| (h.sequence + 1, h.incarnation));
        // The log leaves the block of the epoch before with the record after the rotation, so that no key of that epoch
        // outranks it.
        let begins = self.next_incarnation || incarnation < incarnation_first(key_epoch);
        let incarnation = if begins { next_incarnation(incarnation, key_epoch, now)? } else { incarnation };
        let previous = head.map(|head| head.id);
        self.sign_at(&Spot { sequence, previous, incarnation, key, key_epoch }, draft, now, rng)
    }

    /// Signs a draft as the record of a place.
    fn sign_at(
        &mut self,
        spot: &Spot,
        draft: &DraftRecord,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Record, ExecuteError> {
        let (alliance, shop) = (self.id(), self.alliance.me());
        let Spot { sequence, previous, incarnation, ref key, key_epoch } = *spot;
        let place = Place { alliance, shop, incarnation, sequence, kind: draft.kind };
        let payload = match draft.audience.named() {
            [] => Payload::clear(&draft.message, rng).map_err(LedgerError::from)?,
            parties => {
                let key = |shop: &ShopId| self.alliance.encryption_key(*shop);
                let keys: Option<Vec<_>> = parties.iter().map(key).collect();
                let keys = keys.ok_or(LedgerError::UnknownParty)?;
                Payload::seal(&draft.message, &place, &keys, &mut self.sealer, rng)
                    .map_err(LedgerError::from)?
            }
        };
        let header = Draft {
            alliance,
            shop,
            key_epoch,
            incarnation,
            sequence,
            previous,
            time: now,
            kind: draft.kind,
            audience: draft.audience.clone(),
        };
        Ok(sign(header, payload, key))
    }

    /// Folds a record that will follow what is held, and puts it up for the next commit. `message`: what it says, if
    /// this shop can read it.
    fn stage(&mut self, record: Record, message: Option<Bytes>) -> Result<(), LedgerError> {
        let mut view = self.staged.take_overlay(&*self.views);
        let effects = self.alliance.fold(&mut view, &record, message);
        self.staged.put_back(view);
        self.staged.add(record, effects?);
        Ok(())
    }

    /// Makes everything staged durable: one append, one sync, then the views.
    ///
    /// # Errors
    /// The journal failed: nothing staged may be acknowledged, and the ledger must be opened anew.
    pub fn commit(&mut self) -> Result<Committed, LedgerError> {
        let staged = std::mem::take(&mut self.staged);
        if staged.records.is_empty() {
            return Ok(Committed { position: self.reader.head(), ..Committed::default() });
        }
        if hutong_record::planted!(ViewsBeforeJournal) {
            self.views.apply(&staged.writes, self.reader.head())?;
        }
        self.journal.append(self.reader.head(), &staged.records)?;
        let position = self.journal.sync()?;
        let heads = staged.heads.iter().map(|(shop, head)| (*shop, *head)).collect();
        let roster_changed = staged.roster_changed | self.store_views(staged, position)?;
        Ok(Committed { position, heads, roster_changed })
    }

    /// The journal has it all, so views that fail are folded anew rather than trusted. True: the roster may have
    /// changed by what was folded on the way.
    fn store_views(&mut self, staged: Staged, position: Lsn) -> Result<bool, LedgerError> {
        if !staged.rebuild {
            let stored = self.views.apply(&staged.writes, position);
            match stored.map_err(LedgerError::from).and_then(|()| self.resume(staged.resume)) {
                Ok(roster_changed) => return Ok(roster_changed),
                Err(LedgerError::View(error)) => tracing::warn!(%error, "views are folded anew"),
                Err(error) => return Err(error),
            }
        }
        self.rebuild(&mut |_, _| {}).map(|()| true)
    }
}

/// The incarnation that begins now in a key epoch.
fn next_incarnation(before: u32, key_epoch: u32, now: UnixMillis) -> Result<u32, Refusal> {
    signing::next(before, key_epoch, now).ok_or_else(|| Refusal::new(Reason::IncarnationsSpent))
}

fn head(head: LogHead) -> Head {
    Head { sequence: head.sequence, id: head.id, incarnation: head.incarnation }
}
