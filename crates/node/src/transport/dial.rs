//! The dialling end: a gRPC channel that reaches one key or nothing.

use std::{error::Error, io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, ClientConfig};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::Channel;
use tower::service_fn;

use super::{
    certificate::Credential,
    connections::{Connections, Direction, Registration},
    cuttable::Cuttable,
    limits::{DIAL_TIMEOUT, endpoint},
    pin::Pin,
    session::{client_config, server_name, speaks_http2, tls_error},
};

/// Room for the other side's first frames (settings, a window update). Longer reads go past this buffer.
const FIRST_FRAMES_BYTES: usize = 256;

/// Opens the raw stream to a shop: TCP, a relay's tunnel, or a simulated network. It should set no Nagle delay and
/// needs no time limit of its own.
pub trait Open: Clone + Send + Sync + 'static {
    /// A raw connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens one more.
    fn open(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

/// Opens TCP connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp(Arc<str>);

impl Tcp {
    /// To `host:port`; a name is looked up anew for each connection.
    pub fn to(authority: &str) -> Self {
        Self(authority.into())
    }
}

impl Open for Tcp {
    type Io = TcpStream;

    async fn open(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&*self.0).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Why a shop was not reached.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// No connection, or it broke before the other side had answered. Try later, or another way.
    #[error("the shop cannot be reached: {0}")]
    Unreachable(#[source] Arc<io::Error>),
    /// No answer in time. Try later, or another way.
    #[error("the shop did not answer in time")]
    TimedOut,
    /// Our key is not on its list. Trying again does not help until we are admitted.
    #[error("the shop does not know us: our key is not on its list")]
    Refused,
    /// Somebody else answers at this address: the address is old, or this is an impostor.
    #[error("another key answers at this address")]
    OtherKey,
    /// What answers does not speak HTTP/2 over TLS 1.3: some other service, or another version.
    #[error("what answers is not a shop's peer port: {0}")]
    NotAPeer(#[source] rustls::Error),
    /// This side cut the connection, and with it the channel. Dial anew if that is still wanted.
    #[error("this side closed the line to the shop")]
    Cut,
}

impl DialError {
    /// The dial failure behind a failed call's status, if that is what it was.
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut causes = std::iter::successors(Some(error), |&error| error.source());
        causes.find_map(|cause| cause.downcast_ref())
    }

    /// What an error of the stream means, be it from rustls or from below.
    fn from_io(error: io::Error) -> Self {
        match tls_error(&error) {
            Some(tls) => Self::from_tls(tls.clone()),
            None => Self::Unreachable(Arc::new(error)),
        }
    }

    fn from_tls(error: rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(AlertDescription::AccessDenied) => Self::Refused,
            rustls::Error::InvalidCertificate(_) => Self::OtherKey,
            other => Self::NotAPeer(other),
        }
    }
}

/// Dials shops as one shop.
#[derive(Debug, Clone)]
pub struct Dialer {
    credential: Credential,
    connections: Arc<Connections>,
    timeout: Duration,
}

impl Dialer {
    /// A dialler that shows this credential and enters its channels in this registry.
    pub const fn new(credential: Credential, connections: Arc<Connections>) -> Self {
        Self { credential, connections, timeout: DIAL_TIMEOUT }
    }

    /// The same with another limit on connecting: from opening the stream to the other side's first frame.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// A channel to the holder of `server`'s key, or of a later one where `server` is a shop, connected. It reconnects by itself, until the key is cut; a call that
    /// fails for want of a connection has its reason in [`DialError::of`].
    pub async fn dial<O: Open>(&self, server: impl Into<Pin>, opener: O) -> Result<Channel, DialError> {
        let line = self.line(server.into(), opener);
        let connect = service_fn(move |_| Arc::clone(&line).connect());
        endpoint().connect_with_connector(connect).await.map_err(|error| {
            let failure = DialError::of(&error).cloned();
            // Past the first frame HTTP/2 itself can still fail, when the connection breaks at that moment.
            failure.unwrap_or_else(|| DialError::Unreachable(Arc::new(io::Error::other(error))))
        })
    }

    /// The same channel, not yet connected: the first call connects it.
    ///
    /// Must be called inside a tokio runtime.
    pub fn channel<O: Open>(&self, server: impl Into<Pin>, opener: O) -> Channel {
        let line = self.line(server.into(), opener);
        endpoint().connect_with_connector_lazy(service_fn(move |_| Arc::clone(&line).connect()))
    }

    fn line<O: Open>(&self, server: Pin, opener: O) -> Arc<Line<O>> {
        let registration = self.connections.register(*server.key().as_bytes(), Direction::Dialled);
        let config = client_config(&self.credential, server);
        Arc::new(Line { opener, config, registration, timeout: self.timeout })
    }
}

/// A channel's way to its shop, held as long as the channel is. Each connection ends with it when it is cut.
struct Line<O> {
    opener: O,
    config: Arc<ClientConfig>,
    registration: Registration,
    timeout: Duration,
}

/// A dialled connection as hyper takes it. The buffer holds what the other side said first.
type DialledStream<Io> = TokioIo<Cuttable<BufReader<TlsStream<Io>>>>;

impl<O: Open> Line<O> {
    async fn connect(self: Arc<Self>) -> Result<DialledStream<O::Io>, DialError> {
        let token = self.registration.token();
        let stream = tokio::select! {
            biased;
            () = token.cancelled() => return Err(DialError::Cut),
            stream = timeout(self.timeout, self.shake_hands()) => stream.map_err(|_| DialError::TimedOut)??,
        };
        Ok(TokioIo::new(Cuttable::new(stream, token)))
    }

    /// In TLS 1.3 a client is done before the server has looked at its certificate. So this waits for the first byte
    /// of the server's HTTP/2 settings, or for its refusal, and says nothing before.
    async fn shake_hands(&self) -> Result<BufReader<TlsStream<O::Io>>, DialError> {
        let raw = self.opener.open().await.map_err(DialError::from_io)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(server_name(), raw).await.map_err(DialError::from_io)?;
        if !speaks_http2(stream.get_ref().1) {
            return Err(DialError::NotAPeer(rustls::Error::NoApplicationProtocol));
        }
        let mut stream = BufReader::with_capacity(FIRST_FRAMES_BYTES, stream);
        match stream.fill_buf().await {
            Ok([]) => Err(DialError::from_io(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(stream),
            Err(error) => Err(DialError::from_io(error)),
        }
    }
}
