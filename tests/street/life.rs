//! The life of a voucher over real processes: passed on, kept free, returned in part, taken back, asked about, guessed
//! at; and each answer given again, whatever happened to the node meanwhile.

use std::fs;

use futures::future::BoxFuture;
use hutong_client::{Client, Duration, proto, random_request_id};
use proto::qualified_voucher::Outcome;

use crate::{
    harness::{Shop, Street, converged, until},
    trade::{
        DISCOUNT_MINOR, anywhere, arrived, hand_out, issue, leased, money, publish, reason, redemption,
        terms, two_shops, voucher_at,
    },
};

/// Waits until a shop knows of a voucher.
async fn knows(shop: &Shop, voucher: &proto::Voucher) {
    until("the voucher's record arrives", async || voucher_at(shop, &voucher.id).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_designated_voucher_is_handed_out_for_a_shop_and_passed_on_to_another() {
    let street = Street::new();
    let (baozi, teahouse) = (street.shop("baozi").await, street.shop("teahouse").await);
    let market = street.shop("market").await;
    baozi.found("street");
    baozi.admit(&teahouse).await;
    baozi.admit(&market).await;
    converged(&[&baozi, &teahouse, &market]).await;
    let both = proto::Promotion { redeemer_ids: vec![market.id()], ..terms(&baozi, &teahouse, 10) };
    let promotion = publish(&teahouse, both).await;
    for shop in [&baozi, &market] {
        arrived(shop, &promotion).await;
    }
    let shown = baozi.cli(&["voucher", "issue", "--promotion", &promotion, "--redeemer", "market"]);
    assert_eq!(shown["voucher"]["redeemer_id"], market.id());
    let voucher = hand_out(&baozi.client().await, &promotion).await;
    assert_eq!((&voucher.redeemer_id, &voucher.holder_id), (&teahouse.id(), &teahouse.id()));
    knows(&teahouse, &voucher).await;

    let passed = teahouse.cli(&["voucher", "transfer", &voucher.code, "--to", "market"]);
    assert_eq!(passed["voucher"]["holder_id"], market.id());
    let error = teahouse.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap_err();
    assert_eq!(reason(&error), "VOUCHER_WRONG_SHOP");
    assert_eq!(error.refusal().unwrap().metadata["redeemer_name"], "market");
    assert_eq!(
        baozi.refused(&["voucher", "transfer", &voucher.code, "--to", "teahouse"]),
        "VOUCHER_WRONG_SHOP"
    );
    knows(&market, &voucher).await;
    market.cli(&["federation", "pause"]);
    market.cli(&["voucher", "redeem", &voucher.qr_text, "--purchase", "20.00"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_use_that_is_kept_free_is_for_whoever_has_the_key() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 10).await;
    let giver = baozi.client().await;
    let (first, second) = (hand_out(&giver, &promotion).await, hand_out(&giver, &promotion).await);
    let reserve = |voucher: &proto::Voucher, key: &str| {
        teahouse.try_cli(&["voucher", "reserve", &voucher.qr_text, "--key", key, "--for", "30m"])
    };
    let kept = reserve(&first, "order-1").unwrap();
    assert_eq!(kept["voucher"]["state"], "reserved");
    assert_eq!(reserve(&first, "order-2").unwrap_err()["error"]["reason"], "VOUCHER_RESERVED");
    let redeem = ["voucher", "redeem", &first.qr_text, "--purchase", "20.00"];
    assert_eq!(teahouse.refused(&redeem), "VOUCHER_RESERVED");
    let shown = voucher_at(&teahouse, &first.id).await.unwrap();
    assert_eq!(shown.state(), proto::VoucherState::Reserved);
    assert!(shown.reserve_expire_time.is_some());
    teahouse.cli(&[&redeem[..], &["--reservation", "order-1"]].concat());

    reserve(&second, "order-3").unwrap();
    teahouse.cli(&["voucher", "release", &second.id, "--key", "order-3"]);
    let gone = teahouse.refused(&["voucher", "release", &second.id, "--key", "order-3"]);
    assert_eq!(gone, "RESERVATION_UNKNOWN");
    teahouse.cli(&["voucher", "redeem", &second.qr_text, "--purchase", "20.00"]);
    let request = proto::ReserveVoucherRequest {
        request_id: random_request_id(),
        code: second.id.clone(),
        key: "k".to_owned(),
        lifetime: Some(Duration { seconds: 0, nanos: 0 }),
        ..Default::default()
    };
    let error = teahouse.client().await.reserve_voucher(request).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().metadata["field"], "lifetime");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_returned_lowers_the_discount_and_the_voucher_stays_used() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 10).await;
    let voucher = hand_out(&baozi.client().await, &promotion).await;
    let redeemed = teahouse.cli(&["voucher", "redeem", &voucher.qr_text, "--purchase", "20.00"]);
    let receipt = redeemed["redemption_id"].as_str().unwrap();
    assert_eq!(teahouse.refused(&["voucher", "void", receipt, "--returned", "20.00"]), "FIELD_INVALID");
    let part = teahouse.cli(&["voucher", "void", receipt, "--returned", "17.00"]);
    assert_eq!((&part["discount"]["minor"], &part["voucher"]["state"]), (&300.into(), &"redeemed".into()));
    assert_eq!(teahouse.summary().await.discounts.unwrap().minor, 300);
    let redeem = ["voucher", "redeem", &voucher.qr_text, "--purchase", "20.00"];
    assert_eq!(teahouse.refused(&redeem), "VOUCHER_ALREADY_REDEEMED");
    let all = teahouse.cli(&["voucher", "void", receipt]);
    assert_eq!((&all["discount"]["minor"], &all["voucher"]["state"]), (&0.into(), &"issued".into()));
    teahouse.cli(&redeem);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voucher_that_was_taken_back_is_refused_where_the_word_has_come() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 10).await;
    let voucher = hand_out(&baozi.client().await, &promotion).await;
    let revoked = baozi.cli(&["voucher", "revoke", &voucher.id, "--reason", "misprint"]);
    assert_eq!(revoked["voucher"]["state"], "revoked");
    until("the word comes", async || {
        let shown = voucher_at(&teahouse, &voucher.id).await?;
        (shown.state() == proto::VoucherState::Revoked && shown.revoke_time.is_some()).then_some(())
    })
    .await;
    let error = teahouse.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap_err();
    assert_eq!(reason(&error), "VOUCHER_REVOKED");
    assert_eq!(baozi.refused(&["voucher", "revoke", &voucher.id]), "VOUCHER_REVOKED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_the_till_will_hear_and_changes_nothing() {
    let street = Street::new();
    let (baozi, teahouse) = (street.shop("baozi").await, street.shop("teahouse").await);
    baozi.found("street");
    baozi.admit(&teahouse).await;
    let fruit = proto::Conditions { categories: vec!["fruit".to_owned()], ..Default::default() };
    let terms = proto::Promotion {
        conditions: Some(fruit),
        redeem_spend_min: money(1_000),
        ..terms(&baozi, &teahouse, 10)
    };
    let promotion = publish(&teahouse, terms).await;
    arrived(&baozi, &promotion).await;
    let giver = baozi.client().await;
    let card = "00112233445566778899aabbccddeeff".to_owned();
    let carded = proto::IssueVoucherRequest { card_id: card.clone(), ..issue(&promotion) };
    let bound = giver.issue_voucher(carded).await.unwrap().voucher.unwrap();
    let bearer = hand_out(&giver, &promotion).await;
    knows(&teahouse, &bound).await;
    knows(&teahouse, &bearer).await;
    let before = teahouse.digest().await;

    let till = teahouse.client().await.with_language(hutong_client::Language::Zh);
    let ask = async |fruit: i64, card_id: &str| {
        let line = proto::PurchaseLine { category: "fruit".to_owned(), amount: money(fruit) };
        let request = proto::QualifyVouchersRequest {
            codes: vec!["no voucher".to_owned(), bearer.qr_text.clone()],
            card_id: card_id.to_owned(),
            purchase: money(2_000),
            lines: vec![line],
            ..Default::default()
        };
        till.qualify_vouchers(request).await.unwrap().vouchers
    };
    let told = ask(1_500, &card).await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(
        (told[1].voucher_id.as_str(), told[2].voucher_id.as_str()),
        (bearer.id.as_str(), bound.id.as_str())
    );
    let Some(Outcome::Refused(refused)) = &told[0].outcome else { panic!("{told:?}") };
    assert_eq!((refused.reason.as_str(), refused.message.as_str()), ("VOUCHER_UNKNOWN", "查无此券"));
    for good in &told[1..] {
        let Some(Outcome::Applies(applies)) = &good.outcome else { panic!("{told:?}") };
        let minor = |amount: &Option<proto::Money>| amount.as_ref().unwrap().minor;
        assert_eq!((minor(&applies.discount), minor(&applies.eligible)), (DISCOUNT_MINOR, 1_500));
    }
    let told = ask(900, "").await;
    let Some(Outcome::Refused(refused)) = &told[1].outcome else { panic!("{told:?}") };
    assert_eq!(refused.reason, "PURCHASE_TOO_LOW");
    assert_eq!(teahouse.digest().await, before, "nothing was written");
    let redeem = ["voucher", "redeem", &bearer.qr_text, "--purchase", "20.00"];
    assert_eq!(teahouse.refused(&redeem), "CATEGORY_NOT_COVERED");
    let sold = teahouse.cli(&[&redeem[..], &["--line", "fruit=15.00"]].concat());
    assert_eq!(sold["discount"]["minor"], DISCOUNT_MINOR);
}

/// `core::guess::TRIES_MAX`.
const TRIES_MAX: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_codes_is_locked_out_and_a_genuine_qr_code_still_is_good() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 10).await;
    let voucher = hand_out(&baozi.client().await, &promotion).await;
    knows(&teahouse, &voucher).await;
    let till = teahouse.client().await;
    let at = voucher.qr_text.len() - 2;
    let other = if voucher.qr_text.as_bytes()[at] == b'A' { "B" } else { "A" };
    let forged = format!("{}{other}{}", &voucher.qr_text[..at], &voucher.qr_text[at + 1..]);
    let mut answers = Vec::new();
    for n in 0..TRIES_MAX {
        // Forged, mistyped and unknown sound alike.
        let code = [forged.as_str(), "0000-0000-0000-000000", "no code"][n % 3];
        let error = till.redeem_voucher(redemption(code)).await.unwrap_err();
        let refusal = error.refusal().unwrap();
        answers.push((
            refusal.code,
            refusal.reason.clone(),
            refusal.message.clone(),
            refusal.metadata.clone(),
        ));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].1.as_deref(), Some("VOUCHER_UNKNOWN"));

    let records = teahouse.digest().await.record_count;
    for code in [voucher.code.as_str(), "no code", &forged] {
        let error = till.redeem_voucher(redemption(code)).await.unwrap_err();
        assert_eq!(reason(&error), "TOO_MANY_TRIES", "{code}");
        assert!(error.refusal().unwrap().metadata["retry_ms"].parse::<i64>().unwrap() > 0);
    }
    for ask in [["voucher", "show", &voucher.code], ["voucher", "request", &voucher.code]] {
        assert_eq!(teahouse.refused(&ask), "TOO_MANY_TRIES");
    }
    assert_eq!(
        teahouse.refused(&["voucher", "qualify", &voucher.code, "--purchase", "20.00"]),
        "TOO_MANY_TRIES"
    );
    assert_eq!(teahouse.digest().await.record_count, records, "a guesser does not fill the log");
    assert!(voucher_at(&teahouse, &voucher.id).await.is_some(), "an id is no secret");
    till.redeem_voucher(redemption(&voucher.qr_text)).await.expect("nobody guesses that");
}

/// A call with one request id, to be made again and again.
type Ask = Box<dyn Fn(Client) -> BoxFuture<'static, String> + Send>;

macro_rules! ask {
    ($call:ident, $request:expr) => {{
        let request = $request;
        let ask: Ask = Box::new(move |client: Client| {
            let request = request.clone();
            Box::pin(async move {
                format!("{:?}", client.$call(request).await.map_err(|e| e.reason().map(str::to_owned)))
            })
        });
        ask
    }};
}

async fn ask_all(shop: &Shop, asks: &[Ask]) -> Vec<String> {
    let client = shop.client().await;
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(ask(client.clone()).await);
    }
    answers
}

/// Every call that changes something, with a fixed request id each, at the shop that redeems.
fn changes(vouchers: &[proto::Voucher], promotion: &str, other: &Shop, receipt: &str) -> Vec<Ask> {
    let mut ids = (0..).map(|n| format!("fixed-{n}"));
    let mut request_id = || ids.next().expect("endless");
    let [used, passed, kept, revoked, lent, ..] = vouchers else { panic!("more vouchers") };
    let reserve = |voucher: &proto::Voucher, request_id: String| proto::ReserveVoucherRequest {
        request_id,
        code: voucher.id.clone(),
        key: "order-7".to_owned(),
        ..Default::default()
    };
    vec![
        ask!(
            redeem_voucher,
            proto::RedeemVoucherRequest { request_id: request_id(), ..redemption(&used.qr_text) }
        ),
        ask!(
            redeem_voucher,
            proto::RedeemVoucherRequest { request_id: request_id(), ..redemption(&used.qr_text) }
        ),
        ask!(
            void_redemption,
            proto::VoidRedemptionRequest {
                request_id: request_id(),
                redemption_id: receipt.to_owned(),
                returned: money(1_700),
                ..Default::default()
            }
        ),
        ask!(
            transfer_voucher,
            proto::TransferVoucherRequest {
                request_id: request_id(),
                code: passed.qr_text.clone(),
                to_shop_id: other.id(),
                ..Default::default()
            }
        ),
        ask!(reserve_voucher, reserve(kept, request_id())),
        ask!(reserve_voucher, reserve(lent, request_id())),
        ask!(
            release_reservation,
            proto::ReleaseReservationRequest {
                request_id: request_id(),
                code: lent.id.clone(),
                key: "order-7".to_owned(),
                ..Default::default()
            }
        ),
        ask!(
            revoke_voucher,
            proto::RevokeVoucherRequest {
                request_id: request_id(),
                code: revoked.id.clone(),
                ..Default::default()
            }
        ),
        ask!(
            move_quota,
            proto::MoveQuotaRequest {
                request_id: request_id(),
                promotion_id: promotion.to_owned(),
                to_shop_id: other.id(),
                count: 3,
                ..Default::default()
            }
        ),
        ask!(
            create_promotion,
            proto::CreatePromotionRequest {
                request_id: request_id(),
                promotion: Some(leased(&[(other, 1)])),
                ..Default::default()
            }
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_given_again_after_a_kill_and_after_the_views_are_lost() {
    let street = Street::new();
    let (home, mut corner) = (street.shop("home").await, street.shop("corner").await);
    home.found("street");
    home.admit(&corner).await;
    // The corner pays, so that it can revoke; both redeem; and the corner has a part of a leased stock.
    let promotion = publish(&corner, anywhere(&home, &[&corner, &home], 10)).await;
    let stock = publish(&corner, leased(&[(&home, 5), (&corner, 5)])).await;
    arrived(&home, &promotion).await;
    arrived(&home, &stock).await;
    let giver = home.client().await;
    let mut vouchers = Vec::new();
    for _ in 0..6 {
        let voucher = hand_out(&giver, &promotion).await;
        corner.cli(&["voucher", "request", &voucher.qr_text]);
        vouchers.push(voucher);
    }
    let redeemed = corner.client().await.redeem_voucher(redemption(&vouchers[5].qr_text)).await.unwrap();
    let asks = changes(&vouchers, &stock, &home, &redeemed.redemption_id);
    let first = ask_all(&corner, &asks).await;
    println!("{first:#?}");
    let refused = first.iter().filter(|answer| answer.starts_with("Err")).count();
    assert_eq!(refused, 1, "the second redemption of one voucher: {first:#?}");
    assert_eq!(ask_all(&corner, &asks).await, first);

    corner.kill().await;
    corner.serve().await;
    assert_eq!(ask_all(&corner, &asks).await, first);
    corner.stop().await;
    fs::remove_dir_all(corner.alliance_folder().join("views")).unwrap();
    corner.serve().await;
    let records = corner.digest().await.record_count;
    assert_eq!(ask_all(&corner, &asks).await, first);
    assert_eq!(corner.digest().await.record_count, records, "nothing is done twice");
    converged(&[&home, &corner]).await;
}
