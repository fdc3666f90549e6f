//! What a greeting costs: `cargo bench -p hutong-sync`.
#![allow(missing_docs)]

use std::{collections::BTreeMap, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use hutong_record::{RecordId, ShopId};
use hutong_sync::{Head, frontier_digest};

fn heads(shops: u32) -> BTreeMap<ShopId, Head> {
    let hash = |number: u32, what: u8| {
        let [a, b, c, d] = number.to_be_bytes();
        *blake3::hash(&[a, b, c, d, what]).as_bytes()
    };
    let head = |shop| Head { sequence: 2_000, id: RecordId::new(hash(shop, 1)), incarnation: 0 };
    (0..shops).map(|shop| (ShopId::new(hash(shop, 0)), head(shop))).collect()
}

fn frontier(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frontier digest");
    for shops in [5, 50, 500] {
        let heads = heads(shops);
        group.bench_function(format!("{shops} logs"), |bencher| {
            bencher.iter(|| black_box(frontier_digest(&heads)));
        });
    }
    group.finish();
}

criterion_group!(benches, frontier);
criterion_main!(benches);
