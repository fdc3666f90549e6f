//! The closed list of refusals: each one has a way to it.

use std::{collections::BTreeSet, sync::Arc};

use hutong_core::{
    command::{Command, Confirmation, GovernCommand, MoveQuotaCommand, RedeemCommand, SignCommand},
    refusal::{Reason, Refusal},
    settlement::clearing,
};
use hutong_record::{Currency, Money, RecordId, ShopId, UnixMillis, proto};
use hutong_store::{
    ledger::{ExecuteError, Patience},
    views::MemViews,
};

use crate::{
    clearing::{circle, double, run_like},
    credit::chain_with_line,
    settlement::with_a_receipt,
    street::{DAY_MS, Street},
    till::{card, yuan},
};

/// Refusals that only a node gives: they are about connections, tokens, queues and its own alliances.
const OF_THE_NODE: [Reason; 24] = [
    Reason::AllianceUnknown,
    Reason::AllianceUnnamed,
    Reason::AllianceExists,
    Reason::InviterUnreachable,
    Reason::AddressUnknown,
    Reason::Busy,
    Reason::Stopped,
    Reason::TokenInvalid,
    Reason::TooManyTries,
    Reason::Internal,
    Reason::ChannelUnknown,
    Reason::ChannelOfOther,
    Reason::TokenExpired,
    Reason::TokenRevoked,
    Reason::ScopeMissing,
    Reason::RateLimited,
    Reason::TokenUnknown,
    Reason::TokenLimitReached,
    Reason::WebhookUnknown,
    Reason::WebhookLimitReached,
    Reason::BundleInvalid,
    Reason::BundleVersion,
    Reason::BundleTruncated,
    Reason::BundleDamaged,
];

#[derive(Default)]
struct Heard(BTreeSet<Reason>);

impl Heard {
    fn refused<T: std::fmt::Debug>(&mut self, result: Result<T, Refusal>) {
        self.0.insert(result.unwrap_err().reason);
    }
}

#[test]
fn every_reason_that_the_rules_can_give_is_given() {
    let mut heard = Heard::default();
    let mut street = Street::with(90, 5, |charter| charter.late_entry_ms_max = 100 * DAY_MS);
    let mut terms = street.terms(&[1], 2);
    terms.distributors[0].quota = 4;
    terms.card_required = true;
    terms.per_card_max = 1;
    terms.per_day_max = 2;
    let promotion = street.publish(2, terms).unwrap();
    street.meet();
    hand_out(&mut heard, &mut street, promotion);
    redeem(&mut heard, &mut street, promotion);
    condition(&mut heard, &mut street);
    hold_the_right(&mut heard, &mut street);
    let request = street.request();
    heard.refused(street.run(1, &Command::ConsentFunding { request, promotion }));
    let request = street.request();
    street.run(1, &Command::SetStaffCard { request, card: card(9), removed: false }).unwrap();
    heard.refused(street.touch(1, 2, card(9)));
    street.shops[2].reopen(Arc::new(MemViews::new()));
    let sale = street.sale(yuan(20), None);
    heard.refused(street.try_run(2, &sale));
    govern(&mut heard, &mut street);
    decide(&mut heard);
    settle(&mut heard);
    net(&mut heard);
    lend(&mut heard);
    lose(&mut heard);
    rotate(&mut heard);
    overrides(&mut heard);
    crate::continuing::refusals().for_each(|refusal| heard.refused::<()>(Err(refusal)));
    let expected: BTreeSet<_> =
        Reason::ALL.iter().copied().filter(|reason| !OF_THE_NODE.contains(reason)).collect();
    assert_eq!(heard.0, expected);
}

fn lose(heard: &mut Heard) {
    let mut street = Street::new(93, 3);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    heard.refused(street.run(1, &Command::DeclareNothingLost));
    street.shops[1] = street.shops[1].copied();
    heard.refused(street.issue(1, promotion, None)); // it asks the others first, and begins anew
}

fn rotate(heard: &mut Heard) {
    let mut street = Street::new(94, 3);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    street.rotate(1);
    let token = street.issue(1, promotion, None).unwrap();
    heard.refused(street.redeem(2, &token.qr_text(), None)); // its key is not known
    let (again, without) = (street.succession(1, 1), street.succession(1, 2));
    heard.refused(street.run(1, &Command::RotateKey(Box::new(again)))); // it has these
    heard.refused(street.run(1, &Command::RotateKey(Box::new(without)))); // it has not got those
}

fn overrides(heard: &mut Heard) {
    let mut street = Street::new(95, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(0, terms).unwrap();
    street.call_itself(1, "一");
    street.meet();
    let mut thief = street.shops[1].copied();
    let keys = street.epoch_keys(1, 1);
    street.shops[1].keys.add(keys);
    let head = street.shops[1].ledger.head(street.id(1)).unwrap();
    let order = |street: &Street, last_sequence| street.override_order(1, 1, last_sequence);
    let run = |street: &mut Street, order| street.run(1, &Command::OverrideKey(Box::new(order)));
    let nowhere = order(&street, head.sequence + 1);
    heard.refused(run(&mut street, nowhere)); // there is no such record
    let stale = order(&street, head.sequence);
    street.call_itself(1, "二");
    heard.refused(run(&mut street, stale)); // one more came
    let last = street.last(0, 1);
    let spent = street.thieve(1, &last, 1);
    let fits = order(&street, head.sequence);
    run(&mut street, fits).unwrap();
    std::mem::swap(&mut street.shops[1], &mut thief);
    street.ask(1, &[0, 2], Patience::Over);
    street.run(1, &Command::DeclareNothingLost).unwrap();
    let forged = street.issue(1, promotion, None).unwrap();
    std::mem::swap(&mut street.shops[1], &mut thief);
    street.carry(1, 2);
    heard.refused(street.redeem(2, &forged.qr_text(), None)); // no record shows it
    let mut restored = street.fresh(1);
    std::mem::swap(&mut street.shops[1], &mut restored);
    street.shops[1] = street.shops[1].copied();
    street.carry(0, 1);
    street.shops[1].take(&spent, street.now).unwrap();
    let answers: Vec<_> = [0, 3].map(|at| street.shops[at].answer(street.id(1))).into();
    let Street { shops, rng, now, .. } = &mut street;
    let refused = shops[1].ledger.confirm_head(&answers, Patience::Over, *now, rng);
    heard.refused(refused.map_err(|error| match error {
        ExecuteError::Refused(refusal) => refusal,
        ExecuteError::Ledger(error) => panic!("{error}"),
    })); // a thief has used all numbers up
}

fn settle(heard: &mut Heard) {
    use proto::ReceiptAnswer::{Accept, Dispute, Withdraw};
    let (mut street, receipt) = with_a_receipt(91);
    heard.refused(street.respond(2, receipt, Dispute)); // its own receipt
    heard.refused(street.respond(3, receipt, Withdraw)); // never disputed
    street.respond(3, receipt, Accept).unwrap();
    heard.refused(street.respond(3, receipt, Accept)); // once
    street.pass(15 * DAY_MS);
    heard.refused(street.respond(1, receipt, Dispute)); // too late
    heard.refused(street.publish_balance(1, 3)); // nothing is agreed
    heard.refused(street.answer_payment(1, receipt, true)); // no payment
    heard.refused(street.pay(3, 3, 5, "")); // to itself
    let usual = |street: &Street, ally| {
        Command::SignStatement(SignCommand { ally: street.id(ally), end: None, listed_day: None })
    };
    let mut street_of_two = with_a_receipt(96).0;
    for (shop, ally) in [(2, 3), (3, 2)] {
        let sign = usual(&street_of_two, ally);
        street_of_two.run(shop, &sign).unwrap();
        street_of_two.meet();
    }
    let again = usual(&street_of_two, 3);
    heard.refused(street_of_two.run(2, &again)); // its period is not over
    let payment = street.pay(3, 1, 5, "").unwrap();
    street.meet();
    street.answer_payment(1, payment, true).unwrap();
    heard.refused(street.answer_payment(1, payment, false)); // once
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.limit(1, 3, None, Some(0));
    heard.refused(street.issue(1, promotion, None)); // owes too much
    street.carry(2, 3);
    street.pass(1_000);
    street.sign_now(3, 1).unwrap();
    let funder = street.id(3);
    street.carry_log(3, 1, funder).unwrap();
    heard.refused(street.sign_now(1, 3)); // the redeemer's log is not there
}

fn net(heard: &mut Heard) {
    let mut street = circle(92);
    heard.refused(street.run(0, &Command::ConsentToNetting(RecordId::new([1; 32]))));
    heard.refused(street.run(0, &Command::ProposeNetting(Some(UnixMillis::EPOCH)))); // nothing of that period
    let run = street.run(0, &Command::ProposeNetting(None)).unwrap().records[0];
    let good = clearing::find(&*street.shops[0].ledger.views(), run).unwrap().unwrap();
    let doubled = run_like(&street, &good, &double);
    let doubled = street.plant(0, proto::Kind::Netting, &[], &doubled).id();
    street.meet();
    heard.refused(street.run(1, &Command::ConsentToNetting(doubled))); // other balances
    street.run(1, &Command::ConsentToNetting(run)).unwrap();
    heard.refused(street.run(1, &Command::ConsentToNetting(doubled))); // once
}

fn lend(heard: &mut Heard) {
    let mut street = chain_with_line(94);
    heard.refused(street.accept(2, 3)); // 3 offers it nothing
    street.limit(3, 1, None, Some(1));
    heard.refused(street.offer(3, 1, 100)); // above its own limit
    let run = street.run(0, &Command::ProposeNetting(None)).unwrap().records[0];
    street.take_back(1, 3);
    street.meet();
    heard.refused(street.run(3, &Command::ConsentToNetting(run))); // the debtor's word is gone
}

fn hand_out(heard: &mut Heard, street: &mut Street, promotion: RecordId) {
    heard.refused(street.issue(1, promotion, None));
    heard.refused(street.issue(0, promotion, Some(card(1))));
    heard.refused(street.issue(1, RecordId::new([1; 32]), Some(card(1))));
    for n in 1..=2 {
        street.issue(1, promotion, Some(card(n))).unwrap();
    }
    heard.refused(street.issue(1, promotion, Some(card(3)))); // the day's limit
    street.pass(DAY_MS);
    heard.refused(street.issue(1, promotion, Some(card(1)))); // the card's limit
    for n in 3..=4 {
        street.issue(1, promotion, Some(card(n))).unwrap();
    }
    heard.refused(street.issue(1, promotion, Some(card(5)))); // the quota
    let now = street.now;
    street.now = now.saturating_add_ms(-10 * DAY_MS);
    heard.refused(street.issue(1, promotion, Some(card(5)))); // not begun
    street.now = now;
    heard.refused(street.run(1, &Command::EndPromotion { promotion }));
}

fn redeem(heard: &mut Heard, street: &mut Street, promotion: RecordId) {
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), Some(card(9))).remove(0);
    let shown = token.qr_text();
    heard.refused(street.redeem(0, &shown, Some(card(9))));
    heard.refused(street.redeem(2, &shown, Some(card(8))));
    heard.refused(street.redeem(2, "?", None));
    let usd = Money::new("USD".parse::<Currency>().unwrap(), 5_000).unwrap();
    for amount in [usd, yuan(0), yuan(9)] {
        let command = street.redemption(&shown, amount, Some(card(9)));
        heard.refused(street.run(2, &command));
    }
    let Command::Redeem(redeem) = street.redemption(&shown, yuan(40), Some(card(9))) else { return };
    for ms in [-101 * DAY_MS, -DAY_MS, DAY_MS] {
        let (request, at) = (street.request(), street.now.saturating_add_ms(ms));
        heard.refused(street.run(2, &Command::Redeem(RedeemCommand { request, at, ..redeem.clone() })));
    }
    let receipt = street.redeem(2, &shown, Some(card(9))).unwrap();
    heard.refused(street.redeem(2, &shown, Some(card(9))));
    street.void(2, receipt.id).unwrap();
    heard.refused(street.void(2, receipt.id));
    heard.refused(street.void(2, promotion));
    let mut reused = redeem;
    street.run(2, &Command::Redeem(reused.clone())).unwrap();
    reused.request.hash = [0; 32];
    heard.refused(street.run(2, &Command::Redeem(reused)));
    let late = street.sell(1, yuan(20), None).remove(0);
    street.pass(20 * DAY_MS);
    heard.refused(street.redeem(2, &late.qr_text(), None));
    street.pass(20 * DAY_MS);
    heard.refused(street.issue(1, promotion, Some(card(6)))); // the hand-out is over
}

/// Redemptions at shop 2, each against one condition.
fn condition(heard: &mut Heard, street: &mut Street) {
    let day = street.now.ms() + DAY_MS;
    let hours = proto::WeeklyHours { weekdays: 127, from_minute: 0, until_minute: 1 };
    street.now = UnixMillis::new(street.now.ms() / DAY_MS * DAY_MS).unwrap(); // 08:00 in the street
    street.sell(2, yuan(5), Some(card(1)));
    street.pass(DAY_MS);
    let against: [fn(&mut proto::Conditions); 8] = [
        |c| c.categories = vec!["水果".into()],
        |c| c.first_visit = true,
        |c| c.in_person_only = true,
        |c| c.per_card_max = 1,
        |c| c.per_card_day_max = 1,
        |c| c.per_day_max = 1,
        |c| c.per_shop_max = 1,
        |c| c.per_shop_budget = Some(yuan(4).into()),
    ];
    let mut all: Vec<_> = against.iter().map(|change| conditions(*change)).collect();
    all.push(proto::Conditions { hours: vec![hours], ..Default::default() });
    all.push(proto::Conditions { from_unix_ms: day + 5 * DAY_MS, ..Default::default() });
    let group = || proto::Conditions { stackable: true, exclusion_group: "红".into(), ..Default::default() };
    all.extend([group(), group(), proto::Conditions::default()]);
    for conditions in all {
        let terms = proto::Promotion { conditions: Some(conditions), ..street.terms(&[1], 2) };
        let promotion = street.publish(3, terms).unwrap();
        street.meet();
        for _ in 0..2 {
            let token = street.issue(1, promotion, Some(card(1))).unwrap();
            let result = street.redeem_with(2, &token, |redeem| {
                redeem.card = Some(card(1));
                redeem.purchase.remote = true;
                redeem.purchase.id = "basket".into();
            });
            heard.0.extend(result.err().map(|refusal| refusal.reason));
        }
    }
}

fn conditions(change: fn(&mut proto::Conditions)) -> proto::Conditions {
    let mut conditions = proto::Conditions { stackable: true, ..Default::default() };
    change(&mut conditions);
    conditions
}

/// What speaks against a voucher whose right is elsewhere, kept free, taken back or passed on.
fn hold_the_right(heard: &mut Heard, street: &mut Street) {
    let terms = street.at_risk(1, &[2, 3]);
    let anywhere = street.publish(4, terms).unwrap();
    let other = street.bytes(3);
    let designated = proto::Promotion { redeemer_ids: vec![other], ..street.terms(&[1], 2) };
    let designated = street.publish(4, designated).unwrap();
    street.meet();
    let token = street.issue(1, anywhere, None).unwrap();
    heard.refused(street.redeem(2, &token.qr_text(), None));
    for (offline_ms, at_risk) in [(0, false), (2 * DAY_MS, true)] {
        let heard_at = street.now.saturating_add_ms(-offline_ms);
        heard.refused(street.redeem_with(2, &token, |redeem| {
            redeem.confirmation = Confirmation::Unreachable { heard: heard_at, at_risk };
        }));
    }
    for _ in 0..2 {
        let token = street.issue(1, anywhere, None).unwrap();
        street.accept_at_risk(2, &token).unwrap();
    }
    heard.refused(street.accept_at_risk(2, &token));
    let token = street.issue(1, designated, None).unwrap();
    street.meet();
    heard.refused(street.reserve(2, &token, "a", 0));
    street.reserve(2, &token, "a", DAY_MS).unwrap();
    heard.refused(street.redeem(2, &token.qr_text(), None));
    street.reserve(2, &token, "a", 0).unwrap();
    heard.refused(street.transfer(2, &token, 0));
    let mut holder = 2;
    while let Ok(()) = street.transfer(holder, &token, 5 - holder) {
        street.meet();
        holder = 5 - holder;
    }
    heard.refused(street.transfer(holder, &token, 5 - holder));
    street.revoke(1, &token).unwrap();
    street.meet();
    heard.refused(street.redeem(holder, &token.qr_text(), None));
    let (request, to, from) = (street.request(), street.id(1), street.id(1));
    let reclaim =
        MoveQuotaCommand { request, promotion: designated, to, count: 1, reclaimed_from: Some(from) };
    heard.refused(street.run(4, &Command::MoveQuota(reclaim)));
}

/// What an alliance decides about itself.
fn decide(heard: &mut Heard) {
    let mut street = Street::founded(91, |charter| {
        charter.governance = Some(proto::Governance {
            category_shops: Some(1),
            strike_limit: Some(1),
            objection_ms: Some(DAY_MS),
            season_end_unix_ms: Some(charter.created_unix_ms + 60 * DAY_MS),
            ..Default::default()
        });
        charter.founder_category = "面馆".into();
    });
    let newcomer = street.join(false);
    let sale = street.sale(yuan(20), None);
    heard.refused(street.run(newcomer, &sale));
    let invitation = proto::Invitation {
        expires_unix_ms: street.now.ms() + DAY_MS,
        category: "面馆".into(),
        ..Default::default()
    };
    heard.refused(street.run(0, &Command::Invite(invitation)));
    street.pass(2 * DAY_MS);
    heard.refused(street.vote(0, [1; 32], false));
    let strike = street.strike(newcomer, "会费未付");
    let strike = street.propose(0, strike).unwrap();
    heard.refused(street.vote(0, strike, true));
    let annulment = proto::Annulment { strike_id: strike.to_vec().into() };
    heard.refused(street.propose(0, proto::motion::Motion::Annulment(annulment)));
    street.meet();
    let terms = street.terms(&[newcomer], 0);
    heard.refused(street.publish(newcomer, terms));
    street.pass(20 * DAY_MS);
    let appeal = GovernCommand::Appeal { strike, statement: "已付".into() };
    heard.refused(street.govern(newcomer, appeal));
    let now = street.now;
    heard.refused(street.shops[0].ledger.alliance().origin(None, now));
    street.pass(60 * DAY_MS);
    let terms = street.terms(&[newcomer], 0);
    heard.refused(street.publish(newcomer, terms));
    let departure = GovernCommand::Depart { next: None, split: None, reason: String::new() };
    street.govern(newcomer, departure).unwrap();
    let terms = street.terms(&[newcomer], 0);
    heard.refused(street.publish(newcomer, terms));
}

fn govern(heard: &mut Heard, street: &mut Street) {
    heard.refused(street.run(0, &Command::Approve { shop: ShopId::new([1; 32]), core: false }));
    let member = street.id(1);
    heard.refused(street.run(0, &Command::Approve { shop: member, core: false }));
    heard.refused(street.run(1, &Command::Approve { shop: member, core: false }));
    let identity = street.shops[1].identity.signed().clone();
    heard.refused(street.run(0, &Command::AdmitGuest { guest_key: [1; 32], identity, continuation: None }));
    let terms = street.terms(&[3], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let seal = street.shops[3].ledger.head(street.id(3)).map_or(0, |head| head.sequence);
    let token = street.sell(3, yuan(20), None).remove(0);
    let remove =
        Command::Remove { shop: street.id(3), last_sequence: Some(seal), held: 0, reason: String::new() };
    street.run(0, &remove).unwrap();
    street.meet();
    heard.refused(street.redeem(2, &token.qr_text(), None));
    let sale = street.sale(yuan(20), None);
    heard.refused(street.run(3, &sale));
    // Shop 4 forks its log, as seen by shop 0.
    let profile = |name: &str| proto::Profile { name: name.into(), ..Default::default() };
    let one = street.craft(4, proto::Kind::Profile, &[], &profile("甲"));
    let other = street.plant(4, proto::Kind::Profile, &[], &profile("乙"));
    street.shops[0].take(&[one], street.now).unwrap();
    let Street { shops, rng, now, .. } = street;
    assert!(shops[0].ledger.examine(vec![other.to_message()], *now, rng).unwrap());
    shops[0].ledger.commit().unwrap();
    street.meet();
    let sale = street.sale(yuan(20), None);
    heard.refused(street.run(4, &sale));
}
