//! Runs of whole streets.

use hutong_sim::{Config, FaultSet};

fn small(seed: u64) -> Config {
    Config { shops: 6, days: 1, redemptions: 60, ..Config::new(seed) }
}

#[test]
fn a_calm_street_keeps_every_promise() {
    let report = hutong_sim::run(&Config { faults: FaultSet::NONE, ..small(1) });
    assert_eq!(report.violation, None, "{report:#?}");
    assert!(report.figures.redemptions > 10, "{report:#?}");
}

#[test]
fn a_stormy_street_keeps_every_promise() {
    for seed in 1..=10 {
        let report = hutong_sim::run(&small(seed));
        assert_eq!(report.violation, None, "{}: {report:#?}", small(seed));
    }
}
