//! The modes of vouchers over real processes: who may redeem, whom to ask, and what is done while nobody answers.

use std::time::Duration as Time;

use hutong_client::{Client, Duration, Error, proto, random_request_id};
use serde_json::Value;

use crate::{
    harness::{Reach, Shop, Street, converged, until},
    trade::{
        DISCOUNT_MINOR, anywhere, arrived, hand_out, leased, money, publish, reason, redemption, voucher_at,
    },
};

/// A till that has no patience, so that a home that is gone is given up soon.
const HASTE: Time = Time::from_secs(2);

/// A home and a corner shop that nobody can dial, and a market that both can; the market founded the street.
async fn three_shops(street: &Street) -> (Shop, Shop, Shop) {
    let market = street.shop("market").await;
    let (mut home, mut corner) =
        (street.init("home", Reach::DialsOut), street.init("corner", Reach::DialsOut));
    home.serve().await;
    corner.serve().await;
    market.found("street");
    market.admit(&home).await;
    market.admit(&corner).await;
    converged(&[&market, &home, &corner]).await;
    (market, home, corner)
}

async fn everywhere(shops: &[&Shop], promotion: &str) {
    for shop in shops {
        arrived(shop, promotion).await;
    }
}

fn risk_terms() -> Option<proto::RiskTerms> {
    Some(proto::RiskTerms {
        per_voucher_max: money(DISCOUNT_MINOR),
        per_shop_max: money(10 * DISCOUNT_MINOR),
        per_day_max: money(2 * DISCOUNT_MINOR),
        offline_max: Some(Duration { seconds: 3_600, nanos: 0 }),
    })
}

/// Redeems, at the shop's own risk if need be.
async fn take(till: &Client, voucher: &proto::Voucher) -> Result<proto::RedeemVoucherResponse, Error> {
    take_within(HASTE, till, voucher).await
}

async fn take_within(
    deadline: Time,
    till: &Client,
    voucher: &proto::Voucher,
) -> Result<proto::RedeemVoucherResponse, Error> {
    let request = proto::RedeemVoucherRequest { accept_at_risk: true, ..redemption(&voucher.qr_text) };
    till.clone().with_deadline(deadline).redeem_voucher(request).await
}

async fn state_at(shop: &Shop, voucher: &proto::Voucher) -> Option<proto::VoucherState> {
    voucher_at(shop, &voucher.id).await.map(|voucher| voucher.state())
}

async fn stands(shop: &Shop, voucher: &proto::Voucher, state: proto::VoucherState) {
    let what = format!("{} sees the voucher {state:?}", shop.name());
    until(&what, async || (state_at(shop, voucher).await == Some(state)).then_some(())).await;
}

fn minor(amount: Option<proto::Money>) -> i64 {
    amount.expect("an amount").minor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_anywhere_voucher_is_confirmed_by_a_home_that_is_reached_through_a_third() {
    let street = Street::new();
    let (market, home, corner) = three_shops(&street).await;
    let promotion = publish(&market, anywhere(&home, &[&market, &corner], 10)).await;
    everywhere(&[&home, &corner], &promotion).await;
    let voucher = hand_out(&home.client().await, &promotion).await;
    assert_eq!((voucher.holder_id.as_str(), voucher.redeemer_id.as_str()), (home.id().as_str(), ""));

    let used = corner.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap();
    assert_eq!((minor(used.discount), used.at_risk, used.uses_left), (DISCOUNT_MINOR, false, 0));
    let told = used.voucher.unwrap();
    assert_eq!(
        (told.holder_id.as_str(), told.state()),
        (corner.id().as_str(), proto::VoucherState::Redeemed)
    );
    assert!(corner.link_to(&home).await.last_heard_time.is_none(), "they never met");

    stands(&home, &voucher, proto::VoucherState::Redeemed).await;
    let again = market.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap_err();
    assert_eq!(reason(&again), "VOUCHER_ALREADY_REDEEMED");
    assert_eq!(again.refusal().unwrap().metadata["redeemer_id"], corner.id());
    assert_eq!(market.cli(&["offences"]).as_array().map(Vec::len), Some(0));
}

/// Many tills ask for the same right at once: one question, one use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_tills_that_wait_for_one_home_one_redeems() {
    let street = Street::new();
    let (market, home, corner) = three_shops(&street).await;
    let promotion = publish(&market, anywhere(&home, &[&corner], 10)).await;
    everywhere(&[&home, &corner], &promotion).await;
    let voucher = hand_out(&home.client().await, &promotion).await;
    let till = corner.client().await;
    let calls = (0..64).map(|_| till.redeem_voucher(redemption(&voucher.qr_text)));
    let (done, refused): (Vec<_>, Vec<_>) =
        futures::future::join_all(calls).await.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, 63));
    let reasons: Vec<_> = refused.iter().map(|error| reason(error.as_ref().unwrap_err())).collect();
    assert!(reasons.iter().all(|reason| *reason == "VOUCHER_ALREADY_REDEEMED"), "{reasons:?}");
}

/// The customer picks a shop beforehand; there the voucher is good with no network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voucher_that_was_asked_for_is_good_at_that_shop_offline() {
    let street = Street::new();
    let (market, home, corner) = three_shops(&street).await;
    let promotion = publish(&market, anywhere(&home, &[&market, &corner], 10)).await;
    everywhere(&[&home, &corner], &promotion).await;
    let voucher = hand_out(&home.client().await, &promotion).await;
    for _ in 0..2 {
        assert_eq!(corner.cli(&["voucher", "request", &voucher.qr_text])["state"], "granted");
    }
    assert_eq!(voucher_at(&corner, &voucher.id).await.unwrap().holder_id, corner.id());
    corner.cli(&["federation", "pause"]);
    let used = corner.cli(&["voucher", "redeem", &voucher.qr_text, "--purchase", "20.00"]);
    assert_eq!((&used["at_risk"], &used["uses_left"]), (&Value::Bool(false), &0.into()));
    // The market knows who has the right, and asks there.
    let elsewhere = market.client().await.with_deadline(HASTE);
    let elsewhere = async || elsewhere.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap_err();
    assert_eq!(reason(&elsewhere().await), "HOME_UNREACHABLE");
    corner.cli(&["federation", "resume"]);
    stands(&home, &voucher, proto::VoucherState::Redeemed).await;
    until("the corner has answered", async || {
        (reason(&elsewhere().await) == "VOUCHER_ALREADY_REDEEMED").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_home_is_gone_vouchers_are_refused_or_taken_at_risk_up_to_the_cap() {
    let street = Street::new();
    let (market, mut home, mut corner) = three_shops(&street).await;
    let terms = proto::Promotion { risk: risk_terms(), ..anywhere(&home, &[&market, &corner], 10) };
    let promotion = publish(&market, terms).await;
    everywhere(&[&home, &corner], &promotion).await;
    let giver = home.client().await;
    let vouchers = [
        hand_out(&giver, &promotion).await,
        hand_out(&giver, &promotion).await,
        hand_out(&giver, &promotion).await,
    ];
    converged(&[&market, &home, &corner]).await;
    home.stop().await;

    let till = corner.client().await;
    let begun = tokio::time::Instant::now();
    let careful = till.clone().with_deadline(HASTE);
    let refused = careful.redeem_voucher(redemption(&vouchers[0].qr_text)).await.unwrap_err();
    assert_eq!(reason(&refused), "HOME_UNREACHABLE");
    assert!(begun.elapsed() < 3 * HASTE, "the till hears so at once, and does not ask again by itself");

    let first = take(&till, &vouchers[0]).await.unwrap();
    assert!(first.at_risk && first.voucher.unwrap().state() == proto::VoucherState::AtRisk);
    // Set up anew with nobody to be heard, it knows from its records that it was not cut off for long.
    corner.kill().await;
    corner.serve().await;
    let till = corner.client().await;
    // It signs nothing before it has waited for somebody to tell how far its own log goes.
    assert!(take_within(4 * HASTE, &till, &vouchers[1]).await.unwrap().at_risk);
    let past = take(&till, &vouchers[2]).await.unwrap_err();
    assert_eq!(
        (reason(&past), past.refusal().unwrap().metadata["cap"].as_str()),
        ("RISK_CAP_REACHED", "per_day")
    );
    assert_eq!(reason(&take(&till, &vouchers[0]).await.unwrap_err()), "VOUCHER_ALREADY_REDEEMED");
    let summary = corner.summary().await;
    assert_eq!((minor(summary.risk_open), minor(summary.risk_lost)), (2 * DISCOUNT_MINOR, 0));

    home.serve().await;
    for voucher in &vouchers[..2] {
        stands(&corner, voucher, proto::VoucherState::Redeemed).await;
    }
    let summary = corner.summary().await;
    assert_eq!((minor(summary.risk_open), minor(summary.risk_lost)), (0, 0));
    assert_eq!(minor(summary.discounts), 2 * DISCOUNT_MINOR);
    // The third was asked for while nobody answered: the right has come meanwhile, or comes now.
    let third = corner.client().await.redeem_voucher(redemption(&vouchers[2].qr_text)).await.unwrap();
    assert!(!third.at_risk);
    converged(&[&market, &home, &corner]).await;
    assert_eq!(corner.cli(&["offences"]).as_array().map(Vec::len), Some(0));
}

/// The till's node dies while it waits for the home; the till asks again under the same request id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_while_it_waits_for_the_home_redeems_once_when_asked_again() {
    let street = Street::new();
    let (market, mut home, mut corner) = three_shops(&street).await;
    let promotion = publish(&market, anywhere(&home, &[&corner], 10)).await;
    everywhere(&[&home, &corner], &promotion).await;
    let voucher = hand_out(&home.client().await, &promotion).await;
    converged(&[&market, &home, &corner]).await;
    home.stop().await;
    let before = corner.digest().await.record_count;
    let request = redemption(&voucher.qr_text);
    let (till, asked) = (corner.client().await, request.clone());
    let waiting = tokio::spawn(async move { till.vouchers().redeem_voucher(asked).await });
    until("the home is asked", async || (corner.digest().await.record_count > before).then_some(())).await;
    corner.kill().await;
    assert!(waiting.await.unwrap().is_err());

    home.serve().await;
    corner.serve().await;
    let till = corner.client().await;
    let first =
        until("the home has answered", async || till.redeem_voucher(request.clone()).await.ok()).await;
    assert!(!first.at_risk);
    assert_eq!(till.redeem_voucher(request).await.unwrap(), first);
    assert_eq!(corner.summary().await.redemptions, 1);
    let other = till.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap_err();
    assert_eq!(reason(&other), "VOUCHER_ALREADY_REDEEMED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_shops_that_took_one_voucher_at_risk_all_name_the_one_that_loses() {
    let street = Street::new();
    let (market, mut home, corner) = three_shops(&street).await;
    let terms = proto::Promotion { risk: risk_terms(), ..anywhere(&home, &[&market, &corner], 10) };
    let promotion = publish(&market, terms).await;
    everywhere(&[&home, &corner], &promotion).await;
    let voucher = hand_out(&home.client().await, &promotion).await;
    converged(&[&market, &home, &corner]).await;
    home.stop().await;
    for shop in [&market, &corner] {
        assert!(take(&shop.client().await, &voucher).await.unwrap().at_risk);
    }
    home.serve().await;
    let offences = until("all hear of the second use", async || {
        let told = [&market, &home, &corner].map(|shop| shop.cli(&["offences"]));
        told.iter().all(|list| list.as_array().is_some_and(|list| list.len() == 1)).then_some(told)
    })
    .await;
    assert!(offences.iter().all(|list| *list == offences[0]), "{offences:?}");
    let offence = &offences[0][0];
    assert_eq!(
        (&offence["kind"], &offence["voucher_id"]),
        (&"risk_lost".into(), &voucher.id.as_str().into())
    );
    let (loser, winner) =
        if offence["liable_id"] == market.id() { (&market, &corner) } else { (&corner, &market) };
    assert_eq!(offence["liable_id"], loser.id());
    until("what was at risk is settled", async || {
        let (lost, won) = (loser.summary().await, winner.summary().await);
        let open = minor(lost.risk_open) + minor(won.risk_open);
        (open == 0).then_some((minor(lost.risk_lost), minor(won.risk_lost)))
    })
    .await;
    assert_eq!(minor(loser.summary().await.risk_lost), DISCOUNT_MINOR);
    assert_eq!(minor(winner.summary().await.risk_lost), 0);
    stands(winner, &voucher, proto::VoucherState::Redeemed).await;
    converged(&[&market, &home, &corner]).await;
}

/// Sells one voucher after the other until the shop has no more, and redeems each on the spot.
async fn sell_out(shop: &Shop, promotion: &str) -> u32 {
    let till = shop.client().await;
    let mut sold = 0;
    loop {
        let request = proto::IssueVoucherRequest {
            request_id: random_request_id(),
            promotion_id: promotion.to_owned(),
            ..Default::default()
        };
        match till.issue_voucher(request).await {
            Ok(answer) => {
                let voucher = answer.voucher.expect("a voucher");
                till.redeem_voucher(redemption(&voucher.code)).await.expect("good where it was handed out");
                sold += 1;
            }
            Err(error) => {
                assert_eq!(reason(&error), "QUOTA_USED_UP");
                return sold;
            }
        }
    }
}

/// The parts of a leased stock, as a shop says whose they are.
fn owned(shop: &Shop, promotion: &str) -> Vec<(String, u64)> {
    let shown = shop.cli(&["promotion", "show", promotion]);
    let distributors = shown["distributors"].as_array().expect("a list").clone();
    distributors
        .iter()
        .map(|one| (one["shop_id"].as_str().unwrap().to_owned(), one["owned"].as_u64().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leased_flash_sale_sells_out_in_a_partition_and_never_oversells() {
    const STOCK: [u32; 3] = [30, 20, 10];
    const MOVED: u32 = 8;
    let street = Street::new();
    let (market, home, corner) = three_shops(&street).await;
    let shops = [&market, &home, &corner];
    let parts: Vec<_> = shops.into_iter().zip(STOCK).collect();
    let promotion = publish(&market, leased(&parts)).await;
    everywhere(&shops, &promotion).await;

    // The market's lease goes in part to the corner, which cannot be dialled.
    let moved =
        market.cli(&["promotion", "move-quota", &promotion, "--to", "corner", "--count", &MOVED.to_string()]);
    assert_eq!(moved["moved_count"], MOVED);
    let expected = vec![
        (market.id(), u64::from(STOCK[0] - MOVED)),
        (home.id(), u64::from(STOCK[1])),
        (corner.id(), u64::from(STOCK[2] + MOVED)),
    ];
    until("the corner has the lease", async || (owned(&corner, &promotion) == expected).then_some(())).await;
    let shares = corner.cli(&["promotion", "shares", &promotion]);
    assert_eq!(shares.as_array().map(Vec::len), Some(4), "{shares}");
    assert_eq!((&shares[1]["first_number"], &shares[1]["last_number"]), (&23.into(), &30.into()));
    assert_eq!(
        (&shares[1]["owner_id"], &shares[1]["distributor_id"]),
        (&corner.id().into(), &market.id().into())
    );

    for shop in shops {
        shop.cli(&["federation", "pause"]);
    }
    let sold = [
        sell_out(&market, &promotion).await,
        sell_out(&home, &promotion).await,
        sell_out(&corner, &promotion).await,
    ];
    assert_eq!(sold, [STOCK[0] - MOVED, STOCK[1], STOCK[2] + MOVED], "all of the stock, and not one more");
    for shop in shops {
        shop.cli(&["federation", "resume"]);
    }
    converged(&shops).await;
    for (shop, sold) in shops.into_iter().zip(sold) {
        let summary = shop.summary().await;
        assert_eq!((summary.vouchers_issued, summary.redemptions), (u64::from(sold), u64::from(sold)));
        assert_eq!(summary.double_redemptions, 0);
        assert_eq!(shop.cli(&["offences"]).as_array().map(Vec::len), Some(0));
    }
    // Every number of the stock was handed out once.
    let funded = market.client().await.all_vouchers("").await.unwrap();
    let ids: std::collections::BTreeSet<_> = funded.iter().map(|voucher| &voucher.id).collect();
    assert_eq!((funded.len(), ids.len()), (60, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_funder_takes_back_what_a_removed_shop_had_not_sold() {
    let street = Street::new();
    let (market, home, corner) = three_shops(&street).await;
    let promotion = publish(&market, leased(&[(&market, 1), (&home, 10)])).await;
    everywhere(&[&home, &corner], &promotion).await;
    hand_out(&home.client().await, &promotion).await;
    converged(&[&market, &home, &corner]).await;
    let home_id = home.id();
    let back = |count: &str| {
        let taken = ["promotion", "move-quota", &promotion, "--to", "market", "--count", count];
        [&taken[..], &["--reclaimed-from", &home_id]]
            .concat()
            .iter()
            .map(|s| s.to_string())
            .collect::<Vec<_>>()
    };
    let refused = |count| market.refused(&back(count).iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(refused("9"), "MEMBER_STAYS");
    market.cli(&["alliance", "remove", "home", "--reason", "moved away"]);
    assert_eq!(refused("10"), "QUOTA_USED_UP", "one is in a customer's hands");
    market.cli(&back("9").iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(sell_out(&market, &promotion).await, 10);
}
