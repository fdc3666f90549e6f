//! Folding the right to redeem: passed on, asked for, denied.

use alloc::{boxed::Box, collections::BTreeMap};

use super::{voucher::Genuine, *};
use crate::{
    answer::Answer,
    command::Asked,
    duty::{Duty, RiskWaits},
    pair::Changes,
    promotion::Mode,
    refusal::{Reason, Refusal},
    right::{Right, Statement},
    settlement::book::Matter,
    voucher::{UseStanding, Voucher, VoucherKey},
};

/// Vouchers of one transfer: each has a token and a chain of passes, which together must fit a message.
const TRANSFER_VOUCHERS_MAX: usize = 32;
/// What a denial tells goes into the asker's own refusal.
const FACTS_MAX: usize = 8;
const FACT_NAME_BYTES_MAX: usize = 40;
/// 200 characters.
const FACT_VALUE_BYTES_MAX: usize = 800;

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    pub(super) fn voucher_transfer(&mut self) -> Handled {
        let message: proto::VoucherTransfer = self.decode()?;
        if !(1..=TRANSFER_VOUCHERS_MAX).contains(&message.vouchers.len()) {
            return Err(ignore("too many vouchers, or none"));
        }
        let mut passed = Vec::with_capacity(message.vouchers.len());
        for voucher in &message.vouchers {
            let genuine = self.genuine(&voucher.token)?;
            let right = self.follow(&genuine, &voucher.passes)?;
            self.check_last_pass(&genuine, &right, &voucher.passes)?;
            passed.push((genuine, right, &voucher.passes));
        }
        let answers = RecordId::try_from(message.right_request_id.as_ref()).ok();
        let mut token = None;
        let mut to = None;
        let mut charges: BTreeMap<ShopId, i128> = BTreeMap::new();
        for (genuine, right, passes) in passed {
            *charges.entry(genuine.promotion.funder).or_default() += self.pass_on(&genuine, right, passes)?;
            to.get_or_insert(right.holder);
            token.get_or_insert(genuine.token);
        }
        // One line for all that this record shows.
        for (funder, minor) in charges.into_iter().filter(|(_, minor)| *minor > 0) {
            self.charge(self.author(), funder, minor)?;
        }
        if let Some(request) = answers {
            self.note_answer(request, &Asked::Granted)?;
        }
        let (Some(request), Some(token), Some(to)) = (message.request.as_ref(), token, to) else {
            return Ok(());
        };
        let request = self.request(Some(request))?;
        self.answer(&request, Answer::Transferred { token, to })
    }

    /// The author itself passed it on, to a shop that redeems or back to the issuer, and all who are concerned can
    /// read it.
    fn check_last_pass(&self, genuine: &Genuine, right: &Right, passes: &[proto::SignedRight]) -> Handled {
        let last = passes.last().and_then(Statement::parse).ok_or_else(|| ignore("no pass"))?;
        let promotion = &genuine.promotion;
        if last.shop != self.author() {
            return Err(ignore("passed on by another shop"));
        }
        let goes_back = right.holder == genuine.issuer;
        if promotion.mode == Mode::Leased || !(goes_back || promotion.is_redeemer(right.holder)) {
            return Err(ignore("passed on to a shop that does not redeem"));
        }
        // One more: the shop that asked for another one.
        self.check_parties_with_one_more([self.author(), right.holder, genuine.issuer, promotion.funder])
    }

    /// Answers with what the author owes the funder for it, minor units.
    fn pass_on(
        &mut self,
        genuine: &Genuine,
        right: Right,
        passes: &[proto::SignedRight],
    ) -> Result<i128, Stop> {
        let mut voucher = self.voucher(genuine)?;
        self.expose_twin(&voucher, genuine)?;
        let step = right.step - 1;
        let author = self.author();
        let mut owed = 0;
        if !voucher.passed_by.contains(&(author, step)) {
            owed = self.overshoot(&voucher, genuine, right, passes)?;
            voucher.passed_by.push((author, step));
        }
        self.adopt(&mut voucher, genuine, right, passes)?;
        self.put_voucher(&voucher);
        self.note_held(&voucher, &genuine.promotion)?;
        let key = genuine.token.body().key;
        let me = self.me();
        // One that was given up for lost counts after all.
        if voucher.right.holder == me && voucher.unsettled_use_of(me).is_some() {
            self.put_duty(&Duty::SettleRisk(key));
        }
        Ok(owed)
    }

    /// A shop that passes on more uses than it has left owes the funder for each: both see it, in the shop's own order.
    fn overshoot(
        &self,
        voucher: &Voucher,
        genuine: &Genuine,
        right: Right,
        passes: &[proto::SignedRight],
    ) -> Result<i128, Stop> {
        let author = self.author();
        let step = right.step - 1;
        // By the chain of this very record: another one may have come to others.
        let before = self.follow(genuine, &passes[..passes.len() - 1])?.uses;
        let own = |u: &&crate::voucher::Use| {
            u.redeemer == author && u.step == step && u.standing == UseStanding::ByRight
        };
        let used = u32::try_from(voucher.uses.iter().filter(own).count()).unwrap_or(u32::MAX);
        let over = right.uses.saturating_sub(before.saturating_sub(used));
        if over == 0 || author == genuine.promotion.funder {
            return Ok(0);
        }
        Ok(i128::from(over) * genuine.promotion.worst_minor())
    }

    /// Books what a shop owes for a breach that this record shows.
    pub(super) fn charge(&mut self, debtor: ShopId, creditor: ShopId, minor: i128) -> Handled {
        let mut changes = Changes::new(self.me());
        changes.debt_minor(Matter::Offence, debtor, creditor, minor);
        changes.apply(self.view, &self.source_now())?;
        Ok(())
    }

    pub(super) fn right_request(&mut self) -> Handled {
        let message: proto::RightRequest = self.decode()?;
        let genuine = self.genuine(&message.token)?;
        let to = ShopId::try_from(message.to_shop_id.as_ref()).map_err(|_| ignore("shop id"))?;
        if genuine.promotion.mode != Mode::Anywhere || !genuine.promotion.is_redeemer(to) {
            return Err(ignore("asked for a shop that cannot have it"));
        }
        let asked =
            self.record.header().audience.named().iter().find(|shop| **shop != self.author()).copied();
        let request = self.id();
        let asker = self.author();
        let of = asked.unwrap_or(asker);
        // The answer may have come first, as after a lost disk.
        let answered: Option<Asked> = table::read(self.view, &table::answered(request, of))?;
        let at_risk = message.at_risk;
        let is_open = answered.as_ref().is_none_or(|answer| at_risk && !answer.is_final());
        if is_open && of == self.me() {
            let token = Box::new(genuine.token.clone());
            self.put_duty(&Duty::AnswerRight { request, asker, to, token, at_risk });
        }
        if self.is_own() {
            let key = genuine.token.body().key;
            table::write(self.view, table::asked_last(&key, to), &request);
            if at_risk {
                table::write(self.view, table::asked_about(request), &key);
                table::write(self.view, table::risk_waits(&key), &RiskWaits { voucher: key, request, of });
            }
            self.note_outcome(request, of, &answered.unwrap_or(Asked::Waits))?;
        }
        Ok(())
    }

    pub(super) fn right_denial(&mut self) -> Handled {
        let message: proto::RightDenial = self.decode()?;
        let request =
            RecordId::try_from(message.right_request_id.as_ref()).map_err(|_| ignore("request id"))?;
        let reason = Reason::from_code(&message.reason).ok_or_else(|| ignore("unknown reason"))?;
        let fits = |fact: &proto::Fact| {
            fact.name.len() <= FACT_NAME_BYTES_MAX && fact.value.len() <= FACT_VALUE_BYTES_MAX
        };
        if message.facts.len() > FACTS_MAX || !message.facts.iter().all(fits) {
            return Err(ignore("facts out of bounds"));
        }
        let facts = message.facts.into_iter().map(|fact| (fact.name, fact.value)).collect();
        let denied = Asked::Denied(Refusal { reason, facts });
        self.note_answer(request, &denied)
    }

    /// An answer to a request: the one who asked learns it, if it comes from the one who was asked, and the first final
    /// one counts; the one who answered has done its duty, unless a use at risk waits for a final answer.
    fn note_answer(&mut self, request: RecordId, outcome: &Asked) -> Handled {
        let by = self.author();
        let key = table::answered(request, by);
        let before: Option<Asked> = table::read(self.view, &key)?;
        if before.is_some_and(|before| before.is_final()) {
            return Ok(());
        }
        table::write(self.view, key, outcome);
        if self.is_own() {
            let duty = table::duty(0, request.as_bytes());
            let owed: Option<Duty> = table::read(self.view, &duty)?;
            if outcome.is_final() || !matches!(owed, Some(Duty::AnswerRight { at_risk: true, .. })) {
                self.view.remove(duty);
            }
        }
        let asked: Option<(ShopId, Asked)> = table::read(self.view, &table::asked(request))?;
        match asked {
            Some((of, before)) if of == by && !before.is_final() => self.note_outcome(request, of, outcome),
            _ => Ok(()),
        }
    }

    fn note_outcome(&mut self, request: RecordId, of: ShopId, outcome: &Asked) -> Handled {
        table::write(self.view, table::asked(request), &(of, outcome));
        let about: Option<VoucherKey> = table::read(self.view, &table::asked_about(request))?;
        let Some(key) = about.filter(|_| outcome.is_final()) else { return Ok(()) };
        let waits: Option<RiskWaits> = table::read(self.view, &table::risk_waits(&key))?;
        if waits.is_none_or(|waits| waits.request != request) {
            return Ok(()); // another one was asked since, or the use was settled or taken back
        }
        self.view.remove(table::risk_waits(&key));
        if *outcome == Asked::Granted {
            return Ok(());
        }
        let voucher: Option<Voucher> = table::read(self.view, &table::voucher(&key))?;
        match voucher {
            Some(mut voucher) => self.lose_risk(&mut voucher),
            None => Ok(()),
        }
    }
}
