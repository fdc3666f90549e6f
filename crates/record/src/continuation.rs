//! Continuations: the owner of a shop whose log is closed for good goes on as another shop, and says so by the old shop's
//! offline recovery key. Who has stolen a signing key cannot say it.

use bytes::Bytes;
use prost::Message as _;

use crate::{
    AllianceId, Identity, KeyError, PublicKey, RecoverySeed, ShopId, Signature, SignatureError, canonical,
    hash, proto,
};

/// The longest continuation, bytes; ours have 102.
const CONTINUATION_BYTES_MAX: usize = 128;

/// A continuation that a recovery key signed. Whether that key is the old shop's, its identity tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    alliance: AllianceId,
    old: ShopId,
    new: ShopId,
    recovery_key_hash: [u8; 32],
    signed: proto::SignedContinuation,
}

/// Why bytes are not a continuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContinuationError {
    /// Too long, not the message, or not the bytes that we would have written.
    #[error("the continuation is malformed")]
    Malformed,
    /// The recovery key is none.
    #[error("the continuation's key is refused: {0}")]
    Key(#[from] KeyError),
    /// A shop is to continue itself.
    #[error("a shop does not continue itself")]
    Itself,
    /// The recovery key that it names did not sign it.
    #[error("the continuation is not signed by the recovery key that it names")]
    NotSigned,
    /// About another shop than the one whose identity was shown.
    #[error("the continuation is of another shop")]
    OtherShop,
    /// Not ordered by the old shop's recovery key.
    #[error("the continuation is not ordered by the old shop's recovery key")]
    NotOrdered,
}

impl Continuation {
    /// Makes the continuation of a shop by the seed from which it grew. Whoever lets it count checks by the old shop's
    /// identity that it is that seed.
    ///
    /// # Errors
    /// [`ContinuationError::Itself`].
    pub fn create(
        seed: &RecoverySeed,
        alliance: AllianceId,
        old: ShopId,
        new: ShopId,
    ) -> Result<Self, ContinuationError> {
        let message = proto::Continuation {
            alliance_id: Bytes::copy_from_slice(alliance.as_bytes()),
            old_shop_id: Bytes::copy_from_slice(old.as_bytes()),
            new_shop_id: Bytes::copy_from_slice(new.as_bytes()),
        };
        let continuation = Bytes::from(message.encode_to_vec());
        let recovery = seed.recovery_key();
        let signature = recovery.sign(hash::SIGN_CONTINUATION, &continuation);
        Self::verify(&proto::SignedContinuation {
            continuation,
            recovery_key: Bytes::copy_from_slice(recovery.public().as_bytes()),
            recovery_signature: Bytes::copy_from_slice(&signature),
        })
    }

    /// Reads the bytes that somebody was given, as [`proto::SignedContinuation`] is written.
    ///
    /// # Errors
    /// See [`ContinuationError`].
    pub fn read(bytes: &[u8]) -> Result<Self, ContinuationError> {
        Self::verify(&canonical(bytes).ok_or(ContinuationError::Malformed)?)
    }

    /// Checks form and signature; whether the key is the old shop's, [`Continuation::check_owner`] says.
    ///
    /// # Errors
    /// See [`ContinuationError`].
    pub fn verify(signed: &proto::SignedContinuation) -> Result<Self, ContinuationError> {
        let malformed = |_| ContinuationError::Malformed;
        if signed.continuation.len() > CONTINUATION_BYTES_MAX {
            return Err(ContinuationError::Malformed);
        }
        let message: proto::Continuation =
            canonical(signed.continuation.clone()).ok_or(ContinuationError::Malformed)?;
        let alliance = AllianceId::try_from(message.alliance_id.as_ref()).map_err(malformed)?;
        let old = ShopId::try_from(message.old_shop_id.as_ref()).map_err(malformed)?;
        let new = ShopId::try_from(message.new_shop_id.as_ref()).map_err(malformed)?;
        if old == new {
            return Err(ContinuationError::Itself);
        }
        let key = PublicKey::admit(&signed.recovery_key)?;
        let signature: Result<&Signature, _> = signed.recovery_signature.as_ref().try_into();
        let signature = signature.map_err(|_| ContinuationError::NotSigned)?;
        key.verify(hash::SIGN_CONTINUATION, &signed.continuation, signature)
            .map_err(|SignatureError| ContinuationError::NotSigned)?;
        let recovery_key_hash = hash::tagged(hash::RECOVERY, key.as_bytes());
        Ok(Self { alliance, old, new, recovery_key_hash, signed: signed.clone() })
    }

    /// Whether the recovery key that signed it is the old shop's.
    ///
    /// # Errors
    /// [`ContinuationError::OtherShop`], [`ContinuationError::NotOrdered`].
    pub fn check_owner(&self, identity: &Identity) -> Result<(), ContinuationError> {
        if identity.id() != self.old {
            return Err(ContinuationError::OtherShop);
        }
        if self.recovery_key_hash != *identity.recovery_key_hash() {
            return Err(ContinuationError::NotOrdered);
        }
        Ok(())
    }

    /// In which alliance.
    pub const fn alliance(&self) -> AllianceId {
        self.alliance
    }

    /// The shop that is continued.
    pub const fn old_shop(&self) -> ShopId {
        self.old
    }

    /// The shop that continues it.
    pub const fn new_shop(&self) -> ShopId {
        self.new
    }

    /// The hash of the recovery key that signed it, as an identity names it.
    pub const fn recovery_key_hash(&self) -> &[u8; 32] {
        &self.recovery_key_hash
    }

    /// As it travels.
    pub const fn signed(&self) -> &proto::SignedContinuation {
        &self.signed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::{SigningKey, UnixMillis};

    const ALLIANCE: AllianceId = AllianceId::new([7; 32]);
    const NEW: ShopId = ShopId::new([8; 32]);

    fn seed(n: u8) -> RecoverySeed {
        RecoverySeed::new([n; 32])
    }

    fn identity(n: u8) -> Identity {
        Identity::create(&seed(n), UnixMillis::EPOCH, &mut StdRng::seed_from_u64(1))
    }

    fn made() -> Continuation {
        Continuation::create(&seed(5), ALLIANCE, identity(5).id(), NEW).unwrap()
    }

    /// Whoever has the key signs one that says something else.
    fn signed_anew(
        change: impl FnOnce(&mut proto::Continuation),
        recovery: &SigningKey,
    ) -> proto::SignedContinuation {
        let mut message = proto::Continuation::decode(made().signed().continuation.clone()).unwrap();
        change(&mut message);
        let continuation = Bytes::from(message.encode_to_vec());
        proto::SignedContinuation {
            recovery_key: Bytes::copy_from_slice(recovery.public().as_bytes()),
            recovery_signature: Bytes::copy_from_slice(
                &recovery.sign(hash::SIGN_CONTINUATION, &continuation),
            ),
            continuation,
        }
    }

    #[test]
    fn a_continuation_is_checked_by_the_old_shop_s_identity_alone() {
        let made = made();
        assert_eq!(Continuation::verify(made.signed()), Ok(made.clone()));
        assert_eq!(Continuation::read(&made.signed().encode_to_vec()), Ok(made.clone()));
        assert_eq!((made.alliance(), made.old_shop(), made.new_shop()), (ALLIANCE, identity(5).id(), NEW));
        assert_eq!(made.check_owner(&identity(5)), Ok(()));
        assert_eq!(made.check_owner(&identity(6)), Err(ContinuationError::OtherShop));
        let other_phrase = Continuation::create(&seed(6), ALLIANCE, identity(5).id(), NEW).unwrap();
        assert_eq!(other_phrase.check_owner(&identity(5)), Err(ContinuationError::NotOrdered));
    }

    #[test]
    fn who_has_a_signing_key_alone_makes_none() {
        let thief = SigningKey::from_seed(&seed(5).signing_seed());
        let forged = Continuation::verify(&signed_anew(|_| {}, &thief)).unwrap();
        assert_eq!(forged.check_owner(&identity(5)), Err(ContinuationError::NotOrdered));
        let mut borrowed = forged.signed().clone();
        borrowed.recovery_key = made().signed().recovery_key.clone();
        assert_eq!(Continuation::verify(&borrowed), Err(ContinuationError::NotSigned));
        // A signature by the same key under another tag says nothing else.
        let mut other_tag = made().signed().clone();
        let signature = seed(5).recovery_key().sign(hash::SIGN_SUCCESSION, &other_tag.continuation);
        other_tag.recovery_signature = Bytes::copy_from_slice(&signature);
        assert_eq!(Continuation::verify(&other_tag), Err(ContinuationError::NotSigned));
    }

    #[test]
    fn every_bad_part_has_its_own_refusal() {
        let recovery = seed(5).recovery_key();
        let refused = |change: &dyn Fn(&mut proto::Continuation)| {
            Continuation::verify(&signed_anew(change, &recovery)).unwrap_err()
        };
        assert_eq!(refused(&|m| m.alliance_id = Bytes::new()), ContinuationError::Malformed);
        assert_eq!(refused(&|m| m.old_shop_id = Bytes::from_static(&[1; 31])), ContinuationError::Malformed);
        assert_eq!(refused(&|m| m.new_shop_id = Bytes::from_static(&[1; 33])), ContinuationError::Malformed);
        assert_eq!(refused(&|m| m.new_shop_id = m.old_shop_id.clone()), ContinuationError::Itself);
        let of_itself = Continuation::create(&seed(5), ALLIANCE, NEW, NEW);
        assert_eq!(of_itself, Err(ContinuationError::Itself));
        let mut long = made().signed().clone();
        long.continuation = Bytes::from(alloc::vec![0; CONTINUATION_BYTES_MAX + 1]);
        assert_eq!(Continuation::verify(&long), Err(ContinuationError::Malformed));
        let mut weak = made().signed().clone();
        weak.recovery_key = Bytes::from_static(&[0; 32]);
        assert_eq!(Continuation::verify(&weak), Err(ContinuationError::Key(KeyError::Weak)));
        let mut unsigned = made().signed().clone();
        unsigned.recovery_signature = Bytes::new();
        assert_eq!(Continuation::verify(&unsigned), Err(ContinuationError::NotSigned));
    }

    #[test]
    fn bytes_that_we_would_not_write_are_refused() {
        let mut outside = made().signed().encode_to_vec();
        outside.extend([0x98, 0x06, 0x01]);
        assert_eq!(Continuation::read(&outside), Err(ContinuationError::Malformed));
        assert_eq!(Continuation::read(&[]), Err(ContinuationError::Malformed));
        let mut signed = made().signed().clone();
        let mut inside = signed.continuation.to_vec();
        inside.extend([0x98, 0x06, 0x01]);
        signed.continuation = inside.into();
        assert_eq!(Continuation::verify(&signed), Err(ContinuationError::Malformed));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_is_refused(part in 0usize..3, at in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let mut signed = made().signed().clone();
            let field = match part {
                0 => &mut signed.continuation,
                1 => &mut signed.recovery_key,
                _ => &mut signed.recovery_signature,
            };
            let mut bytes = field.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            *field = bytes.into();
            let taken = Continuation::verify(&signed).and_then(|read| read.check_owner(&identity(5)));
            prop_assert!(taken.is_err());
        }
    }
}
