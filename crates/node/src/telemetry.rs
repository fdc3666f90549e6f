//! What a node tells of its own work to whoever watches: counts, and spans where a collector is configured.

use std::sync::Arc;

use crate::{metrics::Metrics, trace::Spans};

/// Handed to every part that has something to count.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Traces; none where they are off.
    pub spans: Option<Spans>,
}

/// Counts that nobody asks for, and no traces.
impl Default for Telemetry {
    fn default() -> Self {
        Self { metrics: crate::metrics::Exposition::default().metrics, spans: None }
    }
}
