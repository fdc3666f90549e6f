//! Vouchers: as they were handed out, as they stand, and what they would do.

use hutong_core::{
    command::Qualified,
    promotion::{Mode, Promotion},
    refusal::{Language, Refusal},
    right::Right,
    voucher::{Token, Voucher, VoucherState},
};
use hutong_record::{ShopId, UnixMillis};

use super::{merchant, money_message, promotion::mode_message, timestamp};

/// What a voucher's token says; of how it stands, nothing.
pub fn token_message(token: &Token, promotion: &Promotion) -> merchant::Voucher {
    let body = token.body();
    let designated =
        promotion.redeemers.get(usize::from(body.redeemer)).filter(|_| promotion.mode == Mode::Designated);
    let issuer = promotion.distributor(body.issuer);
    merchant::Voucher {
        id: body.key.to_string(),
        promotion_id: promotion.id.to_string(),
        promotion_title: promotion.title.clone(),
        distributor_id: issuer.map(|d| d.shop.to_string()).unwrap_or_default(),
        redeemer_id: designated.map(ToString::to_string).unwrap_or_default(),
        funder_id: promotion.funder.to_string(),
        card_id: body.card.map(|card| card.reveal()).unwrap_or_default(),
        issue_time: Some(timestamp(body.issued)),
        expire_time: Some(timestamp(body.expires)),
        uses: promotion.uses,
        round: body.key.round.into(),
        mode: mode_message(promotion.mode).into(),
        ..Default::default()
    }
}

/// A voucher just handed out, with what the customer gets: QR text and typed code.
pub fn handed_out_message(token: &Token, promotion: &Promotion) -> merchant::Voucher {
    let right = Right::first(token, promotion);
    merchant::Voucher {
        state: merchant::VoucherState::Issued.into(),
        qr_text: token.qr_text(),
        code: token.code(),
        holder_id: right.map(|right| right.holder.to_string()).unwrap_or_default(),
        uses_left: Some(promotion.uses),
        ..token_message(token, promotion)
    }
}

/// A voucher that `redeemer` has just used by right, with so many uses left.
pub fn redeemed_message(
    token: &Token,
    promotion: &Promotion,
    redeemer: ShopId,
    at: UnixMillis,
    uses_left: u32,
) -> merchant::Voucher {
    let state =
        if uses_left == 0 { merchant::VoucherState::Redeemed } else { merchant::VoucherState::Issued };
    merchant::Voucher {
        state: state.into(),
        redeem_time: Some(timestamp(at)),
        holder_id: redeemer.to_string(),
        uses_left: Some(uses_left),
        ..token_message(token, promotion)
    }
}

/// A voucher as it stands at a moment, as `me` knows it.
pub fn voucher_message(
    voucher: &Voucher,
    promotion: &Promotion,
    me: ShopId,
    at: UnixMillis,
) -> merchant::Voucher {
    let issuer = promotion.distributor(voucher.token.body().issuer);
    let base = if issuer.is_some_and(|d| d.shop == me) {
        handed_out_message(&voucher.token, promotion)
    } else {
        token_message(&voucher.token, promotion)
    };
    let reserved = voucher.reservations.iter().map(|r| r.until).filter(|until| *until > at).max();
    merchant::Voucher {
        state: state_message(voucher.state(at)).into(),
        redeem_time: voucher.last_use().map(|used| timestamp(used.at)),
        holder_id: voucher.right.holder.to_string(),
        uses_left: Some(voucher.uses_left()),
        revoke_time: voucher.revoked.map(timestamp),
        reserve_expire_time: reserved.map(timestamp),
        ..base
    }
}

const fn state_message(state: VoucherState) -> merchant::VoucherState {
    match state {
        VoucherState::Issued => merchant::VoucherState::Issued,
        VoucherState::Reserved => merchant::VoucherState::Reserved,
        VoucherState::Redeemed => merchant::VoucherState::Redeemed,
        VoucherState::AtRisk => merchant::VoucherState::AtRisk,
        VoucherState::Revoked => merchant::VoucherState::Revoked,
        VoucherState::Expired => merchant::VoucherState::Expired,
    }
}

/// What a voucher would do for a purchase.
pub fn qualified_message(qualified: &Qualified, language: Language) -> merchant::QualifiedVoucher {
    use merchant::qualified_voucher::Outcome;
    let outcome = match &qualified.outcome {
        Ok(applies) => Outcome::Applies(merchant::VoucherApplies {
            discount: Some(money_message(applies.discount)),
            eligible: Some(money_message(applies.eligible)),
            needs_confirmation: applies.needs_confirmation,
        }),
        Err(refusal) => Outcome::Refused(refused_message(refusal, language)),
    };
    merchant::QualifiedVoucher {
        voucher_id: qualified.voucher.map(|key| key.to_string()).unwrap_or_default(),
        promotion_title: qualified.title.clone(),
        outcome: Some(outcome),
    }
}

fn refused_message(refusal: &Refusal, language: Language) -> merchant::VoucherRefused {
    merchant::VoucherRefused {
        reason: refusal.reason.code().into(),
        message: refusal.text(language),
        metadata: refusal.facts.iter().cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use hutong_core::{
        command::Applies,
        promotion::{Benefit, Bounty, Conditions, Distributor},
        refusal::Reason,
        voucher::{Reservation, VoucherBody, VoucherKey},
    };
    use hutong_record::{Currency, Money, RecordId, SigningKey};

    use super::*;

    const ISSUER: ShopId = ShopId::new([1; 32]);
    const USUAL: ShopId = ShopId::new([2; 32]);
    const OTHER: ShopId = ShopId::new([3; 32]);

    fn cny(minor: i64) -> Money {
        Money::new(Currency::CNY, minor).unwrap()
    }

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    fn promotion(mode: Mode) -> Promotion {
        Promotion {
            published: UnixMillis::EPOCH,
            id: RecordId::new([9; 32]),
            funder: USUAL,
            title: "券".into(),
            distributors: vec![Distributor { shop: ISSUER, quota: 5 }],
            mode,
            redeemers: if mode == Mode::Leased { Vec::new() } else { vec![USUAL, OTHER] },
            earn_spend_min: None,
            benefit: Benefit::AmountOff(cny(100)),
            redeem_spend_min: cny(0),
            starts: at(0),
            ends: at(1_000),
            valid_ms: 100_000,
            per_card_max: 0,
            per_day_max: 0,
            budget: cny(1_000),
            bounty: Bounty::fixed(cny(0)),
            funding: Vec::new(),
            card_required: false,
            uses: 2,
            conditions: Conditions::default(),
            risk: None,
            reuse_expired: false,
        }
    }

    fn token(redeemer: u8) -> Token {
        let promotion = RecordId::new([9; 32]);
        let key = VoucherKey { promotion, distributor: 0, number: 4, round: 1, moved_by: None };
        let (issued, expires) = (at(10), at(100_010));
        let body = VoucherBody {
            key,
            issuer: 0,
            redeemer,
            card: None,
            issued,
            expires,
            secret: [7; 10],
            key_epoch: 0,
        };
        Token::sign(body, &SigningKey::from_seed(&[5; 32]))
    }

    #[test]
    fn a_designated_voucher_names_its_own_shop_and_others_name_none() {
        let shown = handed_out_message(&token(1), &promotion(Mode::Designated));
        assert_eq!((shown.redeemer_id, shown.holder_id), (OTHER.to_string(), OTHER.to_string()));
        for mode in [Mode::Leased, Mode::Anywhere] {
            let shown = handed_out_message(&token(0), &promotion(mode));
            assert_eq!((shown.redeemer_id, shown.holder_id), (String::new(), ISSUER.to_string()));
        }
        assert_eq!((shown.round, shown.uses, shown.uses_left), (1, 2, Some(2)));
    }

    #[test]
    fn every_state_has_its_word() {
        let promotion = promotion(Mode::Anywhere);
        let right = Right::first(&token(0), &promotion).unwrap();
        let mut voucher = Voucher::new(token(0), right);
        let shown = |voucher: &Voucher, ms| voucher_message(voucher, &promotion, OTHER, at(ms));
        let state = |voucher: &Voucher, ms| shown(voucher, ms).state();
        assert_eq!(state(&voucher, 20), merchant::VoucherState::Issued);
        assert_eq!(state(&voucher, 100_010), merchant::VoucherState::Expired);
        voucher.reservations = vec![Reservation { key: "k".into(), until: at(50) }];
        assert_eq!(state(&voucher, 20), merchant::VoucherState::Reserved);
        assert_eq!(shown(&voucher, 20).reserve_expire_time, Some(timestamp(at(50))));
        assert_eq!(shown(&voucher, 50).reserve_expire_time, None);
        voucher.revoked = Some(at(30));
        assert_eq!(state(&voucher, 40), merchant::VoucherState::Revoked);
        assert_eq!(shown(&voucher, 40).revoke_time, Some(timestamp(at(30))));
        assert!(shown(&voucher, 40).code.is_empty(), "another shop's voucher does not show its code");
        assert_eq!(state_message(VoucherState::AtRisk), merchant::VoucherState::AtRisk);
        assert_eq!(state_message(VoucherState::Redeemed), merchant::VoucherState::Redeemed);
    }

    #[test]
    fn a_voucher_with_uses_left_is_not_used_up() {
        let promotion = promotion(Mode::Designated);
        let state = |left| redeemed_message(&token(0), &promotion, USUAL, at(20), left).state();
        assert_eq!(state(1), merchant::VoucherState::Issued);
        assert_eq!(state(0), merchant::VoucherState::Redeemed);
    }

    #[test]
    fn a_dry_run_tells_what_comes_off_or_why_not() {
        use merchant::qualified_voucher::Outcome;
        let applies = Applies { discount: cny(5), eligible: cny(50), needs_confirmation: true };
        let good =
            Qualified { voucher: Some(token(0).body().key), title: "券".into(), outcome: Ok(applies) };
        let told = qualified_message(&good, Language::Chinese);
        let Some(Outcome::Applies(applies)) = told.outcome else { panic!("{told:?}") };
        assert_eq!((applies.discount.unwrap().minor, applies.needs_confirmation), (5, true));
        let refusal = Refusal::new(Reason::PurchaseTooLow).with("minimum", "5.00 CNY");
        let bad = Qualified { voucher: None, title: String::new(), outcome: Err(refusal.clone()) };
        let told = qualified_message(&bad, Language::Chinese);
        let Some(Outcome::Refused(refused)) = told.outcome else { panic!("{told:?}") };
        assert_eq!(
            (refused.reason.as_str(), refused.message),
            ("PURCHASE_TOO_LOW", refusal.text(Language::Chinese))
        );
        assert_eq!((told.voucher_id.as_str(), refused.metadata["minimum"].as_str()), ("", "5.00 CNY"));
    }
}
