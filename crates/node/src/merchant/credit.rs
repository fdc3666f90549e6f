//! Credit lines: offered, accepted, withdrawn, listed.

use std::sync::Arc;

use hutong_core::{
    command::{Command, LineCommand, LineSide},
    refusal::Refusal,
    settlement::credit,
};
use hutong_record::ShopId;
use hutong_wire::{
    merchant::v1::{
        AcceptCreditLineRequest, AcceptCreditLineResponse, CreditLineSide, LineOfCredit,
        ListCreditLinesRequest, ListCreditLinesResponse, OfferCreditLineRequest, OfferCreditLineResponse,
        WithdrawCreditLineRequest, WithdrawCreditLineResponse,
    },
    trade,
};

use super::{MerchantPort, page_size, settlement::cut_page};
use crate::{alliance::Hosted, clock};

impl MerchantPort {
    pub(super) async fn offer_credit_line(
        &self,
        request: OfferCreditLineRequest,
    ) -> Result<OfferCreditLineResponse, Refusal> {
        let (hosted, sides) = self.between(&request.alliance_id, &request.ally_id)?;
        let limit = trade::money("limit", request.limit.as_ref(), sides.currency)?;
        let until = trade::optional_time("until_time", request.until_time.as_ref())?;
        let command = LineCommand::Offer { debtor: sides.ally, limit, until };
        hosted.execute(Command::CreditLine(command)).await?;
        Ok(OfferCreditLineResponse { line: Some(tell_line(&hosted, (sides.me, sides.ally)).await?) })
    }

    pub(super) async fn accept_credit_line(
        &self,
        request: AcceptCreditLineRequest,
    ) -> Result<AcceptCreditLineResponse, Refusal> {
        let (hosted, sides) = self.between(&request.alliance_id, &request.ally_id)?;
        let limit = match request.limit.as_ref() {
            None => None,
            limit => Some(trade::money("limit", limit, sides.currency)?),
        };
        let until = trade::optional_time("until_time", request.until_time.as_ref())?;
        let command = LineCommand::Accept { creditor: sides.ally, limit, until };
        hosted.execute(Command::CreditLine(command)).await?;
        Ok(AcceptCreditLineResponse { line: Some(tell_line(&hosted, (sides.ally, sides.me)).await?) })
    }

    pub(super) async fn withdraw_credit_line(
        &self,
        request: WithdrawCreditLineRequest,
    ) -> Result<WithdrawCreditLineResponse, Refusal> {
        let (hosted, sides) = self.between(&request.alliance_id, &request.ally_id)?;
        let side = match CreditLineSide::try_from(request.side) {
            Ok(CreditLineSide::Unspecified) => None,
            Ok(CreditLineSide::Creditor) => Some(LineSide::Creditor),
            Ok(CreditLineSide::Debtor) => Some(LineSide::Debtor),
            Err(_) => return Err(Refusal::field("side", "is no side that is known")),
        };
        let command = LineCommand::Withdraw { ally: sides.ally, side };
        hosted.execute(Command::CreditLine(command)).await?;
        Ok(WithdrawCreditLineResponse {})
    }

    pub(super) async fn list_credit_lines(
        &self,
        request: ListCreditLinesRequest,
    ) -> Result<ListCreditLinesResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let (me, currency) = (hosted.me(), hosted.alliance().charter().currency);
        let size = page_size(request.page_size)?;
        let after = line_place(&request.page_token)?;
        let of = request.own.then_some(me);
        let mut lines = hosted.query(move |view| credit::lines(view, of, after, size + 1)).await?;
        let place = |line: &credit::Line| format!("{}{}", line.creditor, line.debtor);
        let next_page_token = cut_page(&mut lines, size, place);
        let now = clock::now();
        let lines = lines.iter().map(|line| trade::credit_line_message(line, now, currency)).collect();
        Ok(ListCreditLinesResponse { lines, next_page_token })
    }
}

/// The line between a creditor and a debtor, on which this shop has just given its word.
async fn tell_line(
    hosted: &Arc<Hosted>,
    (creditor, debtor): (ShopId, ShopId),
) -> Result<LineOfCredit, Refusal> {
    let currency = hosted.alliance().charter().currency;
    let line = hosted.query(move |view| credit::line(view, creditor, debtor)).await?;
    Ok(trade::credit_line_message(&line, clock::now(), currency))
}

/// Creditor and debtor of the last line of a page.
fn line_place(token: &str) -> Result<Option<(ShopId, ShopId)>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let parts = token.split_at_checked(token.len() / 2);
    let (creditor, debtor) =
        parts.ok_or_else(|| Refusal::field("page_token", "is not one of this node's"))?;
    Ok(Some((trade::shop("page_token", creditor)?, trade::shop("page_token", debtor)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_after_a_creditor_and_a_debtor_or_is_refused() {
        let [creditor, debtor] = [1, 2].map(|n| ShopId::new([n; 32]));
        assert_eq!(line_place(""), Ok(None));
        assert_eq!(line_place(&format!("{creditor}{debtor}")), Ok(Some((creditor, debtor))));
        for bad in ["x", "00", "字", &"0".repeat(126), &"zz".repeat(64), &"00".repeat(66)] {
            assert_eq!(line_place(bad).unwrap_err().fact("field"), Some("page_token"), "{bad}");
        }
    }
}
