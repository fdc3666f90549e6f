//! The council: every voice that was raised, whoever raised it and whether it counts or not. It is a set, by author and
//! place in the author's log; what it comes to, [`super::count`] says.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use bytes::Bytes;
use hutong_record::{
    AllianceId, Continuation, Cryptography, ShopId, UnixMillis, motion_id, proto, proto::Kind,
};
use prost::Message as _;

use super::{Act, Claim, Heard, Motion, MotionId, Roster};
use crate::{
    refusal::Refusal,
    table,
    view::{Overlay, Reader, ViewError},
};

/// The voices of one shop that are looked at, the first ones of its log: all motions of five hundred shops, several
/// times over. Later ones never count, so that no shop can make counting slow.
pub(crate) const VOICES_PER_SHOP_MAX: usize = 4_096;

/// A voice: when, by the header of its record, and what for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Voice {
    pub(crate) at: UnixMillis,
    pub(crate) act: Act,
}

/// A motion as it was proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposed {
    pub(crate) motion: Motion,
    pub(crate) bytes: Bytes,
}

/// All voices and motions, and who was heard when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Council {
    pub(crate) motions: BTreeMap<MotionId, Arc<Proposed>>,
    /// By author and sequence number.
    pub(crate) voices: BTreeMap<ShopId, BTreeMap<u64, Voice>>,
    pub(crate) heard: Heard,
}

/// A voice on its way in.
#[derive(Debug, Clone)]
pub(crate) struct Raised {
    pub(crate) voice: Voice,
    /// The motion that it is about, where it brings one.
    pub(crate) motion: Option<(MotionId, Arc<Proposed>)>,
}

impl Council {
    /// From what the views hold.
    pub(crate) fn load(
        view: &(impl Reader + ?Sized),
        cryptography: &dyn Cryptography,
    ) -> Result<Self, ViewError> {
        let damaged = || ViewError::Damaged("tables of the council".into());
        let mut council = Self::default();
        table::walk(view, &[table::MOTION], None, |key, value| {
            let id: MotionId = key[1..].try_into().map_err(|_| damaged())?;
            let motion = Motion::parse_with(cryptography, value, None).map_err(|_| damaged())?;
            let proposed = Proposed { motion, bytes: Bytes::copy_from_slice(value) };
            council.motions.insert(id, Arc::new(proposed));
            Ok(true)
        })?;
        table::walk(view, &[table::VOICE], None, |key, value| {
            let (shop, sequence) = table::parse_voice(key).ok_or_else(damaged)?;
            council.voices.entry(shop).or_default().insert(sequence, table::decode(key, value)?);
            Ok(true)
        })?;
        table::walk(view, &[table::HEARD], None, |key, first| {
            let (shop, day) = table::parse_heard(key).ok_or_else(damaged)?;
            let first = first.try_into().map_err(|_| damaged())?;
            council.heard.insert(shop, day, u64::from_be_bytes(first));
            Ok(true)
        })?;
        Ok(council)
    }

    /// What a record says to the council; none: nothing. `known`: whose identities need no second look.
    pub(crate) fn hear(
        &self,
        alliance: AllianceId,
        kind: Kind,
        at: UnixMillis,
        message: &Bytes,
        known: &Roster,
        cryptography: &dyn Cryptography,
    ) -> Result<Option<Raised>, Refusal> {
        let malformed = |_| Refusal::field("payload", "is not the message that its kind names");
        let message = message.clone();
        let act = match kind {
            Kind::Vote => {
                let vote = proto::Vote::decode(message).map_err(malformed)?;
                return self.vote(alliance, &vote, at, known, cryptography).map(Some);
            }
            Kind::Invitation => {
                Act::of_invitation(proto::Invitation::decode(message).map_err(malformed)?, at)?
            }
            Kind::Appeal => Act::of_appeal(proto::Appeal::decode(message).map_err(malformed)?)?,
            Kind::SeasonChoice => Act::of_choice(proto::SeasonChoice::decode(message).map_err(malformed)?)?,
            Kind::Departure => Act::of_departure(&proto::Departure::decode(message).map_err(malformed)?)?,
            Kind::Continuation => {
                let continuation = Continuation::read(&message);
                Act::Continuation(Claim::of(&continuation.map_err(|e| Refusal::field("continuation", e))?))
            }
            _ => return Ok(None),
        };
        Ok(Some(Raised { voice: Voice { at, act }, motion: None }))
    }

    fn vote(
        &self,
        alliance: AllianceId,
        vote: &proto::Vote,
        at: UnixMillis,
        known: &Roster,
        cryptography: &dyn Cryptography,
    ) -> Result<Raised, Refusal> {
        let id = motion_id(&vote.motion);
        let (proposed, is_new) = match self.motions.get(&id) {
            Some(proposed) => (proposed.clone(), false),
            None => {
                let motion = Motion::parse_with(cryptography, &vote.motion, Some(known))?;
                (Arc::new(Proposed { motion, bytes: vote.motion.clone() }), true)
            }
        };
        let act = if vote.inviter_id.is_empty() {
            Act::of_vote(vote)
        } else {
            Act::of_guest(vote, &proposed.motion, alliance, cryptography)?
        };
        Ok(Raised { voice: Voice { at, act }, motion: is_new.then_some((id, proposed)) })
    }

    /// Whether a record was heard.
    pub(crate) fn has_heard(&self, author: ShopId, sequence: u64) -> bool {
        self.voices.get(&author).is_some_and(|voices| voices.contains_key(&sequence))
    }

    /// Takes a voice in, whatever else is known by then. False: it was there before.
    pub(crate) fn add(&mut self, author: ShopId, sequence: u64, raised: Raised) -> bool {
        let voices = self.voices.entry(author).or_default();
        if voices.get(&sequence) == Some(&raised.voice) {
            return false;
        }
        voices.insert(sequence, raised.voice);
        if let Some((id, proposed)) = raised.motion {
            self.motions.insert(id, proposed);
        }
        true
    }

    /// Stores what [`Council::add`] takes in.
    pub(crate) fn keep<R: Reader + ?Sized>(
        view: &mut Overlay<'_, R>,
        author: ShopId,
        sequence: u64,
        raised: &Raised,
    ) {
        table::write(view, table::voice(author, sequence), &raised.voice);
        if let Some((id, proposed)) = &raised.motion {
            view.put(table::motion(id), proposed.bytes.to_vec());
        }
    }

    /// Whether a shop's last voice on a motion is for it (true) or against; none: it has not raised any.
    pub(crate) fn stance(&self, shop: ShopId, motion: &MotionId) -> Option<bool> {
        let voices = self.voices.get(&shop)?;
        voices.values().rev().find_map(|voice| match &voice.act {
            Act::For(id) if id == motion => Some(true),
            Act::Against(id) if id == motion => Some(false),
            _ => None,
        })
    }

    /// What a shop said in its first appeal against a strike by a moment.
    pub(crate) fn appeal(&self, shop: ShopId, motion: &MotionId, until: UnixMillis) -> Option<&str> {
        let voices = self.voices.get(&shop)?;
        voices.values().find_map(|voice| match &voice.act {
            Act::Appeal { strike, statement } if strike == motion && voice.at <= until => {
                Some(statement.as_str())
            }
            _ => None,
        })
    }

    /// What a shop last chose for a season; none: nothing.
    pub(crate) fn choice(&self, shop: ShopId, season: u32) -> Option<bool> {
        let voices = self.voices.get(&shop)?;
        voices.values().rev().find_map(|voice| match voice.act {
            Act::Season { season: of, goes_on } if of == season => Some(goes_on),
            _ => None,
        })
    }

    /// The motions that say something, by id.
    pub(crate) fn find(&self, is_it: impl Fn(&Motion) -> bool) -> Vec<(MotionId, &Proposed)> {
        self.motions.iter().filter(|(_, p)| is_it(&p.motion)).map(|(id, p)| (*id, &**p)).collect()
    }
}
