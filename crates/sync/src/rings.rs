//! Whom a node links to, so that records reach everybody in a few hops over few links.
//!
//! All members stand on three rings, each in an order of its own that follows from their ids alone, and each node dials its
//! successor on each; on a fourth ring every other node does. So each has six to eight links, nobody more; the rings' sum
//! is as good as a random graph of that degree; any one ring connects everybody; and a member that comes or goes
//! moves nobody's links but its neighbours'.

use alloc::vec::Vec;

use hutong_record::ShopId;

const RING: &str = "hutong 2026 v1 ring";
/// With three, some pair among 500 is 6 hops apart; with a fourth for every other node none is more than 5.
const RINGS: u8 = 4;

/// For each ring on which `me` dials, all others in the order in which they follow it: the first is the one to link to,
/// those after it stand in for it.
pub fn rings(me: ShopId, others: &[ShopId]) -> Vec<Vec<ShopId>> {
    let dials = |ring: &u8| *ring + 1 < RINGS || place(*ring, &me)[0] & 1 == 1;
    (0..RINGS).filter(dials).map(|ring| following(ring, me, others)).collect()
}

/// The others that `me` dials when all can be dialled.
pub fn neighbours(me: ShopId, others: &[ShopId]) -> Vec<ShopId> {
    let mut chosen: Vec<_> = rings(me, others).iter().filter_map(|ring| ring.first().copied()).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn following(ring: u8, me: ShopId, others: &[ShopId]) -> Vec<ShopId> {
    let mut placed: Vec<_> = others.iter().map(|shop| (place(ring, shop), *shop)).collect();
    placed.sort_unstable();
    let start = placed.partition_point(|entry| *entry < (place(ring, &me), me));
    placed.rotate_left(start);
    placed.into_iter().map(|(_, shop)| shop).collect()
}

/// Where a shop stands: BLAKE3 over the ring's number and its id.
fn place(ring: u8, shop: &ShopId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(RING);
    hasher.update(&[ring]);
    hasher.update(shop.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

    use super::*;

    fn shops(seed: u64, count: usize) -> Vec<ShopId> {
        let id = |n: usize| {
            let bytes = [seed.to_be_bytes(), (n as u64).to_be_bytes()].concat();
            ShopId::new(*blake3::hash(&bytes).as_bytes())
        };
        (0..count).map(id).collect()
    }

    fn links(shops: &[ShopId]) -> BTreeMap<ShopId, BTreeSet<ShopId>> {
        let mut links: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for me in shops {
            let others: Vec<_> = shops.iter().copied().filter(|shop| shop != me).collect();
            for other in neighbours(*me, &others) {
                links.entry(*me).or_default().insert(other);
                links.entry(other).or_default().insert(*me);
            }
        }
        links
    }

    fn hops_max(links: &BTreeMap<ShopId, BTreeSet<ShopId>>) -> Option<usize> {
        let mut most = 0;
        for start in links.keys() {
            let mut hops = BTreeMap::from([(*start, 0)]);
            let mut queue = VecDeque::from([*start]);
            while let Some(at) = queue.pop_front() {
                for next in &links[&at] {
                    if !hops.contains_key(next) {
                        hops.insert(*next, hops[&at] + 1);
                        queue.push_back(*next);
                    }
                }
            }
            most = most.max(*hops.values().max()?);
            if hops.len() < links.len() {
                return None;
            }
        }
        Some(most)
    }

    #[test]
    fn any_two_of_500_are_at_most_five_hops_apart_over_at_most_eight_links_each() {
        for seed in 0..2 {
            let links = links(&shops(seed, 500));
            let most = links.values().map(BTreeSet::len).max().unwrap();
            let sum: usize = links.values().map(BTreeSet::len).sum();
            assert!(most <= 8 && sum < 500 * 72 / 10, "{most} links, {sum} ends");
            assert!(hops_max(&links).is_some_and(|hops| hops <= 5), "seed {seed}: {:?}", hops_max(&links));
        }
    }

    #[test]
    fn few_shops_are_linked_all_the_same() {
        for count in 2..30 {
            let links = links(&shops(9, count));
            assert_eq!(links.len(), count);
            assert!(hops_max(&links).is_some());
        }
        assert!(neighbours(shops(9, 1)[0], &[]).is_empty());
    }

    #[test]
    fn a_newcomer_moves_few_links() {
        let all = shops(3, 101);
        let (before, after) = (links(&all[..100]), links(&all));
        let moved: usize = before.iter().map(|(shop, links)| links.difference(&after[shop]).count()).sum();
        assert!(moved <= 2 * 4, "at most one link a ring: {moved} ends");
    }

    #[test]
    fn those_who_stand_in_are_all_the_others() {
        let all = shops(4, 10);
        for ring in rings(all[0], &all[1..]) {
            let distinct: BTreeSet<_> = ring.iter().collect();
            assert_eq!((ring.len(), distinct.len()), (9, 9));
        }
    }
}
