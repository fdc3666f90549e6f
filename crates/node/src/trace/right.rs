//! Which records tell of one right that goes to a shop: the question for it, the home's answer, and the redemption that
//! follows are one trace. Whoever can read these records finds the same trace in each of them, so nothing is added to what
//! is signed or sent; to others each record is a trace of its own.

use std::collections::VecDeque;

use bytes::Bytes;
use hutong_core::voucher::Token;
use hutong_record::{Record, RecordId, ShopId, proto, proto::Kind};
use prost::Message as _;

/// Questions that are remembered until they are answered and used: some minutes of a busy street. Of older ones the parts
/// stay in one trace but for a denial, and lose their order.
const REQUESTS_MAX: usize = 1_024;
/// Whatever does not hash alike is another trace.
const STORY_CONTEXT: &str = "hutong 2026 v1 trace of a right";

/// Names a voucher's way to a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Story(pub(super) [u8; 32]);

impl Story {
    fn of(token: &[u8], to: ShopId) -> Option<Self> {
        let voucher = Token::parse(token).ok()?.body().key.to_string();
        let mut hasher = blake3::Hasher::new_derive_key(STORY_CONTEXT);
        hasher.update(to.as_bytes()).update(voucher.as_bytes());
        Some(Self(*hasher.finalize().as_bytes()))
    }
}

/// A record's place in a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which story.
    pub story: Story,
    /// The question that it answers or follows, as far as it is known here.
    pub after: Option<RecordId>,
}

/// The questions that have passed by.
#[derive(Debug, Default)]
pub struct Rights(VecDeque<(RecordId, Story)>);

impl Rights {
    /// A record's place, if it has one and its payload can be opened.
    pub fn place(&mut self, record: &Record, open: impl FnOnce(&Record) -> Option<Bytes>) -> Option<Place> {
        let header = record.header();
        match header.kind {
            Kind::RightRequest => {
                let request = proto::RightRequest::decode(open(record)?).ok()?;
                let to = ShopId::try_from(request.to_shop_id.as_ref()).ok()?;
                let story = Story::of(&request.token, to)?;
                self.note(record.id(), story);
                Some(Place { story, after: None })
            }
            Kind::VoucherTransfer => {
                let transfer = proto::VoucherTransfer::decode(open(record)?).ok()?;
                let after = RecordId::try_from(transfer.right_request_id.as_ref()).ok()?;
                let passed = transfer.vouchers.first()?;
                let pass = proto::RightStatement::decode(passed.passes.last()?.statement.clone()).ok()?;
                let to = ShopId::try_from(pass.to_shop_id.as_ref()).ok()?;
                Some(Place { story: Story::of(&passed.token, to)?, after: Some(after) })
            }
            Kind::RightDenial => {
                let denial = proto::RightDenial::decode(open(record)?).ok()?;
                let after = RecordId::try_from(denial.right_request_id.as_ref()).ok()?;
                Some(Place { story: self.story_of(after)?, after: Some(after) })
            }
            Kind::Redemption => {
                let redemption = proto::Redemption::decode(open(record)?).ok()?;
                // Where the right was the redeemer's from the beginning nobody was asked.
                redemption.passes.last()?;
                let story = Story::of(&redemption.token, header.shop)?;
                Some(Place { story, after: self.request_of(story) })
            }
            _ => None,
        }
    }

    fn note(&mut self, request: RecordId, story: Story) {
        if self.0.len() == REQUESTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((request, story));
    }

    fn story_of(&self, request: RecordId) -> Option<Story> {
        self.0.iter().rev().find(|(id, _)| *id == request).map(|(_, story)| *story)
    }

    fn request_of(&self, story: Story) -> Option<RecordId> {
        self.0.iter().rev().find(|(_, known)| *known == story).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest() {
        let mut rights = Rights::default();
        let id = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            RecordId::new(bytes)
        };
        for n in 0..=REQUESTS_MAX {
            rights.note(id(n), Story([u8::from(n % 2 == 0); 32]));
        }
        assert_eq!((rights.0.len(), rights.story_of(id(0))), (REQUESTS_MAX, None));
        assert_eq!(rights.story_of(id(1)), Some(Story([0; 32])));
        assert_eq!(rights.request_of(Story([1; 32])), Some(id(REQUESTS_MAX)));
        assert_eq!(rights.request_of(Story([7; 32])), None);
        assert_eq!(Story::of(b"no token", ShopId::new([1; 32])), None);
    }
}
