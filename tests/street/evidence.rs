//! Which poster brought whom, told by real nodes; and what a third one holds of it: nothing that it could read.

use std::path::Path;

use hutong_client::{proto, random_request_id};
use serde_json::Value;

use crate::{
    harness::{Shop, Street, converged, soon, until},
    trade::{DISCOUNT_MINOR, arrived, hand_out, money, publish, redemption, terms},
};

const CARD: &str = "c7c6c5c4c3c2c1c0b7b6b5b4b3b2b1b0";
const CHANNEL: &str = "门口海报-marker";
const REFERENCE: &str = "marker-reference-4711";
/// An amount whose bytes turn up nowhere by chance.
const PURCHASE_MINOR: i64 = 0x0123_4567_89ab;

/// Three shops: the first sends customers to the second, the third has no part in it.
async fn three_shops(street: &Street) -> (Shop, Shop, Shop, String) {
    let baozi = street.shop("baozi").await;
    let (teahouse, third) = (street.shop("teahouse").await, street.shop("third").await);
    baozi.found("street");
    baozi.admit(&teahouse).await;
    baozi.admit(&third).await;
    let promotion = publish(&teahouse, terms(&baozi, &teahouse, 10)).await;
    for shop in [&baozi, &third] {
        arrived(shop, &promotion).await;
    }
    (baozi, teahouse, third, promotion)
}

/// A customer scans a poster of the first shop and redeems a voucher at the second one; answers with the voucher.
async fn scan_and_redeem(baozi: &Shop, teahouse: &Shop, promotion: &str) -> proto::Voucher {
    let voucher = hand_out(&baozi.client().await, promotion).await;
    let created = baozi.cli(&["channel", "create", "--name", CHANNEL, "--to", "teahouse"]);
    let link = created["channel"]["link"].as_str().expect("a link").to_owned();
    let scanned = baozi.cli(&["channel", "scan", &link, "--card", CARD]);
    assert_eq!((&scanned["channel"], &scanned["to_shop_id"]), (&CHANNEL.into(), &teahouse.id().into()));
    until("the scan arrives", async || {
        let rows = teahouse.cli(&["report", "channels"]);
        rows.as_array().expect("a list").iter().any(|row| row["channel"] == CHANNEL).then_some(())
    })
    .await;
    let redemption = proto::RedeemVoucherRequest {
        purchase: money(PURCHASE_MINOR),
        card_id: CARD.to_owned(),
        reference: REFERENCE.to_owned(),
        ..redemption(&voucher.qr_text)
    };
    teahouse.client().await.redeem_voucher(redemption).await.expect("redeemed");
    voucher
}

fn row_of<'a>(rows: &'a Value, key: &str, value: &str) -> &'a Value {
    let mut rows = rows.as_array().expect("a list").iter();
    rows.find(|row| row[key] == value).unwrap_or_else(|| panic!("no {key} {value}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanned_poster_shows_in_both_shops_reports_and_files() {
    let street = Street::new();
    let (baozi, teahouse, third, promotion) = three_shops(&street).await;
    scan_and_redeem(&baozi, &teahouse, &promotion).await;
    converged(&[&baozi, &teahouse, &third]).await;

    for shop in [&baozi, &teahouse] {
        let rows = shop.cli(&["report", "channels"]);
        let row = row_of(&rows, "channel", CHANNEL);
        assert_eq!((&row["touches"], &row["redemptions"]), (&1.into(), &1.into()), "{rows}");
        assert_eq!(row["purchases_minor"], PURCHASE_MINOR);
    }
    assert_eq!(third.cli(&["report", "channels"]), serde_json::json!([]));

    for model in ["first", "last", "linear", "position", "decay", "shapley", "markov"] {
        let lines = teahouse.cli(&["report", "attribution", "--model", model]);
        let credit =
            lines.as_array().expect("a list").iter().map(|line| line["conversions"].as_f64().unwrap());
        assert!((credit.sum::<f64>() - 1.0).abs() < 1e-12, "{model}: {lines}");
    }
    let last = teahouse.cli(&["report", "attribution"]);
    assert_eq!((&last[0]["channel"], &last[0]["shop"]), (&CHANNEL.into(), &"baozi".into()));

    let shops = teahouse.cli(&["report", "shops"]);
    assert_eq!(row_of(&shops, "shop", "baozi")["discounts_minor"], DISCOUNT_MINOR);
    let hours = teahouse.cli(&["report", "hours"]);
    let redeemed: u64 =
        hours.as_array().unwrap().iter().map(|row| row["redemptions"].as_u64().unwrap()).sum();
    assert_eq!(redeemed, 1);
    assert_eq!(teahouse.cli(&["report", "cohorts"])[0]["newcomers"], 1);
    assert_eq!(baozi.cli(&["report", "reciprocity"])[0]["customers_given"], 1);
    let bookings = baozi.cli(&["report", "bookings"]);
    assert_eq!(row_of(&bookings, "kind", "referral_fee")["to_shop"], "baozi");

    let file = |name: &str| street.path().join(name).to_str().expect("UTF-8").to_owned();
    let output = file("shops.csv");
    let written = teahouse.cli(&["report", "shops", "--format", "csv", "--output", &output]);
    assert_eq!(written["rows"], 1);
    assert!(std::fs::read(&output).expect("written").starts_with(b"\xef\xbb\xbf"));
    for (format, magic) in [("xlsx", b"PK\x03\x04"), ("parquet", b"PAR1")] {
        for report in ["shops", "bookings", "cohorts", "pairs", "attribution"] {
            let output = file(&format!("{report}.{format}"));
            let written = teahouse.cli(&["report", report, "--format", format, "--output", &output]);
            assert!(written["rows"].as_u64().is_some_and(|rows| rows > 0), "{report}: {written}");
            assert!(std::fs::read(&output).expect("written").starts_with(magic), "{report} {format}");
        }
        assert_eq!(teahouse.refused(&["report", "shops", "--format", format]), "USAGE");
    }
    // The channel that was noted is an event of the shop's own.
    let watch = proto::WatchRequest { resume_token: "0".to_owned(), ..Default::default() };
    let mut events = baozi.client().await.watch(watch).await.expect("a stream");
    soon("the note is told", async {
        loop {
            let event = events.message().await.expect("no error").expect("no end");
            if event.r#type() == proto::EventType::Noted {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn founders_choose_who_is_paid_and_how_long_shops_have_to_settle() {
    let street = Street::new();
    let baozi = street.shop("baozi").await;
    fn found<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["alliance", "create", "--name", "week"], more].concat()
    }
    let weekly = ["--settlement-days", "7", "--dispute-days", "3", "--redemption-window", "2d"];
    let decay = ["--paying-model", "decay", "--paying-half-life", "3d"];
    let founded = baozi.cli(&found(&[weekly.as_slice(), &decay].concat()));
    assert_eq!(founded["settlement"], serde_json::json!({ "period_days": 7, "dispute_days": 3 }));
    let rules = &founded["attribution"];
    assert_eq!((&rules["paying_model"], &rules["scan_window"]), (&"decay".into(), &rules["visit_window"]));
    assert_ne!(rules["redemption_window"], rules["visit_window"]);
    assert!(!rules["paying_half_life"].is_null());
    let misplaced = ["--paying-model", "linear", "--paying-half-life", "3d"];
    assert_eq!(baozi.refused(&found(&misplaced)), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_questions_about_channels_and_reports_are_refused_with_a_reason() {
    let street = Street::new();
    let (baozi, teahouse, _third, promotion) = three_shops(&street).await;
    baozi.cli(&["channel", "create", "--name", "a", "--promotion", &promotion]);
    let link = baozi.cli(&["channel", "show", "a"])["link"].as_str().expect("a link").to_owned();
    assert_eq!(teahouse.refused(&["channel", "scan", &link, "--card", CARD]), "CHANNEL_OF_OTHER");
    assert_eq!(baozi.refused(&["channel", "scan", &link[..link.len() - 2], "--card", CARD]), "FIELD_INVALID");
    assert_eq!(baozi.refused(&["channel", "show", "b"]), "CHANNEL_UNKNOWN");
    assert_eq!(baozi.refused(&["channel", "create", "--name", "a", "--to", "third"]), "FIELD_INVALID");
    assert_eq!(baozi.refused(&["promotion", "consent", &promotion]), "NOT_CO_FUNDER");
    baozi.cli(&["channel", "staff-card", CARD]);
    assert_eq!(baozi.refused(&["channel", "scan", &link, "--card", CARD]), "STAFF_CARD");
    let backwards = ["report", "shops", "--from", "2026-05-02T00:00:00Z", "--to", "2026-05-01T00:00:00Z"];
    assert_eq!(baozi.refused(&backwards), "FIELD_INVALID");

    let client = baozi.client().await;
    let activity = proto::ListActivityRequest::default();
    let error = client.list_activity(activity.clone()).await.expect_err("no group");
    assert_eq!(error.reason(), Some("FIELD_INVALID"));
    let group = proto::ActivityGroup::Shop.into();
    for bad in [
        proto::ListActivityRequest { group, page_size: -1, ..activity.clone() },
        proto::ListActivityRequest { group: 99, ..activity.clone() },
        proto::ListActivityRequest { group, alliance_id: "x".into(), ..activity },
    ] {
        assert!(client.list_activity(bad).await.is_err());
    }
    let attribution = proto::GetAttributionRequest { model: 99, ..Default::default() };
    assert!(client.get_attribution(attribution).await.is_err());
    let bookings = proto::ListBookingsRequest { page_token: "x".into(), ..Default::default() };
    assert!(client.list_bookings(bookings).await.is_err());
    let scan = proto::ReportScanRequest { request_id: random_request_id(), link, ..Default::default() };
    assert_eq!(client.report_scan(scan).await.expect_err("no card").reason(), Some("FIELD_INVALID"));
    let staff = proto::SetStaffCardRequest { card_id: CARD.into(), ..Default::default() };
    assert_eq!(client.set_staff_card(staff).await.expect_err("no id").reason(), Some("FIELD_INVALID"));
    let own = proto::CreateChannelRequest {
        request_id: random_request_id(),
        name: "own".into(),
        to_shop_id: baozi.id(),
        ..Default::default()
    };
    let error = client.create_channel(own).await.expect_err("to itself");
    assert_eq!(error.reason(), Some("FIELD_INVALID"));
}

/// Every byte of every file below a folder.
fn files(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.extend(std::fs::read(path).unwrap_or_default());
        }
    }
    all
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("seven bits"));
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_node_s_disk_holds_no_amount_card_channel_or_reference() {
    let street = Street::new();
    let (mut baozi, mut teahouse, mut third, promotion) = three_shops(&street).await;
    let voucher = scan_and_redeem(&baozi, &teahouse, &promotion).await;
    converged(&[&baozi, &teahouse, &third]).await;
    for shop in [&mut baozi, &mut teahouse, &mut third] {
        shop.stop().await; // all is on disk, nothing in sled's caches alone
    }
    let amount = u64::try_from(PURCHASE_MINOR).expect("an amount");
    let card: Vec<u8> =
        (0..16).map(|n| u8::from_str_radix(&CARD[2 * n..2 * n + 2], 16).expect("hex")).collect();
    // What, its bytes, and whether a party's own files hold it: the search must be able to find something. Parties'
    // journals are sealed, too, so what they hold stands in their views.
    let markers: [(&str, Vec<u8>, bool); 8] = [
        ("card", card, true),
        ("card as text", CARD.into(), false),
        ("amount, as views write it", varint(amount << 1), true),
        ("amount, as records write it", varint(amount), false),
        ("channel", CHANNEL.into(), true),
        ("reference", REFERENCE.into(), false),
        ("typed code", voucher.code.clone().into(), false),
        ("QR text", voucher.qr_text.into(), false),
    ];
    let (party, stranger) = (files(&teahouse.alliance_folder()), files(third.folder()));
    assert!(stranger.len() > 1_000, "there is something to look through");
    for (what, bytes, held) in markers {
        assert_eq!(holds(&party, &bytes), held, "the redeemer's files and the {what}");
        assert!(!holds(&stranger, &bytes), "the third node's files hold the {what}");
    }
}
