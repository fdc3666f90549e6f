//! What will happen, in order of time; of what happens at one time, what was planned first comes first.

use std::collections::BTreeMap;

/// Things to come.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: BTreeMap<(i64, u64), E>,
    planned: u64,
}

impl<E> Queue<E> {
    pub(crate) const fn new() -> Self {
        Self { events: BTreeMap::new(), planned: 0 }
    }

    pub(crate) fn plan(&mut self, at_ms: i64, event: E) {
        self.planned += 1;
        self.events.insert((at_ms, self.planned), event);
    }

    /// The next thing, unless it lies after a time.
    pub(crate) fn next_until(&mut self, end_ms: i64) -> Option<(i64, E)> {
        let entry = self.events.first_entry().filter(|entry| entry.key().0 <= end_ms)?;
        let ((at_ms, _), event) = entry.remove_entry();
        Some((at_ms, event))
    }

    /// Drops what is not to come any more.
    pub(crate) fn keep(&mut self, mut wanted: impl FnMut(&E) -> bool) {
        self.events.retain(|_, event| wanted(event));
    }
}
