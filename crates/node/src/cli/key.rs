//! `hutong key`: going over to new keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hutong_client::{Client, Language, proto};
use serde_json::json;

use super::{
    Globals,
    continuing::{self, ContinueArgs},
    output::Answer,
    override_key::{self, OverrideArgs},
    phrase,
    problem::Problem,
    session,
};
use crate::{
    clock,
    data_folder::{DataFolder, Note},
    identity_file,
};

/// `hutong key …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Go over to the keys of the next epoch; the ones before sign nothing any more.
    Rotate(RotateArgs),
    /// Go on with new keys after a place in the log, where the old ones were stolen; what they signed past it never counts.
    Override(OverrideArgs),
    /// Go on, as a new shop, for one whose log is closed for good; its phrase says so.
    Continue(ContinueArgs),
}

/// The words from which the keys grow.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  hutong key rotate --phrase-file -        then type the 24 words, and Ctrl-D

The next keys grow from the recovery phrase, so that it alone brings them back; whoever has a copy of the old key file
cannot come to them. The node need not stop: its next record in each alliance says that it has new keys, and allies that
were off learn it when they are called. Vouchers handed out before stay good. Back up anew after that: a backup from
before lacks the new keys (after restoring one, run this once for each rotation since).

A key that was stolen before can still sign what looks older than the rotation: `hutong key override` cuts it off.")]
pub(crate) struct RotateArgs {
    /// A file with the 24 words of the recovery phrase; -: standard input.
    #[arg(long, value_name = "FILE")]
    phrase_file: PathBuf,
}

pub(crate) async fn run(globals: &Globals, command: KeyCommand) -> anyhow::Result<Answer> {
    match command {
        KeyCommand::Rotate(args) => rotate(globals, &args).await,
        KeyCommand::Override(args) => override_key::run(globals, &args).await,
        KeyCommand::Continue(args) => continuing::run(globals, &args).await,
    }
}

async fn rotate(globals: &Globals, args: &RotateArgs) -> anyhow::Result<Answer> {
    let data = globals.data()?;
    let seed = identity_file::seed_from_phrase(&phrase::read(&args.phrase_file)?)?;
    let client = running(&data, globals.language()).await?;
    let epoch = match &client {
        // What was laid before and is not taken over yet comes first.
        Some(client) => match waiting(&data, client).await? {
            Some(epoch) => epoch,
            None => identity_file::add_epoch(&data, &seed)?,
        },
        None => identity_file::add_epoch(&data, &seed)?,
    };
    data.note(Note::Phrase, clock::now())?;
    let Some(client) = client else { return Ok(laid(globals, epoch)) };
    let taken = client.rotate_key(proto::RotateKeyRequest {}).await?;
    Ok(taken_over(globals, &taken))
}

/// The node of the folder, if it runs.
async fn running(data: &DataFolder, language: Language) -> anyhow::Result<Option<Client>> {
    match session::connect(data).await {
        Ok(client) => Ok(Some(client.with_language(language))),
        Err(error) if matches!(error.downcast_ref(), Some(Problem::NotRunning { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The newest epoch whose keys lie in the folder, where the node has not taken them over, or a log has not come to them.
async fn waiting(data: &DataFolder, client: &Client) -> anyhow::Result<Option<u32>> {
    let laid = u32::try_from(identity_file::load(data)?.later.len())?;
    let status = client.get_status(proto::GetStatusRequest {}).await?;
    let member = |alliance: &&proto::AllianceStatus| alliance.own_standing == "member";
    let behind = status.alliances.iter().filter(member).any(|alliance| alliance.key_epoch < laid);
    Ok((behind || status.key_epoch < laid).then_some(laid))
}

fn laid(globals: &Globals, epoch: u32) -> Answer {
    let text = match globals.language() {
        Language::En => {
            format!("the keys of epoch {epoch} are laid; the node goes over to them when it is started")
        }
        Language::Zh => format!("第 {epoch} 期密钥已写入；节点启动后换用"),
    };
    Answer::new(json!({ "key_epoch": epoch, "running": false }), text)
}

fn taken_over(globals: &Globals, taken: &proto::RotateKeyResponse) -> Answer {
    let epoch = taken.key_epoch;
    let behind = taken.alliances.iter().filter(|alliance| alliance.key_epoch < epoch).count();
    let alliances = taken.alliances.iter();
    let alliances: Vec<_> =
        alliances.map(|a| json!({ "alliance_id": a.alliance_id, "key_epoch": a.key_epoch })).collect();
    let json = json!({
        "key_epoch": epoch,
        "running": true,
        "alliances": alliances,
        "restart_needed": taken.restart_needed,
    });
    let zh = globals.language() == Language::Zh;
    let mut text = match (zh, behind) {
        (false, 0) => format!("this shop signs with its keys of epoch {epoch} now: back up anew"),
        (true, 0) => format!("本店现已使用第 {epoch} 期密钥：请重新备份"),
        (false, _) => format!(
            "the keys of epoch {epoch} are here; {behind} of the logs go over to them as soon as this shop may write there"
        ),
        (true, _) => format!("第 {epoch} 期密钥已就绪；有 {behind} 个联盟须待本店可以签发后换用"),
    };
    if taken.restart_needed {
        let restart = if zh {
            "\n请重新启动节点：之前收到的、以该密钥加密的记录要重新读取"
        } else {
            "\nrestart the node: what came sealed to these keys before is read then"
        };
        text.push_str(restart);
    }
    Answer::new(json, text)
}
