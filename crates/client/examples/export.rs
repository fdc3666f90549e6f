//! An export: everything that a shop's books tell, as lines of JSON, and whether they agree with each other.
//!
//! HUTONG_REDEEMER is the node's address, HUTONG_EXPORT_TOKEN a token (scopes voucher.read, report.read, event.read);
//! HUTONG_OUT the file to write. Prints counts as JSON.

#![allow(clippy::print_stdout, reason = "an example says what it did")]

use std::{collections::BTreeMap, env, fs::File, io::Write as _, time::Duration};

use hutong_client::{Client, Token, proto};

/// The stream is read up to its end; this long without an event is one.
const QUIET: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = env::var("HUTONG_REDEEMER")?;
    let client = Client::connect(&endpoint, &Token::new(&env::var("HUTONG_EXPORT_TOKEN")?)).await?;
    let mut out = File::create(env::var("HUTONG_OUT")?)?;
    let vouchers = client.all_vouchers("").await?;
    for voucher in &vouchers {
        let line = serde_json::json!({ "voucher": voucher.id, "state": voucher.state().as_str_name() });
        writeln!(out, "{line}")?;
    }
    let redeemed = client.vouchers_where("", "state = REDEEMED").await?.len();
    let summary = client.get_summary(proto::GetSummaryRequest::default()).await?;
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut events = client.watch_on("", "0");
    while let Ok(event) = tokio::time::timeout(QUIET, events.next()).await {
        let event = event?;
        *kinds.entry(event.r#type().as_str_name()).or_default() += 1;
        let line = serde_json::json!({ "event": event.r#type().as_str_name(), "record": event.record_id });
        writeln!(out, "{line}")?;
    }
    out.sync_all()?;
    assert_eq!(
        kinds.get("EVENT_TYPE_VOUCHER_REDEEMED"),
        Some(&summary.redemptions),
        "events and counts agree"
    );
    assert_eq!(redeemed as u64, summary.redemptions, "the list and the counts agree");
    let told = serde_json::json!({
        "example": "rust/export", "vouchers": vouchers.len(), "redeemed": redeemed,
        "events": kinds.values().sum::<u64>(),
    });
    println!("{told}");
    Ok(())
}
