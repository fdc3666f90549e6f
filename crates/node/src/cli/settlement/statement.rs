//! Statements: shown, signed, compared.

use clap::Subcommand;
use hutong_client::{Language, Timestamp, proto};
use serde_json::{Value, json};

use crate::cli::{
    output::{Answer, fields, table},
    problem::Problem,
    say,
    session::Session,
    show::{money, money_json, time, time_json, word},
    value,
};

/// `hutong settlement statement …`
#[derive(Debug, Subcommand)]
pub(crate) enum StatementCommand {
    /// How a statement stands; what this shop would sign now where nobody has.
    Show {
        /// Name or beginning of the id.
        ally: String,
        /// Which [default: the one after the last agreed].
        #[arg(long, default_value_t = 0)]
        number: u32,
        /// For what nobody has signed: the end of its period [default: the charter's latest].
        #[arg(long, value_parser = value::time)]
        end: Option<Timestamp>,
    },
    /// All statements with an ally.
    List {
        /// Name or beginning of the id.
        ally: String,
    },
    /// Sign the next statement with an ally.
    #[command(after_help = "Examples:
  hutong settlement statement sign 张记包子
  hutong settlement statement sign 张记包子 --end 2026-06-01T00:00:00+08:00")]
    Sign {
        /// Name or beginning of the id.
        ally: String,
        /// The end of its period [default: the ally's where it has signed, else the charter's latest].
        #[arg(long, value_parser = value::time)]
        end: Option<Timestamp>,
        /// List the lines of this day, YYYY-MM-DD, for comparing.
        #[arg(long, default_value = "")]
        list_day: String,
    },
    /// What differs between this shop's statement and the ally's, record by record.
    Compare {
        /// Name or beginning of the id.
        ally: String,
        /// Which [default: the one after the last agreed].
        #[arg(long, default_value_t = 0)]
        number: u32,
    },
}

pub(super) async fn statement(session: &Session, command: StatementCommand) -> anyhow::Result<Answer> {
    let alliance_id = session.alliance_id.clone();
    match command {
        StatementCommand::Show { ally, number, end } => {
            let ally_id = session.ally(&ally).await?;
            let request = proto::GetStatementRequest { alliance_id, ally_id, number, period_end_time: end };
            tell(session, session.client.get_statement(request).await?.statement).await
        }
        StatementCommand::List { ally } => {
            let ally_id = session.ally(&ally).await?;
            let all = session.client.all_statements(&alliance_id, &ally_id).await?;
            let header = ["number", "until", "state", "opening", "lines", "closing", "disputed"];
            let text = table(header, all.iter().map(statement_row).collect());
            Ok(Answer::new(all.iter().map(statement_json).collect(), text))
        }
        StatementCommand::Sign { ally, end, list_day } => {
            let [ally_id] = session.shops([ally.as_str()]).await?;
            let request =
                proto::SignStatementRequest { alliance_id, ally_id, period_end_time: end, list_day };
            tell(session, session.client.sign_statement(request).await?.statement).await
        }
        StatementCommand::Compare { ally, number } => {
            let ally_id = session.ally(&ally).await?;
            let request = proto::CompareStatementRequest { alliance_id, ally_id, number };
            Ok(differences(&session.client.compare_statement(request).await?, session.language))
        }
    }
}

async fn tell(session: &Session, statement: Option<proto::Statement>) -> anyhow::Result<Answer> {
    let statement = statement.ok_or(Problem::Answer("statement"))?;
    let names = session.names().await;
    let text = fields([
        ("ally", names.label(&statement.ally_id)),
        ("number", statement.number.to_string()),
        ("from", time(statement.period_start_time.as_ref())),
        ("until", time(statement.period_end_time.as_ref())),
        ("state", state(&statement)),
        ("carried over", money(statement.opening.as_ref())),
        ("lines", format!("{} ({})", money(statement.lines.as_ref()), statement.line_count)),
        ("corrections", money(statement.correction.as_ref())),
        ("owed to us", money(statement.closing.as_ref())),
        ("disputed", money(statement.disputed.as_ref())),
        ("digest", statement.digest.clone()),
    ]);
    let answer = Answer::new(statement_json(&statement), text);
    Ok(match statement.state() {
        proto::StatementState::Differs => answer.hint(session.say(
            "The ally signed something else: see `hutong settlement statement compare`.",
            "对方所签不同：见 `hutong settlement statement compare`。",
        )),
        proto::StatementState::Offered => answer.hint(
            session.say("The ally has signed; sign it, too, to agree.", "对方已签；本店也签即达成一致。"),
        ),
        _ => answer,
    })
}

fn state(statement: &proto::Statement) -> String {
    word(statement.state().as_str_name(), "STATEMENT_STATE_")
}

fn statement_row(statement: &proto::Statement) -> [String; 7] {
    [
        statement.number.to_string(),
        time(statement.period_end_time.as_ref()),
        state(statement),
        money(statement.opening.as_ref()),
        money(statement.lines.as_ref()),
        money(statement.closing.as_ref()),
        money(statement.disputed.as_ref()),
    ]
}

fn statement_json(statement: &proto::Statement) -> Value {
    json!({
        "ally_id": statement.ally_id,
        "number": statement.number,
        "period_start_time": time_json(statement.period_start_time.as_ref()),
        "period_end_time": time_json(statement.period_end_time.as_ref()),
        "state": state(statement),
        "opening": money_json(statement.opening.as_ref()),
        "lines": money_json(statement.lines.as_ref()),
        "line_count": statement.line_count,
        "correction": money_json(statement.correction.as_ref()),
        "closing": money_json(statement.closing.as_ref()),
        "disputed": money_json(statement.disputed.as_ref()),
        "lines_digest": statement.lines_digest,
        "digest": statement.digest,
        "own_record_id": statement.own_record_id,
        "ally_record_id": statement.ally_record_id,
    })
}

fn differences(found: &proto::CompareStatementResponse, language: Language) -> Answer {
    let say = |en: &'static str, zh: &'static str| say(language, en, zh);
    let line = |line: &proto::LineDifference| {
        json!({
            "record_id": line.record_id,
            "index": line.index,
            "own": money_json(line.own.as_ref()),
            "ally": money_json(line.ally.as_ref()),
        })
    };
    let json = json!({
        "equal": found.equal,
        "fields": found.fields,
        "lines": found.lines.iter().map(line).collect::<Vec<_>>(),
        "days": found.days,
    });
    if found.equal {
        return Answer::new(json, say("both have signed the same", "双方所签一致"));
    }
    let row = |line: &proto::LineDifference| {
        let own = |money_of: Option<&proto::Money>| money_of.map_or("-".to_owned(), |m| money(Some(m)));
        [line.record_id.clone(), own(line.own.as_ref()), own(line.ally.as_ref())]
    };
    let lines = table(["record", "ours", "theirs"], found.lines.iter().map(row).collect());
    let text = format!("{} {}\n\n{lines}", say("differ:", "不一致："), found.fields.join(", "));
    let answer = Answer::new(json, text);
    if found.days.is_empty() {
        return answer;
    }
    let days = found.days.join(", ");
    answer.hint(match language {
        Language::En => {
            format!("Days that differ: {days}. Have both sign again with --list-day to see their lines.")
        }
        Language::Zh => format!("不一致的日期：{days}。请双方加 --list-day 重签，即可看到当日明细。"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cny(minor: i64) -> Option<proto::Money> {
        Some(proto::Money { currency_code: "CNY".to_owned(), minor })
    }

    #[test]
    fn a_difference_names_the_record_and_the_days() {
        let found = proto::CompareStatementResponse {
            equal: false,
            fields: vec!["closing".to_owned()],
            lines: vec![proto::LineDifference {
                record_id: "ab".repeat(32),
                index: 0,
                own: cny(100),
                ally: None,
            }],
            days: vec!["2026-05-01".to_owned()],
        };
        let answer = differences(&found, Language::En);
        assert!(answer.text().contains(&"ab".repeat(32)) && answer.text().contains("1.00"));
        assert_eq!(answer.json()["lines"][0]["ally"], Value::Null);
        assert_eq!(answer.json()["days"][0], "2026-05-01");
    }
}
