//! Which fields, days and records make two statements of one period differ.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hutong_record::RecordId;

use super::statement::{Case, DaySum, Signed, Statement};

/// A line that only one of two statements has, or that differs in amount. Minor units as statements have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineDifference {
    /// The record behind it.
    pub record: RecordId,
    /// Which of its lines.
    pub index: u8,
    /// What this shop has.
    pub own: Option<i64>,
    /// What the ally has.
    pub theirs: Option<i64>,
}

/// What makes two statements differ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Differences {
    /// Names of fields.
    pub fields: Vec<&'static str>,
    /// Lines, where both list the same part.
    pub lines: Vec<LineDifference>,
    /// Days whose lines are not listed by both: have both list them.
    pub days: Vec<i64>,
}

/// Compares the latest statements of both shops; none: one of them has not signed.
pub fn differences(case: &Case) -> Option<Differences> {
    let (own, theirs) = (case.own.last()?, case.theirs.last()?);
    let mut found = Differences { fields: fields(&own.content, &theirs.content), ..Differences::default() };
    found.lines = lines(case, own, theirs);
    let narrowed: BTreeSet<i64> = case
        .own
        .iter()
        .filter_map(|own| own.annex.day)
        .filter(|day| case.theirs.iter().any(|theirs| theirs.annex.day == Some(*day)))
        .collect();
    let (mine, other) = (latest_days(&case.own), latest_days(&case.theirs));
    found.days = days(mine, other).into_iter().filter(|day| !narrowed.contains(day)).collect();
    Some(found)
}

fn latest_days(signed: &[Signed]) -> &[DaySum] {
    signed.iter().rev().find(|s| s.annex.day.is_none()).map_or(&[], |s| s.annex.days.as_slice())
}

fn fields(own: &Statement, theirs: &Statement) -> Vec<&'static str> {
    let all = [
        ("period_start", own.start == theirs.start),
        ("period_end", own.end == theirs.end),
        ("cut", own.cut == theirs.cut),
        ("nettings", own.nettings == theirs.nettings),
        ("opening", own.opening_minor == theirs.opening_minor),
        ("lines", own.lines_minor == theirs.lines_minor),
        ("line_count", own.line_count == theirs.line_count),
        ("correction", own.correction_minor == theirs.correction_minor),
        ("closing", own.closing_minor == theirs.closing_minor),
        ("disputed", own.disputed_minor == theirs.disputed_minor),
        ("lines_digest", own.lines_digest == theirs.lines_digest),
        ("previous", own.previous == theirs.previous),
    ];
    all.into_iter().filter(|(_, equal)| !equal).map(|(name, _)| name).collect()
}

/// Lines are compared where both list all, and for each day that both list.
fn lines(case: &Case, own: &Signed, theirs: &Signed) -> Vec<LineDifference> {
    let by_day = |signed: &[Signed], day: Option<i64>| -> Option<BTreeMap<(RecordId, u8), i64>> {
        let found = signed.iter().rev().find(|s| s.annex.day == day && s.annex.days.is_empty())?;
        Some(found.annex.lines.iter().map(|line| ((line.record, line.index), line.minor)).collect())
    };
    let parts: BTreeSet<Option<i64>> =
        case.own.iter().chain([own, theirs]).map(|signed| signed.annex.day).collect();
    let mut found = BTreeMap::new();
    for part in parts {
        let (Some(mine), Some(other)) = (by_day(&case.own, part), by_day(&case.theirs, part)) else {
            continue;
        };
        for place in mine.keys().chain(other.keys()) {
            let (own, theirs) = (mine.get(place).copied(), other.get(place).copied());
            if own != theirs {
                found.insert(*place, (own, theirs));
            }
        }
    }
    let tell = |((record, index), (own, theirs))| LineDifference { record, index, own, theirs };
    found.into_iter().map(tell).collect()
}

fn days(own: &[DaySum], theirs: &[DaySum]) -> Vec<i64> {
    let by_day = |days: &[DaySum]| days.iter().map(|d| (d.day, *d)).collect::<BTreeMap<_, _>>();
    let (own, theirs) = (by_day(own), by_day(theirs));
    let all: BTreeSet<i64> = own.keys().chain(theirs.keys()).copied().collect();
    all.into_iter().filter(|day| own.get(day) != theirs.get(day)).collect()
}
