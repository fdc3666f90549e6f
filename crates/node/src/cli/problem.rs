//! What the command line itself finds wrong, and how every failure is told.

use std::{path::PathBuf, process::ExitCode};

use hutong_client::Language;
use hutong_core::{
    attribution::{AttributionError, PathError, ShareOutError},
    netting::{Discrepancy, NettingError},
};
use hutong_record::UnixMillis;
use serde_json::{Value, json};

use super::{plain_file::FileError, sale_import::MappingError, say, show};
use crate::data_folder::DataFolderError;

/// A failure that the node has no part in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// The command was not understood.
    #[error("{0}")]
    Usage(String),
    /// No node answers for the data folder.
    #[error("the node of {data} is not running: start it with `hutong serve`")]
    NotRunning {
        /// The data folder.
        data: PathBuf,
    },
    /// Nothing is called so.
    #[error("no {kind} is called `{text}`{}", known(candidates, Language::En))]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// The name or id as typed.
        text: String,
        /// What there is.
        candidates: Vec<String>,
    },
    /// More than one is called so.
    #[error("`{text}` may be more than one {kind}: give more of the id{}", known(candidates, Language::En))]
    Ambiguous {
        /// What was looked for.
        kind: &'static str,
        /// The name or id as typed.
        text: String,
        /// What it may mean.
        candidates: Vec<String>,
    },
    /// The node's answer lacks what it must have.
    #[error("the node's answer lacks `{0}`: node and command are of different versions")]
    Answer(&'static str),
    /// A stream of events ended.
    #[error("the node ended the stream: go on with `hutong watch{}`", from(resume_token))]
    StreamEnded {
        /// Where to go on; empty where no event came.
        resume_token: String,
    },
    /// A file's paths are more than can be taken.
    #[error(transparent)]
    Paths(PathError),
    /// A model has no result.
    #[error(transparent)]
    Attribution(AttributionError),
    /// An amount cannot be shared out.
    #[error(transparent)]
    ShareOut(ShareOutError),
    /// Debts cannot be netted.
    #[error(transparent)]
    Netting(NettingError),
    /// A netting is wrong.
    #[error("the netting is wrong: {0}")]
    Discrepancy(Discrepancy),
}

/// At most this many candidates are shown.
const CANDIDATES_MAX: usize = 8;

fn known(candidates: &[String], language: Language) -> String {
    if candidates.is_empty() {
        return String::new();
    }
    let (before, between, more, after) =
        say(language, (" (there is: ", ", ", ", …", ")"), ("（现有：", "、", "等", "）"));
    let more = if candidates.len() > CANDIDATES_MAX { more } else { "" };
    let shown: Vec<_> = candidates.iter().take(CANDIDATES_MAX).map(String::as_str).collect();
    format!("{before}{}{more}{after}", shown.join(between))
}

/// What [`Problem::Unknown`] and [`Problem::Ambiguous`] are about.
fn kind_in_chinese(kind: &'static str) -> &'static str {
    match kind {
        "alliance" => "联盟",
        "motion" => "动议",
        "netting run" => "轧差",
        "payment" => "付款",
        "promotion" => "活动",
        "receipt" => "凭证",
        "redemption" => "核销",
        "shop" => "店",
        other => other,
    }
}

fn from(resume_token: &str) -> String {
    if resume_token.is_empty() { String::new() } else { format!(" --from {resume_token}") }
}

impl Problem {
    /// In Chinese; none: it is told in English alone.
    fn chinese(&self) -> Option<String> {
        Some(match self {
            Self::NotRunning { data } => {
                format!("{} 的节点没有运行：请用 `hutong serve` 启动", data.display())
            }
            Self::Unknown { kind, text, candidates } => {
                format!("没有名为 `{text}` 的{}{}", kind_in_chinese(kind), known(candidates, Language::Zh))
            }
            Self::Ambiguous { kind, text, candidates } => {
                let (kind, known) = (kind_in_chinese(kind), known(candidates, Language::Zh));
                format!("`{text}` 可能指不止一个{kind}：请给出更长的标识{known}")
            }
            Self::Answer(field) => format!("节点的答复缺少 `{field}`：节点与命令的版本不同"),
            Self::StreamEnded { resume_token } => {
                format!("节点结束了推送：用 `hutong watch{}` 继续", from(resume_token))
            }
            Self::Usage(_)
            | Self::Paths(_)
            | Self::Attribution(_)
            | Self::ShareOut(_)
            | Self::Netting(_)
            | Self::Discrepancy(_) => return None,
        })
    }

    /// Stable, like a node's reasons.
    fn reason(&self) -> &'static str {
        match self {
            Self::Usage(_) => "USAGE",
            Self::NotRunning { .. } => "NODE_NOT_RUNNING",
            Self::Unknown { .. } => "UNKNOWN_NAME",
            Self::Ambiguous { .. } => "AMBIGUOUS_NAME",
            Self::Answer(_) => "BAD_ANSWER",
            Self::StreamEnded { .. } => "STREAM_ENDED",
            Self::Paths(_) | Self::Attribution(_) | Self::ShareOut(_) => "NO_ATTRIBUTION",
            Self::Netting(_) => "NO_NETTING",
            Self::Discrepancy(_) => "NETTING_WRONG",
        }
    }
}

/// 2 for wrong usage, 1 for all else.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<Problem>() {
        Some(Problem::Usage(_)) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// The failure in a language, as far as it is known in it.
pub(crate) fn text_in(error: &anyhow::Error, language: Language) -> String {
    let chinese = match language {
        Language::Zh => {
            let folder = || error.downcast_ref::<DataFolderError>().and_then(folder_in_chinese);
            error.downcast_ref::<Problem>().and_then(Problem::chinese).or_else(folder)
        }
        Language::En => None,
    };
    chinese.unwrap_or_else(|| text(error))
}

/// None: it is told in English alone.
fn folder_in_chinese(error: &DataFolderError) -> Option<String> {
    use DataFolderError as E;
    Some(match error {
        E::Missing(path) => format!("{} 中没有节点：请用 `hutong init` 建立", path.display()),
        E::Exists(path) => format!("{} 已存在：请用 --data 另选目录；未作任何改动", path.display()),
        E::OutputExists(path) => format!("{} 已存在：请用 --output 另选文件；未作任何改动", path.display()),
        E::Shared { path, mode } => {
            let path = path.display();
            format!(
                "{path} 可被他人读写（权限 {mode:03o}）：请执行 `chmod 600 {path}`；若本机另有他人使用，应视其中的秘密为已泄露"
            )
        }
        E::Locked(path) => format!("{} 正被另一个 `hutong serve` 使用", path.display()),
        E::Damaged { .. } | E::Io { .. } => return None,
    })
}

/// The failure for people, with its causes where they say more.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    let refusal = error.downcast_ref::<hutong_client::Error>().and_then(hutong_client::Error::refusal);
    let Some(refusal) = refusal else { return text };
    for (name, moment) in moments(refusal) {
        text = format!("{text}, {name} {moment}");
    }
    match refusal.reason.as_deref() {
        Some(reason) => format!("{text} [{reason}]"),
        None => text,
    }
}

/// The times among a refusal's facts: when a voucher was redeemed, has expired, and so on.
fn moments(refusal: &hutong_client::Refusal) -> Vec<(&str, String)> {
    let named = refusal.metadata.iter().filter_map(|(name, value)| {
        let at = UnixMillis::new(value.parse().ok()?).ok()?;
        Some((name.strip_suffix("_unix_ms")?, show::time(Some(&hutong_wire::trade::timestamp(at)))))
    });
    let mut named: Vec<_> = named.collect();
    named.sort_unstable();
    named
}

/// The failure for programs.
pub(crate) fn json(error: &anyhow::Error) -> Value {
    let mut told = json!({ "reason": "FAILED", "message": text(error) });
    if let Some(problem) = error.downcast_ref::<Problem>() {
        told["reason"] = problem.reason().into();
    }
    if let Some(file) = error.downcast_ref::<FileError>() {
        told["reason"] = file.reason().into();
    }
    if let Some(mapping) = error.downcast_ref::<MappingError>() {
        told["reason"] = mapping.reason().into();
    }
    if let Some(refusal) =
        error.downcast_ref::<hutong_client::Error>().and_then(hutong_client::Error::refusal)
    {
        told["reason"] = refusal.reason.as_deref().unwrap_or("FAILED").into();
        told["domain"] = refusal.domain.as_str().into();
        told["code"] = format!("{:?}", refusal.code).into();
        told["message"] = refusal.to_string().into();
        told["metadata"] = json!(refusal.metadata);
    }
    json!({ "error": told })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_one_form_in_json() {
        let data = PathBuf::from("/data");
        let told = json(&Problem::NotRunning { data }.into());
        assert_eq!(told["error"]["reason"], "NODE_NOT_RUNNING");
        assert!(told["error"]["message"].as_str().unwrap().contains("hutong serve"));
        assert_eq!(json(&anyhow::anyhow!("disk full"))["error"]["reason"], "FAILED");
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no space").context("journal: no space").context("start");
        assert_eq!(text(&error), "start: journal: no space");
    }

    #[test]
    fn what_people_type_is_answered_in_their_language() {
        let unknown = |candidates: &[&str]| {
            let candidates = candidates.iter().map(|one| (*one).to_owned()).collect();
            anyhow::Error::from(Problem::Unknown { kind: "shop", text: "布店".into(), candidates })
        };
        assert_eq!(
            text_in(&unknown(&["面馆 abcd", "茶馆 ef01"]), Language::Zh),
            "没有名为 `布店` 的店（现有：面馆 abcd、茶馆 ef01）"
        );
        assert_eq!(text_in(&unknown(&[]), Language::Zh), "没有名为 `布店` 的店");
        assert_eq!(text_in(&unknown(&[]), Language::En), "no shop is called `布店`");
        assert_eq!(text_in(&anyhow::anyhow!("disk full"), Language::Zh), "disk full");
    }

    #[test]
    fn long_lists_of_candidates_are_cut() {
        let candidates = (0..20).map(|n| format!("s{n}")).collect();
        let text = Problem::Unknown { kind: "shop", text: "x".into(), candidates }.to_string();
        assert!(text.contains("s7, …") && !text.contains("s8"), "{text}");
    }
}
