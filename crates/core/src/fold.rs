//! Fold: what a stored record means for the views. The outcome depends only on the set of records, in each author's
//! own order: a record that needs another which has not arrived stops its author's log until that one is there.

use alloc::vec::Vec;

use bytes::Bytes;
use hutong_record::{
    CardId, ForkProof, PublicKey, Record, RecordId, ShopId, UnixMillis, motion_id, proto, proto::Kind,
};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::{
    alliance::Alliance,
    keys::NoKey,
    promotion::Promotion,
    roster::{Council, Heard, Member, Roster},
    table::{self, Need},
    view::{Overlay, Reader, ViewError},
};

mod governance;
mod lost;
mod netting;
mod note;
mod proof;
mod redemption;
mod right;
mod settlement;
mod stock;
mod told;
mod trade;
mod voucher;

pub(crate) use voucher::Issued;

/// The longest message that counts. Ours stay below 8 KiB; what views keep of a message must fit their values, whatever
/// a member has put into it.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1_024;

/// What folding one record did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Whether the author's log went forward by this record.
    pub folded: bool,
    /// Why the record does not count, if it does not.
    pub ignored: Option<&'static str>,
    /// Logs that waited for this record and can go on.
    pub resume: Vec<ShopId>,
    /// The roster may have changed.
    pub roster_changed: bool,
    /// Records that were folded before do not count any more (a seal, a fork): rebuild the views.
    pub rebuild: bool,
}

/// Why a record that refers to a key does not count: for whoever hears of its shop's log being cut off in whichever way.
const NEVER_CAME_TO: &str = "signed in a key epoch that its shop never came to";

/// What a record came to.
enum Outcome {
    Counts,
    Ignored(&'static str),
    Waits(Need),
}

/// A handler's result: `?` on [`Stop`] leaves with an outcome.
enum Stop {
    View(ViewError),
    Outcome(Outcome),
}

impl From<ViewError> for Stop {
    fn from(error: ViewError) -> Self {
        Self::View(error)
    }
}

type Handled = Result<(), Stop>;

const fn ignore(why: &'static str) -> Stop {
    Stop::Outcome(Outcome::Ignored(why))
}

const fn wait(need: Need) -> Stop {
    Stop::Outcome(Outcome::Waits(need))
}

/// How far a shop's log is folded.
pub fn cursor(view: &(impl Reader + ?Sized), shop: ShopId) -> Result<u64, ViewError> {
    Ok(progress(view, shop)?.sequence)
}

/// The latest moment that a shop's folded records name. Times within a log need not ascend; this one does, and is the same
/// wherever as much of the log is folded.
pub(crate) fn latest(view: &(impl Reader + ?Sized), shop: ShopId) -> Result<UnixMillis, ViewError> {
    Ok(progress(view, shop)?.latest)
}

fn progress(view: &(impl Reader + ?Sized), shop: ShopId) -> Result<Progress, ViewError> {
    let found = table::read(view, &table::cursor(shop))?;
    Ok(found.unwrap_or(Progress { sequence: 0, latest: UnixMillis::EPOCH }))
}

/// The proof by which a shop's log is frozen: the place of the fork, and an encoded `ForkProof`.
pub fn fork_proof(view: &(impl Reader + ?Sized), shop: ShopId) -> Result<Option<(u64, Vec<u8>)>, ViewError> {
    table::read(view, &table::fork(shop))
}

/// When a shop's log forked, as the records of the proof by which it is frozen say: the earlier of the two times.
///
/// # Errors
/// The views cannot be read.
pub fn forked_at(view: &(impl Reader + ?Sized), shop: ShopId) -> Result<Option<UnixMillis>, ViewError> {
    let Some((_, proof)) = fork_proof(view, shop)? else { return Ok(None) };
    let damaged = || ViewError::Damaged("table of forks".into());
    let proof = proto::ForkProof::decode(proof.as_slice()).map_err(|_| damaged())?;
    let signed = proof.first.iter().chain(&proof.second);
    let times = signed.filter_map(|signed| hutong_record::Header::parse(&signed.header).ok()).map(|h| h.time);
    Ok(times.min())
}

/// One record on its way into the views.
/// How far a log is folded.
#[derive(Serialize, Deserialize)]
struct Progress {
    sequence: u64,
    latest: UnixMillis,
}

struct Folding<'f, 'v, R: ?Sized> {
    alliance: &'f Alliance,
    view: &'f mut Overlay<'v, R>,
    record: &'f Record,
    message: Bytes,
}

impl Alliance {
    /// Folds a record. `message` is its opened payload; none where it is sealed to others or was dropped.
    pub fn fold<R: Reader + ?Sized>(
        &mut self,
        view: &mut Overlay<'_, R>,
        record: &Record,
        message: Option<Bytes>,
    ) -> Result<Effects, ViewError> {
        let header = record.header();
        let oversized = message.as_ref().is_some_and(|message| message.len() > MESSAGE_BYTES_MAX);
        let message = message.filter(|_| !oversized);
        let voted = self.hear(view, record, message.as_ref());
        let rotated = self.hear_rotation(view, record, message.as_ref());
        let mut effects = if self.was_admitted(header.shop) {
            self.go_on(view, record, message, oversized)?
        } else {
            self.hold(view, record, message)?
        };
        if rotated {
            effects.resume.extend(resume(view, &Self::closing(header.shop))?);
            effects.roster_changed = true; // who may knock with which key has changed
        }
        if voted {
            self.update_roster(view, &mut effects)?;
            effects.roster_changed = true; // an appeal, say, is shown before it changes anything
        }
        Ok(effects)
    }

    /// Voices are heard at once, in whatever order logs go on: who is in, and which records count, hangs on all of them,
    /// also on those that do not count. True: the roster may change.
    fn hear<R: Reader + ?Sized>(
        &mut self,
        view: &mut Overlay<'_, R>,
        record: &Record,
        message: Option<&Bytes>,
    ) -> bool {
        let header = record.header();
        let (shop, day, sequence) = (header.shop, Heard::day(header.time), header.sequence);
        let mut changes = false;
        // Almost every record is one of several of its day.
        if !self.council.heard.within(shop, day, 0, Some(sequence)) {
            changes = self.roster.wakes(shop, day, &self.council);
            self.council.heard.insert(shop, day, sequence);
            view.put(table::heard(shop, day), sequence.to_be_bytes().to_vec());
        }
        let message = message.filter(|_| header.audience.named().is_empty());
        let alliance = self.charter().id;
        let hear = |message| {
            self.council.hear(alliance, header.kind, header.time, message, self.judge(), self.cryptography())
        };
        let raised = message.map(hear);
        let Some(Ok(Some(raised))) = raised else { return changes };
        Council::keep(view, shop, header.sequence, &raised);
        self.council.add(shop, header.sequence, raised) || changes
    }

    /// The next record of a log, of a shop that is or was in.
    fn go_on<R: Reader + ?Sized>(
        &mut self,
        view: &mut Overlay<'_, R>,
        record: &Record,
        message: Option<Bytes>,
        oversized: bool,
    ) -> Result<Effects, ViewError> {
        let header = record.header();
        if header.sequence != cursor(view, header.shop)? + 1 {
            return match message {
                Some(message) if header.kind == Kind::LostRecord => {
                    self.fold_lost_ahead(view, record, message)
                }
                _ => Ok(Effects::default()),
            };
        }
        let lost = lost::named_by(header.kind, message.as_ref());
        let own = message.clone().filter(|_| header.shop == self.me());
        let outcome = match message {
            _ if oversized => Outcome::Ignored("larger than any message of ours"),
            message if self.is_sealed(record) => {
                if lost::is_referred_to(header.kind) {
                    self.owe_news_of(view, record, message)?;
                }
                Outcome::Ignored("past the seal")
            }
            _ if self.is_early(record) => Outcome::Ignored("before its author's admission took effect"),
            None => Outcome::Counts,
            Some(message) => match (Folding { alliance: self, view, record, message }).run() {
                Ok(()) => Outcome::Counts,
                Err(Stop::Outcome(outcome)) => outcome,
                Err(Stop::View(error)) => return Err(error),
            },
        };
        if let (Outcome::Ignored(_), Some(message)) = (&outcome, own) {
            (Folding { alliance: self, view, record, message }).keep_told()?;
        }
        let mut effects = self.close(view, record, outcome)?;
        if let (Some(id), true) = (lost, effects.folded) {
            effects.resume.extend(resume(view, id.as_bytes())?);
        }
        Ok(effects)
    }

    /// A record of a shop that is not in, though it was when the record came: it waits until the shop is in again.
    /// Proofs are looked at all the same: whether the shop is in may hang on them.
    fn hold<R: Reader + ?Sized>(
        &mut self,
        view: &mut Overlay<'_, R>,
        record: &Record,
        message: Option<Bytes>,
    ) -> Result<Effects, ViewError> {
        let header = record.header();
        let mut effects = Effects::default();
        if header.sequence == cursor(view, header.shop)? + 1 {
            table::write(view, table::wait(header.shop.as_bytes(), header.shop), &());
        }
        if let (Kind::ForkProof, Some(message)) = (header.kind, message) {
            if let Err(Stop::View(error)) = (Folding { alliance: self, view, record, message }).run() {
                return Err(error);
            }
            self.update_roster(view, &mut effects)?;
        }
        Ok(effects)
    }

    /// Whether a record lies past its author's seal or fork. A proof of a fork holds, whoever brings it.
    fn is_sealed(&self, record: &Record) -> bool {
        let header = record.header();
        let last = self.judge().counts_up_to(header.shop);
        header.kind != Kind::ForkProof && last.is_some_and(|last| header.sequence > last)
    }

    /// Whether a record was written while its author's admission was still open to objections.
    fn is_early(&self, record: &Record) -> bool {
        let header = record.header();
        let early = self.judge().is_early(header.shop, header.time);
        early && !matches!(header.kind, Kind::Profile | Kind::ForkProof)
    }

    fn close<R: Reader + ?Sized>(
        &mut self,
        view: &mut Overlay<'_, R>,
        record: &Record,
        outcome: Outcome,
    ) -> Result<Effects, ViewError> {
        let header = record.header();
        let mut effects = Effects::default();
        match outcome {
            Outcome::Waits(need) => {
                table::write(view, table::wait(&need, header.shop), &());
                return Ok(effects);
            }
            Outcome::Ignored(why) => {
                view.put(table::ignored(header.shop, header.sequence), why.into());
                effects.ignored = Some(why);
            }
            Outcome::Counts => {}
        }
        let latest = latest(view, header.shop)?.max(header.time);
        table::write(view, table::cursor(header.shop), &Progress { sequence: header.sequence, latest });
        effects.folded = true;
        if header.kind == Kind::Promotion {
            table::write(view, table::published(header.shop, header.time, record.id()), &());
        }
        match header.kind {
            Kind::Promotion | Kind::QuotaMove | Kind::Payment | Kind::FundingConsent => {
                if effects.ignored.is_some() {
                    table::write(view, table::record_ignored(record.id()), &());
                }
                effects.resume = resume(view, record.id().as_bytes())?;
            }
            Kind::ForkProof => self.update_roster(view, &mut effects)?,
            Kind::Resumption => effects.resume = Self::resume_lost_of(view, header.shop)?,
            _ => {}
        }
        if self.judge().counts_up_to(header.shop) == Some(header.sequence) {
            effects.resume.extend(resume(view, &Self::closing(header.shop))?);
            effects.resume.extend(Self::resume_lost_of(view, header.shop)?);
        }
        Ok(effects)
    }

    fn update_roster<R: Reader + ?Sized>(
        &mut self,
        view: &mut Overlay<'_, R>,
        effects: &mut Effects,
    ) -> Result<(), ViewError> {
        let after = Roster::compute(self.charter(), &self.council, view)?;
        for (shop, member) in after.iter() {
            let before = self.roster.shop(shop);
            let was_admitted = before.is_some_and(Member::was_admitted);
            if member.was_admitted() && !was_admitted {
                effects.resume.extend(resume(view, shop.as_bytes())?);
            }
            let left_now = before.is_some_and(|m| m.standing != member.standing);
            if left_now && member.standing.is_closed() {
                effects.resume.extend(resume(view, shop.as_bytes())?);
                effects.resume.extend(resume(view, &Self::closing(shop))?);
                effects.resume.extend(Self::resume_lost_of(view, shop)?);
            }
            let (cut_before, cut) = (before.and_then(|m| m.counts_up_to), member.counts_up_to);
            if cut != cut_before && !self.starts_anew() {
                let lower = cut.into_iter().chain(cut_before).min();
                let lower = lower.unwrap_or(u64::MAX);
                effects.rebuild |= cursor(view, shop)? > lower || self.keys.rotates_past(shop, lower);
            }
            effects.rebuild |= was_admitted && !member.was_admitted() && !self.starts_anew();
            if let Some(before) = before.filter(|_| !self.starts_anew()) {
                let moved = before.since != member.since && cursor(view, shop)? > 0;
                effects.rebuild |= moved || bars_moved(view, shop, before, member)?;
            }
        }
        view.put(table::roster(), after.digest().to_vec());
        effects.roster_changed = after != self.roster;
        self.roster = after;
        Ok(())
    }
}

/// Whether a promotion that a shop published is judged otherwise than before.
fn bars_moved<R: Reader + ?Sized>(
    view: &Overlay<'_, R>,
    shop: ShopId,
    before: &Member,
    after: &Member,
) -> Result<bool, ViewError> {
    if before.bars == after.bars {
        return Ok(false);
    }
    let mut moved = false;
    table::walk(view, &table::published_by(shop), None, |key, _| {
        let at = table::parse_published(key).ok_or(ViewError::Damaged("table of publications".into()))?;
        moved = before.bar_at(at).is_some() != after.bar_at(at).is_some();
        Ok(!moved)
    })?;
    Ok(moved)
}

/// Takes the logs that wait for something off the list, and names them.
fn resume<R: Reader + ?Sized>(view: &mut Overlay<'_, R>, need: &Need) -> Result<Vec<ShopId>, ViewError> {
    let shops = table::collect(view, &table::waits_for(need), |key, _| {
        ShopId::try_from(&key[33..]).map_err(|_| ViewError::Damaged("table of waits".into()))
    })?;
    shops.iter().for_each(|shop| view.remove(table::wait(need, *shop)));
    Ok(shops)
}

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    fn run(&mut self) -> Handled {
        match self.record.header().kind {
            Kind::Charter => self.charter(),
            Kind::Profile => self.profile(),
            Kind::Vote => self.vote(),
            Kind::Invitation => self.invitation(),
            Kind::ForkProof => self.fork_proof(),
            Kind::Resumption => self.resumption(),
            Kind::LostRecord => self.lost_record(),
            Kind::KeyRotation | Kind::KeyOverride => self.check_public(), // it was heard before
            Kind::Promotion => self.promotion(),
            Kind::PromotionEnd => self.promotion_end(),
            Kind::Sale => self.sale(),
            Kind::VoucherIssue => self.voucher_issue(),
            Kind::Redemption => self.redemption(),
            Kind::RedemptionVoid => self.redemption_void(),
            Kind::Refusal => self.refusal(),
            Kind::Touch => self.touch(),
            Kind::QuotaMove => self.quota_move(),
            Kind::VoucherTransfer => self.voucher_transfer(),
            Kind::RightRequest => self.right_request(),
            Kind::RightDenial => self.right_denial(),
            Kind::VoucherRevocation => self.voucher_revocation(),
            Kind::Reservation => self.reservation(),
            Kind::RiskSettlement => self.risk_settlement(),
            Kind::VoucherProof => self.voucher_proof(),
            Kind::Statement => self.statement(),
            Kind::ReceiptResponse => self.receipt_response(),
            Kind::Payment => self.payment(),
            Kind::AgreedBalance => self.agreed_balance(),
            Kind::Netting => self.netting(),
            Kind::CreditLine => self.credit_line(),
            Kind::SettlementSetting => self.settlement_setting(),
            Kind::FundingConsent => self.funding_consent(),
            Kind::Note => self.note(),
            Kind::Appeal | Kind::SeasonChoice | Kind::Departure => self.act(),
            Kind::Continuation => self.continuation(),
            Kind::Unspecified => Err(ignore("kind")),
        }
    }

    fn decode<M: prost::Message + Default>(&self) -> Result<M, Stop> {
        M::decode(self.message.clone()).map_err(|_| ignore("payload is not the message that its kind names"))
    }

    const fn me(&self) -> ShopId {
        self.alliance.me()
    }

    fn author(&self) -> ShopId {
        self.record.header().shop
    }

    fn id(&self) -> RecordId {
        self.record.id()
    }

    /// The record's time, or an earlier record's of its log where that was later: who dates a record back gains nothing.
    fn log_time(&self) -> Result<UnixMillis, ViewError> {
        Ok(latest(self.view, self.author())?.max(self.record.header().time))
    }

    fn is_own(&self) -> bool {
        self.author() == self.me()
    }

    /// Only a record for all counts where all must fold it alike.
    fn check_public(&self) -> Handled {
        match self.record.header().audience.named() {
            [] => Ok(()),
            _ => Err(ignore("sealed, where everybody must see it")),
        }
    }

    /// The key by which a shop's statement of an epoch is checked. Whoever made the record had it, so the rotation may be
    /// on its way.
    fn key_of(&self, shop: ShopId, epoch: u32) -> Result<PublicKey, Stop> {
        match self.alliance.statement_key(shop, epoch) {
            Ok(key) => Ok(key),
            Err(NoKey::Shop) => Err(wait(*shop.as_bytes())),
            Err(NoKey::Epoch) => Err(self.await_key(shop)),
            Err(NoKey::CutOff) => Err(ignore(NEVER_CAME_TO)),
        }
    }

    /// Waits for a rotation of a shop's, unless none can come any more.
    fn await_key(&self, shop: ShopId) -> Stop {
        match self.alliance.log_is_closed(self.view, shop) {
            Ok(true) => ignore(NEVER_CAME_TO),
            Ok(false) => wait(Alliance::closing(shop)),
            Err(error) => error.into(),
        }
    }

    /// A record about shops counts only if just these can read it, so that they all fold it.
    fn check_parties(&self, shops: impl IntoIterator<Item = ShopId>) -> Handled {
        let wanted = hutong_record::Audience::parties(shops);
        if wanted.as_ref() == Some(&self.record.header().audience) {
            Ok(())
        } else {
            Err(ignore("wrong parties"))
        }
    }

    fn promotion_of(&self, id: RecordId) -> Result<Promotion, Stop> {
        let found = Promotion::load(self.view, id, self.alliance.charter().currency)?;
        found.ok_or_else(|| self.await_record(id, "the promotion does not count"))
    }
}
