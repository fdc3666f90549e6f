//! Whose numbers they are. A promotion's numbers begin with the distributors that it names and are moved by signed
//! records: a quota granted or returned, a lease moved, and what a removed shop held taken back by the funder. Each
//! number has one owner at each moment, so what is handed out never passes the stock (VOU-2).

use alloc::vec::Vec;

use hutong_record::{RecordId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    promotion::Promotion,
    table,
    view::{Overlay, Reader, ViewError},
    voucher::VoucherBody,
};

/// Consecutive numbers with one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The distributor whose numbers they are from the beginning.
    pub distributor: u8,
    /// The first number.
    pub first: u32,
    /// The last number.
    pub last: u32,
    /// The distributor that owns them.
    pub owner: u8,
    /// The move that brought them; none: they are the owner's from the beginning.
    pub by: Option<RecordId>,
}

/// What the table keeps of a share, beside its key.
#[derive(Serialize, Deserialize)]
struct Entry {
    last: u32,
    owner: u8,
    by: Option<RecordId>,
}

/// A move of numbers that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Move {
    pub(crate) promotion: RecordId,
    pub(crate) distributor: u8,
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) to: u8,
    /// When its record was signed.
    pub(crate) at: UnixMillis,
}

impl Share {
    /// How many numbers.
    pub const fn count(&self) -> u32 {
        self.last - self.first + 1
    }

    const fn contains(&self, first: u32, last: u32) -> bool {
        self.first <= first && last <= self.last
    }
}

/// All numbers of one distributor of a promotion, ascending, by their present owners.
pub fn shares(
    view: &(impl Reader + ?Sized),
    promotion: &Promotion,
    distributor: u8,
) -> Result<Vec<Share>, ViewError> {
    let moved = table::collect(view, &table::stocks(promotion.id, distributor), |key, value| {
        let first = table::parse_stock(key).ok_or_else(|| ViewError::Damaged("table of stock".into()))?;
        let Entry { last, owner, by } = table::decode(key, value)?;
        Ok(Share { distributor, first, last, owner, by })
    })?;
    let quota = promotion.distributor(distributor).map_or(0, |d| d.quota);
    if moved.is_empty() && quota > 0 {
        return Ok(alloc::vec![Share { distributor, first: 1, last: quota, owner: distributor, by: None }]);
    }
    Ok(moved)
}

/// The numbers that a distributor owns, its first ones before those of others.
pub fn owned_by(
    view: &(impl Reader + ?Sized),
    promotion: &Promotion,
    owner: u8,
) -> Result<Vec<Share>, ViewError> {
    let others = (0..u8::try_from(promotion.distributors.len()).unwrap_or(u8::MAX)).filter(|d| *d != owner);
    let mut owned = Vec::new();
    for distributor in core::iter::once(owner).chain(others) {
        owned.extend(shares(view, promotion, distributor)?.into_iter().filter(|s| s.owner == owner));
    }
    Ok(owned)
}

/// The share that holds all of some numbers.
pub(crate) fn share_with(
    view: &(impl Reader + ?Sized),
    promotion: &Promotion,
    distributor: u8,
    first: u32,
    last: u32,
) -> Result<Option<Share>, ViewError> {
    let shares = shares(view, promotion, distributor)?;
    Ok(shares.into_iter().find(|share| share.contains(first, last)))
}

/// Moves numbers within a share. The pieces that stay keep their owner; nothing is ever joined, so the table does not
/// show in which order moves were found.
pub(crate) fn carve<R: Reader + ?Sized>(
    view: &mut Overlay<'_, R>,
    share: &Share,
    moved: &Move,
    by: RecordId,
) {
    let mut put = |first: u32, last: u32, owner: u8, by: Option<RecordId>| {
        if first <= last {
            let key = table::stock(moved.promotion, moved.distributor, first);
            table::write(view, key, &Entry { last, owner, by });
        }
    };
    put(share.first, moved.first - 1, share.owner, share.by);
    put(moved.first, moved.last, moved.to, Some(by));
    put(moved.last + 1, share.last, share.owner, share.by);
    table::write(view, table::stock_move(by), moved);
}

/// When numbers were moved; none: the move is not known.
pub(crate) fn moved_at(view: &(impl Reader + ?Sized), by: RecordId) -> Result<Option<UnixMillis>, ViewError> {
    let found: Option<Move> = table::read(view, &table::stock_move(by))?;
    Ok(found.map(|found| found.at))
}

/// What is known of how an issuer came to a voucher's number.
pub(crate) enum Entitlement {
    /// The number is, or was, the issuer's.
    Entitled,
    /// It never was.
    NotEntitled,
    /// The move that is said to have brought it is not known.
    Unknown(RecordId),
}

/// Whether a number was its issuer's at some time.
pub(crate) fn entitlement(
    view: &(impl Reader + ?Sized),
    body: &VoucherBody,
) -> Result<Entitlement, ViewError> {
    let Some(by) = body.key.moved_by else { return Ok(Entitlement::Entitled) };
    let found: Option<Move> = table::read(view, &table::stock_move(by))?;
    Ok(match found {
        None => Entitlement::Unknown(by),
        Some(found) => {
            let key = &body.key;
            let brings = found.promotion == key.promotion
                && found.distributor == key.distributor
                && found.to == body.issuer
                && (found.first..=found.last).contains(&key.number);
            if brings { Entitlement::Entitled } else { Entitlement::NotEntitled }
        }
    })
}
