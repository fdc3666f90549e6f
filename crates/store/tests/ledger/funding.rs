//! Bounties by every scale, their caps, and who bears what.

use hutong_core::{
    command::{Command, VoidCommand},
    refusal::{Reason, Refusal},
    report::{self, Booking, BookingKind, Span},
    voucher::Token,
};
use hutong_record::{Money, RecordId, proto, proto::Kind};
use proto::bounty_terms::Terms;

use crate::{
    street::{DAY_MS, Street},
    till::{card, receipt, yuan},
};

fn minor(minor: i64) -> Option<proto::Money> {
    Some(Money::new(hutong_record::Currency::CNY, minor).unwrap().into())
}

fn tiers(steps: &[(i64, i64)]) -> proto::BountyTiers {
    let tier = |(from, amount): &(i64, i64)| proto::BountyTier { from: *from, amount: minor(*amount) };
    proto::BountyTiers { tiers: steps.iter().map(tier).collect() }
}

fn scale(terms: Terms) -> proto::BountyTerms {
    proto::BountyTerms { terms: Some(terms), ..Default::default() }
}

fn percent(basis_points: u32, most: i64) -> Terms {
    Terms::Percent(proto::PercentOff { basis_points, amount_max: minor(most) })
}

/// Shop 1 hands out for shop 2, which pays by these terms.
fn street(seed: u64, terms: proto::BountyTerms, fixed: Option<i64>) -> Street {
    let mut street = Street::new(seed, 4);
    let promotion = proto::Promotion {
        bounty_terms: Some(terms),
        bounty: fixed.and_then(minor),
        ..street.terms(&[1], 2)
    };
    street.publish(2, promotion).unwrap();
    street.meet();
    street
}

/// A purchase with a voucher; what it made shop 2 owe shop 1.
fn owed(street: &mut Street, who: u8, amount: Money) -> i128 {
    let before = street.balance(1, 2);
    let token = street.sell(1, yuan(20), Some(card(who))).remove(0);
    redeem(street, &token, who, amount).unwrap();
    street.meet();
    street.check_agreement("bounty");
    street.balance(1, 2) - before
}

fn redeem(street: &mut Street, token: &Token, who: u8, amount: Money) -> Result<RecordId, Refusal> {
    let command = street.redemption(&token.qr_text(), amount, Some(card(who)));
    street.run(2, &command).map(|executed| receipt(executed.answer).id)
}

#[test]
fn a_percentage_and_steps_follow_the_purchase() {
    let mut by_percent = street(600, scale(percent(250, 90)), None);
    assert_eq!(owed(&mut by_percent, 1, yuan(20)), 50);
    assert_eq!(owed(&mut by_percent, 2, yuan(4_000)), 90, "no more than its most");
    let mut by_purchase = street(601, scale(Terms::ByPurchase(tiers(&[(2_000, 30), (5_000, 100)]))), None);
    let amounts = [yuan(19), yuan(20), yuan(50)];
    assert_eq!(amounts.map(|amount| owed(&mut by_purchase, 1, amount)), [0, 30, 100]);
}

#[test]
fn steps_by_count_begin_anew_with_the_period() {
    let terms = proto::BountyTerms {
        period: proto::BountyPeriod::Day.into(),
        ..scale(Terms::ByCount(tiers(&[(1, 20), (3, 80)])))
    };
    let mut street = street(602, terms, None);
    let day: Vec<_> = (1..=4).map(|who| owed(&mut street, who, yuan(40))).collect();
    assert_eq!(day, [20, 20, 80, 80]);
    street.pass(DAY_MS);
    assert_eq!(owed(&mut street, 5, yuan(40)), 20);
}

#[test]
fn caps_per_card_and_period_leave_what_is_left() {
    let terms =
        proto::BountyTerms { per_card_max: minor(150), per_period_max: minor(320), ..Default::default() };
    let mut street = street(603, terms, Some(100));
    let got: Vec<_> = [1, 1, 1, 2, 3].map(|who| owed(&mut street, who, yuan(40))).to_vec();
    assert_eq!(got, [100, 50, 0, 100, 70], "150 for a card, 320 for all");
}

#[test]
fn what_is_taken_back_is_free_for_others_again() {
    let terms = proto::BountyTerms { per_period_max: minor(100), ..Default::default() };
    let mut street = street(604, terms, Some(100));
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    let paid = redeem(&mut street, &token, 1, yuan(40)).unwrap();
    street.void(2, paid).unwrap();
    assert_eq!(owed(&mut street, 2, yuan(40)), 100);
}

#[test]
fn new_customers_only_means_cards_not_seen_on_an_earlier_day() {
    let terms = proto::BountyTerms { new_customers_only: true, ..Default::default() };
    let mut street = street(605, terms, Some(100));
    street.sell(2, yuan(20), Some(card(1)));
    assert_eq!(owed(&mut street, 1, yuan(40)), 100, "seen today alone");
    street.pass(DAY_MS);
    assert_eq!(owed(&mut street, 1, yuan(40)), 0);
    assert_eq!(owed(&mut street, 2, yuan(40)), 100);
    let bearer = street.sell(1, yuan(20), None).remove(0);
    let before = street.balance(1, 2);
    street.redeem(2, &bearer.qr_text(), None).unwrap();
    street.meet();
    assert_eq!(street.balance(1, 2), before, "without a card nobody can tell");
}

#[test]
fn a_return_takes_its_part_of_the_bounty_back() {
    let mut street = street(606, scale(percent(250, 100)), None);
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    let paid = redeem(&mut street, &token, 1, yuan(40)).unwrap();
    street.meet();
    assert_eq!(street.balance(1, 2), 100);
    let (request, at) = (street.request(), street.now);
    let void =
        VoidCommand { request, redemption: paid, at, reason: "退货".into(), returned: Some(yuan(20)) };
    street.run(2, &Command::Void(void)).unwrap();
    street.meet();
    street.check_agreement("a part returned");
    assert_eq!(street.balance(1, 2), 50);
}

#[test]
fn a_budget_reckons_with_the_dearest_bounty() {
    let mut street = Street::new(607, 3);
    let terms = |most| proto::Promotion {
        bounty: None,
        bounty_terms: Some(scale(Terms::ByCount(tiers(&[(1, most), (2, 1)])))),
        ..street.terms(&[1], 2)
    };
    let (fits, too_dear) = (terms(100), terms(101));
    assert_eq!(street.publish(2, too_dear).unwrap_err().fact("field"), Some("budget"));
    street.publish(2, fits).unwrap();
}

#[test]
fn a_receipt_that_counts_otherwise_than_the_terms_ask_is_ignored_by_all() {
    let mut street = street(608, scale(percent(250, 100)), None);
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    street.meet();
    let request = Some(proto::Request { id: "crafted".into(), hash: vec![1; 32].into() });
    let receipt = proto::Redemption {
        request,
        token: token.bytes().to_vec().into(),
        redeemed_unix_ms: street.now.ms(),
        purchase: minor(4_000),
        discount: minor(300),
        card_id: card(1).as_bytes().to_vec().into(),
        credited_id: street.bytes(1),
        touched_unix_ms: street.now.ms(),
        bounty: minor(100),
        ..Default::default()
    };
    let basis = |basis| proto::Redemption { bounty_basis: Some(basis), ..receipt.clone() };
    let none = proto::BountyBasis::default();
    let co_funders = vec![proto::CoFunder { shop_id: street.bytes(3), consent_id: vec![1; 32].into() }];
    let cases = [
        proto::Redemption { bounty: minor(101), ..receipt.clone() },
        proto::Redemption { bounty: minor(99), ..receipt.clone() },
        basis(proto::BountyBasis { count: 1, ..none.clone() }),
        basis(proto::BountyBasis { room: minor(5), ..none.clone() }),
        basis(proto::BountyBasis { room: minor(-5), ..none.clone() }),
        basis(proto::BountyBasis { known_customer: true, ..none.clone() }),
        basis(proto::BountyBasis { staff: true, ..none }),
        proto::Redemption { co_funders, ..receipt.clone() },
    ];
    for case in cases {
        street.plant(2, Kind::Redemption, &[1, 2], &case);
        street.meet();
        assert_eq!(street.balance(1, 2), 0, "{case:?}");
    }
    street.plant(2, Kind::Redemption, &[1, 2], &receipt);
    street.meet();
    assert_eq!(street.balance(1, 2), 100, "as it should be");
}

/// Shop 2 redeems; shop 3 publishes and bears half, shops 0 and 1 a third and the rest, if they agree.
fn shared(seed: u64) -> (Street, RecordId) {
    let mut street = Street::new(seed, 4);
    let share = |street: &Street, shop, basis_points| proto::FundingShare {
        shop_id: street.bytes(shop),
        basis_points,
    };
    let funding = vec![share(&street, 3, 5_000), share(&street, 0, 3_333), share(&street, 1, 1_667)];
    let terms = proto::Promotion { funding, ..street.terms(&[1], 2) };
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    (street, promotion)
}

fn consent(street: &mut Street, shop: usize, promotion: RecordId) -> Result<(), Refusal> {
    let request = street.request();
    street.run(shop, &Command::ConsentFunding { request, promotion }).map(|_| ())
}

fn use_one(street: &mut Street) -> RecordId {
    let token = street.sell(1, yuan(20), None).remove(0);
    street.meet();
    let id = street.redeem(2, &token.qr_text(), None).unwrap().id;
    street.meet();
    id
}

#[test]
fn who_has_not_agreed_bears_nothing() {
    let (mut street, promotion) = shared(610);
    use_one(&mut street);
    street.check_agreement("nobody agreed");
    assert_eq!((street.balance(2, 3), street.balance(2, 0), street.balance(1, 3)), (300, 0, 100));
    consent(&mut street, 0, promotion).unwrap();
    street.meet();
    use_one(&mut street);
    street.check_agreement("one agreed");
    // Of 300 and 100, 33.33 %: 99.99 and 33.33; the odd cent to the larger remainder.
    assert_eq!((street.balance(2, 3), street.balance(2, 0)), (300 + 200, 100));
    assert_eq!((street.balance(1, 3), street.balance(1, 0)), (100 + 67, 33));
    consent(&mut street, 1, promotion).unwrap();
    street.meet();
    use_one(&mut street);
    street.check_agreement("all agreed");
    assert_eq!((street.balance(2, 3), street.balance(2, 0), street.balance(2, 1)), (650, 200, 50));
}

#[test]
fn only_a_co_funder_agrees_and_only_once() {
    let (mut street, promotion) = shared(611);
    assert_eq!(consent(&mut street, 2, promotion).unwrap_err().reason, Reason::NotCoFunder);
    assert_eq!(consent(&mut street, 3, promotion).unwrap_err().reason, Reason::NotCoFunder, "the funder has");
    let unknown = RecordId::new([7; 32]);
    assert_eq!(consent(&mut street, 0, unknown).unwrap_err().reason, Reason::PromotionUnknown);
    consent(&mut street, 0, promotion).unwrap();
    let first = report::consent(&*street.shops[0].ledger.views(), promotion, street.id(0)).unwrap();
    consent(&mut street, 0, promotion).unwrap();
    street.meet();
    street.check_agreement("agreed twice");
    let held = report::consent(&*street.shops[2].ledger.views(), promotion, street.id(0)).unwrap();
    assert!(first.is_some() && held == first);
}

#[test]
fn what_is_taken_back_is_taken_back_from_all_who_bore_it() {
    let (mut street, promotion) = shared(612);
    for shop in [0, 1] {
        consent(&mut street, shop, promotion).unwrap();
    }
    street.meet();
    let id = use_one(&mut street);
    street.void(2, id).unwrap();
    street.meet();
    street.check_agreement("voided");
    for (one, other) in [(2, 3), (2, 0), (2, 1), (1, 3), (1, 0)] {
        assert_eq!(street.balance(one, other), 0, "{one} and {other}");
    }
}

#[test]
fn consent_and_receipt_may_come_in_any_order() {
    for seed in 620..626 {
        let (mut street, promotion) = shared(seed);
        consent(&mut street, 0, promotion).unwrap();
        street.meet();
        use_one(&mut street);
        street.check_redelivered(seed, &format!("seed {seed}"));
    }
}

#[test]
fn shares_that_do_not_add_up_or_name_strangers_are_refused() {
    let mut street = Street::new(613, 4);
    let share = |shop_id: bytes::Bytes, basis_points| proto::FundingShare { shop_id, basis_points };
    let (two, three) = (street.bytes(2), street.bytes(3));
    let refused = |street: &mut Street, funding| {
        let terms = proto::Promotion { funding, ..street.terms(&[1], 2) };
        street.publish(2, terms).unwrap_err()
    };
    let short = vec![share(two.clone(), 5_000), share(three, 4_000)];
    assert_eq!(refused(&mut street, short).fact("field"), Some("funding"));
    let stranger = vec![share(two, 5_000), share(vec![9; 32].into(), 5_000)];
    assert_eq!(refused(&mut street, stranger).reason, Reason::MemberUnknown);
}

#[test]
fn booking_lines_say_who_bore_what_and_add_up() {
    let (mut street, promotion) = shared(614);
    for shop in [0, 1] {
        consent(&mut street, shop, promotion).unwrap();
    }
    street.meet();
    let redemption = use_one(&mut street);
    let lines = |street: &Street, shop: usize| -> Vec<Booking> {
        let views = street.shops[shop].ledger.views();
        report::bookings(&*views, street.id(shop), &Span::ALWAYS, None, 10).unwrap().0
    };
    let sum = |lines: &[Booking], kind| -> i64 {
        lines.iter().filter(|line| line.kind == kind).map(|line| line.amount.minor()).sum()
    };
    let redeemer = lines(&street, 2);
    assert_eq!((redeemer.len(), sum(&redeemer, BookingKind::Discount)), (3, 300));
    assert!(redeemer.iter().all(|line| line.to == street.id(2) && line.redemption == redemption));
    assert_eq!(redeemer.iter().map(|line| line.basis_points).sum::<u32>(), 10_000);
    let sender = lines(&street, 1);
    assert_eq!(sum(&sender, BookingKind::ReferralFee), 100, "of all, its own part too");
    assert_eq!(sum(&sender, BookingKind::Discount), 50, "what it bears as a co-funder");
    let co_funder = lines(&street, 0);
    assert_eq!(
        (sum(&co_funder, BookingKind::Discount), sum(&co_funder, BookingKind::ReferralFee)),
        (100, 33)
    );
    // Line by line, both sides book the same.
    for line in &co_funder {
        let other = if line.to == street.id(2) { 2 } else { 1 };
        assert!(lines(&street, other).contains(line));
    }
    let pages = |most| {
        let views = street.shops[2].ledger.views();
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = report::bookings(&*views, street.id(2), &Span::ALWAYS, after, most).unwrap();
            all.extend(page);
            match next {
                None => return all,
                next => after = next,
            }
        }
    };
    assert_eq!(pages(1), redeemer);
}
