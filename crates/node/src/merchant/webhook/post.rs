//! Posting a message to an address: HTTP/1.1, over TLS unless the address is this machine's. Redirections are not
//! followed, and what the receiver says beyond its status is not read.

use std::{net::IpAddr, sync::OnceLock, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hutong_core::refusal::Refusal;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::sign::Keyring;
use crate::clock;

/// From connecting to the receiver's status. The specification advises 15 to 30 seconds at most.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(15);
const URL_BYTES_MAX: usize = 2_048;
/// Idle connections to one receiver.
const IDLE_PER_HOST_MAX: usize = 2;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Of an error, for people.
const ERROR_CHARS_MAX: usize = 200;

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target(Uri);

impl Target {
    /// An address that may be posted to.
    ///
    /// # Errors
    /// `FIELD_INVALID` of `url`.
    pub(super) fn parse(text: &str, allow_http: bool) -> Result<Self, Refusal> {
        let wrong = |why: &str| Refusal::field("url", why);
        if text.len() > URL_BYTES_MAX {
            return Err(wrong("has more than 2,048 characters"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong("is no address such as https://example.com/hutong"))?;
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("must not hold a user name or password"));
        }
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if allow_http || is_this_machine(authority.host()) => Ok(Self(uri)),
            Some("http") => Err(wrong("must be https, except to this machine")),
            _ => Err(wrong("must be https")),
        }
    }

    /// As given.
    pub(super) fn text(&self) -> String {
        self.0.to_string()
    }
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The same for all attempts.
    pub(super) id: String,
    /// JSON.
    pub(super) body: String,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Nothing: there was no answer.
    pub(super) status: Option<StatusCode>,
    /// For people.
    pub(super) why: String,
    /// How long the receiver asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Posts messages.
#[derive(Debug, Default)]
pub(super) struct Poster(OnceLock<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>);

impl Poster {
    /// Made with the first message: most nodes send none, and reading the system's certificates takes a while.
    fn client(&self) -> &Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
        self.0.get_or_init(|| {
            let provider = ring::default_provider();
            let builder = match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider) {
                Ok(builder) => builder,
                Err(error) => {
                    tracing::error!(%error, "the system has no certificates: no webhook over https can work");
                    HttpsConnectorBuilder::new().with_tls_config(trusting_nobody())
                }
            };
            let mut connector = HttpConnector::new();
            connector.enforce_http(false);
            connector.set_nodelay(true);
            let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
                .build(connector)
        })
    }

    /// Posts a message once.
    pub(super) async fn post(
        &self,
        target: &Target,
        keyring: &Keyring,
        message: &Message,
    ) -> Result<StatusCode, Failure> {
        let unsent = |why: String| Failure { status: None, why: short(why), retry_after: None };
        let now = clock::now();
        let signature = keyring.sign(&message.id, now, message.body.as_bytes());
        let request = Request::post(target.0.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("hutong/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", now.ms() / 1_000)
            .header("webhook-signature", signature)
            .body(Full::new(Bytes::from(message.body.clone())))
            .map_err(|error| unsent(error.to_string()))?;
        let answer = tokio::time::timeout(ATTEMPT_TIME_MAX, self.client().request(request)).await;
        let answer = answer.map_err(|_| unsent(format!("no answer within {ATTEMPT_TIME_MAX:?}")))?;
        let answer = answer.map_err(|error| unsent(with_causes(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(status);
        }
        let retry_after = retry_after(answer.headers());
        Err(Failure { status: Some(status), why: format!("the receiver says {status}"), retry_after })
    }
}

/// For a system without certificates: every handshake fails, and says so.
fn trusting_nobody() -> ClientConfig {
    ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for the default versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

/// Seconds alone; dates are for pages.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn short(text: String) -> String {
    if text.chars().count() <= ERROR_CHARS_MAX { text } else { text.chars().take(ERROR_CHARS_MAX).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_addresses_and_this_machine_s_are_posted_to() {
        let fits = |url: &str| Target::parse(url, false).is_ok();
        for good in
            ["https://example.com/x?y=1", "http://localhost:8080/", "http://127.0.0.1:1/a", "http://[::1]:9/"]
        {
            assert!(fits(good), "{good}");
        }
        let long = format!("https://example.com/{}", "x".repeat(2_048));
        for bad in [
            "",
            "/x",
            "example.com",
            "ftp://example.com/",
            "http://example.com/",
            "http://127.0.0.1.example.com/",
            "http://192.168.0.1/",
            "https://user:secret@example.com/",
            "http://localhost.example.com/",
            "https://",
            "http://0.0.0.0/",
            "javascript:alert(1)",
            "https://exa mple.com/",
            &long,
        ] {
            let refusal = Target::parse(bad, false).expect_err(bad);
            assert_eq!(refusal.fact("field"), Some("url"), "{bad}");
        }
        assert!(Target::parse("http://example.com/", true).is_ok());
    }

    #[test]
    fn a_receiver_s_wish_to_wait_is_read() {
        let after = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!((after("-1"), after("Wed, 21 Oct 2026 07:28:00 GMT"), after("")), (None, None, None));
    }
}
