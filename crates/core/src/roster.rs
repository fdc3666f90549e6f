//! The roster: who is in the alliance, as the votes have it, and the rules that votes made. It is computed from the whole
//! set of voices and fork proofs at once, so it does not depend on the order in which they arrived (CON-1).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use hutong_record::{Identity, ShopId, UnixMillis};

use crate::{
    charter::Charter,
    table,
    view::{Reader, ViewError},
};

mod continued;
mod council;
mod count;
mod government;
mod heard;
mod invited;
mod motion;
mod season;
mod voters;

pub(crate) use continued::Claim;
use continued::Continuations;
pub(crate) use council::Council;
use count::Count;
use government::Suspension;
pub use government::{Bar, BarCause, Government, MotionState, Strike, Tally};
pub(crate) use heard::Heard;
pub use invited::{InvitationId, OPEN_INVITATIONS_MAX, OpenInvitation};
pub use motion::Motion;
pub(crate) use motion::{Act, CATEGORY_CHARS_MAX, INVITATION_MS_MAX, ROUND_MAX};
pub use season::Seasons;

/// The most shops that ever were in one alliance, former members included.
pub const MEMBERS_MAX: usize = 512;
pub(crate) const REASON_CHARS_MAX: usize = 500;

/// The hash of a motion's bytes.
pub type MotionId = [u8; 32];

/// How a shop stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Some have voted for it, not enough.
    Pending,
    /// In.
    Member,
    /// Voted out; its records up to the seal still count.
    Removed,
    /// It forked its log; its records up to the fork still count.
    Frozen,
}

impl Standing {
    /// Whether the shop was in and its log is closed for good.
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Removed | Self::Frozen)
    }
}

/// One shop in the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub identity: Identity,
    /// How it stands.
    pub standing: Standing,
    /// Whether it votes.
    pub core: bool,
    /// Votes of core members for its admission.
    pub votes: u32,
    /// Its last record that counts, where a seal or a fork says so.
    pub counts_up_to: Option<u64>,
    /// Where its admission was open to objections: when that time ended. What it wrote before does not count.
    pub since: Option<UnixMillis>,
    /// The trade under which it was let in; empty: none that is limited.
    pub category: String,
    /// Times in which it begins nothing new.
    pub bars: Vec<Bar>,
}

impl Member {
    /// Whether its records may be taken in at all, up to [`Member::counts_up_to`].
    pub const fn was_admitted(&self) -> bool {
        !matches!(self.standing, Standing::Pending)
    }

    /// What keeps it from beginning anything new at a moment; of several causes the one that lasts.
    pub fn bar_at(&self, at: UnixMillis) -> Option<&Bar> {
        self.bars.iter().filter(|bar| bar.holds_at(at)).max_by_key(|bar| bar.cause)
    }
}

/// When a shop was let in, and under which trade.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    at: UnixMillis,
    /// Whether the time of objections had to pass before.
    announced: bool,
    category: String,
}

/// All shops that anyone with a vote has named, by id, and the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    members: BTreeMap<ShopId, Member>,
    government: Government,
    seasons: Seasons,
    looked: Looked,
    continued: Continuations,
}

/// When counting asked who was awake.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Looked {
    /// Days on which a voice was raised, or the time for objections ended.
    days: BTreeSet<i64>,
    /// Each number of days of dormancy that was in force then.
    dormancies: BTreeSet<u32>,
}

impl Looked {
    fn join(&mut self, other: Self) {
        self.days.extend(other.days);
        self.dormancies.extend(other.dormancies);
    }
}

impl Roster {
    /// Computes the roster from all voices and the fork proofs in the views.
    pub(crate) fn compute(
        charter: &Charter,
        council: &Council,
        view: &(impl Reader + ?Sized),
    ) -> Result<Self, ViewError> {
        let forks = table::collect(view, &[table::FORK], |key, value| {
            let shop =
                ShopId::try_from(&key[1..]).map_err(|_| ViewError::Damaged("table of forks".into()))?;
            let (sequence, _): (u64, Vec<u8>) = table::decode(key, value)?;
            Ok((shop, sequence.saturating_sub(1)))
        })?;
        Ok(Self::count(charter, council, &forks.into_iter().collect()))
    }

    /// The founder alone.
    pub(crate) fn founding(charter: &Charter) -> Self {
        Self::count(charter, &Council::default(), &Cuts::new())
    }

    /// First who is removed; then what the votes come to if those past a seal or a fork do not count. Each step is a
    /// function of the whole set of voices. Nobody is removed, or frozen, who was never in.
    fn count(charter: &Charter, council: &Council, forks: &Cuts) -> Self {
        let mut looked = Looked::default();
        let seals = seals(charter, council, forks, &mut looked);
        let cuts = earliest(&seals, forks);
        let count = Count::of(charter, council, &cuts, Some(&cuts), forks);
        looked.join(count.looked.clone());
        let mut members = BTreeMap::new();
        let named = council.motions.values().filter_map(|proposed| match &proposed.motion {
            Motion::Admission { identity, .. } => Some(&**identity),
            _ => None,
        });
        for identity in core::iter::once(&charter.founder).chain(named) {
            let shop = identity.id();
            members.entry(shop).or_insert_with(|| {
                let standing = match () {
                    () if !count.entries.contains_key(&shop) => Standing::Pending,
                    () if seals.contains_key(&shop) => Standing::Removed,
                    () if forks.contains_key(&shop) => Standing::Frozen,
                    () => Standing::Member,
                };
                count.member(identity, standing, cuts.get(&shop).copied())
            });
        }
        let continued = Continuations::of(charter.id, &count.claims, &count.entries, &members);
        Self { members, government: count.government, seasons: count.seasons, looked, continued }
    }

    /// A shop, whatever its standing.
    pub fn shop(&self, id: ShopId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// A shop that is in.
    pub fn member(&self, id: ShopId) -> Option<&Member> {
        self.shop(id).filter(|m| m.standing == Standing::Member)
    }

    /// All shops, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ShopId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// The shops whose logs are closed for good and that a shop continues, or, while it waits for votes, is to continue.
    pub fn continues(&self, shop: ShopId) -> impl Iterator<Item = ShopId> {
        self.continued.of_new(shop)
    }

    /// The shop that continues one whose log is closed for good.
    pub fn continued_by(&self, shop: ShopId) -> Option<ShopId> {
        self.continued.of_old(shop)
    }

    /// Whether a shop that is or was in came in before another such one. Of one moment, by id.
    pub(crate) fn came_before(&self, one: ShopId, other: ShopId) -> bool {
        self.continued.came_before(one, other)
    }

    /// The rules in force and what was decided.
    pub const fn government(&self) -> &Government {
        &self.government
    }

    /// The seasons.
    pub const fn seasons(&self) -> &Seasons {
        &self.seasons
    }

    /// The last record of a shop that counts; `None`: no bound.
    pub fn counts_up_to(&self, shop: ShopId) -> Option<u64> {
        self.shop(shop).and_then(|m| m.counts_up_to)
    }

    /// Whether a shop may begin something new at a moment, as far as bars go.
    pub(crate) fn is_barred(&self, shop: ShopId, at: UnixMillis) -> bool {
        self.shop(shop).is_some_and(|member| member.bar_at(at).is_some())
    }

    /// Whether one more shop of a trade may come in.
    pub(crate) fn has_room(&self, category: &str) -> bool {
        let Some(limit) = self.government.limit_of(category) else { return true };
        let members = self.members.iter().filter(|(shop, member)| {
            member.standing == Standing::Member
                && member.category == category
                && !self.government.departures.contains_key(shop)
        });
        members.count() < limit as usize
    }

    /// Whether what a shop wrote at a moment came before its admission took effect.
    pub(crate) fn is_early(&self, shop: ShopId, at: UnixMillis) -> bool {
        self.shop(shop).and_then(|member| member.since).is_some_and(|since| at < since)
    }

    /// A hash over what the roster says of shops that are or were in, over the rules, and over their voices.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("hutong 2026 v1 roster digest");
        let mut feed = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        for (shop, member) in self.iter().filter(|(_, member)| member.was_admitted()) {
            let since = member.since.map(UnixMillis::ms);
            let bars = member.bars.iter().map(|bar| (bar.cause as u8, bar.from, bar.until));
            let bars: Vec<_> = bars.collect();
            let stands = (member.standing as u8, member.core, member.counts_up_to, since);
            feed(&table::encode(&(shop, stands, &member.category, bars)));
            // What is to be continued by a shop that waits is not everywhere.
            if let Some(new) = self.continued_by(shop) {
                feed(&table::encode(&("continued by", new)));
            }
        }
        let Government { settings, amendment, category_limits, .. } = &self.government;
        feed(&table::encode(&(settings, amendment, category_limits)));
        // Voices of shops that were never in are not everywhere.
        let known = |shop: &&ShopId| self.shop(**shop).is_some_and(Member::was_admitted);
        for (id, tally) in &self.government.motions {
            let voices_for: Vec<_> = tally.voices_for.iter().filter(known).collect();
            let voices_against: Vec<_> = tally.voices_against.iter().filter(known).collect();
            if !voices_for.is_empty() || !voices_against.is_empty() {
                feed(&table::encode(&(id, tally.state, voices_for, voices_against)));
            }
        }
        *hasher.finalize().as_bytes()
    }

    /// Whether a member's being heard on a day may change what its voice was needed for: it was not known to be awake
    /// when something was decided after that day.
    pub(crate) fn wakes(&self, shop: ShopId, day: i64, council: &Council) -> bool {
        let dormancies = || self.looked.dormancies.iter().copied().filter(|days| *days != 0);
        if dormancies().next().is_none() || !self.shop(shop).is_some_and(Member::was_admitted) {
            return false;
        }
        let covers = |days: u32| {
            let mut looked = self.looked.days.range(day..=day + i64::from(days));
            looked.any(|then| !council.heard.within(shop, *then, days, self.counts_up_to(shop)))
        };
        dormancies().any(covers)
    }
}

impl Count<'_> {
    fn member(&self, identity: &Identity, standing: Standing, counts_up_to: Option<u64>) -> Member {
        let shop = identity.id();
        let entry = self.entries.get(&shop);
        Member {
            identity: identity.clone(),
            standing,
            core: self.core.contains(&shop) && !self.government.departures.contains_key(&shop),
            votes: u32::try_from(self.voices_for_shop(shop)).unwrap_or(u32::MAX),
            counts_up_to,
            since: entry.filter(|entry| entry.announced).map(|entry| entry.at),
            category: entry.map(|entry| entry.category.clone()).unwrap_or_default(),
            bars: entry.map(|entry| self.bars(shop, entry)).unwrap_or_default(),
        }
    }

    fn bars(&self, shop: ShopId, entry: &Entry) -> Vec<Bar> {
        // What a shop wrote in the same millisecond may have been before.
        let after = |at: UnixMillis| at.saturating_add_ms(1);
        let suspensions = self.government.suspensions.iter().filter(|s| s.shop == shop && s.from < s.until);
        let suspensions = suspensions.map(|s| Bar {
            cause: BarCause::Suspended,
            from: after(s.from),
            until: Some(s.until),
        });
        let gaps = self.seasons.gaps(shop, entry.at).into_iter();
        let gaps = gaps.map(|(from, until)| Bar { cause: BarCause::SeasonOver, from, until });
        let departure = self.government.departures.get(&shop);
        let departure =
            departure.map(|(from, _)| Bar { cause: BarCause::Departed, from: after(*from), until: None });
        suspensions.chain(gaps).chain(departure).collect()
    }
}

type Cuts = BTreeMap<ShopId, u64>;

/// The seals of removed shops. A vote past its author's own seal removes nobody; where that goes round in a circle (two
/// shops seal each other before the other's vote), all seals of the circle hold. First come the seals that have their
/// votes even if every seal that was proposed held: no record past any of them can take those back. Then, again and again,
/// those that the votes before the seals so far give. Seals are only added, so it ends.
///
/// Who would be silent if a seal held that was only proposed must not help to carry it: at first all are taken for awake.
fn seals(charter: &Charter, council: &Council, forks: &Cuts, looked: &mut Looked) -> Cuts {
    let mut seals_before = |cuts: &Cuts, heard: Option<&Cuts>| {
        let count = Count::of(charter, council, cuts, heard, forks);
        looked.join(count.looked);
        count.seals
    };
    let proposed = proposed_seals(council);
    if proposed.is_empty() {
        return proposed;
    }
    let mut seals = seals_before(&earliest(&proposed, forks), None);
    loop {
        let cuts = earliest(&seals, forks);
        let more = earliest(&seals, &seals_before(&cuts, Some(&cuts)));
        if more == seals {
            return seals;
        }
        seals = more;
    }
}

/// The earliest seal of each shop that another one has ever voted for.
fn proposed_seals(council: &Council) -> Cuts {
    let mut proposed = Cuts::new();
    for (author, voices) in &council.voices {
        for voice in voices.values().take(council::VOICES_PER_SHOP_MAX) {
            let Act::For(id) = &voice.act else { continue };
            let motion = council.motions.get(id).map(|proposed| &proposed.motion);
            if let Some(Motion::Removal { shop, last_sequence }) = motion
                && shop != author
            {
                proposed = earliest(&proposed, &Cuts::from([(*shop, *last_sequence)]));
            }
        }
    }
    proposed
}

/// Of two cuts of one log, the earlier one.
fn earliest(some: &Cuts, others: &Cuts) -> Cuts {
    let mut cuts = some.clone();
    for (shop, last) in others {
        cuts.entry(*shop).and_modify(|cut| *cut = (*cut).min(*last)).or_insert(*last);
    }
    cuts
}

fn counts(voter: ShopId, sequence: u64, cuts: &Cuts) -> bool {
    cuts.get(&voter).is_none_or(|last| sequence <= *last)
}

#[cfg(test)]
mod tests;
