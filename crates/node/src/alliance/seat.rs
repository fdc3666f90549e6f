//! The seat mark: a small file beside the journal that says on which machine, and in which very files, this shop signed
//! last. A copy, a restored backup or a cloned folder does not match it, so it asks before it signs (LOG-1).
//!
//! ```text
//! hutong seat v1
//! machine <machine id, or - where the system has none>
//! mark <inode and time of birth of this file>
//! newest <name of the newest segment> <its inode and time of birth>   or   newest none
//! cut                                       the journal's end was cut, and nobody has been asked since
//! ```
//!
//! What it cannot tell: a virtual machine that was set back as a whole, and a backup of the same run that was written
//! over the files in place.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use hutong_store::ledger::Seat;

use crate::whole_file;

const FILE: &str = "seat";
const TITLE: &str = "hutong seat v1";
/// Where Linux keeps the machine's id.
const MACHINE_ID: &str = "/etc/machine-id";
const CUT: &str = "cut";
/// A mark takes under 300 bytes.
const BYTES_MAX: u64 = 4_096;

/// What the mark of an alliance's folder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) seat: Seat,
    /// Nothing had been written here when the mark was made.
    pub(super) was_new: bool,
    /// The journal's end was cut at an earlier start, and nobody has been asked since.
    pub(super) cut: bool,
}

/// The mark of one alliance's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeatMark {
    folder: PathBuf,
    journal: PathBuf,
}

impl SeatMark {
    pub(super) fn new(folder: &Path, journal: &str) -> Self {
        Self { folder: folder.to_owned(), journal: folder.join(journal) }
    }

    /// Whether these are the files in which this shop signed last.
    pub(super) fn find(&self) -> Found {
        let moved = Found { seat: Seat::Moved, was_new: false, cut: false };
        let Ok(Some(text)) = self.read() else { return moved };
        let (text, cut) = match text.strip_suffix(&format!("{CUT}\n")) {
            Some(rest) => (rest, true),
            None => (text.as_str(), false),
        };
        let marked_new = text.ends_with("newest none\n");
        let newest = match self.newest() {
            Ok(newest) => newest.filter(|_| !marked_new),
            Err(_) => return moved,
        };
        // Segments that came after the marked one do not matter.
        let marked = text.lines().find_map(|line| line.strip_prefix("newest ")?.split(' ').next());
        let marked = marked.filter(|name| *name != "none").map(str::to_owned).or(newest);
        let expected = fs::metadata(self.file()).and_then(|own| self.describe(&own, marked.as_deref()));
        match expected {
            Ok(expected) if expected == text => Found { seat: Seat::Kept, was_new: marked_new, cut },
            _ => moved,
        }
    }

    /// Marks these files as the ones in which this shop signs. `cut`: the journal's end was cut, and nobody has been
    /// asked since.
    pub(super) fn keep(&self, cut: bool) -> io::Result<()> {
        let unfinished = self.folder.join(format!("{FILE}.new"));
        let mut file = File::create(&unfinished)?;
        let mut text = self.describe(&file.metadata()?, self.newest()?.as_deref())?;
        if cut {
            text.push_str(CUT);
            text.push('\n');
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, self.file())?;
        whole_file::sync_folder(&self.folder)
    }

    /// Whoever opens these files next must ask before it signs.
    pub(super) fn give_up(&self) -> io::Result<()> {
        whole_file::remove_if_there(&self.file())?;
        whole_file::sync_folder(&self.folder)
    }

    fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    fn read(&self) -> io::Result<Option<String>> {
        match fs::metadata(self.file()) {
            Ok(found) if found.len() <= BYTES_MAX => fs::read_to_string(self.file()).map(Some),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn describe(&self, own: &Metadata, newest: Option<&str>) -> io::Result<String> {
        let machine = fs::read_to_string(MACHINE_ID).unwrap_or_default();
        let machine = if machine.trim().is_empty() { "-" } else { machine.trim() };
        let newest = match newest {
            Some(name) => format!("{name} {}", birth(&fs::metadata(self.journal.join(name))?)),
            None => "none".to_owned(),
        };
        Ok(format!("{TITLE}\nmachine {machine}\nmark {}\nnewest {newest}\n", birth(own)))
    }

    /// The name of the journal's newest segment.
    fn newest(&self) -> io::Result<Option<String>> {
        let entries = match fs::read_dir(&self.journal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        };
        let mut newest = None;
        for entry in entries {
            let name = entry?.file_name().into_string().ok().filter(|name| name.ends_with(".seg"));
            newest = newest.max(name);
        }
        Ok(newest)
    }
}

/// A file's inode and birth, which no copy shares. Where the file system tells no birth, the device must do.
fn birth(file: &Metadata) -> String {
    let born = file.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    match born {
        Some(born) => format!("{}-{}", file.ino(), born.as_nanos()),
        None => format!("{}-on-{}", file.ino(), file.dev()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a journal of two segments, marked.
    fn marked() -> (tempfile::TempDir, SeatMark) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("alliance");
        fs::create_dir_all(folder.join("journal")).unwrap();
        for name in ["00000001.seg", "00000002.seg", "00000002.idx"] {
            fs::write(folder.join("journal").join(name), name).unwrap();
        }
        let mark = SeatMark::new(&folder, "journal");
        mark.keep(false).unwrap();
        (temporary, mark)
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }

    fn kept(mark: &SeatMark) -> bool {
        mark.find().seat == Seat::Kept
    }

    #[test]
    fn the_marked_files_match_while_they_grow() {
        let (_temporary, mark) = marked();
        assert_eq!(mark.find(), Found { seat: Seat::Kept, was_new: false, cut: false });
        fs::write(mark.journal.join("00000003.seg"), "a new segment").unwrap();
        let newest = mark.journal.join("00000002.seg");
        io::Write::write_all(&mut File::options().append(true).open(newest).unwrap(), b"more").unwrap();
        assert!(kept(&mark));
        mark.keep(true).unwrap();
        assert_eq!(mark.find(), Found { seat: Seat::Kept, was_new: false, cut: true });
    }

    #[test]
    fn a_moved_folder_is_the_same_and_a_copied_one_is_not() {
        let (temporary, mark) = marked();
        let copied = temporary.path().join("copied");
        copy(&mark.folder, &copied);
        assert!(!kept(&SeatMark::new(&copied, "journal")));
        let moved = temporary.path().join("moved");
        fs::rename(&mark.folder, &moved).unwrap();
        assert!(kept(&SeatMark::new(&moved, "journal")));
    }

    #[test]
    fn files_put_back_from_a_backup_do_not_match() {
        let (temporary, mark) = marked();
        let backup = temporary.path().join("backup");
        copy(&mark.folder, &backup);
        // A segment alone, as by a program that replaces what has changed.
        let newest = mark.journal.join("00000002.seg");
        fs::copy(backup.join("journal/00000002.seg"), newest.with_extension("tmp")).unwrap();
        fs::rename(newest.with_extension("tmp"), &newest).unwrap();
        assert!(!kept(&mark));
        mark.keep(false).unwrap();
        assert!(kept(&mark));
        // Everything in place, from a backup of an earlier run.
        copy(&backup, &mark.folder);
        assert!(!kept(&mark));
        mark.keep(false).unwrap();
        fs::remove_file(newest).unwrap();
        assert!(!kept(&mark), "the newest segment is gone");
    }

    #[test]
    fn no_mark_and_nonsense_do_not_match() {
        let (_temporary, mark) = marked();
        for nonsense in [&b""[..], b"newest none\n", b"\xff", &[b'x'; 10_000]] {
            fs::write(mark.file(), nonsense).unwrap();
            assert!(!kept(&mark));
        }
        mark.give_up().unwrap();
        mark.give_up().unwrap();
        assert!(!kept(&mark));
    }

    #[test]
    fn a_new_folder_s_mark_says_so() {
        let temporary = tempfile::tempdir().unwrap();
        let mark = SeatMark::new(temporary.path(), "journal");
        mark.keep(false).unwrap();
        assert_eq!(mark.find(), Found { seat: Seat::Kept, was_new: true, cut: false });
        // The first segment came, and the mark was not made anew: whether anything was signed the journal says.
        fs::create_dir_all(&mark.journal).unwrap();
        fs::write(mark.journal.join("00000001.seg"), "").unwrap();
        assert_eq!(mark.find(), Found { seat: Seat::Kept, was_new: true, cut: false });
    }
}
