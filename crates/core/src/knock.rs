//! What a guest says at a door: that it asks, by an invitation, to be let in as the shop that it is. The invitation's own
//! key signs it, so that who brings the guest can put no other shop in its place, nor use the word in another alliance.

use bytes::Bytes;
use hutong_record::{
    AllianceId, Cryptography, PublicKey, ShopId, Signature, SigningKey, StatementKind, proto,
};
use prost::Message as _;

use crate::refusal::{Reason, Refusal};

/// A guest's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knock {
    /// Where it asks to be let in.
    pub alliance: AllianceId,
    /// Who invited it.
    pub inviter: ShopId,
    /// The public half of the invitation's key.
    pub guest_key: [u8; 32],
    /// Who it is.
    pub shop: ShopId,
}

impl Knock {
    fn bytes(&self) -> alloc::vec::Vec<u8> {
        let message = proto::Knock {
            alliance_id: Bytes::copy_from_slice(self.alliance.as_bytes()),
            inviter_id: Bytes::copy_from_slice(self.inviter.as_bytes()),
            guest_key: Bytes::copy_from_slice(&self.guest_key),
            shop_id: Bytes::copy_from_slice(self.shop.as_bytes()),
        };
        message.encode_to_vec()
    }

    /// Signs it with the secret half of the invitation's key.
    pub fn sign(&self, guest: &SigningKey) -> Signature {
        StatementKind::Knock.sign(guest, &self.bytes())
    }

    /// Checks that the invitation's key signed it.
    ///
    /// # Errors
    /// `INVITATION_INVALID`: it did not, or is no key.
    pub fn verify(&self, cryptography: &dyn Cryptography, signature: &[u8]) -> Result<(), Refusal> {
        let invalid = || Refusal::new(Reason::InvitationInvalid);
        let key = PublicKey::admit(&self.guest_key).map_err(|_| invalid())?;
        StatementKind::Knock.verify(cryptography, &key, &self.bytes(), signature).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use hutong_record::Afresh;

    use super::*;

    #[test]
    fn a_knock_holds_for_its_alliance_inviter_key_and_shop_alone() {
        let guest = SigningKey::from_seed(&[7; 32]);
        let knock = Knock {
            alliance: AllianceId::new([1; 32]),
            inviter: ShopId::new([2; 32]),
            guest_key: *guest.public().as_bytes(),
            shop: ShopId::new([3; 32]),
        };
        let signature = knock.sign(&guest);
        assert_eq!(knock.verify(&Afresh, &signature), Ok(()));
        let refused = |knock: Knock, signature: &[u8]| {
            knock.verify(&Afresh, signature).expect_err("another word").reason == Reason::InvitationInvalid
        };
        assert!(refused(Knock { alliance: AllianceId::new([9; 32]), ..knock }, &signature));
        assert!(refused(Knock { inviter: ShopId::new([9; 32]), ..knock }, &signature));
        assert!(refused(Knock { shop: ShopId::new([9; 32]), ..knock }, &signature));
        let other = *SigningKey::from_seed(&[8; 32]).public().as_bytes();
        assert!(refused(Knock { guest_key: other, ..knock }, &signature));
        assert!(refused(Knock { guest_key: [0; 32], ..knock }, &signature), "a weak key");
        assert!(refused(knock, &signature[..63]) && refused(knock, &[]) && refused(knock, &[0; 64]));
    }
}
