//! What the parties of a receipt say to it. A dispute marks what the receipt books between the shop that disputes and each
//! other party: it stays out of statements until the dispute is taken back or the receipt's author concedes. Silence
//! accepts.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use hutong_record::{PairId, RecordId, ShopId, UnixMillis, proto};
use serde::{Deserialize, Serialize};

use crate::{
    charter::SettlementRules,
    table,
    view::{Reader, ViewError},
};

/// The longest text of a dispute.
pub const DISPUTE_TEXT_CHARS_MAX: usize = 500;
/// The largest document that goes with a dispute: a photographed receipt goes by another way, its text fits.
pub const EVIDENCE_BYTES_MAX: usize = 4_096;

/// One shop's word on a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The record that says so.
    pub record: RecordId,
    /// Its place in its author's log.
    pub sequence: u64,
    /// What it says.
    pub answer: Answered,
    /// A dispute that was taken back, at this place of its author's log.
    pub withdrawn: Option<u64>,
    /// Why it is disputed, as `DisputeReason` numbers it.
    pub reason: i32,
    /// In the shop's own words.
    pub text: String,
    /// A record that speaks for it.
    pub evidence: Option<RecordId>,
}

/// What is said to a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answered {
    /// Accepted.
    Accepted,
    /// Disputed at this moment: the latest that its author's log had named by then, so that a record with an earlier date
    /// is not in time for that.
    Disputed(UnixMillis),
    /// By its author: nothing is owed for it.
    Conceded,
}

/// All that is said to the receipts between two shops.
#[derive(Debug, Clone, Default)]
pub struct Responses(BTreeMap<RecordId, Vec<(ShopId, Response)>>);

impl Responses {
    /// Whether a receipt's lines are held back, counting only records for which `is_covered` says so.
    pub(crate) fn hold_back(&self, receipt: RecordId, is_covered: &dyn Fn(ShopId, u64) -> bool) -> bool {
        let said = self.0.get(&receipt).map_or(&[][..], Vec::as_slice);
        let covered = || said.iter().filter(|(shop, said)| is_covered(*shop, said.sequence));
        let stands = |(shop, said): &(ShopId, Response)| {
            matches!(said.answer, Answered::Disputed(_))
                && !said.withdrawn.is_some_and(|at| is_covered(*shop, at))
        };
        covered().any(stands) && !covered().any(|(_, said)| said.answer == Answered::Conceded)
    }

    /// The shops that said something.
    pub(crate) fn authors(&self) -> impl Iterator<Item = ShopId> + '_ {
        self.0.values().flatten().map(|(shop, _)| *shop)
    }
}

/// All that is said to the receipts between two shops. A dispute that came too late is left out.
pub fn of_pair(
    view: &(impl Reader + ?Sized),
    rules: &SettlementRules,
    me: ShopId,
    ally: ShopId,
) -> Result<Responses, ViewError> {
    let mut all: BTreeMap<RecordId, Vec<(ShopId, Response)>> = BTreeMap::new();
    let prefix = table::responses(PairId::of(me, ally));
    for (receipt, shop, said) in table::collect(view, &prefix, |key, value| {
        let (receipt, shop) =
            table::parse_response(key).ok_or_else(|| ViewError::Damaged("table of responses".into()))?;
        Ok((receipt, shop, table::decode::<Response>(key, value)?))
    })? {
        let counts = match said.answer {
            Answered::Disputed(at) => in_time(view, rules, receipt, at)?,
            Answered::Accepted | Answered::Conceded => true,
        };
        if counts {
            all.entry(receipt).or_default().push((shop, said));
        }
    }
    Ok(Responses(all))
}

/// Whether a dispute of this moment is in time for a receipt; of one that is not here nobody can say.
pub(crate) fn in_time(
    view: &(impl Reader + ?Sized),
    rules: &SettlementRules,
    receipt: RecordId,
    at: UnixMillis,
) -> Result<bool, ViewError> {
    let entered: Option<table::ReceiptEntry> = table::read(view, &table::redemption(receipt))?;
    Ok(entered.is_some_and(|receipt| rules.in_time(receipt.entered, at)))
}

/// What a shop said to a receipt, as a third shop of it knows.
pub fn by(
    view: &(impl Reader + ?Sized),
    (me, ally): (ShopId, ShopId),
    receipt: RecordId,
    author: ShopId,
) -> Result<Option<Response>, ViewError> {
    table::read(view, &table::response(PairId::of(me, ally), receipt, author))
}

/// Whether a reason is one of the list.
pub(crate) fn is_reason(reason: i32) -> bool {
    proto::DisputeReason::try_from(reason).is_ok_and(|r| r != proto::DisputeReason::Unspecified)
}
