//! `hutong backup` and `hutong restore`.

use std::{
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use hutong_client::proto;
use hutong_core::invitation::InvitationLink;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Globals, output::Answer, problem::Problem, say, session::Session, show};
use crate::{
    alliance::AllianceFolder,
    backup::{self, Contents, Passphrase},
    clock,
    config::{Config, HostPort, Log, Merchant, Metrics, Peer, PeerListen, Shop, Storage, Tracing},
    data_folder::{DataFolder, Note},
    identity_file, recall,
};

/// Where to, and under which passphrase.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  hutong backup --output /media/usb/shop.age --passphrase-file passphrase.txt

The node need not stop. The file is encrypted in the age format and holds the shop's keys, its partner apps' tokens
(hashed) and its webhooks with their secrets: keep it, and keep the passphrase elsewhere. The owner's token and the audit
log are not in it. `hutong restore --backup FILE` brings it back.")]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// A file whose first line is the passphrase, at least 12 characters; -: standard input.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
}

/// From where.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hutong restore --backup /media/usb/shop.age --passphrase-file passphrase.txt --data /var/lib/hutong
  hutong restore --phrase-file words.txt --link hutong:join/… --name 张记包子

Where the shop did not trade without a line before its disk failed, so that allies have all that it signed:
  hutong restore --nothing-lost

After the folder was moved to another machine, by a shop that has nobody to ask:
  hutong restore --this-copy

With --phrase-file nothing is needed but the 24 words and an invitation link of any member (it is not used up).
Then run `hutong serve`. The node signs nothing until enough members have told how far this shop's log goes, and goes on
from there. Vouchers and numbers that it had before are not used, for what was signed last may be lost, until
--nothing-lost. Never run the old node again.")]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(long, value_name = "FILE", requires = "passphrase_file")]
    #[arg(required_unless_present_any = ["phrase_file", "this_copy", "nothing_lost"])]
    backup: Option<PathBuf>,
    /// A file whose first line is the backup's passphrase; -: standard input.
    #[arg(long, value_name = "FILE", requires = "backup")]
    passphrase_file: Option<PathBuf>,
    /// A file with the 24 words of the recovery phrase; -: standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "backup", requires = "link", requires = "name")]
    phrase_file: Option<PathBuf>,
    /// An invitation link that a member gave.
    #[arg(long, requires = "phrase_file")]
    link: Option<String>,
    /// How allies see the shop, where the alliance does not know it yet.
    #[arg(long, requires = "phrase_file")]
    name: Option<String>,
    /// Where other nodes connect; none: nowhere, it dials out only [default: 0.0.0.0:7710].
    #[arg(long, value_name = "ADDRESS:PORT", requires = "phrase_file")]
    peer_listen: Option<PeerListen>,
    /// Where tills and apps connect; this machine only [default: 127.0.0.1:7711].
    #[arg(long, value_name = "ADDRESS:PORT", requires = "phrase_file")]
    merchant_listen: Option<SocketAddr>,
    /// Declare the data folder, which was moved or copied here, to be the only one that counts: where nobody else is in
    /// the alliance, or no member will be reachable. The node must not run.
    #[arg(long, conflicts_with_all = ["backup", "phrase_file"])]
    this_copy: bool,
    /// Tell the running node that no record was lost: the shop signed nothing after its last contact with an ally. What
    /// was its own to use before, vouchers and numbers, it then uses again. If it is not true, a voucher may be used
    /// twice, at this shop's cost.
    #[arg(long, conflicts_with_all = ["backup", "phrase_file", "this_copy"])]
    nothing_lost: bool,
    /// Where other nodes find this one from outside; repeatable.
    #[arg(long, value_name = "HOST:PORT", requires = "phrase_file")]
    advertise: Vec<HostPort>,
}

pub(crate) fn backup(globals: &Globals, args: BackupArgs) -> anyhow::Result<Answer> {
    let data = globals.data()?;
    let passphrase = passphrase(&args.passphrase_file)?;
    let contents = backup::write(&data, &args.output, &passphrase)?;
    data.note(Note::Backup, clock::now())?;
    let written = format!(
        "{} {}",
        say(globals.language(), "written and read back:", "已写入并校验："),
        args.output.display()
    );
    Ok(answer(globals, &contents, &args.output, &written))
}

pub(crate) async fn restore(globals: &Globals, args: RestoreArgs) -> anyhow::Result<Answer> {
    if args.nothing_lost {
        return declare_nothing_lost(globals).await;
    }
    let data = globals.data()?;
    let restored =
        format!("{} {}", say(globals.language(), "restored to", "已恢复到"), data.path().display());
    let hint = say(
        globals.language(),
        "Next: `hutong serve`. It signs nothing until enough members have told how far this shop's log goes.\nNever run \
         the old node again.",
        "下一步：运行 `hutong serve`。在足够多的成员确认本店日志末端之前，它不会签发任何内容。\n切勿再运行旧节点。",
    );
    if let (Some(backup), Some(file)) = (&args.backup, &args.passphrase_file) {
        let contents = backup::restore(backup, &passphrase(file)?, &data)?;
        let apps = data.tokens_file().exists().then(|| {
            say(
                globals.language(),
                "\nPartner apps' tokens are as they were in the backup: one that was taken back since is in force again. \
                 Look\nthrough `hutong token list`, and take it back once more.",
                "\n合作应用的令牌恢复到了备份时的状态：此后吊销的令牌又会生效。\n请查看 `hutong token list`，并重新吊销。",
            )
        });
        let hint = format!("{hint}{}", apps.unwrap_or_default());
        return Ok(answer(globals, &contents, data.path(), &restored).hint(hint));
    }
    if args.this_copy {
        return trust_copy(globals, &data);
    }
    let (Some(words), Some(link)) = (&args.phrase_file, &args.link) else {
        return Err(Problem::Usage("name a --backup, or a --phrase-file and a --link".into()).into());
    };
    let seed = identity_file::seed_from_phrase(&read(words)?)?;
    let link = InvitationLink::parse(link)?;
    let identity = recall::restore(&data, &seed, link, &config(args)).await?;
    let json = json!({ "path": data.path(), "shop_id": identity.id().to_string() });
    Ok(Answer::new(json, format!("{restored}\n{}", identity.id())).hint(hint))
}

async fn declare_nothing_lost(globals: &Globals) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    let alliance_id = session.alliance_id.clone();
    session.client.declare_nothing_lost(proto::DeclareNothingLostRequest { alliance_id }).await?;
    let text = say(
        globals.language(),
        "vouchers and numbers from before are used again",
        "恢复之前的优惠券和券号已可重新使用",
    );
    Ok(Answer::new(json!({ "nothing_lost": true }), text))
}

fn trust_copy(globals: &Globals, data: &DataFolder) -> anyhow::Result<Answer> {
    let _lock = data.lock()?;
    let ids = data.alliance_ids()?;
    for id in &ids {
        AllianceFolder::new(data.alliance(*id)).trust_copy()?;
    }
    let text = say(
        globals.language(),
        "this copy counts from the next start; never run another one",
        "下次启动起以此副本为准；切勿再运行其他副本",
    );
    Ok(Answer::new(json!({ "path": data.path(), "alliances": ids.len() }), text))
}

fn config(args: RestoreArgs) -> Config {
    let (peer, merchant) = (Peer::default(), Merchant::default());
    Config {
        shop: Shop { name: args.name.unwrap_or_default(), category: String::new() },
        peer: Peer { listen: args.peer_listen.unwrap_or(peer.listen), advertise: args.advertise, ..peer },
        merchant: Merchant { listen: args.merchant_listen.unwrap_or(merchant.listen), ..merchant },
        storage: Storage::default(),
        metrics: Metrics::default(),
        tracing: Tracing::default(),
        log: Log::default(),
    }
}

fn answer(globals: &Globals, contents: &Contents, path: &Path, text: &str) -> Answer {
    let sizes = format!(
        "{} {}, {} {}, {}",
        contents.alliances,
        say(globals.language(), "alliances", "个联盟"),
        contents.files,
        say(globals.language(), "files", "个文件"),
        show::bytes(contents.bytes),
    );
    let json = json!({
        "path": path,
        "alliances": contents.alliances,
        "files": contents.files,
        "bytes": contents.bytes,
    });
    Answer::new(json, format!("{text}\n{sizes}"))
}

fn passphrase(file: &Path) -> anyhow::Result<Passphrase> {
    Ok(Passphrase::of(&read(file)?)?)
}

/// A secret from a file, or from standard input for `-`.
fn read(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
    } else {
        *text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    }
    Ok(text)
}
