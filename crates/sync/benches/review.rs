//! What a frame costs while hundreds of logs wait to be asked for: `cargo bench -p hutong-sync --bench review`.
#![allow(missing_docs)]

use std::collections::BTreeMap;

use criterion::{Criterion, criterion_group, criterion_main};
use hutong_record::{AllianceId, RecordId, ShopId, UnixMillis};
use hutong_sync::{Frame, FrontierDigest, Head, LinkId, PeerHead, Replica, Side};

const LINKS: u64 = 7;

fn shop(number: u32) -> ShopId {
    ShopId::new(*blake3::hash(&number.to_be_bytes()).as_bytes())
}

/// A node that holds the beginning of each log and has linked peers that hold more of all of them.
fn behind(logs: u32) -> Replica {
    let alliance = AllianceId::new([1; 32]);
    let head = |number| (shop(number), Head { sequence: 5, id: RecordId::new([9; 32]), incarnation: 0 });
    let heads: BTreeMap<_, _> = (0..logs).map(head).collect();
    let now = UnixMillis::EPOCH;
    let mut replica = Replica::new(alliance, shop(0), heads.clone());
    replica.members_changed(heads.keys().copied(), now);
    let ahead = |shop: &ShopId| PeerHead { shop: *shop, sequence: 90, head_prefix: [8; 8], incarnation: 0 };
    let peers: Vec<_> = heads.keys().map(ahead).collect();
    for link in 1..=LINKS {
        let peer = shop(u32::try_from(link).expect("few links"));
        replica.link_up(LinkId(link), peer, Side::Dialling, now);
        // The first version lists all logs.
        let hello = Frame::Hello { versions: vec![1], alliance, digest: FrontierDigest::new([7; 32]) };
        replica.frame_received(LinkId(link), hello, now);
        for (at, heads) in peers.chunks(512).enumerate() {
            let complete = (at + 1) * 512 >= peers.len();
            replica.frame_received(LinkId(link), Frame::Frontier { heads: heads.to_vec(), complete }, now);
        }
    }
    while replica.next_output().is_some() {}
    replica
}

fn review(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("an announcement while all wants are taken");
    for logs in [50, 500] {
        let mut replica = behind(logs);
        let mut sequence = 90;
        let heard = shop(logs / 2);
        group.bench_function(format!("{logs} logs behind"), |bencher| {
            bencher.iter(|| {
                sequence += 1;
                let heads = vec![PeerHead { shop: heard, sequence, head_prefix: [8; 8], incarnation: 0 }];
                replica.frame_received(LinkId(1), Frame::Have { heads }, UnixMillis::EPOCH);
                while replica.next_output().is_some() {}
            });
        });
    }
    group.finish();
}

criterion_group!(benches, review);
criterion_main!(benches);
