//! The books at their largest: credit by Shapley and Markov, and netting.

use std::time::Instant;

use anyhow::Context as _;
use hutong_core::{
    attribution::{Model, Nulls, Order, Path, ShopIndex, Tally, attribute},
    netting::{self, Debt},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Map, Value, json};

use super::{Plan, figures::Series, machine};

/// The largest alliance.
pub(super) const SHOPS: u32 = 500;
pub(super) const PATHS: usize = 50_000;
pub(super) const DEBTS: usize = 20_000;
const TOUCHES_MAX: usize = 12;

pub(super) fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let paths = paths(SHOPS, PATHS)?;
    let markov = Model::Markov(Order::new(1).context("order 1")?, Nulls::With);
    let mut figures = Map::new();
    for (name, model) in [("shapley", Model::Shapley), ("markov_order_1", markov)] {
        let mut seconds = Series::default();
        for _ in 0..plan.runs {
            seconds.push(credit(SHOPS, &paths, model)?);
        }
        figures.insert(name.into(), json!({ "shops": SHOPS, "paths": PATHS, "seconds": seconds.json() }));
    }
    let debts = debts(SHOPS, DEBTS);
    let mut seconds = Series::default();
    for _ in 0..plan.runs {
        seconds.push(net(&debts)?);
    }
    figures.insert("netting".into(), json!({ "shops": SHOPS, "debts": DEBTS, "seconds": seconds.json() }));
    figures.insert("memory_peak_bytes".into(), json!(machine::memory_peak_bytes()));
    Ok(figures.into())
}

/// Seconds.
pub(super) fn credit(shops: u32, paths: &[Path], model: Model) -> anyhow::Result<f64> {
    let start = Instant::now();
    let credit = attribute(shops as usize, paths, model)?;
    let took = start.elapsed();
    drop(credit);
    Ok(took.as_secs_f64())
}

/// Seconds, with the proof that the outcome is the largest.
pub(super) fn net(debts: &[Debt<u32>]) -> anyhow::Result<f64> {
    let start = Instant::now();
    let outcome = netting::net(debts)?;
    netting::verify(debts, &outcome)?;
    Ok(start.elapsed().as_secs_f64())
}

/// Ways of customers that wander about at random: no pattern makes their chain easy to solve.
pub(super) fn paths(shops: u32, count: usize) -> anyhow::Result<Vec<Path>> {
    let mut random = StdRng::seed_from_u64(5);
    let one = |_| {
        let touches = random.random_range(1..=TOUCHES_MAX);
        let shops = (0..touches).map(|_| ShopIndex(random.random_range(0..shops))).collect();
        let tally =
            Tally { conversions: random.random_range(0..5), nulls: random.random_range(0..20), value: 0 };
        Ok(Path::new(shops, tally)?)
    };
    (0..count).map(one).collect()
}

/// Debts between shops at random.
pub(super) fn debts(shops: u32, count: usize) -> Vec<Debt<u32>> {
    let mut random = StdRng::seed_from_u64(6);
    let one = |_| {
        let debtor = random.random_range(0..shops);
        let creditor = (debtor + random.random_range(1..shops)) % shops;
        Debt { debtor, creditor, minor: random.random_range(1..1_000_000) }
    };
    (0..count).map(one).collect()
}
