//! Floods: more connections, streams, headers, questions or offers than anybody needs. Whoever sends them is bounded or cut;
//! tills are served all the while.

use std::net::SocketAddr;

use futures::future::join_all;
use hutong_record::AllianceId;
use hutong_sync::{Frame, limits::WANT_BYTES_MAX};
use hutong_wire::{
    frame::to_wire,
    peer::v1::{SyncRequest, sync_service_client::SyncServiceClient},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, metadata::AsciiMetadataValue};

use crate::{
    harness::{Street, converged, soon, until},
    peer::{Speaker, dial, hello},
    trade::{publish, sale, terms, two_shops},
};

/// As at the merchant port (`merchant/connection.rs`).
const CONNECTIONS_MAX: usize = 512;
const BATCH: usize = 64;
/// More than both ports take of headers.
const HEADER_BYTES: usize = 40 * 1_024;

async fn is_closed_at_once(port: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(port).await.expect("the system takes it");
    let read = tokio::time::timeout(std::time::Duration::from_secs(2), stream.read(&mut [0])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

/// As many as there are places, a few at a time: the system drops what its own queue has no room for, and tries again only
/// after seconds.
async fn silent_connections(port: SocketAddr) -> Vec<TcpStream> {
    let mut silent = Vec::with_capacity(CONNECTIONS_MAX);
    while silent.len() < CONNECTIONS_MAX {
        let batch = join_all((0..BATCH).map(|_| TcpStream::connect(port))).await;
        silent.extend(batch.into_iter().map(|stream| stream.expect("the system takes it")));
    }
    silent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_take_no_more_places_than_there_are_and_no_till_s() {
    let street = Street::new();
    let (shop, _, _) = two_shops(&street, 10).await;
    let till = shop.client().await;
    till.report_sale(sale(1)).await.expect("a quiet hour");
    // Whoever stays silent is let go after a while, so a flood that a busy machine lets in too slowly is begun anew.
    let mut flood = Vec::new();
    until("further ones are closed", async || {
        flood = silent_connections(shop.merchant()).await;
        is_closed_at_once(shop.merchant()).await.then_some(())
    })
    .await;
    till.report_sale(sale(1)).await.expect("in the flood");
    // They need not go by themselves: whoever says nothing is let go.
    until("there is room again", async || (!is_closed_at_once(shop.merchant()).await).then_some(())).await;
    drop(flood);
    shop.client().await.report_sale(sale(1)).await.expect("after it");
}

/// A frame of HTTP/2 on a stream.
fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Streams that are opened and taken back at once, in one breath ("rapid reset", CVE-2023-44487).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_at_once_end_the_connection() {
    const STREAMS: u32 = 2_000;
    let (goaway, headers, reset, settings) = (7, 1, 3, 4);
    let street = Street::new();
    let (shop, _, _) = two_shops(&street, 10).await;
    let mut words = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    words.extend(http2_frame(settings, 0, 0, &[]));
    for stream in (0..STREAMS).map(|n| 2 * n + 1) {
        // `:method POST`, `:scheme http`, `:path /`, from HPACK's static table; END_STREAM and END_HEADERS.
        words.extend(http2_frame(headers, 5, stream, &[0x83, 0x86, 0x84]));
        words.extend(http2_frame(reset, 0, stream, &8u32.to_be_bytes()));
    }
    let mut stream = TcpStream::connect(shop.merchant()).await.expect("the port is open");
    let mut heard = Vec::new();
    soon("the connection ends", async {
        let _cut = stream.write_all(&words).await;
        let _reset = stream.read_to_end(&mut heard).await;
    })
    .await;
    let mut rest = &heard[..];
    let mut said_why = heard.is_empty();
    while let [high, middle, low, kind, _, _, _, _, _, after @ ..] = rest {
        let length = usize::try_from(u32::from_be_bytes([0, *high, *middle, *low])).expect("a length");
        said_why |= *kind == goaway;
        rest = after.get(length..).unwrap_or_default();
    }
    assert!(said_why, "it goes away: {heard:?}");
    shop.client().await.report_sale(sale(1)).await.expect("the node goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_without_end_are_refused_at_both_ports() {
    let street = Street::new();
    let (baozi, mut teahouse, _) = two_shops(&street, 10).await;
    converged(&[&baozi, &teahouse]).await;
    teahouse.stop().await;
    let long = AsciiMetadataValue::try_from("x".repeat(HEADER_BYTES)).expect("letters");
    let at_merchant = crate::bad_streams::merchant_channel(&baozi).await;
    let at_peer = dial(teahouse.secrets().signing, &baozi).await.expect("a member");
    for channel in [at_merchant, at_peer] {
        let mut request = tonic::Request::new(tokio_stream::empty::<SyncRequest>());
        request.metadata_mut().insert("x-long", long.clone());
        let mut client = SyncServiceClient::new(channel);
        let call = async { client.sync(request).await?.into_inner().message().await };
        let refused = soon("an answer", call).await.unwrap_err();
        // HTTP's 431, which is none of gRPC's; no handler has seen the call.
        assert_eq!(refused.code(), Code::Unknown, "{refused:?}");
    }
    baozi.client().await.report_sale(sale(1)).await.expect("the node goes on");
    teahouse.serve().await;
    converged(&[&baozi, &teahouse]).await;
}

/// A member that asks and asks, and never reads what it gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_asks_without_reading_is_cut_before_memory_grows() {
    const SALES: usize = 1_500;
    const WANTS: usize = 400;
    let street = Street::new();
    let (baozi, mut member) = (street.shop("baozi").await, street.shop("member").await);
    let alliance: AllianceId = baozi.found("street").parse().unwrap();
    baozi.admit(&member).await;
    let till = baozi.client().await;
    for part in (0..SALES).collect::<Vec<_>>().chunks(100) {
        join_all(part.iter().map(|_| till.report_sale(sale(1)))).await;
    }
    member.stop().await;
    baozi.disconnected(&member).await;
    let before = memory(&baozi).await;
    let channel = dial(member.secrets().signing, &baozi).await.expect("a member");
    let mut link = Speaker::open(channel, Some(hello(alliance))).await.expect("a link");
    assert!(matches!(link.hear().await, Some(Frame::Hello { .. })));
    let shop = baozi.secrets().identity.id();
    for _ in 0..WANTS {
        let want = Frame::Want { shop, from_sequence: 1, body_bytes_max: WANT_BYTES_MAX };
        link.say(Some(to_wire(want))).await;
    }
    until("the link is cut", async || (!baozi.link_to(&member).await.connected).then_some(())).await;
    let grown = memory(&baozi).await.saturating_sub(before);
    let answers = link.hear_out().await.iter().filter(|frame| matches!(frame, Frame::Records { .. })).count();
    println!("{answers} answers of {WANTS} were on their way, {grown} bytes of memory");
    assert!(answers < WANTS, "{answers}");
    assert!(grown < 128 << 20, "{grown}");
    member.serve().await;
    converged(&[&baozi, &member]).await;
}

async fn memory(shop: &crate::harness::Shop) -> u64 {
    let status = shop.client().await.get_status(hutong_client::proto::GetStatusRequest {}).await;
    status.expect("a status").memory_bytes
}

/// A member that publishes offer upon offer: the neighbour's tills are served meanwhile, none is told to come again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_without_end_starve_no_till() {
    const OFFERS: usize = 400;
    const SALES: usize = 200;
    let street = Street::new();
    let (baozi, teahouse, _) = two_shops(&street, 10).await;
    let offers = async {
        for part in (0..OFFERS).collect::<Vec<_>>().chunks(50) {
            join_all(part.iter().map(|_| publish(&teahouse, terms(&teahouse, &baozi, 1)))).await;
        }
    };
    let till = baozi.client().await;
    let sales = async {
        for _ in 0..SALES {
            till.report_sale(sale(1)).await.expect("a till is served");
        }
    };
    soon("offers and sales", futures::future::join(offers, sales)).await;
    assert!(baozi.summary().await.sales >= SALES as u64);
    converged(&[&baozi, &teahouse]).await;
}
