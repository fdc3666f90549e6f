//! The shop's identity on disk: the secret seeds, the signed identity, and the recovery phrase on paper.

use std::fs;

use bip0039::{ChineseSimplified, English, Mnemonic};
use data_encoding::HEXLOWER;
use hutong_record::{
    DecryptionKey, Identity, IdentityError, KEY_EPOCH_MAX, RecoverySeed, SigningKey, Succession, UnixMillis,
    proto,
};
use hutong_store::ledger::EpochKeys;
use prost::Message as _;
use rand::{TryRng as _, rngs::SysRng};
use zeroize::Zeroizing;

use crate::{
    data_folder::{DataFolder, DataFolderError, Secrecy, read_secret, read_small, write_new},
    whole_file,
};

const KEY_FILE_TITLE: &str = "hutong-shop-key v1";
/// The title where keys of later epochs follow: a program that knows one epoch alone must not take it for less.
const KEY_FILE_TITLE_LATER: &str = "hutong-shop-key v2";
const LATER_KEYS: &str = "key-epoch";
const SIGNING_SEED: &str = "signing-seed";
const ENCRYPTION_SEED: &str = "encryption-seed";
const SEED_BYTES: usize = 32;

/// What a running node needs to act for its shop.
#[derive(Debug)]
pub struct Secrets {
    /// Signs records and handshakes.
    pub signing: SigningKey,
    /// Opens what is sealed to the shop.
    pub decryption: DecryptionKey,
    /// Who the shop is.
    pub identity: Identity,
    /// The keys of later epochs, from 1, without gaps.
    pub later: Vec<EpochKeys>,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// A file is missing, shared, damaged or cannot be read.
    #[error(transparent)]
    File(#[from] DataFolderError),
    /// `identity.bin` is not an identity.
    #[error("identity.bin is refused: {0}")]
    Identity(#[from] IdentityError),
    /// The seeds belong to another identity.
    #[error("shop.key and identity.bin belong to different shops: put back the two files of one backup")]
    Mismatch,
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes: {0}")]
    Random(String),
    /// The phrase is another shop's.
    #[error("these 24 words are another shop's")]
    OtherPhrase,
    /// There are as many epochs as there may be.
    #[error("this shop has gone through all its {KEY_EPOCH_MAX} key epochs: it needs a new identity")]
    LastEpoch,
}

/// The words of the phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhraseLanguage {
    /// English words.
    English,
    /// 简体中文, one character a word.
    ChineseSimplified,
}

/// Why words are not a recovery phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Ours have 24.
    #[error("a recovery phrase has 24 words, not {0}")]
    Words(usize),
    /// A word is not in the list, or one was misread: the check sum does not fit.
    #[error("the recovery phrase is not right: look for a misspelt or a swapped word")]
    Wrong,
}

/// A fresh seed from the operating system's randomness.
pub fn random_seed() -> Result<RecoverySeed, IdentityFileError> {
    let mut entropy = Zeroizing::new([0; SEED_BYTES]);
    SysRng.try_fill_bytes(&mut *entropy).map_err(|error| IdentityFileError::Random(error.to_string()))?;
    Ok(RecoverySeed::new(*entropy))
}

/// The seed as 24 words (BIP-39), to be written on paper.
pub fn phrase(seed: &RecoverySeed, language: PhraseLanguage) -> Zeroizing<String> {
    let entropy = seed.reveal().to_vec();
    let words = match language {
        PhraseLanguage::English => Mnemonic::<English>::from_entropy(entropy).map(Mnemonic::into_phrase),
        PhraseLanguage::ChineseSimplified => {
            Mnemonic::<ChineseSimplified>::from_entropy(entropy).map(Mnemonic::into_phrase)
        }
    };
    Zeroizing::new(words.expect("32 bytes are an entropy of 24 words"))
}

/// The seed behind 24 words, in whichever language they are.
pub fn seed_from_phrase(words: &str) -> Result<RecoverySeed, PhraseError> {
    let count = words.split_whitespace().count();
    if count != 24 {
        return Err(PhraseError::Words(count));
    }
    let joined = Zeroizing::new(words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
    let entropy = Mnemonic::<English>::from_phrase(joined.as_str())
        .map(Mnemonic::into_entropy)
        .or_else(|_| Mnemonic::<ChineseSimplified>::from_phrase(joined.as_str()).map(Mnemonic::into_entropy))
        .map_err(|_| PhraseError::Wrong)?;
    let entropy = Zeroizing::new(entropy);
    Ok(RecoverySeed::new(entropy.as_slice().try_into().map_err(|_| PhraseError::Wrong)?))
}

/// Makes the identity that grows from a seed and writes `identity.bin` and, last, `shop.key`.
pub fn create(data: &DataFolder, seed: &RecoverySeed, now: UnixMillis) -> Result<Secrets, IdentityFileError> {
    let identity = Identity::create(seed, now, &mut rand::rand_core::UnwrapErr(SysRng));
    write(data, seed, &identity, 0)
}

/// Writes `identity.bin` and, last, `shop.key`, for an identity that grew from the seed, with the keys of all epochs up to
/// `newest`.
pub fn write(
    data: &DataFolder,
    seed: &RecoverySeed,
    identity: &Identity,
    newest: u32,
) -> Result<Secrets, IdentityFileError> {
    let text = key_text(seed, identity, newest)?;
    write_new(&data.identity_file(), &identity.signed().encode_to_vec(), Secrecy::Plain)?;
    let written = write_new(&data.key_file(), text.as_bytes(), Secrecy::Secret);
    if written.is_err() {
        // Half an identity would only stand in the way of the next attempt.
        let _gone = fs::remove_file(data.identity_file());
    }
    written?;
    load(data)
}

/// Adds the keys of the next epoch, which grow from the phrase, to `shop.key`. Which epoch that is.
pub fn add_epoch(data: &DataFolder, seed: &RecoverySeed) -> Result<u32, IdentityFileError> {
    let secrets = load(data)?;
    let next = u32::try_from(secrets.later.len()).map_or(u32::MAX, |newest| newest.saturating_add(1));
    if next > KEY_EPOCH_MAX {
        return Err(IdentityFileError::LastEpoch);
    }
    let text = key_text(seed, &secrets.identity, next)?;
    let path = data.key_file();
    whole_file::replace(&path, text.as_bytes(), Secrecy::Secret)
        .map_err(|source| DataFolderError::Io { path, source })?;
    Ok(next)
}

/// What `shop.key` says. The phrase alone gives it, and the phrase itself is not in it.
fn key_text(
    seed: &RecoverySeed,
    identity: &Identity,
    newest: u32,
) -> Result<Zeroizing<String>, IdentityFileError> {
    let own = SigningKey::from_seed(&seed.signing_seed()).public();
    if own != *identity.signing_key() || seed.recovery_key_hash() != *identity.recovery_key_hash() {
        return Err(IdentityFileError::OtherPhrase);
    }
    let hex = |secret: Zeroizing<[u8; SEED_BYTES]>| Zeroizing::new(HEXLOWER.encode(&*secret));
    let title = if newest == 0 { KEY_FILE_TITLE } else { KEY_FILE_TITLE_LATER };
    let mut text = Zeroizing::new(format!(
        "{title}\n{SIGNING_SEED} {}\n{ENCRYPTION_SEED} {}\n",
        *hex(seed.signing_seed()),
        *hex(seed.encryption_seed())
    ));
    for epoch in 1..=newest {
        let succession = Succession::create(seed, identity, epoch).ok_or(IdentityFileError::LastEpoch)?;
        let signed = HEXLOWER.encode(&succession.signed().encode_to_vec());
        let (signing, encryption) = (hex(seed.signing_seed_of(epoch)), hex(seed.encryption_seed_of(epoch)));
        let line = Zeroizing::new(format!("{LATER_KEYS} {epoch} {} {} {signed}\n", *signing, *encryption));
        text = Zeroizing::new(format!("{}{}", *text, *line));
    }
    Ok(text)
}

/// Reads both files and checks that they fit together.
pub fn load(data: &DataFolder) -> Result<Secrets, IdentityFileError> {
    let (bytes, identity) = (read_secret(&data.key_file())?, load_identity(data)?);
    let damaged = |what| DataFolderError::Damaged { path: data.key_file(), what };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("not text"))?;
    let mut lines = text.lines();
    let has_later = match lines.next() {
        Some(KEY_FILE_TITLE) => false,
        Some(KEY_FILE_TITLE_LATER) => true,
        Some(title) if title.starts_with("hutong-shop-key ") => {
            return Err(damaged("written by another version of hutong").into());
        }
        _ => return Err(damaged("not a key file").into()),
    };
    let signing_seed = seed_line(lines.next(), SIGNING_SEED).ok_or_else(|| damaged("no signing seed"))?;
    let encryption_seed =
        seed_line(lines.next(), ENCRYPTION_SEED).ok_or_else(|| damaged("no encryption seed"))?;
    let mut later = Vec::new();
    for line in lines {
        let keys = later_line(line, &identity).ok_or_else(|| damaged("not the keys of an epoch"))?;
        if keys.succession.epoch() as usize != later.len() + 1 {
            return Err(damaged("a key epoch is missing").into());
        }
        later.push(keys);
    }
    if has_later == later.is_empty() {
        return Err(damaged("other lines than its title says").into());
    }
    let (signing, decryption) =
        (SigningKey::from_seed(&signing_seed), DecryptionKey::from_seed(&encryption_seed));
    if signing.public() != *identity.signing_key() || decryption.public() != identity.encryption_key() {
        return Err(IdentityFileError::Mismatch);
    }
    Ok(Secrets { signing, decryption, identity, later })
}

fn load_identity(data: &DataFolder) -> Result<Identity, IdentityFileError> {
    let damaged =
        || DataFolderError::Damaged { path: data.identity_file(), what: "not the message SignedIdentity" };
    let bytes = read_small(&data.identity_file())?;
    let signed = proto::SignedIdentity::decode(bytes.as_slice()).map_err(|_| damaged())?;
    Ok(Identity::verify(&signed)?)
}

/// The keys of a later epoch: number, both seeds, and the succession that belongs to them.
fn later_line(line: &str, identity: &Identity) -> Option<EpochKeys> {
    let mut words = line.strip_prefix(LATER_KEYS)?.strip_prefix(' ')?.split(' ');
    let epoch: u32 = words.next()?.parse().ok()?;
    let (signing, encryption) = (seed_of_hex(words.next()?)?, seed_of_hex(words.next()?)?);
    let signed = HEXLOWER.decode(words.next()?.as_bytes()).ok()?;
    let signed = proto::SignedKeySuccession::decode(signed.as_slice()).ok()?;
    let succession = Succession::verify(&signed, identity).ok()?;
    let (signing, decryption) = (SigningKey::from_seed(&signing), DecryptionKey::from_seed(&encryption));
    let fits = succession.epoch() == epoch
        && *succession.signing_key() == signing.public()
        && succession.encryption_key() == decryption.public();
    (fits && words.next().is_none()).then(|| EpochKeys { signing: signing.into(), decryption, succession })
}

fn seed_line(line: Option<&str>, name: &str) -> Option<Zeroizing<[u8; SEED_BYTES]>> {
    seed_of_hex(line?.strip_prefix(name)?.strip_prefix(' ')?)
}

fn seed_of_hex(hex: &str) -> Option<Zeroizing<[u8; SEED_BYTES]>> {
    let mut seed = Zeroizing::new([0; SEED_BYTES]);
    if hex.len() != 2 * SEED_BYTES {
        return None;
    }
    HEXLOWER.decode_mut(hex.as_bytes(), &mut *seed).ok()?;
    Some(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, DataFolder) {
        let temporary = tempfile::tempdir().unwrap();
        let data = DataFolder::new(temporary.path());
        (temporary, data)
    }

    #[test]
    fn an_identity_comes_back_as_it_was_made() {
        let (_temporary, data) = folder();
        let made = create(&data, &RecoverySeed::new([3; 32]), UnixMillis::EPOCH).unwrap();
        let loaded = load(&data).unwrap();
        assert_eq!(loaded.identity, made.identity);
        assert_eq!(loaded.signing.public(), made.signing.public());
        assert!(matches!(
            create(&data, &RecoverySeed::new([4; 32]), UnixMillis::EPOCH),
            Err(IdentityFileError::File(DataFolderError::Exists(_)))
        ));
    }

    #[test]
    fn every_added_epoch_comes_back_with_its_keys() {
        let (_temporary, data) = folder();
        let seed = RecoverySeed::new([3; 32]);
        create(&data, &seed, UnixMillis::EPOCH).unwrap();
        for epoch in 1..=3 {
            assert_eq!(add_epoch(&data, &seed).unwrap(), epoch);
            let loaded = load(&data).unwrap();
            assert_eq!(loaded.later.len(), epoch as usize);
            for (before, keys) in loaded.later.iter().enumerate() {
                let seed = seed.signing_seed_of(u32::try_from(before).unwrap() + 1);
                assert_eq!(keys.signing.public(), SigningKey::from_seed(&seed).public());
            }
        }
        let other = RecoverySeed::new([4; 32]);
        assert!(matches!(add_epoch(&data, &other), Err(IdentityFileError::OtherPhrase)));
        assert_eq!(load(&data).unwrap().later.len(), 3, "nothing was written");
        // The phrase alone brings the same file back.
        let before = fs::read(data.key_file()).unwrap();
        let (_again, again) = folder();
        write(&again, &seed, &load(&data).unwrap().identity, 3).unwrap();
        assert_eq!(fs::read(again.key_file()).unwrap(), before);
    }

    #[test]
    fn there_is_a_last_epoch() {
        let (_temporary, data) = folder();
        let seed = RecoverySeed::new([3; 32]);
        let identity = Identity::create(&seed, UnixMillis::EPOCH, &mut rand::rand_core::UnwrapErr(SysRng));
        write(&data, &seed, &identity, KEY_EPOCH_MAX).unwrap();
        assert!(matches!(add_epoch(&data, &seed), Err(IdentityFileError::LastEpoch)));
    }

    #[test]
    fn damaged_later_epochs_are_named_and_never_quoted() {
        let (_temporary, data) = folder();
        let seed = RecoverySeed::new([3; 32]);
        create(&data, &seed, UnixMillis::EPOCH).unwrap();
        add_epoch(&data, &seed).unwrap();
        add_epoch(&data, &seed).unwrap();
        let whole = fs::read_to_string(data.key_file()).unwrap();
        let lines: Vec<_> = whole.lines().collect();
        let secret = lines[3].split(' ').nth(2).unwrap().to_owned();
        let damages = [
            whole.replace(" v2", " v1"),
            whole.replace(" v2", " v3"),
            whole.replace("key-epoch 2", "key-epoch 3"),
            format!("{}\n{}\n{}\n{}\n", lines[0], lines[1], lines[2], lines[4]),
            format!("{}\n{}\n{}\n", lines[0], lines[1], lines[2]),
            whole.replace(&secret, lines[4].split(' ').nth(2).unwrap()),
            whole[..whole.len() - 9].to_owned(),
            format!("{whole}more\n"),
        ];
        for damaged in damages {
            fs::write(data.key_file(), &damaged).unwrap();
            let error = load(&data).unwrap_err();
            assert!(matches!(error, IdentityFileError::File(DataFolderError::Damaged { .. })), "{damaged}");
            assert!(!format!("{error:?} {error}").contains(&secret));
        }
    }

    #[test]
    fn files_of_two_shops_do_not_fit() {
        let (_temporary, data) = folder();
        create(&data, &RecoverySeed::new([3; 32]), UnixMillis::EPOCH).unwrap();
        let (_other, other) = folder();
        create(&other, &RecoverySeed::new([4; 32]), UnixMillis::EPOCH).unwrap();
        fs::copy(other.identity_file(), data.identity_file()).unwrap();
        assert!(matches!(load(&data), Err(IdentityFileError::Mismatch)));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let (_temporary, data) = folder();
        create(&data, &RecoverySeed::new([3; 32]), UnixMillis::EPOCH).unwrap();
        assert_eq!(fs::metadata(data.key_file()).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(data.key_file(), fs::Permissions::from_mode(0o644)).unwrap();
        let error = load(&data).unwrap_err();
        assert!(matches!(error, IdentityFileError::File(DataFolderError::Shared { mode: 0o644, .. })));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn damaged_key_files_are_named_and_never_quoted() {
        let (_temporary, data) = folder();
        create(&data, &RecoverySeed::new([3; 32]), UnixMillis::EPOCH).unwrap();
        let whole = fs::read_to_string(data.key_file()).unwrap();
        let secret = whole.lines().nth(1).unwrap().split(' ').nth(1).unwrap().to_owned();
        let damages = [
            whole.replace(" v1", " v2"),
            whole.replace(SIGNING_SEED, "seed"),
            whole[..whole.len() - 3].to_owned(),
            format!("{whole}more\n"),
            whole.to_uppercase(),
            String::new(),
        ];
        for damaged in damages {
            fs::write(data.key_file(), &damaged).unwrap();
            let error = load(&data).unwrap_err();
            assert!(matches!(error, IdentityFileError::File(DataFolderError::Damaged { .. })), "{damaged}");
            assert!(!format!("{error:?} {error}").contains(&secret));
        }
    }

    #[test]
    fn a_phrase_in_either_language_gives_the_seed_back() {
        let seed = random_seed().unwrap();
        for language in [PhraseLanguage::English, PhraseLanguage::ChineseSimplified] {
            let words = phrase(&seed, language);
            assert_eq!(words.split_whitespace().count(), 24);
            assert_eq!(seed_from_phrase(&words).unwrap().reveal(), seed.reveal());
        }
        let shouted = phrase(&seed, PhraseLanguage::English).to_uppercase().replace(' ', "\n  ");
        assert_eq!(seed_from_phrase(&shouted).unwrap().reveal(), seed.reveal());
    }

    #[test]
    fn a_wrong_phrase_is_refused() {
        let words = phrase(&RecoverySeed::new([0; 32]), PhraseLanguage::English);
        assert_eq!(seed_from_phrase("abandon ability").unwrap_err(), PhraseError::Words(2));
        let swapped = words.replacen("abandon", "zoo", 1);
        assert_eq!(seed_from_phrase(&swapped).unwrap_err(), PhraseError::Wrong);
        let misspelt = words.replacen("abandon", "abandonn", 1);
        assert_eq!(seed_from_phrase(&misspelt).unwrap_err(), PhraseError::Wrong);
    }
}
