//! A network in memory: nodes with a replica and a store each, links that keep order within and none between, all
//! decided by one seed.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod liar;
pub mod node;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use hutong_record::{AllianceId, ShopId, UnixMillis};
use hutong_sync::{Frame, Head, LinkId, Output, Side};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use self::{
    liar::Liar,
    node::{Node, shop_of},
};

pub const ALLIANCE: AllianceId = AllianceId::new([7; 32]);

/// Runs a property for seeds 0.., or for the one in `HUTONG_SYNC_SEED`; a failure names the command that replays it.
pub fn for_seeds(test: &str, seeds: u64, property: impl Fn(u64)) {
    let chosen = std::env::var("HUTONG_SYNC_SEED").ok().map(|seed| seed.parse().unwrap());
    let range = chosen.map_or(0..seeds, |seed| seed..seed + 1);
    for seed in range {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| property(seed))) {
            println!("replay: HUTONG_SYNC_SEED={seed} cargo test -p hutong-sync {test} -- --nocapture");
            resume_unwind(panic);
        }
    }
}

pub enum Place {
    Honest(Box<Node>),
    Liar(Liar),
}

/// A connection between two places.
pub struct Wire {
    pub ends: [usize; 2],
    /// Frames on their way to each end.
    pub queues: [VecDeque<Frame>; 2],
    /// Ends that have closed.
    pub closed: [bool; 2],
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Stats {
    pub frames: u64,
    pub records_on_wires: u64,
    pub records_ingested: u64,
    pub duplicates_ingested: u64,
}

pub struct Net {
    pub rng: StdRng,
    pub now_ms: i64,
    pub places: Vec<Place>,
    pub wires: BTreeMap<LinkId, Wire>,
    pub stats: Stats,
    pub trace: Vec<(usize, Frame)>,
    next_link: u64,
}

impl Net {
    pub fn new(seed: u64, honest: usize) -> Self {
        let mut net = Self {
            rng: StdRng::seed_from_u64(seed),
            now_ms: 1_000_000,
            places: Vec::new(),
            wires: BTreeMap::new(),
            stats: Stats::default(),
            trace: Vec::new(),
            next_link: 0,
        };
        for number in 0..honest {
            net.places.push(Place::Honest(Box::new(Node::new(number, BTreeMap::new()))));
        }
        let members: Vec<_> = (0..honest).map(shop_of).collect();
        for number in 0..honest {
            net.with(number, |node, now| node.replica.members_changed(members.clone(), now));
        }
        net
    }

    pub fn now(&self) -> UnixMillis {
        UnixMillis::new(self.now_ms).unwrap()
    }

    pub fn node(&self, number: usize) -> &Node {
        match &self.places[number] {
            Place::Honest(node) => node,
            Place::Liar(_) => panic!("place {number} is a liar"),
        }
    }

    /// Does something to a node, then carries out what comes of it and checks the bounds.
    pub fn with<T>(&mut self, number: usize, act: impl FnOnce(&mut Node, UnixMillis) -> T) -> T {
        let now = self.now();
        let Place::Honest(node) = &mut self.places[number] else { panic!("place {number} is a liar") };
        let result = act(node, now);
        node.check_bounds();
        let mut outputs = Vec::new();
        while let Some(output) = node.replica.next_output() {
            outputs.push(output);
        }
        for output in outputs {
            self.carry_out(number, output);
        }
        result
    }

    fn carry_out(&mut self, number: usize, output: Output) {
        match output {
            Output::Send { link, frame } => self.put(number, link, frame),
            Output::Close { link, .. } => {
                let end = self.end(number, link);
                if let (Some(wire), Some(end)) = (self.wires.get_mut(&link), end) {
                    wire.closed[end] = true;
                    wire.queues[end].clear();
                }
            }
            other => {
                let Place::Honest(node) = &mut self.places[number] else { unreachable!() };
                node.note(other);
            }
        }
    }

    fn end(&self, number: usize, link: LinkId) -> Option<usize> {
        self.wires.get(&link)?.ends.iter().position(|&end| end == number)
    }

    pub fn put(&mut self, from: usize, link: LinkId, frame: Frame) {
        let Some(end) = self.end(from, link) else { return };
        self.stats.frames += 1;
        if let Frame::Records { runs, .. } = &frame {
            self.stats.records_on_wires += runs.iter().map(|run| run.len() as u64).sum::<u64>();
        }
        self.trace.push((from, frame.clone()));
        let wire = self.wires.get_mut(&link).unwrap();
        if !wire.closed[1 - end] {
            wire.queues[1 - end].push_back(frame);
        }
    }

    pub fn connect(&mut self, a: usize, b: usize) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let wire = Wire { ends: [a, b], queues: Default::default(), closed: [false; 2] };
        self.wires.insert(link, wire);
        for (me, other, side) in [(a, b, Side::Dialling), (b, a, Side::Dialled)] {
            match &mut self.places[me] {
                Place::Honest(_) => {
                    self.with(me, |node, now| node.replica.link_up(link, shop_of(other), side, now));
                }
                Place::Liar(liar) => {
                    let frames = liar.greet(&mut self.rng);
                    frames.into_iter().for_each(|frame| self.put(me, link, frame));
                }
            }
        }
        link
    }

    pub fn connected(&self, a: usize, b: usize) -> bool {
        self.wires.values().any(|wire| wire.ends == [a, b] || wire.ends == [b, a])
    }

    /// Cuts a link: what is on its way is lost.
    pub fn cut(&mut self, link: LinkId) {
        let Some(wire) = self.wires.remove(&link) else { return };
        for number in wire.ends {
            if let Place::Honest(_) = self.places[number] {
                self.with(number, |node, now| node.replica.link_down(link, now));
            }
        }
    }

    /// A node writes records of its own.
    pub fn write(&mut self, number: usize, count: usize) {
        self.with(number, |node, now| {
            for _ in 0..count {
                node.write(now);
            }
        });
    }

    /// One random thing happens; false: nothing is left to happen without time passing.
    pub fn step(&mut self) -> bool {
        let mut choices: Vec<(Option<(LinkId, usize)>, usize)> = Vec::new();
        for (link, wire) in &self.wires {
            for end in 0..2 {
                if !wire.queues[end].is_empty() || wire.closed[1 - end] {
                    choices.push((Some((*link, end)), wire.ends[end]));
                }
            }
        }
        for (number, place) in self.places.iter().enumerate() {
            if matches!(place, Place::Honest(node) if !node.tasks.is_empty()) {
                choices.push((None, number));
            }
        }
        if choices.is_empty() {
            return false;
        }
        let (source, number) = choices[self.rng.random_range(0..choices.len())];
        match source {
            Some((link, end)) => self.deliver(link, end, number),
            None => self.work(number),
        }
        true
    }

    fn deliver(&mut self, link: LinkId, end: usize, number: usize) {
        let wire = self.wires.get_mut(&link).unwrap();
        let Some(frame) = wire.queues[end].pop_front() else {
            // The other end has closed, and all that it had sent has arrived.
            self.cut(link);
            return;
        };
        match &mut self.places[number] {
            Place::Honest(_) => self.with(number, |node, now| node.replica.frame_received(link, frame, now)),
            Place::Liar(liar) => {
                let frames = liar.reply(&frame, &mut self.rng);
                frames.into_iter().for_each(|frame| self.put(number, link, frame));
            }
        }
    }

    fn work(&mut self, number: usize) {
        let (ingested, duplicates) = self.with(number, |node, now| node.work(now));
        self.stats.records_ingested += ingested;
        self.stats.duplicates_ingested += duplicates;
    }

    /// Time passes.
    pub fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        for number in 0..self.places.len() {
            if matches!(self.places[number], Place::Honest(_)) {
                self.with(number, |node, now| node.replica.tick(now));
            }
        }
    }

    /// Everything that can happen does, time included, until nothing is left or `ms_max` have passed.
    pub fn settle(&mut self, ms_max: i64) {
        let end = self.now_ms + ms_max;
        let mut steps = 0u64;
        loop {
            while self.step() {
                steps += 1;
                assert!(steps < 3_000_000, "the network never comes to rest");
            }
            let honest = self.places.iter().filter_map(|place| match place {
                Place::Honest(node) => node.replica.next_wakeup(),
                Place::Liar(_) => None,
            });
            match honest.min() {
                Some(at) if at.ms() <= end => self.pass((at.ms() - self.now_ms).max(1)),
                _ => return,
            }
        }
    }

    pub fn heads(&self, number: usize) -> BTreeMap<ShopId, Head> {
        self.node(number).replica.heads().collect()
    }

    pub fn honest(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|&n| matches!(self.places[n], Place::Honest(_))).collect()
    }

    /// CON-2: every honest node holds every honest node's records.
    pub fn assert_converged(&self) {
        let honest = self.honest();
        let mut expected = BTreeMap::new();
        for &number in &honest {
            let shop = shop_of(number);
            if let Some(head) = self.heads(number).get(&shop) {
                expected.insert(shop, *head);
            }
        }
        for &number in &honest {
            let held = self.heads(number);
            let short = |(shop, head): &(&ShopId, &Head)| held.get(*shop) != Some(*head);
            let missing: Vec<_> = expected.iter().filter(short).collect();
            assert!(missing.is_empty(), "CON-2: node {number} differs in {missing:?}, holds {held:?}");
            assert_eq!(held, self.node(number).stored_heads(), "the replica knows what its store holds");
        }
    }

    /// A random connected graph: a tree and some more edges.
    pub fn random_edges(&mut self, nodes: usize) -> Vec<(usize, usize)> {
        let mut edges = BTreeSet::new();
        for number in 1..nodes {
            edges.insert((self.rng.random_range(0..number), number));
        }
        for _ in 0..self.rng.random_range(0..=nodes) {
            let (a, b) = (self.rng.random_range(0..nodes), self.rng.random_range(0..nodes));
            if a != b {
                edges.insert((a.min(b), a.max(b)));
            }
        }
        edges.into_iter().collect()
    }
}
