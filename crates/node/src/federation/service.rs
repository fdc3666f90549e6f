//! The peer port's services: synchronisation for members, joining for invited guests.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use hutong_core::{
    command::{Command, Guest},
    refusal::{Language, Reason, Refusal},
    roster::Standing,
};
use hutong_record::{AllianceId, Continuation, ShopId};
use hutong_sync::Frame;
use hutong_wire::{
    frame,
    peer::v1::{
        JoinRequest, JoinResponse, JoinState, RecallRequest, RecallResponse, SyncRequest, SyncResponse,
        join_service_server::JoinService, sync_service_server::SyncService,
    },
    status,
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    hub::Event,
    link::{self, LinkGuard},
    version,
};
use crate::{
    node::Node,
    transport::{Caller, Peer},
};

/// Serves the peer port.
#[derive(Debug, Clone)]
pub struct PeerPort(pub Arc<Node>);

type Responses = Pin<Box<dyn Stream<Item = Result<SyncResponse, Status>> + Send>>;

fn refuse(refusal: &Refusal) -> Status {
    status::refused(refusal, Language::English)
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let peer = Peer::of(request).ok_or_else(|| refuse(&Refusal::new(Reason::NotMember)))?;
    Ok(peer.caller)
}

#[tonic::async_trait]
impl SyncService for PeerPort {
    type SyncStream = Responses;

    async fn sync(&self, request: Request<Streaming<SyncRequest>>) -> Result<Response<Responses>, Status> {
        let Caller::Member(peer) = caller(&request)? else {
            return Err(refuse(&Refusal::new(Reason::NotMember)));
        };
        let program = version::told(request.metadata());
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|message| message.frame);
        let hello = first.map(frame::from_wire).and_then(Result::ok);
        let Some(Frame::Hello { alliance, .. }) = &hello else {
            return Err(refuse(&Refusal::field("frame", "the first frame is Hello")));
        };
        let hub = self.0.hub_for(*alliance, peer).ok_or_else(|| refuse(&Refusal::new(Reason::NotMember)))?;
        let (new, outbound, stop) = link::open(&hub, peer, false, program);
        let id = new.id;
        let guard = LinkGuard::new(hub.clone(), id);
        let gone = |_| refuse(&Refusal::new(Reason::Stopped));
        hub.send(Event::LinkUp(new)).await.map_err(gone)?;
        if let Some(frame) = hello {
            hub.send(Event::Frame { link: id, frame }).await.map_err(gone)?;
        }
        tokio::spawn(link::pump(hub, id, inbound, |m: SyncRequest| m.frame, stop.clone()));
        guard.release();
        let responses = outbound
            .map(|frame| Ok(SyncResponse { frame: Some(frame::to_wire(frame)) }))
            .take_until(stop.cancelled_owned());
        let responses: Responses = Box::pin(responses);
        let mut response = Response::new(responses);
        version::tell(response.metadata_mut());
        Ok(response)
    }
}

#[tonic::async_trait]
impl JoinService for PeerPort {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let Caller::Guest(guest) = caller(&request)? else {
            return Err(refuse(&Refusal::new(Reason::InvitationInvalid)));
        };
        let request = request.into_inner();
        let state = self.admit(*guest.as_bytes(), request).await.map_err(|refusal| refuse(&refusal))?;
        let host = Some(self.0.identity().signed().clone());
        Ok(Response::new(JoinResponse { state: state.into(), host }))
    }

    async fn recall(&self, request: Request<RecallRequest>) -> Result<Response<RecallResponse>, Status> {
        let Caller::Member(shop) = caller(&request)? else {
            return Err(refuse(&Refusal::new(Reason::NotMember)));
        };
        let identity = self.identity_of(shop, &request.into_inner()).map_err(|refusal| refuse(&refusal))?;
        let host = Some(self.0.identity().signed().clone());
        Ok(Response::new(RecallResponse { identity: Some(identity), host }))
    }
}

impl PeerPort {
    fn identity_of(
        &self,
        shop: ShopId,
        request: &RecallRequest,
    ) -> Result<hutong_record::proto::SignedIdentity, Refusal> {
        let id = AllianceId::try_from(request.alliance_id.as_ref())
            .map_err(|e| Refusal::field("alliance_id", e))?;
        let alliance = self.0.hosted(Some(id))?.alliance();
        let member = alliance.roster().shop(shop).ok_or(Refusal::new(Reason::NotMember))?;
        Ok(member.identity.signed().clone())
    }

    async fn admit(&self, guest_key: [u8; 32], request: JoinRequest) -> Result<JoinState, Refusal> {
        let id = AllianceId::try_from(request.alliance_id.as_ref())
            .map_err(|e| Refusal::field("alliance_id", e))?;
        let identity = request.identity.ok_or_else(|| Refusal::field("identity", "is missing"))?;
        let verified =
            hutong_record::Identity::verify(&identity).map_err(|e| Refusal::field("identity", e))?;
        let continuation = request.continuation.as_ref().map(Continuation::verify).transpose();
        let continuation = continuation.map_err(|e| Refusal::field("continuation", e))?.map(Box::new);
        let hosted = self.0.hosted(Some(id))?;
        let inviter = match request.inviter_id.as_ref() {
            [] => hosted.me(),
            inviter => ShopId::try_from(inviter).map_err(|e| Refusal::field("inviter_id", e))?,
        };
        let is_open = hosted.alliance().government().invitations.contains_key(&(inviter, guest_key));
        let command = if is_open {
            let signature = request.guest_signature;
            Command::BringGuest(Box::new(Guest { inviter, guest_key, identity, signature, continuation }))
        } else if inviter == hosted.me() {
            Command::AdmitGuest { guest_key, identity, continuation }
        } else {
            return Err(Refusal::new(Reason::InvitationInvalid));
        };
        hosted.execute(command).await?;
        tracing::info!(shop = verified.id().short(), "an invited shop asked to join");
        Ok(state_of(&hosted.alliance(), verified.id()))
    }
}

fn state_of(alliance: &hutong_core::alliance::Alliance, shop: ShopId) -> JoinState {
    match alliance.roster().shop(shop).map(|member| member.standing) {
        Some(Standing::Member) => JoinState::Admitted,
        _ => JoinState::Pending,
    }
}
