//! The customers' pockets: vouchers they hold, and what they do with them.

use std::collections::HashMap;

use hutong_record::UnixMillis;

use super::{
    chance::{Habit, Rolls},
    street::{Shop, Visit},
};

/// A voucher in a customer's pocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// Position in the ledger.
    pub(super) entry: usize,
    /// The shop that redeems it.
    pub(super) redeemer: Shop,
    /// It is good before this moment.
    pub(super) expires: UnixMillis,
    /// The least purchase, cents.
    pub(super) redeem_min_cents: i64,
    /// Text of the QR code.
    pub(super) qr_text: Box<str>,
    /// The code for typing in.
    pub(super) code: Box<str>,
}

/// What the customer is up to with a voucher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Uses it as it is meant.
    Use,
    /// Tries although its time is over.
    Expired,
    /// Tries although the purchase is too small.
    TooSmall,
    /// Tries at another shop.
    WrongShop,
}

/// All pockets of one worker's customers.
#[derive(Default)]
pub(super) struct Wallet {
    pockets: HashMap<u32, Vec<Held>>,
}

impl Wallet {
    /// Puts a voucher in a customer's pocket.
    pub(super) fn put(&mut self, customer: u32, held: Held) {
        self.pockets.entry(customer).or_default().push(held);
    }

    /// Takes out what the customer shows at this visit, if anything. Give it back with [`Wallet::put`] if the
    /// customer still has it afterwards. Vouchers of this shop past their time are thrown away.
    pub(super) fn choose(&mut self, visit: &Visit, rolls: &Rolls) -> Option<(Intent, Held)> {
        let pocket = self.pockets.get_mut(&visit.customer)?;
        let here = |held: &Held| held.redeemer == visit.shop;
        let live = |held: &Held| visit.at < held.expires;
        if let Some(found) = pocket.iter().position(|h| here(h) && live(h)) {
            let intent = if visit.amount_cents >= pocket[found].redeem_min_cents {
                Intent::Use
            } else if rolls.shows(Habit::TryTooSmall) {
                Intent::TooSmall
            } else {
                return None;
            };
            return Some((intent, pocket.remove(found)));
        }
        let expired = pocket.iter().position(here).map(|found| pocket.remove(found));
        pocket.retain(|held| !here(held));
        if let Some(held) = expired {
            return rolls.shows(Habit::TryExpired).then_some((Intent::Expired, held));
        }
        let elsewhere = pocket.iter().position(live)?;
        rolls.shows(Habit::TryWrongShop).then(|| (Intent::WrongShop, pocket.remove(elsewhere)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(key: &str) -> Shop {
        key.parse().unwrap()
    }

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    fn held(entry: usize, redeemer: &str, expires_ms: i64) -> Held {
        Held {
            entry,
            redeemer: shop(redeemer),
            expires: at(expires_ms),
            redeem_min_cents: 300,
            qr_text: "QR".into(),
            code: "CODE".into(),
        }
    }

    fn visit(key: &str, ms: i64, amount_cents: i64) -> Visit {
        Visit { line: 2, at: at(ms), customer: 7, shop: shop(key), amount_cents }
    }

    fn wallet(held: impl IntoIterator<Item = Held>) -> Wallet {
        let mut wallet = Wallet::default();
        held.into_iter().for_each(|h| wallet.put(7, h));
        wallet
    }

    fn chosen(wallet: &mut Wallet, visit: &Visit, habits: &[Habit]) -> Option<(Intent, usize)> {
        wallet.choose(visit, &Rolls::only(habits)).map(|(intent, held)| (intent, held.entry))
    }

    #[test]
    fn a_voucher_is_used_at_its_shop_once() {
        let mut wallet = wallet([held(0, "deli", 100), held(1, "bakery", 100)]);
        assert_eq!(chosen(&mut wallet, &visit("bakery", 50, 300), &[]), Some((Intent::Use, 1)));
        assert_eq!(chosen(&mut wallet, &visit("bakery", 60, 300), &[]), None);
        assert_eq!(chosen(&mut wallet, &visit("deli", 60, 300), &[]), Some((Intent::Use, 0)));
    }

    #[test]
    fn a_voucher_is_good_before_its_moment_and_not_at_it() {
        let last = visit("deli", 99, 300);
        assert_eq!(chosen(&mut wallet([held(0, "deli", 100)]), &last, &[]), Some((Intent::Use, 0)));
        let late = visit("deli", 100, 300);
        let expired = &[Habit::TryExpired];
        assert_eq!(chosen(&mut wallet([held(0, "deli", 100)]), &late, expired), Some((Intent::Expired, 0)));
    }

    #[test]
    fn an_expired_voucher_is_thrown_away_at_its_shop() {
        let mut wallet = wallet([held(0, "deli", 10), held(1, "deli", 20)]);
        assert_eq!(chosen(&mut wallet, &visit("deli", 50, 300), &[]), None);
        assert_eq!(chosen(&mut wallet, &visit("deli", 51, 300), &[Habit::TryExpired]), None);
    }

    #[test]
    fn a_live_voucher_goes_before_an_expired_one() {
        let mut wallet = wallet([held(0, "deli", 10), held(1, "deli", 90)]);
        let visit = visit("deli", 50, 300);
        assert_eq!(chosen(&mut wallet, &visit, &[Habit::TryExpired]), Some((Intent::Use, 1)));
    }

    #[test]
    fn a_small_purchase_keeps_the_voucher_unless_the_customer_tries() {
        let mut wallet = wallet([held(0, "deli", 100)]);
        let small = visit("deli", 50, 299);
        assert_eq!(chosen(&mut wallet, &small, &[]), None);
        assert_eq!(chosen(&mut wallet, &small, &[Habit::TryTooSmall]), Some((Intent::TooSmall, 0)));
    }

    #[test]
    fn a_voucher_of_another_shop_is_shown_only_by_habit_and_only_while_live() {
        let wrong = &[Habit::TryWrongShop];
        let mut wallet = wallet([held(0, "deli", 10), held(1, "deli", 100)]);
        assert_eq!(chosen(&mut wallet, &visit("bakery", 50, 300), &[]), None);
        assert_eq!(chosen(&mut wallet, &visit("bakery", 50, 300), wrong), Some((Intent::WrongShop, 1)));
        assert_eq!(chosen(&mut wallet, &visit("bakery", 50, 300), wrong), None);
    }

    #[test]
    fn other_customers_pockets_stay_closed() {
        let mut wallet = wallet([held(0, "deli", 100)]);
        let stranger = Visit { customer: 8, ..visit("deli", 50, 300) };
        assert_eq!(chosen(&mut wallet, &stranger, &[]), None);
    }
}
