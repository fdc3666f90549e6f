//! What is no call at all: broken frames, oversized messages, other protocols, noise. Every connection is answered with
//! a status or closed, and the node goes on.

use std::{net::SocketAddr, process::Command};

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hutong_record::SigningKey;
use hutong_wire::peer::v1::{Frame, Goodbye, SyncRequest, frame};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use crate::{
    harness::{Reach, Shop, Street, converged, soon, until},
    peer::{dial, hello},
    trade::{sale, two_shops},
};

const OVERSIZED_BYTES: usize = 5 << 20;
const SALE: &str = "/hutong.merchant.v1.SaleService/ReportSale";
const SYNC: &str = "/hutong.peer.v1.SyncService/Sync";
const JOIN: &str = "/hutong.peer.v1.JoinService/Join";

/// What came back.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    pub(crate) body: Bytes,
}

/// A connection to the merchant port that sends whatever it is given.
pub(crate) async fn merchant_channel(shop: &Shop) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", shop.merchant())).expect("an address");
    endpoint.connect().await.expect("the node answers")
}

/// A message in its gRPC frame.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

/// Posts a body to a method, and reads the answer to its end.
pub(crate) async fn call(
    channel: &Channel,
    method: &str,
    authorization: Option<&str>,
    body: Bytes,
) -> Outcome {
    let mut request =
        http::Request::post(method).header("content-type", "application/grpc").header("te", "trailers");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let request = request.body(Body::new(Full::new(body))).expect("a request");
    let answer = async {
        let mut channel = channel.clone();
        let response = channel.ready().await.expect("a connection").call(request).await;
        let (head, body) = match response {
            Ok(response) => response.into_parts(),
            Err(error) => return Outcome { status: Status::from_error(error.into()), body: Bytes::new() },
        };
        let in_head = Status::from_header_map(&head.headers);
        match body.collect().await {
            Ok(collected) => {
                let in_trailers = collected.trailers().and_then(Status::from_header_map);
                let none = || Status::unknown(format!("HTTP {}", head.status));
                Outcome { status: in_head.or(in_trailers).unwrap_or_else(none), body: collected.to_bytes() }
            }
            Err(status) => Outcome { status: in_head.unwrap_or(status), body: Bytes::new() },
        }
    };
    soon("an answer", answer).await
}

/// Bodies that are no gRPC message, and the statuses that may answer them.
fn broken_bodies() -> Vec<(&'static str, Bytes, &'static [Code])> {
    let oversized = framed(&vec![0; OVERSIZED_BYTES]);
    let announced = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    let lies: &[Code] = &[Code::OutOfRange, Code::ResourceExhausted];
    let breaks: &[Code] = &[Code::Internal, Code::InvalidArgument, Code::Unimplemented];
    vec![
        ("a frame cut short", Bytes::from_static(&[0, 0, 0, 0, 100, 1, 2, 3]), breaks),
        ("half a prefix", Bytes::from_static(&[0, 0, 0]), breaks),
        ("an unknown flag", Bytes::from_static(&[9, 0, 0, 0, 1, 0]), breaks),
        ("compressed, of which nothing was said", Bytes::from_static(&[1, 0, 0, 0, 1, 0]), breaks),
        ("5 MiB", oversized, lies),
        ("4 GiB announced", announced, lies),
        ("noise", framed(&[0xff; 64]), breaks),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_messages_at_the_merchant_port_get_a_status() {
    let street = Street::new();
    let (shop, _, _) = two_shops(&street, 10).await;
    let channel = merchant_channel(&shop).await;
    let authorization = format!("Bearer {}", shop.token());
    let mut bodies = broken_bodies();
    // Field 2, `request_id`: a text of two bytes that are not UTF-8.
    bodies.push(("not UTF-8", framed(&[0x12, 2, 0xc3, 0x28]), &[Code::Internal, Code::InvalidArgument]));
    bodies.push(("nothing", Bytes::new(), &[Code::Internal, Code::InvalidArgument]));
    for (what, body, codes) in bodies {
        let status = call(&channel, SALE, Some(&authorization), body).await.status;
        assert!(codes.contains(&status.code()), "{what}: {status:?}");
    }
    for method in ["/hutong.merchant.v1.SaleService/Nothing", "/no.such.Service/Call", "/", SYNC] {
        let status = call(&channel, method, Some(&authorization), framed(b"")).await.status;
        assert_eq!(status.code(), Code::Unimplemented, "{method}");
    }
    assert_eq!(shop.summary().await.sales, 0);
    shop.client().await.report_sale(sale(1)).await.expect("the node goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_messages_at_the_peer_port_get_a_status() {
    let street = Street::new();
    let (baozi, mut teahouse, _) = two_shops(&street, 10).await;
    converged(&[&baozi, &teahouse]).await;
    teahouse.stop().await;
    let channel = dial(teahouse.secrets().signing, &baozi).await.expect("a member");
    for method in [SYNC, JOIN] {
        for (what, body, codes) in broken_bodies() {
            let status = call(&channel, method, None, body).await.status;
            // Whoever is no guest is sent away from joining whatever it says.
            let refused = method == JOIN && status.code() == Code::PermissionDenied;
            assert!(refused || codes.contains(&status.code()), "{method}, {what}: {status:?}");
        }
    }
    // A text that is not UTF-8, once the link is up: the link ends.
    let alliance = baozi.client().await.all_alliances().await.unwrap()[0].id.parse().unwrap();
    let greeting = SyncRequest { frame: Some(hello(alliance)) }.encode_to_vec();
    let detail = "xx".to_owned();
    let goodbye = frame::Frame::Goodbye(Goodbye { detail, ..Goodbye::default() });
    let mut bad = SyncRequest { frame: Some(Frame { frame: Some(goodbye) }) }.encode_to_vec();
    let text = bad.len() - 2;
    bad[text..].copy_from_slice(&[0xc3, 0x28]);
    call(&channel, SYNC, None, [framed(&greeting), framed(&bad)].concat().into()).await;
    let unknown = call(&channel, SALE, None, framed(b"")).await.status;
    assert_eq!(unknown.code(), Code::Unimplemented, "tills have no business here");

    teahouse.serve().await;
    baozi.client().await.report_sale(sale(1)).await.expect("the node goes on");
    converged(&[&baozi, &teahouse]).await;
}

/// The shortest beginning by which both protocols know that it is not theirs.
const PREFACE_BYTES: usize = 24;

/// Says something to a port, and reads until the port has had enough. Only what is too short to be judged is ended by
/// this side.
async fn say(port: SocketAddr, words: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(port).await.expect("the port is open");
    let mut heard = Vec::new();
    soon("the port closes", async {
        // A port that has closed already is no failure.
        let _sent = stream.write_all(words).await;
        if words.len() < PREFACE_BYTES {
            let _closed = stream.shutdown().await;
        }
        let _reset = stream.read_to_end(&mut heard).await;
    })
    .await;
    heard
}

fn noise() -> Vec<Vec<u8>> {
    let seed = 7_710;
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut words = vec![
        b"GET / HTTP/1.1\r\nHost: hutong\r\n\r\n".to_vec(),
        b"POST /hutong.merchant.v1.SaleService/ReportSale HTTP/1.1\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0"
            .to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"\n".to_vec(),
        Vec::new(),
        // A TLS record of a client's first message, whose content is noise.
        [&[0x16, 3, 1, 0, 64][..], &[0xaa; 64]].concat(),
        // One that claims to be longer than it is.
        vec![0x16, 3, 3, 0xff, 0xff, 1],
    ];
    for _ in 0..32 {
        let mut bytes = vec![0; rng.random_range(1..2_000)];
        rng.fill(&mut bytes[..]);
        words.push(bytes);
    }
    words
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_protocols_and_noise_are_shown_out_of_both_ports() {
    let street = Street::new();
    let (baozi, teahouse, _) = two_shops(&street, 10).await;
    for port in [baozi.merchant(), baozi.peer()] {
        let words = noise();
        for heard in join_all(words.iter().map(|words| say(port, words))).await {
            assert!(!heard.starts_with(b"HTTP/1.1 200"), "{port}: {}", String::from_utf8_lossy(&heard));
        }
    }
    let stranger = dial(SigningKey::from_seed(&[1; 32]), &baozi).await;
    assert!(stranger.is_err());
    baozi.client().await.report_sale(sale(1)).await.expect("the node goes on");
    converged(&[&baozi, &teahouse]).await;
}

/// More connections than the node has file descriptors: who is connected is served, and afterwards everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_idle_connections_stops_no_till_that_is_connected() {
    const FILES_MAX: usize = 200;
    let street = Street::new();
    let mut shop = street.init("baozi", Reach::Open);
    let serve = shop.serve_command();
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {FILES_MAX}; exec \"$@\""), "sh"]).arg(serve.get_program());
    limited.args(serve.get_args()).env_clear();
    shop.serve_as(limited).await;
    shop.found("street");
    let till = shop.client().await;
    till.report_sale(sale(1)).await.expect("a quiet hour");
    let flood = join_all((0..FILES_MAX + 50).map(|_| TcpStream::connect(shop.merchant()))).await;
    assert!(flood.iter().all(Result::is_ok), "the system queues what the node does not take");
    until("the node has taken all that it can", async || {
        shop.log().contains("cannot be accepted").then_some(())
    })
    .await;
    till.report_sale(sale(1)).await.expect("in the flood");
    drop(flood);
    shop.client().await.report_sale(sale(1)).await.expect("after it");
}
