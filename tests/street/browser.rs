//! What browsers say: gRPC-Web over HTTP/1, and the question which pages may call.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Reach, Shop, Street, soon};

const PAGE: &str = "https://shop.example.com";

async fn serving_page(street: &Street) -> Shop {
    let mut shop = street.init("baozi", Reach::Open);
    let mut command = shop.serve_command();
    command.env("HUTONG_MERCHANT__CORS_ORIGINS", PAGE);
    shop.serve_as(command).await;
    shop
}

/// One request over HTTP/1.1; the whole answer.
async fn ask(shop: &Shop, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(shop.merchant()).await.unwrap();
    let length = body.len();
    let head = format!("{head}host: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    soon("the answer", stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn preflight(origin: &str) -> String {
    format!(
        "OPTIONS /hutong.merchant.v1.NodeService/GetStatus HTTP/1.1\r\norigin: {origin}\r\n\
         access-control-request-method: POST\r\n\
         access-control-request-headers: authorization,content-type,x-grpc-web\r\n"
    )
}

fn post(origin: &str, token: &str) -> String {
    format!(
        "POST /hutong.merchant.v1.NodeService/GetStatus HTTP/1.1\r\norigin: {origin}\r\n\
         content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\nauthorization: Bearer {token}\r\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_configured_origin_may_call_and_others_may_not() {
    let street = Street::new();
    let shop = serving_page(&street).await;
    let allowed = ask(&shop, &preflight(PAGE), b"").await.to_lowercase();
    assert!(allowed.starts_with("http/1.1 200"), "{allowed}");
    assert!(allowed.contains(&format!("access-control-allow-origin: {PAGE}")), "{allowed}");
    assert!(allowed.contains("authorization"), "{allowed}");
    let other = ask(&shop, &preflight("https://evil.example.com"), b"").await.to_lowercase();
    assert!(!other.contains("access-control-allow-origin"), "{other}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_web_is_answered_with_trailers_in_the_body_and_needs_a_token() {
    let street = Street::new();
    let shop = serving_page(&street).await;
    let answer = ask(&shop, &post(PAGE, &shop.token()), &[0, 0, 0, 0, 0]).await;
    assert!(answer.contains("200 OK") && answer.contains("grpc-status:0"), "{answer}");
    assert!(answer.contains(&shop.id()) && answer.to_lowercase().contains(PAGE), "{answer}");
    let denied = ask(&shop, &post(PAGE, "nobody"), &[0, 0, 0, 0, 0]).await;
    assert!(denied.contains("grpc-status: 16") || denied.contains("grpc-status:16"), "{denied}");
    let plain = ask(&shop, "GET / HTTP/1.1\r\n", b"").await;
    assert!(plain.starts_with("HTTP/1.1 4"), "{plain}");
}
