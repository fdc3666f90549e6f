//! LOG-1: nothing is signed before it is known how far the own log goes.

use std::sync::Arc;

use hutong_core::{command::Command, ingest::IngestError, refusal::Reason};
use hutong_record::{proto, proto::Kind};
use hutong_store::{
    ledger::{Doubt, HeadAnswer, Patience, Signing},
    views::MemViews,
};

use crate::street::{Shop, Street};

const STARTED: Signing = Signing::Unconfirmed(Doubt::Started);
const MOVED: Signing = Signing::Unconfirmed(Doubt::Moved);
const SHARED: Signing = Signing::Unconfirmed(Doubt::Shared);

impl Street {
    fn say(&mut self, shop: usize, name: &str) -> Result<(), Reason> {
        let profile = proto::Profile { name: name.into(), ..Default::default() };
        self.try_run(shop, &Command::Profile(profile)).map(drop).map_err(|refusal| refusal.reason)
    }

    fn own_head(&self, shop: usize) -> (u64, u32) {
        self.shops[shop].ledger.head(self.id(shop)).map_or((0, 0), |head| (head.sequence, head.incarnation))
    }

    fn signing(&self, shop: usize) -> Signing {
        self.shops[shop].ledger.signing()
    }

    fn restart(&mut self, shop: usize) {
        let views = self.shops[shop].ledger.views();
        self.shops[shop].reopen(views);
    }
}

#[test]
fn a_founder_alone_has_nobody_to_ask() {
    let mut street = Street::founded(70, |_| {});
    street.restart(0);
    assert_eq!(street.signing(0), Signing::Confirmed);
    street.say(0, "独一家").unwrap();
}

#[test]
fn a_restarted_shop_asks_first_and_signs_unanswered_once_its_patience_is_over() {
    let mut street = Street::new(71, 3);
    street.say(1, "旧名").unwrap();
    street.restart(1);
    let before = street.own_head(1);
    assert_eq!((street.signing(1), street.say(1, "甲")), (STARTED, Err(Reason::HeadUnconfirmed)));
    let unknown = street.redemption("nonsense", crate::till::yuan(40), None);
    assert_eq!(street.try_run(1, &unknown).unwrap_err().reason, Reason::HeadUnconfirmed);
    assert_eq!(street.own_head(1), before, "not even the refusal is signed");
    assert_eq!(street.ask(1, &[], Patience::Waits), STARTED);
    assert_eq!(street.ask(1, &[0], Patience::Waits), STARTED, "one of two that must answer");
    assert_eq!(street.ask(1, &[], Patience::Over), Signing::Confirmed);
    street.say(1, "甲").unwrap();
    assert_eq!(street.own_head(1), (before.0 + 1, 0), "the same incarnation goes on");
}

#[test]
fn answers_of_enough_members_end_the_wait() {
    let mut street = Street::new(72, 4);
    street.restart(1);
    assert_eq!(street.shops[1].ledger.confirming_peers(), 2);
    assert_eq!(street.ask(1, &[0, 2], Patience::Waits), Signing::Confirmed);
    let mut pair = Street::new(72, 2);
    pair.restart(1);
    assert_eq!(pair.shops[1].ledger.confirming_peers(), 1);
    assert_eq!(pair.ask(1, &[0], Patience::Waits), Signing::Confirmed);
}

#[test]
fn an_old_backup_signs_nothing_before_its_later_records_are_back_and_then_in_a_new_incarnation() {
    let mut street = Street::new(73, 3);
    let backup = street.shops[1].copied();
    street.say(1, "甲").unwrap();
    street.say(1, "乙").unwrap();
    let head = street.own_head(1);
    street.meet();
    street.shops[1] = backup;
    for patience in [Patience::Waits, Patience::Over] {
        assert_eq!(street.ask(1, &[], patience), MOVED, "time alone does not do");
        assert_eq!(street.ask(1, &[0, 2], patience), MOVED, "they hold more");
    }
    assert_eq!(street.say(1, "丙"), Err(Reason::HeadUnconfirmed));
    street.carry(0, 1);
    assert_eq!(street.ask(1, &[0], Patience::Over), MOVED, "one of two that must answer");
    assert_eq!(street.ask(1, &[0, 2], Patience::Waits), Signing::Confirmed);
    let (sequence, incarnation) = street.own_head(1);
    assert_eq!((sequence, incarnation > head.1), (head.0 + 1, true), "it says at once that it goes on");
    street.say(1, "丙").unwrap();
    street.meet();
    street.check_agreement("restored");
    assert_eq!(street.shops[0].ledger.head(street.id(1)).unwrap().incarnation, incarnation);
}

#[test]
fn a_new_disk_with_the_same_keys_takes_its_log_from_peers_before_it_signs() {
    let mut street = Street::new(74, 3);
    let head = street.own_head(1);
    street.shops[1] = street.fresh(1);
    assert_eq!(street.ask(1, &[], Patience::Over), STARTED, "nobody has said that the log is empty");
    street.carry(0, 1);
    assert_eq!(street.ask(1, &[0], Patience::Over), Signing::Confirmed);
    assert_eq!(street.own_head(1), head);
    street.say(1, "甲").unwrap();
    street.meet();
    street.check_agreement("a new disk");
}

#[test]
fn a_tail_that_was_cut_ends_in_a_new_incarnation() {
    let mut street = Street::new(75, 3);
    street.say(1, "甲").unwrap();
    let whole = street.shops[1].disk.image();
    let last = hutong_store::disk::Disk::list(&whole).unwrap();
    let last = last.iter().rfind(|name| name.ends_with(".seg")).unwrap().clone();
    let (sequence, _) = street.own_head(1);
    // Damaged in the last batch, which was acknowledged.
    whole.flip(&last, whole.contents(&last).unwrap().len() - 5, 1);
    street.shops[1].disk = whole;
    street.restart_from_disk(1);
    assert_eq!(street.own_head(1).0, sequence - 1, "the record is gone");
    assert_eq!(street.ask(1, &[], Patience::Over), Signing::Unconfirmed(Doubt::TailDamaged));
    assert_eq!(street.say(1, "乙"), Err(Reason::HeadUnconfirmed));
    assert_eq!(street.ask(1, &[0, 2], Patience::Waits), Signing::Confirmed);
    assert!(street.own_head(1).0 == sequence && street.own_head(1).1 > 0);
    street.meet();
    street.check_agreement("cut");
}

#[test]
fn of_two_copies_the_one_that_hears_the_other_stops() {
    let mut street = Street::new(76, 3);
    let other = street.shops[1].copied();
    street.shops.push(other);
    let copy = street.shops.len() - 1;
    assert_eq!(street.ask(copy, &[0, 2], Patience::Waits), Signing::Confirmed);
    street.say(copy, "分身").unwrap();
    street.carry(copy, 0);
    assert_eq!(street.signing(1), Signing::Confirmed);
    street.carry(0, 1);
    assert_eq!((street.signing(1), street.say(1, "本尊")), (SHARED, Err(Reason::HeadUnconfirmed)));
    assert_eq!(street.ask(1, &[0, 2], Patience::Over), SHARED, "until it is started again");
    street.say(copy, "分身二").unwrap();
    street.shops.pop();
    street.meet();
    street.check_agreement("two copies");
}

#[test]
fn a_shop_that_sees_another_branch_of_its_own_log_signs_nothing_more() {
    let mut street = Street::new(77, 3);
    let branch =
        street.craft(1, Kind::Profile, &[], &proto::Profile { name: "乙".into(), ..Default::default() });
    street.say(1, "甲").unwrap();
    let shown = street.shops[1].take(std::slice::from_ref(&branch), street.now);
    assert!(matches!(shown, Err(IngestError::Diverged(_))));
    let mut forged = branch.to_message();
    forged.signature = vec![7; 64].into();
    let now = street.now;
    let Street { shops, rng, .. } = &mut street;
    assert!(!shops[1].ledger.examine(vec![forged], now, rng).unwrap(), "not signed: no fork");
    assert!(shops[1].ledger.examine(vec![branch.to_message()], now, rng).unwrap());
    assert_eq!((street.signing(1), street.say(1, "丙")), (Signing::Forked, Err(Reason::LogFrozen)));
    assert_eq!(street.ask_all(1), Signing::Forked);
}

#[test]
fn an_answer_that_names_another_record_keeps_a_copy_silent() {
    let mut street = Street::new(78, 3);
    street.say(1, "甲").unwrap();
    street.meet();
    street.shops[1] = street.shops[1].copied();
    let good = [street.shops[0].answer(street.id(1)), street.shops[2].answer(street.id(1))];
    let bad = HeadAnswer { id_prefix: Some([7; 8]), ..good[1] };
    let now = street.now;
    let Street { shops, rng, .. } = &mut street;
    let mut ask =
        |answers: &[HeadAnswer]| shops[1].ledger.confirm_head(answers, Patience::Over, now, rng).unwrap();
    assert_eq!(ask(&[good[0], bad]), MOVED);
    assert_eq!(ask(&[bad, good[0], good[1]]), MOVED);
    assert_eq!(ask(&good), Signing::Confirmed);
}

#[test]
fn a_fork_of_another_log_is_proven_once_the_shop_may_sign() {
    let mut street = Street::new(79, 3);
    let branch =
        street.craft(2, Kind::Profile, &[], &proto::Profile { name: "乙".into(), ..Default::default() });
    street.say(2, "甲").unwrap();
    street.carry(2, 1);
    street.restart(1);
    let (before, now) = (street.own_head(1), street.now);
    let Street { shops, rng, .. } = &mut street;
    assert!(shops[1].ledger.examine(vec![branch.to_message()], now, rng).unwrap());
    assert_eq!((street.own_head(1), street.shops[1].ledger.staged_count()), (before, 0));
    assert_eq!(street.ask(1, &[0, 2], Patience::Waits), Signing::Confirmed);
    assert_eq!(street.own_head(1).0, before.0 + 1);
    street.meet();
    let frozen = street.shops[0].ledger.alliance().roster().shop(street.id(2)).unwrap().standing;
    assert_eq!(frozen, hutong_core::roster::Standing::Frozen);
}

impl Street {
    pub(crate) fn restart_from_disk(&mut self, shop: usize) {
        let shop: &mut Shop = &mut self.shops[shop];
        shop.reopen(Arc::new(MemViews::new()));
    }
}
