//! CON-1: who holds the same records has the same state, in whatever order and grouping they came.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hutong_core::{command::Command, ingest::IngestError, refusal::Reason, voucher::Token};
use hutong_record::{Record, RecordId, ShopId, proto};
use hutong_store::views::MemViews;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    street::{Shop, Street, shuffle},
    till::{card, yuan},
};

/// Streets that one run of the tests tries; `HUTONG_SEED` tries that one alone.
const STREETS: u64 = 8;

pub(crate) fn seeds() -> Vec<u64> {
    match std::env::var("HUTONG_SEED") {
        Ok(seed) => vec![seed.parse().expect("HUTONG_SEED is a number")],
        Err(_) => (0..STREETS).collect(),
    }
}

pub(crate) fn replay(seed: u64, test: &str) -> String {
    format!("HUTONG_SEED={seed} cargo test -p hutong-store --test ledger {test}")
}

/// Random trades, with deliveries in between that leave everybody behind on something. The first few shops fund.
pub(crate) fn trade(street: &mut Street, steps: usize, funders: usize) {
    let mut promotions: Vec<RecordId> = Vec::new();
    let mut tokens: Vec<(Token, Option<u8>)> = Vec::new();
    let mut receipts: Vec<(usize, RecordId)> = Vec::new();
    for _ in 0..steps {
        let mut rng = StdRng::seed_from_u64(street.rng.random());
        let count = street.shops.len();
        let (shop, other) = (rng.random_range(0..count), rng.random_range(0..count));
        let known_card: Option<u8> = rng.random_bool(0.7).then(|| rng.random_range(0..3));
        street.pass(rng.random_range(0..3_600_000));
        match rng.random_range(0..20) {
            0 | 1 if shop != other => {
                let mut terms = street.terms(&[shop], other);
                terms.card_required = rng.random_bool(0.3);
                promotions.extend(street.publish(rng.random_range(0..funders), terms));
            }
            2 if !promotions.is_empty() => {
                let promotion = promotions[rng.random_range(0..promotions.len())];
                let _not_always_the_funder = street.run(shop, &Command::EndPromotion { promotion });
            }
            3 if shop != other => street.touch(shop, other, card(rng.random_range(0..3))).unwrap(),
            4 => {
                let name = format!("店 {}", rng.random_range(0..100));
                let profile = proto::Profile { name, category: String::new(), addresses: Vec::new() };
                street.run(shop, &Command::Profile(profile)).unwrap();
            }
            5..=9 => {
                let earned = street.sell(shop, yuan(rng.random_range(10..60)), known_card.map(card));
                tokens.extend(earned.into_iter().map(|token| (token, known_card)));
            }
            10..=13 if !tokens.is_empty() => {
                let (token, of) = &tokens[rng.random_range(0..tokens.len())];
                let (shown, of) = (token.qr_text(), of.map(card));
                receipts.extend(street.redeem(shop, &shown, of).map(|receipt| (shop, receipt.id)));
                for at in 0..count {
                    receipts.extend(street.redeem(at, &shown, of).map(|receipt| (at, receipt.id)));
                }
            }
            14 if !receipts.is_empty() => {
                let (at, id) = receipts[rng.random_range(0..receipts.len())];
                let _voided_before = street.void(at, id);
            }
            _ => street.carry(shop, other),
        }
    }
}

/// Random deeds with vouchers whose right moves: asked for, passed on, taken at risk, revoked, given back; numbers moved.
fn move_rights(street: &mut Street, steps: usize) {
    let count = street.shops.len();
    let mut promotions = Vec::new();
    for shop in 0..count {
        let others: Vec<usize> = (0..count).filter(|other| *other != shop).collect();
        let designated = proto::Promotion {
            redeemer_ids: others[1..3].iter().map(|other| street.bytes(*other)).collect(),
            reuse_expired: true,
            ..street.terms(&[shop], others[0])
        };
        let leased = street.leased(&[(shop, 3), (others[0], 2), (others[1], 0)]);
        let leased = proto::Promotion { reuse_expired: true, ..leased };
        for terms in [street.at_risk(shop, &others), designated, leased] {
            promotions.push(street.publish(shop, terms).unwrap());
        }
    }
    street.meet();
    // One voucher that two shops take at risk: one of them loses, and all hear of it.
    let twice = street.issue(0, promotions[0], None).unwrap();
    for shop in [1, 2] {
        street.accept_at_risk(shop, &twice).unwrap();
    }
    let mut tokens: Vec<Token> = Vec::new();
    let mut receipts: Vec<(usize, RecordId)> = Vec::new();
    for _ in 0..steps {
        let mut rng = StdRng::seed_from_u64(street.rng.random());
        let (shop, other) = (rng.random_range(0..count), rng.random_range(0..count));
        let promotion = promotions[rng.random_range(0..promotions.len())];
        street.pass(rng.random_range(0..12 * 3_600_000));
        // The latest ones, so that several shops try the same voucher.
        let latest = tokens.len().saturating_sub(rng.random_range(1..=3));
        let token = tokens.get(latest).cloned();
        // Most of these are refused, which is as it should be: what counts is what comes of those that are not.
        match (rng.random_range(0..22), token) {
            (0..=3, _) => tokens.extend(street.issue(shop, promotion, None)),
            (4..=6, Some(token)) => {
                receipts.extend(street.redeem_with(shop, &token, |_| {}).map(|receipt| (shop, receipt.id)));
            }
            (7..=9, Some(token)) => {
                receipts.extend(street.accept_at_risk(shop, &token).map(|receipt| (shop, receipt.id)));
            }
            (10, Some(token)) => drop(street.try_to_ask(shop, &token, other)),
            (11, Some(token)) => drop(street.transfer(shop, &token, other)),
            (12, Some(token)) => drop(street.revoke(shop, &token)),
            (13, Some(token)) => drop(street.reserve(shop, &token, "basket", 3_600_000)),
            (14, _) => drop(street.move_quota(shop, promotion, other, 1)),
            (15, _) if !receipts.is_empty() => {
                let (at, id) = receipts[rng.random_range(0..receipts.len())];
                let _voided_before = street.void(at, id);
            }
            (16..=17, _) => drop(street.tend(shop)),
            _ => street.carry(shop, other),
        }
    }
    street.come_to_rest();
}

/// Every author's own log, in which each record is signed.
pub(crate) fn logs(street: &Street) -> BTreeMap<ShopId, Vec<Record>> {
    let all = |shop: &Shop| {
        let mut log = Vec::new();
        loop {
            let run = shop.log(shop.id(), log.len() as u64);
            if run.is_empty() {
                return (shop.id(), log);
            }
            log.extend(run);
        }
    };
    street.shops.iter().map(all).collect()
}

/// Delivers all logs in any interleaving, in runs and groups of any length, with restarts in between.
/// No run goes on past the end of a key epoch.
pub(crate) fn end_of_run(log: &[Record], next: usize, end: usize) -> usize {
    let ends = log[next..end].iter().position(|r| r.header().kind.ends_run());
    ends.map_or(end, |place| next + place + 1)
}

pub(crate) fn deliver(
    logs: &BTreeMap<ShopId, Vec<Record>>,
    to: &mut Shop,
    street: &Street,
    rng: &mut StdRng,
) {
    let written = logs.values().filter(|log| !log.is_empty());
    let mut left: Vec<(usize, &Vec<Record>)> = written.map(|log| (0, log)).collect();
    let mut refused = 0;
    while !left.is_empty() {
        shuffle(&mut left, rng);
        let (next, log) = left.last_mut().unwrap();
        let most = if rng.random_bool(0.3) { 200 } else { 4 };
        let end = log.len().min(*next + rng.random_range(1..=most));
        let end = end_of_run(log, *next, end);
        let run: Vec<_> = log[*next..end].iter().map(Record::to_message).collect();
        match to.ledger.ingest(run, street.now).unwrap() {
            Ok(_) => *next = end,
            Err(IngestError::NotMember(_)) => refused += 1,
            Err(IngestError::Sealed(_)) => *next = log.len(),
            Err(error) => panic!("{error}"),
        }
        assert!(refused < 10_000, "nobody lets the author in");
        left.retain(|(next, log)| *next < log.len());
        if rng.random_bool(0.6) {
            to.ledger.commit().unwrap();
            if rng.random_bool(0.05) {
                let views = if rng.random_bool(0.5) { to.ledger.views() } else { Arc::new(MemViews::new()) };
                to.reopen(views);
            }
        }
    }
    to.ledger.commit().unwrap();
}

impl Street {
    /// Copies of all shops, to each of which all records are delivered in an order of its own, come to the same state. The
    /// copies.
    pub(crate) fn check_redelivered(&self, seed: u64, context: &str) -> Vec<Shop> {
        let (logs, mut rng) = (logs(self), StdRng::seed_from_u64(seed));
        let redelivered = |(index, shop): (usize, &Shop)| {
            let mut fresh = self.fresh(index);
            deliver(&logs, &mut fresh, self, &mut rng);
            assert_eq!(fresh.state(), shop.state(), "shop {index}: {context}");
            fresh
        };
        self.shops.iter().enumerate().map(redelivered).collect()
    }
}

#[test]
fn any_order_and_grouping_of_the_same_records_gives_the_same_state() {
    for seed in seeds() {
        let context = replay(seed, "any_order_and_grouping");
        let mut street = Street::new(seed, 5);
        trade(&mut street, 120, 5);
        street.meet();
        street.check_agreement(&context);
        street.check_redelivered(seed, &context);
        let doubles: u64 = street.shops.iter().map(|s| s.state().summary.double_redemptions).sum();
        assert_eq!(doubles, 0, "VOU-1: {context}");
    }
}

/// Shop 4 is put out with a seal somewhere in its log, or its log forks there.
fn cut_short(street: &mut Street, seed: u64) {
    let head = street.shops[0].ledger.head(street.id(4)).unwrap().sequence;
    if seed.is_multiple_of(2) {
        let last_sequence = Some(street.rng.random_range(0..=head));
        let remove = Command::Remove { shop: street.id(4), last_sequence, held: 0, reason: String::new() };
        street.run(0, &remove).unwrap();
        return;
    }
    let profile = |name: &str| proto::Profile { name: name.into(), ..Default::default() };
    let branch = street.craft(4, proto::Kind::Profile, &[], &profile("丙"));
    street.carry(4, 1);
    street.plant(4, proto::Kind::Profile, &[], &profile("丁"));
    street.carry(4, 1); // by itself, so that shop 1 keeps its signature
    trade(street, 10, 4);
    let Street { shops, rng, now, .. } = street;
    assert!(shops[1].ledger.examine(vec![branch.to_message()], *now, rng).unwrap());
    shops[1].ledger.commit().unwrap();
}

/// After a seal or a fork somewhere in a log all come to the same, and so does whoever hears of it in another order.
pub(crate) fn check_cut_short(street: &mut Street, seed: u64, context: &str) {
    street.carry(4, 0);
    cut_short(street, seed);
    street.meet();
    street.check_agreement(context);
    street.check_redelivered(seed, context);
}

#[test]
fn a_seal_or_a_fork_anywhere_gives_the_same_state_in_any_order() {
    for seed in seeds() {
        let context = replay(seed, "a_seal_or_a_fork_anywhere");
        let mut street = Street::new(seed, 5);
        // What another shop traded on a promotion that is past its funder's seal is a test of its own.
        trade(&mut street, 100, 4);
        check_cut_short(&mut street, seed, &context);
    }
}

#[test]
fn rights_and_numbers_that_move_give_the_same_state_in_any_order() {
    let mut kinds = BTreeSet::new();
    for seed in seeds() {
        let context = replay(seed, "rights_and_numbers");
        let mut street = Street::new(seed, 5);
        move_rights(&mut street, 300);
        street.check_agreement(&context);
        kinds.extend(logs(&street).values().flatten().map(|record| record.header().kind as i32));
        for (index, fresh) in street.check_redelivered(seed, &context).iter().enumerate() {
            assert_eq!(fresh.ledger.duties(street.now, 10).unwrap(), [], "shop {index}: {context}");
        }
        let doubles: u64 = street.shops.iter().map(|s| s.state().summary.double_redemptions).sum();
        assert_eq!(doubles, 0, "VOU-1: {context}");
    }
    for kind in proto::Kind::QuotaMove as i32..=proto::Kind::VoucherProof as i32 {
        assert!(kinds.contains(&kind), "kind {kind} was never tried");
    }
}

#[test]
fn a_redemption_that_comes_before_its_promotion_waits_for_it() {
    let (street, _) = Street::with_a_redemption(50);
    let mut fresh = street.fresh(1);
    for author in [0, 2, 1] {
        let log = street.shops[0].log(street.id(author), 0);
        assert_eq!(fresh.take(&log, street.now), Ok(true));
    }
    assert_eq!(fresh.state().summary.vouchers_used, 0, "the promotion is not there yet");
    fresh.take(&street.shops[0].log(street.id(3), 0), street.now).unwrap();
    assert_eq!(fresh.state(), street.shops[1].state());
}

#[test]
fn a_log_before_its_authors_admission_is_refused_and_taken_when_asked_again() {
    let mut street = Street::new(51, 3);
    let profile = proto::Profile { name: "花店".into(), category: String::new(), addresses: Vec::new() };
    street.run(2, &Command::Profile(profile)).unwrap();
    street.meet();
    let mut fresh = street.fresh(1);
    let log = street.shops[0].log(street.id(2), 0);
    assert_eq!(fresh.take(&log, street.now), Err(IngestError::NotMember(street.id(2))));
    fresh.take(&street.shops[0].log(street.id(0), 0), street.now).unwrap();
    assert_eq!(fresh.take(&log, street.now), Ok(true));
    assert_eq!(fresh.take(&log, street.now), Ok(false), "nothing new");
}

#[test]
fn two_vouchers_under_one_number_are_the_same_two_in_either_order() {
    let mut street = Street::new(52, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let genuine = street.sell(1, yuan(20), None).remove(0);
    // The distributor signs another voucher under the same number, and puts it on no record.
    let body = hutong_core::voucher::VoucherBody { secret: [7; 10], ..genuine.body().clone() };
    assert_eq!(body.key.promotion, promotion);
    let twin = Token::sign(body, &street.shops[1].keys.signing);
    street.redeem(2, &twin.qr_text(), None).unwrap();
    let refused = street.redeem(2, &genuine.qr_text(), None).unwrap_err();
    assert_eq!(refused.reason, Reason::VoucherUnknown);
    // The redeemer folds the receipt first, the distributor its own hand-out, the funder either.
    street.meet();
    street.check_agreement("one number twice");
    for order in [[0, 3, 1, 2], [0, 3, 2, 1]] {
        let mut funder = street.fresh(3);
        for author in order {
            funder.take(&street.shops[author].log(street.id(author), 0), street.now).unwrap();
        }
        assert_eq!(funder.state(), street.shops[3].state(), "{order:?}");
    }
}
