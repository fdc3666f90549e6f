//! Notices that the machine slept: its links are then dead without anybody having said so.

use std::time::{Duration, Instant};

use hutong_record::UnixMillis;

/// Between two looks the wall clock went so much further than the machine was up: it slept, or somebody set the clock,
/// which costs a reconnection. Corrections of a running clock are far smaller.
const GAP: Duration = Duration::from_secs(5);
/// Between two looks of half a second so much time passed: the process was held, as a virtual machine's is.
const STALL: Duration = Duration::from_secs(15);

/// Compares the two clocks.
#[derive(Debug)]
pub(super) struct SleepWatch {
    up: Instant,
    wall: UnixMillis,
}

impl SleepWatch {
    /// Begins at a moment, by the clock that stands still while the machine sleeps and by the one on the wall.
    pub(super) const fn new(up: Instant, wall: UnixMillis) -> Self {
        Self { up, wall }
    }

    /// Whether the machine slept since the last look.
    pub(super) fn look(&mut self, up: Instant, wall: UnixMillis) -> bool {
        let awake = up.saturating_duration_since(self.up);
        let passed = u64::try_from(wall.ms_since(self.wall)).map_or(Duration::ZERO, Duration::from_millis);
        *self = Self { up, wall };
        passed.saturating_sub(awake) >= GAP || awake >= STALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_the_clocks_is_a_sleep_and_a_corrected_clock_is_none() {
        let (up, wall) = (Instant::now(), UnixMillis::new(1_000_000).unwrap());
        let after = |up_ms: u64, wall_ms: i64| {
            let mut watch = SleepWatch::new(up, wall);
            let (first, again) = (up + Duration::from_millis(up_ms), wall.saturating_add_ms(wall_ms));
            let slept = watch.look(first, again);
            assert!(
                !watch.look(first + Duration::from_millis(500), again.saturating_add_ms(500)),
                "told once"
            );
            slept
        };
        assert!(!after(500, 500));
        assert!(!after(500, 4_000), "set forward by some seconds");
        assert!(!after(500, -3_600_000), "set back");
        assert!(after(500, 60_000), "asleep for a minute");
        assert!(after(20_000, 20_000), "held for as long");
    }
}
