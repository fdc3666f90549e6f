//! `hutong sale import`: a till's file of sales, reported one by one. Each row has a request id of its own, made from
//! what the file says, so that a file that is imported again, or overlaps another one, reports nothing twice.

mod mapping;
mod row;
mod sheet;

use std::{collections::BTreeMap, process::ExitCode};

use futures::StreamExt as _;
use hutong_client::{Client, Error, Language, proto};
use hutong_record::Currency;
use serde_json::{Value, json};

use super::{
    Globals,
    output::{Answer, fields, table},
    problem::Problem,
    sale::ImportArgs,
    session::Session,
};
use mapping::Mapping;
pub(crate) use mapping::MappingError;
use row::{RowProblem, Sale};
use sheet::Sheet;

/// Reports under way at once: they share the node's disk writes, and leave room for the tills.
const REPORTS_AT_ONCE: usize = 16;
/// Refused rows that are shown; all are counted, and with `--json` all are told.
const REFUSED_SHOWN_MAX: usize = 50;

/// A row that was not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    line: u64,
    /// Stable, like a node's reasons.
    reason: String,
    why: String,
}

/// What came of a file.
#[derive(Debug, Default)]
struct Outcome {
    rows: u64,
    skipped: u64,
    /// Reported now or before; in a dry run, those that would be.
    accepted: u64,
    vouchers: u64,
    refused: Vec<Refused>,
    /// The node went away; what comes after was not reported.
    broken_off: Option<Refused>,
}

pub(crate) async fn run(globals: &Globals, args: ImportArgs) -> anyhow::Result<Answer> {
    let mapping = Mapping::read(&args.mapping)?;
    let sheet = Sheet::open(&args.input, &mapping)?;
    let session = Session::open(globals).await?;
    let request = proto::GetAllianceRequest { alliance_id: session.alliance_id.clone(), read_mask: None };
    let alliance = session.client.get_alliance(request).await?.alliance.ok_or(Problem::Answer("alliance"))?;
    let currency: Currency = alliance.currency_code.parse().map_err(|_| Problem::Answer("currency_code"))?;

    let mut outcome = Outcome::default();
    let mut sales = Vec::new();
    let mut seen = BTreeMap::new();
    for (line, cells) in sheet.rows() {
        outcome.rows += 1;
        match row::sale(&mapping, &sheet, cells, currency, &mut seen) {
            Ok(None) => outcome.skipped += 1,
            Ok(Some(sale)) => sales.push((*line, sale)),
            Err(problem) => outcome.refused.push(refused_row(*line, &problem)),
        }
    }
    if args.dry_run {
        outcome.accepted = sales.len() as u64;
    } else {
        report(&session.client, &alliance.id, sales, &mut outcome).await;
    }
    outcome.refused.sort_by_key(|refused| refused.line);
    Ok(answer(&outcome, args.dry_run, globals.language()))
}

fn refused_row(line: u64, problem: &RowProblem) -> Refused {
    Refused { line, reason: problem.reason().to_owned(), why: problem.to_string() }
}

/// Reports the sales in the order of the file. Where the node cannot be reached even after repeats, the rest is left:
/// the same command goes on from there.
async fn report(client: &Client, alliance_id: &str, sales: Vec<(u64, Sale)>, outcome: &mut Outcome) {
    let mut reports = futures::stream::iter(sales.into_iter().map(|(line, sale)| {
        let request = sale.request(alliance_id);
        async move { (line, client.report_sale(request).await) }
    }))
    .buffered(REPORTS_AT_ONCE);
    while let Some((line, answer)) = reports.next().await {
        match answer {
            Ok(answer) => {
                outcome.accepted += 1;
                outcome.vouchers += answer.vouchers.len() as u64;
            }
            Err(error) if stops(&error) => {
                outcome.broken_off = Some(refused_by_node(line, &error));
                return;
            }
            Err(error) => outcome.refused.push(refused_by_node(line, &error)),
        }
    }
}

/// Whether every further row would meet the same.
fn stops(error: &Error) -> bool {
    use hutong_client::Code;
    let code = error.refusal().map(|refusal| refusal.code);
    error.is_unavailable() || matches!(code, None | Some(Code::Unauthenticated | Code::PermissionDenied))
}

fn refused_by_node(line: u64, error: &Error) -> Refused {
    let reason = error.reason().unwrap_or("NODE_UNREACHABLE").to_owned();
    Refused { line, reason, why: error.to_string() }
}

fn answer(outcome: &Outcome, dry_run: bool, language: Language) -> Answer {
    let told =
        |refused: &Refused| json!({ "line": refused.line, "reason": refused.reason, "message": refused.why });
    let json = json!({
        "dry_run": dry_run,
        "rows": outcome.rows,
        "skipped": outcome.skipped,
        "accepted": outcome.accepted,
        "vouchers": outcome.vouchers,
        "refused": outcome.refused.iter().map(told).collect::<Vec<Value>>(),
        "broken_off": outcome.broken_off.as_ref().map(told),
    });
    let say = |en: &'static str, zh: &'static str| match language {
        Language::En => en,
        Language::Zh => zh,
    };
    let accepted = if dry_run { say("would be imported", "可导入") } else { say("imported", "已导入") };
    let mut text = fields([
        (say("rows", "行数"), outcome.rows.to_string()),
        (accepted, outcome.accepted.to_string()),
        (say("vouchers earned", "所得券"), outcome.vouchers.to_string()),
        (say("skipped", "已略过"), outcome.skipped.to_string()),
        (say("refused", "被拒"), outcome.refused.len().to_string()),
    ]);
    if !outcome.refused.is_empty() {
        let shown = outcome.refused.iter().take(REFUSED_SHOWN_MAX);
        let rows = shown.map(|r| [r.line.to_string(), r.reason.clone(), r.why.clone()]).collect();
        let header = [say("line", "行"), say("reason", "原因"), say("what is wrong", "说明")];
        text = format!("{text}\n\n{}", table(header, rows));
    }
    if let Some(broken_off) = &outcome.broken_off {
        let note = say("Broken off at line", "中断于第");
        let go_on = say("run the same command again to go on", "再次运行同一命令即可继续");
        text = format!("{text}\n\n{note} {}: {} ({go_on})", broken_off.line, broken_off.why);
    }
    let whole = outcome.refused.is_empty() && outcome.broken_off.is_none();
    let code = if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let answer = Answer::new(json, text).exiting(code);
    let more = outcome.refused.len() > REFUSED_SHOWN_MAX;
    if more {
        answer.hint(say("There are more: --json tells all.", "还有更多：用 --json 查看全部。"))
    } else {
        answer
    }
}

#[cfg(test)]
#[path = "sale_import/tests.rs"]
mod tests;
