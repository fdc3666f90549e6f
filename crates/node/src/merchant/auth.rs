//! Who may call: whoever shows the token that lies in the data folder.

use std::sync::Arc;

use hutong_core::refusal::{Reason, Refusal};
use hutong_wire::status;
use subtle::ConstantTimeEq as _;
use tonic::{Request, Status, service::Interceptor};
use zeroize::Zeroizing;

/// Checks `authorization: Bearer <token>` in constant time.
#[derive(Clone)]
pub(super) struct TokenCheck(Arc<Zeroizing<String>>);

impl TokenCheck {
    pub(super) fn new(token: &str) -> Self {
        Self(Arc::new(Zeroizing::new(format!("Bearer {token}"))))
    }
}

impl Interceptor for TokenCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let shown = request.metadata().get("authorization").map(|value| value.as_bytes()).unwrap_or_default();
        if bool::from(shown.ct_eq(self.0.as_bytes())) {
            return Ok(request);
        }
        let language = status::language(request.metadata());
        Err(status::refused(&Refusal::new(Reason::TokenInvalid), language))
    }
}
