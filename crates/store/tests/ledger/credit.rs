//! Credit lines: netting by records draws on what two shops agreed to, and on nothing else.

use hutong_core::{
    command::{Command, LineCommand, LineSide},
    duty::Duty,
    netting,
    refusal::{Reason, Refusal},
    settlement::{
        book::Matter,
        clearing::{self, Run},
        credit::{self, Line},
    },
};
use hutong_record::{Currency, Money, RecordId, UnixMillis, proto, proto::Kind};
use hutong_store::ledger::Patience;
use proto::settlement_setting::Setting;

use crate::{
    clearing::{disclose, run_like},
    convergence::{replay, seeds},
    street::{DAY_MS, Street},
};

/// What is drawn in these streets: half of what 2 owes 3.
const LIMIT: i64 = 100;

/// Shop 1 owes 2, which owes 3; both debts are disclosed.
fn chain(seed: u64) -> Street {
    let mut street = Street::new(seed, 4);
    disclose(&mut street, &[(1, 2, 3), (2, 3, 2)]);
    street
}

/// As [`chain`], and 3 takes on new debts of 1.
pub(crate) fn chain_with_line(seed: u64) -> Street {
    let mut street = chain(seed);
    street.offer(3, 1, LIMIT).unwrap();
    street.meet();
    street.accept(1, 3).unwrap();
    street.meet();
    street
}

impl Street {
    pub(crate) fn line_command(&mut self, shop: usize, command: LineCommand) -> Result<bool, Refusal> {
        self.run(shop, &Command::CreditLine(command)).map(|done| !done.records.is_empty())
    }

    pub(crate) fn offer(&mut self, creditor: usize, debtor: usize, minor: i64) -> Result<bool, Refusal> {
        let limit = Money::new(Currency::CNY, minor).unwrap();
        let debtor = self.id(debtor);
        self.line_command(creditor, LineCommand::Offer { debtor, limit, until: None })
    }

    pub(crate) fn accept(&mut self, debtor: usize, creditor: usize) -> Result<bool, Refusal> {
        let creditor = self.id(creditor);
        self.line_command(debtor, LineCommand::Accept { creditor, limit: None, until: None })
    }

    pub(crate) fn take_back(&mut self, shop: usize, ally: usize) -> bool {
        let ally = self.id(ally);
        self.line_command(shop, LineCommand::Withdraw { ally, side: None }).unwrap()
    }

    fn credit_line(&self, creditor: usize, debtor: usize) -> Line {
        let views = self.shops[0].ledger.views();
        credit::line(&*views, self.id(creditor), self.id(debtor)).unwrap()
    }

    fn open_minor(&self, creditor: usize, debtor: usize) -> i64 {
        self.credit_line(creditor, debtor).open_minor(self.now)
    }

    /// Proposes a run, and all hear of it.
    fn propose_run(&mut self, shop: usize) -> Result<RecordId, Refusal> {
        let records = self.run(shop, &Command::ProposeNetting(None))?.records;
        self.meet();
        Ok(records[0])
    }

    fn find_run(&self, id: RecordId) -> Run {
        clearing::find(&*self.shops[0].ledger.views(), id).unwrap().unwrap()
    }

    fn consent(&mut self, shop: usize, run: RecordId) -> Result<bool, Refusal> {
        let done = self.run(shop, &Command::ConsentToNetting(run)).map(|done| !done.records.is_empty());
        self.meet();
        done
    }
}

#[test]
fn a_chain_with_a_line_takes_the_shop_between_out() {
    let mut street = chain(401);
    assert_eq!(street.propose_run(0).unwrap_err().reason, Reason::NothingToNet, "no circle, and no line");
    assert_eq!(street.accept(1, 3).unwrap_err().reason, Reason::LineUnknown);
    assert!(street.offer(3, 1, LIMIT).unwrap());
    assert!(!street.offer(3, 1, LIMIT).unwrap(), "said before");
    street.meet();
    assert_eq!(
        street.propose_run(0).unwrap_err().reason,
        Reason::NothingToNet,
        "the debtor has not accepted"
    );
    assert!(street.accept(1, 3).unwrap());
    assert!(!street.accept(1, 3).unwrap(), "said before");
    street.meet();
    assert_eq!(street.open_minor(3, 1), LIMIT);
    let [owed_2, owed_3] = [street.balance(2, 1), street.balance(3, 2)];
    let id = street.propose_run(0).unwrap();
    assert!(street.run(0, &Command::ProposeNetting(None)).unwrap().records.is_empty(), "the same again");
    for shop in [1, 2] {
        assert!(street.consent(shop, id).unwrap());
    }
    assert_eq!((street.balance(3, 1), street.balance(2, 1)), (0, owed_2), "one consent is missing");
    assert!(street.run(0, &Command::ProposeNetting(None)).unwrap().records.is_empty(), "the same still");
    assert!(street.consent(3, id).unwrap());
    street.check_agreement("netted with a line");
    let drawn = i128::from(LIMIT);
    assert_eq!(street.balance(3, 1), drawn);
    assert_eq!((street.balance(2, 1), street.balance(3, 2)), (owed_2 - drawn, owed_3 - drawn));
    let run = street.find_run(id);
    assert!(run.in_effect);
    assert_eq!(netting::verify_with_lines(&run.debts(), &run.lines(), &run.result()), Ok(()));
    assert_eq!(
        netting::net_with_lines(&run.debts(), &run.lines()),
        Ok(run.result()),
        "anybody can replay it"
    );
    for (shop, ally) in [(1, 3), (3, 1)] {
        let line = street.lines(shop, ally).pop().unwrap();
        assert_eq!((line.matter, line.record, line.minor), (Matter::CreditLine, id, drawn));
        assert_eq!((line.debtor, line.creditor), (street.id(1), street.id(3)));
    }
    // The next statement has it, on both sides.
    assert_eq!(i128::from(street.agree(3, 1)), drawn);
    let content = street.cases(1, 3)[0].agreed.clone().unwrap().content;
    assert_eq!((content.nettings, content.line_count), (vec![id], 1));
    assert_eq!(street.open_minor(3, 1), 0, "used up");
}

#[test]
fn no_debt_arises_without_the_words_and_consents_of_both() {
    for absent in [1, 3] {
        let mut street = chain_with_line(402);
        let id = street.propose_run(0).unwrap();
        let run = street.find_run(id);
        // One of the two takes its word back, and consents all the same, as no honest node does.
        assert!(street.take_back(absent, 4 - absent));
        let (ally, side) = (street.id(4 - absent), None);
        let again = street.line_command(absent, LineCommand::Withdraw { ally, side }).unwrap_err();
        assert_eq!(again.reason, Reason::LineUnknown, "once");
        street.meet();
        assert_eq!(street.consent(absent, id).unwrap_err().reason, Reason::LineNotOpen);
        let drawing = |shop: &Street| proto::LineDrawing {
            debtor_id: shop.bytes(1),
            creditor_id: shop.bytes(3),
            minor: LIMIT,
        };
        for drawings in [vec![drawing(&street)], vec![]] {
            let (run_id, period_end_unix_ms) = (id.as_bytes().to_vec().into(), run.period.ms());
            let consent = proto::NettingConsent { run_id, period_end_unix_ms, drawings };
            let consent = proto::Netting { netting: Some(proto::netting::Netting::Consent(consent)) };
            street.plant(absent, Kind::Netting, &[], &consent);
            street.meet();
        }
        // The other one sees that the line is not agreed to.
        assert_eq!(street.consent(4 - absent, id).unwrap_err().reason, Reason::LineNotOpen);
        street.consent(2, id).unwrap();
        street.check_agreement("a word taken back");
        assert!(!street.find_run(id).in_effect);
        assert_eq!((street.balance(3, 1), street.lines(1, 3)), (0, vec![]));
    }
}

#[test]
fn a_run_that_draws_on_no_line_s_room_never_takes_effect() {
    let mut street = chain_with_line(403);
    let good = street.propose_run(0).unwrap();
    let good = street.find_run(good);
    let message = |change: &dyn Fn(&mut proto::NettingRun)| run_like(&street, &good, change);
    let bad = [
        message(&|run| run.lines[0].drawn_minor -= 1), // net positions change
        message(&|run| run.lines[0].drawn_minor = 101), // more than it names itself
        message(&|run| run.lines[0].limit_minor = 0),
        message(&|run| run.lines.push(run.lines[0])),
        message(&|run| run.lines[0].creditor = 9),
        message(&|run| run.lines.clear()),
    ];
    // Right in itself, but its author's word leaves less.
    let more = |run: &mut proto::NettingRun| {
        run.debts.iter_mut().for_each(|debt| debt.left_minor -= 50);
        (run.lines[0].limit_minor, run.lines[0].drawn_minor) = (150, 150);
    };
    let more = message(&more);
    for run in &bad {
        street.plant(0, Kind::Netting, &[], run);
    }
    let by_creditor = street.plant(3, Kind::Netting, &[], &more).id();
    let by_another = street.plant(0, Kind::Netting, &[], &more).id();
    street.meet();
    let runs = clearing::runs_of(&*street.shops[1].ledger.views(), good.period).unwrap();
    let mut known: Vec<_> = runs.iter().map(|run| run.id).collect();
    known.sort_unstable();
    let mut expected = [good.id, by_another];
    expected.sort_unstable();
    assert_eq!(known, expected, "the creditor's own draws more than its line: {by_creditor}");
    assert_eq!(street.consent(3, by_another).unwrap_err().reason, Reason::LineNotOpen);
    for shop in [1, 2, 3] {
        assert!(street.consent(shop, good.id).unwrap());
    }
    street.check_agreement("runs that draw too much");
    assert_eq!(street.balance(3, 1), i128::from(LIMIT));
}

#[test]
fn a_line_is_for_all_runs_together_until_it_begins_anew() {
    let mut street = chain_with_line(404);
    let first = street.propose_run(1).unwrap();
    for shop in [2, 3] {
        street.consent(shop, first).unwrap();
    }
    assert!(street.find_run(first).in_effect);
    street.pass(DAY_MS);
    disclose(&mut street, &[(1, 2, 3), (2, 3, 2)]);
    assert_eq!(street.propose_run(0).unwrap_err().reason, Reason::NothingToNet, "the line is used up");
    let refused = street.offer(3, 1, LIMIT).unwrap_err();
    assert_eq!(refused.fact("field"), Some("limit"), "it would not open anything");
    assert!(street.offer(3, 1, LIMIT + 40).unwrap(), "more in all");
    street.meet();
    assert!(street.accept(1, 3).unwrap());
    street.meet();
    assert_eq!(street.open_minor(3, 1), 40);
    assert!(street.take_back(3, 1) && street.take_back(1, 3));
    street.offer(3, 1, 70).unwrap();
    street.meet();
    street.accept(1, 3).unwrap();
    street.meet();
    assert_eq!(street.open_minor(3, 1), 70, "anew");
    let second = street.propose_run(0).unwrap();
    for shop in [1, 2, 3] {
        street.consent(shop, second).unwrap();
    }
    street.check_agreement("two runs");
    assert_eq!(street.balance(3, 1), i128::from(LIMIT + 70));
}

#[test]
fn a_line_ends_at_its_time() {
    let mut street = chain(405);
    let until = Some(street.now.saturating_add_ms(DAY_MS));
    let (debtor, limit) = (street.id(1), Money::new(Currency::CNY, LIMIT).unwrap());
    let past = LineCommand::Offer { debtor, limit, until: Some(UnixMillis::EPOCH) };
    assert_eq!(street.line_command(3, past).unwrap_err().fact("field"), Some("until_time"));
    street.line_command(3, LineCommand::Offer { debtor, limit, until }).unwrap();
    street.meet();
    street.accept(1, 3).unwrap();
    street.meet();
    assert_eq!(street.credit_line(3, 1).accepted.unwrap().until, until, "as it is offered");
    let run = street.propose_run(0).unwrap();
    street.pass(DAY_MS);
    assert_eq!(street.consent(3, run).unwrap_err().reason, Reason::LineNotOpen);
    assert_eq!(street.accept(1, 3).unwrap_err().reason, Reason::LineUnknown);
    // A clock that is set back opens it no more: whoever reads its log sees that it was later before.
    let rule = proto::NettingRule { consent_by_itself: true };
    street.run(3, &Command::SetSettlement(Setting::NettingRule(rule))).unwrap();
    street.pass(-DAY_MS);
    assert_eq!(street.consent(3, run).unwrap_err().reason, Reason::LineNotOpen);
    street.pass(DAY_MS);
    assert_eq!(street.propose_run(0).unwrap_err().reason, Reason::NothingToNet);
}

#[test]
fn a_line_never_brings_a_debtor_above_the_creditor_s_limit() {
    let mut street = chain(406);
    street.limit(3, 1, None, Some(LIMIT - 1));
    assert_eq!(street.offer(3, 1, LIMIT).unwrap_err().reason, Reason::LineOverLimit);
    street.limit(3, 1, None, Some(LIMIT));
    street.offer(3, 1, LIMIT).unwrap();
    street.meet();
    street.accept(1, 3).unwrap();
    street.meet();
    let run = street.propose_run(0).unwrap();
    street.limit(3, 1, None, Some(60));
    assert_eq!(street.consent(3, run).unwrap_err().reason, Reason::LineOverLimit);
    // Its own run draws no more than the limit leaves.
    let own = street.propose_run(3).unwrap();
    assert_eq!(street.find_run(own).result().drawn, 60);
    for shop in [1, 2] {
        street.consent(shop, own).unwrap();
    }
    assert_eq!(street.balance(3, 1), 60);
    street.check_agreement("a limit");
}

#[test]
fn bad_words_are_refused_and_do_not_count() {
    let mut street = chain(407);
    let zero = street.offer(3, 1, 0).unwrap_err();
    assert_eq!(zero.fact("field"), Some("limit"));
    let usd = Money::new("USD".parse().unwrap(), 100).unwrap();
    let command = LineCommand::Offer { debtor: street.id(1), limit: usd, until: None };
    assert_eq!(street.line_command(3, command).unwrap_err().reason, Reason::CurrencyMismatch);
    assert_eq!(street.offer(3, 3, LIMIT).unwrap_err().reason, Reason::OwnShop);
    let word = proto::CreditLine {
        creditor_id: street.bytes(3),
        debtor_id: street.bytes(1),
        limit_minor: LIMIT,
        until_unix_ms: 0,
    };
    let bad = [
        (0, proto::CreditLine { ..word.clone() }), // by a shop that is not in it
        (3, proto::CreditLine { limit_minor: -1, ..word.clone() }),
        (3, proto::CreditLine { limit_minor: hutong_record::MINOR_MAX + 1, ..word.clone() }),
        (3, proto::CreditLine { limit_minor: 0, ..word.clone() }), // nothing to take back
        (3, proto::CreditLine { until_unix_ms: -1, ..word.clone() }),
        (3, proto::CreditLine { debtor_id: street.bytes(3), ..word.clone() }),
        (3, proto::CreditLine { debtor_id: vec![1; 31].into(), ..word.clone() }),
    ];
    for (author, word) in bad {
        street.plant(author, Kind::CreditLine, &[], &word);
    }
    street.plant(3, Kind::CreditLine, &[1, 3], &word); // sealed, where all must see it
    street.meet();
    assert_eq!(credit::lines(&*street.shops[2].ledger.views(), None, None, 9).unwrap(), []);
    street.check_agreement("bad words");
}

#[test]
fn lines_are_listed_page_by_page_and_withdrawn_by_side() {
    let mut street = chain(408);
    for (creditor, debtor) in [(3, 1), (1, 3), (2, 1)] {
        street.offer(creditor, debtor, LIMIT).unwrap();
    }
    street.meet();
    let views = street.shops[0].ledger.views();
    let all = credit::lines(&*views, None, None, 9).unwrap();
    assert_eq!(all.len(), 3);
    let first = &all[0];
    let rest = credit::lines(&*views, None, Some((first.creditor, first.debtor)), 9).unwrap();
    assert_eq!(rest, all[1..]);
    assert_eq!(credit::lines(&*views, None, None, 2).unwrap(), all[..2]);
    assert_eq!(credit::lines(&*views, Some(street.id(3)), None, 9).unwrap().len(), 2);
    let (ally, side) = (street.id(3), Some(LineSide::Debtor));
    let nothing = street.line_command(1, LineCommand::Withdraw { ally, side }).unwrap_err();
    assert_eq!(nothing.reason, Reason::LineUnknown, "1 has accepted nothing");
    let side = Some(LineSide::Creditor);
    assert!(street.line_command(1, LineCommand::Withdraw { ally, side }).unwrap());
    street.meet();
    assert_eq!(street.credit_line(1, 3).offered, None);
    assert!(street.credit_line(3, 1).offered.is_some());
}

#[test]
fn a_node_consents_by_itself_to_what_its_lines_leave_room_for() {
    let mut street = chain_with_line(409);
    for shop in 1..4 {
        let rule = proto::NettingRule { consent_by_itself: true };
        street.run(shop, &Command::SetSettlement(Setting::NettingRule(rule))).unwrap();
    }
    let id = street.propose_run(0).unwrap();
    for shop in 1..4 {
        let duties = street.shops[shop].ledger.duties(street.now, 10).unwrap();
        assert_eq!(duties.len(), 1, "{duties:?}");
        street.run(shop, &Command::Fulfil(duties[0].clone())).unwrap();
        street.meet();
    }
    assert!(street.find_run(id).in_effect);
    assert_eq!(street.balance(3, 1), i128::from(LIMIT));
}

#[test]
fn a_word_that_comes_after_the_run_lets_a_node_consent_by_itself() {
    let mut street = chain(410);
    let rule = proto::NettingRule { consent_by_itself: true };
    street.run(1, &Command::SetSettlement(Setting::NettingRule(rule))).unwrap();
    let word = proto::CreditLine {
        creditor_id: street.bytes(3),
        debtor_id: street.bytes(1),
        limit_minor: LIMIT,
        until_unix_ms: 0,
    };
    street.plant(1, Kind::CreditLine, &[], &word);
    street.offer(3, 1, LIMIT).unwrap();
    street.carry(1, 0);
    street.carry(3, 0);
    let run = street.run(0, &Command::ProposeNetting(None)).unwrap().records[0];
    let [proposer, creditor] = [street.id(0), street.id(3)];
    street.carry_log(0, 1, proposer).unwrap();
    street.ask(1, &[0, 2, 3], Patience::Over);
    assert!(clearing::find(&*street.shops[1].ledger.views(), run).unwrap().is_some());
    assert_eq!(street.shops[1].ledger.duties(street.now, 10).unwrap(), [], "the creditor's word is missing");
    street.carry_log(0, 1, creditor).unwrap();
    let duties = street.shops[1].ledger.duties(street.now, 10).unwrap();
    assert!(matches!(duties[..], [Duty::Consent { run: found, .. }] if found == run), "{duties:?}");
}

#[test]
fn lines_and_runs_come_to_the_same_in_any_order_of_arrival() {
    for seed in seeds() {
        let context = replay(seed, "lines_and_runs_come_to_the_same");
        let mut street = chain_with_line(420 + seed);
        let id = street.propose_run(1).unwrap();
        for shop in [3, 2] {
            street.consent(shop, id).unwrap();
        }
        // What is said later changes nothing about it, whichever comes first elsewhere.
        assert!(street.take_back(3, 1));
        street.offer(3, 1, 2 * LIMIT).unwrap();
        street.meet();
        street.accept(1, 3).unwrap();
        street.meet();
        street.check_agreement(&context);
        for fresh in street.check_redelivered(seed, &context) {
            assert!(clearing::find(&*fresh.ledger.views(), id).unwrap().unwrap().in_effect, "{context}");
        }
        assert_eq!(street.balance(3, 1), i128::from(LIMIT), "{context}");
    }
}
