//! VOU-1: of the redemptions that tills were told of, at most one of a voucher was not taken back.

use std::collections::{BTreeMap, BTreeSet};

use hutong_core::voucher::VoucherKey;
use hutong_record::RecordId;

use super::{Checked, Invariant};

/// Who used what, as tills know it.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    by_voucher: BTreeMap<VoucherKey, BTreeSet<RecordId>>,
    /// Redemptions that somebody asked to take back; the answer may be lost, so they count as taken back.
    maybe_voided: BTreeSet<RecordId>,
}

impl Uses {
    pub(crate) fn maybe_voided(&mut self, redemption: RecordId) {
        self.maybe_voided.insert(redemption);
    }

    /// A till was told that a voucher is used by this redemption.
    pub(crate) fn redeemed(&mut self, voucher: VoucherKey, redemption: RecordId) -> Checked {
        let uses = self.by_voucher.entry(voucher).or_default();
        uses.insert(redemption);
        let live = uses.difference(&self.maybe_voided).count();
        if live <= 1 {
            return Ok(());
        }
        Err((Invariant::Vou1, format!("{voucher:?} was redeemed {live} times: {uses:?}")))
    }

    /// Redemptions that tills were told of.
    pub(crate) fn count(&self) -> u64 {
        self.by_voucher.values().map(|uses| uses.len() as u64).sum()
    }

    /// Vouchers with more than one redemption that was not taken back.
    pub(crate) fn double_count(&self) -> u64 {
        let double = |uses: &&BTreeSet<RecordId>| uses.difference(&self.maybe_voided).nth(1).is_some();
        self.by_voucher.values().filter(double).count() as u64
    }
}
