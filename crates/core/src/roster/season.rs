//! Seasons: the limited life of an alliance, renewed by vote, and who goes on.

use alloc::{collections::BTreeMap, vec::Vec};

use hutong_record::{ShopId, UnixMillis};

/// Ends of seasons, and the choices of shops.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seasons {
    /// Ascending; the last one is the present season's, or that of the one that was voted to follow it.
    ends: Vec<UnixMillis>,
    /// By shop and season, in the order of their times.
    choices: BTreeMap<(ShopId, u32), Vec<(UnixMillis, bool)>>,
}

impl Seasons {
    pub(super) fn new(first_end: Option<UnixMillis>) -> Self {
        Self { ends: first_end.into_iter().collect(), choices: BTreeMap::new() }
    }

    /// The season of a moment, from 1, and its end; none: it has no end. After the last end it stays the last season.
    pub fn at(&self, now: UnixMillis) -> (u32, Option<UnixMillis>) {
        let past = self.ends.iter().filter(|end| **end <= now).count();
        let place = past.min(self.ends.len().saturating_sub(1));
        (number(place), self.ends.get(place).copied())
    }

    /// The last season that is known of, from 1.
    pub fn last(&self) -> u32 {
        number(self.ends.len().saturating_sub(1))
    }

    /// Whether the last season's end is past.
    pub fn over_at(&self, now: UnixMillis) -> bool {
        self.ends.last().is_some_and(|end| *end <= now)
    }

    /// The season that a renewal would begin, and the moment after which that one must end.
    pub(crate) fn next(&self) -> (u32, Option<UnixMillis>) {
        (number(self.ends.len()), self.ends.last().copied())
    }

    /// Whether a renewal can be decided at a moment: it names the next season, which ends later than the present one, and
    /// the present one is not over.
    pub(crate) fn can_renew(&self, season: u32, ends: UnixMillis, at: UnixMillis) -> bool {
        let (next, last) = self.next();
        season == next && ends > at && last.is_none_or(|last| ends > last && at < last)
    }

    pub(super) fn renew(&mut self, ends: UnixMillis) {
        self.ends.push(ends);
    }

    /// Choices come in the order of their times.
    pub(super) fn choose(&mut self, shop: ShopId, season: u32, at: UnixMillis, goes_on: bool) {
        self.choices.entry((shop, season)).or_default().push((at, goes_on));
    }

    /// From when on a shop is in the season that begins at the `place`-th end; none: it did not choose to go on.
    fn goes_on_from(&self, shop: ShopId, place: usize) -> Option<UnixMillis> {
        let begins = *self.ends.get(place)?;
        self.ends.get(place + 1)?;
        let choices = self.choices.get(&(shop, number(place + 1)))?;
        let before = choices.iter().rev().find(|(at, _)| *at <= begins);
        if before.is_some_and(|(_, goes_on)| *goes_on) {
            return Some(begins);
        }
        choices.iter().find(|(at, goes_on)| *goes_on && *at > begins).map(|(at, _)| *at)
    }

    /// The spans in which a shop, in since a moment, is in no season that runs; the last one may have no end.
    pub(super) fn gaps(&self, shop: ShopId, since: UnixMillis) -> Vec<(UnixMillis, Option<UnixMillis>)> {
        let mut gaps = Vec::new();
        for (place, end) in self.ends.iter().enumerate().filter(|(_, end)| **end > since) {
            match self.goes_on_from(shop, place) {
                Some(from) if from == *end => {}
                Some(from) => gaps.push((*end, Some(from))),
                None => {
                    gaps.push((*end, None));
                    break;
                }
            }
        }
        gaps
    }

    /// Whether the alliance went on at a moment, and the shop did not. Where the alliance did not, there is nobody else
    /// to decide what is left to decide.
    pub(super) fn stays_behind(&self, shop: ShopId, since: UnixMillis, at: UnixMillis) -> bool {
        let last = self.ends.len().saturating_sub(1);
        let renewed = self.ends[..last].iter().enumerate().filter(|(_, end)| **end > since && **end <= at);
        renewed.map(|(place, _)| self.goes_on_from(shop, place)).any(|from| from.is_none_or(|from| from > at))
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place + 1).unwrap_or(u32::MAX)
}
