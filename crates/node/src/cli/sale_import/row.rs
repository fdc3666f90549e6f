//! One row: what it says of a sale, or why it says none.

use std::collections::BTreeMap;

use hutong_client::{Timestamp, proto};
use hutong_record::{Currency, MINOR_MAX};
use jiff::{civil::DateTime, fmt::strtime, tz::TimeZone};

use super::{
    super::{decimal::Decimal, value},
    mapping::Mapping,
    sheet::Sheet,
};

const REFERENCE_CHARS_MAX: usize = 64;
/// Of a request id: 160 bits of hash.
const MARK_CHARS: usize = 40;
/// Keeps these hashes apart from all other uses of the hash.
const HASH_CONTEXT: &str = "hutong sale import v1";
/// What stands before or after an amount.
const CURRENCY_SIGNS: [char; 7] = ['¥', '￥', '$', '€', '£', '元', '圆'];

/// Why a row is no sale.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowProblem {
    /// Not a time in the mapping's format, or none that exists once.
    #[error("`{text}` is no time: {why}")]
    Time {
        /// As it stands.
        text: String,
        /// Why not.
        why: String,
    },
    /// Not an amount above zero in the alliance's currency.
    #[error("`{text}` is no amount: {why}")]
    Amount {
        /// As it stands.
        text: String,
        /// Why not.
        why: String,
    },
    /// Not 32 hex digits.
    #[error("`{0}` is no card: a card is 32 hex digits")]
    Card(String),
    /// Too long, or with control characters.
    #[error("a reference has at most {REFERENCE_CHARS_MAX} printable characters")]
    Reference,
    /// The reference stands in an earlier row of the file.
    #[error("the reference `{0}` stands in an earlier row, too")]
    ReferenceTwice(String),
    /// The mapping names a column of references, and this row has none.
    #[error("the reference is missing")]
    ReferenceMissing,
}

impl RowProblem {
    /// Stable, like a node's reasons.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Time { .. } => "ROW_TIME",
            Self::Amount { .. } => "ROW_AMOUNT",
            Self::Card(_) => "ROW_CARD",
            Self::Reference => "ROW_REFERENCE",
            Self::ReferenceTwice(_) => "ROW_REFERENCE_TWICE",
            Self::ReferenceMissing => "ROW_REFERENCE_MISSING",
        }
    }
}

/// A row as a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sale {
    pub(super) request_id: String,
    pub(super) time: Timestamp,
    pub(super) minor: i64,
    pub(super) currency: String,
    pub(super) card: String,
    pub(super) reference: String,
}

impl Sale {
    /// What is reported: the same whenever it is imported, so that the node knows it again.
    pub(super) fn request(&self, alliance_id: &str) -> proto::ReportSaleRequest {
        proto::ReportSaleRequest {
            alliance_id: alliance_id.to_owned(),
            request_id: self.request_id.clone(),
            sale_time: Some(self.time),
            card_id: self.card.clone(),
            amount: Some(proto::Money { currency_code: self.currency.clone(), minor: self.minor }),
            reference: self.reference.clone(),
        }
    }
}

/// Reads a row; nothing: the mapping skips it. `seen` counts what rows said before it.
pub(super) fn sale(
    mapping: &Mapping,
    sheet: &Sheet,
    cells: &[String],
    currency: Currency,
    seen: &mut BTreeMap<[u8; 32], u32>,
) -> Result<Option<Sale>, RowProblem> {
    if mapping.skip.iter().any(|skip| sheet.text(cells, &skip.column) == skip.equals) {
        return Ok(None);
    }
    let text = |column: &Option<String>| column.as_deref().map(|column| sheet.text(cells, column));
    let time = time(sheet.text(cells, &mapping.time), mapping)?;
    let minor = amount(sheet.text(cells, &mapping.amount), currency)?;
    let card = match text(&mapping.card).unwrap_or_default() {
        "" => String::new(),
        card => value::card(card).map_err(|_| RowProblem::Card(card.to_owned()))?,
    };
    let reference = reference(text(&mapping.reference))?;
    let request_id = request_id(mapping, (time, minor, &card), reference.as_deref(), seen)?;
    let currency = currency.code().to_owned();
    Ok(Some(Sale { request_id, time, minor, currency, card, reference: reference.unwrap_or_default() }))
}

fn reference(text: Option<&str>) -> Result<Option<String>, RowProblem> {
    match text {
        None => Ok(None),
        Some("") => Err(RowProblem::ReferenceMissing),
        Some(text) if text.chars().count() > REFERENCE_CHARS_MAX || text.chars().any(char::is_control) => {
            Err(RowProblem::Reference)
        }
        Some(text) => Ok(Some(text.to_owned())),
    }
}

/// Made from the reference; without one from what the row says, and how many rows before it said the same: two sales of
/// one second and one price are two.
fn request_id(
    mapping: &Mapping,
    (time, minor, card): (Timestamp, i64, &str),
    reference: Option<&str>,
    seen: &mut BTreeMap<[u8; 32], u32>,
) -> Result<String, RowProblem> {
    let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    };
    add(mapping.source.as_bytes());
    match reference {
        Some(reference) => add(reference.as_bytes()),
        None => {
            add(b"row");
            add(&time.seconds.to_le_bytes());
            add(&time.nanos.to_le_bytes());
            add(&minor.to_le_bytes());
            add(card.as_bytes());
        }
    }
    let before = seen.entry(*hasher.finalize().as_bytes()).or_default();
    match reference {
        Some(reference) if *before > 0 => return Err(RowProblem::ReferenceTwice(reference.to_owned())),
        Some(_) => {}
        None => {
            hasher.update(&before.to_le_bytes());
        }
    }
    *before += 1;
    let mark = hasher.finalize().to_hex();
    Ok(format!("import-{}", &mark[..MARK_CHARS]))
}

fn time(text: &str, mapping: &Mapping) -> Result<Timestamp, RowProblem> {
    let wrong = |why: String| RowProblem::Time { text: text.to_owned(), why };
    let told = |error: jiff::Error| wrong(error.to_string());
    // A workbook's own date, whatever the format says of texts.
    // With an offset it is no workbook's.
    let own = strtime::parse("%Y-%m-%dT%H:%M:%S%.f", text).ok().and_then(|parsed| parsed.to_datetime().ok());
    let stamp = match (&mapping.format, &mapping.zone, own) {
        (_, Some(zone), Some(civil)) => in_zone(civil, zone).map_err(told)?,
        (None, _, _) => text.parse().map_err(told)?,
        (Some(format), zone, _) => {
            let parsed = strtime::parse(format, text).map_err(told)?;
            match (parsed.offset(), zone) {
                (Some(_), _) => parsed.to_timestamp().map_err(told)?,
                (None, Some(zone)) => in_zone(parsed.to_datetime().map_err(told)?, zone).map_err(told)?,
                (None, None) => return Err(wrong("the mapping names no time.zone".to_owned())),
            }
        }
    };
    hutong_record::UnixMillis::new(stamp.as_millisecond()).map_err(|error| wrong(error.to_string()))?;
    Ok(Timestamp { seconds: stamp.as_second(), nanos: stamp.subsec_nanosecond() })
}

/// A time that clocks show twice, or never, when they are set forward or back, is none.
fn in_zone(civil: DateTime, zone: &TimeZone) -> Result<jiff::Timestamp, jiff::Error> {
    zone.to_ambiguous_timestamp(civil).unambiguous()
}

/// `12`, `12.5`, `¥1,234.50`, `12.50元`: as major units, with at most the currency's decimals.
fn amount(text: &str, currency: Currency) -> Result<i64, RowProblem> {
    let wrong = |why: String| RowProblem::Amount { text: text.to_owned(), why };
    let bare = text.trim_matches(|c: char| CURRENCY_SIGNS.contains(&c) || c.is_whitespace());
    let bare =
        bare.strip_prefix(currency.code()).or_else(|| bare.strip_suffix(currency.code())).unwrap_or(bare);
    let number =
        without_groups(bare.trim()).ok_or_else(|| wrong("commas stand before three digits".to_owned()))?;
    let decimal = Decimal::parse(&number).map_err(wrong)?;
    let places = u32::try_from(currency.decimals()).unwrap_or(0);
    let minor = decimal
        .in_units(places)
        .ok_or_else(|| wrong(format!("{} has {places} decimals", currency.code())))?;
    match i64::try_from(minor) {
        Ok(0) => Err(wrong("it is not more than zero".to_owned())),
        Ok(minor) if minor <= MINOR_MAX => Ok(minor),
        _ => Err(wrong("it is beyond 10^15 minor units".to_owned())),
    }
}

/// `1,234,567.50` without its commas; nothing where they stand otherwise.
fn without_groups(text: &str) -> Option<String> {
    let Some((first, rest)) = text.split_once(',') else { return Some(text.to_owned()) };
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(w, f)| (w, Some(f)));
    let digits = |group: &str| group.bytes().all(|b| b.is_ascii_digit());
    let fits = (1..=3).contains(&first.len())
        && digits(first)
        && whole.split(',').all(|group| group.len() == 3 && digits(group))
        && fraction.is_none_or(|fraction| !fraction.is_empty() && digits(fraction));
    fits.then(|| text.replace(',', ""))
}
