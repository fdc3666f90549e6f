//! `hutong doctor`: what is right, what is wrong, and what to do, in the caller's language.
//!
//! Each check has a name that stays the same in every version and language, so that programs can look for it; [`CHECKS`]
//! lists them all. A check that cannot be made (there is no node, say) is left out.

mod alliance;
mod folder;
mod machine;
mod network;

use std::{collections::BTreeMap, process::ExitCode};

use hutong_client::{Language, Timestamp, proto};
use serde_json::{Value, json};

use super::{Globals, output::Answer, say, session, show};
use crate::{clock, data_folder::DataFolder};

/// Every check there is.
pub(crate) const CHECKS: [&str; 45] = [
    "folder",
    "folder-mode",
    "folder-owner",
    "folder-format",
    "keys",
    "key-mode",
    "token",
    "config",
    "config-cache",
    "config-exposed",
    "backup",
    "phrase",
    "disk",
    "disk-files",
    "file-system",
    "clock",
    "clock-ahead",
    "clock-peers",
    "clock-synced",
    "time-zone",
    "locale",
    "open-files",
    "memory",
    "root",
    "ports",
    "advertise",
    "reachable",
    "node",
    "version",
    "federation",
    "membership",
    "signing",
    "key-epoch",
    "links",
    "peer-versions",
    "stale-members",
    "behind",
    "forks",
    "fold-lag",
    "views",
    "damage",
    "set-aside",
    "queue",
    "risk",
    "duties",
];

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
    const fn new(language: Language) -> Self {
        Self { language, checks: Vec::new() }
    }

    /// The text in the caller's language.
    fn say<'a>(&self, en: &'a str, zh: &'a str) -> &'a str {
        say(self.language, en, zh)
    }

    fn ok(&mut self, name: &'static str, found: impl Into<String>) {
        self.add(name, Verdict::Ok, found.into(), String::new());
    }

    fn warn(&mut self, name: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(name, Verdict::Warn, found.into(), advice.into());
    }

    fn fail(&mut self, name: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(name, Verdict::Fail, found.into(), advice.into());
    }

    fn add(&mut self, name: &'static str, verdict: Verdict, found: String, advice: String) {
        debug_assert!(CHECKS.contains(&name), "{name} is not listed");
        self.checks.push(Check { name, verdict, found, advice });
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
                format!("\n{:>21}→ {}", "", check.advice)
            };
            format!("{:<5} {:<15}{}{advice}", check.verdict.word(), check.name, check.found)
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
    Ok(examine(&globals.data()?, globals.language()).await.answer())
}

/// The same as JSON, for a support bundle.
pub(crate) async fn report(data: &DataFolder) -> Value {
    examine(data, Language::En).await.answer().into_json()
}

async fn examine(data: &DataFolder, language: Language) -> Findings {
    let mut findings = Findings::new(language);
    folder::check(&mut findings, data);
    let config = folder::check_config(&mut findings, data);
    let (status, announced) = check_node(&mut findings, data).await.unzip();
    machine::check(&mut findings, data, config.as_ref(), status.as_ref());
    match &status {
        Some(status) => {
            alliance::check(&mut findings, status, &announced.unwrap_or_default(), clock::now());
        }
        None => network::check_ports(&mut findings, config.as_ref()),
    }
    if let Some(config) = &config {
        network::check_advertise(&mut findings, &config.peer, status.as_ref());
        if status.is_some() {
            network::check_reachable(&mut findings, data, &config.peer).await;
        }
    }
    findings
}

/// The alliances, by id, in which the admission of this shop is open to objections, and until when.
type Announced = BTreeMap<String, Timestamp>;

async fn check_node(
    findings: &mut Findings,
    data: &DataFolder,
) -> Option<(proto::GetStatusResponse, Announced)> {
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
            let found = findings.say("running since", "运行中，启动于");
            findings.ok("node", format!("{found} {since}"));
            check_version(findings, &status.version);
            let mut announced = Announced::new();
            for alliance in &status.alliances {
                let id = &alliance.alliance_id;
                let until = session::announced_until(&client, id, &status.shop_id).await;
                announced.extend(until.map(|until| (id.clone(), until)));
            }
            Some((status, announced))
        }
        Err(error) => {
            let advice = findings.say("look at its log; restart it", "查看日志；重新启动");
            findings.fail("node", error.to_string(), advice);
            None
        }
    }
}

/// A node goes on with the program that it was started with, whatever was installed since.
fn check_version(findings: &mut Findings, running: &str) {
    let own = env!("CARGO_PKG_VERSION");
    if running == own {
        return findings.ok("version", own);
    }
    let found = format!(
        "{} {running}, {} {own}",
        findings.say("the node runs", "节点运行的是"),
        findings.say("this command is", "本命令是")
    );
    let advice = findings.say("restart the node, or use its own command", "重启节点，或使用与其同版本的命令");
    findings.warn("version", found, advice);
}

#[cfg(test)]
mod tests;
