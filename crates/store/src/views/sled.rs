//! Views in sled 0.34.7, which can lose its newest writes with the power and panics on a damaged page.
//!
//! So what is stored together is one atomic batch in one tree, with its position; every call is behind a panic boundary;
//! and a store that cannot be trusted is thrown away, since the journal has it all.

mod database;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use database::{Database, io_error};
use hutong_core::view::{Batch, Layered, Reader, ViewError};
use sled::Db;

use super::{Views, check_sizes, write_behind::WriteBehind};
use crate::{disk::lock_file, journal::Lsn};

/// Views in a sled database, in a folder that is theirs alone. What a group writes can be read at once; it is stored
/// some milliseconds later, so a process that is killed folds that much anew.
#[derive(Debug)]
pub struct SledViews {
    /// Dropped first: it stores what is left in the database.
    behind: WriteBehind,
    database: Arc<Database>,
    _lock: File,
}

/// Views that were opened.
#[derive(Debug)]
pub struct OpenedViews {
    /// The views.
    pub views: SledViews,
    /// Set if they are empty now and must be folded anew from the start of the journal.
    pub rebuilt_because: Option<RebuildReason>,
}

/// Why views begin empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebuildReason {
    /// There were none.
    Missing,
    /// sled could not read what was there, or panicked over it.
    Damaged(String),
    /// They were folded by another version of the program.
    OtherVersion {
        /// Of that program.
        found: u32,
    },
}

impl SledViews {
    /// Opens the views in `folder`, which is wiped if they are missing, damaged or not of `version` (which changes
    /// whenever folding does). `cache_bytes` is what sled may cache; it has been seen to take 1.5 times as much.
    ///
    /// The lock is a file beside the folder, `<folder>.lock`; so is a mark that damage was seen, `<folder>.damaged`.
    ///
    /// # Errors
    /// `Io` if another process has them open, or the system refuses.
    pub fn open(folder: &Path, version: u32, cache_bytes: u64) -> Result<OpenedViews, ViewError> {
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(|e| io_error(&e))?;
        }
        let lock = lock_file(&lock_path(folder)).map_err(|e| io_error(&e))?;
        let (database, rebuilt_because) = Database::open(folder, version, cache_bytes)?;
        let database = Arc::new(database);
        let stored = database.clone();
        let behind = WriteBehind::start(move |batch, position| stored.store(batch, position));
        let behind = behind.map_err(|e| io_error(&e))?;
        Ok(OpenedViews { views: Self { behind, database, _lock: lock }, rebuilt_because })
    }
}

fn lock_path(folder: &Path) -> PathBuf {
    let mut path = folder.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

impl Reader for SledViews {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        match self.behind.get(key) {
            Some(unstored) => Ok(unstored),
            None => self.database.get(key),
        }
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        let unstored = self.behind.range(prefix, after);
        Layered::new(&*self.database, &unstored).scan(prefix, after, visit)
    }
}

impl Views for SledViews {
    fn apply(&self, batch: &Batch, position: Lsn) -> Result<(), ViewError> {
        check_sizes(batch)?;
        self.database.check()?;
        self.behind.write(batch, position)
    }

    fn position(&self) -> Result<Lsn, ViewError> {
        self.database.check()?;
        match self.behind.position() {
            Some(position) => Ok(position),
            None => self.database.position(),
        }
    }

    fn reset(&self) -> Result<(), ViewError> {
        self.behind.clear();
        self.database.reset()
    }

    fn flush(&self) -> Result<(), ViewError> {
        self.behind.settle()?;
        self.database.flush()
    }

    fn bytes_on_disk(&self) -> Result<u64, ViewError> {
        self.database.with(Db::size_on_disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_sled_is_damage_until_a_reset() {
        let folder = tempfile::tempdir().unwrap();
        let views = SledViews::open(&folder.path().join("views"), 1, 8 << 20).unwrap().views;
        let panicked = views.database.with(|_| -> sled::Result<()> { panic!("page {} is damaged", 7) });
        assert_eq!(panicked, Err(ViewError::Damaged("sled panicked: page 7 is damaged".into())));
        assert!(matches!(views.position(), Err(ViewError::Damaged(_))));
        assert!(matches!(views.apply(&Batch::new(), Lsn(1)), Err(ViewError::Damaged(_))));
        views.reset().unwrap();
        assert_eq!(views.position(), Ok(Lsn::ZERO));
    }

    #[test]
    fn views_that_were_seen_damaged_are_begun_anew_by_the_next_to_open_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("views");
        let views = SledViews::open(&path, 1, 8 << 20).unwrap().views;
        views.apply(&Batch::from([(vec![7], Some(vec![1]))]), Lsn(1)).unwrap();
        let _damaged = views.database.with(|_| -> sled::Result<()> { panic!("a page is damaged") });
        drop(views);
        let opened = SledViews::open(&path, 1, 8 << 20).unwrap();
        assert!(matches!(opened.rebuilt_because, Some(RebuildReason::Damaged(_))));
        assert_eq!((opened.views.position(), opened.views.get(&[7])), (Ok(Lsn::ZERO), Ok(None)));
        drop(opened);
        assert_eq!(SledViews::open(&path, 1, 8 << 20).unwrap().rebuilt_because, None);
    }
}
