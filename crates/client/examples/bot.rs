//! 小二, a bot: answers "what offers are there?", and notes which customers it sent where.
//!
//! HUTONG_GIVER is the node's address, HUTONG_BOT_TOKEN a token (scopes promotion.read, touch.write, event.read). Prints
//! what it said and did as JSON.

#![allow(clippy::print_stdout, reason = "an example says what it did")]

use std::{env, time::Duration};

use hutong_client::{Client, Token, proto, random_request_id};
use proto::promotion::Benefit;

/// How long its own note may take to come back as an event.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client =
        Client::connect(&env::var("HUTONG_GIVER")?, &Token::new(&env::var("HUTONG_BOT_TOKEN")?)).await?;
    let promotions = client.all_promotions("").await?;
    let offers: Vec<_> = promotions.iter().map(offer).collect();
    let answer = format!("现在有{}个优惠：{}", offers.len(), offers.join("；"));

    let mut events = client.watch_on("", "0");
    let touch = proto::RecordTouchRequest {
        request_id: random_request_id(),
        to_shop_id: promotions.first().ok_or("no promotion")?.redeemer_id.clone(),
        card_id: random_request_id(),
        kind: proto::TouchKind::Invite.into(),
        channel: "bot".to_owned(),
        ..Default::default()
    };
    let touch_id = client.record_touch(touch).await?.touch_id;
    let heard = tokio::time::timeout(PATIENCE, async {
        loop {
            let event = events.next().await?;
            if event.record_id == touch_id {
                return Ok::<_, hutong_client::Error>(event.r#type());
            }
        }
    });
    let heard = heard.await??;
    assert_eq!(heard, proto::EventType::Touch);
    // More than it was given it cannot do.
    let denied =
        client.get_summary(proto::GetSummaryRequest::default()).await.expect_err("a bot sees no books");
    assert_eq!(denied.reason(), Some("SCOPE_MISSING"));
    let told =
        serde_json::json!({ "example": "rust/bot", "offers": offers.len(), "touches": 1, "answer": answer });
    println!("{told}");
    Ok(())
}

fn offer(promotion: &proto::Promotion) -> String {
    let minor = |money: Option<&proto::Money>| money.map_or(0, |money| money.minor);
    let worth = match &promotion.benefit {
        Some(Benefit::AmountOff(money)) => format!("减{}分", money.minor),
        Some(Benefit::PercentOff(percent)) => {
            format!("减{}%，最多{}分", percent.basis_points / 100, minor(percent.amount_max.as_ref()))
        }
        _ => "有礼".to_owned(),
    };
    format!("{}（{worth}）", promotion.title)
}
