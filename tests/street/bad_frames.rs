//! A member that breaks the peer protocol: its link is closed with a reason, nothing of it is kept, and the node goes on.

use hutong_record::{
    AllianceId, Audience, Draft, Payload, Record, RecordId, ShopId, SigningKey, UnixMillis, proto as record,
    sign,
};
use hutong_sync::{Frame, GoodbyeReason};
use hutong_wire::{frame::to_wire, peer::v1 as wire};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tonic::{Code, transport::Channel};

use crate::{
    harness::{Shop, Street, converged},
    peer::{Speaker, dial, hello, pushed},
};

/// A node, and one of its members whose own node is down while a program speaks with its key.
struct Scene {
    _street: Street,
    baozi: Shop,
    member: Shop,
    alliance: AllianceId,
    /// How many records baozi holds, and of the member.
    records: (u64, u64),
}

impl Scene {
    async fn set() -> Self {
        let street = Street::new();
        let (baozi, mut member) = (street.shop("baozi").await, street.shop("member").await);
        let alliance = baozi.found("street").parse().unwrap();
        baozi.admit(&member).await;
        converged(&[&baozi, &member]).await;
        member.stop().await;
        baozi.disconnected(&member).await;
        let records = Self::counts(&baozi, &member).await;
        Self { _street: street, baozi, member, alliance, records }
    }

    async fn counts(baozi: &Shop, member: &Shop) -> (u64, u64) {
        (baozi.digest().await.record_count, baozi.link_to(member).await.record_count)
    }

    async fn channel(&self) -> Channel {
        dial(self.member.secrets().signing, &self.baozi).await.expect("a member")
    }

    /// A link past its greeting.
    async fn link(&self) -> Speaker {
        let mut link = Speaker::open(self.channel().await, Some(hello(self.alliance))).await.expect("a link");
        assert!(matches!(link.hear().await, Some(Frame::Hello { .. })));
        link
    }

    /// Says something wrong; the link must be closed for that reason.
    async fn closes(&self, wrong: Option<wire::Frame>, expected: GoodbyeReason) {
        let link = self.link().await;
        let said = format!("{wrong:?}");
        link.say(wrong).await;
        let heard = link.hear_out().await;
        let reason = heard.iter().find_map(|frame| match frame {
            Frame::Goodbye { reason, .. } => Some(*reason),
            _ => None,
        });
        assert_eq!(reason, Some(expected), "{said} is answered with {heard:?}");
    }

    /// Nothing was kept, and the real member still gets on with the node.
    async fn unharmed(mut self) {
        assert_eq!(Self::counts(&self.baozi, &self.member).await, self.records);
        self.baozi.cli(&["sale", "report", "--amount", "1.00"]);
        self.member.serve().await;
        converged(&[&self.baozi, &self.member]).await;
    }

    /// A record that would come next in the member's log, if it named the right one before it.
    fn draft(&self) -> Draft {
        let me = self.member.secrets().identity.id();
        Draft {
            alliance: self.alliance,
            shop: me,
            key_epoch: 0,
            incarnation: 0,
            sequence: self.records.1 + 1,
            previous: Some(RecordId::new([1; 32])),
            time: hutong_node::clock::now(),
            kind: record::Kind::Profile,
            audience: Audience::Alliance,
        }
    }
}

fn signed(draft: Draft, key: &SigningKey) -> Record {
    let payload = Payload::clear(b"", &mut StdRng::seed_from_u64(1)).expect("it is short");
    sign(draft, payload, key)
}

/// The member's last record, as the node itself hands it out.
async fn last_record(scene: &Scene) -> RecordId {
    let mut link = scene.link().await;
    let shop = scene.member.secrets().identity.id();
    let want = Frame::Want { shop, from_sequence: scene.records.1, body_bytes_max: 65_536 };
    link.say(Some(to_wire(want))).await;
    loop {
        if let Frame::Records { runs, pushed: false, .. } = link.hear().await.expect("records") {
            let last = runs.into_iter().flatten().next_back().expect("one record");
            return Record::parse(last).expect("sound").id();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_begins_with_hello() {
    let scene = Scene::set().await;
    let have = to_wire(Frame::Have { heads: Vec::new() });
    let mut wrong_length = hello(scene.alliance);
    if let Some(wire::frame::Frame::Hello(hello)) = &mut wrong_length.frame {
        hello.alliance_id = vec![1, 2, 3].into();
    }
    for first in [None, Some(wire::Frame { frame: None }), Some(have), Some(wrong_length)] {
        let told = format!("{first:?}");
        let refused = Speaker::open(scene.channel().await, first).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{told}");
        let error = hutong_client::Error::from(refused);
        assert_eq!(error.reason(), Some("FIELD_INVALID"), "{told}");
    }
    scene.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_breaks_the_order_of_frames_is_sent_away() {
    let scene = Scene::set().await;
    let protocol = GoodbyeReason::Protocol;
    let me = scene.member.secrets().identity.id();
    scene.closes(Some(hello(scene.alliance)), protocol).await;
    scene.closes(None, protocol).await;
    let want =
        |from_sequence, body_bytes_max| to_wire(Frame::Want { shop: me, from_sequence, body_bytes_max });
    for (from_sequence, body_bytes_max) in [(0, 100), (1, 0), (1, u32::MAX)] {
        scene.closes(Some(want(from_sequence, body_bytes_max)), protocol).await;
    }
    // A frame of a newer protocol is passed over: the link lives, and what comes after it is heard.
    let link = scene.link().await;
    link.say(Some(wire::Frame { frame: None })).await;
    link.say(Some(want(0, 100))).await;
    let heard = link.hear_out().await;
    assert!(heard.iter().any(|frame| matches!(frame, Frame::Goodbye { .. })), "{heard:?}");
    scene.closes(Some(to_wire(Frame::Records { shop: me, runs: Vec::new(), pushed: false })), protocol).await;
    scene.closes(Some(to_wire(Frame::Records { shop: me, runs: Vec::new(), pushed: true })), protocol).await;
    let short = wire::Want { shop_id: vec![1].into(), from_sequence: 1, body_bytes_max: 1 };
    scene.closes(Some(wire::Frame { frame: Some(wire::frame::Frame::Want(short)) }), protocol).await;
    scene.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_its_author_did_not_sign_is_refused() {
    let scene = Scene::set().await;
    let me = scene.member.secrets().identity.id();
    let draft = Draft { previous: Some(last_record(&scene).await), ..scene.draft() };
    let stranger = SigningKey::from_seed(&[3; 32]);
    let forged = signed(draft.clone(), &stranger).to_message();
    scene.closes(Some(pushed(me, vec![forged])), GoodbyeReason::Record).await;
    let sound = signed(draft, &scene.member.secrets().signing).to_message();
    for byte in [0, 31, 63] {
        let mut signature = sound.signature.to_vec();
        signature[byte] ^= 1;
        let broken = record::Record { signature: signature.into(), ..sound.clone() };
        scene.closes(Some(pushed(me, vec![broken])), GoodbyeReason::Record).await;
    }
    let unsigned = record::Record { signature: Vec::new().into(), ..sound.clone() };
    scene.closes(Some(pushed(me, vec![unsigned])), GoodbyeReason::Record).await;
    let other_payload = record::Record { payload: vec![9; sound.payload.len()].into(), ..sound };
    scene.closes(Some(pushed(me, vec![other_payload])), GoodbyeReason::Record).await;
    scene.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_another_alliance_or_log_are_refused() {
    let scene = Scene::set().await;
    let key = scene.member.secrets().signing;
    let me = scene.member.secrets().identity.id();
    let foreign = Draft { alliance: AllianceId::new([5; 32]), ..scene.draft() };
    scene.closes(Some(pushed(me, vec![signed(foreign, &key).to_message()])), GoodbyeReason::Protocol).await;
    let other_log = Draft { shop: ShopId::new([6; 32]), ..scene.draft() };
    scene.closes(Some(pushed(me, vec![signed(other_log, &key).to_message()])), GoodbyeReason::Protocol).await;
    scene.unharmed().await;
}

/// What is not refused for its form may still not count: a shop that nobody admitted, a place that leaves a gap, a time
/// far ahead. The link stays, for the sender may only be further on than we are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_do_not_count_yet_are_not_kept() {
    let scene = Scene::set().await;
    let stranger = SigningKey::from_seed(&[4; 32]);
    let unknown = ShopId::new([4; 32]);
    let first = Draft { shop: unknown, sequence: 1, previous: None, ..scene.draft() };
    let key = scene.member.secrets().signing;
    let me = scene.member.secrets().identity.id();
    let gap = Draft { sequence: scene.records.1 + 2, ..scene.draft() };
    let ahead = Draft { time: UnixMillis::MAX, previous: Some(last_record(&scene).await), ..scene.draft() };

    let mut link = scene.link().await;
    link.say(Some(pushed(unknown, vec![signed(first, &stranger).to_message()]))).await;
    link.say(Some(pushed(me, vec![signed(gap, &key).to_message()]))).await;
    link.say(Some(pushed(me, vec![signed(ahead, &key).to_message()]))).await;
    let probe = Frame::Want { shop: unknown, from_sequence: 1, body_bytes_max: 100 };
    link.say(Some(to_wire(probe))).await;
    loop {
        match link.hear().await.expect("the link stays") {
            Frame::Records { shop, runs, pushed: false } if shop == unknown => {
                assert!(runs.is_empty(), "{runs:?}");
                break;
            }
            Frame::Goodbye { reason, detail } => panic!("{reason:?}: {detail}"),
            _ => {}
        }
    }
    drop(link);
    scene.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_noise_in_a_record_gets_past_the_door_of_the_journal() {
    let scene = Scene::set().await;
    let me = scene.member.secrets().identity.id();
    let seed = 20_260_501;
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..24 {
        let mut noise = |bytes_max: usize| {
            let mut bytes = vec![0; rng.random_range(0..bytes_max)];
            rng.fill(&mut bytes[..]);
            bytes
        };
        let garbage = record::Record {
            header: noise(1_200).into(),
            signature: noise(80).into(),
            payload: noise(300).into(),
        };
        scene.closes(Some(pushed(me, vec![garbage])), GoodbyeReason::Record).await;
    }
    scene.unharmed().await;
}
