//! Rotation: a shop goes over to new keys, and nobody's books depend on when they hear of it.

use std::sync::Arc;

use hutong_core::{command::Command, ingest::IngestError, refusal::Reason, roster::Standing};
use hutong_record::{
    DecryptionKey, Draft, ForkProof, Record, RecoverySeed, RunError, SigningKey, Succession, SuccessionError,
    incarnation_first, incarnation_last, proto, proto::Kind,
};
use hutong_store::{
    ledger::{EpochKeys, Patience, ProofTaken, ShopKeys, Signing},
    views::MemViews,
    writer::{Job, News, Writer},
};
use prost::Message as _;

use crate::{
    convergence::{check_cut_short, replay, seeds, trade},
    incarnations::name_at,
    street::{Shop, Street, draft},
    till::{card, yuan},
};

impl Street {
    pub(crate) fn seed(&self, shop: usize) -> RecoverySeed {
        RecoverySeed::new(self.phrases[&self.id(shop)])
    }

    pub(crate) fn succession(&self, shop: usize, epoch: u32) -> Succession {
        Succession::create(&self.seed(shop), &self.shops[shop].identity, epoch).unwrap()
    }

    /// The keys of an epoch, which the shop's phrase gives.
    pub(crate) fn epoch_keys(&self, shop: usize, epoch: u32) -> EpochKeys {
        let seed = self.seed(shop);
        EpochKeys {
            signing: Arc::new(SigningKey::from_seed(&seed.signing_seed_of(epoch))),
            decryption: DecryptionKey::from_seed(&seed.encryption_seed_of(epoch)),
            succession: self.succession(shop, epoch),
        }
    }

    pub(crate) fn key_epoch(&self, at: usize, shop: usize) -> u32 {
        self.shops[at].ledger.alliance().key_epoch(self.id(shop))
    }

    /// The shop gets its next keys, and goes over to them.
    pub(crate) fn rotate(&mut self, shop: usize) {
        let next = self.key_epoch(shop, shop) + 1;
        self.shops[shop].keys.add(self.epoch_keys(shop, next));
        let succession = Box::new(self.succession(shop, next));
        self.run(shop, &Command::RotateKey(succession)).unwrap();
    }

    /// The last record of a shop's log as one holds it.
    pub(crate) fn last(&self, at: usize, shop: usize) -> Record {
        let head = self.shops[at].ledger.head(self.id(shop)).unwrap().sequence;
        self.shops[at].log(self.id(shop), head - 1).remove(0)
    }

    pub(crate) fn call_itself(&mut self, shop: usize, name: &str) {
        let profile = proto::Profile { name: name.into(), ..Default::default() };
        self.run(shop, &Command::Profile(profile)).unwrap();
    }
}

/// The keys of epoch 0 alone, as an old copy of the key file has them.
fn first_keys(street: &Street, shop: usize) -> Arc<ShopKeys> {
    let seed = street.seed(shop);
    let signing = Arc::new(SigningKey::from_seed(&seed.signing_seed()));
    Arc::new(ShopKeys::new(signing, DecryptionKey::from_seed(&seed.encryption_seed())))
}

#[test]
fn trade_goes_on_under_a_new_key_and_old_vouchers_stay_good() {
    let mut street = Street::new(400, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let old = street.issue(1, promotion, None).unwrap();
    street.rotate(1);
    let rotation = street.last(1, 1);
    assert_eq!((rotation.header().kind, rotation.header().key_epoch), (Kind::KeyRotation, 0));
    let new = street.issue(1, promotion, None).unwrap();
    assert_eq!((old.body().key_epoch, new.body().key_epoch), (0, 1));
    assert_eq!(street.last(1, 1).header().key_epoch, 1);
    street.rotate(2);
    street.meet();
    for token in [&old, &new] {
        street.redeem(2, &token.qr_text(), None).unwrap();
    }
    street.meet();
    street.check_agreement("two shops rotated");
    street.check_redelivered(400, "two shops rotated");
    for at in 0..4 {
        let alliance = street.shops[at].ledger.alliance();
        assert_eq!((street.key_epoch(at, 1), street.key_epoch(at, 2), street.key_epoch(at, 3)), (1, 1, 0));
        let key = street.seed(1).signing_seed_of(1);
        assert_eq!(alliance.signing_key(street.id(1), 1), Some(SigningKey::from_seed(&key).public()));
    }
}

#[test]
fn any_order_of_delivery_gives_the_same_state_where_shops_rotate_while_others_trade() {
    for seed in seeds() {
        let context = replay(seed, "any_order_of_delivery");
        let mut street = Street::new(seed, 5);
        trade(&mut street, 40, 5);
        street.rotate(1);
        trade(&mut street, 40, 5);
        street.rotate(1);
        street.rotate(4);
        trade(&mut street, 60, 5);
        street.meet();
        street.check_agreement(&context);
        for (index, fresh) in street.check_redelivered(seed, &context).iter().enumerate() {
            let alliance = fresh.ledger.alliance();
            let epochs = [1, 4, 0].map(|shop| alliance.key_epoch(street.id(shop)));
            assert_eq!(epochs, [2, 1, 0], "shop {index}: {context}");
        }
        let doubles: u64 = street.shops.iter().map(|s| s.state().summary.double_redemptions).sum();
        assert_eq!(doubles, 0, "VOU-1: {context}");
    }
}

#[test]
fn a_seal_or_a_fork_before_or_after_a_rotation_gives_the_same_state_in_any_order() {
    for seed in seeds() {
        let context = replay(seed, "a_seal_or_a_fork_before_or_after");
        let mut street = Street::new(seed, 5);
        trade(&mut street, 30, 4);
        street.rotate(4);
        trade(&mut street, 40, 4);
        street.rotate(4);
        trade(&mut street, 30, 4);
        check_cut_short(&mut street, seed, &context);
    }
}

#[test]
fn a_key_past_its_shop_s_seal_does_not_count_for_those_either_who_hold_it() {
    let mut street = Street::new(414, 4);
    street.call_itself(1, "甲");
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let last_sequence = street.shops[1].ledger.head(street.id(1)).map(|head| head.sequence);
    street.rotate(1);
    let token = street.issue(1, promotion, None).unwrap();
    street.carry(1, 2);
    street.redeem(2, &token.qr_text(), None).unwrap();
    let remove = Command::Remove { shop: street.id(1), last_sequence, held: 0, reason: String::new() };
    street.run(0, &remove).unwrap();
    street.carry(0, 3); // the funder hears of the seal first, and never takes the rotation in
    street.meet();
    assert_eq!((street.key_epoch(2, 1), street.key_epoch(3, 1)), (1, 0));
    street.check_agreement("the receipt counts nowhere");
    for at in [2, 3] {
        let (ledger, redeemer) = (&street.shops[at].ledger, street.id(2));
        let folded = hutong_core::fold::cursor(&*ledger.views(), redeemer).unwrap();
        assert_eq!(folded, ledger.head(redeemer).unwrap().sequence, "nobody waits for the key");
    }
}

#[test]
fn a_restart_and_views_folded_anew_know_the_epochs() {
    let mut street = Street::new(401, 3);
    street.rotate(1);
    street.call_itself(1, "新名");
    street.meet();
    for views in [street.shops[0].ledger.views(), Arc::new(MemViews::new())] {
        let before = street.shops[0].state();
        street.shops[0].reopen(views);
        assert_eq!((street.key_epoch(0, 1), street.shops[0].state()), (1, before));
    }
    let views = street.shops[1].ledger.views();
    street.shops[1].reopen(views);
    street.call_itself(1, "又一名");
    street.carry(1, 0);
    assert_eq!(street.last(0, 1).header().key_epoch, 1);
}

#[test]
fn what_was_sealed_to_the_key_before_is_read_and_what_comes_after_is_sealed_to_the_new_one() {
    let mut street = Street::new(402, 3);
    street.rotate(1);
    street.touch(2, 1, card(1)).unwrap(); // shop 2 has not heard of it
    let to_old = street.last(2, 2);
    street.meet();
    street.touch(2, 1, card(2)).unwrap();
    let to_new = street.last(2, 2);
    let (me, all, first) = (street.id(1), street.shops[1].keys.clone(), first_keys(&street, 1));
    for record in [&to_old, &to_new] {
        assert!(all.open(record, me).is_some());
    }
    assert!(first.open(&to_old, me).is_some());
    assert!(first.open(&to_new, me).is_none(), "the old key file does not read what comes now");
    street.meet();
    street.check_agreement("sealed to both");
}

#[test]
fn a_voucher_of_an_epoch_that_is_not_known_waits_for_its_key() {
    let mut street = Street::new(403, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    street.rotate(1);
    let token = street.issue(1, promotion, None).unwrap();
    let refused = street.redeem(2, &token.qr_text(), None).unwrap_err();
    assert_eq!(refused.reason, Reason::IssuerKeyUnknown, "not a forgery: the news has not come");
    street.carry(1, 2);
    street.redeem(2, &token.qr_text(), None).unwrap();
    // The receipt comes to the funder before the issuer's rotation does.
    let redeemer = street.id(2);
    while street.carry_log(2, 0, redeemer) == Ok(true) {}
    let waits = |street: &Street| {
        let (ledger, redeemer) = (&street.shops[0].ledger, street.id(2));
        let folded = hutong_core::fold::cursor(&*ledger.views(), redeemer).unwrap();
        folded < ledger.head(redeemer).unwrap().sequence
    };
    assert!(waits(&street));
    street.carry(1, 0);
    assert!(!waits(&street), "what waited is folded");
    street.meet();
    street.check_agreement("the receipt came first");
}

#[test]
fn what_the_old_key_signs_after_the_rotation_is_refused() {
    let mut street = Street::new(404, 3);
    street.rotate(1);
    street.carry(1, 0);
    let profile = proto::Profile { name: "贼".into(), ..Default::default() };
    let honest = street.craft(1, Kind::Profile, &[], &profile);
    let retired = Draft { key_epoch: 0, ..draft(&honest) };
    let by_old = street.sign(1, retired, &profile.encode_to_vec());
    assert_eq!(street.shops[0].take(&[by_old], street.now), Err(IngestError::KeyRetired(0)));
    let named_new = draft(&honest);
    let old_key = street.shops[1].keys.signing.clone();
    let payload = hutong_record::Payload::clear(&profile.encode_to_vec(), &mut street.rng).unwrap();
    let forged = hutong_record::sign(named_new, payload, &old_key);
    let refused = IngestError::Run(RunError::Signature { sequence: honest.header().sequence });
    assert_eq!(street.shops[0].take(&[forged], street.now), Err(refused));
    assert_eq!(street.shops[0].take(&[honest], street.now), Ok(true));
}

#[test]
fn a_run_does_not_cross_the_rotation_and_a_log_is_shown_in_runs_that_do_not() {
    let mut street = Street::new(405, 3);
    street.call_itself(1, "旧");
    street.meet();
    street.call_itself(1, "甲");
    street.rotate(1);
    street.call_itself(1, "乙");
    let (author, held) = (street.id(1), street.shops[0].ledger.head(street.id(1)).unwrap().sequence);
    let first = street.shops[1].log(author, held);
    let kinds: Vec<_> = first.iter().map(|record| record.header().kind).collect();
    assert_eq!(kinds, [Kind::Profile, Kind::KeyRotation], "the run ends with its epoch");
    let second = street.shops[1].log(author, held + 2);
    let covered: Vec<_> =
        first.iter().cloned().map(Record::without_signature).chain(second.clone()).collect();
    let refused = IngestError::Run(RunError::Signature { sequence: held + 2 });
    assert_eq!(street.shops[0].take(&covered, street.now), Err(refused), "no signature covers both epochs");
    assert_eq!(
        street.shops[0].take(&second, street.now),
        Err(IngestError::Gap { head: held, found: held + 3 })
    );
    assert_eq!(street.shops[0].take(&first, street.now), Ok(true));
    assert_eq!(street.shops[0].take(&second, street.now), Ok(true));
    // Both runs may come in one message.
    let both = [first, second].concat();
    assert_eq!(street.shops[2].take(&both, street.now), Ok(true));
    assert_eq!((street.key_epoch(2, 1), street.last(2, 1)), (1, street.last(1, 1)));
}

#[test]
fn a_message_goes_over_a_rotation_only_to_the_next_record_of_the_next_epoch() {
    let mut street = Street::new(412, 3);
    street.call_itself(1, "甲");
    street.meet();
    street.rotate(1);
    let rotation = street.last(1, 1);
    let profile = proto::Profile { name: "乙".into(), ..Default::default() };
    let next = street.craft(1, Kind::Profile, &[], &profile);
    let mut refused = |change: &dyn Fn(&mut Draft)| {
        let mut draft = draft(&next);
        change(&mut draft);
        let record = street.sign(1, draft, &profile.encode_to_vec());
        street.shops[0].take(&[rotation.clone(), record], street.now)
    };
    let broken = |sequence| Err(IngestError::Run(RunError::Broken { sequence }));
    let sequence = next.header().sequence;
    assert_eq!(refused(&|draft| draft.key_epoch = 0), broken(sequence));
    assert_eq!(refused(&|draft| draft.key_epoch = 2), broken(sequence));
    assert_eq!(refused(&|draft| draft.sequence += 1), broken(sequence + 1));
    assert_eq!(
        refused(&|draft| draft.previous = Some(hutong_record::RecordId::new([1; 32]))),
        broken(sequence)
    );
    assert_eq!(refused(&|draft| draft.shop = hutong_record::ShopId::new([1; 32])), broken(sequence));
    assert_eq!(street.shops[0].take(&[rotation.clone(), next], street.now), Ok(true));
}

#[test]
fn a_rotation_that_leads_nowhere_is_refused_by_the_ladder() {
    let mut street = Street::new(406, 3);
    let refused = |street: &mut Street, message: &proto::KeyRotation, parties: &[usize]| {
        let record = street.craft(1, Kind::KeyRotation, parties, message);
        match street.shops[0].take(&[record], street.now) {
            Err(IngestError::Rotation { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    };
    let signed = |succession: &Succession| Some(succession.signed().clone());
    let skips = proto::KeyRotation { succession: signed(&street.succession(1, 2)) };
    assert_eq!(refused(&mut street, &skips, &[]), SuccessionError::Epoch(2));
    let nothing = proto::KeyRotation::default();
    assert_eq!(refused(&mut street, &nothing, &[]), SuccessionError::Malformed);
    let other = proto::KeyRotation { succession: signed(&street.succession(2, 1)) };
    assert_eq!(refused(&mut street, &other, &[]), SuccessionError::OtherShop);
    let good = proto::KeyRotation { succession: signed(&street.succession(1, 1)) };
    assert_eq!(
        refused(&mut street, &good, &[1]),
        SuccessionError::Malformed,
        "sealed: not everybody could check it"
    );
    // Who has stolen the key file cannot make one: the recovery key must order it.
    let mut forged = good.clone();
    let signature = forged.succession.as_ref().unwrap().signature.clone();
    forged.succession.as_mut().unwrap().recovery_signature = signature;
    assert_eq!(refused(&mut street, &forged, &[]), SuccessionError::NotOrdered);
    // What the fold would not read the ladder does not take.
    let padded = Padded { succession: good.succession.clone(), padding: vec![7; 20_000] };
    let record = street.craft(1, Kind::KeyRotation, &[], &padded);
    let refused = street.shops[0].take(&[record], street.now).unwrap_err();
    assert!(matches!(refused, IngestError::Rotation { source: SuccessionError::Malformed, .. }));
    let record = street.craft(1, Kind::KeyRotation, &[], &good);
    assert_eq!(street.shops[0].take(&[record], street.now), Ok(true));
}

/// A rotation with a field that nobody knows.
#[derive(Clone, PartialEq, prost::Message)]
struct Padded {
    #[prost(message, optional, tag = "1")]
    succession: Option<proto::SignedKeySuccession>,
    #[prost(bytes = "vec", tag = "99")]
    padding: Vec<u8>,
}

#[test]
fn only_the_next_epoch_is_gone_over_to_and_only_with_its_keys() {
    let mut street = Street::new(407, 3);
    street.call_itself(1, "旧");
    let rotate = |street: &mut Street, epoch| {
        let succession = Box::new(street.succession(1, epoch));
        street.run(1, &Command::RotateKey(succession)).map(drop).map_err(|refusal| refusal.reason)
    };
    let before = street.shops[1].ledger.head(street.id(1)).unwrap();
    assert_eq!(rotate(&mut street, 1), Err(Reason::KeyMissing), "it could sign nothing after that");
    for epoch in [1, 2] {
        let keys = street.epoch_keys(1, epoch);
        street.shops[1].keys.add(keys);
    }
    assert_eq!(rotate(&mut street, 2), Err(Reason::KeyEpochWrong));
    assert_eq!(street.shops[1].ledger.head(street.id(1)), Some(before));
    assert_eq!(rotate(&mut street, 1), Ok(()));
    assert_eq!(rotate(&mut street, 1), Err(Reason::KeyEpochWrong));
    assert_eq!(rotate(&mut street, 2), Ok(()));
    let others = Box::new(street.succession(2, 3));
    let refused = street.run(1, &Command::RotateKey(others)).unwrap_err();
    assert_eq!(refused.reason, Reason::KeyMissing);
}

#[test]
fn a_shop_whose_key_file_is_older_than_its_log_signs_nothing_and_reads_all_once_it_has_the_keys() {
    let mut street = Street::new(408, 4);
    street.rotate(1);
    street.meet();
    street.touch(2, 1, card(3)).unwrap(); // sealed to the new key
    street.meet();
    let whole = street.shops[1].state();
    let (identity, all) = (street.shops[1].identity.clone(), street.shops[1].keys.clone());
    let keys = first_keys(&street, 1);
    street.shops[1] = Shop::new(identity, keys.clone(), &street.charter);
    for from in [0, 2, 3] {
        street.carry(from, 1);
    }
    assert_ne!(street.ask(1, &[0, 2, 3], Patience::Over), Signing::Confirmed);
    let sale = street.sale(yuan(20), None);
    assert_eq!(street.try_run(1, &sale).unwrap_err().reason, Reason::KeyMissing);
    assert_ne!(street.shops[1].state(), whole, "what is sealed to the missing key is not read");
    street.shops[1].keys = all;
    let views = street.shops[1].ledger.views();
    street.shops[1].reopen(views);
    assert_eq!(street.shops[1].state(), whole);
    let positions = street.shops[1].ledger.views();
    street.shops[1].reopen(positions);
    assert_eq!(street.shops[1].state(), whole, "once is enough");
    assert_eq!(street.ask_all(1), Signing::Confirmed);
    street.call_itself(1, "回来了");
    assert_eq!(street.last(1, 1).header().key_epoch, 1);
}

#[test]
fn a_rotation_that_a_lost_disk_took_along_is_superseded_unless_more_followed_it() {
    for followed in [false, true] {
        let mut street = Street::new(409, 5);
        street.call_itself(1, "旧");
        street.meet();
        let backup = street.shops[1].copied();
        street.rotate(1);
        if followed {
            street.call_itself(1, "换钥之后");
        }
        street.carry(1, 3);
        assert_eq!(street.key_epoch(3, 1), 1);
        street.shops[1] = backup;
        assert_eq!(street.ask(1, &[0, 2], Patience::Waits), Signing::Confirmed);
        street.call_itself(1, "重来");
        assert_eq!(street.last(1, 1).header().key_epoch, 0);
        street.meet();
        street.check_agreement("one of both counts");
        // What a key of the new epoch signed outranks whatever the old one can: a restore from before looks like a thief.
        let counts = if followed { ("换钥之后", 1) } else { ("重来", 0) };
        for at in 0..5 {
            assert_eq!((name_at(&street, at, 1).as_str(), street.key_epoch(at, 1)), counts);
        }
        let views = street.shops[1].ledger.views();
        street.shops[1].reopen(views);
        street.pass(16_000);
        street.rotate(1);
        street.call_itself(1, "再换");
        street.meet();
        for at in 0..5 {
            assert_eq!(street.key_epoch(at, 1), counts.1 + 1);
            let standing = street.shops[at].ledger.alliance().roster().shop(street.id(1)).unwrap().standing;
            assert_eq!(standing, Standing::Member);
        }
        street.check_agreement("rotated again");
    }
}

#[test]
fn from_the_record_after_a_rotation_on_no_retired_key_outranks_the_log() {
    let mut street = Street::new(415, 4);
    street.call_itself(1, "旧");
    street.meet();
    let base = street.last(0, 1);
    street.rotate(1);
    assert_eq!(street.last(1, 1).header().incarnation, 0, "the rotation itself is of the epoch that it ends");
    street.call_itself(1, "新");
    let incarnation = street.last(1, 1).header().incarnation;
    assert!((incarnation_first(1)..=incarnation_last(1)).contains(&incarnation));
    street.call_itself(1, "又新");
    assert_eq!(street.last(1, 1).header().incarnation, incarnation, "it goes on in one incarnation");
    let thief = street.thieve(1, &base, 2);
    street.carry(1, 0);
    assert_eq!(
        street.shops[0].take(&thief, street.now),
        Err(IngestError::Superseded(base.header().sequence + 1))
    );
    assert_eq!(street.shops[2].take(&thief, street.now), Ok(true), "it has not heard of the rotation");
    street.meet();
    street.check_agreement("the rotation came later");
    assert_eq!(name_at(&street, 2, 1), "又新");
}

#[test]
fn a_branch_that_comes_to_its_incarnation_only_after_a_rotation_counts() {
    let mut street = Street::new(413, 5);
    street.call_itself(1, "旧");
    street.meet();
    let (author, base) = (street.id(1), street.shops[1].copied());
    let restore = |street: &mut Street, disk: Shop, peers: &[usize]| {
        street.pass(2_000);
        street.shops[1] = disk;
        assert_eq!(street.ask(1, peers, Patience::Waits), Signing::Confirmed);
    };
    restore(&mut street, base.copied(), &[0, 2]);
    street.call_itself(1, "甲");
    street.rotate(1);
    let rotated = street.shops[1].copied();
    restore(&mut street, base.copied(), &[0, 2]);
    street.call_itself(1, "乙");
    street.carry(1, 0);
    // Whom the third disk asks has heard of neither.
    restore(&mut street, rotated, &[2, 3]);
    street.call_itself(1, "丙");
    let after = base.ledger.head(author).unwrap().sequence;
    let first = street.shops[1].log(author, after);
    let second = street.shops[1].log(author, after + first.len() as u64);
    let refused = street.shops[0].take(&first, street.now);
    assert_eq!(refused, Err(IngestError::Superseded(after + 1)), "by itself the first run does not count");
    let messages = |run: &[Record]| run.iter().map(Record::to_message).collect::<Vec<_>>();
    let runs = vec![messages(&first), messages(&second)];
    let mut writer = Writer::new(street.shops[0].copied().ledger);
    let (now, mut taken) = (street.now, None);
    let mut tell = |_: &_, news: News<(), ()>| {
        if let News::Ingested { outcome, .. } = news {
            taken = Some(outcome.map(|head| head.id));
        }
    };
    let job = Job::Ingest { peer: (), shop: author, runs };
    writer.turn(job, || None, &|| now, &mut street.rng, &mut tell).unwrap();
    assert_eq!(taken, Some(Ok(street.last(1, 1).id())));
    street.meet();
    street.check_agreement("the third disk counts");
    assert_eq!(street.key_epoch(0, 1), 1);
}

/// Shop 1 signs two records at one place after its rotation, of which shop 0 and shop 2 hold one each.
fn forked_after_rotation(seed: u64) -> (Street, Record) {
    let mut street = Street::new(seed, 4);
    street.rotate(1);
    let profile = |name: &str| proto::Profile { name: name.into(), ..Default::default() };
    let one = street.craft(1, Kind::Profile, &[], &profile("一"));
    street.plant(1, Kind::Profile, &[], &profile("二"));
    street.carry(1, 2);
    (street, one)
}

#[test]
fn a_fork_under_the_new_key_is_proven_and_a_proof_that_comes_first_waits_for_the_key() {
    let (mut street, one) = forked_after_rotation(410);
    let now = street.now;
    {
        let Street { shops, rng, .. } = &mut street;
        assert!(shops[2].ledger.examine(vec![one.to_message()], now, rng).unwrap());
        shops[2].ledger.commit().unwrap();
    }
    // Shop 3 hears of the proof before it knows the key that it is about.
    let proof = street.last(2, 2);
    let message = proto::ForkProof::decode(proof.payload().unwrap().message()).unwrap();
    let prover = street.id(2);
    while street.carry_log(2, 3, prover) == Ok(true) {}
    {
        let Street { shops, rng, .. } = &mut street;
        assert_eq!(shops[3].ledger.take_proof(&message, now, rng).unwrap(), ProofTaken::Unknown);
    }
    let standing = |street: &Street, at: usize| {
        street.shops[at].ledger.alliance().roster().shop(street.id(1)).unwrap().standing
    };
    assert_eq!((standing(&street, 3), street.key_epoch(3, 1)), (Standing::Member, 0));
    street.carry(2, 3);
    assert_eq!(standing(&street, 3), Standing::Frozen);
    street.meet();
    street.check_agreement("a fork after a rotation");
    street.check_redelivered(410, "a fork after a rotation");
    assert!(
        ForkProof::verify(&message, |shop, epoch| {
            street.shops[0].ledger.alliance().signing_key(shop, epoch)
        })
        .is_ok()
    );
}

#[test]
fn a_branch_whose_key_is_not_known_is_followed_back_to_where_it_leaves() {
    // Shop 1 forked before its rotation: shop 0 holds the branch without it.
    let mut street = Street::new(411, 3);
    let profile = |name: &str| proto::Profile { name: name.into(), ..Default::default() };
    let one = street.craft(1, Kind::Profile, &[], &profile("一"));
    street.call_itself(1, "二");
    street.rotate(1);
    street.call_itself(1, "三");
    let next = Draft {
        alliance: one.header().alliance,
        shop: one.header().shop,
        key_epoch: 0,
        incarnation: 0,
        sequence: one.header().sequence + 1,
        previous: Some(one.id()),
        time: street.now,
        kind: Kind::Profile,
        audience: one.header().audience.clone(),
    };
    let more = street.sign(1, next, &profile("一一").encode_to_vec());
    street.shops[0].take(&[one.clone(), more], street.now).unwrap().then_some(()).unwrap();
    let (author, now, place) = (street.id(1), street.now, one.header().sequence);
    let tail: Vec<_> = street.shops[1].log(author, place + 1).iter().map(Record::to_message).collect();
    let Street { shops, rng, .. } = &mut street;
    let examined = shops[0].ledger.examine_branch(tail, now, rng).unwrap();
    let hutong_store::ledger::Examined::Earlier(from) = examined else { panic!("{examined:?}") };
    assert!(from <= place + 1, "before the rotation, whose key is known");
    let branch: Vec<_> = shops[1].log(author, place - 1).iter().map(Record::to_message).collect();
    assert!(shops[0].ledger.examine(branch, now, rng).unwrap(), "the fork is proven by the first key");
}
