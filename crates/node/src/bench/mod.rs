//! `hutong bench`: what this machine can do, measured. Nothing here is a test: figures are printed, not judged.

mod append;
mod figures;
mod limit;
mod machine;
mod redeem;
mod scene;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::Answer;

/// Runs of each measurement, unless the command line says otherwise: enough for a median and a spread.
const RUNS_DEFAULT: u32 = 5;
const RUNS_MAX: u32 = 1_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// The bare loop that nothing can beat: hash, chain, one signature in 256, append, fdatasync.
    Limit,
    /// Signed records made durable by this node, from 1 writer and from 64.
    Append,
    /// Redemptions over gRPC, durable when answered, from 1, 16 and 64 tills.
    Redeem,
    /// All of them.
    All,
}

/// How it is measured.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hutong bench redeem --json\n\nData lies below --dir, which should be on the \
                        disk that the node will use."
)]
pub(crate) struct BenchArgs {
    /// What to measure.
    #[arg(value_enum)]
    measure: Measure,
    /// Runs of each.
    #[arg(long, default_value_t = RUNS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(RUNS_MAX)))]
    runs: u32,
    /// Where the data goes; removed afterwards [default: the folder for temporary files].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Where and how often.
#[derive(Debug)]
struct Plan {
    runs: u32,
    home: scene::Home,
}

/// Measures, and answers with the figures.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<Answer> {
    let plan = Plan { runs: args.runs, home: scene::Home::create(args.dir)? };
    let mut figures = Map::new();
    let wants = |measure| args.measure == measure || args.measure == Measure::All;
    if wants(Measure::Limit) {
        figures.insert("limit".into(), limit::measure(&plan)?);
    }
    if wants(Measure::Append) {
        figures.insert("append".into(), append::measure(&plan).await?);
    }
    if wants(Measure::Redeem) {
        figures.insert("redeem".into(), Box::pin(redeem::measure(&plan)).await?);
    }
    let value = json!({ "machine": machine::facts(&plan.home), "runs": plan.runs, "figures": figures });
    let text = text(&value);
    Ok(Answer::new(value, text))
}

/// One line a figure, the path to it first.
fn text(value: &Value) -> String {
    let mut lines = Vec::new();
    flatten("", value, &mut lines);
    lines.join("\n")
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    let Value::Object(entries) = value else {
        lines.push(format!("{path}: {value}"));
        return;
    };
    for (name, entry) in entries {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        flatten(&path, entry, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_each_figure_by_its_path() {
        let value = json!({ "runs": 5, "figures": { "limit": { "median": 1.5 } } });
        assert_eq!(text(&value), "figures.limit.median: 1.5\nruns: 5");
    }
}
