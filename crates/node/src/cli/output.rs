//! The one place that writes to stdout and stderr.

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use comfy_table::{Table, presets};
use hutong_client::Language;
use serde_json::Value;

use super::{problem, say};

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// No hints.
    pub(crate) quiet: bool,
    /// Of failures.
    pub(crate) language: Language,
}

/// What a command has to say, for programs and for people.
#[derive(Debug)]
pub(crate) struct Answer {
    json: Option<Value>,
    text: String,
    hints: Vec<String>,
    exit_code: ExitCode,
}

impl Answer {
    /// One value, and the same as text.
    pub(crate) fn new(json: Value, text: impl Into<String>) -> Self {
        Self { json: Some(json), text: text.into(), hints: Vec::new(), exit_code: ExitCode::SUCCESS }
    }

    /// Nothing more to print: the command has done so.
    pub(crate) fn done(exit_code: ExitCode) -> Self {
        Self { json: None, text: String::new(), hints: Vec::new(), exit_code }
    }

    /// Adds what to do next, for people only.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Ends with another code.
    pub(crate) fn exiting(mut self, exit_code: ExitCode) -> Self {
        self.exit_code = exit_code;
        self
    }

    /// The value alone; null where everything was printed before.
    pub(crate) fn into_json(self) -> Value {
        self.json.unwrap_or_default()
    }

    /// The code to end with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        self.exit_code
    }

    /// The value, for tests of its form.
    #[cfg(test)]
    pub(crate) fn json(&self) -> &Value {
        self.json.as_ref().unwrap()
    }

    /// The text, for tests of its form.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl Output {
    /// Prints an answer.
    pub(crate) fn print(self, answer: &Answer) -> io::Result<()> {
        let Some(json) = &answer.json else { return Ok(()) };
        if self.json {
            return self.line(&json.to_string());
        }
        self.line(answer.text.trim_end())?;
        if !self.quiet {
            for hint in &answer.hints {
                self.note(hint);
            }
        }
        Ok(())
    }

    /// Prints one item of a stream.
    pub(crate) fn print_item(self, json: &Value, text: &str) -> io::Result<()> {
        if self.json { self.line(&json.to_string()) } else { self.line(text) }
    }

    /// A line on stderr that is no part of the answer.
    pub(crate) fn note(self, text: &str) {
        if !self.json && !self.quiet {
            // Nobody may be listening there; that is no reason to fail.
            let _written = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Prints why the command failed.
    pub(crate) fn print_error(self, error: &anyhow::Error) {
        let text = if self.json {
            problem::json(error).to_string()
        } else {
            let mark = say(self.language, "error: ", "错误：");
            format!("{mark}{}", problem::text_in(error, self.language))
        };
        let _written = writeln!(io::stderr().lock(), "{text}");
    }

    /// Writes a line and has it out. A reader that has seen enough (`hutong … | head`) is no failure.
    fn line(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        forgive_closed_pipe(writeln!(stdout, "{text}").and_then(|()| stdout.flush()))
    }
}

fn forgive_closed_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A list as a table; an empty one as a word.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let header = header.map(str::to_owned).to_vec();
    table_of(header, rows.into_iter().map(Vec::from).collect())
}

/// A list with as many columns as its header has.
pub(crate) fn table_of(header: Vec<String>, rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return "(none)".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_NO_BORDERS).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// One thing's fields, one a line; empty ones are left out.
pub(crate) fn fields<'f>(fields: impl IntoIterator<Item = (&'f str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        table.add_row([name.to_owned(), value]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        assert!(forgive_closed_pipe(Err(ErrorKind::BrokenPipe.into())).is_ok());
        assert!(forgive_closed_pipe(Err(ErrorKind::StorageFull.into())).is_err());
    }

    #[test]
    fn tables_show_rows_and_say_when_there_are_none() {
        assert_eq!(table(["a", "b"], Vec::new()), "(none)");
        let shown = table(["店", "count"], vec![["包子".to_owned(), "3".to_owned()]]);
        assert!(shown.contains("店") && shown.contains("包子") && shown.contains('3'), "{shown}");
        let shown = fields([("name", "x".to_owned()), ("note", String::new())]);
        assert!(shown.contains("name") && !shown.contains("note"), "{shown}");
    }
}
