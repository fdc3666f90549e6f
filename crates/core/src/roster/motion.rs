//! What core members can decide together: motions whose form was checked.

use alloc::{boxed::Box, string::String, vec::Vec};

use bytes::Bytes;
use hutong_record::{
    Afresh, AllianceId, Continuation, Cryptography, DAY_MS, Identity, RecordId, ShopId, UnixMillis,
    motion_id, proto,
};
use prost::Message as _;

use super::{Claim, MEMBERS_MAX, MotionId, REASON_CHARS_MAX, Roster};
use crate::{bounds, charter::Settings, knock::Knock, refusal::Refusal};

/// The longest name of a trade.
pub(crate) const CATEGORY_CHARS_MAX: usize = 40;
/// How often the same thing can be decided.
pub(crate) const ROUND_MAX: u32 = 1_000;
/// How far ahead an invitation may reach.
pub(crate) const INVITATION_MS_MAX: i64 = 90 * DAY_MS;
const SPLIT_NAME_CHARS_MAX: usize = 80;

/// A motion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Motion {
    /// Take a shop in, or make it a core member.
    Admission {
        /// Who it is.
        identity: Box<Identity>,
        /// Whether it is to vote.
        core: bool,
        /// Its trade; empty: none that is limited.
        category: String,
        /// Tells the motion from an earlier one.
        round: u32,
        /// Which shop it says to continue; whether that holds, [`Roster::continues`] tells.
        continues: Option<Box<Continuation>>,
    },
    /// Take it out.
    Removal {
        /// Which.
        shop: ShopId,
        /// Its last record that counts.
        last_sequence: u64,
    },
    /// Change the rules.
    Amendment {
        /// The amendment that made the rules before; none: the charter.
        base: Option<MotionId>,
        /// What changes.
        change: Box<proto::Governance>,
    },
    /// Make a member a core member, or a core member an ordinary one.
    CoreChange {
        /// Which.
        shop: ShopId,
        /// Whether it is to vote.
        core: bool,
    },
    /// How many members of one trade there may be.
    CategoryLimit {
        /// The trade.
        category: String,
        /// How many.
        shops_max: u32,
    },
    /// A member broke the rules.
    Strike {
        /// Which.
        shop: ShopId,
    },
    /// Take a strike back.
    Annulment {
        /// The strike's motion.
        strike: MotionId,
    },
    /// Begin the next season.
    Renewal {
        /// Which.
        season: u32,
        /// When it ends.
        ends: UnixMillis,
    },
    /// Let some members go on in an alliance of their own.
    Split {
        /// Which.
        shops: Vec<ShopId>,
    },
}

impl Motion {
    /// Checks a motion's form; identities in `known` are not verified again.
    pub(crate) fn parse(bytes: &[u8], known: Option<&Roster>) -> Result<Self, Refusal> {
        Self::parse_with(&Afresh, bytes, known)
    }

    /// The same, with somebody else to do the sums of signatures.
    pub(crate) fn parse_with(
        cryptography: &dyn Cryptography,
        bytes: &[u8],
        known: Option<&Roster>,
    ) -> Result<Self, Refusal> {
        use proto::motion::Motion as Message;
        let malformed = |why: &str| Refusal::field("motion", why);
        let message = proto::Motion::decode(bytes).map_err(|_| malformed("is not a motion"))?;
        if message.encode_to_vec() != bytes {
            return Err(malformed("is not in canonical form"));
        }
        bounds::number("round", message.round, 0..=ROUND_MAX)?;
        match message.motion.ok_or_else(|| malformed("is empty"))? {
            Message::Admission(admission) => Self::admission(cryptography, admission, message.round, known),
            Message::Removal(removal) => {
                reason(&removal.reason)?;
                let shop = shop("shop_id", &removal.shop_id)?;
                Ok(Self::Removal { shop, last_sequence: removal.last_sequence })
            }
            Message::Amendment(amendment) => {
                reason(&amendment.reason)?;
                let change = amendment.change.ok_or_else(|| Refusal::field("change", "is missing"))?;
                Settings::check_change(&change)?;
                let base = id_or_none("base_id", &amendment.base_id)?;
                Ok(Self::Amendment { base, change: Box::new(change) })
            }
            Message::CoreChange(change) => {
                reason(&change.reason)?;
                Ok(Self::CoreChange { shop: shop("shop_id", &change.shop_id)?, core: change.core })
            }
            Message::CategoryLimit(limit) => {
                bounds::text("category", &limit.category, 1..=CATEGORY_CHARS_MAX)?;
                bounds::number("shops_max", limit.shops_max as usize, 1..=MEMBERS_MAX)?;
                Ok(Self::CategoryLimit { category: limit.category, shops_max: limit.shops_max })
            }
            Message::Strike(strike) => Self::strike(&strike),
            Message::Annulment(annulment) => {
                let strike = id_or_none("strike_id", &annulment.strike_id)?;
                Ok(Self::Annulment {
                    strike: strike.ok_or_else(|| Refusal::field("strike_id", "is missing"))?,
                })
            }
            Message::Renewal(renewal) => {
                bounds::number("season", renewal.season, 1..=ROUND_MAX)?;
                bounds::number("ends_unix_ms", renewal.ends_unix_ms, 1..=UnixMillis::MAX.ms())?;
                let ends = bounds::time("ends_unix_ms", renewal.ends_unix_ms)?;
                Ok(Self::Renewal { season: renewal.season, ends })
            }
            Message::Split(split) => Self::split(&split),
        }
    }

    fn admission(
        cryptography: &dyn Cryptography,
        admission: proto::Admission,
        round: u32,
        known: Option<&Roster>,
    ) -> Result<Self, Refusal> {
        let signed = admission.identity.ok_or_else(|| Refusal::field("motion", "names no shop"))?;
        bounds::text("category", &admission.category, 0..=CATEGORY_CHARS_MAX)?;
        let known = known.and_then(|known| known.members.values().find(|m| *m.identity.signed() == signed));
        let identity = match known {
            Some(member) => member.identity.clone(),
            None => cryptography.identity(&signed).map_err(|e| Refusal::field("motion", e))?,
        };
        let proto::Admission { core, category, continuation, .. } = admission;
        let continues = continuation.map(|signed| continuation_for(identity.id(), &signed)).transpose()?;
        Ok(Self::Admission { identity: Box::new(identity), core, category, round, continues })
    }

    fn strike(strike: &proto::Strike) -> Result<Self, Refusal> {
        bounds::text("reason", &strike.reason, 1..=REASON_CHARS_MAX)?;
        match proto::StrikeCause::try_from(strike.cause) {
            Ok(proto::StrikeCause::Unspecified) | Err(_) => {
                return Err(Refusal::field("cause", "is none of those that earn a strike"));
            }
            Ok(_) => {}
        }
        if !strike.evidence_id.is_empty() {
            RecordId::try_from(strike.evidence_id.as_ref()).map_err(|e| Refusal::field("evidence_id", e))?;
        }
        Ok(Self::Strike { shop: shop("shop_id", &strike.shop_id)? })
    }

    fn split(split: &proto::Split) -> Result<Self, Refusal> {
        bounds::text("name", &split.name, 1..=SPLIT_NAME_CHARS_MAX)?;
        reason(&split.reason)?;
        bounds::number("shop_ids", split.shop_ids.len(), 1..=MEMBERS_MAX)?;
        let shops = split.shop_ids.iter().map(|id| shop("shop_ids", id)).collect::<Result<Vec<_>, _>>()?;
        if !shops.is_sorted_by(|one, next| one < next) {
            return Err(Refusal::field("shop_ids", "are not ascending, or name a shop twice"));
        }
        Ok(Self::Split { shops })
    }

    /// The shop that it is about, which has no voice in it unless it is let in.
    pub(crate) fn subject(&self) -> Option<ShopId> {
        match self {
            Self::Admission { identity, .. } => Some(identity.id()),
            Self::Removal { shop, .. } | Self::CoreChange { shop, .. } | Self::Strike { shop } => Some(*shop),
            _ => None,
        }
    }
}

/// What a shop says in matters of the alliance.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Act {
    /// It is for a motion.
    For(MotionId),
    /// It is against one.
    Against(MotionId),
    /// It appeals against a strike.
    Appeal { strike: MotionId, statement: String },
    /// Whether it goes on in a season.
    Season { season: u32, goes_on: bool },
    /// It leaves.
    Departure { next: Option<AllianceId>, split: Option<MotionId> },
    /// It invites a shop, and whoever lets the guest in brings its voice.
    Invitation { guest_key: [u8; 32], expires: UnixMillis, core: bool, category: String },
    /// It brings the guest of another's invitation: the motion is the guest's admission.
    Brought { motion: MotionId, inviter: ShopId, guest_key: [u8; 32] },
    /// It says which shop it continues.
    Continuation(Claim),
}

impl Act {
    /// Checks the form of a vote: the act, and the motion's bytes.
    pub(crate) fn of_vote(vote: &proto::Vote) -> Self {
        let id = motion_id(&vote.motion);
        if vote.against { Self::Against(id) } else { Self::For(id) }
    }

    /// Checks the form of an invitation that is for all.
    pub(crate) fn of_invitation(invitation: proto::Invitation, at: UnixMillis) -> Result<Self, Refusal> {
        let guest_key = guest_key(&invitation.guest_key)?;
        let expires = bounds::time("expires_unix_ms", invitation.expires_unix_ms)?;
        bounds::number("expires_unix_ms", expires.ms_since(at), 1..=INVITATION_MS_MAX)?;
        bounds::text("note", &invitation.note, 0..=0)?;
        bounds::text("category", &invitation.category, 0..=CATEGORY_CHARS_MAX)?;
        let proto::Invitation { core, category, .. } = invitation;
        Ok(Self::Invitation { guest_key, expires, core, category })
    }

    /// Checks the form of a vote by which a guest is brought, and the guest's word that it asks for it.
    pub(crate) fn of_guest(
        vote: &proto::Vote,
        motion: &Motion,
        alliance: AllianceId,
        cryptography: &dyn Cryptography,
    ) -> Result<Self, Refusal> {
        let Motion::Admission { identity, round: 0, .. } = motion else {
            return Err(Refusal::field("motion", "is not a first admission"));
        };
        if vote.against {
            return Err(Refusal::field("against", "a guest is brought for its admission"));
        }
        let inviter = shop("inviter_id", &vote.inviter_id)?;
        let guest_key = guest_key(&vote.guest_key)?;
        let knock = Knock { alliance, inviter, guest_key, shop: identity.id() };
        knock.verify(cryptography, &vote.guest_signature)?;
        Ok(Self::Brought { motion: motion_id(&vote.motion), inviter, guest_key })
    }

    /// Checks an appeal's form.
    pub(crate) fn of_appeal(appeal: proto::Appeal) -> Result<Self, Refusal> {
        bounds::text("statement", &appeal.statement, 1..=REASON_CHARS_MAX)?;
        let strike = id_or_none("strike_id", &appeal.strike_id)?;
        let strike = strike.ok_or_else(|| Refusal::field("strike_id", "is missing"))?;
        Ok(Self::Appeal { strike, statement: appeal.statement })
    }

    /// Checks the form of a choice.
    pub(crate) fn of_choice(choice: proto::SeasonChoice) -> Result<Self, Refusal> {
        bounds::number("season", choice.season, 2..=ROUND_MAX)?;
        Ok(Self::Season { season: choice.season, goes_on: choice.goes_on })
    }

    /// Checks a departure's form.
    pub(crate) fn of_departure(departure: &proto::Departure) -> Result<Self, Refusal> {
        reason(&departure.reason)?;
        let next = match departure.next_alliance_id.as_ref() {
            [] => None,
            id => Some(AllianceId::try_from(id).map_err(|e| Refusal::field("next_alliance_id", e))?),
        };
        Ok(Self::Departure { next, split: id_or_none("split_id", &departure.split_id)? })
    }
}

/// Checks the form of what an admission says that its shop continues.
fn continuation_for(
    newcomer: ShopId,
    signed: &proto::SignedContinuation,
) -> Result<Box<Continuation>, Refusal> {
    let malformed = |why: &dyn core::fmt::Display| Refusal::field("continuation", why);
    let continuation = Continuation::verify(signed).map_err(|e| malformed(&e))?;
    if continuation.new_shop() == newcomer {
        return Ok(Box::new(continuation));
    }
    Err(malformed(&"is another shop's than the one to be let in"))
}

fn guest_key(bytes: &Bytes) -> Result<[u8; 32], Refusal> {
    bytes.as_ref().try_into().map_err(|_| Refusal::field("guest_key", "is not 32 bytes"))
}

fn reason(text: &str) -> Result<(), Refusal> {
    bounds::text("reason", text, 0..=REASON_CHARS_MAX)
}

fn shop(field: &str, bytes: &Bytes) -> Result<ShopId, Refusal> {
    ShopId::try_from(bytes.as_ref()).map_err(|e| Refusal::field(field, e))
}

fn id_or_none(field: &str, bytes: &Bytes) -> Result<Option<MotionId>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id = bytes.as_ref().try_into().map_err(|_| Refusal::field(field, "is not 32 bytes"))?;
    Ok(Some(id))
}
