//! Headers: the signed part of a record, kept as the exact bytes that were signed.

mod scan;

use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;

use crate::{
    AllianceId, IdError, PAYLOAD_BYTES_MAX, RecordId, SALT_BYTES, ShopId, TimeError, UnixMillis, hash,
    proto::{self, Kind},
};

/// The format that this code writes and reads.
pub const FORMAT: u32 = 1;
/// The longest header: sixteen parties and every field at its largest take under 850 bytes.
pub const HEADER_BYTES_MAX: usize = 1_024;
/// The most parties of one record: redeemer, distributor, funder and credited shop need four; bundles some more.
pub const PARTIES_MAX: usize = 16;

/// Who can read a record's payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every member.
    Alliance,
    /// These shops alone, ascending and distinct, 1 to [`PARTIES_MAX`].
    Parties(Vec<ShopId>),
}

impl Audience {
    /// The given shops, put in order, each once. No shop at all means nobody could ever read it: `None`.
    pub fn parties(shops: impl IntoIterator<Item = ShopId>) -> Option<Self> {
        let mut shops: Vec<_> = shops.into_iter().collect();
        shops.sort_unstable();
        shops.dedup();
        (1..=PARTIES_MAX).contains(&shops.len()).then_some(Self::Parties(shops))
    }

    /// The named parties; none for the alliance.
    pub fn named(&self) -> &[ShopId] {
        match self {
            Self::Alliance => &[],
            Self::Parties(shops) => shops,
        }
    }
}

/// A header that is well formed. Whether its author signed it and was entitled to, others check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The alliance that it belongs to.
    pub alliance: AllianceId,
    /// Its author.
    pub shop: ShopId,
    /// Which of the author's signing keys signed.
    pub key_epoch: u32,
    /// How often the author has been restored from a backup.
    pub incarnation: u32,
    /// Place in the author's log, from 1.
    pub sequence: u64,
    /// The author's record before this one; none at sequence 1.
    pub previous: Option<RecordId>,
    /// The author's clock.
    pub time: UnixMillis,
    /// What the payload holds.
    pub kind: Kind,
    /// Who can read the payload.
    pub audience: Audience,
    /// Length of the payload.
    pub payload_bytes: u32,
    /// Hash of the payload.
    pub payload_hash: [u8; 32],
}

/// Why bytes are not a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Longer than [`HEADER_BYTES_MAX`].
    #[error("the header has {0} bytes, more than {HEADER_BYTES_MAX}")]
    TooLong(usize),
    /// Not the message, or not the bytes that we would have written for it.
    #[error("the header is not in canonical form")]
    NotCanonical,
    /// From a newer program.
    #[error("the header has format {0}; this program knows {FORMAT}")]
    Format(u32),
    /// A kind of record that this program does not know.
    #[error("the record's kind {0} is unknown")]
    Kind(i32),
    /// An id of the wrong length.
    #[error("the header's {field} is refused: {source}")]
    Id {
        /// Which field.
        field: &'static str,
        /// Why.
        source: IdError,
    },
    /// Sequence 0, or a previous id missing or too many.
    #[error("sequence number and previous id do not go together")]
    Sequence,
    /// A time that does not exist.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// Too many parties, out of order, or one twice.
    #[error("the parties are not 1 to {PARTIES_MAX} distinct shops in ascending order")]
    Parties,
    /// A payload length out of bounds.
    #[error("a payload of {0} bytes is not within {SALT_BYTES} to {PAYLOAD_BYTES_MAX}")]
    PayloadBytes(u32),
}

impl Header {
    /// Parses the exact bytes: size first, then form, then each field.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(HeaderError::TooLong(bytes.len()));
        }
        match scan::scan(bytes) {
            Some(header) => Ok(header),
            None => Self::parse_slowly(bytes),
        }
    }

    /// By the generated code: slower, and exact about what is wrong.
    fn parse_slowly(bytes: &[u8]) -> Result<Self, HeaderError> {
        let message = proto::Header::decode(bytes).map_err(|_| HeaderError::NotCanonical)?;
        if message.format != FORMAT {
            return Err(HeaderError::Format(message.format));
        }
        if message.encoded_len() != bytes.len() || message.encode_to_vec() != bytes {
            return Err(HeaderError::NotCanonical);
        }
        Self::from_message(&message)
    }

    /// Its one encoding.
    pub fn to_bytes(&self) -> Bytes {
        let message = proto::Header {
            format: FORMAT,
            alliance_id: copy(self.alliance.as_bytes()),
            shop_id: copy(self.shop.as_bytes()),
            key_epoch: self.key_epoch,
            incarnation: self.incarnation,
            sequence: self.sequence,
            previous_id: self.previous.map_or(Bytes::new(), |id| copy(id.as_bytes())),
            time_unix_ms: self.time.ms(),
            kind: self.kind.into(),
            party_ids: self.audience.named().iter().map(|shop| copy(shop.as_bytes())).collect(),
            payload_bytes: self.payload_bytes,
            payload_hash: copy(&self.payload_hash),
        };
        Bytes::from(message.encode_to_vec())
    }

    /// The id of the record with these header bytes.
    pub fn id_of(bytes: &[u8]) -> RecordId {
        RecordId::new(hash::record_id(bytes))
    }

    fn from_message(message: &proto::Header) -> Result<Self, HeaderError> {
        let id = |field, source| HeaderError::Id { field, source };
        let previous = match message.previous_id.as_ref() {
            [] => None,
            bytes => Some(RecordId::try_from(bytes).map_err(|e| id("previous_id", e))?),
        };
        if message.sequence == 0 || (message.sequence == 1) != previous.is_none() {
            return Err(HeaderError::Sequence);
        }
        let payload_range = SALT_BYTES..=PAYLOAD_BYTES_MAX;
        if !payload_range.contains(&usize::try_from(message.payload_bytes).unwrap_or(usize::MAX)) {
            return Err(HeaderError::PayloadBytes(message.payload_bytes));
        }
        Ok(Self {
            alliance: message.alliance_id.as_ref().try_into().map_err(|e| id("alliance_id", e))?,
            shop: message.shop_id.as_ref().try_into().map_err(|e| id("shop_id", e))?,
            key_epoch: message.key_epoch,
            incarnation: message.incarnation,
            sequence: message.sequence,
            previous,
            time: UnixMillis::new(message.time_unix_ms)?,
            kind: parse_kind(message.kind)?,
            audience: parse_audience(&message.party_ids)?,
            payload_bytes: message.payload_bytes,
            payload_hash: message.payload_hash.as_ref().try_into().map_err(|_| {
                id("payload_hash", IdError::Length { expected: 32, found: message.payload_hash.len() })
            })?,
        })
    }
}

fn parse_kind(kind: i32) -> Result<Kind, HeaderError> {
    match Kind::try_from(kind) {
        Ok(Kind::Unspecified) | Err(_) => Err(HeaderError::Kind(kind)),
        Ok(kind) => Ok(kind),
    }
}

fn parse_audience(ids: &[Bytes]) -> Result<Audience, HeaderError> {
    if ids.is_empty() {
        return Ok(Audience::Alliance);
    }
    let parse = |bytes: &Bytes| ShopId::try_from(bytes.as_ref());
    let shops = ids
        .iter()
        .map(parse)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| HeaderError::Id { field: "party_ids", source })?;
    if shops.len() > PARTIES_MAX || !shops.is_sorted_by(|a, b| a < b) {
        return Err(HeaderError::Parties);
    }
    Ok(Audience::Parties(shops))
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            alliance: AllianceId::new([1; 32]),
            shop: ShopId::new([2; 32]),
            key_epoch: 0,
            incarnation: 0,
            sequence: 2,
            previous: Some(RecordId::new([3; 32])),
            time: UnixMillis::new(1_700_000_000_000).unwrap(),
            kind: Kind::Sale,
            audience: Audience::parties([ShopId::new([2; 32])]).unwrap(),
            payload_bytes: 100,
            payload_hash: [4; 32],
        }
    }

    fn refused(change: impl FnOnce(&mut proto::Header)) -> HeaderError {
        let mut message = proto::Header::decode(header().to_bytes()).unwrap();
        change(&mut message);
        Header::parse(&message.encode_to_vec()).unwrap_err()
    }

    #[test]
    fn a_header_has_one_encoding() {
        let bytes = header().to_bytes();
        assert_eq!(Header::parse(&bytes), Ok(header()));
        let mut unknown_field = bytes.to_vec();
        unknown_field.extend([0x98, 0x06, 0x01]);
        assert_eq!(Header::parse(&unknown_field), Err(HeaderError::NotCanonical));
        let mut repeated_field = bytes.to_vec();
        repeated_field.extend([0x08, 0x01]);
        assert_eq!(Header::parse(&repeated_field), Err(HeaderError::NotCanonical));
        assert_eq!(Header::parse(&bytes[..bytes.len() - 1]), Err(HeaderError::NotCanonical));
        assert_eq!(
            Header::parse(&[8; HEADER_BYTES_MAX + 1]),
            Err(HeaderError::TooLong(HEADER_BYTES_MAX + 1))
        );
    }

    #[test]
    fn what_we_write_is_read_the_quick_way() {
        assert_eq!(scan::scan(&header().to_bytes()), Some(header()));
    }

    #[test]
    fn every_field_out_of_bounds_has_its_own_refusal() {
        assert_eq!(refused(|h| h.format = 2), HeaderError::Format(2));
        assert_eq!(refused(|h| h.kind = 0), HeaderError::Kind(0));
        assert_eq!(refused(|h| h.kind = 9_999), HeaderError::Kind(9_999));
        assert_eq!(refused(|h| h.sequence = 0), HeaderError::Sequence);
        assert_eq!(refused(|h| h.sequence = 1), HeaderError::Sequence);
        assert_eq!(refused(|h| h.previous_id = Bytes::new()), HeaderError::Sequence);
        assert_eq!(refused(|h| h.time_unix_ms = -1), HeaderError::Time(TimeError(-1)));
        assert_eq!(refused(|h| h.time_unix_ms = i64::MAX), HeaderError::Time(TimeError(i64::MAX)));
        assert_eq!(refused(|h| h.payload_bytes = 15), HeaderError::PayloadBytes(15));
        assert_eq!(refused(|h| h.payload_bytes = u32::MAX), HeaderError::PayloadBytes(u32::MAX));
        assert_eq!(refused(|h| h.party_ids = vec![copy(&[2; 32]), copy(&[2; 32])]), HeaderError::Parties);
        assert!(matches!(refused(|h| h.shop_id = copy(&[2; 31])), HeaderError::Id { field: "shop_id", .. }));
        assert!(matches!(
            refused(|h| h.party_ids = vec![copy(b"x")]),
            HeaderError::Id { field: "party_ids", .. }
        ));
        let many = (0..=16u8).map(|n| copy(&[n; 32])).collect();
        assert_eq!(refused(|h| h.party_ids = many), HeaderError::Parties);
    }

    #[test]
    fn the_largest_header_fits_its_bound() {
        let shops = (0..16u8).map(|n| ShopId::new([n; 32]));
        let largest = Header {
            key_epoch: u32::MAX,
            incarnation: u32::MAX,
            sequence: u64::MAX,
            time: UnixMillis::MAX,
            audience: Audience::parties(shops).unwrap(),
            payload_bytes: 65_536,
            ..header()
        };
        let bytes = largest.to_bytes();
        assert!(bytes.len() <= HEADER_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Header::parse(&bytes), Ok(largest));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_what_parses_encodes_to_itself(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert_eq!(header.to_bytes(), bytes);
            }
        }

        #[test]
        fn the_quick_way_and_the_slow_way_agree_on_every_byte(
            sequence in 0u64..3,
            epoch in prop_oneof![Just(0u32), any::<u32>()],
            ms in prop_oneof![Just(0i64), any::<i64>()],
            kind in -1i32..40,
            parties in proptest::collection::vec(any::<[u8; 32]>(), 0..4),
            payload_bytes in prop_oneof![Just(0u32), 10u32..20, Just(65_537u32), any::<u32>()],
            change in proptest::option::of((0usize..400, any::<u8>())),
            cut in 0usize..3,
        ) {
            let mut message = proto::Header::decode(header().to_bytes()).unwrap();
            (message.sequence, message.key_epoch, message.time_unix_ms) = (sequence, epoch, ms);
            (message.incarnation, message.kind, message.payload_bytes) = (epoch, kind, payload_bytes);
            message.party_ids = parties.iter().map(|id| copy(id)).collect();
            if sequence == 1 {
                message.previous_id = Bytes::new();
            }
            let mut bytes = message.encode_to_vec();
            if let Some((position, value)) = change {
                let position = position % bytes.len();
                bytes[position] = value;
            }
            bytes.truncate(bytes.len() - cut / 2);
            prop_assert_eq!(Header::parse(&bytes), Header::parse_slowly(&bytes));
        }

        #[test]
        fn a_mutated_header_is_refused_or_has_another_id(position in 0usize..200, bit in 0u8..8) {
            let good = header().to_bytes();
            let mut bad = good.to_vec();
            let position = position % bad.len();
            bad[position] ^= 1 << bit;
            if let Ok(parsed) = Header::parse(&bad) {
                prop_assert_ne!(parsed, header());
                prop_assert_ne!(Header::id_of(&bad), Header::id_of(&good));
            }
        }
    }
}
