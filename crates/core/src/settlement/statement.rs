//! Statements: what two shops hold to be owed at the end of a period. A statement names how far each log is included (its
//! *cut*), so that both shops add up exactly the same records: whoever is second waits until it holds the cut. A line
//! belongs to the first statement that covers it; one that arrives late is in the next. Both having signed the same
//! content, it is agreed, whatever either says later (see `crates/adr/0014`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hutong_record::{PairId, RecordId, ShopId, UnixMillis, proto};
use serde::{Deserialize, Serialize};

use super::{
    book::{self, Entry, Shown, sides},
    response::{self, Responses},
};
use crate::{
    charter::Charter,
    fold,
    roster::Roster,
    table::{self, LineKey},
    view::{Reader, ViewError},
    voucher::copy,
};

/// Logs that one statement covers. Lines between two shops come from these and from the shops that redeem what one of them
/// pays for; a message of 16 KiB holds so many.
pub const CUT_MAX: usize = 160;
/// Lines that one statement lists.
pub const LISTED_MAX: usize = 100;
/// Days that one statement tells apart: half a year.
pub const DAYS_MAX: usize = 186;
/// Netting runs that one statement includes for the first time.
pub const NETTINGS_MAX: usize = 16;
/// Statements of one number by one shop that are kept: each is a new proposal, or lists another day.
pub const VERSIONS_MAX: usize = 16;

/// What must be equal for two shops to agree. Amounts are minor units that the shop with the higher id owes the one with
/// the lower id; negative: the other way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// 1 for the first of a pair.
    pub number: u32,
    /// The end of the period before.
    pub start: UnixMillis,
    /// Lines of this moment or later are not in it.
    pub end: UnixMillis,
    /// How far each log is included, ascending.
    pub cut: Vec<(ShopId, u64)>,
    /// Netting runs that it includes for the first time, ascending.
    pub nettings: Vec<RecordId>,
    /// The closing balance of the one before.
    pub opening_minor: i64,
    /// What lines add since.
    pub lines_minor: i64,
    /// How many these are.
    pub line_count: u32,
    /// What changed in what earlier statements cover.
    pub correction_minor: i64,
    /// What is owed.
    pub closing_minor: i64,
    /// What disputes hold back.
    pub disputed_minor: i64,
    /// Hash over the lines in order.
    pub lines_digest: [u8; 32],
    /// The digest of the one before.
    pub previous: Option<[u8; 32]>,
}

/// A line as a statement lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListedLine {
    /// The record that booked it.
    pub record: RecordId,
    /// Which of its lines.
    pub index: u8,
    /// What it adds.
    pub minor: i64,
}

/// The lines of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaySum {
    /// Days since 1970-01-01 in the alliance's local time.
    pub day: i64,
    /// How many.
    pub line_count: u32,
    /// What they add.
    pub minor: i64,
    /// Part of the hash over them in order.
    pub digest: [u8; 16],
}

/// What a statement tells beside what must be equal, so that differences are found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Annex {
    /// Lines: all, where they are few, or those of `day`.
    pub lines: Vec<ListedLine>,
    /// Days, where the lines are many.
    pub days: Vec<DaySum>,
    /// The day whose lines are listed.
    pub day: Option<i64>,
}

/// A statement that a shop has signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Its record.
    pub record: RecordId,
    /// What it says.
    pub content: Statement,
    /// What it lists.
    pub annex: Annex,
}

/// A statement that both have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// What it says.
    pub content: Statement,
    /// The lower shop's record.
    pub low: RecordId,
    /// The higher shop's record.
    pub high: RecordId,
}

/// How the statement of a number stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Which.
    pub number: u32,
    /// The statement, where both have signed the same.
    pub agreed: Option<Agreed>,
    /// What this shop signed, oldest first.
    pub own: Vec<Signed>,
    /// What the ally signed, oldest first.
    pub theirs: Vec<Signed>,
}

impl Statement {
    /// Hash over all that must be equal.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("hutong 2026 v1 statement");
        hasher.update(&self.number.to_be_bytes());
        hasher.update(&self.start.ms().to_be_bytes()).update(&self.end.ms().to_be_bytes());
        hasher.update(&(self.cut.len() as u64).to_be_bytes());
        for (shop, sequence) in &self.cut {
            hasher.update(shop.as_bytes()).update(&sequence.to_be_bytes());
        }
        hasher.update(&(self.nettings.len() as u64).to_be_bytes());
        for run in &self.nettings {
            hasher.update(run.as_bytes());
        }
        let sums = [
            self.opening_minor,
            self.lines_minor,
            self.line_count.into(),
            self.correction_minor,
            self.closing_minor,
            self.disputed_minor,
        ];
        for sum in sums {
            hasher.update(&sum.to_be_bytes());
        }
        hasher.update(&self.lines_digest).update(&self.previous.unwrap_or_default());
        *hasher.finalize().as_bytes()
    }

    /// Parses a statement's record: form and bounds, not whether it is right.
    pub(crate) fn parse(message: &proto::Statement) -> Option<(Self, Annex)> {
        let mark =
            |mark: &proto::CutMark| Some((ShopId::try_from(mark.shop_id.as_ref()).ok()?, mark.sequence));
        let cut: Vec<_> = message.cut.iter().map(mark).collect::<Option<_>>()?;
        let run = |id: &bytes::Bytes| RecordId::try_from(id.as_ref()).ok();
        let nettings: Vec<_> = message.netting_ids.iter().map(run).collect::<Option<_>>()?;
        let previous = match message.previous_digest.as_ref() {
            [] => None,
            digest => Some(digest.try_into().ok()?),
        };
        let content = Self {
            number: message.number,
            start: UnixMillis::new(message.period_start_unix_ms).ok()?,
            end: UnixMillis::new(message.period_end_unix_ms).ok()?,
            cut,
            nettings,
            opening_minor: message.opening_minor,
            lines_minor: message.lines_minor,
            line_count: message.line_count,
            correction_minor: message.correction_minor,
            closing_minor: message.closing_minor,
            disputed_minor: message.disputed_minor,
            lines_digest: message.lines_digest.as_ref().try_into().ok()?,
            previous,
        };
        let well = content.number > 0
            && content.start < content.end
            && content.cut.len() <= CUT_MAX
            && content.cut.windows(2).all(|two| two[0].0 < two[1].0)
            && content.nettings.len() <= NETTINGS_MAX
            && content.nettings.windows(2).all(|two| two[0] < two[1])
            && (content.number == 1) == content.previous.is_none();
        well.then_some((content, Annex::parse(message)?))
    }

    pub(crate) fn message(&self, ally: ShopId, annex: &Annex) -> proto::Statement {
        let line = |line: &ListedLine| proto::StatementLine {
            record_id: copy(line.record.as_bytes()),
            index: line.index.into(),
            minor: line.minor,
        };
        let day = |day: &DaySum| proto::StatementDay {
            day: day.day,
            line_count: day.line_count,
            minor: day.minor,
            digest: copy(&day.digest),
        };
        let mark = |(shop, sequence): &(ShopId, u64)| proto::CutMark {
            shop_id: copy(shop.as_bytes()),
            sequence: *sequence,
        };
        proto::Statement {
            ally_id: copy(ally.as_bytes()),
            number: self.number,
            period_start_unix_ms: self.start.ms(),
            period_end_unix_ms: self.end.ms(),
            cut: self.cut.iter().map(mark).collect(),
            netting_ids: self.nettings.iter().map(|run| copy(run.as_bytes())).collect(),
            opening_minor: self.opening_minor,
            lines_minor: self.lines_minor,
            line_count: self.line_count,
            correction_minor: self.correction_minor,
            closing_minor: self.closing_minor,
            disputed_minor: self.disputed_minor,
            lines_digest: copy(&self.lines_digest),
            previous_digest: self.previous.map_or_else(bytes::Bytes::new, |digest| copy(&digest)),
            lines: annex.lines.iter().map(line).collect(),
            days: annex.days.iter().map(day).collect(),
            listed_day: annex.day,
        }
    }
}

impl Annex {
    fn parse(message: &proto::Statement) -> Option<Self> {
        let line = |line: &proto::StatementLine| {
            let record = RecordId::try_from(line.record_id.as_ref()).ok()?;
            Some(ListedLine { record, index: u8::try_from(line.index).ok()?, minor: line.minor })
        };
        let day = |day: &proto::StatementDay| {
            let digest = day.digest.as_ref().try_into().ok()?;
            Some(DaySum { day: day.day, line_count: day.line_count, minor: day.minor, digest })
        };
        if message.lines.len() > LISTED_MAX || message.days.len() > DAYS_MAX {
            return None;
        }
        Some(Self {
            lines: message.lines.iter().map(line).collect::<Option<_>>()?,
            days: message.days.iter().map(day).collect::<Option<_>>()?,
            day: message.listed_day,
        })
    }
}

/// All statements between two shops: those that are agreed, then the one that is not.
pub fn cases(view: &(impl Reader + ?Sized), me: ShopId, ally: ShopId) -> Result<Vec<Case>, ViewError> {
    let mut cases: Vec<Case> = Vec::new();
    loop {
        let number = u32::try_from(cases.len() + 1).unwrap_or(u32::MAX);
        let case = case(view, me, ally, number, cases.last().and_then(|before| before.agreed.as_ref()))?;
        let is_last = case.agreed.is_none();
        cases.push(case);
        if is_last {
            return Ok(cases);
        }
    }
}

fn case(
    view: &(impl Reader + ?Sized),
    me: ShopId,
    ally: ShopId,
    number: u32,
    before: Option<&Agreed>,
) -> Result<Case, ViewError> {
    let (own, theirs) = (signed(view, me, ally, number, me)?, signed(view, me, ally, number, ally)?);
    let (low, high) = if me < ally { (&own, &theirs) } else { (&theirs, &own) };
    let previous = before.map(|before| before.content.digest());
    let follows = |signed: &&Signed| signed.content.previous == previous;
    // Of several that both have signed, the one that the lower shop signed first.
    let agreed = low.iter().filter(follows).find_map(|low| {
        let same = high.iter().find(|high| high.content == low.content)?;
        Some(Agreed { content: low.content.clone(), low: low.record, high: same.record })
    });
    Ok(Case { number, agreed, own, theirs })
}

fn signed(
    view: &(impl Reader + ?Sized),
    me: ShopId,
    ally: ShopId,
    number: u32,
    author: ShopId,
) -> Result<Vec<Signed>, ViewError> {
    let prefix = table::statements_of(PairId::of(me, ally), number, author);
    table::collect(view, &prefix, table::decode)
}

impl Case {
    /// The statement over whose cut both add up: the lower shop's latest, else the higher's.
    pub fn base(&self, me: ShopId, ally: ShopId) -> Option<&Statement> {
        let (low, high) = if me < ally { (&self.own, &self.theirs) } else { (&self.theirs, &self.own) };
        low.last().or(high.last()).map(|signed| &signed.content)
    }

    /// Whether both have signed, and not the same.
    pub fn differs(&self) -> bool {
        self.agreed.is_none() && !self.own.is_empty() && !self.theirs.is_empty()
    }
}

/// How far logs and netting runs are included, and until when.
struct Cut {
    marks: BTreeMap<ShopId, u64>,
    nettings: BTreeSet<RecordId>,
    end: UnixMillis,
}

impl Cut {
    fn covers(&self, author: ShopId, sequence: u64) -> bool {
        self.marks.get(&author).is_some_and(|mark| sequence <= *mark)
    }
}

/// What an ally's statement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Records of this shop, up to this one.
    Records(ShopId, u64),
    /// What a netting run needs to take effect.
    Netting(RecordId),
}

/// What of a cut is not here yet.
pub(crate) fn missing(
    view: &(impl Reader + ?Sized),
    roster: &Roster,
    base: &Statement,
    in_effect: &BTreeSet<RecordId>,
) -> Result<Option<Missing>, ViewError> {
    for (shop, sequence) in &base.cut {
        if fold::cursor(view, *shop)? < counted(roster, *shop, *sequence) {
            return Ok(Some(Missing::Records(*shop, *sequence)));
        }
    }
    Ok(base.nettings.iter().find(|run| !in_effect.contains(run)).map(|run| Missing::Netting(*run)))
}

/// What lies past a seal has no lines, and some never get it.
fn counted(roster: &Roster, shop: ShopId, sequence: u64) -> u64 {
    roster.counts_up_to(shop).map_or(sequence, |last| last.min(sequence))
}

/// The netting runs that have changed what two shops owe.
pub(crate) fn nettings(
    view: &(impl Reader + ?Sized),
    me: ShopId,
    ally: ShopId,
) -> Result<BTreeSet<RecordId>, ViewError> {
    let mut runs = BTreeSet::new();
    each_line(view, PairId::of(me, ally), &mut |_, entry| {
        if entry.matter.is_of_run() {
            runs.insert(entry.record);
        }
        Ok(())
    })?;
    Ok(runs)
}

/// How far each log is counted, and which netting runs.
pub(crate) type LogsAndRuns = (Vec<(ShopId, u64)>, Vec<RecordId>);

/// A cut of all that is here by now.
pub(crate) fn cut_now(
    view: &(impl Reader + ?Sized),
    (charter, roster): (&Charter, &Roster),
    me: ShopId,
    ally: ShopId,
    before: &BTreeSet<RecordId>,
) -> Result<LogsAndRuns, ViewError> {
    let mut shops = BTreeSet::from([me, ally]);
    shops.extend(response::of_pair(view, &charter.settlement, me, ally)?.authors());
    let mut nettings = BTreeSet::new();
    each_line(view, PairId::of(me, ally), &mut |at, entry| {
        match entry.matter {
            matter if matter.is_of_run() => drop(nettings.insert(entry.record)),
            _ => drop(shops.insert(at.author)),
        }
        Ok(())
    })?;
    // Beyond the bound the two shops themselves come first: responses and payments are theirs.
    let others = shops.iter().copied().filter(|shop| *shop != me && *shop != ally).take(CUT_MAX - 2);
    let mut kept: Vec<ShopId> = others.chain([me, ally]).collect();
    kept.sort_unstable();
    let marks = kept.into_iter().map(|shop| Ok((shop, counted(roster, shop, fold::cursor(view, shop)?))));
    let marks = marks.collect::<Result<Vec<_>, ViewError>>()?;
    let marks = marks.into_iter().filter(|(_, sequence)| *sequence > 0).collect();
    Ok((marks, nettings.difference(before).copied().take(NETTINGS_MAX).collect()))
}

fn each_line(
    view: &(impl Reader + ?Sized),
    pair: PairId,
    visit: &mut dyn FnMut(LineKey, Entry) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    table::walk(view, &table::lines(pair), None, |key, value| {
        visit(book::parse_place(key)?, table::decode(key, value)?)?;
        Ok(true)
    })
}

/// What lines come to, as they are met in order.
struct Sums {
    offset_minutes: i32,
    listed_day: Option<i64>,
    /// All that the statement before covers, as known today.
    before: i128,
    lines: i128,
    count: u32,
    closing: i128,
    disputed: i128,
    hasher: blake3::Hasher,
    listed: Vec<ListedLine>,
    days: BTreeMap<i64, (u32, i128, blake3::Hasher)>,
}

impl Sums {
    fn new(offset_minutes: i32, listed_day: Option<i64>) -> Self {
        Self {
            offset_minutes,
            listed_day,
            before: 0,
            lines: 0,
            count: 0,
            closing: 0,
            disputed: 0,
            hasher: blake3::Hasher::new_derive_key("hutong 2026 v1 statement lines"),
            listed: Vec::new(),
            days: BTreeMap::new(),
        }
    }

    /// A line that comes in, or goes out again (`minor` with the other sign).
    fn add(&mut self, at: &LineKey, entry: &Entry, minor: i128) {
        self.lines += minor;
        self.count = self.count.saturating_add(1);
        let day = at.at.day(self.offset_minutes);
        let (count, sum, hasher) = self
            .days
            .entry(day)
            .or_insert_with(|| (0, 0, blake3::Hasher::new_derive_key("hutong 2026 v1 statement lines")));
        *count = count.saturating_add(1);
        *sum += minor;
        for hasher in [&mut self.hasher, hasher] {
            hasher.update(entry.record.as_bytes()).update(&[at.index]).update(&minor.to_be_bytes());
        }
        let is_wanted = self.listed_day.is_none_or(|wanted| wanted == day);
        if is_wanted && self.listed.len() <= LISTED_MAX {
            self.listed.push(ListedLine { record: entry.record, index: at.index, minor: narrow(minor) });
        }
    }

    fn annex(self) -> Annex {
        let many = self.listed.len() > LISTED_MAX;
        let mut lines = self.listed;
        lines.truncate(LISTED_MAX);
        if self.listed_day.is_some() {
            return Annex { lines, days: Vec::new(), day: self.listed_day };
        }
        if !many {
            return Annex { lines, days: Vec::new(), day: None };
        }
        // Older days than are told apart count for the first that is.
        let skip = self.days.len().saturating_sub(DAYS_MAX);
        let mut days: Vec<DaySum> = Vec::with_capacity(self.days.len().min(DAYS_MAX));
        for (place, (day, (line_count, minor, hasher))) in self.days.into_iter().enumerate() {
            let hash = *hasher.finalize().as_bytes();
            let mut digest = [0; 16];
            digest.copy_from_slice(&hash[..16]);
            match days.first_mut().filter(|_| place <= skip) {
                Some(first) => {
                    let both = [first.digest, digest].concat();
                    let both = blake3::derive_key("hutong 2026 v1 statement days", &both);
                    first.digest.copy_from_slice(&both[..16]);
                    first.day = day;
                    first.line_count = first.line_count.saturating_add(line_count);
                    first.minor = first.minor.saturating_add(narrow(minor));
                }
                None => days.push(DaySum { day, line_count, minor: narrow(minor), digest }),
            }
        }
        Annex { lines: Vec::new(), days, day: None }
    }
}

/// Sums beyond an `i64` are not reached in the lifetime of a street.
fn narrow(minor: i128) -> i64 {
    i64::try_from(minor).unwrap_or(if minor < 0 { i64::MIN } else { i64::MAX })
}

/// What a statement is about: who, which number, after which one, over which records.
pub(crate) struct Scope<'s> {
    pub(crate) me: ShopId,
    pub(crate) ally: ShopId,
    /// The agreed statements before it.
    pub(crate) before: &'s [Case],
    pub(crate) end: UnixMillis,
    pub(crate) cut: Vec<(ShopId, u64)>,
    pub(crate) nettings: Vec<RecordId>,
    pub(crate) listed_day: Option<i64>,
}

/// Adds up a statement from the book.
pub(crate) fn reckon(
    view: &(impl Reader + ?Sized),
    charter: &Charter,
    scope: Scope<'_>,
) -> Result<(Statement, Annex), ViewError> {
    let last = scope.before.last().and_then(|case| case.agreed.as_ref()).map(|agreed| &agreed.content);
    let earlier: BTreeSet<RecordId> = included(scope.before);
    let old = last.map(|last| Cut {
        marks: last.cut.iter().copied().collect(),
        nettings: earlier.clone(),
        end: last.end,
    });
    let new = Cut {
        marks: scope.cut.iter().copied().collect(),
        nettings: earlier.into_iter().chain(scope.nettings.iter().copied()).collect(),
        end: scope.end,
    };
    let responses = response::of_pair(view, &charter.settlement, scope.me, scope.ally)?;
    let pair = PairId::of(scope.me, scope.ally);
    let mut sums = Sums::new(charter.utc_offset_minutes, scope.listed_day);
    each_line(view, pair, &mut |at, entry| {
        let was = match &old {
            Some(old) => place_of(view, pair, old, &responses, &at, &entry)?,
            None => Place::Outside,
        };
        let is = place_of(view, pair, &new, &responses, &at, &entry)?;
        let minor = entry.high_owes_low_minor;
        sums.before += if was == Place::Counts { minor } else { 0 };
        sums.closing += if is == Place::Counts { minor } else { 0 };
        sums.disputed += if is == Place::HeldBack { minor } else { 0 };
        match (was == Place::Counts, is == Place::Counts) {
            (false, true) => sums.add(&at, &entry, minor),
            (true, false) => sums.add(&at, &entry, -minor),
            _ => {}
        }
        Ok(())
    })?;
    let opening = last.map_or(0, |last| last.closing_minor);
    let content = Statement {
        number: u32::try_from(scope.before.len() + 1).unwrap_or(u32::MAX),
        start: last.map_or(UnixMillis::EPOCH, |last| last.end),
        end: scope.end,
        cut: scope.cut,
        nettings: scope.nettings,
        opening_minor: opening,
        lines_minor: narrow(sums.lines),
        line_count: sums.count,
        correction_minor: narrow(sums.before - i128::from(opening)),
        closing_minor: narrow(sums.closing),
        disputed_minor: narrow(sums.disputed),
        lines_digest: *sums.hasher.finalize().as_bytes(),
        previous: last.map(Statement::digest),
    };
    Ok((content, sums.annex()))
}

/// The netting runs that agreed statements include.
pub(crate) fn included(before: &[Case]) -> BTreeSet<RecordId> {
    before.iter().filter_map(|case| case.agreed.as_ref()).flat_map(|a| a.content.nettings.clone()).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Counts,
    HeldBack,
}

fn place_of(
    view: &(impl Reader + ?Sized),
    pair: PairId,
    cut: &Cut,
    responses: &Responses,
    at: &LineKey,
    entry: &Entry,
) -> Result<Place, ViewError> {
    let covers = |shop, sequence| cut.covers(shop, sequence);
    let covered = match (entry.matter, entry.subject) {
        (matter, _) if matter.is_of_run() => cut.nettings.contains(&entry.record),
        (_, None) => covers(at.author, at.sequence),
        (_, Some(subject)) => {
            // Of several records that show the same, the first that is covered: one that tells of a later period must not
            // keep back one that tells of this.
            let covered = |shown: &Shown| shown.at < cut.end && covers(shown.author, shown.sequence);
            let first = book::shown(view, pair, &subject)?.into_iter().find(covered);
            first.is_some_and(|shown| shown.is_at(at))
        }
    };
    if !covered || at.at >= cut.end {
        return Ok(Place::Outside);
    }
    let held = entry.receipt.is_some_and(|receipt| responses.hold_back(receipt, &covers));
    Ok(if held { Place::HeldBack } else { Place::Counts })
}

/// What a shop owes another one by a statement's closing balance: debtor, creditor, minor units.
pub fn owed(me: ShopId, ally: ShopId, closing_minor: i64) -> (ShopId, ShopId, i64) {
    let (low, high) = sides(me, ally);
    if closing_minor >= 0 { (high, low, closing_minor) } else { (low, high, closing_minor.saturating_neg()) }
}
