//! The tokens that the owner has given to partner apps: who may do what, until when. Kept in one file, written whole
//! and synced before anything is answered; the secrets themselves are kept nowhere.

mod wish;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use hutong_core::{
    answer::RequestTag,
    refusal::{Reason, Refusal},
};
use hutong_record::{DAY_MS, UnixMillis};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

pub(crate) use wish::Wish;

use super::{
    bucket::Bucket,
    scope::Scope,
    secret::{self, Root, Salt, TokenHash, TokenId, random},
};
use crate::{
    alliance::internal,
    data_folder::{self, DataFolderError, Secrecy},
    merchant::repeat::Asked,
};

/// Tokens of one node: each till, app and screen of a shop can have several.
const TOKENS_MAX: usize = 1_024;
/// Tokens in force that were made from one of the owner's, so that no app fills the book.
const DESCENDANTS_MAX: usize = 64;
/// How long an ended token is told apart from one that never was.
const ENDED_KEPT_MS: i64 = 30 * DAY_MS;
/// The form of the file.
const VERSION: u32 = 1;
/// A token takes up to 1,700 bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A token as the book has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Its name for programs.
    pub(crate) id: TokenId,
    /// Its name for people.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) scopes: BTreeSet<Scope>,
    hash: String,
    created_unix_ms: i64,
    expires_unix_ms: i64,
    revoked_unix_ms: Option<i64>,
    /// What it was made from; nothing: the owner made it.
    pub(crate) parent: Option<TokenId>,
    /// In the long run.
    pub(crate) calls_per_second: u32,
    /// The request that made it, where a repeat gets the same answer; its text then grows from this salt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_by: Option<(Asked, Salt)>,
}

impl Entry {
    /// When it was made.
    pub(crate) fn created(&self) -> UnixMillis {
        moment(self.created_unix_ms)
    }

    /// From when on it is worth nothing.
    pub(crate) fn expires(&self) -> UnixMillis {
        moment(self.expires_unix_ms)
    }

    /// When it was taken back.
    pub(crate) fn revoked(&self) -> Option<UnixMillis> {
        self.revoked_unix_ms.map(moment)
    }

    /// As it was told to whoever made it.
    fn at_first(self) -> Self {
        Self { revoked_unix_ms: None, ..self }
    }

    fn ended_unix_ms(&self) -> i64 {
        self.revoked_unix_ms.unwrap_or(i64::MAX).min(self.expires_unix_ms)
    }

    fn is_in_force(&self, now: UnixMillis) -> bool {
        now.ms() < self.ended_unix_ms()
    }
}

fn moment(ms: i64) -> UnixMillis {
    UnixMillis::EPOCH.saturating_add_ms(ms)
}

/// A token that was shown and holds.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Its name for programs.
    pub(crate) id: TokenId,
    /// Its name for people.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) scopes: BTreeSet<Scope>,
    /// From when on it is worth nothing.
    pub(crate) expires: UnixMillis,
    /// Cancelled when it is taken back.
    pub(crate) revoked: CancellationToken,
}

/// Why there is no book.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] DataFolderError),
    /// The file is not what this program wrote.
    #[error("{path} is not a list of tokens ({what}): move it away, and give the apps new tokens")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    tokens: Vec<Entry>,
}

#[derive(Debug)]
struct Live {
    entry: Entry,
    hash: TokenHash,
    bucket: Bucket,
    revoked: CancellationToken,
    last_use: Option<UnixMillis>,
}

/// All tokens of a node.
#[derive(Debug)]
pub(crate) struct Book {
    path: PathBuf,
    root: Mutex<Root>,
    /// Held from reading the book to writing it; the book itself is not, so that calls go on while the disk works.
    writing: Mutex<()>,
    tokens: Mutex<BTreeMap<TokenId, Live>>,
}

impl Book {
    /// The book in a file, of the owner with this token; an empty one where there is no file.
    pub(crate) fn open(path: PathBuf, owner_token: &str) -> Result<Self, BookError> {
        let damaged = |what: String| BookError::Damaged { path: path.clone(), what };
        let entries = match data_folder::read_secret_within(&path, FILE_BYTES_MAX)? {
            None => Vec::new(),
            Some(bytes) => {
                let stored: Stored =
                    serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
                if stored.version != VERSION {
                    return Err(damaged(format!("version {}", stored.version)));
                }
                stored.tokens
            }
        };
        let mut tokens = BTreeMap::new();
        for entry in entries {
            let hash = TokenHash::from_hex(&entry.hash).ok_or_else(|| damaged("a hash".into()))?;
            tokens.insert(entry.id, Live::new(entry, hash));
        }
        let root = Mutex::new(Root::of(owner_token));
        Ok(Self { path, root, writing: Mutex::default(), tokens: Mutex::new(tokens) })
    }

    /// The owner has another token. What was told under the one before stays good, and cannot be told again.
    pub(crate) fn set_owner(&self, owner_token: &str) {
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Root::of(owner_token);
    }

    fn grow(&self, id: TokenId, salt: &Salt) -> Zeroizing<String> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner).grow(id, salt)
    }

    /// Every change of the map is one call, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TokenId, Live>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> BTreeMap<TokenId, Entry> {
        self.lock().iter().map(|(id, live)| (*id, live.entry.clone())).collect()
    }

    fn write(&self, entries: &BTreeMap<TokenId, Entry>) -> Result<(), Refusal> {
        let stored = Stored { version: VERSION, tokens: entries.values().cloned().collect() };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(|error| internal(&error))?;
        data_folder::replace(&self.path, &bytes, Secrecy::Secret).map_err(|error| internal(&error))
    }

    /// The token of a text, if it holds now and has a call left.
    ///
    /// # Errors
    /// `TOKEN_INVALID`, `TOKEN_EXPIRED`, `TOKEN_REVOKED`.
    pub(crate) fn show(&self, text: &str, now: UnixMillis) -> Result<Shown, Refusal> {
        let invalid = || Refusal::new(Reason::TokenInvalid);
        let id = secret::id_of(text).ok_or_else(invalid)?;
        let hash = TokenHash::of(text);
        let mut tokens = self.lock();
        let live = tokens.get_mut(&id).filter(|live| live.hash == hash).ok_or_else(invalid)?;
        if live.entry.revoked().is_some() {
            return Err(Refusal::new(Reason::TokenRevoked));
        }
        if !live.entry.is_in_force(now) {
            return Err(Refusal::new(Reason::TokenExpired));
        }
        live.last_use = Some(now);
        Ok(Shown {
            id,
            name: live.entry.name.clone(),
            scopes: live.entry.scopes.clone(),
            expires: live.entry.expires(),
            revoked: live.revoked.clone(),
        })
    }

    /// Counts a call of a token, and of all that it was made from: however many are made from one, together they make
    /// no more calls than it may. A call that is refused counts for none of them.
    ///
    /// # Errors
    /// `RATE_LIMITED`, with when the next call can be made.
    pub(crate) fn count(&self, id: TokenId, now: Instant) -> Result<(), Refusal> {
        let mut tokens = self.lock();
        if !tokens.contains_key(&id) {
            return Err(Refusal::new(Reason::TokenInvalid));
        }
        let line = lineage(&tokens, id);
        let wait = line.iter().filter_map(|id| tokens.get_mut(id)?.bucket.look(now).err()).max();
        if let Some(wait) = wait {
            return Err(Refusal::new(Reason::RateLimited).with("retry_ms", wait.as_millis()));
        }
        for id in line {
            let taken = tokens.get_mut(&id).map(|live| live.bucket.take(now));
            debug_assert!(matches!(taken, Some(Ok(()))), "it was looked at just now");
        }
        Ok(())
    }

    /// Makes a token, from another one or for the owner. Its text is told here alone; a request that is repeated gets the
    /// token and the text that it got first.
    ///
    /// # Errors
    /// `FIELD_INVALID`, `SCOPE_MISSING` where the parent may not do that itself, `TOKEN_LIMIT_REACHED`,
    /// `REQUEST_ID_REUSED`, `INTERNAL`.
    pub(crate) fn create(
        &self,
        wish: Wish,
        parent: Option<TokenId>,
        now: UnixMillis,
    ) -> Result<(Entry, Zeroizing<String>), Refusal> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.entries();
        let parent = parent.map(|id| entries.get(&id).cloned().ok_or(Refusal::new(Reason::TokenUnknown)));
        let parent = parent.transpose()?;
        // It may have been taken back since the call was let in.
        match &parent {
            Some(parent) if parent.revoked_unix_ms.is_some() => {
                return Err(Refusal::new(Reason::TokenRevoked));
            }
            Some(parent) if parent.expires() <= now => return Err(Refusal::new(Reason::TokenExpired)),
            Some(_) | None => {}
        }
        let tag = wish.request.clone();
        if let Some(repeated) = self.made_before(&entries, tag.as_ref(), parent.as_ref(), now)? {
            return Ok(repeated);
        }
        let mut entry = wish::wished(wish, parent.as_ref(), now)?;
        forget_ended(&mut entries, now.saturating_add_ms(-ENDED_KEPT_MS));
        make_room(&mut entries, parent.as_ref(), now)?;
        entry.id = std::iter::repeat_with(TokenId::random)
            .find(|id| id.as_ref().map_or(true, |id| !entries.contains_key(id)))
            .expect("an endless iterator ends with what was looked for")?;
        let text = match tag {
            None => secret::fresh(entry.id)?,
            Some(tag) => {
                let salt = random()?;
                entry.made_by = Some((Asked::new(&tag, now), salt));
                self.grow(entry.id, &salt)
            }
        };
        let hash = TokenHash::of(&text);
        entry.hash = hash.to_hex();
        entries.insert(entry.id, entry.clone());
        self.write(&entries)?;
        let mut tokens = self.lock();
        tokens.retain(|id, _| entries.contains_key(id));
        tokens.insert(entry.id, Live::new(entry.clone(), hash));
        Ok((entry, text))
    }

    /// What a request made when it was made first, and nothing where it was not. Callers do not share request ids.
    fn made_before(
        &self,
        entries: &BTreeMap<TokenId, Entry>,
        tag: Option<&RequestTag>,
        parent: Option<&Entry>,
        now: UnixMillis,
    ) -> Result<Option<(Entry, Zeroizing<String>)>, Refusal> {
        let Some(tag) = tag else { return Ok(None) };
        let caller = parent.map(|parent| parent.id);
        for entry in entries.values().filter(|entry| entry.parent == caller) {
            let Some((asked, salt)) = &entry.made_by else { continue };
            if asked.is_repeated_by(tag, now)? {
                let text = self.grow(entry.id, salt);
                // The owner's token was replaced since, so that the text cannot be told again.
                if TokenHash::of(&text).to_hex() != entry.hash {
                    return Err(Refusal::new(Reason::RequestIdReused).with("request_id", &tag.id));
                }
                return Ok(Some((entry.clone().at_first(), text)));
            }
        }
        Ok(None)
    }

    /// Takes a token back, and all that were made from it.
    ///
    /// # Errors
    /// `TOKEN_UNKNOWN`, `INTERNAL`.
    pub(crate) fn revoke(&self, id: TokenId, now: UnixMillis) -> Result<Entry, Refusal> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.entries();
        if !entries.contains_key(&id) {
            return Err(Refusal::new(Reason::TokenUnknown));
        }
        let mut family = BTreeSet::from([id]);
        family.extend(descendants(&entries, id));
        for id in &family {
            let Some(entry) = entries.get_mut(id) else { continue };
            entry.revoked_unix_ms.get_or_insert(now.ms());
        }
        self.write(&entries)?;
        let mut tokens = self.lock();
        for id in &family {
            let (Some(live), Some(entry)) = (tokens.get_mut(id), entries.get(id)) else { continue };
            live.entry = entry.clone();
            live.revoked.cancel();
        }
        entries.remove(&id).ok_or(Refusal::new(Reason::TokenUnknown))
    }

    /// One token, and when it was last shown.
    pub(crate) fn get(&self, id: TokenId) -> Option<(Entry, Option<UnixMillis>)> {
        self.lock().get(&id).map(|live| (live.entry.clone(), live.last_use))
    }

    /// All tokens, oldest first.
    pub(crate) fn list(&self) -> Vec<(Entry, Option<UnixMillis>)> {
        let mut all: Vec<_> = self.lock().values().map(|live| (live.entry.clone(), live.last_use)).collect();
        all.sort_by_key(|(entry, _)| (entry.created_unix_ms, entry.id));
        all
    }
}

impl Live {
    fn new(entry: Entry, hash: TokenHash) -> Self {
        let bucket = Bucket::new(entry.calls_per_second, Instant::now());
        Self { entry, hash, bucket, revoked: CancellationToken::new(), last_use: None }
    }
}

/// A token and what it was made from, one above the other. A parent is older than its child, so the line ends; one that
/// has been forgotten ended long ago, and its children with it.
fn lineage(tokens: &BTreeMap<TokenId, Live>, id: TokenId) -> Vec<TokenId> {
    let parent = |id: &TokenId| tokens.get(id).and_then(|live| live.entry.parent);
    // The file could say otherwise of what is older; a line is no longer than the book.
    std::iter::successors(Some(id), parent).take(DESCENDANTS_MAX + 1).collect()
}

/// All that were made from a token, and from those.
fn descendants(entries: &BTreeMap<TokenId, Entry>, of: TokenId) -> BTreeSet<TokenId> {
    let mut found = BTreeSet::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        for entry in entries.values().filter(|entry| entry.parent == Some(parent)) {
            if found.insert(entry.id) {
                parents.push(entry.id);
            }
        }
    }
    found
}

fn forget_ended(entries: &mut BTreeMap<TokenId, Entry>, before: UnixMillis) {
    entries.retain(|_, entry| entry.ended_unix_ms() > before.ms());
}

/// Refuses where the book is full of tokens in force. Ended ones make room, those that ended first before the others.
fn make_room(
    entries: &mut BTreeMap<TokenId, Entry>,
    parent: Option<&Entry>,
    now: UnixMillis,
) -> Result<(), Refusal> {
    let full = |limit: usize| Refusal::new(Reason::TokenLimitReached).with("limit", limit);
    if let Some(parent) = parent {
        let mut root = parent.id;
        while let Some(above) = entries.get(&root).and_then(|entry| entry.parent) {
            root = above;
        }
        let family = descendants(entries, root);
        let in_force = family.iter().filter(|id| entries.get(id).is_some_and(|e| e.is_in_force(now))).count();
        if in_force >= DESCENDANTS_MAX {
            return Err(full(DESCENDANTS_MAX));
        }
    }
    while entries.len() >= TOKENS_MAX {
        let ended = entries.values().filter(|entry| !entry.is_in_force(now));
        let oldest = ended.min_by_key(|entry| entry.ended_unix_ms()).map(|entry| entry.id);
        entries.remove(&oldest.ok_or_else(|| full(TOKENS_MAX))?);
    }
    Ok(())
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
