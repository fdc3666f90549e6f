//! What can go wrong, with the reason that callers may match on.

use std::{collections::BTreeMap, fmt};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is not an `http://host:port` address.
    #[error("`{0}` is not the address of a node, such as http://127.0.0.1:7711")]
    Endpoint(String),
    /// The token holds characters that no header can carry.
    #[error("the access token is not printable ASCII")]
    Token,
    /// Nobody answers there.
    #[error("the node cannot be reached: {0}")]
    Connect(#[source] tonic::transport::Error),
    /// A listing has no end: the node goes round in circles.
    #[error("the listing goes on after {0} pages")]
    Pages(usize),
    /// The node, or the way to it, refused.
    #[error(transparent)]
    Refused(Box<Refusal>),
}

/// A refusal as the node worded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC status code.
    pub code: Code,
    /// Stable upper-case reason (`google.rpc.ErrorInfo`); absent where the answer did not come from a node.
    pub reason: Option<String>,
    /// Whose reason it is, `hutong` for a node's; empty if absent.
    pub domain: String,
    /// Details by name, as the reason defines them.
    pub metadata: BTreeMap<String, String>,
    /// What happened, in English, for logs.
    pub message: String,
    /// What happened, in the caller's language, for people (`google.rpc.LocalizedMessage`).
    pub localized: Option<String>,
}

impl Error {
    /// The stable reason, where the node gave one.
    pub fn reason(&self) -> Option<&str> {
        self.refusal().and_then(|refusal| refusal.reason.as_deref())
    }

    /// The refusal, where there was an answer.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Endpoint(_) | Self::Token | Self::Connect(_) | Self::Pages(_) => None,
        }
    }

    /// Whether the same call may succeed a little later without any change.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Refused(refusal) => refusal.code == Code::Unavailable,
            Self::Endpoint(_) | Self::Token | Self::Pages(_) => false,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(Refusal::from(&status)))
    }
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).filter(|reason| !reason.is_empty()),
            domain: info.map(|info| info.domain.clone()).unwrap_or_default(),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
            message: status.message().to_owned(),
            localized: details
                .localized_message()
                .map(|text| text.message.clone())
                .filter(|text| !text.is_empty()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.localized.as_deref().unwrap_or(&self.message) {
            "" => write!(f, "{}", self.code),
            text => f.write_str(text),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn the_node_s_reason_and_words_come_through() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("VOUCHER_EXPIRED", "hutong", HashMap::from([("day".to_owned(), "1".to_owned())]))
            .set_localized_message("zh-CN", "券已过期");
        let status = Status::with_error_details(Code::FailedPrecondition, "expired", details);
        let error = Error::from(status);
        assert_eq!(error.reason(), Some("VOUCHER_EXPIRED"));
        assert_eq!(error.to_string(), "券已过期");
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.domain.as_str(), refusal.metadata["day"].as_str()), ("hutong", "1"));
        assert!(!error.is_unavailable());
    }

    #[test]
    fn a_status_without_details_keeps_its_message() {
        let error = Error::from(Status::unavailable("restarting"));
        assert_eq!((error.reason(), error.to_string().as_str()), (None, "restarting"));
        assert!(error.is_unavailable());
        let garbage = Status::with_details(Code::Internal, "", vec![0xff, 1, 2].into());
        assert_eq!(Error::from(garbage).reason(), None);
    }
}
