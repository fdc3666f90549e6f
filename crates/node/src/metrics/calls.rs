//! Counts calls at a port, around the whole router: the method's name is looked up among those that exist, so that no
//! caller can make names up.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tower::{Layer, Service};

use super::{
    CallLabels, Metrics,
    table::{MethodLabels, PortLabels},
};

/// Stands for every path that is no method.
const UNKNOWN: &str = "unknown";

/// Counts the calls of one port.
#[derive(Debug, Clone)]
pub(crate) struct CountCalls {
    counter: Arc<Counter>,
}

#[derive(Debug)]
struct Counter {
    metrics: Arc<Metrics>,
    port: &'static str,
    /// By path, `/package.Service/Method`.
    methods: HashMap<String, Arc<str>>,
    unknown: Arc<str>,
}

impl CountCalls {
    /// Of a port that serves the methods of these descriptors.
    pub(crate) fn new(metrics: Arc<Metrics>, port: &'static str, descriptors: &[&[u8]]) -> Self {
        let methods = descriptors.iter().flat_map(|set| method_paths(set)).collect();
        Self { counter: Arc::new(Counter { metrics, port, methods, unknown: UNKNOWN.into() }) }
    }
}

/// Every method's path, and how it is told: `Service/Method`.
fn method_paths(set: &[u8]) -> Vec<(String, Arc<str>)> {
    let set = FileDescriptorSet::decode(set).expect("descriptors are part of the program");
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let (service, method) = (service.name(), method.name());
                let told = format!("{service}/{method}");
                paths.push((format!("/{}.{told}", file.package()), told.into()));
            }
        }
    }
    paths
}

impl<S> Layer<S> for CountCalls {
    type Service = CountedCalls<S>;

    fn layer(&self, inner: S) -> CountedCalls<S> {
        CountedCalls { inner, counter: self.counter.clone() }
    }
}

/// A port's router, counted.
#[derive(Debug, Clone)]
pub(crate) struct CountedCalls<S> {
    inner: S,
    counter: Arc<Counter>,
}

impl<S, Q, A> Service<Request<Q>> for CountedCalls<S>
where
    S: Service<Request<Q>, Response = Response<A>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    A: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<A>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let under_way = UnderWay::begin(self.counter.clone(), request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            under_way.end(answer.as_ref().map_or("UNKNOWN", |answer| code(answer.headers())));
            answer
        })
    }
}

/// A call whose answer has not begun. One that is dropped before was given up by its caller.
struct UnderWay {
    counter: Arc<Counter>,
    method: Arc<str>,
    begun: Instant,
    ended: bool,
}

impl UnderWay {
    fn begin(counter: Arc<Counter>, path: &str) -> Self {
        let method = counter.methods.get(path).unwrap_or(&counter.unknown).clone();
        counter.metrics.calls_in_flight.get_or_create(&PortLabels { port: counter.port }).inc();
        Self { counter, method, begun: Instant::now(), ended: false }
    }

    fn end(mut self, code: &'static str) {
        self.count(code);
    }

    fn count(&mut self, code: &'static str) {
        self.ended = true;
        let (metrics, port) = (&self.counter.metrics, self.counter.port);
        metrics.calls_in_flight.get_or_create(&PortLabels { port }).dec();
        let method = MethodLabels { port, method: self.method.clone() };
        metrics.call_seconds.get_or_create(&method).observe(self.begun.elapsed().as_secs_f64());
        metrics.calls.get_or_create(&CallLabels { port, method: method.method, code }).inc();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.ended {
            self.count("CANCELLED");
        }
    }
}

/// The gRPC code with which an answer begins. An answer that begins well has none yet.
fn code(headers: &http::HeaderMap) -> &'static str {
    match headers.get("grpc-status").map(|value| tonic::Code::from_bytes(value.as_bytes())) {
        None | Some(tonic::Code::Ok) => "OK",
        Some(tonic::Code::Cancelled) => "CANCELLED",
        Some(tonic::Code::Unknown) => "UNKNOWN",
        Some(tonic::Code::InvalidArgument) => "INVALID_ARGUMENT",
        Some(tonic::Code::DeadlineExceeded) => "DEADLINE_EXCEEDED",
        Some(tonic::Code::NotFound) => "NOT_FOUND",
        Some(tonic::Code::AlreadyExists) => "ALREADY_EXISTS",
        Some(tonic::Code::PermissionDenied) => "PERMISSION_DENIED",
        Some(tonic::Code::ResourceExhausted) => "RESOURCE_EXHAUSTED",
        Some(tonic::Code::FailedPrecondition) => "FAILED_PRECONDITION",
        Some(tonic::Code::Aborted) => "ABORTED",
        Some(tonic::Code::OutOfRange) => "OUT_OF_RANGE",
        Some(tonic::Code::Unimplemented) => "UNIMPLEMENTED",
        Some(tonic::Code::Internal) => "INTERNAL",
        Some(tonic::Code::Unavailable) => "UNAVAILABLE",
        Some(tonic::Code::DataLoss) => "DATA_LOSS",
        Some(tonic::Code::Unauthenticated) => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hutong_wire::FILE_DESCRIPTOR_SET;
    use tower::service_fn;

    use super::*;
    use crate::metrics::Exposition;

    fn request(path: &str) -> Request<()> {
        Request::builder().uri(path).body(()).unwrap()
    }

    #[tokio::test]
    async fn calls_are_counted_by_method_and_code_and_made_up_names_are_one() {
        let told = Exposition::default();
        let layer = CountCalls::new(told.metrics.clone(), "merchant", &[FILE_DESCRIPTOR_SET]);
        let answer = async |request: Request<()>| {
            let refused = request.uri().path().ends_with("ReportSale");
            let status = if refused { "9" } else { "0" };
            Ok::<_, Infallible>(Response::builder().header("grpc-status", status).body(()).unwrap())
        };
        let mut port = layer.layer(service_fn(answer));
        for path in [
            "/hutong.merchant.v1.SaleService/ReportSale",
            "/hutong.merchant.v1.NodeService/GetStatus",
            "/made.up/One",
            "/made.up/Two",
        ] {
            port.call(request(path)).await.unwrap();
        }
        let text = told.text();
        for line in [
            "hutong_grpc_requests_total{port=\"merchant\",method=\"SaleService/ReportSale\",code=\"FAILED_PRECONDITION\"} 1",
            "hutong_grpc_requests_total{port=\"merchant\",method=\"NodeService/GetStatus\",code=\"OK\"} 1",
            "hutong_grpc_requests_total{port=\"merchant\",method=\"unknown\",code=\"OK\"} 2",
            "hutong_grpc_requests_in_flight{port=\"merchant\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("made.up"));
    }

    #[tokio::test]
    async fn a_call_that_its_caller_gives_up_counts_as_cancelled() {
        let told = Exposition::default();
        let layer = CountCalls::new(told.metrics.clone(), "peer", &[]);
        let never = |_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>();
        drop(layer.layer(service_fn(never)).call(request("/a.B/C")));
        assert!(told.text().contains("code=\"CANCELLED\"} 1"));
    }
}
