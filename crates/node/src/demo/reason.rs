//! Why a node refused: the `google.rpc.ErrorInfo` in a status's details.

use prost::Message;
use tonic::Status;

/// `google.rpc.Status`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
}

/// The stable reason, for example `VOUCHER_EXPIRED`; none where the node gave none.
pub(super) fn of(status: &Status) -> Option<String> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let info = details.into_iter().find(|d| d.type_url.ends_with("/google.rpc.ErrorInfo"))?;
    let reason = ErrorInfo::decode(info.value.as_slice()).ok()?.reason;
    (!reason.is_empty()).then_some(reason)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn the_reason_is_found_among_other_details() {
        let mut details = ErrorDetails::with_error_info("VOUCHER_EXPIRED", "hutong", HashMap::new());
        details.set_localized_message("en", "The voucher has expired.");
        let status = Status::with_error_details(Code::FailedPrecondition, "expired", details);
        assert_eq!(of(&status).as_deref(), Some("VOUCHER_EXPIRED"));
    }

    #[test]
    fn a_status_without_details_has_no_reason() {
        assert_eq!(of(&Status::unavailable("gone")), None);
        let garbage = Status::with_details(Code::Internal, "odd", bytes::Bytes::from_static(b"\xff\xff"));
        assert_eq!(of(&garbage), None);
    }
}
