//! A file of rows: CSV, or one sheet of a workbook (XLSX). Cells are texts; a workbook's own dates are written out as
//! `2026-05-01T08:00:00.000`, its numbers as short as they can be without loss.

use std::{collections::BTreeMap, io::Cursor};

use calamine::{Data, DataRef, Reader as _, Xlsx};

use super::{
    super::plain_file::{self, FileError},
    mapping::Mapping,
};

/// Rows of one file: a busy till's month.
const ROWS_MAX: usize = 200_000;
/// Columns that are looked at.
const COLUMNS_MAX: u32 = 256;
/// What a zip of this size unpacks to stays within a shop's memory.
const WORKBOOK_BYTES_MAX: usize = 32 << 20;
/// All texts of a workbook's sheet: bytes kept.
const SHEET_BYTES_MAX: usize = 256 << 20;
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// Rows with their lines.
#[derive(Debug)]
pub(super) struct Sheet {
    columns: BTreeMap<String, usize>,
    rows: Vec<(u64, Vec<String>)>,
}

impl Sheet {
    /// Reads a file; `-` is CSV from standard input.
    pub(super) fn open(file: &str, mapping: &Mapping) -> Result<Self, FileError> {
        Self::of(file, plain_file::read(file)?, mapping)
    }

    pub(super) fn of(file: &str, bytes: Vec<u8>, mapping: &Mapping) -> Result<Self, FileError> {
        let table = if bytes.starts_with(ZIP_MAGIC) {
            from_workbook(file, bytes, mapping.sheet.as_deref())?
        } else {
            from_csv(file, &bytes, mapping.delimiter)?
        };
        let mut table = table.into_iter();
        let (_, header) = table.next().ok_or_else(|| malformed(file, None, "there is no row"))?;
        let sheet = Self { columns: columns(file, &header, mapping)?, rows: table.collect() };
        Ok(sheet)
    }

    /// Each row that is not blank, with its line from 1.
    pub(super) fn rows(&self) -> &[(u64, Vec<String>)] {
        &self.rows
    }

    /// What stands in a column of a row.
    pub(super) fn text<'a>(&self, cells: &'a [String], column: &str) -> &'a str {
        let at = self.columns.get(column).copied();
        at.and_then(|at| cells.get(at)).map_or("", |text| text.trim())
    }
}

/// Where the columns stand that the mapping names; each must be there once.
fn columns(file: &str, header: &[String], mapping: &Mapping) -> Result<BTreeMap<String, usize>, FileError> {
    let mut named = vec![mapping.time.as_str(), mapping.amount.as_str()];
    named.extend(mapping.card.as_deref());
    named.extend(mapping.reference.as_deref());
    named.extend(mapping.skip.iter().map(|skip| skip.column.as_str()));
    let place = |name: &str| {
        let mut found = header.iter().enumerate().filter(|(_, heading)| heading.trim() == name);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok((name.to_owned(), at)),
            (None, _) => Err(malformed(file, Some(1), format!("there is no column `{name}`"))),
            _ => Err(malformed(file, Some(1), format!("there is more than one column `{name}`"))),
        }
    };
    named.into_iter().map(place).collect()
}

fn malformed(file: &str, line: Option<u64>, cause: impl ToString) -> FileError {
    FileError::Malformed { file: file.to_owned(), line, cause: cause.to_string() }
}

fn from_csv(file: &str, bytes: &[u8], delimiter: u8) -> Result<Vec<(u64, Vec<String>)>, FileError> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(bytes);
    let mut rows = Vec::new();
    let mut lines = Lines { bytes, counted: 0, line: 1 };
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map(|position| lines.at(position.byte()));
            let cause = match error.kind() {
                csv::ErrorKind::Utf8 { .. } => "this is not UTF-8: save the file as CSV UTF-8".to_owned(),
                _ => error.to_string(),
            };
            malformed(file, line, cause)
        })?;
        let line = lines.at(record.position().map_or(0, csv::Position::byte));
        let cells: Vec<_> = record.iter().map(str::to_owned).collect();
        keep(file, &mut rows, line, cells)?;
    }
    Ok(rows)
}

/// Counts lines up to where rows begin. The reader's own count takes blank lines before a row for a part of it.
struct Lines<'a> {
    bytes: &'a [u8],
    counted: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line, from 1, of the row that is read from a byte on.
    fn at(&mut self, byte: u64) -> u64 {
        let from = usize::try_from(byte).unwrap_or(usize::MAX).clamp(self.counted, self.bytes.len());
        let blank = self.bytes[from..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let passed = &self.bytes[self.counted..from + blank];
        self.line += passed.iter().map(|b| u64::from(*b == b'\n')).sum::<u64>();
        self.counted = from + blank;
        self.line
    }
}

/// Keeps a row unless nothing stands in it.
fn keep(
    file: &str,
    rows: &mut Vec<(u64, Vec<String>)>,
    line: u64,
    cells: Vec<String>,
) -> Result<(), FileError> {
    if cells.iter().all(|cell| cell.trim().is_empty()) {
        return Ok(());
    }
    if rows.len() > ROWS_MAX {
        return Err(malformed(
            file,
            Some(line),
            format!("there are more than {ROWS_MAX} rows: split the file"),
        ));
    }
    rows.push((line, cells));
    Ok(())
}

fn from_workbook(
    file: &str,
    bytes: Vec<u8>,
    sheet: Option<&str>,
) -> Result<Vec<(u64, Vec<String>)>, FileError> {
    if bytes.len() > WORKBOOK_BYTES_MAX {
        return Err(FileError::TooLong { file: file.to_owned() });
    }
    let broken = |error: calamine::XlsxError| malformed(file, None, format!("as a workbook: {error}"));
    let mut workbook: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).map_err(broken)?;
    let names = workbook.sheet_names();
    let name = match sheet {
        Some(name) => name.to_owned(),
        None => names.first().cloned().ok_or_else(|| malformed(file, None, "it has no sheet"))?,
    };
    if !names.contains(&name) {
        return Err(malformed(
            file,
            None,
            format!("there is no sheet `{name}` (there is: {})", names.join(", ")),
        ));
    }
    let mut cells = workbook.worksheet_cells_reader(&name).map_err(broken)?;
    let (mut rows, mut row, mut at, mut kept) = (Vec::new(), Vec::new(), 0, 0);
    while let Some(cell) = cells.next_cell().map_err(broken)? {
        let (line, column) = cell.get_position();
        if line != at {
            keep(file, &mut rows, u64::from(at) + 1, std::mem::take(&mut row))?;
            at = line;
        }
        let text = text_of(cell.get_value());
        if column >= COLUMNS_MAX || text.is_empty() {
            continue;
        }
        kept += text.len();
        if kept > SHEET_BYTES_MAX {
            return Err(FileError::TooLong { file: file.to_owned() });
        }
        let column = usize::try_from(column).unwrap_or(usize::MAX);
        row.resize(row.len().max(column + 1), String::new());
        row[column] = text;
    }
    keep(file, &mut rows, u64::from(at) + 1, row)?;
    Ok(rows)
}

fn text_of(value: &DataRef<'_>) -> String {
    match value {
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Empty | DataRef::Error(_) => String::new(),
        DataRef::DateTime(moment) if moment.is_datetime() => {
            let (year, month, day, hour, minute, second, milli) = moment.to_ymd_hms_milli();
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}")
        }
        other => Data::from(other.clone()).to_string(),
    }
}
