//! Dialling: keeps a few links up, to members spread over the roster, so that every record reaches every member in a
//! few hops and no node carries more than a handful of links.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hutong_record::ShopId;
use hutong_sync::rings;
use hutong_wire::{
    frame,
    peer::v1::{SyncRequest, sync_service_client::SyncServiceClient},
};
use rand::{RngExt as _, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    address_book::AddressBook,
    hub::{Event, HubHandle},
    lan::Heard,
    link::{self, LinkGuard},
    sleep::SleepWatch,
    version,
};
use crate::{
    alliance::Hosted,
    clock,
    metrics::{DialLabels, DialOutcome, Metrics},
    transport::{DialError, Dialer, KnownShop, Tcp},
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
/// The same on the shop's own network, where nothing is far, and whoever claims to be a member holds up no more than this.
const NEAR_LIMIT: Duration = Duration::from_secs(2);
/// After so many failures in a row the next on the ring is dialled as well: one is a dropped packet or a restart.
const FAILURES_BEFORE_STAND_IN: u32 = 2;
/// So many on one ring are dialled at the most: half a street dark at once.
const STAND_INS_MAX: usize = 8;

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
    /// Who was heard on the shop's own network, and where.
    pub heard: Heard,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// A member that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) shop: ShopId,
    pub(super) known: KnownShop,
    /// On the shop's own network, as anybody there may claim.
    pub(super) near: Vec<String>,
    /// As the member itself says.
    pub(super) addresses: Vec<String>,
}

#[derive(Debug, Default)]
struct BackOff {
    failures: u32,
    not_before: Option<Instant>,
}

/// The order in which members that can be dialled are linked to; it changes with them alone.
#[derive(Debug, Default)]
struct Order {
    shops: Vec<ShopId>,
    rings: Vec<Vec<ShopId>>,
}

impl Order {
    fn of(me: ShopId, shops: Vec<ShopId>) -> Self {
        Self { rings: rings(me, &shops), shops }
    }
}

/// How each member's attempts went.
type BackOffs = BTreeMap<ShopId, BackOff>;

impl Dialling {
    /// Runs until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut review = tokio::time::interval(REVIEW);
        review.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut back_offs = BackOffs::new();
        let mut dials: JoinSet<(ShopId, Result<(), String>)> = JoinSet::new();
        let mut under_way: BTreeSet<ShopId> = BTreeSet::new();
        let mut roster = self.hosted.alliance_changes();
        let mut rng: StdRng = rand::make_rng();
        let mut book = AddressBook::default();
        let mut order = Order::default();
        let mut sleep = SleepWatch::new(std::time::Instant::now(), clock::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = dials.join_next() => {
                    if let Ok((shop, outcome)) = done {
                        under_way.remove(&shop);
                        self.dialled(shop, outcome, &mut back_offs, &mut rng);
                    }
                    continue;
                }
                // A new roster may let us in where we were refused.
                Ok(()) = roster.changed() => { roster.mark_unchanged(); back_offs.clear(); }
                _ = review.tick() => {}
            }
            let slept = sleep.look(std::time::Instant::now(), clock::now());
            if slept {
                tracing::info!("this machine slept: links are made anew");
            }
            if *self.paused.borrow() || slept {
                back_offs.clear();
                // A dial that began just before the pause may have come up after it.
                let _gone = self.hub.send(Event::CloseAll).await;
            }
            if *self.paused.borrow() {
                continue;
            }
            back_offs.retain(|shop, b| {
                !(self.hub.table().is_connected(*shop) && b.not_before.is_none_or(|at| at <= Instant::now()))
            });
            book.refresh(&self.hosted, &self.heard).await;
            if order.shops != book.shops() {
                order = Order::of(self.hosted.me(), book.shops());
            }
            let targets = self.targets(&book, &order, &back_offs);
            self.hub.wants_links_to(targets.iter().map(|target| target.shop).collect());
            for target in targets {
                let waits = back_offs.get(&target.shop).and_then(|b| b.not_before);
                let idle = !self.hub.table().is_connected(target.shop)
                    && !under_way.contains(&target.shop)
                    && waits.is_none_or(|at| at <= Instant::now());
                if idle {
                    under_way.insert(target.shop);
                    let (dialer, hub, alliance) = (self.dialer.clone(), self.hub.clone(), self.hosted.id());
                    dials.spawn(async move {
                        let shop = target.shop;
                        (shop, connect(dialer, hub, target, alliance).await)
                    });
                }
            }
        }
    }

    fn dialled(&self, shop: ShopId, outcome: Result<(), String>, back_offs: &mut BackOffs, rng: &mut StdRng) {
        let came_to = if outcome.is_ok() { DialOutcome::Connected } else { DialOutcome::Failed };
        self.metrics.dials.get_or_create(&DialLabels { outcome: came_to }).inc();
        match outcome {
            // Forgotten once the link has lived a while: a peer that answers and goes at once is not dialled at once.
            Ok(()) => back_offs.entry(shop).or_default().not_before = Some(Instant::now() + PROBATION),
            Err(error) => {
                tracing::debug!(peer = shop.short(), error, "dial failed");
                self.hub.table().failed(shop, error);
                let entry = back_offs.entry(shop).or_default();
                let wait = BACK_OFF_FIRST.saturating_mul(1 << entry.failures.min(8)).min(BACK_OFF_LAST);
                let jitter = rng.random_range(0.5..1.5);
                entry.failures += 1;
                entry.not_before = Some(Instant::now() + wait.mul_f64(jitter));
            }
        }
    }

    /// Whom to link to: on each ring the next who can be dialled, and while that one does not answer those who stand in.
    /// The inviting shop too, while this one is no member or reaches nobody.
    fn targets(&self, book: &AddressBook, order: &Order, back_offs: &BackOffs) -> Vec<Target> {
        let fails = |shop: &ShopId| {
            !self.hub.table().is_connected(*shop)
                && back_offs.get(shop).is_some_and(|b| b.failures >= FAILURES_BEFORE_STAND_IN)
        };
        let chosen = chosen(&order.rings, fails);
        let mut targets: Vec<_> = chosen.iter().filter_map(|shop| book.target(shop)).collect();
        let alone = self.hub.table().is_cut_off() && chosen.iter().all(fails);
        let bootstrap = self.hosted.bootstrap().filter(|_| alone || !self.is_member());
        if let Some(bootstrap) = bootstrap {
            targets.retain(|target| target.shop != bootstrap.inviter.id());
            let mut inviter = Target {
                shop: bootstrap.inviter.id(),
                known: KnownShop::of(&self.hosted.alliance(), &bootstrap.inviter),
                near: Vec::new(),
                addresses: bootstrap.addresses.clone(),
            };
            // Where it is said to be now comes before where it was when it invited.
            if let Some(now) = book.target(&inviter.shop) {
                inviter.addresses.retain(|address| !now.addresses.contains(address));
                inviter.addresses.splice(0..0, now.addresses);
                inviter.near = now.near;
            }
            targets.push(inviter);
        }
        targets
    }

    fn is_member(&self) -> bool {
        self.hosted.alliance().own_membership().is_ok()
    }
}

/// The first of each ring that does not fail, and those before it.
fn chosen(rings: &[Vec<ShopId>], fails: impl Fn(&ShopId) -> bool) -> BTreeSet<ShopId> {
    let of_ring = |ring: &Vec<ShopId>| {
        let failing = ring.iter().take_while(|shop| fails(shop)).count();
        ring.iter().take((failing + 1).min(STAND_INS_MAX)).copied().collect::<Vec<_>>()
    };
    rings.iter().flat_map(of_ring).collect()
}

/// Dials one address after the other, opens the stream, and hands it to the hub.
async fn connect(
    dialer: Dialer,
    hub: HubHandle,
    target: Target,
    alliance: hutong_record::AllianceId,
) -> Result<(), String> {
    let mut failure = "no address".to_owned();
    let near = target.near.iter().map(|address| (address, NEAR_LIMIT));
    for (address, limit) in near.chain(target.addresses.iter().map(|address| (address, DIAL_LIMIT))) {
        let attempt = tokio::time::timeout(limit, open_stream(&dialer, &hub, &target, address, alliance));
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
    let channel = dialer
        .dial(target.known.clone(), Tcp::to(address))
        .await
        .map_err(|error: DialError| error.to_string())?;
    let (new, outbound, stop) = link::open(hub, target.shop, true, None);
    let id = new.id;
    let guard = LinkGuard::new(hub.clone(), id);
    // The hub says Hello first; the other side answers the call when it has read that.
    hub.send(Event::LinkUp(new)).await.map_err(|e| e.to_string())?;
    let requests = outbound.map(|frame| SyncRequest { frame: Some(frame::to_wire(frame)) });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(n: u8) -> ShopId {
        ShopId::new([n; 32])
    }

    #[test]
    fn the_next_on_the_ring_stands_in_for_those_that_do_not_answer() {
        let rings = [(1..=20).map(shop).collect::<Vec<_>>(), vec![shop(5), shop(6)]];
        assert_eq!(chosen(&rings, |_| false), BTreeSet::from([shop(1), shop(5)]));
        let dark = |shop: &ShopId| shop.as_bytes()[0] < 3;
        assert_eq!(chosen(&rings, dark), BTreeSet::from([1, 2, 3, 5].map(shop)));
        assert_eq!(
            chosen(&rings, |_| true).len(),
            STAND_INS_MAX,
            "no more are dialled, however many are dark"
        );
        assert!(chosen(&[], |_| true).is_empty());
    }
}
