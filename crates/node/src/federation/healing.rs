//! Getting back from members what damage took from the journal.

use std::{sync::Arc, time::Duration};

use hutong_record::ShopId;
use hutong_store::{
    journal::{Healed, JournalError, Leftover, Survey},
    ledger::{Signing, confirming_peers},
    repair::Repair,
};
use hutong_sync::{LinkId, RawRun, Replica};
use tokio::{sync::watch, time::Instant};

use crate::{alliance::Hosted, clock};

/// What nobody had is asked for again after this, and then after twice as long each time.
const AGAIN: Duration = Duration::from_secs(30);
/// Up to this.
const AGAIN_MAX: Duration = Duration::from_secs(3_600);

/// Who is linked now: link and shop.
pub(super) type Peers = [(LinkId, ShopId)];

/// The healing of one journal.
pub(super) struct Healing {
    surveys: watch::Receiver<Option<Arc<Survey>>>,
    repair: Option<Repair<LinkId>>,
    /// Who was linked when it was last looked at.
    peers: Vec<(LinkId, ShopId)>,
    not_before: Instant,
    back_off: Duration,
}

impl Healing {
    pub(super) fn new(surveys: watch::Receiver<Option<Arc<Survey>>>) -> Self {
        let mut surveys = surveys;
        surveys.mark_changed();
        Self { surveys, repair: None, peers: Vec::new(), not_before: Instant::now(), back_off: AGAIN }
    }

    /// Waits for a pass that finds something else than the one before.
    pub(super) async fn changed(&mut self) {
        if self.surveys.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.surveys.mark_changed();
    }

    /// Asks whoever can be asked; has the writer put back what was found once nobody has more.
    pub(super) fn step(&mut self, replica: &mut Replica, hosted: &Hosted, peers: &Peers) {
        self.begin(peers);
        let Some(repair) = &mut self.repair else { return };
        repair.ask_all(peers, |link, asked| {
            replica.want_lost(link, asked.shop, asked.sequence, asked.bytes_max, clock::now())
        });
        if repair.is_settled(peers) {
            self.end(replica, hosted, peers);
        }
    }

    fn begin(&mut self, peers: &Peers) {
        if self.surveys.has_changed().unwrap_or_default() {
            self.surveys.mark_unchanged();
            (self.repair, self.not_before) = (None, Instant::now());
        }
        if self.peers != peers {
            peers.clone_into(&mut self.peers);
            self.not_before = Instant::now();
        }
        if self.repair.is_none() && Instant::now() >= self.not_before {
            self.repair = self.surveys.borrow().clone().map(Repair::new);
        }
    }

    fn end(&mut self, replica: &Replica, hosted: &Hosted, peers: &Peers) {
        self.not_before = Instant::now() + self.back_off;
        self.back_off = (2 * self.back_off).min(AGAIN_MAX);
        let Some(repair) = self.repair.take() else { return };
        let nothing_more = repair.is_complete() && is_up_to_date(replica, hosted, peers);
        let leftover = if nothing_more { Leftover::Void } else { Leftover::Keep };
        let (survey, found) = repair.into_found();
        let spare = survey.holes.iter().any(|hole| hole.lost == 0);
        tracing::info!(lost = survey.lost_places(), found = found.len(), ?leftover, "members were asked");
        if found.is_empty() && leftover == Leftover::Keep && !spare {
            return;
        }
        if !hosted.heal(survey, found, leftover) {
            tracing::warn!("the writer is busy; lost records are asked for again later");
        }
    }

    /// A member's answer.
    pub(super) fn found(&mut self, link: LinkId, shop: ShopId, sequence: u64, runs: Vec<RawRun>) {
        if let Some(repair) = &mut self.repair {
            repair.answered(link, shop, sequence, runs);
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        if let Some(repair) = &mut self.repair {
            repair.lost_peer(link);
        }
    }

    /// What came of putting records back.
    pub(super) fn healed(&mut self, outcome: &Result<Healed, JournalError>) {
        if matches!(outcome, Ok(healed) if healed.segments > 0) {
            self.back_off = AGAIN;
        }
    }
}

/// Whether those who should know have told how far each log goes, and nothing is left to fetch: what lay in places that
/// no log lacks a record for is here, or was superseded.
fn is_up_to_date(replica: &Replica, hosted: &Hosted, peers: &Peers) -> bool {
    let links = peers.iter().map(|(link, _)| *link);
    *hosted.signing().borrow() == Signing::Confirmed
        && replica.is_level_with(links, confirming_peers(&hosted.alliance()))
}
