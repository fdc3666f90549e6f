//! Views: ordered keys and values that fold writes and decisions read. The store keeps them; here is what it must offer.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::ops::Bound;

/// Why a view cannot be read or written. Views can be rebuilt from the journal, so none of this loses anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The store's own file or page is damaged, or a value is not what its table holds. Rebuild.
    #[error("the views are damaged: {0}")]
    Damaged(String),
    /// The system refused to read or write.
    #[error("the views cannot be read or written: {0}")]
    Io(String),
}

/// Read access to views.
pub trait Reader {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError>;

    /// Visits the entries whose keys begin with `prefix`, ascending, from the first key greater than `after` (or from
    /// the first of all), until `visit` returns false.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError>;
}

/// Where a scan begins: see [`Reader::scan`].
pub fn scan_start<'a>(prefix: &'a [u8], after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
    after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded)
}

/// Writes that become visible together: a value, or `None` to remove the key.
pub type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Stored views under writes that are not stored yet: reads see their own writes.
#[derive(Debug)]
pub struct Overlay<'a, R: ?Sized> {
    base: &'a R,
    writes: Batch,
}

impl<'a, R: Reader + ?Sized> Overlay<'a, R> {
    /// No writes yet.
    pub const fn new(base: &'a R) -> Self {
        Self { base, writes: BTreeMap::new() }
    }

    /// Over `base` with writes that were taken from an earlier overlay.
    pub const fn with(base: &'a R, writes: Batch) -> Self {
        Self { base, writes }
    }

    /// Sets a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key, Some(value));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    /// The writes.
    pub fn into_writes(self) -> Batch {
        self.writes
    }
}

/// Stored views under writes that somebody else holds: to read only.
#[derive(Debug, Clone, Copy)]
pub struct Layered<'a, R: ?Sized> {
    base: &'a R,
    writes: &'a Batch,
}

impl<'a, R: Reader + ?Sized> Layered<'a, R> {
    /// `writes` over `base`.
    pub const fn new(base: &'a R, writes: &'a Batch) -> Self {
        Self { base, writes }
    }
}

impl<R: Reader + ?Sized> Reader for Overlay<'_, R> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Layered::new(self.base, &self.writes).get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        Layered::new(self.base, &self.writes).scan(prefix, after, visit)
    }
}

impl<R: Reader + ?Sized> Reader for Layered<'_, R> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        let mut written = self
            .writes
            .range::<[u8], _>((scan_start(prefix, after), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .peekable();
        let mut wanted = true;
        self.base.scan(prefix, after, &mut |key, value| {
            while let Some((own, own_value)) = written.next_if(|(own, _)| own.as_slice() < key) {
                wanted = own_value.as_ref().is_none_or(|v| visit(own, v));
                if !wanted {
                    return false;
                }
            }
            wanted = match written.next_if(|(own, _)| own.as_slice() == key) {
                Some((own, own_value)) => own_value.as_ref().is_none_or(|v| visit(own, v)),
                None => visit(key, value),
            };
            wanted
        })?;
        if wanted {
            for (own, own_value) in written {
                if !own_value.as_ref().is_none_or(|v| visit(own, v)) {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Views in memory, for tests of this crate.
    #[derive(Debug, Default, Clone, PartialEq, Eq)]
    pub(crate) struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

    impl Map {
        pub(crate) fn apply(&mut self, writes: Batch) {
            for (key, value) in writes {
                match value {
                    Some(value) => self.0.insert(key, value),
                    None => self.0.remove(&key),
                };
            }
        }
    }

    impl From<Batch> for Map {
        fn from(writes: Batch) -> Self {
            let mut map = Self::default();
            map.apply(writes);
            map
        }
    }

    impl Reader for Map {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
            Ok(self.0.get(key).cloned())
        }

        fn scan(
            &self,
            prefix: &[u8],
            after: Option<&[u8]>,
            visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
        ) -> Result<(), ViewError> {
            for (key, value) in &self.0 {
                let wanted = key.starts_with(prefix) && after.is_none_or(|after| key.as_slice() > after);
                if wanted && !visit(key, value) {
                    break;
                }
            }
            Ok(())
        }
    }

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0u8..3, 0..4)
    }

    proptest! {
        #[test]
        fn an_overlay_reads_as_if_its_writes_were_stored(
            base in proptest::collection::btree_map(keys(), keys(), 0..20),
            writes in proptest::collection::btree_map(keys(), proptest::option::of(keys()), 0..20),
            prefix in keys(),
            after in proptest::option::of(keys()),
            limit in 1usize..10,
        ) {
            let mut merged = base.clone();
            for (key, value) in &writes {
                match value {
                    Some(value) => { merged.insert(key.clone(), value.clone()); }
                    None => { merged.remove(key); }
                }
            }
            let base = Map(base);
            let overlay = Overlay::with(&base, writes);
            let collect = |reader: &dyn Reader| {
                let mut seen = Vec::new();
                reader.scan(&prefix, after.as_deref(), &mut |k, v| { seen.push((k.to_vec(), v.to_vec())); seen.len() < limit }).unwrap();
                seen
            };
            prop_assert_eq!(collect(&overlay), collect(&Map(merged.clone())));
            prop_assert_eq!(overlay.get(&prefix).unwrap(), merged.get(&prefix).cloned());
        }
    }
}
