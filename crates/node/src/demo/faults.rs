//! Two things that go wrong while the tills go on: a node dies, and another one is cut off.

use std::{sync::atomic::Ordering, time::Duration};

use hutong_wire::merchant::v1::{
    self as pb, node_service_client::NodeServiceClient, report_service_client::ReportServiceClient,
};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{ledger::Violations, link::Link, nodes::Fleet, replay::Street, street::Shop};

/// The shop whose node is killed: a busy one.
const KILLED: &str = "drugstore";

/// The shop whose node is cut off from the others: one that hands out vouchers and redeems many.
const CUT_OFF: &str = "greengrocer";

/// How long the killed node stays down, so that customers do come to it meanwhile.
const DOWN: Duration = Duration::from_secs(1);

/// When something goes wrong, or right again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// A node dies.
    Kill,
    /// A node loses its links.
    CutOff,
    /// It gets them back.
    Rejoin,
}

impl Moment {
    /// What is due before visit `number` (from 0) of `visits`, if anything.
    pub(super) fn at(number: usize, visits: usize) -> Option<Self> {
        [(Self::Kill, visits / 3), (Self::CutOff, visits / 2), (Self::Rejoin, visits * 2 / 3)]
            .into_iter()
            .find_map(|(moment, due)| (number > 0 && number == due).then_some(moment))
    }
}

/// What went wrong, and how it was borne.
#[derive(Debug, Default, Serialize)]
pub(super) struct FaultLog {
    /// The shop whose node was killed.
    pub(super) killed: Option<&'static str>,
    /// From SIGKILL until the node listened again.
    pub(super) down_ms: u64,
    /// Sales, vouchers and redemptions that it had acknowledged before it died.
    pub(super) acknowledged_before: u64,
    /// The shop whose node was cut off.
    pub(super) cut_off: Option<&'static str>,
    /// For how long.
    pub(super) cut_off_ms: u64,
    /// Sales that its tills rang up meanwhile.
    pub(super) sales_while_cut_off: u64,
    /// What must not happen.
    #[serde(skip)]
    pub(super) violations: Violations,
}

/// Does at each moment what is due, until there are no more moments. A node that is cut off then gets its links back.
pub(super) async fn run(
    fleet: &mut Fleet,
    street: &Street,
    mut moments: mpsc::Receiver<Moment>,
) -> anyhow::Result<FaultLog> {
    let mut log = FaultLog::default();
    let mut cut_off: Option<CutOff> = None;
    while let Some(moment) = moments.recv().await {
        match moment {
            Moment::Kill => kill(fleet, street, &mut log).await?,
            Moment::CutOff => cut_off = Some(CutOff::begin(street).await?),
            Moment::Rejoin => {
                if let Some(cut_off) = cut_off.take() {
                    cut_off.end(street, &mut log).await?;
                }
            }
        }
    }
    if let Some(cut_off) = cut_off {
        cut_off.end(street, &mut log).await?;
    }
    Ok(log)
}

/// What a node has acknowledged, or says that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    sales: u64,
    issued: u64,
    redemptions: u64,
}

impl Held {
    fn acknowledged(street: &Street, shop: Shop) -> Self {
        let counters = &street.acknowledged[shop.index()];
        Self {
            sales: counters.sales.load(Ordering::Relaxed),
            issued: counters.issued.load(Ordering::Relaxed),
            redemptions: counters.redemptions.load(Ordering::Relaxed),
        }
    }

    fn reported(summary: &pb::GetSummaryResponse) -> Self {
        Self {
            sales: summary.sales,
            issued: summary.vouchers_issued,
            redemptions: summary.redemptions + summary.voids,
        }
    }

    fn covers(self, other: Self) -> bool {
        self.sales >= other.sales && self.issued >= other.issued && self.redemptions >= other.redemptions
    }
}

async fn kill(fleet: &mut Fleet, street: &Street, log: &mut FaultLog) -> anyhow::Result<()> {
    let shop: Shop = KILLED.parse().expect("a shop of the street");
    let begun = Instant::now();
    let before = Held::acknowledged(street, shop);
    fleet.kill(shop).await?;
    sleep(DOWN).await;
    fleet.restart(shop).await?;
    log.killed = Some(KILLED);
    log.down_ms = millis(begun);
    log.acknowledged_before = before.sales + before.issued + before.redemptions;
    let after = Held::reported(&summary(street.link(shop)).await?);
    log.violations.require(after.covers(before), "LOG-2", || {
        format!("{KILLED} had acknowledged {before:?} before SIGKILL and holds {after:?} after it")
    });
    Ok(())
}

async fn summary(link: &Link) -> anyhow::Result<pb::GetSummaryResponse> {
    link.call("GetSummary", |carrier| async move {
        ReportServiceClient::new(carrier).get_summary(pb::GetSummaryRequest::default()).await
    })
    .await?
    .done()
}

/// A node without links.
struct CutOff {
    shop: Shop,
    begun: Instant,
    sales_before: u64,
}

impl CutOff {
    async fn begin(street: &Street) -> anyhow::Result<Self> {
        let shop: Shop = CUT_OFF.parse().expect("a shop of the street");
        set_paused(street.link(shop), true).await?;
        let sales_before = Held::acknowledged(street, shop).sales;
        Ok(Self { shop, begun: Instant::now(), sales_before })
    }

    async fn end(self, street: &Street, log: &mut FaultLog) -> anyhow::Result<()> {
        log.cut_off = Some(CUT_OFF);
        log.cut_off_ms = millis(self.begun);
        log.sales_while_cut_off = Held::acknowledged(street, self.shop).sales - self.sales_before;
        set_paused(street.link(self.shop), false).await
    }
}

async fn set_paused(link: &Link, paused: bool) -> anyhow::Result<()> {
    link.call("SetFederation", |carrier| async move {
        NodeServiceClient::new(carrier).set_federation(pb::SetFederationRequest { paused }).await
    })
    .await?
    .done()?;
    Ok(())
}

/// Milliseconds since a moment.
pub(super) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_once_each_and_in_order() {
        let due: Vec<_> = (0..1_000).filter_map(|n| Moment::at(n, 1_000).map(|m| (n, m))).collect();
        assert_eq!(due, [(333, Moment::Kill), (500, Moment::CutOff), (666, Moment::Rejoin)]);
        assert_eq!(Moment::at(0, 1), None, "a street that has not opened has no faults");
    }

    #[test]
    fn every_acknowledged_write_must_be_there() {
        let before = Held { sales: 5, issued: 2, redemptions: 1 };
        assert!(before.covers(before));
        assert!(Held { sales: 6, ..before }.covers(before), "unacknowledged ones may be there, too");
        assert!(!Held { redemptions: 0, ..before }.covers(before));
    }

    #[test]
    fn the_shops_that_fail_are_on_the_street() {
        for key in [KILLED, CUT_OFF] {
            assert!(key.parse::<Shop>().is_ok());
        }
        assert_ne!(KILLED, CUT_OFF);
    }
}
