//! Bounties that all shops of a path share: the same to the cent for every party, in whatever order records come.

use hutong_core::{
    command::{Command, RespondCommand, VoidCommand},
    refusal::Reason,
    report::{self, BookingKind, Span},
    voucher::Token,
};
use hutong_record::{RecordId, proto, proto::Kind};

use crate::{
    convergence::{replay, seeds, trade},
    street::{DAY_MS, Street},
    till::{card, receipt, yuan},
};

const HOUR_MS: i64 = 3_600_000;

fn rules(model: proto::PayingModel) -> proto::AttributionRules {
    let paying_half_life_ms = if model == proto::PayingModel::Decay { HOUR_MS } else { 0 };
    proto::AttributionRules { paying_model: model.into(), paying_half_life_ms, ..Default::default() }
}

/// Shops 0 and 4 touched a customer before and after shop 1 handed it a voucher, an hour each; shop 2 redeems it, shop 3
/// pays 1 yuan for it.
fn touched(seed: u64, model: proto::PayingModel) -> (Street, Token) {
    let mut street = Street::with(seed, 6, |charter| charter.attribution = Some(rules(model)));
    let terms = street.terms(&[1], 2);
    street.publish(3, terms).unwrap();
    street.meet();
    street.touch(0, 2, card(1)).unwrap();
    street.pass(HOUR_MS);
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    street.pass(HOUR_MS);
    street.touch(4, 2, card(1)).unwrap();
    street.meet();
    street.pass(HOUR_MS);
    (street, token)
}

fn redeemed(seed: u64, model: proto::PayingModel) -> (Street, RecordId) {
    let (mut street, token) = touched(seed, model);
    let command = street.redemption(&token.qr_text(), yuan(40), Some(card(1)));
    let paid = receipt(street.run(2, &command).unwrap().answer);
    assert_eq!(paid.credited, street.id(4), "the last touch, by whose date the receipt goes");
    street.meet();
    (street, paid.id)
}

/// What the funder owes the three shops of the path, in order, by its own books; theirs must say the same.
fn shares(street: &Street) -> [i128; 3] {
    [0, 1, 4].map(|shop| {
        let owed = street.balance(shop, 3);
        assert_eq!((street.balance(3, shop), street.booked(shop, 3)), (-owed, owed), "shop {shop}");
        owed
    })
}

/// Shop 5 has nothing to do with it; what is said in its log makes it one that can be delivered.
fn with_a_bystander(street: &mut Street) {
    let profile = proto::Profile { name: "隔壁".into(), ..Default::default() };
    street.run(5, &Command::Profile(profile)).unwrap();
    street.meet();
}

#[test]
fn every_shop_of_the_path_gets_its_share_and_the_shares_are_the_bounty() {
    // An hour apart, with a half-life of an hour: 1, 2 and 4 parts of 7.
    let expected = [
        (proto::PayingModel::Linear, [34, 33, 33]),
        (proto::PayingModel::Position, [40, 20, 40]),
        (proto::PayingModel::Decay, [14, 29, 57]),
        (proto::PayingModel::Last, [0, 0, 100]),
        (proto::PayingModel::First, [100, 0, 0]),
    ];
    for (number, (model, by_hand)) in (0..).zip(expected) {
        let (mut street, token) = touched(700 + number, model);
        let first_paid = if model == proto::PayingModel::First { 0 } else { 4 };
        let command = street.redemption(&token.qr_text(), yuan(40), Some(card(1)));
        let paid = receipt(street.run(2, &command).unwrap().answer);
        assert_eq!(paid.credited, street.id(first_paid));
        street.meet();
        with_a_bystander(&mut street);
        let mut found = shares(&street);
        let mut by_hand = by_hand;
        assert_eq!(found.iter().sum::<i128>(), 100, "{model:?}");
        if model == proto::PayingModel::Linear {
            // The odd cent is the lowest id's.
            found.sort_unstable();
            by_hand.sort_unstable();
        }
        assert_eq!(found, by_hand, "{model:?}");
        street.check_agreement("shared");
        street.check_redelivered(number, "shared bounties");
        let lines = report::bookings(&*street.shops[3].ledger.views(), street.id(3), &Span::ALWAYS, None, 10);
        let fees = lines.unwrap().0.into_iter().filter(|line| line.kind == BookingKind::ReferralFee);
        assert_eq!(fees.map(|line| line.amount.minor()).sum::<i64>(), 100, "an accountant's lines");
    }
}

#[test]
fn what_is_taken_back_in_part_or_whole_is_taken_back_from_all() {
    for (seed, part) in [(710, None), (711, Some(yuan(10)))] {
        let (mut street, id) = redeemed(seed, proto::PayingModel::Linear);
        let (request, at) = (street.request(), street.now);
        let void = VoidCommand { request, redemption: id, at, reason: "退货".into(), returned: part };
        street.run(2, &Command::Void(void)).unwrap();
        street.meet();
        with_a_bystander(&mut street);
        let left: i128 = if part.is_some() { 100 } else { 0 };
        assert_eq!(shares(&street).iter().sum::<i128>(), left, "a fixed bounty stays with what stays");
        street.check_agreement("taken back");
        street.check_redelivered(seed, "shared bounties");
    }
}

#[test]
fn a_dispute_of_one_shop_holds_back_its_own_share_and_a_concession_takes_back_all() {
    let (mut street, id) = redeemed(712, proto::PayingModel::Position);
    street.respond(0, id, proto::ReceiptAnswer::Dispute).unwrap();
    assert_eq!(
        street.respond(5, id, proto::ReceiptAnswer::Dispute).unwrap_err().reason,
        Reason::RedemptionUnknown,
        "a bystander reads nothing of it"
    );
    street.meet();
    let disputed = |street: &Street, shop| street.lines(3, shop).iter().any(|line| line.disputed);
    assert_eq!([0, 1, 4].map(|shop| disputed(&street, shop)), [true, false, false]);
    let request = street.request();
    let concede = RespondCommand {
        request,
        receipt: id,
        answer: proto::ReceiptAnswer::Concede,
        reason: proto::DisputeReason::Unspecified,
        text: String::new(),
        evidence_id: None,
        evidence: Vec::new(),
    };
    street.run(2, &Command::Respond(concede)).unwrap();
    street.meet();
    with_a_bystander(&mut street);
    assert_eq!(shares(&street), [0, 0, 0]);
    street.check_agreement("conceded");
    street.check_redelivered(712, "shared bounties");
}

/// A receipt of shop 2's for 40 yuan, 3 off and 1 for who is paid, with shop 4's touch an hour ago as the one that is credited.
fn crafted(street: &Street, token: &Token, paid_touches: Vec<proto::PaidTouch>) -> proto::Redemption {
    let now = street.now.ms();
    let cny = |minor| Some(proto::Money { currency_code: "CNY".into(), minor });
    proto::Redemption {
        request: Some(proto::Request { id: "crafted".into(), hash: vec![1; 32].into() }),
        token: token.bytes().to_vec().into(),
        redeemed_unix_ms: now,
        purchase: cny(4_000),
        discount: cny(300),
        card_id: card(1).as_bytes().to_vec().into(),
        credited_id: street.bytes(4),
        touched_unix_ms: now - HOUR_MS,
        bounty: cny(100),
        paid_touches,
        ..Default::default()
    }
}

#[test]
fn a_receipt_whose_list_does_not_hold_is_ignored_by_all() {
    let (mut street, token) = touched(713, proto::PayingModel::Linear);
    let now = street.now.ms();
    let touch = |street: &Street, shop, ago: i64| proto::PaidTouch {
        shop_id: street.bytes(shop),
        touched_unix_ms: now - ago,
    };
    let (first, hand_out) = (touch(&street, 0, 3 * HOUR_MS), touch(&street, 1, 2 * HOUR_MS));
    let last = touch(&street, 4, HOUR_MS);
    let good = crafted(&street, &token, vec![first.clone(), hand_out.clone(), last.clone()]);
    let with = |paid_touches| proto::Redemption { paid_touches, ..good.clone() };
    let own = touch(&street, 2, 2 * HOUR_MS);
    let old = touch(&street, 0, 60 * DAY_MS);
    let no_shop = proto::PaidTouch { shop_id: vec![1; 31].into(), ..first.clone() };
    let cases = [
        (with(Vec::new()), "nobody, and yet a bounty"),
        (with(vec![first.clone(), hand_out.clone()]), "the credited touch is not the last"),
        (with(vec![hand_out.clone(), first.clone(), last.clone()]), "out of order"),
        (with(vec![first.clone(), own, last.clone()]), "the redeemer itself"),
        (with(vec![old, hand_out.clone(), last.clone()]), "out of every window"),
        (with(vec![no_shop, last.clone()]), "no shop"),
        (with(std::iter::repeat_n(last.clone(), 9).collect()), "too many"),
        (with(vec![touch(&street, 5, 2 * HOUR_MS), last.clone()]), "a shop that cannot read it"),
    ];
    for (case, why) in cases {
        street.plant(2, Kind::Redemption, &[0, 1, 2, 3, 4], &case);
        street.meet();
        assert_eq!(shares(&street), [0, 0, 0], "{why}");
    }
    street.plant(2, Kind::Redemption, &[0, 1, 2, 3, 4], &good);
    street.meet();
    assert_eq!(shares(&street).iter().sum::<i128>(), 100, "as it should be");
    street.check_agreement("lists that do not hold");
}

#[test]
fn where_one_shop_is_paid_no_list_counts() {
    let (mut street, token) = touched(714, proto::PayingModel::Last);
    let now = street.now.ms();
    let last = proto::PaidTouch { shop_id: street.bytes(4), touched_unix_ms: now - HOUR_MS };
    let receipt = crafted(&street, &token, vec![last]);
    street.plant(2, Kind::Redemption, &[1, 2, 3, 4], &receipt);
    street.meet();
    assert_eq!(shares(&street), [0, 0, 0]);
    street.plant(2, Kind::Redemption, &[1, 2, 3, 4], &proto::Redemption { paid_touches: vec![], ..receipt });
    street.meet();
    assert_eq!(shares(&street), [0, 0, 100]);
}

#[test]
fn shared_bounties_in_any_order_of_arrival_come_to_the_same() {
    let models = [proto::PayingModel::Linear, proto::PayingModel::Position, proto::PayingModel::Decay];
    for seed in seeds() {
        let context = replay(seed, "shared_bounties_in_any_order");
        let model = models[usize::try_from(seed % 3).unwrap()];
        let mut street = Street::with(720 + seed, 5, |charter| charter.attribution = Some(rules(model)));
        trade(&mut street, 120, 5);
        street.meet();
        street.check_agreement(&context);
        street.check_redelivered(seed, &context);
    }
}
