//! Who gets in at the peer port, and who does not (TRA-1, AUT-1).

use data_encoding::BASE64URL_NOPAD;
use hutong_client::{Duration, proto};
use hutong_node::{clock, transport::DialError};
use hutong_record::{AllianceId, SigningKey, proto as record};
use hutong_sync::Frame;
use hutong_wire::peer::v1::{JoinRequest, join_service_client::JoinServiceClient};
use prost::Message as _;
use tonic::{Code, Status};

use crate::{
    harness::{Shop, Street, converged, soon, until},
    peer::{Speaker, dial, hello},
    trade::{publish, terms},
};

fn reason(status: Status) -> String {
    hutong_client::Error::from(status).reason().unwrap_or_default().to_owned()
}

fn alliance(id: &str) -> AllianceId {
    id.parse().expect("an id")
}

async fn invite(shop: &Shop, validity: Duration) -> String {
    let request = proto::CreateInvitationRequest { validity: Some(validity), ..Default::default() };
    shop.client().await.create_invitation(request).await.expect("a link").link
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_s_key_is_refused_before_any_call() {
    let street = Street::new();
    let shop = street.shop("baozi").await;
    shop.found("street");
    for seed in 0..3 {
        let refused = dial(SigningKey::from_seed(&[seed; 32]), &shop).await.unwrap_err();
        assert!(matches!(refused, DialError::Refused), "{refused}");
    }
    shop.cli(&["status"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_is_for_one_shop() {
    let street = Street::new();
    let baozi = street.shop("baozi").await;
    let (first, second) = (street.shop("first").await, street.shop("second").await);
    baozi.found("street");
    let link = invite(&baozi, Duration { seconds: 3_600, nanos: 0 }).await;
    first.cli(&["alliance", "join", &link]);
    assert_eq!(second.refused(&["alliance", "join", &link]), "INVITATION_INVALID");
    assert_eq!(second.refused(&["alliance", "join", "hutong:join/A"]), "FIELD_INVALID");
    assert_eq!(second.refused(&["alliance", "join", "https://example.com"]), "FIELD_INVALID");
    // Asking again is harmless for the shop that used it.
    assert_eq!(first.refused(&["alliance", "join", &link]), "ALLIANCE_EXISTS");
    converged(&[&baozi, &first]).await;
    assert_eq!(baozi.cli(&["alliance", "members"]).as_array().unwrap().len(), 2);
    assert!(second.cli(&["alliance", "list"]).as_array().unwrap().is_empty());
}

/// The guest's own node refuses an old link; so here the guest's key goes past it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_invitation_is_refused_by_both_sides() {
    let street = Street::new();
    let (baozi, guest) = (street.shop("baozi").await, street.shop("guest").await);
    let id = baozi.found("street");
    let link = invite(&baozi, Duration { seconds: 0, nanos: 300_000_000 }).await;
    let until_then = clock::now();
    until("it is past its time", async || (clock::now().ms_since(until_then) > 300).then_some(())).await;
    assert_eq!(guest.refused(&["alliance", "join", &link]), "INVITATION_INVALID");

    let encoded = link.strip_prefix("hutong:join/").unwrap();
    let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).unwrap();
    let parsed = record::InvitationLink::decode(bytes.as_slice()).unwrap();
    let guest_key = SigningKey::from_seed(parsed.guest_secret.as_ref().try_into().unwrap());
    match dial(guest_key, &baozi).await {
        Err(refused) => assert!(matches!(refused, DialError::Refused), "{refused}"),
        Ok(channel) => {
            let request = JoinRequest {
                alliance_id: alliance(&id).as_bytes().to_vec().into(),
                identity: Some(guest.secrets().identity.signed().clone()),
                ..Default::default()
            };
            let mut service = JoinServiceClient::new(channel);
            let refused = soon("an answer", service.join(request)).await.unwrap_err();
            assert_eq!(reason(refused), "INVITATION_INVALID");
        }
    }
    assert_eq!(baozi.cli(&["alliance", "members"]).as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_s_key_opens_nothing_but_joining() {
    let street = Street::new();
    let baozi = street.shop("baozi").await;
    let id = baozi.found("street");
    let link = invite(&baozi, Duration { seconds: 3_600, nanos: 0 }).await;
    let bytes = BASE64URL_NOPAD.decode(link.strip_prefix("hutong:join/").unwrap().as_bytes()).unwrap();
    let parsed = record::InvitationLink::decode(bytes.as_slice()).unwrap();
    let guest_key = SigningKey::from_seed(parsed.guest_secret.as_ref().try_into().unwrap());
    let channel = dial(guest_key, &baozi).await.unwrap();
    let refused = Speaker::open(channel, Some(hello(alliance(&id)))).await.unwrap_err();
    assert_eq!((refused.code(), reason(refused).as_str()), (Code::PermissionDenied, "NOT_MEMBER"));
}

/// Three members; one of them, cut off for a while, publishes a promotion, and is removed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_removed_shop_says_later_reaches_nobody() {
    let street = Street::new();
    let (baozi, teahouse) = (street.shop("baozi").await, street.shop("teahouse").await);
    let leaver = street.shop("leaver").await;
    baozi.found("street");
    baozi.admit(&teahouse).await;
    baozi.admit(&leaver).await;
    converged(&[&baozi, &teahouse, &leaver]).await;
    leaver.cli(&["federation", "pause"]);
    let late = publish(&leaver, terms(&teahouse, &leaver, 10)).await;
    let held = baozi.link_to(&leaver).await.record_count;

    let removed = baozi.cli(&["alliance", "remove", "leaver", "--reason", "三个月没有回应"]);
    assert_eq!(removed["state"], "removed");
    converged(&[&baozi, &teahouse]).await;
    leaver.cli(&["federation", "resume"]);
    for member in [&baozi, &teahouse] {
        until("the removed shop hears that it is not known", async || {
            leaver.link_to(member).await.last_error.contains("does not know us").then_some(())
        })
        .await;
        assert!(!member.link_to(&leaver).await.connected);
        assert_eq!(member.link_to(&leaver).await.record_count, held);
        assert_eq!(member.refused(&["promotion", "show", &late]), "PROMOTION_UNKNOWN");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_that_is_removed_hears_it_before_its_links_end() {
    let street = Street::new();
    let (baozi, leaver) = (street.shop("baozi").await, street.shop("leaver").await);
    baozi.found("street");
    baozi.admit(&leaver).await;
    leaver.connected(&baozi).await;
    baozi.cli(&["alliance", "remove", "leaver", "--reason", "left"]);
    until("it sees that it is out", async || {
        (leaver.cli(&["alliance", "show"])["own_state"] == "removed").then_some(())
    })
    .await;
    assert_eq!(leaver.refused(&["sale", "report", "--amount", "1.00"]), "NOT_MEMBER");
    baozi.disconnected(&leaver).await;
    leaver.disconnected(&baozi).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_shop_s_live_link_is_cut() {
    let street = Street::new();
    let (baozi, mut leaver) = (street.shop("baozi").await, street.shop("leaver").await);
    let id = baozi.found("street");
    baozi.admit(&leaver).await;
    leaver.connected(&baozi).await;
    baozi.connected(&leaver).await;
    leaver.stop().await;
    baozi.disconnected(&leaver).await;

    let channel = dial(leaver.secrets().signing, &baozi).await.expect("still a member");
    let mut link = Speaker::open(channel, Some(hello(alliance(&id)))).await.expect("a link");
    assert!(matches!(link.hear().await, Some(Frame::Hello { .. })));
    baozi.cli(&["alliance", "remove", "leaver", "--reason", "left"]);
    link.hear_out().await;
    let refused = dial(leaver.secrets().signing, &baozi).await.unwrap_err();
    assert!(matches!(refused, DialError::Refused), "{refused}");
    assert!(!baozi.link_to(&leaver).await.connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_alliance_cannot_sync_this_one() {
    let street = Street::new();
    let (baozi, mut stall) = (street.shop("baozi").await, street.shop("stall").await);
    let ours = baozi.found("street");
    let theirs = stall.found("market");
    let link = invite(&stall, Duration { seconds: 3_600, nanos: 0 }).await;
    baozi.cli(&["alliance", "join", &link]);
    until("baozi is in both", async || {
        (baozi.cli(&["--alliance", "market", "alliance", "show"])["own_state"] == "member").then_some(())
    })
    .await;
    assert_eq!(baozi.refused(&["alliance", "show"]), "ALLIANCE_UNNAMED");

    stall.stop().await;
    baozi.disconnected(&stall).await;
    // stall's key is on the door, for the market's sake.
    let channel = dial(stall.secrets().signing, &baozi).await.expect("it may knock");
    for other in [alliance(&ours), AllianceId::new([9; 32])] {
        let refused = Speaker::open(channel.clone(), Some(hello(other))).await.unwrap_err();
        assert_eq!((refused.code(), reason(refused).as_str()), (Code::PermissionDenied, "NOT_MEMBER"));
    }
    let mut link = Speaker::open(channel, Some(hello(alliance(&theirs)))).await.expect("that is its own");
    assert!(matches!(link.hear().await, Some(Frame::Hello { .. })));
    // On that link, nothing of ours is to be had.
    let me = baozi.secrets().identity.id();
    let ours_from_the_start = Frame::Want { shop: me, from_sequence: 1, body_bytes_max: 65_536 };
    link.say(Some(hutong_wire::frame::to_wire(ours_from_the_start))).await;
    let records = loop {
        if let Frame::Records { runs, pushed: false, .. } = link.hear().await.expect("an answer") {
            break runs;
        }
    };
    for message in records.into_iter().flatten() {
        let header = hutong_record::Record::parse(message).unwrap().header().clone();
        assert_eq!(header.alliance, alliance(&theirs));
    }
}
