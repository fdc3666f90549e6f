//! What one shop has found of a signature, the others are told: all shops of a street share a process, and each record would
//! else be verified by each of them. A verdict is a pure function of key, message and signature, so a street is the same
//! with this as without, only sooner over.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hutong_record::{
    Afresh, Cryptography, Identity, IdentityError, PublicKey, Signature, SignatureError, proto,
};

/// Results of one kind that are kept: all that a street of 50 shops and 20,000 redemptions comes to. When there are more, they
/// are forgotten and found again.
const KEPT_MAX: usize = 1 << 18;

/// Sums that were done in a street. Kept by a hash over all that goes in.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Found>);

type Results<T> = HashMap<[u8; 32], T>;

#[derive(Debug, Default)]
struct Found {
    verdicts: Results<Result<(), SignatureError>>,
    identities: Results<Result<Identity, IdentityError>>,
}

impl Memory {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was found before, or is found now.
fn recall<T: Clone>(results: &mut Results<T>, inputs: &[&[u8]], find: impl FnOnce() -> T) -> T {
    if results.len() >= KEPT_MAX {
        results.clear();
    }
    results.entry(digest(inputs)).or_insert_with(find).clone()
}

/// Each input with its length, so that no two lists of inputs look alike.
fn digest(inputs: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for input in inputs {
        hasher.update(&(input.len() as u64).to_be_bytes()).update(input);
    }
    *hasher.finalize().as_bytes()
}

impl Cryptography for Memory {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let inputs = [key.as_bytes().as_slice(), signature, message];
        recall(&mut self.found().verdicts, &inputs, || Afresh.verify(key, message, signature))
    }

    fn identity(&self, signed: &proto::SignedIdentity) -> Result<Identity, IdentityError> {
        let inputs = [&signed.identity[..], &signed.signature];
        recall(&mut self.found().identities, &inputs, || Afresh.identity(signed))
    }
}

#[cfg(test)]
mod tests {
    use hutong_record::{RecoverySeed, SigningKey, StatementKind, UnixMillis};
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn a_verdict_is_the_same_afresh_and_from_memory_for_every_part() {
        let (memory, key, other) =
            (Memory::default(), SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let signature = key.sign_handshake(b"message");
        let mut changed = signature;
        changed[3] ^= 1;
        let cases = [
            (key.public(), &b"message"[..], signature),
            (key.public(), &b"massage"[..], signature),
            (other.public(), &b"message"[..], signature),
            (key.public(), &b"message"[..], changed),
        ];
        for (key, message, signature) in cases.iter().chain(&cases) {
            assert_eq!(
                memory.verify(key, message, signature),
                Afresh.verify(key, message, signature),
                "{message:?}"
            );
        }
        assert_eq!(memory.found().verdicts.len(), cases.len());
        let claim = StatementKind::VoucherClaim.sign(&key, b"message");
        assert!(memory.verify(&key.public(), b"message", &claim).is_err());
    }

    #[test]
    fn an_identity_that_was_changed_is_refused_whatever_was_found_before() {
        let memory = Memory::default();
        let mut rng = StdRng::seed_from_u64(1);
        let identity = Identity::create(&RecoverySeed::new([5; 32]), UnixMillis::EPOCH, &mut rng);
        let mut forged = identity.signed().clone();
        forged.signature = vec![7; 64].into();
        for _ in 0..2 {
            assert_eq!(memory.identity(identity.signed()), Ok(identity.clone()));
            assert_eq!(memory.identity(&forged), Identity::verify(&forged));
            assert!(memory.identity(&forged).is_err());
        }
    }

    #[test]
    fn a_full_memory_forgets_and_finds_again() {
        let mut results = Results::default();
        for number in 0..=KEPT_MAX as u64 {
            assert_eq!(recall(&mut results, &[&number.to_be_bytes()], || number), number);
        }
        assert_eq!(results.len(), 1);
        assert_eq!(recall(&mut results, &[&0u64.to_be_bytes()], || 0), 0);
    }
}
