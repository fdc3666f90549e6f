//! Dialling: keeps a few links up, to members spread over the roster, so that every record reaches every member in a
//! few hops and no node carries more than a handful of links.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hutong_core::report;
use hutong_record::{PublicKey, ShopId};
use hutong_wire::{
    frame,
    peer::v1::{SyncRequest, sync_service_client::SyncServiceClient},
};
use rand::{RngExt as _, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;

use super::{
    hub::{Event, HubHandle},
    link::{self, LinkGuard},
    version,
};
use crate::{
    alliance::Hosted,
    metrics::{DialLabels, DialOutcome, Metrics},
    transport::{DialError, Dialer, Tcp},
};

/// How often the dialler looks whether a link is missing.
const REVIEW: Duration = Duration::from_millis(500);
/// Waits between attempts double from the first to the last of these.
const BACK_OFF_FIRST: Duration = Duration::from_millis(250);
const BACK_OFF_LAST: Duration = Duration::from_secs(60);
/// A link that lives this long counts as good.
const PROBATION: Duration = Duration::from_secs(5);
/// A dial, with the stream's opening.
const DIAL_LIMIT: Duration = Duration::from_secs(10);

/// What the dialler works with.
#[derive(Debug)]
pub struct Dialling {
    /// The alliance.
    pub hosted: Arc<Hosted>,
    /// Its hub.
    pub hub: HubHandle,
    /// The transport.
    pub dialer: Dialer,
    /// Whether federation is paused.
    pub paused: watch::Receiver<bool>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// A member that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    shop: ShopId,
    key: PublicKey,
    addresses: Vec<String>,
}

#[derive(Debug, Default)]
struct BackOff {
    failures: u32,
    not_before: Option<Instant>,
}

impl Dialling {
    /// Runs until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut review = tokio::time::interval(REVIEW);
        review.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut back_off: BTreeMap<ShopId, BackOff> = BTreeMap::new();
        let mut dials: JoinSet<(ShopId, Result<(), String>)> = JoinSet::new();
        let mut under_way: Vec<ShopId> = Vec::new();
        let mut roster = self.hosted.alliance_changes();
        let mut rng: StdRng = rand::make_rng();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = dials.join_next() => {
                    if let Ok((shop, outcome)) = done {
                        under_way.retain(|s| *s != shop);
                        self.dialled(shop, outcome, &mut back_off, &mut rng);
                    }
                    continue;
                }
                // A new roster may let us in where we were refused.
                Ok(()) = roster.changed() => { roster.mark_unchanged(); back_off.clear(); }
                _ = review.tick() => {}
            }
            if *self.paused.borrow() {
                back_off.clear();
                // A dial that began just before the pause may have come up after it.
                let _gone = self.hub.send(Event::CloseAll).await;
                continue;
            }
            back_off.retain(|shop, b| {
                !(self.hub.table().is_connected(*shop) && b.not_before.is_none_or(|at| at <= Instant::now()))
            });
            for target in self.missing().await {
                let waits = back_off.get(&target.shop).and_then(|b| b.not_before);
                if !under_way.contains(&target.shop) && waits.is_none_or(|at| at <= Instant::now()) {
                    under_way.push(target.shop);
                    let (dialer, hub, alliance) = (self.dialer.clone(), self.hub.clone(), self.hosted.id());
                    dials.spawn(async move {
                        let shop = target.shop;
                        (shop, connect(dialer, hub, target, alliance).await)
                    });
                }
            }
        }
    }

    fn dialled(
        &self,
        shop: ShopId,
        outcome: Result<(), String>,
        back_off: &mut BTreeMap<ShopId, BackOff>,
        rng: &mut StdRng,
    ) {
        let came_to = if outcome.is_ok() { DialOutcome::Connected } else { DialOutcome::Failed };
        self.metrics.dials.get_or_create(&DialLabels { outcome: came_to }).inc();
        match outcome {
            // Forgotten once the link has lived a while: a peer that answers and goes at once is not dialled at once.
            Ok(()) => back_off.entry(shop).or_default().not_before = Some(Instant::now() + PROBATION),
            Err(error) => {
                tracing::debug!(peer = shop.short(), error, "dial failed");
                self.hub.table().failed(shop, error);
                let entry = back_off.entry(shop).or_default();
                let wait = BACK_OFF_FIRST.saturating_mul(1 << entry.failures.min(8)).min(BACK_OFF_LAST);
                let jitter = rng.random_range(0.5..1.5);
                entry.failures += 1;
                entry.not_before = Some(Instant::now() + wait.mul_f64(jitter));
            }
        }
    }

    /// The members that should be linked and are not.
    async fn missing(&self) -> Vec<Target> {
        let mut targets = self.targets().await;
        targets.retain(|target| !self.hub.table().is_connected(target.shop));
        targets
    }

    /// Whom to dial: of the members in the order of ids, seen from this shop around the circle, those at distances 1,
    /// n^(1/3) and n^(2/3). Others dial this shop likewise, so it has about six links, and any two members are a few
    /// hops apart. The inviting shop too, until there is anyone else.
    async fn targets(&self) -> Vec<Target> {
        let alliance = self.hosted.alliance();
        let me = self.hosted.me();
        let others = alliance.roster().iter().filter(|(shop, _)| *shop != me);
        let others: Vec<_> = others
            .filter(|(shop, _)| alliance.roster().member(*shop).is_some())
            .map(|(shop, member)| (shop, *member.identity.signing_key()))
            .collect();
        let known = others.clone();
        let profiles = self.hosted.query(move |view| {
            let address = |(shop, _): &(ShopId, PublicKey)| Ok((*shop, report::profile(view, *shop)?));
            known.iter().map(address).collect::<Result<BTreeMap<_, _>, _>>()
        });
        let profiles = profiles.await.unwrap_or_default();
        let mut ring: Vec<_> = others
            .into_iter()
            .filter_map(|(shop, key)| {
                let addresses = profiles.get(&shop)?.as_ref()?.addresses.clone();
                (!addresses.is_empty()).then_some(Target { shop, key, addresses })
            })
            .collect();
        let start = ring.partition_point(|target| target.shop < me);
        ring.rotate_left(start);
        let mut chosen: Vec<_> =
            hutong_sync::neighbours(me, &ring.iter().map(|t| t.shop).collect::<Vec<_>>())
                .into_iter()
                .filter_map(|s| ring.iter().find(|t| t.shop == s).cloned())
                .collect();
        if let Some(bootstrap) = self.hosted.bootstrap().filter(|_| chosen.is_empty() || !self.is_member()) {
            chosen.push(Target {
                shop: bootstrap.inviter.id(),
                key: *bootstrap.inviter.signing_key(),
                addresses: bootstrap.addresses.clone(),
            });
        }
        chosen
    }

    fn is_member(&self) -> bool {
        self.hosted.alliance().own_membership().is_ok()
    }
}

/// Dials one address after the other, opens the stream, and hands it to the hub.
async fn connect(
    dialer: Dialer,
    hub: HubHandle,
    target: Target,
    alliance: hutong_record::AllianceId,
) -> Result<(), String> {
    let mut failure = "no address".to_owned();
    for address in &target.addresses {
        let attempt =
            tokio::time::timeout(DIAL_LIMIT, open_stream(&dialer, &hub, &target, address, alliance));
        match attempt.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => failure = format!("{address}: {error}"),
            Err(_) => failure = format!("{address}: no answer in time"),
        }
    }
    Err(failure)
}

async fn open_stream(
    dialer: &Dialer,
    hub: &HubHandle,
    target: &Target,
    address: &str,
    alliance: hutong_record::AllianceId,
) -> Result<(), String> {
    let channel =
        dialer.dial(target.key, Tcp::to(address)).await.map_err(|error: DialError| error.to_string())?;
    let (new, outbound, stop) = link::open(hub, target.shop, true, None);
    let id = new.id;
    let guard = LinkGuard::new(hub.clone(), id);
    // The hub says Hello first; the other side answers the call when it has read that.
    hub.send(Event::LinkUp(new)).await.map_err(|e| e.to_string())?;
    let requests =
        ReceiverStream::new(outbound).map(|frame| SyncRequest { frame: Some(frame::to_wire(frame)) });
    let mut request = tonic::Request::new(requests);
    version::tell(request.metadata_mut());
    let response = SyncServiceClient::new(channel)
        .max_decoding_message_size(super::hub::MESSAGE_BYTES_MAX)
        .sync(request)
        .await;
    match response {
        Ok(response) => {
            hub.table().is_of_version(target.shop, version::told(response.metadata()));
            let inbound = response.into_inner();
            tokio::spawn(link::pump(
                hub.clone(),
                id,
                inbound,
                |m: hutong_wire::peer::v1::SyncResponse| m.frame,
                stop,
            ));
            guard.release();
            tracing::debug!(peer = target.shop.short(), alliance = alliance.short(), "dialled");
            Ok(())
        }
        Err(status) => Err(status.message().to_owned()),
    }
}
