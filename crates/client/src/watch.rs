//! Events as a stream that lasts: it comes back after a restart of the node or a broken line, and goes on after the
//! event that it gave last.

use futures::Stream;
use hutong_wire::merchant::v1::{EventType, WatchRequest, WatchResponse};
use tonic::{Code, Status, Streaming};

use crate::{Client, Error, retry};

/// Attempts to come back without hearing anything between them; with the pauses of [`retry`](crate::BACKOFF_MAX) this is
/// some four minutes, and the caller decides whether to go on.
const ATTEMPTS_MAX: u32 = 128;

/// Every event from a token on, each exactly once as long as the caller keeps [`Events::resume_token`] with what it has
/// done. Made by [`Client::watch_on`].
#[derive(Debug)]
pub struct Events {
    client: Client,
    request: WatchRequest,
    stream: Option<Streaming<WatchResponse>>,
    /// Attempts since something was heard.
    attempts: u32,
}

impl Client {
    /// Every event from a token on, across restarts of the node. An empty token: from now on; `0`: from the beginning.
    pub fn watch_on(&self, alliance_id: &str, resume_token: &str) -> Events {
        let (alliance_id, resume_token) = (alliance_id.to_owned(), resume_token.to_owned());
        // Bookmarks tell the place even before the first event, so that a break then loses nothing either.
        let request = WatchRequest { alliance_id, resume_token, bookmarks: true };
        Events { client: self.clone(), request, stream: None, attempts: 0 }
    }
}

impl Events {
    /// Where to go on: after the event that was given last.
    pub fn resume_token(&self) -> &str {
        &self.request.resume_token
    }

    /// The next event, whenever it comes.
    ///
    /// # Errors
    /// The node refuses (the token ended, or is not this node's), or cannot be reached for minutes. Calling again tries
    /// again.
    pub async fn next(&mut self) -> Result<WatchResponse, Error> {
        loop {
            match self.hear().await {
                Ok(event) => {
                    self.attempts = 0;
                    self.request.resume_token.clone_from(&event.resume_token);
                    if event.r#type() != EventType::Bookmark {
                        return Ok(event);
                    }
                }
                Err(status) => {
                    self.stream = None;
                    self.attempts += 1;
                    if !passes(&status) || self.attempts >= ATTEMPTS_MAX {
                        self.attempts = 0;
                        return Err(status.into());
                    }
                    tokio::time::sleep(retry::pause(self.attempts)).await;
                }
            }
        }
    }

    /// The same as a [`Stream`], which goes on after errors, too.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchResponse, Error>> {
        futures::stream::unfold(self, async |mut events| {
            let next = events.next().await;
            Some((next, events))
        })
    }

    async fn hear(&mut self) -> Result<WatchResponse, Status> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let opened = self.client.events().watch(self.request.clone()).await?;
                none.insert(opened.into_inner())
            }
        };
        stream.message().await?.ok_or_else(|| Status::unavailable("the node ended the stream"))
    }
}

/// A stream that a stopping node cuts off is as good as one whose line broke.
fn passes(status: &Status) -> bool {
    retry::may_pass(status) || status.code() == Code::DeadlineExceeded
}
