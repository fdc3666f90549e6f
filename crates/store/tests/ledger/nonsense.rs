//! A record with a valid signature and no sense is kept, does not count, and stops nothing.

use hutong_core::{
    alliance::Alliance,
    report,
    voucher::{Token, VoucherBody},
};
use hutong_record::{RecordId, proto, proto::Kind};
use prost::Message;

use crate::{
    street::{DAY_MS, State, Street, draft},
    till::{card, yuan},
};

/// Shop 1 hands out for shop 2, shop 3 pays, shop 0 looks on. One voucher is used, one is out.
struct Scene {
    street: Street,
    promotion: RecordId,
    used: Token,
    out: Token,
}

fn scene() -> Scene {
    let mut street = Street::new(70, 5);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let used = street.sell(1, yuan(20), None).remove(0);
    let out = street.sell(1, yuan(20), Some(card(1))).remove(0);
    street.redeem(2, &used.qr_text(), None).unwrap();
    street.meet();
    Scene { street, promotion, used, out }
}

impl Scene {
    fn states(&self) -> Vec<State> {
        self.street.shops.iter().map(crate::street::Shop::state).collect()
    }

    /// The record changes nothing anywhere, and the author's log goes on after it.
    fn changes_nothing(mut self, what: &str, author: usize, kind: Kind, parties: &[usize], m: &impl Message) {
        let before = self.states();
        let record = self.street.plant(author, kind, parties, m);
        self.street.meet();
        for (shop, before) in self.street.shops.iter().zip(&before) {
            assert_eq!(&shop.state(), before, "{what}");
            let held = shop.ledger.reader().record_id(self.street.id(author), record.header().sequence);
            assert_eq!(held.unwrap(), Some(record.id()), "{what}: it is kept");
        }
        let profile =
            proto::Profile { name: "接着写".into(), category: String::new(), addresses: Vec::new() };
        self.street.plant(author, Kind::Profile, &[], &profile);
        self.street.meet();
        for shop in &self.street.shops {
            let views = shop.ledger.views();
            let read = report::profile(&*views, self.street.id(author)).unwrap();
            assert_eq!(read, Some(profile.clone()), "{what}: the log goes on");
        }
        self.street.check_agreement(what);
    }

    /// A receipt for the voucher that is out, as it should be.
    fn receipt(&mut self) -> proto::Redemption {
        proto::Redemption {
            request: self.street.named_request(),
            token: self.out.bytes().to_vec().into(),
            redeemed_unix_ms: self.street.now.ms(),
            purchase: Some(yuan(40).into()),
            discount: Some(yuan(3).into()),
            card_id: card(1).as_bytes().to_vec().into(),
            credited_id: self.street.bytes(1),
            touched_unix_ms: self.street.now.ms(),
            bounty: Some(yuan(1).into()),
            ..Default::default()
        }
    }

    fn hand_out(&mut self, change: impl FnOnce(&mut VoucherBody), signer: usize) -> proto::VoucherIssue {
        let mut body = self.out.body().clone();
        body.key.number = 3;
        change(&mut body);
        let token = Token::sign(body, &self.street.shops[signer].keys.signing);
        proto::VoucherIssue { request: self.street.named_request(), token: token.bytes().to_vec().into() }
    }
}

#[test]
fn a_receipt_that_is_right_does_count() {
    let mut scene = scene();
    let receipt = scene.receipt();
    scene.street.plant(2, Kind::Redemption, &[1, 2, 3], &receipt);
    scene.street.meet();
    assert_eq!((scene.street.balance(1, 3), scene.street.balance(2, 3)), (200, 600));
}

#[test]
fn a_receipt_that_does_not_fit_the_terms_does_not_count() {
    type Change = (&'static str, fn(&mut proto::Redemption, &Street));
    let changes: [Change; 14] = [
        ("a negative purchase", |r, _| r.purchase.as_mut().unwrap().minor = -4_000),
        ("a negative discount", |r, _| r.discount.as_mut().unwrap().minor = -300),
        ("a negative bounty", |r, _| r.bounty.as_mut().unwrap().minor = -100),
        ("a larger discount", |r, _| r.discount.as_mut().unwrap().minor = 301),
        ("a larger bounty", |r, _| r.bounty.as_mut().unwrap().minor = 101),
        ("a smaller bounty", |r, _| r.bounty.as_mut().unwrap().minor = 99),
        ("no bounty", |r, _| r.bounty = None),
        ("another currency", |r, _| r.bounty.as_mut().unwrap().currency_code = "USD".into()),
        ("a purchase too low", |r, _| r.purchase.as_mut().unwrap().minor = 999),
        ("another card", |r, _| r.card_id = card(2).as_bytes().to_vec().into()),
        ("no card", |r, _| r.card_id = Default::default()),
        ("no request", |r, _| r.request = None),
        ("after its time", |r, s| r.redeemed_unix_ms = s.now.ms() + 10 * DAY_MS),
        ("entered too late", |r, s| r.redeemed_unix_ms = s.now.ms() - 8 * DAY_MS),
    ];
    for (what, change) in changes {
        let mut scene = scene();
        let mut receipt = scene.receipt();
        change(&mut receipt, &scene.street);
        scene.changes_nothing(what, 2, Kind::Redemption, &[1, 2, 3], &receipt);
    }
}

#[test]
fn a_receipt_credited_to_the_redeemer_does_not_count() {
    let mut scene = scene();
    let receipt = proto::Redemption { credited_id: scene.street.bytes(2), ..scene.receipt() };
    scene.changes_nothing("credited to oneself", 2, Kind::Redemption, &[1, 2, 3], &receipt);
}

#[test]
fn a_receipt_by_another_shop_or_to_other_parties_does_not_count() {
    for (what, author, parties) in [
        ("the funder redeems", 3, &[1, 2, 3][..]),
        ("the distributor redeems", 1, &[1, 2, 3]),
        ("the funder is left out", 2, &[1, 2]),
        ("a stranger reads it", 2, &[0, 1, 2, 3]),
        ("everybody reads it", 2, &[]),
        ("only its author reads it", 2, &[2]),
    ] {
        let mut scene = scene();
        let receipt = scene.receipt();
        scene.changes_nothing(what, author, Kind::Redemption, parties, &receipt);
    }
}

#[test]
fn a_voucher_used_twice_by_its_redeemers_own_hand_counts_once_on_every_node() {
    let mut scene = scene();
    for _ in 0..2 {
        let receipt = proto::Redemption {
            token: scene.used.bytes().to_vec().into(),
            card_id: Default::default(),
            ..scene.receipt()
        };
        scene.street.plant(2, Kind::Redemption, &[1, 2, 3], &receipt);
    }
    scene.street.meet();
    scene.street.check_agreement("used three times");
    assert_eq!((scene.street.balance(1, 3), scene.street.balance(2, 3)), (100, 300));
    for (shop, state) in scene.states().iter().enumerate() {
        let party = [1, 2, 3].contains(&shop);
        assert_eq!(state.summary.double_redemptions, if party { 2 } else { 0 }, "shop {shop}");
        assert!(state.summary.redemptions <= 1);
    }
}

#[test]
fn a_forged_or_overdrawn_hand_out_does_not_count() {
    let mut over = scene();
    let message = over.hand_out(|body| body.key.number = 51, 1);
    over.changes_nothing("a number over the quota", 1, Kind::VoucherIssue, &[1, 2, 3], &message);
    let mut zero = scene();
    let message = zero.hand_out(|body| body.key.number = 0, 1);
    zero.changes_nothing("number zero", 1, Kind::VoucherIssue, &[1, 2, 3], &message);
    let mut twice = scene();
    let message = twice.hand_out(|body| body.key.number = 2, 1);
    twice.changes_nothing("a second voucher under one number", 1, Kind::VoucherIssue, &[1, 2, 3], &message);
    let mut forged = scene();
    let message = forged.hand_out(|_| {}, 4);
    forged.changes_nothing("signed by a stranger", 1, Kind::VoucherIssue, &[1, 2, 3], &message);
    let mut foreign = scene();
    let message = foreign.hand_out(|_| {}, 1);
    foreign.changes_nothing("handed out by another", 4, Kind::VoucherIssue, &[2, 3, 4], &message);
    let mut index = scene();
    let message = index.hand_out(|body| body.key.distributor = 1, 1);
    index.changes_nothing("a distributor that is none", 1, Kind::VoucherIssue, &[1, 2, 3], &message);
    let mut long = scene();
    let message = long.hand_out(|body| body.expires = body.expires.saturating_add_ms(1), 1);
    long.changes_nothing("good for longer", 1, Kind::VoucherIssue, &[1, 2, 3], &message);
    let mut early = scene();
    let message = early.hand_out(|body| body.issued = body.issued.saturating_add_ms(-2 * DAY_MS), 1);
    early.changes_nothing("before the hand-out began", 1, Kind::VoucherIssue, &[1, 2, 3], &message);
}

#[test]
fn a_void_of_what_is_not_there_or_anothers_does_not_count() {
    let void = |scene: &mut Scene, id: RecordId| proto::RedemptionVoid {
        request: scene.street.named_request(),
        redemption_id: id.as_bytes().to_vec().into(),
        voided_unix_ms: scene.street.now.ms(),
        ..Default::default()
    };
    let mut unknown = scene();
    let message = void(&mut unknown, RecordId::new([1; 32]));
    unknown.changes_nothing("an unknown redemption", 2, Kind::RedemptionVoid, &[1, 2, 3], &message);
    for author in [1, 3] {
        let mut another = scene();
        let views = another.street.shops[2].ledger.views();
        let used =
            report::voucher(&*views, &another.used.body().key).unwrap().unwrap().last_use().unwrap().clone();
        let message = void(&mut another, used.id);
        another.changes_nothing("voided by another", author, Kind::RedemptionVoid, &[1, 2, 3], &message);
    }
}

#[test]
fn other_records_out_of_bounds_do_not_count() {
    let mut sale = scene();
    let message = proto::Sale {
        request: sale.street.named_request(),
        sold_unix_ms: sale.street.now.ms(),
        amount: Some(proto::Money { currency_code: "CNY".into(), minor: -500 }),
        ..Default::default()
    };
    sale.changes_nothing("a negative sale", 1, Kind::Sale, &[1], &message);
    let mut touch = scene();
    let message = proto::Touch {
        request: touch.street.named_request(),
        kind: 2,
        to_shop_id: touch.street.bytes(1),
        card_id: card(1).as_bytes().to_vec().into(),
        touched_unix_ms: touch.street.now.ms(),
        channel: String::new(),
    };
    touch.changes_nothing("a touch to oneself", 1, Kind::Touch, &[1], &message);
    let ended = scene();
    let message = proto::PromotionEnd { promotion_id: ended.promotion.as_bytes().to_vec().into() };
    ended.changes_nothing("ended by another", 1, Kind::PromotionEnd, &[], &message);
    let cheap = scene();
    let terms = proto::Promotion { budget: None, ..cheap.street.terms(&[1], 2) };
    cheap.changes_nothing("a promotion without a budget", 3, Kind::Promotion, &[], &terms);
    let sealed = scene();
    let terms = sealed.street.terms(&[1], 2);
    sealed.changes_nothing("a promotion for some", 3, Kind::Promotion, &[1, 2, 3], &terms);
    let vote = proto::Vote { motion: vec![0xff; 3].into(), ..Default::default() };
    scene().changes_nothing("a vote for nonsense", 0, Kind::Vote, &[], &vote);
    scene().changes_nothing("a proof of nothing", 1, Kind::ForkProof, &[], &proto::ForkProof::default());
    scene().changes_nothing("another charter", 1, Kind::Charter, &[], &proto::Charter::default());
    scene().changes_nothing("an empty receipt", 2, Kind::Redemption, &[2], &proto::Redemption::default());
}

#[test]
fn a_vote_of_a_shop_that_has_none_changes_nobodys_standing() {
    let mut scene = scene();
    let before = scene.states();
    let removal = proto::Removal { shop_id: scene.street.bytes(0), last_sequence: 0, reason: String::new() };
    let motion =
        proto::Motion { motion: Some(proto::motion::Motion::Removal(removal)), round: 0 }.encode_to_vec();
    scene.street.plant(1, Kind::Vote, &[], &proto::Vote { motion: motion.into(), ..Default::default() });
    scene.street.meet();
    for (after, before) in scene.states().iter().zip(&before) {
        assert_eq!(after.roster, before.roster);
    }
    scene.street.check_agreement("a vote without a voice");
    let views = scene.street.shops[0].ledger.views();
    assert_ne!(Alliance::public_digest(&*views).unwrap(), before[0].public, "it is on record all the same");
}

#[test]
fn a_receipt_that_credits_a_shop_outside_the_window_does_not_count() {
    let mut scene = scene();
    let receipt = scene.receipt();
    let long_ago = scene.street.now.ms() - 400 * DAY_MS;
    let receipt = proto::Redemption { touched_unix_ms: long_ago, ..receipt };
    scene.changes_nothing("a touch of last year", 2, Kind::Redemption, &[1, 2, 3], &receipt);
}

/// Views hold values up to a bound below that of payloads: what a member pads must not stop the others.
#[test]
fn a_public_message_padded_to_the_largest_payload_stops_nobody() {
    let mut padded = proto::Profile { name: "满".into(), ..Default::default() }.encode_to_vec();
    // Field 99, length-delimited, unknown to this version; a tag of two bytes and a length of three.
    let most = hutong_record::PAYLOAD_BYTES_MAX - hutong_record::SALT_BYTES;
    let filling = vec![b'x'; most - padded.len() - 5];
    prost::encoding::bytes::encode(99, &filling, &mut padded);
    assert_eq!(padded.len(), most);
    assert!(proto::Profile::decode(padded.as_slice()).is_ok());
    let mut street = Street::new(71, 3);
    let head =
        street.craft(1, Kind::Profile, &[], &proto::Profile { name: "乙".into(), ..Default::default() });
    let record = street.sign(1, draft(&head), &padded);
    let now = street.now;
    for shop in [0, 1, 2] {
        assert_eq!(street.shops[shop].take(std::slice::from_ref(&record), now), Ok(true));
        let views = street.shops[shop].ledger.views();
        let read = report::profile(&*views, street.id(1)).unwrap();
        assert!(read.is_none_or(|profile| profile.name != "满"));
    }
    street.check_agreement("padded");
}
