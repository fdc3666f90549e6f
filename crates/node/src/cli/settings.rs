//! `hutong config`.

use clap::Subcommand;
use serde_json::json;

use super::{Globals, output::Answer};
use crate::{config::Config, merchant};

/// `hutong config …`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether file and environment make a valid configuration, and certificate and key fit each other.
    #[command(after_help = "Example:\n  HUTONG_PEER__LISTEN=0.0.0.0:8710 hutong config check")]
    Check,
    /// Show the settings in force: the file, with what the environment overrides.
    Show,
}

pub(crate) fn run(globals: &Globals, command: ConfigCommand) -> anyhow::Result<Answer> {
    let path = globals.data()?.config_file();
    let config = Config::load(&path)?;
    Ok(match command {
        ConfigCommand::Check => {
            merchant::load_tls(&config.merchant)?;
            Answer::new(json!({ "path": path, "valid": true }), format!("{} is valid", path.display()))
        }
        ConfigCommand::Show => Answer::new(json!({ "path": path, "config": config }), config.to_toml()),
    })
}
