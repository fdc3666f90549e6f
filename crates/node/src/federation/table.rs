//! How this node stands with each member, for people to look at.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hutong_record::{ShopId, UnixMillis};

/// How this node stands with one member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkState {
    /// Whether a link is up.
    pub connected: bool,
    /// When the last frame came.
    pub last_heard: Option<UnixMillis>,
    /// Why the last attempt to connect failed.
    pub last_error: Option<String>,
    /// The program's version there, as it said when the last link came up.
    pub version: Option<String>,
    /// Logs of which it says that it has more than this node.
    pub logs_behind: u64,
    /// How far its clock is ahead of this node's, milliseconds, as a record that it had just made tells.
    pub clock_offset_ms: Option<i64>,
}

/// How this node stands with every member it has tried or heard.
#[derive(Debug, Default)]
pub struct LinkTable(Mutex<BTreeMap<ShopId, LinkState>>);

impl LinkTable {
    /// A copy.
    pub fn snapshot(&self) -> BTreeMap<ShopId, LinkState> {
        self.lock().clone()
    }

    /// Whether a link to the shop is up.
    pub fn is_connected(&self, shop: ShopId) -> bool {
        self.lock().get(&shop).is_some_and(|state| state.connected)
    }

    /// Whether no link to any member is up.
    pub fn is_cut_off(&self) -> bool {
        !self.lock().values().any(|state| state.connected)
    }

    /// When the last frame of any member came.
    pub fn last_heard(&self) -> Option<UnixMillis> {
        self.lock().values().filter_map(|state| state.last_heard).max()
    }

    pub(super) fn connected(&self, shop: ShopId, version: Option<String>, at: UnixMillis) {
        let (last_heard, last_error) = (Some(at), None);
        let state = LinkState {
            connected: true,
            last_heard,
            last_error,
            version,
            logs_behind: 0,
            clock_offset_ms: None,
        };
        self.lock().insert(shop, state);
    }

    pub(super) fn heard(&self, shop: ShopId, at: UnixMillis) {
        self.lock().entry(shop).or_default().last_heard = Some(at);
    }

    /// A record that a member had just made.
    pub(super) fn made(&self, shop: ShopId, record_time: UnixMillis, at: UnixMillis) {
        self.lock().entry(shop).or_default().clock_offset_ms = Some(record_time.ms_since(at));
    }

    pub(super) fn behind(&self, shop: ShopId, logs: u64) {
        self.lock().entry(shop).or_default().logs_behind = logs;
    }

    /// What is learned of a link's other end only when it answers.
    pub(super) fn is_of_version(&self, shop: ShopId, version: Option<String>) {
        self.lock().entry(shop).or_default().version = version;
    }

    pub(super) fn disconnected(&self, shop: ShopId) {
        self.lock().entry(shop).or_default().connected = false;
    }

    pub(super) fn failed(&self, shop: ShopId, error: String) {
        self.lock().entry(shop).or_default().last_error = Some(error);
    }

    /// Each change is one map operation, so a poisoned map is whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShopId, LinkState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shop_is_cut_off_while_no_link_is_up_and_knows_whom_it_heard_last() {
        let (one, other) = (ShopId::new([1; 32]), ShopId::new([2; 32]));
        let at = |ms| UnixMillis::new(ms).unwrap();
        let table = LinkTable::default();
        assert_eq!((table.is_cut_off(), table.last_heard()), (true, None));
        table.connected(one, None, at(10));
        table.connected(other, None, at(20));
        table.heard(one, at(30));
        table.disconnected(one);
        assert_eq!((table.is_cut_off(), table.last_heard()), (false, Some(at(30))));
        table.disconnected(other);
        table.failed(other, "gone".into());
        assert_eq!((table.is_cut_off(), table.last_heard()), (true, Some(at(30))));
    }
}
