//! Against guessing: whoever types many codes that nobody knows is not listened to for a while. A QR code that verifies
//! is always looked at, since it cannot be guessed; one that does not counts as a guess.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hutong_core::{
    command::Qualify,
    guess::GuessLimit,
    promotion::Purchase,
    refusal::{Reason, Refusal},
    voucher::{Presented, Token},
};
use hutong_record::Money;

use super::{MerchantPort, call::Call};
use crate::{alliance::Hosted, clock};

/// Wrong tries by where they come from.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<GuessLimit<Option<IpAddr>>>);

impl Guesses {
    fn check(&self, call: &Call) -> Result<(), Refusal> {
        self.lock().check(&call.caller, clock::now())
    }

    /// Counts a code that nobody knows.
    pub(super) fn wrong(&self, call: &Call) {
        self.lock().wrong(&call.caller, clock::now());
    }

    /// Each change is one call, so a poisoned count is whole.
    fn lock(&self) -> MutexGuard<'_, GuessLimit<Option<IpAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MerchantPort {
    /// Does what a caller wants with the voucher of a text, unless the caller has guessed too much.
    pub(super) async fn unless_guessing<T>(
        &self,
        call: &Call,
        hosted: &Hosted,
        presented: Option<&Presented>,
        wanted: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        self.check_guesses(call, hosted, presented).await?;
        let outcome = wanted.await;
        // A forged token can name any key epoch.
        let unknown = outcome.as_ref().is_err_and(|refusal| {
            matches!(refusal.reason, Reason::VoucherUnknown | Reason::IssuerKeyUnknown)
        });
        if unknown && is_guess(presented) {
            self.guesses.wrong(call);
        }
        outcome
    }

    /// Whether the text of a voucher is looked at.
    pub(super) async fn check_guesses(
        &self,
        call: &Call,
        hosted: &Hosted,
        presented: Option<&Presented>,
    ) -> Result<(), Refusal> {
        match (self.guesses.check(call), presented) {
            (Err(_), Some(Presented::Token(token))) if is_genuine(hosted, token).await? => Ok(()),
            (Err(refusal), _) if is_guess(presented) => Err(refusal),
            _ => Ok(()),
        }
    }
}

/// A voucher's id is no secret: knowing it redeems nothing.
pub(super) const fn is_guess(presented: Option<&Presented>) -> bool {
    !matches!(presented, Some(Presented::Key(_)))
}

/// Whether a token verifies; asked by a dry run, which writes nothing.
async fn is_genuine(hosted: &Hosted, token: &Token) -> Result<bool, Refusal> {
    let currency = hosted.alliance().charter().currency;
    let least = Money::new(currency, 1).expect("one minor unit is an amount");
    let question = Qualify {
        presented: vec![Presented::Token(token.clone())],
        card: None,
        purchase: Purchase::of(least),
        at: clock::now(),
    };
    let found = hosted.qualify(question).await?;
    Ok(found.iter().any(|qualified| qualified.voucher.is_some()))
}
