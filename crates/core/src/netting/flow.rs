//! The cheapest flow that carries all net positions, where each edge costs one a unit, debt or line. Of the cheapest ones,
//! one that draws the least on lines.
//!
//! The primal-dual method (Ford and Fulkerson; Ahuja, Magnanti and Orlin, "Network Flows", section 9.8): potentials keep all
//! reduced costs at zero or above. Each phase finds by Dijkstra's method how far the nearest shop with a claim is from the
//! shops with a debt, raises the potentials by as much, and then sends as much as it can over edges of reduced cost zero
//! (Dinic's method). That distance grows from phase to phase and cannot pass the number of shops, so there are few phases.
//!
//! What draws least is found by the same method again, among the cheapest flows alone: by complementary slackness these are
//! the flows that differ only on edges of reduced cost zero. There a debt costs nothing, and a line one a unit.
//!
//! Everything is an integer and every list has a fixed order: the same debts and lines give the same flow.

use alloc::{
    collections::{BinaryHeap, VecDeque},
    vec,
    vec::Vec,
};
use core::cmp::Reverse;

/// What a flow goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// A debt, which is there from the beginning.
    Debt,
    /// A credit line, on which nothing is drawn in the beginning.
    Line,
}

/// At most `capacity` can flow from one shop to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) capacity: i64,
    pub(super) carrier: Carrier,
}

/// An edge, or the way back over it. Those of one edge stand at `2 * edge` and `2 * edge + 1`.
struct Arc {
    to: usize,
    left: i64,
    cost: i64,
}

const NOWHERE: usize = usize::MAX;

/// The cheapest flow with the same balance at each shop as if all debts were full and all lines empty, by edge; of several,
/// one that draws the least on lines. Capacities are above zero, and those of the debts add up to no more than an `i64`.
pub(super) fn cheapest(shops: usize, edges: &[Edge]) -> Vec<i64> {
    let debts = edges.iter().filter(|edge| edge.carrier == Carrier::Debt);
    let mut network = Network::new(balances(shops, debts.map(|edge| (edge, edge.capacity))));
    edges.iter().for_each(|edge| network.add(edge, 1));
    network.solve();
    let mut drawn = network.flows().zip(edges).filter(|(_, edge)| edge.carrier == Carrier::Line);
    if drawn.any(|(flow, _)| flow > 0) { network.drawing_least(edges) } else { network.flows().collect() }
}

/// What flows out of each shop, less what flows in.
fn balances<'e>(shops: usize, flows: impl Iterator<Item = (&'e Edge, i64)>) -> Vec<i64> {
    let mut balances = vec![0; shops];
    for (edge, flow) in flows {
        balances[edge.from] += flow;
        balances[edge.to] -= flow;
    }
    balances
}

struct Network {
    arcs: Vec<Arc>,
    /// By shop: the arcs that leave it.
    leaving: Vec<Vec<usize>>,
    /// By shop: what must still leave it (above zero) or reach it (below).
    excess: Vec<i64>,
    potential: Vec<i64>,
    /// By shop: steps from a shop with excess, over open arcs.
    level: Vec<usize>,
    /// By shop: which of its arcs is tried next.
    next: Vec<usize>,
}

impl Network {
    /// No edges yet, and so much that must leave each shop or reach it.
    fn new(excess: Vec<i64>) -> Self {
        let shops = excess.len();
        Self {
            arcs: Vec::new(),
            leaving: vec![Vec::new(); shops],
            excess,
            potential: vec![0; shops],
            level: vec![NOWHERE; shops],
            next: vec![0; shops],
        }
    }

    /// An edge on which nothing flows yet; `cost` is not below zero.
    fn add(&mut self, edge: &Edge, cost: i64) {
        self.leaving[edge.from].push(self.arcs.len());
        self.arcs.push(Arc { to: edge.to, left: edge.capacity, cost });
        self.leaving[edge.to].push(self.arcs.len());
        self.arcs.push(Arc { to: edge.from, left: 0, cost: -cost });
    }

    fn solve(&mut self) {
        while self.raise_potentials() {
            while self.find_levels() {
                self.fill_levels();
            }
        }
    }

    /// By edge.
    fn flows(&self) -> impl Iterator<Item = i64> + '_ {
        self.arcs.chunks_exact(2).map(|both| both[1].left)
    }

    /// Of all flows as cheap as the one found, one that draws the least on lines. Edges of other reduced costs are empty, or
    /// full, in every one of them.
    fn drawing_least(&self, edges: &[Edge]) -> Vec<i64> {
        let mut flows: Vec<i64> = self.flows().collect();
        let is_free = |edge: &usize| self.reduced_cost(edges[*edge].from, &self.arcs[2 * edge]) == 0;
        let free: Vec<usize> = (0..edges.len()).filter(is_free).collect();
        let mut network =
            Self::new(balances(self.excess.len(), free.iter().map(|&edge| (&edges[edge], flows[edge]))));
        for &edge in &free {
            network.add(&edges[edge], i64::from(edges[edge].carrier == Carrier::Line));
        }
        network.solve();
        for (edge, flow) in free.into_iter().zip(network.flows()) {
            flows[edge] = flow;
        }
        flows
    }

    /// Not below zero where the arc has room.
    fn reduced_cost(&self, from: usize, arc: &Arc) -> i64 {
        arc.cost + self.potential[from] - self.potential[arc.to]
    }

    fn is_open(&self, from: usize, arc: &Arc) -> bool {
        arc.left > 0 && self.reduced_cost(from, arc) == 0
    }

    fn shops_with_excess(&self) -> impl Iterator<Item = usize> {
        (0..self.excess.len()).filter(|&shop| self.excess[shop] > 0)
    }

    /// Makes open arcs of the shortest ways from shops with excess to the nearest that lack something. False if all is done.
    fn raise_potentials(&mut self) -> bool {
        let mut distance = vec![i64::MAX; self.excess.len()];
        let mut queue: BinaryHeap<_> = self.shops_with_excess().map(|shop| Reverse((0, shop))).collect();
        for shop in self.shops_with_excess() {
            distance[shop] = 0;
        }
        while let Some(Reverse((so_far, shop))) = queue.pop() {
            if so_far > distance[shop] {
                continue;
            }
            if self.excess[shop] < 0 {
                // Shops beyond are raised by as much: no reduced cost falls below zero.
                for (potential, distance) in self.potential.iter_mut().zip(&distance) {
                    *potential += so_far.min(*distance);
                }
                return true;
            }
            for arc in self.leaving[shop].iter().map(|&arc| &self.arcs[arc]).filter(|arc| arc.left > 0) {
                let further = so_far + self.reduced_cost(shop, arc);
                if further < distance[arc.to] {
                    distance[arc.to] = further;
                    queue.push(Reverse((further, arc.to)));
                }
            }
        }
        // There is such a flow to begin with, so what must leave always finds its way.
        debug_assert!(self.excess.iter().all(|excess| *excess == 0), "a claim nobody can reach");
        false
    }

    /// Counts the steps over open arcs. False if no shop that lacks something is reached.
    fn find_levels(&mut self) -> bool {
        self.level.fill(NOWHERE);
        self.next.fill(0);
        let mut queue: VecDeque<usize> = self.shops_with_excess().collect();
        for &shop in &queue {
            self.level[shop] = 0;
        }
        let mut reached = false;
        while let Some(shop) = queue.pop_front() {
            reached |= self.excess[shop] < 0;
            for &arc in &self.leaving[shop] {
                let arc = &self.arcs[arc];
                if self.level[arc.to] == NOWHERE && self.is_open(shop, arc) {
                    self.level[arc.to] = self.level[shop] + 1;
                    queue.push_back(arc.to);
                }
            }
        }
        reached
    }

    /// Sends what can be sent from level to level.
    fn fill_levels(&mut self) {
        for source in 0..self.excess.len() {
            while self.excess[source] > 0 {
                let Some(way) = self.find_way(source) else { break };
                self.send(source, &way);
            }
        }
    }

    /// Arcs from a shop with excess to one that lacks something. Arcs that lead nowhere are not tried again.
    fn find_way(&mut self, source: usize) -> Option<Vec<usize>> {
        let mut way: Vec<usize> = Vec::new();
        let mut shop = source;
        while self.excess[shop] >= 0 {
            if let Some(&arc) = self.leaving[shop].get(self.next[shop]) {
                let Arc { to, .. } = self.arcs[arc];
                if self.level[to] == self.level[shop] + 1 && self.is_open(shop, &self.arcs[arc]) {
                    way.push(arc);
                    shop = to;
                } else {
                    self.next[shop] += 1;
                }
            } else {
                let back = way.pop()?;
                shop = self.arcs[back ^ 1].to;
                self.next[shop] += 1;
            }
        }
        Some(way)
    }

    fn send(&mut self, source: usize, way: &[usize]) {
        let Some(&last) = way.last() else { return };
        let sink = self.arcs[last].to;
        let narrowest = way.iter().map(|&arc| self.arcs[arc].left).min().unwrap_or(0);
        let amount = narrowest.min(self.excess[source]).min(-self.excess[sink]);
        for &arc in way {
            self.arcs[arc].left -= amount;
            self.arcs[arc ^ 1].left += amount;
        }
        self.excess[source] -= amount;
        self.excess[sink] += amount;
    }
}
