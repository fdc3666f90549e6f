//! How alliances decide about themselves: rules, motions, appeals, seasons, departures.

use std::sync::Arc;

use bytes::Bytes;
use hutong_core::{
    command::{Command, GovernCommand},
    refusal::{Reason, Refusal},
    roster::MotionId,
};
use hutong_record::motion_id;
use hutong_wire::{
    merchant::v1::{
        AppealStrikeRequest, AppealStrikeResponse, CategoryLimit, ChooseSeasonRequest, ChooseSeasonResponse,
        DepartAllianceRequest, DepartAllianceResponse, GetGovernanceRequest, GetGovernanceResponse,
        ListMotionsRequest, ListMotionsResponse, Motion, MotionState, ProposeMotionRequest,
        ProposeMotionResponse, VoteOnMotionRequest, VoteOnMotionResponse,
        governance_service_server::GovernanceService,
    },
    trade::{self, Proposal},
};
use tonic::{Request, Response, Status};

use super::{MerchantPort, page, respond};
use crate::{alliance::Hosted, clock};

#[tonic::async_trait]
impl GovernanceService for MerchantPort {
    async fn get_governance(
        &self,
        request: Request<GetGovernanceRequest>,
    ) -> Result<Response<GetGovernanceResponse>, Status> {
        respond(request, async |request| Ok(governance(&*self.hosted(&request.alliance_id)?))).await
    }

    async fn list_motions(
        &self,
        request: Request<ListMotionsRequest>,
    ) -> Result<Response<ListMotionsResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let wanted = MotionState::try_from(request.state)
                .map_err(|_| Refusal::field("state", "is none of the states of a motion"))?;
            let all = motions(&hosted).into_iter();
            let all = all.filter(|motion| wanted == MotionState::Unspecified || motion.state() == wanted);
            let (motions, next_page_token) =
                page(all, |motion| motion.id.clone(), request.page_size, &request.page_token)?;
            Ok(ListMotionsResponse { motions, next_page_token })
        })
        .await
    }

    async fn propose_motion(
        &self,
        request: Request<ProposeMotionRequest>,
    ) -> Result<Response<ProposeMotionResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let motion = draft(&hosted, trade::proposal(request.content)?)?;
            let id = motion_id(&motion);
            hosted.execute(Command::Govern(GovernCommand::Propose { motion })).await?;
            Ok(ProposeMotionResponse { motion: Some(motion_of(&hosted, id)?) })
        })
        .await
    }

    async fn vote_on_motion(
        &self,
        request: Request<VoteOnMotionRequest>,
    ) -> Result<Response<VoteOnMotionResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let motion = trade::motion_id("motion_id", &request.motion_id)?;
            let vote = GovernCommand::Vote { motion, against: request.against };
            hosted.execute(Command::Govern(vote)).await?;
            Ok(VoteOnMotionResponse { motion: Some(motion_of(&hosted, motion)?) })
        })
        .await
    }

    async fn appeal_strike(
        &self,
        request: Request<AppealStrikeRequest>,
    ) -> Result<Response<AppealStrikeResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let strike = trade::motion_id("strike_id", &request.strike_id)?;
            let appeal = GovernCommand::Appeal { strike, statement: request.statement };
            hosted.execute(Command::Govern(appeal)).await?;
            Ok(AppealStrikeResponse { motion: Some(motion_of(&hosted, strike)?) })
        })
        .await
    }

    async fn choose_season(
        &self,
        request: Request<ChooseSeasonRequest>,
    ) -> Result<Response<ChooseSeasonResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let season = match request.season {
                0 => hosted.alliance().roster().seasons().last(),
                season => season,
            };
            let choice = GovernCommand::ChooseSeason { season, goes_on: request.goes_on };
            hosted.execute(Command::Govern(choice)).await?;
            Ok(ChooseSeasonResponse { season })
        })
        .await
    }

    async fn depart_alliance(
        &self,
        request: Request<DepartAllianceRequest>,
    ) -> Result<Response<DepartAllianceResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let departure = GovernCommand::Depart {
                next: trade::alliance("next_alliance_id", &request.next_alliance_id)?,
                split: trade::motion_id_or_none("split_id", &request.split_id)?,
                reason: request.reason,
            };
            hosted.execute(Command::Govern(departure)).await?;
            let departed = hosted.alliance().government().departure(hosted.me());
            Ok(DepartAllianceResponse { departure_time: departed.map(|(at, _)| trade::timestamp(at)) })
        })
        .await
    }
}

/// The motion's bytes as this shop would propose it now.
fn draft(hosted: &Arc<Hosted>, proposal: Proposal) -> Result<Bytes, Refusal> {
    let (alliance, now) = (hosted.alliance(), clock::now());
    match proposal {
        Proposal::Admission { shop, core, category } => alliance.draft_admission(shop, core, category, now),
        Proposal::Motion(motion) => alliance.draft_motion(motion, now),
    }
}

fn motions(hosted: &Hosted) -> Vec<Motion> {
    let alliance = hosted.alliance();
    alliance
        .motions()
        .map(|(id, motion, tally)| trade::motion_message(&alliance, id, motion, tally, clock::now()))
        .collect()
}

fn motion_of(hosted: &Hosted, id: MotionId) -> Result<Motion, Refusal> {
    let alliance = hosted.alliance();
    let found = alliance.motions().find(|(of, ..)| *of == id);
    let (id, motion, tally) = found.ok_or(Refusal::new(Reason::MotionUnknown))?;
    Ok(trade::motion_message(&alliance, id, motion, tally, clock::now()))
}

fn governance(hosted: &Hosted) -> GetGovernanceResponse {
    let (alliance, now) = (hosted.alliance(), clock::now());
    let (government, seasons) = (alliance.government(), alliance.roster().seasons());
    let (season, end) = seasons.at(now);
    let limit = |(category, shops_max): (&String, &u32)| CategoryLimit {
        category: category.clone(),
        shops_max: *shops_max,
    };
    GetGovernanceResponse {
        governance: Some(trade::governance_message(&government.settings, end)),
        amendment_id: government.amendment.map(trade::motion_text).unwrap_or_default(),
        category_limits: government.category_limits.iter().map(limit).collect(),
        season,
        season_over: seasons.over_at(now),
    }
}
