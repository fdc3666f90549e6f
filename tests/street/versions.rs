//! Programs of different versions beside each other: what an earlier one stored and said is kept in `tests/fixtures`, and
//! today's must read it as it was meant.
//!
//! `HUTONG_FIXTURES=write cargo test -p hutong-node --test street versions` records what this version stores and says;
//! for a released version that is never done again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hutong_client::proto;
use hutong_record::{AllianceId, Audience, Draft, Payload, Record, ShopId, proto as record, sign};
use hutong_sync::Frame;
use hutong_wire::{frame::to_wire, peer::v1 as wire};
use prost::Message as _;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    harness::{Shop, Street, converged, until},
    peer::{Speaker, dial, hello, pushed},
};

/// Of one want: more than the fixtures' logs take.
const LOG_BYTES: u32 = 1 << 20;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// What a node says of what it holds.
async fn books(shop: &Shop) -> Value {
    let digest = shop.digest().await;
    let mut pairs = shop.cli(&["report", "pairs"]);
    for pair in pairs.as_array_mut().expect("a list") {
        // Names are looked up; what is owed is folded.
        pair.as_object_mut().expect("a pair").remove("ally_name");
    }
    json!({
        "record_count": digest.record_count,
        "public_digest": digest.public_digest,
        "pairs": pairs,
        "summary": shop.cli(&["report", "summary"]),
        "vouchers": shop.cli(&["voucher", "list"]).as_array().expect("a list").len(),
    })
}

/// Every log that a node holds, as it hands it out to a member.
async fn hand_out(shop: &Shop, as_member: &Shop, alliance: AllianceId) -> Vec<wire::Frame> {
    let channel = dial(as_member.secrets().signing, shop).await.expect("a member");
    let mut link = Speaker::open(channel, Some(hello(alliance))).await.expect("a link");
    assert!(matches!(link.hear().await, Some(Frame::Hello { .. })));
    let mut shops: Vec<ShopId> = [shop, as_member].map(|shop| shop.secrets().identity.id()).into();
    shops.sort_unstable();
    let mut frames = Vec::new();
    for of in shops {
        link.say(Some(to_wire(Frame::Want { shop: of, from_sequence: 1, body_bytes_max: LOG_BYTES }))).await;
        loop {
            let frame = link.hear().await.expect("records");
            if matches!(&frame, Frame::Records { shop, pushed: false, .. } if *shop == of) {
                frames.push(to_wire(frame));
                break;
            }
        }
    }
    frames
}

fn frames_file(folder: &Path) -> PathBuf {
    folder.join("exchange.bin")
}

/// Frames one after the other, each after its length.
fn write_frames(path: &Path, frames: &[wire::Frame]) {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.encode_length_delimited(&mut bytes).unwrap();
    }
    fs::write(path, bytes).unwrap();
}

fn read_frames(path: &Path) -> Vec<wire::Frame> {
    let bytes = fs::read(path).unwrap();
    let (mut rest, mut frames) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        frames.push(wire::Frame::decode_length_delimited(&mut rest).unwrap());
    }
    frames
}

/// Plays a small trade and keeps what this version makes of it.
async fn record_fixture() {
    let street = Street::new();
    let (mut noodles, mut fruit) = (street.shop("noodles").await, street.shop("fruit").await);
    let alliance: AllianceId = noodles.found("street").parse().unwrap();
    noodles.admit(&fruit).await;
    let terms = "promotion create --title fruit --distributor noodles=10 --redeemer fruit --earn-spend-min 20.00 \
                 --amount-off 3.00 --bounty 1.00 --budget 40.00 --runs-for 30d";
    fruit.cli(&terms.split_whitespace().collect::<Vec<_>>());
    converged(&[&noodles, &fruit]).await;
    for _ in 0..3 {
        let sale = noodles.cli(&["sale", "report", "--amount", "28.00"]);
        let code = sale["vouchers"][0]["qr_text"].as_str().expect("a voucher").to_owned();
        fruit.cli(&["voucher", "redeem", &code, "--purchase", "15.00"]);
    }
    converged(&[&noodles, &fruit]).await;
    fruit.stop().await;
    noodles.disconnected(&fruit).await;
    let folder = fixtures().join(env!("CARGO_PKG_VERSION"));
    let _old = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    write_frames(&frames_file(&folder), &hand_out(&noodles, &fruit, alliance).await);
    let expected = json!({ "alliance": alliance.to_string(), "books": books(&noodles).await });
    noodles.stop().await;
    fs::write(folder.join("expected.json"), serde_json::to_string_pretty(&expected).unwrap() + "\n").unwrap();
    for (shop, name) in [(&noodles, "noodles"), (&fruit, "fruit")] {
        let kept = folder.join(name);
        copy(shop.folder(), &kept);
        for surplus in ["node.lock", "node.log", "merchant.token"] {
            let _gone = fs::remove_file(kept.join(surplus));
        }
        for entry in fs::read_dir(kept.join("alliances")).unwrap() {
            let alliance = entry.unwrap().path();
            for surplus in ["seat", "views.lock", "journal/lock"] {
                let _gone = fs::remove_file(alliance.join(surplus));
            }
            fs::remove_dir_all(alliance.join("views")).unwrap();
        }
    }
}

/// A node on what an earlier version stored. It is a copy on another machine, so it signs nothing; it reads and hands out.
fn on_fixture(street: &Street, folder: &Path, name: &str) -> Shop {
    use std::os::unix::fs::PermissionsExt as _;

    let made = street.init(name, crate::harness::Reach::Open);
    let token = fs::read(made.folder().join("merchant.token")).unwrap();
    let config = fs::read(made.folder().join("hutong.toml")).unwrap();
    fs::remove_dir_all(made.folder()).unwrap();
    copy(&folder.join(name), made.folder());
    fs::write(made.folder().join("merchant.token"), token).unwrap();
    // Ports of this run, and only settings that every version has.
    fs::write(made.folder().join("hutong.toml"), config).unwrap();
    for secret in ["shop.key", "merchant.token"] {
        fs::set_permissions(made.folder().join(secret), fs::Permissions::from_mode(0o600)).unwrap();
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_version_stored_and_said_is_read_as_it_was_meant() {
    if std::env::var("HUTONG_FIXTURES").is_ok_and(|value| value == "write") {
        record_fixture().await;
    }
    let mut versions = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        versions += 1;
        let expected: Value =
            serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let alliance: AllianceId = expected["alliance"].as_str().unwrap().parse().unwrap();
        let street = Street::new();
        let mut noodles = on_fixture(&street, &folder, "noodles");
        let fruit = on_fixture(&street, &folder, "fruit");
        noodles.serve().await;
        let told = until("everything is folded", async || {
            let told = books(&noodles).await;
            (noodles.digest().await.unfolded_count == 0).then_some(told)
        })
        .await;
        assert_eq!(told, expected["books"], "{}", folder.display());

        let (then, now) = (read_frames(&frames_file(&folder)), hand_out(&noodles, &fruit, alliance).await);
        assert_eq!(records(&then), records(&now), "{}", folder.display());
        assert!(!records(&then).is_empty());
    }
    assert!(versions >= 1, "no fixture");
}

/// The records of frames, whatever the runs they came in, and so without the signatures, which depend on the runs.
fn records(frames: &[wire::Frame]) -> Vec<record::Record> {
    let runs = |frame: &wire::Frame| match &frame.frame {
        Some(wire::frame::Frame::Records(records)) => records.runs.clone(),
        other => panic!("not records: {other:?}"),
    };
    frames.iter().flat_map(runs).flat_map(|run| run.records).map(bare).collect()
}

fn bare(record: record::Record) -> record::Record {
    record::Record { signature: Default::default(), ..record }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_a_later_version_survive_being_relayed() {
    let street = Street::new();
    let (noodles, mut fruit) = (street.shop("noodles").await, street.shop("fruit").await);
    let mut tea = street.shop("tea").await;
    let alliance: AllianceId = noodles.found("street").parse().unwrap();
    noodles.admit(&fruit).await;
    noodles.admit(&tea).await;
    converged(&[&noodles, &fruit, &tea]).await;
    fruit.stop().await;
    tea.stop().await;

    let shop = fruit.secrets().identity.id();
    let held = last_of(&hand_out(&noodles, &fruit, alliance).await, shop);
    // A profile as a later program writes it: field 99 is nothing that this one knows.
    let known = record::Profile { name: "果".to_owned(), ..Default::default() };
    let mut message = known.encode_to_vec();
    prost::encoding::string::encode(99, &"来自以后的版本".to_owned(), &mut message);
    let draft = Draft {
        alliance,
        shop,
        key_epoch: 0,
        incarnation: held.header().incarnation,
        sequence: held.header().sequence + 1,
        previous: Some(held.id()),
        time: hutong_node::clock::now(),
        kind: record::Kind::Profile,
        audience: Audience::Alliance,
    };
    let payload = Payload::clear(&message, &mut StdRng::seed_from_u64(1)).expect("it is short");
    let later = sign(draft, payload, &fruit.secrets().signing);

    let channel = dial(fruit.secrets().signing, &noodles).await.expect("a member");
    let mut link = Speaker::open(channel, Some(hello(alliance))).await.expect("a link");
    assert!(matches!(link.hear().await, Some(Frame::Hello { .. })));
    link.say(Some(pushed(shop, vec![later.to_message()]))).await;
    // Through the noodle bar to the tea house, which never meets the author, and out of it again.
    tea.serve().await;
    let sequence = later.header().sequence;
    until("the record came through", async || {
        (tea.link_to(&fruit).await.record_count == sequence).then_some(())
    })
    .await;
    let came = last_of(&hand_out(&tea, &fruit, alliance).await, shop);
    assert_eq!(came.to_message(), bare(later.to_message()));
    let client = tea.client().await;
    let members: Vec<proto::Member> = client.all_members("").await.expect("members");
    assert!(members.iter().any(|member| member.name == "果"), "what is known of it counts");
}

/// The last record of a shop's log.
fn last_of(frames: &[wire::Frame], shop: ShopId) -> Record {
    let parsed = records(frames).into_iter().map(|record| Record::parse(record).expect("sound"));
    parsed.filter(|record| record.header().shop == shop).last().expect("a record")
}
