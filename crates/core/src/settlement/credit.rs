//! Credit lines: a creditor's word that a debtor may come to owe it what a netting run moves to the two, and the debtor's word
//! that it will. A line is open as far as both say so. What is drawn is counted against each shop's own word by its own
//! consents, in the order of its own log, so that all who hold that log count alike (CON-1), and no line is passed
//! whichever runs take effect in the end.

use alloc::{collections::BTreeMap, vec::Vec};

use hutong_record::{MINOR_MAX, RecordId, ShopId, UnixMillis, proto};
use serde::{Deserialize, Serialize};

use super::clearing;
use crate::{
    netting::CreditLine,
    table,
    view::{Reader, ViewError},
    voucher::copy,
};

/// Lines of one run, and of one consent: with shops and debts, what a message of 16 KiB holds.
pub const DRAWINGS_MAX: usize = 128;

/// One shop's word on a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Its record.
    pub record: RecordId,
    /// The most that can be drawn in all, minor units.
    pub limit_minor: i64,
    /// From then on nothing is drawn; none: until it is taken back.
    pub until: Option<UnixMillis>,
    /// What this shop's consents have drawn, minor units.
    pub drawn_minor: i64,
}

impl Word {
    /// What can be drawn at a moment, minor units.
    pub fn rest_minor(&self, at: UnixMillis) -> i64 {
        self.rest_beside(at, 0)
    }

    /// What can be drawn at a moment, if of what was drawn so much does not count.
    fn rest_beside(&self, at: UnixMillis, spared_minor: i64) -> i64 {
        if self.until.is_some_and(|until| at >= until) {
            return 0;
        }
        self.limit_minor
            .saturating_sub(self.drawn_minor)
            .saturating_add(spared_minor)
            .clamp(0, self.limit_minor)
    }
}

/// What both shops of a line say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who would be owed.
    pub creditor: ShopId,
    /// Who would owe.
    pub debtor: ShopId,
    /// The creditor's word.
    pub offered: Option<Word>,
    /// The debtor's word.
    pub accepted: Option<Word>,
}

impl Line {
    /// What both have drawn, whichever consented to more.
    pub fn drawn_minor(&self) -> i64 {
        self.words().map(|word| word.drawn_minor).max().unwrap_or_default()
    }

    /// What both still agree to at a moment.
    pub fn open_minor(&self, at: UnixMillis) -> i64 {
        let rest = |word: &Option<Word>| word.as_ref().map_or(0, |word| word.rest_minor(at));
        rest(&self.offered).min(rest(&self.accepted))
    }

    fn words(&self) -> impl Iterator<Item = &Word> {
        self.offered.iter().chain(&self.accepted)
    }
}

/// What a run draws on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Drawing {
    /// Who comes to owe.
    pub debtor: ShopId,
    /// To whom.
    pub creditor: ShopId,
    /// How much, minor units.
    pub minor: i64,
}

impl Drawing {
    /// The other shop of the line.
    pub(crate) fn ally_of(&self, shop: ShopId) -> ShopId {
        if self.debtor == shop { self.creditor } else { self.debtor }
    }

    pub(crate) fn message(&self) -> proto::LineDrawing {
        proto::LineDrawing {
            debtor_id: copy(self.debtor.as_bytes()),
            creditor_id: copy(self.creditor.as_bytes()),
            minor: self.minor,
        }
    }

    /// Parses what a consent draws on lines of its author: each line once, ascending.
    pub(crate) fn parse_all(messages: &[proto::LineDrawing], author: ShopId) -> Option<Vec<Self>> {
        if messages.len() > DRAWINGS_MAX {
            return None;
        }
        let parse = |message: &proto::LineDrawing| {
            let debtor = ShopId::try_from(message.debtor_id.as_ref()).ok()?;
            let creditor = ShopId::try_from(message.creditor_id.as_ref()).ok()?;
            let is_line = debtor != creditor && (debtor == author || creditor == author);
            let fits = (1..=MINOR_MAX).contains(&message.minor);
            (is_line && fits).then_some(Self { debtor, creditor, minor: message.minor })
        };
        let all: Vec<Self> = messages.iter().map(parse).collect::<Option<_>>()?;
        let ascending = |two: &[Self]| (two[0].debtor, two[0].creditor) < (two[1].debtor, two[1].creditor);
        all.windows(2).all(ascending).then_some(all)
    }
}

/// A shop's word on a line that it is in.
pub fn word(
    view: &(impl Reader + ?Sized),
    (creditor, debtor): (ShopId, ShopId),
    author: ShopId,
) -> Result<Option<Word>, ViewError> {
    table::read(view, &table::credit_word(creditor, debtor, author))
}

/// The line between two shops.
pub fn line(view: &(impl Reader + ?Sized), creditor: ShopId, debtor: ShopId) -> Result<Line, ViewError> {
    let word = |author| word(view, (creditor, debtor), author);
    Ok(Line { creditor, debtor, offered: word(creditor)?, accepted: word(debtor)? })
}

/// The lines on which there is a word, of one shop or of all, by creditor and debtor, after one of them; at most `most`.
pub fn lines(
    view: &(impl Reader + ?Sized),
    of: Option<ShopId>,
    after: Option<(ShopId, ShopId)>,
    most: usize,
) -> Result<Vec<Line>, ViewError> {
    let mut found: Vec<Line> = Vec::new();
    let after = after.map(|(creditor, debtor)| table::credit_words_end(creditor, debtor));
    table::walk(view, &[table::CREDIT_WORD], after.as_deref(), |key, value| {
        let (creditor, debtor, by_debtor) = table::parse_credit_word(key)
            .ok_or_else(|| ViewError::Damaged("table of credit lines".into()))?;
        if of.is_some_and(|shop| shop != creditor && shop != debtor) {
            return Ok(true);
        }
        let word: Word = table::decode(key, value)?;
        if found.last().is_none_or(|last| (last.creditor, last.debtor) != (creditor, debtor)) {
            if found.len() == most {
                return Ok(false);
            }
            found.push(Line { creditor, debtor, offered: None, accepted: None });
        }
        let line = found.last_mut().expect("one was pushed");
        *(if by_debtor { &mut line.accepted } else { &mut line.offered }) = Some(word);
        Ok(true)
    })?;
    Ok(found)
}

/// The lines that a run of a period can draw on at a moment, by debtor and creditor. What consents of that very period hold
/// ready does not count: of one period's runs a shop consents to one.
pub fn open(
    view: &(impl Reader + ?Sized),
    period: UnixMillis,
    at: UnixMillis,
) -> Result<Vec<CreditLine<ShopId>>, ViewError> {
    let mut ready: BTreeMap<(ShopId, ShopId, ShopId), i64> = BTreeMap::new();
    for (author, drawing) in clearing::drawings(view, period)? {
        ready.insert((author, drawing.debtor, drawing.creditor), drawing.minor);
    }
    let mut open = Vec::new();
    for Line { creditor, debtor, offered, accepted } in lines(view, None, None, usize::MAX)? {
        let rest = |word: &Option<Word>, author| {
            let spared = ready.get(&(author, debtor, creditor)).copied().unwrap_or_default();
            word.as_ref().map_or(0, |word| word.rest_beside(at, spared))
        };
        let limit_minor = rest(&offered, creditor).min(rest(&accepted, debtor));
        if limit_minor > 0 {
            open.push(CreditLine { creditor, debtor, limit_minor });
        }
    }
    open.sort_unstable_by_key(|line| (line.debtor, line.creditor));
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    #[test]
    fn a_word_has_room_until_its_time_and_up_to_its_limit() {
        let word =
            Word { record: RecordId::new([1; 32]), limit_minor: 100, until: Some(at(50)), drawn_minor: 30 };
        assert_eq!((word.rest_minor(at(49)), word.rest_minor(at(50))), (70, 0));
        assert_eq!((word.rest_beside(at(0), 30), word.rest_beside(at(0), 90)), (100, 100));
        let lowered = Word { limit_minor: 20, until: None, ..word };
        assert_eq!(lowered.rest_minor(at(50)), 0, "more was drawn than is agreed to now");
    }

    #[test]
    fn drawings_are_of_lines_of_their_author_each_once() {
        let [a, b, c] = [1, 2, 3].map(|n| ShopId::new([n; 32]));
        let message = |debtor, creditor, minor| Drawing { debtor, creditor, minor }.message();
        let good = [message(a, b, 5), message(b, a, 1), message(c, a, MINOR_MAX)];
        assert_eq!(Drawing::parse_all(&good, a).unwrap().len(), 3);
        assert_eq!(Drawing::parse_all(&[], a), Some(Vec::new()));
        for bad in [
            alloc::vec![message(a, b, 0)],
            alloc::vec![message(a, b, MINOR_MAX + 1)],
            alloc::vec![message(b, c, 5)],
            alloc::vec![message(a, a, 5)],
            alloc::vec![message(a, b, 5), message(a, b, 5)],
            alloc::vec![message(c, a, 5), message(a, b, 5)],
            alloc::vec![proto::LineDrawing { minor: 5, ..Default::default() }],
            alloc::vec![message(a, b, 5); DRAWINGS_MAX + 1],
        ] {
            assert_eq!(Drawing::parse_all(&bad, a), None, "{bad:?}");
        }
    }
}
