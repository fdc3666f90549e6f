//! What is owed, from lines to statements, disputes, payments and netting.

use std::collections::BTreeSet;

use hutong_core::{
    answer::Answer,
    command::{AnswerPaymentCommand, Command, PayCommand, RespondCommand, SignCommand},
    refusal::{Reason, Refusal},
    settlement::{
        book::{self, Line, Matter},
        compare,
        exposure::{self, Level},
        payment::{self, Outcome},
        statement::{self, Case},
    },
};
use hutong_record::{Currency, Money, RecordId, proto, proto::Kind};
use proto::settlement_setting::Setting;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    convergence::{logs, replay, seeds},
    privacy::bytes_of,
    street::{DAY_MS, Street},
    till::{Receipt, yuan},
};

impl Street {
    pub(crate) fn lines(&self, shop: usize, ally: usize) -> Vec<Line> {
        let views = self.shops[shop].ledger.views();
        book::lines(
            &*views,
            &self.charter.settlement,
            (self.id(shop), self.id(ally)),
            (None, None),
            None,
            1_000,
        )
        .unwrap()
    }

    pub(crate) fn line_count(&self, shop: usize, ally: usize) -> usize {
        self.lines(shop, ally).len()
    }

    /// What the lines of the book come to that `ally` owes `shop`.
    pub(crate) fn booked(&self, shop: usize, ally: usize) -> i128 {
        sum_owed_by(&self.lines(shop, ally), self.id(ally))
    }

    pub(crate) fn cases(&self, shop: usize, ally: usize) -> Vec<Case> {
        let views = self.shops[shop].ledger.views();
        statement::cases(&*views, self.id(shop), self.id(ally)).unwrap()
    }

    /// Signs the next statement up to now; true: a record was written.
    pub(crate) fn sign_now(&mut self, shop: usize, ally: usize) -> Result<bool, Refusal> {
        let has_base = self.cases(shop, ally).last().unwrap().base(self.id(shop), self.id(ally)).is_some();
        let end = (!has_base).then_some(self.now);
        let command = SignCommand { ally: self.id(ally), end, listed_day: None };
        self.run(shop, &Command::SignStatement(command)).map(|done| !done.records.is_empty())
    }

    /// Both sign, and meet; the closing balance as the first one sees it.
    pub(crate) fn agree(&mut self, shop: usize, ally: usize) -> i64 {
        self.pass(1_000);
        assert!(self.sign_now(shop, ally).unwrap());
        self.meet();
        assert!(self.sign_now(ally, shop).unwrap());
        self.meet();
        let cases = self.cases(shop, ally);
        let agreed = cases.iter().rev().find_map(|case| case.agreed.clone()).expect("agreed");
        let sign = if self.id(shop) < self.id(ally) { 1 } else { -1 };
        sign * agreed.content.closing_minor
    }

    pub(crate) fn respond(
        &mut self,
        shop: usize,
        receipt: RecordId,
        answer: proto::ReceiptAnswer,
    ) -> Result<(), Refusal> {
        let respond = RespondCommand {
            request: self.request(),
            receipt,
            answer,
            reason: proto::DisputeReason::Amount,
            text: "金额不符".into(),
            evidence_id: Some(receipt),
            evidence: b"receipt 17".to_vec(),
        };
        self.run(shop, &Command::Respond(respond)).map(|_| ())
    }

    pub(crate) fn pay(
        &mut self,
        shop: usize,
        ally: usize,
        minor: i64,
        reference: &str,
    ) -> Result<RecordId, Refusal> {
        let pay = PayCommand {
            request: self.request(),
            ally: self.id(ally),
            amount: Money::new(Currency::CNY, minor).unwrap(),
            paid: self.now,
            reference: reference.into(),
        };
        match self.run(shop, &Command::Pay(pay))?.answer {
            Some(Answer::PaymentRecorded { payment }) => Ok(payment),
            other => panic!("not an answer to a payment: {other:?}"),
        }
    }

    pub(crate) fn answer_payment(
        &mut self,
        shop: usize,
        payment: RecordId,
        received: bool,
    ) -> Result<(), Refusal> {
        let (request, reason) = (self.request(), "没有到账".into());
        let answer = AnswerPaymentCommand { request, payment, received, reason };
        self.run(shop, &Command::AnswerPayment(answer)).map(|_| ())
    }

    pub(crate) fn publish_balance(&mut self, shop: usize, ally: usize) -> Result<bool, Refusal> {
        let command = Command::PublishBalance(self.id(ally));
        self.run(shop, &command).map(|done| !done.records.is_empty())
    }

    /// `debtor` pays for vouchers that `creditor` hands out, `times` bounties of 1 yuan.
    pub(crate) fn owe(&mut self, debtor: usize, creditor: usize, times: usize) -> Vec<Receipt> {
        let terms = self.terms(&[creditor], debtor);
        self.publish(debtor, terms).unwrap();
        self.meet();
        let mut receipts = Vec::new();
        for _ in 0..times {
            let tokens = self.sell(creditor, yuan(20), None);
            let newest = tokens.last().unwrap().clone();
            for token in tokens {
                if token == newest || self.promotion_redeemer(&token) == self.id(debtor) {
                    receipts.extend(self.redeem(debtor, &token.qr_text(), None));
                }
            }
        }
        self.meet();
        receipts
    }

    fn promotion_redeemer(&self, token: &hutong_core::voucher::Token) -> hutong_record::ShopId {
        let views = self.shops[0].ledger.views();
        let id = token.body().key.promotion;
        let found = hutong_core::promotion::Promotion::load(&*views, id, Currency::CNY).unwrap();
        found.unwrap().redeemers[0]
    }

    pub(crate) fn limit(&mut self, shop: usize, ally: usize, warn: Option<i64>, stop: Option<i64>) {
        let ally_id = self.bytes(ally);
        let limit = proto::ExposureLimit { ally_id, warn_minor: warn, stop_minor: stop };
        self.run(shop, &Command::SetSettlement(Setting::ExposureLimit(limit))).unwrap();
    }
}

fn sum_owed_by(lines: &[Line], debtor: hutong_record::ShopId) -> i128 {
    lines.iter().map(|line| if line.debtor == debtor { line.minor } else { -line.minor }).sum()
}

/// Four shops: 1 handed out, 2 redeemed, 3 pays. The receipt.
pub(crate) fn with_a_receipt(seed: u64) -> (Street, RecordId) {
    let (street, _) = Street::with_a_redemption(seed);
    let receipt = street.lines(2, 3)[0].record;
    (street, receipt)
}

#[test]
fn a_book_has_a_line_for_each_debt_and_adds_up_to_the_balance() {
    let (mut street, receipt) = with_a_receipt(200);
    let bounty = street.lines(1, 3);
    assert_eq!(bounty, street.lines(3, 1));
    assert_eq!((bounty[0].matter, bounty[0].minor, bounty[0].debtor), (Matter::Bounty, 100, street.id(3)));
    assert_eq!(street.lines(2, 3)[0].matter, Matter::Reimbursement);
    assert!(street.lines(0, 3).is_empty() && street.lines(1, 2).is_empty());
    street.pass(1_000);
    street.void(2, receipt).unwrap();
    street.meet();
    street.check_agreement("a void");
    for ally in [1, 2] {
        let lines = street.lines(ally, 3);
        assert_eq!((lines.len(), lines[1].matter, lines[1].receipt), (2, Matter::TakenBack, Some(receipt)));
        assert_eq!(sum_owed_by(&lines, street.id(3)), street.balance(ally, 3));
        assert_eq!(street.balance(ally, 3), 0);
    }
}

#[test]
fn a_statement_is_agreed_once_both_have_signed_the_same() {
    let (mut street, _) = with_a_receipt(201);
    assert_eq!(street.agree(1, 3), 100);
    for (shop, ally) in [(1, 3), (3, 1)] {
        let cases = street.cases(shop, ally);
        let agreed = cases[0].agreed.as_ref().unwrap();
        assert_eq!((cases.len(), agreed.content.line_count, agreed.content.opening_minor), (2, 1, 0));
        assert_eq!(agreed.content.closing_minor.abs(), 100);
    }
    assert_eq!(street.cases(1, 3)[0].agreed, street.cases(3, 1)[0].agreed);
    assert!(street.cases(0, 3)[0].own.is_empty(), "a third shop knows of none");
    // The next one goes on from there, and has what came since.
    assert_eq!(street.agree(3, 1), -100);
    let second = street.cases(3, 1)[1].agreed.clone().unwrap().content;
    assert_eq!((second.number, second.line_count, second.lines_minor, second.correction_minor), (2, 0, 0, 0));
    street.check_agreement("two statements");
}

#[test]
fn what_was_signed_is_not_signed_twice_and_a_period_must_be_over() {
    let (mut street, _) = with_a_receipt(202);
    street.pass(1_000);
    assert!(street.sign_now(1, 3).unwrap());
    assert!(!street.sign_now(1, 3).unwrap(), "nothing new");
    let ahead =
        SignCommand { ally: street.id(2), end: Some(street.now.saturating_add_ms(1)), listed_day: None };
    let refused = street.run(1, &Command::SignStatement(ahead)).unwrap_err();
    assert_eq!((refused.reason, refused.fact("field")), (Reason::FieldInvalid, Some("period_end_time")));
    let myself = SignCommand { ally: street.id(1), end: None, listed_day: None };
    let refused = street.run(1, &Command::SignStatement(myself)).unwrap_err();
    assert_eq!(refused.reason, Reason::OwnShop);
    // Without an end named it is the charter's latest, which lies before the redemption.
    let usual = SignCommand { ally: street.id(3), end: None, listed_day: None };
    street.run(2, &Command::SignStatement(usual)).unwrap();
    assert_eq!(street.cases(2, 3)[0].own[0].content.line_count, 0);
    // Once that is agreed, the next one is told with the days that it is for.
    street.meet();
    let usual = SignCommand { ally: street.id(2), end: None, listed_day: None };
    street.run(3, &Command::SignStatement(usual)).unwrap();
    street.meet();
    let refused = street.run(3, &Command::SignStatement(usual)).unwrap_err();
    let ms = |name| refused.fact(name).unwrap().parse::<i64>().unwrap();
    let (from_ms, until_ms) = (ms("from_unix_ms"), ms("until_unix_ms"));
    assert_eq!(refused.reason, Reason::PeriodNotOver);
    assert_eq!(until_ms - from_ms, i64::from(street.charter.settlement.period_days) * DAY_MS);
    assert!((from_ms..until_ms).contains(&street.now.ms()));
}

#[test]
fn who_is_second_waits_for_the_records_that_the_first_one_had() {
    let mut street = Street::new(203, 4);
    let terms = street.terms(&[1], 2);
    street.publish(3, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), None).remove(0);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.carry(2, 3);
    street.pass(1_000);
    street.sign_now(3, 1).unwrap();
    let funder = street.id(3);
    assert_eq!(street.carry_log(3, 1, funder), Ok(true));
    let refused = street.sign_now(1, 3).unwrap_err();
    assert_eq!(refused.reason, Reason::StatementWaits, "the redeemer's log is not there yet");
    street.meet();
    street.sign_now(1, 3).unwrap();
    street.meet();
    let agreed = street.cases(3, 1)[0].agreed.clone().unwrap().content;
    assert_eq!((agreed.line_count, agreed.closing_minor.abs()), (1, 100));
}

#[test]
fn a_line_that_comes_late_is_in_the_next_statement_on_both_sides() {
    let mut street = Street::new(204, 4);
    let terms = street.terms(&[1], 2);
    street.publish(3, terms).unwrap();
    street.meet();
    let tokens: Vec<_> = (0..2).map(|_| street.sell(1, yuan(20), None).remove(0)).collect();
    street.redeem(2, &tokens[0].qr_text(), None).unwrap();
    street.meet();
    street.redeem(2, &tokens[1].qr_text(), None).unwrap(); // nobody has heard of it
    street.pass(1_000);
    street.sign_now(3, 1).unwrap();
    street.carry(3, 1);
    street.sign_now(1, 3).unwrap();
    street.meet();
    let first = street.cases(1, 3)[0].agreed.clone().unwrap().content;
    assert_eq!((first.line_count, first.closing_minor.abs()), (1, 100));
    assert_eq!(street.agree(1, 3), 200);
    let second = street.cases(1, 3)[1].agreed.clone().unwrap().content;
    assert_eq!((second.line_count, second.opening_minor.abs(), second.correction_minor), (1, 100, 0));
}

#[test]
fn both_who_propose_at_once_agree_on_the_lower_shops_cut() {
    let (mut street, _) = with_a_receipt(205);
    for (shop, ally) in [(1, 3), (3, 1)] {
        street.pass(1_000);
        street.sign_now(shop, ally).unwrap();
    }
    street.meet();
    assert!(street.cases(1, 3)[0].differs());
    let (low, high) = if street.id(1) < street.id(3) { (1, 3) } else { (3, 1) };
    assert!(!street.sign_now(low, high).unwrap(), "the lower one stays with its own");
    assert!(street.sign_now(high, low).unwrap());
    street.meet();
    assert!(street.cases(1, 3)[0].agreed.is_some());
    street.check_agreement("proposals that crossed");
}

#[test]
fn statements_that_differ_name_the_record() {
    let (mut street, receipt) = with_a_receipt(210);
    street.pass(1_000);
    street.sign_now(1, 3).unwrap();
    street.meet();
    // The ally leaves the line out.
    let mut message = proto::Statement {
        ally_id: street.bytes(1),
        number: 1,
        period_end_unix_ms: street.now.ms(),
        lines_digest: vec![7; 32].into(),
        ..Default::default()
    };
    street.plant(3, Kind::Statement, &[1, 3], &message);
    // Malformed ones do not count: another ally, no number, a period that is not over, a cut out of order.
    for wrong in 0..4 {
        let mut bad = message.clone();
        match wrong {
            0 => bad.ally_id = street.bytes(2),
            1 => bad.number = 0,
            2 => bad.period_end_unix_ms = street.now.ms() + DAY_MS,
            _ => {
                let mark = proto::CutMark { shop_id: street.bytes(1), sequence: 1 };
                bad.cut = vec![mark.clone(), mark];
            }
        }
        street.plant(3, Kind::Statement, &[1, 3], &bad);
    }
    street.meet();
    for (shop, ally) in [(1, 3), (3, 1)] {
        let cases = street.cases(shop, ally);
        assert!(cases[0].differs());
        assert_eq!((cases[0].own.len(), cases[0].theirs.len()), (1, 1));
        let found = compare::differences(&cases[0]).unwrap();
        assert!(found.fields.contains(&"closing") && found.fields.contains(&"cut"), "{:?}", found.fields);
        assert_eq!((found.lines.len(), found.lines[0].record), (1, receipt));
        assert!(found.lines[0].own.is_some() != found.lines[0].theirs.is_some());
    }
    message.number = 2;
    street.plant(3, Kind::Statement, &[1, 3], &message);
    street.meet();
    street.check_agreement("statements that differ");
}

#[test]
fn days_narrow_down_where_lines_are_many() {
    let mut street = Street::new(211, 3);
    let terms = street.terms(&[1], 2);
    let terms = proto::Promotion {
        distributors: vec![proto::Distributor { shop_id: street.bytes(1), quota: 200 }],
        budget: Some(yuan(800).into()),
        ..terms
    };
    street.publish(2, terms).unwrap();
    street.meet();
    for _ in 0..3 {
        for _ in 0..40 {
            let token = street.sell(1, yuan(20), None).remove(0);
            street.redeem(2, &token.qr_text(), None).unwrap();
        }
        street.pass(DAY_MS);
    }
    assert_eq!(
        {
            street.meet();
            street.agree(1, 2)
        },
        12_000
    );
    let signed = street.cases(1, 2)[0].own[0].clone();
    assert!(signed.annex.lines.is_empty());
    let days: Vec<_> = signed.annex.days.iter().map(|d| (d.line_count, d.minor.abs())).collect();
    assert_eq!(days, [(40, 4_000); 3]);
    assert_eq!(signed.content.line_count, 120);
    // The lines of one day, on demand.
    street.pass(DAY_MS);
    let token = street.sell(1, yuan(20), None).remove(0);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.meet();
    street.pass(1);
    let today = Some(street.now.day(480));
    let list = SignCommand { ally: street.id(2), end: Some(street.now), listed_day: today };
    street.run(1, &Command::SignStatement(list)).unwrap();
    let own = street.cases(1, 2)[1].own[0].clone();
    assert_eq!((own.annex.day, own.annex.lines.len()), (today, 1));
}

#[test]
fn a_payment_is_booked_when_both_have_signed() {
    let (mut street, _) = with_a_receipt(212);
    let payment = street.pay(3, 1, 60, "BANK-77").unwrap();
    street.meet();
    assert_eq!(street.balance(1, 3), 100, "said, not confirmed");
    assert_eq!(
        street.answer_payment(3, payment, true).unwrap_err().reason,
        Reason::PaymentUnknown,
        "the payer's own"
    );
    assert_eq!(street.answer_payment(2, payment, true).unwrap_err().reason, Reason::PaymentUnknown);
    street.answer_payment(1, payment, true).unwrap();
    assert_eq!(street.answer_payment(1, payment, false).unwrap_err().reason, Reason::PaymentAnswered);
    street.meet();
    street.check_agreement("a payment");
    assert_eq!((street.balance(1, 3), street.balance(3, 1)), (40, -40));
    assert_eq!(street.lines(1, 3)[1].matter, Matter::Payment);
    assert_eq!(street.agree(1, 3), 40);
    let denied = street.pay(3, 1, 40, "").unwrap();
    street.meet();
    street.answer_payment(1, denied, false).unwrap();
    street.meet();
    assert_eq!(street.balance(1, 3), 40);
    let views = street.shops[3].ledger.views();
    let found = payment::find(&*views, street.id(3), denied).unwrap().unwrap();
    assert_eq!(found.outcome, Outcome::Denied("没有到账".into()));
    assert_eq!(payment::list(&*views, street.id(3), None, None, 10).unwrap().len(), 2);
    assert_eq!(street.pay(3, 1, 0, "").unwrap_err().reason, Reason::FieldInvalid);
    assert_eq!(street.pay(3, 3, 5, "").unwrap_err().reason, Reason::OwnShop);
}

#[test]
fn an_answer_that_comes_before_its_payment_waits_for_it() {
    let (mut street, _) = with_a_receipt(213);
    let payment = street.pay(3, 1, 60, "BANK-77").unwrap();
    street.meet();
    street.answer_payment(1, payment, true).unwrap();
    street.meet();
    let mut fresh = street.fresh(3);
    for author in [0, 1, 2, 3] {
        fresh.take(&street.shops[0].log(street.id(author), 0), street.now).unwrap();
    }
    assert_eq!(fresh.state(), street.shops[3].state());
}

#[test]
fn hand_outs_stop_when_the_funder_owes_too_much() {
    let mut street = Street::new(218, 3);
    street.limit(1, 2, Some(100), Some(150));
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(2, terms).unwrap();
    street.meet();
    let tokens: Vec<_> = (0..3).map(|_| street.issue(1, promotion, None).unwrap()).collect();
    for (used, token) in tokens[..2].iter().enumerate() {
        street.redeem(2, &token.qr_text(), None).unwrap();
        street.meet();
        let duties = street.shops[1].ledger.duties(street.now, 10).unwrap();
        assert_eq!(duties.is_empty(), used == 0, "above 100 a warning is due");
        for duty in duties {
            street.run(1, &Command::Fulfil(duty)).unwrap();
            assert_eq!(street.shops[1].ledger.duties(street.now, 10).unwrap(), []);
        }
    }
    let standing = |street: &Street| {
        exposure::standing(&*street.shops[1].ledger.views(), street.id(1), street.id(2)).unwrap().2
    };
    assert_eq!(standing(&street), Level::Stopped);
    let refused = street.issue(1, promotion, None).unwrap_err();
    assert_eq!(refused.reason, Reason::ExposureStop);
    assert_eq!((refused.fact("owed"), refused.fact("stop")), (Some("2.00 CNY"), Some("1.50 CNY")));
    assert!(street.sell(1, yuan(20), None).is_empty(), "the sale stands, without a voucher");
    // What is in customers' hands stays good, and a payment opens the way again.
    street.redeem(2, &tokens[2].qr_text(), None).unwrap();
    let payment = street.pay(2, 1, 250, "").unwrap();
    street.meet();
    street.answer_payment(1, payment, true).unwrap();
    assert_eq!(standing(&street), Level::Within);
    street.issue(1, promotion, None).unwrap();
    // A restore has the limits: they are in the shop's own log.
    let mut fresh = street.fresh(1);
    street.meet();
    for author in [0, 2, 1] {
        fresh.take(&street.shops[0].log(street.id(author), 0), street.now).unwrap();
    }
    let limit = exposure::limit(&*fresh.ledger.views(), Some(street.id(2))).unwrap();
    assert_eq!((limit.warn_minor, limit.stop_minor), (Some(100), Some(150)));
}

#[test]
fn a_limit_for_all_counts_where_an_ally_has_none_of_its_own() {
    let mut street = Street::new(219, 3);
    street.owe(2, 1, 2);
    let all = proto::ExposureLimit { stop_minor: Some(0), ..Default::default() };
    street.run(1, &Command::SetSettlement(Setting::ExposureLimit(all))).unwrap();
    let views = street.shops[1].ledger.views();
    assert_eq!(exposure::standing(&*views, street.id(1), street.id(2)).unwrap().2, Level::Stopped);
    street.limit(1, 2, None, None);
    let views = street.shops[1].ledger.views();
    assert_eq!(exposure::standing(&*views, street.id(1), street.id(2)).unwrap().2, Level::Within);
    let negative = proto::ExposureLimit { stop_minor: Some(-1), ..Default::default() };
    let refused = street.run(1, &Command::SetSettlement(Setting::ExposureLimit(negative))).unwrap_err();
    assert_eq!(refused.fact("field"), Some("stop"));
    let ally_id = street.bytes(2);
    let crossed = proto::ExposureLimit { ally_id, warn_minor: Some(300), stop_minor: Some(100) };
    let refused = street.run(1, &Command::SetSettlement(Setting::ExposureLimit(crossed))).unwrap_err();
    assert_eq!(refused.fact("field"), Some("stop"));
    street.limit(1, 2, Some(300), Some(300));
}

#[test]
fn a_third_shop_holds_nothing_of_what_two_settle() {
    let (mut street, receipt) = with_a_receipt(220);
    let marker = 0x1234_5678_9abc;
    let payment = street.pay(3, 1, marker, "REF-SECRET-77").unwrap();
    street.respond(3, receipt, proto::ReceiptAnswer::Dispute).unwrap();
    street.meet();
    street.answer_payment(1, payment, true).unwrap();
    street.agree(1, 3);
    let (mut signed, mut folded) = (Vec::new(), Vec::new());
    prost::encoding::encode_varint(marker.unsigned_abs(), &mut signed);
    prost::encoding::encode_varint(marker.unsigned_abs() << 1, &mut folded);
    let (party, third) = (bytes_of(&street, 1), bytes_of(&street, 0));
    let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    let secrets: [(&str, &[u8], bool); 5] = [
        ("folded amount", &folded, true),
        ("reference", b"REF-SECRET-77", true),
        ("text", "金额不符".as_bytes(), true),
        ("evidence", b"receipt 17", false),
        ("signed amount", &signed, false),
    ];
    for (what, secret, kept) in secrets {
        assert_eq!(holds(&party, secret), kept, "a party's views and the {what}");
        assert!(!holds(&third, secret), "a third shop holds the {what}");
    }
}

/// Random trades and settlements, with deliveries in between that leave everybody behind on something.
fn settle(street: &mut Street, steps: usize) {
    use proto::ReceiptAnswer::{Accept, Concede, Dispute, Withdraw};
    let count = street.shops.len();
    for shop in 0..count {
        let (distributor, redeemer) = ((shop + 1) % count, (shop + 2) % count);
        let terms = street.terms(&[distributor], redeemer);
        street.publish(shop, terms).unwrap();
    }
    street.meet();
    let (mut receipts, mut payments) = (Vec::new(), Vec::new());
    for _ in 0..steps {
        let mut rng = StdRng::seed_from_u64(street.rng.random());
        let (shop, other) = (rng.random_range(0..count), rng.random_range(0..count));
        street.pass(rng.random_range(0..3_600_000));
        let receipt: Option<RecordId> = match receipts.len() {
            0 => None,
            all => Some(receipts[rng.random_range(0..all)]),
        };
        // Most of these are refused, which is as it should be: what counts is what comes of those that are not.
        match (rng.random_range(0..20), receipt) {
            (0..=4, _) => {
                for token in street.sell(shop, yuan(20), None) {
                    for at in 0..count {
                        receipts.extend(street.redeem(at, &token.qr_text(), None).map(|receipt| receipt.id));
                    }
                }
            }
            (5..=6, Some(receipt)) => drop(street.respond(shop, receipt, Dispute)),
            (7, Some(receipt)) => {
                let answer = [Accept, Withdraw, Concede][rng.random_range(0..3)];
                for shop in 0..count {
                    drop(street.respond(shop, receipt, answer));
                }
            }
            (8, Some(receipt)) => {
                for shop in 0..count {
                    drop(street.void(shop, receipt));
                }
            }
            (9..=11, _) => {
                drop(street.sign_now(shop, other));
                street.carry(shop, other);
                drop(street.sign_now(other, shop));
                drop(street.publish_balance(other, shop));
            }
            (12, _) => drop(street.publish_balance(shop, other)),
            (13, _) => payments.extend(street.pay(shop, other, rng.random_range(1..500), "x")),
            (14, _) => {
                for payment in &payments {
                    drop(street.answer_payment(shop, *payment, rng.random_bool(0.7)));
                }
            }
            (15, _) => {
                if let Ok(done) = street.run(shop, &Command::ProposeNetting(None)) {
                    street.meet();
                    for shop in 0..count {
                        for run in &done.records {
                            drop(street.run(shop, &Command::ConsentToNetting(*run)));
                        }
                    }
                }
            }
            _ => street.carry(shop, other),
        }
    }
    street.meet();
}

#[test]
fn settlements_in_any_order_of_arrival_come_to_the_same() {
    let mut agreed = 0;
    let mut kinds = BTreeSet::new();
    for seed in seeds() {
        let context = replay(seed, "settlements_in_any_order");
        let mut street = Street::new(seed, 4);
        settle(&mut street, 150);
        street.check_agreement(&context);
        for (shop, ally) in (0..4).flat_map(|shop| (0..4).map(move |ally| (shop, ally))) {
            if shop == ally {
                continue;
            }
            let owed = sum_owed_by(&street.lines(shop, ally), street.id(ally));
            assert_eq!(owed, street.balance(shop, ally), "MON-1: {context}");
            agreed += street.cases(shop, ally).len() - 1;
        }
        kinds.extend(logs(&street).values().flatten().map(|record| record.header().kind as i32));
        street.check_redelivered(seed, &context);
    }
    assert!(agreed > 0, "no statement was ever agreed");
    for kind in Kind::Statement as i32..=Kind::AgreedBalance as i32 {
        assert!(kinds.contains(&kind), "kind {kind} was never tried");
    }
}
