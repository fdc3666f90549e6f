//! What this shop and each ally did for each other in a span of time.

use alloc::collections::BTreeMap;

use hutong_record::ShopId;

use super::{
    span::{self, Span},
    *,
};

/// This shop and one ally; sums in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reciprocity {
    /// What this shop did for the ally.
    pub given: Favour,
    /// What the ally did for this shop.
    pub received: Favour,
}

/// What one shop did for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Favour {
    /// Scans, invitations and visits.
    pub touches: u64,
    /// Redemptions at the other shop that are credited to this one.
    pub customers: u64,
    /// What those bought.
    pub value_minor: i128,
    /// What is owed for them, whoever owes it.
    pub bounties_minor: i128,
}

/// By ally, where anything happened.
pub fn reciprocity(
    view: &(impl Reader + ?Sized),
    me: ShopId,
    span: &Span,
) -> Result<BTreeMap<ShopId, Reciprocity>, ViewError> {
    let mut rows = BTreeMap::new();
    span::each_touch(view, span, |touch| {
        if let Some(favour) = favour(&mut rows, me, touch.from, touch.to) {
            favour.touches += 1;
        }
    })?;
    span::each_use(view, span, |_, used| {
        for (shop, fee) in used.fees() {
            if let Some(favour) = favour(&mut rows, me, shop, used.redeemer) {
                favour.customers += 1;
                favour.value_minor += i128::from(used.purchase.minor());
                favour.bounties_minor += i128::from(fee.minor());
            }
        }
        Ok(())
    })?;
    Ok(rows)
}

fn favour(
    rows: &mut BTreeMap<ShopId, Reciprocity>,
    me: ShopId,
    by: ShopId,
    with: ShopId,
) -> Option<&mut Favour> {
    match (by == me, with == me) {
        (true, false) => Some(&mut rows.entry(with).or_default().given),
        (false, true) => Some(&mut rows.entry(by).or_default().received),
        _ => None,
    }
}
