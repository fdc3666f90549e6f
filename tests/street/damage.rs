//! Folders that are not as the node left them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use crate::{
    harness::{Shop, Street, converged, until},
    trade::{EARN_MINOR, hand_out, redemption, sale, two_shops},
};

const SALES: usize = 40;
const DAMAGES: u64 = 12;
const FLIPS_MAX: usize = 24;

/// All that a shop can be asked.
pub(crate) fn answers(shop: &Shop) -> Vec<Value> {
    let asked: [&[&str]; 6] = [
        &["report", "digest"],
        &["report", "summary"],
        &["report", "pairs"],
        &["alliance", "members"],
        &["promotion", "list"],
        &["voucher", "list", "--limit", "1000"],
    ];
    asked.iter().map(|arguments| shop.cli(arguments)).collect()
}

/// Two shops with some trade between them.
pub(crate) async fn traded(street: &Street) -> (Shop, Shop) {
    let (baozi, teahouse, promotion) = two_shops(street, 1_000).await;
    let (giver, till) = (baozi.client().await, teahouse.client().await);
    for _ in 0..SALES {
        giver.report_sale(sale(EARN_MINOR)).await.unwrap();
        let voucher = hand_out(&giver, &promotion).await;
        till.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap();
    }
    converged(&[&baozi, &teahouse]).await;
    (baozi, teahouse)
}

pub(crate) async fn answers_again(shop: &Shop, before: &[Value]) {
    until("the answers are as before", async || (answers(shop) == before).then_some(())).await;
}

/// Flips bytes here and there in sled's files.
fn flip(folder: &Path, rng: &mut StdRng) {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0).collect();
    files.sort_unstable();
    for _ in 0..rng.random_range(1..=FLIPS_MAX) {
        let file = &files[rng.random_range(0..files.len())];
        let mut bytes = fs::read(file).unwrap();
        // Most of a file that was laid out ahead is empty: half of the flips go where something is.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let within = if rng.random_bool(0.5) { used } else { bytes.len() };
        bytes[rng.random_range(0..within)] ^= 1 << rng.random_range(0..8);
        fs::write(file, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_views_are_folded_anew_from_the_journal() {
    let street = Street::new();
    let (_baozi, mut teahouse) = traded(&street).await;
    let before = answers(&teahouse);
    teahouse.stop().await;
    fs::remove_dir_all(teahouse.alliance_folder().join("views")).unwrap();
    teahouse.serve().await;
    answers_again(&teahouse, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_views_never_show_in_an_answer() {
    let street = Street::new();
    let (_baozi, mut teahouse) = traded(&street).await;
    let before = answers(&teahouse);
    for seed in 0..DAMAGES {
        println!("seed {seed}");
        // Both ways of ending leave other things in the files.
        if seed % 2 == 0 {
            teahouse.stop().await
        } else {
            teahouse.kill().await
        }
        flip(&teahouse.alliance_folder().join("views"), &mut StdRng::seed_from_u64(seed));
        teahouse.serve().await;
        answers_again(&teahouse, &before).await;
    }
    // And it still trades.
    let voucher = teahouse.client().await.all_vouchers("").await.unwrap().remove(0);
    assert_eq!(
        teahouse.refused(&["voucher", "redeem", &voucher.id, "--purchase", "1.00"]),
        "VOUCHER_UNKNOWN"
    );
    teahouse.client().await.report_sale(sale(1)).await.expect("it trades");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_others_can_read_is_not_used() {
    let street = Street::new();
    let mut shop = street.shop("baozi").await;
    shop.stop().await;
    for (file, mode) in [("shop.key", 0o644), ("merchant.token", 0o640), ("shop.key", 0o602)] {
        let path = shop.folder().join(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let said = shop.refuses_to_serve().await;
        assert!(said.contains(file) && said.contains("chmod 600"), "{said}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    shop.serve().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_on_one_folder_is_refused_and_harms_nothing() {
    let street = Street::new();
    let shop = street.shop("baozi").await;
    shop.found("street");
    let said = shop.refuses_to_serve().await;
    assert!(said.contains("in use by another"), "{said}");
    shop.cli(&["sale", "report", "--amount", "1.00"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_do_not_exist_are_named() {
    let street = Street::new();
    let mut shop = street.shop("baozi").await;
    shop.stop().await;
    let file = shop.folder().join("hutong.toml");
    let good = fs::read_to_string(&file).unwrap();
    let cases = [
        (good.replace("[peer]", "[peer]\nlisten_adress = \"0.0.0.0:1\""), "listen_adress"),
        (format!("{good}\n[prices]\nbun = 2\n"), "prices"),
        (good.replace("views_cache_bytes = ", "views_cache_bytes = 1 # "), "storage.views_cache_bytes"),
        (good.replace("[shop]", "[shop"), "hutong.toml"),
    ];
    for (settings, named) in cases {
        fs::write(&file, settings).unwrap();
        let said = shop.refuses_to_serve().await;
        assert!(said.contains(named), "{named}: {said}");
    }
    fs::write(&file, good).unwrap();
    shop.serve().await;
}
