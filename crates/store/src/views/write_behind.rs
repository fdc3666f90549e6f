//! Writes on their way into a slower store: they are readable at once, and a thread stores what has gathered in one batch.
//!
//! sled rolls its buffers over for each batch, which writes to the disk twice, beside the journal's sync; keys that change
//! with every group are stored once for many groups this way.

use std::{
    io,
    mem::take,
    ops::Bound,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use hutong_core::view::{Batch, ViewError, scan_start};

use crate::journal::Lsn;

/// How long writes gather. While a batch is stored nobody reads from sled, so a longer time makes tills wait longer; a
/// shorter one stores more often.
const GATHER: Duration = Duration::from_millis(5);
/// Writes of so many bytes are stored at once.
const GATHERED_BYTES_MAX: usize = 1 << 20;
/// Whoever writes faster than the store waits here, so that no more lies in memory.
const BACKLOG_BYTES_MAX: usize = 4 << 20;
/// What a key takes beside its bytes and its value's, about.
const ENTRY_BYTES: usize = 64;

/// What has not been stored yet, and the thread that stores it. Dropped, it stores the rest.
#[derive(Debug)]
pub(super) struct WriteBehind {
    shared: Arc<Shared>,
    /// None once it ended.
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    layers: Mutex<Layers>,
    changed: Condvar,
}

/// Of two layers the upper one counts, and either before what is stored.
#[derive(Debug, Default)]
struct Layers {
    gathered: Batch,
    /// What the gathered writes came to, those that were overwritten included.
    gathered_bytes: usize,
    /// What the newest writes reflect; none: there were none.
    position: Option<Lsn>,
    /// Something has gathered since the store was last given anything, if only a position.
    is_unstored: bool,
    /// Handed to the store, which may have taken it or not.
    storing: Option<Arc<Batch>>,
    /// The thread is in the store.
    is_busy: bool,
    /// `gathered` and its position are to be stored without waiting.
    is_wanted: bool,
    is_closing: bool,
    /// Why the store refused; nothing more is handed to it.
    failed: Option<ViewError>,
}

impl Layers {
    const fn is_due(&self) -> bool {
        self.is_wanted || self.is_closing || self.gathered_bytes >= GATHERED_BYTES_MAX
    }

    const fn has_work(&self) -> bool {
        self.is_unstored && self.failed.is_none()
    }

    fn check(&self) -> Result<(), ViewError> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

impl Shared {
    /// Each change is whole before the lock is given back.
    fn lock(&self) -> MutexGuard<'_, Layers> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        layers: MutexGuard<'a, Layers>,
        wait: impl Fn(&Layers) -> bool,
    ) -> MutexGuard<'a, Layers> {
        self.changed.wait_while(layers, |layers| wait(layers)).unwrap_or_else(PoisonError::into_inner)
    }

    fn store_what_gathers(&self, store: &impl Fn(&Batch, Lsn) -> Result<(), ViewError>) {
        let mut layers = self.lock();
        loop {
            layers = self.wait_while(layers, |layers| !layers.has_work() && !layers.is_closing);
            if !layers.has_work() {
                return;
            }
            let waited = self.changed.wait_timeout_while(layers, GATHER, |layers| !layers.is_due());
            layers = waited.unwrap_or_else(PoisonError::into_inner).0;
            // Cleared meanwhile, perhaps.
            let Some(position) = layers.position.filter(|_| layers.has_work()) else { continue };
            layers.is_unstored = false;
            let batch = Arc::new(take(&mut layers.gathered));
            layers.gathered_bytes = 0;
            layers.storing = Some(batch.clone());
            layers.is_busy = true;
            drop(layers);
            self.changed.notify_all();
            let stored = store(&batch, position);
            layers = self.lock();
            layers.is_busy = false;
            match stored {
                Ok(()) => layers.storing = None,
                Err(error) => layers.failed = Some(error),
            }
            self.changed.notify_all();
        }
    }
}

impl WriteBehind {
    /// Has `store`, on a thread of its own, keep a batch together with the position that it reflects.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(
        store: impl Fn(&Batch, Lsn) -> Result<(), ViewError> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let storing = shared.clone();
        let thread =
            thread::Builder::new().name("views".into()).spawn(move || storing.store_what_gathers(&store))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes writes, to be stored soon. Waits while far more than the store can take has gathered.
    ///
    /// # Errors
    /// What the store said of earlier writes.
    pub(super) fn write(&self, batch: &Batch, position: Lsn) -> Result<(), ViewError> {
        let mut layers = self.shared.wait_while(self.shared.lock(), |layers| {
            layers.gathered_bytes >= BACKLOG_BYTES_MAX && layers.has_work()
        });
        layers.check()?;
        let was_asleep = !layers.is_unstored;
        let was_due = layers.is_due();
        for (key, value) in batch {
            layers.gathered_bytes += ENTRY_BYTES + key.len() + value.as_ref().map_or(0, Vec::len);
            layers.gathered.insert(key.clone(), value.clone());
        }
        layers.position = Some(position);
        layers.is_unstored = true;
        if was_asleep || (layers.is_due() && !was_due) {
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    /// What is to be stored for a key, if anything.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let layers = self.shared.lock();
        let stored_soon = layers.storing.as_ref().and_then(|storing| storing.get(key));
        layers.gathered.get(key).or(stored_soon).cloned()
    }

    /// What is to be stored for the keys that begin with `prefix` and come after `after`.
    pub(super) fn range(&self, prefix: &[u8], after: Option<&[u8]>) -> Batch {
        let from = scan_start(prefix, after);
        let layers = self.shared.lock();
        let mut found = Batch::new();
        for layer in [layers.storing.as_deref(), Some(&layers.gathered)].into_iter().flatten() {
            let entries = layer.range::<[u8], _>((from, Bound::Unbounded));
            let wanted = entries.take_while(|(key, _)| key.starts_with(prefix));
            found.extend(wanted.map(|(key, value)| (key.clone(), value.clone())));
        }
        found
    }

    /// What the newest writes reflect; none: there were none since the start, or since [`WriteBehind::clear`].
    pub(super) fn position(&self) -> Option<Lsn> {
        self.shared.lock().position
    }

    /// Returns when all that was written is stored.
    ///
    /// # Errors
    /// What the store said.
    pub(super) fn settle(&self) -> Result<(), ViewError> {
        let mut layers = self.shared.lock();
        layers.is_wanted = true;
        self.shared.changed.notify_all();
        layers = self.shared.wait_while(layers, |layers| layers.is_busy || layers.has_work());
        layers.is_wanted = false;
        layers.check()
    }

    /// Forgets what was not stored yet, and what the store said. The store is left alone when this returns.
    pub(super) fn clear(&self) {
        let mut layers = self.shared.wait_while(self.shared.lock(), |layers| layers.is_busy);
        *layers = Layers { is_closing: layers.is_closing, ..Layers::default() };
        self.shared.changed.notify_all();
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_all();
        // A thread that panicked has said so, and left nothing to be done here.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::views::VALUE_BYTES_MAX;

    /// A store that can be held up and made to refuse.
    #[derive(Debug, Default)]
    struct Slow {
        stored: Mutex<(Batch, Lsn)>,
        batches: AtomicUsize,
        is_held: Mutex<bool>,
        let_go: Condvar,
        refuses: AtomicBool,
    }

    impl Slow {
        fn store(&self, batch: &Batch, position: Lsn) -> Result<(), ViewError> {
            drop(self.let_go.wait_while(self.is_held.lock().unwrap(), |is_held| *is_held).unwrap());
            if self.refuses.load(Ordering::SeqCst) {
                return Err(ViewError::Io("no room".into()));
            }
            self.batches.fetch_add(1, Ordering::SeqCst);
            let mut stored = self.stored.lock().unwrap();
            stored.0.extend(batch.clone());
            stored.1 = position;
            Ok(())
        }

        fn hold(&self, is_held: bool) {
            *self.is_held.lock().unwrap() = is_held;
            self.let_go.notify_all();
        }

        fn stored(&self) -> (Batch, Lsn) {
            self.stored.lock().unwrap().clone()
        }
    }

    fn behind(slow: &Arc<Slow>) -> WriteBehind {
        let slow = slow.clone();
        WriteBehind::start(move |batch, position| slow.store(batch, position)).unwrap()
    }

    fn entry(key: u8, value: u8) -> Batch {
        Batch::from([(vec![key], Some(vec![value]))])
    }

    #[test]
    fn what_gathers_while_the_store_is_slow_is_read_before_what_is_being_stored() {
        let slow = Arc::<Slow>::default();
        slow.hold(true);
        let behind = behind(&slow);
        behind.write(&Batch::from([(vec![1], Some(vec![1])), (vec![2], Some(vec![1]))]), Lsn(1)).unwrap();
        while behind.shared.lock().storing.is_none() {
            thread::yield_now();
        }
        behind.write(&Batch::from([(vec![2], None), (vec![3], Some(vec![2]))]), Lsn(2)).unwrap();
        assert_eq!(behind.position(), Some(Lsn(2)));
        assert_eq!(
            [1, 2, 3, 4].map(|key| behind.get(&[key])),
            [Some(Some(vec![1])), Some(None), Some(Some(vec![2])), None]
        );
        let both = Batch::from([(vec![1], Some(vec![1])), (vec![2], None), (vec![3], Some(vec![2]))]);
        assert_eq!(behind.range(&[], None), both);
        assert_eq!(behind.range(&[], Some(&[1])).len(), 2);
        assert_eq!(behind.range(&[3], Some(&[1])), entry(3, 2));
        slow.hold(false);
        behind.settle().unwrap();
        assert_eq!(slow.stored(), (both, Lsn(2)));
        assert_eq!((behind.get(&[1]), behind.position()), (None, Some(Lsn(2))));
    }

    #[test]
    fn many_small_writes_are_stored_as_few() {
        let slow = Arc::<Slow>::default();
        slow.hold(true);
        let behind = behind(&slow);
        for n in 0..=255 {
            behind.write(&entry(1, n), Lsn(n.into())).unwrap();
        }
        slow.hold(false);
        drop(behind);
        assert_eq!(slow.stored(), (entry(1, 255), Lsn(255)), "an end stores the rest");
        assert!(slow.batches.load(Ordering::SeqCst) <= 2);
    }

    #[test]
    fn a_position_alone_is_stored_as_well() {
        let slow = Arc::<Slow>::default();
        let behind = behind(&slow);
        behind.write(&Batch::new(), Lsn(7)).unwrap();
        behind.settle().unwrap();
        assert_eq!(slow.stored(), (Batch::new(), Lsn(7)));
        behind.settle().unwrap();
        assert_eq!(slow.batches.load(Ordering::SeqCst), 1, "nothing was left to store");
    }

    #[test]
    fn a_store_that_refuses_is_given_nothing_more_until_all_is_forgotten() {
        let slow = Arc::<Slow>::default();
        slow.refuses.store(true, Ordering::SeqCst);
        let behind = behind(&slow);
        behind.write(&entry(1, 1), Lsn(1)).unwrap();
        let refused = Err(ViewError::Io("no room".into()));
        assert_eq!(behind.settle(), refused);
        assert_eq!(behind.write(&entry(2, 2), Lsn(2)), refused);
        assert_eq!(
            (behind.get(&[1]), behind.get(&[2])),
            (Some(Some(vec![1])), None),
            "what was taken is read"
        );
        slow.refuses.store(false, Ordering::SeqCst);
        behind.clear();
        assert_eq!((behind.get(&[1]), behind.position()), (None, None));
        behind.write(&entry(3, 3), Lsn(3)).unwrap();
        behind.settle().unwrap();
        assert_eq!(slow.stored(), (entry(3, 3), Lsn(3)));
    }

    #[test]
    fn who_writes_faster_than_the_store_waits_for_it() {
        let slow = Arc::<Slow>::default();
        let behind = behind(&slow);
        let large = |n: u64| Batch::from([(n.to_be_bytes().to_vec(), Some(vec![0; 60_000]))]);
        for n in 0..400 {
            behind.write(&large(n), Lsn(n)).unwrap();
            assert!(behind.shared.lock().gathered_bytes < BACKLOG_BYTES_MAX + VALUE_BYTES_MAX);
        }
        behind.settle().unwrap();
        assert_eq!((slow.stored().0.len(), slow.stored().1), (400, Lsn(399)));
    }
}
