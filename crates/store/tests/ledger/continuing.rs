//! A shop whose log is closed for good comes back as a new one: its phrase says so, the members see it before they vote, and
//! what allies and the old shop owe each other is carried over.

use hutong_core::{
    answer::Answer,
    command::{CarryOverCommand, Command, IssueCommand},
    refusal::{Reason, Refusal},
    roster::{Member, Standing},
    settlement::{
        book::Matter,
        payment::{self, Outcome},
    },
};
use hutong_record::{
    AllianceId, Continuation, Currency, Identity, Money, RecordId, RecoverySeed, ShopId, proto, proto::Kind,
};
use prost::Message as _;
use rand::RngExt as _;

use crate::{
    convergence::{replay, seeds, trade},
    street::{DAY_MS, Shop, Street, grow},
    till::yuan,
};

/// Who knocks, and with what.
struct Newcomer {
    shop: usize,
    guest_key: [u8; 32],
}

impl Street {
    /// What the phrase of a shop says.
    fn continuation(&self, old: usize, new: ShopId) -> Continuation {
        Continuation::create(&self.seed(old), self.charter.id, self.id(old), new).unwrap()
    }

    /// A new shop that the founder has invited; it has knocked at no door.
    fn returning(&mut self, category: &str) -> Newcomer {
        self.pass(1_000); // of one moment, ids would say who came first
        let (phrase, identity, keys) = grow(&mut self.rng, self.now);
        self.phrases.insert(identity.id(), phrase);
        let guest_key: [u8; 32] = self.rng.random();
        let invitation = proto::Invitation {
            guest_key: guest_key.to_vec().into(),
            expires_unix_ms: self.now.ms() + DAY_MS,
            category: category.into(),
            ..Default::default()
        };
        self.run(0, &Command::Invite(invitation)).unwrap();
        self.shops.push(Shop::new(identity, keys, &self.charter));
        Newcomer { shop: self.shops.len() - 1, guest_key }
    }

    fn knock_as(&mut self, who: &Newcomer, says: Option<Continuation>) -> Result<(), Refusal> {
        let identity = self.shops[who.shop].identity.signed().clone();
        let continuation = says.map(Box::new);
        let admit = Command::AdmitGuest { guest_key: who.guest_key, identity, continuation };
        self.run(0, &admit).map(|_| ())
    }

    /// A new shop that the founder lets in as the one that continues an old one.
    fn come_back(&mut self, old: usize) -> usize {
        let who = self.returning("");
        let says = self.continuation(old, self.id(who.shop));
        self.knock_as(&who, Some(says)).unwrap();
        self.meet();
        who.shop
    }

    /// A new shop that says nothing of an old one when it joins.
    fn come_in(&mut self) -> usize {
        self.pass(1_000);
        let shop = self.join(false);
        self.meet();
        shop
    }

    /// The shop signs two records of one place, and others see both.
    fn fork(&mut self, shop: usize) {
        let profile = |name: &str| proto::Profile { name: name.into(), ..Default::default() };
        let branch = self.craft(shop, Kind::Profile, &[], &profile("丙"));
        self.carry(shop, 1);
        self.plant(shop, Kind::Profile, &[], &profile("丁"));
        self.carry(shop, 1);
        let Street { shops, rng, now, .. } = self;
        assert!(shops[1].ledger.examine(vec![branch.to_message()], *now, rng).unwrap());
        shops[1].ledger.commit().unwrap();
        self.meet();
        assert_eq!(self.member(0, shop).standing, Standing::Frozen);
    }

    fn member(&self, at: usize, shop: usize) -> Member {
        self.shops[at].ledger.alliance().roster().shop(self.id(shop)).unwrap().clone()
    }

    fn say_continues(&mut self, new: usize, old: usize) -> Result<usize, Refusal> {
        let says = Box::new(self.continuation(old, self.id(new)));
        self.run(new, &Command::ContinueShop(says)).map(|done| done.records.len())
    }

    /// Who continues a shop, as all see it.
    fn continued_by(&self, old: usize) -> Option<ShopId> {
        let seen = |shop: &Shop| shop.ledger.alliance().roster().continued_by(self.id(old));
        let all: Vec<_> = self.shops.iter().map(seen).collect();
        assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
        all[0]
    }

    fn continues(&self, at: usize, new: usize) -> Vec<ShopId> {
        self.shops[at].ledger.alliance().roster().continues(self.id(new)).collect()
    }

    fn carry_over(&mut self, shop: usize, of: usize, minor: Option<i64>) -> Result<RecordId, Refusal> {
        let carry = CarryOverCommand {
            request: self.request(),
            of: self.id(of),
            amount: minor.map(|minor| Money::new(Currency::CNY, minor).unwrap()),
        };
        match self.run(shop, &Command::CarryOver(carry))?.answer {
            Some(Answer::PaymentRecorded { payment }) => Ok(payment),
            other => panic!("not an answer to a carry-over: {other:?}"),
        }
    }

    fn left(&self, shop: usize, of: usize) -> i128 {
        let ledger = &self.shops[shop].ledger;
        payment::left_to_carry(&*ledger.views(), ledger.alliance(), self.id(of)).unwrap()
    }
}

/// Shop 4 forked its log.
fn with_a_fork(seed: u64) -> Street {
    let mut street = Street::new(seed, 5);
    street.call_itself(4, "老茶馆");
    street.fork(4);
    street
}

fn reason<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Reason {
    result.unwrap_err().reason
}

/// The refusals that nothing else can give.
pub(crate) fn refusals() -> impl Iterator<Item = Refusal> {
    let mut street = with_a_fork(620);
    let who = street.returning("");
    let (alliance, old, guest) = (street.charter.id, street.id(4), street.id(who.shop));
    let forged = Continuation::create(&street.seed(3), alliance, old, guest).unwrap();
    let not_ordered = street.knock_as(&who, Some(forged)).unwrap_err();
    let not_continued = street.carry_over(2, 4, None).unwrap_err();
    street.come_back(4);
    let late = street.continuation(4, guest);
    let continued = street.knock_as(&who, Some(late)).unwrap_err();
    let nothing_open = street.carry_over(2, 4, None).unwrap_err();
    [not_ordered, not_continued, continued, nothing_open].into_iter()
}

#[test]
fn members_see_whom_a_newcomer_continues_before_they_vote_and_afterwards() {
    let mut street = Street::founded(600, |charter| charter.admission_votes = 2);
    let core = street.join(true);
    let old = street.returning("");
    street.knock_as(&old, None).unwrap();
    street.meet();
    street.run(core, &Command::Approve { shop: street.id(old.shop), core: false }).unwrap();
    street.meet();
    let old = old.shop;
    street.call_itself(old, "老茶馆");
    street.fork(old);

    let new = street.returning("");
    let says = street.continuation(old, street.id(new.shop));
    street.knock_as(&new, Some(says)).unwrap();
    street.meet();
    for at in [0, core] {
        assert_eq!(street.member(at, new.shop).standing, Standing::Pending);
        assert_eq!(street.continues(at, new.shop), [street.id(old)], "shown before the vote");
    }
    assert_eq!(street.continued_by(old), None, "not yet");
    street.run(core, &Command::Approve { shop: street.id(new.shop), core: false }).unwrap();
    street.meet();
    assert_eq!(street.member(core, new.shop).standing, Standing::Member);
    assert_eq!(street.continued_by(old), Some(street.id(new.shop)));
    assert_eq!(street.member(0, old).standing, Standing::Frozen, "the old log stays closed");
    street.check_agreement("voted in again");
    street.check_any_order(600, "voted in again");
}

#[test]
fn a_shop_that_is_in_says_once_in_its_own_log_whom_it_continues() {
    let mut street = with_a_fork(601);
    let new = street.come_in();
    assert_eq!(street.say_continues(new, 4), Ok(1));
    assert_eq!(street.say_continues(new, 4), Ok(0), "said again");
    street.meet();
    assert_eq!(street.continued_by(4), Some(street.id(new)));
    assert_eq!(street.last(0, new).header().kind, Kind::Continuation);
    street.check_agreement("said by a record");
    street.check_any_order(601, "said by a record");
}

#[test]
fn a_guest_who_asks_again_with_another_word_is_let_in_once() {
    let mut street = with_a_fork(602);
    let who = street.returning("");
    street.knock_as(&who, None).unwrap();
    let says = street.continuation(4, street.id(who.shop));
    street.knock_as(&who, Some(says)).unwrap();
    street.meet();
    assert_eq!(street.member(0, who.shop).standing, Standing::Member);
    assert_eq!(street.continued_by(4), None, "the first word stands; the shop says the rest in its own log");
    assert_eq!(street.say_continues(who.shop, 4), Ok(1));
}

#[test]
fn every_word_that_does_not_hold_is_refused_by_its_own_reason() {
    let mut street = with_a_fork(603);
    let new = street.come_in();
    let (me, alliance, old) = (street.id(new), street.charter.id, street.id(4));
    let said = |street: &mut Street, seed: &RecoverySeed, alliance, old, by| {
        let says = Box::new(Continuation::create(seed, alliance, old, by).unwrap());
        reason(street.run(new, &Command::ContinueShop(says)))
    };
    let (own, other) = (street.seed(4), street.seed(3));
    assert_eq!(said(&mut street, &other, alliance, old, me), Reason::ContinuationNotOrdered);
    assert_eq!(said(&mut street, &own, AllianceId::new([1; 32]), old, me), Reason::FieldInvalid);
    assert_eq!(said(&mut street, &own, alliance, ShopId::new([1; 32]), me), Reason::MemberUnknown);
    let ally = street.id(2);
    assert_eq!(said(&mut street, &own, alliance, old, ally), Reason::FieldInvalid, "for another shop");
    let open = street.id(3);
    assert_eq!(said(&mut street, &other, alliance, open, me), Reason::MemberStays, "its log is open");
    let (refused, frozen) = (reason(street.say_continues(2, 4)), reason(street.say_continues(4, 3)));
    assert_eq!((refused, frozen), (Reason::FieldInvalid, Reason::LogFrozen), "in before it; frozen itself");
    // At the door, before anybody votes.
    let who = street.returning("");
    let guest = street.id(who.shop);
    let forged = Continuation::create(&other, alliance, old, guest).unwrap();
    assert_eq!(reason(street.knock_as(&who, Some(forged))), Reason::ContinuationNotOrdered);
    let borrowed = street.continuation(4, me);
    assert_eq!(reason(street.knock_as(&who, Some(borrowed))), Reason::FieldInvalid);
    assert_eq!(street.say_continues(new, 4), Ok(1));
    street.meet();
    let late = street.continuation(4, guest);
    assert_eq!(reason(street.knock_as(&who, Some(late))), Reason::ShopContinued);
    street.knock_as(&who, None).unwrap();
    assert_eq!(reason(street.say_continues(who.shop, 4)), Reason::NotMember, "nothing has come to it yet");
    street.meet();
    assert_eq!(reason(street.say_continues(who.shop, 4)), Reason::ShopContinued);
}

/// Whatever shops put into their logs: only the old shop's own phrase makes somebody its continuation.
#[test]
fn words_that_no_honest_node_writes_change_nothing() {
    let mut street = with_a_fork(604);
    let (new, other) = (street.come_in(), street.come_in());
    let forged = Continuation::create(&street.seed(new), street.charter.id, street.id(4), street.id(new));
    street.plant(new, Kind::Continuation, &[], forged.unwrap().signed());
    let for_other = street.continuation(4, street.id(other));
    street.plant(new, Kind::Continuation, &[], for_other.signed());
    let too_old = street.continuation(4, street.id(2));
    street.plant(2, Kind::Continuation, &[], too_old.signed());
    let elsewhere =
        Continuation::create(&street.seed(4), AllianceId::new([1; 32]), street.id(4), street.id(new));
    street.plant(new, Kind::Continuation, &[], elsewhere.unwrap().signed());
    let mut broken = street.continuation(4, street.id(new)).signed().clone();
    broken.recovery_signature = vec![0; 64].into();
    street.plant(new, Kind::Continuation, &[], &broken);
    let sealed = street.continuation(4, street.id(new));
    street.plant(new, Kind::Continuation, &[new, 0], sealed.signed());
    let of_open = street.continuation(3, street.id(new));
    street.plant(new, Kind::Continuation, &[], of_open.signed());
    street.meet();
    assert_eq!((street.continued_by(4), street.continued_by(3)), (None, None));
    street.check_agreement("nonsense");
    street.check_any_order(604, "nonsense");
    // What was said too early holds once the log is closed.
    street.fork(3);
    assert_eq!(street.continued_by(3), Some(street.id(new)));
    street.check_any_order(605, "said before the fork was known");
}

#[test]
fn a_shop_that_a_member_without_a_vote_proposes_shows_what_it_would_continue() {
    let mut street = with_a_fork(606);
    let admission = |street: &Street, who: &Identity| {
        let continuation = Some(street.continuation(4, who.id()).signed().clone());
        let admission =
            proto::Admission { identity: Some(who.signed().clone()), continuation, ..Default::default() };
        let motion = proto::Motion { motion: Some(proto::motion::Motion::Admission(admission)), round: 0 };
        proto::Vote { motion: motion.encode_to_vec().into(), ..Default::default() }
    };
    let who = street.returning("").shop;
    let vote = admission(&street, &street.shops[who].identity.clone());
    street.plant(3, Kind::Vote, &[], &vote);
    street.meet();
    assert_eq!(street.continues(0, who), [street.id(4)]);
    assert_eq!(street.continued_by(4), None);
    street.check_any_order(606, "proposed without a vote");
}

#[test]
fn of_two_that_continue_one_shop_the_first_in_does_in_whatever_order_that_is_heard() {
    let mut street = with_a_fork(607);
    let first = street.come_in();
    let second = street.come_in();
    // The two do not hear of each other.
    assert_eq!(street.say_continues(second, 4), Ok(1));
    assert_eq!(street.say_continues(first, 4), Ok(1));
    street.meet();
    assert_eq!(street.continued_by(4), Some(street.id(first)));
    assert_eq!(street.continues(0, second), []);
    street.check_agreement("two of one");
    street.check_any_order(607, "two of one");
}

#[test]
fn a_shop_that_came_back_and_is_closed_again_comes_back_again() {
    let mut street = Street::new(608, 5);
    street.owe(4, 2, 3);
    street.fork(4);
    let second = street.come_back(4);
    street.call_itself(second, "新茶馆");
    street.fork(second);
    let third = street.come_back(second);
    assert_eq!(street.continued_by(4), Some(street.id(second)));
    assert_eq!(street.continued_by(second), Some(street.id(third)));
    // What the second never answered goes to the third.
    let carried = street.carry_over(2, 4, None).unwrap();
    street.meet();
    assert_eq!(street.answer_payment(third, carried, true), Ok(()));
    street.meet();
    assert_eq!(street.balance(2, third), street.balance(2, 4));
    street.check_agreement("a chain");
    street.check_any_order(608, "a chain");
}

#[test]
fn a_removed_shop_can_come_back_too_and_its_trade_is_free_for_it() {
    let mut street = Street::founded(609, |charter| {
        charter.governance = Some(proto::Governance { category_shops: Some(1), ..Default::default() });
    });
    street.join(false);
    let old = street.returning("茶馆");
    street.knock_as(&old, None).unwrap();
    street.meet();
    let rival = Command::Invite(proto::Invitation {
        guest_key: vec![3; 32].into(),
        expires_unix_ms: street.now.ms() + DAY_MS,
        category: "茶馆".into(),
        ..Default::default()
    });
    assert_eq!(reason(street.run(0, &rival)), Reason::CategoryTaken);
    let remove =
        Command::Remove { shop: street.id(old.shop), last_sequence: None, held: 0, reason: String::new() };
    street.run(0, &remove).unwrap();
    street.meet();
    let new = street.returning("茶馆");
    let says = street.continuation(old.shop, street.id(new.shop));
    street.knock_as(&new, Some(says)).unwrap();
    street.meet();
    assert_eq!(street.member(1, new.shop).standing, Standing::Member);
    assert_eq!(street.member(1, new.shop).category, "茶馆");
    assert_eq!(street.continued_by(old.shop), Some(street.id(new.shop)));
    street.check_any_order(609, "removed and back");
}

#[test]
fn what_allies_and_the_old_shop_owe_each_other_is_carried_over_by_the_word_of_both() {
    let mut street = Street::new(610, 5);
    street.owe(4, 2, 3);
    street.owe(3, 4, 2);
    let (owed, owes) = (street.balance(2, 4), street.balance(3, 4));
    assert!(owed > 0 && owes < 0, "{owed} {owes}");
    street.fork(4);
    assert_eq!(reason(street.carry_over(2, 4, None)), Reason::NotContinued);
    let new = street.come_back(4);
    let before = street.shops[2].state();

    let all = street.carry_over(2, 4, None).unwrap();
    assert_eq!(reason(street.carry_over(2, 4, None)), Reason::NothingToCarry, "all is under way");
    assert_eq!(reason(street.carry_over(1, 4, None)), Reason::NothingToCarry, "it never had a book with it");
    let part = street.carry_over(3, 4, Some(50)).unwrap();
    let too_much = i64::try_from(owes.unsigned_abs()).unwrap();
    assert_eq!(reason(street.carry_over(3, 4, Some(too_much))), Reason::FieldInvalid, "less is left");
    street.meet();
    assert_eq!((street.balance(2, new), street.left(2, 4)), (0, 0), "one side's word books nothing");
    street.answer_payment(new, all, true).unwrap();
    street.answer_payment(new, part, true).unwrap();
    assert_eq!(reason(street.answer_payment(new, all, false)), Reason::PaymentAnswered);
    street.meet();
    assert_eq!((street.balance(2, new), street.balance(new, 2)), (owed, -owed));
    assert_eq!((street.balance(3, new), street.left(3, 4)), (-50, owes + 50));
    assert_eq!(street.lines(new, 2)[0].matter, Matter::CarriedOver);
    let unchanged = |state: &crate::street::State| {
        state.pairs.iter().find(|(shop, _)| *shop == street.id(4)).map(|pair| pair.1)
    };
    assert_eq!(unchanged(&before), unchanged(&street.shops[2].state()), "the old book stays as it was");

    // The rest of the ordinary rules: a denial frees it, statements cover it, payments settle it.
    let rest = street.carry_over(3, 4, None).unwrap();
    street.meet();
    street.answer_payment(new, rest, false).unwrap();
    street.meet();
    assert_eq!(street.left(3, 4), owes + 50, "denied: it can be carried over again");
    assert_eq!(street.balance(3, new), -50);
    assert_eq!(i128::from(street.agree(2, new)), owed);
    let paid = street.pay(new, 2, i64::try_from(owed).unwrap(), "BANK-1").unwrap();
    street.meet();
    street.answer_payment(2, paid, true).unwrap();
    street.meet();
    assert_eq!(street.balance(2, new), 0);
    street.check_agreement("carried over");
    street.check_any_order(610, "carried over");
}

#[test]
fn carry_overs_that_no_honest_node_writes_do_not_count() {
    let mut street = with_a_fork(611);
    let new = street.come_back(4);
    let carry = |street: &Street, ally: usize, of: usize, minor: i64| {
        let amount = Money::new(Currency::CNY, minor).unwrap();
        let carry_over = proto::CarryOver {
            request: Some(proto::Request { id: format!("craft-{minor}-{of}"), hash: vec![0; 32].into() }),
            ally_id: street.bytes(ally),
            of_shop_id: street.bytes(of),
            amount: Some(amount.into()),
            author_owes: false,
        };
        proto::Payment { payment: Some(proto::payment::Payment::CarryOver(carry_over)) }
    };
    let nothing = carry(&street, new, 4, 0);
    street.plant(2, Kind::Payment, &[2, new], &nothing);
    let another = carry(&street, 3, 4, 10);
    street.plant(2, Kind::Payment, &[2, new], &another);
    let their_own = carry(&street, new, 2, 20);
    street.plant(2, Kind::Payment, &[2, new], &their_own);
    street.meet();
    let known = |shop: usize| {
        let views = street.shops[shop].ledger.views();
        payment::list(&*views, street.id(shop), None, None, 10).unwrap()
    };
    assert_eq!((known(2), known(new)), (Vec::new(), Vec::new()));
    // By the word of both anything can be owed: what honest nodes ask for, the commands see to.
    let agreed = carry(&street, new, 1, 30);
    let record = street.plant(2, Kind::Payment, &[2, new], &agreed);
    street.meet();
    street.answer_payment(new, record.id(), true).unwrap();
    street.meet();
    let views = street.shops[new].ledger.views();
    let told = payment::find(&*views, street.id(new), record.id()).unwrap().unwrap();
    assert_eq!((told.outcome, street.balance(2, new)), (Outcome::Confirmed, 30));
    street.check_agreement("crafted");
    street.check_any_order(611, "crafted");
}

#[test]
fn a_carry_over_that_is_asked_for_again_is_the_same_also_past_its_author_s_own_seal() {
    let mut street = Street::new(613, 5);
    street.owe(4, 2, 1);
    street.fork(4);
    let new = street.come_back(4);
    let seal = street.last(2, 2).header().sequence;
    let carry = CarryOverCommand { request: street.request(), of: street.id(4), amount: None };
    let carry = Command::CarryOver(carry);
    let told = street.run(2, &carry).unwrap().answer;
    let again = street.run(2, &carry).unwrap();
    assert_eq!((again.answer.as_ref(), again.records.len()), (told.as_ref(), 0));
    let (shop, reason_given) = (street.id(2), String::new());
    let remove = Command::Remove { shop, last_sequence: Some(seal), held: 0, reason: reason_given };
    street.run(0, &remove).unwrap();
    street.meet();
    let again = street.run(2, &carry).unwrap();
    assert_eq!((again.answer.as_ref(), again.records.len()), (told.as_ref(), 0));
    let Some(Answer::PaymentRecorded { payment }) = told else { panic!("{told:?}") };
    assert_eq!(reason(street.answer_payment(new, payment, true)), Reason::PaymentUnknown);
    street.check_agreement("sealed");
}

/// Rights and numbers of a closed shop need nothing new: the funder stands in for it, as before.
#[test]
fn a_voucher_for_the_closed_shop_goes_to_the_one_that_continues_it_by_the_funder_s_hand() {
    let mut street = Street::new(612, 5);
    assert_eq!(street.come_in(), 5);
    let mut terms = street.terms(&[1], 4);
    terms.redeemer_ids = vec![street.bytes(5)];
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let (request, at, redeemer) = (street.request(), street.now, Some(street.id(4)));
    let issue = IssueCommand { request, promotion, redeemer, card: None, at };
    let answer = street.run(1, &Command::Issue(issue)).unwrap().answer;
    let Some(Answer::HandedOut { mut tokens, .. }) = answer else { panic!("{answer:?}") };
    let token = tokens.remove(0);
    street.meet();
    street.fork(4);
    assert_eq!(street.say_continues(5, 4), Ok(1));
    street.meet();
    assert_eq!(reason(street.redeem(5, &token.qr_text(), None)), Reason::VoucherWrongShop);
    street.transfer(3, &token, 5).unwrap();
    street.meet();
    street.redeem(5, &token.qr_text(), None).unwrap();
    street.meet();
    street.check_agreement("the funder's hand");
    street.check_any_order(612, "the funder's hand");
}

/// A street trades, a shop's log is closed somewhere, it comes back and its books are carried over: whoever hears all that
/// in another order comes to the same.
#[test]
fn coming_back_gives_the_same_state_in_any_order() {
    for seed in seeds() {
        let context = replay(seed, "coming_back");
        let mut street = Street::new(seed, 5);
        trade(&mut street, 60, 4);
        street.meet();
        street.fork(4);
        let new = street.come_back(4);
        let mut carried = Vec::new();
        for ally in 0..4 {
            match street.carry_over(ally, 4, None) {
                Ok(id) => carried.push(id),
                Err(refusal) => assert_eq!(refusal.reason, Reason::NothingToCarry, "{context}"),
            }
        }
        street.meet();
        for id in carried {
            let received = street.rng.random_bool(0.7);
            street.answer_payment(new, id, received).unwrap();
        }
        street.sell(new, yuan(20), None);
        street.meet();
        assert_eq!(street.continued_by(4), Some(street.id(new)), "{context}");
        street.check_agreement(&context);
        street.check_redelivered(seed, &context);
    }
}
