//! Tables: typed keys and values over the views' bytes. The first byte of a key names its table; digests are taken over
//! whole tables, so a table holds either what all members see, or what both shops of a pair see, or this shop's own.

mod access;
mod books;

use alloc::vec::Vec;

use hutong_record::{CardId, PairId, RecordId, ShopId, UnixMillis};

pub(crate) use access::{add, collect, collect_while, count, decode, encode, read, walk, write};
pub(crate) use books::*;

use crate::{
    code::SECRET_BYTES,
    evidence::Touch,
    voucher::{Token, VoucherKey},
};

/// Version of keys, values and meaning of all tables. Another one on disk: the views are rebuilt from the journal.
pub const VIEWS_VERSION: u32 = 14;

/// Tables that every member folds alike, first and last.
pub(crate) const PUBLIC: core::ops::RangeInclusive<u8> = 0x10..=0x3f;

pub(crate) const FORK: u8 = 0x12;
pub(crate) const PROFILE: u8 = 0x13;
pub(crate) const PROMOTION: u8 = 0x14;
pub(crate) const PROMOTION_END: u8 = 0x15;
const STOCK: u8 = 0x16;
const STOCK_MOVE: u8 = 0x17;
pub(crate) const PROOF: u8 = 0x18;
const FUNDING_CONSENT: u8 = 0x19;
pub(crate) const BALANCE: u8 = 0x20;
pub(crate) const RUN: u8 = 0x21;
const CONSENT: u8 = 0x22;
pub(crate) const CREDIT_WORD: u8 = 0x24;
const ROSTER: u8 = 0x26;
const PAIR: u8 = 0x40;
const LINE: u8 = 0x48;
const SHOWN_BY: u8 = 0x49;
const RESPONSE: u8 = 0x4a;
const STATEMENT: u8 = 0x4b;
const PAYMENT: u8 = 0x4c;
const STATEMENT_LATEST: u8 = 0x4d;
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
pub(crate) const DUTY: u8 = 0x8c;
const NUMBER: u8 = 0x8d;
const FREED: u8 = 0x8e;
const HELD: u8 = 0x8f;
const CURSOR: u8 = 0x90;
const WAIT: u8 = 0x91;
const IGNORED: u8 = 0x92;
pub(crate) const VOICE: u8 = 0x93;
const RECORD_IGNORED: u8 = 0x94;
pub(crate) const HEARD: u8 = 0x95;
pub(crate) const MOTION: u8 = 0x96;
const PUBLISHED: u8 = 0x97;
const USED: u8 = 0x98;
const PURCHASE: u8 = 0x99;
const FIRST_SEEN: u8 = 0x9a;
const RISK: u8 = 0x9b;
const ASKED: u8 = 0x9c;
const ASKED_LAST: u8 = 0x9d;
const CARD_VOUCHER: u8 = 0x9e;
const SPENT: u8 = 0x9f;
const ASKED_ABOUT: u8 = 0xa0;
const ANSWERED: u8 = 0xa1;
pub(crate) const TOUCH_AT: u8 = 0xb0;
const BURST: u8 = 0xb1;
pub(crate) const RECEIPT: u8 = 0xb2;
pub(crate) const SALE: u8 = 0xb3;
pub(crate) const VISIT: u8 = 0xb4;
const BOUNTY: u8 = 0xb5;
const CARD_BOUNTY: u8 = 0xb6;
pub(crate) const CHANNEL: u8 = 0xb7;
const STAFF: u8 = 0xb8;
const CONCEDED: u8 = 0xc0;
pub(crate) const EXPOSURE: u8 = 0xc1;
const EXPOSURE_NOTED: u8 = 0xc2;
const NETTING_RULE: u8 = 0xc3;
pub(crate) const PAYMENT_OF: u8 = 0xc4;
const DOUBT: u8 = 0xcc;
const LOST: u8 = 0xcd;
const LOST_OF: u8 = 0xce;
const RESUMED: u8 = 0xcf;
pub(crate) const KEY: u8 = 0xd0;
const KEYS_HELD: u8 = 0xd1;
const TOLD_RECEIPT: u8 = 0xd2;
pub(crate) const RISK_WAITS: u8 = 0xd3;
const TOLD_USES: u8 = 0xd9;

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

/// What a shop said in matters of the alliance. Kept even where it does not count, for what counts may hang on it; so
/// nodes that refused records past a seal do not hold the same.
pub(crate) fn voice(author: ShopId, sequence: u64) -> Vec<u8> {
    key(VOICE, &[author.as_bytes(), &sequence.to_be_bytes()])
}

/// The author and the sequence number in a key of [`voice`].
pub(crate) fn parse_voice(key: &[u8]) -> Option<(ShopId, u64)> {
    let (shop, sequence) = key.get(1..)?.split_at_checked(ShopId::BYTES)?;
    Some((ShopId::try_from(shop).ok()?, u64::from_be_bytes(sequence.try_into().ok()?)))
}

/// A rotation to an epoch of a shop, or an override. Heard even past a seal, like voices.
pub(crate) fn key_of(shop: ShopId, epoch: u32) -> Vec<u8> {
    key(KEY, &[shop.as_bytes(), &epoch.to_be_bytes()])
}

/// The shop and the epoch in a key of [`key_of`].
pub(crate) fn parse_key(key: &[u8]) -> Option<(ShopId, u32)> {
    let (shop, epoch) = key.get(1..)?.split_at_checked(ShopId::BYTES)?;
    Some((ShopId::try_from(shop).ok()?, u32::from_be_bytes(epoch.try_into().ok()?)))
}

/// How many epochs' keys this shop had when sealed payloads were opened for these views.
pub(crate) fn keys_held() -> Vec<u8> {
    key(KEYS_HELD, &[])
}

/// That a shop was heard on a day; the value is the sequence number of the first record that names it.
pub(crate) fn heard(shop: ShopId, day: i64) -> Vec<u8> {
    key(HEARD, &[shop.as_bytes(), &day.to_be_bytes()])
}

/// The shop and the day in a key of [`heard`].
pub(crate) fn parse_heard(key: &[u8]) -> Option<(ShopId, i64)> {
    let (shop, day) = key.get(1..)?.split_at_checked(ShopId::BYTES)?;
    Some((ShopId::try_from(shop).ok()?, i64::from_be_bytes(day.try_into().ok()?)))
}

/// What the voices came to, as a hash: the one entry of its table.
pub(crate) fn roster() -> Vec<u8> {
    key(ROSTER, &[])
}

/// That a shop published a promotion at a moment, whether it counts or not.
pub(crate) fn published(shop: ShopId, at: UnixMillis, id: RecordId) -> Vec<u8> {
    key(PUBLISHED, &[shop.as_bytes(), &at.ms().to_be_bytes(), id.as_bytes()])
}

pub(crate) fn published_by(shop: ShopId) -> Vec<u8> {
    key(PUBLISHED, &[shop.as_bytes()])
}

/// The moment in a key of [`published`].
pub(crate) fn parse_published(key: &[u8]) -> Option<UnixMillis> {
    let at = i64::from_be_bytes(key.get(33..41)?.try_into().ok()?);
    UnixMillis::new(at).ok()
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

/// All vouchers under a distributor's numbers.
pub(crate) fn vouchers_of(promotion: RecordId, distributor: u8) -> Vec<u8> {
    key(VOUCHER, &[promotion.as_bytes(), &[distributor]])
}

/// All vouchers under one number, of all rounds and whoever handed them out; before them all, after those of lower ones.
pub(crate) fn vouchers_of_number(promotion: RecordId, distributor: u8, number: u32) -> Vec<u8> {
    key(VOUCHER, &[promotion.as_bytes(), &[distributor], &number.to_be_bytes()])
}

pub(crate) fn code(secret: &[u8; SECRET_BYTES]) -> Vec<u8> {
    key(CODE, &[secret])
}

pub(crate) fn touches(card: CardId) -> Vec<u8> {
    key(TOUCH, &[card.as_bytes()])
}

/// After this key come the touches of a card from a moment on.
pub(crate) fn touches_from(card: CardId, at: UnixMillis) -> Vec<u8> {
    key(TOUCH, &[card.as_bytes(), &at.ms().to_be_bytes()])
}

/// A touch: by card, so that a conversion finds its own.
pub(crate) fn touch(touch: &Touch) -> Vec<u8> {
    let Touch { card, at, from, to, kind, .. } = touch;
    let at = at.ms().to_be_bytes();
    key(TOUCH, &[card.as_bytes(), &at, from.as_bytes(), to.as_bytes(), &[kind.number()]])
}

/// A touch that is no hand-out, by time: the key of the touch.
pub(crate) fn touch_at(at: UnixMillis, id: RecordId) -> Vec<u8> {
    timed(TOUCH_AT, at, id)
}

/// How many touches of a shop are on record in one ten minutes.
pub(crate) fn burst(shop: ShopId, ten_minutes: i64) -> Vec<u8> {
    key(BURST, &[shop.as_bytes(), &ten_minutes.to_be_bytes()])
}

/// A receipt that this shop is a party to, by time: its voucher's key.
pub(crate) fn receipt(at: UnixMillis, id: RecordId) -> Vec<u8> {
    timed(RECEIPT, at, id)
}

/// A sale at this shop, by time.
pub(crate) fn sale(at: UnixMillis, id: RecordId) -> Vec<u8> {
    timed(SALE, at, id)
}

/// Something that happened at a moment.
pub(crate) fn timed(table: u8, at: UnixMillis, id: RecordId) -> Vec<u8> {
    key(table, &[&at.ms().to_be_bytes(), id.as_bytes()])
}

/// After this key come a table's entries from a moment on.
pub(crate) fn timed_from(table: u8, at: UnixMillis) -> Vec<u8> {
    key(table, &[&at.ms().to_be_bytes()])
}

/// The moment and the record in a key of [`timed`].
pub(crate) fn parse_timed(key: &[u8]) -> Option<(UnixMillis, RecordId)> {
    let at = i64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
    Some((UnixMillis::new(at).ok()?, RecordId::try_from(key.get(9..)?).ok()?))
}

/// When a card was at this shop's till; true: with a voucher.
pub(crate) fn visit(card: CardId, at: UnixMillis, id: RecordId) -> Vec<u8> {
    key(VISIT, &[card.as_bytes(), &at.ms().to_be_bytes(), id.as_bytes()])
}

pub(crate) fn visits(card: CardId) -> Vec<u8> {
    key(VISIT, &[card.as_bytes()])
}

/// After this key come a card's visits from a moment on.
pub(crate) fn visits_from(card: CardId, at: UnixMillis) -> Vec<u8> {
    key(VISIT, &[card.as_bytes(), &at.ms().to_be_bytes()])
}

/// The card and the moment in a key of [`visit`].
pub(crate) fn parse_visit(key: &[u8]) -> Option<(CardId, UnixMillis)> {
    let card = CardId::try_from(key.get(1..1 + CardId::BYTES)?).ok()?;
    let at = i64::from_be_bytes(key.get(1 + CardId::BYTES..9 + CardId::BYTES)?.try_into().ok()?);
    Some((card, UnixMillis::new(at).ok()?))
}

/// How many bounties this shop's receipts came to in one period of a promotion, and their sum.
pub(crate) fn bounty(promotion: RecordId, period: i64) -> Vec<u8> {
    key(BOUNTY, &[promotion.as_bytes(), &period.to_be_bytes()])
}

/// The sum of bounties in this shop's receipts for one card; none: without a card.
pub(crate) fn card_bounty(promotion: RecordId, card: Option<CardId>) -> Vec<u8> {
    key(CARD_BOUNTY, &[promotion.as_bytes(), card.as_ref().map_or(&[], |card| card.as_bytes().as_slice())])
}

/// The record by which a shop agreed to bear its share of a promotion.
pub(crate) fn funding_consent(promotion: RecordId, shop: ShopId) -> Vec<u8> {
    key(FUNDING_CONSENT, &[promotion.as_bytes(), shop.as_bytes()])
}

/// This shop's channel of a name.
pub(crate) fn channel(name: &str) -> Vec<u8> {
    key(CHANNEL, &[name.as_bytes()])
}

/// A card of this shop's own staff.
pub(crate) fn staff(card: CardId) -> Vec<u8> {
    key(STAFF, &[card.as_bytes()])
}

pub(crate) fn request(id: &str) -> Vec<u8> {
    key(REQUEST, &[id.as_bytes()])
}

/// How many vouchers this shop handed out.
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

/// A promotion or a move of numbers that is there and does not count: what needs it does not count either, and need
/// not wait.
pub(crate) fn record_ignored(id: RecordId) -> Vec<u8> {
    key(RECORD_IGNORED, &[id.as_bytes()])
}

/// A record that was named as lost.
pub(crate) fn lost(id: RecordId) -> Vec<u8> {
    key(LOST, &[id.as_bytes()])
}

/// The records of a shop that were named as lost.
pub(crate) fn all_lost_of(shop: ShopId) -> Vec<u8> {
    key(LOST_OF, &[shop.as_bytes()])
}

pub(crate) fn lost_of(shop: ShopId, id: RecordId) -> Vec<u8> {
    key(LOST_OF, &[shop.as_bytes(), id.as_bytes()])
}

/// The latest incarnation that a shop went on in.
pub(crate) fn resumed(shop: ShopId) -> Vec<u8> {
    key(RESUMED, &[shop.as_bytes()])
}

/// Numbers that left their first owner, by the first of each range.
pub(crate) fn stock(promotion: RecordId, distributor: u8, first: u32) -> Vec<u8> {
    key(STOCK, &[promotion.as_bytes(), &[distributor], &first.to_be_bytes()])
}

pub(crate) fn stocks(promotion: RecordId, distributor: u8) -> Vec<u8> {
    key(STOCK, &[promotion.as_bytes(), &[distributor]])
}

/// The first number in a key of [`stock`].
pub(crate) fn parse_stock(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(34..)?.try_into().ok()?))
}

/// A move of numbers that counts.
pub(crate) fn stock_move(id: RecordId) -> Vec<u8> {
    key(STOCK_MOVE, &[id.as_bytes()])
}

/// Evidence against a shop, by what it is about.
pub(crate) fn proof(liable: ShopId, subject: &[u8; 32]) -> Vec<u8> {
    key(PROOF, &[liable.as_bytes(), subject])
}

pub(crate) fn duty(kind: u8, id: &[u8]) -> Vec<u8> {
    key(DUTY, &[&[kind], id])
}

/// The last number handed out of what one move brought (zeros: of what was this shop's from the beginning).
pub(crate) fn number(promotion: RecordId, distributor: u8, by: Option<RecordId>) -> Vec<u8> {
    let by = by.map_or([0; 32], |id| *id.as_bytes());
    key(NUMBER, &[promotion.as_bytes(), &[distributor], &by])
}

/// Vouchers that this shop handed out and holds the right of, by the moment from which their numbers are free.
pub(crate) fn freed(voucher: &VoucherKey, at: UnixMillis) -> Vec<u8> {
    key(FREED, &[voucher.promotion.as_bytes(), &at.ms().to_be_bytes(), &voucher.to_bytes()])
}

pub(crate) fn freed_of(promotion: RecordId) -> Vec<u8> {
    key(FREED, &[promotion.as_bytes()])
}

/// The moment in a key of [`freed`].
pub(crate) fn parse_freed(key: &[u8]) -> Option<UnixMillis> {
    let at = i64::from_be_bytes(key.get(33..41)?.try_into().ok()?);
    UnixMillis::new(at).ok()
}

/// Vouchers of others whose right this shop holds and will give back, by the moment at which they expire.
pub(crate) fn held(voucher: &VoucherKey, expires: UnixMillis) -> Vec<u8> {
    key(HELD, &[&expires.ms().to_be_bytes(), &voucher.to_bytes()])
}

pub(crate) fn all_held() -> Vec<u8> {
    key(HELD, &[])
}

/// The moment in a key of [`held`].
pub(crate) fn parse_held(key: &[u8]) -> Option<UnixMillis> {
    let at = i64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
    UnixMillis::new(at).ok()
}

/// Redemptions here of a promotion: of all, of a day, of a card, of a card on a day.
pub(crate) fn used(promotion: RecordId, day: Option<i64>, card: Option<CardId>) -> Vec<u8> {
    let day = day.map_or([0; 9], |day| {
        let mut bytes = [1; 9];
        bytes[1..].copy_from_slice(&day.to_be_bytes());
        bytes
    });
    key(USED, &[promotion.as_bytes(), &day, card.as_ref().map_or(&[], |card| card.as_bytes().as_slice())])
}

/// What this shop gave away of a promotion in benefits and bounties, minor units.
pub(crate) fn spent(promotion: RecordId) -> Vec<u8> {
    key(SPENT, &[promotion.as_bytes()])
}

/// The vouchers that went into one purchase.
pub(crate) fn purchase(id: &str) -> Vec<u8> {
    key(PURCHASE, &[id.as_bytes()])
}

/// When this shop first saw a card.
pub(crate) fn first_seen(card: CardId) -> Vec<u8> {
    key(FIRST_SEEN, &[card.as_bytes()])
}

/// What this shop accepted at risk of a promotion: what is open or lost, or all of one day.
pub(crate) fn risk(promotion: RecordId, day: Option<i64>) -> Vec<u8> {
    key(RISK, &[promotion.as_bytes(), day.map_or([0; 8], i64::to_be_bytes).as_slice()])
}

/// Whom this shop asked for a right, and what became of it.
pub(crate) fn asked(request: RecordId) -> Vec<u8> {
    key(ASKED, &[request.as_bytes()])
}

/// What a shop answered to a request for a right.
pub(crate) fn answered(request: RecordId, by: ShopId) -> Vec<u8> {
    key(ANSWERED, &[request.as_bytes(), by.as_bytes()])
}

/// The voucher that this shop's request was about, where a use at risk waited for its answer.
pub(crate) fn asked_about(request: RecordId) -> Vec<u8> {
    key(ASKED_ABOUT, &[request.as_bytes()])
}

/// This shop's latest request for the right to a voucher.
pub(crate) fn asked_last(voucher: &VoucherKey, to: ShopId) -> Vec<u8> {
    key(ASKED_LAST, &[&voucher.to_bytes(), to.as_bytes()])
}

/// On whose answer, and to which request, this shop's use at risk of a voucher waits.
pub(crate) fn risk_waits(voucher: &VoucherKey) -> Vec<u8> {
    key(RISK_WAITS, &[&voucher.to_bytes()])
}

/// The vouchers that are bound to a card.
pub(crate) fn card_vouchers(card: CardId) -> Vec<u8> {
    key(CARD_VOUCHER, &[card.as_bytes()])
}

pub(crate) fn card_voucher(card: CardId, voucher: &VoucherKey) -> Vec<u8> {
    key(CARD_VOUCHER, &[card.as_bytes(), &voucher.to_bytes()])
}

/// An own receipt that does not count, as its till knows it.
pub(crate) fn told_receipt(receipt: RecordId) -> Vec<u8> {
    key(TOLD_RECEIPT, &[receipt.as_bytes()])
}

/// How many uses of a voucher own receipts told that do not count.
pub(crate) fn told_uses(voucher: &VoucherKey) -> Vec<u8> {
    key(TOLD_USES, &[&voucher.to_bytes()])
}

/// What is kept of a receipt beside its voucher.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct ReceiptEntry {
    /// What was shown. Two shops may have handed out one number, so a number alone does not tell.
    pub(crate) token: Token,
    /// When the receipt was signed.
    pub(crate) entered: UnixMillis,
}
