//! One sled database in a folder, behind a panic boundary.

use std::{
    fs, io,
    io::ErrorKind,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hutong_core::view::{Batch, Reader, ViewError, scan_start};
use sled::{Db, IVec};

use super::RebuildReason;
use crate::journal::Lsn;

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

/// sled's files in a folder, and what is known of them.
#[derive(Debug)]
pub(super) struct Database {
    folder: PathBuf,
    version: u32,
    cache_bytes: u64,
    /// `None` while a reset has failed.
    db: RwLock<Option<Db>>,
    /// Set by the first sign of damage: what is read after it would be a guess.
    damaged: AtomicBool,
}

impl Database {
    /// Opens what is in the folder, whose lock is held; where that cannot be used it is wiped, and the reason told.
    pub(super) fn open(
        folder: &Path,
        version: u32,
        cache_bytes: u64,
    ) -> Result<(Self, Option<RebuildReason>), ViewError> {
        let (db, rebuilt_because) = match open_existing(folder, version, cache_bytes)? {
            Ok(db) => (db, None),
            Err(reason) => {
                tracing::debug!(folder = %folder.display(), ?reason, "the views begin empty");
                (begin(folder, version, cache_bytes)?, Some(reason))
            }
        };
        let folder = folder.to_owned();
        let (db, damaged) = (RwLock::new(Some(db)), AtomicBool::new(false));
        Ok((Self { folder, version, cache_bytes, db, damaged }, rebuilt_because))
    }

    fn db(&self) -> RwLockReadGuard<'_, Option<Db>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what was read until now can be trusted.
    pub(super) fn check(&self) -> Result<(), ViewError> {
        match self.damaged.load(Ordering::Acquire) {
            true => Err(ViewError::Damaged("sled reported damage before".into())),
            false => Ok(()),
        }
    }

    /// Runs one sled call behind the panic boundary. Damage, once seen, stays until a reset.
    pub(super) fn with<T>(&self, call: impl FnOnce(&Db) -> sled::Result<T>) -> Result<T, ViewError> {
        self.check()?;
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

    /// Stores writes and the position that they reflect: both or neither.
    pub(super) fn store(&self, batch: &Batch, position: Lsn) -> Result<(), ViewError> {
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

    pub(super) fn position(&self) -> Result<Lsn, ViewError> {
        match self.with(|db| db.get(POSITION_KEY))? {
            None => Ok(Lsn::ZERO),
            Some(bytes) => {
                let parsed = parse_position(&bytes);
                self.note(parsed.ok_or_else(|| ViewError::Damaged("the position is not a number".into())))
            }
        }
    }

    /// Throws everything away, and whatever was wrong with it.
    pub(super) fn reset(&self) -> Result<(), ViewError> {
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

    pub(super) fn flush(&self) -> Result<(), ViewError> {
        self.with(|db| db.flush().map(|_| ()))?;
        // sled's own flush is no fsync.
        let log = fs::File::open(self.folder.join(LOG_FILE)).and_then(|log| log.sync_data());
        log.map_err(|e| io_error(&e))
    }
}

impl Reader for Database {
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
        let from = scan_start(prefix, after).map(entry_key);
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

pub(super) fn io_error(error: &io::Error) -> ViewError {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_system_refuses_is_not_damage() {
        let io = |kind: ErrorKind| sled_error(&sled::Error::Io(kind.into()));
        assert!(matches!(io(ErrorKind::StorageFull), ViewError::Io(_)));
        assert!(matches!(io(ErrorKind::PermissionDenied), ViewError::Io(_)));
        assert!(matches!(io(ErrorKind::UnexpectedEof), ViewError::Damaged(_)));
        assert!(matches!(sled_error(&sled::Error::Corruption { at: None, bt: () }), ViewError::Damaged(_)));
    }
}
