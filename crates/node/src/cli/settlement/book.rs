//! The book of this shop and an ally, and what is said to its receipts.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use hutong_client::{Language, Timestamp, proto};
use serde_json::{Value, json};

use crate::cli::{
    output::{Answer, table},
    sale::RequestIdArg,
    session::Session,
    show::{money, money_json, time, time_json, word},
    value,
};

/// Which lines.
#[derive(Debug, Args)]
pub(crate) struct BookArgs {
    /// Name or beginning of the id.
    ally: String,
    /// From this moment on.
    #[arg(long, value_parser = value::time)]
    from: Option<Timestamp>,
    /// Before this moment.
    #[arg(long, value_parser = value::time)]
    until: Option<Timestamp>,
}

/// Which receipt.
#[derive(Debug, Args)]
pub(crate) struct ReceiptArgs {
    /// The receipt's id, as the book tells it, or its beginning.
    receipt: String,
    #[command(flatten)]
    request: RequestIdArg,
}

/// Why a receipt is disputed.
#[derive(Debug, Args)]
pub(crate) struct DisputeArgs {
    /// The receipt's id, as the book tells it, or its beginning.
    receipt: String,
    /// Why.
    #[arg(long, value_enum)]
    reason: Reason,
    /// In own words, at most 500 characters.
    #[arg(long, default_value = "")]
    text: String,
    /// The id of a record that speaks for it, in full.
    #[arg(long, default_value = "")]
    evidence: String,
    /// A document that speaks for it, at most 4096 bytes.
    #[arg(long, value_name = "FILE")]
    evidence_file: Option<PathBuf>,
    #[command(flatten)]
    request: RequestIdArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reason {
    /// There was no such purchase.
    NoPurchase,
    /// The amount is another one.
    Amount,
    /// The customer was not sent by the shop that is credited.
    Credit,
    /// The goods came back.
    Returned,
    /// The redeemer's own people or family.
    SelfDealing,
    /// As the text says.
    Other,
}

pub(super) async fn book(session: &Session, args: BookArgs) -> anyhow::Result<Answer> {
    let ally_id = session.ally(&args.ally).await?;
    let alliance_id = &session.alliance_id;
    let lines = session.client.all_book_lines(alliance_id, &ally_id, args.from, args.until).await?;
    let names = session.names().await;
    let row = |line: &proto::BookLine| {
        [
            time(line.time.as_ref()),
            word(line.r#type().as_str_name(), "BOOK_LINE_TYPE_"),
            names.label(&line.debtor_id),
            names.label(&line.creditor_id),
            money(line.amount.as_ref()),
            if line.disputed { "disputed" } else { "" }.to_owned(),
            line.receipt_id.clone(),
        ]
    };
    let header = ["time", "what", "debtor", "creditor", "amount", "", "receipt"];
    let text = table(header, lines.iter().map(row).collect());
    Ok(Answer::new(lines.iter().map(line_json).collect(), text))
}

fn line_json(line: &proto::BookLine) -> Value {
    json!({
        "record_id": line.record_id,
        "index": line.index,
        "time": time_json(line.time.as_ref()),
        "type": word(line.r#type().as_str_name(), "BOOK_LINE_TYPE_"),
        "debtor_id": line.debtor_id,
        "creditor_id": line.creditor_id,
        "amount": money_json(line.amount.as_ref()),
        "receipt_id": line.receipt_id,
        "disputed": line.disputed,
    })
}

pub(super) async fn respond(
    session: &Session,
    args: ReceiptArgs,
    answer: proto::ReceiptAnswer,
) -> anyhow::Result<Answer> {
    let request = proto::RespondToReceiptRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: args.request.or_random(),
        receipt_id: session.receipt(&args.receipt).await?,
        answer: answer.into(),
        ..Default::default()
    };
    send_response(session, request).await
}

pub(super) async fn dispute(session: &Session, args: DisputeArgs) -> anyhow::Result<Answer> {
    let reason = match args.reason {
        Reason::NoPurchase => proto::DisputeReason::NoPurchase,
        Reason::Amount => proto::DisputeReason::Amount,
        Reason::Credit => proto::DisputeReason::Credit,
        Reason::Returned => proto::DisputeReason::Returned,
        Reason::SelfDealing => proto::DisputeReason::SelfDealing,
        Reason::Other => proto::DisputeReason::Other,
    };
    let evidence = match &args.evidence_file {
        Some(file) => std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => Vec::new(),
    };
    let request = proto::RespondToReceiptRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: args.request.or_random(),
        receipt_id: session.receipt(&args.receipt).await?,
        answer: proto::ReceiptAnswer::Dispute.into(),
        reason: reason.into(),
        text: args.text,
        evidence_id: args.evidence,
        evidence,
    };
    send_response(session, request).await
}

async fn send_response(session: &Session, request: proto::RespondToReceiptRequest) -> anyhow::Result<Answer> {
    let request_id = request.request_id.clone();
    let record_id = session.client.respond_to_receipt(request).await?.record_id;
    let json = json!({ "request_id": request_id, "record_id": record_id });
    let text = match session.language {
        Language::En => format!("on record as {record_id}"),
        Language::Zh => format!("已记录：{record_id}"),
    };
    Ok(Answer::new(json, text).hint(session.request_hint(&request_id)))
}
