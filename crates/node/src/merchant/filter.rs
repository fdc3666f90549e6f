//! Filters of long lists: the part of AIP-160 that they need. `field op value`, joined by AND; values are words or
//! quoted texts, times as RFC 3339 has them.

use hutong_core::refusal::Refusal;
use hutong_record::UnixMillis;
use hutong_wire::trade;

/// A filter is typed or made by a program; what is longer is neither.
const FILTER_BYTES_MAX: usize = 1_024;
const CONDITIONS_MAX: usize = 8;

/// What a filter compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Compared as it is, by `=` and `!=` alone.
    Text(&'a str),
    /// Compared by all operators. What has no time meets no condition but `!=`.
    Time(Option<UnixMillis>),
}

impl<'a> Value<'a> {
    /// An enum's value, by its name without the prefix that all its values share.
    pub(super) fn word(name: &'a str, prefix: &str) -> Self {
        Self::Text(name.strip_prefix(prefix).unwrap_or(name))
    }

    /// A message's time. One that is none is as good as no time.
    pub(super) fn time(time: Option<&prost_types::Timestamp>) -> Self {
        Self::Time(time.and_then(|time| trade::time("time", time).ok()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Differs,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// The longer ones first: `<=` is not `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::Differs),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::More),
];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    field: String,
    operator: Operator,
    text: String,
    time: Option<UnixMillis>,
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter(Vec<Condition>);

fn wrong(why: impl std::fmt::Display) -> Refusal {
    Refusal::field("filter", why)
}

impl Filter {
    /// Reads a filter over some fields; those whose names end in `time` are times.
    ///
    /// # Errors
    /// `FIELD_INVALID` of `filter`, with what is wrong.
    pub(super) fn parse(text: &str, fields: &[&str]) -> Result<Self, Refusal> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(wrong(format!("has more than {FILTER_BYTES_MAX} bytes")));
        }
        let mut rest = text.trim();
        let mut conditions = Vec::new();
        while !rest.is_empty() {
            if conditions.len() == CONDITIONS_MAX {
                return Err(wrong(format!("has more than {CONDITIONS_MAX} conditions")));
            }
            if !conditions.is_empty() {
                let after = rest.strip_prefix("AND").filter(|after| after.starts_with(char::is_whitespace));
                rest = after.ok_or_else(|| wrong("conditions are joined by AND alone"))?.trim_start();
            }
            let (condition, after) = condition(rest, fields)?;
            conditions.push(condition);
            rest = after.trim_start();
        }
        Ok(Self(conditions))
    }

    /// Whether everything holds of something's values.
    pub(super) fn holds<'a>(&self, value: impl Fn(&str) -> Value<'a>) -> bool {
        self.0.iter().all(|condition| condition.holds(value(&condition.field)))
    }

    /// Whether there is no condition.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The condition that a text begins with, and what comes after it.
fn condition<'a>(text: &'a str, fields: &[&str]) -> Result<(Condition, &'a str), Refusal> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (field, rest) = text.split_at(end);
    if !fields.contains(&field) {
        return Err(wrong(format!("`{field}` is none of {}", fields.join(", "))));
    }
    let rest = rest.trim_start();
    let operator = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign));
    let (sign, operator) = operator.ok_or_else(|| wrong("a field is followed by = != < <= > or >="))?;
    let (text, rest) = value(rest[sign.len()..].trim_start())?;
    let time = if field.ends_with("time") {
        let time: jiff::Timestamp = text.parse().map_err(|error| wrong(format!("{field}: {error}")))?;
        Some(UnixMillis::new(time.as_millisecond()).map_err(wrong)?)
    } else if matches!(operator, Operator::Equal | Operator::Differs) {
        None
    } else {
        return Err(wrong(format!("`{field}` is compared by = and != alone")));
    };
    Ok((Condition { field: field.to_owned(), operator: *operator, text, time }, rest))
}

/// The value that a text begins with: a quoted one, with `\"` and `\\` in it, or a word.
fn value(text: &str) -> Result<(String, &str), Refusal> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return match text.split_at(end) {
            ("", _) => Err(wrong("a value is missing")),
            (word, _) if word.contains(['"', '(', ')']) => {
                Err(wrong("quote values that are not plain words"))
            }
            (word, rest) => Ok((word.to_owned(), rest)),
        };
    };
    let mut found = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((found, &quoted[at + 1..])),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => found.push(escaped),
                _ => return Err(wrong("after \\ comes \" or \\")),
            },
            other => found.push(other),
        }
    }
    Err(wrong("a quoted value does not end"))
}

impl Condition {
    fn holds(&self, value: Value<'_>) -> bool {
        match value {
            Value::Text(text) => (text == self.text) == (self.operator == Operator::Equal),
            Value::Time(at) => match (at, self.operator) {
                (None, operator) => operator == Operator::Differs,
                (at, Operator::Equal) => at == self.time,
                (at, Operator::Differs) => at != self.time,
                (at, Operator::Less) => at < self.time,
                (at, Operator::AtMost) => at <= self.time,
                (at, Operator::More) => at > self.time,
                (at, Operator::AtLeast) => at >= self.time,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 3] = ["code", "name", "time"];

    fn holds(filter: &str) -> bool {
        let at = UnixMillis::new(1_800_000_000_000).unwrap();
        Filter::parse(filter, &FIELDS).unwrap().holds(|field| match field {
            "code" => Value::Text("OK"),
            "name" => Value::Text("till \"2\""),
            _ => Value::Time(Some(at)),
        })
    }

    #[test]
    fn conditions_are_joined_by_and() {
        assert!(holds("") && holds("  ") && holds("code = OK") && holds("code=\"OK\""));
        assert!(holds(r#"code = "OK" AND name = "till \"2\"""#));
        assert!(!holds("code != OK") && !holds(r#"code = OK AND name = "till""#));
        assert!(holds("time > 2020-01-01T00:00:00Z AND time <= 2027-01-15T08:00:00Z"));
        assert!(!holds("time < 2020-01-01T00:00:00Z") && holds("code != AND"));
        assert!(!holds("time > 2027-01-15T16:00:00+08:00") && holds("time = 2027-01-15T16:00:00+08:00"));
    }

    #[test]
    fn what_is_no_filter_is_refused_with_why() {
        let long = "code = OK AND ".repeat(100);
        let many = ["code = OK"; 9].join(" AND ");
        for bad in [
            "code",
            "code =",
            "= OK",
            "code OK",
            "code < OK",
            "colour = red",
            "code = OK OR code = NO",
            "code = OK AND",
            "AND",
            "code = \"OK",
            "code = \"a\\n\"",
            "time = yesterday",
            "code = O\"K",
            "(code = OK)",
            "code = OK ANDcode = OK",
            "time > 99999-01-01T00:00:00Z",
            "代码 = OK",
            &long,
            &many,
        ] {
            let refusal = Filter::parse(bad, &FIELDS).expect_err(bad);
            assert_eq!(refusal.fact("field"), Some("filter"), "{bad}");
        }
    }

    #[test]
    fn what_has_no_time_is_at_none() {
        let holds = |filter| Filter::parse(filter, &FIELDS).unwrap().holds(|_| Value::Time(None));
        assert!(!holds("time < 2030-01-01T00:00:00Z") && !holds("time >= 2000-01-01T00:00:00Z"));
        assert!(holds("time != 2030-01-01T00:00:00Z"));
    }
}
