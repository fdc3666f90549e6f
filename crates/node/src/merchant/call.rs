//! What is known of a call beside its message: who makes it, in which language, and until when an answer is of use.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use hutong_core::refusal::Language;
use hutong_wire::status;
use tonic::{Request, metadata::MetadataMap};

/// What is left of a caller's time for deciding and answering after a wait.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// Digits of a `grpc-timeout`, as the gRPC protocol has it.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// One call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// Where it comes from. Tills of a shop often show one token, so this is what tells them apart.
    pub(super) caller: Option<IpAddr>,
    /// For texts.
    pub(super) language: Language,
    deadline: Option<Instant>,
}

impl Call {
    pub(super) fn of<Q>(request: &Request<Q>) -> Self {
        Self {
            caller: request.remote_addr().map(|address| address.ip()),
            language: status::language(request.metadata()),
            deadline: timeout(request.metadata()).and_then(|left| Instant::now().checked_add(left)),
        }
    }

    /// Ends when the caller has stopped waiting; never where it waits for ever.
    pub(super) async fn expired(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    }

    /// How long the call can wait for others: so long at most, and never so long that the caller has hung up.
    pub(super) fn patience(&self, most: Duration) -> Duration {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(most, |left| left.saturating_sub(ANSWER_TIME).min(most))
    }
}

/// How long the caller waits, if it says so.
pub(super) fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > TIMEOUT_DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Duration> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().unwrap());
        timeout(&metadata)
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(of("15000000u"), Some(Duration::from_secs(15)));
        assert_eq!((of("2S"), of("1H")), (Some(Duration::from_secs(2)), Some(Duration::from_secs(3_600))));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for bad in ["", "S", "5", "-1S", "123456789S", "5x", "1.5S"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_the_caller() {
        let call = |timeout: Option<&str>| {
            let mut request = Request::new(());
            if let Some(timeout) = timeout {
                request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
            }
            Call::of(&request)
        };
        let five = Duration::from_secs(5);
        assert_eq!(call(None).patience(five), five);
        assert_eq!(call(Some("1H")).patience(five), five);
        assert!(call(Some("2S")).patience(five) <= Duration::from_millis(1_500));
        assert_eq!(call(Some("100m")).patience(five), Duration::ZERO);
    }
}
