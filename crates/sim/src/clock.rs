//! Time: that of the street, and what a shop's clock makes of it.

pub(crate) use hutong_record::DAY_MS;
use hutong_record::UnixMillis;

/// One hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// One minute.
pub(crate) const MINUTE_MS: i64 = 60_000;
/// When the street opens.
pub(crate) const START_MS: i64 = 1_780_000_000_000;
/// The most that a clock is wrong, ahead or behind.
pub(crate) const SKEW_MS_MAX: i64 = DAY_MS;

/// A shop's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    /// How far it is ahead.
    pub(crate) skew_ms: i64,
}

impl Clock {
    /// What it shows.
    pub(crate) fn read(self, now_ms: i64) -> UnixMillis {
        UnixMillis::EPOCH.saturating_add_ms(START_MS + now_ms + self.skew_ms)
    }
}
