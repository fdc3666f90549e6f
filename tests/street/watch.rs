//! Watching: every event once, in order, whatever becomes of the stream.

use std::time::Duration;

use futures::future::try_join_all;
use hutong_client::{Client, Streaming, Token, proto::WatchRequest, proto::WatchResponse};

use crate::{
    harness::{PATIENCE, Shop, Street, soon},
    trade::{EARN_MINOR, sale, two_shops},
};

/// More than a stream's window and the node's read-ahead hold together.
const SALES: usize = 600;
/// Each sale and the voucher that it earns.
const EVENTS: usize = 2 * SALES;

async fn watch(shop: &Shop, resume_token: &str) -> Streaming<WatchResponse> {
    let request = WatchRequest { resume_token: resume_token.to_owned(), ..Default::default() };
    shop.client().await.watch(request).await.expect("a stream")
}

/// The number in a token.
fn place(token: &str) -> u64 {
    token.split('.').next().unwrap().parse().unwrap()
}

async fn read(stream: &mut Streaming<WatchResponse>, count: usize) -> Vec<WatchResponse> {
    let mut events = Vec::new();
    while events.len() < count {
        let event = soon("an event", stream.message()).await.expect("the stream lives");
        events.push(event.expect("the stream goes on"));
    }
    events
}

async fn sell(shop: &Shop, count: usize) {
    let client = shop.client().await;
    try_join_all((0..count).map(|_| client.report_sale(sale(EARN_MINOR)))).await.expect("sold");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_misses_nothing() {
    let street = Street::new();
    let (shop, _teahouse, _) = two_shops(&street, 10_000).await;
    let mut slow = watch(&shop, "").await;
    sell(&shop, SALES).await;
    // Only now the watcher begins to read. Another one, from the beginning, tells what there is.
    let seen = read(&mut slow, EVENTS).await;
    let before = shop.digest().await.record_count - EVENTS as u64;
    let mut all = watch(&shop, "0").await;
    let mut first = read(&mut all, 1).await.remove(0);
    while place(&first.resume_token) <= before {
        first = read(&mut all, 1).await.remove(0);
    }
    let mut rest = vec![first];
    rest.extend(read(&mut all, EVENTS - 1).await);
    assert!(seen == rest, "the watchers differ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_goes_on_after_a_crash_with_none_missed_and_none_twice() {
    let street = Street::new();
    let (mut shop, _teahouse, _) = two_shops(&street, 10_000).await;
    let start = {
        let mut stream = watch(&shop, "0").await;
        sell(&shop, 1).await;
        let events = read(&mut stream, 2).await;
        events.last().unwrap().resume_token.clone()
    };
    let mut seen: Vec<WatchResponse> = Vec::new();
    for _ in 0..4 {
        let token = seen.last().map_or(start.clone(), |event| event.resume_token.clone());
        let mut stream = watch(&shop, &token).await;
        sell(&shop, 40).await;
        seen.extend(read(&mut stream, 30).await);
        shop.kill().await;
        shop.serve().await;
    }
    let token = seen.last().unwrap().resume_token.clone();
    let left = shop.digest().await.record_count - place(&token);
    seen.extend(read(&mut watch(&shop, &token).await, usize::try_from(left).unwrap()).await);
    let afresh = read(&mut watch(&shop, &start).await, seen.len()).await;
    assert!(seen == afresh, "what was seen in pieces differs from the whole");
    let mut ids: Vec<_> = seen.iter().map(|event| &event.record_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), seen.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_token_is_refused() {
    let street = Street::new();
    let (shop, _, _) = two_shops(&street, 10).await;
    for token in ["999999", "-1", "x", "18446744073709551615", "99999999999999999999"] {
        let request = WatchRequest { resume_token: token.to_owned(), ..Default::default() };
        let error = shop.client().await.watch(request).await.unwrap_err();
        assert_eq!(error.reason(), Some("FIELD_INVALID"), "{token}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_journal_is_refused_though_its_number_fits() {
    let street = Street::new();
    let (shop, _, _) = two_shops(&street, 10).await;
    sell(&shop, 2).await;
    let event = read(&mut watch(&shop, "0").await, 3).await.pop().unwrap();
    let (number, mark) = event.resume_token.split_once('.').unwrap();
    let other = format!("{number}.{}", mark.chars().rev().collect::<String>());
    let request = WatchRequest { resume_token: other, ..Default::default() };
    let error = shop.client().await.watch(request).await.unwrap_err();
    assert_eq!(error.reason(), Some("FIELD_INVALID"));
    let next = read(&mut watch(&shop, number).await, 1).await.pop().unwrap();
    assert_eq!(next, read(&mut watch(&shop, &event.resume_token).await, 1).await.pop().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_the_sdk_outlives_the_node_from_before_its_first_event() {
    let street = Street::new();
    let (mut shop, _teahouse, _) = two_shops(&street, 1_000).await;
    // The node's ports are free ones, so the client is given a fixed way to them.
    let endpoint = crate::harness::fixed_merchant(&mut shop).await;
    let client = Client::connect(&endpoint, &Token::new(&shop.token())).await.unwrap();
    let before = shop.digest().await.record_count;
    let mut events = client.watch_on("", "");
    // The first bookmark is heard while nothing happens, however slow the machine is.
    let mut wait = Duration::from_millis(50);
    while events.resume_token().is_empty() {
        assert!(wait < PATIENCE, "in vain: a bookmark");
        let waiting = tokio::time::timeout(wait, events.next()).await;
        assert!(waiting.is_err(), "nothing has happened: {waiting:?}");
        wait *= 2;
    }
    let mut seen = Vec::new();
    for round in 0..3 {
        shop.kill().await;
        crate::harness::serve_fixed(&mut shop, &endpoint).await;
        sell(&shop, 5).await;
        while seen.len() < 10 * (round + 1) {
            seen.push(soon("an event", events.next()).await.expect("it comes back").resume_token);
        }
    }
    let places: Vec<_> = seen.iter().map(|token| place(token)).collect();
    assert_eq!(places, (before + 1..=before + 30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_at_its_own_deadline() {
    let street = Street::new();
    let (shop, _, _) = two_shops(&street, 10).await;
    let mut request = tonic::Request::new(WatchRequest::default());
    request.set_timeout(Duration::from_millis(300));
    let mut stream = shop.client().await.events().watch(request).await.unwrap().into_inner();
    let ended = soon("the deadline", stream.message()).await.unwrap_err();
    assert!([tonic::Code::DeadlineExceeded, tonic::Code::Cancelled].contains(&ended.code()), "{ended}");
}
