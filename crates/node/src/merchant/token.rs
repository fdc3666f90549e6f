//! Tokens for partner apps, and what was done with them.

use std::sync::Arc;

use hutong_core::refusal::{Reason, Refusal};
use hutong_record::UnixMillis;
use hutong_wire::{
    merchant::v1::{
        AttenuateTokenRequest, AttenuateTokenResponse, AuditEntry, CreateTokenRequest, CreateTokenResponse,
        GetCurrentTokenRequest, GetCurrentTokenResponse, ListAuditEntriesRequest, ListAuditEntriesResponse,
        ListTokensRequest, ListTokensResponse, RevokeTokenRequest, RevokeTokenResponse, Token,
        token_service_server::TokenService,
    },
    trade,
};
use tonic::{Request, Response, Status};

use super::{
    MerchantPort,
    auth::{AuditEntry as Noted, Book, Pass, TokenEntry, TokenId, Wish},
    filter::{Filter, Value},
    page, page_size, repeat, respond,
};
use crate::{alliance::internal, clock};

/// `last_use_time` tells no more than the minute, so that it is no log of a clerk's day.
const LAST_USE_STEP_MS: i64 = 60_000;
/// What an audit filter can ask about.
const AUDIT_FIELDS: [&str; 6] = ["token_id", "token_name", "method", "code", "reason", "time"];

#[tonic::async_trait]
impl TokenService for MerchantPort {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        respond(request, async |request| {
            let tag = repeat::tag(&request.request_id, "CreateToken", &request)?;
            let CreateTokenRequest { name, scopes, lifetime, calls_per_second, .. } = request;
            let lifetime_ms = lifetime_ms(lifetime.as_ref())?;
            let wish = Wish { name, scopes, lifetime_ms, calls_per_second, request: tag };
            let (token, secret) = self.make_token(wish, None).await?;
            Ok(CreateTokenResponse { token: Some(token), secret })
        })
        .await
    }

    async fn attenuate_token(
        &self,
        request: Request<AttenuateTokenRequest>,
    ) -> Result<Response<AttenuateTokenResponse>, Status> {
        let pass = Pass::of(request.extensions());
        respond(request, async |request| {
            let tag = repeat::tag(&request.request_id, "AttenuateToken", &request)?;
            let AttenuateTokenRequest { name, scopes, lifetime, calls_per_second, .. } = request;
            let lifetime_ms = lifetime_ms(lifetime.as_ref())?;
            let wish = Wish { name, scopes, lifetime_ms, calls_per_second, request: tag };
            let (token, secret) = self.make_token(wish, pass?.token()).await?;
            Ok(AttenuateTokenResponse { token: Some(token), secret })
        })
        .await
    }

    async fn get_current_token(
        &self,
        request: Request<GetCurrentTokenRequest>,
    ) -> Result<Response<GetCurrentTokenResponse>, Status> {
        let pass = Pass::of(request.extensions());
        respond(request, async |_| {
            let token = match pass?.token() {
                None => Token { name: "owner".into(), owner: true, ..Token::default() },
                Some(id) => {
                    let found = self.book.get(id).ok_or(Refusal::new(Reason::TokenUnknown))?;
                    describe(&found)
                }
            };
            Ok(GetCurrentTokenResponse { token: Some(token) })
        })
        .await
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        respond(request, async |request| {
            let key = |(entry, _): &(TokenEntry, _)| format!("{:016x}-{}", entry.created().ms(), entry.id);
            let (shown, next_page_token) =
                page(self.book.list(), key, request.page_size, &request.page_token)?;
            Ok(ListTokensResponse { tokens: shown.iter().map(describe).collect(), next_page_token })
        })
        .await
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        respond(request, async |request| {
            let id: TokenId = request.token_id.parse().map_err(|error| Refusal::field("token_id", error))?;
            let revoked = with_book(&self.book, move |book| book.revoke(id, clock::now())).await?;
            Ok(RevokeTokenResponse { token: Some(describe(&(revoked, None))) })
        })
        .await
    }

    async fn list_audit_entries(
        &self,
        request: Request<ListAuditEntriesRequest>,
    ) -> Result<Response<ListAuditEntriesResponse>, Status> {
        respond(request, async |request| self.audit_entries(request).await).await
    }
}

impl MerchantPort {
    async fn make_token(&self, wish: Wish, parent: Option<TokenId>) -> Result<(Token, String), Refusal> {
        let make = move |book: &Book| book.create(wish, parent, clock::now());
        let (entry, secret) = with_book(&self.book, make).await?;
        Ok((describe(&(entry, None)), secret.to_string()))
    }

    async fn audit_entries(
        &self,
        request: ListAuditEntriesRequest,
    ) -> Result<ListAuditEntriesResponse, Refusal> {
        let size = page_size(request.page_size)?;
        let below = match request.page_token.as_str() {
            "" => u64::MAX,
            token => token.parse().map_err(|_| Refusal::field("page_token", "is not one of ours"))?,
        };
        let filter = Filter::parse(&request.filter, &AUDIT_FIELDS)?;
        let wanted = move |entry: &Noted| filter.holds(|field| audit_value(entry, field));
        let mut found = self.audit.newest(below, size + 1, wanted).await?;
        let more = found.len() > size;
        found.truncate(size);
        let last = found.last().filter(|_| more).map(|entry| entry.sequence.to_string());
        let entries = found.into_iter().map(audit_message).collect();
        Ok(ListAuditEntriesResponse { entries, next_page_token: last.unwrap_or_default() })
    }
}

/// The book waits for the disk, which must not hold other calls up.
async fn with_book<T: Send + 'static>(
    book: &Arc<Book>,
    change: impl FnOnce(&Book) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let book = book.clone();
    tokio::task::spawn_blocking(move || change(&book)).await.map_err(|error| internal(&error))?
}

fn lifetime_ms(lifetime: Option<&prost_types::Duration>) -> Result<Option<i64>, Refusal> {
    lifetime.map(|lifetime| trade::duration_ms("lifetime", lifetime)).transpose()
}

fn describe((entry, last_use): &(TokenEntry, Option<UnixMillis>)) -> Token {
    let to_the_minute = |at: UnixMillis| at.saturating_add_ms(-(at.ms() % LAST_USE_STEP_MS));
    Token {
        id: entry.id.to_string(),
        name: entry.name.clone(),
        scopes: entry.scopes.iter().map(ToString::to_string).collect(),
        create_time: Some(trade::timestamp(entry.created())),
        expire_time: Some(trade::timestamp(entry.expires())),
        revoke_time: entry.revoked().map(trade::timestamp),
        parent_id: entry.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        calls_per_second: entry.calls_per_second,
        last_use_time: last_use.map(to_the_minute).map(trade::timestamp),
        owner: false,
    }
}

fn audit_value<'a>(entry: &'a Noted, field: &str) -> Value<'a> {
    match field {
        "token_id" => Value::Text(&entry.token),
        "token_name" => Value::Text(&entry.name),
        "method" => Value::Text(&entry.method),
        "code" => Value::Text(&entry.code),
        "reason" => Value::Text(&entry.reason),
        _ => Value::Time(Some(UnixMillis::EPOCH.saturating_add_ms(entry.unix_ms))),
    }
}

fn audit_message(entry: Noted) -> AuditEntry {
    AuditEntry {
        sequence: entry.sequence,
        time: Some(trade::timestamp(UnixMillis::EPOCH.saturating_add_ms(entry.unix_ms))),
        token_id: entry.token,
        token_name: entry.name,
        method: entry.method,
        code: entry.code,
        reason: entry.reason,
        caller_address: entry.caller,
        skipped_count: entry.skipped,
    }
}
