//! Handshakes under way: bounded in number, and the oldest gives way to the newest.
//!
//! A plain semaphore would let whoever opens connections and says nothing keep everybody else waiting for the timeout.
//! An honest handshake takes two round trips, so the oldest is the likeliest to be idle (TRA-5).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::limits::ListenLimits;

/// The handshakes under way on one listener.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    table: Arc<Mutex<Table>>,
    slots: Arc<Semaphore>,
    per_source_max: usize,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    // By ticket, so oldest first. A few hundred at most: counting a source by a scan is cheap enough.
    waiting: BTreeMap<u64, (Source, CancellationToken)>,
}

/// What counts as one caller before it has shown its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source(IpAddr);

impl Source {
    /// One IPv4 address, or the /64 network that one IPv6 subscriber gets.
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.into()),
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into()),
        }
    }
}

impl Pending {
    pub(super) fn new(limits: &ListenLimits) -> Self {
        Self {
            table: Arc::default(),
            slots: Arc::new(Semaphore::new(limits.handshakes_max.get())),
            per_source_max: limits.handshakes_per_source_max.get(),
        }
    }

    /// Takes a caller in, in the place of an older one if need be. It waits only until that one's task has let go.
    pub(super) async fn admit(&self, address: IpAddr) -> Slot {
        let source = Source::of(address);
        let has_evicted = self.lock().make_room_for(source, self.per_source_max);
        let permit = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                if !has_evicted {
                    self.lock().evict_oldest();
                }
                Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed")
            }
        };
        let (ticket, evicted) = self.lock().insert(source);
        Slot { table: Arc::clone(&self.table), ticket, evicted, _permit: permit }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

/// A poisoned lock is taken over: each change is one map operation, so the map is whole.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    fn insert(&mut self, source: Source) -> (u64, CancellationToken) {
        let (ticket, evicted) = (self.next, CancellationToken::new());
        self.next += 1;
        self.waiting.insert(ticket, (source, evicted.clone()));
        (ticket, evicted)
    }

    /// Says whether somebody had to give way.
    fn make_room_for(&mut self, source: Source, max: usize) -> bool {
        let mut held =
            self.waiting.iter().filter(|(_, (held, _))| *held == source).map(|(ticket, _)| *ticket);
        let Some(oldest) = held.next() else { return false };
        let is_full = 1 + held.count() >= max;
        if is_full {
            self.evict(oldest);
        }
        is_full
    }

    fn evict_oldest(&mut self) {
        if let Some(oldest) = self.waiting.keys().next().copied() {
            self.evict(oldest);
        }
    }

    fn evict(&mut self, ticket: u64) {
        if let Some((_, evicted)) = self.waiting.remove(&ticket) {
            evicted.cancel();
        }
    }
}

/// A place among the handshakes under way, held as long as the handshake lasts.
#[derive(Debug)]
pub(super) struct Slot {
    table: Arc<Mutex<Table>>,
    ticket: u64,
    evicted: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    /// Resolves when a newer caller takes this place.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.table).waiting.remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use futures::FutureExt as _;

    use super::*;

    fn pending(total: usize, per_source: usize) -> Pending {
        Pending::new(&ListenLimits {
            handshakes_max: NonZeroUsize::new(total).unwrap(),
            handshakes_per_source_max: NonZeroUsize::new(per_source).unwrap(),
            ..ListenLimits::default()
        })
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn is_evicted(slot: &Slot) -> bool {
        slot.evicted().now_or_never().is_some()
    }

    #[tokio::test]
    async fn a_source_past_its_share_loses_its_own_oldest() {
        let pending = pending(8, 2);
        let other = pending.admit(address(1)).await;
        let first = pending.admit(address(2)).await;
        let second = pending.admit(address(2)).await;
        assert!(!is_evicted(&first));
        let third = pending.admit(address(2)).await;
        assert_eq!([&other, &first, &second, &third].map(is_evicted), [false, true, false, false]);
    }

    #[tokio::test]
    async fn when_full_the_oldest_gives_way_and_the_bound_holds() {
        let pending = pending(2, 2);
        let oldest = pending.admit(address(1)).await;
        let newer = pending.admit(address(2)).await;
        let mut next = Box::pin(pending.admit(address(3)));
        assert!(next.as_mut().now_or_never().is_none(), "the slot is not free before its holder lets go");
        assert_eq!([&oldest, &newer].map(is_evicted), [true, false]);
        drop(oldest);
        assert!(!is_evicted(&next.await));
    }

    #[tokio::test]
    async fn one_newcomer_displaces_one_caller() {
        let pending = pending(2, 1);
        let (other, own) = (pending.admit(address(1)).await, pending.admit(address(2)).await);
        let mut next = Box::pin(pending.admit(address(2)));
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!([&other, &own].map(is_evicted), [false, true]);
    }

    #[tokio::test]
    async fn finished_handshakes_count_no_more() {
        let pending = pending(2, 2);
        let held = pending.admit(address(1)).await;
        for _ in 0..8 {
            drop(pending.admit(address(1)).await);
        }
        assert!(!is_evicted(&held));
    }

    #[test]
    fn a_source_is_an_address_or_a_home_network() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
    }
}
