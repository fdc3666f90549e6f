//! Bounties: what the funders owe the credited shop for a redemption. The same for every party to a receipt: it follows
//! from the terms, the purchase, and what the redeemer says that it counted.

use alloc::vec::Vec;

use hutong_record::{Currency, MINOR_MAX, Money, UnixMillis, proto};

use crate::{bounds, refusal::Refusal};

/// Steps of one scale; more would fit on no contract.
const TIERS_MAX: usize = 8;

/// How a bounty is reckoned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounty {
    /// By what.
    pub scale: Scale,
    /// What a period is, for counts and caps.
    pub period: Period,
    /// All bounties of one redeemer in one period.
    pub per_period_max: Option<Money>,
    /// All bounties of one redeemer for one card; those without a card share one cap.
    pub per_card_max: Option<Money>,
    /// Only for customers whose card the redeemer has not seen on an earlier day.
    pub new_customers_only: bool,
}

/// What the amount depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scale {
    /// On nothing.
    Fixed(Money),
    /// On the purchase: hundredths of a percent, up to an amount.
    Percent(u32, Money),
    /// On the purchase, by steps.
    ByPurchase(Vec<Tier>),
    /// On how many redemptions the period has had, by steps.
    ByCount(Vec<Tier>),
}

/// A step of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// From so much on.
    pub from: i64,
    /// What the bounty is.
    pub amount: Money,
}

/// After how long counting begins anew, in the alliance's local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Never.
    Promotion,
    /// Each day.
    Day,
    /// Each Monday.
    Week,
    /// Each first of a month.
    Month,
}

/// What the redeemer counted. The default is what it says where there is nothing to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Basis {
    /// The how-manieth redemption of the period it is; 0 where that does not matter.
    pub count: u32,
    /// What caps leave, where that is less than the bounty; minor units.
    pub room_minor: Option<i64>,
    /// The customer is known, or showed no card, where only new ones earn a bounty.
    pub known_customer: bool,
    /// The card belongs to the redeemer's own staff.
    pub staff: bool,
}

impl Period {
    fn parse(period: i32) -> Result<Self, Refusal> {
        match proto::BountyPeriod::try_from(period) {
            Ok(proto::BountyPeriod::Unspecified) => Ok(Self::Promotion),
            Ok(proto::BountyPeriod::Day) => Ok(Self::Day),
            Ok(proto::BountyPeriod::Week) => Ok(Self::Week),
            Ok(proto::BountyPeriod::Month) => Ok(Self::Month),
            Err(_) => Err(Refusal::field("bounty_terms.period", "is none of the periods")),
        }
    }

    /// The number of the period that a moment lies in.
    pub fn number(self, at: UnixMillis, utc_offset_minutes: i32) -> i64 {
        let day = at.day(utc_offset_minutes);
        match self {
            Self::Promotion => 0,
            Self::Day => day,
            // 1970-01-01 was a Thursday: the Monday before is day -3.
            Self::Week => (day + 3).div_euclid(7),
            Self::Month => month_of(day),
        }
    }
}

/// Months since January of year 0 of the civil calendar, for a day since 1970-01-01. Years are taken to begin in March,
/// so that the leap day is the last of its year.
fn month_of(day: i64) -> i64 {
    let shifted = day + 719_468; // since 0000-03-01
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + month_from_march + 2
}

impl Bounty {
    /// Checks a promotion's bounty: a fixed amount, or the terms.
    pub(super) fn parse(message: &proto::Promotion, currency: Currency) -> Result<Self, Refusal> {
        let fixed = bounds::amount_or_zero("bounty", message.bounty.as_ref(), currency)?;
        let Some(terms) = message.bounty_terms.as_ref() else { return Ok(Self::fixed(fixed)) };
        if terms.terms.is_some() && message.bounty.is_some() {
            return Err(Refusal::field("bounty", "is given twice: as an amount and by terms"));
        }
        let cap = |field, money: &Option<proto::Money>| {
            money.as_ref().map(|money| positive(field, bounds::amount(field, money, currency)?)).transpose()
        };
        let bounty = Self {
            scale: Scale::parse(terms.terms.as_ref(), fixed, currency)?,
            period: Period::parse(terms.period)?,
            per_period_max: cap("bounty_terms.per_period_max", &terms.per_period_max)?,
            per_card_max: cap("bounty_terms.per_card_max", &terms.per_card_max)?,
            new_customers_only: terms.new_customers_only,
        };
        if bounty.most().minor() == 0 {
            return Err(Refusal::field("bounty_terms", "are about no bounty"));
        }
        Ok(bounty)
    }

    /// The same amount for every redemption.
    pub const fn fixed(amount: Money) -> Self {
        Self {
            scale: Scale::Fixed(amount),
            period: Period::Promotion,
            per_period_max: None,
            per_card_max: None,
            new_customers_only: false,
        }
    }

    /// The most that one redemption can cost (VOU-2 reckons with it).
    pub fn most(&self) -> Money {
        match &self.scale {
            Scale::Fixed(amount) | Scale::Percent(_, amount) => *amount,
            Scale::ByPurchase(tiers) | Scale::ByCount(tiers) => {
                let most = tiers.iter().map(|tier| tier.amount).max_by_key(|amount| amount.minor());
                most.expect("a scale has at least one step")
            }
        }
    }

    /// The bounty before caps.
    pub fn full(&self, purchase: Money, count: u32) -> Money {
        let step = |tiers: &[Tier], reached: i64| {
            let tier = tiers.iter().rev().find(|tier| tier.from <= reached);
            tier.map_or(Money::zero(purchase.currency()), |tier| tier.amount)
        };
        match &self.scale {
            Scale::Fixed(amount) => *amount,
            Scale::Percent(basis_points, most) => {
                let share = purchase.basis_points(*basis_points).expect("at most the purchase itself");
                if share.minor() < most.minor() { share } else { *most }
            }
            Scale::ByPurchase(tiers) => step(tiers, purchase.minor()),
            Scale::ByCount(tiers) => step(tiers, count.into()),
        }
    }

    /// What is owed for a purchase, with what the redeemer counted. None: it says that it counted what the terms do not
    /// ask for, or left out what they do.
    pub fn reckon(&self, purchase: Money, basis: &Basis) -> Option<Money> {
        let counts = matches!(self.scale, Scale::ByCount(_));
        let full = self.full(purchase, basis.count);
        let fits = counts == (basis.count > 0)
            && (!basis.known_customer || self.new_customers_only)
            && basis.room_minor.is_none_or(|room| self.is_capped() && (0..full.minor()).contains(&room));
        let minor =
            if basis.known_customer || basis.staff { 0 } else { basis.room_minor.unwrap_or(full.minor()) };
        fits.then(|| Money::new(full.currency(), minor).expect("at most the bounty"))
    }

    /// The most that it can be for a purchase.
    pub fn most_for(&self, purchase: Money) -> Money {
        match self.scale {
            Scale::ByCount(_) => self.most(),
            _ => self.full(purchase, 0),
        }
    }

    /// Whether caps per card or period go with it.
    pub const fn is_capped(&self) -> bool {
        self.per_period_max.is_some() || self.per_card_max.is_some()
    }

    /// Whether the redeemer counts redemptions or sums for it.
    pub const fn is_counted(&self) -> bool {
        matches!(self.scale, Scale::ByCount(_)) || self.is_capped()
    }
}

impl Scale {
    fn parse(
        terms: Option<&proto::bounty_terms::Terms>,
        fixed: Money,
        currency: Currency,
    ) -> Result<Self, Refusal> {
        use proto::bounty_terms::Terms;
        match terms {
            None => Ok(Self::Fixed(fixed)),
            Some(Terms::Percent(percent)) => {
                bounds::number("bounty_terms.percent.basis_points", percent.basis_points, 1..=10_000)?;
                let field = "bounty_terms.percent.amount_max";
                let most = bounds::amount_or_zero(field, percent.amount_max.as_ref(), currency)?;
                Ok(Self::Percent(percent.basis_points, positive(field, most)?))
            }
            Some(Terms::ByPurchase(tiers)) => {
                Ok(Self::ByPurchase(parse_tiers("bounty_terms.by_purchase", tiers, currency)?))
            }
            Some(Terms::ByCount(tiers)) => {
                Ok(Self::ByCount(parse_tiers("bounty_terms.by_count", tiers, currency)?))
            }
        }
    }
}

fn parse_tiers(field: &str, message: &proto::BountyTiers, currency: Currency) -> Result<Vec<Tier>, Refusal> {
    bounds::number(field, message.tiers.len(), 1..=TIERS_MAX)?;
    let mut tiers: Vec<Tier> = Vec::with_capacity(message.tiers.len());
    for tier in &message.tiers {
        bounds::number(field, tier.from, 0..=MINOR_MAX)?;
        if tiers.last().is_some_and(|last| last.from >= tier.from) {
            return Err(Refusal::field(field, "the steps do not ascend"));
        }
        let amount = bounds::amount_or_zero(field, tier.amount.as_ref(), currency)?;
        tiers.push(Tier { from: tier.from, amount });
    }
    Ok(tiers)
}

fn positive(field: &str, money: Money) -> Result<Money, Refusal> {
    if money.minor() > 0 { Ok(money) } else { Err(Refusal::field(field, "must be more than nothing")) }
}

impl Basis {
    /// As the receipt says it; absent where there is nothing to say.
    pub(crate) fn message(self, currency: Currency) -> Option<proto::BountyBasis> {
        let room = self.room_minor.and_then(|minor| Money::new(currency, minor).ok());
        (self != Self::default()).then(|| proto::BountyBasis {
            count: self.count,
            room: room.map(Into::into),
            known_customer: self.known_customer,
            staff: self.staff,
        })
    }

    /// From a receipt.
    pub(crate) fn parse(message: Option<&proto::BountyBasis>, currency: Currency) -> Result<Self, Refusal> {
        let Some(message) = message else { return Ok(Self::default()) };
        let room = message.room.as_ref();
        let room = room.map(|room| bounds::amount("bounty_basis.room", room, currency)).transpose()?;
        Ok(Self {
            count: message.count,
            room_minor: room.map(Money::minor),
            known_customer: message.known_customer,
            staff: message.staff,
        })
    }
}

#[cfg(test)]
mod tests {
    use hutong_record::DAY_MS;
    use proptest::prelude::*;

    use super::*;

    fn cny(minor: i64) -> Money {
        Money::new(Currency::CNY, minor).unwrap()
    }

    fn tiers(steps: &[(i64, i64)]) -> proto::BountyTiers {
        let tier = |(from, amount): &(i64, i64)| proto::BountyTier {
            from: *from,
            amount: Some(cny(*amount).into()),
        };
        proto::BountyTiers { tiers: steps.iter().map(tier).collect() }
    }

    fn parse(terms: proto::BountyTerms, bounty: Option<i64>) -> Result<Bounty, Refusal> {
        let message = proto::Promotion {
            bounty: bounty.map(|minor| cny(minor).into()),
            bounty_terms: Some(terms),
            ..Default::default()
        };
        Bounty::parse(&message, Currency::CNY)
    }

    fn scale(terms: proto::bounty_terms::Terms) -> proto::BountyTerms {
        proto::BountyTerms { terms: Some(terms), ..Default::default() }
    }

    fn percent(basis_points: u32, most: i64) -> proto::bounty_terms::Terms {
        let amount_max = Some(cny(most).into());
        proto::bounty_terms::Terms::Percent(proto::PercentOff { basis_points, amount_max })
    }

    #[test]
    fn a_percentage_is_capped_and_steps_are_climbed() {
        let by_percent = parse(scale(percent(500, 300)), None).unwrap();
        let owed = |bounty: &Bounty, purchase| bounty.reckon(cny(purchase), &Basis::default()).unwrap();
        assert_eq!((owed(&by_percent, 4_019), owed(&by_percent, 100_000)), (cny(200), cny(300)));
        let steps = proto::bounty_terms::Terms::ByPurchase(tiers(&[(1_000, 50), (5_000, 200)]));
        let by_purchase = parse(scale(steps), None).unwrap();
        let at = |purchase| owed(&by_purchase, purchase).minor();
        assert_eq!([at(999), at(1_000), at(4_999), at(5_000)], [0, 50, 50, 200]);
        assert_eq!(by_purchase.most(), cny(200));
        let steps = proto::bounty_terms::Terms::ByCount(tiers(&[(1, 300), (3, 100)]));
        let by_count = parse(scale(steps), None).unwrap();
        let nth = |count| by_count.reckon(cny(1), &Basis { count, ..Basis::default() });
        assert_eq!([nth(0), nth(1), nth(3)], [None, Some(cny(300)), Some(cny(100))]);
        assert_eq!(by_count.most(), cny(300), "the budget reckons with the highest step, not the last");
    }

    #[test]
    fn a_basis_says_what_the_terms_ask_for_and_no_more() {
        let plain = Bounty::fixed(cny(100));
        let reckon = |bounty: &Bounty, basis: Basis| bounty.reckon(cny(4_000), &basis).map(Money::minor);
        let nothing = Basis::default();
        assert_eq!(reckon(&plain, nothing), Some(100));
        assert_eq!(reckon(&plain, Basis { count: 1, ..nothing }), None);
        assert_eq!(reckon(&plain, Basis { room_minor: Some(5), ..nothing }), None);
        assert_eq!(reckon(&plain, Basis { known_customer: true, ..nothing }), None);
        assert_eq!(reckon(&plain, Basis { staff: true, ..nothing }), Some(0));
        let terms = proto::BountyTerms {
            per_card_max: Some(cny(150).into()),
            new_customers_only: true,
            ..Default::default()
        };
        let capped = parse(terms, Some(100)).unwrap();
        assert_eq!(reckon(&capped, Basis { room_minor: Some(50), ..nothing }), Some(50));
        assert_eq!(reckon(&capped, Basis { room_minor: Some(100), ..nothing }), None, "it does not bind");
        assert_eq!(reckon(&capped, Basis { known_customer: true, ..nothing }), Some(0));
    }

    #[test]
    fn bad_terms_name_their_field() {
        let field = |terms, bounty| parse(terms, bounty).unwrap_err().fact("field").unwrap().to_owned();
        assert_eq!(field(scale(percent(0, 1)), None), "bounty_terms.percent.basis_points");
        assert_eq!(field(scale(percent(1, 0)), None), "bounty_terms.percent.amount_max");
        assert_eq!(field(scale(percent(1, 1)), Some(5)), "bounty");
        let steps = |steps: &[(i64, i64)]| scale(proto::bounty_terms::Terms::ByPurchase(tiers(steps)));
        assert_eq!(field(steps(&[]), None), "bounty_terms.by_purchase");
        assert_eq!(field(steps(&[(5, 1), (5, 2)]), None), "bounty_terms.by_purchase");
        assert_eq!(field(steps(&[(-1, 1)]), None), "bounty_terms.by_purchase");
        assert_eq!(field(steps(&[(0, 1); 9]), None), "bounty_terms.by_purchase");
        assert_eq!(field(steps(&[(0, 0)]), None), "bounty_terms");
        assert_eq!(field(proto::BountyTerms::default(), None), "bounty_terms");
        assert_eq!(
            field(proto::BountyTerms { period: 9, ..scale(percent(1, 1)) }, None),
            "bounty_terms.period"
        );
        let zero = Some(cny(0).into());
        let capped = proto::BountyTerms { per_card_max: zero, ..scale(percent(1, 1)) };
        assert_eq!(field(capped, None), "bounty_terms.per_card_max");
    }

    #[test]
    fn periods_begin_on_local_midnights_mondays_and_firsts() {
        let at = |ms| UnixMillis::new(ms).unwrap();
        let local = at(1_709_222_400_000); // 2024-03-01T00:00+08:00, a Friday
        let before = at(local.ms() - 1);
        for (period, differs) in
            [(Period::Promotion, false), (Period::Day, true), (Period::Week, false), (Period::Month, true)]
        {
            let (one, two) = (period.number(before, 480), period.number(local, 480));
            assert_eq!(one != two, differs, "{period:?}");
        }
        let monday = at(4 * DAY_MS);
        assert_ne!(Period::Week.number(at(monday.ms() - 1), 0), Period::Week.number(monday, 0));
    }

    proptest! {
        #[test]
        fn no_bounty_is_more_than_the_most(
            purchase in 0..1_000_000_000i64, count in 1..100u32, most in 1..100_000i64, points in 1..=10_000u32,
        ) {
            for terms in [
                percent(points, most),
                proto::bounty_terms::Terms::ByPurchase(tiers(&[(10, most), (100, 1)])),
                proto::bounty_terms::Terms::ByCount(tiers(&[(2, most)])),
            ] {
                let bounty = parse(scale(terms), None).unwrap();
                prop_assert!(bounty.full(cny(purchase), count).minor() <= bounty.most().minor());
            }
        }
    }
}
