//! Founding an alliance, inviting to it, and joining one by an invitation link.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hutong_core::{
    charter::{Charter, CharterError},
    command::Command,
    invitation::InvitationLink,
    refusal::{Reason, Refusal},
};
use hutong_record::{Continuation, SigningKey, UnixMillis, proto};
use hutong_wire::peer::v1::{JoinRequest, JoinResponse, JoinState, join_service_client::JoinServiceClient};
use rand::{TryRng as _, rngs::SysRng};
use tonic_types::StatusExt as _;

use crate::{
    alliance::{Bootstrap, Hosted, internal},
    clock,
    node::Node,
    route::{self, Route},
    transport::{DialError, Dialer, Tcp},
};

/// All attempts to reach somebody who lets this shop in, and the bounds of one of them: the more places a link names, the
/// less each is waited for. The call to this node must end before its own limit.
const JOIN_LIMIT: Duration = Duration::from_secs(20);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(8);
const ATTEMPT_LIMIT_MIN: Duration = Duration::from_secs(3);
/// How long an answer to a join waits for the first exchange of records.
const FIRST_SYNC_WAIT: Duration = Duration::from_secs(5);

/// A fact of a peer's refusal, characters: an id in hex has 64, a shop's name fewer.
const FACT_CHARS_MAX: usize = 200;

/// What founders choose; the rest of a charter follows.
#[derive(Debug, Clone)]
pub(crate) struct Founding {
    pub(crate) name: String,
    pub(crate) purpose: String,
    pub(crate) currency_code: String,
    pub(crate) utc_offset_minutes: i32,
    pub(crate) admission_votes: u32,
    pub(crate) removal_votes: u32,
    pub(crate) late_entry_ms_max: i64,
    pub(crate) attribution_window_ms: i64,
    pub(crate) attribution: Option<proto::AttributionRules>,
    pub(crate) settlement: Option<proto::SettlementRules>,
    pub(crate) governance: Option<proto::Governance>,
    pub(crate) origin: Option<proto::Origin>,
    pub(crate) category: String,
}

/// Founds an alliance. It is one when its first record is durable.
pub(crate) async fn found(node: &Arc<Node>, founding: Founding) -> Result<Arc<Hosted>, Refusal> {
    let salt: [u8; 16] = random()?;
    let message = proto::Charter {
        name: founding.name,
        purpose: founding.purpose,
        currency_code: founding.currency_code,
        utc_offset_minutes: founding.utc_offset_minutes,
        admission_votes: founding.admission_votes,
        removal_votes: founding.removal_votes,
        late_entry_ms_max: founding.late_entry_ms_max,
        attribution_window_ms: founding.attribution_window_ms,
        founder: Some(node.identity().signed().clone()),
        created_unix_ms: clock::now().ms(),
        salt: Bytes::copy_from_slice(&salt),
        attribution: founding.attribution,
        settlement: founding.settlement,
        governance: founding.governance,
        origin: founding.origin,
        founder_category: founding.category,
    };
    let charter = Charter::write(&message).map_err(|error| match error {
        CharterError::Rule(refusal) => refusal,
        other => internal(&other),
    })?;
    // A task of its own: a caller that hangs up must not leave half an alliance behind.
    let node = node.clone();
    let founding = tokio::spawn(async move {
        let hosted = node.add(charter, None, Some(Command::Found)).await?;
        node.folder(hosted.id()).founded().map_err(|error| internal(&error))?;
        Ok(hosted)
    });
    founding.await.map_err(|error| internal(&error))?
}

/// Makes an invitation link for one shop.
pub(crate) async fn invite(
    node: &Arc<Node>,
    hosted: &Hosted,
    expires: UnixMillis,
    core: bool,
    note: String,
    category: String,
) -> Result<String, Refusal> {
    let addresses = node.advertised();
    let doors = if addresses.is_empty() { node.doors(hosted).await? } else { Vec::new() };
    if addresses.is_empty() && doors.is_empty() {
        return Err(Refusal::new(Reason::AddressUnknown));
    }
    let guest_secret: [u8; 32] = random()?;
    let guest_key = SigningKey::from_seed(&guest_secret).public();
    let invitation = proto::Invitation {
        guest_key: Bytes::copy_from_slice(guest_key.as_bytes()),
        expires_unix_ms: expires.ms(),
        core,
        note,
        category,
    };
    let command =
        if doors.is_empty() { Command::Invite(invitation) } else { Command::InviteOpenly(invitation) };
    hosted.execute(command).await?;
    node.open_door();
    let link = InvitationLink {
        charter: hosted.alliance().charter().clone(),
        inviter: node.identity().clone(),
        addresses,
        doors,
        guest_seed: guest_secret,
        expires,
    };
    Ok(link.text())
}

/// Asks the inviting shop, or a member that its link names, to be admitted, and lays out the alliance when it says yes, or
/// that more votes are needed.
///
/// `continuation`: the shop that this one says to continue.
pub(crate) async fn join(
    node: &Arc<Node>,
    text: &str,
    continuation: Option<Continuation>,
) -> Result<Arc<Hosted>, Refusal> {
    let link = InvitationLink::parse(text)?;
    if link.expires <= clock::now() {
        return Err(Refusal::new(Reason::InvitationInvalid));
    }
    node.check_room(link.charter.id)?;
    if let Some(said) = continuation.as_ref().filter(|said| said.alliance() != link.charter.id) {
        return Err(Refusal::field("continuation", format!("is of alliance {}", said.alliance())));
    }
    // A task of its own: once the inviting shop has voted, the alliance is laid out even if the caller hangs up.
    let node = node.clone();
    let joining = tokio::spawn(async move { ask_and_enter(&node, link, continuation).await });
    joining.await.map_err(|error| internal(&error))?
}

async fn ask_and_enter(
    node: &Arc<Node>,
    link: InvitationLink,
    continuation: Option<Continuation>,
) -> Result<Arc<Hosted>, Refusal> {
    let (state, bootstrap) = tokio::time::timeout(JOIN_LIMIT, ask(node, &link, continuation))
        .await
        .map_err(|_| unreached("no answer in time"))??;
    let hosted = node.add(link.charter, Some(bootstrap), None).await?;
    if state == JoinState::Admitted {
        // The vote comes with the first exchange; whoever asked would rather see the outcome.
        let mut changes = hosted.alliance_changes();
        let admitted = changes.wait_for(|alliance| alliance.own_membership().is_ok());
        let _ = tokio::time::timeout(FIRST_SYNC_WAIT, admitted).await;
    }
    Ok(hosted)
}

/// Knocks at each place that the link names until one lets this shop in. What a member that was reached says weighs more
/// than that another was not.
async fn ask(
    node: &Arc<Node>,
    link: &InvitationLink,
    continuation: Option<Continuation>,
) -> Result<(JoinState, Bootstrap), Refusal> {
    let dialer = node.guest_dialer(link.guest_key());
    let request = JoinRequest {
        alliance_id: Bytes::copy_from_slice(link.charter.id.as_bytes()),
        identity: Some(node.identity().signed().clone()),
        inviter_id: Bytes::copy_from_slice(link.inviter.id().as_bytes()),
        guest_signature: Bytes::copy_from_slice(&link.knock(node.me())),
        continuation: continuation.map(|continuation| continuation.signed().clone()),
    };
    let routes = route::of(link);
    let limit = (JOIN_LIMIT / u32::try_from(routes.len()).unwrap_or(u32::MAX).max(1))
        .clamp(ATTEMPT_LIMIT_MIN, ATTEMPT_LIMIT);
    let mut failure = Refusal::new(Reason::InviterUnreachable);
    for route in routes {
        let refusal = match tokio::time::timeout(limit, knock(&dialer, &route, request.clone())).await {
            Ok(Ok(response)) => {
                let state = response.state();
                let bootstrap = route.bootstrap(response.host.as_ref()).map_err(|why| unreached(&why))?;
                return Ok((state, bootstrap));
            }
            Ok(Err(refusal)) => refusal,
            Err(_) => unreached("no answer in time"),
        };
        if failure.reason == Reason::InviterUnreachable {
            failure = refusal;
        }
    }
    Err(failure)
}

async fn knock(dialer: &Dialer, route: &Route, request: JoinRequest) -> Result<JoinResponse, Refusal> {
    let channel =
        dialer.dial(route.pin.clone(), Tcp::to(&route.address)).await.map_err(|error| match error {
            // Our guest key is not on its list: the invitation was taken back, is past its time, or did not come there.
            DialError::Refused => Refusal::new(Reason::InvitationInvalid),
            other => unreached(&other),
        })?;
    let answer = JoinServiceClient::new(channel).join(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| refusal_of(&status))
}

fn unreached(why: &(impl std::fmt::Display + ?Sized)) -> Refusal {
    Refusal::new(Reason::InviterUnreachable).with("why", why)
}

/// The inviting shop's refusal, passed on with the facts that its text names. They are a peer's words: no more of them,
/// nothing long, and nothing that moves a terminal's cursor.
fn refusal_of(status: &tonic::Status) -> Refusal {
    let info = status.get_error_details().error_info().cloned();
    let Some((info, reason)) = info.and_then(|info| Reason::from_code(&info.reason).map(|r| (info, r)))
    else {
        return unreached(status.message());
    };
    let told = |name: &str| match info.metadata.get(name) {
        Some(value) => value.chars().filter(|c| !c.is_control()).take(FACT_CHARS_MAX).collect(),
        None => "?".to_owned(),
    };
    let names = reason.fact_names().into_iter();
    names.fold(Refusal::new(reason), |refusal, name| refusal.with(name, told(name)))
}

fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| internal(&error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use hutong_core::refusal::Language;
    use hutong_wire::status::refused;

    use super::*;

    #[test]
    fn a_refusal_of_the_inviting_shop_comes_with_the_facts_that_its_text_names() {
        let shop_id = "ab".repeat(32);
        let refusal = Refusal::new(Reason::ShopContinued).with("shop_id", &shop_id).with("other", "x");
        let passed_on = refusal_of(&refused(&refusal, Language::English));
        assert_eq!(passed_on, Refusal::new(Reason::ShopContinued).with("shop_id", &shop_id));
        let rude = Refusal::new(Reason::CategoryTaken).with("category", "茶\x1b[2J".repeat(1_000));
        let text = refusal_of(&refused(&rude, Language::English)).text(Language::English);
        assert!(text.chars().count() < 300 && !text.contains(['\x1b', '{']), "{text}");
    }
}
