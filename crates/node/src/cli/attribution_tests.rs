use std::io::Write as _;

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, answer as run_cli, problem};

const BY_HAND: &str = "path,total_conversions,total_conversion_value,total_null
C1 > C2 > C3,1,10.5,0
C1,0,0.0,1
C2 > C3,0,0.0,1
";

async fn run(csv: &str, options: &[&str]) -> anyhow::Result<Answer> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(csv.as_bytes()).unwrap();
    let command = ["hutong", "attribution", "run", "--input", file.path().to_str().unwrap()];
    run_cli(Cli::try_parse_from([&command, options].concat()).unwrap()).await
}

async fn credits(csv: &str, options: &[&str]) -> Value {
    run(csv, options).await.unwrap().json()["credits"].clone()
}

async fn error(csv: &str, options: &[&str]) -> (String, String) {
    let told = problem::json(&run(csv, options).await.unwrap_err());
    let [reason, message] = ["reason", "message"].map(|key| told["error"][key].as_str().unwrap().to_owned());
    // The file has another name each time.
    let message = message.split_once(".tmp").map_or(message.clone(), |(_, rest)| {
        rest.get(6..).unwrap_or_default().trim_start_matches([',', ' ', ':']).to_owned()
    });
    (reason, message)
}

#[tokio::test]
async fn a_chain_s_credit_by_hand() {
    let found = run(BY_HAND, &["--model", "markov"]).await.unwrap();
    let found = found.json();
    assert_eq!(found["credits"], json!({ "C1": 0.2, "C2": 0.4, "C3": 0.4 }));
    assert_eq!(found["value_credits"], json!({ "C1": 2.1, "C2": 4.2, "C3": 4.2 }));
    assert_eq!(found["removal_effects"], json!({ "C1": 0.5, "C2": 1.0, "C3": 1.0 }));
    assert_eq!(found["conversion_probability"], json!(1.0 / 3.0));
    assert_eq!((&found["order"], &found["nulls"], &found["states"]), (&json!(1), &json!(true), &json!(3)));
    let without = run(BY_HAND, &["--model", "markov", "--order", "2", "--without-null"]).await.unwrap();
    let third = 1.0 / 3.0;
    assert_eq!(without.json()["credits"], json!({ "C1": third, "C2": third, "C3": third }));
    assert_eq!(without.json()["conversion_probability"], json!(1.0));
}

#[tokio::test]
async fn each_model_is_reached_by_its_name() {
    const CSV: &str = "path,total_conversions\na > b > a > c,30\n";
    for (options, expected) in [
        (&["--model", "first"][..], [30.0, 0.0, 0.0]),
        (&["--model", "last"], [0.0, 0.0, 30.0]),
        (&["--model", "linear"], [15.0, 7.5, 7.5]),
        (&["--model", "position"], [15.0, 3.0, 12.0]),
        (&["--model", "decay"], [10.0, 4.0, 16.0]),
        (&["--model", "decay", "--half-life", "1"], [10.0, 4.0, 16.0]),
        (&["--model", "shapley"], [10.0, 10.0, 10.0]),
        (&["--model", "markov", "--with-null"], [12.0, 6.0, 12.0]),
    ] {
        let [a, b, c] = expected;
        assert_eq!(credits(CSV, options).await, json!({ "a": a, "b": b, "c": c }), "{options:?}");
    }
}

#[tokio::test]
async fn a_half_life_in_time_takes_ages() {
    let csv = "path,ages,total_conversions\na > b,14d > 0,5\nb > a,1d > 1d,2\n";
    let options = ["--model", "decay", "--half-life", "7d"];
    assert_eq!(credits(csv, &options).await, json!({ "a": 2.0, "b": 5.0 }));
    let (reason, message) = error("path,total_conversions\na,1\n", &options).await;
    assert_eq!(reason, "NO_ATTRIBUTION");
    assert!(message.contains("age of every touch"), "{message}");
}

#[tokio::test]
async fn money_is_shared_out_to_the_last_unit() {
    let csv = "path,total_conversions\na > b > c,1\n";
    let found = run(csv, &["--model", "linear", "--share-out", "1.00"]).await.unwrap();
    assert_eq!(found.json()["shares"], json!({ "a": 34, "b": 33, "c": 33 }));
    assert_eq!(found.json()["currency_code"], "CNY");
    let found = run(csv, &["--model", "last", "--share-out", "7JPY"]).await.unwrap();
    assert_eq!((&found.json()["shares"]["c"], &found.json()["currency_code"]), (&json!(7), &json!("JPY")));
    let nobody = "path,total_conversions\na,0\n";
    assert_eq!(error(nobody, &["--model", "last", "--share-out", "1"]).await.0, "NO_ATTRIBUTION");
}

#[tokio::test]
async fn files_of_other_tools_are_understood() {
    let csv = "\u{feff}total_null,path,total_conversions,note\r\n3,\"面馆 > a, b\",2.0,x\r\n";
    assert_eq!(credits(csv, &["--model", "linear"]).await, json!({ "面馆": 1.0, "a, b": 1.0 }));
    assert_eq!(credits("path,total_conversions\n", &["--model", "markov"]).await, json!({}));
}

#[tokio::test]
async fn bad_rows_are_named() {
    const HEAD: &str = "path,total_conversions,total_conversion_value,total_null\n";
    for (row, expected) in [
        (",1,1,1", "line 2: path ``: a shop's name is missing"),
        ("a > ,1,1,1", "line 2: path `a >`: a shop's name is missing"),
        ("a >  > b,1,1,1", "line 2: path `a >  > b`: a shop's name is missing"),
        ("a,-1,1,1", "line 2: total_conversions `-1`: it must not be below zero"),
        ("a,1.5,1,1", "line 2: total_conversions `1.5`: a count is a whole number"),
        ("a,,1,1", "line 2: total_conversions ``: a number is like 12 or 12.50"),
        ("a,1,x,1", "line 2: total_conversion_value `x`: a number is like 12 or 12.50"),
        ("a,1,1,inf", "line 2: total_null `inf`: a number is like 12 or 12.50"),
        ("a,1000000000001,1,1", "line 2: a path counts at most 1000000000000 conversions and as many nulls"),
    ] {
        let csv = format!("{HEAD}{row}\n");
        assert_eq!(error(&csv, &["--model", "last"]).await, ("FILE_ROW".into(), expected.into()), "{row}");
    }
    assert_eq!(error("path\na\n", &["--model", "last"]).await.0, "FILE_COLUMN");
    assert_eq!(error("path,total_conversions\na\n", &["--model", "last"]).await.0, "FILE_MALFORMED");
}

#[tokio::test]
async fn settings_of_another_model_are_wrong_usage() {
    for options in [
        &["--model", "last", "--order", "2"][..],
        &["--model", "shapley", "--without-null"],
        &["--model", "linear", "--with-null"],
        &["--model", "markov", "--half-life", "2"],
    ] {
        assert_eq!(error(BY_HAND, options).await.0, "USAGE", "{options:?}");
    }
    for options in [["--order", "0"], ["--order", "17"], ["--half-life", "0"], ["--half-life", "0d"]] {
        let command = ["hutong", "attribution", "run", "--model", "markov", "--input", "-"];
        assert!(Cli::try_parse_from([&command[..], &options].concat()).is_err(), "{options:?}");
    }
}

#[tokio::test]
async fn people_get_a_table() {
    let answer = run(BY_HAND, &["--model", "markov"]).await.unwrap();
    let text = answer.text();
    assert!(text.contains("C2") && text.contains("0.4000") && text.contains("0.333333333333"), "{text}");
}
