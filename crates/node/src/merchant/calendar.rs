//! Days of an alliance's calendar, as they are typed and told: YYYY-MM-DD.

use hutong_core::refusal::Refusal;
use jiff::{SignedDuration, civil::Date};

/// The first of the days that are counted.
const EPOCH: Date = jiff::civil::date(1970, 1, 1);
/// Hours that a calendar of four-digit years surely does not have; more would not fit.
const HOURS_MAX: i64 = 100_000_000;

/// The number of a day, counted from 1970-01-01.
pub(super) fn parse_day(text: &str) -> Result<i64, Refusal> {
    let day: Date = text.parse().map_err(|_| Refusal::field("list_day", "a day is YYYY-MM-DD"))?;
    Ok(day.duration_since(EPOCH).as_hours() / 24)
}

/// A day, counted from 1970-01-01; none where the calendar has none.
pub(super) fn day_text(day: i64) -> Option<String> {
    let hours = day.checked_mul(24)?;
    let span = SignedDuration::from_hours(hours.clamp(-HOURS_MAX, HOURS_MAX));
    EPOCH.checked_add(span).ok().map(|day| day.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_told_as_they_are_typed() {
        for (day, text) in [(0, "1970-01-01"), (17_167, "2017-01-01"), (-1, "1969-12-31")] {
            assert_eq!(parse_day(text), Ok(day));
            assert_eq!(day_text(day).as_deref(), Some(text));
        }
        for bad in ["", "2017-13-01", "today", "17167"] {
            assert!(parse_day(bad).is_err(), "{bad}");
        }
        assert_eq!(day_text(i64::MAX), None);
    }
}
