//! What is known of one link.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::cmp::Ordering;

use hutong_record::{ShopId, UnixMillis};

use crate::{
    FrontierDigest, Head, HeadPrefix, PeerHead, Side,
    fill::Filling,
    frame::{Fault, Rank},
    limits::{ANSWER_LIMIT_MS, LOGS_MAX, WANT_LIMIT_MS, WANT_TIMEOUT_MS, WANTS_PER_LINK_MAX},
    sketch::{Differing, Sketch},
};

/// How far the greeting is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Our Hello is out, the peer's is not here.
    Greeting,
    /// The digests were equal.
    Equal,
    /// They differed; the dialled side's sketch is on its way, or the dialling side's part.
    Sketching(Sketch),
    /// The peer's list is coming.
    Listing(Listing),
    /// They differed; the peer's frontier is here.
    Listed,
}

/// Which list a peer owes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listing {
    /// All its logs.
    All,
    /// The rest of those in the buckets that differ.
    Part(Differing),
    /// Those in the buckets that differ of which it holds something else than we listed.
    Counterpart(Differing),
}

impl Stage {
    /// Whether the peer may know nothing of us yet but digest and sketch, which are of one moment.
    pub(crate) const fn is_greeting(&self) -> bool {
        matches!(self, Self::Greeting | Self::Sketching(_))
    }

    /// Whether all of the peer's logs are known.
    pub(crate) const fn knows_all(&self) -> bool {
        matches!(self, Self::Equal | Self::Listed)
    }
}

/// How far a peer's copy of a log goes, as it said or as we sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) sequence: u64,
    pub(crate) prefix: Option<HeadPrefix>,
    pub(crate) incarnation: u32,
}

impl Known {
    pub(crate) const fn rank(&self) -> Rank {
        (self.incarnation, self.sequence)
    }
}

impl From<PeerHead> for Known {
    fn from(head: PeerHead) -> Self {
        let prefix = (head.sequence > 0).then_some(head.head_prefix);
        Self { sequence: head.sequence, prefix, incarnation: head.incarnation }
    }
}

impl From<Head> for Known {
    fn from(head: Head) -> Self {
        Self { sequence: head.sequence, prefix: Some(head.prefix()), incarnation: head.incarnation }
    }
}

/// What a want is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    CatchUp,
    Evidence,
    /// Records that were held and are lost.
    Healing,
}

/// A want that the peer has not answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) from_sequence: u64,
    pub(crate) bytes_max: u32,
    pub(crate) since: UnixMillis,
    pub(crate) purpose: Purpose,
    /// Given up: asked elsewhere. The answer may still come.
    pub(crate) late: bool,
}

/// Our own records on their way to the peer.
#[derive(Debug, Default)]
pub(crate) struct Push {
    /// A read for the next push is under way.
    pub(crate) reading: bool,
    /// The last sequence number that was pushed.
    pub(crate) sent_sequence: u64,
    /// Last sequence number and bytes of each push that the peer has not acknowledged with Have.
    unacknowledged: VecDeque<(u64, usize)>,
}

impl Push {
    pub(crate) fn sent(&mut self, sequence: u64, bytes: usize) {
        self.sent_sequence = sequence;
        self.unacknowledged.push_back((sequence, bytes));
    }

    pub(crate) fn acknowledged(&mut self, sequence: u64) {
        self.unacknowledged.retain(|&(last, _)| last > sequence);
    }

    /// The peer wants from `sequence` + 1: what was pushed beyond did not fit there.
    pub(crate) fn rewind(&mut self, sequence: u64) {
        self.sent_sequence = self.sent_sequence.min(sequence);
        self.unacknowledged.clear();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.unacknowledged.iter().map(|&(_, bytes)| bytes).sum()
    }
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: ShopId,
    pub(crate) side: Side,
    pub(crate) stage: Stage,
    /// What our Hello said.
    pub(crate) digest: FrontierDigest,
    pub(crate) known: BTreeMap<ShopId, Known>,
    /// The last shop of an unfinished frontier.
    pub(crate) listed_to: Option<ShopId>,
    /// Sequence numbers that the peer could not serve.
    pub(crate) lacks: BTreeMap<ShopId, u64>,
    /// Logs that are not wanted from here: another branch.
    pub(crate) blocked: BTreeSet<ShopId>,
    /// Logs of which the peer holds a later incarnation that leaves ours before its end: by how much earlier it is
    /// asked for.
    pub(crate) back: BTreeMap<ShopId, u64>,
    pub(crate) asked: BTreeMap<ShopId, Asked>,
    /// Logs that the peer wants and that are being read.
    pub(crate) serving: BTreeSet<ShopId>,
    pub(crate) answered_at: UnixMillis,
    pub(crate) slow: bool,
    /// How often the peer did not have what it had announced.
    pub(crate) broken_promises: u32,
    /// Logs that have grown and that the peer may not have.
    pub(crate) announce: BTreeSet<ShopId>,
    /// Pushes of the peer that are acknowledged with Have as soon as they are durable.
    pub(crate) owed: BTreeMap<ShopId, u64>,
    pub(crate) have_sent_at: Option<UnixMillis>,
    pub(crate) push: Push,
    pub(crate) own_log_ahead_told: bool,
    /// Of what we held at our Hello outside the buckets that differ.
    pub(crate) rest: Option<FrontierDigest>,
    /// What we are sending to it unasked.
    pub(crate) filling: Option<Filling>,
    /// Forks that were told on this link, by either side, and where they are.
    pub(crate) alarms: BTreeMap<ShopId, u64>,
}

impl Link {
    pub(crate) fn new(
        peer: ShopId,
        side: Side,
        digest: FrontierDigest,
        heads: &BTreeMap<ShopId, Head>,
        now: UnixMillis,
    ) -> Self {
        Self {
            peer,
            side,
            stage: Stage::Greeting,
            digest,
            // If the digests turn out equal, this is what the peer holds.
            known: heads.iter().map(|(shop, head)| (*shop, Known::from(*head))).collect(),
            listed_to: None,
            lacks: BTreeMap::new(),
            blocked: BTreeSet::new(),
            back: BTreeMap::new(),
            asked: BTreeMap::new(),
            serving: BTreeSet::new(),
            answered_at: now,
            slow: false,
            broken_promises: 0,
            announce: BTreeSet::new(),
            owed: BTreeMap::new(),
            have_sent_at: None,
            push: Push::default(),
            own_log_ahead_told: false,
            rest: None,
            filling: None,
            alarms: BTreeMap::new(),
        }
    }

    pub(crate) fn known(&self, shop: &ShopId) -> Known {
        self.known.get(shop).copied().unwrap_or_default()
    }

    /// Takes in what the peer said or sent. What is lower than known is old news.
    pub(crate) fn learn(&mut self, shop: ShopId, known: Known) -> Result<(), Fault> {
        if !self.known.contains_key(&shop) && self.known.len() >= LOGS_MAX {
            return Err(Fault::Logs);
        }
        let entry = self.known.entry(shop).or_default();
        if known.rank() > entry.rank() {
            // It grew, so it may have what it lacked.
            self.lacks.remove(&shop);
        }
        if known.incarnation > entry.incarnation {
            // Another branch than the one that was not wanted.
            self.blocked.remove(&shop);
            self.back.remove(&shop);
        }
        if known.rank() > entry.rank() || (known.rank() == entry.rank() && known.prefix.is_some()) {
            *entry = known;
        }
        Ok(())
    }

    /// The peer wants from `sequence` + 1, so it holds no more than `sequence`, whatever was sent or said.
    pub(crate) fn lower(&mut self, shop: ShopId, sequence: u64) {
        if let Some(entry) = self.known.get_mut(&shop)
            && entry.sequence > sequence
        {
            *entry = Known { sequence, prefix: None, ..*entry };
        }
    }

    /// From where on the peer is worth asking for a log of which `ours` is held, slots aside. Of a later incarnation it
    /// is not known where it leaves ours: it is asked for from the end of the shorter of both, then from further back.
    pub(crate) fn can_serve(&self, shop: &ShopId, ours: Rank) -> Option<u64> {
        let known = self.known(shop);
        let next = ours.1.saturating_add(1);
        let from_sequence = match known.incarnation.cmp(&ours.0) {
            Ordering::Less => return None,
            Ordering::Equal => next,
            Ordering::Greater => {
                let back = self.back.get(shop).copied().unwrap_or(0);
                next.min(known.sequence).saturating_sub(back).max(1)
            }
        };
        let able = known.sequence >= from_sequence
            && self.lacks.get(shop) != Some(&from_sequence)
            && !self.blocked.contains(shop)
            && !self.asked.contains_key(shop);
        able.then_some(from_sequence)
    }

    /// Our log changed its branch.
    pub(crate) fn forget_back(&mut self, shop: &ShopId) {
        self.back.remove(shop);
    }

    /// The peer's branch begins before the place that it was asked for. False: it was asked for from the beginning.
    pub(crate) fn go_back(&mut self, shop: ShopId, ours: Rank) -> bool {
        let next = ours.1.saturating_add(1).min(self.known(&shop).sequence);
        let back = self.back.entry(shop).or_default();
        if *back >= next {
            return false;
        }
        *back = back.saturating_mul(2).max(1);
        true
    }

    pub(crate) fn has_slot(&self) -> bool {
        self.asked.len() < WANTS_PER_LINK_MAX
    }

    /// When a want is asked elsewhere, or, if that was done, when the link is given up.
    pub(crate) fn deadline(&self, asked: &Asked) -> UnixMillis {
        if asked.late {
            return asked.since.saturating_add_ms(ANSWER_LIMIT_MS);
        }
        let active = asked.since.max(self.answered_at);
        active.saturating_add_ms(WANT_TIMEOUT_MS).min(asked.since.saturating_add_ms(WANT_LIMIT_MS))
    }

    /// Whether a want's deadline has passed. A clock that was set back counts as passed: better to ask once more
    /// than to wait for a time that may be years off.
    pub(crate) fn overdue(&self, asked: &Asked, now: UnixMillis) -> bool {
        now >= self.deadline(asked) || now < asked.since
    }
}
