//! Moments, to the millisecond.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A day of 24 hours, ms.
pub const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970-01-01T00:00:00Z, never before it and never after the year 9999 (the range of
/// `google.protobuf.Timestamp` that every language can show).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixMillis(i64);

/// A time outside the years 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time {0} ms lies outside the years 1970 to 9999")]
pub struct TimeError(pub i64);

/// The first moment of a day since 1970-01-01, where the clock is `utc_offset_minutes` ahead of UTC, ms since the epoch: what
/// [`UnixMillis::day`] counts, back again.
pub fn day_start_ms(day: i64, utc_offset_minutes: i32) -> i64 {
    day * DAY_MS - i64::from(utc_offset_minutes) * 60_000
}

impl UnixMillis {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// From milliseconds since the epoch.
    pub const fn new(ms: i64) -> Result<Self, TimeError> {
        if ms < 0 || ms > Self::MAX.0 { Err(TimeError(ms)) } else { Ok(Self(ms)) }
    }

    /// Milliseconds since the epoch.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// This moment and `ms` milliseconds (negative: back), held within the range.
    pub fn saturating_add_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms).clamp(0, Self::MAX.0))
    }

    /// Milliseconds from `earlier` to this moment; negative if it lies later.
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// The day that this moment falls on, counted from 1970-01-01, where the clock is `utc_offset_minutes` ahead of UTC.
    pub fn day(self, utc_offset_minutes: i32) -> i64 {
        (self.0 + i64::from(utc_offset_minutes) * 60_000).div_euclid(DAY_MS)
    }
}

impl fmt::Debug for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_years_1970_to_9999_exist() {
        assert_eq!(UnixMillis::new(-1), Err(TimeError(-1)));
        assert_eq!(UnixMillis::new(UnixMillis::MAX.ms()), Ok(UnixMillis::MAX));
        assert!(UnixMillis::new(UnixMillis::MAX.ms() + 1).is_err());
        assert_eq!(UnixMillis::MAX.saturating_add_ms(i64::MAX), UnixMillis::MAX);
        assert_eq!(UnixMillis::EPOCH.saturating_add_ms(i64::MIN), UnixMillis::EPOCH);
    }

    #[test]
    fn a_day_begins_at_local_midnight() {
        let late = UnixMillis::new(16 * 3_600_000).unwrap();
        assert_eq!(late.day(0), 0);
        assert_eq!(late.day(480), 1, "16:00 UTC is midnight in Beijing");
        assert_eq!(UnixMillis::EPOCH.day(-60), -1);
    }
}
