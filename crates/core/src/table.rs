//! Tables: typed keys and values over the views' bytes. The first byte of a key names its table; digests are taken over
//! whole tables, so a table holds either what all members see, or what both shops of a pair see, or this shop's own.

use alloc::{format, vec::Vec};

use hutong_record::{CardId, PairId, RecordId, ShopId, UnixMillis};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    code::SECRET_BYTES,
    view::{Overlay, Reader, ViewError},
    voucher::VoucherKey,
};

/// Version of keys, values and meaning of all tables. Another one on disk: the views are rebuilt from the journal.
pub const VIEWS_VERSION: u32 = 2;

/// Tables that every member folds alike, first and last.
pub(crate) const PUBLIC: core::ops::RangeInclusive<u8> = 0x10..=0x3f;

pub(crate) const MOTION: u8 = 0x10;
pub(crate) const VOTE: u8 = 0x11;
pub(crate) const FORK: u8 = 0x12;
pub(crate) const PROFILE: u8 = 0x13;
pub(crate) const PROMOTION: u8 = 0x14;
pub(crate) const PROMOTION_END: u8 = 0x15;
const PAIR: u8 = 0x40;
pub(crate) const VOUCHER: u8 = 0x80;
const CODE: u8 = 0x81;
const TOUCH: u8 = 0x82;
const REQUEST: u8 = 0x83;
const ISSUED: u8 = 0x84;
const ISSUED_DAY: u8 = 0x85;
const ISSUED_CARD: u8 = 0x86;
pub(crate) const REFUSED: u8 = 0x87;
const SUMMARY: u8 = 0x88;
const INVITATION: u8 = 0x89;
pub(crate) const EARN: u8 = 0x8a;
const REDEMPTION: u8 = 0x8b;
const CURSOR: u8 = 0x90;
const WAIT: u8 = 0x91;
const IGNORED: u8 = 0x92;
pub(crate) const VOTE_ASIDE: u8 = 0x93;
const PROMOTION_IGNORED: u8 = 0x94;

/// What a record waits for before it can be folded: a promotion's or a member's id.
pub(crate) type Need = [u8; 32];

fn key(table: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>());
    key.push(table);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

pub(crate) fn motion(id: &[u8; 32]) -> Vec<u8> {
    key(MOTION, &[id])
}

pub(crate) fn vote(motion: &[u8; 32], voter: ShopId) -> Vec<u8> {
    key(VOTE, &[motion, voter.as_bytes()])
}

pub(crate) fn fork(shop: ShopId) -> Vec<u8> {
    key(FORK, &[shop.as_bytes()])
}

pub(crate) fn profile(shop: ShopId) -> Vec<u8> {
    key(PROFILE, &[shop.as_bytes()])
}

pub(crate) fn promotion(id: RecordId) -> Vec<u8> {
    key(PROMOTION, &[id.as_bytes()])
}

pub(crate) fn promotion_end(id: RecordId) -> Vec<u8> {
    key(PROMOTION_END, &[id.as_bytes()])
}

pub(crate) fn pair(id: PairId) -> Vec<u8> {
    key(PAIR, &[id.as_bytes()])
}

pub(crate) fn voucher(voucher: &VoucherKey) -> Vec<u8> {
    key(VOUCHER, &[&voucher.to_bytes()])
}

pub(crate) fn code(secret: &[u8; SECRET_BYTES]) -> Vec<u8> {
    key(CODE, &[secret])
}

pub(crate) fn touches(card: CardId) -> Vec<u8> {
    key(TOUCH, &[card.as_bytes()])
}

pub(crate) fn touch(card: CardId, at: UnixMillis, from: ShopId) -> Vec<u8> {
    key(TOUCH, &[card.as_bytes(), &at.ms().to_be_bytes(), from.as_bytes()])
}

/// The moment and the shop in a touch's key.
pub(crate) fn parse_touch(key: &[u8]) -> Option<(UnixMillis, ShopId)> {
    let rest = key.get(1 + CardId::BYTES..)?;
    let at = i64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
    Some((UnixMillis::new(at).ok()?, ShopId::try_from(rest.get(8..)?).ok()?))
}

pub(crate) fn request(id: &str) -> Vec<u8> {
    key(REQUEST, &[id.as_bytes()])
}

pub(crate) fn issued(promotion: RecordId) -> Vec<u8> {
    key(ISSUED, &[promotion.as_bytes()])
}

pub(crate) fn issued_day(promotion: RecordId, day: i64) -> Vec<u8> {
    key(ISSUED_DAY, &[promotion.as_bytes(), &day.to_be_bytes()])
}

pub(crate) fn issued_card(promotion: RecordId, card: CardId) -> Vec<u8> {
    key(ISSUED_CARD, &[promotion.as_bytes(), card.as_bytes()])
}

pub(crate) fn refused(reason: &str) -> Vec<u8> {
    key(REFUSED, &[reason.as_bytes()])
}

pub(crate) fn summary() -> Vec<u8> {
    key(SUMMARY, &[])
}

pub(crate) fn invitation(guest_key: &[u8]) -> Vec<u8> {
    key(INVITATION, &[guest_key])
}

pub(crate) fn invitations() -> Vec<u8> {
    key(INVITATION, &[])
}

/// Promotions that sales here can earn vouchers of, by the moment at which they end.
pub(crate) fn earn(ends: UnixMillis, promotion: RecordId) -> Vec<u8> {
    key(EARN, &[&ends.ms().to_be_bytes(), promotion.as_bytes()])
}

/// After this key come the promotions that end later than `at`.
pub(crate) fn earn_after(at: UnixMillis) -> Vec<u8> {
    key(EARN, &[&at.ms().to_be_bytes(), &[0xff; 32]])
}

pub(crate) fn redemption(id: RecordId) -> Vec<u8> {
    key(REDEMPTION, &[id.as_bytes()])
}

pub(crate) fn cursor(shop: ShopId) -> Vec<u8> {
    key(CURSOR, &[shop.as_bytes()])
}

pub(crate) fn waits_for(need: &Need) -> Vec<u8> {
    key(WAIT, &[need])
}

pub(crate) fn wait(need: &Need, shop: ShopId) -> Vec<u8> {
    key(WAIT, &[need, shop.as_bytes()])
}

pub(crate) fn ignored(shop: ShopId, sequence: u64) -> Vec<u8> {
    key(IGNORED, &[shop.as_bytes(), &sequence.to_be_bytes()])
}

pub(crate) fn vote_aside(voter: ShopId, sequence: u64) -> Vec<u8> {
    key(VOTE_ASIDE, &[voter.as_bytes(), &sequence.to_be_bytes()])
}

/// A promotion that is there and does not count: what needs it does not count either, and need not wait.
pub(crate) fn promotion_ignored(id: RecordId) -> Vec<u8> {
    key(PROMOTION_IGNORED, &[id.as_bytes()])
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("view values are plain data of bounded size")
}

pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, ViewError> {
    let table = key.first().copied().unwrap_or_default();
    postcard::from_bytes(value).map_err(|e| ViewError::Damaged(format!("table {table:#04x}: {e}")))
}

/// Reads a typed value.
pub(crate) fn read<T: DeserializeOwned>(
    view: &(impl Reader + ?Sized),
    key: &[u8],
) -> Result<Option<T>, ViewError> {
    view.get(key)?.map(|value| decode(key, &value)).transpose()
}

/// Writes a typed value.
pub(crate) fn write<R: Reader + ?Sized, T: Serialize>(view: &mut Overlay<'_, R>, key: Vec<u8>, value: &T) {
    view.put(key, encode(value));
}

/// Adds one to a counter.
pub(crate) fn count<R: Reader + ?Sized>(view: &mut Overlay<'_, R>, key: Vec<u8>) -> Result<(), ViewError> {
    let before: u64 = read(view, &key)?.unwrap_or_default();
    write(view, key, &before.saturating_add(1));
    Ok(())
}

/// Collects what `parse` makes of the entries below a prefix.
pub(crate) fn collect<T>(
    view: &(impl Reader + ?Sized),
    prefix: &[u8],
    mut parse: impl FnMut(&[u8], &[u8]) -> Result<T, ViewError>,
) -> Result<Vec<T>, ViewError> {
    let mut found = Vec::new();
    let mut failed = None;
    view.scan(prefix, None, &mut |key, value| match parse(key, value) {
        Ok(item) => {
            found.push(item);
            true
        }
        Err(error) => {
            failed = Some(error);
            false
        }
    })?;
    failed.map_or(Ok(found), Err)
}
