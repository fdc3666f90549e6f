//! One link: a bidirectional stream to a member, its inbound half pumped into the hub, its outbound half fed by it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::{Stream, StreamExt as _};
use hutong_record::ShopId;
use hutong_sync::{Frame, LinkId, limits::LOGS_MAX};
use hutong_wire::{
    frame::{self, FrameError},
    peer::v1 as wire,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::hub::{Event, HubHandle};

/// Frames that wait to go out on one link. A newcomer who lets itself be filled is sent a frame for each log at once, a
/// street of short logs whole; beside that the protocol's credit keeps few under way. A link that fills this is not read
/// by the other side, and is cut.
const OUT_FRAMES_MAX: usize = LOGS_MAX + 256;

/// A link as the hub sees it when it comes up.
#[derive(Debug)]
pub struct NewLink {
    /// Its number.
    pub id: LinkId,
    /// The member at the other end, whose key the transport has checked.
    pub peer: ShopId,
    /// Whether this node dialled.
    pub dialled: bool,
    /// Where frames go.
    pub out: Out,
    /// Cancelled: the stream ends.
    pub stop: CancellationToken,
    /// When it was opened.
    pub opened: tokio::time::Instant,
    /// Whether anything has come over it.
    pub heard: bool,
    /// The program's version at the other end, where it is known yet.
    pub version: Option<String>,
}

/// Tells the hub that a link is down, should whoever was to open or pump it be dropped on the way.
#[derive(Debug)]
pub struct LinkGuard(Option<(HubHandle, LinkId)>);

impl LinkGuard {
    /// Watches over a link that the hub is told of.
    pub const fn new(hub: HubHandle, link: LinkId) -> Self {
        Self(Some((hub, link)))
    }

    /// The link is in other hands.
    pub fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        if let (Some((hub, link)), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = hub.send(Event::LinkDown(link)).await;
            });
        }
    }
}

/// Where the hub puts frames that are to go out. While HTTP/2's windows are full they wait here.
#[derive(Debug)]
pub struct Out {
    frames: mpsc::Sender<(Frame, usize)>,
    bytes: Arc<AtomicUsize>,
}

/// As many frames wait as may, or the stream is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutFull;

impl Out {
    /// Bytes of records that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Puts a frame with so many bytes of records behind the others.
    ///
    /// # Errors
    /// As many frames wait as may, or the stream is gone.
    pub fn put(&self, frame: Frame, bytes: usize) -> Result<(), OutFull> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.frames.try_send((frame, bytes)).map_err(|_| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            OutFull
        })
    }
}

/// Frames to be sent, as the stream takes them.
#[derive(Debug)]
pub struct Outbound {
    frames: mpsc::Receiver<(Frame, usize)>,
    bytes: Arc<AtomicUsize>,
}

impl Stream for Outbound {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.frames.poll_recv(cx).map(|next| {
            next.map(|(frame, bytes)| {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                frame
            })
        })
    }
}

/// A new link's two ends: for the hub, and for the stream.
pub fn open(
    hub: &HubHandle,
    peer: ShopId,
    dialled: bool,
    version: Option<String>,
) -> (NewLink, Outbound, CancellationToken) {
    let (sender, frames) = mpsc::channel(OUT_FRAMES_MAX);
    let bytes = Arc::<AtomicUsize>::default();
    let (out, outbound) = (Out { frames: sender, bytes: bytes.clone() }, Outbound { frames, bytes });
    let stop = CancellationToken::new();
    let opened = tokio::time::Instant::now();
    let (id, heard) = (hub.next_link(), false);
    let new = NewLink { id, peer, dialled, out, stop: stop.clone(), opened, heard, version };
    (new, outbound, stop)
}

/// Reads frames into the hub until the stream ends, fails, or is stopped. Backpressure reaches the other side: while
/// the hub is busy nothing is read.
pub async fn pump<M>(
    hub: HubHandle,
    link: LinkId,
    mut inbound: impl Stream<Item = Result<M, Status>> + Unpin,
    frame_of: impl Fn(M) -> Option<wire::Frame>,
    stop: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = inbound.next() => next,
        };
        let event = match next {
            Some(Ok(message)) => match frame_of(message).map(frame::from_wire) {
                Some(Ok(frame)) => Event::Frame { link, frame },
                // Of a newer protocol; nothing hangs on it, or its sender would not speak this version.
                Some(Err(FrameError::Empty)) => continue,
                Some(Err(error)) => Event::Malformed { link, error: error.to_string() },
                None => Event::Malformed { link, error: "an empty message".into() },
            },
            Some(Err(status)) => {
                tracing::debug!(link = link.0, code = ?status.code(), "link failed");
                break;
            }
            None => break,
        };
        if hub.send(event).await.is_err() {
            return;
        }
    }
    let _ = hub.send(Event::LinkDown(link)).await;
}
