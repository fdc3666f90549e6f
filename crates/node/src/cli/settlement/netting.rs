//! Netting by records: balances disclosed, runs proposed, consented to, written to files.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use hutong_client::{Language, Timestamp, proto};
use serde_json::{Value, json};

use crate::cli::{
    output::{Answer, fields, table},
    output_file,
    problem::Problem,
    resolve::listed_id,
    session::Session,
    show::{Names, money, money_json, time, time_json},
    value,
};

/// `hutong settlement net …`
#[derive(Debug, Subcommand)]
pub(crate) enum NetCommand {
    /// Net what was disclosed for a period, and propose it to the alliance.
    Propose {
        /// The end of the period [default: the latest that a balance was disclosed for].
        #[arg(long, value_parser = value::time)]
        end: Option<Timestamp>,
    },
    /// Agree to a run.
    Consent {
        /// The run's id, or its beginning.
        run: String,
    },
    /// A run: its debts, what is left of them, and who has consented.
    Show {
        /// The run's id, or its beginning.
        run: String,
    },
    /// All runs.
    List,
    /// Write a run to two files that `hutong netting verify` checks.
    #[command(after_help = "Example:
  hutong settlement net export 3f… --debts debts.csv --result netting.json
  hutong netting verify --input debts.csv --result netting.json

For a run with credit lines, add --lines lines.csv to both.")]
    Export {
        /// The run's id, or its beginning.
        run: String,
        /// Where the debts go, as CSV.
        #[arg(long, value_name = "FILE")]
        debts: PathBuf,
        /// Where the credit lines go, as CSV; needed where the run has any.
        #[arg(long, value_name = "FILE")]
        lines: Option<PathBuf>,
        /// Where the result goes, as JSON.
        #[arg(long, value_name = "FILE")]
        result: PathBuf,
    },
    /// Whether the node consents by itself to runs that take this shop's balances as they are.
    Auto {
        /// `on` or `off`.
        #[arg(value_enum)]
        rule: Switch,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// The node consents by itself.
    On,
    /// Each consent is given by hand.
    Off,
}

pub(super) async fn publish(session: &Session, ally: &str) -> anyhow::Result<Answer> {
    let [ally_id] = session.shops([ally]).await?;
    let request = proto::PublishBalanceRequest { alliance_id: session.alliance_id.clone(), ally_id };
    let told = session.client.publish_balance(request).await?;
    let json = json!({
        "balance": money_json(told.balance.as_ref()),
        "period_end_time": time_json(told.period_end_time.as_ref()),
    });
    let balance = money(told.balance.as_ref());
    let text = match session.language {
        Language::En => format!("disclosed: {balance} owed to us"),
        Language::Zh => format!("已公布：对方欠本店 {balance}"),
    };
    Ok(Answer::new(json, text))
}

pub(super) async fn net(session: &Session, command: NetCommand) -> anyhow::Result<Answer> {
    let alliance_id = session.alliance_id.clone();
    let run = match command {
        NetCommand::Propose { end } => {
            let request = proto::ProposeNettingRequest { alliance_id, period_end_time: end };
            session.client.propose_netting(request).await?.run
        }
        NetCommand::Consent { run } => {
            let run_id = run_id(session, &run).await?;
            let request = proto::ConsentToNettingRequest { alliance_id, run_id };
            session.client.consent_to_netting(request).await?.run
        }
        NetCommand::Show { run } => find(session, &run).await?,
        NetCommand::Export { run, debts, lines, result } => {
            let run = find(session, &run).await?.ok_or(Problem::Answer("run"))?;
            return export(&run, &debts, lines.as_deref(), &result, session.language);
        }
        NetCommand::List => {
            let runs = session.client.all_nettings(&alliance_id).await?;
            let header = ["period", "total", "cleared", "left", "in effect", "id"];
            let text = table(header, runs.iter().map(run_row).collect());
            return Ok(Answer::new(runs.iter().map(run_json).collect(), text));
        }
        NetCommand::Auto { rule } => {
            let consent_by_itself = rule == Switch::On;
            let request = proto::SetNettingRuleRequest { alliance_id, consent_by_itself };
            session.client.set_netting_rule(request).await?;
            let text = if consent_by_itself {
                session.say("the node consents by itself", "节点将自动同意轧差")
            } else {
                session.say("consents are given by hand", "轧差须手动同意")
            };
            return Ok(Answer::new(json!({ "consent_by_itself": consent_by_itself }), text));
        }
    };
    let run = run.ok_or(Problem::Answer("run"))?;
    Ok(Answer::new(run_json(&run), run_text(&run, &session.names().await)))
}

async fn run_id(session: &Session, text: &str) -> anyhow::Result<String> {
    listed_id("netting run", text, session.client.all_nettings(&session.alliance_id), |run| run.id).await
}

async fn find(session: &Session, run: &str) -> anyhow::Result<Option<proto::NettingRun>> {
    let run_id = run_id(session, run).await?;
    let request = proto::GetNettingRequest { alliance_id: session.alliance_id.clone(), run_id };
    Ok(session.client.get_netting(request).await?.run)
}

/// The debts, the credit lines and the result as `hutong netting` reads them.
fn export(
    run: &proto::NettingRun,
    debts: &Path,
    lines: Option<&Path>,
    result: &Path,
    language: Language,
) -> anyhow::Result<Answer> {
    if lines.is_none() && !run.lines.is_empty() {
        return Err(
            Problem::Usage("the run has credit lines: name a file for them with --lines".into()).into()
        );
    }
    let mut csv = String::from("debtor,creditor,amount\n");
    for debt in &run.debts {
        csv += &format!("{},{},{}\n", debt.debtor_id, debt.creditor_id, minor(debt.amount.as_ref()));
    }
    let mut lines_csv = String::from("creditor,debtor,limit\n");
    for line in &run.lines {
        lines_csv += &format!("{},{},{}\n", line.creditor_id, line.debtor_id, minor(line.limit.as_ref()));
    }
    let lines = lines.map(|file| (file, lines_csv));
    let written = [(debts, csv), (result, result_json(run).to_string())];
    for (file, content) in written.into_iter().chain(lines.clone()) {
        output_file::write(file, content.as_bytes())?;
    }
    let lines = lines.map(|(file, _)| file);
    let (count, debts_at, result_at) = (run.debts.len(), debts.display(), result.display());
    let text = match language {
        Language::En => format!("{count} debts written to {debts_at} and {result_at}"),
        Language::Zh => format!("已将 {count} 笔欠款写入 {debts_at} 和 {result_at}"),
    };
    Ok(Answer::new(json!({ "debts": debts, "lines": lines, "result": result }), text))
}

fn minor(money: Option<&proto::Money>) -> i64 {
    money.map_or(0, |money| money.minor)
}

/// As `hutong netting run --json` prints it.
fn result_json(run: &proto::NettingRun) -> Value {
    let debt = |debtor: &str, creditor: &str, amount: Option<&proto::Money>| json!({ "debtor": debtor, "creditor": creditor, "amount": minor(amount) });
    let left = run.debts.iter().filter(|debt| minor(debt.left.as_ref()) > 0);
    let left = left.map(|d| debt(&d.debtor_id, &d.creditor_id, d.left.as_ref()));
    let mut told = json!({
        "total": minor(run.total.as_ref()),
        "cleared": minor(run.cleared.as_ref()),
        "remainder": minor(run.remainder.as_ref()),
        "obligations": left.collect::<Vec<_>>(),
    });
    if !run.lines.is_empty() {
        let new = run.lines.iter().filter(|line| minor(line.drawn.as_ref()) > 0);
        let new = new.map(|l| debt(&l.debtor_id, &l.creditor_id, l.drawn.as_ref()));
        told["drawn"] = minor(run.drawn.as_ref()).into();
        told["new_debts"] = new.collect();
    }
    told
}

fn run_row(run: &proto::NettingRun) -> [String; 6] {
    [
        time(run.period_end_time.as_ref()),
        money(run.total.as_ref()),
        money(run.cleared.as_ref()),
        money(run.remainder.as_ref()),
        if run.in_effect { "yes" } else { "no" }.to_owned(),
        run.id.clone(),
    ]
}

fn run_text(run: &proto::NettingRun, names: &Names) -> String {
    let row = |debt: &proto::NettedDebt| {
        [
            names.label(&debt.debtor_id),
            names.label(&debt.creditor_id),
            money(debt.amount.as_ref()),
            money(debt.left.as_ref()),
        ]
    };
    let debts = table(["debtor", "creditor", "owed", "left"], run.debts.iter().map(row).collect());
    let line = |line: &proto::NettedLine| {
        [
            names.label(&line.debtor_id),
            names.label(&line.creditor_id),
            money(line.limit.as_ref()),
            money(line.drawn.as_ref()),
        ]
    };
    let lines = table(["debtor", "creditor", "line", "drawn"], run.lines.iter().map(line).collect());
    let lines = if run.lines.is_empty() { String::new() } else { format!("\n\n{lines}") };
    let drawn = if run.lines.is_empty() { String::new() } else { money(run.drawn.as_ref()) };
    let shops = |ids: &[String]| ids.iter().map(|id| names.label(id)).collect::<Vec<_>>().join(", ");
    let rest = fields([
        ("run", run.id.clone()),
        ("proposed by", names.label(&run.proposer_id)),
        ("period until", time(run.period_end_time.as_ref())),
        ("total", money(run.total.as_ref())),
        ("cleared", money(run.cleared.as_ref())),
        ("left", money(run.remainder.as_ref())),
        ("new by credit lines", drawn),
        ("consented", shops(&run.consented_ids)),
        ("missing", shops(&run.missing_ids)),
        ("in effect", if run.in_effect { "yes" } else { "no" }.to_owned()),
    ]);
    format!("{debts}{lines}\n\n{rest}")
}

fn run_json(run: &proto::NettingRun) -> Value {
    let debt = |debt: &proto::NettedDebt| {
        json!({
            "debtor_id": debt.debtor_id,
            "creditor_id": debt.creditor_id,
            "amount": money_json(debt.amount.as_ref()),
            "left": money_json(debt.left.as_ref()),
        })
    };
    let line = |line: &proto::NettedLine| {
        json!({
            "debtor_id": line.debtor_id,
            "creditor_id": line.creditor_id,
            "limit": money_json(line.limit.as_ref()),
            "drawn": money_json(line.drawn.as_ref()),
        })
    };
    json!({
        "id": run.id,
        "proposer_id": run.proposer_id,
        "period_end_time": time_json(run.period_end_time.as_ref()),
        "debts": run.debts.iter().map(debt).collect::<Vec<_>>(),
        "lines": run.lines.iter().map(line).collect::<Vec<_>>(),
        "total": money_json(run.total.as_ref()),
        "cleared": money_json(run.cleared.as_ref()),
        "remainder": money_json(run.remainder.as_ref()),
        "drawn": money_json(run.drawn.as_ref()),
        "consented_ids": run.consented_ids,
        "missing_ids": run.missing_ids,
        "in_effect": run.in_effect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::netting::verify_files;

    fn cny(minor: i64) -> Option<proto::Money> {
        Some(proto::Money { currency_code: "CNY".to_owned(), minor })
    }

    fn debt(debtor: &str, creditor: &str, minor: i64, left: i64) -> proto::NettedDebt {
        let (debtor_id, creditor_id) = (debtor.to_owned(), creditor.to_owned());
        proto::NettedDebt { debtor_id, creditor_id, amount: cny(minor), left: cny(left) }
    }

    fn run() -> proto::NettingRun {
        proto::NettingRun {
            id: "3f".repeat(32),
            debts: vec![debt("a", "b", 500, 300), debt("b", "c", 200, 0), debt("c", "a", 300, 100)],
            total: cny(1_000),
            cleared: cny(600),
            remainder: cny(400),
            ..Default::default()
        }
    }

    #[test]
    fn an_exported_run_is_what_netting_verify_reads() {
        let folder = tempfile::tempdir().unwrap();
        let (debts, result) = (folder.path().join("debts.csv"), folder.path().join("netting.json"));
        export(&run(), &debts, None, &result, Language::En).unwrap();
        let text = |file: &PathBuf| file.to_str().unwrap().to_owned();
        let verified = verify_files(&text(&debts), None, &text(&result)).unwrap();
        assert_eq!(verified.json()["cleared"], 600);
        std::fs::write(&debts, "debtor,creditor,amount\na,b,500\n").unwrap();
        assert!(verify_files(&text(&debts), None, &text(&result)).is_err());
    }

    #[test]
    fn an_exported_run_with_lines_needs_a_file_for_them() {
        let (debtor_id, creditor_id) = ("a".to_owned(), "c".to_owned());
        let line = proto::NettedLine { debtor_id, creditor_id, limit: cny(250), drawn: cny(200) };
        let run = proto::NettingRun {
            debts: vec![debt("a", "b", 500, 300), debt("b", "c", 200, 0)],
            total: cny(700),
            cleared: cny(400),
            remainder: cny(300),
            lines: vec![line],
            drawn: cny(200),
            ..run()
        };
        let folder = tempfile::tempdir().unwrap();
        let [debts, lines, result] =
            ["debts.csv", "lines.csv", "netting.json"].map(|name| folder.path().join(name));
        let error = export(&run, &debts, None, &result, Language::En).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Problem::Usage(_))) && !debts.exists(), "{error}");
        export(&run, &debts, Some(&lines), &result, Language::Zh).unwrap();
        let [debts, lines, result] = [debts, lines, result].map(|file| file.to_str().unwrap().to_owned());
        assert_eq!(verify_files(&debts, Some(&lines), &result).unwrap().json()["drawn"], 200);
        let text = run_text(&run, &Names::default());
        assert!(text.contains("2.50 CNY") && text.contains("new by credit lines"), "{text}");
        assert_eq!(run_json(&run)["lines"][0]["drawn"]["minor"], 200);
    }

    #[test]
    fn a_run_is_told_with_who_is_missing() {
        let told = proto::NettingRun { missing_ids: vec!["c".to_owned()], ..run() };
        let text = run_text(&told, &Names::default());
        assert!(text.contains("3.00 CNY") && text.contains("missing"), "{text}");
        assert_eq!(run_json(&told)["debts"][1]["left"]["minor"], 0);
    }
}
