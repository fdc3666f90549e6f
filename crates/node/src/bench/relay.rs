//! A relay between two nodes of a measurement, that counts what passes: all bytes of their connections, TLS included.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

const BLOCK_BYTES: usize = 64 << 10;

/// Ends with its handle.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    counted: Arc<Counted>,
    task: AbortHandle,
}

/// What passed since the relay began.
#[derive(Debug, Default)]
struct Counted {
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Relay {
    /// Listens on the loopback and passes every connection on to the server's port there.
    pub(super) async fn to(server_port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let counted = Arc::new(Counted::default());
        let task = tokio::spawn(accept(listener, server_port, counted.clone())).abort_handle();
        Ok(Self { address, counted, task })
    }

    /// Bytes in both directions so far.
    pub(super) fn bytes(&self) -> u64 {
        self.counted.to_server.load(Ordering::Relaxed) + self.counted.to_client.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server_port: u16, counted: Arc<Counted>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(splice(client, server_port, counted.clone()));
    }
}

async fn splice(client: TcpStream, server_port: u16, counted: Arc<Counted>) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server_port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    tokio::try_join!(
        copy(client_reads, server_writes, &counted.to_server),
        copy(server_reads, client_writes, &counted.to_client),
    )?;
    Ok(())
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    counted: &AtomicU64,
) -> std::io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = from.read(&mut block).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        counted.fetch_add(read as u64, Ordering::Relaxed);
        to.write_all(&block[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_passes_either_way_is_counted() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let relay = Relay::to(server.local_addr().unwrap().port()).await.unwrap();
        let mut client = TcpStream::connect(relay.address).await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        client.write_all(b"twelve bytes").await.unwrap();
        let mut heard = [0; 12];
        served.read_exact(&mut heard).await.unwrap();
        served.write_all(b"five.").await.unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!((&heard, &answer, relay.bytes()), (b"twelve bytes", b"five.", 17));
    }
}
