//! Tills: they ask their shop's node, wait, ask again under the same request id, and take the answer.

use hutong_core::{
    answer::{Answer, RequestTag},
    command::Confirmation,
    refusal::{Reason, Refusal},
};
use hutong_record::request_hash;
use hutong_store::writer::Job;
use rand::RngExt as _;

use crate::{
    action::{Action, is_kept},
    clock::{HOUR_MS, MINUTE_MS},
    confirm::Confirming,
    fault::FaultKind,
    node::{NodeNumber, RequestNumber, ShopNumber},
    workload::Purpose,
    world::{Event, Outcome, World},
};

/// From the till to the node or back, ms.
const WAY_MS: std::ops::Range<i64> = 1..30;
/// A till's patience doubles from this, ms.
const PATIENCE_MS: i64 = 4_000;
/// At most so long, ms.
const PATIENCE_MS_MAX: i64 = 10 * MINUTE_MS;
/// How often an answer is lost on its way to the till, in the storm.
const LOST: f64 = 0.04;
/// How often a till asks again what it was told.
const REPEATED: f64 = 0.06;

/// What a till asks, and how far it is.
pub(crate) struct Request {
    pub(crate) shop: ShopNumber,
    pub(crate) action: Action,
    pub(crate) purpose: Purpose,
    tag: RequestTag,
    tries: u32,
    /// The till still waits.
    pub(crate) open: bool,
    /// How far the node is with asking the voucher's home.
    pub(crate) confirming: Option<Confirming>,
    /// What it was told: first, or first of what is told for good.
    pub(crate) told: Option<Result<Answer, Refusal>>,
}

impl Request {
    /// What the till was told for good; none: nothing yet, or what was true at the moment only.
    pub(crate) fn settled(&self) -> Option<&Result<Answer, Refusal>> {
        self.told.as_ref().filter(|told| match told {
            Ok(_) => true,
            Err(refusal) => is_kept(&self.action, refusal.reason),
        })
    }

    /// Whether the voucher's home was asked on the way.
    pub(crate) const fn confirmed(&self) -> bool {
        self.confirming.is_some()
    }
}

impl World {
    /// A till asks something new. Its number.
    pub(crate) fn ask(&mut self, shop: ShopNumber, action: Action, purpose: Purpose) -> RequestNumber {
        let id = format!("till-{shop}-{}", self.requests.len());
        let hash = request_hash(format!("{id} {action:?}").as_bytes());
        self.ask_as(RequestTag { id, hash }, shop, action, purpose)
    }

    /// A till asks under a request id that was used before, for something else.
    pub(crate) fn ask_otherwise(&mut self, earlier: RequestNumber, action: Action) {
        let Request { shop, tag, .. } = &self.requests[earlier];
        let (shop, id) = (*shop, tag.id.clone());
        let hash = request_hash(format!("{id} otherwise {action:?}").as_bytes());
        self.ask_as(RequestTag { id, hash }, shop, action, Purpose::Otherwise { earlier });
    }

    fn ask_as(
        &mut self,
        tag: RequestTag,
        shop: ShopNumber,
        action: Action,
        purpose: Purpose,
    ) -> RequestNumber {
        let (tries, open) = (0, true);
        self.requests.push(Request { shop, action, purpose, tag, tries, open, confirming: None, told: None });
        let number = self.requests.len() - 1;
        self.send_request(number);
        number
    }

    pub(crate) fn send_request(&mut self, number: RequestNumber) {
        let request = &mut self.requests[number];
        request.tries += 1;
        let tries = request.tries;
        let patience_ms = (PATIENCE_MS << tries.min(10)).min(PATIENCE_MS_MAX);
        let way_ms = self.rng.random_range(WAY_MS);
        self.after(way_ms, Event::Ask(number));
        self.after(patience_ms, Event::Impatient(number, tries));
    }

    /// A till has waited long enough.
    pub(crate) fn impatient(&mut self, number: RequestNumber, tries: u32) {
        let request = &self.requests[number];
        if !request.open || request.tries != tries {
            return;
        }
        if self.shops[request.shop].nodes.iter().all(|node| self.nodes[*node].shut) {
            self.requests[number].open = false;
        } else {
            self.send_request(number);
        }
    }

    /// All who wait ask again now. Whoever waits at a cheat's goes home: what a cheat wrote may keep its own node from
    /// ever answering.
    pub(crate) fn ask_all_again(&mut self) {
        for number in 0..self.requests.len() {
            let honest = self.shops[self.requests[number].shop].faulty.is_none();
            self.requests[number].open &= honest;
            if self.requests[number].open {
                self.requests[number].tries = 0;
                self.send_request(number);
            }
        }
    }

    /// A till repeats what it was told the outcome of. What was refused for the moment only is tried in earnest: the till
    /// waits for the answer, for the node may carry it out now.
    pub(crate) fn ask_again(&mut self, number: RequestNumber) {
        if self.requests[number].settled().is_some() {
            return self.arrive(number);
        }
        self.requests[number].open = true;
        self.requests[number].tries = 0;
        self.send_request(number);
    }

    /// The node that a till talks to: its shop's, or one of them where there are copies.
    pub(crate) fn node_of(&self, number: RequestNumber) -> NodeNumber {
        let nodes = &self.shops[self.requests[number].shop].nodes;
        nodes[number % nodes.len()]
    }

    /// A request reaches the node.
    pub(crate) fn arrive(&mut self, number: RequestNumber) {
        let node = self.node_of(number);
        let Request { action, tag, confirming, .. } = &self.requests[number];
        let confirmation = confirming.map_or(Confirmation::NotAsked, |c| c.outcome);
        self.trace.event(self.now_ms, action.name(), &[node as u64, number as u64]);
        let command = Box::new(action.command(tag.clone(), self.clock(node), confirmation));
        if self.nodes[node].process.is_some() {
            self.checks
                .asked(&self.requests[number], self.shops[self.requests[number].shop].faulty.is_none());
            self.give(node, Job::Execute { command, till: number });
        }
    }

    /// The node answers.
    pub(crate) fn reply(&mut self, number: RequestNumber, outcome: Outcome) {
        if number >= self.requests.len() {
            return; // the setup's own commands, for which no till waits
        }
        if self.strikes(FaultKind::AnswerLost, LOST) {
            self.faults.add(FaultKind::AnswerLost);
            return;
        }
        let way_ms = self.rng.random_range(WAY_MS);
        self.after(way_ms, Event::Answer(number, Box::new(outcome)));
    }

    /// The answer reaches the till.
    pub(crate) fn answered(&mut self, number: RequestNumber, outcome: Outcome) {
        if let Purpose::AskHome { visit } = self.requests[number].purpose {
            return self.home_asked(number, visit, &outcome);
        }
        let told = match outcome {
            Ok(executed) => executed.answer.ok_or(Refusal::new(Reason::Busy)),
            Err(refusal) => Err(refusal),
        };
        if matches!(&told, Err(refusal) if refusal.reason == Reason::Busy) {
            return; // the till will ask again
        }
        if self.needs_home(number, &told) {
            return self.ask_home(number);
        }
        if self.is_overtaken(number, &told) {
            return self.send_request(number);
        }
        self.progress_ms = self.now_ms;
        self.trace.event(self.now_ms, "answered", &[number as u64, u64::from(told.is_ok())]);
        let honest = self.shops[self.requests[number].shop].faulty.is_none();
        if honest {
            let outcome = self.checks.repeat(&self.requests[number], &told);
            self.expect(outcome);
        }
        let first = std::mem::replace(&mut self.requests[number].open, false);
        if self.requests[number].settled().is_none() {
            self.requests[number].told = Some(told.clone());
        }
        if self.strikes(FaultKind::Repeat, REPEATED) {
            self.faults.add(FaultKind::Repeat);
            let wait_ms = self.rng.random_range(0..3 * HOUR_MS);
            self.after(wait_ms, Event::AskAgain(number));
        }
        if honest {
            self.observe_answer(number, &told);
        }
        if first {
            self.go_on(number, told);
        }
    }
}
