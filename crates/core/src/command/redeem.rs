//! Deciding on redemptions.

use bytes::Bytes;
use hutong_record::KEY_EPOCH_MAX;

use super::{right::check_reservation_key, *};
use crate::{
    charter::CLOCK_AHEAD_MS_MAX,
    doubt,
    evidence::{self, Conversion, Credited},
    promotion::{Basis, Mode, Promotion, Scale},
    proof, report,
    right::{self, Act, Right, Statement},
    stock::{self, Entitlement},
    table,
    voucher::{Token, Use, UseStanding, Voucher, VoucherBody, VoucherKey, VoucherState, copy, life},
};

/// A genuine voucher, with what is known of it.
pub(super) struct Shown {
    pub(super) promotion: Promotion,
    pub(super) voucher: Voucher,
    pub(super) issuer: ShopId,
    /// Its hand-out or a use is on record here.
    pub(super) known: bool,
}

/// What a customer wants to use a voucher for.
pub(super) struct Occasion<'a> {
    pub(super) purchase: &'a Purchase,
    pub(super) card: Option<CardId>,
    pub(super) at: UnixMillis,
    pub(super) reservation: &'a str,
}

/// What a voucher takes off, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Price {
    pub(super) eligible: Money,
    pub(super) discount: Money,
}

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn redeem(&self, redeem: &RedeemCommand) -> Decided {
        self.alliance.own_membership()?;
        bounds::text("reference", &redeem.reference, 0..=REFERENCE_CHARS_MAX)?;
        self.check_purchase("purchase", redeem.purchase.total)?;
        redeem.purchase.check()?;
        check_reservation_key(&redeem.reservation, 0)?;
        self.alliance.charter().check_entry_time(redeem.at, self.now)?;
        let shown = self.genuine(redeem.presented.as_ref())?;
        let occasion = Occasion {
            purchase: &redeem.purchase,
            card: redeem.card,
            at: redeem.at,
            reservation: &redeem.reservation,
        };
        let price = self.check_use(&shown, &occasion)?;
        let key = shown.voucher.token.body().key;
        let right = &shown.voucher.right;
        let act = if right.holder == self.me() {
            Act::Use(shown.voucher.used_at_step + 1)
        } else {
            self.check_risk(&shown, redeem, price)?;
            Act::Risk
        };
        let signed = (shown.promotion.mode == Mode::Anywhere)
            .then(|| self.statement(key, right.step, act).sign(self.key));
        let mut drafts = alloc::vec![self.receipt(redeem, &shown, price, signed)?];
        if act == Act::Risk {
            drafts.push(self.right_request(&shown, self.me(), true)?);
        }
        Ok(drafts)
    }

    fn receipt(
        &self,
        redeem: &RedeemCommand,
        shown: &Shown,
        price: Price,
        signed: Option<proto::SignedRight>,
    ) -> Decided<DraftRecord> {
        let Shown { promotion, voucher, issuer, .. } = shown;
        let Credited { touched, shop: credited, paid_touches } =
            self.credited(redeem, &voucher.token, *issuer)?;
        let total = redeem.purchase.total;
        let basis = self.bounty_basis(promotion, redeem)?;
        let reckoned = promotion.bounty.reckon(total, &basis).filter(|_| credited != self.me());
        let bounty = reckoned.unwrap_or(Money::zero(total.currency()));
        let co_funders = self.co_funders(promotion)?;
        let all = price.eligible == redeem.purchase.total;
        let message = proto::Redemption {
            request: Some(redeem.request.message()),
            token: copy(voucher.token.bytes()),
            redeemed_unix_ms: redeem.at.ms(),
            purchase: Some(redeem.purchase.total.into()),
            discount: Some(price.discount.into()),
            card_id: card_bytes(redeem.card),
            credited_id: copy(credited.as_bytes()),
            touched_unix_ms: touched.ms(),
            bounty: Some(bounty.into()),
            reference: redeem.reference.clone(),
            eligible: (!all).then(|| price.eligible.into()),
            passes: right::load_passes(&voucher.passes),
            r#use: signed,
            purchase_id: redeem.purchase.id.clone(),
            reservation_key: redeem.reservation.clone(),
            bounty_basis: basis.message(total.currency()),
            co_funders: co_funders.iter().map(|(shop, consent)| co_funder(*shop, *consent)).collect(),
            paid_touches: paid_touches.iter().map(|(at, shop)| paid_touch(*at, *shop)).collect(),
        };
        let paid = paid_touches.into_iter().map(|(_, shop)| shop);
        let parties = [self.me(), *issuer, promotion.funder, credited].into_iter().chain(paid);
        let parties = parties.into_iter().chain(co_funders.into_iter().map(|(shop, _)| shop));
        Ok(Self::for_parties(Kind::Redemption, parties, &message))
    }

    /// What this shop states of its right, to be signed with its key.
    pub(super) fn statement(&self, voucher: VoucherKey, step: u32, act: Act) -> Statement {
        Statement { voucher, step, shop: self.me(), act, key_epoch: self.key_epoch }
    }

    /// The genuine voucher behind what was presented. Unknown, forged and mistyped get one answer.
    pub(super) fn genuine(&self, presented: Option<&Presented>) -> Decided<Shown> {
        let unknown = || DecideError::Refused(Refusal::new(Reason::VoucherUnknown));
        let token = match presented {
            Some(Presented::Token(token)) => token.clone(),
            Some(Presented::Secret(secret)) => {
                report::voucher_of_code(self.view, secret)?.ok_or_else(unknown)?.token
            }
            Some(Presented::Key(_)) | None => return Err(unknown()),
        };
        let body = token.body().clone();
        match self.shown(token)? {
            Some(shown) => Ok(shown),
            None if self.waits_for_key(&body)? => Err(Refusal::new(Reason::IssuerKeyUnknown).into()),
            None => Err(unknown()),
        }
    }

    /// Whether a voucher is signed in a key epoch of its issuer that has not come here yet.
    fn waits_for_key(&self, body: &VoucherBody) -> Result<bool, ViewError> {
        let found = Promotion::load(self.view, body.key.promotion, self.alliance.charter().currency)?;
        let issuer = found.and_then(|promotion| promotion.distributor(body.issuer).map(|d| d.shop));
        let known = issuer.map(|issuer| self.alliance.key_epoch(issuer));
        Ok(body.key_epoch <= KEY_EPOCH_MAX && known.is_some_and(|known| body.key_epoch > known))
    }

    /// What is known of a token; none: it is not genuine.
    pub(super) fn shown(&self, token: Token) -> Result<Option<Shown>, ViewError> {
        let body = token.body();
        let found = Promotion::load(self.view, body.key.promotion, self.alliance.charter().currency)?;
        let Some(promotion) = found else { return Ok(None) };
        let Some(issuer) = promotion.distributor(body.issuer).map(|d| d.shop) else { return Ok(None) };
        let stored = report::voucher(self.view, &body.key)?;
        // What is on record was verified when it came.
        if stored.as_ref().is_none_or(|voucher| voucher.token != token) {
            let Ok(key) = self.alliance.statement_key(issuer, body.key_epoch) else { return Ok(None) };
            let entitled = matches!(stock::entitlement(self.view, body)?, Entitlement::Entitled);
            if !entitled || !token.verify(self.alliance.cryptography(), &promotion, &key) {
                return Ok(None);
            }
        }
        let Some(right) = Right::first(&token, &promotion) else { return Ok(None) };
        let known = stored.is_some();
        let voucher = stored.unwrap_or_else(|| Voucher::new(token.clone(), right));
        // A second voucher under the same number: the first one counts.
        Ok((voucher.token == token).then_some(Shown { promotion, voucher, issuer, known }))
    }

    /// A token that its issuer signed and must not have signed, as evidence for all.
    pub(super) fn proof_of_forgery(
        &self,
        presented: Option<&Presented>,
    ) -> Result<Option<DraftRecord>, ViewError> {
        let Some(Presented::Token(token)) = presented else { return Ok(None) };
        let key = token.body().key;
        let Some(promotion) = Promotion::load(self.view, key.promotion, self.alliance.charter().currency)?
        else {
            return Ok(None);
        };
        let past_quota = promotion.distributor(key.distributor).is_some_and(|d| key.number > d.quota);
        let evidence = match report::voucher(self.view, &key)? {
            _ if past_quota => proof::of_forged(token),
            Some(known) if known.token != *token => proof::of_tokens(&known.token, token),
            _ => return Ok(None),
        };
        match self.alliance.judge_proof(&evidence, &promotion) {
            Ok(verdict) if self.view.get(&table::proof(verdict.liable, &verdict.subject))?.is_none() => {
                Ok(Some(Self::for_all(Kind::VoucherProof, &evidence)))
            }
            _ => Ok(None),
        }
    }

    /// What the voucher takes off, unless a rule speaks against its use here and now.
    pub(super) fn check_use(&self, shown: &Shown, occasion: &Occasion<'_>) -> Decided<Price> {
        let Shown { promotion, voucher, .. } = shown;
        self.check_here(shown)?;
        self.check_state(shown, occasion)?;
        self.check_card(shown, occasion)?;
        promotion.conditions.check_time(occasion.at, self.alliance.charter().utc_offset_minutes)?;
        if promotion.conditions.in_person_only && occasion.purchase.remote {
            return Err(Refusal::new(Reason::InPersonOnly).into());
        }
        let eligible = promotion.conditions.eligible(occasion.purchase)?;
        let minimum = promotion.redeem_spend_min;
        if eligible.minor() < minimum.minor() {
            let refusal = Refusal::new(Reason::PurchaseTooLow).with("minimum_minor", minimum.minor());
            return Err(refusal.with("minimum", minimum).into());
        }
        let others = self.check_stacking(promotion, occasion.purchase)?;
        let left = Money::new(eligible.currency(), (occasion.purchase.total.minor() - others).max(0))
            .expect("less than the purchase");
        let full = promotion.benefit.discount(eligible);
        let discount = if full.minor() < left.minor() { full } else { left };
        self.check_caps(promotion, occasion, discount)?;
        debug_assert_eq!(voucher.token.body().key.promotion, promotion.id);
        Ok(Price { eligible, discount })
    }

    /// Whether this shop is one where the voucher can be used at all.
    fn check_here(&self, shown: &Shown) -> Decided<()> {
        let Shown { promotion, voucher, .. } = shown;
        let holder = voucher.right.holder;
        let here = match promotion.mode {
            Mode::Designated | Mode::Leased => holder == self.me(),
            Mode::Anywhere => promotion.is_redeemer(self.me()),
        };
        match voucher.revoked {
            _ if here => Ok(()),
            // It was given back to its issuer, where nobody can use it either.
            Some(revoked) => {
                Err(Refusal::new(Reason::VoucherRevoked).with("revoked_unix_ms", revoked.ms()).into())
            }
            None => Err(self.wrong_shop(holder)?.into()),
        }
    }

    pub(super) fn wrong_shop(&self, holder: ShopId) -> Result<Refusal, ViewError> {
        let refusal = Refusal::new(Reason::VoucherWrongShop).with("redeemer_id", holder);
        Ok(refusal.with("redeemer_name", self.shop_name(holder)?))
    }

    /// Whether the right, which is this shop's, may have been used by a record that is lost.
    pub(super) fn check_nothing_lost(&self, voucher: &Voucher) -> Decided<()> {
        match doubt::current(self.view)?.filter(|doubt| doubt.covers_right(voucher)) {
            Some(doubt) => Err(doubt.refusal().into()),
            None => Ok(()),
        }
    }

    /// Whether its life allows it.
    fn check_state(&self, shown: &Shown, occasion: &Occasion<'_>) -> Decided<()> {
        let Shown { promotion, voucher, issuer, known } = shown;
        let body = voucher.token.body();
        let state = voucher.state(occasion.at);
        if matches!(state, VoucherState::Redeemed | VoucherState::AtRisk) {
            return Err(already_redeemed(voucher).into());
        }
        if self.alliance.is_gone(*issuer) && !(*known && voucher.issue.is_some()) {
            return Err(Refusal::new(Reason::DistributorRemoved).into());
        }
        // Where the right is elsewhere, its home is asked, which knows what it handed out.
        if voucher.right.holder == self.me() {
            self.check_key_not_revoked(shown)?;
        }
        if body.issued.ms_since(occasion.at) > CLOCK_AHEAD_MS_MAX {
            return Err(Refusal::new(Reason::VoucherNotYetValid)
                .with("issued_unix_ms", body.issued.ms())
                .into());
        }
        if let Err(reason) = life::check(state, life::VoucherEvent::Redeem) {
            let refusal = Refusal::new(reason);
            return Err(match state {
                VoucherState::Expired => refusal.with("expired_unix_ms", body.expires.ms()),
                VoucherState::Revoked => {
                    refusal.with("revoked_unix_ms", voucher.revoked.map_or(0, UnixMillis::ms))
                }
                _ => refusal,
            }
            .into());
        }
        // Whoever redeems what it leased has handed it out itself.
        let is_own = promotion.mode != Mode::Leased || voucher.issue.is_some();
        if !is_own || voucher.was_passed_on_by(self.me()) || !self.gave_back_before(shown)? {
            return Err(Refusal::new(Reason::VoucherUnknown).into());
        }
        if !self.is_latest_round(shown)? {
            return Err(Refusal::new(Reason::VoucherExpired)
                .with("expired_unix_ms", body.expires.ms())
                .into());
        }
        if voucher.uses_free(occasion.reservation, occasion.at) == 0 {
            return Err(Refusal::new(Reason::VoucherReserved).into());
        }
        if voucher.right.holder == self.me() {
            self.check_nothing_lost(voucher)?;
        }
        Ok(())
    }

    /// Whether a record of its issuer's shows that it was handed out, where its key was revoked since: a thief makes vouchers
    /// without records. Who was passed the right got it by a record.
    pub(super) fn check_key_not_revoked(&self, shown: &Shown) -> Decided<()> {
        let Shown { voucher, issuer, known, .. } = shown;
        let on_record = *known && (voucher.issue.is_some() || voucher.right.step > 0);
        if !on_record && self.alliance.is_revoked(*issuer, voucher.token.body().key_epoch) {
            return Err(Refusal::new(Reason::VoucherKeyRevoked).into());
        }
        Ok(())
    }

    /// A number of which this shop alone redeems the vouchers is handed out again only after it gave the last one back.
    fn gave_back_before(&self, shown: &Shown) -> Result<bool, ViewError> {
        let key = shown.voucher.token.body().key;
        let Some(before) = key.round_before() else { return Ok(true) };
        if shown.promotion.mode != Mode::Designated || shown.promotion.redeemers.len() > 1 {
            return Ok(true);
        }
        let before = report::voucher(self.view, &before)?;
        Ok(before.is_some_and(|before| before.right.holder != self.me()))
    }

    /// A number that was handed out again belongs to the later voucher alone.
    pub(super) fn is_latest_round(&self, shown: &Shown) -> Result<bool, ViewError> {
        let key = shown.voucher.token.body().key;
        let Some(next) = key.next_round() else { return Ok(true) };
        Ok(report::voucher(self.view, &next)?.is_none())
    }

    fn check_card(&self, shown: &Shown, occasion: &Occasion<'_>) -> Decided<()> {
        let (bound, conditions) = (shown.voucher.token.body().card, &shown.promotion.conditions);
        if occasion.card.is_none() && (bound.is_some() || conditions.need_card()) {
            return Err(Refusal::new(Reason::CardRequired).into());
        }
        if bound.is_some() && bound != occasion.card {
            return Err(Refusal::new(Reason::CardMismatch).into());
        }
        let (true, Some(card)) = (conditions.first_visit, occasion.card) else { return Ok(()) };
        let offset = self.alliance.charter().utc_offset_minutes;
        let first: Option<UnixMillis> = table::read(self.view, &table::first_seen(card))?;
        match first {
            Some(first) if first.day(offset) < occasion.at.day(offset) => {
                Err(Refusal::new(Reason::NotFirstVisit).with("first_unix_ms", first.ms()).into())
            }
            _ => Ok(()),
        }
    }

    /// What other vouchers take off the same purchase, minor units, unless they and this one exclude each other.
    fn check_stacking(&self, promotion: &Promotion, purchase: &Purchase) -> Decided<i64> {
        if purchase.id.is_empty() {
            return Ok(0);
        }
        let used = report::purchase(self.view, &purchase.id)?;
        let mut sum = 0;
        for entry in &used {
            sum += entry.discount_minor;
            let found = Promotion::load(self.view, entry.promotion, self.alliance.charter().currency)?;
            let Some(other) = found else { continue };
            let group = &promotion.conditions.exclusion_group;
            if !group.is_empty() && *group == other.conditions.exclusion_group {
                return Err(Refusal::new(Reason::ExcludedByOther).with("title", other.title).into());
            }
            if !(promotion.conditions.stackable && other.conditions.stackable) {
                return Err(Refusal::new(Reason::NotStackable).with("title", other.title).into());
            }
        }
        Ok(sum)
    }

    /// The limits that each redeemer keeps for itself (VOU-2).
    fn check_caps(&self, promotion: &Promotion, occasion: &Occasion<'_>, discount: Money) -> Decided<()> {
        let (id, limits) = (promotion.id, &promotion.conditions);
        let day = Some(occasion.at.day(self.alliance.charter().utc_offset_minutes));
        let card = occasion.card;
        self.check_count(table::used(id, None, None), limits.per_shop_max, Reason::ShopUseLimitReached)?;
        self.check_count(table::used(id, day, None), limits.per_day_max, Reason::DayUseLimitReached)?;
        if card.is_some() {
            self.check_count(table::used(id, None, card), limits.per_card_max, Reason::CardUseLimitReached)?;
            let of_day = table::used(id, day, card);
            self.check_count(of_day, limits.per_card_day_max, Reason::CardDayUseLimitReached)?;
        }
        let Some(budget) = limits.per_shop_budget else { return Ok(()) };
        let spent: i64 = table::read(self.view, &table::spent(id))?.unwrap_or_default();
        let cost = discount.minor() + promotion.bounty.most_for(occasion.purchase.total).minor();
        if spent + cost <= budget.minor() {
            return Ok(());
        }
        Err(Refusal::new(Reason::ShopBudgetUsedUp).with("budget", budget).into())
    }

    /// Whether this shop may accept a voucher whose right it does not hold.
    fn check_risk(&self, shown: &Shown, redeem: &RedeemCommand, price: Price) -> Decided<()> {
        let (heard, at_risk) = match redeem.confirmation {
            Confirmation::NotAsked => return Err(Refusal::new(Reason::ConfirmationNeeded).into()),
            Confirmation::Answered(request) => return Err(self.denial(request)?.into()),
            Confirmation::Unreachable { heard, at_risk } => (heard, at_risk),
        };
        let (true, Some(terms)) = (at_risk, shown.promotion.risk) else {
            return Err(Refusal::new(Reason::HomeUnreachable).into());
        };
        self.check_key_not_revoked(shown)?;
        if shown.voucher.unsettled_use_of(self.me()).is_some() {
            return Err(already_redeemed(&shown.voucher).into()); // it was lost, and would be again
        }
        let refuse = |cap: &str, most: Money| {
            Err(Refusal::new(Reason::RiskCapReached).with("cap", cap).with("most", most).into())
        };
        let offline_ms = self.now.ms_since(heard);
        if offline_ms > terms.offline_ms_max {
            let refusal = Refusal::new(Reason::OfflineTooLong).with("offline_ms", offline_ms);
            return Err(refusal.with("offline_ms_max", terms.offline_ms_max).into());
        }
        let discount = price.discount.minor();
        if discount > terms.per_voucher_max.minor() {
            return refuse("per_voucher", terms.per_voucher_max);
        }
        let id = shown.promotion.id;
        let open: u64 = table::read(self.view, &table::risk(id, None))?.unwrap_or_default();
        let day = self.now.day(self.alliance.charter().utc_offset_minutes);
        let of_day: u64 = table::read(self.view, &table::risk(id, Some(day)))?.unwrap_or_default();
        let fits = |sum: u64, most: Money| i128::from(sum) + i128::from(discount) <= i128::from(most.minor());
        if !fits(open, terms.per_shop_max) {
            return refuse("per_shop", terms.per_shop_max);
        }
        if !fits(of_day, terms.per_day_max) {
            return refuse("per_day", terms.per_day_max);
        }
        Ok(())
    }

    /// Whom the customer's coming is credited to, by the model that pays under the charter.
    fn credited(&self, redeem: &RedeemCommand, token: &Token, distributor: ShopId) -> Decided<Credited> {
        let hand_out = (token.body().issued, distributor);
        let conversion =
            Conversion { at: redeem.at, entered: self.now, card: redeem.card, hand_out: Some(hand_out) };
        let trail = evidence::trail(self.view, self.alliance, &conversion)?;
        Ok(evidence::credited(&trail, hand_out, self.alliance.charter().attribution.paying_model))
    }

    /// What this shop counted for the bounty.
    fn bounty_basis(&self, promotion: &Promotion, redeem: &RedeemCommand) -> Decided<Basis> {
        let (bounty, card) = (&promotion.bounty, redeem.card);
        let staff = evidence::is_staff(self.view, card)?;
        let known_customer = bounty.new_customers_only && self.knows(card, redeem.at)?;
        let basis = Basis { staff, known_customer, ..Basis::default() };
        if !bounty.is_counted() {
            return Ok(basis);
        }
        let period = bounty.period.number(redeem.at, self.alliance.charter().utc_offset_minutes);
        let tally: (u32, i64) =
            table::read(self.view, &table::bounty(promotion.id, period))?.unwrap_or_default();
        let by_card: i64 =
            table::read(self.view, &table::card_bounty(promotion.id, card))?.unwrap_or_default();
        let count = if matches!(bounty.scale, Scale::ByCount(_)) { tally.0.saturating_add(1) } else { 0 };
        let full = bounty.full(redeem.purchase.total, count).minor();
        let left = |most: Option<Money>, used: i64| most.map(|most| (most.minor() - used).max(0));
        let room = [left(bounty.per_period_max, tally.1), left(bounty.per_card_max, by_card)];
        let room_minor = room.into_iter().flatten().min().filter(|room| *room < full);
        Ok(Basis { count, room_minor, ..basis })
    }

    /// Whether this shop saw the card on an earlier day, or there is none to know.
    fn knows(&self, card: Option<CardId>, at: UnixMillis) -> Result<bool, ViewError> {
        let Some(card) = card else { return Ok(true) };
        let offset = self.alliance.charter().utc_offset_minutes;
        let first: Option<UnixMillis> = table::read(self.view, &table::first_seen(card))?;
        Ok(first.is_some_and(|first| first.day(offset) < at.day(offset)))
    }

    /// The shops that agreed to bear a share, each with the record by which it did.
    pub(super) fn co_funders(&self, promotion: &Promotion) -> Result<Vec<(ShopId, RecordId)>, ViewError> {
        let mut agreed = Vec::new();
        for share in promotion.funding.iter().filter(|share| share.shop != promotion.funder) {
            let consent: Option<RecordId> =
                table::read(self.view, &table::funding_consent(promotion.id, share.shop))?;
            agreed.extend(consent.map(|consent| (share.shop, consent)));
        }
        Ok(agreed)
    }
}

fn paid_touch(at: UnixMillis, shop: ShopId) -> proto::PaidTouch {
    proto::PaidTouch { shop_id: copy(shop.as_bytes()), touched_unix_ms: at.ms() }
}

fn co_funder(shop: ShopId, consent: RecordId) -> proto::CoFunder {
    proto::CoFunder { shop_id: copy(shop.as_bytes()), consent_id: copy(consent.as_bytes()) }
}

/// Where and when a voucher was used.
pub(super) fn already_redeemed(voucher: &Voucher) -> Refusal {
    let refusal = Refusal::new(Reason::VoucherAlreadyRedeemed);
    let by_right = |used: &&Use| used.standing == UseStanding::ByRight;
    let last = voucher.uses.iter().filter(by_right).max_by_key(|used| (used.at, used.id));
    match last.or_else(|| voucher.last_use()) {
        Some(used) => refusal
            .with("redeemed_unix_ms", used.at.ms())
            .with("redemption_id", used.id)
            .with("redeemer_id", used.redeemer),
        None => refusal,
    }
}

pub(super) fn card_bytes(card: Option<CardId>) -> Bytes {
    card.map_or_else(Bytes::new, |card| copy(card.as_bytes()))
}
