//! Deciding on netting: balances disclosed, runs proposed, consents given.

use alloc::collections::BTreeSet;

use super::*;
use crate::{
    netting::{self, CreditLine, Debt, Netting},
    pair,
    settlement::{
        clearing::{self, Backed, RUN_DEBTS_MAX, RUN_SHOPS_MAX, RUNS_MAX, Run},
        credit::{DRAWINGS_MAX, Drawing},
        statement,
    },
    table,
    voucher::copy,
};

/// What a run's message needs beside the run.
const RUN_FRAME_BYTES: usize = 64;

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn publish_balance(&self, ally: ShopId) -> Decided {
        self.check_ally(ally)?;
        let cases = statement::cases(self.view, self.me(), ally)?;
        let agreed = cases.iter().rev().find_map(|case| case.agreed.as_ref());
        let content = &agreed.ok_or(Refusal::new(Reason::StatementNotAgreed))?.content;
        let (low, high) = if self.me() < ally { (self.me(), ally) } else { (ally, self.me()) };
        if self.view.get(&table::balance(content.end, low, high, self.me()))?.is_some() {
            return Ok(Vec::new());
        }
        let message = proto::AgreedBalance {
            ally_id: copy(ally.as_bytes()),
            number: content.number,
            period_end_unix_ms: content.end.ms(),
            balance_minor: content.closing_minor,
        };
        Ok(alloc::vec![Self::for_all(Kind::AgreedBalance, &message)])
    }

    pub(super) fn propose_netting(&self, period: Option<UnixMillis>) -> Decided {
        self.alliance.own_membership()?;
        let nothing = || Refusal::new(Reason::NothingToNet);
        let period = match period {
            Some(period) => period,
            None => clearing::latest_period(self.view)?.ok_or_else(nothing)?,
        };
        let backed = clearing::balances(self.view, period)?.matching();
        let debts: Vec<Debt<ShopId>> = backed.iter().map(|(debt, _)| debt.clone()).collect();
        let lines = self.open_lines(period)?;
        let result = netting::net_with_lines(&debts, &lines).map_err(|_| too_many_debts())?;
        if result.cleared == 0 {
            return Err(nothing().into());
        }
        let mut draft = RunDraft { period, backed, lines, result };
        if !draft.fits() {
            draft.keep_changed();
        }
        if !draft.fits() {
            return Err(too_many_debts().into());
        }
        let known = clearing::runs_of(self.view, period)?;
        if known.iter().any(|known| draft.is_of(known)) {
            return Ok(Vec::new());
        }
        if known.iter().filter(|known| known.author == self.me()).count() >= RUNS_MAX {
            return Err(Refusal::field("period_end_time", "this shop has proposed too often").into());
        }
        let run = draft.message();
        let message = proto::Netting { netting: Some(proto::netting::Netting::Run(run)) };
        Ok(alloc::vec![Self::for_all(Kind::Netting, &message)])
    }

    pub(super) fn consent_to(&self, id: RecordId) -> Decided {
        self.alliance.own_membership()?;
        let run = clearing::find(self.view, id)?.ok_or(Refusal::new(Reason::NettingUnknown))?;
        self.consent_to_run(&run)
    }

    pub(super) fn fulfil_consent(&self, period: UnixMillis, id: RecordId) -> Decided {
        let run: Option<Run> = table::read(self.view, &table::run(period, id))?;
        self.consent_to_run(&run.ok_or(Refusal::new(Reason::NettingUnknown))?)
    }

    fn consent_to_run(&self, run: &Run) -> Decided {
        match clearing::consent(self.view, run.period, self.me())? {
            Some(before) if before == run.id => return Ok(Vec::new()),
            Some(_) => return Err(Refusal::new(Reason::ConsentGiven).into()),
            None if !run.touched().contains(&self.me()) => return Ok(Vec::new()),
            None => {}
        }
        if !clearing::is_backed(self.view, run, Some(self.me()))? || !self.still_owes(run)? {
            return Err(Refusal::new(Reason::BalanceDiffers).into());
        }
        self.check_drawings(run)?;
        let consent = proto::NettingConsent {
            run_id: copy(run.id.as_bytes()),
            period_end_unix_ms: run.period.ms(),
            drawings: run.drawings_of(self.me()).iter().map(Drawing::message).collect(),
        };
        let message = proto::Netting { netting: Some(proto::netting::Netting::Consent(consent)) };
        Ok(alloc::vec![Self::for_all(Kind::Netting, &message)])
    }

    /// Whether what a run cancels of this shop's debts and claims is still owed: one that was paid, or netted in another
    /// period, is not cancelled again.
    fn still_owes(&self, run: &Run) -> Result<bool, ViewError> {
        let me = self.me();
        for debt in run.debts.iter().filter(|debt| debt.is_of(me)) {
            let ally = if debt.debtor == me { debt.creditor } else { debt.debtor };
            let owed_to_me = pair::report(self.view, me, ally)?.balance_minor;
            let owed = if debt.creditor == me { owed_to_me } else { -owed_to_me };
            if i128::from(debt.minor) - i128::from(debt.left_minor) > owed.max(0) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn too_many_debts() -> Refusal {
    Refusal::field("period_end_time", "more debts cancel than one run can hold")
}

/// A run to be proposed.
struct RunDraft {
    period: UnixMillis,
    backed: Vec<Backed>,
    /// By debtor and creditor, as the debts.
    lines: Vec<CreditLine<ShopId>>,
    result: Netting<ShopId>,
}

impl RunDraft {
    fn left(&self, debt: &Debt<ShopId>) -> i64 {
        amount_of(&self.result.obligations, debt.debtor, debt.creditor)
    }

    fn drawn(&self, line: &CreditLine<ShopId>) -> i64 {
        amount_of(&self.result.new_debts, line.debtor, line.creditor)
    }

    /// What does not change can be left out: what is cancelled, less what is drawn, stays the most among the rest.
    fn keep_changed(&mut self) {
        let (mut backed, mut lines) = (self.backed.clone(), self.lines.clone());
        backed.retain(|(debt, _)| self.left(debt) < debt.minor);
        lines.retain(|line| self.drawn(line) > 0);
        (self.backed, self.lines) = (backed, lines);
    }

    fn shops(&self) -> Vec<ShopId> {
        let in_debts = self.backed.iter().flat_map(|(debt, _)| [debt.debtor, debt.creditor]);
        let in_lines = self.lines.iter().flat_map(|line| [line.debtor, line.creditor]);
        in_debts.chain(in_lines).collect::<BTreeSet<ShopId>>().into_iter().collect()
    }

    fn fits(&self) -> bool {
        self.lines.len() <= DRAWINGS_MAX
            && self.backed.len() + self.lines.len() <= RUN_DEBTS_MAX
            && self.shops().len() <= RUN_SHOPS_MAX
            && self.message().encoded_len() < fold::MESSAGE_BYTES_MAX - RUN_FRAME_BYTES
    }

    fn message(&self) -> proto::NettingRun {
        let shops = self.shops();
        let place = |shop: ShopId| {
            let place = shops.binary_search(&shop).expect("all shops are there");
            u32::try_from(place).expect("a run has few shops")
        };
        let debt = |(debt, _): &Backed| proto::NettedDebt {
            debtor: place(debt.debtor),
            creditor: place(debt.creditor),
            minor: debt.minor,
            left_minor: self.left(debt),
        };
        let line = |line: &CreditLine<ShopId>| proto::NettedLine {
            debtor: place(line.debtor),
            creditor: place(line.creditor),
            limit_minor: line.limit_minor,
            drawn_minor: self.drawn(line),
        };
        proto::NettingRun {
            period_end_unix_ms: self.period.ms(),
            shop_ids: shops.iter().map(|shop| copy(shop.as_bytes())).collect(),
            debts: self.backed.iter().map(debt).collect(),
            balances_digest: copy(&clearing::digest(self.backed.iter().map(|(_, records)| records))),
            lines: self.lines.iter().map(line).collect(),
        }
    }

    /// Whether it was proposed before: the same debts come to the same, by the same drawings.
    fn is_of(&self, known: &Run) -> bool {
        let same = |(known, (debt, _)): (&clearing::RunDebt, &Backed)| {
            (known.debtor, known.creditor, known.minor, known.left_minor)
                == (debt.debtor, debt.creditor, debt.minor, self.left(debt))
        };
        known.debts.len() == self.backed.len()
            && known.debts.iter().zip(&self.backed).all(same)
            && known.result().new_debts == self.result.new_debts
    }
}

/// What stands between two shops in a list of debts that has each pair once, ascending.
fn amount_of(debts: &[Debt<ShopId>], debtor: ShopId, creditor: ShopId) -> i64 {
    let place = debts.binary_search_by_key(&(debtor, creditor), |debt| (debt.debtor, debt.creditor));
    place.map_or(0, |place| debts[place].minor)
}
