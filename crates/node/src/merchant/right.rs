//! Who may redeem a voucher, and whether it can be: passed on, asked for, taken back, kept free.

use hutong_core::{
    answer::Answer,
    command::{Command, ReserveCommand, RevokeCommand, TransferCommand},
    refusal::{Reason, Refusal},
    voucher::Token,
};
use hutong_wire::{
    merchant::v1::{
        ReleaseReservationRequest, ReleaseReservationResponse, RequestVoucherRequest, RequestVoucherResponse,
        ReserveVoucherRequest, ReserveVoucherResponse, RevokeVoucherRequest, RevokeVoucherResponse,
        RightRequestState, TransferVoucherRequest, TransferVoucherResponse, Voucher, VoucherState,
    },
    trade,
};

use super::{MerchantPort, call::Call, sale::unexpected};
use crate::{
    alliance::{HomeAnswer, Hosted},
    clock,
};

/// How long a use is kept free when the caller names no time: a purchase takes minutes.
const RESERVATION_MS_DEFAULT: i64 = 15 * 60_000;

impl MerchantPort {
    pub(super) async fn transfer(
        &self,
        request: TransferVoucherRequest,
        call: &Call,
    ) -> Result<TransferVoucherResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let command = TransferCommand {
            request: trade::request_tag(&request.request_id, "TransferVoucher", &request)?,
            presented: trade::presented(&request.code),
            to: trade::shop("to_shop_id", &request.to_shop_id)?,
        };
        let presented = command.presented.clone();
        let transferred = hosted.ask(Command::Transfer(command));
        match self.unless_guessing(call, &hosted, presented.as_ref(), transferred).await? {
            Answer::Transferred { token, to } => {
                let voucher = Voucher { holder_id: to.to_string(), ..told(&hosted, &token).await? };
                Ok(TransferVoucherResponse { voucher: Some(voucher) })
            }
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn request_right(
        &self,
        request: RequestVoucherRequest,
        call: &Call,
    ) -> Result<RequestVoucherResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let to = trade::shop_or_none("to_shop_id", &request.to_shop_id)?.unwrap_or(hosted.me());
        let presented = trade::presented(&request.code);
        let asked = async {
            let presented = presented.clone().ok_or(Refusal::new(Reason::VoucherUnknown))?;
            hosted.ask_home(presented, to, self.patience(&hosted, call)).await
        };
        let state = match self.unless_guessing(call, &hosted, presented.as_ref(), asked).await? {
            HomeAnswer::Granted => RightRequestState::Granted,
            HomeAnswer::Waits => RightRequestState::Waiting,
            HomeAnswer::Denied { refusal, .. } => return Err(refusal),
        };
        Ok(RequestVoucherResponse { state: state.into() })
    }

    pub(super) async fn revoke(
        &self,
        request: RevokeVoucherRequest,
        call: &Call,
    ) -> Result<RevokeVoucherResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let command = RevokeCommand {
            request: trade::request_tag(&request.request_id, "RevokeVoucher", &request)?,
            presented: trade::presented(&request.code),
            at: trade::time_or("revoke_time", request.revoke_time.as_ref(), clock::now())?,
            reason: request.reason,
        };
        let presented = command.presented.clone();
        let revoked = hosted.ask(Command::Revoke(command));
        match self.unless_guessing(call, &hosted, presented.as_ref(), revoked).await? {
            Answer::Revoked { token } => {
                let state = VoucherState::Revoked.into();
                let voucher = Voucher { state, ..told(&hosted, &token).await? };
                Ok(RevokeVoucherResponse { voucher: Some(voucher) })
            }
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn reserve(
        &self,
        request: ReserveVoucherRequest,
        call: &Call,
    ) -> Result<ReserveVoucherResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let lifetime_ms = match request.lifetime.as_ref() {
            None => RESERVATION_MS_DEFAULT,
            Some(lifetime) => trade::duration_ms("lifetime", lifetime)?,
        };
        if lifetime_ms == 0 {
            return Err(Refusal::field("lifetime", "must be more than nothing"));
        }
        let command = ReserveCommand {
            request: trade::request_tag(&request.request_id, "ReserveVoucher", &request)?,
            presented: trade::presented(&request.code),
            at: trade::time_or("reserve_time", request.reserve_time.as_ref(), clock::now())?,
            key: request.key,
            lifetime_ms,
        };
        let (token, until) = self.keep_free(call, &hosted, command).await?;
        let reserved = Voucher {
            state: VoucherState::Reserved.into(),
            reserve_expire_time: Some(trade::timestamp(until)),
            holder_id: hosted.me().to_string(),
            ..told(&hosted, &token).await?
        };
        Ok(ReserveVoucherResponse { voucher: Some(reserved), expire_time: Some(trade::timestamp(until)) })
    }

    pub(super) async fn release(
        &self,
        request: ReleaseReservationRequest,
        call: &Call,
    ) -> Result<ReleaseReservationResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let command = ReserveCommand {
            request: trade::request_tag(&request.request_id, "ReleaseReservation", &request)?,
            presented: trade::presented(&request.code),
            at: trade::time_or("release_time", request.release_time.as_ref(), clock::now())?,
            key: request.key,
            lifetime_ms: 0,
        };
        let (token, _) = self.keep_free(call, &hosted, command).await?;
        let voucher = Voucher { holder_id: hosted.me().to_string(), ..told(&hosted, &token).await? };
        Ok(ReleaseReservationResponse { voucher: Some(voucher) })
    }

    async fn keep_free(
        &self,
        call: &Call,
        hosted: &Hosted,
        command: ReserveCommand,
    ) -> Result<(Token, hutong_record::UnixMillis), Refusal> {
        let presented = command.presented.clone();
        let reserved = hosted.ask(Command::Reserve(command));
        match self.unless_guessing(call, hosted, presented.as_ref(), reserved).await? {
            Answer::Reserved { token, until } => Ok((token, until)),
            other => Err(unexpected(&other)),
        }
    }
}

/// What a voucher's token says; how it stands, the answer adds.
async fn told(hosted: &Hosted, token: &Token) -> Result<Voucher, Refusal> {
    let promotion = hosted.promotion(token.body().key.promotion).await?;
    Ok(trade::token_message(token, &promotion))
}
