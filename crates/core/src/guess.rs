//! Against guessing: who types many codes that nobody knows is not listened to for a while. A code has 80 random bits, so
//! guessing is hopeless anyway; this keeps a hostile till from filling the log with tries.

use alloc::collections::BTreeMap;

use hutong_record::UnixMillis;

use crate::refusal::{Reason, Refusal};

/// Unknown codes within [`WINDOW_MS`] that are looked at. A clumsy cashier mistypes a few.
pub const TRIES_MAX: u32 = 20;
/// How long a wrong try counts, milliseconds.
pub const WINDOW_MS: i64 = 10 * 60_000;
/// How long nothing is looked at after too many wrong tries, milliseconds.
pub const LOCKOUT_MS: i64 = 5 * 60_000;
/// Callers that are remembered; beyond it those whose last wrong try is the oldest are forgotten.
const CALLERS_MAX: usize = 1_024;

/// Wrong tries by caller. Kept in memory: a restart forgets them, and costs a guesser more time than the lockout.
#[derive(Debug, Clone)]
pub struct GuessLimit<K> {
    callers: BTreeMap<K, Tries>,
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    count: u32,
    since: UnixMillis,
    last: UnixMillis,
}

impl<K: Ord + Clone> Default for GuessLimit<K> {
    fn default() -> Self {
        Self { callers: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> GuessLimit<K> {
    /// Whether a caller's code is looked at now.
    ///
    /// # Errors
    /// [`Reason::TooManyTries`], with `retry_ms`: whatever the code is.
    pub fn check(&self, caller: &K, now: UnixMillis) -> Result<(), Refusal> {
        let Some(tries) = self.callers.get(caller).filter(|tries| tries.count >= TRIES_MAX) else {
            return Ok(());
        };
        let retry_ms = LOCKOUT_MS - now.ms_since(tries.last);
        if retry_ms <= 0 || retry_ms > LOCKOUT_MS {
            return Ok(());
        }
        Err(Refusal::new(Reason::TooManyTries).with("retry_ms", retry_ms))
    }

    /// Counts a code that nobody knows.
    pub fn wrong(&mut self, caller: &K, now: UnixMillis) {
        if self.callers.len() >= CALLERS_MAX && !self.callers.contains_key(caller) {
            let oldest = self.callers.iter().min_by_key(|(_, tries)| tries.last).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.callers.remove(&key));
        }
        let tries = self.callers.entry(caller.clone()).or_insert(Tries { count: 0, since: now, last: now });
        let locked_before = tries.count >= TRIES_MAX;
        if locked_before || !(0..=WINDOW_MS).contains(&now.ms_since(tries.since)) {
            *tries = Tries { count: 0, since: now, last: now };
        }
        tries.count += 1;
        tries.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(1_000_000 + ms).unwrap()
    }

    #[test]
    fn too_many_wrong_codes_lock_their_caller_out_and_nobody_else() {
        let mut limit = GuessLimit::default();
        for n in 0..TRIES_MAX {
            assert_eq!(limit.check(&"till", at(n.into())), Ok(()));
            limit.wrong(&"till", at(n.into()));
        }
        let refused = limit.check(&"till", at(100)).unwrap_err();
        assert_eq!(refused.reason, Reason::TooManyTries);
        assert!(refused.fact("retry_ms").unwrap().parse::<i64>().unwrap() > 0);
        assert_eq!(limit.check(&"other", at(100)), Ok(()));
        let later = i64::from(TRIES_MAX) + LOCKOUT_MS;
        assert_eq!(limit.check(&"till", at(later)), Ok(()));
        limit.wrong(&"till", at(later));
        assert_eq!(limit.check(&"till", at(later)), Ok(()), "the count begins anew");
    }

    #[test]
    fn slow_mistakes_lock_nobody_out() {
        let mut limit = GuessLimit::default();
        for n in 0..10 * i64::from(TRIES_MAX) {
            limit.wrong(&"till", at(n * 60_000));
            assert_eq!(limit.check(&"till", at(n * 60_000)), Ok(()));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut limit = GuessLimit::default();
        for n in 0..2 * i64::try_from(CALLERS_MAX).unwrap() {
            limit.wrong(&n, at(n));
        }
        assert_eq!(limit.callers.len(), CALLERS_MAX);
    }
}
