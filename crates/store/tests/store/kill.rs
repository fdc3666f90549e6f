//! A real process is killed with SIGKILL while it appends; what it acknowledged is there.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use hutong_store::{
    disk::OsDisk,
    journal::{Journal, JournalConfig, Lsn, SegmentJournal},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::shops::{Shops, check_holds, read_all, small};

const ROUNDS: u64 = 100;
/// Then a new journal is begun: checking a long one takes longer than writing it.
const ROUNDS_A_JOURNAL: u64 = 5;
const FOLDER_VARIABLE: &str = "HUTONG_STORE_KILL_TEST_FOLDER";

fn open(folder: &Path) -> SegmentJournal<OsDisk> {
    let config = JournalConfig { segment_bytes_max: 20_000, ..small() };
    SegmentJournal::open(OsDisk::open(folder).unwrap(), config).unwrap()
}

/// Not a rule of its own: the process that the test below starts and kills. Without its variable it does nothing.
#[test]
fn victim() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else { return };
    let mut journal = open(Path::new(&folder));
    let mut shops = Shops::new(journal.head().0);
    shops.go_back(&read_all(&*journal.reader()));
    let mut out = std::io::stdout().lock();
    loop {
        for _ in 0..3 {
            journal.append(journal.head(), &shops.write_batch()).unwrap();
        }
        let acknowledged = journal.sync().unwrap();
        writeln!(out, "\nacknowledged {acknowledged}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_kill_nine() {
    let mut rng = StdRng::seed_from_u64(9);
    let mut folder = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        if round % ROUNDS_A_JOURNAL == 0 {
            folder = tempfile::tempdir().unwrap();
        }
        let acknowledged = kill_after(folder.path(), rng.random_range(1..8));
        let journal = open(folder.path());
        assert!(journal.head() >= acknowledged, "round {round}: {} < {acknowledged}", journal.head());
        let reader = journal.reader();
        let records = read_all(&*reader);
        check_holds(&*reader, &records);
    }
}

/// Starts a victim, kills it after so many acknowledgements and returns the last one that it gave.
fn kill_after(folder: &Path, acknowledgements: usize) -> Lsn {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["kill::victim", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER_VARIABLE, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut lsns = lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok().map(Lsn));
    let seen = lsns.nth(acknowledgements - 1);
    victim.kill().unwrap();
    // What it said between the last line read and the signal counts as well.
    let last = lsns.last().or(seen);
    victim.wait().unwrap();
    last.expect("the victim acknowledged something before it died")
}
