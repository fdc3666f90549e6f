//! `hutong init`: keys, recovery phrase, configuration.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use hutong_client::Language;
use hutong_record::Identity;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Globals, output::Answer};
use crate::{
    clock,
    config::{Config, HostPort, Log, Merchant, Metrics, Peer, PeerListen, Shop, Storage, Tracing},
    data_folder::{DataFolder, Secrecy, write_new},
    format,
    identity_file::{self, PhraseLanguage},
};

/// Who the shop is, and where its node listens.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hutong init --name 张记包子 --category food
  hutong init --name Tea --category tea --advertise tea.example.com:7710 --data /var/lib/hutong

It prints 24 words, once. Write them on paper: they bring the shop back when this machine is lost, and whoever has
them is the shop.")]
pub(crate) struct InitArgs {
    /// How allies see the shop, 1 to 80 characters.
    #[arg(long)]
    name: String,
    /// Its trade, for example food, at most 40 characters.
    #[arg(long, default_value = "")]
    category: String,
    /// Where other nodes connect; none: nowhere, it dials out only [default: 0.0.0.0:7710].
    #[arg(long, value_name = "ADDRESS:PORT")]
    peer_listen: Option<PeerListen>,
    /// Where tills and apps connect; this machine only [default: 127.0.0.1:7711].
    #[arg(long, value_name = "ADDRESS:PORT")]
    merchant_listen: Option<SocketAddr>,
    /// Where metrics are told to collectors [default: 127.0.0.1:7712].
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Where other nodes find this one from outside; repeatable.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Vec<HostPort>,
}

pub(crate) fn run(globals: &Globals, args: InitArgs) -> anyhow::Result<Answer> {
    let data = globals.data()?;
    let language = match globals.language() {
        Language::Zh => PhraseLanguage::ChineseSimplified,
        Language::En => PhraseLanguage::English,
    };
    let (identity, phrase) = set_up(&data, &config(args), language)?;
    Ok(answer(&data, &identity, &phrase, globals.language()))
}

fn config(args: InitArgs) -> Config {
    let (peer, merchant, metrics) = (Peer::default(), Merchant::default(), Metrics::default());
    Config {
        shop: Shop { name: args.name, category: args.category },
        peer: Peer { listen: args.peer_listen.unwrap_or(peer.listen), advertise: args.advertise, ..peer },
        merchant: Merchant { listen: args.merchant_listen.unwrap_or(merchant.listen), ..merchant },
        storage: Storage::default(),
        metrics: Metrics { listen: args.metrics_listen.unwrap_or(metrics.listen), ..metrics },
        tracing: Tracing::default(),
        log: Log::default(),
    }
}

/// Makes everything or, where one step fails, leaves nothing. The key file comes last: with it the folder is set up.
fn set_up(
    data: &DataFolder,
    config: &Config,
    language: PhraseLanguage,
) -> anyhow::Result<(Identity, Zeroizing<String>)> {
    config.check()?;
    data.refuse_existing()?;
    data.create()?;
    let steps = || -> anyhow::Result<_> {
        write_new(&data.config_file(), config.to_toml().as_bytes(), Secrecy::Plain)?;
        data.create_token()?;
        let seed = identity_file::random_seed()?;
        let secrets = identity_file::create(data, &seed, clock::now())?;
        format::mark(data)?;
        Ok((secrets.identity, identity_file::phrase(&seed, language)))
    };
    let result = steps();
    if result.is_err() {
        for file in [data.config_file(), data.token_file()] {
            // The first failure is the one to tell.
            let _gone = fs::remove_file(file);
        }
    }
    result.with_context(|| format!("setting up {}", data.path().display()))
}

fn answer(data: &DataFolder, identity: &Identity, phrase: &str, language: Language) -> Answer {
    let say = |en, zh| match language {
        Language::En => en,
        Language::Zh => zh,
    };
    let folder: PathBuf = data.path().to_owned();
    let words: Vec<_> = phrase.split_whitespace().collect();
    let mut text = format!("shop    {}\nfolder  {}\n\n", identity.id(), folder.display());
    text.push_str(say(
        "Recovery phrase. Write it on paper now; it is not kept anywhere and will not be shown again:\n\n",
        "恢复词。请现在抄在纸上；它不会保存在任何地方，也不会再次显示：\n\n",
    ));
    for (row, words) in words.chunks(6).enumerate() {
        let numbered =
            words.iter().enumerate().map(|(column, word)| format!("{:>2} {word:<9}", row * 6 + column + 1));
        text.push_str(&format!("  {}\n", numbered.collect::<Vec<_>>().join(" ").trim_end()));
    }
    let json = json!({
        "shop_id": identity.id().to_string(),
        "data": folder,
        "config": data.config_file(),
        "recovery_phrase": phrase,
    });
    let config_file = data.config_file();
    Answer::new(json, text)
        .hint(say(
            "\nWho has these words is the shop. They bring it back when this machine is lost.",
            "\n谁有这些词，谁就是这家店。机器丢失时，靠它们找回门店。",
        ))
        .hint(format!("{} {}", say("Next: look through", "下一步：查看"), config_file.display()))
        .hint(say("then run `hutong serve`, and", "然后运行 `hutong serve`，再运行"))
        .hint("`hutong alliance create --name …` / `hutong alliance join LINK`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(name: &str) -> InitArgs {
        let (name, category) = (name.to_owned(), "food".to_owned());
        InitArgs {
            name,
            category,
            peer_listen: None,
            merchant_listen: None,
            metrics_listen: None,
            advertise: Vec::new(),
        }
    }

    #[test]
    fn init_makes_a_folder_that_loads_and_a_phrase_that_recovers() {
        let temporary = tempfile::tempdir().unwrap();
        let data = DataFolder::new(temporary.path().join("a/b"));
        let (identity, phrase) =
            set_up(&data, &config(args("张记包子")), PhraseLanguage::ChineseSimplified).unwrap();
        assert_eq!(identity_file::load(&data).unwrap().identity, identity);
        let seed = identity_file::seed_from_phrase(&phrase).unwrap();
        assert_eq!(seed.recovery_key_hash(), *identity.recovery_key_hash());
        assert_eq!(Config::load(&data.config_file()).unwrap().shop.name, "张记包子");
        data.read_token().unwrap();

        let answer = answer(&data, &identity, &phrase, Language::Zh);
        assert_eq!(answer.json()["shop_id"], identity.id().to_string());
        assert_eq!(answer.json()["recovery_phrase"].as_str().unwrap().split(' ').count(), 24);
    }

    #[test]
    fn a_second_init_changes_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let data = DataFolder::new(temporary.path());
        set_up(&data, &config(args("a")), PhraseLanguage::English).unwrap();
        let before = fs::read(data.key_file()).unwrap();
        assert!(set_up(&data, &config(args("b")), PhraseLanguage::English).is_err());
        assert_eq!(fs::read(data.key_file()).unwrap(), before);
    }

    #[test]
    fn a_bad_setting_leaves_no_folder() {
        let temporary = tempfile::tempdir().unwrap();
        let data = DataFolder::new(temporary.path().join("node"));
        assert!(set_up(&data, &config(args("")), PhraseLanguage::English).is_err());
        assert!(!data.path().exists());
    }
}
