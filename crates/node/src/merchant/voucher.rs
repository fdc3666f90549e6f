//! Vouchers: handed out, looked up, redeemed, taken back.

use std::sync::Arc;

use hutong_core::{
    answer::Answer,
    command::{Command, IssueCommand, TouchCommand},
    promotion::Promotion,
    refusal::{Reason, Refusal},
    report,
    voucher::{Presented, Voucher, VoucherKey},
};
use hutong_wire::{
    merchant::v1::{
        GetVoucherRequest, GetVoucherResponse, IssueVoucherRequest, IssueVoucherResponse,
        ListVouchersRequest, ListVouchersResponse, QualifyVouchersRequest, QualifyVouchersResponse,
        RecordTouchRequest, RecordTouchResponse, RedeemVoucherRequest, RedeemVoucherResponse,
        ReleaseReservationRequest, ReleaseReservationResponse, RequestVoucherRequest, RequestVoucherResponse,
        ReserveVoucherRequest, ReserveVoucherResponse, RevokeVoucherRequest, RevokeVoucherResponse,
        TransferVoucherRequest, TransferVoucherResponse, VoidRedemptionRequest, VoidRedemptionResponse,
        Voucher as VoucherMessage, voucher_service_server::VoucherService,
    },
    trade,
};
use tonic::{Request, Response, Status};

use super::{
    MerchantPort,
    call::Call,
    filter::{Filter, Value},
    mask::Mask,
    page_size, respond,
    sale::{handed_out, unexpected},
};
use crate::{alliance::Hosted, clock};

/// What a filter of vouchers can ask about.
const VOUCHER_FIELDS: [&str; 9] = [
    "state",
    "mode",
    "promotion_id",
    "distributor_id",
    "funder_id",
    "card_id",
    "issue_time",
    "expire_time",
    "redeem_time",
];
/// Vouchers looked through at once, and how often in one call, where a filter may let none through.
const FILTER_CHUNK: usize = 500;
const FILTER_ROUNDS_MAX: usize = 20;

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
        let call = Call::of(&request);
        respond(request, async |request| self.redeem(request, &call).await).await
    }

    async fn void_redemption(
        &self,
        request: Request<VoidRedemptionRequest>,
    ) -> Result<Response<VoidRedemptionResponse>, Status> {
        respond(request, async |request| self.void(request).await).await
    }

    async fn qualify_vouchers(
        &self,
        request: Request<QualifyVouchersRequest>,
    ) -> Result<Response<QualifyVouchersResponse>, Status> {
        let call = Call::of(&request);
        respond(request, async |request| self.qualify(request, &call).await).await
    }

    async fn transfer_voucher(
        &self,
        request: Request<TransferVoucherRequest>,
    ) -> Result<Response<TransferVoucherResponse>, Status> {
        let call = Call::of(&request);
        respond(request, async |request| self.transfer(request, &call).await).await
    }

    async fn request_voucher(
        &self,
        request: Request<RequestVoucherRequest>,
    ) -> Result<Response<RequestVoucherResponse>, Status> {
        let call = Call::of(&request);
        respond(request, async |request| self.request_right(request, &call).await).await
    }

    async fn revoke_voucher(
        &self,
        request: Request<RevokeVoucherRequest>,
    ) -> Result<Response<RevokeVoucherResponse>, Status> {
        let call = Call::of(&request);
        respond(request, async |request| self.revoke(request, &call).await).await
    }

    async fn reserve_voucher(
        &self,
        request: Request<ReserveVoucherRequest>,
    ) -> Result<Response<ReserveVoucherResponse>, Status> {
        let call = Call::of(&request);
        respond(request, async |request| self.reserve(request, &call).await).await
    }

    async fn release_reservation(
        &self,
        request: Request<ReleaseReservationRequest>,
    ) -> Result<Response<ReleaseReservationResponse>, Status> {
        let call = Call::of(&request);
        respond(request, async |request| self.release(request, &call).await).await
    }

    async fn get_voucher(
        &self,
        request: Request<GetVoucherRequest>,
    ) -> Result<Response<GetVoucherResponse>, Status> {
        let call = Call::of(&request);
        respond(request, async |request| self.get(request, &call).await).await
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
            redeemer: trade::shop_or_none("redeemer_id", &request.redeemer_id)?,
        };
        match hosted.ask(Command::Issue(command)).await? {
            Answer::HandedOut { tokens, .. } => {
                Ok(IssueVoucherResponse { voucher: handed_out(&hosted, tokens).await?.pop() })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn get(&self, request: GetVoucherRequest, call: &Call) -> Result<GetVoucherResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let mask = Mask::read(request.read_mask.as_ref(), "Voucher")?;
        let presented = trade::presented(&request.code);
        let found = find(&hosted, presented.clone());
        let voucher = self.unless_guessing(call, &hosted, presented.as_ref(), found).await?;
        let message = describe(&hosted, vec![voucher]).await?.pop();
        Ok(GetVoucherResponse { voucher: message.map(|message| mask.keep(message)).transpose()? })
    }

    async fn list(&self, request: ListVouchersRequest) -> Result<ListVouchersResponse, Refusal> {
        let mask = Mask::read(request.read_mask.as_ref(), "Voucher")?;
        let ListVouchersResponse { vouchers, next_page_token } = self.list_whole(request).await?;
        let vouchers = vouchers.into_iter().map(|voucher| mask.keep(voucher)).collect::<Result<_, _>>()?;
        Ok(ListVouchersResponse { vouchers, next_page_token })
    }

    async fn list_whole(&self, request: ListVouchersRequest) -> Result<ListVouchersResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let size = page_size(request.page_size)?;
        let filter = Filter::parse(&request.filter, &VOUCHER_FIELDS)?;
        let mut after: Option<VoucherKey> = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| Refusal::field("page_token", "is not one of ours"))?),
        };
        let (rounds, chunk) = if filter.is_empty() { (1, size) } else { (FILTER_ROUNDS_MAX, FILTER_CHUNK) };
        let mut vouchers: Vec<VoucherMessage> = Vec::new();
        for _ in 0..rounds {
            let mut found =
                hosted.query(move |view| report::vouchers(view, after.as_ref(), chunk + 1)).await?;
            let more = found.len() > chunk;
            found.truncate(chunk);
            after = found.last().map(|voucher| voucher.token.body().key).filter(|_| more);
            for voucher in describe(&hosted, found).await? {
                if let (true, Some(last)) = (vouchers.len() == size, vouchers.last()) {
                    let next_page_token = last.id.clone();
                    return Ok(ListVouchersResponse { vouchers, next_page_token });
                }
                if filter.holds(|field| voucher_value(&voucher, field)) {
                    vouchers.push(voucher);
                }
            }
            if after.is_none() || vouchers.len() == size {
                break;
            }
        }
        let next_page_token = after.map(|key| key.to_string()).unwrap_or_default();
        Ok(ListVouchersResponse { vouchers, next_page_token })
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

/// What a filter sees of a voucher.
fn voucher_value<'a>(voucher: &'a VoucherMessage, field: &str) -> Value<'a> {
    match field {
        "state" => Value::word(voucher.state().as_str_name(), "VOUCHER_STATE_"),
        "mode" => Value::word(voucher.mode().as_str_name(), "VOUCHER_MODE_"),
        "promotion_id" => Value::Text(&voucher.promotion_id),
        "distributor_id" => Value::Text(&voucher.distributor_id),
        "funder_id" => Value::Text(&voucher.funder_id),
        "card_id" => Value::Text(&voucher.card_id),
        "issue_time" => Value::time(voucher.issue_time.as_ref()),
        "expire_time" => Value::time(voucher.expire_time.as_ref()),
        _ => Value::time(voucher.redeem_time.as_ref()),
    }
}

/// The voucher behind a text, as this shop knows it. A token that is not the known one is no voucher.
async fn find(hosted: &Hosted, presented: Option<Presented>) -> Result<Voucher, Refusal> {
    let unknown = || Refusal::new(Reason::VoucherUnknown);
    let presented = presented.ok_or_else(unknown)?;
    let found = hosted.query(move |view| match &presented {
        Presented::Key(key) => report::voucher(view, key),
        Presented::Secret(secret) => report::voucher_of_code(view, secret),
        Presented::Token(token) => {
            Ok(report::voucher(view, &token.body().key)?.filter(|voucher| voucher.token == *token))
        }
    });
    found.await?.ok_or_else(unknown)
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
