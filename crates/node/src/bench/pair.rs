//! Two nodes as processes of their own on the loopback: one that holds a street's logs, and newcomers that join cold.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use hutong_client::{Client, Token};
use hutong_wire::merchant::v1 as pb;

use super::{
    Plan,
    relay::Relay,
    street::{Content, Shop, Street, logical_bytes},
};
use crate::{
    alliance::AllianceFolder,
    data_folder::DataFolder,
    identity_file,
    process::{self, NodeProcess, free_ports},
};

/// Records written at a time, so that a million of them do not lie in this process's memory.
const PART_RECORDS: usize = 100_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const WAIT_MAX: Duration = Duration::from_secs(300);

/// A node and its merchant port.
pub(super) struct Running {
    pub(super) process: NodeProcess,
    pub(super) client: Client,
}

/// A set-up node that holds logs, to be started directly or behind a relay.
pub(super) struct Giver {
    folder: PathBuf,
    port: u16,
    /// Of the street's records: headers and payloads.
    pub(super) logical_bytes: usize,
}

impl Running {
    /// Starts the node of a folder.
    pub(super) async fn start(folder: &std::path::Path) -> anyhow::Result<Self> {
        let process = NodeProcess::start(folder).await?;
        let client =
            Client::connect_lazy(&format!("http://{}", process.address), &Token::new(&process.token))?;
        Ok(Self { process, client })
    }

    /// Kills it, and returns when it is gone: its folder may be opened again.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    pub(super) async fn status(&self) -> anyhow::Result<pb::GetStatusResponse> {
        Ok(self.client.get_status(pb::GetStatusRequest {}).await?)
    }

    /// Records held in its alliance; none yet: 0.
    pub(super) async fn records(&self) -> anyhow::Result<u64> {
        Ok(self.status().await?.alliances.first().map_or(0, |alliance| alliance.record_count))
    }

    /// Returns when it holds so many records: since when it has held more than `few`.
    pub(super) async fn hold(&self, records: u64, few: u64) -> anyhow::Result<Instant> {
        let give_up = Instant::now() + WAIT_MAX;
        let mut began = Instant::now();
        loop {
            let held = self.records().await?;
            if held >= records {
                return Ok(began);
            }
            if held <= few {
                began = Instant::now();
            }
            ensure!(Instant::now() < give_up, "{held} of {records} records after {WAIT_MAX:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn digest(&self) -> anyhow::Result<(String, String, u64)> {
        let digest = self.client.get_state_digest(pb::GetStateDigestRequest::default()).await?;
        Ok((digest.frontier_digest, digest.public_digest, digest.unfolded_count))
    }

    /// Returns when both hold and have folded the same.
    pub(super) async fn agree(&self, other: &Self) -> anyhow::Result<()> {
        let give_up = Instant::now() + WAIT_MAX;
        loop {
            let (ours, theirs) = (self.digest().await?, other.digest().await?);
            if ours == theirs && ours.2 == 0 {
                return Ok(());
            }
            ensure!(
                Instant::now() < give_up,
                "the nodes do not agree after {WAIT_MAX:?} (digests of what they hold, of what it comes to, records \
                 that wait): {ours:?} and {theirs:?}"
            );
            tokio::time::sleep(LOOK_EVERY * 10).await;
        }
    }
}

impl Giver {
    /// Sets a node up that founded an alliance of so many other shops and holds `count` records of them together.
    pub(super) async fn set_up(plan: &Plan, logs: usize, count: usize) -> anyhow::Result<Self> {
        let (folder, port) = (plan.home.folder("giver")?, free_ports(1)?[0]);
        let folder = folder.join("data");
        process::init(&folder, "giver", "bench", port).await?;
        let data = DataFolder::new(&folder);
        let mut street = Street::of(Shop::from(identity_file::load(&data)?), logs)?;
        let alliance = AllianceFolder::new(data.alliance(street.charter.id));
        let mut ledger = street.found(&alliance).await?;
        let (mut left, mut bytes) = (count, 0);
        while left > 0 {
            let part = left.min(PART_RECORDS);
            let jobs = street.write(Content::Public, part)?;
            bytes += logical_bytes(&jobs);
            ledger.take_in(jobs).await?;
            left -= part;
        }
        ledger.close().await;
        Ok(Self { folder, port, logical_bytes: bytes })
    }

    /// Starts it; newcomers reach it directly.
    pub(super) async fn start(&self) -> anyhow::Result<Running> {
        self.advertise(self.port)?;
        Running::start(&self.folder).await
    }

    /// Starts it; newcomers reach it by a relay that counts bytes.
    pub(super) async fn start_behind_relay(&self) -> anyhow::Result<(Running, Relay)> {
        let relay = Relay::to(self.port).await?;
        self.advertise(relay.address.port())?;
        Ok((Running::start(&self.folder).await?, relay))
    }

    fn advertise(&self, port: u16) -> anyhow::Result<()> {
        let path = DataFolder::new(&self.folder).config_file();
        let text = std::fs::read_to_string(&path)?;
        let lines = text.lines().map(|line| match line.starts_with("advertise =") {
            true => format!("advertise = [\"127.0.0.1:{port}\"]"),
            false => line.to_owned(),
        });
        std::fs::write(path, lines.collect::<Vec<_>>().join("\n"))?;
        Ok(())
    }
}

/// A new node that is in no alliance.
pub(super) async fn newcomer(plan: &Plan) -> anyhow::Result<Running> {
    let (folder, port) = (plan.home.folder("taker")?.join("data"), free_ports(1)?[0]);
    process::init(&folder, "taker", "bench", port).await?;
    Running::start(&folder).await
}

/// Has a newcomer join a running node's alliance.
pub(super) async fn join(newcomer: &Running, inviter: &Running) -> anyhow::Result<()> {
    let link = inviter.client.create_invitation(pb::CreateInvitationRequest::default()).await?.link;
    newcomer
        .client
        .join_alliance(pb::JoinAllianceRequest { link, ..Default::default() })
        .await
        .context("the newcomer joins")?;
    Ok(())
}
