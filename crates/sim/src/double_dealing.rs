//! Cheats that deal double: one right passed on to two shops, numbers moved on that were handed out.

use hutong_core::{
    promotion::Mode,
    report,
    right::{Act, Statement},
    voucher::Voucher,
};
use hutong_record::{Audience, proto, proto::Kind};
use prost::Message as _;
use rand::RngExt as _;

use crate::{
    action::Action,
    clock::HOUR_MS,
    node::{NodeNumber, ShopNumber},
    offers::Offer,
    workload::{Deed, Holder, Purpose},
    world::{Event, World},
};

/// Vouchers that a cheat looks through for one to cheat with.
const LOOKED_AT_MAX: usize = 500;

impl World {
    /// A cheating home passes the right to one voucher on to two shops, and the voucher is shown at both.
    pub(crate) fn pass_twice(&mut self) -> Option<()> {
        let (node, voucher, offer) = self.held_by_a_cheat()?;
        let me = self.nodes[node].shop;
        let honest = |shop: &&ShopNumber| **shop != me && self.shops[**shop].faulty.is_none();
        let takers: Vec<_> = offer.redeemers.iter().filter(honest).take(2).copied().collect();
        let [one, other] = takers[..] else { return None };
        let key = voucher.token.body().key;
        self.checks.crooked.insert(key);
        for to in [one, other] {
            let act = Act::Pass { to: self.shops[to].id(), uses: voucher.right.uses };
            let shop = self.shops[me].id();
            let statement = Statement { voucher: key, step: voucher.right.step, shop, act, key_epoch: 0 };
            let mut passes: Vec<_> =
                voucher.passes.iter().filter_map(|p| proto::SignedRight::decode(p.as_slice()).ok()).collect();
            passes.push(statement.sign(&self.shops[me].keys.signing));
            let passed = proto::PassedVoucher { token: voucher.token.bytes().to_vec().into(), passes };
            let message = proto::VoucherTransfer { vouchers: vec![passed], ..Default::default() };
            let parties = [shop, self.shops[to].id(), self.shops[offer.funder].id()];
            let audience = Audience::parties(parties)?;
            self.plant(node, Kind::VoucherTransfer, audience, &message.encode_to_vec(), 0)?;
            let token = voucher.token.clone();
            let holder = Box::new(Holder { card: token.body().card, token, redeemer: to });
            let wait_ms = self.rng.random_range(0..2 * HOUR_MS);
            self.after(wait_ms, Event::Customer(Deed::Present { holder, at: to, by_code: false }));
        }
        self.checks.passed_twice.push((key, me));
        Some(())
    }

    /// An unused anywhere voucher that a cheat handed out and holds; one is handed out for next time if there is none.
    fn held_by_a_cheat(&mut self) -> Option<(NodeNumber, Voucher, Offer)> {
        let node = self.any_cheat()?;
        let me = self.nodes[node].shop;
        let mine = |o: &&Offer| o.mode == Mode::Anywhere && o.id.is_some() && o.distributors.contains(&me);
        let offers: Vec<_> = self.offers.iter().filter(mine).cloned().collect();
        let offer = offers.get(self.below(offers.len())?)?.clone();
        let views = self.nodes[node].ledger()?.views();
        let known = report::vouchers(&*views, None, LOOKED_AT_MAX).ok()?;
        let fits = |voucher: &Voucher| {
            let key = voucher.token.body().key;
            Some(key.promotion) == offer.id
                && voucher.issue.is_some()
                && voucher.right.holder == self.shops[me].id()
                && voucher.uses.is_empty()
                && voucher.revoked.is_none()
                && !self.checks.crooked.contains(&key)
        };
        if let Some(voucher) = known.into_iter().find(fits) {
            return Some((node, voucher, offer));
        }
        let card = Some(hutong_record::CardId::new(self.rng.random()));
        self.ask(me, Action::Issue { promotion: offer.id?, card }, Purpose::Nothing);
        None
    }

    /// A cheat moves numbers on that it has handed out.
    pub(crate) fn move_issued(&mut self) -> Option<()> {
        let node = self.any_cheat()?;
        let me = self.nodes[node].shop;
        let mine = |o: &&Offer| {
            o.mode == Mode::Leased
                && !o.flash
                && o.id.is_some()
                && o.distributors.len() > 1
                && o.distributors.contains(&me)
        };
        let offers: Vec<_> = self.offers.iter().filter(mine).cloned().collect();
        let offer = offers.get(self.below(offers.len())?)?.clone();
        let views = self.nodes[node].ledger()?.views();
        let place = offer.distributors.iter().position(|d| *d == me)?;
        let to = (place + 1) % offer.distributors.len();
        let known = report::vouchers(&*views, None, LOOKED_AT_MAX).ok()?;
        let issued = known.iter().map(|v| v.token.body()).find(|body| {
            Some(body.key.promotion) == offer.id
                && usize::from(body.key.distributor) == place
                && body.key.moved_by.is_none()
                && !self.checks.crooked_numbers.contains(&(
                    body.key.promotion,
                    body.key.distributor,
                    body.key.number,
                ))
        });
        let Some(key) = issued.map(|body| body.key) else {
            self.ask(me, Action::Issue { promotion: offer.id?, card: None }, Purpose::Nothing);
            return None;
        };
        self.checks.crooked_numbers.insert((key.promotion, key.distributor, key.number));
        let request =
            proto::Request { id: format!("moved-{}", self.trace.event_count()), hash: vec![6; 32].into() };
        let message = proto::QuotaMove {
            request: Some(request),
            promotion_id: key.promotion.as_bytes().to_vec().into(),
            distributor: key.distributor.into(),
            first: key.number,
            count: 1,
            to: u32::try_from(to).ok()?,
            ..Default::default()
        };
        self.plant(node, Kind::QuotaMove, Audience::Alliance, &message.encode_to_vec(), 0)?;
        // The shop that got the number hands it out, if that is what is left to it.
        let promotion = key.promotion;
        self.ask(
            offer.distributors[to],
            Action::Issue { promotion, card: None },
            Purpose::HandOut { card: None },
        );
        Some(())
    }

    /// The offers whose vouchers a shop hands out, to be redeemed elsewhere.
    pub(crate) fn forgeable_by(&self, shop: ShopNumber) -> Vec<usize> {
        let fits = |o: &usize| {
            let offer = &self.offers[*o];
            offer.distributors.contains(&shop) && offer.id.is_some() && offer.mode != Mode::Leased
        };
        (0..self.offers.len()).filter(fits).collect()
    }
}

/// Whether a receipt says that it was written by right.
pub(crate) fn is_by_right(receipt: &proto::Redemption) -> bool {
    match receipt.r#use.as_ref().and_then(Statement::parse) {
        Some(statement) => matches!(statement.act, Act::Use(_)),
        None => receipt.r#use.is_none(),
    }
}
