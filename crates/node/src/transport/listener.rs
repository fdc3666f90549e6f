//! The accepting end: raw connections in, authenticated HTTP/2 connections out.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{
    certificate::Credential,
    connections::Registration,
    cuttable::Cuttable,
    door::{Caller, Door},
    limits::ListenLimits,
    pending::{Pending, Slot},
    session::{server_config, speaks_http2},
    verifier::presented_key,
};

/// Connections that passed the handshake and wait for tonic to take them; it does so at once unless the runtime is
/// starved. When full, handshakes wait here, not in memory of their own.
const READY_MAX: usize = 64;

/// Out of file descriptors, `accept` fails again and again; this keeps it from eating a core.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(20);

/// What a refused caller may still send before it reads why. A client's last handshake flight is under 2 kB.
const FAREWELL_BYTES_MAX: u64 = 16 * 1024;

/// Whatever yields raw connections: a TCP listener, a simulated one, or the far end of a relay's tunnel.
pub trait Listen: Send + 'static {
    /// A raw connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next raw connection and the address to count it under (of a tunnel: the relay's). Must be cancel-safe.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;
}

impl Listen for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, remote) = Self::accept(self).await?;
        // With Nagle's algorithm a call through a tunnel takes 44 ms instead of 1.3 ms.
        stream.set_nodelay(true)?;
        Ok((stream, remote))
    }
}

/// Who is at the other end; handlers find it among a request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Who that is, by the door's word when the connection was made. A new role means a new connection.
    pub caller: Caller,
    /// The bytes of the key whose possession was proven.
    pub key: [u8; 32],
    /// Where the connection came from: for logs, never for decisions.
    pub remote: SocketAddr,
}

impl Peer {
    /// The peer behind a request, if it came in through [`listen`].
    pub fn of<T>(request: &tonic::Request<T>) -> Option<&Self> {
        request.extensions().get()
    }
}

/// An accepted connection, ready for tonic. It ends at once when its key is cut.
#[derive(Debug)]
pub struct PeerStream<Io> {
    stream: Cuttable<TlsStream<Io>>,
    peer: Peer,
    _registration: Registration,
    _permit: OwnedSemaphorePermit,
}

impl<Io> Connected for PeerStream<Io> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for PeerStream<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PeerStream<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Accepts connections from the callers on the door, for `serve_with_incoming`. The stream yields no errors; what
/// goes wrong with one caller is logged and concerns no other. Accepting ends when the stream is dropped.
///
/// Must be called inside a tokio runtime.
pub fn listen<L: Listen>(
    listener: L,
    credential: &Credential,
    door: Arc<Door>,
    limits: ListenLimits,
) -> ReceiverStream<io::Result<PeerStream<L::Io>>> {
    let (ready, incoming) = mpsc::channel(READY_MAX);
    let config = server_config(credential, Arc::clone(&door));
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    let reception = Reception { config, door, connections, handshake_timeout: limits.handshake_timeout };
    tokio::spawn(accept_loop(listener, Arc::new(reception), Pending::new(&limits), ready));
    ReceiverStream::new(incoming)
}

type Ready<Io> = mpsc::Sender<io::Result<PeerStream<Io>>>;

async fn accept_loop<L: Listen>(
    mut listener: L,
    reception: Arc<Reception>,
    pending: Pending,
    ready: Ready<L::Io>,
) {
    // Dropping the set at the end aborts the handshakes under way.
    let mut handshakes = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = ready.closed() => return,
            Some(_) = handshakes.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((io, remote)) => {
                let slot = pending.admit(remote.ip()).await;
                handshakes.spawn(Arc::clone(&reception).receive(io, remote, slot, ready.clone()));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// Why a caller was not let in. Logged here, and hardly told to the caller.
#[derive(Debug, thiserror::Error)]
enum Turned {
    #[error("a newer caller took its place")]
    Evicted,
    #[error("the handshake took too long")]
    TimedOut,
    #[error("the handshake failed: {0}")]
    Handshake(io::Error),
    #[error("it does not speak HTTP/2")]
    NotHttp2,
    #[error("its certificate does not read: {0}")]
    Certificate(rustls::Error),
    #[error("it was taken off the list during the handshake")]
    Removed,
    #[error("there are as many connections as may be")]
    Full,
}

/// What one listener needs to take callers in.
struct Reception {
    config: Arc<ServerConfig>,
    door: Arc<Door>,
    connections: Arc<Semaphore>,
    handshake_timeout: Duration,
}

impl Reception {
    async fn receive<Io>(self: Arc<Self>, io: Io, remote: SocketAddr, slot: Slot, ready: Ready<Io>)
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shaken = tokio::select! {
            biased;
            () = slot.evicted() => Err(Turned::Evicted),
            shaken = timeout(self.handshake_timeout, self.handshake(io)) => {
                shaken.unwrap_or(Err(Turned::TimedOut))
            }
        };
        drop(slot);
        match shaken.and_then(|stream| self.enter(stream, remote)) {
            // If the stream was dropped meanwhile, nobody serves any more.
            Ok(stream) => drop(ready.send(Ok(stream)).await),
            Err(reason) => debug!(%remote, %reason, "a caller was turned away"),
        }
    }

    async fn handshake<Io>(&self, io: Io) -> Result<TlsStream<Io>, Turned>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        match TlsAcceptor::from(Arc::clone(&self.config)).accept(io).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, io)) => {
                say_farewell(io).await;
                Err(Turned::Handshake(error))
            }
        }
    }

    fn enter<Io>(&self, stream: TlsStream<Io>, remote: SocketAddr) -> Result<PeerStream<Io>, Turned> {
        let session = stream.get_ref().1;
        if !speaks_http2(session) {
            return Err(Turned::NotHttp2);
        }
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let key = presented_key(certificate.expect("client authentication is mandatory"));
        let key = key.map_err(Turned::Certificate)?;
        let permit = Arc::clone(&self.connections).try_acquire_owned().map_err(|_| Turned::Full)?;
        let (caller, registration) = self.door.enter(&key).ok_or(Turned::Removed)?;
        Ok(PeerStream {
            stream: Cuttable::new(stream, registration.token()),
            peer: Peer { caller, key: *key.as_bytes(), remote },
            _registration: registration,
            _permit: permit,
        })
    }
}

/// Lets a refused caller read the alert that says why. Closing with its bytes unread would send a TCP reset, which
/// can overtake the alert.
async fn say_farewell<Io: AsyncRead + AsyncWrite + Unpin>(mut io: Io) {
    if io.shutdown().await.is_ok() {
        let mut rest = io.take(FAREWELL_BYTES_MAX);
        // How it ends is of no interest: the caller is refused either way.
        drop(tokio::io::copy(&mut rest, &mut tokio::io::sink()).await);
    }
}
