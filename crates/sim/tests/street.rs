//! Runs of whole streets: promises under each kind of fault, sameness of runs, shrinking.

use std::num::NonZero;

use hutong_sim::{Config, FaultKind, FaultSet, Figures, run, run_seeds};

fn small(seed: u64) -> Config {
    Config { shops: 5, days: 1, redemptions: 50, ..Config::new(seed) }
}

fn threads() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

#[test]
fn a_calm_street_keeps_every_promise_and_trades() {
    let report = run(&Config { faults: FaultSet::NONE, ..small(1) });
    assert_eq!(report.violation, None);
    assert!(report.figures.redemptions > 10, "{report:#?}");
    assert_eq!(report.faults.iter().count(), 0);
}

#[test]
fn stormy_streets_keep_every_promise_and_every_usual_fault_strikes() {
    let configs: Vec<_> = (112..=119).map(small).collect();
    let reports = run_seeds(&configs, threads(), |_| {});
    let mut faults = hutong_sim::FaultCounts::default();
    let mut figures = Figures::default();
    for (config, report) in configs.iter().zip(&reports) {
        assert_eq!(report.violation, None, "{config}");
        faults.merge(&report.faults);
        figures.merge(&report.figures);
    }
    for kind in FaultSet::all().kinds() {
        assert!(faults.count(kind) > 0, "{kind} never struck: {faults:?}");
    }
    let Figures { double_redemptions, undetected_double_uses, oversold, .. } = figures;
    assert_eq!((double_redemptions, undetected_double_uses, oversold), (0, 0, 0));
    assert!(figures.redemptions > 80 && figures.repeats_compared > 8, "{figures:?}");
    assert!(figures.states_compared > 0 && figures.voids > 0, "{figures:?}");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let reports = run_seeds(&[small(7), small(7), small(8)], threads(), |_| {});
    assert_eq!(reports[0], reports[1]);
    assert_ne!(reports[0].trace, reports[2].trace);
}

#[test]
fn reports_come_in_the_order_of_the_configurations() {
    let calm = |seed| Config { shops: 3, redemptions: 4, faults: FaultSet::NONE, ..small(seed) };
    let mut told = Vec::new();
    let reports = run_seeds(&[calm(3), calm(1), calm(2)], threads(), |report| told.push(report.seed));
    assert_eq!(told, [3, 1, 2]);
    assert_eq!(reports.iter().map(|r| r.seed).collect::<Vec<_>>(), told);
}

#[test]
fn a_fault_that_is_off_never_strikes() {
    let only = [FaultKind::PowerCut, FaultKind::LinkBreak].into_iter().collect();
    let report = run(&Config { faults: only, ..small(3) });
    assert_eq!(report.violation, None);
    let struck: Vec<_> = report.faults.iter().map(|(name, _)| name).collect();
    assert_eq!(struck, ["link-break", "power-cut"]);
}

/// Seeds in which a node was stopped between its being put back and its peers' word on its own head.
#[test]
fn a_shop_put_back_and_stopped_before_its_head_was_confirmed_signs_no_number_twice() {
    use FaultKind::{
        ClockSkew, DiskFull, LinkBreak, Partition, PowerCut, ProcessKill, Restore, ShopOff, SyncFailure,
    };
    let kinds =
        [Restore, PowerCut, ProcessKill, SyncFailure, DiskFull, Partition, LinkBreak, ShopOff, ClockSkew];
    let configs = [85, 344, 613].map(|seed| Config { faults: kinds.into_iter().collect(), ..small(seed) });
    for (config, report) in configs.iter().zip(run_seeds(&configs, threads(), |_| {})) {
        assert_eq!(report.violation, None, "{config}");
        assert_eq!((report.faults.count(Restore), report.figures.self_forks), (1, 0), "{config}");
        assert!(report.figures.put_back_records > 0, "{config}");
    }
}

#[test]
fn the_command_of_a_run_names_what_differs_from_the_usual() {
    let config = Config { faults: FaultSet::NONE, ..small(3) };
    let command = "hutong sim --seed 3 --shops 5 --days 1 --redemptions 50";
    assert_eq!(small(3).to_string(), command);
    assert_eq!(config.to_string(), format!("{command} --faults none"));
}
