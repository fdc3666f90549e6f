//! Removals and forks: what lies past a seal never counts, whenever the seal became known.

use std::sync::Arc;

use hutong_core::{command::Command, ingest::IngestError, refusal::Reason, report, roster::Standing};
use hutong_record::{proto, proto::Kind};
use hutong_store::{
    ledger::{Examined, ProofTaken, Signing},
    views::MemViews,
};
use rand::RngExt as _;

use crate::{
    street::{Street, keys},
    till::yuan,
};

impl Street {
    fn remove(&mut self, voter: usize, shop: usize, last_sequence: u64) {
        let reason = "失联".into();
        let remove =
            Command::Remove { shop: self.id(shop), last_sequence: Some(last_sequence), held: 0, reason };
        assert_eq!(self.run(voter, &remove).unwrap().records.len(), 1);
    }

    fn head(&self, shop: usize) -> u64 {
        self.shops[shop].ledger.head(self.id(shop)).map_or(0, |head| head.sequence)
    }

    fn standing(&self, at: usize, shop: usize) -> Standing {
        self.shops[at].ledger.alliance().roster().shop(self.id(shop)).unwrap().standing
    }

    fn set_name(&mut self, shop: usize, name: &str) {
        let profile = proto::Profile { name: name.into(), category: String::new(), addresses: Vec::new() };
        self.run(shop, &Command::Profile(profile)).unwrap();
    }

    /// Every view is the one that folding all records from the start gives.
    fn check_folding_anew(&mut self, context: &str) {
        for shop in &mut self.shops {
            let before = shop.state();
            shop.reopen(shop.ledger.views());
            assert_eq!(shop.state(), before, "{context}: opened again");
            shop.reopen(Arc::new(MemViews::new()));
            assert_eq!(shop.state(), before, "{context}: folded anew");
        }
    }
}

#[test]
fn records_past_a_seal_never_count_even_where_they_were_folded_before() {
    let mut street = Street::new(30, 5);
    let terms = street.terms(&[1], 2);
    street.publish(3, terms).unwrap();
    street.set_name(2, "有效");
    street.meet();
    let tokens = [street.sell(1, yuan(20), None).remove(0), street.sell(1, yuan(20), None).remove(0)];
    street.redeem(2, &tokens[0].qr_text(), None).unwrap();
    let seal = street.head(2);
    street.redeem(2, &tokens[1].qr_text(), None).unwrap();
    street.set_name(2, "无效");
    // Shops 1 and 3 fold it all; shop 4 hears of the removal first.
    street.carry(2, 1);
    street.carry(2, 3);
    assert_eq!(street.balance(1, 3), 200);
    street.remove(0, 2, seal);
    street.carry(0, 4);
    let past = street.carry_log(1, 4, street.id(2));
    assert!(matches!(past, Ok(true)), "the run that holds the seal");
    street.meet();
    for at in 0..5 {
        assert_eq!(street.standing(at, 2), Standing::Removed);
        let views = street.shops[at].ledger.views();
        assert_eq!(report::profile(&*views, street.id(2)).unwrap().unwrap().name, "有效");
    }
    assert_eq!((street.balance(1, 3), street.balance(2, 3)), (100, 300));
    street.check_agreement("sealed");
    street.check_folding_anew("sealed");
    let refused = street.redeem(2, &tokens[1].qr_text(), None).unwrap_err();
    assert_eq!(refused.reason, Reason::NotMember);
}

#[test]
fn vouchers_of_a_removed_shop_are_good_if_their_hand_out_counts() {
    let mut street = Street::new(31, 4);
    let terms = street.terms(&[1], 2);
    street.publish(3, terms).unwrap();
    street.meet();
    let before = street.sell(1, yuan(20), None).remove(0);
    let seal = street.head(1);
    let after = street.sell(1, yuan(20), None).remove(0);
    street.remove(0, 1, seal);
    street.meet();
    let refused = street.redeem(2, &after.qr_text(), None).unwrap_err();
    assert_eq!(refused.reason, Reason::DistributorRemoved);
    street.redeem(2, &before.qr_text(), None).unwrap();
    street.meet();
    street.check_agreement("a removed distributor");
    assert_eq!(street.balance(3, 1), -100, "its bounty is owed");
    // Its promotions end where it was to redeem; an unknown shop's cannot begin.
    let terms = street.terms(&[1], 2);
    let refused = street.publish(3, terms).unwrap_err();
    assert_eq!(refused.reason, Reason::MemberUnknown);
}

#[test]
fn a_promotion_for_a_removed_redeemer_hands_nothing_out() {
    let mut street = Street::new(32, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    street.remove(0, 2, street.head(2));
    street.meet();
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::PromotionEnded);
    assert!(street.sell(1, yuan(30), None).is_empty(), "the sale stands without a voucher");
}

#[test]
fn what_was_traded_on_a_promotion_past_a_seal_stops_nobodys_log() {
    let mut street = Street::new(33, 4);
    let seal = street.head(3);
    let terms = street.terms(&[1], 2);
    street.publish(3, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), None).remove(0);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.set_name(2, "果铺");
    street.meet();
    street.remove(0, 3, seal);
    street.meet();
    street.set_name(2, "大果铺");
    assert_eq!(street.sell(2, yuan(5), None).len(), 0, "its own till goes on");
    street.meet();
    street.check_agreement("a promotion past the seal");
    street.check_folding_anew("a promotion past the seal");
    let views = street.shops[1].ledger.views();
    assert_eq!(report::profile(&*views, street.id(2)).unwrap().unwrap().name, "大果铺");
    assert_eq!((street.balance(2, 3), street.shops[1].state().summary.vouchers_used), (0, 0));
}

#[test]
fn who_was_let_in_by_a_vote_past_a_seal_is_out_again_on_every_node() {
    let mut street = Street::founded(34, |_| {});
    let core = street.join(true);
    street.join(false);
    street.meet();
    let seal = street.head(core);
    let (newcomer, newcomer_keys) = keys(&mut street.rng, street.now);
    let guest_key: [u8; 32] = street.rng.random();
    let invitation = proto::Invitation {
        guest_key: guest_key.to_vec().into(),
        expires_unix_ms: street.now.ms() + 1_000,
        ..Default::default()
    };
    street.run(core, &Command::Invite(invitation)).unwrap();
    let admit = Command::AdmitGuest { guest_key, identity: newcomer.signed().clone(), continuation: None };
    street.run(core, &admit).unwrap();
    street.shops.push(crate::street::Shop::new(newcomer, newcomer_keys, &street.charter));
    street.carry(core, 3);
    street.set_name(3, "新来的");
    street.carry(3, 2);
    assert_eq!(street.standing(2, 3), Standing::Member);
    street.remove(0, core, seal);
    street.meet();
    assert_eq!(street.standing(2, 3), Standing::Pending);
    let views = street.shops[2].ledger.views();
    assert_eq!(report::profile(&*views, street.id(3)).unwrap(), None);
    street.check_folding_anew("let in past a seal");
    assert_eq!(street.shops[2].state().public, street.shops[0].state().public);
    // A vote that counts lets it in again, with all that it wrote.
    let identity = street.shops[3].identity.signed().clone();
    let admission = proto::Admission { identity: Some(identity), ..Default::default() };
    let motion = proto::Motion { motion: Some(proto::motion::Motion::Admission(admission)), round: 0 };
    let motion = prost::Message::encode_to_vec(&motion).into();
    street.plant(0, Kind::Vote, &[], &proto::Vote { motion, ..Default::default() });
    street.meet();
    street.check_agreement("let in again");
    let views = street.shops[2].ledger.views();
    assert_eq!(report::profile(&*views, street.id(3)).unwrap().unwrap().name, "新来的");
}

#[test]
fn two_shops_that_vote_each_other_out_are_both_out_in_whatever_order_that_is_heard() {
    let mut street = Street::founded(35, |_| {});
    let (one, other) = (street.join(true), street.join(true));
    let observer = street.join(false);
    street.meet();
    street.set_name(one, "甲");
    street.set_name(other, "乙");
    let (seal_one, seal_other) = (street.head(one), street.head(other));
    street.remove(one, other, seal_other);
    street.remove(other, one, seal_one);
    let states = [[one, other], [other, one]].map(|order| {
        let mut fresh = street.fresh(observer);
        for author in [0, order[0], order[1]] {
            fresh.take(&street.shops[author].log(street.id(author), 0), street.now).unwrap();
        }
        let state = fresh.state();
        fresh.reopen(Arc::new(MemViews::new()));
        assert_eq!(fresh.state(), state, "folded anew, {order:?}");
        state
    });
    assert_eq!(states[0].roster, states[1].roster);
    assert_eq!(states[0], states[1]);
    let out = states[0].roster.iter().filter(|(_, standing, _)| *standing == Standing::Removed);
    assert_eq!(out.count(), 2);
}

/// Two records of shop 1 at one place, and the street to show them.
fn forked() -> (Street, hutong_record::Record) {
    let (mut street, _) = Street::with_a_redemption(36);
    let profile = proto::Profile { name: "乙".into(), category: String::new(), addresses: Vec::new() };
    let branch = street.craft(1, Kind::Profile, &[], &profile);
    street.set_name(1, "甲");
    (street, branch)
}

#[test]
fn a_fork_is_proven_and_freezes_the_log_at_the_agreed_prefix_on_every_node() {
    let (mut street, branch) = forked();
    let agreed = street.head(1) - 1;
    // Shops 0 and 2 hold the one branch, shop 3 the other.
    street.carry(1, 0);
    street.carry(1, 2);
    street.shops[3].take(std::slice::from_ref(&branch), street.now).unwrap();
    let theirs = street.shops[0].log(street.id(1), agreed);
    let Err(IngestError::Diverged(_)) = street.shops[3].take(&theirs, street.now) else { panic!("diverged") };
    let messages: Vec<_> = theirs.iter().map(|record| record.to_message()).collect();
    let now = street.now;
    let Street { shops, rng, .. } = &mut street;
    assert!(shops[3].ledger.examine(messages.clone(), now, rng).unwrap());
    shops[3].ledger.commit().unwrap();
    let head = street.head(3);
    assert!(street.shops[3].ledger.examine(messages, now, &mut street.rng).unwrap());
    street.shops[3].ledger.commit().unwrap();
    assert_eq!(street.head(3), head, "one proof is enough");
    street.meet();
    for at in 0..4 {
        let roster = street.shops[at].ledger.alliance().roster();
        let member = roster.shop(street.id(1)).unwrap();
        assert_eq!((member.standing, member.counts_up_to), (Standing::Frozen, Some(agreed)));
        let views = street.shops[at].ledger.views();
        assert_eq!(report::profile(&*views, street.id(1)).unwrap(), None, "neither branch counts");
    }
    street.check_agreement("frozen");
    street.check_folding_anew("frozen");
    assert_eq!(street.balance(1, 3), 100, "what came before the fork is owed");
    let refused = street.sale(yuan(30), None);
    assert_eq!(street.run(1, &refused).unwrap_err().reason, Reason::LogFrozen);
    let next = street.craft(1, Kind::Profile, &[], &proto::Profile::default());
    assert_eq!(street.shops[0].take(&[next], street.now), Err(IngestError::Sealed(agreed)));
}

#[test]
fn a_proof_holds_whoever_brings_it_and_whatever_becomes_of_them() {
    let (mut street, branch) = forked();
    let agreed = street.head(1) - 1;
    let seal = street.head(3);
    street.shops[3].take(std::slice::from_ref(&branch), street.now).unwrap();
    let theirs = street.shops[1].log(street.id(1), agreed);
    let messages = theirs.iter().map(|record| record.to_message()).collect();
    let now = street.now;
    let Street { shops, rng, .. } = &mut street;
    assert!(shops[3].ledger.examine(messages, now, rng).unwrap());
    shops[3].ledger.commit().unwrap();
    street.carry(3, 0);
    street.remove(0, 3, seal);
    assert_eq!(street.standing(0, 1), Standing::Frozen);
    street.shops[0].reopen(Arc::new(MemViews::new()));
    assert_eq!(street.standing(0, 1), Standing::Frozen);
    assert_eq!(street.standing(0, 3), Standing::Removed);
}

/// Two branches of shop 1's log, of several records each; shops 2 and 3 each hold one, of which they have but the last
/// signature.
fn branched(ours: u32, theirs: u32) -> (Street, Vec<hutong_record::Record>) {
    let mut street = Street::new(38, 5);
    street.set_name(1, "共同");
    street.meet();
    let mut twin = street.shops[1].copied();
    for n in 0..theirs {
        street.set_name(1, &format!("乙{n}"));
    }
    std::mem::swap(&mut street.shops[1], &mut twin);
    let views = street.shops[1].ledger.views();
    street.shops[1].reopen(views);
    for n in 0..ours {
        street.set_name(1, &format!("甲{n}"));
    }
    street.carry(1, 2);
    let branch = twin.log(street.id(1), 1);
    street.shops[3].take(&branch, street.now).unwrap();
    (street, branch)
}

impl Street {
    /// One shop shows another its branch of a log, from where it is asked to, until that has seen enough.
    fn show(&mut self, from: usize, to: usize, author: usize, mut sequence: u64) -> Examined {
        let author = self.id(author);
        for _ in 0..100 {
            let run = self.shops[from].log(author, sequence - 1);
            let Self { shops, rng, now, .. } = self;
            let messages = run.iter().map(hutong_record::Record::to_message).collect();
            let examined = shops[to].ledger.examine_branch(messages, *now, rng).unwrap();
            shops[to].ledger.commit().unwrap();
            match examined {
                Examined::Earlier(place) | Examined::Later(place) => sequence = place,
                done => return done,
            }
        }
        panic!("it does not end");
    }
}

#[test]
fn branches_without_a_common_signed_place_are_proven_where_they_part() {
    for (ours, theirs) in [(5, 3), (3, 5), (9, 9), (1, 20)] {
        let (mut street, branch) = branched(ours, theirs);
        let context = format!("{ours} and {theirs}");
        let end = 1 + u64::from(ours.min(theirs));
        let signed = |shop: usize| {
            street.shops[shop].log(street.id(1), 1).iter().filter(|r| r.signature().is_some()).count()
        };
        assert!(signed(2) >= 1 && signed(3) >= 1 && branch.len() == theirs as usize);
        // Shown from where both are known to differ, which is not where they part.
        assert_eq!(street.show(3, 2, 1, end), Examined::Settled, "{context}");
        street.meet();
        for at in 0..5 {
            let member = street.shops[at].ledger.alliance().roster().shop(street.id(1)).unwrap();
            assert_eq!((member.standing, member.counts_up_to), (Standing::Frozen, Some(1)), "{context}");
        }
        street.check_agreement(&context);
    }
}

#[test]
fn a_proof_from_a_log_that_forked_itself_is_kept_by_whoever_hears_it() {
    let (mut street, _) = branched(2, 2);
    assert_eq!(street.show(3, 2, 1, 3), Examined::Settled);
    let views = street.shops[2].ledger.views();
    let (sequence, proof) = hutong_core::fold::fork_proof(&*views, street.id(1)).unwrap().unwrap();
    assert_eq!(sequence, 2);
    // Nobody takes shop 2's records: it is put out, with a seal before the proof.
    let seal = street.head(2) - 1;
    street.remove(0, 2, seal);
    let proof: proto::ForkProof = prost::Message::decode(proof.as_slice()).unwrap();
    let forged = proto::ForkProof { second: proof.first.clone(), ..proof.clone() };
    let now = street.now;
    let head = street.head(4);
    let Street { shops, rng, .. } = &mut street;
    let mut take = |proof: &proto::ForkProof| {
        let taken = shops[4].ledger.take_proof(proof, now, rng).unwrap();
        shops[4].ledger.commit().unwrap();
        taken
    };
    assert_eq!(take(&forged), ProofTaken::False);
    assert_eq!((take(&proof), take(&proof)), (ProofTaken::News, ProofTaken::Known));
    assert_eq!(street.head(4), head + 1, "in its own log");
    street.carry(4, 0);
    assert_eq!(street.standing(0, 1), Standing::Frozen);
    // The accused hears of it, too.
    let Street { shops, rng, .. } = &mut street;
    assert_eq!(shops[1].ledger.take_proof(&proof, now, rng).unwrap(), ProofTaken::News);
    assert_eq!(shops[1].ledger.signing(), Signing::Forked);
}

#[test]
fn a_run_whose_signature_lies_past_the_seal_brings_the_records_before_it() {
    let mut street = Street::new(37, 3);
    street.set_name(1, "甲");
    let seal = street.head(1);
    street.set_name(1, "乙");
    street.carry(1, 0);
    street.remove(0, 1, seal);
    // Shop 0 took both in one run, so that only the second one has a signature that it can serve.
    let run = street.shops[0].log(street.id(1), 0);
    assert!(run[0].signature().is_none() && run[1].signature().is_some());
    street.carry(0, 2);
    let views = street.shops[2].ledger.views();
    assert_eq!(report::profile(&*views, street.id(1)).unwrap().unwrap().name, "甲");
    street.meet();
    street.check_agreement("a run over the seal");
}
