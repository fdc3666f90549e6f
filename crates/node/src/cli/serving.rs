//! `hutong serve`: configuration and logging, then the node.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use super::{Globals, output::Answer};
use crate::{
    config::{Config, Log, LogFormat},
    data_folder::DataFolderError,
    reload::LogFilter,
    serve,
};

pub(crate) async fn run(globals: &Globals) -> anyhow::Result<Answer> {
    let data = globals.data()?;
    if !data.is_set_up() {
        return Err(DataFolderError::Missing(data.path().to_owned()).into());
    }
    let config = Config::load(&data.config_file())?;
    let log = start_logging(&config.log)?;
    Box::pin(serve::run(data, config, log)).await?;
    Ok(Answer::done(ExitCode::SUCCESS))
}

/// Log lines go to stderr; stdout is for answers. What they are about can be changed later.
fn start_logging(log: &Log) -> anyhow::Result<LogFilter> {
    let filter = EnvFilter::try_new(&log.filter).context("log.filter")?;
    // Colours in a file or a service manager's log would be noise.
    let colours = io::stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
    let (set_up, handle) = match log.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), LogFilter::new(move |filter| Ok(handle.reload(filter)?)))
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), LogFilter::new(move |filter| Ok(handle.reload(filter)?)))
        }
    };
    set_up.map_err(|error| anyhow::anyhow!("logging cannot be set up: {error}"))?;
    Ok(handle)
}
