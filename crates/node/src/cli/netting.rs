//! `hutong netting`: cancelling debts around the circle, over a plain file.

use clap::{Args, Subcommand};
use hutong_core::netting::{self, Debt, Netting, NettingError};
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

Examples:
  hutong netting run --input debts.csv
  hutong netting run --input debts.csv --json > netting.json"
    )]
    Run(RunArgs),
    /// Check somebody's result: right, and the most that can be cancelled.
    #[command(after_help = "Example:\n  hutong netting verify --input debts.csv --result netting.json")]
    Verify(VerifyArgs),
}

/// Which debts.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A CSV file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    input: String,
}

/// Which debts, and what they were netted to.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A CSV file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    input: String,
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
        NettingCommand::Run(args) => net(&args.input),
        NettingCommand::Verify(args) => verify_files(&args.input, &args.result),
    }
}

fn net(file: &str) -> anyhow::Result<Answer> {
    let debts = Debts::read(file)?;
    let netting = netting::net(&debts.list).map_err(|error| debts.problem(error))?;
    let rows = netting.obligations.iter();
    let rows = rows.map(|debt| [debt.debtor.clone(), debt.creditor.clone(), debt.minor.to_string()]);
    let listed = table(["debtor", "creditor", "amount"], rows.collect());
    let sums = sums(&netting);
    Ok(Answer::new(serde_json::to_value(Told::of(netting))?, format!("{listed}\n\n{sums}")))
}

/// Checks a result in one file against the debts in another.
pub(crate) fn verify_files(input: &str, result: &str) -> anyhow::Result<Answer> {
    let debts = Debts::read(input)?;
    let netting = read_result(result)?;
    netting::verify(&debts.list, &netting).map_err(Problem::Discrepancy)?;
    let json = json!({
        "verified": true,
        "total": netting.total,
        "cleared": netting.cleared,
        "remainder": netting.remainder,
    });
    let text = "right: every net position is kept, and no more can be cancelled";
    Ok(Answer::new(json, format!("{text}\n{}", sums(&netting))))
}

fn sums(netting: &Netting<String>) -> String {
    fields([
        ("total", netting.total.to_string()),
        ("cleared", netting.cleared.to_string()),
        ("remainder", netting.remainder.to_string()),
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

    /// Names the line that is to blame, where one is.
    fn problem(&self, error: NettingError) -> anyhow::Error {
        let (NettingError::NotPositive { debt, .. }
        | NettingError::TooLarge { debt, .. }
        | NettingError::OwesItself { debt }) = error
        else {
            return Problem::Netting(error).into();
        };
        let line = self.lines.get(debt).copied().unwrap_or(0);
        FileError::Row { file: self.file.clone(), line, cause: error.to_string() }.into()
    }
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
    fn of(netting: Netting<String>) -> Self {
        let told = |Debt { debtor, creditor, minor }| ToldDebt { debtor, creditor, amount: minor };
        Self {
            total: netting.total,
            cleared: netting.cleared,
            remainder: netting.remainder,
            obligations: netting.obligations.into_iter().map(told).collect(),
        }
    }

    fn into_netting(self) -> Netting<String> {
        let debt = |ToldDebt { debtor, creditor, amount }| Debt { debtor, creditor, minor: amount };
        Netting {
            total: self.total,
            cleared: self.cleared,
            remainder: self.remainder,
            obligations: self.obligations.into_iter().map(debt).collect(),
        }
    }
}

#[cfg(test)]
#[path = "netting_tests.rs"]
mod tests;
