//! The protocol's messages on a TCP connection: CBOR, as p2panda writes them, behind their length, and counted.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use futures_util::{Sink, Stream, StreamExt};
use p2panda_core::cbor::{decode_cbor, encode_cbor};
use p2panda_sync::protocols::LogSyncMessage;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::TcpStream;
use tokio_util::{
    bytes::{Bytes, BytesMut},
    codec::{Decoder, Encoder, Framed, LengthDelimitedCodec},
};

type Message = LogSyncMessage<u64>;

/// Both directions of a connection; `bytes` counts what goes through them.
pub(crate) fn ends(
    socket: TcpStream,
    bytes: Arc<AtomicU64>,
) -> Result<(impl Sink<Message, Error = anyhow::Error> + Unpin, impl Stream<Item = Result<Message>> + Unpin)>
{
    socket.set_nodelay(true)?;
    let codec = Cbor { frames: LengthDelimitedCodec::new(), bytes, message: PhantomData::<Message> };
    Ok(Framed::new(socket, codec).split())
}

struct Cbor<M> {
    frames: LengthDelimitedCodec,
    bytes: Arc<AtomicU64>,
    message: PhantomData<M>,
}

impl<M> Cbor<M> {
    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl<M: Serialize> Encoder<M> for Cbor<M> {
    type Error = anyhow::Error;

    fn encode(&mut self, message: M, to: &mut BytesMut) -> Result<()> {
        let before = to.len();
        self.frames.encode(Bytes::from(encode_cbor(&message)?), to)?;
        self.count(to.len() - before);
        Ok(())
    }
}

impl<M: DeserializeOwned> Decoder for Cbor<M> {
    type Item = M;
    type Error = anyhow::Error;

    fn decode(&mut self, from: &mut BytesMut) -> Result<Option<M>> {
        let before = from.len();
        let frame = self.frames.decode(from)?;
        self.count(before - from.len());
        frame.map(|frame| Ok(decode_cbor(&frame[..])?)).transpose()
    }
}
