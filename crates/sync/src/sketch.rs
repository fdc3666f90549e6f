//! A sketch of what a node holds: a few bits for each bucket of logs, from which two nodes see in which buckets they
//! differ, so that only those are listed.

use alloc::{collections::BTreeMap, vec::Vec};

use bytes::Bytes;
use hutong_record::ShopId;

use crate::{
    FrontierDigest,
    frame::Fault,
    limits::{SKETCH_BUCKETS_MAX, SKETCH_BYTES_MAX},
    link::Known,
};

const ENTRY: &str = "hutong 2026 v2 sketch entry";
const REST: &str = "hutong 2026 v2 frontier rest";
/// Bits a bucket: of 10 buckets that differ, one looks equal in one greeting out of 400, which the digest of the rest shows.
const BITS: u32 = 12;
const MASK: u16 = (1 << BITS) - 1;

/// Bits of each bucket; a log's bucket is told by the first bits of its shop's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sketch(Vec<u16>);

/// The buckets in which two sketches differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Differing(Vec<bool>);

impl Sketch {
    /// Of so many logs, about one a bucket.
    pub(crate) fn of(known: &BTreeMap<ShopId, Known>) -> Self {
        let count = known.len().next_power_of_two().min(SKETCH_BUCKETS_MAX);
        let mut buckets = alloc::vec![0; count];
        for (shop, known) in known {
            buckets[bucket(shop, count)] ^= entry(shop, known);
        }
        Self(buckets)
    }

    /// Reads what a peer sent.
    pub(crate) fn parse(bucket_count: u32, bits: &[u8]) -> Result<Self, Fault> {
        let count = usize::try_from(bucket_count).map_err(|_| Fault::Sketch)?;
        let fits = count.is_power_of_two() && count <= SKETCH_BUCKETS_MAX && bits.len() == bytes_for(count);
        if !fits {
            return Err(Fault::Sketch);
        }
        let pairs = bits.chunks(3).flat_map(|chunk| {
            let byte = |at: usize| u16::from(chunk.get(at).copied().unwrap_or_default());
            [byte(0) << 4 | byte(1) >> 4, (byte(1) & 0xf) << 8 | byte(2)]
        });
        Ok(Self(pairs.take(count).collect()))
    }

    /// How many buckets, a power of two.
    pub(crate) fn bucket_count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Two buckets in three bytes.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bits = Vec::with_capacity(SKETCH_BYTES_MAX);
        for pair in self.0.chunks(2) {
            let (a, b) = (pair[0], pair.get(1).copied().unwrap_or_default());
            let [high, middle, low] =
                [a >> 4, (a & 0xf) << 4 | b >> 8, b & 0xff].map(|part| part.to_be_bytes()[1]);
            bits.extend([high, middle, low]);
        }
        bits.truncate(bytes_for(self.0.len()));
        bits.into()
    }

    /// Where the two differ, in as many buckets as the coarser one has.
    pub(crate) fn differing(&self, other: &Self) -> Differing {
        let count = self.0.len().min(other.0.len());
        let (ours, theirs) = (self.fold(count), other.fold(count));
        Differing(ours.iter().zip(&theirs).map(|(ours, theirs)| ours != theirs).collect())
    }

    fn fold(&self, count: usize) -> Vec<u16> {
        let each = self.0.len() / count;
        self.0.chunks(each).map(|chunk| chunk.iter().fold(0, |sum, bits| sum ^ bits)).collect()
    }
}

impl Differing {
    /// Reads what a peer sent.
    pub(crate) fn parse(bucket_count: u32, buckets: &[u8]) -> Result<Self, Fault> {
        let count = usize::try_from(bucket_count).map_err(|_| Fault::Sketch)?;
        let fits = count.is_power_of_two() && count <= SKETCH_BUCKETS_MAX;
        if !fits || buckets.len() != count.div_ceil(8) {
            return Err(Fault::Sketch);
        }
        Ok(Self((0..count).map(|at| buckets[at / 8] >> (at % 8) & 1 == 1).collect()))
    }

    /// How many buckets, a power of two.
    pub(crate) fn bucket_count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// A bit a bucket, lowest first.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let byte = |bits: &[bool]| bits.iter().rev().fold(0u8, |byte, bit| byte << 1 | u8::from(*bit));
        self.0.chunks(8).map(byte).collect::<Vec<_>>().into()
    }

    /// Whether a shop's log is in such a bucket.
    pub(crate) fn has(&self, shop: &ShopId) -> bool {
        self.0[bucket(shop, self.0.len())]
    }

    /// Of all logs outside these buckets: the two nodes hold the same of them if their digests are equal.
    pub(crate) fn rest(&self, known: &BTreeMap<ShopId, Known>) -> FrontierDigest {
        let mut hasher = blake3::Hasher::new_derive_key(REST);
        for (shop, known) in known.iter().filter(|(shop, _)| !self.has(shop)) {
            feed(&mut hasher, shop, known);
        }
        FrontierDigest::new(*hasher.finalize().as_bytes())
    }
}

const fn bytes_for(count: usize) -> usize {
    (count * BITS as usize).div_ceil(8)
}

/// The first bits of an id, as many as there are buckets for.
fn bucket(shop: &ShopId, count: usize) -> usize {
    let first = u16::from_be_bytes([shop.as_bytes()[0], shop.as_bytes()[1]]);
    (usize::from(first) * count) >> u16::BITS
}

/// 12 bits of the hash over a log's shop and head.
fn entry(shop: &ShopId, known: &Known) -> u16 {
    let mut hasher = blake3::Hasher::new_derive_key(ENTRY);
    feed(&mut hasher, shop, known);
    let [a, b, ..] = *hasher.finalize().as_bytes();
    u16::from_be_bytes([a, b]) & MASK
}

/// Shop (32 bytes), incarnation (4, big endian), sequence (8, big endian), first bytes of the head's id (8).
fn feed(hasher: &mut blake3::Hasher, shop: &ShopId, known: &Known) {
    hasher.update(shop.as_bytes());
    hasher.update(&known.incarnation.to_be_bytes());
    hasher.update(&known.sequence.to_be_bytes());
    hasher.update(&known.prefix.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(count: usize) -> BTreeMap<ShopId, Known> {
        let entry = |n: usize| {
            let shop = ShopId::new(*blake3::hash(&n.to_be_bytes()).as_bytes());
            (shop, Known { sequence: n as u64 + 1, prefix: Some([9; 8]), incarnation: 0 })
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn a_sketch_survives_the_wire_at_every_size() {
        for count in [0, 1, 2, 3, 5, 16, 17, 500, 1_024] {
            let sketch = Sketch::of(&known(count));
            let bits = sketch.to_bytes();
            assert!(bits.len() <= SKETCH_BYTES_MAX);
            assert_eq!(Sketch::parse(sketch.bucket_count(), &bits), Ok(sketch), "{count} logs");
        }
    }

    #[test]
    fn sketches_of_a_wrong_shape_are_refused() {
        for (count, bytes) in [(0, 0), (3, 5), (1_024, 1_536), (4, 5), (4, 7), (u32::MAX, 2)] {
            assert_eq!(Sketch::parse(count, &alloc::vec![0; bytes]), Err(Fault::Sketch), "{count} {bytes}");
        }
        for (count, bytes) in [(0, 0), (3, 1), (1_024, 128), (16, 1), (8, 2)] {
            let buckets = alloc::vec![0; bytes];
            assert_eq!(Differing::parse(count, &buckets), Err(Fault::Sketch), "{count} {bytes}");
        }
    }

    #[test]
    fn a_log_that_differs_shows_in_its_bucket_whatever_the_sizes() {
        for (ours, theirs) in [(500, 500), (500, 3), (3, 500), (500, 0), (1, 1)] {
            let (ours, mut theirs) = (known(ours), known(theirs));
            let changed = *ours.keys().next().unwrap();
            theirs.insert(changed, Known { sequence: 999, prefix: None, incarnation: 1 });
            let differing = Sketch::of(&ours).differing(&Sketch::of(&theirs));
            assert_eq!(differing, Sketch::of(&theirs).differing(&Sketch::of(&ours)));
            assert!(differing.has(&changed));
            let sent = Differing::parse(differing.bucket_count(), &differing.to_bytes());
            assert_eq!(sent, Ok(differing));
        }
    }

    #[test]
    fn the_rest_covers_what_is_outside_the_differing_buckets_alone() {
        let (ours, mut theirs) = (known(500), known(500));
        let shops: Vec<_> = ours.keys().copied().collect();
        theirs.get_mut(&shops[7]).unwrap().sequence += 1;
        let differing = Sketch::of(&ours).differing(&Sketch::of(&theirs));
        assert_eq!(differing.rest(&ours), differing.rest(&theirs));
        let outside = shops.iter().find(|shop| !differing.has(shop)).unwrap();
        theirs.get_mut(outside).unwrap().sequence += 1;
        assert_ne!(differing.rest(&ours), differing.rest(&theirs));
    }
}
