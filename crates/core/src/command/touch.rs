//! Deciding on touches.

use bytes::Bytes;

use super::*;
use crate::evidence::{self, CHANNEL_CHARS_MAX};

impl<R: Reader + ?Sized> Decider<'_, R> {
    pub(super) fn touch(&self, touch: &TouchCommand) -> Decided {
        self.alliance.own_membership()?;
        bounds::text("channel", &touch.channel, 0..=CHANNEL_CHARS_MAX)?;
        self.alliance.charter().check_entry_time(touch.at, self.now)?;
        if touch.kind == proto::TouchKind::Unspecified {
            return Err(Refusal::field("kind", "is missing").into());
        }
        if touch.to == self.me() {
            return Err(Refusal::field("to_shop_id", "a shop cannot send customers to itself").into());
        }
        if self.alliance.roster().member(touch.to).is_none() {
            return Err(Refusal::new(Reason::MemberUnknown).with("shop_id", touch.to).into());
        }
        if evidence::is_staff(self.view, Some(touch.card))? {
            return Err(Refusal::new(Reason::StaffCard).into());
        }
        let message = proto::Touch {
            request: Some(touch.request.message()),
            kind: touch.kind.into(),
            to_shop_id: Bytes::copy_from_slice(touch.to.as_bytes()),
            card_id: Bytes::copy_from_slice(touch.card.as_bytes()),
            touched_unix_ms: touch.at.ms(),
            channel: touch.channel.clone(),
        };
        Ok(alloc::vec![Self::for_parties(Kind::Touch, [self.me(), touch.to], &message)])
    }
}
