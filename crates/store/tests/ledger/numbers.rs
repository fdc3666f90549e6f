//! Whose numbers they are: leases, moves, and numbers that are free again.

use hutong_core::{
    answer::Answer,
    command::{Command, MoveQuotaCommand},
    promotion::Promotion,
    refusal::Reason,
    stock,
    voucher::{Token, VoucherKey, VoucherState},
};
use hutong_record::{CardId, Currency, proto};

use crate::street::{DAY_MS, Street};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_leased_stock_is_sold_out_and_not_oversold_with_nobody_connected() {
    let mut street = Street::new(209, 4);
    let terms = street.leased(&[(1, 7), (2, 5), (3, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let mut sold = Vec::new();
    for shop in [1, 2, 3] {
        while let Ok(token) = street.issue(shop, promotion, None) {
            street.redeem(shop, &token.qr_text(), None).unwrap();
            sold.push(token.body().key);
        }
        assert_eq!(street.issue(shop, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    }
    assert_eq!(sold.len(), 12);
    street.come_to_rest();
    street.check_agreement("sold out");
    assert_eq!(
        (street.balance(1, 0), street.balance(2, 0)),
        (2_100, 1_500),
        "no bounty for one's own customer"
    );
}

#[test]
fn a_lease_moves_by_records_and_is_used_once_it_is_there() {
    let mut street = Street::new(210, 4);
    let terms = street.leased(&[(1, 6), (2, 2)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    street.issue(1, promotion, None).unwrap();
    assert_eq!(street.move_quota(1, promotion, 2, 6).unwrap_err().fact("quota"), Some("5"));
    let moved = street.move_quota(1, promotion, 2, 4).unwrap();
    assert_eq!(moved.answer, Some(Answer::Moved { count: 4 }));
    let claim = |street: &mut Street, shop: usize| street.issue(shop, promotion, None);
    assert!(claim(&mut street, 1).is_ok(), "one of its six was sold, four went, one is left");
    assert_eq!(claim(&mut street, 1).unwrap_err().reason, Reason::QuotaUsedUp);
    let mut tokens: Vec<Token> = (0..2).map(|_| claim(&mut street, 2).unwrap()).collect();
    assert_eq!(claim(&mut street, 2).unwrap_err().reason, Reason::QuotaUsedUp, "the move has not arrived");
    street.carry(1, 2);
    tokens.extend((0..4).map(|_| claim(&mut street, 2).unwrap()));
    assert_eq!(claim(&mut street, 2).unwrap_err().reason, Reason::QuotaUsedUp);
    for token in &tokens {
        street.redeem(2, &token.qr_text(), None).unwrap();
    }
    street.come_to_rest();
    street.check_agreement("moved");
    assert_eq!(street.balance(2, 0), 1_800);
    // Two of the six go back, and on again.
    let terms = street.leased(&[(1, 6), (2, 0)]);
    let second = street.publish(0, terms).unwrap();
    street.meet();
    street.move_quota(1, second, 2, 4).unwrap();
    street.meet();
    street.move_quota(2, second, 1, 3).unwrap();
    street.meet();
    let sold = [1, 2].map(|shop| std::iter::from_fn(|| street.issue(shop, second, None).ok()).count());
    assert_eq!(sold, [5, 1]);
    street.come_to_rest();
    street.check_agreement("moved back");
}

#[test]
fn what_a_removed_shop_held_is_taken_back_and_what_it_sold_is_not() {
    let mut street = Street::new(211, 4);
    let terms = street.leased(&[(1, 6), (2, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    for _ in 0..2 {
        street.issue(1, promotion, None).unwrap();
    }
    street.come_to_rest();
    let (request, to, from) = (street.request(), street.id(2), street.id(1));
    let reclaim = MoveQuotaCommand { request, promotion, to, count: 4, reclaimed_from: Some(from) };
    assert_eq!(street.run(0, &Command::MoveQuota(reclaim.clone())).unwrap_err().reason, Reason::MemberStays);
    // What it sells when nobody hears of it is past its seal.
    let unheard = street.issue(1, promotion, None).unwrap();
    let held = street.shops[0].ledger.head(from).unwrap().sequence;
    let remove = Command::Remove { shop: from, last_sequence: None, held, reason: String::new() };
    street.run(0, &remove).unwrap();
    let request = street.request();
    let more = MoveQuotaCommand { request, count: 5, ..reclaim.clone() };
    assert_eq!(street.run(0, &Command::MoveQuota(more)).unwrap_err().fact("quota"), Some("4"));
    let request = street.request();
    street.run(0, &Command::MoveQuota(MoveQuotaCommand { request, ..reclaim })).unwrap();
    street.come_to_rest();
    assert_eq!(std::iter::from_fn(|| street.issue(2, promotion, None).ok()).count(), 4);
    assert!(street.redeem(1, &unheard.qr_text(), None).is_err(), "it is no member any more");
    street.come_to_rest();
    let views = street.shops[3].ledger.views();
    let loaded = Promotion::load(&*views, promotion, Currency::CNY).unwrap().unwrap();
    let shares = stock::shares(&*views, &loaded, 0).unwrap();
    let owners: Vec<_> = shares.iter().map(|share| (share.first, share.last, share.owner)).collect();
    assert_eq!(owners, [(1, 2, 0), (3, 6, 1)]);
}

#[test]
fn a_number_that_is_known_to_be_handed_out_is_not_handed_out_by_the_shop_that_got_it() {
    let mut street = Street::new(226, 3);
    let terms = street.leased(&[(1, 3), (0, 1)]);
    let promotion = street.publish(0, terms).unwrap(); // the funder hands out, too, and sees all hand-outs
    street.meet();
    street.issue(1, promotion, None).unwrap();
    street.meet();
    street.craft_move(1, promotion, 2);
    street.come_to_rest();
    let numbers: Vec<_> = std::iter::from_fn(|| street.issue(0, promotion, None).ok())
        .map(|token| (token.body().key.distributor, token.body().key.number))
        .collect();
    assert_eq!(numbers, [(1, 1), (0, 2)]);
    street.come_to_rest();
    street.check_agreement("one of two");
}

#[test]
fn a_revoked_voucher_is_refused_given_back_and_its_number_handed_out_again() {
    let mut street = Street::new(216, 4);
    let mut terms = street.terms(&[1], 2);
    terms.distributors[0].quota = 1;
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let first = street.issue(1, promotion, None).unwrap();
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    assert_eq!(
        street.revoke(2, &first).unwrap_err().reason,
        Reason::VoucherUnknown,
        "shop 2 has not heard of it"
    );
    street.meet();
    assert_eq!(street.revoke(2, &first).unwrap_err().reason, Reason::NotFunder);
    street.revoke(3, &first).unwrap();
    assert_eq!(street.revoke(3, &first).unwrap_err().reason, Reason::VoucherRevoked);
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    street.come_to_rest();
    assert_eq!(street.redeem(2, &first.qr_text(), None).unwrap_err().reason, Reason::VoucherRevoked);
    let second = street.issue(1, promotion, None).unwrap();
    let key = second.body().key;
    assert_eq!((key.number, key.round), (1, 1));
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    street.redeem(2, &second.qr_text(), None).unwrap();
    street.come_to_rest();
    street.check_agreement("handed out again");
    assert_eq!(street.state(1, &first), VoucherState::Revoked);
    assert_eq!(street.balance(2, 3), 300);
}

#[test]
fn a_revocation_that_comes_after_the_use_changes_nothing() {
    let (mut street, token) = Street::with_a_redemption(217);
    assert_eq!(street.revoke(1, &token).unwrap_err().reason, Reason::VoucherAlreadyRedeemed);
    let promotion = token.body().key.promotion;
    let other = street.issue(1, promotion, None).unwrap();
    street.carry(1, 2);
    street.redeem(2, &other.qr_text(), None).unwrap();
    street.revoke(1, &other).unwrap(); // it has not heard of the use
    street.come_to_rest();
    street.check_agreement("too late");
    assert_eq!(street.balance(2, 3), 600);
    assert_eq!(street.state(1, &other), VoucherState::Redeemed);
}

#[test]
fn vouchers_that_expired_unused_free_their_numbers() {
    let mut street = Street::new(218, 4);
    let mut terms = street.terms(&[1], 2);
    terms.distributors[0].quota = 2;
    terms.reuse_expired = true;
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let tokens = [0, 1].map(|_| street.issue(1, promotion, None).unwrap());
    street.meet();
    street.redeem(2, &tokens[0].qr_text(), None).unwrap();
    street.pass(10 * DAY_MS + HOUR_MS);
    street.come_to_rest();
    assert_eq!(
        street.issue(1, promotion, None).unwrap_err().reason,
        Reason::QuotaUsedUp,
        "late entries may come"
    );
    street.pass(7 * DAY_MS);
    street.come_to_rest();
    let again = street.issue(1, promotion, None).unwrap();
    assert_eq!((again.body().key.number, again.body().key.round), (2, 1));
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    let issued = tokens[1].body().issued;
    let late = street.redeem_with(2, &tokens[1], |redeem| redeem.at = issued);
    assert!(late.is_err(), "the old one is good no more, whatever the till says of the time");
    street.redeem(2, &again.qr_text(), None).unwrap();
    street.come_to_rest();
    street.check_agreement("expired");
}

#[test]
fn a_leased_number_is_free_when_its_voucher_expired() {
    let mut street = Street::new(219, 3);
    let terms = proto::Promotion { reuse_expired: true, ..street.leased(&[(1, 1), (2, 0)]) };
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let first = street.issue(1, promotion, None).unwrap();
    street.pass(11 * DAY_MS);
    let refused = street.issue(1, promotion, None).unwrap_err();
    assert_eq!(refused.reason, Reason::QuotaUsedUp, "a use may still be entered late");
    street.pass(7 * DAY_MS);
    let second = street.issue(1, promotion, None).unwrap();
    assert_eq!(second.body().key, VoucherKey { round: 1, ..first.body().key });
    let at = first.body().issued;
    let old = street.redeem_with(1, &first, |redeem| redeem.at = at).unwrap_err();
    assert!(matches!(old.reason, Reason::VoucherExpired | Reason::TimeTooOld), "{old}");
    street.redeem(1, &second.qr_text(), None).unwrap();
    street.come_to_rest();
    street.check_agreement("again");
}

/// What comes with a voucher that was passed on makes a record of many of them too long.
#[test]
fn many_vouchers_go_back_in_as_many_records_as_they_need() {
    const VOUCHERS: usize = 33;
    let mut street = Street::new(252, 5);
    let terms = proto::Promotion { reuse_expired: true, ..street.anywhere(1, &[2, 3]) };
    let promotion = street.publish(4, terms).unwrap();
    street.meet();
    let card = |n: usize| Some(CardId::new([u8::try_from(n).unwrap(); 16]));
    let tokens: Vec<_> = (0..VOUCHERS).map(|n| street.issue(1, promotion, card(n)).unwrap()).collect();
    street.meet();
    for token in &tokens {
        street.transfer(1, token, 2).unwrap();
    }
    street.meet();
    street.pass(30 * DAY_MS);
    street.come_to_rest();
    for token in &tokens {
        assert_eq!(street.voucher(1, token).right.holder, street.id(1));
    }
    let head = street.shops[2].ledger.head(street.id(2));
    street.come_to_rest();
    assert_eq!(street.shops[2].ledger.head(street.id(2)), head, "each goes back once");
    street.check_agreement("all are back");
}
