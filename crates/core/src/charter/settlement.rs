//! The charter's rules of settlement: how long a period is, and how long a receipt can be disputed.

use hutong_record::{DAY_MS, UnixMillis, day_start_ms, proto};

use crate::{bounds, refusal::Refusal};

/// Days of a settlement period where the charter does not say: street shops pay their suppliers by the month.
const PERIOD_DAYS_DEFAULT: u32 = 30;
/// Days for a dispute where the charter does not say: two weekly stock-takings.
const DISPUTE_DAYS_DEFAULT: u32 = 14;
/// Most days of either: a statement tells as many days apart (`settlement::statement::DAYS_MAX`).
const DAYS_MAX: u32 = 180;

/// How long shops have to settle. What is agreed depends on it, so it is fixed when the alliance is founded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettlementRules {
    /// Days of the alliance in a settlement period; periods are counted from 1970-01-01.
    pub period_days: u32,
    /// Days after a receipt's record within which a party of it can dispute it.
    pub dispute_days: u32,
}

impl Default for SettlementRules {
    fn default() -> Self {
        Self { period_days: PERIOD_DAYS_DEFAULT, dispute_days: DISPUTE_DAYS_DEFAULT }
    }
}

impl SettlementRules {
    /// Checks the rules; what they leave open, defaults say.
    pub(super) fn parse(message: Option<&proto::SettlementRules>) -> Result<Self, Refusal> {
        let message = message.copied().unwrap_or_default();
        let days = |field, days: u32, default| {
            bounds::number(field, days, 0..=DAYS_MAX)?;
            Ok::<_, Refusal>(if days == 0 { default } else { days })
        };
        Ok(Self {
            period_days: days("settlement.period_days", message.period_days, PERIOD_DAYS_DEFAULT)?,
            dispute_days: days("settlement.dispute_days", message.dispute_days, DISPUTE_DAYS_DEFAULT)?,
        })
    }

    /// The end of the last settlement period before a moment, where the alliance's clock is `utc_offset_minutes` ahead
    /// of UTC.
    pub fn period_end(&self, utc_offset_minutes: i32, now: UnixMillis) -> UnixMillis {
        let day = now.day(utc_offset_minutes);
        let period_days = i64::from(self.period_days);
        let boundary = day.div_euclid(period_days) * period_days;
        let start_ms = day_start_ms(boundary, utc_offset_minutes);
        UnixMillis::new(start_ms.clamp(0, now.ms())).unwrap_or(UnixMillis::EPOCH)
    }

    /// The end of the settlement period that a moment lies in.
    pub fn next_period_end(&self, utc_offset_minutes: i32, now: UnixMillis) -> UnixMillis {
        let period_ms = i64::from(self.period_days) * DAY_MS;
        self.period_end(utc_offset_minutes, now.saturating_add_ms(period_ms))
    }

    /// Whether a dispute of one moment is in time for a receipt of another.
    pub fn in_time(&self, receipt: UnixMillis, dispute: UnixMillis) -> bool {
        dispute.ms_since(receipt) <= i64::from(self.dispute_days) * DAY_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> UnixMillis {
        UnixMillis::new(day * DAY_MS).unwrap()
    }

    #[test]
    fn a_charter_that_says_nothing_has_a_month_and_two_weeks() {
        let rules = SettlementRules::parse(None).unwrap();
        assert_eq!(rules, SettlementRules::default());
        assert_eq!((rules.period_days, rules.dispute_days), (30, 14));
        let week = proto::SettlementRules { period_days: 7, dispute_days: 0 };
        let rules = SettlementRules::parse(Some(&week)).unwrap();
        assert_eq!((rules.period_days, rules.dispute_days), (7, 14));
    }

    #[test]
    fn rules_out_of_bounds_name_the_field() {
        let long = proto::SettlementRules { period_days: 181, dispute_days: 1 };
        let late = proto::SettlementRules { period_days: 1, dispute_days: u32::MAX };
        for (message, name) in [(long, "settlement.period_days"), (late, "settlement.dispute_days")] {
            let refusal = SettlementRules::parse(Some(&message)).unwrap_err();
            assert_eq!(refusal.fact("field"), Some(name));
        }
    }

    #[test]
    fn a_period_ends_at_local_midnight_of_its_last_day() {
        let rules = SettlementRules { period_days: 7, dispute_days: 1 };
        assert_eq!(rules.period_end(0, day(20)), day(14));
        assert_eq!(rules.period_end(0, day(21)), day(21));
        let beijing = rules.period_end(480, day(21));
        assert_eq!(beijing, day(21).saturating_add_ms(-8 * 3_600_000));
        assert_eq!(rules.period_end(0, day(3)), UnixMillis::EPOCH);
    }

    #[test]
    fn a_dispute_is_in_time_to_the_millisecond() {
        let rules = SettlementRules { period_days: 30, dispute_days: 2 };
        assert!(rules.in_time(day(5), day(7)));
        assert!(!rules.in_time(day(5), day(7).saturating_add_ms(1)));
        assert!(rules.in_time(day(5), day(1)), "clocks differ");
    }
}
