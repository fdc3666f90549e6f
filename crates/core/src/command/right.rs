//! Deciding on the right to redeem: passing it on, asking for it, answering, settling, giving back; and on what keeps a
//! voucher from being redeemed: revocation and reservation.

use super::{
    redeem::{Shown, already_redeemed},
    *,
};
use crate::{
    duty::RiskWaits,
    promotion::Mode,
    proof, report,
    right::{self, Act, PASSES_MAX, Statement},
    table,
    voucher::{Token, UseStanding, Voucher, VoucherKey, copy, life},
};

const REVOKE_REASON_CHARS_MAX: usize = 200;
const RESERVATION_KEY_BYTES_MAX: usize = 64;
/// A purchase takes minutes; a key that got lost must not block a voucher for longer than a day.
const RESERVATION_MS_MAX: i64 = 86_400_000;
/// Room for what a transfer says beside its vouchers, and for what stands before each of these.
const TRANSFER_FRAME_BYTES: usize = 256;
const VOUCHER_FRAME_BYTES: usize = 8;
/// Reservations of one voucher that stand; there are at most as many as uses.
const RESERVATIONS_MAX: usize = 100;

/// What became of a request for a right.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Asked {
    /// No answer yet.
    Waits,
    /// The right was passed on.
    Granted,
    /// It was not, for this reason.
    Denied(Refusal),
}

impl Asked {
    /// Whether it stays so: what is reserved may become free, and what may be lost may turn out not to be.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Waits => false,
            Self::Granted => true,
            Self::Denied(refusal) => !is_for_now(refusal),
        }
    }
}

fn is_for_now(refusal: &Refusal) -> bool {
    matches!(refusal.reason, Reason::VoucherReserved | Reason::RecordsMayBeLost)
}

/// What became of this shop's request for a right; none: there is no such request.
pub fn asked(view: &(impl Reader + ?Sized), request: RecordId) -> Result<Option<Asked>, ViewError> {
    let asked: Option<(ShopId, Asked)> = table::read(view, &table::asked(request))?;
    Ok(asked.map(|(_, outcome)| outcome))
}

/// This shop's last request that a voucher's right go to a shop; none: it never asked.
pub fn last_asked(
    view: &(impl Reader + ?Sized),
    voucher: &VoucherKey,
    to: ShopId,
) -> Result<Option<RecordId>, ViewError> {
    table::read(view, &table::asked_last(voucher, to))
}

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn transfer(&self, transfer: &TransferCommand) -> Decided {
        self.alliance.own_membership()?;
        let shown = self.known(transfer.presented.as_ref())?;
        self.check_target(&shown, transfer.to)?;
        let state = shown.voucher.state(self.now);
        life::check(state, life::VoucherEvent::PassOn)
            .map_err(|reason| self.refuse_state(&shown.voucher, reason))?;
        let keeper = self.alliance.keeper_of(self.view, &shown.voucher.right, &shown.promotion)?;
        if keeper != self.me() {
            return Err(self.wrong_shop(shown.voucher.right.holder)?.into());
        }
        self.check_key_not_revoked(&shown)?;
        let passed = self.pass(&shown, transfer.to)?;
        let request = Some(transfer.request.message());
        Ok(alloc::vec![self.transfer_record(&shown, transfer.to, alloc::vec![passed], request, None)])
    }

    fn refuse_state(&self, voucher: &Voucher, reason: Reason) -> Refusal {
        match reason {
            Reason::VoucherAlreadyRedeemed => already_redeemed(voucher),
            reason => Refusal::new(reason),
        }
    }

    /// A voucher goes to another shop of its promotion's, not to the one that has it.
    fn check_target(&self, shown: &Shown, to: ShopId) -> Decided<()> {
        if shown.promotion.mode == Mode::Leased || !shown.promotion.is_redeemer(to) {
            return Err(Refusal::new(Reason::NotRedeemer).with("shop_id", to).into());
        }
        if self.alliance.roster().member(to).is_none() {
            return Err(Refusal::new(Reason::MemberUnknown).with("shop_id", to).into());
        }
        if to == shown.voucher.right.holder {
            return Err(Refusal::field("to_shop_id", "holds the voucher already").into());
        }
        Ok(())
    }

    /// The voucher of a text of any kind: those who know a voucher by its id alone cannot use it, and may manage it.
    fn known(&self, presented: Option<&Presented>) -> Decided<Shown> {
        match presented {
            Some(Presented::Key(key)) => {
                let unknown = || DecideError::Refused(Refusal::new(Reason::VoucherUnknown));
                let voucher = report::voucher(self.view, key)?.ok_or_else(unknown)?;
                self.shown(voucher.token)?.ok_or_else(unknown)
            }
            other => self.genuine(other),
        }
    }

    /// The voucher with this shop's pass at the end of its chain.
    fn pass(&self, shown: &Shown, to: ShopId) -> Decided<proto::PassedVoucher> {
        let voucher = &shown.voucher;
        if voucher.right.holder == self.me() {
            self.check_nothing_lost(voucher)?;
        }
        if voucher.was_passed_on_by(self.me()) {
            return Err(Refusal::new(Reason::VoucherUnknown).into());
        }
        if !self.is_latest_round(shown)? {
            let expired = voucher.token.body().expires.ms();
            return Err(Refusal::new(Reason::VoucherExpired).with("expired_unix_ms", expired).into());
        }
        let mut passes = right::load_passes(&voucher.passes);
        if passes.len() >= PASSES_MAX {
            return Err(Refusal::new(Reason::PassedTooOften).with("limit", PASSES_MAX).into());
        }
        let uses = if hutong_record::planted!(PassUsedUp) { voucher.right.uses } else { voucher.uses_left() };
        let statement = voucher.right.pass(voucher.token.body().key, (self.me(), self.key_epoch), to, uses);
        passes.push(statement.sign(self.key));
        Ok(proto::PassedVoucher { token: copy(voucher.token.bytes()), passes })
    }

    fn transfer_record(
        &self,
        shown: &Shown,
        to: ShopId,
        vouchers: Vec<proto::PassedVoucher>,
        request: Option<proto::Request>,
        answers: Option<(RecordId, ShopId)>,
    ) -> DraftRecord {
        let message = proto::VoucherTransfer {
            request,
            vouchers,
            right_request_id: answers.map_or_else(bytes::Bytes::new, |(request, _)| copy(request.as_bytes())),
        };
        let asker = answers.map_or(to, |(_, asker)| asker);
        let parties = [self.me(), to, shown.issuer, shown.promotion.funder, asker];
        Self::for_parties(Kind::VoucherTransfer, parties, &message)
    }

    pub(super) fn ask_right(&self, ask: &AskRightCommand) -> Decided {
        self.alliance.own_membership()?;
        let shown = self.genuine(ask.presented.as_ref())?;
        if shown.promotion.mode != Mode::Anywhere {
            return Err(self.wrong_shop(shown.voucher.right.holder)?.into());
        }
        self.check_target(&shown, ask.to)?;
        let key = shown.voucher.token.body().key;
        let asked: Option<(ShopId, Asked)> = match last_asked(self.view, &key, ask.to)? {
            Some(last) => table::read(self.view, &table::asked(last))?,
            None => None,
        };
        if asked.is_some_and(|(of, outcome)| outcome == Asked::Waits && !self.alliance.is_gone(of)) {
            return Ok(Vec::new()); // the answer to the earlier request will do
        }
        Ok(alloc::vec![self.right_request(&shown, ask.to, false)?])
    }

    pub(super) fn right_request(
        &self,
        shown: &Shown,
        to: ShopId,
        at_risk: bool,
    ) -> Result<DraftRecord, ViewError> {
        let message = proto::RightRequest {
            request: None,
            token: copy(shown.voucher.token.bytes()),
            to_shop_id: copy(to.as_bytes()),
            at_risk,
        };
        let keeper = self.alliance.keeper_of(self.view, &shown.voucher.right, &shown.promotion)?;
        Ok(Self::for_parties(Kind::RightRequest, [self.me(), keeper], &message))
    }

    /// Why a voucher's home did not pass the right on.
    pub(super) fn denial(&self, request: RecordId) -> Result<Refusal, ViewError> {
        Ok(match asked(self.view, request)? {
            Some(Asked::Denied(refusal)) => refusal,
            // Granted, and lost again by now, or not answered after all.
            _ => Refusal::new(Reason::ConfirmationNeeded),
        })
    }

    pub(super) fn revoke(&self, revoke: &RevokeCommand) -> Decided {
        self.alliance.own_membership()?;
        bounds::text("reason", &revoke.reason, 0..=REVOKE_REASON_CHARS_MAX)?;
        self.alliance.charter().check_entry_time(revoke.at, self.now)?;
        let shown = self.known(revoke.presented.as_ref())?;
        let (issuer, funder) = (shown.issuer, shown.promotion.funder);
        if self.me() != issuer && self.me() != funder {
            return Err(Refusal::new(Reason::NotFunder).into());
        }
        let state = shown.voucher.state(revoke.at);
        life::check(state, life::VoucherEvent::Revoke)
            .map_err(|reason| self.refuse_state(&shown.voucher, reason))?;
        let message = proto::VoucherRevocation {
            request: Some(revoke.request.message()),
            token: copy(shown.voucher.token.bytes()),
            revoked_unix_ms: revoke.at.ms(),
            reason: revoke.reason.clone(),
        };
        let parties = [self.me(), issuer, funder, shown.voucher.right.holder];
        Ok(alloc::vec![Self::for_parties(Kind::VoucherRevocation, parties, &message)])
    }

    pub(super) fn reserve(&self, reserve: &ReserveCommand) -> Decided {
        self.alliance.own_membership()?;
        check_reservation_key(&reserve.key, 1)?;
        bounds::number("lifetime", reserve.lifetime_ms, 0..=RESERVATION_MS_MAX)?;
        self.alliance.charter().check_entry_time(reserve.at, self.now)?;
        let shown = self.known(reserve.presented.as_ref())?;
        let voucher = &shown.voucher;
        if voucher.right.holder != self.me() {
            return Err(self.wrong_shop(voucher.right.holder)?.into());
        }
        let held = voucher.reservations.iter().any(|r| r.key == reserve.key && r.until > reserve.at);
        if reserve.lifetime_ms == 0 {
            if !held {
                return Err(Refusal::new(Reason::ReservationUnknown).into());
            }
        } else {
            self.check_nothing_lost(voucher)?;
            self.check_reservable(voucher, reserve)?;
        }
        let message = proto::Reservation {
            request: Some(reserve.request.message()),
            token: copy(voucher.token.bytes()),
            key: reserve.key.clone(),
            reserved_unix_ms: reserve.at.ms(),
            until_unix_ms: reserve.at.saturating_add_ms(reserve.lifetime_ms).ms(),
        };
        Ok(alloc::vec![self.for_myself(Kind::Reservation, &message)])
    }

    fn check_reservable(&self, voucher: &Voucher, reserve: &ReserveCommand) -> Result<(), Refusal> {
        let state = voucher.state(reserve.at);
        life::check(state, life::VoucherEvent::Reserve)
            .map_err(|reason| self.refuse_state(voucher, reason))?;
        let standing = voucher.reservations.iter().filter(|r| r.until > reserve.at).count();
        if voucher.uses_free(&reserve.key, reserve.at) == 0 || standing >= RESERVATIONS_MAX {
            return Err(Refusal::new(Reason::VoucherReserved));
        }
        Ok(())
    }

    /// What the node owes others.
    pub(super) fn fulfil(&self, duty: &Duty) -> Decided {
        self.alliance.own_membership()?;
        match duty {
            Duty::AnswerRight { request, asker, to, token, .. } => {
                self.answer_right(*request, *asker, *to, token)
            }
            Duty::PublishProof(proof) => self.publish_proof(proof),
            Duty::SettleRisk(voucher) => self.settle(voucher),
            Duty::AskStandIn(voucher) => self.ask_stand_in(voucher),
            Duty::GiveBack(vouchers) => self.give_back(vouchers),
            Duty::Consent { period, run } => self.fulfil_consent(*period, *run),
            Duty::TellLost(header) => Ok(alloc::vec![Self::lost_record(header)]),
            Duty::NoteExposure(ally) => self.note_exposure(*ally),
        }
    }

    /// The home's answer: the right, or why not.
    fn answer_right(&self, request: RecordId, asker: ShopId, to: ShopId, token: &Token) -> Decided {
        let answer = match self.shown(token.clone())? {
            None => Err(Refusal::new(Reason::VoucherUnknown)),
            Some(shown) => match self.grant(&shown, to, (request, asker)) {
                Ok(transfer) => Ok(transfer),
                Err(DecideError::Refused(refusal)) => Err(refusal),
                Err(error) => return Err(error),
            },
        };
        let record = match answer {
            Ok(transfer) => transfer,
            // The asker was told that it has to wait.
            Err(refusal) if is_for_now(&refusal) && self.was_answered(request)? => return Ok(Vec::new()),
            Err(refusal) => {
                let facts = refusal.facts.iter();
                let message = proto::RightDenial {
                    right_request_id: copy(request.as_bytes()),
                    reason: refusal.reason.code().into(),
                    facts: facts
                        .map(|(name, value)| proto::Fact { name: name.clone(), value: value.clone() })
                        .collect(),
                };
                Self::for_parties(Kind::RightDenial, [self.me(), asker], &message)
            }
        };
        Ok(alloc::vec![record])
    }

    fn was_answered(&self, request: RecordId) -> Result<bool, ViewError> {
        Ok(self.view.get(&table::answered(request, self.me()))?.is_some())
    }

    fn grant(&self, shown: &Shown, to: ShopId, request: (RecordId, ShopId)) -> Decided<DraftRecord> {
        let voucher = &shown.voucher;
        if self.alliance.keeper_of(self.view, &voucher.right, &shown.promotion)? != self.me() {
            return self.grant_again(shown, to, request);
        }
        self.check_target(shown, to)?;
        if (voucher.uses_left() == 0 && !hutong_record::planted!(PassUsedUp))
            || voucher.uses.iter().any(|u| u.redeemer == self.me() && u.standing != UseStanding::ByRight)
        {
            return Err(already_redeemed(voucher).into());
        }
        if let Some(revoked) = voucher.revoked {
            return Err(Refusal::new(Reason::VoucherRevoked).with("revoked_unix_ms", revoked.ms()).into());
        }
        if voucher.uses_free("", self.now) == 0 && !hutong_record::planted!(PassUsedUp) {
            return Err(Refusal::new(Reason::VoucherReserved).into());
        }
        self.check_key_not_revoked(shown)?;
        let passed = self.pass(shown, to)?;
        Ok(self.transfer_record(shown, to, alloc::vec![passed], None, Some(request)))
    }

    /// The right has gone before: to the same shop, which is told again, or to another.
    fn grant_again(&self, shown: &Shown, to: ShopId, request: (RecordId, ShopId)) -> Decided<DraftRecord> {
        let voucher = &shown.voucher;
        let passes = right::load_passes(&voucher.passes);
        let own = passes.last().and_then(Statement::parse).is_some_and(|last| last.shop == self.me());
        if own && voucher.right.holder == to {
            let passed = proto::PassedVoucher { token: copy(voucher.token.bytes()), passes };
            return Ok(self.transfer_record(shown, to, alloc::vec![passed], None, Some(request)));
        }
        if voucher.uses_left() == 0 {
            return Err(already_redeemed(voucher).into());
        }
        Err(self.wrong_shop(voucher.right.holder)?.into())
    }

    fn lost_record(header: &[u8]) -> DraftRecord {
        Self::for_all(Kind::LostRecord, &proto::LostRecord { header: copy(header) })
    }

    fn publish_proof(&self, encoded: &[u8]) -> Decided {
        let proof =
            proto::VoucherProof::decode(encoded).map_err(|_| ViewError::Damaged("table of duties".into()))?;
        Ok(alloc::vec![Self::for_all(Kind::VoucherProof, &proof)])
    }

    /// The shop that was asked for the right is gone. Nobody stands in for it before all that counts of its log is here.
    fn ask_stand_in(&self, key: &VoucherKey) -> Decided {
        let waits: Option<RiskWaits> = table::read(self.view, &table::risk_waits(key))?;
        let (Some(waits), Some(voucher)) = (waits, report::voucher(self.view, key)?) else {
            return Ok(Vec::new());
        };
        let Some(shown) = self.shown(voucher.token)? else { return Ok(Vec::new()) };
        let keeper = self.alliance.keeper_of(self.view, &shown.voucher.right, &shown.promotion)?;
        if waits.of == keeper {
            return Ok(Vec::new());
        }
        Ok(alloc::vec![self.right_request(&shown, self.me(), true)?])
    }

    /// The right to what was accepted at risk is here: the use counts after all.
    fn settle(&self, key: &VoucherKey) -> Decided {
        let unknown = || Refusal::new(Reason::VoucherUnknown);
        let voucher = report::voucher(self.view, key)?.ok_or_else(unknown)?;
        let shown = self.shown(voucher.token)?.ok_or_else(unknown)?;
        let voucher = &shown.voucher;
        let used = voucher.unsettled_use_of(self.me()).ok_or_else(unknown)?;
        let holds = voucher.right.holder == self.me() || hutong_record::planted!(SettleWithoutRight);
        if !holds || voucher.uses_left() == 0 || voucher.was_passed_on_by(self.me()) {
            return Err(already_redeemed(voucher).into());
        }
        self.check_nothing_lost(voucher)?;
        let (step, act) = (voucher.right.step, Act::Use(voucher.used_at_step + 1));
        let statement = self.statement(*key, step, act);
        let message = proto::RiskSettlement {
            redemption_id: copy(used.id.as_bytes()),
            passes: right::load_passes(&voucher.passes),
            r#use: Some(statement.sign(self.key)),
        };
        let parties = used.parties(shown.issuer, shown.promotion.funder);
        Ok(alloc::vec![Self::for_parties(Kind::RiskSettlement, parties, &message)])
    }

    /// Vouchers that will not be redeemed any more: their issuer can hand their numbers out again.
    fn give_back(&self, vouchers: &[VoucherKey]) -> Decided {
        let mut passed = Vec::new();
        let mut bytes_left = fold::MESSAGE_BYTES_MAX - TRANSFER_FRAME_BYTES;
        let mut to = None;
        for key in vouchers {
            let Some(voucher) = report::voucher(self.view, key)? else { continue };
            let Some(shown) = self.shown(voucher.token)? else { continue };
            let first = to.as_ref().is_none_or(|first: &Shown| {
                (first.issuer, first.promotion.funder) == (shown.issuer, shown.promotion.funder)
            });
            let goes_back = shown.voucher.right.holder == self.me() && shown.issuer != self.me();
            if !first || !goes_back || shown.voucher.uses_left() == 0 {
                continue; // another time, or not any more
            }
            match self.pass(&shown, shown.issuer) {
                Ok(voucher) => {
                    let bytes = voucher.encoded_len() + VOUCHER_FRAME_BYTES;
                    let Some(left) = bytes_left.checked_sub(bytes) else { break }; // the others come in a record of theirs
                    bytes_left = left;
                    passed.push(voucher);
                }
                Err(DecideError::Refused(_)) => continue,
                Err(error) => return Err(error),
            }
            to.get_or_insert(shown);
        }
        let Some(shown) = to else { return Ok(Vec::new()) };
        Ok(alloc::vec![self.transfer_record(&shown, shown.issuer, passed, None, None)])
    }
}

/// A key of at least `least` printable ASCII characters.
pub(super) fn check_reservation_key(key: &str, least: usize) -> Result<(), Refusal> {
    bounds::number("reservation_key", key.len(), least..=RESERVATION_KEY_BYTES_MAX)?;
    if key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Refusal::field("reservation_key", "has characters other than printable ASCII"))
}

/// Evidence that a right was passed on twice: the first place at which two chains of passes differ.
pub(crate) fn conflict(
    one: &[proto::SignedRight],
    other: &[proto::SignedRight],
) -> Option<proto::VoucherProof> {
    let (one, other) = one.iter().zip(other).find(|(a, b)| a.statement != b.statement)?;
    Some(proof::of_rights(one.clone(), other.clone()))
}
