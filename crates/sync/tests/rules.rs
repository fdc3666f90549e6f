//! Single rules, one replica against scripted peers.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod net;

use std::collections::BTreeMap;

use hutong_record::{AllianceId, Record, ShopId, UnixMillis, proto};
use hutong_sync::{
    ClosedBy, Frame, FrontierDigest, GoodbyeReason, IngestOutcome, LinkId, Output, PeerHead, RawRun,
    ReadPurpose, Refusal, Replica, Side, frontier_digest,
    limits::{
        ALARM_BYTES_MAX, ANSWER_LIMIT_MS, HAVE_INTERVAL_MS, HEADS_PER_FRAME_MAX, HELD_BACK_MS_MAX, LOGS_MAX,
        RETRY_MS, WANT_BYTES, WANT_LIMIT_MS, WANT_TIMEOUT_MS, WANTS_PER_LINK_MAX,
    },
};
use net::{
    ALLIANCE,
    node::{chain, head_of, heads_of, read, shop_of},
};

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);

fn at(ms: i64) -> UnixMillis {
    UnixMillis::new(1_000_000 + ms).unwrap()
}

fn drain(replica: &mut Replica) -> Vec<Output> {
    std::iter::from_fn(|| replica.next_output()).collect()
}

fn sent(outputs: &[Output]) -> Vec<(LinkId, Frame)> {
    let frame = |output: &Output| match output {
        Output::Send { link, frame } => Some((*link, frame.clone())),
        _ => None,
    };
    outputs.iter().filter_map(frame).collect()
}

fn hello(digest: u8) -> Frame {
    Frame::Hello { versions: vec![1], alliance: ALLIANCE, digest: FrontierDigest::new([digest; 32]) }
}

fn peer_head(shop: ShopId, log: &[Record]) -> PeerHead {
    let head = head_of(log).unwrap();
    PeerHead { shop, sequence: head.sequence, head_prefix: head.prefix(), incarnation: head.incarnation }
}

fn claim(shop: ShopId, sequence: u64) -> PeerHead {
    PeerHead { shop, sequence, head_prefix: [3; 8], incarnation: 0 }
}

fn sorted(mut heads: Vec<PeerHead>) -> Vec<PeerHead> {
    heads.sort_unstable_by_key(|head| head.shop);
    heads
}

fn want(shop: ShopId, from_sequence: u64) -> Frame {
    Frame::Want { shop, from_sequence, body_bytes_max: WANT_BYTES }
}

fn records(shop: ShopId, runs: Vec<RawRun>, pushed: bool) -> Frame {
    Frame::Records { shop, runs, pushed }
}

/// Node 0 with shops 0 to 19 as members, a link to node 1 that said Hello and nothing more.
fn greeted() -> Replica {
    let mut replica = Replica::new(ALLIANCE, shop_of(0), BTreeMap::new());
    replica.members_changed((0..20).map(shop_of), at(0));
    greet(&mut replica, A, 1);
    replica
}

fn greet(replica: &mut Replica, link: LinkId, peer: usize) {
    replica.link_up(link, shop_of(peer), Side::Dialled, at(0));
    replica.frame_received(link, hello(1), at(0));
    drain(replica);
}

fn list(replica: &mut Replica, link: LinkId, heads: Vec<PeerHead>) -> Vec<Output> {
    replica.frame_received(link, Frame::Frontier { heads: sorted(heads), complete: true }, at(0));
    drain(replica)
}

fn assert_closed(outputs: &[Output], reason: GoodbyeReason) {
    let closed = Output::Close { link: A, reason, by: ClosedBy::Us };
    assert_eq!(outputs.last(), Some(&closed), "{outputs:?}");
    let said = sent(outputs);
    assert!(
        matches!(said.last(), Some((A, Frame::Goodbye { reason: r, detail })) if *r == reason && detail.len() <= 200)
    );
}

#[test]
fn frames_that_the_protocol_forbids_close_the_link() {
    let many = |count: usize| sorted((0..count).map(|n| claim(shop_of(n), 1)).collect());
    let shop = shop_of(1);
    let log = chain(shop, 3, 10, 1);
    let run = |sequences: &[usize]| sequences.iter().map(|n| log[n - 1].to_message()).collect::<RawRun>();
    let big = proto::Record { payload: vec![0; 2_000_000].into(), ..Default::default() };
    let mut descending = many(3);
    descending.reverse();
    let bad_want = |from_sequence, body_bytes_max| Frame::Want { shop, from_sequence, body_bytes_max };
    let cases = [
        hello(2),
        Frame::Frontier { heads: descending.clone(), complete: true },
        Frame::Frontier { heads: vec![], complete: false },
        Frame::Have { heads: descending },
        Frame::Have { heads: many(HEADS_PER_FRAME_MAX + 1) },
        bad_want(0, 1),
        bad_want(1, 0),
        bad_want(1, 1_048_577),
        records(shop, vec![], false),
        records(shop, vec![run(&[1])], false),
        records(shop, vec![], true),
        records(shop, vec![vec![]], true),
        records(shop, vec![vec![big]], true),
        records(shop, vec![vec![proto::Record::default(); 257]], true),
        records(shop, vec![run(&[1, 3])], true),
        records(shop_of(2), vec![run(&[1])], true),
    ];
    for frame in cases {
        let mut replica = greeted();
        replica.frame_received(A, frame.clone(), at(0));
        assert_closed(&drain(&mut replica), GoodbyeReason::Protocol);
        assert!(replica.link_status(A).is_none(), "{frame:?}");
        replica.frame_received(A, frame, at(0));
        assert_eq!(drain(&mut replica), [], "frames on their way when the link was closed are ignored");
    }
}

#[test]
fn nothing_goes_before_hello() {
    let cases = [
        Frame::Have { heads: vec![] },
        Frame::Frontier { heads: vec![], complete: true },
        want(shop_of(1), 1),
        records(shop_of(1), vec![], false),
    ];
    for frame in cases {
        let mut replica = Replica::new(ALLIANCE, shop_of(0), BTreeMap::new());
        replica.link_up(A, shop_of(1), Side::Dialled, at(0));
        drain(&mut replica);
        replica.frame_received(A, frame, at(0));
        assert_closed(&drain(&mut replica), GoodbyeReason::Protocol);
    }
}

#[test]
fn versions_and_alliances_must_agree() {
    let digest = FrontierDigest::new([1; 32]);
    let other = AllianceId::new([8; 32]);
    let cases = [
        (vec![3, 4], ALLIANCE, Some(GoodbyeReason::Version)),
        (vec![1], other, Some(GoodbyeReason::Membership)),
        (vec![], ALLIANCE, Some(GoodbyeReason::Protocol)),
        (vec![2, 1], ALLIANCE, Some(GoodbyeReason::Protocol)),
        ((1..=17).collect(), ALLIANCE, Some(GoodbyeReason::Protocol)),
        (vec![1, 3], ALLIANCE, None),
    ];
    for (versions, alliance, refused) in cases {
        let mut replica = Replica::new(ALLIANCE, shop_of(0), BTreeMap::new());
        replica.link_up(A, shop_of(1), Side::Dialled, at(0));
        drain(&mut replica);
        replica.frame_received(A, Frame::Hello { versions, alliance, digest }, at(0));
        let outputs = drain(&mut replica);
        match refused {
            Some(reason) => assert_closed(&outputs, reason),
            None => assert!(matches!(sent(&outputs)[..], [(A, Frame::Frontier { complete: true, .. })])),
        }
    }
}

#[test]
fn a_goodbye_closes_and_a_newer_link_of_a_pair_replaces_the_older() {
    let mut replica = greeted();
    replica.frame_received(
        A,
        Frame::Goodbye { reason: GoodbyeReason::Shutdown, detail: String::new() },
        at(0),
    );
    let closed = Output::Close { link: A, reason: GoodbyeReason::Shutdown, by: ClosedBy::Peer };
    assert_eq!(drain(&mut replica), [closed]);
    let mut replica = greeted();
    replica.link_up(B, shop_of(1), Side::Dialled, at(0));
    let outputs = drain(&mut replica);
    assert!(outputs.contains(&Output::Close { link: A, reason: GoodbyeReason::Replaced, by: ClosedBy::Us }));
    assert!(matches!(sent(&outputs).last(), Some((B, Frame::Hello { .. }))));
}

#[test]
fn what_a_peer_claims_is_remembered_up_to_a_bound() {
    let mut replica = greeted();
    let mut shops: Vec<_> = (0..=LOGS_MAX).map(|n| claim(shop_of(n), 1)).collect();
    shops.sort_unstable_by_key(|head| head.shop);
    for chunk in shops[..LOGS_MAX].chunks(HEADS_PER_FRAME_MAX) {
        replica.frame_received(A, Frame::Frontier { heads: chunk.to_vec(), complete: false }, at(0));
    }
    assert_eq!(replica.usage().logs_per_link, LOGS_MAX);
    drain(&mut replica);
    replica.frame_received(A, Frame::Frontier { heads: shops[LOGS_MAX..].to_vec(), complete: true }, at(0));
    assert_closed(&drain(&mut replica), GoodbyeReason::Protocol);
}

#[test]
fn a_long_frontier_goes_out_in_chunks() {
    let log = chain(shop_of(1), 1, 10, 1);
    let heads = (0..LOGS_MAX + 9).map(|n| (shop_of(n), head_of(&log).unwrap())).collect();
    let mut replica = Replica::new(ALLIANCE, shop_of(0), heads);
    replica.link_up(A, shop_of(1), Side::Dialled, at(0));
    drain(&mut replica);
    replica.frame_received(A, hello(1), at(0));
    let chunks = sent(&drain(&mut replica));
    let sizes: Vec<_> = chunks
        .iter()
        .map(|(_, frame)| match frame {
            Frame::Frontier { heads, complete } => (heads.len(), *complete),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [(HEADS_PER_FRAME_MAX, false), (LOGS_MAX - HEADS_PER_FRAME_MAX, true)]);
}

#[test]
fn one_want_a_log_and_few_a_link() {
    let mut replica = greeted();
    greet(&mut replica, B, 2);
    let claims = || (1..20).map(|n| claim(shop_of(n), 5)).collect();
    let mut asked = sent(&list(&mut replica, A, claims()));
    assert_eq!(asked.len(), WANTS_PER_LINK_MAX);
    asked.extend(sent(&list(&mut replica, B, claims())));
    assert_eq!(asked.iter().filter(|(link, _)| *link == B).count(), WANTS_PER_LINK_MAX);
    let mut shops: Vec<_> = asked.iter().map(|(_, frame)| format!("{frame:?}")).collect();
    shops.sort_unstable();
    shops.dedup();
    assert_eq!(shops.len(), 2 * WANTS_PER_LINK_MAX, "no log is asked for twice");
}

#[test]
fn an_unanswered_want_is_asked_elsewhere_and_a_late_answer_is_used() {
    let mut replica = greeted();
    greet(&mut replica, B, 2);
    let shop = shop_of(5);
    let log = chain(shop, 5, 10, 1);
    assert_eq!(sent(&list(&mut replica, A, vec![peer_head(shop, &log)])), [(A, want(shop, 1))]);
    assert_eq!(list(&mut replica, B, vec![peer_head(shop, &log)]), []);
    assert_eq!(replica.next_wakeup(), Some(at(WANT_TIMEOUT_MS)));
    replica.tick(at(WANT_TIMEOUT_MS - 1));
    assert_eq!(drain(&mut replica), []);
    replica.tick(at(WANT_TIMEOUT_MS));
    assert_eq!(sent(&drain(&mut replica)), [(B, want(shop, 1))]);
    assert!(replica.link_status(A).unwrap().slow);
    replica.frame_received(A, records(shop, read(&log, 1, 1), false), at(WANT_TIMEOUT_MS + 1));
    assert!(matches!(drain(&mut replica)[..], [Output::Ingest { link: A, .. }]));
    replica.frame_received(B, records(shop, read(&log, 1, 1), false), at(WANT_TIMEOUT_MS + 2));
    assert_eq!(drain(&mut replica), [], "what is on its way to the ladder is not sent there again");
}

#[test]
fn a_link_that_never_answers_is_closed_in_the_end() {
    let mut replica = greeted();
    list(&mut replica, A, vec![claim(shop_of(5), 5)]);
    replica.tick(at(WANT_TIMEOUT_MS));
    replica.tick(at(WANT_TIMEOUT_MS + ANSWER_LIMIT_MS - 1));
    assert_eq!(drain(&mut replica), [], "no other link has it, and this one is asked once");
    replica.tick(at(WANT_TIMEOUT_MS + ANSWER_LIMIT_MS));
    assert_closed(&drain(&mut replica), GoodbyeReason::Protocol);
}

#[test]
fn a_slow_line_that_answers_something_keeps_its_wants_for_a_while() {
    let mut replica = greeted();
    greet(&mut replica, B, 2);
    let (slow, quick) = (shop_of(5), shop_of(6));
    list(&mut replica, A, vec![claim(slow, 5), claim(quick, 999)]);
    list(&mut replica, B, vec![claim(slow, 5)]);
    let mut ms = 0;
    while ms + 8_000 < WANT_LIMIT_MS {
        ms += 8_000;
        replica.frame_received(A, records(quick, vec![], false), at(ms));
        replica.frame_received(A, Frame::Have { heads: vec![claim(quick, 999 + ms as u64)] }, at(ms));
        replica.tick(at(ms));
        assert!(!sent(&drain(&mut replica)).contains(&(B, want(slow, 1))));
    }
    replica.tick(at(WANT_LIMIT_MS));
    assert!(sent(&drain(&mut replica)).contains(&(B, want(slow, 1))));
}

#[test]
fn a_clock_that_is_set_back_asks_once_more() {
    let mut replica = greeted();
    greet(&mut replica, B, 2);
    list(&mut replica, A, vec![claim(shop_of(5), 5)]);
    list(&mut replica, B, vec![claim(shop_of(5), 5)]);
    replica.tick(UnixMillis::EPOCH);
    assert_eq!(sent(&drain(&mut replica)), [(B, want(shop_of(5), 1))]);
    replica.tick(UnixMillis::EPOCH);
    assert_eq!(drain(&mut replica), []);
}

#[test]
fn a_broken_promise_is_not_believed_until_the_peer_has_grown() {
    let mut replica = greeted();
    let shop = shop_of(5);
    list(&mut replica, A, vec![claim(shop, 5)]);
    replica.frame_received(A, records(shop, vec![], false), at(1));
    replica.frame_received(A, Frame::Have { heads: vec![claim(shop, 5)] }, at(2));
    assert_eq!(drain(&mut replica), []);
    replica.frame_received(A, Frame::Have { heads: vec![claim(shop, 6)] }, at(3));
    assert_eq!(sent(&drain(&mut replica)), [(A, want(shop, 1))]);
    assert_eq!(replica.link_status(A).unwrap().broken_promises, 1);
}

#[test]
fn a_lost_link_s_wants_go_to_another() {
    let mut replica = greeted();
    greet(&mut replica, B, 2);
    list(&mut replica, A, vec![claim(shop_of(5), 5)]);
    list(&mut replica, B, vec![claim(shop_of(5), 5)]);
    replica.link_down(A, at(1));
    assert_eq!(sent(&drain(&mut replica)), [(B, want(shop_of(5), 1))]);
}

#[test]
fn a_peer_is_served_within_its_credit() {
    let log = chain(shop_of(3), 5, 10, 1);
    let heads: BTreeMap<_, _> = (1..20).map(|n| (shop_of(n), head_of(&log).unwrap())).collect();
    let mut replica = Replica::new(ALLIANCE, shop_of(0), heads);
    greet(&mut replica, A, 1);
    replica.frame_received(A, want(shop_of(3), 6), at(0));
    assert_eq!(
        sent(&drain(&mut replica)),
        [(A, records(shop_of(3), vec![], false))],
        "past the head: nothing"
    );
    for n in 1..=WANTS_PER_LINK_MAX {
        replica.frame_received(A, want(shop_of(n), 2), at(0));
        let outputs = drain(&mut replica);
        let [Output::Read(request)] = outputs[..] else { panic!("{outputs:?}") };
        assert_eq!((request.from_sequence, request.purpose), (2, ReadPurpose::Answer));
    }
    replica.frame_received(A, want(shop_of(15), 2), at(0));
    assert_closed(&drain(&mut replica), GoodbyeReason::Protocol);
}

#[test]
fn refusals_close_hold_back_or_block() {
    let shop = shop_of(5);
    let log = chain(shop, 5, 10, 1);
    let ingesting = || {
        let mut replica = greeted();
        list(&mut replica, A, vec![peer_head(shop, &log)]);
        replica.frame_received(A, records(shop, read(&log, 1, 1), false), at(0));
        assert!(matches!(drain(&mut replica)[..], [Output::Ingest { link: A, .. }]));
        replica
    };
    let mut replica = ingesting();
    replica.ingested(A, shop, IngestOutcome::Refused(Refusal::Faulty), at(0));
    assert_closed(&drain(&mut replica), GoodbyeReason::Record);

    let mut replica = ingesting();
    replica.ingested(A, shop, IngestOutcome::Refused(Refusal::Later), at(0));
    assert_eq!(drain(&mut replica), []);
    assert_eq!(replica.next_wakeup(), Some(at(RETRY_MS)));
    replica.tick(at(RETRY_MS));
    assert_eq!(sent(&drain(&mut replica)), [(A, want(shop, 1))]);

    let mut replica = ingesting();
    replica.ingested(A, shop, IngestOutcome::Refused(Refusal::NotBefore(at(5 * RETRY_MS))), at(0));
    replica.tick(at(RETRY_MS));
    assert_eq!((drain(&mut replica), replica.next_wakeup()), (vec![], Some(at(5 * RETRY_MS))));
    replica.tick(at(5 * RETRY_MS));
    assert_eq!(sent(&drain(&mut replica)), [(A, want(shop, 1))]);
    let a_day_ahead = IngestOutcome::Refused(Refusal::NotBefore(at(24 * 3_600_000)));
    replica.frame_received(A, records(shop, read(&log, 1, 1), false), at(5 * RETRY_MS));
    drain(&mut replica);
    replica.ingested(A, shop, a_day_ahead, at(5 * RETRY_MS));
    assert_eq!(
        replica.next_wakeup(),
        Some(at(5 * RETRY_MS + HELD_BACK_MS_MAX)),
        "it may be replaced meanwhile"
    );

    let mut replica = ingesting();
    replica.ingested(A, shop, IngestOutcome::Refused(Refusal::Diverged), at(0));
    replica.tick(at(RETRY_MS));
    assert_eq!(drain(&mut replica), []);
    replica.unblock(shop, at(RETRY_MS));
    assert_eq!(sent(&drain(&mut replica)), [(A, want(shop, 1))]);
}

/// A member that sends what must be held back cannot keep this node from asking others.
#[test]
fn what_one_link_sent_is_held_back_from_that_link_alone() {
    let shop = shop_of(5);
    let log = chain(shop, 5, 10, 1);
    let mut replica = greeted();
    list(&mut replica, A, vec![peer_head(shop, &log)]);
    replica.frame_received(A, records(shop, read(&log, 1, 1), false), at(0));
    drain(&mut replica);
    replica.link_up(B, shop_of(2), Side::Dialled, at(0));
    replica.frame_received(B, hello(8), at(0));
    list(&mut replica, B, vec![peer_head(shop, &log)]);
    replica.ingested(A, shop, IngestOutcome::Refused(Refusal::Later), at(0));
    assert!(sent(&drain(&mut replica)).contains(&(B, want(shop, 1))));
}

#[test]
fn pushes_with_a_gap_are_wanted_and_pushes_held_already_are_acknowledged() {
    let shop = shop_of(1);
    let log = chain(shop, 5, 10, 1);
    let push = |sequence: usize| records(shop, vec![vec![log[sequence - 1].to_message()]], true);
    let mut replica = greeted();
    list(&mut replica, A, vec![]);
    replica.frame_received(A, push(3), at(0));
    assert_eq!(sent(&drain(&mut replica)), [(A, want(shop, 1))]);
    replica.frame_received(A, records(shop, read(&log[..3], 1, 1), false), at(0));
    replica.frame_received(A, push(4), at(0));
    let ingests = drain(&mut replica);
    assert!(
        matches!(ingests[..], [Output::Ingest { .. }, Output::Ingest { .. }]),
        "a chain of batches: {ingests:?}"
    );
    for length in [3, 4] {
        replica.ingested(A, shop, IngestOutcome::Accepted(head_of(&log[..length]).unwrap()), at(0));
    }
    let acknowledged = |n: usize| (A, Frame::Have { heads: vec![peer_head(shop, &log[..n])] });
    let mut said = sent(&drain(&mut replica));
    replica.tick(at(HAVE_INTERVAL_MS));
    said.extend(sent(&drain(&mut replica)));
    assert_eq!(said.last(), Some(&acknowledged(4)));
    replica.frame_received(A, push(4), at(100));
    assert_eq!(sent(&drain(&mut replica)), [acknowledged(4)]);
}

/// A want is on its way while pushes bring part of what it asks for.
#[test]
fn an_answer_that_overlaps_a_push_loses_what_is_held_already() {
    let shop = shop_of(1);
    let log = chain(shop, 5, 10, 1);
    let mut replica = greeted();
    list(&mut replica, A, vec![peer_head(shop, &log)]);
    for record in &log[..2] {
        replica.frame_received(A, records(shop, vec![vec![record.to_message()]], true), at(0));
    }
    assert_eq!(drain(&mut replica).len(), 2);
    replica.frame_received(A, records(shop, read(&log, 1, 1), false), at(0));
    let rest = Output::Ingest { link: A, shop, runs: read(&log, 3, 1) };
    assert_eq!(drain(&mut replica), [rest]);
}

#[test]
fn a_peer_with_another_branch_of_our_log_is_not_pushed_to() {
    let me = shop_of(0);
    let (ours, theirs) = (chain(me, 4, 10, 1), chain(me, 3, 10, 2));
    let mut replica = Replica::new(ALLIANCE, me, BTreeMap::from([(me, head_of(&ours[..3]).unwrap())]));
    greet(&mut replica, A, 1);
    assert_eq!(
        list(&mut replica, A, vec![peer_head(me, &theirs)]),
        [Output::Diverged { link: A, shop: me, sequence: 3 }]
    );
    replica.committed([(me, head_of(&ours).unwrap())], at(0));
    assert_eq!(sent(&drain(&mut replica)), [(A, Frame::Have { heads: vec![peer_head(me, &ours)] })]);
}

#[test]
fn what_the_frontier_said_is_not_said_again() {
    let shop = shop_of(5);
    let log = chain(shop, 2, 10, 1);
    let mut replica = Replica::new(ALLIANCE, shop_of(0), BTreeMap::new());
    replica.link_up(A, shop_of(1), Side::Dialled, at(0));
    replica.committed([(shop, head_of(&log).unwrap())], at(0));
    drain(&mut replica);
    replica.frame_received(A, hello(1), at(0));
    assert!(matches!(sent(&drain(&mut replica))[..], [(A, Frame::Frontier { .. })]));
    replica.tick(at(HAVE_INTERVAL_MS));
    assert_eq!(drain(&mut replica), []);
}

#[test]
fn announcements_are_gathered() {
    let mut replica = greeted();
    list(&mut replica, A, vec![]);
    let (one, two) = (shop_of(5), shop_of(6));
    let (log_one, log_two) = (chain(one, 4, 10, 1), chain(two, 1, 10, 1));
    let commit = |replica: &mut Replica, shop, log: &[Record], ms| {
        replica.committed([(shop, head_of(log).unwrap())], at(ms));
        sent(&drain(replica))
    };
    assert_eq!(commit(&mut replica, one, &log_one[..1], 0).len(), 1, "the first goes out at once");
    assert_eq!(commit(&mut replica, one, &log_one[..3], 1), []);
    assert_eq!(commit(&mut replica, one, &log_one, 2), []);
    assert_eq!(commit(&mut replica, two, &log_two, 3), []);
    assert_eq!(replica.next_wakeup(), Some(at(HAVE_INTERVAL_MS)));
    replica.tick(at(HAVE_INTERVAL_MS));
    let heads = sorted(vec![peer_head(one, &log_one), peer_head(two, &log_two)]);
    assert_eq!(sent(&drain(&mut replica)), [(A, Frame::Have { heads })]);
    assert_eq!(replica.next_wakeup(), None);
}

#[test]
fn a_peer_that_has_it_is_told_nothing() {
    let mut replica = greeted();
    let shop = shop_of(5);
    let log = chain(shop, 4, 10, 1);
    list(&mut replica, A, vec![peer_head(shop, &log)]);
    replica.committed([(shop, head_of(&log).unwrap())], at(0));
    assert_eq!(drain(&mut replica), []);
}

/// Each field of a Hello as protobuf would write it, at its longest.
#[test]
fn a_hello_takes_under_200_bytes() {
    let heads = heads_of(&BTreeMap::from([(shop_of(1), chain(shop_of(1), 2, 10, 1))]));
    let mut replica = Replica::new(ALLIANCE, shop_of(0), heads.clone());
    replica.link_up(A, shop_of(1), Side::Dialled, at(0));
    let frames = sent(&drain(&mut replica));
    let [(A, Frame::Hello { versions, alliance, digest })] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(*digest, frontier_digest(&heads));
    let (tag_and_length, message_header) = (2, 3);
    let packed = tag_and_length + 5 * versions.len();
    let fields = packed + 2 * tag_and_length + alliance.as_bytes().len() + digest.as_bytes().len();
    assert!(5 + fields + 2 * message_header < 200, "with gRPC's five bytes of framing");
}

fn alarm(shop: ShopId, sequence: u64, text: &'static [u8]) -> Frame {
    Frame::Alarm { shop, sequence, proof: bytes::Bytes::from_static(text) }
}

#[test]
fn a_proof_goes_ahead_of_records_to_every_link_once() {
    let mut replica = greeted();
    let (forked, proof) = (shop_of(7), bytes::Bytes::from_static(b"proof"));
    replica.proven(forked, 9, proof.clone());
    assert_eq!(sent(&drain(&mut replica)), [(A, alarm(forked, 9, b"proof"))]);
    replica.proven(forked, 9, proof.clone());
    replica.proven(forked, 10, proof);
    assert_eq!(drain(&mut replica), [], "known, and the earlier place counts");
    // A later link hears of it before it hears of records.
    replica.link_up(B, shop_of(2), Side::Dialled, at(0));
    replica.frame_received(B, hello(1), at(0));
    let said = sent(&drain(&mut replica));
    assert_eq!(said[1], (B, alarm(forked, 9, b"proof")));
    assert!(matches!(said[2], (B, Frame::Frontier { .. })));
    // An earlier place is news.
    replica.proven(forked, 4, bytes::Bytes::from_static(b"earlier"));
    assert_eq!(sent(&drain(&mut replica)).len(), 2);
}

#[test]
fn an_alarm_is_handed_over_once_and_never_sent_back() {
    let mut replica = greeted();
    let forked = shop_of(7);
    replica.frame_received(A, alarm(forked, 9, b"proof"), at(0));
    let proof = bytes::Bytes::from_static(b"proof");
    assert_eq!(drain(&mut replica), [Output::Alarm { link: A, proof: proof.clone() }]);
    replica.frame_received(A, alarm(forked, 9, b"proof"), at(0));
    replica.frame_received(A, alarm(forked, 12, b"later"), at(0));
    assert_eq!(drain(&mut replica), [], "told before");
    replica.proven(forked, 9, proof);
    assert_eq!(drain(&mut replica), [], "it knows");
    replica.disproved(A);
    assert_closed(&drain(&mut replica), GoodbyeReason::Record);
}

#[test]
fn alarms_are_bounded() {
    let mut replica = greeted();
    let long = Frame::Alarm { shop: shop_of(1), sequence: 1, proof: vec![0; ALARM_BYTES_MAX + 1].into() };
    replica.frame_received(A, long, at(0));
    assert_closed(&drain(&mut replica), GoodbyeReason::Protocol);
    let mut replica = greeted();
    for shop in 0..=LOGS_MAX {
        replica.frame_received(A, alarm(shop_of(shop), 1, b"x"), at(0));
    }
    assert_closed(&drain(&mut replica), GoodbyeReason::Protocol);
}
