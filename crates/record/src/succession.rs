//! Successions: the keys of a shop's later epochs. Each is ordered by the shop's offline recovery key, whose hash its
//! identity names, so it can be checked by the identity alone; who has stolen a signing key cannot make one.

use bytes::Bytes;
use prost::Message as _;

use crate::{
    EncryptionKey, Identity, KeyError, PublicKey, RecoverySeed, ShopId, Signature, SignatureError,
    SigningKey, canonical, hash, proto,
};

/// The last key epoch. A key file holds the seeds of all epochs, and a shop that has only its phrase tries them one by
/// one, so there is a bound; one rotation a year takes a working life to come to it.
pub const KEY_EPOCH_MAX: u32 = 32;
/// The longest succession, bytes; ours have 104.
const SUCCESSION_BYTES_MAX: usize = 128;

/// A succession whose proofs were verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    shop: ShopId,
    epoch: u32,
    signing_key: PublicKey,
    encryption_key: EncryptionKey,
    signed: proto::SignedKeySuccession,
}

/// Why bytes are not a succession.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SuccessionError {
    /// Too long, not the message, or not the bytes that we would have written.
    #[error("the key succession is malformed")]
    Malformed,
    /// Epoch 0, which the identity names, or past [`KEY_EPOCH_MAX`].
    #[error("key epoch {0} is not within 1 to {KEY_EPOCH_MAX}")]
    Epoch(u32),
    /// A key is not one.
    #[error("the succession's key is refused: {0}")]
    Key(#[from] KeyError),
    /// About another shop.
    #[error("the key succession is of another shop")]
    OtherShop,
    /// Not ordered by the shop's recovery key.
    #[error("the key succession is not ordered by the shop's recovery key")]
    NotOrdered,
    /// The new key did not agree.
    #[error("the new key did not sign its succession")]
    NotAgreed,
}

impl Succession {
    /// Makes the succession to an epoch of the shop that grew from a seed; none where the seed is another shop's, or the
    /// epoch is out of bounds.
    pub fn create(seed: &RecoverySeed, identity: &Identity, epoch: u32) -> Option<Self> {
        let signing_key = SigningKey::from_seed(&seed.signing_seed_of(epoch));
        let decryption_key = crate::DecryptionKey::from_seed(&seed.encryption_seed_of(epoch));
        let message = proto::KeySuccession {
            shop_id: Bytes::copy_from_slice(identity.id().as_bytes()),
            key_epoch: epoch,
            signing_key: Bytes::copy_from_slice(signing_key.public().as_bytes()),
            encryption_key: Bytes::copy_from_slice(&decryption_key.public().to_bytes()),
        };
        let succession = Bytes::from(message.encode_to_vec());
        let recovery = seed.recovery_key();
        let ordered = recovery.sign(hash::SIGN_SUCCESSION, &succession);
        let agreed = signing_key.sign(hash::SIGN_NEW_KEY, &succession);
        let signed = proto::SignedKeySuccession {
            succession,
            recovery_key: Bytes::copy_from_slice(recovery.public().as_bytes()),
            recovery_signature: Bytes::copy_from_slice(&ordered),
            signature: Bytes::copy_from_slice(&agreed),
        };
        Self::verify(&signed, identity).ok()
    }

    /// Checks form, keys, and both signatures.
    pub fn verify(signed: &proto::SignedKeySuccession, identity: &Identity) -> Result<Self, SuccessionError> {
        let parsed = Self::parse(signed)?;
        if parsed.shop != identity.id() {
            return Err(SuccessionError::OtherShop);
        }
        let recovery_key = PublicKey::admit(&signed.recovery_key)?;
        if hash::tagged(hash::RECOVERY, recovery_key.as_bytes()) != *identity.recovery_key_hash() {
            return Err(SuccessionError::NotOrdered);
        }
        let checked = |key: &PublicKey, tag: &[u8], signature: &Bytes| {
            let signature: &Signature = signature.as_ref().try_into().map_err(|_| SignatureError)?;
            key.verify(tag, &signed.succession, signature)
        };
        checked(&recovery_key, hash::SIGN_SUCCESSION, &signed.recovery_signature)
            .map_err(|SignatureError| SuccessionError::NotOrdered)?;
        checked(&parsed.signing_key, hash::SIGN_NEW_KEY, &signed.signature)
            .map_err(|SignatureError| SuccessionError::NotAgreed)?;
        Ok(parsed)
    }

    /// Reads a succession that was verified before, as of a record that is held.
    pub fn parse(signed: &proto::SignedKeySuccession) -> Result<Self, SuccessionError> {
        if signed.succession.len() > SUCCESSION_BYTES_MAX {
            return Err(SuccessionError::Malformed);
        }
        let message: proto::KeySuccession =
            canonical(signed.succession.clone()).ok_or(SuccessionError::Malformed)?;
        if !(1..=KEY_EPOCH_MAX).contains(&message.key_epoch) {
            return Err(SuccessionError::Epoch(message.key_epoch));
        }
        Ok(Self {
            shop: ShopId::try_from(message.shop_id.as_ref()).map_err(|_| SuccessionError::Malformed)?,
            epoch: message.key_epoch,
            signing_key: PublicKey::admit(&message.signing_key)?,
            encryption_key: EncryptionKey::admit(&message.encryption_key)?,
            signed: signed.clone(),
        })
    }

    /// Whose keys.
    pub const fn shop(&self) -> ShopId {
        self.shop
    }

    /// Which epoch's, from 1.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What signs the epoch's records.
    pub const fn signing_key(&self) -> &PublicKey {
        &self.signing_key
    }

    /// What payloads are sealed to from this epoch on.
    pub const fn encryption_key(&self) -> &EncryptionKey {
        &self.encryption_key
    }

    /// As it travels.
    pub const fn signed(&self) -> &proto::SignedKeySuccession {
        &self.signed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::UnixMillis;

    fn seed(n: u8) -> RecoverySeed {
        RecoverySeed::new([n; 32])
    }

    fn identity(n: u8) -> Identity {
        Identity::create(&seed(n), UnixMillis::EPOCH, &mut StdRng::seed_from_u64(1))
    }

    fn succession(epoch: u32) -> Succession {
        Succession::create(&seed(5), &identity(5), epoch).unwrap()
    }

    /// Whoever has both keys, but says something else.
    fn signed_anew(
        change: impl FnOnce(&mut proto::KeySuccession),
        recovery: &SigningKey,
        new: &SigningKey,
    ) -> proto::SignedKeySuccession {
        let mut message = proto::KeySuccession::decode(succession(1).signed().succession.clone()).unwrap();
        change(&mut message);
        let bytes = Bytes::from(message.encode_to_vec());
        proto::SignedKeySuccession {
            recovery_key: Bytes::copy_from_slice(recovery.public().as_bytes()),
            recovery_signature: Bytes::copy_from_slice(&recovery.sign(hash::SIGN_SUCCESSION, &bytes)),
            signature: Bytes::copy_from_slice(&new.sign(hash::SIGN_NEW_KEY, &bytes)),
            succession: bytes,
        }
    }

    #[test]
    fn a_succession_is_checked_by_the_identity_alone() {
        for epoch in [1, 2, KEY_EPOCH_MAX] {
            let made = succession(epoch);
            assert_eq!(Succession::verify(made.signed(), &identity(5)), Ok(made.clone()));
            assert_eq!(made.epoch(), epoch);
            let key = SigningKey::from_seed(&seed(5).signing_seed_of(epoch)).public();
            assert_eq!(*made.signing_key(), key, "the phrase finds the key again");
        }
        assert_eq!(Succession::create(&seed(5), &identity(5), 0), None);
        assert_eq!(Succession::create(&seed(5), &identity(5), KEY_EPOCH_MAX + 1), None);
        assert_eq!(Succession::create(&seed(6), &identity(5), 1), None, "another shop's phrase");
    }

    #[test]
    fn who_has_the_signing_key_alone_makes_no_succession() {
        let thief = SigningKey::from_seed(&seed(5).signing_seed());
        let new = SigningKey::from_seed(&[9; 32]);
        let to_own_key = |m: &mut proto::KeySuccession| {
            m.signing_key = Bytes::copy_from_slice(new.public().as_bytes());
        };
        let forged = signed_anew(to_own_key, &thief, &new);
        assert_eq!(Succession::verify(&forged, &identity(5)), Err(SuccessionError::NotOrdered));
        let mut borrowed = forged;
        borrowed.recovery_key = succession(1).signed().recovery_key.clone();
        assert_eq!(Succession::verify(&borrowed, &identity(5)), Err(SuccessionError::NotOrdered));
    }

    #[test]
    fn a_key_that_did_not_agree_is_not_taken() {
        let recovery = seed(5).recovery_key();
        let other = SigningKey::from_seed(&[9; 32]);
        let not_agreed = signed_anew(|_| {}, &recovery, &other);
        assert_eq!(Succession::verify(&not_agreed, &identity(5)), Err(SuccessionError::NotAgreed));
    }

    #[test]
    fn every_bad_part_has_its_own_refusal() {
        let (recovery, new) = (seed(5).recovery_key(), SigningKey::from_seed(&seed(5).signing_seed_of(1)));
        let refused = |change: &dyn Fn(&mut proto::KeySuccession)| {
            Succession::verify(&signed_anew(change, &recovery, &new), &identity(5)).unwrap_err()
        };
        assert_eq!(refused(&|m| m.key_epoch = 0), SuccessionError::Epoch(0));
        assert_eq!(refused(&|m| m.key_epoch = 33), SuccessionError::Epoch(33));
        assert_eq!(refused(&|m| m.shop_id = Bytes::from_static(&[1; 32])), SuccessionError::OtherShop);
        assert_eq!(refused(&|m| m.shop_id = Bytes::from_static(&[1; 31])), SuccessionError::Malformed);
        assert_eq!(
            refused(&|m| m.signing_key = Bytes::from_static(&[0; 32])),
            SuccessionError::Key(KeyError::Weak)
        );
        assert_eq!(
            refused(&|m| m.encryption_key = Bytes::from_static(&[0; 32])),
            SuccessionError::Key(KeyError::Weak)
        );
        let mut long = succession(1).signed().clone();
        long.succession = Bytes::from(alloc::vec![0; SUCCESSION_BYTES_MAX + 1]);
        assert_eq!(Succession::verify(&long, &identity(5)), Err(SuccessionError::Malformed));
        let of_other = Succession::create(&seed(6), &identity(6), 1).unwrap();
        assert_eq!(Succession::verify(of_other.signed(), &identity(5)), Err(SuccessionError::OtherShop));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_is_refused(part in 0usize..4, at in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let mut signed = succession(3).signed().clone();
            let field = match part {
                0 => &mut signed.succession,
                1 => &mut signed.recovery_key,
                2 => &mut signed.recovery_signature,
                _ => &mut signed.signature,
            };
            let mut bytes = field.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            *field = bytes.into();
            prop_assert!(Succession::verify(&signed, &identity(5)).is_err());
        }
    }
}
