//! Small files that are there whole or not at all, whatever happens while they are written.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Whoever may read the folder.
    Plain,
    /// The owner alone.
    Secret,
}

/// Writes a file that must not exist, and waits until it is on the disk. A crash meanwhile leaves a part of it: for what
/// is made once, with nothing to lose.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or the disk refuses.
pub(crate) fn write_new(path: &Path, bytes: &[u8], secrecy: Secrecy) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if secrecy == Secrecy::Secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_folder_of(path)
}

/// Puts a file in the place of another, or where there was none, and waits until it is on the disk. After a power cut it
/// is there whole, or the other one is.
///
/// # Errors
/// The disk refuses; the file is as it was.
pub(crate) fn replace(path: &Path, bytes: &[u8], secrecy: Secrecy) -> io::Result<()> {
    let unfinished = unfinished(path);
    // What a crash left of an earlier attempt.
    remove_if_there(&unfinished)?;
    write_new(&unfinished, bytes, secrecy)?;
    fs::rename(&unfinished, path)?;
    sync_folder_of(path)
}

/// Removes a file; that there is none is no error.
///
/// # Errors
/// The disk refuses.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Waits until the names in a folder are on the disk.
///
/// # Errors
/// The disk refuses.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_is_the_new_one_whole_and_its_owner_s_where_it_is_secret() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        replace(&path, b"first and longer", Secrecy::Plain).unwrap();
        // What a crash left, with rights that a secret must not have.
        fs::write(unfinished(&path), b"half").unwrap();
        fs::set_permissions(unfinished(&path), fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"second", Secrecy::Secret).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn what_cannot_be_written_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note");
        replace(&path, b"first", Secrecy::Plain).unwrap();
        let twice = write_new(&path, b"second", Secrecy::Plain).unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
        fs::create_dir(unfinished(&path)).unwrap();
        replace(&path, b"second", Secrecy::Plain).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        remove_if_there(&path).unwrap();
        remove_if_there(&path).unwrap();
        assert!(!path.exists());
    }
}
