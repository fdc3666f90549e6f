//! The terms of a promotion as they are typed.

use clap::{ArgGroup, Args, ValueEnum};
use hutong_client::{Duration, Timestamp, proto};
use proto::promotion::Benefit;

use super::{problem::Problem, sale::RequestIdArg, session::Session, value};
use crate::clock;

mod bounty;

/// The terms.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("benefit").required(true), group = ArgGroup::new("until").required(true))]
#[command(after_help = "Examples:
  Who spends 30 yuan at the bakery gets 8 yuan off at the tea house, which pays for it:
    hutong promotion create --title 买包子送茶 --distributor 张记包子=200 --redeemer 茶馆 \\
      --earn-spend-min 30.00 --amount-off 8.00 --budget 1800.00 --bounty 1.00 \\
      --runs-for 30d --voucher-validity 14d
  15 % off, at most 20 yuan, on purchases from 50 yuan, handed out by two shops:
    hutong promotion create --title 邻里八五折 --redeemer 茶馆 \\
      --distributor 3f2a=100 --distributor 张记包子=50 --budget 3000.00 \\
      --percent-off 15 --percent-off-max 20.00 --redeem-spend-min 50.00 \\
      --end 2026-06-01T00:00:00+08:00
  One stock of 300 over three shops, each of which sells its own share, offline too:
    hutong promotion create --title 开业抢购 --mode leased --distributor 张记包子=100 \\
      --distributor 茶馆=100 --distributor 面馆=100 --amount-off 5.00 --budget 1500.00 --runs-for 3d
  Good anywhere, for fruit at lunch time, up to 20 yuan at a shop's own risk:
    hutong promotion create --title 通用券 --mode anywhere --distributor 张记包子=100 \\
      --redeemer 茶馆 --redeemer 面馆 --amount-off 5.00 --budget 500.00 --runs-for 30d \\
      --category fruit --hours 'mon-fri 11:00-14:00' --risk-per-voucher-max 5.00 \\
      --risk-per-shop-max 20.00 --risk-per-day-max 10.00 --risk-offline-max 24h

  5 % of the purchase for whoever sent a new customer, 2 yuan at most, the market bearing a third of it all:
    hutong promotion create --title 新客有礼 --distributor 张记包子=100 --redeemer 茶馆 --amount-off 5.00 \\
      --bounty-percent 5 --bounty-percent-max 2.00 --bounty-new-customers-only --co-funder 菜场=33.33 \\
      --budget 700.00 --runs-for 30d

Amounts are 1250 (minor units) or 12.50. Shops go by name or by the beginning of their id.
--validate-only tries it out.")]
pub(crate) struct CreateArgs {
    /// 1 to 80 characters.
    #[arg(long)]
    title: String,
    /// A shop that hands vouchers out, and how many at most; repeatable, 1 to 64.
    #[arg(long = "distributor", value_name = "SHOP=QUOTA", required = true)]
    distributors: Vec<value::Share>,
    /// A shop that redeems; repeatable. Designated: the usual one first, then others that a voucher can name. Leased:
    /// none, each distributor redeems what it handed out.
    #[arg(long = "redeemer", value_name = "SHOP")]
    redeemers: Vec<String>,
    /// Who decides whether a voucher is used.
    #[arg(long, value_enum, default_value_t = Mode::Designated)]
    mode: Mode,
    /// How often one voucher can be used, 1 to 100.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    uses: u32,
    /// A sale of at least this much at a distributor earns a voucher [default: handed out by hand only].
    #[arg(long, value_name = "MONEY")]
    earn_spend_min: Option<value::MoneyArg>,
    /// A fixed amount off.
    #[arg(long, value_name = "MONEY", group = "benefit")]
    amount_off: Option<value::MoneyArg>,
    /// A percentage off, such as 15 or 7.5.
    #[arg(long, value_name = "PERCENT", group = "benefit", requires = "percent_off_max", value_parser = value::basis_points)]
    percent_off: Option<u32>,
    /// The most that the percentage takes off.
    #[arg(long, value_name = "MONEY", requires = "percent_off")]
    percent_off_max: Option<value::MoneyArg>,
    /// The least purchase at the redeemer [default: none].
    #[arg(long, value_name = "MONEY")]
    redeem_spend_min: Option<value::MoneyArg>,
    /// When the hand-out begins, RFC 3339 [default: now].
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    start: Option<Timestamp>,
    /// When the hand-out ends, RFC 3339.
    #[arg(long, value_name = "TIME", group = "until", value_parser = value::time)]
    end: Option<Timestamp>,
    /// How long the hand-out lasts, instead of --end.
    #[arg(long, value_name = "DURATION", group = "until", value_parser = value::duration)]
    runs_for: Option<Duration>,
    /// How long a voucher is good for.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = value::duration)]
    voucher_validity: Duration,
    /// Vouchers from one distributor to one card; 0: no limit.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    per_card_max: u32,
    /// Vouchers from one distributor on one day; 0: no limit.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    per_day_max: u32,
    /// The most that this shop pays in benefits and bounties.
    #[arg(long, value_name = "MONEY")]
    budget: value::MoneyArg,
    /// What this shop owes the credited one for each redemption [default: nothing].
    #[arg(long, value_name = "MONEY")]
    bounty: Option<value::MoneyArg>,
    #[command(flatten)]
    bounty_terms: bounty::BountyArgs,
    /// A shop that bears a share once it agrees, and how much; repeatable, at most 4. This shop bears the rest.
    #[arg(long = "co-funder", value_name = "SHOP=PERCENT")]
    co_funders: Vec<bounty::FunderShare>,
    /// Bind vouchers to the card that earned them.
    #[arg(long)]
    card_required: bool,
    /// Hand the numbers of vouchers that expired unused out again.
    #[arg(long)]
    reuse_expired: bool,
    #[command(flatten)]
    conditions: ConditionArgs,
    #[command(flatten)]
    risk: RiskArgs,
    /// Only check; publish nothing.
    #[arg(long)]
    pub(crate) validate_only: bool,
    #[command(flatten)]
    pub(crate) request: RequestIdArg,
}

/// Who decides whether a voucher is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The one shop that the voucher names; always works offline.
    Designated,
    /// The shop that handed it out, from its own share of one stock; it is used there.
    Leased,
    /// The shop that handed it out, asked by whichever shop redeems.
    Anywhere,
}

/// When, for what and how often vouchers are redeemed; each redeemer counts for itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Conditions of redemption")]
struct ConditionArgs {
    /// Not redeemed before, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    redeem_from: Option<Timestamp>,
    /// Not redeemed from this moment on, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    redeem_until: Option<Timestamp>,
    /// When in the week, such as `mon-fri 11:00-14:00`, in the alliance's local time; repeatable.
    #[arg(long, value_name = "HOURS", value_parser = value::weekly_hours)]
    hours: Vec<proto::WeeklyHours>,
    /// Goods that the benefit applies to; repeatable.
    #[arg(long = "category", value_name = "NAME")]
    categories: Vec<String>,
    /// For customers whose card the redeemer has not seen on an earlier day.
    #[arg(long)]
    first_visit: bool,
    /// Not for orders from afar.
    #[arg(long)]
    in_person_only: bool,
    /// Redemptions by one card at one redeemer; 0: no limit.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    uses_per_card_max: u32,
    /// Redemptions by one card on one day at one redeemer; 0: no limit.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    uses_per_card_day_max: u32,
    /// Redemptions on one day at one redeemer; 0: no limit.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    uses_per_day_max: u32,
    /// Redemptions at one redeemer; 0: no limit.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    uses_per_shop_max: u32,
    /// The most in benefits and bounties that one redeemer gives away [default: no limit].
    #[arg(long, value_name = "MONEY")]
    budget_per_shop: Option<value::MoneyArg>,
    /// Goes into one purchase with vouchers of other promotions that allow it, too.
    #[arg(long)]
    stackable: bool,
    /// Never goes into one purchase with others of this group.
    #[arg(long, value_name = "GROUP", default_value = "")]
    exclusion_group: String,
}

/// What a redeemer may accept while a voucher's home cannot be asked: all of these, or none.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accepted at a shop's own risk (anywhere)")]
struct RiskArgs {
    /// The largest discount of one voucher.
    #[arg(long, value_name = "MONEY", requires_all = ["risk_per_shop_max", "risk_per_day_max", "risk_offline_max"])]
    risk_per_voucher_max: Option<value::MoneyArg>,
    /// All discounts of one redeemer that are open or lost.
    #[arg(long, value_name = "MONEY", requires = "risk_per_voucher_max")]
    risk_per_shop_max: Option<value::MoneyArg>,
    /// All discounts that one redeemer accepts at risk on one day.
    #[arg(long, value_name = "MONEY", requires = "risk_per_voucher_max")]
    risk_per_day_max: Option<value::MoneyArg>,
    /// How long a redeemer may have been cut off.
    #[arg(long, value_name = "DURATION", requires = "risk_per_voucher_max", value_parser = value::duration)]
    risk_offline_max: Option<Duration>,
}

/// The terms as the node takes them.
pub(crate) async fn terms(session: &Session, args: CreateArgs) -> anyhow::Result<proto::Promotion> {
    let distributors = args.distributors.iter().map(|share| share.shop.as_str());
    let shops = distributors.chain(args.redeemers.iter().map(String::as_str));
    let shops: Vec<_> = shops.chain(args.co_funders.iter().map(|share| share.shop.as_str())).collect();
    let mut ids = session.shop_list(&shops).await?;
    let mut redeemers = ids.split_off(args.distributors.len());
    let co_funders = redeemers.split_off(args.redeemers.len());
    let funding = bounty::funding(session, co_funders, &args.co_funders).await?;
    let (redeemer_id, redeemer_ids) = roles(args.mode, redeemers)?;
    let shares = ids.into_iter().zip(&args.distributors);
    let distributors = shares.map(|(shop_id, share)| {
        let quota = share.quota;
        proto::Distributor { shop_id, quota, issued: 0, owned: 0 }
    });
    let start = args.start.unwrap_or_else(|| value::timestamp(clock::now()));
    let benefit = match (args.amount_off, args.percent_off) {
        (_, Some(basis_points)) => {
            let amount_max = session.money(args.percent_off_max).await?;
            Some(Benefit::PercentOff(proto::PercentOff { basis_points, amount_max }))
        }
        (amount_off, None) => session.money(amount_off).await?.map(Benefit::AmountOff),
    };
    Ok(proto::Promotion {
        id: String::new(),
        funder_id: String::new(),
        title: args.title,
        distributors: distributors.collect(),
        redeemer_id,
        earn_spend_min: session.money(args.earn_spend_min).await?,
        benefit,
        redeem_spend_min: session.money(args.redeem_spend_min).await?,
        start_time: Some(start),
        end_time: args.end.or(args.runs_for.map(|length| later(start, length))),
        voucher_validity: Some(args.voucher_validity),
        per_card_max: args.per_card_max,
        per_day_max: args.per_day_max,
        budget: session.money(Some(args.budget)).await?,
        bounty: session.money(args.bounty).await?,
        card_required: args.card_required,
        ended_time: None,
        mode: args.mode.to_proto().into(),
        redeemer_ids,
        uses: args.uses,
        conditions: conditions(session, args.conditions).await?,
        risk: risk(session, args.risk).await?,
        reuse_expired: args.reuse_expired,
        bounty_terms: bounty::terms(session, args.bounty_terms).await?,
        funding,
    })
}

/// A designated promotion's usual redeemer, and all others.
fn roles(mode: Mode, redeemers: Vec<String>) -> Result<(String, Vec<String>), Problem> {
    let missing = || Problem::Usage("name the shop that redeems with --redeemer".to_owned());
    let mut redeemers = redeemers.into_iter();
    match mode {
        Mode::Designated => Ok((redeemers.next().ok_or_else(missing)?, redeemers.collect())),
        Mode::Anywhere if redeemers.len() == 0 => Err(missing()),
        Mode::Anywhere | Mode::Leased => Ok((String::new(), redeemers.collect())),
    }
}

impl Mode {
    const fn to_proto(self) -> proto::VoucherMode {
        match self {
            Self::Designated => proto::VoucherMode::Designated,
            Self::Leased => proto::VoucherMode::Leased,
            Self::Anywhere => proto::VoucherMode::Anywhere,
        }
    }
}

async fn conditions(session: &Session, args: ConditionArgs) -> anyhow::Result<Option<proto::Conditions>> {
    let conditions = proto::Conditions {
        from_time: args.redeem_from,
        until_time: args.redeem_until,
        hours: args.hours,
        categories: args.categories,
        first_visit: args.first_visit,
        in_person_only: args.in_person_only,
        per_card_max: args.uses_per_card_max,
        per_card_day_max: args.uses_per_card_day_max,
        per_day_max: args.uses_per_day_max,
        per_shop_max: args.uses_per_shop_max,
        per_shop_budget: session.money(args.budget_per_shop).await?,
        stackable: args.stackable,
        exclusion_group: args.exclusion_group,
    };
    Ok((conditions != proto::Conditions::default()).then_some(conditions))
}

async fn risk(session: &Session, args: RiskArgs) -> anyhow::Result<Option<proto::RiskTerms>> {
    let Some(offline_max) = args.risk_offline_max else { return Ok(None) };
    Ok(Some(proto::RiskTerms {
        per_voucher_max: session.money(args.risk_per_voucher_max).await?,
        per_shop_max: session.money(args.risk_per_shop_max).await?,
        per_day_max: session.money(args.risk_per_day_max).await?,
        offline_max: Some(offline_max),
    }))
}

fn later(start: Timestamp, length: Duration) -> Timestamp {
    Timestamp { seconds: start.seconds.saturating_add(length.seconds), nanos: start.nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_redeemer_is_the_usual_one_of_a_designated_promotion() {
        let shops = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(roles(Mode::Designated, shops()).unwrap(), ("a".to_owned(), vec!["b".to_owned()]));
        assert_eq!(roles(Mode::Anywhere, shops()).unwrap(), (String::new(), shops()));
        assert_eq!(roles(Mode::Leased, Vec::new()).unwrap(), (String::new(), Vec::new()));
        for mode in [Mode::Designated, Mode::Anywhere] {
            assert!(matches!(roles(mode, Vec::new()), Err(Problem::Usage(_))));
        }
    }
}
