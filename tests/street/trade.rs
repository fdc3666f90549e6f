//! Promotions, vouchers and what tills ask, in the shortest form that is whole.

use hutong_client::{Client, Duration, Error, Timestamp, proto, random_request_id};
use hutong_node::clock;
use proto::promotion::Benefit;

use crate::harness::{Shop, Street, until};

const DAY_SECONDS: i64 = 86_400;
/// What a voucher takes off.
pub(crate) const DISCOUNT_MINOR: i64 = 500;
/// What the funder owes for each customer sent.
pub(crate) const BOUNTY_MINOR: i64 = 100;
/// The least sale that earns a voucher.
pub(crate) const EARN_MINOR: i64 = 3_000;

pub(crate) fn now() -> Timestamp {
    Timestamp { seconds: clock::now().ms() / 1_000, nanos: 0 }
}

pub(crate) fn money(minor: i64) -> Option<proto::Money> {
    Some(proto::Money { currency_code: String::new(), minor })
}

/// The terms of a promotion that `distributor` hands out for `redeemer`.
pub(crate) fn terms(distributor: &Shop, redeemer: &Shop, quota: u32) -> proto::Promotion {
    let start = now();
    proto::Promotion {
        title: format!("from {} to {}", distributor.name(), redeemer.name()),
        distributors: vec![proto::Distributor { shop_id: distributor.id(), quota, ..Default::default() }],
        redeemer_id: redeemer.id(),
        earn_spend_min: money(EARN_MINOR),
        benefit: money(DISCOUNT_MINOR).map(Benefit::AmountOff),
        start_time: Some(start),
        end_time: Some(Timestamp { seconds: start.seconds + DAY_SECONDS, ..start }),
        voucher_validity: Some(Duration { seconds: DAY_SECONDS, nanos: 0 }),
        budget: money((DISCOUNT_MINOR + BOUNTY_MINOR) * i64::from(quota)),
        bounty: money(BOUNTY_MINOR),
        ..Default::default()
    }
}

/// The terms of vouchers that `home` hands out and `redeemers` redeem after asking it.
pub(crate) fn anywhere(home: &Shop, redeemers: &[&Shop], quota: u32) -> proto::Promotion {
    proto::Promotion {
        title: format!("from {} to all", home.name()),
        redeemer_id: String::new(),
        redeemer_ids: redeemers.iter().map(|shop| shop.id()).collect(),
        mode: proto::VoucherMode::Anywhere.into(),
        ..terms(home, home, quota)
    }
}

/// The terms of one stock that several shops sell from their own parts.
pub(crate) fn leased(parts: &[(&Shop, u32)]) -> proto::Promotion {
    let distributor = |(shop, quota): &(&Shop, u32)| proto::Distributor {
        shop_id: shop.id(),
        quota: *quota,
        ..Default::default()
    };
    let stock = parts.iter().map(|(_, quota)| *quota).sum();
    let (first, _) = parts.first().expect("a shop");
    proto::Promotion {
        title: "flash sale".to_owned(),
        distributors: parts.iter().map(distributor).collect(),
        redeemer_id: String::new(),
        mode: proto::VoucherMode::Leased.into(),
        ..terms(first, first, stock)
    }
}

/// Why a node refused.
pub(crate) fn reason(error: &Error) -> &str {
    error.reason().unwrap_or_else(|| panic!("no reason: {error}"))
}

/// How a voucher stands at a shop.
pub(crate) async fn voucher_at(shop: &Shop, id: &str) -> Option<proto::Voucher> {
    let request = proto::GetVoucherRequest { code: id.to_owned(), ..Default::default() };
    shop.client().await.get_voucher(request).await.ok().and_then(|answer| answer.voucher)
}

/// Publishes a promotion that `funder` pays for; answers with its id.
pub(crate) async fn publish(funder: &Shop, promotion: proto::Promotion) -> String {
    let request = proto::CreatePromotionRequest {
        promotion: Some(promotion),
        request_id: random_request_id(),
        ..Default::default()
    };
    let answer = funder.client().await.create_promotion(request).await.expect("published");
    answer.promotion.expect("a promotion").id
}

/// Waits until a promotion has reached a shop.
pub(crate) async fn arrived(shop: &Shop, promotion_id: &str) {
    let client = shop.client().await;
    until("the promotion arrives", async || {
        let request =
            proto::GetPromotionRequest { promotion_id: promotion_id.to_owned(), ..Default::default() };
        client.get_promotion(request).await.ok()
    })
    .await;
}

pub(crate) fn sale(amount_minor: i64) -> proto::ReportSaleRequest {
    proto::ReportSaleRequest {
        request_id: random_request_id(),
        amount: money(amount_minor),
        ..Default::default()
    }
}

pub(crate) fn issue(promotion_id: &str) -> proto::IssueVoucherRequest {
    proto::IssueVoucherRequest {
        request_id: random_request_id(),
        promotion_id: promotion_id.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn redemption(code: &str) -> proto::RedeemVoucherRequest {
    proto::RedeemVoucherRequest {
        request_id: random_request_id(),
        code: code.to_owned(),
        purchase: money(2_000),
        ..Default::default()
    }
}

/// Hands a voucher out.
pub(crate) async fn hand_out(client: &Client, promotion_id: &str) -> proto::Voucher {
    client.issue_voucher(issue(promotion_id)).await.expect("a voucher").voucher.expect("a voucher")
}

/// Two members, the first of which hands out a promotion for the second, which pays for it; and the promotion's id.
pub(crate) async fn two_shops(street: &Street, quota: u32) -> (Shop, Shop, String) {
    let (baozi, teahouse) = (street.shop("baozi").await, street.shop("teahouse").await);
    baozi.found("street");
    baozi.admit(&teahouse).await;
    let promotion = publish(&teahouse, terms(&baozi, &teahouse, quota)).await;
    arrived(&baozi, &promotion).await;
    (baozi, teahouse, promotion)
}
