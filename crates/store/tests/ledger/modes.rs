//! The modes of vouchers: who may redeem, with and without the others.

use hutong_core::{
    command::{AskRightCommand, Asked, Command, Confirmation, RedeemCommand},
    refusal::Reason,
    voucher::{Presented, UseStanding, VoucherState},
};
use hutong_record::{proto, proto::Kind};

use crate::{
    rights_till::anywhere,
    street::{DAY_MS, Street},
    till::yuan,
};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_designated_voucher_goes_to_another_shop_before_its_use_and_is_good_there_alone() {
    let (mut street, token) = anywhere(200, |street| {
        let other = street.bytes(3);
        proto::Promotion { redeemer_ids: vec![other], ..street.terms(&[1], 2) }
    });
    street.meet();
    let refused = street.redeem(3, &token.qr_text(), None).unwrap_err();
    assert_eq!(refused.fact("redeemer_id"), Some(street.id(2).to_string().as_str()));
    assert_eq!(street.transfer(2, &token, 0).unwrap_err().reason, Reason::NotRedeemer);
    street.transfer(2, &token, 3).unwrap();
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::VoucherWrongShop);
    assert_eq!(street.transfer(2, &token, 3).unwrap_err().fact("field"), Some("to_shop_id"));
    street.carry(2, 3);
    let receipt = street.redeem(3, &token.qr_text(), None).unwrap();
    assert_eq!(receipt.discount, yuan(3));
    assert_eq!(street.transfer(3, &token, 2).unwrap_err().reason, Reason::VoucherAlreadyRedeemed);
    street.come_to_rest();
    street.check_agreement("transferred");
    assert_eq!(street.balance(3, 4), 300, "the funder owes the shop that redeemed");
    assert_eq!((street.balance(2, 4), street.balance(1, 4)), (0, 100));
    assert_eq!(street.state(1, &token), VoucherState::Redeemed);
}

#[test]
fn an_anywhere_voucher_is_confirmed_by_its_home_once() {
    let (mut street, token) = anywhere(201, |street| street.anywhere(1, &[2, 3]));
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::ConfirmationNeeded);
    let request = street.ask_right(2, &token, 2);
    assert_eq!(street.outcome(2, request), Asked::Waits);
    street.come_to_rest();
    assert_eq!(street.outcome(2, request), Asked::Granted);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.come_to_rest();
    let request = street.ask_right(3, &token, 3);
    street.come_to_rest();
    let denied = street.denial(3, request);
    assert_eq!(denied.reason, Reason::VoucherAlreadyRedeemed);
    assert_eq!(denied.fact("redeemer_id"), Some(street.id(2).to_string().as_str()));
    let answered = |redeem: &mut RedeemCommand| redeem.confirmation = Confirmation::Answered(request);
    assert_eq!(street.redeem_with(3, &token, answered).unwrap_err(), denied);
    street.come_to_rest();
    street.check_agreement("confirmed");
    assert_eq!(street.balance(2, 4), 300);
}

#[test]
fn two_shops_that_ask_at_once_get_one_right() {
    let (mut street, token) = anywhere(202, |street| street.anywhere(1, &[2, 3]));
    let requests = [2, 3].map(|shop| (shop, street.ask_right(shop, &token, shop)));
    street.come_to_rest();
    let granted = requests.iter().filter(|(shop, id)| street.outcome(*shop, *id) == Asked::Granted).count();
    assert_eq!(granted, 1);
    let redeemed = [2, 3].iter().filter(|shop| street.redeem(**shop, &token.qr_text(), None).is_ok()).count();
    assert_eq!(redeemed, 1);
    street.come_to_rest();
    street.check_agreement("both asked");
}

#[test]
fn a_request_is_made_once_while_it_waits_and_answered_again_if_the_answer_was_lost() {
    let (mut street, token) = anywhere(203, |street| street.anywhere(1, &[2, 3]));
    let request = street.ask_right(2, &token, 2);
    let presented = Some(Presented::Token(token.clone()));
    let again = Command::AskRight(AskRightCommand { presented, to: street.id(2) });
    assert_eq!(street.run(2, &again).unwrap().records, []);
    street.carry(2, 1);
    assert_eq!(street.tend(1), 1);
    // Shop 3 asks on behalf of shop 2: the home has passed the right there, and says so again.
    let other = street.ask_right(3, &token, 2);
    street.come_to_rest();
    assert_eq!((street.outcome(2, request), street.outcome(3, other)), (Asked::Granted, Asked::Granted));
    street.redeem(2, &token.qr_text(), None).unwrap();
}

#[test]
fn a_customer_picks_a_shop_and_the_voucher_is_good_there_with_no_network() {
    let (mut street, token) = anywhere(204, |street| street.anywhere(1, &[2, 3]));
    let request = street.ask_right(2, &token, 3); // at shop 2's till the customer picks shop 3
    street.come_to_rest();
    assert_eq!(street.outcome(2, request), Asked::Granted);
    street.redeem(3, &token.qr_text(), None).unwrap();
    assert_eq!(street.redeem(3, &token.qr_text(), None).unwrap_err().reason, Reason::VoucherAlreadyRedeemed);
}

#[test]
fn what_is_accepted_at_risk_is_settled_once_and_the_other_shop_bears_its_loss() {
    let (mut street, token) = anywhere(205, |street| street.at_risk(1, &[2, 3]));
    for shop in [2, 3] {
        street.accept_at_risk(shop, &token).unwrap();
        assert_eq!(street.state(shop, &token), VoucherState::AtRisk);
        let again = street.accept_at_risk(shop, &token).unwrap_err();
        assert_eq!(again.reason, Reason::VoucherAlreadyRedeemed);
    }
    street.come_to_rest();
    street.check_agreement("settled");
    let standing = |street: &Street, shop| {
        street.voucher(shop, &token).uses.iter().find(|u| u.redeemer == street.id(shop)).unwrap().standing
    };
    let standings = [2, 3].map(|shop| standing(&street, shop));
    let (winner, loser) = match standings {
        [UseStanding::ByRight, UseStanding::Lost] => (2, 3),
        [UseStanding::Lost, UseStanding::ByRight] => (3, 2),
        other => panic!("{other:?}"),
    };
    assert_eq!((street.balance(winner, 4), street.balance(loser, 4)), (300, 0));
    for shop in 0..5 {
        assert_eq!(street.liable(shop), [street.id(loser)], "shop {shop} names the shop that took the risk");
    }
    let summary = street.shops[loser].state().summary;
    assert_eq!((summary.risk_lost_minor, summary.risk_open_minor), (300, 0));
    assert_eq!(street.shops[winner].state().summary.risk_open_minor, 0);
    for shop in 0..5 {
        let mut fresh = street.fresh(shop);
        for author in [4, 3, 2, 1, 0, 4, 3, 2, 1, 0, 4, 3, 2, 1] {
            let log = street.shops[0]
                .log(street.id(author), fresh.ledger.head(street.id(author)).map_or(0, |h| h.sequence));
            let _not_admitted_yet = fresh.take(&log, street.now);
        }
        assert_eq!(fresh.state(), street.shops[shop].state(), "shop {shop} from the others' copies");
        assert_eq!(fresh.ledger.duties(street.now, 10).unwrap(), [], "nothing is due twice");
    }
}

#[test]
fn no_more_is_accepted_at_risk_than_the_caps_allow() {
    let (mut street, first) = anywhere(206, |street| street.at_risk(1, &[2, 3]));
    let promotion = first.body().key.promotion;
    let next = |street: &mut Street| street.issue(1, promotion, None).unwrap();
    let denied = street.redeem_with(2, &first, |redeem| {
        redeem.confirmation = Confirmation::Unreachable { heard: redeem.at, at_risk: false };
    });
    assert_eq!(denied.unwrap_err().reason, Reason::HomeUnreachable);
    let long_ago = street.now.saturating_add_ms(-DAY_MS - 1);
    let denied = street.redeem_with(2, &first, |redeem| {
        redeem.confirmation = Confirmation::Unreachable { heard: long_ago, at_risk: true };
    });
    assert_eq!(denied.unwrap_err().reason, Reason::OfflineTooLong);
    street.accept_at_risk(2, &first).unwrap();
    let second = next(&mut street);
    let receipt = street.accept_at_risk(2, &second).unwrap();
    let third = next(&mut street);
    let refused = street.accept_at_risk(2, &third).unwrap_err();
    assert_eq!((refused.reason, refused.fact("cap")), (Reason::RiskCapReached, Some("per_day")));
    street.void(2, receipt.id).unwrap();
    assert_eq!(
        street.accept_at_risk(2, &third).unwrap_err().fact("cap"),
        Some("per_day"),
        "a day's count stays"
    );
    street.pass(DAY_MS);
    street.accept_at_risk(2, &third).unwrap();
    let fourth = next(&mut street);
    street.accept_at_risk(2, &fourth).unwrap();
    let fifth = next(&mut street);
    assert_eq!(street.accept_at_risk(2, &fifth).unwrap_err().fact("cap"), Some("per_shop"));
    street.come_to_rest();
    street.check_agreement("all settled");
    assert_eq!(street.balance(2, 4), 900);
    street.pass(DAY_MS);
    street.accept_at_risk(2, &fifth).unwrap(); // what is settled is no risk any more
}

#[test]
fn a_use_at_risk_that_was_taken_back_leaves_the_voucher_to_another_shop() {
    let (mut street, token) = anywhere(207, |street| street.at_risk(1, &[2, 3]));
    let receipt = street.accept_at_risk(2, &token).unwrap();
    street.void(2, receipt.id).unwrap();
    street.come_to_rest(); // the right comes to shop 2 all the same
    assert_eq!(street.transfer(2, &token, 3), Ok(()));
    street.come_to_rest();
    street.redeem(3, &token.qr_text(), None).unwrap();
    street.come_to_rest();
    street.check_agreement("moved on");
    assert_eq!(street.liable(0), []);
}

#[test]
fn where_the_home_is_gone_the_funder_answers_for_it() {
    let (mut street, token) = anywhere(208, |street| street.anywhere(1, &[2, 3]));
    street.come_to_rest();
    let held = street.shops[0].ledger.head(street.id(1)).unwrap().sequence;
    let reason = String::new();
    let remove = Command::Remove { shop: street.id(1), last_sequence: None, held, reason };
    street.run(0, &remove).unwrap();
    street.come_to_rest();
    let request = street.ask_right(2, &token, 2);
    street.come_to_rest();
    assert_eq!(street.outcome(2, request), Asked::Granted);
    // At shop 2 the hand-out is not on record: that the issuer is gone speaks against a voucher from it.
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::DistributorRemoved);
}

#[test]
fn where_the_home_goes_the_funder_settles_what_was_accepted_at_risk() {
    let (mut street, token) = anywhere(233, |street| street.at_risk(1, &[2, 3]));
    street.come_to_rest();
    street.accept_at_risk(2, &token).unwrap();
    let held = street.shops[0].ledger.head(street.id(1)).unwrap().sequence;
    let reason = String::new();
    let remove = Command::Remove { shop: street.id(1), last_sequence: None, held, reason };
    street.run(0, &remove).unwrap();
    street.come_to_rest();
    assert_eq!(street.voucher(2, &token).uses[0].standing, UseStanding::ByRight);
    assert_eq!(street.balance(2, 4), 300);
    street.check_agreement("the funder stood in");
    street.check_no_duties();
}

#[test]
fn a_use_at_risk_of_a_reserved_voucher_is_settled_when_it_is_free_or_lost_if_it_is_revoked() {
    for revoked in [false, true] {
        let (mut street, token) = anywhere(231, |street| street.at_risk(1, &[2, 3]));
        street.reserve(1, &token, "till-1", HOUR_MS).unwrap();
        street.meet();
        street.accept_at_risk(2, &token).unwrap();
        let at_till = street.ask_right(3, &token, 3);
        street.carry(2, 1);
        street.carry(3, 1);
        assert_eq!(street.tend(1), 2);
        for other in [2, 3] {
            street.carry(1, other);
        }
        for (shop, request) in [(2, street.last_asked(2, &token)), (3, at_till)] {
            assert_eq!(street.denial(shop, request).reason, Reason::VoucherReserved);
        }
        assert_eq!(street.voucher(2, &token).uses[0].standing, UseStanding::AtRisk);
        if revoked {
            street.revoke(4, &token).unwrap(); // before it hears of the use
        } else {
            street.pass(HOUR_MS);
        }
        street.come_to_rest();
        let uses = street.voucher(2, &token).uses;
        let own = uses.iter().find(|used| used.redeemer == street.id(2)).unwrap();
        let (standing, balance) = if revoked { (UseStanding::Lost, 0) } else { (UseStanding::ByRight, 300) };
        assert_eq!((own.standing, street.balance(2, 4)), (standing, balance));
        assert_eq!(street.denial(3, at_till).reason, Reason::VoucherReserved, "nobody waits at the till");
        street.check_agreement("answered for good");
        street.check_no_duties();
    }
}

#[test]
fn a_use_that_was_given_up_for_lost_counts_if_the_right_comes_after_all() {
    let (mut street, token) = anywhere(232, |street| street.at_risk(1, &[2, 3]));
    street.ask_right(3, &token, 3); // the customer picked shop 3, and went to shop 2
    street.carry(3, 1);
    street.tend(1);
    street.accept_at_risk(2, &token).unwrap();
    street.come_to_rest();
    let summary = |street: &Street| {
        let summary = &street.shops[2].state().summary;
        (summary.risk_open_minor, summary.risk_lost_minor)
    };
    assert_eq!(summary(&street), (0, 300));
    let again = street.accept_at_risk(2, &token).unwrap_err();
    assert_eq!(again.reason, Reason::VoucherAlreadyRedeemed);
    street.transfer(3, &token, 2).unwrap();
    street.come_to_rest();
    assert_eq!(street.voucher(2, &token).uses[0].standing, UseStanding::ByRight);
    assert_eq!((summary(&street), street.balance(2, 4)), ((0, 0), 300));
    assert_eq!(street.state(2, &token), VoucherState::Redeemed);
    street.check_agreement("the right came after all");
}

#[test]
fn an_answer_counts_from_the_shop_that_was_asked_alone() {
    let (mut street, token) = anywhere(230, |street| street.at_risk(1, &[2, 3]));
    street.accept_at_risk(2, &token).unwrap();
    let request = street.last_asked(2, &token);
    let denial = proto::RightDenial {
        right_request_id: request.as_bytes().to_vec().into(),
        reason: Reason::VoucherAlreadyRedeemed.code().into(),
        facts: Vec::new(),
    };
    street.plant(3, Kind::RightDenial, &[2, 3], &denial);
    street.carry(3, 2);
    assert_eq!(street.outcome(2, request), Asked::Waits);
    street.come_to_rest();
    assert_eq!(street.balance(2, 4), 300, "the right came, and the use is settled");
    street.check_agreement("a forged denial");
}

#[test]
fn a_right_that_came_settles_a_use_at_risk_whatever_a_home_that_passed_it_twice_says() {
    let (mut street, token) = anywhere(225, |street| street.at_risk(1, &[2, 3]));
    street.accept_at_risk(2, &token).unwrap();
    street.craft_pass(1, &token, 3, &[1, 3, 4], 1);
    street.craft_pass(1, &token, 2, &[1, 2, 4], 1);
    street.carry(2, 1);
    assert_eq!(street.tend(1), 2, "the home denies the right, and proves its own offence");
    street.carry(1, 2); // the right and the denial, before anything is done about either
    street.come_to_rest();
    assert_eq!(street.voucher(2, &token).uses[0].standing, UseStanding::ByRight);
    assert_eq!(street.shops[2].ledger.duties(street.now, 10).unwrap(), []);
    street.check_agreement("settled");
}

#[test]
fn what_the_other_holder_of_a_right_passed_on_twice_used_is_that_ones_own() {
    let (mut street, token) = anywhere(233, |street| street.at_risk(1, &[2, 4]));
    street.accept_at_risk(4, &token).unwrap(); // the funder, who sees all uses
    street.craft_pass(1, &token, 4, &[1, 4], 1);
    street.craft_pass(1, &token, 2, &[1, 2, 4], 1);
    street.carry(1, 2);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.carry(2, 4); // both passes and the use, before anything is done about them
    street.come_to_rest();
    assert_eq!(street.shops[4].ledger.duties(street.now, 10).unwrap(), []);
    let standings: Vec<_> = street.voucher(4, &token).uses.iter().map(|used| used.standing).collect();
    assert_eq!(standings, [UseStanding::ByRight; 2], "both redeemers are honest");
    assert!(street.liable(4).contains(&street.id(1)), "the home answers for it");
    street.check_agreement("both by right");
}
