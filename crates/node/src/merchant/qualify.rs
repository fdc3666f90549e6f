//! The dry run of a purchase.

use hutong_core::{
    command::{QUALIFY_MAX, Qualified, Qualify},
    promotion::Purchase,
    refusal::{Reason, Refusal},
    voucher::Presented,
};
use hutong_wire::{
    merchant::v1::{QualifyVouchersRequest, QualifyVouchersResponse},
    trade,
};

use super::{MerchantPort, call::Call, guess::is_guess};
use crate::clock;

impl MerchantPort {
    pub(super) async fn qualify(
        &self,
        request: QualifyVouchersRequest,
        call: &Call,
    ) -> Result<QualifyVouchersResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        if request.codes.len() > QUALIFY_MAX {
            return Err(Refusal::field("codes", format!("are more than {QUALIFY_MAX}")));
        }
        let texts: Vec<_> = request.codes.iter().map(|code| trade::presented(code)).collect();
        for text in &texts {
            self.check_guesses(call, &hosted, text.as_ref()).await?;
        }
        let currency = hosted.alliance().charter().currency;
        let purchase =
            trade::purchase(request.purchase.as_ref(), &request.lines, &request.purchase_id, currency)?;
        let question = Qualify {
            presented: texts.iter().flatten().cloned().collect(),
            card: trade::card("card_id", &request.card_id)?,
            purchase: Purchase { remote: request.remote, ..purchase },
            at: trade::time_or("qualify_time", request.qualify_time.as_ref(), clock::now())?,
        };
        let found = in_order(&texts, hosted.qualify(question).await?);
        for _ in texts.iter().zip(&found).filter(|(text, told)| is_unknown(told) && is_guess(text.as_ref())) {
            self.guesses.wrong(call);
        }
        let vouchers = found.iter().map(|told| trade::qualified_message(told, call.language)).collect();
        Ok(QualifyVouchersResponse { vouchers })
    }
}

/// Puts those that are no voucher's text back into their places.
fn in_order(texts: &[Option<Presented>], found: Vec<Qualified>) -> Vec<Qualified> {
    let unknown = || Qualified {
        voucher: None,
        title: String::new(),
        outcome: Err(Refusal::new(Reason::VoucherUnknown)),
    };
    let mut found = found.into_iter();
    let mut told: Vec<_> =
        texts.iter().map(|text| text.as_ref().and_then(|_| found.next()).unwrap_or_else(unknown)).collect();
    told.extend(found);
    told.truncate(QUALIFY_MAX);
    told
}

fn is_unknown(told: &Qualified) -> bool {
    told.outcome.as_ref().is_err_and(|refusal| refusal.reason == Reason::VoucherUnknown)
}

#[cfg(test)]
mod tests {
    use hutong_core::voucher::VoucherKey;
    use hutong_record::RecordId;

    use super::*;

    #[test]
    fn answers_stand_where_their_codes_stood() {
        let promotion = RecordId::new([1; 32]);
        let key = |number| VoucherKey { promotion, distributor: 0, number, round: 0, moved_by: None };
        let qualified = |number| Qualified {
            voucher: Some(key(number)),
            title: String::new(),
            outcome: Err(Refusal::new(Reason::VoucherExpired)),
        };
        let texts = [None, Some(Presented::Key(key(1))), None, Some(Presented::Key(key(2)))];
        let told = in_order(&texts, vec![qualified(1), qualified(2), qualified(3)]);
        let numbers: Vec<_> = told.iter().map(|told| told.voucher.map(|key| key.number)).collect();
        assert_eq!(numbers, [None, Some(1), None, Some(2), Some(3)]);
        assert!(is_unknown(&told[0]) && !is_unknown(&told[1]));
    }
}
