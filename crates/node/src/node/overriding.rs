//! Going on with new keys from a place of the log, where the ones before were stolen.

use hutong_core::{
    command::{Command, OverrideOrder},
    ingest::Head,
    refusal::{Reason, Refusal},
};
use hutong_record::{AllianceId, Header, RUN_RECORDS_MAX, RecordId};
use hutong_store::{journal::JournalReader, ledger::Signing};

use super::{KeysTaken, Node};
use crate::alliance::{Hosted, internal};

/// Records that a plan tells, at most.
const PLAN_RECORDS_MAX: usize = 200;
/// Of these, records that would be kept: somebody is to find the place where a thief began.
const PLAN_KEPT: u64 = 20;
/// How much of the journal is read at once for a plan.
const PLAN_BYTES: usize = 256 * 1_024;

/// Where a log could go on with new keys, and what would be cut off.
#[derive(Debug, Clone)]
pub struct OverridePlan {
    /// The last record that would be kept; none: somebody has to say which.
    pub after: Option<(u64, RecordId)>,
    /// The log's last record.
    pub head: Head,
    /// The newest key epoch that the log names.
    pub key_epoch: u32,
    /// The last records that would be kept and the first ones that would be cut off.
    pub records: Vec<Header>,
}

impl Node {
    /// What an override of this shop's keys in an alliance would do. `after`: the last record that is to be kept; none:
    /// the log's last one, where this node signs and nobody else can have.
    ///
    /// # Errors
    /// `OVERRIDE_PLACE_UNKNOWN`; `INTERNAL` where the journal cannot be read.
    pub fn plan_override(&self, hosted: &Hosted, after: Option<u64>) -> Result<OverridePlan, Refusal> {
        let (me, reader) = (self.me(), hosted.reader());
        let unknown = |sequence: u64| Refusal::new(Reason::OverridePlaceUnknown).with("sequence", sequence);
        let head = reader.head_of(me).ok_or_else(|| unknown(after.unwrap_or(1)))?;
        let alone = *hosted.signing().borrow() == Signing::Confirmed;
        let after = match after.or(alone.then_some(head.sequence)) {
            None => None,
            Some(sequence) => {
                let id = reader.record_id(me, sequence).map_err(|error| internal(&error))?;
                Some((sequence, id.ok_or_else(|| unknown(sequence))?))
            }
        };
        let from = match after {
            Some((sequence, _)) => sequence.saturating_sub(PLAN_KEPT - 1),
            None => head.sequence.saturating_sub(PLAN_RECORDS_MAX as u64 - 1),
        };
        let records = self.headers(&**reader, from.max(1))?;
        let head = Head { sequence: head.sequence, id: head.id, incarnation: head.incarnation };
        Ok(OverridePlan { after, head, key_epoch: hosted.alliance().key_epoch(me), records })
    }

    /// Records of this shop's own log from a place on.
    fn headers(&self, reader: &dyn JournalReader, from: u64) -> Result<Vec<Header>, Refusal> {
        let mut headers: Vec<Header> = Vec::new();
        while headers.len() < PLAN_RECORDS_MAX {
            let next = from + headers.len() as u64;
            let run = reader.read_log(self.me(), next, PLAN_BYTES).map_err(|error| internal(&error))?;
            debug_assert!(run.len() <= RUN_RECORDS_MAX, "read_log gives one run");
            if run.is_empty() {
                break;
            }
            headers.extend(run.iter().map(|record| record.header().clone()));
        }
        headers.truncate(PLAN_RECORDS_MAX);
        Ok(headers)
    }

    /// Takes over the keys that were laid into the data folder, and goes on with them where the orders say; what the keys
    /// before signed past those places does not count from then on. Other logs go over by a rotation.
    ///
    /// # Errors
    /// The key file cannot be read, or an order is refused: those before it are carried out.
    pub async fn override_keys(
        &self,
        orders: Vec<(AllianceId, OverrideOrder)>,
    ) -> Result<KeysTaken, Refusal> {
        let going_over = self.going_over.lock().await;
        self.take_laid_keys().await?;
        for (alliance, order) in orders {
            let epoch = order.key_override.cut_off().epoch;
            self.hosted(Some(alliance))?.execute(Command::OverrideKey(Box::new(order))).await?;
            tracing::warn!(alliance = alliance.short(), epoch, "the keys before are overridden");
        }
        drop(going_over);
        self.go_over_everywhere().await
    }
}
