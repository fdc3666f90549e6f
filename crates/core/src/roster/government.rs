//! What the voices came to beside the roster: the rules in force, the state of each motion, strikes, departures.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use hutong_record::{AllianceId, ShopId, UnixMillis};

use super::{InvitationId, MotionId, OPEN_INVITATIONS_MAX, OpenInvitation};
use crate::charter::{Charter, Settings};

/// How a motion stands. Times are those of the voices that decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum MotionState {
    /// It waits for votes.
    Open,
    /// An admission that has its votes, and can be objected to.
    Announced {
        /// Until when.
        until: UnixMillis,
    },
    /// It was carried.
    Carried {
        /// When.
        at: UnixMillis,
    },
    /// An admission that was objected to.
    Objected {
        /// When the time for objections ended.
        at: UnixMillis,
    },
    /// What it was about had changed before it had its votes.
    Lapsed {
        /// When.
        at: UnixMillis,
    },
}

/// The voices on one motion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Whose voice on it was the first.
    pub proposer: ShopId,
    /// When it was raised.
    pub proposed: UnixMillis,
    /// Shops that are for it, with a vote or not.
    pub voices_for: BTreeSet<ShopId>,
    /// Shops that are against it, with a vote or not.
    pub voices_against: BTreeSet<ShopId>,
    /// How it stands.
    pub state: MotionState,
    /// Votes that it needed when it was last looked at.
    pub needed: u32,
    /// An admission that had its votes: until when it can be objected to.
    pub announced_until: Option<UnixMillis>,
}

impl Tally {
    pub(super) const fn new(proposer: ShopId, proposed: UnixMillis) -> Self {
        Self {
            proposer,
            proposed,
            voices_for: BTreeSet::new(),
            voices_against: BTreeSet::new(),
            state: MotionState::Open,
            needed: 0,
            announced_until: None,
        }
    }

    /// How it stands for a reader at a moment: what is announced can still be stopped.
    pub fn state_at(&self, now: UnixMillis) -> MotionState {
        match self.announced_until {
            Some(until) if now <= until => MotionState::Announced { until },
            _ => self.state,
        }
    }
}

/// A strike that was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// Whom it hit.
    pub shop: ShopId,
    /// When.
    pub at: UnixMillis,
    /// It counts until then.
    pub expires: UnixMillis,
    /// The shop may appeal until then.
    pub appeal_until: UnixMillis,
    /// When it was taken back.
    pub annulled: Option<UnixMillis>,
}

impl Strike {
    /// Whether it counts at a moment.
    pub fn counts_at(&self, at: UnixMillis) -> bool {
        self.at <= at && at < self.expires && self.annulled.is_none_or(|annulled| at < annulled)
    }
}

/// A time in which a member has no vote and begins nothing new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspension {
    pub(super) shop: ShopId,
    pub(super) from: UnixMillis,
    pub(super) until: UnixMillis,
    /// The strikes that led to it, and how many it took.
    pub(super) strikes: BTreeSet<MotionId>,
    pub(super) limit: u32,
}

impl Suspension {
    pub(super) fn holds_at(&self, at: UnixMillis) -> bool {
        (self.from..self.until).contains(&at)
    }

    /// A strike was taken back: without enough of them the suspension ends.
    pub(super) fn forgive(&mut self, strike: &MotionId, at: UnixMillis) {
        if self.strikes.remove(strike) && self.strikes.len() < self.limit as usize {
            self.until = self.until.min(at);
        }
    }
}

/// Where a shop that left went, and when.
pub(crate) type Departures = BTreeMap<ShopId, (UnixMillis, Option<AllianceId>)>;

/// The rules in force, and what was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Government {
    /// The rules.
    pub settings: Settings,
    /// The amendment that made them; none: the charter.
    pub amendment: Option<MotionId>,
    /// Limits that were voted for single trades.
    pub category_limits: BTreeMap<String, u32>,
    /// Every motion on which a voice counts.
    pub motions: BTreeMap<MotionId, Tally>,
    /// Strikes that were carried, by their motions.
    pub strikes: BTreeMap<MotionId, Strike>,
    /// Invitations that every member can answer.
    pub invitations: BTreeMap<InvitationId, OpenInvitation>,
    pub(super) suspensions: Vec<Suspension>,
    pub(super) departures: Departures,
}

impl Government {
    pub(super) fn founding(charter: &Charter) -> Self {
        Self {
            settings: charter.settings,
            amendment: None,
            category_limits: BTreeMap::new(),
            motions: BTreeMap::new(),
            strikes: BTreeMap::new(),
            invitations: BTreeMap::new(),
            suspensions: Vec::new(),
            departures: Departures::new(),
        }
    }

    /// How many members of a trade there may be; none: as many as come.
    pub fn limit_of(&self, category: &str) -> Option<u32> {
        if category.is_empty() {
            return None;
        }
        let for_all = Some(self.settings.category_shops).filter(|limit| *limit != 0);
        self.category_limits.get(category).copied().or(for_all)
    }

    /// A shop's open invitations that are not past their time, used or not, with their guests' keys; at most
    /// [`OPEN_INVITATIONS_MAX`].
    pub fn invitations_of(
        &self,
        shop: ShopId,
        at: UnixMillis,
    ) -> impl Iterator<Item = (&[u8; 32], &OpenInvitation)> {
        let all = self.invitations.range((shop, [0; 32])..=(shop, [0xff; 32]));
        let open = all.filter(move |(_, invitation)| at < invitation.expires);
        open.map(|((_, guest_key), invitation)| (guest_key, invitation)).take(OPEN_INVITATIONS_MAX)
    }

    /// Strikes of a shop that count at a moment.
    pub fn strikes_of(&self, shop: ShopId, at: UnixMillis) -> usize {
        self.strikes.values().filter(|s| s.shop == shop && s.counts_at(at)).count()
    }

    /// The alliance to which a shop that left has gone, and when it left.
    pub fn departure(&self, shop: ShopId) -> Option<(UnixMillis, Option<AllianceId>)> {
        self.departures.get(&shop).copied()
    }
}

/// Why a member begins no promotions and no hand-outs, and has no vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BarCause {
    /// It has too many strikes.
    Suspended,
    /// The season is over, and it did not choose to go on in a next one.
    SeasonOver,
    /// It left.
    Departed,
}

/// A time in which a member begins nothing new. What it began is honoured and settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Why.
    pub cause: BarCause,
    /// From when on.
    pub from: UnixMillis,
    /// Until when; none: no end is known.
    pub until: Option<UnixMillis>,
}

impl Bar {
    /// Whether it holds at a moment.
    pub fn holds_at(&self, at: UnixMillis) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}
