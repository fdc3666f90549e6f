//! Payments: said to be made, and confirmed.

use clap::Args;
use hutong_client::{Timestamp, proto};
use serde_json::json;

use crate::cli::{
    output::{Answer, table},
    sale::RequestIdArg,
    session::Session,
    show::{money, money_json, time, time_json, word},
    value,
};

/// What was paid.
#[derive(Debug, Args)]
pub(crate) struct PayArgs {
    /// Who was paid: name or beginning of the id.
    ally: String,
    /// How much: 1250 (minor units) or 12.50.
    #[arg(long, value_name = "MONEY")]
    amount: value::MoneyArg,
    /// When, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    /// The bank's or app's own name for it, at most 64 characters.
    #[arg(long, default_value = "")]
    reference: String,
    #[command(flatten)]
    request: RequestIdArg,
}

/// Which payment.
#[derive(Debug, Args)]
pub(crate) struct ConfirmArgs {
    /// The payment's id.
    payment: String,
    /// It did not come.
    #[arg(long)]
    deny: bool,
    /// Why not, at most 200 characters.
    #[arg(long, default_value = "", requires = "deny")]
    reason: String,
    #[command(flatten)]
    request: RequestIdArg,
}

pub(super) async fn pay(session: &Session, args: PayArgs) -> anyhow::Result<Answer> {
    let [ally_id] = session.shops([args.ally.as_str()]).await?;
    let request_id = args.request.or_random();
    let request = proto::RecordPaymentRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        ally_id,
        amount: session.money(Some(args.amount)).await?,
        payment_time: args.time,
        reference: args.reference,
    };
    let payment_id = session.client.record_payment(request).await?.payment_id;
    let json = json!({ "request_id": request_id, "payment_id": payment_id });
    let text = format!("payment {payment_id}: booked when the ally confirms it");
    Ok(Answer::new(json, text).hint(format!("request id {request_id}")))
}

pub(super) async fn confirm(session: &Session, args: ConfirmArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let request = proto::ConfirmPaymentRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        payment_id: args.payment,
        denied: args.deny,
        reason: args.reason,
    };
    let record_id = session.client.confirm_payment(request).await?.record_id;
    let json = json!({ "request_id": request_id, "record_id": record_id });
    let text = if args.deny { "denied: nothing is booked" } else { "confirmed: both book it" };
    Ok(Answer::new(json, text).hint(format!("request id {request_id}")))
}

pub(super) async fn payments(session: &Session, ally: Option<String>) -> anyhow::Result<Answer> {
    let ally_id = match ally.as_deref() {
        Some(ally) => session.shops([ally]).await?.concat(),
        None => String::new(),
    };
    let all = session.client.all_payments(&session.alliance_id, &ally_id).await?;
    let names = session.names().await;
    let payment_state = |p: &proto::SettlementPayment| word(p.state().as_str_name(), "PAYMENT_STATE_");
    let row = |p: &proto::SettlementPayment| {
        [
            time(p.payment_time.as_ref()),
            names.label(&p.payer_id),
            names.label(&p.payee_id),
            money(p.amount.as_ref()),
            payment_state(p),
            p.reference.clone(),
            p.id.clone(),
        ]
    };
    let json = |p: &proto::SettlementPayment| {
        json!({
            "id": p.id,
            "payer_id": p.payer_id,
            "payee_id": p.payee_id,
            "amount": money_json(p.amount.as_ref()),
            "payment_time": time_json(p.payment_time.as_ref()),
            "reference": p.reference,
            "state": payment_state(p),
            "reason": p.reason,
        })
    };
    let header = ["time", "payer", "payee", "amount", "state", "reference", "id"];
    Ok(Answer::new(all.iter().map(json).collect(), table(header, all.iter().map(row).collect())))
}
