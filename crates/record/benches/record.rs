//! What one record costs before anything is stored: `cargo bench -p hutong-record`.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hutong_record::{
    AllianceId, Audience, Draft, Header, Payload, RUN_RECORDS_MAX, Record, ShopId, SigningKey, UnixMillis,
    proto::Kind, sign, verify_run,
};
use rand::{SeedableRng as _, rngs::StdRng};

const PAYLOAD_BYTES: usize = 128;

fn key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

/// A whole run, signed at its end.
fn run() -> Vec<Record> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut records: Vec<Record> = Vec::with_capacity(RUN_RECORDS_MAX);
    for sequence in 1..=RUN_RECORDS_MAX as u64 {
        let draft = Draft {
            alliance: AllianceId::new([1; 32]),
            shop: ShopId::new([2; 32]),
            key_epoch: 0,
            incarnation: 0,
            sequence,
            previous: records.last().map(Record::id),
            time: UnixMillis::new(1_760_000_000_000).expect("a time"),
            kind: Kind::Profile,
            audience: Audience::Alliance,
        };
        let payload = Payload::clear(&[b'x'; PAYLOAD_BYTES], &mut rng).expect("a payload");
        let record = sign(draft, payload, &key());
        records.push(if sequence < RUN_RECORDS_MAX as u64 { record.without_signature() } else { record });
    }
    records
}

fn record(criterion: &mut Criterion) {
    let records = run();
    let (one, key) = (records[100].clone(), key().public());
    let mut group = criterion.benchmark_group("record");
    group.bench_function("header decode", |bencher| {
        bencher.iter(|| black_box(Header::parse(one.header_bytes()).expect("a header")));
    });
    group.bench_function("header hash", |bencher| {
        bencher.iter(|| black_box(Header::id_of(one.header_bytes())));
    });
    let payload = one.payload().expect("a payload");
    group.bench_function("payload hash", |bencher| bencher.iter(|| black_box(payload.hash())));
    let message = one.to_message();
    group.bench_function("record decode", |bencher| {
        bencher.iter(|| black_box(Record::parse(message.clone()).expect("a record")));
    });
    group.finish();
    let mut group = criterion.benchmark_group("run");
    group.throughput(Throughput::Elements(records.len() as u64));
    group.bench_function("verify of 256 records", |bencher| {
        let verify = |records| verify_run(records, &key).expect("a run");
        bencher.iter_batched(|| records.clone(), |records| black_box(verify(records)), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
