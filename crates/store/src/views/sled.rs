//! Views in sled 0.34.7, which can lose its newest writes with the power and panics on a damaged page.
//!
//! So each group is one atomic batch in one tree, with its position; every call is behind a panic boundary; and a store
//! that cannot be trusted is thrown away, since the journal has it all.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hutong_core::view::{Batch, Reader, ViewError};
use sled::{Db, IVec};

use super::{Views, check_sizes};
use crate::{disk::lock_file, journal::Lsn};

/// First byte of the keys below, which no caller's key has.
const OWN: u8 = 0;
/// First byte of a caller's keys.
const ENTRY: u8 = 1;
const POSITION_KEY: &[u8] = &[OWN, b'p'];
const VERSION_KEY: &[u8] = &[OWN, b'v'];
/// sled writes out at least so often. It must stay on: otherwise it never collects garbage.
const FLUSH_EVERY_MS: u64 = 500;
/// How often, and after what wait each time, sled is opened again where a database dropped before still ends.
const OPEN_TRIES: usize = 100;
const OPEN_WAIT: Duration = Duration::from_millis(20);
/// The file in which sled keeps its log.
const LOG_FILE: &str = "db";

/// Views in a sled database, in a folder that is theirs alone.
#[derive(Debug)]
pub struct SledViews {
    folder: PathBuf,
    version: u32,
    cache_bytes: u64,
    /// `None` while a reset has failed.
    db: RwLock<Option<Db>>,
    /// Set by the first sign of damage: what is read after it would be a guess.
    damaged: AtomicBool,
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
        let (db, rebuilt_because) = match open_existing(folder, version, cache_bytes)? {
            Ok(db) => (db, None),
            Err(reason) => {
                tracing::debug!(folder = %folder.display(), ?reason, "the views begin empty");
                (begin(folder, version, cache_bytes)?, Some(reason))
            }
        };
        let views = Self {
            folder: folder.to_owned(),
            version,
            cache_bytes,
            db: RwLock::new(Some(db)),
            damaged: AtomicBool::new(false),
            _lock: lock,
        };
        Ok(OpenedViews { views, rebuilt_because })
    }

    fn db(&self) -> RwLockReadGuard<'_, Option<Db>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one sled call behind the panic boundary. Damage, once seen, stays until a reset.
    fn with<T>(&self, call: impl FnOnce(&Db) -> sled::Result<T>) -> Result<T, ViewError> {
        if self.damaged.load(Ordering::Acquire) {
            return Err(ViewError::Damaged("sled reported damage before".into()));
        }
        let guard = self.db();
        let Some(db) = guard.as_ref() else {
            return Err(ViewError::Io("the views could not be reset".into()));
        };
        self.note(guarded(|| call(db)))
    }

    fn note<T>(&self, result: Result<T, ViewError>) -> Result<T, ViewError> {
        if let Err(ViewError::Damaged(message)) = &result {
            if !self.damaged.swap(true, Ordering::AcqRel)
                && let Err(error) = fs::write(mark_path(&self.folder), message)
            {
                tracing::warn!(%error, "the damaged views could not be marked");
            }
            tracing::error!(message, "the views are damaged");
        }
        result
    }
}

fn lock_path(folder: &Path) -> PathBuf {
    let mut path = folder.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// A file beside the folder that says that damage was seen: what sled opens without a word may still be damaged.
fn mark_path(folder: &Path) -> PathBuf {
    let mut path = folder.as_os_str().to_owned();
    path.push(".damaged");
    path.into()
}

/// Opens what is there, or says why it must go. The outer error is not a reason to throw anything away.
fn open_existing(
    folder: &Path,
    version: u32,
    cache_bytes: u64,
) -> Result<Result<Db, RebuildReason>, ViewError> {
    match folder.join(LOG_FILE).try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(Err(RebuildReason::Missing)),
        Err(error) => return Err(io_error(&error)),
    }
    if mark_path(folder).exists() {
        return Ok(Err(RebuildReason::Damaged("damage was seen while they were in use".into())));
    }
    let opened = guarded(|| {
        let db = open_db(folder, cache_bytes)?;
        let (found, position) = (db.get(VERSION_KEY)?, db.get(POSITION_KEY)?);
        let is_used = db.range::<&[u8], _>(&[ENTRY][..]..).next().transpose()?.is_some();
        Ok((db, found, position, is_used))
    });
    let (db, found, position, is_used) = match opened {
        Ok(opened) => opened,
        Err(ViewError::Damaged(message)) => return Ok(Err(RebuildReason::Damaged(message))),
        Err(error) => return Err(error),
    };
    let damaged = |message: &str| Ok(Err(RebuildReason::Damaged(message.into())));
    match found.as_deref().map(<[u8; 4]>::try_from) {
        Some(Ok(found)) if u32::from_be_bytes(found) == version => {}
        Some(Ok(found)) => return Ok(Err(RebuildReason::OtherVersion { found: u32::from_be_bytes(found) })),
        Some(Err(_)) => return damaged("the version is not a number"),
        None => return damaged("the version is missing"),
    }
    match position.as_deref().map(parse_position) {
        Some(Some(_)) => Ok(Ok(db)),
        Some(None) => damaged("the position is not a number"),
        None if is_used => damaged("entries without a position"),
        None => Ok(Ok(db)),
    }
}

/// Opens sled's database. The folder's own lock is held, so whoever holds sled's is a database of this process that was
/// dropped a moment ago, whose threads end with what they were at.
fn open_db(folder: &Path, cache_bytes: u64) -> sled::Result<Db> {
    let mut tries = 0;
    loop {
        match config(folder, cache_bytes).open() {
            Err(sled::Error::Io(error)) if tries < OPEN_TRIES && is_held(&error) => {
                tries += 1;
                std::thread::sleep(OPEN_WAIT);
            }
            opened => return opened,
        }
    }
}

fn is_held(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

/// Empties the folder and begins a database in it.
fn begin(folder: &Path, version: u32, cache_bytes: u64) -> Result<Db, ViewError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_error(&error)),
        _ => {}
    }
    match fs::remove_file(mark_path(folder)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_error(&error)),
        _ => {}
    }
    guarded(|| {
        let db = open_db(folder, cache_bytes)?;
        db.insert(VERSION_KEY, &version.to_be_bytes())?;
        db.flush()?;
        Ok(db)
    })
}

fn config(folder: &Path, cache_bytes: u64) -> sled::Config {
    sled::Config::new().path(folder).cache_capacity(cache_bytes).flush_every_ms(Some(FLUSH_EVERY_MS))
}

/// The panic boundary. sled holds no lock of ours, and after a panic nothing more is asked of it.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, ViewError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| sled_error(&error)),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(ViewError::Damaged(format!("sled panicked: {message}")))
        }
    }
}

/// The system's refusals are told apart from what sled makes of bytes that it cannot read.
fn sled_error(error: &sled::Error) -> ViewError {
    match error {
        sled::Error::Io(io) if !is_damage(io.kind()) => io_error(io),
        error => ViewError::Damaged(error.to_string()),
    }
}

const fn is_damage(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other
    )
}

fn io_error(error: &io::Error) -> ViewError {
    ViewError::Io(error.to_string())
}

fn parse_position(bytes: &[u8]) -> Option<Lsn> {
    Some(Lsn(u64::from_be_bytes(bytes.try_into().ok()?)))
}

/// The key under which a caller's key is stored.
fn entry_key(key: &[u8]) -> Vec<u8> {
    let mut own = Vec::with_capacity(1 + key.len());
    own.push(ENTRY);
    own.extend_from_slice(key);
    own
}

impl Reader for SledViews {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        let key = entry_key(key);
        Ok(self.with(|db| db.get(&key))?.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        let own_prefix = entry_key(prefix);
        let from = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(entry_key(after)),
            None => Bound::Included(own_prefix.clone()),
        };
        let mut entries = self.with(|db| Ok(db.range((from, Bound::Unbounded))))?;
        // Only sled's step is behind the boundary: a panic of `visit` is the caller's own.
        while let Some((key, value)) = self.note(guarded(|| entries.next().transpose()))? {
            let (key, value): (&IVec, &IVec) = (&key, &value);
            if !key.starts_with(&own_prefix) || !visit(&key[1..], value) {
                break;
            }
        }
        Ok(())
    }
}

impl Views for SledViews {
    fn apply(&self, batch: &Batch, position: Lsn) -> Result<(), ViewError> {
        check_sizes(batch)?;
        let mut writes = sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => writes.insert(entry_key(key), value.as_slice()),
                None => writes.remove(entry_key(key)),
            }
        }
        writes.insert(POSITION_KEY, &position.0.to_be_bytes());
        self.with(|db| db.apply_batch(writes))
    }

    fn position(&self) -> Result<Lsn, ViewError> {
        match self.with(|db| db.get(POSITION_KEY))? {
            None => Ok(Lsn::ZERO),
            Some(bytes) => {
                let parsed = parse_position(&bytes);
                self.note(parsed.ok_or_else(|| ViewError::Damaged("the position is not a number".into())))
            }
        }
    }

    fn reset(&self) -> Result<(), ViewError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = db.take() {
            // Closing writes out what is in memory, and may stumble over the damage that is being thrown away.
            let _ = guarded(|| {
                drop(old);
                Ok(())
            });
        }
        *db = Some(begin(&self.folder, self.version, self.cache_bytes)?);
        self.damaged.store(false, Ordering::Release);
        Ok(())
    }

    fn flush(&self) -> Result<(), ViewError> {
        self.with(|db| db.flush().map(|_| ()))?;
        // sled's own flush is no fsync.
        let log = File::open(self.folder.join(LOG_FILE)).and_then(|log| log.sync_data());
        log.map_err(|e| io_error(&e))
    }

    fn bytes_on_disk(&self) -> Result<u64, ViewError> {
        self.with(Db::size_on_disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_sled_is_damage_until_a_reset() {
        let folder = tempfile::tempdir().unwrap();
        let views = SledViews::open(&folder.path().join("views"), 1, 8 << 20).unwrap().views;
        let panicked = views.with(|_| -> sled::Result<()> { panic!("page {} is damaged", 7) });
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
        let _damaged = views.with(|_| -> sled::Result<()> { panic!("a page is damaged") });
        drop(views);
        let opened = SledViews::open(&path, 1, 8 << 20).unwrap();
        assert!(matches!(opened.rebuilt_because, Some(RebuildReason::Damaged(_))));
        assert_eq!((opened.views.position(), opened.views.get(&[7])), (Ok(Lsn::ZERO), Ok(None)));
        drop(opened);
        assert_eq!(SledViews::open(&path, 1, 8 << 20).unwrap().rebuilt_because, None);
    }

    #[test]
    fn only_what_the_system_refuses_is_not_damage() {
        let io = |kind: ErrorKind| sled_error(&sled::Error::Io(kind.into()));
        assert!(matches!(io(ErrorKind::StorageFull), ViewError::Io(_)));
        assert!(matches!(io(ErrorKind::PermissionDenied), ViewError::Io(_)));
        assert!(matches!(io(ErrorKind::UnexpectedEof), ViewError::Damaged(_)));
        assert!(matches!(sled_error(&sled::Error::Corruption { at: None, bt: () }), ViewError::Damaged(_)));
    }
}
