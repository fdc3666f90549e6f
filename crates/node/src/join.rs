//! Founding an alliance, inviting to it, and joining one by an invitation link.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use hutong_core::{
    charter::{Charter, CharterError},
    command::Command,
    refusal::{Reason, Refusal},
};
use hutong_record::{Identity, SigningKey, UnixMillis, proto};
use hutong_wire::peer::v1::{JoinRequest, join_service_client::JoinServiceClient};
use prost::Message as _;
use rand::{TryRng as _, rngs::SysRng};
use tonic_types::StatusExt as _;

use crate::{
    alliance::{Bootstrap, Hosted, internal},
    clock,
    node::Node,
    transport::Tcp,
};

const LINK_PREFIX: &str = "hutong:join/";
/// A link holds a charter, an identity and some addresses.
const LINK_BYTES_MAX: usize = 16 * 1_024;
/// A guest's whole call, on one address.
const JOIN_LIMIT: Duration = Duration::from_secs(15);
const ADDRESSES_MAX: usize = 8;

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
    };
    let charter = Charter::write(&message).map_err(|error| match error {
        CharterError::Rule(refusal) => refusal,
        other => internal(&other),
    })?;
    // A task of its own: a caller that hangs up must not leave half an alliance behind.
    let node = node.clone();
    let founding = tokio::spawn(async move {
        let hosted = node.add(charter, None).await?;
        hosted.execute(Command::Found).await?;
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
) -> Result<String, Refusal> {
    let addresses = node.advertised();
    if addresses.is_empty() {
        return Err(Refusal::new(Reason::AddressUnknown));
    }
    let guest_secret: [u8; 32] = random()?;
    let guest_key = SigningKey::from_seed(&guest_secret).public();
    let invitation = proto::Invitation {
        guest_key: Bytes::copy_from_slice(guest_key.as_bytes()),
        expires_unix_ms: expires.ms(),
        core,
        note,
    };
    hosted.execute(Command::Invite(invitation)).await?;
    node.open_door();
    let link = proto::InvitationLink {
        charter: hosted.alliance().charter().bytes().clone(),
        inviter: Some(node.identity().signed().clone()),
        addresses,
        guest_secret: Bytes::copy_from_slice(&guest_secret),
        expires_unix_ms: expires.ms(),
    };
    Ok(format!("{LINK_PREFIX}{}", BASE64URL_NOPAD.encode(&link.encode_to_vec())))
}

/// An invitation link that was checked.
struct Link {
    charter: Charter,
    bootstrap: Bootstrap,
    guest: [u8; 32],
}

fn parse_link(text: &str) -> Result<Link, Refusal> {
    let wrong = |why: &str| Refusal::field("link", why);
    let encoded = text.trim().strip_prefix(LINK_PREFIX).ok_or_else(|| wrong("is not an invitation link"))?;
    if encoded.len() > LINK_BYTES_MAX {
        return Err(wrong("is too long"));
    }
    let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| wrong("was not copied whole"))?;
    let message =
        proto::InvitationLink::decode(bytes.as_slice()).map_err(|_| wrong("was not copied whole"))?;
    if message.expires_unix_ms <= clock::now().ms() {
        return Err(Refusal::new(Reason::InvitationInvalid));
    }
    let charter = Charter::parse(message.charter).map_err(|e| wrong(&e.to_string()))?;
    let inviter = Identity::verify(&message.inviter.ok_or_else(|| wrong("names no shop"))?);
    let inviter = inviter.map_err(|e| wrong(&e.to_string()))?;
    if message.addresses.is_empty() || message.addresses.len() > ADDRESSES_MAX {
        return Err(wrong("has no address"));
    }
    let guest = message.guest_secret.as_ref().try_into().map_err(|_| wrong("was not copied whole"))?;
    Ok(Link { charter, bootstrap: Bootstrap { inviter, addresses: message.addresses }, guest })
}

/// Asks the inviting shop to be admitted, and lays out the alliance when it says yes, or that more votes are needed.
pub(crate) async fn join(node: &Arc<Node>, text: &str) -> Result<Arc<Hosted>, Refusal> {
    let link = parse_link(text)?;
    node.check_room(link.charter.id)?;
    ask(node, &link).await?;
    node.add(link.charter, Some(link.bootstrap)).await
}

async fn ask(node: &Arc<Node>, link: &Link) -> Result<(), Refusal> {
    let dialer = node.guest_dialer(SigningKey::from_seed(&link.guest));
    let server = *link.bootstrap.inviter.signing_key();
    let request = JoinRequest {
        alliance_id: Bytes::copy_from_slice(link.charter.id.as_bytes()),
        identity: Some(node.identity().signed().clone()),
    };
    let mut failure = Refusal::new(Reason::InviterUnreachable);
    for address in &link.bootstrap.addresses {
        let attempt = async {
            let channel = dialer.dial(server, Tcp::to(address)).await.map_err(|error| match error {
                // Our guest key is not on its list: the invitation was taken back, or is past its time.
                crate::transport::DialError::Refused => Refusal::new(Reason::InvitationInvalid),
                other => Refusal::new(Reason::InviterUnreachable).with("why", other),
            })?;
            JoinServiceClient::new(channel).join(request.clone()).await.map_err(|status| refusal_of(&status))
        };
        match tokio::time::timeout(JOIN_LIMIT, attempt).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(refusal)) => failure = refusal,
            Err(_) => failure = Refusal::new(Reason::InviterUnreachable).with("why", "no answer in time"),
        }
    }
    Err(failure)
}

/// The inviting shop's refusal, passed on.
fn refusal_of(status: &tonic::Status) -> Refusal {
    let info = status.get_error_details().error_info().cloned();
    match info.as_ref().and_then(|info| Reason::from_code(&info.reason)) {
        Some(reason) => Refusal::new(reason),
        None => Refusal::new(Reason::InviterUnreachable).with("why", status.message()),
    }
}

fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| internal(&error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_no_links_are_refused_with_the_field() {
        let prefixed = |rest: &str| format!("{LINK_PREFIX}{rest}");
        for text in
            ["", "https://example.com", &prefixed("%%%"), &prefixed("AAAA"), &prefixed(&"A".repeat(20_000))]
        {
            let refusal = parse_link(text).err().expect("no link");
            let named = refusal.fact("field") == Some("link") || refusal.reason == Reason::InvitationInvalid;
            assert!(named, "{text}: {refusal}");
        }
    }
}
