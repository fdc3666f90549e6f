//! Netting by records: what both disclosed alike is cancelled around the circle once all consent.

use hutong_core::{
    command::{Command, SignCommand},
    duty::Duty,
    netting,
    refusal::Reason,
    settlement::{book::Matter, clearing},
};
use hutong_record::{RecordId, proto, proto::Kind};
use proto::settlement_setting::Setting;

use crate::{
    convergence::{replay, seeds},
    street::Street,
};

/// Three shops that owe each other in a circle, all agreed and disclosed.
pub(crate) fn circle(seed: u64) -> Street {
    let mut street = Street::new(seed, 4);
    disclose(&mut street, &[(1, 2, 3), (2, 3, 2), (3, 1, 2)]);
    street
}

/// Debtors come to owe creditors so many bounties, and all of it is agreed and disclosed.
pub(crate) fn disclose(street: &mut Street, debts: &[(usize, usize, usize)]) {
    for &(debtor, creditor, times) in debts {
        street.owe(debtor, creditor, times);
    }
    street.pass(1_000);
    let end = street.now;
    for &(shop, ally, _) in debts {
        for (shop, ally) in [(shop, ally), (ally, shop)] {
            let sign = SignCommand { ally: street.id(ally), end: Some(end), listed_day: None };
            street.run(shop, &Command::SignStatement(sign)).unwrap();
            street.meet();
            assert!(street.cases(shop, ally).last().is_some());
        }
        assert!(street.publish_balance(shop, ally).unwrap());
        assert!(street.publish_balance(ally, shop).unwrap());
        assert!(!street.publish_balance(ally, shop).unwrap(), "once");
    }
    street.meet();
}

#[test]
fn a_circle_of_debts_is_cancelled_when_all_consent() {
    let mut street = circle(214);
    let before: Vec<i128> = [(2, 1), (3, 2), (1, 3)].iter().map(|(c, d)| street.balance(*c, *d)).collect();
    let least = *before.iter().min().unwrap();
    assert!(least > 0, "{before:?}");
    // A shop that is not touched can propose.
    let run = street.run(0, &Command::ProposeNetting(None)).unwrap().records[0];
    assert!(street.run(0, &Command::ProposeNetting(None)).unwrap().records.is_empty(), "the same again");
    street.meet();
    for shop in [1, 2] {
        street.run(shop, &Command::ConsentToNetting(run)).unwrap();
    }
    street.meet();
    assert_eq!(street.balance(2, 1), before[0], "one consent is missing");
    assert!(
        street.run(0, &Command::ConsentToNetting(run)).unwrap().records.is_empty(),
        "nothing to consent to"
    );
    street.run(3, &Command::ConsentToNetting(run)).unwrap();
    street.meet();
    street.check_agreement("netted");
    for ((creditor, debtor), before) in [(2, 1), (3, 2), (1, 3)].into_iter().zip(before) {
        assert_eq!(street.balance(creditor, debtor), before - least);
        assert_eq!(street.lines(debtor, creditor).last().unwrap().matter, Matter::Netted);
    }
    for shop in 0..4 {
        let views = street.shops[shop].ledger.views();
        let run = clearing::find(&*views, run).unwrap().unwrap();
        assert!(run.in_effect);
        assert_eq!(netting::verify(&run.debts(), &run.result()), Ok(()));
        assert_eq!(i128::from(run.result().cleared), 3 * least);
    }
    // The next statement has it, on both sides.
    assert_eq!(i128::from(street.agree(1, 2)), least - before_of(&street, 1, 2, least));
    let content = street.cases(2, 1)[1].agreed.clone().unwrap().content;
    assert_eq!(content.nettings, [run]);
    assert_eq!(street.run(1, &Command::ProposeNetting(None)).unwrap().records, [], "the same result stands");
}

/// What `debtor` owed `creditor` before so much was cancelled.
fn before_of(street: &Street, debtor: usize, creditor: usize, cancelled: i128) -> i128 {
    street.balance(creditor, debtor) + cancelled
}

#[test]
fn only_balances_that_both_disclosed_alike_are_netted() {
    let mut street = Street::new(215, 3);
    assert_eq!(street.run(0, &Command::ProposeNetting(None)).unwrap_err().reason, Reason::NothingToNet);
    street.owe(1, 2, 1);
    let refused = street.publish_balance(1, 2).unwrap_err();
    assert_eq!(refused.reason, Reason::StatementNotAgreed);
    street.agree(1, 2);
    street.publish_balance(1, 2).unwrap();
    street.meet();
    let nothing = street.run(0, &Command::ProposeNetting(None)).unwrap_err();
    assert_eq!(nothing.reason, Reason::NothingToNet, "one side, and no circle");
    let unknown = Command::ConsentToNetting(RecordId::new([9; 32]));
    assert_eq!(street.run(0, &unknown).unwrap_err().reason, Reason::NettingUnknown);
}

/// A run of the circle's three shops like another one, but for a change.
pub(crate) fn run_like(
    street: &Street,
    run: &clearing::Run,
    change: &dyn Fn(&mut proto::NettingRun),
) -> proto::Netting {
    let mut shops: Vec<usize> = vec![1, 2, 3];
    shops.sort_by_key(|shop| street.id(*shop));
    let place = |shop| u32::try_from(shops.iter().position(|s| street.id(*s) == shop).unwrap()).unwrap();
    let debt = |d: &clearing::RunDebt| proto::NettedDebt {
        debtor: place(d.debtor),
        creditor: place(d.creditor),
        minor: d.minor,
        left_minor: d.left_minor,
    };
    let line = |l: &clearing::RunLine| proto::NettedLine {
        debtor: place(l.debtor),
        creditor: place(l.creditor),
        limit_minor: l.limit_minor,
        drawn_minor: l.drawn_minor,
    };
    let mut message = proto::NettingRun {
        period_end_unix_ms: run.period.ms(),
        shop_ids: shops.iter().map(|shop| street.bytes(*shop)).collect(),
        debts: run.debts.iter().map(debt).collect(),
        balances_digest: run.balances_digest.to_vec().into(),
        lines: run.lines.iter().map(line).collect(),
    };
    change(&mut message);
    proto::Netting { netting: Some(proto::netting::Netting::Run(message)) }
}

/// Debts of twice the amount, which nobody disclosed.
pub(crate) fn double(run: &mut proto::NettingRun) {
    run.debts.iter_mut().for_each(|d| (d.minor, d.left_minor) = (2 * d.minor, 2 * d.left_minor));
}

#[test]
fn a_run_that_does_not_hold_never_takes_effect() {
    let mut street = circle(216);
    let views = street.shops[0].ledger.views();
    let period = clearing::latest_period(&*views).unwrap().unwrap();
    let good = street.run(0, &Command::ProposeNetting(None)).unwrap().records[0];
    street.meet();
    let good = clearing::find(&*street.shops[0].ledger.views(), good).unwrap().unwrap();
    let message = |change: &dyn Fn(&mut proto::NettingRun)| run_like(&street, &good, change);
    let bad = [
        message(&|run| run.debts[0].left_minor += 1), // net positions change
        message(&|run| run.debts.iter_mut().for_each(|d| d.left_minor = d.minor)), // nothing is cancelled
        message(&|run| run.debts.reverse()),
        message(&|run| run.debts[0].debtor = 9),
        message(&|run| run.shop_ids.reverse()),
        message(&|run| run.balances_digest = vec![1; 31].into()),
    ];
    let doubled = message(&double);
    for netting in &bad {
        street.plant(0, Kind::Netting, &[], netting);
    }
    let doubled = street.plant(0, Kind::Netting, &[], &doubled).id();
    street.meet();
    let views = street.shops[1].ledger.views();
    assert_eq!(
        clearing::runs_of(&*views, period).unwrap().len(),
        2,
        "the good one, and one of made-up debts"
    );
    let refused = street.run(1, &Command::ConsentToNetting(doubled)).unwrap_err();
    assert_eq!(refused.reason, Reason::BalanceDiffers);
    street.run(1, &Command::ConsentToNetting(good.id)).unwrap();
    assert_eq!(street.run(1, &Command::ConsentToNetting(doubled)).unwrap_err().reason, Reason::ConsentGiven);
    street.meet();
    street.check_agreement("runs that do not hold");
}

#[test]
fn a_node_consents_by_itself_where_its_shop_wants_that() {
    let mut street = circle(217);
    for shop in 1..4 {
        let rule = proto::NettingRule { consent_by_itself: true };
        street.run(shop, &Command::SetSettlement(Setting::NettingRule(rule))).unwrap();
    }
    let run = street.run(1, &Command::ProposeNetting(None)).unwrap().records[0];
    street.meet();
    for shop in [2, 3] {
        let duties = street.shops[shop].ledger.duties(street.now, 10).unwrap();
        assert!(matches!(duties[..], [Duty::Consent { run: found, .. }] if found == run), "{duties:?}");
        street.run(shop, &Command::Fulfil(duties[0].clone())).unwrap();
        assert_eq!(street.shops[shop].ledger.duties(street.now, 10).unwrap(), []);
    }
    street.meet();
    let run = clearing::find(&*street.shops[0].ledger.views(), run).unwrap().unwrap();
    assert!(run.in_effect);
}

#[test]
fn a_netting_takes_effect_in_any_order_of_arrival() {
    for seed in seeds() {
        let context = replay(seed, "a_netting_takes_effect");
        let mut street = circle(300 + seed);
        let run = street.run(1, &Command::ProposeNetting(None)).unwrap().records[0];
        street.meet();
        for shop in [2, 3] {
            street.run(shop, &Command::ConsentToNetting(run)).unwrap();
        }
        street.meet();
        // A consent to another run after it does not count.
        let consent = proto::NettingConsent { run_id: vec![5; 32].into(), ..Default::default() };
        let consent = proto::Netting { netting: Some(proto::netting::Netting::Consent(consent)) };
        street.plant(2, Kind::Netting, &[], &consent);
        street.meet();
        street.check_agreement(&context);
        for fresh in street.check_redelivered(seed, &context) {
            assert!(clearing::find(&*fresh.ledger.views(), run).unwrap().unwrap().in_effect, "{context}");
        }
    }
}
