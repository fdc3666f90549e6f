//! Values as they are typed: money, times, durations, cards, shares. Integers all through, never floats.

use std::str::FromStr;

use hutong_client::{Duration, Timestamp, proto};
use hutong_record::{CardId, Currency, MINOR_MAX, UnixMillis};

/// The longest duration anyone may type, seconds: ten years, as for vouchers.
const DURATION_SECONDS_MAX: i64 = 10 * 366 * 86_400;
const REQUEST_ID_CHARS_MAX: usize = 64;
const DECIMALS_MAX: usize = 3;

/// An amount as typed, not below zero. Without a point it counts minor units (`1250`); with a point it counts major
/// units and has exactly as many decimals as its currency (`12.50`, `1.500KWD`). A code at the end names the currency;
/// without one it is the alliance's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MoneyArg {
    /// The digits with the point left out.
    digits: i64,
    /// Digits after the point; nothing where there was no point.
    decimals: Option<usize>,
    currency: Option<Currency>,
}

impl FromStr for MoneyArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "an amount is 1250 (minor units) or 12.50, perhaps with a currency at the end: 12.50USD"
                .to_owned()
        };
        let (number, code) =
            text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
        let currency =
            if code.is_empty() { None } else { Some(code.parse::<Currency>().map_err(|e| e.to_string())?) };
        let number = number.trim_end();
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (number, None),
        };
        let digits = format!("{whole}{}", fraction.unwrap_or_default());
        let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
        let fraction_fits = fraction.is_none_or(|fraction| (1..=DECIMALS_MAX).contains(&fraction.len()));
        if whole.is_empty() || !all_digits || !fraction_fits {
            return Err(wrong());
        }
        let digits = digits.parse().ok().filter(|digits| *digits <= MINOR_MAX);
        let digits = digits.ok_or_else(|| "the amount is beyond 10^15 minor units".to_owned())?;
        let money = Self { digits, decimals: fraction.map(str::len), currency };
        if let Some(currency) = currency {
            money.minor(currency)?;
        }
        Ok(money)
    }
}

impl MoneyArg {
    /// Whether it takes the alliance's currency to tell the minor units.
    pub(crate) fn needs_currency(self) -> bool {
        self.decimals.is_some() && self.currency.is_none()
    }

    /// The amount as the node takes it. `alliance` is its currency, needed only if [`Self::needs_currency`].
    pub(crate) fn to_proto(self, alliance: Option<Currency>) -> Result<proto::Money, String> {
        let minor = match self.currency.or(alliance) {
            Some(currency) => self.minor(currency)?,
            None => self.digits,
        };
        let currency_code = self.currency.map(|currency| currency.code().to_owned()).unwrap_or_default();
        Ok(proto::Money { currency_code, minor })
    }

    fn minor(self, currency: Currency) -> Result<i64, String> {
        let expected = currency.decimals();
        match self.decimals {
            None => Ok(self.digits),
            Some(found) if found == expected => Ok(self.digits),
            Some(_) if expected == 0 => {
                Err(format!("{} has no minor units: leave the point out", currency.code()))
            }
            Some(found) => Err(format!("{} has {expected} decimals, not {found}", currency.code())),
        }
    }
}

/// A duration such as `14d`, `72h`, `30m`, `45s` or `1d12h`; more than zero, at most ten years.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration { seconds: 0, .. } => Err("the duration is zero".to_owned()),
        more => Ok(more),
    }
}

/// As [`duration`]; `0`, or zero of any unit, is one, too.
pub(crate) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration { seconds: 0, nanos: 0 });
    }
    let wrong = || "a duration is a number with d, h, m or s, such as 14d, 72h or 30m".to_owned();
    let (mut seconds, mut rest, mut unit_above) = (0_i64, text, i64::MAX);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: i64 = rest[..end].parse().map_err(|_| wrong())?;
        let unit = match rest.as_bytes()[end] {
            b'd' => 86_400,
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(wrong()),
        };
        if unit >= unit_above {
            return Err(wrong());
        }
        unit_above = unit;
        seconds = count.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
        rest = &rest[end + 1..];
    }
    match seconds {
        _ if text.is_empty() => Err(wrong()),
        0..=DURATION_SECONDS_MAX => Ok(Duration { seconds, nanos: 0 }),
        _ => Err("the duration is longer than ten years".to_owned()),
    }
}

/// A time as RFC 3339 has it, with its offset.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    let wrong = |why: String| format!("a time is like 2026-05-01T08:00:00+08:00: {why}");
    let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
    UnixMillis::new(time.as_millisecond()).map_err(|error| wrong(error.to_string()))?;
    Ok(Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

/// A moment of this program as the node takes it.
pub(crate) fn timestamp(moment: UnixMillis) -> Timestamp {
    let nanos = i32::try_from(moment.ms() % 1_000).unwrap_or(0) * 1_000_000;
    Timestamp { seconds: moment.ms() / 1_000, nanos }
}

/// An offset from UTC: `+08:00`, or minutes such as `480`. At most 14 hours.
pub(crate) fn utc_offset_minutes(text: &str) -> Result<i32, String> {
    let wrong = || "an offset from UTC is like +08:00 or -03:30".to_owned();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = |digits: &str| digits.parse::<u16>().map(i32::from).map_err(|_| wrong());
    let minutes = match digits.split_once(':') {
        Some((_, minutes)) if minutes.len() != 2 || number(minutes)? > 59 => return Err(wrong()),
        Some((hours, minutes)) => number(hours)? * 60 + number(minutes)?,
        None => number(digits)?,
    };
    if minutes > 840 { Err(wrong()) } else { Ok(sign * minutes) }
}

/// A card's 32 hex digits.
pub(crate) fn card(text: &str) -> Result<String, String> {
    let card: CardId = text.parse().map_err(|_| "a card is 32 hex digits".to_owned())?;
    Ok(card.reveal())
}

/// 1 to 64 printable ASCII characters.
pub(crate) fn request_id(text: &str) -> Result<String, String> {
    if (1..=REQUEST_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        Ok(text.to_owned())
    } else {
        Err("a request id is 1 to 64 printable ASCII characters".to_owned())
    }
}

/// Percent with up to two decimals, in hundredths of a percent: `10`, `12.5`, `7.25%`.
pub(crate) fn basis_points(text: &str) -> Result<u32, String> {
    let wrong = || "a percentage is 0.01 to 100, with at most two decimals".to_owned();
    let number = text.strip_suffix('%').unwrap_or(text);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
        return Err(wrong());
    }
    let points = format!("{whole}{fraction:0<2}").parse().map_err(|_| wrong())?;
    if (1..=10_000).contains(&points) { Ok(points) } else { Err(wrong()) }
}

/// A shop and how many vouchers it may hand out, as `SHOP=QUOTA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// Name or beginning of the id.
    pub(crate) shop: String,
    /// 1 to 1,000,000.
    pub(crate) quota: u32,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (shop, quota) =
            text.rsplit_once('=').ok_or("a distributor is SHOP=QUOTA, such as 张记包子=200")?;
        match quota.trim().parse() {
            Ok(quota @ 1..=1_000_000) if !shop.trim().is_empty() => {
                Ok(Self { shop: shop.trim().to_owned(), quota })
            }
            Ok(_) if shop.trim().is_empty() => Err("the shop is missing before `=`".to_owned()),
            _ => Err("a quota is 1 to 1000000".to_owned()),
        }
    }
}

/// Goods of one kind in a purchase, as `CATEGORY=MONEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// What kind, as promotions name it.
    pub(crate) category: String,
    /// For how much.
    pub(crate) amount: MoneyArg,
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (category, amount) =
            text.rsplit_once('=').ok_or("a line is CATEGORY=MONEY, such as fruit=12.50")?;
        match category.trim() {
            "" => Err("the category is missing before `=`".to_owned()),
            category => Ok(Self { category: category.to_owned(), amount: amount.trim().parse()? }),
        }
    }
}

/// Hours of some days of the week: `mon-fri 11:00-14:00`, `sat,sun 10:00-24:00`; without days, every day.
pub(crate) fn weekly_hours(text: &str) -> Result<proto::WeeklyHours, String> {
    let wrong = || "hours are like mon-fri 11:00-14:00, sat,sun 10:00-24:00 or 11:00-14:00".to_owned();
    let (days, hours) = text.trim().rsplit_once(' ').unwrap_or(("mon-sun", text.trim()));
    let (from, until) = hours.split_once('-').ok_or_else(wrong)?;
    let (from_minute, until_minute) = (minute(from).ok_or_else(wrong)?, minute(until).ok_or_else(wrong)?);
    if from_minute >= until_minute {
        return Err(
            "the hours end before they begin; for a night give two: 22:00-24:00 and 0:00-4:00".to_owned()
        );
    }
    let weekdays = weekdays(days).ok_or_else(wrong)?.into_iter().map(i32::from).collect();
    Ok(proto::WeeklyHours { weekdays, from_minute, until_minute })
}

/// Minutes after midnight of `14:05`, up to `24:00`.
fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number = |digits: &str| {
        let sound = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        sound.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|m| *m < 60)?);
    Some(hours * 60 + minutes).filter(|minute| *minute <= 24 * 60)
}

/// `mon,wed-fri`: the days in the order of the week, each once.
fn weekdays(text: &str) -> Option<Vec<proto::Weekday>> {
    const NAMES: [(&str, proto::Weekday); 7] = [
        ("mon", proto::Weekday::Monday),
        ("tue", proto::Weekday::Tuesday),
        ("wed", proto::Weekday::Wednesday),
        ("thu", proto::Weekday::Thursday),
        ("fri", proto::Weekday::Friday),
        ("sat", proto::Weekday::Saturday),
        ("sun", proto::Weekday::Sunday),
    ];
    let place = |name: &str| NAMES.iter().position(|(known, _)| known.eq_ignore_ascii_case(name.trim()));
    let mut named = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (place(first)?, place(last)?);
        if first > last {
            return None;
        }
        named[first..=last].fill(true);
    }
    Some(NAMES.iter().zip(named).filter(|(_, named)| *named).map(|((_, day), _)| *day).collect())
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
