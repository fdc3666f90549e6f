//! Folding receipts: redemptions, settlements of what was accepted at risk, and what is taken back.

use super::{voucher::Genuine, *};
use crate::{
    answer::Answer,
    attribution::{PAID_TOUCHES_MAX, PaidShop, paying},
    charter::CLOCK_AHEAD_MS_MAX,
    duty::Duty,
    evidence::{Touch, TouchKind},
    pair::{Changes, Deed},
    promotion::{self, Basis, Mode},
    proof,
    report::{self, PurchaseEntry},
    right::{self, Act, Right, RightError, Statement},
    settlement::book::Matter,
    table::ReceiptEntry,
    voucher::{Priced, Use, UseStanding, Voucher},
};

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    pub(super) fn redemption(&mut self) -> Handled {
        let message: proto::Redemption = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let genuine = self.genuine(&message.token)?;
        if !genuine.promotion.is_redeemer(self.author()) && !hutong_record::planted!(RedeemForOthers) {
            return Err(ignore("not a redeemer"));
        }
        let right = self.follow(&genuine, &message.passes)?;
        let standing = self.check_statement(message.r#use.as_ref(), &genuine, &right)?;
        let used = self.check_receipt(&message, &genuine, &right, standing)?;
        self.check_receipt_parties(&genuine, &used)?;
        let mut voucher = self.voucher(&genuine)?;
        self.expose_twin(&voucher, &genuine)?;
        self.check_uses_left(&voucher, &genuine.promotion, &used, right.uses)?;
        if voucher.uses.is_empty() && voucher.token != genuine.token {
            // Of several under one number, the one that is used.
            let first = self.follow(&genuine, &[])?;
            self.take_over(&mut voucher, &genuine, first);
        }
        self.adopt(&mut voucher, &genuine, right, &message.passes)?;
        if voucher.used_here(&used) {
            voucher.used_at_step += 1;
        }
        voucher.reservations.retain(|r| r.key != message.reservation_key);
        voucher.uses.push(used.clone());
        let entry = ReceiptEntry { token: genuine.token.clone(), entered: self.log_time()? };
        table::write(self.view, table::redemption(self.id()), &entry);
        table::write(self.view, table::receipt(used.at, used.id), &genuine.token.body().key);
        self.note_use_elsewhere(&used);
        self.put_used(&voucher, &genuine)?;
        self.expose_risks(&voucher, &genuine.promotion)?;
        if genuine.promotion.mode == Mode::Leased && voucher.issue.is_none() {
            // Whoever redeems what it leased has handed it out before, in its own log: this was nobody's number to use.
            self.charge(self.author(), genuine.promotion.funder, genuine.promotion.worst_minor())?;
        }
        match standing {
            UseStanding::ByRight => self.book(&genuine, &used, 1, used.at)?,
            UseStanding::AtRisk | UseStanding::Lost => self.count_risk(&genuine.promotion, &used, 1)?,
        }
        if self.is_own() {
            self.count_use(&genuine.promotion, &used, 1)?;
        }
        let settles = voucher.right.holder == self.me() || hutong_record::planted!(SettleWithoutRight);
        if self.is_own() && standing == UseStanding::AtRisk && settles {
            self.put_duty(&Duty::SettleRisk(genuine.token.body().key)); // the right came first, as after a lost disk
        }
        let answer = Answer::Redeemed {
            redemption: self.id(),
            token: genuine.token,
            at: used.at,
            discount: used.discount,
            credited: used.credited,
            bounty: used.bounty,
            uses_left: if standing == UseStanding::ByRight { voucher.uses_left() } else { 0 },
            at_risk: standing == UseStanding::AtRisk,
        };
        self.answer(&request, answer)
    }

    /// Where the right is after some passes; what it hangs on may not have arrived.
    pub(super) fn follow(&self, genuine: &Genuine, passes: &[proto::SignedRight]) -> Result<Right, Stop> {
        let right = self.alliance.follow_right(&*self.view, &genuine.token, &genuine.promotion, passes);
        right.map_err(|error| match error {
            RightError::ShopUnknown(shop) => wait(*shop.as_bytes()),
            RightError::StillOpen(shop) => wait(Alliance::closing(shop)),
            RightError::KeyUnknown(shop) => self.await_key(shop),
            RightError::View(error) => Stop::View(error),
            RightError::Malformed | RightError::NotHolder => ignore("the right was not passed on so"),
        })
    }

    /// Keeps the longest chain of the voucher's passes, not of another one under its number; two that differ are evidence
    /// against whoever signed both.
    pub(super) fn adopt(
        &mut self,
        voucher: &mut Voucher,
        genuine: &Genuine,
        right: Right,
        passes: &[proto::SignedRight],
    ) -> Handled {
        let before = right::load_passes(&voucher.passes);
        if let Some(evidence) = crate::command::conflict(&before, passes) {
            self.put_proof(&evidence, &genuine.promotion)?;
        }
        if right.step > voucher.right.step && voucher.token == genuine.token {
            voucher.right = right;
            voucher.held_since = self.record.header().time;
            voucher.passes = right::store_passes(passes);
            voucher.used_at_step = 0;
            voucher.reservations.clear();
        }
        Ok(())
    }

    /// What the redeemer states: that it held the right, or that it took the risk.
    fn check_statement(
        &self,
        signed: Option<&proto::SignedRight>,
        genuine: &Genuine,
        right: &Right,
    ) -> Result<UseStanding, Stop> {
        let careless = match self.record.header().kind {
            Kind::RiskSettlement => hutong_record::planted!(SettleWithoutRight),
            _ => hutong_record::planted!(RedeemForOthers),
        };
        let holds = right.holder == self.author() || careless;
        let by_right =
            || if holds { Ok(UseStanding::ByRight) } else { Err(ignore("the right is not its own")) };
        if genuine.promotion.mode != Mode::Anywhere {
            return if signed.is_none() {
                by_right()
            } else {
                Err(ignore("a statement that nobody asked for"))
            };
        }
        let signed = signed.ok_or_else(|| ignore("no statement about the right"))?;
        let keys = |shop, epoch| self.alliance.statement_key(shop, epoch);
        let statement =
            Statement::verify(self.alliance.cryptography(), signed, keys).map_err(|error| match error {
                RightError::KeyUnknown(shop) => self.await_key(shop),
                _ => ignore("statement does not verify"),
            })?;
        let fits = statement.voucher == genuine.token.body().key
            && statement.shop == self.author()
            && statement.step == right.step;
        match statement.act {
            Act::Use(_) if fits => by_right(),
            Act::Risk if fits && !holds && genuine.promotion.risk.is_some() => Ok(UseStanding::AtRisk),
            _ => Err(ignore("the statement is about something else")),
        }
    }

    /// A use must be one that the author had left, by its own log.
    fn check_uses_left(
        &mut self,
        voucher: &Voucher,
        promotion: &Promotion,
        used: &Use,
        uses: u32,
    ) -> Handled {
        let own =
            |u: &&Use| u.redeemer == used.redeemer && u.step == used.step && u.standing == used.standing;
        let before = voucher.uses.iter().filter(own).count();
        let most = if used.standing == UseStanding::ByRight { uses } else { 1 };
        // What a shop passed on in its own log is not its own any more.
        let late = voucher.passed_by.iter().any(|(shop, step)| *shop == used.redeemer && *step == used.step);
        let late = late && used.standing == UseStanding::ByRight;
        if (before >= most as usize || late) && !hutong_record::planted!(LastUseWins) {
            self.summary(|s| s.double_redemptions += 1)?;
            return Err(ignore("the voucher was used before"));
        }
        let all = voucher.uses.iter().filter(|u| u.standing == UseStanding::ByRight).count();
        if used.standing == UseStanding::ByRight && all >= promotion.uses as usize {
            self.summary(|s| s.double_redemptions += 1)?; // by two rights to one voucher; both redeemers are honest
        }
        Ok(())
    }

    /// A receipt must say what the promotion's terms give.
    fn check_receipt(
        &self,
        message: &proto::Redemption,
        genuine: &Genuine,
        right: &Right,
        standing: UseStanding,
    ) -> Result<Use, Stop> {
        let (body, promotion) = (genuine.token.body(), &genuine.promotion);
        let at = self.entry_time(message.redeemed_unix_ms)?;
        // The clocks of two tills may differ by as much as a record may lie ahead.
        if at >= body.expires || body.issued.ms_since(at) > CLOCK_AHEAD_MS_MAX {
            return Err(ignore("redeemed out of time"));
        }
        if body.card.is_some_and(|card| card.as_bytes() != message.card_id.as_ref()) {
            return Err(ignore("another card"));
        }
        let Priced { purchase, eligible, discount } = self.priced(message)?;
        let bounty = self.amount(message.bounty.as_ref())?;
        let basis = Basis::parse(message.bounty_basis.as_ref(), purchase.currency());
        let basis = basis.map_err(|_| ignore("what the bounty is reckoned with"))?;
        let reckoned = promotion.bounty.reckon(purchase, &basis);
        let reckoned = reckoned.ok_or_else(|| ignore("counted what the terms do not ask for"))?;
        let credited = ShopId::try_from(message.credited_id.as_ref()).map_err(|_| ignore("credited shop"))?;
        let nobody = credited == self.author();
        let full = promotion.benefit.discount(eligible);
        let stacked = !message.purchase_id.is_empty() && discount.minor() < full.minor();
        let fits = eligible.minor() >= promotion.redeem_spend_min.minor()
            && eligible.minor() <= purchase.minor()
            && (discount == full || stacked)
            && bounty.minor() == if nobody { 0 } else { reckoned.minor() }
            && (!nobody || genuine.issuer == self.author())
            && (standing == UseStanding::ByRight
                || promotion.risk.is_some_and(|risk| discount.minor() <= risk.per_voucher_max.minor()));
        if !fits {
            return Err(ignore("receipt does not fit the terms"));
        }
        let touched = self.check_credit(message.touched_unix_ms, genuine, at, credited)?;
        let paid = self.check_paid(message, genuine, at, (touched, credited))?;
        let (co_funders, agreed) = self.check_co_funders(message, promotion)?;
        Ok(Use {
            id: self.id(),
            redeemer: self.author(),
            step: right.step,
            standing,
            at,
            purchase,
            eligible,
            discount,
            card: CardId::try_from(message.card_id.as_ref()).ok(),
            purchase_id: message.purchase_id.clone(),
            credited,
            bounty,
            paid,
            basis,
            touched,
            entered: self.record.header().time,
            bearers: promotion::bearers(promotion.funder, &promotion.funding, &agreed),
            co_funders,
            statement: message.r#use.as_ref().map_or_else(Vec::new, prost::Message::encode_to_vec),
        })
    }

    /// The purchase that a receipt is about, and what it takes off.
    pub(super) fn priced(&self, message: &proto::Redemption) -> Result<Priced, Stop> {
        let purchase = self.amount(message.purchase.as_ref())?;
        let eligible = match message.eligible.as_ref() {
            None => purchase,
            eligible => self.amount(eligible)?,
        };
        Ok(Priced { purchase, eligible, discount: self.amount(message.discount.as_ref())? })
    }

    /// Credit goes to a member, for the voucher's own hand-out or for a touch within the charter's window.
    fn check_credit(
        &self,
        touched_unix_ms: i64,
        genuine: &Genuine,
        at: UnixMillis,
        credited: ShopId,
    ) -> Result<UnixMillis, Stop> {
        if !self.alliance.was_admitted(credited) {
            return Err(wait(*credited.as_bytes()));
        }
        let touched = UnixMillis::new(touched_unix_ms).map_err(|_| ignore("no such time"))?;
        let age_ms = at.ms_since(touched);
        let window_ms = self.alliance.charter().attribution.paying_window_ms_max();
        let recent = (-CLOCK_AHEAD_MS_MAX..=window_ms).contains(&age_ms);
        let own = credited == genuine.issuer && touched == genuine.token.body().issued;
        if own || recent { Ok(touched) } else { Err(ignore("credited for a touch out of the window")) }
    }

    /// Who gets which part of the bounty, by the touches that the receipt lists; `last` is the credited one.
    fn check_paid(
        &self,
        message: &proto::Redemption,
        genuine: &Genuine,
        at: UnixMillis,
        last: (UnixMillis, ShopId),
    ) -> Result<Vec<PaidShop>, Stop> {
        let alone = || Ok(alloc::vec![PaidShop { shop: last.1, parts: 1 }]);
        let Some(model) = self.alliance.charter().attribution.paying_model.shared_by() else {
            return if message.paid_touches.is_empty() { alone() } else { Err(ignore("one shop is paid")) };
        };
        if message.paid_touches.is_empty() {
            let is_owed = message.bounty.as_ref().is_some_and(|bounty| bounty.minor != 0);
            return if is_owed { Err(ignore("nobody shares the bounty")) } else { alone() };
        }
        if message.paid_touches.len() > PAID_TOUCHES_MAX {
            return Err(ignore("too many touches are paid"));
        }
        let mut touches = Vec::with_capacity(message.paid_touches.len());
        for touch in &message.paid_touches {
            let shop = ShopId::try_from(touch.shop_id.as_ref()).map_err(|_| ignore("paid shop"))?;
            if shop == self.author() {
                return Err(ignore("the redeemer pays itself"));
            }
            touches.push((self.check_credit(touch.touched_unix_ms, genuine, at, shop)?, shop));
        }
        if !touches.is_sorted() || touches.last() != Some(&last) {
            return Err(ignore("paid touches are out of order"));
        }
        paying::paid_shops(&touches, at, model).ok_or_else(|| ignore("paid touches are no path"))
    }

    /// The co-funders that a receipt names, and those of them whose consent counts: the shares of the others are the
    /// funder's. Which consent it is the receipt says, so that it does not matter when that came.
    fn check_co_funders(
        &self,
        message: &proto::Redemption,
        promotion: &Promotion,
    ) -> Result<(Vec<ShopId>, Vec<ShopId>), Stop> {
        let (mut named, mut agreed) = (Vec::new(), Vec::new());
        let mut listed = promotion.funding.iter().map(|share| share.shop);
        for co_funder in &message.co_funders {
            let shop = ShopId::try_from(co_funder.shop_id.as_ref()).map_err(|_| ignore("co-funder"))?;
            let id = RecordId::try_from(co_funder.consent_id.as_ref()).map_err(|_| ignore("consent id"))?;
            // In the list's order, so each once.
            if shop == promotion.funder || !listed.any(|listed| listed == shop) {
                return Err(ignore("not a co-funder"));
            }
            named.push(shop);
            let consent: Option<RecordId> =
                table::read(self.view, &table::funding_consent(promotion.id, shop))?;
            if consent == Some(id) {
                agreed.push(shop);
            } else if !self.alliance.never_counts(self.view, id)? {
                return Err(wait(*id.as_bytes()));
            }
        }
        Ok((named, agreed))
    }

    pub(super) fn check_receipt_parties(&self, genuine: &Genuine, used: &Use) -> Handled {
        self.check_parties(used.parties(genuine.issuer, genuine.promotion.funder))
    }

    /// A card that was used at another shop: this shop, a party of the receipt, counts it as a touch.
    fn note_use_elsewhere(&mut self, used: &Use) {
        if let Some(touch) = self.use_elsewhere(used) {
            table::write(self.view, table::touch(&touch), &touch);
        }
    }

    fn forget_use_elsewhere(&mut self, used: &Use) -> Handled {
        let Some(touch) = self.use_elsewhere(used) else { return Ok(()) };
        let key = table::touch(&touch);
        let noted: Option<Touch> = table::read(self.view, &key)?;
        if noted.is_some_and(|noted| noted.id == used.id) {
            self.view.remove(key);
        }
        Ok(())
    }

    fn use_elsewhere(&self, used: &Use) -> Option<Touch> {
        let card = used.card.filter(|_| used.redeemer != self.me())?;
        Some(Touch {
            id: used.id,
            card,
            at: used.at,
            from: used.redeemer,
            to: self.me(),
            kind: TouchKind::Redemption,
            channel: alloc::string::String::new(),
            entered: used.entered,
        })
    }

    /// Keeps a voucher whose uses changed.
    fn put_used(&mut self, voucher: &Voucher, genuine: &Genuine) -> Handled {
        self.put_voucher(voucher);
        self.note_held(voucher, &genuine.promotion)
    }

    /// A use at risk beside another shop's use by right is a loss, and is shown to all.
    fn expose_risks(&mut self, voucher: &Voucher, promotion: &Promotion) -> Handled {
        let of = |standing| voucher.uses.iter().filter(move |u| u.standing == standing);
        // One that was given up for lost before the other use was heard of is shown all the same.
        for risk in of(UseStanding::AtRisk).chain(of(UseStanding::Lost)) {
            let Some(by_right) = of(UseStanding::ByRight).find(|u| u.redeemer != risk.redeemer) else {
                continue;
            };
            let load = |used: &Use| proto::SignedRight::decode(used.statement.as_slice()).ok();
            if let (Some(first), Some(second)) = (load(risk), load(by_right)) {
                self.put_proof(&proof::of_rights(first, second), promotion)?;
            }
        }
        Ok(())
    }

    pub(super) fn risk_settlement(&mut self) -> Handled {
        let message: proto::RiskSettlement = self.decode()?;
        let id = RecordId::try_from(message.redemption_id.as_ref()).map_err(|_| ignore("redemption id"))?;
        let (mut voucher, genuine) = self.voucher_of_receipt(id)?;
        let right = self.follow(&genuine, &message.passes)?;
        if self.check_statement(message.r#use.as_ref(), &genuine, &right)? != UseStanding::ByRight {
            return Err(ignore("settled without the right"));
        }
        let place = voucher.uses.iter().position(|u| u.id == id).ok_or_else(|| ignore("no such use"))?;
        let mut used = voucher.uses[place].clone();
        if used.redeemer != self.author() || used.standing == UseStanding::ByRight {
            return Err(ignore("not at the author's risk"));
        }
        self.check_receipt_parties(&genuine, &used)?;
        used.step = right.step;
        used.standing = UseStanding::ByRight;
        used.statement = message.r#use.as_ref().map_or_else(Vec::new, prost::Message::encode_to_vec);
        self.check_uses_left(&voucher, &genuine.promotion, &used, right.uses)?;
        self.adopt(&mut voucher, &genuine, right, &message.passes)?;
        self.count_risk(&genuine.promotion, &voucher.uses[place].clone(), -1)?;
        voucher.uses[place] = used.clone();
        if voucher.used_here(&used) {
            voucher.used_at_step += 1;
        }
        self.put_used(&voucher, &genuine)?;
        self.wait_no_more(&used, &genuine);
        self.expose_risks(&voucher, &genuine.promotion)?;
        self.book(&genuine, &used, 1, used.at)
    }

    /// The voucher that a receipt is about, as this shop knows it.
    pub(super) fn voucher_of_receipt(&self, receipt: RecordId) -> Result<(Voucher, Genuine), Stop> {
        // Of several under one number, the one that was shown.
        let token = report::redeemed(self.view, receipt)?.ok_or_else(|| ignore("no such redemption"))?;
        let genuine = self.genuine(token.bytes())?;
        Ok((self.voucher(&genuine)?, genuine))
    }

    pub(super) fn redemption_void(&mut self) -> Handled {
        let message: proto::RedemptionVoid = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let voided = self.entry_time(message.voided_unix_ms)?;
        let id = RecordId::try_from(message.redemption_id.as_ref()).map_err(|_| ignore("redemption id"))?;
        let (mut voucher, genuine) = self.voucher_of_receipt(id)?;
        let place =
            voucher.uses.iter().position(|u| u.id == id).ok_or_else(|| ignore("taken back before"))?;
        let used = voucher.uses[place].clone();
        if used.redeemer != self.author() {
            return Err(ignore("not the redeemer"));
        }
        self.check_receipt_parties(&genuine, &used)?;
        if self.view.get(&table::conceded(id))?.is_some() {
            return Err(ignore("conceded before"));
        }
        let discount = match message.returned.as_ref() {
            None => self.void_all(&mut voucher, &genuine, place, voided)?,
            returned => self.void_part(&mut voucher, &genuine, place, returned, voided)?,
        };
        self.answer(&request, Answer::Voided { token: voucher.token, discount })
    }

    fn void_all(
        &mut self,
        voucher: &mut Voucher,
        genuine: &Genuine,
        place: usize,
        voided: UnixMillis,
    ) -> Result<hutong_record::Money, Stop> {
        let used = voucher.uses.remove(place);
        self.view.remove(table::receipt(used.at, used.id));
        self.forget_use_elsewhere(&used)?;
        self.wait_no_more(&used, genuine);
        self.put_used(voucher, genuine)?;
        match used.standing {
            UseStanding::ByRight => self.book(genuine, &used, -1, voided)?,
            UseStanding::AtRisk | UseStanding::Lost => self.count_risk(&genuine.promotion, &used, -1)?,
        }
        if self.is_own() {
            self.count_use(&genuine.promotion, &used, -1)?;
        }
        Ok(hutong_record::Money::zero(used.discount.currency()))
    }

    /// The voucher stays used, and its discount is reckoned on what was kept.
    fn void_part(
        &mut self,
        voucher: &mut Voucher,
        genuine: &Genuine,
        place: usize,
        returned: Option<&proto::Money>,
        voided: UnixMillis,
    ) -> Result<hutong_record::Money, Stop> {
        let returned = self.amount(returned)?;
        let promotion = &genuine.promotion;
        let used = &mut voucher.uses[place];
        let rest = used.after_return(promotion, returned).ok_or_else(|| ignore("nothing stays"))?;
        let fits = used.standing == UseStanding::ByRight
            && returned.minor() > 0
            && rest.eligible.minor() >= promotion.redeem_spend_min.minor();
        if !fits {
            return Err(ignore("a part that cannot be taken back"));
        }
        let before = used.clone();
        (used.purchase, used.eligible, used.discount) = (rest.purchase, rest.eligible, rest.discount);
        used.bounty = rest.bounty;
        let (after, purchase_id) = (used.clone(), used.purchase_id.clone());
        self.put_used(voucher, genuine)?;
        let mut changes = Changes::taking_back(self.me());
        owe(&mut changes, &before, Some(&after));
        changes.apply(self.view, &self.source(voided, Some(after.id)))?;
        let less = before.discount.minor() - after.discount.minor();
        let less_bounty = before.bounty.minor() - after.bounty.minor();
        if self.is_own() {
            self.summary(|s| s.discounts_minor -= i128::from(less))?;
            self.spend(promotion.id, -(less + less_bounty))?;
            if promotion.bounty.is_counted() {
                self.count_bounty(promotion, &after, 0, -less_bounty)?;
            }
            self.note_purchase(
                &purchase_id,
                genuine.promotion.id,
                voucher.uses[place].id,
                Some(rest.discount.minor()),
            )?;
        }
        Ok(rest.discount)
    }

    /// Books a redemption (+1), or takes it back (-1).
    fn book(&mut self, genuine: &Genuine, used: &Use, sign: i8, at: UnixMillis) -> Handled {
        let me = self.me();
        let mut changes = if sign > 0 { Changes::new(me) } else { Changes::taking_back(me) };
        for paid in &used.paid {
            changes.deed(paid.shop, used.redeemer, Deed::CustomerSent);
        }
        owe(&mut changes, used, None);
        changes.apply(self.view, &self.source(at, Some(used.id)))?;
        let (own, handed_out) = (self.is_own(), genuine.issuer == me);
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

    /// Counts what this shop's conditions limit.
    fn count_use(&mut self, promotion: &Promotion, used: &Use, sign: i64) -> Handled {
        let (id, limits) = (promotion.id, &promotion.conditions);
        let day = Some(used.at.day(self.alliance.charter().utc_offset_minutes));
        if limits.per_shop_max > 0 {
            table::add(self.view, table::used(id, None, None), sign)?;
        }
        if limits.per_day_max > 0 {
            table::add(self.view, table::used(id, day, None), sign)?;
        }
        if let (true, Some(_)) = (limits.per_card_max > 0, used.card) {
            table::add(self.view, table::used(id, None, used.card), sign)?;
        }
        if let (true, Some(_)) = (limits.per_card_day_max > 0, used.card) {
            table::add(self.view, table::used(id, day, used.card), sign)?;
        }
        if limits.per_shop_budget.is_some() {
            self.spend(id, sign * (used.discount.minor() + used.bounty.minor()))?;
        }
        if promotion.bounty.is_counted() {
            self.count_bounty(promotion, used, i32::try_from(sign).unwrap_or(0), sign * used.bounty.minor())?;
        }
        if let (true, Some(card)) = (sign > 0, used.card) {
            self.see(card, used.at)?;
        }
        if let Some(card) = used.card {
            let key = table::visit(card, used.at, used.id);
            if sign > 0 { table::write(self.view, key, &true) } else { self.view.remove(key) }
        }
        let discount = (sign > 0).then_some(used.discount.minor());
        self.note_purchase(&used.purchase_id, id, used.id, discount)
    }

    /// Counts what the bounty terms' periods and caps are about.
    fn count_bounty(&mut self, promotion: &Promotion, used: &Use, count: i32, minor: i64) -> Handled {
        let offset = self.alliance.charter().utc_offset_minutes;
        let key = table::bounty(promotion.id, promotion.bounty.period.number(used.at, offset));
        let tally: (u32, i64) = table::read(self.view, &key)?.unwrap_or_default();
        let tally = (tally.0.saturating_add_signed(count), tally.1.saturating_add(minor).max(0));
        table::write(self.view, key, &tally);
        let key = table::card_bounty(promotion.id, used.card);
        let before: i64 = table::read(self.view, &key)?.unwrap_or_default();
        table::write(self.view, key, &before.saturating_add(minor).max(0));
        Ok(())
    }

    fn spend(&mut self, promotion: RecordId, minor: i64) -> Handled {
        let key = table::spent(promotion);
        let before: i64 = table::read(self.view, &key)?.unwrap_or_default();
        table::write(self.view, key, &before.saturating_add(minor));
        Ok(())
    }

    /// Notes what a voucher takes off a purchase that others go into, too; none: nothing any more.
    fn note_purchase(
        &mut self,
        id: &str,
        promotion: RecordId,
        redemption: RecordId,
        discount_minor: Option<i64>,
    ) -> Handled {
        if id.is_empty() {
            return Ok(());
        }
        let mut entries = report::purchase(self.view, id)?;
        entries.retain(|entry| entry.redemption != redemption);
        entries.extend(discount_minor.map(|discount_minor| PurchaseEntry {
            promotion,
            redemption,
            discount_minor,
        }));
        table::write(self.view, table::purchase(id), &entries);
        Ok(())
    }

    /// Counts what this shop has at risk (+1), or has no more (-1).
    fn count_risk(&mut self, promotion: &Promotion, used: &Use, sign: i64) -> Handled {
        if !self.is_own() || hutong_record::planted!(RiskUncounted) {
            return Ok(());
        }
        let minor = used.discount.minor();
        table::add(self.view, table::risk(promotion.id, None), sign * minor)?;
        if sign > 0 {
            // By the day on which it was entered: a till that reports late must not slip past the cap.
            let day = self.record.header().time.day(self.alliance.charter().utc_offset_minutes);
            table::add(self.view, table::risk(promotion.id, Some(day)), minor)?;
        }
        let lost = used.standing == UseStanding::Lost;
        self.summary(|s| {
            let sum = if lost { &mut s.risk_lost_minor } else { &mut s.risk_open_minor };
            *sum += i128::from(sign) * i128::from(minor);
        })
    }

    /// A use at risk was settled or taken back: where it is this shop's, it waits for the right no more.
    fn wait_no_more(&mut self, used: &Use, genuine: &Genuine) {
        if used.redeemer == self.me() {
            let key = genuine.token.body().key;
            self.view.remove(Duty::SettleRisk(key).key());
            self.view.remove(table::risk_waits(&key));
        }
    }

    /// This shop's use at risk turned out to be a second one: its own loss, which its caps keep counting.
    /// Unless the right is here all the same, as from a home that passed it on twice: then it is settled.
    pub(super) fn lose_risk(&mut self, voucher: &mut Voucher) -> Handled {
        let me = self.me();
        if voucher.right.holder == me && voucher.uses_left() > 0 {
            return Ok(());
        }
        let own = voucher.uses.iter_mut().find(|u| u.redeemer == me && u.standing == UseStanding::AtRisk);
        let Some(used) = own else { return Ok(()) };
        used.standing = UseStanding::Lost;
        let minor = i128::from(used.discount.minor());
        self.put_voucher(voucher);
        self.summary(|s| {
            s.risk_open_minor -= minor;
            s.risk_lost_minor += minor;
        })
    }
}

/// What a receipt books: what its bearers owe redeemer and credited shops, but for what they owe by `rest` all the same.
/// Taking it back or conceding it books the same the other way.
pub(super) fn owe(changes: &mut Changes, used: &Use, rest: Option<&Use>) {
    let debts = |used: &Use| {
        let fees = used.fees().into_iter().map(|(shop, fee)| (Matter::Bounty, fee, shop));
        let discount = (Matter::Reimbursement, used.discount, used.redeemer);
        core::iter::once(discount).chain(fees).collect::<Vec<_>>()
    };
    let rests = rest.map(debts);
    for (kind, (matter, whole, creditor)) in debts(used).into_iter().enumerate() {
        // What stays of a use has the same shops in the same order.
        let kept = rests.as_ref().and_then(|rests| rests.get(kind));
        let kept = kept.map_or_else(Vec::new, |(_, kept, _)| promotion::split(*kept, &used.bearers));
        for (place, (bearer, minor)) in promotion::split(whole, &used.bearers).into_iter().enumerate() {
            let less = kept.get(place).map_or(0, |(_, minor)| *minor);
            changes.debt_minor(matter, bearer, creditor, i128::from(minor) - i128::from(less));
        }
    }
}
