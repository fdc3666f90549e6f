//! The peer port's transport: TLS 1.3 both ways, where the shop's own ed25519 key is the identity.
//!
//! ```text
//! listener: accept -> pending slot -> TLS (verifier asks the door) -> door.enter -> PeerStream -> tonic
//! dialler:  open -> TLS (verifier pins one shop) -> server speaks first -> Cuttable -> tonic Channel
//! ```
//!
//! There is no certificate authority, no resumption, no early data, no TLS 1.2 and no server name on the wire. The
//! invariants, named where they are kept and tested:
//!
//! - **TRA-1** Nobody whose key is not on the [`Door`], nor shown to be a later key of a member there, reaches a handler.
//! - **TRA-2** A connection proves possession of its key, by a strictly verified signature over this handshake.
//! - **TRA-3** A key taken off the door, or cut, has no live connection in either direction from then on; that of a shop that
//!   is no member any more keeps those that it has for [`FAREWELL`], to hear why.
//! - **TRA-4** A dialled connection ends at the one key that the caller named, or at a later one of the same shop.
//! - **TRA-5** Whoever never finishes a handshake delays nobody else.

mod certificate;
mod connections;
mod cuttable;
mod dial;
mod door;
mod limits;
mod listener;
mod pending;
mod pin;
mod session;
mod verifier;

#[cfg(test)]
mod tests;

pub use certificate::Credential;
pub use connections::Connections;
pub use dial::{DialError, Dialer, Open, Tcp};
pub use door::{Caller, Door, FAREWELL, GuestKey};
pub use limits::{ListenLimits, endpoint, server};
pub use listener::{Listen, Peer, PeerStream, listen};
pub use pin::{KnownShop, Pin};
