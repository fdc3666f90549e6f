//! Folding a voucher's hand-out, its revocation, and uses that are kept free.

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    answer::Answer,
    duty::Duty,
    evidence::{Touch, TouchKind},
    pair::{Changes, Deed},
    promotion::Mode,
    proof,
    right::Right,
    stock::{self, Entitlement},
    voucher::{Reservation, Token, Voucher},
};

/// What this shop handed out of a promotion.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Issued {
    /// How many.
    pub(crate) count: u32,
}

/// A token that its issuer was entitled to sign.
pub(super) struct Genuine {
    pub(super) token: Token,
    pub(super) promotion: Promotion,
    pub(super) issuer: ShopId,
}

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    /// A token must be signed by its issuer, whose key is known once it is a member, and its number must be, or have
    /// been, the issuer's.
    pub(super) fn genuine(&self, bytes: &[u8]) -> Result<Genuine, Stop> {
        let token = Token::parse(bytes).map_err(|_| ignore("token is malformed"))?;
        let promotion = self.promotion_of(token.body().key.promotion)?;
        let issuer = issuer_of(&token, &promotion)?;
        let stored: Option<Voucher> = table::read(self.view, &table::voucher(&token.body().key))?;
        if stored.is_some_and(|voucher| voucher.token == token) {
            return Ok(Genuine { token, promotion, issuer }); // it was verified when it came
        }
        let key = self.key_of(issuer, token.body().key_epoch)?;
        match stock::entitlement(self.view, token.body())? {
            Entitlement::Entitled => {}
            Entitlement::NotEntitled => return Err(ignore("the number never was the issuer's")),
            Entitlement::Unknown(moved) => {
                return Err(self.await_record(moved, "the move that brought the number does not count"));
            }
        }
        if token.verify(self.alliance.cryptography(), &promotion, &key) {
            Ok(Genuine { token, promotion, issuer })
        } else {
            Err(ignore("token does not verify"))
        }
    }

    /// What is known of a genuine voucher, or its beginning.
    pub(super) fn voucher(&self, genuine: &Genuine) -> Result<Voucher, Stop> {
        let stored = table::read(self.view, &table::voucher(&genuine.token.body().key))?;
        if let Some(voucher) = stored {
            return Ok(voucher);
        }
        let right =
            Right::first(&genuine.token, &genuine.promotion).ok_or_else(|| ignore("no such redeemer"))?;
        Ok(Voucher::new(genuine.token.clone(), right))
    }

    pub(super) fn put_voucher(&mut self, voucher: &Voucher) {
        let body = voucher.token.body();
        table::write(self.view, table::voucher(&body.key), voucher);
        table::write(self.view, table::code(&body.secret), &body.key);
    }

    pub(super) fn put_duty(&mut self, duty: &Duty) {
        table::write(self.view, duty.key(), duty);
    }

    /// Notes evidence that is to be shown to all, unless it has been.
    pub(super) fn put_proof(&mut self, evidence: &proto::VoucherProof, promotion: &Promotion) -> Handled {
        let Ok(verdict) = self.alliance.judge_proof(evidence, promotion) else { return Ok(()) };
        if hutong_record::planted!(HideProofs) {
            return Ok(());
        }
        if self.view.get(&table::proof(verdict.liable, &verdict.subject))?.is_none() {
            self.put_duty(&Duty::PublishProof(evidence.encode_to_vec()));
        }
        Ok(())
    }

    pub(super) fn voucher_issue(&mut self) -> Handled {
        let message: proto::VoucherIssue = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let genuine = self.genuine(&message.token)?;
        let Genuine { token, promotion, issuer } = &genuine;
        if *issuer != self.author() {
            return Err(ignore("not the issuer"));
        }
        self.check_owned(token, promotion)?;
        self.check_round(token, promotion)?;
        let first = Right::first(token, promotion).ok_or_else(|| ignore("no such redeemer"))?;
        self.check_parties([*issuer, first.holder, promotion.funder])?;
        self.entry_time(token.body().issued.ms())?;
        let mut voucher = self.voucher(&genuine)?;
        self.expose_twin(&voucher, &genuine)?;
        if voucher.issue.is_some() {
            return Err(ignore("number was used before"));
        }
        // A receipt may have come first, over other bytes under this number. It must not matter which came first, so
        // the hand-out counts all the same, and the token that was used stays.
        if voucher.uses.is_empty() && voucher.token != *token {
            self.take_over(&mut voucher, &genuine, first);
        }
        voucher.issue = Some(self.id());
        self.put_voucher(&voucher);
        self.note_issue(&voucher, promotion, *issuer)?;
        self.let_go_of_round_before(token, promotion)?;
        let mut changes = Changes::new(self.me());
        if promotion.mode == Mode::Designated {
            changes.deed(*issuer, first.holder, Deed::VoucherGiven);
        }
        changes.apply(self.view, &self.source_now())?;
        let tokens = alloc::vec![genuine.token];
        self.answer(&request, Answer::HandedOut { sale: None, tokens })
    }

    /// A voucher whose number is handed out again does not go back, and its number is not free.
    fn let_go_of_round_before(&mut self, token: &Token, promotion: &Promotion) -> Handled {
        let before = self.round_before(token)?;
        before.map_or(Ok(()), |before| self.note_held(&before, promotion))
    }

    fn round_before(&self, token: &Token) -> Result<Option<Voucher>, ViewError> {
        match token.body().key.round_before() {
            Some(before) => table::read(self.view, &table::voucher(&before)),
            None => Ok(None),
        }
    }

    /// A leased number is handed out again when its last voucher was not used and cannot be any more: all of that is in
    /// its issuer's own log.
    fn check_round(&self, token: &Token, promotion: &Promotion) -> Handled {
        let body = token.body();
        if promotion.mode != Mode::Leased || body.key.round == 0 {
            return Ok(());
        }
        let before = self.round_before(token)?;
        let free = before.is_some_and(|before| {
            before.issue.is_some()
                && before.uses.is_empty()
                && (before.revoked.is_some() || before.token.body().expires <= body.issued)
        });
        if free { Ok(()) } else { Err(ignore("the number is not free")) }
    }

    /// At its hand-out a number is its issuer's, and was not moved on before.
    fn check_owned(&self, token: &Token, promotion: &Promotion) -> Handled {
        let body = token.body();
        let (distributor, number) = (body.key.distributor, body.key.number);
        let share = stock::share_with(self.view, promotion, distributor, number, number)?;
        let owned = share.is_some_and(|share| share.owner == body.issuer && share.by == body.key.moved_by);
        if owned || hutong_record::planted!(HandOutMoved) {
            return Ok(());
        }
        Err(ignore("the number was moved to another shop"))
    }

    /// Two vouchers under one number are evidence against their issuer, wherever the second one turns up.
    pub(super) fn expose_twin(&mut self, voucher: &Voucher, genuine: &Genuine) -> Handled {
        if voucher.token == genuine.token {
            return Ok(());
        }
        self.put_proof(&proof::of_tokens(&voucher.token, &genuine.token), &genuine.promotion)
    }

    /// What follows from a hand-out for this shop.
    fn note_issue(&mut self, voucher: &Voucher, promotion: &Promotion, issuer: ShopId) -> Handled {
        let body = voucher.token.body();
        if let Some(card) = body.card {
            table::write(self.view, table::card_voucher(card, &body.key), &body.key);
            if voucher.right.holder == self.me() && issuer != self.me() {
                let touch = Touch {
                    id: self.id(),
                    card,
                    at: body.issued,
                    from: issuer,
                    to: self.me(),
                    kind: TouchKind::HandOut,
                    channel: alloc::string::String::new(),
                    entered: self.record.header().time,
                };
                table::write(self.view, table::touch(&touch), &touch);
            }
        }
        if self.is_own() {
            self.count_issued(voucher)?;
        }
        self.note_held(voucher, promotion)
    }

    /// Where this shop holds the right of an unused voucher: from when on the number is free, or that it goes back.
    pub(super) fn note_held(&mut self, voucher: &Voucher, promotion: &Promotion) -> Handled {
        let body = voucher.token.body();
        let again = body.key.next_round().map(|next| self.view.get(&table::voucher(&next))).transpose()?;
        let latest = again.flatten().is_none();
        let is_held = voucher.right.holder == self.me() && !voucher.was_passed_on_by(self.me());
        let mine = is_held && voucher.uses.is_empty() && latest;
        // Of several under one number, the issuer of the one that is kept.
        let issuer = issuer_of(&voucher.token, promotion)?;
        if issuer == self.me() {
            let [freed, at_once] = self.freed(voucher, promotion);
            self.keep_if(mine && voucher.revoked.is_some(), at_once, &body.key);
            self.keep_if(mine && promotion.reuse_expired && voucher.revoked.is_none(), freed, &body.key);
        } else {
            let mine = mine && voucher.passes.len() < crate::right::PASSES_MAX;
            let (held, give_back) = goes_back(voucher);
            self.keep_if(mine && promotion.reuse_expired, held, &(body.key, issuer));
            self.keep_if(mine && voucher.revoked.is_some(), give_back.key(), &give_back);
        }
        Ok(())
    }

    /// Where it is kept that a voucher's number is free: from a time on, and at once.
    fn freed(&self, voucher: &Voucher, promotion: &Promotion) -> [Vec<u8>; 2] {
        let key = voucher.token.body().key;
        [self.settled_after(voucher, promotion), UnixMillis::EPOCH].map(|from| table::freed(&key, from))
    }

    /// Puts a voucher in the place of another one under the same number.
    pub(super) fn take_over(&mut self, voucher: &mut Voucher, by: &Genuine, right: Right) {
        let (held, give_back) = goes_back(voucher);
        for key in self.freed(voucher, &by.promotion).into_iter().chain([held, give_back.key()]) {
            self.view.remove(key);
        }
        voucher.take_over(by.token.clone(), right);
    }

    /// The moment from which nobody can enter a use of an expired voucher any more, at risk or late.
    fn settled_after(&self, voucher: &Voucher, promotion: &Promotion) -> UnixMillis {
        let late_ms = self.alliance.charter().late_entry_ms_max;
        let offline_ms = promotion.risk.map_or(0, |risk| risk.offline_ms_max);
        voucher.token.body().expires.saturating_add_ms(late_ms.saturating_add(offline_ms))
    }

    fn keep_if(&mut self, keep: bool, key: Vec<u8>, value: &impl Serialize) {
        if keep {
            table::write(self.view, key, value);
        } else {
            self.view.remove(key);
        }
    }

    fn count_issued(&mut self, voucher: &Voucher) -> Handled {
        let body = voucher.token.body();
        let promotion = body.key.promotion;
        let mut issued: Issued = table::read(self.view, &table::issued(promotion))?.unwrap_or_default();
        issued.count += 1;
        table::write(self.view, table::issued(promotion), &issued);
        let number = table::number(promotion, body.key.distributor, body.key.moved_by);
        let last: u32 = table::read(self.view, &number)?.unwrap_or_default();
        table::write(self.view, number, &last.max(body.key.number));
        let day = body.issued.day(self.alliance.charter().utc_offset_minutes);
        table::count(self.view, table::issued_day(promotion, day))?;
        if let Some(card) = body.card {
            table::count(self.view, table::issued_card(promotion, card))?;
        }
        self.summary(|s| s.vouchers_issued += 1)
    }

    pub(super) fn voucher_revocation(&mut self) -> Handled {
        let message: proto::VoucherRevocation = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let genuine = self.genuine(&message.token)?;
        let (issuer, funder) = (genuine.issuer, genuine.promotion.funder);
        if self.author() != issuer && self.author() != funder {
            return Err(ignore("neither issuer nor funder"));
        }
        self.check_parties_with_one_more([self.author(), issuer, funder])?;
        let at = self.entry_time(message.revoked_unix_ms)?;
        let mut voucher = self.voucher(&genuine)?;
        self.expose_twin(&voucher, &genuine)?;
        if voucher.token == genuine.token {
            voucher.revoked = Some(voucher.revoked.map_or(at, |before| before.min(at)));
            self.put_voucher(&voucher);
            self.note_held(&voucher, &genuine.promotion)?;
        }
        self.answer(&request, Answer::Revoked { token: genuine.token })
    }

    pub(super) fn reservation(&mut self) -> Handled {
        self.check_parties([self.author()])?;
        let message: proto::Reservation = self.decode()?;
        let request = self.request(message.request.as_ref())?;
        let genuine = self.genuine(&message.token)?;
        let at = self.entry_time(message.reserved_unix_ms)?;
        let until = UnixMillis::new(message.until_unix_ms).map_err(|_| ignore("no such time"))?;
        let mut voucher = self.voucher(&genuine)?;
        voucher.reservations.retain(|r| r.key != message.key && r.until > at);
        if until > at {
            voucher.reservations.push(Reservation { key: message.key, until });
        }
        self.put_voucher(&voucher);
        self.answer(&request, Answer::Reserved { token: genuine.token, until })
    }

    /// Parties that a record must have, and at most one more, whom its author alone knows.
    pub(super) fn check_parties_with_one_more<const N: usize>(&self, shops: [ShopId; N]) -> Handled {
        let named = self.record.header().audience.named();
        let more = named.iter().filter(|shop| !shops.contains(shop)).count();
        if more <= 1 && shops.iter().all(|shop| named.contains(shop)) {
            Ok(())
        } else {
            Err(ignore("wrong parties"))
        }
    }
}

/// The shop that a token names as its issuer.
fn issuer_of(token: &Token, promotion: &Promotion) -> Result<ShopId, Stop> {
    let distributor = promotion.distributor(token.body().issuer);
    distributor.map(|d| d.shop).ok_or_else(|| ignore("no such distributor"))
}

/// Where it is kept that a voucher goes back when it has expired, and the duty by which it goes back at once.
fn goes_back(voucher: &Voucher) -> (Vec<u8>, Duty) {
    let body = voucher.token.body();
    (table::held(&body.key, body.expires), Duty::GiveBack(alloc::vec![body.key]))
}
