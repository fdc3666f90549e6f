//! The Hutong node: configuration, data folder, ports, and the `hutong` command.

pub mod alliance;
pub mod backup;
mod bench;
pub mod bundle;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data_folder;
pub mod demo;
pub mod federation;
pub mod format;
pub mod identity_file;
mod join;
pub mod merchant;
pub mod metrics;
pub mod node;
mod process;
mod recall;
pub mod reload;
mod route;
pub mod serve;
mod supervisor;
pub mod telemetry;
pub mod trace;
pub mod transport;
mod whole_file;
