//! Who sent whom, who owes whom.

use hutong_core::{
    alliance::Alliance,
    pair,
    promotion::Promotion,
    proof::{self, Verdict},
    refusal::Refusal,
    report::{self, Summary},
    view::ViewError,
};
use hutong_record::ShopId;
use hutong_store::views::SledViews;
use hutong_sync::{Head, frontier_digest};
use hutong_wire::{
    merchant::v1::{
        GetAttributionRequest, GetAttributionResponse, GetStateDigestRequest, GetStateDigestResponse,
        GetSummaryRequest, GetSummaryResponse, ListActivityRequest, ListActivityResponse,
        ListBookingsRequest, ListBookingsResponse, ListCohortsRequest, ListCohortsResponse,
        ListOffencesRequest, ListOffencesResponse, ListPairsRequest, ListPairsResponse,
        ListReciprocityRequest, ListReciprocityResponse, Pair, RefusalCount,
        report_service_server::ReportService,
    },
    trade,
};
use tonic::{Request, Response, Status};

use super::{MerchantPort, names::shop_name, page, respond};
use crate::clock;

#[tonic::async_trait]
impl ReportService for MerchantPort {
    async fn get_summary(
        &self,
        request: Request<GetSummaryRequest>,
    ) -> Result<Response<GetSummaryResponse>, Status> {
        respond(request, async |request| self.summary(request).await).await
    }

    async fn list_pairs(
        &self,
        request: Request<ListPairsRequest>,
    ) -> Result<Response<ListPairsResponse>, Status> {
        respond(request, async |request| self.pairs(request).await).await
    }

    async fn list_offences(
        &self,
        request: Request<ListOffencesRequest>,
    ) -> Result<Response<ListOffencesResponse>, Status> {
        respond(request, async |request| self.offences(request).await).await
    }

    async fn get_state_digest(
        &self,
        request: Request<GetStateDigestRequest>,
    ) -> Result<Response<GetStateDigestResponse>, Status> {
        respond(request, async |request| self.state_digest(request).await).await
    }

    async fn get_attribution(
        &self,
        request: Request<GetAttributionRequest>,
    ) -> Result<Response<GetAttributionResponse>, Status> {
        respond(request, async |request| self.attribution(request).await).await
    }

    async fn list_activity(
        &self,
        request: Request<ListActivityRequest>,
    ) -> Result<Response<ListActivityResponse>, Status> {
        respond(request, async |request| self.activity(request).await).await
    }

    async fn list_reciprocity(
        &self,
        request: Request<ListReciprocityRequest>,
    ) -> Result<Response<ListReciprocityResponse>, Status> {
        respond(request, async |request| self.reciprocity(request).await).await
    }

    async fn list_cohorts(
        &self,
        request: Request<ListCohortsRequest>,
    ) -> Result<Response<ListCohortsResponse>, Status> {
        respond(request, async |request| self.cohorts(request).await).await
    }

    async fn list_bookings(
        &self,
        request: Request<ListBookingsRequest>,
    ) -> Result<Response<ListBookingsResponse>, Status> {
        respond(request, async |request| self.bookings(request).await).await
    }
}

impl MerchantPort {
    async fn summary(&self, request: GetSummaryRequest) -> Result<GetSummaryResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let currency = hosted.alliance().charter().currency;
        let as_of = trade::time_or("as_of_time", request.as_of_time.as_ref(), clock::now())?;
        let me = hosted.me();
        let read = move |view: &SledViews| {
            Ok((Summary::load(view)?, report::refusals(view)?, report::expired_count(view, me, as_of)?))
        };
        let (summary, refusals, vouchers_expired) = hosted.query(read).await?;
        Ok(GetSummaryResponse {
            sales: summary.sales,
            sales_amount: Some(trade::minor_message(summary.sales_minor, currency)),
            vouchers_issued: summary.vouchers_issued,
            vouchers_used: summary.vouchers_used,
            vouchers_expired,
            redemptions: summary.redemptions,
            voids: summary.voids,
            discounts: Some(trade::minor_message(summary.discounts_minor, currency)),
            refusals: refusals.into_iter().map(|(reason, count)| RefusalCount { reason, count }).collect(),
            double_redemptions: summary.double_redemptions,
            risk_open: Some(trade::minor_message(summary.risk_open_minor, currency)),
            risk_lost: Some(trade::minor_message(summary.risk_lost_minor, currency)),
        })
    }

    async fn pairs(&self, request: ListPairsRequest) -> Result<ListPairsResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let alliance = hosted.alliance();
        let currency = alliance.charter().currency;
        let me = hosted.me();
        let allies: Vec<ShopId> =
            alliance.roster().iter().filter(|(s, m)| *s != me && m.was_admitted()).map(|(s, _)| s).collect();
        let (allies, next_page_token) =
            page(allies, ShopId::to_string, request.page_size, &request.page_token)?;
        let read = move |view: &SledViews| {
            allies.iter().map(|ally| read_pair(view, me, *ally, currency)).collect::<Result<Vec<_>, _>>()
        };
        Ok(ListPairsResponse { pairs: hosted.query(read).await?, next_page_token })
    }

    async fn offences(&self, request: ListOffencesRequest) -> Result<ListOffencesResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let alliance = hosted.alliance();
        let currency = alliance.charter().currency;
        let verdicts = hosted.query(move |view| verdicts(view, &alliance)).await?;
        let key = |verdict: &Verdict| format!("{}-{}", verdict.liable, hex(&verdict.subject));
        let (shown, next_page_token) = page(verdicts, key, request.page_size, &request.page_token)?;
        let offences = shown.iter().map(|verdict| trade::offence_message(verdict, currency)).collect();
        Ok(ListOffencesResponse { offences, next_page_token })
    }

    async fn state_digest(&self, request: GetStateDigestRequest) -> Result<GetStateDigestResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let reader = hosted.reader().clone();
        let read = move |view: &SledViews| Ok((Alliance::public_digest(view)?, reader.frontier()));
        let (public, frontier) = hosted.query(read).await?;
        let heads = frontier
            .into_iter()
            .map(|(shop, h)| (shop, Head { sequence: h.sequence, id: h.id, incarnation: h.incarnation }))
            .collect();
        Ok(GetStateDigestResponse {
            public_digest: hex(&public),
            frontier_digest: hex(frontier_digest(&heads).as_bytes()),
            record_count: hosted.reader().record_count(),
            unfolded_count: hosted.unfolded_count().await?,
        })
    }
}

/// What was proven, judged again: the proof itself is what is kept.
fn verdicts(view: &SledViews, alliance: &Alliance) -> Result<Vec<Verdict>, ViewError> {
    let mut verdicts = Vec::new();
    for (_, proof) in proof::all(view)? {
        let Some(id) = proof::promotion_id(&proof) else { continue };
        let Some(promotion) = Promotion::load(view, id, alliance.charter().currency)? else { continue };
        verdicts.extend(alliance.judge_proof(&proof, &promotion));
    }
    Ok(verdicts)
}

fn read_pair(
    view: &SledViews,
    me: ShopId,
    ally: ShopId,
    currency: hutong_record::Currency,
) -> Result<Pair, ViewError> {
    let pair = pair::report(view, me, ally)?;
    let name = shop_name(view, ally)?;
    Ok(Pair {
        ally_id: ally.to_string(),
        ally_name: name,
        vouchers_given: pair.given.vouchers_given,
        customers_sent: pair.given.customers_sent,
        vouchers_received: pair.received.vouchers_given,
        customers_received: pair.received.customers_sent,
        balance: Some(trade::minor_message(pair.balance_minor, currency)),
        state_digest: hex(&pair.digest),
    })
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
