//! What a shop may have used by records that were lost with its disk, it does not use: until somebody vouches for it.

use hutong_core::{
    command::{Asked, Command},
    doubt, fold,
    refusal::Reason,
    voucher::VoucherState,
};
use hutong_record::{RecordId, proto, proto::Kind};
use hutong_store::ledger::{Patience, Signing};

use crate::{rights_till::anywhere, street::Street, till::card};

/// Longer than a clock may run ahead.
const LATER_MS: i64 = 11 * 60_000;

impl Street {
    /// What a shop did since `backup` is lost, and nobody but shop 1 heard of it.
    fn lose(&mut self, shop: usize, backup: crate::street::Shop) {
        self.shops[shop] = backup;
        let deaf: Vec<_> = [0, 3, 2].into_iter().filter(|other| *other != shop).take(2).collect();
        assert_eq!(self.ask(shop, &deaf, Patience::Waits), Signing::Confirmed);
    }

    fn is_in_doubt(&self, shop: usize) -> bool {
        doubt::current(&*self.shops[shop].ledger.views()).unwrap().is_some()
    }

    fn declare_nothing_lost(&mut self, shop: usize) -> Result<(), Reason> {
        self.run(shop, &Command::DeclareNothingLost).map(drop).map_err(|refusal| refusal.reason)
    }
}

#[test]
fn a_voucher_that_a_lost_record_may_have_used_is_not_used_before_somebody_vouches_for_it() {
    let mut street = Street::new(300, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let [used, kept] = [1, 2].map(|n| street.issue(1, promotion, Some(card(n))).unwrap());
    street.meet();
    let backup = street.shops[2].copied();
    street.redeem(2, &used.qr_text(), Some(card(1))).unwrap();
    street.lose(2, backup);
    let refused = street.redeem(2, &used.qr_text(), Some(card(1))).unwrap_err();
    assert_eq!(refused.reason, Reason::RecordsMayBeLost);
    let until: i64 = refused.fact("until_unix_ms").unwrap().parse().unwrap();
    assert!(until > street.now.ms() && street.is_in_doubt(2));
    street.pass(LATER_MS);
    assert_eq!(
        street.redeem(2, &kept.qr_text(), Some(card(2))).unwrap_err().reason,
        Reason::RecordsMayBeLost
    );
    let later = street.issue(1, promotion, Some(card(3))).unwrap();
    street.redeem(2, &later.qr_text(), Some(card(3))).unwrap();
    street.declare_nothing_lost(2).unwrap();
    street.redeem(2, &kept.qr_text(), Some(card(2))).unwrap();
    assert_eq!(street.declare_nothing_lost(2), Err(Reason::NothingInDoubt));
    street.meet();
    street.check_agreement("vouched for");
    assert!(!street.is_in_doubt(2));
}

#[test]
fn a_restart_and_a_cut_tail_put_nothing_in_doubt() {
    let mut street = Street::new(301, 3);
    street.restart_from_disk(1);
    street.ask_all(1);
    assert!(!street.is_in_doubt(1));
    assert_eq!(street.declare_nothing_lost(1), Err(Reason::NothingInDoubt));
}

#[test]
fn a_home_that_may_have_passed_a_right_on_does_not_pass_it_on_again() {
    let (mut street, token) = anywhere(302, |street| street.anywhere(1, &[2, 3]));
    street.meet();
    let backup = street.shops[1].copied();
    let first = street.ask_alone(2, 1, &token);
    assert_eq!(street.outcome(2, first), Asked::Granted);
    street.redeem(2, &token.qr_text(), None).unwrap();
    // Its new beginning is confirmed by two who have heard nothing of that.
    street.shops[1] = backup;
    assert_eq!(street.ask(1, &[0, 3], Patience::Waits), Signing::Confirmed);
    let second = street.ask_alone(3, 1, &token);
    assert_eq!(street.denial(3, second).reason, Reason::RecordsMayBeLost);
    assert_eq!(street.transfer(1, &token, 3).unwrap_err().reason, Reason::RecordsMayBeLost);
    assert!(street.redeem(3, &token.qr_text(), None).is_err());
}

#[test]
fn a_use_at_risk_is_settled_once_its_home_knows_that_nothing_was_lost() {
    let (mut street, token) = anywhere(307, |street| street.at_risk(1, &[2, 3]));
    street.meet();
    let backup = street.shops[1].copied();
    street.lose(1, backup);
    street.pass(LATER_MS);
    street.accept_at_risk(2, &token).unwrap();
    street.come_to_rest();
    let request = street.last_asked(2, &token);
    assert_eq!(street.denial(2, request).reason, Reason::RecordsMayBeLost);
    assert_eq!(street.state(2, &token), VoucherState::AtRisk);
    street.restart_from_disk(1);
    street.pass(LATER_MS);
    let written = street.shops[1].ledger.reader().head();
    street.come_to_rest();
    assert_eq!(street.shops[1].ledger.reader().head(), written, "it has said so once");
    street.declare_nothing_lost(1).unwrap();
    street.come_to_rest();
    assert_eq!((street.outcome(2, request), street.balance(2, 4)), (Asked::Granted, 300));
    street.check_agreement("settled");
    street.check_no_duties();
}

#[test]
fn a_right_that_comes_after_the_loss_is_good() {
    let (mut street, token) = anywhere(303, |street| street.anywhere(1, &[2, 3]));
    street.meet();
    let backup = street.shops[2].copied();
    street.lose(2, backup);
    street.pass(LATER_MS);
    street.ask_right(2, &token, 2);
    street.come_to_rest();
    street.redeem(2, &token.qr_text(), None).unwrap();
    assert!(street.is_in_doubt(2));
}

#[test]
fn a_right_that_came_before_the_loss_is_in_doubt_though_its_home_tells_again() {
    let (mut street, token) = anywhere(304, |street| street.anywhere(1, &[2, 3]));
    street.meet();
    let backup = street.shops[2].copied();
    street.ask_alone(2, 1, &token);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.shops[2] = backup;
    assert_eq!(street.ask(2, &[0, 3], Patience::Waits), Signing::Confirmed);
    street.pass(LATER_MS);
    street.ask_right(2, &token, 2);
    street.come_to_rest();
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::RecordsMayBeLost);
}

#[test]
fn numbers_that_lost_records_may_have_handed_out_are_neither_handed_out_nor_moved() {
    let mut street = Street::new(305, 4);
    let publish = |street: &mut Street| -> RecordId {
        let terms = street.leased(&[(1, 2), (2, 3)]);
        street.publish(3, terms).unwrap()
    };
    let promotion = publish(&mut street);
    street.meet();
    let backup = street.shops[1].copied();
    street.issue(1, promotion, None).unwrap();
    street.lose(1, backup);
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::RecordsMayBeLost);
    assert_eq!(street.move_quota(1, promotion, 2, 1).unwrap_err().reason, Reason::RecordsMayBeLost);
    street.pass(LATER_MS);
    street.move_quota(2, promotion, 1, 1).unwrap();
    let later = publish(&mut street);
    street.meet();
    street.issue(1, promotion, None).unwrap();
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::RecordsMayBeLost);
    street.issue(1, later, None).unwrap();
    street.declare_nothing_lost(1).unwrap();
    for _ in 0..2 {
        street.issue(1, promotion, None).unwrap();
    }
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    street.come_to_rest();
    street.check_agreement("numbers in doubt");
}

impl Street {
    /// All logs are folded to their ends at all shops.
    fn check_nothing_waits(&self) {
        for (at, shop) in self.shops.iter().enumerate() {
            for (author, head) in shop.ledger.reader().frontier() {
                let cursor = fold::cursor(&*shop.ledger.views(), author).unwrap();
                assert_eq!(cursor, head.sequence, "shop {at} waits with the log of {author:?}");
            }
        }
    }
}

#[test]
fn nobody_waits_for_a_promotion_that_was_lost_with_its_funder_s_disk() {
    let mut street = Street::new(306, 5);
    let backup = street.shops[3].copied();
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.carry(3, 1);
    let token = street.issue(1, promotion, Some(card(1))).unwrap();
    street.lose(3, backup);
    street.come_to_rest();
    street.check_nothing_waits();
    street.check_agreement("a promotion was lost");
    assert_eq!(street.redeem(2, &token.qr_text(), Some(card(1))).unwrap_err().reason, Reason::VoucherUnknown);
    street.pass(LATER_MS);
    let terms = street.terms(&[1], 2);
    let again = street.publish(3, terms).unwrap();
    street.meet();
    let token = street.issue(1, again, Some(card(1))).unwrap();
    street.redeem(2, &token.qr_text(), Some(card(1))).unwrap();
    street.come_to_rest();
    street.check_nothing_waits();
    street.check_agreement("it goes on");
}

#[test]
fn news_of_a_lost_record_that_come_before_its_author_s_new_beginning_are_waited_with() {
    let mut street = Street::new(309, 4);
    let backup = street.shops[3].copied();
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.carry(3, 1);
    street.issue(1, promotion, Some(card(1))).unwrap();
    street.lose(3, backup);
    street.carry(3, 1);
    assert_eq!(street.tend(1), 1, "shop 1 tells that the promotion is lost");
    // The redeemer hears of the voucher and of the loss, and cannot tell yet that the promotion will not come.
    let [distributor, funder] = [street.id(1), street.id(3)];
    while street.carry_log(1, 2, distributor).unwrap() {}
    street.restart_from_disk(2);
    let cursor = |street: &Street| fold::cursor(&*street.shops[2].ledger.views(), distributor).unwrap();
    let head = street.shops[2].ledger.head(distributor).unwrap().sequence;
    assert_eq!(cursor(&street), head - 2);
    while street.carry_log(3, 2, funder).unwrap() {}
    assert_eq!(cursor(&street), head);
    street.come_to_rest();
    street.check_nothing_waits();
    street.check_agreement("news that came first");
}

#[test]
fn nobody_waits_for_a_payment_that_was_lost_with_the_payer_s_disk() {
    let mut street = Street::new(307, 4);
    let backup = street.shops[3].copied();
    let payment = street.pay(3, 1, 5, "").unwrap();
    street.carry(3, 1);
    street.answer_payment(1, payment, true).unwrap();
    street.lose(3, backup);
    street.come_to_rest();
    street.check_nothing_waits();
    street.check_agreement("a payment was lost");
}

#[test]
fn who_names_a_record_that_counts_as_lost_changes_nothing() {
    let mut street = Street::new(308, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    let own = street.shops[3].log(street.id(3), 0);
    let header = own.iter().find(|record| record.id() == promotion).unwrap().header_bytes().clone();
    let lie = proto::LostRecord { header };
    street.plant(0, Kind::LostRecord, &[], &lie);
    street.plant(
        0,
        Kind::LostRecord,
        &[],
        &proto::LostRecord { header: bytes::Bytes::from_static(b"no header") },
    );
    street.meet();
    let token = street.issue(1, promotion, Some(card(1))).unwrap();
    street.redeem(2, &token.qr_text(), Some(card(1))).unwrap();
    street.come_to_rest();
    street.check_nothing_waits();
    street.check_agreement("a lie about a record");
}
