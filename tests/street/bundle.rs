//! Records carried by hand: a file does what a line does.

use std::path::{Path, PathBuf};

use hutong_node::bundle::{Entry, Reader, Writer};
use serde_json::{Value, json};

use crate::{
    harness::{Shop, Street, converged},
    trade::{hand_out, redemption, sale, two_shops},
};

fn export(shop: &Shop, street: &Street, name: &str) -> (PathBuf, Value) {
    let file = street.path().join(name);
    let told = shop.cli(&["bundle", "export", "--output", file.to_str().unwrap()]);
    (file, told)
}

fn import(shop: &Shop, file: &Path) -> Value {
    shop.cli(&["bundle", "import", file.to_str().unwrap()])
}

fn refusal(shop: &Shop, file: &Path) -> Value {
    let refused = shop.try_cli(&["bundle", "import", file.to_str().unwrap()]);
    refused.expect_err("it is refused")["error"].take()
}

/// Sales, and vouchers handed out.
async fn trade(shop: &Shop, promotion: &str, rounds: usize) -> Vec<String> {
    let client = shop.client().await;
    let mut vouchers = Vec::new();
    for _ in 0..rounds {
        client.report_sale(sale(1_000)).await.expect("a sale");
        vouchers.push(hand_out(&client, promotion).await.qr_text);
    }
    vouchers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_without_a_line_comes_to_the_same_state_by_a_file() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 100).await;
    converged(&[&baozi, &teahouse]).await;
    teahouse.cli(&["federation", "pause"]);
    trade(&baozi, &promotion, 10).await;
    let (older, first) = export(&baozi, &street, "older.bundle");
    // A member that the shop without a line has never heard of, with records of its own.
    let corner = street.shop("corner").await;
    baozi.admit(&corner).await;
    for _ in 0..5 {
        corner.client().await.report_sale(sale(700)).await.expect("a sale");
    }
    let vouchers = trade(&baozi, &promotion, 10).await;
    let by_line = converged(&[&baozi, &corner]).await;
    assert_ne!(teahouse.digest().await, by_line);

    let (newer, second) = export(&baozi, &street, "newer.bundle");
    assert!(second["records"].as_u64() > first["records"].as_u64());
    let came = import(&teahouse, &newer);
    assert!(came["new"].as_u64().unwrap() > 40, "{came}");
    assert_eq!(came["refused"].as_array().unwrap().len(), 0, "{came}");
    let records = second["records"].as_u64().unwrap();
    assert_eq!(came["new"].as_u64().unwrap() + came["known"].as_u64().unwrap(), records);
    assert_eq!(teahouse.digest().await, by_line, "a file does what a line does");

    // Again, and an older file after a newer one: nothing changes.
    for (file, records) in [(&newer, &second["records"]), (&older, &first["records"])] {
        let again = import(&teahouse, file);
        assert_eq!((&again["new"], &again["known"]), (&0.into(), records), "{again}");
        assert_eq!(teahouse.digest().await, by_line);
    }

    // What came by the file is as good as what comes by a line, and goes back the same way.
    teahouse.client().await.redeem_voucher(redemption(&vouchers[0])).await.expect("it is known here");
    let (back, _) = export(&teahouse, &street, "back.bundle");
    assert!(import(&baozi, &back)["new"].as_u64().unwrap() > 0);
    assert_eq!(baozi.summary().await.vouchers_used, 1);
    teahouse.cli(&["federation", "resume"]);
    converged(&[&baozi, &teahouse, &corner]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_at_fault_is_refused_by_name_and_nothing_is_lost() {
    let street = Street::new();
    let (baozi, mut teahouse, promotion) = two_shops(&street, 100).await;
    converged(&[&baozi, &teahouse]).await;
    teahouse.cli(&["federation", "pause"]);
    trade(&baozi, &promotion, 10).await;
    let (whole, told) = export(&baozi, &street, "whole.bundle");
    let bytes = std::fs::read(&whole).unwrap();
    assert_eq!(told["bytes"], bytes.len());
    let before = teahouse.digest().await;
    let spoiled = |name: &str, bytes: &[u8]| {
        let file = street.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        file
    };

    // Nothing of what is no bundle of ours is taken.
    let newer = [b"hutong bundle v2\n", &bytes[17..]].concat();
    let endless = [&bytes[..17], &[0xff; 4], &bytes[21..]].concat();
    for (name, bytes, reason) in [
        ("text", &b"not one"[..], "BUNDLE_INVALID"),
        ("version", &newer, "BUNDLE_VERSION"),
        ("length", &endless, "BUNDLE_DAMAGED"),
        ("title", &bytes[..17], "BUNDLE_TRUNCATED"),
    ] {
        assert_eq!(refusal(&teahouse, &spoiled(name, bytes))["reason"], reason, "{name}");
        assert_eq!(teahouse.digest().await, before, "{name}");
    }
    assert!(teahouse.try_cli(&["bundle", "import", spoiled("empty", b"").to_str().unwrap()]).is_err());
    let stranger = street.shop("stranger").await;
    stranger.found("another street");
    assert_eq!(refusal(&stranger, &whole)["reason"], "ALLIANCE_UNKNOWN");

    // What lies before a fault is kept, and the whole file brings the rest.
    let cut = refusal(&teahouse, &spoiled("cut", &bytes[..bytes.len() - 5]));
    assert_eq!(cut["reason"], "BUNDLE_TRUNCATED", "{cut}");
    assert_eq!(teahouse.digest().await, baozi.digest().await, "only the end was missing: {cut}");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    assert_eq!(refusal(&teahouse, &spoiled("flipped", &flipped))["reason"], "BUNDLE_DAMAGED");
    // What was taken in is durable.
    teahouse.kill().await;
    teahouse.serve().await;
    teahouse.cli(&["federation", "pause"]);
    assert_eq!(import(&teahouse, &whole)["refused"].as_array().unwrap().len(), 0);
    converged(&[&baozi, &teahouse]).await;

    // No file is written over.
    let again = baozi.try_cli(&["bundle", "export", "--output", whole.to_str().unwrap()]);
    assert!(again.is_err());
    assert_eq!(std::fs::read(&whole).unwrap(), bytes);
}

/// The same file with its runs changed, and so written anew: its checksums hold.
fn forged(bytes: &[u8], mut change: impl FnMut(usize, &mut Vec<hutong_record::proto::Record>)) -> Vec<u8> {
    let mut reader = Reader::default();
    reader.push(bytes);
    let Ok(Some(Entry::Begin { alliance, digest })) = reader.next_entry() else { panic!("a beginning") };
    let (mut writer, mut bytes) = Writer::begin(alliance, digest);
    let mut place = 0;
    while let Some(Entry::Runs { shop, runs }) = reader.next_entry().expect("whole") {
        for mut run in runs {
            change(place, &mut run);
            bytes.extend(writer.run(shop, run).expect("it fits"));
            place += 1;
        }
    }
    bytes.extend(writer.end());
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_do_not_hold_are_counted_by_the_rung_that_refused_them() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 100).await;
    converged(&[&baozi, &teahouse]).await;
    teahouse.cli(&["federation", "pause"]);
    let before = teahouse.digest().await;
    trade(&baozi, &promotion, 5).await;
    let (whole, _) = export(&baozi, &street, "whole.bundle");
    let bytes = std::fs::read(&whole).unwrap();
    let file = street.path().join("forged.bundle");
    let try_import = |bytes: Vec<u8>| {
        std::fs::write(&file, bytes).unwrap();
        teahouse.told(&["bundle", "import", file.to_str().unwrap()])
    };

    // The first run is the founder's whole log. Its last signature covers it.
    let mut records = 0;
    let flipped = forged(&bytes, |place, run| {
        if place == 0 {
            records = run.len();
            let last = run.last_mut().expect("a record");
            let mut signature = last.signature.to_vec();
            signature[0] ^= 1;
            last.signature = signature.into();
        }
    });
    let (whole_taken, told) = try_import(flipped);
    assert!(!whole_taken, "it ends with 1, and still tells what came of it");
    assert_eq!(told["refused"], json!([{ "reason": "RUN", "records": records }]), "{told}");
    assert_eq!((&told["new"], teahouse.digest().await), (&0.into(), before.clone()));

    let held = usize::try_from(teahouse.link_to(&baozi).await.record_count).unwrap();
    let late = forged(&bytes, |place, run| {
        if place == 0 {
            run.drain(..=held);
        }
    });
    let (_, told) = try_import(late);
    let refused = json!([{ "reason": "GAP", "records": records - held - 1 }]);
    assert_eq!((&told["refused"], teahouse.digest().await), (&refused, before), "{told}");

    assert_eq!(import(&teahouse, &whole)["refused"], json!([]));
    assert_eq!(teahouse.digest().await, baozi.digest().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_disk_s_bundle_holds_what_can_be_read_and_says_so() {
    let street = Street::new();
    let (baozi, mut teahouse, promotion) = two_shops(&street, 100).await;
    trade(&baozi, &promotion, 20).await;
    converged(&[&baozi, &teahouse]).await;
    let (_, whole) = export(&teahouse, &street, "whole.bundle");
    // Nobody may heal it meanwhile.
    baozi.cli(&["federation", "pause"]);
    teahouse.stop().await;
    let journal = std::fs::read_dir(teahouse.alliance_folder().join("journal")).unwrap();
    let segment =
        journal.map(|entry| entry.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "seg"));
    let segment = segment.expect("a segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("it is not empty");
    bytes[used / 2] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    teahouse.serve().await;

    let file = street.path().join("rest.bundle");
    let (is_whole, told) = teahouse.told(&["bundle", "export", "--output", file.to_str().unwrap()]);
    assert!(!is_whole, "it ends with 1: {told}");
    assert!(told["damaged_logs"].as_u64() >= Some(1), "{told}");
    let records = told["records"].as_u64();
    assert!(Some(0) < records && records < whole["records"].as_u64(), "{told}");
    let taken = import(&baozi, &file);
    assert_eq!(
        (&taken["known"], &taken["new"], &taken["refused"]),
        (&told["records"], &json!(0), &json!([]))
    );
}
