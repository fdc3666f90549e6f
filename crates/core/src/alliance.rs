//! An alliance as one of its shops holds it: the charter and the roster in memory, all else in views.

use alloc::collections::BTreeMap;

use hutong_record::{PublicKey, ShopId};

use crate::{
    charter::Charter,
    refusal::{Reason, Refusal},
    roster::{Member, Roster, Standing},
    table,
    view::{Reader, ViewError},
};

/// The state that folding and deciding need at hand.
#[derive(Debug, Clone)]
pub struct Alliance {
    charter: Charter,
    me: ShopId,
    pub(crate) roster: Roster,
    /// Seals and forks known from an earlier fold of the same records: they hold from the first record on.
    known_cuts: BTreeMap<ShopId, u64>,
}

impl Alliance {
    /// From the charter and what the views hold.
    pub fn load(charter: Charter, me: ShopId, view: &(impl Reader + ?Sized)) -> Result<Self, ViewError> {
        let roster = Roster::compute(&charter, view, &Roster::default())?;
        Ok(Self { charter, me, roster, known_cuts: BTreeMap::new() })
    }

    /// For folding everything anew into empty views, with the seals and forks that are known by now.
    #[must_use]
    pub fn from_the_start(&self) -> Self {
        let cuts = self.roster.iter().filter_map(|(shop, m)| m.counts_up_to.map(|last| (shop, last)));
        let known_cuts = self.known_cuts.iter().map(|(shop, last)| (*shop, *last)).chain(cuts).collect();
        let roster = Roster::founding(&self.charter);
        Self { charter: self.charter.clone(), me: self.me, roster, known_cuts }
    }

    /// The last record of a shop that counts; `None`: no bound.
    pub(crate) fn counts_up_to(&self, shop: ShopId) -> Option<u64> {
        let known = self.known_cuts.get(&shop).copied();
        let now = self.roster.counts_up_to(shop);
        known.into_iter().chain(now).min()
    }

    /// Its rules.
    pub const fn charter(&self) -> &Charter {
        &self.charter
    }

    /// This shop.
    pub const fn me(&self) -> ShopId {
        self.me
    }

    /// Who is in it.
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// This shop's place in it; refused unless it is a member in good standing.
    pub fn own_membership(&self) -> Result<&Member, Refusal> {
        match self.roster.shop(self.me) {
            Some(member) if member.standing == Standing::Member => Ok(member),
            Some(member) if member.standing == Standing::Frozen => Err(Refusal::new(Reason::LogFrozen)),
            _ => Err(Refusal::new(Reason::NotMember)),
        }
    }

    /// Refused unless this shop votes.
    pub(crate) fn check_core(&self) -> Result<(), Refusal> {
        if self.own_membership()?.core { Ok(()) } else { Err(Refusal::new(Reason::NotCore)) }
    }

    /// The signing key of a shop that is or was a member.
    pub(crate) fn admitted_key(&self, shop: ShopId) -> Option<PublicKey> {
        self.roster.shop(shop).filter(|m| m.was_admitted()).map(|m| *m.identity.signing_key())
    }

    /// Hash over everything that all members fold alike. Two nodes with the same records have the same digest (CON-1).
    pub fn public_digest(view: &(impl Reader + ?Sized)) -> Result<[u8; 32], ViewError> {
        let mut hasher = blake3::Hasher::new_derive_key("hutong 2026 v1 public state digest");
        let mut feed = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        for table in table::PUBLIC {
            view.scan(&[table], None, &mut |key, value| {
                feed(key);
                feed(value);
                true
            })?;
        }
        Ok(*hasher.finalize().as_bytes())
    }
}
