//! What the peer port allows. tonic and hyper set next to none of this by themselves.

use std::{num::NonZeroUsize, time::Duration};

use http::Uri;
use tonic::transport::{Endpoint, Server};

/// Handshakes under way at once. Each keeps a socket and a few tens of kilobytes, and costs some 200 microseconds of a
/// core when it goes through (a signature made, one checked, a key agreed on): 50 ms for all of them.
const HANDSHAKES_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

/// Of these from one address. Shops of one street may share one; they seldom all connect in one instant.
const HANDSHAKES_PER_SOURCE_MAX: NonZeroUsize = NonZeroUsize::new(32).expect("32 is not zero");

/// Accepted connections at once: twice the largest alliance (500 shops), so that all of it may reconnect while its
/// old connections still linger.
const CONNECTIONS_MAX: usize = 1_000;

/// A handshake takes two round trips; this leaves a bad mobile link three repeats of a lost packet.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Opening the stream, the handshake, and the other side's first frame. Twice the other side's handshake limit, since
/// opening it may lead through a relay.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// A call's limit when its caller set none or a longer one; a stream's, until its response begins. tonic reports it
/// as `CANCELLED`.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Below the 30 s after which poor NAT boxes forget a silent connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// An unanswered ping for this long means that the other side is gone: a tablet asleep, a cable out.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams a peer may have open: sync, push and listening use under ten, the rest are unary calls.
const STREAMS_MAX: u32 = 128;

/// Handlers at work for one connection; further calls wait their turn, so one shop cannot take all of a node.
const CALLS_PER_CONNECTION_MAX: usize = 64;

/// Bytes under way in one stream: 100 Mbit/s over a round trip of 80 ms.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes under way in one connection, and so what one peer can make a node hold. Two full streams.
const CONNECTION_WINDOW_BYTES: u32 = 2 * STREAM_WINDOW_BYTES;

/// Larger than HTTP/2's default of 16 kB, as runs of records are; small enough that a call is not stuck behind one.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// Our headers take under 1 kB; error details travel in trailers and may take a few more.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// Streams reset before they were accepted. More of them is the "rapid reset" attack (CVE-2023-44487), and the
/// connection is closed.
const PENDING_ACCEPT_RESET_STREAMS_MAX: usize = 20;

/// Streams that we had to reset for the other side's errors. More of them, and the connection is closed.
const LOCAL_ERROR_RESET_STREAMS_MAX: usize = 64;

/// Calls queued in one channel before callers wait.
const CHANNEL_QUEUE_MAX: usize = 128;

/// How many may knock at once, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenLimits {
    /// Handshakes under way. When full, the oldest gives way.
    pub handshakes_max: NonZeroUsize,
    /// Handshakes under way from one address (of IPv6, one /64 network). When full, its oldest gives way.
    pub handshakes_per_source_max: NonZeroUsize,
    /// Accepted connections. When full, further ones are closed after the handshake.
    pub connections_max: usize,
    /// Longest handshake, a refusal's farewell included.
    pub handshake_timeout: Duration,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            handshakes_max: HANDSHAKES_MAX,
            handshakes_per_source_max: HANDSHAKES_PER_SOURCE_MAX,
            connections_max: CONNECTIONS_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }
}

/// A tonic server with the peer port's limits, to which services and layers are added, and which is then served with
/// [`listen`](super::listen)'s stream. It speaks first, as dialling shops expect.
pub fn server() -> Server {
    Server::builder()
        .timeout(CALL_TIMEOUT)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .accept_http1(false)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_ACCEPT_RESET_STREAMS_MAX))
        .http2_max_local_error_reset_streams(Some(LOCAL_ERROR_RESET_STREAMS_MAX))
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
}

/// A tonic endpoint with the same limits for the dialling end. Calls have no deadline of its own making: each caller
/// sets one.
pub fn endpoint() -> Endpoint {
    // `http`, as the connector does TLS itself; the origin is what requests carry.
    Endpoint::from_static("http://shop.invalid")
        .origin(Uri::from_static("https://shop.invalid"))
        .buffer_size(CHANNEL_QUEUE_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_local_error_reset_streams(LOCAL_ERROR_RESET_STREAMS_MAX)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}
