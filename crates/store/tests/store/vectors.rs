//! The golden bytes of journal segments: what is on the disks of all shops.

use hutong_record::RecordId;
use hutong_store::{
    disk::{Disk as _, DiskFile as _, MemDisk},
    journal::{Journal as _, Lsn, SegmentJournal},
};

use crate::{
    golden::{Case, check},
    shops::{read_all, small, write_fixed},
};

/// The files of a journal of so many records, in batches of two.
fn files(records: u64) -> Vec<(String, Vec<u8>)> {
    let disk = MemDisk::new();
    let mut journal = SegmentJournal::open(disk.clone(), small()).unwrap();
    let mut previous: Option<RecordId> = None;
    let mut log = Vec::new();
    for sequence in 1..=records {
        let record = write_fixed(sequence, previous);
        previous = Some(record.id());
        log.push(record);
    }
    for batch in log.chunks(2) {
        let head = journal.head();
        journal.append(head, batch).unwrap();
        journal.sync().unwrap();
    }
    let names = disk.list().unwrap();
    names.into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

#[test]
fn journal_segments() {
    let case = |(name, bytes): (String, Vec<u8>)| Case::new(&name).hex("bytes", bytes);
    let cases: Vec<_> = files(10).into_iter().filter(|(name, _)| !name.ends_with("lock")).map(case).collect();
    let stored = check("journal.json", cases);
    let disk = MemDisk::new();
    for file in stored {
        let copy = disk.create(file.text("case")).unwrap();
        copy.append(&file.bytes("bytes")).unwrap();
    }
    let journal = SegmentJournal::open(disk, small()).unwrap();
    assert_eq!((journal.head(), journal.damage()), (Lsn(10), vec![]));
    let reader = journal.reader();
    assert_eq!(read_all(&*reader).last().map(|r| r.header().sequence), Some(10));
    assert_eq!(reader.record_count(), 10);
}
