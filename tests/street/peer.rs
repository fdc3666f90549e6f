//! The peer protocol spoken by hand, with any key.

use std::{net::SocketAddr, sync::Arc};

use hutong_node::transport::{Connections, Credential, DialError, Dialer, Tcp};
use hutong_record::{AllianceId, PublicKey, SigningKey, proto as record};
use hutong_sync::{Frame, FrontierDigest};
use hutong_wire::{
    frame,
    peer::v1::{self as wire, SyncRequest, SyncResponse, sync_service_client::SyncServiceClient},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use crate::harness::{Shop, soon};

/// Frames on their way; a test sends a handful.
const FRAMES_MAX: usize = 64;

/// Dials a shop's peer port with a key.
pub(crate) async fn dial(key: SigningKey, shop: &Shop) -> Result<Channel, DialError> {
    dial_at(key, *shop.secrets().identity.signing_key(), shop.peer()).await
}

/// Dials the holder of `server` at an address.
pub(crate) async fn dial_at(
    key: SigningKey,
    server: PublicKey,
    address: SocketAddr,
) -> Result<Channel, DialError> {
    let dialer = Dialer::new(Credential::new(Arc::new(key)), Connections::new());
    soon("the port answers", dialer.dial(server, Tcp::to(&address.to_string()))).await
}

/// The first frame of a link, of a shop that holds nothing of what the other holds.
pub(crate) fn hello(alliance: AllianceId) -> wire::Frame {
    frame::to_wire(Frame::Hello { versions: vec![1], alliance, digest: FrontierDigest::new([7; 32]) })
}

/// Records of one log, sent unasked.
pub(crate) fn pushed(shop: hutong_record::ShopId, run: Vec<record::Record>) -> wire::Frame {
    frame::to_wire(Frame::Records { shop, runs: vec![run], pushed: true })
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct Speaker {
    out: mpsc::Sender<SyncRequest>,
    inbound: Streaming<SyncResponse>,
}

impl Speaker {
    /// Opens a link with a first message, which may be no frame at all.
    pub(crate) async fn open(channel: Channel, first: Option<wire::Frame>) -> Result<Self, Status> {
        let (out, outbound) = mpsc::channel(FRAMES_MAX);
        out.send(SyncRequest { frame: first }).await.expect("there is room");
        let call = async { SyncServiceClient::new(channel).sync(ReceiverStream::new(outbound)).await };
        let inbound = soon("the call is answered", call).await?.into_inner();
        Ok(Self { out, inbound })
    }

    /// Says something. A link that was closed hears nothing.
    pub(crate) async fn say(&self, frame: Option<wire::Frame>) {
        let _closed = self.out.send(SyncRequest { frame }).await;
    }

    /// The next frame; none: the link has ended.
    pub(crate) async fn hear(&mut self) -> Option<Frame> {
        let message = soon("a frame, or the end", self.inbound.message()).await.ok()??;
        Some(frame::from_wire(message.frame.expect("a frame")).expect("a sound frame"))
    }

    /// Everything up to the end of the link.
    pub(crate) async fn hear_out(mut self) -> Vec<Frame> {
        let mut heard = Vec::new();
        while let Some(frame) = self.hear().await {
            heard.push(frame);
        }
        heard
    }
}
