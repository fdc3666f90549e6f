//! Whatever a member signs, folding it neither panics nor takes the views for damaged.
//!
//! The input is a list of records of the founder: kind, audience, length of the message (two bytes), message.
#![no_main]

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use hutong_core::{
    alliance::Alliance,
    charter::Charter,
    view::{Batch, Overlay, Reader, ViewError},
};
use hutong_record::{
    Audience, Draft, Identity, Payload, Record, RecordId, RecoverySeed, SigningKey, UnixMillis,
    proto::{self, Kind},
    sign,
};
use libfuzzer_sys::fuzz_target;

const RECORDS_MAX: usize = 8;

struct Street {
    charter: Charter,
    key: SigningKey,
    /// Views with the charter's record folded.
    views: Map,
    head: RecordId,
}

static STREET: LazyLock<Street> = LazyLock::new(found);

fuzz_target!(|bytes: &[u8]| {
    let mut alliance = alliance(&STREET.charter, &STREET.views);
    let mut view = Overlay::new(&STREET.views);
    let mut previous = STREET.head;
    let mut rest = bytes;
    for sequence in 2..2 + RECORDS_MAX as u64 {
        let Some((kind, audience, message)) = next(&mut rest) else { return };
        let record = write(&STREET.key, &STREET.charter, sequence, Some(previous), (kind, audience), message);
        previous = record.id();
        let effects = alliance.fold(&mut view, &record, Some(Bytes::copy_from_slice(message)));
        if !effects.expect("nothing that a member writes damages the views").folded {
            return;
        }
    }
});

fn next<'a>(rest: &mut &'a [u8]) -> Option<(Kind, Audience, &'a [u8])> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    let kind = Kind::try_from(i32::from(head[0])).ok().filter(|kind| *kind != Kind::Unspecified)?;
    let founder = STREET.charter.founder.id();
    let audience = if head[1] & 1 == 0 { Audience::Alliance } else { Audience::parties([founder])? };
    let length = usize::from(u16::from_le_bytes([head[2], head[3]])).min(tail.len());
    let (message, tail) = tail.split_at(length);
    *rest = tail;
    Some((kind, audience, message))
}

fn found() -> Street {
    let seed = RecoverySeed::new([7; 32]);
    let founder = Identity::create(&seed, UnixMillis::EPOCH, &mut Zeros);
    let charter = Charter::write(&proto::Charter {
        name: "fuzz".into(),
        currency_code: "CNY".into(),
        admission_votes: 1,
        removal_votes: 1,
        founder: Some(founder.signed().clone()),
        salt: Bytes::from_static(&[0; 16]),
        ..Default::default()
    })
    .expect("the charter is in order");
    let key = SigningKey::from_seed(&seed.signing_seed());
    let record = write(&key, &charter, 1, None, (Kind::Charter, Audience::Alliance), charter.bytes());
    let empty = Map::default();
    let mut view = Overlay::new(&empty);
    let effects = alliance(&charter, &empty).fold(&mut view, &record, Some(charter.bytes().clone()));
    assert!(effects.expect("empty views are sound").folded);
    let views = Map::of(view.into_writes());
    Street { charter, key, views, head: record.id() }
}

fn alliance(charter: &Charter, views: &Map) -> Alliance {
    Alliance::load(charter.clone(), charter.founder.id(), views).expect("the views are sound")
}

fn write(
    key: &SigningKey,
    charter: &Charter,
    sequence: u64,
    previous: Option<RecordId>,
    (kind, audience): (Kind, Audience),
    message: &[u8],
) -> Record {
    let draft = Draft {
        alliance: charter.id,
        shop: charter.founder.id(),
        key_epoch: 0,
        incarnation: 0,
        sequence,
        previous,
        time: UnixMillis::new(1_700_000_000_000).expect("a time"),
        kind,
        audience,
    };
    sign(draft, Payload::clear(message, &mut Zeros).expect("under 64 KB"), key)
}

#[derive(Default)]
struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

impl Map {
    fn of(writes: Batch) -> Self {
        Self(writes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }
}

impl Reader for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        let entries = self.0.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        for (key, value) in entries.filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after)) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

/// Salts do not matter here.
struct Zeros;

impl rand_core::TryRng for Zeros {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill(0);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Zeros {}
