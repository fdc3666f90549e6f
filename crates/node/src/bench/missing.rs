//! A shop that was away for a while: 100 records are missing in 10 of 500 logs. What finding out takes on the wire, and how
//! often one side has to wait for the other. The state machines alone, one message a trip, the disk taking no time.

use std::collections::BTreeMap;

use hutong_record::{
    AllianceId, Audience, Draft, Payload, Record, RecordId, ShopId, SigningKey, UnixMillis, proto::Kind, sign,
};
use hutong_sync::{Frame, Head, IngestOutcome, LinkId, Output, Replica, Side, raw_run_bytes};
use hutong_wire::frame;
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::clock;

const SHOPS: usize = 500;
const LOGS_BEHIND: usize = 10;
const RECORDS_PER_LOG: usize = 10;
/// A record of usual size.
const TEXT_BYTES: usize = 128;
const ALLIANCE: AllianceId = AllianceId::new([7; 32]);
const LINK: LinkId = LinkId(1);
/// A greeting that does not come to rest is given up.
const WAVES_MAX: usize = 100;

/// What it took until nothing was missing any more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Catchup {
    /// From the Hello of the shop that lacks them until it has them all: how often it waits for the other.
    pub(super) round_trips: f64,
    /// Both ways, all that is no record.
    pub(super) metadata_bytes: usize,
    pub(super) record_bytes: usize,
    pub(super) records: usize,
}

/// Who dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialler {
    /// The shop that was away.
    Behind,
    /// The shop that has the records.
    Ahead,
}

pub(super) fn measure() -> anyhow::Result<Value> {
    let mut figures = json!({ "shops": SHOPS, "logs_behind": LOGS_BEHIND });
    for (name, dialler) in [("dialled_by_who_lacks", Dialler::Behind), ("dialled_by_who_has", Dialler::Ahead)]
    {
        let catchup = catch_up(dialler, 1)?;
        figures[name] = json!({
            "records": catchup.records,
            "round_trips": catchup.round_trips,
            "metadata_bytes_both_ways": catchup.metadata_bytes,
            "record_bytes": catchup.record_bytes,
        });
    }
    Ok(figures)
}

struct End {
    replica: Replica,
    logs: BTreeMap<ShopId, Vec<Record>>,
    /// The link is up here: of the dialled side, when the first frame has come.
    up: bool,
}

/// Two shops of a street at rest but for what one lacks greet each other; the street by seed.
pub(super) fn catch_up(dialler: Dialler, seed: u64) -> anyhow::Result<Catchup> {
    let shops: Vec<_> = (0..SHOPS).map(|shop| id(shop, seed)).collect();
    let rest = shops[LOGS_BEHIND..].iter().map(|shop| (*shop, synthetic(*shop)));
    let rest: BTreeMap<_, _> = rest.collect();
    let mut logs = BTreeMap::new();
    for shop in &shops[..LOGS_BEHIND] {
        logs.insert(*shop, log(*shop)?);
    }
    let mut full = rest.clone();
    full.extend(logs.iter().filter_map(|(shop, log)| Some((*shop, head(log.last()?)))));
    let end = |me: ShopId, heads: BTreeMap<ShopId, Head>, logs| {
        let mut replica = Replica::new(ALLIANCE, me, heads);
        replica.members_changed(shops.iter().copied(), clock::now());
        End { replica, logs, up: false }
    };
    // 0 lacks, 1 has; both are shops whose own logs are the same at both.
    let [behind, ahead] = [shops[SHOPS - 1], shops[SHOPS - 2]];
    let ends = [end(behind, rest, BTreeMap::new()), end(ahead, full, logs)];
    let first = usize::from(dialler == Dialler::Ahead);
    run(ends, first, [ahead, behind])
}

/// Waves of frames, each half a round trip, until nothing is missing; then until nothing is said.
fn run(mut ends: [End; 2], first: usize, peers: [ShopId; 2]) -> anyhow::Result<Catchup> {
    let mut done = Catchup { round_trips: 0.0, metadata_bytes: 0, record_bytes: 0, records: 0 };
    let now = clock::now();
    // The dialled side says Hello when it has read the dialler's, half a trip later.
    let begun = first;
    ends[first].up = true;
    ends[first].replica.link_up(LINK, peers[first], Side::Dialling, now);
    for wave in 0..WAVES_MAX {
        let sent = [drain(&mut ends[0], now), drain(&mut ends[1], now)];
        if sent.iter().all(Vec::is_empty) {
            return Ok(done);
        }
        for (from, frames) in sent.into_iter().enumerate() {
            let to = 1 - from;
            for frame in frames {
                let bytes = frame::to_wire(frame.clone()).encoded_len();
                let (records, record_bytes) = records_in(&frame);
                done.metadata_bytes += bytes.saturating_sub(record_bytes);
                done.record_bytes += record_bytes;
                done.records += records;
                if records > 0 {
                    #[allow(clippy::cast_precision_loss, reason = "at most WAVES_MAX")]
                    let trips = (wave + 1 - begun) as f64 / 2.0;
                    done.round_trips = trips;
                }
                if !ends[to].up {
                    ends[to].up = true;
                    ends[to].replica.link_up(LINK, peers[to], Side::Dialled, now);
                }
                ends[to].replica.frame_received(LINK, frame, now);
            }
        }
    }
    anyhow::bail!("the greeting does not come to rest")
}

fn records_in(frame: &Frame) -> (usize, usize) {
    let Frame::Records { runs, .. } = frame else { return (0, 0) };
    let exact = |run: &Vec<hutong_record::proto::Record>| -> usize {
        run.iter().map(prost::Message::encoded_len).sum()
    };
    debug_assert!(runs.iter().all(|run| exact(run) <= raw_run_bytes(run)));
    (runs.iter().map(Vec::len).sum(), runs.iter().map(exact).sum())
}

/// Does what comes out of a replica; gives the frames that go out.
fn drain(end: &mut End, now: UnixMillis) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let Some(output) = end.replica.next_output() else {
            // Announcements and acknowledgements wait a little for company, far less than a trip takes.
            let later = now.saturating_add_ms(hutong_sync::limits::HAVE_INTERVAL_MS);
            if end.replica.next_wakeup().is_some_and(|due| due <= later) {
                end.replica.tick(later);
                continue;
            }
            return frames;
        };
        match output {
            Output::Send { frame, .. } => frames.push(frame),
            Output::Read(read) => {
                let log = end.logs.get(&read.shop).map_or(&[][..], Vec::as_slice);
                let from = usize::try_from(read.from_sequence - 1).unwrap_or(usize::MAX);
                let run: Vec<_> = log.iter().skip(from).map(Record::to_message).collect();
                let runs = if run.is_empty() { Vec::new() } else { vec![run] };
                end.replica.served(read, runs, now);
            }
            Output::Ingest { link, shop, runs } => {
                let last = runs.into_iter().flatten().last().and_then(|message| Record::parse(message).ok());
                if let Some(last) = last {
                    end.replica.ingested(link, shop, IngestOutcome::Accepted(head(&last)), now);
                }
            }
            _ => {}
        }
    }
}

fn log(shop: ShopId) -> anyhow::Result<Vec<Record>> {
    let (mut log, mut rng) = (Vec::<Record>::new(), StdRng::seed_from_u64(3));
    for sequence in 1..=RECORDS_PER_LOG as u64 {
        let draft = Draft {
            alliance: ALLIANCE,
            shop,
            key_epoch: 0,
            incarnation: 0,
            sequence,
            previous: log.last().map(Record::id),
            time: UnixMillis::EPOCH,
            kind: Kind::Profile,
            audience: Audience::Alliance,
        };
        log.push(sign(
            draft,
            Payload::clear(&[b'x'; TEXT_BYTES], &mut rng)?,
            &SigningKey::from_seed(&[1; 32]),
        ));
    }
    Ok(log)
}

fn head(record: &Record) -> Head {
    Head { sequence: record.header().sequence, id: record.id(), incarnation: record.header().incarnation }
}

fn synthetic(shop: ShopId) -> Head {
    let id = RecordId::new(*blake3::hash(shop.as_bytes()).as_bytes());
    Head { sequence: 2_000, id, incarnation: 0 }
}

fn id(shop: usize, seed: u64) -> ShopId {
    let bytes = [&shop.to_be_bytes()[..], &seed.to_be_bytes()].concat();
    ShopId::new(*blake3::hash(&bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One greeting in 400 finds a bucket that looks equal and is not; it takes a trip and a list more.
    #[test]
    fn a_hundred_records_of_ten_logs_take_two_round_trips_and_4_kb() {
        for dialler in [Dialler::Behind, Dialler::Ahead] {
            let mut costlier = 0;
            for seed in 1..=50 {
                let catchup = catch_up(dialler, seed).unwrap();
                assert_eq!(catchup.records, LOGS_BEHIND * RECORDS_PER_LOG, "{dialler:?} {seed}");
                costlier += usize::from(catchup.round_trips > 2.0 || catchup.metadata_bytes > 4_000);
            }
            assert!(costlier <= 2, "{dialler:?}: {costlier} of 50");
            println!("{dialler:?} {:?}", catch_up(dialler, 1).unwrap());
        }
    }
}
