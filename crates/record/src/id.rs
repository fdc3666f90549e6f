//! Ids: fixed-size byte strings, shown as lower-case hex.

use alloc::string::String;
use core::{cmp::Ordering, fmt, str::FromStr};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use crate::hash;

/// Why bytes or text are not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Ids have one length each.
    #[error("an id of {expected} bytes was expected, not {found}")]
    Length {
        /// The length of this kind of id, bytes.
        expected: usize,
        /// What came, bytes.
        found: usize,
    },
    /// Text ids are hex digits.
    #[error("not hexadecimal")]
    Hex,
}

/// The first eight bytes as a number; ids have more.
const fn first_bytes(id: &[u8]) -> u64 {
    match id.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => 0,
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $bytes;

            /// From its bytes.
            pub const fn new(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// Its first eight hex digits, for logs and tables.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..4])
            }
        }

        /// As the bytes are ordered. Ids are hashes, so the first bytes tell nearly always, in one step: maps by id are
        /// looked through for every record.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                first_bytes(&self.0).cmp(&first_bytes(&other.0)).then_with(|| self.0.cmp(&other.0))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                let found = bytes.len();
                bytes.try_into().map(Self).map_err(|_| IdError::Length { expected: $bytes, found })
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let length = || IdError::Length { expected: $bytes, found: text.len() / 2 };
                if text.len() != 2 * $bytes {
                    return Err(length());
                }
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| IdError::Hex)?;
                Self::try_from(bytes.as_slice())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }
    };
}

id!(
    /// A shop, in every alliance: the hash of its first identity.
    ShopId,
    32
);
id!(
    /// An alliance: the hash of its charter.
    AllianceId,
    32
);
id!(
    /// A record: the hash of its header. The id of a promotion, sale or redemption is that of its record.
    RecordId,
    32
);
id!(
    /// Two shops in either order.
    PairId,
    16
);

impl PairId {
    /// The pair of two shops; the order does not matter.
    pub fn of(one: ShopId, other: ShopId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(low.as_bytes());
        bytes[32..].copy_from_slice(high.as_bytes());
        let digest = hash::tagged(hash::PAIR, &bytes);
        let mut id = [0; Self::BYTES];
        id.copy_from_slice(&digest[..Self::BYTES]);
        Self(id)
    }
}

/// A customer's random alliance number. It says who came where, so it is never shown by `Debug`, and so never logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CardId([u8; 16]);

impl CardId {
    /// Length in bytes.
    pub const BYTES: usize = 16;

    /// From its bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its 32 hex digits, for the customer's own till and phone.
    pub fn reveal(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl TryFrom<&[u8]> for CardId {
    type Error = IdError;

    fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
        let found = bytes.len();
        bytes.try_into().map(Self).map_err(|_| IdError::Length { expected: Self::BYTES, found })
    }
}

impl FromStr for CardId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| IdError::Hex)?;
        Self::try_from(bytes.as_slice())
    }
}

impl fmt::Debug for CardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CardId(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        let id = ShopId::new([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("AB".repeat(32).parse(), Ok(id));
        assert_eq!(ShopId::try_from(&[0xab; 32][..]), Ok(id));
    }

    #[test]
    fn wrong_length_and_bad_digits_are_refused() {
        assert_eq!("ab".parse::<ShopId>(), Err(IdError::Length { expected: 32, found: 1 }));
        assert_eq!("zz".repeat(32).parse::<ShopId>(), Err(IdError::Hex));
        assert_eq!(ShopId::try_from(&[1; 31][..]), Err(IdError::Length { expected: 32, found: 31 }));
        assert_eq!("é".repeat(32).parse::<ShopId>(), Err(IdError::Hex));
    }

    #[test]
    fn ids_are_ordered_as_their_bytes_are() {
        let ids = [0, 7, 8, 31].into_iter().flat_map(|place| {
            [1, 0x7f, 0x80, 0xff].map(|byte| {
                let mut id = [0x7f; 32];
                id[place] = byte;
                id
            })
        });
        let ids: alloc::vec::Vec<_> = ids.collect();
        for (one, other) in ids.iter().flat_map(|one| ids.iter().map(move |other| (one, other))) {
            assert_eq!(ShopId::new(*one).cmp(&ShopId::new(*other)), one.cmp(other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_pair_has_one_id_in_either_order() {
        let (a, b) = (ShopId::new([1; 32]), ShopId::new([2; 32]));
        assert_eq!(PairId::of(a, b), PairId::of(b, a));
        assert_ne!(PairId::of(a, b), PairId::of(a, a));
    }

    #[test]
    fn a_card_is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", CardId::new([7; 16])), "CardId(..)");
    }
}
