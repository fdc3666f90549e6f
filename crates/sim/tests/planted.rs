//! Every planted bug is found within a stated number of seeds; without a bug the same seeds pass.

use std::num::NonZero;

use hutong_sim::{Bug, Config, FaultKind, Invariant, run_seeds, shrink};

/// Each bug is found in one of so many seeds. Most take fewer than ten; that a number is handed out which was moved on
/// takes a shop that first gives numbers away and then runs out of its own.
const SEEDS: u64 = 150;
/// So many pass without a bug.
const SOUND_SEEDS: u64 = 60;

fn street(seed: u64, plant: Option<Bug>) -> Config {
    Config { shops: 6, days: 1, redemptions: 80, plant, ..Config::new(seed) }
}

fn threads() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// The first seed that finds a bug, and what broke.
fn find(bug: Bug) -> Option<(u64, Invariant)> {
    let broken = |seed| {
        let report = hutong_sim::run(&street(seed, Some(bug)));
        report.violation.map(|violation| (seed, violation.invariant))
    };
    (1..=SEEDS).find_map(broken)
}

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<_> = std::thread::scope(|scope| {
        let halves = Bug::ALL.chunks(Bug::ALL.len().div_ceil(threads().get()));
        let workers: Vec<_> = halves
            .map(|bugs| {
                scope.spawn(move || {
                    let found = bugs.iter().map(|bug| (*bug, find(*bug)));
                    found.inspect(|(bug, found)| println!("{bug:?}: {found:?}")).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let missed: Vec<_> = missed.into_iter().filter(|(_, found)| found.is_none()).collect();
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");
    assert!(Bug::ALL.len() >= 10);
}

#[test]
fn without_a_bug_the_same_seeds_pass() {
    let configs: Vec<_> = (1..=SOUND_SEEDS).map(|seed| street(seed, None)).collect();
    let reports = run_seeds(&configs, threads(), |_| {});
    for (config, report) in configs.iter().zip(&reports) {
        assert_eq!(report.violation, None, "{config}");
        assert!(report.faults.count(FaultKind::PowerCut) > 0, "{config}");
    }
}

#[test]
fn a_failure_shrinks_to_a_smaller_run_that_breaks_the_same_promise() {
    let config = street(1, Some(Bug::SkipSync));
    let shrunk = shrink(&config, Invariant::Log2, 25).expect("the bug breaks LOG-2");
    assert_eq!(shrunk.report.violation.map(|v| v.invariant), Some(Invariant::Log2));
    assert!(shrunk.config.shops < config.shops || shrunk.config.redemptions < config.redemptions);
    assert!(shrunk.config.faults.kinds().count() < config.faults.kinds().count());
    assert!(shrunk.tries <= 25);
    assert_eq!(shrink(&street(1, None), Invariant::Log2, 1), None);
}
