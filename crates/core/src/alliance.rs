//! An alliance as one of its shops holds it: the charter and the roster in memory, all else in views.

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
    /// While everything is folded anew: the roster that the same records came to before. It judges every record from
    /// the first one on, so that the order in which votes were found does not show.
    expected: Option<Roster>,
}

impl Alliance {
    /// From the charter and what the views hold.
    pub fn load(charter: Charter, me: ShopId, view: &(impl Reader + ?Sized)) -> Result<Self, ViewError> {
        let roster = Roster::compute(&charter, view, &Roster::default())?;
        Ok(Self { charter, me, roster, expected: None })
    }

    /// For folding everything anew into empty views, judged by the roster that is known by now.
    #[must_use]
    pub fn from_the_start(&self) -> Self {
        let roster = Roster::founding(&self.charter);
        Self { charter: self.charter.clone(), me: self.me, roster, expected: Some(self.roster.clone()) }
    }

    /// Ends a fold from the start. False: the records came to another roster than the one that judged them, so that
    /// they must be folded once more.
    pub fn settle(&mut self) -> bool {
        self.expected.take().is_none_or(|expected| expected == self.roster)
    }

    /// Whether a fold from the start is under way.
    pub(crate) const fn starts_anew(&self) -> bool {
        self.expected.is_some()
    }

    /// The roster that says which records count.
    pub(crate) fn judge(&self) -> &Roster {
        self.expected.as_ref().unwrap_or(&self.roster)
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
        self.judge().shop(shop).filter(|m| m.was_admitted()).map(|m| *m.identity.signing_key())
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
