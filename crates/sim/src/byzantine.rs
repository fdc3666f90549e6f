//! Cheats: shops that sign what no honest shop would, with their own keys.

use hutong_core::{
    code::SECRET_BYTES,
    promotion::{Mode, Promotion},
    report,
    voucher::{Presented, Token, VoucherBody, VoucherKey},
};
use hutong_record::{
    Audience, Currency, Draft, ForkProof, Payload, Place, Record, RecordId, Sealer, SigningKey, UnixMillis,
    proto, proto::Kind, sign,
};
use hutong_store::writer::Job;
use hutong_sync::Frame;
use prost::Message as _;
use rand::RngExt as _;

use crate::{
    action::Action,
    clock::{DAY_MS, HOUR_MS, MINUTE_MS},
    double_dealing::is_by_right,
    hub::OWN_HAND,
    node::NodeNumber,
    offers::Offer,
    workload::Purpose,
    world::{Event, World},
};

/// How a voucher was forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// A number past the quota.
    PastQuota,
    /// Signed by another key.
    ForeignKey,
    /// Two vouchers with one number: one of them may be used.
    SameNumber,
}

impl World {
    pub(crate) fn any_cheat(&mut self) -> Option<NodeNumber> {
        let cheats: Vec<_> = (0..self.nodes.len())
            .filter(|n| !self.is_honest(*n) && self.nodes[*n].process.is_some())
            .filter(|n| self.nodes[*n].ledger().is_some_and(|l| l.alliance().own_membership().is_ok()))
            .collect();
        cheats.get(self.below(cheats.len())?).copied()
    }

    /// A cheat's log goes on in two ways: a copy of it writes something else, and each meets other neighbours.
    pub(crate) fn fork_log(&mut self) -> Option<()> {
        let node = self.any_cheat()?;
        let copy = self.copy_node(node)?;
        for (branch, name) in [(node, "左店"), (copy, "右店")] {
            let profile = proto::Profile { name: name.into(), ..Default::default() };
            self.plant(branch, Kind::Profile, Audience::Alliance, &profile.encode_to_vec(), 0)?;
        }
        Some(())
    }

    /// Writes a record as the next one of a cheat's own log, dated so much back.
    pub(crate) fn plant(
        &mut self,
        node: NodeNumber,
        kind: Kind,
        audience: Audience,
        message: &[u8],
        back_ms: i64,
    ) -> Option<Record> {
        let shop = self.nodes[node].shop;
        self.shops[shop].cheated = true;
        let me = self.shops[shop].id();
        // What waits goes first, so that the record still fits when its turn comes.
        while self.nodes[node].process.as_ref().is_some_and(|process| !process.jobs.is_empty()) {
            self.turn(node);
        }
        let time = self.clock(node).saturating_add_ms(-back_ms);
        let head = self.nodes[node].ledger()?.head(me);
        let (sequence, previous) = head.map_or((1, None), |h| (h.sequence + 1, Some(h.id)));
        let incarnation = head.map_or(0, |h| h.incarnation);
        let place = Place { alliance: self.charter.id, shop: me, incarnation, sequence, kind };
        let payload = self.seal(&audience, &place, message)?;
        let draft = Draft {
            alliance: place.alliance,
            shop: me,
            key_epoch: 0,
            incarnation,
            sequence,
            previous,
            time,
            kind,
            audience,
        };
        let record = sign(draft, payload, &self.shops[shop].keys.signing);
        self.trace.event(self.now_ms, "planted", &[node as u64, sequence]);
        self.give(node, Job::Ingest { peer: OWN_HAND, shop: me, runs: vec![vec![record.to_message()]] });
        self.turn(node);
        // What its node did not sign itself it takes for the work of a copy, and signs nothing before its next start.
        self.reopen(node);
        Some(record)
    }

    fn seal(&mut self, audience: &Audience, place: &Place, message: &[u8]) -> Option<Payload> {
        let parties = audience.named();
        if parties.is_empty() {
            return Payload::clear(message, &mut self.rng).ok();
        }
        let key = |party| self.shops.iter().find(|s| s.id() == party).map(|s| s.identity.encryption_key());
        let keys: Vec<_> = parties.iter().filter_map(|party| key(*party)).collect();
        // A cheat's hand keeps no sessions.
        Payload::seal(message, place, &keys, &mut Sealer::default(), &mut self.rng).ok()
    }

    /// A redeeming cheat books a voucher that it has booked before.
    pub(crate) fn double_spend(&mut self) -> Option<()> {
        let node = self.any_cheat()?;
        let (record, mut message) = self.last_redemption(node)?;
        message.request = Some(proto::Request {
            id: format!("double-{}", self.trace.event_count()),
            hash: vec![7; 32].into(),
        });
        let audience = record.header().audience.clone();
        let second = self.plant(node, Kind::Redemption, audience, &message.encode_to_vec(), 0)?;
        let key = Token::parse(&message.token).ok()?.body().key;
        self.checks.aut1.forbid(second.id(), key);
        self.checks.second_uses.push((second, key));
        Some(())
    }

    /// The last redemption in a node's own log that holds, and what it says.
    fn last_redemption(&mut self, node: NodeNumber) -> Option<(Record, proto::Redemption)> {
        let shop = &self.shops[self.nodes[node].shop];
        let ledger = self.nodes[node].ledger()?;
        let head = ledger.head(shop.id())?.sequence;
        let views = ledger.views();
        for from in (0..=head / 64).rev().map(|page| page * 64 + 1) {
            let records = ledger.reader().read_log(shop.id(), from, 64 << 10).ok()?;
            for record in records.into_iter().rev().filter(|r| r.header().kind == Kind::Redemption) {
                let opened = shop.keys.open(&record, shop.id())?;
                let message = proto::Redemption::decode(opened).ok()?;
                let key = Token::parse(&message.token).ok()?.body().key;
                let voucher = report::voucher(&*views, &key).ok()??;
                let once = self.offers.iter().any(|o| o.id == Some(key.promotion) && o.uses() == 1);
                if once && is_by_right(&message) && voucher.use_of(record.id()).is_some() {
                    return Some((record, message));
                }
            }
        }
        None
    }

    /// A cheat that hands vouchers out makes one that it may not, and a customer shows it.
    pub(crate) fn forge_voucher(&mut self) -> Option<()> {
        let node = self.any_cheat()?;
        let me = self.nodes[node].shop;
        let mine = self.forgeable_by(me);
        let offer = *mine.get(self.below(mine.len())?)?;
        let forgery = [Forgery::PastQuota, Forgery::ForeignKey, Forgery::SameNumber][self.below(3)?];
        let Offer { id, ref redeemers, .. } = self.offers[offer];
        let (redeemers, id) = (redeemers.clone(), id?);
        let views = self.nodes[node].ledger()?.views();
        let promotion = Promotion::load(&*views, id, Currency::CNY).ok()??;
        let distributor = promotion.distributor_index(self.shops[me].id())?;
        let quota = promotion.distributor(distributor).filter(|d| d.quota > 0)?.quota;
        let number = match forgery {
            Forgery::PastQuota => quota + self.rng.random_range(1..1_000),
            Forgery::ForeignKey | Forgery::SameNumber => self.rng.random_range(1..=quota),
        };
        let issued = self.clock(node);
        let mut secret = [0; SECRET_BYTES];
        rand::Rng::fill_bytes(&mut self.rng, &mut secret);
        let key = VoucherKey { promotion: id, distributor, number, round: 0, moved_by: None };
        let expires = promotion.expires(issued);
        let (issuer, redeemer, key_epoch) = (distributor, 0, 0);
        let body = VoucherBody { key, issuer, redeemer, card: None, issued, expires, secret, key_epoch };
        let token = match forgery {
            Forgery::ForeignKey => Token::sign(body, &SigningKey::from_seed(&self.rng.random())),
            Forgery::PastQuota | Forgery::SameNumber => Token::sign(body, &self.shops[me].keys.signing),
        };
        for _ in 0..2 {
            let presented = Presented::Token(token.clone());
            let action = Action::redeem(presented, 9_000, None);
            self.checks.presented += 1;
            let redeemer = match self.offers[offer].mode {
                Mode::Anywhere => redeemers[self.rng.random_range(0..redeemers.len())],
                Mode::Designated | Mode::Leased => redeemers[0],
            };
            self.ask(redeemer, action, Purpose::UseForged { forgery });
        }
        Some(())
    }

    /// A cheat writes what only others may: none of it may count.
    pub(crate) fn write_foreign(&mut self) -> Option<()> {
        let node = self.any_cheat()?;
        let me = self.nodes[node].shop;
        let theirs: Vec<_> = (0..self.offers.len())
            .filter(|o| {
                let offer = &self.offers[*o];
                offer.funder != me
                    && offer.mode == Mode::Designated
                    && !offer.redeemers.contains(&me)
                    && offer.id.is_some()
            })
            .collect();
        let chosen = self.below(theirs.len())?;
        let offer = self.offers[theirs[chosen]].clone();
        match self.rng.random_range(0..8) {
            0 => self.end_foreign_promotion(node, offer.id?),
            1 => self.vote_a_stranger_in(node),
            2 => self.write_as_another(node),
            3 => self.accuse(node),
            _ => self.redeem_elsewhere(node),
        }
    }

    fn end_foreign_promotion(&mut self, node: NodeNumber, promotion: RecordId) -> Option<()> {
        let message = proto::PromotionEnd { promotion_id: promotion.as_bytes().to_vec().into() };
        self.plant(node, Kind::PromotionEnd, Audience::Alliance, &message.encode_to_vec(), 0)?;
        self.checks.aut1.must_run(promotion);
        Some(())
    }

    fn vote_a_stranger_in(&mut self, node: NodeNumber) -> Option<()> {
        let now = self.clock(node);
        let (stranger, _) = crate::setup::keys(&mut self.rng, now);
        let admission = proto::Admission { identity: Some(stranger.signed().clone()), ..Default::default() };
        let motion = proto::Motion { motion: Some(proto::motion::Motion::Admission(admission)), round: 0 };
        let vote = proto::Vote { motion: motion.encode_to_vec().into(), ..Default::default() };
        self.plant(node, Kind::Vote, Audience::Alliance, &vote.encode_to_vec(), 0)?;
        self.checks.aut1.keep_out(stranger.id());
        Some(())
    }

    /// A cheat signs a record in the name of another shop and pushes it to its neighbours.
    fn write_as_another(&mut self, node: NodeNumber) -> Option<()> {
        let victims: Vec<_> = self.honest_nodes().filter(|n| self.nodes[*n].shop != 0).collect();
        let victim = *victims.get(self.below(victims.len())?)?;
        let (me, victim) = (self.nodes[node].shop, self.shops[self.nodes[victim].shop].id());
        let head = self.nodes[node].ledger()?.head(victim)?;
        let profile = proto::Profile { name: "冒名".into(), ..Default::default() };
        let draft = Draft {
            alliance: self.charter.id,
            shop: victim,
            key_epoch: 0,
            incarnation: head.incarnation,
            sequence: head.sequence + 1,
            previous: Some(head.id),
            time: self.clock(node),
            kind: Kind::Profile,
            audience: Audience::Alliance,
        };
        let payload = Payload::clear(&profile.encode_to_vec(), &mut self.rng).ok()?;
        let record = sign(draft, payload, &self.shops[me].keys.signing);
        for link in self.nodes[node].links.clone() {
            let runs = vec![vec![record.to_message()]];
            self.put(node, link, Frame::Records { shop: victim, runs, pushed: true });
        }
        Some(())
    }

    /// A cheat accuses another shop of a fork, with one record of it twice.
    fn accuse(&mut self, node: NodeNumber) -> Option<()> {
        let victims: Vec<_> = self.honest_nodes().collect();
        let victim = *victims.get(self.below(victims.len())?)?;
        let victim = self.shops[self.nodes[victim].shop].id();
        let ledger = self.nodes[node].ledger()?;
        let head = ledger.head(victim)?;
        let records = ledger.reader().read_log(victim, head.sequence, 1).ok()?;
        let last = records.last()?;
        let proof = ForkProof::from_records(last, last)?;
        self.plant(node, Kind::ForkProof, Audience::Alliance, &proof.encode_to_vec(), 0)?;
        Some(())
    }

    /// A cheat books a voucher that it handed out, or was shown, and that is for another shop.
    fn redeem_elsewhere(&mut self, node: NodeNumber) -> Option<()> {
        let cheat = self.nodes[node].shop;
        let views = self.nodes[node].ledger()?.views();
        let known = report::vouchers(&*views, None, 500).ok()?;
        let promised = |promotion| self.offers.iter().find(|o| o.id == Some(promotion));
        let voucher = known.into_iter().find(|v| {
            let offer = promised(v.token.body().key.promotion);
            v.uses.is_empty()
                && offer.is_some_and(|o| o.mode == Mode::Designated && !o.redeemers.contains(&cheat))
        })?;
        let me = self.shops[self.nodes[node].shop].id();
        let body = voucher.token.body();
        let offer = self.offers.iter().find(|o| o.id == Some(body.key.promotion))?;
        let distributor = *offer.distributors.get(usize::from(body.key.distributor))?;
        let (distributor, funder) = (self.shops[distributor].id(), self.shops[offer.funder].id());
        let message = self.receipt(&voucher.token, distributor, self.clock(node))?;
        let audience = Audience::parties([me, distributor, funder])?;
        let record = self.plant(node, Kind::Redemption, audience, &message.encode_to_vec(), 0)?;
        self.checks.aut1.forbid(record.id(), body.key);
        Some(())
    }

    /// A receipt that fits the promotion's terms.
    fn receipt(
        &self,
        token: &Token,
        credited: hutong_record::ShopId,
        at: UnixMillis,
    ) -> Option<proto::Redemption> {
        let body = token.body();
        let offer = self.offers.iter().find(|o| o.id == Some(body.key.promotion))?;
        let funder = self.shops[offer.funder].id();
        let promotion = Promotion::check(&offer.message, body.key.promotion, funder, Currency::CNY).ok()?;
        let purchase = hutong_record::Money::new(Currency::CNY, 9_000).ok()?;
        Some(proto::Redemption {
            request: Some(proto::Request {
                id: format!("crafted-{}", self.trace.event_count()),
                hash: vec![8; 32].into(),
            }),
            token: token.bytes().to_vec().into(),
            redeemed_unix_ms: at.ms(),
            purchase: Some(purchase.into()),
            discount: Some(promotion.benefit.discount(purchase).into()),
            card_id: body.card.map_or_else(Default::default, |card| card.as_bytes().to_vec().into()),
            credited_id: credited.as_bytes().to_vec().into(),
            touched_unix_ms: body.issued.ms(),
            bounty: Some(promotion.bounty.most_for(purchase).into()),
            ..Default::default()
        })
    }

    /// A cheat keeps its new records from some neighbours for a while.
    pub(crate) fn withhold(&mut self) -> Option<()> {
        let node = self.any_cheat()?;
        let victims: Vec<_> = (0..self.nodes.len()).filter(|_| self.rng.random_bool(0.5)).collect();
        self.nodes[node].withheld_from = victims.into_iter().collect();
        let lasts_ms = self.rng.random_range(10 * MINUTE_MS..4 * HOUR_MS);
        self.after(lasts_ms, Event::Reveal(node));
        Some(())
    }

    /// A redeeming cheat books an unused voucher as used long ago.
    pub(crate) fn date_back(&mut self) -> Option<()> {
        let node = self.any_cheat()?;
        let me = self.nodes[node].shop;
        let views = self.nodes[node].ledger()?.views();
        let known = report::vouchers(&*views, None, 500).ok()?;
        let mine = |promotion| {
            let offer = self.offers.iter().find(|o| o.id == Some(promotion));
            offer.is_some_and(|o| o.mode == Mode::Designated && o.usual_redeemer() == me)
        };
        let voucher = known.into_iter().find(|v| v.uses.is_empty() && mine(v.token.body().key.promotion))?;
        let body = voucher.token.body();
        let offer = self.offers.iter().find(|o| o.id == Some(body.key.promotion))?;
        let distributor = *offer.distributors.get(usize::from(body.key.distributor))?;
        let (distributor, funder) = (self.shops[distributor].id(), self.shops[offer.funder].id());
        let message = self.receipt(&voucher.token, distributor, body.issued)?;
        let audience = Audience::parties([self.shops[me].id(), distributor, funder])?;
        self.plant(node, Kind::Redemption, audience, &message.encode_to_vec(), 3 * DAY_MS)?;
        Some(())
    }
}
