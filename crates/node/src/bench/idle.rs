//! A node of the largest alliance that has nothing to do: memory, and what its links say all the same. And how long a
//! node takes to open on a million records.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{
    Plan,
    figures::{Series, round},
    pair::{self, Giver},
    relay::Relay,
};

/// The largest alliance, but for the two nodes that run.
const OTHERS: usize = 498;
/// Links that a node keeps.
const LINKS: u64 = 6;
/// How long the link is listened to; keep-alive speaks three times a minute.
const LISTEN: Duration = Duration::from_secs(60);
/// After a join the two still have things to say.
const SETTLE: Duration = Duration::from_secs(3);
const DAY: Duration = Duration::from_secs(86_400);
const RECORDS: usize = 1_000_000;
const RECORDS_QUICK: usize = 100_000;

pub(super) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let records = if plan.quick { RECORDS_QUICK } else { RECORDS };
    let mut figures = Map::new();
    figures.insert("of_500_shops".into(), resting(plan).await?);
    figures.insert("open".into(), open(plan, 20, records).await?);
    Ok(figures.into())
}

async fn resting(plan: &Plan) -> anyhow::Result<Value> {
    let giver = Giver::set_up(plan, OTHERS, OTHERS).await?;
    let (running, relay) = giver.start_behind_relay().await?;
    let taker = pair::newcomer(plan).await?;
    pair::join(&taker, &running).await?;
    taker.agree(&running).await?;
    tokio::time::sleep(SETTLE).await;
    let said = said(&relay).await;
    let status = taker.status().await?;
    let per_day = said * (DAY.as_secs() / LISTEN.as_secs());
    Ok(json!({
        "shops": OTHERS + 2,
        "memory_bytes": status.memory_bytes,
        "memory_peak_bytes": status.memory_bytes_peak,
        "listened_s": LISTEN.as_secs(),
        "bytes_of_one_link_meanwhile": said,
        "bytes_a_day_of_one_link_extrapolated": per_day,
        "links": LINKS,
        "bytes_a_day_extrapolated": per_day * LINKS,
    }))
}

async fn said(relay: &Relay) -> u64 {
    let before = relay.bytes();
    tokio::time::sleep(LISTEN).await;
    relay.bytes() - before
}

/// From the start of the process until it answers.
pub(super) async fn open(plan: &Plan, logs: usize, records: usize) -> anyhow::Result<Value> {
    let giver = Giver::set_up(plan, logs, records).await?;
    let (mut seconds, mut memory) = (Series::default(), Series::default());
    let mut first = 0.0;
    for run in 0..=plan.runs {
        let start = Instant::now();
        let mut running = giver.start().await?;
        running.records().await?;
        let took = start.elapsed().as_secs_f64();
        if run == 0 {
            first = took;
        } else {
            seconds.push(took);
            #[allow(clippy::cast_precision_loss)]
            memory.push(running.status().await?.memory_bytes as f64);
        }
        running.process.kill().await?;
    }
    Ok(json!({
        "records": records,
        // The first start finds the node's own profile unpublished, and writes it.
        "first_s": round(first),
        "after_kill_9_s": seconds.json(),
        "memory_bytes": memory.json(),
    }))
}
