//! `hutong sim`: streets of shops under seeded faults, in memory.

use std::{num::NonZero, ops::RangeInclusive, process::ExitCode, str::FromStr};

use clap::Args;
use hutong_sim::{
    Config, FaultCounts, FaultKind, FaultSet, Figures, RunReport, SHOPS_MAX, SHOPS_MIN, shrink,
};
use serde_json::{Value, json};

use super::{
    Globals,
    output::{Answer, table},
};

const SEEDS_MAX: u64 = 1_000_000;
const DAYS_MAX: u32 = 60;
const REDEMPTIONS_MAX: u32 = 10_000_000;
/// More threads than any machine has cores; each may hold a street of gigabytes.
const JOBS_MAX: i64 = 1_024;

/// What to simulate.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hutong sim --seed 7                                    one street of 50 shops, three days
  hutong sim --seeds 1..100 --redemptions 10000 --json   a hundred of them, on all cores
  hutong sim --seed 7 --shops 6 --days 1 --faults power-cut,partition

The same seed with the same options gives the same run and the same trace. Nothing is read from or written to the data
folder. A run that breaks a promise is repeated with less as long as the promise still breaks, and the command for the
smallest one is printed; then the exit code is 1.")]
pub(crate) struct SimArgs {
    /// One seed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Seeds from the first to the last, as in 1..100.
    #[arg(long, value_name = "FIRST..LAST", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// How many shops.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(SHOPS_MIN as u64..=SHOPS_MAX as u64))]
    shops: u64,
    /// For how many days faults are on.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    days: u32,
    /// How many times customers show a voucher, in each run.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(REDEMPTIONS_MAX)))]
    redemptions: u32,
    /// What may go wrong: all, none, or names with commas between.
    #[arg(long, default_value = "all")]
    faults: Faults,
    /// How many runs to spend on making a failure smaller; 0: none.
    #[arg(long, value_name = "RUNS", default_value_t = 60)]
    shrink: u32,
    /// How many runs at a time, each in a thread of its own [default: one a core]. What they come to does not depend on it.
    #[arg(long, alias = "threads", value_name = "RUNS", value_parser = clap::value_parser!(u16).range(1..=JOBS_MAX))]
    jobs: Option<u16>,
    /// A bug to plant.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_parser = |text: &str| text.parse::<hutong_sim::Bug>().map_err(|()| "no such bug"))]
    plant: Option<hutong_sim::Bug>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seeds(RangeInclusive<u64>);

impl FromStr for Seeds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once("..").ok_or("write it as 1..100")?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| "a seed is a number");
        let (first, last) = (number(first)?, number(last)?);
        let count = last.checked_sub(first).ok_or("the first seed is above the last")?;
        if count < SEEDS_MAX { Ok(Self(first..=last)) } else { Err("too many seeds") }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Faults(FaultSet);

impl FromStr for Faults {
    type Err = hutong_sim::UnknownFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "all" => FaultSet::all(),
            "none" => FaultSet::NONE,
            names => names.split(',').map(str::parse::<FaultKind>).collect::<Result<_, _>>()?,
        }))
    }
}

impl SimArgs {
    fn config(&self, seed: u64) -> Config {
        Config {
            shops: usize::try_from(self.shops).unwrap_or(SHOPS_MAX),
            days: self.days,
            redemptions: self.redemptions,
            faults: self.faults.0,
            #[cfg(feature = "planted-bugs")]
            plant: self.plant,
            ..Config::new(seed)
        }
    }
}

pub(crate) async fn run(globals: &Globals, args: SimArgs) -> anyhow::Result<Answer> {
    let output = globals.output();
    tokio::task::spawn_blocking(move || {
        let seeds = args.seeds.clone().map_or(args.seed..=args.seed, |seeds| seeds.0);
        let configs: Vec<_> = seeds.map(|seed| args.config(seed)).collect();
        let jobs = args.jobs.and_then(|jobs| NonZero::new(usize::from(jobs)));
        let jobs = jobs.or_else(|| std::thread::available_parallelism().ok());
        let jobs = jobs.unwrap_or(NonZero::<usize>::MIN);
        let reports = hutong_sim::run_seeds(&configs, jobs, |report| output.note(&progress(report)));
        let failures = failures(&configs, &reports, args.shrink);
        let code = if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        Ok(answer(&reports, &failures).exiting(code))
    })
    .await?
}

/// A run that broke a promise, and the command for the smallest one found that does.
struct Failure {
    seed: u64,
    what: String,
    command: String,
    smallest: Option<String>,
}

fn failures(configs: &[Config], reports: &[RunReport], tries_max: u32) -> Vec<Failure> {
    let failure = |(config, report): (&Config, &RunReport)| {
        let violation = report.violation.as_ref()?;
        let smallest = shrink(config, violation.invariant, tries_max).map(|s| s.config.to_string());
        let (seed, what, command) = (report.seed, violation.to_string(), config.to_string());
        Some(Failure { seed, what, command, smallest })
    };
    configs.iter().zip(reports).filter_map(failure).collect()
}

fn progress(report: &RunReport) -> String {
    let outcome = report.violation.as_ref().map_or_else(|| "sound".to_owned(), ToString::to_string);
    format!("seed {}: {outcome}, trace {}", report.seed, &report.trace[..16])
}

fn answer(reports: &[RunReport], failures: &[Failure]) -> Answer {
    let mut figures = Figures::default();
    let mut faults = FaultCounts::default();
    for report in reports {
        figures.merge(&report.figures);
        faults.merge(&report.faults);
    }
    let total = json!({ "runs": reports.len(), "figures": figures, "faults": faults });
    let json = json!({
        "runs": reports,
        "total": total,
        "failures": failures.iter().map(failure_json).collect::<Vec<_>>(),
    });
    Answer::new(json, text(&figures, &faults, reports.len(), failures))
}

fn failure_json(failure: &Failure) -> Value {
    let Failure { seed, what, command, smallest } = failure;
    json!({ "seed": seed, "what": what, "command": command, "smallest_command": smallest })
}

fn text(figures: &Figures, faults: &FaultCounts, runs: usize, failures: &[Failure]) -> String {
    let Ok(Value::Object(figures)) = serde_json::to_value(figures) else { return String::new() };
    let mut rows = vec![["runs".to_owned(), runs.to_string()]];
    rows.extend(figures.into_iter().map(|(name, value)| [name.replace('_', " "), value.to_string()]));
    let faults = faults.iter().map(|(name, count)| [name.to_owned(), count.to_string()]).collect();
    let mut text = format!("{}\n\n{}", table(["figure", "sum"], rows), table(["fault", "struck"], faults));
    for Failure { seed, what, command, smallest } in failures {
        let replay = smallest.as_ref().unwrap_or(command);
        text = format!("{text}\n\nseed {seed}: {what}\nreplay: {replay}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_that_is_not_empty() {
        assert_eq!("3..5".parse(), Ok(Seeds(3..=5)));
        assert!("5..3".parse::<Seeds>().is_err());
        assert!("5".parse::<Seeds>().is_err());
        assert!("0..99999999".parse::<Seeds>().is_err());
    }

    #[test]
    fn jobs_are_at_least_one_and_left_out_they_are_the_cores() {
        use clap::Parser as _;
        let jobs = |words: &str| {
            let cli = crate::cli::Cli::try_parse_from(words.split(' ')).ok()?;
            let crate::cli::Command::Sim(args) = cli.command else { panic!("{words}") };
            Some(args.jobs)
        };
        assert_eq!(jobs("hutong sim --seed 3 --jobs 4"), Some(Some(4)));
        assert_eq!(jobs("hutong sim --seed 3"), Some(None));
        assert_eq!(jobs("hutong sim --seed 3 --jobs 0"), None);
        assert_eq!(jobs("hutong sim --seed 3 --jobs 1025"), None);
    }

    #[test]
    fn faults_are_named_one_by_one_or_as_a_set() {
        assert_eq!("none".parse(), Ok(Faults(FaultSet::NONE)));
        let two = [FaultKind::PowerCut, FaultKind::Repeat].into_iter().collect();
        assert_eq!("power-cut,repeat".parse(), Ok(Faults(two)));
        assert!("rain".parse::<Faults>().is_err());
    }

    #[test]
    fn the_command_of_a_run_is_one_that_this_command_line_understands() {
        use clap::Parser as _;
        let config = Config { faults: [FaultKind::Repeat].into_iter().collect(), ..Config::new(9) };
        let words = config.to_string();
        let cli = crate::cli::Cli::try_parse_from(words.split(' ')).unwrap();
        let crate::cli::Command::Sim(args) = cli.command else { panic!("{words}") };
        assert_eq!(args.config(9), config);
    }
}
