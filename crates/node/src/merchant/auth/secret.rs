//! What a caller shows: `ht1_`, the token's id, and 256 random bits. The node keeps a hash of it.

use std::{fmt, str::FromStr};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hutong_core::refusal::Refusal;
use rand::{TryRng as _, rngs::SysRng};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::alliance::internal;

/// What the text of a token of this form begins with.
const PREFIX: &str = "ht1_";
/// Far beyond what can be guessed.
const SECRET_BYTES: usize = 32;
const ID_BYTES: usize = 8;
/// Keeps these hashes apart from all other uses of the hash.
const HASH_CONTEXT: &str = "hutong merchant token v1";
const ROOT_CONTEXT: &str = "hutong merchant token by request v1";

/// Names a token; no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct TokenId(u64);

impl TokenId {
    /// A fresh one.
    pub(crate) fn random() -> Result<Self, Refusal> {
        Ok(Self(u64::from_be_bytes(random::<ID_BYTES>()?)))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Not 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 16 hex digits")]
pub(crate) struct TokenIdError;

impl FromStr for TokenId {
    type Err = TokenIdError;

    fn from_str(text: &str) -> Result<Self, TokenIdError> {
        let bytes = HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).map_err(|_| TokenIdError)?;
        Ok(Self(u64::from_be_bytes(bytes.try_into().map_err(|_| TokenIdError)?)))
    }
}

impl TryFrom<String> for TokenId {
    type Error = TokenIdError;

    fn try_from(text: String) -> Result<Self, TokenIdError> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.to_string()
    }
}

/// What the node keeps of a token's text. Compared in constant time. A slow hash would add nothing: the text has 256
/// random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenHash(blake3::Hash);

impl TokenHash {
    /// Of a whole text.
    pub(crate) fn of(text: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(HASH_CONTEXT).update(text.as_bytes()).finalize())
    }

    /// As stored.
    pub(crate) fn to_hex(self) -> String {
        self.0.to_hex().to_string()
    }

    /// From what [`Self::to_hex`] wrote.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(Self)
    }
}

/// A fresh text for a token.
pub(crate) fn fresh(id: TokenId) -> Result<Zeroizing<String>, Refusal> {
    let secret = Zeroizing::new(random::<SECRET_BYTES>()?);
    Ok(text(id, &secret))
}

fn text(id: TokenId, secret: &[u8; SECRET_BYTES]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(BASE64URL_NOPAD.encode(secret));
    Zeroizing::new(format!("{PREFIX}{id}_{}", *encoded))
}

/// What the texts of tokens grow from that must be told again to whoever repeats the request for one. It grows from the
/// owner's own token, which opens more than any of them.
#[derive(Clone)]
pub(crate) struct Root(Zeroizing<[u8; SECRET_BYTES]>);

/// Told apart by it; no secret.
pub(crate) type Salt = [u8; 16];

impl Root {
    /// Of the owner's token.
    pub(crate) fn of(owner_token: &str) -> Self {
        Self(Zeroizing::new(blake3::derive_key(ROOT_CONTEXT, owner_token.as_bytes())))
    }

    /// The text of a token, the same whenever it is asked for.
    pub(crate) fn grow(&self, id: TokenId, salt: &Salt) -> Zeroizing<String> {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(id.to_string().as_bytes()).update(salt);
        text(id, &Zeroizing::new(*hasher.finalize().as_bytes()))
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root(..)")
    }
}

/// The token that a text claims to be, if it has the form of one.
pub(crate) fn id_of(text: &str) -> Option<TokenId> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    (secret.len() == BASE64URL_NOPAD.encode_len(SECRET_BYTES)).then_some(())?;
    id.parse().ok()
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| internal(&error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_its_token_and_differs_each_time() {
        let id = TokenId::random().unwrap();
        let (text, other) = (fresh(id).unwrap(), fresh(id).unwrap());
        assert_eq!(id_of(&text), Some(id));
        assert_ne!(*text, *other);
        assert_ne!(TokenHash::of(&text), TokenHash::of(&other));
        assert_eq!(TokenHash::from_hex(&TokenHash::of(&text).to_hex()), Some(TokenHash::of(&text)));
        assert_eq!(text.len(), 4 + 16 + 1 + 43);
    }

    #[test]
    fn a_grown_text_comes_again_and_no_other_does() {
        let (root, other) = (Root::of("owner"), Root::of("another owner"));
        let text = root.grow(TokenId(7), &[1; 16]);
        assert_eq!((id_of(&text), &*root.grow(TokenId(7), &[1; 16])), (Some(TokenId(7)), &*text));
        for different in [
            root.grow(TokenId(7), &[2; 16]),
            root.grow(TokenId(8), &[1; 16]),
            other.grow(TokenId(7), &[1; 16]),
        ] {
            assert_ne!(*different, *text);
        }
        assert_eq!(format!("{root:?}"), "Root(..)");
    }

    #[test]
    fn what_has_another_form_names_none() {
        let text = fresh(TokenId(7)).unwrap();
        let long = format!("{}x", *text);
        for bad in ["", "ht1_", "ht1__", &text[1..], &text[..text.len() - 1], &long, "ht1_00_x"] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
        for bad in ["", "7", "0000000000000g07", "00000000000000070"] {
            assert_eq!(bad.parse::<TokenId>(), Err(TokenIdError), "{bad}");
        }
    }
}
