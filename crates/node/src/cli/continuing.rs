//! `hutong key continue`, and `hutong alliance join --continues`: this shop goes on for one whose log is closed for good.

use std::path::{Path, PathBuf};

use clap::Args;
use hutong_client::{Language, proto};
use hutong_record::{AllianceId, Continuation, ContinuationError, RecoverySeed, ShopId};
use prost::Message as _;
use serde_json::json;

use super::{Globals, output::Answer, phrase, problem::Problem, resolve::full_id, session::Session, show};
use crate::identity_file;

/// Of which shop, and its words.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  hutong key continue --of 老茶馆 --phrase-file -        then type the 24 words of the OLD shop, and Ctrl-D

A log that forked stays frozen, and one that was sealed stays closed: the shop comes back as a new one, from a new data
folder (`hutong init`), and joins like any other. To have the members see beforehand whom they vote on, join by
`hutong alliance join LINK --continues SHOP --phrase-file -`; this command says the same once the new shop is in.

Only the phrase of the old shop can say it. What allies and the old shop owe each other, each ally carries over to this one
by `hutong settlement carry-over`.")]
pub(crate) struct ContinueArgs {
    /// The shop whose log is closed: name or beginning of the id.
    #[arg(long, value_name = "SHOP")]
    of: String,
    /// A file with the 24 words of the old shop's recovery phrase; -: standard input.
    #[arg(long, value_name = "FILE")]
    phrase_file: PathBuf,
}

/// Who is said to continue whom when this shop asks to be let in.
#[derive(Debug, Args)]
pub(crate) struct JoinContinues {
    /// This shop continues one whose log is closed for good, by the full id of that one, 64 hexadecimal digits; the members
    /// see it before they vote.
    #[arg(long, value_name = "SHOP_ID", requires = "phrase_file", value_parser = old_shop)]
    continues: Option<ShopId>,
    /// With --continues: a file with the 24 words of the old shop's recovery phrase; -: standard input.
    #[arg(long, value_name = "FILE", requires = "continues")]
    phrase_file: Option<PathBuf>,
}

impl JoinContinues {
    /// The encoded continuation; empty: none.
    pub(crate) fn made(&self, globals: &Globals, alliance: AllianceId) -> anyhow::Result<Vec<u8>> {
        match (self.continues, &self.phrase_file) {
            (Some(old), Some(words)) => made(globals, alliance, old, words),
            _ => Ok(Vec::new()),
        }
    }
}

/// This node is not in yet, and has no list of members to look a name or a beginning up in.
fn old_shop(text: &str) -> Result<ShopId, String> {
    let wrong = || {
        "the full id is needed, 64 hexadecimal digits: `hutong status` tells it at the old shop, `hutong alliance members --json` \
         at any member"
            .to_owned()
    };
    full_id(text).and_then(|id| id.parse().ok()).ok_or_else(wrong)
}

/// The old shop's words never leave this process: what the node gets is what they signed.
fn made(globals: &Globals, alliance: AllianceId, old: ShopId, words: &Path) -> anyhow::Result<Vec<u8>> {
    let new = identity_file::load(&globals.data()?)?.identity.id();
    let seed = identity_file::seed_from_phrase(&phrase::read(words)?)?;
    Ok(order(&seed, alliance, old, new)?)
}

fn order(
    seed: &RecoverySeed,
    alliance: AllianceId,
    old: ShopId,
    new: ShopId,
) -> Result<Vec<u8>, ContinuationError> {
    Ok(Continuation::create(seed, alliance, old, new)?.signed().encode_to_vec())
}

pub(crate) async fn run(globals: &Globals, args: &ContinueArgs) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    let of = session.closed_shop(&args.of).await?;
    let old = of.parse().map_err(|_| Problem::Answer("shop_id"))?;
    let request = proto::GetAllianceRequest { alliance_id: session.alliance_id.clone(), read_mask: None };
    let alliance = session.client.get_alliance(request).await?.alliance.ok_or(Problem::Answer("alliance"))?;
    let id = alliance.id.parse().map_err(|_| Problem::Answer("alliance_id"))?;
    let continuation = made(globals, id, old, &args.phrase_file)?;
    let request = proto::ContinueShopRequest { alliance_id: alliance.id, continuation };
    let member = session.client.continue_shop(request).await?.member.ok_or(Problem::Answer("member"))?;
    let label = session.names().await.label(&of);
    let text = match globals.language() {
        Language::En => format!("this shop continues {label} now, whose log stays closed"),
        Language::Zh => format!("本店现已接续{label}，其日志保持封闭"),
    };
    Ok(Answer::new(json!({ "continues": of, "member": show::member_json(&member) }), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_to_the_node_says_who_continues_whom_and_holds_no_words() {
        let seed = RecoverySeed::new([5; 32]);
        let (alliance, old, new) = (AllianceId::new([1; 32]), ShopId::new([2; 32]), ShopId::new([3; 32]));
        let bytes = order(&seed, alliance, old, new).unwrap();
        let read = Continuation::read(&bytes).unwrap();
        assert_eq!((read.alliance(), read.old_shop(), read.new_shop()), (alliance, old, new));
        assert_eq!(*read.recovery_key_hash(), seed.recovery_key_hash());
        assert!(!bytes.windows(32).any(|part| part == seed.reveal()));
        assert_eq!(order(&seed, alliance, new, new), Err(ContinuationError::Itself));
    }

    #[test]
    fn a_shop_that_nobody_here_lists_is_named_by_its_full_id() {
        assert_eq!(old_shop(&"0A".repeat(32)), Ok(ShopId::new([10; 32])));
        for short in ["0a0a", "老茶馆", ""] {
            assert!(old_shop(short).unwrap_err().contains("full id"), "{short}");
        }
    }
}
