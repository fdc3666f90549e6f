//! The dry run: which vouchers would apply to a basket, what they would take off, and why others would not. It asks the
//! same questions as a redemption and changes nothing.

use super::{
    redeem::{Occasion, Shown},
    *,
};
use crate::{report, table, voucher::VoucherKey};

/// Vouchers that are looked at in one dry run.
pub const QUALIFY_MAX: usize = 100;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Qualify {
    /// What the customer shows.
    pub presented: Vec<Presented>,
    /// The card that the customer shows: vouchers bound to it are looked at, too.
    pub card: Option<CardId>,
    /// What the customer wants to buy.
    pub purchase: Purchase,
    /// When.
    pub at: UnixMillis,
}

/// What one voucher would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qualified {
    /// Which voucher; none: what was presented is none.
    pub voucher: Option<VoucherKey>,
    /// Its promotion's title.
    pub title: String,
    /// What it would take off, or why it does not apply.
    pub outcome: Result<Applies, Refusal>,
}

/// A voucher that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applies {
    /// What it would take off.
    pub discount: Money,
    /// The part of the purchase that it applies to.
    pub eligible: Money,
    /// Its home would have to be asked.
    pub needs_confirmation: bool,
}

impl<R: Reader + ?Sized> Decider<'_, R> {
    /// Tells which of a customer's vouchers apply to a purchase: those presented, in their order, then those bound to
    /// the card. At most [`QUALIFY_MAX`].
    ///
    /// # Errors
    /// The purchase is malformed, this shop is no member, or the views cannot be read.
    pub fn qualify(&self, question: &Qualify) -> Result<Vec<Qualified>, DecideError> {
        self.alliance.own_membership()?;
        bounds::number("vouchers", question.presented.len(), 0..=QUALIFY_MAX)?;
        self.check_purchase("purchase", question.purchase.total)?;
        question.purchase.check()?;
        self.alliance.charter().check_entry_time(question.at, self.now)?;
        let mut found = Vec::new();
        for presented in &question.presented {
            found.push(match self.genuine(Some(presented)) {
                Ok(shown) => self.qualified(&shown, question)?,
                Err(DecideError::Refused(refusal)) => {
                    Qualified { voucher: None, title: String::new(), outcome: Err(refusal) }
                }
                Err(error) => return Err(error),
            });
        }
        for key in self.vouchers_of_card(question.card)? {
            if found.len() >= QUALIFY_MAX {
                break;
            }
            if found.iter().any(|seen| seen.voucher == Some(key)) {
                continue;
            }
            let Some(voucher) = report::voucher(self.view, &key)? else { continue };
            let Some(shown) = self.shown(voucher.token)? else { continue };
            found.push(self.qualified(&shown, question)?);
        }
        Ok(found)
    }

    fn qualified(&self, shown: &Shown, question: &Qualify) -> Result<Qualified, DecideError> {
        let occasion =
            Occasion { purchase: &question.purchase, card: question.card, at: question.at, reservation: "" };
        let outcome = match self.check_use(shown, &occasion) {
            Ok(price) => Ok(Applies {
                discount: price.discount,
                eligible: price.eligible,
                needs_confirmation: shown.voucher.right.holder != self.me(),
            }),
            Err(DecideError::Refused(refusal)) => Err(refusal),
            Err(error) => return Err(error),
        };
        let (voucher, title) = (Some(shown.voucher.token.body().key), shown.promotion.title.clone());
        Ok(Qualified { voucher, title, outcome })
    }

    fn vouchers_of_card(&self, card: Option<CardId>) -> Result<Vec<VoucherKey>, ViewError> {
        let Some(card) = card else { return Ok(Vec::new()) };
        let mut keys = Vec::new();
        table::walk(self.view, &table::card_vouchers(card), None, |key, value| {
            keys.push(table::decode(key, value)?);
            Ok(keys.len() < QUALIFY_MAX)
        })?;
        Ok(keys)
    }
}
