//! `hutong bundle`: an alliance's records as a file, for a node that has no line.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use hutong_client::{Error, Language, proto};
use serde_json::{Value, json};

use super::{
    Globals,
    output::{Answer, fields},
    say,
    session::Session,
};
use crate::{
    bundle::{BundleError, CHUNK_BYTES_MAX, Entry, Reader},
    data_folder::output_failed,
};

/// What to do with a bundle.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordBundleCommand {
    /// Write all records that this node holds of an alliance into a file.
    Export(ExportArgs),
    /// Take in the records of such a file; what is held already is passed over.
    Import(ImportArgs),
}

/// Where to.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  hutong bundle export --output /media/usb/street.bundle

The node need not stop. The file holds what any member gets over the line: what is sealed stays sealed, and no key is in
it. Whoever finds it can read what the alliance publishes to its members.")]
pub(crate) struct ExportArgs {
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// From where.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  hutong bundle import /media/usb/street.bundle

Each record is checked as if a member had sent it. A file may be imported again, and an older one after a newer one. Where
a file is damaged, what comes before the damage is kept. Exits with 1 if any record was refused.")]
pub(crate) struct ImportArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn run(globals: &Globals, command: RecordBundleCommand) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    match command {
        RecordBundleCommand::Export(args) => export(&session, &args.output, globals.language()).await,
        RecordBundleCommand::Import(args) => import(&session, &args.file, globals.language()).await,
    }
}

/// What the node said last of a bundle that it wrote.
#[derive(Debug, Default)]
struct Written {
    records: u64,
    damaged_logs: u64,
    bytes: u64,
}

async fn export(session: &Session, path: &Path, language: Language) -> anyhow::Result<Answer> {
    // The name is taken first, so that nothing which is there is ever written over.
    File::create_new(path).map_err(|error| output_failed(path, error))?;
    let beside = beside(path);
    let written = write_whole(session, path, &beside).await;
    if written.is_err() {
        // The first failure is the one to tell.
        let _gone = (fs::remove_file(&beside), fs::remove_file(path));
    }
    Ok(exported(path, &written?, language))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Writes the file beside its place, reads it back, and puts it there.
async fn write_whole(session: &Session, path: &Path, beside: &Path) -> anyhow::Result<Written> {
    let written = fill(session, beside).await?;
    let read = read_back(beside).with_context(|| beside.display().to_string())?;
    anyhow::ensure!(read == written.records, "{}: it reads otherwise than written", beside.display());
    fs::rename(beside, path).with_context(|| path.display().to_string())?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| folder.display().to_string())?;
    Ok(written)
}

async fn fill(session: &Session, beside: &Path) -> anyhow::Result<Written> {
    let request = proto::ExportBundleRequest { alliance_id: session.alliance_id.clone() };
    let mut pieces = session.client.export_bundle(request).await?;
    let at = || beside.display().to_string();
    let mut file = io::BufWriter::new(File::create_new(beside).with_context(at)?);
    let mut written = Written::default();
    while let Some(piece) = pieces.message().await.map_err(Error::from)? {
        file.write_all(&piece.chunk).with_context(at)?;
        written.bytes += piece.chunk.len() as u64;
        (written.records, written.damaged_logs) = (piece.record_count, piece.damaged_log_count);
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(at)?;
    file.sync_all().with_context(at)?;
    Ok(written)
}

/// How many records a file holds that is whole.
fn read_back(path: &Path) -> anyhow::Result<u64> {
    let mut file = File::open(path)?;
    let (mut reader, mut records) = (Reader::default(), 0);
    while let Some(piece) = next_piece(&mut file)? {
        reader.push(&piece);
        while let Some(entry) = reader.next_entry()? {
            if let Entry::Runs { runs, .. } = entry {
                records += runs.iter().map(|run| run.len() as u64).sum::<u64>();
            }
        }
    }
    reader.finish()?;
    Ok(records)
}

fn next_piece(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let mut piece = Vec::with_capacity(CHUNK_BYTES_MAX);
    file.take(CHUNK_BYTES_MAX as u64).read_to_end(&mut piece)?;
    Ok(Some(piece).filter(|piece| !piece.is_empty()))
}

fn exported(path: &Path, written: &Written, language: Language) -> Answer {
    let say = |en: &'static str, zh: &'static str| say(language, en, zh);
    let json = json!({
        "path": path,
        "records": written.records,
        "bytes": written.bytes,
        "damaged_logs": written.damaged_logs,
    });
    let text = fields([
        (say("written and read back", "已写入并校验"), path.display().to_string()),
        (say("records", "记录"), written.records.to_string()),
        (say("bytes", "字节"), written.bytes.to_string()),
    ]);
    let answer = Answer::new(json, text);
    if written.damaged_logs == 0 {
        return answer;
    }
    let hint = say(
        "This node's disk is damaged: some logs end early in the file. `hutong doctor` tells more.",
        "本机硬盘有损坏：文件中有的日志不完整。详见 `hutong doctor`。",
    );
    answer.hint(hint).exiting(ExitCode::FAILURE)
}

async fn import(session: &Session, path: &Path, language: Language) -> anyhow::Result<Answer> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let first = next_piece(&mut file).with_context(|| path.display().to_string())?;
    let first = first.ok_or(BundleError::Title).with_context(|| path.display().to_string())?;
    let alliance_id = session.alliance_id.clone();
    let (failure, mut failed) = tokio::sync::oneshot::channel();
    let mut failure = Some(failure);
    let mut next = Some(proto::ImportBundleRequest { alliance_id, chunk: first });
    let pieces = futures::stream::poll_fn(move |_| {
        let piece = next.take();
        match next_piece(&mut file) {
            Ok(chunk) => {
                next = chunk.map(|chunk| proto::ImportBundleRequest { chunk, ..Default::default() });
            }
            Err(error) => drop(failure.take().map(|failure| failure.send(error))),
        }
        std::task::Poll::Ready(piece)
    });
    let mut answers = session.client.import_bundle(pieces).await?;
    let mut told = proto::ImportBundleResponse::default();
    let ended = loop {
        match answers.message().await {
            Ok(Some(answer)) => told = answer,
            Ok(None) => break Ok(()),
            Err(status) => break Err(Error::from(status)),
        }
    };
    // A stick that was pulled out is told as such, and not as a file that is cut off.
    if let Ok(error) = failed.try_recv() {
        return Err(error).with_context(|| path.display().to_string());
    }
    ended?;
    Ok(imported(&told, language))
}

fn imported(told: &proto::ImportBundleResponse, language: Language) -> Answer {
    let say = |en: &'static str, zh: &'static str| say(language, en, zh);
    let refused: Vec<Value> = told
        .refused
        .iter()
        .map(|refused| json!({ "reason": refused.reason, "records": refused.record_count }))
        .collect();
    let json = json!({ "new": told.new_record_count, "known": told.known_record_count, "refused": refused });
    let mut text = fields([
        (say("new", "新记录"), told.new_record_count.to_string()),
        (say("known", "已有"), told.known_record_count.to_string()),
    ]);
    for refused in &told.refused {
        let line = format!("{} {}: {}", say("refused", "被拒"), refused.reason, refused.record_count);
        text = format!("{text}\n{line}");
    }
    let code = if told.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Answer::new(json, text).exiting(code)
}
