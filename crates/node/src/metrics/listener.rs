//! The address where metrics are told: plain HTTP/1.1, `GET /metrics` and `GET /health`, one answer a connection.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use super::Sampler;

/// Whoever asks is a collector, or somebody who looks: few at a time. Others wait in the system's queue.
const CONNECTIONS_MAX: usize = 8;
/// From accepting to the last byte of the answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Request line and headers.
const REQUEST_BYTES_MAX: usize = 16 * 1_024;
/// After a failed accept, which would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Tells metrics until the node stops.
pub async fn serve(listener: TcpListener, sampler: Arc<Sampler>, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let sampler = sampler.clone();
                tokio::spawn(async move {
                    // A collector that does not listen to the end asks again.
                    let _ended = tokio::time::timeout(ANSWER_TIME, answer(stream, sampler)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, sampler: Arc<Sampler>) -> Result<(), hyper::Error> {
    let answer = service_fn(move |request| {
        let sampler = sampler.clone();
        async move { Ok::<_, Infallible>(respond(&request, &sampler).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(REQUEST_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

async fn respond(request: &Request<Incoming>, sampler: &Sampler) -> Response<Full<bytes::Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => told(StatusCode::OK, OPEN_METRICS, sampler.text().await),
        (&Method::GET, "/health") if sampler.is_healthy() => plain(StatusCode::OK, "ok\n"),
        (&Method::GET, "/health") => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "a writer or a hub has stopped\n")
        }
        (_, "/metrics" | "/health") => plain(StatusCode::METHOD_NOT_ALLOWED, "GET it\n"),
        _ => plain(StatusCode::NOT_FOUND, "there is /metrics and /health\n"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<bytes::Bytes>> {
    told(status, "text/plain; charset=utf-8", text.to_owned())
}

fn told(status: StatusCode, kind: &'static str, text: String) -> Response<Full<bytes::Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
