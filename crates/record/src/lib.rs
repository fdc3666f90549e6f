//! Signed records: ids, money, time, keys, headers, payloads, runs and fork proofs.
//!
//! What every node must agree on to the byte lives here, and nothing else: no I/O, no clock, no randomness of its own.
//! The formats are those of `proto/hutong/record/v1`; golden bytes for each lie in `tests/vectors`.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod canonical;
mod continuation;
mod cryptography;
mod fork;
mod hash;
mod header;
mod id;
mod identity;
mod incarnation;
mod key;
mod money;
mod payload;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod record;
mod revocation;
mod run;
mod succession;
mod time;

pub use canonical::canonical;
pub use continuation::{Continuation, ContinuationError};
pub use cryptography::{Afresh, Cryptography};
pub use fork::{ForkProof, ForkProofError, PROOF_CHAIN_BYTES_MAX};
pub use header::{Audience, FORMAT, HEADER_BYTES_MAX, Header, HeaderError, PARTIES_MAX};
pub use id::{AllianceId, CardId, IdError, PairId, RecordId, ShopId};
pub use identity::{Identity, IdentityError};
pub use incarnation::{incarnation_first, incarnation_last};
pub use key::{
    DecryptionKey, EncryptionKey, KeyError, PublicKey, RecoverySeed, SIGNATURE_BYTES, Signature,
    SignatureError, SigningKey, StatementKind,
};
pub use money::{Currency, MINOR_MAX, Money, MoneyError};
pub use payload::{
    OpenedSessions, PAYLOAD_BYTES_MAX, Payload, PayloadError, Place, RecentSessions, SALT_BYTES,
    SESSION_PAYLOADS_MAX, SESSIONS_MAX, Sealer, SessionId, SessionKey,
};
pub use record::{Draft, Record, RecordError, sign};
pub use revocation::{CutOff, KeyOverride, OverrideError};
pub use run::{RUN_RECORDS_MAX, RunError, VerifiedRun, verify_run, verify_run_with};
pub use succession::{KEY_EPOCH_MAX, Succession, SuccessionError};
pub use time::{DAY_MS, TimeError, UnixMillis, day_start_ms};

pub use hash::{alliance_id, motion_id, request_hash, voucher_body_hash};

/// The messages of `hutong.record.v1` as generated from the protos.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod proto {
    include!("generated/hutong.record.v1.rs");
}

/// Whether a bug was planted here, for the simulator's own test.
#[cfg(feature = "planted-bugs")]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is($crate::planted::Bug::$bug)
    };
}

/// No bugs are planted in this build.
#[cfg(not(feature = "planted-bugs"))]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}
