//! Hutong's replication protocol as a deterministic state machine: no I/O, no clock, no randomness.
//!
//! One [`Replica`] per alliance holds all links of a node. The owner tells it what happened (a link came up, a frame
//! arrived, records became durable, time passed) and does what comes out of [`Replica::next_output`]: send a frame,
//! read the journal, hand records to the ingest ladder, close a link. Records pass through unparsed but for the two
//! headers at the ends of an answer; who may write what, and every signature, is for the ladder to check.
//!
//! How two nodes become equal: each says Hello with a digest of its frontier. Equal digests end it. Else the
//! dialled one sketches its frontier in a few bits a bucket, the dialling one lists its logs in the buckets that differ, and
//! whoever sees what the other lacks may send it at once; what is lacking still is wanted, log by log, one want a log over all links. From then on a shop's
//! own records are pushed, others' are announced with Have, so that records reach nodes that the author never meets.
//!
//! Absent on purpose: dialling, TLS, keep-alive (the transport's), verification (the ladder's), storage (the owner's).
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod alarm;
mod digest;
mod fill;
mod frame;
mod gossip;
mod greeting;
mod held_back;
mod intake;
pub mod limits;
mod link;
mod output;
mod receive;
mod replica;
mod rings;
mod sketch;
mod status;
mod wants;

pub use digest::{FrontierDigest, frontier_digest};
pub use frame::{Frame, GoodbyeReason, Head, HeadPrefix, LinkId, PeerHead, RawRun, Side, raw_run_bytes};
pub use output::{ClosedBy, IngestOutcome, Output, ReadPurpose, ReadRequest, Refusal};
pub use replica::Replica;
pub use rings::{neighbours, rings};
pub use status::{LinkStatus, OwnHead, OwnLog, Usage};
