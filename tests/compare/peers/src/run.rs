//! One run's figures, as its newcomer measured them.

use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// How long a newcomer took, and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub(crate) seconds: f64,
    pub(crate) wire_bytes: u64,
    pub(crate) memory_peak_bytes: u64,
}

impl Run {
    /// A run that began at `start` and ends now, with the bytes that went either way.
    ///
    /// # Errors
    ///
    /// The system does not tell the peak memory.
    pub fn ending_now(start: Instant, wire_bytes: u64) -> Result<Self> {
        let seconds = start.elapsed().as_secs_f64();
        Ok(Self { seconds, wire_bytes, memory_peak_bytes: memory_peak_bytes()? })
    }
}

/// The most memory that this process had resident so far.
fn memory_peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>().with_context(|| format!("VmHWM:{line}"))?;
    Ok(kib * 1024)
}
