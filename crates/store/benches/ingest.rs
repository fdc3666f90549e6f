//! What a peer's records cost on their way in: `cargo bench -p hutong-store`.
#![allow(missing_docs)]

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hutong_core::{VIEWS_VERSION, charter::Charter, command::Command};
use hutong_record::{
    AllianceId, Audience, DecryptionKey, Draft, Identity, Payload, Place, RUN_RECORDS_MAX, Record, RecordId,
    RecoverySeed, Sealer, ShopId, SigningKey, UnixMillis, proto, proto::Kind, sign, verify_run,
};
use hutong_store::{
    disk::OsDisk,
    journal::{Journal as _, JournalConfig, Lsn, SegmentJournal},
    ledger::{Ledger, Seat, ShopKeys},
    views::SledViews,
};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

const RUNS: usize = 80;
const CACHE_BYTES: u64 = 64 << 20;
const NOW_MS: i64 = 1_760_000_000_000;

fn now() -> UnixMillis {
    UnixMillis::new(NOW_MS).expect("a time")
}

/// A shop with real keys.
struct Shop {
    identity: Identity,
    keys: Arc<ShopKeys>,
}

impl Shop {
    fn new(rng: &mut StdRng) -> Self {
        let seed = RecoverySeed::new(rng.random());
        let signing = Arc::new(SigningKey::from_seed(&seed.signing_seed()));
        let decryption = DecryptionKey::from_seed(&seed.encryption_seed());
        let identity = Identity::create(&seed, now(), rng);
        Self { identity, keys: Arc::new(ShopKeys::new(signing, decryption)) }
    }

    fn id(&self) -> ShopId {
        self.identity.id()
    }

    /// Sales, sealed to the shop itself.
    fn sales(&self, alliance: AllianceId, count: usize, rng: &mut StdRng) -> Vec<Record> {
        let shop = self.id();
        let mut sealer = Sealer::default();
        let mut previous: Option<RecordId> = None;
        let mut records = Vec::with_capacity(count);
        for sequence in 1..=count as u64 {
            let sale = proto::Sale {
                request: Some(proto::Request { id: format!("sale-{sequence}"), ..Default::default() }),
                sold_unix_ms: NOW_MS,
                ..Default::default()
            };
            let place = Place { alliance, shop, incarnation: 0, sequence, kind: Kind::Sale };
            let key = self.identity.encryption_key();
            let payload = Payload::seal(&sale.encode_to_vec(), &place, &[key], &mut sealer, rng);
            let payload = payload.expect("a payload");
            let draft = Draft {
                alliance,
                shop,
                key_epoch: 0,
                incarnation: 0,
                sequence,
                previous,
                time: now(),
                kind: Kind::Sale,
                audience: Audience::parties([shop]).expect("one party"),
            };
            let record = sign(draft, payload, &self.keys.signing);
            previous = Some(record.id());
            records.push(record);
        }
        records
    }
}

/// As they travel in catching up: signed at each run's end.
fn runs(records: &[Record]) -> Vec<Vec<proto::Record>> {
    let run = |run: &[Record]| {
        let (last, rest) = run.split_last().expect("a run has records");
        let mut messages: Vec<_> = rest.iter().map(|r| r.clone().without_signature().to_message()).collect();
        messages.push(last.to_message());
        messages
    };
    records.chunks(RUN_RECORDS_MAX).map(run).collect()
}

/// The alliance of a founder and an author, as the founder's ledger holds it.
struct Street {
    charter: Charter,
    founder: Shop,
    author: Shop,
    rng: StdRng,
}

impl Street {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let (founder, author) = (Shop::new(&mut rng), Shop::new(&mut rng));
        let charter = Charter::write(&proto::Charter {
            name: "bench".into(),
            currency_code: "CNY".into(),
            admission_votes: 1,
            removal_votes: 1,
            founder: Some(founder.identity.signed().clone()),
            created_unix_ms: NOW_MS,
            salt: vec![1; 16].into(),
            ..Default::default()
        });
        Self { charter: charter.expect("a charter"), founder, author, rng }
    }

    fn ledger(&mut self, folder: &std::path::Path) -> Ledger<SledViews> {
        let disk = OsDisk::open(folder.join("journal")).expect("a disk");
        let journal = SegmentJournal::open(disk, JournalConfig::new(7)).expect("a journal");
        let views = SledViews::open(&folder.join("views"), VIEWS_VERSION, CACHE_BYTES).expect("views").views;
        let mut ledger = Ledger::open(
            self.charter.clone(),
            self.founder.id(),
            self.founder.keys.clone(),
            Seat::Kept,
            Box::new(journal),
            Arc::new(views),
            &mut |_, _| {},
        )
        .expect("a ledger");
        let guest_key = [9; 32];
        let invitation = proto::Invitation {
            guest_key: guest_key.to_vec().into(),
            expires_unix_ms: NOW_MS + 86_400_000,
            ..Default::default()
        };
        let identity = self.author.identity.signed().clone();
        for command in [
            Command::Found,
            Command::Invite(invitation),
            Command::AdmitGuest { guest_key, identity, continuation: None },
        ] {
            ledger.execute(&command, now(), &mut self.rng).expect("the alliance is founded");
        }
        ledger.commit().expect("durable");
        ledger
    }
}

fn ingest(criterion: &mut Criterion) {
    let mut street = Street::new();
    let records = street.author.sales(street.charter.id, RUNS * RUN_RECORDS_MAX, &mut street.rng);
    let runs = runs(&records);
    let mut group = criterion.benchmark_group("ledger");
    group.throughput(Throughput::Elements(records.len() as u64));
    group.sample_size(10);
    group.bench_function("ingest of runs, durable every 1024", |bencher| {
        let fresh = |street: &mut Street| {
            let folder = tempfile::tempdir().expect("a folder");
            let ledger = street.ledger(folder.path());
            (folder, ledger, runs.clone())
        };
        bencher.iter_batched(
            || fresh(&mut street),
            |(folder, mut ledger, runs)| {
                for (place, run) in runs.into_iter().enumerate() {
                    assert!(ledger.ingest(run, now()).expect("views").expect("admitted"));
                    if place % 4 == 3 {
                        ledger.commit().expect("durable");
                    }
                }
                (folder, ledger)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    ladder(criterion, &mut street, &runs[0]);
    append(criterion, &records);
}

fn ladder(criterion: &mut Criterion, street: &mut Street, run: &[proto::Record]) {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = street.ledger(folder.path());
    let key = *street.author.identity.signing_key();
    let mut group = criterion.benchmark_group("run of 256");
    group.throughput(Throughput::Elements(run.len() as u64));
    group.bench_function("the ladder", |bencher| {
        let climb = |run| ledger.alliance().admit(run, |_| None, |_, _| None, now()).expect("admitted");
        bencher.iter_batched(|| run.to_vec(), |run| black_box(climb(run)), BatchSize::SmallInput);
    });
    let parse = |run: &[proto::Record]| -> Vec<Record> {
        run.iter().map(|message| Record::parse(message.clone()).expect("a record")).collect()
    };
    group.bench_function("parse", |bencher| bencher.iter(|| black_box(parse(run))));
    group.bench_function("verify", |bencher| {
        let verify = |records| verify_run(records, &key).expect("a run");
        bencher.iter_batched(|| parse(run), |records| black_box(verify(records)), BatchSize::SmallInput);
    });
    group.finish();
}

fn append(criterion: &mut Criterion, records: &[Record]) {
    let batch = &records[..4 * RUN_RECORDS_MAX];
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(batch.len() as u64));
    group.sample_size(20);
    for (name, sync) in [("append 1024 records", false), ("append 1024 records and sync", true)] {
        group.bench_function(name, |bencher| {
            let fresh = || {
                let folder = tempfile::tempdir().expect("a folder");
                let disk = OsDisk::open(folder.path().join("journal")).expect("a disk");
                (folder, SegmentJournal::open(disk, JournalConfig::new(7)).expect("a journal"))
            };
            bencher.iter_batched(
                fresh,
                |(folder, mut journal)| {
                    journal.append(Lsn::ZERO, batch).expect("appended");
                    if sync {
                        journal.sync().expect("durable");
                    }
                    (folder, journal)
                },
                BatchSize::PerIteration,
            );
        });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disk = OsDisk::open(folder.path().join("journal")).expect("a disk");
    let mut journal = SegmentJournal::open(disk, JournalConfig::new(7)).expect("a journal");
    journal.append(Lsn::ZERO, batch).expect("appended");
    journal.sync().expect("durable");
    let (reader, shop) = (journal.reader(), batch[0].header().shop);
    group.throughput(Throughput::Elements(RUN_RECORDS_MAX as u64));
    group.bench_function("read a run of 256 of one log", |bencher| {
        bencher.iter(|| black_box(reader.read_log(shop, 257, usize::MAX).expect("records")));
    });
    group.finish();
}

criterion_group!(benches, ingest);
criterion_main!(benches);
