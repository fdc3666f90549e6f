//! Payments: said to be made, and confirmed.

use clap::Args;
use hutong_client::{Language, Timestamp, proto};
use serde_json::{Value, json};

use crate::cli::{
    output::{Answer, table},
    problem::Problem,
    resolve::listed_id,
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

/// Of which shop.
#[derive(Debug, Args)]
pub(crate) struct CarryOverArgs {
    /// The shop whose log is closed: name or beginning of the id.
    shop: String,
    /// How much of what is open with it [default: all].
    #[arg(long, value_name = "MONEY")]
    amount: Option<value::MoneyArg>,
    #[command(flatten)]
    request: RequestIdArg,
}

/// Which payment.
#[derive(Debug, Args)]
pub(crate) struct ConfirmArgs {
    /// The payment's id, or its beginning.
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
    let ally_id = session.ally(&args.ally).await?;
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
    let text = match session.language {
        Language::En => format!("payment {payment_id}: booked when the ally confirms it"),
        Language::Zh => format!("付款 {payment_id}：对方确认后入账"),
    };
    Ok(Answer::new(json, text).hint(session.request_hint(&request_id)))
}

pub(super) async fn carry_over(session: &Session, args: CarryOverArgs) -> anyhow::Result<Answer> {
    let shop_id = session.closed_shop(&args.shop).await?;
    let request_id = args.request.or_random();
    let request = proto::CarryOverRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        shop_id,
        amount: session.money(args.amount).await?,
    };
    let payment = session.client.carry_over(request).await?.payment.ok_or(Problem::Answer("payment"))?;
    let names = session.names().await;
    let amount = money(payment.amount.as_ref());
    let ally = names.label(&payment.payee_id);
    let ally_owes = payment.debtor_id == payment.payee_id;
    let text = match (session.language, ally_owes) {
        (Language::En, true) => format!("{}: {ally} owes this shop {amount} once it confirms", payment.id),
        (Language::En, false) => format!("{}: this shop owes {ally} {amount} once it confirms", payment.id),
        (Language::Zh, true) => format!("{}：{ally} 确认后欠本店 {amount}", payment.id),
        (Language::Zh, false) => format!("{}：{ally} 确认后本店欠其 {amount}", payment.id),
    };
    let json = json!({ "request_id": request_id, "payment": payment_json(&payment) });
    Ok(Answer::new(json, text).hint(session.request_hint(&request_id)))
}

fn payment_state(payment: &proto::SettlementPayment) -> String {
    word(payment.state().as_str_name(), "PAYMENT_STATE_")
}

pub(crate) fn payment_json(p: &proto::SettlementPayment) -> Value {
    json!({
        "id": p.id,
        "payer_id": p.payer_id,
        "payee_id": p.payee_id,
        "amount": money_json(p.amount.as_ref()),
        "payment_time": time_json(p.payment_time.as_ref()),
        "reference": p.reference,
        "state": payment_state(p),
        "reason": p.reason,
        "carried_over_from_id": p.carried_over_from_id,
        "debtor_id": p.debtor_id,
    })
}

pub(super) async fn confirm(session: &Session, args: ConfirmArgs) -> anyhow::Result<Answer> {
    let request_id = args.request.or_random();
    let request = proto::ConfirmPaymentRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        payment_id: payment_id(session, &args.payment).await?,
        denied: args.deny,
        reason: args.reason,
    };
    let record_id = session.client.confirm_payment(request).await?.record_id;
    let json = json!({ "request_id": request_id, "record_id": record_id });
    let text = if args.deny {
        session.say("denied: nothing is booked", "已否认：不入账")
    } else {
        session.say("confirmed: both book it", "已确认：双方入账")
    };
    Ok(Answer::new(json, text).hint(session.request_hint(&request_id)))
}

async fn payment_id(session: &Session, text: &str) -> anyhow::Result<String> {
    listed_id("payment", text, session.client.all_payments(&session.alliance_id, ""), |payment| payment.id)
        .await
}

pub(super) async fn payments(session: &Session, ally: Option<String>) -> anyhow::Result<Answer> {
    let ally_id = match ally.as_deref() {
        Some(ally) => session.ally(ally).await?,
        None => String::new(),
    };
    let all = session.client.all_payments(&session.alliance_id, &ally_id).await?;
    let names = session.names().await;
    let row = |p: &proto::SettlementPayment| {
        [
            time(p.payment_time.as_ref()),
            names.label(&p.payer_id),
            names.label(&p.payee_id),
            money(p.amount.as_ref()),
            payment_state(p),
            match p.carried_over_from_id.as_str() {
                "" => p.reference.clone(),
                of => format!("carried over from {}, owed by {}", names.label(of), names.label(&p.debtor_id)),
            },
            p.id.clone(),
        ]
    };
    let header = ["time", "payer", "payee", "amount", "state", "reference", "id"];
    Ok(Answer::new(all.iter().map(payment_json).collect(), table(header, all.iter().map(row).collect())))
}
