//! Fork proofs: two different headers at one place of a shop's log, both signed by it, itself or through the chain of
//! ids by a later header.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::{
    AllianceId, Header, HeaderError, PublicKey, RUN_RECORDS_MAX, Record, RecordId, ShopId, Signature,
    SignatureError, hash, proto,
};

/// The most that both chains of a proof may take, bytes: some 60 headers. With signatures and the two signed headers a
/// proof stays under the 16 KiB that a message may have to count.
pub const PROOF_CHAIN_BYTES_MAX: usize = 12 * 1_024;

/// A proof that was verified: the shop broke LOG-1 at this place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkProof {
    /// At the forked place.
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
    /// Chains beyond [`PROOF_CHAIN_BYTES_MAX`], or longer than a run.
    #[error("the proof's chains are too long")]
    Length,
    /// A header that is none.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A header in a chain is not the one that the header after it names.
    #[error("the proof's chain is broken")]
    Chain,
    /// Different shops, alliances, incarnations or sequence numbers.
    #[error("the headers do not claim the same place")]
    OtherPlace,
    /// A signature that is none.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// One side of a proof: the header at the forked place, and the signed one that covers it.
struct Side {
    signed: Header,
    place: Header,
}

impl ForkProof {
    /// The proof that two records give, if both are signed. The order does not matter: the lower id comes first.
    pub fn from_records(one: &Record, other: &Record) -> Option<proto::ForkProof> {
        Self::from_branches(core::slice::from_ref(one), core::slice::from_ref(other))
    }

    /// The proof that two branches of a log give: consecutive records each, that begin at the forked place. Each must have
    /// a signed record near enough. The order does not matter: the branch whose first record has the lower id comes first.
    pub fn from_branches(one: &[Record], other: &[Record]) -> Option<proto::ForkProof> {
        let swapped = one.first()?.id() > other.first()?.id();
        let (one, other) = if swapped { (other, one) } else { (one, other) };
        let (first, first_chain) = signed_with_chain(one)?;
        let (second, second_chain) = signed_with_chain(other)?;
        let bytes: usize = first_chain.iter().chain(&second_chain).map(Bytes::len).sum();
        let proof = proto::ForkProof { first: Some(first), second: Some(second), first_chain, second_chain };
        (bytes <= PROOF_CHAIN_BYTES_MAX).then_some(proof)
    }

    /// Verifies a proof: distinctness and size first, then the chains and the place, then both signatures under the
    /// author's keys, which `key_of_epoch` gives.
    pub fn verify(
        message: &proto::ForkProof,
        key_of_epoch: impl Fn(ShopId, u32) -> Option<PublicKey>,
    ) -> Result<Self, ForkProofError> {
        let (Some(first), Some(second)) = (&message.first, &message.second) else {
            return Err(ForkProofError::Malformed);
        };
        let place = |signed: &proto::SignedHeader, chain: &[Bytes]| {
            chain.last().cloned().unwrap_or_else(|| signed.header.clone())
        };
        let same = place(first, &message.first_chain) == place(second, &message.second_chain);
        if same && !crate::planted!(ForkByOneRecord) {
            return Err(ForkProofError::SameRecord);
        }
        let chains = [&message.first_chain, &message.second_chain];
        let bytes: usize = chains.iter().flat_map(|chain| chain.iter()).map(Bytes::len).sum();
        if bytes > PROOF_CHAIN_BYTES_MAX || chains.iter().any(|chain| chain.len() >= RUN_RECORDS_MAX) {
            return Err(ForkProofError::Length);
        }
        let a = Side::follow(first, &message.first_chain)?;
        let b = Side::follow(second, &message.second_chain)?;
        check_place(&a, &b)?;
        for (header, signed) in [(&a.signed, first), (&b.signed, second)] {
            let key = key_of_epoch(header.shop, header.key_epoch).ok_or(SignatureError)?;
            verify_signed(signed, &key)?;
        }
        Ok(Self { headers: [a.place, b.place], message: message.clone() })
    }

    /// The shop that forked its log.
    pub const fn shop(&self) -> ShopId {
        self.headers[0].shop
    }

    /// The alliance whose log it was.
    pub const fn alliance(&self) -> AllianceId {
        self.headers[0].alliance
    }

    /// The sequence number at which the branches differ; the log counts up to the one before.
    pub const fn sequence(&self) -> u64 {
        self.headers[0].sequence
    }

    /// Ids of the two records.
    pub fn record_ids(&self) -> [RecordId; 2] {
        [Header::id_of(&self.headers[0].to_bytes()), Header::id_of(&self.headers[1].to_bytes())]
    }

    /// Ids of the records before the forked place, as a proof that was verified before names them.
    pub fn records_before(message: &proto::ForkProof) -> Vec<RecordId> {
        let sides = [(&message.first, &message.first_chain), (&message.second, &message.second_chain)];
        let place = |(signed, chain): (&Option<proto::SignedHeader>, &Vec<Bytes>)| {
            let header = chain.last().or_else(|| signed.as_ref().map(|signed| &signed.header))?;
            Header::parse(header).ok()?.previous
        };
        sides.into_iter().filter_map(place).collect()
    }

    /// As it travels.
    pub const fn message(&self) -> &proto::ForkProof {
        &self.message
    }
}

/// The first signed record of a branch, and the headers before it, latest first.
fn signed_with_chain(branch: &[Record]) -> Option<(proto::SignedHeader, Vec<Bytes>)> {
    let place = branch.iter().position(|record| record.signature().is_some())?;
    let chain = branch[..place].iter().rev().map(|record| record.header_bytes().clone()).collect();
    Some((branch[place].signed_header()?, chain))
}

impl Side {
    /// Follows a chain from the signed header down to the forked place. Each header is the one that the header after it
    /// names by its id, so the signature covers it.
    fn follow(signed: &proto::SignedHeader, chain: &[Bytes]) -> Result<Self, ForkProofError> {
        let signed = Header::parse(&signed.header)?;
        let mut place = signed.clone();
        for bytes in chain {
            let before = Header::parse(bytes)?;
            let follows = place.previous == Some(Header::id_of(bytes))
                && before.sequence.checked_add(1) == Some(place.sequence)
                && (before.alliance, before.shop) == (place.alliance, place.shop)
                && before.incarnation <= place.incarnation
                && before.key_epoch <= place.key_epoch;
            if !follows {
                return Err(ForkProofError::Chain);
            }
            place = before;
        }
        Ok(Self { signed, place })
    }
}

/// Within one incarnation the records of an honest shop are one chain. So two records of one incarnation at one place
/// prove a fork, and so do two signed ones of one incarnation that have different records at one place before them.
fn check_place(a: &Side, b: &Side) -> Result<(), ForkProofError> {
    let place = |header: &Header| (header.alliance, header.shop, header.sequence);
    let one_incarnation =
        a.place.incarnation == b.place.incarnation || a.signed.incarnation == b.signed.incarnation;
    if place(&a.place) == place(&b.place) && one_incarnation {
        Ok(())
    } else {
        Err(ForkProofError::OtherPlace)
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
        after((sequence > 1).then(|| RecordId::new([3; 32])), sequence, 0, 0, text)
    }

    fn after(previous: Option<RecordId>, sequence: u64, incarnation: u32, epoch: u32, text: &[u8]) -> Record {
        let draft = Draft {
            alliance: AllianceId::new([1; 32]),
            shop: ShopId::new([2; 32]),
            key_epoch: epoch,
            incarnation,
            sequence,
            previous,
            time: UnixMillis::EPOCH,
            kind: Kind::Profile,
            audience: Audience::Alliance,
        };
        sign(
            draft,
            Payload::clear(text, &mut StdRng::seed_from_u64(1)).unwrap(),
            &SigningKey::from_seed(&[4 + u8::try_from(epoch).unwrap(); 32]),
        )
    }

    /// A branch from place 5 on, of so many records, of which the last alone is signed.
    fn branch(text: &[u8], length: u64, incarnation: u32, epoch: u32) -> Vec<Record> {
        let mut previous = Some(RecordId::new([3; 32]));
        let mut records = Vec::new();
        for sequence in 5..5 + length {
            let next = after(previous, sequence, incarnation, epoch, text);
            previous = Some(next.id());
            records.push(if sequence + 1 == 5 + length { next } else { next.without_signature() });
        }
        records
    }

    fn key(_: ShopId, epoch: u32) -> Option<PublicKey> {
        (epoch < 3).then(|| SigningKey::from_seed(&[4 + u8::try_from(epoch).unwrap(); 32]).public())
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

    #[test]
    fn branches_that_are_not_signed_at_one_place_prove_the_place_where_they_part() {
        for (one, other) in [(1, 9), (9, 1), (4, 7), (20, 20)] {
            let proof =
                ForkProof::from_branches(&branch(b"a", one, 2, 0), &branch(b"b", other, 2, 0)).unwrap();
            assert!(proof.encoded_len() < 16_000, "{}", proof.encoded_len());
            let verified = ForkProof::verify(&proof, key).unwrap();
            assert_eq!(verified.sequence(), 5);
            let ids = [branch(b"a", one, 2, 0)[0].id(), branch(b"b", other, 2, 0)[0].id()];
            assert!(verified.record_ids() == ids || verified.record_ids() == [ids[1], ids[0]]);
        }
    }

    #[test]
    fn chains_too_long_to_be_sent_prove_nothing() {
        let (one, other) = (branch(b"a", 120, 0, 0), branch(b"b", 1, 0, 0));
        assert_eq!(ForkProof::from_branches(&one, &other), None);
        let (first, first_chain) = signed_with_chain(&one).unwrap();
        let second = other[0].signed_header();
        let proof = proto::ForkProof { first: Some(first), second, first_chain, ..Default::default() };
        assert_eq!(ForkProof::verify(&proof, key), Err(ForkProofError::Length));
    }

    #[test]
    fn each_side_is_verified_under_the_key_of_its_own_epoch() {
        let proof = ForkProof::from_branches(&branch(b"a", 3, 0, 0), &branch(b"b", 2, 0, 1)).unwrap();
        assert_eq!(ForkProof::verify(&proof, key).unwrap().sequence(), 5);
        let old_key_alone = |shop, epoch| key(shop, epoch).filter(|_| epoch == 0);
        assert_eq!(ForkProof::verify(&proof, old_key_alone), Err(ForkProofError::Signature(SignatureError)));
    }

    #[test]
    fn a_restored_shop_s_new_incarnation_proves_nothing() {
        let proof = ForkProof::from_branches(&branch(b"a", 3, 0, 0), &branch(b"b", 2, 1, 0)).unwrap();
        assert_eq!(ForkProof::verify(&proof, key), Err(ForkProofError::OtherPlace));
        // One incarnation that was begun at two places is a fork, though no two records share a place in it.
        let old = branch(b"a", 3, 0, 0);
        let late = after(Some(old[2].id()), 8, 1, 0, b"late");
        let late = [&old[..], &[late]].concat();
        let late: Vec<_> = late
            .into_iter()
            .enumerate()
            .map(|(n, r)| if n < 3 { r.without_signature() } else { r })
            .collect();
        let early = branch(b"b", 1, 1, 0);
        let proof = ForkProof::from_branches(&late, &early).unwrap();
        assert_eq!(ForkProof::verify(&proof, key).unwrap().sequence(), 5);
    }
}
