//! The life of a voucher: its states, what can happen in each, and what comes of it. The one place that says so; the
//! table in the crate's `VOUCHERS.md` is written from it.

use crate::refusal::Reason;

/// Where a voucher is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoucherState {
    /// In the customer's hands, with uses left.
    Issued,
    /// In the customer's hands; a use is kept free for a purchase under way.
    Reserved,
    /// All uses are used.
    Redeemed,
    /// Used at the risk of the shop that accepted it; the right to it has not arrived yet.
    AtRisk,
    /// Taken back by its issuer or funder.
    Revoked,
    /// Past its time.
    Expired,
}

impl VoucherState {
    /// Every state.
    pub const ALL: &'static [Self] =
        &[Self::Issued, Self::Reserved, Self::Redeemed, Self::AtRisk, Self::Revoked, Self::Expired];

    /// Why nothing else can happen in this state.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Issued => Reason::ReservationUnknown,
            Self::Reserved => Reason::VoucherReserved,
            Self::Redeemed | Self::AtRisk => Reason::VoucherAlreadyRedeemed,
            Self::Revoked => Reason::VoucherRevoked,
            Self::Expired => Reason::VoucherExpired,
        }
    }
}

/// What happens to a voucher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoucherEvent {
    /// A use is kept free.
    Reserve,
    /// A use that was kept free is given up.
    Release,
    /// The last use is used.
    Redeem,
    /// One of several uses is used.
    RedeemPart,
    /// It is accepted at risk.
    RedeemAtRisk,
    /// The right to what was accepted at risk arrives.
    Settle,
    /// A use is taken back.
    Void,
    /// The right to redeem it goes to another shop.
    PassOn,
    /// Issuer or funder take it back.
    Revoke,
    /// Its time ends.
    Expire,
}

impl VoucherEvent {
    /// Every event.
    pub const ALL: &'static [Self] = &[
        Self::Reserve,
        Self::Release,
        Self::Redeem,
        Self::RedeemPart,
        Self::RedeemAtRisk,
        Self::Settle,
        Self::Void,
        Self::PassOn,
        Self::Revoke,
        Self::Expire,
    ];
}

use VoucherEvent as E;
use VoucherState as S;

/// What can happen in each state, and the state after it. What is not here is refused.
pub const TRANSITIONS: &[(VoucherState, VoucherEvent, VoucherState)] = &[
    (S::Issued, E::Reserve, S::Reserved),
    (S::Issued, E::Redeem, S::Redeemed),
    (S::Issued, E::RedeemPart, S::Issued),
    (S::Issued, E::RedeemAtRisk, S::AtRisk),
    (S::Issued, E::PassOn, S::Issued),
    (S::Issued, E::Revoke, S::Revoked),
    (S::Issued, E::Expire, S::Expired),
    (S::Reserved, E::Reserve, S::Reserved),
    (S::Reserved, E::Release, S::Issued),
    (S::Reserved, E::Redeem, S::Redeemed),
    (S::Reserved, E::RedeemPart, S::Issued),
    (S::Reserved, E::Revoke, S::Revoked),
    (S::Reserved, E::Expire, S::Expired),
    (S::Redeemed, E::Void, S::Issued),
    (S::AtRisk, E::Settle, S::Redeemed),
    (S::AtRisk, E::Void, S::Issued),
    // What was used before stays used, and a use at risk may still be settled: the right is passed on whatever else
    // has happened to the voucher meanwhile.
    (S::AtRisk, E::PassOn, S::AtRisk),
    (S::Revoked, E::PassOn, S::Revoked),
    (S::Expired, E::PassOn, S::Expired),
    (S::Expired, E::Revoke, S::Revoked),
];

/// Whether something can happen in a state; else the reason.
pub fn check(state: VoucherState, event: VoucherEvent) -> Result<(), Reason> {
    let found = TRANSITIONS.iter().any(|(from, what, _)| *from == state && *what == event);
    if found { Ok(()) } else { Err(state.reason()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as the document shows it.
    fn written() -> String {
        let mut text = String::from("| state | what happens | then |\n| --- | --- | --- |\n");
        for (from, event, to) in TRANSITIONS {
            text += &format!("| {from:?} | {event:?} | {to:?} |\n");
        }
        text
    }

    #[test]
    fn the_document_shows_this_table() {
        let document = include_str!("../../VOUCHERS.md");
        assert!(document.contains(&written()), "write this into VOUCHERS.md:\n{}", written());
    }

    #[test]
    fn a_step_has_one_outcome_and_every_state_is_left_or_ends() {
        for (i, (from, event, _)) in TRANSITIONS.iter().enumerate() {
            assert!(
                TRANSITIONS[i + 1..].iter().all(|(f, e, _)| (f, e) != (from, event)),
                "{from:?} {event:?}"
            );
        }
        for state in VoucherState::ALL {
            assert!(TRANSITIONS.iter().any(|(_, _, to)| to == state), "{state:?} is never reached");
        }
        for event in VoucherEvent::ALL {
            assert!(TRANSITIONS.iter().any(|(_, e, _)| e == event), "{event:?} never happens");
        }
    }

    #[test]
    fn nothing_is_redeemed_that_is_used_revoked_or_expired() {
        for state in [S::Redeemed, S::AtRisk, S::Revoked, S::Expired] {
            for event in [E::Redeem, E::RedeemPart, E::RedeemAtRisk, E::Reserve] {
                assert_eq!(check(state, event), Err(state.reason()));
            }
        }
    }
}
