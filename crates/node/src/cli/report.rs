//! `hutong report`.

use clap::Subcommand;
use hutong_client::{Timestamp, proto};
use serde_json::json;

use super::{
    Globals,
    output::{Answer, fields, table},
    session::Session,
    show, value,
};

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
    Pairs,
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
        ReportCommand::Pairs => pairs(&session).await,
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

async fn pairs(session: &Session) -> anyhow::Result<Answer> {
    let pairs = session.client.all_pairs(&session.alliance_id).await?;
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
