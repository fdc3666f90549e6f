//! Folding moves of numbers.

use super::*;
use crate::{
    answer::Answer,
    stock::{self, Move, Share},
    voucher::Voucher,
};

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    pub(super) fn quota_move(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::QuotaMove = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let id = RecordId::try_from(message.promotion_id.as_ref()).map_err(|_| ignore("promotion id"))?;
        let promotion = self.promotion_of(id)?;
        let moved = self.parse_move(&message, &promotion)?;
        let by = match message.move_id.as_ref() {
            [] => None,
            bytes => Some(RecordId::try_from(bytes).map_err(|_| ignore("move id"))?),
        };
        self.await_move(by)?;
        let owner = self.mover(&message, &promotion, moved)?;
        let share = stock::share_with(self.view, &promotion, moved.distributor, moved.first, moved.last)?;
        let share = share.filter(|share| share.owner == owner && share.by == by);
        let share = share.ok_or_else(|| ignore("not the owner's numbers"))?;
        self.charge_for_issued(&promotion, &share, &moved, message.reclaimed)?;
        stock::carve(self.view, &share, &moved, self.id());
        self.answer(&request, Answer::Moved { count: message.count })
    }

    fn parse_move(&self, message: &proto::QuotaMove, promotion: &Promotion) -> Result<Move, Stop> {
        let place = |n: u32| u8::try_from(n).ok().filter(|n| promotion.distributor(*n).is_some());
        let distributor = place(message.distributor).ok_or_else(|| ignore("no such distributor"))?;
        let to = place(message.to).ok_or_else(|| ignore("no such distributor"))?;
        let quota = promotion.distributor(distributor).map_or(0, |d| d.quota);
        let last = message.first.checked_add(message.count).and_then(|end| end.checked_sub(1));
        match last {
            Some(last) if message.count > 0 && message.first > 0 && last <= quota => {
                let at = self.record.header().time;
                Ok(Move { promotion: promotion.id, distributor, first: message.first, last, to, at })
            }
            _ => Err(ignore("numbers that do not exist")),
        }
    }

    /// The move that brought the numbers must be known first.
    fn await_move(&self, by: Option<RecordId>) -> Handled {
        let Some(by) = by else { return Ok(()) };
        if self.view.get(&table::stock_move(by))?.is_some() {
            return Ok(());
        }
        Err(self.await_record(by, "the move that brought the numbers does not count"))
    }

    /// Whose numbers the author may move: its own, or as the funder those of a shop that is gone.
    fn mover(&self, message: &proto::QuotaMove, promotion: &Promotion, moved: Move) -> Result<u8, Stop> {
        if !message.reclaimed {
            return promotion.distributor_index(self.author()).ok_or_else(|| ignore("not a distributor"));
        }
        if promotion.funder != self.author() {
            return Err(ignore("not the funder"));
        }
        let share = stock::share_with(self.view, promotion, moved.distributor, moved.first, moved.last)?;
        let owner = share.ok_or_else(|| ignore("numbers of several owners"))?.owner;
        let shop =
            promotion.distributor(owner).map(|d| d.shop).ok_or_else(|| ignore("no such distributor"))?;
        if self.alliance.log_is_closed(self.view, shop)? {
            return Ok(owner);
        }
        Err(wait(Alliance::closing(shop)))
    }

    /// A shop that moves on numbers that it handed out owes the funder for each: both see it, in the shop's own order.
    fn charge_for_issued(
        &mut self,
        promotion: &Promotion,
        share: &Share,
        moved: &Move,
        reclaimed: bool,
    ) -> Handled {
        let funder = promotion.funder;
        if reclaimed || self.author() == funder || ![self.author(), funder].contains(&self.me()) {
            return Ok(());
        }
        let issued = table::collect_while(
            self.view,
            &table::vouchers_of(promotion.id, share.distributor),
            &table::vouchers_of_number(promotion.id, share.distributor, moved.first),
            |key, value| {
                let voucher: Voucher = table::decode(key, value)?;
                let body = voucher.token.body();
                // What another owner handed out before is in another log, and is not this owner's to answer for.
                let its_own = body.issuer == share.owner && body.key.moved_by == share.by;
                Ok((body.key.number <= moved.last).then_some(its_own && voucher.issue.is_some()))
            },
        )?;
        let count = issued.into_iter().filter(|issued| *issued).count();
        if count == 0 {
            return Ok(());
        }
        let count = i128::try_from(count).unwrap_or(i128::MAX);
        self.charge(self.author(), funder, count.saturating_mul(promotion.worst_minor()))
    }
}

impl Alliance {
    /// What waits for the last record of a shop that is gone.
    pub(crate) fn closing(shop: ShopId) -> Need {
        blake3::derive_key("hutong 2026 v1 closed log", shop.as_bytes())
    }

    /// Whether a shop is gone and all that counts of its log is folded.
    pub(crate) fn log_is_closed(
        &self,
        view: &(impl Reader + ?Sized),
        shop: ShopId,
    ) -> Result<bool, ViewError> {
        let last = self.judge().counts_up_to(shop).filter(|_| self.is_gone(shop));
        Ok(match last {
            Some(last) => cursor(view, shop)? >= last,
            None => false,
        })
    }
}
