//! Backups and total loss: the shop comes back, with its keys and its log, and does not fork it.

use std::fs;

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
    // And it is refused where a node is, with a wrong passphrase, and when damaged.
    baozi.try_cli(&["restore", "--backup", file, "--passphrase-file", words]).unwrap_err();
    assert!(!sealed.windows(14).any(|bytes| bytes == b"hutong-shop-ke"), "keys are not in clear");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recovery_phrase_alone_brings_a_shop_back_from_its_peers() {
    let street = Street::new();
    let (mut baozi, teahouse, promotion) = two_shops(&street, 10).await;
    for _ in 0..3 {
        baozi.client().await.report_sale(sale(1)).await.unwrap();
    }
    let voucher = hand_out(&baozi.client().await, &promotion).await;
    let before = converged(&[&baozi, &teahouse]).await;
    let sales = baozi.summary().await.sales;
    let id = baozi.id();
    baozi.kill().await;
    fs::remove_dir_all(baozi.folder()).unwrap();

    let words = street.path().join("words");
    let words = words.to_str().unwrap();
    let link = teahouse.cli(&["alliance", "invite"])["link"].as_str().unwrap().to_owned();
    let listen = baozi.peer().to_string();
    let restore = |phrase: &str| {
        fs::write(words, phrase).unwrap();
        baozi.try_cli(&[
            "restore",
            "--phrase-file",
            words,
            "--link",
            &link,
            "--name",
            "baozi",
            "--peer-listen",
            &listen,
            "--merchant-listen",
            "127.0.0.1:0",
        ])
    };
    // The words of another shop, which is no member, bring nothing.
    let stranger = street.init("stranger", Reach::DialsOut);
    restore(stranger.phrase()).unwrap_err();
    assert!(!baozi.folder().join("shop.key").exists());
    assert_eq!(restore(baozi.phrase()).unwrap()["shop_id"], id);
    baozi.serve().await;
    until("the log is confirmed", async || {
        let status = baozi.cli(&["status"]);
        let alliance = &status["alliances"][0];
        (alliance["signing_doubt"] == "" && alliance["links"] != serde_json::json!([])).then_some(())
    })
    .await;
    let after = converged(&[&baozi, &teahouse]).await;
    assert_eq!(after.public_digest, before.public_digest);
    assert_eq!(baozi.summary().await.sales, sales, "its own sealed records are readable again");
    teahouse.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap();
    baozi.client().await.report_sale(sale(1)).await.unwrap();
    converged(&[&baozi, &teahouse]).await;
}
