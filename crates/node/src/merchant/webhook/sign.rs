//! Signatures as Standard Webhooks (standardwebhooks.com, version 1.0.0) has them: HMAC-SHA256 over id, time and body.

use std::fmt;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hutong_core::refusal::Refusal;
use hutong_record::UnixMillis;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::merchant::auth::random;

/// What the text of a secret begins with.
const PREFIX: &str = "whsec_";
/// The specification asks for 24 to 64.
const SECRET_BYTES: usize = 32;
/// Older secrets that messages are signed with, too. Each makes the header longer by 48 characters.
const OLDER_MAX: usize = 3;
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

    /// One signature of a message, as the header webhook-signature has it.
    fn sign(&self, message_id: &str, unix_seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{message_id}.{unix_seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
    }
}

/// What messages to one receiver are signed with: the newest secret, and for a while older ones, too.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    pub(super) newest: Secret,
    /// Those before it, youngest first, and from when on each is worth nothing.
    pub(super) older: Vec<(Secret, UnixMillis)>,
}

impl Keyring {
    /// With one secret.
    pub(super) const fn new(newest: Secret) -> Self {
        Self { newest, older: Vec::new() }
    }

    /// With a new secret, while those before it go on until a moment at most.
    pub(super) fn rotated(&self, fresh: Secret, until: UnixMillis, now: UnixMillis) -> Self {
        let before = std::iter::once((self.newest.clone(), until));
        let before = before.chain(self.older.iter().map(|(secret, end)| (secret.clone(), (*end).min(until))));
        let older = before.filter(|(_, end)| *end > now).take(OLDER_MAX).collect();
        Self { newest: fresh, older }
    }

    /// When the last of the older secrets ends; nothing where none is used any more.
    pub(super) fn older_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.older.iter().map(|(_, end)| *end).filter(|end| *end > now).max()
    }

    /// The header webhook-signature of a message: a signature of each secret that is in use, the newest's first.
    pub(super) fn sign(&self, message_id: &str, at: UnixMillis, body: &[u8]) -> String {
        let older = self.older.iter().filter(|(_, end)| *end > at).map(|(secret, _)| secret);
        let sign = |secret: &Secret| secret.sign(message_id, at.ms() / 1_000, body);
        std::iter::once(&self.newest).chain(older).map(sign).collect::<Vec<_>>().join(" ")
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

    #[test]
    fn a_rotated_secret_signs_along_until_its_time_is_over() {
        let at = |ms: i64| UnixMillis::new(1_800_000_000_000 + ms).unwrap();
        let secrets: Vec<_> = (0..6).map(|n| Secret(Zeroizing::new(vec![n; 32]))).collect();
        let signed = |ring: &Keyring, ms| {
            let header = ring.sign("msg_1", at(ms), b"{}");
            header
                .split(' ')
                .map(|one| {
                    let by = |secret: &Secret| secret.sign("msg_1", at(ms).ms() / 1_000, b"{}") == one;
                    secrets.iter().position(by).unwrap()
                })
                .collect::<Vec<_>>()
        };
        let first = Keyring::new(secrets[0].clone());
        assert_eq!((signed(&first, 0), first.older_until(at(0))), (vec![0], None));
        let second = first.rotated(secrets[1].clone(), at(1_000), at(0));
        assert_eq!(
            (signed(&second, 0), signed(&second, 999), signed(&second, 1_000)),
            (vec![1, 0], vec![1, 0], vec![1])
        );
        assert_eq!((second.older_until(at(999)), second.older_until(at(1_000))), (Some(at(1_000)), None));
        // What is known to others ends with all before it.
        let at_once = second.rotated(secrets[2].clone(), at(500), at(500));
        assert_eq!(signed(&at_once, 500), [2]);
        // No more than so many, the youngest.
        let many = (2..6).fold(second, |ring, n| ring.rotated(secrets[n].clone(), at(10_000), at(1)));
        assert_eq!(signed(&many, 2), [5, 4, 3, 2]);
    }
}
