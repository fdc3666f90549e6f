//! Every live connection by the key at its other end, so that one can be cut while it is in use.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Accepted connections of one key at a time. A pair of nodes shares one; the rest is for a restart or a changed
/// network, whose old connection nobody closed. Past it the oldest is cut: it is the likeliest to be dead.
pub(super) const ACCEPTED_PER_KEY_MAX: usize = 8;

/// Bytes of a public key.
type KeyBytes = [u8; 32];

/// The live connections of a node, accepted and dialled. A poisoned lock is taken over: each change is one map
/// operation, so the map is whole.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    live: BTreeMap<Entry, CancellationToken>,
}

/// Ordered so that one key's connections stand together, the accepted ones first, the oldest first.
type Entry = (KeyBytes, Direction, u64);

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// The other side.
    Accepted,
    /// We.
    Dialled,
}

impl Connections {
    /// No connections yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Closes every live connection with this key, at once, and ends the channels dialled to it (TRA-3). Says how
    /// many there were.
    ///
    /// It keeps nobody out: take the key off the [`Door`](super::Door), which cuts by itself.
    pub fn cut(&self, key: &[u8; 32]) -> usize {
        let mut table = self.lock();
        let entries: Vec<Entry> =
            table.of(key, Direction::Accepted).chain(table.of(key, Direction::Dialled)).collect();
        entries.iter().for_each(|entry| table.cut(entry));
        entries.len()
    }

    /// Closes every live connection, at once. Says how many there were.
    pub fn cut_all(&self) -> usize {
        let live = std::mem::take(&mut self.lock().live);
        live.values().for_each(CancellationToken::cancel);
        live.len()
    }

    /// How many connections and dialled channels the key has.
    pub fn count(&self, key: &[u8; 32]) -> usize {
        let table = self.lock();
        table.of(key, Direction::Accepted).count() + table.of(key, Direction::Dialled).count()
    }

    /// Takes a connection in; it is forgotten when the registration is dropped.
    pub(super) fn register(self: &Arc<Self>, key: KeyBytes, direction: Direction) -> Registration {
        let mut table = self.lock();
        if direction == Direction::Accepted && table.of(&key, direction).count() >= ACCEPTED_PER_KEY_MAX {
            let oldest = table.of(&key, direction).next();
            oldest.iter().for_each(|entry| table.cut(entry));
        }
        let entry = (key, direction, table.next);
        let token = CancellationToken::new();
        table.next += 1;
        table.live.insert(entry, token.clone());
        Registration { connections: Arc::clone(self), entry, token }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn of(&self, key: &KeyBytes, direction: Direction) -> impl Iterator<Item = Entry> + '_ {
        self.live.range((*key, direction, 0)..=(*key, direction, u64::MAX)).map(|(entry, _)| *entry)
    }

    fn cut(&mut self, entry: &Entry) {
        if let Some(token) = self.live.remove(entry) {
            token.cancel();
        }
    }
}

/// A place among the live connections, held as long as the connection lives.
#[derive(Debug)]
pub(super) struct Registration {
    connections: Arc<Connections>,
    entry: Entry,
    token: CancellationToken,
}

impl Registration {
    /// Cancelled when the connection is cut.
    pub(super) const fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.lock().live.remove(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: KeyBytes = [1; 32];
    const OTHER: KeyBytes = [2; 32];

    #[test]
    fn cut_ends_both_directions_of_one_key_alone() {
        let connections = Connections::new();
        let accepted = connections.register(ONE, Direction::Accepted);
        let dialled = connections.register(ONE, Direction::Dialled);
        let other = connections.register(OTHER, Direction::Accepted);
        assert_eq!(connections.cut(&ONE), 2);
        assert!(accepted.token().is_cancelled() && dialled.token().is_cancelled());
        assert!(!other.token().is_cancelled());
        assert_eq!((connections.count(&ONE), connections.count(&OTHER)), (0, 1));
    }

    #[test]
    fn a_dropped_registration_is_forgotten() {
        let connections = Connections::new();
        drop(connections.register(ONE, Direction::Accepted));
        assert_eq!(connections.cut_all(), 0);
    }

    #[test]
    fn one_key_past_its_share_loses_its_oldest_connection() {
        let connections = Connections::new();
        let other = connections.register(OTHER, Direction::Accepted);
        let dialled = connections.register(ONE, Direction::Dialled);
        let held: Vec<_> =
            (0..=ACCEPTED_PER_KEY_MAX).map(|_| connections.register(ONE, Direction::Accepted)).collect();
        let cut: Vec<bool> = held.iter().map(|held| held.token().is_cancelled()).collect();
        assert!(cut[0] && !cut[1..].contains(&true), "{cut:?}");
        assert!(!other.token().is_cancelled() && !dialled.token().is_cancelled());
    }
}
