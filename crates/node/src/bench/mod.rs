//! `hutong bench`: what this machine can do, measured. Nothing here is a test: figures are printed, not judged.

mod append;
mod equal;
mod fanout;
mod figures;
mod growth;
mod idle;
mod ingest;
mod limit;
mod machine;
mod missing;
mod pair;
mod rebuild;
mod redeem;
mod relay;
mod report;
mod scene;
mod street;
mod sync;

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
    /// A peer's records, verified, folded and durable, from 1 log and from 20.
    Ingest,
    /// Redemptions over gRPC, durable when answered, from 1, 16 and 64 tills.
    Redeem,
    /// Records from one node to another over TLS: cold, a few new ones, none.
    Sync,
    /// 10,000 records from one node to another, as `tests/compare` has others do it.
    Handover,
    /// Views folded anew from the journal.
    Rebuild,
    /// Credit by Shapley and Markov, and netting, at their largest.
    Report,
    /// Until every shop of a simulated street holds a record.
    Fanout,
    /// A node with nothing to do, and one that opens on many records.
    Idle,
    /// How the figures grow with the size.
    Growth,
    /// All of them.
    All,
}

/// Each measurement by its name, in the order of a run of all.
const MEASURES: [(Measure, &str); 11] = [
    (Measure::Limit, "limit"),
    (Measure::Ingest, "ingest"),
    (Measure::Sync, "sync"),
    (Measure::Handover, "handover"),
    (Measure::Rebuild, "rebuild"),
    (Measure::Append, "append"),
    (Measure::Redeem, "redeem"),
    (Measure::Report, "report"),
    (Measure::Fanout, "fanout"),
    (Measure::Idle, "idle"),
    (Measure::Growth, "growth"),
];

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
    /// Leaves out what takes a million records.
    #[arg(long)]
    quick: bool,
    /// Where the data goes; removed afterwards [default: the folder for temporary files].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Where and how often.
#[derive(Debug)]
struct Plan {
    runs: u32,
    quick: bool,
    home: scene::Home,
}

/// Measures, and answers with the figures.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<Answer> {
    let plan = Plan { runs: args.runs, quick: args.quick, home: scene::Home::create(args.dir)? };
    let mut figures = Map::new();
    for (measure, name) in MEASURES {
        if args.measure == measure || args.measure == Measure::All {
            tracing::info!(name, "measuring");
            let figure = match plan.measure(measure).await {
                Err(error) if args.measure == Measure::All => {
                    tracing::error!(name, %error, "not measured; the others are");
                    json!({ "failed": format!("{error:#}") })
                }
                outcome => outcome?,
            };
            figures.insert(name.into(), figure);
        }
    }
    let value = json!({ "machine": machine::facts(&plan.home), "runs": plan.runs, "figures": figures });
    let text = text(&value);
    Ok(Answer::new(value, text))
}

impl Plan {
    async fn measure(&self, measure: Measure) -> anyhow::Result<Value> {
        match measure {
            Measure::Limit => limit::measure(self),
            Measure::Append => append::measure(self).await,
            Measure::Ingest => ingest::measure(self).await,
            Measure::Redeem => Box::pin(redeem::measure(self)).await,
            Measure::Sync => Box::pin(sync::measure(self)).await,
            Measure::Handover => Box::pin(sync::handover(self)).await,
            Measure::Rebuild => rebuild::measure(self).await,
            Measure::Report => report::measure(self),
            Measure::Fanout => fanout::measure(self),
            Measure::Idle => Box::pin(idle::measure(self)).await,
            Measure::Growth => Box::pin(growth::measure(self)).await,
            Measure::All => Ok(Value::Null),
        }
    }
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
