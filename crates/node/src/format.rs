//! Which version of the program the data folder was written by. A newer one's data is refused before anything of it is
//! touched; before an older one's is taken over, its files are copied aside.
//!
//! ```text
//! hutong data v1
//! format 1
//! views 3
//! program 0.1.0
//! ```

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use hutong_core::VIEWS_VERSION;

use crate::{
    backup,
    data_folder::{DataFolder, DataFolderError, read_small},
    metrics::process::room,
    whole_file::{self, Secrecy},
};

/// Of the layout of the data folder and of every file in it but the views. It grows when an older program could not
/// read, or would misread, what this one writes.
pub const FORMAT: u32 = 2;
const TITLE: &str = "hutong data v1";
const FILE: &str = "format";
/// Where copies made before an upgrade lie.
const COPIES: &str = "before-upgrade";
/// How many of them are kept.
const COPIES_MAX: usize = 2;
/// Room that is left beside a copy, bytes: the node must be able to start.
const ROOM_BYTES_MIN: u64 = 64 << 20;
/// The longest version that is taken for one.
const PROGRAM_CHARS_MAX: usize = 64;

/// Who wrote a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// As [`FORMAT`].
    pub format: u32,
    /// As [`VIEWS_VERSION`].
    pub views: u32,
    /// The program's version.
    pub program: String,
}

/// Why a data folder is not taken over.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A newer program wrote it.
    #[error(
        "{folder} was written by a newer program, hutong {} (format {}, views {}; this is {}, with {FORMAT} and \
         {VIEWS_VERSION}): run that one, or put back what it kept under {COPIES}. Nothing was changed",
        found.program, found.format, found.views, env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The data folder.
        folder: PathBuf,
        /// Who wrote it.
        found: Written,
    },
    /// The mark says nothing.
    #[error(
        "{0} is damaged: put it back from a backup, or remove it to have the folder taken for an old one"
    )]
    Damaged(PathBuf),
    /// A copy does not fit on the disk.
    #[error(
        "before an upgrade the data is copied, which takes {need_bytes} bytes: {free_bytes} are free. Make room, or \
         remove old copies in {COPIES}"
    )]
    NoRoom {
        /// What it takes, with what must be left.
        need_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// The mark, or what is to be copied, cannot be read.
    #[error(transparent)]
    Folder(#[from] DataFolderError),
    /// What is to be copied cannot be listed.
    #[error(transparent)]
    Listing(#[from] backup::BackupError),
    /// A file cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was done before a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// Nothing: this very version wrote the folder.
    Same,
    /// The mark was brought up to date; the data needed nothing.
    Marked,
    /// The data was copied there first.
    Copied(PathBuf),
}

impl Written {
    /// This program.
    pub fn own() -> Self {
        Self { format: FORMAT, views: VIEWS_VERSION, program: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Whether this program may not touch it.
    pub const fn is_newer(&self) -> bool {
        self.format > FORMAT || self.views > VIEWS_VERSION
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let title = lines.next()?;
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let (format, views) = (value("format")?.parse().ok()?, value("views")?.parse().ok()?);
        let program = value("program")?;
        let sane = !program.is_empty()
            && program.len() <= PROGRAM_CHARS_MAX
            && program.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
        (title == TITLE && sane).then_some(Self { format, views, program })
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, views, program } = self;
        writeln!(f, "{TITLE}\nformat {format}\nviews {views}\nprogram {program}")
    }
}

/// Who wrote a folder; none: a program from before there were marks, or nobody yet.
///
/// # Errors
/// The mark cannot be read, or is damaged.
pub fn written(data: &DataFolder) -> Result<Option<Written>, FormatError> {
    let path = data.path().join(FILE);
    let bytes = match read_small(&path) {
        Err(DataFolderError::Missing(_)) => return Ok(None),
        read => read?,
    };
    let found = std::str::from_utf8(&bytes).ok().and_then(Written::parse);
    found.map(Some).ok_or(FormatError::Damaged(path))
}

/// Marks a folder as this program's.
///
/// # Errors
/// The mark cannot be written.
pub fn mark(data: &DataFolder) -> Result<(), FormatError> {
    let path = data.path().join(FILE);
    let text = Written::own().to_string();
    whole_file::replace(&path, text.as_bytes(), Secrecy::Plain)
        .map_err(|source| FormatError::Io { path, source })
}

/// Has a folder taken over by this program, before anything in it is opened: refuses a newer one's, copies an older one's
/// aside. The folder must be locked.
///
/// # Errors
/// [`FormatError::Newer`], [`FormatError::NoRoom`], or files that cannot be read or written.
pub fn prepare(data: &DataFolder) -> Result<Prepared, FormatError> {
    let (found, own) = (written(data)?, Written::own());
    match found {
        Some(found) if found.is_newer() => Err(FormatError::Newer { folder: data.path().to_owned(), found }),
        Some(found) if found == own => Ok(Prepared::Same),
        Some(found) if (found.format, found.views) == (own.format, own.views) => {
            mark(data)?;
            Ok(Prepared::Marked)
        }
        None if data.alliance_ids()?.is_empty() => {
            mark(data)?;
            Ok(Prepared::Marked)
        }
        older => {
            let copy = copy_aside(data, older.as_ref())?;
            mark(data)?;
            Ok(Prepared::Copied(copy))
        }
    }
}

/// Copies what a backup holds. Whole or not at all: it has its name only when it is on the disk.
fn copy_aside(data: &DataFolder, from: Option<&Written>) -> Result<PathBuf, FormatError> {
    let name = match from {
        Some(from) => format!("{}-format{}-views{}", from.program, from.format, from.views),
        None => "unmarked".to_owned(),
    };
    let copies = data.path().join(COPIES);
    let (copy, unfinished) = (copies.join(&name), copies.join(format!("{name}.new")));
    if copy.exists() {
        // A start that was cut short between the copy and the mark: the data has not been touched since.
        return Ok(copy);
    }
    let names = backup::names(data)?;
    check_room(data, &names)?;
    remove_folder(&unfinished)?;
    for name in &names {
        copy_file(&data.path().join(name), &unfinished.join(name))?;
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| FormatError::Io { path, source }
    };
    fs::rename(&unfinished, &copy).and_then(|()| fs::File::open(&copies)?.sync_all()).map_err(at(&copy))?;
    forget_old_copies(&copies, &copy).map_err(at(&copies))?;
    Ok(copy)
}

fn check_room(data: &DataFolder, names: &[String]) -> Result<(), FormatError> {
    let mut need_bytes = ROOM_BYTES_MIN;
    for name in names {
        let path = data.path().join(name);
        need_bytes += fs::metadata(&path).map_err(|source| FormatError::Io { path, source })?.len();
    }
    match room(data.path()) {
        Some(room) if room.bytes < need_bytes => {
            Err(FormatError::NoRoom { need_bytes, free_bytes: room.bytes })
        }
        _ => Ok(()),
    }
}

/// Copies one file, which its owner alone may read, and waits until it is on the disk.
fn copy_file(from: &Path, to: &Path) -> Result<(), FormatError> {
    let copy = || {
        if let Some(folder) = to.parent() {
            private_folders(folder)?;
        }
        let mut out = private_file(to)?;
        io::copy(&mut fs::File::open(from)?, &mut out)?;
        out.sync_all()
    };
    copy().map_err(|source| FormatError::Io { path: to.to_owned(), source })
}

fn private_folders(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn remove_folder(path: &Path) -> Result<(), FormatError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FormatError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Removes all but the newest copies; `fresh` is the newest.
fn forget_old_copies(copies: &Path, fresh: &Path) -> io::Result<()> {
    let mut others = Vec::new();
    for entry in fs::read_dir(copies)? {
        let path = entry?.path();
        if path != fresh {
            others.push((fs::metadata(&path)?.modified()?, path));
        }
    }
    others.sort_unstable();
    let surplus = (others.len() + 1).saturating_sub(COPIES_MAX);
    others.into_iter().take(surplus).try_for_each(|(_, path)| fs::remove_dir_all(path))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
