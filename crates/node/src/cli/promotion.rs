//! `hutong promotion`.

use clap::{ArgGroup, Args, Subcommand};
use hutong_client::{Duration, Timestamp, proto};
use proto::promotion::Benefit;
use serde_json::json;

use super::{Globals, output::Answer, problem::Problem, sale::RequestIdArg, session::Session, show, value};
use crate::clock;

/// `hutong promotion …`
#[derive(Debug, Subcommand)]
pub(crate) enum PromotionCommand {
    /// Publish a promotion that this shop pays for. Its terms never change afterwards.
    Create(Box<CreateArgs>),
    /// All promotions of the alliance.
    List,
    /// One promotion.
    Show {
        /// Title or beginning of the id.
        promotion: String,
    },
    /// Stop the hand-out of a promotion of this shop. Vouchers in customers' hands stay good.
    End {
        /// Title or beginning of the id.
        promotion: String,
    },
}

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

Amounts are 1250 (minor units) or 12.50. Shops go by name or by the beginning of their id.
--validate-only tries it out.")]
pub(crate) struct CreateArgs {
    /// 1 to 80 characters.
    #[arg(long)]
    title: String,
    /// A shop that hands vouchers out, and how many at most; repeatable, 1 to 64.
    #[arg(long = "distributor", value_name = "SHOP=QUOTA", required = true)]
    distributors: Vec<value::Share>,
    /// The shop that redeems.
    #[arg(long, value_name = "SHOP")]
    redeemer: String,
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
    /// Bind vouchers to the card that earned them.
    #[arg(long)]
    card_required: bool,
    /// Only check; publish nothing.
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    request: RequestIdArg,
}

pub(crate) async fn run(globals: &Globals, command: PromotionCommand) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    let alliance_id = session.alliance_id.clone();
    match command {
        PromotionCommand::Create(args) => create(&session, *args).await,
        PromotionCommand::List => {
            let promotions = session.client.all_promotions(&alliance_id).await?;
            let json = promotions.iter().map(show::promotion_json).collect();
            Ok(Answer::new(json, show::promotions_text(&promotions, &session.names().await)))
        }
        PromotionCommand::Show { promotion } => {
            let promotion_id = session.promotion(&promotion).await?;
            let request = proto::GetPromotionRequest { alliance_id, promotion_id };
            promotion_answer(&session, session.client.get_promotion(request).await?.promotion).await
        }
        PromotionCommand::End { promotion } => {
            let promotion_id = session.promotion(&promotion).await?;
            let request = proto::EndPromotionRequest { alliance_id, promotion_id };
            promotion_answer(&session, session.client.end_promotion(request).await?.promotion).await
        }
    }
}

async fn promotion_answer(session: &Session, promotion: Option<proto::Promotion>) -> anyhow::Result<Answer> {
    let promotion = promotion.ok_or(Problem::Answer("promotion"))?;
    Ok(Answer::new(
        show::promotion_json(&promotion),
        show::promotion_text(&promotion, &session.names().await),
    ))
}

async fn create(session: &Session, args: CreateArgs) -> anyhow::Result<Answer> {
    let validate_only = args.validate_only;
    let request_id = args.request.clone().or_random();
    let promotion = terms(session, args).await?;
    let request = proto::CreatePromotionRequest {
        alliance_id: session.alliance_id.clone(),
        promotion: Some(promotion),
        validate_only,
        request_id: request_id.clone(),
    };
    let promotion =
        session.client.create_promotion(request).await?.promotion.ok_or(Problem::Answer("promotion"))?;
    let json = json!({
        "request_id": request_id,
        "published": !validate_only,
        "promotion": show::promotion_json(&promotion),
    });
    let answer = Answer::new(json, show::promotion_text(&promotion, &session.names().await));
    Ok(match validate_only {
        true => answer.hint("Checked only: nothing was published."),
        false => answer.hint(format!("request id {request_id}")),
    })
}

async fn terms(session: &Session, args: CreateArgs) -> anyhow::Result<proto::Promotion> {
    let shops = args.distributors.iter().map(|share| share.shop.as_str()).chain([args.redeemer.as_str()]);
    let mut ids = session.shop_list(&shops.collect::<Vec<_>>()).await?;
    let redeemer_id = ids.pop().ok_or(Problem::Answer("members"))?;
    let shares = ids.into_iter().zip(&args.distributors);
    let distributors =
        shares.map(|(shop_id, share)| proto::Distributor { shop_id, quota: share.quota, issued: 0 });
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
    })
}

fn later(start: Timestamp, length: Duration) -> Timestamp {
    Timestamp { seconds: start.seconds.saturating_add(length.seconds), nanos: start.nanos }
}
