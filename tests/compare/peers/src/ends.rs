//! Two ends as processes of their own: one holds the records, the other, which has none, joins it. A third starts both
//! anew for each run and prints the line for the table. A run that fails is counted and repeated, as often as there are runs.
//!
//! ```text
//! PROGRAM FOLDER RECORDS BYTES RUNS             all runs; the line for the table
//! PROGRAM hold FOLDER RECORDS BYTES             prints where it is, serves until its standard input ends
//! PROGRAM join FOLDER RECORDS BYTES ADDRESS     prints its figures
//! ```

use std::{
    future::Future,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::{Run, Work};

/// A run that takes longer has failed: it takes seconds on an idle core.
const JOIN_MAX: Duration = Duration::from_secs(600);

/// What the table says of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name with its version.
    pub name: String,
    /// What the newcomer checks.
    pub verifies: &'static str,
    /// What its disk holds when the clock stops.
    pub durable: &'static str,
}

/// A system that hands records from one end to another.
pub trait Peer {
    /// What the table says of it.
    fn describe() -> Description;

    /// Writes the records into a new store, calls `announce` with what the other end needs to find this one, and serves
    /// until the process ends.
    ///
    /// # Errors
    ///
    /// Whatever the peer reports.
    fn hold(work: &Work, announce: impl FnOnce(&str)) -> impl Future<Output = Result<()>>;

    /// Gets all records from the end at `address` into a new store, then checks that all are there. The clock runs from
    /// the first look for the other end until all is stored.
    ///
    /// # Errors
    ///
    /// Whatever the peer reports, or records are missing.
    fn join(work: &Work, address: &str) -> impl Future<Output = Result<Run>>;
}

/// The main function of a peer's program.
pub fn main_of<P: Peer>() -> ExitCode {
    match act::<P>(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act<P: Peer>(arguments: &[String]) -> Result<()> {
    match arguments {
        [task, work @ ..] if task == "hold" => hold::<P>(&Work::parse(work)?),
        [task, work @ .., address] if task == "join" => join::<P>(&Work::parse(work)?, address),
        [work @ .., runs] => compare::<P>(&Work::parse(work)?, runs.parse().context("RUNS")?),
        [] => bail!("expected FOLDER RECORDS BYTES RUNS"),
    }
}

fn hold<P: Peer>(work: &Work) -> Result<()> {
    std::thread::spawn(|| {
        // Ends with the process that started this one, however that ends.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    runtime()?.block_on(P::hold(work, |address| println!("{address}")))
}

fn join<P: Peer>(work: &Work, address: &str) -> Result<()> {
    let run = runtime()?.block_on(async {
        tokio::time::timeout(JOIN_MAX, P::join(work, address))
            .await
            .with_context(|| format!("not done after {} s", JOIN_MAX.as_secs()))?
    })?;
    println!("{}", serde_json::to_string(&run)?);
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")
}

fn compare<P: Peer>(work: &Work, runs: usize) -> Result<()> {
    ensure!(runs > 0, "RUNS is at least 1");
    let mut ended = Vec::with_capacity(runs);
    let mut failed = 0;
    while ended.len() < runs {
        match once(work, ended.len() + failed) {
            Ok(run) => ended.push(run),
            Err(error) if failed < runs => {
                eprintln!("a run failed, and is repeated: {error:#}");
                failed += 1;
            }
            Err(error) => return Err(error.context("as many runs failed as were wanted")),
        }
    }
    println!("{}", line(&P::describe(), &ended, failed));
    Ok(())
}

fn once(work: &Work, number: usize) -> Result<Run> {
    let work = work.within(format!("run-{number}"))?;
    let holder = Holder::start(&work.within("holder")?)?;
    let output = this_program("join", &work.within("newcomer")?)?
        .arg(&holder.address)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start the newcomer")?;
    ensure!(output.status.success(), "the newcomer ended with {}", output.status);
    drop(holder);
    std::fs::remove_dir_all(&work.folder)
        .with_context(|| format!("cannot remove {}", work.folder.display()))?;
    serde_json::from_slice(&output.stdout).context("the newcomer's figures")
}

fn this_program(task: &str, work: &Work) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("no path to this program")?);
    command.arg(task).args(work.arguments());
    Ok(command)
}

/// The end that holds the records; it stops when this is dropped.
struct Holder {
    process: Child,
    stdin: Option<ChildStdin>,
    address: String,
}

impl Holder {
    /// Returns when the records are written and can be asked for.
    fn start(work: &Work) -> Result<Self> {
        let mut process = this_program("hold", work)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the holder")?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().context("the holder has no output")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address).context("the holder's address")?;
        let address = address.trim().to_owned();
        let holder = Self { process, stdin, address };
        ensure!(!holder.address.is_empty(), "the holder ended before it was ready");
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It has ended by itself, or its input has: there is nothing else to wait for.
        let _ = self.process.wait();
    }
}

fn line(description: &Description, runs: &[Run], failed: usize) -> serde_json::Value {
    json!({
        "peer": description.name,
        "verifies": description.verifies,
        "durable": description.durable,
        "seconds": runs.iter().map(|run| run.seconds).collect::<Vec<_>>(),
        "failed_runs": failed,
        "wire_bytes": runs.iter().map(|run| run.wire_bytes).collect::<Vec<_>>(),
        "memory_bytes": median(runs.iter().map(|run| run.memory_peak_bytes).collect()),
        "memory_of": "receiver",
    })
}

/// Of an even number of values, the upper of the two in the middle.
fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}
