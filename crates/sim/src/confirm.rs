//! Asking a voucher's home: what a node does between a till's request and its answer when the right to the voucher is
//! elsewhere. It asks for the right, waits for the answer as long as the staff are patient, and then goes on without.

use hutong_core::{
    answer::Answer,
    command::{Asked, Confirmation, asked},
    refusal::{Reason, Refusal},
    voucher::Presented,
};
use hutong_record::RecordId;
use rand::RngExt as _;

use crate::{
    action::Action,
    node::{NodeNumber, RequestNumber},
    workload::Purpose,
    world::{Event, Outcome, World},
};

/// How long staff wait for a home, ms.
const PATIENCE_MS: std::ops::Range<i64> = 3_000..40_000;
/// How often the node looks for the answer, ms.
const LOOK_MS: i64 = 600;
/// How often staff accept a voucher at the shop's risk when its home does not answer.
const DARING: f64 = 0.75;

/// So many answers may come late; what a node says more often than that, it means.
const OVERTAKEN_MAX: u32 = 4;

/// How far asking a home has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Confirming {
    /// The request's record, once it is known.
    asked: Option<RecordId>,
    /// Nobody waits longer.
    until_ms: i64,
    /// What came of it.
    pub(crate) outcome: Confirmation,
    /// How often an answer from before came after it.
    overtaken: u32,
}

impl World {
    /// Whether a request cannot be answered before its voucher's home was asked.
    pub(crate) fn needs_home(&self, number: RequestNumber, told: &Result<Answer, Refusal>) -> bool {
        let request = &self.requests[number];
        let unasked = request.confirming.is_none_or(|c| c.outcome == Confirmation::NotAsked);
        request.open
            && unasked
            && matches!(told, Err(refusal) if refusal.reason == Reason::ConfirmationNeeded)
            && matches!(request.action, Action::Redeem { presented: Presented::Token(_), .. })
    }

    /// Whether this is what the node found before it knew what came of asking the home: it goes on with what it knows now.
    /// Two tries of a till can wait in one queue, and their answers overtake each other.
    pub(crate) fn is_overtaken(&mut self, number: RequestNumber, told: &Result<Answer, Refusal>) -> bool {
        let needed = matches!(told, Err(refusal) if refusal.reason == Reason::ConfirmationNeeded);
        let Some(confirming) = self.requests[number].confirming.as_mut().filter(|_| needed) else {
            return false;
        };
        if confirming.outcome == Confirmation::NotAsked {
            return false;
        }
        confirming.overtaken += 1;
        confirming.overtaken <= OVERTAKEN_MAX
    }

    /// Asks the home of the voucher that a request is about, unless it is being asked.
    pub(crate) fn ask_home(&mut self, number: RequestNumber) {
        let request = &self.requests[number];
        let Action::Redeem { presented: Presented::Token(token), .. } = &request.action else { return };
        if request.confirming.is_some() {
            return;
        }
        let (shop, token) = (request.shop, Box::new(token.clone()));
        let until_ms = self.now_ms + self.rng.random_range(PATIENCE_MS);
        self.requests[number].confirming =
            Some(Confirming { asked: None, until_ms, outcome: Confirmation::NotAsked, overtaken: 0 });
        let to = self.shops[shop].id();
        self.ask(shop, Action::AskRight { token, to }, Purpose::AskHome { visit: number });
        self.after(LOOK_MS, Event::Confirm(number));
    }

    /// The node has written the request for the right, or has refused to.
    pub(crate) fn home_asked(&mut self, number: RequestNumber, visit: RequestNumber, outcome: &Outcome) {
        if matches!(outcome, Err(refusal) if refusal.reason == Reason::Busy) {
            return; // it is asked again
        }
        self.requests[number].open = false;
        self.progress_ms = self.now_ms;
        if let (Ok(executed), Some(confirming)) = (outcome, &mut self.requests[visit].confirming) {
            confirming.asked = confirming.asked.or_else(|| executed.records.first().copied());
        }
    }

    /// The node looks whether the home has answered.
    pub(crate) fn confirm(&mut self, number: RequestNumber) {
        let request = &self.requests[number];
        let Some(confirming) = request.confirming.filter(|_| request.open) else { return };
        if confirming.outcome != Confirmation::NotAsked {
            return;
        }
        let node = self.node_of(number);
        let outcome = match confirming.asked.and_then(|id| Some((id, self.home_answer(node, id)?))) {
            Some((id, Asked::Granted | Asked::Denied(_))) => Confirmation::Answered(id),
            _ if self.now_ms < confirming.until_ms => {
                return self.after(LOOK_MS, Event::Confirm(number));
            }
            _ => {
                let heard = self.nodes[node].clock.read(self.nodes[node].heard_ms);
                Confirmation::Unreachable { heard, at_risk: self.rng.random_bool(DARING) }
            }
        };
        self.trace.event(self.now_ms, "confirmed", &[number as u64]);
        self.requests[number].confirming = Some(Confirming { outcome, ..confirming });
        self.send_request(number);
    }

    fn home_answer(&self, node: NodeNumber, request: RecordId) -> Option<Asked> {
        asked(&*self.nodes[node].ledger()?.views(), request).ok()?
    }
}
