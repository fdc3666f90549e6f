//! Logs that go on before their end, in a later incarnation: the journal follows the branch that was written last, and
//! keeps the bytes of what it left.

use hutong_record::{
    AllianceId, Audience, Draft, Payload, Record, ShopId, SigningKey, UnixMillis, proto::Kind, sign,
};
use hutong_store::{
    disk::MemDisk,
    journal::{Journal as _, JournalError, JournalReader, Lsn, SegmentJournal},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::shops::small;

const SEEDS: u64 = 40;
const STEPS: usize = 80;

/// The record that follows a log's first `after` records.
fn follow(log: &[Record], shop: u8, after: usize, incarnation: u32, rng: &mut StdRng) -> Record {
    let draft = Draft {
        alliance: AllianceId::new([1; 32]),
        shop: ShopId::new([shop; 32]),
        key_epoch: 0,
        incarnation,
        sequence: after as u64 + 1,
        previous: after.checked_sub(1).map(|last| log[last].id()),
        time: UnixMillis::EPOCH,
        kind: Kind::Profile,
        audience: Audience::Alliance,
    };
    let text = vec![b'x'; rng.random_range(0..100)];
    sign(draft, Payload::clear(&text, rng).unwrap(), &SigningKey::from_seed(&[shop; 32]))
}

/// What the journal should hold: all records as they were written, and each log as it is now.
#[derive(Default)]
struct Model {
    written: Vec<Record>,
    logs: [Vec<Record>; 2],
    incarnations: [u32; 2],
}

impl Model {
    /// A batch that goes on with a log, at its end or before.
    fn batch(&mut self, rng: &mut StdRng) -> Vec<Record> {
        let shop = rng.random_range(0..2);
        let number = u8::try_from(shop).unwrap();
        let log = &mut self.logs[shop];
        let mut batch = Vec::new();
        if !log.is_empty() && rng.random_bool(0.2) {
            log.truncate(rng.random_range(0..log.len()));
            // Part of the branch may be of the earlier incarnation still.
            if rng.random_bool(0.3) {
                let early = follow(log, number, log.len(), self.incarnations[shop], rng);
                log.push(early.clone());
                batch.push(early);
            }
            self.incarnations[shop] += rng.random_range(1..3);
        }
        for _ in 0..rng.random_range(1..4) {
            let next = follow(log, number, log.len(), self.incarnations[shop], rng);
            log.push(next.clone());
            batch.push(next);
        }
        self.written.extend(batch.iter().cloned());
        batch
    }

    fn check(&self, reader: &dyn JournalReader, context: &str) {
        for (number, log) in (0u8..).zip(&self.logs) {
            let shop = ShopId::new([number; 32]);
            let head = reader.head_of(shop).map(|head| (head.sequence, head.id));
            assert_eq!(head, log.last().map(|record| (log.len() as u64, record.id())), "{context}");
            for (index, record) in log.iter().enumerate() {
                let sequence = index as u64 + 1;
                assert_eq!(reader.record_id(shop, sequence).unwrap(), Some(record.id()), "{context}");
                assert_eq!(reader.read_log(shop, sequence, 1).unwrap()[0], *record, "{context}");
            }
            let whole = reader.read_log(shop, 1, usize::MAX).unwrap();
            assert_eq!(whole, log[..whole.len()], "{context}");
        }
        let all = reader.read(Lsn(1), usize::MAX, usize::MAX).unwrap();
        assert_eq!(
            all.iter().map(|(_, record)| record).collect::<Vec<_>>(),
            self.written.iter().collect::<Vec<_>>()
        );
        for (lsn, record) in &all {
            let log = &self.logs[usize::from(record.header().shop.as_bytes()[0])];
            let counts = log.iter().any(|counts| counts.id() == record.id());
            assert_eq!(reader.is_superseded(*lsn, record.header()), !counts, "{context}: {lsn}");
        }
    }
}

#[test]
fn the_branch_that_was_written_last_is_the_log_whatever_lies_between() {
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let (disk, mut model) = (MemDisk::new(), Model::default());
        let mut journal = SegmentJournal::open(disk.clone(), small()).unwrap();
        for step in 0..STEPS {
            let batch = model.batch(&mut rng);
            journal.append(journal.head(), &batch).unwrap();
            if rng.random_bool(0.3) {
                // Two batches in one sync.
                let batch = model.batch(&mut rng);
                journal.append(journal.head(), &batch).unwrap();
            }
            journal.sync().unwrap();
            let context = format!("seed {seed}, step {step}");
            if rng.random_bool(0.1) {
                drop(journal);
                journal = SegmentJournal::open(disk.clone(), small()).unwrap();
                model.check(&*journal.reader(), &context);
            }
            if step % 10 == 0 {
                model.check(&*journal.reader(), &context);
            }
        }
        assert_eq!(journal.reader().damage(), []);
    }
}

#[test]
fn a_branch_that_comes_to_no_later_incarnation_or_follows_nothing_is_refused() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut journal = SegmentJournal::open(MemDisk::new(), small()).unwrap();
    let mut log: Vec<Record> = Vec::new();
    for after in 0..5 {
        let next = follow(&log, 1, after, 2, &mut rng);
        log.push(next);
    }
    journal.append(Lsn(0), &log).unwrap();
    journal.sync().unwrap();
    let stranger = follow(&[follow(&[], 1, 0, 2, &mut rng)], 1, 1, 3, &mut rng);
    for refused in [
        follow(&log, 1, 3, 2, &mut rng),
        follow(&log, 1, 3, 1, &mut rng),
        follow(&log, 1, 0, 2, &mut rng),
        stranger,
    ] {
        let sequence = refused.header().sequence;
        let error = journal.append(journal.head(), &[refused]).unwrap_err();
        assert!(matches!(error, JournalError::NotNext { .. }), "{sequence}");
    }
    let later = follow(&log, 1, 3, 3, &mut rng);
    journal.append(journal.head(), &[later]).unwrap();
}
