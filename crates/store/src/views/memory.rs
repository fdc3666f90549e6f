//! Views in memory: the twin for tests and simulations.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use hutong_core::view::{Batch, Reader, ViewError, scan_start};

use super::{Views, check_sizes};
use crate::journal::Lsn;

/// Views in memory. They never fail, and a scan sees the state in which it began.
#[derive(Debug, Default)]
pub struct MemViews(RwLock<Arc<State>>);

#[derive(Debug, Default, Clone)]
struct State {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    position: Lsn,
}

impl MemViews {
    /// Empty views, at position zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state as it is now. Later writes do not change it: they copy what somebody still reads.
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reader for MemViews {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.state().entries.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        let state = self.state();
        for (key, value) in state.entries.range::<[u8], _>((scan_start(prefix, after), Bound::Unbounded)) {
            if !key.starts_with(prefix) || !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

impl Views for MemViews {
    fn apply(&self, batch: &Batch, position: Lsn) -> Result<(), ViewError> {
        check_sizes(batch)?;
        let mut shared = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let state = Arc::make_mut(&mut shared);
        for (key, value) in batch {
            match value {
                Some(value) => state.entries.insert(key.clone(), value.clone()),
                None => state.entries.remove(key),
            };
        }
        state.position = position;
        Ok(())
    }

    fn position(&self) -> Result<Lsn, ViewError> {
        Ok(self.state().position)
    }

    fn reset(&self) -> Result<(), ViewError> {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        Ok(())
    }

    fn flush(&self) -> Result<(), ViewError> {
        Ok(())
    }

    fn bytes_on_disk(&self) -> Result<u64, ViewError> {
        Ok(0)
    }
}
