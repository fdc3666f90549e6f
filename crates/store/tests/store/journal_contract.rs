//! What every journal does, on the system's disk and in memory.

use std::sync::Arc;

use hutong_record::RUN_RECORDS_MAX;
use hutong_store::{
    disk::{Disk, MemDisk, OsDisk},
    journal::{
        BATCH_RECORDS_MAX, FRAME_BYTES_MAX, Journal, JournalConfig, JournalError, JournalReader, Lsn,
        SegmentJournal,
    },
};

use crate::shops::{Shops, check_holds, id, read_all, small};

/// Opens the same journal again and again.
trait Place {
    type Disk: Disk;

    fn disk(&self) -> Self::Disk;

    fn open(&self) -> SegmentJournal<Self::Disk> {
        SegmentJournal::open(self.disk(), small()).unwrap()
    }
}

impl Place for MemDisk {
    type Disk = Self;

    fn disk(&self) -> Self {
        self.clone()
    }
}

impl Place for tempfile::TempDir {
    type Disk = OsDisk;

    fn disk(&self) -> OsDisk {
        OsDisk::open(self.path()).unwrap()
    }
}

macro_rules! contract {
    ($($rule:ident),* $(,)?) => {
        mod in_memory {
            $(#[test] fn $rule() { super::$rule(&hutong_store::disk::MemDisk::new()); })*
        }
        mod on_disk {
            $(#[test] fn $rule() { super::$rule(&tempfile::tempdir().unwrap()); })*
        }
    };
}

contract!(
    what_is_appended_and_synced_is_read_in_order,
    nothing_is_visible_before_its_sync,
    an_unexpected_head_is_refused,
    a_record_that_does_not_continue_its_log_is_refused,
    batches_beyond_the_limit_are_refused,
    pages_keep_their_limits_and_never_stand_still,
    a_log_is_read_in_runs_that_end_signed,
    segments_roll_over_and_reopen_from_their_indexes,
    a_missing_index_is_made_anew,
    the_largest_record_fits,
    a_reader_outlives_the_writer_and_sees_what_is_synced,
    sparse_indexes_find_every_record,
);

fn what_is_appended_and_synced_is_read_in_order(place: &impl Place) {
    let mut shops = Shops::new(1);
    let mut journal = place.open();
    assert_eq!(journal.head(), Lsn::ZERO);
    check_holds(&*journal.reader(), &[]);
    let mut written = Vec::new();
    for _ in 0..40 {
        let batch = shops.write_batch();
        let head = journal.append(journal.head(), &batch).unwrap();
        written.extend(batch);
        assert_eq!(head, Lsn(written.len() as u64));
        assert_eq!(journal.sync(), Ok(head));
    }
    check_holds(&*journal.reader(), &written);
    assert_eq!(journal.append(journal.head(), &[]), Ok(journal.head()));
    drop(journal);
    check_holds(&*place.open().reader(), &written);
}

fn nothing_is_visible_before_its_sync(place: &impl Place) {
    let mut shops = Shops::new(2);
    let mut journal = place.open();
    let reader = journal.reader();
    let batch = shops.write_batch();
    journal.append(Lsn::ZERO, &batch).unwrap();
    check_holds(&*reader, &[]);
    journal.sync().unwrap();
    check_holds(&*reader, &batch);
}

fn an_unexpected_head_is_refused(place: &impl Place) {
    let mut shops = Shops::new(3);
    let mut journal = place.open();
    let record = shops.write(1);
    let refused = journal.append(Lsn(1), std::slice::from_ref(&record));
    assert_eq!(refused, Err(JournalError::Conflict { expected: Lsn(1), head: Lsn::ZERO }));
    assert_eq!(journal.append(Lsn::ZERO, &[record]), Ok(Lsn(1)));
}

fn a_record_that_does_not_continue_its_log_is_refused(place: &impl Place) {
    let mut shops = Shops::new(4);
    let mut journal = place.open();
    let (first, second, third) = (shops.write(1), shops.write(1), shops.write(1));
    let mut other = Shops::new(5);
    let other_branch = [other.write(1), other.write(1)];
    let mut refuse = |batch: &[_], sequence, head| {
        let before = journal.head();
        let refused = JournalError::NotNext { shop: id(1), sequence, head };
        assert_eq!(journal.append(before, batch), Err(refused));
        assert_eq!(journal.head(), before);
    };
    refuse(std::slice::from_ref(&second), 2, 0);
    refuse(&[first.clone(), third.clone()], 3, 1);
    refuse(&[first.clone(), first.clone()], 1, 1);
    refuse(&[first.clone(), other_branch[1].clone()], 2, 1);
    journal.append(Lsn::ZERO, std::slice::from_ref(&first)).unwrap();
    let refused = journal.append(Lsn(1), &other_branch[1..]);
    assert_eq!(refused, Err(JournalError::NotNext { shop: id(1), sequence: 2, head: 1 }));
    journal.append(Lsn(1), &[second.clone(), third.clone()]).unwrap();
    journal.sync().unwrap();
    check_holds(&*journal.reader(), &[first, second, third]);
}

fn batches_beyond_the_limit_are_refused(place: &impl Place) {
    let mut journal = place.open();
    let record = Shops::new(6).write(1);
    let refused = journal.append(Lsn::ZERO, &vec![record; BATCH_RECORDS_MAX + 1]);
    assert!(
        matches!(refused, Err(JournalError::BatchTooLarge { records, .. }) if records == BATCH_RECORDS_MAX + 1)
    );
    let large = Shops::new(6).write_bytes(1, 65_000);
    let refused = journal.append(Lsn::ZERO, &vec![large; 1_100]);
    assert!(matches!(refused, Err(JournalError::BatchTooLarge { records: 1_100, .. })));
    assert_eq!(journal.head(), Lsn::ZERO);
}

fn pages_keep_their_limits_and_never_stand_still(place: &impl Place) {
    let mut shops = Shops::new(7);
    let mut journal = place.open();
    let records: Vec<_> = (0..30).map(|_| shops.write_bytes(1, 100)).collect();
    journal.append(Lsn::ZERO, &records).unwrap();
    journal.sync().unwrap();
    let reader = journal.reader();
    assert_eq!(reader.read(Lsn(1), 4, usize::MAX).unwrap().len(), 4);
    assert_eq!(reader.read(Lsn(1), 100, 0).unwrap().len(), 1);
    assert_eq!(reader.read(Lsn(29), 100, usize::MAX).unwrap().len(), 2);
    assert_eq!(reader.read(Lsn::ZERO, 1, 1).unwrap()[0].0, Lsn(1));
    assert!(reader.read(Lsn(1), 0, usize::MAX).unwrap().is_empty());
    for past in [31, u64::MAX] {
        assert!(reader.read(Lsn(past), 100, usize::MAX).unwrap().is_empty());
    }
}

fn a_log_is_read_in_runs_that_end_signed(place: &impl Place) {
    let mut shops = Shops::new(8);
    let mut journal = place.open();
    let mut written = Vec::new();
    for length in [RUN_RECORDS_MAX, 5, 40, RUN_RECORDS_MAX] {
        for shop in [1, 2] {
            let run = shops.write_run(shop, length);
            journal.append(journal.head(), &run).unwrap();
            written.extend(run);
        }
    }
    journal.sync().unwrap();
    let reader = journal.reader();
    check_holds(&*reader, &written);
    let lengths = |from, bytes_max| reader.read_log(id(1), from, bytes_max).unwrap().len();
    assert_eq!(lengths(0, 1), RUN_RECORDS_MAX, "a stretch is whole, however small the page");
    assert_eq!(lengths(257, 1), 5);
    assert_eq!(lengths(257, usize::MAX), 45, "a run of 256 more would pass the limit");
    assert_eq!(lengths(200, 1), 57);
    assert!(reader.read_log(id(9), 1, 1).unwrap().is_empty());
    assert_eq!(reader.head_of(id(9)), None);
}

fn segments_roll_over_and_reopen_from_their_indexes(place: &impl Place) {
    let mut shops = Shops::new(9);
    let mut written = Vec::new();
    for _ in 0..4 {
        let mut journal = place.open();
        check_holds(&*journal.reader(), &written);
        for _ in 0..10 {
            let batch = shops.write_batch();
            journal.append(journal.head(), &batch).unwrap();
            written.extend(batch);
        }
        journal.sync().unwrap();
        check_holds(&*journal.reader(), &written);
    }
    let names = place.disk().list().unwrap();
    let count = |extension| names.iter().filter(|name| name.ends_with(extension)).count();
    assert!(count(".seg") > 3);
    assert_eq!(count(".idx"), count(".seg") - 1);
    assert_eq!(names.len(), count(".seg") + count(".idx"));
    let disk = place.disk();
    let bytes = |name: &String| hutong_store::disk::DiskFile::bytes(&disk.open(name).unwrap()).unwrap();
    let total = names.iter().map(bytes).sum::<u64>();
    drop(disk);
    assert_eq!(place.open().reader().bytes_on_disk(), total);
}

fn a_missing_index_is_made_anew(place: &impl Place) {
    let mut shops = Shops::new(10);
    let mut journal = place.open();
    let mut written = Vec::new();
    for _ in 0..30 {
        let batch = shops.write_batch();
        journal.append(journal.head(), &batch).unwrap();
        written.extend(batch);
    }
    journal.sync().unwrap();
    let bytes = journal.reader().bytes_on_disk();
    drop(journal);
    let disk = place.disk();
    let indexes: Vec<_> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".idx")).collect();
    indexes.iter().for_each(|name| disk.remove(name).unwrap());
    drop(disk);
    let reader = place.open().reader();
    check_holds(&*reader, &written);
    assert_eq!(reader.bytes_on_disk(), bytes);
    let names = place.disk().list().unwrap();
    assert!(indexes.iter().all(|name| names.contains(name)));
    check_holds(&*place.open().reader(), &written);
}

fn the_largest_record_fits(place: &impl Place) {
    let largest = Shops::new(11).write_bytes(1, 65_520);
    let mut journal = place.open();
    journal.append(Lsn::ZERO, std::slice::from_ref(&largest)).unwrap();
    journal.sync().unwrap();
    assert!(journal.reader().bytes_on_disk() <= 100 + FRAME_BYTES_MAX as u64);
    drop(journal);
    check_holds(&*place.open().reader(), &[largest]);
}

fn a_reader_outlives_the_writer_and_sees_what_is_synced(place: &impl Place) {
    let mut shops = Shops::new(12);
    let mut journal = place.open();
    let batch = shops.write_batch();
    journal.append(Lsn::ZERO, &batch).unwrap();
    journal.sync().unwrap();
    let reader: Arc<dyn JournalReader> = journal.reader();
    journal.append(journal.head(), &shops.write_batch()).unwrap();
    drop(journal);
    assert_eq!(read_all(&*reader), batch);
}

fn sparse_indexes_find_every_record(place: &impl Place) {
    let mut shops = Shops::new(13);
    let config = JournalConfig { segment_bytes_max: 60_000, ..small() };
    let mut journal = SegmentJournal::open(place.disk(), config).unwrap();
    let mut written = Vec::new();
    for _ in 0..200 {
        let batch: Vec<_> = (0..5).map(|n| shops.write(1 + n % 2)).collect();
        journal.append(journal.head(), &batch).unwrap();
        written.extend(batch);
    }
    journal.sync().unwrap();
    for reader in [journal.reader(), {
        drop(journal);
        SegmentJournal::open(place.disk(), config).unwrap().reader()
    }] {
        check_holds(&*reader, &written);
        for (place, record) in written.iter().enumerate() {
            let lsn = Lsn(place as u64 + 1);
            assert_eq!(reader.read(lsn, 1, 1).unwrap(), [(lsn, record.clone())]);
        }
    }
}
