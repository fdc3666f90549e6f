//! Channels: posters, till receipts and group posts, their scans, and cards that earn nobody anything.

use hutong_core::{
    answer::Answer,
    channel::{self, ChannelLink},
    command::{ChannelCommand, Command, TouchCommand},
    refusal::{Reason, Refusal},
};
use hutong_record::proto::TouchKind;
use hutong_wire::{
    merchant::v1::{
        Channel, CreateChannelRequest, CreateChannelResponse, GetChannelRequest, GetChannelResponse,
        ListChannelsRequest, ListChannelsResponse, ReportScanRequest, ReportScanResponse,
        SetStaffCardRequest, SetStaffCardResponse, channel_service_server::ChannelService,
    },
    trade,
};
use tonic::{Request, Response, Status};

use super::{MerchantPort, page, respond, sale::unexpected};
use crate::{alliance::Hosted, clock};

#[tonic::async_trait]
impl ChannelService for MerchantPort {
    async fn create_channel(
        &self,
        request: Request<CreateChannelRequest>,
    ) -> Result<Response<CreateChannelResponse>, Status> {
        respond(request, async |request| self.create_channel(request).await).await
    }

    async fn list_channels(
        &self,
        request: Request<ListChannelsRequest>,
    ) -> Result<Response<ListChannelsResponse>, Status> {
        respond(request, async |request| self.channels(request).await).await
    }

    async fn get_channel(
        &self,
        request: Request<GetChannelRequest>,
    ) -> Result<Response<GetChannelResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            Ok(GetChannelResponse { channel: Some(find(&hosted, request.name).await?) })
        })
        .await
    }

    async fn report_scan(
        &self,
        request: Request<ReportScanRequest>,
    ) -> Result<Response<ReportScanResponse>, Status> {
        respond(request, async |request| self.report_scan(request).await).await
    }

    async fn set_staff_card(
        &self,
        request: Request<SetStaffCardRequest>,
    ) -> Result<Response<SetStaffCardResponse>, Status> {
        respond(request, async |request| self.set_staff_card(request).await).await
    }
}

impl MerchantPort {
    async fn create_channel(&self, request: CreateChannelRequest) -> Result<CreateChannelResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let promotion = match request.promotion_id.as_str() {
            "" => None,
            id => Some(trade::record_id("promotion_id", id)?),
        };
        let command = ChannelCommand {
            request: trade::request_tag(&request.request_id, "CreateChannel", &request)?,
            to: trade::shop_or_none("to_shop_id", &request.to_shop_id)?,
            promotion,
            name: request.name,
        };
        match hosted.ask(Command::CreateChannel(command)).await? {
            Answer::ChannelNoted { name } => {
                Ok(CreateChannelResponse { channel: Some(find(&hosted, name).await?) })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn channels(&self, request: ListChannelsRequest) -> Result<ListChannelsResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let me = hosted.me();
        let all = hosted.query(channel::all).await?;
        let name = |channel: &channel::Channel| channel.name.clone();
        let (shown, next_page_token) = page(all, name, request.page_size, &request.page_token)?;
        let channels = shown.iter().map(|channel| trade::channel_message(channel, me)).collect();
        Ok(ListChannelsResponse { channels, next_page_token })
    }

    async fn report_scan(&self, request: ReportScanRequest) -> Result<ReportScanResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let link = ChannelLink::parse(&request.link)?;
        if link.shop != hosted.me() {
            return Err(Refusal::new(Reason::ChannelOfOther).with("shop_id", link.shop));
        }
        let channel = find(&hosted, link.name.clone()).await?;
        if channel.to_shop_id != link.to.to_string() {
            return Err(Refusal::new(Reason::ChannelUnknown));
        }
        let card = trade::card("card_id", &request.card_id)?;
        let command = TouchCommand {
            request: trade::request_tag(&request.request_id, "ReportScan", &request)?,
            kind: TouchKind::Scan,
            to: link.to,
            card: card.ok_or_else(|| Refusal::field("card_id", "is missing"))?,
            at: trade::time_or("scan_time", request.scan_time.as_ref(), clock::now())?,
            channel: link.name.clone(),
        };
        match hosted.ask(Command::Touch(command)).await? {
            Answer::Touched { touch } => Ok(ReportScanResponse {
                touch_id: touch.to_string(),
                to_shop_id: channel.to_shop_id,
                channel: link.name,
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn set_staff_card(&self, request: SetStaffCardRequest) -> Result<SetStaffCardResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let card = trade::card("card_id", &request.card_id)?;
        let command = Command::SetStaffCard {
            request: trade::request_tag(&request.request_id, "SetStaffCard", &request)?,
            card: card.ok_or_else(|| Refusal::field("card_id", "is missing"))?,
            removed: request.removed,
        };
        match hosted.ask(command).await? {
            Answer::Noted => Ok(SetStaffCardResponse {}),
            other => Err(unexpected(&other)),
        }
    }
}

async fn find(hosted: &Hosted, name: String) -> Result<Channel, Refusal> {
    let found = hosted.query(move |view| channel::load(view, &name)).await?;
    let found = found.ok_or(Refusal::new(Reason::ChannelUnknown))?;
    Ok(trade::channel_message(&found, hosted.me()))
}
