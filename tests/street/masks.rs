//! What callers may leave out of answers and changes, and what they may repeat.

use hutong_client::{Client, proto};
use prost_types::FieldMask;

use crate::{
    harness::{Reach, Street},
    trade::two_shops,
};

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

/// The field that a refusal names.
fn field<T: std::fmt::Debug>(outcome: Result<T, hutong_client::Error>) -> String {
    let error = outcome.expect_err("a refusal");
    assert_eq!(error.reason(), Some("FIELD_INVALID"), "{error}");
    error.refusal().and_then(|refusal| refusal.metadata.get("field").cloned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_tell_what_their_masks_name() {
    let street = Street::new();
    let (shop, teahouse, promotion) = two_shops(&street, 10).await;
    let client = shop.client().await;
    let get = |read_mask| proto::GetPromotionRequest {
        promotion_id: promotion.clone(),
        read_mask,
        ..Default::default()
    };
    let whole = client.get_promotion(get(None)).await.unwrap().promotion.unwrap();
    let part = client.get_promotion(get(mask(&["title", "budget.minor"]))).await.unwrap().promotion.unwrap();
    let minor = whole.budget.as_ref().map(|budget| budget.minor);
    assert_eq!(
        part,
        proto::Promotion {
            title: whole.title.clone(),
            budget: minor.map(|minor| proto::Money { minor, ..Default::default() }),
            ..Default::default()
        }
    );
    assert_eq!(field(client.get_promotion(get(mask(&["titel"]))).await), "read_mask");

    let list = |filter: &str, read_mask| proto::ListMembersRequest {
        filter: filter.to_owned(),
        read_mask,
        ..Default::default()
    };
    let filter = format!("state = MEMBER AND name = \"{}\"", teahouse.name());
    let found = client.list_members(list(&filter, mask(&["shop_id"]))).await.unwrap().members;
    assert_eq!(found, [proto::Member { shop_id: teahouse.id(), ..Default::default() }]);
    assert!(client.list_members(list("state = REMOVED", None)).await.unwrap().members.is_empty());
    assert_eq!(field(client.list_members(list("colour = red", None)).await), "filter");

    let promotions = |filter: &str| proto::ListPromotionsRequest {
        filter: filter.to_owned(),
        read_mask: mask(&["id"]),
        ..Default::default()
    };
    let open = client.list_promotions(promotions("mode = DESIGNATED AND end_time > 2026-01-01T00:00:00Z"));
    let only = proto::Promotion { id: promotion.clone(), ..Default::default() };
    assert_eq!(open.await.unwrap().promotions, [only]);
    let ended = client.list_promotions(promotions("ended_time > 2026-01-01T00:00:00Z"));
    assert!(ended.await.unwrap().promotions.is_empty());
    let get = proto::GetAllianceRequest { read_mask: mask(&["currency_code"]), ..Default::default() };
    let alliance = client.get_alliance(get).await.unwrap().alliance.unwrap();
    assert_eq!(alliance, proto::Alliance { currency_code: "CNY".into(), ..Default::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_changes_what_its_mask_names() {
    let street = Street::new();
    let mut shop = street.init("noodles", Reach::Open);
    shop.serve().await;
    shop.found("the lane");
    let client = shop.client().await;
    let update = |name: &str, category: &str, update_mask| proto::UpdateProfileRequest {
        name: name.to_owned(),
        category: category.to_owned(),
        update_mask,
        ..Default::default()
    };
    let told = async |client: &Client, request| {
        let member = client.update_profile(request).await.expect("updated").member.expect("a member");
        (member.name, member.category)
    };
    let both = told(&client, update("Old Zhang", "soup", None)).await;
    assert_eq!(both, ("Old Zhang".into(), "soup".into()));
    let named = told(&client, update("ignored", "dumplings", mask(&["category"]))).await;
    assert_eq!(named, ("Old Zhang".into(), "dumplings".into()));
    assert_eq!(field(client.update_profile(update("x", "y", mask(&["addresses"]))).await), "update_mask");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_for_a_token_or_a_webhook_makes_no_second_one() {
    let street = Street::new();
    let (mut shop, _teahouse, _) = two_shops(&street, 10).await;
    let token = proto::CreateTokenRequest {
        name: "till".into(),
        scopes: vec!["sale.write".into()],
        request_id: "app-1".into(),
        ..Default::default()
    };
    let webhook = proto::CreateWebhookRequest {
        url: "http://127.0.0.1:9/hutong".into(),
        request_id: "app-1".into(),
        ..Default::default()
    };
    let client = shop.client().await;
    let first_token = client.create_token(token.clone()).await.unwrap();
    let first_webhook = client.create_webhook(webhook.clone()).await.unwrap();
    shop.kill().await;
    shop.serve().await;
    let client = shop.client().await;
    assert_eq!(client.create_token(token.clone()).await.unwrap(), first_token);
    assert_eq!(client.create_webhook(webhook.clone()).await.unwrap(), first_webhook);
    let names = client.all_tokens().await.unwrap();
    assert_eq!((names.len(), client.all_webhooks().await.unwrap().len()), (1, 1));
    let other = proto::CreateTokenRequest { name: "another".into(), ..token };
    assert_eq!(client.create_token(other).await.unwrap_err().reason(), Some("REQUEST_ID_REUSED"));
    let other = proto::CreateWebhookRequest { attempts_max: 3, ..webhook };
    assert_eq!(client.create_webhook(other).await.unwrap_err().reason(), Some("REQUEST_ID_REUSED"));
}
