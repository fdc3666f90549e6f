//! Each broken promise is found, and an honest street passes.

use hutong_record::UnixMillis;

use super::{
    super::ledger::fixture::{entry, offer, used},
    *,
};

fn shop(key: &str) -> Shop {
    key.parse().unwrap()
}

/// Deli gives two vouchers for the bakery; one is used, the other expires. One attempt is refused.
struct Case {
    ledger: Ledger,
    offers: Vec<Offer>,
    nodes: Vec<NodeBooks>,
    killed: Option<&'static str>,
}

fn pair(ally: &str, counts: [u64; 4], minor: i64) -> pb::Pair {
    let [vouchers_given, customers_sent, vouchers_received, customers_received] = counts;
    pb::Pair {
        ally_id: ally.to_owned(),
        vouchers_given,
        customers_sent,
        vouchers_received,
        customers_received,
        balance: Some(pb::Money { minor, ..Default::default() }),
        state_digest: "d".to_owned(),
        ..Default::default()
    }
}

fn honest() -> Case {
    let mut ledger = Ledger::default();
    ledger.entries.extend([entry(0, 1), entry(0, 2)]);
    ledger.used(0, used("deli"));
    ledger.sold(shop("deli"), 600);
    ledger.refused(shop("bakery"), "VOUCHER_EXPIRED".to_owned());
    let mut nodes: Vec<NodeBooks> = Shop::all().map(|_| NodeBooks::default()).collect();
    let seen = |id: &str, redeemed| Seen { id: id.into(), redeemed };
    let deli = &mut nodes[shop("deli").index()];
    deli.summary = pb::GetSummaryResponse {
        sales: 1,
        sales_amount: Some(pb::Money { minor: 600, ..Default::default() }),
        vouchers_issued: 2,
        vouchers_used: 1,
        vouchers_expired: 1,
        ..Default::default()
    };
    deli.pairs = vec![pair("bakery", [2, 1, 0, 0], 20)];
    deli.vouchers = vec![seen("0-1", true), seen("0-2", false)];
    let bakery = &mut nodes[shop("bakery").index()];
    bakery.summary = pb::GetSummaryResponse {
        redemptions: 1,
        discounts: Some(pb::Money { minor: 100, ..Default::default() }),
        refusals: vec![pb::RefusalCount { reason: "VOUCHER_EXPIRED".to_owned(), count: 1 }],
        ..Default::default()
    };
    bakery.pairs = vec![pair("deli", [0, 0, 2, 1], -20)];
    bakery.vouchers = vec![seen("0-2", false), seen("0-1", true)];
    Case { ledger, offers: vec![offer("deli", "bakery")], nodes, killed: None }
}

impl Case {
    fn node(&mut self, key: &str) -> &mut NodeBooks {
        &mut self.nodes[shop(key).index()]
    }

    fn findings(&self) -> Findings {
        let shop_of = Shop::all().map(|s| (s.key().to_owned(), s)).collect();
        audit(&Evidence {
            ledger: &self.ledger,
            books: &Books::of(&self.ledger, &self.offers, UnixMillis::new(1_000).unwrap()),
            offers: &self.offers,
            nodes: &self.nodes,
            shop_of: &shop_of,
            killed: self.killed,
        })
    }

    fn broken(&self) -> Vec<&'static str> {
        self.findings().violations.list.iter().map(|v| v.invariant).collect()
    }
}

#[test]
fn an_honest_street_passes() {
    let findings = honest().findings();
    assert_eq!(findings.violations.list, []);
    assert!(findings.state_digests_equal && findings.pairs_agree);
    assert_eq!(findings.double_redemptions, 0);
}

#[test]
fn a_node_with_another_state_is_found() {
    let mut case = honest();
    case.node("florist").digest.public_digest = "other".to_owned();
    assert_eq!(case.broken(), ["CON-2"]);
    assert!(!case.findings().state_digests_equal);
}

#[test]
fn a_lost_sale_is_found() {
    let mut case = honest();
    case.node("deli").summary.sales = 0;
    assert_eq!(case.broken(), ["LOG-2"]);
}

#[test]
fn a_lost_voucher_is_found_though_the_counts_are_right() {
    let mut case = honest();
    case.node("bakery").vouchers[0].id = "0-9".into();
    assert_eq!(case.broken(), ["LOG-2"]);
}

#[test]
fn a_forgotten_redemption_is_found_though_the_counts_are_right() {
    let mut case = honest();
    case.node("deli").vouchers[0].redeemed = false;
    assert_eq!(case.broken(), ["LOG-2"]);
}

#[test]
fn a_forgotten_refusal_is_found_unless_the_node_was_killed() {
    let mut case = honest();
    case.node("bakery").summary.refusals.clear();
    assert_eq!(case.broken(), ["LOG-2"]);
    case.killed = Some("bakery");
    assert!(case.broken().is_empty());
}

#[test]
fn balances_that_do_not_cancel_are_found() {
    let mut case = honest();
    case.node("bakery").pairs[0].balance = Some(pb::Money { minor: -19, ..Default::default() });
    assert_eq!(case.broken(), ["MON-1"]);
    assert!(!case.findings().pairs_agree);
}

#[test]
fn two_shops_that_agree_on_a_wrong_balance_are_found() {
    let mut case = honest();
    case.node("deli").pairs[0].balance = Some(pb::Money { minor: 21, ..Default::default() });
    case.node("bakery").pairs[0].balance = Some(pb::Money { minor: -21, ..Default::default() });
    assert_eq!(case.broken(), ["MON-1"]);
}

#[test]
fn a_pair_that_counts_differently_is_found() {
    let mut case = honest();
    case.node("bakery").pairs[0].customers_received = 0;
    assert_eq!(case.broken(), ["CON-1"]);
}

#[test]
fn a_pair_with_two_states_is_found() {
    let mut case = honest();
    case.node("bakery").pairs[0].state_digest = "e".to_owned();
    assert_eq!(case.broken(), ["CON-1"]);
}

#[test]
fn a_second_use_is_found_whoever_counted_it() {
    let mut case = honest();
    case.node("bakery").summary.double_redemptions = 1;
    assert_eq!(case.broken(), ["VOU-1"]);
    let mut case = honest();
    case.ledger.double_uses = 1;
    assert_eq!(case.findings().double_redemptions, 1);
}

#[test]
fn a_shop_credited_with_a_use_holds_the_voucher_too() {
    let mut case = honest();
    case.ledger.taken_back(shop("bakery"), 0);
    case.ledger.used(0, used("florist"));
    let about = |case: &Case| {
        let list = case.findings().violations.list;
        list.into_iter().filter(|v| v.what.contains("florist lists")).count()
    };
    assert!(about(&case) > 0);
    case.node("florist").vouchers = vec![Seen { id: "0-1".into(), redeemed: true }];
    assert_eq!(about(&case), 0);
}

/// The use that was taken back is all that such a shop is a party to.
#[test]
fn a_shop_credited_with_a_use_that_was_taken_back_does_not_know_of_the_next_one() {
    let mut case = honest();
    case.ledger.taken_back(shop("bakery"), 0);
    case.ledger.used(0, used("florist"));
    case.ledger.taken_back(shop("bakery"), 0);
    case.ledger.used(0, used("deli"));
    let about = |case: &Case| {
        let list = case.findings().violations.list;
        list.into_iter().filter(|v| v.what.contains("florist lists")).count()
    };
    case.node("florist").vouchers = vec![Seen { id: "0-1".into(), redeemed: true }];
    assert!(about(&case) > 0);
    case.node("florist").vouchers = vec![Seen { id: "0-1".into(), redeemed: false }];
    assert_eq!(about(&case), 0);
}

#[test]
fn quota_budget_and_card_limits_hold() {
    let mut violations = Violations::default();
    let mut ledger = Ledger::default();
    ledger.entries.extend([entry(0, 1), entry(0, 1), entry(0, 2)]);
    for number in 0..3 {
        ledger.used(number, used("deli"));
    }
    check_limits(&mut violations, &ledger, &[offer("deli", "bakery")]);
    let broken: Vec<_> = violations.list.iter().map(|v| v.what.as_str()).collect();
    assert_eq!(
        broken,
        [
            "deli to bakery: 3 vouchers of 2",
            "deli to bakery: 360 cents of 240",
            "customer 1 has 2 vouchers, 1 allowed"
        ]
    );
}
