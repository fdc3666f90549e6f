//! Backups and total loss: the shop comes back, with its keys and its log, and does not fork it.

use std::fs;

use hutong_client::{Client, Token, proto::GetStatusRequest};

use crate::{
    harness::{Reach, Shop, Street, converged, until},
    trade::{hand_out, redemption, sale, two_shops},
};

fn signing_doubt(shop: &Shop) -> String {
    shop.cli(&["status"])["alliances"][0]["signing_doubt"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_node_brings_the_shop_back_on_an_empty_disk() {
    let street = Street::new();
    let (mut baozi, teahouse, _) = two_shops(&street, 10).await;
    let (file, words) = (street.path().join("baozi.age"), street.path().join("passphrase"));
    fs::write(&words, "a passphrase that is long enough\n").unwrap();
    let (file, words) = (file.to_str().unwrap(), words.to_str().unwrap());
    for _ in 0..3 {
        baozi.client().await.report_sale(sale(1)).await.unwrap();
    }
    let app = baozi.cli(&["token", "create", "--name", "till", "--scope", "node.read"]);
    let webhook =
        baozi.cli(&["webhook", "add", "--url", "http://127.0.0.1:9/", "--event", "voucher_redeemed"]);
    let written = baozi.cli(&["backup", "--output", file, "--passphrase-file", words]);
    assert_eq!(written["alliances"], 1);
    let sealed = fs::read(file).unwrap();
    let id = baozi.id();
    // What comes after the backup comes back from the peer.
    baozi.client().await.report_sale(sale(1)).await.unwrap();
    converged(&[&baozi, &teahouse]).await;
    baozi.kill().await;
    fs::remove_dir_all(baozi.folder()).unwrap();
    let restored = baozi.cli(&["restore", "--backup", file, "--passphrase-file", words]);
    assert_eq!((&restored["files"], &restored["bytes"]), (&written["files"], &written["bytes"]));
    assert_eq!(baozi.id(), id);
    baozi.serve().await;
    until("the log is confirmed", async || signing_doubt(&baozi).is_empty().then_some(())).await;
    converged(&[&baozi, &teahouse]).await;
    assert_eq!(baozi.summary().await.sales, 4);
    baozi.client().await.report_sale(sale(1)).await.unwrap();
    converged(&[&baozi, &teahouse]).await;
    assert_eq!(baozi.summary().await.sales, 5);
    // Apps go on with the tokens and webhooks that they had.
    let (endpoint, token) =
        (format!("http://{}", baozi.merchant()), Token::new(app["secret"].as_str().unwrap()));
    let till = Client::connect(&endpoint, &token).await.unwrap();
    till.get_status(GetStatusRequest {}).await.expect("the till's token holds");
    let listed = baozi.cli(&["webhook", "list"]);
    assert_eq!((&listed[0]["id"], &listed[0]["last_error"]), (&webhook["id"], &"".into()));
    // And it is refused where a node is, with a wrong passphrase, and when damaged.
    baozi.try_cli(&["restore", "--backup", file, "--passphrase-file", words]).unwrap_err();
    assert!(!sealed.windows(14).any(|bytes| bytes == b"hutong-shop-ke"), "keys are not in clear");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recovery_phrase_alone_brings_a_shop_back_from_its_peers() {
    let street = Street::new();
    let (baozi, mut teahouse, promotion) = two_shops(&street, 10).await;
    for _ in 0..3 {
        teahouse.client().await.report_sale(sale(1)).await.unwrap();
    }
    let vouchers = [
        hand_out(&baozi.client().await, &promotion).await,
        hand_out(&baozi.client().await, &promotion).await,
    ];
    teahouse.client().await.redeem_voucher(redemption(&vouchers[0].qr_text)).await.unwrap();
    let before = converged(&[&baozi, &teahouse]).await;
    let (summary, id) = (teahouse.summary().await, teahouse.id());
    teahouse.kill().await;
    fs::remove_dir_all(teahouse.folder()).unwrap();

    let words = street.path().join("words");
    let words = words.to_str().unwrap();
    let link = baozi.cli(&["alliance", "invite"])["link"].as_str().unwrap().to_owned();
    let with_link = converged_alone(&baozi).await;
    let listen = teahouse.peer().to_string();
    let restore = |phrase: &str| {
        fs::write(words, phrase).unwrap();
        teahouse.try_cli(&[
            "restore",
            "--phrase-file",
            words,
            "--link",
            &link,
            "--name",
            "teahouse",
            "--peer-listen",
            &listen,
            "--merchant-listen",
            "127.0.0.1:0",
        ])
    };
    // The words of another shop, which is no member, bring nothing.
    let stranger = street.init("stranger", Reach::DialsOut);
    restore(stranger.phrase()).unwrap_err();
    assert!(!teahouse.folder().join("shop.key").exists());
    assert_eq!(restore(teahouse.phrase()).unwrap()["shop_id"], id);
    teahouse.serve().await;
    until("the log is confirmed", async || signing_doubt(&teahouse).is_empty().then_some(())).await;
    let after = converged(&[&baozi, &teahouse]).await;
    assert_eq!(after.public_digest, before.public_digest);
    assert_eq!(after.record_count, with_link + 1, "that it goes on");
    assert_eq!(teahouse.summary().await, summary, "its own sealed records are readable again");
    // What it had redeemed is not redeemed again.
    let till = teahouse.client().await;
    let again = till.redeem_voucher(redemption(&vouchers[0].qr_text)).await.unwrap_err();
    assert_eq!(again.reason(), Some("VOUCHER_ALREADY_REDEEMED"));
    // What a record that nobody has may have used is not used, before somebody vouches for it.
    let doubted = till.redeem_voucher(redemption(&vouchers[1].qr_text)).await.unwrap_err();
    assert_eq!(doubted.reason(), Some("RECORDS_MAY_BE_LOST"));
    let in_doubt = |shop: &Shop| shop.cli(&["status"])["alliances"][0]["doubtful_until_time"].is_string();
    assert!(in_doubt(&teahouse));
    teahouse.cli(&["restore", "--nothing-lost"]);
    assert!(!in_doubt(&teahouse));
    assert_eq!(teahouse.refused(&["restore", "--nothing-lost"]), "NOTHING_IN_DOUBT");
    till.redeem_voucher(redemption(&vouchers[1].qr_text)).await.unwrap();
    converged(&[&baozi, &teahouse]).await;
}

/// How many records a shop holds.
async fn converged_alone(shop: &Shop) -> u64 {
    converged(&[shop]).await.record_count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_founder_on_a_copy_signs_once_the_operator_says_that_it_counts() {
    let street = Street::new();
    let mut baozi = street.shop("baozi").await;
    baozi.found("street");
    baozi.cli(&["sale", "report", "--amount", "1.00"]);
    baozi.try_cli(&["restore", "--this-copy"]).unwrap_err(); // it runs
    baozi.stop().await;
    let seat = baozi.alliance_folder().join("seat");
    fs::remove_file(seat).unwrap();
    baozi.serve().await;
    assert_eq!(baozi.refused(&["sale", "report", "--amount", "1.00"]), "HEAD_UNCONFIRMED");
    baozi.stop().await;
    assert_eq!(baozi.cli(&["restore", "--this-copy"])["alliances"], 1);
    baozi.serve().await;
    baozi.cli(&["sale", "report", "--amount", "1.00"]);
    assert_eq!(baozi.summary().await.sales, 2);
    baozi.stop().await;
    baozi.serve().await;
    baozi.cli(&["sale", "report", "--amount", "1.00"]);
}
