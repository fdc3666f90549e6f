//! Signatures as Standard Webhooks (standardwebhooks.com, version 1.0.0) has them: HMAC-SHA256 over id, time and body.

use std::fmt;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hutong_core::refusal::Refusal;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::merchant::auth::random;

/// What the text of a secret begins with.
const PREFIX: &str = "whsec_";
/// The specification asks for 24 to 64.
const SECRET_BYTES: usize = 32;
const SECRET_BYTES_ALLOWED: std::ops::RangeInclusive<usize> = 24..=64;

/// What node and receiver share. Never shown but when it is made.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A fresh one.
    pub(super) fn fresh() -> Result<Self, Refusal> {
        Ok(Self(Zeroizing::new(random::<SECRET_BYTES>()?.to_vec())))
    }

    /// From its text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64.decode(text.strip_prefix(PREFIX)?.as_bytes()).ok()?);
        SECRET_BYTES_ALLOWED.contains(&bytes.len()).then_some(Self(bytes))
    }

    /// As receivers' libraries take it.
    pub(super) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", BASE64.encode(&self.0)))
    }

    /// The header webhook-signature of a message.
    pub(super) fn sign(&self, message_id: &str, unix_seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{message_id}.{unix_seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_reads_back_and_is_never_shown() {
        let secret = Secret::fresh().unwrap();
        let text = secret.text();
        assert_eq!(Secret::parse(&text).unwrap().sign("a", 1, b"b"), secret.sign("a", 1, b"b"));
        assert!(!format!("{secret:?}").contains(&text[PREFIX.len()..]));
        for bad in ["", "whsec_", "whsec_AAAA", &text[1..], "whsec_!", &format!("{}=", *text)] {
            assert!(Secret::parse(bad).is_none(), "{bad}");
        }
    }

    /// Made with Python: base64.b64encode(hmac.digest(bytes(range(32)), b'msg_1.1700000000.{"a":1}', "sha256")).
    #[test]
    fn signatures_are_those_of_another_implementation() {
        let secret = Secret(Zeroizing::new((0..32).collect()));
        let signed = secret.sign("msg_1", 1_700_000_000, br#"{"a":1}"#);
        assert_eq!(signed, "v1,AMaOha7DUT/0J0JMycRuYOBSvbx3WtwLd2khXXbaVj4=");
        assert_ne!(secret.sign("msg_1", 1_700_000_001, br#"{"a":1}"#), signed);
        assert_ne!(secret.sign("msg_2", 1_700_000_000, br#"{"a":1}"#), signed);
    }
}
