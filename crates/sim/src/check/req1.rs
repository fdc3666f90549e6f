//! REQ-1: the same request is told the same, for good, and another body under its id is refused.

use hutong_core::{
    answer::Answer,
    refusal::{Reason, Refusal},
};

use super::{Checked, Invariant};
use crate::tills::Request;

/// A repeat's answer beside what was told for good.
pub(super) fn check(request: &Request, told: &Result<Answer, Refusal>) -> Checked {
    match request.settled() {
        Some(first) if first != told => {
            let what = format!("a {} was told {first:?}, then {told:?}", request.action.name());
            Err((Invariant::Req1, what))
        }
        Some(_) | None => Ok(()),
    }
}

/// What another body under a request id was told.
pub(super) fn check_other_body(first: &Request, told: &Result<Answer, Refusal>) -> Checked {
    let refused = matches!(told, Err(refusal) if refusal.reason == Reason::RequestIdReused);
    if refused || !matches!(first.told, Some(Ok(_))) {
        return Ok(());
    }
    Err((Invariant::Req1, format!("another body under a used request id was told {told:?}")))
}
