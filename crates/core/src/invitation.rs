//! Invitation links: all that a shop needs to knock at an alliance's door, as one line of text.

use alloc::{format, string::String, vec::Vec};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use hutong_record::{Identity, PublicKey, ShopId, Signature, SigningKey, UnixMillis, proto};
use prost::Message as _;

use crate::{
    charter::Charter,
    command::{ADDRESS_BYTES_MAX, ADDRESSES_MAX},
    knock::Knock,
    refusal::Refusal,
};

const PREFIX: &str = "hutong:join/";
/// A link holds a charter of at most 8 KB, an identity and some addresses.
const ENCODED_BYTES_MAX: usize = 16 * 1_024;
/// Members besides the inviting shop whom a link names: one may be dark when the guest comes, and another on its way there.
/// Each adds some 90 characters to what has to fit a QR code.
pub const DOORS_MAX: usize = 3;
/// Addresses of each: one for the network that the guest is on, and one for all others.
pub const DOOR_ADDRESSES_MAX: usize = 2;

/// A member who lets the guest in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkDoor {
    /// What its peer port shows.
    pub key: PublicKey,
    /// Where that can be reached, host:port, 1 to [`DOOR_ADDRESSES_MAX`].
    pub addresses: Vec<String>,
}

/// A link whose charter and identity were checked. Whether it still opens a door, the inviting shop says.
pub struct InvitationLink {
    /// What the guest would join.
    pub charter: Charter,
    /// The inviting shop.
    pub inviter: Identity,
    /// Where it can be reached, host:port, at most [`ADDRESSES_MAX`]; none where there are doors.
    pub addresses: Vec<String>,
    /// Other members who let the guest in, at most [`DOORS_MAX`]; none: the inviting shop alone does.
    pub doors: Vec<LinkDoor>,
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
        let many = || wrong("has no address, or too many");
        if message.addresses.len() > ADDRESSES_MAX || !message.addresses.iter().all(|address| fits(address)) {
            return Err(many());
        }
        let doors = doors(message.doors)?;
        if message.addresses.is_empty() && doors.is_empty() {
            return Err(many());
        }
        Ok(Self {
            charter,
            inviter: inviter.map_err(|e| Refusal::field("link", e))?,
            addresses: message.addresses,
            doors,
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
            doors: self.doors.iter().map(LinkDoor::message).collect(),
            guest_secret: Bytes::copy_from_slice(&self.guest_seed),
            expires_unix_ms: self.expires.ms(),
        };
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&message.encode_to_vec()))
    }

    /// The key that the guest's connection must prove.
    pub fn guest_key(&self) -> SigningKey {
        SigningKey::from_seed(&self.guest_seed)
    }

    /// What the guest signs, to be brought in as this shop.
    pub fn knock(&self, shop: ShopId) -> Signature {
        let key = self.guest_key();
        let (alliance, inviter) = (self.charter.id, self.inviter.id());
        Knock { alliance, inviter, guest_key: *key.public().as_bytes(), shop }.sign(&key)
    }
}

impl LinkDoor {
    fn message(&self) -> proto::LinkDoor {
        let key = Bytes::copy_from_slice(self.key.as_bytes());
        proto::LinkDoor { key, addresses: self.addresses.clone() }
    }
}

fn fits(address: &str) -> bool {
    (1..=ADDRESS_BYTES_MAX).contains(&address.len())
}

fn doors(messages: Vec<proto::LinkDoor>) -> Result<Vec<LinkDoor>, Refusal> {
    let wrong = |why: &str| Refusal::field("link", why);
    if messages.len() > DOORS_MAX {
        return Err(wrong("names too many members"));
    }
    let door = |message: proto::LinkDoor| {
        let key = PublicKey::admit(&message.key).map_err(|e| Refusal::field("link", e))?;
        let counted = (1..=DOOR_ADDRESSES_MAX).contains(&message.addresses.len());
        if !counted || !message.addresses.iter().all(|address| fits(address)) {
            return Err(wrong("names a member with no address, or too many"));
        }
        Ok(LinkDoor { key, addresses: message.addresses })
    };
    messages.into_iter().map(door).collect()
}

#[cfg(test)]
mod tests {
    use hutong_record::RecoverySeed;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn link(addresses: usize, doors: usize) -> InvitationLink {
        let mut rng = StdRng::seed_from_u64(1);
        let inviter = Identity::create(&RecoverySeed::new([1; 32]), UnixMillis::EPOCH, &mut rng);
        let message = proto::Charter {
            name: "街坊".into(),
            currency_code: "CNY".into(),
            admission_votes: 1,
            removal_votes: 1,
            founder: Some(inviter.signed().clone()),
            salt: alloc::vec![0; 16].into(),
            ..Default::default()
        };
        let address = |n: usize| format!("192.0.2.{n}:7710");
        let door = |n: usize| LinkDoor {
            key: SigningKey::from_seed(&[u8::try_from(n).unwrap(); 32]).public(),
            addresses: [address(n)].into(),
        };
        InvitationLink {
            charter: Charter::write(&message).unwrap(),
            inviter,
            addresses: (0..addresses).map(address).collect(),
            doors: (0..doors).map(door).collect(),
            guest_seed: [3; 32],
            expires: UnixMillis::new(1_767_312_000_000).unwrap(),
        }
    }

    #[test]
    fn a_link_without_an_address_names_members_who_have_one() {
        let through = link(0, DOORS_MAX);
        let read = InvitationLink::parse(&through.text()).unwrap();
        assert_eq!((read.addresses, read.doors), (Vec::new(), through.doors.clone()));
        assert!(through.text().len() < 1_200, "{} characters for a QR code", through.text().len());
        // One that names nobody else reads and writes as links always did.
        let old = InvitationLink::parse(&link(2, 0).text()).unwrap();
        assert_eq!((old.addresses.len(), old.doors.len()), (2, 0));
    }

    #[test]
    fn links_with_too_many_addresses_or_doors_or_with_none_are_refused() {
        let refused = |link: &InvitationLink| {
            let refusal = InvitationLink::parse(&link.text()).err().expect("a refusal");
            assert_eq!(refusal.fact("field"), Some("link"), "{refusal}");
        };
        refused(&link(0, 0));
        refused(&link(ADDRESSES_MAX + 1, 0));
        refused(&link(1, DOORS_MAX + 1));
        let change = |change: fn(&mut LinkDoor)| {
            let mut link = link(0, 2);
            change(&mut link.doors[1]);
            link
        };
        refused(&change(|door| door.addresses.clear()));
        refused(&change(|door| door.addresses = alloc::vec!["a:1".into(); DOOR_ADDRESSES_MAX + 1]));
        refused(&change(|door| door.addresses = alloc::vec![String::new()]));
        refused(&change(|door| door.addresses = alloc::vec!["x".repeat(ADDRESS_BYTES_MAX + 1)]));
    }

    #[test]
    fn a_link_whose_door_has_a_weak_key_is_refused() {
        let text = link(0, 1).text();
        let bytes = BASE64URL_NOPAD.decode(text.strip_prefix(PREFIX).unwrap().as_bytes()).unwrap();
        for key in [alloc::vec![0; 32], alloc::vec![7; 31], Vec::new()] {
            let mut message = proto::InvitationLink::decode(bytes.as_slice()).unwrap();
            message.doors[0].key = key.into();
            let text = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&message.encode_to_vec()));
            assert_eq!(InvitationLink::parse(&text).err().unwrap().fact("field"), Some("link"));
        }
    }

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
