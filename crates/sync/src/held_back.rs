//! Logs that the ladder held back as one link sent them, so that nobody can hold back what others send.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hutong_record::{ShopId, UnixMillis};

use crate::{
    LinkId,
    limits::{HELD_BACK_MS_MAX, RETRY_MS},
};

/// Until when each is held back; at hand by the time as well, for there may be one for each log and link.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    until: BTreeMap<(LinkId, ShopId), UnixMillis>,
    by_time: BTreeSet<(UnixMillis, LinkId, ShopId)>,
}

impl HeldBack {
    /// From now on for [`RETRY_MS`].
    pub(crate) fn insert(&mut self, link: LinkId, shop: ShopId, now: UnixMillis) {
        self.insert_until(link, shop, now, now);
    }

    /// From now on until then, but for [`RETRY_MS`] at least and [`HELD_BACK_MS_MAX`] at most.
    pub(crate) fn insert_until(&mut self, link: LinkId, shop: ShopId, until: UnixMillis, now: UnixMillis) {
        let until = until.clamp(now.saturating_add_ms(RETRY_MS), now.saturating_add_ms(HELD_BACK_MS_MAX));
        if let Some(before) = self.until.insert((link, shop), until) {
            self.by_time.remove(&(before, link, shop));
        }
        self.by_time.insert((until, link, shop));
    }

    pub(crate) fn has(&self, link: LinkId, shop: ShopId) -> bool {
        !self.until.is_empty() && self.until.contains_key(&(link, shop))
    }

    /// All may be asked for again.
    pub(crate) fn clear(&mut self) {
        self.until.clear();
        self.by_time.clear();
    }

    /// A link is gone.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.until.retain(|(at, _), _| *at != link);
        self.by_time.retain(|(_, at, _)| *at != link);
    }

    /// When the first is to be asked for again.
    pub(crate) fn due(&self) -> Option<UnixMillis> {
        self.by_time.first().map(|(until, ..)| *until)
    }

    /// Takes out those that are to be asked for again. A clock that was set back counts as their time.
    pub(crate) fn take_due(&mut self, now: UnixMillis) -> Vec<ShopId> {
        let mut taken = Vec::new();
        let mut take = |(_, link, shop)| {
            self.until.remove(&(link, shop));
            taken.push(shop);
        };
        while self.by_time.first().is_some_and(|(until, ..)| *until <= now) {
            self.by_time.pop_first().into_iter().for_each(&mut take);
        }
        let latest = now.saturating_add_ms(HELD_BACK_MS_MAX);
        while self.by_time.last().is_some_and(|(until, ..)| *until > latest) {
            self.by_time.pop_last().into_iter().for_each(&mut take);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::EPOCH.saturating_add_ms(ms)
    }

    fn shop(number: u8) -> ShopId {
        ShopId::new([number; 32])
    }

    #[test]
    fn each_is_asked_for_again_after_its_own_time() {
        let mut held = HeldBack::default();
        assert_eq!(held.due(), None);
        held.insert(LinkId(1), shop(1), at(10));
        held.insert(LinkId(2), shop(1), at(0));
        held.insert(LinkId(2), shop(2), at(5));
        assert_eq!(held.due(), Some(at(RETRY_MS)));
        assert_eq!(held.take_due(at(RETRY_MS + 5)), [shop(1), shop(2)]);
        assert!(held.has(LinkId(1), shop(1)) && !held.has(LinkId(2), shop(1)));
        assert_eq!(held.due(), Some(at(RETRY_MS + 10)));
    }

    #[test]
    fn a_log_that_is_held_back_again_waits_anew() {
        let mut held = HeldBack::default();
        held.insert(LinkId(1), shop(1), at(0));
        held.insert(LinkId(1), shop(1), at(20));
        assert_eq!(held.due(), Some(at(RETRY_MS + 20)));
        assert_eq!(held.take_due(at(RETRY_MS)), []);
        assert_eq!(held.take_due(at(RETRY_MS + 20)), [shop(1)]);
        assert_eq!((held.due(), held.has(LinkId(1), shop(1))), (None, false));
    }

    #[test]
    fn until_a_time_that_is_known_but_within_bounds() {
        let mut held = HeldBack::default();
        held.insert_until(LinkId(1), shop(1), at(2 * RETRY_MS), at(0));
        held.insert_until(LinkId(1), shop(2), at(RETRY_MS - 1), at(0));
        held.insert_until(LinkId(1), shop(3), at(24 * 3_600_000), at(0));
        assert_eq!(held.take_due(at(RETRY_MS)), [shop(2)]);
        assert_eq!(held.take_due(at(2 * RETRY_MS)), [shop(1)]);
        assert_eq!(
            (held.due(), held.take_due(at(HELD_BACK_MS_MAX - 1))),
            (Some(at(HELD_BACK_MS_MAX)), vec![])
        );
        assert_eq!(held.take_due(at(HELD_BACK_MS_MAX)), [shop(3)]);
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_back_for_years() {
        let mut held = HeldBack::default();
        held.insert(LinkId(1), shop(1), at(1_000_000));
        assert_eq!(held.take_due(at(0)), [shop(1)]);
    }

    #[test]
    fn a_link_that_is_gone_leaves_nothing_behind() {
        let mut held = HeldBack::default();
        held.insert(LinkId(1), shop(1), at(0));
        held.insert(LinkId(2), shop(1), at(7));
        held.forget(LinkId(1));
        assert_eq!(held.due(), Some(at(RETRY_MS + 7)));
        held.clear();
        assert_eq!((held.due(), held.has(LinkId(2), shop(1))), (None, false));
    }
}
