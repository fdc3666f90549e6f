//! The peer port as a whole, over loopback.

use std::{net::SocketAddr, sync::Arc};

use futures::{FutureExt as _, future::join_all};
use hutong_record::{PublicKey, ShopId, SigningKey};
use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tonic::{Request, Response, Status, Streaming, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};

use super::{
    session::{client_config, server_name, tls_error},
    *,
};

/// Answers every call, and says who called.
struct Porter(mpsc::UnboundedSender<Peer>);

#[tonic::async_trait]
impl Health for Porter {
    type WatchStream = futures::stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.send(*Peer::of(&request).unwrap()).unwrap();
        Ok(Response::new(HealthCheckResponse::default()))
    }

    /// A stream that stays open and silent.
    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(futures::stream::pending()))
    }
}

/// A shop that serves its peer port.
struct Shop {
    key: PublicKey,
    door: Arc<Door>,
    connections: Arc<Connections>,
    address: SocketAddr,
    callers: mpsc::UnboundedReceiver<Peer>,
}

impl Shop {
    async fn open() -> Self {
        Self::open_with(ListenLimits::default()).await
    }

    async fn open_with(limits: ListenLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::new();
        let door = Door::new(Arc::clone(&connections));
        let (credential, (seen, callers)) = (credential(SHOP), mpsc::unbounded_channel());
        let incoming = listen(listener, &credential, Arc::clone(&door), limits);
        tokio::spawn(server().add_service(HealthServer::new(Porter(seen))).serve_with_incoming(incoming));
        Self { key: credential.public(), door, connections, address, callers }
    }

    fn opener(&self) -> Tcp {
        Tcp::to(&self.address.to_string())
    }

    async fn dialled_by(&self, seed: u8) -> Result<HealthClient<Channel>, DialError> {
        dialler(seed).dial(self.key, self.opener()).await.map(HealthClient::new)
    }

    /// A handshake with a configuration no dialler of ours would use, up to the server's first bytes.
    async fn handshake(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let mut tls = TlsConnector::from(Arc::new(config)).connect(server_name(), stream).await?;
        match tls.read(&mut [0; 64]).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(tls),
        }
    }
}

const SHOP: u8 = 1;
const CALLER: u8 = 2;
const OTHER: u8 = 3;

fn credential(seed: u8) -> Credential {
    Credential::new(Arc::new(SigningKey::from_seed(&[seed; 32])))
}

fn key(seed: u8) -> PublicKey {
    credential(seed).public()
}

fn member(seed: u8) -> Caller {
    Caller::Member(ShopId::new([seed; 32]))
}

fn dialler(seed: u8) -> Dialer {
    Dialer::new(credential(seed), Connections::new())
}

fn config(seed: u8, shop: &Shop) -> ClientConfig {
    (*client_config(&credential(seed), shop.key.into())).clone()
}

fn ping() -> HealthCheckRequest {
    HealthCheckRequest::default()
}

/// A client hello as TLS 1.2 writes it: no supported versions, no key share.
fn tls12_hello() -> Vec<u8> {
    let suites = [0xc0, 0x2b, 0xc0, 0x2f];
    let extensions = [0, 10, 0, 4, 0, 2, 0, 29, 0, 13, 0, 4, 0, 2, 8, 7]; // groups: X25519; signatures: ed25519
    let mut body = [&[3, 3][..], &[7; 32], &[0], &[0, 4], &suites, &[1, 0], &[0, 16], &extensions].concat();
    let length = u8::try_from(body.len()).unwrap();
    body.splice(0..0, [0x16, 3, 1, 0, length + 4, 1, 0, 0, length]);
    body
}

/// Shows a certificate and signs with whatever key it has.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_member_is_let_in_and_the_handler_sees_who_it_is() {
    let mut shop = Shop::open().await;
    shop.door.admit(key(CALLER), member(CALLER));
    shop.dialled_by(CALLER).await.unwrap().check(ping()).await.unwrap();
    let peer = shop.callers.recv().await.unwrap();
    assert_eq!((peer.caller, &peer.key), (member(CALLER), key(CALLER).as_bytes()));
    assert!(peer.remote.ip().is_loopback());
}

#[tokio::test]
async fn a_guest_is_seen_as_the_guest_of_its_invitation() {
    let mut shop = Shop::open().await;
    shop.door.admit(key(CALLER), Caller::Guest(key(CALLER).into()));
    shop.dialled_by(CALLER).await.unwrap().check(ping()).await.unwrap();
    let Caller::Guest(guest) = shop.callers.recv().await.unwrap().caller else { panic!("not a guest") };
    assert_eq!(guest.as_bytes(), key(CALLER).as_bytes());
}

#[tokio::test]
async fn a_stranger_is_refused_and_told_so() {
    let mut shop = Shop::open().await;
    shop.door.admit(key(OTHER), member(OTHER));
    assert!(matches!(shop.dialled_by(CALLER).await, Err(DialError::Refused)));
    // A channel that connects late says the same with its first call.
    let channel = dialler(CALLER).channel(shop.key, shop.opener());
    let status = HealthClient::new(channel).check(ping()).await.unwrap_err();
    assert!(matches!(DialError::of(&status), Some(DialError::Refused)), "{status:?}");
    assert!(shop.callers.try_recv().is_err());
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    #[derive(Debug)]
    struct Nothing;
    impl ResolvesClientCert for Nothing {
        fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }

        fn has_certs(&self) -> bool {
            false
        }
    }
    let shop = Shop::open().await;
    let mut config = config(CALLER, &shop);
    config.client_auth_cert_resolver = Arc::new(Nothing);
    let error = shop.handshake(config).await.unwrap_err();
    let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
    assert_eq!(tls_error(&error), Some(&alert), "{error}");
}

#[tokio::test]
async fn another_key_than_the_one_called_is_refused() {
    let shop = Shop::open().await;
    shop.door.admit(key(CALLER), member(CALLER));
    let dialled = dialler(CALLER).dial(key(OTHER), shop.opener()).await;
    assert!(matches!(dialled, Err(DialError::OtherKey)), "{dialled:?}");
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    let mut shop = Shop::open().await;
    shop.door.admit(key(CALLER), member(CALLER));
    let (victim, thief) = (credential(CALLER), credential(OTHER));
    let stolen = CertifiedKey::new(victim.certified().cert.clone(), Arc::clone(&thief.certified().key));
    let mut config = config(OTHER, &shop);
    config.client_auth_cert_resolver = Arc::new(Shows(Arc::new(stolen)));
    let error = shop.handshake(config).await.unwrap_err();
    assert!(matches!(tls_error(&error), Some(rustls::Error::AlertReceived(_))), "{error}");
    assert!(shop.callers.try_recv().is_err());
    assert_eq!(shop.connections.count(key(CALLER).as_bytes()), 0);
}

#[tokio::test]
async fn an_impostor_with_the_shops_certificate_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let door = Door::new(Connections::new());
    let mut config = (*session::server_config(&credential(OTHER), door)).clone();
    let stolen = CertifiedKey::new(
        credential(SHOP).certified().cert.clone(),
        Arc::clone(&credential(OTHER).certified().key),
    );
    config.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(stolen));
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(stream).await.map(drop)
    };
    let caller = dialler(CALLER);
    let (served, dialled) = tokio::join!(serve, caller.dial(key(SHOP), Tcp::to(&address)));
    assert!(served.is_err());
    assert!(matches!(dialled, Err(DialError::OtherKey)), "{dialled:?}");
}

#[tokio::test]
async fn tls12_is_refused() {
    let shop = Shop::open().await;
    let mut stream = TcpStream::connect(shop.address).await.unwrap();
    stream.write_all(&tls12_hello()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    // One record: alert, fatal, protocol_version.
    assert_eq!((answer[0], &answer[3..]), (0x15, &[0, 2, 2, 0x46][..]));
}

#[tokio::test]
async fn only_http2_is_spoken() {
    let shop = Shop::open().await;
    shop.door.admit(key(CALLER), member(CALLER));
    for offered in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut config = config(CALLER, &shop);
        config.alpn_protocols = offered.clone();
        assert!(shop.handshake(config).await.is_err(), "{offered:?}");
    }
    shop.handshake(config(CALLER, &shop)).await.unwrap();
}

#[tokio::test]
async fn a_server_without_http2_is_no_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let door = Door::new(Connections::new());
    door.admit(key(CALLER), member(CALLER));
    let mut config = (*session::server_config(&credential(SHOP), door)).clone();
    config.alpn_protocols.clear();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(stream).await.map(drop)
    };
    let caller = dialler(CALLER);
    let (_, dialled) = tokio::join!(serve, caller.dial(key(SHOP), Tcp::to(&address)));
    assert!(matches!(dialled, Err(DialError::NotAPeer(_))), "{dialled:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_no_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    };
    let caller = dialler(CALLER);
    let (_, dialled) = tokio::join!(serve, caller.dial(key(SHOP), Tcp::to(&address)));
    assert!(matches!(dialled, Err(DialError::NotAPeer(_))), "{dialled:?}");
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let dialled = dialler(CALLER).dial(key(SHOP), Tcp::to(&address)).await;
    assert!(matches!(dialled, Err(DialError::Unreachable(_))), "{dialled:?}");
}

#[tokio::test]
async fn a_shop_that_never_answers_times_out() {
    #[derive(Clone)]
    struct Silence;
    impl Open for Silence {
        type Io = tokio::io::DuplexStream;

        async fn open(&self) -> std::io::Result<Self::Io> {
            std::future::pending().await
        }
    }
    let impatient = dialler(CALLER).with_timeout(std::time::Duration::ZERO);
    let dialled = impatient.dial(key(SHOP), Silence).await;
    assert!(matches!(dialled, Err(DialError::TimedOut)), "{dialled:?}");
}

#[tokio::test]
async fn a_removed_key_loses_its_live_connection_and_finds_the_door_shut() {
    let shop = Shop::open().await;
    shop.door.admit(key(CALLER), member(CALLER));
    let mut client = shop.dialled_by(CALLER).await.unwrap();
    let mut watch = client.watch(ping()).await.unwrap().into_inner();
    assert_eq!(shop.connections.count(key(CALLER).as_bytes()), 1);

    shop.door.remove(key(CALLER).as_bytes());
    assert_ended(&mut watch).await;
    assert_eq!(shop.connections.count(key(CALLER).as_bytes()), 0);
    assert!(matches!(shop.dialled_by(CALLER).await, Err(DialError::Refused)));
    // The old channel reconnects by itself, and is refused like any stranger.
    let status = client.check(ping()).await.unwrap_err();
    assert!(matches!(DialError::of(&status), Some(DialError::Refused)), "{status:?}");
}

#[tokio::test]
async fn cutting_one_key_leaves_the_others_alone() {
    let shop = Shop::open().await;
    shop.door.replace([CALLER, OTHER].map(|seed| (key(seed), member(seed))));
    let mut cut = shop.dialled_by(CALLER).await.unwrap().watch(ping()).await.unwrap().into_inner();
    let mut other = shop.dialled_by(OTHER).await.unwrap();
    let mut others_watch = other.watch(ping()).await.unwrap().into_inner();
    shop.connections.cut(key(CALLER).as_bytes());
    assert_ended(&mut cut).await;
    other.check(ping()).await.unwrap();
    assert!(others_watch.message().now_or_never().is_none());
}

#[tokio::test]
async fn cut_ends_a_dialled_channel_for_good() {
    let mut shop = Shop::open().await;
    shop.door.admit(key(CALLER), member(CALLER));
    let connections = Connections::new();
    let dialler = Dialer::new(credential(CALLER), Arc::clone(&connections));
    let mut client = HealthClient::new(dialler.dial(shop.key, shop.opener()).await.unwrap());
    let mut watch = client.watch(ping()).await.unwrap().into_inner();

    assert_eq!(connections.cut_all(), 1);
    assert_ended(&mut watch).await;
    let status = client.check(ping()).await.unwrap_err();
    assert!(matches!(DialError::of(&status), Some(DialError::Cut)), "{status:?}");
    assert!(shop.callers.try_recv().is_err());
    // A new one works: cutting shuts nobody out.
    dialler.dial(shop.key, shop.opener()).await.unwrap();
}

async fn assert_ended(watch: &mut Streaming<HealthCheckResponse>) {
    let ended = watch.message().await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn idle_connections_block_nobody() {
    let limits = ListenLimits {
        handshakes_max: 16.try_into().unwrap(),
        handshakes_per_source_max: 16.try_into().unwrap(),
        // Longer than a test may take: only giving way to newer callers can free a slot.
        handshake_timeout: std::time::Duration::from_secs(3_600),
        ..ListenLimits::default()
    };
    let shop = Shop::open_with(limits).await;
    shop.door.admit(key(CALLER), member(CALLER));
    let idle = join_all((0..50).map(|_| TcpStream::connect(shop.address))).await;
    shop.dialled_by(CALLER).await.unwrap().check(ping()).await.unwrap();
    drop(idle);
}

#[tokio::test]
async fn past_the_connection_limit_callers_are_told_to_try_later() {
    let shop = Shop::open_with(ListenLimits { connections_max: 1, ..ListenLimits::default() }).await;
    shop.door.replace([CALLER, OTHER].map(|seed| (key(seed), member(seed))));
    let _held = shop.dialled_by(CALLER).await.unwrap();
    let turned_away = shop.dialled_by(OTHER).await;
    assert!(matches!(turned_away, Err(DialError::Unreachable(_))), "{turned_away:?}");
}

#[tokio::test]
async fn sessions_are_never_resumed() {
    let shop = Shop::open().await;
    shop.door.admit(key(CALLER), member(CALLER));
    let mut config = config(CALLER, &shop);
    config.resumption = Resumption::in_memory_sessions(16);
    for _ in 0..2 {
        let stream = shop.handshake(config.clone()).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(
            (session.handshake_kind(), session.tls13_tickets_received()),
            (Some(HandshakeKind::Full), 0)
        );
    }
}

#[tokio::test]
async fn our_dialler_resumes_nothing_even_if_offered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let door = Door::new(Connections::new());
    door.admit(key(CALLER), member(CALLER));
    let mut config = (*session::server_config(&credential(SHOP), door)).clone();
    config.send_tls13_tickets = 2;
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(16);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    // One channel that connects twice, as each has a TLS configuration of its own.
    let mut client = HealthClient::new(dialler(CALLER).channel(key(SHOP), Tcp::to(&address)));
    for _ in 0..2 {
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut tls = acceptor.accept(stream).await.unwrap();
            tls.shutdown().await.unwrap();
            tls.get_ref().1.handshake_kind()
        };
        let (kind, answer) = tokio::join!(serve, client.check(ping()));
        assert!(answer.is_err());
        assert_eq!(kind, Some(HandshakeKind::Full));
    }
}

/// A listener that hands over one pipe, and then waits.
struct Pipe {
    near: Option<tokio::io::DuplexStream>,
    _alive: mpsc::Sender<()>,
}

impl Listen for Pipe {
    type Io = tokio::io::DuplexStream;

    async fn accept(&mut self) -> std::io::Result<(Self::Io, SocketAddr)> {
        match self.near.take() {
            Some(near) => Ok((near, SocketAddr::from(([192, 0, 2, 1], 1)))),
            None => std::future::pending().await,
        }
    }
}

fn pipe() -> (Pipe, tokio::io::DuplexStream, mpsc::Receiver<()>) {
    let (near, far) = tokio::io::duplex(256);
    let (alive, ended) = mpsc::channel(1);
    (Pipe { near: Some(near), _alive: alive }, far, ended)
}

#[tokio::test]
async fn a_refused_caller_that_talks_on_still_reads_why() {
    let (listener, far, _ended) = pipe();
    let door = Door::new(Connections::new());
    let _incoming = listen(listener, &credential(SHOP), door, ListenLimits::default());
    let config = client_config(&credential(CALLER), key(SHOP).into());
    let mut tls = TlsConnector::from(config).connect(server_name(), far).await.unwrap();
    // Far more than the pipe holds: the server has to read on after it refused.
    tls.write_all(&[0; 8 * 1024]).await.unwrap();
    tls.flush().await.unwrap();
    let error = tls.read(&mut [0; 1]).await.unwrap_err();
    let alert = rustls::Error::AlertReceived(AlertDescription::AccessDenied);
    assert_eq!(tls_error(&error), Some(&alert), "{error}");
}

#[tokio::test]
async fn a_handshake_past_its_time_is_dropped() {
    let limits = ListenLimits { handshake_timeout: std::time::Duration::ZERO, ..ListenLimits::default() };
    let (listener, mut far, _ended) = pipe();
    let _incoming = listen(listener, &credential(SHOP), Door::new(Connections::new()), limits);
    assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn accepting_ends_with_the_stream_and_drops_handshakes_under_way() {
    let (listener, mut far, mut ended) = pipe();
    let door = Door::new(Connections::new());
    drop(listen(listener, &credential(SHOP), door, ListenLimits::default()));
    assert_eq!(ended.recv().await, None);
    assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
}
