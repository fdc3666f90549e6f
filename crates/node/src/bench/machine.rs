//! What a figure was measured on, as far as the system tells.

use std::thread::available_parallelism;

use serde_json::{Value, json};

use super::scene::Home;

/// Processor, cores, system, this program's version and build.
pub(super) fn facts(home: &Home) -> Value {
    json!({
        "processor": processor(),
        "cores": available_parallelism().map_or(1, usize::from),
        "system": read("/proc/sys/kernel/osrelease"),
        "memory_kb": field("/proc/meminfo", "MemTotal:").and_then(|kb| kb.split(' ').next()?.parse::<u64>().ok()),
        "folder": home.path().display().to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

/// The most memory that this process has held, bytes; none where the system does not tell.
pub(super) fn memory_peak_bytes() -> Option<u64> {
    let kb = field("/proc/self/status", "VmHWM:")?;
    kb.split(' ').next()?.parse::<u64>().ok().map(|kb| kb * 1_024)
}

fn processor() -> Option<String> {
    field("/proc/cpuinfo", "model name\t:").or_else(|| field("/proc/cpuinfo", "Model\t\t:"))
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}
