//! `hutong promotion`.

use clap::{Args, Subcommand};
use hutong_client::{Language, proto};
use serde_json::json;

use super::{
    Globals,
    output::Answer,
    problem::Problem,
    sale::RequestIdArg,
    session::Session,
    show,
    terms::{CreateArgs, terms},
};

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
    /// Pass numbers that were never handed out to another distributor; or take back what a removed shop held.
    #[command(after_help = "Examples:
  hutong promotion move-quota 开业抢购 --to 茶馆 --count 50
  hutong promotion move-quota 开业抢购 --to 茶馆 --count 20 --reclaimed-from 3f2a…   (the funder, after a removal)")]
    MoveQuota(MoveQuotaArgs),
    /// Agree to bear the share that a promotion of another shop names for this one, from now on.
    #[command(after_help = "Example:\n  hutong promotion consent 买包子送茶\n
Until then the shop that published the promotion bears the share itself.")]
    Consent {
        /// Title or beginning of the id.
        promotion: String,
        #[command(flatten)]
        request: RequestIdArg,
    },
    /// Whose the numbers of a promotion are by now.
    Shares {
        /// Title or beginning of the id.
        promotion: String,
    },
}

/// Which numbers go where.
#[derive(Debug, Args)]
pub(crate) struct MoveQuotaArgs {
    /// Title or beginning of the id.
    promotion: String,
    /// The distributor that gets them: name or beginning of the id.
    #[arg(long, value_name = "SHOP")]
    to: String,
    /// How many.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// The removed shop that held them, by its whole id [default: this shop's own go].
    #[arg(long, value_name = "SHOP")]
    reclaimed_from: Option<String>,
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
            let request = proto::GetPromotionRequest { alliance_id, promotion_id, read_mask: None };
            promotion_answer(&session, session.client.get_promotion(request).await?.promotion).await
        }
        PromotionCommand::End { promotion } => {
            let promotion_id = session.promotion(&promotion).await?;
            let request = proto::EndPromotionRequest { alliance_id, promotion_id };
            promotion_answer(&session, session.client.end_promotion(request).await?.promotion).await
        }
        PromotionCommand::MoveQuota(args) => move_quota(&session, args).await,
        PromotionCommand::Consent { promotion, request } => {
            let request_id = request.or_random();
            let promotion_id = session.promotion(&promotion).await?;
            let request =
                proto::ConsentToFundingRequest { alliance_id, request_id: request_id.clone(), promotion_id };
            let consent_id = session.client.consent_to_funding(request).await?.consent_id;
            let json = json!({ "request_id": request_id, "consent_id": consent_id });
            Ok(Answer::new(json, format!("{} {consent_id}", session.say("agreed:", "已同意：")))
                .hint(session.request_hint(&request_id)))
        }
        PromotionCommand::Shares { promotion } => {
            let shares =
                session.client.all_shares(&alliance_id, &session.promotion(&promotion).await?).await?;
            let json = shares.iter().map(show::share_json).collect();
            Ok(Answer::new(json, show::shares_text(&shares, &session.names().await)))
        }
    }
}

async fn move_quota(session: &Session, args: MoveQuotaArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let mut shops = vec![args.to.as_str()];
    shops.extend(args.reclaimed_from.as_deref());
    let mut shops = session.shop_list(&shops).await?.into_iter();
    let request = proto::MoveQuotaRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        promotion_id: session.promotion(&args.promotion).await?,
        to_shop_id: shops.next().ok_or(Problem::Answer("members"))?,
        count: args.count,
        reclaimed_from_shop_id: shops.next().unwrap_or_default(),
    };
    let moved = session.client.move_quota(request).await?.moved_count;
    let json = json!({ "request_id": request_id, "moved_count": moved });
    let text = match session.language {
        Language::En => format!("{moved} numbers moved"),
        Language::Zh => format!("已转移 {moved} 张"),
    };
    Ok(Answer::new(json, text).hint(session.request_hint(&request_id)))
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
        true => answer.hint(session.say("Checked only: nothing was published.", "仅作检查，未发布。")),
        false => answer.hint(session.request_hint(&request_id)),
    })
}
