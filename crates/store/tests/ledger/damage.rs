//! The corruption matrix: whatever happens to the bytes of one shop's journal or views, nobody sees a wrong value or a
//! panic, nothing is lost without being named, and neighbours heal it.
//!
//! `HUTONG_MATRIX=10` makes it ten times as large.

use std::{collections::BTreeMap, fmt, fs, path::Path, sync::Arc};

use hutong_core::view::{Batch, Reader as _, ViewError};
use hutong_record::{Record, ShopId};
use hutong_store::{
    disk::{Disk as _, DiskFile as _, MemDisk},
    journal::{
        Journal, JournalConfig, JournalError, JournalReader, Leftover, Lsn, Scrub, ScrubStep, SegmentJournal,
        Survey,
    },
    ledger::{HeadAnswer, Ledger, LedgerError, Patience, Seat, Signing},
    repair::Repair,
    views::{MemViews, SledViews, Views},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    street::Street,
    till::{card, yuan},
};

/// The shop whose disk is damaged.
const ILL: usize = 2;
const BLOCK: usize = 4_096;
const SMALL: JournalConfig = JournalConfig { segment_bytes_max: 7_000, checksum_seed: 0x5eed };
/// After so many rounds of asking nothing more is expected.
const ROUNDS: usize = 8;
const JOURNAL_CASES: usize = 2_000;
const VIEWS_CASES: usize = 160;
const SEED: u64 = 0x5c72;

/// What is done to a file.
#[derive(Debug, Clone)]
enum Blow {
    Flip { name: String, offset: usize, mask: u8 },
    Zero { name: String, offset: usize, length: usize },
    Cut { name: String, length: usize },
    Gone { name: String },
}

impl Blow {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Flip { .. } => "flipped bits",
            Self::Zero { .. } => "zeroed blocks",
            Self::Cut { .. } => "truncations",
            Self::Gone { .. } => "missing files",
        }
    }

    fn strike(&self, disk: &MemDisk) {
        match self {
            // An earlier blow may have cut it off.
            Self::Flip { name, offset, .. } if disk.contents(name).unwrap().len() <= *offset => {}
            Self::Flip { name, offset, mask } => disk.flip(name, *offset, *mask),
            Self::Zero { name, offset, length } => disk.zero(name, *offset, *length),
            Self::Cut { name, length } => disk.open(name).unwrap().truncate(*length as u64).unwrap(),
            Self::Gone { name } => disk.remove(name).unwrap(),
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Every record is there again, and the journal is sound.
    Healed,
    /// The node says which file it cannot go on with.
    Refused,
    /// Some records are named as lost.
    Named,
}

/// A street that has traded, everybody knows everything, and what the shop that falls ill knew.
struct Before {
    street: Street,
    disk: MemDisk,
    views: Batch,
    position: Lsn,
    logs: BTreeMap<ShopId, Vec<Record>>,
}

impl Before {
    fn new() -> Self {
        let mut street = Street::new(SEED, 4);
        let terms = street.terms(&[1], ILL);
        street.publish(ILL, terms).unwrap();
        street.meet();
        for n in 0..8 {
            let token = street.sell(1, yuan(30), Some(card(n))).remove(0);
            street.redeem(ILL, &token.qr_text(), Some(card(n))).unwrap();
            street.touch(3, ILL, card(n)).unwrap();
            if n % 3 == 0 {
                street.meet();
            }
        }
        street.meet();
        let shop = &street.shops[ILL];
        let disk = in_small_segments(&*shop.ledger.reader());
        let segments = disk.list().unwrap().iter().filter(|name| name.ends_with(".seg")).count();
        assert!(segments >= 3, "first, middle and last: {segments}");
        let views = entries(&*shop.ledger.views());
        let position = shop.ledger.views().position().unwrap();
        let logs = logs(&*shop.ledger.reader());
        Self { street, disk, views, position, logs }
    }

    fn views(&self) -> Arc<MemViews> {
        let views = MemViews::new();
        views.apply(&self.views, self.position).unwrap();
        Arc::new(views)
    }

    fn open<V: Views>(&self, disk: &MemDisk, views: Arc<V>) -> Result<Ledger<V>, LedgerError> {
        let journal = Box::new(SegmentJournal::open(disk.clone(), SMALL)?);
        let (me, keys) = (self.street.id(ILL), self.street.shops[ILL].keys.clone());
        let charter = self.street.charter.clone();
        Ledger::open(charter, me, keys, Seat::Kept, journal, views, &mut |_, _| {})
    }

    fn neighbours(&self) -> impl Iterator<Item = usize> {
        (0..self.street.shops.len()).filter(|shop| *shop != ILL)
    }
}

/// The same journal in segments so small that it has several.
fn in_small_segments(reader: &dyn JournalReader) -> MemDisk {
    let disk = MemDisk::new();
    let mut journal = SegmentJournal::open(disk.clone(), SMALL).unwrap();
    for (lsn, record) in reader.read(Lsn(1), usize::MAX, usize::MAX).unwrap() {
        assert_eq!(journal.append(Journal::head(&journal), &[record]).unwrap(), lsn);
        journal.sync().unwrap();
    }
    disk
}

fn entries(views: &impl Views) -> Batch {
    let mut entries = Batch::new();
    let mut keep = |key: &[u8], value: &[u8]| {
        entries.insert(key.to_vec(), Some(value.to_vec()));
        true
    };
    views.scan(&[], None, &mut keep).unwrap();
    entries
}

fn logs(reader: &dyn JournalReader) -> BTreeMap<ShopId, Vec<Record>> {
    let log = |shop: ShopId| {
        let mut log: Vec<Record> = Vec::new();
        while let Ok(run) = reader.read_log(shop, log.len() as u64 + 1, 1 << 20) {
            if run.is_empty() {
                break;
            }
            log.extend(run);
        }
        log
    };
    reader.frontier().into_iter().map(|(shop, _)| (shop, log(shop))).collect()
}

/// A node on a damaged disk among its neighbours.
struct Patient<'a, V> {
    before: &'a Before,
    ledger: Ledger<V>,
    rng: StdRng,
}

impl<V: Views> Patient<'_, V> {
    /// Does what a node does by itself once it is linked to its neighbours.
    fn recover(&mut self) -> Survey {
        let mut last = self.survey();
        for _ in 0..ROUNDS {
            self.catch_up();
            self.ask_own_head();
            let survey = self.survey();
            if survey.is_sound() {
                return survey;
            }
            let healed = self.repair(survey.clone());
            last = self.survey();
            if !healed {
                break;
            }
        }
        last
    }

    fn survey(&self) -> Survey {
        let mut pass = Scrub::default();
        loop {
            if let ScrubStep::Done(survey) = self.ledger.reader().scrub(&mut pass, 64 << 10).unwrap() {
                return survey;
            }
        }
    }

    /// The ends of logs come as anything new does.
    fn catch_up(&mut self) {
        let now = self.before.street.now;
        for peer in self.before.neighbours() {
            let shop = &self.before.street.shops[peer];
            for (author, theirs) in shop.ledger.reader().frontier() {
                loop {
                    let held = self.ledger.head(author).map_or(0, |head| head.sequence);
                    if held >= theirs.sequence {
                        break;
                    }
                    let run = shop.log(author, held).iter().map(Record::to_message).collect();
                    let taken = self.ledger.ingest(run, now).unwrap();
                    self.ledger.commit().unwrap();
                    if taken != Ok(true) {
                        break;
                    }
                }
            }
        }
    }

    fn ask_own_head(&mut self) {
        let me = self.before.street.id(ILL);
        let peers = self.before.neighbours().map(|peer| self.before.street.shops[peer].answer(me));
        let answers: Vec<HeadAnswer> = peers.collect();
        let now = self.before.street.now;
        self.ledger.confirm_head(&answers, Patience::Over, now, &mut self.rng).unwrap();
        self.ledger.commit().unwrap();
    }

    /// True: something was put back.
    fn repair(&mut self, survey: Survey) -> bool {
        let peers: Vec<_> =
            self.before.neighbours().map(|peer| (peer, self.before.street.id(peer))).collect();
        let mut repair = Repair::new(Arc::new(survey));
        while let Some((peer, question)) = repair.ask(&peers) {
            let bytes_max = usize::try_from(question.bytes_max).unwrap();
            let reader = self.before.street.shops[peer].ledger.reader();
            let run = reader.read_log(question.shop, question.sequence, bytes_max).unwrap();
            let run = run.iter().map(Record::to_message).collect();
            repair.answered(peer, question.shop, question.sequence, vec![run]);
        }
        assert!(repair.is_settled(&peers));
        let sure = repair.is_complete() && self.ledger.signing() == Signing::Confirmed;
        let leftover = if sure { Leftover::Void } else { Leftover::Keep };
        let (survey, found) = repair.into_found();
        let (healed, _) = self.ledger.heal(&survey, found, leftover).unwrap().unwrap();
        healed.segments > 0
    }

    /// Every record that was acknowledged is there, or is named; none is another.
    fn check(&self, survey: &Survey, case: &dyn fmt::Debug) -> End {
        let found = logs(&*self.ledger.reader());
        let mut lacking = 0;
        for (shop, log) in &self.before.logs {
            let there = found.get(shop).map_or(&[][..], Vec::as_slice);
            for (held, written) in there.iter().zip(log) {
                assert_eq!(held.id(), written.id(), "{case:?}: a wrong record");
                assert_eq!(held.payload(), written.payload(), "{case:?}: a wrong payload");
            }
            lacking += log.len().saturating_sub(there.len());
        }
        if lacking > 0 {
            assert!(!survey.is_sound(), "{case:?}: {lacking} records are lost and not named");
            return End::Named;
        }
        if !survey.is_sound() {
            return End::Named;
        }
        End::Healed
    }

    /// The state is the one before, or, where this shop has begun an incarnation, what its journal comes to.
    fn check_state(&self, case: &dyn fmt::Debug) {
        let me = self.before.street.id(ILL);
        let own = self.ledger.head(me).unwrap();
        let known = self.before.logs[&me].last().unwrap();
        let views = self.ledger.views();
        if own.id == known.id() {
            let now = entries(&*views);
            let differs = self.before.views.iter().find(|(key, value)| now.get(*key) != Some(value));
            assert_eq!(differs, None, "{case:?}: a wrong value");
            assert_eq!(now.len(), self.before.views.len(), "{case:?}: an entry too many");
        } else {
            let resumed = own.sequence == known.header().sequence + 1;
            assert!(resumed, "{case:?}: the log goes on in a new incarnation, after all that was lost");
        }
    }
}

/// Places where something begins or ends, and random ones.
fn blows(before: &Before, cases: usize) -> Vec<Vec<Blow>> {
    let mut rng = StdRng::seed_from_u64(SEED);
    let disk = &before.disk;
    let files: Vec<(String, usize)> = disk
        .list()
        .unwrap()
        .into_iter()
        .map(|name| (name.clone(), disk.contents(&name).unwrap().len()))
        .collect();
    let mut all = Vec::new();
    for (name, length) in &files {
        let name = || name.clone();
        // Both copies of a header, the first frame's head, the last bytes.
        let marked = (0..80.min(*length)).step_by(4).chain((*length).saturating_sub(12)..*length);
        all.extend(marked.map(|offset| vec![Blow::Flip { name: name(), offset, mask: 1 << (offset % 8) }]));
        let blocks = (0..*length).step_by(BLOCK);
        all.extend(blocks.map(|offset| vec![Blow::Zero { name: name(), offset, length: BLOCK }]));
        let cuts = [0, 28, 56, 57, length / 2, length.saturating_sub(1)];
        let cuts = cuts.into_iter().filter(|cut| cut < length);
        all.extend(cuts.map(|length| vec![Blow::Cut { name: name(), length }]));
    }
    // A last segment that is gone is for the seat mark to notice, which is the node's.
    let last = files.iter().rev().find(|(name, _)| name.ends_with(".seg")).unwrap().0.clone();
    all.extend(
        files
            .iter()
            .filter(|(name, _)| *name != last)
            .map(|(name, _)| vec![Blow::Gone { name: name.clone() }]),
    );
    let segments: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".seg")).cloned().collect();
    while all.len() < cases {
        let random = |rng: &mut StdRng| {
            let from = if rng.random_bool(0.9) { &segments } else { &files };
            let (name, length) = from[rng.random_range(0..from.len())].clone();
            let offset = rng.random_range(0..length);
            match rng.random_range(0..10) {
                0..6 => Blow::Flip { name, offset, mask: 1 << rng.random_range(0..8) },
                6..8 => Blow::Zero { name, offset, length: BLOCK },
                _ => Blow::Cut { name, length: offset },
            }
        };
        let count = if rng.random_bool(0.8) { 1 } else { rng.random_range(2..4) };
        all.push((0..count).map(|_| random(&mut rng)).collect());
    }
    all
}

fn strike(before: &Before, number: usize, blows: &[Blow]) -> End {
    let disk = before.disk.image();
    for blow in blows {
        blow.strike(&disk);
    }
    // Now and then the views are gone as well.
    let views = if number.is_multiple_of(10) { Arc::new(MemViews::new()) } else { before.views() };
    let ledger = match before.open(&disk, views) {
        Ok(ledger) => ledger,
        Err(LedgerError::Journal(
            JournalError::Damaged { segment, .. } | JournalError::Format { segment, .. },
        )) => {
            assert!(segment > 0, "{blows:?}: named by its file");
            return End::Refused;
        }
        Err(error) => panic!("{blows:?}: {error}"),
    };
    let mut patient = Patient { before, ledger, rng: StdRng::seed_from_u64(number as u64) };
    let survey = patient.recover();
    let end = patient.check(&survey, &blows);
    if end == End::Healed {
        patient.check_state(&blows);
        let (folded, refolded) = (entries(&*patient.ledger.views()), Arc::new(MemViews::new()));
        drop(patient);
        if number % 10 == 1 {
            drop(before.open(&disk, refolded.clone()).unwrap());
            assert_eq!(entries(&*refolded), folded, "{blows:?}: folded anew it comes to something else");
        }
        // And what is on the disk says the same to the next who opens it.
        let again = SegmentJournal::open(disk, SMALL).unwrap();
        assert!(again.damage().is_empty(), "{blows:?}: {:?}", again.damage());
    }
    end
}

fn times() -> usize {
    std::env::var("HUTONG_MATRIX").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

fn tell(what: &str, counts: &BTreeMap<(&'static str, End), usize>) -> (usize, usize) {
    let all: usize = counts.values().sum();
    let healed = counts.iter().filter(|((_, end), _)| *end == End::Healed).map(|(_, count)| count).sum();
    println!("{what}: {all} damages, {healed} healed wholly, {counts:?}");
    (all, healed)
}

#[test]
fn whatever_a_journal_suffers_is_healed_by_neighbours_or_named() {
    let before = Before::new();
    let mut counts = BTreeMap::new();
    for (number, blows) in blows(&before, JOURNAL_CASES * times()).iter().enumerate() {
        let end = strike(&before, number, blows);
        *counts.entry((blows[0].kind(), end)).or_default() += 1;
    }
    let (all, healed) = tell("journal", &counts);
    assert!(all >= JOURNAL_CASES && healed * 100 >= all * 95, "{healed} of {all}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to)
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn strike_views(folder: &Path, rng: &mut StdRng) -> &'static str {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0).collect();
    files.sort_unstable();
    let file = &files[rng.random_range(0..files.len())];
    let mut bytes = fs::read(file).unwrap();
    // Most of a file that was laid out ahead is empty.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let offset = rng.random_range(0..used);
    let kind = match rng.random_range(0..10) {
        0..5 => {
            bytes[offset] ^= 1 << rng.random_range(0..8);
            "flipped bits"
        }
        5..8 => {
            let (begin, end) = (offset / BLOCK * BLOCK, bytes.len().min(offset / BLOCK * BLOCK + BLOCK));
            bytes[begin..end].fill(0);
            "zeroed blocks"
        }
        _ => {
            bytes.truncate(offset);
            "truncations"
        }
    };
    fs::write(file, bytes).unwrap();
    kind
}

/// Opens views as a node does, and reads all of them; what it says if they are found damaged only now.
fn open_views(before: &Before, folder: &Path) -> Result<Batch, ViewError> {
    let opened = SledViews::open(folder, 1, 8 << 20)?;
    let views = Arc::new(opened.views);
    match before.open(&before.disk.image(), views.clone()) {
        Ok(_ledger) => {}
        Err(LedgerError::View(error)) => return Err(error),
        Err(error) => panic!("{error}"),
    }
    let mut entries = Batch::new();
    let mut keep = |key: &[u8], value: &[u8]| {
        entries.insert(key.to_vec(), Some(value.to_vec()));
        true
    };
    views.scan(&[], None, &mut keep)?;
    Ok(entries)
}

#[test]
fn damaged_views_are_thrown_away_and_folded_anew() {
    let before = Before::new();
    let temporary = tempfile::tempdir().unwrap();
    let whole = temporary.path().join("whole");
    assert_eq!(open_views(&before, &whole), Ok(before.views.clone()));
    let mut counts = BTreeMap::new();
    for number in 0..VIEWS_CASES * times() {
        let folder = temporary.path().join(number.to_string());
        copy(&whole, &folder);
        let kind = strike_views(&folder, &mut StdRng::seed_from_u64(number as u64));
        // Where damage shows only when a page is read, the node is started again, as by its supervisor.
        let entries = match open_views(&before, &folder) {
            Err(ViewError::Damaged(_)) => open_views(&before, &folder),
            opened => opened,
        };
        assert_eq!(entries, Ok(before.views.clone()), "{kind}, case {number}");
        *counts.entry((kind, End::Healed)).or_default() += 1;
        fs::remove_dir_all(&folder).unwrap();
    }
    tell("views", &counts);
}

/// The segment in which these bytes are, and where.
fn find(disk: &MemDisk, bytes: &[u8]) -> (String, usize) {
    let within = |name: String| {
        let contents = disk.contents(&name)?;
        let place = contents.windows(bytes.len()).position(|w| w == bytes)?;
        Some((name, place))
    };
    disk.list().unwrap().into_iter().find_map(within).unwrap()
}

#[test]
fn own_records_that_nobody_else_holds_stay_named() {
    let mut before = Before::new();
    let me = before.street.id(ILL);
    let known = before.logs[&me].len() as u64;
    // Three sales that nobody heard of, and then a rest of the log behind them.
    for _ in 0..3 {
        before.street.sell(ILL, yuan(30), None);
    }
    let shop = &before.street.shops[ILL];
    before.disk = in_small_segments(&*shop.ledger.reader());
    let lost = shop.log(me, known)[0].payload().unwrap().bytes().clone();
    let (name, offset) = find(&before.disk, &lost);
    let disk = before.disk.image();
    Blow::Flip { name, offset, mask: 1 }.strike(&disk);
    let ledger = before.open(&disk, Arc::new(MemViews::new())).unwrap();
    let mut patient = Patient { before: &before, ledger, rng: StdRng::seed_from_u64(1) };
    let survey = patient.recover();
    assert_eq!(survey.lost.len(), 1);
    let named = survey.lost[0].records;
    assert_eq!((named.shop, named.from_sequence, named.to_sequence), (me, known + 1, known + 1));
    assert_eq!(patient.ledger.reader().damage()[0].missing, [named]);
    // A backup that has them heals it.
    let record = before.street.shops[ILL].log(me, known)[0].clone();
    patient.ledger.heal(&survey, vec![record], Leftover::Keep).unwrap().unwrap();
    assert!(patient.survey().is_sound());
    assert_eq!(patient.ledger.head(me).unwrap().sequence, known + 3);
}

#[test]
fn a_signature_that_does_not_hold_is_not_stored() {
    let before = Before::new();
    let author = before.street.id(1);
    let disk = before.disk.image();
    let record = before.logs[&author][3].clone();
    let payload = record.payload().unwrap().bytes().clone();
    let (name, place) = find(&disk, &payload);
    disk.flip(&name, place, 1);
    let ledger = before.open(&disk, before.views()).unwrap();
    let mut patient = Patient { before: &before, ledger, rng: StdRng::seed_from_u64(1) };
    let survey = patient.survey();
    let mut message = record.to_message();
    message.signature = vec![7; 64].into();
    let forged = Record::parse(message).unwrap();
    patient.ledger.heal(&survey, vec![forged], Leftover::Keep).unwrap().unwrap();
    let log = patient.ledger.reader().read_log(author, 1, 1 << 20).unwrap();
    assert_eq!((log[3].id(), log[3].signature()), (record.id(), None));
}
