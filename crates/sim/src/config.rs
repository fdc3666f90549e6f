//! What decides a run, and the command that repeats it.

use std::fmt;

use crate::fault::{FaultKind, FaultSet};

/// The fewest shops: a funder, a distributor and a third one to see them.
pub const SHOPS_MIN: usize = 3;
/// The most shops of an alliance.
pub const SHOPS_MAX: usize = 500;

/// A run is a function of this, and of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many shops, [`SHOPS_MIN`] to [`SHOPS_MAX`].
    pub shops: usize,
    /// How long faults are on, in days of the street.
    pub days: u32,
    /// How many times customers present a voucher, repeats by the till aside.
    pub redemptions: u32,
    /// What may go wrong.
    pub faults: FaultSet,
    /// A bug to plant.
    #[cfg(feature = "planted-bugs")]
    pub plant: Option<crate::Bug>,
}

impl Config {
    /// A street of 50 shops for three days, with all faults.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            shops: 50,
            days: 3,
            redemptions: 1_000,
            faults: FaultSet::all(),
            #[cfg(feature = "planted-bugs")]
            plant: None,
        }
    }
}

/// The command that repeats the run.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, shops, days, redemptions, faults, .. } = self;
        write!(f, "hutong sim --seed {seed} --shops {shops} --days {days} --redemptions {redemptions}")?;
        if *faults == FaultSet::NONE {
            f.write_str(" --faults none")?;
        } else if *faults != FaultSet::all() {
            let names: Vec<_> = faults.kinds().map(FaultKind::name).collect();
            write!(f, " --faults {}", names.join(","))?;
        }
        #[cfg(feature = "planted-bugs")]
        if let Some(bug) = self.plant {
            write!(f, " --plant {bug:?}")?;
        }
        Ok(())
    }
}
