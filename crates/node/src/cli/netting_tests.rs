use std::io::Write as _;

use clap::Parser as _;
use serde_json::Value;

use super::*;
use crate::cli::{Cli, answer as run_cli, problem};

const CIRCLE: &str = "debtor,creditor,amount\n面馆,水果店,500\n水果店,茶馆,300\n茶馆,面馆,700\n";

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

async fn run(csv: &str) -> anyhow::Result<Answer> {
    let file = file(csv);
    let command = ["hutong", "netting", "run", "--input", file.path().to_str().unwrap()];
    run_cli(Cli::try_parse_from(command).unwrap()).await
}

async fn verify(csv: &str, result: &str) -> Result<Value, Value> {
    let (csv, result) = (file(csv), file(result));
    let [csv, result] = [&csv, &result].map(|file| file.path().to_str().unwrap());
    let command = ["hutong", "netting", "verify", "--input", csv, "--result", result];
    match run_cli(Cli::try_parse_from(command).unwrap()).await {
        Ok(answer) => Ok(answer.json().clone()),
        Err(error) => Err(problem::json(&error)["error"].clone()),
    }
}

#[tokio::test]
async fn a_circle_is_cancelled_and_the_rest_is_told() {
    let answer = run(CIRCLE).await.unwrap();
    let expected = json!({
        "total": 1_500,
        "cleared": 900,
        "remainder": 600,
        "obligations": [
            { "debtor": "面馆", "creditor": "水果店", "amount": 200 },
            { "debtor": "茶馆", "creditor": "面馆", "amount": 400 },
        ],
    });
    assert_eq!(answer.json(), &expected);
    let text = answer.text();
    assert!(text.contains("水果店") && text.contains("900"), "{text}");
}

#[tokio::test]
async fn bad_debts_are_named_by_their_line() {
    for (row, expected) in [
        ("a,b,0", "line 3: an amount is 0: it must be above zero"),
        ("a,b,-7", "line 3: an amount is -7: it must be above zero"),
        ("a,b,1000000000000001", "line 3: an amount is 1000000000000001: more than 10^15 minor units"),
        ("a,a,5", "line 3: a shop owes itself"),
        ("a,b,1.50", "line 3: amount `1.50`: an amount is a whole number of minor units"),
        (
            "a,b,99999999999999999999",
            "line 3: amount `99999999999999999999`: an amount is a whole number of minor units",
        ),
        (",b,5", "line 3: debtor ``: a shop's name is missing"),
        ("a,,5", "line 3: creditor ``: a shop's name is missing"),
        ("a,b", "line 3: there are 2 fields, and 3 columns"),
    ] {
        let error = run(&format!("debtor,creditor,amount\na,b,1\n{row}\n")).await.unwrap_err();
        let told = problem::json(&error);
        assert!(told["error"]["message"].as_str().unwrap().ends_with(expected), "{told}");
        assert!(told["error"]["reason"].as_str().unwrap().starts_with("FILE_"), "{told}");
    }
    let error = run("debtor,amount\na,1\n").await.unwrap_err();
    assert_eq!(problem::json(&error)["error"]["reason"], "FILE_COLUMN");
    let rows = "a,b,1000000000000000\n".repeat(9_224);
    let error = run(&format!("debtor,creditor,amount\n{rows}")).await.unwrap_err();
    assert_eq!(problem::json(&error)["error"]["reason"], "NO_NETTING");
}

#[tokio::test]
async fn anybody_can_check_a_result() {
    let right = run(CIRCLE).await.unwrap().json().to_string();
    assert_eq!(verify(CIRCLE, &right).await.unwrap()["verified"], true);
    let nothing = json!({
        "total": 1_500, "cleared": 0, "remainder": 1_500,
        "obligations": [
            { "debtor": "面馆", "creditor": "水果店", "amount": 500 },
            { "debtor": "水果店", "creditor": "茶馆", "amount": 300 },
            { "debtor": "茶馆", "creditor": "面馆", "amount": 700 },
        ],
    });
    let error = verify(CIRCLE, &nothing.to_string()).await.unwrap_err();
    assert_eq!(error["reason"], "NETTING_WRONG");
    assert!(error["message"].as_str().unwrap().contains("more could have been cancelled"), "{error}");
    let error = verify(CIRCLE, &right.replace("200", "201")).await.unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("net position"), "{error}");
    assert_eq!(verify(CIRCLE, "{").await.unwrap_err()["reason"], "FILE_MALFORMED");
}

const CHAIN: &str = "debtor,creditor,amount\n面馆,水果店,500\n水果店,茶馆,300\n";

async fn with_lines(lines: &str) -> anyhow::Result<Answer> {
    let (csv, lines) = (file(CHAIN), file(lines));
    let [csv, lines] = [&csv, &lines].map(|file| file.path().to_str().unwrap());
    let command = ["hutong", "netting", "run", "--input", csv, "--lines", lines];
    run_cli(Cli::try_parse_from(command).unwrap()).await
}

#[tokio::test]
async fn a_credit_line_takes_the_shop_between_out() {
    let answer = with_lines("creditor,debtor,limit,note\n茶馆,面馆,200,老客户\n").await.unwrap();
    let expected = json!({
        "total": 800,
        "cleared": 400,
        "remainder": 400,
        "obligations": [
            { "debtor": "面馆", "creditor": "水果店", "amount": 300 },
            { "debtor": "水果店", "creditor": "茶馆", "amount": 100 },
        ],
        "drawn": 200,
        "new_debts": [{ "debtor": "面馆", "creditor": "茶馆", "amount": 200 }],
    });
    assert_eq!(answer.json(), &expected);
    assert!(
        answer.text().contains("by credit lines") && answer.text().contains("drawn"),
        "{}",
        answer.text()
    );
    let none = with_lines("creditor,debtor,limit\n").await.unwrap();
    assert_eq!((&none.json()["cleared"], &none.json()["new_debts"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn bad_lines_are_named_by_their_line() {
    for (row, expected) in [
        ("a,b,0", "line 3: a limit is 0: it must be above zero"),
        ("a,b,1000000000000001", "line 3: a limit is 1000000000000001: more than 10^15 minor units"),
        ("a,a,5", "line 3: a credit line is between two shops"),
        ("c,d,6", "line 3: there is a credit line of this creditor for this debtor already"),
        ("a,b,5.0", "line 3: limit `5.0`: an amount is a whole number of minor units"),
        ("a,,5", "line 3: debtor ``: a shop's name is missing"),
    ] {
        let error = with_lines(&format!("creditor,debtor,limit\nc,d,1\n{row}\n")).await.unwrap_err();
        let told = problem::json(&error);
        assert!(told["error"]["message"].as_str().unwrap().ends_with(expected), "{told}");
        assert_eq!(told["error"]["reason"], "FILE_ROW");
    }
    let error = with_lines("creditor,debtor,amount\na,b,1\n").await.unwrap_err();
    assert_eq!(problem::json(&error)["error"]["reason"], "FILE_COLUMN");
}

#[tokio::test]
async fn a_result_by_lines_is_checked_against_them() {
    let lines = "creditor,debtor,limit\n茶馆,面馆,200\n";
    let (csv, result) = (file(CHAIN), file(&with_lines(lines).await.unwrap().json().to_string()));
    let (lines, less) = (file(lines), file("creditor,debtor,limit\n茶馆,面馆,199\n"));
    let [csv, result, lines, less] =
        [&csv, &result, &lines, &less].map(|file| file.path().to_str().unwrap().to_owned());
    assert_eq!(verify_files(&csv, Some(&lines), &result).unwrap().json()["drawn"], 200);
    for lines in [Some(less.as_str()), None] {
        let error = verify_files(&csv, lines, &result).unwrap_err().to_string();
        assert!(error.contains("more than its credit line"), "{error}");
    }
}
