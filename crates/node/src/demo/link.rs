//! A till's line to its shop's node: the merchant API over gRPC, patient while the node is down.

use std::{
    fmt,
    future::Future,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::time::Instant;
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::{reason, street::Shop};

/// How long a till waits for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long a till keeps asking a node that is down: a restart with a large journal fits in.
const PATIENCE: Duration = Duration::from_secs(90);

/// Attempts on errors other than "unavailable". A connection that breaks gives one such error, rarely two.
const BROKEN_MAX: u32 = 5;

/// Pause before the first new attempt; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// A connection that shows the merchant's token with each call.
pub(super) type Carrier = InterceptedService<Channel, Bearer>;

/// Adds the merchant's token to a call.
#[derive(Clone)]
pub(super) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// What a node says to a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer<T> {
    /// Yes.
    Done(T),
    /// No, for this stable reason.
    Refused(String),
}

impl<T> Answer<T> {
    /// The answer, where a refusal is an error.
    pub(super) fn done(self) -> anyhow::Result<T> {
        match self {
            Self::Done(answer) => Ok(answer),
            Self::Refused(reason) => bail!("refused: {reason}"),
        }
    }
}

/// The line to one node. Its address changes when the node restarts.
pub(super) struct Link {
    shop: Shop,
    bearer: Bearer,
    channel: RwLock<Channel>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("shop", &self.shop).finish_non_exhaustive()
    }
}

impl Link {
    /// A line to the node of `shop` at `address` (`127.0.0.1:1234`), with its merchant token.
    pub(super) fn new(shop: Shop, address: &str, token: &str) -> anyhow::Result<Self> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().context("the merchant token is not plain text")?;
        value.set_sensitive(true);
        Ok(Self { shop, bearer: Bearer(value), channel: RwLock::new(channel(address)?) })
    }

    /// The shop at the other end.
    pub(super) fn shop(&self) -> Shop {
        self.shop
    }

    /// Goes on with the same node at another address.
    pub(super) fn readdress(&self, address: &str) -> anyhow::Result<()> {
        *self.channel.write().unwrap_or_else(PoisonError::into_inner) = channel(address)?;
        Ok(())
    }

    fn carrier(&self) -> Carrier {
        let channel = self.channel.read().unwrap_or_else(PoisonError::into_inner).clone();
        InterceptedService::new(channel, self.bearer.clone())
    }

    /// Asks until there is an answer. The same request, request id included, goes out again while the node is down.
    ///
    /// # Errors
    /// The node stays down, or fails without a stable reason.
    pub(super) async fn call<T, F, A>(&self, what: &str, ask: F) -> anyhow::Result<Answer<T>>
    where
        F: Fn(Carrier) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_within(PATIENCE, what, ask).await
    }

    async fn call_within<T, F, A>(&self, most: Duration, what: &str, ask: F) -> anyhow::Result<Answer<T>>
    where
        F: Fn(Carrier) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let mut patience = Patience::new(most);
        loop {
            let status = match tokio::time::timeout(ANSWER_MAX, ask(self.carrier())).await {
                Ok(Ok(response)) => return Ok(Answer::Done(response.into_inner())),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer"),
            };
            match Verdict::on(&status) {
                Verdict::Refused(reason) => return Ok(Answer::Refused(reason)),
                Verdict::Down if patience.again().await => {}
                Verdict::Broken if patience.once_more().await => {}
                _ => bail!("{what} at {}: {:?}: {}", self.shop.key(), status.code(), status.message()),
            }
        }
    }
}

fn channel(address: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .with_context(|| format!("{address:?} is no address"))?
        .connect_timeout(Duration::from_secs(2));
    Ok(endpoint.connect_lazy())
}

/// Why typed codes are not looked at for a while.
pub(super) const TOO_MANY_TRIES: &str = "TOO_MANY_TRIES";

/// What a failed call means.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The node is there and says no.
    Refused(String),
    /// The node is not there, or not ready: ask again.
    Down,
    /// The connection broke under the call, perhaps: ask again a few times.
    Broken,
    /// Asking again is of no use.
    Hopeless,
}

impl Verdict {
    fn on(status: &Status) -> Self {
        match (status.code(), reason::of(status)) {
            // For minutes; the till asks for the QR code meanwhile.
            (Code::Unavailable, Some(reason)) if reason == TOO_MANY_TRIES => Self::Refused(reason),
            (Code::Unavailable, _) => Self::Down,
            (
                Code::Internal | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted,
                _,
            ) => Self::Broken,
            (_, Some(reason)) => Self::Refused(reason),
            (_, None) => Self::Hopeless,
        }
    }
}

/// How much longer a till tries.
struct Patience {
    until: Instant,
    pause: Duration,
    broken: u32,
}

impl Patience {
    fn new(most: Duration) -> Self {
        Self { until: Instant::now() + most, pause: PAUSE_MIN, broken: 0 }
    }

    async fn again(&mut self) -> bool {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Instant::now() < self.until
    }

    async fn once_more(&mut self) -> bool {
        self.broken += 1;
        self.broken < BROKEN_MAX && self.again().await
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::HashMap};

    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn refusal(code: Code) -> Status {
        Status::with_error_details(code, "no", ErrorDetails::with_error_info("WHY", "hutong", HashMap::new()))
    }

    fn link() -> Link {
        Link::new("deli".parse().unwrap(), "127.0.0.1:1", "token").unwrap()
    }

    #[test]
    fn only_a_reasoned_no_is_a_refusal() {
        let why = Verdict::Refused("WHY".to_owned());
        assert_eq!(Verdict::on(&refusal(Code::FailedPrecondition)), why);
        assert_eq!(Verdict::on(&refusal(Code::NotFound)), why);
        assert_eq!(Verdict::on(&refusal(Code::Unavailable)), Verdict::Down);
        let details = ErrorDetails::with_error_info(TOO_MANY_TRIES, "hutong", HashMap::new());
        let locked_out = Status::with_error_details(Code::Unavailable, "later", details);
        assert_eq!(Verdict::on(&locked_out), Verdict::Refused(TOO_MANY_TRIES.to_owned()));
        assert_eq!(Verdict::on(&Status::unknown("transport error")), Verdict::Broken);
        assert_eq!(Verdict::on(&Status::unauthenticated("who?")), Verdict::Hopeless);
    }

    #[tokio::test]
    async fn a_call_outlasts_a_node_that_is_down_for_a_while() {
        let asked = Cell::new(0);
        let link = link();
        let answer = link.call("Test", |_| {
            asked.set(asked.get() + 1);
            let back = asked.get() == 4;
            async move { if back { Ok(Response::new(7)) } else { Err(Status::unavailable("down")) } }
        });
        assert_eq!(answer.await.unwrap(), Answer::Done(7));
    }

    #[tokio::test]
    async fn a_call_gives_up_on_a_node_that_never_comes_back() {
        let down = |_| async { Err(Status::unavailable("down")) };
        let answer = link().call_within::<(), _, _>(Duration::ZERO, "Test", down).await;
        assert!(answer.unwrap_err().to_string().contains("Test at deli"));
    }

    #[tokio::test]
    async fn a_node_that_keeps_failing_is_not_asked_forever() {
        let asked = Cell::new(0);
        let link = link();
        let answer = link.call::<(), _, _>("Test", |_| {
            asked.set(asked.get() + 1);
            async { Err(Status::internal("bug")) }
        });
        assert!(answer.await.is_err());
        assert_eq!(asked.get(), BROKEN_MAX);
    }
}
