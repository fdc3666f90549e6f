//! `hutong report`.

use clap::Subcommand;
use hutong_client::{Timestamp, proto};
use proto::ActivityGroup;
use serde_json::json;

use super::{
    Globals,
    output::{Answer, fields, table},
    session::Session,
    sheet::SheetArgs,
    show, value,
};

mod spans;

use spans::{CreditArgs, SpanArgs};

/// `hutong report …`
#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// This shop's counts.
    Summary {
        /// Vouchers past their time at this moment count as expired [default: now].
        #[arg(long, value_parser = value::time)]
        as_of: Option<Timestamp>,
    },
    /// This shop and each ally: customers sent and received, and what is owed.
    Pairs(SheetArgs),
    /// Whom each ally sent here.
    Shops(SpanArgs),
    /// What each promotion came to.
    Promotions(SpanArgs),
    /// Which poster, receipt or post brought whom.
    Channels(SpanArgs),
    /// By hour of the week, local time.
    Hours(SpanArgs),
    /// What this shop and each ally did for each other.
    Reciprocity(SpanArgs),
    /// Newcomers by week, and how many came back within 7, 30 and 90 days.
    Cohorts {
        #[command(flatten)]
        span: SpanArgs,
        /// Visits up to this moment are looked at, RFC 3339 [default: now].
        #[arg(long, value_name = "TIME", value_parser = value::time)]
        as_of: Option<Timestamp>,
    },
    /// Lines for an accountant: who bore each discount, and who owes which fee; gross.
    Bookings(SpanArgs),
    /// Credit for this shop's own conversions, by shop and channel.
    #[command(after_help = "Example:
  hutong report attribution --model shapley --from 2026-05-01T00:00:00+08:00 --format xlsx --output may.xlsx")]
    Attribution(CreditArgs),
    /// Digests that are equal wherever the same records are held.
    #[command(
        after_help = "Compare with a neighbour's: equal digests prove that both hold and conclude the same."
    )]
    Digest,
}

pub(crate) async fn run(globals: &Globals, command: ReportCommand) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    match command {
        ReportCommand::Summary { as_of } => summary(&session, as_of).await,
        ReportCommand::Pairs(args) => pairs(&session, args).await,
        ReportCommand::Shops(args) => spans::activity(&session, ActivityGroup::Shop, args).await,
        ReportCommand::Promotions(args) => spans::activity(&session, ActivityGroup::Promotion, args).await,
        ReportCommand::Channels(args) => spans::activity(&session, ActivityGroup::Channel, args).await,
        ReportCommand::Hours(args) => spans::activity(&session, ActivityGroup::Hour, args).await,
        ReportCommand::Reciprocity(args) => spans::reciprocity(&session, args).await,
        ReportCommand::Cohorts { span, as_of } => spans::cohorts(&session, span, as_of).await,
        ReportCommand::Bookings(args) => spans::bookings(&session, args).await,
        ReportCommand::Attribution(args) => spans::attribution(&session, args).await,
        ReportCommand::Digest => digest(&session).await,
    }
}

async fn summary(session: &Session, as_of_time: Option<Timestamp>) -> anyhow::Result<Answer> {
    let request = proto::GetSummaryRequest { alliance_id: session.alliance_id.clone(), as_of_time };
    let summary = session.client.get_summary(request).await?;
    let refusals: Vec<_> = summary.refusals.iter().map(|r| [r.reason.clone(), r.count.to_string()]).collect();
    let mut text = fields([
        ("sales", summary.sales.to_string()),
        ("sales amount", show::money(summary.sales_amount.as_ref())),
        ("vouchers handed out", summary.vouchers_issued.to_string()),
        ("  of them used", summary.vouchers_used.to_string()),
        ("  of them expired", summary.vouchers_expired.to_string()),
        ("redeemed here", summary.redemptions.to_string()),
        ("taken back", summary.voids.to_string()),
        ("discounts given", show::money(summary.discounts.as_ref())),
        ("double redemptions", summary.double_redemptions.to_string()),
        ("at risk, open", show::money(summary.risk_open.as_ref())),
        ("at risk, lost", show::money(summary.risk_lost.as_ref())),
    ]);
    if !refusals.is_empty() {
        text = format!("{text}\n\n{}", table(["refused because", "times"], refusals));
    }
    Ok(Answer::new(show::summary_json(&summary), text))
}

async fn pairs(session: &Session, args: SheetArgs) -> anyhow::Result<Answer> {
    let pairs = session.client.all_pairs(&session.alliance_id).await?;
    if !args.is_table() {
        return spans::pairs(&pairs, session.books().await?).answer(args);
    }
    let row = |pair: &proto::Pair| {
        [
            show::label(&pair.ally_name, &pair.ally_id),
            pair.vouchers_given.to_string(),
            pair.customers_sent.to_string(),
            pair.vouchers_received.to_string(),
            pair.customers_received.to_string(),
            show::money(pair.balance.as_ref()),
            show::short(&pair.state_digest),
        ]
    };
    let header = ["ally", "given", "sent", "received", "came", "owed to us", "state"];
    let text = table(header, pairs.iter().map(row).collect());
    Ok(Answer::new(pairs.iter().map(show::pair_json).collect(), text))
}

/// `hutong offences`.
pub(crate) async fn offences(globals: &Globals) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    let offences = session.client.all_offences(&session.alliance_id).await?;
    let text = show::offences_text(&offences, &session.names().await);
    Ok(Answer::new(offences.iter().map(show::offence_json).collect(), text))
}

async fn digest(session: &Session) -> anyhow::Result<Answer> {
    let request = proto::GetStateDigestRequest { alliance_id: session.alliance_id.clone() };
    let digest = session.client.get_state_digest(request).await?;
    let json = json!({
        "public_digest": digest.public_digest,
        "frontier_digest": digest.frontier_digest,
        "record_count": digest.record_count,
        "unfolded_count": digest.unfolded_count,
    });
    let text = fields([
        ("public state", digest.public_digest),
        ("frontier", digest.frontier_digest),
        ("records", digest.record_count.to_string()),
        ("not folded yet", digest.unfolded_count.to_string()),
    ]);
    Ok(Answer::new(json, text))
}
