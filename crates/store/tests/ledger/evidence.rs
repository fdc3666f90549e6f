//! Which touches count, whom they pay, and what reports say of them: from the records alone, in whatever order they came.

use hutong_core::{
    attribution::{HalfLife, Model, Nulls, Order},
    channel,
    command::{ChannelCommand, Command, TouchCommand},
    evidence::{self, Conversion, Trail},
    promotion::Purchase,
    refusal::Reason,
    report::{self, ActivityKey, AttributionReport, Group, Span},
};
use hutong_record::{CardId, RecordId, UnixMillis, proto};
use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    convergence::{deliver, logs},
    street::{DAY_MS, Shop, Street},
    till::{card, receipt, yuan},
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

impl Street {
    fn scan(
        &mut self,
        from: usize,
        to: usize,
        card: CardId,
        channel: &str,
    ) -> Result<(), hutong_core::refusal::Refusal> {
        let at = self.now;
        self.touch_at(from, to, card, channel, proto::TouchKind::Scan, at)
    }

    fn touch_at(
        &mut self,
        from: usize,
        to: usize,
        card: CardId,
        channel: &str,
        kind: proto::TouchKind,
        at: UnixMillis,
    ) -> Result<(), hutong_core::refusal::Refusal> {
        let request = self.request();
        let channel = channel.to_owned();
        let touch = TouchCommand { request, kind, to: self.id(to), card, at, channel };
        self.run(from, &Command::Touch(touch)).map(|_| ())
    }

    /// A purchase of a card at a shop at this moment, with the touches that led to it.
    fn trail(&self, shop: usize, card: CardId) -> Trail {
        let conversion = Conversion { at: self.now, entered: self.now, card: Some(card), hand_out: None };
        let ledger = &self.shops[shop].ledger;
        evidence::trail(&*ledger.views(), ledger.alliance(), &conversion).unwrap()
    }

    fn attribution(&self, shop: usize, model: Model) -> AttributionReport {
        let ledger = &self.shops[shop].ledger;
        report::attribution(&*ledger.views(), ledger.alliance(), &Span::ALWAYS, model).unwrap()
    }
}

fn models() -> [Model; 7] {
    let half_life = HalfLife::Millis(std::num::NonZeroU64::new(86_400_000).unwrap());
    [
        Model::First,
        Model::Last,
        Model::Linear,
        Model::Position,
        Model::Decay(half_life),
        Model::Shapley,
        Model::Markov(Order::new(1).unwrap(), Nulls::Without),
    ]
}

#[test]
fn each_kind_of_touch_has_its_own_window() {
    let mut street = Street::with(500, 3, |charter| {
        charter.attribution = Some(proto::AttributionRules {
            scan_window_ms: DAY_MS,
            visit_window_ms: 3 * DAY_MS,
            ..Default::default()
        });
    });
    let at = street.now;
    street.touch_at(1, 2, card(1), "a", proto::TouchKind::Scan, at).unwrap();
    street.touch_at(1, 2, card(1), "b", proto::TouchKind::Visit, at).unwrap();
    street.touch_at(1, 2, card(1), "c", proto::TouchKind::Invite, at).unwrap();
    street.meet();
    let counts = |street: &Street| {
        let trail = street.trail(2, card(1));
        (trail.steps.len(), trail.stale)
    };
    assert_eq!(counts(&street), (3, 0));
    street.pass(DAY_MS);
    assert_eq!(counts(&street), (3, 0), "the last moment of a window is in it");
    street.pass(1);
    assert_eq!(counts(&street), (2, 1));
    street.pass(2 * DAY_MS);
    assert_eq!(counts(&street), (1, 2), "what is left is the invitation");
    street.pass(7 * DAY_MS);
    assert_eq!(counts(&street), (0, 0), "past the longest window nothing is looked at");
}

#[test]
fn the_same_touch_within_a_minute_counts_once_and_another_channel_counts() {
    let mut street = Street::new(501, 3);
    let minute = street.now.ms() / MINUTE_MS * MINUTE_MS + MINUTE_MS;
    let at = |ms| UnixMillis::new(minute + ms).unwrap();
    street.now = at(2 * MINUTE_MS);
    for (ms, channel) in [(0, "门口"), (1, "门口"), (59_999, "门口"), (5, "小票"), (60_000, "门口")]
    {
        street.touch_at(1, 2, card(1), channel, proto::TouchKind::Scan, at(ms)).unwrap();
    }
    street.meet();
    let trail = street.trail(2, card(1));
    let steps: Vec<_> = trail.steps.iter().map(|s| (s.at.ms() - minute, s.channel.as_str())).collect();
    assert_eq!(steps, [(0, "门口"), (5, "小票"), (60_000, "门口")]);
    assert_eq!((trail.duplicate, trail.hasty), (2, 0));
}

#[test]
fn too_many_touches_of_one_card_in_an_hour_do_not_count() {
    let mut street = Street::new(502, 4);
    let hour = UnixMillis::new(street.now.ms() / HOUR_MS * HOUR_MS + HOUR_MS).unwrap();
    street.now = hour.saturating_add_ms(HOUR_MS);
    for n in 0..5 {
        let at = hour.saturating_add_ms(n * 2 * MINUTE_MS);
        street.touch_at(1, 2, card(1), "p", proto::TouchKind::Scan, at).unwrap();
    }
    street.touch_at(3, 2, card(1), "p", proto::TouchKind::Scan, hour).unwrap();
    street.meet();
    let trail = street.trail(2, card(1));
    let by = |shop| trail.steps.iter().filter(|step| step.shop == street.id(shop)).count();
    assert_eq!((by(1), by(3), trail.hasty), (3, 1, 2), "each shop's are counted for themselves");
}

#[test]
fn none_of_a_shop_s_burst_counts() {
    let mut street = Street::with(503, 3, |charter| {
        let rules = proto::AttributionRules { shop_touches_per_ten_minutes_max: 3, ..Default::default() };
        charter.attribution = Some(rules);
    });
    let start = UnixMillis::new(street.now.ms() / HOUR_MS * HOUR_MS + HOUR_MS).unwrap();
    street.now = start.saturating_add_ms(HOUR_MS);
    for n in 1..=4 {
        street.touch_at(1, 2, card(n), "p", proto::TouchKind::Scan, start).unwrap();
    }
    let later = start.saturating_add_ms(10 * MINUTE_MS);
    street.touch_at(1, 2, card(1), "p", proto::TouchKind::Scan, later).unwrap();
    street.meet();
    let trail = street.trail(2, card(1));
    assert_eq!((trail.steps.len(), trail.hasty), (1, 1));
    assert_eq!(street.trail(2, card(4)).steps, []);
}

#[test]
fn what_was_signed_after_the_purchase_was_entered_is_late() {
    let mut street = Street::new(504, 3);
    let before = street.now;
    let entered = street.now.saturating_add_ms(HOUR_MS);
    street.now = entered.saturating_add_ms(10 * MINUTE_MS + 1);
    street.touch_at(1, 2, card(1), "p", proto::TouchKind::Scan, before).unwrap();
    street.meet();
    let ledger = &street.shops[2].ledger;
    let trail = |entered| {
        let at = before.saturating_add_ms(MINUTE_MS);
        let conversion = Conversion { at, entered, card: Some(card(1)), hand_out: None };
        evidence::trail(&*ledger.views(), ledger.alliance(), &conversion).unwrap()
    };
    assert_eq!((trail(entered).steps.len(), trail(entered).late), (0, 1));
    assert_eq!(trail(street.now).steps.len(), 1);
}

#[test]
fn evidence_that_comes_after_the_receipt_pays_nobody_and_shows_in_the_report() {
    let mut street = Street::new(505, 4);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    street.meet();
    street.pass(1_000);
    street.scan(3, 2, card(1), "海报").unwrap(); // signed now, and on its way for long
    street.pass(1_000);
    let paid = street.redeem(2, &token.qr_text(), Some(card(1))).unwrap();
    assert_eq!(paid.credited, street.id(1));
    street.meet();
    street.check_agreement("late evidence");
    assert_eq!((street.balance(1, 2), street.balance(3, 2)), (100, 0), "what was paid stays");
    let report = street.attribution(2, Model::Last);
    assert_eq!((report.lines[0].shop, report.lines[0].channel.as_str()), (street.id(3), "海报"));
    assert_eq!((report.redemptions, report.unattributed), (1, 0));
}

#[test]
fn the_charter_can_pay_the_first_touch() {
    let mut street = Street::with(506, 4, |charter| {
        let paying_model = proto::PayingModel::First.into();
        charter.attribution = Some(proto::AttributionRules { paying_model, ..Default::default() });
    });
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.scan(3, 2, card(1), "海报").unwrap();
    street.meet();
    street.pass(1_000);
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    street.pass(1_000);
    let paid = street.redeem(2, &token.qr_text(), Some(card(1))).unwrap();
    assert_eq!(paid.credited, street.id(3));
    street.meet();
    street.check_agreement("first touch");
    assert_eq!((street.balance(3, 2), street.balance(1, 2)), (100, 0));
}

#[test]
fn a_redemption_at_another_shop_is_a_touch_for_its_parties_and_pays_nobody() {
    let mut street = Street::with(520, 5, |charter| {
        let redemption_window_ms = 2 * DAY_MS;
        charter.attribution = Some(proto::AttributionRules { redemption_window_ms, ..Default::default() });
    });
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    let terms = street.terms(&[3], 1);
    street.publish(1, terms).unwrap();
    street.meet();
    let for_1 = street.sell(3, yuan(20), Some(card(1))).remove(0);
    let for_2 = street.sell(1, yuan(20), Some(card(1))).remove(0);
    street.pass(HOUR_MS);
    let elsewhere = street.redeem(2, &for_2.qr_text(), Some(card(1))).unwrap();
    street.meet();
    let seen = |street: &Street, shop| {
        let steps = street.trail(shop, card(1)).steps;
        steps.into_iter().map(|step| (step.shop, step.kind)).collect::<Vec<_>>()
    };
    let used = (street.id(2), evidence::TouchKind::Redemption);
    assert!(seen(&street, 1).contains(&used), "who handed it out is a party of the receipt");
    assert!(!seen(&street, 4).contains(&used) && !seen(&street, 2).contains(&used));
    street.pass(HOUR_MS);
    // It came last, and yet the shop that handed the voucher out is the one that sent the customer.
    let paid = street.redeem(1, &for_1.qr_text(), Some(card(1))).unwrap();
    assert_eq!(paid.credited, street.id(3));
    let linear = street.attribution(1, Model::Linear);
    assert!(linear.lines.iter().any(|line| line.shop == street.id(2)), "reports share the credit");
    street.meet();
    street.check_agreement("a redemption elsewhere");
    street.pass(2 * DAY_MS);
    assert!(!seen(&street, 1).contains(&used), "past its window");
    street.now = street.now.saturating_add_ms(-2 * DAY_MS);
    assert!(seen(&street, 1).contains(&used));
    street.void(2, elsewhere.id).unwrap();
    street.meet();
    assert!(!seen(&street, 1).contains(&used), "what was taken back is no touch");
    let idle = proto::Profile { name: "路过".into(), ..Default::default() };
    street.run(4, &Command::Profile(idle)).unwrap();
    street.meet();
    street.check_redelivered(520, "redemptions elsewhere");
}

#[test]
fn a_card_of_the_staff_earns_nobody_anything() {
    let mut street = Street::new(507, 3);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let staff = |street: &mut Street, shop, removed| {
        let request = street.request();
        street.run(shop, &Command::SetStaffCard { request, card: card(1), removed }).unwrap();
    };
    staff(&mut street, 1, false);
    assert_eq!(street.scan(1, 2, card(1), "p").unwrap_err().reason, Reason::StaffCard);
    staff(&mut street, 1, true);
    street.scan(1, 2, card(1), "p").unwrap();
    street.meet();
    staff(&mut street, 2, false);
    assert_eq!(street.trail(2, card(1)), Trail::default());
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    street.redeem(2, &token.qr_text(), Some(card(1))).unwrap();
    street.meet();
    street.check_agreement("staff");
    assert_eq!(street.balance(1, 2), 0, "the discount is the redeemer's own, and there is no bounty");
}

#[test]
fn a_channel_has_one_target_and_reads_back_from_its_link() {
    let mut street = Street::new(508, 4);
    let promotion = street.publish(2, street.terms(&[1], 2)).unwrap();
    street.meet();
    let create = |street: &mut Street, name: &str, to: Option<usize>, promotion: Option<RecordId>| {
        let request = street.request();
        let to = to.map(|shop| street.id(shop));
        let command = ChannelCommand { request, name: name.into(), to, promotion };
        street.run(1, &Command::CreateChannel(command)).map(|_| ()).map_err(|refusal| refusal.reason)
    };
    create(&mut street, "门口海报", Some(2), None).unwrap();
    create(&mut street, "门口海报", Some(2), None).unwrap();
    create(&mut street, "小票", None, Some(promotion)).unwrap();
    assert_eq!(create(&mut street, "门口海报", Some(3), None), Err(Reason::FieldInvalid));
    assert_eq!(create(&mut street, "", Some(2), None), Err(Reason::FieldInvalid));
    assert_eq!(create(&mut street, &"长".repeat(65), Some(2), None), Err(Reason::FieldInvalid));
    assert_eq!(create(&mut street, "自己", Some(1), None), Err(Reason::FieldInvalid));
    assert_eq!(create(&mut street, "无", None, None), Err(Reason::FieldInvalid));
    assert_eq!(create(&mut street, "错", Some(3), Some(promotion)), Err(Reason::NotRedeemer));
    let unknown = Some(RecordId::new([9; 32]));
    assert_eq!(create(&mut street, "不", None, unknown), Err(Reason::PromotionUnknown));
    let views = street.shops[1].ledger.views();
    let channels = channel::all(&*views).unwrap();
    assert_eq!(channels.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["小票", "门口海报"]);
    for channel in channels {
        let link = channel.link(street.id(1));
        assert_eq!(channel::ChannelLink::parse(&link.text()), Ok(link.clone()));
        assert_eq!((link.shop, link.to), (street.id(1), street.id(2)));
    }
    street.meet();
    assert_eq!(channel::all(&*street.shops[2].ledger.views()).unwrap(), [], "notes are for their author");
}

/// A street with touches, redemptions and purchases of several cards.
fn busy(seed: u64) -> Street {
    let mut street = Street::new(seed, 5);
    let terms = street.terms(&[1, 3], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    for n in 0..4_u8 {
        let who = card(n + 1);
        street.scan(3, 2, who, "海报").unwrap();
        street.pass(HOUR_MS);
        let token = street.sell(1, yuan(20), Some(who)).remove(0);
        street.pass(HOUR_MS);
        street.touch(4, 2, who).unwrap();
        street.meet();
        street.pass(HOUR_MS);
        if n % 2 == 0 {
            street.redeem(2, &token.qr_text(), Some(who)).unwrap();
        }
        street.pass(HOUR_MS);
        street.sell(2, yuan(30), Some(who));
    }
    street.sell(2, yuan(10), None);
    street.meet();
    street
}

#[test]
fn credit_adds_up_to_the_conversions_in_every_model() {
    let street = busy(509);
    for model in models() {
        let report = street.attribution(2, model);
        assert_eq!((report.redemptions, report.purchases, report.unattributed), (2, 4, 0), "{model:?}");
        let sum: f64 = report.lines.iter().map(|line| line.conversions.to_f64()).sum();
        assert!((sum - 6.0).abs() < 1e-9, "{model:?}: {sum}");
        let value: f64 = report.lines.iter().map(|line| line.value.to_f64()).sum();
        assert!((value - 2.0 * 4_000.0 - 4.0 * 3_000.0).abs() < 1e-6, "{model:?}: {value}");
    }
    let nobody = street.attribution(1, Model::Linear);
    assert_eq!(
        (nobody.redemptions, nobody.lines.len()),
        (0, 0),
        "each shop's report is of its own conversions"
    );
}

#[test]
fn a_purchase_beside_a_redemption_is_the_redemption_s_own() {
    let mut street = Street::new(510, 3);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    street.meet();
    street.redeem(2, &token.qr_text(), Some(card(1))).unwrap();
    street.pass(10 * MINUTE_MS);
    street.sell(2, yuan(40), Some(card(1)));
    assert_eq!(street.attribution(2, Model::Last).purchases, 0);
    street.pass(1);
    street.sell(2, yuan(40), Some(card(1)));
    assert_eq!(street.attribution(2, Model::Last).purchases, 1);
}

#[test]
fn the_order_of_arrival_changes_no_bit_of_a_report() {
    for seed in 520..524 {
        let street = busy(seed);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut fresh: Shop = street.fresh(2);
        deliver(&logs(&street), &mut fresh, &street, &mut rng);
        assert_eq!(fresh.state(), street.shops[2].state());
        for model in models() {
            let again =
                report::attribution(&*fresh.ledger.views(), fresh.ledger.alliance(), &Span::ALWAYS, model);
            assert_eq!(again.unwrap(), street.attribution(2, model), "{model:?}");
        }
        for group in [Group::Shop, Group::Promotion, Group::Channel, Group::Hour] {
            let of = |shop: &Shop| {
                report::activity(&*shop.ledger.views(), shop.ledger.alliance(), &Span::ALWAYS, group).unwrap()
            };
            assert_eq!(of(&fresh), of(&street.shops[2]), "{group:?}");
        }
    }
}

#[test]
fn a_rebuild_finds_the_same_reports() {
    let street = busy(511);
    let copy = street.shops[2].copied();
    let of = |shop: &Shop| {
        let (views, alliance) = (shop.ledger.views(), shop.ledger.alliance());
        let credit = report::attribution(&*views, alliance, &Span::ALWAYS, Model::Shapley).unwrap();
        let given = report::reciprocity(&*views, shop.id(), &Span::ALWAYS).unwrap();
        let lines = report::bookings(&*views, shop.id(), &Span::ALWAYS, None, 100).unwrap();
        (credit, given, lines)
    };
    assert_eq!(of(&copy), of(&street.shops[2]));
}

#[test]
fn both_shops_see_which_poster_brought_whom() {
    let mut street = Street::new(512, 3);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    street.pass(HOUR_MS);
    street.scan(1, 2, card(1), "门口海报").unwrap();
    street.scan(1, 2, card(2), "门口海报").unwrap();
    street.meet();
    street.pass(HOUR_MS);
    street.redeem(2, &token.qr_text(), Some(card(1))).unwrap();
    street.meet();
    let key = ActivityKey::Channel { from: street.id(1), to: street.id(2), name: "门口海报".into() };
    for shop in [1, 2] {
        let ledger = &street.shops[shop].ledger;
        let rows =
            report::activity(&*ledger.views(), ledger.alliance(), &Span::ALWAYS, Group::Channel).unwrap();
        let row = rows[&key];
        assert_eq!((row.touches, row.redemptions, row.bounties_minor), (2, 1, 100), "shop {shop}");
        assert_eq!((row.purchases_minor, row.discounts_minor, rows.len()), (4_000, 300, 1), "shop {shop}");
    }
    let ledger = &street.shops[0].ledger;
    let rows = report::activity(&*ledger.views(), ledger.alliance(), &Span::ALWAYS, Group::Channel).unwrap();
    assert!(rows.is_empty(), "a third shop sees nothing");
}

#[test]
fn reports_go_by_shop_promotion_hour_and_span() {
    let street = busy(513);
    let ledger = &street.shops[2].ledger;
    let of = |span: &Span, group| report::activity(&*ledger.views(), ledger.alliance(), span, group).unwrap();
    let shops = of(&Span::ALWAYS, Group::Shop);
    let row = |shop| shops[&ActivityKey::Shop(street.id(shop))];
    assert_eq!((row(4).touches, row(4).redemptions, row(4).bounties_minor), (4, 2, 200));
    assert_eq!((row(1).vouchers, row(3).touches, row(3).redemptions), (4, 4, 0));
    let promotions = of(&Span::ALWAYS, Group::Promotion);
    assert_eq!(promotions.values().map(|row| row.redemptions).collect::<Vec<_>>(), [2]);
    let hours = of(&Span::ALWAYS, Group::Hour);
    assert_eq!(hours.values().map(|row| row.sales).sum::<u64>(), 5);
    assert_eq!(hours.values().map(|row| row.sales_minor).sum::<i128>(), 13_000);
    assert_eq!(hours.values().map(|row| row.redemptions).sum::<u64>(), 2);
    let past = Span { from: UnixMillis::EPOCH, until: UnixMillis::new(1).unwrap() };
    assert!(of(&past, Group::Hour).is_empty() && of(&past, Group::Shop).is_empty());
    let given = report::reciprocity(&*ledger.views(), street.id(2), &Span::ALWAYS).unwrap();
    let four = given[&street.id(4)];
    assert_eq!((four.received.customers, four.received.value_minor, four.given.customers), (2, 8_000, 0));
}

#[test]
fn newcomers_are_those_whom_a_voucher_brought_and_return_on_a_later_day() {
    let mut street = Street::new(514, 3);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    street.sell(2, yuan(20), Some(card(3))); // a known customer
    street.pass(DAY_MS);
    for n in 1..=3 {
        let token = street.sell(1, yuan(20), Some(card(n))).remove(0);
        street.redeem(2, &token.qr_text(), Some(card(n))).unwrap();
    }
    street.sell(2, yuan(20), Some(card(2))); // on the same day: no return
    street.pass(6 * DAY_MS);
    street.sell(2, yuan(20), Some(card(1)));
    street.pass(9 * DAY_MS);
    street.sell(2, yuan(20), Some(card(2)));
    let ledger = &street.shops[2].ledger;
    let cohorts = |as_of| {
        let found = report::cohorts(&*ledger.views(), ledger.alliance(), &Span::ALWAYS, as_of).unwrap();
        assert_eq!(found.len(), 1);
        *found.values().next().unwrap()
    };
    let now = cohorts(street.now);
    assert_eq!((now.newcomers, now.observed, now.returned), (2, [2, 0, 0], [1, 0, 0]));
    let later = cohorts(street.now.saturating_add_ms(60 * DAY_MS));
    assert_eq!((later.observed, later.returned), ([2, 2, 0], [1, 2, 0]));
}

#[test]
fn a_redemption_that_is_taken_back_leaves_every_report() {
    let mut street = Street::new(515, 3);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let token = street.sell(1, yuan(20), Some(card(1))).remove(0);
    let command = street.redemption(&token.qr_text(), yuan(40), Some(card(1)));
    let Command::Redeem(redeem) = &command else { unreachable!("a redemption") };
    assert_eq!(redeem.purchase, Purchase::of(yuan(40)));
    let paid = receipt(street.run(2, &command).unwrap().answer);
    street.void(2, paid.id).unwrap();
    street.meet();
    for shop in [1, 2] {
        let (views, me) = (street.shops[shop].ledger.views(), street.id(shop));
        assert_eq!(report::bookings(&*views, me, &Span::ALWAYS, None, 10).unwrap(), (Vec::new(), None));
    }
    assert_eq!(street.attribution(2, Model::Last).redemptions, 0);
}
