//! The simulator: a street of shops under seeded faults, in one thread, without real time.
//!
//! It drives the real rules (`core`), the real replication (`sync`) and the real storage (`store`: ledger, writer, journal
//! on a disk in memory) for many shops, and plays the world around them: tills and customers, lines that break, clocks
//! that are wrong, disks that lose what was not synced, shops that cheat. While faults are on, safety is checked after
//! each step; then faults end, and everybody must come to the same state and be able to trade.
//!
//! The same configuration gives the same run, to the last event: [`RunReport::trace`] is a hash over all of them.
//!
//! Absent on purpose: sockets, TLS and gRPC (the end-to-end tests' part), threads within a run, wall-clock time.

mod action;
mod byzantine;
mod check;
mod clock;
mod config;
mod confirm;
mod double_dealing;
mod fault;
mod flash;
mod fuse;
mod healing;
mod hub;
mod memory;
mod network;
mod node;
mod offers;
mod queue;
mod report;
mod restart;
mod runs;
mod setup;
mod shrink;
mod stages;
mod storm;
mod tills;
mod trace;
mod views;
mod workload;
mod world;

pub use check::{Invariant, Violation};
pub use config::{Config, SHOPS_MAX, SHOPS_MIN};
pub use fault::{FaultCounts, FaultKind, FaultSet, UnknownFault};
#[cfg(feature = "planted-bugs")]
pub use hutong_record::planted::Bug;
pub use report::{Figures, RunReport, SoldShare};
pub use runs::run_seeds;
pub use shrink::{Shrunk, shrink};

/// Runs one simulation to its end, or to the first invariant that breaks.
pub fn run(config: &Config) -> RunReport {
    #[cfg(feature = "planted-bugs")]
    hutong_record::planted::plant(config.plant);
    stages::run(config)
}
