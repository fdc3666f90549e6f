//! The gate of the merchant port: who calls, whether that token may, how often, until when; and what is noted of it.
//! Every call passes here before any handler sees it.

mod audit;
mod book;
mod bucket;
mod scope;
mod secret;

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hutong_core::refusal::{Reason, Refusal};
use hutong_record::UnixMillis;
use hutong_wire::status;
use tonic::{Code, Extensions, Status, body::Body, metadata::MetadataMap, transport::server::TcpConnectInfo};
use tower::{Layer, Service};

pub(super) use audit::{Audit, Entry as AuditEntry};
pub(super) use book::{Book, Entry as TokenEntry, Wish};
pub(super) use secret::{TokenId, random};

use self::{
    audit::Noting,
    book::Shown,
    scope::{Effect, Method},
    secret::TokenHash,
};
use super::call;
use crate::clock;

/// What everybody may ask: whether the node is up, and which calls it has.
const OPEN_PREFIXES: [&str; 2] = ["/grpc.health.v1.", "/grpc.reflection."];
/// The node gives up so much before the caller does, so that the caller hears why.
const ANSWER_MARGIN: Duration = Duration::from_millis(5);
/// How often a stream looks whether its token is past its time; clocks may be set meanwhile.
const EXPIRY_REVIEW: Duration = Duration::from_secs(1);

/// Who makes a call. Handlers find it in the request's extensions.
#[derive(Debug, Clone)]
pub(super) enum Pass {
    /// Whoever has the token of the data folder.
    Owner,
    /// A token of the book.
    Token(Arc<Shown>),
}

impl Pass {
    /// Whose call it is. The gate puts one on every call that it lets through.
    pub(super) fn of(extensions: &Extensions) -> Result<Self, Refusal> {
        extensions.get::<Self>().cloned().ok_or(Refusal::new(Reason::TokenInvalid))
    }

    /// Ends when the token does, and tells why.
    pub(super) async fn ended(&self) -> Refusal {
        let Self::Token(shown) = self else { return std::future::pending().await };
        loop {
            if clock::now() >= shown.expires {
                return Refusal::new(Reason::TokenExpired);
            }
            tokio::select! {
                () = shown.revoked.cancelled() => return Refusal::new(Reason::TokenRevoked),
                () = tokio::time::sleep(EXPIRY_REVIEW) => {}
            }
        }
    }

    /// The token's id; none for the owner's.
    pub(super) fn token(&self) -> Option<TokenId> {
        match self {
            Self::Owner => None,
            Self::Token(shown) => Some(shown.id),
        }
    }

    fn label(&self) -> (String, String) {
        match self {
            Self::Owner => ("owner".to_owned(), String::new()),
            Self::Token(shown) => (shown.id.to_string(), shown.name.clone()),
        }
    }
}

/// Looks at every call before it is heard.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    /// May be replaced while calls are made.
    owner: Arc<RwLock<TokenHash>>,
    book: Arc<Book>,
    audit: Audit,
    /// A call is given up after this, whatever its caller says.
    call_time_max: Duration,
}

impl Gate {
    pub(super) fn new(owner_token: &str, book: Arc<Book>, audit: Audit, call_time_max: Duration) -> Self {
        let owner = Arc::new(RwLock::new(TokenHash::of(owner_token)));
        Self { owner, book, audit, call_time_max }
    }

    /// The owner shows another token from now on.
    pub(super) fn set_owner(&self, owner_token: &str) {
        *self.owner.write().unwrap_or_else(PoisonError::into_inner) = TokenHash::of(owner_token);
        self.book.set_owner(owner_token);
    }

    /// Whose token a call shows.
    fn recognize(&self, metadata: &MetadataMap, now: UnixMillis) -> Result<Pass, Refusal> {
        let shown = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let text = shown.and_then(|text| text.strip_prefix("Bearer "));
        let text = text.ok_or(Refusal::new(Reason::TokenInvalid))?;
        if TokenHash::of(text) == *self.owner.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Pass::Owner);
        }
        self.book.show(text, now).map(|shown| Pass::Token(Arc::new(shown)))
    }

    /// Whether a recognized caller may make a call now.
    fn admit(&self, pass: &Pass, method: &Method) -> Result<(), Refusal> {
        let Pass::Token(shown) = pass else { return Ok(()) };
        self.book.count(shown.id, Instant::now())?;
        match method.need.missing(&shown.scopes) {
            None => Ok(()),
            Some(scope) => Err(Refusal::new(Reason::ScopeMissing).with("scope", scope)),
        }
    }

    /// Ends the audit log; what is heard later is not in it.
    pub(super) async fn close(&self) {
        self.audit.close().await;
    }

    /// Begins a call's entry in the audit log: it is noted even if its caller does not wait for the answer.
    fn begin(&self, pass: Option<&Pass>, path: &str, caller: Option<IpAddr>) -> Noting {
        let (token, name) = pass.map(Pass::label).unwrap_or_default();
        self.audit.begin(audit::Entry {
            sequence: 0,
            unix_ms: clock::now().ms(),
            token,
            name,
            method: path.to_owned(),
            code: code_name(Code::Cancelled).to_owned(),
            reason: String::new(),
            caller: caller.map(|address| address.to_string()).unwrap_or_default(),
            skipped: 0,
        })
    }

    /// Hears a call, or says why not.
    async fn pass<S>(self, mut inner: S, request: http::Request<Body>) -> http::Response<Body>
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let Some(method) = scope::method(&path) else {
            return Status::unimplemented("there is no such call").into_http();
        };
        let metadata = MetadataMap::from_headers(std::mem::take(&mut parts.headers));
        let language = status::language(&metadata);
        let caller = parts.extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let caller = caller.map(|address| address.ip());

        let recognized = self.recognize(&metadata, clock::now());
        let admitted = recognized.as_ref().map_err(Clone::clone).and_then(|pass| self.admit(pass, method));
        let pass = recognized.as_ref().ok();
        if let Err(refusal) = admitted {
            let denied = super::refused(&refusal, language);
            let noting = self.begin(pass, &path, caller);
            noting.tell(code_name(denied.code()), refusal.reason.code()).await;
            return denied.into_http();
        }
        let time = call::timeout(&metadata).unwrap_or(self.call_time_max).min(self.call_time_max);
        parts.headers = metadata.into_headers();
        if let Some(pass) = pass {
            parts.extensions.insert(pass.clone());
        }
        let noting = (method.effect == Effect::Changes).then(|| self.begin(pass, &path, caller));
        let answer = inner.call(http::Request::from_parts(parts, body));
        let response = match tokio::time::timeout(time.saturating_sub(ANSWER_MARGIN), answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => Status::deadline_exceeded("the call took longer than its caller waits").into_http(),
        };
        if let Some(noting) = noting {
            noting.tell(code_name(code_of(&response)), "").await;
        }
        response
    }
}

/// What a response's headers tell; a code that comes after messages is OK for calls of one message.
fn code_of(response: &http::Response<Body>) -> Code {
    response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// gRPC's own name of a code.
pub(super) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl<S> Layer<S> for Gate {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { gate: self.clone(), inner }
    }
}

/// Services behind the gate.
#[derive(Debug, Clone)]
pub(super) struct Guarded<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The one that was ready serves this call; its clone gets ready for the next.
        let fresh = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, fresh);
        let path = request.uri().path();
        if OPEN_PREFIXES.iter().any(|prefix| path.starts_with(prefix)) {
            return Box::pin(ready.call(request));
        }
        let gate = self.gate.clone();
        Box::pin(async move { Ok(gate.pass(ready, request).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Never answers.
    #[derive(Clone)]
    struct Deaf;

    impl Service<http::Request<Body>> for Deaf {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            std::future::pending()
        }
    }

    fn call(path: &str, token: &str) -> http::Request<Body> {
        let request = http::Request::post(path).header("authorization", format!("Bearer {token}"));
        request.body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn a_change_whose_caller_hangs_up_is_in_the_audit_log() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path().join("audit")).unwrap();
        let book = Arc::new(Book::open(folder.path().join("tokens.json"), "owner's").unwrap());
        let gate = Gate::new("owner's", book, audit.clone(), Duration::from_secs(30));
        let mut guarded = gate.layer(Deaf);
        let (change, question) =
            ("/hutong.merchant.v1.SaleService/ReportSale", "/hutong.merchant.v1.NodeService/GetStatus");
        for path in [change, question] {
            let mut answer = guarded.call(call(path, "owner's"));
            assert!(futures::poll!(answer.as_mut()).is_pending());
        }
        let refused = guarded.call(call(change, "nobody's")).await.unwrap();
        assert_eq!(code_of(&refused), Code::Unauthenticated);
        let noted = audit.newest(u64::MAX, usize::MAX, |_| true).await.unwrap();
        let told: Vec<_> =
            noted.iter().map(|e| (e.token.as_str(), e.method.as_str(), e.code.as_str())).collect();
        assert_eq!(told, [("", change, "UNAUTHENTICATED"), ("owner", change, "CANCELLED")]);
    }
}
