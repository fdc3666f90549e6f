//! A token bucket: so many calls a second in the long run, twice as many at once.

use std::time::{Duration, Instant};

/// How many seconds' worth may be used at once.
const BURST_SECONDS: u32 = 2;
/// A call's weight. Refills come in fractions of it, so that slow rates are exact, too.
const CALL: u64 = 1_000_000;

/// What is left of a caller's calls.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u32,
    level: u64,
    filled: Instant,
}

impl Bucket {
    /// Full.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = per_second.max(1);
        Self { per_second, level: Self::most(per_second), filled: now }
    }

    fn most(per_second: u32) -> u64 {
        u64::from(per_second) * u64::from(BURST_SECONDS) * CALL
    }

    /// Takes one call out.
    ///
    /// # Errors
    /// How long to wait for the next one, at least a millisecond.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.look(now)?;
        self.level -= CALL;
        Ok(())
    }

    /// Whether a call could be taken out.
    ///
    /// # Errors
    /// As [`Bucket::take`].
    pub(super) fn look(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled);
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        // Calls a second are millionths of a call a microsecond.
        let refill = micros.saturating_mul(u64::from(self.per_second));
        self.level = self.level.saturating_add(refill).min(Self::most(self.per_second));
        self.filled = self.filled.max(now);
        if self.level >= CALL {
            return Ok(());
        }
        let micros = (CALL - self.level).div_ceil(u64::from(self.per_second));
        Err(Duration::from_millis(micros.div_ceil(1_000).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, now: Instant) -> u32 {
        (0..10_000).take_while(|_| bucket.take(now).is_ok()).count().try_into().unwrap()
    }

    #[test]
    fn a_burst_is_two_seconds_worth_and_refills_at_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        assert_eq!(taken(&mut bucket, start), 20);
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(350)), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(3_600)), 20);
    }

    #[test]
    fn waiting_as_told_is_enough_and_a_clock_that_goes_back_gives_nothing() {
        let start = Instant::now();
        for rate in [1, 3, 7, 4_000] {
            let mut bucket = Bucket::new(rate, start);
            taken(&mut bucket, start);
            let wait = bucket.take(start).unwrap_err();
            let after = taken(&mut bucket, start + wait);
            assert!(after > 0, "{rate}");
            assert!(bucket.take(start).is_err(), "{rate}");
        }
        let mut none = Bucket::new(0, start);
        assert_eq!(taken(&mut none, start), 2, "a rate of nothing is the least rate");
    }
}
