//! What an alliance decides about itself, and what that does to records that were folded before it was heard of.

use std::sync::Arc;

use hutong_core::{
    command::{Command, GovernCommand},
    promotion::Promotion,
    refusal::{Reason, Refusal},
    roster::{MotionId, MotionState, Standing},
};
use hutong_record::{AllianceId, motion_id, proto, proto::motion::Motion};
use hutong_store::views::MemViews;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    convergence::{deliver, logs},
    street::{DAY_MS, Street},
    till::yuan,
};

impl Street {
    /// Proposes a motion as its shop would draft it now, and votes for it.
    pub(crate) fn propose(&mut self, shop: usize, motion: Motion) -> Result<MotionId, Refusal> {
        let motion = self.shops[shop].ledger.alliance().draft_motion(motion, self.now)?;
        let id = motion_id(&motion);
        self.govern(shop, GovernCommand::Propose { motion })?;
        Ok(id)
    }

    pub(crate) fn vote(&mut self, shop: usize, motion: MotionId, against: bool) -> Result<(), Refusal> {
        self.govern(shop, GovernCommand::Vote { motion, against })
    }

    pub(crate) fn govern(&mut self, shop: usize, command: GovernCommand) -> Result<(), Refusal> {
        self.run(shop, &Command::Govern(command)).map(|_| ())
    }

    pub(crate) fn strike(&self, shop: usize, reason: &str) -> Motion {
        Motion::Strike(proto::Strike {
            shop_id: self.bytes(shop),
            cause: proto::StrikeCause::MissedDues.into(),
            reason: reason.into(),
            ..Default::default()
        })
    }

    pub(crate) fn amendment(change: proto::Governance) -> Motion {
        Motion::Amendment(proto::Amendment { change: Some(change), ..Default::default() })
    }

    pub(crate) fn renewal(&self, days: i64) -> Motion {
        Motion::Renewal(proto::Renewal { season: 0, ends_unix_ms: self.now.ms() + days * DAY_MS })
    }

    fn state_at(&self, at: usize, motion: &MotionId) -> MotionState {
        self.shops[at].ledger.alliance().government().motions[motion].state
    }

    fn member_at(&self, at: usize, shop: usize) -> Standing {
        self.shops[at].ledger.alliance().roster().shop(self.id(shop)).unwrap().standing
    }

    /// All logs, delivered to empty copies of each shop in another order, come to the same state.
    pub(crate) fn check_any_order(&mut self, seed: u64, context: &str) {
        let mut logs = logs(self);
        logs.retain(|_, log| !log.is_empty());
        let mut rng = StdRng::seed_from_u64(seed);
        for index in 0..self.shops.len() {
            let mut fresh = self.fresh(index);
            // A seal that half the news gave may be lifted by the rest: what it refused is brought again.
            let mut before = None;
            while before != Some(fresh.ledger.reader().frontier()) {
                before = Some(fresh.ledger.reader().frontier());
                deliver(&logs, &mut fresh, self, &mut rng);
            }
            assert_eq!(fresh.state(), self.shops[index].state(), "shop {index}: {context}");
            fresh.reopen(Arc::new(MemViews::new()));
            assert_eq!(fresh.state(), self.shops[index].state(), "shop {index}, folded anew: {context}");
        }
    }
}

fn governance(rules: proto::Governance) -> impl FnOnce(&mut proto::Charter) {
    move |charter| charter.governance = Some(rules)
}

/// A street with `core` shops that vote, the founder among them, and others that do not.
fn street(seed: u64, core: usize, shops: usize, change: impl FnOnce(&mut proto::Charter)) -> Street {
    let mut street = Street::founded(seed, change);
    while street.shops.len() < shops {
        let core = street.shops.len() < core;
        street.join(core);
    }
    street.meet();
    street
}

#[test]
fn an_amendment_rules_on_every_node_that_heard_the_votes() {
    let mut street = street(80, 3, 4, |_| {});
    let change = proto::Governance { removal_votes: Some(2), ..Default::default() };
    let id = street.propose(1, Street::amendment(change)).unwrap();
    street.meet();
    assert_eq!(street.state_at(3, &id), MotionState::Open, "half of three is two");
    street.vote(2, id, false).unwrap();
    street.vote(2, id, false).unwrap();
    street.meet();
    for shop in &street.shops {
        assert_eq!(shop.ledger.alliance().government().settings.removal_votes, 2);
    }
    assert_eq!(street.vote(0, id, false).unwrap_err().reason, Reason::MotionClosed);
    let refused = street.propose(3, Street::amendment(change)).unwrap_err();
    assert_eq!(refused.reason, Reason::NotCore);
    let unknown = street.vote(0, [9; 32], false).unwrap_err();
    assert_eq!(unknown.reason, Reason::MotionUnknown);
    let nothing = street.propose(0, Street::amendment(proto::Governance::default())).unwrap_err();
    assert_eq!(nothing.fact("field"), Some("change"));
    street.check_agreement("amended");
    street.check_any_order(80, "amended");
}

#[test]
fn a_promotion_from_a_suspension_counts_nowhere_whenever_the_strike_is_heard_of() {
    let rules = proto::Governance { strike_limit: Some(1), suspension_days: Some(5), ..Default::default() };
    let mut street = street(81, 1, 5, governance(rules));
    let terms = street.terms(&[1], 3);
    street.publish(2, terms).unwrap();
    street.meet();
    let before = street.sell(1, yuan(20), None).remove(0);
    street.pass(1_000);
    let strike = street.strike(2, "会费未付");
    let strike = street.propose(0, strike).unwrap();
    street.pass(1_000);
    // Shop 2 has not heard of it, nor has shop 1.
    let terms = street.terms(&[1], 4);
    let promotion = street.publish(2, terms).unwrap();
    street.carry(2, 1);
    assert!(street.issue(1, promotion, None).is_ok());
    street.meet();
    for at in 0..5 {
        let views = street.shops[at].ledger.views();
        let currency = street.charter.currency;
        assert!(Promotion::load(&*views, promotion, currency).unwrap().is_none(), "at {at}");
    }
    street.check_agreement("suspended");
    street.check_any_order(81, "suspended");
    let terms = street.terms(&[1], 3);
    assert_eq!(street.publish(2, terms).unwrap_err().reason, Reason::MemberSuspended);
    street.redeem(3, &before.qr_text(), None).unwrap();
    // An appeal, and the strike is taken back: the promotion counts again.
    let annulment = Motion::Annulment(proto::Annulment { strike_id: strike.to_vec().into() });
    assert_eq!(street.propose(0, annulment.clone()).unwrap_err().reason, Reason::NotAppealed);
    let appeal = GovernCommand::Appeal { strike, statement: "已付，见回单".into() };
    assert_eq!(street.govern(1, appeal.clone()).unwrap_err().reason, Reason::MotionUnknown);
    street.govern(2, appeal.clone()).unwrap();
    street.govern(2, appeal).unwrap();
    street.meet();
    street.propose(0, annulment).unwrap();
    street.meet();
    let terms = street.terms(&[1], 3);
    street.publish(2, terms).unwrap();
    street.meet();
    street.check_agreement("annulled");
    street.check_any_order(82, "annulled");
}

#[test]
fn after_the_season_vouchers_are_redeemed_and_nothing_new_begins() {
    let mut street = street(83, 2, 5, |charter| {
        let season_end_unix_ms = Some(charter.created_unix_ms + 10 * DAY_MS);
        charter.governance = Some(proto::Governance { season_end_unix_ms, ..Default::default() });
    });
    let terms = street.terms(&[1, 4], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), None).remove(0);
    let renewal = street.renewal(100);
    street.propose(0, renewal).unwrap();
    street.meet();
    let go_on = |goes_on| GovernCommand::ChooseSeason { season: 2, goes_on };
    for shop in [0, 1] {
        street.govern(shop, go_on(true)).unwrap();
    }
    street.govern(4, go_on(false)).unwrap();
    let refused = street.govern(3, GovernCommand::ChooseSeason { season: 3, goes_on: true }).unwrap_err();
    assert_eq!(refused.fact("field"), Some("season"));
    street.pass(9 * DAY_MS + 12 * 3_600_000);
    street.meet();
    street.pass(DAY_MS);
    assert!(street.issue(1, promotion, None).is_ok(), "shop 1 is in the new season");
    assert_eq!(street.issue(4, promotion, None).unwrap_err().reason, Reason::SeasonOver);
    assert!(street.sell(4, yuan(20), None).is_empty(), "the sale stands without a voucher");
    let terms = street.terms(&[1], 2);
    assert_eq!(street.publish(3, terms).unwrap_err().reason, Reason::SeasonOver);
    street.pass(-2 * DAY_MS);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.pass(2 * DAY_MS);
    street.meet();
    assert_eq!(street.balance(1, 3), 100, "what is owed stays owed");
    // Who changes its mind goes on from then.
    street.govern(3, go_on(true)).unwrap();
    let terms = street.terms(&[1], 2);
    street.publish(3, terms).unwrap();
    street.meet();
    street.check_agreement("a new season");
    street.check_any_order(83, "a new season");
}

#[test]
fn what_a_newcomer_writes_counts_from_the_end_of_the_objections_on() {
    let rules = proto::Governance { objection_ms: Some(2 * DAY_MS), ..Default::default() };
    let mut street = Street::founded(84, governance(rules));
    let core = street.join(true);
    street.pass(3 * DAY_MS);
    street.join(false);
    let newcomer = street.join(false);
    street.meet();
    let sale = street.sale(yuan(20), None);
    assert_eq!(street.run(newcomer, &sale).unwrap_err().reason, Reason::AdmissionOpen);
    let profile = proto::Profile { name: "新面馆".into(), ..Default::default() };
    street.run(newcomer, &Command::Profile(profile)).unwrap();
    street.meet();
    // The core member objects in time, and is not heard before the newcomer trades.
    let admissions = street.shops[core].ledger.alliance().motions();
    let about = street.shops[newcomer].identity.signed().clone();
    let admission = admissions.filter(|(_, motion, _)| match &motion.motion {
        Some(Motion::Admission(admission)) => admission.identity.as_ref() == Some(&about),
        _ => false,
    });
    let admission = admission.map(|(id, ..)| id).next().unwrap();
    street.vote(core, admission, true).unwrap();
    street.pass(3 * DAY_MS);
    let terms = street.terms(&[newcomer], 2);
    let promotion = street.publish(newcomer, terms).unwrap();
    street.carry(newcomer, 0);
    let views = street.shops[0].ledger.views();
    assert!(Promotion::load(&*views, promotion, street.charter.currency).unwrap().is_some());
    street.meet();
    for at in 0..3 {
        assert_eq!(street.member_at(at, newcomer), Standing::Pending, "at {at}");
        let views = street.shops[at].ledger.views();
        assert!(Promotion::load(&*views, promotion, street.charter.currency).unwrap().is_none());
        assert!(matches!(street.state_at(at, &admission), MotionState::Objected { .. }));
    }
    let again = Command::Approve { shop: street.id(newcomer), core: false };
    assert_eq!(street.run(0, &again).unwrap_err().reason, Reason::MotionClosed);
    // Proposed anew, nobody objects: what it wrote since then counts, what it wrote before does not.
    let motion = street.shops[0].ledger.alliance().draft_admission(
        street.id(newcomer),
        false,
        String::new(),
        street.now,
    );
    street.govern(0, GovernCommand::Propose { motion: motion.unwrap() }).unwrap();
    street.meet();
    street.pass(3 * DAY_MS);
    let terms = street.terms(&[newcomer], 2);
    let later = street.publish(newcomer, terms).unwrap();
    street.meet();
    for at in 0..4 {
        let views = street.shops[at].ledger.views();
        assert!(Promotion::load(&*views, promotion, street.charter.currency).unwrap().is_none());
        assert!(Promotion::load(&*views, later, street.charter.currency).unwrap().is_some());
    }
    street.check_agreement("objected to");
    street.check_any_order(84, "objected to");
}

#[test]
fn a_street_that_splits_settles_in_the_old_alliance_and_goes_on_in_the_new() {
    let mut street = street(85, 2, 4, |_| {});
    let terms = street.terms(&[1], 2);
    street.publish(3, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), None).remove(0);
    let mut ids = [street.bytes(1), street.bytes(3)];
    ids.sort();
    let split =
        Motion::Split(proto::Split { name: "后街".into(), shop_ids: ids.to_vec(), reason: String::new() });
    let id = street.propose(0, split).unwrap();
    street.meet();
    // The founder of the new alliance shows where it comes from; whom the split does not name cannot.
    let now = street.now;
    let origin =
        |street: &Street, shop: usize, split| street.shops[shop].ledger.alliance().origin(split, now);
    assert_eq!(origin(&street, 2, Some(id)).unwrap_err().reason, Reason::OriginUnproven);
    assert_eq!(origin(&street, 1, None).unwrap_err().reason, Reason::OriginUnproven, "no season is over");
    let proven = origin(&street, 1, Some(id)).unwrap();
    let next = Street::founded(86, |charter| charter.origin = Some(proven.clone()));
    let named = next.charter.origin.unwrap();
    assert_eq!((named.alliance, named.motion), (street.charter.id, Some(id)));
    let depart =
        |split| GovernCommand::Depart { next: Some(next.charter.id), split, reason: "去后街".into() };
    assert_eq!(street.govern(2, depart(Some(id))).unwrap_err().reason, Reason::OriginUnproven);
    street.govern(1, depart(Some(id))).unwrap();
    street.govern(1, depart(Some(id))).unwrap();
    street.govern(3, depart(Some(id))).unwrap();
    street.meet();
    assert!(street.sell(1, yuan(20), None).is_empty());
    let terms = street.terms(&[2], 2);
    assert_eq!(street.publish(3, terms).unwrap_err().reason, Reason::MemberDeparted);
    let renewal = street.renewal(10);
    assert_eq!(street.propose(1, renewal).unwrap_err().reason, Reason::MemberDeparted);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.meet();
    assert_eq!((street.balance(1, 3), street.balance(2, 3)), (100, 300), "settled where it arose");
    street.check_agreement("split");
    street.check_any_order(85, "split");
    let own = GovernCommand::Depart { next: Some(street.charter.id), split: None, reason: String::new() };
    assert_eq!(street.govern(2, own).unwrap_err().fact("field"), Some("next_alliance_id"));
    let elsewhere = AllianceId::new([3; 32]);
    street
        .govern(2, GovernCommand::Depart { next: Some(elsewhere), split: None, reason: String::new() })
        .unwrap();
}

/// Members of all sorts decide all sorts of things while they trade, seldom hear of each other, and their clocks differ.
fn quarrel(street: &mut Street, steps: usize) {
    let mut known: Vec<MotionId> = Vec::new();
    for _ in 0..steps {
        let mut rng = StdRng::seed_from_u64(street.rng.random());
        let count = street.shops.len();
        let (shop, other) = (rng.random_range(0..count), rng.random_range(0..count));
        street.pass(rng.random_range(0..2 * DAY_MS));
        let motion = match rng.random_range(0..14) {
            0 => Some(street.strike(other, "一")),
            1 => Some(Motion::CoreChange(proto::CoreChange {
                shop_id: street.bytes(other),
                core: rng.random(),
                ..Default::default()
            })),
            2 => Some(Street::amendment(proto::Governance {
                dormancy_days: Some(rng.random_range(7..20)),
                strike_votes: Some(rng.random_range(1..3)),
                ..Default::default()
            })),
            3 => Some(street.renewal(rng.random_range(3..40))),
            4 if !known.is_empty() => {
                let strike_id = known[rng.random_range(0..known.len())].to_vec().into();
                Some(Motion::Annulment(proto::Annulment { strike_id }))
            }
            5..=7 if !known.is_empty() => {
                let id = known[rng.random_range(0..known.len())];
                let _some_are_decided = street.vote(shop, id, rng.random_ratio(1, 5));
                let appeal = GovernCommand::Appeal { strike: id, statement: "不服".into() };
                let _few_are_strikes = street.govern(other, appeal);
                None
            }
            8 => {
                let season = rng.random_range(2..4);
                let choice = GovernCommand::ChooseSeason { season, goes_on: rng.random_ratio(2, 3) };
                let _not_every_season_was_voted_for = street.govern(shop, choice);
                None
            }
            9 if rng.random_ratio(1, 6) => {
                let departure = GovernCommand::Depart { next: None, split: None, reason: String::new() };
                let _it_may_be_out = street.govern(shop, departure);
                None
            }
            9 if rng.random_ratio(1, 3) && other != 0 => {
                let head = street.shops[shop].ledger.head(street.id(other)).map_or(0, |head| head.sequence);
                let last_sequence = Some(rng.random_range(0..=head));
                let remove =
                    Command::Remove { shop: street.id(other), last_sequence, held: 0, reason: String::new() };
                let _only_core_members_can = street.run(shop, &remove);
                None
            }
            10 | 11 if shop != other => {
                let terms = street.terms(&[shop], other);
                let _it_may_be_barred = street.publish(shop, terms);
                None
            }
            _ => {
                street.carry(shop, other);
                None
            }
        };
        known.extend(motion.and_then(|motion| street.propose(shop, motion).ok()));
    }
}

#[test]
fn a_street_that_quarrels_comes_to_the_same_state_in_any_order() {
    let mut carried = 0;
    for seed in 0..12 {
        let rules = proto::Governance {
            dormancy_days: Some(9),
            strike_limit: Some(1),
            suspension_days: Some(9),
            season_end_unix_ms: None,
            ..Default::default()
        };
        let mut street = street(seed, 4, 6, |charter| {
            charter.removal_votes = 2;
            charter.governance = Some(rules);
        });
        let context = format!("quarrel {seed}: set the loop to it to replay");
        quarrel(&mut street, 120);
        street.meet();
        street.check_agreement(&context);
        street.check_any_order(seed, &context);
        let government = street.shops[0].ledger.alliance().government();
        carried +=
            government.motions.values().filter(|t| matches!(t.state, MotionState::Carried { .. })).count();
    }
    assert!(carried > 80, "only {carried} motions were carried");
}
