//! Deciding on receipts that are answered, statements, payments, and this shop's own limits.

use alloc::collections::BTreeSet;

use super::*;
use crate::{
    promotion::{Mode, Promotion},
    report,
    settlement::{
        exposure::{self, Level},
        payment::{self, DENIAL_CHARS_MAX, Outcome, PAYMENT_REFERENCE_CHARS_MAX},
        response::{self, Answered, DISPUTE_TEXT_CHARS_MAX, EVIDENCE_BYTES_MAX},
        statement::{self, Annex, Case, Missing, Scope, Statement, VERSIONS_MAX},
    },
    table,
    voucher::{Use, UseStanding, copy},
};

/// A party's word on a receipt.
#[derive(Debug, Clone)]
pub struct RespondCommand {
    /// The app's request.
    pub request: RequestTag,
    /// The receipt's record.
    pub receipt: RecordId,
    /// What is said.
    pub answer: proto::ReceiptAnswer,
    /// Why, for a dispute.
    pub reason: proto::DisputeReason,
    /// In the shop's own words.
    pub text: String,
    /// A record that speaks for it.
    pub evidence_id: Option<RecordId>,
    /// A document that speaks for it.
    pub evidence: Vec<u8>,
}

/// A statement to be signed.
#[derive(Debug, Clone, Copy)]
pub struct SignCommand {
    /// With whom.
    pub ally: ShopId,
    /// The end of its period; none: the ally's where it has signed, else the charter's latest.
    pub end: Option<UnixMillis>,
    /// List the lines of this day of the alliance.
    pub listed_day: Option<i64>,
}

/// A payment that this shop made.
#[derive(Debug, Clone)]
pub struct PayCommand {
    /// The app's request.
    pub request: RequestTag,
    /// Who was paid.
    pub ally: ShopId,
    /// How much.
    pub amount: Money,
    /// When.
    pub paid: UnixMillis,
    /// The bank's or app's own name for it.
    pub reference: String,
}

/// What is open with a shop whose log is closed goes over to the one that continues it.
#[derive(Debug, Clone)]
pub struct CarryOverCommand {
    /// The app's request.
    pub request: RequestTag,
    /// The shop whose log is closed.
    pub of: ShopId,
    /// How much of what is open; none: all.
    pub amount: Option<Money>,
}

/// What this shop says to an ally's payment.
#[derive(Debug, Clone)]
pub struct AnswerPaymentCommand {
    /// The app's request.
    pub request: RequestTag,
    /// The payer's record.
    pub payment: RecordId,
    /// Whether it came.
    pub received: bool,
    /// Why not.
    pub reason: String,
}

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn respond(&self, respond: &RespondCommand) -> Decided {
        use proto::ReceiptAnswer as A;
        self.alliance.own_membership()?;
        bounds::text("text", &respond.text, 0..=DISPUTE_TEXT_CHARS_MAX)?;
        bounds::number("evidence", respond.evidence.len(), 0..=EVIDENCE_BYTES_MAX)?;
        let unknown = || Refusal::new(Reason::RedemptionUnknown);
        let token = report::redeemed(self.view, respond.receipt)?.ok_or_else(unknown)?;
        let key = token.body().key;
        let voucher = report::voucher(self.view, &key)?.ok_or_else(unknown)?;
        let currency = self.alliance.charter().currency;
        let promotion = Promotion::load(self.view, key.promotion, currency)?.ok_or_else(unknown)?;
        let used = voucher.use_of(respond.receipt).ok_or(Refusal::new(Reason::RedemptionAlreadyVoided))?;
        let issuer = promotion.distributor(token.body().issuer).ok_or_else(unknown)?.shop;
        match respond.answer {
            A::Concede => self.check_concession(respond.receipt, used)?,
            A::Accept | A::Dispute | A::Withdraw => self.check_response(respond, used)?,
            A::Unspecified => return Err(Refusal::field("answer", "is missing").into()),
        }
        let message = proto::ReceiptResponse {
            request: Some(respond.request.message()),
            receipt_id: copy(respond.receipt.as_bytes()),
            answer: respond.answer.into(),
            reason: respond.reason.into(),
            text: respond.text.clone(),
            evidence_id: respond.evidence_id.map_or_else(Default::default, |id| copy(id.as_bytes())),
            evidence: respond.evidence.clone().into(),
        };
        let parties = used.parties(issuer, promotion.funder);
        Ok(alloc::vec![Self::for_parties(Kind::ReceiptResponse, parties, &message)])
    }

    fn check_concession(&self, receipt: RecordId, used: &Use) -> Decided<()> {
        if used.redeemer != self.me() || used.standing != UseStanding::ByRight {
            return Err(Refusal::new(Reason::RedemptionUnknown).into());
        }
        match self.view.get(&table::conceded(receipt))? {
            Some(_) => Err(Refusal::new(Reason::ReceiptAnswered).into()),
            None => Ok(()),
        }
    }

    /// A party that the receipt books something for or against, in time, and once.
    fn check_response(&self, respond: &RespondCommand, used: &Use) -> Decided<()> {
        use proto::{DisputeReason, ReceiptAnswer as A};
        let me = self.me();
        let bears = used.bearers.iter().any(|share| share.shop == me);
        if used.redeemer == me || !(bears || used.is_credited(me)) {
            return Err(Refusal::new(Reason::NotReceiptParty).into());
        }
        let before = response::by(self.view, (me, used.redeemer), respond.receipt, me)?;
        let open = before
            .as_ref()
            .is_some_and(|said| matches!(said.answer, Answered::Disputed(_)) && said.withdrawn.is_none());
        match respond.answer {
            A::Withdraw if open => return Ok(()),
            A::Withdraw => return Err(Refusal::new(Reason::NoDispute).into()),
            _ if before.is_some() => return Err(Refusal::new(Reason::ReceiptAnswered).into()),
            A::Dispute if respond.reason == DisputeReason::Unspecified => {
                return Err(Refusal::field("reason", "is missing").into());
            }
            A::Dispute if !self.can_dispute(respond.receipt)? => {
                let days = self.alliance.charter().settlement.dispute_days;
                return Err(Refusal::new(Reason::DisputeTooLate).with("days", days).into());
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a dispute that is signed now counts.
    fn can_dispute(&self, receipt: RecordId) -> Result<bool, ViewError> {
        response::in_time(self.view, &self.alliance.charter().settlement, receipt, self.log_time()?)
    }

    pub(super) fn check_ally(&self, ally: ShopId) -> Result<(), Refusal> {
        self.alliance.own_membership()?;
        let known = self.alliance.roster().shop(ally).is_some_and(crate::roster::Member::was_admitted);
        if ally == self.me() {
            return Err(Refusal::new(Reason::OwnShop));
        }
        if known {
            return Ok(());
        }
        Err(Refusal::new(Reason::MemberUnknown).with("shop_id", ally))
    }

    pub(super) fn sign_statement(&self, sign: &SignCommand) -> Decided {
        self.check_ally(sign.ally)?;
        let cases = statement::cases(self.view, self.me(), sign.ally)?;
        let (open, before) = cases.split_last().expect("the last one is never agreed");
        let (content, annex) = self.draft_statement(sign, open, before)?;
        let same = |signed: &statement::Signed| {
            signed.content == content && (sign.listed_day.is_none() || signed.annex == annex)
        };
        if open.own.iter().any(same) {
            return Ok(Vec::new());
        }
        if open.own.len() >= VERSIONS_MAX {
            return Err(Refusal::field("ally_id", "this statement was signed too often").into());
        }
        let message = content.message(sign.ally, &annex);
        Ok(alloc::vec![Self::for_parties(Kind::Statement, [self.me(), sign.ally], &message)])
    }

    /// The statement that this shop would sign now; `open` and `before` are its cases.
    pub fn draft_statement(
        &self,
        sign: &SignCommand,
        open: &Case,
        before: &[Case],
    ) -> Decided<(Statement, Annex)> {
        let (me, ally, charter) = (self.me(), sign.ally, self.alliance.charter());
        let base = open.base(me, ally).filter(|base| sign.end.is_none_or(|end| end == base.end));
        let (end, cut, nettings) = match base {
            Some(base) => {
                self.check_cut(base, me, ally)?;
                (base.end, base.cut.clone(), base.nettings.clone())
            }
            None => {
                let end = self.check_end(sign, open, before)?;
                let included = statement::included(before);
                let (cut, nettings) =
                    statement::cut_now(self.view, (charter, self.alliance.roster()), me, ally, &included)?;
                (end, cut, nettings)
            }
        };
        let listed_day = sign.listed_day;
        let scope = Scope { me, ally, before, end, cut, nettings, listed_day };
        Ok(statement::reckon(self.view, charter, scope)?)
    }

    /// Whoever is second adds up the same records: they must be here.
    fn check_cut(&self, base: &Statement, me: ShopId, ally: ShopId) -> Decided<()> {
        let in_effect: BTreeSet<RecordId> = statement::nettings(self.view, me, ally)?;
        let waits = |what: String| Refusal::new(Reason::StatementWaits).with("what", what).into();
        match statement::missing(self.view, self.alliance.roster(), base, &in_effect)? {
            None => Ok(()),
            Some(Missing::Records(shop, sequence)) => {
                Err(waits(alloc::format!("{} #{sequence}", self.shop_name(shop)?)))
            }
            Some(Missing::Netting(run)) => Err(waits(alloc::format!("netting {}", run.short()))),
        }
    }

    fn period_end(&self) -> UnixMillis {
        let charter = self.alliance.charter();
        charter.settlement.period_end(charter.utc_offset_minutes, self.now)
    }

    fn check_end(&self, sign: &SignCommand, open: &Case, before: &[Case]) -> Result<UnixMillis, Refusal> {
        if sign.ally < self.me() && !open.theirs.is_empty() {
            let why = "the ally has signed for another end; sign with that, or have the ally sign anew";
            return Err(Refusal::field("period_end_time", why));
        }
        let end = sign.end.unwrap_or_else(|| self.period_end());
        let last = before.last().and_then(|case| case.agreed.as_ref());
        let start = last.map_or(UnixMillis::EPOCH, |agreed| agreed.content.end);
        if sign.end.is_none() && end <= start {
            return Err(self.period_not_over(start));
        }
        if end > self.now || end <= start {
            return Err(Refusal::field("period_end_time", "is not after the last statement's, or not over"));
        }
        Ok(end)
    }

    /// When the statement after that of a moment is due by itself.
    fn period_not_over(&self, start: UnixMillis) -> Refusal {
        let charter = self.alliance.charter();
        let end = charter.settlement.next_period_end(charter.utc_offset_minutes, self.now);
        Refusal::new(Reason::PeriodNotOver).with("from_unix_ms", start.ms()).with("until_unix_ms", end.ms())
    }

    pub(super) fn pay(&self, pay: &PayCommand) -> Decided {
        self.check_ally(pay.ally)?;
        self.check_purchase("amount", pay.amount)?;
        bounds::text("reference", &pay.reference, 0..=PAYMENT_REFERENCE_CHARS_MAX)?;
        if pay.paid > self.now {
            return Err(Refusal::new(Reason::TimeAhead).into());
        }
        let notice = proto::PaymentNotice {
            request: Some(pay.request.message()),
            ally_id: copy(pay.ally.as_bytes()),
            amount: Some(pay.amount.into()),
            paid_unix_ms: pay.paid.ms(),
            reference: pay.reference.clone(),
        };
        let message = proto::Payment { payment: Some(proto::payment::Payment::Notice(notice)) };
        Ok(alloc::vec![Self::for_parties(Kind::Payment, [self.me(), pay.ally], &message)])
    }

    pub(super) fn carry_over(&self, carry: &CarryOverCommand) -> Decided {
        self.check_ally(carry.of)?;
        let ally = self.heir_of(carry.of).ok_or(Refusal::new(Reason::NotContinued))?;
        let open = payment::left_to_carry(self.view, self.alliance, carry.of)?;
        let all = i64::try_from(open.unsigned_abs()).unwrap_or(hutong_record::MINOR_MAX);
        if all == 0 {
            return Err(Refusal::new(Reason::NothingToCarry).into());
        }
        let currency = self.alliance.charter().currency;
        let amount = match carry.amount {
            Some(amount) => amount,
            None => Money::new(currency, all.min(hutong_record::MINOR_MAX))
                .map_err(|e| Refusal::field("amount", e))?,
        };
        self.check_purchase("amount", amount)?;
        if amount.minor() > all {
            let why = alloc::format!("is more than is open: {}", currency.amount_text(all.into()));
            return Err(Refusal::field("amount", why).into());
        }
        let carried = proto::CarryOver {
            request: Some(carry.request.message()),
            ally_id: copy(ally.as_bytes()),
            of_shop_id: copy(carry.of.as_bytes()),
            amount: Some(amount.into()),
            author_owes: open < 0,
        };
        let message = proto::Payment { payment: Some(proto::payment::Payment::CarryOver(carried)) };
        Ok(alloc::vec![Self::for_parties(Kind::Payment, [self.me(), ally], &message)])
    }

    /// The member that continues a shop, itself or through others that were closed in turn. Each came in after the one
    /// before, so this ends.
    fn heir_of(&self, shop: ShopId) -> Option<ShopId> {
        let roster = self.alliance.roster();
        let mut heir = roster.continued_by(shop)?;
        while let Some(next) = roster.continued_by(heir) {
            heir = next;
        }
        roster.member(heir).is_some().then_some(heir).filter(|heir| *heir != self.me())
    }

    pub(super) fn answer_payment(&self, answer: &AnswerPaymentCommand) -> Decided {
        self.alliance.own_membership()?;
        bounds::text("reason", &answer.reason, 0..=DENIAL_CHARS_MAX)?;
        let payment = payment::find(self.view, self.me(), answer.payment)?
            .filter(|payment| payment.payee == self.me())
            .ok_or(Refusal::new(Reason::PaymentUnknown))?;
        if payment.outcome != Outcome::Open {
            return Err(Refusal::new(Reason::PaymentAnswered).into());
        }
        let said = proto::PaymentAnswer {
            request: Some(answer.request.message()),
            payment_id: copy(answer.payment.as_bytes()),
            received: answer.received,
            reason: answer.reason.clone(),
        };
        let message = proto::Payment { payment: Some(proto::payment::Payment::Answer(said)) };
        Ok(alloc::vec![Self::for_parties(Kind::Payment, [self.me(), payment.payer], &message)])
    }

    pub(super) fn set(&self, setting: &proto::settlement_setting::Setting) -> Decided {
        use proto::settlement_setting::Setting as S;
        self.alliance.own_membership()?;
        if let S::ExposureLimit(limit) = setting {
            if let Ok(ally) = ShopId::try_from(limit.ally_id.as_ref()) {
                self.check_ally(ally)?;
            }
            for (field, minor) in [("warn", limit.warn_minor), ("stop", limit.stop_minor)] {
                bounds::number(field, minor.unwrap_or_default(), 0..=hutong_record::MINOR_MAX)?;
            }
            if limit.warn_minor.zip(limit.stop_minor).is_some_and(|(warn, stop)| stop < warn) {
                let why = "is below the limit for warnings: there would be none before hand-outs stop";
                return Err(Refusal::field("stop", why).into());
            }
        }
        let message = proto::SettlementSetting { setting: Some(setting.clone()) };
        Ok(alloc::vec![self.for_myself(Kind::SettlementSetting, &message)])
    }

    pub(super) fn note_exposure(&self, ally: ShopId) -> Decided {
        let (owed, limit, _) = exposure::standing(self.view, self.me(), ally)?;
        let notice = proto::ExposureNotice {
            ally_id: copy(ally.as_bytes()),
            owed_minor: i64::try_from(owed).unwrap_or(i64::MAX),
            warn_minor: limit.warn_minor.unwrap_or_default(),
        };
        self.set(&proto::settlement_setting::Setting::ExposureNotice(notice))
    }

    /// No voucher whose redemption makes one of those who bear it owe this shop more, once that one owes too much.
    pub(super) fn check_exposure(&self, promotion: &Promotion, redeemer: u8) -> Decided<()> {
        let me = self.me();
        let redeems = match promotion.mode {
            Mode::Designated => promotion.redeemers.get(usize::from(redeemer)) == Some(&me),
            Mode::Leased | Mode::Anywhere => promotion.is_redeemer(me),
        };
        if promotion.bounty.most().minor() == 0 && !redeems {
            return Ok(());
        }
        let agreed = self.co_funders(promotion)?.into_iter().map(|(shop, _)| shop);
        let mut bearers = core::iter::once(promotion.funder).chain(agreed).filter(|bearer| *bearer != me);
        bearers.try_for_each(|bearer| self.check_debt_of(bearer))
    }

    fn check_debt_of(&self, ally: ShopId) -> Decided<()> {
        let (owed, limit, level) = exposure::standing(self.view, self.me(), ally)?;
        if level != Level::Stopped {
            return Ok(());
        }
        let currency = self.alliance.charter().currency;
        let stop = limit.stop_minor.unwrap_or_default();
        let refusal = Refusal::new(Reason::ExposureStop)
            .with("ally_id", ally)
            .with("ally", self.shop_name(ally)?)
            .with("owed", currency.amount_text(owed))
            .with("stop", currency.amount_text(stop.into()));
        Err(refusal.into())
    }
}
