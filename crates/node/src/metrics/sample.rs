//! Takes the gauges: what a node can say of itself at a moment, read when somebody asks and at most once a second.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hutong_core::{VIEWS_VERSION, duty, report::Summary, roster::Standing, view::ViewError};
use hutong_record::{ShopId, UnixMillis};
use hutong_store::{ledger::Signing, views::SledViews};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::Mutex, time::Instant};

use super::{
    Exposition, Metrics,
    process::{Process, room},
    table::{AllianceLabels, BuildLabels, MemberLabels, PeerLabels, StandingLabels},
};
use crate::{
    alliance::Hosted,
    clock,
    data_folder::Note,
    federation::{LinkState, hub::HubHandle},
    format::FORMAT,
    node::Node,
};

/// Gauges are not taken anew more often: scraping too fast costs nothing.
const REST: Duration = Duration::from_secs(1);
/// Members that are listed one by one, those first that have been silent longest.
const MEMBERS_MAX: usize = 32;
/// Duties are counted up to here.
pub(crate) const DUTIES_MAX: usize = 1_000;
/// Whoever has been heard within this time can be reached.
const REACHABLE_MS: i64 = 5 * 60 * 1_000;

/// Takes the gauges of a node and tells all metrics.
#[derive(Debug)]
pub struct Sampler {
    node: Arc<Node>,
    exposition: Exposition,
    last: Mutex<Option<Instant>>,
}

impl Sampler {
    /// Of a node that counts with the metrics of `exposition`.
    pub fn new(node: Arc<Node>, exposition: Exposition) -> Self {
        Self { node, exposition, last: Mutex::default() }
    }

    /// Everything, as text.
    pub async fn text(&self) -> String {
        {
            let mut last = self.last.lock().await;
            if last.is_none_or(|at| at.elapsed() >= REST) {
                self.take().await;
                *last = Some(Instant::now());
            }
        }
        self.exposition.text()
    }

    /// Whether the node does its work.
    pub fn is_healthy(&self) -> bool {
        self.node.all().iter().all(|(hosted, hub)| hosted.is_healthy() && hub.is_running())
    }

    async fn take(&self) {
        let metrics = &*self.exposition.metrics;
        self.take_process(metrics);
        metrics.member_stale_seconds.clear();
        metrics.logs_behind.clear();
        for (hosted, hub) in self.node.all() {
            let labels = AllianceLabels { alliance: hosted.id().short() };
            if take_alliance(metrics, &labels, &hosted, &hub).await.is_err() {
                metrics.sample_failures.inc();
            }
        }
    }

    fn take_process(&self, metrics: &Metrics) {
        let (process, now) = (Process::now(), clock::now());
        let build = BuildLabels { version: env!("CARGO_PKG_VERSION"), format: FORMAT, views: VIEWS_VERSION };
        metrics.build_info.get_or_create(&build).set(1);
        set(&metrics.memory_bytes, process.memory_bytes);
        set(&metrics.open_files, process.open_files);
        set(&metrics.open_files_max, process.open_files_max);
        set(&metrics.threads, process.threads);
        metrics.start_time_seconds.set(seconds(self.node.started().ms()));
        metrics.paused.set(i64::from(self.node.is_paused()));
        set(&metrics.disk_free_bytes, room(self.node.data().path()).map_or(0, |room| room.bytes));
        let kept = self.node.data().noted(Note::Backup).ok().flatten();
        let age = kept.or_else(|| self.node.data().set_up_at());
        metrics.backup_age_seconds.set(age.map_or(-1.0, |at| seconds(now.ms_since(at).max(0))));
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of this millennium fit")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

async fn take_alliance(
    metrics: &Metrics,
    labels: &AllianceLabels,
    hosted: &Arc<Hosted>,
    hub: &HubHandle,
) -> Result<(), hutong_core::refusal::Refusal> {
    let now = clock::now();
    let (journal_bytes, views_bytes) = hosted.bytes_on_disk();
    let damage = hosted.reader().damage();
    let lost: u64 = damage.iter().map(|damage| damage.records).sum();
    set(&metrics.journal_damages.get_or_create(labels), damage.len() as u64);
    set(&metrics.journal_set_aside.get_or_create(labels), hosted.reader().set_aside().len() as u64);
    set(&metrics.queue_jobs.get_or_create(labels), hosted.queued_jobs().0 as u64);
    set(&metrics.journal_records.get_or_create(labels), hosted.reader().record_count());
    set(&metrics.journal_bytes.get_or_create(labels), journal_bytes);
    set(&metrics.journal_lost_records.get_or_create(labels), lost);
    set(&metrics.views_bytes.get_or_create(labels), views_bytes);
    let signs = *hosted.signing().borrow() == Signing::Confirmed;
    metrics.signing.get_or_create(labels).set(i64::from(signs));
    take_roster(metrics, labels, hosted);
    let table = hub.table().snapshot();
    take_links(metrics, labels, hosted, &table, now);
    take_members(metrics, labels, hosted, &table, now);
    let unfolded = hosted.unfolded_count().await?;
    set(&metrics.fold_lag_records.get_or_create(labels), unfolded);
    take_trade(metrics, labels, hosted, now).await
}

fn take_roster(metrics: &Metrics, labels: &AllianceLabels, hosted: &Hosted) {
    let alliance = hosted.alliance();
    let mut counts = BTreeMap::from(STANDINGS.map(|standing| (standing, 0)));
    for (_, member) in alliance.roster().iter() {
        *counts.entry(standing_word(member.standing)).or_default() += 1;
    }
    metrics.forks.get_or_create(labels).set(counts[standing_word(Standing::Frozen)]);
    for (standing, count) in counts {
        let labels = StandingLabels { alliance: labels.alliance.clone(), standing };
        metrics.members.get_or_create(&labels).set(count);
    }
}

const STANDINGS: [&str; 4] = ["member", "pending", "removed", "frozen"];

/// A standing's name.
pub(crate) const fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Member => "member",
        Standing::Pending => "pending",
        Standing::Removed => "removed",
        Standing::Frozen => "frozen",
    }
}

fn take_links(
    metrics: &Metrics,
    labels: &AllianceLabels,
    hosted: &Hosted,
    table: &BTreeMap<ShopId, LinkState>,
    now: UnixMillis,
) {
    let alliance = hosted.alliance();
    let members = || table.iter().filter(|(shop, _)| alliance.roster().member(**shop).is_some());
    let links = members().filter(|(_, state)| state.connected).count();
    let heard = |state: &LinkState| state.last_heard.is_some_and(|at| now.ms_since(at) <= REACHABLE_MS);
    let reachable = members().filter(|(_, state)| state.connected || heard(state)).count();
    set(&metrics.links.get_or_create(labels), links as u64);
    set(&metrics.reachable.get_or_create(labels), reachable as u64);
    for (peer, state) in members().filter(|(_, state)| state.connected).take(MEMBERS_MAX) {
        let labels = PeerLabels { alliance: labels.alliance.clone(), peer: peer.short() };
        set(&metrics.logs_behind.get_or_create(&labels), state.logs_behind);
    }
}

fn take_members(
    metrics: &Metrics,
    labels: &AllianceLabels,
    hosted: &Hosted,
    table: &BTreeMap<ShopId, LinkState>,
    now: UnixMillis,
) {
    let newest: BTreeMap<_, _> =
        hosted.reader().frontier().into_iter().map(|(shop, head)| (shop, head.time)).collect();
    let alliance = hosted.alliance();
    let others = alliance
        .roster()
        .iter()
        .filter(|(shop, member)| *shop != hosted.me() && member.standing == Standing::Member);
    let mut stale: Vec<(i64, ShopId)> = others
        .map(|(shop, _)| {
            let state = table.get(&shop).cloned().unwrap_or_default();
            let seen = newest.get(&shop).copied().max(state.last_heard);
            let ms = if state.connected { 0 } else { seen.map_or(i64::MAX, |at| now.ms_since(at).max(0)) };
            (ms, shop)
        })
        .collect();
    stale.sort_unstable_by(|a, b| b.cmp(a));
    for (ms, shop) in stale.into_iter().filter(|(ms, _)| *ms < i64::MAX).take(MEMBERS_MAX) {
        let labels = MemberLabels { alliance: labels.alliance.clone(), member: shop.short() };
        metrics.member_stale_seconds.get_or_create(&labels).set(seconds(ms));
    }
    let ahead = newest.iter().filter(|(shop, _)| **shop != hosted.me()).map(|(_, at)| at.ms_since(now));
    let ahead = ahead.max().unwrap_or_default().max(0);
    metrics.clock_ahead_seconds.get_or_create(labels).set(seconds(ahead));
}

async fn take_trade(
    metrics: &Metrics,
    labels: &AllianceLabels,
    hosted: &Hosted,
    now: UnixMillis,
) -> Result<(), hutong_core::refusal::Refusal> {
    let alliance = hosted.alliance();
    let read = move |view: &SledViews| -> Result<_, ViewError> {
        Ok((Summary::load(view)?, duty::due(view, &alliance, now, DUTIES_MAX)?.len()))
    };
    let (summary, duties) = hosted.query(read).await?;
    let minor = |value: i128| i64::try_from(value).unwrap_or(i64::MAX);
    set(&metrics.vouchers_issued.get_or_create(labels), summary.vouchers_issued);
    let open = summary.vouchers_issued.saturating_sub(summary.vouchers_used);
    set(&metrics.vouchers_open.get_or_create(labels), open);
    set(&metrics.redemptions.get_or_create(labels), summary.redemptions);
    set(&metrics.voids.get_or_create(labels), summary.voids);
    set(&metrics.doubles.get_or_create(labels), summary.double_redemptions);
    metrics.risk_open.get_or_create(labels).set(minor(summary.risk_open_minor));
    metrics.risk_lost.get_or_create(labels).set(minor(summary.risk_lost_minor));
    set(&metrics.duties.get_or_create(labels), duties as u64);
    Ok(())
}
