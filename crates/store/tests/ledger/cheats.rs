//! Shops that cheat with rights and numbers: what it proves, and what it costs them.

use hutong_core::{
    refusal::{Reason, Refusal},
    report,
    voucher::{Token, VoucherBody, VoucherKey, VoucherState},
};
use hutong_record::{proto, proto::Kind};

use crate::{rights_till::anywhere, street::Street, till::yuan};

#[test]
fn a_right_passed_on_twice_is_proven_and_charged_once() {
    let (mut street, token) = anywhere(212, |street| street.anywhere(1, &[2, 3]));
    street.meet();
    street.craft_pass(1, &token, 2, &[1, 2, 4], 1);
    street.craft_pass(1, &token, 3, &[1, 3, 4], 1);
    street.meet();
    for shop in [2, 3] {
        street.redeem(shop, &token.qr_text(), None).unwrap(); // both are honest, and are paid
    }
    street.come_to_rest();
    street.check_agreement("passed twice");
    for shop in 0..5 {
        assert_eq!(street.liable(shop), [street.id(1)], "shop {shop}");
    }
    assert_eq!((street.balance(2, 4), street.balance(3, 4)), (300, 300));
    // Two bounties of 1 yuan earned; 4 yuan owed for the proof, 4 for the second pass of the one use.
    assert_eq!(street.balance(1, 4), 200 - 400);
    let doubles = street.shops[4].state().summary.double_redemptions;
    assert_eq!(doubles, 1, "the funder sees it");
}

#[test]
fn two_vouchers_with_one_number_and_a_number_past_the_quota_are_proven() {
    let mut street = Street::new(213, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let genuine = street.issue(1, promotion, None).unwrap();
    street.meet();
    let forge = |street: &Street, change: fn(&mut VoucherBody)| {
        let mut body = genuine.body().clone();
        change(&mut body);
        Token::sign(body, &street.shops[1].keys.signing)
    };
    let twin = forge(&street, |body| body.secret = [7; 10]);
    let past = forge(&street, |body| body.key.number = 51);
    let foreign = Token::sign(twin.body().clone(), &street.shops[2].keys.signing);
    for token in [&twin, &past, &foreign] {
        assert_eq!(
            street.redeem(2, &token.qr_text(), None).unwrap_err(),
            Refusal::new(Reason::VoucherUnknown)
        );
    }
    street.come_to_rest();
    for shop in 0..4 {
        assert_eq!(street.liable(shop), [street.id(1); 2], "shop {shop}");
    }
    street.check_agreement("forged");
    assert_eq!(street.balance(3, 1), 400, "the twin is charged, what nobody can use is not");
    street.redeem(2, &twin.qr_text(), None).unwrap_err();
    street.come_to_rest();
    assert_eq!(street.balance(3, 1), 400, "once");
}

#[test]
fn more_uses_passed_on_than_were_left_are_charged() {
    let (mut street, token) = anywhere(214, |street| {
        let budget = Some(yuan(1_000).into());
        proto::Promotion { uses: 3, budget, ..street.anywhere(1, &[1, 2]) }
    });
    street.redeem(1, &token.qr_text(), None).unwrap();
    street.craft_pass(1, &token, 2, &[1, 2, 4], 3);
    street.come_to_rest();
    street.check_agreement("one too many");
    // It redeemed once for 3 yuan, and owes 3 uses of 4 yuan for one use too many.
    assert_eq!(street.balance(1, 4), 300 - 1_200);
}

#[test]
fn numbers_moved_on_after_they_were_handed_out_are_charged() {
    let mut street = Street::new(215, 3);
    let terms = street.leased(&[(1, 3), (2, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    street.craft_move(1, promotion, 3);
    street.come_to_rest();
    assert_eq!(street.balance(1, 0), -400);
    street.redeem(1, &token.qr_text(), None).unwrap();
    assert_eq!(std::iter::from_fn(|| street.issue(2, promotion, None).ok()).count(), 3);
    street.come_to_rest();
    street.check_agreement("moved what was sold");
}

#[test]
fn whoever_moves_on_a_number_that_another_shop_had_handed_out_is_not_charged() {
    let mut street = Street::new(227, 4);
    let terms = street.leased(&[(1, 3), (2, 0), (3, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    street.issue(1, promotion, None).unwrap();
    street.craft_move(1, promotion, 3);
    street.come_to_rest();
    street.move_quota(2, promotion, 3, 3).unwrap();
    street.come_to_rest();
    assert_eq!((street.balance(1, 0), street.balance(2, 0)), (-400, 0));
    street.check_agreement("moved twice");
}

#[test]
fn a_leased_number_that_was_used_is_not_handed_out_again_by_a_cheat() {
    let mut street = Street::new(232, 3);
    let terms = proto::Promotion { reuse_expired: true, ..street.leased(&[(1, 1), (2, 0)]) };
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let first = street.issue(1, promotion, None).unwrap();
    street.redeem(1, &first.qr_text(), None).unwrap();
    let body = VoucherBody { key: VoucherKey { round: 1, ..first.body().key }, ..first.body().clone() };
    let token = Token::sign(body, &street.shops[1].keys.signing);
    street.craft_issue(1, &token, &[0, 1]);
    street.come_to_rest();
    for shop in [0, 1] {
        let views = street.shops[shop].ledger.views();
        assert_eq!(report::voucher(&*views, &token.body().key).unwrap(), None, "shop {shop}");
    }
    street.check_agreement("used, and handed out again");
}

#[test]
fn a_receipt_is_taken_back_by_what_was_shown_where_two_shops_handed_out_one_number() {
    let mut street = Street::new(234, 3);
    let terms = street.leased(&[(1, 2), (2, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let sold = street.issue(1, promotion, None).unwrap();
    street.redeem(1, &sold.qr_text(), None).unwrap();
    street.craft_move(1, promotion, 1);
    street.meet();
    let moved = street.issue(2, promotion, None).unwrap();
    assert_eq!(moved.body().key.number, sold.body().key.number, "one number, two issuers");
    let receipt = street.redeem(2, &moved.qr_text(), None).unwrap();
    street.come_to_rest();
    street.void(2, receipt.id).unwrap();
    street.come_to_rest();
    street.check_agreement("taken back");
    assert_eq!(street.balance(2, 0), 0);
}

#[test]
fn what_a_cheat_does_with_a_number_that_it_moved_on_does_not_touch_the_voucher_of_who_got_it() {
    let mut street = Street::new(249, 3);
    let terms = street.leased(&[(1, 3), (2, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let sold = [0, 1, 2].map(|_| street.issue(1, promotion, None).unwrap());
    street.craft_move(1, promotion, 3);
    street.carry(1, 2);
    // Before the honest hand-out under that number, and after it.
    street.craft_revocation(1, &sold[0], &[0, 1, 2]);
    street.come_to_rest();
    let moved = [0, 1].map(|_| street.issue(2, promotion, None).unwrap());
    street.craft_revocation(1, &sold[1], &[0, 1, 2]);
    street.come_to_rest();
    for (moved, sold) in moved.iter().zip(&sold) {
        assert_eq!(moved.body().key.number, sold.body().key.number, "one number, two issuers");
        assert_eq!(street.state(2, moved), VoucherState::Issued);
        street.redeem(2, &moved.qr_text(), None).unwrap();
    }
    street.come_to_rest();
    let head = street.shops[2].ledger.head(street.id(2));
    street.come_to_rest();
    assert_eq!(street.shops[2].ledger.head(street.id(2)), head, "nothing is left to be done");
    street.check_agreement("two issuers");
}

#[test]
fn all_that_one_record_passes_on_too_often_is_one_line_of_the_book() {
    let mut street = Street::new(237, 5);
    let terms = street.anywhere(1, &[1, 2]);
    let promotion = street.publish(4, terms).unwrap();
    street.meet();
    let tokens = [0, 1].map(|_| street.issue(1, promotion, None).unwrap());
    for token in &tokens {
        street.redeem(1, &token.qr_text(), None).unwrap();
    }
    street.craft_passes(1, &[&tokens[0], &tokens[1]], 2, &[1, 2, 4], 1);
    street.come_to_rest();
    street.check_agreement("two of two used up");
    // Redeemed twice for 3 yuan; passed two used-up ones on, 4 yuan each.
    assert_eq!(street.balance(1, 4), 600 - 800);
    assert_eq!(street.booked(1, 4), 600 - 800, "the book's lines add up to the balance");
}

#[test]
fn a_proof_that_is_shown_again_and_again_takes_no_more_room() {
    let (mut street, token) = anywhere(238, |street| street.anywhere(1, &[2, 3]));
    street.meet();
    street.craft_pass(1, &token, 2, &[1, 2, 4], 1);
    street.craft_pass(1, &token, 3, &[1, 3, 4], 1);
    street.come_to_rest();
    let proof = street.proofs(0).pop().unwrap();
    let before = street.booked(1, 4);
    for _ in 0..3 {
        street.plant(1, Kind::VoucherProof, &[], &proof);
    }
    let lines = street.line_count(4, 1);
    street.plant(1, Kind::VoucherProof, &[], &proof);
    street.come_to_rest();
    assert_eq!((street.line_count(4, 1), street.booked(1, 4)), (lines, before));
    street.check_agreement("shown again");
}

/// A leased number's redeemer sees its hand-out in its own log, and so does the funder: where there is none, nobody was to
/// have the voucher, in whatever round.
#[test]
fn leased_vouchers_that_were_never_handed_out_are_their_redeemers_own_loss() {
    let mut street = Street::new(250, 3);
    let terms = street.leased(&[(1, 1), (2, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let sold = street.issue(1, promotion, None).unwrap();
    for round in 1..4 {
        let key = VoucherKey { round, ..sold.body().key };
        let token = Token::sign(VoucherBody { key, ..sold.body().clone() }, &street.shops[1].keys.signing);
        let refused = street.redeem(1, &token.qr_text(), None).unwrap_err();
        assert_eq!(refused.reason, Reason::VoucherUnknown, "its own node does not help");
        let money = |yuan_: i64| Some(proto::Money::from(yuan(yuan_)));
        let receipt = proto::Redemption {
            request: street.named_request(),
            token: token.bytes().to_vec().into(),
            redeemed_unix_ms: street.now.ms(),
            purchase: money(40),
            discount: money(3),
            bounty: money(0),
            credited_id: street.bytes(1),
            touched_unix_ms: token.body().issued.ms(),
            ..Default::default()
        };
        street.plant(1, Kind::Redemption, &[0, 1], &receipt);
    }
    street.come_to_rest();
    // Three times 3 yuan for the discount, less 4 yuan, which is all that one use can cost.
    assert_eq!(street.balance(1, 0), 3 * (300 - 400));
    street.check_agreement("never handed out");
}

/// Two vouchers under one number for one shop: the first is revoked and goes back before the second is handed out.
#[test]
fn who_gave_a_voucher_back_does_not_take_another_one_under_its_number() {
    let mut street = Street::new(251, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let genuine = street.issue(1, promotion, None).unwrap();
    let [first, second] = [7, 8].map(|secret| {
        let key = VoucherKey { number: 2, ..genuine.body().key };
        let body = VoucherBody { key, secret: [secret; 10], ..genuine.body().clone() };
        Token::sign(body, &street.shops[1].keys.signing)
    });
    street.craft_revocation(1, &first, &[1, 2, 3]);
    street.come_to_rest();
    street.craft_issue(1, &second, &[1, 2, 3]);
    street.come_to_rest();
    for _ in 0..2 {
        let refused = street.redeem(2, &second.qr_text(), None).unwrap_err();
        assert_eq!(refused.reason, Reason::VoucherUnknown);
    }
    street.come_to_rest();
    assert_eq!(street.liable(0), [street.id(1)]);
    street.check_agreement("given back");
}
