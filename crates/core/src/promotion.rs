//! Promotions: who hands out, who redeems, what it is worth, within which limits. Terms never change.

use alloc::{string::String, vec::Vec};

use hutong_record::{Currency, Money, RecordId, ShopId, UnixMillis, proto};
use prost::Message as _;

use crate::{
    bounds,
    refusal::{Reason, Refusal},
    table,
    view::{Reader, ViewError},
};

mod bounty;
mod conditions;
mod funding;
mod risk;

pub use bounty::{Basis, Bounty, Period, Scale, Tier};
pub use conditions::{Conditions, Purchase, PurchaseLine, WeeklyHours};
pub use funding::{FUNDERS_MAX, Share as FundingShare, bearers, split};
pub use risk::RiskTerms;

const TITLE_CHARS_MAX: usize = 80;
/// Distributors of one promotion; a wider one is several promotions. Keeps the record under 4 KB.
pub const DISTRIBUTORS_MAX: usize = 64;
/// Vouchers of one distributor.
pub const QUOTA_MAX: u32 = 1_000_000;
/// Shops at which vouchers of one promotion can be used, beside a designated one.
const OTHER_REDEEMERS_MAX: usize = 16;
/// Shops at which the vouchers of an anywhere promotion can be used.
const REDEEMERS_MAX: usize = 64;
/// Uses of one voucher.
pub const USES_MAX: u32 = 100;
const VALID_MS_MIN: i64 = 60_000;
const VALID_MS_MAX: i64 = 10 * 366 * 86_400_000;

/// Terms that were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// Id of the record that published it.
    pub id: RecordId,
    /// When its record was signed; the epoch while it is not published.
    pub published: UnixMillis,
    /// Who pays: the author of that record.
    pub funder: ShopId,
    /// What staff and customers call it.
    pub title: String,
    /// The shops that hand vouchers out, with their quotas; 1 to [`DISTRIBUTORS_MAX`].
    pub distributors: Vec<Distributor>,
    /// Who decides whether a voucher is used.
    pub mode: Mode,
    /// The shops that redeem. Designated: the usual one first, then others that a voucher can name. Leased: none, the
    /// distributors do. Anywhere: all of them.
    pub redeemers: Vec<ShopId>,
    /// The least sale that earns a voucher; none: by hand only.
    pub earn_spend_min: Option<Money>,
    /// What a voucher takes off.
    pub benefit: Benefit,
    /// The least purchase at the redeemer.
    pub redeem_spend_min: Money,
    /// Hand-out from this moment on.
    pub starts: UnixMillis,
    /// Hand-out before this moment.
    pub ends: UnixMillis,
    /// How long a voucher is good for.
    pub valid_ms: i64,
    /// Per distributor and card; 0: no limit.
    pub per_card_max: u32,
    /// Per distributor and day; 0: no limit.
    pub per_day_max: u32,
    /// The most that the funder pays.
    pub budget: Money,
    /// What the funders owe the credited shop for a redemption.
    pub bounty: Bounty,
    /// Who bears what it costs; none: the funder alone.
    pub funding: Vec<FundingShare>,
    /// Whether vouchers are bound to cards.
    pub card_required: bool,
    /// How often one voucher can be used, 1 to [`USES_MAX`].
    pub uses: u32,
    /// When, for what and how often they are redeemed.
    pub conditions: Conditions,
    /// What is accepted at risk; none: nothing.
    pub risk: Option<RiskTerms>,
    /// Whether the numbers of vouchers that expired unused are handed out again.
    pub reuse_expired: bool,
}

/// Who decides whether a voucher is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The one shop that the voucher names.
    Designated,
    /// The shop that handed it out, from its own share of one stock; it is used there.
    Leased,
    /// The shop that handed it out, asked by whichever shop redeems.
    Anywhere,
}

impl Mode {
    fn parse(mode: i32) -> Result<Self, Refusal> {
        match proto::VoucherMode::try_from(mode) {
            Ok(proto::VoucherMode::Unspecified | proto::VoucherMode::Designated) => Ok(Self::Designated),
            Ok(proto::VoucherMode::Leased) => Ok(Self::Leased),
            Ok(proto::VoucherMode::Anywhere) => Ok(Self::Anywhere),
            Err(_) => Err(Refusal::field("mode", "is none of the modes")),
        }
    }

    fn redeemers(self, message: &proto::Promotion) -> Result<Vec<ShopId>, Refusal> {
        let (least, most) = match self {
            Self::Designated => (0, OTHER_REDEEMERS_MAX),
            Self::Leased => (0, 0),
            Self::Anywhere => (1, REDEEMERS_MAX),
        };
        bounds::number("redeemer_ids", message.redeemer_ids.len(), least..=most)?;
        let mut found = Vec::with_capacity(1 + message.redeemer_ids.len());
        match (self, message.redeemer_id.is_empty()) {
            (Self::Designated, _) => found.push(shop("redeemer_id", &message.redeemer_id)?),
            (_, true) => {}
            (_, false) => return Err(Refusal::field("redeemer_id", "is for designated vouchers alone")),
        }
        for id in &message.redeemer_ids {
            let shop = shop("redeemer_ids", id)?;
            if found.contains(&shop) {
                return Err(Refusal::field("redeemer_ids", "a shop is named twice"));
            }
            found.push(shop);
        }
        Ok(found)
    }
}

/// A shop that hands out vouchers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distributor {
    /// Which.
    pub shop: ShopId,
    /// Numbers 1 to this are its own from the beginning.
    pub quota: u32,
}

/// What a voucher takes off a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Benefit {
    /// A fixed amount.
    AmountOff(Money),
    /// A share in hundredths of a percent, up to an amount.
    PercentOff(u32, Money),
}

impl Benefit {
    /// The discount on a purchase: never more than the purchase itself.
    pub fn discount(self, purchase: Money) -> Money {
        let worth = match self {
            Self::AmountOff(amount) => amount,
            Self::PercentOff(basis_points, most) => {
                let share = purchase.basis_points(basis_points).expect("at most the purchase itself");
                if share.minor() < most.minor() { share } else { most }
            }
        };
        if worth.minor() < purchase.minor() { worth } else { purchase }
    }

    /// The largest discount.
    pub const fn most(self) -> Money {
        match self {
            Self::AmountOff(amount) | Self::PercentOff(_, amount) => amount,
        }
    }
}

impl Promotion {
    /// Checks the terms of a message, published by `funder` under `id`, in the alliance's currency.
    pub fn check(
        message: &proto::Promotion,
        id: RecordId,
        funder: ShopId,
        currency: Currency,
    ) -> Result<Self, Refusal> {
        bounds::text("title", &message.title, 1..=TITLE_CHARS_MAX)?;
        let mode = Mode::parse(message.mode)?;
        let redeemers = mode.redeemers(message)?;
        let earn = message.earn_spend_min.as_ref();
        let promotion = Self {
            id,
            published: UnixMillis::EPOCH,
            funder,
            title: message.title.clone(),
            distributors: distributors(&message.distributors)?,
            mode,
            redeemers,
            earn_spend_min: earn.map(|m| bounds::amount("earn_spend_min", m, currency)).transpose()?,
            benefit: benefit(message.benefit.as_ref(), currency)?,
            redeem_spend_min: bounds::amount_or_zero(
                "redeem_spend_min",
                message.redeem_spend_min.as_ref(),
                currency,
            )?,
            starts: bounds::time("starts_unix_ms", message.starts_unix_ms)?,
            ends: bounds::time("ends_unix_ms", message.ends_unix_ms)?,
            valid_ms: message.voucher_valid_ms,
            per_card_max: message.per_card_max,
            per_day_max: message.per_day_max,
            budget: bounds::amount_or_zero("budget", message.budget.as_ref(), currency)?,
            bounty: Bounty::parse(message, currency)?,
            funding: funding::parse(&message.funding)?,
            card_required: message.card_required,
            uses: message.uses.max(1),
            conditions: Conditions::parse(message.conditions.as_ref(), currency)?,
            risk: message.risk.as_ref().map(|risk| RiskTerms::parse(risk, currency)).transpose()?,
            reuse_expired: message.reuse_expired,
        };
        promotion.check_limits()?;
        Ok(promotion)
    }

    fn check_limits(&self) -> Result<(), Refusal> {
        if self.ends <= self.starts {
            return Err(Refusal::field("ends_unix_ms", "the hand-out ends before it starts"));
        }
        bounds::number("voucher_valid_ms", self.valid_ms, VALID_MS_MIN..=VALID_MS_MAX)?;
        if self.per_card_max > 0 && !self.card_required {
            return Err(Refusal::field("per_card_max", "needs card_required"));
        }
        bounds::number("uses", self.uses, 1..=USES_MAX)?;
        if self.mode == Mode::Designated && self.distributors.iter().any(|d| self.redeemers.contains(&d.shop))
        {
            return Err(Refusal::field("distributors", "the redeemer cannot hand out vouchers for itself"));
        }
        if self.risk.is_some() && (self.mode != Mode::Anywhere || self.uses > 1) {
            return Err(Refusal::field("risk", "is for vouchers that are used once, anywhere"));
        }
        self.check_budget()
    }

    /// VOU-2: what all quotas together can cost must fit the budget, or what all redeemers may spend, so nobody has to
    /// ask before handing out or redeeming.
    fn check_budget(&self) -> Result<(), Refusal> {
        let vouchers: i128 = self.distributors.iter().map(|d| i128::from(d.quota)).sum();
        let by_quotas = vouchers * self.worst_minor();
        let most = match self.conditions.per_shop_budget {
            Some(each) => by_quotas.min(i128::from(each.minor()) * self.redeemer_count()),
            None => by_quotas,
        };
        if most <= i128::from(self.budget.minor()) {
            return Ok(());
        }
        let most = self.budget.currency().amount_text(most);
        Err(Refusal::field("budget", alloc::format!("the vouchers can cost {most}")))
    }

    fn redeemer_count(&self) -> i128 {
        let count = if self.mode == Mode::Leased { self.distributors.len() } else { self.redeemers.len() };
        i128::try_from(count).unwrap_or(i128::MAX)
    }

    /// The most that one voucher can cost the funder: all its uses, the largest benefit and the bounty, minor units.
    pub fn worst_minor(&self) -> i128 {
        let each = i128::from(self.benefit.most().minor()) + i128::from(self.bounty.most().minor());
        i128::from(self.uses) * each
    }

    /// Whether a shop may redeem vouchers of this promotion.
    pub fn is_redeemer(&self, shop: ShopId) -> bool {
        match self.mode {
            Mode::Leased => self.distributor_index(shop).is_some(),
            Mode::Designated | Mode::Anywhere => self.redeemers.contains(&shop),
        }
    }

    /// Whether a shop other than the funder bears a share of it, once it agreed.
    pub fn is_co_funder(&self, shop: ShopId) -> bool {
        shop != self.funder && self.funding.iter().any(|share| share.shop == shop)
    }

    /// The place of a shop among the distributors.
    pub fn distributor_index(&self, shop: ShopId) -> Option<u8> {
        let index = self.distributors.iter().position(|d| d.shop == shop)?;
        u8::try_from(index).ok()
    }

    /// The distributor at a place.
    pub fn distributor(&self, index: u8) -> Option<Distributor> {
        self.distributors.get(usize::from(index)).copied()
    }

    /// When a voucher handed out at `issued` stops being good.
    pub fn expires(&self, issued: UnixMillis) -> UnixMillis {
        issued.saturating_add_ms(self.valid_ms)
    }

    /// Whether `at` lies within the hand-out.
    pub fn check_window(&self, at: UnixMillis) -> Result<(), Refusal> {
        if at < self.starts {
            return Err(Refusal::new(Reason::PromotionNotStarted).with("starts_unix_ms", self.starts.ms()));
        }
        if at >= self.ends {
            return Err(Refusal::new(Reason::PromotionEnded).with("ends_unix_ms", self.ends.ms()));
        }
        Ok(())
    }

    /// Reads a published promotion.
    pub fn load(
        view: &(impl Reader + ?Sized),
        id: RecordId,
        currency: Currency,
    ) -> Result<Option<Self>, ViewError> {
        let key = table::promotion(id);
        let Some(stored) = view.get(&key)? else { return Ok(None) };
        Self::from_stored(&key, &stored, currency).map(Some)
    }

    /// Every promotion, in the order of ids.
    pub fn load_all(view: &(impl Reader + ?Sized), currency: Currency) -> Result<Vec<Self>, ViewError> {
        table::collect(view, &[table::PROMOTION], |key, value| Self::from_stored(key, value, currency))
    }

    /// What the table keeps: the author, when it published, then the message as it was published.
    pub(crate) fn stored(author: ShopId, published: UnixMillis, message: &[u8]) -> Vec<u8> {
        [author.as_bytes(), &published.ms().to_be_bytes()[..], message].concat()
    }

    /// Of what the table keeps, the message.
    pub(crate) fn stored_message(stored: &[u8]) -> Option<&[u8]> {
        stored.get(ShopId::BYTES + size_of::<i64>()..)
    }

    fn from_stored(key: &[u8], stored: &[u8], currency: Currency) -> Result<Self, ViewError> {
        let damaged = || ViewError::Damaged("table of promotions".into());
        let id = RecordId::try_from(&key[1..]).map_err(|_| damaged())?;
        let (author, message) = stored.split_at_checked(ShopId::BYTES).ok_or_else(damaged)?;
        let author = ShopId::try_from(author).map_err(|_| damaged())?;
        let (published, message) = message.split_first_chunk().ok_or_else(damaged)?;
        let published = UnixMillis::new(i64::from_be_bytes(*published)).map_err(|_| damaged())?;
        let message = proto::Promotion::decode(message).map_err(|_| damaged())?;
        let checked = Self::check(&message, id, author, currency).map_err(|_| damaged())?;
        Ok(Self { published, ..checked })
    }
}

/// When the funder ended a promotion early.
pub fn ended(view: &(impl Reader + ?Sized), id: RecordId) -> Result<Option<UnixMillis>, ViewError> {
    table::read(view, &table::promotion_end(id))
}

fn shop(field: &str, bytes: &[u8]) -> Result<ShopId, Refusal> {
    ShopId::try_from(bytes).map_err(|e| Refusal::field(field, e))
}

fn distributors(messages: &[proto::Distributor]) -> Result<Vec<Distributor>, Refusal> {
    bounds::number("distributors", messages.len(), 1..=DISTRIBUTORS_MAX)?;
    let mut found: Vec<Distributor> = Vec::with_capacity(messages.len());
    for message in messages {
        let shop = shop("distributors.shop_id", &message.shop_id)?;
        if found.iter().any(|d| d.shop == shop) {
            return Err(Refusal::field("distributors", "a shop is named twice"));
        }
        bounds::number("distributors.quota", message.quota, 0..=QUOTA_MAX)?;
        found.push(Distributor { shop, quota: message.quota });
    }
    if found.iter().all(|d| d.quota == 0) {
        return Err(Refusal::field("distributors.quota", "is 0 for all"));
    }
    Ok(found)
}

fn benefit(message: Option<&proto::Benefit>, currency: Currency) -> Result<Benefit, Refusal> {
    use proto::benefit::Benefit as Message;
    let positive = |field, money: Money| match money.minor() {
        0 => Err(Refusal::field(field, "must be more than nothing")),
        _ => Ok(money),
    };
    match message.and_then(|m| m.benefit.as_ref()) {
        None => Err(Refusal::field("benefit", "is missing")),
        Some(Message::AmountOff(amount)) => {
            let amount = bounds::amount("benefit.amount_off", amount, currency)?;
            Ok(Benefit::AmountOff(positive("benefit.amount_off", amount)?))
        }
        Some(Message::PercentOff(percent)) => {
            bounds::number("benefit.basis_points", percent.basis_points, 1..=10_000)?;
            let most = bounds::amount_or_zero("benefit.amount_max", percent.amount_max.as_ref(), currency)?;
            Ok(Benefit::PercentOff(percent.basis_points, positive("benefit.amount_max", most)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cny(minor: i64) -> Money {
        Money::new(Currency::CNY, minor).unwrap()
    }

    fn message() -> proto::Promotion {
        proto::Promotion {
            title: "面馆请你吃水果".into(),
            distributors: vec![proto::Distributor { shop_id: vec![1; 32].into(), quota: 10 }],
            redeemer_id: vec![2; 32].into(),
            earn_spend_min: Some(cny(2_000).into()),
            benefit: Some(proto::Benefit {
                benefit: Some(proto::benefit::Benefit::AmountOff(cny(300).into())),
            }),
            redeem_spend_min: None,
            starts_unix_ms: 1,
            ends_unix_ms: 1_000,
            voucher_valid_ms: 86_400_000,
            per_card_max: 1,
            per_day_max: 0,
            budget: Some(cny(4_000).into()),
            bounty: Some(cny(100).into()),
            card_required: true,
            ..Default::default()
        }
    }

    fn check(change: impl FnOnce(&mut proto::Promotion)) -> Result<Promotion, Refusal> {
        let mut message = message();
        change(&mut message);
        Promotion::check(&message, RecordId::new([9; 32]), ShopId::new([2; 32]), Currency::CNY)
    }

    fn refused_field(change: impl FnOnce(&mut proto::Promotion)) -> String {
        check(change).unwrap_err().fact("field").expect("a field is named").into()
    }

    #[test]
    fn good_terms_pass() {
        let promotion = check(|_| {}).unwrap();
        assert_eq!(promotion.distributor_index(ShopId::new([1; 32])), Some(0));
        assert_eq!(promotion.distributor_index(ShopId::new([3; 32])), None);
    }

    #[test]
    fn a_budget_below_what_the_quotas_can_cost_is_refused() {
        assert_eq!(refused_field(|p| p.budget = Some(cny(3_999).into())), "budget");
        assert_eq!(refused_field(|p| p.distributors[0].quota = 11), "budget");
    }

    #[test]
    fn every_bad_term_names_its_field() {
        assert_eq!(refused_field(|p| p.title.clear()), "title");
        assert_eq!(refused_field(|p| p.title = "a\nb".into()), "title");
        assert_eq!(refused_field(|p| p.title = "长".repeat(81)), "title");
        assert_eq!(refused_field(|p| p.redeemer_id = vec![2; 31].into()), "redeemer_id");
        assert_eq!(refused_field(|p| p.distributors.clear()), "distributors");
        assert_eq!(refused_field(|p| p.distributors[0].quota = 0), "distributors.quota");
        assert_eq!(refused_field(|p| p.distributors[0].shop_id = vec![2; 32].into()), "distributors");
        assert_eq!(refused_field(|p| p.distributors.push(p.distributors[0].clone())), "distributors");
        assert_eq!(refused_field(|p| p.earn_spend_min.as_mut().unwrap().minor = -1), "earn_spend_min");
        assert_eq!(refused_field(|p| p.benefit = None), "benefit");
        assert_eq!(refused_field(|p| p.ends_unix_ms = 1), "ends_unix_ms");
        assert_eq!(refused_field(|p| p.starts_unix_ms = -5), "starts_unix_ms");
        assert_eq!(refused_field(|p| p.ends_unix_ms = i64::MAX), "ends_unix_ms");
        assert_eq!(refused_field(|p| p.voucher_valid_ms = 0), "voucher_valid_ms");
        assert_eq!(refused_field(|p| p.card_required = false), "per_card_max");
        assert_eq!(
            check(|p| p.bounty.as_mut().unwrap().currency_code = "USD".into()).unwrap_err().reason,
            Reason::CurrencyMismatch
        );
    }

    #[test]
    fn each_mode_names_the_redeemers_that_it_needs() {
        let leased = |p: &mut proto::Promotion| {
            p.mode = proto::VoucherMode::Leased.into();
            p.redeemer_id = Default::default();
        };
        assert!(check(leased).unwrap().is_redeemer(ShopId::new([1; 32])));
        assert_eq!(refused_field(|p| p.mode = proto::VoucherMode::Leased.into()), "redeemer_id");
        assert_eq!(refused_field(|p| p.mode = 9), "mode");
        let anywhere = |p: &mut proto::Promotion| {
            leased(p);
            p.mode = proto::VoucherMode::Anywhere.into();
            p.redeemer_ids = vec![vec![1; 32].into(), vec![3; 32].into()];
        };
        let promotion = check(anywhere).unwrap();
        assert!(promotion.is_redeemer(ShopId::new([1; 32])) && !promotion.is_redeemer(ShopId::new([2; 32])));
        assert_eq!(
            refused_field(|p| {
                anywhere(p);
                p.redeemer_ids.clear();
            }),
            "redeemer_ids"
        );
        assert_eq!(refused_field(|p| p.redeemer_ids = vec![vec![2; 32].into()]), "redeemer_ids");
        assert_eq!(refused_field(|p| p.redeemer_ids = vec![vec![1; 32].into()]), "distributors");
    }

    #[test]
    fn uses_and_budgets_of_redeemers_are_reckoned_with() {
        assert_eq!(refused_field(|p| p.uses = 2), "budget");
        assert_eq!(refused_field(|p| p.uses = 101), "uses");
        let with_budget = |minor| {
            check(|p| {
                p.uses = 2;
                let per_shop_budget = Some(cny(minor).into());
                p.conditions = Some(proto::Conditions { per_shop_budget, ..Default::default() });
            })
        };
        assert!(with_budget(4_000).is_ok());
        assert_eq!(with_budget(4_001).unwrap_err().fact("field"), Some("budget"));
    }

    #[test]
    fn risk_is_for_vouchers_used_once_anywhere() {
        let terms = proto::RiskTerms {
            per_voucher_max: Some(cny(300).into()),
            per_shop_max: Some(cny(900).into()),
            per_day_max: Some(cny(600).into()),
            offline_ms_max: 3_600_000,
        };
        assert_eq!(refused_field(|p| p.risk = Some(terms)), "risk");
    }

    proptest! {
        #[test]
        fn a_discount_is_never_more_than_purchase_or_most(
            purchase in 0..1_000_000_000i64, most in 1..1_000_000i64, basis_points in 1..=10_000u32,
        ) {
            for benefit in [Benefit::AmountOff(cny(most)), Benefit::PercentOff(basis_points, cny(most))] {
                let discount = benefit.discount(cny(purchase));
                prop_assert!(discount.minor() >= 0);
                prop_assert!(discount.minor() <= purchase.min(most));
            }
        }
    }
}
