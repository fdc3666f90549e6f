//! Folding what shops trade: promotions, sales, refusals, touches.

use hutong_record::{CardId, Money, UnixMillis};

use super::*;
use crate::{
    answer::{self, Answer, RequestTag},
    bounds,
    evidence::{self, CHANNEL_CHARS_MAX, Touch, TouchKind},
    pair::{Changes, Deed},
    promotion,
    report::{SaleEntry, Summary},
};

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    pub(super) fn promotion(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::Promotion = self.decode()?;
        let currency = self.alliance.charter().currency;
        let promotion = Promotion::check(&message, self.id(), self.author(), currency)
            .map_err(|_| ignore("terms out of bounds"))?;
        if self.alliance.judge().is_barred(self.author(), self.record.header().time) {
            return Err(ignore("its author begins nothing new at that time"));
        }
        let stored = Promotion::stored(self.author(), self.record.header().time, &self.message);
        self.view.put(table::promotion(self.id()), stored);
        if promotion.earn_spend_min.is_some() && promotion.distributor_index(self.me()).is_some() {
            table::write(self.view, table::earn(promotion.ends, promotion.id), &());
        }
        if let (true, Some(request)) = (self.is_own(), RequestTag::parse(message.request.as_ref())) {
            answer::keep(self.view, &request, Answer::Published { promotion: self.id() })?;
        }
        Ok(())
    }

    pub(super) fn promotion_end(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::PromotionEnd = self.decode()?;
        let id = RecordId::try_from(message.promotion_id.as_ref()).map_err(|_| ignore("promotion id"))?;
        let promotion = self.promotion_of(id)?;
        if promotion.funder != self.author() && !hutong_record::planted!(AnyoneEndsPromotions) {
            return Err(ignore("not the funder"));
        }
        if promotion::ended(self.view, id)?.is_none() {
            table::write(self.view, table::promotion_end(id), &self.record.header().time);
            self.view.remove(table::earn(promotion.ends, id));
        }
        Ok(())
    }

    pub(super) fn sale(&mut self) -> Handled {
        self.check_parties([self.author()])?;
        let message: proto::Sale = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let sold = self.entry_time(message.sold_unix_ms)?;
        let amount = self.amount(message.amount.as_ref())?;
        let card = CardId::try_from(message.card_id.as_ref()).ok();
        if let (true, Some(card)) = (self.is_own(), card) {
            self.see(card, sold)?;
            table::write(self.view, table::visit(card, sold, self.id()), &false);
        }
        let entered = self.record.header().time;
        let entry = SaleEntry { card, minor: amount.minor(), entered };
        table::write(self.view, table::sale(sold, self.id()), &entry);
        self.summary(|s| {
            s.sales += 1;
            s.sales_minor += i128::from(amount.minor());
        })?;
        self.answer(&request, Answer::HandedOut { sale: Some(self.id()), tokens: Vec::new() })
    }

    pub(super) fn refusal(&mut self) -> Handled {
        self.check_parties([self.author()])?;
        let message: proto::Refusal = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let refusal = told::refusal_of(&message)?;
        table::count(self.view, table::refused(refusal.reason.code()))?;
        self.answer(&request, Answer::Refused(refusal))
    }

    pub(super) fn touch(&mut self) -> Handled {
        let message: proto::Touch = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let to = ShopId::try_from(message.to_shop_id.as_ref()).map_err(|_| ignore("shop id"))?;
        let card = CardId::try_from(message.card_id.as_ref()).map_err(|_| ignore("card id"))?;
        self.check_parties([self.author(), to])?;
        let at = self.entry_time(message.touched_unix_ms)?;
        let kind = TouchKind::parse(message.kind).ok_or_else(|| ignore("no such kind of touch"))?;
        bounds::text("channel", &message.channel, 0..=CHANNEL_CHARS_MAX).map_err(|_| ignore("channel"))?;
        if to == self.author() {
            return Err(ignore("a shop cannot send customers to itself"));
        }
        let (id, from, entered) = (self.id(), self.author(), self.record.header().time);
        self.note_touch(&Touch { id, card, at, from, to, kind, channel: message.channel, entered })?;
        let mut changes = Changes::new(self.me());
        changes.deed(self.author(), to, Deed::Touch);
        changes.apply(self.view, &self.source_now())?;
        self.answer(&request, Answer::Touched { touch: self.id() })
    }

    /// Keeps a touch; of several that differ in nothing but their records, the first one.
    fn note_touch(&mut self, touch: &Touch) -> Handled {
        let key = table::touch(touch);
        table::count(self.view, table::burst(touch.from, evidence::ten_minutes(touch.at)))?;
        if self.view.get(&key)?.is_none() {
            table::write(self.view, table::touch_at(touch.at, touch.id), &key);
            table::write(self.view, key, touch);
        }
        Ok(())
    }

    pub(super) fn request(&self, message: Option<&proto::Request>) -> Result<RequestTag, Stop> {
        RequestTag::parse(message).ok_or_else(|| ignore("request is malformed"))
    }

    /// Keeps the answer to this shop's own till.
    pub(super) fn answer(&mut self, request: &RequestTag, answer: Answer) -> Handled {
        if self.is_own() {
            answer::keep(self.view, request, answer)?;
        }
        Ok(())
    }

    /// A moment that the till reported, against the record's own.
    pub(super) fn entry_time(&self, ms: i64) -> Result<UnixMillis, Stop> {
        let at = UnixMillis::new(ms).map_err(|_| ignore("no such time"))?;
        let entered = self.record.header().time;
        self.alliance
            .charter()
            .check_entry_time(at, entered)
            .map_err(|_| ignore("entered too late or too early"))?;
        Ok(at)
    }

    pub(super) fn amount(&self, message: Option<&proto::Money>) -> Result<Money, Stop> {
        let message = message.ok_or_else(|| ignore("amount is missing"))?;
        bounds::amount("amount", message, self.alliance.charter().currency).map_err(|_| ignore("amount"))
    }

    /// Notes when this shop first saw a card.
    pub(super) fn see(&mut self, card: CardId, at: UnixMillis) -> Handled {
        let key = table::first_seen(card);
        let before: Option<UnixMillis> = table::read(self.view, &key)?;
        if before.is_none_or(|before| at < before) {
            table::write(self.view, key, &at);
        }
        Ok(())
    }

    pub(super) fn summary(&mut self, change: impl FnOnce(&mut Summary)) -> Handled {
        let mut summary = Summary::load(self.view)?;
        change(&mut summary);
        table::write(self.view, table::summary(), &summary);
        Ok(())
    }
}
