//! Where a measurement takes place: folders that are removed afterwards, and the bare disk to compare with.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;

use super::figures::Latencies;

/// Bytes of one append in the bare measurement of the disk: about a small group of records.
const BLOCK_BYTES: usize = 4_096;

/// A folder of its own, removed when the measurement is over.
#[derive(Debug)]
pub(super) struct Home(PathBuf);

impl Home {
    pub(super) fn create(below: Option<PathBuf>) -> anyhow::Result<Self> {
        let below = below.unwrap_or_else(std::env::temp_dir);
        let path = below.join(format!("hutong-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be created", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// A new folder within.
    pub(super) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed lies in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How long a bare append of 4 KiB and its fdatasync take on this disk.
pub(super) fn bare_syncs(home: &Home, count: usize) -> anyhow::Result<Latencies> {
    let path = home.path().join("bare");
    let mut file = File::create(&path)?;
    let mut took = Latencies::default();
    for _ in 0..count {
        let start = Instant::now();
        file.write_all(&[0x55; BLOCK_BYTES])?;
        file.sync_data()?;
        took.push(start.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(took)
}
