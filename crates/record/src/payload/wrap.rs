//! A key sealed to a party by HPKE (RFC 9180), base mode.

use bytes::Bytes;
use hpke::{
    Deserializable as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305, kdf::HkdfSha256,
    kem::X25519HkdfSha256 as Kem,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::PayloadError;
use crate::{DecryptionKey, EncryptionKey, proto};

pub(super) fn seal(
    key: &[u8; 32],
    party: &EncryptionKey,
    info: &[u8],
    data: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<proto::SealedKey, PayloadError> {
    let (encapsulated, wrapped) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        party.hpke(),
        info,
        key,
        data,
        rng,
    )
    .map_err(|_| PayloadError::Unsealable)?;
    Ok(proto::SealedKey {
        encapsulated: Bytes::copy_from_slice(&encapsulated.to_bytes()),
        wrapped: Bytes::from(wrapped),
    })
}

/// None: it does not open with this key, or not for this.
pub(super) fn open(
    slot: &proto::SealedKey,
    key: &DecryptionKey,
    info: &[u8],
    data: &[u8],
) -> Option<Zeroizing<[u8; 32]>> {
    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(&slot.encapsulated).ok()?;
    let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        key.hpke(),
        &encapsulated,
        info,
        &slot.wrapped,
        data,
    );
    let opened = Zeroizing::new(opened.ok()?);
    Some(Zeroizing::new(opened.as_slice().try_into().ok()?))
}
