//! Bugs planted on purpose, to show that the simulator finds each. Compiled with the feature `planted-bugs` alone, and
//! even then none is active before [`plant`] was called in the thread. A place in the code asks `planted!(Name)`,
//! which is `false` at compile time without the feature.

extern crate std;

use core::{cell::Cell, str::FromStr};

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }

        impl FromStr for Bug {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $(stringify!($name) => Ok(Self::$name),)* _ => Err(()) }
            }
        }
    };
}

bugs! {
    /// The journal says that it has synced, and has not. (`store/journal/writer.rs`)
    SkipSync;
    /// Folding the journal anew leaves out who used which voucher. (`store/ledger/recovery.rs`)
    ForgetUsesOnRebuild;
    /// Folding the journal anew leaves out which numbers were handed out. (`store/ledger/recovery.rs`)
    ForgetNumbersOnRebuild;
    /// Repeats are not recognized. (`store/ledger.rs`)
    ForgetAnswers;
    /// The views are written before the journal. (`store/ledger.rs`)
    ViewsBeforeJournal;
    /// Tills are answered before the group is committed. (`store/writer.rs`)
    AnswerBeforeCommit;
    /// A run is taken whatever signature covers it. (`record/run.rs`)
    AcceptUnsignedRun;
    /// One record twice proves a fork. (`record/fork.rs`)
    ForkByOneRecord;
    /// What has arrived counts as durable. (`sync/receive.rs`)
    TrustArrival;
    /// Of two uses of a voucher the later one counts as well. (`core/fold/redemption.rs`)
    LastUseWins;
    /// Any shop's receipt counts. (`core/fold/redemption.rs`)
    RedeemForOthers;
    /// Anybody may end a promotion. (`core/fold/trade.rs`)
    AnyoneEndsPromotions;
    /// Taking back a use that was taken back before sets the voucher free again. (`core/fold/redemption.rs`,
    /// `core/command/void.rs`)
    VoidAnyUse;
    /// A number past the quota is as good as any. (`core/voucher.rs`)
    NoQuotaCheck;
    /// Whoever signed a voucher, it is good. (`core/voucher.rs`)
    NoTokenSignature;
    /// A voucher that its home has used is passed on with all its uses. (`core/command/right.rs`)
    PassUsedUp;
    /// A number that was moved on is handed out all the same. (`core/command/issue.rs`, `core/fold/voucher.rs`)
    HandOutMoved;
    /// What is accepted at risk is not counted. (`core/fold/redemption.rs`)
    RiskUncounted;
    /// What was accepted at risk is settled without the right. (`core/command/right.rs`, `core/fold/redemption.rs`)
    SettleWithoutRight;
    /// Nobody is told of a shop that broke the rules. (`core/fold/voucher.rs`)
    HideProofs;
    /// Every member's vote admits. (`core/roster.rs`)
    CountEveryVote;
}

std::thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in this thread, or digs it out.
pub fn plant(bug: Option<Bug>) {
    PLANTED.with(|planted| planted.set(bug));
}

/// Whether a bug is planted in this thread.
pub fn is(bug: Bug) -> bool {
    PLANTED.with(Cell::get) == Some(bug)
}
