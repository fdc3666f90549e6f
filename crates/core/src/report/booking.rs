//! What redemptions came to for an accountant: a line each for who bore the discount and who owes the fee. Amounts are
//! gross: tax is reckoned from them where the shop's own rules say so.

use alloc::vec::Vec;

use hutong_record::{Money, RecordId, ShopId, UnixMillis};

use super::{
    span::{self, Span},
    *,
};
use crate::{promotion, voucher::Use};

/// A place among receipts: when, and which record.
pub type ReceiptPlace = (UnixMillis, RecordId);

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookingKind {
    /// A price reduction at the redeemer's till, borne by another shop or by the redeemer itself.
    Discount,
    /// A fee for the service of having sent the customer.
    ReferralFee,
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booking {
    /// The receipt.
    pub redemption: RecordId,
    /// When.
    pub at: UnixMillis,
    /// Of which promotion.
    pub promotion: RecordId,
    /// What it is.
    pub kind: BookingKind,
    /// Who bears or owes it.
    pub from: ShopId,
    /// Who has it, or is owed; where it is the same, nothing is owed.
    pub to: ShopId,
    /// How much.
    pub amount: Money,
    /// The share of the whole, hundredths of a percent.
    pub basis_points: u32,
    /// The purchase before any discount.
    pub purchase: Money,
}

/// The lines of a span that this shop is in, of at most `most` receipts after a place; and the place to go on from, if
/// there are more.
pub fn bookings(
    view: &(impl Reader + ?Sized),
    me: ShopId,
    span: &Span,
    after: Option<ReceiptPlace>,
    most: usize,
) -> Result<(Vec<Booking>, Option<ReceiptPlace>), ViewError> {
    let (receipts, next) = span::receipts_after(view, span, after, most)?;
    let mut lines = Vec::new();
    for (voucher, used) in &receipts {
        let promotion = voucher.token.body().key.promotion;
        lines.extend(lines_of(promotion, used).into_iter().filter(|line| line.from == me || line.to == me));
    }
    Ok((lines, next))
}

/// Every line of one redemption. Discounts add up to the discount, fees to the bounty.
pub fn lines_of(promotion: RecordId, used: &Use) -> Vec<Booking> {
    let fees = used.fees().into_iter().map(|(shop, fee)| (BookingKind::ReferralFee, fee, shop));
    let parts = core::iter::once((BookingKind::Discount, used.discount, used.redeemer)).chain(fees);
    let mut lines = Vec::new();
    for (kind, whole, to) in parts {
        let shares = promotion::split(whole, &used.bearers);
        for ((from, minor), bearer) in shares.into_iter().zip(&used.bearers) {
            let amount = Money::new(whole.currency(), minor).expect("a part of the whole");
            lines.push(Booking {
                redemption: used.id,
                at: used.at,
                promotion,
                kind,
                from,
                to,
                amount,
                basis_points: bearer.basis_points,
                purchase: used.purchase,
            });
        }
    }
    lines.retain(|line| line.amount.minor() > 0);
    lines
}
