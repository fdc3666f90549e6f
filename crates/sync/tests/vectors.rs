//! The golden digests of frontiers.

use std::collections::BTreeMap;

use hutong_record::{RecordId, ShopId};
use hutong_sync::{Head, frontier_digest};

#[path = "../../../tests/vectors/golden.rs"]
mod golden;

use golden::{Case, check};

#[test]
fn frontier_digests() {
    let frontiers: [&[(u8, u64, u8)]; 3] = [&[], &[(1, 5, 1)], &[(1, 5, 1), (2, 1 << 40, 2)]];
    let case = |frontier: &[(u8, u64, u8)]| {
        let head = |&(shop, sequence, id): &(u8, u64, u8)| {
            (ShopId::new([shop; 32]), Head { sequence, id: RecordId::new([id; 32]), incarnation: 0 })
        };
        let heads: BTreeMap<_, _> = frontier.iter().map(head).collect();
        let line = |(shop, head): (&ShopId, &Head)| format!("{shop} {} {}", head.sequence, head.id);
        Case::new("shop, sequence and head id of every log, ascending by shop")
            .text("heads", heads.iter().map(line).collect::<Vec<_>>().join(", "))
            .hex("digest", frontier_digest(&heads).as_bytes())
    };
    check("frontier.json", frontiers.map(case).into());
}
