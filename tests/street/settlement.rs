//! What is owed is agreed, netted around the circle and paid, over the wire.

use hutong_client::{Timestamp, proto, random_request_id};
use hutong_node::clock;
use proto::StatementState as State;

use crate::{
    harness::{Shop, Street, until},
    trade::{BOUNTY_MINOR, arrived, hand_out, publish, reason, redemption, terms, two_shops},
};

/// This very millisecond, after all that was done so far.
fn end() -> Timestamp {
    let ms = clock::now().ms();
    let nanos = i32::try_from(ms % 1_000).expect("below a thousand") * 1_000_000;
    Timestamp { seconds: ms / 1_000, nanos }
}

/// What the ally owes the shop, as the shop's node says.
async fn balance(shop: &Shop, ally: &Shop) -> i64 {
    let pairs = shop.client().await.all_pairs("").await.expect("pairs");
    let pair = pairs.into_iter().find(|pair| pair.ally_id == ally.id()).expect("the pair");
    pair.balance.expect("a balance").minor
}

async fn statement(shop: &Shop, ally: &Shop, number: u32) -> proto::Statement {
    let request = proto::GetStatementRequest { ally_id: ally.id(), number, ..Default::default() };
    shop.client().await.get_statement(request).await.expect("told").statement.expect("a statement")
}

/// The first shop proposes a statement up to a moment, the second one signs it, too.
async fn agree(one: &Shop, other: &Shop, period_end_time: Timestamp) -> proto::Statement {
    let request = proto::SignStatementRequest {
        ally_id: other.id(),
        period_end_time: Some(period_end_time),
        ..Default::default()
    };
    let signed = one.client().await.sign_statement(request).await.expect("signed").statement.expect("it");
    let number = signed.number;
    until("the ally has what the statement covers, and signs", async || {
        // Before it has come, there may be nothing to tell: the charter's latest period was agreed on.
        let request = proto::GetStatementRequest { ally_id: one.id(), number, ..Default::default() };
        let told = other.client().await.get_statement(request).await.ok()?.statement?;
        (told.state() == State::Offered).then_some(())?;
        let request = proto::SignStatementRequest { ally_id: one.id(), ..Default::default() };
        other.client().await.sign_statement(request).await.ok()
    })
    .await;
    until("both know that they agree", async || {
        let told = statement(one, other, number).await;
        (told.state() == State::Agreed).then_some(told)
    })
    .await
}

/// `funder` comes to owe `distributor` a bounty.
async fn owe(funder: &Shop, distributor: &Shop) {
    let promotion = publish(funder, terms(distributor, funder, 5)).await;
    arrived(distributor, &promotion).await;
    let voucher = hand_out(&distributor.client().await, &promotion).await;
    funder.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.expect("redeemed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shops_agree_and_pay() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 5).await;
    let voucher = hand_out(&baozi.client().await, &promotion).await;
    let client = teahouse.client().await;
    client.redeem_voucher(redemption(&voucher.qr_text)).await.expect("redeemed");
    until("the receipt arrives", async || (balance(&baozi, &teahouse).await == BOUNTY_MINOR).then_some(()))
        .await;
    let book = |client: hutong_client::Client, ally_id: String| async move {
        let request = proto::ListBookLinesRequest { ally_id, ..Default::default() };
        client.list_book_lines(request).await.expect("a book").lines
    };
    let lines = book(baozi.client().await, teahouse.id()).await;
    assert_eq!(lines, book(teahouse.client().await, baozi.id()).await, "the same on both sides");
    assert_eq!((lines.len(), lines[0].r#type()), (1, proto::BookLineType::Bounty));

    let told = agree(&baozi, &teahouse, end()).await;
    assert_eq!((told.closing.expect("it").minor, told.line_count), (BOUNTY_MINOR, 1));
    let theirs = statement(&teahouse, &baozi, 1).await;
    assert_eq!((theirs.closing.expect("it").minor, theirs.digest), (-BOUNTY_MINOR, told.digest));
    let request = proto::CompareStatementRequest { ally_id: baozi.id(), number: 1, ..Default::default() };
    assert!(client.compare_statement(request).await.expect("compared").equal);

    let paid = teahouse.cli(&["settlement", "pay", "baozi", "--amount", "1.00", "--reference", "BANK-1"]);
    let payment_id = paid["payment_id"].as_str().expect("an id").to_owned();
    let confirm = until("the payment arrives, and is confirmed", async || {
        baozi.try_cli(&["settlement", "confirm", &payment_id]).ok()
    })
    .await;
    assert!(confirm["record_id"].is_string());
    assert_eq!(balance(&baozi, &teahouse).await, 0);
    until("the payer books it, too", async || (balance(&teahouse, &baozi).await == 0).then_some(())).await;
    let listed = teahouse.cli(&["settlement", "payments"]);
    assert_eq!(
        (listed[0]["state"].as_str(), listed[0]["reference"].as_str()),
        (Some("confirmed"), Some("BANK-1"))
    );
    let second = agree(&teahouse, &baozi, end()).await;
    assert_eq!((second.number, second.closing.expect("it").minor), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_disputed_and_a_limit_stops_hand_outs() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 5).await;
    let (giver, redeemer) = (baozi.client().await, teahouse.client().await);
    let limit = baozi.cli(&[
        "settlement",
        "exposure",
        "set",
        "--ally",
        "teahouse",
        "--warn",
        "0.20",
        "--stop",
        "0.50",
    ]);
    assert_eq!(limit[0]["state"], "within");
    let voucher = hand_out(&giver, &promotion).await;
    let receipt = redeemer.redeem_voucher(redemption(&voucher.qr_text)).await.expect("redeemed");
    until("the funder owes too much", async || (balance(&baozi, &teahouse).await > 50).then_some(())).await;
    let refused = giver.issue_voucher(crate::trade::issue(&promotion)).await.expect_err("stopped");
    assert_eq!(reason(&refused), "EXPOSURE_STOP");
    let shown = baozi.cli(&["settlement", "exposure", "list"]);
    assert!(shown.as_array().expect("a list").iter().any(|one| one["state"] == "stopped"), "{shown}");
    // The warning is an event of its own, once.
    let watch = proto::WatchRequest { resume_token: "0".to_owned(), ..Default::default() };
    let mut events = giver.watch(watch).await.expect("a stream");
    let mut seen = Vec::new();
    while seen.last() != Some(&proto::EventType::ExposureWarning) {
        seen.push(events.message().await.expect("no error").expect("no end").r#type());
    }
    assert!(seen.contains(&proto::EventType::SettlementSetting), "the limit itself: {seen:?}");

    let dispute = proto::RespondToReceiptRequest {
        request_id: random_request_id(),
        receipt_id: receipt.redemption_id.clone(),
        answer: proto::ReceiptAnswer::Dispute.into(),
        reason: proto::DisputeReason::Credit.into(),
        text: "not our customer".to_owned(),
        ..Default::default()
    };
    let first = giver.respond_to_receipt(dispute.clone()).await.expect("on record");
    assert_eq!(giver.respond_to_receipt(dispute).await.expect("the same"), first);
    until("the dispute arrives", async || {
        let book = teahouse.cli(&["settlement", "book", "baozi"]);
        (book[0]["disputed"] == true).then_some(())
    })
    .await;
    let told = agree(&teahouse, &baozi, end()).await;
    assert_eq!((told.closing.expect("it").minor, told.disputed.expect("it").minor), (0, -BOUNTY_MINOR));
    teahouse.cli(&["settlement", "concede", &receipt.redemption_id]);
    until("nothing is owed", async || (balance(&baozi, &teahouse).await == 0).then_some(())).await;
    hand_out(&giver, &promotion).await;
    assert_eq!(baozi.refused(&["settlement", "withdraw", &"00".repeat(32)]), "REDEMPTION_UNKNOWN");
}

/// Each debtor comes to owe its creditor a bounty, and all of it is agreed and disclosed.
async fn owe_and_disclose(debts: &[(&Shop, &Shop)]) {
    for (funder, distributor) in debts {
        owe(funder, distributor).await;
        until("the receipt arrives", async || {
            (balance(distributor, funder).await == BOUNTY_MINOR).then_some(())
        })
        .await;
    }
    let period = end();
    for (debtor, creditor) in debts {
        agree(debtor, creditor, period).await;
        debtor.cli(&["settlement", "publish", creditor.name()]);
        until("the creditor knows that it is agreed", async || {
            creditor.try_cli(&["settlement", "publish", debtor.name()]).ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credit_line_takes_the_shop_between_out() {
    let street = Street::new();
    let shops = [street.shop("baozi").await, street.shop("teahouse").await, street.shop("florist").await];
    let [baozi, teahouse, florist] = &shops;
    baozi.found("street");
    baozi.admit(teahouse).await;
    baozi.admit(florist).await;
    owe_and_disclose(&[(teahouse, baozi), (baozi, florist)]).await;
    let line = |shop: &Shop, rest: &[&str]| shop.try_cli(&[&["settlement", "line"], rest].concat());

    assert_eq!(teahouse.refused(&["settlement", "line", "accept", "florist"]), "LINE_UNKNOWN");
    florist.cli(&["settlement", "exposure", "set", "--ally", "teahouse", "--stop", "0.50"]);
    let offer = ["settlement", "line", "offer", "teahouse", "--limit", "0.60"];
    assert_eq!(florist.refused(&offer), "LINE_OVER_LIMIT");
    florist.cli(&["settlement", "exposure", "set", "--ally", "teahouse", "--stop", "0.60"]);
    let offered = florist.cli(&offer);
    assert_eq!((&offered["offered"]["minor"], &offered["available"]["minor"]), (&60.into(), &0.into()));
    let accepted = until("the offer arrives", async || line(teahouse, &["accept", "florist"]).ok()).await;
    assert_eq!(accepted["available"]["minor"], 60);
    for shop in [teahouse, florist] {
        shop.cli(&["settlement", "net", "auto", "on"]);
    }
    let run =
        until("line and balances arrive", async || baozi.try_cli(&["settlement", "net", "propose"]).ok());
    let run = run.await;
    assert_eq!((&run["cleared"]["minor"], &run["drawn"]["minor"]), (&120.into(), &60.into()));
    for (debtor, creditor, left) in [(teahouse, baozi, 40), (baozi, florist, 40), (teahouse, florist, 60)] {
        until("it is booked", async || (balance(creditor, debtor).await == left).then_some(())).await;
        until("on both sides", async || (balance(debtor, creditor).await == -left).then_some(())).await;
    }
    let id = run["id"].as_str().expect("an id");
    for (shop, ally) in [(teahouse, "florist"), (florist, "teahouse")] {
        let book = shop.cli(&["settlement", "book", ally]);
        assert_eq!(
            (book[0]["type"].as_str(), book[0]["record_id"].as_str()),
            (Some("credit_line"), Some(id))
        );
    }
    let file = |name: &str| street.path().join(name).to_str().expect("a path").to_owned();
    let (debts, lines, result) = (file("debts.csv"), file("lines.csv"), file("netting.json"));
    let export = ["settlement", "net", "export", id, "--debts", &debts, "--result", &result];
    assert_eq!(florist.refused(&export), "USAGE");
    florist.cli(&[&export[..], &["--lines", &lines]].concat());
    let verified =
        florist.cli(&["netting", "verify", "--input", &debts, "--lines", &lines, "--result", &result]);
    assert_eq!(verified["drawn"], 60);
    let told = agree(florist, teahouse, end()).await;
    assert_eq!((told.closing.expect("it").minor, told.line_count), (60, 1));

    line(florist, &["withdraw", "teahouse"]).expect("withdrawn");
    let listed = line(florist, &["list", "--own"]).expect("listed");
    assert_eq!(
        (&listed[0]["offered"], &listed[0]["available"]["minor"]),
        (&serde_json::Value::Null, &0.into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_of_debts_is_netted_to_nothing() {
    let street = Street::new();
    let shops = [street.shop("baozi").await, street.shop("teahouse").await, street.shop("florist").await];
    let [baozi, teahouse, florist] = &shops;
    baozi.found("street");
    baozi.admit(teahouse).await;
    baozi.admit(florist).await;
    let circle = [(teahouse, baozi), (florist, teahouse), (baozi, florist)];
    owe_and_disclose(&circle).await;
    for shop in [teahouse, florist] {
        shop.cli(&["settlement", "net", "auto", "on"]);
    }
    let run =
        until("all balances are disclosed", async || baozi.try_cli(&["settlement", "net", "propose"]).ok())
            .await;
    assert_eq!(
        (run["total"]["minor"].as_i64(), run["remainder"]["minor"].as_i64()),
        (Some(3 * BOUNTY_MINOR), Some(0))
    );
    let id = run["id"].as_str().expect("an id");
    for (debtor, creditor) in circle {
        for (shop, ally) in [(debtor, creditor), (creditor, debtor)] {
            until("nothing is owed", async || (balance(shop, ally).await == 0).then_some(())).await;
        }
    }
    let shown = florist.cli(&["settlement", "net", "show", id]);
    assert_eq!(shown["in_effect"], true);
    let (debts, result) = (street.path().join("debts.csv"), street.path().join("netting.json"));
    let (debts, result) = (debts.to_str().expect("a path"), result.to_str().expect("a path"));
    florist.cli(&["settlement", "net", "export", id, "--debts", debts, "--result", result]);
    let verified = florist.cli(&["netting", "verify", "--input", debts, "--result", result]);
    assert_eq!(verified["cleared"].as_i64(), Some(3 * BOUNTY_MINOR));
}
