//! Redeeming, and taking redemptions back. Where the right to a voucher is elsewhere, its home is asked between two
//! decisions of the writer, which meanwhile serves other tills.

use std::{sync::Arc, time::Duration};

use hutong_core::{
    answer::Answer,
    command::{Command, Confirmation, RedeemCommand, VoidCommand},
    promotion::{Promotion, Purchase},
    refusal::{Reason, Refusal},
    voucher::Token,
};
use hutong_wire::{
    merchant::v1::{
        RedeemVoucherRequest, RedeemVoucherResponse, VoidRedemptionRequest, VoidRedemptionResponse, Voucher,
        VoucherState,
    },
    trade,
};

use super::{MerchantPort, call::Call, sale::unexpected};
use crate::{
    alliance::{HomeAnswer, Hosted},
    clock,
};

/// How long a voucher's home is waited for: longer than records take through two relays, shorter than a queue at a till
/// bears.
const HOME_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long where no link is up: one may be about to.
const CUT_OFF_WAIT_MAX: Duration = Duration::from_millis(500);

impl MerchantPort {
    pub(super) async fn redeem(
        &self,
        request: RedeemVoucherRequest,
        call: &Call,
    ) -> Result<RedeemVoucherResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let command = redeem_command(&hosted, &request)?;
        let presented = command.presented.clone();
        let redeemed = self.redeem_or_ask(&hosted, command, &request, call);
        match self.unless_guessing(call, &hosted, presented.as_ref(), redeemed).await? {
            Answer::Redeemed { redemption, token, at, discount, credited, bounty, uses_left, at_risk } => {
                let promotion = hosted.promotion(token.body().key.promotion).await?;
                let by_right = trade::redeemed_message(&token, &promotion, hosted.me(), at, uses_left);
                Ok(RedeemVoucherResponse {
                    redemption_id: redemption.to_string(),
                    voucher: Some(if at_risk { at_own_risk(by_right) } else { by_right }),
                    discount: Some(trade::money_message(discount)),
                    credited_id: credited.to_string(),
                    bounty: Some(trade::money_message(bounty)),
                    uses_left,
                    at_risk,
                })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Redeems; if the home has to be asked first, asks it and redeems by its answer.
    async fn redeem_or_ask(
        &self,
        hosted: &Arc<Hosted>,
        command: RedeemCommand,
        request: &RedeemVoucherRequest,
        call: &Call,
    ) -> Result<Answer, Refusal> {
        match hosted.ask(Command::Redeem(command.clone())).await {
            Err(refusal) if refusal.reason == Reason::ConfirmationNeeded => {}
            outcome => return outcome,
        }
        let confirmation = self.confirmation(hosted, &command, request, call).await?;
        hosted.ask(Command::Redeem(RedeemCommand { confirmation, ..command })).await
    }

    async fn confirmation(
        &self,
        hosted: &Arc<Hosted>,
        command: &RedeemCommand,
        request: &RedeemVoucherRequest,
        call: &Call,
    ) -> Result<Confirmation, Refusal> {
        let unknown = || Refusal::new(Reason::VoucherUnknown);
        let presented = command.presented.clone().ok_or_else(unknown)?;
        let answer = hosted.ask_home(presented, hosted.me(), self.patience(hosted, call)).await?;
        Ok(match answer {
            HomeAnswer::Granted => Confirmation::NotAsked,
            HomeAnswer::Denied { request, .. } => Confirmation::Answered(request),
            HomeAnswer::Waits => Confirmation::Unreachable {
                heard: self.node.last_heard(hosted).await?,
                at_risk: request.accept_at_risk,
            },
        })
    }

    /// How long a voucher's home is waited for.
    pub(super) fn patience(&self, hosted: &Hosted, call: &Call) -> Duration {
        let cut_off = self.node.is_cut_off(hosted.id());
        call.patience(if cut_off { CUT_OFF_WAIT_MAX } else { HOME_WAIT_MAX })
    }

    pub(super) async fn void(
        &self,
        request: VoidRedemptionRequest,
    ) -> Result<VoidRedemptionResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let currency = hosted.alliance().charter().currency;
        let returned = request.returned.as_ref();
        let command = VoidCommand {
            request: trade::request_tag(&request.request_id, "VoidRedemption", &request)?,
            redemption: trade::record_id("redemption_id", &request.redemption_id)?,
            at: trade::time_or("void_time", request.void_time.as_ref(), clock::now())?,
            returned: returned.map(|part| trade::money("returned", Some(part), currency)).transpose()?,
            reason: request.reason,
        };
        let part = command.returned.is_some();
        match hosted.ask(Command::Void(command)).await? {
            Answer::Voided { token, discount } => {
                let promotion = hosted.promotion(token.body().key.promotion).await?;
                let voucher = if part { kept(&token, &promotion) } else { given_back(&token, &promotion) };
                let discount = Some(trade::money_message(discount));
                Ok(VoidRedemptionResponse { voucher: Some(voucher), discount })
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn redeem_command(hosted: &Hosted, request: &RedeemVoucherRequest) -> Result<RedeemCommand, Refusal> {
    let currency = hosted.alliance().charter().currency;
    let purchase =
        trade::purchase(request.purchase.as_ref(), &request.lines, &request.purchase_id, currency)?;
    Ok(RedeemCommand {
        request: trade::request_tag(&request.request_id, "RedeemVoucher", request)?,
        presented: trade::presented(&request.code),
        purchase: Purchase { remote: request.remote, ..purchase },
        card: trade::card("card_id", &request.card_id)?,
        at: trade::time_or("redeem_time", request.redeem_time.as_ref(), clock::now())?,
        reference: request.reference.clone(),
        reservation: request.reservation_key.clone(),
        confirmation: Confirmation::NotAsked,
    })
}

/// Who holds the right to a voucher that was taken at risk, this shop does not know.
fn at_own_risk(voucher: Voucher) -> Voucher {
    Voucher { state: VoucherState::AtRisk.into(), holder_id: String::new(), ..voucher }
}

/// A voucher whose use was taken back.
fn given_back(token: &Token, promotion: &Promotion) -> Voucher {
    Voucher { state: VoucherState::Issued.into(), ..trade::token_message(token, promotion) }
}

/// A voucher of which the use stands although goods were returned. Of several uses some may be left.
fn kept(token: &Token, promotion: &Promotion) -> Voucher {
    let voucher = trade::token_message(token, promotion);
    match promotion.uses {
        1 => Voucher { state: VoucherState::Redeemed.into(), uses_left: Some(0), ..voucher },
        _ => voucher,
    }
}
