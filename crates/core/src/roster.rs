//! The roster: who is in the alliance, as the votes have it. It is computed from the whole set of votes and fork
//! proofs at once, so it does not depend on the order in which they arrived (CON-1).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hutong_record::{Identity, PublicKey, ShopId, motion_id, proto};
use prost::Message as _;

use crate::{
    charter::Charter,
    refusal::Refusal,
    table,
    view::{Reader, ViewError},
};

/// The most shops that ever were in one alliance, former members included.
pub const MEMBERS_MAX: usize = 512;
const REASON_CHARS_MAX: usize = 500;

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
}

impl Member {
    /// Whether its records may be taken in at all, up to [`Member::counts_up_to`].
    pub const fn was_admitted(&self) -> bool {
        !matches!(self.standing, Standing::Pending)
    }
}

/// All shops that anyone with a vote has named, by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    members: BTreeMap<ShopId, Member>,
}

impl Roster {
    /// Computes the roster from the votes and fork proofs in the views. Identities already verified in `before` are
    /// not verified again.
    pub fn compute(
        charter: &Charter,
        view: &(impl Reader + ?Sized),
        before: &Self,
    ) -> Result<Self, ViewError> {
        let ballots = Ballots::load(view, before)?;
        let forks = table::collect(view, &[table::FORK], |key, value| {
            let shop =
                ShopId::try_from(&key[1..]).map_err(|_| ViewError::Damaged("table of forks".into()))?;
            let (sequence, _): (u64, Vec<u8>) = table::decode(key, value)?;
            Ok((shop, sequence.saturating_sub(1)))
        })?;
        Ok(ballots.count(charter, forks.into_iter().collect()))
    }

    /// The founder alone.
    pub(crate) fn founding(charter: &Charter) -> Self {
        Ballots(Vec::new()).count(charter, Cuts::new())
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

    /// The key that signs a shop's records in an epoch.
    pub fn signing_key(&self, shop: ShopId, epoch: u32) -> Option<PublicKey> {
        let member = self.shop(shop)?;
        (epoch == 0).then(|| *member.identity.signing_key())
    }

    /// The last record of a shop that counts; `None`: no bound.
    pub fn counts_up_to(&self, shop: ShopId) -> Option<u64> {
        self.shop(shop).and_then(|m| m.counts_up_to)
    }
}

/// A motion whose form was checked.
#[derive(Debug, Clone)]
pub(crate) enum Motion {
    /// Take a shop in, or make it a core member.
    Admission { identity: Box<Identity>, core: bool },
    /// Take it out.
    Removal { shop: ShopId, last_sequence: u64 },
}

impl Motion {
    /// Checks a motion's form; identities in `known` are not verified again.
    pub(crate) fn parse(bytes: &[u8], known: &Roster) -> Result<Self, Refusal> {
        use proto::motion::Motion as Message;
        let malformed = |why: &str| Refusal::field("motion", why);
        let message = proto::Motion::decode(bytes).map_err(|_| malformed("is not a motion"))?;
        if message.encode_to_vec() != bytes {
            return Err(malformed("is not in canonical form"));
        }
        match message.motion {
            Some(Message::Admission(admission)) => {
                let signed = admission.identity.ok_or_else(|| malformed("names no shop"))?;
                let known = known.members.values().find(|m| *m.identity.signed() == signed);
                let identity = match known {
                    Some(member) => member.identity.clone(),
                    None => Identity::verify(&signed).map_err(|e| Refusal::field("motion", e))?,
                };
                Ok(Self::Admission { identity: Box::new(identity), core: admission.core })
            }
            Some(Message::Removal(removal)) => {
                crate::bounds::text("reason", &removal.reason, 0..=REASON_CHARS_MAX)?;
                let shop =
                    ShopId::try_from(removal.shop_id.as_ref()).map_err(|e| Refusal::field("shop_id", e))?;
                Ok(Self::Removal { shop, last_sequence: removal.last_sequence })
            }
            None => Err(malformed("is empty")),
        }
    }
}

/// All votes: a motion, who is for it, and where in the voter's log the vote stands.
struct Ballots(Vec<(Motion, BTreeMap<ShopId, u64>)>);

type Cuts = BTreeMap<ShopId, u64>;

impl Ballots {
    fn load(view: &(impl Reader + ?Sized), known: &Roster) -> Result<Self, ViewError> {
        let damaged = || ViewError::Damaged("table of motions".into());
        let motions = table::collect(view, &[table::MOTION], |key, value| {
            let id: [u8; 32] = key[1..].try_into().map_err(|_| damaged())?;
            Ok((id, Motion::parse(value, known).map_err(|_| damaged())?))
        })?;
        let votes = table::collect(view, &[table::VOTE], |key, value| {
            let (motion, voter) = key[1..].split_at_checked(32).ok_or_else(damaged)?;
            let motion: [u8; 32] = motion.try_into().map_err(|_| damaged())?;
            let sequence: u64 = table::decode(key, value)?;
            Ok((motion, ShopId::try_from(voter).map_err(|_| damaged())?, sequence))
        })?;
        let mut ballots: BTreeMap<_, _> =
            motions.into_iter().map(|(id, m)| (id, (m, BTreeMap::new()))).collect();
        for (motion, voter, sequence) in votes {
            if let Some((_, voters)) = ballots.get_mut(&motion) {
                voters.insert(voter, sequence);
            }
        }
        for (voter, sequence, bytes) in Self::aside(view)? {
            let Ok(motion) = Motion::parse(&bytes, known) else { continue };
            let (_, voters) = ballots.entry(motion_id(&bytes)).or_insert((motion, BTreeMap::new()));
            voters.entry(voter).or_insert(sequence);
        }
        Ok(Self(ballots.into_values().collect()))
    }

    /// Votes past their authors' seals, or of shops that are not in, in the order of each log.
    fn aside(view: &(impl Reader + ?Sized)) -> Result<Vec<(ShopId, u64, Vec<u8>)>, ViewError> {
        let damaged = || ViewError::Damaged("table of votes kept aside".into());
        table::collect(view, &[table::VOTE_ASIDE], |key, value| {
            let (voter, sequence) = key[1..].split_at_checked(ShopId::BYTES).ok_or_else(damaged)?;
            let sequence = u64::from_be_bytes(sequence.try_into().map_err(|_| damaged())?);
            Ok((ShopId::try_from(voter).map_err(|_| damaged())?, sequence, value.to_vec()))
        })
    }

    /// First who is removed; then who is in if votes past a seal or a fork do not count. Each step is a function of
    /// the whole set of votes. Nobody is removed, or frozen, who was never in.
    fn count(&self, charter: &Charter, forks: Cuts) -> Roster {
        let seals = self.removed(charter, &forks);
        let cuts = earliest(&seals, &forks);
        let (core, admitted) = self.admitted(charter, &cuts);
        let standing = |shop: &ShopId| match () {
            () if !admitted.contains(shop) => Standing::Pending,
            () if seals.contains_key(shop) => Standing::Removed,
            () if forks.contains_key(shop) => Standing::Frozen,
            () => Standing::Member,
        };
        let member = |identity: &Identity, votes| Member {
            standing: standing(&identity.id()),
            core: core.contains(&identity.id()),
            counts_up_to: cuts.get(&identity.id()).copied(),
            identity: identity.clone(),
            votes,
        };
        let mut members = BTreeMap::from([(charter.founder.id(), member(&charter.founder, 0))]);
        for (motion, _) in &self.0 {
            if let Motion::Admission { identity, .. } = motion {
                let votes = self.voices(identity.id(), false, &core, &cuts).len();
                members.insert(identity.id(), member(identity, u32::try_from(votes).unwrap_or(u32::MAX)));
            }
        }
        Roster { members }
    }

    /// Core members and all members: the smallest sets that the founder's and then the core members' votes reach.
    fn admitted(&self, charter: &Charter, cuts: &Cuts) -> (BTreeSet<ShopId>, BTreeSet<ShopId>) {
        let founder = charter.founder.id();
        let needed = charter.admission_votes as usize;
        let mut core: BTreeSet<_> = self.first_core(charter, cuts).chain([founder]).collect();
        loop {
            let elected = self.shops().filter(|s| self.voices(*s, true, &core, cuts).len() >= needed);
            let larger: BTreeSet<_> = core.iter().copied().chain(elected).collect();
            if larger == core {
                break;
            }
            core = larger;
        }
        let elected = self.shops().filter(|s| self.voices(*s, false, &core, cuts).len() >= needed);
        let members = core.iter().copied().chain(elected).collect();
        (core, members)
    }

    /// The core members whom the founder alone may take in, so that there are as many as the charter wants votes:
    /// the first ones in the founder's own log.
    fn first_core(&self, charter: &Charter, cuts: &Cuts) -> impl Iterator<Item = ShopId> {
        let founder = charter.founder.id();
        let mut named: Vec<_> = self
            .0
            .iter()
            .filter_map(|(motion, votes)| match motion {
                Motion::Admission { identity, core: true } => {
                    votes.get(&founder).filter(|s| counts(founder, **s, cuts)).map(|s| (*s, identity.id()))
                }
                _ => None,
            })
            .collect();
        named.sort_unstable();
        named.into_iter().map(|(_, shop)| shop).take(charter.admission_votes.saturating_sub(1) as usize)
    }

    fn shops(&self) -> impl Iterator<Item = ShopId> {
        self.0.iter().filter_map(|(motion, _)| match motion {
            Motion::Admission { identity, .. } => Some(identity.id()),
            Motion::Removal { .. } => None,
        })
    }

    /// The core members who are for a shop's admission; `as_core`: as a core member.
    fn voices(&self, shop: ShopId, as_core: bool, core: &BTreeSet<ShopId>, cuts: &Cuts) -> BTreeSet<ShopId> {
        let for_shop = self.0.iter().filter(|(motion, _)| {
            matches!(motion, Motion::Admission { identity, core } if identity.id() == shop && (*core || !as_core))
        });
        for_shop
            .flat_map(|(_, votes)| votes)
            .filter(|(voter, sequence)| {
                (core.contains(voter) || hutong_record::planted!(CountEveryVote))
                    && counts(**voter, **sequence, cuts)
            })
            .map(|(voter, _)| *voter)
            .collect()
    }

    /// The seals of removed shops. A vote past its author's own seal removes nobody; where that goes round in a circle
    /// (two shops seal each other before the other's vote), all seals of the circle hold. Found from above and below
    /// in turns: the more seals hold, the fewer votes count, the fewer seals hold.
    fn removed(&self, charter: &Charter, forks: &Cuts) -> Cuts {
        let mut most = self.seals(charter, forks);
        loop {
            let fewest = self.seals(charter, &earliest(&most, forks));
            let fewer = self.seals(charter, &earliest(&fewest, forks));
            if fewer == most {
                return most;
            }
            most = fewer;
        }
    }

    /// The seals that the votes before `cuts` give: of several motions that have enough votes, the earliest seal.
    fn seals(&self, charter: &Charter, cuts: &Cuts) -> Cuts {
        let (core, _) = self.admitted(charter, cuts);
        let mut seals = Cuts::new();
        for (motion, votes) in &self.0 {
            let Motion::Removal { shop, last_sequence } = motion else { continue };
            let voices = votes
                .iter()
                .filter(|(voter, at)| core.contains(voter) && *voter != shop && counts(**voter, **at, cuts))
                .count();
            if voices >= charter.removal_votes as usize {
                seals.entry(*shop).and_modify(|s| *s = (*s).min(*last_sequence)).or_insert(*last_sequence);
            }
        }
        seals
    }
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
