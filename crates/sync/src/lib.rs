//! Hutong's replication protocol as a deterministic state machine: no I/O, no clock, no randomness.
//!
//! One [`Replica`] per alliance holds all links of a node. The owner tells it what happened (a link came up, a frame
//! arrived, records became durable, time passed) and does what comes out of [`Replica::next_output`]: send a frame,
//! read the journal, hand records to the ingest ladder, close a link. Records pass through unparsed but for the two
//! headers at the ends of an answer; who may write what, and every signature, is for the ladder to check.
//!
//! How two nodes become equal: each says Hello with a digest of its frontier. Equal digests end it. Else both send
//! their frontiers and each wants what it lacks, log by log, one want a log over all links. From then on a shop's
//! own records are pushed, others' are announced with Have, so that records reach nodes that the author never meets.
//!
//! Absent on purpose: dialling, TLS, keep-alive (the transport's), verification (the ladder's), storage (the owner's).
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod digest;
mod fingers;
mod frame;
mod gossip;
mod intake;
pub mod limits;
mod link;
mod output;
mod receive;
mod replica;
mod status;
mod wants;

pub use digest::{FrontierDigest, frontier_digest};
pub use fingers::fingers;
pub use frame::{Frame, GoodbyeReason, Head, HeadPrefix, LinkId, PeerHead, RawRun, raw_run_bytes};
pub use output::{ClosedBy, IngestOutcome, Output, ReadPurpose, ReadRequest, Refusal};
pub use replica::Replica;
pub use status::{LinkStatus, OwnLog, Usage};
