//! Files for other programs, written whole or not at all: who reads one never meets half of it, and one that cannot be
//! written leaves what was there.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Names that are tried for the unfinished file, where earlier ones were left behind.
const UNFINISHED_MAX: u32 = 100;

/// Writes a file under its name, replacing one that is there; its access rights stay. A pipe or a terminal is written to.
///
/// # Errors
/// It cannot be written, named with the path; then nothing has changed.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let there = match fs::metadata(path) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if there.as_ref().is_some_and(fs::Metadata::is_dir) {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return fs::write(path, bytes);
    }
    // A link stays a link: what it leads to is replaced.
    let path = if there.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
    let (unfinished, file) = create_beside(&path)?;
    let written = finish(file, bytes, there).and_then(|()| fs::rename(&unfinished, &path));
    if written.is_err() {
        // The failure itself is what is told; a rest that cannot be removed either is named by its ending.
        let _removed = fs::remove_file(&unfinished);
    }
    written
}

fn finish(mut file: File, bytes: &[u8], there: Option<fs::Metadata>) -> io::Result<()> {
    if let Some(there) = there {
        file.set_permissions(there.permissions())?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// A new file in the same folder, so that it can take the name in one step.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let mut left_behind = io::ErrorKind::AlreadyExists.into();
    for number in 0..UNFINISHED_MAX {
        let unfinished = path.with_file_name(format!(".{name}.{number}.unfinished"));
        match File::options().write(true).create_new(true).open(&unfinished) {
            Ok(file) => return Ok((unfinished, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => left_behind = error,
            Err(error) => return Err(error),
        }
    }
    Err(left_behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("账.csv");
        write(&path, b"old and longer").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"new".to_vec(), vec!["账.csv".into()])
        );
    }

    #[test]
    fn what_was_left_behind_by_another_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let rest = folder.path().join(".x.0.unfinished");
        fs::write(&rest, "of a run that was cut short").unwrap();
        write(&folder.path().join("x"), b"new").unwrap();
        assert_eq!(fs::read(&rest).unwrap(), b"of a run that was cut short");
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named_and_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in ["no/such/folder/x.csv", ""] {
            let error = write(&folder.path().join(wrong), b"x").unwrap_err();
            assert!(error.to_string().contains("cannot write"), "{error}");
        }
        assert!(write(Path::new(""), b"x").is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn access_rights_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&file, &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_stays_one() {
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
