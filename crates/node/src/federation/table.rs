//! How this node stands with each member, for people to look at.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hutong_record::{ShopId, UnixMillis};

/// So long after a link came up, a record from before may still be on its way.
const SETTLING_MS: i64 = 5 * 60 * 1_000;
/// For so long the offset of a clock stands against one that is less: a clock may be set meanwhile.
const OFFSET_MS_MAX: i64 = 10 * 60 * 1_000;

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
    /// When the last link to it came up.
    connected_at: Option<UnixMillis>,
    /// When the record came that the offset was read from.
    offset_at: Option<UnixMillis>,
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
            connected_at: Some(at),
            offset_at: None,
        };
        self.lock().insert(shop, state);
    }

    pub(super) fn heard(&self, shop: ShopId, at: UnixMillis) {
        self.lock().entry(shop).or_default().last_heard = Some(at);
    }

    /// A record of its own that a member pushed, which should be one that it had just made. An older one, which came with
    /// the catching up, would make its clock look slow: none can make it look fast.
    pub(super) fn made(&self, shop: ShopId, record_time: UnixMillis, at: UnixMillis) {
        let (mut states, offset_ms) = (self.lock(), record_time.ms_since(at));
        let state = states.entry(shop).or_default();
        let is_settled =
            state.connected_at.is_none_or(|up| at.ms_since(up) >= SETTLING_MS || record_time >= up);
        let is_fresh = state.offset_at.is_some_and(|before| at.ms_since(before) < OFFSET_MS_MAX);
        let is_less = state.clock_offset_ms.is_some_and(|known| offset_ms < known);
        if is_settled && !(is_fresh && is_less) {
            (state.clock_offset_ms, state.offset_at) = (Some(offset_ms), Some(at));
        }
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

    #[test]
    fn an_old_record_that_is_caught_up_on_says_nothing_about_a_clock() {
        let (shop, start_ms) = (ShopId::new([1; 32]), 1_000_000_000);
        let at = |seconds: i64| UnixMillis::new(start_ms + seconds * 1_000).unwrap();
        let table = LinkTable::default();
        let offset = || table.snapshot()[&shop].clock_offset_ms;
        table.connected(shop, None, at(0));
        table.made(shop, at(-70), at(1));
        assert_eq!(offset(), None, "it is from before the link");
        table.made(shop, at(9), at(10));
        assert_eq!(offset(), Some(-1_000));
        table.made(shop, at(2), at(20));
        assert_eq!(offset(), Some(-1_000), "one that waited");
        table.made(shop, at(25), at(21));
        assert_eq!(offset(), Some(4_000), "a clock that is ahead is seen at once");
        table.made(shop, at(630), at(700));
        assert_eq!(offset(), Some(-70_000), "its clock was set");
        table.connected(shop, None, at(1_000));
        table.made(shop, at(-6_000), at(1_301));
        assert_eq!(
            offset(),
            Some(-7_301_000),
            "a clock that is far behind is seen once the link has settled"
        );
    }
}
