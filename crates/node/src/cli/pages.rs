//! `hutong man`: manual pages, one a command, made from the command line's own help.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use serde_json::json;

use super::{Cli, output::Answer};

/// Where to.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hutong man --output /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// A folder; it is made where it does not exist, and pages of the same names are replaced.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

pub(crate) fn run(args: &ManArgs) -> anyhow::Result<Answer> {
    fs::create_dir_all(&args.output).with_context(|| args.output.display().to_string())?;
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, &args.output).with_context(|| args.output.display().to_string())?;
    let mut pages = Vec::new();
    for entry in fs::read_dir(&args.output)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        if name.starts_with("hutong") && name.ends_with(".1") {
            pages.push(name);
        }
    }
    pages.sort_unstable();
    let text = format!("{}: {}", args.output.display(), pages.len());
    Ok(Answer::new(json!({ "path": args.output, "pages": pages }), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("man1");
        run(&ManArgs { output: output.clone() }).unwrap();
        for page in ["hutong.1", "hutong-serve.1", "hutong-voucher-redeem.1", "hutong-man.1"] {
            let text = fs::read_to_string(output.join(page)).unwrap();
            assert!(text.contains(".TH ") && text.contains("SYNOPSIS"), "{page}");
        }
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(run(&ManArgs { output: file }).is_err());
    }
}
