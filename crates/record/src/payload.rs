//! Payloads: a salt, then a message in clear for the alliance, or sealed to named parties.

mod session;
mod wrap;

use bytes::{Bytes, BytesMut};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _, aead::Payload as AeadPayload};
use prost::Message as _;
use rand_core::CryptoRng;

pub use session::{
    OpenedSessions, RecentSessions, SESSION_PAYLOADS_MAX, SESSIONS_MAX, Sealer, SessionId, SessionKey,
};

use crate::{
    AllianceId, Audience, DecryptionKey, EncryptionKey, ShopId, hash,
    proto::{self, Kind},
};
use session::ContentKey;

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
        Self::salted(&salt(rng), message)
    }

    fn salted(salt: &[u8; SALT_BYTES], message: &[u8]) -> Result<Self, PayloadError> {
        let mut bytes = BytesMut::with_capacity(SALT_BYTES + message.len());
        bytes.extend_from_slice(salt);
        bytes.extend_from_slice(message);
        Self::from_bytes(bytes.freeze())
    }

    /// A message that only the parties can read, whose keys come in the order of the audience's parties.
    pub fn seal(
        message: &[u8],
        place: &Place,
        keys: &[&EncryptionKey],
        sealer: &mut Sealer,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, PayloadError> {
        let salt = salt(rng);
        let (session, slots) = sealer.session(place, keys, rng)?;
        let content = ContentKey::derive(&session, &salt, place);
        // The key is this payload's alone, so the nonce may be zero.
        let ciphertext = ChaCha20Poly1305::new((&*content.key).into())
            .encrypt(&[0; 12].into(), AeadPayload { msg: message, aad: &place.associated_data() })
            .map_err(|_| PayloadError::Size(message.len()))?;
        let sealed = proto::Sealed {
            keys: slots,
            ciphertext: ciphertext.into(),
            commitment: Bytes::copy_from_slice(&content.commitment),
        };
        Self::salted(&salt, &sealed.encode_to_vec())
    }

    /// The message of a payload for all.
    pub fn message(&self) -> Bytes {
        self.0.slice(SALT_BYTES..)
    }

    /// The message of a sealed payload, for the party `me`; `sessions` spares opening the same key again.
    pub fn open(
        &self,
        place: &Place,
        audience: &Audience,
        me: ShopId,
        key: &DecryptionKey,
        sessions: &impl OpenedSessions,
    ) -> Result<Bytes, PayloadError> {
        let Audience::Parties(parties) = audience else { return Ok(self.message()) };
        let slot = parties.binary_search(&me).map_err(|_| PayloadError::NotAParty)?;
        let sealed = proto::Sealed::decode(self.message()).map_err(|_| PayloadError::Unopenable)?;
        if sealed.keys.len() != parties.len() {
            return Err(PayloadError::Unopenable);
        }
        let content_key = if sealed.commitment.is_empty() {
            wrap::open(&sealed.keys[slot], key, hash::SEAL_INFO, &place.associated_data())
        } else {
            self.content_key(place, &sealed, slot, key, sessions)
        };
        let content_key = content_key.ok_or(PayloadError::Unopenable)?;
        ChaCha20Poly1305::new((&*content_key).into())
            .decrypt(&[0; 12].into(), AeadPayload { msg: &sealed.ciphertext, aad: &place.associated_data() })
            .map(Bytes::from)
            .map_err(|_| PayloadError::Unopenable)
    }

    /// By the session's key, which is remembered only after it has served.
    fn content_key(
        &self,
        place: &Place,
        sealed: &proto::Sealed,
        slot: usize,
        key: &DecryptionKey,
        sessions: &impl OpenedSessions,
    ) -> Option<SessionKey> {
        let salt = self.0.first_chunk().expect("no payload is shorter than its salt");
        let derive = |session: &SessionKey| {
            let content = ContentKey::derive(session, salt, place);
            (content.commitment[..] == sealed.commitment[..]).then_some(content.key)
        };
        let (slot, bound_to) = (&sealed.keys[slot], session::bound_to(place.alliance, place.shop));
        let id = SessionId::of(slot, &bound_to);
        if let Some(session) = sessions.get(&id) {
            return derive(&session);
        }
        let session = wrap::open(slot, key, hash::SEAL_SESSION, &bound_to)?;
        let content_key = derive(&session)?;
        sessions.put(id, &session);
        Some(content_key)
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

fn salt(rng: &mut impl CryptoRng) -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    rng.fill_bytes(&mut salt);
    salt
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
        let public = [keys[0].public(), keys[1].public()];
        let (mut sealer, mut rng) = (Sealer::default(), StdRng::seed_from_u64(7));
        let payload = Payload::seal(b"42 yuan", &place(1), &public, &mut sealer, &mut rng).unwrap();
        (payload, audience, keys)
    }

    /// Remembers without bound.
    #[derive(Default)]
    struct Remembered(core::cell::RefCell<RecentSessions>);

    impl OpenedSessions for Remembered {
        fn get(&self, id: &SessionId) -> Option<SessionKey> {
            self.0.borrow_mut().get(id)
        }

        fn put(&self, id: SessionId, key: &SessionKey) {
            self.0.borrow_mut().put(id, key);
        }
    }

    #[test]
    fn each_party_can_read_and_nobody_else() {
        let (payload, audience, keys) = sealed();
        for (shop, key) in [1, 2].into_iter().zip(&keys) {
            let opened = payload.open(&place(1), &audience, ShopId::new([shop; 32]), key, &());
            assert_eq!(opened.as_deref(), Ok(&b"42 yuan"[..]));
        }
        let stranger = DecryptionKey::from_seed(&[3; 32]);
        let third = ShopId::new([3; 32]);
        assert_eq!(payload.open(&place(1), &audience, third, &stranger, &()), Err(PayloadError::NotAParty));
        let first = ShopId::new([1; 32]);
        assert_eq!(payload.open(&place(1), &audience, first, &stranger, &()), Err(PayloadError::Unopenable));
        assert!(!payload.bytes().windows(7).any(|w| w == b"42 yuan"));
    }

    #[test]
    fn a_sealed_payload_does_not_open_in_another_place() {
        let (payload, audience, keys) = sealed();
        let moved = payload.open(&place(2), &audience, ShopId::new([1; 32]), &keys[0], &());
        assert_eq!(moved, Err(PayloadError::Unopenable));
    }

    #[test]
    fn payloads_of_one_session_are_read_with_and_without_remembering_it() {
        let (_, audience, keys) = sealed();
        let public = [keys[0].public(), keys[1].public()];
        let (mut sealer, mut rng) = (Sealer::default(), StdRng::seed_from_u64(7));
        let mut seal =
            |sequence| Payload::seal(b"42 yuan", &place(sequence), &public, &mut sealer, &mut rng).unwrap();
        let [first, second] = [seal(1), seal(2)].map(|p| proto::Sealed::decode(p.message()).unwrap());
        assert_eq!(first.keys, second.keys);
        assert_ne!(first.ciphertext, second.ciphertext);
        assert_ne!(first.commitment, second.commitment);
        let (me, remembered) = (ShopId::new([1; 32]), Remembered::default());
        for sequence in 3..6 {
            let payload = seal(sequence);
            for opened in [
                payload.open(&place(sequence), &audience, me, &keys[0], &()),
                payload.open(&place(sequence), &audience, me, &keys[0], &remembered),
            ] {
                assert_eq!(opened.as_deref(), Ok(&b"42 yuan"[..]));
            }
            let elsewhere = payload.open(&place(9), &audience, me, &keys[0], &remembered);
            assert_eq!(elsewhere, Err(PayloadError::Unopenable));
        }
    }

    /// An author that hands two parties two session keys, and a ciphertext that would open under both, is told apart.
    #[test]
    fn whoever_was_given_another_session_key_reads_nothing() {
        let (payload, audience, keys) = sealed();
        let mut sealed = proto::Sealed::decode(payload.message()).unwrap();
        let (place, mut rng) = (place(1), StdRng::seed_from_u64(8));
        let data = session::bound_to(place.alliance, place.shop);
        sealed.keys[1] = wrap::seal(&[9; 32], keys[1].public(), hash::SEAL_SESSION, &data, &mut rng).unwrap();
        let payload = Payload::salted(payload.0.first_chunk().unwrap(), &sealed.encode_to_vec()).unwrap();
        let open = |n, key| payload.open(&place, &audience, ShopId::new([n; 32]), key, &());
        assert_eq!(open(1, &keys[0]).as_deref(), Ok(&b"42 yuan"[..]));
        assert_eq!(open(2, &keys[1]), Err(PayloadError::Unopenable));
        // Nor does it help to commit to nothing.
        sealed.commitment = Bytes::new();
        let payload = Payload::salted(payload.0.first_chunk().unwrap(), &sealed.encode_to_vec()).unwrap();
        let opened = payload.open(&place, &audience, ShopId::new([1; 32]), &keys[0], &());
        assert_eq!(opened, Err(PayloadError::Unopenable));
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
