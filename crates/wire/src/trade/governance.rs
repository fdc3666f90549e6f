//! Rules, motions and voices.

use hutong_core::{
    alliance::Alliance,
    charter::{Origin, Settings},
    refusal::Refusal,
    roster::{BarCause, MotionId, MotionState, Tally},
};
use hutong_record::{AllianceId, RecordId, ShopId, UnixMillis, proto as record};
use prost::{Message as _, bytes::Bytes};

use super::{Parsed, duration, duration_ms, record_id, shop, time, timestamp};
use crate::merchant::v1 as merchant;

/// A motion that a shop proposes, before it is fitted to what was decided so far.
#[derive(Debug, Clone, PartialEq)]
pub enum Proposal {
    /// A shop to be let in that was proposed before, or a member's new trade.
    Admission {
        /// Which.
        shop: ShopId,
        /// Whether it is to vote.
        core: bool,
        /// Its trade.
        category: String,
    },
    /// Anything else.
    Motion(record::motion::Motion),
}

/// What a request proposes.
pub fn proposal(content: Option<merchant::propose_motion_request::Content>) -> Parsed<Proposal> {
    use merchant::propose_motion_request::Content;
    use record::motion::Motion;
    let content = content.ok_or_else(|| Refusal::field("content", "is missing"))?;
    Ok(Proposal::Motion(match content {
        Content::Admission(admission) => {
            let merchant::AdmissionMotion { shop_id, core, category, continues_shop_id } = admission;
            if !continues_shop_id.is_empty() {
                let why = "is said by the shop itself, when it asks to be let in";
                return Err(Refusal::field("continues_shop_id", why));
            }
            return Ok(Proposal::Admission { shop: shop("shop_id", &shop_id)?, core, category });
        }
        Content::Amendment(amendment) => {
            let change = amendment.change.as_ref().map(governance).transpose()?;
            Motion::Amendment(record::Amendment { change, reason: amendment.reason, ..Default::default() })
        }
        Content::CoreChange(change) => {
            let shop_id = shop_bytes("shop_id", &change.shop_id)?;
            Motion::CoreChange(record::CoreChange { shop_id, core: change.core, reason: change.reason })
        }
        Content::CategoryLimit(limit) => {
            let merchant::CategoryLimit { category, shops_max } = limit;
            Motion::CategoryLimit(record::CategoryLimit { category, shops_max })
        }
        Content::Strike(strike) => Motion::Strike(record::Strike {
            shop_id: shop_bytes("shop_id", &strike.shop_id)?,
            cause: strike.cause,
            evidence_id: match strike.evidence_id.as_str() {
                "" => Bytes::new(),
                text => record_id("evidence_id", text)?.as_bytes().to_vec().into(),
            },
            reason: strike.reason,
        }),
        Content::Annulment(annulment) => {
            let strike_id = motion_id("strike_id", &annulment.strike_id)?.to_vec().into();
            Motion::Annulment(record::Annulment { strike_id })
        }
        Content::Renewal(renewal) => {
            let ends = renewal.end_time.ok_or_else(|| Refusal::field("end_time", "is missing"))?;
            let ends_unix_ms = time("end_time", &ends)?.ms();
            Motion::Renewal(record::Renewal { season: renewal.season, ends_unix_ms })
        }
        Content::Split(split) => {
            let ids = split.shop_ids.iter().map(|id| shop("shop_ids", id));
            let mut ids = ids.collect::<Result<Vec<_>, _>>()?;
            ids.sort_unstable();
            let shop_ids = ids.iter().map(|id| Bytes::copy_from_slice(id.as_bytes())).collect();
            Motion::Split(record::Split { name: split.name, shop_ids, reason: split.reason })
        }
    }))
}

fn shop_bytes(field: &str, text: &str) -> Parsed<Bytes> {
    shop(field, text).map(|shop| Bytes::copy_from_slice(shop.as_bytes()))
}

/// A motion's id.
pub fn motion_id(field: &str, text: &str) -> Parsed<MotionId> {
    record_id(field, text).map(|id| *id.as_bytes())
}

/// A motion's id, or none where the text is empty.
pub fn motion_id_or_none(field: &str, text: &str) -> Parsed<Option<MotionId>> {
    if text.is_empty() { Ok(None) } else { motion_id(field, text).map(Some) }
}

/// A motion's id as text.
pub fn motion_text(id: MotionId) -> String {
    RecordId::new(id).to_string()
}

/// Rules as a request names them.
pub fn governance(message: &merchant::Governance) -> Parsed<record::Governance> {
    let objection = message.objection_period.as_ref();
    Ok(record::Governance {
        admission_votes: message.admission_votes,
        removal_votes: message.removal_votes,
        amendment_votes: message.amendment_votes,
        amendment_percent: message.amendment_percent,
        admission_sponsors: message.admission_sponsors,
        objection_ms: objection.map(|period| duration_ms("objection_period", period)).transpose()?,
        objection_votes: message.objection_votes,
        dormancy_days: message.dormancy_days,
        category_shops: message.category_shops,
        strike_votes: message.strike_votes,
        strike_limit: message.strike_limit,
        strike_days: message.strike_days,
        suspension_days: message.suspension_days,
        appeal_days: message.appeal_days,
        season_end_unix_ms: match &message.season_end_time {
            Some(end) => Some(time("season_end_time", end)?.ms()),
            None => None,
        },
    })
}

/// Rules in force, and when the season ends.
pub fn governance_message(settings: &Settings, season_end: Option<UnixMillis>) -> merchant::Governance {
    merchant::Governance {
        admission_votes: Some(settings.admission_votes),
        removal_votes: Some(settings.removal_votes),
        amendment_votes: Some(settings.amendment_votes),
        amendment_percent: Some(settings.amendment_percent),
        admission_sponsors: Some(settings.admission_sponsors),
        objection_period: Some(duration(settings.objection_ms)),
        objection_votes: Some(settings.objection_votes),
        dormancy_days: Some(settings.dormancy_days),
        category_shops: Some(settings.category_shops),
        strike_votes: Some(settings.strike_votes),
        strike_limit: Some(settings.strike_limit),
        strike_days: Some(settings.strike_days),
        suspension_days: Some(settings.suspension_days),
        appeal_days: Some(settings.appeal_days),
        season_end_time: season_end.map(timestamp),
    }
}

fn change_message(change: &record::Governance) -> merchant::Governance {
    merchant::Governance {
        admission_votes: change.admission_votes,
        removal_votes: change.removal_votes,
        amendment_votes: change.amendment_votes,
        amendment_percent: change.amendment_percent,
        admission_sponsors: change.admission_sponsors,
        objection_period: change.objection_ms.map(duration),
        objection_votes: change.objection_votes,
        dormancy_days: change.dormancy_days,
        category_shops: change.category_shops,
        strike_votes: change.strike_votes,
        strike_limit: change.strike_limit,
        strike_days: change.strike_days,
        suspension_days: change.suspension_days,
        appeal_days: change.appeal_days,
        season_end_time: None,
    }
}

/// A motion, and how it stands in an alliance.
pub fn motion_message(
    alliance: &Alliance,
    id: MotionId,
    motion: record::Motion,
    tally: &Tally,
    now: UnixMillis,
) -> merchant::Motion {
    let annulled = alliance.government().strikes.get(&id).and_then(|strike| strike.annulled);
    let (state, decided) = state(tally.state_at(now), annulled);
    merchant::Motion {
        id: motion_text(id),
        state: state.into(),
        decide_time: decided.map(timestamp),
        for_shop_ids: tally.voices_for.iter().map(ShopId::to_string).collect(),
        against_shop_ids: tally.voices_against.iter().map(ShopId::to_string).collect(),
        votes_needed: tally.needed,
        proposer_id: tally.proposer.to_string(),
        propose_time: Some(timestamp(tally.proposed)),
        content: motion.motion.map(|motion| content(motion, alliance.appeal(&id))),
    }
}

fn state(state: MotionState, annulled: Option<UnixMillis>) -> (merchant::MotionState, Option<UnixMillis>) {
    use merchant::MotionState as Told;
    match state {
        MotionState::Open => (Told::Open, None),
        MotionState::Announced { until } => (Told::Announced, Some(until)),
        MotionState::Carried { at } => match annulled {
            Some(at) => (Told::Annulled, Some(at)),
            None => (Told::Carried, Some(at)),
        },
        MotionState::Objected { at } => (Told::Objected, Some(at)),
        MotionState::Lapsed { at } => (Told::Lapsed, Some(at)),
    }
}

/// Bytes that were checked when the motion came in.
fn hex(bytes: &Bytes) -> String {
    RecordId::try_from(bytes.as_ref()).map(|id| id.to_string()).unwrap_or_default()
}

/// The shop that an admission says to continue; its form was checked when the motion came in.
fn continued(signed: &record::SignedContinuation) -> String {
    let message = record::Continuation::decode(signed.continuation.clone());
    message.map(|message| hex(&message.old_shop_id)).unwrap_or_default()
}

fn content(motion: record::motion::Motion, appeal: Option<&str>) -> merchant::motion::Content {
    use merchant::motion::Content;
    use record::motion::Motion;
    match motion {
        Motion::Admission(admission) => {
            let identity = admission.identity.as_ref();
            let identity = identity.and_then(|signed| hutong_record::Identity::verify(signed).ok());
            Content::Admission(merchant::AdmissionMotion {
                shop_id: identity.map(|identity| identity.id().to_string()).unwrap_or_default(),
                core: admission.core,
                category: admission.category,
                continues_shop_id: admission.continuation.as_ref().map(continued).unwrap_or_default(),
            })
        }
        Motion::Removal(removal) => Content::Removal(merchant::RemovalMotion {
            shop_id: hex(&removal.shop_id),
            last_sequence: removal.last_sequence,
            reason: removal.reason,
        }),
        Motion::Amendment(amendment) => Content::Amendment(merchant::AmendmentMotion {
            change: amendment.change.as_ref().map(change_message),
            reason: amendment.reason,
        }),
        Motion::CoreChange(change) => Content::CoreChange(merchant::CoreChangeMotion {
            shop_id: hex(&change.shop_id),
            core: change.core,
            reason: change.reason,
        }),
        Motion::CategoryLimit(limit) => Content::CategoryLimit(merchant::CategoryLimit {
            category: limit.category,
            shops_max: limit.shops_max,
        }),
        Motion::Strike(strike) => Content::Strike(merchant::StrikeMotion {
            shop_id: hex(&strike.shop_id),
            cause: strike.cause,
            evidence_id: hex(&strike.evidence_id),
            reason: strike.reason,
            appeal: appeal.unwrap_or_default().to_owned(),
        }),
        Motion::Annulment(annulment) => {
            Content::Annulment(merchant::AnnulmentMotion { strike_id: hex(&annulment.strike_id) })
        }
        Motion::Renewal(renewal) => Content::Renewal(merchant::RenewalMotion {
            season: renewal.season,
            end_time: UnixMillis::new(renewal.ends_unix_ms).ok().map(timestamp),
        }),
        Motion::Split(split) => Content::Split(merchant::SplitMotion {
            name: split.name,
            shop_ids: split.shop_ids.iter().map(hex).collect(),
            reason: split.reason,
        }),
    }
}

/// Where an alliance comes from.
pub fn origin_message(origin: &Origin) -> merchant::Origin {
    merchant::Origin {
        alliance_id: origin.alliance.to_string(),
        motion_id: origin.motion.map(motion_text).unwrap_or_default(),
    }
}

/// The alliance that a new one comes from, and the split, if it is one.
pub fn origin(message: &merchant::Origin) -> Parsed<(AllianceId, Option<MotionId>)> {
    let alliance = super::alliance("origin.alliance_id", &message.alliance_id)?;
    let alliance = alliance.ok_or_else(|| Refusal::field("origin.alliance_id", "is missing"))?;
    Ok((alliance, motion_id_or_none("origin.motion_id", &message.motion_id)?))
}

/// Why a member begins nothing new.
pub const fn bar_message(cause: BarCause) -> merchant::MemberBar {
    match cause {
        BarCause::Suspended => merchant::MemberBar::Suspended,
        BarCause::SeasonOver => merchant::MemberBar::SeasonOver,
        BarCause::Departed => merchant::MemberBar::Departed,
    }
}
