//! The shop's identity on disk: the secret seeds, the signed identity, and the recovery phrase on paper.

use std::fs;

use bip0039::{ChineseSimplified, English, Mnemonic};
use data_encoding::HEXLOWER;
use hutong_record::{DecryptionKey, Identity, IdentityError, RecoverySeed, SigningKey, UnixMillis, proto};
use prost::Message as _;
use rand::{TryRng as _, rngs::SysRng};
use zeroize::Zeroizing;

use crate::data_folder::{DataFolder, DataFolderError, Secrecy, read_secret, read_small, write_new};

const KEY_FILE_TITLE: &str = "hutong-shop-key v1";
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
    write(data, seed, &identity)
}

/// Writes `identity.bin` and, last, `shop.key`, for an identity that grew from the seed.
pub fn write(
    data: &DataFolder,
    seed: &RecoverySeed,
    identity: &Identity,
) -> Result<Secrets, IdentityFileError> {
    let identity = identity.clone();
    write_new(&data.identity_file(), &identity.signed().encode_to_vec(), Secrecy::Plain)?;
    let (signing_seed, encryption_seed) = (seed.signing_seed(), seed.encryption_seed());
    let signing_hex = Zeroizing::new(HEXLOWER.encode(&*signing_seed));
    let encryption_hex = Zeroizing::new(HEXLOWER.encode(&*encryption_seed));
    let text = Zeroizing::new(format!(
        "{KEY_FILE_TITLE}\n{SIGNING_SEED} {}\n{ENCRYPTION_SEED} {}\n",
        *signing_hex, *encryption_hex
    ));
    let written = write_new(&data.key_file(), text.as_bytes(), Secrecy::Secret);
    if written.is_err() {
        // Half an identity would only stand in the way of the next attempt.
        let _gone = fs::remove_file(data.identity_file());
    }
    written?;
    let (signing, decryption) =
        (SigningKey::from_seed(&signing_seed), DecryptionKey::from_seed(&encryption_seed));
    Ok(Secrets { signing, decryption, identity })
}

/// Reads both files and checks that they fit together.
pub fn load(data: &DataFolder) -> Result<Secrets, IdentityFileError> {
    let (signing, decryption) = load_keys(data)?;
    let damaged =
        || DataFolderError::Damaged { path: data.identity_file(), what: "not the message SignedIdentity" };
    let bytes = read_small(&data.identity_file())?;
    let signed = proto::SignedIdentity::decode(bytes.as_slice()).map_err(|_| damaged())?;
    let identity = Identity::verify(&signed)?;
    if signing.public() != *identity.signing_key() || decryption.public() != identity.encryption_key() {
        return Err(IdentityFileError::Mismatch);
    }
    Ok(Secrets { signing, decryption, identity })
}

fn load_keys(data: &DataFolder) -> Result<(SigningKey, DecryptionKey), DataFolderError> {
    let damaged = |what| DataFolderError::Damaged { path: data.key_file(), what };
    let bytes = read_secret(&data.key_file())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("not text"))?;
    let mut lines = text.lines();
    match lines.next() {
        Some(KEY_FILE_TITLE) => {}
        Some(title) if title.starts_with("hutong-shop-key ") => {
            return Err(damaged("written by another version of hutong"));
        }
        _ => return Err(damaged("not a key file")),
    }
    let signing_seed = seed_line(lines.next(), SIGNING_SEED).ok_or_else(|| damaged("no signing seed"))?;
    let encryption_seed =
        seed_line(lines.next(), ENCRYPTION_SEED).ok_or_else(|| damaged("no encryption seed"))?;
    if lines.next().is_some() {
        return Err(damaged("more lines than expected"));
    }
    Ok((SigningKey::from_seed(&signing_seed), DecryptionKey::from_seed(&encryption_seed)))
}

fn seed_line(line: Option<&str>, name: &str) -> Option<Zeroizing<[u8; SEED_BYTES]>> {
    let hex = line?.strip_prefix(name)?.strip_prefix(' ')?;
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
