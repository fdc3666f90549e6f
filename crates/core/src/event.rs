//! Events: what a stored record tells those who watch this shop.

use bytes::Bytes;
use hutong_record::{Record, RecordId, ShopId, motion_id, proto, proto::Kind};
use prost::Message as _;

use crate::{
    proof,
    roster::MotionId,
    voucher::{Token, VoucherKey},
};

/// Something that happened, as far as this shop can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What kind of record it was.
    pub kind: Kind,
    /// The voucher that it is about.
    pub voucher: Option<VoucherKey>,
    /// The promotion that it is about.
    pub promotion: Option<RecordId>,
    /// The ally that owes more than this shop's limit for warnings, where it says so.
    pub exposure: Option<ShopId>,
    /// The motion that it is about.
    pub motion: Option<MotionId>,
    /// Whether that motion lets a shop in or out.
    pub membership: bool,
}

impl Event {
    /// The event in a record whose opened payload is `message`.
    pub fn of(record: &Record, message: &Bytes) -> Self {
        let kind = record.header().kind;
        let voucher = voucher(kind, message).and_then(|bytes| Token::parse(&bytes).ok());
        let voucher = voucher.map(|token| token.body().key);
        let promotion = match kind {
            Kind::Promotion => Some(record.id()),
            Kind::PromotionEnd => {
                promotion(proto::PromotionEnd::decode(message.clone()).ok().map(|m| m.promotion_id))
            }
            Kind::FundingConsent => {
                promotion(proto::FundingConsent::decode(message.clone()).ok().map(|m| m.promotion_id))
            }
            Kind::QuotaMove => {
                promotion(proto::QuotaMove::decode(message.clone()).ok().map(|m| m.promotion_id))
            }
            Kind::VoucherProof => {
                proto::VoucherProof::decode(message.clone()).ok().and_then(|m| proof::promotion_id(&m))
            }
            _ => voucher.map(|key| key.promotion),
        };
        let (motion, membership) = motion(kind, message);
        Self { kind, voucher, promotion, exposure: exposure(kind, message), motion, membership }
    }
}

/// The motion that a voice or an appeal is about, and whether it lets a shop in or out.
fn motion(kind: Kind, message: &Bytes) -> (Option<MotionId>, bool) {
    use proto::motion::Motion::{Admission, Removal};
    match kind {
        Kind::Vote => {
            let Ok(vote) = proto::Vote::decode(message.clone()) else { return (None, false) };
            let motion = proto::Motion::decode(vote.motion.clone()).ok().and_then(|motion| motion.motion);
            (Some(motion_id(&vote.motion)), matches!(motion, Some(Admission(_) | Removal(_))))
        }
        Kind::Appeal => {
            let appeal = proto::Appeal::decode(message.clone()).ok();
            (appeal.and_then(|appeal| appeal.strike_id.as_ref().try_into().ok()), false)
        }
        _ => (None, false),
    }
}

/// The ally that a notice of this shop's own node names.
fn exposure(kind: Kind, message: &Bytes) -> Option<ShopId> {
    use proto::settlement_setting::Setting;
    if kind != Kind::SettlementSetting {
        return None;
    }
    match proto::SettlementSetting::decode(message.clone()).ok()?.setting? {
        Setting::ExposureNotice(notice) => ShopId::try_from(notice.ally_id.as_ref()).ok(),
        Setting::ExposureLimit(_) | Setting::NettingRule(_) => None,
    }
}

/// The token in a record that holds one; of several, the first.
fn voucher(kind: Kind, message: &Bytes) -> Option<Bytes> {
    let message = message.clone();
    match kind {
        Kind::VoucherIssue => proto::VoucherIssue::decode(message).ok().map(|m| m.token),
        Kind::Redemption => proto::Redemption::decode(message).ok().map(|m| m.token),
        Kind::VoucherRevocation => proto::VoucherRevocation::decode(message).ok().map(|m| m.token),
        Kind::Reservation => proto::Reservation::decode(message).ok().map(|m| m.token),
        Kind::VoucherTransfer => {
            proto::VoucherTransfer::decode(message).ok()?.vouchers.into_iter().next().map(|v| v.token)
        }
        _ => None,
    }
}

fn promotion(bytes: Option<Bytes>) -> Option<RecordId> {
    RecordId::try_from(bytes?.as_ref()).ok()
}
