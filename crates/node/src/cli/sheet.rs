//! A report as a sheet of rows, and the files that other programs read.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hutong_client::Timestamp;
use hutong_record::Currency;
use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::{
    output::{Answer, table_of},
    output_file,
    problem::Problem,
    session::Books,
    show,
};

mod heading;
mod parquet;
mod xlsx;

/// Tells spreadsheet programs that the text is UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// How a report comes out.
#[derive(Debug, Args)]
pub(crate) struct SheetArgs {
    /// As what. Files need --output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The file for json, csv, xlsx or parquet; one that is there is replaced, whole or not at all.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl SheetArgs {
    /// Whether it is printed for people, with no file.
    pub(crate) const fn is_table(&self) -> bool {
        matches!((self.format, &self.output), (Format::Table, None))
    }
}

/// Forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON array of objects.
    Json,
    /// Comma-separated, with a byte order mark, as spreadsheet programs want it.
    Csv,
    /// A workbook of one sheet, with numbers, amounts and the alliance's local times as such.
    Xlsx,
    /// Typed columns for analysis programs: minor units and milliseconds of UTC as whole numbers.
    Parquet,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// Whole numbers.
    Count,
    /// Numbers.
    Number,
    /// Minor units of the sheet's currency.
    Money,
    /// Moments, to the millisecond.
    Time,
    /// Days of the alliance's calendar.
    Day,
}

/// One value, of its column's kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    /// Any text.
    Text(String),
    /// A whole number.
    Count(i64),
    /// A number.
    Number(f64),
    /// Minor units.
    Money(i64),
    /// A moment; none where nothing is known.
    Time(Option<Timestamp>),
    /// A day of the alliance's calendar.
    Day(Date),
}

/// Rows under named columns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sheet {
    name: &'static str,
    books: Books,
    columns: Vec<(&'static str, Kind)>,
    rows: Vec<Vec<Cell>>,
}

impl Cell {
    /// A count that may be as large as counters are.
    pub(crate) fn count(count: u64) -> Self {
        Self::Count(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// Text.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Count(_) => Kind::Count,
            Self::Number(_) => Kind::Number,
            Self::Money(_) => Kind::Money,
            Self::Time(_) => Kind::Time,
            Self::Day(_) => Kind::Day,
        }
    }

    fn show(&self, currency: Currency) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Money(minor) => decimal(*minor, currency),
            Self::Time(time) => show::time(time.as_ref()),
            Self::Day(day) => day.to_string(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Count(number) | Self::Money(number) => json!(number),
            Self::Number(number) => json!(number),
            Self::Time(time) => json!(show::time(time.as_ref())),
            Self::Day(day) => json!(day.to_string()),
        }
    }
}

/// An amount with its decimals and without its currency.
fn decimal(minor: i64, currency: Currency) -> String {
    let decimals = currency.decimals();
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = decimals + 1);
    let sign = if minor < 0 { "-" } else { "" };
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

impl Sheet {
    /// An empty sheet; its name has at most 31 characters, as a workbook's sheets have.
    pub(crate) fn new(name: &'static str, books: Books, columns: &[(&'static str, Kind)]) -> Self {
        Self { name, books, columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of the columns' kinds.
    pub(crate) fn push(&mut self, row: Vec<Cell>) {
        let kinds = row.iter().map(Cell::kind);
        debug_assert!(kinds.eq(self.columns.iter().map(|(_, kind)| *kind)), "{row:?}");
        self.rows.push(row);
    }

    /// With the currency said in every row, where there are amounts.
    fn with_currency(&self) -> Self {
        let mut sheet = self.clone();
        if self.columns.iter().any(|(_, kind)| *kind == Kind::Money) {
            sheet.columns.push(("currency", Kind::Text));
            sheet.rows.iter_mut().for_each(|row| row.push(Cell::text(self.books.currency.code())));
        }
        sheet
    }

    /// As the caller wants it: printed, or written to a file.
    pub(crate) fn answer(&self, args: SheetArgs) -> anyhow::Result<Answer> {
        let bytes = match (args.format, &args.output) {
            (Format::Table, None) => return Ok(Answer::new(self.json(), self.text())),
            (Format::Json, None) => return Ok(Answer::new(self.json(), format!("{:#}", self.json()))),
            (Format::Json, Some(_)) => self.json().to_string().into_bytes(),
            (Format::Table, Some(_)) => {
                return Err(
                    Problem::Usage("--output needs --format json, csv, xlsx or parquet".into()).into()
                );
            }
            (_, None) => return Err(Problem::Usage("name the file with --output".into()).into()),
            (Format::Csv, Some(_)) => self.csv()?,
            (Format::Xlsx, Some(_)) => self.with_currency().xlsx()?,
            (Format::Parquet, Some(_)) => self.with_currency().parquet()?,
        };
        let path = args.output.unwrap_or_default();
        output_file::write(&path, &bytes)?;
        let (file, rows) = (path.display().to_string(), self.rows.len());
        let json = json!({ "file": file, "rows": rows, "bytes": bytes.len() });
        Ok(Answer::new(json, format!("{rows} rows written to {file}")))
    }

    /// What people read above a column.
    fn heading(&self, name: &'static str) -> &'static str {
        heading::heading(name, self.books.language)
    }

    fn text(&self) -> String {
        let header = self.columns.iter().map(|&(name, _)| self.heading(name).replace('_', " ")).collect();
        let row = |row: &Vec<Cell>| row.iter().map(|cell| cell.show(self.books.currency)).collect();
        table_of(header, self.rows.iter().map(row).collect())
    }

    fn json(&self) -> Value {
        let sheet = self.with_currency();
        let key = |(name, kind): &(&str, Kind)| match kind {
            Kind::Money => format!("{name}_minor"),
            _ => (*name).to_owned(),
        };
        let object = |row: &Vec<Cell>| {
            sheet.columns.iter().map(key).zip(row.iter().map(Cell::json)).collect::<Map<_, _>>()
        };
        sheet.rows.iter().map(object).map(Value::Object).collect()
    }

    /// As CSV, with the headings of the caller's language. A text that a spreadsheet program would take for a formula begins with an apostrophe: names come from
    /// other shops.
    fn csv(&self) -> anyhow::Result<Vec<u8>> {
        let sheet = self.with_currency();
        let mut writer = csv::Writer::from_writer(BOM.to_vec());
        writer.write_record(sheet.columns.iter().map(|&(name, _)| sheet.heading(name)))?;
        for row in &sheet.rows {
            writer.write_record(row.iter().map(|cell| match cell {
                Cell::Text(text) => harmless(text),
                other => other.show(self.books.currency),
            }))?;
        }
        writer.into_inner().map_err(|error| anyhow::anyhow!("{error}"))
    }
}

fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

/// Whether a column has a heading in every language.
#[cfg(test)]
pub(crate) fn is_named(name: &str) -> bool {
    heading::chinese(name).is_some()
}

#[cfg(test)]
#[path = "sheet_tests.rs"]
mod tests;
