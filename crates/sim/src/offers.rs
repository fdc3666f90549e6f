//! The street's promotions: of every mode, with every kind of terms.

use hutong_core::promotion::Mode;
use hutong_record::{Currency, Money, RecordId, proto};
use rand::RngExt as _;

use crate::{
    action::Action,
    clock::{Clock, DAY_MS, HOUR_MS},
    node::ShopNumber,
    workload::Purpose,
    world::World,
};

/// The most shops that hand out vouchers of one promotion.
const DISTRIBUTORS_MAX: usize = 6;
/// The most shops at which vouchers of one promotion are used, where the voucher does not say which.
const REDEEMERS_MAX: usize = 4;

/// A promotion of the street.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) id: Option<RecordId>,
    pub(crate) funder: ShopNumber,
    pub(crate) mode: Mode,
    /// Designated: the usual one first. Leased: the distributors.
    pub(crate) redeemers: Vec<ShopNumber>,
    pub(crate) distributors: Vec<ShopNumber>,
    /// Nothing of it is handed out before the flash sale.
    pub(crate) flash: bool,
    pub(crate) message: proto::Promotion,
}

impl Offer {
    /// The shop at which its vouchers are used first of all.
    pub(crate) fn usual_redeemer(&self) -> ShopNumber {
        self.redeemers[0]
    }

    /// How often one voucher can be used.
    pub(crate) fn uses(&self) -> u32 {
        self.message.uses.max(1)
    }

    /// The numbers that a shop has from the beginning.
    pub(crate) fn quota_of(&self, shop: ShopNumber) -> u32 {
        let place = self.distributors.iter().position(|d| *d == shop);
        place.and_then(|place| self.message.distributors.get(place)).map_or(0, |d| d.quota)
    }
}

impl World {
    /// A shop's promotion: mostly designated, else of another mode.
    pub(crate) fn publish_offer(&mut self, funder: ShopNumber) {
        match self.rng.random_range(0..100) {
            0..50 => self.publish_designated(funder),
            50..65 => self.publish_leased(funder),
            _ => self.publish_anywhere(funder),
        }
    }

    /// Vouchers that name a shop; some of them can be passed on to another one.
    fn publish_designated(&mut self, funder: ShopNumber) {
        let shops = self.shops.len();
        // Mostly its own vouchers, handed out by neighbours.
        let usual = if self.rng.random_bool(0.75) { funder } else { self.rng.random_range(0..shops) };
        let mut redeemers = vec![usual];
        if shops > 3 && self.rng.random_bool(0.3) {
            redeemers.extend(self.some_shops(1, &[usual]));
        }
        let distributors = self.some_shops(DISTRIBUTORS_MAX, &redeemers);
        let quota = self.usual_quota(distributors.len(), 3);
        let mut offer = self.offer(Mode::Designated, funder, redeemers, distributors, quota);
        if self.rng.random_bool(0.2) {
            offer.message.uses = 3;
        }
        self.publish(offer);
    }

    /// One small stock, in shares, so that it sells out and numbers are moved.
    fn publish_leased(&mut self, funder: ShopNumber) {
        let distributors = self.some_shops(DISTRIBUTORS_MAX, &[]);
        let quota = self.usual_quota(distributors.len(), 1);
        let mut offer = self.offer(Mode::Leased, funder, distributors.clone(), distributors, quota);
        for distributor in &mut offer.message.distributors {
            distributor.quota = self.rng.random_range(1..=quota);
        }
        self.maybe_reuse(&mut offer.message);
        self.publish(offer);
    }

    /// Vouchers that several shops take, each after asking the home; most of them at risk if it does not answer.
    fn publish_anywhere(&mut self, funder: ShopNumber) {
        let redeemers = self.some_shops(REDEEMERS_MAX, &[]);
        let distributors = self.some_shops(DISTRIBUTORS_MAX / 2, &[]);
        let quota = self.usual_quota(distributors.len(), 3);
        let mut offer = self.offer(Mode::Anywhere, funder, redeemers, distributors, quota);
        match self.rng.random_range(0..10) {
            0..7 => offer.message.risk = Some(self.risk_terms()),
            7..9 => offer.message.uses = 3,
            _ => {}
        }
        self.maybe_reuse(&mut offer.message);
        self.publish(offer);
    }

    fn risk_terms(&mut self) -> proto::RiskTerms {
        proto::RiskTerms {
            per_voucher_max: Some(yuan(900)),
            per_shop_max: Some(yuan(self.rng.random_range(900..2_400))),
            per_day_max: Some(yuan(self.rng.random_range(900..1_800))),
            offline_ms_max: self.rng.random_range(2 * HOUR_MS..DAY_MS),
        }
    }

    /// Short-lived vouchers, whose numbers are handed out again.
    fn maybe_reuse(&mut self, message: &mut proto::Promotion) {
        if self.rng.random_bool(0.3) {
            message.reuse_expired = true;
            message.voucher_valid_ms = 5 * HOUR_MS;
        }
    }

    /// The stock of the flash sale, shared by several shops.
    pub(crate) fn publish_flash_offer(&mut self) {
        let distributors = self.some_shops(DISTRIBUTORS_MAX, &[]);
        let quota = self.usual_quota(distributors.len(), 1);
        let mut offer = self.offer(Mode::Leased, 0, distributors.clone(), distributors, quota);
        offer.message.earn_spend_min = None;
        (offer.message.per_day_max, offer.message.per_card_max, offer.message.card_required) = (0, 0, false);
        offer.flash = true;
        self.publish(offer);
    }

    /// Publishes terms whose budget covers all that they can cost.
    pub(crate) fn publish(&mut self, mut offer: Offer) {
        let message = &mut offer.message;
        let minor = |money: &Option<proto::Money>| money.as_ref().map_or(0, |m| m.minor);
        let most = match message.benefit.as_ref().and_then(|b| b.benefit.as_ref()) {
            Some(proto::benefit::Benefit::AmountOff(amount)) => amount.minor,
            Some(proto::benefit::Benefit::PercentOff(percent)) => minor(&percent.amount_max),
            None => 0,
        };
        let each = i64::from(message.uses.max(1)) * (most + minor(&message.bounty));
        let vouchers: i64 = message.distributors.iter().map(|d| i64::from(d.quota)).sum();
        message.budget = Some(yuan(each * vouchers));
        let (funder, promotion) = (offer.funder, Box::new(message.clone()));
        self.offers.push(offer);
        let purpose = Purpose::Publish { offer: self.offers.len() - 1 };
        self.ask(funder, Action::Publish { promotion }, purpose);
    }

    /// Up to `most` shops, without some.
    fn some_shops(&mut self, most: usize, without: &[ShopNumber]) -> Vec<ShopNumber> {
        let mut shops: Vec<_> = (0..self.shops.len()).filter(|shop| !without.contains(shop)).collect();
        while shops.len() > most {
            shops.swap_remove(self.rng.random_range(0..shops.len()));
        }
        shops
    }

    /// Vouchers of one distributor: from half to `times` of what its customers will come to.
    fn usual_quota(&mut self, distributors: usize, times: u32) -> u32 {
        let each = self.config.redemptions as usize / self.shops.len().max(1) / distributors.max(1);
        let usual = u32::try_from(each).unwrap_or(u32::MAX).max(4);
        self.rng.random_range(usual / 2..=usual * times)
    }

    /// Terms as they are usual in the street.
    pub(crate) fn offer(
        &mut self,
        mode: Mode,
        funder: ShopNumber,
        redeemers: Vec<ShopNumber>,
        distributors: Vec<ShopNumber>,
        quota: u32,
    ) -> Offer {
        let id = |shop: ShopNumber| self.shops[shop].id().as_bytes().to_vec().into();
        let distributor = |shop: &ShopNumber| proto::Distributor { shop_id: id(*shop), quota };
        let others: Vec<_> = redeemers.iter().map(|shop| id(*shop)).collect();
        let (code, redeemer_id, redeemer_ids) = match mode {
            Mode::Designated => (proto::VoucherMode::Designated, others[0].clone(), others[1..].to_vec()),
            Mode::Leased => (proto::VoucherMode::Leased, Default::default(), Vec::new()),
            Mode::Anywhere => (proto::VoucherMode::Anywhere, Default::default(), others),
        };
        let named = distributors.iter().map(distributor).collect();
        let (discount, bounty) = (self.rng.random_range(100..900), self.rng.random_range(0..200));
        let now_ms = Clock::default().read(self.now_ms).ms();
        let card_required = self.rng.random_bool(0.3);
        let message = proto::Promotion {
            title: "邻里券".into(),
            mode: code.into(),
            distributors: named,
            redeemer_id,
            redeemer_ids,
            earn_spend_min: Some(yuan(5_000)),
            benefit: Some(self.benefit(discount)),
            redeem_spend_min: self.rng.random_bool(0.2).then(|| yuan(2_000)),
            starts_unix_ms: now_ms - 10 * DAY_MS,
            ends_unix_ms: now_ms + 60 * DAY_MS,
            voucher_valid_ms: if self.rng.random_bool(0.2) { DAY_MS } else { 20 * DAY_MS },
            per_card_max: if card_required { 1 } else { 0 },
            per_day_max: if self.rng.random_bool(0.2) { quota / 2 + 1 } else { 0 },
            bounty: Some(yuan(bounty)),
            card_required,
            ..Default::default()
        };
        Offer { id: None, funder, mode, redeemers, distributors, flash: false, message }
    }

    fn benefit(&mut self, most_minor: i64) -> proto::Benefit {
        use proto::benefit::Benefit;
        let benefit = if self.rng.random_bool(0.7) {
            Benefit::AmountOff(yuan(most_minor))
        } else {
            Benefit::PercentOff(proto::PercentOff { basis_points: 1_000, amount_max: Some(yuan(most_minor)) })
        };
        proto::Benefit { benefit: Some(benefit) }
    }
}

fn yuan(minor: i64) -> proto::Money {
    Money::new(Currency::CNY, minor).expect("amounts of the street are small").into()
}
