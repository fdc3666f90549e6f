//! Federation: records pass on through whom they can, and wait for whom they must.

use std::path::Path;

use hutong_client::proto::MemberState;

use crate::{
    harness::{Reach, Shop, Street, converged, until},
    trade::{BOUNTY_MINOR, DISCOUNT_MINOR, arrived, hand_out, publish, redemption, sale, terms, two_shops},
};

/// baozi and teahouse can be reached by nobody, so they never speak to each other; market can be reached by both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shops_that_never_meet_trade_through_a_third() {
    let street = Street::new();
    let market = street.shop("market").await;
    let (mut baozi, mut teahouse) =
        (street.init("baozi", Reach::DialsOut), street.init("teahouse", Reach::DialsOut));
    baozi.serve().await;
    teahouse.serve().await;
    market.found("street");
    market.admit(&baozi).await;
    market.admit(&teahouse).await;
    converged(&[&market, &baozi, &teahouse]).await;

    let promotion = publish(&baozi, terms(&baozi, &teahouse, 10)).await;
    arrived(&teahouse, &promotion).await;
    let voucher = hand_out(&baozi.client().await, &promotion).await;
    converged(&[&market, &baozi, &teahouse]).await;
    // From here on the two are not even up at the same time: what passes, market has kept.
    baozi.stop().await;
    let typed = teahouse.client().await.redeem_voucher(redemption(&voucher.code)).await.unwrap();
    assert_eq!(typed.discount.unwrap().minor, DISCOUNT_MINOR);
    converged(&[&market, &teahouse]).await;
    let (met_baozi, at_teahouse) =
        (teahouse.link_to(&baozi).await, teahouse.client().await.all_pairs("").await.unwrap());
    assert!(met_baozi.last_heard_time.is_none() && !met_baozi.connected, "{met_baozi:?}");
    teahouse.stop().await;

    baozi.serve().await;
    until("the redemption arrives", async || (baozi.summary().await.vouchers_used == 1).then_some(())).await;
    let pair = |pairs: Vec<hutong_client::proto::Pair>, ally: String| {
        pairs.into_iter().find(|pair| pair.ally_id == ally).unwrap()
    };
    let at_baozi = pair(baozi.client().await.all_pairs("").await.unwrap(), teahouse.id());
    let at_teahouse = pair(at_teahouse, baozi.id());
    // baozi funds its own promotion: what it owes for the discount it owes to teahouse, and no bounty to itself.
    let (owed, owes) = (at_teahouse.balance.unwrap().minor, at_baozi.balance.unwrap().minor);
    assert_eq!((owed, owes), (DISCOUNT_MINOR, -DISCOUNT_MINOR));
    assert_eq!(at_baozi.state_digest, at_teahouse.state_digest);
    assert!(baozi.link_to(&teahouse).await.last_heard_time.is_none());
}

/// A shop moves: its own record says where it is now, and spreads like all records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_changes_is_heard_by_all() {
    let street = Street::new();
    let (mut market, mut home) = (street.shop("market").await, street.init("home", Reach::DialsOut));
    let mut baozi = street.shop("baozi").await;
    home.serve().await;
    market.found("street");
    market.admit(&baozi).await;
    market.admit(&home).await;
    let told_at_home = || {
        let members = home.cli(&["alliance", "members"]);
        let baozi = members.as_array().unwrap().iter().find(|member| member["name"] == "baozi").cloned();
        baozi.map(|member| member["addresses"][0].as_str().unwrap_or_default().to_owned())
    };
    until("the first address is heard", async || (told_at_home()? == baozi.peer().to_string()).then_some(()))
        .await;
    baozi.stop().await;
    let moved = street.init("moved", Reach::Open).peer().to_string();
    let mut serve = baozi.serve_command();
    serve.env("HUTONG_PEER__LISTEN", &moved);
    baozi.serve_as(serve).await;
    until("the new address is heard", async || (told_at_home()? == moved).then_some(())).await;
    // Where nobody else is left to link to.
    market.stop().await;
    until("it is dialled there", async || home.link_to(&baozi).await.connected.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_shop_redeems_on_its_own_and_catches_up_when_resumed() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 10).await;
    teahouse.connected(&baozi).await;
    assert_eq!(teahouse.cli(&["federation", "pause"])["paused"], true);
    until("the links are cut", async || {
        let up = teahouse.link_to(&baozi).await.connected || baozi.link_to(&teahouse).await.connected;
        (!up).then_some(())
    })
    .await;

    let voucher = hand_out(&baozi.client().await, &promotion).await;
    let till = teahouse.client().await;
    // The typed code is a look-up, and its record has not come; the QR code says it all.
    let typed = till.redeem_voucher(redemption(&voucher.code)).await.unwrap_err();
    assert_eq!(typed.reason(), Some("VOUCHER_UNKNOWN"));
    till.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap();
    assert_eq!(baozi.summary().await.vouchers_used, 0);
    assert!(teahouse.cli(&["status"])["federation_paused"].as_bool().unwrap());

    assert_eq!(teahouse.cli(&["federation", "resume"])["paused"], false);
    converged(&[&baozi, &teahouse]).await;
    assert_eq!(baozi.summary().await.vouchers_used, 1);
    let owed = baozi.client().await.all_pairs("").await.unwrap()[0].balance.clone().unwrap().minor;
    assert_eq!(owed, BOUNTY_MINOR);
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            std::fs::copy(&path, &copied).unwrap();
        }
    }
}

/// Sets a shop's folder back to an earlier copy of it.
fn set_back(shop: &Shop, backup: &Path) {
    std::fs::remove_dir_all(shop.folder()).unwrap();
    copy(backup, shop.folder());
}

fn signing_doubt(shop: &Shop) -> String {
    shop.cli(&["status"])["alliances"][0]["signing_doubt"].as_str().unwrap().to_owned()
}

/// LOG-1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_set_back_to_an_old_backup_signs_only_after_a_peer_has_told_how_far_its_log_goes() {
    let street = Street::new();
    let (mut baozi, mut teahouse, _) = two_shops(&street, 10).await;
    baozi.stop().await;
    let backup = street.path().join("backup");
    copy(baozi.folder(), &backup);
    baozi.serve().await;
    for _ in 0..5 {
        baozi.client().await.report_sale(sale(1)).await.unwrap();
    }
    let before = converged(&[&baozi, &teahouse]).await;
    baozi.stop().await;
    teahouse.stop().await;
    set_back(&baozi, &backup);
    baozi.serve().await;
    assert_eq!(signing_doubt(&baozi), "MOVED");
    for _ in 0..2 {
        assert_eq!(baozi.refused(&["sale", "report", "--amount", "1.00"]), "HEAD_UNCONFIRMED");
    }
    teahouse.serve().await;
    until("the log is confirmed", async || signing_doubt(&baozi).is_empty().then_some(())).await;
    let after = converged(&[&baozi, &teahouse]).await;
    assert_eq!(after.record_count, before.record_count + 1, "that it goes on, in a new incarnation");
    assert_eq!(after.public_digest, before.public_digest);
    assert_eq!(baozi.summary().await.sales, 5);
    baozi.client().await.report_sale(sale(1)).await.expect("it goes on from there");
    converged(&[&baozi, &teahouse]).await;
    assert_eq!(baozi.summary().await.sales, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_without_a_line_trades_after_an_ordinary_restart() {
    let street = Street::new();
    let (mut baozi, mut teahouse, promotion) = two_shops(&street, 10).await;
    let voucher = hand_out(&baozi.client().await, &promotion).await;
    baozi.stop().await;
    for round in 0..2 {
        if round == 0 {
            teahouse.stop().await
        } else {
            teahouse.kill().await
        }
        teahouse.serve().await;
    }
    // The first command waits until the node has asked in vain.
    teahouse.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap();
    assert_eq!(signing_doubt(&teahouse), "");
    baozi.serve().await;
    converged(&[&baozi, &teahouse]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_on_copies_of_one_folder_one_stops_and_the_log_does_not_fork() {
    let street = Street::new();
    let (mut baozi, teahouse, _) = two_shops(&street, 10).await;
    baozi.stop().await;
    let mut clone = street.twin(&baozi, "clone");
    copy(baozi.folder(), clone.folder());
    baozi.serve().await;
    baozi.client().await.report_sale(sale(1)).await.unwrap();
    teahouse.connected(&baozi).await;
    let mut elsewhere = clone.serve_command();
    elsewhere.env("HUTONG_PEER__LISTEN", "0.0.0.0:0");
    clone.serve_as(elsewhere).await;
    // The clone takes over the link, goes on in a new incarnation, and the first one hears of it when it is back.
    until("the clone is confirmed", async || signing_doubt(&clone).is_empty().then_some(())).await;
    until("the first one stops", async || (signing_doubt(&baozi) == "SHARED").then_some(())).await;
    assert_eq!(baozi.refused(&["sale", "report", "--amount", "1.00"]), "HEAD_UNCONFIRMED");
    clone.client().await.report_sale(sale(1)).await.unwrap();
    baozi.stop().await;
    converged(&[&clone, &teahouse]).await;
    let members = teahouse.client().await.all_members("").await.unwrap();
    assert!(members.iter().all(|member| member.state() == MemberState::Member), "{members:?}");
}
