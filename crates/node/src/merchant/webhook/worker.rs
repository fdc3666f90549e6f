//! Delivery: one task a webhook, one message at a time, in the order of the journal. A message is tried again with
//! growing, jittered pauses; after its last attempt it is a dead letter, and the next one's turn comes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hutong_core::refusal::{Reason, Refusal};
use hutong_store::journal::Lsn;
use hutong_wire::merchant::v1::{EventType, WatchResponse};
use serde_json::json;

use super::{
    hook::{Dead, Hook},
    post::{Failure, Message, Poster},
};
use crate::{
    alliance::{Hosted, internal},
    clock,
    merchant::{auth::random, event},
};

/// The pause after the first failure; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause, also where a receiver asks for more.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// How often the place is written while messages flow. A crash sends those since again, under the same ids.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Of a record's id in a message's.
const MARK_CHARS: usize = 32;

/// Sends a webhook's events until it is removed or the node stops.
pub(super) async fn run(hook: Arc<Hook>, hosted: Arc<Hosted>, poster: Arc<Poster>) {
    let stop = hook.stop.clone();
    let mut courier = None;
    tokio::select! {
        () = stop.cancelled() => {}
        () = go_on(&mut courier, hook, hosted, poster) => {}
    }
    if let Some(Err(refusal)) = courier.as_mut().map(Courier::save) {
        tracing::warn!(%refusal, "a webhook's place was not written");
    }
}

/// Delivers until the alliance is closed. What fails in the node itself, such as a full disk, may pass: delivery goes on
/// behind the last event dealt with, after a pause that grows while nothing is dealt with.
async fn go_on(courier: &mut Option<Courier>, hook: Arc<Hook>, hosted: Arc<Hosted>, poster: Arc<Poster>) {
    let (mut failures, mut reached) = (0, None);
    loop {
        let refusal = match courier {
            Some(courier) => match courier.deliver_all().await {
                Ok(()) => return,
                Err(refusal) => refusal,
            },
            None => match Courier::new(hook.clone(), hosted.clone(), poster.clone()) {
                Ok(begun) => {
                    *courier = Some(begun);
                    continue;
                }
                Err(refusal) => refusal,
            },
        };
        let after = courier.as_ref().map(|courier| courier.after);
        failures = if after == reached { failures + 1 } else { 1 };
        reached = after;
        tracing::error!(webhook = %hook.id, %refusal, failures, "a webhook waits for the node to recover");
        hook.progress().last_error = "the node failed; its log says why".to_owned();
        tokio::time::sleep(pause(failures, None, random().unwrap_or_default())).await;
    }
}

struct Courier {
    hook: Arc<Hook>,
    hosted: Arc<Hosted>,
    poster: Arc<Poster>,
    after: Lsn,
    saved: (Lsn, Instant),
}

impl Courier {
    fn new(hook: Arc<Hook>, hosted: Arc<Hosted>, poster: Arc<Poster>) -> Result<Self, Refusal> {
        let token = hook.progress().resume_token.clone();
        let after = match event::resume_after(&hosted, &token) {
            // Another journal, as after a restore: rather twice, under the same ids, than never.
            Err(refusal) if refusal.reason == Reason::FieldInvalid => {
                tracing::warn!(webhook = %hook.id, token, "its place is not in this journal: it begins anew");
                Lsn(0)
            }
            // A journal that cannot be read now says nothing about the place.
            found => found?,
        };
        Ok(Self { hook, hosted, poster, after, saved: (after, Instant::now()) })
    }

    async fn deliver_all(&mut self) -> Result<(), Refusal> {
        let mut positions = self.hosted.positions();
        loop {
            let reachable = *positions.borrow_and_update();
            while self.after < reachable {
                let (events, last) = event::read_after(&self.hosted, self.after).await?;
                for event in &events {
                    if self.hook.wants(event.r#type()) {
                        self.deliver(event).await?;
                        self.reached(event::place_of(&event.resume_token))?;
                    }
                }
                self.reached(Some(last))?;
            }
            let due = tokio::time::Instant::from_std(self.saved.1 + SAVE_EVERY);
            tokio::select! {
                changed = positions.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(due), if self.saved.0 != self.after => self.save()?,
            }
        }
    }

    fn reached(&mut self, place: Option<Lsn>) -> Result<(), Refusal> {
        self.after = place.unwrap_or(self.after);
        if self.saved.1.elapsed() >= SAVE_EVERY { self.save() } else { Ok(()) }
    }

    /// A few bytes and a sync; the task is this webhook's own, and its place in the runtime is not missed for so long.
    fn save(&mut self) -> Result<(), Refusal> {
        if self.saved.0 != self.after {
            let token = event::token_at(&self.hosted, self.after)?;
            self.hook.progress().resume_token = token;
            tokio::task::block_in_place(|| self.hook.save_position())?;
        }
        self.saved = (self.after, Instant::now());
        Ok(())
    }

    /// Sends one event until it is taken or given up.
    async fn deliver(&self, event: &WatchResponse) -> Result<(), Refusal> {
        let message = message(&self.hosted, event);
        let mut attempts = 0;
        loop {
            let outcome = self.poster.post(&self.hook.target, &self.hook.keyring(), &message).await;
            let Err(failure) = outcome else {
                let mut progress = self.hook.progress();
                progress.delivered += 1;
                (progress.failed_attempts, progress.last_error) = (0, String::new());
                return Ok(());
            };
            attempts += 1;
            {
                let mut progress = self.hook.progress();
                (progress.failed_attempts, progress.last_error) = (attempts, failure.why.clone());
            }
            tracing::debug!(webhook = %self.hook.id, attempts, why = failure.why, "a message was not taken");
            if attempts >= self.hook.attempts_max && self.give_up(event, &message, attempts, &failure).await?
            {
                self.hook.progress().failed_attempts = 0;
                return Ok(());
            }
            tokio::time::sleep(pause(attempts, failure.retry_after, random()?)).await;
        }
    }

    /// Makes a message a dead letter; false: there is no room.
    async fn give_up(
        &self,
        event: &WatchResponse,
        message: &Message,
        attempts: u32,
        failure: &Failure,
    ) -> Result<bool, Refusal> {
        let dead = Dead {
            message_id: message.id.clone(),
            body: message.body.clone(),
            event_type: event.r#type().as_str_name().to_owned(),
            record_id: event.record_id.clone(),
            given_up_unix_ms: clock::now().ms(),
            attempts,
            last_error: failure.why.clone(),
        };
        let hook = self.hook.clone();
        // After a crash the message may be given up a second time: it is one letter all the same.
        let add = move |letters: &mut Vec<Dead>| {
            letters.retain(|letter| letter.message_id != dead.message_id);
            letters.push(dead);
        };
        let kept = tokio::task::spawn_blocking(move || hook.change_dead(add)).await;
        let kept = kept.map_err(|error| internal(&error))??;
        if !kept {
            tracing::warn!(webhook = %self.hook.id, "no room for dead letters: delivery waits");
        }
        Ok(kept)
    }
}

/// The pause after so many failures, half of it random.
fn pause(failures: u32, asked: Option<Duration>, random: [u8; 2]) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX);
    let jittered = full / 2 + full / 2 * u32::from(u16::from_be_bytes(random)) / u32::from(u16::MAX);
    asked.map_or(jittered, |asked| jittered.max(asked.min(PAUSE_MAX)))
}

/// The message of an event; the same whenever it is made.
fn message(hosted: &Hosted, event: &WatchResponse) -> Message {
    let id = match event.record_id.get(..MARK_CHARS) {
        Some(mark) => format!("msg_{mark}"),
        None => format!("msg_gap_{}", event.resume_token),
    };
    let time = event.record_time.as_ref().map(|time| (time.seconds, time.nanos));
    let data = json!({
        "alliance_id": hosted.id().to_string(),
        "shop_id": hosted.me().to_string(),
        "record_id": event.record_id,
        "author_id": event.author_id,
        "voucher_id": event.voucher_id,
        "promotion_id": event.promotion_id,
        "motion_id": event.motion_id,
        "resume_token": event.resume_token,
    });
    Message { id, body: body(&type_name(event.r#type()), time, &data) }
}

/// A message that tells nothing.
pub(super) fn test_message(hook: &Hook) -> Result<Message, Refusal> {
    let mark = data_encoding::HEXLOWER.encode(&random::<8>()?);
    let now = clock::now().ms();
    let time = (now / 1_000, i32::try_from(now % 1_000).unwrap_or(0) * 1_000_000);
    let data = json!({ "webhook_id": hook.id.to_string() });
    Ok(Message { id: format!("msg_test_{mark}"), body: body("test", Some(time), &data) })
}

fn body(kind: &str, time: Option<(i64, i32)>, data: &serde_json::Value) -> String {
    let time = time.and_then(|(seconds, nanos)| jiff::Timestamp::new(seconds, nanos).ok());
    json!({ "type": kind, "timestamp": time.map(|time| time.to_string()), "data": data }).to_string()
}

/// `voucher_redeemed` of `EVENT_TYPE_VOUCHER_REDEEMED`.
fn type_name(kind: EventType) -> String {
    let name = kind.as_str_name();
    name.strip_prefix("EVENT_TYPE_").unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_within_their_bounds_and_heed_the_receiver() {
        let most = |failures| pause(failures, None, [0xff; 2]);
        let least = |failures| pause(failures, None, [0; 2]);
        assert_eq!((least(1), most(1)), (PAUSE_FIRST / 2, PAUSE_FIRST));
        assert_eq!(most(4), PAUSE_FIRST * 8);
        for failures in 1..50 {
            assert!(least(failures) >= PAUSE_FIRST / 2 && most(failures) <= PAUSE_MAX);
        }
        assert_eq!(pause(1, Some(Duration::from_secs(30)), [0; 2]), Duration::from_secs(30));
        assert_eq!(pause(1, Some(Duration::from_secs(1 << 40)), [0; 2]), PAUSE_MAX);
        assert_eq!(pause(20, Some(Duration::ZERO), [0xff; 2]), PAUSE_MAX);
    }

    #[test]
    fn types_are_told_in_small_letters() {
        assert_eq!(type_name(EventType::VoucherRedeemed), "voucher_redeemed");
        let body = body("sale", Some((1_800_000_000, 500_000_000)), &json!({"a": 1}));
        assert_eq!(body, r#"{"data":{"a":1},"timestamp":"2027-01-15T08:00:00.5Z","type":"sale"}"#);
    }
}
