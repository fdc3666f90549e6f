//! Calls of a till that has lost its way: each is refused with a reason, and nothing of it is booked.

use hutong_client::{Client, Code, Duration, Error, Timestamp, proto};
use hutong_record::MINOR_MAX;
use hutong_wire::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::{
    bad_streams::{call, framed, merchant_channel},
    harness::{Shop, Street},
    trade::{hand_out, issue, money, now, redemption, sale, terms, two_shops},
};

/// The first second that has a year of five digits.
const YEAR_10000: i64 = 253_402_300_800;
const MINUTE_SECONDS: i64 = 60;

fn told(error: &Error) -> (Option<&str>, &str) {
    let refusal = error.refusal().expect("an answer of the node");
    (error.reason(), refusal.metadata.get("field").map_or("", String::as_str))
}

fn at(seconds: i64, nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos })
}

/// Each change makes a sound sale one that is refused for that reason and field.
async fn refuses_sales(client: &Client, cases: Vec<(&str, &str, proto::ReportSaleRequest)>) {
    for (reason, field, request) in cases {
        let shown = format!("{request:?}");
        let error = client.report_sale(request).await.expect_err(&shown);
        assert_eq!(told(&error), (Some(reason), field), "{shown}");
    }
}

async fn sold(shop: &Shop) -> u64 {
    shop.summary().await.sales
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_out_of_bounds_are_refused() {
    let street = Street::new();
    let (shop, _, _) = two_shops(&street, 10).await;
    let client = shop.client().await;
    let amount = |amount| proto::ReportSaleRequest { amount, ..sale(1) };
    let currency = |code: &str| amount(Some(proto::Money { currency_code: code.to_owned(), minor: 1 }));
    let mut cases: Vec<_> = [-1, 0, i64::MIN, MINOR_MAX + 1, i64::MAX]
        .map(|minor| ("FIELD_INVALID", "amount", amount(money(minor))))
        .into();
    cases.push(("FIELD_INVALID", "amount", amount(None)));
    cases.extend(["yuan", "cny", "元", "\0\0\0"].map(|code| ("FIELD_INVALID", "amount", currency(code))));
    cases.push(("CURRENCY_MISMATCH", "", currency("USD")));
    refuses_sales(&client, cases).await;
    assert_eq!(sold(&shop).await, 0);
    client.report_sale(amount(money(MINOR_MAX))).await.expect("the largest amount");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_out_of_bounds_are_refused() {
    let street = Street::new();
    let (shop, _, _) = two_shops(&street, 10).await;
    let client = shop.client().await;
    let time = |sale_time| proto::ReportSaleRequest { sale_time, ..sale(1) };
    let mut cases = Vec::new();
    let seconds = now().seconds;
    for seconds in [YEAR_10000, i64::MAX, i64::MAX / 1_000 + 1, i64::MIN, -1] {
        cases.push(("FIELD_INVALID", "sale_time", time(at(seconds, 0))));
    }
    for nanos in [-1, 1_000_000_000, i32::MAX, i32::MIN] {
        cases.push(("FIELD_INVALID", "sale_time", time(at(seconds, nanos))));
    }
    cases.push(("TIME_AHEAD", "", time(at(YEAR_10000 - 1, 999_999_999))));
    cases.push(("TIME_AHEAD", "", time(at(seconds + 11 * MINUTE_SECONDS, 0))));
    cases.push(("TIME_TOO_OLD", "", time(at(seconds - 4 * 24 * 60 * MINUTE_SECONDS, 0))));
    cases.push(("TIME_TOO_OLD", "", time(at(0, 0))));
    refuses_sales(&client, cases).await;
    assert_eq!(sold(&shop).await, 0);
    client.report_sale(time(at(seconds + 9 * MINUTE_SECONDS, 0))).await.expect("a clock slightly ahead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_request_ids_cards_and_references_are_refused() {
    let street = Street::new();
    let (shop, _, _) = two_shops(&street, 10).await;
    let client = shop.client().await;
    let mut cases = Vec::new();
    for id in ["", "有", "a\nb", "\u{7f}", &"x".repeat(65)] {
        let request_id = id.to_owned();
        cases.push(("FIELD_INVALID", "request_id", proto::ReportSaleRequest { request_id, ..sale(1) }));
    }
    for card in ["0", "zz112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff00", "13800138000"]
    {
        let card_id = card.to_owned();
        cases.push(("FIELD_INVALID", "card_id", proto::ReportSaleRequest { card_id, ..sale(1) }));
    }
    for reference in ["x".repeat(65), "a\u{0}b".to_owned()] {
        cases.push(("FIELD_INVALID", "reference", proto::ReportSaleRequest { reference, ..sale(1) }));
    }
    for id in ["x".to_owned(), "ab".repeat(31), "zz".repeat(32)] {
        let alliance_id = id;
        cases.push(("FIELD_INVALID", "alliance_id", proto::ReportSaleRequest { alliance_id, ..sale(1) }));
    }
    let alliance_id = "ab".repeat(32);
    cases.push(("ALLIANCE_UNKNOWN", "", proto::ReportSaleRequest { alliance_id, ..sale(1) }));
    refuses_sales(&client, cases).await;
    assert_eq!(sold(&shop).await, 0);
    let request_id = "x".repeat(64);
    client.report_sale(proto::ReportSaleRequest { request_id, ..sale(1) }).await.expect("a long id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_voucher_is_refused_in_one_way_whatever_it_is() {
    let street = Street::new();
    let (baozi, teahouse, promotion) = two_shops(&street, 10).await;
    let (giver, till) = (baozi.client().await, teahouse.client().await);
    let voucher = hand_out(&giver, &promotion).await;
    let mut codes = vec![String::new(), "0".into(), "券".into(), "A".repeat(100_000), voucher.id.clone()];
    let middle = voucher.qr_text.len() / 2;
    for cut in [1, middle, voucher.qr_text.len() - 1] {
        codes.push(voucher.qr_text[..cut].to_owned());
        let swapped = if voucher.qr_text.as_bytes()[cut] == b'A' { "B" } else { "A" };
        codes.push(format!("{}{swapped}{}", &voucher.qr_text[..cut], &voucher.qr_text[cut + 1..]));
    }
    for code in codes {
        let error = till.redeem_voucher(redemption(&code)).await.expect_err(&code);
        assert_eq!(told(&error).0, Some("VOUCHER_UNKNOWN"), "{code}");
        assert_eq!(error.refusal().unwrap().code, Code::NotFound);
    }
    for purchase in [None, money(-1), money(0)] {
        let request = proto::RedeemVoucherRequest { purchase, ..redemption(&voucher.qr_text) };
        let error = till.redeem_voucher(request).await.unwrap_err();
        assert_eq!(told(&error), (Some("FIELD_INVALID"), "purchase"));
    }
    let elsewhere = giver.redeem_voucher(redemption(&voucher.qr_text)).await.unwrap_err();
    assert_eq!(told(&elsewhere).0, Some("VOUCHER_WRONG_SHOP"));
    let unknown = giver.issue_voucher(issue(&"ab".repeat(32))).await.unwrap_err();
    assert_eq!(told(&unknown).0, Some("PROMOTION_UNKNOWN"));
    assert_eq!(teahouse.summary().await.redemptions, 0);
    till.redeem_voucher(redemption(&voucher.qr_text)).await.expect("it is still good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terms_pages_and_durations_out_of_bounds_are_refused() {
    let street = Street::new();
    let (baozi, teahouse, _) = two_shops(&street, 10).await;
    let client = teahouse.client().await;
    let good = terms(&baozi, &teahouse, 10);
    let distributor = |quota| vec![proto::Distributor { quota, ..good.distributors[0].clone() }];
    let percent = |basis_points| {
        let percent_off = proto::PercentOff { basis_points, amount_max: money(500) };
        Some(proto::promotion::Benefit::PercentOff(percent_off))
    };
    let validity = |seconds, nanos| Some(Duration { seconds, nanos });
    let cases = [
        proto::Promotion { distributors: Vec::new(), ..good.clone() },
        proto::Promotion { distributors: distributor(0), ..good.clone() },
        proto::Promotion { distributors: distributor(u32::MAX), ..good.clone() },
        proto::Promotion { benefit: None, ..good.clone() },
        proto::Promotion { benefit: percent(0), ..good.clone() },
        proto::Promotion { benefit: percent(10_001), ..good.clone() },
        proto::Promotion { budget: money(-1), ..good.clone() },
        proto::Promotion { budget: money(1), ..good.clone() },
        proto::Promotion { end_time: good.start_time, ..good.clone() },
        proto::Promotion { start_time: None, ..good.clone() },
        proto::Promotion { voucher_validity: validity(-1, 0), ..good.clone() },
        proto::Promotion { voucher_validity: validity(i64::MAX, i32::MAX), ..good.clone() },
        proto::Promotion { title: String::new(), ..good.clone() },
        proto::Promotion { title: "字".repeat(81), ..good.clone() },
        proto::Promotion { redeemer_id: "x".into(), ..good.clone() },
    ];
    for promotion in cases {
        let shown = format!("{promotion:?}");
        let request_id = hutong_client::random_request_id();
        let request =
            proto::CreatePromotionRequest { promotion: Some(promotion), request_id, ..Default::default() };
        let error = client.create_promotion(request).await.expect_err(&shown);
        assert_eq!(told(&error).0, Some("FIELD_INVALID"), "{error}: {shown}");
        assert!(!told(&error).1.is_empty(), "{shown}");
    }
    for (page_size, page_token) in [(-1, ""), (i32::MIN, ""), (1, "券")] {
        let page_token = page_token.to_owned();
        let request = proto::ListVouchersRequest { page_size, page_token, ..Default::default() };
        assert_eq!(told(&client.list_vouchers(request).await.unwrap_err()).0, Some("FIELD_INVALID"));
    }
    for validity in [validity(-1, 0), validity(0, 0), validity(91 * 86_400, 0), validity(i64::MAX, 0)] {
        let request = proto::CreateInvitationRequest { validity, ..Default::default() };
        let error = baozi.client().await.create_invitation(request).await.unwrap_err();
        assert_eq!(told(&error), (Some("FIELD_INVALID"), "validity"));
    }
    assert_eq!(client.all_promotions("").await.unwrap().len(), 1);
}

/// Every method that the node has, as `/package.Service/Method`.
pub(crate) fn methods() -> Vec<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let services = set.file.iter().flat_map(|file| file.service.iter().map(move |one| (file.package(), one)));
    let paths = services.flat_map(|(package, service)| {
        let path = move |method: &prost_types::MethodDescriptorProto| {
            format!("/{package}.{}/{}", service.name(), method.name())
        };
        service.method.iter().map(path)
    });
    paths.filter(|path| path.starts_with("/hutong.merchant.")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_method_answers_without_the_token() {
    let street = Street::new();
    let shop = street.shop("baozi").await;
    let channel = merchant_channel(&shop).await;
    let token = shop.token();
    let wrong = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(token.clone()),
        Some(format!("bearer {token}")),
        Some(format!("Bearer {}", &token[1..])),
        Some(format!("Bearer {token}x")),
        Some(format!("Basic {token}")),
    ];
    let methods = methods();
    assert!(methods.len() > 25, "{methods:?}");
    for method in &methods {
        for authorization in &wrong {
            let status = call(&channel, method, authorization.as_deref(), framed(b"")).await.status;
            assert_eq!(status.code(), Code::Unauthenticated, "{method} with {authorization:?}: {status}");
            assert_eq!(Error::from(status).reason(), Some("TOKEN_INVALID"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_reflection_are_open_to_all() {
    let street = Street::new();
    let shop = street.shop("baozi").await;
    let channel = merchant_channel(&shop).await;
    let health = call(&channel, "/grpc.health.v1.Health/Check", None, framed(b"")).await;
    assert_eq!((health.status.code(), &health.body[5..]), (Code::Ok, &b"\x08\x01"[..]), "SERVING");
    for version in ["v1", "v1alpha"] {
        let method = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        // `list_services` is field 7.
        let listed = call(&channel, &method, None, framed(&[0x3a, 0])).await;
        assert_eq!(listed.status.code(), Code::Ok);
        let listed = String::from_utf8_lossy(&listed.body).into_owned();
        assert!(listed.contains("hutong.merchant.v1.SaleService"), "{listed}");
    }
}
