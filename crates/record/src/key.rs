//! Keys: ed25519 to sign, X25519 to seal. One verdict everywhere: `verify_strict`, over keys admitted only if
//! canonical, torsion-free and not the identity. There is no batch verification (its verdict can differ between nodes).

use alloc::vec::Vec;
use core::fmt;

use curve25519_dalek::{edwards::CompressedEdwardsY, traits::IsIdentity};
use ed25519_dalek::{Signer as _, VerifyingKey};
use hpke::{Deserializable as _, Kem as _, Serializable as _, kem::X25519HkdfSha256 as Kem};
use zeroize::Zeroizing;

use crate::{Cryptography, hash};

/// Length of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A signature as it came; only [`PublicKey`] can tell what it is worth.
pub type Signature = [u8; SIGNATURE_BYTES];

/// Why 32 bytes are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Keys have 32 bytes.
    #[error("a key has 32 bytes")]
    Length,
    /// Not the one encoding of a point on the curve.
    #[error("the key is not a canonical curve point")]
    Encoding,
    /// Small order, or with a torsion component: signatures would be ambiguous.
    #[error("the key is weak")]
    Weak,
}

/// The signature does not fit key and message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureError;

/// A shop's signing key, admitted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Admits a key, or says why not.
    pub fn admit(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Length)?;
        // Decompression accepts y >= p and a negative zero x; only re-compression tells.
        let point = CompressedEdwardsY(bytes).decompress().ok_or(KeyError::Encoding)?;
        if point.compress().0 != bytes {
            return Err(KeyError::Encoding);
        }
        if point.is_identity() || !point.is_torsion_free() {
            return Err(KeyError::Weak);
        }
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| KeyError::Encoding)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Checks a TLS handshake's signature, which covers a context string of its own.
    pub fn verify_handshake(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let signature = signature.try_into().map_err(|_| SignatureError)?;
        self.verify_bytes(message, signature)
    }

    pub(crate) fn verify(
        &self,
        tag: &[u8],
        bytes: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        self.verify_bytes(&tagged(tag, bytes), signature)
    }

    pub(crate) fn verify_bytes(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).map_err(|_| SignatureError)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", data_encoding::HEXLOWER.encode(&self.as_bytes()[..4]))
    }
}

/// A signature that travels apart from records, over a statement of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// What an issuer states of a voucher that it hands out: the signature of the voucher's token.
    VoucherClaim,
    /// What a shop states about its right to redeem a voucher.
    VoucherRight,
    /// What the holder of an invitation's key says of itself: the guest's `Knock`.
    Knock,
}

impl StatementKind {
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::VoucherClaim => hash::SIGN_VOUCHER_CLAIM,
            Self::VoucherRight => hash::SIGN_VOUCHER_RIGHT,
            Self::Knock => hash::SIGN_KNOCK,
        }
    }

    /// Signs a statement's bytes.
    pub fn sign(self, key: &SigningKey, statement: &[u8]) -> Signature {
        key.sign(self.tag(), statement)
    }

    /// Checks the signature over a statement's bytes.
    ///
    /// # Errors
    /// It is none, or not this key's.
    pub fn verify(
        self,
        cryptography: &dyn Cryptography,
        key: &PublicKey,
        statement: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let signature = signature.try_into().map_err(|_| SignatureError)?;
        cryptography.verify(key, &tagged(self.tag(), statement), signature)
    }
}

/// A signing key. The one place that holds the secret, wiped when dropped and never shown.
pub struct SigningKey {
    secret: ed25519_dalek::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    /// The key that grows from a seed; every seed gives an admissible key.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = PublicKey(secret.verifying_key());
        Self { secret, public }
    }

    /// Its public half.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a TLS handshake or the shop's own certificate: bytes that carry a context of their own and that no
    /// record, identity or voucher ever begins with.
    pub fn sign_handshake(&self, message: &[u8]) -> Signature {
        self.secret.sign(message).to_bytes()
    }

    pub(crate) fn sign(&self, tag: &[u8], bytes: &[u8]) -> Signature {
        self.secret.sign(&tagged(tag, bytes)).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {:?}", self.public)
    }
}

pub(crate) fn tagged(tag: &[u8], bytes: &[u8]) -> Vec<u8> {
    [tag, bytes].concat()
}

type HpkePublic = <Kem as hpke::Kem>::PublicKey;
type HpkePrivate = <Kem as hpke::Kem>::PrivateKey;

/// What payloads for a shop are sealed to (X25519).
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey(HpkePublic);

impl EncryptionKey {
    /// From its 32 bytes.
    pub fn admit(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() != 32 {
            return Err(KeyError::Length);
        }
        // Points of small order give an all-zero secret; RFC 9180 has the sender refuse that, so do we, at the door.
        const SMALL_ORDER: [[u8; 32]; 2] = [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }];
        if SMALL_ORDER.iter().any(|weak| weak == bytes) {
            return Err(KeyError::Weak);
        }
        HpkePublic::from_bytes(bytes).map(Self).map_err(|_| KeyError::Encoding)
    }

    /// The 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    pub(crate) const fn hpke(&self) -> &HpkePublic {
        &self.0
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", data_encoding::HEXLOWER.encode(&self.to_bytes()[..4]))
    }
}

/// What opens payloads sealed to this shop. Never shown.
pub struct DecryptionKey {
    secret: HpkePrivate,
    public: EncryptionKey,
}

impl DecryptionKey {
    /// The key that grows from a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let (secret, public) = Kem::derive_keypair(seed);
        Self { secret, public: EncryptionKey(public) }
    }

    /// Its public half.
    pub const fn public(&self) -> &EncryptionKey {
        &self.public
    }

    pub(crate) const fn hpke(&self) -> &HpkePrivate {
        &self.secret
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecryptionKey of {:?}", self.public)
    }
}

/// The 256 bits behind the recovery phrase. Everything a shop signs and opens with grows from it one way: who steals
/// the node's key file has not got the phrase, and who has the phrase needs no file.
pub struct RecoverySeed(Zeroizing<[u8; 32]>);

impl RecoverySeed {
    /// From the phrase's entropy.
    pub fn new(entropy: [u8; 32]) -> Self {
        Self(Zeroizing::new(entropy))
    }

    /// The entropy, to be written as a phrase.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seed of the first signing key.
    pub fn signing_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hash::tagged(hash::SIGNING_SEED, &*self.0))
    }

    /// Seed of the decryption key.
    pub fn encryption_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hash::tagged(hash::ENCRYPTION_SEED, &*self.0))
    }

    /// Seed of an epoch's signing key. Who knows the seeds of other epochs does not come to it.
    pub fn signing_seed_of(&self, epoch: u32) -> Zeroizing<[u8; 32]> {
        if epoch == 0 { self.signing_seed() } else { self.of_epoch(hash::SIGNING_SEED_OF, epoch) }
    }

    /// Seed of an epoch's decryption key.
    pub fn encryption_seed_of(&self, epoch: u32) -> Zeroizing<[u8; 32]> {
        if epoch == 0 { self.encryption_seed() } else { self.of_epoch(hash::ENCRYPTION_SEED_OF, epoch) }
    }

    fn of_epoch(&self, context: &str, epoch: u32) -> Zeroizing<[u8; 32]> {
        let mut input = Zeroizing::new([0; 36]);
        input[..32].copy_from_slice(&*self.0);
        input[32..].copy_from_slice(&epoch.to_be_bytes());
        Zeroizing::new(hash::tagged(context, &*input))
    }

    /// The offline key that overrules a stolen signing key.
    pub fn recovery_key(&self) -> SigningKey {
        SigningKey::from_seed(&Zeroizing::new(hash::tagged(hash::RECOVERY_SEED, &*self.0)))
    }

    /// What the identity says of the recovery key.
    pub fn recovery_key_hash(&self) -> [u8; 32] {
        hash::tagged(hash::RECOVERY, self.recovery_key().public().as_bytes())
    }
}

impl fmt::Debug for RecoverySeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoverySeed(..)")
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;

    use super::*;

    #[test]
    fn weak_and_non_canonical_keys_are_refused() {
        for point in EIGHT_TORSION {
            assert!(PublicKey::admit(&point.compress().0).is_err());
        }
        let mixed = SigningKey::from_seed(&[1; 32]).secret.verifying_key().to_edwards() + EIGHT_TORSION[1];
        assert_eq!(PublicKey::admit(&mixed.compress().0), Err(KeyError::Weak));
        let mut above_p = [0xff; 32];
        (above_p[0], above_p[31]) = (0xee, 0x7f);
        assert_eq!(PublicKey::admit(&above_p), Err(KeyError::Encoding));
        assert_eq!(PublicKey::admit(&[0; 31]), Err(KeyError::Length));
        assert_eq!(EncryptionKey::admit(&[0; 32]), Err(KeyError::Weak));
    }

    #[test]
    fn a_signature_of_one_domain_is_none_in_another() {
        let key = SigningKey::from_seed(&[2; 32]);
        let signature = key.sign(hash::SIGN_HEADER, b"bytes");
        assert_eq!(key.public().verify(hash::SIGN_HEADER, b"bytes", &signature), Ok(()));
        assert_eq!(key.public().verify(hash::SIGN_VOUCHER_CLAIM, b"bytes", &signature), Err(SignatureError));
        assert_eq!(key.public().verify_handshake(b"bytes", &signature), Err(SignatureError));
    }

    #[test]
    fn a_flipped_bit_anywhere_breaks_a_signature() {
        let key = SigningKey::from_seed(&[3; 32]);
        let good = key.sign(hash::SIGN_HEADER, b"bytes");
        for bit in 0..512 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                key.public().verify(hash::SIGN_HEADER, b"bytes", &bad),
                Err(SignatureError),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn secrets_are_not_shown_by_debug() {
        let seed = RecoverySeed::new([9; 32]);
        assert_eq!(format!("{seed:?}"), "RecoverySeed(..)");
        let shown = format!("{:?} {:?}", SigningKey::from_seed(&[9; 32]), DecryptionKey::from_seed(&[9; 32]));
        assert!(!shown.contains("0909"), "{shown}");
    }

    #[test]
    fn the_phrase_gives_all_keys_and_no_two_alike() {
        let seed = RecoverySeed::new([7; 32]);
        let again = RecoverySeed::new([7; 32]);
        assert_eq!(seed.signing_seed(), again.signing_seed());
        assert_ne!(seed.signing_seed(), seed.encryption_seed());
        assert_ne!(seed.recovery_key().public(), SigningKey::from_seed(&seed.signing_seed()).public());
    }

    #[test]
    fn every_epoch_has_keys_of_its_own_and_the_first_ones_stay() {
        let seed = RecoverySeed::new([7; 32]);
        assert_eq!(seed.signing_seed_of(0), seed.signing_seed());
        assert_eq!(seed.encryption_seed_of(0), seed.encryption_seed());
        let mut seen = Vec::new();
        for epoch in 0..40 {
            seen.push(*seed.signing_seed_of(epoch));
            seen.push(*seed.encryption_seed_of(epoch));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 80);
    }
}
