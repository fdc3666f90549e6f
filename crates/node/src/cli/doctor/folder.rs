//! The data folder: who may read it, what is in it, whether it can be had back.

use std::path::Path;

use hutong_record::UnixMillis;

use super::Findings;
use crate::{
    clock,
    config::Config,
    data_folder::{DataFolder, DataFolderError, Note},
    format::{self, FormatError},
    identity_file::{self, IdentityFileError},
};

/// Older than this, a backup has missed a week of trade.
const BACKUP_MS_MAX: i64 = 7 * DAY_MS;
/// After this time words on paper have been mislaid before.
const PHRASE_MS_MAX: i64 = 365 * DAY_MS;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Rights of others than the owner.
const OTHERS: u32 = 0o077;

pub(super) fn check(findings: &mut Findings, data: &DataFolder) {
    let path = data.path().display().to_string();
    if !data.is_set_up() {
        let found = format!("{path} {}", findings.say("holds no node", "中没有节点"));
        let advice = findings.say(
            "set one up with `hutong init`, or name it with --data",
            "用 `hutong init` 建立，或用 --data 指定",
        );
        return findings.fail("folder", found, advice);
    }
    findings.ok("folder", path);
    check_mode(findings, "folder-mode", data.path());
    check_owner(findings, data.path());
    check_format(findings, data);
    check_keys(findings, data);
    check_mode(findings, "key-mode", &data.key_file());
    check_token(findings, data);
    check_backup(findings, data, clock::now());
    check_phrase(findings, data, clock::now());
}

/// Whether others may look in.
#[cfg(unix)]
pub(super) fn check_mode(findings: &mut Findings, name: &'static str, path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    let found = format!("{} {mode:03o}", path.display());
    if mode & OTHERS == 0 {
        return findings.ok(name, found);
    }
    let wanted = if metadata.is_dir() { "700" } else { "600" };
    findings.fail(name, found, format!("chmod {wanted} {}", path.display()));
}

#[cfg(not(unix))]
pub(super) fn check_mode(_findings: &mut Findings, _name: &'static str, _path: &Path) {}

/// Whether the folder belongs to whoever asks: a command run as another user makes files that the node cannot read.
#[cfg(unix)]
fn check_owner(findings: &mut Findings, path: &Path) {
    use std::os::unix::fs::MetadataExt as _;

    let Ok(metadata) = std::fs::metadata(path) else { return };
    judge_owner(findings, metadata.uid(), rustix::process::geteuid().as_raw());
}

#[cfg(not(unix))]
fn check_owner(_findings: &mut Findings, _path: &Path) {}

pub(super) fn judge_owner(findings: &mut Findings, owner: u32, own: u32) {
    if owner == own {
        return findings.ok("folder-owner", format!("uid {owner}"));
    }
    let found = format!("uid {owner}, {} {own}", findings.say("this command runs as", "本命令的用户为"));
    let advice = findings
        .say("run it as the folder's owner (sudo -u hutong …)", "以目录所有者的身份运行（sudo -u hutong …）");
    findings.warn("folder-owner", found, advice);
}

fn check_format(findings: &mut Findings, data: &DataFolder) {
    match format::written(data) {
        Ok(Some(written)) if written.is_newer() => {
            let error = FormatError::Newer { folder: data.path().to_owned(), found: written };
            let advice = findings.say(
                "install that version or a later one; do not start this one",
                "安装该版本或更高版本；不要用本程序启动",
            );
            findings.fail("folder-format", error.to_string(), advice);
        }
        Ok(Some(written)) => findings.ok(
            "folder-format",
            format!("{} (hutong {}, views {})", written.format, written.program, written.views),
        ),
        Ok(None) => findings.ok("folder-format", findings.say("not marked yet", "尚无标记")),
        Err(error) => {
            let advice =
                findings.say("put the file back from a backup, or remove it", "从备份恢复该文件，或将其删除");
            findings.fail("folder-format", error.to_string(), advice);
        }
    }
}

fn check_keys(findings: &mut Findings, data: &DataFolder) {
    match identity_file::load(data) {
        Ok(secrets) => {
            findings.ok("keys", format!("{} {}", findings.say("shop", "门店"), secrets.identity.id()));
        }
        Err(error) => {
            let advice = match &error {
                IdentityFileError::File(DataFolderError::Shared { path, .. }) => {
                    format!("chmod 600 {}", path.display())
                }
                _ => findings.say("put the files of one backup back", "从同一份备份恢复这些文件").to_owned(),
            };
            findings.fail("keys", error.to_string(), advice);
        }
    }
}

fn check_token(findings: &mut Findings, data: &DataFolder) {
    match data.read_token() {
        Ok(_) => findings.ok("token", findings.say("private", "仅本人可读")),
        Err(error) => {
            let advice = match error {
                DataFolderError::Shared { .. } => format!("chmod 600 {}", data.token_file().display()),
                _ => findings
                    .say("put merchant.token of a backup back", "从备份恢复 merchant.token")
                    .to_owned(),
            };
            findings.fail("token", error.to_string(), advice);
        }
    }
}

fn check_backup(findings: &mut Findings, data: &DataFolder, now: UnixMillis) {
    let noted = data.noted(Note::Backup);
    if let Ok(Some(at)) = &noted {
        let days = now.ms_since(*at).max(0) / DAY_MS;
        let found = format!("{days} {}", findings.say("days old", "天前"));
        if now.ms_since(*at) <= BACKUP_MS_MAX {
            return findings.ok("backup", found);
        }
        return findings.warn("backup", found, backup_advice(findings));
    }
    let found = match noted {
        Err(error) => error.to_string(),
        Ok(_) => findings.say("none was ever made", "从未备份").to_owned(),
    };
    findings.warn("backup", found, backup_advice(findings));
}

fn backup_advice(findings: &Findings) -> String {
    findings
        .say(
            "hutong backup --output FILE --passphrase-file FILE, onto another disk",
            "hutong backup --output 文件 --passphrase-file 文件，存到另一块盘",
        )
        .to_owned()
}

fn check_phrase(findings: &mut Findings, data: &DataFolder, now: UnixMillis) {
    match data.noted(Note::Phrase) {
        Ok(Some(at)) if now.ms_since(at) <= PHRASE_MS_MAX => {
            findings.ok("phrase", findings.say("the 24 words were checked", "24 个恢复词已核对"));
        }
        _ => {
            let found = findings.say(
                "nobody has checked lately that the 24 words are at hand",
                "近一年未核对 24 个恢复词是否还在",
            );
            let advice =
                findings.say("hutong check-phrase --phrase-file -", "hutong check-phrase --phrase-file -");
            findings.warn("phrase", found, advice);
        }
    }
}

pub(super) fn check_config(findings: &mut Findings, data: &DataFolder) -> Option<Config> {
    if !data.is_set_up() {
        return None;
    }
    match Config::load(&data.config_file()) {
        Ok(config) => {
            findings.ok("config", findings.say("valid", "有效"));
            check_exposed(findings, &config);
            Some(config)
        }
        Err(error) => {
            let advice =
                findings.say("correct it, then `hutong config check`", "修改后运行 `hutong config check`");
            findings.fail("config", error.to_string(), advice);
            None
        }
    }
}

/// What leaves this machine unencrypted.
pub(super) fn check_exposed(findings: &mut Findings, config: &Config) {
    let mut open = Vec::new();
    if !config.merchant.listen.ip().is_loopback() {
        open.push(format!("merchant.listen {}", config.merchant.listen));
    }
    if config.metrics.enabled && !config.metrics.listen.ip().is_loopback() {
        open.push(format!("metrics.listen {}", config.metrics.listen));
    }
    if open.is_empty() {
        return findings
            .ok("config-exposed", findings.say("nothing but the peer port", "仅对外开放同伴端口"));
    }
    let advice = findings.say(
        "these ports are not encrypted: listen on 127.0.0.1, or let a firewall keep others away",
        "这些端口未加密：请只监听 127.0.0.1，或用防火墙限制",
    );
    findings.warn("config-exposed", open.join(", "), advice);
}
