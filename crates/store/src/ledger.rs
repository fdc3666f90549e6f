//! The ledger: one shop's copy of one alliance. It parses, decides, journals, syncs and folds, in that order, a group
//! at a time; nothing is acknowledged before [`Ledger::commit`] has returned.
//!
//! The node calls it from its writer task, the simulator directly. It has no clock, no thread and no randomness.

mod error;
mod recovery;
mod staged;

use std::sync::Arc;

use bytes::Bytes;
use hutong_core::{
    alliance::Alliance,
    answer::{self, Answer},
    charter::Charter,
    command::{Command, DecideError, Decider, DraftRecord, Qualified, Qualify},
    duty::{self, Duty},
    fold,
    ingest::{Head, IngestError},
    refusal::{Reason, Refusal},
};
use hutong_record::{
    AllianceId, DecryptionKey, Draft, ForkProof, Payload, Place, Record, RecordId, ShopId, SigningKey,
    UnixMillis, proto, proto::Kind, sign,
};
use rand_core::CryptoRng;

pub use error::{ExecuteError, LedgerError};

use crate::{
    journal::{Journal, JournalError, JournalReader, LogHead, Lsn},
    views::Views,
};
use staged::Staged;

/// The keys with which a shop signs and reads.
#[derive(Debug)]
pub struct ShopKeys {
    /// Signs records and vouchers.
    pub signing: Arc<SigningKey>,
    /// Opens what is sealed to the shop.
    pub decryption: DecryptionKey,
}

/// One shop's copy of one alliance.
pub struct Ledger<V> {
    alliance: Alliance,
    keys: Arc<ShopKeys>,
    journal: Box<dyn Journal>,
    reader: Arc<dyn JournalReader>,
    views: Arc<V>,
    staged: Staged,
}

impl<V> std::fmt::Debug for Ledger<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger of {:?}", self.alliance.charter().id)
    }
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
    /// how many records are folded, and of how many.
    ///
    /// # Errors
    /// The journal or the views cannot be read.
    pub fn open(
        charter: Charter,
        me: ShopId,
        keys: Arc<ShopKeys>,
        journal: Box<dyn Journal>,
        views: Arc<V>,
        progress: &mut dyn FnMut(Lsn, Lsn),
    ) -> Result<Self, LedgerError> {
        let reader = journal.reader();
        let alliance = Alliance::load(charter, me, &*views)?;
        let mut ledger = Self { alliance, keys, journal, reader, views, staged: Staged::default() };
        ledger.catch_up(progress)?;
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

    /// Takes in a peer's records of one log; true: some were new.
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
        let run = match self.alliance.admit(messages, head, held, now) {
            Ok(Some(run)) => run,
            Ok(None) => return Ok(Ok(false)),
            Err(error) => return Ok(Err(error)),
        };
        for record in run.into_records() {
            let message = open_payload(&record, self.alliance.me(), &self.keys.decryption);
            self.stage(record, message)?;
        }
        Ok(Ok(true))
    }

    /// Decides a command and stages its records. A repeated request is answered as it was the first time.
    ///
    /// # Errors
    /// A refusal by the rules (kept as a record where attempts are), or a failure of views or journal.
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
        self.check_folded()?;
        let view = self.staged.overlay(&*self.views);
        let decider = Decider { alliance: &self.alliance, view: &view, now, key: &self.keys.signing };
        let (drafts, refusal) = match decider.decide(command, rng) {
            Ok(drafts) => (drafts, None),
            Err(DecideError::Refused(refusal)) => {
                (decider.keep_refusal(command, &refusal).map_err(LedgerError::from)?, Some(refusal))
            }
            Err(DecideError::View(error)) => return Err(LedgerError::from(error).into()),
        };
        let records = self.write(drafts, now, rng)?;
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
        let decider = Decider { alliance: &self.alliance, view: &view, now, key: &self.keys.signing };
        decider.qualify(question).map_err(|error| match error {
            DecideError::Refused(refusal) => ExecuteError::Refused(refusal),
            DecideError::View(error) => LedgerError::from(error).into(),
        })
    }

    /// What this shop's node owes others and nobody at a till asks for, at most `most` duties: each is carried out by
    /// executing [`Command::Fulfil`], and stands until that is committed. None while this shop may not write.
    ///
    /// # Errors
    /// The views cannot be read.
    pub fn duties(&self, now: UnixMillis, most: usize) -> Result<Vec<Duty>, LedgerError> {
        if self.alliance.own_membership().is_err() {
            return Ok(Vec::new());
        }
        let late_entry_ms = self.alliance.charter().late_entry_ms_max;
        Ok(duty::due(&self.staged.overlay(&*self.views), now, late_entry_ms, most)?)
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

    /// What the same request was told before.
    fn earlier(&self, command: &Command) -> Result<Option<Answer>, ExecuteError> {
        let Some(request) = command.request() else { return Ok(None) };
        let view = self.staged.overlay(&*self.views);
        Ok(answer::earlier(&view, request).map_err(LedgerError::from)??)
    }

    /// Looks for a fork in a peer's records of a log: a record at a place where this ledger holds another one, both
    /// signed. The proof is staged as a record of this shop, unless the log is known to end before that place. True:
    /// nothing from that place on counts, by this proof or by what was known.
    ///
    /// # Errors
    /// The views or the journal failed.
    pub fn examine(
        &mut self,
        messages: Vec<proto::Record>,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<bool, ExecuteError> {
        for theirs in messages.into_iter().filter_map(|message| Record::parse(message).ok()) {
            let (shop, sequence) = (theirs.header().shop, theirs.header().sequence);
            let held = match self.reader.read_log(shop, sequence, 1) {
                Err(JournalError::Damaged { .. }) => continue, // nothing to compare with
                held => held.map_err(LedgerError::from)?,
            };
            let Some(proof) = held.first().and_then(|ours| ForkProof::from_records(ours, &theirs)) else {
                continue;
            };
            let roster = self.alliance.roster();
            if roster.counts_up_to(shop).is_some_and(|last| sequence > last) {
                return Ok(true); // one proof is enough
            }
            if ForkProof::verify(&proof, |shop, epoch| roster.signing_key(shop, epoch)).is_err() {
                continue;
            }
            let message = prost::Message::encode_to_vec(&proof);
            let audience = hutong_record::Audience::Alliance;
            self.write(vec![DraftRecord { kind: Kind::ForkProof, audience, message }], now, rng)?;
            return Ok(true);
        }
        Ok(false)
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
        &self,
        draft: &DraftRecord,
        head: Option<Head>,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Record, LedgerError> {
        let (alliance, shop) = (self.id(), self.alliance.me());
        let (sequence, incarnation) = head.map_or((1, 0), |h| (h.sequence + 1, h.incarnation));
        let place = Place { alliance, shop, incarnation, sequence, kind: draft.kind };
        let payload = match draft.audience.named() {
            [] => Payload::clear(&draft.message, rng)?,
            parties => {
                let key =
                    |shop: &ShopId| self.alliance.roster().shop(*shop).map(|m| m.identity.encryption_key());
                let keys: Option<Vec<_>> = parties.iter().map(key).collect();
                Payload::seal(&draft.message, &place, &keys.ok_or(LedgerError::UnknownParty)?, rng)?
            }
        };
        let header = Draft {
            alliance,
            shop,
            key_epoch: 0,
            incarnation,
            sequence,
            previous: head.map(|h| h.id),
            time: now,
            kind: draft.kind,
            audience: draft.audience.clone(),
        };
        Ok(sign(header, payload, &self.keys.signing))
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

fn head(head: LogHead) -> Head {
    Head { sequence: head.sequence, id: head.id, incarnation: head.incarnation }
}

/// What a record says, if this shop can read it.
pub fn open_payload(record: &Record, me: ShopId, key: &DecryptionKey) -> Option<Bytes> {
    let header = record.header();
    let place = Place {
        alliance: header.alliance,
        shop: header.shop,
        incarnation: header.incarnation,
        sequence: header.sequence,
        kind: header.kind,
    };
    record.payload()?.open(&place, &header.audience, me, key).ok()
}
