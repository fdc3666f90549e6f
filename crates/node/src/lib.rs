//! The Hutong node: configuration, data folder, ports, and the `hutong` command.

pub mod alliance;
mod bench;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data_folder;
pub mod demo;
pub mod federation;
pub mod identity_file;
mod join;
pub mod merchant;
pub mod node;
mod process;
pub mod serve;
pub mod transport;
