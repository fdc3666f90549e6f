//! VOU-1: of the redemptions by right that tills were told of, no more of a voucher than it has uses were not taken back.
//! Vouchers with which a cheat dealt double are looked at elsewhere: of these, the proof has to be there.

use std::collections::{BTreeMap, BTreeSet};

use hutong_core::voucher::VoucherKey;
use hutong_record::RecordId;

use super::{Checked, Invariant};
use crate::node::ShopNumber;

/// Who used what by right, as tills know it.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    by_voucher: BTreeMap<VoucherKey, BTreeMap<RecordId, ShopNumber>>,
    /// Redemptions that somebody asked to take back; the answer may be lost, so they count as taken back.
    maybe_voided: BTreeSet<RecordId>,
    double: BTreeSet<VoucherKey>,
}

impl Uses {
    pub(crate) fn maybe_voided(&mut self, redemption: RecordId) {
        self.maybe_voided.insert(redemption);
    }

    /// A till was told that a voucher is used by this redemption.
    pub(crate) fn redeemed(
        &mut self,
        voucher: VoucherKey,
        redemption: RecordId,
        shop: ShopNumber,
        most: u32,
    ) -> Checked {
        let uses = self.by_voucher.entry(voucher).or_default();
        uses.insert(redemption, shop);
        let live = uses.keys().filter(|redemption| !self.maybe_voided.contains(redemption)).count();
        if live <= most as usize {
            return Ok(());
        }
        self.double.insert(voucher);
        Err((Invariant::Vou1, format!("{voucher:?} was redeemed {live} times: {uses:?}")))
    }

    /// Redemptions that tills were told of.
    pub(crate) fn count(&self) -> u64 {
        self.by_voucher.values().map(|uses| uses.len() as u64).sum()
    }

    /// Vouchers with more redemptions than uses that were not taken back.
    pub(crate) fn double_count(&self) -> u64 {
        self.double.len() as u64
    }

    /// Whether a voucher was ever used.
    pub(super) fn was_used(&self, voucher: &VoucherKey) -> bool {
        self.by_voucher.contains_key(voucher)
    }

    /// A redemption of a voucher that nobody asked to take back.
    pub(super) fn live(&self, voucher: &VoucherKey) -> Option<RecordId> {
        let uses = self.by_voucher.get(voucher)?;
        uses.keys().copied().find(|redemption| !self.maybe_voided.contains(redemption))
    }

    /// The shops of a voucher's redemptions that nobody asked to take back.
    pub(super) fn live_at(&self, voucher: &VoucherKey) -> BTreeSet<ShopNumber> {
        self.live_uses(voucher).into_iter().map(|(_, shop)| shop).collect()
    }

    /// A voucher's redemptions that nobody asked to take back, and where.
    pub(super) fn live_uses(&self, voucher: &VoucherKey) -> Vec<(RecordId, ShopNumber)> {
        let uses = self.by_voucher.get(voucher).into_iter().flatten();
        uses.filter(|(redemption, _)| !self.maybe_voided.contains(redemption))
            .map(|(redemption, shop)| (*redemption, *shop))
            .collect()
    }
}
