//! A voucher as one of its parties knows it.

use alloc::{string::String, vec::Vec};

use hutong_record::{CardId, Money, RecordId, ShopId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{Token, VoucherState};
use crate::{
    attribution::{PaidShop, paying},
    promotion::{Basis, FundingShare, Promotion},
    right::Right,
};

/// A voucher as this shop knows it. Kept by its issuer, its funder, and the shops that held the right to redeem it or
/// are credited with a use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// The token.
    pub token: Token,
    /// The record that handed it out, if that has arrived.
    pub issue: Option<RecordId>,
    /// Who holds the right to redeem it, as far as is known here.
    pub right: Right,
    /// Since when it is there: when the voucher was handed out, or by the record that passed it on.
    pub held_since: UnixMillis,
    /// How the right came there, oldest first: encoded `SignedRight`s.
    pub passes: Vec<Vec<u8>>,
    /// Who passed it on by a record of its own, and at which step.
    pub passed_by: Vec<(ShopId, u32)>,
    /// Its uses, less those taken back.
    pub uses: Vec<Use>,
    /// How often the right was used at this step by its holder, those taken back included.
    pub used_at_step: u32,
    /// When it was revoked.
    pub revoked: Option<UnixMillis>,
    /// Uses that are kept free.
    pub reservations: Vec<Reservation>,
}

/// One use of a voucher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The receipt's record.
    pub id: RecordId,
    /// The shop that redeemed.
    pub redeemer: ShopId,
    /// At which step of the right.
    pub step: u32,
    /// By right or not.
    pub standing: UseStanding,
    /// When.
    pub at: UnixMillis,
    /// What was bought, less what was returned.
    pub purchase: Money,
    /// The part that the benefit applies to.
    pub eligible: Money,
    /// What the voucher took off.
    pub discount: Money,
    /// The card that the customer showed.
    pub card: Option<CardId>,
    /// The purchase that this voucher and others went into; empty: this one alone.
    pub purchase_id: String,
    /// Who is credited with the customer's coming; the redeemer itself: nobody.
    pub credited: ShopId,
    /// What is owed to that shop, or to all that share it.
    pub bounty: Money,
    /// Who gets which part of the bounty.
    pub paid: Vec<PaidShop>,
    /// What the bounty was reckoned with.
    pub basis: Basis,
    /// When the touch took place that is credited.
    pub touched: UnixMillis,
    /// When the receipt was signed.
    pub entered: UnixMillis,
    /// Who bears discount and bounty.
    pub bearers: Vec<FundingShare>,
    /// Shops beside the funder that the receipt names as bearing a share: parties to it.
    pub co_funders: Vec<ShopId>,
    /// The redeemer's statement about it, an encoded `SignedRight`; empty but for vouchers that are used anywhere.
    pub statement: Vec<u8>,
}

/// Whether a use counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UseStanding {
    /// The redeemer held the right.
    ByRight,
    /// Accepted at the redeemer's risk; the right may still arrive.
    AtRisk,
    /// Accepted at the redeemer's risk, and the right went to another: the redeemer's loss.
    Lost,
}

/// A use that is kept free for a purchase under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Who comes with it can use it.
    pub key: String,
    /// Free again from this moment on.
    pub until: UnixMillis,
}

/// A purchase and what a voucher takes off it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Priced {
    pub(crate) purchase: Money,
    pub(crate) eligible: Money,
    pub(crate) discount: Money,
}

impl Priced {
    /// What stays if a part of the purchase is returned: the benefit is reckoned on the rest, and never more than it was.
    /// None: nothing stays.
    pub(crate) fn after_return(self, promotion: &Promotion, returned: Money) -> Option<Self> {
        let money = |minor| Money::new(self.purchase.currency(), minor).ok();
        let minor = self.purchase.minor() - returned.minor();
        let purchase = money(minor).filter(|rest| rest.minor() > 0)?;
        let eligible = money(self.eligible.minor().min(minor))?;
        let discount = lesser(promotion.benefit.discount(eligible), self.discount);
        Some(Self { purchase, eligible, discount })
    }
}

/// The lesser amount; of equal ones the first.
const fn lesser(one: Money, other: Money) -> Money {
    if other.minor() < one.minor() { other } else { one }
}

/// What stays of a purchase after a return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) purchase: Money,
    pub(crate) eligible: Money,
    pub(crate) discount: Money,
    pub(crate) bounty: Money,
}

impl Use {
    /// What each credited shop gets of the bounty.
    pub fn fees(&self) -> Vec<(ShopId, Money)> {
        paying::shares(self.bounty, &self.paid)
    }

    /// What a shop gets of the bounty.
    pub fn fee_of(&self, shop: ShopId) -> Money {
        let fee = self.fees().into_iter().find(|(paid, _)| *paid == shop);
        fee.map_or(Money::zero(self.bounty.currency()), |(_, fee)| fee)
    }

    /// Whether a shop is credited, alone or among others.
    pub fn is_credited(&self, shop: ShopId) -> bool {
        self.credited == shop || self.paid.iter().any(|paid| paid.shop == shop)
    }

    /// The shops that can read the receipt and what follows it, of a voucher that `issuer` handed out and `funder` pays for.
    pub(crate) fn parties(&self, issuer: ShopId, funder: ShopId) -> Vec<ShopId> {
        let paid = self.paid.iter().map(|paid| paid.shop);
        let parties = [self.redeemer, issuer, funder, self.credited].into_iter().chain(paid);
        parties.chain(self.co_funders.iter().copied()).collect()
    }

    /// The purchase and what the voucher took off it.
    pub(crate) const fn priced(&self) -> Priced {
        Priced { purchase: self.purchase, eligible: self.eligible, discount: self.discount }
    }

    /// What stays if a part of the purchase is returned: benefit and bounty are reckoned on the rest, and are never more
    /// than they were. None: nothing stays.
    pub(crate) fn after_return(&self, promotion: &Promotion, returned: Money) -> Option<Rest> {
        let Priced { purchase, eligible, discount } = self.priced().after_return(promotion, returned)?;
        let bounty = lesser(promotion.bounty.full(purchase, self.basis.count), self.bounty);
        Some(Rest { purchase, eligible, discount, bounty })
    }
}

impl Voucher {
    /// As it is handed out: its right where the promotion puts it.
    pub const fn new(token: Token, right: Right) -> Self {
        Self {
            held_since: token.body().issued,
            token,
            issue: None,
            right,
            passes: Vec::new(),
            passed_by: Vec::new(),
            uses: Vec::new(),
            used_at_step: 0,
            revoked: None,
            reservations: Vec::new(),
        }
    }

    /// Whether a shop passed the right on by a record of its own, so that what it states about it now would contradict that:
    /// of two vouchers that a cheat made under one number, by what became of the other.
    pub(crate) fn was_passed_on_by(&self, shop: ShopId) -> bool {
        self.passed_by.contains(&(shop, self.right.step))
    }

    /// In the place of another voucher under the same number: what was done with that one holds for it alone.
    pub(crate) fn take_over(&mut self, token: Token, right: Right) {
        let (issue, passed_by) = (self.issue, core::mem::take(&mut self.passed_by));
        *self = Self { issue, passed_by, ..Self::new(token, right) };
    }

    /// The uses that the holder of the right has left. A use taken back after the right went on is not given back.
    pub fn uses_left(&self) -> u32 {
        let used = self.uses.iter().filter(|used| self.used_here(used)).count();
        self.right.uses.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    /// Whether a use was made of the right where it is. A right that was passed on twice has two holders at one step; what
    /// the other one used is that one's own.
    pub(crate) fn used_here(&self, used: &Use) -> bool {
        let right = &self.right;
        (used.step, used.redeemer, used.standing) == (right.step, right.holder, UseStanding::ByRight)
    }

    /// Uses that are neither used nor kept free for others than `key` at a moment.
    pub fn uses_free(&self, key: &str, at: UnixMillis) -> u32 {
        let held = self.reservations.iter().filter(|r| r.until > at && r.key != key).count();
        self.uses_left().saturating_sub(u32::try_from(held).unwrap_or(u32::MAX))
    }

    /// A shop's use at risk, lost or not, for which the right has not come.
    pub(crate) fn unsettled_use_of(&self, shop: ShopId) -> Option<&Use> {
        self.uses.iter().find(|used| used.redeemer == shop && used.standing != UseStanding::ByRight)
    }

    /// The latest use.
    pub fn last_use(&self) -> Option<&Use> {
        self.uses.iter().max_by_key(|used| (used.at, used.id))
    }

    /// The use that a receipt stands for.
    pub fn use_of(&self, receipt: RecordId) -> Option<&Use> {
        self.uses.iter().find(|used| used.id == receipt)
    }

    /// Where it is in its life at a moment.
    pub fn state(&self, at: UnixMillis) -> VoucherState {
        let at_risk = self.uses.iter().any(|used| used.standing == UseStanding::AtRisk);
        let used_up = self.uses_left() == 0;
        match () {
            () if used_up => VoucherState::Redeemed,
            () if at_risk => VoucherState::AtRisk,
            () if self.revoked.is_some() => VoucherState::Revoked,
            () if at >= self.token.body().expires => VoucherState::Expired,
            () if self.reservations.iter().any(|r| r.until > at) => VoucherState::Reserved,
            () => VoucherState::Issued,
        }
    }
}
