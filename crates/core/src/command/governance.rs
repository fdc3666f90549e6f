//! Deciding what concerns the alliance itself, and its promotions.

use alloc::format;

use bytes::Bytes;
use hutong_record::{Continuation, Identity, KEY_EPOCH_MAX, Succession, motion_id};

use super::*;
use crate::{
    doubt,
    knock::Knock,
    promotion::{self, Promotion},
    roster::{
        CATEGORY_CHARS_MAX, INVITATION_MS_MAX, MEMBERS_MAX, Motion, MotionId, OPEN_INVITATIONS_MAX, Standing,
    },
    table,
};

const NOTE_CHARS_MAX: usize = 80;

impl<R: Reader + ?Sized> Decider<'_, R> {
    /// Whoever runs the node answers for it: a voucher that was used by a lost record is used twice.
    pub(super) fn declare_nothing_lost(&self) -> Decided {
        if doubt::current(self.view)?.is_none() {
            return Err(Refusal::new(Reason::NothingInDoubt).into());
        }
        let message = proto::Resumption { nothing_lost: true, ..proto::Resumption::default() };
        Ok(alloc::vec![Self::for_all(Kind::Resumption, &message)])
    }

    /// The next epoch and no other: a log passes through all of them.
    pub(super) fn rotate_key(&self, succession: &Succession) -> Decided {
        self.alliance.own_membership()?;
        let next = self.alliance.key_epoch(self.me()).saturating_add(1);
        if succession.shop() != self.me() || succession.epoch() != next {
            return Err(Refusal::new(Reason::KeyEpochWrong).with("epoch", next).into());
        }
        let message = proto::KeyRotation { succession: Some(succession.signed().clone()) };
        Ok(alloc::vec![Self::for_all(Kind::KeyRotation, &message)])
    }

    /// The keys of an epoch that nobody has signed with: whoever had those before may be the thief. Where the record goes,
    /// which is not at the end of the log, the ledger says.
    pub(super) fn override_key(&self, order: &OverrideOrder) -> Decided {
        self.alliance.own_membership()?;
        let (known, cut_off) = (self.alliance.key_epoch(self.me()), order.key_override.cut_off());
        if order.key_override.shop() != self.me() || cut_off.epoch <= known {
            let next = known.saturating_add(1).min(KEY_EPOCH_MAX);
            return Err(Refusal::new(Reason::KeyEpochWrong).with("epoch", next).into());
        }
        if cut_off.alliance != self.alliance.charter().id {
            return Err(Refusal::field("alliance", "is another than the override's").into());
        }
        Ok(alloc::vec![Self::for_all(Kind::KeyOverride, order.key_override.message())])
    }

    pub(super) fn found(&self) -> Decided {
        if self.alliance.charter().founder.id() != self.me() {
            return Err(Refusal::new(Reason::NotCore).into());
        }
        let message = self.alliance.charter().bytes().to_vec();
        Ok(alloc::vec![DraftRecord { kind: Kind::Charter, audience: Audience::Alliance, message }])
    }

    pub(super) fn profile(&self, profile: &proto::Profile) -> Decided {
        self.alliance.own_membership()?;
        check_profile(profile)?;
        Ok(alloc::vec![Self::for_all(Kind::Profile, profile)])
    }

    pub(super) fn invite(&self, invitation: &proto::Invitation) -> Decided {
        self.check_voice()?;
        bounds::text("category", &invitation.category, 0..=CATEGORY_CHARS_MAX)?;
        self.check_category(&invitation.category)?;
        bounds::text("note", &invitation.note, 0..=NOTE_CHARS_MAX)?;
        let expires = bounds::time("validity", invitation.expires_unix_ms)?;
        bounds::number("validity", expires.ms_since(self.now), 1..=INVITATION_MS_MAX)?;
        Ok(alloc::vec![self.for_myself(Kind::Invitation, invitation)])
    }

    /// An invitation for all to see, by which every member lets the guest in. For whom it is meant stays with this shop.
    pub(super) fn invite_openly(&self, invitation: &proto::Invitation) -> Decided {
        let sealed = self.invite(invitation)?;
        let given_out = self.alliance.government().invitations_of(self.me(), self.now).count();
        if given_out >= OPEN_INVITATIONS_MAX {
            let why = format!("at most {OPEN_INVITATIONS_MAX} invitations of a shop are open at a time");
            return Err(Refusal::field("validity", why).into());
        }
        let for_all = proto::Invitation { note: String::new(), ..invitation.clone() };
        let kept = if invitation.note.is_empty() { Vec::new() } else { sealed };
        Ok(kept.into_iter().chain([Self::for_all(Kind::Invitation, &for_all)]).collect())
    }

    /// Lets the guest of an open invitation in, whoever gave it out: what counts is that shop's voice.
    pub(super) fn bring_guest(&self, guest: &Guest) -> Decided {
        self.alliance.own_membership()?;
        let invalid = || Refusal::new(Reason::InvitationInvalid);
        let identity = Identity::verify(&guest.identity).map_err(|e| Refusal::field("identity", e))?;
        let Guest { inviter, guest_key, .. } = *guest;
        let knock = Knock { alliance: self.alliance.charter().id, inviter, guest_key, shop: identity.id() };
        knock.verify(self.alliance.cryptography(), &guest.signature)?;
        let invitation = self.alliance.government().invitations.get(&(inviter, guest_key));
        let invitation = invitation.ok_or_else(invalid)?;
        if invitation.used_for.is_some_and(|motion| self.is_admission_of(&motion, identity.id())) {
            return Ok(Vec::new()); // asked again, here or elsewhere
        }
        let counts = self.alliance.roster().member(inviter).is_some_and(|inviter| inviter.core)
            && !self.alliance.roster().is_barred(inviter, self.now);
        if invitation.used_for.is_some() || invitation.expires <= self.now || !counts {
            return Err(invalid().into());
        }
        self.check_newcomer(identity.id(), &invitation.category)?;
        let continuation = guest.continuation.as_deref();
        self.check_continuation(identity.id(), continuation)?;
        let (core, category) = (invitation.core, invitation.category.clone());
        let vote = proto::Vote {
            guest_key: Bytes::copy_from_slice(&guest_key),
            inviter_id: Bytes::copy_from_slice(inviter.as_bytes()),
            guest_signature: guest.signature.clone(),
            ..admission(guest.identity.clone(), core, category, continuation)
        };
        Ok(alloc::vec![Self::for_all(Kind::Vote, &vote)])
    }

    pub(super) fn admit_guest(
        &self,
        guest_key: &[u8; 32],
        signed: &proto::SignedIdentity,
        continuation: Option<&Continuation>,
    ) -> Decided {
        self.check_voice()?;
        let identity = Identity::verify(signed).map_err(|e| Refusal::field("identity", e))?;
        let invalid = || Refusal::new(Reason::InvitationInvalid);
        if self.alliance.government().invitations.contains_key(&(self.me(), *guest_key)) {
            return Err(invalid().into()); // an open one: its guest is brought
        }
        let stored = table::read::<(Vec<u8>, [u8; 32])>(self.view, &table::invitation(guest_key))?;
        let (invitation, used_for) = stored.ok_or_else(invalid)?;
        let invitation = proto::Invitation::decode(invitation.as_slice())
            .map_err(|_| ViewError::Damaged("table of invitations".into()))?;
        if self.is_admission_of(&used_for, identity.id()) {
            return Ok(Vec::new()); // asked again: the vote stands
        }
        if used_for != [0; 32] || invitation.expires_unix_ms <= self.now.ms() {
            return Err(invalid().into());
        }
        self.check_newcomer(identity.id(), &invitation.category)?;
        self.check_continuation(identity.id(), continuation)?;
        let vote = admission(signed.clone(), invitation.core, invitation.category, continuation);
        let vote = proto::Vote { guest_key: Bytes::copy_from_slice(guest_key), ..vote };
        Ok(alloc::vec![Self::for_all(Kind::Vote, &vote)])
    }

    /// Whether a motion takes a shop in, whatever else it says of it.
    fn is_admission_of(&self, motion: &MotionId, shop: ShopId) -> bool {
        let proposed = self.alliance.council.motions.get(motion).map(|proposed| &proposed.motion);
        matches!(proposed, Some(Motion::Admission { identity, .. }) if identity.id() == shop)
    }

    /// This shop continues one whose log is closed for good.
    pub(super) fn continue_shop(&self, continuation: &Continuation) -> Decided {
        self.alliance.own_membership()?;
        self.check_continuation(self.me(), Some(continuation))?;
        if self.alliance.roster().continued_by(continuation.old_shop()) == Some(self.me()) {
            return Ok(Vec::new()); // said again, or by its admission
        }
        Ok(alloc::vec![Self::for_all(Kind::Continuation, continuation.signed())])
    }

    /// Refused where what a shop says to continue is not its own, or is not closed for good, or somebody else's by now.
    fn check_continuation(&self, new: ShopId, continuation: Option<&Continuation>) -> Result<(), Refusal> {
        let Some(continuation) = continuation else { return Ok(()) };
        let wrong = |why: &str| Err(Refusal::field("continuation", why));
        if continuation.alliance() != self.alliance.charter().id {
            return wrong("is of another alliance");
        }
        if continuation.new_shop() != new {
            return wrong("names another shop as the one that continues");
        }
        let (old, roster) = (continuation.old_shop(), self.alliance.roster());
        let member = roster.shop(old).filter(|member| member.was_admitted());
        let member = member.ok_or_else(|| Refusal::new(Reason::MemberUnknown).with("shop_id", old))?;
        if continuation.check_owner(&member.identity).is_err() {
            return Err(Refusal::new(Reason::ContinuationNotOrdered));
        }
        if !member.standing.is_closed() {
            return Err(Refusal::new(Reason::MemberStays).with("shop_id", old));
        }
        if roster.came_before(new, old) {
            return wrong("names a shop that came in after the one that is to continue it");
        }
        match roster.continued_by(old) {
            Some(other) if other != new => Err(Refusal::new(Reason::ShopContinued).with("shop_id", other)),
            _ => Ok(()),
        }
    }

    /// Refused where a shop is or was in, or there is no room for one more.
    fn check_newcomer(&self, shop: ShopId, category: &str) -> Result<(), Refusal> {
        match self.alliance.roster().shop(shop).map(|m| m.standing) {
            Some(Standing::Member | Standing::Frozen | Standing::Removed) => {
                return Err(Refusal::new(Reason::MemberExists));
            }
            Some(Standing::Pending) => {}
            None => self.check_room()?,
        }
        self.check_category(category)
    }

    fn check_room(&self) -> Result<(), Refusal> {
        // Whom nobody with a vote has named takes no room.
        let named = self.alliance.roster().iter().filter(|(_, m)| m.was_admitted() || m.votes > 0);
        if named.count() < MEMBERS_MAX {
            return Ok(());
        }
        Err(Refusal::field("shop_id", format!("an alliance has at most {MEMBERS_MAX} shops")))
    }

    pub(super) fn approve(&self, shop: ShopId, core: bool) -> Decided {
        self.check_vouching()?;
        let member = self.alliance.roster().shop(shop).ok_or(Refusal::new(Reason::MemberUnknown))?;
        let done = match member.standing {
            Standing::Pending => false,
            Standing::Member => member.core || !core,
            Standing::Removed | Standing::Frozen => true,
        };
        if done {
            return Err(Refusal::new(Reason::MemberExists).into());
        }
        let vote = self.alliance.admission_vote(shop, core, self.now)?;
        self.check_admission(&Motion::parse(&vote.motion, Some(self.alliance.roster()))?)?;
        if self.has_voted(&vote) {
            return Err(Refusal::new(Reason::MemberExists).into());
        }
        Ok(alloc::vec![Self::for_all(Kind::Vote, &vote)])
    }

    pub(super) fn remove(&self, shop: ShopId, last: Option<u64>, held: u64, reason: &str) -> Decided {
        self.check_voice()?;
        if shop == self.me() {
            return Err(Refusal::new(Reason::OwnShop).into());
        }
        let member = self.alliance.roster().shop(shop).ok_or(Refusal::new(Reason::MemberUnknown))?;
        if member.standing == Standing::Removed {
            return Err(Refusal::new(Reason::MemberUnknown).with("shop_id", shop).into());
        }
        let proposed = match last {
            Some(_) => None,
            None => self.proposed_removal(shop),
        };
        let vote = match proposed {
            Some(motion) => proto::Vote { motion, ..Default::default() },
            None => vote(proto::motion::Motion::Removal(proto::Removal {
                shop_id: Bytes::copy_from_slice(shop.as_bytes()),
                last_sequence: last.unwrap_or(held),
                reason: reason.into(),
            })),
        };
        Motion::parse(&vote.motion, Some(self.alliance.roster()))?;
        if self.has_voted(&vote) {
            return Ok(Vec::new());
        }
        Ok(alloc::vec![Self::for_all(Kind::Vote, &vote)])
    }

    /// A removal of the shop that others have proposed already: voting for the same one, the votes add up.
    fn proposed_removal(&self, shop: ShopId) -> Option<Bytes> {
        let is_it = |motion: &Motion| matches!(motion, Motion::Removal { shop: s, .. } if *s == shop);
        self.alliance.council.find(is_it).first().map(|(_, proposed)| proposed.bytes.clone())
    }

    fn has_voted(&self, vote: &proto::Vote) -> bool {
        self.alliance.council.stance(self.me(), &motion_id(&vote.motion)) == Some(true)
    }

    pub(super) fn publish(&self, request: &RequestTag, promotion: &proto::Promotion) -> Decided {
        self.alliance.own_membership()?;
        self.check_may_begin()?;
        let currency = self.alliance.charter().currency;
        let unpublished = RecordId::new([0; 32]);
        let terms = Promotion::check(promotion, unpublished, self.me(), currency)?;
        if terms.ends <= self.now.saturating_add_ms(-self.alliance.charter().late_entry_ms_max) {
            return Err(Refusal::field("ends_unix_ms", "the hand-out is over before it begins").into());
        }
        let shops = terms.distributors.iter().map(|d| d.shop).chain(terms.redeemers.iter().copied());
        let shops = shops.chain(terms.funding.iter().map(|share| share.shop));
        for shop in shops {
            if self.alliance.roster().member(shop).is_none() {
                return Err(Refusal::new(Reason::MemberUnknown).with("shop_id", shop).into());
            }
        }
        let message = proto::Promotion { request: Some(request.message()), ..promotion.clone() };
        Ok(alloc::vec![Self::for_all(Kind::Promotion, &message)])
    }

    pub(super) fn end_promotion(&self, id: RecordId) -> Decided {
        self.alliance.own_membership()?;
        let found = Promotion::load(self.view, id, self.alliance.charter().currency)?;
        let promotion = found.ok_or(Refusal::new(Reason::PromotionUnknown))?;
        if promotion.funder != self.me() {
            return Err(Refusal::new(Reason::NotFunder).into());
        }
        if promotion::ended(self.view, id)?.is_some() {
            return Ok(Vec::new());
        }
        let message = proto::PromotionEnd { promotion_id: Bytes::copy_from_slice(id.as_bytes()) };
        Ok(alloc::vec![Self::for_all(Kind::PromotionEnd, &message)])
    }
}

fn vote(motion: proto::motion::Motion) -> proto::Vote {
    let motion = proto::Motion { motion: Some(motion), round: 0 }.encode_to_vec();
    proto::Vote { motion: motion.into(), ..Default::default() }
}

fn admission(
    identity: proto::SignedIdentity,
    core: bool,
    category: String,
    continuation: Option<&Continuation>,
) -> proto::Vote {
    let continuation = continuation.map(|continuation| continuation.signed().clone());
    let identity = Some(identity);
    vote(proto::motion::Motion::Admission(proto::Admission { identity, core, category, continuation }))
}

/// The guest keys that may knock at a moment: invitations that are neither past their time nor used, and used ones
/// too while they last, so that a guest whose answer got lost can ask again.
pub fn open_invitations(view: &(impl Reader + ?Sized), at: UnixMillis) -> Result<Vec<[u8; 32]>, ViewError> {
    let damaged = || ViewError::Damaged("table of invitations".into());
    let all = table::collect(view, &table::invitations(), |key, value| {
        let (invitation, _): (Vec<u8>, [u8; 32]) = table::decode(key, value)?;
        let invitation = proto::Invitation::decode(invitation.as_slice()).map_err(|_| damaged())?;
        let guest_key: [u8; 32] = invitation.guest_key.as_ref().try_into().map_err(|_| damaged())?;
        Ok((guest_key, invitation.expires_unix_ms))
    })?;
    Ok(all.into_iter().filter(|(_, expires)| *expires > at.ms()).map(|(key, _)| key).collect())
}
