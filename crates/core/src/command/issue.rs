//! Deciding on sales and on handing vouchers out.

use bytes::Bytes;

use super::{redeem::card_bytes, *};
use crate::{
    code::SECRET_BYTES,
    doubt::{self, Doubt},
    promotion::{self, Mode, Promotion},
    report,
    stock::{self, Share},
    table,
    voucher::{Token, Voucher, VoucherBody, VoucherKey},
};

/// Vouchers that one sale can earn: more promotions than that at once help no customer, and they go into one answer.
const VOUCHERS_PER_SALE_MAX: usize = 64;

/// A voucher that can be handed out.
struct Chosen {
    key: VoucherKey,
    /// The places of this shop among the distributors and of the shop that it is for among the redeemers.
    issuer: u8,
    redeemer: u8,
}

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn sell(&self, sale: &SaleCommand, rng: &mut impl CryptoRng) -> Decided {
        self.alliance.own_membership()?;
        bounds::text("reference", &sale.reference, 0..=REFERENCE_CHARS_MAX)?;
        self.check_purchase("amount", sale.amount)?;
        self.alliance.charter().check_entry_time(sale.sold, self.now)?;
        let mut drafts = Vec::new();
        for promotion in self.earned_by(sale)? {
            match self.choose(&promotion, sale.card, sale.sold, None) {
                Ok(chosen) => {
                    drafts.push(self.voucher(&promotion, chosen, sale.card, sale.sold, &sale.request, rng))
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
        let chosen = self.choose(&promotion, issue.card, issue.at, issue.redeemer)?;
        Ok(alloc::vec![self.voucher(&promotion, chosen, issue.card, issue.at, &issue.request, rng)])
    }

    /// The next voucher, unless a limit is reached (VOU-2).
    fn choose(
        &self,
        promotion: &Promotion,
        card: Option<CardId>,
        at: UnixMillis,
        redeemer: Option<ShopId>,
    ) -> Decided<Chosen> {
        let me = promotion.distributor_index(self.me()).ok_or(Refusal::new(Reason::NotDistributor))?;
        self.check_may_begin()?;
        promotion.check_window(at)?;
        if promotion::ended(self.view, promotion.id)?.is_some() {
            return Err(Refusal::new(Reason::PromotionEnded).into());
        }
        let redeemer = self.choose_redeemer(promotion, redeemer)?;
        self.check_exposure(promotion, redeemer)?;
        if (promotion.card_required || promotion.conditions.need_card()) && card.is_none() {
            return Err(Refusal::new(Reason::CardRequired).into());
        }
        let key = self.choose_number(promotion, me, at)?;
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
        Ok(Chosen { key, issuer: me, redeemer })
    }

    /// The place of the shop that a designated voucher will be for: the one asked for, else the first that is still a
    /// member.
    fn choose_redeemer(&self, promotion: &Promotion, asked: Option<ShopId>) -> Decided<u8> {
        let is_member = |shop: &ShopId| self.alliance.roster().member(*shop).is_some();
        if promotion.mode != Mode::Designated {
            return match asked {
                None => Ok(0),
                Some(_) => Err(Refusal::field("redeemer_id", "is for designated vouchers alone").into()),
            };
        }
        let place = match asked {
            Some(shop) => {
                let place = promotion.redeemers.iter().position(|redeemer| *redeemer == shop);
                place.ok_or_else(|| Refusal::field("redeemer_id", "does not redeem this promotion"))?
            }
            None => {
                let place = promotion.redeemers.iter().position(is_member);
                place.ok_or(Refusal::new(Reason::PromotionEnded))?
            }
        };
        match promotion.redeemers.get(place).filter(|shop| is_member(shop)) {
            Some(_) => Ok(u8::try_from(place).expect("a promotion has few redeemers")),
            None => Err(Refusal::new(Reason::PromotionEnded).into()),
        }
    }

    /// A number that this shop owns: one that was never handed out, else one that expiry or revocation freed.
    fn choose_number(&self, promotion: &Promotion, me: u8, at: UnixMillis) -> Decided<VoucherKey> {
        let mut quota = 0;
        let mut owned = stock::owned_by(self.view, promotion, me)?;
        if hutong_record::planted!(HandOutMoved) {
            let all = promotion.distributor(me).map_or(0, |d| d.quota);
            owned.insert(0, Share { distributor: me, first: 1, last: all, owner: me, by: None });
        }
        let doubt = doubt::current(self.view)?;
        let mut doubted = None;
        for share in owned {
            quota += share.count();
            if let Some(doubt) = doubt
                && doubt.covers_numbers(self.view, promotion, share.by)?
            {
                doubted = Some(doubt);
                continue;
            }
            if let Some(number) = self.next_number(promotion, &share)? {
                return Ok(number_of(promotion, &share, number));
            }
        }
        let used_up =
            || doubted.map_or_else(|| Refusal::new(Reason::QuotaUsedUp).with("quota", quota), Doubt::refusal);
        Ok(self.freed_number(promotion, at)?.ok_or_else(used_up)?)
    }

    /// The first number of a share that was never handed out, by this shop or, as far as it knows, by the shop that it
    /// came from.
    pub(super) fn next_number(&self, promotion: &Promotion, share: &Share) -> Result<Option<u32>, ViewError> {
        let key = table::number(promotion.id, share.distributor, share.by);
        let last: u32 = table::read(self.view, &key)?.unwrap_or_default();
        let next = share.first.max(last.saturating_add(1));
        for number in next..=share.last {
            let key = number_of(promotion, share, number);
            if !self.is_handed_out(&key)? || hutong_record::planted!(HandOutMoved) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Whether a voucher was handed out under a number by its owner or, as far as is known here, by one before.
    fn is_handed_out(&self, number: &VoucherKey) -> Result<bool, ViewError> {
        let is_issued = |voucher: &Voucher| voucher.issue.is_some();
        if number.moved_by.is_none() {
            return Ok(report::voucher(self.view, number)?.as_ref().is_some_and(is_issued));
        }
        let mut found = false;
        let same_number = table::vouchers_of_number(number.promotion, number.distributor, number.number);
        table::walk(self.view, &same_number, None, |key, value| {
            found = is_issued(&table::decode(key, value)?);
            Ok(!found)
        })?;
        Ok(found)
    }

    fn freed_number(&self, promotion: &Promotion, at: UnixMillis) -> Result<Option<VoucherKey>, ViewError> {
        let mut found: Option<VoucherKey> = None;
        table::walk(self.view, &table::freed_of(promotion.id), None, |key, value| {
            if table::parse_freed(key).is_some_and(|free_from| free_from <= at.min(self.now)) {
                found = Some(table::decode(key, value)?);
            }
            Ok(false) // the first one is the one that is free the longest
        })?;
        let Some(before) = found else { return Ok(None) };
        let Some(next) = before.next_round() else { return Ok(None) };
        let Some(last) = report::voucher(self.view, &before)? else { return Ok(Some(next)) };
        // Who may have lost its last records may have handed it out again.
        let doubt = doubt::current(self.view)?.filter(|doubt| doubt.covers(last.token.body().issued));
        Ok(doubt.is_none().then_some(next))
    }

    pub(super) fn check_count(&self, key: Vec<u8>, limit: u32, reason: Reason) -> Decided<()> {
        let count: u64 = table::read(self.view, &key)?.unwrap_or_default();
        if limit > 0 && count >= u64::from(limit) {
            return Err(Refusal::new(reason).with("limit", limit).into());
        }
        Ok(())
    }

    fn voucher(
        &self,
        promotion: &Promotion,
        chosen: Chosen,
        card: Option<CardId>,
        at: UnixMillis,
        request: &RequestTag,
        rng: &mut impl CryptoRng,
    ) -> DraftRecord {
        let mut secret = [0; SECRET_BYTES];
        rng.fill_bytes(&mut secret);
        let Chosen { key, issuer, redeemer } = chosen;
        let (expires, key_epoch) = (promotion.expires(at), self.key_epoch);
        let body = VoucherBody { key, issuer, redeemer, card, issued: at, expires, secret, key_epoch };
        let token = Token::sign(body, self.key);
        let message = proto::VoucherIssue {
            request: Some(request.message()),
            token: Bytes::copy_from_slice(token.bytes()),
        };
        let holder = match promotion.mode {
            Mode::Designated => promotion.redeemers[usize::from(redeemer)],
            Mode::Leased | Mode::Anywhere => self.me(),
        };
        Self::for_parties(Kind::VoucherIssue, [self.me(), holder, promotion.funder], &message)
    }
}

/// A number of a share, as it is handed out first by the share's owner.
const fn number_of(promotion: &Promotion, share: &Share, number: u32) -> VoucherKey {
    let (promotion, distributor, moved_by) = (promotion.id, share.distributor, share.by);
    VoucherKey { promotion, distributor, number, round: 0, moved_by }
}
