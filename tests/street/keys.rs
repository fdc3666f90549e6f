//! A shop goes over to new keys while it runs: allies that are there hear of it, those that were off learn it when they
//! come back, and the phrase alone brings the shop back after that.

use std::{fs, sync::Arc};

use hutong_node::transport::{Connections, Credential, DialError, Dialer, KnownShop, Tcp};
use hutong_record::SigningKey;
use serde_json::Value;

use crate::{
    federation::copy,
    harness::{Shop, Street, converged, soon, until},
    peer::dial,
    trade::{hand_out, redemption, sale, two_shops},
};

fn signing_doubt(shop: &Shop) -> String {
    shop.cli(&["status"])["alliances"][0]["signing_doubt"].as_str().unwrap().to_owned()
}

/// `hutong key rotate` with the shop's own words.
fn rotate(street: &Street, shop: &Shop) -> Value {
    let words = street.path().join("words of a shop");
    fs::write(&words, shop.phrase()).unwrap();
    let told = shop.cli(&["key", "rotate", "--phrase-file", words.to_str().unwrap()]);
    fs::remove_file(words).unwrap();
    told
}

/// Waits until a shop knows the key epoch of another one.
async fn knows_epoch(shop: &Shop, of: &Shop, epoch: u32) {
    let what = format!("{} knows epoch {epoch} of {}", shop.name(), of.name());
    until(&what, async || (shop.link_to(of).await.key_epoch == epoch).then_some(())).await;
}

/// Waits until a key is not let in any more.
async fn refused(key: impl Fn() -> SigningKey, at: &Shop) {
    until("the old key is refused", async || {
        matches!(dial(key(), at).await, Err(DialError::Refused)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_shop_goes_over_to_new_keys_and_an_ally_that_was_off_learns_it_from_the_shop_itself() {
    let street = Street::new();
    let (mut baozi, mut teahouse, promotion) = two_shops(&street, 20).await;
    let mut noodles = street.shop("noodles").await;
    baozi.admit(&noodles).await;
    noodles.connected(&teahouse).await;
    let before = hand_out(&baozi.client().await, &promotion).await;
    converged(&[&baozi, &teahouse, &noodles]).await;
    noodles.stop().await;

    let told = rotate(&street, &teahouse);
    assert_eq!((&told["key_epoch"], &told["running"]), (&1.into(), &true.into()));
    assert_eq!(told["alliances"][0]["key_epoch"], 1);
    knows_epoch(&baozi, &teahouse, 1).await;
    refused(|| teahouse.secrets().signing, &baozi).await;
    baozi.connected(&teahouse).await;
    let told = rotate(&street, &baozi);
    assert_eq!(told["key_epoch"], 1);
    knows_epoch(&teahouse, &baozi, 1).await;
    baozi.connected(&teahouse).await;

    // Trade goes on: vouchers of both keys are good.
    let after = hand_out(&baozi.client().await, &promotion).await;
    converged(&[&baozi, &teahouse]).await;
    for voucher in [&before, &after] {
        teahouse.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap();
    }
    converged(&[&baozi, &teahouse]).await;

    // Noodles knows the first keys alone, and meets nobody but the teahouse.
    baozi.stop().await;
    noodles.serve().await;
    knows_epoch(&noodles, &teahouse, 1).await;
    noodles.connected(&teahouse).await;
    refused(|| teahouse.secrets().signing, &noodles).await;
    baozi.serve().await;
    converged(&[&baozi, &teahouse, &noodles]).await;
    knows_epoch(&noodles, &baozi, 1).await;

    // And after a restart.
    teahouse.stop().await;
    teahouse.serve().await;
    teahouse.client().await.report_sale(sale(1)).await.unwrap();
    converged(&[&baozi, &teahouse, &noodles]).await;
    let status = teahouse.cli(&["status"]);
    assert_eq!((&status["key_epoch"], &status["alliances"][0]["key_epoch"]), (&1.into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_laid_while_the_node_is_off_count_from_its_next_start_and_another_phrase_lays_none() {
    let street = Street::new();
    let (baozi, mut teahouse, _) = two_shops(&street, 5).await;
    teahouse.stop().await;
    let words = street.path().join("other words");
    fs::write(&words, baozi.phrase()).unwrap();
    teahouse.try_cli(&["key", "rotate", "--phrase-file", words.to_str().unwrap()]).unwrap_err();
    fs::write(&words, "one two three").unwrap();
    teahouse.try_cli(&["key", "rotate", "--phrase-file", words.to_str().unwrap()]).unwrap_err();
    assert!(teahouse.secrets().later.is_empty());
    let told = rotate(&street, &teahouse);
    assert_eq!((&told["key_epoch"], &told["running"]), (&1.into(), &false.into()));
    teahouse.serve().await;
    knows_epoch(&baozi, &teahouse, 1).await;
    baozi.connected(&teahouse).await;
    converged(&[&baozi, &teahouse]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_s_new_key_is_not_taken_for_a_member_s() {
    let street = Street::new();
    let (baozi, _teahouse, _) = two_shops(&street, 5).await;
    let stranger = street.shop("stranger").await;
    rotate(&street, &stranger);
    let keys = stranger.secrets().later.remove(0);
    let credential = Credential::new(Arc::new(stranger.secrets().signing));
    credential.renew(keys.signing, &keys.succession);
    let dialer = Dialer::new(credential.clone(), Connections::new());
    let known = KnownShop::new(baozi.secrets().identity);
    let address = Tcp::to(&baozi.peer().to_string());
    let outcome = soon("the port answers", dialer.dial(known, address.clone())).await;
    assert!(matches!(outcome, Err(DialError::Refused)), "{outcome:?}");
    // Nor is the shop at the other end taken for another one that rotated.
    let outcome =
        soon("the port answers", dialer.dial(KnownShop::new(stranger.secrets().identity), address)).await;
    assert!(matches!(outcome, Err(DialError::OtherKey)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_phrase_alone_brings_a_shop_back_after_it_has_rotated_its_keys_twice() {
    let street = Street::new();
    let (baozi, mut teahouse, promotion) = two_shops(&street, 10).await;
    for epoch in [1, 2] {
        let voucher = hand_out(&baozi.client().await, &promotion).await;
        converged(&[&baozi, &teahouse]).await;
        teahouse.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap();
        assert_eq!(rotate(&street, &teahouse)["key_epoch"], epoch);
        knows_epoch(&baozi, &teahouse, epoch).await;
    }
    teahouse.client().await.report_sale(sale(1)).await.unwrap();
    converged(&[&baozi, &teahouse]).await;
    let (summary, id) = (teahouse.summary().await, teahouse.id());
    teahouse.kill().await;
    fs::remove_dir_all(teahouse.folder()).unwrap();

    let (words, listen) = (street.path().join("words"), teahouse.peer().to_string());
    fs::write(&words, teahouse.phrase()).unwrap();
    let link = baozi.cli(&["alliance", "invite"])["link"].as_str().unwrap().to_owned();
    let phrase = ["restore", "--phrase-file", words.to_str().unwrap(), "--link", &link];
    let ports = ["--name", "teahouse", "--peer-listen", &listen, "--merchant-listen", "127.0.0.1:0"];
    let restored = teahouse.cli(&[&phrase[..], &ports[..]].concat());
    assert_eq!(restored["shop_id"], id);
    assert_eq!(teahouse.secrets().later.len(), 2, "the keys of both later epochs");
    teahouse.serve().await;
    until("the log is confirmed", async || signing_doubt(&teahouse).is_empty().then_some(())).await;
    converged(&[&baozi, &teahouse]).await;
    assert_eq!(teahouse.summary().await, summary, "what was sealed to any of its keys is read");
    teahouse.client().await.report_sale(sale(1)).await.unwrap();
    converged(&[&baozi, &teahouse]).await;
    assert_eq!(teahouse.cli(&["status"])["alliances"][0]["key_epoch"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_from_before_the_rotation_needs_the_phrase_once_more() {
    let street = Street::new();
    let (baozi, mut teahouse, _) = two_shops(&street, 5).await;
    let (file, words) = (street.path().join("teahouse.age"), street.path().join("passphrase"));
    fs::write(&words, "a passphrase that is long enough\n").unwrap();
    let (file, words) = (file.to_str().unwrap(), words.to_str().unwrap());
    teahouse.cli(&["backup", "--output", file, "--passphrase-file", words]);
    rotate(&street, &teahouse);
    teahouse.client().await.report_sale(sale(1)).await.unwrap();
    knows_epoch(&baozi, &teahouse, 1).await;
    converged(&[&baozi, &teahouse]).await;
    teahouse.kill().await;
    fs::remove_dir_all(teahouse.folder()).unwrap();
    teahouse.cli(&["restore", "--backup", file, "--passphrase-file", words]);
    rotate(&street, &teahouse);
    teahouse.serve().await;
    until("the log is confirmed", async || signing_doubt(&teahouse).is_empty().then_some(())).await;
    converged(&[&baozi, &teahouse]).await;
    assert_eq!(teahouse.summary().await.sales, 1, "what it had sealed to its new key is read");
    assert_eq!(teahouse.cli(&["status"])["alliances"][0]["key_epoch"], 1, "and it rotated no second time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_copied_the_key_file_is_cut_off_by_the_phrase_and_what_it_signed_counts_nowhere() {
    let street = Street::new();
    let (baozi, mut teahouse, _) = two_shops(&street, 5).await;
    teahouse.client().await.report_sale(sale(1)).await.unwrap();
    teahouse.stop().await;
    let mut thief = street.twin(&teahouse, "thief");
    copy(teahouse.folder(), thief.folder());
    teahouse.serve().await;
    teahouse.client().await.report_sale(sale(1)).await.unwrap();
    converged(&[&baozi, &teahouse]).await;
    // At night the thief has the line for itself.
    teahouse.stop().await;
    let mut elsewhere = thief.serve_command();
    elsewhere.env("HUTONG_PEER__LISTEN", "0.0.0.0:0");
    thief.serve_as(elsewhere).await;
    until("the thief signs", async || signing_doubt(&thief).is_empty().then_some(())).await;
    for _ in 0..3 {
        thief.client().await.report_sale(sale(1)).await.unwrap();
    }
    converged(&[&baozi, &thief]).await;
    thief.stop().await;
    teahouse.serve().await;
    until("the shop may sign", async || signing_doubt(&teahouse).is_empty().then_some(())).await;
    converged(&[&baozi, &teahouse]).await;

    let words = street.path().join("words of the shop");
    fs::write(&words, teahouse.phrase()).unwrap();
    let yes = ["key", "override", "--phrase-file", words.to_str().unwrap(), "--yes"];
    let plan = teahouse.cli(&["key", "override"]);
    assert_eq!((&plan["overridden"], &plan["alliances"][0]["cut_off_count"]), (&false.into(), &0.into()));
    let records = plan["alliances"][0]["records"].as_array().unwrap();
    let own = records.iter().rfind(|record| record["incarnation"] == 0).unwrap();
    let after = own["sequence"].to_string();
    let plan = teahouse.cli(&["key", "override", "--after", &after]);
    assert!(plan["alliances"][0]["cut_off_count"].as_u64().unwrap() >= 4, "{plan}");
    assert_eq!(teahouse.refused(&["key", "override", "--after", "9999"]), "OVERRIDE_PLACE_UNKNOWN");

    let told = teahouse.cli(&[&yes[..], &["--after", &after]].concat());
    assert_eq!((&told["overridden"], &told["key_epoch"]), (&true.into(), &1.into()));
    assert_eq!(signing_doubt(&teahouse), "");
    knows_epoch(&baozi, &teahouse, 1).await;
    refused(|| teahouse.secrets().signing, &baozi).await;
    teahouse.client().await.report_sale(sale(1)).await.unwrap();
    converged(&[&baozi, &teahouse]).await;
    assert_eq!(teahouse.summary().await.sales, 3, "its own, and none of the thief's");
    teahouse.stop().await;
    teahouse.serve().await;
    teahouse.client().await.report_sale(sale(1)).await.unwrap();
    converged(&[&baozi, &teahouse]).await;
    assert_eq!(teahouse.summary().await.sales, 4);
}
