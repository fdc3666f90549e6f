//! What README tells a newcomer to type, from nothing to equal books.

use serde_json::Value;

use crate::harness::{Shop, Street, converged, until};

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// The only pair that a shop has.
fn pair(shop: &Shop) -> Value {
    let pairs = shop.cli(&["report", "pairs"]);
    assert_eq!(pairs.as_array().expect("a list").len(), 1, "{pairs}");
    pairs[0].clone()
}

const PROMOTION: [&str; 20] = [
    "promotion",
    "create",
    "--title",
    "买包子送茶",
    "--distributor",
    "baozi=200",
    "--redeemer",
    "teahouse",
    "--earn-spend-min",
    "30.00",
    "--amount-off",
    "8.00",
    "--budget",
    "1800.00",
    "--bounty",
    "1.00",
    "--runs-for",
    "30d",
    "--voucher-validity",
    "14d",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shops_trade_by_command_line_alone() {
    let street = Street::new();
    let (baozi, teahouse) = (street.shop("baozi").await, street.shop("teahouse").await);
    baozi.found("槐树街");
    baozi.admit(&teahouse).await;
    for shop in [&baozi, &teahouse] {
        let members = shop.cli(&["alliance", "members"]);
        let mut names: Vec<_> = members.as_array().expect("a list").iter().map(|m| text(m, "name")).collect();
        names.sort_unstable();
        assert_eq!(names, ["baozi", "teahouse"]);
    }

    let promotion = teahouse.cli(&PROMOTION)["promotion"].clone();
    until("the promotion arrives", async || {
        let promotions = baozi.cli(&["promotion", "list"]);
        promotions.as_array().expect("a list").iter().any(|p| p["id"] == promotion["id"]).then_some(())
    })
    .await;

    let sale = baozi.cli(&["sale", "report", "--amount", "38.00"]);
    assert_eq!(sale["vouchers"].as_array().expect("vouchers").len(), 1, "{sale}");
    let earned = sale["vouchers"][0].clone();
    let given = baozi.cli(&["voucher", "issue", "--promotion", "买包子送茶"])["voucher"].clone();
    assert!(baozi.cli(&["sale", "report", "--amount", "29.99"])["vouchers"].as_array().unwrap().is_empty());

    // One by its QR code, before or after its record has come; one by the typed code, which needs the record.
    let first = teahouse.cli(&["voucher", "redeem", text(&earned, "qr_text"), "--purchase", "58.00"]);
    assert_eq!(first["discount"]["minor"], 800);
    converged(&[&baozi, &teahouse]).await;
    let second = teahouse.cli(&["voucher", "redeem", text(&given, "code"), "--purchase", "20.00"]);
    assert_eq!(text(&second, "credited_id"), baozi.id());
    let again = ["voucher", "redeem", text(&given, "code"), "--purchase", "20.00"];
    assert_eq!(teahouse.refused(&again), "VOUCHER_ALREADY_REDEEMED");
    assert_eq!(baozi.refused(&["voucher", "show", "AAAA-AAAA"]), "VOUCHER_UNKNOWN");

    let digest = converged(&[&baozi, &teahouse]).await;
    assert_eq!(text(&baozi.cli(&["report", "digest"]), "public_digest"), digest.public_digest);
    assert_eq!(baozi.cli(&["report", "digest"]), teahouse.cli(&["report", "digest"]));
    let (at_baozi, at_teahouse) = (pair(&baozi), pair(&teahouse));
    assert_eq!(at_baozi["balance"]["minor"], 200);
    assert_eq!(at_teahouse["balance"]["minor"], -200);
    assert_eq!(at_baozi["state_digest"], at_teahouse["state_digest"]);
    assert_eq!((&at_baozi["customers_sent"], &at_teahouse["customers_received"]), (&2.into(), &2.into()));
    assert_eq!((&at_baozi["vouchers_given"], &at_teahouse["vouchers_received"]), (&2.into(), &2.into()));

    for shop in [&baozi, &teahouse] {
        let status = shop.cli(&["status"]);
        assert_eq!(status["alliances"][0]["links"][0]["connected"], true, "{status}");
        let doctor = shop.cli(&["doctor"]);
        assert_eq!(doctor["healthy"], true, "{doctor}");
        assert_eq!(shop.cli(&["report", "summary"])["double_redemptions"], 0);
        assert_eq!(shop.cli(&["voucher", "list"]).as_array().expect("a list").len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stopped_says_so_and_comes_back_with_all_it_had() {
    let street = Street::new();
    let mut shop = street.shop("baozi").await;
    shop.found("street");
    shop.cli(&["sale", "report", "--amount", "38.00"]);
    let before = (shop.cli(&["report", "summary"]), shop.cli(&["report", "digest"]));
    shop.stop().await;
    assert_eq!(shop.refused(&["status"]), "NODE_NOT_RUNNING");
    shop.serve().await;
    until("its books are as before", async || {
        (before == (shop.cli(&["report", "summary"]), shop.cli(&["report", "digest"]))).then_some(())
    })
    .await;
}
