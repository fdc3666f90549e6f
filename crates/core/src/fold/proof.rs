//! Folding proofs against shops.

use super::*;
use crate::{
    duty::Duty,
    pair::Changes,
    proof::{self, ProofError},
    settlement::book::{Matter, Source},
};

impl<R: Reader + ?Sized> Folding<'_, '_, R> {
    pub(super) fn voucher_proof(&mut self) -> Handled {
        self.check_public()?;
        let message: proto::VoucherProof = self.decode()?;
        let id = proof::promotion_id(&message).ok_or_else(|| ignore("proof is malformed"))?;
        let promotion = self.promotion_of(id)?;
        let verdict = self.alliance.judge_proof(&message, &promotion).map_err(|error| match error {
            ProofError::ShopUnknown(shop) => wait(*shop.as_bytes()),
            ProofError::KeyUnknown(shop) => self.await_key(shop),
            ProofError::Nothing => ignore("proof does not hold"),
        })?;
        let encoded = message.encode_to_vec();
        self.view.remove(Duty::PublishProof(encoded.clone()).key());
        let key = table::proof(verdict.liable, &verdict.subject);
        let before = self.view.get(&key)?;
        // Of several proofs of one offence the one with the least bytes stays: the order of arrival must not show.
        if before.as_ref().is_none_or(|before| encoded < *before) {
            self.view.put(key, encoded);
        }
        let mut changes = Changes::new(self.me());
        changes.debt_minor(Matter::Offence, verdict.liable, promotion.funder, verdict.charge_minor);
        let source = Source { subject: Some(verdict.subject), ..self.source_now() };
        // One offence is booked once, whichever proof of it came first.
        match before {
            None => changes.apply(self.view, &source)?,
            Some(_) => changes.show_again(self.view, &source)?,
        }
        Ok(())
    }
}
