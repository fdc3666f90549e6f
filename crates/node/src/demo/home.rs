//! Where the nodes' data folders lie.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

/// The folder of one run. Removed when dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    keep: bool,
}

impl Home {
    /// An empty folder for this run alone: the one asked for, or a temporary one.
    pub(super) fn new(asked: Option<&Path>) -> anyhow::Result<Self> {
        match asked {
            None => {
                let path = std::env::temp_dir().join(format!("hutong-demo-{}", std::process::id()));
                create_own(&path).with_context(|| format!("{} cannot be made", path.display()))?;
                Ok(Self { path, keep: false })
            }
            Some(path) => {
                std::fs::create_dir_all(path)
                    .with_context(|| format!("{} cannot be made", path.display()))?;
                let path = std::path::absolute(path)?;
                let empty = std::fs::read_dir(&path)?.next().is_none();
                ensure!(empty, "{} is not empty", path.display());
                Ok(Self { path, keep: true })
            }
        }
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder where it is.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "the demo's folder is left behind");
        }
    }
}

/// A new folder that others cannot look into: it will hold keys. Fails where there is something of that name.
fn create_own(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_asked_for_stays_and_must_be_empty() {
        let parent = tempfile::tempdir().unwrap();
        let asked = parent.path().join("a/b");
        drop(Home::new(Some(&asked)).unwrap());
        assert!(asked.is_dir());
        std::fs::write(asked.join("file"), "x").unwrap();
        assert!(Home::new(Some(&asked)).is_err());
    }

    #[test]
    fn a_temporary_folder_goes_unless_it_is_kept() {
        let home = Home::new(None).unwrap();
        let path = home.path().to_owned();
        assert!(path.is_dir());
        drop(home);
        assert!(!path.exists());

        let mut home = Home::new(None).unwrap();
        home.keep();
        drop(home);
        assert!(path.is_dir());
        std::fs::remove_dir(path).unwrap();
    }
}
