//! `hutong sale`.

use clap::{Args, Subcommand};
use hutong_client::{Timestamp, proto, random_request_id};
use serde_json::json;

use super::{Globals, output::Answer, sale_import, session::Session, show, value};

/// `hutong sale …`
#[derive(Debug, Subcommand)]
pub(crate) enum SaleCommand {
    /// Report a sale; prints the vouchers that it earned.
    #[command(after_help = "Examples:
  hutong sale report --amount 38.00 --card 00112233445566778899aabbccddeeff
  hutong sale report --amount 3800 --reference till-2/0017 --request-id till-2/0017

A repeat with the same request id gives the first answer, and reports nothing twice.")]
    Report(ReportArgs),
    /// Report the sales in a till's file; sales that were imported before are not counted again.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
}

const IMPORT_EXAMPLES: &str = "\
A mapping says which columns mean what (TOML):
  source = \"till-2\"                    # keeps the references of several tills apart
  time = { column = \"下单时间\", format = \"%Y-%m-%d %H:%M:%S\", zone = \"Asia/Shanghai\" }
  amount = { column = \"实收\" }          # 12.50, ¥1,234.50; at most the currency's decimals
  card = { column = \"会员号\" }           # may be left out, and so may reference
  reference = { column = \"单号\" }
  skip = [{ column = \"状态\", equals = \"已退款\" }]
  sheet = \"Sheet1\"                     # of a workbook; left out: its first one
  delimiter = \";\"                      # of a CSV file; left out: a comma

Examples:
  hutong sale import --input sales.csv --mapping till-2.toml --dry-run
  hutong sale import --input sales.xlsx --mapping till-2.toml

Exits with 1 if a row was refused; the others are imported all the same. A time without format is RFC 3339; a workbook's
own dates need a zone alone. Without a reference a row is known by what it says and how often it said so before.";

/// A file of sales.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file: .csv (UTF-8) or .xlsx; `-` is CSV from standard input.
    #[arg(long, value_name = "FILE")]
    pub(super) input: String,
    /// Which columns mean what, TOML.
    #[arg(long, value_name = "FILE")]
    pub(super) mapping: String,
    /// Only read and check; nothing is reported.
    #[arg(long)]
    pub(super) dry_run: bool,
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
    let args = match command {
        SaleCommand::Report(args) => args,
        SaleCommand::Import(args) => return Box::pin(sale_import::run(globals, args)).await,
    };
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
    Ok(Answer::new(json, text).hint(session.request_hint(&request_id)))
}
