//! An alliance as one of its shops holds it: the charter and the roster in memory, all else in views.

use alloc::{string::String, sync::Arc};

use bytes::Bytes;
use hutong_record::{Afresh, Cryptography, ShopId, UnixMillis, motion_id, proto};
use prost::Message as _;

use crate::{
    charter::Charter,
    keys::KeyBook,
    refusal::{Reason, Refusal},
    roster::{
        Council, Government, Heard, Member, Motion, MotionId, MotionState, ROUND_MAX, Roster, Standing, Tally,
    },
    table,
    view::{Reader, ViewError},
};

/// The state that folding and deciding need at hand.
#[derive(Debug, Clone)]
pub struct Alliance {
    charter: Charter,
    me: ShopId,
    pub(crate) roster: Roster,
    /// Every voice that was heard, which the roster is counted from.
    pub(crate) council: Council,
    /// While everything is folded anew: the roster that the same records came to before. It judges every record from
    /// the first one on, so that the order in which votes were found does not show.
    expected: Option<Roster>,
    /// Who does the sums of signatures.
    cryptography: Arc<dyn Cryptography>,
    /// The keys of later epochs.
    pub(crate) keys: KeyBook,
}

impl Alliance {
    /// From the charter and what the views hold.
    pub fn load(charter: Charter, me: ShopId, view: &(impl Reader + ?Sized)) -> Result<Self, ViewError> {
        Self::load_with(Arc::new(Afresh), charter, me, view)
    }

    /// The same, with somebody else to do the sums of signatures.
    pub fn load_with(
        cryptography: Arc<dyn Cryptography>,
        charter: Charter,
        me: ShopId,
        view: &(impl Reader + ?Sized),
    ) -> Result<Self, ViewError> {
        let council = Council::load(view, &*cryptography)?;
        let roster = Roster::compute(&charter, &council, view)?;
        let keys = KeyBook::load(view)?;
        Ok(Self { charter, me, roster, council, expected: None, cryptography, keys })
    }

    /// For folding everything anew into empty views, judged by the roster that is known by now.
    #[must_use]
    pub fn from_the_start(&self) -> Self {
        let roster = Roster::founding(&self.charter);
        let council = Council::default();
        Self {
            charter: self.charter.clone(),
            me: self.me,
            roster,
            council,
            expected: Some(self.roster.clone()),
            cryptography: self.cryptography.clone(),
            keys: KeyBook::default(),
        }
    }

    /// Ends a fold from the start. False: the records came to another roster than the one that judged them, so that
    /// they must be folded once more.
    pub fn settle(&mut self) -> bool {
        self.expected.take().is_none_or(|expected| expected == self.roster)
    }

    /// Whether a fold from the start is under way.
    pub(crate) const fn starts_anew(&self) -> bool {
        self.expected.is_some()
    }

    /// The roster that says which records count.
    pub(crate) fn judge(&self) -> &Roster {
        self.expected.as_ref().unwrap_or(&self.roster)
    }

    /// Who does the sums of signatures.
    pub fn cryptography(&self) -> &dyn Cryptography {
        &*self.cryptography
    }

    /// Its rules.
    pub const fn charter(&self) -> &Charter {
        &self.charter
    }

    /// This shop.
    pub const fn me(&self) -> ShopId {
        self.me
    }

    /// Who is in it.
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The rules in force, and what was decided.
    pub const fn government(&self) -> &Government {
        self.roster.government()
    }

    /// Whether a core member has been unheard for so long that its voice is not waited for.
    pub fn is_dormant(&self, shop: ShopId, now: UnixMillis) -> bool {
        let days = self.government().settings.dormancy_days;
        days != 0 && !self.council.heard.within(shop, Heard::day(now), days, None)
    }

    /// This shop's place in it; refused unless it is a member in good standing.
    pub fn own_membership(&self) -> Result<&Member, Refusal> {
        match self.roster.shop(self.me) {
            Some(member) if member.standing == Standing::Member => Ok(member),
            Some(member) if member.standing == Standing::Frozen => Err(Refusal::new(Reason::LogFrozen)),
            _ => Err(Refusal::new(Reason::NotMember)),
        }
    }

    /// Refused unless this shop votes.
    pub(crate) fn check_core(&self) -> Result<(), Refusal> {
        if self.own_membership()?.core { Ok(()) } else { Err(Refusal::new(Reason::NotCore)) }
    }

    /// The bytes of a motion as this shop would propose it now: an amendment of the rules in force, and in the first
    /// round in which nothing was decided yet.
    pub fn draft_motion(&self, mut motion: proto::motion::Motion, now: UnixMillis) -> Result<Bytes, Refusal> {
        if let proto::motion::Motion::Amendment(amendment) = &mut motion {
            amendment.base_id = self.government().amendment.map_or_else(Bytes::new, |id| id.to_vec().into());
        }
        if let proto::motion::Motion::Renewal(renewal) = &mut motion
            && renewal.season == 0
        {
            renewal.season = self.roster.seasons().next().0;
        }
        let mut message = proto::Motion { motion: Some(motion), round: 0 };
        loop {
            let bytes = Bytes::from(message.encode_to_vec());
            if !self.is_decided(&motion_id(&bytes), now) {
                Motion::parse(&bytes, Some(&self.roster))?;
                return Ok(bytes);
            }
            message.round += 1;
            if message.round > ROUND_MAX {
                return Err(Refusal::new(Reason::MotionClosed));
            }
        }
    }

    /// The bytes of a motion that takes a shop in which was proposed before, or names another trade for a member.
    pub fn draft_admission(
        &self,
        shop: ShopId,
        core: bool,
        category: String,
        now: UnixMillis,
    ) -> Result<Bytes, Refusal> {
        let member = self.roster.shop(shop).ok_or(Refusal::new(Reason::MemberUnknown))?;
        let identity = Some(member.identity.signed().clone());
        self.draft_motion(
            proto::motion::Motion::Admission(proto::Admission {
                identity,
                core,
                category,
                continuation: None,
            }),
            now,
        )
    }

    /// A vote for a shop's admission: for the motion that has most voices, else for a new one. Where the last one was
    /// objected to, it has to be proposed anew in so many words.
    pub(crate) fn admission_vote(
        &self,
        shop: ShopId,
        core: bool,
        now: UnixMillis,
    ) -> Result<proto::Vote, Refusal> {
        let about =
            |motion: &Motion| motion.subject() == Some(shop) && matches!(motion, Motion::Admission { .. });
        let motions = self.council.find(about);
        let tally = |id: &MotionId| self.government().motions.get(id);
        let voices = |id: &MotionId| tally(id).map_or(0, |tally| tally.voices_for.len());
        let open = motions.iter().filter(|(id, _)| !self.is_decided(id, now));
        let fits = open.clone().filter(
            |(_, proposed)| matches!(proposed.motion, Motion::Admission { core: as_core, .. } if as_core == core),
        );
        let motion = if let Some((_, proposed)) = fits.max_by_key(|(id, _)| voices(id)) {
            proposed.bytes.clone()
        } else {
            let objected = |id: &MotionId| {
                matches!(tally(id).map(|tally| tally.state_at(now)), Some(MotionState::Objected { .. }))
            };
            if open.clone().next().is_none() && motions.iter().any(|(id, _)| objected(id)) {
                return Err(Refusal::new(Reason::MotionClosed));
            }
            let named = open.clone().max_by_key(|(id, _)| voices(id));
            let category = match named.map(|(_, proposed)| &proposed.motion) {
                Some(Motion::Admission { category, .. }) => category.clone(),
                _ => self.roster.shop(shop).map(|member| member.category.clone()).unwrap_or_default(),
            };
            self.draft_admission(shop, core, category, now)?
        };
        Ok(proto::Vote { motion, ..Default::default() })
    }

    /// Whether a motion was decided, or has lapsed.
    pub(crate) fn is_decided(&self, id: &MotionId, now: UnixMillis) -> bool {
        let state = self.government().motions.get(id).map(|tally| tally.state_at(now));
        !matches!(state, None | Some(MotionState::Open | MotionState::Announced { .. }))
    }

    /// The motions on which a voice counts, by id: what each says, and how it stands.
    pub fn motions(&self) -> impl Iterator<Item = (MotionId, proto::Motion, &Tally)> {
        self.government().motions.iter().filter_map(|(id, tally)| {
            let proposed = self.council.motions.get(id)?;
            Some((*id, proto::Motion::decode(proposed.bytes.clone()).ok()?, tally))
        })
    }

    /// What a shop said against a strike that it got, if it appealed in time.
    pub fn appeal(&self, strike: &MotionId) -> Option<&str> {
        let struck = self.government().strikes.get(strike)?;
        self.council.appeal(struck.shop, strike, struck.appeal_until)
    }

    /// What a new alliance's charter says of this one, where this shop may found one that comes from it: by a split that
    /// was carried and names it, or once the season is over.
    pub fn origin(&self, split: Option<MotionId>, now: UnixMillis) -> Result<proto::Origin, Refusal> {
        self.own_membership()?;
        let proven = match &split {
            Some(id) => self.names(id, self.me),
            None => self.roster.seasons().over_at(now),
        };
        if !proven {
            return Err(Refusal::new(Reason::OriginUnproven));
        }
        let motion_id = split.map_or_else(Bytes::new, |id| id.to_vec().into());
        Ok(proto::Origin { alliance_id: self.charter.id.as_bytes().to_vec().into(), motion_id })
    }

    /// Whether a motion is a split that was carried and names a shop.
    pub(crate) fn names(&self, split: &MotionId, shop: ShopId) -> bool {
        let carried = self.government().motions.get(split).map(|tally| tally.state);
        let motion = self.council.motions.get(split).map(|proposed| &proposed.motion);
        matches!(carried, Some(MotionState::Carried { .. }))
            && matches!(motion, Some(Motion::Split { shops }) if shops.binary_search(&shop).is_ok())
    }

    /// Hash over everything that all members fold alike. Two nodes with the same records have the same digest (CON-1).
    pub fn public_digest(view: &(impl Reader + ?Sized)) -> Result<[u8; 32], ViewError> {
        let mut hasher = blake3::Hasher::new_derive_key("hutong 2026 v1 public state digest");
        let mut feed = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        for table in table::PUBLIC {
            view.scan(&[table], None, &mut |key, value| {
                feed(key);
                feed(value);
                true
            })?;
        }
        Ok(*hasher.finalize().as_bytes())
    }
}
