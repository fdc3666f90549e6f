//! Storage: the journal is the truth, views hold what can be rebuilt from it.
//!
//! * [`journal`]: append-only segment files of signed records, one `fdatasync` a group, a sparse index.
//! * [`views`]: ordered keys and values in sled, each group of writes atomic with the journal position it reflects.
//! * [`disk`]: the few file operations that the journal needs, for the system's disk and for one in memory whose power
//!   can be cut.
//!
//! * [`ledger`]: one shop's copy of one alliance over both: parse, decide, journal, sync, fold.
//! * [`repair`]: getting records back from peers that damage took.
//! * [`writer`]: the order in which a group of jobs is committed, published and answered.
//!
//! Absent on purpose: clocks, threads and queues (the caller groups commits), and what a record means (the rules' crate says).

pub mod disk;
pub mod journal;
pub mod ledger;
pub mod repair;
pub mod views;
pub mod writer;
