//! Runs: consecutive records of one log, of which only the last needs a signature. It covers the others through the
//! chain of hashes, so catching up costs one signature check for up to 256 records. A run is of one key epoch: where the
//! author rotated its key, the record that says so is the run's last. An override is a run's last record, too, and signed by
//! the next epoch's key; it names the record before it, which may have lost the signature that covered it.

use alloc::vec::Vec;

use crate::{
    Afresh, Cryptography, PublicKey, Record, RecordError, RecordId, ShopId, SignatureError, hash,
    key::tagged, proto::Kind,
};

/// The longest run: a signature check costs as much as some 80 hashes, so longer ones would gain little.
pub const RUN_RECORDS_MAX: usize = 256;

/// Records that are one chain, of one author, ending in a signature that was verified, with payloads that match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRun(Vec<Record>);

/// Why records are not a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// No record, or more than [`RUN_RECORDS_MAX`].
    #[error("a run has 1 to {RUN_RECORDS_MAX} records, not {0}")]
    Length(usize),
    /// Another shop, alliance or key epoch, a step of the sequence other than one, a previous id that is not the id
    /// of the record before, an incarnation that goes back, or a record after one by which the key changes.
    #[error("record {sequence} does not continue the log")]
    Broken {
        /// Of the record that does not fit.
        sequence: u64,
    },
    /// The last record carries no signature, or a wrong one.
    #[error("record {sequence} is not covered by a valid signature")]
    Signature {
        /// Of the run's last record.
        sequence: u64,
    },
    /// A payload is not the one that was signed.
    #[error("record {sequence}: {source}")]
    Payload {
        /// Of the record.
        sequence: u64,
        /// Why.
        source: RecordError,
    },
}

impl VerifiedRun {
    /// The records, oldest first; at least one.
    pub fn records(&self) -> &[Record] {
        &self.0
    }

    /// Takes the records out.
    pub fn into_records(self) -> Vec<Record> {
        self.0
    }

    /// The author.
    pub fn shop(&self) -> ShopId {
        self.0[0].header().shop
    }
}

/// Verifies that `records` continue each other and that `key`, the author's, signed the last one. Whether they
/// continue what the caller holds, and whether the author may write, the caller checks. Signatures within the run
/// that were not looked at are taken off, so that a stored signature is always a verified one.
pub fn verify_run(records: Vec<Record>, key: &PublicKey) -> Result<VerifiedRun, RunError> {
    verify_run_with(records, key, &Afresh)
}

/// The same, with somebody else to do the sums.
///
/// # Errors
/// See [`RunError`].
pub fn verify_run_with(
    records: Vec<Record>,
    key: &PublicKey,
    cryptography: &dyn Cryptography,
) -> Result<VerifiedRun, RunError> {
    if records.is_empty() || records.len() > RUN_RECORDS_MAX {
        return Err(RunError::Length(records.len()));
    }
    for pair in records.windows(2) {
        if !continues(&pair[0], &pair[1]) {
            return Err(RunError::Broken { sequence: pair[1].header().sequence });
        }
    }
    let last = &records[records.len() - 1];
    let sequence = last.header().sequence;
    verify_signature(last, key, cryptography).map_err(|SignatureError| RunError::Signature { sequence })?;
    for record in &records {
        let sequence = record.header().sequence;
        record.check_payload().map_err(|source| RunError::Payload { sequence, source })?;
    }
    let mut records = records;
    if let Some((_, covered)) = records.split_last_mut() {
        covered.iter_mut().for_each(Record::drop_signature);
    }
    Ok(VerifiedRun(records))
}

impl Kind {
    /// Whether a record of this kind is the last one of its run: another key signs from there on, or from this very record
    /// on.
    pub const fn ends_run(self) -> bool {
        matches!(self, Self::KeyRotation | Self::KeyOverride)
    }
}

fn continues(before: &Record, after: &Record) -> bool {
    let (a, b) = (before.header(), after.header());
    let same_keys = match b.kind {
        Kind::KeyOverride => b.key_epoch > a.key_epoch,
        _ => b.key_epoch == a.key_epoch,
    };
    a.shop == b.shop
        && a.alliance == b.alliance
        && same_keys
        && !a.kind.ends_run()
        && b.incarnation >= a.incarnation
        && a.sequence.checked_add(1) == Some(b.sequence)
        && b.previous == Some(before.id())
}

fn verify_signature(
    record: &Record,
    key: &PublicKey,
    cryptography: &dyn Cryptography,
) -> Result<(), SignatureError> {
    if crate::planted!(AcceptUnsignedRun) {
        return Ok(());
    }
    let signature = record.signature().ok_or(SignatureError)?;
    cryptography.verify(key, &tagged(hash::SIGN_HEADER, record.header_bytes()), signature)
}

/// The id that a record must name as its predecessor to follow `records`.
impl VerifiedRun {
    /// Id of the last record.
    pub fn head(&self) -> RecordId {
        self.0[self.0.len() - 1].id()
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::{AllianceId, Audience, Draft, Payload, SigningKey, UnixMillis, sign};

    fn key() -> SigningKey {
        SigningKey::from_seed(&[1; 32])
    }

    fn chain(length: u64) -> Vec<Record> {
        let mut rng = StdRng::seed_from_u64(1);
        let mut records: Vec<Record> = Vec::new();
        for sequence in 1..=length {
            let draft = Draft {
                alliance: AllianceId::new([1; 32]),
                shop: ShopId::new([2; 32]),
                key_epoch: 0,
                incarnation: 0,
                sequence,
                previous: records.last().map(Record::id),
                time: UnixMillis::EPOCH,
                kind: Kind::Profile,
                audience: Audience::Alliance,
            };
            let payload = Payload::clear(&sequence.to_be_bytes(), &mut rng).unwrap();
            records.push(sign(draft, payload, &key()));
        }
        records
    }

    #[test]
    fn one_signature_covers_the_run() {
        let mut records = chain(5);
        for record in &mut records[..4] {
            *record = record.clone().without_signature();
        }
        assert_eq!(verify_run(records.clone(), &key().public()).unwrap().records(), records);
    }

    #[test]
    fn unverified_signatures_are_not_kept() {
        let run = verify_run(chain(3), &key().public()).unwrap();
        let signed: Vec<_> = run.records().iter().map(|r| r.signature().is_some()).collect();
        assert_eq!(signed, [false, false, true]);
    }

    #[test]
    fn gaps_foreign_records_and_unsigned_ends_are_refused() {
        let key = key().public();
        let whole = chain(4);
        let gap = vec![whole[0].clone(), whole[2].clone()];
        assert_eq!(verify_run(gap, &key), Err(RunError::Broken { sequence: 3 }));
        let unsigned = vec![whole[0].clone(), whole[1].clone().without_signature()];
        assert_eq!(verify_run(unsigned, &key), Err(RunError::Signature { sequence: 2 }));
        assert_eq!(verify_run(vec![], &key), Err(RunError::Length(0)));
        assert_eq!(verify_run(chain(257), &key), Err(RunError::Length(257)));
        let other = SigningKey::from_seed(&[9; 32]).public();
        assert_eq!(verify_run(whole, &other), Err(RunError::Signature { sequence: 4 }));
    }

    fn after(records: &[Record], key_epoch: u32, kind: Kind, key: &SigningKey) -> Record {
        let draft = Draft {
            alliance: AllianceId::new([1; 32]),
            shop: ShopId::new([2; 32]),
            key_epoch,
            incarnation: 0,
            sequence: records.len() as u64 + 1,
            previous: records.last().map(Record::id),
            time: UnixMillis::EPOCH,
            kind,
            audience: Audience::Alliance,
        };
        sign(draft, Payload::clear(b"x", &mut StdRng::seed_from_u64(2)).unwrap(), key)
    }

    #[test]
    fn a_run_ends_where_its_key_epoch_ends() {
        let (old, new) = (key(), SigningKey::from_seed(&[2; 32]));
        let mut records = chain(2);
        records.push(after(&records, 0, Kind::KeyRotation, &old));
        assert!(verify_run(records.clone(), &old.public()).is_ok(), "the rotation is the last one");
        let mut next = records.clone();
        next.push(after(&records, 1, Kind::Profile, &new));
        for key in [&old, &new] {
            let crossing = verify_run(next.clone(), &key.public());
            assert_eq!(crossing, Err(RunError::Broken { sequence: 4 }), "no signature covers two epochs");
        }
        assert!(verify_run(next.split_off(3), &new.public()).is_ok());
        let mut late = records.clone();
        late.push(after(&records, 0, Kind::Profile, &old));
        let late = verify_run(late, &old.public());
        assert_eq!(late, Err(RunError::Broken { sequence: 4 }), "nothing of the old epoch follows");
    }

    #[test]
    fn an_override_ends_the_run_that_its_key_covers() {
        let (old, new) = (key(), SigningKey::from_seed(&[2; 32]));
        let mut records = chain(2);
        records[1] = records[1].clone().without_signature();
        records.push(after(&records, 1, Kind::KeyOverride, &new));
        let run = verify_run(records.clone(), &new.public()).unwrap();
        assert_eq!(run.records(), {
            let first = records[0].clone().without_signature();
            [first, records[1].clone(), records[2].clone()]
        });
        let by_old = verify_run(records.clone(), &old.public());
        assert_eq!(by_old, Err(RunError::Signature { sequence: 3 }));
        records.push(after(&records, 1, Kind::Profile, &new));
        let longer = verify_run(records.clone(), &new.public());
        assert_eq!(longer, Err(RunError::Broken { sequence: 4 }));
        let mut same_epoch = chain(2);
        same_epoch.push(after(&same_epoch, 0, Kind::KeyOverride, &old));
        let same_epoch = verify_run(same_epoch, &old.public());
        assert_eq!(same_epoch, Err(RunError::Broken { sequence: 3 }), "it leads to a later epoch");
    }

    #[test]
    fn an_exchanged_payload_is_refused() {
        let mut messages: Vec<_> = chain(2).iter().map(Record::to_message).collect();
        messages[0].payload = messages[1].payload.clone();
        let records = messages.into_iter().map(|m| Record::parse(m).unwrap()).collect();
        let refused = verify_run(records, &key().public());
        assert_eq!(refused, Err(RunError::Payload { sequence: 1, source: RecordError::PayloadHash }));
    }

    #[test]
    fn a_dropped_payload_leaves_the_chain_whole() {
        let mut messages: Vec<_> = chain(2).iter().map(Record::to_message).collect();
        messages[0].payload = bytes::Bytes::new();
        let records: Vec<_> = messages.into_iter().map(|m| Record::parse(m).unwrap()).collect();
        let run = verify_run(records, &key().public()).unwrap();
        assert!(run.records()[0].payload().is_none());
    }
}
