//! Places that break the protocol in one way each.

use hutong_record::{Record, ShopId, SigningKey};
use hutong_sync::{Frame, FrontierDigest, GoodbyeReason, PeerHead};
use rand::{Rng as _, RngExt as _, rngs::StdRng};

use super::{
    ALLIANCE,
    node::{next_record, shop_of},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Claims every log up to a far place and has nothing.
    Claims,
    /// The same, and never answers a want.
    Withholds,
    /// Answers with records that another key signed.
    Forges,
    /// Speaks version 2: a part of everything, to be filled, and never an end of its own filling.
    Stalls,
    /// Sends whatever comes to its mind.
    Babbles,
}

pub struct Liar {
    pub lie: Lie,
    pub shops: Vec<ShopId>,
}

impl Liar {
    pub fn new(lie: Lie, members: usize) -> Self {
        let mut shops: Vec<_> = (0..members).map(shop_of).collect();
        shops.sort_unstable();
        Self { lie, shops }
    }

    pub fn greet(&mut self, rng: &mut StdRng) -> Vec<Frame> {
        let digest = FrontierDigest::new([0xee; 32]);
        let versions = if self.lie == Lie::Stalls { vec![1, 2] } else { vec![1] };
        let hello = Frame::Hello { versions, alliance: ALLIANCE, digest };
        let heads = self.claims(rng);
        if self.lie == Lie::Stalls {
            // The digest of a rest without logs; it fits where it dialled, and not where it was dialled.
            let rest = *blake3::Hasher::new_derive_key("hutong 2026 v2 frontier rest").finalize().as_bytes();
            let (bucket_count, buckets, rest) = (1, vec![1].into(), FrontierDigest::new(rest));
            let fill_bytes_max = u32::MAX;
            let part = Frame::Part { bucket_count, buckets, heads, complete: true, rest, fill_bytes_max };
            return vec![hello, part];
        }
        vec![hello, Frame::Frontier { heads, complete: true }]
    }

    fn claims(&self, rng: &mut StdRng) -> Vec<PeerHead> {
        let claim = |shop: &ShopId| PeerHead {
            incarnation: 0,
            shop: *shop,
            sequence: if rng.random_bool(0.3) { u64::MAX } else { rng.random_range(1..10_000) },
            head_prefix: [0xaa; 8],
        };
        self.shops.iter().map(claim).collect()
    }

    pub fn reply(&mut self, frame: &Frame, rng: &mut StdRng) -> Vec<Frame> {
        match (self.lie, frame) {
            (Lie::Withholds, _) => Vec::new(),
            (Lie::Babbles, Frame::Goodbye { .. }) => Vec::new(),
            (Lie::Babbles, _) => (0..rng.random_range(0..3)).map(|_| self.babble(rng)).collect(),
            (Lie::Claims, Frame::Want { shop, .. }) => {
                let mut frames = vec![Frame::Records { shop: *shop, runs: Vec::new(), pushed: false }];
                if rng.random_bool(0.5) {
                    frames.push(Frame::Have { heads: self.claims(rng) });
                }
                frames
            }
            (Lie::Forges, Frame::Want { shop, from_sequence, .. }) => {
                let runs = vec![vec![forged(*shop, *from_sequence, rng).to_message()]];
                vec![Frame::Records { shop: *shop, runs, pushed: false }]
            }
            _ => Vec::new(),
        }
    }

    fn babble(&self, rng: &mut StdRng) -> Frame {
        let shop = match rng.random_bool(0.5) {
            true => self.shops[rng.random_range(0..self.shops.len())],
            false => ShopId::new(rng.random()),
        };
        let sequence = rng.random_range(0..40);
        match rng.random_range(0..12) {
            0 => Frame::Have { heads: self.claims(rng) },
            1 => Frame::Have {
                heads: vec![PeerHead { shop, sequence: rng.next_u64(), head_prefix: [1; 8], incarnation: 0 }],
            },
            9 => Frame::Sketch { bucket_count: 4, bits: vec![0xab; rng.random_range(0..9)].into() },
            10 => Frame::Filled,
            11 => Frame::Counterpart { heads: self.claims(rng), complete: true, fill_bytes_max: 1 << 20 },
            2 | 3 => {
                Frame::Want { shop, from_sequence: sequence, body_bytes_max: rng.random_range(0..100_000) }
            }
            4 => Frame::Records { shop, runs: Vec::new(), pushed: rng.random_bool(0.5) },
            5 | 6 => {
                let runs = vec![vec![forged(shop, sequence.max(1), rng).to_message()]];
                Frame::Records { shop, runs, pushed: rng.random_bool(0.8) }
            }
            7 => Frame::Records {
                shop,
                runs: vec![vec![hutong_record::proto::Record {
                    header: vec![0xff; 40].into(),
                    ..Default::default()
                }]],
                pushed: true,
            },
            _ => Frame::Goodbye { reason: GoodbyeReason::Shutdown, detail: "x".repeat(1_000) },
        }
    }
}

/// A record at the right place, signed by a key that is not the shop's.
fn forged(shop: ShopId, sequence: u64, rng: &mut StdRng) -> Record {
    let key = SigningKey::from_seed(&rng.random());
    let mut log = Vec::new();
    for _ in 0..sequence.min(40) {
        log.push(next_record(shop, &log, b"forged", 99, &key));
    }
    log.pop().unwrap()
}
