//! VOU-1 and VOU-2: a voucher is used once, and no promotion passes its limits.

use hutong_core::{
    answer::RequestTag,
    command::Command,
    refusal::{Reason, Refusal},
    voucher::{Token, VoucherBody},
};
use hutong_record::{Currency, Money, RecordId, UnixMillis, proto, request_hash};

use crate::{
    street::{DAY_MS, Street},
    till::{card, yuan},
};

/// Shop 1 hands out for shop 2, which pays, under these terms.
fn promoted(change: impl FnOnce(&mut proto::Promotion)) -> (Street, RecordId) {
    let mut street = Street::new(60, 3);
    let mut terms = street.terms(&[1], 2);
    change(&mut terms);
    let promotion = street.publish(2, terms).unwrap();
    street.meet();
    (street, promotion)
}

fn reason<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Reason {
    result.unwrap_err().reason
}

#[test]
fn redeem_twice_pays_once_and_says_when_and_where() {
    let (mut street, _) = promoted(|_| {});
    let token = street.sell(1, yuan(20), None).remove(0);
    let first_at = street.now;
    let first = street.redeem(2, &token.qr_text(), None).unwrap();
    street.pass(DAY_MS);
    let second = street.redeem(2, &token.qr_text(), None).unwrap_err();
    assert_eq!(second.reason, Reason::VoucherAlreadyRedeemed);
    assert_eq!(second.fact("redeemed_unix_ms"), Some(first_at.ms().to_string().as_str()));
    assert_eq!(second.fact("redeemer_id"), Some(street.id(2).to_string().as_str()));
    assert_eq!(second.fact("redemption_id"), Some(first.id.to_string().as_str()));
    street.meet();
    assert_eq!(street.balance(1, 2), 100);
    assert_eq!(reason(street.redeem(2, &token.code(), None)), Reason::VoucherAlreadyRedeemed, "by code, too");
}

#[test]
fn redeem_twice_in_one_group_pays_once() {
    let (mut street, _) = promoted(|_| {});
    let token = street.sell(1, yuan(20), None).remove(0);
    let commands = [0, 1].map(|_| street.redemption(&token.qr_text(), yuan(40), None));
    let now = street.now;
    let ledger = &mut street.shops[2].ledger;
    ledger.execute(&commands[0], now, &mut street.rng).unwrap();
    let refused = ledger.execute(&commands[1], now, &mut street.rng).unwrap_err();
    assert!(refused.to_string().starts_with("VOUCHER_ALREADY_REDEEMED"), "{refused}");
    ledger.commit().unwrap();
    assert_eq!(street.shops[2].state().summary.redemptions, 1);
}

#[test]
fn a_request_id_belongs_to_one_body() {
    let (mut street, _) = promoted(|_| {});
    let token = street.sell(1, yuan(20), None).remove(0);
    let command = street.redemption(&token.qr_text(), yuan(40), None);
    let first = street.run(2, &command).unwrap();
    let again = street.run(2, &command).unwrap();
    assert_eq!((first.answer, again.records), (again.answer, Vec::new()));
    let Command::Redeem(mut other) = command else { unreachable!("a redemption") };
    other.request.hash = request_hash(b"another body");
    assert_eq!(reason(street.run(2, &Command::Redeem(other))), Reason::RequestIdReused);
    let bad = RequestTag { id: "a b".into(), hash: [0; 32] };
    let terms = street.terms(&[1], 2);
    let published = street.run(2, &Command::Publish { request: bad, promotion: Box::new(terms) });
    assert_eq!(reason(published), Reason::FieldInvalid);
}

#[test]
fn a_quota_ends_and_expiry_does_not_give_numbers_twice() {
    let (mut street, promotion) = promoted(|terms| terms.distributors[0].quota = 3);
    let numbers: Vec<_> =
        (0..3).map(|_| street.issue(1, promotion, None).unwrap().body().key.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let refused = street.issue(1, promotion, None).unwrap_err();
    assert_eq!((refused.reason, refused.fact("quota")), (Reason::QuotaUsedUp, Some("3")));
    assert!(street.sell(1, yuan(20), None).is_empty());
    street.pass(11 * DAY_MS);
    assert_eq!(reason(street.issue(1, promotion, None)), Reason::QuotaUsedUp);
}

#[test]
fn a_day_of_the_alliance_has_its_limit() {
    let (mut street, promotion) = promoted(|terms| terms.per_day_max = 2);
    let midnight = (street.now.day(480) + 1) * DAY_MS - 480 * 60_000;
    street.now = UnixMillis::new(midnight - 1).unwrap();
    for _ in 0..2 {
        street.issue(1, promotion, None).unwrap();
    }
    assert_eq!(reason(street.issue(1, promotion, None)), Reason::DayLimitReached);
    street.pass(1);
    street.issue(1, promotion, None).unwrap();
}

#[test]
fn a_card_has_its_limit_and_must_be_shown() {
    let (mut street, promotion) = promoted(|terms| {
        terms.per_card_max = 1;
        terms.card_required = true;
    });
    let token = street.issue(1, promotion, Some(card(1))).unwrap();
    assert_eq!(reason(street.issue(1, promotion, Some(card(1)))), Reason::CardLimitReached);
    assert_eq!(reason(street.issue(1, promotion, None)), Reason::CardRequired);
    street.issue(1, promotion, Some(card(2))).unwrap();
    assert_eq!(reason(street.redeem(2, &token.qr_text(), Some(card(2)))), Reason::CardMismatch);
    assert_eq!(reason(street.redeem(2, &token.qr_text(), None)), Reason::CardRequired);
    street.redeem(2, &token.qr_text(), Some(card(1))).unwrap();
}

#[test]
fn hand_out_has_its_window_and_a_voucher_its_time() {
    let (mut street, promotion) = promoted(|_| {});
    let (start, now) = (street.now.ms() - DAY_MS, street.now);
    street.now = UnixMillis::new(start - 1).unwrap();
    assert_eq!(reason(street.issue(1, promotion, None)), Reason::PromotionNotStarted);
    street.now = now;
    let token = street.issue(1, promotion, None).unwrap();
    street.now = now.saturating_add_ms(-10 * 60_000 - 1);
    assert_eq!(reason(street.redeem(2, &token.qr_text(), None)), Reason::VoucherNotYetValid);
    street.now = now.saturating_add_ms(10 * DAY_MS);
    assert_eq!(reason(street.redeem(2, &token.qr_text(), None)), Reason::VoucherExpired);
    street.now = now.saturating_add_ms(10 * DAY_MS - 1);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.now = now.saturating_add_ms(30 * DAY_MS);
    assert_eq!(reason(street.issue(1, promotion, None)), Reason::PromotionEnded);
}

#[test]
fn an_ended_promotion_hands_nothing_out_and_honours_what_is_out() {
    let (mut street, promotion) = promoted(|_| {});
    let token = street.issue(1, promotion, None).unwrap();
    let end = Command::EndPromotion { promotion };
    assert_eq!(reason(street.run(1, &end)), Reason::NotFunder);
    assert_eq!(street.run(2, &end).unwrap().records.len(), 1);
    assert_eq!(street.run(2, &end).unwrap().records.len(), 0, "once is enough");
    street.meet();
    assert_eq!(reason(street.issue(1, promotion, None)), Reason::PromotionEnded);
    assert!(street.sell(1, yuan(20), None).is_empty());
    street.redeem(2, &token.qr_text(), None).unwrap();
    let unknown = Command::EndPromotion { promotion: RecordId::new([1; 32]) };
    assert_eq!(reason(street.run(2, &unknown)), Reason::PromotionUnknown);
    assert_eq!(reason(street.issue(1, RecordId::new([1; 32]), None)), Reason::PromotionUnknown);
}

#[test]
fn a_budget_below_the_quotas_is_not_published() {
    let mut street = Street::new(61, 3);
    let mut terms = street.terms(&[1], 2);
    terms.budget = Some(yuan(199).into());
    let refused = street.publish(2, terms).unwrap_err();
    assert_eq!((refused.reason, refused.fact("field")), (Reason::FieldInvalid, Some("budget")));
}

#[test]
fn every_other_refusal_of_a_till_has_its_reason() {
    let (mut street, promotion) = promoted(|_| {});
    let token = street.issue(1, promotion, None).unwrap();
    let wrong_shop = street.redeem(0, &token.qr_text(), None).unwrap_err();
    assert_eq!(wrong_shop.reason, Reason::VoucherWrongShop);
    assert_eq!(wrong_shop.fact("redeemer_id"), Some(street.id(2).to_string().as_str()));
    let low = street.redemption(&token.qr_text(), yuan(9), None);
    assert_eq!(reason(street.run(2, &low)), Reason::PurchaseTooLow);
    let usd = Money::new("USD".parse::<Currency>().unwrap(), 5_000).unwrap();
    let foreign = street.redemption(&token.qr_text(), usd, None);
    assert_eq!(reason(street.run(2, &foreign)), Reason::CurrencyMismatch);
    assert_eq!(reason(street.issue(0, promotion, None)), Reason::NotDistributor);
    for shown in ["", "HT1:AAAA", "ABC", &token.body().key.to_string()] {
        assert_eq!(reason(street.redeem(2, shown, None)), Reason::VoucherUnknown, "{shown}");
    }
    let Command::Redeem(redeem) = street.redemption(&token.qr_text(), yuan(40), None) else { return };
    for (ms, expected) in [(-8 * DAY_MS, Reason::TimeTooOld), (601_000, Reason::TimeAhead)] {
        let (request, at) = (street.request(), street.now.saturating_add_ms(ms));
        let redeem = hutong_core::command::RedeemCommand { request, at, ..redeem.clone() };
        assert_eq!(reason(street.run(2, &Command::Redeem(redeem))), expected);
    }
    assert_eq!(reason(street.void(2, RecordId::new([1; 32]))), Reason::RedemptionUnknown);
    let unknown = Command::Approve { shop: hutong_record::ShopId::new([1; 32]), core: false };
    assert_eq!(reason(street.run(0, &unknown)), Reason::MemberUnknown);
    let member = Command::Approve { shop: street.id(1), core: false };
    assert_eq!(reason(street.run(0, &member)), Reason::MemberExists);
}

#[test]
fn a_forged_token_and_one_with_bytes_added_are_unknown() {
    let (mut street, promotion) = promoted(|_| {});
    let token = street.issue(1, promotion, None).unwrap();
    let forged =
        Token::sign(VoucherBody { secret: [1; 10], ..token.body().clone() }, &street.shops[0].keys.signing);
    assert_eq!(reason(street.redeem(2, &forged.qr_text(), None)), Reason::VoucherUnknown);
    let mut key = token.body().key;
    key.number = 51;
    let over = Token::sign(VoucherBody { key, ..token.body().clone() }, &street.shops[1].keys.signing);
    assert_eq!(reason(street.redeem(2, &over.qr_text(), None)), Reason::VoucherUnknown);
    // An unknown field of the message leaves body and signature as they are, and is no other voucher.
    let padded = [token.bytes(), &[0x98, 0x06, 0x01]].concat();
    assert!(Token::parse(&padded).is_err());
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.meet();
    street.check_agreement("forged tokens");
}
