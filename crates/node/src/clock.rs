//! The node's clock: the one place that reads the system's.

use std::time::{SystemTime, UNIX_EPOCH};

use hutong_record::UnixMillis;

/// Now, by the system's clock. A clock before 1970 or after 9999 gives the nearest moment that exists.
#[allow(clippy::disallowed_methods, reason = "this is the node's clock")]
pub fn now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    UnixMillis::EPOCH.saturating_add_ms(ms)
}
