//! Newcomers, and who of them came back.

use alloc::collections::BTreeMap;

use hutong_record::{CardId, DAY_MS, UnixMillis};

use super::{span::Span, *};
use crate::alliance::Alliance;

/// After how many days one looks whether a newcomer came back.
pub const RETURN_DAYS: [i64; 3] = [7, 30, 90];
const PAGE: usize = 1_000;

/// The newcomers of one week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cohort {
    /// Cards that redeemed a voucher on the day on which this shop first saw them.
    pub newcomers: u64,
    /// By [`RETURN_DAYS`]: of them, those whose days are over.
    pub observed: [u64; 3],
    /// By [`RETURN_DAYS`]: of those, who bought or redeemed here again on a later day within.
    pub returned: [u64; 3],
}

/// One card while its visits go by.
struct Card {
    id: CardId,
    first: UnixMillis,
    redeemed: Option<UnixMillis>,
    returned: [bool; 3],
}

/// Cohorts by their Monday, in days since 1970-01-01: cards whose first redemption lies in the span, with their visits up
/// to a moment.
pub fn cohorts(
    view: &(impl Reader + ?Sized),
    alliance: &Alliance,
    span: &Span,
    as_of: UnixMillis,
) -> Result<BTreeMap<i64, Cohort>, ViewError> {
    let offset = alliance.charter().utc_offset_minutes;
    let mut cohorts = BTreeMap::new();
    let mut card: Option<Card> = None;
    let mut after = alloc::vec![table::VISIT];
    loop {
        let mut left = PAGE;
        let page = table::collect_while(view, &[table::VISIT], &after, |key, value| {
            let more = left > 0;
            left = left.saturating_sub(1);
            let visit = (key.to_vec(), table::decode::<bool>(key, value)?);
            Ok(more.then_some(visit))
        })?;
        let Some((last, _)) = page.last() else { break };
        after = last.clone();
        for (key, redeemed) in page {
            let (id, at) = table::parse_visit(&key).ok_or_else(|| ViewError::Damaged("visits".into()))?;
            if card.as_ref().is_none_or(|card| card.id != id) {
                let before = card.replace(Card { id, first: at, redeemed: None, returned: [false; 3] });
                before.iter().for_each(|card| card.join(&mut cohorts, span, as_of, offset));
            }
            if let Some(card) = card.as_mut().filter(|_| at <= as_of) {
                card.visit(at, redeemed, offset);
            }
        }
    }
    card.iter().for_each(|card| card.join(&mut cohorts, span, as_of, offset));
    Ok(cohorts)
}

impl Card {
    fn visit(&mut self, at: UnixMillis, redeemed: bool, offset: i32) {
        if at.day(offset) == self.first.day(offset) {
            if redeemed && self.redeemed.is_none() {
                self.redeemed = Some(at);
            }
            return;
        }
        for (returned, days) in self.returned.iter_mut().zip(RETURN_DAYS) {
            *returned |= at.ms_since(self.first) < days * DAY_MS;
        }
    }

    fn join(&self, cohorts: &mut BTreeMap<i64, Cohort>, span: &Span, as_of: UnixMillis, offset: i32) {
        let Some(redeemed) = self.redeemed.filter(|at| span.contains(*at)) else { return };
        let day = redeemed.day(offset);
        // 1970-01-01 was a Thursday: the Monday before is day -3.
        let cohort = cohorts.entry(day - (day + 3).rem_euclid(7)).or_default();
        cohort.newcomers += 1;
        for (place, days) in RETURN_DAYS.into_iter().enumerate() {
            if as_of.ms_since(self.first) >= days * DAY_MS {
                cohort.observed[place] += 1;
                cohort.returned[place] += u64::from(self.returned[place]);
            }
        }
    }
}
