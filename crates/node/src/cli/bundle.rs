//! `hutong support-bundle`: what somebody who helps needs to see, in one tar, and no secret. What goes in is listed here,
//! and nothing else does; every text passes [`Redaction`] on its way.

use std::{
    fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use hutong_client::proto;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Globals, doctor, output::Answer, say, session, show};
use crate::{
    clock,
    config::Config,
    data_folder::{DataFolder, output_failed},
    format::{self, Written},
    identity_file,
    metrics::process,
};

/// Of a log, from its end.
const LOG_BYTES_MAX: u64 = 256 << 10;
/// Files listed of the data folder.
const FILES_MAX: usize = 2_000;
/// Metrics take some tens of kilobytes.
const METRICS_BYTES_MAX: u64 = 4 << 20;
const HIDDEN: &str = "[hidden]";
/// A run of letters and digits this long is an id or a secret; ids are not needed in whole.
const RUN_CHARS_MAX: usize = 24;
/// Of a long run, so much is shown: enough to tell ids apart, and what the node itself prints.
const RUN_CHARS_SHOWN: usize = 8;

/// Where to.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  hutong support-bundle --output hutong-support.tar --log /var/log/hutong.log

It holds versions, the configuration without what is secret, the doctor's findings, the node's status and metrics, names
and sizes of files, and the end of a log. It holds no key, token, recovery word, card number or voucher, and of ids only
the beginning. Look through it before you send it: names of shops are in it.")]
pub(crate) struct BundleArgs {
    /// The file to write, a tar; it must not exist.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// A log whose end goes in; repeatable. With systemd: journalctl -u hutong > FILE.
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,
}

pub(crate) async fn run(globals: &Globals, args: BundleArgs) -> anyhow::Result<Answer> {
    let data = globals.data()?;
    let redaction = Redaction::of(&data);
    let mut entries = gather(&data).await;
    for (number, log) in args.log.iter().enumerate() {
        let text = tail(log).with_context(|| log.display().to_string())?;
        entries.push((format!("log-{number}.txt"), text));
    }
    let names: Vec<_> = entries.iter().map(|(name, _)| name.clone()).collect();
    write(&args.output, entries, &redaction)?;
    let say = |en, zh| say(globals.language(), en, zh);
    let text = format!("{} {}\n{}", say("written:", "已写入："), args.output.display(), names.join("\n"));
    let hint =
        say("Look through it before you send it: names of shops are in it.", "发送前请先查看：其中有店名。");
    Ok(Answer::new(json!({ "path": args.output, "files": names }), text).hint(hint))
}

/// What goes in, before it is redacted.
async fn gather(data: &DataFolder) -> Vec<(String, String)> {
    let mut entries = vec![
        ("versions.json".to_owned(), pretty(&versions(data))),
        ("config.toml".to_owned(), config(data)),
        ("files.txt".to_owned(), files(data)),
        ("doctor.json".to_owned(), pretty(&doctor::report(data).await)),
    ];
    if let Ok(client) = session::connect(data).await {
        let told = match client.get_status(proto::GetStatusRequest {}).await {
            Ok(status) => pretty(&show::status_json(&status)),
            Err(error) => error.to_string(),
        };
        entries.push(("status.json".to_owned(), told));
    }
    if let Some(metrics) = metrics(data).await {
        entries.push(("metrics.txt".to_owned(), metrics));
    }
    entries
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn versions(data: &DataFolder) -> Value {
    let own = Written::own();
    let found = match format::written(data) {
        Ok(found) => found.map_or(Value::Null, |w| json!(w.to_string())),
        Err(error) => json!(error.to_string()),
    };
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    json!({
        "program": own.program,
        "format": own.format,
        "views": own.views,
        "data_written_by": found,
        "system": system.map(|name| name.trim_matches('"')),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "architecture": std::env::consts::ARCH,
        "time": show::time(Some(&super::value::timestamp(clock::now()))),
        "open_files_max": process::open_files_max(),
    })
}

/// As in force; where it is not valid, why.
fn config(data: &DataFolder) -> String {
    match Config::load(&data.config_file()) {
        Ok(mut config) => {
            // A collector's address may carry a password.
            if config.tracing.endpoint.contains('@') {
                config.tracing.endpoint = HIDDEN.to_owned();
            }
            config.to_toml()
        }
        Err(error) => error.to_string(),
    }
}

/// Names and sizes.
fn files(data: &DataFolder) -> String {
    let mut lines = Vec::new();
    let mut folders = vec![data.path().to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten().take(FILES_MAX.saturating_sub(lines.len())) {
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            let name = path.strip_prefix(data.path()).unwrap_or(&path).display().to_string();
            if metadata.is_dir() {
                folders.push(path);
            } else {
                lines.push(format!("{:>12} {name}", metadata.len()));
            }
        }
    }
    lines.sort_unstable();
    lines.join("\n")
}

async fn metrics(data: &DataFolder) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let address = fs::read_to_string(data.metrics_address_file()).ok()?;
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address.trim()).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(METRICS_BYTES_MAX).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(std::time::Duration::from_secs(5), ask).await.ok()?.ok()?;
    let answer = String::from_utf8_lossy(&answer);
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

fn tail(log: &Path) -> io::Result<String> {
    let mut file = fs::File::open(log)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(LOG_BYTES_MAX)))?;
    let mut text = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn write(path: &Path, entries: Vec<(String, String)>, redaction: &Redaction) -> anyhow::Result<()> {
    let file = fs::File::options().write(true).create_new(true).open(path);
    let file = file.map_err(|error| output_failed(path, error))?;
    let mut tar = tar::Builder::new(file);
    for (name, text) in entries {
        let text = redaction.apply(&text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(clock::now().ms() / 1_000).unwrap_or_default());
        header.set_cksum();
        tar.append_data(&mut header, format!("hutong-support/{name}"), text.as_bytes())?;
    }
    let mut file = tar.into_inner()?;
    file.flush()?;
    Ok(file.sync_all()?)
}

/// Takes secrets out of texts: those of this node by their value, others by their looks.
struct Redaction {
    /// The token, and the lines of the key file.
    known: Vec<Zeroizing<String>>,
}

impl Redaction {
    fn of(data: &DataFolder) -> Self {
        let mut known = Vec::new();
        if let Ok(token) = data.read_token() {
            known.push(token);
        }
        if let Ok(keys) = fs::read_to_string(data.key_file()) {
            let keys = Zeroizing::new(keys);
            let words = keys.split_whitespace().filter(|word| word.len() > RUN_CHARS_MAX);
            known.extend(words.map(|word| Zeroizing::new(word.to_owned())));
        }
        Self { known }
    }

    fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.known.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret.as_str(), HIDDEN);
        }
        let lines: Vec<_> = text.lines().map(hide_words).collect();
        let mut text = lines.join("\n");
        text.push('\n');
        shorten_runs(&text)
    }
}

/// A line with 24 words of a recovery phrase says nothing any more.
fn hide_words(line: &str) -> String {
    let words: Vec<_> = line.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    let is_phrase = words.windows(24).any(|words| identity_file::seed_from_phrase(&words.join(" ")).is_ok());
    // Chinese words are one character each, and may stand with nothing between them.
    let chars: Vec<_> = line.chars().filter(|c| c.is_alphabetic()).collect();
    let spaced = |window: &[char]| window.iter().map(char::to_string).collect::<Vec<_>>().join(" ");
    let is_chinese = chars.windows(24).any(|window| {
        window.iter().all(|c| !c.is_ascii()) && identity_file::seed_from_phrase(&spaced(window)).is_ok()
    });
    if is_phrase || is_chinese { HIDDEN.to_owned() } else { line.to_owned() }
}

/// Cuts every long run of letters, digits, `-` and `_`: ids in hex, tokens, codes of vouchers. Words with `-` or `_` of
/// ordinary length (`hutong_grpc_requests_total`) have no digits, and stay.
fn shorten_runs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            run.push(c);
            continue;
        }
        let is_secret = run.len() > RUN_CHARS_MAX && run.chars().any(|c| c.is_ascii_digit());
        match run.get(..RUN_CHARS_SHOWN).filter(|_| is_secret) {
            Some(beginning) => out.extend([beginning, "…"]),
            None => out.push_str(&run),
        }
        run.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
