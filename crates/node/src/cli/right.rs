//! `hutong voucher transfer`, `request`, `revoke`, `reserve` and `release`: who may redeem a voucher, and whether.

use clap::Args;
use hutong_client::{Duration, Timestamp, proto};
use serde_json::json;

use super::{
    output::Answer,
    sale::RequestIdArg,
    session::Session,
    show, value,
    voucher::{required, with_request_id},
};

/// Who gets it.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// The voucher's id, the text of its QR code, or its typed code.
    code: String,
    /// The shop that gets it: name or beginning of the id.
    #[arg(long, value_name = "SHOP")]
    to: String,
    #[command(flatten)]
    request: RequestIdArg,
}

/// Which shop the customer picked.
#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// The text of the QR code, or the typed code.
    code: String,
    /// The shop that the customer picked [default: this one].
    #[arg(long, value_name = "SHOP")]
    to: Option<String>,
}

/// Which voucher, and why.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The voucher's id, the text of its QR code, or its typed code.
    code: String,
    /// Why, at most 200 characters.
    #[arg(long, default_value = "")]
    reason: String,
    /// When, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    #[command(flatten)]
    request: RequestIdArg,
}

/// For whom, and for how long.
#[derive(Debug, Args)]
pub(crate) struct ReserveArgs {
    /// The voucher's id, the text of its QR code, or its typed code.
    code: String,
    /// Who comes with it can use the voucher: 1 to 64 printable ASCII characters.
    #[arg(long)]
    key: String,
    /// For how long, at most 1d.
    #[arg(long = "for", value_name = "DURATION", default_value = "15m", value_parser = value::duration)]
    lifetime: Duration,
    /// When, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    #[command(flatten)]
    request: RequestIdArg,
}

/// What is given up.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The voucher's id, the text of its QR code, or its typed code.
    code: String,
    /// The key under which a use was kept free.
    #[arg(long)]
    key: String,
    /// When, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    #[command(flatten)]
    request: RequestIdArg,
}

pub(crate) async fn transfer(session: &Session, args: TransferArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let [to_shop_id] = session.shops([args.to.as_str()]).await?;
    let request = proto::TransferVoucherRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        code: args.code,
        to_shop_id,
    };
    tell(session, &request_id, session.client.transfer_voucher(request).await?.voucher).await
}

pub(crate) async fn request(session: &Session, args: RequestArgs) -> anyhow::Result<Answer> {
    let to_shop_id = match args.to.as_deref() {
        Some(to) => session.shops([to]).await?.concat(),
        None => String::new(),
    };
    let request = proto::RequestVoucherRequest {
        alliance_id: session.alliance_id.clone(),
        code: args.code,
        to_shop_id,
    };
    let state = session.client.request_voucher(request).await?.state();
    let word = show::word(state.as_str_name(), "RIGHT_REQUEST_STATE_");
    let answer = Answer::new(json!({ "state": word }), word.clone());
    Ok(match state {
        proto::RightRequestState::Waiting => answer.hint(session.say(
            "Its home has not answered yet; the request stands. Ask again to hear of it.",
            "发券店尚未答复，请求仍有效。请稍后再查。",
        )),
        _ => answer,
    })
}

pub(crate) async fn revoke(session: &Session, args: RevokeArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let request = proto::RevokeVoucherRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        code: args.code,
        reason: args.reason,
        revoke_time: args.time,
    };
    tell(session, &request_id, session.client.revoke_voucher(request).await?.voucher).await
}

pub(crate) async fn reserve(session: &Session, args: ReserveArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let request = proto::ReserveVoucherRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        code: args.code,
        key: args.key,
        lifetime: Some(args.lifetime),
        reserve_time: args.time,
    };
    tell(session, &request_id, session.client.reserve_voucher(request).await?.voucher).await
}

pub(crate) async fn release(session: &Session, args: ReleaseArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let request = proto::ReleaseReservationRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        code: args.code,
        key: args.key,
        release_time: args.time,
    };
    tell(session, &request_id, session.client.release_reservation(request).await?.voucher).await
}

async fn tell(
    session: &Session,
    request_id: &str,
    voucher: Option<proto::Voucher>,
) -> anyhow::Result<Answer> {
    let voucher = required(voucher)?;
    let text = show::voucher_text(&voucher, &session.names().await);
    Ok(Answer::new(with_request_id(request_id, &voucher), text).hint(session.request_hint(request_id)))
}
