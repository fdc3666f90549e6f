//! The folder that holds everything a node owns, and who may read it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use data_encoding::BASE64URL_NOPAD;
use hutong_record::{AllianceId, UnixMillis};
use rand::{TryRng as _, rngs::SysRng};
use zeroize::Zeroizing;

use crate::whole_file;
pub(crate) use crate::whole_file::Secrecy;

/// The longest small file read whole, bytes.
const SMALL_FILE_BYTES_MAX: u64 = 64 * 1024;
/// The merchant token's randomness, bytes.
const TOKEN_BYTES: usize = 32;
/// Rights of group and others that make a secret file no secret: reading and writing.
#[cfg(unix)]
const SHARED_MODE: u32 = 0o066;

/// Where a node keeps configuration, keys and alliances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder(PathBuf);

/// Why a file of the data folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    /// No node was set up here.
    #[error("{0} holds no node: set one up with `hutong init`")]
    Missing(PathBuf),
    /// A node was set up here already.
    #[error("{0} exists already: choose another folder with --data, nothing was changed")]
    Exists(PathBuf),
    /// The file that was to be written is there.
    #[error("{0} exists already: choose another --output, nothing was changed")]
    OutputExists(PathBuf),
    /// Others than the owner may read or write a secret.
    #[error(
        "{path} can be read or written by others (mode {mode:03o}): run `chmod 600 {path}`, and if others use \
             this machine, take the secret in it for known"
    )]
    Shared {
        /// The file.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// Its content is not what we write.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another process uses the folder.
    #[error("{0} is in use by another `hutong serve`")]
    Locked(PathBuf),
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Something that the operator did, and when: for `hutong doctor` and for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// `hutong backup` wrote a backup and read it back.
    Backup,
    /// `hutong check-phrase` was shown this shop's recovery phrase.
    Phrase,
}

impl Note {
    const fn file(self) -> &'static str {
        match self {
            Self::Backup => "last-backup",
            Self::Phrase => "phrase-checked",
        }
    }
}

/// Holds the data folder for this process until it is dropped.
#[derive(Debug)]
pub struct NodeLock {
    _file: File,
}

impl DataFolder {
    /// The folder at a path; nothing is read or made yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The configuration, `hutong.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.0.join("hutong.toml")
    }

    /// The secret seeds, `shop.key`.
    pub fn key_file(&self) -> PathBuf {
        self.0.join("shop.key")
    }

    /// The signed identity, `identity.bin`.
    pub fn identity_file(&self) -> PathBuf {
        self.0.join("identity.bin")
    }

    /// What opens the merchant port, `merchant.token`.
    pub fn token_file(&self) -> PathBuf {
        self.0.join("merchant.token")
    }

    /// Where the merchant port really listens, `merchant.addr`; there only while the node runs.
    pub fn merchant_address_file(&self) -> PathBuf {
        self.0.join("merchant.addr")
    }

    /// Partner apps' tokens, hashed, `tokens.json`.
    pub fn tokens_file(&self) -> PathBuf {
        self.0.join("tokens.json")
    }

    /// What callers changed and were denied, `audit/`.
    pub fn audit_folder(&self) -> PathBuf {
        self.0.join("audit")
    }

    /// Addresses that events are sent to, with their secrets, `webhooks/`.
    pub fn webhooks_folder(&self) -> PathBuf {
        self.0.join("webhooks")
    }

    /// Where metrics are really told, `metrics.addr`; there only while the node runs.
    pub fn metrics_address_file(&self) -> PathBuf {
        self.0.join("metrics.addr")
    }

    /// Notes that something was done at a moment.
    pub fn note(&self, note: Note, at: UnixMillis) -> Result<(), DataFolderError> {
        let line = format!("{}\n", at.ms());
        replace(&self.0.join(note.file()), line.as_bytes(), Secrecy::Plain)
    }

    /// When something was done last; nothing where it never was.
    pub fn noted(&self, note: Note) -> Result<Option<UnixMillis>, DataFolderError> {
        let path = self.0.join(note.file());
        let bytes = match read_small(&path) {
            Err(DataFolderError::Missing(_)) => return Ok(None),
            read => read?,
        };
        let at = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        match at.and_then(|ms| UnixMillis::new(ms).ok()) {
            Some(at) => Ok(Some(at)),
            None => Err(DataFolderError::Damaged { path, what: "not a moment" }),
        }
    }

    /// When the node was set up, as its key file tells; nothing where there is none.
    pub fn set_up_at(&self) -> Option<UnixMillis> {
        let written = fs::metadata(self.key_file()).ok()?.modified().ok()?;
        let since_epoch = written.duration_since(std::time::UNIX_EPOCH).ok()?;
        UnixMillis::new(i64::try_from(since_epoch.as_millis()).ok()?).ok()
    }

    /// Says where metrics are told.
    pub fn write_metrics_address(&self, bound: SocketAddr) -> Result<(), DataFolderError> {
        replace(&self.metrics_address_file(), format!("{bound}\n").as_bytes(), Secrecy::Plain)
    }

    /// Takes the word back.
    pub fn remove_metrics_address(&self) -> Result<(), DataFolderError> {
        remove(&self.metrics_address_file())
    }

    /// The folder of all alliances.
    pub fn alliances(&self) -> PathBuf {
        self.0.join("alliances")
    }

    /// The folder of one alliance.
    pub fn alliance(&self, id: AllianceId) -> PathBuf {
        self.alliances().join(id.to_string())
    }

    /// The alliances that have a folder, in the order of their ids. Anything else in there is left alone.
    pub fn alliance_ids(&self) -> Result<Vec<AllianceId>, DataFolderError> {
        let folder = self.alliances();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(DataFolderError::Io { path: folder, source }),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| DataFolderError::Io { path: folder.clone(), source })?;
            ids.extend(entry.file_name().to_str().and_then(|name| name.parse::<AllianceId>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Whether a node was set up here.
    pub fn is_set_up(&self) -> bool {
        self.key_file().exists()
    }

    /// Refuses a folder where any of a node's files lie, even if not all of them.
    pub fn refuse_existing(&self) -> Result<(), DataFolderError> {
        let files =
            [self.key_file(), self.identity_file(), self.config_file(), self.token_file(), self.alliances()];
        match files.into_iter().find(|path| path.exists()) {
            Some(path) => Err(DataFolderError::Exists(path)),
            None => Ok(()),
        }
    }

    /// Makes the folder, for its owner alone; one that is there is left as it is.
    pub fn create(&self) -> Result<(), DataFolderError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.0).map_err(|source| DataFolderError::Io { path: self.0.clone(), source })
    }

    /// Makes a fresh merchant token.
    pub fn create_token(&self) -> Result<(), DataFolderError> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        let path = self.token_file();
        SysRng
            .try_fill_bytes(&mut *bytes)
            .map_err(|error| DataFolderError::Io { path: path.clone(), source: io::Error::other(error) })?;
        let token = Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes));
        write_new(&path, token.as_bytes(), Secrecy::Secret)
    }

    /// The merchant token.
    pub fn read_token(&self) -> Result<Zeroizing<String>, DataFolderError> {
        let path = self.token_file();
        let bytes = read_secret(&path)?;
        let damaged = || DataFolderError::Damaged { path: path.clone(), what: "not an access token" };
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?.trim();
        if BASE64URL_NOPAD
            .decode(text.as_bytes())
            .is_ok_and(|token| Zeroizing::new(token).len() == TOKEN_BYTES)
        {
            Ok(Zeroizing::new(text.to_owned()))
        } else {
            Err(damaged())
        }
    }

    /// Says where the merchant port listens, for the command line on this machine.
    pub fn write_merchant_address(&self, bound: SocketAddr) -> Result<(), DataFolderError> {
        replace(&self.merchant_address_file(), format!("{bound}\n").as_bytes(), Secrecy::Plain)
    }

    /// Takes the word back, when the node stops.
    pub fn remove_merchant_address(&self) -> Result<(), DataFolderError> {
        remove(&self.merchant_address_file())
    }

    /// Where to reach the merchant port from this machine; nothing where no node has said so.
    pub fn read_merchant_address(&self) -> Result<Option<SocketAddr>, DataFolderError> {
        let path = self.merchant_address_file();
        let bytes = match read_small(&path) {
            Ok(bytes) => bytes,
            Err(DataFolderError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let address =
            std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse::<SocketAddr>().ok());
        let Some(mut address) = address else {
            return Err(DataFolderError::Damaged { path, what: "not an address" });
        };
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(Some(address))
    }

    /// Holds the folder for this process, so that no second node signs with the same key.
    pub fn lock(&self) -> Result<NodeLock, DataFolderError> {
        let path = self.0.join("node.lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| DataFolderError::Io { path: path.clone(), source })?;
        #[cfg(unix)]
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DataFolderError::Locked(self.0.clone())),
            Err(error) => return Err(DataFolderError::Io { path, source: error.into() }),
        }
        Ok(NodeLock { _file: file })
    }
}

/// Writes a file that must not exist, and waits until it is on the disk.
pub(crate) fn write_new(path: &Path, bytes: &[u8], secrecy: Secrecy) -> Result<(), DataFolderError> {
    whole_file::write_new(path, bytes, secrecy).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => DataFolderError::Exists(path.to_owned()),
        _ => DataFolderError::Io { path: path.to_owned(), source },
    })
}

/// The failure to make a file that was asked for by name: one that is there is not written over.
pub(crate) fn output_failed(path: &Path, source: io::Error) -> DataFolderError {
    match source.kind() {
        io::ErrorKind::AlreadyExists => DataFolderError::OutputExists(path.to_owned()),
        _ => DataFolderError::Io { path: path.to_owned(), source },
    }
}

/// Puts a file in the place of another, whole or not at all, and waits until it is on the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8], secrecy: Secrecy) -> Result<(), DataFolderError> {
    let failed = |source| DataFolderError::Io { path: path.to_owned(), source };
    whole_file::replace(path, bytes, secrecy).map_err(failed)
}

/// Removes a file; that there is none is no error.
fn remove(path: &Path) -> Result<(), DataFolderError> {
    whole_file::remove_if_there(path).map_err(|source| DataFolderError::Io { path: path.to_owned(), source })
}

/// Reads a secret file of at most so many bytes; nothing where there is none.
pub(crate) fn read_secret_within(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, DataFolderError> {
    match read_within(path, Secrecy::Secret, bytes_max) {
        Ok(mut bytes) => Ok(Some(std::mem::take(&mut *bytes))),
        Err(DataFolderError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a folder for its owner alone; one that is there is left as it is.
pub(crate) fn create_secret_folder(path: &Path) -> Result<(), DataFolderError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| DataFolderError::Io { path: path.to_owned(), source })
}

/// Reads a small file; one that is not there is [`DataFolderError::Missing`].
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>, DataFolderError> {
    read(path, Secrecy::Plain).map(|mut bytes| std::mem::take(&mut *bytes))
}

/// Reads a small file that the owner alone may read or write; wiped when dropped.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, DataFolderError> {
    read(path, Secrecy::Secret)
}

fn read(path: &Path, secrecy: Secrecy) -> Result<Zeroizing<Vec<u8>>, DataFolderError> {
    read_within(path, secrecy, SMALL_FILE_BYTES_MAX)
}

fn read_within(path: &Path, secrecy: Secrecy, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, DataFolderError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => DataFolderError::Missing(path.parent().unwrap_or(path).to_owned()),
        _ => DataFolderError::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if secrecy == Secrecy::Secret {
        refuse_shared(path, &metadata)?;
    }
    if !metadata.is_file() || metadata.len() > bytes_max {
        return Err(DataFolderError::Damaged { path: path.to_owned(), what: "too large, or not a file" });
    }
    // The full capacity from the start: a buffer that grows would leave unwiped copies behind.
    let capacity = usize::try_from(bytes_max).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(bytes_max).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(unix)]
fn refuse_shared(path: &Path, metadata: &fs::Metadata) -> Result<(), DataFolderError> {
    let mode = std::os::unix::fs::MetadataExt::mode(metadata) & 0o777;
    if mode & SHARED_MODE == 0 {
        Ok(())
    } else {
        Err(DataFolderError::Shared { path: path.to_owned(), mode })
    }
}

#[cfg(not(unix))]
fn refuse_shared(_path: &Path, _metadata: &fs::Metadata) -> Result<(), DataFolderError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, DataFolder) {
        let temporary = tempfile::tempdir().unwrap();
        let data = DataFolder::new(temporary.path().join("node"));
        data.create().unwrap();
        (temporary, data)
    }

    #[test]
    fn a_token_comes_back_and_is_made_once() {
        let (_temporary, data) = folder();
        data.create_token().unwrap();
        assert_eq!(data.read_token().unwrap().len(), 43);
        assert!(matches!(data.create_token(), Err(DataFolderError::Exists(_))));
        assert!(matches!(data.refuse_existing(), Err(DataFolderError::Exists(_))));
    }

    #[test]
    fn a_token_cut_short_is_refused() {
        let (_temporary, data) = folder();
        write_new(&data.token_file(), b"abcd", Secrecy::Secret).unwrap();
        assert!(matches!(data.read_token(), Err(DataFolderError::Damaged { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_may_read_or_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let (_temporary, data) = folder();
        data.create_token().unwrap();
        for (mode, refused) in
            [(0o640, true), (0o604, true), (0o620, true), (0o602, true), (0o600, false), (0o400, false)]
        {
            fs::set_permissions(data.token_file(), fs::Permissions::from_mode(mode)).unwrap();
            let shared = matches!(data.read_token(), Err(DataFolderError::Shared { .. }));
            assert_eq!(shared, refused, "{mode:o}");
        }
        assert_eq!(fs::metadata(data.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_merchant_address_is_there_while_the_node_says_so() {
        let (_temporary, data) = folder();
        assert_eq!(data.read_merchant_address().unwrap(), None);
        data.write_merchant_address("0.0.0.0:7711".parse().unwrap()).unwrap();
        assert_eq!(data.read_merchant_address().unwrap(), Some("127.0.0.1:7711".parse().unwrap()));
        data.remove_merchant_address().unwrap();
        data.remove_merchant_address().unwrap();
        assert_eq!(data.read_merchant_address().unwrap(), None);
    }

    #[test]
    fn what_was_done_is_remembered_and_nonsense_is_named() {
        let (_temporary, data) = folder();
        assert_eq!(data.noted(Note::Backup).unwrap(), None);
        let at = UnixMillis::new(1_770_000_000_000).unwrap();
        data.note(Note::Backup, at).unwrap();
        assert_eq!((data.noted(Note::Backup).unwrap(), data.noted(Note::Phrase).unwrap()), (Some(at), None));
        for bad in ["", "yesterday", "99999999999999999999"] {
            fs::write(data.path().join("last-backup"), bad).unwrap();
            assert!(matches!(data.noted(Note::Backup), Err(DataFolderError::Damaged { .. })), "{bad}");
        }
    }

    #[test]
    fn only_folders_named_by_an_alliance_are_alliances() {
        let (_temporary, data) = folder();
        assert_eq!(data.alliance_ids().unwrap(), []);
        let id = AllianceId::new([7; 32]);
        fs::create_dir_all(data.alliance(id)).unwrap();
        fs::create_dir_all(data.alliances().join("lost+found")).unwrap();
        assert_eq!(data.alliance_ids().unwrap(), [id]);
    }

    #[cfg(unix)]
    #[test]
    fn one_process_holds_the_folder() {
        let (_temporary, data) = folder();
        let held = data.lock().unwrap();
        assert!(matches!(data.lock(), Err(DataFolderError::Locked(_))));
        drop(held);
        data.lock().unwrap();
    }
}
