//! The promotions of the street: which shop sends its customers where, and on what terms.

use std::time::Duration;

use hutong_record::{DAY_MS, UnixMillis};
use hutong_wire::merchant::v1 as pb;

use super::street::{FIRST_DAY, SHOP_COUNT, Shop, Visit};

/// The alliance's currency: the data's amounts are US cents.
pub(super) const CURRENCY: &str = "USD";

/// How long a voucher is good for.
const VOUCHER_DAYS: u32 = 14;

/// Of 100 baskets at the distributor, so many are too small to earn a voucher.
const EARN_PERCENTILE: usize = 60;

/// Of 100 baskets at the redeemer, so many are too small to use one.
const REDEEM_PERCENTILE: usize = 25;

/// Quota: of 100 baskets that would earn a voucher, so many can. Some promotions run dry, as they do.
const QUOTA_PERCENT: usize = 70;

/// Each pair: customers of the first are sent to the second, which pays. Goods that end up on one table.
const PAIRS: [(&str, &str); 26] = [
    ("bakery", "grocer"),
    ("filling-station", "grocer"),
    ("butcher", "greengrocer"),
    ("grocer", "greengrocer"),
    ("greengrocer", "butcher"),
    ("grocer", "butcher"),
    ("greengrocer", "fishmonger"),
    ("butcher", "fishmonger"),
    ("butcher", "smokehouse"),
    ("deli", "smokehouse"),
    ("bakery", "deli"),
    ("drugstore", "deli"),
    ("deli", "bakery"),
    ("grocer", "bakery"),
    ("filling-station", "eatery"),
    ("fishmonger", "eatery"),
    ("greengrocer", "health-foods"),
    ("drugstore", "health-foods"),
    ("health-foods", "drugstore"),
    ("beauty-shop", "drugstore"),
    ("drugstore", "beauty-shop"),
    ("florist", "beauty-shop"),
    ("smokehouse", "florist"),
    ("grocer", "florist"),
    ("eatery", "filling-station"),
    ("grocer", "filling-station"),
];

/// What was spent at each shop, sorted.
pub(super) struct Baskets {
    cents: [Vec<i64>; SHOP_COUNT],
}

impl Baskets {
    /// Reads the visits once.
    pub(super) fn of<E>(visits: impl Iterator<Item = Result<Visit, E>>) -> Result<Self, E> {
        let mut cents: [Vec<i64>; SHOP_COUNT] = Default::default();
        for visit in visits {
            let visit = visit?;
            cents[visit.shop.index()].push(visit.amount_cents);
        }
        cents.iter_mut().for_each(|shop| shop.sort_unstable());
        Ok(Self { cents })
    }

    /// Visits to all shops.
    pub(super) fn count(&self) -> usize {
        self.cents.iter().map(Vec::len).sum()
    }

    /// The basket that `percent` of a shop's baskets lie below; 0 where nobody came.
    fn percentile(&self, shop: Shop, percent: usize) -> i64 {
        let cents = &self.cents[shop.index()];
        cents.get(cents.len() * percent / 100).copied().unwrap_or(0)
    }

    fn at_least(&self, shop: Shop, cents_min: i64) -> usize {
        let cents = &self.cents[shop.index()];
        cents.len() - cents.partition_point(|c| *c < cents_min)
    }
}

/// Spend enough at one shop, get a voucher for the other. The redeemer funds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// Distributor.
    pub(super) from: Shop,
    /// Redeemer and funder.
    pub(super) to: Shop,
    /// The sale that earns a voucher, cents.
    pub(super) earn_min_cents: i64,
    /// The purchase that a voucher asks for, cents.
    pub(super) redeem_min_cents: i64,
    /// What the voucher takes off, cents; never more than `redeem_min_cents`.
    pub(super) off_cents: i64,
    /// What the redeemer owes the credited shop for each redemption, cents.
    pub(super) bounty_cents: i64,
    /// Vouchers in all.
    pub(super) quota: u32,
    /// Vouchers for one card.
    pub(super) per_card_max: u32,
}

impl Offer {
    /// The most that the funder pays: every voucher used.
    pub(super) fn budget_cents(&self) -> i64 {
        i64::from(self.quota) * (self.off_cents + self.bounty_cents)
    }

    /// As its funder asks for it; `shop_ids` are the shops' hex ids, `days` how long it runs.
    pub(super) fn promotion(&self, shop_ids: &[String], days: u32) -> pb::Promotion {
        let start = UnixMillis::EPOCH.saturating_add_ms(FIRST_DAY);
        pb::Promotion {
            title: format!("{} → {}: {} cents off", self.from.name(), self.to.name(), self.off_cents),
            distributors: vec![pb::Distributor {
                shop_id: shop_ids[self.from.index()].clone(),
                quota: self.quota,
                issued: 0,
                owned: 0,
            }],
            redeemer_id: shop_ids[self.to.index()].clone(),
            earn_spend_min: money(self.earn_min_cents),
            benefit: money(self.off_cents).map(pb::promotion::Benefit::AmountOff),
            redeem_spend_min: money(self.redeem_min_cents),
            start_time: timestamp(start),
            end_time: timestamp(start.saturating_add_ms(i64::from(days) * DAY_MS)),
            voucher_validity: duration_days(VOUCHER_DAYS),
            per_card_max: self.per_card_max,
            per_day_max: 0,
            budget: money(self.budget_cents()),
            bounty: money(self.bounty_cents),
            card_required: true,
            ..Default::default()
        }
    }
}

/// The street's offers, with terms that fit what its customers spend in `days` days.
pub(super) fn offers(baskets: &Baskets, days: u32) -> Vec<Offer> {
    PAIRS
        .iter()
        .enumerate()
        .map(|(number, (from, to))| {
            let shop = |key: &str| key.parse().expect("the pairs name shops of the street");
            offer(baskets, days, shop(from), shop(to), if number % 2 == 0 { 8 } else { 12 })
        })
        .collect()
}

fn offer(baskets: &Baskets, days: u32, from: Shop, to: Shop, off_percent: i64) -> Offer {
    let earn_min_cents = baskets.percentile(from, EARN_PERCENTILE).max(1);
    let off_cents = round_to_5(baskets.percentile(to, 50) * off_percent / 100).max(5);
    let earners = baskets.at_least(from, earn_min_cents);
    Offer {
        from,
        to,
        earn_min_cents,
        redeem_min_cents: baskets.percentile(to, REDEEM_PERCENTILE).max(off_cents),
        off_cents,
        bounty_cents: (off_cents / 5).max(2),
        quota: u32::try_from(earners * QUOTA_PERCENT / 100).unwrap_or(u32::MAX).clamp(10, 1_000_000),
        per_card_max: 2 + days / 7,
    }
}

fn round_to_5(cents: i64) -> i64 {
    (cents + 2) / 5 * 5
}

/// An amount in the alliance's currency.
#[allow(clippy::unnecessary_wraps, reason = "message fields are optional")]
pub(super) fn money(cents: i64) -> Option<pb::Money> {
    Some(pb::Money { currency_code: CURRENCY.to_owned(), minor: cents })
}

/// A moment as a message field of type `google.protobuf.Timestamp`.
pub(super) fn timestamp<T: From<std::time::SystemTime>>(at: UnixMillis) -> Option<T> {
    let since_epoch = Duration::from_millis(u64::try_from(at.ms()).ok()?);
    Some((std::time::UNIX_EPOCH + since_epoch).into())
}

/// Whole days as a message field of type `google.protobuf.Duration`.
pub(super) fn duration_days<T: TryFrom<Duration>>(days: u32) -> Option<T> {
    Duration::from_secs(u64::from(days) * 86_400).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::street::{EmbeddedVisits, VisitError};
    use super::*;

    fn january() -> Baskets {
        Baskets::of(EmbeddedVisits::embedded(31)).unwrap()
    }

    #[test]
    fn each_shop_sends_and_receives() {
        let offers = offers(&january(), 31);
        for shop in Shop::all() {
            assert!(offers.iter().any(|o| o.from == shop), "{} sends nobody", shop.key());
            assert_eq!(offers.iter().filter(|o| o.to == shop).count(), 2, "{} funds two", shop.key());
        }
        assert!(offers.iter().all(|o| o.from != o.to));
    }

    #[test]
    fn terms_keep_within_what_the_shop_can_bear() {
        let baskets = january();
        for offer in offers(&baskets, 31) {
            let median = baskets.percentile(offer.to, 50);
            assert!(offer.off_cents * 100 >= median * 5 && offer.off_cents * 100 <= median * 15, "{offer:?}");
            assert!(offer.off_cents <= offer.redeem_min_cents, "{offer:?}");
            assert!(offer.bounty_cents > 0 && offer.bounty_cents < offer.off_cents, "{offer:?}");
            assert!(offer.quota >= 10, "{offer:?}");
            assert_eq!(
                offer.budget_cents(),
                i64::from(offer.quota) * (offer.off_cents + offer.bounty_cents),
                "the budget covers every voucher (VOU-2)"
            );
        }
    }

    #[test]
    fn a_street_without_customers_still_has_valid_terms() {
        let nobody = Baskets::of(std::iter::empty::<Result<Visit, VisitError>>()).unwrap();
        for offer in offers(&nobody, 1) {
            assert!(offer.earn_min_cents > 0 && offer.redeem_min_cents > 0 && offer.off_cents > 0);
            assert!(offer.quota > 0);
        }
    }

    #[test]
    fn a_promotion_says_what_the_offer_says() {
        let offer = offers(&january(), 31).remove(0);
        let ids: Vec<String> = Shop::all().map(|s| format!("id-{}", s.key())).collect();
        let promotion = offer.promotion(&ids, 31);
        assert_eq!(promotion.redeemer_id, "id-grocer");
        assert_eq!(promotion.distributors[0].shop_id, "id-bakery");
        assert_eq!(promotion.start_time.unwrap().seconds * 1000, FIRST_DAY);
        assert_eq!(promotion.end_time.unwrap().seconds, promotion.start_time.unwrap().seconds + 31 * 86_400);
        assert_eq!(promotion.voucher_validity.unwrap().seconds, 14 * 86_400);
        assert!(promotion.title.chars().count() <= 80);
    }
}
