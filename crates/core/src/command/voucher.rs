//! Deciding on sales and vouchers.

use bytes::Bytes;

use super::*;
use crate::{
    charter::CLOCK_AHEAD_MS_MAX,
    code::SECRET_BYTES,
    fold::Issued,
    promotion::{self, Promotion},
    report,
    roster::Standing,
    table,
    voucher::{Token, Voucher, VoucherBody, VoucherKey},
};

/// Vouchers that one sale can earn: more promotions than that at once help no customer, and they go into one answer.
const VOUCHERS_PER_SALE_MAX: usize = 64;
const VOID_REASON_CHARS_MAX: usize = 200;

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn sell(&self, sale: &SaleCommand, rng: &mut impl CryptoRng) -> Decided {
        self.alliance.own_membership()?;
        bounds::text("reference", &sale.reference, 0..=REFERENCE_CHARS_MAX)?;
        self.check_purchase("amount", sale.amount)?;
        self.alliance.charter().check_entry_time(sale.sold, self.now)?;
        let mut drafts = Vec::new();
        for promotion in self.earned_by(sale)? {
            match self.check_issue(&promotion, sale.card, sale.sold) {
                Ok(number) => {
                    drafts.push(self.voucher(&promotion, number, sale.card, sale.sold, &sale.request, rng))
                }
                Err(DecideError::Refused(_)) => {} // a limit was reached: the sale stands, without that voucher
                Err(error) => return Err(error),
            }
        }
        let vouchers = u32::try_from(drafts.len()).expect("at most 64");
        let message = proto::Sale {
            request: Some(sale.request.message()),
            sold_unix_ms: sale.sold.ms(),
            card_id: card_bytes(sale.card),
            amount: Some(sale.amount.into()),
            vouchers,
            reference: sale.reference.clone(),
        };
        drafts.push(self.for_myself(Kind::Sale, &message));
        Ok(drafts)
    }

    /// The promotions of which the sale earns a voucher, if no limit is reached, in the order of ids.
    fn earned_by(&self, sale: &SaleCommand) -> Result<Vec<Promotion>, ViewError> {
        let mut ids = Vec::new();
        self.view.scan(&[table::EARN], Some(&table::earn_after(sale.sold)), &mut |key, _| {
            ids.extend(key.get(9..).and_then(|id| RecordId::try_from(id).ok()));
            true
        })?;
        ids.sort_unstable();
        let mut earned = Vec::new();
        for id in ids {
            let Some(promotion) = Promotion::load(self.view, id, self.alliance.charter().currency)? else {
                continue;
            };
            let enough = promotion.earn_spend_min.is_some_and(|min| sale.amount.minor() >= min.minor());
            if enough && sale.sold >= promotion.starts && earned.len() < VOUCHERS_PER_SALE_MAX {
                earned.push(promotion);
            }
        }
        Ok(earned)
    }

    pub(super) fn issue(&self, issue: &IssueCommand, rng: &mut impl CryptoRng) -> Decided {
        self.alliance.own_membership()?;
        self.alliance.charter().check_entry_time(issue.at, self.now)?;
        let found = Promotion::load(self.view, issue.promotion, self.alliance.charter().currency)?;
        let promotion = found.ok_or(Refusal::new(Reason::PromotionUnknown))?;
        let number = self.check_issue(&promotion, issue.card, issue.at)?;
        Ok(alloc::vec![self.voucher(&promotion, number, issue.card, issue.at, &issue.request, rng)])
    }

    /// The number of the next voucher, unless a limit is reached (VOU-2).
    fn check_issue(&self, promotion: &Promotion, card: Option<CardId>, at: UnixMillis) -> Decided<u32> {
        let index = promotion.distributor_index(self.me()).ok_or(Refusal::new(Reason::NotDistributor))?;
        promotion.check_window(at)?;
        if promotion::ended(self.view, promotion.id)?.is_some() {
            return Err(Refusal::new(Reason::PromotionEnded).into());
        }
        if self.alliance.roster().member(promotion.redeemer).is_none() {
            return Err(Refusal::new(Reason::PromotionEnded).into());
        }
        if promotion.card_required && card.is_none() {
            return Err(Refusal::new(Reason::CardRequired).into());
        }
        let quota = promotion.distributor(index).map_or(0, |d| d.quota);
        let issued: Issued = table::read(self.view, &table::issued(promotion.id))?.unwrap_or_default();
        if issued.last_number >= quota {
            return Err(Refusal::new(Reason::QuotaUsedUp).with("quota", quota).into());
        }
        let day = at.day(self.alliance.charter().utc_offset_minutes);
        self.check_count(
            table::issued_day(promotion.id, day),
            promotion.per_day_max,
            Reason::DayLimitReached,
        )?;
        if let Some(card) = card {
            let key = table::issued_card(promotion.id, card);
            self.check_count(key, promotion.per_card_max, Reason::CardLimitReached)?;
        }
        Ok(issued.last_number + 1)
    }

    fn check_count(&self, key: Vec<u8>, limit: u32, reason: Reason) -> Decided<()> {
        let count: u64 = table::read(self.view, &key)?.unwrap_or_default();
        if limit > 0 && count >= u64::from(limit) {
            return Err(Refusal::new(reason).with("limit", limit).into());
        }
        Ok(())
    }

    fn voucher(
        &self,
        promotion: &Promotion,
        number: u32,
        card: Option<CardId>,
        at: UnixMillis,
        request: &RequestTag,
        rng: &mut impl CryptoRng,
    ) -> DraftRecord {
        let distributor = promotion.distributor_index(self.me()).expect("checked by check_issue");
        let mut secret = [0; SECRET_BYTES];
        rng.fill_bytes(&mut secret);
        let body = VoucherBody {
            key: VoucherKey { promotion: promotion.id, distributor, number },
            card,
            issued: at,
            expires: promotion.expires(at),
            secret,
        };
        let token = Token::sign(body, self.key);
        let message = proto::VoucherIssue {
            request: Some(request.message()),
            token: Bytes::copy_from_slice(token.bytes()),
        };
        Self::for_parties(Kind::VoucherIssue, [self.me(), promotion.redeemer, promotion.funder], &message)
    }

    pub(super) fn redeem(&self, redeem: &RedeemCommand) -> Decided {
        self.alliance.own_membership()?;
        bounds::text("reference", &redeem.reference, 0..=REFERENCE_CHARS_MAX)?;
        self.check_purchase("purchase", redeem.purchase)?;
        self.alliance.charter().check_entry_time(redeem.at, self.now)?;
        let (promotion, token, known) = self.genuine(redeem.presented.as_ref())?;
        self.check_redeemable(redeem, &promotion, &token, known.as_ref())?;
        let distributor = promotion
            .distributor(token.body().key.distributor)
            .expect("a genuine token names a distributor")
            .shop;
        let (touched, credited) = self.last_touch(redeem, &token, distributor)?;
        let message = proto::Redemption {
            request: Some(redeem.request.message()),
            token: Bytes::copy_from_slice(token.bytes()),
            redeemed_unix_ms: redeem.at.ms(),
            purchase: Some(redeem.purchase.into()),
            discount: Some(promotion.benefit.discount(redeem.purchase).into()),
            card_id: card_bytes(redeem.card),
            credited_id: Bytes::copy_from_slice(credited.as_bytes()),
            touched_unix_ms: touched.ms(),
            bounty: Some(promotion.bounty.into()),
            reference: redeem.reference.clone(),
        };
        let parties = [self.me(), distributor, promotion.funder, credited];
        Ok(alloc::vec![Self::for_parties(Kind::Redemption, parties, &message)])
    }

    /// The genuine voucher behind what was presented. Unknown, forged and mistyped get one answer.
    fn genuine(&self, presented: Option<&Presented>) -> Decided<(Promotion, Token, Option<Voucher>)> {
        let unknown = || DecideError::Refused(Refusal::new(Reason::VoucherUnknown));
        let token = match presented {
            Some(Presented::Token(token)) => token.clone(),
            Some(Presented::Secret(secret)) => {
                report::voucher_of_code(self.view, secret)?.ok_or_else(unknown)?.token
            }
            Some(Presented::Key(_)) | None => return Err(unknown()),
        };
        let body = token.body();
        let found = Promotion::load(self.view, body.key.promotion, self.alliance.charter().currency)?;
        let promotion = found.ok_or_else(unknown)?;
        let distributor = promotion.distributor(body.key.distributor).ok_or_else(unknown)?;
        let key = self.alliance.admitted_key(distributor.shop).ok_or_else(unknown)?;
        if !token.verify(&promotion, &key) {
            return Err(unknown());
        }
        let known = report::voucher(self.view, &body.key)?;
        if known.as_ref().is_some_and(|voucher| voucher.token != token) {
            return Err(unknown()); // a second voucher under the same number: the first one counts
        }
        Ok((promotion, token, known))
    }

    fn check_redeemable(
        &self,
        redeem: &RedeemCommand,
        promotion: &Promotion,
        token: &Token,
        known: Option<&Voucher>,
    ) -> Decided<()> {
        let body = token.body();
        if promotion.redeemer != self.me() {
            let name = self.shop_name(promotion.redeemer)?;
            let refusal = Refusal::new(Reason::VoucherWrongShop).with("redeemer_id", promotion.redeemer);
            return Err(refusal.with("redeemer_name", name).into());
        }
        if let Some(used) = known.and_then(|v| v.redemption) {
            let refusal = Refusal::new(Reason::VoucherAlreadyRedeemed).with("redeemed_unix_ms", used.at.ms());
            let refusal = refusal.with("redemption_id", used.id).with("redeemer_id", promotion.redeemer);
            return Err(refusal.into());
        }
        let distributor = promotion.distributor(body.key.distributor).map(|d| d.shop);
        let removed = distributor.and_then(|shop| self.alliance.roster().shop(shop));
        if removed.is_some_and(|m| m.standing != Standing::Member) && known.is_none_or(|v| v.issue.is_none())
        {
            return Err(Refusal::new(Reason::DistributorRemoved).into());
        }
        if body.issued.ms_since(redeem.at) > CLOCK_AHEAD_MS_MAX {
            return Err(Refusal::new(Reason::VoucherNotYetValid)
                .with("issued_unix_ms", body.issued.ms())
                .into());
        }
        if redeem.at >= body.expires {
            return Err(Refusal::new(Reason::VoucherExpired)
                .with("expired_unix_ms", body.expires.ms())
                .into());
        }
        if body.card.is_some() && body.card != redeem.card {
            let reason = if redeem.card.is_none() { Reason::CardRequired } else { Reason::CardMismatch };
            return Err(Refusal::new(reason).into());
        }
        let minimum = promotion.redeem_spend_min;
        if redeem.purchase.minor() < minimum.minor() {
            let refusal = Refusal::new(Reason::PurchaseTooLow).with("minimum_minor", minimum.minor());
            return Err(refusal.with("minimum", minimum).into());
        }
        Ok(())
    }

    /// The latest touch that sent this card here: the voucher's own hand-out, or a later one within the window.
    fn last_touch(
        &self,
        redeem: &RedeemCommand,
        token: &Token,
        distributor: ShopId,
    ) -> Decided<(UnixMillis, ShopId)> {
        let mut last = (token.body().issued, distributor);
        let earliest = redeem.at.saturating_add_ms(-self.alliance.charter().attribution_window_ms);
        if let Some(card) = redeem.card {
            // Touches are ordered by time: only those of the window are looked at.
            let before = table::touch(card, earliest, ShopId::new([0; 32]));
            self.view.scan(
                &table::touches(card),
                Some(&before),
                &mut |key, _| match table::parse_touch(key) {
                    Some((at, shop)) if at <= redeem.at => {
                        last = last.max((at, shop));
                        true
                    }
                    _ => false,
                },
            )?;
        }
        Ok(last)
    }

    pub(super) fn void(&self, void: &VoidCommand) -> Decided {
        self.alliance.own_membership()?;
        bounds::text("reason", &void.reason, 0..=VOID_REASON_CHARS_MAX)?;
        self.alliance.charter().check_entry_time(void.at, self.now)?;
        let unknown = || Refusal::new(Reason::RedemptionUnknown);
        let key: VoucherKey =
            table::read(self.view, &table::redemption(void.redemption))?.ok_or_else(unknown)?;
        let voucher = report::voucher(self.view, &key)?.ok_or_else(unknown)?;
        let found = Promotion::load(self.view, key.promotion, self.alliance.charter().currency)?;
        let promotion = found.filter(|p| p.redeemer == self.me()).ok_or_else(unknown)?;
        let redemption =
            voucher.redemption.filter(|r| r.id == void.redemption || hutong_record::planted!(VoidAnyUse));
        let redemption = redemption.ok_or(Refusal::new(Reason::RedemptionAlreadyVoided))?;
        let message = proto::RedemptionVoid {
            request: Some(void.request.message()),
            redemption_id: Bytes::copy_from_slice(void.redemption.as_bytes()),
            voided_unix_ms: void.at.ms(),
            reason: void.reason.clone(),
        };
        let distributor = promotion.distributor(key.distributor).ok_or_else(unknown)?.shop;
        let parties = [self.me(), distributor, promotion.funder, redemption.credited];
        Ok(alloc::vec![Self::for_parties(Kind::RedemptionVoid, parties, &message)])
    }
}

fn card_bytes(card: Option<CardId>) -> Bytes {
    card.map_or_else(Bytes::new, |card| Bytes::copy_from_slice(card.as_bytes()))
}
