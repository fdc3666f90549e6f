//! The system's disk with a watch on it: how long a sync takes, and how much is written.

use std::{io, sync::Arc, time::Instant};

use hutong_store::disk::{Disk, DiskFile, OsDisk, OsFile};

use crate::metrics::Metrics;

/// A journal's folder.
#[derive(Debug)]
pub(super) struct MeasuredDisk {
    disk: OsDisk,
    metrics: Arc<Metrics>,
}

/// A journal's file.
#[derive(Debug)]
pub(super) struct MeasuredFile {
    file: OsFile,
    metrics: Arc<Metrics>,
}

impl MeasuredDisk {
    pub(super) const fn new(disk: OsDisk, metrics: Arc<Metrics>) -> Self {
        Self { disk, metrics }
    }

    fn measured(&self, file: OsFile) -> MeasuredFile {
        MeasuredFile { file, metrics: self.metrics.clone() }
    }
}

impl Disk for MeasuredDisk {
    type File = MeasuredFile;

    fn create(&self, name: &str) -> io::Result<MeasuredFile> {
        Ok(self.measured(self.disk.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<MeasuredFile> {
        Ok(self.measured(self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder()
    }
}

impl DiskFile for MeasuredFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.metrics.journal_written_bytes.inc_by(bytes.len() as u64);
        self.file.append(bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let begun = Instant::now();
        let synced = self.file.sync_data();
        self.metrics.journal_sync_seconds.observe(begun.elapsed().as_secs_f64());
        synced
    }
}
