//! Tables in plain files: CSV with a header line, as spreadsheets and other tools write it. A byte order mark, CRLF and quoted
//! fields are understood, blanks around fields are not looked at, and columns that nobody asked for are left alone.

use std::{
    fs::File,
    io::{self, Read},
};

/// A file's size; what its rows are turned into has tighter bounds.
const FILE_BYTES_MAX: u64 = 1 << 29;
/// What some tools begin a UTF-8 file with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Standard input, where a file is named.
pub(crate) const STDIN: &str = "-";

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("{file} cannot be read: {cause}")]
    Unreadable {
        /// As named.
        file: String,
        /// Why.
        cause: io::Error,
    },
    /// It is no table.
    #[error("{file}{}: {cause}", on(*line))]
    Malformed {
        /// As named.
        file: String,
        /// Where, from 1.
        line: Option<u64>,
        /// Why.
        cause: String,
    },
    /// A column is not there, or twice.
    #[error("{file}: there must be one column `{column}`, and there are {found}")]
    Column {
        /// As named.
        file: String,
        /// Its heading.
        column: &'static str,
        /// How many are there.
        found: usize,
    },
    /// A row does not say what it should.
    #[error("{file}, line {line}: {cause}")]
    Row {
        /// As named.
        file: String,
        /// Where, from 1.
        line: u64,
        /// Why.
        cause: String,
    },
    /// More than [`FILE_BYTES_MAX`] bytes.
    #[error("{file} has more than {FILE_BYTES_MAX} bytes")]
    TooLong {
        /// As named.
        file: String,
    },
}

fn on(line: Option<u64>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

impl FileError {
    /// Stable, like a node's reasons.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "FILE_UNREADABLE",
            Self::Malformed { .. } => "FILE_MALFORMED",
            Self::Column { .. } => "FILE_COLUMN",
            Self::Row { .. } => "FILE_ROW",
            Self::TooLong { .. } => "FILE_TOO_LONG",
        }
    }
}

/// Reads a file, or standard input for `-`; a byte order mark is left out.
pub(crate) fn read(file: &str) -> Result<Vec<u8>, FileError> {
    let unreadable = |cause| FileError::Unreadable { file: file.to_owned(), cause };
    let mut bytes = Vec::new();
    // One more than is allowed, to see that there is more.
    let size = if file == STDIN {
        io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    if size.map_err(unreadable)? as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLong { file: file.to_owned() });
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

/// A table that is read row by row.
pub(crate) struct PlainTable {
    file: String,
    reader: csv::Reader<io::Cursor<Vec<u8>>>,
    header: csv::StringRecord,
    record: csv::StringRecord,
    /// Up to where lines have been counted, in bytes.
    counted: usize,
    /// The line there, from 1.
    line: u64,
}

/// One row.
pub(crate) struct Row<'a> {
    file: &'a str,
    /// Where it begins, from 1.
    pub(crate) line: u64,
    record: &'a csv::StringRecord,
}

/// Where a column stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    heading: &'static str,
    index: usize,
}

impl PlainTable {
    /// Reads the header of a file, or of standard input for `-`.
    pub(crate) fn open(file: &str) -> Result<Self, FileError> {
        Self::of(file, read(file)?)
    }

    fn of(file: &str, bytes: Vec<u8>) -> Result<Self, FileError> {
        let reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(io::Cursor::new(bytes));
        let (header, record) = Default::default();
        let mut table = Self { file: file.to_owned(), reader, header, record, counted: 0, line: 1 };
        let header = table.reader.headers().cloned();
        table.header = header.map_err(|error| table.malformed(error))?;
        Ok(table)
    }

    /// A column that must be there.
    pub(crate) fn column(&self, heading: &'static str) -> Result<Column, FileError> {
        let found = self.header.iter().filter(|name| *name == heading).count();
        let missing = || FileError::Column { file: self.file.clone(), column: heading, found };
        self.optional_column(heading)?.ok_or_else(missing)
    }

    /// A column that may be there, once.
    pub(crate) fn optional_column(&self, heading: &'static str) -> Result<Option<Column>, FileError> {
        let mut found = self.header.iter().enumerate().filter(|(_, name)| *name == heading);
        let first = found.next().map(|(index, _)| Column { heading, index });
        match found.count() {
            0 => Ok(first),
            more => Err(FileError::Column { file: self.file.clone(), column: heading, found: more + 1 }),
        }
    }

    /// The next row, if there is one.
    pub(crate) fn next_row(&mut self) -> Result<Option<Row<'_>>, FileError> {
        let mut record = std::mem::take(&mut self.record);
        let found = self.reader.read_record(&mut record).map_err(|error| self.malformed(error))?;
        self.record = record;
        if !found {
            return Ok(None);
        }
        let line = self.line_at(self.record.position().map_or(0, csv::Position::byte));
        Ok(Some(Row { file: &self.file, line, record: &self.record }))
    }

    /// The line of the row that is read from a byte on. What ended the row before it, and blank lines, may come first; the
    /// reader's own count of lines takes them for a part of the row.
    fn line_at(&mut self, byte: u64) -> u64 {
        let bytes = self.reader.get_ref().get_ref();
        let byte = usize::try_from(byte).unwrap_or(bytes.len()).clamp(self.counted, bytes.len());
        let blank = bytes[byte..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let passed = &bytes[self.counted..byte + blank];
        self.line += passed.iter().map(|b| u64::from(*b == b'\n')).sum::<u64>();
        self.counted = byte + blank;
        self.line
    }

    fn malformed(&mut self, error: csv::Error) -> FileError {
        let line = error.position().map(|position| self.line_at(position.byte()));
        let file = self.file.clone();
        let cause = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("there are {len} fields, and {expected_len} columns")
            }
            csv::ErrorKind::Utf8 { .. } => "this is not UTF-8".to_owned(),
            _ => error.to_string(),
        };
        FileError::Malformed { file, line, cause }
    }
}

impl Row<'_> {
    /// What stands in a column.
    pub(crate) fn text(&self, column: Column) -> &str {
        self.record.get(column.index).unwrap_or_default()
    }

    /// What stands in a column, as `parse` understands it.
    pub(crate) fn parse<T>(
        &self,
        column: Column,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, FileError> {
        let text = self.text(column);
        parse(text).map_err(|why| self.wrong(format!("{} `{text}`: {why}", column.heading)))
    }

    /// Says what is wrong with the row.
    pub(crate) fn wrong(&self, cause: impl ToString) -> FileError {
        FileError::Row { file: self.file.to_owned(), line: self.line, cause: cause.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(bytes: &[u8]) -> Result<PlainTable, FileError> {
        PlainTable::of("t.csv", bytes.to_vec())
    }

    #[test]
    fn byte_order_mark_crlf_quotes_and_blanks_are_understood() {
        let bytes = "\u{feff}name, note ,\"count\"\r\n\"张, 记\",x, 3\r\n\r\nb,y,4";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut table = PlainTable::open(file.path().to_str().unwrap()).unwrap();
        let (name, count) = (table.column("name").unwrap(), table.column("count").unwrap());
        assert!(table.column("note").is_ok() && table.optional_column("none").unwrap().is_none());
        let row = table.next_row().unwrap().unwrap();
        assert_eq!((row.text(name), row.text(count), row.line), ("张, 记", "3", 2));
        let row = table.next_row().unwrap().unwrap();
        assert_eq!((row.text(name), row.line), ("b", 4));
        assert!(table.next_row().unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let mut short = table(b"a,b\n1,2\n3\n").unwrap();
        short.next_row().unwrap();
        let error = short.next_row().err().unwrap();
        assert_eq!(error.to_string(), "t.csv, line 3: there are 1 fields, and 2 columns");
        let error = table(b"a,b\n1,\xff\n").unwrap().next_row().err().unwrap();
        assert_eq!(error.to_string(), "t.csv, line 2: this is not UTF-8");

        let error = table(b"").unwrap().column("a").err().unwrap();
        assert_eq!(error.to_string(), "t.csv: there must be one column `a`, and there are 0");
        assert_eq!(table(b"a,a\n").unwrap().column("a").err().unwrap().reason(), "FILE_COLUMN");

        let mut wrong = table(b"a\nx\n").unwrap();
        let column = wrong.column("a").unwrap();
        let row = wrong.next_row().unwrap().unwrap();
        let error = row.parse(column, |text| text.parse::<u8>().map_err(|e| e.to_string())).unwrap_err();
        assert_eq!(error.to_string(), "t.csv, line 2: a `x`: invalid digit found in string");

        let error = PlainTable::open("/nowhere/t.csv").err().unwrap();
        assert_eq!(error.reason(), "FILE_UNREADABLE");
    }
}
