//! Invitation links: all that a shop needs to knock at an alliance's door, as one line of text.

use alloc::{format, string::String, vec::Vec};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use hutong_record::{Identity, SigningKey, UnixMillis, proto};
use prost::Message as _;

use crate::{
    charter::Charter,
    command::{ADDRESS_BYTES_MAX, ADDRESSES_MAX},
    refusal::Refusal,
};

const PREFIX: &str = "hutong:join/";
/// A link holds a charter of at most 8 KB, an identity and some addresses.
const ENCODED_BYTES_MAX: usize = 16 * 1_024;

/// A link whose charter and identity were checked. Whether it still opens a door, the inviting shop says.
pub struct InvitationLink {
    /// What the guest would join.
    pub charter: Charter,
    /// The inviting shop.
    pub inviter: Identity,
    /// Where it can be reached, host:port, 1 to [`ADDRESSES_MAX`].
    pub addresses: Vec<String>,
    /// Seed of the key that the guest's connection must prove.
    pub guest_seed: [u8; 32],
    /// Good before this moment.
    pub expires: UnixMillis,
}

impl InvitationLink {
    /// Reads a link that somebody pasted; the refusal names the field `link`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = |why: &str| Refusal::field("link", why);
        let encoded = text.trim().strip_prefix(PREFIX).ok_or_else(|| wrong("is not an invitation link"))?;
        if encoded.len() > ENCODED_BYTES_MAX {
            return Err(wrong("is too long"));
        }
        let torn = || wrong("was not copied whole");
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| torn())?;
        let message = proto::InvitationLink::decode(bytes.as_slice()).map_err(|_| torn())?;
        let charter = Charter::parse(message.charter).map_err(|e| Refusal::field("link", e))?;
        let inviter = Identity::verify(&message.inviter.ok_or_else(|| wrong("names no shop"))?);
        let fits = |address: &String| (1..=ADDRESS_BYTES_MAX).contains(&address.len());
        if !(1..=ADDRESSES_MAX).contains(&message.addresses.len()) || !message.addresses.iter().all(fits) {
            return Err(wrong("has no address, or too many"));
        }
        Ok(Self {
            charter,
            inviter: inviter.map_err(|e| Refusal::field("link", e))?,
            addresses: message.addresses,
            guest_seed: message.guest_secret.as_ref().try_into().map_err(|_| torn())?,
            expires: UnixMillis::new(message.expires_unix_ms).map_err(|e| Refusal::field("link", e))?,
        })
    }

    /// As it is handed over.
    pub fn text(&self) -> String {
        let message = proto::InvitationLink {
            charter: self.charter.bytes().clone(),
            inviter: Some(self.inviter.signed().clone()),
            addresses: self.addresses.clone(),
            guest_secret: Bytes::copy_from_slice(&self.guest_seed),
            expires_unix_ms: self.expires.ms(),
        };
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&message.encode_to_vec()))
    }

    /// The key that the guest's connection must prove.
    pub fn guest_key(&self) -> SigningKey {
        SigningKey::from_seed(&self.guest_seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_no_links_are_refused_with_the_field() {
        let prefixed = |rest: &str| format!("{PREFIX}{rest}");
        for text in
            ["", "https://example.com", &prefixed("%%%"), &prefixed("AAAA"), &prefixed(&"A".repeat(20_000))]
        {
            let refusal = InvitationLink::parse(text).err().expect("no link");
            assert_eq!(refusal.fact("field"), Some("link"), "{text}: {refusal}");
        }
    }
}
