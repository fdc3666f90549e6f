//! Rust SDK for partner apps: a till, a web shop or a console talks to its own node's merchant port with this.
//!
//! [`Client`] has one method for each call of `proto/hutong/merchant/v1`. Each has a deadline, and each failure is an
//! [`Error`] whose [`Error::reason`] is stable, so that callers can match on it. A mutating call that carries a
//! `request_id` is repeated with back-off while the node is unavailable or asks to wait; the id makes that safe.
//! [`Client::watch_on`] gives events as a stream that comes back by itself, with none missed and none twice. The folder
//! `examples` holds a till, a bot and an export.
//!
//! ```no_run
//! # async fn sell() -> Result<(), hutong_client::Error> {
//! use hutong_client::{Client, Token, proto, random_request_id};
//!
//! let client = Client::connect("http://127.0.0.1:7711", &Token::new("…")).await?;
//! let sale = proto::ReportSaleRequest {
//!     request_id: random_request_id(),
//!     amount: Some(proto::Money { minor: 12_50, ..Default::default() }),
//!     ..Default::default()
//! };
//! for voucher in client.report_sale(sale).await?.vouchers {
//!     let _print = voucher.qr_text;
//! }
//! # Ok(())
//! # }
//! ```

mod bundle;
mod calls;
mod client;
mod error;
mod retry;
mod watch;

pub use client::{
    CALL_TIMEOUT, CONNECT_TIMEOUT, Channel, Client, JOIN_TIMEOUT, Language, MESSAGE_BYTES_MAX, POST_TIMEOUT,
    Token,
};
pub use error::{Error, Refusal};
pub use hutong_wire::merchant::v1 as proto;
pub use prost_types::{Duration, Timestamp};
pub use retry::{ATTEMPTS_MAX, BACKOFF_FIRST, BACKOFF_MAX, random_request_id, retry_unavailable};
pub use tonic::{Code, Streaming};
pub use watch::Events;
