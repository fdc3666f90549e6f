//! A till: reports sales at one shop, and redeems the vouchers that they earned at another.
//!
//! HUTONG_GIVER and HUTONG_REDEEMER are the nodes' addresses, HUTONG_GIVER_TOKEN and HUTONG_REDEEMER_TOKEN their tokens
//! (scopes sale.write and voucher.redeem), HUTONG_SALES how many sales there are. Prints what it did as JSON.

#![allow(clippy::print_stdout, reason = "an example says what it did")]

use std::env;

use hutong_client::{Client, Error, Token, proto, random_request_id};

/// What a customer pays, fen.
const PAID_MINOR: i64 = 3_800;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let giver = client("HUTONG_GIVER", "HUTONG_GIVER_TOKEN").await?;
    let redeemer = client("HUTONG_REDEEMER", "HUTONG_REDEEMER_TOKEN").await?;
    let sales: u32 = env::var("HUTONG_SALES")?.parse()?;
    let (mut earned, mut redeemed, mut refused_twice) = (0, 0, 0);
    for _ in 0..sales {
        for voucher in sell(&giver).await?.vouchers {
            earned += 1;
            redeem(&redeemer, &voucher.qr_text).await?;
            redeemed += 1;
            // The customer tries again: the till says no, and why.
            match redeem(&redeemer, &voucher.qr_text).await {
                Err(error) if error.reason() == Some("VOUCHER_ALREADY_REDEEMED") => refused_twice += 1,
                other => return Err(format!("a second use: {other:?}").into()),
            }
        }
    }
    let told = serde_json::json!({
        "example": "rust/pos", "sales": sales, "earned": earned, "redeemed": redeemed, "refused": refused_twice,
    });
    println!("{told}");
    Ok(())
}

async fn client(endpoint: &str, token: &str) -> Result<Client, Box<dyn std::error::Error>> {
    Ok(Client::connect(&env::var(endpoint)?, &Token::new(&env::var(token)?)).await?)
}

/// The SDK repeats the call under one request id while the node restarts, so that a sale counts once.
async fn sell(client: &Client) -> Result<proto::ReportSaleResponse, Error> {
    let amount = Some(proto::Money { minor: PAID_MINOR, ..Default::default() });
    let request = proto::ReportSaleRequest { request_id: random_request_id(), amount, ..Default::default() };
    let first = client.report_sale(request.clone()).await?;
    // A repeat, as after a lost answer, gives the first answer.
    let again = client.report_sale(request).await?;
    assert_eq!(first, again, "one request, one answer");
    Ok(first)
}

async fn redeem(client: &Client, code: &str) -> Result<proto::RedeemVoucherResponse, Error> {
    let purchase = Some(proto::Money { minor: PAID_MINOR, ..Default::default() });
    let request = proto::RedeemVoucherRequest {
        request_id: random_request_id(),
        code: code.to_owned(),
        purchase,
        ..Default::default()
    };
    client.redeem_voucher(request).await
}
