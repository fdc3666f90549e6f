//! `hutong demo`: thirteen shops of one street as thirteen processes, fed with real-shaped visits.
//!
//! The demo speaks to its nodes as a till does, over the merchant API alone. It keeps books of its own from their
//! answers, breaks things on purpose, and holds the nodes' reports against its books in the end.
//!
//! | file | what it is |
//! | --- | --- |
//! | `street` | the data: shops and visits |
//! | `plan` | the promotions |
//! | `chance` | cards and habits, by seed |
//! | `home`, `nodes` | folders and processes |
//! | `link`, `reason` | a till's line to its node; why a node refused |
//! | `setup` | alliance, members, promotions |
//! | `replay`, `till`, `wallet` | customers, tills, vouchers in pockets |
//! | `faults` | what goes wrong on purpose |
//! | `ledger`, `gather`, `audit` | the demo's books, the nodes' books, the comparison |
//! | `settlement` | what is owed in the end, and what of it cancels |
//! | `report` | what is shown |

mod audit;
mod chance;
#[cfg(test)]
mod fake;
mod faults;
mod gather;
mod home;
mod ledger;
mod link;
mod nodes;
mod pair_books;
mod plan;
mod reason;
mod replay;
mod report;
mod settlement;
mod setup;
mod street;
mod till;
mod wallet;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use hutong_record::{DAY_MS, UnixMillis};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{sync::mpsc, time::Instant};

use self::{
    audit::{Evidence, audit},
    chance::Chance,
    faults::FaultLog,
    home::Home,
    ledger::{Books, Ledger},
    nodes::Fleet,
    plan::Baskets,
    replay::{Span, Street},
    report::{Report, Times},
    settlement::Settlement,
    street::{DAYS_ALL, EmbeddedVisits, FIRST_DAY, Shop},
};

/// Days that are replayed unless told otherwise: January 2017.
const DAYS_DEFAULT: u32 = 31;

/// How the street is shown.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Replay all six months instead of the first one
    #[arg(long, conflicts_with = "days")]
    pub all: bool,
    /// Replay this many days, from 1 January 2017 on
    #[arg(long, value_name = "N", default_value_t = DAYS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_ALL)))]
    pub days: u32,
    /// Leave the nodes running afterwards, with their data in DIR (a new or empty folder; default: a temporary one)
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    #[allow(clippy::option_option, reason = "absent, without a value, with one")]
    pub keep: Option<Option<PathBuf>>,
    /// Do not kill a node and do not cut one off
    #[arg(long)]
    pub no_faults: bool,
    /// Decides the customers' cards and habits
    #[arg(long, value_name = "SEED", default_value_t = 2017)]
    pub seed: u64,
}

impl DemoArgs {
    fn days(&self) -> u32 {
        if self.all { DAYS_ALL } else { self.days }
    }
}

/// Opens the street, replays the visits, checks every promise and shows the result. The exit code is a failure where
/// a promise was broken; the broken ones are named on the standard error stream.
///
/// # Errors
/// A node does not start, stays down or fails without a stable reason; the demo was interrupted.
pub async fn run(args: DemoArgs, json: bool) -> anyhow::Result<ExitCode> {
    let mut home = Home::new(args.keep.as_ref().and_then(Option::as_deref))?;
    let mut fleet = Fleet::default();
    let outcome = tokio::select! {
        report = Box::pin(show(&args, home.path(), &mut fleet)) => report,
        error = interrupted() => Err(error),
    };
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            fleet.stop().await;
            if !error.is::<Interrupted>() {
                home.keep();
                tell(&format!("The nodes' data and logs stay in {}", home.path().display()));
            }
            return Err(error);
        }
    };
    let mut out = std::io::stdout().lock();
    if json {
        report.write_json(&mut out)?
    } else {
        report.write_text(&mut out)?
    }
    out.flush()?;
    drop(out);
    for failure in report.invariants_failed() {
        tell(&format!("BROKEN {failure}"));
    }
    let well = report.invariants_failed().is_empty();
    if !well {
        home.keep();
        tell(&format!("The nodes' data and logs stay in {}", home.path().display()));
    }
    if args.keep.is_some() {
        home.keep();
        tell_how_to_go_on(home.path(), &fleet.release())?;
    } else {
        fleet.stop().await;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn show(args: &DemoArgs, home: &Path, fleet: &mut Fleet) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let baskets = Baskets::of(EmbeddedVisits::embedded(args.days()))?;
    let span = Span { days: args.days(), visits: baskets.count() };
    let street = Arc::new(open(args, home, fleet, &baskets).await?);
    let setup = begun.elapsed();

    let begun = Instant::now();
    let (ledger, faults) = replay(args, fleet, &street, span).await?;
    street.bar.finish_and_clear();
    let replay = begun.elapsed();

    let begun = Instant::now();
    gather::settle(&street.links).await?;
    let times = Times { setup, replay, settle: begun.elapsed() };

    // The last millisecond of the last day: no voucher ends between two whole seconds.
    let as_of = UnixMillis::EPOCH.saturating_add_ms(FIRST_DAY + i64::from(span.days) * DAY_MS - 1);
    let nodes = gather::books(&street.links, as_of).await?;
    let evidence = Evidence {
        books: &Books::of(&ledger, &street.offers, as_of),
        ledger: &ledger,
        offers: &street.offers,
        nodes: &nodes,
        shop_of: &street.shop_of,
        killed: faults.killed,
    };
    let mut findings = audit(&evidence);
    let pairs = audit::balances(&evidence);
    let debts: Vec<_> =
        pairs.iter().filter_map(|pair| settlement::debt(pair.shop, pair.ally, pair.cents)).collect();
    let settled = Settlement::of(&debts)?.on_record(&street.links, &street.shop_of, &pairs).await?;
    settled.check(&mut findings.violations);
    let books = pair_books::read(&street.links, &street.shop_of).await?;
    pair_books::check(&books, &mut findings.violations);
    Ok(Report::new(span, times, &evidence, findings, faults, (settled, books)))
}

/// Starts the nodes, founds the alliance and publishes the promotions.
async fn open(args: &DemoArgs, home: &Path, fleet: &mut Fleet, baskets: &Baskets) -> anyhow::Result<Street> {
    let bar = progress_bar(baskets.count())?;
    bar.set_message("starting 13 nodes");
    fleet.start(home).await?;
    let links = fleet.links();
    let shop_ids = setup::shop_ids(&links).await?;
    bar.set_message("founding the alliance");
    setup::found_alliance(&links).await?;
    bar.set_message("publishing promotions");
    let offers = plan::offers(baskets, args.days());
    let offer_of = setup::publish(&links, &shop_ids, &offers, args.days()).await?;
    bar.set_message("visits");
    Ok(Street {
        links,
        shop_of: shop_ids.into_iter().zip(Shop::all()).collect(),
        offers,
        offer_of,
        chance: Chance::new(args.seed),
        acknowledged: Default::default(),
        bar,
    })
}

/// Visits and faults side by side; the first to fail ends both.
async fn replay(
    args: &DemoArgs,
    fleet: &mut Fleet,
    street: &Arc<Street>,
    span: Span,
) -> anyhow::Result<(Ledger, FaultLog)> {
    if args.no_faults {
        return Ok((replay::run(street.clone(), span, None).await?, FaultLog::default()));
    }
    // One moment waits while another is dealt with: there are three in all.
    let (moments, due) = mpsc::channel(1);
    let visits = replay::run(street.clone(), span, Some(moments));
    tokio::try_join!(visits, faults::run(fleet, street, due))
}

/// Drawn on the standard error stream, and only where that is a terminal.
fn progress_bar(visits: usize) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(u64::try_from(visits)?);
    bar.set_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}")?);
    Ok(bar)
}

/// Somebody has seen enough.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: the nodes were ended")]
struct Interrupted;

/// Waits for Ctrl-C, or for a polite request to end.
async fn interrupted() -> anyhow::Error {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
            }
            Err(error) => return error.into(),
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
    Interrupted.into()
}

fn tell_how_to_go_on(home: &Path, pids: &[u32]) -> anyhow::Result<()> {
    if pids.is_empty() {
        bail!("no node is left running");
    }
    let program = std::env::current_exe().context("where is this program?")?;
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    tell("The thirteen nodes go on. Try, for example:");
    for (shop, command) in [("grocer", "status"), ("grocer", "members"), ("butcher", "pairs")] {
        tell(&format!("  {} --data {} {command}", program.display(), home.join(shop).display()));
    }
    tell(&format!("End them with: kill {}", pids.join(" ")));
    Ok(())
}

/// A line on the standard error stream. Nobody is left to tell if that fails.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(args: &[&str]) -> Result<DemoArgs, clap::Error> {
        Command::try_parse_from([&["demo"], args].concat()).map(|c| c.demo)
    }

    #[test]
    fn january_is_replayed_unless_told_otherwise() {
        assert_eq!(parse(&[]).unwrap().days(), 31);
        assert_eq!(parse(&["--all"]).unwrap().days(), 181);
        assert_eq!(parse(&["--days", "3"]).unwrap().days(), 3);
        assert!(parse(&["--days", "182"]).is_err());
        assert!(parse(&["--all", "--days", "3"]).is_err());
    }

    #[test]
    fn keep_takes_a_folder_or_none() {
        assert_eq!(parse(&[]).unwrap().keep, None);
        assert_eq!(parse(&["--keep"]).unwrap().keep, Some(None));
        assert_eq!(parse(&["--keep", "street"]).unwrap().keep, Some(Some("street".into())));
    }
}
