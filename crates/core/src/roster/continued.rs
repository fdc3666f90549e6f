//! Who continues whom: shops that came in anew after their log was closed for good. The old shop's recovery key says so, in
//! the admission that is voted on or in the new shop's own log; the old log stays closed.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hutong_record::{AllianceId, Continuation, ShopId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{Act, Entry, Member, Motion, MotionId, council::Council, count::Event};

/// What a continuation says. A recovery key signed it; whether it is the old shop's, that shop's identity tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Claim {
    alliance: AllianceId,
    old: ShopId,
    new: ShopId,
    recovery_key_hash: [u8; 32],
}

/// Every claim among voices that count, and whose voices bring it.
pub(super) type Claims = BTreeMap<Claim, BTreeSet<ShopId>>;

impl Claim {
    pub(crate) const fn of(continuation: &Continuation) -> Self {
        Self {
            alliance: continuation.alliance(),
            old: continuation.old_shop(),
            new: continuation.new_shop(),
            recovery_key_hash: *continuation.recovery_key_hash(),
        }
    }
}

/// The claims that voices bring: of motions to take the new shop in, whoever raises a voice on them, and of the new shop.
pub(super) fn claimed(council: &Council, events: &[Event<'_>]) -> Claims {
    let said = council.motions.iter().filter_map(|(id, proposed)| match &proposed.motion {
        Motion::Admission { continues: Some(continuation), .. } => Some((*id, Claim::of(continuation))),
        _ => None,
    });
    let said: BTreeMap<MotionId, Claim> = said.collect();
    let mut claims = Claims::new();
    for event in events {
        let claim = match event.act {
            Act::Continuation(claim) => (claim.new == event.author).then_some(*claim),
            Act::For(id) | Act::Against(id) | Act::Brought { motion: id, .. } => said.get(id).copied(),
            _ => None,
        };
        if let Some(claim) = claim {
            claims.entry(claim).or_default().insert(event.author);
        }
    }
    claims
}

/// The claims that hold: a function of the whole set of voices and fork proofs, like all that the roster says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Continuations {
    /// Who continues a shop.
    by_old: BTreeMap<ShopId, ShopId>,
    /// What shops that are in continue, and, of shops that wait for votes, what they are to continue.
    by_new: BTreeMap<ShopId, BTreeSet<ShopId>>,
    /// When each shop that is or was in came in.
    came: BTreeMap<ShopId, UnixMillis>,
}

impl Continuations {
    /// A claim holds where a shop that was ever in brings it (others' voices are not everywhere), the old shop's recovery
    /// key signed it for this alliance, and the old shop is frozen or removed. Of several shops that continue one, the one
    /// that came in first does; it must have come in after the old one, so that it never goes round in a circle.
    pub(super) fn of(
        alliance: AllianceId,
        claims: &Claims,
        entries: &BTreeMap<ShopId, Entry>,
        members: &BTreeMap<ShopId, Member>,
    ) -> Self {
        let mut first = BTreeMap::<ShopId, (UnixMillis, ShopId)>::new();
        let mut waiting = Vec::new();
        let is_heard = |bringers: &BTreeSet<ShopId>| bringers.iter().any(|shop| entries.contains_key(shop));
        for (claim, _) in claims.iter().filter(|(_, bringers)| is_heard(bringers)) {
            let Claim { old, new, recovery_key_hash, .. } = *claim;
            let owned = members.get(&old).is_some_and(|member| {
                member.standing.is_closed() && *member.identity.recovery_key_hash() == recovery_key_hash
            });
            let (Some(left), true) = (entries.get(&old), owned && claim.alliance == alliance) else {
                continue;
            };
            match entries.get(&new).map(|entry| (entry.at, new)) {
                None => waiting.push((old, new)),
                Some(came) if came > (left.at, old) => {
                    first.entry(old).and_modify(|first| *first = came.min(*first)).or_insert(came);
                }
                Some(_) => {}
            }
        }
        let came = entries.iter().map(|(shop, entry)| (*shop, entry.at)).collect();
        let mut found = Self { came, ..Self::default() };
        for (old, (_, new)) in &first {
            found.by_old.insert(*old, *new);
            found.by_new.entry(*new).or_default().insert(*old);
        }
        for (old, new) in waiting.into_iter().filter(|(old, _)| !first.contains_key(old)) {
            found.by_new.entry(new).or_default().insert(old);
        }
        found
    }

    /// The shops that a shop continues, or is to continue once it is in, ascending.
    pub(super) fn of_new(&self, new: ShopId) -> impl Iterator<Item = ShopId> {
        self.by_new.get(&new).into_iter().flatten().copied()
    }

    /// Whether a shop that is or was in came in before another such one. Of one moment, by id.
    pub(super) fn came_before(&self, one: ShopId, other: ShopId) -> bool {
        let came = |shop: ShopId| self.came.get(&shop).map(|at| (*at, shop));
        came(one).zip(came(other)).is_some_and(|(one, other)| one < other)
    }

    /// Who continues a shop.
    pub(super) fn of_old(&self, old: ShopId) -> Option<ShopId> {
        self.by_old.get(&old).copied()
    }
}
