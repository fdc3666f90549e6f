//! Verifying the records of one message run by run: no signature covers records of another key epoch, so each rotation and
//! each override ends a run, and says by which key the next one is checked.

use alloc::vec::Vec;
use core::cmp::Ordering;

use hutong_record::{
    Header, Identity, KeyOverride, OverrideError, PublicKey, RUN_RECORDS_MAX, Record, RunError, ShopId,
    Succession, SuccessionError, VerifiedRun, proto::Kind, verify_run_with,
};

use super::IngestError;
use crate::{
    alliance::Alliance,
    keys::{NoKey, key_override, signed_succession},
};

/// Who signs the next record.
struct Signer {
    epoch: u32,
    key: PublicKey,
}

impl Alliance {
    /// Verifies records that go on from a place of their author's log that is held.
    pub(super) fn verify_runs(
        &self,
        records: Vec<Record>,
        identity: &Identity,
    ) -> Result<Vec<VerifiedRun>, IngestError> {
        let first = records[0].header();
        let shop = first.shop;
        let epoch = self.keys.epoch_at(shop, first.sequence);
        match (first.kind, first.key_epoch.cmp(&epoch)) {
            (Kind::KeyOverride, Ordering::Greater) => {}
            (Kind::KeyOverride, _) | (_, Ordering::Less) => {
                return Err(IngestError::KeyRetired(first.key_epoch));
            }
            (_, Ordering::Greater) => return Err(IngestError::KeyEpoch(first.key_epoch)),
            (_, Ordering::Equal) => {}
        }
        let mut signer = Signer { epoch, key: self.key_of_epoch(shop, epoch)? };
        let mut runs: Vec<VerifiedRun> = Vec::new();
        let mut records = records;
        while !records.is_empty() {
            let rest = records.split_off(run_length(&records));
            if let Some(before) = runs.last() {
                check_next(before, records[0].header(), signer.epoch)?;
            }
            let last = &records[records.len() - 1];
            let ends_by = last.header().kind;
            if ends_by == Kind::KeyOverride {
                signer = overridden_to(last, identity)?;
            }
            let run = verify_run_with(records, &signer.key, self.cryptography())?;
            if ends_by == Kind::KeyRotation {
                signer = rotated_to(&run, identity)?;
            }
            runs.push(run);
            records = rest;
        }
        Ok(runs)
    }

    fn key_of_epoch(&self, shop: ShopId, epoch: u32) -> Result<PublicKey, IngestError> {
        self.statement_key(shop, epoch).map_err(|none| match none {
            NoKey::Shop => IngestError::NotMember(shop),
            NoKey::Epoch | NoKey::CutOff => IngestError::KeyEpoch(epoch),
        })
    }

    /// The key that signed the last of a run's records: an override brings it along. None: it is not known, or none.
    pub fn key_of_run(&self, records: &[Record]) -> Option<PublicKey> {
        let last = records.last()?;
        let Header { shop, key_epoch, kind, .. } = *last.header();
        match kind {
            Kind::KeyOverride => {
                let identity = &self.judge().shop(shop)?.identity;
                overridden_to(last, identity).ok().map(|signer| signer.key)
            }
            _ => self.signing_key(shop, key_epoch),
        }
    }
}

/// How many of these records are the next run: up to the first one that must end it or, where that is too far, up to the
/// last signature within a run's length.
fn run_length(records: &[Record]) -> usize {
    let ends = records.iter().position(|record| record.header().kind.ends_run());
    let length = ends.map_or(records.len(), |place| place + 1);
    if length <= RUN_RECORDS_MAX {
        return length;
    }
    let signed = records[..RUN_RECORDS_MAX].iter().rposition(|record| record.signature().is_some());
    signed.map_or(RUN_RECORDS_MAX, |place| place + 1)
}

/// Whether a record continues a log after a run, in the epoch that the log has come to, or overrides it.
fn check_next(before: &VerifiedRun, first: &Header, epoch: u32) -> Result<(), IngestError> {
    let last = before.records()[before.records().len() - 1].header();
    let in_epoch = match first.kind {
        Kind::KeyOverride => first.key_epoch > epoch,
        _ => first.key_epoch == epoch,
    };
    let continues = (first.shop, first.alliance) == (last.shop, last.alliance)
        && in_epoch
        && first.incarnation >= last.incarnation
        && last.sequence.checked_add(1) == Some(first.sequence)
        && first.previous == Some(before.head());
    if continues { Ok(()) } else { Err(RunError::Broken { sequence: first.sequence }.into()) }
}

/// The key to which a run's last record, a rotation, leads. It says by which key all that follows is checked, so it is
/// checked here, and not left to the fold.
fn rotated_to(run: &VerifiedRun, identity: &Identity) -> Result<Signer, IngestError> {
    let records = run.records();
    let last = &records[records.len() - 1];
    let header = last.header();
    let rotation = || {
        let message = last.payload().filter(|_| header.audience.named().is_empty());
        let message = message.ok_or(SuccessionError::Malformed)?.message();
        let succession = Succession::verify(&signed_succession(&message)?, identity)?;
        let next = header.key_epoch.checked_add(1);
        if next == Some(succession.epoch()) {
            Ok(Signer { epoch: succession.epoch(), key: *succession.signing_key() })
        } else {
            Err(SuccessionError::Epoch(succession.epoch()))
        }
    };
    rotation().map_err(|source| IngestError::Rotation { sequence: header.sequence, source })
}

/// The key to which an override leads, which signs the override itself. It stands where the recovery key ordered it, and
/// names its predecessor by the recovery key's word: so what the run has before it needs no signature of its own.
fn overridden_to(record: &Record, identity: &Identity) -> Result<Signer, IngestError> {
    let header = record.header();
    let checked = || {
        let message = record.payload().filter(|_| header.audience.named().is_empty());
        let message = message.ok_or(OverrideError::Malformed)?.message();
        let overrides = KeyOverride::verify(&key_override(&message)?, identity)?;
        overrides.check_place(header)?;
        let succession = overrides.succession();
        Ok(Signer { epoch: succession.epoch(), key: *succession.signing_key() })
    };
    checked().map_err(|source| IngestError::Override { sequence: header.sequence, source })
}
