//! Channels: the posters, till receipts and group posts by which a shop sends customers to another one, and the text of
//! their QR codes.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use data_encoding::BASE32_NOPAD;
use hutong_record::{RecordId, ShopId, UnixMillis, proto};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::{
    bounds,
    evidence::CHANNEL_CHARS_MAX,
    refusal::Refusal,
    table,
    view::{Reader, ViewError},
    voucher::copy,
};

/// What the text of a channel's QR code begins with.
const PREFIX: &str = "HTC1:";
/// The longest link: three ids and a name of four bytes a character take 366.
const LINK_BYTES_MAX: usize = 400;

/// A way by which a shop sends customers to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// What it is called, once per shop.
    pub name: String,
    /// Where customers are sent.
    pub to: ShopId,
    /// What it advertises; none: the shop as such.
    pub promotion: Option<RecordId>,
    /// When it was noted.
    pub created: UnixMillis,
}

/// What a QR code says: a channel, and whose it is. Nothing in it is secret, and nothing is paid for it alone: a scan
/// counts once the channel's shop has signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelLink {
    /// Whose channel it is.
    pub shop: ShopId,
    /// The channel's name.
    pub name: String,
    /// Where it sends customers.
    pub to: ShopId,
    /// What it advertises.
    pub promotion: Option<RecordId>,
}

/// Checks a channel's name.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    bounds::text("name", name, 1..=CHANNEL_CHARS_MAX)
}

/// This shop's channel of a name.
pub fn load(view: &(impl Reader + ?Sized), name: &str) -> Result<Option<Channel>, ViewError> {
    table::read(view, &table::channel(name))
}

/// All channels of this shop, in the order of their names' bytes.
pub fn all(view: &(impl Reader + ?Sized)) -> Result<Vec<Channel>, ViewError> {
    table::collect(view, &[table::CHANNEL], table::decode)
}

impl Channel {
    pub(crate) fn parse(message: &proto::Channel, created: UnixMillis) -> Result<Self, Refusal> {
        check_name(&message.name)?;
        let to =
            ShopId::try_from(message.to_shop_id.as_ref()).map_err(|e| Refusal::field("to_shop_id", e))?;
        let promotion = match message.promotion_id.as_ref() {
            [] => None,
            id => Some(RecordId::try_from(id).map_err(|e| Refusal::field("promotion_id", e))?),
        };
        Ok(Self { name: message.name.clone(), to, promotion, created })
    }

    pub(crate) fn message(name: &str, to: ShopId, promotion: Option<RecordId>) -> proto::Channel {
        proto::Channel {
            name: name.to_string(),
            to_shop_id: copy(to.as_bytes()),
            promotion_id: promotion.map(|id| copy(id.as_bytes())).unwrap_or_default(),
        }
    }

    /// Its link.
    pub fn link(&self, shop: ShopId) -> ChannelLink {
        ChannelLink { shop, name: self.name.clone(), to: self.to, promotion: self.promotion }
    }
}

impl ChannelLink {
    /// Reads the text of a QR code; the refusal names the field `link`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = |why: &str| Refusal::field("link", why);
        let encoded = text.trim().strip_prefix(PREFIX).ok_or_else(|| wrong("is no channel's link"))?;
        if encoded.len() > LINK_BYTES_MAX * 8 / 5 {
            return Err(wrong("is too long"));
        }
        let torn = || wrong("was not copied whole");
        let bytes = BASE32_NOPAD.decode(encoded.as_bytes()).map_err(|_| torn())?;
        let (sum, bytes) = bytes.split_first_chunk::<4>().ok_or_else(torn)?;
        if *sum != checksum(bytes) {
            return Err(torn());
        }
        let message = proto::ChannelLink::decode(bytes).map_err(|_| torn())?;
        let shop = ShopId::try_from(message.shop_id.as_ref()).map_err(|_| torn())?;
        let channel = message.channel.ok_or_else(torn)?;
        let channel = Channel::parse(&channel, UnixMillis::EPOCH).map_err(|_| torn())?;
        Ok(Self { shop, name: channel.name, to: channel.to, promotion: channel.promotion })
    }

    /// Text of its QR code: upper-case alphanumeric, so that the code stays small.
    pub fn text(&self) -> String {
        let message = proto::ChannelLink {
            shop_id: copy(self.shop.as_bytes()),
            channel: Some(Channel::message(&self.name, self.to, self.promotion)),
        };
        let bytes = message.encode_to_vec();
        let whole = [checksum(&bytes).as_slice(), &bytes].concat();
        format!("{PREFIX}{}", BASE32_NOPAD.encode(&whole))
    }
}

/// Tells a text that was not copied whole.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let hash = blake3::derive_key("hutong 2026 v1 channel link", bytes);
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link(name: &str, promotion: Option<u8>) -> ChannelLink {
        let promotion = promotion.map(|n| RecordId::new([n; 32]));
        ChannelLink { shop: ShopId::new([1; 32]), name: name.into(), to: ShopId::new([2; 32]), promotion }
    }

    #[test]
    fn a_link_reads_back_as_it_was_written() {
        for link in [link("门口海报", None), link(&"群".repeat(64), Some(7))] {
            let text = link.text();
            assert!(
                text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b':'),
                "{text}"
            );
            assert_eq!(ChannelLink::parse(&text), Ok(link));
        }
    }

    #[test]
    fn what_is_no_link_or_not_whole_is_refused_with_the_field() {
        let good = link("门口海报", None).text();
        let torn = &good[..good.len() - 1];
        let mistyped = good.replacen('A', "B", 1);
        let long = format!("{PREFIX}{}", "A".repeat(100_000));
        for text in ["", "HT1:AAAA", "HTC1:", "HTC1:!", torn, &mistyped, &long] {
            assert_eq!(ChannelLink::parse(text).unwrap_err().fact("field"), Some("link"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in ".{0,200}", tail in "[A-Z2-7]{0,200}") {
            let prefixed = [PREFIX, &tail].concat();
            prop_assert!(ChannelLink::parse(&text).is_err());
            prop_assert!(ChannelLink::parse(&prefixed).is_err());
        }
    }
}
