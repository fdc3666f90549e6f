//! Who does the sums of signatures: what costs a hundred times more than the rest of a record, and is a pure
//! function of its inputs.

use core::fmt;

use crate::{Identity, IdentityError, PublicKey, Signature, SignatureError, proto};

/// Does the sums. A node does each where it is needed, by [`Afresh`]. Where many shops share a process, as in the
/// simulator, what one has found another may be told, for it would find the same: an implementation gives the very
/// results of the methods as they stand here, and only saves the work.
pub trait Cryptography: fmt::Debug + Send + Sync {
    /// Whether `key` signed `message`, domain tag included.
    ///
    /// # Errors
    /// It did not.
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        key.verify_bytes(message, signature)
    }

    /// An identity whose form, keys and signature were checked.
    ///
    /// # Errors
    /// See [`Identity::verify`].
    fn identity(&self, signed: &proto::SignedIdentity) -> Result<Identity, IdentityError> {
        Identity::verify(signed)
    }
}

/// Each sum is done when it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Afresh;

impl Cryptography for Afresh {}
