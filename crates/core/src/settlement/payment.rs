//! Payments outside of the alliance. The payer says that it paid, the payee that it came: then both book it. What is open
//! with a shop whose log is closed goes over to the shop that continues it in the same way: one says so, the other agrees.

use alloc::{string::String, vec::Vec};

use hutong_record::{PairId, RecordId, ShopId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::book::Matter;
use crate::{
    alliance::Alliance,
    pair, table,
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
    /// Nothing was paid: something is carried over.
    pub carried: Option<Carried>,
}

/// What is carried over from a book with a shop whose log is closed. The payer proposes it, the payee continues that shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The shop whose log is closed.
    pub of: ShopId,
    /// The payer comes to owe it, else the payee.
    pub payer_owes: bool,
}

impl Payment {
    /// Who comes to owe whom once the payee agrees, and what the line is about.
    pub const fn books(&self) -> (Matter, ShopId, ShopId) {
        match self.carried {
            None => (Matter::Payment, self.payee, self.payer),
            Some(Carried { payer_owes: true, .. }) => (Matter::CarriedOver, self.payer, self.payee),
            Some(Carried { payer_owes: false, .. }) => (Matter::CarriedOver, self.payee, self.payer),
        }
    }
}

/// What is open between this shop and one whose log is closed, minor units: what the pair comes to, less what this shop has
/// carried over and nobody denied, or can still agree to. Below zero: this shop owes it.
///
/// # Errors
/// The views cannot be read.
pub fn left_to_carry(
    view: &(impl Reader + ?Sized),
    alliance: &Alliance,
    of: ShopId,
) -> Result<i128, ViewError> {
    let me = alliance.me();
    let mut open = pair::report(view, me, of)?.balance_minor;
    table::walk(view, &[table::PAYMENT_OF], None, |key, value| {
        let with: ShopId = table::decode(key, value)?;
        let payment = load(view, me, with, &key[1..])?;
        let said = payment.carried.filter(|carried| carried.of == of && payment.payer == me);
        let stands = match payment.outcome {
            Outcome::Confirmed => true,
            Outcome::Denied(_) => false,
            Outcome::Open => !alliance.log_is_closed(view, with)?,
        };
        if let (Some(carried), true) = (said, stands) {
            open += if carried.payer_owes { i128::from(payment.minor) } else { -i128::from(payment.minor) };
        }
        Ok(true)
    })?;
    Ok(open)
}

fn load(view: &(impl Reader + ?Sized), me: ShopId, with: ShopId, id: &[u8]) -> Result<Payment, ViewError> {
    let damaged = || ViewError::Damaged("table of payments".into());
    let id = RecordId::try_from(id).map_err(|_| damaged())?;
    table::read(view, &table::payment(PairId::of(me, with), id))?.ok_or_else(damaged)
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
