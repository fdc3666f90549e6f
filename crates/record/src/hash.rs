//! Every hash and signature is made over a domain tag of its own, so that bytes of one kind never pass for another.

use crate::AllianceId;

pub(crate) const RECORD: &str = "hutong 2026 v1 record id";
pub(crate) const PAYLOAD: &str = "hutong 2026 v1 payload";
pub(crate) const SHOP: &str = "hutong 2026 v1 shop id";
pub(crate) const ALLIANCE: &str = "hutong 2026 v1 alliance id";
pub(crate) const PAIR: &str = "hutong 2026 v1 pair id";
pub(crate) const ENCRYPTION_SEED: &str = "hutong 2026 v1 encryption key";
pub(crate) const SIGNING_SEED: &str = "hutong 2026 v1 signing key";
pub(crate) const RECOVERY_SEED: &str = "hutong 2026 v1 recovery key";
pub(crate) const RECOVERY: &str = "hutong 2026 v1 recovery key hash";
const MOTION: &str = "hutong 2026 v1 motion id";
const REQUEST: &str = "hutong 2026 v1 request";
const VOUCHER_BODY: &str = "hutong 2026 v1 voucher body";

pub(crate) const SIGN_HEADER: &[u8] = b"hutong v1 header\0";
pub(crate) const SIGN_IDENTITY: &[u8] = b"hutong v1 identity\0";
pub(crate) const SIGN_VOUCHER_CLAIM: &[u8] = b"hutong v1 voucher claim\0";
pub(crate) const SIGN_VOUCHER_RIGHT: &[u8] = b"hutong v1 voucher right\0";
pub(crate) const SEAL_INFO: &[u8] = b"hutong v1 sealed payload\0";

pub(crate) fn tagged(tag: &str, bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key(tag, bytes)
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
