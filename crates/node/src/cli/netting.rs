//! `hutong netting`: cancelling debts around the circle, over a plain file.

use clap::{Args, Subcommand};
use hutong_core::netting::{self, CreditLine, Debt, Netting, NettingError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    output::{Answer, fields, table},
    plain_file::{self, FileError, PlainTable},
    problem::Problem,
};

/// `hutong netting …`
#[derive(Debug, Subcommand)]
pub(crate) enum NettingCommand {
    /// Cancel as much debt as can be, leaving every shop's net position as it is.
    #[command(
        after_help = "The file is CSV with a header and the columns debtor, creditor and amount (a whole number of
minor units). With --json, `obligations` is what is left, with the same columns.

A file of credit lines has the columns creditor, debtor and limit: the creditor takes on so much of new debts of the
debtor. Then `drawn` is what came new by them, and `new_debts` says between whom; no line is drawn on where a circle
of debts does as well.

Examples:
  hutong netting run --input debts.csv
  hutong netting run --input debts.csv --lines lines.csv --json > netting.json"
    )]
    Run(RunArgs),
    /// Check somebody's result: right, and the most that can be cancelled.
    #[command(
        after_help = "Example:\n  hutong netting verify --input debts.csv --lines lines.csv --result netting.json"
    )]
    Verify(VerifyArgs),
}

/// Which debts.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A CSV file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    input: String,
    /// A CSV file of credit lines, on which may be drawn.
    #[arg(long, value_name = "FILE")]
    lines: Option<String>,
}

/// Which debts, and what they were netted to.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A CSV file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    input: String,
    /// The CSV file of credit lines, where there was one.
    #[arg(long, value_name = "FILE")]
    lines: Option<String>,
    /// What `netting run --json` printed.
    #[arg(long, value_name = "FILE")]
    result: String,
}

/// A netting as it is printed and read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    total: i64,
    cleared: i64,
    remainder: i64,
    obligations: Vec<ToldDebt>,
    /// Told where there are credit lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drawn: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new_debts: Option<Vec<ToldDebt>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToldDebt {
    debtor: String,
    creditor: String,
    amount: i64,
}

pub(crate) fn run(command: NettingCommand) -> anyhow::Result<Answer> {
    match command {
        NettingCommand::Run(args) => net(&args.input, args.lines.as_deref()),
        NettingCommand::Verify(args) => verify_files(&args.input, args.lines.as_deref(), &args.result),
    }
}

fn net(input: &str, lines: Option<&str>) -> anyhow::Result<Answer> {
    let with_lines = lines.is_some();
    let (debts, lines) = read_tables(input, lines)?;
    let netting = netting::net_with_lines(&debts.list, &lines.list);
    let netting = netting.map_err(|error| problem(error, &debts, &lines))?;
    let mut text = format!("{}\n\n{}", listed(&netting.obligations), sums(&netting, with_lines));
    if !netting.new_debts.is_empty() {
        text = format!("{text}\n\nnew, by credit lines:\n{}", listed(&netting.new_debts));
    }
    Ok(Answer::new(serde_json::to_value(Told::of(netting, with_lines))?, text))
}

fn listed(debts: &[Debt<String>]) -> String {
    let row = |debt: &Debt<String>| [debt.debtor.clone(), debt.creditor.clone(), debt.minor.to_string()];
    table(["debtor", "creditor", "amount"], debts.iter().map(row).collect())
}

/// Checks a result in one file against the debts, and the credit lines, in others.
pub(crate) fn verify_files(input: &str, lines: Option<&str>, result: &str) -> anyhow::Result<Answer> {
    let with_lines = lines.is_some();
    let (debts, lines) = read_tables(input, lines)?;
    let netting = read_result(result)?;
    netting::verify_with_lines(&debts.list, &lines.list, &netting).map_err(|wrong| match wrong {
        netting::Discrepancy::Debts(error) => problem(error, &debts, &lines),
        wrong => Problem::Discrepancy(wrong).into(),
    })?;
    let mut json = json!({
        "verified": true,
        "total": netting.total,
        "cleared": netting.cleared,
        "remainder": netting.remainder,
    });
    if with_lines {
        json["drawn"] = netting.drawn.into();
    }
    let text = if with_lines {
        "right: every net position is kept, no line is passed, and no more can be cancelled"
    } else {
        "right: every net position is kept, and no more can be cancelled"
    };
    Ok(Answer::new(json, format!("{text}\n{}", sums(&netting, with_lines))))
}

fn sums(netting: &Netting<String>, with_lines: bool) -> String {
    let drawn = if with_lines { netting.drawn.to_string() } else { String::new() };
    fields([
        ("total", netting.total.to_string()),
        ("cleared", netting.cleared.to_string()),
        ("remainder", netting.remainder.to_string()),
        ("drawn on lines", drawn),
    ])
}

/// A file of debts.
struct Debts {
    file: String,
    list: Vec<Debt<String>>,
    /// Where each stands.
    lines: Vec<u64>,
}

impl Debts {
    fn read(file: &str) -> Result<Self, FileError> {
        let mut debts = Self { file: file.to_owned(), list: Vec::new(), lines: Vec::new() };
        let mut table = PlainTable::open(file)?;
        let [debtor, creditor] = [table.column("debtor")?, table.column("creditor")?];
        let amount = table.column("amount")?;
        while let Some(row) = table.next_row()? {
            debts.list.push(Debt {
                debtor: row.parse(debtor, shop)?,
                creditor: row.parse(creditor, shop)?,
                minor: row.parse(amount, minor)?,
            });
            debts.lines.push(row.line);
        }
        Ok(debts)
    }
}

/// A file of credit lines; without one, none.
#[derive(Default)]
struct Lines {
    file: String,
    list: Vec<CreditLine<String>>,
    /// Where each stands.
    lines: Vec<u64>,
}

impl Lines {
    fn read(file: Option<&str>) -> Result<Self, FileError> {
        let Some(file) = file else { return Ok(Self::default()) };
        let mut lines = Self { file: file.to_owned(), ..Self::default() };
        let mut table = PlainTable::open(file)?;
        let [creditor, debtor] = [table.column("creditor")?, table.column("debtor")?];
        let limit = table.column("limit")?;
        while let Some(row) = table.next_row()? {
            lines.list.push(CreditLine {
                creditor: row.parse(creditor, shop)?,
                debtor: row.parse(debtor, shop)?,
                limit_minor: row.parse(limit, minor)?,
            });
            lines.lines.push(row.line);
        }
        Ok(lines)
    }
}

fn read_tables(input: &str, lines: Option<&str>) -> anyhow::Result<(Debts, Lines)> {
    if (input, lines) == (plain_file::STDIN, Some(plain_file::STDIN)) {
        return Err(Problem::Usage("only one of the files can be standard input".into()).into());
    }
    Ok((Debts::read(input)?, Lines::read(lines)?))
}

/// Names the file and the line that are to blame, where one is.
fn problem(error: NettingError, debts: &Debts, lines: &Lines) -> anyhow::Error {
    use NettingError as E;
    let (file, line) = match error {
        E::NotPositive { debt, .. } | E::TooLarge { debt, .. } | E::OwesItself { debt } => {
            (&debts.file, debts.lines.get(debt))
        }
        E::LimitNotPositive { line, .. }
        | E::LimitTooLarge { line, .. }
        | E::LineToItself { line }
        | E::LineTwice { line } => (&lines.file, lines.lines.get(line)),
        E::Overflow | E::TooManyShops | E::TooManyDebts | E::TooManyLines => {
            return Problem::Netting(error).into();
        }
    };
    let line = line.copied().unwrap_or(0);
    FileError::Row { file: file.clone(), line, cause: error.to_string() }.into()
}

fn shop(name: &str) -> Result<String, String> {
    if name.is_empty() { Err("a shop's name is missing".to_owned()) } else { Ok(name.to_owned()) }
}

fn minor(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "an amount is a whole number of minor units".to_owned())
}

fn read_result(file: &str) -> anyhow::Result<Netting<String>> {
    let told: Told =
        serde_json::from_slice(&plain_file::read(file)?).map_err(|error| FileError::Malformed {
            file: file.to_owned(),
            line: u64::try_from(error.line()).ok(),
            cause: error.to_string(),
        })?;
    Ok(told.into_netting())
}

impl Told {
    fn of(netting: Netting<String>, with_lines: bool) -> Self {
        let told = |debts: Vec<Debt<String>>| {
            let told = |Debt { debtor, creditor, minor }| ToldDebt { debtor, creditor, amount: minor };
            debts.into_iter().map(told).collect::<Vec<_>>()
        };
        Self {
            total: netting.total,
            cleared: netting.cleared,
            remainder: netting.remainder,
            obligations: told(netting.obligations),
            drawn: with_lines.then_some(netting.drawn),
            new_debts: with_lines.then(|| told(netting.new_debts)),
        }
    }

    fn into_netting(self) -> Netting<String> {
        let debts = |told: Vec<ToldDebt>| {
            let debt = |ToldDebt { debtor, creditor, amount }| Debt { debtor, creditor, minor: amount };
            told.into_iter().map(debt).collect::<Vec<_>>()
        };
        Netting {
            total: self.total,
            cleared: self.cleared,
            remainder: self.remainder,
            obligations: debts(self.obligations),
            drawn: self.drawn.unwrap_or_default(),
            new_debts: debts(self.new_debts.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
#[path = "netting_tests.rs"]
mod tests;
