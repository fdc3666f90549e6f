//! What the peers' programs have in common: two ends as two processes, a run after another, and the line that
//! `tests/compare/table.py` reads.

mod ends;
mod locked;
mod run;
mod work;

pub use ends::{Description, Peer, main_of};
pub use locked::locked_version;
pub use run::Run;
pub use work::Work;
