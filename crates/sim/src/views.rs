//! Views that can fall back: after a power cut they are as they were some groups ago, as sled's are.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hutong_core::view::{Batch, Reader, ViewError};
use hutong_store::{journal::Lsn, views::Views};
use rand::{RngExt as _, rngs::StdRng};

/// How many groups may be lost at once; sled syncs its own file in the background.
const GROUPS_AT_RISK_MAX: usize = 24;

/// One node's views.
#[derive(Debug, Default)]
pub(crate) struct SimViews(Mutex<Arc<State>>);

#[derive(Debug, Default, Clone)]
struct State {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    position: Lsn,
    /// What the last groups replaced, and the position before each, oldest first.
    replaced: VecDeque<(Batch, Lsn)>,
}

impl SimViews {
    fn state(&self) -> MutexGuard<'_, Arc<State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loses the last few groups.
    pub(crate) fn power_cut(&self, rng: &mut StdRng) {
        let mut shared = self.state();
        let state = Arc::make_mut(&mut shared);
        let lost = rng.random_range(0..=state.replaced.len());
        for _ in 0..lost {
            if let Some((batch, position)) = state.replaced.pop_back() {
                state.put(batch);
                state.position = position;
            }
        }
        state.replaced.clear();
    }
}

impl State {
    /// Writes a batch; what was there before.
    fn put(&mut self, batch: Batch) -> Batch {
        let mut before = Batch::new();
        for (key, value) in batch {
            let old = match value {
                Some(value) => self.entries.insert(key.clone(), value),
                None => self.entries.remove(&key),
            };
            before.insert(key, old);
        }
        before
    }
}

impl Reader for SimViews {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.state().entries.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        // As it is now: whoever visits may read on.
        let state = Arc::clone(&self.state());
        let from = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        for (key, value) in state.entries.range::<[u8], _>((from, Bound::Unbounded)) {
            if !key.starts_with(prefix) || !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

impl Views for SimViews {
    fn apply(&self, batch: &Batch, position: Lsn) -> Result<(), ViewError> {
        let mut shared = self.state();
        let state = Arc::make_mut(&mut shared);
        let before = state.put(batch.clone());
        let old = std::mem::replace(&mut state.position, position);
        state.replaced.push_back((before, old));
        if state.replaced.len() > GROUPS_AT_RISK_MAX {
            state.replaced.pop_front();
        }
        Ok(())
    }

    fn position(&self) -> Result<Lsn, ViewError> {
        Ok(self.state().position)
    }

    fn reset(&self) -> Result<(), ViewError> {
        *self.state() = Arc::default();
        Ok(())
    }

    fn flush(&self) -> Result<(), ViewError> {
        Arc::make_mut(&mut self.state()).replaced.clear();
        Ok(())
    }

    fn bytes_on_disk(&self) -> Result<u64, ViewError> {
        Ok(0)
    }
}
