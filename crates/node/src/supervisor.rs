//! What systemd, or whatever else supervises the node, is told: that it serves, that it lives, that it stops. Silent where
//! nobody has asked (`NOTIFY_SOCKET`).

use std::time::Duration;

use sd_notify::NotifyState;

/// A node that reads its journal anew asks for more time by this much, and asks again before it is over.
const START_EXTENSION: Duration = Duration::from_secs(60);

/// The node serves.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The node takes settings over, until it is [`ready`] again.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the supervisor cannot be told"),
    }
}

/// The node lives.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The node stops.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// The node is still starting.
fn starting() {
    let us = u32::try_from(START_EXTENSION.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(us), NotifyState::Status("folding the journal")]);
}

/// Carries a start out, and says meanwhile that it is under way: a journal may take minutes to fold.
pub(crate) async fn while_starting<T>(start: impl Future<Output = T>) -> T {
    tokio::pin!(start);
    let mut again = tokio::time::interval(START_EXTENSION / 2);
    loop {
        tokio::select! {
            biased;
            done = &mut start => return done,
            _ = again.tick() => starting(),
        }
    }
}

/// How often the supervisor is to hear that the node lives; none: it does not ask.
pub(crate) fn watchdog() -> Option<Duration> {
    // Half of what is allowed: one missed beat is no death.
    sd_notify::watchdog_enabled().map(|allowed| allowed / 2)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the supervisor cannot be told");
    }
}
