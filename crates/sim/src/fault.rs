//! The kinds of faults, which of them are on, and how often each struck.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::Serialize;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident, $text:literal;)*) => {
        /// What can go wrong in the street.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultKind {
            $($(#[$doc])* $name,)*
        }

        impl FaultKind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name on the command line and in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

kinds! {
    /// The process is killed at some step of its work; what it wrote and did not sync is still there.
    ProcessKill, "process-kill";
    /// The power goes at some step: what was not synced is lost, torn or zeroed, and the views fall back.
    PowerCut, "power-cut";
    /// A sync fails.
    SyncFailure, "sync-failure";
    /// The disk is full for a while.
    DiskFull, "disk-full";
    /// A byte of a file changes at rest.
    BitFlip, "bit-flip";
    /// The views are gone at a start, and folded anew.
    ViewsLost, "views-lost";
    /// A connection breaks, with what is on its way.
    LinkBreak, "link-break";
    /// Two parts of the street cannot reach each other.
    Partition, "partition";
    /// One part hears the other, and not the other way.
    OneWay, "one-way";
    /// A shop is shut for hours.
    ShopOff, "shop-off";
    /// A clock is wrong from the start, by up to 24 hours.
    ClockSkew, "clock-skew";
    /// A clock jumps forward or back.
    ClockJump, "clock-jump";
    /// A till does not get its answer, and asks again.
    AnswerLost, "answer-lost";
    /// A till asks again though it was answered.
    Repeat, "repeat";
    /// A shop's disk is replaced by an old backup.
    Restore, "restore";
    /// A shop's disk is copied, and both run.
    Clone, "clone";
    /// A cheating shop continues its log in two ways.
    Fork, "fork";
    /// A cheating shop redeems a voucher a second time, by a record of its own making.
    DoubleSpend, "double-spend";
    /// A cheating shop makes vouchers: past its quota, with a foreign signature, two with one number.
    ForgedVoucher, "forged-voucher";
    /// A cheating home passes the right to one voucher on to two shops.
    PassedTwice, "passed-twice";
    /// A cheating shop moves numbers on that it handed out.
    MovedIssued, "moved-issued";
    /// A cheating shop writes what only others may write.
    ForeignRecord, "foreign-record";
    /// A cheating shop keeps its records from some.
    Withhold, "withhold";
    /// A cheating shop dates a record back.
    BackDate, "back-date";
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No such kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault {0:?}")]
pub struct UnknownFault(String);

impl FromStr for FaultKind {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        Self::ALL.iter().copied().find(|k| k.name() == text).ok_or_else(|| UnknownFault(text.into()))
    }
}

/// Which kinds are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultSet(u32);

impl FaultSet {
    /// A calm street.
    pub const NONE: Self = Self(0);

    /// Everything.
    pub fn all() -> Self {
        FaultKind::ALL.iter().copied().collect()
    }

    /// Whether a kind is on.
    pub const fn has(self, kind: FaultKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// Without a kind.
    #[must_use]
    pub const fn without(self, kind: FaultKind) -> Self {
        Self(self.0 & !(1 << kind as u32))
    }

    /// The kinds that are on, in the order of the list.
    pub fn kinds(self) -> impl Iterator<Item = FaultKind> {
        FaultKind::ALL.iter().copied().filter(move |kind| self.has(*kind))
    }
}

impl FromIterator<FaultKind> for FaultSet {
    fn from_iter<I: IntoIterator<Item = FaultKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | 1 << kind as u32))
    }
}

/// How often each kind struck.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct FaultCounts(BTreeMap<&'static str, u64>);

impl FaultCounts {
    /// None of the kinds in `set` yet; the others are not listed.
    pub fn of(set: FaultSet) -> Self {
        Self(set.kinds().map(|kind| (kind.name(), 0)).collect())
    }

    pub(crate) fn add(&mut self, kind: FaultKind) {
        *self.0.entry(kind.name()).or_default() += 1;
    }

    /// How often a kind struck.
    pub fn count(&self, kind: FaultKind) -> u64 {
        self.0.get(kind.name()).copied().unwrap_or_default()
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// Names and counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}
