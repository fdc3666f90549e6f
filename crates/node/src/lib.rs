//! The Hutong node: configuration, data folder, ports, and the `hutong` command.

pub mod cli;
pub mod clock;
pub mod config;
pub mod data_folder;
pub mod demo;
pub mod identity_file;
pub mod serve;
pub mod transport;
