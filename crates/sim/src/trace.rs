//! The trace: a hash over every event of a run, in order. Two runs with the same hash are the same run.

/// A running hash over events.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    events: u64,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { hasher: blake3::Hasher::new_derive_key("hutong 2026 simulation trace"), events: 0 }
    }

    /// Takes in an event: its time, its name, its numbers.
    pub(crate) fn event(&mut self, at_ms: i64, name: &'static str, numbers: &[u64]) {
        self.events += 1;
        self.hasher.update(&at_ms.to_be_bytes());
        self.hasher.update(name.as_bytes());
        self.hasher.update(&[0xff]);
        for number in numbers {
            self.hasher.update(&number.to_be_bytes());
        }
    }

    /// Takes in bytes that belong to the last event.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(crate) fn event_count(&self) -> u64 {
        self.events
    }

    pub(crate) fn digest(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}
