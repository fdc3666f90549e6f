//! Webhooks: events sent to addresses, for apps that cannot hold a stream.

mod hook;
mod post;
mod sign;
mod worker;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hutong_core::{
    answer::RequestTag,
    refusal::{Reason, Refusal},
};
use hutong_record::UnixMillis;
use hutong_wire::{
    merchant::v1::{
        CreateWebhookRequest, CreateWebhookResponse, DeadLetter, DeleteWebhookRequest, DeleteWebhookResponse,
        EventType, ListDeadLettersRequest, ListDeadLettersResponse, ListWebhooksRequest,
        ListWebhooksResponse, ReplayDeadLettersRequest, ReplayDeadLettersResponse,
        RotateWebhookSecretRequest, RotateWebhookSecretResponse, TestWebhookRequest, TestWebhookResponse,
        Webhook, webhook_service_server::WebhookService,
    },
    trade,
};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

use super::{MerchantPort, event, page, repeat, respond};
use crate::{
    alliance::{Hosted, internal},
    clock,
    node::Node,
};
use hook::{Agreed, Dead, Hook, HookError, HookId};
use post::{Poster, Target};

/// Webhooks of one node: each has a task, and a receiver that is down is called for an hour.
const WEBHOOKS_MAX: usize = 16;
const EVENT_TYPES_MAX: usize = 64;
const ATTEMPTS_DEFAULT: u32 = 15;
const ATTEMPTS_MAX: u32 = 20;
const OVERLAP_MS_DEFAULT: i64 = 24 * 3_600_000;
/// Longer than any receiver needs to change over.
const OVERLAP_MS_MAX: i64 = 30 * 24 * 3_600_000;
/// Dead letters sent again by one call.
const REPLAY_MAX: usize = 100;
/// How long a call that replays goes on; one message more may take its whole time after that.
const REPLAY_TIME: Duration = Duration::from_secs(10);

/// All webhooks of a node, and their tasks.
#[derive(Debug)]
pub(super) struct Webhooks {
    node: Arc<Node>,
    folder: PathBuf,
    poster: Arc<Poster>,
    tasks: TaskTracker,
    /// Held while one is added, so that the bound holds.
    adding: tokio::sync::Mutex<()>,
    hooks: Mutex<BTreeMap<HookId, Arc<Hook>>>,
}

impl Webhooks {
    /// Opens the webhooks of a folder and goes on with each. Must be called within the runtime.
    pub(super) fn open(node: Arc<Node>, folder: PathBuf) -> Result<Self, HookError> {
        let loaded = Hook::load_all(&folder, node.config().merchant.webhook_allow_http)?;
        let webhooks = Self {
            node,
            folder,
            poster: Arc::default(),
            tasks: TaskTracker::new(),
            adding: tokio::sync::Mutex::default(),
            hooks: Mutex::default(),
        };
        for hook in loaded {
            let hook = Arc::new(hook);
            webhooks.lock().insert(hook.id, hook.clone());
            match webhooks.node.hosted(Some(hook.alliance)) {
                Ok(hosted) => webhooks.start(hook, hosted),
                Err(_) => hook.progress().last_error = "this node is in no such alliance".to_owned(),
            }
        }
        Ok(webhooks)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HookId, Arc<Hook>>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, hook: Arc<Hook>, hosted: Arc<Hosted>) {
        let (stop, ends) = (self.node.stop().clone(), hook.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => ends.cancel(),
                () = ends.cancelled() => {}
            }
        });
        self.tasks.spawn(worker::run(hook, hosted, self.poster.clone()));
    }

    /// Waits until every place is written; the node must have been told to stop.
    pub(super) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn get(&self, id: &str) -> Result<Arc<Hook>, Refusal> {
        let id: HookId = id.parse().map_err(|error| Refusal::field("webhook_id", error))?;
        self.lock().get(&id).cloned().ok_or(Refusal::new(Reason::WebhookUnknown))
    }

    async fn create(&self, request: CreateWebhookRequest, hosted: Arc<Hosted>) -> Result<Arc<Hook>, Refusal> {
        let agreed = self.agree(&request, &hosted)?;
        let _one_at_a_time = self.adding.lock().await;
        if let Some(hook) = self.made_before(agreed.request.as_ref(), agreed.created)? {
            return Ok(hook);
        }
        if self.lock().len() >= WEBHOOKS_MAX {
            return Err(Refusal::new(Reason::WebhookLimitReached).with("limit", WEBHOOKS_MAX));
        }
        let (folder, stop) = (self.folder.clone(), self.node.stop().child_token());
        let made = tokio::task::spawn_blocking(move || Hook::create(&folder, agreed, stop)).await;
        let hook = Arc::new(made.map_err(|error| internal(&error))??);
        self.lock().insert(hook.id, hook.clone());
        self.start(hook.clone(), hosted);
        Ok(hook)
    }

    /// The webhook that a request made when it was made first.
    fn made_before(&self, tag: Option<&RequestTag>, now: UnixMillis) -> Result<Option<Arc<Hook>>, Refusal> {
        let Some(tag) = tag else { return Ok(None) };
        for hook in self.lock().values() {
            let Some((asked, _)) = &hook.made_by else { continue };
            if asked.is_repeated_by(tag, now)? {
                return Ok(Some(hook.clone()));
            }
        }
        Ok(None)
    }

    async fn rotate(&self, request: RotateWebhookSecretRequest) -> Result<Arc<Hook>, Refusal> {
        let tag = repeat::tag(&request.request_id, "RotateWebhookSecret", &request)?;
        let overlap = request.overlap.as_ref().map(|overlap| trade::duration_ms("overlap", overlap));
        let overlap_ms = overlap.transpose()?.unwrap_or(OVERLAP_MS_DEFAULT);
        if overlap_ms > OVERLAP_MS_MAX {
            return Err(Refusal::field("overlap", "must be at most 30 days"));
        }
        let (hook, now) = (self.get(&request.webhook_id)?, clock::now());
        let rotated = hook.clone();
        let rotation = move || rotated.rotate(now.saturating_add_ms(overlap_ms), tag.as_ref(), now);
        tokio::task::spawn_blocking(rotation).await.map_err(|error| internal(&error))??;
        Ok(hook)
    }

    fn agree(&self, request: &CreateWebhookRequest, hosted: &Hosted) -> Result<Agreed, Refusal> {
        let after = event::resume_after(hosted, &request.resume_token)?;
        if request.event_types.len() > EVENT_TYPES_MAX {
            return Err(Refusal::field("event_types", format!("names more than {EVENT_TYPES_MAX}")));
        }
        let kind = |number: &i32| match EventType::try_from(*number) {
            Ok(EventType::Unspecified | EventType::Bookmark | EventType::Gap) | Err(_) => {
                Err(Refusal::field("event_types", format!("{number} is no type of an event")))
            }
            Ok(kind) => Ok(kind),
        };
        Ok(Agreed {
            target: Target::parse(&request.url, self.node.config().merchant.webhook_allow_http)?,
            alliance: hosted.id(),
            event_types: request.event_types.iter().map(kind).collect::<Result<_, _>>()?,
            attempts_max: match request.attempts_max {
                0 => ATTEMPTS_DEFAULT,
                some if some <= ATTEMPTS_MAX => some,
                _ => return Err(Refusal::field("attempts_max", format!("must be 1 to {ATTEMPTS_MAX}"))),
            },
            resume_token: event::token_at(hosted, after)?,
            created: clock::now(),
            request: repeat::tag(&request.request_id, "CreateWebhook", request)?,
        })
    }

    async fn delete(&self, id: &str) -> Result<(), Refusal> {
        let hook = self.get(id)?;
        let removed = hook.clone();
        let removal = tokio::task::spawn_blocking(move || removed.remove()).await;
        removal.map_err(|error| internal(&error))??;
        self.lock().remove(&hook.id);
        Ok(())
    }

    async fn test(&self, id: &str) -> Result<TestWebhookResponse, Refusal> {
        let hook = self.get(id)?;
        let message = worker::test_message(&hook)?;
        Ok(match self.poster.post(&hook.target, &hook.keyring(), &message).await {
            Ok(status) => TestWebhookResponse {
                delivered: true,
                http_status: status.as_u16().into(),
                error: String::new(),
            },
            Err(failure) => TestWebhookResponse {
                delivered: false,
                http_status: failure.status.map_or(0, |status| status.as_u16().into()),
                error: failure.why,
            },
        })
    }

    async fn replay(&self, request: ReplayDeadLettersRequest) -> Result<ReplayDeadLettersResponse, Refusal> {
        let hook = self.get(&request.webhook_id)?;
        if request.message_ids.len() > REPLAY_MAX {
            return Err(Refusal::field("message_ids", format!("names more than {REPLAY_MAX}")));
        }
        let dead = hook.progress().dead.clone();
        if let Some(unknown) =
            request.message_ids.iter().find(|id| !dead.iter().any(|letter| letter.message_id == **id))
        {
            return Err(Refusal::field("message_ids", format!("{unknown} is no dead letter")));
        }
        let wanted = |letter: &&Dead| {
            request.message_ids.is_empty() || request.message_ids.contains(&letter.message_id)
        };
        let mut answer = ReplayDeadLettersResponse::default();
        let mut taken = Vec::new();
        let begun = Instant::now();
        for letter in dead.iter().filter(wanted).take(REPLAY_MAX) {
            // What was delivered must be noted before the caller's time is up; the rest is for the next call.
            if begun.elapsed() >= REPLAY_TIME {
                break;
            }
            match self.poster.post(&hook.target, &hook.keyring(), &letter.message()).await {
                Ok(_) => taken.push(letter.message_id.clone()),
                Err(failure) => {
                    answer.failed_count += 1;
                    answer.last_error = failure.why;
                    // Nobody is there: the others would only wait for the same.
                    if failure.status.is_none() {
                        break;
                    }
                }
            }
        }
        answer.delivered_count = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        let forget =
            move || hook.change_dead(|dead| dead.retain(|letter| !taken.contains(&letter.message_id)));
        tokio::task::spawn_blocking(forget).await.map_err(|error| internal(&error))??;
        Ok(answer)
    }
}

#[tonic::async_trait]
impl WebhookService for MerchantPort {
    async fn create_webhook(
        &self,
        request: Request<CreateWebhookRequest>,
    ) -> Result<Response<CreateWebhookResponse>, Status> {
        respond(request, async |request| {
            let hosted = self.hosted(&request.alliance_id)?;
            let hook = self.webhooks.create(request, hosted).await?;
            let secret = hook.keyring().newest.text().to_string();
            Ok(CreateWebhookResponse { webhook: Some(describe_at_first(&hook)), secret })
        })
        .await
    }

    async fn rotate_webhook_secret(
        &self,
        request: Request<RotateWebhookSecretRequest>,
    ) -> Result<Response<RotateWebhookSecretResponse>, Status> {
        respond(request, async |request| {
            let hook = self.webhooks.rotate(request).await?;
            let secret = hook.keyring().newest.text().to_string();
            Ok(RotateWebhookSecretResponse { webhook: Some(describe(&hook)), secret })
        })
        .await
    }

    async fn list_webhooks(
        &self,
        request: Request<ListWebhooksRequest>,
    ) -> Result<Response<ListWebhooksResponse>, Status> {
        respond(request, async |request| {
            let mut hooks: Vec<_> = self.webhooks.lock().values().cloned().collect();
            hooks.sort_by_key(|hook| (hook.created, hook.id));
            let key = |hook: &Arc<Hook>| format!("{:016x}-{}", hook.created.ms(), hook.id);
            let (shown, next_page_token) = page(hooks, key, request.page_size, &request.page_token)?;
            Ok(ListWebhooksResponse {
                webhooks: shown.iter().map(|h| describe(h)).collect(),
                next_page_token,
            })
        })
        .await
    }

    async fn delete_webhook(
        &self,
        request: Request<DeleteWebhookRequest>,
    ) -> Result<Response<DeleteWebhookResponse>, Status> {
        respond(request, async |request| {
            self.webhooks.delete(&request.webhook_id).await?;
            Ok(DeleteWebhookResponse {})
        })
        .await
    }

    async fn test_webhook(
        &self,
        request: Request<TestWebhookRequest>,
    ) -> Result<Response<TestWebhookResponse>, Status> {
        respond(request, async |request| self.webhooks.test(&request.webhook_id).await).await
    }

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        respond(request, async |request| {
            let dead = self.webhooks.get(&request.webhook_id)?.progress().dead.clone();
            let key = |letter: &Dead| format!("{:016x}-{}", letter.given_up_unix_ms, letter.message_id);
            let mut dead = dead;
            dead.sort_by_key(key);
            let (shown, next_page_token) = page(dead, key, request.page_size, &request.page_token)?;
            let dead_letters = shown.into_iter().map(dead_letter).collect();
            Ok(ListDeadLettersResponse { dead_letters, next_page_token })
        })
        .await
    }

    async fn replay_dead_letters(
        &self,
        request: Request<ReplayDeadLettersRequest>,
    ) -> Result<Response<ReplayDeadLettersResponse>, Status> {
        respond(request, async |request| self.webhooks.replay(request).await).await
    }
}

fn describe(hook: &Hook) -> Webhook {
    let progress = hook.progress();
    Webhook {
        id: hook.id.to_string(),
        url: hook.target.text(),
        alliance_id: hook.alliance.to_string(),
        event_types: hook.event_types.iter().map(|kind| (*kind).into()).collect(),
        create_time: Some(trade::timestamp(hook.created)),
        attempts_max: hook.attempts_max,
        resume_token: progress.resume_token.clone(),
        dead_letter_count: u32::try_from(progress.dead.len()).unwrap_or(u32::MAX),
        failed_attempts: progress.failed_attempts,
        last_error: progress.last_error.clone(),
        delivered_count: progress.delivered,
        old_secrets_expire_time: hook.keyring().older_until(clock::now()).map(trade::timestamp),
    }
}

/// A webhook as it was when it was made: a repeat gets the first answer, whatever came of it since.
fn describe_at_first(hook: &Hook) -> Webhook {
    let now = describe(hook);
    Webhook {
        resume_token: hook
            .made_by
            .as_ref()
            .map_or_else(|| now.resume_token.clone(), |(_, first)| first.clone()),
        dead_letter_count: 0,
        failed_attempts: 0,
        last_error: String::new(),
        delivered_count: 0,
        old_secrets_expire_time: None,
        ..now
    }
}

fn dead_letter(dead: Dead) -> DeadLetter {
    DeadLetter {
        message_id: dead.message_id,
        r#type: EventType::from_str_name(&dead.event_type).unwrap_or_default().into(),
        record_id: dead.record_id,
        give_up_time: Some(trade::timestamp(UnixMillis::EPOCH.saturating_add_ms(dead.given_up_unix_ms))),
        attempts: dead.attempts,
        last_error: dead.last_error,
    }
}
