//! Whatever frames a peer sends, the replica keeps its bounds and does not panic.
//!
//! The input is a list of frames, each after its length (two bytes), of two peers in turn. Reads are answered with nothing, records are refused: the ladder is fuzzed elsewhere.
#![no_main]

use std::collections::BTreeMap;

use hutong_record::{AllianceId, RecordId, ShopId, UnixMillis};
use hutong_sync::{
    Head, IngestOutcome, LinkId, Output, Refusal, Replica, Side,
    limits::{INGEST_BYTES_MAX, LOGS_MAX, RUN_BYTES_MAX, WANT_BYTES, WANTS_MAX, WANTS_PER_LINK_MAX},
};
use hutong_wire::{frame, peer::v1 as wire};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

const LINKS: [LinkId; 2] = [LinkId(1), LinkId(2)];
const STEP_MS: i64 = 1_000;

fuzz_target!(|bytes: &[u8]| {
    let mut replica = replica();
    let mut now = UnixMillis::EPOCH;
    for ((link, side), peer) in LINKS.into_iter().zip([Side::Dialling, Side::Dialled]).zip(2..) {
        replica.link_up(link, ShopId::new([peer; 32]), side, now);
    }
    let mut rest = bytes;
    for link in LINKS.into_iter().cycle() {
        let Some((length, tail)) = rest.split_first_chunk::<2>() else { break };
        let length = usize::from(u16::from_le_bytes(*length)).min(tail.len());
        let (message, tail) = tail.split_at(length);
        rest = tail;
        now = now.saturating_add_ms(STEP_MS);
        let frame = wire::Frame::decode(message).ok().and_then(|message| frame::from_wire(message).ok());
        if let Some(frame) = frame {
            assert_eq!(frame::from_wire(frame::to_wire(frame.clone())), Ok(frame.clone()));
            replica.frame_received(link, frame, now);
        }
        replica.tick(now);
        work(&mut replica, now);
        check_bounds(&replica);
    }
});

/// Holds three logs and wants two more.
fn replica() -> Replica {
    let head = |shop: u8| {
        let head = Head { sequence: u64::from(shop), id: RecordId::new([shop; 32]), incarnation: 0 };
        (ShopId::new([shop; 32]), head)
    };
    let heads: BTreeMap<_, _> = (1..=3).map(head).collect();
    let mut replica = Replica::new(AllianceId::new([3; 32]), ShopId::new([1; 32]), heads);
    replica.members_changed((1..=5).map(|shop| ShopId::new([shop; 32])), UnixMillis::EPOCH);
    replica
}

fn work(replica: &mut Replica, now: UnixMillis) {
    while let Some(output) = replica.next_output() {
        match output {
            Output::Read(request) => replica.served(request, Vec::new(), now),
            Output::Ingest { link, shop, .. } => {
                replica.ingested(link, shop, IngestOutcome::Refused(Refusal::Later), now);
            }
            _ => {}
        }
    }
}

fn check_bounds(replica: &Replica) {
    let usage = replica.usage();
    let answer_bytes_max = WANT_BYTES as usize + RUN_BYTES_MAX;
    assert!(usage.wants <= WANTS_MAX, "{usage:?}");
    assert!(usage.wants_per_link <= WANTS_PER_LINK_MAX, "{usage:?}");
    assert!(usage.serving_per_link <= WANTS_PER_LINK_MAX, "{usage:?}");
    assert!(usage.ingest_bytes <= INGEST_BYTES_MAX + (WANTS_MAX + 1) * answer_bytes_max, "{usage:?}");
    assert!(usage.logs_per_link <= LOGS_MAX, "{usage:?}");
}
