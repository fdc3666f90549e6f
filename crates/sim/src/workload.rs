//! What people in the street do: buy, get vouchers, use them once or try to use them more often, take purchases back.
//!
//! A new kind of command is a new [`Action`]; what a customer does with it is a new [`Deed`] or [`Purpose`].

use hutong_core::{
    answer::Answer,
    promotion::Mode,
    refusal::{Reason, Refusal},
    voucher::{Presented, Token},
};
use hutong_record::{CardId, RecordId};
use rand::RngExt as _;

use crate::{
    action::Action,
    byzantine::Forgery,
    clock::{HOUR_MS, MINUTE_MS},
    node::{RequestNumber, ShopNumber},
    offers::Offer,
    world::{Event, World},
};

/// Presentations that one hand-out leads to, on the average; sets the pace.
const PRESENTATIONS_PER_CUSTOMER: f64 = 1.5;
/// Customers that come in one crowd.
const CROWD: u32 = 24;

/// What a request is for.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    /// A promotion of the street's plan.
    Publish { offer: usize },
    /// Vouchers for a customer.
    HandOut { card: Option<CardId> },
    /// A customer uses a voucher.
    Use { holder: Box<Holder> },
    /// A voucher that a cheat made.
    UseForged { forgery: Forgery },
    /// A purchase is taken back.
    Void { holder: Box<Holder>, redemption: RecordId },
    /// A part of a purchase is taken back.
    VoidPart { redemption: RecordId },
    /// The right to a voucher is asked for, on behalf of another request.
    AskHome { visit: RequestNumber },
    /// A customer will go to another shop with a voucher.
    PassOn { holder: Box<Holder>, to: ShopNumber },
    /// A use is kept free for a customer.
    KeepFree { holder: Box<Holder>, key: String },
    /// Numbers go from one shop of an offer to another.
    Supply { offer: usize, to: ShopNumber },
    /// Another body under a request id that was used.
    Otherwise { earlier: RequestNumber },
    /// When all is calm, things must work.
    Proof { offer: usize },
    /// When all is calm, a voucher that was not used must be good.
    LastUse,
    /// Nobody waits for what comes of it.
    Nothing,
}

/// A customer with a voucher.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) token: Token,
    pub(crate) card: Option<CardId>,
    /// Where it was used, or will be.
    pub(crate) redeemer: ShopNumber,
}

/// What a customer does.
#[derive(Debug)]
pub(crate) enum Deed {
    /// Somebody comes to a shop that hands out vouchers; so many more follow at once.
    SetOut { crowd: u32 },
    /// Somebody wants a voucher of the flash sale.
    Rush { offer: usize, at: ShopNumber },
    /// A voucher is shown.
    Present { holder: Box<Holder>, at: ShopNumber, by_code: bool },
    /// A use is to be kept free.
    Keep { holder: Box<Holder>, at: ShopNumber },
    /// A shop is asked to pass a voucher on to another one.
    PassOn { holder: Box<Holder>, from: ShopNumber, to: ShopNumber },
    /// A shop takes a voucher back.
    Revoke { holder: Box<Holder>, by: ShopNumber },
    /// A purchase is taken back.
    TakeBack { holder: Box<Holder>, redemption: RecordId },
}

impl World {
    pub(crate) fn customer(&mut self, deed: Deed) {
        match deed {
            Deed::SetOut { crowd } => self.set_out(crowd),
            Deed::Rush { offer, at } => {
                if let Some(promotion) = self.offers[offer].id {
                    self.ask(at, Action::Issue { promotion, card: None }, Purpose::HandOut { card: None });
                }
            }
            Deed::Keep { holder, at } => self.keep_free(holder, at),
            Deed::PassOn { holder, from, to } => {
                let action =
                    Action::Transfer { token: Box::new(holder.token.clone()), to: self.shops[to].id() };
                self.checks.touched.insert(holder.token.body().key);
                self.ask(from, action, Purpose::PassOn { holder, to });
            }
            Deed::Revoke { holder, by } => {
                let token = Box::new(holder.token.clone());
                self.checks.touched.insert(holder.token.body().key);
                self.ask(by, Action::Revoke { token }, Purpose::Nothing);
            }
            Deed::Present { holder, at, by_code } => self.present(holder, at, by_code),
            Deed::TakeBack { holder, redemption } => self.take_back(holder, redemption),
        }
    }

    fn set_out(&mut self, crowd: u32) {
        let left_ms = self.closing_ms - self.now_ms;
        if self.presentations_left == 0 || left_ms <= 0 {
            return;
        }
        self.visit_distributor();
        let (wait_ms, crowd) = if crowd > 0 {
            (self.rng.random_range(0..300), crowd - 1)
        } else {
            // Crowds included, all presentations are used up by closing time.
            let crowd = if self.rng.random_bool(0.1) { CROWD } else { 0 };
            let customers = f64::from(self.presentations_left) / PRESENTATIONS_PER_CUSTOMER / 3.4;
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "days, in ms")]
            let mean_ms = (left_ms as f64 / customers.max(1.0)) as i64;
            (self.rng.random_range(0..=2 * mean_ms.max(1)), crowd)
        };
        self.after(wait_ms.max(1), Event::Customer(Deed::SetOut { crowd }));
    }

    fn visit_distributor(&mut self) {
        let card = self.rng.random_bool(0.7).then(|| CardId::new(self.rng.random()));
        let offer = self.rng.random_range(0..self.offers.len());
        let offer = self.offers[offer].clone();
        if offer.flash {
            return; // not yet
        }
        let shop = offer.distributors[self.rng.random_range(0..offer.distributors.len())];
        if let (Some(card), true) = (card, self.rng.random_bool(0.1)) {
            let to = self.shops[offer.usual_redeemer()].id();
            self.ask(shop, Action::Touch { to, card }, Purpose::Nothing);
        }
        let action = match offer.id {
            Some(promotion) if self.rng.random_bool(0.7) => Action::Issue { promotion, card },
            _ => Action::Sell { card, amount_minor: self.rng.random_range(500..20_000) },
        };
        self.ask(shop, action, Purpose::HandOut { card });
    }

    /// A request was answered for the first time: what comes next.
    pub(crate) fn go_on(&mut self, number: RequestNumber, told: Result<Answer, Refusal>) {
        let Some(purpose) = self.requests.get(number).map(|request| request.purpose.clone()) else { return };
        match (purpose, told) {
            (Purpose::Publish { offer }, Ok(Answer::Published { promotion })) => {
                self.offers[offer].id = Some(promotion);
            }
            (Purpose::HandOut { card }, Ok(Answer::HandedOut { tokens, .. })) => {
                for token in tokens {
                    self.plan_visits(token, card);
                }
            }
            (Purpose::HandOut { .. }, Err(refusal)) if refusal.reason == Reason::QuotaUsedUp => {
                self.seek_supply(number);
            }
            (Purpose::PassOn { holder, to }, Ok(Answer::Transferred { .. })) => self.go_there(&holder, to),
            (Purpose::KeepFree { holder, key }, Ok(Answer::Reserved { .. })) => {
                let card = holder.card;
                let presented = Presented::Token(holder.token.clone());
                let shop = self.requests[number].shop;
                let action = Action::Redeem { presented, purchase_minor: 9_000, card, reservation: key };
                self.checks.presented += 1;
                self.ask(shop, action, Purpose::Use { holder });
            }
            (Purpose::LastUse, told) => self.used_last(number, &told),
            (Purpose::Use { holder }, Ok(Answer::Redeemed { redemption, .. })) => {
                self.after_use(number, holder, redemption);
            }
            (Purpose::Void { holder, .. }, Ok(Answer::Voided { .. })) => self.use_again(holder),
            (Purpose::Proof { offer }, told) => self.proved(offer, number, told),
            _ => {}
        }
    }

    /// What the holder of a new voucher will do with it.
    fn plan_visits(&mut self, token: Token, card: Option<CardId>) {
        let body = token.body();
        let Some(offer) = self.offers.iter().find(|offer| offer.id == Some(body.key.promotion)) else {
            return;
        };
        let offer = offer.clone();
        let Some(home) = offer.distributors.get(usize::from(body.issuer)).copied() else { return };
        let redeemer = match offer.mode {
            Mode::Designated => offer.usual_redeemer(),
            Mode::Leased => home,
            Mode::Anywhere => offer.redeemers[self.rng.random_range(0..offer.redeemers.len())],
        };
        let holder = Box::new(Holder { token, card, redeemer });
        let first_ms = match self.rng.random_range(0..10) {
            0..3 => self.rng.random_range(0..5_000),
            3..8 => self.rng.random_range(MINUTE_MS..4 * HOUR_MS),
            _ => self.rng.random_range(HOUR_MS..24 * HOUR_MS),
        };
        if self.rng.random_bool(0.03) {
            let by = if self.rng.random_bool(0.5) { home } else { offer.funder };
            let wait_ms = self.rng.random_range(0..6 * HOUR_MS);
            self.after(wait_ms, Event::Customer(Deed::Revoke { holder: holder.clone(), by }));
        }
        for _ in 1..offer.uses() {
            let wait_ms = first_ms + self.rng.random_range(0..12 * HOUR_MS);
            self.plan_presentation(&holder, redeemer, wait_ms);
        }
        match offer.mode {
            Mode::Anywhere => self.plan_anywhere(&holder, home, &offer.redeemers, first_ms),
            Mode::Designated | Mode::Leased => self.plan_at_one(&holder, &offer, first_ms),
        }
    }

    /// Visits with a voucher that is good at one shop.
    fn plan_at_one(&mut self, holder: &Holder, offer: &Offer, first_ms: i64) {
        let redeemer = holder.redeemer;
        match self.rng.random_range(0..100) {
            // Two or three tills at once.
            0..18 => {
                for _ in 0..self.rng.random_range(2..=3) {
                    let wait_ms = first_ms + self.rng.random_range(0..60);
                    self.plan_presentation(holder, redeemer, wait_ms);
                }
            }
            // Once more, later.
            18..28 => {
                self.plan_presentation(holder, redeemer, first_ms);
                let wait_ms = first_ms + self.rng.random_range(MINUTE_MS..12 * HOUR_MS);
                self.plan_presentation(holder, redeemer, wait_ms);
            }
            // At the wrong shop first.
            28..36 => {
                let wrong = self.rng.random_range(0..self.shops.len());
                self.plan_presentation(holder, wrong, first_ms);
                self.plan_presentation(holder, redeemer, first_ms + 10 * MINUTE_MS);
            }
            // A use is kept free, and somebody else shows the voucher meanwhile.
            36..42 => {
                let holder = Box::new(holder.clone());
                self.after(first_ms, Event::Customer(Deed::Keep { holder: holder.clone(), at: redeemer }));
                self.plan_presentation(&holder, redeemer, first_ms + 50);
            }
            // Never.
            42..46 => {}
            // To another shop of the offer, where there is one.
            46..76 if offer.mode == Mode::Designated && offer.redeemers.len() > 1 => {
                self.plan_pass(holder, redeemer, offer.redeemers[1], first_ms);
            }
            _ => self.plan_presentation(holder, redeemer, first_ms),
        }
    }

    /// Visits with a voucher that several shops take.
    fn plan_anywhere(&mut self, holder: &Holder, home: ShopNumber, redeemers: &[ShopNumber], first_ms: i64) {
        let redeemer = holder.redeemer;
        match self.rng.random_range(0..100) {
            // At several shops at once, or before they can hear of each other.
            0..45 => {
                let spread_ms = if self.rng.random_bool(0.5) { 2_000 } else { HOUR_MS };
                for shop in redeemers {
                    let wait_ms = first_ms + self.rng.random_range(0..spread_ms);
                    self.plan_presentation(holder, *shop, wait_ms);
                }
            }
            // Once more, later, wherever.
            45..60 => {
                let again = redeemers[self.rng.random_range(0..redeemers.len())];
                self.plan_presentation(holder, redeemer, first_ms);
                let wait_ms = first_ms + self.rng.random_range(MINUTE_MS..12 * HOUR_MS);
                self.plan_presentation(holder, again, wait_ms);
            }
            // The customer picks a shop beforehand.
            60..72 => self.plan_pass(holder, home, redeemer, first_ms),
            72..76 => {}
            _ => self.plan_presentation(holder, redeemer, first_ms),
        }
    }

    fn plan_pass(&mut self, holder: &Holder, from: ShopNumber, to: ShopNumber, wait_ms: i64) {
        let holder = Box::new(holder.clone());
        self.after(wait_ms, Event::Customer(Deed::PassOn { holder, from, to }));
    }

    /// A voucher was passed on: it is shown there, and now and then where it came from, too.
    fn go_there(&mut self, holder: &Holder, to: ShopNumber) {
        let wait_ms = self.rng.random_range(0..HOUR_MS);
        self.plan_presentation(holder, to, wait_ms);
        if self.rng.random_bool(0.5) {
            self.plan_presentation(holder, holder.redeemer, wait_ms + 50);
        }
    }

    fn keep_free(&mut self, holder: Box<Holder>, at: ShopNumber) {
        let key = format!("basket-{}", self.requests.len());
        let lifetime_ms = self.rng.random_range(MINUTE_MS..HOUR_MS);
        let token = Box::new(holder.token.clone());
        self.checks.touched.insert(token.body().key);
        let action = Action::Reserve { token, key: key.clone(), lifetime_ms };
        self.ask(at, action, Purpose::KeepFree { holder, key });
    }

    /// A shop has sold out: it asks another one for some of its numbers.
    fn seek_supply(&mut self, number: RequestNumber) {
        let to = self.requests[number].shop;
        let Action::Issue { promotion, .. } = self.requests[number].action else { return };
        let Some(offer) = self.offers.iter().position(|offer| offer.id == Some(promotion)) else { return };
        let others: Vec<_> = self.offers[offer].distributors.iter().copied().filter(|d| *d != to).collect();
        let Some(index) = self.below(others.len()) else { return };
        if self.offers[offer].flash || self.rng.random_bool(0.3) {
            return;
        }
        let count = self.rng.random_range(1..=3);
        let action = Action::MoveQuota { promotion, to: self.shops[to].id(), count };
        self.ask(others[index], action, Purpose::Supply { offer, to });
    }

    fn plan_presentation(&mut self, holder: &Holder, at: ShopNumber, wait_ms: i64) {
        if self.presentations_left == 0 {
            return;
        }
        self.presentations_left -= 1;
        // Elsewhere than at its parties an anywhere voucher is known by its token alone.
        let promotion = holder.token.body().key.promotion;
        let one = |offer: &Offer| offer.id == Some(promotion) && offer.mode != Mode::Anywhere;
        let by_code = self.rng.random_bool(0.25) && self.offers.iter().any(one);
        let latest_ms = (self.closing_ms - self.now_ms - MINUTE_MS).max(1);
        let holder = Box::new(holder.clone());
        self.after(wait_ms.min(latest_ms), Event::Customer(Deed::Present { holder, at, by_code }));
    }

    fn present(&mut self, holder: Box<Holder>, at: ShopNumber, by_code: bool) {
        let presented = match by_code {
            true => Presented::Secret(holder.token.body().secret),
            false => Presented::Token(holder.token.clone()),
        };
        let purchase_minor = self.rng.random_range(500..30_000);
        let action = Action::redeem(presented, purchase_minor, holder.card);
        self.checks.presented += 1;
        self.ask(at, action, Purpose::Use { holder });
    }

    /// A voucher was used: some purchases are taken back, and some tills reuse a request id.
    fn after_use(&mut self, number: RequestNumber, mut holder: Box<Holder>, redemption: RecordId) {
        holder.redeemer = self.requests[number].shop;
        match self.rng.random_range(0..100) {
            0..8 => {
                let wait_ms = self.rng.random_range(1_000..2 * HOUR_MS);
                self.after(wait_ms, Event::Customer(Deed::TakeBack { holder, redemption }));
            }
            11..16 => {
                let returned_minor = Some(self.rng.random_range(100..9_000));
                let action = Action::Void { redemption, returned_minor };
                self.ask(holder.redeemer, action, Purpose::VoidPart { redemption });
            }
            8..11 => {
                let presented = Presented::Token(holder.token.clone());
                let action = Action::redeem(presented, 777, holder.card);
                self.ask_otherwise(number, action);
            }
            _ => {}
        }
    }

    /// A purchase is taken back, by an eager till twice, and now and then once more when the voucher was used again.
    fn take_back(&mut self, holder: Box<Holder>, redemption: RecordId) {
        let times = if self.rng.random_bool(0.4) { 2 } else { 1 };
        for _ in 0..times {
            let purpose = Purpose::Void { holder: holder.clone(), redemption };
            self.ask(holder.redeemer, Action::Void { redemption, returned_minor: None }, purpose);
        }
        if self.rng.random_bool(0.4) {
            let wait_ms = self.rng.random_range(MINUTE_MS..HOUR_MS);
            self.after(wait_ms, Event::Customer(Deed::TakeBack { holder, redemption }));
        }
    }

    fn use_again(&mut self, holder: Box<Holder>) {
        for wait_ms in [1_000, 1_040, 3 * HOUR_MS] {
            self.plan_presentation(&holder, holder.redeemer, wait_ms);
        }
    }
}
