//! `hutong check-phrase`: whether the words on paper are this shop's, before they are needed.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use hutong_client::Language;
use hutong_record::SigningKey;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Globals, output::Answer};
use crate::{
    clock,
    data_folder::{DataFolder, Note},
    identity_file,
};

/// More than 24 words take.
const PHRASE_BYTES_MAX: usize = 4_096;

/// The words.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  hutong check-phrase --phrase-file -        then type the 24 words, and Ctrl-D

Nothing is kept but the day on which it was done; `hutong doctor` asks for it once a year.")]
pub(crate) struct PhraseArgs {
    /// A file with the 24 words of the recovery phrase; -: standard input.
    #[arg(long, value_name = "FILE")]
    phrase_file: PathBuf,
}

/// The words are right, but another shop's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these 24 words are another shop's: do not throw them away, and look for this shop's")]
struct OtherShop;

pub(crate) fn run(globals: &Globals, args: &PhraseArgs) -> anyhow::Result<Answer> {
    let words = read(&args.phrase_file)?;
    check(&globals.data()?, &words)?;
    let text = match globals.language() {
        Language::En => "these are this shop's words: keep them where they were",
        Language::Zh => "这些是本店的恢复词：请放回原处保管",
    };
    Ok(Answer::new(json!({ "valid": true }), text))
}

fn check(data: &DataFolder, words: &str) -> anyhow::Result<()> {
    let secrets = identity_file::load(data)?;
    let seed = identity_file::seed_from_phrase(words)?;
    let own = SigningKey::from_seed(&seed.signing_seed()).public();
    let is_own = own == *secrets.identity.signing_key()
        && seed.recovery_key_hash() == *secrets.identity.recovery_key_hash();
    if !is_own {
        return Err(OtherShop.into());
    }
    Ok(data.note(Note::Phrase, clock::now())?)
}

pub(super) fn read(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(PHRASE_BYTES_MAX));
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(PHRASE_BYTES_MAX as u64).read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(PHRASE_BYTES_MAX as u64).read_to_string(&mut text))
    };
    read.with_context(|| file.display().to_string())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use hutong_record::{RecoverySeed, UnixMillis};

    use super::*;
    use crate::identity_file::{PhraseError, PhraseLanguage};

    #[test]
    fn only_this_shop_s_words_are_taken_for_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::new(folder.path());
        let seed = RecoverySeed::new([3; 32]);
        identity_file::create(&data, &seed, UnixMillis::EPOCH).unwrap();
        let other = identity_file::phrase(&RecoverySeed::new([4; 32]), PhraseLanguage::English);
        assert!(check(&data, &other).unwrap_err().is::<OtherShop>());
        assert!(check(&data, "one two").unwrap_err().is::<PhraseError>());
        assert_eq!(data.noted(Note::Phrase).unwrap(), None);
        for language in [PhraseLanguage::English, PhraseLanguage::ChineseSimplified] {
            check(&data, &identity_file::phrase(&seed, language)).unwrap();
        }
        assert!(data.noted(Note::Phrase).unwrap().is_some());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read(&PathBuf::from("/nowhere/words")).unwrap_err();
        assert!(format!("{error}").contains("/nowhere/words"));
    }
}
