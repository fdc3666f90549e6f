//! Deciding on motions, voices, appeals, seasons and departures.

use bytes::Bytes;
use hutong_record::{AllianceId, motion_id};

use super::*;
use crate::roster::{Act, BarCause, Motion, MotionId, Standing};

/// After this time a vote for the same motion may be repeated: a core member who has fallen silent since then is not
/// waited for any more, and a motion is looked at when a voice is raised.
const REPEAT_MS_MIN: i64 = 86_400_000;

/// What a shop wants in matters of the alliance.
#[derive(Debug, Clone)]
pub enum GovernCommand {
    /// Propose a motion, or vote for it where it was proposed: bytes from
    /// [`Alliance::draft_motion`](crate::alliance::Alliance::draft_motion).
    Propose {
        /// An encoded motion.
        motion: Bytes,
    },
    /// Raise a voice on a motion.
    Vote {
        /// Which.
        motion: MotionId,
        /// The voice is against it.
        against: bool,
    },
    /// Appeal against a strike.
    Appeal {
        /// The strike's motion.
        strike: MotionId,
        /// Why.
        statement: String,
    },
    /// Say whether this shop goes on in a season.
    ChooseSeason {
        /// Which.
        season: u32,
        /// It does.
        goes_on: bool,
    },
    /// Leave.
    Depart {
        /// The alliance in which this shop goes on.
        next: Option<AllianceId>,
        /// The split by which it goes.
        split: Option<MotionId>,
        /// Why.
        reason: String,
    },
}

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn govern(&self, command: &GovernCommand) -> Decided {
        match command {
            GovernCommand::Propose { motion } => self.propose(motion),
            GovernCommand::Vote { motion, against } => self.vote_on(motion, *against),
            GovernCommand::Appeal { strike, statement } => self.appeal(strike, statement),
            GovernCommand::ChooseSeason { season, goes_on } => self.choose_season(*season, *goes_on),
            GovernCommand::Depart { next, split, reason } => self.depart(*next, *split, reason),
        }
    }

    /// While its admission is open to objections, a shop may show itself and nothing else.
    pub(super) fn check_entered(&self, command: &Command) -> Result<(), Refusal> {
        if matches!(command, Command::Profile(_)) || !self.alliance.roster().is_early(self.me(), self.now) {
            return Ok(());
        }
        self.alliance.own_membership()?;
        let refusal = Refusal::new(Reason::AdmissionOpen);
        Err(match self.alliance.roster().shop(self.me()).and_then(|member| member.since) {
            Some(until) => refusal.with("until_unix_ms", until.ms()),
            None => refusal,
        })
    }

    fn bar(&self) -> Option<BarCause> {
        // A bar begins after the moment of what it follows from, which may be this one.
        let at = self.now.saturating_add_ms(1);
        self.alliance.roster().shop(self.me())?.bar_at(at).map(|bar| bar.cause)
    }

    /// Refused while this shop begins nothing new: no promotions, no hand-outs.
    pub(super) fn check_may_begin(&self) -> Result<(), Refusal> {
        match self.bar() {
            None => Ok(()),
            Some(BarCause::Suspended) => Err(Refusal::new(Reason::MemberSuspended)),
            Some(BarCause::SeasonOver) => Err(Refusal::new(Reason::SeasonOver)),
            Some(BarCause::Departed) => Err(Refusal::new(Reason::MemberDeparted)),
        }
    }

    /// Refused unless this shop votes now. After the last season votes go on, for what is left to decide.
    pub(super) fn check_voice(&self) -> Result<(), Refusal> {
        if self.bar() == Some(BarCause::Departed) {
            return Err(Refusal::new(Reason::MemberDeparted));
        }
        self.alliance.check_core()?;
        let over = self.alliance.roster().seasons().over_at(self.now);
        if over && self.bar() == Some(BarCause::SeasonOver) { Ok(()) } else { self.check_may_begin() }
    }

    /// Refused unless this shop may speak for a newcomer: it votes, or the charter asks for sponsors.
    pub(super) fn check_vouching(&self) -> Result<(), Refusal> {
        if self.alliance.own_membership()?.core || self.alliance.government().settings.admission_sponsors == 0
        {
            return self.check_voice();
        }
        self.check_may_begin()
    }

    /// Refused where the alliance has as many shops of a trade as it may.
    pub(super) fn check_category(&self, category: &str) -> Result<(), Refusal> {
        if self.alliance.roster().has_room(category) {
            return Ok(());
        }
        let limit = self.alliance.government().limit_of(category).unwrap_or_default();
        Err(Refusal::new(Reason::CategoryTaken).with("category", category).with("limit", limit))
    }

    /// Refused where an admission finds no room.
    pub(super) fn check_admission(&self, motion: &Motion) -> Result<(), Refusal> {
        let Motion::Admission { identity, category, .. } = motion else { return Ok(()) };
        let member = self.alliance.roster().member(identity.id());
        if member.is_some_and(|member| member.category == *category) {
            return Ok(());
        }
        self.check_category(category)
    }

    fn propose(&self, bytes: &Bytes) -> Decided {
        self.check_voice()?;
        let motion = Motion::parse(bytes, Some(self.alliance.roster()))?;
        self.check_proposal(&motion)?;
        self.raise(bytes.clone(), false)
    }

    /// What a motion must be about, so that it can ever be carried.
    fn check_proposal(&self, motion: &Motion) -> Result<(), Refusal> {
        let roster = self.alliance.roster();
        let closed = || Refusal::new(Reason::MotionClosed);
        let unknown = |shop: &ShopId| Refusal::new(Reason::MemberUnknown).with("shop_id", shop);
        match motion {
            Motion::Admission { identity, .. } => {
                let standing = roster.shop(identity.id()).map(|member| member.standing);
                match standing {
                    Some(Standing::Removed | Standing::Frozen) => Err(Refusal::new(Reason::MemberExists)),
                    None => Err(Refusal::new(Reason::MemberUnknown)),
                    Some(Standing::Pending | Standing::Member) => self.check_admission(motion),
                }
            }
            Motion::Removal { shop, .. } | Motion::CoreChange { shop, .. } | Motion::Strike { shop } => {
                roster.member(*shop).map(|_| ()).ok_or_else(|| unknown(shop))
            }
            Motion::Amendment { base, .. } => {
                if *base == self.alliance.government().amendment {
                    Ok(())
                } else {
                    Err(closed())
                }
            }
            Motion::Annulment { strike } => self.check_annulment(strike),
            Motion::Renewal { season, ends } => {
                if roster.seasons().can_renew(*season, *ends, self.now) {
                    return Ok(());
                }
                Err(Refusal::field(
                    "ends_unix_ms",
                    "a renewal is decided before the season ends, and ends later",
                ))
            }
            Motion::Split { shops } => {
                let stranger = shops.iter().find(|shop| roster.member(**shop).is_none());
                stranger.map_or(Ok(()), |shop| Err(unknown(shop)))
            }
            Motion::CategoryLimit { .. } => Ok(()),
        }
    }

    fn check_annulment(&self, strike: &MotionId) -> Result<(), Refusal> {
        let struck = self.alliance.government().strikes.get(strike);
        let struck = struck.ok_or(Refusal::new(Reason::MotionUnknown))?;
        if struck.annulled.is_some() {
            return Err(Refusal::new(Reason::MotionClosed));
        }
        self.alliance.appeal(strike).map(|_| ()).ok_or(Refusal::new(Reason::NotAppealed))
    }

    fn vote_on(&self, id: &MotionId, against: bool) -> Decided {
        let proposed = self.alliance.council.motions.get(id).ok_or(Refusal::new(Reason::MotionUnknown))?;
        let is_admission = matches!(proposed.motion, Motion::Admission { .. });
        if is_admission && !against { self.check_vouching() } else { self.check_voice() }?;
        if proposed.motion.subject() == Some(self.me()) {
            return Err(Refusal::field("motion_id", "a shop has no voice in what is about itself").into());
        }
        if !against {
            self.check_admission(&proposed.motion)?;
        }
        self.raise(proposed.bytes.clone(), against)
    }

    /// A voice on a motion that is not decided, unless it was raised before.
    fn raise(&self, motion: Bytes, against: bool) -> Decided {
        let id = motion_id(&motion);
        let decided = self.alliance.is_decided(&id, self.now);
        if self.alliance.council.stance(self.me(), &id) == Some(!against)
            && (decided || !self.may_repeat(&id))
        {
            return Ok(Vec::new()); // asked again: the voice stands
        }
        if decided {
            return Err(Refusal::new(Reason::MotionClosed).into());
        }
        let vote = proto::Vote { motion, against, ..Default::default() };
        Ok(alloc::vec![Self::for_all(Kind::Vote, &vote)])
    }

    fn may_repeat(&self, id: &MotionId) -> bool {
        let voices = self.alliance.council.voices.get(&self.me());
        let last = voices.and_then(|voices| {
            voices.values().rev().find(|voice| matches!(&voice.act, Act::For(motion) if motion == id))
        });
        self.alliance.government().settings.dormancy_days != 0
            && last.is_some_and(|voice| self.now.ms_since(voice.at) >= REPEAT_MS_MIN)
    }

    fn appeal(&self, strike: &MotionId, statement: &str) -> Decided {
        self.alliance.own_membership()?;
        let struck = self.alliance.government().strikes.get(strike);
        let struck = struck.filter(|struck| struck.shop == self.me());
        let struck = struck.ok_or(Refusal::new(Reason::MotionUnknown))?;
        let appeal = proto::Appeal { strike_id: strike.to_vec().into(), statement: statement.into() };
        Act::of_appeal(appeal.clone())?;
        if self.alliance.appeal(strike).is_some() {
            return Ok(Vec::new()); // asked again: the appeal stands
        }
        if self.now > struck.appeal_until {
            return Err(Refusal::new(Reason::AppealTooLate).into());
        }
        Ok(alloc::vec![Self::for_all(Kind::Appeal, &appeal)])
    }

    fn choose_season(&self, season: u32, goes_on: bool) -> Decided {
        self.alliance.own_membership()?;
        if self.bar() == Some(BarCause::Departed) {
            return Err(Refusal::new(Reason::MemberDeparted).into());
        }
        let last = self.alliance.roster().seasons().last();
        bounds::number("season", season, 2..=last.max(2))?;
        if season > last {
            return Err(Refusal::field("season", "was not voted for").into());
        }
        let choice = proto::SeasonChoice { season, goes_on };
        if self.alliance.council.choice(self.me(), season) == Some(goes_on) {
            return Ok(Vec::new()); // asked again: the choice stands
        }
        Ok(alloc::vec![Self::for_all(Kind::SeasonChoice, &choice)])
    }

    fn depart(&self, next: Option<AllianceId>, split: Option<MotionId>, reason: &str) -> Decided {
        self.alliance.own_membership()?;
        if next == Some(self.alliance.charter().id) {
            return Err(Refusal::field("next_alliance_id", "is the alliance that the shop leaves").into());
        }
        if split.is_some_and(|split| !self.alliance.names(&split, self.me())) {
            return Err(Refusal::new(Reason::OriginUnproven).into());
        }
        if self.bar() == Some(BarCause::Departed) {
            return Ok(Vec::new()); // asked again: it has left
        }
        let departure = proto::Departure {
            next_alliance_id: next.map_or_else(Bytes::new, |id| id.as_bytes().to_vec().into()),
            split_id: split.map_or_else(Bytes::new, |id| id.to_vec().into()),
            reason: reason.into(),
        };
        Act::of_departure(&departure)?;
        Ok(alloc::vec![Self::for_all(Kind::Departure, &departure)])
    }
}
