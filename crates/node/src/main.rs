//! The `hutong` command.

use std::process::ExitCode;

use hutong_node::cli;

/// The system's allocator took a seventh of a redemption's time, most of it in putting together what sled's threads had
/// freed (`crates/adr/0029`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
