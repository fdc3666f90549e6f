//! A stream that ends the moment its token is cancelled.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A stream with a token. Cancelling wakes whoever waits in it; every read and write then fails, and HTTP/2 drops it,
/// which closes the socket. Nothing is said to the other side first: it may not be listening.
#[derive(Debug)]
pub(super) struct Cuttable<S> {
    stream: S,
    token: CancellationToken,
    // Reader and writer may be different tasks, and a future wakes only the last one that polled it.
    reader: Pin<Box<WaitForCancellationFutureOwned>>,
    writer: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Cuttable<S> {
    pub(super) fn new(stream: S, token: &CancellationToken) -> Self {
        let wait = || Box::pin(token.clone().cancelled_owned());
        Self { stream, token: token.clone(), reader: wait(), writer: wait() }
    }

    fn poll_writer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.writer.as_mut().poll(cx).is_ready() { Err(cut()) } else { Ok(()) }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut on this side")
}

impl<S: AsyncRead + Unpin> AsyncRead for Cuttable<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.reader.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cuttable<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.poll_writer(cx)?;
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.poll_writer(cx)?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_writer(cx)?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.token.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        // A goodbye that does not get through must not outlive a cut.
        let said = Pin::new(&mut this.stream).poll_shutdown(cx);
        if said.is_pending() {
            ready!(this.writer.as_mut().poll(cx));
            return Poll::Ready(Ok(()));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_cut_wakes_a_waiting_reader_and_a_waiting_writer() {
        let (near, _far) = tokio::io::duplex(1);
        let token = CancellationToken::new();
        let (mut reader, mut writer) = tokio::io::split(Cuttable::new(near, &token));
        let read = tokio::spawn(async move { reader.read_u8().await });
        let write = tokio::spawn(async move { writer.write_all(&[0; 8]).await });
        tokio::task::yield_now().await;
        token.cancel();
        assert_eq!(read.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(write.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn until_then_it_is_transparent() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Cuttable::new(near, &CancellationToken::new());
        near.write_all(b"in").await.unwrap();
        near.shutdown().await.unwrap();
        let mut read = String::new();
        far.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "in");
    }
}
