//! What a run came to.

use serde::Serialize;

use crate::{check::Violation, fault::FaultCounts};

/// What was measured, in one run or over many.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Figures {
    /// Vouchers shown at tills; repeats under the same request id are not counted.
    pub redemption_attempts: u64,
    /// Redemptions that tills were told of.
    pub redemptions: u64,
    /// Redemptions taken back.
    pub voids: u64,
    /// Vouchers handed out.
    pub vouchers: u64,
    /// Refusals told to tills.
    pub refusals: u64,
    /// Vouchers with more than one redemption at honest shops that was not taken back (VOU-1).
    pub double_redemptions: u64,
    /// Second uses written by cheats that some sound shop took for good (VOU-1).
    pub undetected_double_uses: u64,
    /// Vouchers handed out past a quota (VOU-2).
    pub oversold: u64,
    /// Shops whose forked log every sound shop has frozen.
    pub forks_frozen: u64,
    /// Records of all shops.
    pub records: u64,
    /// Repeats whose answer was compared with the first one.
    pub repeats_compared: u64,
    /// Nodes whose state digests were compared with another's.
    pub states_compared: u64,
    /// Events that happened.
    pub events: u64,
}

impl Figures {
    /// Adds those of another run.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            redemption_attempts,
            redemptions,
            voids,
            vouchers,
            refusals,
            double_redemptions,
            undetected_double_uses,
            oversold,
            forks_frozen,
            records,
            repeats_compared,
            states_compared,
            events,
        } = other;
        self.redemption_attempts += redemption_attempts;
        self.redemptions += redemptions;
        self.voids += voids;
        self.vouchers += vouchers;
        self.refusals += refusals;
        self.double_redemptions += double_redemptions;
        self.undetected_double_uses += undetected_double_uses;
        self.oversold += oversold;
        self.forks_frozen += forks_frozen;
        self.records += records;
        self.repeats_compared += repeats_compared;
        self.states_compared += states_compared;
        self.events += events;
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// Its seed.
    pub seed: u64,
    /// Hash over every event, hexadecimal: the same for the same configuration.
    pub trace: String,
    /// What was measured.
    #[serde(flatten)]
    pub figures: Figures,
    /// How often each kind of fault struck.
    pub faults: FaultCounts,
    /// The invariant that broke, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation: Option<Violation>,
}
