//! Shops that write records, and the checks that every journal must pass against what they wrote.

use std::collections::BTreeMap;

use hutong_record::{
    AllianceId, Audience, Draft, Payload, RUN_RECORDS_MAX, Record, RecordId, ShopId, SigningKey, UnixMillis,
    proto::Kind, sign,
};
use hutong_store::journal::{JournalConfig, JournalReader, Lsn};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// A few shops and where their logs stand.
pub(crate) struct Shops {
    heads: BTreeMap<u8, (u64, RecordId)>,
    rng: StdRng,
}

pub(crate) fn id(shop: u8) -> ShopId {
    ShopId::new([shop; 32])
}

/// Small segments, so that a few records fill several.
pub(crate) const fn small() -> JournalConfig {
    JournalConfig { segment_bytes_max: 2_000, checksum_seed: 0x5eed }
}

impl Shops {
    pub(crate) fn new(seed: u64) -> Self {
        Self { heads: BTreeMap::new(), rng: StdRng::seed_from_u64(seed) }
    }

    /// The shop's next record, signed.
    pub(crate) fn write(&mut self, shop: u8) -> Record {
        let bytes = self.rng.random_range(0..200);
        self.write_bytes(shop, bytes)
    }

    pub(crate) fn write_bytes(&mut self, shop: u8, bytes: usize) -> Record {
        self.write_with(shop, &vec![shop; bytes])
    }

    pub(crate) fn write_with(&mut self, shop: u8, message: &[u8]) -> Record {
        let head = self.heads.get(&shop).copied();
        let draft = Draft {
            alliance: AllianceId::new([1; 32]),
            shop: id(shop),
            key_epoch: 0,
            incarnation: 3,
            sequence: head.map_or(1, |(sequence, _)| sequence + 1),
            previous: head.map(|(_, id)| id),
            time: UnixMillis::new(1_700_000_000_000).unwrap(),
            kind: Kind::Profile,
            audience: Audience::Alliance,
        };
        let payload = Payload::clear(message, &mut self.rng).unwrap();
        let record = sign(draft, payload, &SigningKey::from_seed(&[shop; 32]));
        self.heads.insert(shop, (record.header().sequence, record.id()));
        record
    }

    /// A run: only the last record is signed.
    pub(crate) fn write_run(&mut self, shop: u8, length: usize) -> Vec<Record> {
        let mut run: Vec<_> = (1..length).map(|_| self.write(shop).without_signature()).collect();
        run.push(self.write(shop));
        run
    }

    /// A batch of up to five records of up to three shops.
    pub(crate) fn write_batch(&mut self) -> Vec<Record> {
        let length = self.rng.random_range(1..=5);
        (0..length)
            .map(|_| {
                let shop = self.rng.random_range(1..=3);
                self.write(shop)
            })
            .collect()
    }

    /// Forgets what is not among the records.
    pub(crate) fn go_back(&mut self, records: &[Record]) {
        self.heads.clear();
        for record in records {
            let shop = record.header().shop.as_bytes()[0];
            self.heads.insert(shop, (record.header().sequence, record.id()));
        }
    }
}

/// A record of shop 1 that is the same on every machine and with every library.
pub(crate) fn write_fixed(sequence: u64, previous: Option<RecordId>) -> Record {
    let draft = Draft {
        alliance: AllianceId::new([1; 32]),
        shop: id(1),
        key_epoch: 0,
        incarnation: 0,
        sequence,
        previous,
        time: UnixMillis::new(1_700_000_000_000).unwrap(),
        kind: Kind::Profile,
        audience: Audience::Alliance,
    };
    let payload = Payload::from_bytes(vec![7; 32].into()).unwrap();
    sign(draft, payload, &SigningKey::from_seed(&[1; 32]))
}

/// All records of a journal, read in pages.
pub(crate) fn read_all(reader: &dyn JournalReader) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let next = Lsn(records.len() as u64 + 1);
        let page = reader.read(next, 7, 3_000).unwrap();
        if page.is_empty() {
            assert_eq!(reader.head(), Lsn(records.len() as u64));
            return records;
        }
        for (lsn, record) in page {
            records.push(record);
            assert_eq!(lsn, Lsn(records.len() as u64));
        }
    }
}

/// The journal holds exactly these records, by place and by log.
pub(crate) fn check_holds(reader: &dyn JournalReader, records: &[Record]) {
    assert_eq!(read_all(reader), records);
    assert_eq!(reader.record_count(), records.len() as u64);
    assert_eq!(reader.damage(), []);
    let mut logs: BTreeMap<ShopId, Vec<Record>> = BTreeMap::new();
    for record in records {
        logs.entry(record.header().shop).or_default().push(record.clone());
    }
    let frontier = reader.frontier();
    assert_eq!(
        frontier.iter().map(|(shop, _)| *shop).collect::<Vec<_>>(),
        logs.keys().copied().collect::<Vec<_>>()
    );
    for (shop, head) in frontier {
        let log = &logs[&shop];
        let last = log.last().unwrap();
        assert_eq!((head.sequence, head.id), (log.len() as u64, last.id()));
        assert_eq!((head.incarnation, head.time), (last.header().incarnation, last.header().time));
        assert_eq!(reader.head_of(shop), Some(head));
        check_log(reader, shop, log);
    }
}

fn check_log(reader: &dyn JournalReader, shop: ShopId, log: &[Record]) {
    for record in log {
        let found = reader.record_id(shop, record.header().sequence).unwrap();
        assert_eq!(found, Some(record.id()));
    }
    for absent in [0, log.len() as u64 + 1, u64::MAX] {
        assert_eq!(reader.record_id(shop, absent).unwrap(), None);
    }
    let signed = log.iter().rposition(|r| r.signature().is_some()).map_or(0, |place| place + 1);
    let mut read: Vec<Record> = Vec::new();
    while read.len() < signed {
        let run = reader.read_log(shop, read.len() as u64 + 1, 1_500).unwrap();
        assert!((1..=RUN_RECORDS_MAX).contains(&run.len()));
        assert!(run[run.len() - 1].signature().is_some());
        read.extend(run);
    }
    assert_eq!(read, log[..signed]);
    assert!(reader.read_log(shop, log.len() as u64 + 1, 1_500).unwrap().is_empty());
}
