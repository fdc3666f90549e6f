//! What a shop may have done by records that nobody holds. A disk that was set back may have lost the shop's last records
//! before any peer had them. A voucher that the shop could redeem before, or a number that it could hand out, may be used
//! up by one of them. So it uses neither, until whoever runs the node says that nothing was lost.

use hutong_record::{RecordId, UnixMillis};

use crate::{
    promotion::Promotion,
    refusal::{Reason, Refusal},
    stock, table,
    view::{Reader, ViewError},
    voucher::Voucher,
};

/// Records may be lost that this shop signed before a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// What was this shop's to use by then may be used up.
    pub until: UnixMillis,
}

impl Doubt {
    /// Whether something that this shop could use from a moment on may be used up.
    pub fn covers(self, since: UnixMillis) -> bool {
        since <= self.until
    }

    /// The refusal to use it.
    pub fn refusal(self) -> Refusal {
        Refusal::new(Reason::RecordsMayBeLost).with("until_unix_ms", self.until.ms())
    }

    pub(crate) fn covers_right(self, voucher: &Voucher) -> bool {
        self.covers(voucher.held_since)
    }

    /// Whether numbers may be handed out already: those that a move brought, or a promotion from the beginning.
    pub(crate) fn covers_numbers(
        self,
        view: &(impl Reader + ?Sized),
        promotion: &Promotion,
        by: Option<RecordId>,
    ) -> Result<bool, ViewError> {
        let since = match by {
            Some(by) => stock::moved_at(view, by)?.unwrap_or(UnixMillis::EPOCH),
            None => promotion.published,
        };
        Ok(self.covers(since))
    }
}

/// Whether records of this shop may be lost. None: not that anybody knows.
pub fn current(view: &(impl Reader + ?Sized)) -> Result<Option<Doubt>, ViewError> {
    let until: Option<UnixMillis> = table::read(view, &table::doubt())?;
    Ok(until.map(|until| Doubt { until }))
}
