//! Settings taken over while the node runs: certificate, owner's token, log.

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use hutong_client::{Client, Error, Token, proto::GetStatusRequest};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustix::process::Signal;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::harness::{Reach, Shop, Street, until};

/// Where the node finds its certificate and key.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(folder: &Path) -> Self {
        Self { certificate: folder.join("chain.pem"), key: folder.join("key.pem") }
    }

    /// Puts a fresh pair there; answers with the certificate.
    fn renew(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(&self.certificate, pem("CERTIFICATE", certificate.der())).unwrap();
        let _none = fs::remove_file(&self.key);
        let mut secret = fs::OpenOptions::new();
        let mut secret = secret.write(true).create_new(true).mode(0o600).open(&self.key).unwrap();
        io::Write::write_all(&mut secret, pem("PRIVATE KEY", &key.serialize_der()).as_bytes()).unwrap();
        certificate.der().clone()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// A connection over TLS to whoever shows a certificate.
async fn connect(shop: &Shop, trusted: &CertificateDer<'static>) -> Result<Channel, tonic::transport::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (connector, address) = (TlsConnector::from(Arc::new(config)), shop.merchant());
    let dial = move |_| {
        let connector = connector.clone();
        async move {
            let name = ServerName::try_from("localhost").expect("a name");
            let stream = connector.connect(name, TcpStream::connect(address).await?).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    };
    Endpoint::from_static("http://localhost").connect_with_connector(tower::service_fn(dial)).await
}

async fn status(channel: &Channel, token: &str) -> Result<(), Error> {
    let client = Client::over(channel.clone(), &Token::new(token))?;
    client.get_status(GetStatusRequest {}).await.map(drop)
}

/// Has the node read its settings anew, and waits until it says how that went.
async fn reload(shop: &Shop, word: &str) {
    let count = |shop: &Shop| shop.whole_log().matches(word).count();
    let before = count(shop);
    shop.signal(Signal::HUP);
    until(word, async || (count(shop) > before).then_some(())).await;
}

const RELOADED: &str = "were read anew";
const KEPT: &str = "nothing was reloaded";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_and_no_connection_is_dropped() {
    let street = Street::new();
    let mut shop = street.init("noodles", Reach::Open);
    let files = Files::new(street.path());
    let first = files.renew();
    let config = shop.folder().join("hutong.toml");
    let settings = fs::read_to_string(&config).unwrap();
    let named = |name: &str, path: &Path| {
        (format!("{name} = \"\""), format!("{name} = {:?}", path.to_str().unwrap()))
    };
    let (empty_certificate, certificate) = named("tls_certificate", &files.certificate);
    let (empty_key, key) = named("tls_key", &files.key);
    let settings = settings.replace(&empty_certificate, &certificate).replace(&empty_key, &key);
    fs::write(&config, &settings).unwrap();
    assert_eq!(shop.cli(&["config", "check"])["valid"], true);
    shop.serve().await;

    let connection = connect(&shop, &first).await.expect("encrypted");
    status(&connection, &shop.token()).await.expect("answered");
    shop.cli(&["status"]);

    // A certificate that does not hold: the one before is kept, and so is everything else.
    fs::write(&files.certificate, "no certificate").unwrap();
    fs::write(&config, settings.replace("filter = \"info\"", "filter = \"debug\"")).unwrap();
    assert!(shop.try_cli(&["config", "check"]).is_err());
    reload(&shop, KEPT).await;
    assert!(!shop.whole_log().contains("DEBUG"), "nothing is taken over in part");
    status(&connection, &shop.token()).await.expect("still answered");
    connect(&shop, &first).await.expect("still shown");

    let second = files.renew();
    reload(&shop, RELOADED).await;
    connect(&shop, &second).await.expect("the new one is shown");
    assert!(connect(&shop, &first).await.is_err(), "the old one is not");
    status(&connection, &shop.token()).await.expect("the first connection lives");
    shop.cli(&["status"]);
    until("more is logged", async || shop.whole_log().contains("DEBUG").then_some(())).await;

    // What needs a start is named.
    fs::write(&config, settings.replace("views_cache_bytes = 67108864", "views_cache_bytes = 16777216"))
        .unwrap();
    reload(&shop, RELOADED).await;
    assert!(shop.whole_log().contains("storage.views_cache_bytes"), "{}", shop.log());
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_s_new_token_opens_and_the_old_one_does_not() {
    let street = Street::new();
    let shop = street.shop("noodles").await;
    let (client, old) = (shop.client().await, shop.token());
    client.get_status(GetStatusRequest {}).await.expect("answered");
    let file = shop.folder().join("merchant.token");
    fs::write(&file, "short").unwrap();
    reload(&shop, KEPT).await;
    client.get_status(GetStatusRequest {}).await.expect("a damaged token replaces none");
    fs::write(&file, BASE64URL_NOPAD.encode(&[7; 32])).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    reload(&shop, RELOADED).await;
    let refused = client.get_status(GetStatusRequest {}).await.unwrap_err();
    assert_eq!(refused.refusal().map(|refusal| refusal.code), Some(Code::Unauthenticated));
    assert_ne!(shop.token(), old);
    shop.client().await.get_status(GetStatusRequest {}).await.expect("the new one opens");
}
