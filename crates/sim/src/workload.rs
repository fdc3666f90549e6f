//! What people in the street do: buy, get vouchers, use them once or try to use them more often, take purchases back.
//!
//! A new kind of voucher command is a new [`Action`]; what a customer does with it is a new [`Deed`] or [`Purpose`].

use hutong_core::{
    answer::{Answer, RequestTag},
    command::{Command, Confirmation, IssueCommand, RedeemCommand, SaleCommand, TouchCommand, VoidCommand},
    promotion::Purchase,
    refusal::{Reason, Refusal},
    voucher::{Presented, Token},
};
use hutong_record::{CardId, Currency, Money, RecordId, ShopId, UnixMillis, proto};
use rand::RngExt as _;

use crate::{
    byzantine::Forgery,
    clock::{HOUR_MS, MINUTE_MS},
    node::{RequestNumber, ShopNumber},
    world::{Event, World},
};

/// Presentations that one hand-out leads to, on the average; sets the pace.
const PRESENTATIONS_PER_CUSTOMER: f64 = 1.5;
/// Customers that come in one crowd.
const CROWD: u32 = 24;

/// What a till asks of its node.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Publish { promotion: Box<proto::Promotion> },
    Sell { card: Option<CardId>, amount_minor: i64 },
    Issue { promotion: RecordId, card: Option<CardId> },
    Redeem { presented: Presented, purchase_minor: i64, card: Option<CardId> },
    Void { redemption: RecordId },
    Touch { to: ShopId, card: CardId },
}

impl Action {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Sell { .. } => "sell",
            Self::Issue { .. } => "issue",
            Self::Redeem { .. } => "redeem",
            Self::Void { .. } => "void",
            Self::Touch { .. } => "touch",
        }
    }

    /// The command, as the node makes it of the request that has arrived.
    pub(crate) fn command(&self, request: RequestTag, now: UnixMillis) -> Command {
        match self.clone() {
            Self::Publish { promotion } => Command::Publish { request, promotion },
            Self::Sell { card, amount_minor } => Command::Sell(SaleCommand {
                request,
                sold: now,
                card,
                amount: yuan(amount_minor),
                reference: String::new(),
            }),
            Self::Issue { promotion, card } => {
                Command::Issue(IssueCommand { request, promotion, card, at: now, redeemer: None })
            }
            Self::Redeem { presented, purchase_minor, card } => Command::Redeem(RedeemCommand {
                request,
                presented: Some(presented),
                purchase: Purchase::of(yuan(purchase_minor)),
                card,
                at: now,
                reference: String::new(),
                reservation: String::new(),
                confirmation: Confirmation::NotAsked,
            }),
            Self::Void { redemption } => {
                let reason = "退货".into();
                Command::Void(VoidCommand { request, redemption, at: now, reason, returned: None })
            }
            Self::Touch { to, card } => Command::Touch(TouchCommand {
                request,
                kind: proto::TouchKind::Scan,
                to,
                card,
                at: now,
                channel: "海报".into(),
            }),
        }
    }
}

fn yuan(minor: i64) -> Money {
    Money::new(Currency::CNY, minor).expect("amounts of the street are small")
}

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
    /// Another body under a request id that was used.
    Otherwise { earlier: RequestNumber },
    /// When all is calm, things must work.
    Proof { offer: usize },
    /// Nobody waits for what comes of it.
    Nothing,
}

/// A customer with a voucher.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) token: Token,
    pub(crate) card: Option<CardId>,
    pub(crate) redeemer: ShopNumber,
}

/// What a customer does.
#[derive(Debug)]
pub(crate) enum Deed {
    /// Somebody comes to a shop that hands out vouchers; so many more follow at once.
    SetOut { crowd: u32 },
    /// A voucher is shown.
    Present { holder: Box<Holder>, at: ShopNumber, by_code: bool },
    /// A purchase is taken back.
    TakeBack { holder: Box<Holder>, redemption: RecordId },
}

/// A promotion of the street.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) id: Option<RecordId>,
    pub(crate) funder: ShopNumber,
    pub(crate) redeemer: ShopNumber,
    pub(crate) distributors: Vec<ShopNumber>,
    pub(crate) message: proto::Promotion,
}

impl World {
    pub(crate) fn customer(&mut self, deed: Deed) {
        match deed {
            Deed::SetOut { crowd } => self.set_out(crowd),
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
        let shop = offer.distributors[self.rng.random_range(0..offer.distributors.len())];
        if let (Some(card), true) = (card, self.rng.random_bool(0.1)) {
            let to = self.shops[offer.redeemer].id();
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
        let promotion = token.body().key.promotion;
        let Some(offer) = self.offers.iter().find(|offer| offer.id == Some(promotion)) else { return };
        let redeemer = offer.redeemer;
        let holder = Box::new(Holder { token, card, redeemer });
        let first_ms = match self.rng.random_range(0..10) {
            0..3 => self.rng.random_range(0..5_000),
            3..8 => self.rng.random_range(MINUTE_MS..4 * HOUR_MS),
            _ => self.rng.random_range(HOUR_MS..24 * HOUR_MS),
        };
        match self.rng.random_range(0..100) {
            // Two or three tills at once.
            0..20 => {
                for _ in 0..self.rng.random_range(2..=3) {
                    let wait_ms = first_ms + self.rng.random_range(0..60);
                    self.plan_presentation(&holder, redeemer, wait_ms);
                }
            }
            // Once more, later.
            20..32 => {
                self.plan_presentation(&holder, redeemer, first_ms);
                let wait_ms = first_ms + self.rng.random_range(MINUTE_MS..12 * HOUR_MS);
                self.plan_presentation(&holder, redeemer, wait_ms);
            }
            // At the wrong shop first.
            32..40 => {
                let wrong = self.rng.random_range(0..self.shops.len());
                self.plan_presentation(&holder, wrong, first_ms);
                self.plan_presentation(&holder, redeemer, first_ms + 10 * MINUTE_MS);
            }
            // Never.
            40..45 => {}
            _ => self.plan_presentation(&holder, redeemer, first_ms),
        }
    }

    fn plan_presentation(&mut self, holder: &Holder, at: ShopNumber, wait_ms: i64) {
        if self.presentations_left == 0 {
            return;
        }
        self.presentations_left -= 1;
        let by_code = self.rng.random_bool(0.25);
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
        let action = Action::Redeem { presented, purchase_minor, card: holder.card };
        self.checks.presented += 1;
        self.ask(at, action, Purpose::Use { holder });
    }

    /// A voucher was used: some purchases are taken back, and some tills reuse a request id.
    fn after_use(&mut self, number: RequestNumber, holder: Box<Holder>, redemption: RecordId) {
        match self.rng.random_range(0..100) {
            0..8 => {
                let wait_ms = self.rng.random_range(1_000..2 * HOUR_MS);
                self.after(wait_ms, Event::Customer(Deed::TakeBack { holder, redemption }));
            }
            8..11 => {
                let presented = Presented::Token(holder.token.clone());
                let action = Action::Redeem { presented, purchase_minor: 777, card: holder.card };
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
            self.ask(holder.redeemer, Action::Void { redemption }, purpose);
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

/// Reasons that say something about this moment only, so that a repeat may be told otherwise.
pub(crate) const fn is_kept(action: &Action, reason: Reason) -> bool {
    let kept_kind = matches!(action, Action::Issue { .. } | Action::Redeem { .. } | Action::Void { .. });
    let not_kept = matches!(
        reason,
        Reason::FieldInvalid
            | Reason::RequestIdReused
            | Reason::NotMember
            | Reason::LogFrozen
            | Reason::CurrencyMismatch
            | Reason::Busy
            | Reason::Stopped
            | Reason::Internal
    );
    kept_kind && !not_kept
}
