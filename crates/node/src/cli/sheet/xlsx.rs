//! A sheet as a workbook that spreadsheet programs open: numbers, amounts and dates are cells of their own kind, so that
//! they can be added up and sorted there.

use hutong_record::Currency;
use jiff::civil::Date;
use rust_xlsxwriter::{Format as Style, Workbook, Worksheet, XlsxError};

use super::{Cell, Kind, Sheet, decimal};
use crate::cli::problem::Problem;

/// Rows of a workbook's sheet below its header: the format's own bound.
const ROWS_MAX: usize = 1_048_575;
/// Characters of one cell, in UTF-16 units: the format's own bound.
const CELL_UNITS_MAX: usize = 32_767;
/// The day that spreadsheet programs count as 0, seen from 1970-01-01.
const DAY_ZERO: f64 = 25_569.0;
const DAY_MS: f64 = 86_400_000.0;

/// How each kind of cell is shown.
struct Styles {
    header: Style,
    money: Style,
    time: Style,
    day: Style,
}

impl Styles {
    fn of(currency: Currency) -> Self {
        let money = match currency.decimals() {
            0 => "0".to_owned(),
            decimals => format!("0.{}", "0".repeat(decimals)),
        };
        Self {
            header: Style::new().set_bold(),
            money: Style::new().set_num_format(money),
            time: Style::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
            day: Style::new().set_num_format("yyyy-mm-dd"),
        }
    }
}

impl Sheet {
    /// As a workbook. Times are shown by the alliance's local clock, as the heading says: cells have no time zone.
    ///
    /// # Errors
    /// More rows, or a longer text, than the format holds.
    pub(super) fn xlsx(&self) -> anyhow::Result<Vec<u8>> {
        self.check_bounds()?;
        let styles = Styles::of(self.books.currency);
        let mut workbook = Workbook::new();
        let page = workbook.add_worksheet().set_name(self.name)?;
        page.set_freeze_panes(1, 0)?;
        for (place, &(name, kind)) in (0_u16..).zip(&self.columns) {
            page.write_string_with_format(0, place, self.heading_of(name, kind), &styles.header)?;
        }
        for (line, row) in (1_u32..).zip(&self.rows) {
            for (place, cell) in (0_u16..).zip(row) {
                self.write_cell(page, (line, place), cell, &styles)?;
            }
        }
        page.autofit();
        Ok(workbook.save_to_buffer()?)
    }

    fn check_bounds(&self) -> Result<(), Problem> {
        if self.rows.len() > ROWS_MAX {
            let rows = self.rows.len();
            return Err(Problem::Usage(format!(
                "{rows} rows are more than the {ROWS_MAX} of an xlsx sheet: take csv, parquet or a shorter time"
            )));
        }
        let texts = self.rows.iter().flatten().filter_map(|cell| match cell {
            Cell::Text(text) => Some(text),
            _ => None,
        });
        match texts.map(|text| text.encode_utf16().count()).find(|units| *units > CELL_UNITS_MAX) {
            None => Ok(()),
            Some(units) => Err(Problem::Usage(format!(
                "a text of {units} characters is longer than the {CELL_UNITS_MAX} of an xlsx cell: take csv or parquet"
            ))),
        }
    }

    fn heading_of(&self, name: &'static str, kind: Kind) -> String {
        let name = self.heading(name);
        if kind != Kind::Time {
            return name.to_owned();
        }
        let minutes = self.books.utc_offset_minutes;
        let sign = if minutes < 0 { '-' } else { '+' };
        let (hours, minutes) = (minutes.unsigned_abs() / 60, minutes.unsigned_abs() % 60);
        format!("{name} (UTC{sign}{hours:02}:{minutes:02})")
    }

    fn write_cell(
        &self,
        page: &mut Worksheet,
        (line, place): (u32, u16),
        cell: &Cell,
        styles: &Styles,
    ) -> Result<(), XlsxError> {
        let style = match cell {
            Cell::Text(text) => return page.write_string(line, place, text).map(drop),
            Cell::Count(_) | Cell::Number(_) => None,
            Cell::Money(_) => Some(&styles.money),
            Cell::Time(_) => Some(&styles.time),
            Cell::Day(_) => Some(&styles.day),
        };
        let Some(number) = self.number(cell) else { return Ok(()) };
        match style {
            Some(style) => page.write_number_with_format(line, place, number, style),
            None => page.write_number(line, place, number),
        }
        .map(drop)
    }

    /// The number in a cell, which is what a program of doubles would have had the user type in; none: the cell is empty.
    fn number(&self, cell: &Cell) -> Option<f64> {
        match cell {
            Cell::Text(_) | Cell::Time(None) => None,
            Cell::Count(count) => Some(*count as f64),
            Cell::Number(number) => Some(*number),
            Cell::Money(minor) => decimal(*minor, self.books.currency).parse().ok(),
            Cell::Time(Some(time)) => {
                let local_s = time.seconds + i64::from(self.books.utc_offset_minutes) * 60;
                let local_ms = local_s * 1_000 + i64::from(time.nanos / 1_000_000);
                Some(local_ms as f64 / DAY_MS + DAY_ZERO)
            }
            Cell::Day(day) => Some(f64::from(days(*day)) + DAY_ZERO),
        }
    }
}

/// Days since 1970-01-01.
pub(super) fn days(day: Date) -> i32 {
    let epoch = Date::constant(1970, 1, 1);
    epoch.until(day).map_or(0, |span| span.get_days())
}
