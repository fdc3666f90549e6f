//! Fork proofs: two different headers of one shop, incarnation and sequence number, both signed by it.

use bytes::Bytes;

use crate::{
    AllianceId, Header, HeaderError, PublicKey, Record, RecordId, ShopId, Signature, SignatureError, hash,
    proto,
};

/// A proof that was verified: the shop broke LOG-1 at this place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkProof {
    headers: [Header; 2],
    message: proto::ForkProof,
}

/// Why a message proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForkProofError {
    /// One and the same record twice.
    #[error("both headers are the same record")]
    SameRecord,
    /// A part is missing or malformed.
    #[error("the proof is malformed")]
    Malformed,
    /// A header that is none.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Different shops, alliances, incarnations or sequence numbers.
    #[error("the headers do not claim the same place")]
    OtherPlace,
    /// A signature that is none.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl ForkProof {
    /// The proof that two records give, if both are signed. The order does not matter: the lower id comes first.
    pub fn from_records(one: &Record, other: &Record) -> Option<proto::ForkProof> {
        let (first, second) = if one.id() <= other.id() { (one, other) } else { (other, one) };
        Some(proto::ForkProof { first: Some(first.signed_header()?), second: Some(second.signed_header()?) })
    }

    /// Verifies a proof: distinctness first, then place, then both signatures under the author's keys, which
    /// `key_of_epoch` gives.
    pub fn verify(
        message: &proto::ForkProof,
        key_of_epoch: impl Fn(ShopId, u32) -> Option<PublicKey>,
    ) -> Result<Self, ForkProofError> {
        let (Some(first), Some(second)) = (&message.first, &message.second) else {
            return Err(ForkProofError::Malformed);
        };
        if first.header == second.header && !crate::planted!(ForkByOneRecord) {
            return Err(ForkProofError::SameRecord);
        }
        let headers = [Header::parse(&first.header)?, Header::parse(&second.header)?];
        let [a, b] = &headers;
        let place = |h: &Header| (h.alliance, h.shop, h.incarnation, h.sequence);
        if place(a) != place(b) {
            return Err(ForkProofError::OtherPlace);
        }
        for (header, signed) in headers.iter().zip([first, second]) {
            let key = key_of_epoch(header.shop, header.key_epoch).ok_or(SignatureError)?;
            verify_signed(signed, &key)?;
        }
        Ok(Self { headers, message: message.clone() })
    }

    /// The shop that forked its log.
    pub const fn shop(&self) -> ShopId {
        self.headers[0].shop
    }

    /// The alliance whose log it was.
    pub const fn alliance(&self) -> AllianceId {
        self.headers[0].alliance
    }

    /// The first sequence number that the branches do not share; the log counts up to the one before.
    pub const fn sequence(&self) -> u64 {
        self.headers[0].sequence
    }

    /// Ids of the two records.
    pub fn record_ids(&self) -> [RecordId; 2] {
        let id = |signed: &Option<proto::SignedHeader>| {
            Header::id_of(&signed.as_ref().expect("verified proofs have both headers").header)
        };
        [id(&self.message.first), id(&self.message.second)]
    }

    /// As it travels.
    pub const fn message(&self) -> &proto::ForkProof {
        &self.message
    }
}

fn verify_signed(signed: &proto::SignedHeader, key: &PublicKey) -> Result<(), SignatureError> {
    let signature: &Signature = signed.signature.as_ref().try_into().map_err(|_| SignatureError)?;
    key.verify(hash::SIGN_HEADER, Bytes::as_ref(&signed.header), signature)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::{Audience, Draft, Payload, SigningKey, UnixMillis, proto::Kind, sign};

    fn record(sequence: u64, text: &[u8]) -> Record {
        let draft = Draft {
            alliance: AllianceId::new([1; 32]),
            shop: ShopId::new([2; 32]),
            key_epoch: 0,
            incarnation: 0,
            sequence,
            previous: (sequence > 1).then(|| RecordId::new([3; 32])),
            time: UnixMillis::EPOCH,
            kind: Kind::Profile,
            audience: Audience::Alliance,
        };
        sign(
            draft,
            Payload::clear(text, &mut StdRng::seed_from_u64(1)).unwrap(),
            &SigningKey::from_seed(&[4; 32]),
        )
    }

    fn key(_: ShopId, epoch: u32) -> Option<PublicKey> {
        (epoch == 0).then(|| SigningKey::from_seed(&[4; 32]).public())
    }

    #[test]
    fn two_signed_headers_of_one_place_prove_a_fork_under_a_kilobyte() {
        let proof = ForkProof::from_records(&record(5, b"a"), &record(5, b"b")).unwrap();
        assert_eq!(proof, ForkProof::from_records(&record(5, b"b"), &record(5, b"a")).unwrap());
        assert!(proof.encoded_len() < 1_024, "{}", proof.encoded_len());
        let verified = ForkProof::verify(&proof, key).unwrap();
        assert_eq!((verified.shop(), verified.sequence()), (ShopId::new([2; 32]), 5));
    }

    #[test]
    fn one_record_twice_proves_nothing() {
        let same = ForkProof::from_records(&record(5, b"a"), &record(5, b"a")).unwrap();
        assert_eq!(ForkProof::verify(&same, key), Err(ForkProofError::SameRecord));
    }

    #[test]
    fn records_of_two_places_prove_nothing() {
        let apart = ForkProof::from_records(&record(5, b"a"), &record(6, b"b")).unwrap();
        assert_eq!(ForkProof::verify(&apart, key), Err(ForkProofError::OtherPlace));
    }

    #[test]
    fn a_forged_signature_proves_nothing() {
        let mut proof = ForkProof::from_records(&record(5, b"a"), &record(5, b"b")).unwrap();
        let signature = proof.second.as_ref().unwrap().signature.clone();
        proof.first.as_mut().unwrap().signature = signature;
        assert_eq!(ForkProof::verify(&proof, key), Err(ForkProofError::Signature(SignatureError)));
        proof.second = None;
        assert_eq!(ForkProof::verify(&proof, key), Err(ForkProofError::Malformed));
    }
}
