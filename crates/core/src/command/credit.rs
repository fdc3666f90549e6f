//! Deciding on credit lines: offering, accepting and withdrawing them, and whether a run may draw on this shop's.

use super::*;
use crate::{
    netting::CreditLine,
    pair,
    roster::Standing,
    settlement::{
        clearing::{self, Run},
        credit::{self, Word},
        exposure,
    },
    voucher::copy,
};

/// A shop's word on a credit line.
#[derive(Debug, Clone, Copy)]
pub enum LineCommand {
    /// This shop takes on new debts of an ally.
    Offer {
        /// Who would owe.
        debtor: ShopId,
        /// How much in all.
        limit: Money,
        /// Until when; none: until it is withdrawn.
        until: Option<UnixMillis>,
    },
    /// This shop agrees to owe an ally what comes by the line that it offers.
    Accept {
        /// Who would be owed.
        creditor: ShopId,
        /// How much in all; none: what is offered.
        limit: Option<Money>,
        /// Until when; none: as long as it is offered.
        until: Option<UnixMillis>,
    },
    /// Takes this shop's word back.
    Withdraw {
        /// The other shop of the line.
        ally: ShopId,
        /// Which side of the line this shop is on; none: both lines.
        side: Option<LineSide>,
    },
}

/// The two sides of a credit line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineSide {
    /// Who would be owed.
    Creditor,
    /// Who would owe.
    Debtor,
}

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn credit_line(&self, command: &LineCommand) -> Decided {
        match *command {
            LineCommand::Offer { debtor, limit, until } => self.offer(debtor, limit, until),
            LineCommand::Accept { creditor, limit, until } => self.accept(creditor, limit, until),
            LineCommand::Withdraw { ally, side } => self.withdraw(ally, side),
        }
    }

    fn offer(&self, debtor: ShopId, limit: Money, until: Option<UnixMillis>) -> Decided {
        self.check_ally(debtor)?;
        self.check_may_begin()?;
        self.check_purchase("limit", limit)?;
        let stop = exposure::limit(self.view, Some(debtor))?.stop_minor;
        if stop.is_some_and(|stop| limit.minor() > stop) {
            return Err(self.over_limit(debtor, limit.minor().into(), stop)?.into());
        }
        self.say((self.me(), debtor), limit.minor(), until)
    }

    fn accept(&self, creditor: ShopId, limit: Option<Money>, until: Option<UnixMillis>) -> Decided {
        self.check_ally(creditor)?;
        self.check_may_begin()?;
        if let Some(limit) = limit {
            self.check_purchase("limit", limit)?;
        }
        let offered = credit::word(self.view, (creditor, self.me()), creditor)?;
        let offered = offered.filter(|word| word.rest_minor(self.now) > 0);
        let offered = offered.ok_or(Refusal::new(Reason::LineUnknown))?;
        let limit_minor = limit.map_or(offered.limit_minor, Money::minor);
        self.say((creditor, self.me()), limit_minor, until.or(offered.until))
    }

    /// A word on a line; the same again changes nothing.
    fn say(&self, line: (ShopId, ShopId), limit_minor: i64, until: Option<UnixMillis>) -> Decided {
        if until.is_some_and(|until| until <= self.now) {
            return Err(Refusal::field("until_time", "is not ahead").into());
        }
        let before: Option<Word> = credit::word(self.view, line, self.me())?;
        let Some(before) = before else { return Ok(alloc::vec![Self::word(line, limit_minor, until)]) };
        if limit_minor <= before.drawn_minor {
            let why = "is used up by what was drawn: withdraw the line to begin anew, or name a higher one";
            return Err(Refusal::field("limit", why).into());
        }
        if (before.limit_minor, before.until) == (limit_minor, until) {
            return Ok(Vec::new());
        }
        Ok(alloc::vec![Self::word(line, limit_minor, until)])
    }

    fn word(
        (creditor, debtor): (ShopId, ShopId),
        limit_minor: i64,
        until: Option<UnixMillis>,
    ) -> DraftRecord {
        let message = proto::CreditLine {
            creditor_id: copy(creditor.as_bytes()),
            debtor_id: copy(debtor.as_bytes()),
            limit_minor,
            until_unix_ms: until.map_or(0, UnixMillis::ms),
        };
        Self::for_all(Kind::CreditLine, &message)
    }

    fn withdraw(&self, ally: ShopId, side: Option<LineSide>) -> Decided {
        self.check_ally(ally)?;
        let me = self.me();
        let mut words = Vec::new();
        for (own, line) in [(LineSide::Creditor, (me, ally)), (LineSide::Debtor, (ally, me))] {
            let is_meant = side.is_none_or(|side| side == own);
            if is_meant && credit::word(self.view, line, me)?.is_some() {
                words.push(Self::word(line, 0, None));
            }
        }
        if words.is_empty() {
            return Err(Refusal::new(Reason::LineUnknown).into());
        }
        Ok(words)
    }

    /// The lines that a run of a period can draw on now. Of this shop's own, no more than its limits leave: others do not
    /// know these.
    pub(super) fn open_lines(&self, period: UnixMillis) -> Decided<Vec<CreditLine<ShopId>>> {
        let mut lines = credit::open(self.view, period, self.now)?;
        for line in lines.iter_mut().filter(|line| line.creditor == self.me()) {
            let (owed, limit, _) = exposure::standing(self.view, self.me(), line.debtor)?;
            if let Some(stop) = limit.stop_minor {
                let room = i128::from(stop) - owed.max(0);
                line.limit_minor = line.limit_minor.min(i64::try_from(room).unwrap_or(i64::MIN));
            }
        }
        // Who is in no more cannot consent.
        let is_in = |shop| self.alliance.roster().shop(shop).is_some_and(|m| m.standing == Standing::Member);
        lines.retain(|line| line.limit_minor > 0 && is_in(line.creditor) && is_in(line.debtor));
        Ok(lines)
    }

    /// Refused unless the lines of this shop's on which a run draws leave room for it, and so does this shop's limit.
    pub(super) fn check_drawings(&self, run: &Run) -> Decided<()> {
        let me = self.me();
        let at = self.log_time()?;
        for drawing in run.drawings_of(me) {
            let ally = drawing.ally_of(me);
            for author in [me, ally] {
                let word = credit::word(self.view, (drawing.creditor, drawing.debtor), author)?;
                let rest = word.map_or(0, |word| word.rest_minor(at));
                // Who has consented has drawn already.
                if rest < drawing.minor && !clearing::is_agreed(self.view, run, author)? {
                    let refusal = Refusal::new(Reason::LineNotOpen).with("ally_id", ally);
                    return Err(refusal.with("ally", self.shop_name(ally)?).into());
                }
            }
            if drawing.creditor == me {
                self.check_exposure_after(ally, run)?;
            }
        }
        Ok(())
    }

    fn check_exposure_after(&self, debtor: ShopId, run: &Run) -> Decided<()> {
        let owed =
            pair::report(self.view, self.me(), debtor)?.balance_minor + run.adds_minor(debtor, self.me());
        let stop = exposure::limit(self.view, Some(debtor))?.stop_minor;
        if stop.is_some_and(|stop| owed > stop.into()) {
            return Err(self.over_limit(debtor, owed, stop)?.into());
        }
        Ok(())
    }

    fn over_limit(&self, ally: ShopId, owed: i128, stop: Option<i64>) -> Result<Refusal, ViewError> {
        let currency = self.alliance.charter().currency;
        Ok(Refusal::new(Reason::LineOverLimit)
            .with("ally_id", ally)
            .with("ally", self.shop_name(ally)?)
            .with("owed", currency.amount_text(owed))
            .with("stop", currency.amount_text(stop.unwrap_or_default().into())))
    }
}
