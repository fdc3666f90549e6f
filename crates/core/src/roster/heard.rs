//! On which days each shop was heard: the days, by UTC, that the headers of its records name. A set, so that it does not
//! depend on the order in which the records came.

use alloc::collections::BTreeMap;

use hutong_record::{ShopId, UnixMillis};

/// Days of each shop, as ranges without gaps: first and last day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Heard(BTreeMap<ShopId, BTreeMap<i64, i64>>);

impl Heard {
    /// The day of a moment.
    pub(crate) fn day(at: UnixMillis) -> i64 {
        at.day(0)
    }

    /// Notes a day; false: it was known.
    pub(crate) fn insert(&mut self, shop: ShopId, day: i64) -> bool {
        let ranges = self.0.entry(shop).or_default();
        let before = ranges.range(..=day).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| day <= last) {
            return false;
        }
        let first = match before {
            Some((first, last)) if last + 1 == day => first,
            _ => day,
        };
        let last = ranges.remove(&(day + 1)).unwrap_or(day);
        ranges.insert(first, last);
        true
    }

    /// Whether the shop was heard on a day or on one of the `days` before.
    pub(crate) fn within(&self, shop: ShopId, day: i64, days: u32) -> bool {
        let last = self.0.get(&shop).and_then(|ranges| ranges.range(..=day).next_back());
        last.is_some_and(|(_, last)| *last >= day - i64::from(days))
    }
}

#[cfg(test)]
mod tests {
    use hutong_record::ShopId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn days_are_a_set(days in prop::collection::vec(0i64..60, 0..40), asked in 0i64..70, span in 0u32..9) {
            let shop = ShopId::new([1; 32]);
            let (mut one, mut other) = (Heard::default(), Heard::default());
            for (place, day) in days.iter().enumerate() {
                prop_assert_eq!(one.insert(shop, *day), !days[..place].contains(day));
            }
            for day in days.iter().rev() {
                other.insert(shop, *day);
            }
            prop_assert_eq!(&one, &other);
            let expected = days.iter().any(|day| *day <= asked && *day >= asked - i64::from(span));
            prop_assert_eq!(one.within(shop, asked, span), expected);
        }
    }
}
