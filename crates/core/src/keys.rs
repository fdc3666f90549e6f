//! Which key signs a shop's records, from which place of its log on. The identity names the keys of epoch 0; each later
//! epoch begins after a rotation record or with an override, which the ingest ladder has checked. Both are heard at once,
//! however far a log is folded: the records after them could not be taken in otherwise.

use alloc::{collections::BTreeMap, vec::Vec};

use bytes::Bytes;
use hutong_record::{
    EncryptionKey, KeyOverride, OverrideError, PublicKey, Record, ShopId, Succession, SuccessionError,
    canonical, proto, proto::Kind,
};
use prost::Message as _;

use crate::{
    alliance::Alliance,
    roster::Member,
    table,
    view::{Overlay, Reader, ViewError},
};

/// The keys of all shops' later epochs, as far as their rotations are held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeyBook(BTreeMap<ShopId, BTreeMap<u32, Epoch>>);

/// One later epoch of a shop.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Epoch {
    /// Place of the record that says so: the epoch begins after a rotation, and with an override.
    rotated_at: u64,
    /// The record is an override: what older keys signed from its place on does not count.
    overrides: bool,
    succession: Succession,
}

/// The newest epoch of which this shop had the keys when sealed payloads were opened for these views.
///
/// # Errors
/// The views cannot be read.
pub fn held(view: &(impl Reader + ?Sized)) -> Result<u32, ViewError> {
    Ok(table::read(view, &table::keys_held())?.unwrap_or_default())
}

/// Notes what [`held`] tells.
pub fn note_held<R: Reader + ?Sized>(view: &mut Overlay<'_, R>, epoch: u32) {
    table::write(view, table::keys_held(), &epoch);
}

/// Why there is no key to check a signature by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The shop was never in, as far as is known.
    Shop,
    /// The shop's rotation to that epoch is not known, or does not count.
    Epoch,
    /// The shop's log is past that epoch and never came to it: an override cut its rotation off.
    CutOff,
}

/// The keys to which a rotation or an override leads. It was checked on the ladder; signatures are not looked at.
fn succession_of(record: &Record, message: &Bytes) -> Option<Succession> {
    let header = record.header();
    if !header.audience.named().is_empty() {
        return None;
    }
    let succession = match header.kind {
        Kind::KeyRotation => Succession::parse(&signed_succession(message).ok()?).ok()?,
        Kind::KeyOverride => KeyOverride::parse(&key_override(message).ok()?).ok()?.succession().clone(),
        _ => return None,
    };
    (succession.shop() == header.shop).then_some(succession)
}

/// The succession in the message of a rotation record. Ladder and fold read it by this alone, and only as it would be
/// written: a record that one of them took and the other did not would part the nodes.
pub(crate) fn signed_succession(message: &Bytes) -> Result<proto::SignedKeySuccession, SuccessionError> {
    let rotation: Option<proto::KeyRotation> = canonical(message.clone());
    rotation.and_then(|rotation| rotation.succession).ok_or(SuccessionError::Malformed)
}

/// What the message of an override record says, read as [`signed_succession`] reads a rotation's.
pub(crate) fn key_override(message: &Bytes) -> Result<proto::KeyOverride, OverrideError> {
    canonical(message.clone()).ok_or(OverrideError::Malformed)
}

impl KeyBook {
    pub(crate) fn load(view: &(impl Reader + ?Sized)) -> Result<Self, ViewError> {
        let damaged = || ViewError::Damaged("table of keys".into());
        let entries = table::collect(view, &[table::KEY], |key, value| {
            let (shop, epoch) = table::parse_key(key).ok_or_else(damaged)?;
            let (rotated_at, overrides, signed): (u64, bool, Vec<u8>) = table::decode(key, value)?;
            let signed = proto::SignedKeySuccession::decode(signed.as_slice()).map_err(|_| damaged())?;
            let succession = Succession::parse(&signed).map_err(|_| damaged())?;
            Ok((shop, epoch, Epoch { rotated_at, overrides, succession }))
        })?;
        let mut book = Self::default();
        for (shop, number, epoch) in entries {
            book.0.entry(shop).or_default().insert(number, epoch);
        }
        Ok(book)
    }

    /// Takes note of a rotation or an override. The epoch to which it leads, where that is news.
    fn hear(&mut self, record: &Record, message: &Bytes) -> Option<&Epoch> {
        let succession = succession_of(record, message)?;
        let header = record.header();
        let overrides = header.kind == Kind::KeyOverride;
        let epoch = Epoch { rotated_at: header.sequence, overrides, succession };
        let (epochs, number) = (self.0.entry(header.shop).or_default(), epoch.succession.epoch());
        if epochs.get(&number) == Some(&epoch) {
            return None;
        }
        epochs.insert(number, epoch);
        epochs.get(&number)
    }

    fn epoch(&self, shop: ShopId, epoch: u32) -> Option<&Epoch> {
        self.0.get(&shop)?.get(&epoch)
    }

    fn newest(&self, shop: ShopId) -> Option<&Succession> {
        Some(&self.0.get(&shop)?.last_key_value()?.1.succession)
    }

    /// The epoch of a record at a place of a log: the one to which the last rotation or override before it leads.
    pub(crate) fn epoch_at(&self, shop: ShopId, sequence: u64) -> u32 {
        let begun = |(_, epoch): &(&u32, &Epoch)| epoch.rotated_at < sequence;
        let epochs = self.0.get(&shop).into_iter().flatten();
        epochs.filter(begun).map(|(number, _)| *number).max().unwrap_or(0)
    }

    /// Whether an epoch was the log's at the place from which an override revoked what was older, or came later: who has
    /// its key may have been anybody. Epochs that a rotation had ended before are not revoked.
    fn is_revoked(&self, shop: ShopId, number: u32) -> bool {
        let epochs = self.0.get(&shop).into_iter().flatten();
        let mut overrides = epochs.filter(|(later, epoch)| epoch.overrides && **later > number);
        overrides.any(|(_, epoch)| number >= self.epoch_at(shop, epoch.rotated_at))
    }

    /// Whether a shop rotated its key past a place.
    pub(crate) fn rotates_past(&self, shop: ShopId, sequence: u64) -> bool {
        self.0.get(&shop).is_some_and(|epochs| epochs.values().any(|epoch| epoch.rotated_at > sequence))
    }
}

impl Alliance {
    /// The key that signs a shop's records in an epoch, if the epoch is known here.
    pub fn signing_key(&self, shop: ShopId, epoch: u32) -> Option<PublicKey> {
        match epoch {
            0 => self.roster().shop(shop).map(|member| *member.identity.signing_key()),
            _ => self.keys.epoch(shop, epoch).map(|epoch| *epoch.succession.signing_key()),
        }
    }

    /// What payloads for a shop are sealed to: its key of the newest epoch that is known here.
    pub fn encryption_key(&self, shop: ShopId) -> Option<&EncryptionKey> {
        match self.keys.newest(shop) {
            Some(succession) => Some(succession.encryption_key()),
            None => self.roster().shop(shop).map(|member| member.identity.encryption_key()),
        }
    }

    /// The epoch in which a shop's next record stands, as far as is known here.
    pub fn key_epoch(&self, shop: ShopId) -> u32 {
        self.keys.newest(shop).map_or(0, Succession::epoch)
    }

    /// How a shop came to its newest key that is known here; none: it has its first one.
    pub fn succession(&self, shop: ShopId) -> Option<&Succession> {
        self.keys.newest(shop)
    }

    /// Where the log of a shop goes on in an epoch: after this record, a rotation, or with it, an override. None: the epoch
    /// is the first, or not known.
    pub fn rotated_at(&self, shop: ShopId, epoch: u32) -> Option<u64> {
        self.keys.epoch(shop, epoch).map(|epoch| epoch.rotated_at)
    }

    /// The key by which a statement of an epoch is checked. What lies past a shop's seal or fork does not count, and
    /// neither does a key that it names.
    pub(crate) fn statement_key(&self, shop: ShopId, epoch: u32) -> Result<PublicKey, NoKey> {
        let member = self.judge().shop(shop).filter(|member| member.was_admitted()).ok_or(NoKey::Shop)?;
        if epoch == 0 {
            return Ok(*member.identity.signing_key());
        }
        let counts = |rotated_at: u64| member.counts_up_to.is_none_or(|last| rotated_at <= last);
        match self.keys.epoch(shop, epoch) {
            Some(epoch) if counts(epoch.rotated_at) => Ok(*epoch.succession.signing_key()),
            None if self.key_epoch(shop) > epoch => Err(NoKey::CutOff),
            _ => Err(NoKey::Epoch),
        }
    }

    /// Whether an override of a shop's revoked an epoch: what its keys signed and no record before that place shows may be
    /// a thief's.
    pub fn is_revoked(&self, shop: ShopId, epoch: u32) -> bool {
        self.keys.is_revoked(shop, epoch)
    }

    /// Whether a shop is or was in.
    pub(crate) fn was_admitted(&self, shop: ShopId) -> bool {
        self.judge().shop(shop).is_some_and(Member::was_admitted)
    }

    /// Takes note of a rotation or an override; true: it is news.
    pub(crate) fn hear_rotation<R: Reader + ?Sized>(
        &mut self,
        view: &mut Overlay<'_, R>,
        record: &Record,
        message: Option<&Bytes>,
    ) -> bool {
        let Some(message) = message else { return false };
        let Some(epoch) = self.keys.hear(record, message) else { return false };
        let signed = epoch.succession.signed().encode_to_vec();
        let entry = (epoch.rotated_at, epoch.overrides, signed);
        table::write(view, table::key_of(record.header().shop, epoch.succession.epoch()), &entry);
        true
    }

    /// A log goes on in a new incarnation from before its end: rotations and overrides that it held from there on do not
    /// count, and those among its new records do.
    pub fn switch_keys(&mut self, branch: &[Record]) {
        let Some(first) = branch.first().map(Record::header) else { return };
        if let Some(epochs) = self.keys.0.get_mut(&first.shop) {
            epochs.retain(|_, epoch| epoch.rotated_at < first.sequence);
        }
        for record in branch {
            if let Some(payload) = record.payload() {
                self.keys.hear(record, &payload.message());
            }
        }
    }
}
