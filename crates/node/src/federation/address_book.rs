//! Where members can be reached: what their own signed profiles say, which travel like all records, and what was heard on
//! the shop's own network. Read anew only where something changed.

use std::{collections::BTreeMap, sync::Arc};

use hutong_core::{fold, report};
use hutong_record::ShopId;
use hutong_store::journal::Lsn;

use super::{dialling::Target, lan::Heard};
use crate::{alliance::Hosted, transport::KnownShop};

/// What is known of one member.
#[derive(Debug)]
struct Entry {
    known: KnownShop,
    /// How far its log was folded when its profile was read.
    read_at: u64,
    told: Vec<String>,
    heard: Vec<String>,
}

/// The other members and their addresses.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    /// The journal's end at the last look.
    position: Option<Lsn>,
    entries: BTreeMap<ShopId, Entry>,
}

impl AddressBook {
    /// Looks for what has changed. A profile is read again only when its author's log has grown.
    pub(super) async fn refresh(&mut self, hosted: &Arc<Hosted>, heard: &Heard) {
        let position = *hosted.positions().borrow();
        if self.position.replace(position) != Some(position) {
            self.read(hosted).await;
        }
        for (shop, entry) in &mut self.entries {
            entry.heard = heard.addresses(*shop);
        }
    }

    async fn read(&mut self, hosted: &Arc<Hosted>) {
        let (alliance, me) = (hosted.alliance(), hosted.me());
        let frontier: BTreeMap<_, _> = hosted.reader().frontier().into_iter().collect();
        let members = alliance.roster().iter().filter(|(shop, _)| *shop != me);
        let members: BTreeMap<_, _> = members
            .filter(|(shop, _)| alliance.roster().member(*shop).is_some())
            .map(|(shop, member)| (shop, KnownShop::of(&alliance, &member.identity)))
            .collect();
        self.entries.retain(|shop, _| members.contains_key(shop));
        let length = |shop: &ShopId| frontier.get(shop).map_or(0, |head| head.sequence);
        let known = |shop: &ShopId| self.entries.get(shop).is_some_and(|entry| entry.read_at == length(shop));
        let grown: Vec<_> = members.keys().copied().filter(|shop| !known(shop)).collect();
        if grown.is_empty() {
            return;
        }
        let asked = grown.clone();
        let read = hosted.query(move |view| {
            let profile =
                |shop: &ShopId| Ok((*shop, (fold::cursor(view, *shop)?, report::profile(view, *shop)?)));
            asked.iter().map(profile).collect::<Result<BTreeMap<_, _>, _>>()
        });
        let Ok(mut profiles) = read.await else {
            // Said where it failed; the next look tries again.
            self.position = None;
            return;
        };
        for shop in grown {
            let (read_at, profile) = profiles.remove(&shop).unwrap_or_default();
            let told = profile.map(|profile| profile.addresses).unwrap_or_default();
            let known = members[&shop].clone();
            self.entries.insert(shop, Entry { known, read_at, told, heard: Vec::new() });
        }
    }

    /// Who can be dialled, ascending.
    pub(super) fn shops(&self) -> Vec<ShopId> {
        let reachable = |(_, entry): &(&ShopId, &Entry)| !(entry.told.is_empty() && entry.heard.is_empty());
        self.entries.iter().filter(reachable).map(|(shop, _)| *shop).collect()
    }

    /// How to dial a member: on the shop's own network first, which is nearer and needs no router.
    pub(super) fn target(&self, shop: &ShopId) -> Option<Target> {
        let entry = self.entries.get(shop)?;
        let near = entry.heard.clone();
        let addresses: Vec<_> =
            entry.told.iter().filter(|address| !near.contains(address)).cloned().collect();
        let reachable = !(near.is_empty() && addresses.is_empty());
        reachable.then_some(Target { shop: *shop, known: entry.known.clone(), near, addresses })
    }
}
