//! Whom a node links to, so that records reach everybody in a few hops over few links.

use alloc::vec::Vec;

/// Places on the circle of the `n` other members, seen from one of them in the order of ids, to which it keeps links: at
/// distances 1, n^(1/3) and n^(2/3), ascending. Others link to it likewise, so that each has about six links and any two
/// are a few hops apart.
pub fn fingers(n: usize) -> Vec<usize> {
    let cube_root = (1..=n).find(|root| root * root * root >= n).unwrap_or(1);
    let mut places: Vec<_> =
        [1, cube_root, cube_root * cube_root].iter().map(|d| d - 1).filter(|p| *p < n).collect();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use alloc::collections::VecDeque;

    use super::*;

    #[test]
    fn fingers_are_few_distinct_and_start_with_the_neighbour() {
        assert_eq!(fingers(0), [0usize; 0]);
        assert_eq!(fingers(1), [0]);
        assert_eq!(fingers(2), [0, 1]);
        assert_eq!(fingers(12), [0, 2, 8]);
        assert_eq!(fingers(499), [0, 7, 63]);
    }

    /// From each place links go to its fingers and come from those whose finger it is.
    #[test]
    fn any_two_of_500_are_a_few_hops_apart() {
        let n = 500;
        let steps: Vec<usize> = fingers(n - 1).iter().map(|p| p + 1).collect();
        let mut hops = vec![usize::MAX; n];
        hops[0] = 0;
        let mut queue = VecDeque::from([0]);
        while let Some(at) = queue.pop_front() {
            for step in &steps {
                for next in [(at + step) % n, (at + n - step) % n] {
                    if hops[next] == usize::MAX {
                        hops[next] = hops[at] + 1;
                        queue.push_back(next);
                    }
                }
            }
        }
        assert!(hops.iter().all(|h| *h <= 12), "{:?}", hops.iter().max());
    }
}
