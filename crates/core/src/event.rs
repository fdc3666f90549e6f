//! Events: what a stored record tells those who watch this shop.

use bytes::Bytes;
use hutong_record::{Record, RecordId, proto, proto::Kind};
use prost::Message as _;

use crate::voucher::{Token, VoucherKey};

/// Something that happened, as far as this shop can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What kind of record it was.
    pub kind: Kind,
    /// The voucher that it is about.
    pub voucher: Option<VoucherKey>,
    /// The promotion that it is about.
    pub promotion: Option<RecordId>,
}

impl Event {
    /// The event in a record whose opened payload is `message`.
    pub fn of(record: &Record, message: &Bytes) -> Self {
        let kind = record.header().kind;
        let token = match kind {
            Kind::VoucherIssue => proto::VoucherIssue::decode(message.clone()).ok().map(|m| m.token),
            Kind::Redemption => proto::Redemption::decode(message.clone()).ok().map(|m| m.token),
            _ => None,
        };
        let voucher = token.and_then(|bytes| Token::parse(&bytes).ok()).map(|token| token.body().key);
        let promotion = match kind {
            Kind::Promotion => Some(record.id()),
            Kind::PromotionEnd => proto::PromotionEnd::decode(message.clone())
                .ok()
                .and_then(|m| RecordId::try_from(m.promotion_id.as_ref()).ok()),
            _ => voucher.map(|key| key.promotion),
        };
        Self { kind, voucher, promotion }
    }
}
