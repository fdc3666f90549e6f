//! Where a shop goes on with new keys after its old ones were stolen.

use hutong_core::{command::OverrideOrder, refusal::Refusal};
use hutong_record::{AllianceId, Header, KeyOverride, RecordId, proto};
use hutong_wire::{
    merchant::v1::{
        self as wire, OverrideKeyRequest, OverrideKeyResponse, OwnRecord, PlanOverrideRequest,
        PlanOverrideResponse,
    },
    trade,
};
use prost::Message as _;

use super::MerchantPort;
use crate::node::{KeysTaken, OverridePlan};

/// Logs that one request is about, at most: more than a node has alliances.
const ORDERS_MAX: usize = 64;

impl MerchantPort {
    pub(super) fn override_plan(
        &self,
        request: &PlanOverrideRequest,
    ) -> Result<PlanOverrideResponse, Refusal> {
        let hosted = self.hosted(&request.alliance_id)?;
        let after = Some(request.after_sequence).filter(|sequence| *sequence > 0);
        let plan = self.node.plan_override(&hosted, after)?;
        let OverridePlan { after, head, key_epoch, records } = plan;
        let after_sequence = after.map_or(0, |(sequence, _)| sequence);
        Ok(PlanOverrideResponse {
            alliance_id: hosted.id().to_string(),
            after_sequence,
            after_id: after.map(|(_, id)| id.to_string()).unwrap_or_default(),
            head_sequence: head.sequence,
            head_id: head.id.to_string(),
            key_epoch,
            records: records.iter().map(own_record).collect(),
            cut_off_count: after.map_or(0, |(sequence, _)| head.sequence.saturating_sub(sequence)),
        })
    }

    pub(super) async fn carry_out_overrides(
        &self,
        request: &OverrideKeyRequest,
    ) -> Result<OverrideKeyResponse, Refusal> {
        if !(1..=ORDERS_MAX).contains(&request.orders.len()) {
            return Err(Refusal::field("orders", format!("are 1 to {ORDERS_MAX}")));
        }
        let orders: Result<Vec<_>, _> = request.orders.iter().map(|order| self.order(order)).collect();
        let KeysTaken { key_epoch, .. } = self.node.override_keys(orders?).await?;
        Ok(OverrideKeyResponse { key_epoch, alliances: self.key_epochs() })
    }

    fn order(&self, order: &wire::OverrideOrder) -> Result<(AllianceId, OverrideOrder), Refusal> {
        let alliance = self.hosted(&order.alliance_id)?.id();
        let head: Result<RecordId, _> = order.head_id.parse();
        let head = head.map_err(|error| Refusal::field("head_id", error))?;
        let message = proto::KeyOverride::decode(order.key_override.as_slice());
        let message = message.map_err(|_| Refusal::field("key_override", "is not a key override"))?;
        let key_override = KeyOverride::verify(&message, self.node.identity())
            .map_err(|error| Refusal::field("key_override", error))?;
        Ok((alliance, OverrideOrder { key_override, head }))
    }
}

fn own_record(header: &Header) -> OwnRecord {
    OwnRecord {
        sequence: header.sequence,
        record_time: Some(trade::timestamp(header.time)),
        kind: header.kind.as_str_name().into(),
        key_epoch: header.key_epoch,
        incarnation: header.incarnation,
    }
}
