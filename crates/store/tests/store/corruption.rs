//! Damaged bytes: never a panic, never a wrong record, and damage is named.

use std::collections::BTreeMap;

use hutong_record::{Record, ShopId};
use hutong_store::{
    disk::{Disk as _, DiskFile as _, MemDisk},
    journal::{
        Damage, Journal, JournalConfig, JournalError, JournalReader, Lsn, MissingRecords, SegmentJournal,
        TailLoss,
    },
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::shops::{Shops, check_holds, id, read_all, small};

fn config() -> JournalConfig {
    JournalConfig { segment_bytes_max: 900, ..small() }
}

/// A journal of three segments or more, each record its own group.
fn healthy() -> (MemDisk, Vec<Record>) {
    let disk = MemDisk::new();
    let mut journal = SegmentJournal::open(disk.clone(), config()).unwrap();
    let mut shops = Shops::new(1);
    let records: Vec<_> = (0..9).map(|n| shops.write_bytes(1 + n % 2, 20)).collect();
    for record in &records {
        journal.append(journal.head(), std::slice::from_ref(record)).unwrap();
        journal.sync().unwrap();
    }
    assert!(disk.contents("00000003.seg").is_some());
    (disk, records)
}

/// Reads each record by itself, and by log. Whatever is returned must be what was written. Returns how many records
/// cannot be read by place.
fn check_nothing_wrong(reader: &dyn JournalReader, records: &[Record]) -> usize {
    let readable = |lsn: usize| match reader.read(Lsn(lsn as u64), 1, 1) {
        Ok(page) => {
            assert!(page.iter().all(|(at, record)| at.0 == lsn as u64 && *record == records[lsn - 1]));
            page.len() == 1
        }
        Err(JournalError::Damaged { resume, lsn: at, .. }) => {
            assert!(resume > at && at.0 == lsn as u64, "{at} {resume}");
            false
        }
        Err(error) => panic!("{error}"),
    };
    let lost = (1..=records.len()).filter(|lsn| !readable(*lsn)).count();
    check_pages(reader, records);
    let mut logs: BTreeMap<ShopId, Vec<&Record>> = BTreeMap::new();
    for record in records {
        logs.entry(record.header().shop).or_default().push(record);
    }
    for (shop, log) in logs {
        for from in [1, log.len() / 2, log.len()] {
            if let Ok(run) = reader.read_log(shop, from as u64, 300) {
                assert!(run.iter().zip(&log[from - 1..]).all(|(found, written)| found == *written));
            }
            if let Ok(Some(found)) = reader.record_id(shop, from as u64) {
                assert_eq!(found, log[from - 1].id());
            }
        }
    }
    lost
}

/// Going through the journal, over its damage, comes to an end and shows nothing wrong.
fn check_pages(reader: &dyn JournalReader, records: &[Record]) {
    let mut next = Lsn(1);
    loop {
        match reader.read(next, 5, usize::MAX) {
            Ok(page) if page.is_empty() => break,
            Ok(page) => {
                for (lsn, record) in page {
                    assert_eq!(lsn, next);
                    assert_eq!(record, records[usize::try_from(lsn.0).unwrap() - 1]);
                    next = lsn.next();
                }
            }
            Err(JournalError::Damaged { resume, .. }) => {
                assert!(resume > next);
                next = resume;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(next, reader.head().next());
}

#[test]
fn one_damaged_byte_costs_at_most_its_own_record_and_is_named() {
    let (healthy, records) = healthy();
    let names = healthy.list().unwrap();
    let last = names.iter().rfind(|name| name.ends_with(".seg")).unwrap();
    for name in &names {
        let length = healthy.contents(name).unwrap().len();
        for offset in 0..length {
            // One mask a byte, in turn: all of them would take three times as long and meet the same code.
            let mask = [1, 0x80, 0xff][offset % 3];
            let disk = healthy.image();
            disk.flip(name, offset, mask);
            let journal = SegmentJournal::open(disk, config()).unwrap();
            let reader = journal.reader();
            let lost = check_nothing_wrong(&*reader, &records);
            let at = format!("{name} at {offset}, mask {mask:02x}: {lost} lost");
            if name.ends_with(".idx") {
                assert_eq!(lost, 0, "{at}");
                check_holds(&*reader, &records);
                continue;
            }
            assert!(lost <= 1, "{at}");
            assert!(lost == 1 || !reader.damage().is_empty(), "{at}");
            // The last batch is cut like a torn one, for nothing says that it was durable; but it is not taken for one.
            let head = Lsn(records.len() as u64);
            assert!(journal.head() == head || name == last, "{at}");
            let shop = records[records.len() - 1].header().shop;
            let doubt = if journal.head() == head { TailLoss::Nothing } else { TailLoss::Damaged };
            assert!(reader.damage().iter().any(|d| d.records > 0) || reader.tail_loss(shop) == doubt, "{at}");
        }
    }
}

#[test]
fn a_tail_that_was_not_written_to_its_end_is_torn_and_not_damaged() {
    let (healthy, records) = healthy();
    let names = healthy.list().unwrap();
    let last = names.iter().rfind(|name| name.ends_with(".seg")).unwrap();
    let whole = healthy.contents(last).unwrap();
    let open = |contents: &[u8]| {
        let disk = healthy.image();
        disk.remove(last).unwrap();
        disk.create(last).unwrap().append(contents).unwrap();
        SegmentJournal::open(disk, config()).unwrap()
    };
    let (shop, head) = (records[records.len() - 1].header().shop, Lsn(records.len() as u64));
    let last_frame = whole.len() - 200; // a record takes more than that
    for end in last_frame..whole.len() {
        let cut = open(&whole[..end]);
        assert!(cut.head() < head);
        assert_eq!(cut.reader().tail_loss(shop), TailLoss::Torn, "cut at {end}");
        let mut zeroed = whole[..end].to_vec();
        zeroed.resize(whole.len().max(end + 16), 0);
        assert_eq!(open(&zeroed).reader().tail_loss(shop), TailLoss::Torn, "zeros from {end}");
    }
    assert_eq!(open(&whole).reader().tail_loss(shop), TailLoss::Nothing);
}

#[test]
fn damage_after_the_end_of_a_log_is_a_doubt_about_its_end() {
    let (healthy, records) = healthy();
    let length = healthy.contents("00000001.seg").unwrap().len();
    healthy.flip("00000001.seg", length / 2, 1);
    healthy.remove("00000001.idx").unwrap();
    let reader = SegmentJournal::open(healthy, config()).unwrap().reader();
    assert_eq!(reader.damage().len(), 1);
    assert_eq!(reader.tail_loss(records[0].header().shop), TailLoss::Nothing, "it goes on after the damage");
    assert_eq!(reader.tail_loss(ShopId::new([0xee; 32])), TailLoss::Damaged, "nothing of it is there");
}

#[test]
fn a_journal_with_damage_goes_on() {
    let (healthy, records) = healthy();
    for name in healthy.list().unwrap().iter().filter(|name| name.ends_with(".seg")) {
        for offset in (0..healthy.contents(name).unwrap().len()).step_by(7) {
            let disk = healthy.image();
            disk.flip(name, offset, 0x10);
            let mut journal = SegmentJournal::open(disk.clone(), config()).unwrap();
            let mut records = records.clone();
            records.truncate(usize::try_from(journal.head().0).unwrap());
            let mut shops = Shops::new(7);
            shops.go_back(&records);
            for _ in 0..10 {
                let record = shops.write_bytes(3, 30);
                journal.append(journal.head(), std::slice::from_ref(&record)).unwrap();
                journal.sync().unwrap();
                records.push(record);
            }
            assert!(check_nothing_wrong(&*journal.reader(), &records) <= 1);
            drop(journal);
            let journal = SegmentJournal::open(disk, config()).unwrap();
            assert_eq!(journal.head(), Lsn(records.len() as u64));
            assert!(check_nothing_wrong(&*journal.reader(), &records) <= 1);
        }
    }
}

#[test]
fn zeroed_and_shortened_files_never_show_a_wrong_record() {
    let (healthy, records) = healthy();
    let mut rng = StdRng::seed_from_u64(3);
    for name in &healthy.list().unwrap() {
        let length = healthy.contents(name).unwrap().len();
        for _ in 0..200 {
            let disk = healthy.image();
            for _ in 0..rng.random_range(1..4) {
                disk.zero(name, rng.random_range(0..length), rng.random_range(1..600));
            }
            match SegmentJournal::open(disk, config()) {
                Ok(journal) => {
                    check_nothing_wrong(&*journal.reader(), &records);
                }
                Err(error) => assert!(matches!(error, JournalError::Damaged { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn damage_in_a_scanned_segment_is_named_with_the_records_missing() {
    let (disk, records) = healthy();
    let head = records.len() as u64;
    let contents = disk.contents("00000001.seg").unwrap();
    let third = records[2].payload().unwrap().bytes();
    let place = contents.windows(third.len()).position(|w| w == third.as_ref()).unwrap();
    disk.flip("00000001.seg", place, 1);
    disk.remove("00000001.idx").unwrap();
    for _ in 0..2 {
        let journal = SegmentJournal::open(disk.clone(), config()).unwrap();
        let damage = journal.damage();
        let [Damage { segment: 1, first: Lsn(3), records: 1, missing, .. }] = &damage[..] else {
            panic!("{damage:?}")
        };
        assert_eq!(*missing, [MissingRecords { shop: id(1), from_sequence: 2, to_sequence: 2 }]);
        let reader = journal.reader();
        assert_eq!((reader.head(), reader.record_count()), (Lsn(head), head - 1));
        let damaged = reader.read(Lsn(3), 9, usize::MAX);
        assert!(matches!(
            damaged,
            Err(JournalError::Damaged { segment: 1, lsn: Lsn(3), resume: Lsn(4), .. })
        ));
        assert_eq!(reader.read(Lsn(1), 9, usize::MAX).unwrap().len(), 2, "what lies before is read first");
        assert_eq!(reader.read_log(id(1), 1, usize::MAX).unwrap(), records[..1]);
        assert!(matches!(reader.read_log(id(1), 2, 1), Err(JournalError::Damaged { segment: 1, .. })));
        assert_eq!(reader.read_log(id(1), 3, usize::MAX).unwrap()[0], records[4]);
    }
}

#[test]
fn a_missing_segment_is_named_and_the_others_are_read() {
    let (disk, records) = healthy();
    disk.remove("00000002.seg").unwrap();
    let journal = SegmentJournal::open(disk, config()).unwrap();
    let damage = journal.damage();
    let [lost] = &damage[..] else { panic!("{damage:?}") };
    assert_eq!((lost.segment, lost.bytes), (2, 0));
    assert_eq!(lost.missing.len(), 2, "of both shops");
    assert_eq!(lost.missing.iter().map(|m| m.to_sequence - m.from_sequence + 1).sum::<u64>(), lost.records);
    let found = check_nothing_wrong(&*journal.reader(), &records);
    assert_eq!(found as u64, lost.records);
    let refused = journal.reader().read(lost.first, 1, 1);
    let resume = Lsn(lost.first.0 + lost.records);
    assert_eq!(refused, Err(JournalError::Damaged { segment: 2, offset: 0, lsn: lost.first, resume }));
}

#[test]
fn damage_before_the_durable_end_of_the_last_segment_is_kept_not_cut() {
    let (disk, records) = healthy();
    let last = disk.list().unwrap().into_iter().rfind(|name| name.ends_with(".seg")).unwrap();
    let before = disk.contents(&last).unwrap().len();
    disk.flip(&last, 100, 0xff);
    let journal = SegmentJournal::open(disk.clone(), config()).unwrap();
    assert_eq!(journal.head(), Lsn(records.len() as u64));
    assert_eq!(journal.damage().len(), 1);
    assert_eq!(disk.contents(&last).unwrap().len(), before);
}

#[test]
fn a_frame_inside_a_payload_does_not_pass_for_a_record() {
    let disk = MemDisk::new();
    let mut forger = Shops::new(5);
    let other = MemDisk::new();
    let forged_config = JournalConfig { checksum_seed: 0xbad, ..config() };
    let mut forgery = SegmentJournal::open(other.clone(), forged_config).unwrap();
    let forged: Vec<_> = (0..3).map(|_| forger.write(9)).collect();
    forgery.append(Lsn::ZERO, &forged).unwrap();
    let frames = other.contents("00000001.seg").unwrap();
    let mut shops = Shops::new(6);
    let honest = [shops.write(1), shops.write_with(2, &frames), shops.write(1)];
    let mut journal = SegmentJournal::open(disk.clone(), JournalConfig::new(0x5eed)).unwrap();
    journal.append(Lsn::ZERO, &honest).unwrap();
    journal.sync().unwrap();
    journal.append(Lsn(3), &[shops.write(1)]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let contents = disk.contents("00000001.seg").unwrap();
    let payload = honest[1].header().payload_hash;
    let place = contents.windows(32).position(|w| w == payload).unwrap();
    disk.flip("00000001.seg", place, 1);
    let journal = SegmentJournal::open(disk, JournalConfig::new(0x5eed)).unwrap();
    assert_eq!(journal.damage().len(), 1);
    assert_eq!(journal.reader().head_of(id(9)), None);
    assert_eq!(journal.reader().record_count(), 3);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (disk, _) = healthy();
    let name = "00000001.seg";
    let mut header = disk.contents(name).unwrap()[..24].to_vec();
    header[4] = 2;
    let checksum = crc32c::crc32c(&header).to_le_bytes();
    let whole = disk.contents(name).unwrap();
    for copy in [0, 28] {
        disk.flip(name, copy + 4, whole[4] ^ 2);
        for (n, byte) in checksum.iter().enumerate() {
            disk.flip(name, copy + 24 + n, whole[copy + 24 + n] ^ byte);
        }
    }
    let refused = SegmentJournal::open(disk, config()).err();
    assert_eq!(refused, Some(JournalError::Format { segment: 1, format: 2 }));
}

#[test]
fn a_torn_first_batch_leaves_an_empty_journal() {
    let disk = MemDisk::new();
    let mut journal = SegmentJournal::open(disk.clone(), config()).unwrap();
    let mut shops = Shops::new(8);
    let batch: Vec<_> = (0..3).map(|_| shops.write(1)).collect();
    journal.append(Lsn::ZERO, &batch).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let length = disk.contents("00000001.seg").unwrap().len();
    for cut in 56..length {
        let disk = disk.image();
        hutong_store::disk::DiskFile::truncate(&disk.open("00000001.seg").unwrap(), cut as u64).unwrap();
        let mut journal = SegmentJournal::open(disk.clone(), config()).unwrap();
        assert_eq!((journal.head(), journal.damage()), (Lsn::ZERO, vec![]));
        journal.append(Lsn::ZERO, &batch).unwrap();
        journal.sync().unwrap();
        assert_eq!(read_all(&*journal.reader()), batch);
    }
}

#[test]
fn a_sound_frame_in_another_ones_place_is_damage() {
    let disk = MemDisk::new();
    let config = JournalConfig::new(0x5eed);
    let mut journal = SegmentJournal::open(disk.clone(), config).unwrap();
    let mut shops = Shops::new(4);
    let records: Vec<_> = (0..6).map(|_| shops.write_bytes(1, 20)).collect();
    for record in &records {
        journal.append(journal.head(), std::slice::from_ref(record)).unwrap();
        journal.sync().unwrap();
    }
    drop(journal);
    let name = "00000001.seg";
    let contents = disk.contents(name).unwrap();
    let frame_after = |start: usize| {
        let length = u32::from_le_bytes(contents[start..start + 4].try_into().unwrap());
        start + 8 + usize::try_from(length).unwrap()
    };
    let second = frame_after(56);
    let (third, fourth) = (frame_after(second), frame_after(frame_after(second)));
    assert_eq!(third - second, fourth - third, "frames of one length, to be exchanged");
    for offset in second..third {
        let mask = contents[offset] ^ contents[offset + third - second];
        disk.flip(name, offset, mask);
        disk.flip(name, offset + third - second, mask);
    }
    let journal = SegmentJournal::open(disk, config).unwrap();
    assert_eq!(journal.head(), Lsn(6));
    assert!(!journal.damage().is_empty());
    let lost = check_nothing_wrong(&*journal.reader(), &records);
    assert!((1..=2).contains(&lost), "{lost} lost");
}
