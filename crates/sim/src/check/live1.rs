//! LIVE-1: when all is calm, every till has its answer, and a fresh voucher goes all the way at every sound shop.

use hutong_core::{
    answer::Answer,
    promotion::Mode,
    refusal::{Reason, Refusal},
    voucher::{Presented, Token, VoucherKey},
};
use hutong_record::ShopId;

use super::Invariant;
use crate::{
    action::Action,
    clock::HOUR_MS,
    node::{RequestNumber, ShopNumber},
    offers::Offer,
    workload::Purpose,
    world::World,
};

/// Unused vouchers that are shown at the end.
const SHOWN_MAX: usize = 40;

impl World {
    /// Vouchers that nobody has used are good: designated ones at their shop, anywhere ones once their home is asked.
    pub(crate) fn use_what_is_left(&mut self) {
        let left: Vec<_> = self.checks.vou2.tokens().filter_map(|t| Some((self.left_at(&t)?, t))).collect();
        let step = left.len().div_ceil(SHOWN_MAX).max(1);
        for (shop, token) in left.into_iter().step_by(step) {
            let card = token.body().card;
            let action = Action::redeem(Presented::Token(token), 50_000, card);
            self.ask(shop, action, Purpose::LastUse);
        }
    }

    /// Where an unused voucher must be good, if it must be.
    fn left_at(&self, token: &Token) -> Option<ShopNumber> {
        let body = token.body();
        let checks = &self.checks;
        let untouched = |key: &VoucherKey| {
            !checks.touched.contains(key)
                && !checks.crooked.contains(key)
                && !self.is_dealt_double(key)
                && !checks.vou1.was_used(key)
                && !checks.risk.was_accepted(key)
        };
        let offer = self.offers.iter().find(|offer| offer.id == Some(body.key.promotion))?;
        let home = *offer.distributors.get(usize::from(body.issuer))?;
        let sound = |shop: &ShopNumber| self.is_sound(*shop);
        let expires_ms = body.expires.ms_since(self.clock(home));
        if !untouched(&body.key) || expires_ms < HOUR_MS || !sound(&home) {
            return None;
        }
        match offer.mode {
            Mode::Designated => offer.redeemers.get(usize::from(body.redeemer)).copied().filter(sound),
            Mode::Leased => Some(home),
            // If another shop asked and did not redeem, the right is there, which has to be a sound shop.
            Mode::Anywhere => offer.redeemers.iter().all(sound).then(|| offer.redeemers[0]),
        }
    }

    /// What became of an unused voucher; the shop that was named instead is where it must be good.
    pub(crate) fn used_last(&mut self, number: RequestNumber, told: &Result<Answer, Refusal>) {
        let named = match told {
            Ok(Answer::Redeemed { at_risk: false, .. }) => return,
            Err(refusal) if refusal.reason == Reason::VoucherWrongShop => refusal.fact("redeemer_id"),
            _ => None,
        };
        let named: Option<ShopId> = named.and_then(|id| id.parse().ok());
        let next = named.and_then(|id| self.shop_number(id));
        let request = &self.requests[number];
        match (next, &request.action) {
            (Some(next), Action::Redeem { presented: Presented::Token(token), .. })
                if next != request.shop && request.confirmed() =>
            {
                let (token, card) = (token.clone(), token.body().card);
                self.ask(next, Action::redeem(Presented::Token(token), 50_000, card), Purpose::LastUse);
            }
            (_, action) => {
                let what = format!("an unused voucher at shop {} in calm: {action:?} {told:?}", request.shop);
                self.broken(Invariant::Live1, what);
            }
        }
    }

    /// Nothing is due any more.
    pub(super) fn check_no_duties(&mut self) {
        for node in self.honest_nodes().collect::<Vec<_>>() {
            let Some(ledger) = self.nodes[node].ledger() else { continue };
            match ledger.duties(self.clock(node), 1) {
                Ok(duties) if duties.is_empty() => {}
                outcome => self.broken(Invariant::Live1, format!("node {node} still owes {outcome:?}")),
            }
        }
    }

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
            let mode = [Mode::Designated, Mode::Anywhere, Mode::Leased][index % 3];
            // A leased voucher is used where it is handed out.
            let redeemers = if mode == Mode::Leased { distributors.clone() } else { vec![*shop] };
            let mut offer = self.offer(mode, *shop, redeemers, distributors, 5);
            (offer.message.earn_spend_min, offer.message.redeem_spend_min) = (None, None);
            self.publish(offer);
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
                let action = Action::redeem(presented, 50_000, card);
                self.ask(self.offers[offer].usual_redeemer(), action, Purpose::Proof { offer });
            }
            Ok(Answer::Redeemed { at_risk: false, .. }) => {}
            told => {
                let request = &self.requests[number];
                let what = format!("a {} at shop {} in calm: {told:?}", request.action.name(), request.shop);
                self.broken(Invariant::Live1, what);
            }
        }
    }
}
