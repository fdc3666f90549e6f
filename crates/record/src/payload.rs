//! Payloads: a salt, then a message in clear for the alliance, or sealed to named parties.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _, aead::Payload as AeadPayload};
use hpke::{
    Deserializable as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305 as HpkeAead,
    kdf::HkdfSha256, kem::X25519HkdfSha256 as Kem,
};
use prost::Message as _;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    AllianceId, Audience, DecryptionKey, EncryptionKey, ShopId, hash,
    proto::{self, Kind},
};

/// Length of the random salt before each message, so that a hash never reveals a small payload.
pub const SALT_BYTES: usize = 16;
/// The longest payload: a promotion for 64 shops takes 3 KB, a pair's statement of a busy month some 20 KB.
pub const PAYLOAD_BYTES_MAX: usize = 65_536;

/// Where a payload belongs. Sealing binds it, so that no shop can pass another's sealed payload off as its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The record's alliance.
    pub alliance: AllianceId,
    /// The record's author.
    pub shop: ShopId,
    /// The record's incarnation.
    pub incarnation: u32,
    /// The record's sequence number.
    pub sequence: u64,
    /// The record's kind.
    pub kind: Kind,
}

impl Place {
    fn associated_data(&self) -> [u8; 80] {
        let mut bytes = [0; 80];
        bytes[..32].copy_from_slice(self.alliance.as_bytes());
        bytes[32..64].copy_from_slice(self.shop.as_bytes());
        bytes[64..68].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes[68..76].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[76..].copy_from_slice(&i32::from(self.kind).to_be_bytes());
        bytes
    }
}

/// The bytes that a header's payload hash binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(Bytes);

/// Why a payload cannot be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Beyond [`PAYLOAD_BYTES_MAX`], or too short for its salt.
    #[error("a payload of {0} bytes is not within {SALT_BYTES} to {PAYLOAD_BYTES_MAX}")]
    Size(usize),
    /// A party whose encryption key is not known.
    #[error("the encryption key of a party is unknown")]
    UnknownParty,
    /// A party's key that cannot be sealed to.
    #[error("a party's encryption key cannot be sealed to")]
    Unsealable,
    /// This shop is not among the parties.
    #[error("the payload is sealed to others")]
    NotAParty,
    /// Not a sealed payload, or one that does not open: wrong key, wrong place, or damage.
    #[error("the sealed payload does not open")]
    Unopenable,
}

impl Payload {
    /// As it came from the wire or the disk.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, PayloadError> {
        let size = bytes.len();
        if (SALT_BYTES..=PAYLOAD_BYTES_MAX).contains(&size) {
            Ok(Self(bytes))
        } else {
            Err(PayloadError::Size(size))
        }
    }

    /// A message that the whole alliance can read.
    pub fn clear(message: &[u8], rng: &mut impl CryptoRng) -> Result<Self, PayloadError> {
        let mut salt = [0; SALT_BYTES];
        rng.fill_bytes(&mut salt);
        let mut bytes = BytesMut::with_capacity(SALT_BYTES + message.len());
        bytes.extend_from_slice(&salt);
        bytes.extend_from_slice(message);
        Self::from_bytes(bytes.freeze())
    }

    /// A message that only the parties can read, whose keys come in the order of the audience's parties.
    pub fn seal(
        message: &[u8],
        place: &Place,
        keys: &[&EncryptionKey],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, PayloadError> {
        let mut content_key = Zeroizing::new([0; 32]);
        rng.fill_bytes(content_key.as_mut());
        let data = place.associated_data();
        let cipher = ChaCha20Poly1305::new((&*content_key).into());
        // The key is fresh for each payload, so the nonce may be zero.
        let ciphertext = cipher
            .encrypt(&[0; 12].into(), AeadPayload { msg: message, aad: &data })
            .map_err(|_| PayloadError::Size(message.len()))?;
        let wrap = |key: &&EncryptionKey| wrap_key(&content_key, key, &data, rng);
        let keys = keys.iter().map(wrap).collect::<Result<_, _>>()?;
        let sealed = proto::Sealed { keys, ciphertext: ciphertext.into() };
        Self::clear(&sealed.encode_to_vec(), rng)
    }

    /// The message of a payload for all.
    pub fn message(&self) -> Bytes {
        self.0.slice(SALT_BYTES..)
    }

    /// The message of a sealed payload, for the party `me`.
    pub fn open(
        &self,
        place: &Place,
        audience: &Audience,
        me: ShopId,
        key: &DecryptionKey,
    ) -> Result<Bytes, PayloadError> {
        let Audience::Parties(parties) = audience else { return Ok(self.message()) };
        let slot = parties.binary_search(&me).map_err(|_| PayloadError::NotAParty)?;
        let sealed = proto::Sealed::decode(self.message()).map_err(|_| PayloadError::Unopenable)?;
        if sealed.keys.len() != parties.len() {
            return Err(PayloadError::Unopenable);
        }
        let data = place.associated_data();
        let content_key = unwrap_key(&sealed.keys[slot], key, &data).ok_or(PayloadError::Unopenable)?;
        let content_key: &[u8; 32] =
            content_key.as_slice().try_into().map_err(|_| PayloadError::Unopenable)?;
        ChaCha20Poly1305::new(content_key.into())
            .decrypt(&[0; 12].into(), AeadPayload { msg: &sealed.ciphertext, aad: &data })
            .map(Bytes::from)
            .map_err(|_| PayloadError::Unopenable)
    }

    /// The bytes as they travel.
    pub const fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// What the header binds.
    pub fn hash(&self) -> [u8; 32] {
        hash::payload(&self.0)
    }
}

fn wrap_key(
    content_key: &[u8; 32],
    party: &EncryptionKey,
    data: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<proto::SealedKey, PayloadError> {
    let (encapsulated, wrapped) = hpke::single_shot_seal_with_rng::<HpkeAead, HkdfSha256, Kem>(
        &OpModeS::Base,
        party.hpke(),
        hash::SEAL_INFO,
        content_key,
        data,
        rng,
    )
    .map_err(|_| PayloadError::Unsealable)?;
    Ok(proto::SealedKey {
        encapsulated: Bytes::copy_from_slice(&encapsulated.to_bytes()),
        wrapped: Bytes::from(wrapped),
    })
}

fn unwrap_key(slot: &proto::SealedKey, key: &DecryptionKey, data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(&slot.encapsulated).ok()?;
    hpke::single_shot_open::<HpkeAead, HkdfSha256, Kem>(
        &OpModeR::Base,
        key.hpke(),
        &encapsulated,
        hash::SEAL_INFO,
        &slot.wrapped,
        data,
    )
    .ok()
    .map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn place(sequence: u64) -> Place {
        Place {
            alliance: AllianceId::new([1; 32]),
            shop: ShopId::new([1; 32]),
            incarnation: 0,
            sequence,
            kind: Kind::Sale,
        }
    }

    fn sealed() -> (Payload, Audience, [DecryptionKey; 2]) {
        let keys = [DecryptionKey::from_seed(&[1; 32]), DecryptionKey::from_seed(&[2; 32])];
        let audience = Audience::parties([ShopId::new([1; 32]), ShopId::new([2; 32])]).unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let payload =
            Payload::seal(b"42 yuan", &place(1), &[keys[0].public(), keys[1].public()], &mut rng).unwrap();
        (payload, audience, keys)
    }

    #[test]
    fn each_party_can_read_and_nobody_else() {
        let (payload, audience, keys) = sealed();
        for (shop, key) in [1, 2].into_iter().zip(&keys) {
            let opened = payload.open(&place(1), &audience, ShopId::new([shop; 32]), key);
            assert_eq!(opened.as_deref(), Ok(&b"42 yuan"[..]));
        }
        let stranger = DecryptionKey::from_seed(&[3; 32]);
        let third = ShopId::new([3; 32]);
        assert_eq!(payload.open(&place(1), &audience, third, &stranger), Err(PayloadError::NotAParty));
        let first = ShopId::new([1; 32]);
        assert_eq!(payload.open(&place(1), &audience, first, &stranger), Err(PayloadError::Unopenable));
        assert!(!payload.bytes().windows(7).any(|w| w == b"42 yuan"));
    }

    #[test]
    fn a_sealed_payload_does_not_open_in_another_place() {
        let (payload, audience, keys) = sealed();
        let moved = payload.open(&place(2), &audience, ShopId::new([1; 32]), &keys[0]);
        assert_eq!(moved, Err(PayloadError::Unopenable));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed_by_the_hash() {
        let (payload, ..) = sealed();
        for position in 0..payload.bytes().len() {
            let mut bytes = payload.bytes().to_vec();
            bytes[position] ^= 1;
            assert_ne!(Payload::from_bytes(bytes.into()).unwrap().hash(), payload.hash());
        }
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        assert_eq!(Payload::from_bytes(Bytes::from_static(&[0; 15])), Err(PayloadError::Size(15)));
        let long = vec![0; PAYLOAD_BYTES_MAX];
        let mut rng = StdRng::seed_from_u64(7);
        assert_eq!(Payload::clear(&long, &mut rng), Err(PayloadError::Size(PAYLOAD_BYTES_MAX + SALT_BYTES)));
    }
}
