//! Shrinking: the smallest run found that still breaks the same invariant.

use crate::{
    check::Invariant,
    config::{Config, SHOPS_MIN},
    report::RunReport,
};

/// A smaller run that breaks the same invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// What repeats it.
    pub config: Config,
    /// What it comes to.
    pub report: RunReport,
    /// How many runs it took to find.
    pub tries: u32,
}

/// Looks for a smaller run that breaks `invariant`, with at most `tries_max` runs: fewer days, customers and shops, then
/// one kind of fault less at a time. `None`: `config` itself does not break it.
pub fn shrink(config: &Config, invariant: Invariant, tries_max: u32) -> Option<Shrunk> {
    let mut shrinking = Shrinking { invariant, tries_left: tries_max };
    let report = shrinking.breaks(config)?;
    let mut best = (config.clone(), report);
    // Half of the runs for the size, the rest for the faults.
    while shrinking.tries_left > tries_max / 2 {
        let found = smaller(&best.0).find_map(|c| shrinking.breaks(&c).map(|report| (c, report)));
        let Some(found) = found else { break };
        best = found;
    }
    let mut faults = config.faults.kinds();
    while let (Some(kind), true) = (faults.next(), shrinking.tries_left > 0) {
        let fewer = Config { faults: best.0.faults.without(kind), ..best.0.clone() };
        if let Some(report) = shrinking.breaks(&fewer) {
            best = (fewer, report);
        }
    }
    Some(Shrunk { config: best.0, report: best.1, tries: tries_max - shrinking.tries_left })
}

struct Shrinking {
    invariant: Invariant,
    tries_left: u32,
}

impl Shrinking {
    /// The report of a run that breaks the invariant.
    fn breaks(&mut self, config: &Config) -> Option<RunReport> {
        self.tries_left = self.tries_left.checked_sub(1)?;
        let report = crate::run(config);
        (report.violation.as_ref()?.invariant == self.invariant).then_some(report)
    }
}

/// Runs that are smaller by one measure, the boldest first.
fn smaller(config: &Config) -> impl Iterator<Item = Config> {
    let Config { shops, days, redemptions, .. } = *config;
    let sizes = [
        (shops.div_ceil(2), days, redemptions),
        (shops, 1, redemptions),
        (shops, days, redemptions / 2),
        (shops.saturating_sub(1), days, redemptions),
        (shops, days, redemptions - redemptions / 4),
    ];
    let config = config.clone();
    sizes
        .into_iter()
        .filter(move |(s, d, r)| (*s, *d, *r) != (shops, days, redemptions) && *s >= SHOPS_MIN && *r > 0)
        .map(move |(shops, days, redemptions)| Config { shops, days, redemptions, ..config.clone() })
}
