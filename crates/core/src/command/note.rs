//! Deciding on channels, staff cards, and consent to bear a share of a promotion.

use super::*;
use crate::{
    channel::{self, Channel},
    promotion::Promotion,
    voucher::copy,
};

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn consent(&self, request: &RequestTag, id: RecordId) -> Decided {
        self.alliance.own_membership()?;
        let found = Promotion::load(self.view, id, self.alliance.charter().currency)?;
        let promotion = found.ok_or(Refusal::new(Reason::PromotionUnknown))?;
        if !promotion.is_co_funder(self.me()) {
            return Err(Refusal::new(Reason::NotCoFunder).into());
        }
        let message =
            proto::FundingConsent { request: Some(request.message()), promotion_id: copy(id.as_bytes()) };
        Ok(alloc::vec![Self::for_all(Kind::FundingConsent, &message)])
    }

    pub(super) fn create_channel(&self, command: &ChannelCommand) -> Decided {
        self.alliance.own_membership()?;
        channel::check_name(&command.name)?;
        let to = self.channel_target(command)?;
        if to == self.me() {
            return Err(Refusal::field("to_shop_id", "a shop cannot send customers to itself").into());
        }
        if self.alliance.roster().member(to).is_none() {
            return Err(Refusal::new(Reason::MemberUnknown).with("shop_id", to).into());
        }
        let before = channel::load(self.view, &command.name)?;
        if before.is_some_and(|before| before.to != to || before.promotion != command.promotion) {
            return Err(Refusal::field("name", "is the name of a channel with another target").into());
        }
        let channel = Channel::message(&command.name, to, command.promotion);
        Ok(self.noted(&command.request, proto::note::Note::Channel(channel)))
    }

    /// The shop named, or else the usual redeemer of the promotion.
    fn channel_target(&self, command: &ChannelCommand) -> Decided<ShopId> {
        let Some(id) = command.promotion else {
            return command.to.ok_or_else(|| Refusal::field("to_shop_id", "is missing").into());
        };
        let found = Promotion::load(self.view, id, self.alliance.charter().currency)?;
        let promotion = found.ok_or(Refusal::new(Reason::PromotionUnknown))?;
        match command.to.or_else(|| promotion.redeemers.first().copied()) {
            Some(to) if promotion.is_redeemer(to) => Ok(to),
            Some(_) => Err(Refusal::new(Reason::NotRedeemer).into()),
            None => Err(Refusal::field("to_shop_id", "is missing").into()),
        }
    }

    pub(super) fn set_staff_card(&self, request: &RequestTag, card: CardId, removed: bool) -> Decided {
        self.alliance.own_membership()?;
        let staff = proto::StaffCard { card_id: copy(card.as_bytes()), removed };
        Ok(self.noted(request, proto::note::Note::StaffCard(staff)))
    }

    fn noted(&self, request: &RequestTag, note: proto::note::Note) -> Vec<DraftRecord> {
        let message = proto::Note { request: Some(request.message()), note: Some(note) };
        alloc::vec![self.for_myself(Kind::Note, &message)]
    }
}
