//! How long the books take at their largest: `cargo bench -p hutong-core`.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use hutong_core::{
    attribution::{Model, Nulls, Order, Path, ShopIndex, Tally, attribute},
    netting::{CreditLine, Debt, net, net_with_lines, verify, verify_with_lines},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Paths that wander about at random: the ways of their chain form no pattern that would make it easy to solve.
fn paths(shops: u32, count: usize) -> Vec<Path> {
    let mut random = StdRng::seed_from_u64(5);
    let one = |random: &mut StdRng| {
        let touches = random.random_range(1..=12);
        let shops = (0..touches).map(|_| ShopIndex(random.random_range(0..shops))).collect();
        let tally =
            Tally { conversions: random.random_range(0..5), nulls: random.random_range(0..20), value: 0 };
        Path::new(shops, tally).expect("a short path")
    };
    (0..count).map(|_| one(&mut random)).collect()
}

fn attribution(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attribution");
    group.sample_size(10);
    for (shops, count, order) in
        [(12, 10_000, 1), (500, 50_000, 1), (12, 10_000, 3), (40, 3_000, 2), (12, 5_000, 4)]
    {
        let paths = paths(shops, count);
        let model = Model::Markov(Order::new(order).expect("a small order"), Nulls::With);
        let run = || attribute(shops as usize, &paths, model).expect("within bounds");
        let states = run().chain.map_or(0, |chain| chain.states);
        let name = format!("markov of order {order}, {shops} shops, {count} paths, {states} states");
        group.bench_function(name, |bencher| bencher.iter(run));
    }
    let paths = paths(500, 50_000);
    group.bench_function("shapley, 500 shops, 50000 paths", |bencher| {
        bencher.iter(|| attribute(500, &paths, Model::Shapley));
    });
}

fn netting(criterion: &mut Criterion) {
    let mut random = StdRng::seed_from_u64(6);
    let debts: Vec<Debt<u32>> = (0..20_000)
        .map(|_| {
            let debtor = random.random_range(0..500);
            let creditor = (debtor + random.random_range(1..500)) % 500;
            Debt { debtor, creditor, minor: random.random_range(1..1_000_000) }
        })
        .collect();
    let netting = net(&debts).expect("good debts");
    let mut group = criterion.benchmark_group("netting");
    group.sample_size(10);
    group.bench_function("500 shops, 20000 debts", |bencher| bencher.iter(|| net(&debts)));
    group
        .bench_function("verify 500 shops, 20000 debts", |bencher| bencher.iter(|| verify(&debts, &netting)));
    let lines = lines(&mut random);
    let netting = net_with_lines(&debts, &lines).expect("good lines");
    group.bench_function("500 shops, 20000 debts, 2000 lines", |bencher| {
        bencher.iter(|| net_with_lines(&debts, &lines));
    });
    group.bench_function("verify 500 shops, 20000 debts, 2000 lines", |bencher| {
        bencher.iter(|| verify_with_lines(&debts, &lines, &netting));
    });
}

fn lines(random: &mut StdRng) -> Vec<CreditLine<u32>> {
    let mut limits = std::collections::BTreeMap::new();
    while limits.len() < 2_000 {
        let creditor = random.random_range(0..500);
        let debtor = (creditor + random.random_range(1..500)) % 500;
        limits.insert((creditor, debtor), random.random_range(1..1_000_000));
    }
    let line = |((creditor, debtor), limit_minor)| CreditLine { creditor, debtor, limit_minor };
    limits.into_iter().map(line).collect()
}

criterion_group!(benches, attribution, netting);
criterion_main!(benches);
