//! The charter: the signed rules of an alliance.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;
use hutong_record::{AllianceId, Currency, Identity, IdentityError, UnixMillis, alliance_id, proto};
use prost::Message as _;

use crate::{
    bounds,
    refusal::Refusal,
    roster::{CATEGORY_CHARS_MAX, MotionId},
};

mod rules;
mod settings;
mod settlement;

pub use rules::{AttributionRules, PayingModel};
pub use settings::Settings;
pub use settlement::SettlementRules;

/// How far ahead of a node's clock a time may lie before it is held back, milliseconds.
pub const CLOCK_AHEAD_MS_MAX: i64 = 10 * 60_000;

const NAME_CHARS_MAX: usize = 80;
const PURPOSE_CHARS_MAX: usize = 1_000;
const UTC_OFFSET_MINUTES_MAX: i32 = 14 * 60;
const VOTES_MAX: u32 = 100;
/// Late entry: up to a hundred years, so that old books can be brought in.
const LATE_ENTRY_MS_MAX: i64 = 100 * 366 * 86_400_000;
const ATTRIBUTION_WINDOW_MS_MAX: i64 = 10 * 366 * 86_400_000;
/// The longest charter: its texts at four bytes a character, and the founder's identity.
const CHARTER_BYTES_MAX: usize = 8_192;

/// Rules that were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charter {
    /// The alliance that they found.
    pub id: AllianceId,
    /// The alliance's name.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// The one currency of its books.
    pub currency: Currency,
    /// Added to UTC to find its day.
    pub utc_offset_minutes: i32,
    /// Votes of core members that admit a shop.
    pub admission_votes: u32,
    /// Votes of core members that remove a shop.
    pub removal_votes: u32,
    /// How late a till may report.
    pub late_entry_ms_max: i64,
    /// How old a touch may be and still be credited.
    pub attribution_window_ms: i64,
    /// Which touches count, and who is paid.
    pub attribution: AttributionRules,
    /// How long shops have to settle.
    pub settlement: SettlementRules,
    /// How the alliance decides about itself, until votes amend it.
    pub settings: Settings,
    /// When its first season ends; none: never, until votes say otherwise.
    pub season_end: Option<UnixMillis>,
    /// The alliance that it comes from.
    pub origin: Option<Origin>,
    /// The first core member.
    pub founder: Identity,
    /// The founder's trade; empty: none that is limited.
    pub founder_category: String,
    /// When it was founded.
    pub created: UnixMillis,
    bytes: Bytes,
}

/// Where an alliance comes from, as its charter says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The alliance before.
    pub alliance: AllianceId,
    /// The motion there that split it; none: its season was over.
    pub motion: Option<MotionId>,
}

impl Origin {
    fn parse(message: &proto::Origin) -> Result<Self, Refusal> {
        let alliance = AllianceId::try_from(message.alliance_id.as_ref());
        let motion = match message.motion_id.as_ref() {
            [] => None,
            id => Some(id.try_into().map_err(|_| Refusal::field("origin.motion_id", "is not 32 bytes"))?),
        };
        Ok(Self { alliance: alliance.map_err(|e| Refusal::field("origin.alliance_id", e))?, motion })
    }
}

/// Why bytes are not a charter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CharterError {
    /// Not the message, or too long.
    #[error("the charter is malformed")]
    Malformed,
    /// A rule out of bounds.
    #[error("the charter is refused: {0}")]
    Rule(#[from] Refusal),
    /// The founder's identity.
    #[error("the charter's founder is refused: {0}")]
    Founder(#[from] IdentityError),
}

impl Charter {
    /// Checks a charter. Its id is the hash of its exact bytes, so whoever was told the id can trust the rules.
    pub fn parse(bytes: Bytes) -> Result<Self, CharterError> {
        if bytes.len() > CHARTER_BYTES_MAX {
            return Err(CharterError::Malformed);
        }
        let message = proto::Charter::decode(bytes.clone()).map_err(|_| CharterError::Malformed)?;
        let founder = Identity::verify(message.founder.as_ref().ok_or(CharterError::Malformed)?)?;
        Self::check(&message)?;
        let (settings, season_end) = Settings::founding(&message)?;
        if message.salt.len() != 16 {
            return Err(CharterError::Malformed);
        }
        Ok(Self {
            id: alliance_id(&bytes),
            currency: message.currency_code.parse().map_err(|e| Refusal::field("currency_code", e))?,
            name: message.name,
            purpose: message.purpose,
            utc_offset_minutes: message.utc_offset_minutes,
            admission_votes: message.admission_votes,
            removal_votes: message.removal_votes,
            late_entry_ms_max: message.late_entry_ms_max,
            attribution_window_ms: message.attribution_window_ms,
            attribution: AttributionRules::parse(
                message.attribution.as_ref(),
                message.attribution_window_ms,
            )?,
            settlement: SettlementRules::parse(message.settlement.as_ref())?,
            settings,
            season_end,
            origin: message.origin.as_ref().map(Origin::parse).transpose()?,
            founder,
            founder_category: message.founder_category,
            created: UnixMillis::new(message.created_unix_ms)
                .map_err(|e| Refusal::field("created_unix_ms", e))?,
            bytes,
        })
    }

    fn check(message: &proto::Charter) -> Result<(), Refusal> {
        bounds::text("name", &message.name, 1..=NAME_CHARS_MAX)?;
        bounds::text("purpose", &message.purpose, 0..=PURPOSE_CHARS_MAX)?;
        bounds::text("founder_category", &message.founder_category, 0..=CATEGORY_CHARS_MAX)?;
        let offset = -UTC_OFFSET_MINUTES_MAX..=UTC_OFFSET_MINUTES_MAX;
        bounds::number("utc_offset_minutes", message.utc_offset_minutes, offset)?;
        bounds::number("admission_votes", message.admission_votes, 1..=VOTES_MAX)?;
        bounds::number("removal_votes", message.removal_votes, 1..=VOTES_MAX)?;
        bounds::number("late_entry_ms_max", message.late_entry_ms_max, 0..=LATE_ENTRY_MS_MAX)?;
        bounds::number("attribution_window_ms", message.attribution_window_ms, 0..=ATTRIBUTION_WINDOW_MS_MAX)
    }

    /// Its exact bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Writes a charter and checks it as everybody else will.
    pub fn write(message: &proto::Charter) -> Result<Self, CharterError> {
        let bytes: Vec<u8> = message.encode_to_vec();
        Self::parse(bytes.into())
    }

    /// Checks a moment that a till reports against this node's clock.
    pub fn check_entry_time(&self, at: UnixMillis, now: UnixMillis) -> Result<(), Refusal> {
        use crate::refusal::Reason;
        if at.ms_since(now) > CLOCK_AHEAD_MS_MAX {
            return Err(Refusal::new(Reason::TimeAhead));
        }
        if now.ms_since(at) > self.late_entry_ms_max {
            return Err(Refusal::new(Reason::TimeTooOld));
        }
        Ok(())
    }
}
