//! `hutong sale`.

use clap::{Args, Subcommand};
use hutong_client::{Timestamp, proto, random_request_id};
use serde_json::json;

use super::{Globals, output::Answer, session::Session, show, value};

/// `hutong sale …`
#[derive(Debug, Subcommand)]
pub(crate) enum SaleCommand {
    /// Report a sale; prints the vouchers that it earned.
    #[command(after_help = "Examples:
  hutong sale report --amount 38.00 --card 00112233445566778899aabbccddeeff
  hutong sale report --amount 3800 --reference till-2/0017 --request-id till-2/0017

A repeat with the same request id gives the first answer, and reports nothing twice.")]
    Report(ReportArgs),
}

/// A sale.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// What the customer paid: 1250 (minor units) or 12.50.
    #[arg(long, value_name = "MONEY")]
    amount: value::MoneyArg,
    /// The customer's card, 32 hex digits [default: unknown customer].
    #[arg(long, value_parser = value::card)]
    card: Option<String>,
    /// When it took place, RFC 3339 [default: now].
    #[arg(long, value_parser = value::time)]
    time: Option<Timestamp>,
    /// The till's own reference, at most 64 characters.
    #[arg(long, default_value = "")]
    reference: String,
    #[command(flatten)]
    request: RequestIdArg,
}

/// Makes a repeat of the same command harmless.
#[derive(Debug, Clone, Args)]
pub(crate) struct RequestIdArg {
    /// Repeat a command with its first id to get its first answer [default: a random one, printed].
    #[arg(long, value_name = "ID", value_parser = value::request_id)]
    request_id: Option<String>,
}

impl RequestIdArg {
    /// The id given, or a fresh one.
    pub(crate) fn or_random(self) -> String {
        self.request_id.unwrap_or_else(random_request_id)
    }
}

pub(crate) async fn run(globals: &Globals, command: SaleCommand) -> anyhow::Result<Answer> {
    let SaleCommand::Report(args) = command;
    let session = Session::open(globals).await?;
    let request_id = args.request.or_random();
    let request = proto::ReportSaleRequest {
        alliance_id: session.alliance_id.clone(),
        request_id: request_id.clone(),
        sale_time: args.time,
        card_id: args.card.unwrap_or_default(),
        amount: session.money(Some(args.amount)).await?,
        reference: args.reference,
    };
    let answer = session.client.report_sale(request).await?;
    let vouchers: Vec<_> = answer.vouchers.iter().map(show::voucher_json).collect();
    let text =
        format!("sale {}\n{}", answer.sale_id, show::vouchers_text(&answer.vouchers, &session.names().await));
    let json = json!({ "request_id": request_id, "sale_id": answer.sale_id, "vouchers": vouchers });
    Ok(Answer::new(json, text).hint(format!("request id {request_id}")))
}
