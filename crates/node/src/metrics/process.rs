//! What the system says of this process and its disk. Zero, or nothing, where it does not tell.

use std::{fs, path::Path};

/// This process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Process {
    /// Resident memory, bytes.
    pub(crate) memory_bytes: u64,
    /// Its peak, bytes.
    pub(crate) memory_bytes_peak: u64,
    /// Threads.
    pub(crate) threads: u64,
    /// Open files and sockets.
    pub(crate) open_files: u64,
    /// The most of them; 0: no limit is known.
    pub(crate) open_files_max: u64,
}

impl Process {
    /// As it is now.
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |name| number(&status, name).saturating_mul(1_024);
        // The folder that is being read is open itself.
        let open = fs::read_dir("/proc/self/fd").map_or(0, |open| open.count().saturating_sub(1));
        Self {
            memory_bytes: kilobytes("VmRSS:"),
            memory_bytes_peak: kilobytes("VmHWM:"),
            threads: number(&status, "Threads:"),
            open_files: u64::try_from(open).unwrap_or_default(),
            open_files_max: open_files_max(),
        }
    }
}

/// The first number after a name at a line's beginning.
pub(crate) fn number(text: &str, name: &str) -> u64 {
    let found =
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    found.unwrap_or_default()
}

/// How many files a process may have open; 0: not limited, or not known.
pub(crate) fn open_files_max() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or_default()
}

/// Room where a path lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes that this user may still write.
    pub(crate) bytes: u64,
    /// Files that may still be made; none where the file system has no such bound.
    pub(crate) files: Option<u64>,
}

/// The room at a path, or at the nearest folder above it that exists.
pub(crate) fn room(path: &Path) -> Option<Room> {
    let there = path.ancestors().find(|folder| folder.exists())?;
    let space = rustix::fs::statvfs(there).ok()?;
    let files = (space.f_files > 0).then_some(space.f_favail);
    Some(Room { bytes: space.f_bavail.saturating_mul(space.f_frsize), files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let now = Process::now();
        assert!(now.memory_bytes > 0 && now.memory_bytes_peak >= now.memory_bytes);
        assert!(now.threads > 0 && now.open_files > 0);
    }

    #[test]
    fn numbers_are_found_by_name_and_missing_ones_are_zero() {
        let text = "VmRSS:\t  120 kB\nThreads:\t7\nBad: x\n";
        assert_eq!((number(text, "VmRSS:"), number(text, "Threads:")), (120, 7));
        assert_eq!((number(text, "Bad:"), number(text, "Gone:")), (0, 0));
    }

    #[test]
    fn room_is_that_of_the_nearest_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert!(room(&folder.path().join("not/there")).unwrap().bytes > 0);
    }
}
