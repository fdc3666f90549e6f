//! What shops owe each other: books, statements, payments, netting, limits.

use std::sync::Arc;

use hutong_core::{
    answer::Answer,
    command::{AnswerPaymentCommand, CarryOverCommand, Command, PayCommand, RespondCommand, SignCommand},
    refusal::{Reason, Refusal},
    settlement::{
        book,
        clearing::{self, Run},
        compare, exposure, payment,
        statement::{self, Case},
    },
    view::ViewError,
};
use hutong_record::{RecordId, ShopId, proto, proto::settlement_setting::Setting};
use hutong_store::views::SledViews;
use hutong_wire::{
    merchant::v1::{
        AcceptCreditLineRequest, AcceptCreditLineResponse, CarryOverRequest, CarryOverResponse,
        CompareStatementRequest, CompareStatementResponse, ConfirmPaymentRequest, ConfirmPaymentResponse,
        ConsentToNettingRequest, ConsentToNettingResponse, GetNettingRequest, GetNettingResponse,
        GetStatementRequest, GetStatementResponse, ListBookLinesRequest, ListBookLinesResponse,
        ListCreditLinesRequest, ListCreditLinesResponse, ListExposuresRequest, ListExposuresResponse,
        ListNettingsRequest, ListNettingsResponse, ListPaymentsRequest, ListPaymentsResponse,
        ListStatementsRequest, ListStatementsResponse, NettingRun, OfferCreditLineRequest,
        OfferCreditLineResponse, ProposeNettingRequest, ProposeNettingResponse, PublishBalanceRequest,
        PublishBalanceResponse, RecordPaymentRequest, RecordPaymentResponse, RespondToReceiptRequest,
        RespondToReceiptResponse, SetExposureRequest, SetExposureResponse, SetNettingRuleRequest,
        SetNettingRuleResponse, SignStatementRequest, SignStatementResponse, Statement,
        WithdrawCreditLineRequest, WithdrawCreditLineResponse, settlement_service_server::SettlementService,
    },
    trade::{self, Sides},
};
use tonic::{Request, Response, Status};

use super::{
    MerchantPort,
    calendar::{day_text, parse_day},
    page, page_size, respond,
    sale::unexpected,
};
use crate::{alliance::Hosted, clock};

macro_rules! calls {
    ($($call:ident($request:ty) -> $response:ty;)*) => {
        #[tonic::async_trait]
        impl SettlementService for MerchantPort {
            $(async fn $call(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                respond(request, async |request| Box::pin(self.$call(request)).await).await
            })*
        }
    };
}

calls! {
    list_book_lines(ListBookLinesRequest) -> ListBookLinesResponse;
    respond_to_receipt(RespondToReceiptRequest) -> RespondToReceiptResponse;
    get_statement(GetStatementRequest) -> GetStatementResponse;
    list_statements(ListStatementsRequest) -> ListStatementsResponse;
    sign_statement(SignStatementRequest) -> SignStatementResponse;
    compare_statement(CompareStatementRequest) -> CompareStatementResponse;
    record_payment(RecordPaymentRequest) -> RecordPaymentResponse;
    confirm_payment(ConfirmPaymentRequest) -> ConfirmPaymentResponse;
    carry_over(CarryOverRequest) -> CarryOverResponse;
    list_payments(ListPaymentsRequest) -> ListPaymentsResponse;
    publish_balance(PublishBalanceRequest) -> PublishBalanceResponse;
    propose_netting(ProposeNettingRequest) -> ProposeNettingResponse;
    consent_to_netting(ConsentToNettingRequest) -> ConsentToNettingResponse;
    get_netting(GetNettingRequest) -> GetNettingResponse;
    list_nettings(ListNettingsRequest) -> ListNettingsResponse;
    set_exposure(SetExposureRequest) -> SetExposureResponse;
    list_exposures(ListExposuresRequest) -> ListExposuresResponse;
    set_netting_rule(SetNettingRuleRequest) -> SetNettingRuleResponse;
    offer_credit_line(OfferCreditLineRequest) -> OfferCreditLineResponse;
    accept_credit_line(AcceptCreditLineRequest) -> AcceptCreditLineResponse;
    withdraw_credit_line(WithdrawCreditLineRequest) -> WithdrawCreditLineResponse;
    list_credit_lines(ListCreditLinesRequest) -> ListCreditLinesResponse;
}

impl MerchantPort {
    /// The alliance, and this shop and an ally in it.
    pub(super) fn between(&self, alliance_id: &str, ally_id: &str) -> Result<(Arc<Hosted>, Sides), Refusal> {
        let hosted = self.hosted(alliance_id)?;
        let ally = trade::shop("ally_id", ally_id)?;
        let alliance = hosted.alliance();
        let known = alliance.roster().shop(ally).is_some_and(|member| member.was_admitted());
        if ally == hosted.me() {
            return Err(Refusal::new(Reason::OwnShop));
        }
        if !known {
            return Err(Refusal::new(Reason::MemberUnknown).with("shop_id", ally));
        }
        let sides = Sides { me: hosted.me(), ally, currency: alliance.charter().currency };
        Ok((hosted, sides))
    }

    async fn list_book_lines(&self, request: ListBookLinesRequest) -> Result<ListBookLinesResponse, Refusal> {
        let (hosted, sides) = self.between(&request.alliance_id, &request.ally_id)?;
        let size = page_size(request.page_size)?;
        let period = (
            trade::optional_time("from_time", request.from_time.as_ref())?,
            trade::optional_time("until_time", request.until_time.as_ref())?,
        );
        let after = place(&request.page_token)?;
        let rules = hosted.alliance().charter().settlement;
        let mut lines = hosted
            .query(move |view| {
                book::lines(view, &rules, (sides.me, sides.ally), period, after.as_deref(), size + 1)
            })
            .await?;
        let next_page_token = cut_page(&mut lines, size, |line| hex(&line.place));
        let lines = lines.iter().map(|line| trade::line_message(line, sides.currency)).collect();
        Ok(ListBookLinesResponse { lines, next_page_token })
    }

    async fn respond_to_receipt(
        &self,
        request: RespondToReceiptRequest,
    ) -> Result<RespondToReceiptResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let evidence_id = match request.evidence_id.as_str() {
            "" => None,
            id => Some(trade::record_id("evidence_id", id)?),
        };
        let command = RespondCommand {
            request: trade::request_tag(&request.request_id, "RespondToReceipt", &request)?,
            receipt: trade::record_id("receipt_id", &request.receipt_id)?,
            answer: trade::receipt_answer(request.answer()),
            reason: trade::dispute_reason(request.reason()),
            text: request.text,
            evidence_id,
            evidence: request.evidence,
        };
        match hosted.ask(Command::Respond(command)).await? {
            Answer::Responded { record } => Ok(RespondToReceiptResponse { record_id: record.to_string() }),
            other => Err(unexpected(&other)),
        }
    }

    async fn get_statement(&self, request: GetStatementRequest) -> Result<GetStatementResponse, Refusal> {
        let (hosted, sides) = self.between(&request.alliance_id, &request.ally_id)?;
        let end = trade::optional_time("period_end_time", request.period_end_time.as_ref())?;
        let statement = Some(statement(&hosted, sides, request.number, end).await?);
        Ok(GetStatementResponse { statement })
    }

    async fn list_statements(
        &self,
        request: ListStatementsRequest,
    ) -> Result<ListStatementsResponse, Refusal> {
        let (hosted, sides) = self.between(&request.alliance_id, &request.ally_id)?;
        let cases = hosted.query(move |view| statement::cases(view, sides.me, sides.ally)).await?;
        let key = |case: &Case| format!("{:010}", case.number);
        let (cases, next_page_token) = page(cases, key, request.page_size, &request.page_token)?;
        let told = cases.iter().filter_map(|case| trade::statement_message(case, None, sides));
        Ok(ListStatementsResponse { statements: told.collect(), next_page_token })
    }

    async fn sign_statement(&self, request: SignStatementRequest) -> Result<SignStatementResponse, Refusal> {
        let (hosted, sides) = self.between(&request.alliance_id, &request.ally_id)?;
        let end = trade::optional_time("period_end_time", request.period_end_time.as_ref())?;
        let listed_day = match request.list_day.as_str() {
            "" => None,
            day => Some(parse_day(day)?),
        };
        let before = hosted.query(move |view| statement::cases(view, sides.me, sides.ally)).await?;
        let number = u32::try_from(before.len()).map_err(|e| crate::alliance::internal(&e))?;
        let command = SignCommand { ally: sides.ally, end, listed_day };
        hosted.execute(Command::SignStatement(command)).await?;
        let statement = Some(statement(&hosted, sides, number, None).await?);
        Ok(SignStatementResponse { statement })
    }

    async fn compare_statement(
        &self,
        request: CompareStatementRequest,
    ) -> Result<CompareStatementResponse, Refusal> {
        let (hosted, sides) = self.between(&request.alliance_id, &request.ally_id)?;
        let cases = hosted.query(move |view| statement::cases(view, sides.me, sides.ally)).await?;
        let case = compared(cases, request.number)?;
        if case.agreed.is_some() {
            return Ok(CompareStatementResponse { equal: true, ..Default::default() });
        }
        let found = compare::differences(&case).ok_or(Refusal::new(Reason::StatementNotAgreed))?;
        let days = found.days.iter().filter_map(|day| day_text(*day)).collect();
        Ok(trade::differences_message(&found, days, sides))
    }

    async fn record_payment(&self, request: RecordPaymentRequest) -> Result<RecordPaymentResponse, Refusal> {
        let (hosted, sides) = self.between(&request.alliance_id, &request.ally_id)?;
        let command = PayCommand {
            request: trade::request_tag(&request.request_id, "RecordPayment", &request)?,
            ally: sides.ally,
            amount: trade::money("amount", request.amount.as_ref(), sides.currency)?,
            paid: trade::time_or("payment_time", request.payment_time.as_ref(), clock::now())?,
            reference: request.reference,
        };
        match hosted.ask(Command::Pay(command)).await? {
            Answer::PaymentRecorded { payment } => {
                Ok(RecordPaymentResponse { payment_id: payment.to_string() })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn confirm_payment(
        &self,
        request: ConfirmPaymentRequest,
    ) -> Result<ConfirmPaymentResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let command = AnswerPaymentCommand {
            request: trade::request_tag(&request.request_id, "ConfirmPayment", &request)?,
            payment: trade::record_id("payment_id", &request.payment_id)?,
            received: !request.denied,
            reason: request.reason,
        };
        match hosted.ask(Command::AnswerPayment(command)).await? {
            Answer::PaymentAnswered { record } => {
                Ok(ConfirmPaymentResponse { record_id: record.to_string() })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn carry_over(&self, request: CarryOverRequest) -> Result<CarryOverResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let (me, currency) = (hosted.me(), hosted.alliance().charter().currency);
        let amount = request.amount.as_ref();
        let command = CarryOverCommand {
            request: trade::request_tag(&request.request_id, "CarryOver", &request)?,
            of: trade::shop("shop_id", &request.shop_id)?,
            amount: amount.map(|money| trade::money("amount", Some(money), currency)).transpose()?,
        };
        match hosted.ask(Command::CarryOver(command)).await? {
            Answer::PaymentRecorded { payment: id } => {
                let found = hosted.query(move |view| payment::find(view, me, id)).await?;
                let payment = found.map(|payment| trade::payment_message(&payment, currency));
                Ok(CarryOverResponse { payment })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn list_payments(&self, request: ListPaymentsRequest) -> Result<ListPaymentsResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let (me, currency) = (hosted.me(), hosted.alliance().charter().currency);
        let ally = trade::shop_or_none("ally_id", &request.ally_id)?;
        let size = page_size(request.page_size)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(trade::record_id("page_token", token)?),
        };
        let mut payments = hosted.query(move |view| payment::list(view, me, ally, after, size + 1)).await?;
        let next_page_token = cut_page(&mut payments, size, |payment| payment.id.to_string());
        let payments = payments.iter().map(|payment| trade::payment_message(payment, currency)).collect();
        Ok(ListPaymentsResponse { payments, next_page_token })
    }

    async fn publish_balance(
        &self,
        request: PublishBalanceRequest,
    ) -> Result<PublishBalanceResponse, Refusal> {
        let (hosted, sides) = self.between(&request.alliance_id, &request.ally_id)?;
        hosted.execute(Command::PublishBalance(sides.ally)).await?;
        let cases = hosted.query(move |view| statement::cases(view, sides.me, sides.ally)).await?;
        let agreed = cases.into_iter().rev().find_map(|case| case.agreed);
        let content = agreed.ok_or(Refusal::new(Reason::StatementNotAgreed))?.content;
        Ok(PublishBalanceResponse {
            balance: Some(sides.money(content.closing_minor)),
            period_end_time: Some(trade::timestamp(content.end)),
        })
    }

    async fn propose_netting(
        &self,
        request: ProposeNettingRequest,
    ) -> Result<ProposeNettingResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let period = trade::optional_time("period_end_time", request.period_end_time.as_ref())?;
        let records = hosted.execute(Command::ProposeNetting(period)).await?.records;
        // The same result was proposed before: by this shop or another one.
        let run = hosted
            .query(move |view| match (records.first(), period) {
                (Some(id), _) => clearing::find(view, *id),
                (None, Some(period)) => Ok(best(clearing::runs_of(view, period)?)),
                (None, None) => {
                    let latest = clearing::latest_period(view)?;
                    let runs = latest.map(|period| clearing::runs_of(view, period)).transpose()?;
                    Ok(runs.and_then(best))
                }
            })
            .await?;
        let run = run.ok_or(Refusal::new(Reason::NettingUnknown))?;
        Ok(ProposeNettingResponse { run: Some(tell_run(&hosted, run.id).await?) })
    }

    async fn consent_to_netting(
        &self,
        request: ConsentToNettingRequest,
    ) -> Result<ConsentToNettingResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let run = trade::record_id("run_id", &request.run_id)?;
        hosted.execute(Command::ConsentToNetting(run)).await?;
        Ok(ConsentToNettingResponse { run: Some(tell_run(&hosted, run).await?) })
    }

    async fn get_netting(&self, request: GetNettingRequest) -> Result<GetNettingResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let run = trade::record_id("run_id", &request.run_id)?;
        Ok(GetNettingResponse { run: Some(tell_run(&hosted, run).await?) })
    }

    async fn list_nettings(&self, request: ListNettingsRequest) -> Result<ListNettingsResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let currency = hosted.alliance().charter().currency;
        // A run can be 16 KiB: a page of them stays below gRPC's 4 MiB.
        let size = page_size(request.page_size)?.min(RUNS_PAGE_MAX);
        let after = place(&request.page_token)?;
        let read = move |view: &SledViews| {
            let runs = clearing::runs(view, after.as_deref(), size + 1)?;
            let with = |(place, run): (Vec<u8>, Run)| Ok((place, clearing::missing(view, &run)?, run));
            runs.into_iter().map(with).collect::<Result<Vec<_>, ViewError>>()
        };
        let mut runs = hosted.query(read).await?;
        let next_page_token = cut_page(&mut runs, size, |(place, _, _)| hex(place));
        let runs = runs.iter().map(|(_, missing, run)| trade::run_message(run, missing, currency)).collect();
        Ok(ListNettingsResponse { runs, next_page_token })
    }

    async fn set_exposure(&self, request: SetExposureRequest) -> Result<SetExposureResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let (me, currency) = (hosted.me(), hosted.alliance().charter().currency);
        let ally = trade::shop_or_none("ally_id", &request.ally_id)?;
        let minor = |field, money: Option<&_>| match money {
            None => Ok(None),
            money => {
                let money = trade::money(field, money, currency)?;
                if money.currency() != currency {
                    return Err(Refusal::new(Reason::CurrencyMismatch).with("currency", currency.code()));
                }
                Ok(Some(money.minor()))
            }
        };
        let limit = proto::ExposureLimit {
            ally_id: ally
                .map_or_else(Default::default, |ally| bytes::Bytes::copy_from_slice(ally.as_bytes())),
            warn_minor: minor("warn", request.warn.as_ref())?,
            stop_minor: minor("stop", request.stop.as_ref())?,
        };
        hosted.execute(Command::SetSettlement(Setting::ExposureLimit(limit))).await?;
        let (owed, limit) = hosted.query(move |view| standing(view, me, ally)).await?;
        let exposure = Some(trade::exposure_message(ally, owed, limit, currency));
        Ok(SetExposureResponse { exposure })
    }

    async fn list_exposures(&self, request: ListExposuresRequest) -> Result<ListExposuresResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let alliance = hosted.alliance();
        let (me, currency) = (hosted.me(), alliance.charter().currency);
        let allies = alliance.roster().iter().filter(|(shop, m)| *shop != me && m.was_admitted());
        let all: Vec<Option<ShopId>> = std::iter::once(None).chain(allies.map(|(s, _)| Some(s))).collect();
        let key = |ally: &Option<ShopId>| ally.map_or_else(|| "0".to_owned(), |ally| ally.to_string());
        let (shown, next_page_token) = page(all, key, request.page_size, &request.page_token)?;
        let read = move |view: &SledViews| {
            let with = |ally: Option<ShopId>| Ok((ally, standing(view, me, ally)?));
            shown.into_iter().map(with).collect::<Result<Vec<_>, ViewError>>()
        };
        let found = hosted.query(read).await?;
        let told = found
            .into_iter()
            .map(|(ally, (owed, limit))| trade::exposure_message(ally, owed, limit, currency));
        Ok(ListExposuresResponse { exposures: told.collect(), next_page_token })
    }

    async fn set_netting_rule(
        &self,
        request: SetNettingRuleRequest,
    ) -> Result<SetNettingRuleResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let rule = proto::NettingRule { consent_by_itself: request.consent_by_itself };
        hosted.execute(Command::SetSettlement(Setting::NettingRule(rule))).await?;
        Ok(SetNettingRuleResponse {})
    }
}

/// The run that gains the most; of several, one that draws the least. What was proposed before is the best there is.
fn best(runs: Vec<Run>) -> Option<Run> {
    runs.into_iter().max_by_key(|run| {
        let result = run.result();
        (result.cleared - result.drawn, -result.drawn)
    })
}

/// Runs on one page.
const RUNS_PAGE_MAX: usize = 50;

fn standing(
    view: &SledViews,
    me: ShopId,
    ally: Option<ShopId>,
) -> Result<(i128, exposure::Limit), ViewError> {
    match ally {
        Some(ally) => exposure::standing(view, me, ally).map(|(owed, limit, _)| (owed, limit)),
        None => Ok((0, exposure::limit(view, None)?)),
    }
}

fn pick(cases: Vec<Case>, number: u32) -> Result<Case, Refusal> {
    let wanted = |case: &Case| number == 0 || case.number == number;
    let unknown = || Refusal::field("number", "no such statement");
    cases.into_iter().rev().find(wanted).ok_or_else(unknown)
}

/// The statement to compare: where none is named and nobody has signed the next one, the last agreed.
fn compared(mut cases: Vec<Case>, number: u32) -> Result<Case, Refusal> {
    let is_begun = |case: &Case| !case.own.is_empty() || !case.theirs.is_empty();
    if number == 0 && cases.len() > 1 && !cases.last().is_some_and(is_begun) {
        cases.pop();
    }
    pick(cases, number)
}

/// How a statement stands; where nobody has signed it, what this shop would sign.
async fn statement(
    hosted: &Arc<Hosted>,
    sides: Sides,
    number: u32,
    end: Option<hutong_record::UnixMillis>,
) -> Result<Statement, Refusal> {
    let cases = hosted.query(move |view| statement::cases(view, sides.me, sides.ally)).await?;
    let case = pick(cases, number)?;
    if let Some(told) = trade::statement_message(&case, None, sides) {
        return Ok(told);
    }
    let sign = SignCommand { ally: sides.ally, end, listed_day: None };
    let draft = hosted.draft_statement(sign).await?;
    let nothing = || Refusal::field("number", "no such statement");
    trade::statement_message(&case, Some(&draft), sides).ok_or_else(nothing)
}

async fn tell_run(hosted: &Arc<Hosted>, id: RecordId) -> Result<NettingRun, Refusal> {
    let currency = hosted.alliance().charter().currency;
    let found = hosted
        .query(move |view| match clearing::find(view, id)? {
            Some(run) => Ok(Some((clearing::missing(view, &run)?, run))),
            None => Ok(None),
        })
        .await?;
    let (missing, run) = found.ok_or(Refusal::new(Reason::NettingUnknown))?;
    Ok(trade::run_message(&run, &missing, currency))
}

/// Takes the one that was read too many off, and names the place to go on from.
pub(super) fn cut_page<T>(items: &mut Vec<T>, size: usize, token: impl Fn(&T) -> String) -> String {
    if items.len() <= size {
        return String::new();
    }
    items.truncate(size);
    items.last().map(token).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn place(token: &str) -> Result<Option<Vec<u8>>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = |_| Refusal::field("page_token", "is not one of this node's");
    data_encoding::HEXLOWER.decode(token.as_bytes()).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_is_hex_or_refused() {
        assert_eq!(place("").unwrap(), None);
        assert_eq!(place("00ff").unwrap(), Some(vec![0, 255]));
        assert!(place("zz").is_err());
        let mut items = vec![1, 2, 3];
        assert_eq!(cut_page(&mut items, 2, i32::to_string), "2");
        assert_eq!(cut_page(&mut items, 2, i32::to_string), "");
    }
}
