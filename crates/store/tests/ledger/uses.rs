//! Uses of one voucher: several, kept free, taken back in part, tried out, asked for again.

use hutong_core::{
    answer::Answer,
    command::{Applies, Command, Qualify, ReserveCommand, TransferCommand, VoidCommand},
    promotion::Purchase,
    refusal::Reason,
    voucher::{Presented, Token, VoucherState},
};
use hutong_record::{Money, proto};
use hutong_store::ledger::ExecuteError;

use crate::{
    rights_till::anywhere,
    street::Street,
    till::{card, yuan},
};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_bundle_is_used_as_often_as_it_says_and_reserved_as_often() {
    let mut street = Street::new(220, 4);
    let terms = proto::Promotion { uses: 3, budget: Some(yuan(600).into()), ..street.terms(&[1], 2) };
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    street.reserve(2, &token, "a", HOUR_MS).unwrap();
    street.reserve(2, &token, "a", 2 * HOUR_MS).unwrap(); // prolonged, not doubled
    street.reserve(2, &token, "b", HOUR_MS).unwrap();
    street.redeem(2, &token.qr_text(), None).unwrap();
    assert_eq!(street.state(2, &token), VoucherState::Reserved);
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::VoucherReserved);
    assert_eq!(street.reserve(2, &token, "c", HOUR_MS).unwrap_err().reason, Reason::VoucherReserved);
    street.redeem_with(2, &token, |redeem| redeem.reservation = "a".into()).unwrap();
    street.pass(HOUR_MS);
    assert_eq!(
        street.reserve(2, &token, "b", 0).unwrap_err().reason,
        Reason::ReservationUnknown,
        "it ran out"
    );
    let last = street.redeem(2, &token.qr_text(), None).unwrap();
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::VoucherAlreadyRedeemed);
    street.void(2, last.id).unwrap();
    street.reserve(2, &token, "d", HOUR_MS).unwrap();
    street.reserve(2, &token, "d", 0).unwrap();
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.come_to_rest();
    street.check_agreement("bundle");
    assert_eq!(street.balance(2, 3), 900);
}

#[test]
fn a_part_taken_back_lowers_the_discount_and_the_voucher_stays_used() {
    let mut street = Street::new(221, 4);
    let percent = proto::PercentOff { basis_points: 1_000, amount_max: Some(yuan(3).into()) };
    let benefit = Some(proto::Benefit { benefit: Some(proto::benefit::Benefit::PercentOff(percent)) });
    let terms = proto::Promotion { benefit, ..street.terms(&[1], 2) };
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    let receipt = street.redeem_with(2, &token, |redeem| redeem.purchase = Purchase::of(yuan(28))).unwrap();
    assert_eq!(receipt.discount.minor(), 280);
    let void = |street: &mut Street, returned: Option<Money>| {
        let (request, at, reason) = (street.request(), street.now, String::new());
        let void = VoidCommand { request, redemption: receipt.id, at, reason, returned };
        street.run(2, &Command::Void(void)).map(|executed| executed.answer)
    };
    for returned in [yuan(0), yuan(28), yuan(30)] {
        assert_eq!(void(&mut street, Some(returned)).unwrap_err().reason, Reason::FieldInvalid);
    }
    assert_eq!(void(&mut street, Some(yuan(19))).unwrap_err().reason, Reason::PurchaseTooLow);
    let Some(Answer::Voided { discount, .. }) = void(&mut street, Some(yuan(8))).unwrap() else { panic!() };
    assert_eq!(discount, yuan(2));
    let Some(Answer::Voided { discount, .. }) = void(&mut street, Some(yuan(5))).unwrap() else { panic!() };
    assert_eq!(discount.minor(), 150);
    assert_eq!(street.state(2, &token), VoucherState::Redeemed);
    street.come_to_rest();
    street.check_agreement("in parts");
    assert_eq!((street.balance(2, 3), street.balance(1, 3)), (150, 100));
    void(&mut street, None).unwrap();
    assert_eq!(void(&mut street, None).unwrap_err().reason, Reason::RedemptionAlreadyVoided);
    street.come_to_rest();
    street.check_agreement("whole");
    assert_eq!((street.balance(2, 3), street.balance(1, 3)), (0, 0));
    street.redeem(2, &token.qr_text(), None).unwrap();
}

#[test]
fn each_answer_is_given_again_to_the_same_request_from_rebuilt_views_too() {
    let (mut street, token) = anywhere(222, |street| {
        let other = street.bytes(3);
        let percent = proto::PercentOff { basis_points: 1_000, amount_max: Some(yuan(3).into()) };
        let benefit = Some(proto::Benefit { benefit: Some(proto::benefit::Benefit::PercentOff(percent)) });
        proto::Promotion { redeemer_ids: vec![other], benefit, ..street.terms(&[1], 2) }
    });
    street.meet();
    let mut commands = Vec::new();
    let presented = || Some(Presented::Token(token.clone()));
    let (request, at) = (street.request(), street.now);
    let key = "basket".to_owned();
    commands.push(Command::Reserve(ReserveCommand {
        request,
        presented: presented(),
        key,
        at,
        lifetime_ms: 0,
    }));
    if let Command::Reserve(reserve) = &mut commands[0] {
        reserve.lifetime_ms = HOUR_MS;
    }
    let Command::Redeem(mut redeem) = street.redemption(&token.qr_text(), yuan(28), None) else {
        unreachable!()
    };
    redeem.reservation = "basket".into();
    commands.push(Command::Redeem(redeem));
    let first: Vec<_> = commands.iter().map(|command| street.run(2, command).unwrap().answer).collect();
    let Some(Answer::Redeemed { redemption, .. }) = first[1] else { panic!("not redeemed") };
    let (request, reason) = (street.request(), String::new());
    let returned = Some(yuan(8));
    commands.push(Command::Void(VoidCommand { request, redemption, at, reason, returned }));
    let voided = street.run(2, &commands[2]).unwrap().answer;
    let answers: Vec<_> = first.into_iter().chain([voided]).collect();
    street.come_to_rest();
    let shop = &mut street.shops[2];
    shop.reopen(std::sync::Arc::new(hutong_store::views::MemViews::new()));
    for (command, answer) in commands.iter().zip(&answers) {
        let again = street.run(2, command).unwrap();
        assert_eq!((again.records.len(), &again.answer), (0, answer));
    }
    let Command::Void(other) = &mut commands[2] else { unreachable!() };
    other.request.hash = [1; 32];
    assert_eq!(street.run(2, &commands[2]).unwrap_err().reason, Reason::RequestIdReused);
}

#[test]
fn a_dry_run_says_what_a_redemption_would_say_and_writes_nothing() {
    let mut street = Street::new(223, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let bound = street.issue(1, promotion, Some(card(1))).unwrap();
    let bearer = street.issue(1, promotion, None).unwrap();
    let used = street.issue(1, promotion, None).unwrap();
    street.meet();
    street.redeem(2, &used.qr_text(), None).unwrap();
    let before = street.shops[2].ledger.head(street.id(2));
    let question = |card, presented: &[&Token], amount| Qualify {
        presented: presented.iter().map(|token| Presented::Token((*token).clone())).collect(),
        card,
        purchase: Purchase::of(amount),
        at: street.now,
    };
    let ask = |question| street.shops[2].ledger.qualify(&question, street.now).unwrap();
    let found = ask(question(Some(card(1)), &[&bearer, &used], yuan(40)));
    let applies = Applies { discount: yuan(3), eligible: yuan(40), needs_confirmation: false };
    let outcomes: Vec<_> =
        found.iter().map(|q| q.outcome.clone().map_err(|refusal| refusal.reason)).collect();
    assert_eq!(outcomes, [Ok(applies), Err(Reason::VoucherAlreadyRedeemed), Ok(applies)]);
    assert_eq!(found[2].voucher, Some(bound.body().key));
    let low = ask(question(None, &[&bearer, &bound], yuan(5)));
    let reasons: Vec<_> = low.iter().map(|q| q.outcome.as_ref().unwrap_err().reason).collect();
    assert_eq!(reasons, [Reason::PurchaseTooLow, Reason::CardRequired]);
    assert_eq!(street.shops[2].ledger.head(street.id(2)), before);
    let nothing = street.shops[2].ledger.qualify(&question(None, &[], yuan(0)), street.now);
    assert!(matches!(nothing, Err(ExecuteError::Refused(refusal)) if refusal.reason == Reason::FieldInvalid));
}

#[test]
fn a_dry_run_of_an_anywhere_voucher_says_that_its_home_must_be_asked() {
    let (street, token) = anywhere(224, |street| street.anywhere(1, &[2, 3]));
    let question = Qualify {
        presented: vec![Presented::Token(token)],
        card: None,
        purchase: Purchase::of(yuan(40)),
        at: street.now,
    };
    let found = street.shops[2].ledger.qualify(&question, street.now).unwrap();
    assert!(found[0].outcome.as_ref().unwrap().needs_confirmation);
    let elsewhere = street.shops[0].ledger.qualify(&question, street.now).unwrap();
    assert_eq!(elsewhere[0].outcome.as_ref().unwrap_err().reason, Reason::VoucherWrongShop);
}

#[test]
fn a_refused_request_stays_refused_whatever_happens_meanwhile() {
    let mut street = Street::new(233, 4);
    let mut terms = street.terms(&[1], 2);
    terms.redeemer_ids = vec![street.bytes(3)];
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    street.meet();
    let presented = Some(Presented::Token(token.clone()));
    street.reserve(2, &token, "a", HOUR_MS).unwrap();
    let transfer =
        TransferCommand { request: street.request(), presented: presented.clone(), to: street.id(3) };
    let (request, at, key) = (street.request(), street.now, "b".into());
    let reserve = ReserveCommand { request, presented, key, at, lifetime_ms: HOUR_MS };
    let commands = [Command::Transfer(transfer), Command::Reserve(reserve)];
    let refused = commands.each_ref().map(|command| street.run(2, command).unwrap_err());
    assert_eq!(refused.each_ref().map(|refusal| refusal.reason), [Reason::VoucherReserved; 2]);
    street.reserve(2, &token, "a", 0).unwrap(); // it is free now
    let again = commands.each_ref().map(|command| street.run(2, command).unwrap_err());
    assert_eq!(again, refused);
    street.transfer(2, &token, 3).unwrap(); // another request
}
