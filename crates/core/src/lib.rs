//! The rules of an alliance: who is in it, what is promised, what a voucher is worth, who owes whom.
//!
//! Commands go in, records and effects come out; records that are stored are *folded* into views. Nothing here does
//! I/O, reads a clock or makes randomness: time, random bytes and stored state are arguments.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod view;
