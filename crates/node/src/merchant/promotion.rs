//! Promotions: published, shown, ended.

use hutong_core::{
    answer::Answer,
    command::{Command, MoveQuotaCommand},
    promotion::{self, Promotion},
    refusal::Refusal,
    report,
    stock::{self, Share},
    view::ViewError,
};
use hutong_record::{Currency, RecordId, ShopId, UnixMillis};
use hutong_store::views::SledViews;
use hutong_wire::{
    merchant::v1::{
        ConsentToFundingRequest, ConsentToFundingResponse, CreatePromotionRequest, CreatePromotionResponse,
        Distributor, EndPromotionRequest, EndPromotionResponse, GetPromotionRequest, GetPromotionResponse,
        ListPromotionsRequest, ListPromotionsResponse, ListSharesRequest, ListSharesResponse,
        MoveQuotaRequest, MoveQuotaResponse, Promotion as PromotionMessage,
        promotion_service_server::PromotionService,
    },
    trade,
};
use tonic::{Request, Response, Status};

use super::{
    MerchantPort, activity,
    filter::{Filter, Value},
    mask::Mask,
    page, respond,
    sale::unexpected,
};
use crate::alliance::Hosted;

/// What a filter of promotions can ask about.
const PROMOTION_FIELDS: [&str; 7] =
    ["title", "funder_id", "redeemer_id", "mode", "start_time", "end_time", "ended_time"];

#[tonic::async_trait]
impl PromotionService for MerchantPort {
    async fn create_promotion(
        &self,
        request: Request<CreatePromotionRequest>,
    ) -> Result<Response<CreatePromotionResponse>, Status> {
        respond(request, async |request| self.create_promotion(request).await).await
    }

    async fn get_promotion(
        &self,
        request: Request<GetPromotionRequest>,
    ) -> Result<Response<GetPromotionResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let mask = Mask::read(request.read_mask.as_ref(), "Promotion")?;
            let id = trade::record_id("promotion_id", &request.promotion_id)?;
            Ok(GetPromotionResponse { promotion: Some(mask.keep(show(&hosted, id).await?)?) })
        })
        .await
    }

    async fn list_promotions(
        &self,
        request: Request<ListPromotionsRequest>,
    ) -> Result<Response<ListPromotionsResponse>, Status> {
        respond(request, async |request| self.list_promotions(request).await).await
    }

    async fn end_promotion(
        &self,
        request: Request<EndPromotionRequest>,
    ) -> Result<Response<EndPromotionResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let id = trade::record_id("promotion_id", &request.promotion_id)?;
            hosted.execute(Command::EndPromotion { promotion: id }).await?;
            Ok(EndPromotionResponse { promotion: Some(show(&hosted, id).await?) })
        })
        .await
    }

    async fn move_quota(
        &self,
        request: Request<MoveQuotaRequest>,
    ) -> Result<Response<MoveQuotaResponse>, Status> {
        respond(request, async |request| self.move_quota(request).await).await
    }

    async fn list_shares(
        &self,
        request: Request<ListSharesRequest>,
    ) -> Result<Response<ListSharesResponse>, Status> {
        respond(request, async |request| self.shares(request).await).await
    }

    async fn consent_to_funding(
        &self,
        request: Request<ConsentToFundingRequest>,
    ) -> Result<Response<ConsentToFundingResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let tag = trade::request_tag(&request.request_id, "ConsentToFunding", &request)?;
            let promotion = trade::record_id("promotion_id", &request.promotion_id)?;
            match hosted.ask(Command::ConsentFunding { request: tag, promotion }).await? {
                Answer::Consented { consent } => {
                    Ok(ConsentToFundingResponse { consent_id: consent.to_string() })
                }
                other => Err(unexpected(&other)),
            }
        })
        .await
    }
}

impl MerchantPort {
    async fn create_promotion(
        &self,
        request: CreatePromotionRequest,
    ) -> Result<CreatePromotionResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let currency = hosted.alliance().charter().currency;
        let terms = request.promotion.as_ref().ok_or_else(|| Refusal::field("promotion", "is missing"))?;
        let terms = trade::promotion(terms, currency)?;
        if request.validate_only {
            let checked = Promotion::check(&terms, RecordId::new([0; 32]), hosted.me(), currency)?;
            let promotion = PromotionMessage { id: String::new(), ..as_published(&checked) };
            return Ok(CreatePromotionResponse { promotion: Some(promotion) });
        }
        let tag = trade::request_tag(&request.request_id, "CreatePromotion", &request)?;
        match hosted.ask(Command::Publish { request: tag, promotion: Box::new(terms) }).await? {
            // Not as it stands by now: a repeat gets the first answer.
            Answer::Published { promotion } => {
                let published = as_published(&hosted.promotion(promotion).await?);
                Ok(CreatePromotionResponse { promotion: Some(published) })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn list_promotions(
        &self,
        request: ListPromotionsRequest,
    ) -> Result<ListPromotionsResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let currency = hosted.alliance().charter().currency;
        let mask = Mask::read(request.read_mask.as_ref(), "Promotion")?;
        let filter = Filter::parse(&request.filter, &PROMOTION_FIELDS)?;
        let all = hosted.query(move |view| all_that_hold(view, &filter, currency)).await?;
        let (shown, next_page_token) =
            page(all, |p| p.id.to_string(), request.page_size, &request.page_token)?;
        let mut promotions = Vec::with_capacity(shown.len());
        for promotion in shown {
            promotions.push(mask.keep(describe(&hosted, promotion).await?)?);
        }
        Ok(ListPromotionsResponse { promotions, next_page_token })
    }

    async fn move_quota(&self, request: MoveQuotaRequest) -> Result<MoveQuotaResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let command = MoveQuotaCommand {
            request: trade::request_tag(&request.request_id, "MoveQuota", &request)?,
            promotion: trade::record_id("promotion_id", &request.promotion_id)?,
            to: trade::shop("to_shop_id", &request.to_shop_id)?,
            count: request.count,
            reclaimed_from: trade::shop_or_none("reclaimed_from_shop_id", &request.reclaimed_from_shop_id)?,
        };
        match hosted.ask(Command::MoveQuota(command)).await? {
            Answer::Moved { count } => Ok(MoveQuotaResponse { moved_count: count }),
            other => Err(unexpected(&other)),
        }
    }

    async fn shares(&self, request: ListSharesRequest) -> Result<ListSharesResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let promotion = hosted.promotion(trade::record_id("promotion_id", &request.promotion_id)?).await?;
        let of = promotion.clone();
        let all = hosted.query(move |view| all_shares(view, &of)).await?;
        // Fixed widths, so that the order of texts is that of numbers.
        let key = |share: &Share| format!("{:03}-{:010}", share.distributor, share.first);
        let (shown, next_page_token) = page(all, key, request.page_size, &request.page_token)?;
        let shares = shown.iter().map(|share| trade::share_message(share, &promotion)).collect();
        Ok(ListSharesResponse { shares, next_page_token })
    }
}

/// The promotions that a filter holds for.
fn all_that_hold(view: &SledViews, filter: &Filter, currency: Currency) -> Result<Vec<Promotion>, ViewError> {
    let mut all = Promotion::load_all(view, currency)?;
    if filter.is_empty() {
        return Ok(all);
    }
    let mut holds = Vec::with_capacity(all.len());
    for promotion in &all {
        let ended_time = promotion::ended(view, promotion.id)?.map(trade::timestamp);
        let message = PromotionMessage { ended_time, ..trade::promotion_message(promotion) };
        holds.push(filter.holds(|field| promotion_value(&message, field)));
    }
    let mut holds = holds.into_iter();
    all.retain(|_| holds.next().unwrap_or_default());
    Ok(all)
}

/// What a filter sees of a promotion.
fn promotion_value<'a>(promotion: &'a PromotionMessage, field: &str) -> Value<'a> {
    match field {
        "title" => Value::Text(&promotion.title),
        "funder_id" => Value::Text(&promotion.funder_id),
        "redeemer_id" => Value::Text(&promotion.redeemer_id),
        "mode" => Value::word(promotion.mode().as_str_name(), "VOUCHER_MODE_"),
        "start_time" => Value::time(promotion.start_time.as_ref()),
        "end_time" => Value::time(promotion.end_time.as_ref()),
        _ => Value::time(promotion.ended_time.as_ref()),
    }
}

/// A promotion as it is at first: each distributor owns its quota, and nothing is handed out.
fn as_published(promotion: &Promotion) -> PromotionMessage {
    let mut message = trade::promotion_message(promotion);
    message.distributors.iter_mut().for_each(|distributor| distributor.owned = distributor.quota);
    message
}

async fn show(hosted: &Hosted, id: RecordId) -> Result<PromotionMessage, Refusal> {
    let promotion = hosted.promotion(id).await?;
    describe(hosted, promotion).await
}

async fn describe(hosted: &Hosted, promotion: Promotion) -> Result<PromotionMessage, Refusal> {
    let me = hosted.me();
    hosted.query(move |view| standing(view, &promotion, me)).await
}

/// A promotion as it stands by now.
fn standing(view: &SledViews, promotion: &Promotion, me: ShopId) -> Result<PromotionMessage, ViewError> {
    let ended: Option<UnixMillis> = promotion::ended(view, promotion.id)?;
    let issued = report::issued_count(view, promotion.id)?;
    let shares = all_shares(view, promotion)?;
    let mut message = trade::promotion_message(promotion);
    let places = message.distributors.iter_mut().zip(0u8..).zip(&promotion.distributors);
    for ((shown, place), distributor) in places {
        let owned = shares.iter().filter(|share| share.owner == place).map(Share::count).sum();
        let issued = if distributor.shop == me { issued } else { 0 };
        *shown = Distributor { owned, issued, ..std::mem::take(shown) };
    }
    for (share, agreed) in message.funding.iter_mut().zip(activity::agreed(view, promotion)?) {
        share.agreed = agreed;
    }
    Ok(PromotionMessage { ended_time: ended.map(trade::timestamp), ..message })
}

/// All numbers of a promotion, with their owners.
fn all_shares(view: &SledViews, promotion: &Promotion) -> Result<Vec<Share>, ViewError> {
    let mut all = Vec::new();
    for (place, _) in (0u8..).zip(&promotion.distributors) {
        all.extend(stock::shares(view, promotion, place)?);
    }
    Ok(all)
}
