//! The places that an invitation link names, each with whom a connection there must reach.

use hutong_core::invitation::InvitationLink;
use hutong_record::{Identity, proto::SignedIdentity};

use crate::{
    alliance::Bootstrap,
    transport::{KnownShop, Pin},
};

/// One address.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) pin: Pin,
    /// host:port.
    pub(crate) address: String,
    /// The inviting shop, where it is the one that is reached.
    inviter: Option<Identity>,
    /// All addresses of the same shop.
    addresses: Vec<String>,
}

/// The inviting shop's addresses, then those of other members: the first of each, then the second ones.
pub(crate) fn of(link: &InvitationLink) -> Vec<Route> {
    let own = link.addresses.iter().map(|address| Route {
        pin: KnownShop::new(link.inviter.clone()).into(),
        address: address.clone(),
        inviter: Some(link.inviter.clone()),
        addresses: link.addresses.clone(),
    });
    let mut doors: Vec<_> = link
        .doors
        .iter()
        .flat_map(|door| {
            door.addresses.iter().enumerate().map(|(place, address)| {
                let (pin, addresses) = (door.key.into(), door.addresses.clone());
                (place, Route { pin, address: address.clone(), inviter: None, addresses })
            })
        })
        .collect();
    doors.sort_by_key(|(place, _)| *place);
    own.chain(doors.into_iter().map(|(_, route)| route)).collect()
}

impl Route {
    /// The first peer of whoever was let in here. A member other than the inviting shop has told who it is, over a
    /// connection that showed the key which the link names.
    ///
    /// # Errors
    /// It did not, or what it told is no identity.
    pub(crate) fn bootstrap(&self, host: Option<&SignedIdentity>) -> Result<Bootstrap, String> {
        let inviter = match (&self.inviter, host) {
            (Some(inviter), _) => inviter.clone(),
            (None, Some(host)) => Identity::verify(host).map_err(|error| error.to_string())?,
            (None, None) => return Err("the member did not tell who it is".into()),
        };
        Ok(Bootstrap { inviter, addresses: self.addresses.clone() })
    }
}

#[cfg(test)]
mod tests {
    use hutong_core::{charter::Charter, invitation::LinkDoor};
    use hutong_record::{RecoverySeed, SigningKey, UnixMillis, proto};

    use super::*;

    fn identity(seed: u8) -> Identity {
        let mut rng = rand::rand_core::UnwrapErr(rand::rngs::SysRng);
        Identity::create(&RecoverySeed::new([seed; 32]), UnixMillis::EPOCH, &mut rng)
    }

    fn link(addresses: &[&str], doors: &[(u8, &[&str])]) -> InvitationLink {
        let inviter = identity(1);
        let message = proto::Charter {
            name: "街坊".into(),
            currency_code: "CNY".into(),
            admission_votes: 1,
            removal_votes: 1,
            founder: Some(inviter.signed().clone()),
            salt: vec![0; 16].into(),
            ..Default::default()
        };
        let texts = |addresses: &[&str]| addresses.iter().map(|&address| address.to_owned()).collect();
        let door = |(seed, addresses): &(u8, &[&str])| LinkDoor {
            key: SigningKey::from_seed(&[*seed; 32]).public(),
            addresses: texts(addresses),
        };
        InvitationLink {
            charter: Charter::write(&message).unwrap(),
            inviter,
            addresses: texts(addresses),
            doors: doors.iter().map(door).collect(),
            guest_seed: [3; 32],
            expires: UnixMillis::EPOCH,
        }
    }

    #[test]
    fn each_member_is_tried_before_anyone_s_second_address() {
        let link = link(&["a:1", "a:2"], &[(1, &["b:1", "b:2"]), (2, &["c:1"])]);
        let routes: Vec<_> = of(&link).into_iter().map(|route| route.address).collect();
        assert_eq!(routes, ["a:1", "a:2", "b:1", "c:1", "b:2"]);
    }

    #[test]
    fn the_first_peer_is_whoever_let_the_guest_in() {
        let link = link(&["a:1"], &[(1, &["b:1", "b:2"])]);
        let (routes, member) = (of(&link), identity(2));
        let by_inviter = routes[0].bootstrap(None).unwrap();
        assert_eq!(
            (by_inviter.inviter, by_inviter.addresses),
            (link.inviter.clone(), link.addresses.clone())
        );
        let by_member = routes[1].bootstrap(Some(member.signed())).unwrap();
        assert_eq!((by_member.inviter, by_member.addresses.len()), (member.clone(), 2));
        assert!(routes[1].bootstrap(None).is_err(), "it did not say who it is");
        let mut forged = member.signed().clone();
        forged.signature = vec![0; 64].into();
        assert!(routes[1].bootstrap(Some(&forged)).is_err());
    }
}
