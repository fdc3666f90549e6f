//! Payments outside of the alliance. The payer says that it paid, the payee that it came: then both book it.

use alloc::{string::String, vec::Vec};

use hutong_record::{PairId, RecordId, ShopId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    table,
    view::{Reader, ViewError},
};

/// The longest reference: a bank's has up to 35 characters, an app's up to 64.
pub(crate) const PAYMENT_REFERENCE_CHARS_MAX: usize = 64;
/// The longest reason for which a payment is denied.
pub(crate) const DENIAL_CHARS_MAX: usize = 200;

/// A payment between this shop and an ally.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The payer's record, and the payment's id.
    pub id: RecordId,
    /// Who paid.
    pub payer: ShopId,
    /// Who was paid.
    pub payee: ShopId,
    /// How much, minor units.
    pub minor: i64,
    /// When.
    pub paid: UnixMillis,
    /// The bank's or app's own name for it.
    pub reference: String,
    /// What the payee says.
    pub outcome: Outcome,
}

/// What became of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The payee has not answered.
    Open,
    /// It came, and is booked.
    Confirmed,
    /// It did not come, for this reason.
    Denied(String),
}

/// A payment that this shop made or got.
pub fn find(view: &(impl Reader + ?Sized), me: ShopId, id: RecordId) -> Result<Option<Payment>, ViewError> {
    let ally: Option<ShopId> = table::read(view, &table::payment_of(id))?;
    ally.map_or(Ok(None), |ally| table::read(view, &table::payment(PairId::of(me, ally), id)))
}

/// Payments of this shop in the order of ids, after one, at most `most`; with one ally, or with all.
pub fn list(
    view: &(impl Reader + ?Sized),
    me: ShopId,
    ally: Option<ShopId>,
    after: Option<RecordId>,
    most: usize,
) -> Result<Vec<Payment>, ViewError> {
    let mut ids = Vec::new();
    let damaged = || ViewError::Damaged("table of payments".into());
    table::walk(view, &[table::PAYMENT_OF], after.map(table::payment_of).as_deref(), |key, value| {
        let id = RecordId::try_from(&key[1..]).map_err(|_| damaged())?;
        let with: ShopId = table::decode(key, value)?;
        if ally.is_none_or(|ally| ally == with) {
            ids.push((id, with));
        }
        Ok(ids.len() < most)
    })?;
    let load = |(id, with): (RecordId, ShopId)| {
        let found: Option<Payment> = table::read(view, &table::payment(PairId::of(me, with), id))?;
        found.ok_or_else(damaged)
    };
    ids.into_iter().map(load).collect()
}
