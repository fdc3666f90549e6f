//! Counting: what all voices come to. They are gone through in the order of the times that their records name (within a
//! log never backwards), from the founding on, and each is judged by the rules, core members and seasons of its own
//! moment. So the outcome is a function of the set of voices, whenever and in whatever order they were heard (CON-1).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    string::String,
    vec::Vec,
};

use hutong_record::{DAY_MS, ShopId, UnixMillis};

use super::{
    Act, Cuts, Entry, Government, Looked, Motion, MotionId, MotionState, Strike, Suspension, Tally,
    continued::{Claims, claimed},
    council::{Council, VOICES_PER_SHOP_MAX},
    counts,
    heard::Heard,
    invited::invited,
    season::Seasons,
    voters::{Found, Voter, Voters},
};
use crate::charter::{Charter, Settings};

/// Admissions of one shop, in one round and under one trade: their votes add up, whether to be core or not.
type Candidacy = (ShopId, u32, String);

/// A voice at its place in time.
pub(super) struct Event<'c> {
    pub(super) at: UnixMillis,
    pub(super) author: ShopId,
    pub(super) sequence: u64,
    pub(super) act: &'c Act,
}

/// What looking at a motion changed: which others have to be looked at.
enum Change {
    Nothing,
    /// What is proposed for a shop.
    About(ShopId),
    /// A shop votes from now on.
    Core(ShopId),
    /// Anything may have changed.
    Rules,
}

/// One count on its way through the voices.
pub(super) struct Count<'c> {
    council: &'c Council,
    /// The last voices that count, and logs that are frozen.
    cuts: &'c Cuts,
    /// The last records that show who is awake; none: all are taken for awake.
    heard: Option<&'c Cuts>,
    frozen: &'c Cuts,
    founder: ShopId,
    founded: UnixMillis,
    /// Core members whom the founder alone takes in.
    first_core: BTreeSet<ShopId>,
    candidacies: BTreeMap<Candidacy, Vec<MotionId>>,
    about: BTreeMap<ShopId, Vec<MotionId>>,
    voted: BTreeMap<ShopId, BTreeSet<MotionId>>,
    open: BTreeSet<MotionId>,
    timers: BTreeSet<(UnixMillis, MotionId)>,
    spoke: BTreeMap<ShopId, UnixMillis>,
    appeals: BTreeMap<(ShopId, MotionId), UnixMillis>,
    removed: BTreeSet<ShopId>,
    found: Found,
    pub(super) core: BTreeSet<ShopId>,
    pub(super) entries: BTreeMap<ShopId, Entry>,
    pub(super) seals: Cuts,
    pub(super) seasons: Seasons,
    pub(super) government: Government,
    pub(super) looked: Looked,
    pub(super) claims: Claims,
}

impl<'c> Count<'c> {
    /// Counts all voices that lie before the cuts. `heard`: the last records that show who is awake; none: all are.
    pub(super) fn of(
        charter: &Charter,
        council: &'c Council,
        cuts: &'c Cuts,
        heard: Option<&'c Cuts>,
        frozen: &'c Cuts,
    ) -> Self {
        let mut count = Self::begin(charter, council, cuts, heard, frozen);
        let events = count.events();
        count.government.invitations = invited(council, &events);
        count.claims = claimed(council, &events);
        count.first_core = count.first_core(charter.admission_votes.saturating_sub(1) as usize);
        for event in events {
            count.ring(Some(event.at));
            count.take(&event);
        }
        count.ring(None);
        count
    }

    fn begin(
        charter: &Charter,
        council: &'c Council,
        cuts: &'c Cuts,
        heard: Option<&'c Cuts>,
        frozen: &'c Cuts,
    ) -> Self {
        let founder = charter.founder.id();
        let entry =
            Entry { at: charter.created, announced: false, category: charter.founder_category.clone() };
        let mut candidacies = BTreeMap::<Candidacy, Vec<MotionId>>::new();
        let mut about = BTreeMap::<ShopId, Vec<MotionId>>::new();
        for (id, proposed) in &council.motions {
            if let Motion::Admission { identity, category, round, .. } = &proposed.motion {
                let candidacy = (identity.id(), *round, category.clone());
                candidacies.entry(candidacy).or_default().push(*id);
                about.entry(identity.id()).or_default().push(*id);
            }
        }
        Self {
            council,
            cuts,
            heard,
            frozen,
            founder,
            founded: charter.created,
            first_core: BTreeSet::new(),
            candidacies,
            about,
            voted: BTreeMap::new(),
            open: BTreeSet::new(),
            timers: BTreeSet::new(),
            spoke: BTreeMap::new(),
            appeals: BTreeMap::new(),
            removed: BTreeSet::new(),
            found: Found::default(),
            core: BTreeSet::from([founder]),
            entries: BTreeMap::from([(founder, entry)]),
            seals: Cuts::new(),
            seasons: Seasons::new(charter.season_end),
            government: Government::founding(charter),
            looked: Looked {
                days: BTreeSet::new(),
                dormancies: BTreeSet::from([charter.settings.dormancy_days]),
            },
            claims: Claims::new(),
        }
    }

    /// The core members whom the founder alone may take in, so that there are as many as the charter wants votes: the
    /// first ones in the founder's own log, as votes or as open invitations that were used.
    fn first_core(&self, most: usize) -> BTreeSet<ShopId> {
        let voices = self.council.voices.get(&self.founder).into_iter().flatten();
        let voices = voices.filter(|(sequence, _)| counts(self.founder, **sequence, self.cuts));
        let mut first = BTreeSet::new();
        for (_, voice) in voices.take(VOICES_PER_SHOP_MAX) {
            let voted = match &voice.act {
                Act::For(id) => Some(*id),
                Act::Invitation { guest_key, .. } => {
                    let invitation = self.government.invitations.get(&(self.founder, *guest_key));
                    invitation.and_then(|invitation| invitation.used_for)
                }
                _ => None,
            };
            if let Some(Motion::Admission { identity, core: true, .. }) =
                voted.and_then(|id| self.motion(&id))
                && first.len() < most
            {
                first.insert(identity.id());
            }
        }
        first
    }

    fn motion(&self, id: &MotionId) -> Option<&'c Motion> {
        self.council.motions.get(id).map(|proposed| &proposed.motion)
    }

    const fn settings(&self) -> &Settings {
        &self.government.settings
    }

    /// All voices that count, in the order of their times; of one moment, by author.
    fn events(&self) -> Vec<Event<'c>> {
        let mut events = Vec::new();
        for (author, voices) in &self.council.voices {
            let mut at = self.founded;
            for (sequence, voice) in voices.iter().take(VOICES_PER_SHOP_MAX) {
                if counts(*author, *sequence, self.cuts) {
                    at = at.max(voice.at);
                    events.push(Event { at, author: *author, sequence: *sequence, act: &voice.act });
                }
            }
        }
        events.sort_unstable_by_key(|event| (event.at, event.author, event.sequence));
        events
    }

    fn take(&mut self, event: &Event<'_>) {
        let Event { at, author, sequence, act } = event;
        self.spoke.insert(*author, *at);
        self.found.heard();
        match act {
            Act::For(id) => self.voice(*id, *author, *at, true),
            Act::Against(id) => self.voice(*id, *author, *at, false),
            Act::Invitation { .. } | Act::Continuation(_) => {}
            Act::Brought { motion, inviter, guest_key } => {
                let invitation = self.government.invitations.get(&(*inviter, *guest_key));
                let first = invitation.is_some_and(|used| used.brought_by == Some((*author, *sequence)));
                if first && !self.removed.contains(inviter) {
                    self.voice(*motion, *inviter, *at, true);
                }
            }
            Act::Appeal { strike, .. } => {
                self.appeals.entry((*author, *strike)).or_insert(*at);
                self.settle(*at, self.open.clone());
            }
            Act::Season { season, goes_on } => {
                self.seasons.choose(*author, *season, *at, *goes_on);
                self.settle(*at, self.open.clone());
            }
            Act::Departure { next, .. } => {
                self.government.departures.entry(*author).or_insert((*at, *next));
                self.found.changed();
                self.settle(*at, self.open.clone());
            }
        }
    }

    fn voice(&mut self, id: MotionId, author: ShopId, at: UnixMillis, is_for: bool) {
        if self.motion(&id).is_none() {
            return;
        }
        let tally = self.government.motions.entry(id).or_insert_with(|| {
            self.open.insert(id);
            Tally::new(author, at)
        });
        let (joins, leaves) = if is_for {
            (&mut tally.voices_for, &mut tally.voices_against)
        } else {
            (&mut tally.voices_against, &mut tally.voices_for)
        };
        joins.insert(author);
        leaves.remove(&author);
        self.voted.entry(author).or_default().insert(id);
        self.settle(at, BTreeSet::from([id]));
    }

    /// Looks at motions, and at those that what they change lets through.
    fn settle(&mut self, at: UnixMillis, mut queue: BTreeSet<MotionId>) {
        self.looked.days.insert(Heard::day(at));
        while let Some(id) = queue.pop_first() {
            if !self.open.contains(&id) {
                continue;
            }
            let change = self.look_at(id, at);
            if !matches!(change, Change::Nothing) {
                self.found.changed();
            }
            match change {
                Change::Nothing => {}
                Change::About(shop) => queue.extend(self.about.get(&shop).into_iter().flatten()),
                Change::Core(shop) => queue.extend(self.voted.get(&shop).into_iter().flatten()),
                Change::Rules => queue.extend(&self.open),
            }
        }
    }

    fn look_at(&mut self, id: MotionId, at: UnixMillis) -> Change {
        match self.motion(&id) {
            None => Change::Nothing,
            Some(Motion::Admission { identity, core, category, round, .. }) => {
                self.admission(id, &(identity.id(), *round, category.clone()), *core, at)
            }
            Some(Motion::Removal { shop, last_sequence }) => self.removal(id, *shop, *last_sequence, at),
            Some(Motion::CoreChange { shop, core }) => self.core_change(id, *shop, *core, at),
            Some(Motion::Strike { shop }) => self.strike(id, *shop, at),
            Some(Motion::Annulment { strike }) => self.annulment(id, strike, at),
            Some(rule) => self.rule(id, rule, at),
        }
    }

    // Who has a voice.

    fn is_in(&self, shop: ShopId) -> bool {
        self.entries.contains_key(&shop) && !self.removed.contains(&shop) && !self.frozen.contains_key(&shop)
    }

    /// Whether it was heard within the charter's time, or let in within it.
    fn is_awake(&self, shop: ShopId, at: UnixMillis) -> bool {
        let days = self.settings().dormancy_days;
        let Some(heard) = self.heard else { return true };
        let lately = |then: &UnixMillis| at.ms_since(*then) <= i64::from(days) * DAY_MS;
        days == 0
            || self.spoke.get(&shop).is_some_and(lately)
            || self.entries.get(&shop).is_some_and(|entry| lately(&entry.at))
            || self.council.heard.within(shop, Heard::day(at), days, heard.get(&shop).copied())
    }

    fn is_barred(&self, shop: ShopId, at: UnixMillis) -> bool {
        self.government.departures.contains_key(&shop)
            || self.government.suspensions.iter().any(|s| s.shop == shop && s.holds_at(at))
            || self.entries.get(&shop).is_some_and(|entry| self.seasons.stays_behind(shop, entry.at, at))
    }

    /// A vote past a seal never came here; one before it counts even where the seal is older.
    fn has_voice(&self, shop: ShopId, at: UnixMillis) -> bool {
        hutong_record::planted!(CountEveryVote)
            || self.voters(at).of(shop).is_some_and(|voter| voter.is_awake && !voter.is_barred)
    }

    fn voters(&self, at: UnixMillis) -> Rc<Voters> {
        let voter = |shop: ShopId| Voter {
            is_in: self.is_in(shop),
            is_awake: self.is_awake(shop, at),
            is_barred: self.is_barred(shop, at),
        };
        self.found.voters(at, || Voters::new(self.core.iter().map(|shop| (*shop, voter(*shop))).collect()))
    }

    /// Votes that are needed: as many as the rules say, and the share of the core members who are awake. Where some of
    /// them are not awake, never more than are.
    fn needed(&self, votes: u32, percent: u32, subject: Option<ShopId>, at: UnixMillis) -> usize {
        if self.settings().dormancy_days == 0 && percent == 0 {
            return votes as usize;
        }
        let (all, awake) = self.voters(at).without(subject);
        let votes = if awake < all { (votes as usize).min(awake.max(1)) } else { votes as usize };
        votes.max((awake * percent as usize).div_ceil(100))
    }

    /// Whether a motion has its votes, the subject's own left out.
    fn has_votes(
        &mut self,
        id: &MotionId,
        votes: u32,
        percent: u32,
        subject: Option<ShopId>,
        at: UnixMillis,
    ) -> bool {
        let needed = self.needed(votes, percent, subject, at);
        let Some(tally) = self.government.motions.get(id) else { return false };
        let voices =
            tally.voices_for.iter().filter(|s| Some(**s) != subject && self.has_voice(**s, at)).count();
        self.note_needed(id, needed);
        voices >= needed
    }

    fn note_needed(&mut self, id: &MotionId, needed: usize) {
        if let Some(tally) = self.government.motions.get_mut(id) {
            tally.needed = u32::try_from(needed).unwrap_or(u32::MAX);
        }
    }

    fn close(&mut self, id: MotionId, state: MotionState) {
        self.open.remove(&id);
        if let Some(tally) = self.government.motions.get_mut(&id) {
            tally.state = state;
        }
    }

    // Admissions.

    fn admission(&mut self, id: MotionId, candidacy: &Candidacy, core: bool, at: UnixMillis) -> Change {
        let (shop, _, category) = candidacy;
        let votes = self.settings().admission_votes;
        let needed = self.needed(votes, 0, None, at);
        self.note_needed(&id, needed);
        let by_founder = core && self.first_core.contains(shop) && self.is_for(&id, self.founder);
        if !self.entries.contains_key(shop) {
            let enough = self.voices(candidacy, false, at) >= needed
                && self.sponsors(candidacy) >= self.settings().admission_sponsors as usize;
            if !(by_founder || enough) || !self.has_room(category) {
                return Change::Nothing;
            }
            if by_founder || self.settings().objection_ms == 0 {
                return self.enter(candidacy, at, false);
            }
            let until = at.saturating_add_ms(self.settings().objection_ms);
            self.close(id, MotionState::Announced { until });
            if let Some(tally) = self.government.motions.get_mut(&id) {
                tally.announced_until = Some(until);
            }
            self.timers.insert((until, id));
            return Change::Nothing;
        }
        if core && !self.core.contains(shop) {
            if !by_founder && self.voices(candidacy, true, at) < needed {
                return Change::Nothing;
            }
            self.close(id, MotionState::Carried { at });
            self.core.insert(*shop);
            return Change::Core(*shop);
        }
        self.move_to(id, candidacy, needed, at)
    }

    /// The motion says of a member what it is already, or names another trade for it.
    fn move_to(&mut self, id: MotionId, candidacy: &Candidacy, needed: usize, at: UnixMillis) -> Change {
        let (shop, _, category) = candidacy;
        let same = self.entries.get(shop).is_some_and(|entry| entry.category == *category);
        if !same {
            if self.voices(candidacy, false, at) < needed || !self.has_room(category) {
                return Change::Nothing;
            }
            if let Some(entry) = self.entries.get_mut(shop) {
                entry.category.clone_from(category);
            }
        }
        self.close(id, MotionState::Carried { at });
        if same { Change::Nothing } else { Change::Rules }
    }

    fn enter(&mut self, candidacy: &Candidacy, at: UnixMillis, announced: bool) -> Change {
        let (shop, _, category) = candidacy;
        self.entries.insert(*shop, Entry { at, announced, category: category.clone() });
        self.found.changed();
        Change::About(*shop)
    }

    /// What was announced and not objected to by its time takes effect then.
    fn ring(&mut self, before: Option<UnixMillis>) {
        while let Some((until, id)) = self.timers.first().copied() {
            if before.is_some_and(|before| until >= before) {
                return;
            }
            self.timers.pop_first();
            self.looked.days.insert(Heard::day(until));
            let announced = MotionState::Announced { until };
            if self.government.motions.get(&id).is_none_or(|tally| tally.state != announced) {
                continue;
            }
            let Some(Motion::Admission { identity, category, round, .. }) = self.motion(&id) else {
                continue;
            };
            let candidacy = (identity.id(), *round, category.clone());
            if self.objections(&candidacy, until) >= self.settings().objection_votes as usize {
                for sibling in self.candidacies.get(&candidacy).cloned().unwrap_or_default() {
                    self.close(sibling, MotionState::Objected { at: until });
                }
                continue;
            }
            self.open.insert(id);
            self.close_as_open(id);
            if !self.entries.contains_key(&candidacy.0) && self.has_room(category) {
                self.enter(&candidacy, until, true);
            }
            let about = self.about.get(&candidacy.0).into_iter().flatten().copied().collect();
            self.settle(until, about);
        }
    }

    fn close_as_open(&mut self, id: MotionId) {
        if let Some(tally) = self.government.motions.get_mut(&id) {
            tally.state = MotionState::Open;
        }
    }

    fn tallies(&self, candidacy: &Candidacy, only_core: bool) -> impl Iterator<Item = &Tally> {
        let motions = self.candidacies.get(candidacy).into_iter().flatten();
        motions
            .filter(move |id| {
                !only_core || matches!(self.motion(id), Some(Motion::Admission { core: true, .. }))
            })
            .filter_map(|id| self.government.motions.get(id))
    }

    /// Core members who are for it; `only_core`: as a core member.
    fn voices(&self, candidacy: &Candidacy, only_core: bool, at: UnixMillis) -> usize {
        let voices = self.tallies(candidacy, only_core).flat_map(|tally| &tally.voices_for);
        voices.filter(|shop| self.has_voice(**shop, at)).collect::<BTreeSet<_>>().len()
    }

    /// Core members, as they are at the end, who are for a shop's admission in any round.
    pub(super) fn voices_for_shop(&self, shop: ShopId) -> usize {
        let all = self.about.get(&shop).into_iter().flatten();
        let tallies = all.filter_map(|id| self.government.motions.get(id));
        let voices = tallies.flat_map(|tally| &tally.voices_for);
        let core = |s: &&ShopId| hutong_record::planted!(CountEveryVote) || self.core.contains(s);
        voices.filter(core).collect::<BTreeSet<_>>().len()
    }

    fn sponsors(&self, candidacy: &Candidacy) -> usize {
        let voices = self.tallies(candidacy, false).flat_map(|tally| &tally.voices_for);
        voices.filter(|shop| self.is_in(**shop)).collect::<BTreeSet<_>>().len()
    }

    fn objections(&self, candidacy: &Candidacy, at: UnixMillis) -> usize {
        let voices = self.tallies(candidacy, false).flat_map(|tally| &tally.voices_against);
        voices.filter(|shop| self.has_voice(**shop, at)).collect::<BTreeSet<_>>().len()
    }

    fn is_for(&self, id: &MotionId, shop: ShopId) -> bool {
        self.government.motions.get(id).is_some_and(|tally| tally.voices_for.contains(&shop))
    }

    /// Whether one more shop of a trade may come in.
    fn has_room(&self, category: &str) -> bool {
        let Some(limit) = self.government.limit_of(category) else { return true };
        self.found.room(category, || self.count_of(category) < limit as usize)
    }

    /// Members of a trade who have not left.
    fn count_of(&self, category: &str) -> usize {
        let has_it = |(shop, entry): (&ShopId, &Entry)| {
            entry.category == category && self.is_in(*shop) && !self.government.departures.contains_key(shop)
        };
        self.entries.iter().filter(|entry| has_it(*entry)).count()
    }

    // Everything else.

    fn removal(&mut self, id: MotionId, shop: ShopId, last: u64, at: UnixMillis) -> Change {
        if !self.has_votes(&id, self.settings().removal_votes, 0, Some(shop), at) {
            return Change::Nothing;
        }
        self.close(id, MotionState::Carried { at });
        self.seals.entry(shop).and_modify(|seal| *seal = (*seal).min(last)).or_insert(last);
        self.removed.insert(shop);
        Change::Rules
    }

    fn core_change(&mut self, id: MotionId, shop: ShopId, core: bool, at: UnixMillis) -> Change {
        if !self.is_in(shop) || self.core.contains(&shop) == core {
            return Change::Nothing;
        }
        let (votes, subject) = if core {
            (self.settings().admission_votes, None)
        } else {
            (self.settings().removal_votes, Some(shop))
        };
        if !self.has_votes(&id, votes, 0, subject, at) {
            return Change::Nothing;
        }
        self.close(id, MotionState::Carried { at });
        if core {
            self.core.insert(shop);
            return Change::Core(shop);
        }
        self.core.remove(&shop);
        Change::Rules
    }

    fn strike(&mut self, id: MotionId, shop: ShopId, at: UnixMillis) -> Change {
        if !self.is_in(shop) || !self.has_votes(&id, self.settings().strike_votes, 0, Some(shop), at) {
            return Change::Nothing;
        }
        self.close(id, MotionState::Carried { at });
        let Settings { strike_days, strike_limit, suspension_days, appeal_days, .. } = *self.settings();
        let expires = at.saturating_add_ms(i64::from(strike_days) * DAY_MS);
        let appeal_until = at.saturating_add_ms(i64::from(appeal_days) * DAY_MS);
        self.government.strikes.insert(id, Strike { shop, at, expires, appeal_until, annulled: None });
        let strikes = self.government.strikes.iter();
        let live: BTreeSet<_> =
            strikes.filter(|(_, s)| s.shop == shop && s.counts_at(at)).map(|(id, _)| *id).collect();
        if live.len() >= strike_limit as usize {
            let until = at.saturating_add_ms(i64::from(suspension_days) * DAY_MS);
            let suspension = Suspension { shop, from: at, until, strikes: live, limit: strike_limit };
            self.government.suspensions.push(suspension);
        }
        Change::Rules
    }

    fn annulment(&mut self, id: MotionId, strike: &MotionId, at: UnixMillis) -> Change {
        let Some(struck) = self.government.strikes.get(strike) else { return Change::Nothing };
        let (shop, until) = (struck.shop, struck.appeal_until);
        if struck.annulled.is_some() {
            self.close(id, MotionState::Lapsed { at });
            return Change::Nothing;
        }
        let appealed = self.appeals.get(&(shop, *strike)).is_some_and(|then| *then <= until);
        if !appealed || !self.has_votes(&id, self.settings().strike_votes, 0, Some(shop), at) {
            return Change::Nothing;
        }
        self.close(id, MotionState::Carried { at });
        if let Some(struck) = self.government.strikes.get_mut(strike) {
            struck.annulled = Some(at);
        }
        for suspension in &mut self.government.suspensions {
            suspension.forgive(strike, at);
        }
        Change::Rules
    }

    /// A change of the rules themselves.
    fn rule(&mut self, id: MotionId, motion: &Motion, at: UnixMillis) -> Change {
        let fits = match motion {
            Motion::Amendment { base, .. } => *base == self.government.amendment,
            Motion::Renewal { season, ends } => self.seasons.can_renew(*season, *ends, at),
            _ => true,
        };
        if !fits {
            self.close(id, MotionState::Lapsed { at });
            return Change::Nothing;
        }
        let Settings { amendment_votes, amendment_percent, .. } = *self.settings();
        if !self.has_votes(&id, amendment_votes, amendment_percent, None, at) {
            return Change::Nothing;
        }
        self.close(id, MotionState::Carried { at });
        match motion {
            Motion::Amendment { change, .. } => {
                self.government.settings = self.government.settings.amended(change);
                self.government.amendment = Some(id);
                self.looked.dormancies.insert(self.government.settings.dormancy_days);
            }
            Motion::CategoryLimit { category, shops_max } => {
                self.government.category_limits.insert(category.clone(), *shops_max);
            }
            Motion::Renewal { ends, .. } => self.seasons.renew(*ends),
            _ => {}
        }
        Change::Rules
    }
}
