//! The demo's own books, kept from the nodes' answers alone, to hold against what the nodes report in the end.

use std::collections::BTreeMap;

use hutong_record::UnixMillis;

use super::{
    plan::Offer,
    street::{SHOP_COUNT, Shop},
};

/// Violations kept word for word; of more, only the number.
const VIOLATIONS_MAX: usize = 50;

/// Something that must never happen, and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Id of the invariant, for example `VOU-1`.
    pub(super) invariant: &'static str,
    /// What happened.
    pub(super) what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// A list of violations that cannot grow without end.
#[derive(Debug, Default)]
pub(super) struct Violations {
    /// The first of them.
    pub(super) list: Vec<Violation>,
    /// How many more there were.
    pub(super) more: u64,
}

impl Violations {
    /// Notes one.
    pub(super) fn note(&mut self, invariant: &'static str, what: impl Into<String>) {
        if self.list.len() < VIOLATIONS_MAX {
            self.list.push(Violation { invariant, what: what.into() });
        } else {
            self.more += 1;
        }
    }

    /// Notes one unless the rule holds.
    pub(super) fn require(&mut self, holds: bool, invariant: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.note(invariant, what());
        }
    }

    /// Adds another list to this one.
    pub(super) fn append(&mut self, other: Self) {
        for violation in other.list {
            self.note(violation.invariant, violation.what);
        }
        self.more += other.more;
    }
}

/// A redemption that a node said yes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    /// Hex id of the redemption.
    pub(super) redemption_id: String,
    /// Taken off the purchase, cents.
    pub(super) discount_cents: i64,
    /// What the funder owes the credited shop, cents.
    pub(super) bounty_cents: i64,
    /// Who sent the customer.
    pub(super) credited: Option<Shop>,
}

/// A voucher that a node handed out.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Text id.
    pub(super) voucher_id: Box<str>,
    /// Position of its offer in the plan.
    pub(super) offer: usize,
    /// Who holds it.
    pub(super) customer: u32,
    /// It is good before this moment.
    pub(super) expires: UnixMillis,
    /// Its use that stands: neither refused nor taken back.
    pub(super) used: Option<Use>,
    /// Shops that were credited with a use of it, taken back or not: they hold its receipts.
    pub(super) credited: Vec<Shop>,
}

impl Entry {
    /// Whether a shop's node holds the voucher: that of its distributor, its redeemer, and each credited shop.
    pub(super) fn is_held_by(&self, shop: Shop, offer: &Offer) -> bool {
        offer.from == shop || offer.to == shop || self.credited.contains(&shop)
    }

    /// Whether a shop's node knows the voucher as used. A shop that was credited with a use that was taken back is no
    /// party to the next one, and must not learn of it (PRV-1).
    pub(super) fn is_known_used_by(&self, shop: Shop, offer: &Offer) -> bool {
        let party = |used: &Use| offer.from == shop || offer.to == shop || used.credited == Some(shop);
        self.used.as_ref().is_some_and(party)
    }
}

/// Sales that a shop's node acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sales {
    /// How many.
    pub(super) count: u64,
    /// Sum, cents.
    pub(super) cents: i64,
}

/// What one worker, or all of them together, heard from the nodes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Every voucher handed out.
    pub(super) entries: Vec<Entry>,
    /// Sales by shop.
    pub(super) sales: [Sales; SHOP_COUNT],
    /// Redemptions taken back, by shop.
    pub(super) voids: [u64; SHOP_COUNT],
    /// Refused attempts, by shop and reason.
    pub(super) refusals: BTreeMap<(Shop, String), u64>,
    /// Second uses of one voucher that a node said yes to: 0, or VOU-1 is broken.
    pub(super) double_uses: u64,
    /// Requests that were sent once more to see whether the answer stays the same.
    pub(super) repeats: u64,
    /// Microseconds that each sale took.
    pub(super) sale_micros: Vec<u32>,
    /// Microseconds that each redemption took.
    pub(super) redeem_micros: Vec<u32>,
    /// What must not happen.
    pub(super) violations: Violations,
}

impl Ledger {
    /// Adds another worker's ledger.
    pub(super) fn append(&mut self, mut other: Self) {
        self.entries.append(&mut other.entries);
        for shop in 0..SHOP_COUNT {
            self.sales[shop].count += other.sales[shop].count;
            self.sales[shop].cents += other.sales[shop].cents;
            self.voids[shop] += other.voids[shop];
        }
        for (key, count) in other.refusals {
            *self.refusals.entry(key).or_default() += count;
        }
        self.double_uses += other.double_uses;
        self.repeats += other.repeats;
        self.sale_micros.append(&mut other.sale_micros);
        self.redeem_micros.append(&mut other.redeem_micros);
        self.violations.append(other.violations);
    }

    /// Books a sale.
    pub(super) fn sold(&mut self, shop: Shop, cents: i64) {
        let sales = &mut self.sales[shop.index()];
        sales.count += 1;
        sales.cents += cents;
    }

    /// Books a refusal.
    pub(super) fn refused(&mut self, shop: Shop, reason: String) {
        *self.refusals.entry((shop, reason)).or_default() += 1;
    }

    /// Books a use. A use of a voucher whose use stands already breaks VOU-1.
    pub(super) fn used(&mut self, entry: usize, used: Use) {
        let entry = &mut self.entries[entry];
        if entry.used.is_some() {
            self.double_uses += 1;
            self.violations.note("VOU-1", format!("voucher {} was redeemed twice", entry.voucher_id));
        }
        entry.credited.extend(used.credited);
        entry.used = Some(used);
    }

    /// Books that a use was taken back.
    pub(super) fn taken_back(&mut self, shop: Shop, entry: usize) {
        self.entries[entry].used = None;
        self.voids[shop.index()] += 1;
    }
}

/// What one shop's node should report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Sales.
    pub(super) sales: Sales,
    /// Vouchers handed out.
    pub(super) issued: u64,
    /// Of them redeemed.
    pub(super) used: u64,
    /// Of them not redeemed and past their time.
    pub(super) expired: u64,
    /// Redemptions at this shop that stand.
    pub(super) redemptions: u64,
    /// Redemptions taken back.
    pub(super) voids: u64,
    /// Discounts given, cents.
    pub(super) discount_cents: i64,
}

/// What one shop should report about one ally.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Trade {
    /// Vouchers handed out for the ally.
    pub(super) given: u64,
    /// Redemptions at the ally that are credited to the shop.
    pub(super) sent: u64,
    /// What the ally owes the shop for them, cents.
    pub(super) earned_cents: i64,
}

/// The whole street's books.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// By shop.
    pub(super) accounts: [Account; SHOP_COUNT],
    /// By shop, then by ally.
    pub(super) trades: [[Trade; SHOP_COUNT]; SHOP_COUNT],
}

impl Books {
    /// Adds the ledger up; vouchers past their time at `as_of` have expired.
    pub(super) fn of(ledger: &Ledger, offers: &[Offer], as_of: UnixMillis) -> Self {
        let mut books = Self::default();
        for shop in Shop::all() {
            let account = &mut books.accounts[shop.index()];
            account.sales = ledger.sales[shop.index()];
            account.voids = ledger.voids[shop.index()];
        }
        for entry in &ledger.entries {
            books.add(entry, &offers[entry.offer], as_of);
        }
        books
    }

    fn add(&mut self, entry: &Entry, offer: &Offer, as_of: UnixMillis) {
        let (from, to) = (offer.from.index(), offer.to.index());
        self.accounts[from].issued += 1;
        self.trades[from][to].given += 1;
        let Some(used) = &entry.used else {
            self.accounts[from].expired += u64::from(entry.expires <= as_of);
            return;
        };
        self.accounts[from].used += 1;
        self.accounts[to].redemptions += 1;
        self.accounts[to].discount_cents += used.discount_cents;
        if let Some(credited) = used.credited {
            let trade = &mut self.trades[credited.index()][to];
            trade.sent += 1;
            trade.earned_cents += used.bounty_cents;
        }
    }

    /// What `ally` owes `shop`, all in all, cents; negative: `shop` owes.
    pub(super) fn balance_cents(&self, shop: Shop, ally: Shop) -> i64 {
        let (shop, ally) = (shop.index(), ally.index());
        self.trades[shop][ally].earned_cents - self.trades[ally][shop].earned_cents
    }
}

#[cfg(test)]
pub(super) mod fixture {
    use super::*;

    /// An offer between two shops: 100 off, bounty 20, two vouchers, one a card.
    pub(in super::super) fn offer(from: &str, to: &str) -> Offer {
        Offer {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            earn_min_cents: 500,
            redeem_min_cents: 300,
            off_cents: 100,
            bounty_cents: 20,
            quota: 2,
            per_card_max: 1,
        }
    }

    /// A voucher of the offer at position `offer`, good before 100 ms.
    pub(in super::super) fn entry(offer: usize, customer: u32) -> Entry {
        Entry {
            voucher_id: format!("{offer}-{customer}").into(),
            offer,
            customer,
            expires: UnixMillis::new(100).unwrap(),
            used: None,
            credited: Vec::new(),
        }
    }

    /// A use credited to a shop, as [`offer`] pays it.
    pub(in super::super) fn used(credited: &str) -> Use {
        Use {
            redemption_id: "00".to_owned(),
            discount_cents: 100,
            bounty_cents: 20,
            credited: Some(credited.parse().unwrap()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fixture::*, *};

    fn shop(key: &str) -> Shop {
        key.parse().unwrap()
    }

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    #[test]
    fn a_use_counts_at_both_shops_and_is_owed_by_the_redeemer() {
        let mut ledger = Ledger::default();
        ledger.entries.push(entry(0, 1));
        ledger.used(0, used("deli"));
        let books = Books::of(&ledger, &[offer("deli", "bakery")], at(1_000));
        let deli = &books.accounts[shop("deli").index()];
        let bakery = &books.accounts[shop("bakery").index()];
        assert_eq!((deli.issued, deli.used, deli.expired), (1, 1, 0));
        assert_eq!((bakery.redemptions, bakery.discount_cents), (1, 100));
        assert_eq!(books.balance_cents(shop("deli"), shop("bakery")), 20);
        assert_eq!(books.balance_cents(shop("bakery"), shop("deli")), -20);
    }

    #[test]
    fn what_is_taken_back_is_not_owed_and_can_be_used_again() {
        let mut ledger = Ledger::default();
        ledger.entries.push(entry(0, 1));
        ledger.used(0, used("deli"));
        ledger.taken_back(shop("bakery"), 0);
        let books = Books::of(&ledger, &[offer("deli", "bakery")], at(1));
        assert_eq!(books.balance_cents(shop("deli"), shop("bakery")), 0);
        assert_eq!(books.accounts[shop("bakery").index()].voids, 1);
        ledger.used(0, used("deli"));
        assert_eq!(ledger.double_uses, 0);
        assert_eq!(ledger.violations.list, []);
    }

    #[test]
    fn a_second_use_breaks_vou_1() {
        let mut ledger = Ledger::default();
        ledger.entries.push(entry(0, 1));
        ledger.used(0, used("deli"));
        ledger.used(0, used("deli"));
        assert_eq!(ledger.double_uses, 1);
        assert_eq!(ledger.violations.list[0].invariant, "VOU-1");
    }

    #[test]
    fn an_unused_voucher_expires_at_its_moment() {
        let mut ledger = Ledger::default();
        ledger.entries.push(entry(0, 1));
        let expired = |ms| {
            let books = Books::of(&ledger, &[offer("deli", "bakery")], at(ms));
            books.accounts[shop("deli").index()].expired
        };
        assert_eq!((expired(99), expired(100)), (0, 1));
    }

    #[test]
    fn ledgers_add_up() {
        let mut all = Ledger::default();
        for customer in 0..3 {
            let mut one = Ledger::default();
            one.entries.push(entry(0, customer));
            one.sold(shop("deli"), 500);
            one.refused(shop("bakery"), "VOUCHER_EXPIRED".to_owned());
            one.violations.note("CON-1", "for the test");
            all.append(one);
        }
        assert_eq!(all.entries.len(), 3);
        assert_eq!(all.sales[shop("deli").index()], Sales { count: 3, cents: 1500 });
        assert_eq!(all.refusals[&(shop("bakery"), "VOUCHER_EXPIRED".to_owned())], 3);
        assert_eq!(all.violations.list.len(), 3);
    }

    #[test]
    fn violations_beyond_the_limit_are_only_counted() {
        let mut violations = Violations::default();
        (0..VIOLATIONS_MAX + 2).for_each(|n| violations.note("VOU-1", n.to_string()));
        assert_eq!((violations.list.len(), violations.more), (VIOLATIONS_MAX, 2));
    }
}
