//! `hutong alliance`.

use clap::{Args, Subcommand};
use hutong_client::{Duration, Language, Timestamp, proto};
use hutong_core::invitation::InvitationLink;
use hutong_record::Currency;
use serde_json::json;

use super::{
    Globals,
    continuing::JoinContinues,
    motion::{self, RulesArgs},
    output::{Answer, fields, table},
    problem::Problem,
    session::{Session, announced_until},
    show, value,
};
use crate::config::Config;

/// `hutong alliance …`
#[derive(Debug, Subcommand)]
pub(crate) enum AllianceCommand {
    /// Found an alliance with this shop as its first core member.
    #[command(
        after_help = "Example:\n  hutong alliance create --name 槐树街 --admission-votes 2 --attribution-window 30d\n
These are the charter, which every member signs up to. Those of government can be amended: `hutong motion amend`."
    )]
    Create(Box<CreateArgs>),
    /// The alliances of this shop.
    List,
    /// The charter, and this shop's place under it.
    Show,
    /// Make an invitation link for one shop; core members only.
    #[command(after_help = "Example:\n  hutong alliance invite --note 茶馆 --validity 7d\n
Give the link over a channel that both trust: whoever has it can ask to join. Where this node has no address of its own
the link names up to three members that it is connected to, and any of them lets the neighbour in.")]
    Invite(InviteArgs),
    /// Join an alliance by an invitation link.
    Join {
        /// The link as it was given.
        link: String,
        #[command(flatten)]
        continues: JoinContinues,
    },
    /// Members, former members, and shops that wait for votes.
    Members,
    /// Vote for a shop that waits for admission; core members only.
    #[command(after_help = "Example:\n  hutong alliance approve 茶馆")]
    Approve {
        /// Name or beginning of the id.
        shop: String,
        /// It is (to be) a core member.
        #[arg(long)]
        core: bool,
    },
    /// Vote for a shop's removal; core members only.
    Remove(RemoveArgs),
    /// Tell the allies this shop's name, trade and address.
    #[command(after_help = "Without options it tells what [shop] in hutong.toml says.")]
    Profile {
        /// 1 to 80 characters [default: shop.name of the configuration].
        #[arg(long)]
        name: Option<String>,
        /// At most 40 characters [default: shop.category of the configuration].
        #[arg(long)]
        category: Option<String>,
    },
}

/// The charter.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// 1 to 80 characters.
    #[arg(long)]
    name: String,
    /// What it is for, at most 1,000 characters.
    #[arg(long, default_value = "")]
    purpose: String,
    /// The one currency of its vouchers and books, ISO 4217.
    #[arg(long, default_value = "CNY")]
    currency: CurrencyArg,
    /// Where its day begins.
    #[arg(long, default_value = "+08:00", allow_hyphen_values = true, value_parser = value::utc_offset_minutes)]
    utc_offset: i32,
    /// Core members' votes that admit a shop.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    admission_votes: u32,
    /// Core members' votes that remove a shop.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    removal_votes: u32,
    /// How long after a sale or redemption a till may still report it.
    #[arg(long, value_name = "DURATION", default_value = "72h", value_parser = value::duration)]
    late_entry_max: Duration,
    /// How long before a redemption a touch may lie and still be credited.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = value::duration)]
    attribution_window: Duration,
    /// Whose touch is paid a bounty. Where all share it, each of their shops reads the receipt.
    #[arg(long, value_enum, default_value_t = PayingModel::Last)]
    paying_model: PayingModel,
    /// For decay: how much earlier a touch is paid half [default: 7d].
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    paying_half_life: Option<Duration>,
    /// How long a hand-out counts [default: the attribution window].
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    hand_out_window: Option<Duration>,
    /// How long a scan counts [default: the attribution window].
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    scan_window: Option<Duration>,
    /// How long an invitation counts [default: the attribution window].
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    invite_window: Option<Duration>,
    /// How long a visit counts [default: the attribution window].
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    visit_window: Option<Duration>,
    /// How long a redemption at another shop counts; it pays nobody [default: the attribution window].
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    redemption_window: Option<Duration>,
    /// How long any touch counts for a purchase without a voucher [default: the attribution window].
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    purchase_window: Option<Duration>,
    /// Touches of one card by one shop that count within an hour.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    card_touches_per_hour_max: u32,
    /// Touches by one shop within ten minutes; of more, none counts.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    shop_touches_per_ten_minutes_max: u32,
    /// Days of a settlement period, counted from 1970-01-01.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=180))]
    settlement_days: u32,
    /// Days within which a receipt can be disputed.
    #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=180))]
    dispute_days: u32,
    /// This shop's trade, where the number of shops of a trade is limited.
    #[arg(long, default_value = "")]
    category: String,
    /// End of the first season [default: never].
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    season_end: Option<Timestamp>,
    /// The new alliance goes on from the one named by --alliance: by this split, the beginning of a motion's id.
    #[arg(long, value_name = "ID")]
    split_from: Option<String>,
    /// The new alliance goes on from the one named by --alliance, whose season is over.
    #[arg(long, conflicts_with = "split_from")]
    after_season: bool,
    #[command(flatten)]
    rules: RulesArgs,
}

/// Whose touch is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PayingModel {
    /// The last one before the redemption.
    Last,
    /// The first one that counts.
    First,
    /// All that count, the same each.
    Linear,
    /// All that count: 40 % the first, 40 % the last, 20 % those between.
    Position,
    /// All that count, the nearer to the redemption, the more.
    Decay,
}

impl PayingModel {
    const fn to_proto(self) -> proto::PayingModel {
        match self {
            Self::Last => proto::PayingModel::Last,
            Self::First => proto::PayingModel::First,
            Self::Linear => proto::PayingModel::Linear,
            Self::Position => proto::PayingModel::Position,
            Self::Decay => proto::PayingModel::Decay,
        }
    }
}

/// A checked currency code.
#[derive(Debug, Clone)]
struct CurrencyArg(Currency);

impl std::str::FromStr for CurrencyArg {
    type Err = hutong_record::MoneyError;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        code.parse().map(Self)
    }
}

/// For whom, and how long.
#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// How long the link is good, at most 90d.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = value::duration)]
    validity: Duration,
    /// The guest becomes a core member.
    #[arg(long)]
    core: bool,
    /// For whom, at most 80 characters.
    #[arg(long, default_value = "")]
    note: String,
    /// Draw the link's QR code in the terminal, too.
    #[arg(long)]
    qr: bool,
    /// The guest's trade, where the number of shops of a trade is limited; at most 40 characters.
    #[arg(long, default_value = "")]
    category: String,
}

/// Whom, and from when on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hutong alliance remove 茶馆 --reason '三个月没有回应'")]
pub(crate) struct RemoveArgs {
    /// Name or beginning of the id.
    shop: String,
    /// Why, at most 500 characters.
    #[arg(long)]
    reason: String,
    /// The last record of the shop that shall count [default: the last one that this node holds].
    #[arg(long, value_name = "SEQUENCE")]
    last_sequence: Option<u64>,
}

pub(crate) async fn run(globals: &Globals, command: AllianceCommand) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    match command {
        AllianceCommand::Create(args) => create(&session, *args).await,
        AllianceCommand::List => list(&session).await,
        AllianceCommand::Show => {
            let request =
                proto::GetAllianceRequest { alliance_id: session.alliance_id.clone(), read_mask: None };
            alliance_answer(&session, session.client.get_alliance(request).await?.alliance).await
        }
        AllianceCommand::Invite(args) => invite(globals, &session, args).await,
        AllianceCommand::Join { link, continues } => join(globals, &session, link, &continues).await,
        AllianceCommand::Members => {
            let members = session.client.all_members(&session.alliance_id).await?;
            let mut text = show::members_text(&members);
            let continuations = show::continuations_text(session.language, &members);
            if !continuations.is_empty() {
                text = format!("{text}\n\n{continuations}");
            }
            Ok(Answer::new(members.iter().map(show::member_json).collect(), text))
        }
        AllianceCommand::Approve { shop, core } => approve(&session, &shop, core).await,
        AllianceCommand::Remove(args) => remove(&session, args).await,
        AllianceCommand::Profile { name, category } => profile(globals, &session, name, category).await,
    }
}

async fn alliance_answer(session: &Session, alliance: Option<proto::Alliance>) -> anyhow::Result<Answer> {
    let alliance = alliance.ok_or(Problem::Answer("alliance"))?;
    let announced = session.announced_until(&alliance.id).await;
    let text = show::alliance_text(&alliance, announced.as_ref());
    Ok(Answer::new(show::alliance_json(&alliance), text))
}

fn member_answer(member: Option<proto::Member>) -> anyhow::Result<Answer> {
    let member = member.ok_or(Problem::Answer("member"))?;
    Ok(Answer::new(show::member_json(&member), show::members_text(std::slice::from_ref(&member))))
}

async fn create(session: &Session, args: CreateArgs) -> anyhow::Result<Answer> {
    let attribution = proto::AttributionRules {
        paying_model: args.paying_model.to_proto().into(),
        paying_half_life: args.paying_half_life,
        hand_out_window: args.hand_out_window,
        scan_window: args.scan_window,
        invite_window: args.invite_window,
        visit_window: args.visit_window,
        redemption_window: args.redemption_window,
        purchase_window: args.purchase_window,
        card_touches_per_hour_max: args.card_touches_per_hour_max,
        shop_touches_per_ten_minutes_max: args.shop_touches_per_ten_minutes_max,
    };
    let settlement =
        proto::SettlementRules { period_days: args.settlement_days, dispute_days: args.dispute_days };
    let origin = origin(session, args.split_from.as_deref(), args.after_season).await?;
    let request = proto::CreateAllianceRequest {
        name: args.name,
        purpose: args.purpose,
        currency_code: args.currency.0.code().to_owned(),
        utc_offset_minutes: args.utc_offset,
        admission_votes: args.admission_votes,
        removal_votes: args.removal_votes,
        late_entry_max: Some(args.late_entry_max),
        attribution_window: Some(args.attribution_window),
        attribution: Some(attribution),
        settlement: Some(settlement),
        governance: Some(proto::Governance { season_end_time: args.season_end, ..args.rules.to_proto() }),
        origin,
        category: args.category,
    };
    let answer = alliance_answer(session, session.client.create_alliance(request).await?.alliance).await?;
    Ok(answer.hint(session.say(
        "Next: `hutong alliance invite` makes a link for a neighbour.",
        "下一步：用 `hutong alliance invite` 为邻店生成邀请链接。",
    )))
}

/// The alliance that the new one goes on from.
async fn origin(
    session: &Session,
    split: Option<&str>,
    after_season: bool,
) -> anyhow::Result<Option<proto::Origin>> {
    if split.is_none() && !after_season {
        return Ok(None);
    }
    let request = proto::GetAllianceRequest { alliance_id: session.alliance_id.clone(), read_mask: None };
    let before = session.client.get_alliance(request).await?.alliance.ok_or(Problem::Answer("alliance"))?;
    let motion_id = match split {
        Some(text) => motion::motion_id(session, text).await?,
        None => String::new(),
    };
    Ok(Some(proto::Origin { alliance_id: before.id, motion_id }))
}

async fn list(session: &Session) -> anyhow::Result<Answer> {
    let alliances = session.client.all_alliances().await?;
    let shop_id = session.shop_id().await.unwrap_or_default();
    let mut rows = Vec::with_capacity(alliances.len());
    for alliance in &alliances {
        let announced = announced_until(&session.client, &alliance.id, &shop_id).await;
        rows.push([
            show::short(&alliance.id),
            alliance.name.clone(),
            announced
                .map_or_else(|| show::member_state(alliance.own_state()), |until| show::announced(&until)),
            alliance.member_count.to_string(),
            alliance.currency_code.clone(),
        ]);
    }
    let text = table(["id", "name", "this shop", "members", "currency"], rows);
    Ok(Answer::new(alliances.iter().map(show::alliance_json).collect(), text))
}

async fn invite(globals: &Globals, session: &Session, args: InviteArgs) -> anyhow::Result<Answer> {
    let request = proto::CreateInvitationRequest {
        alliance_id: session.alliance_id.clone(),
        validity: Some(args.validity),
        core: args.core,
        note: args.note,
        category: args.category,
    };
    let answer = session.client.create_invitation(request).await?;
    let through = through(&answer.link)?;
    let json = json!({
        "link": answer.link,
        "expire_time": show::time_json(answer.expire_time.as_ref()),
        "through": through,
    });
    let until = show::time(answer.expire_time.as_ref());
    let drawn = if args.qr { Some(super::voucher::long_qr(&answer.link)?) } else { None };
    let mut text = answer.link;
    if !until.is_empty() {
        text = format!("{text}\n{}", fields([("good until", until)]));
    }
    if let Some(drawn) = drawn {
        text = format!("{text}\n\n{drawn}");
    }
    let answer = Answer::new(json, text);
    let answer =
        answer.hint(session.say(
            "The neighbour runs `hutong alliance join LINK`.",
            "请邻店执行 `hutong alliance join 链接`。",
        ));
    if through.is_empty() {
        return Ok(answer);
    }
    let places = through.join(", ");
    Ok(answer.hint(match globals.language() {
        Language::En => format!(
            "This node has no address of its own: the link leads to members at {places}, also while this node is off."
        ),
        Language::Zh => format!("本店没有自己的地址：邻居经由 {places} 的成员加入，本店关机时也可以。"),
    }))
}

/// Where a link leads to members other than the inviting shop: the first address of each.
fn through(link: &str) -> anyhow::Result<Vec<String>> {
    let link = InvitationLink::parse(link).map_err(|_| Problem::Answer("link"))?;
    Ok(link.doors.into_iter().filter_map(|door| door.addresses.into_iter().next()).collect())
}

async fn join(
    globals: &Globals,
    session: &Session,
    link: String,
    continues: &JoinContinues,
) -> anyhow::Result<Answer> {
    // What is no link, the node refuses by its own reason.
    let continuation = match InvitationLink::parse(&link) {
        Ok(parsed) => continues.made(globals, parsed.charter.id)?,
        Err(_) => Vec::new(),
    };
    let request = proto::JoinAllianceRequest { link, continuation };
    let alliance = session.client.join_alliance(request).await?.alliance;
    let (own_state, votes) =
        alliance.as_ref().map(|a| (a.own_state(), a.admission_votes)).unwrap_or_default();
    let answer = alliance_answer(session, alliance).await?;
    Ok(match (own_state, votes) {
        // The inviting shop's vote is enough; its records are on their way.
        (proto::MemberState::Pending, 0..=1) => answer.hint(session.say(
            "Admitted; the node is catching up: `hutong alliance show` tells when it has.",
            "已接纳，正在同步记录：完成与否见 `hutong alliance show`。",
        )),
        (proto::MemberState::Pending, _) => answer.hint(session.say(
            "The core members have to vote: `hutong alliance show` tells when they have.",
            "须由核心成员表决：结果见 `hutong alliance show`。",
        )),
        _ => answer,
    })
}

async fn approve(session: &Session, shop: &str, core: bool) -> anyhow::Result<Answer> {
    let [shop_id] = session.shops([shop]).await?;
    let request = proto::ApproveMemberRequest { alliance_id: session.alliance_id.clone(), shop_id, core };
    member_answer(session.client.approve_member(request).await?.member)
}

async fn remove(session: &Session, args: RemoveArgs) -> anyhow::Result<Answer> {
    let [shop_id] = session.shops([args.shop.as_str()]).await?;
    let request = proto::RemoveMemberRequest {
        alliance_id: session.alliance_id.clone(),
        shop_id,
        last_sequence: args.last_sequence,
        reason: args.reason,
    };
    member_answer(session.client.remove_member(request).await?.member)
}

async fn profile(
    globals: &Globals,
    session: &Session,
    name: Option<String>,
    category: Option<String>,
) -> anyhow::Result<Answer> {
    let (name, category) = match (name, category) {
        (Some(name), Some(category)) => (name, category),
        (name, category) => {
            let shop = Config::load(&globals.data()?.config_file())?.shop;
            (name.unwrap_or(shop.name), category.unwrap_or(shop.category))
        }
    };
    let alliance_id = session.alliance_id.clone();
    let request = proto::UpdateProfileRequest { alliance_id, name, category, update_mask: None };
    member_answer(session.client.update_profile(request).await?.member)
}
