//! A journal opens over any bytes, or says why not; what it then serves can be read, and it can be written again.
//!
//! The first byte says how to take the rest: as the first segment, as the segment after sound ones, as a torn write
//! at the end of sound ones, or as damage to sound ones (four bytes each: file, offset, mask).
#![no_main]

use std::sync::LazyLock;

use hutong_record::{
    AllianceId, Audience, Draft, Payload, Record, RecordId, ShopId, SigningKey, UnixMillis, proto::Kind, sign,
};
use hutong_store::{
    disk::{Disk as _, DiskFile as _, MemDisk},
    journal::{Journal as _, JournalConfig, JournalReader, Lsn, SegmentJournal},
};
use libfuzzer_sys::fuzz_target;

const CONFIG: JournalConfig = JournalConfig { segment_bytes_max: 1_000, checksum_seed: 0x5eed };
const PAGE_RECORDS: usize = 7;
const PAGE_BYTES: usize = 3_000;

static SOUND: LazyLock<MemDisk> = LazyLock::new(|| {
    let disk = MemDisk::new();
    let mut journal = SegmentJournal::open(disk.clone(), CONFIG).expect("an empty disk");
    for (lsn, record) in (0..).zip(log(12)) {
        journal.append(Lsn(lsn), &[record]).expect("a sound journal");
        journal.sync().expect("a sound disk");
    }
    disk
});

/// The first record of a log that no sound segment has.
static OTHER: LazyLock<Record> = LazyLock::new(|| write(9, None, 1));

fuzz_target!(|bytes: &[u8]| {
    let Some((way, bytes)) = bytes.split_first() else { return };
    let disk = match way % 4 {
        0 => MemDisk::new(),
        3 => damaged(bytes),
        _ => SOUND.image(),
    };
    match way % 4 {
        0 => append(&disk, "00000001.seg", bytes),
        1 => append(&disk, &format!("{:08x}.seg", segments(&disk).len() + 1), bytes),
        2 => append(&disk, segments(&disk).last().expect("sound ones have a last"), bytes),
        _ => {}
    }
    let Ok(mut journal) = SegmentJournal::open(disk.clone(), CONFIG) else { return };
    read_all(&*journal.reader());
    let head = journal.head();
    if journal.reader().head_of(OTHER.header().shop).is_none() {
        journal.append(head, std::slice::from_ref(&OTHER)).expect("a log that is not there begins");
        journal.sync().expect("a sound disk");
        assert_eq!(journal.head(), head.next());
    }
    drop(journal);
    let again = SegmentJournal::open(disk, CONFIG).expect("what was opened and written opens again");
    read_all(&*again.reader());
});

fn append(disk: &MemDisk, name: &str, bytes: &[u8]) {
    let file = disk.open(name).or_else(|_| disk.create(name)).expect("a sound disk");
    file.append(bytes).expect("a sound disk");
}

/// Names of the segment files, ascending; they are numbered from 1 without a gap.
fn segments(disk: &MemDisk) -> Vec<String> {
    let names = disk.list().expect("a sound disk");
    names.into_iter().filter(|name| name.ends_with(".seg")).collect()
}

fn damaged(bytes: &[u8]) -> MemDisk {
    let disk = SOUND.image();
    let names = disk.list().expect("a sound disk");
    for change in bytes.chunks_exact(4) {
        let name = &names[usize::from(change[0]) % names.len()];
        let length = disk.contents(name).expect("it was listed").len();
        if length > 0 {
            let offset = usize::from(u16::from_le_bytes([change[1], change[2]])) % length;
            disk.flip(name, offset, change[3]);
        }
    }
    disk
}

/// Reads every record by place and every log, over what is damaged.
fn read_all(reader: &dyn JournalReader) {
    let mut next = Lsn(1);
    while next <= reader.head() {
        match reader.read(next, PAGE_RECORDS, PAGE_BYTES) {
            Ok(page) => match page.last() {
                Some((lsn, _)) => next = lsn.next(),
                None => return,
            },
            Err(hutong_store::journal::JournalError::Damaged { resume, .. }) => {
                assert!(resume > next, "reading goes on");
                next = resume;
            }
            Err(error) => panic!("a disk in memory can be read: {error}"),
        }
    }
    for (shop, head) in reader.frontier() {
        let _ = reader.read_log(shop, 1, PAGE_BYTES);
        let _ = reader.read_log(shop, head.sequence, PAGE_BYTES);
        let _ = reader.record_id(shop, head.sequence);
    }
}

fn log(length: u64) -> Vec<Record> {
    let mut previous = None;
    let mut log = Vec::new();
    for sequence in 1..=length {
        let record = write(1, previous, sequence);
        previous = Some(record.id());
        log.push(record);
    }
    log
}

fn write(shop: u8, previous: Option<RecordId>, sequence: u64) -> Record {
    let draft = Draft {
        alliance: AllianceId::new([1; 32]),
        shop: ShopId::new([shop; 32]),
        key_epoch: 0,
        incarnation: 0,
        sequence,
        previous,
        time: UnixMillis::EPOCH,
        kind: Kind::Profile,
        audience: Audience::Alliance,
    };
    let payload = Payload::from_bytes(vec![shop; 40].into()).expect("within bounds");
    sign(draft, payload, &SigningKey::from_seed(&[shop; 32]))
}
