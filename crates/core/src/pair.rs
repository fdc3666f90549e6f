//! What two shops hold of each other: counts, and what is owed. Both fold the same records into it, so it is the same
//! to the byte on both sides (CON-1), and one hash shows it.

use alloc::{collections::BTreeMap, vec::Vec};

use hutong_record::{PairId, RecordId, ShopId};
use serde::{Deserialize, Serialize};

use crate::{
    settlement::{
        book::{self, Matter, Source},
        exposure,
    },
    table,
    view::{Overlay, Reader, ViewError},
};

/// One pair's state. `low` is the shop with the lower id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PairState {
    /// What the lower shop did for the higher one.
    pub low: Deeds,
    /// What the higher shop did for the lower one.
    pub high: Deeds,
    /// What the higher shop owes the lower one, minor units of the alliance's currency; negative: the other way.
    pub high_owes_low_minor: i128,
    /// Sum of the hashes of the records that went in, whatever their order.
    records: [u64; 4],
}

/// What one shop did for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deeds {
    /// Vouchers handed out for the other shop.
    pub vouchers_given: u64,
    /// Redemptions at the other shop that are credited to this one.
    pub customers_sent: u64,
    /// Touches other than vouchers.
    pub touches: u64,
}

/// A pair as one of its shops sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairReport {
    /// The other shop.
    pub ally: ShopId,
    /// What this shop did for the ally.
    pub given: Deeds,
    /// What the ally did for this shop.
    pub received: Deeds,
    /// What the ally owes this shop, minor units; negative: this shop owes.
    pub balance_minor: i128,
    /// Hash over everything that both hold of the pair.
    pub digest: [u8; 32],
}

/// The pair of `me` and `ally`, all zero where nothing has happened.
pub fn report(view: &(impl Reader + ?Sized), me: ShopId, ally: ShopId) -> Result<PairReport, ViewError> {
    let key = table::pair(PairId::of(me, ally));
    let state: PairState = table::read(view, &key)?.unwrap_or_default();
    let (given, received, sign) =
        if me < ally { (state.low, state.high, 1) } else { (state.high, state.low, -1) };
    let digest = blake3::derive_key("hutong 2026 v1 pair digest", &table::encode(&state));
    Ok(PairReport { ally, given, received, balance_minor: sign * state.high_owes_low_minor, digest })
}

/// What one record changes between shops, gathered first, so that each pair is written once.
pub(crate) struct Changes {
    me: ShopId,
    /// What all lines are about, where the record takes something back.
    back: Option<Matter>,
    pairs: BTreeMap<(ShopId, ShopId), Change>,
}

#[derive(Default)]
struct Change {
    low: [i8; 3],
    high: [i8; 3],
    /// What each line is about, and what the higher shop comes to owe the lower one by it.
    lines: Vec<(Matter, i128)>,
}

/// What a shop did for another.
#[derive(Clone, Copy)]
pub(crate) enum Deed {
    VoucherGiven,
    CustomerSent,
    Touch,
}

impl Changes {
    /// Changes that `me` can see.
    pub(crate) const fn new(me: ShopId) -> Self {
        Self { me, back: None, pairs: BTreeMap::new() }
    }

    /// Changes that take back what was done.
    pub(crate) const fn taking_back(me: ShopId) -> Self {
        Self { me, back: Some(Matter::TakenBack), pairs: BTreeMap::new() }
    }

    /// Debts that are given up.
    pub(crate) const fn conceding(me: ShopId) -> Self {
        Self { me, back: Some(Matter::Conceded), pairs: BTreeMap::new() }
    }

    /// `by` did something for `with`.
    pub(crate) fn deed(&mut self, by: ShopId, with: ShopId, deed: Deed) {
        let sign = if self.back.is_some() { -1 } else { 1 };
        let Some(change) = self.change(by, with) else { return };
        let side = if by < with { &mut change.low } else { &mut change.high };
        side[deed as usize] += sign;
    }

    /// `debtor` owes `creditor` so many minor units.
    pub(crate) fn debt_minor(&mut self, matter: Matter, debtor: ShopId, creditor: ShopId, minor: i128) {
        let (matter, minor) = self.back.map_or((matter, minor), |back| (back, -minor));
        let Some(change) = self.change(debtor, creditor) else { return };
        if minor != 0 {
            change.lines.push((matter, if creditor < debtor { minor } else { -minor }));
        }
    }

    /// The change of a pair that this shop is in; nobody owes himself.
    fn change(&mut self, one: ShopId, other: ShopId) -> Option<&mut Change> {
        if one == other || (self.me != one && self.me != other) {
            return None;
        }
        Some(self.pairs.entry(book::sides(one, other)).or_default())
    }

    /// Writes the changes that a record makes.
    pub(crate) fn apply<R: Reader + ?Sized>(
        self,
        view: &mut Overlay<'_, R>,
        source: &Source,
    ) -> Result<(), ViewError> {
        let me = self.me;
        let id = source.subject.map_or(source.record, RecordId::new);
        for ((low, high), change) in self.pairs {
            let pair = PairId::of(low, high);
            let key = table::pair(pair);
            let mut state: PairState = table::read(view, &key)?.unwrap_or_default();
            state.low.change(change.low);
            state.high.change(change.high);
            state.high_owes_low_minor += change.lines.iter().map(|(_, minor)| minor).sum::<i128>();
            state.add_record(id);
            table::write(view, key, &state);
            if change.lines.is_empty() {
                continue;
            }
            write_lines(view, pair, source, &change.lines)?;
            let (ally, owed) =
                if me == low { (high, state.high_owes_low_minor) } else { (low, -state.high_owes_low_minor) };
            exposure::watch(view, ally, owed)?;
        }
        Ok(())
    }

    /// Notes that a record shows what another one has booked.
    pub(crate) fn show_again<R: Reader + ?Sized>(
        self,
        view: &mut Overlay<'_, R>,
        source: &Source,
    ) -> Result<(), ViewError> {
        for ((low, high), change) in self.pairs {
            write_lines(view, PairId::of(low, high), source, &change.lines)?;
        }
        Ok(())
    }
}

fn write_lines<R: Reader + ?Sized>(
    view: &mut Overlay<'_, R>,
    pair: PairId,
    source: &Source,
    lines: &[(Matter, i128)],
) -> Result<(), ViewError> {
    for (index, line) in lines.iter().enumerate() {
        let index = u8::try_from(index).expect("a record books few lines between two shops");
        book::write(view, pair, index, source, *line)?;
    }
    Ok(())
}

impl Deeds {
    fn change(&mut self, [given, sent, touches]: [i8; 3]) {
        self.vouchers_given = self.vouchers_given.saturating_add_signed(given.into());
        self.customers_sent = self.customers_sent.saturating_add_signed(sent.into());
        self.touches = self.touches.saturating_add_signed(touches.into());
    }
}

impl PairState {
    fn add_record(&mut self, id: RecordId) {
        let hash = blake3::derive_key("hutong 2026 v1 pair record", id.as_bytes());
        for (lane, chunk) in self.records.iter_mut().zip(hash.chunks_exact(8)) {
            let part = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
            *lane = lane.wrapping_add(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use hutong_record::UnixMillis;

    use super::*;
    use crate::view::tests::Map;

    fn shop(n: u8) -> ShopId {
        ShopId::new([n; 32])
    }

    fn source(n: u8) -> Source {
        Source {
            record: RecordId::new([n; 32]),
            author: shop(3),
            sequence: n.into(),
            at: UnixMillis::new(1_000 - i64::from(n)).unwrap(),
            receipt: None,
            subject: None,
        }
    }

    fn fold(me: ShopId, order: &[u8]) -> Map {
        let base = Map::default();
        let mut view = Overlay::new(&base);
        for n in order {
            let mut changes = Changes::new(me);
            changes.deed(shop(2), shop(1), Deed::CustomerSent);
            changes.debt_minor(Matter::Bounty, shop(1), shop(2), (*n).into());
            changes.debt_minor(Matter::Reimbursement, shop(3), shop(1), 1_000);
            changes.apply(&mut view, &source(*n)).unwrap();
        }
        Map::from(view.into_writes())
    }

    #[test]
    fn both_sides_hold_the_same_state_whatever_the_order() {
        let (one, two) = (fold(shop(1), &[5, 6, 7]), fold(shop(2), &[7, 5, 6]));
        let (mine, theirs) =
            (report(&one, shop(1), shop(2)).unwrap(), report(&two, shop(2), shop(1)).unwrap());
        assert_eq!(mine.digest, theirs.digest);
        assert_eq!((mine.balance_minor, theirs.balance_minor), (-18, 18));
        assert_eq!((mine.received.customers_sent, theirs.given.customers_sent), (3, 3));
    }

    #[test]
    fn both_sides_hold_the_same_book_and_it_adds_up_to_the_balance() {
        let (one, two) = (fold(shop(1), &[5, 6, 7]), fold(shop(2), &[7, 5, 6]));
        let book = |view, me, ally| {
            book::lines(view, &Default::default(), (me, ally), (None, None), None, 10).unwrap()
        };
        let lines = book(&one, shop(1), shop(2));
        assert_eq!(lines, book(&two, shop(2), shop(1)));
        assert_eq!(
            book::digest(&one, shop(1), shop(2)).unwrap(),
            book::digest(&two, shop(2), shop(1)).unwrap()
        );
        let told: Vec<_> = lines.iter().map(|l| (l.at.ms(), l.debtor, l.minor)).collect();
        assert_eq!(told, [(993, shop(1), 7), (994, shop(1), 6), (995, shop(1), 5)], "in the order of time");
        let at = |ms| Some(UnixMillis::new(ms).unwrap());
        let some =
            book::lines(&one, &Default::default(), (shop(1), shop(2)), (at(994), at(995)), None, 10).unwrap();
        assert_eq!(some, lines[1..2]);
        let rest = book::lines(
            &one,
            &Default::default(),
            (shop(1), shop(2)),
            (at(1), None),
            Some(&lines[1].place),
            10,
        )
        .unwrap();
        assert_eq!(rest, lines[2..]);
    }

    #[test]
    fn a_pair_that_this_shop_is_not_in_is_not_kept() {
        assert_eq!(report(&fold(shop(2), &[5]), shop(2), shop(3)).unwrap().balance_minor, 0);
        assert_eq!(report(&fold(shop(3), &[5]), shop(3), shop(1)).unwrap().balance_minor, -1_000);
    }
}
