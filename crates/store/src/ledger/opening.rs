//! What a ledger is opened on.

use std::sync::Arc;

use hutong_core::charter::Charter;
use hutong_record::{Cryptography, ShopId};

use super::{Seat, ShopKeys};
use crate::journal::Journal;

/// What [`super::Ledger::open_with`] opens.
pub struct Opening<V> {
    /// The alliance's rules from the beginning.
    pub charter: Charter,
    /// Whose copy it is.
    pub me: ShopId,
    /// With which this shop signs and reads.
    pub keys: Arc<ShopKeys>,
    /// Whether the files lie where they always did.
    pub seat: Seat,
    /// What is true.
    pub journal: Box<dyn Journal>,
    /// What is folded from it.
    pub views: Arc<V>,
    /// Who does the sums of signatures.
    pub cryptography: Arc<dyn Cryptography>,
}

impl<V> std::fmt::Debug for Opening<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opening of {:?} for {:?}", self.charter.id, self.me)
    }
}
