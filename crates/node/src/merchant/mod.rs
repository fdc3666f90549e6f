//! The merchant port: what tills, apps and operators call. Handlers parse, ask the alliance, and answer; what is
//! allowed, the rules decide.

mod activity;
mod alliance;
mod auth;
mod bundle;
mod calendar;
mod call;
mod channel;
mod connection;
mod credit;
mod event;
mod filter;
mod governance;
mod guess;
mod mask;
mod names;
mod node;
mod overriding;
mod promotion;
mod qualify;
mod redeem;
mod repeat;
mod report;
mod right;
mod sale;
mod settlement;
mod tls;
mod token;
mod voucher;
mod webhook;

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, header};
use hutong_core::refusal::{Language, Refusal};
use hutong_record::AllianceId;
use hutong_wire::{
    FILE_DESCRIPTOR_SET,
    merchant::v1::{
        alliance_service_server::AllianceServiceServer, channel_service_server::ChannelServiceServer,
        event_service_server::EventServiceServer, governance_service_server::GovernanceServiceServer,
        node_service_server::NodeServiceServer, promotion_service_server::PromotionServiceServer,
        report_service_server::ReportServiceServer, sale_service_server::SaleServiceServer,
        settlement_service_server::SettlementServiceServer, token_service_server::TokenServiceServer,
        voucher_service_server::VoucherServiceServer, webhook_service_server::WebhookServiceServer,
    },
    status, trade,
};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::Server};
use tonic_web::GrpcWebLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    alliance::Hosted,
    config::{Config, Merchant},
    data_folder::DataFolder,
    metrics::calls::CountCalls,
    node::Node,
};
use tls::Doorway;
pub use tls::{TlsError, load as load_tls};

/// The largest request: a promotion for 64 shops takes some 12 KB, a dry run of 100 QR codes 30 KB.
const REQUEST_BYTES_MAX: usize = 256 * 1_024;
/// Calls under way on one connection; beyond, they wait.
const CALLS_PER_CONNECTION_MAX: usize = 256;
const STREAMS_MAX: u32 = 512;
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1_024;
/// Streams reset before they were accepted, and streams that this node had to reset over a connection's life: a refused call
/// whose body was not read is one, and an app with a wrong token makes many. With more the connection is closed
/// ("rapid reset", CVE-2023-44487).
const PENDING_ACCEPT_RESET_STREAMS_MAX: usize = 20;
const LOCAL_ERROR_RESET_STREAMS_MAX: usize = 1_024;
/// Bytes under way in one call and on one connection, and so what one caller can make the node hold: a few of the largest
/// requests.
const STREAM_WINDOW_BYTES: u32 = 512 * 1_024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1_024 * 1_024;
/// A call answered later than this helps no till.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a browser remembers which calls its pages may make.
const CORS_MAX_AGE: Duration = Duration::from_secs(3_600);
/// Entries of a page when the caller names no number, and at the most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;

/// Serves the merchant port.
#[derive(Debug, Clone)]
struct MerchantPort {
    node: Arc<Node>,
    guesses: Arc<guess::Guesses>,
    book: Arc<auth::Book>,
    audit: auth::Audit,
    webhooks: Arc<webhook::Webhooks>,
}

/// What of the merchant port can be changed while it is served.
#[derive(Debug)]
pub struct Controls {
    doorway: Doorway,
    gate: auth::Gate,
}

impl Controls {
    /// From now on new callers are shown another certificate, and the owner is known by another token. Connections stay.
    pub fn set(&self, settings: &Merchant, tls: Option<Arc<ServerConfig>>, owner_token: &str) {
        self.doorway.set(settings, tls);
        self.gate.set_owner(owner_token);
    }

    /// Ends the audit log with everything noted until now on the disk.
    pub async fn close(&self) {
        self.gate.close().await;
    }
}

/// Serves the merchant port until the node stops; whoever shows the owner's token may do everything. Other machines'
/// callers are shown the certificate in `tls`, as [`load_tls`] gives it.
///
/// # Errors
/// The tokens, webhooks or audit log in the data folder cannot be read.
pub fn serve(
    node: Arc<Node>,
    data: &DataFolder,
    listener: TcpListener,
    token: &str,
    tls: Option<Arc<ServerConfig>>,
) -> anyhow::Result<(Controls, impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static)> {
    let book = Arc::new(auth::Book::open(data.tokens_file(), token)?);
    let audit = auth::Audit::open(data.audit_folder())?;
    let webhooks = Arc::new(webhook::Webhooks::open(node.clone(), data.webhooks_folder())?);
    let gate = auth::Gate::new(token, book.clone(), audit.clone(), CALL_TIMEOUT);
    let doorway = Doorway::new(&node.config().merchant, tls);
    let controls = Controls { doorway: doorway.clone(), gate: gate.clone() };
    let cors = cors(node.config());
    let hooks = webhooks.clone();
    let port = MerchantPort { node: node.clone(), guesses: Arc::default(), book, audit, webhooks };
    macro_rules! service {
        ($server:ident) => {
            $server::new(port.clone()).max_decoding_message_size(REQUEST_BYTES_MAX)
        };
    }
    let descriptors = [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure();
        descriptors.iter().fold(builder, |b, set| b.register_encoded_file_descriptor_set(set))
    };
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let counted = CountCalls::new(node.telemetry().metrics.clone(), "merchant", &descriptors);
    let router = Server::builder()
        .timeout(CALL_TIMEOUT)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_ACCEPT_RESET_STREAMS_MAX))
        .http2_max_local_error_reset_streams(Some(LOCAL_ERROR_RESET_STREAMS_MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .tcp_nodelay(true)
        // Browsers speak gRPC-Web over HTTP/1.
        .accept_http1(true)
        .layer(cors)
        .layer(GrpcWebLayer::new())
        .layer(counted)
        .layer(gate)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(service!(SaleServiceServer))
        .add_service(service!(VoucherServiceServer))
        .add_service(service!(PromotionServiceServer))
        .add_service(service!(AllianceServiceServer))
        .add_service(service!(GovernanceServiceServer))
        .add_service(service!(ReportServiceServer))
        .add_service(service!(SettlementServiceServer))
        .add_service(service!(ChannelServiceServer))
        .add_service(service!(EventServiceServer))
        .add_service(service!(NodeServiceServer))
        .add_service(service!(TokenServiceServer))
        .add_service(service!(WebhookServiceServer));
    let serving = async move {
        health_reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let stop = node.stop().clone().cancelled_owned();
        let served = router.serve_with_incoming_shutdown(doorway.open(listener), stop).await;
        hooks.finish().await;
        served
    };
    Ok((controls, serving))
}

/// Which web pages may call: those of the configured origins. A page of any other is kept out by its browser.
fn cors(config: &Config) -> CorsLayer {
    let origins =
        config.merchant.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT_LANGUAGE,
            HeaderName::from_static("grpc-timeout"),
            HeaderName::from_static("x-grpc-web"),
            HeaderName::from_static("x-user-agent"),
        ])
        .expose_headers([
            HeaderName::from_static("grpc-status"),
            HeaderName::from_static("grpc-message"),
            HeaderName::from_static("grpc-status-details-bin"),
        ])
        .max_age(CORS_MAX_AGE)
}

impl MerchantPort {
    fn hosted(&self, alliance_id: &str) -> Result<Arc<Hosted>, Refusal> {
        let id: Option<AllianceId> = trade::alliance("alliance_id", alliance_id)?;
        self.node.hosted(id)
    }
}

/// Runs a handler's body, and tells its refusal in the caller's language.
async fn respond<Q, A>(
    request: Request<Q>,
    body: impl AsyncFnOnce(Q) -> Result<A, Refusal>,
) -> Result<Response<A>, Status> {
    let language = status::language(request.metadata());
    body(request.into_inner()).await.map(Response::new).map_err(|refusal| refused(&refusal, language))
}

fn refused(refusal: &Refusal, language: Language) -> Status {
    tracing::debug!(%refusal, "refused");
    status::refused(refusal, language)
}

/// The number of entries that a page may have.
fn page_size(wanted: i32) -> Result<usize, Refusal> {
    match usize::try_from(wanted) {
        Ok(0) => Ok(PAGE_DEFAULT),
        Ok(wanted) => Ok(wanted.min(PAGE_MAX)),
        Err(_) => Err(Refusal::field("page_size", "is negative")),
    }
}

/// One page of items in the order of their keys, and the token of the next. Keys are the tokens.
fn page<T>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
    size: i32,
    token: &str,
) -> Result<(Vec<T>, String), Refusal> {
    let size = page_size(size)?;
    let mut rest = items.into_iter().filter(|item| token.is_empty() || key(item).as_str() > token);
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let next = if rest.next().is_some() { page.last().map(key).unwrap_or_default() } else { String::new() };
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let all: Vec<String> = (0..7).map(|n| format!("{n}")).collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let (items, next) = page(all.clone(), Clone::clone, 3, &token).unwrap();
            seen.extend(items);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, all);
        assert!(page(all, Clone::clone, -1, "").is_err());
    }
}
