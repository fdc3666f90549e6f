//! Records from one node to another over mutual TLS: cold, a few new ones, and none at all.

use std::time::Instant;

use hutong_wire::merchant::v1 as pb;
use serde_json::{Map, Value, json};

use super::{
    Plan, equal,
    figures::{Series, rate},
    ingest::share,
    missing,
    pair::{self, Giver, Running},
};

const LOGS: usize = 20;
const RECORDS: usize = 100_000;
const HANDOVER_RECORDS: usize = 10_000;
const MANY_RECORDS: usize = 1_000_000;
/// Joining a million records takes long.
const RUNS_OF_MANY_MAX: u32 = 3;
const NEW_RECORDS: u64 = 100;
/// A join brings some records of its own before and after the street's.
const FEW_RECORDS: u64 = 64;

pub(super) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let mut figures = Map::new();
    figures.insert("cold_100000_of_20_logs".into(), cold(plan, LOGS, RECORDS, plan.runs).await?);
    figures.insert("cold_100000_of_1_log".into(), cold(plan, 1, RECORDS, plan.runs).await?);
    if !plan.quick {
        let runs = plan.runs.min(RUNS_OF_MANY_MAX);
        figures.insert("cold_1000000_of_20_logs".into(), cold(plan, LOGS, MANY_RECORDS, runs).await?);
    }
    figures.insert("equal".into(), equal::measure(plan));
    figures.insert("missing_100_of_10_logs".into(), missing::measure()?);
    Ok(figures.into())
}

/// The task that `tests/compare` gives to others.
pub(super) async fn handover(plan: &Plan) -> anyhow::Result<Value> {
    cold(plan, 1, HANDOVER_RECORDS, plan.runs).await
}

/// What the newcomers of several runs took.
#[derive(Default)]
struct Joins {
    seconds: Series,
    rates: Series,
    memory: Series,
    journal: Series,
    views: Series,
}

async fn cold(plan: &Plan, logs: usize, count: usize, runs: u32) -> anyhow::Result<Value> {
    let giver = Giver::set_up(plan, logs, count).await?;
    let mut joins = Joins::default();
    let running = giver.start().await?;
    for _ in 0..runs {
        joins.measure(plan, &giver, &running, count).await?;
    }
    running.stop().await?;
    let wire = on_the_wire(plan, &giver, count).await?;
    Ok(json!({
        "records": count,
        "record_bytes": giver.logical_bytes / count,
        "runs": runs,
        "join_to_durable_s": joins.seconds.json(),
        "records_per_s": joins.rates.json(),
        "receiver_memory_peak_bytes": joins.memory.json(),
        "journal_times_the_records": joins.journal.json(),
        "journal_and_views_times_the_records": joins.views.json(),
        "wire": wire,
    }))
}

impl Joins {
    async fn measure(
        &mut self,
        plan: &Plan,
        giver: &Giver,
        running: &Running,
        count: usize,
    ) -> anyhow::Result<()> {
        let taker = pair::newcomer(plan).await?;
        let held = running.records().await?;
        let start = Instant::now();
        pair::join(&taker, running).await?;
        let began = taker.hold(held, FEW_RECORDS).await?;
        let end = Instant::now();
        self.seconds.push((end - start).as_secs_f64());
        self.rates.push(rate(count, end - began));
        taker.agree(running).await?;
        let status = taker.status().await?;
        let (journal, views) = status.alliances.first().map_or((0, 0), |a| (a.journal_bytes, a.views_bytes));
        self.memory.push(bytes(status.memory_bytes_peak));
        self.journal.push(share(journal, giver.logical_bytes));
        self.views.push(share(journal + views, giver.logical_bytes));
        taker.stop().await
    }
}

/// Bytes between the two, TLS and all, in a run of their own: the relay that counts them takes time.
async fn on_the_wire(plan: &Plan, giver: &Giver, count: usize) -> anyhow::Result<Value> {
    let (running, relay) = giver.start_behind_relay().await?;
    let taker = pair::newcomer(plan).await?;
    pair::join(&taker, &running).await?;
    taker.agree(&running).await?;
    let cold = relay.bytes();
    taker.client.set_federation(pb::SetFederationRequest { paused: true }).await?;
    for number in 0..NEW_RECORDS {
        let request = pb::ReportSaleRequest {
            request_id: format!("sale-{number}"),
            amount: Some(pb::Money { currency_code: "CNY".into(), minor: 3_800 }),
            ..Default::default()
        };
        running.client.report_sale(request).await?;
    }
    let held = running.records().await?;
    let start = Instant::now();
    taker.client.set_federation(pb::SetFederationRequest { paused: false }).await?;
    taker.hold(held, 0).await?;
    let took = start.elapsed();
    taker.agree(&running).await?;
    taker.stop().await?;
    running.stop().await?;
    Ok(json!({
        "cold_bytes": cold,
        "cold_times_the_records": share(cold, giver.logical_bytes),
        "cold_bytes_per_record": cold / count as u64,
        "new_records": NEW_RECORDS,
        // The dialler looks twice a second whether a link is missing.
        "new_s_from_the_line_s_return": took.as_secs_f64(),
    }))
}

/// As a figure.
#[allow(clippy::cast_precision_loss)]
const fn bytes(count: u64) -> f64 {
    count as f64
}
