//! Proofs: evidence that a shop broke the rules of vouchers, from statements that it signed itself. Every node that
//! sees one names the same liable shop; neither card nor amount shows.

use alloc::vec::Vec;

use hutong_record::{RecordId, ShopId, StatementKind, canonical, proto};
use prost::Message as _;

use crate::{
    alliance::Alliance,
    keys::NoKey,
    promotion::{Mode, Promotion},
    right::{Act, RightError, Statement},
    table,
    view::{Reader, ViewError},
    voucher::{Token, VoucherKey},
};

/// What a proof shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    /// Two vouchers under one number.
    NumberTwice,
    /// A number past the quota.
    PastQuota,
    /// One right passed on twice.
    PassedTwice,
    /// Accepted at risk what another shop used by right: the loss is the accepting shop's own.
    RiskLost,
}

/// A proof that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Who is liable.
    pub liable: ShopId,
    /// For what.
    pub offence: Offence,
    /// About which voucher.
    pub voucher: VoucherKey,
    /// What it is about: all proofs of one offence share it, whatever statements they hold.
    pub subject: [u8; 32],
    /// What the liable shop owes the funder, minor units: for an offence by which a voucher may be used twice, all that
    /// it can cost.
    pub charge_minor: i128,
}

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It proves nothing.
    #[error("the proof proves nothing")]
    Nothing,
    /// A shop that it speaks of is not known as a member yet.
    #[error("shop {0} is not known")]
    ShopUnknown(ShopId),
    /// Signed in a key epoch of a shop that is not known here.
    #[error("shop {0} is not known to have that key")]
    KeyUnknown(ShopId),
}

impl From<RightError> for ProofError {
    fn from(error: RightError) -> Self {
        match error {
            RightError::ShopUnknown(shop) => Self::ShopUnknown(shop),
            RightError::KeyUnknown(shop) => Self::KeyUnknown(shop),
            RightError::Malformed
            | RightError::NotHolder
            | RightError::StillOpen(_)
            | RightError::View(_) => Self::Nothing,
        }
    }
}

/// The promotion that a proof is about, before it is checked.
pub fn promotion_id(proof: &proto::VoucherProof) -> Option<RecordId> {
    use proto::voucher_proof::Proof;
    let key = match proof.proof.as_ref()? {
        Proof::Claims(claims) => parse_claim(claims.first.as_ref()?)?.key,
        Proof::Rights(rights) => Statement::parse(rights.first.as_ref()?)?.voucher,
    };
    Some(key.promotion)
}

struct Claim {
    key: VoucherKey,
    issuer: u8,
    body_hash: [u8; 32],
    key_epoch: u32,
}

fn parse_claim(signed: &proto::SignedClaim) -> Option<Claim> {
    let message: proto::VoucherClaim = canonical(signed.claim.clone())?;
    Some(Claim {
        key: VoucherKey::parse(message.voucher.as_ref()?)?,
        issuer: u8::try_from(message.issuer).ok()?,
        body_hash: message.body_hash.as_ref().try_into().ok()?,
        key_epoch: message.key_epoch,
    })
}

impl Alliance {
    /// Checks a proof about a promotion's vouchers.
    pub fn judge_proof(
        &self,
        proof: &proto::VoucherProof,
        promotion: &Promotion,
    ) -> Result<Verdict, ProofError> {
        use proto::voucher_proof::Proof;
        match proof.proof.as_ref().ok_or(ProofError::Nothing)? {
            Proof::Claims(claims) => self.judge_claims(claims, promotion),
            Proof::Rights(rights) => self.judge_rights(rights, promotion),
        }
    }

    fn judge_claims(&self, proof: &proto::ClaimProof, promotion: &Promotion) -> Result<Verdict, ProofError> {
        let first = proof.first.as_ref().and_then(parse_claim).ok_or(ProofError::Nothing)?;
        let offence = match &proof.second {
            None => {
                let quota = promotion.distributor(first.key.distributor).map_or(0, |d| d.quota);
                if (1..=quota).contains(&first.key.number) {
                    return Err(ProofError::Nothing);
                }
                Offence::PastQuota
            }
            Some(second) => {
                let second = parse_claim(second).ok_or(ProofError::Nothing)?;
                // Distinctness first: the same claim twice proves nothing.
                let same = second.key == first.key && second.issuer == first.issuer;
                if !same || second.body_hash == first.body_hash {
                    return Err(ProofError::Nothing);
                }
                Offence::NumberTwice
            }
        };
        let issuer = promotion.distributor(first.issuer).ok_or(ProofError::Nothing)?.shop;
        for signed in proof.first.iter().chain(&proof.second) {
            let epoch = parse_claim(signed).ok_or(ProofError::Nothing)?.key_epoch;
            let key = self.statement_key(issuer, epoch).map_err(|none| match none {
                NoKey::Shop => ProofError::ShopUnknown(issuer),
                NoKey::Epoch => ProofError::KeyUnknown(issuer),
                NoKey::CutOff => ProofError::Nothing,
            })?;
            StatementKind::VoucherClaim
                .verify(self.cryptography(), &key, &signed.claim, &signed.signature)
                .map_err(|_| ProofError::Nothing)?;
        }
        Self::verdict(promotion, issuer, offence, first.key, 0)
    }

    fn judge_rights(&self, proof: &proto::RightProof, promotion: &Promotion) -> Result<Verdict, ProofError> {
        let (Some(first), Some(second)) = (&proof.first, &proof.second) else {
            return Err(ProofError::Nothing);
        };
        if first.statement == second.statement {
            return Err(ProofError::Nothing);
        }
        let keys = |shop, epoch| self.statement_key(shop, epoch);
        let verify = |signed| Statement::verify(self.cryptography(), signed, keys);
        let (one, other) = (verify(first)?, verify(second)?);
        // Who states the same again under a new key has done nothing twice.
        let same = Statement { key_epoch: other.key_epoch, ..one } == other;
        if one.voucher != other.voucher || same {
            return Err(ProofError::Nothing);
        }
        match (one.act, other.act) {
            (Act::Pass { .. }, Act::Pass { .. }) if one.shop == other.shop && one.step == other.step => {
                Self::verdict(promotion, one.shop, Offence::PassedTwice, one.voucher, one.step)
            }
            (Act::Risk, Act::Use(_)) if one.shop != other.shop && promotion.mode == Mode::Anywhere => {
                Self::verdict(promotion, one.shop, Offence::RiskLost, one.voucher, 0)
            }
            _ => Err(ProofError::Nothing),
        }
    }

    fn verdict(
        promotion: &Promotion,
        liable: ShopId,
        offence: Offence,
        voucher: VoucherKey,
        step: u32,
    ) -> Result<Verdict, ProofError> {
        if voucher.promotion != promotion.id {
            return Err(ProofError::Nothing);
        }
        let charge_minor = match offence {
            Offence::NumberTwice | Offence::PassedTwice => promotion.worst_minor(),
            Offence::PastQuota | Offence::RiskLost => 0,
        };
        let mut subject = voucher.to_bytes();
        subject.push(offence as u8);
        subject.extend(step.to_be_bytes());
        subject.extend(liable.as_bytes());
        let subject = blake3::derive_key("hutong 2026 v1 voucher offence", &subject);
        Ok(Verdict { liable, offence, voucher, subject, charge_minor })
    }
}

/// Evidence that a number bears two vouchers.
pub(crate) fn of_tokens(first: &Token, second: &Token) -> proto::VoucherProof {
    claims(first.claim(), Some(second.claim()))
}

/// Evidence that a voucher's number is past the quota.
pub(crate) fn of_forged(token: &Token) -> proto::VoucherProof {
    claims(token.claim(), None)
}

fn claims(first: proto::SignedClaim, second: Option<proto::SignedClaim>) -> proto::VoucherProof {
    let claims = proto::ClaimProof { first: Some(first), second };
    proto::VoucherProof { proof: Some(proto::voucher_proof::Proof::Claims(claims)) }
}

/// Evidence from two statements about one right; for a use at risk, that one first.
pub(crate) fn of_rights(first: proto::SignedRight, second: proto::SignedRight) -> proto::VoucherProof {
    let rights = proto::RightProof { first: Some(first), second: Some(second) };
    proto::VoucherProof { proof: Some(proto::voucher_proof::Proof::Rights(rights)) }
}

/// Shops that were proven liable, with the proofs, in the order of their ids.
pub fn all(view: &(impl Reader + ?Sized)) -> Result<Vec<(ShopId, proto::VoucherProof)>, ViewError> {
    let damaged = || ViewError::Damaged("table of proofs".into());
    table::collect(view, &[table::PROOF], |key, value| {
        let shop = key.get(1..33).and_then(|id| ShopId::try_from(id).ok()).ok_or_else(damaged)?;
        Ok((shop, proto::VoucherProof::decode(value).map_err(|_| damaged())?))
    })
}
