//! REQ-1: the same request is told the same, for good, and another body under its id is refused.

use hutong_core::{
    answer::Answer,
    refusal::{Reason, Refusal},
};

use super::{Checked, Invariant};
use crate::{action::is_kept, tills::Request};

/// A repeat's answer beside the first one.
pub(super) fn check(request: &Request, told: &Result<Answer, Refusal>) -> Checked {
    let same = match &request.told {
        None => true,
        Some(Err(first)) if !is_kept(&request.action, first.reason) => true,
        Some(first) => first == told,
    };
    if same {
        return Ok(());
    }
    let what = format!("a {} was told {:?}, then {told:?}", request.action.name(), request.told);
    Err((Invariant::Req1, what))
}

/// What another body under a request id was told.
pub(super) fn check_other_body(first: &Request, told: &Result<Answer, Refusal>) -> Checked {
    let refused = matches!(told, Err(refusal) if refusal.reason == Reason::RequestIdReused);
    if refused || !matches!(first.told, Some(Ok(_))) {
        return Ok(());
    }
    Err((Invariant::Req1, format!("another body under a used request id was told {told:?}")))
}
