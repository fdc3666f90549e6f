//! The door: who may connect, as of now.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use hutong_record::{PublicKey, ShopId};

use super::connections::{Connections, Direction, Registration};

/// Who is calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A shop of an alliance of ours.
    Member(ShopId),
    /// Whoever holds an invitation's link, and may do nothing but join.
    Guest(GuestKey),
}

/// The public key that an invitation made for its guest; it says which invitation is being used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestKey([u8; 32]);

impl GuestKey {
    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<PublicKey> for GuestKey {
    fn from(key: PublicKey) -> Self {
        Self(*key.as_bytes())
    }
}

impl fmt::Debug for GuestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuestKey(..)")
    }
}

/// The list of keys that may connect (TRA-1). It changes while the node runs; whom it drops, or sees in a new role,
/// loses every live connection (TRA-3). Its length is that of the rosters and open invitations behind it, both
/// bounded there.
#[derive(Debug)]
pub struct Door {
    callers: RwLock<Callers>,
    connections: Arc<Connections>,
}

type Callers = HashMap<[u8; 32], Caller>;

impl Door {
    /// A door that lets nobody in yet.
    pub fn new(connections: Arc<Connections>) -> Arc<Self> {
        Arc::new(Self { callers: RwLock::default(), connections })
    }

    /// Lets a key in.
    pub fn admit(&self, key: PublicKey, caller: Caller) {
        let before = self.write(|callers| callers.insert(*key.as_bytes(), caller));
        if before.is_some_and(|before| before != caller) {
            self.connections.cut(key.as_bytes());
        }
    }

    /// Keeps a key out from now on. Says whether it was let in before.
    pub fn remove(&self, key: &[u8; 32]) -> bool {
        let was_in = self.write(|callers| callers.remove(key)).is_some();
        self.connections.cut(key);
        was_in
    }

    /// Lets in these keys and no others. An empty list, and then
    /// [`Connections::cut_all`] for what was dialled to keys not on it, pauses the federation.
    pub fn replace(&self, callers: impl IntoIterator<Item = (PublicKey, Caller)>) {
        let after: Callers = callers.into_iter().map(|(key, caller)| (*key.as_bytes(), caller)).collect();
        let cut: Vec<[u8; 32]> = self.write(|callers| {
            let before = std::mem::replace(callers, after);
            let changed = before.into_iter().filter(|(key, caller)| callers.get(key) != Some(caller));
            changed.map(|(key, _)| key).collect()
        });
        for key in &cut {
            self.connections.cut(key);
        }
    }

    /// Who a key is, if it may connect.
    pub fn caller(&self, key: &[u8; 32]) -> Option<Caller> {
        self.callers.read().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    /// Takes in a connection whose handshake is done. Registered first and looked up after, so that a removal in
    /// between either is seen here or cuts the registration (TRA-3).
    pub(super) fn enter(&self, key: &PublicKey) -> Option<(Caller, Registration)> {
        let registration = self.connections.register(*key.as_bytes(), Direction::Accepted);
        self.caller(key.as_bytes()).map(|caller| (caller, registration))
    }

    /// A poisoned lock is taken over: each change is one map operation, so the map is whole.
    fn write<T>(&self, change: impl FnOnce(&mut Callers) -> T) -> T {
        change(&mut self.callers.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use hutong_record::SigningKey;

    use super::*;

    fn key(seed: u8) -> PublicKey {
        SigningKey::from_seed(&[seed; 32]).public()
    }

    fn member(seed: u8) -> Caller {
        Caller::Member(ShopId::new([seed; 32]))
    }

    #[test]
    fn who_is_not_admitted_does_not_enter() {
        let door = Door::new(Connections::new());
        assert!(door.enter(&key(1)).is_none());
        door.admit(key(1), member(1));
        assert_eq!(door.enter(&key(1)).unwrap().0, member(1));
    }

    #[test]
    fn replace_cuts_whom_it_drops_or_changes_and_nobody_else() {
        let door = Door::new(Connections::new());
        door.replace((1..=3).map(|seed| (key(seed), member(seed))));
        let held: Vec<_> = (1..=3).map(|seed| door.enter(&key(seed)).unwrap().1).collect();
        door.replace([(key(1), member(1)), (key(2), Caller::Guest(key(2).into())), (key(4), member(4))]);
        let cut: Vec<bool> = held.iter().map(|held| held.token().is_cancelled()).collect();
        assert_eq!(cut, [false, true, true]);
        assert_eq!((door.caller(key(3).as_bytes()), door.caller(key(4).as_bytes())), (None, Some(member(4))));
    }

    #[test]
    fn admit_again_cuts_only_on_a_new_role() {
        let door = Door::new(Connections::new());
        door.admit(key(1), member(1));
        let (_, held) = door.enter(&key(1)).unwrap();
        door.admit(key(1), member(1));
        assert!(!held.token().is_cancelled());
        door.admit(key(1), member(2));
        assert!(held.token().is_cancelled());
    }

    #[test]
    fn remove_cuts() {
        let door = Door::new(Connections::new());
        door.admit(key(1), member(1));
        let (_, held) = door.enter(&key(1)).unwrap();
        assert!(door.remove(key(1).as_bytes()) && held.token().is_cancelled());
        assert!(!door.remove(key(1).as_bytes()));
    }
}
