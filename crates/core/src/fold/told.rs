//! What this shop's own tills were told by records that do not count any more: a fork or a seal can take away, long after,
//! what a record was entitled by. The answer stays what it was, for as long as the record is in the log.

use bytes::Bytes;
use hutong_record::Money;

use super::*;
use crate::{
    answer::{self, Answer, RequestTag},
    refusal::{Reason, Refusal},
    report,
    right::{Act, Statement},
    voucher::{Priced, Token, Voucher},
};

/// A receipt that does not count, as its till knows it.
#[derive(Serialize, Deserialize)]
struct ToldReceipt {
    token: Token,
    priced: Priced,
    /// Whether it is among the told uses of its voucher.
    counted: bool,
}

/// The request, and the answer that it was given.
type Told = (RequestTag, Answer);

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    /// Keeps the answer that this shop's own record, which does not count, was to a till. A message that is no answer to
    /// one keeps nothing.
    pub(super) fn keep_told(&mut self) -> Result<(), ViewError> {
        match self.told() {
            Ok(Some((request, answer))) => answer::keep(self.view, &request, answer),
            Ok(None) | Err(Stop::Outcome(_)) => Ok(()),
            Err(Stop::View(error)) => Err(error),
        }
    }

    fn told(&mut self) -> Result<Option<Told>, Stop> {
        let id = self.id();
        let told = match self.record.header().kind {
            Kind::Promotion => {
                let message: proto::Promotion = self.decode()?;
                (message.request, Answer::Published { promotion: id })
            }
            Kind::Sale => {
                let message: proto::Sale = self.decode()?;
                (message.request, Answer::HandedOut { sale: Some(id), tokens: Vec::new() })
            }
            Kind::Touch => {
                let message: proto::Touch = self.decode()?;
                (message.request, Answer::Touched { touch: id })
            }
            Kind::QuotaMove => {
                let message: proto::QuotaMove = self.decode()?;
                (message.request, Answer::Moved { count: message.count })
            }
            Kind::Refusal => {
                let message: proto::Refusal = self.decode()?;
                let refusal = refusal_of(&message)?;
                (message.request, Answer::Refused(refusal))
            }
            Kind::FundingConsent => {
                let message: proto::FundingConsent = self.decode()?;
                (message.request, Answer::Consented { consent: id })
            }
            Kind::ReceiptResponse => {
                let message: proto::ReceiptResponse = self.decode()?;
                (message.request, Answer::Responded { record: id })
            }
            Kind::Payment => self.told_of_payment()?,
            _ => self.told_of_voucher()?,
        };
        let (request, answer) = told;
        Ok(RequestTag::parse(request.as_ref()).map(|request| (request, answer)))
    }

    fn told_of_payment(&self) -> Result<(Option<proto::Request>, Answer), Stop> {
        use proto::payment::Payment as P;
        let (payment, record) = (self.id(), self.id());
        match self.decode::<proto::Payment>()?.payment {
            Some(P::Notice(notice)) => Ok((notice.request, Answer::PaymentRecorded { payment })),
            Some(P::Answer(answer)) => Ok((answer.request, Answer::PaymentAnswered { record })),
            Some(P::CarryOver(carry)) => Ok((carry.request, Answer::PaymentRecorded { payment })),
            None => Err(ignore("no payment")),
        }
    }

    fn told_of_voucher(&mut self) -> Result<(Option<proto::Request>, Answer), Stop> {
        Ok(match self.record.header().kind {
            Kind::VoucherIssue => {
                let message: proto::VoucherIssue = self.decode()?;
                let tokens = alloc::vec![token(&message.token)?];
                (message.request, Answer::HandedOut { sale: None, tokens })
            }
            Kind::VoucherRevocation => {
                let message: proto::VoucherRevocation = self.decode()?;
                (message.request, Answer::Revoked { token: token(&message.token)? })
            }
            Kind::Reservation => {
                let message: proto::Reservation = self.decode()?;
                let until = UnixMillis::new(message.until_unix_ms).map_err(|_| ignore("no such time"))?;
                (message.request, Answer::Reserved { token: token(&message.token)?, until })
            }
            Kind::VoucherTransfer => {
                let message: proto::VoucherTransfer = self.decode()?;
                let first = message.vouchers.first().ok_or_else(|| ignore("no voucher"))?;
                let Some(Act::Pass { to, .. }) =
                    first.passes.last().and_then(Statement::parse).map(|s| s.act)
                else {
                    return Err(ignore("nothing was passed on"));
                };
                (message.request, Answer::Transferred { token: token(&first.token)?, to })
            }
            Kind::Redemption => {
                let message: proto::Redemption = self.decode()?;
                let answer = self.told_of_redemption(&message)?;
                (message.request, answer)
            }
            Kind::RedemptionVoid => {
                let message: proto::RedemptionVoid = self.decode()?;
                let answer = self.told_of_void(&message)?;
                (message.request, answer)
            }
            _ => return Err(ignore("no answer to a till")),
        })
    }

    fn told_of_redemption(&mut self, message: &proto::Redemption) -> Result<Answer, Stop> {
        let token = token(&message.token)?;
        let priced = self.priced(message)?;
        let statement = message.r#use.as_ref().and_then(Statement::parse);
        let at_risk = statement.is_some_and(|statement| statement.act == Act::Risk);
        let key = token.body().key;
        let uses_left = if at_risk { 0 } else { self.uses_left_untold(&token, message)? };
        if !at_risk {
            table::count(self.view, table::told_uses(&key))?;
        }
        let receipt = ToldReceipt { token: token.clone(), priced, counted: !at_risk };
        table::write(self.view, table::told_receipt(self.id()), &receipt);
        Ok(Answer::Redeemed {
            redemption: self.id(),
            token,
            at: UnixMillis::new(message.redeemed_unix_ms).map_err(|_| ignore("no such time"))?,
            discount: priced.discount,
            credited: ShopId::try_from(message.credited_id.as_ref()).map_err(|_| ignore("credited shop"))?,
            bounty: self.amount(message.bounty.as_ref())?,
            uses_left,
            at_risk,
        })
    }

    /// The uses that were left after a use that does not count: those that count, and those told before it, apart.
    fn uses_left_untold(&self, token: &Token, message: &proto::Redemption) -> Result<u32, Stop> {
        let key = token.body().key;
        let stored: Option<Voucher> = table::read(self.view, &table::voucher(&key))?;
        let passed = message.passes.last().and_then(Statement::parse).map(|statement| statement.act);
        let uses = match (stored.filter(|voucher| voucher.token == *token), passed) {
            (Some(voucher), _) => voucher.uses_left(),
            (None, Some(Act::Pass { uses, .. })) => uses,
            (None, _) => self.promotion_of(key.promotion)?.uses,
        };
        let told: u64 = table::read(self.view, &table::told_uses(&key))?.unwrap_or_default();
        Ok(uses.saturating_sub(u32::try_from(told).unwrap_or(u32::MAX).saturating_add(1)))
    }

    fn told_of_void(&mut self, message: &proto::RedemptionVoid) -> Result<Answer, Stop> {
        let id = RecordId::try_from(message.redemption_id.as_ref()).map_err(|_| ignore("redemption id"))?;
        let mut receipt = self.receipt_of_till(id)?.ok_or_else(|| ignore("no such redemption"))?;
        let key = receipt.token.body().key;
        let discount = match message.returned.as_ref() {
            None => {
                if receipt.counted {
                    table::add(self.view, table::told_uses(&key), -1)?;
                }
                self.view.remove(table::told_receipt(id));
                Money::zero(receipt.priced.discount.currency())
            }
            returned => {
                let promotion = self.promotion_of(key.promotion)?;
                let kept = receipt.priced.after_return(&promotion, self.amount(returned)?);
                receipt.priced = kept.ok_or_else(|| ignore("nothing stays"))?;
                table::write(self.view, table::told_receipt(id), &receipt);
                receipt.priced.discount
            }
        };
        Ok(Answer::Voided { token: receipt.token, discount })
    }

    /// A receipt of this shop's, as its till knows it, whether it counts or not.
    fn receipt_of_till(&self, id: RecordId) -> Result<Option<ToldReceipt>, Stop> {
        if let Some(told) = table::read(self.view, &table::told_receipt(id))? {
            return Ok(Some(told));
        }
        let Some(token) = report::redeemed(self.view, id)? else { return Ok(None) };
        let voucher: Option<Voucher> = table::read(self.view, &table::voucher(&token.body().key))?;
        let used = voucher.and_then(|voucher| voucher.use_of(id).cloned());
        Ok(used.map(|used| ToldReceipt { token, priced: used.priced(), counted: false }))
    }
}

/// The refusal that a record keeps.
pub(super) fn refusal_of(message: &proto::Refusal) -> Result<Refusal, Stop> {
    let reason = Reason::from_code(&message.reason).ok_or_else(|| ignore("unknown reason"))?;
    let facts = message.facts.iter().map(|fact| (fact.name.clone(), fact.value.clone())).collect();
    Ok(Refusal { reason, facts })
}

fn token(bytes: &Bytes) -> Result<Token, Stop> {
    Token::parse(bytes).map_err(|_| ignore("token is malformed"))
}
