//! Whatever a till or an app sends, its conversion names a field or gives a value within bounds.
#![no_main]

use hutong_core::promotion::Promotion;
use hutong_record::{Currency, Money, RecordId, ShopId, UnixMillis};
use hutong_wire::{merchant::v1 as merchant, trade};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use prost_types::{Duration, Timestamp};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = merchant::Promotion::decode(bytes) {
        promotion(&message);
    }
    if let Ok(message) = merchant::RedeemVoucherRequest::decode(bytes) {
        purchase(message.purchase.as_ref(), &message.lines, &message.purchase_id);
        let _ = trade::presented(&message.code);
    }
    if let Ok(message) = merchant::QualifyVouchersRequest::decode(bytes) {
        purchase(message.purchase.as_ref(), &message.lines, &message.purchase_id);
        message.codes.iter().for_each(|code| drop(trade::presented(code)));
    }
    if let Ok(message) = merchant::MoveQuotaRequest::decode(bytes) {
        let _ = trade::shop("to_shop_id", &message.to_shop_id);
        let _ = trade::shop_or_none("reclaimed_from_shop_id", &message.reclaimed_from_shop_id);
        let _ = trade::request_tag(&message.request_id, "MoveQuota", &message);
    }
    if let Ok(message) = merchant::Money::decode(bytes) {
        if let Ok(money) = trade::money("amount", Some(&message), Currency::CNY) {
            assert!(money.minor() >= 0);
            assert_eq!(trade::money("amount", Some(&trade::money_message(money)), Currency::CNY), Ok(money));
        }
    }
    if let Ok(message) = Timestamp::decode(bytes) {
        if let Ok(at) = trade::time("time", &message) {
            assert_eq!(trade::time("time", &trade::timestamp(at)), Ok(at));
        }
    }
    if let Ok(message) = Duration::decode(bytes) {
        if let Ok(ms) = trade::duration_ms("validity", &message) {
            assert_eq!(trade::duration_ms("validity", &trade::duration(ms)), Ok(ms));
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = trade::card("card", text);
    let _ = trade::shop("shop", text);
    let _ = trade::record_id("id", text);
    let _ = trade::alliance("alliance", text);
    let _ = trade::presented(text);
    let _ = trade::request_tag(text, "Sell", &merchant::Money::default());
});

/// Amounts of what is bought are not negative, whatever else is wrong with them.
fn purchase(total: Option<&merchant::Money>, lines: &[merchant::PurchaseLine], id: &str) {
    let Ok(purchase) = trade::purchase(total, lines, id, Currency::CNY) else { return };
    assert!(purchase.total.minor() >= 0);
    assert!(purchase.lines.iter().all(|line| line.amount.minor() >= 0));
}

/// The terms that the rules take are the same when they come back, and cost what they may.
fn promotion(message: &merchant::Promotion) {
    let Ok(terms) = trade::promotion(message, Currency::CNY) else { return };
    let me = ShopId::new([1; 32]);
    let Ok(promotion) = Promotion::check(&terms, RecordId::new([2; 32]), me, Currency::CNY) else { return };
    let shown = trade::promotion_message(&promotion);
    let again = trade::promotion(&shown, Currency::CNY).expect("what is shown can be said");
    let again = Promotion::check(&again, RecordId::new([2; 32]), me, Currency::CNY);
    assert_eq!(again.as_ref(), Ok(&promotion));
    let purchase = Money::new(Currency::CNY, 12_345).expect("within bounds");
    let discount = promotion.benefit.discount(purchase);
    assert!((0..=purchase.minor()).contains(&discount.minor()));
    assert!(promotion.expires(promotion.starts) >= promotion.starts && promotion.ends <= UnixMillis::MAX);
}
