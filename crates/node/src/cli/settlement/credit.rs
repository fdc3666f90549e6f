//! Credit lines: offered, accepted, withdrawn, listed.

use clap::{Subcommand, ValueEnum};
use hutong_client::{Language, Timestamp, proto};
use serde_json::{Value, json};

use crate::cli::{
    output::{Answer, table},
    problem::Problem,
    session::Session,
    show::{Names, money, money_json, time, time_json},
    value,
};

/// `hutong settlement line …`
#[derive(Debug, Subcommand)]
pub(crate) enum LineCommand {
    /// Take on new debts of an ally, up to a limit; it counts once the ally accepts.
    #[command(
        after_help = "Where the ally owes a shop that owes this one, netting can then have the ally owe this shop
instead. The limit is on all that comes so; withdraw the line to begin anew.

Example:
  hutong settlement line offer 张记包子 --limit 300.00 --until 2027-01-01T00:00:00+08:00"
    )]
    Offer {
        /// Who would owe: name or beginning of the id.
        ally: String,
        /// How much in all.
        #[arg(long, value_name = "MONEY")]
        limit: value::MoneyArg,
        /// Until when, RFC 3339 [default: until it is withdrawn].
        #[arg(long, value_name = "TIME", value_parser = value::time)]
        until: Option<Timestamp>,
    },
    /// Agree to owe an ally what netting moves to the line that it offers.
    Accept {
        /// Who offers it: name or beginning of the id.
        ally: String,
        /// How much in all [default: all that is offered].
        #[arg(long, value_name = "MONEY")]
        limit: Option<value::MoneyArg>,
        /// Until when, RFC 3339 [default: as long as it is offered].
        #[arg(long, value_name = "TIME", value_parser = value::time)]
        until: Option<Timestamp>,
    },
    /// Take this shop's word back; what was drawn stays owed.
    Withdraw {
        /// Name or beginning of the id.
        ally: String,
        /// Only the line on which this shop is on that side [default: both ways].
        #[arg(long = "as", value_enum, value_name = "SIDE")]
        side: Option<Side>,
    },
    /// All credit lines of the alliance, with what is left of them.
    List {
        /// Only those that this shop is in.
        #[arg(long)]
        own: bool,
    },
}

/// A side of a credit line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// Who would be owed.
    Creditor,
    /// Who would owe.
    Debtor,
}

pub(super) async fn line(
    session: &Session,
    language: Language,
    command: LineCommand,
) -> anyhow::Result<Answer> {
    let alliance_id = session.alliance_id.clone();
    let line = match command {
        LineCommand::Offer { ally, limit, until } => {
            let [ally_id] = session.shops([&*ally]).await?;
            let limit = session.money(Some(limit)).await?;
            let request = proto::OfferCreditLineRequest { alliance_id, ally_id, limit, until_time: until };
            session.client.offer_credit_line(request).await?.line
        }
        LineCommand::Accept { ally, limit, until } => {
            let [ally_id] = session.shops([&*ally]).await?;
            let limit = session.money(limit).await?;
            let request = proto::AcceptCreditLineRequest { alliance_id, ally_id, limit, until_time: until };
            session.client.accept_credit_line(request).await?.line
        }
        LineCommand::Withdraw { ally, side } => {
            let [ally_id] = session.shops([&*ally]).await?;
            return withdraw(session, language, ally_id, side).await;
        }
        LineCommand::List { own } => {
            let client = &session.client;
            let lines = if own {
                client.own_credit_lines(&alliance_id).await?
            } else {
                client.all_credit_lines(&alliance_id).await?
            };
            let text = listed(&lines, &session.names().await, language);
            return Ok(Answer::new(lines.iter().map(line_json).collect(), text));
        }
    };
    let line = line.ok_or(Problem::Answer("line"))?;
    let text = listed(std::slice::from_ref(&line), &session.names().await, language);
    let hint = match language {
        Language::Zh => "信用额度对联盟公开，任何成员都能复核由此产生的轧差。",
        Language::En => {
            "Credit lines are seen by the whole alliance, so that every member can check a netting by them."
        }
    };
    Ok(Answer::new(line_json(&line), text).hint(hint))
}

async fn withdraw(
    session: &Session,
    language: Language,
    ally_id: String,
    side: Option<Side>,
) -> anyhow::Result<Answer> {
    let side = match side {
        None => proto::CreditLineSide::Unspecified,
        Some(Side::Creditor) => proto::CreditLineSide::Creditor,
        Some(Side::Debtor) => proto::CreditLineSide::Debtor,
    };
    let alliance_id = session.alliance_id.clone();
    let json = json!({ "ally_id": ally_id });
    let request = proto::WithdrawCreditLineRequest { alliance_id, ally_id, side: side.into() };
    session.client.withdraw_credit_line(request).await?;
    let text = match language {
        Language::Zh => "已收回：不会再由此产生新的欠款",
        Language::En => "withdrawn: no new debt comes by it any more",
    };
    Ok(Answer::new(json, text))
}

fn listed(lines: &[proto::LineOfCredit], names: &Names, language: Language) -> String {
    let header = match language {
        Language::Zh => ["债权店", "债务店", "提供", "接受", "已用", "可用", "到期"],
        Language::En => ["creditor", "debtor", "offered", "accepted", "drawn", "available", "until"],
    };
    let row = |line: &proto::LineOfCredit| {
        [
            names.label(&line.creditor_id),
            names.label(&line.debtor_id),
            money(line.offered.as_ref()),
            money(line.accepted.as_ref()),
            money(line.drawn.as_ref()),
            money(line.available.as_ref()),
            time(earlier(line)),
        ]
    };
    table(header, lines.iter().map(row).collect())
}

/// When the first of the two words ends.
fn earlier(line: &proto::LineOfCredit) -> Option<&Timestamp> {
    let ends = [line.offer_until_time.as_ref(), line.accept_until_time.as_ref()];
    ends.into_iter().flatten().min_by_key(|end| (end.seconds, end.nanos))
}

fn line_json(line: &proto::LineOfCredit) -> Value {
    json!({
        "creditor_id": line.creditor_id,
        "debtor_id": line.debtor_id,
        "offered": money_json(line.offered.as_ref()),
        "offer_until_time": time_json(line.offer_until_time.as_ref()),
        "accepted": money_json(line.accepted.as_ref()),
        "accept_until_time": time_json(line.accept_until_time.as_ref()),
        "drawn": money_json(line.drawn.as_ref()),
        "available": money_json(line.available.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_with_what_is_left_and_when_it_ends() {
        let cny = |minor| Some(proto::Money { currency_code: "CNY".to_owned(), minor });
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let line = proto::LineOfCredit {
            creditor_id: "aa".repeat(32),
            debtor_id: "bb".repeat(32),
            offered: cny(30_000),
            offer_until_time: at(1_777_653_005),
            accepted: cny(20_000),
            accept_until_time: at(1_777_653_000),
            drawn: cny(500),
            available: cny(19_500),
        };
        for (language, heading) in [(Language::En, "available"), (Language::Zh, "可用")] {
            let text = listed(std::slice::from_ref(&line), &Names::default(), language);
            assert!(text.contains(heading) && text.contains("195.00 CNY"), "{text}");
            assert!(text.contains("2026-05-01T16:30:00Z"), "the earlier of two ends: {text}");
        }
        assert_eq!(line_json(&line)["available"]["minor"], 19_500);
        let bare = proto::LineOfCredit { offered: None, offer_until_time: None, ..line };
        assert_eq!(line_json(&bare)["offered"], Value::Null);
    }
}
