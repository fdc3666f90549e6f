//! The `hutong` command.

use std::process::ExitCode;

use hutong_node::cli;

fn main() -> ExitCode {
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(arguments)),
        Err(error) => cli::fail(&arguments, &anyhow::Error::new(error).context("threads cannot be started")),
    }
}
