//! Federation: links to other members, and the replication that runs over them.
//!
//! Each alliance has one hub ([`hub`]) that owns the replication state machine, and one dialler ([`dialling`]) that
//! keeps a few links up. A link is one bidirectional stream, whoever dialled; its two halves are pumped by [`link`].

mod address_book;
pub mod dialling;
mod doors;
mod healing;
pub mod hub;
pub mod lan;
pub mod link;
pub mod service;
mod sleep;
mod table;
mod version;

pub use doors::doors;
pub use table::{LinkState, LinkTable};
