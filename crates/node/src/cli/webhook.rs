//! `hutong webhook`.

use std::process::ExitCode;

use clap::Subcommand;
use hutong_client::{Duration, Language, proto, random_request_id};
use serde_json::{Value, json};

use super::{
    Globals,
    output::{Answer, fields, table},
    problem::Problem,
    session::Session,
    show, value,
};

/// `hutong webhook …`
#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Send events to an address from now on; its signing secret is shown once.
    #[command(after_help = "Examples:
  hutong webhook add --url https://example.com/hutong
  hutong webhook add --url http://127.0.0.1:8080/ --event voucher_redeemed --event sale --from 0

Messages are JSON, signed as Standard Webhooks has it (webhook-id, webhook-timestamp, webhook-signature). A message may
come more than once: take each webhook-id once. The node calls the address from inside this shop's network: add none
that you do not trust.")]
    Add {
        /// https, or http to this machine.
        #[arg(long)]
        url: String,
        /// Only events of this type, such as voucher_redeemed; may be given several times [default: all].
        #[arg(long = "event", value_name = "TYPE", value_parser = event_type)]
        events: Vec<proto::EventType>,
        /// Begin after this event's resume token; 0: at the beginning [default: from now on].
        #[arg(long, value_name = "TOKEN", default_value = "")]
        from: String,
        /// Attempts before a message is given up, 1 to 20 [default: 15, about 40 minutes].
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        attempts: u32,
    },
    /// All webhooks, and how delivery goes.
    List,
    /// Give a webhook a new signing secret, shown once; messages are signed with the old one, too, for a while.
    #[command(after_help = "Examples:
  hutong webhook rotate 0011223344556677
  hutong webhook rotate 0011223344556677 --leaked

Each message then bears a signature of every secret (Standard Webhooks: separated by spaces). Give the receiver the new
secret before the overlap is over.")]
    Rotate {
        /// The webhook's id.
        id: String,
        /// How long the old secret goes on, at most 30d [default: 24h].
        #[arg(long, value_name = "DURATION", value_parser = value::duration)]
        overlap: Option<Duration>,
        /// The old secret is known to others: it signs no more, from now on.
        #[arg(long, conflicts_with = "overlap")]
        leaked: bool,
    },
    /// Send no more events to an address, and forget its dead letters.
    Remove {
        /// The webhook's id.
        id: String,
    },
    /// Send a test message now; exits with 1 if it is not taken.
    Test {
        /// The webhook's id.
        id: String,
    },
    /// Messages that were given up.
    Dead {
        /// The webhook's id.
        id: String,
    },
    /// Send messages again that were given up, at most 100 at a time; exits with 1 if one is not taken.
    Replay {
        /// The webhook's id.
        id: String,
        /// Which message; may be given several times [default: the oldest 100].
        #[arg(long = "message", value_name = "ID")]
        messages: Vec<String>,
    },
}

/// A type as `hutong watch` and the messages show it.
fn event_type(text: &str) -> Result<proto::EventType, String> {
    let name = format!("EVENT_TYPE_{}", text.to_ascii_uppercase());
    match proto::EventType::from_str_name(&name) {
        Some(proto::EventType::Unspecified) | None => {
            Err("an event's type is like sale, voucher_issued, voucher_redeemed or redemption_voided"
                .to_owned())
        }
        Some(kind) => Ok(kind),
    }
}

pub(crate) async fn run(globals: &Globals, command: WebhookCommand) -> anyhow::Result<Answer> {
    let session = Session::open(globals).await?;
    match command {
        WebhookCommand::Add { url, events, from, attempts } => {
            let request = proto::CreateWebhookRequest {
                alliance_id: session.alliance_id.clone(),
                url,
                event_types: events.into_iter().map(i32::from).collect(),
                resume_token: from,
                attempts_max: attempts,
                request_id: random_request_id(),
            };
            add(globals, &session, request).await
        }
        WebhookCommand::List => list(&session).await,
        WebhookCommand::Rotate { id, overlap, leaked } => {
            let request_id = random_request_id();
            let overlap = if leaked { Some(Duration::default()) } else { overlap };
            let request = proto::RotateWebhookSecretRequest { webhook_id: id, overlap, request_id };
            rotate(globals, &session, request).await
        }
        WebhookCommand::Remove { id } => {
            let request = proto::DeleteWebhookRequest { webhook_id: id.clone() };
            session.client.delete_webhook(request).await?;
            let text = match session.language {
                Language::En => format!("{id} is removed"),
                Language::Zh => format!("已删除 {id}"),
            };
            Ok(Answer::new(json!({ "id": id, "removed": true }), text))
        }
        WebhookCommand::Test { id } => test(&session, id).await,
        WebhookCommand::Dead { id } => dead(&session, &id).await,
        WebhookCommand::Replay { id, messages } => replay(&session, id, messages).await,
    }
}

async fn add(
    globals: &Globals,
    session: &Session,
    request: proto::CreateWebhookRequest,
) -> anyhow::Result<Answer> {
    let answer = session.client.create_webhook(request).await?;
    let webhook = answer.webhook.ok_or(Problem::Answer("webhook"))?;
    let text = fields([
        ("webhook", webhook.id.clone()),
        ("address", webhook.url.clone()),
        ("events", events(&webhook)),
        ("signing secret", answer.secret.clone()),
    ]);
    let mut json = webhook_json(&webhook);
    json["secret"] = answer.secret.into();
    let hint = match globals.language() {
        Language::En => "The signing secret is shown this once. Try it: hutong webhook test",
        Language::Zh => "签名密钥只显示这一次。可以试发一条：hutong webhook test",
    };
    Ok(Answer::new(json, text).hint(format!("{hint} {}", webhook.id)))
}

async fn rotate(
    globals: &Globals,
    session: &Session,
    request: proto::RotateWebhookSecretRequest,
) -> anyhow::Result<Answer> {
    let answer = session.client.rotate_webhook_secret(request).await?;
    let webhook = answer.webhook.ok_or(Problem::Answer("webhook"))?;
    let until = show::time(webhook.old_secrets_expire_time.as_ref());
    let text = fields([
        ("webhook", webhook.id.clone()),
        ("address", webhook.url.clone()),
        ("signing secret", answer.secret.clone()),
        ("old secret until", until.clone()),
    ]);
    let mut json = webhook_json(&webhook);
    json["secret"] = answer.secret.into();
    let hint = match (globals.language(), webhook.old_secrets_expire_time.is_some()) {
        (Language::En, true) => {
            format!("Give the receiver the new secret before {until}; it is shown this once.")
        }
        (Language::En, false) => "The old secret signs no more. The new one is shown this once.".to_owned(),
        (Language::Zh, true) => format!("新密钥只显示这一次，请在 {until} 之前交给接收方。"),
        (Language::Zh, false) => "旧密钥已停用。新密钥只显示这一次。".to_owned(),
    };
    Ok(Answer::new(json, text).hint(hint))
}

async fn list(session: &Session) -> anyhow::Result<Answer> {
    let webhooks = session.client.all_webhooks().await?;
    let row = |webhook: &proto::Webhook| {
        [
            webhook.id.clone(),
            webhook.url.clone(),
            events(webhook),
            webhook.delivered_count.to_string(),
            webhook.failed_attempts.to_string(),
            webhook.dead_letter_count.to_string(),
            webhook.last_error.clone(),
        ]
    };
    let header = ["id", "address", "events", "taken", "failing", "dead", "last error"];
    let text = table(header, webhooks.iter().map(row).collect());
    Ok(Answer::new(webhooks.iter().map(webhook_json).collect(), text))
}

fn events(webhook: &proto::Webhook) -> String {
    let names: Vec<_> = webhook.event_types().map(|kind| type_name(kind).to_owned()).collect();
    if names.is_empty() { "all".to_owned() } else { names.join(" ") }
}

fn type_name(kind: proto::EventType) -> String {
    show::word(kind.as_str_name(), "EVENT_TYPE_").to_string()
}

fn webhook_json(webhook: &proto::Webhook) -> Value {
    json!({
        "id": webhook.id,
        "url": webhook.url,
        "alliance_id": webhook.alliance_id,
        "event_types": webhook.event_types().map(type_name).collect::<Vec<_>>(),
        "create_time": show::time(webhook.create_time.as_ref()),
        "attempts_max": webhook.attempts_max,
        "resume_token": webhook.resume_token,
        "dead_letter_count": webhook.dead_letter_count,
        "failed_attempts": webhook.failed_attempts,
        "last_error": webhook.last_error,
        "delivered_count": webhook.delivered_count,
        "old_secrets_expire_time": webhook.old_secrets_expire_time.as_ref().map(|time| show::time(Some(time))),
    })
}

async fn test(session: &Session, id: String) -> anyhow::Result<Answer> {
    let answer = session.client.test_webhook(proto::TestWebhookRequest { webhook_id: id.clone() }).await?;
    let text = if answer.delivered {
        format!("{} ({})", session.say("the receiver took it", "对方已接收"), answer.http_status)
    } else {
        format!("{} {}", session.say("not taken:", "对方未接收："), answer.error)
    };
    let json = json!({
        "id": id,
        "delivered": answer.delivered,
        "http_status": answer.http_status,
        "error": answer.error,
    });
    let code = if answer.delivered { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(Answer::new(json, text).exiting(code))
}

async fn dead(session: &Session, id: &str) -> anyhow::Result<Answer> {
    let letters = session.client.all_dead_letters(id).await?;
    let row = |letter: &proto::DeadLetter| {
        [
            letter.message_id.clone(),
            type_name(letter.r#type()),
            show::time(letter.give_up_time.as_ref()),
            letter.attempts.to_string(),
            letter.last_error.clone(),
        ]
    };
    let text =
        table(["message", "type", "given up", "attempts", "last error"], letters.iter().map(row).collect());
    let json = |letter: &proto::DeadLetter| {
        json!({
            "message_id": letter.message_id,
            "type": type_name(letter.r#type()),
            "record_id": letter.record_id,
            "give_up_time": show::time(letter.give_up_time.as_ref()),
            "attempts": letter.attempts,
            "last_error": letter.last_error,
        })
    };
    Ok(Answer::new(letters.iter().map(json).collect(), text))
}

async fn replay(session: &Session, id: String, messages: Vec<String>) -> anyhow::Result<Answer> {
    let request = proto::ReplayDeadLettersRequest { webhook_id: id, message_ids: messages };
    let answer = session.client.replay_dead_letters(request).await?;
    let mut text = format!("taken: {}, not taken: {}", answer.delivered_count, answer.failed_count);
    if !answer.last_error.is_empty() {
        text = format!("{text} ({})", answer.last_error);
    }
    let json = json!({
        "delivered_count": answer.delivered_count,
        "failed_count": answer.failed_count,
        "last_error": answer.last_error,
    });
    let code = if answer.failed_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(Answer::new(json, text).exiting(code))
}
