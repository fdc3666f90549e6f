//! Folding disclosed balances, netting runs and consents. A run takes effect when all that it needs is there, whichever
//! of it came last.

use super::*;
use crate::{
    duty::Duty,
    pair::Changes,
    settlement::{
        book::{Matter, Source, sides},
        clearing::{self, Disclosed, RUNS_MAX, Run},
    },
};

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    pub(super) fn agreed_balance(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::AgreedBalance = self.decode()?;
        let ally = ShopId::try_from(message.ally_id.as_ref()).map_err(|_| ignore("shop id"))?;
        let period = UnixMillis::new(message.period_end_unix_ms).map_err(|_| ignore("no such time"))?;
        let in_bounds = message.balance_minor.unsigned_abs() <= hutong_record::MINOR_MAX.unsigned_abs();
        if ally == self.author() || message.number == 0 || !in_bounds {
            return Err(ignore("no such balance"));
        }
        let (low, high) = sides(self.author(), ally);
        let key = table::balance(period, low, high, self.author());
        if self.view.get(&key)?.is_some() {
            return Err(ignore("disclosed before"));
        }
        let said = Disclosed {
            record: self.id(),
            number: message.number,
            high_owes_low_minor: message.balance_minor,
        };
        table::write(self.view, key, &said);
        for run in clearing::runs_of(self.view, period)? {
            self.offer_consent(&run)?;
            self.take_effect(run)?;
        }
        Ok(())
    }

    /// Where this shop's rule is to consent by itself: has the node do so as soon as all balances of this shop are there.
    fn offer_consent(&mut self, run: &Run) -> Handled {
        let me = self.me();
        let rule: bool = table::read(self.view, &table::netting_rule())?.unwrap_or_default();
        if !rule || !run.touched().contains(&me) {
            return Ok(());
        }
        if clearing::consent(self.view, run.period, me)?.is_some() {
            return Ok(());
        }
        if clearing::is_backed(self.view, run, Some(me))? {
            let duty = Duty::Consent { period: run.period, run: run.id };
            table::write(self.view, duty.key(), &duty);
        }
        Ok(())
    }

    pub(super) fn netting(&mut self) -> Handled {
        use proto::netting::Netting as N;
        self.check_public()?;
        let message: proto::Netting = self.decode()?;
        match message.netting {
            Some(N::Run(run)) => self.netting_run(&run),
            Some(N::Consent(consent)) => self.netting_consent(&consent),
            None => Err(ignore("no netting")),
        }
    }

    fn netting_run(&mut self, message: &proto::NettingRun) -> Handled {
        let header = self.record.header();
        let run = Run::parse(message, (self.id(), header.shop, header.sequence, header.time))
            .ok_or_else(|| ignore("the run does not hold"))?;
        let own = clearing::runs_of(self.view, run.period)?;
        if own.iter().filter(|before| before.author == run.author).count() >= RUNS_MAX {
            return Err(ignore("proposed too often"));
        }
        table::write(self.view, table::run(run.period, run.id), &run);
        if run.touched().contains(&run.author) {
            self.consent(run.period, run.id)?;
        }
        self.offer_consent(&run)?;
        self.take_effect(run)
    }

    fn netting_consent(&mut self, message: &proto::NettingConsent) -> Handled {
        let id = RecordId::try_from(message.run_id.as_ref()).map_err(|_| ignore("run id"))?;
        let period = UnixMillis::new(message.period_end_unix_ms).map_err(|_| ignore("no such time"))?;
        if !self.consent(period, id)? {
            return Err(ignore("consented before"));
        }
        let run: Option<Run> = table::read(self.view, &table::run(period, id))?;
        run.map_or(Ok(()), |run| self.take_effect(run))
    }

    /// The first consent of a shop for a period counts, by its own log.
    fn consent(&mut self, period: UnixMillis, run: RecordId) -> Result<bool, Stop> {
        let key = table::consent(period, self.author());
        if self.view.get(&key)?.is_some() {
            return Ok(false);
        }
        table::write(self.view, key, &run);
        if self.is_own() {
            for run in clearing::runs_of(self.view, period)? {
                self.view.remove(Duty::Consent { period, run: run.id }.key());
            }
        }
        Ok(true)
    }

    /// Books what a run cancels, once all that it needs is there.
    fn take_effect(&mut self, mut run: Run) -> Handled {
        if run.in_effect || !clearing::missing(self.view, &run)?.is_empty() {
            return Ok(());
        }
        if !clearing::is_backed(self.view, &run, None)? {
            return Ok(());
        }
        run.in_effect = true;
        table::write(self.view, table::run(run.period, run.id), &run);
        let mut changes = Changes::new(self.me());
        for debt in run.debts.iter().filter(|debt| debt.left_minor < debt.minor) {
            let cleared = i128::from(debt.minor - debt.left_minor);
            changes.debt_minor(Matter::Netted, debt.creditor, debt.debtor, cleared);
        }
        let source = Source {
            record: run.id,
            author: run.author,
            sequence: run.sequence,
            at: run.proposed,
            receipt: None,
            subject: None,
        };
        changes.apply(self.view, &source)?;
        Ok(())
    }
}
