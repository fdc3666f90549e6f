//! Which incarnations a key epoch may name. Of two branches of a log the one of the later incarnation counts, so whoever
//! has stolen a key must not be able to name one that is later than what the shop's next keys can: each epoch has a block
//! of its own, and every number of a later epoch's block is above all those of the epochs before.

use crate::KEY_EPOCH_MAX;

/// Numbers of epoch 0: its incarnations are seconds of the clock, which last until 2091.
const FIRST_BLOCK: u32 = 1 << 31;
/// Numbers of each later epoch: all 32 share the other half.
const LATER_BLOCK: u32 = 1 << 26;

/// The first incarnation of a key epoch's own block. Records of that epoch may name lower ones, as they did before there
/// were blocks.
pub const fn incarnation_first(epoch: u32) -> u32 {
    match epoch {
        0 => 0,
        1..=KEY_EPOCH_MAX => FIRST_BLOCK + (epoch - 1) * LATER_BLOCK,
        _ => u32::MAX, // no such epoch has a key
    }
}

/// The last incarnation that records of a key epoch may name.
pub const fn incarnation_last(epoch: u32) -> u32 {
    match epoch {
        0 => FIRST_BLOCK - 1,
        1..KEY_EPOCH_MAX => incarnation_first(epoch + 1) - 1,
        _ => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_follow_each_other_and_fill_all_numbers() {
        assert_eq!(incarnation_first(0), 0);
        for epoch in 0..KEY_EPOCH_MAX {
            assert!(incarnation_first(epoch) < incarnation_last(epoch));
            assert_eq!(incarnation_last(epoch) + 1, incarnation_first(epoch + 1));
        }
        assert_eq!(incarnation_last(KEY_EPOCH_MAX), u32::MAX);
        let width = |epoch| incarnation_last(epoch) - incarnation_first(epoch);
        assert!((1..=KEY_EPOCH_MAX).all(|epoch| width(epoch) == LATER_BLOCK - 1));
    }
}
