//! Overrides: a shop whose signing key was stolen goes on with the keys of a later epoch from a place that it chooses, and
//! nothing that older keys signed past that place counts. The shop's recovery key orders it, for that place alone.

use bytes::Bytes;
use prost::Message as _;

use crate::{
    AllianceId, Header, Identity, KEY_EPOCH_MAX, PublicKey, RecordId, RecoverySeed, ShopId, Signature,
    SignatureError, Succession, SuccessionError, canonical, hash, proto,
};

/// The longest revocation, bytes; ours have at most 117.
const REVOCATION_BYTES_MAX: usize = 128;

/// Where older keys are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutOff {
    /// In which alliance's log.
    pub alliance: AllianceId,
    /// The epoch whose keys go on; those before it are cut off.
    pub epoch: u32,
    /// The last record that counts before, from 1.
    pub last_sequence: u64,
    /// Its id.
    pub last_id: RecordId,
}

/// An override whose proofs were verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOverride {
    succession: Succession,
    cut_off: CutOff,
    message: proto::KeyOverride,
}

/// Why a message is no override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// Too long, not the message, or not the bytes that we would have written.
    #[error("the key override is malformed")]
    Malformed,
    /// Its keys are not those of a later epoch of the shop.
    #[error(transparent)]
    Succession(#[from] SuccessionError),
    /// Succession and revocation are of different shops or epochs.
    #[error("the key override's parts do not belong together")]
    Parts,
    /// Not ordered by the shop's recovery key.
    #[error("the key override is not ordered by the shop's recovery key")]
    NotOrdered,
    /// It was ordered for another place, log or epoch than the record's.
    #[error("the key override was ordered for another place")]
    OtherPlace,
}

impl KeyOverride {
    /// Makes the override of the shop that grew from a seed; none where the seed is another shop's, or epoch or place are
    /// out of bounds.
    pub fn create(seed: &RecoverySeed, identity: &Identity, cut_off: &CutOff) -> Option<Self> {
        let succession = Succession::create(seed, identity, cut_off.epoch)?;
        let message = proto::KeyRevocation {
            shop_id: Bytes::copy_from_slice(identity.id().as_bytes()),
            alliance_id: Bytes::copy_from_slice(cut_off.alliance.as_bytes()),
            key_epoch: cut_off.epoch,
            last_sequence: cut_off.last_sequence,
            last_id: Bytes::copy_from_slice(cut_off.last_id.as_bytes()),
        };
        let revocation = Bytes::from(message.encode_to_vec());
        let ordered = seed.recovery_key().sign(hash::SIGN_REVOCATION, &revocation);
        let message = proto::KeyOverride {
            succession: Some(succession.signed().clone()),
            revocation,
            recovery_signature: Bytes::copy_from_slice(&ordered),
        };
        Self::verify(&message, identity).ok()
    }

    /// Checks form, keys, and all signatures.
    ///
    /// # Errors
    /// See [`OverrideError`].
    pub fn verify(message: &proto::KeyOverride, identity: &Identity) -> Result<Self, OverrideError> {
        let parsed = Self::parse(message)?;
        // That the recovery key is the shop's, the succession shows.
        Succession::verify(parsed.succession.signed(), identity)?;
        let recovery_key =
            PublicKey::admit(&parsed.succession.signed().recovery_key).map_err(SuccessionError::Key)?;
        let signature: Result<&Signature, _> = message.recovery_signature.as_ref().try_into();
        let signature = signature.map_err(|_| OverrideError::NotOrdered)?;
        recovery_key
            .verify(hash::SIGN_REVOCATION, &message.revocation, signature)
            .map_err(|SignatureError| OverrideError::NotOrdered)?;
        Ok(parsed)
    }

    /// Reads an override that was verified before, as of a record that is held.
    ///
    /// # Errors
    /// See [`OverrideError`].
    pub fn parse(message: &proto::KeyOverride) -> Result<Self, OverrideError> {
        let malformed = || OverrideError::Malformed;
        if message.revocation.len() > REVOCATION_BYTES_MAX {
            return Err(malformed());
        }
        let revocation: proto::KeyRevocation = canonical(message.revocation.clone()).ok_or_else(malformed)?;
        let succession = Succession::parse(message.succession.as_ref().ok_or_else(malformed)?)?;
        let shop = ShopId::try_from(revocation.shop_id.as_ref()).map_err(|_| malformed())?;
        if (shop, revocation.key_epoch) != (succession.shop(), succession.epoch()) {
            return Err(OverrideError::Parts);
        }
        if revocation.last_sequence == 0 || !(1..=KEY_EPOCH_MAX).contains(&revocation.key_epoch) {
            return Err(malformed());
        }
        let cut_off = CutOff {
            alliance: AllianceId::try_from(revocation.alliance_id.as_ref()).map_err(|_| malformed())?,
            epoch: revocation.key_epoch,
            last_sequence: revocation.last_sequence,
            last_id: RecordId::try_from(revocation.last_id.as_ref()).map_err(|_| malformed())?,
        };
        Ok(Self { succession, cut_off, message: message.clone() })
    }

    /// Whether it was ordered for the place where a record stands.
    ///
    /// # Errors
    /// [`OverrideError::OtherPlace`].
    pub fn check_place(&self, header: &Header) -> Result<(), OverrideError> {
        let CutOff { alliance, epoch, last_sequence, last_id } = self.cut_off;
        let here = (header.alliance, header.shop, header.key_epoch) == (alliance, self.shop(), epoch)
            && last_sequence.checked_add(1) == Some(header.sequence)
            && header.previous == Some(last_id);
        if here { Ok(()) } else { Err(OverrideError::OtherPlace) }
    }

    /// Whose keys.
    pub const fn shop(&self) -> ShopId {
        self.succession.shop()
    }

    /// The keys that go on.
    pub const fn succession(&self) -> &Succession {
        &self.succession
    }

    /// Where the keys before are cut off.
    pub const fn cut_off(&self) -> &CutOff {
        &self.cut_off
    }

    /// As it travels.
    pub const fn message(&self) -> &proto::KeyOverride {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::{Audience, SigningKey, UnixMillis, proto::Kind};

    fn seed(n: u8) -> RecoverySeed {
        RecoverySeed::new([n; 32])
    }

    fn identity(n: u8) -> Identity {
        Identity::create(&seed(n), UnixMillis::EPOCH, &mut StdRng::seed_from_u64(1))
    }

    fn cut_off() -> CutOff {
        CutOff {
            alliance: AllianceId::new([7; 32]),
            epoch: 2,
            last_sequence: 9,
            last_id: RecordId::new([9; 32]),
        }
    }

    fn made() -> KeyOverride {
        KeyOverride::create(&seed(5), &identity(5), &cut_off()).unwrap()
    }

    fn header() -> Header {
        Header {
            alliance: AllianceId::new([7; 32]),
            shop: identity(5).id(),
            key_epoch: 2,
            incarnation: crate::incarnation_first(2),
            sequence: 10,
            previous: Some(RecordId::new([9; 32])),
            time: UnixMillis::EPOCH,
            kind: Kind::KeyOverride,
            audience: Audience::Alliance,
            payload_bytes: 400,
            payload_hash: [0; 32],
        }
    }

    /// Whoever has the key signs a revocation that says something else.
    fn signed_anew(
        change: impl FnOnce(&mut proto::KeyRevocation),
        recovery: &SigningKey,
    ) -> proto::KeyOverride {
        let mut message = made().message().clone();
        let mut revocation = proto::KeyRevocation::decode(message.revocation.clone()).unwrap();
        change(&mut revocation);
        message.revocation = revocation.encode_to_vec().into();
        let signature = recovery.sign(hash::SIGN_REVOCATION, &message.revocation);
        message.recovery_signature = Bytes::copy_from_slice(&signature);
        message
    }

    #[test]
    fn an_override_is_checked_by_the_identity_alone_and_holds_in_one_place() {
        let made = made();
        assert_eq!(KeyOverride::verify(made.message(), &identity(5)), Ok(made.clone()));
        assert_eq!(*made.cut_off(), cut_off());
        assert_eq!(made.check_place(&header()), Ok(()));
        let elsewhere: [&dyn Fn(&mut Header); 5] = [
            &|h| h.sequence = 11,
            &|h| h.previous = Some(RecordId::new([8; 32])),
            &|h| h.key_epoch = 3,
            &|h| h.alliance = AllianceId::new([8; 32]),
            &|h| h.shop = ShopId::new([8; 32]),
        ];
        for change in elsewhere {
            let mut header = header();
            change(&mut header);
            assert_eq!(made.check_place(&header), Err(OverrideError::OtherPlace));
        }
    }

    #[test]
    fn neither_a_signing_key_nor_an_old_succession_makes_one() {
        let thief = SigningKey::from_seed(&seed(5).signing_seed());
        let forged = signed_anew(|m| m.last_sequence = 3, &thief);
        assert_eq!(KeyOverride::verify(&forged, &identity(5)), Err(OverrideError::NotOrdered));
        // A signature over the succession, which is public, does not pass for one over the revocation.
        let mut borrowed = made().message().clone();
        borrowed.recovery_signature = made().succession().signed().recovery_signature.clone();
        assert_eq!(KeyOverride::verify(&borrowed, &identity(5)), Err(OverrideError::NotOrdered));
        let of_other = KeyOverride::create(&seed(6), &identity(6), &cut_off()).unwrap();
        let refused = KeyOverride::verify(of_other.message(), &identity(5));
        assert_eq!(refused, Err(SuccessionError::OtherShop.into()));
    }

    #[test]
    fn every_bad_part_has_its_own_refusal() {
        let recovery = seed(5).recovery_key();
        let refused = |change: &dyn Fn(&mut proto::KeyRevocation)| {
            KeyOverride::verify(&signed_anew(change, &recovery), &identity(5)).unwrap_err()
        };
        assert_eq!(refused(&|m| m.key_epoch = 1), OverrideError::Parts);
        assert_eq!(refused(&|m| m.shop_id = Bytes::from_static(&[1; 32])), OverrideError::Parts);
        assert_eq!(refused(&|m| m.shop_id = Bytes::new()), OverrideError::Malformed);
        assert_eq!(refused(&|m| m.last_sequence = 0), OverrideError::Malformed);
        assert_eq!(refused(&|m| m.last_id = Bytes::new()), OverrideError::Malformed);
        assert_eq!(refused(&|m| m.alliance_id = Bytes::new()), OverrideError::Malformed);
        let mut long = made().message().clone();
        long.revocation = Bytes::from(alloc::vec![0; REVOCATION_BYTES_MAX + 1]);
        assert_eq!(KeyOverride::verify(&long, &identity(5)), Err(OverrideError::Malformed));
        let bare = proto::KeyOverride { succession: None, ..made().message().clone() };
        assert_eq!(KeyOverride::verify(&bare, &identity(5)), Err(OverrideError::Malformed));
        let nothing_before = CutOff { last_sequence: 0, ..cut_off() };
        assert_eq!(KeyOverride::create(&seed(5), &identity(5), &nothing_before), None);
        let first_keys = CutOff { epoch: 0, ..cut_off() };
        assert_eq!(KeyOverride::create(&seed(5), &identity(5), &first_keys), None);
        assert_eq!(KeyOverride::create(&seed(6), &identity(5), &cut_off()), None, "another shop's phrase");
    }

    #[test]
    fn the_longest_override_fits_its_bound() {
        let last = CutOff { epoch: KEY_EPOCH_MAX, last_sequence: u64::MAX, ..cut_off() };
        let made = KeyOverride::create(&seed(5), &identity(5), &last).unwrap();
        assert!(made.message().revocation.len() <= REVOCATION_BYTES_MAX);
        assert_eq!(made.check_place(&header()), Err(OverrideError::OtherPlace), "no place follows the last");
    }

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_is_refused(part in 0usize..2, at in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let mut message = made().message().clone();
            let field = match part {
                0 => &mut message.revocation,
                _ => &mut message.recovery_signature,
            };
            let mut bytes = field.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            *field = bytes.into();
            prop_assert!(KeyOverride::verify(&message, &identity(5)).is_err());
        }
    }
}
