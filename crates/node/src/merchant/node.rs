//! The node itself, for its operator.

use hutong_core::{refusal::Refusal, report};
use hutong_wire::{
    merchant::v1::{
        AllianceStatus, GetStatusRequest, GetStatusResponse, Link, SetFederationRequest,
        SetFederationResponse, node_service_server::NodeService,
    },
    trade,
};
use tonic::{Request, Response, Status};

use super::{MerchantPort, respond};
use crate::{alliance::Hosted, federation::hub::HubHandle};

#[tonic::async_trait]
impl NodeService for MerchantPort {
    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        respond(request, async |_| self.node_status().await).await
    }

    async fn set_federation(
        &self,
        request: Request<SetFederationRequest>,
    ) -> Result<Response<SetFederationResponse>, Status> {
        respond(request, async |request| {
            self.node.set_paused(request.paused).await;
            Ok(SetFederationResponse { paused: request.paused })
        })
        .await
    }
}

impl MerchantPort {
    async fn node_status(&self) -> Result<GetStatusResponse, Refusal> {
        let mut alliances = Vec::new();
        for (hosted, hub) in self.node.all() {
            alliances.push(alliance_status(&hosted, &hub).await?);
        }
        let (memory_bytes, memory_bytes_peak) = memory();
        Ok(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            shop_id: self.node.me().to_string(),
            start_time: Some(trade::timestamp(self.node.started())),
            peer_address: self.node.peer_address().to_string(),
            alliances,
            federation_paused: self.node.is_paused(),
            memory_bytes,
            memory_bytes_peak,
        })
    }
}

async fn alliance_status(hosted: &Hosted, hub: &HubHandle) -> Result<AllianceStatus, Refusal> {
    let alliance = hosted.alliance();
    let table = hub.table().snapshot();
    let others: Vec<_> =
        alliance.roster().iter().map(|(shop, _)| shop).filter(|s| *s != hosted.me()).collect();
    let shops = others.clone();
    let profiles = hosted.query(move |view| {
        others.iter().map(|shop| report::profile(view, *shop)).collect::<Result<Vec<_>, _>>()
    });
    let link = |(shop, profile): (&hutong_record::ShopId, Option<hutong_record::proto::Profile>)| {
        let state = table.get(shop).cloned().unwrap_or_default();
        Link {
            shop_id: shop.to_string(),
            shop_name: profile.map(|p| p.name).unwrap_or_default(),
            connected: state.connected,
            record_count: hosted.reader().head_of(*shop).map_or(0, |head| head.sequence),
            last_heard_time: state.last_heard.map(trade::timestamp),
            last_error: state.last_error.unwrap_or_default(),
        }
    };
    let links = shops.iter().zip(profiles.await?).map(link).collect();
    let (journal_bytes, views_bytes) = hosted.bytes_on_disk();
    Ok(AllianceStatus {
        alliance_id: hosted.id().to_string(),
        name: alliance.charter().name.clone(),
        record_count: hosted.reader().record_count(),
        journal_bytes,
        views_bytes,
        unfolded_count: hosted.unfolded_count().await?,
        links,
        signing_doubt: hosted.signing().borrow().doubt_code().unwrap_or_default().into(),
    })
}

/// Resident memory now and at its peak, bytes, as Linux tells; zero elsewhere.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let bytes = |name| kilobytes(name).unwrap_or_default() * 1_024;
    (bytes("VmRSS:"), bytes("VmHWM:"))
}
