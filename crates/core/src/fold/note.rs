//! Folding what a shop notes for itself, and its consent to bear a share of a promotion.

use hutong_record::CardId;

use super::*;
use crate::{
    answer::Answer,
    channel::{self, Channel},
};

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    pub(super) fn funding_consent(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::FundingConsent = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let id = RecordId::try_from(message.promotion_id.as_ref()).map_err(|_| ignore("promotion id"))?;
        let promotion = self.promotion_of(id)?;
        if !promotion.is_co_funder(self.author()) {
            return Err(ignore("the promotion names no share for it"));
        }
        let key = table::funding_consent(id, self.author());
        let before: Option<RecordId> = table::read(self.view, &key)?;
        if let Some(consent) = before {
            self.answer(&request, Answer::Consented { consent })?;
            return Err(ignore("agreed before"));
        }
        table::write(self.view, key, &self.id());
        self.answer(&request, Answer::Consented { consent: self.id() })
    }

    pub(super) fn note(&mut self) -> Handled {
        self.check_parties([self.author()])?;
        let message: proto::Note = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        match message.note {
            Some(proto::note::Note::Channel(channel)) => self.channel(&request, &channel),
            Some(proto::note::Note::StaffCard(staff)) => {
                let card = CardId::try_from(staff.card_id.as_ref()).map_err(|_| ignore("card id"))?;
                match staff.removed {
                    true => self.view.remove(table::staff(card)),
                    false => table::write(self.view, table::staff(card), &()),
                }
                self.answer(&request, Answer::Noted)
            }
            None => Err(ignore("a note of nothing")),
        }
    }

    /// The first channel of a name stays.
    fn channel(&mut self, request: &crate::answer::RequestTag, message: &proto::Channel) -> Handled {
        let created = self.record.header().time;
        let new = Channel::parse(message, created).map_err(|_| ignore("channel out of bounds"))?;
        if channel::load(self.view, &new.name)?.is_none() {
            table::write(self.view, table::channel(&new.name), &new);
        }
        self.answer(request, Answer::ChannelNoted { name: new.name })
    }
}
