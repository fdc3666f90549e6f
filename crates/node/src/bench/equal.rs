//! Two nodes that hold the same, greeting each other: what that takes on the wire and on one core. The state machines
//! alone, since links are measured elsewhere; how many records the logs hold plays no part, only how many logs.

use std::{collections::BTreeMap, time::Instant};

use hutong_record::{AllianceId, RecordId, ShopId};
use hutong_sync::{Frame, Head, LinkId, Output, Replica, Side};
use hutong_wire::frame;
use prost::Message as _;
use serde_json::{Value, json};

use super::{
    Plan,
    figures::{Latencies, round},
};
use crate::clock;

const SHOPS: usize = 500;
const RECORDS_PER_LOG: u64 = 2_000;
const GREETINGS: usize = 200;

/// What one greeting took.
pub(super) struct Greeting {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

pub(super) fn measure(plan: &Plan) -> Value {
    let (took, greeting) = greetings(SHOPS, GREETINGS * plan.runs as usize);
    json!({
        "shops": SHOPS,
        "records": SHOPS as u64 * RECORDS_PER_LOG,
        "bytes_both_ways": greeting.bytes,
        "frames_both_ways": greeting.frames,
        // Each side speaks once, at once: nobody waits for an answer.
        "round_trips": greeting.frames.div_ceil(2),
        "cpu_ms_both_sides_median": round(took.ms(0.5)),
        "cpu_ms_both_sides_p99": round(took.ms(0.99)),
    })
}

/// Two replicas of so many logs greet each other, again and again.
pub(super) fn greetings(shops: usize, count: usize) -> (Latencies, Greeting) {
    let heads: BTreeMap<_, _> = (0..shops).map(head).collect();
    let (a, b) = (id(0), id(1));
    let alliance = AllianceId::new([1; 32]);
    let mut replicas = [(a, b), (b, a)].map(|(me, peer)| (Replica::new(alliance, me, heads.clone()), peer));
    let mut took = Latencies::default();
    let mut greeting = Greeting { frames: 0, bytes: 0 };
    for link in 0..count {
        let start = Instant::now();
        greeting = greet(&mut replicas, LinkId(link as u64));
        took.push(start.elapsed());
    }
    (took, greeting)
}

fn greet(replicas: &mut [(Replica, ShopId); 2], link: LinkId) -> Greeting {
    let now = clock::now();
    let mut greeting = Greeting { frames: 0, bytes: 0 };
    for ((replica, peer), side) in replicas.iter_mut().zip([Side::Dialling, Side::Dialled]) {
        replica.link_up(link, *peer, side, now);
    }
    loop {
        let sent = replicas.each_mut().map(|(replica, _)| sent(replica));
        if sent.iter().all(Vec::is_empty) {
            break;
        }
        let [from_a, from_b] = sent;
        for (to, frames) in [(1, from_a), (0, from_b)] {
            for frame in frames {
                greeting.frames += 1;
                greeting.bytes += frame::to_wire(frame.clone()).encoded_len();
                replicas[to].0.frame_received(link, frame, now);
            }
        }
    }
    for (replica, _) in replicas.iter_mut() {
        replica.link_down(link, now);
    }
    greeting
}

fn sent(replica: &mut Replica) -> Vec<Frame> {
    let outputs = std::iter::from_fn(|| replica.next_output());
    outputs
        .filter_map(|output| match output {
            Output::Send { frame, .. } => Some(frame),
            _ => None,
        })
        .collect()
}

fn id(shop: usize) -> ShopId {
    ShopId::new(*blake3::hash(&shop.to_be_bytes()).as_bytes())
}

fn head(shop: usize) -> (ShopId, Head) {
    let record = RecordId::new(*blake3::hash(&[&shop.to_be_bytes()[..], b"head"].concat()).as_bytes());
    (id(shop), Head { sequence: RECORDS_PER_LOG, id: record, incarnation: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logs_take_one_hello_from_each_side() {
        let (took, greeting) = greetings(500, 2);
        assert_eq!((took.count(), greeting.frames), (2, 2));
        assert!(greeting.bytes < 200, "{}", greeting.bytes);
    }
}
