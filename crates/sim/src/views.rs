//! Views that can fall back: after a power cut they are as they were some groups ago, as sled's are.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hutong_core::view::{Batch, Reader, ViewError, scan_start};
use hutong_store::{journal::Lsn, views::Views};
use rand::{RngExt as _, rngs::StdRng};

/// How many groups may be lost at once; sled syncs its own file in the background.
const GROUPS_AT_RISK_MAX: usize = 24;

/// One node's views.
#[derive(Debug, Default)]
pub(crate) struct SimViews(Mutex<Arc<State>>);

/// By key for single reads, which are most, and in order for scans.
#[derive(Debug, Default, Clone)]
struct State {
    values: HashMap<Arc<[u8]>, Vec<u8>>,
    keys: BTreeSet<Arc<[u8]>>,
    position: Lsn,
    /// What the last groups replaced, and the position before each, oldest first.
    replaced: VecDeque<(Replaced, Lsn)>,
}

/// Keys, and what they had before.
type Replaced = Vec<(Vec<u8>, Option<Vec<u8>>)>;

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
                for (key, value) in batch {
                    state.put(&key, value);
                }
                state.position = position;
            }
        }
        state.replaced.clear();
    }
}

impl State {
    /// Writes a value, or removes it; what was there before.
    fn put(&mut self, key: &[u8], value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let Some(value) = value else {
            self.keys.remove(key);
            return self.values.remove(key);
        };
        if let Some(old) = self.values.get_mut(key) {
            return Some(std::mem::replace(old, value));
        }
        let key: Arc<[u8]> = key.into();
        self.keys.insert(key.clone());
        self.values.insert(key, value)
    }
}

impl Reader for SimViews {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.state().values.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        // As it is now: whoever visits may read on.
        let state = Arc::clone(&self.state());
        for key in state.keys.range::<[u8], _>((scan_start(prefix, after), Bound::Unbounded)) {
            let Some(value) = state.values.get(key).filter(|_| key.starts_with(prefix)) else { break };
            if !visit(key, value) {
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
        let before = batch.iter().map(|(key, value)| (key.clone(), state.put(key, value.clone()))).collect();
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng as _;

    use super::*;

    fn all(views: &SimViews) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut all = BTreeMap::new();
        let mut visit = |key: &[u8], value: &[u8]| all.insert(key.to_vec(), value.to_vec()).is_none();
        views.scan(&[], None, &mut visit).unwrap();
        all
    }

    fn write(views: &SimViews, model: &mut BTreeMap<Vec<u8>, Vec<u8>>, position: u64, rng: &mut StdRng) {
        let mut batch = Batch::new();
        for _ in 0..8 {
            let key = vec![rng.random_range(0..3), rng.random_range(0..6)];
            let value = rng.random_bool(0.7).then(|| vec![rng.random(); 3]);
            match &value {
                Some(value) => model.insert(key.clone(), value.clone()),
                None => model.remove(&key),
            };
            batch.insert(key, value);
        }
        views.apply(&batch, Lsn(position)).unwrap();
    }

    #[test]
    fn what_is_read_one_by_one_and_in_order_is_what_was_written() {
        let (views, mut model, mut rng) = (SimViews::default(), BTreeMap::new(), StdRng::seed_from_u64(1));
        for position in 1..200 {
            write(&views, &mut model, position, &mut rng);
            assert_eq!(all(&views), model);
            let key = [rng.random_range(0..3), rng.random_range(0..6)];
            assert_eq!(views.get(&key).unwrap(), model.get(key.as_slice()).cloned());
            let mut after = Vec::new();
            let mut visit = |key: &[u8], _: &[u8]| {
                after.push(key.to_vec());
                true
            };
            views.scan(&key[..1], Some(&key), &mut visit).unwrap();
            let expected = model.keys().filter(|k| k[0] == key[0] && k.as_slice() > key.as_slice());
            assert_eq!(after, expected.cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_power_cut_leaves_the_views_as_they_were_after_some_earlier_group() {
        let mut rng = StdRng::seed_from_u64(2);
        for _ in 0..20 {
            let (views, mut model, mut states) = (SimViews::default(), BTreeMap::new(), Vec::new());
            states.push(model.clone());
            for position in 1..=GROUPS_AT_RISK_MAX as u64 {
                write(&views, &mut model, position, &mut rng);
                states.push(model.clone());
            }
            views.power_cut(&mut rng);
            let position = usize::try_from(views.position().unwrap().0).unwrap();
            assert_eq!(all(&views), states[position]);
        }
    }
}
