//! How two nodes find out what each lacks, and how that is sent.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod net;

use std::collections::{BTreeMap, BTreeSet};

use hutong_record::UnixMillis;
use hutong_sync::{
    Frame, FrontierDigest, LinkId, Output, PeerHead, Replica, Side,
    limits::{FILL_BYTES, FILL_PAUSE_MS, FILL_WAIT_MS},
};
use net::{
    ALLIANCE, Net, Place,
    node::{Node, Store, chain, head_of, shop_of},
};

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const SETTLE_MS: i64 = 600_000;

fn at(ms: i64) -> UnixMillis {
    UnixMillis::new(1_000_000 + ms).unwrap()
}

fn sent(replica: &mut Replica) -> Vec<Frame> {
    let outputs = std::iter::from_fn(|| replica.next_output());
    let frame = |output| match output {
        Output::Send { frame, .. } => Some(frame),
        _ => None,
    };
    outputs.filter_map(frame).collect()
}

fn hello() -> Frame {
    Frame::Hello { versions: vec![1, 2], alliance: ALLIANCE, digest: FrontierDigest::new([1; 32]) }
}

/// Node 0 with shops 0 to 19 as members, which holds nothing.
fn replica() -> Replica {
    let mut replica = Replica::new(ALLIANCE, shop_of(0), BTreeMap::new());
    replica.members_changed((0..20).map(shop_of), at(0));
    replica
}

fn claim(number: usize) -> PeerHead {
    PeerHead { shop: shop_of(number), sequence: 5, head_prefix: [3; 8], incarnation: 0 }
}

/// A sketch of one bucket that differs from that of a node without logs.
fn sketch() -> Frame {
    Frame::Sketch { bucket_count: 1, bits: vec![0xab, 0xc0].into() }
}

fn counterpart(heads: Vec<PeerHead>) -> Frame {
    Frame::Counterpart { heads, complete: true, fill_bytes_max: 0 }
}

#[test]
fn whoever_dials_lists_what_differs_and_lets_itself_be_filled() {
    let mut replica = replica();
    replica.link_up(A, shop_of(1), Side::Dialling, at(0));
    replica.frame_received(A, hello(), at(0));
    assert!(matches!(sent(&mut replica)[..], [Frame::Hello { .. }]), "the dialled side sketches");
    replica.frame_received(A, sketch(), at(0));
    let said = sent(&mut replica);
    let [Frame::Part { bucket_count: 1, heads, complete: true, fill_bytes_max, .. }] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!((heads.len(), *fill_bytes_max), (0, FILL_BYTES));
    replica.frame_received(A, counterpart(vec![claim(5)]), at(0));
    assert_eq!(sent(&mut replica), [], "what is on its way is not asked for");
    replica.frame_received(A, Frame::Filled, at(0));
    let said = sent(&mut replica);
    assert!(matches!(said[..], [Frame::Want { from_sequence: 1, .. }]), "it did not come: {said:?}");
}

#[test]
fn a_filling_that_never_ends_holds_up_a_catch_up_for_a_moment_and_once() {
    let mut replica = replica();
    replica.link_up(A, shop_of(1), Side::Dialling, at(0));
    for frame in [hello(), sketch(), counterpart(vec![claim(5)])] {
        replica.frame_received(A, frame, at(0));
    }
    sent(&mut replica);
    assert_eq!(replica.next_wakeup(), Some(at(FILL_WAIT_MS)));
    replica.tick(at(FILL_WAIT_MS));
    assert!(matches!(sent(&mut replica)[..], [Frame::Want { .. }]));
    // Answered, so that nothing is under way but the memory of it.
    replica.frame_received(
        A,
        Frame::Records { shop: shop_of(5), runs: vec![], pushed: false },
        at(FILL_WAIT_MS),
    );
    let fill_of = |replica: &mut Replica, link, ms| {
        replica.link_up(link, shop_of(2), Side::Dialling, at(ms));
        replica.frame_received(link, hello(), at(ms));
        replica.frame_received(link, sketch(), at(ms));
        sent(replica).iter().find_map(|frame| match frame {
            Frame::Part { fill_bytes_max, .. } => Some(*fill_bytes_max),
            _ => None,
        })
    };
    assert_eq!(fill_of(&mut replica, B, FILL_WAIT_MS + 1), Some(0));
    replica.link_down(B, at(FILL_WAIT_MS + 2));
    assert_eq!(fill_of(&mut replica, LinkId(3), FILL_WAIT_MS + FILL_PAUSE_MS), Some(FILL_BYTES));
}

#[test]
fn one_link_fills_at_a_time() {
    let mut replica = replica();
    for (link, peer) in [(A, 1), (B, 2)] {
        replica.link_up(link, shop_of(peer), Side::Dialling, at(0));
        replica.frame_received(link, hello(), at(0));
        replica.frame_received(link, sketch(), at(0));
    }
    let fills = |frame: &Frame| matches!(frame, Frame::Part { fill_bytes_max: 1.., .. });
    assert_eq!(sent(&mut replica).iter().filter(|frame| fills(frame)).count(), 1);
}

/// Two buckets look equal by chance: the digest of the rest tells, and all is listed.
#[test]
fn where_the_rests_differ_both_sides_list_all() {
    let log = chain(shop_of(3), 4, 10, 1);
    let heads = BTreeMap::from([(shop_of(3), head_of(&log).unwrap())]);
    let mut replica = Replica::new(ALLIANCE, shop_of(0), heads);
    replica.members_changed((0..20).map(shop_of), at(0));
    replica.link_up(A, shop_of(1), Side::Dialled, at(0));
    replica.frame_received(A, hello(), at(0));
    assert!(matches!(sent(&mut replica)[..], [Frame::Hello { .. }, Frame::Sketch { .. }]));
    let part = Frame::Part {
        bucket_count: 1,
        buckets: vec![0].into(),
        heads: vec![],
        complete: true,
        rest: FrontierDigest::new([9; 32]),
        fill_bytes_max: 1,
    };
    replica.frame_received(A, part.clone(), at(0));
    let said = sent(&mut replica);
    assert!(matches!(&said[..], [Frame::Frontier { heads, complete: true }] if heads.len() == 1), "{said:?}");
    replica.frame_received(A, Frame::Frontier { heads: vec![claim(5)], complete: true }, at(0));
    assert!(matches!(sent(&mut replica)[..], [Frame::Want { .. }]));
    replica.frame_received(A, part, at(0));
    assert!(matches!(sent(&mut replica)[..], [Frame::Goodbye { .. }]), "a part comes once");
}

#[test]
fn frames_of_the_other_side_or_out_of_order_close_the_link() {
    let part = |buckets: &[u8], heads| Frame::Part {
        bucket_count: 1,
        buckets: buckets.to_vec().into(),
        heads,
        complete: true,
        rest: FrontierDigest::new([9; 32]),
        fill_bytes_max: 0,
    };
    let cases = [
        (Side::Dialled, vec![sketch()]),
        (Side::Dialled, vec![part(&[0], vec![claim(5)])]),
        (Side::Dialled, vec![part(&[], vec![])]),
        (Side::Dialled, vec![counterpart(vec![])]),
        (Side::Dialling, vec![part(&[1], vec![])]),
        (Side::Dialling, vec![counterpart(vec![])]),
        (Side::Dialling, vec![sketch(), sketch()]),
        (Side::Dialling, vec![Frame::Sketch { bucket_count: 3, bits: vec![0; 5].into() }]),
        (Side::Dialling, vec![sketch(), counterpart(vec![]), counterpart(vec![])]),
    ];
    for (side, frames) in cases {
        let mut replica = replica();
        replica.link_up(A, shop_of(1), side, at(0));
        replica.frame_received(A, hello(), at(0));
        for frame in frames.clone() {
            replica.frame_received(A, frame, at(0));
        }
        assert!(matches!(sent(&mut replica).last(), Some(Frame::Goodbye { .. })), "{side:?} {frames:?}");
    }
}

/// More than one filling: all peers that have it are at work.
#[test]
fn a_joining_shop_catches_up_from_several_peers_at_once() {
    const LOGS: usize = 24;
    let mut net = Net::new(11, 4);
    let store: Store = (10..10 + LOGS).map(|n| (shop_of(n), chain(shop_of(n), 40, 1_000, 1))).collect();
    let members: Vec<_> = (0..4).chain(10..10 + LOGS).map(shop_of).collect();
    for number in 0..4 {
        let held = if number == 0 { Store::new() } else { store.clone() };
        net.places[number] = Place::Honest(Box::new(Node::new(number, held)));
        net.with(number, |node, now| node.replica.members_changed(members.clone(), now));
    }
    for number in 1..4 {
        net.connect(0, number);
    }
    net.settle(SETTLE_MS);
    assert_eq!(net.node(0).store.len(), LOGS);
    let brings = |(from, frame): &(usize, Frame)| matches!(frame, Frame::Records { .. }).then_some(*from);
    let givers: BTreeSet<_> = net.trace.iter().filter_map(brings).collect();
    assert_eq!(givers, BTreeSet::from([1, 2, 3]));
    assert_eq!(net.stats.records_on_wires, 40 * LOGS as u64, "and nothing came twice");
}
