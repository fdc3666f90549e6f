//! `hutong doctor`: what is right, what is wrong, and what to do, in the caller's language.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    process::ExitCode,
};

use hutong_client::{Language, Timestamp, proto};
use hutong_record::UnixMillis;
use serde_json::{Value, json};

use super::{Globals, output::Answer, session, show};
use crate::{
    clock,
    config::Config,
    data_folder::{DataFolder, DataFolderError},
    identity_file::{self, IdentityFileError},
};

/// 2024-01-01T00:00:00Z: earlier than any node, so a clock before it has not been set.
const CLOCK_MS_MIN: i64 = 1_704_067_200_000;
/// How far the node may be ahead of this command on the same machine, milliseconds.
const CLOCK_SKEW_MS_MAX: i64 = 5_000;
/// With less free space the node would soon refuse to write, bytes.
const DISK_FREE_BYTES_MIN: u64 = 200 << 20;
/// With less there is time to act, but not much, bytes.
const DISK_FREE_BYTES_LOW: u64 = 1 << 30;
/// More records waiting to be folded than a burst explains.
const UNFOLDED_MAX: u64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

#[derive(Debug)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; empty when all is well.
    advice: String,
}

/// What the checks found so far, in one language.
#[derive(Debug)]
struct Findings {
    language: Language,
    checks: Vec<Check>,
}

impl Findings {
    /// The text in the caller's language.
    fn say<'a>(&self, en: &'a str, zh: &'a str) -> &'a str {
        match self.language {
            Language::En => en,
            Language::Zh => zh,
        }
    }

    fn ok(&mut self, name: &'static str, found: impl Into<String>) {
        self.checks.push(Check { name, verdict: Verdict::Ok, found: found.into(), advice: String::new() });
    }

    fn warn(&mut self, name: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.checks.push(Check { name, verdict: Verdict::Warn, found: found.into(), advice: advice.into() });
    }

    fn fail(&mut self, name: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.checks.push(Check { name, verdict: Verdict::Fail, found: found.into(), advice: advice.into() });
    }

    fn healthy(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Fail)
    }

    fn answer(&self) -> Answer {
        let check_json = |check: &Check| -> Value {
            json!({
                "check": check.name,
                "status": check.verdict.word(),
                "message": check.found,
                "advice": check.advice,
            })
        };
        let line = |check: &Check| {
            let advice = if check.advice.is_empty() {
                String::new()
            } else {
                format!("\n{:>16}→ {}", "", check.advice)
            };
            format!("{:<5} {:<10}{}{advice}", check.verdict.word(), check.name, check.found)
        };
        let json = json!({
            "healthy": self.healthy(),
            "checks": self.checks.iter().map(check_json).collect::<Vec<_>>(),
        });
        let text = self.checks.iter().map(line).collect::<Vec<_>>().join("\n");
        let exit_code = if self.healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        Answer::new(json, text).exiting(exit_code)
    }
}

pub(crate) async fn run(globals: &Globals) -> anyhow::Result<Answer> {
    let data = globals.data()?;
    let mut findings = Findings { language: globals.language(), checks: Vec::new() };
    check_folder(&mut findings, &data);
    check_keys(&mut findings, &data);
    let config = check_config(&mut findings, &data);
    let status = check_node(&mut findings, &data).await;
    match &status {
        Some(status) => check_status(&mut findings, status),
        None => check_ports(&mut findings, config.as_ref()),
    }
    check_clock(&mut findings, clock::now(), status.as_ref());
    check_disk(&mut findings, &data);
    Ok(findings.answer())
}

fn check_folder(findings: &mut Findings, data: &DataFolder) {
    let path = data.path().display().to_string();
    if data.is_set_up() {
        findings.ok("folder", path);
    } else {
        let found = format!("{path} {}", findings.say("holds no node", "中没有节点"));
        let advice = findings.say(
            "set one up with `hutong init`, or name it with --data",
            "用 `hutong init` 建立，或用 --data 指定",
        );
        findings.fail("folder", found, advice);
    }
}

fn check_keys(findings: &mut Findings, data: &DataFolder) {
    if !data.is_set_up() {
        return;
    }
    match identity_file::load(data) {
        Ok(secrets) => {
            findings.ok("keys", format!("{} {}", findings.say("shop", "门店"), secrets.identity.id()))
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

fn check_config(findings: &mut Findings, data: &DataFolder) -> Option<Config> {
    if !data.is_set_up() {
        return None;
    }
    match Config::load(&data.config_file()) {
        Ok(config) => {
            findings.ok("config", findings.say("valid", "有效"));
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

async fn check_node(findings: &mut Findings, data: &DataFolder) -> Option<proto::GetStatusResponse> {
    if !data.is_set_up() {
        return None;
    }
    let start = findings.say("start it with `hutong serve`", "用 `hutong serve` 启动");
    let client = match session::connect(data).await {
        Ok(client) => client.with_language(findings.language),
        Err(_) => {
            findings.warn("node", findings.say("not running", "没有运行"), start);
            return None;
        }
    };
    match client.get_status(proto::GetStatusRequest {}).await {
        Ok(status) => {
            let since = show::time(status.start_time.as_ref());
            findings.ok(
                "node",
                format!("{} {}, {since}", findings.say("running, version", "运行中，版本"), status.version),
            );
            Some(status)
        }
        Err(error) => {
            let advice = findings.say("look at its log; restart it", "查看日志；重新启动");
            findings.fail("node", error.to_string(), advice);
            None
        }
    }
}

fn check_status(findings: &mut Findings, status: &proto::GetStatusResponse) {
    if status.federation_paused {
        let advice =
            findings.say("go on with `hutong federation resume`", "用 `hutong federation resume` 恢复");
        findings.warn("links", findings.say("paused", "已暂停"), advice);
    }
    for alliance in &status.alliances {
        let sizes = format!(
            "{}: {} {}, {} {}, {} {}",
            show::label(&alliance.name, &alliance.alliance_id),
            findings.say("records", "记录"),
            alliance.record_count,
            findings.say("journal", "日志"),
            show::bytes(alliance.journal_bytes),
            findings.say("views", "视图"),
            show::bytes(alliance.views_bytes),
        );
        if alliance.unfolded_count > UNFOLDED_MAX {
            let lag =
                format!("{sizes}, {} {}", alliance.unfolded_count, findings.say("not folded yet", "待处理"));
            findings.warn(
                "storage",
                lag,
                findings.say("it is catching up; ask again in a minute", "正在追赶，请稍后再查"),
            );
        } else {
            findings.ok("storage", sizes);
        }
        check_signing(findings, alliance);
        if !status.federation_paused {
            check_links(findings, alliance);
        }
    }
}

fn check_signing(findings: &mut Findings, alliance: &proto::AllianceStatus) {
    let name = show::label(&alliance.name, &alliance.alliance_id);
    let found = format!("{name}: {}", show::signing(&alliance.signing_doubt, findings.language));
    let advice = match alliance.signing_doubt.as_str() {
        "" => return findings.ok("signing", found),
        "STARTED" | "TAIL_TORN" => {
            let advice = findings.say("ask again in a few seconds", "请几秒后再查");
            return findings.warn("signing", found, advice);
        }
        "SHARED" => findings.say(
            "find the other node that runs with this shop's keys and stop it for good, then start this one anew",
            "找到并永久停掉使用同一密钥的另一个节点，然后重启本节点",
        ),
        "FORKED" => findings.say(
            "stop every copy of this node; then core members must admit the shop anew",
            "停掉本店节点的所有副本；之后须由核心成员重新接纳本店",
        ),
        _ => findings.say(
            "connect to other members: at least two of them, or the only one, must be reachable",
            "连接其他成员：至少要有两个（或唯一的一个）在线",
        ),
    };
    findings.fail("signing", found, advice);
}

fn check_links(findings: &mut Findings, alliance: &proto::AllianceStatus) {
    let connected = alliance.links.iter().filter(|link| link.connected).count();
    let (all, name) = (alliance.links.len(), show::label(&alliance.name, &alliance.alliance_id));
    let found = format!("{name}: {connected}/{all} {}", findings.say("connected", "已连接"));
    if all == 0 || connected > 0 {
        return findings.ok("links", found);
    }
    let errors = alliance.links.iter().filter(|link| !link.last_error.is_empty());
    let errors: Vec<_> =
        errors.take(3).map(|link| format!("{}: {}", link.shop_name, link.last_error)).collect();
    let advice = findings.say(
        "check this machine's network and firewall, and peer.advertise on both sides",
        "检查本机网络和防火墙，以及双方的 peer.advertise",
    );
    findings.warn("links", [vec![found], errors].concat().join("; "), advice);
}

fn check_ports(findings: &mut Findings, config: Option<&Config>) {
    let Some(config) = config else { return };
    for (key, address) in [("peer.listen", config.peer.listen), ("merchant.listen", config.merchant.listen)] {
        match port_problem(address) {
            None => findings.ok("ports", format!("{key} {address} {}", findings.say("is free", "空闲"))),
            Some(kind) => {
                let found = format!("{key} {address}: {kind}");
                let advice = findings.say(
                    "stop the program that uses it, or set another address in hutong.toml",
                    "停掉占用它的程序，或在 hutong.toml 中改用其他地址",
                );
                findings.fail("ports", found, advice);
            }
        }
    }
}

fn port_problem(address: SocketAddr) -> Option<ErrorKind> {
    TcpListener::bind(address).err().map(|error| error.kind())
}

fn check_clock(findings: &mut Findings, now: UnixMillis, status: Option<&proto::GetStatusResponse>) {
    let shown = show::time(Some(&super::value::timestamp(now)));
    let advice = findings.say("set the clock; turn network time (NTP) on", "校准时钟；打开网络对时（NTP）");
    if now.ms() < CLOCK_MS_MIN {
        return findings.fail(
            "clock",
            format!("{shown} {}", findings.say("lies in the past", "早于现实时间")),
            advice,
        );
    }
    let ahead_ms = status.map_or(0, |status| latest_ms(status) - now.ms());
    if ahead_ms > CLOCK_SKEW_MS_MAX {
        let found = findings.say("went back since the node started, seconds:", "节点启动后时钟倒退，秒数：");
        return findings.fail("clock", format!("{shown}; {found} {}", ahead_ms / 1_000), advice);
    }
    findings.ok("clock", shown);
}

/// The latest moment that the node says it has seen, milliseconds; it cannot lie after now.
fn latest_ms(status: &proto::GetStatusResponse) -> i64 {
    let heard = status
        .alliances
        .iter()
        .flat_map(|alliance| &alliance.links)
        .map(|link| link.last_heard_time.as_ref());
    let ms = |time: &Timestamp| time.seconds.saturating_mul(1_000);
    heard.chain([status.start_time.as_ref()]).flatten().map(ms).max().unwrap_or(0)
}

#[cfg(unix)]
fn check_disk(findings: &mut Findings, data: &DataFolder) {
    let there = data.path().ancestors().find(|folder| folder.exists());
    let Some(Ok(space)) = there.map(rustix::fs::statvfs) else { return };
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    judge_disk(findings, free_bytes);
}

#[cfg(not(unix))]
fn check_disk(_findings: &mut Findings, _data: &DataFolder) {}

fn judge_disk(findings: &mut Findings, free_bytes: u64) {
    let found = format!("{} {}", show::bytes(free_bytes), findings.say("free", "可用"));
    let advice = findings.say("make room on the disk", "清理磁盘空间");
    match free_bytes {
        0..DISK_FREE_BYTES_MIN => findings.fail("disk", found, advice),
        DISK_FREE_BYTES_MIN..DISK_FREE_BYTES_LOW => findings.warn("disk", found, advice),
        _ => findings.ok("disk", found),
    }
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
