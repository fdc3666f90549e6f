//! Members who can let a guest in for a shop that nobody can call: those who tell an address.

use std::cmp::Reverse;

use hutong_core::{
    invitation::{DOOR_ADDRESSES_MAX, DOORS_MAX, LinkDoor},
    refusal::Refusal,
    report,
    view::ViewError,
};
use hutong_record::{PublicKey, ShopId};
use hutong_store::views::SledViews;

use super::table::LinkTable;
use crate::{alliance::Hosted, clock, transport::KnownShop};

/// At most [`DOORS_MAX`] of them: those first to whom a link is up, and of these those that were heard last. None where no
/// link to anybody is up, for then nobody would hear of the invitation.
///
/// # Errors
/// `INTERNAL` where the views cannot be read.
pub async fn doors(hosted: &Hosted, links: &LinkTable) -> Result<Vec<LinkDoor>, Refusal> {
    if links.is_cut_off() {
        return Ok(Vec::new());
    }
    let (alliance, me, now, links) = (hosted.alliance(), hosted.me(), clock::now(), links.snapshot());
    let mut members: Vec<_> = alliance
        .roster()
        .iter()
        .filter(|(shop, _)| *shop != me && alliance.roster().member(*shop).is_some())
        // Whoever begins nothing new may be gone before the guest comes.
        .filter(|(_, member)| member.bar_at(now).is_none())
        .filter_map(|(shop, member)| {
            let link = links.get(&shop).cloned().unwrap_or_default();
            let reached = link.connected || link.last_error.is_none();
            let rank = (Reverse(link.connected), Reverse(link.last_heard), shop);
            reached.then(|| (rank, KnownShop::of(&alliance, &member.identity).key()))
        })
        .collect();
    members.sort_unstable_by_key(|(rank, _)| *rank);
    let members: Vec<_> = members.into_iter().map(|((.., shop), key)| (shop, key)).collect();
    hosted.query(move |view| with_addresses(view, members)).await
}

fn with_addresses(view: &SledViews, members: Vec<(ShopId, PublicKey)>) -> Result<Vec<LinkDoor>, ViewError> {
    let mut doors = Vec::new();
    for (shop, key) in members {
        let profile = report::profile(view, shop)?;
        let mut addresses = profile.map(|profile| profile.addresses).unwrap_or_default();
        addresses.truncate(DOOR_ADDRESSES_MAX);
        if !addresses.is_empty() {
            doors.push(LinkDoor { key, addresses });
        }
        if doors.len() == DOORS_MAX {
            break;
        }
    }
    Ok(doors)
}
