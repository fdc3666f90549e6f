//! Folding what shops trade: promotions, sales, vouchers, redemptions, touches.

use hutong_record::{CardId, Money, UnixMillis};
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    answer::{self, Answer, RequestTag},
    bounds,
    charter::CLOCK_AHEAD_MS_MAX,
    pair::{Changes, Deed},
    promotion,
    refusal::{Reason, Refusal},
    report::Summary,
    voucher::{Redemption, Token, Voucher},
};

/// What this shop handed out of a promotion.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Issued {
    /// The highest number used.
    pub(crate) last_number: u32,
    /// How many.
    pub(crate) count: u32,
}

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    pub(super) fn promotion(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::Promotion = self.decode()?;
        let currency = self.alliance.charter().currency;
        let promotion = Promotion::check(&message, self.id(), self.author(), currency)
            .map_err(|_| ignore("terms out of bounds"))?;
        self.view.put(table::promotion(self.id()), Promotion::stored(self.author(), &self.message));
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
        self.entry_time(message.sold_unix_ms)?;
        let amount = self.amount(message.amount.as_ref())?;
        self.summary(|s| {
            s.sales += 1;
            s.sales_minor += i128::from(amount.minor());
        })?;
        self.answer(&request, Answer::HandedOut { sale: Some(self.id()), tokens: Vec::new() })
    }

    pub(super) fn voucher_issue(&mut self) -> Handled {
        let message: proto::VoucherIssue = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let token = Token::parse(&message.token).map_err(|_| ignore("token is malformed"))?;
        let promotion = self.promotion_of(token.body().key.promotion)?;
        let (author, redeemer) = (self.author(), promotion.redeemer);
        self.check_parties([author, redeemer, promotion.funder])?;
        if promotion.distributor_index(author) != Some(token.body().key.distributor) {
            return Err(ignore("not a distributor"));
        }
        self.verify_token(&token, &promotion)?;
        self.entry_time(token.body().issued.ms())?;
        let known = self.voucher(&token)?;
        if known.as_ref().is_some_and(|v| v.issue.is_some()) {
            return Err(ignore("number was used before"));
        }
        // The receipt may have come first, over other bytes under this number. It must not matter which came first,
        // so the hand-out counts all the same, and the token that was used stays.
        let used = known.filter(|v| v.redemption.is_some());
        let redemption = used.as_ref().and_then(|v| v.redemption);
        let shown = used.map_or_else(|| token.clone(), |v| v.token);
        let voucher = Voucher { token: shown, issue: Some(self.id()), redemption };
        self.put_voucher(&voucher);
        if let (true, Some(card)) = (redeemer == self.me(), token.body().card) {
            table::write(self.view, table::touch(card, token.body().issued, author), &());
        }
        if self.is_own() {
            self.count_issued(&token)?;
        }
        let mut changes = Changes::new(self.me());
        changes.deed(author, redeemer, Deed::VoucherGiven);
        changes.apply(self.view, self.id())?;
        self.answer(&request, Answer::HandedOut { sale: None, tokens: alloc::vec![token] })
    }

    pub(super) fn redemption(&mut self) -> Handled {
        let message: proto::Redemption = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let token = Token::parse(&message.token).map_err(|_| ignore("token is malformed"))?;
        let promotion = self.promotion_of(token.body().key.promotion)?;
        if promotion.redeemer != self.author() && !hutong_record::planted!(RedeemForOthers) {
            return Err(ignore("not the redeemer"));
        }
        self.verify_token(&token, &promotion)?;
        let redemption = self.check_receipt(&message, &token, &promotion)?;
        let distributor = distributor_of(&token, &promotion)?;
        self.check_parties([self.author(), distributor, promotion.funder, redemption.credited])?;
        let known = self.voucher(&token)?;
        if known.as_ref().is_some_and(|v| v.redemption.is_some()) && !hutong_record::planted!(LastUseWins) {
            self.summary(|s| s.double_redemptions += 1)?;
            return Err(ignore("the voucher was used before"));
        }
        let issue = known.and_then(|v| v.issue);
        self.put_voucher(&Voucher { token: token.clone(), issue, redemption: Some(redemption) });
        table::write(self.view, table::redemption(self.id()), &token.body().key);
        self.book(&promotion, distributor, &redemption, 1)?;
        let Redemption { at, discount, credited, bounty, .. } = redemption;
        let answer = Answer::Redeemed { redemption: self.id(), token, at, discount, credited, bounty };
        self.answer(&request, answer)
    }

    pub(super) fn redemption_void(&mut self) -> Handled {
        let message: proto::RedemptionVoid = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        self.entry_time(message.voided_unix_ms)?;
        let id = RecordId::try_from(message.redemption_id.as_ref()).map_err(|_| ignore("redemption id"))?;
        let key =
            table::read(self.view, &table::redemption(id))?.ok_or_else(|| ignore("no such redemption"))?;
        let mut voucher: Voucher =
            table::read(self.view, &table::voucher(&key))?.ok_or_else(|| ignore("no such voucher"))?;
        let promotion = self.promotion_of(key.promotion)?;
        let redemption = voucher
            .redemption
            .filter(|r| r.id == id || hutong_record::planted!(VoidAnyUse))
            .ok_or_else(|| ignore("taken back before"))?;
        if promotion.redeemer != self.author() {
            return Err(ignore("not the redeemer"));
        }
        let distributor = distributor_of(&voucher.token, &promotion)?;
        self.check_parties([self.author(), distributor, promotion.funder, redemption.credited])?;
        voucher.redemption = None;
        self.put_voucher(&voucher);
        self.book(&promotion, distributor, &redemption, -1)?;
        self.answer(&request, Answer::Voided { token: voucher.token })
    }

    pub(super) fn refusal(&mut self) -> Handled {
        self.check_parties([self.author()])?;
        let message: proto::Refusal = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let reason = Reason::from_code(&message.reason).ok_or_else(|| ignore("unknown reason"))?;
        table::count(self.view, table::refused(reason.code()))?;
        let facts = message.facts.into_iter().map(|fact| (fact.name, fact.value)).collect();
        self.answer(&request, Answer::Refused(Refusal { reason, facts }))
    }

    pub(super) fn touch(&mut self) -> Handled {
        let message: proto::Touch = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let to = ShopId::try_from(message.to_shop_id.as_ref()).map_err(|_| ignore("shop id"))?;
        let card = CardId::try_from(message.card_id.as_ref()).map_err(|_| ignore("card id"))?;
        self.check_parties([self.author(), to])?;
        let at = self.entry_time(message.touched_unix_ms)?;
        if to == self.author() {
            return Err(ignore("a shop cannot send customers to itself"));
        }
        if to == self.me() {
            table::write(self.view, table::touch(card, at, self.author()), &());
        }
        let mut changes = Changes::new(self.me());
        changes.deed(self.author(), to, Deed::Touch);
        changes.apply(self.view, self.id())?;
        self.answer(&request, Answer::Touched { touch: self.id() })
    }

    fn request(&self, message: Option<&proto::Request>) -> Result<RequestTag, Stop> {
        RequestTag::parse(message).ok_or_else(|| ignore("request is malformed"))
    }

    /// Keeps the answer to this shop's own till.
    fn answer(&mut self, request: &RequestTag, answer: Answer) -> Handled {
        if self.is_own() {
            answer::keep(self.view, request, answer)?;
        }
        Ok(())
    }

    /// A moment that the till reported, against the record's own.
    fn entry_time(&self, ms: i64) -> Result<UnixMillis, Stop> {
        let at = UnixMillis::new(ms).map_err(|_| ignore("no such time"))?;
        let entered = self.record.header().time;
        self.alliance
            .charter()
            .check_entry_time(at, entered)
            .map_err(|_| ignore("entered too late or too early"))?;
        Ok(at)
    }

    fn amount(&self, message: Option<&proto::Money>) -> Result<Money, Stop> {
        let message = message.ok_or_else(|| ignore("amount is missing"))?;
        bounds::amount("amount", message, self.alliance.charter().currency).map_err(|_| ignore("amount"))
    }

    /// A token must be signed by its distributor, whose key is known once it is a member.
    fn verify_token(&self, token: &Token, promotion: &Promotion) -> Handled {
        let distributor = distributor_of(token, promotion)?;
        let key = self.alliance.admitted_key(distributor).ok_or_else(|| wait(*distributor.as_bytes()))?;
        if token.verify(promotion, &key) { Ok(()) } else { Err(ignore("token does not verify")) }
    }

    fn voucher(&self, token: &Token) -> Result<Option<Voucher>, Stop> {
        Ok(table::read(self.view, &table::voucher(&token.body().key))?)
    }

    fn put_voucher(&mut self, voucher: &Voucher) {
        let body = voucher.token.body();
        table::write(self.view, table::voucher(&body.key), voucher);
        table::write(self.view, table::code(&body.secret), &body.key);
    }

    fn count_issued(&mut self, token: &Token) -> Handled {
        let body = token.body();
        let promotion = body.key.promotion;
        let mut issued: Issued = table::read(self.view, &table::issued(promotion))?.unwrap_or_default();
        issued.count += 1;
        issued.last_number = issued.last_number.max(body.key.number);
        table::write(self.view, table::issued(promotion), &issued);
        let day = body.issued.day(self.alliance.charter().utc_offset_minutes);
        table::count(self.view, table::issued_day(promotion, day))?;
        if let Some(card) = body.card {
            table::count(self.view, table::issued_card(promotion, card))?;
        }
        self.summary(|s| s.vouchers_issued += 1)
    }

    /// A receipt must say what the promotion's terms give.
    fn check_receipt(
        &self,
        message: &proto::Redemption,
        token: &Token,
        promotion: &Promotion,
    ) -> Result<Redemption, Stop> {
        let body = token.body();
        let at = self.entry_time(message.redeemed_unix_ms)?;
        // The clocks of two tills may differ by as much as a record may lie ahead.
        if at >= body.expires || body.issued.ms_since(at) > CLOCK_AHEAD_MS_MAX {
            return Err(ignore("redeemed out of time"));
        }
        if body.card.is_some_and(|card| card.as_bytes() != message.card_id.as_ref()) {
            return Err(ignore("another card"));
        }
        let purchase = self.amount(message.purchase.as_ref())?;
        let discount = self.amount(message.discount.as_ref())?;
        let bounty = self.amount(message.bounty.as_ref())?;
        let credited = ShopId::try_from(message.credited_id.as_ref()).map_err(|_| ignore("credited shop"))?;
        let fits = purchase.minor() >= promotion.redeem_spend_min.minor()
            && discount == promotion.benefit.discount(purchase)
            && bounty == promotion.bounty
            && credited != promotion.redeemer;
        if !fits {
            return Err(ignore("receipt does not fit the terms"));
        }
        self.check_credit(message, token, promotion, at, credited)?;
        Ok(Redemption { id: self.id(), at, purchase, discount, credited, bounty })
    }

    /// Credit goes to a member, for the voucher's own hand-out or for a touch within the charter's window.
    fn check_credit(
        &self,
        message: &proto::Redemption,
        token: &Token,
        promotion: &Promotion,
        at: UnixMillis,
        credited: ShopId,
    ) -> Handled {
        if self.alliance.admitted_key(credited).is_none() {
            return Err(wait(*credited.as_bytes()));
        }
        let touched = UnixMillis::new(message.touched_unix_ms).map_err(|_| ignore("no such time"))?;
        let age_ms = at.ms_since(touched);
        let recent = (-CLOCK_AHEAD_MS_MAX..=self.alliance.charter().attribution_window_ms).contains(&age_ms);
        let own = credited == distributor_of(token, promotion)? && touched == token.body().issued;
        if own || recent { Ok(()) } else { Err(ignore("credited for a touch out of the window")) }
    }

    /// Books a redemption (+1), or takes it back (-1).
    fn book(&mut self, promotion: &Promotion, distributor: ShopId, used: &Redemption, sign: i8) -> Handled {
        let me = self.me();
        let mut changes = if sign > 0 { Changes::new(me) } else { Changes::taking_back(me) };
        changes.deed(used.credited, promotion.redeemer, Deed::CustomerSent);
        changes.debt(promotion.funder, used.credited, used.bounty);
        changes.debt(promotion.funder, promotion.redeemer, used.discount);
        changes.apply(self.view, self.id())?;
        let (own, handed_out) = (self.is_own(), distributor == me);
        self.summary(|s| {
            if own {
                s.redemptions = s.redemptions.saturating_add_signed(sign.into());
                s.voids += u64::from(sign < 0);
                s.discounts_minor += i128::from(sign) * i128::from(used.discount.minor());
            }
            if handed_out {
                s.vouchers_used = s.vouchers_used.saturating_add_signed(sign.into());
            }
        })
    }

    fn summary(&mut self, change: impl FnOnce(&mut Summary)) -> Handled {
        let mut summary = Summary::load(self.view)?;
        change(&mut summary);
        table::write(self.view, table::summary(), &summary);
        Ok(())
    }
}

fn distributor_of(token: &Token, promotion: &Promotion) -> Result<ShopId, Stop> {
    let distributor = promotion.distributor(token.body().key.distributor);
    distributor.map(|d| d.shop).ok_or_else(|| ignore("no such distributor"))
}
