//! VOU-2: no more vouchers than the quota, the day's and the card's limit; none honoured past the quota.

use std::collections::{BTreeMap, BTreeSet};

use hutong_core::voucher::{Token, VoucherKey};
use hutong_record::{CardId, RecordId};

use super::{Checked, Invariant};
use crate::{node::ShopNumber, workload::Offer};

const UTC_OFFSET_MINUTES: i32 = 480;

/// Vouchers that tills were given, by promotion and shop.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    by_number: BTreeMap<VoucherKey, Vec<u8>>,
    by_day: BTreeMap<(RecordId, ShopNumber, i64), BTreeSet<u32>>,
    by_card: BTreeMap<(RecordId, ShopNumber, CardId), BTreeSet<u32>>,
    by_shop: BTreeMap<(RecordId, ShopNumber), BTreeSet<u32>>,
    oversold: u64,
}

impl HandedOut {
    /// A till was given a voucher.
    pub(crate) fn handed_out(&mut self, shop: ShopNumber, offer: &Offer, token: &Token) -> Checked {
        let body = token.body();
        let (promotion, number) = (body.key.promotion, body.key.number);
        let before = self.by_number.entry(body.key).or_insert_with(|| token.bytes().to_vec());
        if before != token.bytes() {
            return Err((Invariant::Vou2, format!("{:?} was handed out twice", body.key)));
        }
        let all = self.by_shop.entry((promotion, shop)).or_default();
        all.insert(number);
        let quota = quota(offer, body.key.distributor);
        if all.len() as u64 > u64::from(quota) || number > quota {
            self.oversold += 1;
            return Err((Invariant::Vou2, format!("{:?} is past the quota of {quota}", body.key)));
        }
        let day = self.by_day.entry((promotion, shop, body.issued.day(UTC_OFFSET_MINUTES))).or_default();
        day.insert(number);
        check_limit("day", day, offer.message.per_day_max)?;
        let Some(card) = body.card else { return Ok(()) };
        let cards = self.by_card.entry((promotion, shop, card)).or_default();
        cards.insert(number);
        check_limit("card", cards, offer.message.per_card_max)
    }

    /// Vouchers handed out.
    pub(crate) fn count(&self) -> u64 {
        self.by_number.len() as u64
    }

    /// Vouchers past a quota.
    pub(crate) const fn oversold(&self) -> u64 {
        self.oversold
    }
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

fn check_limit(what: &str, numbers: &BTreeSet<u32>, limit: u32) -> Checked {
    if limit == 0 || numbers.len() as u64 <= u64::from(limit) {
        return Ok(());
    }
    Err((Invariant::Vou2, format!("{} vouchers of one {what}, where {limit} are allowed", numbers.len())))
}
