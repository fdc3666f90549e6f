//! Overrides: whoever has stolen a shop's key writes into its log, in the highest incarnation that the key may name, and
//! the shop takes its log back, on every node and in whatever order they hear of it.

use std::sync::Arc;

use hutong_core::{
    command::{Command, OverrideOrder},
    ingest::IngestError,
    refusal::{Reason, Refusal},
    roster::Standing,
};
use hutong_record::{
    Audience, CutOff, Draft, KeyOverride, OverrideError, Record, RecordId, ShopId, incarnation_first,
    incarnation_last, proto, proto::Kind,
};
use hutong_store::{
    ledger::{Doubt, Executed, Patience, Signing},
    views::MemViews,
    writer::{Job, News, Taken, Writer},
};
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    convergence::{logs, trade},
    incarnations::{deliver, name_at},
    street::{Shop, Street, draft},
};

/// Sets of records that are delivered in several orders; `HUTONG_OVERRIDES` makes so many.
const STREETS: u64 = 12;

fn streets() -> u64 {
    std::env::var("HUTONG_OVERRIDES").map_or(STREETS, |count| count.parse().unwrap())
}

impl Street {
    /// Records of a shop's log by whoever has its first key, in the last incarnation that this may name, after a place.
    pub(crate) fn thieve(&mut self, shop: usize, after: &Record, count: usize) -> Vec<Record> {
        let mut records = vec![after.clone()];
        for n in 0..count {
            let before = &records[records.len() - 1];
            let header = before.header().clone();
            let next = Draft {
                key_epoch: 0,
                incarnation: incarnation_last(0),
                sequence: header.sequence + 1,
                previous: Some(before.id()),
                time: self.now,
                kind: Kind::Profile,
                audience: Audience::Alliance,
                ..draft(before)
            };
            let profile = proto::Profile { name: format!("贼 {n}"), ..Default::default() };
            records.push(self.sign(shop, next, &profile.encode_to_vec()));
        }
        records.split_off(1)
    }

    pub(crate) fn override_order(&self, shop: usize, epoch: u32, last_sequence: u64) -> OverrideOrder {
        let ledger = &self.shops[shop].ledger;
        let last_id = ledger.reader().record_id(self.id(shop), last_sequence).unwrap();
        let last_id = last_id.unwrap_or(RecordId::new([1; 32]));
        let cut_off = CutOff { alliance: self.charter.id, epoch, last_sequence, last_id };
        let identity = &self.shops[shop].identity;
        let key_override = KeyOverride::create(&self.seed(shop), identity, &cut_off).unwrap();
        OverrideOrder { key_override, head: ledger.head(self.id(shop)).map_or(last_id, |head| head.id) }
    }

    /// The shop gets its next keys, and goes on with them after a record.
    pub(crate) fn override_after(&mut self, shop: usize, last_sequence: u64) -> Result<Executed, Refusal> {
        let epoch = self.key_epoch(shop, shop) + 1;
        self.shops[shop].keys.add(self.epoch_keys(shop, epoch));
        let order = self.override_order(shop, epoch, last_sequence);
        self.try_run(shop, &Command::OverrideKey(Box::new(order)))
    }

    fn head_at(&self, at: usize, shop: usize) -> u64 {
        self.shops[at].ledger.head(self.id(shop)).unwrap().sequence
    }

    /// The record at a place of a shop's log as one holds it.
    fn at(&self, at: usize, shop: usize, sequence: u64) -> Record {
        self.shops[at].log(self.id(shop), sequence - 1).remove(0)
    }

    fn check_taken_over(&self, name: &str, epoch: u32, context: &str) {
        for at in 0..self.shops.len() {
            assert_eq!(name_at(self, at, 1), name, "shop {at}: {context}");
            assert_eq!(self.key_epoch(at, 1), epoch, "shop {at}: {context}");
            let standing = self.shops[at].ledger.alliance().roster().shop(self.id(1)).unwrap().standing;
            assert_eq!(standing, Standing::Member, "shop {at}: {context}");
            assert_eq!(self.last(at, 1), self.last(1, 1), "shop {at}: {context}");
        }
        self.check_agreement(context);
    }
}

/// Shop 1 traded. A thief of its key left its log two records before the end, and shops 0 and 2 took the thief's branch.
fn stolen(seed: u64) -> (Street, Vec<Record>) {
    let mut street = Street::new(seed, 5);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    street.issue(1, promotion, None).unwrap();
    street.call_itself(1, "一");
    street.meet();
    let base = street.last(1, 1);
    street.call_itself(1, "二");
    street.carry(1, 0);
    street.call_itself(1, "三");
    street.carry(1, 3);
    let thief = street.thieve(1, &base, 4);
    for at in [0, 2] {
        assert_eq!(street.shops[at].take(&thief, street.now), Ok(true));
        assert_eq!(name_at(&street, at, 1), "贼 3", "the stolen key outranks the shop's own log");
    }
    (street, thief)
}

#[test]
fn an_override_takes_the_log_back_wherever_the_thief_s_branch_was_taken() {
    let (mut street, thief) = stolen(500);
    let kept = street.head_at(1, 1);
    street.override_after(1, kept).unwrap();
    let first = street.at(1, 1, kept + 1);
    assert_eq!((first.header().kind, first.header().key_epoch), (Kind::KeyOverride, 1));
    assert!(first.header().incarnation >= incarnation_first(1));
    street.meet();
    street.check_taken_over("三", 1, "nothing of its own was cut off");
    let refused = street.shops[0].take(&thief, street.now);
    assert_eq!(refused, Err(IngestError::Superseded(thief[0].header().sequence)));
    let at_the_end = street.last(0, 1);
    let more = street.thieve(1, &at_the_end, 1);
    assert!(street.shops[0].take(&more, street.now).is_err(), "the old key signs nothing more");
    let before = street.shops[0].state();
    street.shops[0].reopen(Arc::new(MemViews::new()));
    assert_eq!(street.shops[0].state(), before, "folded anew");
    street.call_itself(1, "又开张");
    street.meet();
    street.check_taken_over("又开张", 1, "it trades on");
}

#[test]
fn thief_and_override_in_any_order_give_the_same_state() {
    for seed in 0..streets() {
        let (mut street, thief) = stolen(600 + seed);
        let mut rng = StdRng::seed_from_u64(seed);
        let kept = street.head_at(1, 1) - seed % 4;
        // What the thief's friends show: the log as it was, and what the thief made of it.
        let place = usize::try_from(thief[0].header().sequence - 1).unwrap();
        let common = logs(&street).remove(&street.id(1)).unwrap().into_iter().take(place);
        let whole: Vec<_> = common.chain(thief).collect();
        street.override_after(1, kept).unwrap();
        street.call_itself(1, "新");
        let mut logs: Vec<_> = logs(&street).into_values().collect();
        logs.push(whole);
        street.meet();
        street.check_taken_over("新", 1, &format!("seed {seed}"));
        for index in [0, 2, 3, 4] {
            let mut fresh = street.fresh(index);
            deliver(&logs, &mut fresh, &street, &mut rng);
            assert_eq!(fresh.state(), street.shops[index].state(), "shop {index}, seed {seed}");
        }
    }
}

#[test]
fn trade_before_and_after_an_override_is_the_same_to_all_in_any_order() {
    // 49: what the thief superseded and the override brought back was taken for lost.
    for seed in (0..streets().div_ceil(2)).chain([49]) {
        let context = format!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut street = Street::new(700 + seed, 5);
        street.call_itself(1, "一");
        trade(&mut street, 30, 5);
        street.meet();
        let base = street.last(1, 1);
        trade(&mut street, 30, 5);
        let own = logs(&street).remove(&street.id(1)).unwrap();
        let place = usize::try_from(base.header().sequence).unwrap();
        let thief = street.thieve(1, &own[place - 1], 5);
        for at in [0, 2] {
            assert_eq!(street.shops[at].take(&thief, street.now), Ok(true), "{context}");
        }
        let kept = street.head_at(1, 1);
        street.override_after(1, kept).unwrap();
        street.meet();
        trade(&mut street, 30, 5);
        street.meet();
        street.check_agreement(&context);
        street.check_redelivered(seed, &context);
        let mut logs: Vec<_> = logs(&street).into_values().collect();
        logs.push(own[..place].iter().cloned().chain(thief).collect());
        for index in [0, 2, 3, 4] {
            let mut fresh = street.fresh(index);
            deliver(&logs, &mut fresh, &street, &mut rng);
            assert_eq!(fresh.state(), street.shops[index].state(), "shop {index}: {context}");
        }
        let doubles: u64 = street.shops.iter().map(|s| s.state().summary.double_redemptions).sum();
        assert_eq!(doubles, 0, "VOU-1: {context}");
    }
}

#[test]
fn a_shop_whose_own_log_the_thief_took_over_goes_on_from_before() {
    let (mut street, thief) = stolen(501);
    let base = thief[0].header().sequence - 1;
    assert_eq!(street.shops[1].take(&thief, street.now), Ok(true));
    assert_eq!(street.shops[1].ledger.signing(), Signing::Unconfirmed(Doubt::Shared));
    let sale = street.sale(crate::till::yuan(20), None);
    assert_eq!(street.try_run(1, &sale).unwrap_err().reason, Reason::HeadUnconfirmed);
    street.override_after(1, base).unwrap();
    assert_eq!(street.shops[1].ledger.signing(), Signing::Confirmed, "nobody else has the new keys");
    street.meet();
    street.check_taken_over("一", 1, "what came after is lost");
    street.call_itself(1, "四");
    street.meet();
    street.check_taken_over("四", 1, "it trades on");
}

#[test]
fn what_an_override_cuts_off_of_its_own_shop_is_in_doubt() {
    let mut street = Street::new(502, 4);
    street.call_itself(1, "一");
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let kept = street.head_at(1, 1);
    street.issue(1, promotion, None).unwrap();
    street.carry(1, 3);
    street.override_after(1, kept).unwrap();
    let refused = street.issue(1, promotion, None).unwrap_err();
    assert_eq!(refused.reason, Reason::RecordsMayBeLost, "a number may be used up by what was cut off");
    street.run(1, &Command::DeclareNothingLost).unwrap();
    street.issue(1, promotion, None).unwrap();
    street.meet();
    street.check_agreement("cut off and gone on");
    let mut untouched = Street::new(503, 4);
    untouched.call_itself(1, "一");
    let head = untouched.head_at(1, 1);
    let terms = untouched.terms(&[1], 2);
    let promotion = untouched.publish(0, terms).unwrap();
    untouched.meet();
    untouched.override_after(1, head).unwrap();
    untouched.issue(1, promotion, None).unwrap();
}

#[test]
fn an_override_cuts_off_a_rotation_too() {
    let mut street = Street::new(504, 4);
    street.call_itself(1, "一");
    let kept = street.head_at(1, 1);
    street.rotate(1);
    street.call_itself(1, "二");
    street.carry(1, 2);
    street.override_after(1, kept).unwrap();
    assert_eq!(
        street.at(1, 1, kept + 1).header().key_epoch,
        2,
        "the epoch that it cuts off is not used again"
    );
    street.meet();
    street.check_taken_over("一", 2, "the rotation is gone");
    street.rotate(1);
    street.call_itself(1, "三");
    street.meet();
    street.check_taken_over("三", 3, "and rotated again");
    street.check_redelivered(504, "override and rotation");
}

#[test]
fn nobody_waits_for_a_key_that_was_cut_off() {
    let mut street = Street::new(512, 4);
    street.call_itself(1, "一");
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let kept = street.last(3, 1).header().sequence;
    street.rotate(1);
    let token = street.issue(1, promotion, None).unwrap();
    street.carry(1, 2);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.override_after(1, kept).unwrap();
    street.meet();
    street.check_agreement("the receipt counts nowhere");
    street.check_redelivered(512, "by whoever never heard of the key");
    for at in 0..4 {
        let (ledger, redeemer) = (&street.shops[at].ledger, street.id(2));
        let folded = hutong_core::fold::cursor(&*ledger.views(), redeemer).unwrap();
        assert_eq!(folded, ledger.head(redeemer).unwrap().sequence, "shop {at} waits for nothing");
    }
}

#[test]
fn a_restore_on_a_log_whose_incarnations_a_thief_has_used_up_asks_for_an_override() {
    let (mut street, thief) = stolen(505);
    street.shops[1] = street.shops[1].copied();
    street.shops[1].take(&thief, street.now).unwrap();
    let answers: Vec<_> = [0, 2].map(|at| street.shops[at].answer(street.id(1))).into();
    let Street { shops, rng, now, .. } = &mut street;
    let refused = shops[1].ledger.confirm_head(&answers, Patience::Waits, *now, rng).unwrap_err();
    let hutong_store::ledger::ExecuteError::Refused(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.reason, Reason::IncarnationsSpent);
    assert_eq!(shops[1].ledger.signing(), Signing::Unconfirmed(Doubt::Moved), "it signs nothing");
    street.override_after(1, thief[0].header().sequence - 1).unwrap();
    street.meet();
    street.check_taken_over("一", 1, "restored and overridden");
}

#[test]
fn a_branch_longer_than_a_run_is_taken_in_as_a_whole() {
    let mut street = Street::new(506, 3);
    street.call_itself(1, "一");
    street.meet();
    let base = street.last(1, 1);
    for n in 0..300 {
        street.call_itself(1, &format!("{n}"));
    }
    let thief = street.thieve(1, &base, 2);
    street.shops[0].take(&thief, street.now).unwrap();
    let kept = street.head_at(1, 1);
    street.override_after(1, kept).unwrap();
    let author = street.id(1);
    let mut runs: Vec<Vec<proto::Record>> = Vec::new();
    let mut next = base.header().sequence;
    loop {
        let run = street.shops[1].log(author, next);
        if run.is_empty() {
            break;
        }
        next += run.len() as u64;
        runs.push(run.iter().map(Record::to_message).collect());
    }
    assert!(runs.len() >= 3, "{}", runs.len());
    // Who merely lags behind takes as many runs as hold.
    let mut broken = runs.clone();
    broken.last_mut().unwrap()[0].payload = vec![0; 16].into();
    let (taken, head) = ingest_all(&mut street, 2, author, broken);
    assert!(taken.refused.is_some() && taken.new_records >= 256, "{taken:?}");
    assert_eq!(head, base.header().sequence + taken.new_records);
    let one_by_one = runs[0].clone();
    let refused = street.shops[0].ledger.ingest(one_by_one, street.now).unwrap();
    assert_eq!(refused, Err(IngestError::Superseded(base.header().sequence + 1)));
    let (taken, head) = ingest_all(&mut street, 0, author, runs);
    assert_eq!((taken.refused, head), (None, street.head_at(1, 1)));
}

/// What a shop's node makes of an answer; and how far it holds the log then.
fn ingest_all(street: &mut Street, at: usize, author: ShopId, runs: Vec<Vec<proto::Record>>) -> (Taken, u64) {
    let mut writer = Writer::new(street.shops[at].copied().ledger);
    let (now, mut told) = (street.now, None);
    let mut tell = |_: &_, news: News<(), ()>| {
        if let News::Ingested { taken, .. } = news {
            told = Some(taken);
        }
    };
    let job = Job::Ingest { peer: (), shop: author, runs };
    writer.turn(job, || None, &|| now, &mut street.rng, &mut tell).unwrap();
    (told.unwrap(), writer.ledger().head(author).unwrap().sequence)
}

#[test]
fn what_has_lost_its_signature_is_covered_by_the_override_after_it() {
    let mut street = Street::new(507, 4);
    street.call_itself(1, "一");
    street.meet();
    let base = street.head_at(1, 1);
    for name in ["二", "三", "四"] {
        street.call_itself(1, name);
    }
    // Shop 0 holds them as one run, of which the last record alone is signed.
    let run = street.shops[1].log(street.id(1), base);
    let last = run.len() - 1;
    let bare = |(place, record): (usize, &Record)| match place == last {
        true => record.clone(),
        false => record.clone().without_signature(),
    };
    let run: Vec<_> = run.iter().enumerate().map(bare).collect();
    assert_eq!(street.shops[0].take(&run, street.now), Ok(true));
    street.override_after(1, base + 2).unwrap();
    street.carry(1, 0);
    assert_eq!(name_at(&street, 0, 1), "三");
    // Shop 3 hears it from shop 0, whose records up to the override carry no signature.
    let unsigned = street.at(0, 1, base + 2);
    let shown = street.shops[0].log(street.id(1), base);
    let kinds: Vec<_> = shown.iter().map(|record| record.header().kind).collect();
    assert_eq!(kinds, [Kind::Profile, Kind::Profile, Kind::KeyOverride], "a run ends with the override");
    assert_eq!(shown[1].id(), unsigned.id());
    street.carry(0, 3);
    assert_eq!((name_at(&street, 3, 1), street.key_epoch(3, 1)), ("三".to_owned(), 1));
    street.meet();
    street.check_agreement("covered by the override");
}

/// What shop 0 says to an override that shop 1 makes otherwise.
fn refused(
    change: impl FnOnce(&mut Street, &mut Draft, &mut proto::KeyOverride),
) -> (u64, Result<bool, IngestError>) {
    let mut street = Street::new(508, 3);
    street.call_itself(1, "一");
    street.call_itself(1, "二");
    street.meet();
    let head = street.head_at(1, 1);
    street.shops[1].keys.add(street.epoch_keys(1, 1));
    street.shops[1].keys.add(street.epoch_keys(1, 2));
    let mut message = street.override_order(1, 1, head).key_override.message().clone();
    let last = street.last(1, 1);
    let mut draft = Draft {
        key_epoch: 1,
        incarnation: incarnation_first(1),
        sequence: head + 1,
        previous: Some(last.id()),
        kind: Kind::KeyOverride,
        ..draft(&last)
    };
    change(&mut street, &mut draft, &mut message);
    let record = street.sign(1, draft, &message.encode_to_vec());
    (head + 1, street.shops[0].take(&[record], street.now))
}

#[test]
fn an_override_that_was_not_ordered_for_its_place_is_refused_by_the_ladder() {
    let (_, taken) = refused(|_, _, _| {});
    assert_eq!(taken, Ok(true));
    let (sequence, by_thief) = refused(|street, _, message| {
        let signing = street.shops[1].keys.signing.clone();
        let signature = signing.sign_handshake(&message.revocation);
        message.recovery_signature = signature.to_vec().into();
    });
    assert_eq!(by_thief, Err(IngestError::Override { sequence, source: OverrideError::NotOrdered }));
    let (_, elsewhere) = refused(|street, _, message| {
        *message = street.override_order(1, 1, sequence - 2).key_override.message().clone();
    });
    assert_eq!(elsewhere, Err(IngestError::Override { sequence, source: OverrideError::OtherPlace }));
    let (_, other_epoch) = refused(|street, _, message| {
        *message = street.override_order(1, 2, sequence - 1).key_override.message().clone();
    });
    assert_eq!(other_epoch, Err(IngestError::Override { sequence, source: OverrideError::OtherPlace }));
    let (_, of_other) = refused(|street, _, message| {
        let cut_off = *street.override_order(2, 1, 1).key_override.cut_off();
        let made = KeyOverride::create(&street.seed(2), &street.shops[2].identity, &cut_off).unwrap();
        *message = made.message().clone();
    });
    assert!(matches!(of_other, Err(IngestError::Override { source: OverrideError::Succession(_), .. })));
    let (_, low) = refused(|_, draft, _| draft.incarnation = 7);
    assert_eq!(low, Err(IngestError::Incarnation { sequence, incarnation: 7 }));
    let (_, same_epoch) = refused(|_, draft, _| {
        draft.key_epoch = 0;
        draft.incarnation = 0;
    });
    assert_eq!(same_epoch, Err(IngestError::KeyRetired(0)));
}

#[test]
fn an_incarnation_beyond_its_key_epoch_is_refused() {
    let mut street = Street::new(509, 3);
    street.call_itself(1, "一");
    street.meet();
    let last = street.last(1, 1);
    let honest = street.thieve(1, &last, 1).remove(0);
    let beyond = Draft { incarnation: incarnation_first(1), ..draft(&honest) };
    let sequence = beyond.sequence;
    let beyond = street.sign(1, beyond, &proto::Profile::default().encode_to_vec());
    let refused = street.shops[0].take(&[beyond], street.now);
    let incarnation = incarnation_first(1);
    assert_eq!(refused, Err(IngestError::Incarnation { sequence, incarnation }));
    assert_eq!(street.shops[0].take(&[honest], street.now), Ok(true), "the last one of its own is good");
}

#[test]
fn an_order_that_does_not_fit_the_log_is_refused_and_changes_nothing() {
    let mut street = Street::new(510, 3);
    street.call_itself(1, "一");
    let head = street.head_at(1, 1);
    let before = street.shops[1].state();
    let run = |street: &mut Street, order: OverrideOrder| {
        let command = Command::OverrideKey(Box::new(order));
        street.try_run(1, &command).map(drop).map_err(|refusal| refusal.reason)
    };
    let order = street.override_order(1, 1, head);
    assert_eq!(run(&mut street, order.clone()), Err(Reason::KeyMissing));
    for epoch in [1, 2] {
        let keys = street.epoch_keys(1, epoch);
        street.shops[1].keys.add(keys);
    }
    let stale = OverrideOrder { head: RecordId::new([1; 32]), ..order.clone() };
    assert_eq!(run(&mut street, stale), Err(Reason::LogWentOn));
    let nowhere = street.override_order(1, 1, head + 1);
    assert_eq!(run(&mut street, nowhere), Err(Reason::OverridePlaceUnknown));
    let of_other = street.override_order(2, 1, 1);
    assert_eq!(run(&mut street, of_other), Err(Reason::KeyEpochWrong));
    assert_eq!(street.shops[1].state(), before);
    assert_eq!(run(&mut street, order.clone()), Ok(()));
    let again = OverrideOrder { head: street.last(1, 1).id(), ..order };
    assert_eq!(run(&mut street, again), Err(Reason::KeyEpochWrong), "its epoch is in use");
    street.meet();
    street.check_taken_over("一", 1, "once");
}

#[test]
fn vouchers_of_a_revoked_key_are_good_where_a_record_from_before_shows_them() {
    let mut street = Street::new(511, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let kept = street.issue(1, promotion, None).unwrap();
    let head = street.head_at(1, 1);
    let thief: Shop = street.shops[1].copied();
    street.override_after(1, head).unwrap();
    // Whoever has the old key hands vouchers out that no record shows.
    let honest = std::mem::replace(&mut street.shops[1], thief);
    assert_eq!(street.ask(1, &[0, 2, 3], Patience::Over), Signing::Confirmed);
    street.run(1, &Command::DeclareNothingLost).unwrap();
    let forged = street.issue(1, promotion, None).unwrap();
    street.shops[1] = honest;
    street.meet();
    street.redeem(2, &kept.qr_text(), None).unwrap();
    let refused = street.redeem(2, &forged.qr_text(), None).unwrap_err();
    assert_eq!(refused.reason, Reason::VoucherKeyRevoked);
    let fresh = street.issue(1, promotion, None).unwrap();
    street.meet();
    // The thief's number may be the new voucher's, too: the one on record counts.
    let refused = street.redeem(2, &forged.qr_text(), None).unwrap_err();
    assert!(matches!(refused.reason, Reason::VoucherKeyRevoked | Reason::VoucherUnknown), "{refused}");
    street.redeem(2, &fresh.qr_text(), None).unwrap();
    street.meet();
    street.check_agreement("vouchers of both keys");
}
