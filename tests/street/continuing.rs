//! A shop whose log was forked by whoever had its key comes back: as a new shop, by its phrase, voted in like any other; and
//! its allies carry their books over to it.

use std::{fs, path::PathBuf};

use hutong_record::{
    Audience, Draft, ForkProof, Payload, Record, RecordId, proto as record, proto::Kind, sign,
};
use hutong_sync::Frame;
use hutong_wire::frame::to_wire;
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use crate::{
    harness::{Shop, Street, converged, until},
    peer::{Speaker, dial, hello},
    trade::{BOUNTY_MINOR, hand_out, redemption, two_shops},
};

/// Who has the shop's key signs two records of one place, and an ally is shown both.
async fn forked(shop: &Shop, at: &Shop, alliance: &str) {
    let (alliance, before) = (alliance.parse().unwrap(), at.link_to(shop).await.record_count);
    let signed = |name: &str| -> Record {
        let draft = Draft {
            alliance,
            shop: shop.secrets().identity.id(),
            key_epoch: 0,
            incarnation: 0,
            sequence: before + 1,
            previous: Some(RecordId::new([1; 32])),
            time: hutong_node::clock::now(),
            kind: Kind::Profile,
            audience: Audience::Alliance,
        };
        let profile = record::Profile { name: name.to_owned(), ..Default::default() };
        let payload = Payload::clear(&profile.encode_to_vec(), &mut StdRng::seed_from_u64(1)).unwrap();
        sign(draft, payload, &shop.secrets().signing)
    };
    let proof = ForkProof::from_records(&signed("one"), &signed("other")).expect("two of one place");
    let proof = proof.encode_to_vec().into();
    let channel = dial(shop.secrets().signing, at).await.expect("a member");
    let mut link = Speaker::open(channel, Some(hello(alliance))).await.expect("a link");
    assert!(matches!(link.hear().await, Some(Frame::Hello { .. })));
    let shop = shop.secrets().identity.id();
    link.say(Some(to_wire(Frame::Alarm { shop, sequence: before + 1, proof }))).await;
    until("the log is frozen", async || (member(at, &shop.to_string())?["state"] == "frozen").then_some(()))
        .await;
}

fn member(at: &Shop, id: &str) -> Option<Value> {
    let members = at.cli(&["alliance", "members"]);
    members.as_array().unwrap().iter().find(|member| member["shop_id"] == id).cloned()
}

fn words(street: &Street, shop: &Shop) -> PathBuf {
    let file = street.path().join(format!("words of {}", shop.name()));
    fs::write(&file, shop.phrase()).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_shop_comes_back_by_its_phrase_and_its_ally_s_book_goes_over_to_it() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 5).await;
    let alliance = baozi.cli(&["alliance", "show"])["id"].as_str().unwrap().to_owned();
    let voucher = hand_out(&baozi.client().await, &promotion).await;
    converged(&[&baozi, &teahouse]).await;
    teahouse.client().await.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap();
    converged(&[&baozi, &teahouse]).await;
    let old = teahouse.id();
    forked(&teahouse, &baozi, &alliance).await;
    // Nobody lets it in any more, so it hears of it by a file; a shop that is linked may hear it first.
    let news = street.path().join("news");
    baozi.cli(&["bundle", "export", "--output", news.to_str().unwrap()]);
    teahouse.cli(&["bundle", "import", news.to_str().unwrap()]);
    until("the shop hears of it", async || (member(&teahouse, &old)?["state"] == "frozen").then_some(()))
        .await;
    assert_eq!(teahouse.refused(&["sale", "report", "--amount", "1.00"]), "LOG_FROZEN");
    let (_, advice) = teahouse.told(&["doctor"]);
    assert!(advice.to_string().contains("--continues"), "{advice}");

    let new = street.shop("tea again").await;
    let (own, other) = (words(&street, &teahouse), words(&street, &baozi));
    let (own, other) = (own.to_str().unwrap(), other.to_str().unwrap());
    let link = baozi.cli(&["alliance", "invite"])["link"].as_str().unwrap().to_owned();
    let join = ["alliance", "join", &link, "--continues", &old, "--phrase-file"];
    assert_eq!(new.refused(&[&join[..], &[other]].concat()), "CONTINUATION_NOT_ORDERED");
    new.cli(&[&join[..], &[own]].concat());
    until("both know who continues whom", async || {
        let told = [&baozi, &new].map(|at| member(at, &new.id()).map(|m| m["continues_shop_ids"][0] == *old));
        (told == [Some(true), Some(true)]).then_some(())
    })
    .await;
    let before = member(&baozi, &old).unwrap();
    assert_eq!((&before["state"], &before["continued_by_shop_id"]), (&"frozen".into(), &new.id().into()));
    assert!(before["frozen_time"].is_string(), "{before}");
    // Said again in its own log it changes nothing; of a shop that is still in it is refused.
    let said = ["key", "continue", "--phrase-file"];
    let told = new.cli(&[&said[..], &[own, "--of", &old]].concat());
    assert_eq!(told["member"]["continues_shop_ids"][0], *old);
    assert_eq!(new.refused(&[&said[..], &[other, "--of", &baozi.id()]].concat()), "MEMBER_STAYS");

    let carried = baozi.cli(&["settlement", "carry-over", &old]);
    let payment = &carried["payment"];
    assert_eq!((&payment["payee_id"], &payment["debtor_id"]), (&new.id().into(), &new.id().into()));
    assert_eq!(payment["carried_over_from_id"], *old);
    assert_eq!(payment["amount"]["minor"], BOUNTY_MINOR, "{payment}");
    assert_eq!(baozi.refused(&["settlement", "carry-over", &old]), "NOTHING_TO_CARRY");
    let id = payment["id"].as_str().unwrap();
    until("it comes", async || new.try_cli(&["settlement", "confirm", id]).ok()).await;
    converged(&[&baozi, &new]).await;
    for (at, ally) in [(&baozi, &new), (&new, &baozi)] {
        let book = at.cli(&["settlement", "book", &ally.id()]);
        let text = book.to_string();
        assert!(text.contains("carried_over") && text.contains(&new.id()), "{text}");
    }
    new.client().await.report_sale(crate::trade::sale(1)).await.expect("it trades again");
    converged(&[&baozi, &new]).await;
}
