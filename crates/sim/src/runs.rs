//! Many runs, on all cores: each in one thread, their reports in the order of the configurations.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{config::Config, report::RunReport};

/// Runs all configurations. `done` is told of each report as soon as it and all before it are there.
pub fn run_seeds(
    configs: &[Config],
    threads: NonZero<usize>,
    done: impl FnMut(&RunReport) + Send,
) -> Vec<RunReport> {
    let next = AtomicUsize::new(0);
    let finished = Mutex::new(Finished { reports: vec![None; configs.len()], told: 0, done });
    std::thread::scope(|scope| {
        for _ in 0..threads.get().min(configs.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(config) = configs.get(index) else { return };
                    let report = crate::run(config);
                    finished.lock().unwrap_or_else(PoisonError::into_inner).add(index, report);
                }
            });
        }
    });
    let finished = finished.into_inner().unwrap_or_else(PoisonError::into_inner);
    finished.reports.into_iter().flatten().collect()
}

struct Finished<F> {
    reports: Vec<Option<RunReport>>,
    told: usize,
    done: F,
}

impl<F: FnMut(&RunReport)> Finished<F> {
    fn add(&mut self, index: usize, report: RunReport) {
        self.reports[index] = Some(report);
        while let Some(Some(report)) = self.reports.get(self.told) {
            (self.done)(report);
            self.told += 1;
        }
    }
}
