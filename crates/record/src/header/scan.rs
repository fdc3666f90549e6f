//! The quick way to read a header: one pass over bytes that are laid out as we lay them out, and nothing else. Whatever
//! is unusual it leaves to the slow way, which alone refuses, and says why.

use super::{Audience, FORMAT, Header, PARTIES_MAX};
use crate::{AllianceId, PAYLOAD_BYTES_MAX, RecordId, SALT_BYTES, ShopId, UnixMillis, proto::Kind};

/// Of a field that is a number: `number << 3`.
const fn number_tag(field: u8) -> u8 {
    field << 3
}

/// Of a field that is bytes: `number << 3 | 2`.
const fn bytes_tag(field: u8) -> u8 {
    field << 3 | 2
}

/// A header in canonical form; none: ask the slow way.
pub(super) fn scan(bytes: &[u8]) -> Option<Header> {
    let mut scan = Scan(bytes);
    scan.number(1).filter(|format| *format == u64::from(FORMAT))?;
    let alliance = AllianceId::new(scan.id(2)?);
    let shop = ShopId::new(scan.id(3)?);
    let key_epoch = scan.number(4).map_or(Some(0), |n| u32::try_from(n).ok())?;
    let incarnation = scan.number(5).map_or(Some(0), |n| u32::try_from(n).ok())?;
    let sequence = scan.number(6)?;
    let previous = scan.id(7).map(RecordId::new);
    let time = UnixMillis::new(scan.number(8).map_or(Some(0), |n| i64::try_from(n).ok())?).ok()?;
    let kind = Kind::try_from(i32::try_from(scan.number(9)?).ok()?).ok()?;
    let audience = scan.audience()?;
    let payload_bytes = u32::try_from(scan.number(11)?).ok()?;
    let payload_hash = scan.id(12)?;
    let whole = scan.0.is_empty()
        && (sequence == 1) == previous.is_none()
        && (SALT_BYTES..=PAYLOAD_BYTES_MAX).contains(&usize::try_from(payload_bytes).ok()?);
    whole.then_some(Header {
        alliance,
        shop,
        key_epoch,
        incarnation,
        sequence,
        previous,
        time,
        kind,
        audience,
        payload_bytes,
        payload_hash,
    })
}

/// What is left to read. A field that is not there, or not in canonical form, is none, and nothing is passed over:
/// whoever needs it gives up, and so does the end, which finds something left.
struct Scan<'b>(&'b [u8]);

impl Scan<'_> {
    /// A varint of the shortest form that is not 0: a default is not written.
    fn number(&mut self, field: u8) -> Option<u64> {
        let (&tag, rest) = self.0.split_first()?;
        if tag != number_tag(field) {
            return None;
        }
        let mut value = 0u64;
        for (place, &byte) in rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if place == 9 && bits > 1 {
                return None;
            }
            value |= bits << (7 * place);
            if byte & 0x80 == 0 {
                if bits == 0 {
                    return None;
                }
                self.0 = &rest[place + 1..];
                return Some(value);
            }
        }
        None
    }

    fn id(&mut self, field: u8) -> Option<[u8; 32]> {
        let (head, rest) = self.0.split_first_chunk::<2>()?;
        if *head != [bytes_tag(field), 32] {
            return None;
        }
        let (id, rest) = rest.split_first_chunk::<32>()?;
        self.0 = rest;
        Some(*id)
    }

    fn audience(&mut self) -> Option<Audience> {
        let mut shops = alloc::vec::Vec::new();
        while let Some(shop) = self.id(10).map(ShopId::new) {
            if shops.len() >= PARTIES_MAX || shops.last().is_some_and(|last| *last >= shop) {
                return None;
            }
            shops.push(shop);
        }
        Some(if shops.is_empty() { Audience::Alliance } else { Audience::Parties(shops) })
    }
}
