//! The digest of a frontier: equal digests, equal logs.

use alloc::collections::BTreeMap;
use core::fmt;

use hutong_record::ShopId;

use crate::Head;

const FRONTIER: &str = "hutong 2026 v1 frontier";

/// What a Hello says of the sender's logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontierDigest([u8; 32]);

impl FrontierDigest {
    /// From its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for FrontierDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "FrontierDigest({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

/// BLAKE3 over shop (32 bytes), sequence (8, big endian) and head id (32) of every log, ascending by shop.
pub fn frontier_digest(heads: &BTreeMap<ShopId, Head>) -> FrontierDigest {
    let mut hasher = blake3::Hasher::new_derive_key(FRONTIER);
    for (shop, head) in heads {
        hasher.update(shop.as_bytes());
        hasher.update(&head.sequence.to_be_bytes());
        hasher.update(head.id.as_bytes());
    }
    FrontierDigest(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use hutong_record::RecordId;

    use super::*;

    fn heads(entries: &[(u8, u64, u8)]) -> BTreeMap<ShopId, Head> {
        let entry = |&(shop, sequence, id): &(u8, u64, u8)| {
            (ShopId::new([shop; 32]), Head { sequence, id: RecordId::new([id; 32]), incarnation: 0 })
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn every_part_of_every_head_counts() {
        let base = frontier_digest(&heads(&[(1, 5, 1), (2, 7, 2)]));
        assert_eq!(base, frontier_digest(&heads(&[(2, 7, 2), (1, 5, 1)])));
        for other in
            [&[(1, 5, 1)][..], &[(1, 6, 1), (2, 7, 2)], &[(1, 5, 9), (2, 7, 2)], &[(3, 5, 1), (2, 7, 2)]]
        {
            assert_ne!(base, frontier_digest(&heads(other)));
        }
    }
}
