//! The visits, replayed: customers in parallel, each customer's own visits in order.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context;
use indicatif::ProgressBar;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    chance::Chance,
    faults::Moment,
    ledger::Ledger,
    link::Link,
    plan::Offer,
    street::{EmbeddedVisits, SHOP_COUNT, Shop, Visit},
    till::Till,
};

/// Customers who are at a till at the same moment, at most. More would only queue at the two cores.
pub(super) const LANES: usize = 32;

/// Visits that wait in one lane. When a lane is full the replay waits for it: a street does not lose customers.
const LANE_VISITS_MAX: usize = 16;

/// Writes of one shop that its node acknowledged so far.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// Sales.
    pub(super) sales: AtomicU64,
    /// Vouchers handed out.
    pub(super) issued: AtomicU64,
    /// Redemptions, those taken back included.
    pub(super) redemptions: AtomicU64,
}

impl Acknowledged {
    /// Counts one more.
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// What all tills share.
pub(super) struct Street {
    /// Lines to the nodes, in the order of [`Shop::all`].
    pub(super) links: Vec<Arc<Link>>,
    /// Shops by hex id.
    pub(super) shop_of: HashMap<String, Shop>,
    /// The promotions.
    pub(super) offers: Vec<Offer>,
    /// Positions in `offers` by hex id.
    pub(super) offer_of: HashMap<String, usize>,
    /// Cards and habits.
    pub(super) chance: Chance,
    /// What was acknowledged, by shop.
    pub(super) acknowledged: [Acknowledged; SHOP_COUNT],
    /// Visits done.
    pub(super) bar: ProgressBar,
}

impl Street {
    /// The line to a shop's node.
    pub(super) fn link(&self, shop: Shop) -> &Link {
        &self.links[shop.index()]
    }
}

/// The span of visits to replay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Days from the first one on.
    pub(super) days: u32,
    /// Visits in them.
    pub(super) visits: usize,
}

/// Replays the visits and adds up what the nodes answered. Tells `moments` when faults are due.
pub(super) async fn run(
    street: Arc<Street>,
    span: Span,
    moments: Option<mpsc::Sender<Moment>>,
) -> anyhow::Result<Ledger> {
    let mut lanes = Vec::with_capacity(LANES);
    let mut tills = JoinSet::new();
    for _ in 0..LANES {
        let (lane, visits) = mpsc::channel(LANE_VISITS_MAX);
        lanes.push(lane);
        tills.spawn(serve_lane(Till::new(street.clone()), visits));
    }
    let fed = feed(span, lanes, moments).await;
    let mut all = Ledger::default();
    while let Some(till) = tills.join_next().await {
        all.append(till.context("a till panicked")??);
    }
    fed.map(|()| all)
}

async fn serve_lane(mut till: Till, mut visits: mpsc::Receiver<Visit>) -> anyhow::Result<Ledger> {
    while let Some(visit) = visits.recv().await {
        till.serve(&visit).await.with_context(|| format!("the visit on line {}", visit.line))?;
    }
    Ok(till.close())
}

/// Sends each visit down its customer's lane. A closed lane means that its till failed: the till says why.
async fn feed(
    span: Span,
    lanes: Vec<mpsc::Sender<Visit>>,
    moments: Option<mpsc::Sender<Moment>>,
) -> anyhow::Result<()> {
    for (number, visit) in EmbeddedVisits::embedded(span.days).enumerate() {
        let visit = visit?;
        if let (Some(moments), Some(moment)) = (&moments, Moment::at(number, span.visits)) {
            // Closed: the faults failed, which ends the demo with their error.
            let _ = moments.send(moment).await;
        }
        if lanes[lane_of(visit.customer)].send(visit).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn lane_of(customer: u32) -> usize {
    usize::try_from(customer).unwrap_or(0) % LANES
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        super::{
            fake::{Fake, Manner},
            plan::{self, Baskets},
        },
        *,
    };

    /// Long enough for vouchers of a day to be used and to expire.
    const DAYS: u32 = 3;

    async fn replay(manner: Manner) -> (Fake, Ledger) {
        let baskets = Baskets::of(EmbeddedVisits::embedded(DAYS)).unwrap();
        let (fake, street) = Fake::open(plan::offers(&baskets, DAYS), manner).await;
        let span = Span { days: DAYS, visits: baskets.count() };
        let ledger = run(street, span, None).await.unwrap();
        assert_eq!(ledger.sales.iter().map(|s| s.count).sum::<u64>(), baskets.count() as u64);
        (fake, ledger)
    }

    fn used(ledger: &Ledger) -> usize {
        ledger.entries.iter().filter(|entry| entry.used.is_some()).count()
    }

    fn broken(ledger: &Ledger) -> BTreeSet<&'static str> {
        ledger.violations.list.iter().map(|v| v.invariant).collect()
    }

    #[tokio::test]
    async fn on_an_honest_street_every_habit_is_borne_and_the_books_are_right() {
        let (fake, ledger) = replay(Manner::Honest).await;
        assert_eq!(ledger.violations.list, []);
        assert_eq!((ledger.entries.len(), used(&ledger)), fake.counts());
        assert!(used(&ledger) > 100, "{} uses", used(&ledger));
        assert!(ledger.repeats > 0 && ledger.voids.iter().sum::<u64>() > 0);
        let reasons: BTreeSet<_> = ledger.refusals.keys().map(|(_, reason)| reason.as_str()).collect();
        let expected = [
            "PURCHASE_TOO_LOW",
            "VOUCHER_ALREADY_REDEEMED",
            "VOUCHER_EXPIRED",
            "VOUCHER_UNKNOWN",
            "VOUCHER_WRONG_SHOP",
        ];
        assert_eq!(reasons, BTreeSet::from(expected));
    }

    #[tokio::test]
    async fn an_answer_that_is_lost_is_asked_for_again_and_counts_once() {
        let (fake, ledger) = replay(Manner::LosesAnswers).await;
        assert_eq!(ledger.violations.list, []);
        assert_eq!((ledger.entries.len(), used(&ledger)), fake.counts());
    }

    #[tokio::test]
    async fn a_street_that_redeems_twice_is_caught() {
        let (_, ledger) = replay(Manner::RedeemsTwice).await;
        assert!(broken(&ledger).contains("VOU-1"), "{:?}", ledger.violations);
        assert!(ledger.double_uses > 0);
    }

    #[tokio::test]
    async fn a_street_that_forgets_requests_is_caught() {
        let (_, ledger) = replay(Manner::ForgetsRequests).await;
        assert!(broken(&ledger).contains("LOG-2"), "{:?}", ledger.violations);
    }

    #[test]
    fn a_customer_keeps_to_one_lane_and_lanes_share_the_work() {
        let mut visits = [0usize; LANES];
        for visit in EmbeddedVisits::embedded(31) {
            visits[lane_of(visit.unwrap().customer)] += 1;
        }
        let mean = visits.iter().sum::<usize>() / LANES;
        assert!(visits.iter().all(|lane| *lane > mean / 2 && *lane < mean * 2), "{visits:?}");
    }
}
