//! Promotions: published, shown, ended.

use hutong_core::{
    answer::Answer,
    command::Command,
    promotion::{self, Promotion},
    refusal::Refusal,
    report,
};
use hutong_record::RecordId;
use hutong_wire::{
    merchant::v1::{
        CreatePromotionRequest, CreatePromotionResponse, EndPromotionRequest, EndPromotionResponse,
        GetPromotionRequest, GetPromotionResponse, ListPromotionsRequest, ListPromotionsResponse,
        Promotion as PromotionMessage, promotion_service_server::PromotionService,
    },
    trade,
};
use tonic::{Request, Response, Status};

use super::{MerchantPort, page, respond, sale::unexpected};
use crate::alliance::Hosted;

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
            let id = trade::record_id("promotion_id", &request.promotion_id)?;
            Ok(GetPromotionResponse { promotion: Some(show(&hosted, id).await?) })
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
            let promotion = trade::promotion_message(&checked, None, (hosted.me(), 0));
            return Ok(CreatePromotionResponse {
                promotion: Some(PromotionMessage { id: String::new(), ..promotion }),
            });
        }
        let tag = trade::request_tag(&request.request_id, "CreatePromotion", &request)?;
        match hosted.ask(Command::Publish { request: tag, promotion: Box::new(terms) }).await? {
            Answer::Published { promotion } => {
                Ok(CreatePromotionResponse { promotion: Some(show(&hosted, promotion).await?) })
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
        let all = hosted.query(move |view| Promotion::load_all(view, currency)).await?;
        let (shown, next_page_token) =
            page(all, |p| p.id.to_string(), request.page_size, &request.page_token)?;
        let mut promotions = Vec::with_capacity(shown.len());
        for promotion in shown {
            promotions.push(describe(&hosted, promotion).await?);
        }
        Ok(ListPromotionsResponse { promotions, next_page_token })
    }
}

async fn show(hosted: &Hosted, id: RecordId) -> Result<PromotionMessage, Refusal> {
    let promotion = hosted.promotion(id).await?;
    describe(hosted, promotion).await
}

async fn describe(hosted: &Hosted, promotion: Promotion) -> Result<PromotionMessage, Refusal> {
    let me = hosted.me();
    let describe = move |view: &_| {
        let ended = promotion::ended(view, promotion.id)?;
        let issued = report::issued_count(view, promotion.id)?;
        Ok(trade::promotion_message(&promotion, ended, (me, issued)))
    };
    hosted.query(describe).await
}
