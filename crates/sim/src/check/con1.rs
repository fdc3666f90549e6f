//! CON-1: nodes with the same records have the same public state, and pairs the same pair state; and folding all anew
//! comes to what was folded bit by bit.

use std::{collections::BTreeMap, sync::Arc};

use hutong_core::{alliance::Alliance, fold, pair, report::Summary};
use hutong_record::ShopId;
use hutong_store::{
    journal::{Journal, LogHead, SegmentJournal},
    ledger::{Ledger, Opening, Seat},
};

use super::Invariant;
use crate::{node::NodeNumber, restart::JOURNAL, views::SimViews, world::World};

/// How many nodes' views are folded anew at the end.
const FOLDED_ANEW: usize = 3;

/// Where each log ends: author, number and id of its last record.
type Frontier = Vec<(ShopId, u64, [u8; 32])>;

/// What a node holds of the alliance and of its allies.
#[derive(Debug, PartialEq, Eq)]
struct State {
    public: [u8; 32],
    pairs: Vec<[u8; 32]>,
    summary: Summary,
}

impl World {
    /// Compares the nodes whose frontiers are equal, and that have folded everything.
    pub(super) fn check_same_state(&mut self) {
        let mut groups: BTreeMap<Frontier, Vec<NodeNumber>> = BTreeMap::new();
        for node in self.honest_nodes() {
            if let Some(frontier) = self.folded_frontier(node) {
                groups.entry(frontier).or_default().push(node);
            }
        }
        for nodes in groups.into_values().filter(|nodes| nodes.len() > 1) {
            self.checks.compared += nodes.len() as u64;
            if let Err(what) = self.compare(&nodes) {
                self.broken(Invariant::Con1, what);
            }
        }
    }

    /// Where each log ends, if all of it is folded.
    fn folded_frontier(&self, node: NodeNumber) -> Option<Frontier> {
        let ledger = self.nodes[node].ledger()?;
        let views = ledger.views();
        let folded = |(shop, head): &(ShopId, LogHead)| {
            fold::cursor(&*views, *shop).is_ok_and(|cursor| cursor == head.sequence)
        };
        let frontier = ledger.reader().frontier();
        let whole = frontier.iter().all(folded);
        whole.then(|| frontier.iter().map(|(shop, h)| (*shop, h.sequence, *h.id.as_bytes())).collect())
    }

    fn compare(&self, nodes: &[NodeNumber]) -> Result<(), String> {
        let public = |node: NodeNumber| self.public_digest(node);
        let first = public(nodes[0]);
        if let Some(other) = nodes.iter().find(|node| public(**node) != first) {
            return Err(format!("nodes {} and {other} hold the same records and differ", nodes[0]));
        }
        for (index, one) in nodes.iter().enumerate() {
            for other in &nodes[index + 1..] {
                if self.pair_digest(*one, *other) != self.pair_digest(*other, *one) {
                    return Err(format!("the pair of nodes {one} and {other} differs"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn public_digest(&self, node: NodeNumber) -> Option<[u8; 32]> {
        Alliance::public_digest(&*self.nodes[node].ledger()?.views()).ok()
    }

    fn pair_digest(&self, one: NodeNumber, other: NodeNumber) -> Option<[u8; 32]> {
        let (me, ally) = (self.shops[self.nodes[one].shop].id(), self.shops[self.nodes[other].shop].id());
        Some(pair::report(&*self.nodes[one].ledger()?.views(), me, ally).ok()?.digest)
    }

    /// A few nodes' journals are folded from the start into empty views.
    pub(super) fn check_folded_anew(&mut self) {
        let nodes: Vec<_> = self.honest_nodes().collect();
        for _ in 0..FOLDED_ANEW.min(nodes.len()) {
            let Some(index) = self.below(nodes.len()) else { return };
            if let Err(what) = self.fold_anew(nodes[index]) {
                self.broken(Invariant::Con1, format!("node {}: {what}", nodes[index]));
            }
        }
    }

    fn fold_anew(&self, node: NodeNumber) -> Result<(), String> {
        let slot = &self.nodes[node];
        let Some(ledger) = slot.ledger() else { return Ok(()) };
        let shop = &self.shops[slot.shop];
        let journal = SegmentJournal::open(slot.disk.image(), JOURNAL).map_err(|e| e.to_string())?;
        let journal: Box<dyn Journal> = Box::new(journal);
        let views: Arc<SimViews> = Arc::default();
        let opening = Opening {
            charter: self.charter.clone(),
            me: shop.id(),
            keys: shop.keys.clone(),
            seat: Seat::Kept,
            journal,
            views,
            cryptography: self.memory.clone(),
        };
        let anew = Ledger::open_with(opening, &mut |_, _| {});
        let anew = self.state(&anew.map_err(|e| e.to_string())?, shop.id())?;
        let as_is = self.state(ledger, shop.id())?;
        if anew == as_is { Ok(()) } else { Err(format!("folded anew it is {anew:?}, not {as_is:?}")) }
    }

    fn state(&self, ledger: &Ledger<SimViews>, me: ShopId) -> Result<State, String> {
        let views = ledger.views();
        let pairs = self.shops.iter().filter(|shop| shop.id() != me).map(|shop| {
            let report = pair::report(&*views, me, shop.id()).map_err(|e| e.to_string())?;
            Ok(report.digest)
        });
        Ok(State {
            public: Alliance::public_digest(&*views).map_err(|e| e.to_string())?,
            pairs: pairs.collect::<Result<_, String>>()?,
            summary: Summary::load(&*views).map_err(|e| e.to_string())?,
        })
    }
}
