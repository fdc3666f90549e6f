//! The keys of one shop, epoch by epoch. They are the same in all its alliances, whose logs may stand in different epochs:
//! what is older is kept, to read what was sealed to it and to sign where a log has not come further.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use bytes::Bytes;
use hutong_record::{
    DecryptionKey, OpenedSessions, Place, RecentSessions, Record, SessionId, SessionKey, ShopId, SigningKey,
    Succession,
};

/// The keys with which a shop signs and reads.
#[derive(Debug)]
pub struct ShopKeys {
    /// Signs records and vouchers in key epoch 0.
    pub signing: Arc<SigningKey>,
    /// Opens what was sealed to the shop in key epoch 0.
    decryption: DecryptionKey,
    later: RwLock<BTreeMap<u32, Arc<EpochKeys>>>,
    sessions: Sessions,
}

/// The keys of a later epoch.
#[derive(Debug)]
pub struct EpochKeys {
    /// Signs records and vouchers.
    pub signing: Arc<SigningKey>,
    /// Opens what is sealed to the shop.
    pub decryption: DecryptionKey,
    /// Tells others of both.
    pub succession: Succession,
}

impl ShopKeys {
    /// The keys of epoch 0, and no others: one that signs records and vouchers, one that opens what is sealed to the shop.
    pub fn new(signing: Arc<SigningKey>, decryption: DecryptionKey) -> Self {
        Self { signing, decryption, later: RwLock::default(), sessions: Sessions::default() }
    }

    /// Adds a later epoch's.
    pub fn add(&self, keys: EpochKeys) {
        let mut later = self.later.write().unwrap_or_else(PoisonError::into_inner);
        later.insert(keys.succession.epoch(), Arc::new(keys));
    }

    /// The newest epoch whose keys are here.
    pub fn newest(&self) -> u32 {
        self.read(|later| later.last_key_value().map_or(0, |(epoch, _)| *epoch))
    }

    /// What signs in an epoch.
    pub fn signing_of(&self, epoch: u32) -> Option<Arc<SigningKey>> {
        match epoch {
            0 => Some(self.signing.clone()),
            _ => self.read(|later| later.get(&epoch).map(|keys| keys.signing.clone())),
        }
    }

    /// How others are told of an epoch.
    pub fn succession_to(&self, epoch: u32) -> Option<Succession> {
        self.read(|later| later.get(&epoch).map(|keys| keys.succession.clone()))
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<u32, Arc<EpochKeys>>) -> T) -> T {
        look(&self.later.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a record says, if this shop, `me`, can read it. Payloads are sealed to the newest key that their author knows
    /// of, so that one is tried first.
    pub fn open(&self, record: &Record, me: ShopId) -> Option<Bytes> {
        let header = record.header();
        let place = Place {
            alliance: header.alliance,
            shop: header.shop,
            incarnation: header.incarnation,
            sequence: header.sequence,
            kind: header.kind,
        };
        let payload = record.payload()?;
        let open = |key: &DecryptionKey| payload.open(&place, &header.audience, me, key, &self.sessions).ok();
        let is_party = header.audience.named().binary_search(&me).is_ok();
        let later: Vec<_> = match is_party {
            true => self.read(|later| later.values().rev().cloned().collect()),
            false => Vec::new(),
        };
        later.iter().find_map(|keys| open(&keys.decryption)).or_else(|| open(&self.decryption))
    }
}

/// Shared by the writer and those who read beside it. No curve is multiplied under the lock.
#[derive(Debug, Default)]
struct Sessions(Mutex<RecentSessions>);

impl Sessions {
    /// What is remembered is whole after each change, or forgotten.
    fn lock(&self) -> MutexGuard<'_, RecentSessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenedSessions for Sessions {
    fn get(&self, id: &SessionId) -> Option<SessionKey> {
        self.lock().get(id)
    }

    fn put(&self, id: SessionId, key: &SessionKey) {
        self.lock().put(id, key);
    }
}
