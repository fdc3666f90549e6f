//! What the node counts of itself, for Prometheus: its own listen address, text in the OpenMetrics format.
//!
//! `table` names every metric once; the fields, the exposition and `deploy/METRICS.md` come from it. Counters and
//! histograms are moved where things happen; gauges are taken when somebody asks (`sample`).

pub(crate) mod calls;
mod listener;
pub(crate) mod process;
pub(crate) mod sample;
mod table;
#[cfg(test)]
mod tests;

pub use listener::serve;
pub use sample::Sampler;
pub(crate) use table::{
    CallLabels, CommandLabels, DialLabels, DialOutcome, Direction, DirectionLabels, FrameLabels,
    IngestLabels, NameLabels, Outcome, ReasonLabels, command_name,
};
pub use table::{Kind, Metrics, Row, TABLE};

use prometheus_client::{encoding::text::encode, registry::Registry};

/// The metrics of one node, and what writes them out.
#[derive(Debug)]
pub struct Exposition {
    /// To count with.
    pub metrics: std::sync::Arc<Metrics>,
    registry: Registry,
}

impl Default for Exposition {
    fn default() -> Self {
        let mut registry = Registry::default();
        let metrics = std::sync::Arc::new(Metrics::registered(&mut registry));
        Self { metrics, registry }
    }
}

impl Exposition {
    /// All metrics as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes any text");
        text
    }
}

/// `deploy/METRICS.md`.
pub fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\nEverything that a node tells at `metrics.listen` (`/metrics`, OpenMetrics text). This page is \
         written from the table in the code; a test compares the two.\n\nLabels: `alliance`, `member` and `peer` are \
         the first eight digits of an id. A node is in at most 16 alliances; of members at most 32 are listed, those \
         that have been silent longest.\n\n| metric | kind | labels | what |\n| --- | --- | --- | --- |\n",
    );
    for row in TABLE {
        let labels: Vec<_> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        text.push_str(&format!("| `{}` | {} | {labels} | {} |\n", row.name, row.kind.word(), row.help));
    }
    text
}
