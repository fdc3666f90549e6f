//! How every TLS session of the peer port is set up, on both ends.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, CommonState, ServerConfig, client::Resumption, crypto::CryptoProvider,
    pki_types::ServerName, server::NoServerSessionStorage, version::TLS13,
};

use super::{
    certificate::{CERTIFICATE_NAME, Credential},
    door::Door,
    pin::Pin,
    verifier::{DoorVerifier, PinnedVerifier},
};

/// HTTP/2, the only protocol spoken inside.
const ALPN: &[u8] = b"h2";

/// TLS as the shop that is called.
pub(super) fn server_config(credential: &Credential, door: Arc<Door>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .with_client_cert_verifier(Arc::new(DoorVerifier(door)))
        .with_cert_resolver(Arc::new(credential.clone()));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session does not run the verifier again: a key taken off the door would still get in.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// TLS as the shop that calls `server`.
pub(super) fn client_config(credential: &Credential, server: Pin) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedVerifier(server)))
        .with_client_cert_resolver(Arc::new(credential.clone()));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // Whom a shop calls is nobody else's business.
    config.enable_sni = false;
    Arc::new(config)
}

/// rustls asks for a name; it is neither sent nor checked.
pub(super) fn server_name() -> ServerName<'static> {
    ServerName::try_from(CERTIFICATE_NAME).expect("the fixed name is a valid DNS name")
}

/// rustls goes on without ALPN when the other end offers none, so each end checks by itself.
pub(super) fn speaks_http2(session: &CommonState) -> bool {
    session.alpn_protocol() == Some(ALPN)
}

/// The rustls error inside what tokio-rustls returns, if it is one.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
