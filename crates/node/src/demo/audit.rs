//! The invariants, checked: what the nodes report against the demo's own books, and against each other.

use std::collections::{BTreeMap, HashMap};

use hutong_wire::merchant::v1 as pb;

use super::{
    gather::{NodeBooks, Seen, agree},
    ledger::{Account, Books, Ledger, Violations},
    link::TOO_MANY_TRIES,
    pair_books::all_pairs,
    plan::Offer,
    street::Shop,
};

/// What the audit needs.
pub(super) struct Evidence<'a> {
    /// What the tills heard.
    pub(super) ledger: &'a Ledger,
    /// The same, added up.
    pub(super) books: &'a Books,
    /// The promotions.
    pub(super) offers: &'a [Offer],
    /// What the nodes report, in the order of [`Shop::all`].
    pub(super) nodes: &'a [NodeBooks],
    /// Shops by hex id.
    pub(super) shop_of: &'a HashMap<String, Shop>,
    /// The shop whose node was killed: a till that asked again after that may have been counted twice.
    pub(super) killed: Option<&'a str>,
}

/// What the audit found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Whether all nodes hold the same state.
    pub(super) state_digests_equal: bool,
    /// Whether each two shops say the same about what is between them.
    pub(super) pairs_agree: bool,
    /// Second uses of one voucher, by the demo's count or the nodes'.
    pub(super) double_redemptions: u64,
    /// What must not happen.
    pub(super) violations: Violations,
}

/// How two shops stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Balance {
    /// The one.
    pub(super) shop: Shop,
    /// The other.
    pub(super) ally: Shop,
    /// What the other owes the one, cents.
    pub(super) cents: i64,
    /// Whether there was ever anything between them.
    pub(super) traded: bool,
}

/// Checks everything.
pub(super) fn audit(evidence: &Evidence<'_>) -> Findings {
    let mut violations = Violations::default();
    let digests: Vec<_> = evidence.nodes.iter().map(|node| node.digest.clone()).collect();
    let state_digests_equal = agree(&digests);
    violations.require(state_digests_equal, "CON-2", || format!("the nodes' states differ: {digests:?}"));
    for shop in Shop::all() {
        let node = &evidence.nodes[shop.index()];
        check_account(&mut violations, shop, &evidence.books.accounts[shop.index()], &node.summary);
        if evidence.killed != Some(shop.key()) {
            check_refusals(&mut violations, shop, evidence.ledger, &node.summary);
        }
        check_vouchers(&mut violations, shop, evidence, &node.vouchers);
    }
    let pairs_agree = check_pairs(&mut violations, evidence);
    check_limits(&mut violations, evidence.ledger, evidence.offers);
    let counted_by_nodes = evidence.nodes.iter().map(|node| node.summary.double_redemptions).sum();
    let double_redemptions = evidence.ledger.double_uses.max(counted_by_nodes);
    violations.require(double_redemptions == 0, "VOU-1", || format!("{double_redemptions} second uses"));
    Findings { state_digests_equal, pairs_agree, double_redemptions, violations }
}

fn minor(money: Option<&pb::Money>) -> i64 {
    money.map_or(0, |m| m.minor)
}

/// A shop's counts are those that its node acknowledged one by one.
fn check_account(violations: &mut Violations, shop: Shop, expected: &Account, said: &pb::GetSummaryResponse) {
    let counts = [
        ("sales", expected.sales.count, said.sales),
        ("vouchers issued", expected.issued, said.vouchers_issued),
        ("vouchers used", expected.used, said.vouchers_used),
        ("vouchers expired", expected.expired, said.vouchers_expired),
        ("redemptions", expected.redemptions, said.redemptions),
        ("voids", expected.voids, said.voids),
    ];
    for (what, expected, said) in counts {
        violations.require(expected == said, "LOG-2", || {
            format!("{} reports {said} {what}, its tills heard of {expected}", shop.key())
        });
    }
    let sums = [
        ("sales", expected.sales.cents, minor(said.sales_amount.as_ref())),
        ("discounts", expected.discount_cents, minor(said.discounts.as_ref())),
    ];
    for (what, expected, said) in sums {
        violations.require(expected == said, "MON-1", || {
            format!("{} reports {said} cents of {what}, its tills heard of {expected}", shop.key())
        });
    }
}

/// Each refused attempt is kept, with its reason.
fn check_refusals(violations: &mut Violations, shop: Shop, ledger: &Ledger, said: &pb::GetSummaryResponse) {
    let said: BTreeMap<_, _> = said.refusals.iter().map(|r| (r.reason.as_str(), r.count)).collect();
    // A code that was not looked at is no attempt.
    let kept = |(at, reason): &(Shop, String)| *at == shop && reason != TOO_MANY_TRIES;
    for ((_, reason), expected) in ledger.refusals.iter().filter(|(key, _)| kept(key)) {
        let said = said.get(reason.as_str()).copied().unwrap_or(0);
        violations.require(said == *expected, "LOG-2", || {
            format!("{} reports {said} refusals {reason}, its tills heard {expected}", shop.key())
        });
    }
}

/// A shop's node lists exactly the vouchers that it should hold, each used or not as the tills saw it.
fn check_vouchers(violations: &mut Violations, shop: Shop, evidence: &Evidence<'_>, listed: &[Seen]) {
    let listed_by_id: HashMap<_, _> = listed.iter().map(|seen| (seen.id.as_ref(), seen.redeemed)).collect();
    violations.require(listed_by_id.len() == listed.len(), "CON-1", || {
        format!("{} lists a voucher more than once", shop.key())
    });
    let mut expected = 0;
    for entry in &evidence.ledger.entries {
        if !entry.is_held_by(shop, &evidence.offers[entry.offer]) {
            continue;
        }
        expected += 1;
        let listed = listed_by_id.get(entry.voucher_id.as_ref()).copied();
        let known_used = entry.is_known_used_by(shop, &evidence.offers[entry.offer]);
        violations.require(listed == Some(known_used), "LOG-2", || {
            let used = if known_used { "used" } else { "not used" };
            format!("voucher {} was {used}, but {} lists it as {listed:?}", entry.voucher_id, shop.key())
        });
    }
    violations.require(listed.len() == expected, "LOG-2", || {
        format!("{} lists {} vouchers, its tills heard of {expected}", shop.key(), listed.len())
    });
}

/// What two shops say about each other is the same seen from both sides, and as the tills saw it.
fn check_pairs(violations: &mut Violations, evidence: &Evidence<'_>) -> bool {
    let before = violations.list.len();
    for (shop, ally) in all_pairs() {
        let here = pair_of(evidence, shop, ally);
        let there = pair_of(evidence, ally, shop);
        check_pair(violations, evidence.books, (shop, &here), (ally, &there));
    }
    violations.list.len() == before
}

/// What the node of `shop` says about `ally`; a pair that it does not list has nothing between them.
pub(super) fn pair_of(evidence: &Evidence<'_>, shop: Shop, ally: Shop) -> pb::Pair {
    let pairs = &evidence.nodes[shop.index()].pairs;
    pairs.iter().find(|p| evidence.shop_of.get(&p.ally_id) == Some(&ally)).cloned().unwrap_or_default()
}

/// What the second of each two shops owes the first, cents, by the first one's node; and whether they traded.
pub(super) fn balances(evidence: &Evidence<'_>) -> Vec<Balance> {
    let balance = |(shop, ally)| {
        let pair = pair_of(evidence, shop, ally);
        let counts =
            [pair.vouchers_given, pair.vouchers_received, pair.customers_sent, pair.customers_received];
        let cents = minor(pair.balance.as_ref());
        Balance { shop, ally, cents, traded: cents != 0 || counts.iter().any(|count| *count > 0) }
    };
    all_pairs().map(balance).collect()
}

fn check_pair(violations: &mut Violations, books: &Books, here: (Shop, &pb::Pair), there: (Shop, &pb::Pair)) {
    let ((shop, here), (ally, there)) = (here, there);
    let name = format!("{} and {}", shop.key(), ally.key());
    let counts =
        |p: &pb::Pair| (p.vouchers_given, p.customers_sent, p.vouchers_received, p.customers_received);
    let mirrored =
        (there.vouchers_received, there.customers_received, there.vouchers_given, there.customers_sent);
    violations.require(counts(here) == mirrored, "CON-1", || {
        format!("{name} count differently: {:?}, {mirrored:?}", counts(here))
    });
    violations.require(here.state_digest == there.state_digest, "CON-1", || {
        format!("{name} hold different pair states")
    });
    let balance = minor(here.balance.as_ref());
    violations.require(balance == -minor(there.balance.as_ref()), "MON-1", || {
        format!("the balances of {name} do not cancel: {:?}, {:?}", here.balance, there.balance)
    });
    let (sent, received) =
        (books.trades[shop.index()][ally.index()], books.trades[ally.index()][shop.index()]);
    let expected = (sent.given, sent.sent, received.given, received.sent);
    violations.require(counts(here) == expected, "LOG-2", || {
        format!("{name} count {:?}, their tills heard of {expected:?}", counts(here))
    });
    let expected = books.balance_cents(shop, ally);
    violations.require(balance == expected, "MON-1", || {
        format!("the balance of {name} is {balance} cents, by the tills' answers {expected}")
    });
}

/// No promotion hands out or pays more than its terms allow (VOU-2).
fn check_limits(violations: &mut Violations, ledger: &Ledger, offers: &[Offer]) {
    let mut issued = vec![0u32; offers.len()];
    let mut paid_cents = vec![0i64; offers.len()];
    let mut per_card: HashMap<(usize, u32), u32> = HashMap::new();
    for entry in &ledger.entries {
        issued[entry.offer] += 1;
        *per_card.entry((entry.offer, entry.customer)).or_default() += 1;
        paid_cents[entry.offer] += entry.used.as_ref().map_or(0, |u| u.discount_cents + u.bounty_cents);
    }
    for (number, offer) in offers.iter().enumerate() {
        let name = format!("{} to {}", offer.from.key(), offer.to.key());
        violations.require(issued[number] <= offer.quota, "VOU-2", || {
            format!("{name}: {} vouchers of {}", issued[number], offer.quota)
        });
        violations.require(paid_cents[number] <= offer.budget_cents(), "VOU-2", || {
            format!("{name}: {} cents of {}", paid_cents[number], offer.budget_cents())
        });
    }
    for ((number, customer), count) in per_card {
        violations.require(count <= offers[number].per_card_max, "VOU-2", || {
            format!("customer {customer} has {count} vouchers, {} allowed", offers[number].per_card_max)
        });
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
