//! The node itself, for its operator.

use std::collections::BTreeMap;

use hutong_core::{command::Command, doubt, duty, refusal::Refusal, report::Summary};
use hutong_record::ShopId;
use hutong_store::{
    journal::{Damage, LogHead, MissingRecords, SetAside},
    views::SledViews,
};
use hutong_wire::{
    merchant::v1::{
        AllianceKeyEpoch, AllianceStatus, DeclareNothingLostRequest, DeclareNothingLostResponse,
        ExportBundleRequest, GetStatusRequest, GetStatusResponse, ImportBundleRequest, JournalDamage, Link,
        LostRecords, OverrideKeyRequest, OverrideKeyResponse, PlanOverrideRequest, PlanOverrideResponse,
        RotateKeyRequest, RotateKeyResponse, ScrubJournalRequest, ScrubJournalResponse, ScrubStatus,
        SetAsideSegment, SetFederationRequest, SetFederationResponse, node_service_server::NodeService,
    },
    trade,
};
use tonic::{Request, Response, Status, Streaming};

use super::{MerchantPort, bundle, names::shop_name, respond};
use crate::{
    alliance::{Hosted, JournalHealth, ScrubState},
    clock,
    federation::{LinkState, hub::HubHandle},
    metrics::{
        process::Process,
        sample::{DUTIES_MAX, standing_word},
    },
    node::KeysTaken,
};

/// Damaged places that a status names, and ranges of lost records that each of them names.
const DAMAGES_MAX: usize = 64;

#[tonic::async_trait]
impl NodeService for MerchantPort {
    type ExportBundleStream = bundle::Exported;
    type ImportBundleStream = bundle::Imported;

    async fn export_bundle(
        &self,
        request: Request<ExportBundleRequest>,
    ) -> Result<Response<bundle::Exported>, Status> {
        self.export(request)
    }

    async fn import_bundle(
        &self,
        request: Request<Streaming<ImportBundleRequest>>,
    ) -> Result<Response<bundle::Imported>, Status> {
        Ok(self.import(request))
    }

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

    async fn scrub_journal(
        &self,
        request: Request<ScrubJournalRequest>,
    ) -> Result<Response<ScrubJournalResponse>, Status> {
        respond(request, async |request| {
            let pass = self.hosted(&request.alliance_id)?.scrub_now();
            Ok(ScrubJournalResponse { pass })
        })
        .await
    }

    async fn declare_nothing_lost(
        &self,
        request: Request<DeclareNothingLostRequest>,
    ) -> Result<Response<DeclareNothingLostResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            hosted.execute(Command::DeclareNothingLost).await?;
            Ok(DeclareNothingLostResponse {})
        })
        .await
    }

    async fn rotate_key(
        &self,
        request: Request<RotateKeyRequest>,
    ) -> Result<Response<RotateKeyResponse>, Status> {
        respond(request, async |_| self.take_over_keys().await).await
    }

    async fn plan_override(
        &self,
        request: Request<PlanOverrideRequest>,
    ) -> Result<Response<PlanOverrideResponse>, Status> {
        respond(request, async |request| self.override_plan(&request)).await
    }

    async fn override_key(
        &self,
        request: Request<OverrideKeyRequest>,
    ) -> Result<Response<OverrideKeyResponse>, Status> {
        respond(request, async |request| self.carry_out_overrides(&request).await).await
    }
}

impl MerchantPort {
    async fn take_over_keys(&self) -> Result<RotateKeyResponse, Refusal> {
        let KeysTaken { key_epoch, restart_needed } = self.node.rotate_keys().await?;
        Ok(RotateKeyResponse { key_epoch, alliances: self.key_epochs(), restart_needed })
    }

    /// How far each of this shop's logs is.
    pub(super) fn key_epochs(&self) -> Vec<AllianceKeyEpoch> {
        let me = self.node.me();
        let epoch = |hosted: &Hosted| AllianceKeyEpoch {
            alliance_id: hosted.id().to_string(),
            key_epoch: hosted.alliance().key_epoch(me),
        };
        self.node.all().iter().map(|(hosted, _)| epoch(hosted)).collect()
    }

    async fn node_status(&self) -> Result<GetStatusResponse, Refusal> {
        let mut alliances = Vec::new();
        for (hosted, hub) in self.node.all() {
            alliances.push(alliance_status(&hosted, &hub, self.node.key_epoch()).await?);
        }
        let process = Process::now();
        Ok(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            shop_id: self.node.me().to_string(),
            start_time: Some(trade::timestamp(self.node.started())),
            peer_address: self.node.peer_address().map(|at| at.to_string()).unwrap_or_default(),
            alliances,
            federation_paused: self.node.is_paused(),
            memory_bytes: process.memory_bytes,
            memory_bytes_peak: process.memory_bytes_peak,
            open_file_count: process.open_files,
            open_file_count_max: process.open_files_max,
            key_epoch: self.node.key_epoch(),
        })
    }
}

async fn alliance_status(
    hosted: &Hosted,
    hub: &HubHandle,
    keys_held: u32,
) -> Result<AllianceStatus, Refusal> {
    let alliance = hosted.alliance();
    let (charter, now) = (alliance.charter(), clock::now());
    let judging = alliance.clone();
    let others: Vec<_> =
        alliance.roster().iter().map(|(shop, _)| shop).filter(|s| *s != hosted.me()).collect();
    let shops = others.clone();
    let read = move |view: &SledViews| {
        let names = others.iter().map(|shop| shop_name(view, *shop)).collect::<Result<Vec<_>, _>>()?;
        let duties = duty::due(view, &judging, now, DUTIES_MAX)?.len();
        Ok((names, duties, Summary::load(view)?.risk_open_minor, doubt::current(view)?))
    };
    let (names, duties, risk_open, doubtful) = hosted.query(read).await?;
    let heads: BTreeMap<_, _> = hosted.reader().frontier().into_iter().collect();
    let table = hub.table().snapshot();
    let link = |(shop, name): (&ShopId, String)| {
        let standing = alliance.roster().shop(*shop).map_or("", |member| standing_word(member.standing));
        let state = table.get(shop).cloned().unwrap_or_default();
        let link = link_message(*shop, name, standing, heads.get(shop), state);
        Link { key_epoch: alliance.key_epoch(*shop), ..link }
    };
    let links = shops.iter().zip(names).map(link).collect();
    let (journal_bytes, views_bytes) = hosted.bytes_on_disk();
    let (queued, queued_max) = hosted.queued_jobs();
    let own = alliance.roster().shop(hosted.me());
    let JournalHealth { scrub, damage, healed_count } = hosted.journal_health();
    let newest = heads.iter().filter(|(shop, _)| **shop != hosted.me()).map(|(_, head)| head.time).max();
    let key_missing = alliance.key_epoch(hosted.me()) > keys_held;
    let doubt = if key_missing { Some("KEY_MISSING") } else { hosted.signing().borrow().doubt_code() };
    Ok(AllianceStatus {
        alliance_id: hosted.id().to_string(),
        name: charter.name.clone(),
        record_count: hosted.reader().record_count(),
        journal_bytes,
        views_bytes,
        unfolded_count: hosted.unfolded_count().await?,
        links,
        signing_doubt: doubt.unwrap_or_default().into(),
        own_standing: own.map_or("", |member| standing_word(member.standing)).into(),
        lost_record_count: damage.iter().map(|damage| damage.records).sum(),
        scrub: Some(scrub_message(scrub, healed_count)),
        damages: damage.iter().take(DAMAGES_MAX).map(damage_message).collect(),
        set_aside_segments: hosted.reader().set_aside().into_iter().map(set_aside_message).collect(),
        duty_count: duties as u64,
        risk_open: Some(trade::minor_message(risk_open, charter.currency)),
        queued_job_count: queued as u64,
        queued_job_count_max: queued_max as u64,
        doubtful_until_time: doubtful.map(|doubt| trade::timestamp(doubt.until)),
        clock_ahead_ms: newest.map_or(0, |at| at.ms_since(now).max(0)),
        key_epoch: alliance.key_epoch(hosted.me()),
    })
}

fn scrub_message(state: ScrubState, healed_record_count: u64) -> ScrubStatus {
    ScrubStatus {
        running: state.running,
        checked_bytes: state.checked_bytes,
        finished_pass: state.finished_pass,
        finish_time: state.finished_at.map(trade::timestamp),
        error: state.error.unwrap_or_default(),
        healed_record_count,
        healing_error: state.healing_error.unwrap_or_default(),
    }
}

fn damage_message(damage: &Damage) -> JournalDamage {
    let lost = |missing: &MissingRecords| LostRecords {
        shop_id: missing.shop.to_string(),
        from_sequence: missing.from_sequence,
        to_sequence: missing.to_sequence,
    };
    JournalDamage {
        file: damage.file(),
        offset: damage.offset,
        byte_count: damage.bytes,
        record_count: damage.records,
        lost: damage.missing.iter().take(DAMAGES_MAX).map(lost).collect(),
    }
}

fn set_aside_message(SetAside { name, bytes }: SetAside) -> SetAsideSegment {
    SetAsideSegment { file: name, byte_count: bytes }
}

fn link_message(
    shop: ShopId,
    shop_name: String,
    standing: &str,
    head: Option<&LogHead>,
    state: LinkState,
) -> Link {
    let last_record = head.map(|head| head.time);
    let stale_since = if state.connected { None } else { last_record.max(state.last_heard) };
    Link {
        shop_id: shop.to_string(),
        shop_name,
        connected: state.connected,
        record_count: head.map_or(0, |head| head.sequence),
        last_heard_time: state.last_heard.map(trade::timestamp),
        last_error: state.last_error.unwrap_or_default(),
        standing: standing.into(),
        last_record_time: last_record.map(trade::timestamp),
        program_version: state.version.unwrap_or_default(),
        logs_behind: if state.connected { state.logs_behind } else { 0 },
        clock_offset_ms: state.clock_offset_ms,
        stale_since_time: stale_since.map(trade::timestamp),
        key_epoch: 0,
    }
}
