//! Whom a connection must reach, and who else is the same shop.

use hutong_core::alliance::Alliance;
use hutong_record::{Identity, PublicKey, ShopId, Succession, proto::SignedKeySuccession};

/// What is known of a shop's keys. A later key is the same shop's if the shop's recovery key ordered it, whether or not
/// the record of it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownShop {
    pub(super) identity: Identity,
    pub(super) key: PublicKey,
    pub(super) epoch: u32,
}

impl KnownShop {
    /// A shop of whose rotations nothing is known.
    pub fn new(identity: Identity) -> Self {
        Self { key: *identity.signing_key(), identity, epoch: 0 }
    }

    /// A shop as an alliance knows it; as its identity says where the alliance does not know it.
    pub fn of(alliance: &Alliance, identity: &Identity) -> Self {
        let first = Self::new(identity.clone());
        match alliance.succession(identity.id()) {
            Some(newest) => Self { key: *newest.signing_key(), epoch: newest.epoch(), ..first },
            None => first,
        }
    }

    /// Whose keys.
    pub const fn shop(&self) -> ShopId {
        self.identity.id()
    }

    /// The newest that is known.
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// Its epoch.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The epoch of a key that a succession shows to be this shop's, and newer than the one that is known.
    pub(super) fn later_epoch(&self, key: &PublicKey, succession: &SignedKeySuccession) -> Option<u32> {
        let parsed = Succession::parse(succession).ok()?; // the cheap part first
        if parsed.signing_key() != key || parsed.epoch() <= self.epoch {
            return None;
        }
        Succession::verify(succession, &self.identity).ok().map(|verified| verified.epoch())
    }
}

/// Whom a connection must reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// The holder of this key and nobody else.
    Key(PublicKey),
    /// A shop, by the newest key that is known, or a later one.
    Shop(Box<KnownShop>),
}

impl Pin {
    /// The key that is expected.
    pub fn key(&self) -> PublicKey {
        match self {
            Self::Key(key) => *key,
            Self::Shop(known) => known.key,
        }
    }

    pub(super) fn leads_to(&self, key: &PublicKey, succession: &SignedKeySuccession) -> bool {
        matches!(self, Self::Shop(known) if known.later_epoch(key, succession).is_some())
    }
}

impl From<PublicKey> for Pin {
    fn from(key: PublicKey) -> Self {
        Self::Key(key)
    }
}

impl From<KnownShop> for Pin {
    fn from(known: KnownShop) -> Self {
        Self::Shop(Box::new(known))
    }
}
