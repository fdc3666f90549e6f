//! VOU-2: no more vouchers than there are numbers, each number with one owner at a time, within the day's and the card's
//! limit; none honoured past the quota; a number handed out again only if the voucher before was not used.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use hutong_core::voucher::{Token, VoucherKey};
use hutong_record::{CardId, RecordId};

use super::{Checked, Invariant, vou1::Uses};
use crate::{node::ShopNumber, offers::Offer};

const UTC_OFFSET_MINUTES: i32 = 480;

/// Vouchers that tills were given, by promotion and shop.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    /// By number and round, whoever owned the number.
    by_number: BTreeMap<VoucherKey, (ShopNumber, Token)>,
    counts: BTreeMap<(RecordId, ShopNumber), Count>,
    by_day: BTreeMap<(RecordId, ShopNumber, i64), BTreeSet<VoucherKey>>,
    by_card: BTreeMap<(RecordId, ShopNumber, CardId), BTreeSet<VoucherKey>>,
    oversold: u64,
}

/// How many vouchers of a promotion a shop handed out.
#[derive(Debug, Default)]
struct Count {
    all: u64,
    /// Under numbers that had not been handed out before.
    first_round: u64,
}

impl Count {
    fn add(&mut self, key: VoucherKey) {
        self.all += 1;
        self.first_round += u64::from(key.round == 0);
    }
}

impl HandedOut {
    /// A till was given a voucher. `dealt_double`: a cheat has moved its number on after it had handed it out, so that two
    /// shops go by it, each in good faith; which vouchers that makes, is evidence against the cheat.
    pub(crate) fn handed_out(
        &mut self,
        shop: ShopNumber,
        offer: &Offer,
        token: &Token,
        uses: &Uses,
        dealt_double: bool,
    ) -> Checked {
        let body = token.body();
        let before = match self.by_number.entry(number(body.key)) {
            Entry::Occupied(before) => before.into_mut(),
            Entry::Vacant(place) => {
                self.counts.entry((body.key.promotion, shop)).or_default().add(body.key);
                place.insert((shop, token.clone()))
            }
        };
        if (before.0 != shop || before.1 != *token) && !dealt_double {
            return self.oversell(format!("{:?} was handed out twice", body.key));
        }
        let quota = quota(offer, body.key.distributor);
        if body.key.number > quota {
            return self.oversell(format!("{:?} is past the quota of {quota}", body.key));
        }
        if !dealt_double {
            self.check_round_before(body.key, uses)?;
        }
        let promotion = body.key.promotion;
        let day = self.by_day.entry((promotion, shop, body.issued.day(UTC_OFFSET_MINUTES))).or_default();
        day.insert(body.key);
        check_limit("day", day, offer.message.per_day_max)?;
        let Some(card) = body.card else { return Ok(()) };
        let cards = self.by_card.entry((promotion, shop, card)).or_default();
        cards.insert(body.key);
        check_limit("card", cards, offer.message.per_card_max)
    }

    fn oversell(&mut self, what: String) -> Checked {
        self.oversold += 1;
        Err((Invariant::Vou2, what))
    }

    /// A number is free again only if the voucher before was not used.
    fn check_round_before(&mut self, key: VoucherKey, uses: &Uses) -> Checked {
        let Some(before) = key.round_before() else { return Ok(()) };
        match uses.live(&before) {
            Some(redemption) => {
                self.oversell(format!("{key:?} was handed out after {before:?} was used: {redemption:?}"))
            }
            None => Ok(()),
        }
    }

    /// A voucher is used: its number is not to have been handed out again.
    pub(super) fn used(&mut self, key: VoucherKey) -> Checked {
        let is_out = |key: &VoucherKey| {
            self.by_number.get(&number(*key)).is_some_and(|(_, token)| token.body().key == *key)
        };
        match key.next_round().filter(is_out) {
            Some(again) => self.oversell(format!("{key:?} was used, and {again:?} is handed out")),
            None => Ok(()),
        }
    }

    /// Vouchers handed out.
    pub(crate) fn count(&self) -> u64 {
        self.by_number.len() as u64
    }

    /// Vouchers of a promotion that a shop handed out.
    pub(crate) fn count_at(&self, promotion: Option<RecordId>, shop: ShopNumber) -> u64 {
        let count = promotion.and_then(|promotion| self.counts.get(&(promotion, shop)));
        count.map_or(0, |count| count.all)
    }

    /// Numbers of a promotion that a shop handed out for the first time.
    pub(crate) fn first_round_at(&self, promotion: RecordId, shop: ShopNumber) -> u64 {
        self.counts.get(&(promotion, shop)).map_or(0, |count| count.first_round)
    }

    /// The vouchers.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.by_number.values().map(|(_, token)| token.clone())
    }

    /// Vouchers past a quota, or under a number that was not free.
    pub(crate) const fn oversold(&self) -> u64 {
        self.oversold
    }
}

/// A number of a round, however it came to its owner.
const fn number(key: VoucherKey) -> VoucherKey {
    VoucherKey { moved_by: None, ..key }
}

/// A voucher that was honoured lies within its shop's quota.
pub(super) fn check_use(offer: &Offer, token: &Token) -> Checked {
    let key = token.body().key;
    let quota = quota(offer, key.distributor);
    if (1..=quota).contains(&key.number) {
        return Ok(());
    }
    Err((Invariant::Vou2, format!("{key:?} past the quota of {quota} was honoured")))
}

fn quota(offer: &Offer, distributor: u8) -> u32 {
    offer.message.distributors.get(usize::from(distributor)).map_or(0, |d| d.quota)
}

fn check_limit(what: &str, vouchers: &BTreeSet<VoucherKey>, limit: u32) -> Checked {
    if limit == 0 || vouchers.len() as u64 <= u64::from(limit) {
        return Ok(());
    }
    Err((Invariant::Vou2, format!("{} vouchers of one {what}, where {limit} are allowed", vouchers.len())))
}
