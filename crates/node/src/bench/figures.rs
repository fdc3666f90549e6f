//! Medians, spreads and percentiles of what was measured.

use std::time::Duration;

use serde_json::{Value, json};

/// One figure over several runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Series(Vec<f64>);

impl Series {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value below which a share of the values lies; 0 of nothing.
    pub(super) fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let place = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(place).copied().unwrap_or_default()
    }

    pub(super) fn median(&self) -> f64 {
        self.percentile(0.5)
    }

    /// Median, least and most.
    pub(super) fn json(&self) -> Value {
        let [median, min, max] = [0.5, 0.0, 1.0].map(|share| round(self.percentile(share)));
        json!({ "median": median, "min": min, "max": max })
    }
}

/// How long each of many operations took.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies(Series);

impl Latencies {
    pub(super) fn push(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1e3);
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.0.0.extend(others.0.0);
    }

    pub(super) fn count(&self) -> usize {
        self.0.0.len()
    }

    pub(super) fn ms(&self, share: f64) -> f64 {
        self.0.percentile(share)
    }
}

/// Operations a second.
#[allow(clippy::cast_precision_loss)]
pub(super) fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// To four significant digits: more is noise.
pub(super) fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends_are_found() {
        let mut series = Series::default();
        for value in [5.0, 1.0, 3.0, 2.0, 4.0] {
            series.push(value);
        }
        assert_eq!(series.json(), json!({ "median": 3.0, "min": 1.0, "max": 5.0 }));
        assert_eq!(Series::default().median().to_bits(), 0f64.to_bits());
    }

    #[test]
    fn four_digits_are_kept() {
        assert_eq!(round(123_456.0).to_bits(), 123_500f64.to_bits());
        assert!((round(0.012_345_6) - 0.012_35).abs() < 1e-12);
    }
}
