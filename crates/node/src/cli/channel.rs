//! `hutong channel`.

use clap::{Args, Subcommand};
use hutong_client::{Timestamp, proto};
use serde_json::{Value, json};

use super::{
    Globals,
    output::{Answer, fields, table},
    problem::Problem,
    sale::RequestIdArg,
    session::Session,
    show, value,
    voucher::qr,
};

/// `hutong channel …`
#[derive(Debug, Subcommand)]
pub(crate) enum ChannelCommand {
    /// Note a poster, till receipt or group post, and get its QR code.
    #[command(after_help = "Examples:
  hutong channel create --name 门口海报 --to 茶馆
  hutong channel create --name 微信群 --promotion 买包子送茶 --qr

Who scans it is reported with `hutong channel scan`; `hutong report channels` says which one brought whom.")]
    Create(CreateArgs),
    /// This shop's channels.
    List,
    /// One channel, with its QR code.
    Show {
        /// Its name.
        name: String,
    },
    /// Report that a customer scanned a channel's code.
    #[command(after_help = "Example:\n  hutong channel scan HTC1:… --card 00112233445566778899aabbccddeeff")]
    Scan(ScanArgs),
    /// Note that a card belongs to this shop's own staff: it earns nobody a bounty here.
    StaffCard {
        /// 32 hex digits.
        #[arg(value_parser = value::card)]
        card: String,
        /// It does no more.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        request: RequestIdArg,
    },
}

/// What a channel is.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// 1 to 64 characters; one name has one target.
    #[arg(long)]
    name: String,
    /// Where customers are sent: name or beginning of the id [default: the usual redeemer of the promotion].
    #[arg(long, value_name = "SHOP", required_unless_present = "promotion")]
    to: Option<String>,
    /// What it advertises: title or beginning of the id [default: the shop as such].
    #[arg(long)]
    promotion: Option<String>,
    /// Draw the QR code.
    #[arg(long)]
    qr: bool,
    #[command(flatten)]
    request: RequestIdArg,
}

/// A scan.
#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// The text of the code.
    link: String,
    /// The customer's card, 32 hex digits.
    #[arg(long, value_parser = value::card)]
    card: String,
    /// When, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    #[command(flatten)]
    request: RequestIdArg,
}

pub(crate) async fn run(globals: &Globals, command: ChannelCommand) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    let alliance_id = session.alliance_id.clone();
    match command {
        ChannelCommand::Create(args) => create(&session, args).await,
        ChannelCommand::List => list(&session).await,
        ChannelCommand::Show { name } => {
            let request = proto::GetChannelRequest { alliance_id, name };
            let channel = session.client.get_channel(request).await?.channel;
            let channel = channel.ok_or(Problem::Answer("channel"))?;
            let text = text(&session, &channel).await;
            Ok(Answer::new(json(&channel), format!("{text}\n\n{}", qr(&channel.link)?)))
        }
        ChannelCommand::Scan(args) => scan(&session, args).await,
        ChannelCommand::StaffCard { card, remove, request } => {
            let request_id = request.or_random();
            let request = proto::SetStaffCardRequest {
                alliance_id,
                request_id: request_id.clone(),
                card_id: card,
                removed: remove,
            };
            session.client.set_staff_card(request).await?;
            let json = json!({ "request_id": request_id, "staff": !remove });
            Ok(Answer::new(json, session.say("noted", "已登记")).hint(session.request_hint(&request_id)))
        }
    }
}

async fn create(session: &Session, args: CreateArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let to_shop_id = match args.to.as_deref() {
        Some(shop) => session.shops([shop]).await?.concat(),
        None => String::new(),
    };
    let promotion_id = match args.promotion.as_deref() {
        Some(promotion) => session.promotion(promotion).await?,
        None => String::new(),
    };
    let request = proto::CreateChannelRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        name: args.name,
        to_shop_id,
        promotion_id,
    };
    let channel = session.client.create_channel(request).await?.channel.ok_or(Problem::Answer("channel"))?;
    let mut text = text(session, &channel).await;
    if args.qr {
        text = format!("{text}\n\n{}", qr(&channel.link)?);
    }
    let json = json!({ "request_id": request_id, "channel": json(&channel) });
    Ok(Answer::new(json, text).hint(session.request_hint(&request_id)))
}

async fn list(session: &Session) -> anyhow::Result<Answer> {
    let channels = session.client.all_channels(&session.alliance_id).await?;
    let names = session.names().await;
    let row = |channel: &proto::Channel| {
        [
            channel.name.clone(),
            names.label(&channel.to_shop_id),
            show::short(&channel.promotion_id),
            show::time(channel.create_time.as_ref()),
        ]
    };
    let text = table(["name", "sends to", "promotion", "since"], channels.iter().map(row).collect());
    Ok(Answer::new(channels.iter().map(json).collect(), text))
}

async fn scan(session: &Session, args: ScanArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let request = proto::ReportScanRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        link: args.link,
        card_id: args.card,
        scan_time: args.time,
    };
    let scan = session.client.report_scan(request).await?;
    let to = session.names().await.label(&scan.to_shop_id);
    let json = json!({
        "request_id": request_id,
        "touch_id": scan.touch_id,
        "to_shop_id": scan.to_shop_id,
        "channel": scan.channel,
    });
    let text = fields([("touch", scan.touch_id), ("channel", scan.channel), ("sent to", to)]);
    Ok(Answer::new(json, text).hint(session.request_hint(&request_id)))
}

fn json(channel: &proto::Channel) -> Value {
    json!({
        "name": channel.name,
        "to_shop_id": channel.to_shop_id,
        "promotion_id": channel.promotion_id,
        "link": channel.link,
        "create_time": show::time_json(channel.create_time.as_ref()),
    })
}

async fn text(session: &Session, channel: &proto::Channel) -> String {
    fields([
        ("channel", channel.name.clone()),
        ("sends to", session.names().await.label(&channel.to_shop_id)),
        ("promotion", channel.promotion_id.clone()),
        ("link", channel.link.clone()),
    ])
}
