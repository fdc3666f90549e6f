//! The usual course of things.

use hutong_core::{
    command::Command,
    pair,
    refusal::Reason,
    report::{self, Summary},
    roster::Standing,
};
use hutong_record::proto;

use crate::{
    street::{DAY_MS, Street},
    till::{card, receipt, yuan},
};

fn summary(street: &Street, shop: usize) -> Summary {
    street.shops[shop].state().summary
}

#[test]
fn a_guest_is_in_after_the_founders_vote_and_only_once() {
    let mut street = Street::founded(1, |_| {});
    let guest = street.join(false);
    for shop in 0..2 {
        let roster = street.shops[shop].ledger.alliance().roster();
        assert_eq!(roster.member(street.id(guest)).map(|m| m.standing), Some(Standing::Member));
    }
    let guest_key = [1; 32];
    let identity = street.shops[guest].identity.signed().clone();
    let again = Command::AdmitGuest { guest_key, identity, continuation: None };
    assert_eq!(street.run(0, &again).unwrap_err().reason, Reason::InvitationInvalid);
    assert_eq!(street.run(guest, &again).unwrap_err().reason, Reason::NotCore);
}

#[test]
fn a_profile_is_read_by_all() {
    let mut street = Street::new(2, 3);
    let profile =
        proto::Profile {
            name: "老王面馆".into(), category: "noodles".into(), addresses: vec!["a:1".into()]
        };
    street.run(1, &Command::Profile(profile.clone())).unwrap();
    street.meet();
    for shop in &street.shops {
        let views = shop.ledger.views();
        assert_eq!(report::profile(&*views, street.id(1)).unwrap(), Some(profile.clone()));
    }
    street.check_agreement("profiles");
}

#[test]
fn a_sale_earns_a_voucher_that_is_redeemed_by_token_and_by_code() {
    let mut street = Street::new(3, 3);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    assert!(street.sell(1, yuan(19), None).is_empty(), "below the least sale");
    let by_token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    let by_code = street.sell(1, yuan(20), None).remove(0);
    // The token needs no network; the code needs the hand-out's record.
    let first = street.redeem(2, &by_token.qr_text(), Some(card(1))).unwrap();
    assert_eq!(street.redeem(2, &by_code.code(), None).unwrap_err().reason, Reason::VoucherUnknown);
    street.meet();
    let second = street.redeem(2, &by_code.code(), None).unwrap();
    assert_eq!((first.discount, second.discount), (yuan(3), yuan(3)));
    assert_eq!((first.credited, second.credited), (street.id(1), street.id(1)));
    street.meet();
    street.check_agreement("after two redemptions");
    assert_eq!((street.balance(1, 2), street.balance(2, 1)), (200, -200), "two bounties");
    let distributor = summary(&street, 1);
    assert_eq!((distributor.vouchers_issued, distributor.vouchers_used, distributor.sales), (2, 2, 3));
    assert_eq!((distributor.sales_minor, distributor.redemptions), (5_900, 0));
    let redeemer = summary(&street, 2);
    assert_eq!((redeemer.redemptions, redeemer.discounts_minor), (2, 600));
    assert_eq!(street.shops[0].state().summary, Summary::default(), "a third shop counts nothing");
}

#[test]
fn a_voided_redemption_owes_nothing_and_the_voucher_is_good_again() {
    let mut street = Street::new(4, 3);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), None).remove(0);
    let first = street.redeem(2, &token.qr_text(), None).unwrap();
    street.void(2, first.id).unwrap();
    assert_eq!(street.void(2, first.id).unwrap_err().reason, Reason::RedemptionAlreadyVoided);
    street.meet();
    assert_eq!(street.void(1, first.id).unwrap_err().reason, Reason::RedemptionUnknown);
    assert_eq!((street.balance(1, 2), street.balance(2, 1)), (0, 0));
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.meet();
    street.check_agreement("voided and redeemed again");
    assert_eq!((street.balance(1, 2), street.balance(2, 1)), (100, -100));
    let redeemer = summary(&street, 2);
    assert_eq!((redeemer.redemptions, redeemer.voids, redeemer.discounts_minor), (1, 1, 300));
    assert_eq!((summary(&street, 1).vouchers_used, redeemer.double_redemptions), (1, 0));
}

#[test]
fn the_last_touch_within_the_window_is_credited() {
    let mut street = Street::new(5, 4);
    let terms = proto::Promotion { voucher_valid_ms: 30 * DAY_MS, ..street.terms(&[1], 2) };
    street.publish(2, terms).unwrap();
    street.meet();
    let tokens: Vec<_> = (0..3).map(|_| street.sell(1, yuan(20), Some(card(1))).remove(0)).collect();
    street.pass(1_000);
    street.touch(3, 2, card(1)).unwrap();
    street.touch(3, 2, card(2)).unwrap();
    street.meet();
    street.pass(7 * DAY_MS);
    let inside = street.redeem(2, &tokens[0].qr_text(), Some(card(1))).unwrap();
    assert_eq!(inside.credited, street.id(3), "the later touch wins, on the window's last moment");
    let no_card = street.redeem(2, &tokens[1].qr_text(), None).unwrap_err();
    assert_eq!(no_card.reason, Reason::CardRequired);
    street.pass(1);
    let outside = street.redeem(2, &tokens[1].qr_text(), Some(card(1))).unwrap();
    assert_eq!(outside.credited, street.id(1), "the touch is too old: the hand-out counts");
    street.meet();
    street.check_agreement("touches");
    assert_eq!((street.balance(3, 2), street.balance(1, 2)), (100, 100));
}

#[test]
fn a_touch_after_the_redemption_is_not_credited() {
    let mut street = Street::new(6, 4);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    let before = street.now;
    street.pass(60_000);
    street.touch(3, 2, card(1)).unwrap();
    street.meet();
    let Command::Redeem(mut redeem) = street.redemption(&token.qr_text(), yuan(40), Some(card(1))) else {
        unreachable!("a redemption")
    };
    redeem.at = before;
    let late_entry = street.run(2, &Command::Redeem(redeem)).unwrap();
    assert_eq!(receipt(late_entry.answer).credited, street.id(1));
}

#[test]
fn a_third_partys_promotion_costs_its_funder_bounty_and_benefit() {
    let (street, _) = Street::with_a_redemption(7);
    street.check_agreement("three parties");
    assert_eq!((street.balance(1, 3), street.balance(3, 1)), (100, -100), "the bounty");
    assert_eq!((street.balance(2, 3), street.balance(3, 2)), (300, -300), "what the redeemer laid out");
    assert_eq!((street.balance(1, 2), street.balance(2, 1)), (0, 0));
    let views = street.shops[2].ledger.views();
    let seen = pair::report(&*views, street.id(2), street.id(1)).unwrap();
    assert_eq!((seen.received.vouchers_given, seen.received.customers_sent), (1, 1));
}

#[test]
fn a_distributor_that_funds_owes_itself_nothing() {
    let mut street = Street::new(8, 3);
    let terms = street.terms(&[1], 2);
    street.publish(1, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), None).remove(0);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.meet();
    street.check_agreement("the distributor funds");
    assert_eq!((street.balance(2, 1), street.balance(1, 2)), (300, -300));
}
