//! Deciding on redemptions that are taken back, in part or whole.

use super::*;
use crate::{
    promotion::Promotion,
    report, table,
    voucher::{Use, UseStanding, Voucher, copy},
};

const VOID_REASON_CHARS_MAX: usize = 200;

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn void(&self, void: &VoidCommand) -> Decided {
        self.alliance.own_membership()?;
        bounds::text("reason", &void.reason, 0..=VOID_REASON_CHARS_MAX)?;
        self.alliance.charter().check_entry_time(void.at, self.now)?;
        let unknown = || Refusal::new(Reason::RedemptionUnknown);
        let token = report::redeemed(self.view, void.redemption)?.ok_or_else(unknown)?;
        let key = token.body().key;
        if self.view.get(&table::conceded(void.redemption))?.is_some() {
            return Err(Refusal::new(Reason::RedemptionAlreadyVoided).into());
        }
        let voucher = report::voucher(self.view, &key)?.ok_or_else(unknown)?;
        let found = Promotion::load(self.view, key.promotion, self.alliance.charter().currency)?;
        let promotion = found.ok_or_else(unknown)?;
        let used = self.own_use(&voucher, &promotion, void.redemption)?;
        if let Some(returned) = void.returned {
            self.check_returned(used, &promotion, returned)?;
        }
        let message = proto::RedemptionVoid {
            request: Some(void.request.message()),
            redemption_id: copy(void.redemption.as_bytes()),
            voided_unix_ms: void.at.ms(),
            reason: void.reason.clone(),
            returned: void.returned.map(Into::into),
        };
        let issuer = promotion.distributor(token.body().issuer).ok_or_else(unknown)?.shop;
        let parties = used.parties(issuer, promotion.funder);
        Ok(alloc::vec![Self::for_parties(Kind::RedemptionVoid, parties, &message)])
    }

    fn own_use<'v>(
        &self,
        voucher: &'v Voucher,
        promotion: &Promotion,
        receipt: RecordId,
    ) -> Result<&'v Use, Refusal> {
        let any = voucher.uses.first().filter(|_| hutong_record::planted!(VoidAnyUse));
        match voucher.use_of(receipt).or(any) {
            Some(used) if used.redeemer != self.me() => Err(Refusal::new(Reason::RedemptionUnknown)),
            Some(used) if used.standing == UseStanding::Lost => Err(Refusal::new(Reason::RedemptionUnknown)),
            Some(used) => Ok(used),
            None if promotion.is_redeemer(self.me()) => Err(Refusal::new(Reason::RedemptionAlreadyVoided)),
            None => Err(Refusal::new(Reason::RedemptionUnknown)),
        }
    }

    /// A part can be returned as long as the rest still earns the benefit; else the whole is taken back.
    fn check_returned(&self, used: &Use, promotion: &Promotion, returned: Money) -> Result<(), Refusal> {
        self.check_purchase("returned", returned)?;
        if used.standing != UseStanding::ByRight {
            return Err(Refusal::new(Reason::ConfirmationNeeded));
        }
        let rest = used.after_return(promotion, returned);
        let rest = rest.ok_or_else(|| Refusal::field("returned", "is not less than the purchase"))?;
        let minimum = promotion.redeem_spend_min;
        if rest.eligible.minor() < minimum.minor() {
            let refusal = Refusal::new(Reason::PurchaseTooLow).with("minimum_minor", minimum.minor());
            return Err(refusal.with("minimum", minimum));
        }
        Ok(())
    }
}
