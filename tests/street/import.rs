//! Importing a till's file: what is in it is reported once, whatever happens between.

use serde_json::Value;

use crate::{
    harness::{Shop, Street},
    trade::{now, two_shops},
};

const MAPPING: &str = "source = \"till-2\"\ntime = { column = \"time\" }\namount = { column = \"paid\" }\n\
                       reference = { column = \"no\" }\n";
const ROWS: usize = 300;

/// Today's sales, one a minute back from now, and their line numbers.
fn csv(rows: usize) -> String {
    let stamp = |row: usize| time(now().seconds - 60 - i64::try_from(row).unwrap());
    let lines: String =
        (0..rows).map(|row| format!("{},{}.50,A-{row}\n", stamp(row), 10 + row % 7)).collect();
    format!("time,paid,no\n{lines}")
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

fn import(shop: &Shop, csv: &str, more: &[&str]) -> (bool, Value) {
    let (input, mapping) = (shop.folder().join("sales.csv"), shop.folder().join("mapping.toml"));
    std::fs::write(&input, csv).unwrap();
    std::fs::write(&mapping, MAPPING).unwrap();
    let (input, mapping) = (input.to_str().unwrap(), mapping.to_str().unwrap());
    shop.told(&[&["sale", "import", "--input", input, "--mapping", mapping], more].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_imported_again_reports_nothing_twice() {
    let street = Street::new();
    let (mut shop, _teahouse, _) = two_shops(&street, 10).await;
    let file = csv(ROWS);
    let (whole, tried) = import(&shop, &file, &["--dry-run"]);
    assert!(whole);
    assert_eq!((&tried["accepted"], shop.summary().await.sales), (&ROWS.into(), 0));
    let (_, first) = import(&shop, &file, &[]);
    assert_eq!(first["accepted"], ROWS);
    shop.kill().await;
    shop.serve().await;
    // Again, and a file that overlaps it.
    assert_eq!(import(&shop, &file, &[]).1["accepted"], ROWS);
    let more = format!("{file}{},5.00,B-1\n", time(now().seconds - 5));
    assert_eq!(import(&shop, &more, &[]).1["accepted"], ROWS + 1);
    assert_eq!(shop.summary().await.sales, ROWS as u64 + 1);
    let cents: usize = (0..ROWS).map(|row| (10 + row % 7) * 100 + 50).sum();
    assert_eq!(shop.summary().await.sales_amount.unwrap().minor, cents as i64 + 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_rows_are_told_by_line_and_reason_and_the_others_count() {
    let street = Street::new();
    let (shop, _teahouse, _) = two_shops(&street, 10).await;
    let at = time(now().seconds - 60);
    let old = time(now().seconds - 40 * 86_400);
    let file = format!(
        "time,paid,no\n{at},1.00,A\nnever,1.00,B\n{at},0,C\n{at},1.00,A\n{old},1.00,D\n\n{at},2.00,\n"
    );
    let (whole, told) = import(&shop, &file, &[]);
    assert!(!whole, "it ends with 1, and still prints what came of it");
    let refused = told["refused"].as_array().unwrap();
    let lines: Vec<_> =
        refused.iter().map(|r| (r["line"].as_u64().unwrap(), r["reason"].as_str().unwrap())).collect();
    let expected = [
        (3, "ROW_TIME"),
        (4, "ROW_AMOUNT"),
        (5, "ROW_REFERENCE_TWICE"),
        (6, "TIME_TOO_OLD"),
        (8, "ROW_REFERENCE_MISSING"),
    ];
    assert_eq!(lines, expected);
    assert_eq!((&told["rows"], &told["accepted"], shop.summary().await.sales), (&6.into(), &1.into(), 1));
    // The same reference with another amount is another sale under an old name.
    let changed = format!("time,paid,no\n{at},9.00,A\n");
    let (_, told) = import(&shop, &changed, &[]);
    assert_eq!(told["refused"][0]["reason"], "REQUEST_ID_REUSED");
    assert_eq!(shop.summary().await.sales, 1);
}
