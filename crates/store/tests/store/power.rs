//! Power cuts, failing syncs and full disks, at random, against a model.

use hutong_record::Record;
use hutong_store::{
    disk::MemDisk,
    journal::{Journal, JournalError, SegmentJournal},
};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};

use crate::shops::{Shops, check_holds, read_all, small};

/// A journal, and what it must hold.
struct Trial {
    rng: StdRng,
    disk: MemDisk,
    shops: Shops,
    journal: SegmentJournal<MemDisk>,
    /// Survives anything.
    acknowledged: Vec<Record>,
    /// May survive, batch by batch, in this order.
    appended: Vec<Vec<Record>>,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let disk = MemDisk::new();
        let journal = SegmentJournal::open(disk.clone(), small()).unwrap();
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, disk, shops: Shops::new(seed), journal, acknowledged: Vec::new(), appended: Vec::new() }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..20) {
            0..10 => self.append(),
            10..15 => self.sync(),
            15 => {
                self.disk.fail_syncs(1);
                self.append();
                self.sync();
            }
            16 => {
                self.disk.limit_space(Some(self.rng.random_range(0..1_000)));
                self.append();
                self.disk.limit_space(None);
            }
            17 => self.reopen(),
            _ => {
                self.disk.power_cut(&mut self.rng);
                self.reopen();
            }
        }
    }

    fn append(&mut self) {
        let batch = self.shops.write_batch();
        self.appended.push(batch.clone());
        let result = self.journal.append(self.journal.head(), &batch);
        self.reopen_if_closed(result.map(|_| ()));
    }

    fn sync(&mut self) {
        let result = self.journal.sync();
        if result.is_ok() {
            self.acknowledged.extend(self.appended.drain(..).flatten());
        }
        self.reopen_if_closed(result.map(|_| ()));
    }

    fn reopen_if_closed(&mut self, result: Result<(), JournalError>) {
        if let Err(error) = result {
            assert!(matches!(error, JournalError::Io { .. }), "{error}");
            assert_eq!(self.journal.sync(), Err(JournalError::Poisoned));
            assert_eq!(self.journal.append(self.journal.head(), &[]), Err(JournalError::Poisoned));
            self.reopen();
        }
    }

    /// All that was acknowledged is there, then whole batches in order, and nothing else.
    fn reopen(&mut self) {
        self.disk.fail_syncs(0);
        self.journal = SegmentJournal::open(self.disk.clone(), small()).unwrap();
        let found = read_all(&*self.journal.reader());
        let mut expected = std::mem::take(&mut self.acknowledged);
        for batch in self.appended.drain(..) {
            if expected.len() < found.len() {
                expected.extend(batch);
            }
        }
        assert!(found == expected, "found {} records, expected {}", found.len(), expected.len());
        check_holds(&*self.journal.reader(), &found);
        self.shops.go_back(&found);
        self.acknowledged = found;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_synced_survives_and_nothing_is_torn(seed in any::<u64>()) {
        let mut trial = Trial::new(seed);
        for _ in 0..60 {
            trial.step();
        }
        trial.reopen();
    }
}

#[test]
fn a_failed_sync_closes_the_journal_for_good() {
    let mut trial = Trial::new(1);
    let batch = trial.shops.write_batch();
    trial.journal.append(trial.journal.head(), &batch).unwrap();
    trial.disk.fail_syncs(1);
    assert!(matches!(trial.journal.sync(), Err(JournalError::Io { .. })));
    assert_eq!(trial.journal.sync(), Err(JournalError::Poisoned), "the disk works again, and still");
    assert!(read_all(&*trial.journal.reader()).is_empty(), "what was not synced is not shown");
}

#[test]
fn a_group_of_batches_costs_one_sync() {
    let mut trial = Trial::new(2);
    let before = trial.disk.sync_count();
    for _ in 0..3 {
        let batch = [trial.shops.write_bytes(1, 10)];
        trial.journal.append(trial.journal.head(), &batch).unwrap();
    }
    trial.journal.sync().unwrap();
    trial.journal.sync().unwrap();
    assert_eq!(trial.disk.sync_count(), before + 1);
}
