//! `hutong token`.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use hutong_client::{Client, Duration, Language, Token, proto, random_request_id};
use serde_json::{Value, json};

use super::{
    Globals,
    output::{Answer, fields, table},
    plain_file,
    problem::Problem,
    session::{Session, node_endpoint},
    show, value,
    voucher::{MORE_EN, MORE_ZH},
};

/// Entries of one page of the audit log.
const PAGE_SIZE_MAX: usize = 1_000;

/// `hutong token …`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for a partner app; its secret is shown once.
    #[command(after_help = "Examples:
  hutong token create --name POS --scope sale.write --scope voucher.redeem
  hutong token create --name 小二 --scope promotion.read --scope touch.write --expires 30d --rate 5

Scopes: sale.write, voucher.read, voucher.issue, voucher.redeem, voucher.void, voucher.revoke, voucher.transfer,
touch.write, promotion.read, promotion.write, alliance.read, alliance.write, report.read, settlement.read,
settlement.write, channel.read, channel.write, event.read, node.read, node.write. Give an app no more than it needs.")]
    Create(Wish),
    /// Make a weaker token from another one, without the owner's help.
    #[command(after_help = "Example:
  hutong token attenuate --token-file pos.token --name 'POS, morning' --scope sale.write --expires 8h")]
    Attenuate {
        /// The file that holds the stronger token's secret; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        token_file: String,
        #[command(flatten)]
        wish: Wish,
    },
    /// All tokens, without their secrets.
    List,
    /// Take a token back, and all that were made from it; their streams end at once.
    Revoke {
        /// The token's id.
        id: String,
    },
    /// What was changed and what was denied, newest first.
    #[command(after_help = "Examples:
  hutong token audit --limit 20
  hutong token audit --filter 'code = PERMISSION_DENIED AND time > 2026-05-01T00:00:00+08:00'")]
    Audit {
        /// At most so many entries.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Only those; fields: token_id, token_name, method, code, reason, time.
        #[arg(long, default_value = "")]
        filter: String,
    },
}

/// What a new token is to be.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// Who will use it, 1 to 80 characters.
    #[arg(long)]
    name: String,
    /// What it may do; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    /// For how long, 1m to 366d [default: 90d, or as long as the token that it is made from].
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    expires: Option<Duration>,
    /// Calls a second in the long run, 1 to 10000 [default: 50, or as the token that it is made from].
    #[arg(long, value_name = "CALLS", default_value_t = 0, hide_default_value = true)]
    rate: u32,
}

pub(crate) async fn run(globals: &Globals, command: TokenCommand) -> anyhow::Result<Answer> {
    match command {
        TokenCommand::Create(wish) => {
            let session = Session::open(globals).await?;
            let Wish { name, scopes, expires: lifetime, rate: calls_per_second } = wish;
            let request = proto::CreateTokenRequest {
                name,
                scopes,
                lifetime,
                calls_per_second,
                request_id: random_request_id(),
            };
            let answer = session.client.create_token(request).await?;
            made(globals, answer.token, answer.secret)
        }
        TokenCommand::Attenuate { token_file, wish } => {
            let client = client_of(globals, &token_file).await?;
            let Wish { name, scopes, expires: lifetime, rate: calls_per_second } = wish;
            let request = proto::AttenuateTokenRequest {
                name,
                scopes,
                lifetime,
                calls_per_second,
                request_id: random_request_id(),
            };
            let answer = client.attenuate_token(request).await?;
            made(globals, answer.token, answer.secret)
        }
        TokenCommand::List => list(&Session::open(globals).await?).await,
        TokenCommand::Revoke { id } => {
            let session = Session::open(globals).await?;
            let answer = session.client.revoke_token(proto::RevokeTokenRequest { token_id: id }).await?;
            let token = answer.token.ok_or(Problem::Answer("token"))?;
            Ok(Answer::new(token_json(&token), token_text(&token)))
        }
        TokenCommand::Audit { limit, filter } => {
            let limit = usize::try_from(limit).unwrap_or(PAGE_SIZE_MAX);
            audit(&Session::open(globals).await?, limit, &filter).await
        }
    }
}

/// A client that shows the token in a file instead of the owner's.
async fn client_of(globals: &Globals, token_file: &str) -> anyhow::Result<Client> {
    let bytes = plain_file::read(token_file)?;
    let text = String::from_utf8(bytes).ok().filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| Problem::Usage(format!("{token_file} holds no token")))?;
    let endpoint = node_endpoint(&globals.data()?)?;
    let client = Client::connect(&endpoint, &Token::new(&text)).await.context("the node")?;
    Ok(client.with_language(globals.language()))
}

fn made(globals: &Globals, token: Option<proto::Token>, secret: String) -> anyhow::Result<Answer> {
    let token = token.ok_or(Problem::Answer("token"))?;
    let text = format!("{}\n\n{secret}", token_text(&token));
    let mut json = token_json(&token);
    json["secret"] = secret.into();
    let hint = match globals.language() {
        Language::En => "The secret is shown this once. Whoever has it may do what the token may.",
        Language::Zh => "令牌只显示这一次。谁持有它，谁就有上述权限。",
    };
    Ok(Answer::new(json, text).hint(hint))
}

async fn list(session: &Session) -> anyhow::Result<Answer> {
    let tokens = session.client.all_tokens().await?;
    let row = |token: &proto::Token| {
        [
            token.id.clone(),
            token.name.clone(),
            token.scopes.join(" "),
            state(token).to_owned(),
            show::time(token.expire_time.as_ref()),
            show::time(token.last_use_time.as_ref()),
            token.parent_id.clone(),
        ]
    };
    let header = ["id", "name", "scopes", "state", "until", "last used", "made from"];
    let text = table(header, tokens.iter().map(row).collect());
    Ok(Answer::new(tokens.iter().map(token_json).collect(), text))
}

fn state(token: &proto::Token) -> &'static str {
    let expires = token.expire_time.as_ref().map_or(i64::MAX, |time| time.seconds);
    if token.revoke_time.is_some() {
        "revoked"
    } else if expires <= crate::clock::now().ms() / 1_000 {
        "expired"
    } else {
        "in force"
    }
}

fn token_text(token: &proto::Token) -> String {
    fields([
        ("token", token.id.clone()),
        ("name", token.name.clone()),
        ("scopes", token.scopes.join(" ")),
        ("state", state(token).to_owned()),
        ("until", show::time(token.expire_time.as_ref())),
        ("calls a second", token.calls_per_second.to_string()),
        ("made from", token.parent_id.clone()),
    ])
}

fn token_json(token: &proto::Token) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "state": state(token),
        "create_time": show::time(token.create_time.as_ref()),
        "expire_time": show::time(token.expire_time.as_ref()),
        "revoke_time": token.revoke_time.as_ref().map(|time| show::time(Some(time))),
        "last_use_time": token.last_use_time.as_ref().map(|time| show::time(Some(time))),
        "parent_id": token.parent_id,
        "calls_per_second": token.calls_per_second,
    })
}

async fn audit(session: &Session, limit: usize, filter: &str) -> anyhow::Result<Answer> {
    let (mut entries, mut page_token) = (Vec::new(), String::new());
    while entries.len() < limit {
        let page_size = i32::try_from((limit - entries.len()).min(PAGE_SIZE_MAX)).unwrap_or(i32::MAX);
        let request = proto::ListAuditEntriesRequest { page_size, page_token, filter: filter.to_owned() };
        let page = session.client.list_audit_entries(request).await?;
        entries.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let row = |entry: &proto::AuditEntry| {
        let call = entry.method.rsplit_once('.').map_or(entry.method.as_str(), |(_, call)| call);
        let who = if entry.token_name.is_empty() { &entry.token_id } else { &entry.token_name };
        [
            show::time(entry.time.as_ref()),
            who.clone(),
            call.to_owned(),
            entry.code.clone(),
            entry.reason.clone(),
            entry.caller_address.clone(),
        ]
    };
    let text =
        table(["time", "who", "call", "answer", "denied for", "from"], entries.iter().map(row).collect());
    let answer = Answer::new(entries.iter().map(entry_json).collect(), text);
    Ok(if page_token.is_empty() { answer } else { answer.hint(session.say(MORE_EN, MORE_ZH)) })
}

fn entry_json(entry: &proto::AuditEntry) -> Value {
    json!({
        "sequence": entry.sequence,
        "time": show::time(entry.time.as_ref()),
        "token_id": entry.token_id,
        "token_name": entry.token_name,
        "method": entry.method,
        "code": entry.code,
        "reason": entry.reason,
        "caller_address": entry.caller_address,
        "skipped_count": entry.skipped_count,
    })
}
