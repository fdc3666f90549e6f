//! Receipts that are disputed, in time and too late, and what their authors concede.

use hutong_core::{
    command::{Command, SignCommand},
    refusal::{Reason, Refusal},
    settlement::book::Matter,
};
use hutong_record::{RecordId, proto, proto::Kind};

use crate::{
    rights_till::anywhere,
    settlement::with_a_receipt,
    street::{DAY_MS, Street},
};

/// A dispute as a node would not sign it.
fn dispute(receipt: RecordId) -> proto::ReceiptResponse {
    proto::ReceiptResponse {
        request: Some(proto::Request { id: "x".into(), hash: vec![1; 32].into() }),
        receipt_id: bytes::Bytes::copy_from_slice(receipt.as_bytes()),
        answer: proto::ReceiptAnswer::Dispute.into(),
        reason: proto::DisputeReason::Other.into(),
        ..Default::default()
    }
}

#[test]
fn a_dispute_keeps_lines_out_of_statements_until_it_is_taken_back() {
    use proto::ReceiptAnswer::{Accept, Dispute, Withdraw};
    let (mut street, receipt) = with_a_receipt(206);
    let reason = |refused: Result<(), Refusal>| refused.unwrap_err().reason;
    assert_eq!(reason(street.respond(2, receipt, Dispute)), Reason::NotReceiptParty, "its own");
    assert_eq!(reason(street.respond(0, receipt, Dispute)), Reason::RedemptionUnknown);
    assert_eq!(reason(street.respond(3, receipt, Withdraw)), Reason::NoDispute);
    street.respond(3, receipt, Dispute).unwrap();
    assert_eq!(reason(street.respond(3, receipt, Accept)), Reason::ReceiptAnswered);
    street.meet();
    street.check_agreement("a dispute");
    assert!(street.lines(1, 3)[0].disputed && street.lines(2, 3)[0].disputed);
    assert_eq!(street.agree(2, 3), 0, "the reimbursement is held back");
    let content = street.cases(3, 2)[0].agreed.clone().unwrap().content;
    assert_eq!((content.disputed_minor.abs(), content.line_count), (300, 0));
    street.respond(3, receipt, Withdraw).unwrap();
    street.meet();
    assert!(!street.lines(1, 3)[0].disputed);
    assert_eq!(street.agree(2, 3), 300);
    let content = street.cases(3, 2)[1].agreed.clone().unwrap().content;
    assert_eq!((content.disputed_minor, content.line_count, content.correction_minor), (0, 1, 0));
    assert_eq!(
        reason(street.respond(3, receipt, Dispute)),
        Reason::ReceiptAnswered,
        "a dispute is made once"
    );
}

#[test]
fn a_dispute_after_the_agreement_takes_the_line_out_again() {
    let (mut street, receipt) = with_a_receipt(207);
    assert_eq!(street.agree(1, 3), 100);
    street.respond(3, receipt, proto::ReceiptAnswer::Dispute).unwrap();
    street.meet();
    assert_eq!(street.agree(3, 1), 0);
    let content = street.cases(3, 1)[1].agreed.clone().unwrap().content;
    assert_eq!(
        (content.lines_minor.abs(), content.disputed_minor.abs(), content.correction_minor),
        (100, 100, 0)
    );
}

#[test]
fn who_concedes_takes_the_amount_back_and_the_voucher_stays_used() {
    use proto::ReceiptAnswer::{Concede, Dispute};
    let (mut street, receipt) = with_a_receipt(208);
    street.respond(1, receipt, Dispute).unwrap();
    street.meet();
    assert_eq!(street.respond(1, receipt, Concede).unwrap_err().reason, Reason::RedemptionUnknown);
    street.respond(2, receipt, Concede).unwrap();
    assert_eq!(street.respond(2, receipt, Concede).unwrap_err().reason, Reason::ReceiptAnswered);
    assert_eq!(street.void(2, receipt).unwrap_err().reason, Reason::RedemptionAlreadyVoided);
    street.meet();
    street.check_agreement("a concession");
    for ally in [1, 2] {
        assert_eq!(street.balance(ally, 3), 0);
        assert_eq!(street.lines(3, ally)[1].matter, Matter::Conceded);
    }
    assert!(!street.lines(1, 3)[0].disputed, "settled");
    assert_eq!(street.agree(1, 3), 0);
    assert_eq!(street.shops[2].state().summary.redemptions, 1);
}

#[test]
fn a_concession_is_booked_by_all_whatever_its_author_told_one_of_them_before() {
    let (mut street, receipt) = with_a_receipt(236);
    let accept = proto::ReceiptResponse {
        request: Some(proto::Request { id: "early".into(), hash: vec![7; 32].into() }),
        receipt_id: receipt.as_bytes().to_vec().into(),
        answer: proto::ReceiptAnswer::Accept.into(),
        ..Default::default()
    };
    street.plant(2, Kind::ReceiptResponse, &[2, 3], &accept);
    street.respond(2, receipt, proto::ReceiptAnswer::Concede).unwrap();
    street.come_to_rest();
    street.check_agreement("told one, conceded to all");
    assert_eq!((street.balance(1, 3), street.balance(2, 3)), (0, 0));
}

#[test]
fn silence_accepts_after_fourteen_days() {
    use proto::ReceiptAnswer::Dispute;
    let (mut street, receipt) = with_a_receipt(209);
    street.pass(14 * DAY_MS);
    street.pass(1);
    let late = street.respond(3, receipt, Dispute).unwrap_err();
    assert_eq!((late.reason, late.fact("days")), (Reason::DisputeTooLate, Some("14")));
    // One who signs it all the same is not heard.
    street.plant(3, Kind::ReceiptResponse, &[1, 2, 3], &dispute(receipt));
    street.meet();
    assert!(!street.lines(1, 3)[0].disputed && !street.lines(3, 2)[0].disputed);
    street.check_agreement("too late");
}

#[test]
fn the_charter_says_how_long_a_receipt_can_be_disputed_and_when_a_period_ends() {
    use proto::ReceiptAnswer::Dispute;
    let rules = proto::SettlementRules { period_days: 7, dispute_days: 2 };
    let mut street = Street::with(241, 4, |charter| charter.settlement = Some(rules));
    let terms = street.terms(&[1], 2);
    street.publish(3, terms).unwrap();
    street.meet();
    let receipts = [0, 1].map(|_| {
        let token = street.sell(1, crate::till::yuan(20), None).remove(0);
        street.redeem(2, &token.qr_text(), None).unwrap().id
    });
    street.meet();
    street.pass(2 * DAY_MS);
    street.respond(3, receipts[0], Dispute).unwrap();
    street.pass(1);
    let late = street.respond(3, receipts[1], Dispute).unwrap_err();
    assert_eq!((late.reason, late.fact("days")), (Reason::DisputeTooLate, Some("2")));
    street.plant(3, Kind::ReceiptResponse, &[1, 2, 3], &dispute(receipts[1]));
    street.meet();
    let disputed = |street: &Street, shop, ally| {
        let lines = street.lines(shop, ally);
        lines.iter().filter(|line| line.disputed).map(|line| line.receipt.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(disputed(&street, 2, 3), [receipts[0]]);
    assert_eq!(disputed(&street, 3, 1), [receipts[0]]);
    let sign = SignCommand { ally: street.id(3), end: None, listed_day: None };
    street.pass(7 * DAY_MS);
    street.run(2, &Command::SignStatement(sign)).unwrap();
    street.meet();
    let end = street.cases(2, 3)[0].own[0].content.end;
    assert_eq!((end.day(480) % 7, (street.now.ms_since(end) / DAY_MS)), (0, street.now.day(480) % 7));
    street.check_agreement("another charter");
}

#[test]
fn a_dispute_that_is_dated_back_is_judged_by_its_authors_own_log() {
    let (mut street, receipt) = with_a_receipt(242);
    let in_time = street.now;
    street.pass(15 * DAY_MS);
    let profile = proto::Profile { name: "晚了".into(), ..Default::default() };
    street.run(3, &Command::Profile(profile)).unwrap();
    let now = std::mem::replace(&mut street.now, in_time);
    let refused = street.respond(3, receipt, proto::ReceiptAnswer::Dispute).unwrap_err();
    assert_eq!(refused.reason, Reason::DisputeTooLate, "its own node, with a clock set back");
    street.plant(3, Kind::ReceiptResponse, &[1, 2, 3], &dispute(receipt));
    street.now = now;
    street.meet();
    assert!(!street.lines(2, 3)[0].disputed && !street.lines(3, 1)[0].disputed);
    street.check_agreement("dated back");
}

#[test]
fn a_receipt_that_is_dated_back_can_be_disputed_as_long_as_any() {
    let mut street = Street::new(243, 4);
    let terms = street.terms(&[1], 2);
    street.publish(3, terms).unwrap();
    street.meet();
    let token = street.sell(1, crate::till::yuan(20), None).remove(0);
    street.meet();
    let long_ago = street.now;
    street.pass(5 * DAY_MS);
    let profile = proto::Profile { name: "晚了".into(), ..Default::default() };
    street.run(2, &Command::Profile(profile)).unwrap();
    let now = std::mem::replace(&mut street.now, long_ago);
    let receipt = street.redeem(2, &token.qr_text(), None).unwrap().id;
    street.now = now;
    street.meet();
    street.pass(14 * DAY_MS);
    street.respond(3, receipt, proto::ReceiptAnswer::Dispute).unwrap();
    street.meet();
    assert!(street.lines(2, 3)[0].disputed && street.lines(3, 2)[0].disputed);
    street.check_agreement("a receipt dated back");
}

#[test]
fn an_offence_is_in_the_first_statement_that_covers_any_record_of_it() {
    let scene = || {
        let (mut street, token) = anywhere(244, |street| street.anywhere(1, &[2, 3]));
        street.meet();
        street.craft_pass(1, &token, 2, &[1, 2, 4], 1);
        street.craft_pass(1, &token, 3, &[1, 3, 4], 1);
        street.meet();
        street
    };
    let mut found_out = scene();
    found_out.come_to_rest();
    let proof = found_out.proofs(0).pop().unwrap();
    let mut street = scene();
    let (low, high) = if street.id(0) < street.id(2) { (0, 2) } else { (2, 0) };
    street.plant(high, Kind::VoucherProof, &[], &proof);
    street.pass(1);
    let end = street.now;
    street.pass(DAY_MS);
    // Another one shows it in the next period; its id comes first.
    street.plant(low, Kind::VoucherProof, &[], &proof);
    street.meet();
    for (shop, ally, end) in [(1, 4, Some(end)), (4, 1, None)] {
        let sign = SignCommand { ally: street.id(ally), end, listed_day: None };
        street.run(shop, &Command::SignStatement(sign)).unwrap();
        street.meet();
    }
    let first = street.cases(1, 4)[0].agreed.clone().expect("agreed").content;
    assert_eq!((first.end, first.line_count, first.closing_minor.abs()), (end, 1, 400));
    assert_eq!(street.agree(1, 4), -400);
    let second = street.cases(1, 4)[1].agreed.clone().unwrap().content;
    assert_eq!((second.line_count, second.correction_minor), (0, 0), "it is told once");
    assert_eq!(street.lines(1, 4).iter().filter(|line| line.matter == Matter::Offence).count(), 1);
    street.check_agreement("shown in two periods");
}
