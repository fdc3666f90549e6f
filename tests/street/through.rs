//! Joining by the link of a shop that nobody can call: through members whom it names.

use data_encoding::BASE64URL_NOPAD;
use hutong_record::{SigningKey, proto as record};
use hutong_wire::peer::v1::{JoinRequest, join_service_client::JoinServiceClient};
use prost::Message as _;

use crate::{
    harness::{Reach, Shop, Street, converged, soon, until},
    peer::dial,
    trade::{publish, terms},
};

/// A link of a shop without an address, once it knows those of these members.
async fn invite(shop: &Shop, members: &[&Shop], arguments: &[&str]) -> (String, Vec<String>) {
    let client = shop.client().await;
    until("their addresses are known", async || {
        let known = client.all_members("").await.expect("members");
        let told = |member: &&Shop| known.iter().any(|m| m.shop_id == member.id() && !m.addresses.is_empty());
        members.iter().all(told).then_some(())
    })
    .await;
    until("one of them is connected", async || {
        for member in members {
            if shop.link_to(member).await.connected {
                return Some(());
            }
        }
        None
    })
    .await;
    let made = shop.cli(&[&["alliance", "invite"], arguments].concat());
    let through = made["through"].as_array().expect("members").iter();
    let through = through.map(|address| address.as_str().expect("an address").to_owned()).collect();
    (made["link"].as_str().expect("a link").to_owned(), through)
}

/// A shop behind NAT that votes, and members with an address: the founder, and maybe another.
async fn behind_nat(street: &Street) -> (Shop, Shop) {
    let baozi = street.shop("baozi").await;
    baozi.found("street");
    let mut behind = street.init("behind", Reach::DialsOut);
    behind.serve().await;
    let link = baozi.cli(&["alliance", "invite", "--core"]);
    assert_eq!(link["through"].as_array().map(Vec::len), Some(0), "it has an address of its own");
    behind.cli(&["alliance", "join", link["link"].as_str().expect("a link")]);
    converged(&[&baozi, &behind]).await;
    (baozi, behind)
}

/// Joins, and sees that it is in.
async fn join(guest: &Shop, link: &str) {
    guest.cli(&["alliance", "join", link]);
    until("the guest is a member", async || {
        (guest.cli(&["alliance", "show"])["own_state"] == "member").then_some(())
    })
    .await;
}

async fn guest(street: &Street, name: &str) -> Shop {
    let mut guest = street.init(name, Reach::DialsOut);
    guest.serve().await;
    guest
}

fn member_state(at: &Shop, shop: &Shop) -> Option<String> {
    let members = at.cli(&["alliance", "members"]);
    let found = members.as_array()?.iter().find(|member| member["shop_id"] == shop.id().as_str())?;
    found["state"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_joins_through_a_member_by_the_link_of_a_shop_without_an_address() {
    let street = Street::new();
    let (baozi, behind) = behind_nat(&street).await;
    let (link, through) = invite(&behind, &[&baozi], &["--note", "茶馆"]).await;
    assert_eq!(through, [baozi.peer().to_string()]);
    let (first, second) = (guest(&street, "first").await, guest(&street, "second").await);
    join(&first, &link).await;
    converged(&[&baozi, &behind, &first]).await;
    assert_eq!(member_state(&behind, &first).as_deref(), Some("member"));
    // What the guest publishes comes to the shop that invited it, though neither can call the other.
    publish(&first, terms(&baozi, &first, 10)).await;
    converged(&[&baozi, &behind, &first]).await;
    assert_eq!(second.refused(&["alliance", "join", &link]), "INVITATION_INVALID");
    assert_eq!(member_state(&baozi, &second), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_joins_while_the_inviter_is_off_and_a_member_of_the_link_is_dark() {
    let street = Street::new();
    let (mut baozi, mut behind) = behind_nat(&street).await;
    let mut teahouse = street.shop("teahouse").await;
    baozi.admit(&teahouse).await;
    converged(&[&baozi, &behind, &teahouse]).await;
    let (link, through) = invite(&behind, &[&baozi, &teahouse], &[]).await;
    assert_eq!(through.len(), 2);
    converged(&[&baozi, &behind, &teahouse]).await;
    behind.stop().await;
    // The member that the link names first is dark.
    let dark = if through[0] == baozi.peer().to_string() { &mut baozi } else { &mut teahouse };
    dark.stop().await;
    let guest = guest(&street, "guest").await;
    join(&guest, &link).await;
    dark.serve().await;
    behind.serve().await;
    converged(&[&baozi, &behind, &teahouse, &guest]).await;
    assert_eq!(member_state(&behind, &guest).as_deref(), Some("member"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_leads_nowhere_is_not_made_and_one_whose_members_are_dark_says_so() {
    let street = Street::new();
    let mut alone = street.init("alone", Reach::DialsOut);
    alone.serve().await;
    alone.found("nowhere");
    assert_eq!(alone.refused(&["alliance", "invite"]), "ADDRESS_UNKNOWN");
    let (mut baozi, behind) = behind_nat(&street).await;
    let (link, _) = invite(&behind, &[&baozi], &[]).await;
    baozi.stop().await;
    let guest = guest(&street, "guest").await;
    assert_eq!(guest.refused(&["alliance", "join", &link]), "INVITER_UNREACHABLE");
    assert!(guest.cli(&["alliance", "list"]).as_array().unwrap().is_empty(), "nothing is left behind");
    baozi.serve().await;
    join(&guest, &link).await;
}

/// Whoever holds the link, and speaks the protocol by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_brings_nobody_whose_word_the_invitation_s_key_did_not_sign() {
    let street = Street::new();
    let (baozi, behind) = behind_nat(&street).await;
    let (link, _) = invite(&behind, &[&baozi], &[]).await;
    converged(&[&baozi, &behind]).await;
    let bytes = BASE64URL_NOPAD.decode(link.strip_prefix("hutong:join/").unwrap().as_bytes()).unwrap();
    let parsed = record::InvitationLink::decode(bytes.as_slice()).unwrap();
    let guest_key = SigningKey::from_seed(parsed.guest_secret.as_ref().try_into().unwrap());
    let guest = guest(&street, "guest").await;
    let identity = guest.secrets().identity;
    let channel = dial(guest_key, &baozi).await.expect("the invitation lets it knock");
    let ours = hutong_core::invitation::InvitationLink::parse(&link).unwrap();
    let request = |signature: Vec<u8>, inviter: &Shop| JoinRequest {
        alliance_id: ours.charter.id.as_bytes().to_vec().into(),
        identity: Some(identity.signed().clone()),
        inviter_id: inviter.secrets().identity.id().as_bytes().to_vec().into(),
        guest_signature: signature.into(),
        continuation: None,
    };
    let forged = ours.knock(baozi.secrets().identity.id()).to_vec();
    let unnamed =
        JoinRequest { inviter_id: Vec::new().into(), ..request(ours.knock(identity.id()).to_vec(), &behind) };
    for bad in [request(forged, &behind), request(Vec::new(), &behind), request(vec![1; 64], &baozi), unnamed]
    {
        let refused = soon("an answer", JoinServiceClient::new(channel.clone()).join(bad)).await.unwrap_err();
        let error = hutong_client::Error::from(refused);
        assert_eq!(error.reason(), Some("INVITATION_INVALID"));
    }
    assert_eq!(member_state(&baozi, &guest), None);
    let good = request(ours.knock(identity.id()).to_vec(), &behind);
    let answer = soon("an answer", JoinServiceClient::new(channel).join(good)).await.expect("it is let in");
    let host = answer.into_inner().host.expect("who answers");
    assert_eq!(hutong_record::Identity::verify(&host).unwrap(), baozi.secrets().identity);
}
