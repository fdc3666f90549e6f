//! What the system sees of one sale: the record's bytes, their sync, and only then the answer (LOG-2).

use std::{fs, path::Path, process::Command};

use crate::{
    harness::{Reach, Shop, Street, until},
    trade::sale,
};

/// `program` under strace, which writes to `trace`. It runs beside the program, so that the program can be ended as
/// usual and takes strace with it.
fn traced(program: &Command, trace: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-ttt", "-y", "-xx", "-s", "1048576", "-o"]).arg(trace);
    strace.args(["-e", "trace=fdatasync,write,writev,sendto,sendmsg,pwrite64,pwritev"]);
    strace.env_clear().arg(program.get_program()).args(program.get_args());
    strace
}

/// Bytes as strace writes them.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

fn segments(shop: &Shop) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(shop.alliance_folder().join("journal")).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// The one file that grew, and by what.
fn grown(before: &[(String, Vec<u8>)], after: Vec<(String, Vec<u8>)>) -> (String, Vec<u8>) {
    let held =
        |name: &str| before.iter().find(|(known, _)| known == name).map_or(0, |(_, bytes)| bytes.len());
    let mut grown = after.into_iter().filter(|(name, bytes)| bytes.len() > held(name));
    let (name, bytes) = grown.next().expect("a segment grew");
    assert!(grown.next().is_none(), "one segment alone");
    let tail = bytes[held(&name)..].to_vec();
    (name, tail)
}

/// Whether this line says that a sync of the file has returned: whole, or resumed after other threads' lines.
fn syncs(line: &str, lines_before: &[&str], file: &str) -> bool {
    let of_file = |line: &str| line.contains("fdatasync(") && line.contains(file);
    if !line.trim_end().ends_with("= 0") {
        return false;
    }
    if line.contains("<... fdatasync resumed>") {
        let thread = line.split_whitespace().next();
        let begun = lines_before
            .iter()
            .rev()
            .find(|earlier| earlier.split_whitespace().next() == thread && earlier.contains("fdatasync("));
        return begun.is_some_and(|begun| of_file(begun));
    }
    of_file(line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_is_answered_after_its_record_is_on_the_disk() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed (apt-get install strace)");
        return;
    }
    let street = Street::new();
    let mut shop = street.init("baozi", Reach::Open);
    let trace = street.path().join("trace");
    shop.serve_as(traced(&shop.serve_command(), &trace)).await;
    shop.found("street");
    // The shop has introduced itself; after that nothing is written but the sale.
    until("the profile is written", async || (shop.digest().await.record_count == 2).then_some(())).await;
    let client = shop.client().await;
    let before = segments(&shop);
    let sale = client.report_sale(sale(3_800)).await.unwrap();
    let (segment, record) = grown(&before, segments(&shop));
    shop.stop().await;

    let trace = fs::read_to_string(&trace).unwrap();
    let lines: Vec<_> = trace.lines().collect();
    let position = |what: &str, needle: &str| {
        let found = lines.iter().position(|line| line.contains(needle));
        found.unwrap_or_else(|| panic!("{what} is not in the trace of {} lines", lines.len()))
    };
    let written = position("the record", &escaped(&record));
    let answered = position("the answer", &escaped(sale.sale_id.as_bytes()));
    let segment = escaped(segment.as_bytes());
    assert!(lines[written].contains(&segment), "{}", lines[written]);
    assert!(lines[answered].contains(&escaped(b"socket:")), "{}", lines[answered]);
    assert!(written < answered, "the till heard first: lines {written} and {answered}");
    let end = written + lines[written..].iter().position(|line| line.contains(" = ")).expect("it returns");
    let synced = (end + 1..answered).any(|at| syncs(lines[at], &lines[..at], &segment));
    let between = lines[written..=answered].iter().map(|l| l.chars().take(160).collect::<String>() + "\n");
    assert!(synced, "no sync between record and answer:\n{}", between.collect::<String>());
}
