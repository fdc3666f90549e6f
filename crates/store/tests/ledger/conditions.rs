//! Conditions of redemption: each speaks for itself, at the till and in the dry run alike.

use hutong_core::{
    command::RedeemCommand,
    promotion::{Purchase, PurchaseLine},
    refusal::{Reason, Refusal},
    voucher::Token,
};
use hutong_record::{RecordId, UnixMillis, proto};

use crate::{
    street::{DAY_MS, Street},
    till::{card, yuan},
};

const HOUR_MS: i64 = 3_600_000;

/// Shop 1 hands out, shop 2 redeems, shop 3 pays; the promotion has these conditions.
fn with(seed: u64, change: impl FnOnce(&Street, &mut proto::Conditions)) -> (Street, RecordId) {
    let mut street = Street::new(seed, 4);
    let mut conditions = proto::Conditions::default();
    change(&street, &mut conditions);
    let promotion = publish(&mut street, conditions);
    (street, promotion)
}

fn publish(street: &mut Street, conditions: proto::Conditions) -> RecordId {
    let terms = proto::Promotion { conditions: Some(conditions), ..street.terms(&[1], 2) };
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    promotion
}

fn token(street: &mut Street, promotion: RecordId) -> Token {
    street.issue(1, promotion, Some(card(1))).unwrap()
}

fn redeem(
    street: &mut Street,
    promotion: RecordId,
    change: impl FnOnce(&mut RedeemCommand),
) -> Result<(), Refusal> {
    let token = token(street, promotion);
    let redeemed = street.redeem_with(2, &token, |redeem| {
        redeem.card = Some(card(1));
        change(redeem);
    });
    redeemed.map(|_| ())
}

fn reason(result: Result<(), Refusal>) -> Reason {
    result.unwrap_err().reason
}

/// The next moment at which it is this hour in the street.
fn hour(street: &Street, hour: i64) -> i64 {
    let tomorrow = street.now.day(480) + 1;
    tomorrow * DAY_MS - 8 * HOUR_MS + hour * HOUR_MS
}

#[test]
fn a_window_and_hours_of_the_week_are_kept() {
    let (mut street, promotion) = with(300, |street, conditions| {
        conditions.from_unix_ms = street.now.ms() + DAY_MS;
        conditions.until_unix_ms = street.now.ms() + 5 * DAY_MS;
        conditions.hours =
            vec![proto::WeeklyHours { weekdays: 127, from_minute: 14 * 60, until_minute: 17 * 60 }];
    });
    assert_eq!(reason(redeem(&mut street, promotion, |_| {})), Reason::OutsideWindow);
    street.pass(DAY_MS);
    street.now = UnixMillis::new(hour(&street, 13)).unwrap();
    assert_eq!(reason(redeem(&mut street, promotion, |_| {})), Reason::OutsideHours);
    street.pass(2 * HOUR_MS);
    redeem(&mut street, promotion, |_| {}).unwrap();
    street.pass(4 * DAY_MS);
    assert_eq!(reason(redeem(&mut street, promotion, |_| {})), Reason::OutsideWindow);
}

#[test]
fn the_benefit_is_for_the_goods_that_are_named() {
    let (mut street, promotion) = with(301, |_, conditions| conditions.categories = vec!["水果".into()]);
    let lines = |fruit: i64| {
        let line = |category: &str, amount| PurchaseLine { category: category.into(), amount };
        Purchase {
            lines: vec![line("水果", yuan(fruit)), line("烟酒", yuan(20))], ..Purchase::of(yuan(40))
        }
    };
    assert_eq!(reason(redeem(&mut street, promotion, |_| {})), Reason::CategoryNotCovered);
    assert_eq!(reason(redeem(&mut street, promotion, |r| r.purchase = lines(9))), Reason::PurchaseTooLow);
    assert_eq!(reason(redeem(&mut street, promotion, |r| r.purchase = lines(21))), Reason::FieldInvalid);
    redeem(&mut street, promotion, |r| r.purchase = lines(10)).unwrap();
    street.come_to_rest();
    street.check_agreement("goods");
    assert_eq!(street.balance(2, 3), 300);
}

#[test]
fn a_first_visit_is_one_of_a_card_that_was_not_here_on_an_earlier_day() {
    let (mut street, promotion) = with(302, |_, conditions| conditions.first_visit = true);
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::CardRequired);
    street.now = UnixMillis::new(hour(&street, 10)).unwrap();
    street.sell(2, yuan(5), Some(card(1))); // earlier on the same visit
    street.pass(HOUR_MS);
    redeem(&mut street, promotion, |_| {}).unwrap();
    street.pass(DAY_MS);
    assert_eq!(reason(redeem(&mut street, promotion, |_| {})), Reason::NotFirstVisit);
}

#[test]
fn what_is_for_customers_in_the_shop_is_not_for_orders_from_afar() {
    let (mut street, promotion) = with(303, |_, conditions| conditions.in_person_only = true);
    assert_eq!(reason(redeem(&mut street, promotion, |r| r.purchase.remote = true)), Reason::InPersonOnly);
    redeem(&mut street, promotion, |_| {}).unwrap();
}

type Limit = fn(&mut proto::Conditions);

#[test]
fn each_cap_counts_what_it_says_and_a_void_gives_it_back() {
    let limits: [(Limit, Reason, i64); 4] = [
        (|c| c.per_card_max = 1, Reason::CardUseLimitReached, 0),
        (|c| c.per_card_day_max = 1, Reason::CardDayUseLimitReached, DAY_MS),
        (|c| c.per_day_max = 1, Reason::DayUseLimitReached, DAY_MS),
        (|c| c.per_shop_max = 1, Reason::ShopUseLimitReached, 0),
    ];
    for (n, (limit, expected, free_after_ms)) in (0u64..).zip(limits) {
        let (mut street, promotion) = with(310 + n, |_, conditions| limit(conditions));
        let first = token(&mut street, promotion);
        let receipt = street.redeem(2, &first.qr_text(), Some(card(1))).unwrap();
        assert_eq!(reason(redeem(&mut street, promotion, |_| {})), expected);
        street.void(2, receipt.id).unwrap();
        redeem(&mut street, promotion, |_| {}).unwrap();
        assert_eq!(reason(redeem(&mut street, promotion, |_| {})), expected);
        if free_after_ms > 0 {
            street.pass(free_after_ms);
            redeem(&mut street, promotion, |_| {}).unwrap();
        }
    }
}

#[test]
fn a_redeemer_gives_away_no_more_than_its_budget() {
    let (mut street, promotion) =
        with(304, |_, conditions| conditions.per_shop_budget = Some(yuan(11).into()));
    for _ in 0..2 {
        redeem(&mut street, promotion, |_| {}).unwrap(); // 3 off and 1 to the distributor
    }
    let refused = redeem(&mut street, promotion, |_| {}).unwrap_err();
    assert_eq!(refused.reason, Reason::ShopBudgetUsedUp);
}

#[test]
fn vouchers_go_into_one_purchase_where_all_of_them_allow_it() {
    let (mut street, alone) = with(305, |_, _| {});
    let [one, two, three] = ["红", "红", ""].map(|group: &str| {
        let conditions =
            proto::Conditions { stackable: true, exclusion_group: group.into(), ..Default::default() };
        publish(&mut street, conditions)
    });
    let into = |street: &mut Street, promotion, basket: &'static str| {
        redeem(street, promotion, |r| r.purchase = Purchase { id: basket.into(), ..Purchase::of(yuan(10)) })
    };
    into(&mut street, one, "a").unwrap();
    assert_eq!(reason(into(&mut street, two, "a")), Reason::ExcludedByOther);
    assert_eq!(reason(into(&mut street, alone, "a")), Reason::NotStackable);
    into(&mut street, three, "a").unwrap();
    into(&mut street, three, "a").unwrap();
    into(&mut street, three, "a").unwrap_or_else(|refusal| panic!("{refusal}")); // one yuan is left to take off
    into(&mut street, two, "b").unwrap();
    street.come_to_rest();
    street.check_agreement("stacked");
    assert_eq!(street.balance(2, 3), 1_000 + 300, "never more than the purchase");
}
