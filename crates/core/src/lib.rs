//! The rules of an alliance: who is in it, what is promised, what a voucher is worth, who owes whom.
//!
//! Commands go in, records come out ([`command`]); records that are stored are folded into views ([`fold`]). Nothing
//! here does I/O, reads a clock or makes randomness: time, random bytes and stored state are arguments.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod alliance;
pub mod answer;
pub mod attribution;
mod bounds;
pub mod channel;
pub mod charter;
pub mod code;
pub mod command;
pub mod doubt;
pub mod duty;
pub mod event;
pub mod evidence;
pub mod fold;
pub mod guess;
pub mod ingest;
pub mod invitation;
pub mod keys;
pub mod knock;
pub mod netting;
pub mod pair;
pub mod promotion;
pub mod proof;
pub mod refusal;
pub mod report;
pub mod right;
pub mod roster;
pub mod settlement;
pub mod stock;
mod table;
pub mod view;
pub mod voucher;

pub use table::VIEWS_VERSION;
