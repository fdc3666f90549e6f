//! The merchant port: what tills, apps and operators call. Handlers parse, ask the alliance, and answer; what is
//! allowed, the rules decide.

mod alliance;
mod auth;
mod call;
mod event;
mod guess;
mod node;
mod promotion;
mod qualify;
mod redeem;
mod report;
mod right;
mod sale;
mod settlement;
mod voucher;

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use hutong_core::refusal::{Language, Refusal};
use hutong_record::AllianceId;
use hutong_wire::{
    FILE_DESCRIPTOR_SET,
    merchant::v1::{
        alliance_service_server::AllianceServiceServer, event_service_server::EventServiceServer,
        node_service_server::NodeServiceServer, promotion_service_server::PromotionServiceServer,
        report_service_server::ReportServiceServer, sale_service_server::SaleServiceServer,
        settlement_service_server::SettlementServiceServer, voucher_service_server::VoucherServiceServer,
    },
    status, trade,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, service::interceptor::InterceptedService, transport::Server};

use crate::{alliance::Hosted, node::Node};

/// The largest request: a promotion for 64 shops takes some 12 KB, a dry run of 100 QR codes 30 KB.
const REQUEST_BYTES_MAX: usize = 256 * 1_024;
/// Calls under way on one connection; beyond, they wait.
const CALLS_PER_CONNECTION_MAX: usize = 256;
const STREAMS_MAX: u32 = 512;
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1_024;
/// A call answered later than this helps no till.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept. With no file descriptors left the next one fails too, and would at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Entries of a page when the caller names no number, and at the most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;

/// Serves the merchant port.
#[derive(Debug, Clone)]
struct MerchantPort {
    node: Arc<Node>,
    guesses: Arc<guess::Guesses>,
}

/// Serves the merchant port until the node stops; callers show `token`.
pub fn serve(
    node: Arc<Node>,
    listener: TcpListener,
    token: &str,
) -> anyhow::Result<impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static> {
    let port = MerchantPort { node: node.clone(), guesses: Arc::default() };
    let auth = auth::TokenCheck::new(token);
    macro_rules! guarded {
        ($server:ident) => {
            InterceptedService::new(
                $server::new(port.clone()).max_decoding_message_size(REQUEST_BYTES_MAX),
                auth.clone(),
            )
        };
    }
    let descriptors = [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure();
        descriptors.iter().fold(builder, |b, set| b.register_encoded_file_descriptor_set(set))
    };
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let router = Server::builder()
        .timeout(CALL_TIMEOUT)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .tcp_nodelay(true)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(guarded!(SaleServiceServer))
        .add_service(guarded!(VoucherServiceServer))
        .add_service(guarded!(PromotionServiceServer))
        .add_service(guarded!(AllianceServiceServer))
        .add_service(guarded!(ReportServiceServer))
        .add_service(guarded!(SettlementServiceServer))
        .add_service(guarded!(EventServiceServer))
        .add_service(guarded!(NodeServiceServer));
    Ok(async move {
        health_reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let stop = node.stop().clone().cancelled_owned();
        let incoming = TcpListenerStream::new(listener).then(async |accepted| {
            match &accepted {
                Ok(stream) => drop(stream.set_nodelay(true)),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            accepted
        });
        router.serve_with_incoming_shutdown(incoming, stop).await
    })
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
