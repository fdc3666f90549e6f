//! The right to redeem a voucher. At each moment one shop holds it and that shop alone can pass it on, by a signed
//! statement; so whoever holds it decides from its own log alone, with no network, and VOU-1 follows from LOG-1.
//!
//! Where it begins, the promotion's mode says: with the shop that the voucher names (designated), or with the issuer
//! (leased, anywhere). A home that confirms an anywhere voucher passes its right to the shop that asked.

use alloc::vec::Vec;

use hutong_record::{Cryptography, PublicKey, ShopId, SigningKey, StatementKind, proto};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::{
    alliance::Alliance,
    keys::NoKey,
    promotion::{Mode, Promotion},
    view::{Reader, ViewError},
    voucher::{Token, VoucherKey, copy},
};

/// How often one voucher's right can be passed on. Each pass adds some 170 bytes to the receipt.
pub const PASSES_MAX: usize = 8;

/// Who holds the right to redeem a voucher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Right {
    /// How often it was passed on.
    pub step: u32,
    /// Its holder.
    pub holder: ShopId,
    /// The uses that came with it.
    pub uses: u32,
}

/// What a shop states about its right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Of which voucher.
    pub voucher: VoucherKey,
    /// How often the right was passed on before.
    pub step: u32,
    /// Who states it.
    pub shop: ShopId,
    /// What was done.
    pub act: Act,
    /// Which of its keys signs it.
    pub key_epoch: u32,
}

/// What is done with a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It goes to another shop, with the uses that are left.
    Pass {
        /// The new holder.
        to: ShopId,
        /// Uses left.
        uses: u32,
    },
    /// It was used: which of the uses at this step, from 1.
    Use(u32),
    /// The voucher was used without it.
    Risk,
}

impl Statement {
    fn message(&self) -> proto::RightStatement {
        let (act, to_shop_id, uses) = match self.act {
            Act::Pass { to, uses } => (proto::RightAct::Pass, copy(to.as_bytes()), uses),
            Act::Use(number) => (proto::RightAct::Use, bytes::Bytes::new(), number),
            Act::Risk => (proto::RightAct::Risk, bytes::Bytes::new(), 0),
        };
        proto::RightStatement {
            voucher: Some(self.voucher.message()),
            step: self.step,
            act: act.into(),
            shop_id: copy(self.shop.as_bytes()),
            to_shop_id,
            uses,
            key_epoch: self.key_epoch,
        }
    }

    /// Signs it.
    pub fn sign(&self, key: &SigningKey) -> proto::SignedRight {
        let statement = self.message().encode_to_vec();
        let signature = copy(&StatementKind::VoucherRight.sign(key, &statement));
        proto::SignedRight { statement: statement.into(), signature }
    }

    /// Reads a statement; who signed it, `verify` tells. None: malformed, or not as we would write it.
    pub fn parse(signed: &proto::SignedRight) -> Option<Self> {
        let message = proto::RightStatement::decode(signed.statement.clone()).ok()?;
        let act = match proto::RightAct::try_from(message.act).ok()? {
            proto::RightAct::Pass => {
                Act::Pass { to: ShopId::try_from(message.to_shop_id.as_ref()).ok()?, uses: message.uses }
            }
            proto::RightAct::Use => Act::Use(message.uses),
            proto::RightAct::Risk => Act::Risk,
            proto::RightAct::Unspecified => return None,
        };
        let statement = Self {
            voucher: VoucherKey::parse(message.voucher.as_ref()?)?,
            step: message.step,
            shop: ShopId::try_from(message.shop_id.as_ref()).ok()?,
            act,
            key_epoch: message.key_epoch,
        };
        (statement.message().encode_to_vec() == signed.statement).then_some(statement)
    }

    /// Reads a statement that the shop which it names signed with its `key` of the epoch which it names.
    pub(crate) fn verify(
        cryptography: &dyn Cryptography,
        signed: &proto::SignedRight,
        key: impl Fn(ShopId, u32) -> Result<PublicKey, NoKey>,
    ) -> Result<Self, RightError> {
        let statement = Self::parse(signed).ok_or(RightError::Malformed)?;
        let key = key(statement.shop, statement.key_epoch).map_err(|none| match none {
            NoKey::Shop => RightError::ShopUnknown(statement.shop),
            NoKey::Epoch => RightError::KeyUnknown(statement.shop),
            NoKey::CutOff => RightError::Malformed,
        })?;
        StatementKind::VoucherRight
            .verify(cryptography, &key, &signed.statement, &signed.signature)
            .map_err(|_| RightError::Malformed)?;
        Ok(statement)
    }
}

/// Why statements do not lead to a right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RightError {
    /// Not a statement, not signed by whom it names, or of another voucher.
    #[error("a statement about a right is malformed or forged")]
    Malformed,
    /// Passed on by a shop that does not hold it.
    #[error("the right was passed on by a shop that does not hold it")]
    NotHolder,
    /// A shop that is not known as a member yet.
    #[error("shop {0} is not known")]
    ShopUnknown(ShopId),
    /// Signed in a key epoch of the shop that is not known.
    #[error("shop {0} is not known to have that key")]
    KeyUnknown(ShopId),
    /// The funder acts for a shop that is not gone, or of whose log something is still to come.
    #[error("the log of shop {0} is not closed")]
    StillOpen(ShopId),
    /// The views cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl Right {
    /// Where the right to a genuine voucher is from the beginning.
    pub fn first(token: &Token, promotion: &Promotion) -> Option<Self> {
        let body = token.body();
        let issuer = promotion.distributor(body.issuer)?.shop;
        let holder = match promotion.mode {
            Mode::Designated => *promotion.redeemers.get(usize::from(body.redeemer))?,
            Mode::Leased | Mode::Anywhere => issuer,
        };
        Some(Self { step: 0, holder, uses: promotion.uses })
    }

    /// The statement by which the holder passes it on, to be signed with its key of an epoch.
    pub fn pass(&self, voucher: VoucherKey, by: (ShopId, u32), to: ShopId, uses: u32) -> Statement {
        let (shop, key_epoch) = by;
        Statement { voucher, step: self.step, shop, act: Act::Pass { to, uses }, key_epoch }
    }
}

impl Alliance {
    /// Where a genuine voucher's right is after some passes. Where the holder was removed, the funder acts for it.
    pub fn follow_right(
        &self,
        view: &(impl Reader + ?Sized),
        token: &Token,
        promotion: &Promotion,
        passes: &[proto::SignedRight],
    ) -> Result<Right, RightError> {
        let mut right = Right::first(token, promotion).ok_or(RightError::Malformed)?;
        if passes.len() > PASSES_MAX {
            return Err(RightError::Malformed);
        }
        for signed in passes {
            let keys = |shop, epoch| self.statement_key(shop, epoch);
            let statement = Statement::verify(self.cryptography(), signed, keys)?;
            let Act::Pass { to, uses } = statement.act else { return Err(RightError::Malformed) };
            if statement.voucher != token.body().key
                || statement.step != right.step
                || uses == 0
                || uses > right.uses
            {
                return Err(RightError::Malformed);
            }
            if statement.shop != right.holder {
                self.check_stand_in(view, statement.shop, promotion, right.holder)?;
            }
            right = Right { step: right.step + 1, holder: to, uses };
        }
        Ok(right)
    }

    /// The funder stands in for a holder that was removed.
    fn check_stand_in(
        &self,
        view: &(impl Reader + ?Sized),
        shop: ShopId,
        promotion: &Promotion,
        holder: ShopId,
    ) -> Result<(), RightError> {
        if shop != promotion.funder {
            return Err(RightError::NotHolder);
        }
        if self.log_is_closed(view, holder)? { Ok(()) } else { Err(RightError::StillOpen(holder)) }
    }

    /// Whether a shop was in and is not any more, so that it cannot be asked.
    pub(crate) fn is_gone(&self, shop: ShopId) -> bool {
        let member = self.judge().shop(shop);
        member.is_some_and(|member| member.standing.is_closed())
    }

    /// Who can pass a right on: its holder, or the funder where the holder is gone and all that counts of its log is
    /// here, so that no use or pass of it is still to come.
    pub(crate) fn keeper_of(
        &self,
        view: &(impl Reader + ?Sized),
        right: &Right,
        promotion: &Promotion,
    ) -> Result<ShopId, ViewError> {
        let closed = self.log_is_closed(view, right.holder)?;
        Ok(if closed { promotion.funder } else { right.holder })
    }
}

/// As views keep it.
pub(crate) fn store_passes(passes: &[proto::SignedRight]) -> Vec<Vec<u8>> {
    passes.iter().map(prost::Message::encode_to_vec).collect()
}

/// From what views kept; what is malformed is left out, and the chain then does not hold.
pub(crate) fn load_passes(stored: &[Vec<u8>]) -> Vec<proto::SignedRight> {
    stored.iter().filter_map(|bytes| proto::SignedRight::decode(bytes.as_slice()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use hutong_record::{Afresh, RecordId};

    use super::*;

    fn statement(act: Act) -> Statement {
        let promotion = RecordId::new([1; 32]);
        let voucher = VoucherKey { promotion, distributor: 2, number: 3, round: 4, moved_by: None };
        Statement { voucher, step: 5, shop: ShopId::new([6; 32]), act, key_epoch: 2 }
    }

    #[test]
    fn statements_read_back_and_hold_for_their_signer_alone() {
        let (key, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        for act in [Act::Pass { to: ShopId::new([7; 32]), uses: 1 }, Act::Use(2), Act::Risk] {
            let signed = statement(act).sign(&key);
            let (shop, of_epoch) = (ShopId::new([6; 32]), |key: &SigningKey| {
                let key = key.public();
                move |_, epoch| if epoch == 2 { Ok(key) } else { Err(NoKey::Epoch) }
            });
            assert_eq!(Statement::verify(&Afresh, &signed, of_epoch(&key)), Ok(statement(act)));
            assert_eq!(Statement::verify(&Afresh, &signed, of_epoch(&other)), Err(RightError::Malformed));
            let unknown = |none| Statement::verify(&Afresh, &signed, move |_, _| Err(none));
            assert_eq!(unknown(NoKey::Shop), Err(RightError::ShopUnknown(shop)));
            assert_eq!(unknown(NoKey::Epoch), Err(RightError::KeyUnknown(shop)));
            let renamed = Statement { key_epoch: 1, ..statement(act) }.sign(&key);
            assert_eq!(
                Statement::verify(&Afresh, &renamed, of_epoch(&key)),
                Err(RightError::KeyUnknown(shop))
            );
        }
    }

    #[test]
    fn a_statement_with_other_bytes_for_the_same_meaning_is_refused() {
        let key = SigningKey::from_seed(&[1; 32]);
        let mut signed = statement(Act::Risk).sign(&key);
        let longer: Vec<u8> = signed.statement.iter().copied().chain([0x78, 0]).collect();
        signed.statement = longer.into();
        assert_eq!(Statement::parse(&signed), None);
    }
}
