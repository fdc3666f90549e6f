//! Identities: who a shop is, before and beyond any alliance.

use bytes::Bytes;
use prost::Message as _;
use rand_core::CryptoRng;

use crate::{
    DecryptionKey, EncryptionKey, KeyError, PublicKey, RecoverySeed, ShopId, SignatureError, SigningKey,
    TimeError, UnixMillis, hash, proto,
};

/// The longest identity, bytes; ours have about 130.
const IDENTITY_BYTES_MAX: usize = 256;
const SALT_BYTES: usize = 16;

/// A shop's identity whose signature has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    id: ShopId,
    signing_key: PublicKey,
    encryption_key: EncryptionKey,
    recovery_key_hash: [u8; 32],
    signed: proto::SignedIdentity,
}

/// Why bytes are not an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Too long, not the message, or not the bytes that we would have written.
    #[error("the identity is malformed")]
    Malformed,
    /// A key is not one.
    #[error("the identity's key is refused: {0}")]
    Key(#[from] KeyError),
    /// Its time does not exist.
    #[error("the identity's time is refused: {0}")]
    Time(#[from] TimeError),
    /// Its own key did not sign it.
    #[error("the identity's signature is refused: {0}")]
    Signature(#[from] SignatureError),
}

impl Identity {
    /// Makes and signs the identity that grows from a recovery seed.
    pub fn create(seed: &RecoverySeed, now: UnixMillis, rng: &mut impl CryptoRng) -> Self {
        let signing_key = SigningKey::from_seed(&seed.signing_seed());
        let decryption_key = DecryptionKey::from_seed(&seed.encryption_seed());
        let mut salt = [0; SALT_BYTES];
        rng.fill_bytes(&mut salt);
        let message = proto::Identity {
            signing_key: Bytes::copy_from_slice(signing_key.public().as_bytes()),
            encryption_key: Bytes::copy_from_slice(&decryption_key.public().to_bytes()),
            recovery_key_hash: Bytes::copy_from_slice(&seed.recovery_key_hash()),
            created_unix_ms: now.ms(),
            salt: Bytes::copy_from_slice(&salt),
        };
        let identity = Bytes::from(message.encode_to_vec());
        let signature = signing_key.sign(hash::SIGN_IDENTITY, &identity);
        let signed = proto::SignedIdentity { identity, signature: Bytes::copy_from_slice(&signature) };
        Self::verify(&signed).expect("an identity made here is well formed")
    }

    /// Checks form, keys and signature.
    pub fn verify(signed: &proto::SignedIdentity) -> Result<Self, IdentityError> {
        if signed.identity.len() > IDENTITY_BYTES_MAX {
            return Err(IdentityError::Malformed);
        }
        let message =
            proto::Identity::decode(signed.identity.clone()).map_err(|_| IdentityError::Malformed)?;
        let signing_key = PublicKey::admit(&message.signing_key)?;
        let encryption_key = EncryptionKey::admit(&message.encryption_key)?;
        UnixMillis::new(message.created_unix_ms)?;
        let recovery_key_hash =
            message.recovery_key_hash.as_ref().try_into().map_err(|_| IdentityError::Malformed)?;
        if message.salt.len() != SALT_BYTES || message.encode_to_vec() != signed.identity {
            return Err(IdentityError::Malformed);
        }
        let signature = signed.signature.as_ref().try_into().map_err(|_| SignatureError)?;
        signing_key.verify(hash::SIGN_IDENTITY, &signed.identity, signature)?;
        let id = ShopId::new(hash::tagged(hash::SHOP, &signed.identity));
        Ok(Self { id, signing_key, encryption_key, recovery_key_hash, signed: signed.clone() })
    }

    /// The shop's id.
    pub const fn id(&self) -> ShopId {
        self.id
    }

    /// What signs the shop's records in key epoch 0.
    pub const fn signing_key(&self) -> &PublicKey {
        &self.signing_key
    }

    /// What payloads for the shop are sealed to in key epoch 0.
    pub const fn encryption_key(&self) -> &EncryptionKey {
        &self.encryption_key
    }

    /// Hash of the offline key that may overrule the signing key.
    pub const fn recovery_key_hash(&self) -> &[u8; 32] {
        &self.recovery_key_hash
    }

    /// As it travels.
    pub const fn signed(&self) -> &proto::SignedIdentity {
        &self.signed
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn identity() -> Identity {
        Identity::create(&RecoverySeed::new([5; 32]), UnixMillis::EPOCH, &mut StdRng::seed_from_u64(1))
    }

    #[test]
    fn an_identity_survives_the_wire() {
        assert_eq!(Identity::verify(identity().signed()), Ok(identity()));
    }

    #[test]
    fn another_key_s_signature_is_refused() {
        let mut forged = identity().signed().clone();
        let thief = SigningKey::from_seed(&[6; 32]);
        forged.signature = Bytes::copy_from_slice(&thief.sign(hash::SIGN_IDENTITY, &forged.identity));
        assert_eq!(Identity::verify(&forged), Err(IdentityError::Signature(SignatureError)));
    }

    #[test]
    fn bytes_that_we_would_not_write_are_refused() {
        let mut message = proto::Identity::decode(identity().signed().identity.clone()).unwrap();
        message.created_unix_ms = -1;
        let mut signed = identity().signed().clone();
        signed.identity = message.encode_to_vec().into();
        assert_eq!(Identity::verify(&signed), Err(IdentityError::Time(TimeError(-1))));

        let mut unknown_field = identity().signed().identity.to_vec();
        unknown_field.extend([0x98, 0x06, 0x01]);
        signed.identity = unknown_field.into();
        assert_eq!(Identity::verify(&signed), Err(IdentityError::Malformed));
        signed.identity = vec![0; IDENTITY_BYTES_MAX + 1].into();
        assert_eq!(Identity::verify(&signed), Err(IdentityError::Malformed));
    }
}
