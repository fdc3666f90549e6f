//! Placeholder.

use std::process::ExitCode;

/// How to run the demonstration.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}

/// Runs the demonstration.
pub async fn run(_args: DemoArgs, _json: bool) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the demonstration is not built in")
}
