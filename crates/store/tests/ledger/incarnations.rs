//! A shop that lost records goes on in a new incarnation: what the lost disk had signed does not count, on any node, in
//! whatever order it is heard, and is no fork.

use std::{collections::BTreeMap, sync::Arc};

use hutong_core::{command::Command, ingest::IngestError, report, roster::Standing};
use hutong_record::{KEY_EPOCH_MAX, Record, RecordId, ShopId, proto};
use hutong_store::{
    journal::Lsn,
    ledger::{Examined, Patience, Signing},
    views::MemViews,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    convergence::end_of_run,
    street::{Shop, Street, shuffle},
    till::{card, yuan},
};

/// Restores that one run of the tests makes; `HUTONG_RESTORES` makes so many.
const RESTORES: u64 = 200;
/// Sets of records that are delivered in several orders.
const STREETS: u64 = 8;

fn set_name(street: &mut Street, shop: usize, name: &str) {
    let profile = proto::Profile { name: name.into(), ..Default::default() };
    street.run(shop, &Command::Profile(profile)).unwrap();
}

pub(crate) fn name_at(street: &Street, at: usize, shop: usize) -> String {
    let views = street.shops[at].ledger.views();
    report::profile(&*views, street.id(shop)).unwrap().unwrap().name
}

/// Shop 1 has lost what only shop 3 heard, and went on in a new incarnation.
fn restored(seed: u64) -> Street {
    let mut street = Street::new(seed, 5);
    set_name(&mut street, 1, "甲");
    street.meet();
    let backup = street.shops[1].copied();
    set_name(&mut street, 1, "乙");
    set_name(&mut street, 1, "丙");
    street.carry(1, 3);
    set_name(&mut street, 1, "无人知");
    street.shops[1] = backup;
    assert_eq!(street.ask(1, &[0, 2], Patience::Waits), Signing::Confirmed);
    set_name(&mut street, 1, "丁");
    street
}

#[test]
fn what_a_lost_disk_had_signed_is_superseded_and_not_a_fork() {
    let mut street = restored(100);
    let superseded: Vec<_> = street.shops[3].log(street.id(1), 1);
    assert_eq!((superseded.len(), name_at(&street, 3, 1)), (2, "丙".to_owned()));
    street.meet();
    for at in 0..5 {
        assert_eq!(name_at(&street, at, 1), "丁");
        let standing = street.shops[at].ledger.alliance().roster().shop(street.id(1)).unwrap().standing;
        assert_eq!(standing, Standing::Member);
    }
    street.check_agreement("restored");
    let shop = &mut street.shops[3];
    let before = shop.state();
    shop.reopen(Arc::new(MemViews::new()));
    assert_eq!(shop.state(), before, "folded anew");
    let held = shop.ledger.reader().read(Lsn(1), 1_000, 1 << 20).unwrap();
    for record in &superseded {
        assert!(held.iter().any(|(_, held)| held.id() == record.id()), "its bytes are kept as evidence");
    }
}

#[test]
fn superseded_records_are_refused_where_the_later_incarnation_is_known() {
    let mut street = restored(101);
    let superseded = street.shops[3].log(street.id(1), 1);
    street.carry(1, 0);
    let refused = street.shops[0].take(&superseded, street.now);
    assert_eq!(refused, Err(IngestError::Superseded(2)));
    let now = street.now;
    let Street { shops, rng, .. } = &mut street;
    let messages = superseded.iter().map(Record::to_message).collect();
    assert!(!shops[0].ledger.examine(messages, now, rng).unwrap(), "no fork");
    // From the end of the new branch alone it cannot be told where it leaves the old one.
    let tail = street.shops[1].log(street.id(1), 2);
    assert_eq!(street.shops[3].take(&tail, street.now), Err(IngestError::Earlier(3)));
}

/// As a node does that looks for the place where the log that it holds parts from a proven fork's: it must come to an end.
#[test]
fn a_branch_of_a_later_incarnation_that_is_shown_as_evidence_is_to_be_taken_in() {
    let mut street = restored(104);
    let branch = |at: usize| -> Vec<_> {
        street.shops[at].log(street.id(1), 1).iter().map(Record::to_message).collect()
    };
    let (old, new) = (branch(3), branch(1));
    street.carry(1, 0);
    let Street { shops, rng, now, .. } = &mut street;
    for (shop, branch, expected) in [(3, new, Examined::Supersede), (0, old, Examined::Nothing)] {
        assert_eq!(shops[shop].ledger.examine_branch(branch, *now, rng).unwrap(), expected, "shop {shop}");
    }
}

#[test]
fn a_switch_that_was_journaled_and_not_folded_is_folded_at_the_next_start() {
    let mut street = restored(102);
    let stale = street.shops[3].copied().ledger.views();
    street.carry(1, 3);
    let folded = street.shops[3].state();
    street.shops[3].reopen(stale);
    assert_eq!(street.shops[3].state(), folded);
}

/// All logs as they are now, and what shop 3 holds of the log that shop 1 had on its lost disk.
fn branches(street: &Street, lost: &Shop) -> Vec<Vec<Record>> {
    let all = |shop: &Shop, author: ShopId| {
        let mut log = Vec::new();
        loop {
            let run = shop.log(author, log.len() as u64);
            if run.is_empty() {
                return log;
            }
            log.extend(run);
        }
    };
    let own = street.shops.iter().map(|shop| all(shop, shop.id()));
    let mut old = all(lost, lost.id());
    let heard = street.shops[3].ledger.head(lost.id()).unwrap().sequence;
    old.truncate(usize::try_from(heard).unwrap());
    own.chain([old]).collect()
}

/// A branch that comes to the incarnation by which it counts only after a rotation is delivered as a whole.
fn end_of_branch(log: &[Record], next: usize, to: &Shop) -> Option<usize> {
    let head = to.ledger.head(log[next].header().shop)?;
    let counts = log[log.len() - 1].header().incarnation > head.incarnation;
    let outranked = log[next].header().incarnation < head.incarnation;
    (counts && outranked).then_some(log.len())
}

/// Delivers logs in any interleaving, in runs of any length; a branch that is superseded ends, one that supersedes is
/// delivered from the place where it leaves.
pub(crate) fn deliver(logs: &[Vec<Record>], to: &mut Shop, street: &Street, rng: &mut StdRng) {
    let mut left: Vec<(usize, &Vec<Record>)> =
        logs.iter().filter(|log| !log.is_empty()).map(|log| (0, log)).collect();
    let mut rounds = 0;
    while !left.is_empty() {
        rounds += 1;
        assert!(rounds < 20_000, "nobody lets the author in");
        shuffle(&mut left, rng);
        let (next, log) = left.last_mut().unwrap();
        let end = log.len().min(*next + rng.random_range(1..=8));
        let end = end_of_branch(log, *next, to).unwrap_or_else(|| end_of_run(log, *next, end));
        match to.ledger.ingest(log[*next..end].iter().map(Record::to_message).collect(), street.now).unwrap()
        {
            Ok(_) => *next = end,
            Err(IngestError::NotMember(_)) => {}
            Err(IngestError::Superseded(_)) => *next = log.len(),
            Err(IngestError::Earlier(_)) => *next = next.saturating_sub(3),
            // The old branch has gone further: the new one goes on once it has left it.
            Err(IngestError::Gap { .. }) => *next = 0,
            Err(error) => panic!("{error}"),
        }
        left.retain(|(next, log)| *next < log.len());
        if rng.random_bool(0.5) {
            to.ledger.commit().unwrap();
            if rng.random_bool(0.1) {
                let views = if rng.random_bool(0.5) { to.ledger.views() } else { Arc::new(MemViews::new()) };
                to.reopen(views);
            }
        }
    }
    to.ledger.commit().unwrap();
}

#[test]
fn old_and_new_incarnations_in_any_order_give_the_same_state() {
    for seed in 0..STREETS {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut street = Street::new(200 + seed, 5);
        let terms = street.terms(&[1], 2);
        street.publish(0, terms).unwrap();
        street.meet();
        trade(&mut street, 6, &mut rng);
        street.meet();
        let backup = street.shops[1].copied();
        trade(&mut street, 6, &mut rng);
        street.carry(1, 3);
        trade(&mut street, 3, &mut rng);
        let lost = std::mem::replace(&mut street.shops[1], backup);
        street.carry(0, 1);
        assert_eq!(street.ask(1, &[0, 2, 4], Patience::Waits), Signing::Confirmed, "seed {seed}");
        trade(&mut street, 6, &mut rng);
        let logs = branches(&street, &lost);
        street.meet();
        street.check_agreement(&format!("seed {seed}"));
        for index in [0, 2, 3, 4] {
            let mut fresh = street.fresh(index);
            deliver(&logs, &mut fresh, &street, &mut rng);
            assert_eq!(fresh.state(), street.shops[index].state(), "shop {index}, seed {seed}");
        }
    }
}

/// Shop 1 sells, hands out, says its name, and now and then goes over to its next key.
fn trade(street: &mut Street, steps: usize, rng: &mut StdRng) {
    for _ in 0..steps {
        street.pass(rng.random_range(0..600_000));
        let epoch = street.shops[1].ledger.alliance().key_epoch(street.id(1));
        match rng.random_range(0..9) {
            0 if epoch < KEY_EPOCH_MAX => street.rotate(1),
            0..=2 => set_name(street, 1, &format!("店 {}", rng.random_range(0..1_000))),
            _ => drop(street.sell(1, yuan(30), rng.random_bool(0.5).then(|| card(rng.random_range(0..3))))),
        }
    }
}

/// Every record that a shop ever signed, by incarnation and place. Two at one place are a fork.
#[derive(Default)]
struct Signed(BTreeMap<(u32, u64), RecordId>);

impl Signed {
    fn note(&mut self, shop: &Shop, context: &str) {
        let held = shop.ledger.reader().read(Lsn(1), usize::MAX, usize::MAX).unwrap();
        for (_, record) in held.iter().filter(|(_, record)| record.header().shop == shop.id()) {
            let header = record.header();
            let other = self.0.insert((header.incarnation, header.sequence), record.id());
            assert!(other.is_none_or(|other| other == record.id()), "LOG-1: {context}");
        }
    }
}

/// Shop 1 trades, is set back to any of its older disks, asks whoever is there, and goes on, again and again.
#[test]
fn restores_from_stale_backups_never_fork_the_log() {
    let restores = std::env::var("HUTONG_RESTORES").map_or(RESTORES, |count| count.parse().unwrap());
    for round in 0..restores.div_ceil(10) {
        let context = format!("round {round}");
        let mut rng = StdRng::seed_from_u64(round);
        let mut street = Street::new(300 + round, 4);
        set_name(&mut street, 1, "起名");
        street.meet();
        let (mut backups, mut signed) = (vec![street.shops[1].copied()], Signed::default());
        for _ in 0..10 {
            trade(&mut street, rng.random_range(1..4), &mut rng);
            backups.push(street.shops[1].copied());
            trade(&mut street, rng.random_range(0..3), &mut rng);
            signed.note(&street.shops[1], &context);
            // Some of it reaches some.
            for peer in [0, 2, 3] {
                if rng.random_bool(0.4) {
                    street.carry(1, peer);
                }
            }
            street.pass(16_000); // two restores at once would share an incarnation
            let chosen = rng.random_range(0..backups.len());
            street.shops[1] = backups[chosen].copied();
            let mut peers = [0, 2, 3];
            shuffle(&mut peers, &mut rng);
            let asked = &peers[..rng.random_range(0..=3)];
            let first = street.ask(1, asked, Patience::Over);
            for peer in asked {
                street.carry(*peer, 1);
            }
            let then = street.ask(1, asked, Patience::Over);
            assert_eq!(
                then == Signing::Confirmed,
                asked.len() >= 2,
                "{context}: {asked:?} {first:?} {then:?}"
            );
            if then != Signing::Confirmed {
                street.carry(0, 1);
                street.carry(2, 1);
                assert_eq!(street.ask(1, &[0, 2], Patience::Over), Signing::Confirmed, "{context}");
            }
            signed.note(&street.shops[1], &context);
        }
        street.meet();
        street.check_agreement(&context);
        let standings = street.shops[0].state().roster;
        assert!(standings.iter().all(|(_, standing, _)| *standing == Standing::Member), "{context}");
    }
}
