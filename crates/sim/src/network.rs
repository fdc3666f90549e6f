//! The lines between shops: streams that keep order, take time, break, and can be cut off in one direction or both.

use std::collections::{BTreeMap, VecDeque};

use hutong_core::roster::Standing;
use hutong_record::ShopId;
use hutong_sync::{Frame, LinkId, Side};
use rand::RngExt as _;

use crate::{
    clock::MINUTE_MS,
    node::{NodeNumber, ShopNumber},
    world::{Event, World},
};

/// The shortest and the longest way of a frame, ms.
const LATENCY_MS: std::ops::Range<i64> = 2..180;
/// What a frame may take longer than its link usually takes, ms.
const JITTER_MS_MAX: i64 = 40;
/// Transport keep-alive finds a dead line after this, ms.
const KEEP_ALIVE_MS: std::ops::Range<i64> = 10_000..40_000;
/// Waits between dials double from the first to the last of these.
/// A link that lives this long counts as good, ms.
const PROBATION_MS: i64 = 5_000;
const BACK_OFF_FIRST_MS: i64 = 250;
const BACK_OFF_LAST_MS: i64 = MINUTE_MS;
/// A frame that cannot pass is tried again after this, ms; transport does so.
const RESEND_MS: i64 = 1_000;

/// A connection between two nodes.
pub(crate) struct Wire {
    pub(crate) ends: [NodeNumber; 2],
    latency_ms: i64,
    /// Frames on their way to each end.
    queues: [VecDeque<Frame>; 2],
    /// When the last of them arrives.
    last_ms: [i64; 2],
    /// Ends that know it as open.
    open: [bool; 2],
}

/// A cut: one part of the street apart from the rest, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut(u64);

struct Wall {
    inside: Vec<bool>,
    /// Whether frames pass from outside to inside.
    one_way: bool,
}

/// All lines.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) wires: BTreeMap<LinkId, Wire>,
    walls: BTreeMap<Cut, Wall>,
    links_made: u64,
    cuts_made: u64,
}

impl Network {
    /// Parts the nodes that are inside from the others.
    pub(crate) fn part(&mut self, inside: Vec<bool>, one_way: bool) -> Cut {
        self.cuts_made += 1;
        self.walls.insert(Cut(self.cuts_made), Wall { inside, one_way });
        Cut(self.cuts_made)
    }

    /// Ends a cut.
    pub(crate) fn rejoin(&mut self, cut: Cut) {
        self.walls.remove(&cut);
    }

    /// Ends all cuts.
    pub(crate) fn rejoin_all(&mut self) {
        self.walls.clear();
    }

    /// Whether frames pass from one node to another.
    pub(crate) fn passes(&self, from: NodeNumber, to: NodeNumber) -> bool {
        let inside = |wall: &Wall, node: NodeNumber| wall.inside.get(node).copied().unwrap_or_default();
        self.walls.values().all(|wall| {
            let (from, to) = (inside(wall, from), inside(wall, to));
            from == to || (wall.one_way && to)
        })
    }
}

impl World {
    /// Whether a node lets another in: members, and those whom it does not know yet.
    fn lets_in(&self, node: NodeNumber, caller: NodeNumber) -> bool {
        let caller = self.shops[self.nodes[caller].shop].id();
        let Some(ledger) = self.nodes[node].ledger() else { return false };
        ledger.alliance().roster().shop(caller).is_none_or(|member| member.standing == Standing::Member)
    }

    /// Whether a line between two nodes is open, as far as both know.
    fn connected(&self, one: NodeNumber, other: NodeNumber) -> bool {
        let mut wires = self.nodes[one].links.iter().filter_map(|link| self.network.wires.get(link));
        wires.any(|wire| wire.ends.contains(&other) && wire.open == [true, true])
    }

    /// A line from one node to another, which dials. False: it does not come about.
    fn connect(&mut self, from: NodeNumber, to: NodeNumber) -> bool {
        let reachable = self.network.passes(from, to) && self.network.passes(to, from);
        if !reachable || self.nodes[to].process.is_none() {
            return false;
        }
        self.network.links_made += 1;
        let shop = self.nodes[to].shop;
        self.nodes[from].dialled_ms.insert(shop, self.now_ms);
        let link = LinkId(self.network.links_made);
        let latency_ms = self.rng.random_range(LATENCY_MS);
        self.trace.event(self.now_ms, "connect", &[link.0, from as u64, to as u64]);
        let wire = Wire {
            ends: [from, to],
            latency_ms,
            queues: Default::default(),
            last_ms: [self.now_ms; 2],
            open: [true; 2],
        };
        self.network.wires.insert(link, wire);
        for (me, other, side) in [(from, to, Side::Dialling), (to, from, Side::Dialled)] {
            let peer = self.shops[self.nodes[other].shop].id();
            self.nodes[me].links.insert(link);
            self.replicate(me, |replica, now| replica.link_up(link, peer, side, now));
        }
        true
    }

    /// Puts a frame on a line.
    pub(crate) fn put(&mut self, from: NodeNumber, link: LinkId, frame: Frame) {
        let jitter_ms = self.rng.random_range(0..=JITTER_MS_MAX);
        let Some(wire) = self.network.wires.get_mut(&link) else { return };
        let end = usize::from(wire.ends[0] == from);
        if !wire.open[1 - end] || !wire.open[end] {
            return;
        }
        let at_ms = (self.now_ms + wire.latency_ms + jitter_ms).max(wire.last_ms[end]);
        wire.last_ms[end] = at_ms;
        wire.queues[end].push_back(frame);
        self.queue.plan(at_ms, Event::Deliver(link, end));
    }

    /// A frame reaches an end, unless the way is cut off.
    pub(crate) fn deliver(&mut self, link: LinkId, end: usize) {
        let Some(wire) = self.network.wires.get_mut(&link) else { return };
        let (from, to) = (wire.ends[1 - end], wire.ends[end]);
        if wire.queues[end].is_empty() || !wire.open[end] {
            return;
        }
        if !self.network.passes(from, to) {
            self.after(RESEND_MS, Event::Deliver(link, end));
            return;
        }
        let frame = self.network.wires.get_mut(&link).and_then(|wire| wire.queues[end].pop_front());
        let Some(frame) = frame else { return };
        self.trace.event(self.now_ms, frame.name(), &[link.0, end as u64, frame_size(&frame)]);
        self.nodes[to].heard_ms = self.now_ms;
        self.replicate(to, |replica, now| replica.frame_received(link, frame, now));
    }

    /// An end finds the line gone.
    pub(crate) fn link_lost(&mut self, link: LinkId, end: usize) {
        let Some(wire) = self.network.wires.get_mut(&link) else { return };
        if !std::mem::replace(&mut wire.open[end], false) {
            return;
        }
        wire.queues[end].clear();
        let node = wire.ends[end];
        self.trace.event(self.now_ms, "link lost", &[link.0, end as u64]);
        self.forget_link(link);
        self.nodes[node].links.remove(&link);
        self.replicate(node, |replica, now| replica.link_down(link, now));
        self.plan_dial(node);
    }

    /// Drops a line that neither end knows as open any more; else the other end finds out, soon or late.
    fn forget_link(&mut self, link: LinkId) {
        let Some(wire) = self.network.wires.get(&link) else { return };
        let Some(other) = (0..2).find(|end| wire.open[*end]) else {
            self.network.wires.remove(&link);
            return;
        };
        let (gone, left) = (wire.ends[1 - other], wire.ends[other]);
        let wait_ms = match self.network.passes(gone, left) {
            true => wire.latency_ms,
            false => self.rng.random_range(KEEP_ALIVE_MS),
        };
        // What was sent before arrives first.
        let at_ms = (self.now_ms + wait_ms).max(wire.last_ms[other]);
        self.queue.plan(at_ms, Event::LinkLost(link, other));
    }

    /// The node at an end closes the line.
    pub(crate) fn close_link(&mut self, node: NodeNumber, link: LinkId) {
        let Some(wire) = self.network.wires.get_mut(&link) else { return };
        let end = usize::from(wire.ends[1] == node);
        wire.open[end] = false;
        wire.queues[end].clear();
        self.nodes[node].links.remove(&link);
        self.forget_link(link);
        self.plan_dial(node);
    }

    /// A line breaks: what is on its way is lost, and both ends find out.
    pub(crate) fn break_link(&mut self, link: LinkId) {
        let Some(wire) = self.network.wires.get_mut(&link) else { return };
        wire.queues.iter_mut().for_each(VecDeque::clear);
        for end in 0..2 {
            let wait_ms = self.rng.random_range(0..500);
            self.after(wait_ms, Event::LinkLost(link, end));
        }
    }

    /// Every line that a wall now cuts will be found dead, if the wall still stands then.
    pub(crate) fn doubt_links(&mut self) {
        let cut = |wire: &Wire| {
            let [one, other] = wire.ends;
            !(self.network.passes(one, other) && self.network.passes(other, one))
        };
        let doubtful: Vec<_> =
            self.network.wires.iter().filter(|(_, w)| cut(w)).map(|(link, _)| *link).collect();
        for link in doubtful {
            for end in 0..2 {
                let wait_ms = self.rng.random_range(KEEP_ALIVE_MS);
                self.after(wait_ms, Event::KeepAlive(link, end));
            }
        }
    }

    pub(crate) fn keep_alive(&mut self, link: LinkId, end: usize) {
        let Some(wire) = self.network.wires.get(&link) else { return };
        let [one, other] = wire.ends;
        if !(self.network.passes(one, other) && self.network.passes(other, one)) {
            self.link_lost(link, end);
        }
    }

    pub(crate) fn plan_dial(&mut self, node: NodeNumber) {
        let wait_ms = self.nodes[node].back_off_ms + self.rng.random_range(50..BACK_OFF_FIRST_MS);
        let boot = self.nodes[node].boots;
        let Some(process) = &mut self.nodes[node].process else { return };
        if !std::mem::replace(&mut process.dial_planned, true) {
            self.after(wait_ms, Event::Dial(node, boot));
        }
    }

    /// Dials the members on the circle to whom there is no link.
    pub(crate) fn dial(&mut self, node: NodeNumber) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.dial_planned = false;
        let mut failed = false;
        for shop in self.targets(node) {
            let nodes = &self.shops[shop].nodes;
            // Of a shop and its copy, some meet the one and some the other.
            let to = nodes[node % nodes.len()];
            // Whoever is refused by name does not dial again before the roster changes.
            let welcome = self.nodes[to].process.is_none() || self.lets_in(to, node);
            if to == node || !welcome || self.connected(node, to) {
                continue;
            }
            // A peer that answers and goes at once is not dialled at once.
            let dialled_ms = self.nodes[node].dialled_ms.get(&shop).copied();
            let waits = dialled_ms.is_some_and(|at| self.now_ms < at + PROBATION_MS);
            failed |= waits || !self.connect(node, to);
        }
        let back_off_ms = &mut self.nodes[node].back_off_ms;
        if failed {
            *back_off_ms = (*back_off_ms * 2).clamp(BACK_OFF_FIRST_MS, BACK_OFF_LAST_MS);
            self.plan_dial(node);
        } else {
            *back_off_ms = 0;
        }
    }

    /// Shops to link to, by the roster that the node knows; the founder's, while it knows nobody.
    fn targets(&mut self, node: NodeNumber) -> Vec<ShopNumber> {
        let me = self.shops[self.nodes[node].shop].id();
        let Some(ledger) = self.nodes[node].ledger() else { return Vec::new() };
        let roster = ledger.alliance().roster();
        let others: Vec<_> = (0..self.shops.len())
            .map(|s| self.shops[s].id())
            .filter(|id| *id != me && roster.member(*id).is_some())
            .collect();
        let stranger = roster.member(me).is_none();
        let mut chosen = self.neighbours(node, me, others);
        let bootstrap = stranger && !chosen.contains(&0) && self.nodes[node].shop != 0;
        chosen.extend(bootstrap.then_some(0));
        chosen
    }

    /// The neighbours on the circle among some shops: placed anew only when these are others than last time.
    fn neighbours(&mut self, node: NodeNumber, me: ShopId, others: Vec<ShopId>) -> Vec<ShopNumber> {
        if let Some((placed, chosen)) = &self.nodes[node].circle
            && *placed == others
        {
            return chosen.clone();
        }
        let neighbours = hutong_sync::neighbours(me, &others);
        let is_one = |s: &ShopNumber| neighbours.contains(&self.shops[*s].id());
        let chosen: Vec<_> = (0..self.shops.len()).filter(is_one).collect();
        self.nodes[node].circle = Some((others, chosen.clone()));
        chosen
    }
}

fn frame_size(frame: &Frame) -> u64 {
    match frame {
        Frame::Frontier { heads, .. }
        | Frame::Part { heads, .. }
        | Frame::Counterpart { heads, .. }
        | Frame::Have { heads } => heads.len() as u64,
        Frame::Sketch { bucket_count, .. } => u64::from(*bucket_count),
        Frame::Want { from_sequence, .. } => *from_sequence,
        Frame::Records { runs, .. } => runs.iter().map(|run| run.len() as u64).sum(),
        Frame::Alarm { proof, .. } => proof.len() as u64,
        Frame::Hello { .. } | Frame::Filled | Frame::Goodbye { .. } => 0,
    }
}
