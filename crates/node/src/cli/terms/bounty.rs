//! Bounties and shares as they are typed.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use hutong_client::proto;
use proto::bounty_terms::Terms;

use crate::cli::{problem::Problem, session::Session, value};

/// All of it, in hundredths of a percent.
const WHOLE_BASIS_POINTS: u32 = 10_000;

/// How a bounty is reckoned, besides `--bounty`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bounty")]
pub(crate) struct BountyArgs {
    /// A percentage of the purchase instead of an amount, such as 5 or 7.5.
    #[arg(long, value_name = "PERCENT", conflicts_with_all = ["bounty", "bounty_by_purchase", "bounty_by_count"],
        requires = "bounty_percent_max", value_parser = value::basis_points)]
    bounty_percent: Option<u32>,
    /// The most that the percentage comes to.
    #[arg(long, value_name = "MONEY", requires = "bounty_percent")]
    bounty_percent_max: Option<value::MoneyArg>,
    /// A step: from a purchase of so much on, the bounty is so much; repeatable, ascending, at most 8.
    #[arg(long, value_name = "MONEY=MONEY", conflicts_with_all = ["bounty", "bounty_by_count"])]
    bounty_by_purchase: Vec<PurchaseStep>,
    /// A step: from the so-manieth redemption of the period on, the bounty is so much; repeatable, ascending, at most 8.
    #[arg(long, value_name = "COUNT=MONEY", conflicts_with = "bounty")]
    bounty_by_count: Vec<CountStep>,
    /// After how long counting and --bounty-per-period-max begin anew [default: never].
    #[arg(long, value_enum)]
    bounty_period: Option<Period>,
    /// All bounties of one redeemer in one period.
    #[arg(long, value_name = "MONEY")]
    bounty_per_period_max: Option<value::MoneyArg>,
    /// All bounties of one redeemer for one card.
    #[arg(long, value_name = "MONEY")]
    bounty_per_card_max: Option<value::MoneyArg>,
    /// Only for customers whose card the redeemer has not seen on an earlier day.
    #[arg(long)]
    bounty_new_customers_only: bool,
}

/// After how long counting begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Period {
    /// Each day.
    Day,
    /// Each Monday.
    Week,
    /// Each first of a month.
    Month,
}

/// `MONEY=MONEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PurchaseStep {
    from: value::MoneyArg,
    amount: value::MoneyArg,
}

/// `COUNT=MONEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CountStep {
    from: i64,
    amount: value::MoneyArg,
}

/// A shop and what it bears, as `SHOP=PERCENT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FunderShare {
    /// Name or beginning of the id.
    pub(crate) shop: String,
    basis_points: u32,
}

impl FromStr for PurchaseStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, amount) = text.split_once('=').ok_or("a step is MONEY=MONEY, such as 50.00=2.00")?;
        Ok(Self { from: from.trim().parse()?, amount: amount.trim().parse()? })
    }
}

impl FromStr for CountStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, amount) = text.split_once('=').ok_or("a step is COUNT=MONEY, such as 10=2.00")?;
        let from: u32 = from.trim().parse().map_err(|_| "a count is a whole number".to_owned())?;
        Ok(Self { from: from.into(), amount: amount.trim().parse()? })
    }
}

impl FromStr for FunderShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (shop, percent) = text.rsplit_once('=').ok_or("a co-funder is SHOP=PERCENT, such as 茶馆=30")?;
        if shop.trim().is_empty() {
            return Err("the shop is missing before `=`".to_owned());
        }
        Ok(Self { shop: shop.trim().to_owned(), basis_points: value::basis_points(percent.trim())? })
    }
}

/// The bounty's terms as the node takes them; none: nothing but an amount.
pub(super) async fn terms(session: &Session, args: BountyArgs) -> anyhow::Result<Option<proto::BountyTerms>> {
    let terms = match args.bounty_percent {
        Some(basis_points) => {
            let amount_max = session.money(args.bounty_percent_max).await?;
            Some(Terms::Percent(proto::PercentOff { basis_points, amount_max }))
        }
        None if !args.bounty_by_purchase.is_empty() => {
            let mut tiers = Vec::new();
            for step in args.bounty_by_purchase {
                let from = session.money(Some(step.from)).await?.map_or(0, |from| from.minor);
                tiers.push(proto::BountyTier { from, amount: session.money(Some(step.amount)).await? });
            }
            Some(Terms::ByPurchase(proto::BountyTiers { tiers }))
        }
        None if !args.bounty_by_count.is_empty() => {
            let mut tiers = Vec::new();
            for step in args.bounty_by_count {
                let amount = session.money(Some(step.amount)).await?;
                tiers.push(proto::BountyTier { from: step.from, amount });
            }
            Some(Terms::ByCount(proto::BountyTiers { tiers }))
        }
        None => None,
    };
    let message = proto::BountyTerms {
        terms,
        period: period(args.bounty_period).into(),
        per_period_max: session.money(args.bounty_per_period_max).await?,
        per_card_max: session.money(args.bounty_per_card_max).await?,
        new_customers_only: args.bounty_new_customers_only,
    };
    Ok((message != proto::BountyTerms::default()).then_some(message))
}

const fn period(period: Option<Period>) -> proto::BountyPeriod {
    match period {
        None => proto::BountyPeriod::Unspecified,
        Some(Period::Day) => proto::BountyPeriod::Day,
        Some(Period::Week) => proto::BountyPeriod::Week,
        Some(Period::Month) => proto::BountyPeriod::Month,
    }
}

/// Who bears what: this shop what the others leave.
pub(super) async fn funding(
    session: &Session,
    shops: Vec<String>,
    shares: &[FunderShare],
) -> anyhow::Result<Vec<proto::FundingShare>> {
    if shares.is_empty() {
        return Ok(Vec::new());
    }
    let others: u32 = shares.iter().map(|share| share.basis_points).sum();
    let rest = WHOLE_BASIS_POINTS.checked_sub(others);
    let rest = rest.ok_or_else(|| Problem::Usage("the co-funders bear more than 100 %".to_owned()))?;
    let one = |shop_id, basis_points| proto::FundingShare { shop_id, basis_points, agreed: false };
    let mut funding = Vec::new();
    if rest > 0 {
        let status = session.client.get_status(proto::GetStatusRequest {}).await?;
        funding.push(one(status.shop_id, rest));
    }
    funding.extend(shops.into_iter().zip(shares).map(|(shop, share)| one(shop, share.basis_points)));
    Ok(funding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_shares_are_read_or_refused() {
        assert_eq!("茶馆=33.33".parse::<FunderShare>().unwrap().basis_points, 3_333);
        assert_eq!("a=b=5".parse::<FunderShare>().unwrap().shop, "a=b");
        for bad in ["茶馆", "=5", "茶馆=0", "茶馆=101", "茶馆=x"] {
            assert!(bad.parse::<FunderShare>().is_err(), "{bad}");
        }
        assert_eq!("10=2.00".parse::<CountStep>().unwrap().from, 10);
        for bad in ["10", "x=2.00", "-1=2.00", "1=x"] {
            assert!(bad.parse::<CountStep>().is_err(), "{bad}");
        }
        assert!("50.00=2.00".parse::<PurchaseStep>().is_ok());
        assert!("50.00".parse::<PurchaseStep>().is_err());
    }
}
