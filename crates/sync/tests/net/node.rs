//! An honest node: a replica, a store in memory, and the work that the owner does for the replica.

use std::collections::{BTreeMap, VecDeque};

use hutong_record::{
    Audience, Draft, Header, Payload, Record, ShopId, SigningKey, UnixMillis, proto::Kind, sign, verify_run,
};
use hutong_sync::{
    Head, IngestOutcome, LinkId, Output, RawRun, ReadRequest, Refusal, Replica,
    limits::{
        INGEST_BYTES_MAX, LOGS_MAX, PUSH_BYTES, PUSHED_BYTES_MAX, RUN_BYTES_MAX, WANT_BYTES, WANTS_MAX,
        WANTS_PER_LINK_MAX,
    },
};
use rand::{SeedableRng as _, rngs::StdRng};

use super::ALLIANCE;

pub type Store = BTreeMap<ShopId, Vec<Record>>;

pub fn shop_of(number: usize) -> ShopId {
    let mut bytes = *blake3::hash(&number.to_be_bytes()).as_bytes();
    bytes[30..].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
    ShopId::new(bytes)
}

fn number_of(shop: ShopId) -> u8 {
    shop.as_bytes()[31]
}

pub fn key_of(shop: ShopId) -> SigningKey {
    SigningKey::from_seed(&[number_of(shop); 32])
}

/// The next record of a log, in its last record's incarnation; `salt` makes it another one.
pub fn next_record(shop: ShopId, log: &[Record], text: &[u8], salt: u64, key: &SigningKey) -> Record {
    let incarnation = log.last().map_or(0, |record| record.header().incarnation);
    next_record_in(incarnation, shop, log, text, salt, key)
}

/// The next record of a log, in a given incarnation.
pub fn next_record_in(
    incarnation: u32,
    shop: ShopId,
    log: &[Record],
    text: &[u8],
    salt: u64,
    key: &SigningKey,
) -> Record {
    let draft = Draft {
        alliance: ALLIANCE,
        shop,
        key_epoch: 0,
        incarnation,
        sequence: log.len() as u64 + 1,
        previous: log.last().map(Record::id),
        time: UnixMillis::EPOCH,
        kind: Kind::Profile,
        audience: Audience::Alliance,
    };
    let mut rng = StdRng::seed_from_u64(salt ^ log.len() as u64);
    sign(draft, Payload::clear(text, &mut rng).unwrap(), key)
}

pub fn chain(shop: ShopId, length: usize, text_bytes: usize, salt: u64) -> Vec<Record> {
    let key = key_of(shop);
    let mut log = Vec::new();
    for _ in 0..length {
        log.push(next_record(shop, &log, &vec![b'x'; text_bytes], salt, &key));
    }
    log
}

pub fn head_of(log: &[Record]) -> Option<Head> {
    log.last().map(|record| Head {
        sequence: record.header().sequence,
        id: record.id(),
        incarnation: record.header().incarnation,
    })
}

pub fn heads_of(store: &Store) -> BTreeMap<ShopId, Head> {
    store.iter().filter_map(|(shop, log)| Some((*shop, head_of(log)?))).collect()
}

/// Runs from a place on: each ends in a signature, as the journal keeps them.
pub fn read(log: &[Record], from_sequence: u64, bytes_max: usize) -> Vec<RawRun> {
    const RUN_RECORDS: usize = 16;
    let start = usize::try_from(from_sequence - 1).unwrap();
    let (mut runs, mut run, mut bytes) = (Vec::new(), Vec::new(), 0);
    for record in log.get(start..).unwrap_or(&[]) {
        run.push(record.to_message());
        let signed = record.signature().is_some();
        let last = record.header().sequence == log.len() as u64;
        if signed && (run.len() >= RUN_RECORDS || last) {
            bytes += hutong_sync::raw_run_bytes(&run);
            runs.push(std::mem::take(&mut run));
            if bytes >= bytes_max {
                break;
            }
        }
    }
    runs
}

/// Whether a log has a record, signed or not.
fn holds(log: &[Record], record: &Record) -> bool {
    let index = usize::try_from(record.header().sequence - 1).unwrap();
    log.get(index).is_some_and(|held| held.id() == record.id())
}

/// Runs of which only the end comes to an incarnation that counts are taken as a whole.
fn as_one_branch(runs: Vec<RawRun>, held: u32) -> Vec<RawRun> {
    let incarnation = |run: Option<&RawRun>| {
        let last = run.and_then(|run| run.last()).and_then(|last| Header::parse(&last.header).ok());
        last.map_or(0, |header| header.incarnation)
    };
    if incarnation(runs.first()) <= held && incarnation(runs.last()) > held {
        return vec![runs.into_iter().flatten().collect()];
    }
    runs
}

pub struct Node {
    pub me: ShopId,
    pub replica: Replica,
    pub store: Store,
    /// Reads and ingests that are still to be done, in order.
    pub tasks: VecDeque<Output>,
    pub notes: Vec<Output>,
    pub text_bytes: usize,
}

impl Node {
    pub fn new(number: usize, store: Store) -> Self {
        let me = shop_of(number);
        let replica = Replica::new(ALLIANCE, me, heads_of(&store));
        Self { me, replica, store, tasks: VecDeque::new(), notes: Vec::new(), text_bytes: 20 }
    }

    pub fn stored_heads(&self) -> BTreeMap<ShopId, Head> {
        heads_of(&self.store)
    }

    pub fn note(&mut self, output: Output) {
        match output {
            Output::Read(_) | Output::Ingest { .. } => self.tasks.push_back(output),
            other => self.notes.push(other),
        }
        assert!(self.tasks.len() < 2_000, "the owner is given bounded work");
        assert!(self.notes.len() < 2_000, "the owner is told a bounded number of things");
    }

    pub fn write(&mut self, now: UnixMillis) {
        let log = self.store.entry(self.me).or_default();
        log.push(next_record(self.me, log, &vec![b'x'; self.text_bytes], 0, &key_of(self.me)));
        let head = head_of(log).unwrap();
        self.replica.committed([(self.me, head)], now);
    }

    /// Does one task; gives the numbers of records ingested, and of those that were there before.
    pub fn work(&mut self, now: UnixMillis) -> (u64, u64) {
        match self.tasks.pop_front() {
            Some(Output::Read(request)) => {
                self.serve(request, now);
                (0, 0)
            }
            Some(Output::Ingest { link, shop, runs }) => self.ingest(link, shop, runs, now),
            _ => (0, 0),
        }
    }

    fn serve(&mut self, request: ReadRequest, now: UnixMillis) {
        let bytes_max = usize::try_from(request.bytes_max).unwrap();
        let log = self.store.get(&request.shop).map_or(&[][..], Vec::as_slice);
        self.replica.served(request, read(log, request.from_sequence, bytes_max), now);
    }

    fn ingest(&mut self, link: LinkId, shop: ShopId, runs: Vec<RawRun>, now: UnixMillis) -> (u64, u64) {
        let held = self.store.get(&shop).map_or(0, Vec::len) as u64;
        let incarnation =
            self.store.get(&shop).and_then(|log| head_of(log)).map_or(0, |head| head.incarnation);
        let runs = as_one_branch(runs, incarnation);
        let (mut fresh, mut duplicates) = (0, 0);
        for run in runs {
            let parsed: Result<Vec<_>, _> = run.into_iter().map(Record::parse).collect();
            let verified = parsed.ok().and_then(|records| verify_run(records, &key_of(shop).public()).ok());
            let Some(verified) = verified else {
                self.replica.ingested(link, shop, IngestOutcome::Refused(Refusal::Faulty), now);
                return (fresh, duplicates);
            };
            let log = self.store.entry(shop).or_default();
            let incarnation = log.last().map_or(0, |record| record.header().incarnation);
            if verified.records().last().unwrap().header().incarnation > incarnation {
                let new = verified.records().iter().find(|r| !holds(log, r));
                let Some(first) = new.map(|r| r.header().clone()) else { continue };
                let before = usize::try_from(first.sequence - 1).unwrap();
                if before > log.len() || first.previous != before.checked_sub(1).map(|last| log[last].id()) {
                    self.replica.ingested(link, shop, IngestOutcome::Refused(Refusal::Earlier), now);
                    return (fresh, duplicates);
                }
                log.truncate(before);
                let records = verified.into_records().into_iter();
                log.extend(records.filter(|record| record.header().sequence >= first.sequence));
                fresh += log.len() as u64 - before as u64;
                continue;
            }
            let first = verified.records()[0].header();
            duplicates += verified.records().iter().filter(|r| r.header().sequence <= held).count() as u64;
            if first.sequence != log.len() as u64 + 1 || first.previous != log.last().map(Record::id) {
                self.replica.ingested(link, shop, IngestOutcome::Refused(Refusal::Diverged), now);
                return (fresh, duplicates);
            }
            fresh += verified.records().len() as u64;
            log.extend(verified.into_records());
        }
        let head = head_of(&self.store[&shop]).unwrap();
        self.replica.ingested(link, shop, IngestOutcome::Accepted(head), now);
        (fresh, duplicates)
    }

    pub fn check_bounds(&self) {
        let usage = self.replica.usage();
        let answer_max = WANT_BYTES as usize + RUN_BYTES_MAX;
        assert!(usage.wants <= WANTS_MAX, "{usage:?}");
        assert!(usage.wants_per_link <= WANTS_PER_LINK_MAX, "{usage:?}");
        assert!(usage.serving_per_link <= WANTS_PER_LINK_MAX, "{usage:?}");
        assert!(usage.ingest_bytes <= INGEST_BYTES_MAX + (WANTS_MAX + 1) * answer_max, "{usage:?}");
        assert!(
            usage.pushed_bytes_per_link <= PUSHED_BYTES_MAX + PUSH_BYTES as usize + RUN_BYTES_MAX,
            "{usage:?}"
        );
        assert!(usage.logs_per_link <= LOGS_MAX, "{usage:?}");
    }
}
