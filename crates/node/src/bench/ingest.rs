//! A peer's records on their way in: the ladder, the journal, one fdatasync a group, the views. From 1 log and from 20.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::{
    Plan,
    figures::{Series, rate, round},
    machine,
    street::{Content, Street, logical_bytes},
};
use crate::alliance::AllianceFolder;

const LOGS: [usize; 2] = [1, 20];
const RECORDS: usize = 100_000;
/// Sealing costs 60 microseconds a record, so there are fewer.
const SEALED_RECORDS: usize = 20_000;

pub(super) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let mut figures = Map::new();
    for logs in LOGS {
        let measured = records(plan, logs, Content::Public, RECORDS).await?;
        figures.insert(format!("logs_{logs}"), measured);
    }
    let sealed = records(plan, LOGS[1], Content::Sealed, SEALED_RECORDS).await?;
    figures.insert(format!("logs_{}_sealed_to_others", LOGS[1]), sealed);
    figures.insert("memory_peak_bytes".into(), json!(machine::memory_peak_bytes()));
    Ok(figures.into())
}

/// Takes so many records in, into a new ledger each time.
pub(super) async fn records(
    plan: &Plan,
    logs: usize,
    content: Content,
    count: usize,
) -> anyhow::Result<Value> {
    let (mut rates, mut journal, mut views) = (Series::default(), Series::default(), Series::default());
    let mut logical = 0;
    for _ in 0..plan.runs {
        let mut street = Street::new(logs)?;
        let folder = AllianceFolder::new(plan.home.folder("ingest")?);
        let mut ledger = street.found(&folder).await?;
        let jobs = street.write(content, count)?;
        logical = logical_bytes(&jobs);
        let before = ledger.hosted.bytes_on_disk();
        let start = Instant::now();
        let taken = ledger.take_in(jobs).await?;
        rates.push(rate(taken, start.elapsed()));
        let after = ledger.hosted.bytes_on_disk();
        journal.push(share(after.0 - before.0, logical));
        views.push(share((after.0 + after.1).saturating_sub(before.0 + before.1), logical));
        ledger.close().await;
    }
    Ok(json!({
        "records": count,
        "record_bytes": logical / count,
        "records_per_s": rates.json(),
        "journal_times_the_records": journal.json(),
        "journal_and_views_times_the_records": views.json(),
    }))
}

/// One number of bytes as a multiple of another.
#[allow(clippy::cast_precision_loss)]
pub(super) fn share(bytes: u64, of: usize) -> f64 {
    round(bytes as f64 / of as f64)
}
