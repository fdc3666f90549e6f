//! Vouchers: handed out, looked up, redeemed, taken back.

use std::sync::Arc;

use hutong_core::{
    answer::Answer,
    command::{Command, Confirmation, IssueCommand, RedeemCommand, TouchCommand, VoidCommand},
    promotion::{Promotion, Purchase},
    refusal::{Reason, Refusal},
    report,
    voucher::{Presented, Voucher, VoucherKey},
};
use hutong_wire::{
    merchant::v1::{
        GetVoucherRequest, GetVoucherResponse, IssueVoucherRequest, IssueVoucherResponse,
        ListVouchersRequest, ListVouchersResponse, RecordTouchRequest, RecordTouchResponse,
        RedeemVoucherRequest, RedeemVoucherResponse, VoidRedemptionRequest, VoidRedemptionResponse,
        Voucher as VoucherMessage, VoucherState, voucher_service_server::VoucherService,
    },
    trade,
};
use tonic::{Request, Response, Status};

use super::{
    MerchantPort, page_size, respond,
    sale::{handed_out, unexpected},
};
use crate::{alliance::Hosted, clock};

#[tonic::async_trait]
impl VoucherService for MerchantPort {
    async fn issue_voucher(
        &self,
        request: Request<IssueVoucherRequest>,
    ) -> Result<Response<IssueVoucherResponse>, Status> {
        respond(request, async |request| self.issue(request).await).await
    }

    async fn redeem_voucher(
        &self,
        request: Request<RedeemVoucherRequest>,
    ) -> Result<Response<RedeemVoucherResponse>, Status> {
        respond(request, async |request| self.redeem(request).await).await
    }

    async fn void_redemption(
        &self,
        request: Request<VoidRedemptionRequest>,
    ) -> Result<Response<VoidRedemptionResponse>, Status> {
        respond(request, async |request| self.void(request).await).await
    }

    async fn get_voucher(
        &self,
        request: Request<GetVoucherRequest>,
    ) -> Result<Response<GetVoucherResponse>, Status> {
        respond(request, async |request| self.get(request).await).await
    }

    async fn list_vouchers(
        &self,
        request: Request<ListVouchersRequest>,
    ) -> Result<Response<ListVouchersResponse>, Status> {
        respond(request, async |request| self.list(request).await).await
    }

    async fn record_touch(
        &self,
        request: Request<RecordTouchRequest>,
    ) -> Result<Response<RecordTouchResponse>, Status> {
        respond(request, async |request| self.touch(request).await).await
    }
}

impl MerchantPort {
    async fn issue(&self, request: IssueVoucherRequest) -> Result<IssueVoucherResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let command = IssueCommand {
            request: trade::request_tag(&request.request_id, "IssueVoucher", &request)?,
            promotion: trade::record_id("promotion_id", &request.promotion_id)?,
            card: trade::card("card_id", &request.card_id)?,
            at: trade::time_or("issue_time", request.issue_time.as_ref(), clock::now())?,
            redeemer: None,
        };
        match hosted.ask(Command::Issue(command)).await? {
            Answer::HandedOut { tokens, .. } => {
                Ok(IssueVoucherResponse { voucher: handed_out(&hosted, tokens).await?.pop() })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn redeem(&self, request: RedeemVoucherRequest) -> Result<RedeemVoucherResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let currency = hosted.alliance().charter().currency;
        let command = RedeemCommand {
            request: trade::request_tag(&request.request_id, "RedeemVoucher", &request)?,
            presented: trade::presented(&request.code),
            purchase: Purchase::of(trade::money("purchase", request.purchase.as_ref(), currency)?),
            card: trade::card("card_id", &request.card_id)?,
            at: trade::time_or("redeem_time", request.redeem_time.as_ref(), clock::now())?,
            reference: request.reference,
            reservation: String::new(),
            confirmation: Confirmation::NotAsked,
        };
        match hosted.ask(Command::Redeem(command)).await? {
            Answer::Redeemed { redemption, token, at, discount, credited, bounty, .. } => {
                let promotion = hosted.promotion(token.body().key.promotion).await?;
                let voucher = VoucherMessage {
                    state: VoucherState::Redeemed.into(),
                    redeem_time: Some(trade::timestamp(at)),
                    ..trade::token_message(&token, &promotion, false)
                };
                Ok(RedeemVoucherResponse {
                    redemption_id: redemption.to_string(),
                    voucher: Some(voucher),
                    discount: Some(trade::money_message(discount)),
                    credited_id: credited.to_string(),
                    bounty: Some(trade::money_message(bounty)),
                })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn void(&self, request: VoidRedemptionRequest) -> Result<VoidRedemptionResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let command = VoidCommand {
            request: trade::request_tag(&request.request_id, "VoidRedemption", &request)?,
            redemption: trade::record_id("redemption_id", &request.redemption_id)?,
            at: clock::now(),
            reason: request.reason,
            returned: None,
        };
        match hosted.ask(Command::Void(command)).await? {
            Answer::Voided { token, .. } => {
                let promotion = hosted.promotion(token.body().key.promotion).await?;
                Ok(VoidRedemptionResponse { voucher: Some(trade::token_message(&token, &promotion, false)) })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn get(&self, request: GetVoucherRequest) -> Result<GetVoucherResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let unknown = || Refusal::new(Reason::VoucherUnknown);
        let presented = trade::presented(&request.code).ok_or_else(unknown)?;
        let voucher = find(&hosted, presented).await?.ok_or_else(unknown)?;
        let message = describe(&hosted, vec![voucher]).await?.pop();
        Ok(GetVoucherResponse { voucher: message })
    }

    async fn list(&self, request: ListVouchersRequest) -> Result<ListVouchersResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let size = page_size(request.page_size)?;
        let after: Option<VoucherKey> = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| Refusal::field("page_token", "is not one of ours"))?),
        };
        let mut found = hosted.query(move |view| report::vouchers(view, after.as_ref(), size + 1)).await?;
        let more = found.len() > size;
        found.truncate(size);
        let last = found.last().map(|voucher| voucher.token.body().key.to_string());
        let next_page_token = last.filter(|_| more).unwrap_or_default();
        Ok(ListVouchersResponse { vouchers: describe(&hosted, found).await?, next_page_token })
    }

    async fn touch(&self, request: RecordTouchRequest) -> Result<RecordTouchResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let card = trade::card("card_id", &request.card_id)?;
        let command = TouchCommand {
            request: trade::request_tag(&request.request_id, "RecordTouch", &request)?,
            kind: trade::touch_kind(request.kind()),
            to: trade::shop("to_shop_id", &request.to_shop_id)?,
            card: card.ok_or_else(|| Refusal::field("card_id", "is missing"))?,
            at: trade::time_or("touch_time", request.touch_time.as_ref(), clock::now())?,
            channel: request.channel,
        };
        match hosted.ask(Command::Touch(command)).await? {
            Answer::Touched { touch } => Ok(RecordTouchResponse { touch_id: touch.to_string() }),
            other => Err(unexpected(&other)),
        }
    }
}

/// The voucher behind a text, as this shop knows it. A token that is not the known one is no voucher.
async fn find(hosted: &Hosted, presented: Presented) -> Result<Option<Voucher>, Refusal> {
    let found = hosted.query(move |view| match &presented {
        Presented::Key(key) => report::voucher(view, key),
        Presented::Secret(secret) => report::voucher_of_code(view, secret),
        Presented::Token(token) => {
            Ok(report::voucher(view, &token.body().key)?.filter(|voucher| voucher.token == *token))
        }
    });
    found.await
}

async fn describe(hosted: &Arc<Hosted>, vouchers: Vec<Voucher>) -> Result<Vec<VoucherMessage>, Refusal> {
    let (me, now) = (hosted.me(), clock::now());
    let currency = hosted.alliance().charter().currency;
    let describe = move |view: &_| {
        let mut messages = Vec::with_capacity(vouchers.len());
        for voucher in &vouchers {
            let promotion = Promotion::load(view, voucher.token.body().key.promotion, currency)?;
            messages.extend(promotion.map(|p| trade::voucher_message(voucher, &p, me, now)));
        }
        Ok(messages)
    };
    hosted.query(describe).await
}
