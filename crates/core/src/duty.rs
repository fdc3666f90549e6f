//! Duties: what this shop's node owes others without anybody at a till asking: to answer a request for a right, to
//! settle what was accepted at risk, to give back what was revoked or expired, to publish a proof. A duty stands in the
//! views until a record of this shop has fulfilled it, so a crash forgets none.

use alloc::{boxed::Box, vec::Vec};

use hutong_record::{Header, RecordId, ShopId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    alliance::Alliance,
    doubt, report, table,
    view::{Reader, ViewError},
    voucher::{Token, VoucherKey},
};

/// Vouchers that go back in one record.
pub(crate) const GIVEN_BACK_MAX: usize = 32;

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Duty {
    /// A shop asks for the right to a voucher.
    AnswerRight {
        /// Its request's record.
        request: RecordId,
        /// Who asks.
        asker: ShopId,
        /// Who shall have the right.
        to: ShopId,
        /// The voucher.
        token: Box<Token>,
        /// A use at risk waits for it: it is not done with a denial for the time being.
        at_risk: bool,
    },
    /// A shop broke the rules: show it to all. An encoded `VoucherProof`.
    PublishProof(Vec<u8>),
    /// The right to a voucher that was accepted at risk has arrived.
    SettleRisk(VoucherKey),
    /// The shop that was asked for the right to what was accepted at risk is gone: whoever stands in for it is asked.
    AskStandIn(VoucherKey),
    /// Vouchers that will not be redeemed any more go back to their issuer.
    GiveBack(Vec<VoucherKey>),
    /// This shop's rule is to consent to netting runs that take its balances as they are.
    Consent {
        /// The run's period.
        period: UnixMillis,
        /// Its record.
        run: RecordId,
    },
    /// A record on which others' logs may wait does not count: its encoded header.
    TellLost(Vec<u8>),
    /// An ally owes more than this shop's limit for warnings.
    NoteExposure(ShopId),
}

/// What this shop accepted at risk, and asked for the right to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct RiskWaits {
    pub(crate) voucher: VoucherKey,
    pub(crate) request: RecordId,
    /// The shop that was asked.
    pub(crate) of: ShopId,
}

impl Duty {
    /// Where it stands; [`Duty::GiveBack`] of expired vouchers follows from what is held, [`Duty::AskStandIn`] from what is waited
    /// for.
    pub(crate) fn key(&self) -> Vec<u8> {
        match self {
            Self::AnswerRight { request, .. } => table::duty(0, request.as_bytes()),
            Self::PublishProof(proof) => table::duty(1, &blake3::derive_key("hutong 2026 v1 duty", proof)),
            Self::SettleRisk(voucher) => table::duty(2, &voucher.to_bytes()),
            Self::AskStandIn(voucher) => table::risk_waits(voucher),
            Self::GiveBack(vouchers) => {
                table::duty(3, &vouchers.first().map_or_else(Vec::new, |key| key.to_bytes()))
            }
            Self::Consent { run, .. } => table::duty(4, run.as_bytes()),
            Self::TellLost(header) => table::duty(6, Header::id_of(header).as_bytes()),
            Self::NoteExposure(ally) => table::duty(5, ally.as_bytes()),
        }
    }
}

/// The duties that stand at a moment, at most `most`. Expired vouchers go back when nobody can enter a redemption of
/// them any more.
pub fn due(
    view: &(impl Reader + ?Sized),
    alliance: &Alliance,
    now: UnixMillis,
    most: usize,
) -> Result<Vec<Duty>, ViewError> {
    due_after(view, alliance, now, most, &mut None)
}

/// As [`due`], but only those after a place, which is then where to go on; none: from the beginning. Duties that cannot be done
/// yet do not keep others waiting so, however many they are.
pub fn due_after(
    view: &(impl Reader + ?Sized),
    alliance: &Alliance,
    now: UnixMillis,
    most: usize,
    place: &mut Option<Vec<u8>>,
) -> Result<Vec<Duty>, ViewError> {
    let mut duties = Vec::new();
    let mut last = None;
    table::walk(view, &[table::DUTY], place.as_deref(), |key, value| {
        duties.push(table::decode(key, value)?);
        let is_full = duties.len() >= most;
        last = is_full.then(|| key.to_vec());
        Ok(!is_full)
    })?;
    *place = last;
    if place.is_none() {
        duties.extend(expired(view, now.saturating_add_ms(-alliance.charter().late_entry_ms_max))?);
        add_orphaned(view, alliance, most, &mut duties)?;
    }
    Ok(duties)
}

/// What this shop accepted at risk while the shop that it asked for the right went out of the alliance.
fn add_orphaned(
    view: &(impl Reader + ?Sized),
    alliance: &Alliance,
    most: usize,
    duties: &mut Vec<Duty>,
) -> Result<(), ViewError> {
    table::walk(view, &[table::RISK_WAITS], None, |key, value| {
        let waits: RiskWaits = table::decode(key, value)?;
        let is_full = duties.len() >= most;
        if !is_full && alliance.is_gone(waits.of) {
            duties.push(Duty::AskStandIn(waits.voucher));
        }
        Ok(!is_full)
    })
}

/// The first expired vouchers that this shop holds for one issuer.
fn expired(view: &(impl Reader + ?Sized), before: UnixMillis) -> Result<Option<Duty>, ViewError> {
    let doubt = doubt::current(view)?;
    let mut issuer = None;
    let mut vouchers = Vec::new();
    table::walk(view, &table::all_held(), None, |key, value| {
        let (voucher, of): (VoucherKey, ShopId) = table::decode(key, value)?;
        if table::parse_held(key).is_none_or(|expires| expires >= before) {
            return Ok(false);
        }
        if let Some(doubt) = doubt
            && report::voucher(view, &voucher)?.is_some_and(|voucher| doubt.covers_right(&voucher))
        {
            return Ok(true); // it may be used up: it stays
        }
        if *issuer.get_or_insert(of) == of {
            vouchers.push(voucher);
        }
        Ok(vouchers.len() < GIVEN_BACK_MAX)
    })?;
    Ok((!vouchers.is_empty()).then_some(Duty::GiveBack(vouchers)))
}
