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
    /// Of the redemptions, those of designated vouchers.
    pub designated: u64,
    /// Of leased vouchers.
    pub leased: u64,
    /// Of anywhere vouchers, by right: confirmed by their home, or at home.
    pub confirmed: u64,
    /// Vouchers accepted at risk; not counted as redemptions before their right arrived.
    pub at_risk: u64,
    /// Of these, settled by the end: the right arrived.
    pub at_risk_settled: u64,
    /// Of these, lost by the end: the right went to another shop.
    pub at_risk_lost: u64,
    /// Proofs against shops that every sound shop holds.
    pub proofs: u64,
    /// Second uses written by cheats that some sound shop took for good, and uses at risk beside another use of
    /// which no proof names the shop that took the risk (VOU-1).
    pub undetected_double_uses: u64,
    /// Times that what a shop had open or lost at risk in one promotion passed its cap.
    pub loss_over_cap: u64,
    /// Vouchers handed out past a quota, or under a number that was another's or still in use (VOU-2).
    pub oversold: u64,
    /// Moves of numbers that tills were told of.
    pub quota_moves: u64,
    /// What the shops of a flash sale sold of their leased stock while the street was cut in two.
    pub leased_sold_share: SoldShare,
    /// Shops whose forked log every sound shop has frozen.
    pub forks_frozen: u64,
    /// Records that a shop which does not cheat signed under a number that it had used before (LOG-1).
    pub self_forks: u64,
    /// Records of shops that were put back from an old backup whose numbers were compared with all that the shop had signed.
    pub put_back_records: u64,
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
            designated,
            leased,
            confirmed,
            at_risk,
            at_risk_settled,
            at_risk_lost,
            proofs,
            undetected_double_uses,
            loss_over_cap,
            oversold,
            quota_moves,
            leased_sold_share,
            forks_frozen,
            self_forks,
            put_back_records,
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
        self.designated += designated;
        self.leased += leased;
        self.confirmed += confirmed;
        self.at_risk += at_risk;
        self.at_risk_settled += at_risk_settled;
        self.at_risk_lost += at_risk_lost;
        self.proofs += proofs;
        self.loss_over_cap += loss_over_cap;
        self.oversold += oversold;
        self.quota_moves += quota_moves;
        self.leased_sold_share.stock += leased_sold_share.stock;
        self.leased_sold_share.sold += leased_sold_share.sold;
        self.forks_frozen += forks_frozen;
        self.self_forks += self_forks;
        self.put_back_records += put_back_records;
        self.records += records;
        self.repeats_compared += repeats_compared;
        self.states_compared += states_compared;
        self.events += events;
    }
}

/// What was sold of a stock. Written as a share from 0 to 1; nothing where there was no stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SoldShare {
    /// Vouchers that could be sold.
    pub stock: u64,
    /// Vouchers that were.
    pub sold: u64,
}

impl From<Option<(u64, u64)>> for SoldShare {
    fn from(outcome: Option<(u64, u64)>) -> Self {
        let (stock, sold) = outcome.unwrap_or_default();
        Self { stock, sold }
    }
}

impl Serialize for SoldShare {
    #[allow(clippy::cast_precision_loss, reason = "vouchers of a sale are few")]
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let share = (self.stock > 0).then(|| self.sold as f64 / self.stock as f64);
        share.serialize(serializer)
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
