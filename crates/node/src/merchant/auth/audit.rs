//! The audit log: who changed what, and who was denied. Lines of JSON in a few files of bounded size; the oldest file
//! goes when a new one begins. Entries are on the disk within a second; a crash of the process loses none that were
//! written. What the calls brought about is in the journal, which is never behind.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hutong_core::refusal::{Reason, Refusal};
use serde::{Deserialize, Serialize};
use tokio::{
    runtime::Handle,
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
};

use super::bucket::Bucket;
use crate::{
    alliance::internal,
    data_folder::{self, DataFolderError},
};

/// One file's size; with its predecessors it makes 20 MiB, some 100,000 entries.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Files kept beside the one that is written.
const OLD_FILES: usize = 4;
/// Entries that wait for the disk; beyond, callers wait, too, so that none is lost.
const WAITING_MAX: usize = 1_024;
/// Entries written at once.
const GROUP_MAX: usize = 256;
/// How long an entry may be in the system's memory alone.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Denied calls a second, without any known token, that are noted; others are counted. A stranger cannot push out what
/// matters.
const STRANGERS_PER_SECOND: u32 = 5;
/// A line has some 300 bytes; more is not ours.
const LINE_BYTES_MAX: usize = 4_096;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Counts up from 1. Given when written.
    pub(crate) sequence: u64,
    /// When it was answered.
    pub(crate) unix_ms: i64,
    /// `owner`, a token's id, or nothing where none was known.
    pub(crate) token: String,
    /// The token's name.
    pub(crate) name: String,
    /// The call's address.
    pub(crate) method: String,
    /// gRPC's name of the answer; CANCELLED where the caller hung up before there was one.
    pub(crate) code: String,
    /// Why it was denied.
    pub(crate) reason: String,
    /// Where it came from.
    pub(crate) caller: String,
    /// Denied calls of strangers since the entry before that were only counted.
    #[serde(default)]
    pub(crate) skipped: u64,
}

#[derive(Debug)]
enum Job {
    Note(Box<Entry>),
    /// Answered when all entries before it are in the file.
    Flush(oneshot::Sender<()>),
    /// Answered when all entries before it are on the disk; nothing is written after it.
    Close(oneshot::Sender<()>),
}

/// Where entries go. Clones write the same log.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    folder: PathBuf,
    jobs: mpsc::Sender<Job>,
    strangers: Arc<Mutex<Strangers>>,
}

#[derive(Debug)]
struct Strangers {
    bucket: Bucket,
    skipped: u64,
}

impl Audit {
    /// Opens the log in a folder, and writes from now on. Must be called within the runtime.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, DataFolderError> {
        data_folder::create_secret_folder(&folder)?;
        let failed = |source| DataFolderError::Io { path: folder.clone(), source };
        let writer = LogWriter::open(&folder).map_err(failed)?;
        let (jobs, queue) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write_all(writer, queue));
        let strangers = Strangers { bucket: Bucket::new(STRANGERS_PER_SECOND, Instant::now()), skipped: 0 };
        Ok(Self { folder, jobs, strangers: Arc::new(Mutex::new(strangers)) })
    }

    /// Begins the entry of a call. It is noted when its answer is told, or as it is when it is dropped before that.
    pub(crate) fn begin(&self, mut entry: Entry) -> Noting {
        let mut noting = Noting { jobs: self.jobs.clone(), entry: None };
        if entry.token.is_empty() {
            let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
            if strangers.bucket.take(Instant::now()).is_err() {
                strangers.skipped = strangers.skipped.saturating_add(1);
                return noting;
            }
            entry.skipped = std::mem::take(&mut strangers.skipped);
        }
        noting.entry = Some(Box::new(entry));
        noting
    }

    /// Waits until everything noted so far is in the file.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }

    /// Waits until everything noted so far is on the disk, and ends the log. Must be called before the runtime ends,
    /// which would take the writer away under what waits for it.
    pub(crate) async fn close(&self) {
        let (done, written) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            let _ = written.await;
        }
    }

    /// Up to so many entries below a sequence number that a condition holds for, newest first.
    ///
    /// # Errors
    /// `INTERNAL` where the files cannot be read.
    pub(crate) async fn newest(
        &self,
        below: u64,
        count: usize,
        wanted: impl Fn(&Entry) -> bool + Send + 'static,
    ) -> Result<Vec<Entry>, Refusal> {
        self.flush().await;
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || newest(&folder, below, count, wanted)).await;
        read.map_err(|error| internal(&error))?.map_err(|error| {
            tracing::error!(%error, "the audit log cannot be read");
            Refusal::new(Reason::Internal)
        })
    }
}

/// The entry of a call that is under way. Its caller may hang up at any moment, and is noted all the same.
#[derive(Debug)]
pub(crate) struct Noting {
    jobs: mpsc::Sender<Job>,
    /// None: noted, or not worth noting.
    entry: Option<Box<Entry>>,
}

impl Noting {
    /// Notes how the call was answered. Waits where the disk is behind.
    pub(crate) async fn tell(mut self, code: &str, reason: &str) {
        let Some(entry) = &mut self.entry else { return };
        code.clone_into(&mut entry.code);
        reason.clone_into(&mut entry.reason);
        // Whoever hangs up during this wait drops the entry, which notes it.
        let Ok(room) = self.jobs.reserve().await else { return };
        if let Some(entry) = self.entry.take() {
            room.send(Job::Note(entry));
        }
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        match (self.jobs.try_send(Job::Note(entry)), Handle::try_current()) {
            (Ok(()), _) => {}
            // Nobody waits here; how many wait elsewhere, the tokens' rates bound.
            (Err(TrySendError::Full(job)), Ok(runtime)) => {
                let jobs = self.jobs.clone();
                runtime.spawn(async move { jobs.send(job).await });
            }
            (Err(_), _) => tracing::warn!("a call was cut off after the audit log's end, and is not in it"),
        }
    }
}

/// Writes what comes, in groups, until the log is closed or nobody can send any more.
async fn write_all(mut writer: LogWriter, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(GROUP_MAX);
    loop {
        let idle = tokio::time::timeout(SYNC_EVERY, queue.recv_many(&mut jobs, GROUP_MAX)).await;
        let ended = matches!(idle, Ok(0)) || jobs.iter().any(|job| matches!(job, Job::Close(_)));
        let mut group = std::mem::take(&mut jobs);
        if ended {
            queue.close();
            while let Some(job) = queue.recv().await {
                group.push(job);
            }
        }
        let written = tokio::task::spawn_blocking(move || {
            writer.write(&mut group, idle.is_err() || ended);
            writer
        });
        writer = match written.await {
            Ok(writer) => writer,
            // The runtime ended first, as it does where the node cannot start.
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!(%error, "the audit log has stopped");
                return;
            }
        };
        if ended {
            return;
        }
    }
}

#[derive(Debug)]
struct LogWriter {
    folder: PathBuf,
    file: File,
    bytes: u64,
    sequence: u64,
    synced: Instant,
    dirty: bool,
}

impl LogWriter {
    fn open(folder: &Path) -> io::Result<Self> {
        let path = file(folder, 0);
        let last = (0..=OLD_FILES).find_map(|age| read_file(&file(folder, age)).ok()?.pop());
        let mut handle = open_to_append(&path)?;
        let bytes = handle.metadata()?.len();
        // What a crash cut off must not swallow the next line.
        if bytes > 0 && !fs::read(&path)?.ends_with(b"\n") {
            handle.write_all(b"\n")?;
        }
        let sequence = last.map_or(0, |entry| entry.sequence);
        Ok(Self {
            folder: folder.to_owned(),
            file: handle,
            bytes,
            sequence,
            synced: Instant::now(),
            dirty: false,
        })
    }

    fn write(&mut self, jobs: &mut Vec<Job>, idle: bool) {
        let mut flushed = Vec::new();
        let mut lines = Vec::new();
        for job in jobs.drain(..) {
            match job {
                Job::Note(entry) => {
                    self.sequence += 1;
                    let entry = Entry { sequence: self.sequence, ..*entry };
                    if let Err(error) = serde_json::to_writer(&mut lines, &entry) {
                        tracing::error!(%error, "an audit entry cannot be written");
                    }
                    lines.push(b'\n');
                }
                Job::Flush(done) | Job::Close(done) => flushed.push(done),
            }
        }
        if let Err(error) = self.append(&lines, idle) {
            tracing::error!(%error, "the audit log cannot be written");
        }
        for done in flushed {
            let _ = done.send(());
        }
    }

    fn append(&mut self, lines: &[u8], idle: bool) -> io::Result<()> {
        if !lines.is_empty() {
            self.file.write_all(lines)?;
            self.bytes += lines.len() as u64;
            self.dirty = true;
        }
        if self.dirty && (idle || self.synced.elapsed() >= SYNC_EVERY) {
            self.file.sync_data()?;
            (self.dirty, self.synced) = (false, Instant::now());
        }
        if self.bytes >= FILE_BYTES_MAX { self.rotate() } else { Ok(()) }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        for age in (0..OLD_FILES).rev() {
            match fs::rename(file(&self.folder, age), file(&self.folder, age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open_to_append(&file(&self.folder, 0))?;
        self.bytes = 0;
        File::open(&self.folder)?.sync_all()
    }
}

/// The file that is written, or one of its predecessors.
fn file(folder: &Path, age: usize) -> PathBuf {
    folder.join(if age == 0 { "audit.log".to_owned() } else { format!("audit.{age}.log") })
}

fn open_to_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The entries of one file. What is no entry, such as a line that a crash cut off, is passed over.
fn read_file(path: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.len() <= LINE_BYTES_MAX {
            entries.extend(serde_json::from_slice::<Entry>(&line).ok());
        }
        line.clear();
    }
    Ok(entries)
}

fn newest(
    folder: &Path,
    below: u64,
    count: usize,
    wanted: impl Fn(&Entry) -> bool,
) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    // A rotation meanwhile shows a file again under its next name; sequence numbers tell.
    let mut below = below;
    for age in 0..=OLD_FILES {
        let entries = match read_file(&file(folder, age)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries.into_iter().rev() {
            if entry.sequence >= below {
                continue;
            }
            below = entry.sequence;
            if wanted(&entry) {
                found.push(entry);
            }
            if found.len() == count {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(token: &str, code: &str) -> Entry {
        Entry {
            sequence: 0,
            unix_ms: 1,
            token: token.into(),
            name: "till".into(),
            method: "/hutong.merchant.v1.SaleService/ReportSale".into(),
            code: code.into(),
            reason: String::new(),
            caller: "127.0.0.1".into(),
            skipped: 0,
        }
    }

    async fn note(audit: &Audit, entry: Entry) {
        let (code, reason) = (entry.code.clone(), entry.reason.clone());
        audit.begin(entry).tell(&code, &reason).await;
    }

    fn sequences(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.sequence).collect()
    }

    #[tokio::test]
    async fn entries_come_back_newest_first_and_go_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path().to_owned()).unwrap();
        for code in ["OK", "OK", "PERMISSION_DENIED"] {
            note(&audit, entry("owner", code)).await;
        }
        assert_eq!(sequences(&audit.newest(u64::MAX, 2, |_| true).await.unwrap()), [3, 2]);
        assert_eq!(sequences(&audit.newest(2, 10, |_| true).await.unwrap()), [1]);
        let denied = audit.newest(u64::MAX, 10, |entry| entry.code != "OK").await.unwrap();
        assert_eq!(sequences(&denied), [3]);
        drop(audit);
        // A line cut off by a crash.
        let mut file = open_to_append(&file(folder.path(), 0)).unwrap();
        file.write_all(b"{\"sequence\":4,\"unix").unwrap();
        let audit = Audit::open(folder.path().to_owned()).unwrap();
        note(&audit, entry("owner", "OK")).await;
        assert_eq!(sequences(&audit.newest(u64::MAX, 10, |_| true).await.unwrap()), [4, 3, 2, 1]);
    }

    #[test]
    fn a_log_that_is_closed_keeps_all_entries_though_the_runtime_ends() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let audit = runtime.block_on(async {
            let audit = Audit::open(folder.path().to_owned()).unwrap();
            for _ in 0..WAITING_MAX / 2 {
                drop(audit.begin(entry("till", "CANCELLED")));
            }
            audit.close().await;
            audit.close().await;
            audit
        });
        drop(runtime);
        assert_eq!(read_file(&file(folder.path(), 0)).unwrap().len(), WAITING_MAX / 2);
        assert!(audit.jobs.is_closed());
    }

    #[tokio::test]
    async fn a_caller_who_hangs_up_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path().to_owned()).unwrap();
        drop(audit.begin(entry("till", "CANCELLED")));
        // The queue is full: nobody is lost, and nobody is waited for.
        for _ in 0..3 * WAITING_MAX {
            drop(audit.begin(entry("till", "CANCELLED")));
        }
        // Those who hang up while they wait for the queue are noted with what they were answered.
        let mut telling = Box::pin(audit.begin(entry("till", "CANCELLED")).tell("OK", ""));
        let told = futures::poll!(telling.as_mut()).is_ready();
        drop(telling);
        assert!(!told, "the queue is full");
        let all = 3 * WAITING_MAX + 2;
        let noted = loop {
            let noted = audit.newest(u64::MAX, usize::MAX, |_| true).await.unwrap();
            if noted.len() >= all {
                break noted;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(noted.len(), all);
        assert_eq!(noted.iter().filter(|entry| entry.code == "OK").count(), 1);
        assert_eq!(noted.iter().filter(|entry| entry.code == "CANCELLED").count(), all - 1);
    }

    #[tokio::test]
    async fn the_log_stays_within_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path().to_owned()).unwrap();
        let wide = Entry { name: "x".repeat(3_000), ..entry("owner", "OK") };
        for _ in 0..9_000 {
            note(&audit, wide.clone()).await;
        }
        let newest = audit.newest(u64::MAX, 1, |_| true).await.unwrap();
        assert_eq!(sequences(&newest), [9_000]);
        let sizes: u64 =
            fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
        let most = (OLD_FILES as u64 + 1) * (FILE_BYTES_MAX + GROUP_MAX as u64 * 4_096);
        assert!(sizes <= most, "{sizes}");
        let all = audit.newest(u64::MAX, usize::MAX, |_| true).await.unwrap();
        assert!(all.len() > 4_000 && all.len() < 9_000, "{}", all.len());
        assert!(all.windows(2).all(|pair| pair[0].sequence == pair[1].sequence + 1));
    }

    #[tokio::test]
    async fn strangers_are_counted_rather_than_noted_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path().to_owned()).unwrap();
        for _ in 0..1_000 {
            note(&audit, entry("", "UNAUTHENTICATED")).await;
        }
        let noted = audit.newest(u64::MAX, usize::MAX, |_| true).await.unwrap();
        assert!(noted.len() < 500, "{}", noted.len());
        audit.strangers.lock().unwrap().bucket = Bucket::new(1, Instant::now());
        note(&audit, entry("", "UNAUTHENTICATED")).await;
        let all = audit.newest(u64::MAX, usize::MAX, |_| true).await.unwrap();
        let told: u64 = all.iter().map(|entry| entry.skipped + 1).sum();
        assert_eq!(told, 1_001);
    }
}
