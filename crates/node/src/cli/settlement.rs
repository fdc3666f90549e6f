//! `hutong settlement`: what is owed, line by line, agreed, netted and paid.

use clap::Subcommand;
use hutong_client::proto;

use super::{Globals, output::Answer, session::Session};

mod book;
mod credit;
mod exposure;
mod netting;
mod payment;
mod statement;

use book::{BookArgs, DisputeArgs, ReceiptArgs};
use credit::LineCommand;
use exposure::ExposureCommand;
use netting::NetCommand;
use payment::{CarryOverArgs, ConfirmArgs, PayArgs};
use statement::StatementCommand;

/// `hutong settlement …`
#[derive(Debug, Subcommand)]
pub(crate) enum SettlementCommand {
    /// The book of this shop and an ally, line by line.
    Book(BookArgs),
    /// Accept a receipt.
    Accept(ReceiptArgs),
    /// Dispute a receipt, within the days that the charter gives: what it books stays out of statements.
    #[command(
        after_help = "Example:\n  hutong settlement dispute 3f… --reason amount --text '实收 30 元' --evidence-file slip.txt"
    )]
    Dispute(DisputeArgs),
    /// Take a dispute back.
    Withdraw(ReceiptArgs),
    /// Give in to a dispute of this shop's own receipt: nothing is owed for it.
    Concede(ReceiptArgs),
    /// Statements: what both hold to be owed at the end of a period.
    #[command(subcommand)]
    Statement(StatementCommand),
    /// Say that this shop paid an ally.
    #[command(
        after_help = "Example:\n  hutong settlement pay 张记包子 --amount 128.50 --reference BANK-4711"
    )]
    Pay(PayArgs),
    /// Say that an ally's payment came (or, with --deny, that it did not).
    Confirm(ConfirmArgs),
    /// Carry what is open with a shop whose log is closed over to the member that continues it, which confirms it.
    #[command(
        name = "carry-over",
        after_help = "Example:
  hutong settlement carry-over 老茶馆        all that is open; who owes whom, the book with it says

The member that continues the shop confirms it by `hutong settlement confirm ID` (or denies it); then both book it. The
book with the closed shop stays as it is, and what was carried over shows in `hutong settlement payments`."
    )]
    CarryOver(CarryOverArgs),
    /// Payments of this shop.
    Payments {
        /// With this ally only.
        #[arg(long, value_name = "SHOP")]
        ally: Option<String>,
    },
    /// Disclose the last agreed balance with an ally to the alliance, so that it can be netted.
    Publish {
        /// Name or beginning of the id.
        ally: String,
    },
    /// Netting: cancel disclosed balances around the circle.
    #[command(subcommand)]
    Net(NetCommand),
    /// Credit lines: new debts of allies that this shop takes on, so that netting can leave out who stands between.
    #[command(subcommand)]
    Line(LineCommand),
    /// How much allies may come to owe this shop.
    #[command(subcommand)]
    Exposure(ExposureCommand),
}

pub(crate) async fn run(globals: &Globals, command: SettlementCommand) -> anyhow::Result<Answer> {
    use SettlementCommand as C;
    use proto::ReceiptAnswer as A;
    let session = Session::open(globals).await?;
    match command {
        C::Book(args) => book::book(&session, args).await,
        C::Accept(args) => book::respond(&session, args, A::Accept).await,
        C::Withdraw(args) => book::respond(&session, args, A::Withdraw).await,
        C::Concede(args) => book::respond(&session, args, A::Concede).await,
        C::Dispute(args) => book::dispute(&session, args).await,
        C::Statement(command) => statement::statement(&session, command).await,
        C::Pay(args) => payment::pay(&session, args).await,
        C::Confirm(args) => payment::confirm(&session, args).await,
        C::CarryOver(args) => payment::carry_over(&session, args).await,
        C::Payments { ally } => payment::payments(&session, ally).await,
        C::Publish { ally } => netting::publish(&session, &ally).await,
        C::Net(command) => netting::net(&session, command).await,
        C::Line(command) => credit::line(&session, globals.language(), command).await,
        C::Exposure(command) => exposure::exposure(&session, command).await,
    }
}
