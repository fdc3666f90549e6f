//! What a new token is to be, and what of it is granted.

use std::collections::BTreeSet;

use hutong_core::{
    answer::RequestTag,
    refusal::{Reason, Refusal},
};
use hutong_record::UnixMillis;

use super::{
    super::{scope::Scope, secret::TokenId},
    DAY_MS, Entry,
};

pub(super) const MINUTE_MS: i64 = 60_000;
const NAME_CHARS_MAX: usize = 80;
pub(super) const LIFETIME_MS_DEFAULT: i64 = 90 * DAY_MS;
pub(super) const LIFETIME_MS_MAX: i64 = 366 * DAY_MS;
/// A till's clerk makes one call a second; a shop's web site some dozens.
const CALLS_PER_SECOND_DEFAULT: u32 = 50;
const CALLS_PER_SECOND_MAX: u32 = 10_000;

/// What a new token is to be.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// Who will use it.
    pub(crate) name: String,
    /// Texts of scopes.
    pub(crate) scopes: Vec<String>,
    /// Nothing: the default.
    pub(crate) lifetime_ms: Option<i64>,
    /// 0: the default.
    pub(crate) calls_per_second: u32,
    /// The request for it, where a repeat is to get the same answer.
    pub(crate) request: Option<RequestTag>,
}

/// The entry that a wish comes to. Id and hash are still to come.
pub(super) fn wished(wish: Wish, parent: Option<&Entry>, now: UnixMillis) -> Result<Entry, Refusal> {
    let chars = wish.name.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || wish.name.chars().any(char::is_control) {
        return Err(Refusal::field("name", format!("must have 1 to {NAME_CHARS_MAX} printable characters")));
    }
    let scopes = scopes(&wish.scopes)?;
    if let Some(missing) = parent.and_then(|parent| scopes.difference(&parent.scopes).next()) {
        return Err(Refusal::new(Reason::ScopeMissing).with("scope", missing));
    }
    Ok(Entry {
        id: TokenId::random()?,
        name: wish.name,
        scopes,
        hash: String::new(),
        created_unix_ms: now.ms(),
        expires_unix_ms: expiry(wish.lifetime_ms, parent, now)?.ms(),
        revoked_unix_ms: None,
        parent: parent.map(|parent| parent.id),
        calls_per_second: rate(wish.calls_per_second, parent)?,
        made_by: None,
    })
}

fn scopes(texts: &[String]) -> Result<BTreeSet<Scope>, Refusal> {
    if texts.is_empty() || texts.len() > 2 * Scope::ALL.len() {
        return Err(Refusal::field("scopes", format!("must name 1 to {} scopes", Scope::ALL.len())));
    }
    texts.iter().map(|text| text.parse().map_err(|error| Refusal::field("scopes", error))).collect()
}

fn expiry(lifetime_ms: Option<i64>, parent: Option<&Entry>, now: UnixMillis) -> Result<UnixMillis, Refusal> {
    let wanted = match (lifetime_ms, parent) {
        (Some(ms), _) if !(MINUTE_MS..=LIFETIME_MS_MAX).contains(&ms) => {
            return Err(Refusal::field("lifetime", "must be 1 minute to 366 days"));
        }
        (Some(ms), _) => now.saturating_add_ms(ms),
        (None, Some(parent)) => parent.expires(),
        (None, None) => now.saturating_add_ms(LIFETIME_MS_DEFAULT),
    };
    Ok(parent.map_or(wanted, |parent| wanted.min(parent.expires())))
}

fn rate(wanted: u32, parent: Option<&Entry>) -> Result<u32, Refusal> {
    let most = parent.map_or(CALLS_PER_SECOND_MAX, |parent| parent.calls_per_second);
    match wanted {
        0 => Ok(parent.map_or(CALLS_PER_SECOND_DEFAULT, |parent| parent.calls_per_second)),
        wanted if wanted <= most => Ok(wanted),
        _ => Err(Refusal::field("calls_per_second", format!("must be 1 to {most}"))),
    }
}
