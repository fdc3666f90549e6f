//! LIVE-1: when all is calm, every till has its answer, and a fresh voucher goes all the way at every sound shop.

use hutong_core::{answer::Answer, refusal::Refusal, voucher::Presented};

use super::Invariant;
use crate::{
    node::{RequestNumber, ShopNumber},
    workload::{Action, Offer, Purpose},
    world::World,
};

impl World {
    pub(super) fn check_everything_answered(&mut self) {
        let waits = |request: &&crate::tills::Request| {
            let shop = &self.shops[request.shop];
            let sound = shop.faulty.is_none() && shop.nodes.iter().all(|node| !self.nodes[*node].shut);
            request.open && sound
        };
        if let Some(request) = self.requests.iter().find(waits) {
            let what = format!("a {} at shop {} was never answered", request.action.name(), request.shop);
            self.broken(Invariant::Live1, what);
        }
    }

    /// Each sound shop publishes a promotion that a sound neighbour hands out.
    pub(crate) fn publish_proofs(&mut self) -> std::ops::Range<usize> {
        let first = self.offers.len();
        let sound: Vec<ShopNumber> = self.honest_nodes().collect();
        if sound.len() < 2 {
            return first..first;
        }
        for (index, shop) in sound.iter().enumerate() {
            let distributors = vec![sound[(index + 1) % sound.len()]];
            let mut message = self.terms(*shop, &distributors, 5);
            (message.earn_spend_min, message.redeem_spend_min) = (None, None);
            self.publish(Offer { id: None, funder: *shop, redeemer: *shop, distributors, message });
        }
        first..self.offers.len()
    }

    /// The neighbours hand a voucher out.
    pub(crate) fn issue_proofs(&mut self, offers: std::ops::Range<usize>) {
        for offer in offers {
            let Offer { id, ref distributors, .. } = self.offers[offer];
            let distributor = distributors[0];
            match id {
                Some(promotion) => {
                    let card = Some(hutong_record::CardId::new([7; 16]));
                    self.ask(distributor, Action::Issue { promotion, card }, Purpose::Proof { offer });
                }
                None => self.broken(Invariant::Live1, format!("offer {offer} was not published in calm")),
            }
        }
    }

    /// A proof's request was answered: a voucher handed out is shown at once, and has to be good.
    pub(crate) fn proved(&mut self, offer: usize, number: RequestNumber, told: Result<Answer, Refusal>) {
        match told {
            Ok(Answer::HandedOut { tokens, .. }) if tokens.len() == 1 => {
                let presented = Presented::Token(tokens[0].clone());
                let card = tokens[0].body().card;
                let action = Action::Redeem { presented, purchase_minor: 50_000, card };
                self.ask(self.offers[offer].redeemer, action, Purpose::Proof { offer });
            }
            Ok(Answer::Redeemed { .. }) => {}
            told => {
                let request = &self.requests[number];
                let what = format!("a {} at shop {} in calm: {told:?}", request.action.name(), request.shop);
                self.broken(Invariant::Live1, what);
            }
        }
    }
}
