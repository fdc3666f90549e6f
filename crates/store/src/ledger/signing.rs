//! Whether a ledger may sign. A node that signs on a disk that was set back or copied gives out sequence numbers a second
//! time, which freezes its log for good (LOG-1). So before it first signs after a start it asks its peers how far its
//! own log goes.

use std::cmp::Ordering;

use hutong_core::{
    alliance::Alliance,
    charter::CLOCK_AHEAD_MS_MAX,
    command::DraftRecord,
    refusal::{Reason, Refusal},
};
use hutong_record::{
    Audience, Record, ShopId, UnixMillis, incarnation_first, incarnation_last, proto, proto::Kind,
    verify_run_with,
};
use rand_core::CryptoRng;

use super::{ExecuteError, Ledger, LedgerError};
use crate::{journal::TailLoss, views::Views};

/// How many members must have told how far this shop's log goes, where a start alone does not do: two, so that one
/// that is behind itself cannot vouch alone; all, where there are fewer.
const CONFIRMING_PEERS: usize = 2;
/// How long a node that was started in an ordinary way waits for members to tell, ms. After that it signs unanswered: a
/// shop without a line must be able to trade.
pub const QUESTION_MS: i64 = 3_000;
/// The members that a [`proto::Resumption`] names at most.
const NAMED_PEERS_MAX: usize = 16;
/// Fork proofs that wait until this shop may sign; each is about another shop.
pub(super) const PROOFS_MAX: usize = 64;

/// What is known of the files that a ledger is opened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// The very files on which this shop signed last, or new ones for a log that never was.
    Kept,
    /// The same, but the journal's end was cut at an earlier start and nobody has been asked since.
    Cut,
    /// A copy, a backup, or files that nobody knows: the log may go further elsewhere.
    Moved,
}

/// Whether a ledger may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// It may.
    Confirmed,
    /// Not yet, and why.
    Unconfirmed(Doubt),
    /// Never again with this key: the log has two branches, both signed.
    Forked,
}

/// Why it is doubted that a log goes no further than this ledger holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The node was started; members are asked for [`QUESTION_MS`].
    Started,
    /// The journal's end was cut when it was opened; members are asked for [`QUESTION_MS`].
    TailTorn,
    /// The journal's end is damaged: acknowledged records may be gone.
    TailDamaged,
    /// These files are not the ones on which this shop signed last.
    Moved,
    /// Records came that this shop signed elsewhere, while this node signed: there are two of it. Only a new start,
    /// of one of them, ends this.
    Shared,
}

/// Whether there is still time to wait for members to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Others may yet tell.
    Waits,
    /// [`QUESTION_MS`] have passed.
    Over,
}

/// What a peer says of this shop's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadAnswer {
    /// Who says so: a member, or the shop that invited this one.
    pub peer: ShopId,
    /// Up to which sequence number it holds the log; 0: nothing of it.
    pub sequence: u64,
    /// Of that record.
    pub incarnation: u32,
    /// First bytes of that record's id, where they are known.
    pub id_prefix: Option<[u8; 8]>,
}

/// How an answer compares with what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// Nothing that is not held.
    Within,
    /// Records that are not held.
    Ahead,
    /// Another record where one is held.
    Differs,
}

/// Later epochs have fewer numbers, so this many milliseconds share one; they last until 2057.
const LATER_TICK_MS: i64 = 16_000;
/// Numbers at the end of an epoch's block that the clock does not come to: from there on each restore takes the next one.
const BEYOND_CLOCK: u32 = 1 << 20;

/// The incarnation that begins now in a key epoch; none: the epoch's numbers are used up. Two restores may know of the same
/// earlier one, and the records of either may turn up later: so it is taken from the clock, and the later restore counts.
pub(super) fn next(before: u32, epoch: u32, now: UnixMillis) -> Option<u32> {
    /// 2023-11-14T22:13:20Z.
    const SINCE_MS: i64 = 1_700_000_000_000;
    let tick_ms = if epoch == 0 { 1_000 } else { LATER_TICK_MS };
    let (first, last) = (incarnation_first(epoch), incarnation_last(epoch));
    let passed = u32::try_from(now.ms().saturating_sub(SINCE_MS) / tick_ms);
    let passed = passed.unwrap_or(if now.ms() < SINCE_MS { 0 } else { u32::MAX });
    let clock = first.saturating_add(passed).min(last - BEYOND_CLOCK);
    let next = clock.max(before.checked_add(1)?);
    (next <= last).then_some(next)
}

/// How many members must have answered before a shop's copy of this alliance signs, or gives up places for lost, where time
/// alone does not do; at least one.
pub fn confirming_peers(alliance: &Alliance) -> usize {
    other_members(alliance).clamp(1, CONFIRMING_PEERS)
}

fn other_members(alliance: &Alliance) -> usize {
    let (roster, me) = (alliance.roster(), alliance.me());
    roster.iter().filter(|(shop, _)| *shop != me && roster.member(*shop).is_some()).count()
}

impl Signing {
    /// The stable name of what speaks against signing; none: nothing does.
    pub const fn doubt_code(self) -> Option<&'static str> {
        match self {
            Self::Confirmed => None,
            Self::Unconfirmed(doubt) => Some(doubt.code()),
            Self::Forked => Some("FORKED"),
        }
    }

    /// Refused unless it is confirmed.
    pub(super) fn check(self) -> Result<(), Refusal> {
        match self {
            Self::Confirmed => Ok(()),
            Self::Unconfirmed(doubt) => Err(Refusal::new(Reason::HeadUnconfirmed).with("why", doubt.code())),
            Self::Forked => Err(Refusal::new(Reason::LogFrozen)),
        }
    }
}

impl Doubt {
    /// Its stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::TailTorn => "TAIL_TORN",
            Self::TailDamaged => "TAIL_DAMAGED",
            Self::Moved => "MOVED",
            Self::Shared => "SHARED",
        }
    }

    /// Whether time alone does away with it.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Started | Self::TailTorn)
    }

    /// Whether records may have been signed here that this node does not hold: it goes on in a new incarnation, so that
    /// they are no fork should they turn up.
    const fn may_have_signed_more(self) -> bool {
        !matches!(self, Self::Started)
    }

    /// Whether records may be gone that tills were told of.
    pub(super) const fn may_have_lost(self) -> bool {
        matches!(self, Self::Moved | Self::TailDamaged)
    }

    pub(super) const fn of(seat: Seat, loss: TailLoss) -> Self {
        match (seat, loss) {
            (Seat::Moved, _) => Self::Moved,
            (Seat::Kept | Seat::Cut, TailLoss::Damaged) => Self::TailDamaged,
            (Seat::Kept, TailLoss::Torn) | (Seat::Cut, _) => Self::TailTorn,
            (Seat::Kept, TailLoss::Nothing) => Self::Started,
        }
    }
}

impl<V: Views> Ledger<V> {
    /// Whether this ledger may sign.
    pub const fn signing(&self) -> Signing {
        self.signing
    }

    /// See [`confirming_peers`].
    pub fn confirming_peers(&self) -> usize {
        confirming_peers(&self.alliance)
    }

    /// A shop that is alone, as every founder is at first, has nobody to ask.
    pub(super) fn confirm_if_alone(&mut self) {
        if self.signing == Signing::Unconfirmed(Doubt::Started) && other_members(&self.alliance) == 0 {
            self.signing = Signing::Confirmed;
        }
    }

    /// Weighs what peers say of this shop's own log: each connected peer's latest word. Answers that turned out to be
    /// empty talk are to be left out. To be called again whenever an answer, the own log or `patience` changes. What it
    /// stages (the first record of a new incarnation, fork proofs that waited) is to be committed.
    ///
    /// # Errors
    /// The views or the journal failed.
    pub fn confirm_head(
        &mut self,
        answers: &[HeadAnswer],
        patience: Patience,
        now: UnixMillis,
        rng: &mut impl CryptoRng,
    ) -> Result<Signing, ExecuteError> {
        let Signing::Unconfirmed(doubt) = self.signing else { return Ok(self.signing) };
        // Without the keys that the log has gone over to, nothing could be said of a new incarnation.
        if self.signer().is_err() || !self.is_dispelled(doubt, answers, patience)? {
            return Ok(self.signing);
        }
        self.signing = Signing::Confirmed;
        let mut drafts: Vec<_> = std::mem::take(&mut self.waiting_proofs).into_values().collect();
        if doubt.may_have_signed_more() {
            let peers = answers.iter().take(NAMED_PEERS_MAX);
            let confirmed_by = peers.map(|answer| bytes::Bytes::copy_from_slice(answer.peer.as_bytes()));
            let resumption = proto::Resumption {
                confirmed_by: confirmed_by.collect(),
                doubtful_until_unix_ms: if doubt.may_have_lost() { self.doubtful_until(now).ms() } else { 0 },
                nothing_lost: false,
            };
            self.next_incarnation = true;
            let message = prost::Message::encode_to_vec(&resumption);
            drafts.insert(0, DraftRecord { kind: Kind::Resumption, audience: Audience::Alliance, message });
        }
        let written = self.write(drafts, now, rng);
        if written.is_err() {
            self.signing = Signing::Unconfirmed(doubt);
        }
        written.map(|_| self.signing)
    }

    /// Up to when a lost record may have used what was this shop's: what comes to it later was signed by clocks that run
    /// ahead by no more than the alliance bears with.
    pub(super) fn doubtful_until(&self, now: UnixMillis) -> UnixMillis {
        let last = self.reader.head_of(self.alliance.me()).map_or(now, |head| head.time);
        now.max(last).saturating_add_ms(CLOCK_AHEAD_MS_MAX)
    }

    fn is_dispelled(
        &self,
        doubt: Doubt,
        answers: &[HeadAnswer],
        patience: Patience,
    ) -> Result<bool, LedgerError> {
        let mut within = 0;
        let mut differs = false;
        for answer in answers {
            match self.compare(answer)? {
                Compared::Within => within += 1,
                // It is being fetched.
                Compared::Ahead => return Ok(false),
                Compared::Differs => differs = true,
            }
        }
        let new = self.head(self.alliance.me()).is_none();
        let is_member = self.alliance.own_membership().is_ok();
        let heard = within >= self.confirming_peers() && !differs;
        Ok(match doubt {
            Doubt::Shared => false,
            // A log that is empty here and not elsewhere would begin anew: somebody must have said that it is empty.
            Doubt::Started | Doubt::TailTorn => heard || (patience == Patience::Over && (!new || within > 0)),
            Doubt::TailDamaged | Doubt::Moved => heard && is_member,
        })
    }

    fn compare(&self, answer: &HeadAnswer) -> Result<Compared, LedgerError> {
        let me = self.alliance.me();
        let (sequence, incarnation) = self.head(me).map_or((0, 0), |head| (head.sequence, head.incarnation));
        match answer.incarnation.cmp(&incarnation) {
            Ordering::Greater => return Ok(Compared::Ahead),
            // What it holds beyond was superseded.
            Ordering::Less => return Ok(Compared::Within),
            Ordering::Equal if answer.sequence > sequence => return Ok(Compared::Ahead),
            Ordering::Equal => {}
        }
        let held = self.id_at(me, answer.sequence)?;
        let differs = |id: hutong_record::RecordId| {
            answer.id_prefix.is_some_and(|prefix| !id.as_bytes().starts_with(&prefix))
        };
        Ok(if held.is_some_and(differs) { Compared::Differs } else { Compared::Within })
    }

    /// A peer's records of this shop's own log, at places where it holds others. What is signed says that there are two
    /// of this shop: it signs nothing more. True: so it is.
    pub(super) fn examine_own(&mut self, records: Vec<Record>) -> Result<bool, LedgerError> {
        let me = self.alliance.me();
        let Some(key) = self.alliance.key_of_run(&records) else { return Ok(false) };
        let Ok(run) = verify_run_with(records, &key, self.alliance.cryptography()) else { return Ok(false) };
        for theirs in run.records() {
            let header = theirs.header();
            if header.shop != me || header.alliance != self.id() {
                return Ok(false);
            }
            let Some(ours) = self.reader.read_log(me, header.sequence, 1)?.into_iter().next() else {
                continue;
            };
            if ours.id() == theirs.id() {
                continue;
            }
            self.signing = match ours.header().incarnation.cmp(&header.incarnation) {
                Ordering::Equal => Signing::Forked,
                // It was superseded by what is held, which is news to the peer alone.
                Ordering::Greater => return Ok(false),
                Ordering::Less => Signing::Unconfirmed(Doubt::Shared),
            };
            return Ok(true);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    #[test]
    fn an_incarnation_stays_within_its_epoch_and_later_ones_are_larger() {
        for epoch in 0..=hutong_record::KEY_EPOCH_MAX {
            let (first, last) = (incarnation_first(epoch), incarnation_last(epoch));
            for ms in [0, 1_700_000_000_000, 1_800_000_000_000, UnixMillis::MAX.ms()] {
                let begun = next(0, epoch, at(ms)).unwrap();
                assert!((first..=last).contains(&begun));
            }
            let begun = next(0, epoch, at(1_800_000_000_000)).unwrap();
            assert_eq!(next(begun, epoch, at(1_800_000_000_000)), Some(begun + 1));
            assert!(next(0, epoch, at(1_800_000_016_000)).unwrap() > begun);
        }
    }

    #[test]
    fn past_the_last_number_of_an_epoch_there_is_none() {
        let now = at(1_800_000_000_000);
        for epoch in [0, 1, hutong_record::KEY_EPOCH_MAX] {
            let last = incarnation_last(epoch);
            assert_eq!(next(last - 1, epoch, now), Some(last));
            assert_eq!(next(last, epoch, now), None);
        }
        assert_eq!(next(incarnation_first(1), 0, now), None);
    }
}
