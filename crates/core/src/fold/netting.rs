//! Folding disclosed balances, netting runs and consents. A run takes effect when all that it needs is there, whichever
//! of it came last.

use super::*;
use crate::{
    duty::Duty,
    pair::Changes,
    settlement::{
        book::{Matter, Source, sides},
        clearing::{self, Consent, Disclosed, RUNS_MAX, Run},
        credit::{self, Drawing, Word},
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
        let duty = Duty::Consent { period: run.period, run: run.id };
        if clearing::is_backed(self.view, run, Some(me))? && self.lines_are_open(run)? {
            table::write(self.view, duty.key(), &duty);
        } else {
            self.view.remove(duty.key()); // a word was taken back
        }
        Ok(())
    }

    /// Whether both words on each line of this shop's that a run draws on leave room for it; an ally that has consented has
    /// drawn already.
    fn lines_are_open(&self, run: &Run) -> Result<bool, Stop> {
        let me = self.me();
        for drawing in run.drawings_of(me) {
            for author in [me, drawing.ally_of(me)] {
                let word = credit::word(self.view, (drawing.creditor, drawing.debtor), author)?;
                let rest = word.map_or(0, |word| word.rest_minor(run.proposed));
                if rest < drawing.minor && !clearing::is_agreed(self.view, run, author)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// A shop's word on a credit line. What it has drawn stays drawn until it takes its word back.
    pub(super) fn credit_line(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::CreditLine = self.decode()?;
        let creditor = ShopId::try_from(message.creditor_id.as_ref()).map_err(|_| ignore("shop id"))?;
        let debtor = ShopId::try_from(message.debtor_id.as_ref()).map_err(|_| ignore("shop id"))?;
        let until = match message.until_unix_ms {
            0 => None,
            ms => Some(UnixMillis::new(ms).map_err(|_| ignore("no such time"))?),
        };
        let author = self.author();
        if creditor == debtor || (author != creditor && author != debtor) {
            return Err(ignore("a line is between its author and another shop"));
        }
        let key = table::credit_word(creditor, debtor, author);
        let before: Option<Word> = table::read(self.view, &key)?;
        match message.limit_minor {
            0 if before.is_none() => return Err(ignore("no word to take back")),
            0 => self.view.remove(key),
            limit_minor @ 1..=hutong_record::MINOR_MAX => {
                let drawn_minor = before.map_or(0, |before| before.drawn_minor);
                let word = Word { record: self.id(), limit_minor, until, drawn_minor };
                table::write(self.view, key, &word);
            }
            _ => return Err(ignore("limit")),
        }
        if self.me() == creditor || self.me() == debtor {
            self.offer_consents()?;
        }
        Ok(())
    }

    /// A word that has come may be what the runs of the latest period waited for.
    fn offer_consents(&mut self) -> Handled {
        let Some(period) = clearing::latest_period(self.view)? else { return Ok(()) };
        for run in clearing::runs_of(self.view, period)? {
            self.offer_consent(&run)?;
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
        if run.touched().contains(&run.author) {
            let drawings = run.drawings_of(run.author);
            self.consent(run.period, Consent { run: run.id, drawings })?;
        }
        table::write(self.view, table::run(run.period, run.id), &run);
        self.offer_consent(&run)?;
        self.take_effect(run)
    }

    fn netting_consent(&mut self, message: &proto::NettingConsent) -> Handled {
        let id = RecordId::try_from(message.run_id.as_ref()).map_err(|_| ignore("run id"))?;
        let period = UnixMillis::new(message.period_end_unix_ms).map_err(|_| ignore("no such time"))?;
        let drawings =
            Drawing::parse_all(&message.drawings, self.author()).ok_or_else(|| ignore("drawings"))?;
        if !self.consent(period, Consent { run: id, drawings })? {
            return Err(ignore("consented before"));
        }
        let run: Option<Run> = table::read(self.view, &table::run(period, id))?;
        run.map_or(Ok(()), |run| self.take_effect(run))
    }

    /// The first consent of a shop for a period counts, by its own log.
    fn consent(&mut self, period: UnixMillis, consent: Consent) -> Result<bool, Stop> {
        let key = table::consent(period, self.author());
        if self.view.get(&key)?.is_some() {
            return Ok(false);
        }
        self.draw(&consent.drawings)?;
        table::write(self.view, key, &consent);
        if self.is_own() {
            for run in clearing::runs_of(self.view, period)? {
                self.view.remove(Duty::Consent { period, run: run.id }.key());
            }
        }
        Ok(true)
    }

    /// Counts what a consent draws against its author's own words, as they stand at this place of its log.
    fn draw(&mut self, drawings: &[Drawing]) -> Handled {
        let (author, at) = (self.author(), self.log_time()?);
        let mut words = Vec::with_capacity(drawings.len());
        for drawing in drawings {
            let word = credit::word(self.view, (drawing.creditor, drawing.debtor), author)?;
            let mut word = word.ok_or_else(|| ignore("no word on that line"))?;
            if word.rest_minor(at) < drawing.minor {
                return Err(ignore("more than its line leaves"));
            }
            word.drawn_minor += drawing.minor;
            words.push((table::credit_word(drawing.creditor, drawing.debtor, author), word));
        }
        words.into_iter().for_each(|(key, word)| table::write(self.view, key, &word));
        Ok(())
    }

    /// Books what a run cancels, and what comes new by credit lines, once all that it needs is there.
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
        for new in run.drawings() {
            changes.debt_minor(Matter::CreditLine, new.debtor, new.creditor, new.minor.into());
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
