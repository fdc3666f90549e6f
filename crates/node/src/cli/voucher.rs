//! `hutong voucher`.

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use hutong_client::{Timestamp, proto};
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use serde_json::{Value, json};

use super::{
    Globals,
    output::{Answer, fields},
    problem::Problem,
    resolve::listed_id,
    right,
    sale::RequestIdArg,
    session::Session,
    show, value,
};

/// Where a list was cut at its limit.
pub(super) const MORE_EN: &str = "There are more: raise --limit.";
pub(super) const MORE_ZH: &str = "还有更多：请调高 --limit。";
/// The largest page that a node gives.
const PAGE_SIZE_MAX: usize = 1_000;

/// `hutong voucher …`
#[derive(Debug, Subcommand)]
pub(crate) enum VoucherCommand {
    /// Hand a voucher out without a sale.
    #[command(
        after_help = "Example:\n  hutong voucher issue --promotion 3f2a --card 00112233445566778899aabbccddeeff --qr"
    )]
    Issue(IssueArgs),
    /// Tell how a voucher stands.
    Show {
        /// The voucher's id, the text of its QR code, or its typed code.
        code: String,
    },
    /// Use a voucher at this shop.
    #[command(after_help = "Example:\n  hutong voucher redeem ABCD-EFGH-JKLM --purchase 58.00\n
A voucher is redeemed no more often than it has uses; a repeat with the same request id gives the first answer.
Where another shop holds the right to an anywhere voucher, its home is asked, for at most 5 seconds.")]
    Redeem(RedeemArgs),
    /// Take a redemption back: all of it, and the customer has the use again; or for the goods that were returned.
    Void(VoidArgs),
    /// Tell which vouchers would apply to a purchase, and why others would not. Changes nothing.
    #[command(
        after_help = "Example:\n  hutong voucher qualify ABCD-EFGH-JKLM 2345-6789-ABCD --purchase 58.00 --line fruit=30.00"
    )]
    Qualify(QualifyArgs),
    /// Pass a voucher that this shop holds on to another shop of its promotion's.
    #[command(after_help = "Example:\n  hutong voucher transfer ABCD-EFGH-JKLM --to 茶馆")]
    Transfer(right::TransferArgs),
    /// Ask an anywhere voucher's home for the right, because the customer picks a shop.
    Request(right::RequestArgs),
    /// Take a voucher back that this shop handed out or pays for.
    Revoke(right::RevokeArgs),
    /// Keep a use of a voucher that this shop holds free for whoever comes with the key.
    #[command(after_help = "Example:\n  hutong voucher reserve ABCD-EFGH-JKLM --key order-17 --for 30m")]
    Reserve(right::ReserveArgs),
    /// Give up what was kept free under a key.
    Release(right::ReleaseArgs),
    /// Vouchers that this shop hands out, redeems or funds.
    List {
        /// At most so many.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
        /// Only those, such as `state = ISSUED AND expire_time < 2026-06-01T00:00:00Z`.
        #[arg(long, default_value = "")]
        filter: String,
    },
    /// Note that this shop sent a customer to another one without a voucher.
    #[command(
        after_help = "Example:\n  hutong voucher touch --to 茶馆 --card 00112233445566778899aabbccddeeff --kind scan"
    )]
    Touch(TouchArgs),
}

/// For whom.
#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// Title or beginning of the id.
    #[arg(long, value_name = "ID")]
    promotion: String,
    /// The customer's card, 32 hex digits [default: bearer].
    #[arg(long, value_parser = value::card)]
    card: Option<String>,
    /// When it was handed out, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    /// Designated: the shop that it is for [default: the promotion's usual one].
    #[arg(long, value_name = "SHOP")]
    redeemer: Option<String>,
    /// Draw the QR code in the terminal.
    #[arg(long)]
    qr: bool,
    #[command(flatten)]
    request: RequestIdArg,
}

/// What the customer shows and buys.
#[derive(Debug, Args)]
pub(crate) struct RedeemArgs {
    /// The text of the QR code, or the typed code.
    code: String,
    #[command(flatten)]
    purchase: PurchaseArgs,
    /// The card that the customer shows, 32 hex digits.
    #[arg(long, value_parser = value::card)]
    card: Option<String>,
    /// When, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    /// The till's own reference, at most 64 characters.
    #[arg(long, default_value = "")]
    reference: String,
    /// The key under which a use was kept free.
    #[arg(long, value_name = "KEY", default_value = "")]
    reservation: String,
    /// Take the voucher at this shop's own risk where its home does not answer, within the promotion's caps.
    #[arg(long)]
    accept_at_risk: bool,
    #[command(flatten)]
    request: RequestIdArg,
}

/// What the customer buys.
#[derive(Debug, Args)]
struct PurchaseArgs {
    /// What the customer buys, before the discount: 5800 (minor units) or 58.00.
    #[arg(long, value_name = "MONEY")]
    purchase: value::MoneyArg,
    /// Goods of one kind in it, for promotions that name categories; repeatable.
    #[arg(long = "line", value_name = "CATEGORY=MONEY")]
    lines: Vec<value::Line>,
    /// The till's name for the purchase, the same for all vouchers that go into it.
    #[arg(long, value_name = "ID", default_value = "")]
    purchase_id: String,
    /// The customer is not in the shop.
    #[arg(long)]
    remote: bool,
}

/// Which vouchers, for what.
#[derive(Debug, Args)]
pub(crate) struct QualifyArgs {
    /// QR texts or typed codes, at most 100.
    codes: Vec<String>,
    #[command(flatten)]
    purchase: PurchaseArgs,
    /// The card that the customer shows, 32 hex digits: vouchers that are bound to it are looked at, too.
    #[arg(long, value_parser = value::card)]
    card: Option<String>,
    /// When, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
}

/// Which redemption.
#[derive(Debug, Args)]
pub(crate) struct VoidArgs {
    /// The redemption's id, as `redeem` printed it, or its beginning.
    redemption: String,
    /// Why, at most 200 characters.
    #[arg(long, default_value = "")]
    reason: String,
    /// The part of the purchase that was returned: the voucher stays used [default: all of it].
    #[arg(long, value_name = "MONEY")]
    returned: Option<value::MoneyArg>,
    /// When, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    #[command(flatten)]
    request: RequestIdArg,
}

/// Who was sent where.
#[derive(Debug, Args)]
pub(crate) struct TouchArgs {
    /// The shop that the customer was sent to: name or beginning of the id.
    #[arg(long, value_name = "SHOP")]
    to: String,
    /// The customer's card, 32 hex digits.
    #[arg(long, value_parser = value::card)]
    card: String,
    /// How.
    #[arg(long, value_enum)]
    kind: TouchKind,
    /// Which poster, till receipt or group post, at most 64 characters.
    #[arg(long, default_value = "")]
    channel: String,
    /// When, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    #[command(flatten)]
    request: RequestIdArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TouchKind {
    Scan,
    Invite,
    Visit,
}

pub(crate) async fn run(globals: &Globals, command: VoucherCommand) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    match command {
        VoucherCommand::Issue(args) => issue(&session, args).await,
        VoucherCommand::Show { code } => {
            let request =
                proto::GetVoucherRequest { alliance_id: session.alliance_id.clone(), code, read_mask: None };
            let voucher = required(session.client.get_voucher(request).await?.voucher)?;
            Ok(Answer::new(
                show::voucher_json(&voucher),
                show::voucher_text(&voucher, &session.names().await),
            ))
        }
        VoucherCommand::Redeem(args) => redeem(&session, args).await,
        VoucherCommand::Void(args) => void(&session, args).await,
        VoucherCommand::Qualify(args) => qualify(&session, args).await,
        VoucherCommand::Transfer(args) => right::transfer(&session, args).await,
        VoucherCommand::Request(args) => right::request(&session, args).await,
        VoucherCommand::Revoke(args) => right::revoke(&session, args).await,
        VoucherCommand::Reserve(args) => right::reserve(&session, args).await,
        VoucherCommand::Release(args) => right::release(&session, args).await,
        VoucherCommand::List { limit, filter } => list(&session, limit, &filter).await,
        VoucherCommand::Touch(args) => touch(&session, args).await,
    }
}

pub(super) fn required(voucher: Option<proto::Voucher>) -> Result<proto::Voucher, Problem> {
    voucher.ok_or(Problem::Answer("voucher"))
}

/// A voucher, with the request id that it came by.
pub(super) fn with_request_id(request_id: &str, voucher: &proto::Voucher) -> Value {
    json!({ "request_id": request_id, "voucher": show::voucher_json(voucher) })
}

async fn issue(session: &Session, args: IssueArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let request = proto::IssueVoucherRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        promotion_id: session.promotion(&args.promotion).await?,
        card_id: args.card.unwrap_or_default(),
        issue_time: args.time,
        redeemer_id: match args.redeemer.as_deref() {
            Some(redeemer) => session.shops([redeemer]).await?.concat(),
            None => String::new(),
        },
    };
    let voucher = required(session.client.issue_voucher(request).await?.voucher)?;
    let mut text = show::voucher_text(&voucher, &session.names().await);
    if args.qr {
        text = format!("{text}\n\n{}", qr(&voucher.qr_text)?);
    }
    Ok(Answer::new(with_request_id(&request_id, &voucher), text).hint(session.request_hint(&request_id)))
}

/// A QR code of half blocks, light on dark as terminals mostly are.
pub(crate) fn qr(text: &str) -> anyhow::Result<String> {
    drawn(text, EcLevel::M)
}

/// One of a long text, that is shown on a screen and never gets dirty: with less to mend errors by, so that it is smaller.
pub(crate) fn long_qr(text: &str) -> anyhow::Result<String> {
    drawn(text, EcLevel::L)
}

fn drawn(text: &str, level: EcLevel) -> anyhow::Result<String> {
    let code = QrCode::with_error_correction_level(text, level).context("the text does not fit a QR code")?;
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

async fn redeem(session: &Session, args: RedeemArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let request = proto::RedeemVoucherRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        code: args.code,
        purchase: session.money(Some(args.purchase.purchase)).await?,
        card_id: args.card.unwrap_or_default(),
        redeem_time: args.time,
        reference: args.reference,
        lines: lines(session, args.purchase.lines).await?,
        purchase_id: args.purchase.purchase_id,
        remote: args.purchase.remote,
        reservation_key: args.reservation,
        accept_at_risk: args.accept_at_risk,
    };
    let answer = session.client.redeem_voucher(request).await?;
    let text = fields([
        (
            "redeemed",
            answer.voucher.as_ref().map(|voucher| voucher.promotion_title.clone()).unwrap_or_default(),
        ),
        ("take off", show::money(answer.discount.as_ref())),
        ("redemption", answer.redemption_id.clone()),
        ("credited to", session.names().await.label(&answer.credited_id)),
        ("bounty", show::money(answer.bounty.as_ref())),
        ("uses left", if answer.uses_left > 0 { answer.uses_left.to_string() } else { String::new() }),
    ]);
    let told = Answer::new(show::redemption_json(&request_id, &answer), text)
        .hint(session.request_hint(&request_id));
    Ok(match answer.at_risk {
        true => told.hint(session.say(
            "Taken at this shop's own risk: the home is asked when it can be reached.",
            "本店自担风险受理：能连上发券店时会向其确认。",
        )),
        false => told,
    })
}

async fn lines(session: &Session, lines: Vec<value::Line>) -> anyhow::Result<Vec<proto::PurchaseLine>> {
    let mut told = Vec::with_capacity(lines.len());
    for value::Line { category, amount } in lines {
        told.push(proto::PurchaseLine { category, amount: session.money(Some(amount)).await? });
    }
    Ok(told)
}

async fn qualify(session: &Session, args: QualifyArgs) -> anyhow::Result<Answer> {
    let request = proto::QualifyVouchersRequest {
        alliance_id: session.alliance_id.clone(),
        codes: args.codes,
        card_id: args.card.unwrap_or_default(),
        purchase: session.money(Some(args.purchase.purchase)).await?,
        lines: lines(session, args.purchase.lines).await?,
        purchase_id: args.purchase.purchase_id,
        remote: args.purchase.remote,
        qualify_time: args.time,
    };
    let vouchers = session.client.qualify_vouchers(request).await?.vouchers;
    Ok(Answer::new(vouchers.iter().map(show::qualified_json).collect(), show::qualified_text(&vouchers)))
}

async fn redemption_id(session: &Session, text: &str) -> anyhow::Result<String> {
    let lines = session.client.all_bookings(&session.alliance_id, None, None);
    listed_id("redemption", text, lines, |line| line.redemption_id).await
}

async fn void(session: &Session, args: VoidArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let request = proto::VoidRedemptionRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        redemption_id: redemption_id(session, &args.redemption).await?,
        reason: args.reason,
        returned: session.money(args.returned).await?,
        void_time: args.time,
    };
    let answer = session.client.void_redemption(request).await?;
    let voucher = required(answer.voucher)?;
    let mut json = with_request_id(&request_id, &voucher);
    json["discount"] = show::money_json(answer.discount.as_ref());
    let taken_off = fields([("takes off", show::money(answer.discount.as_ref()))]);
    let text = format!("{}\n{taken_off}", show::voucher_text(&voucher, &session.names().await));
    Ok(Answer::new(json, text).hint(session.request_hint(&request_id)))
}

async fn list(session: &Session, limit: usize, filter: &str) -> anyhow::Result<Answer> {
    let (mut vouchers, mut page_token) = (Vec::new(), String::new());
    while vouchers.len() < limit {
        let page_size = i32::try_from((limit - vouchers.len()).min(PAGE_SIZE_MAX)).unwrap_or(i32::MAX);
        let alliance_id = session.alliance_id.clone();
        let page = session
            .client
            .list_vouchers(proto::ListVouchersRequest {
                alliance_id,
                page_size,
                page_token,
                filter: filter.to_owned(),
                read_mask: None,
            })
            .await?;
        vouchers.extend(page.vouchers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let answer = Answer::new(
        vouchers.iter().map(show::voucher_json).collect(),
        show::vouchers_text(&vouchers, &session.names().await),
    );
    Ok(if page_token.is_empty() { answer } else { answer.hint(session.say(MORE_EN, MORE_ZH)) })
}

async fn touch(session: &Session, args: TouchArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let [to_shop_id] = session.shops([args.to.as_str()]).await?;
    let kind = match args.kind {
        TouchKind::Scan => proto::TouchKind::Scan,
        TouchKind::Invite => proto::TouchKind::Invite,
        TouchKind::Visit => proto::TouchKind::Visit,
    };
    let request = proto::RecordTouchRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        to_shop_id,
        card_id: args.card,
        kind: kind.into(),
        channel: args.channel,
        touch_time: args.time,
    };
    let answer = session.client.record_touch(request).await?;
    let json = json!({ "request_id": request_id, "touch_id": answer.touch_id });
    Ok(Answer::new(json, format!("touch {}", answer.touch_id)).hint(session.request_hint(&request_id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voucher_fits_the_terminal() {
        let drawn = qr(&"HUTONG1:".repeat(40)).unwrap();
        assert!(drawn.lines().all(|line| line.chars().count() <= 120), "{drawn}");
        assert!(qr(&"x".repeat(8_000)).is_err());
    }

    #[test]
    fn the_request_id_stands_beside_the_voucher() {
        let json = with_request_id("r1", &proto::Voucher { id: "v".into(), ..Default::default() });
        assert_eq!((json["request_id"].as_str(), json["voucher"]["id"].as_str()), (Some("r1"), Some("v")));
    }
}
