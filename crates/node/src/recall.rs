//! A shop that has nothing left but its recovery phrase: its identity from a member, its records from all of them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hutong_core::invitation::InvitationLink;
use hutong_record::{Identity, KEY_EPOCH_MAX, RecoverySeed, SigningKey};
use hutong_wire::peer::v1::{RecallRequest, RecallResponse, join_service_client::JoinServiceClient};

use crate::{
    alliance::{AllianceFolder, Bootstrap},
    config::Config,
    data_folder::{DataFolder, Secrecy, write_new},
    identity_file,
    route::{self, Route},
    transport::{Connections, Credential, DialError, Dialer, Tcp},
};

/// One attempt to reach the member.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(8);

/// Sets a node up in an empty folder: keys from the phrase, identity from the member that gave `link`, and the alliance
/// of the link, of which it holds nothing yet. It signs nothing before enough members have told how far its log goes.
///
/// # Errors
/// The member does not answer or does not know the shop, or the folder cannot be written.
pub(crate) async fn restore(
    data: &DataFolder,
    seed: &RecoverySeed,
    link: InvitationLink,
    config: &Config,
) -> anyhow::Result<Identity> {
    config.check()?;
    data.refuse_existing()?;
    let Recalled { identity, epoch, bootstrap } = ask(seed, &link).await?;
    data.create()?;
    write_new(&data.config_file(), config.to_toml().as_bytes(), Secrecy::Plain)?;
    data.create_token()?;
    crate::format::mark(data)?;
    identity_file::write(data, seed, &identity, epoch)?;
    AllianceFolder::new(data.alliance(link.charter.id)).create_lost(&link.charter, &bootstrap)?;
    Ok(identity)
}

/// What a member told.
struct Recalled {
    identity: Identity,
    /// Which of the shop's keys it knows as the newest.
    epoch: u32,
    /// The member.
    bootstrap: Bootstrap,
}

/// Asks the member who the shop with these keys is. Which key epoch the shop has come to, the phrase does not tell, but
/// the member lets in the newest key alone that it knows: so they are tried one after the other, from the first one.
async fn ask(seed: &RecoverySeed, link: &InvitationLink) -> anyhow::Result<Recalled> {
    let request = RecallRequest { alliance_id: Bytes::copy_from_slice(link.charter.id.as_bytes()) };
    let mut failure = anyhow::anyhow!("the link names no address");
    for route in route::of(link) {
        let address = &route.address;
        for epoch in 0..=KEY_EPOCH_MAX {
            match tokio::time::timeout(ATTEMPT_LIMIT, ask_at(seed, &route, epoch, &request)).await {
                Ok(Ok(told)) => {
                    let bootstrap = route.bootstrap(told.host.as_ref()).map_err(anyhow::Error::msg)?;
                    return Ok(Recalled { identity: check(seed, told.identity)?, epoch, bootstrap });
                }
                Ok(Err(error)) => {
                    let refused = matches!(error.downcast_ref(), Some(DialError::Refused));
                    failure = error.context(address.clone());
                    if !refused {
                        break;
                    }
                }
                Err(_) => {
                    failure = anyhow::anyhow!("{address}: no answer in time");
                    break;
                }
            }
        }
    }
    Err(failure.context(
        "the shop that gave the link did not tell who this shop is; is the phrase of this alliance's shop?",
    ))
}

async fn ask_at(
    seed: &RecoverySeed,
    route: &Route,
    epoch: u32,
    request: &RecallRequest,
) -> anyhow::Result<RecallResponse> {
    let key = SigningKey::from_seed(&seed.signing_seed_of(epoch));
    let dialer = Dialer::new(Credential::new(Arc::new(key)), Connections::new());
    let channel = dialer.dial(route.pin.clone(), Tcp::to(&route.address)).await?;
    let response = JoinServiceClient::new(channel).recall(request.clone()).await;
    let response = response.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    Ok(response.into_inner())
}

/// The member's word counts only where the phrase says the same.
fn check(
    seed: &RecoverySeed,
    signed: Option<hutong_record::proto::SignedIdentity>,
) -> anyhow::Result<Identity> {
    let identity = Identity::verify(&signed.context("the answer names no shop")?)?;
    let own = SigningKey::from_seed(&seed.signing_seed()).public();
    if *identity.signing_key() != own || *identity.recovery_key_hash() != seed.recovery_key_hash() {
        bail!("the answer names another shop than the phrase");
    }
    Ok(identity)
}
