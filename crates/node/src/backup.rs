//! Backups: everything that a node cannot get back from its peers, and its journal as it stands, in one encrypted file.
//!
//! The file is in the age format (age-encryption.org/v1, passphrase). Inside it:
//!
//! ```text
//! hutong backup v1\n
//! entries: name length u16 | name | bytes length u64 | bytes      (big-endian)
//! end: name length 0 | BLAKE3 hash of all that came before
//! ```
//!
//! A node need not stop for it: segments are only ever appended to, or replaced whole by ones that hold the same and more
//! where one was damaged, so copied one after the other they are the journal of some moment, perhaps with a torn tail. The seat mark is left out: what is restored asks before it signs.
//!
//! Tokens and webhooks are as they were: a token that was taken back since is in force again, and a webhook goes on where
//! it was then, so that its receiver hears some events twice. The owner's token and the audit log are not in a backup.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use age::secrecy::SecretString;
use hutong_record::AllianceId;
use zeroize::Zeroizing;

use crate::{
    data_folder::{DataFolder, DataFolderError, Secrecy, create_secret_folder, output_failed, write_new},
    whole_file,
};

const TITLE: &[u8] = b"hutong backup v1\n";
const HASH_CONTEXT: &str = "hutong 2026 v1 backup";
/// The longest name: `alliances/`, 64 digits, `/journal/` and a segment's name take 96 bytes.
const NAME_BYTES_MAX: usize = 128;
/// A segment, with what a last batch may overshoot.
const ENTRY_BYTES_MAX: u64 = 2 << 30;
const COPY_BYTES: usize = 64 << 10;
/// A backup holds the shop's keys: shorter passphrases are guessed.
const PASSPHRASE_CHARS_MIN: usize = 12;
/// Logarithm of scrypt's cost: 64 MiB and some tenths of a second on a small machine, for each guess as for the owner.
const WORK_FACTOR: u8 = 16;
const ALLIANCES: &str = "alliances";
const JOURNAL: &str = "journal";
/// Of the data folder, besides the alliances. The merchant token is made anew.
const FILES: [&str; 3] = ["shop.key", "identity.bin", "hutong.toml"];
/// Partner apps' tokens, hashed; there only where one was made.
const TOKENS: &str = "tokens.json";
/// Addresses that events are sent to: what was agreed with each, and how far it had come.
const WEBHOOKS: &str = "webhooks";
/// Which program wrote the rest: a node refuses to start on what a newer one wrote. Not in folders from before it.
const FORMAT_FILE: &str = "format";
/// Of an alliance's folder, besides the journal; the second is not in a founder's.
const ALLIANCE_FILES: [&str; 2] = ["charter.bin", "invited-by.bin"];

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many alliances.
    pub alliances: u64,
}

/// Why there is no backup, or none that can be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data folder is not as it should be.
    #[error(transparent)]
    Folder(#[from] DataFolderError),
    /// A passphrase that is soon guessed.
    #[error("a passphrase has at least {PASSPHRASE_CHARS_MIN} characters: this file holds the shop's keys")]
    Passphrase,
    /// The passphrase is wrong, or the file is none of ours, or it is damaged.
    #[error("the backup cannot be opened: {0}")]
    Closed(String),
    /// What was decrypted is not a backup.
    #[error("the backup is malformed: {0}")]
    Malformed(&'static str),
}

/// A passphrase that is long enough.
pub struct Passphrase(SecretString);

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl Passphrase {
    /// The first line of a text.
    ///
    /// # Errors
    /// [`BackupError::Passphrase`].
    pub fn of(text: &str) -> Result<Self, BackupError> {
        let line = text.lines().next().unwrap_or_default().trim();
        if line.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(BackupError::Passphrase);
        }
        Ok(Self(SecretString::from(line.to_owned())))
    }
}

/// Writes a backup of a data folder, whose node may run, into a file that must not exist, and reads it back.
///
/// # Errors
/// A file cannot be read or written; nothing is left under the name then.
pub fn write(data: &DataFolder, file: &Path, passphrase: &Passphrase) -> Result<Contents, BackupError> {
    whole_file::write_new(file, b"", Secrecy::Secret).map_err(|error| output_failed(file, error))?;
    let written = fill(data, file, passphrase).and_then(|written| {
        let mut read = Contents::default();
        open(file, passphrase, &mut |name, _, bytes| read.count(name, bytes))?;
        // What is written must be what can be read.
        if read == written {
            Ok(written)
        } else {
            Err(BackupError::Malformed("it reads otherwise than written"))
        }
    });
    if written.is_err() {
        // The first failure is the one to tell.
        let _gone = fs::remove_file(file);
    }
    written
}

/// Restores a backup into a folder where no node is. The node that starts on it signs nothing before its peers have told
/// how far its log goes.
///
/// # Errors
/// The backup cannot be opened, or files cannot be written; what was written stays for the operator to look at.
pub fn restore(file: &Path, passphrase: &Passphrase, data: &DataFolder) -> Result<Contents, BackupError> {
    // Everything is read, and its hash checked, before anything is written.
    open(file, passphrase, &mut |_, _, _| Ok(()))?;
    data.refuse_existing()?;
    data.create()?;
    let mut contents = Contents::default();
    open(file, passphrase, &mut |name, from, bytes| {
        contents.count(name, bytes)?;
        place(data, name, from, bytes)
    })?;
    data.create_token()?;
    Ok(contents)
}

impl Contents {
    fn count(&mut self, name: &str, bytes: u64) -> Result<(), BackupError> {
        self.files += 1;
        self.bytes += bytes;
        self.alliances += u64::from(name.ends_with("/charter.bin"));
        Ok(())
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { path, source }
}

fn fill(data: &DataFolder, file: &Path, passphrase: &Passphrase) -> Result<Contents, BackupError> {
    let names = names(data)?;
    let out = File::options().write(true).open(file).map_err(io_at(file))?;
    let mut recipient = age::scrypt::Recipient::new(passphrase.0.clone());
    recipient.set_work_factor(WORK_FACTOR);
    let encrypted = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient));
    let encrypted = encrypted.map_err(|error| BackupError::Closed(error.to_string()))?;
    let encrypted = encrypted.wrap_output(io::BufWriter::new(out)).map_err(io_at(file))?;
    let mut out = Hashed { inner: encrypted, hasher: blake3::Hasher::new_derive_key(HASH_CONTEXT) };
    out.write_all(TITLE).map_err(io_at(file))?;
    let mut contents = Contents::default();
    for name in names {
        let path = data.path().join(&name);
        let mut from = match File::open(&path) {
            // Removed since the names were read.
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_webhook(&name) => continue,
            opened => opened.map_err(io_at(&path))?,
        };
        // What is appended meanwhile is left for the next backup.
        let bytes = from.metadata().map_err(io_at(&path))?.len();
        let length = u16::try_from(name.len()).expect("names are short");
        out.write_all(&length.to_be_bytes())
            .and_then(|()| out.write_all(name.as_bytes()))
            .and_then(|()| out.write_all(&bytes.to_be_bytes()))
            .map_err(io_at(file))?;
        let copied = copy(&mut from, &mut out, bytes).map_err(io_at(&path))?;
        if copied != bytes {
            return Err(BackupError::Malformed("a file became shorter while it was read"));
        }
        contents.count(&name, bytes)?;
    }
    out.write_all(&[0; 2]).map_err(io_at(file))?;
    let hash = *out.hasher.finalize().as_bytes();
    let mut encrypted = out.inner;
    encrypted.write_all(&hash).map_err(io_at(file))?;
    let buffered = encrypted.finish().map_err(io_at(file))?;
    let out = buffered.into_inner().map_err(|error| io_at(file)(error.into_error()))?;
    out.sync_all().map_err(io_at(file))?;
    Ok(contents)
}

/// The files to keep, an alliance's segments in their order.
pub(crate) fn names(data: &DataFolder) -> Result<Vec<String>, BackupError> {
    let mut names: Vec<String> = FILES.map(str::to_owned).into();
    if data.path().join(FORMAT_FILE).exists() {
        names.push(FORMAT_FILE.to_owned());
    }
    if data.tokens_file().exists() {
        names.push(TOKENS.to_owned());
    }
    names.extend(webhook_names(data)?);
    for id in data.alliance_ids()? {
        let folder = format!("{ALLIANCES}/{id}");
        for name in ALLIANCE_FILES.map(|name| format!("{folder}/{name}")) {
            if data.path().join(&name).exists() {
                names.push(name);
            }
        }
        let journal = data.path().join(&folder).join(JOURNAL);
        let entries = match fs::read_dir(&journal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(io_at(&journal))?,
        };
        let mut segments = Vec::new();
        for entry in entries {
            let name = entry.map_err(io_at(&journal))?.file_name().into_string();
            segments.extend(name.ok().filter(|name| is_segment(name)));
        }
        segments.sort_unstable();
        names.extend(segments.into_iter().map(|segment| format!("{folder}/{JOURNAL}/{segment}")));
    }
    Ok(names)
}

fn webhook_names(data: &DataFolder) -> Result<Vec<String>, BackupError> {
    let folder = data.webhooks_folder();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_at(&folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_at(&folder))?.file_name().into_string();
        names.extend(name.ok().map(|name| format!("{WEBHOOKS}/{name}")).filter(|name| is_webhook(name)));
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a name is a webhook's: 16 hex digits, and which of its two files.
fn is_webhook(name: &str) -> bool {
    let file = name.strip_prefix(WEBHOOKS).and_then(|rest| rest.strip_prefix('/'));
    file.and_then(|file| file.split_once('.')).is_some_and(|(id, extension)| {
        id.len() == 16
            && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && ["json", "position"].contains(&extension)
    })
}

fn is_segment(name: &str) -> bool {
    let digits = name.strip_suffix(".seg").unwrap_or_default();
    digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether a name is one that a backup may hold: nothing else is written anywhere.
fn is_ours(name: &str) -> bool {
    let parts: Vec<_> = name.split('/').collect();
    match parts[..] {
        [file] => FILES.contains(&file) || [FORMAT_FILE, TOKENS].contains(&file),
        [WEBHOOKS, _] => is_webhook(name),
        [ALLIANCES, id, file] => id.parse::<AllianceId>().is_ok() && ALLIANCE_FILES.contains(&file),
        [ALLIANCES, id, JOURNAL, segment] => id.parse::<AllianceId>().is_ok() && is_segment(segment),
        _ => false,
    }
}

/// What is done with one entry: its name, its bytes to read, and how many they are.
type Visit<'a> = &'a mut dyn FnMut(&str, &mut dyn Read, u64) -> Result<(), BackupError>;

/// Goes through a backup. What `visit` leaves of an entry is read over.
fn open(file: &Path, passphrase: &Passphrase, visit: Visit<'_>) -> Result<(), BackupError> {
    let closed = |error: age::DecryptError| BackupError::Closed(error.to_string());
    let input = io::BufReader::new(File::open(file).map_err(io_at(file))?);
    let decryptor = age::Decryptor::new_buffered(input).map_err(closed)?;
    let identity = age::scrypt::Identity::new(passphrase.0.clone());
    let plain = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(closed)?;
    let mut plain = Hashed { inner: plain, hasher: blake3::Hasher::new_derive_key(HASH_CONTEXT) };
    let damaged = |error: io::Error| BackupError::Closed(error.to_string());
    let mut title = [0; TITLE.len()];
    plain.read_exact(&mut title).map_err(damaged)?;
    if title != TITLE {
        return Err(BackupError::Malformed("another title"));
    }
    loop {
        let mut length = [0; 2];
        plain.read_exact(&mut length).map_err(damaged)?;
        let length = usize::from(u16::from_be_bytes(length));
        if length == 0 {
            break;
        }
        if length > NAME_BYTES_MAX {
            return Err(BackupError::Malformed("a name that is too long"));
        }
        let (mut name, mut bytes) = (vec![0; length], [0; 8]);
        plain.read_exact(&mut name).and_then(|()| plain.read_exact(&mut bytes)).map_err(damaged)?;
        let name = String::from_utf8(name).ok().filter(|name| is_ours(name));
        let name = name.ok_or(BackupError::Malformed("a file that is none of a node's"))?;
        let bytes = u64::from_be_bytes(bytes);
        if bytes > ENTRY_BYTES_MAX {
            return Err(BackupError::Malformed("a file that is too long"));
        }
        let mut entry = (&mut plain).take(bytes);
        visit(&name, &mut entry, bytes)?;
        let left = entry.limit();
        if copy(&mut entry, &mut io::sink(), left).map_err(damaged)? != left {
            return Err(BackupError::Malformed("it ends early"));
        }
    }
    let expected = *plain.hasher.finalize().as_bytes();
    let mut hash = [0; 32];
    plain.inner.read_exact(&mut hash).map_err(damaged)?;
    if hash == expected { Ok(()) } else { Err(BackupError::Malformed("its hash does not fit")) }
}

fn place(data: &DataFolder, name: &str, from: &mut dyn Read, bytes: u64) -> Result<(), BackupError> {
    let path = data.path().join(name);
    if let Some(folder) = path.parent() {
        create_secret_folder(folder)?;
    }
    let is_secret = [FILES[0], TOKENS].contains(&name) || is_webhook(name);
    let secrecy = if is_secret { Secrecy::Secret } else { Secrecy::Plain };
    write_new(&path, b"", secrecy)?;
    let mut out = File::options().append(true).open(&path).map_err(io_at(&path))?;
    copy(from, &mut out, bytes).map_err(io_at(&path))?;
    out.sync_all().map_err(io_at(&path))
}

/// Copies at most so many bytes through a buffer that is wiped, for keys are among them.
fn copy(from: &mut dyn Read, to: &mut dyn Write, bytes: u64) -> io::Result<u64> {
    let mut buffer = Zeroizing::new(vec![0; COPY_BYTES]);
    let mut copied = 0;
    while copied < bytes {
        let wanted = usize::try_from(bytes - copied).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        match from.read(&mut buffer[..wanted])? {
            0 => break,
            read => {
                to.write_all(&buffer[..read])?;
                copied += read as u64;
            }
        }
    }
    Ok(copied)
}

/// Hashes what passes.
struct Hashed<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> (tempfile::TempDir, DataFolder) {
        let temporary = tempfile::tempdir().unwrap();
        let data = DataFolder::new(temporary.path().join("node"));
        let journal = data.alliance(AllianceId::new([7; 32])).join(JOURNAL);
        fs::create_dir_all(&journal).unwrap();
        for name in FILES {
            fs::write(data.path().join(name), name).unwrap();
        }
        fs::write(data.alliance(AllianceId::new([7; 32])).join("charter.bin"), "charter").unwrap();
        fs::write(data.alliance(AllianceId::new([7; 32])).join("seat"), "not this").unwrap();
        for (name, length) in [("00000001.seg", 200_000), ("00000002.seg", 10), ("00000001.idx", 5)] {
            fs::write(journal.join(name), vec![7; length]).unwrap();
        }
        (temporary, data)
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::of(text).unwrap()
    }

    #[test]
    fn a_backup_brings_back_what_is_needed_and_no_seat() {
        let (temporary, data) = node();
        let file = temporary.path().join("backup.age");
        let words = passphrase("correct horse battery\n");
        let contents = write(&data, &file, &words).unwrap();
        assert_eq!(contents, Contents { files: 6, bytes: 200_010 + 7 + 8 + 12 + 11, alliances: 1 });
        let again = write(&data, &file, &words).unwrap_err();
        assert!(matches!(again, BackupError::Folder(DataFolderError::OutputExists(_))));
        assert!(again.to_string().contains("--output"), "{again}");
        let restored = DataFolder::new(temporary.path().join("restored"));
        assert_eq!(restore(&file, &words, &restored).unwrap(), contents);
        for name in names(&data).unwrap() {
            assert_eq!(
                fs::read(restored.path().join(&name)).unwrap(),
                fs::read(data.path().join(&name)).unwrap()
            );
        }
        let alliance = restored.alliance(AllianceId::new([7; 32]));
        assert!(!alliance.join("seat").exists() && !alliance.join("journal/00000001.idx").exists());
        restored.read_token().unwrap();
        let again = restore(&file, &words, &restored);
        assert!(matches!(again, Err(BackupError::Folder(DataFolderError::Exists(_)))));
    }

    #[cfg(unix)]
    #[test]
    fn tokens_and_webhooks_come_back_and_stay_the_owner_s() {
        use std::os::unix::fs::PermissionsExt as _;

        let (temporary, data) = node();
        let kept = ["tokens.json", "webhooks/0011223344556677.json", "webhooks/0011223344556677.position"];
        fs::create_dir(data.webhooks_folder()).unwrap();
        for name in kept.iter().chain(&["webhooks/0011223344556677.json.new", "webhooks/notes.json"]) {
            fs::write(data.path().join(name), name).unwrap();
        }
        let (file, words) = (temporary.path().join("backup.age"), passphrase("correct horse battery"));
        assert_eq!(write(&data, &file, &words).unwrap().files, 6 + 3);
        let restored = DataFolder::new(temporary.path().join("restored"));
        restore(&file, &words, &restored).unwrap();
        for name in kept {
            let path = restored.path().join(name);
            assert_eq!(fs::read(&path).unwrap(), name.as_bytes());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        assert_eq!(fs::read_dir(restored.webhooks_folder()).unwrap().count(), 2);
    }

    #[test]
    fn a_wrong_passphrase_and_damaged_files_restore_nothing() {
        let (temporary, data) = node();
        let file = temporary.path().join("backup.age");
        assert!(matches!(Passphrase::of("short\nand long enough here"), Err(BackupError::Passphrase)));
        write(&data, &file, &passphrase("correct horse battery")).unwrap();
        let restored = DataFolder::new(temporary.path().join("restored"));
        let wrong = restore(&file, &passphrase("correct horse battery!"), &restored);
        assert!(matches!(wrong, Err(BackupError::Closed(_))));
        let whole = fs::read(&file).unwrap();
        for damage in [100, whole.len() / 2, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[damage] ^= 1;
            fs::write(&file, flipped).unwrap();
            restore(&file, &passphrase("correct horse battery"), &restored).unwrap_err();
            fs::write(&file, &whole[..damage]).unwrap();
            restore(&file, &passphrase("correct horse battery"), &restored).unwrap_err();
        }
        assert!(!restored.path().exists());
    }

    #[test]
    fn only_a_node_s_files_are_ever_written() {
        let id = AllianceId::new([7; 32]).to_string();
        for name in ["shop.key".to_owned(), format!("alliances/{id}/journal/0000000a.seg")] {
            assert!(is_ours(&name), "{name}");
        }
        for name in
            ["../shop.key", "/etc/passwd", "merchant.token", "alliances/x/charter.bin", "", "alliances//"]
        {
            assert!(!is_ours(name), "{name}");
        }
        for name in
            ["webhooks/", "webhooks/x.json", "webhooks/00112233445566/x.json", "webhooks/../shop.json"]
        {
            assert!(!is_ours(name), "{name}");
        }
        assert!(!is_ours(&format!("alliances/{id}/journal/../../../shop.key")));
        assert!(!is_ours(&format!("alliances/{id}/seat")));
    }
}
