//! Many tills at once: one voucher is used once (VOU-1), one request is carried out once.

use futures::future::join_all;
use hutong_client::{Client, Code, proto};

use crate::{
    harness::Street,
    trade::{hand_out, redemption, sale, two_shops},
};

const TILLS: usize = 64;
/// How many vouchers are fought over; `HUTONG_STREET_VOUCHERS` sets another number.
const VOUCHERS: u32 = 8;

/// One voucher, shown at all tills at once.
async fn fight_over(client: &Client, teahouse: &str, voucher: &proto::Voucher) {
    let calls = (0..TILLS).map(|_| client.redeem_voucher(redemption(&voucher.qr_text)));
    let (done, refused): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, TILLS - 1));

    let done = done.into_iter().next().unwrap().unwrap();
    let at = done.voucher.unwrap().redeem_time.unwrap();
    let at_ms = at.seconds * 1_000 + i64::from(at.nanos / 1_000_000);
    for error in refused.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.reason(), Some("VOUCHER_ALREADY_REDEEMED"), "{error}");
        let refusal = error.refusal().unwrap();
        assert_eq!(refusal.code, Code::FailedPrecondition);
        assert_eq!(refusal.metadata["redeemer_id"], teahouse);
        assert_eq!(refusal.metadata["redemption_id"], done.redemption_id);
        assert_eq!(refusal.metadata["redeemed_unix_ms"], at_ms.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_redemptions_of_one_voucher_one_succeeds_and_the_others_hear_where_and_when() {
    let vouchers = std::env::var("HUTONG_STREET_VOUCHERS").map_or(VOUCHERS, |n| n.parse().expect("a number"));
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, vouchers).await;
    let (giver, till, id) = (baozi.client().await, teahouse.client().await, teahouse.id());
    let begun = tokio::time::Instant::now();
    for _ in 0..vouchers {
        fight_over(&till, &id, &hand_out(&giver, &promotion).await).await;
    }
    let attempts = u64::from(vouchers) * TILLS as u64;
    println!("{vouchers} vouchers, {attempts} attempts at {TILLS} tills at once, in {:?}", begun.elapsed());
    let summary = teahouse.summary().await;
    assert_eq!((summary.redemptions, summary.double_redemptions), (u64::from(vouchers), 0));
    assert_eq!(summary.refusals[0].count, attempts - u64::from(vouchers));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_calls_with_one_request_id_one_counts_and_all_hear_the_same() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 10).await;
    let request = redemption(&hand_out(&baozi.client().await, &promotion).await.qr_text);
    let client = teahouse.client().await;
    let answers = join_all((0..TILLS).map(|_| client.redeem_voucher(request.clone()))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(teahouse.summary().await.redemptions, 1);

    let (client, request) = (baozi.client().await, sale(5_000));
    let answers = join_all((0..TILLS).map(|_| client.report_sale(request.clone()))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!((baozi.summary().await.sales, baozi.summary().await.vouchers_issued), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_is_good_for_one_body() {
    let street = Street::new();
    let (shop, _, _) = two_shops(&street, 10).await;
    let client = shop.client().await;
    let first = sale(5_000);
    client.report_sale(first.clone()).await.unwrap();
    let other = proto::ReportSaleRequest { amount: sale(6_000).amount, ..first };
    let error = client.report_sale(other).await.unwrap_err();
    assert_eq!(error.reason(), Some("REQUEST_ID_REUSED"));
    assert_eq!(shop.summary().await.sales, 1);
}
