//! Placeholder.

use crate::{config::Config, data_folder::DataFolder};

/// Runs the node until it is told to stop.
pub async fn run(_data: DataFolder, _config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the node is not built in")
}
