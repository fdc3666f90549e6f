//! Every hash and signature is made over a domain tag of its own, so that bytes of one kind never pass for another.

use blake3::{
    Hasher,
    hazmat::{ContextKey, HasherExt as _},
};

use crate::AllianceId;

#[cfg(test)]
const RECORD: &str = "hutong 2026 v1 record id";
#[cfg(test)]
const PAYLOAD: &str = "hutong 2026 v1 payload";
pub(crate) const SHOP: &str = "hutong 2026 v1 shop id";
pub(crate) const ALLIANCE: &str = "hutong 2026 v1 alliance id";
pub(crate) const PAIR: &str = "hutong 2026 v1 pair id";
pub(crate) const ENCRYPTION_SEED: &str = "hutong 2026 v1 encryption key";
pub(crate) const SIGNING_SEED: &str = "hutong 2026 v1 signing key";
pub(crate) const ENCRYPTION_SEED_OF: &str = "hutong 2026 v1 encryption key of an epoch";
pub(crate) const SIGNING_SEED_OF: &str = "hutong 2026 v1 signing key of an epoch";
pub(crate) const RECOVERY_SEED: &str = "hutong 2026 v1 recovery key";
pub(crate) const RECOVERY: &str = "hutong 2026 v1 recovery key hash";
const MOTION: &str = "hutong 2026 v1 motion id";
const REQUEST: &str = "hutong 2026 v1 request";
const SESSION: &str = "hutong 2026 v1 sealed session id";
const VOUCHER_BODY: &str = "hutong 2026 v1 voucher body";

pub(crate) const SIGN_HEADER: &[u8] = b"hutong v1 header\0";
pub(crate) const SIGN_IDENTITY: &[u8] = b"hutong v1 identity\0";
pub(crate) const SIGN_VOUCHER_CLAIM: &[u8] = b"hutong v1 voucher claim\0";
pub(crate) const SIGN_VOUCHER_RIGHT: &[u8] = b"hutong v1 voucher right\0";
pub(crate) const SIGN_KNOCK: &[u8] = b"hutong v1 guest knock\0";
pub(crate) const SIGN_SUCCESSION: &[u8] = b"hutong v1 key succession\0";
pub(crate) const SIGN_REVOCATION: &[u8] = b"hutong v1 key revocation\0";
pub(crate) const SIGN_CONTINUATION: &[u8] = b"hutong v1 continuation\0";
pub(crate) const SIGN_NEW_KEY: &[u8] = b"hutong v1 key of an epoch\0";
/// Of a key that seals one payload, as it was done at first.
pub(crate) const SEAL_INFO: &[u8] = b"hutong v1 sealed payload\0";
pub(crate) const SEAL_SESSION: &[u8] = b"hutong v1 sealed session\0";

/// A domain tag's own hash, made beforehand: every record is hashed twice, and its tags would cost as much again. A test
/// makes them anew.
const RECORD_KEY: ContextKey = [
    0x1e, 0x79, 0x32, 0x4e, 0x19, 0x03, 0xd0, 0xa4, 0x1a, 0x70, 0xfe, 0xda, 0x8c, 0xe4, 0xc4, 0xfa, 0x83,
    0x46, 0x19, 0xb0, 0x31, 0x61, 0x49, 0x4f, 0xbb, 0xed, 0xea, 0x43, 0x27, 0x35, 0xbe, 0x7c,
];
const PAYLOAD_KEY: ContextKey = [
    0x6a, 0x05, 0x37, 0x67, 0x5e, 0xfc, 0xa5, 0x93, 0xc9, 0x2c, 0x4f, 0xd2, 0xdd, 0x30, 0xd8, 0xf3, 0x0a,
    0xc5, 0x02, 0x90, 0xea, 0xae, 0x3d, 0xe9, 0xc2, 0x72, 0x4e, 0xe8, 0x8f, 0xfa, 0x24, 0x67,
];

/// The id of the record with these header bytes.
pub(crate) fn record_id(header: &[u8]) -> [u8; 32] {
    keyed(&RECORD_KEY, header)
}

/// What a header binds its payload by.
pub(crate) fn payload(bytes: &[u8]) -> [u8; 32] {
    keyed(&PAYLOAD_KEY, bytes)
}

fn keyed(key: &ContextKey, bytes: &[u8]) -> [u8; 32] {
    *Hasher::new_from_context_key(key).update(bytes).finalize().as_bytes()
}

pub(crate) fn tagged(tag: &str, bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key(tag, bytes)
}

/// A payload's content key and its commitment, one after the other.
pub(crate) fn content_key(session: &[u8; 32], salt: &[u8; 16], place: &[u8], derived: &mut [u8; 64]) {
    Hasher::new_keyed(session).update(salt).update(place).finalize_xof().fill(derived);
}

/// Names a sealed session key.
pub(crate) fn session(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Hasher::new_derive_key(SESSION);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// The alliance that a charter founds: the hash of its exact bytes.
pub fn alliance_id(charter: &[u8]) -> AllianceId {
    AllianceId::new(tagged(ALLIANCE, charter))
}

/// What votes add up under: the hash of an encoded motion.
pub fn motion_id(motion: &[u8]) -> [u8; 32] {
    tagged(MOTION, motion)
}

/// The fingerprint of a till's request, so that a repeated request id with another body is noticed.
pub fn request_hash(canonical_request: &[u8]) -> [u8; 32] {
    tagged(REQUEST, canonical_request)
}

/// What a voucher's claim names its body by: others can be shown the claim without the body's card and secret.
pub fn voucher_body_hash(body: &[u8]) -> [u8; 32] {
    tagged(VOUCHER_BODY, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_hashed_beforehand_give_the_same_hashes() {
        assert_eq!(RECORD_KEY, blake3::hazmat::hash_derive_key_context(RECORD));
        assert_eq!(PAYLOAD_KEY, blake3::hazmat::hash_derive_key_context(PAYLOAD));
        for length in [0, 1, 64, 1_024, 1_025, 65_536] {
            let bytes = alloc::vec![7; length];
            assert_eq!(record_id(&bytes), tagged(RECORD, &bytes));
            assert_eq!(payload(&bytes), tagged(PAYLOAD, &bytes));
        }
    }
}
