//! Repeating what may be repeated.

use std::{
    future::Future,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::Error;

/// Attempts in all. With the back-off below, a node that restarts has about three seconds.
pub const ATTEMPTS_MAX: u32 = 6;
/// The first pause; each further one is twice as long.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause: a till's customer waits.
pub const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A fresh `request_id`: 128 random bits, in 32 hex digits.
///
/// # Panics
/// When the operating system has no randomness to give.
pub fn random_request_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    data_encoding::HEXLOWER.encode(&bytes)
}

/// Makes a call again while it fails with `UNAVAILABLE` or, told when to come back, `RESOURCE_EXHAUSTED`, or because the connection broke under it, with back-off and
/// jitter, [`ATTEMPTS_MAX`] times in all. Where the node says that another try makes sense only after more than
/// [`BACKOFF_MAX`] (`RetryInfo`), the caller hears so at once.
/// Only for calls that carry a `request_id`, the same each time, and for calls that change nothing.
pub async fn retry_unavailable<T, F>(attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    retry(attempt, tokio::time::sleep).await
}

async fn retry<T, F, S>(mut attempt: impl FnMut() -> F, sleep: impl Fn(Duration) -> S) -> Result<T, Error>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
    S: Future<Output = ()>,
{
    let mut made = 1;
    loop {
        match attempt().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) if may_pass(&status) && made < ATTEMPTS_MAX => {
                sleep(pause(made).max(retry_delay(&status).unwrap_or_default())).await;
                made += 1;
            }
            Err(status) => return Err(status.into()),
        }
    }
}

/// Whether another attempt may fare better: the node is not there, or the connection broke under the call. What the
/// node itself says, whatever its code, carries details.
pub(crate) fn may_pass(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => retry_delay(status).is_none_or(|delay| delay <= BACKOFF_MAX),
        // A token's calls are used up. A node says for how long; a proxy that does not means it.
        Code::ResourceExhausted => retry_delay(status).is_some_and(|delay| delay <= BACKOFF_MAX),
        Code::Unknown | Code::Internal | Code::Cancelled => status.details().is_empty(),
        _ => false,
    }
}

/// How long the node asks to wait.
fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info().and_then(|info| info.retry_delay)
}

/// The pause after attempt `made`, half of it random: tills that lost the node together do not come back together.
pub(crate) fn pause(made: u32) -> Duration {
    let full = BACKOFF_FIRST.saturating_mul(1 << made.saturating_sub(1).min(16)).min(BACKOFF_MAX);
    let random = RandomState::new().build_hasher().finish() % 1_000;
    full / 2 + full * u32::try_from(random).unwrap_or(0) / 2_000
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_broken_connection_is_tried_again_and_a_node_s_own_failure_is_not() {
        assert!(may_pass(&Status::unknown("transport error")));
        assert!(may_pass(&Status::internal("h2 protocol error")));
        assert!(!may_pass(&Status::with_details(Code::Internal, "failed", vec![1].into())));
        assert!(!may_pass(&Status::failed_precondition("used")));
    }

    #[test]
    fn a_node_that_asks_for_minutes_is_not_asked_again_at_once() {
        let asks = |delay| {
            let details = tonic_types::ErrorDetails::with_retry_info(Some(delay));
            Status::with_error_details(Code::Unavailable, "later", details)
        };
        assert!(may_pass(&asks(BACKOFF_MAX)));
        assert!(!may_pass(&asks(Duration::from_secs(300))));
        let used_up = |details| Status::with_error_details(Code::ResourceExhausted, "wait", details);
        let in_a_second = tonic_types::ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
        assert!(may_pass(&used_up(in_a_second)));
        assert!(!may_pass(&used_up(tonic_types::ErrorDetails::new())));
    }

    #[tokio::test]
    async fn unavailable_is_tried_again_and_then_given_up() {
        let calls = Cell::new(0);
        let result: Result<(), Error> = retry(
            || {
                calls.set(calls.get() + 1);
                async { Err(Status::unavailable("down")) }
            },
            |_| async {},
        )
        .await;
        assert!(result.unwrap_err().is_unavailable());
        assert_eq!(calls.get(), ATTEMPTS_MAX);
    }

    #[tokio::test]
    async fn an_answer_ends_it_and_a_refusal_is_not_repeated() {
        let calls = Cell::new(0);
        let result = retry(
            || {
                calls.set(calls.get() + 1);
                let up = calls.get() == 3;
                async move { if up { Ok(tonic::Response::new(7)) } else { Err(Status::unavailable("down")) } }
            },
            |_| async {},
        )
        .await;
        assert_eq!((result.unwrap(), calls.get()), (7, 3));

        calls.set(0);
        let refused: Result<(), Error> = retry(
            || {
                calls.set(calls.get() + 1);
                async { Err(Status::invalid_argument("no")) }
            },
            |_| async {},
        )
        .await;
        assert_eq!((refused.is_err(), calls.get()), (true, 1));
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        for made in 1..40 {
            let pause = pause(made);
            assert!(pause >= BACKOFF_FIRST / 2 && pause <= BACKOFF_MAX, "{made}: {pause:?}");
        }
    }

    #[test]
    fn request_ids_differ() {
        assert_eq!(random_request_id().len(), 32);
        assert_ne!(random_request_id(), random_request_id());
    }
}
