//! Signed records made durable by the writer of one alliance, from 1 writer and from 64, beside the bare disk.

use std::{sync::Arc, time::Instant};

use futures::future::try_join_all;
use hutong_core::{charter::Charter, command::Command};
use hutong_record::{DecryptionKey, Identity, RecoverySeed, SigningKey, proto};
use hutong_store::ledger::ShopKeys;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::{
    Plan,
    figures::{Latencies, Series, rate, round},
    machine,
    scene::bare_syncs,
};
use crate::{
    alliance::{AllianceFolder, Hosted},
    clock,
    telemetry::Telemetry,
};

const WRITERS: [usize; 2] = [1, 64];
/// Records of one run, for each number of writers.
const RECORDS: [usize; 2] = [500, 16_000];
const CACHE_BYTES: u64 = 64 << 20;
const BARE_SYNCS: usize = 500;

pub(super) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let mut figures = Map::new();
    for (writers, records) in WRITERS.into_iter().zip(RECORDS) {
        let (mut rates, mut medians, mut bare) = (Series::default(), Series::default(), Series::default());
        for run in 0..plan.runs {
            let hosted = Arc::new(found(plan, &format!("append-{writers}-{run}"))?);
            bare.push(bare_syncs(&plan.home, BARE_SYNCS)?.ms(0.5));
            let start = Instant::now();
            let took = write(&hosted, writers, records / writers).await?;
            rates.push(rate(took.count(), start.elapsed()));
            medians.push(took.ms(0.5));
        }
        figures.insert(
            format!("writers_{writers}"),
            json!({
                "records_per_s": rates.json(),
                "ms_median": medians.json(),
                "bare_write_and_fdatasync_ms": bare.json(),
                "times_the_bare_disk": round(medians.median() / bare.median()),
            }),
        );
    }
    figures.insert("memory_peak_bytes".into(), json!(machine::memory_peak_bytes()));
    Ok(figures.into())
}

/// An alliance of one shop, in a folder of its own.
fn found(plan: &Plan, name: &str) -> anyhow::Result<Hosted> {
    let mut rng = StdRng::seed_from_u64(1);
    let seed = RecoverySeed::new(rng.random());
    let identity = Identity::create(&seed, clock::now(), &mut rng);
    let charter = Charter::write(&proto::Charter {
        name: "bench".into(),
        currency_code: "CNY".into(),
        admission_votes: 1,
        removal_votes: 1,
        founder: Some(identity.signed().clone()),
        created_unix_ms: clock::now().ms(),
        salt: vec![1; 16].into(),
        ..Default::default()
    })?;
    let signing = Arc::new(SigningKey::from_seed(&seed.signing_seed()));
    let keys = ShopKeys::new(signing, DecryptionKey::from_seed(&seed.encryption_seed()));
    let folder = AllianceFolder::new(plan.home.folder(name)?);
    folder.create(&charter, None)?;
    let (notices, _nobody) = mpsc::unbounded_channel();
    Ok(Hosted::open(&folder, identity.id(), Arc::new(keys), CACHE_BYTES, notices, Telemetry::default())?)
}

async fn write(hosted: &Arc<Hosted>, writers: usize, each: usize) -> anyhow::Result<Latencies> {
    hosted.execute(Command::Found).await?;
    let tasks = (0..writers).map(|writer| {
        let hosted = hosted.clone();
        tokio::spawn(async move {
            let mut took = Latencies::default();
            for n in 0..each {
                let name = format!("{writer} {n:_>60}");
                let profile = proto::Profile { name, ..Default::default() };
                let start = Instant::now();
                hosted.execute(Command::Profile(profile)).await?;
                took.push(start.elapsed());
            }
            anyhow::Ok(took)
        })
    });
    let mut all = Latencies::default();
    for took in try_join_all(tasks).await? {
        all.extend(took?);
    }
    Ok(all)
}
