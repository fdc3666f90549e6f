//! Redemptions over gRPC at a node that is a process of its own, durable when answered, from 1, 16 and 64 tills. Another
//! node handed the vouchers out. It is off while the tills are at work, as it would be on a machine of its own; once more
//! with 64 tills it runs beside them and takes the receipts in at once.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use hutong_client::{Client, Token};
use hutong_wire::merchant::v1 as pb;
use serde_json::{Map, Value, json};

use super::{
    Plan,
    figures::{Latencies, Series, rate, round},
    scene::bare_syncs,
};
use crate::process::{self, NodeProcess, free_ports};

const LOADS: [Load; 4] = [
    Load { name: "tills_1", tills: 1, redemptions: 300, giver: Giver::Off },
    Load { name: "tills_16", tills: 16, redemptions: 3_000, giver: Giver::Off },
    Load { name: "tills_64", tills: 64, redemptions: 6_000, giver: Giver::Off },
    Load { name: "tills_64_beside_the_giver", tills: 64, redemptions: 6_000, giver: Giver::Beside },
];
const ISSUED_AT_ONCE: usize = 64;
const BARE_SYNCS: usize = 500;
const CATCH_UP_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const QUOTA: u32 = 1_000_000;

/// What one row of figures is about.
struct Load {
    name: &'static str,
    tills: usize,
    /// Of one run.
    redemptions: usize,
    giver: Giver,
}

/// Where the node that handed out is while the other redeems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Giver {
    Off,
    /// On the same cores.
    Beside,
}

/// The shop that hands out and the shop that redeems.
struct Street {
    giver: (NodeProcess, Client),
    giver_folder: PathBuf,
    taker: (NodeProcess, Client),
    promotion_id: String,
}

pub(super) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let mut street = Street::open(plan).await?;
    let mut figures = Map::new();
    for load in LOADS {
        let mut series: [Series; 4] = Default::default();
        for run in 0..plan.runs {
            let run = format!("{}-{run}", load.name);
            let codes = street.hand_out(load.redemptions, &run).await?;
            if load.giver == Giver::Off {
                street.giver.0.kill().await?;
            }
            let bare = bare_syncs(&plan.home, BARE_SYNCS)?;
            let start = Instant::now();
            let took = street.redeem(codes, load.tills, &run).await?;
            let rate = rate(took.count(), start.elapsed());
            if load.giver == Giver::Off {
                street.giver = start_node(&street.giver_folder).await?;
            }
            for (series, value) in series.iter_mut().zip([rate, took.ms(0.5), took.ms(0.99), bare.ms(0.99)]) {
                series.push(value);
            }
        }
        let [rates, p50, p99, bare] = series;
        figures.insert(
            load.name.to_owned(),
            json!({
                "redemptions_per_s": rates.json(),
                "p50_ms": p50.json(),
                "p99_ms": p99.json(),
                "bare_write_and_fdatasync_p99_ms": bare.json(),
                "p99_times_the_bare_disk": round(p99.median() / bare.median()),
            }),
        );
    }
    let status = street.taker.1.get_status(pb::GetStatusRequest {}).await?;
    figures.insert("memory_peak_bytes".into(), json!(status.memory_bytes_peak));
    Ok(figures.into())
}

impl Street {
    async fn open(plan: &Plan) -> anyhow::Result<Self> {
        let ports = free_ports(2)?;
        let giver_folder = folder(plan, "giver", ports[0]).await?;
        let giver = start_node(&giver_folder).await?;
        let taker = start_node(&folder(plan, "taker", ports[1]).await?).await?;
        let founded = pb::CreateAllianceRequest {
            name: "bench".into(),
            currency_code: "CNY".into(),
            admission_votes: 1,
            ..Default::default()
        };
        giver.1.create_alliance(founded).await?;
        let link = giver.1.create_invitation(pb::CreateInvitationRequest::default()).await?.link;
        taker.1.join_alliance(pb::JoinAllianceRequest { link, ..Default::default() }).await?;
        let shop =
            async |client: &Client| anyhow::Ok(client.get_status(pb::GetStatusRequest {}).await?.shop_id);
        let terms = terms(shop(&giver.1).await?, shop(&taker.1).await?);
        let request = pb::CreatePromotionRequest {
            promotion: Some(terms),
            request_id: "bench".into(),
            ..Default::default()
        };
        let published = giver.1.create_promotion(request).await?;
        let promotion_id = published.promotion.context("no promotion in the answer")?.id;
        Ok(Self { giver, giver_folder, taker, promotion_id })
    }

    /// Vouchers that the redeemer has heard of: their typed codes.
    async fn hand_out(&self, count: usize, run: &str) -> anyhow::Result<Vec<String>> {
        let issue = |n: usize| async move {
            let request = pb::IssueVoucherRequest {
                promotion_id: self.promotion_id.clone(),
                request_id: format!("{run}-voucher-{n}"),
                ..Default::default()
            };
            let answer = self.giver.1.issue_voucher(request).await?;
            anyhow::Ok(answer.voucher.context("no voucher in the answer")?.qr_text)
        };
        let codes: Vec<String> =
            stream::iter(0..count).map(issue).buffer_unordered(ISSUED_AT_ONCE).try_collect().await?;
        self.catch_up().await?;
        Ok(codes)
    }

    async fn catch_up(&self) -> anyhow::Result<()> {
        let give_up = Instant::now() + CATCH_UP_MAX;
        loop {
            let digest = async |client: &Client| {
                let digest = client.get_state_digest(pb::GetStateDigestRequest::default()).await?;
                anyhow::Ok((digest.frontier_digest, digest.unfolded_count))
            };
            let (giver, taker) = (digest(&self.giver.1).await?, digest(&self.taker.1).await?);
            if giver == taker && giver.1 == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < give_up, "the nodes do not agree after {CATCH_UP_MAX:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn redeem(&self, codes: Vec<String>, tills: usize, run: &str) -> anyhow::Result<Latencies> {
        let mut piles: Vec<Vec<String>> = vec![Vec::new(); tills];
        for (n, code) in codes.into_iter().enumerate() {
            piles[n % tills].push(code);
        }
        let till = |(till, pile): (usize, Vec<String>)| async move {
            // Each till has a connection of its own, as real ones do.
            let client = connect(&self.taker.0)?;
            let mut took = Latencies::default();
            for (n, code) in pile.into_iter().enumerate() {
                let request = pb::RedeemVoucherRequest {
                    request_id: format!("{run}-{till}-{n}"),
                    code,
                    purchase: Some(pb::Money { currency_code: "CNY".into(), minor: 4_000 }),
                    ..Default::default()
                };
                let start = Instant::now();
                client.redeem_voucher(request).await?;
                took.push(start.elapsed());
            }
            anyhow::Ok(took)
        };
        let mut all = Latencies::default();
        for took in try_join_all(piles.into_iter().enumerate().map(till)).await? {
            all.extend(took);
        }
        Ok(all)
    }
}

async fn folder(plan: &Plan, name: &str, port: u16) -> anyhow::Result<PathBuf> {
    let folder = plan.home.folder(name)?;
    process::init(&folder, name, "bench", port).await?;
    Ok(folder)
}

async fn start_node(folder: &Path) -> anyhow::Result<(NodeProcess, Client)> {
    let process = NodeProcess::start(folder).await?;
    let client = connect(&process)?;
    Ok((process, client))
}

fn connect(process: &NodeProcess) -> anyhow::Result<Client> {
    Ok(Client::connect_lazy(&format!("http://{}", process.address), &Token::new(&process.token))?)
}

fn terms(distributor: String, redeemer: String) -> pb::Promotion {
    let money = |minor| Some(pb::Money { currency_code: "CNY".into(), minor });
    let day = |days: i64| prost_types::Timestamp {
        seconds: crate::clock::now().ms() / 1_000 + days * 86_400,
        nanos: 0,
    };
    pb::Promotion {
        title: "bench".into(),
        distributors: vec![pb::Distributor { shop_id: distributor, quota: QUOTA, ..Default::default() }],
        redeemer_id: redeemer,
        start_time: Some(day(-1)),
        end_time: Some(day(30)),
        voucher_validity: Some(prost_types::Duration { seconds: 30 * 86_400, nanos: 0 }),
        budget: money(i64::from(QUOTA) * 400),
        bounty: money(100),
        benefit: Some(pb::promotion::Benefit::AmountOff(pb::Money {
            currency_code: "CNY".into(),
            minor: 300,
        })),
        ..Default::default()
    }
}
