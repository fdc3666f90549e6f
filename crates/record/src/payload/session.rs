//! Session keys: a shop makes one for the parties that it writes to again and again, seals it to each of them once, and
//! derives every payload's content key from it. A curve's multiplications, which cost more than all else that a record
//! takes, are so made once a session, by the author and by each reader, and not once a record.
//!
//! Every payload still carries the sealed session key, so that each can be read by itself, in any order.

use alloc::{collections::BTreeMap, vec::Vec};
use core::mem;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{PayloadError, Place, SALT_BYTES, wrap};
use crate::{AllianceId, EncryptionKey, ShopId, hash, proto};

/// Payloads under one session key. A key that leaks tells no more than these; making one costs as much as a signature.
pub const SESSION_PAYLOADS_MAX: u32 = 4_096;
/// Sessions that are kept at once, for an author's audiences and for the authors that are read: some of every shop of an
/// alliance of 500. What is pushed out is made, or opened, anew.
pub const SESSIONS_MAX: usize = 2_048;

/// A session's key. Wiped when dropped.
pub type SessionKey = Zeroizing<[u8; 32]>;

/// What both ends derive for one payload.
pub(super) struct ContentKey {
    pub(super) key: SessionKey,
    /// Binds the author to the key: a ciphertext that opens under two keys would tell two parties two things.
    pub(super) commitment: [u8; 32],
}

impl ContentKey {
    /// The salt tells payloads apart that were sealed for one place, of which the first was never kept.
    pub(super) fn derive(session: &SessionKey, salt: &[u8; SALT_BYTES], place: &Place) -> Self {
        let mut derived = Zeroizing::new([0; 64]);
        hash::content_key(session, salt, &place.associated_data(), &mut derived);
        let mut content = Self { key: Zeroizing::new([0; 32]), commitment: [0; 32] };
        content.key.copy_from_slice(&derived[..32]);
        content.commitment.copy_from_slice(&derived[32..]);
        content
    }
}

/// What a sealed session key is bound to, so that it serves no other author and no other alliance.
pub(super) fn bound_to(alliance: AllianceId, author: ShopId) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(alliance.as_bytes());
    bytes[32..].copy_from_slice(author.as_bytes());
    bytes
}

/// A map of bounded size: what was not asked for while it filled up is forgotten when it does.
#[derive(Debug)]
struct Recent<K, V> {
    young: BTreeMap<K, V>,
    old: BTreeMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new() }
    }
}

impl<K: Ord, V> Recent<K, V> {
    fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= SESSIONS_MAX / 2 {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Found again, it is young again.
    fn get(&mut self, key: &K) -> Option<&mut V> {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }
}

/// The session of an author with its parties.
struct Session {
    key: SessionKey,
    slots: Vec<proto::SealedKey>,
    payloads_left: u32,
}

/// Who takes part in a session: the alliance, the author, and the parties' keys.
type Audience = (AllianceId, ShopId, Vec<[u8; 32]>);

/// An author's sessions. They live in memory alone: a node that starts makes new ones.
#[derive(Default)]
pub struct Sealer(Recent<Audience, Session>);

impl core::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} sessions", self.0.young.len() + self.0.old.len())
    }
}

impl Sealer {
    /// The session of a payload at `place` to these parties: its key, and the key sealed to each of them.
    pub(super) fn session(
        &mut self,
        place: &Place,
        parties: &[&EncryptionKey],
        rng: &mut impl CryptoRng,
    ) -> Result<(SessionKey, Vec<proto::SealedKey>), PayloadError> {
        let keys = parties.iter().map(|party| party.to_bytes()).collect();
        let audience = (place.alliance, place.shop, keys);
        let running = self.0.get(&audience).filter(|session| session.payloads_left > 0);
        if let Some(session) = running {
            session.payloads_left -= 1;
            return Ok((session.key.clone(), session.slots.clone()));
        }
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(key.as_mut());
        let data = bound_to(place.alliance, place.shop);
        let seal = |party: &&EncryptionKey| wrap::seal(&key, party, hash::SEAL_SESSION, &data, rng);
        let slots = parties.iter().map(seal).collect::<Result<Vec<_>, _>>()?;
        let session =
            Session { key: key.clone(), slots: slots.clone(), payloads_left: SESSION_PAYLOADS_MAX - 1 };
        self.0.insert(audience, session);
        Ok((key, slots))
    }
}

/// Names a sealed session key: a hash of it and of what it is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId([u8; 32]);

impl SessionId {
    pub(super) fn of(slot: &proto::SealedKey, bound_to: &[u8; 64]) -> Self {
        Self(hash::session(&[bound_to, &slot.encapsulated, &slot.wrapped]))
    }
}

/// Remembers what a reader has opened.
pub trait OpenedSessions {
    /// The key of a session, if it is remembered.
    fn get(&self, id: &SessionId) -> Option<SessionKey>;
    /// Remembers a session's key.
    fn put(&self, id: SessionId, key: &SessionKey);
}

/// Remembers nothing.
impl OpenedSessions for () {
    fn get(&self, _: &SessionId) -> Option<SessionKey> {
        None
    }

    fn put(&self, _: SessionId, _: &SessionKey) {}
}

/// The sessions that a shop has read lately: at most [`SESSIONS_MAX`].
#[derive(Default)]
pub struct RecentSessions(Recent<SessionId, SessionKey>);

impl core::fmt::Debug for RecentSessions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} sessions", self.0.young.len() + self.0.old.len())
    }
}

impl RecentSessions {
    /// The key of a session, if it is remembered.
    pub fn get(&mut self, id: &SessionId) -> Option<SessionKey> {
        self.0.get(id).cloned()
    }

    /// Remembers a session's key.
    pub fn put(&mut self, id: SessionId, key: &SessionKey) {
        self.0.insert(id, key.clone());
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::{DecryptionKey, proto::Kind};

    fn place(shop: u8) -> Place {
        Place {
            alliance: AllianceId::new([1; 32]),
            shop: ShopId::new([shop; 32]),
            incarnation: 0,
            sequence: 1,
            kind: Kind::Sale,
        }
    }

    #[test]
    fn a_session_ends_after_its_payloads_and_is_no_other_audience_s() {
        let keys = [1, 2].map(|seed| DecryptionKey::from_seed(&[seed; 32]));
        let [first, second] = [keys[0].public(), keys[1].public()];
        let (mut sealer, mut rng) = (Sealer::default(), StdRng::seed_from_u64(1));
        let mut of = |parties: &[&EncryptionKey], author| {
            *sealer.session(&place(author), parties, &mut rng).unwrap().0
        };
        let key = of(&[first, second], 1);
        assert!((1..SESSION_PAYLOADS_MAX).all(|_| of(&[first, second], 1) == key));
        assert_ne!(of(&[first, second], 1), key);
        let others = [of(&[first], 1), of(&[second], 1), of(&[first, second], 2)];
        assert!(others.iter().enumerate().all(|(n, other)| *other != key && !others[..n].contains(other)));
    }

    #[test]
    fn what_is_put_anew_as_the_map_turns_over_is_not_taken_back() {
        let mut sessions = Recent::default();
        for n in 0..SESSIONS_MAX / 2 {
            sessions.insert(n, "spent");
        }
        sessions.insert(0, "new");
        assert_eq!(sessions.get(&0), Some(&mut "new"));
        assert_eq!(sessions.get(&0), Some(&mut "new"));
    }

    #[test]
    fn sessions_are_forgotten_before_they_are_too_many_and_not_those_in_use() {
        let mut sessions = RecentSessions::default();
        let id = |n: u32| SessionId(hash::session(&[&n.to_be_bytes()]));
        let key = |n: u32| Zeroizing::new(hash::session(&[b"key", &n.to_be_bytes()]));
        let in_use = u32::MAX;
        sessions.put(id(in_use), &key(in_use));
        for n in 0..10_000 {
            sessions.put(id(n), &key(n));
            assert_eq!(sessions.get(&id(in_use)), Some(key(in_use)));
            assert!(sessions.0.young.len() + sessions.0.old.len() <= SESSIONS_MAX);
        }
        assert_eq!(sessions.get(&id(0)), None);
        assert_eq!(sessions.get(&id(9_999)), Some(key(9_999)));
    }
}
