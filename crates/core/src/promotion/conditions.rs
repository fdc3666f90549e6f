//! Conditions of redemption: when, for what and how often.

use alloc::{string::String, vec::Vec};

use hutong_record::{Currency, Money, UnixMillis, day_start_ms, proto};

use crate::{
    bounds,
    refusal::{Reason, Refusal},
};

/// More would not fit on a poster either.
const HOURS_MAX: usize = 14;
/// Kinds of goods that one promotion names.
const CATEGORIES_MAX: usize = 16;
pub(crate) const CATEGORY_CHARS_MAX: usize = 40;
const MINUTES_PER_DAY: u32 = 1_440;

/// When, for what and how often vouchers are redeemed. The default has no conditions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// Redeemed from this moment on.
    pub from: Option<UnixMillis>,
    /// Redeemed before this moment.
    pub until: Option<UnixMillis>,
    /// When in the week; none: always.
    pub hours: Vec<WeeklyHours>,
    /// The goods that the benefit applies to; none: all.
    pub categories: Vec<String>,
    /// For customers whose card the redeemer has not seen on an earlier day.
    pub first_visit: bool,
    /// Not for orders from afar.
    pub in_person_only: bool,
    /// Redemptions by one card at one redeemer; 0: no limit.
    pub per_card_max: u32,
    /// Redemptions by one card on one day at one redeemer; 0: no limit.
    pub per_card_day_max: u32,
    /// Redemptions on one day at one redeemer; 0: no limit.
    pub per_day_max: u32,
    /// Redemptions at one redeemer; 0: no limit.
    pub per_shop_max: u32,
    /// The most in benefits and bounties that one redeemer gives away.
    pub per_shop_budget: Option<Money>,
    /// Goes into one purchase with vouchers of other promotions that allow it.
    pub stackable: bool,
    /// Never goes into one purchase with others of this group; empty: no group.
    pub exclusion_group: String,
}

/// Hours of some days of the week, local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeeklyHours {
    /// Bit 0 is Monday.
    pub weekdays: u8,
    /// Minutes after midnight.
    pub from_minute: u16,
    /// Before this minute.
    pub until_minute: u16,
}

impl WeeklyHours {
    fn parse(message: &proto::WeeklyHours) -> Result<Self, Refusal> {
        let field = |n| alloc::format!("conditions.hours.{n}");
        bounds::number(&field("weekdays"), message.weekdays, 1..=127)?;
        bounds::number(&field("from_minute"), message.from_minute, 0..=MINUTES_PER_DAY - 1)?;
        let until = message.from_minute + 1..=MINUTES_PER_DAY;
        bounds::number(&field("until_minute"), message.until_minute, until)?;
        Ok(Self {
            weekdays: message.weekdays.to_le_bytes()[0],
            from_minute: u16::try_from(message.from_minute).unwrap_or(u16::MAX),
            until_minute: u16::try_from(message.until_minute).unwrap_or(u16::MAX),
        })
    }

    /// Whether a moment lies within, in a place so far from UTC.
    fn contains(self, at: UnixMillis, utc_offset_minutes: i32) -> bool {
        let day = at.day(utc_offset_minutes);
        let midnight_ms = day_start_ms(day, utc_offset_minutes);
        let minute = (at.ms() - midnight_ms) / 60_000;
        // 1970-01-01 was a Thursday.
        let weekday = (day + 3).rem_euclid(7);
        self.weekdays >> weekday & 1 == 1
            && (i64::from(self.from_minute)..i64::from(self.until_minute)).contains(&minute)
    }
}

impl Conditions {
    /// Checks a message; absent: no conditions.
    pub(super) fn parse(message: Option<&proto::Conditions>, currency: Currency) -> Result<Self, Refusal> {
        let Some(message) = message else { return Ok(Self::default()) };
        bounds::number("conditions.hours", message.hours.len(), 0..=HOURS_MAX)?;
        bounds::number("conditions.categories", message.categories.len(), 0..=CATEGORIES_MAX)?;
        for category in &message.categories {
            bounds::text("conditions.categories", category, 1..=CATEGORY_CHARS_MAX)?;
        }
        bounds::text("conditions.exclusion_group", &message.exclusion_group, 0..=CATEGORY_CHARS_MAX)?;
        let moment = |field, ms| if ms == 0 { Ok(None) } else { bounds::time(field, ms).map(Some) };
        let budget = message.per_shop_budget.as_ref();
        let conditions = Self {
            from: moment("conditions.from_unix_ms", message.from_unix_ms)?,
            until: moment("conditions.until_unix_ms", message.until_unix_ms)?,
            hours: message.hours.iter().map(WeeklyHours::parse).collect::<Result<_, _>>()?,
            categories: message.categories.clone(),
            first_visit: message.first_visit,
            in_person_only: message.in_person_only,
            per_card_max: message.per_card_max,
            per_card_day_max: message.per_card_day_max,
            per_day_max: message.per_day_max,
            per_shop_max: message.per_shop_max,
            per_shop_budget: budget
                .map(|m| bounds::amount("conditions.per_shop_budget", m, currency))
                .transpose()?,
            stackable: message.stackable,
            exclusion_group: message.exclusion_group.clone(),
        };
        if conditions.until.zip(conditions.from).is_some_and(|(until, from)| until <= from) {
            return Err(Refusal::field("conditions.until_unix_ms", "the redemption ends before it starts"));
        }
        Ok(conditions)
    }

    /// Whether only the holder of a known card can meet them.
    pub const fn need_card(&self) -> bool {
        self.first_visit || self.per_card_max > 0 || self.per_card_day_max > 0
    }

    /// Whether vouchers are redeemed at a moment.
    pub fn check_time(&self, at: UnixMillis, utc_offset_minutes: i32) -> Result<(), Refusal> {
        if self.from.is_some_and(|from| at < from) || self.until.is_some_and(|until| at >= until) {
            let ms = |moment: Option<UnixMillis>| moment.map_or(0, UnixMillis::ms);
            let refusal = Refusal::new(Reason::OutsideWindow).with("from_unix_ms", ms(self.from));
            return Err(refusal.with("until_unix_ms", ms(self.until)));
        }
        if self.hours.is_empty() || self.hours.iter().any(|hours| hours.contains(at, utc_offset_minutes)) {
            return Ok(());
        }
        Err(Refusal::new(Reason::OutsideHours))
    }

    /// The part of a purchase that the benefit applies to.
    pub fn eligible(&self, purchase: &Purchase) -> Result<Money, Refusal> {
        if self.categories.is_empty() {
            return Ok(purchase.total);
        }
        let covered = purchase.lines.iter().filter(|line| self.categories.contains(&line.category));
        let minor: i64 = covered.map(|line| line.amount.minor()).sum();
        match Money::new(purchase.total.currency(), minor) {
            Ok(eligible) if minor > 0 => Ok(eligible),
            _ => Err(Refusal::new(Reason::CategoryNotCovered).with("categories", self.categories.join(", "))),
        }
    }
}

/// What a customer buys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// All of it, before discounts.
    pub total: Money,
    /// The goods by kind, as far as the till tells; together at most the total.
    pub lines: Vec<PurchaseLine>,
    /// The till's name for it, where several vouchers go into one purchase; empty: this one alone.
    pub id: String,
    /// The customer is not in the shop.
    pub remote: bool,
}

/// Goods of one kind in a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseLine {
    /// What kind.
    pub category: String,
    /// For how much.
    pub amount: Money,
}

/// Lines of one purchase; a till that tells more tells goods and not kinds of goods.
const LINES_MAX: usize = 64;
const PURCHASE_ID_CHARS_MAX: usize = 64;

impl Purchase {
    /// A purchase of which nothing but the amount is known.
    pub const fn of(total: Money) -> Self {
        Self { total, lines: Vec::new(), id: String::new(), remote: false }
    }

    /// Checks texts, currency, and that the lines fit the total.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        bounds::text("purchase_id", &self.id, 0..=PURCHASE_ID_CHARS_MAX)?;
        bounds::number("lines", self.lines.len(), 0..=LINES_MAX)?;
        let mut sum = 0i128;
        for line in &self.lines {
            bounds::text("lines.category", &line.category, 1..=CATEGORY_CHARS_MAX)?;
            if line.amount.currency() != self.total.currency() || line.amount.minor() < 0 {
                return Err(Refusal::field("lines.amount", "is not an amount of the purchase"));
            }
            sum += i128::from(line.amount.minor());
        }
        if sum > i128::from(self.total.minor()) {
            return Err(Refusal::field("lines", "come to more than the purchase"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    #[test]
    fn hours_follow_the_alliance_s_own_clock() {
        // 2026-11-22 is a Sunday; 00:30 in Beijing is 16:30 UTC the day before.
        let sunday_half_past_midnight = at(1_795_278_600_000);
        let sundays = WeeklyHours { weekdays: 1 << 6, from_minute: 0, until_minute: 60 };
        assert!(sundays.contains(sunday_half_past_midnight, 480));
        assert!(!sundays.contains(sunday_half_past_midnight, 0));
        let saturdays = WeeklyHours { weekdays: 1 << 5, from_minute: 16 * 60, until_minute: 17 * 60 };
        assert!(saturdays.contains(sunday_half_past_midnight, 0));
        assert!(!sundays.contains(at(sunday_half_past_midnight.ms() + 30 * 60_000), 480), "01:00 is past it");
        // 1969-12-31 was a Wednesday.
        let wednesdays = WeeklyHours { weekdays: 1 << 2, from_minute: 0, until_minute: 1_440 };
        assert!(wednesdays.contains(at(0), -60));
    }

    #[test]
    fn the_benefit_applies_to_the_goods_that_are_named() {
        let cny = |minor| Money::new(Currency::CNY, minor).unwrap();
        let line = |category: &str, minor| PurchaseLine { category: category.into(), amount: cny(minor) };
        let lines = alloc::vec![line("fruit", 700), line("nuts", 200), line("fruit", 50)];
        let purchase = Purchase { lines, ..Purchase::of(cny(1_000)) };
        let of = |names: &[&str]| Conditions {
            categories: names.iter().map(|n| String::from(*n)).collect(),
            ..Conditions::default()
        };
        assert_eq!(of(&[]).eligible(&purchase), Ok(cny(1_000)));
        assert_eq!(of(&["fruit"]).eligible(&purchase), Ok(cny(750)));
        let refused = of(&["bread"]).eligible(&purchase).unwrap_err();
        assert_eq!(refused.reason, Reason::CategoryNotCovered);
        let too_much = Purchase { lines: alloc::vec![line("fruit", 1_001)], ..Purchase::of(cny(1_000)) };
        assert_eq!(too_much.check().unwrap_err().fact("field"), Some("lines"));
    }
}
