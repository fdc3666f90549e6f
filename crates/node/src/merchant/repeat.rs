//! Requests that are kept beside what they made (a token, a webhook), so that a repeat gets the first answer. What records
//! tell, the rules keep by themselves.

use data_encoding::HEXLOWER;
use hutong_core::{
    answer::RequestTag,
    refusal::{Reason, Refusal},
};
use hutong_record::UnixMillis;
use hutong_wire::trade;
use serde::{Deserialize, Serialize};

/// How long a repeat is known for one: longer than any caller tries again by itself.
const KNOWN_MS: i64 = 24 * 3_600_000;

/// A request, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    id: String,
    /// Hex, of method and body.
    hash: String,
    unix_ms: i64,
}

impl Asked {
    /// A request of now.
    pub(crate) fn new(tag: &RequestTag, now: UnixMillis) -> Self {
        Self { id: tag.id.clone(), hash: HEXLOWER.encode(&tag.hash), unix_ms: now.ms() }
    }

    /// Whether a request is this one again.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED`: it is another one under the same id.
    pub(crate) fn is_repeated_by(&self, tag: &RequestTag, now: UnixMillis) -> Result<bool, Refusal> {
        let known = now.ms().saturating_sub(self.unix_ms) < KNOWN_MS;
        if !known || self.id != tag.id {
            return Ok(false);
        }
        if self.hash == HEXLOWER.encode(&tag.hash) {
            Ok(true)
        } else {
            Err(Refusal::new(Reason::RequestIdReused).with("request_id", &tag.id))
        }
    }
}

/// The tag of a request whose id may be absent; none then.
///
/// # Errors
/// `FIELD_INVALID` of `request_id`.
pub(super) fn tag(
    id: &str,
    method: &str,
    message: &impl prost::Message,
) -> Result<Option<RequestTag>, Refusal> {
    if id.is_empty() { Ok(None) } else { trade::request_tag(id, method, message).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_known_for_a_day_and_another_request_under_its_id_is_refused() {
        let tag = |id: &str, hash| RequestTag { id: id.to_owned(), hash: [hash; 32] };
        let at = |ms: i64| UnixMillis::new(1_800_000_000_000 + ms).unwrap();
        let asked = Asked::new(&tag("a", 1), at(0));
        assert_eq!(asked.is_repeated_by(&tag("a", 1), at(KNOWN_MS - 1)), Ok(true));
        assert_eq!(asked.is_repeated_by(&tag("b", 1), at(1)), Ok(false));
        let other = asked.is_repeated_by(&tag("a", 2), at(1)).unwrap_err();
        assert_eq!(other.reason, Reason::RequestIdReused);
        assert_eq!(asked.is_repeated_by(&tag("a", 2), at(KNOWN_MS)), Ok(false));
        // A clock that was set back forgets nothing.
        assert_eq!(asked.is_repeated_by(&tag("a", 1), at(-1)), Ok(true));
    }
}
