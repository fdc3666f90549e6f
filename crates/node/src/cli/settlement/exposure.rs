//! How much allies may come to owe this shop.

use clap::Subcommand;
use hutong_client::proto;
use serde_json::json;

use crate::cli::{
    output::{Answer, table},
    problem::Problem,
    session::Session,
    show::{money, money_json, word},
    value,
};

/// `hutong settlement exposure …`
#[derive(Debug, Subcommand)]
pub(crate) enum ExposureCommand {
    /// Limit how much an ally may come to owe; a limit that is left out is taken off.
    #[command(after_help = "Examples:
  hutong settlement exposure set --warn 300.00 --stop 500.00
  hutong settlement exposure set --ally 张记包子 --stop 1000.00")]
    Set {
        /// Name or beginning of the id [default: all allies that have no limits of their own].
        #[arg(long, value_name = "SHOP")]
        ally: Option<String>,
        /// Above this there is a warning.
        #[arg(long, value_name = "MONEY")]
        warn: Option<value::MoneyArg>,
        /// Above this no voucher is handed out that makes the ally owe more.
        #[arg(long, value_name = "MONEY")]
        stop: Option<value::MoneyArg>,
    },
    /// Allies, their limits, and how they stand.
    List,
}

pub(super) async fn exposure(session: &Session, command: ExposureCommand) -> anyhow::Result<Answer> {
    let alliance_id = session.alliance_id.clone();
    let shown = match command {
        ExposureCommand::Set { ally, warn, stop } => {
            let ally_id = match ally.as_deref() {
                Some(ally) => session.ally(ally).await?,
                None => String::new(),
            };
            let (warn, stop) = (session.money(warn).await?, session.money(stop).await?);
            let request = proto::SetExposureRequest { alliance_id, ally_id, warn, stop };
            let set = session.client.set_exposure(request).await?.exposure;
            vec![set.ok_or(Problem::Answer("exposure"))?]
        }
        ExposureCommand::List => session.client.all_exposures(&alliance_id).await?,
    };
    let names = session.names().await;
    let level = |one: &proto::Exposure| word(one.state().as_str_name(), "EXPOSURE_STATE_");
    let row = |one: &proto::Exposure| {
        let is_all = one.ally_id.is_empty();
        let ally = if is_all { "all others".to_owned() } else { names.label(&one.ally_id) };
        let owed = if is_all { String::new() } else { money(one.owed.as_ref()) };
        [ally, owed, money(one.warn.as_ref()), money(one.stop.as_ref()), level(one)]
    };
    let json = |one: &proto::Exposure| {
        json!({
            "ally_id": one.ally_id,
            "owed": money_json(one.owed.as_ref()),
            "warn": money_json(one.warn.as_ref()),
            "stop": money_json(one.stop.as_ref()),
            "state": level(one),
        })
    };
    let text = table(["ally", "owes us", "warn", "stop", "state"], shown.iter().map(row).collect());
    Ok(Answer::new(shown.iter().map(json).collect(), text))
}
