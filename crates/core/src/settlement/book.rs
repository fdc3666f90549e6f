//! The book of a pair: one entry for each debt that a record booked between its two shops. Both fold the same records
//! into it, so it is the same to the byte on both sides (CON-1), and its lines add up to the pair's balance (MON-1).

use alloc::vec::Vec;

use hutong_record::{PairId, RecordId, ShopId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::response;
use crate::{
    charter::SettlementRules,
    table::{self, LineKey},
    view::{Overlay, Reader, ViewError},
};

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Matter {
    /// What the funder owes the credited shop.
    Bounty,
    /// What the funder owes the redeemer for a discount.
    Reimbursement,
    /// For a breach of the rules of vouchers.
    Offence,
    /// A redemption was taken back, in part or whole.
    TakenBack,
    /// The author of a disputed receipt gave in.
    Conceded,
    /// A payment that both have signed.
    Payment,
    /// Cancelled around the circle.
    Netted,
    /// New by a credit line, on which a netting run drew.
    CreditLine,
    /// Carried over from the book with a shop whose log is closed, to the one that continues it.
    CarriedOver,
}

impl Matter {
    /// Whether a netting run books it: then its line's record is the run.
    pub(crate) const fn is_of_run(self) -> bool {
        matches!(self, Self::Netted | Self::CreditLine)
    }
}

/// Where a debt comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    /// The record that books it.
    pub(crate) record: RecordId,
    /// Whose log it is in.
    pub(crate) author: ShopId,
    /// Where in it.
    pub(crate) sequence: u64,
    /// When what is booked took place, not later than the record.
    pub(crate) at: UnixMillis,
    /// The receipt that it is about.
    pub(crate) receipt: Option<RecordId>,
    /// What several records can show, and is booked once.
    pub(crate) subject: Option<[u8; 32]>,
}

/// What views keep of a line; its key tells when and in whose log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) record: RecordId,
    pub(crate) matter: Matter,
    pub(crate) receipt: Option<RecordId>,
    pub(crate) subject: Option<[u8; 32]>,
    /// What the shop with the higher id comes to owe the other by it.
    pub(crate) high_owes_low_minor: i128,
}

/// A record that shows what several can show. Of several the earliest counts first, so that one of a later period does not
/// take the place of what an agreed statement has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// When, by it, what it shows took place.
    pub(crate) at: UnixMillis,
    /// Whose log it is in.
    pub(crate) author: ShopId,
    /// Where in it.
    pub(crate) sequence: u64,
}

impl Shown {
    /// Whether a line is this record's.
    pub(crate) fn is_at(&self, line: &LineKey) -> bool {
        (self.author, self.sequence) == (line.author, line.sequence)
    }
}

/// The records that show the same, the earliest first.
pub(crate) fn shown(
    view: &(impl Reader + ?Sized),
    pair: PairId,
    subject: &[u8; 32],
) -> Result<Vec<Shown>, ViewError> {
    Ok(table::read(view, &table::shown_by(pair, subject))?.unwrap_or_default())
}

/// One entry of a pair's book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The record that booked it.
    pub record: RecordId,
    /// Which of that record's lines in this book.
    pub index: u8,
    /// When it took place.
    pub at: UnixMillis,
    /// What it is about.
    pub matter: Matter,
    /// Who comes to owe more by it.
    pub debtor: ShopId,
    /// To whom.
    pub creditor: ShopId,
    /// How much, minor units; not below zero.
    pub minor: i128,
    /// The receipt that it is about.
    pub receipt: Option<RecordId>,
    /// A dispute holds it back from statements.
    pub disputed: bool,
    /// Its place in the book, to go on after it.
    pub place: Vec<u8>,
}

/// The lower and the higher of two shops.
pub(crate) fn sides(one: ShopId, other: ShopId) -> (ShopId, ShopId) {
    if one < other { (one, other) } else { (other, one) }
}

/// Writes a line between two shops. One that another record has shown before is noted, too: a statement may cover the one
/// record and not the other.
pub(crate) fn write<R: Reader + ?Sized>(
    view: &mut Overlay<'_, R>,
    pair: PairId,
    index: u8,
    source: &Source,
    (matter, high_owes_low_minor): (Matter, i128),
) -> Result<(), ViewError> {
    let key = LineKey { at: source.at, author: source.author, sequence: source.sequence, index };
    let Source { record, receipt, subject, .. } = *source;
    if let Some(subject) = subject {
        let mut places = shown(view, pair, &subject)?;
        // A cut covers a log from its beginning, so that an author's first showing is enough; more would grow for ever.
        if places.iter().any(|shown| shown.author == source.author) {
            return Ok(());
        }
        places.push(Shown { author: source.author, sequence: source.sequence, at: source.at });
        places.sort_unstable();
        table::write(view, table::shown_by(pair, &subject), &places);
    }
    let entry = Entry { record, matter, receipt, subject, high_owes_low_minor };
    table::write(view, table::line(pair, &key), &entry);
    Ok(())
}

/// Lines of a pair that took place from one moment to before another, in the order of time, after a place; at most
/// `most`.
pub fn lines(
    view: &(impl Reader + ?Sized),
    rules: &SettlementRules,
    (me, ally): (ShopId, ShopId),
    (from, until): (Option<UnixMillis>, Option<UnixMillis>),
    after: Option<&[u8]>,
    most: usize,
) -> Result<Vec<Line>, ViewError> {
    let pair = PairId::of(me, ally);
    let responses = response::of_pair(view, rules, me, ally)?;
    let start = from.map(|from| table::line_before(pair, from));
    let after = match (after, start.as_deref()) {
        (Some(after), Some(start)) => Some(after.max(start)),
        (after, start) => after.or(start),
    };
    let mut found = Vec::new();
    table::walk(view, &table::lines(pair), after, |key, value| {
        let at = parse_place(key)?;
        if until.is_some_and(|until| at.at >= until) {
            return Ok(false);
        }
        let entry = table::decode(key, value)?;
        if !is_repeat(view, pair, &at, &entry)? {
            found.push(tell(me, ally, key, &at, entry, &responses));
        }
        Ok(found.len() < most)
    })?;
    Ok(found)
}

/// The place that a line's key tells.
pub(crate) fn parse_place(key: &[u8]) -> Result<LineKey, ViewError> {
    table::parse_line(key).ok_or_else(|| ViewError::Damaged("table of lines".into()))
}

/// Whether an earlier place shows the same.
fn is_repeat(
    view: &(impl Reader + ?Sized),
    pair: PairId,
    at: &LineKey,
    entry: &Entry,
) -> Result<bool, ViewError> {
    let Some(subject) = entry.subject else { return Ok(false) };
    Ok(!shown(view, pair, &subject)?.first().is_some_and(|first| first.is_at(at)))
}

fn tell(
    me: ShopId,
    ally: ShopId,
    key: &[u8],
    at: &LineKey,
    entry: Entry,
    responses: &response::Responses,
) -> Line {
    let (low, high) = sides(me, ally);
    let (debtor, creditor) = if entry.high_owes_low_minor >= 0 { (high, low) } else { (low, high) };
    Line {
        record: entry.record,
        index: at.index,
        at: at.at,
        matter: entry.matter,
        debtor,
        creditor,
        minor: entry.high_owes_low_minor.abs(),
        receipt: entry.receipt,
        disputed: entry.receipt.is_some_and(|receipt| responses.hold_back(receipt, &|_, _| true)),
        place: key.to_vec(),
    }
}

/// Hash over all that two shops hold of each other line by line: lines, responses, statements, payments. It reads all of
/// it; [`crate::pair::report`] has a digest that costs nothing.
pub fn digest(view: &(impl Reader + ?Sized), me: ShopId, ally: ShopId) -> Result<[u8; 32], ViewError> {
    let pair = PairId::of(me, ally);
    let mut hasher = blake3::Hasher::new_derive_key("hutong 2026 v1 book digest");
    for prefix in table::books(pair) {
        view.scan(&prefix, None, &mut |key, value| {
            hasher.update(&(key.len() as u64).to_be_bytes()).update(key);
            hasher.update(&(value.len() as u64).to_be_bytes()).update(value);
            true
        })?;
    }
    Ok(*hasher.finalize().as_bytes())
}
