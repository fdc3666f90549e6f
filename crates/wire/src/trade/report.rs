//! Whose numbers they are, and what was proven against whom.

use hutong_core::{
    promotion::Promotion,
    proof::{Offence, Verdict},
    stock::Share,
};
use hutong_record::Currency;

use super::{merchant, minor_message};

/// Consecutive numbers of a promotion, with their owner.
pub fn share_message(share: &Share, promotion: &Promotion) -> merchant::Share {
    let shop = |place| promotion.distributor(place).map(|d| d.shop.to_string()).unwrap_or_default();
    merchant::Share {
        distributor_id: shop(share.distributor),
        owner_id: shop(share.owner),
        first_number: share.first,
        last_number: share.last,
        move_id: share.by.map(|id| id.to_string()).unwrap_or_default(),
    }
}

/// What a shop was proven to have done.
pub fn offence_message(verdict: &Verdict, currency: Currency) -> merchant::Offence {
    let kind = match verdict.offence {
        Offence::NumberTwice => merchant::OffenceKind::NumberTwice,
        Offence::PastQuota => merchant::OffenceKind::PastQuota,
        Offence::PassedTwice => merchant::OffenceKind::PassedTwice,
        Offence::RiskLost => merchant::OffenceKind::RiskLost,
    };
    merchant::Offence {
        id: data_encoding::HEXLOWER.encode(&verdict.subject),
        liable_id: verdict.liable.to_string(),
        kind: kind.into(),
        voucher_id: verdict.voucher.to_string(),
        promotion_id: verdict.voucher.promotion.to_string(),
        charge: Some(minor_message(verdict.charge_minor, currency)),
    }
}
