//! On which days each shop was heard: the days, by UTC, that the headers of its records name, each with the first record
//! that names it. What lies past a seal does not count, whoever holds it. Taken as a set, so that it does not depend on
//! the order in which the records came.

use alloc::{collections::BTreeMap, vec::Vec};

use hutong_record::{ShopId, UnixMillis};

/// Days of each shop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Heard(BTreeMap<ShopId, Vec<Day>>);

/// Eight bytes, for 500 shops and every day of some years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Day {
    day: u32,
    /// The lowest sequence number; of logs longer than 2^32 records, that.
    first: u32,
}

impl Heard {
    /// The day of a moment.
    pub(crate) fn day(at: UnixMillis) -> i64 {
        at.day(0)
    }

    /// Notes that a record names a day; false: it, or an earlier one, was known to.
    pub(crate) fn insert(&mut self, shop: ShopId, day: i64, sequence: u64) -> bool {
        let new = Day { day: saturated(day), first: saturated(sequence) };
        let days = self.0.entry(shop).or_default();
        let place = days.partition_point(|held| held.day < new.day);
        match days.get_mut(place) {
            Some(held) if held.day == new.day && held.first <= new.first => return false,
            Some(held) if held.day == new.day => *held = new,
            _ => days.insert(place, new),
        }
        true
    }

    /// Whether the shop was heard on a day or on one of the `days` before, by a record up to `seal`.
    pub(crate) fn within(&self, shop: ShopId, day: i64, days: u32, seal: Option<u64>) -> bool {
        let (last, seal) = (saturated(day), saturated(seal.unwrap_or(u64::MAX)));
        let heard = self.0.get(&shop).map_or(&[][..], Vec::as_slice);
        let until = heard.partition_point(|held| held.day <= last);
        let lately = heard[..until].iter().rev().take_while(|held| held.day >= last.saturating_sub(days));
        lately.into_iter().any(|held| held.first <= seal)
    }
}

fn saturated(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use hutong_record::ShopId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn days_are_a_set(
            named in prop::collection::vec((0i64..60, 0u64..20), 0..40),
            asked in 0i64..70,
            span in 0u32..9,
            seal in prop::option::of(0u64..20),
        ) {
            let shop = ShopId::new([1; 32]);
            let (mut one, mut other) = (Heard::default(), Heard::default());
            for (place, (day, sequence)) in named.iter().enumerate() {
                let known = named[..place].iter().any(|(known, first)| known == day && first <= sequence);
                prop_assert_eq!(one.insert(shop, *day, *sequence), !known);
            }
            for (day, sequence) in named.iter().rev() {
                other.insert(shop, *day, *sequence);
            }
            prop_assert_eq!(&one, &other);
            let lately = |day: i64| day <= asked && day >= asked - i64::from(span);
            let expected =
                named.iter().any(|(day, first)| lately(*day) && seal.is_none_or(|seal| *first <= seal));
            prop_assert_eq!(one.within(shop, asked, span, seal), expected);
        }
    }
}
