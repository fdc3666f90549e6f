//! Who may be connected to the merchant port, and for how long without a word: every connection takes a socket and some
//! memory, and this port is open to whatever runs in the shop.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections at once: a supermarket's tills, and its apps and pages, many times over. Further ones are closed.
pub(super) const CONNECTIONS_MAX: usize = 512;
/// Of these from one address of another machine, so that no single one takes them all. This machine's own programs, among
/// them a proxy for all others, count only in the sum.
pub(super) const CONNECTIONS_PER_SOURCE_MAX: usize = 128;
/// Whoever connects speaks within this time.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// So many bytes count as having spoken: HTTP/2's preface, or the shortest request of HTTP/1.
const SPOKEN_BYTES: usize = 16;

/// Counts connections by where they come from.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<BTreeMap<IpAddr, usize>>);

/// Why a connection is closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TurnedAway {
    #[error("there are {CONNECTIONS_MAX} connections")]
    Full,
    #[error("there are {CONNECTIONS_PER_SOURCE_MAX} connections from there")]
    Source,
}

/// A place among the connections, held as long as one lives.
#[derive(Debug)]
struct Held {
    connections: Arc<Connections>,
    source: IpAddr,
}

impl Connections {
    /// Each change is one map operation, so a poisoned map is whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(self: &Arc<Self>, source: IpAddr) -> Result<Held, TurnedAway> {
        let mut counts = self.lock();
        if counts.values().sum::<usize>() >= CONNECTIONS_MAX {
            return Err(TurnedAway::Full);
        }
        let count = counts.entry(source).or_default();
        if !source.is_loopback() && *count >= CONNECTIONS_PER_SOURCE_MAX {
            return Err(TurnedAway::Source);
        }
        *count += 1;
        Ok(Held { connections: self.clone(), source })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.connections.lock();
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Until it has spoken: how many bytes came, and when it is given up.
    silence: Option<(usize, Pin<Box<Sleep>>)>,
    _held: Held,
}

impl Connection {
    /// Lets a connection in, which is to speak within a time.
    ///
    /// # Errors
    /// There are as many as may be.
    pub(super) fn admit(
        connections: &Arc<Connections>,
        stream: TcpStream,
        silence_max: Duration,
    ) -> Result<Self, TurnedAway> {
        // Whose address cannot be told is gone already; it counts as one of nowhere.
        let source = stream.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |at| at.ip().to_canonical());
        let held = connections.hold(source)?;
        let silence = Some((0, Box::pin(tokio::time::sleep(silence_max))));
        Ok(Self { stream, silence, _held: held })
    }

    /// Looks at what came first, without taking it.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.peek(buf).await
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) else {
            let Some((_, limit)) = &mut this.silence else { return Poll::Pending };
            ready!(limit.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it connected and said nothing",
            )));
        };
        if let Some((spoken, _)) = &mut this.silence {
            *spoken += buf.filled().len() - before;
            if *spoken >= SPOKEN_BYTES {
                this.silence = None;
            }
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Connection {
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn one_machine_does_not_take_all_places_and_all_together_no_more_than_there_are() {
        let connections = Arc::<Connections>::default();
        let from = |last: u8| connections.hold(IpAddr::from([192, 0, 2, last]));
        let one: Vec<_> = (0..CONNECTIONS_PER_SOURCE_MAX).map(|_| from(1).unwrap()).collect();
        assert_eq!(from(1).unwrap_err(), TurnedAway::Source);
        let own = |_| connections.hold(IpAddr::from([127, 0, 0, 1]));
        let others: Vec<_> =
            (CONNECTIONS_PER_SOURCE_MAX..CONNECTIONS_MAX).map(own).collect::<Result<_, _>>().unwrap();
        assert_eq!(from(2).unwrap_err(), TurnedAway::Full);
        drop(one);
        assert!(from(1).is_ok());
        drop(others);
        assert!(connections.lock().is_empty(), "those that went are forgotten");
    }

    #[tokio::test]
    async fn who_connects_and_says_nothing_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connections = Arc::<Connections>::default();
        let _silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = Connection::admit(&connections, stream, Duration::from_millis(20)).unwrap();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
