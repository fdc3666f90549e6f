//! The mapping: which columns of a till's file mean what.

use jiff::tz::{Offset, TimeZone};
use serde::Deserialize;

use super::super::{plain_file, value};

/// A mapping is written by hand.
const MAPPING_BYTES_MAX: usize = 64 * 1_024;
const SOURCE_CHARS_MAX: usize = 64;
const SKIPS_MAX: usize = 32;

/// Why a mapping is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MappingError {
    /// Not TOML, a key that does not exist, or a value of another type.
    #[error("{file}: {cause}")]
    Malformed {
        /// As named.
        file: String,
        /// What and where.
        cause: String,
    },
    /// A value out of bounds.
    #[error("{file}: {key}: {problem}")]
    Value {
        /// As named.
        file: String,
        /// Which.
        key: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl MappingError {
    /// Stable, like a node's reasons.
    pub(crate) const fn reason(&self) -> &'static str {
        "MAPPING_INVALID"
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    source: String,
    time: TimeColumn,
    amount: Column,
    card: Option<Column>,
    reference: Option<Column>,
    #[serde(default)]
    skip: Vec<Skip>,
    sheet: Option<String>,
    delimiter: Option<char>,
}

/// A column, by its heading.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Column {
    pub(super) column: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeColumn {
    column: String,
    format: Option<String>,
    zone: Option<String>,
}

/// Rows that are no sales.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Skip {
    pub(super) column: String,
    pub(super) equals: String,
}

/// A mapping whose values are valid.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    /// Keeps references of several tills apart.
    pub(super) source: String,
    pub(super) time: String,
    /// As strftime has it; nothing: RFC 3339.
    pub(super) format: Option<String>,
    /// Where clocks show what the file says; nothing: the format has an offset.
    pub(super) zone: Option<TimeZone>,
    pub(super) amount: String,
    pub(super) card: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) skip: Vec<Skip>,
    /// Of a workbook; nothing: the first.
    pub(super) sheet: Option<String>,
    /// Of a CSV file.
    pub(super) delimiter: u8,
}

impl Mapping {
    /// Reads a file.
    pub(super) fn read(file: &str) -> anyhow::Result<Self> {
        let bytes = plain_file::read(file)?;
        Ok(Self::parse(file, &bytes)?)
    }

    pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Self, MappingError> {
        let malformed = |cause: String| MappingError::Malformed { file: file.to_owned(), cause };
        if bytes.len() > MAPPING_BYTES_MAX {
            return Err(malformed(format!("it has more than {MAPPING_BYTES_MAX} bytes")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8".to_owned()))?;
        let written: Written = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let wrong = |key, problem: String| MappingError::Value { file: file.to_owned(), key, problem };
        if written.source.chars().count() > SOURCE_CHARS_MAX {
            return Err(wrong("source", format!("at most {SOURCE_CHARS_MAX} characters")));
        }
        if written.skip.len() > SKIPS_MAX {
            return Err(wrong("skip", format!("at most {SKIPS_MAX}")));
        }
        let delimiter = u8::try_from(written.delimiter.unwrap_or(','))
            .ok()
            .filter(|byte| byte.is_ascii() && !b"\"\r\n".contains(byte))
            .ok_or_else(|| wrong("delimiter", "one ASCII character that is no quote".to_owned()))?;
        let zone = written.time.zone.as_deref().map(zone).transpose();
        let zone = zone.map_err(|problem| wrong("time.zone", problem))?;
        Ok(Self {
            source: written.source,
            time: written.time.column,
            format: written.time.format,
            zone,
            amount: written.amount.column,
            card: written.card.map(|card| card.column),
            reference: written.reference.map(|reference| reference.column),
            skip: written.skip,
            sheet: written.sheet,
            delimiter,
        })
    }
}

/// `+08:00`, or a name of the system's time zones.
fn zone(text: &str) -> Result<TimeZone, String> {
    if text.starts_with(['+', '-']) {
        let minutes = value::utc_offset_minutes(text)?;
        let offset = Offset::from_seconds(minutes * 60).map_err(|error| error.to_string())?;
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(text).map_err(|error| format!("a zone is like Asia/Shanghai or +08:00: {error}"))
}
