//! The keys with which a shop signs and reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hutong_record::{
    DecryptionKey, OpenedSessions, Place, RecentSessions, Record, SessionId, SessionKey, ShopId, SigningKey,
};

/// The keys with which a shop signs and reads.
#[derive(Debug)]
pub struct ShopKeys {
    /// Signs records and vouchers.
    pub signing: Arc<SigningKey>,
    decryption: DecryptionKey,
    sessions: Sessions,
}

impl ShopKeys {
    /// A key that signs records and vouchers, and one that opens what is sealed to the shop.
    pub fn new(signing: Arc<SigningKey>, decryption: DecryptionKey) -> Self {
        Self { signing, decryption, sessions: Sessions::default() }
    }

    /// What a record says, if this shop, `me`, can read it.
    pub fn open(&self, record: &Record, me: ShopId) -> Option<Bytes> {
        let header = record.header();
        let place = Place {
            alliance: header.alliance,
            shop: header.shop,
            incarnation: header.incarnation,
            sequence: header.sequence,
            kind: header.kind,
        };
        record.payload()?.open(&place, &header.audience, me, &self.decryption, &self.sessions).ok()
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
