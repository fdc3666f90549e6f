//! Visits and sales in.

use hutong_core::{
    answer::Answer,
    command::{Command, SaleCommand},
    promotion::Promotion,
    refusal::Refusal,
    voucher::Token,
};
use hutong_wire::{
    merchant::v1::{ReportSaleRequest, ReportSaleResponse, Voucher, sale_service_server::SaleService},
    trade,
};
use tonic::{Request, Response, Status};

use super::{MerchantPort, respond};
use crate::{
    alliance::{Hosted, internal},
    clock,
};

#[tonic::async_trait]
impl SaleService for MerchantPort {
    async fn report_sale(
        &self,
        request: Request<ReportSaleRequest>,
    ) -> Result<Response<ReportSaleResponse>, Status> {
        respond(request, async |request| self.report_sale(request).await).await
    }
}

impl MerchantPort {
    async fn report_sale(&self, request: ReportSaleRequest) -> Result<ReportSaleResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let currency = hosted.alliance().charter().currency;
        let command = SaleCommand {
            request: trade::request_tag(&request.request_id, "ReportSale", &request)?,
            sold: trade::time_or("sale_time", request.sale_time.as_ref(), clock::now())?,
            card: trade::card("card_id", &request.card_id)?,
            amount: trade::money("amount", request.amount.as_ref(), currency)?,
            reference: request.reference,
        };
        match hosted.ask(Command::Sell(command)).await? {
            Answer::HandedOut { sale: Some(sale), tokens } => Ok(ReportSaleResponse {
                sale_id: sale.to_string(),
                vouchers: handed_out(&hosted, tokens).await?,
            }),
            other => Err(unexpected(&other)),
        }
    }
}

/// Vouchers just handed out, in the order of their promotions' ids.
pub(super) async fn handed_out(hosted: &Hosted, tokens: Vec<Token>) -> Result<Vec<Voucher>, Refusal> {
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    let currency = hosted.alliance().charter().currency;
    let describe = move |view: &_| {
        let mut vouchers = Vec::with_capacity(tokens.len());
        for token in &tokens {
            let promotion = Promotion::load(view, token.body().key.promotion, currency)?;
            vouchers.extend(promotion.map(|p| trade::handed_out_message(token, &p)));
        }
        Ok(vouchers)
    };
    hosted.query(describe).await
}

/// An answer of another kind than the command asks for: our own mistake.
pub(super) fn unexpected(answer: &Answer) -> Refusal {
    internal(&format!("unexpected answer: {answer:?}"))
}
