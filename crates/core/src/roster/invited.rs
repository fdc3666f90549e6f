//! Open invitations: those whose record is for all, so that every member lets the guest in. A guest who knocks at a
//! member's door is brought: the member's record says who it is, in the guest's own signed word, and the voice that counts
//! is the inviting shop's, given when it invited. Each invitation is used by the guest who was brought first.

use alloc::{collections::BTreeMap, string::String};

use hutong_record::{ShopId, UnixMillis};

use super::{Act, Motion, MotionId, council::Council, count::Event};

/// Of one shop: so many invitations that are not past their time are let in by a door.
pub const OPEN_INVITATIONS_MAX: usize = 128;

/// Who gave an invitation out, and the public key that its guest proves.
pub type InvitationId = (ShopId, [u8; 32]);

/// An invitation that every member can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenInvitation {
    /// Good before this moment.
    pub expires: UnixMillis,
    /// Whether the guest becomes a core member.
    pub core: bool,
    /// The guest's trade; empty: none that is limited.
    pub category: String,
    /// The admission by which it was used; none: it was not.
    pub used_for: Option<MotionId>,
    /// The record that brought the guest: its author and place.
    pub(super) brought_by: Option<(ShopId, u64)>,
}

/// The open invitations among voices that count, and which voice used each: the first by time that came before the
/// invitation's end. That is a function of the set of voices, for a guest may well be brought by a clock that is behind the
/// inviting shop's.
pub(super) fn invited(council: &Council, events: &[Event<'_>]) -> BTreeMap<InvitationId, OpenInvitation> {
    let mut invitations = BTreeMap::new();
    for event in events {
        if let Act::Invitation { guest_key, expires, core, category } = event.act {
            invitations.entry((event.author, *guest_key)).or_insert_with(|| OpenInvitation {
                expires: *expires,
                core: *core,
                category: category.clone(),
                used_for: None,
                brought_by: None,
            });
        }
    }
    if invitations.is_empty() {
        return invitations;
    }
    for event in events {
        let Act::Brought { motion, inviter, guest_key } = event.act else { continue };
        let Some(invitation) = invitations.get_mut(&(*inviter, *guest_key)) else { continue };
        let fits = invitation.used_for.is_none()
            && event.at < invitation.expires
            && council.motions.get(motion).is_some_and(|proposed| invitation.is_for(&proposed.motion));
        if fits {
            invitation.used_for = Some(*motion);
            invitation.brought_by = Some((event.author, event.sequence));
        }
    }
    invitations
}

impl OpenInvitation {
    /// Whether a motion takes its guest in, on the terms that it names.
    fn is_for(&self, motion: &Motion) -> bool {
        match motion {
            Motion::Admission { core, category, round: 0, .. } => {
                (*core, category) == (self.core, &self.category)
            }
            _ => false,
        }
    }
}
