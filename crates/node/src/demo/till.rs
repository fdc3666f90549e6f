//! What happens at a till when a customer comes: a voucher is shown, a purchase is paid, vouchers are handed out.

use std::sync::Arc;

use hutong_record::UnixMillis;
use hutong_wire::merchant::v1::{
    self as pb, sale_service_client::SaleServiceClient, voucher_service_client::VoucherServiceClient,
};
use tokio::time::Instant;

use super::{
    chance::{Habit, Rolls},
    ledger::{Entry, Ledger, Use},
    link::Answer,
    plan::{money, timestamp},
    replay::{Acknowledged, Street},
    street::{Shop, Visit},
    wallet::{Held, Intent, Wallet},
};

/// Every so many vouchers one is typed in instead of scanned.
const TYPED_EVERY: usize = 5;

/// Why a used voucher is refused.
const ALREADY_REDEEMED: &str = "VOUCHER_ALREADY_REDEEMED";

/// Why a voucher past its time is refused.
const EXPIRED: &str = "VOUCHER_EXPIRED";

/// Why a purchase below the voucher's least is refused.
const TOO_LOW: &str = "PURCHASE_TOO_LOW";

/// Why a voucher for another shop is refused.
const WRONG_SHOP: &str = "VOUCHER_WRONG_SHOP";

type Redeemed = Answer<pb::RedeemVoucherResponse>;

/// The tills that a lane of customers goes to, with what those customers carry.
pub(super) struct Till {
    street: Arc<Street>,
    wallet: Wallet,
    ledger: Ledger,
}

impl Till {
    /// Tills of the street, before the first customer.
    pub(super) fn new(street: Arc<Street>) -> Self {
        Self { street, wallet: Wallet::default(), ledger: Ledger::default() }
    }

    /// What the nodes answered.
    pub(super) fn close(self) -> Ledger {
        self.ledger
    }

    /// A customer comes, shows a voucher perhaps, and buys.
    ///
    /// # Errors
    /// The node stays down, or fails without a stable reason.
    pub(super) async fn serve(&mut self, visit: &Visit) -> anyhow::Result<()> {
        let rolls = self.street.chance.rolls(visit.line);
        let card = self.street.chance.card_id(visit.customer);
        if let Some((intent, held)) = self.wallet.choose(visit, &rolls) {
            match due_refusal(intent) {
                None => self.redeem(visit, &rolls, &card, held).await?,
                Some(reason) => self.redeem_in_vain(visit, &card, reason, held).await?,
            }
        }
        self.sell(visit, &rolls, &card).await?;
        self.street.bar.inc(1);
        Ok(())
    }

    async fn sell(&mut self, visit: &Visit, rolls: &Rolls, card: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        let answer = self.report_sale(visit, card).await?;
        self.ledger.sale_micros.push(micros(begun));
        if rolls.shows(Habit::RepeatSale) {
            let again = self.report_sale(visit, card).await?;
            self.require_same(visit, "sale", &answer, &again);
        }
        match answer {
            Answer::Done(sale) => {
                self.ledger.sold(visit.shop, visit.amount_cents);
                let acknowledged = &self.street.acknowledged[visit.shop.index()];
                Acknowledged::add(&acknowledged.sales, 1);
                Acknowledged::add(&acknowledged.issued, sale.vouchers.len());
                sale.vouchers.into_iter().for_each(|voucher| self.receive(visit, card, voucher));
            }
            Answer::Refused(reason) => {
                let what = format!("{} refused the sale on line {}: {reason}", visit.shop.key(), visit.line);
                self.ledger.violations.note("LOG-2", what);
            }
        }
        Ok(())
    }

    async fn report_sale(&self, visit: &Visit, card: &str) -> anyhow::Result<Answer<pb::ReportSaleResponse>> {
        let ask = |carrier| {
            let request = pb::ReportSaleRequest {
                request_id: request_id(visit, "sale"),
                sale_time: timestamp(visit.at),
                card_id: card.to_owned(),
                amount: money(visit.amount_cents),
                ..Default::default()
            };
            async move { SaleServiceClient::new(carrier).report_sale(request).await }
        };
        self.street.link(visit.shop).call("ReportSale", ask).await
    }

    /// The customer takes a voucher from the till, if it is what it should be.
    fn receive(&mut self, visit: &Visit, card: &str, voucher: pb::Voucher) {
        let offer = self.street.offer_of.get(&voucher.promotion_id).copied();
        let expires = voucher.expire_time.as_ref().and_then(|t| unix_millis(t.seconds, t.nanos));
        let (Some(number), Some(expires)) = (offer, expires) else {
            return self
                .ledger
                .violations
                .note("VOU-2", format!("voucher {} is of no known kind", voucher.id));
        };
        let offer = &self.street.offers[number];
        let earned = offer.from == visit.shop && visit.amount_cents >= offer.earn_min_cents;
        self.ledger.violations.require(earned && voucher.card_id == card, "VOU-2", || {
            format!("the sale on line {} did not earn voucher {}", visit.line, voucher.id)
        });
        let held = Held {
            entry: self.ledger.entries.len(),
            redeemer: offer.to,
            expires,
            redeem_min_cents: offer.redeem_min_cents,
            qr_text: voucher.qr_text.into(),
            code: voucher.code.into(),
        };
        self.ledger.entries.push(Entry {
            voucher_id: voucher.id.into(),
            offer: number,
            customer: visit.customer,
            expires,
            used: None,
            credited: Vec::new(),
        });
        self.wallet.put(visit.customer, held);
    }

    /// A voucher as it is meant: the first use must be accepted, and each further one refused.
    async fn redeem(&mut self, visit: &Visit, rolls: &Rolls, card: &str, held: Held) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (request, answer) = self.show_once(visit, rolls, card, &held).await?;
        self.ledger.redeem_micros.push(micros(begun));
        let redeemed = match answer {
            Answer::Done(redeemed) => redeemed,
            Answer::Refused(reason) => {
                let id = &self.ledger.entries[held.entry].voucher_id;
                let what = format!("{} refused the good voucher {id}: {reason}", visit.shop.key());
                self.ledger.violations.note("VOU-2", what);
                return Ok(());
            }
        };
        if rolls.shows(Habit::RepeatRedemption) {
            let again = self.ask(visit.shop, &request).await?;
            self.require_same(visit, "redemption", &Answer::Done(redeemed.clone()), &again);
        }
        if rolls.shows(Habit::ShowAgain) {
            let again = self.request(visit, card, "again", &held.qr_text);
            let answer = self.ask(visit.shop, &again).await?;
            self.must_refuse(visit, &held, ALREADY_REDEEMED, answer);
        }
        if rolls.shows(Habit::TakeBack) {
            self.take_back(visit, redeemed.redemption_id).await?;
            self.ledger.taken_back(visit.shop, held.entry);
            self.wallet.put(visit.customer, held);
        }
        Ok(())
    }

    /// Shows a good voucher, by typed code, at one till or at two; books what comes of it.
    async fn show_once(
        &mut self,
        visit: &Visit,
        rolls: &Rolls,
        card: &str,
        held: &Held,
    ) -> anyhow::Result<(pb::RedeemVoucherRequest, Redeemed)> {
        let scanned = self.request(visit, card, "scan", &held.qr_text);
        if rolls.shows(Habit::TwoTills) {
            let other = self.request(visit, card, "other-till", &held.qr_text);
            let (first, second) =
                futures::try_join!(self.ask(visit.shop, &scanned), self.ask(visit.shop, &other))?;
            let (winner, won, lost) = if matches!(first, Answer::Done(_)) {
                (scanned, first, second)
            } else {
                (other, second, first)
            };
            self.book(visit.shop, held, &won);
            match won {
                Answer::Done(_) => self.must_refuse(visit, held, ALREADY_REDEEMED, lost),
                Answer::Refused(_) => self.book(visit.shop, held, &lost),
            }
            return Ok((winner, won));
        }
        if held.entry.is_multiple_of(TYPED_EVERY) {
            let typed = self.request(visit, card, "typed", &held.code);
            let answer = self.ask(visit.shop, &typed).await?;
            self.book(visit.shop, held, &answer);
            // The voucher's record may not have come yet. The QR code needs no record.
            if matches!(answer, Answer::Done(_)) {
                return Ok((typed, answer));
            }
        }
        let answer = self.ask(visit.shop, &scanned).await?;
        self.book(visit.shop, held, &answer);
        Ok((scanned, answer))
    }

    /// A voucher that must be refused here and now. The customer keeps it, unless its time is over.
    async fn redeem_in_vain(
        &mut self,
        visit: &Visit,
        card: &str,
        reason: &str,
        held: Held,
    ) -> anyhow::Result<()> {
        let request = self.request(visit, card, "in-vain", &held.qr_text);
        let answer = self.ask(visit.shop, &request).await?;
        self.must_refuse(visit, &held, reason, answer);
        if visit.at < held.expires {
            self.wallet.put(visit.customer, held);
        }
        Ok(())
    }

    fn must_refuse(&mut self, visit: &Visit, held: &Held, expected: &str, answer: Redeemed) {
        self.book(visit.shop, held, &answer);
        let id = &self.ledger.entries[held.entry].voucher_id;
        let place = format!("{} on line {}, voucher {id}", visit.shop.key(), visit.line);
        match answer {
            Answer::Done(_) => self.ledger.violations.note("VOU-2", format!("accepted at {place}")),
            Answer::Refused(reason) => self.ledger.violations.require(reason == expected, "VOU-2", || {
                format!("refused as {reason}, not {expected}, at {place}")
            }),
        }
    }

    /// Books an answer, yes or no.
    fn book(&mut self, shop: Shop, held: &Held, answer: &Redeemed) {
        let redeemed = match answer {
            Answer::Done(redeemed) => redeemed,
            Answer::Refused(reason) => return self.ledger.refused(shop, reason.clone()),
        };
        Acknowledged::add(&self.street.acknowledged[shop.index()].redemptions, 1);
        let offer = &self.street.offers[self.ledger.entries[held.entry].offer];
        let cents = |money: &Option<pb::Money>| money.as_ref().map_or(0, |m| m.minor);
        let used = Use {
            redemption_id: redeemed.redemption_id.clone(),
            discount_cents: cents(&redeemed.discount),
            bounty_cents: cents(&redeemed.bounty),
            credited: self.street.shop_of.get(&redeemed.credited_id).copied(),
        };
        let right = used.discount_cents == offer.off_cents
            && used.bounty_cents == used.credited.map_or(0, |_| offer.bounty_cents);
        self.ledger.violations.require(right, "MON-1", || format!("{used:?} is not as {offer:?} says"));
        self.ledger.used(held.entry, used);
    }

    fn request(&self, visit: &Visit, card: &str, how: &str, code: &str) -> pb::RedeemVoucherRequest {
        pb::RedeemVoucherRequest {
            request_id: request_id(visit, how),
            code: code.to_owned(),
            purchase: money(visit.amount_cents),
            card_id: card.to_owned(),
            redeem_time: timestamp(visit.at),
            ..Default::default()
        }
    }

    async fn ask(&self, shop: Shop, request: &pb::RedeemVoucherRequest) -> anyhow::Result<Redeemed> {
        let ask = |carrier| {
            let request = request.clone();
            async move { VoucherServiceClient::new(carrier).redeem_voucher(request).await }
        };
        self.street.link(shop).call("RedeemVoucher", ask).await
    }

    async fn take_back(&self, visit: &Visit, redemption_id: String) -> anyhow::Result<()> {
        let request = pb::VoidRedemptionRequest {
            request_id: request_id(visit, "void"),
            redemption_id,
            reason: "goods returned".to_owned(),
            ..Default::default()
        };
        let ask = |carrier| {
            let request = request.clone();
            async move { VoucherServiceClient::new(carrier).void_redemption(request).await }
        };
        self.street.link(visit.shop).call("VoidRedemption", ask).await?.done()?;
        Ok(())
    }

    fn require_same<T: PartialEq>(
        &mut self,
        visit: &Visit,
        what: &str,
        first: &Answer<T>,
        again: &Answer<T>,
    ) {
        self.ledger.repeats += 1;
        self.ledger.violations.require(first == again, "LOG-2", || {
            format!("{} answers the repeated {what} of line {} otherwise", visit.shop.key(), visit.line)
        });
    }
}

/// Why the customer must be refused; none where all is as it should be.
fn due_refusal(intent: Intent) -> Option<&'static str> {
    match intent {
        Intent::Use => None,
        Intent::Expired => Some(EXPIRED),
        Intent::TooSmall => Some(TOO_LOW),
        Intent::WrongShop => Some(WRONG_SHOP),
    }
}

/// Unique within a shop: a visit has one line, and a shop asks one thing of each kind at a visit.
fn request_id(visit: &Visit, kind: &str) -> String {
    format!("street-{}-{kind}", visit.line)
}

fn unix_millis(seconds: i64, nanos: i32) -> Option<UnixMillis> {
    UnixMillis::new(seconds.checked_mul(1_000)?.checked_add(i64::from(nanos) / 1_000_000)?).ok()
}

fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_time_is_read_to_the_millisecond() {
        assert_eq!(unix_millis(1, 250_000_000).unwrap().ms(), 1_250);
        assert_eq!(unix_millis(-1, 0), None);
        assert_eq!(unix_millis(i64::MAX, 0), None);
    }
}
