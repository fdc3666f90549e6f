//! One webhook as it is kept: what was agreed and the dead letters in one file, how far it has come in another, which
//! is written often.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use hutong_core::{
    answer::RequestTag,
    refusal::{Reason, Refusal},
};
use hutong_record::{AllianceId, UnixMillis};
use hutong_wire::merchant::v1::EventType;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    post::{Message, Target},
    sign::{Keyring, Secret},
};
use crate::{
    alliance::internal,
    data_folder::{self, DataFolderError, Secrecy},
    merchant::{auth::TokenId, repeat::Asked},
    whole_file,
};

/// Messages given up that one webhook keeps. Beyond, delivery stops rather than lose one.
pub(super) const DEAD_LETTERS_MAX: usize = 1_000;
/// The form of the file.
const VERSION: u32 = 1;
/// 1,000 dead letters of less than 1.5 KB, twice.
const FILE_BYTES_MAX: u64 = 4 << 20;
const POSITION_BYTES_MAX: u64 = 256;

/// A webhook's name for programs: 16 hex digits, as tokens have them.
pub(super) type HookId = TokenId;

/// Why webhooks cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] DataFolderError),
    /// A file is not what this program wrote.
    #[error("{path} is no webhook ({what}): move it away, and add the webhook again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dead {
    pub(super) message_id: String,
    pub(super) body: String,
    /// The event's type, as in the proto.
    pub(super) event_type: String,
    pub(super) record_id: String,
    pub(super) given_up_unix_ms: i64,
    pub(super) attempts: u32,
    pub(super) last_error: String,
}

impl Dead {
    /// What is sent again.
    pub(super) fn message(&self) -> Message {
        Message { id: self.message_id.clone(), body: self.body.clone() }
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    id: HookId,
    url: String,
    secret: String,
    alliance_id: String,
    event_types: Vec<String>,
    created_unix_ms: i64,
    attempts_max: u32,
    dead: Vec<Dead>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    older_secrets: Vec<OlderSecret>,
    /// The request that made it, and the place where it then began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_by: Option<(Asked, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotated_by: Option<Asked>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OlderSecret {
    secret: String,
    until_unix_ms: i64,
}

/// How delivery goes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// As in `WatchResponse`: the last event dealt with.
    pub(super) resume_token: String,
    /// For the message that is being sent.
    pub(super) failed_attempts: u32,
    /// What the last attempt met with.
    pub(super) last_error: String,
    /// Since the start.
    pub(super) delivered: u64,
    /// Oldest first.
    pub(super) dead: Vec<Dead>,
}

/// One webhook.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) id: HookId,
    pub(super) target: Target,
    pub(super) alliance: AllianceId,
    /// Empty: everything.
    pub(super) event_types: Vec<EventType>,
    pub(super) created: UnixMillis,
    pub(super) attempts_max: u32,
    /// Cancelled when it is removed, or the node stops.
    pub(super) stop: CancellationToken,
    folder: PathBuf,
    /// Held while a file is written or removed. Whether it is removed.
    writing: Mutex<bool>,
    progress: Mutex<Progress>,
    /// The request that made it, and the place where it then began.
    pub(super) made_by: Option<(Asked, String)>,
    keys: Mutex<Keys>,
}

/// What a webhook signs with, and the request that gave it the newest secret.
#[derive(Debug, Clone)]
struct Keys {
    ring: Keyring,
    rotated_by: Option<Asked>,
}

/// What a new webhook is to be.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) target: Target,
    pub(super) alliance: AllianceId,
    pub(super) event_types: Vec<EventType>,
    pub(super) attempts_max: u32,
    pub(super) resume_token: String,
    pub(super) created: UnixMillis,
    /// Where a repeat is to get the same answer.
    pub(super) request: Option<RequestTag>,
}

impl Hook {
    /// A new one, on the disk when this returns.
    ///
    /// # Errors
    /// `INTERNAL`.
    pub(super) fn create(folder: &Path, agreed: Agreed, stop: CancellationToken) -> Result<Self, Refusal> {
        let Agreed { target, alliance, event_types, attempts_max, resume_token, created, request } = agreed;
        let keys = Keys { ring: Keyring::new(Secret::fresh()?), rotated_by: None };
        let hook = Self {
            id: HookId::random()?,
            target,
            made_by: request.map(|tag| (Asked::new(&tag, created), resume_token.clone())),
            alliance,
            event_types,
            created,
            attempts_max,
            stop,
            folder: folder.to_owned(),
            writing: Mutex::default(),
            progress: Mutex::new(Progress { resume_token, ..Progress::default() }),
            keys: Mutex::new(keys.clone()),
        };
        // The place first: without the other file it is nothing, and the other file without it would begin anywhere.
        hook.save_position()?;
        hook.save(&[], &keys)?;
        Ok(hook)
    }

    /// All webhooks of a folder.
    pub(super) fn load_all(folder: &Path, allow_http: bool) -> Result<Vec<Self>, HookError> {
        data_folder::create_secret_folder(folder)?;
        let failed = |source| DataFolderError::Io { path: folder.to_owned(), source };
        let mut hooks = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                hooks.push(Self::load(folder, &path, allow_http)?);
            }
        }
        Ok(hooks)
    }

    fn load(folder: &Path, path: &Path, allow_http: bool) -> Result<Self, HookError> {
        let damaged = |what: &str| HookError::Damaged { path: path.to_owned(), what: what.to_owned() };
        let bytes = data_folder::read_secret_within(path, FILE_BYTES_MAX)?.ok_or_else(|| damaged("gone"))?;
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
        if stored.version != VERSION {
            return Err(damaged("of another version"));
        }
        let position = folder.join(format!("{}.position", stored.id));
        let position = data_folder::read_secret_within(&position, POSITION_BYTES_MAX)?.unwrap_or_default();
        // Without its place it begins at the beginning: better twice than never.
        let position = String::from_utf8(position).ok().filter(|token| !token.trim().is_empty());
        let resume_token = position.map_or_else(|| "0".to_owned(), |token| token.trim().to_owned());
        let keys = Keys::of(&stored).ok_or_else(|| damaged("its secret"))?;
        let event_types = stored.event_types.iter().map(|name| EventType::from_str_name(name));
        Ok(Self {
            id: stored.id,
            // An address that is not allowed any more is kept out by the worker, not by refusing to start.
            target: Target::parse(&stored.url, true).map_err(|_| damaged("its address"))?,
            alliance: stored.alliance_id.parse().map_err(|_| damaged("its alliance"))?,
            event_types: event_types.collect::<Option<_>>().ok_or_else(|| damaged("an event's type"))?,
            created: UnixMillis::EPOCH.saturating_add_ms(stored.created_unix_ms),
            attempts_max: stored.attempts_max,
            stop: CancellationToken::new(),
            folder: folder.to_owned(),
            writing: Mutex::default(),
            progress: Mutex::new(Progress { resume_token, dead: stored.dead, ..Progress::default() }),
            made_by: stored.made_by,
            keys: Mutex::new(keys),
        })
        .inspect(|hook| {
            if Target::parse(&stored.url, allow_http).is_err() {
                let error = "merchant.webhook_allow_http does not allow this address";
                hook.progress().last_error = error.to_owned();
                hook.stop.cancel();
            }
        })
    }

    /// Each change of it is whole even where its thread panicked.
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it wants to hear of events of a type.
    pub(super) fn wants(&self, kind: EventType) -> bool {
        self.event_types.is_empty() || self.event_types.contains(&kind) || kind == EventType::Gap
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.id))
    }

    /// Writes how far it has come.
    pub(super) fn save_position(&self) -> Result<(), Refusal> {
        let removed = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if *removed {
            return Ok(());
        }
        let token = self.progress().resume_token.clone();
        let bytes = format!("{token}\n");
        let path = self.file("position");
        data_folder::replace(&path, bytes.as_bytes(), Secrecy::Secret).map_err(|error| internal(&error))
    }

    fn keys(&self) -> Keys {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What messages are signed with now.
    pub(super) fn keyring(&self) -> Keyring {
        self.keys().ring
    }

    /// Gives it a new secret, on the disk first; those before it sign along until a moment. A request that is repeated
    /// changes nothing.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED`, `WEBHOOK_UNKNOWN` where it was removed meanwhile, `INTERNAL`; nothing changed.
    pub(super) fn rotate(
        &self,
        until: UnixMillis,
        request: Option<&RequestTag>,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let removed = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if *removed {
            return Err(Refusal::new(Reason::WebhookUnknown));
        }
        let Keys { ring, rotated_by } = self.keys();
        if let (Some(asked), Some(tag)) = (&rotated_by, request)
            && asked.is_repeated_by(tag, now)?
        {
            return Ok(());
        }
        let ring = ring.rotated(Secret::fresh()?, until, now);
        let keys = Keys { ring, rotated_by: request.map(|tag| Asked::new(tag, now)) };
        let dead = self.progress().dead.clone();
        self.save(&dead, &keys)?;
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn save(&self, dead: &[Dead], keys: &Keys) -> Result<(), Refusal> {
        let older = |(secret, until): &(Secret, UnixMillis)| OlderSecret {
            secret: secret.text().to_string(),
            until_unix_ms: until.ms(),
        };
        let stored = Stored {
            version: VERSION,
            id: self.id,
            url: self.target.text(),
            secret: keys.ring.newest.text().to_string(),
            alliance_id: self.alliance.to_string(),
            event_types: self.event_types.iter().map(|kind| kind.as_str_name().to_owned()).collect(),
            created_unix_ms: self.created.ms(),
            attempts_max: self.attempts_max,
            dead: dead.to_vec(),
            older_secrets: keys.ring.older.iter().map(older).collect(),
            made_by: self.made_by.clone(),
            rotated_by: keys.rotated_by.clone(),
        };
        let bytes = serde_json::to_vec(&stored).map_err(|error| internal(&error))?;
        data_folder::replace(&self.file("json"), &bytes, Secrecy::Secret).map_err(|error| internal(&error))
    }

    /// Changes the dead letters, on the disk first. False: there is no room for one more, and nothing changed.
    ///
    /// # Errors
    /// `INTERNAL`; nothing changed.
    pub(super) fn change_dead(&self, change: impl FnOnce(&mut Vec<Dead>)) -> Result<bool, Refusal> {
        let removed = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if *removed {
            return Ok(true);
        }
        let mut dead = self.progress().dead.clone();
        change(&mut dead);
        if dead.len() > DEAD_LETTERS_MAX {
            return Ok(false);
        }
        self.save(&dead, &self.keys())?;
        self.progress().dead = dead;
        Ok(true)
    }

    /// Ends it, and removes its files.
    ///
    /// # Errors
    /// `INTERNAL`; then it is there again after a restart.
    pub(super) fn remove(&self) -> Result<(), Refusal> {
        self.stop.cancel();
        let mut removed = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for extension in ["json", "position"] {
            whole_file::remove_if_there(&self.file(extension)).map_err(|error| internal(&error))?;
        }
        *removed = true;
        Ok(())
    }
}

impl Keys {
    /// As they are kept; none where one of them is no secret.
    fn of(stored: &Stored) -> Option<Self> {
        let older = stored.older_secrets.iter().map(|older| {
            let until = UnixMillis::EPOCH.saturating_add_ms(older.until_unix_ms);
            Some((Secret::parse(&older.secret)?, until))
        });
        let ring = Keyring { newest: Secret::parse(&stored.secret)?, older: older.collect::<Option<_>>()? };
        Some(Self { ring, rotated_by: stored.rotated_by.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(folder: &Path) -> Hook {
        let agreed = Agreed {
            target: Target::parse("http://127.0.0.1:9/x", false).unwrap(),
            alliance: AllianceId::new([7; 32]),
            event_types: vec![EventType::VoucherRedeemed],
            attempts_max: 3,
            resume_token: "12.0011223344556677".to_owned(),
            created: UnixMillis::EPOCH,
            request: None,
        };
        Hook::create(folder, agreed, CancellationToken::new()).unwrap()
    }

    fn dead(id: usize) -> Dead {
        Dead {
            message_id: format!("msg_{id}"),
            body: "{}".to_owned(),
            event_type: "EVENT_TYPE_SALE".to_owned(),
            record_id: String::new(),
            given_up_unix_ms: 0,
            attempts: 3,
            last_error: "gone".to_owned(),
        }
    }

    #[test]
    fn a_webhook_comes_back_with_its_place_and_dead_letters() {
        let folder = tempfile::tempdir().unwrap();
        let first = hook(folder.path());
        assert!(first.change_dead(|letters| letters.push(dead(1))).unwrap());
        first.progress().resume_token = "13.8899aabbccddeeff".to_owned();
        first.save_position().unwrap();
        let again = Hook::load_all(folder.path(), false).unwrap().pop().unwrap();
        assert_eq!((again.id, &again.target, again.attempts_max), (first.id, &first.target, 3));
        let signed = |hook: &Hook| hook.keyring().sign("msg_1", UnixMillis::EPOCH, b"{}");
        assert_eq!(signed(&again), signed(&first));
        assert_eq!(again.progress().resume_token, "13.8899aabbccddeeff");
        assert_eq!(again.progress().dead, [dead(1)]);
        assert!(again.wants(EventType::VoucherRedeemed) && !again.wants(EventType::Sale));
        first.remove().unwrap();
        // Whatever was under way writes nothing any more.
        first.save_position().unwrap();
        first.change_dead(Vec::clear).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Hook::load_all(folder.path(), false).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_file_is_named_and_a_lost_place_is_the_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let hook = hook(folder.path());
        std::fs::remove_file(hook.file("position")).unwrap();
        let again = Hook::load_all(folder.path(), false).unwrap().pop().unwrap();
        assert_eq!(again.progress().resume_token, "0");
        let whole = std::fs::read_to_string(hook.file("json")).unwrap();
        let renamed = whole.replace("whsec_", "sec_");
        let untyped = whole.replace("VOUCHER_REDEEMED", "VOUCHER_EATEN");
        for bad in ["", "{}", &whole[..whole.len() / 2], &renamed, &untyped] {
            std::fs::write(hook.file("json"), bad).unwrap();
            let outcome = Hook::load_all(folder.path(), false);
            assert!(matches!(outcome, Err(HookError::Damaged { .. })), "{bad}");
        }
    }

    #[test]
    fn a_rotation_is_on_the_disk_and_its_repeat_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let hook = hook(folder.path());
        let at = |ms: i64| UnixMillis::new(1_800_000_000_000 + ms).unwrap();
        let signed = |hook: &Hook, ms| hook.keyring().sign("msg_1", at(ms), b"{}");
        let before = signed(&hook, 0);
        let tag = |hash| RequestTag { id: "r".into(), hash: [hash; 32] };
        hook.rotate(at(1_000), Some(&tag(1)), at(0)).unwrap();
        let both = signed(&hook, 1);
        assert!(both.ends_with(&format!(" {before}")), "{both}");
        hook.rotate(at(1_000), Some(&tag(1)), at(2)).unwrap();
        assert_eq!(signed(&hook, 1), both);
        let other = hook.rotate(at(1_000), Some(&tag(2)), at(2)).unwrap_err();
        assert_eq!(other.reason, Reason::RequestIdReused);
        hook.change_dead(|letters| letters.push(dead(1))).unwrap();
        let again = Hook::load_all(folder.path(), false).unwrap().pop().unwrap();
        assert_eq!((signed(&again, 1), again.progress().dead.len()), (both, 1));
        hook.remove().unwrap();
        assert_eq!(hook.rotate(at(9), None, at(3)).unwrap_err().reason, Reason::WebhookUnknown);
    }

    #[test]
    fn an_address_that_is_not_allowed_any_more_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let agreed = Agreed {
            target: Target::parse("http://192.0.2.1/", true).unwrap(),
            alliance: AllianceId::new([7; 32]),
            event_types: Vec::new(),
            attempts_max: 3,
            resume_token: "0".to_owned(),
            created: UnixMillis::EPOCH,
            request: None,
        };
        Hook::create(folder.path(), agreed, CancellationToken::new()).unwrap();
        let again = Hook::load_all(folder.path(), false).unwrap().pop().unwrap();
        assert!(again.stop.is_cancelled() && again.progress().last_error.contains("allow_http"));
        assert!(!Hook::load_all(folder.path(), true).unwrap().pop().unwrap().stop.is_cancelled());
    }

    #[test]
    fn dead_letters_have_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let hook = hook(folder.path());
        assert!(hook.change_dead(|letters| letters.extend((0..DEAD_LETTERS_MAX).map(dead))).unwrap());
        assert!(!hook.change_dead(|letters| letters.push(dead(0))).unwrap());
        assert_eq!(hook.progress().dead.len(), DEAD_LETTERS_MAX);
    }
}
