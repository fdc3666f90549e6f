//! Reports: this shop's counts, and what it and each ally hold of each other.

use alloc::{string::String, vec::Vec};

use hutong_record::{CardId, RecordId, ShopId, UnixMillis, proto};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::{
    code::SECRET_BYTES,
    promotion::Promotion,
    table,
    view::{Reader, ViewError},
    voucher::{Token, Voucher, VoucherKey, VoucherState},
};

mod activity;
mod attribution;
mod booking;
mod cohort;
mod reciprocity;
mod span;

pub use activity::{Activity, ActivityKey, Group, activity};
pub use attribution::{AttributionReport, CONVERSIONS_MAX, CreditLine, ReportError, attribution};
pub use booking::{Booking, BookingKind, ReceiptPlace, bookings, lines_of};
pub use cohort::{Cohort, RETURN_DAYS, cohorts};
pub use reciprocity::{Favour, Reciprocity, reciprocity};
pub use span::Span;

/// This shop's counts since it joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Sales reported.
    pub sales: u64,
    /// Their sum, minor units.
    pub sales_minor: i128,
    /// Vouchers handed out here.
    pub vouchers_issued: u64,
    /// Of these, used at the ally's as far as is known.
    pub vouchers_used: u64,
    /// Vouchers redeemed here, less those taken back.
    pub redemptions: u64,
    /// Redemptions taken back.
    pub voids: u64,
    /// Discounts given, minor units.
    pub discounts_minor: i128,
    /// Uses of one voucher beyond those it has, in any record that this shop can read: VOU-1 says none.
    pub double_redemptions: u64,
    /// Discounts accepted at this shop's risk whose right has not arrived, minor units.
    pub risk_open_minor: i128,
    /// Discounts accepted at this shop's risk that turned out to be second uses: its own loss, minor units.
    pub risk_lost_minor: i128,
}

impl Summary {
    /// Reads the counts.
    pub fn load(view: &(impl Reader + ?Sized)) -> Result<Self, ViewError> {
        Ok(table::read(view, &table::summary())?.unwrap_or_default())
    }
}

/// A sale as reports need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaleEntry {
    /// Whose; none: an unknown customer.
    pub card: Option<CardId>,
    /// How much, minor units.
    pub minor: i64,
    /// When its record was signed.
    pub entered: UnixMillis,
}

/// The record by which a shop agreed to bear its share of a promotion.
pub fn consent(
    view: &(impl Reader + ?Sized),
    promotion: RecordId,
    shop: ShopId,
) -> Result<Option<RecordId>, ViewError> {
    table::read(view, &table::funding_consent(promotion, shop))
}

/// Refused attempts by reason's stable name.
pub fn refusals(view: &(impl Reader + ?Sized)) -> Result<Vec<(String, u64)>, ViewError> {
    table::collect(view, &[table::REFUSED], |key, value| {
        let reason = String::from_utf8_lossy(&key[1..]).into_owned();
        Ok((reason, table::decode(key, value)?))
    })
}

/// The voucher of a key, if this shop is a party to it.
pub fn voucher(view: &(impl Reader + ?Sized), key: &VoucherKey) -> Result<Option<Voucher>, ViewError> {
    table::read(view, &table::voucher(key))
}

/// What was shown for a receipt.
pub(crate) fn redeemed(view: &(impl Reader + ?Sized), receipt: RecordId) -> Result<Option<Token>, ViewError> {
    let entry: Option<table::ReceiptEntry> = table::read(view, &table::redemption(receipt))?;
    Ok(entry.map(|entry| entry.token))
}

/// The voucher of a typed code, if this shop is a party to it.
pub fn voucher_of_code(
    view: &(impl Reader + ?Sized),
    secret: &[u8; SECRET_BYTES],
) -> Result<Option<Voucher>, ViewError> {
    let key: Option<VoucherKey> = table::read(view, &table::code(secret))?;
    key.map_or(Ok(None), |key| voucher(view, &key))
}

/// A voucher that went into a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseEntry {
    /// Its promotion.
    pub promotion: RecordId,
    /// Its receipt.
    pub redemption: RecordId,
    /// What it took off, minor units.
    pub discount_minor: i64,
}

/// The vouchers that went into a purchase at this shop.
pub fn purchase(view: &(impl Reader + ?Sized), id: &str) -> Result<Vec<PurchaseEntry>, ViewError> {
    Ok(table::read(view, &table::purchase(id))?.unwrap_or_default())
}

/// Vouchers that this shop is a party to, in the order of keys, after a key; at most `most`.
pub fn vouchers(
    view: &(impl Reader + ?Sized),
    after: Option<&VoucherKey>,
    most: usize,
) -> Result<Vec<Voucher>, ViewError> {
    let after = after.map(table::voucher);
    let mut found = Vec::new();
    table::walk(view, &[table::VOUCHER], after.as_deref(), |key, value| {
        found.push(table::decode(key, value)?);
        Ok(found.len() < most)
    })?;
    Ok(found)
}

/// Vouchers handed out by this shop that were not used and are past their time at a moment.
pub fn expired_count(view: &(impl Reader + ?Sized), me: ShopId, at: UnixMillis) -> Result<u64, ViewError> {
    let mut count = 0;
    let mut after = None;
    let mut mine: Option<(RecordId, Option<u8>)> = None;
    loop {
        let page = vouchers(view, after.as_ref(), 1_000)?;
        let Some(last) = page.last() else { return Ok(count) };
        after = Some(last.token.body().key);
        for voucher in &page {
            let key = voucher.token.body().key;
            if mine.is_none_or(|(promotion, _)| promotion != key.promotion) {
                mine = Some((key.promotion, own_index(view, key.promotion, me)?));
            }
            let own = mine.is_some_and(|(_, index)| index == Some(voucher.token.body().issuer));
            count += u64::from(own && voucher.state(at) == VoucherState::Expired);
        }
    }
}

fn own_index(
    view: &(impl Reader + ?Sized),
    promotion: RecordId,
    me: ShopId,
) -> Result<Option<u8>, ViewError> {
    let Some(stored) = view.get(&table::promotion(promotion))? else { return Ok(None) };
    let message = Promotion::stored_message(&stored).and_then(|bytes| proto::Promotion::decode(bytes).ok());
    let message = message.ok_or_else(|| ViewError::Damaged("table of promotions".into()))?;
    let index = message.distributors.iter().position(|d| d.shop_id.as_ref() == me.as_bytes());
    Ok(index.and_then(|i| u8::try_from(i).ok()))
}

/// How many vouchers of a promotion this shop has handed out.
pub fn issued_count(view: &(impl Reader + ?Sized), promotion: RecordId) -> Result<u32, ViewError> {
    let issued: Option<crate::fold::Issued> = table::read(view, &table::issued(promotion))?;
    Ok(issued.unwrap_or_default().count)
}

/// What a shop says of itself.
pub fn profile(view: &(impl Reader + ?Sized), shop: ShopId) -> Result<Option<proto::Profile>, ViewError> {
    let Some(stored) = view.get(&table::profile(shop))? else { return Ok(None) };
    proto::Profile::decode(stored.as_slice())
        .map(Some)
        .map_err(|_| ViewError::Damaged("table of profiles".into()))
}
