//! Tokens of partner apps: each may do what it names, until it ends, and what it did is told.

use std::{collections::BTreeSet, time::Duration};

use hutong_client::{Client, Code, Duration as Span, Error, Token, proto};
use serde_json::Value;

use crate::{
    bad_calls::methods,
    bad_streams::{call, framed, merchant_channel},
    harness::{Shop, Street, soon},
    trade::{sale, two_shops},
};

/// What the issue asks for: a token that is taken back is worth nothing after so long.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

const TILL: &[&str] = &["sale.write", "voucher.redeem"];
const BOT: &[&str] = &["promotion.read", "touch.write"];
const EXPORT: &[&str] = &["voucher.read", "report.read", "settlement.read", "event.read", "alliance.read"];
const CLERK: &[&str] = &[
    "voucher.issue",
    "voucher.void",
    "voucher.revoke",
    "voucher.transfer",
    "promotion.write",
    "channel.write",
    "node.read",
];

/// Written out by hand, apart from the node's own table.
fn allowed(role: &[&str]) -> BTreeSet<&'static str> {
    let of = |scope: &str| -> &'static [&'static str] {
        match scope {
            "sale.write" => &["ReportSale"],
            "voucher.redeem" => &[
                "RedeemVoucher",
                "RequestVoucher",
                "ReserveVoucher",
                "ReleaseReservation",
                "QualifyVouchers",
                "GetVoucher",
            ],
            "promotion.read" => &["GetPromotion", "ListPromotions", "ListShares"],
            "touch.write" => &["RecordTouch", "ReportScan"],
            "voucher.read" => &["GetVoucher", "ListVouchers", "QualifyVouchers"],
            "report.read" => &[
                "GetSummary",
                "ListPairs",
                "GetStateDigest",
                "ListOffences",
                "GetAttribution",
                "ListActivity",
                "ListReciprocity",
                "ListCohorts",
                "ListBookings",
            ],
            "settlement.read" => &[
                "ListBookLines",
                "GetStatement",
                "ListStatements",
                "CompareStatement",
                "ListPayments",
                "GetNetting",
                "ListNettings",
                "ListExposures",
                "ListCreditLines",
            ],
            "channel.write" => &["CreateChannel", "SetStaffCard"],
            "event.read" => &["Watch"],
            "alliance.read" => {
                &["GetAlliance", "ListAlliances", "ListMembers", "GetGovernance", "ListMotions"]
            }
            "voucher.issue" => &["IssueVoucher"],
            "voucher.void" => &["VoidRedemption"],
            "voucher.revoke" => &["RevokeVoucher"],
            "voucher.transfer" => &["TransferVoucher"],
            "promotion.write" => &["CreatePromotion", "EndPromotion", "MoveQuota", "ConsentToFunding"],
            "node.read" => &["GetStatus"],
            other => panic!("{other}"),
        }
    };
    let any_token = ["GetCurrentToken", "AttenuateToken"];
    role.iter().flat_map(|scope| of(scope)).copied().chain(any_token).collect()
}

fn wish(name: &str, scopes: &[&str]) -> proto::CreateTokenRequest {
    proto::CreateTokenRequest {
        name: name.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        lifetime: None,
        calls_per_second: 10_000,
        request_id: String::new(),
    }
}

/// Makes a token; its id and what is shown.
async fn make(shop: &Shop, request: proto::CreateTokenRequest) -> (String, String) {
    let made = shop.client().await.create_token(request).await.expect("a token");
    (made.token.expect("a token").id, made.secret)
}

async fn client(shop: &Shop, secret: &str) -> Client {
    let endpoint = format!("http://{}", shop.merchant());
    Client::connect(&endpoint, &Token::new(secret)).await.expect("the node answers")
}

/// Sets a token's end into the past, as a night does.
fn expire(shop: &Shop, id: &str) {
    let path = shop.folder().join("tokens.json");
    let mut stored: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let tokens = stored["tokens"].as_array_mut().unwrap();
    tokens.iter_mut().find(|token| token["id"] == id).unwrap()["expires_unix_ms"] = 1_000_000.into();
    std::fs::write(&path, serde_json::to_vec(&stored).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_may_make_its_own_calls_and_no_other() {
    let street = Street::new();
    let mut shop = street.shop("baozi").await;
    let mut roles = Vec::new();
    for (name, scopes) in [("till", TILL), ("bot", BOT), ("export", EXPORT), ("clerk", CLERK)] {
        roles.push((name, scopes, make(&shop, wish(name, scopes)).await.1));
    }
    let (expired, expired_secret) = make(&shop, wish("expired", TILL)).await;
    let (revoked, revoked_secret) = make(&shop, wish("revoked", TILL)).await;
    shop.cli(&["token", "revoke", &revoked]);
    shop.stop().await;
    expire(&shop, &expired);
    shop.serve().await;

    let (channel, mut calls) = (merchant_channel(&shop).await, 0);
    for path in methods() {
        let name = path.rsplit('/').next().unwrap();
        for (role, scopes, secret) in &roles {
            let status = call(&channel, &path, Some(&format!("Bearer {secret}")), framed(b"")).await.status;
            let denied = [Code::PermissionDenied, Code::Unauthenticated].contains(&status.code());
            assert_eq!(!denied, allowed(scopes).contains(name), "{role} {name}: {status:?}");
            if denied {
                let error = Error::from(status);
                assert_eq!(error.reason(), Some("SCOPE_MISSING"), "{role} {name}");
                assert!(!error.refusal().unwrap().metadata["scope"].is_empty());
            }
            calls += 1;
        }
        for (secret, reason) in [
            (Some(&expired_secret), "TOKEN_EXPIRED"),
            (Some(&revoked_secret), "TOKEN_REVOKED"),
            (None, "TOKEN_INVALID"),
        ] {
            let shown = secret.map(|secret| format!("Bearer {secret}"));
            let status = call(&channel, &path, shown.as_deref(), framed(b"")).await.status;
            assert_eq!(status.code(), Code::Unauthenticated, "{name}: {status:?}");
            assert_eq!(Error::from(status).reason(), Some(reason), "{name}");
            calls += 1;
        }
        let owner = format!("Bearer {}", shop.token());
        let status = call(&channel, &path, Some(&owner), framed(b"")).await.status;
        let denied = [Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented];
        assert!(!denied.contains(&status.code()), "owner {name}: {status:?}");
        calls += 1;
    }
    println!("{calls} calls of {} methods", methods().len());
    let unknown = "/hutong.merchant.v1.SaleService/Everything";
    let status = call(&channel, unknown, Some(&format!("Bearer {}", shop.token())), framed(b"")).await.status;
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_ends_at_once_with_its_streams_and_children() {
    let street = Street::new();
    let (shop, _teahouse, _) = two_shops(&street, 10).await;
    let (id, secret) = make(&shop, wish("export", EXPORT)).await;
    let parent = client(&shop, &secret).await;
    let child = proto::AttenuateTokenRequest {
        name: "export, today".into(),
        scopes: vec!["event.read".into()],
        lifetime: Some(Span { seconds: 3_600, nanos: 0 }),
        calls_per_second: 0,
        request_id: String::new(),
    };
    let child = parent.attenuate_token(child).await.expect("a weaker token");
    assert_eq!(child.token.as_ref().unwrap().parent_id, id);
    let child = client(&shop, &child.secret).await;
    let stronger = proto::AttenuateTokenRequest {
        name: "more".into(),
        scopes: vec!["sale.write".into()],
        ..Default::default()
    };
    assert_eq!(child.attenuate_token(stronger).await.unwrap_err().reason(), Some("SCOPE_MISSING"));
    let mut streams = Vec::new();
    for client in [&parent, &child] {
        let request = proto::WatchRequest { resume_token: "0".into(), ..Default::default() };
        let mut stream = client.watch(request).await.expect("a stream");
        soon("an event", stream.message()).await.expect("it lives").expect("it goes on");
        streams.push(stream);
    }
    let begun = tokio::time::Instant::now();
    shop.cli(&["token", "revoke", &id]);
    for mut stream in streams {
        let status = soon("the stream ends", async {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it ended without a word"),
                    Err(status) => break status,
                }
            }
        })
        .await;
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(Error::from(status).reason(), Some("TOKEN_REVOKED"));
    }
    let took = begun.elapsed();
    assert!(took < REVOKED_WITHIN, "{took:?}");
    println!("revoked and both streams ended after {took:?}");
    for client in [&parent, &child] {
        let error = client.get_current_token(proto::GetCurrentTokenRequest {}).await.unwrap_err();
        assert_eq!(error.reason(), Some("TOKEN_REVOKED"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_calls_wait_and_the_client_waits_for_them() {
    let street = Street::new();
    let (shop, _teahouse, _) = two_shops(&street, 10).await;
    let slow = proto::CreateTokenRequest { calls_per_second: 2, ..wish("slow", &["sale.write"]) };
    let (_, secret) = make(&shop, slow).await;
    let channel = merchant_channel(&shop).await;
    let bearer = format!("Bearer {secret}");
    let path = "/hutong.merchant.v1.SaleService/ReportSale";
    let mut limited = None;
    for _ in 0..20 {
        let status = call(&channel, path, Some(&bearer), framed(b"")).await.status;
        if status.code() == Code::ResourceExhausted {
            limited = Some(status);
            break;
        }
    }
    let error = Error::from(limited.expect("a limit"));
    assert_eq!(error.reason(), Some("RATE_LIMITED"));
    let wait: u64 = error.refusal().unwrap().metadata["retry_ms"].parse().unwrap();
    assert!((1..=500).contains(&wait), "{wait}");
    // The SDK heeds the wait, so that an app only gets slower.
    let app = client(&shop, &secret).await;
    for _ in 0..4 {
        app.report_sale(sale(100)).await.expect("it waited");
    }
    assert_eq!(shop.summary().await.sales, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_and_denied_is_told() {
    let street = Street::new();
    let (mut shop, _teahouse, _) = two_shops(&street, 10).await;
    let made = shop.cli(&["token", "create", "--name", "POS", "--scope", "sale.write", "--expires", "30d"]);
    let (id, secret) = (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned());
    let app = client(&shop, &secret).await;
    app.report_sale(sale(100)).await.expect("sold");
    assert_eq!(app.all_alliances().await.unwrap_err().reason(), Some("SCOPE_MISSING"));
    app.report_sale(proto::ReportSaleRequest { amount: None, ..sale(1) }).await.unwrap_err();
    let mine = format!("token_id = {id}");
    let told = shop.cli(&["token", "audit", "--filter", &mine]);
    let line =
        |entry: &Value| format!("{} {}", entry["code"].as_str().unwrap(), entry["reason"].as_str().unwrap());
    let lines: Vec<_> = told.as_array().unwrap().iter().map(line).collect();
    assert_eq!(lines, ["INVALID_ARGUMENT ", "PERMISSION_DENIED SCOPE_MISSING", "OK "]);
    assert!(told[0]["token_name"] == "POS" && told[0]["caller_address"] == "127.0.0.1");
    shop.kill().await;
    shop.serve().await;
    assert_eq!(shop.cli(&["token", "audit", "--filter", &mine]), told, "a crash loses none of it");
    assert_eq!(shop.refused(&["token", "audit", "--filter", "colour = red"]), "FIELD_INVALID");
    let listed = shop.cli(&["token", "list"]);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["state"]),
        (&Value::from(id.as_str()), &Value::from("in force"))
    );
    for bad in [
        vec!["token", "create", "--name", "x", "--scope", "everything"],
        vec!["token", "create", "--name", "", "--scope", "sale.write"],
        vec!["token", "create", "--name", "x", "--scope", "sale.write", "--expires", "1s"],
        vec!["token", "create", "--name", "x", "--scope", "sale.write", "--rate", "10001"],
        vec!["token", "revoke", "x"],
    ] {
        assert_eq!(shop.refused(&bad), "FIELD_INVALID", "{bad:?}");
    }
    assert_eq!(shop.refused(&["token", "revoke", "0011223344556677"]), "TOKEN_UNKNOWN");
    let file = shop.folder().join("pos.token");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let file = file.to_str().unwrap();
    let weaker = ["token", "attenuate", "--token-file", file, "--name", "morning", "--scope", "sale.write"];
    assert_eq!(shop.cli(&weaker)["parent_id"], id);
}
