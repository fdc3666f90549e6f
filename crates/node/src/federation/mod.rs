//! Federation: links to other members, and the replication that runs over them.
//!
//! Each alliance has one hub ([`hub`]) that owns the replication state machine, and one dialler ([`dialling`]) that
//! keeps a few links up. A link is one bidirectional stream, whoever dialled; its two halves are pumped by [`link`].

pub mod dialling;
pub mod hub;
pub mod link;
pub mod service;
mod table;
mod version;

pub use table::{LinkState, LinkTable};
