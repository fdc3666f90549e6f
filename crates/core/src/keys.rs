//! Which key signs a shop's records, from which place of its log on. The identity names the keys of epoch 0; each later
//! epoch begins after a rotation record, which the ingest ladder has checked. Rotations are heard at once, however far a
//! log is folded: the records after them could not be taken in otherwise.

use alloc::{collections::BTreeMap, vec::Vec};

use bytes::Bytes;
use hutong_record::{
    EncryptionKey, PublicKey, Record, ShopId, Succession, SuccessionError, proto, proto::Kind,
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
    /// Place of the rotation record: the epoch begins after it.
    rotated_at: u64,
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
}

/// What a rotation record says. It was checked on the ladder.
fn succession_of(record: &Record, message: &Bytes) -> Option<Succession> {
    let header = record.header();
    if header.kind != Kind::KeyRotation || !header.audience.named().is_empty() {
        return None;
    }
    let succession = parse(message).ok()?;
    (succession.shop() == header.shop).then_some(succession)
}

/// Reads the message of a rotation record; its signatures are not looked at.
fn parse(message: &Bytes) -> Result<Succession, SuccessionError> {
    Succession::parse(&signed_succession(message)?)
}

/// The succession in the message of a rotation record. Ladder and fold read it by this alone, and only as it would be
/// written: a record that one of them took and the other did not would part the nodes.
pub(crate) fn signed_succession(message: &Bytes) -> Result<proto::SignedKeySuccession, SuccessionError> {
    let rotation = proto::KeyRotation::decode(message.clone()).map_err(|_| SuccessionError::Malformed)?;
    if rotation.encode_to_vec() != *message {
        return Err(SuccessionError::Malformed);
    }
    rotation.succession.ok_or(SuccessionError::Malformed)
}

impl KeyBook {
    pub(crate) fn load(view: &(impl Reader + ?Sized)) -> Result<Self, ViewError> {
        let damaged = || ViewError::Damaged("table of keys".into());
        let entries = table::collect(view, &[table::KEY], |key, value| {
            let (shop, epoch) = table::parse_key(key).ok_or_else(damaged)?;
            let (rotated_at, message): (u64, Vec<u8>) = table::decode(key, value)?;
            let succession = parse(&Bytes::from(message)).map_err(|_| damaged())?;
            Ok((shop, epoch, Epoch { rotated_at, succession }))
        })?;
        let mut book = Self::default();
        for (shop, number, epoch) in entries {
            book.0.entry(shop).or_default().insert(number, epoch);
        }
        Ok(book)
    }

    /// Takes note of a rotation. The epoch to which it leads, where that is news.
    fn hear(&mut self, record: &Record, message: &Bytes) -> Option<u32> {
        let succession = succession_of(record, message)?;
        let header = record.header();
        let epoch = Epoch { rotated_at: header.sequence, succession };
        let (shop, number) = (header.shop, epoch.succession.epoch());
        let before = self.0.entry(shop).or_default().insert(number, epoch.clone());
        (before != Some(epoch)).then_some(number)
    }

    fn epoch(&self, shop: ShopId, epoch: u32) -> Option<&Epoch> {
        self.0.get(&shop)?.get(&epoch)
    }

    fn newest(&self, shop: ShopId) -> Option<&Succession> {
        Some(&self.0.get(&shop)?.last_key_value()?.1.succession)
    }

    /// The epoch of a record at a place of a log: the one after the last rotation before it.
    pub(crate) fn epoch_at(&self, shop: ShopId, sequence: u64) -> u32 {
        let begun = |(_, epoch): &(&u32, &Epoch)| epoch.rotated_at < sequence;
        let epochs = self.0.get(&shop).into_iter().flatten();
        epochs.filter(begun).map(|(number, _)| *number).max().unwrap_or(0)
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

    /// Where the log of a shop goes on in an epoch: after this record. None: the epoch is the first, or not known.
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
        let found = self.keys.epoch(shop, epoch).filter(|epoch| counts(epoch.rotated_at));
        found.map(|epoch| *epoch.succession.signing_key()).ok_or(NoKey::Epoch)
    }

    /// Whether a shop is or was in.
    pub(crate) fn was_admitted(&self, shop: ShopId) -> bool {
        self.judge().shop(shop).is_some_and(Member::was_admitted)
    }

    /// Takes note of a rotation; true: it is news.
    pub(crate) fn hear_rotation<R: Reader + ?Sized>(
        &mut self,
        view: &mut Overlay<'_, R>,
        record: &Record,
        message: Option<&Bytes>,
    ) -> bool {
        let Some(message) = message else { return false };
        let Some(epoch) = self.keys.hear(record, message) else { return false };
        let header = record.header();
        table::write(view, table::key_of(header.shop, epoch), &(header.sequence, message.to_vec()));
        true
    }

    /// A log goes on in a new incarnation from before its end: rotations that it held from there on do not count, and
    /// those among its new records do.
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
