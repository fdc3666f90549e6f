//! Folding what shops say of what they owe each other: responses to receipts, statements, payments, and this shop's own
//! limits.

use hutong_record::{Money, PairId};

use super::{redemption::owe, *};
use crate::{
    answer::Answer,
    bounds,
    duty::Duty,
    pair::Changes,
    settlement::{
        book::Source,
        exposure::{self, Limit},
        payment::{Carried, DENIAL_CHARS_MAX, Outcome, PAYMENT_REFERENCE_CHARS_MAX, Payment},
        response::{self, Answered, DISPUTE_TEXT_CHARS_MAX, EVIDENCE_BYTES_MAX, Response},
        statement::{Signed, Statement, VERSIONS_MAX},
    },
    voucher::UseStanding,
};

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    /// Where a debt of this record comes from; `at`: when it arose, not later than the record.
    pub(super) fn source(&self, at: UnixMillis, receipt: Option<RecordId>) -> Source {
        let header = self.record.header();
        Source {
            record: self.id(),
            author: header.shop,
            sequence: header.sequence,
            at: at.min(header.time),
            receipt,
            subject: None,
        }
    }

    /// A source for what happens with the record itself.
    pub(super) fn source_now(&self) -> Source {
        self.source(self.record.header().time, None)
    }

    /// The other one of two parties.
    fn other_party(&self) -> Result<ShopId, Stop> {
        match self.record.header().audience.named() {
            [one, other] if *one == self.author() => Ok(*other),
            [one, other] if *other == self.author() => Ok(*one),
            _ => Err(ignore("wrong parties")),
        }
    }

    pub(super) fn receipt_response(&mut self) -> Handled {
        use proto::ReceiptAnswer as A;
        let message: proto::ReceiptResponse = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let receipt = RecordId::try_from(message.receipt_id.as_ref()).map_err(|_| ignore("receipt id"))?;
        let named = self.record.header().audience.named().to_vec();
        if !named.contains(&self.author()) || named.len() < 2 {
            return Err(ignore("wrong parties"));
        }
        bounds::text("text", &message.text, 0..=DISPUTE_TEXT_CHARS_MAX).map_err(|_| ignore("text"))?;
        if message.evidence.len() > EVIDENCE_BYTES_MAX {
            return Err(ignore("too much evidence"));
        }
        let answer = match message.answer() {
            A::Accept => Answered::Accepted,
            A::Dispute if response::is_reason(message.reason) => Answered::Disputed(self.log_time()?),
            A::Withdraw => return self.withdraw(receipt, &named, &request),
            A::Concede => return self.concede(receipt, &named, &request),
            A::Dispute | A::Unspecified => return Err(ignore("no such answer")),
        };
        let response = Response {
            record: self.id(),
            sequence: self.record.header().sequence,
            answer,
            withdrawn: None,
            reason: message.reason,
            text: message.text,
            evidence: RecordId::try_from(message.evidence_id.as_ref()).ok(),
        };
        self.put_response(receipt, &named, &response)?;
        self.answer(&request, Answer::Responded { record: self.id() })
    }

    /// The pairs of the author and another party that this shop is in.
    fn pairs_with(&self, named: &[ShopId]) -> Vec<PairId> {
        let (me, author) = (self.me(), self.author());
        let others = named.iter().filter(|other| **other != author && (me == author || me == **other));
        others.map(|other| PairId::of(author, *other)).collect()
    }

    /// A shop's first word on a receipt stands; what comes after it is in its own log, so all see the same.
    fn put_response(&mut self, receipt: RecordId, named: &[ShopId], response: &Response) -> Handled {
        let mut said = false;
        for pair in self.pairs_with(named) {
            let key = table::response(pair, receipt, self.author());
            if self.view.get(&key)?.is_none() {
                table::write(self.view, key, response);
                said = true;
            }
        }
        if said { Ok(()) } else { Err(ignore("answered before")) }
    }

    fn withdraw(
        &mut self,
        receipt: RecordId,
        named: &[ShopId],
        request: &crate::answer::RequestTag,
    ) -> Handled {
        let mut withdrawn = false;
        for pair in self.pairs_with(named) {
            let key = table::response(pair, receipt, self.author());
            let before: Option<Response> = table::read(self.view, &key)?;
            let Some(mut said) = before else { continue };
            if matches!(said.answer, Answered::Disputed(_)) && said.withdrawn.is_none() {
                said.withdrawn = Some(self.record.header().sequence);
                table::write(self.view, key, &said);
                withdrawn = true;
            }
        }
        if !withdrawn {
            return Err(ignore("no dispute to take back"));
        }
        self.answer(request, Answer::Responded { record: self.id() })
    }

    /// The receipt's author gives in: what the receipt booked is taken back, and the voucher stays used.
    fn concede(
        &mut self,
        receipt: RecordId,
        named: &[ShopId],
        request: &crate::answer::RequestTag,
    ) -> Handled {
        let (voucher, genuine) = self.voucher_of_receipt(receipt)?;
        let used = voucher.use_of(receipt).ok_or_else(|| ignore("taken back before"))?.clone();
        if used.redeemer != self.author() || used.standing != UseStanding::ByRight {
            return Err(ignore("not the redeemer"));
        }
        self.check_receipt_parties(&genuine, &used)?;
        if self.view.get(&table::conceded(receipt))?.is_some() {
            return Err(ignore("conceded before"));
        }
        table::write(self.view, table::conceded(receipt), &());
        let response = Response {
            record: self.id(),
            sequence: self.record.header().sequence,
            answer: Answered::Conceded,
            withdrawn: None,
            reason: 0,
            text: alloc::string::String::new(),
            evidence: None,
        };
        // Whatever the author said before, and to whom: who hears of the concession books it.
        for pair in self.pairs_with(named) {
            table::write(self.view, table::response(pair, receipt, self.author()), &response);
        }
        self.put_concession(receipt, &used, &response);
        let mut changes = Changes::conceding(self.me());
        owe(&mut changes, &used, None);
        changes.apply(self.view, &self.source(self.record.header().time, Some(receipt)))?;
        self.answer(request, Answer::Responded { record: self.id() })
    }

    /// Between who bears the bounty and each credited shop, too, the receipt is conceded, though its author is neither.
    fn put_concession(&mut self, receipt: RecordId, used: &crate::voucher::Use, response: &Response) {
        let (author, me) = (self.author(), self.me());
        let credited = used.paid.iter().map(|paid| paid.shop);
        let bearers = || used.bearers.iter().map(|share| share.shop);
        for (credited, bearer) in credited.flat_map(|shop| bearers().map(move |bearer| (shop, bearer))) {
            let apart = bearer != credited && bearer != author && credited != author;
            if apart && (me == bearer || me == credited) {
                let key = table::response(PairId::of(bearer, credited), receipt, author);
                table::write(self.view, key, response);
            }
        }
    }

    pub(super) fn statement(&mut self) -> Handled {
        let message: proto::Statement = self.decode()?;
        let ally = self.other_party()?;
        if message.ally_id.as_ref() != ally.as_bytes() {
            return Err(ignore("about another ally"));
        }
        let (content, annex) = Statement::parse(&message).ok_or_else(|| ignore("statement is malformed"))?;
        if content.end > self.record.header().time {
            return Err(ignore("of a period that is not over"));
        }
        let pair = PairId::of(self.author(), ally);
        // What a later statement builds on is not signed anew: by the author's own order, so alike on both sides.
        let latest = table::statement_latest(pair, self.author());
        if table::read::<u32>(self.view, &latest)?.is_some_and(|number| number > content.number) {
            return Err(ignore("a later one was signed"));
        }
        table::write(self.view, latest, &content.number);
        let prefix = table::statements_of(pair, content.number, self.author());
        if table::collect(self.view, &prefix, |_, _| Ok(()))?.len() >= VERSIONS_MAX {
            return Err(ignore("signed too often"));
        }
        let key = table::statement(pair, content.number, self.author(), self.record.header().sequence);
        table::write(self.view, key, &Signed { record: self.id(), content, annex });
        Ok(())
    }

    pub(super) fn payment(&mut self) -> Handled {
        use proto::payment::Payment as P;
        let message: proto::Payment = self.decode()?;
        match message.payment {
            Some(P::Notice(notice)) => self.payment_notice(&notice),
            Some(P::Answer(answer)) => self.payment_answer(&answer),
            Some(P::CarryOver(carry)) => self.carry_over(&carry),
            None => Err(ignore("no payment")),
        }
    }

    fn payment_notice(&mut self, notice: &proto::PaymentNotice) -> Handled {
        let request = self.request(notice.request.as_ref())?;
        let payee = self.payee(&notice.ally_id)?;
        let amount = self.amount(notice.amount.as_ref())?;
        let paid = UnixMillis::new(notice.paid_unix_ms).map_err(|_| ignore("no such time"))?;
        let reference = bounds::text("reference", &notice.reference, 0..=PAYMENT_REFERENCE_CHARS_MAX);
        reference.map_err(|_| ignore("reference"))?;
        if amount.minor() == 0 {
            return Err(ignore("nothing was paid"));
        }
        let paid = paid.min(self.record.header().time);
        let reference = notice.reference.clone();
        self.put_payment(&request, &Payment { paid, reference, ..self.new_payment(payee, amount) })
    }

    /// By the word of both, like a payment: so it hangs on nothing that others say, not even on who continues whom. That
    /// the commands look at.
    fn carry_over(&mut self, carry: &proto::CarryOver) -> Handled {
        let request = self.request(carry.request.as_ref())?;
        let payee = self.payee(&carry.ally_id)?;
        let of = ShopId::try_from(carry.of_shop_id.as_ref()).map_err(|_| ignore("shop id"))?;
        if of == self.author() || of == payee {
            return Err(ignore("from a book of their own"));
        }
        let amount = self.amount(carry.amount.as_ref())?;
        if amount.minor() == 0 {
            return Err(ignore("nothing is carried over"));
        }
        let carried = Some(Carried { of, payer_owes: carry.author_owes });
        self.put_payment(&request, &Payment { carried, ..self.new_payment(payee, amount) })
    }

    /// The other party, which the message names as well.
    fn payee(&self, ally_id: &[u8]) -> Result<ShopId, Stop> {
        let payee = self.other_party()?;
        if ally_id == payee.as_bytes() { Ok(payee) } else { Err(ignore("to another ally")) }
    }

    /// What the author says that it paid, at the record's time.
    fn new_payment(&self, payee: ShopId, amount: Money) -> Payment {
        Payment {
            id: self.id(),
            payer: self.author(),
            payee,
            minor: amount.minor(),
            paid: self.record.header().time,
            reference: alloc::string::String::new(),
            outcome: Outcome::Open,
            carried: None,
        }
    }

    fn put_payment(&mut self, request: &crate::answer::RequestTag, payment: &Payment) -> Handled {
        let ally = if self.is_own() { payment.payee } else { payment.payer };
        table::write(
            self.view,
            table::payment(PairId::of(payment.payer, payment.payee), payment.id),
            payment,
        );
        table::write(self.view, table::payment_of(payment.id), &ally);
        self.answer(request, Answer::PaymentRecorded { payment: payment.id })
    }

    fn payment_answer(&mut self, answer: &proto::PaymentAnswer) -> Handled {
        let request = self.request(answer.request.as_ref())?;
        let payer = self.other_party()?;
        let id = RecordId::try_from(answer.payment_id.as_ref()).map_err(|_| ignore("payment id"))?;
        bounds::text("reason", &answer.reason, 0..=DENIAL_CHARS_MAX).map_err(|_| ignore("reason"))?;
        let key = table::payment(PairId::of(self.author(), payer), id);
        let payment: Option<Payment> = table::read(self.view, &key)?;
        let mut payment = payment.ok_or_else(|| self.await_record(id, "the payment does not count"))?;
        if payment.payee != self.author() || payment.outcome != Outcome::Open {
            return Err(ignore("answered before, or by another shop"));
        }
        payment.outcome =
            if answer.received { Outcome::Confirmed } else { Outcome::Denied(answer.reason.clone()) };
        if answer.received {
            let mut changes = Changes::new(self.me());
            let (matter, debtor, creditor) = payment.books();
            changes.debt_minor(matter, debtor, creditor, payment.minor.into());
            changes.apply(self.view, &self.source(payment.paid, None))?;
        }
        table::write(self.view, key, &payment);
        self.answer(&request, Answer::PaymentAnswered { record: self.id() })
    }

    pub(super) fn settlement_setting(&mut self) -> Handled {
        use proto::settlement_setting::Setting as S;
        self.check_parties([self.author()])?;
        let message: proto::SettlementSetting = self.decode()?;
        match message.setting {
            Some(S::ExposureLimit(limit)) => self.exposure_limit(&limit),
            Some(S::NettingRule(rule)) => {
                table::write(self.view, table::netting_rule(), &rule.consent_by_itself);
                Ok(())
            }
            Some(S::ExposureNotice(notice)) => {
                let ally = ShopId::try_from(notice.ally_id.as_ref()).map_err(|_| ignore("shop id"))?;
                table::write(self.view, table::exposure_noted(ally), &());
                self.view.remove(Duty::NoteExposure(ally).key());
                Ok(())
            }
            None => Err(ignore("no setting")),
        }
    }

    fn exposure_limit(&mut self, message: &proto::ExposureLimit) -> Handled {
        let ally = match message.ally_id.as_ref() {
            [] => None,
            id => Some(ShopId::try_from(id).map_err(|_| ignore("shop id"))?),
        };
        table::write(self.view, table::exposure(ally), &Limit::of(message));
        let me = self.me();
        let allies: Vec<ShopId> = match ally {
            Some(ally) => alloc::vec![ally],
            None => self.alliance.roster().iter().map(|(shop, _)| shop).filter(|shop| *shop != me).collect(),
        };
        for ally in allies {
            // Another limit is another warning.
            self.view.remove(table::exposure_noted(ally));
            self.view.remove(Duty::NoteExposure(ally).key());
            let owed = crate::pair::report(self.view, me, ally)?.balance_minor;
            exposure::watch(self.view, ally, owed)?;
        }
        Ok(())
    }
}
