//! Deciding on moves of numbers: quotas granted and returned, leases moved, what a removed shop held taken back.

use bytes::Bytes;

use super::*;
use crate::{
    doubt,
    promotion::{self, Promotion},
    stock::{self, Share},
    table,
};

/// Records of one request: each moves consecutive numbers.
const MOVES_MAX: usize = 64;

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn move_quota(&self, command: &MoveQuotaCommand) -> Decided {
        self.alliance.own_membership()?;
        let found = Promotion::load(self.view, command.promotion, self.alliance.charter().currency)?;
        let promotion = found.ok_or(Refusal::new(Reason::PromotionUnknown))?;
        if promotion::ended(self.view, promotion.id)?.is_some() {
            return Err(Refusal::new(Reason::PromotionEnded).into());
        }
        bounds::number("count", command.count, 1..=promotion::QUOTA_MAX)?;
        let to = promotion.distributor_index(command.to).ok_or(Refusal::new(Reason::NotDistributor))?;
        if self.alliance.roster().member(command.to).is_none() {
            return Err(Refusal::new(Reason::MemberUnknown).with("shop_id", command.to).into());
        }
        let free = match command.reclaimed_from {
            Some(from) => self.reclaimable(&promotion, from)?,
            None => self.movable(&promotion)?,
        };
        let moved = take(free, command.count)?;
        let draft = |share: &Share| {
            let message = proto::QuotaMove {
                request: Some(command.request.message()),
                promotion_id: Bytes::copy_from_slice(promotion.id.as_bytes()),
                distributor: share.distributor.into(),
                first: share.first,
                count: share.count(),
                to: to.into(),
                move_id: share.by.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(id.as_bytes())),
                reclaimed: command.reclaimed_from.is_some(),
            };
            Self::for_all(Kind::QuotaMove, &message)
        };
        Ok(moved.iter().map(draft).collect())
    }

    /// Numbers of this shop that were never handed out.
    fn movable(&self, promotion: &Promotion) -> Decided<Vec<Share>> {
        let me = promotion.distributor_index(self.me()).ok_or(Refusal::new(Reason::NotDistributor))?;
        let doubt = doubt::current(self.view)?;
        let mut free = Vec::new();
        for share in stock::owned_by(self.view, promotion, me)? {
            if let Some(doubt) = doubt
                && doubt.covers_numbers(self.view, promotion, share.by)?
            {
                return Err(doubt.refusal().into());
            }
            if let Some(first) = self.next_number(promotion, &share)? {
                free.push(Share { first, ..share });
            }
        }
        Ok(free)
    }

    /// Numbers that a shop held when it was removed, and had not handed out by then.
    fn reclaimable(&self, promotion: &Promotion, from: ShopId) -> Decided<Vec<Share>> {
        if promotion.funder != self.me() {
            return Err(Refusal::new(Reason::NotFunder).into());
        }
        let owner = promotion.distributor_index(from).ok_or(Refusal::new(Reason::NotDistributor))?;
        if !self.alliance.log_is_closed(self.view, from)? {
            return Err(Refusal::new(Reason::MemberStays).with("shop_id", from).into());
        }
        let mut free = Vec::new();
        for share in stock::owned_by(self.view, promotion, owner)? {
            free.extend(self.never_issued(promotion.id, share)?);
        }
        Ok(free)
    }

    /// The parts of a share of which no voucher is on record here.
    fn never_issued(&self, promotion: RecordId, share: Share) -> Result<Vec<Share>, ViewError> {
        let mut free = Vec::new();
        let mut first = share.first;
        let mut issued = Vec::new();
        let prefix = table::vouchers_of(promotion, share.distributor);
        let start = table::vouchers_of_number(promotion, share.distributor, share.first);
        self.view.scan(&prefix, Some(&start), &mut |key, _| {
            let number = key.get(34..38).and_then(|n| n.try_into().ok()).map(u32::from_be_bytes);
            issued.extend(number);
            number.is_some_and(|number| number <= share.last)
        })?;
        for number in issued.into_iter().chain([share.last + 1]) {
            if first < number && first <= share.last {
                free.push(Share { first, last: (number - 1).min(share.last), ..share });
            }
            first = first.max(number.saturating_add(1));
        }
        Ok(free)
    }
}

/// The last `count` of some free numbers, so that those that stay are in one piece with those handed out.
fn take(free: Vec<Share>, count: u32) -> Result<Vec<Share>, Refusal> {
    let available: u64 = free.iter().map(|share| u64::from(share.count())).sum();
    if available < u64::from(count) {
        return Err(Refusal::new(Reason::QuotaUsedUp).with("quota", available));
    }
    let mut left = count;
    let mut taken = Vec::new();
    for share in free.into_iter().rev() {
        if left == 0 {
            break;
        }
        let part = left.min(share.count());
        taken.push(Share { first: share.last - part + 1, ..share });
        left -= part;
    }
    bounds::number("count", taken.len(), 1..=MOVES_MAX)?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(first: u32, last: u32) -> Share {
        Share { distributor: 0, first, last, owner: 0, by: None }
    }

    #[test]
    fn the_last_numbers_go_and_no_more_than_there_are() {
        assert_eq!(take(alloc::vec![share(5, 9)], 2), Ok(alloc::vec![share(8, 9)]));
        assert_eq!(
            take(alloc::vec![share(5, 9), share(20, 21)], 4),
            Ok(alloc::vec![share(20, 21), share(8, 9)])
        );
        let refused = take(alloc::vec![share(5, 9)], 6).unwrap_err();
        assert_eq!((refused.reason, refused.fact("quota")), (Reason::QuotaUsedUp, Some("5")));
    }
}
