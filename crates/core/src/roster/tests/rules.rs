//! The rules of government, one by one: who said what, when, and what it comes to.

use hutong_record::Afresh;

use super::*;

const DAY: i64 = 86_400_000;

/// What is said, by shop and day, in the order of each log.
struct Street {
    shops: Shops,
    charter: Charter,
    council: Council,
    next: Vec<u64>,
}

impl Street {
    /// Shops that all are in from day 0 on; the first `core` of them vote. The rules come from day 0.
    fn new(count: usize, core: usize, rules: proto::Governance) -> Self {
        Self::of(count, core, |charter| charter.governance = Some(rules))
    }

    fn of(count: usize, core: usize, change: impl FnOnce(&mut proto::Charter)) -> Self {
        let mut street = Self::founded(count, 2, |charter| change(charter));
        for shop in 1..count {
            for voter in 0..core.clamp(1, 2).min(shop) {
                street.vote(0, voter, street.admission(shop, shop < core, ""));
            }
        }
        street
    }

    /// Five shops, so many of them core, of whom three let somebody out, or all who were heard within so many days.
    fn drowsy(core: usize, days: u32) -> Self {
        let rules = proto::Governance { dormancy_days: Some(days), ..NONE };
        Self::of(5, core, |charter| {
            charter.removal_votes = 3;
            charter.governance = Some(rules);
        })
    }

    fn founded(count: usize, votes: u32, change: impl FnOnce(&mut proto::Charter)) -> Self {
        let shops = Shops::new(count);
        let charter = charter_of(&shops.0[0].0, votes, 2, change);
        let next = vec![0; count];
        Self { shops, charter, council: Council::default(), next }
    }

    fn admission(&self, shop: usize, core: bool, category: &str) -> proto::motion::Motion {
        let identity = Some(self.shops.0[shop].0.signed().clone());
        proto::motion::Motion::Admission(proto::Admission {
            identity,
            core,
            category: category.into(),
            continuation: None,
        })
    }

    fn id_bytes(&self, shop: usize) -> bytes::Bytes {
        self.shops.id(shop).as_bytes().to_vec().into()
    }

    fn removal(&self, shop: usize) -> proto::motion::Motion {
        self.removal_after(shop, 99)
    }

    fn removal_after(&self, shop: usize, last_sequence: u64) -> proto::motion::Motion {
        let removal = proto::Removal { shop_id: self.id_bytes(shop), last_sequence, reason: String::new() };
        proto::motion::Motion::Removal(removal)
    }

    fn strike(&self, shop: usize, reason: &str) -> proto::motion::Motion {
        proto::motion::Motion::Strike(proto::Strike {
            shop_id: self.id_bytes(shop),
            cause: proto::StrikeCause::MissedDues.into(),
            reason: reason.into(),
            ..Default::default()
        })
    }

    fn core_change(&self, shop: usize, core: bool) -> proto::motion::Motion {
        proto::motion::Motion::CoreChange(proto::CoreChange {
            shop_id: self.id_bytes(shop),
            core,
            reason: String::new(),
        })
    }

    fn amendment(&self, base: Option<MotionId>, change: proto::Governance) -> proto::motion::Motion {
        proto::motion::Motion::Amendment(proto::Amendment {
            base_id: base.map(|id| id.to_vec()).unwrap_or_default().into(),
            change: Some(change),
            reason: String::new(),
        })
    }

    /// Says something on a day.
    fn say(&mut self, day: i64, shop: usize, kind: Kind, message: &impl prost::Message) {
        self.say_at(day * DAY, shop, kind, message);
    }

    fn say_at(&mut self, ms: i64, shop: usize, kind: Kind, message: &impl prost::Message) {
        let at = UnixMillis::new(ms).unwrap();
        let bytes = message.encode_to_vec().into();
        let raised = self.council.hear(ALLIANCE, kind, at, &bytes, &self.shops.1, &Afresh).unwrap().unwrap();
        self.next[shop] += 1;
        self.council.heard.insert(self.shops.id(shop), Heard::day(at), self.next[shop]);
        assert!(self.council.add(self.shops.id(shop), self.next[shop], raised));
    }

    fn voice(&mut self, day: i64, shop: usize, motion: proto::motion::Motion, against: bool) -> MotionId {
        self.voice_in(day, shop, motion, 0, against)
    }

    fn voice_in(
        &mut self,
        day: i64,
        shop: usize,
        motion: proto::motion::Motion,
        round: u32,
        against: bool,
    ) -> MotionId {
        let motion = proto::Motion { motion: Some(motion), round }.encode_to_vec();
        let id = motion_id(&motion);
        self.say(
            day,
            shop,
            Kind::Vote,
            &proto::Vote { motion: motion.into(), against, ..Default::default() },
        );
        id
    }

    fn vote(&mut self, day: i64, shop: usize, motion: proto::motion::Motion) -> MotionId {
        self.voice(day, shop, motion, false)
    }

    /// A sale or anything else: the shop is heard.
    fn trade(&mut self, day: i64, shop: usize) {
        self.next[shop] += 1;
        self.council.heard.insert(self.shops.id(shop), day, self.next[shop]);
    }

    fn roster(&self) -> Roster {
        Roster::count(&self.charter, &self.council, &Cuts::new())
    }

    fn standing(&self, shop: usize) -> Option<Standing> {
        self.shops.standing(&self.roster(), shop)
    }

    fn state(&self, motion: &MotionId) -> MotionState {
        self.roster().government().motions[motion].state
    }

    fn bar(&self, shop: usize, day: i64) -> Option<BarCause> {
        let at = UnixMillis::new(day * DAY + 1).unwrap();
        self.roster().shop(self.shops.id(shop)).unwrap().bar_at(at).map(|bar| bar.cause)
    }
}

const NONE: proto::Governance = proto::Governance {
    admission_votes: None,
    removal_votes: None,
    amendment_votes: None,
    amendment_percent: None,
    admission_sponsors: None,
    objection_ms: None,
    objection_votes: None,
    dormancy_days: None,
    category_shops: None,
    strike_votes: None,
    strike_limit: None,
    strike_days: None,
    suspension_days: None,
    appeal_days: None,
    season_end_unix_ms: None,
};

const fn carried(day: i64) -> i64 {
    day * DAY
}

fn carried_at(state: MotionState) -> Option<i64> {
    match state {
        MotionState::Carried { at } => Some(at.ms()),
        _ => None,
    }
}

#[test]
fn an_amendment_needs_its_votes_and_its_share_and_then_rules() {
    // Five core members: two votes and 60 % of the awake, which is three.
    let rules = proto::Governance { amendment_percent: Some(60), ..NONE };
    let mut street = Street::new(7, 5, rules);
    let change = proto::Governance { removal_votes: Some(1), ..NONE };
    let amendment = street.amendment(None, change);
    let id = street.vote(1, 0, amendment.clone());
    street.vote(2, 1, amendment.clone());
    street.vote(3, 5, amendment.clone());
    assert_eq!(street.state(&id), MotionState::Open, "a member without a vote does not count");
    assert_eq!(street.roster().government().motions[&id].needed, 3);
    let removal = street.removal(6);
    street.vote(4, 0, removal);
    assert_eq!(street.standing(6), Some(Standing::Member), "two votes remove a shop as yet");
    street.vote(5, 2, amendment);
    assert_eq!(carried_at(street.state(&id)), Some(carried(5)));
    assert_eq!(street.roster().government().settings.removal_votes, 1);
    assert_eq!(street.standing(6), Some(Standing::Removed), "the vote that stood is enough now");
}

#[test]
fn an_amendment_of_rules_that_are_not_in_force_lapses() {
    let mut street = Street::new(3, 3, NONE);
    let ask = |days| proto::Governance { dormancy_days: Some(days), ..NONE };
    let (one, other) = (street.amendment(None, ask(30)), street.amendment(None, ask(60)));
    let first = street.vote(1, 0, one.clone());
    let second = street.vote(1, 1, other.clone());
    street.vote(2, 1, one);
    street.vote(3, 2, other);
    assert_eq!(carried_at(street.state(&first)), Some(carried(2)));
    assert!(matches!(street.state(&second), MotionState::Lapsed { .. }));
    assert_eq!(street.roster().government().settings.dormancy_days, 30);
    let next = street.amendment(Some(first), ask(60));
    street.vote(4, 0, next.clone());
    street.vote(4, 1, next);
    assert_eq!(street.roster().government().settings.dormancy_days, 60);
}

#[test]
fn a_voice_against_takes_the_vote_back_until_the_motion_is_decided() {
    let mut street = Street::new(4, 4, NONE);
    let removal = street.removal(3);
    let id = street.vote(1, 0, removal.clone());
    street.voice(2, 0, removal.clone(), true);
    street.vote(3, 1, removal.clone());
    assert_eq!(street.state(&id), MotionState::Open);
    street.vote(4, 0, removal.clone());
    assert_eq!(carried_at(street.state(&id)), Some(carried(4)));
    street.voice(5, 1, removal, true);
    assert_eq!(street.standing(3), Some(Standing::Removed), "what is decided is decided");
}

#[test]
fn who_is_unheard_is_not_waited_for_until_it_is_heard_again() {
    let mut street = Street::drowsy(4, 30);
    // Shops 2 and 3 are not heard after day 0; shops 0 and 1 want shop 4 out on day 40.
    let removal = street.removal(4);
    street.vote(40, 0, removal.clone());
    let id = street.vote(40, 1, removal.clone());
    assert_eq!(carried_at(street.state(&id)), Some(carried(40)), "two of two who are awake");
    // Shop 2 turns out to have traded on day 20, and its records come late: then three were awake.
    street.trade(20, 2);
    assert_eq!(street.state(&id), MotionState::Open);
    assert_eq!(street.roster().government().motions[&id].needed, 3);
    street.vote(41, 2, removal);
    assert_eq!(carried_at(street.state(&id)), Some(carried(41)));
}

/// Nodes that heard of the removal first never take such a record in.
#[test]
fn what_lies_past_a_seal_shows_nobody_awake() {
    let mut street = Street::drowsy(4, 30);
    let removal = street.removal(4);
    street.vote(40, 0, removal.clone());
    let id = street.vote(40, 1, removal);
    street.trade(20, 2);
    assert_eq!(street.state(&id), MotionState::Open);
    let before_the_trade = street.removal_after(2, street.next[2] - 1);
    for voter in [0, 1, 3] {
        street.vote(45, voter, before_the_trade.clone());
    }
    assert_eq!(carried_at(street.state(&id)), Some(carried(40)));
}

/// A seal that is only proposed silences nobody, so that no shop can remove all the others by its own voice.
#[test]
fn nobody_is_asleep_because_a_seal_was_proposed() {
    let mut street = Street::drowsy(5, 7);
    for day in 1..40 {
        for shop in 0..5 {
            street.trade(day, shop);
        }
    }
    for shop in 1..5 {
        let removal = street.removal_after(shop, street.next[shop] - 20);
        street.vote(40, 0, removal);
    }
    for shop in 1..5 {
        assert_eq!(street.standing(shop), Some(Standing::Member), "shop {shop}");
    }
}

#[test]
fn a_vote_is_repeated_when_others_have_fallen_silent() {
    let rules = proto::Governance { dormancy_days: Some(7), ..NONE };
    let mut street = Street::new(4, 3, rules);
    let removal = street.removal(3);
    let id = street.vote(1, 0, removal.clone());
    assert_eq!(street.state(&id), MotionState::Open);
    street.vote(20, 0, removal);
    assert_eq!(carried_at(street.state(&id)), Some(carried(20)), "nobody else is awake");
}

#[test]
fn hearing_of_a_day_tells_whether_a_decision_hangs_on_it() {
    let rules = proto::Governance { dormancy_days: Some(30), ..NONE };
    let mut street = Street::new(4, 3, rules);
    let removal = street.removal(3);
    street.vote(40, 0, removal);
    let (roster, shop) = (street.roster(), street.shops.id(2));
    let wakes = |day| roster.wakes(shop, day, &street.council);
    assert!(wakes(10) && wakes(40), "day 40 was looked at, and the shop was not known to be awake");
    assert!(!wakes(9) && !wakes(41));
    street.trade(15, 2);
    assert!(!street.roster().wakes(shop, 12, &street.council), "it is known to be awake on day 40");
}

#[test]
fn an_admission_takes_effect_after_the_time_for_objections() {
    let rules = proto::Governance { objection_ms: Some(7 * DAY), ..NONE };
    let street = Street::new(4, 3, rules);
    // Shops 2 and 3 were announced on day 0; shop 1 is one of the founder's first and needs no time.
    assert_eq!(street.roster().shop(street.shops.id(1)).unwrap().since, None);
    let member = street.roster().shop(street.shops.id(3)).unwrap().clone();
    assert_eq!((member.standing, member.since.map(UnixMillis::ms)), (Standing::Member, Some(7 * DAY)));
    assert!(street.roster().is_early(street.shops.id(3), UnixMillis::new(7 * DAY - 1).unwrap()));
    assert!(!street.roster().is_early(street.shops.id(3), UnixMillis::new(7 * DAY).unwrap()));
    // An objection on the last moment stops it; one dated later does not.
    let admission = street.admission(3, false, "");
    let mut late = street;
    let mut message = proto::Motion { motion: Some(admission), round: 0 }.encode_to_vec();
    let against =
        proto::Vote { motion: std::mem::take(&mut message).into(), against: true, ..Default::default() };
    late.say_at(7 * DAY + 1, 1, Kind::Vote, &against);
    assert_eq!(late.standing(3), Some(Standing::Member));
    late.say_at(7 * DAY, 0, Kind::Vote, &against);
    assert_eq!(late.standing(3), Some(Standing::Pending));
    assert_eq!(late.standing(2), Some(Standing::Member), "it was about shop 3 alone");
    // Proposed anew, with the same words, it is open to objections once more.
    let admission = late.admission(3, false, "");
    late.voice_in(20, 1, admission.clone(), 1, false);
    let again = late.voice_in(20, 2, admission, 1, false);
    assert_eq!(late.roster().shop(late.shops.id(3)).unwrap().since.map(UnixMillis::ms), Some(27 * DAY));
    assert_eq!(carried_at(late.state(&again)), Some(carried(27)));
}

#[test]
fn objections_of_members_without_a_vote_stop_nothing() {
    let rules = proto::Governance { objection_ms: Some(DAY), objection_votes: Some(2), ..NONE };
    let mut street = Street::new(6, 4, rules);
    let admission = street.admission(5, false, "");
    street.voice(0, 4, admission.clone(), true);
    street.voice(0, 3, admission.clone(), true);
    assert_eq!(street.standing(5), Some(Standing::Member), "one of the two has no vote");
    street.voice(0, 0, admission, true);
    assert_eq!(street.standing(5), Some(Standing::Pending));
}

#[test]
fn sponsors_need_no_vote_of_their_own() {
    let rules = proto::Governance { admission_sponsors: Some(3), ..NONE };
    let mut street = Street::founded(5, 1, |charter| charter.governance = Some(rules));
    let admission = street.admission(1, false, "");
    street.vote(0, 0, admission);
    assert_eq!(street.standing(1), Some(Standing::Pending), "the founder alone is one of three");
    let mut street = Street::founded(5, 3, |_| {});
    let sponsors = street.amendment(None, proto::Governance { admission_votes: Some(1), ..NONE });
    for shop in 1..4 {
        let admission = street.admission(shop, shop < 3, "");
        for voter in 0..3.min(shop) {
            street.vote(0, voter, admission.clone());
        }
    }
    for voter in 0..3 {
        street.vote(1, voter, sponsors.clone());
    }
    let first = motion_id(&proto::Motion { motion: Some(sponsors), round: 0 }.encode_to_vec());
    let sponsors = street.amendment(Some(first), proto::Governance { admission_sponsors: Some(2), ..NONE });
    for voter in 0..3 {
        street.vote(2, voter, sponsors.clone());
    }
    let admission = street.admission(4, false, "");
    street.vote(3, 0, admission.clone());
    assert_eq!(street.standing(4), Some(Standing::Pending));
    street.vote(4, 3, admission);
    assert_eq!(street.standing(4), Some(Standing::Member), "one vote, and a member who vouches");
}

#[test]
fn one_noodle_bar_a_street_unless_voted_otherwise() {
    let rules = proto::Governance { category_shops: Some(1), amendment_votes: Some(1), ..NONE };
    let mut street = Street::founded(5, 1, |charter| {
        charter.governance = Some(rules);
        charter.founder_category = "茶".into();
    });
    let admissions: Vec<_> =
        (1..5).map(|shop| street.admission(shop, false, ["面", "面", "茶", ""][shop - 1])).collect();
    for (day, admission) in (1..).zip(&admissions) {
        street.vote(day, 0, admission.clone());
    }
    let standings = |street: &Street| (1..5).map(|shop| street.standing(shop).unwrap()).collect::<Vec<_>>();
    use Standing::{Member, Pending, Removed};
    assert_eq!(standings(&street), [Member, Pending, Pending, Member], "the founder sells tea");
    let limit = proto::CategoryLimit { category: "面".into(), shops_max: 2 };
    street.vote(6, 0, proto::motion::Motion::CategoryLimit(limit));
    assert_eq!(standings(&street), [Member, Member, Pending, Member], "two were voted for");
    // Without the vote, a place that becomes free goes to who waits.
    let mut street = Street::founded(5, 1, |charter| {
        charter.removal_votes = 1;
        charter.governance = Some(rules);
    });
    for (day, admission) in (1..).zip(&admissions[..2]) {
        street.vote(day, 0, admission.clone());
    }
    let removal = street.removal(1);
    street.vote(7, 0, removal);
    assert_eq!([street.standing(1), street.standing(2)], [Some(Removed), Some(Member)]);
}

#[test]
fn strikes_suspend_and_an_appeal_in_time_can_annul_them() {
    let rules =
        proto::Governance { strike_limit: Some(2), suspension_days: Some(30), appeal_days: Some(14), ..NONE };
    let mut street = Street::new(5, 4, rules);
    let strikes: Vec<_> = [(1, "一"), (10, "二")]
        .into_iter()
        .map(|(day, reason)| {
            let strike = street.strike(3, reason);
            street.vote(day, 0, strike.clone());
            street.vote(day, 3, strike.clone());
            street.vote(day, 1, strike)
        })
        .collect();
    assert_eq!(
        [9, 10, 39, 40].map(|day| street.bar(3, day)),
        [None, Some(BarCause::Suspended), Some(BarCause::Suspended), None]
    );
    // While it is suspended it has no vote.
    let removal = street.removal(4);
    street.vote(11, 3, removal.clone());
    let id = street.vote(12, 2, removal);
    assert_eq!(street.state(&id), MotionState::Open);
    // Annulled without an appeal, or with one that came too late: not at all.
    let annulment =
        |id: &MotionId| proto::motion::Motion::Annulment(proto::Annulment { strike_id: id.to_vec().into() });
    for voter in [0, 1] {
        street.vote(16, voter, annulment(&strikes[0]));
        street.vote(16, voter, annulment(&strikes[1]));
    }
    let appeal = |id: &MotionId| proto::Appeal { strike_id: id.to_vec().into(), statement: "已付".into() };
    street.say(16, 3, Kind::Appeal, &appeal(&strikes[0]));
    street.say(16, 2, Kind::Appeal, &appeal(&strikes[1]));
    assert_eq!(street.bar(3, 20), Some(BarCause::Suspended), "too late, and by another shop");
    street.say(17, 3, Kind::Appeal, &appeal(&strikes[1]));
    assert_eq!([16, 17, 20].map(|day| street.bar(3, day)), [Some(BarCause::Suspended), None, None]);
    let at = UnixMillis::new(20 * DAY).unwrap();
    assert_eq!(street.roster().government().strikes_of(street.shops.id(3), at), 1);
}

#[test]
fn a_core_member_is_made_an_ordinary_one_and_back() {
    let mut street = Street::new(4, 3, NONE);
    let core = |street: &Street, shop| street.roster().shop(street.shops.id(shop)).unwrap().core;
    let change = street.core_change(2, false);
    street.vote(1, 0, change.clone());
    street.vote(1, 2, change.clone());
    assert!(core(&street, 2), "its own voice does not count");
    street.vote(2, 1, change);
    assert!(!core(&street, 2));
    let removal = street.removal(3);
    street.vote(3, 2, removal.clone());
    street.vote(3, 0, removal);
    assert_eq!(street.standing(3), Some(Standing::Member), "it votes no more");
    let change = street.core_change(2, true);
    street.vote(4, 0, change.clone());
    street.vote(4, 1, change);
    assert!(core(&street, 2));
    assert_eq!(street.standing(3), Some(Standing::Removed), "its vote counts again");
}

#[test]
fn a_season_ends_for_all_who_do_not_go_on() {
    let rules = proto::Governance { season_end_unix_ms: Some(100 * DAY), ..NONE };
    let mut street = Street::new(6, 4, rules);
    assert_eq!(street.bar(0, 99), None);
    assert_eq!(street.bar(0, 100), Some(BarCause::SeasonOver), "nobody renewed it");
    let renewal =
        |ends: i64| proto::motion::Motion::Renewal(proto::Renewal { season: 2, ends_unix_ms: ends * DAY });
    let id = street.vote(50, 0, renewal(200));
    street.vote(51, 1, renewal(200));
    assert_eq!(carried_at(street.state(&id)), Some(carried(51)));
    let other = street.vote(52, 1, renewal(300));
    assert!(matches!(street.state(&other), MotionState::Lapsed { .. }), "season 2 has its end");
    let goes_on = |goes_on| proto::SeasonChoice { season: 2, goes_on };
    for shop in [0, 1, 2, 3] {
        street.say(60, shop, Kind::SeasonChoice, &goes_on(true));
    }
    street.say(70, 3, Kind::SeasonChoice, &goes_on(false));
    street.say(120, 4, Kind::SeasonChoice, &goes_on(true));
    assert_eq!(
        [0, 3, 4, 5].map(|shop| street.bar(shop, 110)),
        [None, Some(BarCause::SeasonOver), Some(BarCause::SeasonOver), Some(BarCause::SeasonOver)]
    );
    assert_eq!([4, 5].map(|shop| street.bar(shop, 130)), [None, Some(BarCause::SeasonOver)]);
    // Who stays behind has no vote in the new season.
    let removal = street.removal(5);
    let id = street.vote(130, 0, removal.clone());
    street.vote(131, 3, removal.clone());
    assert_eq!(street.state(&id), MotionState::Open);
    street.vote(132, 2, removal);
    assert_eq!(carried_at(street.state(&id)), Some(carried(132)));
    assert_eq!(street.bar(0, 200), Some(BarCause::SeasonOver), "and season 2 ends, too");
}

#[test]
fn a_season_that_is_over_is_not_renewed_and_votes_go_on() {
    let rules = proto::Governance { season_end_unix_ms: Some(100 * DAY), ..NONE };
    let mut street = Street::new(4, 3, rules);
    let renewal = proto::motion::Motion::Renewal(proto::Renewal { season: 2, ends_unix_ms: 200 * DAY });
    let id = street.vote(99, 0, renewal.clone());
    street.vote(100, 1, renewal);
    assert!(matches!(street.state(&id), MotionState::Lapsed { .. }));
    let removal = street.removal(3);
    street.vote(110, 0, removal.clone());
    street.vote(110, 1, removal);
    assert_eq!(street.standing(3), Some(Standing::Removed), "what is left to decide is decided");
}

#[test]
fn who_departs_has_no_vote_and_begins_nothing_from_then_on() {
    let mut street = Street::new(5, 3, NONE);
    let split = proto::motion::Motion::Split(proto::Split {
        name: "后街".into(),
        shop_ids: {
            let mut ids = [street.id_bytes(2), street.id_bytes(3)];
            ids.sort();
            ids.to_vec()
        },
        reason: String::new(),
    });
    let id = street.vote(1, 0, split.clone());
    assert_eq!(street.state(&id), MotionState::Open);
    street.vote(2, 2, split);
    assert_eq!(carried_at(street.state(&id)), Some(carried(2)));
    let next = AllianceId::new([7; 32]);
    let departure = proto::Departure {
        next_alliance_id: next.as_bytes().to_vec().into(),
        split_id: id.to_vec().into(),
        reason: String::new(),
    };
    street.say(5, 2, Kind::Departure, &departure);
    assert_eq!(
        [4, 5, 500].map(|day| street.bar(2, day)),
        [None, Some(BarCause::Departed), Some(BarCause::Departed)]
    );
    assert_eq!(street.bar(3, 500), None, "nobody is sent away");
    let (roster, shop) = (street.roster(), street.shops.id(2));
    assert_eq!(
        roster.government().departure(shop).map(|(at, to)| (at.ms(), to)),
        Some((5 * DAY, Some(next)))
    );
    assert_eq!(street.standing(2), Some(Standing::Member), "its books are settled here");
    let removal = street.removal(4);
    street.vote(6, 2, removal.clone());
    street.vote(6, 0, removal);
    assert_eq!(street.standing(4), Some(Standing::Member));
}

#[test]
fn a_voice_is_never_older_than_the_one_before_it_in_its_log() {
    let mut street = Street::new(4, 3, NONE);
    let (one, other) = (street.removal(3), street.strike(3, "一"));
    street.vote(10, 0, one.clone());
    let id = street.vote(5, 0, other.clone());
    street.vote(4, 1, other);
    assert_eq!(carried_at(street.state(&id)), Some(carried(10)), "set back, the clock changes nothing");
}

#[test]
fn motions_out_of_bounds_are_refused_with_the_field() {
    let street = Street::new(2, 1, NONE);
    let field = |motion: proto::motion::Motion, round| {
        let bytes = proto::Motion { motion: Some(motion), round }.encode_to_vec();
        Motion::parse(&bytes, Some(&street.shops.1)).unwrap_err().fact("field").unwrap().to_owned()
    };
    let cases = [
        ("round", street.removal(1), 1_001),
        ("category", street.admission(1, false, &"面".repeat(41)), 0),
        ("change", street.amendment(None, NONE), 0),
        ("reason", street.strike(1, ""), 0),
        (
            "cause",
            proto::motion::Motion::Strike(proto::Strike { reason: "x".into(), ..Default::default() }),
            0,
        ),
        (
            "shops_max",
            proto::motion::Motion::CategoryLimit(proto::CategoryLimit {
                category: "面".into(),
                shops_max: 0,
            }),
            0,
        ),
        ("strike_id", proto::motion::Motion::Annulment(proto::Annulment::default()), 0),
        ("season", proto::motion::Motion::Renewal(proto::Renewal { season: 0, ends_unix_ms: 1 }), 0),
        ("ends_unix_ms", proto::motion::Motion::Renewal(proto::Renewal { season: 1, ends_unix_ms: 0 }), 0),
        ("name", proto::motion::Motion::Split(proto::Split::default()), 0),
        ("shop_id", proto::motion::Motion::CoreChange(proto::CoreChange::default()), 0),
    ];
    for (name, motion, round) in cases {
        assert_eq!(field(motion, round), name);
    }
    let twice = proto::Split {
        name: "后街".into(),
        shop_ids: vec![street.id_bytes(0), street.id_bytes(0)],
        reason: String::new(),
    };
    assert_eq!(field(proto::motion::Motion::Split(twice), 0), "shop_ids");
}

#[test]
fn voices_past_the_bound_of_a_log_never_count() {
    let mut street = Street::new(3, 1, NONE);
    let admission = street.admission(2, true, "");
    for place in 0..=council::VOICES_PER_SHOP_MAX as u64 {
        let act = Act::Against([1; 32]);
        let voice = council::Voice { at: UnixMillis::EPOCH, act };
        street.council.voices.entry(street.shops.id(1)).or_default().insert(place + 1, voice);
    }
    street.next[1] = 10_000;
    let id = street.vote(1, 1, admission);
    assert!(!street.roster().government().motions.contains_key(&id), "nobody has spoken for it");
}
