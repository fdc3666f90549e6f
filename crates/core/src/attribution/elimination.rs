//! Solving a Markov chain by taking its states out one by one.
//!
//! Taking a state out joins each way into it with each way out of it; where all states but the start are gone, the weights
//! of the start's ways say how probable each end is. This is Gaussian elimination on (I - Q)x = r in the form of Grassmann,
//! Taksar and Heyman ("Regenerative analysis and steady state distributions for Markov chains", 1985): the pivot is the sum
//! of a state's ways out, never 1 minus the probability of staying, so nothing is ever subtracted. Every number keeps its
//! relative accuracy in whatever order states are taken out; no pivot has to be searched for by size. The order is then
//! free to keep the graph sparse: fewest joined ways first (Markowitz), then the lowest number. A way from a state to
//! itself only delays and is left out.

use alloc::{collections::BinaryHeap, vec, vec::Vec};
use core::{cmp::Reverse, mem};

use super::AttributionError;

/// A state, or an end of the chain.
pub(super) type Node = u32;

/// A way from one node to another: where to, and its weight, above zero.
type Way = (Node, f64);

/// Ways between nodes. A node with no way out is an end.
#[derive(Clone)]
pub(super) struct Graph {
    /// The ways out of a node, by where they lead.
    out: Vec<Vec<Way>>,
    /// From where ways lead into a node, in no order. Nodes that have become ends or were taken out stay in the list; they
    /// are known by having no way out.
    into: Vec<Vec<Node>>,
    /// How many ways lead into a node.
    into_count: Vec<usize>,
    /// A list that is used again and again.
    merged: Vec<Way>,
}

/// Counts what is done, and stops where it is too much: the same on every node, unlike a clock.
pub(super) struct Work {
    left: u64,
}

impl Work {
    pub(super) const fn new(updates_max: u64) -> Self {
        Self { left: updates_max }
    }

    fn take(&mut self, updates: usize) -> Result<(), AttributionError> {
        self.left = self.left.checked_sub(updates as u64).ok_or(AttributionError::TooMuchWork)?;
        Ok(())
    }
}

const fn at(node: Node) -> usize {
    node as usize
}

impl Graph {
    /// A graph of `nodes` nodes and the ways given as from, to and count, sorted and each once.
    pub(super) fn new(nodes: usize, ways: impl Iterator<Item = ((Node, Node), u64)>) -> Self {
        let mut graph = Self {
            out: vec![Vec::new(); nodes],
            into: vec![Vec::new(); nodes],
            into_count: vec![0; nodes],
            merged: Vec::new(),
        };
        for ((from, to), count) in ways.filter(|((from, to), count)| from != to && *count > 0) {
            graph.out[at(from)].push((to, count as f64));
            graph.note_way_in(from, to);
        }
        graph
    }

    /// How probable it is to go from `from` to `to`, once all between is taken out.
    pub(super) fn probability(&self, from: Node, to: Node) -> f64 {
        let ways = &self.out[at(from)];
        let weight = ways.iter().find(|way| way.0 == to).map_or(0.0, |way| way.1);
        if weight > 0.0 { weight / sum(ways) } else { 0.0 }
    }

    /// Makes an end of a node: what happens after it does not matter.
    pub(super) fn end_at(&mut self, node: Node) {
        for (to, _) in mem::take(&mut self.out[at(node)]) {
            self.into_count[at(to)] -= 1;
        }
    }

    /// Takes nodes out that are no ends, and leaves what is probable among the others unchanged.
    pub(super) fn take_out(&mut self, nodes: &[Node], work: &mut Work) -> Result<(), AttributionError> {
        let mut queue: BinaryHeap<_> = nodes.iter().map(|&node| Reverse((self.cost(node), node))).collect();
        while let Some(Reverse((cost, node))) = queue.pop() {
            let now = self.cost(node);
            if now > cost {
                queue.push(Reverse((now, node)));
            } else {
                self.take_one_out(node, work)?;
            }
        }
        Ok(())
    }

    /// The ways that taking a node out joins.
    fn cost(&self, node: Node) -> usize {
        self.into_count[at(node)] * self.out[at(node)].len()
    }

    fn take_one_out(&mut self, node: Node, work: &mut Work) -> Result<(), AttributionError> {
        let ways = mem::take(&mut self.out[at(node)]);
        let all = sum(&ways);
        for &(to, _) in &ways {
            self.into_count[at(to)] -= 1;
        }
        for from in mem::take(&mut self.into[at(node)]) {
            if !self.out[at(from)].is_empty() {
                work.take(ways.len() + self.out[at(from)].len())?;
                self.lead_on(from, node, &ways, all);
            }
        }
        self.into_count[at(node)] = 0;
        Ok(())
    }

    /// A way from a node to itself will be left out.
    fn note_way_in(&mut self, from: Node, to: Node) {
        if from != to {
            self.into[at(to)].push(from);
            self.into_count[at(to)] += 1;
        }
    }

    /// Replaces the way from `from` to `through` by ways to where `through` leads. Both lists are sorted, so this is one merge.
    fn lead_on(&mut self, from: Node, through: Node, ways: &[Way], all: f64) {
        let mut merged = mem::take(&mut self.merged);
        merged.clear();
        let mut own = mem::take(&mut self.out[at(from)]);
        let replaced = own.binary_search_by_key(&through, |way| way.0).expect("a way in is a way out");
        let factor = own.remove(replaced).1 / all;
        let mut more = ways;
        for &(to, weight) in &own {
            while let [(new, further), rest @ ..] = more
                && *new < to
            {
                self.note_way_in(from, *new);
                merged.push((*new, factor * further));
                more = rest;
            }
            if let [(same, further), rest @ ..] = more
                && *same == to
            {
                merged.push((to, weight + factor * further));
                more = rest;
            } else {
                merged.push((to, weight));
            }
        }
        for (new, further) in more {
            self.note_way_in(from, *new);
            merged.push((*new, factor * further));
        }
        self.out[at(from)] = merged;
        self.merged = own;
        self.leave_out_way_to_itself(from);
    }

    fn leave_out_way_to_itself(&mut self, node: Node) {
        let ways = &mut self.out[at(node)];
        if let Ok(found) = ways.binary_search_by_key(&node, |way| way.0) {
            ways.remove(found);
        }
    }
}

/// From the first to the last, so always the same.
fn sum(ways: &[Way]) -> f64 {
    ways.iter().fold(0.0, |sum, way| sum + way.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: u64 = 1_000_000;

    #[test]
    fn a_way_round_and_back_only_delays() {
        // From 0 to 1; from 1 back to 0 half the time, else to the end 2 (3 of 4) or 3 (1 of 4).
        let ways = [((0, 1), 8), ((1, 0), 4), ((1, 1), 90), ((1, 2), 3), ((1, 3), 1)];
        let mut graph = Graph::new(4, ways.into_iter());
        graph.take_out(&[1], &mut Work::new(PLENTY)).unwrap();
        assert_eq!(graph.probability(0, 2), 0.75);
        assert_eq!(graph.probability(0, 3), 0.25);
        assert_eq!(graph.probability(0, 1), 0.0);
    }

    #[test]
    fn nothing_after_an_end_matters() {
        let ways = [((0, 1), 1), ((0, 2), 1), ((1, 2), 5)];
        let mut graph = Graph::new(3, ways.into_iter());
        graph.end_at(1);
        assert_eq!(graph.probability(0, 2), 0.5);
        assert!(graph.into_count[2] == 1 && graph.out[1].is_empty());
    }

    #[test]
    fn too_much_work_is_refused() {
        let ways = [((0, 1), 1), ((1, 2), 1)];
        let mut graph = Graph::new(3, ways.into_iter());
        assert_eq!(graph.take_out(&[1], &mut Work::new(1)), Err(AttributionError::TooMuchWork));
    }
}
