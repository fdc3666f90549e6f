//! Webhooks: every event reaches its receiver at least once, under one id, whatever receiver and node go through.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    harness::{Shop, Street, until},
    trade::{EARN_MINOR, sale, two_shops},
};

/// A message as it came.
#[derive(Debug, Clone)]
struct Post {
    headers: BTreeMap<String, String>,
    body: String,
}

/// Somebody who listens for messages, and answers as told.
#[derive(Debug, Clone)]
struct Receiver {
    address: std::net::SocketAddr,
    posts: Arc<Mutex<Vec<(Post, u16)>>>,
    status: Arc<Mutex<u16>>,
}

impl Receiver {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            posts: Arc::default(),
            status: Arc::new(Mutex::new(204)),
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        receiver
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return;
                }
                continue;
            };
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let headers: BTreeMap<_, _> = head
                .lines()
                .skip(1)
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length: usize = headers["content-length"].parse().unwrap();
            while bytes.len() < end + 4 + length {
                assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
            }
            let body = String::from_utf8(bytes[end + 4..end + 4 + length].to_vec()).unwrap();
            bytes.drain(..end + 4 + length);
            let status = *self.status.lock().unwrap();
            self.posts.lock().unwrap().push((Post { headers, body }, status));
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    /// What was taken: ids in the order of their first coming, and bodies by id.
    fn taken(&self) -> (Vec<String>, BTreeMap<String, String>) {
        let (mut ids, mut bodies) = (Vec::new(), BTreeMap::new());
        for (post, status) in self.posts.lock().unwrap().iter().filter(|(_, status)| *status == 204) {
            assert_eq!(*status, 204);
            let id = post.headers["webhook-id"].clone();
            match bodies.insert(id.clone(), post.body.clone()) {
                None => ids.push(id),
                Some(before) => assert_eq!(before, post.body, "one id, one message"),
            }
        }
        (ids, bodies)
    }

    fn refused(&self) -> usize {
        self.posts.lock().unwrap().iter().filter(|(_, status)| *status != 204).count()
    }
}

fn add(shop: &Shop, receiver: &Receiver, more: &[&str]) -> String {
    let url = format!("http://{}/hutong", receiver.address);
    let added = shop.cli(&[&["webhook", "add", "--url", &url], more].concat());
    assert!(added["secret"].as_str().unwrap().starts_with("whsec_"));
    added["id"].as_str().unwrap().to_owned()
}

async fn sell(shop: &Shop, count: usize) {
    let client = shop.client().await;
    for _ in 0..count {
        client.report_sale(sale(EARN_MINOR)).await.expect("sold");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_while_the_receiver_is_down_and_the_node_crashes_arrives_in_order() {
    let street = Street::new();
    let (mut shop, _teahouse, _) = two_shops(&street, 100).await;
    let receiver = Receiver::listen().await;
    let id = add(&shop, &receiver, &["--event", "sale", "--event", "voucher_issued"]);
    sell(&shop, 3).await;
    until("the first messages arrive", async || (receiver.taken().0.len() == 6).then_some(())).await;
    receiver.answer(503);
    sell(&shop, 3).await;
    until("they are refused", async || (receiver.refused() > 1).then_some(())).await;
    shop.kill().await;
    shop.serve().await;
    sell(&shop, 2).await;
    receiver.answer(204);
    until("everything arrives", async || (receiver.taken().0.len() == 16).then_some(())).await;
    let (ids, bodies) = receiver.taken();
    // The same events, from the same journal, in the same order.
    let mut stream = shop.client().await.watch_on("", "0");
    let mut told = Vec::new();
    while told.len() < ids.len() {
        let event = stream.next().await.expect("an event");
        let kind = event.r#type().as_str_name().trim_start_matches("EVENT_TYPE_").to_ascii_lowercase();
        if ["sale", "voucher_issued"].contains(&kind.as_str()) {
            let message: Value = serde_json::from_str(&bodies[&ids[told.len()]]).unwrap();
            assert_eq!(
                (&message["type"], &message["data"]["record_id"]),
                (&kind.into(), &event.record_id.clone().into())
            );
            told.push(event.record_id);
        }
    }
    let listed = shop.cli(&["webhook", "list"]);
    assert_eq!((&listed[0]["id"], &listed[0]["dead_letter_count"]), (&id.as_str().into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_the_node_that_passes_ends_no_delivery() {
    let street = Street::new();
    let (mut shop, _teahouse, _) = two_shops(&street, 100).await;
    let receiver = Receiver::listen().await;
    let id = add(&shop, &receiver, &["--event", "sale"]);
    sell(&shop, 1).await;
    until("the first message arrives", async || (receiver.taken().0.len() == 1).then_some(())).await;
    // Its place cannot be written: where the file is made there is a folder.
    let obstacle = shop.folder().join(format!("webhooks/{id}.position.new"));
    std::fs::create_dir(&obstacle).unwrap();
    sell(&shop, 1).await;
    let listed = || shop.cli(&["webhook", "list"])[0].clone();
    until("the failure is told", async || {
        listed()["last_error"].as_str().unwrap().contains("the node failed").then_some(())
    })
    .await;
    sell(&shop, 1).await;
    until("delivery goes on all the same", async || (receiver.taken().0.len() == 3).then_some(())).await;
    std::fs::remove_dir(&obstacle).unwrap();
    let before = listed()["resume_token"].clone();
    sell(&shop, 1).await;
    until("the place is written", async || (listed()["resume_token"] != before).then_some(())).await;
    shop.stop().await;
    shop.serve().await;
    sell(&shop, 1).await;
    until("everything arrives", async || (receiver.taken().0.len() == 5).then_some(())).await;
    assert_eq!(receiver.posts.lock().unwrap().len(), 5, "each once: it begins where it was, not anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_is_a_dead_letter_until_it_is_replayed() {
    let street = Street::new();
    let (mut shop, _teahouse, _) = two_shops(&street, 100).await;
    let receiver = Receiver::listen().await;
    receiver.answer(500);
    let id = add(&shop, &receiver, &["--event", "sale", "--attempts", "2"]);
    sell(&shop, 2).await;
    let dead = || shop.cli(&["webhook", "dead", &id]);
    until("both are given up", async || (dead().as_array().unwrap().len() == 2).then_some(())).await;
    assert_eq!(receiver.refused(), 4, "two attempts each");
    let letters = dead();
    assert!(letters[0]["last_error"].as_str().unwrap().contains("500"));
    let (taken, replayed) = shop.told(&["webhook", "replay", &id]);
    assert_eq!((taken, &replayed["failed_count"]), (false, &2.into()), "the receiver still refuses");
    shop.kill().await;
    shop.serve().await;
    let dead = || shop.cli(&["webhook", "dead", &id]);
    assert_eq!(dead(), letters, "they are on the disk");
    receiver.answer(204);
    assert_eq!(shop.cli(&["webhook", "test", &id])["delivered"], true);
    let first = letters[0]["message_id"].as_str().unwrap();
    assert_eq!(shop.cli(&["webhook", "replay", &id, "--message", first])["delivered_count"], 1);
    assert_eq!(dead().as_array().unwrap().len(), 1);
    assert_eq!(shop.cli(&["webhook", "replay", &id])["delivered_count"], 1);
    assert!(dead().as_array().unwrap().is_empty());
    let (taken, _) = receiver.taken();
    for letter in letters.as_array().unwrap() {
        assert!(taken.contains(&letter["message_id"].as_str().unwrap().to_owned()), "the first id: {letter}");
    }
    shop.cli(&["webhook", "remove", &id]);
    assert_eq!(shop.refused(&["webhook", "test", &id]), "WEBHOOK_UNKNOWN");
    shop.stop().await;
    shop.serve().await;
    assert!(shop.cli(&["webhook", "list"]).as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_secret_signs_along_until_the_receiver_has_changed_over() {
    let street = Street::new();
    let (mut shop, _teahouse, _) = two_shops(&street, 100).await;
    let receiver = Receiver::listen().await;
    let id = add(&shop, &receiver, &["--event", "sale"]);
    // Of the newest message; a crash repeats those before it.
    let signatures = |receiver: &Receiver, count: usize| {
        let (ids, _) = receiver.taken();
        let id = ids.get(count - 1)?;
        let posts = receiver.posts.lock().unwrap();
        let (newest, _) = posts.iter().rev().find(|(post, _)| post.headers["webhook-id"] == *id)?;
        let signatures = newest.headers["webhook-signature"].split(' ');
        Some(signatures.map(|one| one.starts_with("v1,")).collect::<Vec<_>>())
    };
    sell(&shop, 1).await;
    assert_eq!(until("one message", async || signatures(&receiver, 1)).await, [true]);
    let rotated = shop.cli(&["webhook", "rotate", &id, "--overlap", "1h"]);
    assert!(rotated["secret"].as_str().unwrap().starts_with("whsec_"));
    assert!(rotated["old_secrets_expire_time"].is_string());
    sell(&shop, 1).await;
    assert_eq!(until("signed twice", async || signatures(&receiver, 2)).await, [true, true]);
    shop.kill().await;
    shop.serve().await;
    sell(&shop, 1).await;
    assert_eq!(until("after a crash, too", async || signatures(&receiver, 3)).await, [true, true]);
    let at_once = shop.cli(&["webhook", "rotate", &id, "--leaked"]);
    assert!(at_once["old_secrets_expire_time"].is_null() && at_once["secret"] != rotated["secret"]);
    sell(&shop, 1).await;
    assert_eq!(until("the new one alone", async || signatures(&receiver, 4)).await, [true]);
    assert_eq!(shop.refused(&["webhook", "rotate", &id, "--overlap", "31d"]), "FIELD_INVALID");
    assert_eq!(shop.refused(&["webhook", "rotate", "0011223344556677"]), "WEBHOOK_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_and_wishes_out_of_bounds_are_refused() {
    let street = Street::new();
    let (shop, _teahouse, _) = two_shops(&street, 10).await;
    for bad in [
        vec!["--url", "http://192.0.2.1/"],
        vec!["--url", "ftp://127.0.0.1/"],
        vec!["--url", "https://a:b@example.com/"],
        vec!["--url", "http://127.0.0.1:9/", "--attempts", "21"],
        vec!["--url", "http://127.0.0.1:9/", "--from", "999999"],
        vec!["--url", "http://127.0.0.1:9/", "--event", "bookmark"],
    ] {
        assert_eq!(shop.refused(&[&["webhook", "add"], bad.as_slice()].concat()), "FIELD_INVALID", "{bad:?}");
    }
    assert_eq!(shop.refused(&["webhook", "add", "--url", "http://[::1]:9/", "--event", "x"]), "USAGE");
    for number in 0..17 {
        let url = format!("http://127.0.0.1:9/{number}");
        let added = shop.try_cli(&["webhook", "add", "--url", &url]);
        match added {
            Ok(_) => assert!(number < 16),
            Err(error) => {
                assert_eq!((number, &error["error"]["reason"]), (16, &"WEBHOOK_LIMIT_REACHED".into()))
            }
        }
    }
}
