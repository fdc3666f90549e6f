//! The modes of vouchers: who may redeem, with and without the others.

use hutong_core::{
    answer::Answer,
    command::{
        Applies, AskRightCommand, Asked, Command, Confirmation, MoveQuotaCommand, Qualify, RedeemCommand,
        ReserveCommand, RevokeCommand, TransferCommand, VoidCommand, asked,
    },
    promotion::{Promotion, Purchase},
    proof,
    refusal::{Reason, Refusal},
    report,
    right::{Act, Statement},
    stock,
    voucher::{Presented, Token, UseStanding, VoucherBody, VoucherKey, VoucherState},
};
use hutong_record::{Currency, Money, RecordId, ShopId, proto, proto::Kind};
use hutong_store::ledger::{ExecuteError, Executed};

use crate::{
    street::{DAY_MS, Street},
    till::{Receipt, card, receipt, yuan},
};

const HOUR_MS: i64 = 3_600_000;

impl Street {
    /// Terms of vouchers that shop `home` hands out and `redeemers` redeem, after asking it.
    pub(crate) fn anywhere(&self, home: usize, redeemers: &[usize]) -> proto::Promotion {
        proto::Promotion {
            mode: proto::VoucherMode::Anywhere.into(),
            redeemer_id: bytes::Bytes::new(),
            redeemer_ids: redeemers.iter().map(|shop| self.bytes(*shop)).collect(),
            ..self.terms(&[home], 0)
        }
    }

    /// The same, and each redeemer may accept 3 vouchers at risk while it is cut off, 2 of them a day.
    pub(crate) fn at_risk(&self, home: usize, redeemers: &[usize]) -> proto::Promotion {
        let risk = proto::RiskTerms {
            per_voucher_max: Some(yuan(3).into()),
            per_shop_max: Some(yuan(9).into()),
            per_day_max: Some(yuan(6).into()),
            offline_ms_max: DAY_MS,
        };
        proto::Promotion { risk: Some(risk), ..self.anywhere(home, redeemers) }
    }

    /// One stock, leased to these shops in these parts.
    pub(crate) fn leased(&self, parts: &[(usize, u32)]) -> proto::Promotion {
        let shops: Vec<usize> = parts.iter().map(|(shop, _)| *shop).collect();
        let mut terms = self.terms(&shops, 0);
        for (distributor, (_, quota)) in terms.distributors.iter_mut().zip(parts) {
            distributor.quota = *quota;
        }
        let mode = proto::VoucherMode::Leased.into();
        proto::Promotion { mode, redeemer_id: bytes::Bytes::new(), earn_spend_min: None, ..terms }
    }

    /// What a shop's node does without being asked, until nothing is left. How many duties.
    pub(crate) fn tend(&mut self, shop: usize) -> usize {
        let mut done = 0;
        loop {
            let duties = self.shops[shop].ledger.duties(self.now, 64).unwrap();
            let mut written = 0;
            for duty in duties {
                written +=
                    self.run(shop, &Command::Fulfil(duty)).map_or(0, |executed| executed.records.len());
            }
            done += written;
            if written == 0 {
                return done;
            }
        }
    }

    /// Everybody meets everybody and does what is due, until nothing is new.
    pub(crate) fn come_to_rest(&mut self) {
        loop {
            self.meet();
            if (0..self.shops.len()).map(|shop| self.tend(shop)).sum::<usize>() == 0 {
                return;
            }
        }
    }

    pub(crate) fn redeem_with(
        &mut self,
        shop: usize,
        token: &Token,
        change: impl FnOnce(&mut RedeemCommand),
    ) -> Result<Receipt, Refusal> {
        let Command::Redeem(mut redeem) = self.redemption(&token.qr_text(), yuan(40), None) else {
            unreachable!()
        };
        change(&mut redeem);
        self.run(shop, &Command::Redeem(redeem)).map(|executed| receipt(executed.answer))
    }

    pub(crate) fn accept_at_risk(&mut self, shop: usize, token: &Token) -> Result<Receipt, Refusal> {
        let confirmation = Confirmation::Unreachable { heard: self.now, at_risk: true };
        self.redeem_with(shop, token, |redeem| redeem.confirmation = confirmation)
    }

    /// A shop asks for the right to a voucher; the request's record.
    pub(crate) fn ask_right(&mut self, shop: usize, token: &Token, to: usize) -> RecordId {
        let ask = AskRightCommand { presented: Some(Presented::Token(token.clone())), to: self.id(to) };
        self.run(shop, &Command::AskRight(ask)).unwrap().records[0]
    }

    pub(crate) fn try_to_ask(&mut self, shop: usize, token: &Token, to: usize) -> Result<(), Refusal> {
        let ask = AskRightCommand { presented: Some(Presented::Token(token.clone())), to: self.id(to) };
        self.run(shop, &Command::AskRight(ask)).map(|_| ())
    }

    fn outcome(&self, shop: usize, request: RecordId) -> Asked {
        asked(&*self.shops[shop].ledger.views(), request).unwrap().unwrap()
    }

    pub(crate) fn transfer(&mut self, shop: usize, token: &Token, to: usize) -> Result<(), Refusal> {
        let presented = Some(Presented::Key(token.body().key));
        let transfer = TransferCommand { request: self.request(), presented, to: self.id(to) };
        self.run(shop, &Command::Transfer(transfer)).map(|_| ())
    }

    pub(crate) fn revoke(&mut self, shop: usize, token: &Token) -> Result<(), Refusal> {
        let presented = Some(Presented::Key(token.body().key));
        let (request, at, reason) = (self.request(), self.now, "误发".into());
        self.run(shop, &Command::Revoke(RevokeCommand { request, presented, at, reason })).map(|_| ())
    }

    pub(crate) fn reserve(
        &mut self,
        shop: usize,
        token: &Token,
        key: &str,
        lifetime_ms: i64,
    ) -> Result<(), Refusal> {
        let presented = Some(Presented::Token(token.clone()));
        let (request, at, key) = (self.request(), self.now, key.into());
        self.run(shop, &Command::Reserve(ReserveCommand { request, presented, key, at, lifetime_ms }))
            .map(|_| ())
    }

    pub(crate) fn move_quota(
        &mut self,
        shop: usize,
        promotion: RecordId,
        to: usize,
        count: u32,
    ) -> Result<Executed, Refusal> {
        let (request, to) = (self.request(), self.id(to));
        let command = MoveQuotaCommand { request, promotion, to, count, reclaimed_from: None };
        self.run(shop, &Command::MoveQuota(command))
    }

    fn state(&self, shop: usize, token: &Token) -> VoucherState {
        self.voucher(shop, token).state(self.now)
    }

    fn voucher(&self, shop: usize, token: &Token) -> hutong_core::voucher::Voucher {
        report::voucher(&*self.shops[shop].ledger.views(), &token.body().key).unwrap().unwrap()
    }

    fn liable(&self, shop: usize) -> Vec<ShopId> {
        let proofs = proof::all(&*self.shops[shop].ledger.views()).unwrap();
        proofs.into_iter().map(|(liable, _)| liable).collect()
    }

    /// A pass that an honest node would not sign, put on record.
    fn craft_pass(&mut self, from: usize, token: &Token, to: usize, parties: &[usize], uses: u32) {
        let (voucher, shop, to) = (token.body().key, self.id(from), self.id(to));
        let statement = Statement { voucher, step: 0, shop, act: Act::Pass { to, uses } };
        let passes = vec![statement.sign(&self.shops[from].keys.signing)];
        let passed = proto::PassedVoucher { token: token.bytes().to_vec().into(), passes };
        let message = proto::VoucherTransfer { vouchers: vec![passed], ..Default::default() };
        self.plant(from, Kind::VoucherTransfer, parties, &message);
    }
}

/// Shops 0 to 4: shop 4 funds what shop 1 hands out and shops 2 and 3 redeem. One voucher is out.
fn anywhere(seed: u64, terms: fn(&Street) -> proto::Promotion) -> (Street, Token) {
    let mut street = Street::new(seed, 5);
    let terms = terms(&street);
    let promotion = street.publish(4, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    (street, token)
}

#[test]
fn a_designated_voucher_goes_to_another_shop_before_its_use_and_is_good_there_alone() {
    let (mut street, token) = anywhere(200, |street| {
        let other = street.bytes(3);
        proto::Promotion { redeemer_ids: vec![other], ..street.terms(&[1], 2) }
    });
    street.meet();
    let refused = street.redeem(3, &token.qr_text(), None).unwrap_err();
    assert_eq!(refused.fact("redeemer_id"), Some(street.id(2).to_string().as_str()));
    assert_eq!(street.transfer(2, &token, 0).unwrap_err().reason, Reason::NotRedeemer);
    street.transfer(2, &token, 3).unwrap();
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::VoucherWrongShop);
    assert_eq!(street.transfer(2, &token, 3).unwrap_err().fact("field"), Some("to_shop_id"));
    street.carry(2, 3);
    let receipt = street.redeem(3, &token.qr_text(), None).unwrap();
    assert_eq!(receipt.discount, yuan(3));
    assert_eq!(street.transfer(3, &token, 2).unwrap_err().reason, Reason::VoucherAlreadyRedeemed);
    street.come_to_rest();
    street.check_agreement("transferred");
    assert_eq!(street.balance(3, 4), 300, "the funder owes the shop that redeemed");
    assert_eq!((street.balance(2, 4), street.balance(1, 4)), (0, 100));
    assert_eq!(street.state(1, &token), VoucherState::Redeemed);
}

#[test]
fn an_anywhere_voucher_is_confirmed_by_its_home_once() {
    let (mut street, token) = anywhere(201, |street| street.anywhere(1, &[2, 3]));
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::ConfirmationNeeded);
    let request = street.ask_right(2, &token, 2);
    assert_eq!(street.outcome(2, request), Asked::Waits);
    street.come_to_rest();
    assert_eq!(street.outcome(2, request), Asked::Granted);
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.come_to_rest();
    let request = street.ask_right(3, &token, 3);
    street.come_to_rest();
    let Asked::Denied(denied) = street.outcome(3, request) else { panic!("not denied") };
    assert_eq!(denied.reason, Reason::VoucherAlreadyRedeemed);
    assert_eq!(denied.fact("redeemer_id"), Some(street.id(2).to_string().as_str()));
    let answered = |redeem: &mut RedeemCommand| redeem.confirmation = Confirmation::Answered(request);
    assert_eq!(street.redeem_with(3, &token, answered).unwrap_err(), denied);
    street.come_to_rest();
    street.check_agreement("confirmed");
    assert_eq!(street.balance(2, 4), 300);
}

#[test]
fn two_shops_that_ask_at_once_get_one_right() {
    let (mut street, token) = anywhere(202, |street| street.anywhere(1, &[2, 3]));
    let requests = [2, 3].map(|shop| (shop, street.ask_right(shop, &token, shop)));
    street.come_to_rest();
    let granted = requests.iter().filter(|(shop, id)| street.outcome(*shop, *id) == Asked::Granted).count();
    assert_eq!(granted, 1);
    let redeemed = [2, 3].iter().filter(|shop| street.redeem(**shop, &token.qr_text(), None).is_ok()).count();
    assert_eq!(redeemed, 1);
    street.come_to_rest();
    street.check_agreement("both asked");
}

#[test]
fn a_request_is_made_once_while_it_waits_and_answered_again_if_the_answer_was_lost() {
    let (mut street, token) = anywhere(203, |street| street.anywhere(1, &[2, 3]));
    let request = street.ask_right(2, &token, 2);
    let presented = Some(Presented::Token(token.clone()));
    let again = Command::AskRight(AskRightCommand { presented, to: street.id(2) });
    assert_eq!(street.run(2, &again).unwrap().records, []);
    street.carry(2, 1);
    assert_eq!(street.tend(1), 1);
    // Shop 3 asks on behalf of shop 2: the home has passed the right there, and says so again.
    let other = street.ask_right(3, &token, 2);
    street.come_to_rest();
    assert_eq!((street.outcome(2, request), street.outcome(3, other)), (Asked::Granted, Asked::Granted));
    street.redeem(2, &token.qr_text(), None).unwrap();
}

#[test]
fn a_customer_picks_a_shop_and_the_voucher_is_good_there_with_no_network() {
    let (mut street, token) = anywhere(204, |street| street.anywhere(1, &[2, 3]));
    let request = street.ask_right(2, &token, 3); // at shop 2's till the customer picks shop 3
    street.come_to_rest();
    assert_eq!(street.outcome(2, request), Asked::Granted);
    street.redeem(3, &token.qr_text(), None).unwrap();
    assert_eq!(street.redeem(3, &token.qr_text(), None).unwrap_err().reason, Reason::VoucherAlreadyRedeemed);
}

#[test]
fn what_is_accepted_at_risk_is_settled_once_and_the_other_shop_bears_its_loss() {
    let (mut street, token) = anywhere(205, |street| street.at_risk(1, &[2, 3]));
    for shop in [2, 3] {
        street.accept_at_risk(shop, &token).unwrap();
        assert_eq!(street.state(shop, &token), VoucherState::AtRisk);
        let again = street.accept_at_risk(shop, &token).unwrap_err();
        assert_eq!(again.reason, Reason::VoucherAlreadyRedeemed);
    }
    street.come_to_rest();
    street.check_agreement("settled");
    let standing = |street: &Street, shop| {
        street.voucher(shop, &token).uses.iter().find(|u| u.redeemer == street.id(shop)).unwrap().standing
    };
    let standings = [2, 3].map(|shop| standing(&street, shop));
    let (winner, loser) = match standings {
        [UseStanding::ByRight, UseStanding::Lost] => (2, 3),
        [UseStanding::Lost, UseStanding::ByRight] => (3, 2),
        other => panic!("{other:?}"),
    };
    assert_eq!((street.balance(winner, 4), street.balance(loser, 4)), (300, 0));
    for shop in 0..5 {
        assert_eq!(street.liable(shop), [street.id(loser)], "shop {shop} names the shop that took the risk");
    }
    let summary = street.shops[loser].state().summary;
    assert_eq!((summary.risk_lost_minor, summary.risk_open_minor), (300, 0));
    assert_eq!(street.shops[winner].state().summary.risk_open_minor, 0);
    for shop in 0..5 {
        let mut fresh = street.fresh(shop);
        for author in [4, 3, 2, 1, 0, 4, 3, 2, 1, 0, 4, 3, 2, 1] {
            let log = street.shops[0]
                .log(street.id(author), fresh.ledger.head(street.id(author)).map_or(0, |h| h.sequence));
            let _not_admitted_yet = fresh.take(&log, street.now);
        }
        assert_eq!(fresh.state(), street.shops[shop].state(), "shop {shop} from the others' copies");
        assert_eq!(fresh.ledger.duties(street.now, 10).unwrap(), [], "nothing is due twice");
    }
}

#[test]
fn a_right_that_came_settles_a_use_at_risk_whatever_a_home_that_passed_it_twice_says() {
    let (mut street, token) = anywhere(225, |street| street.at_risk(1, &[2, 3]));
    street.accept_at_risk(2, &token).unwrap();
    street.craft_pass(1, &token, 3, &[1, 3, 4], 1);
    street.craft_pass(1, &token, 2, &[1, 2, 4], 1);
    street.carry(2, 1);
    assert_eq!(street.tend(1), 2, "the home denies the right, and proves its own offence");
    street.carry(1, 2); // the right and the denial, before anything is done about either
    street.come_to_rest();
    assert_eq!(street.voucher(2, &token).uses[0].standing, UseStanding::ByRight);
    assert_eq!(street.shops[2].ledger.duties(street.now, 10).unwrap(), []);
    street.check_agreement("settled");
}

#[test]
fn no_more_is_accepted_at_risk_than_the_caps_allow() {
    let (mut street, first) = anywhere(206, |street| street.at_risk(1, &[2, 3]));
    let promotion = first.body().key.promotion;
    let next = |street: &mut Street| street.issue(1, promotion, None).unwrap();
    let denied = street.redeem_with(2, &first, |redeem| {
        redeem.confirmation = Confirmation::Unreachable { heard: redeem.at, at_risk: false };
    });
    assert_eq!(denied.unwrap_err().reason, Reason::HomeUnreachable);
    let long_ago = street.now.saturating_add_ms(-DAY_MS - 1);
    let denied = street.redeem_with(2, &first, |redeem| {
        redeem.confirmation = Confirmation::Unreachable { heard: long_ago, at_risk: true };
    });
    assert_eq!(denied.unwrap_err().reason, Reason::OfflineTooLong);
    street.accept_at_risk(2, &first).unwrap();
    let second = next(&mut street);
    let receipt = street.accept_at_risk(2, &second).unwrap();
    let third = next(&mut street);
    let refused = street.accept_at_risk(2, &third).unwrap_err();
    assert_eq!((refused.reason, refused.fact("cap")), (Reason::RiskCapReached, Some("per_day")));
    street.void(2, receipt.id).unwrap();
    assert_eq!(
        street.accept_at_risk(2, &third).unwrap_err().fact("cap"),
        Some("per_day"),
        "a day's count stays"
    );
    street.pass(DAY_MS);
    street.accept_at_risk(2, &third).unwrap();
    let fourth = next(&mut street);
    street.accept_at_risk(2, &fourth).unwrap();
    let fifth = next(&mut street);
    assert_eq!(street.accept_at_risk(2, &fifth).unwrap_err().fact("cap"), Some("per_shop"));
    street.come_to_rest();
    street.check_agreement("all settled");
    assert_eq!(street.balance(2, 4), 900);
    street.pass(DAY_MS);
    street.accept_at_risk(2, &fifth).unwrap(); // what is settled is no risk any more
}

#[test]
fn a_use_at_risk_that_was_taken_back_leaves_the_voucher_to_another_shop() {
    let (mut street, token) = anywhere(207, |street| street.at_risk(1, &[2, 3]));
    let receipt = street.accept_at_risk(2, &token).unwrap();
    street.void(2, receipt.id).unwrap();
    street.come_to_rest(); // the right comes to shop 2 all the same
    assert_eq!(street.transfer(2, &token, 3), Ok(()));
    street.come_to_rest();
    street.redeem(3, &token.qr_text(), None).unwrap();
    street.come_to_rest();
    street.check_agreement("moved on");
    assert_eq!(street.liable(0), []);
}

#[test]
fn where_the_home_is_gone_the_funder_answers_for_it() {
    let (mut street, token) = anywhere(208, |street| street.anywhere(1, &[2, 3]));
    street.come_to_rest();
    let held = street.shops[0].ledger.head(street.id(1)).unwrap().sequence;
    let reason = String::new();
    let remove = Command::Remove { shop: street.id(1), last_sequence: None, held, reason };
    street.run(0, &remove).unwrap();
    street.come_to_rest();
    let request = street.ask_right(2, &token, 2);
    street.come_to_rest();
    assert_eq!(street.outcome(2, request), Asked::Granted);
    // At shop 2 the hand-out is not on record: that the issuer is gone speaks against a voucher from it.
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::DistributorRemoved);
}

#[test]
fn a_leased_stock_is_sold_out_and_not_oversold_with_nobody_connected() {
    let mut street = Street::new(209, 4);
    let terms = street.leased(&[(1, 7), (2, 5), (3, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let mut sold = Vec::new();
    for shop in [1, 2, 3] {
        while let Ok(token) = street.issue(shop, promotion, None) {
            street.redeem(shop, &token.qr_text(), None).unwrap();
            sold.push(token.body().key);
        }
        assert_eq!(street.issue(shop, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    }
    assert_eq!(sold.len(), 12);
    street.come_to_rest();
    street.check_agreement("sold out");
    assert_eq!(
        (street.balance(1, 0), street.balance(2, 0)),
        (2_100, 1_500),
        "no bounty for one's own customer"
    );
}

#[test]
fn a_lease_moves_by_records_and_is_used_once_it_is_there() {
    let mut street = Street::new(210, 4);
    let terms = street.leased(&[(1, 6), (2, 2)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    street.issue(1, promotion, None).unwrap();
    assert_eq!(street.move_quota(1, promotion, 2, 6).unwrap_err().fact("quota"), Some("5"));
    let moved = street.move_quota(1, promotion, 2, 4).unwrap();
    assert_eq!(moved.answer, Some(Answer::Moved { count: 4 }));
    let claim = |street: &mut Street, shop: usize| street.issue(shop, promotion, None);
    assert!(claim(&mut street, 1).is_ok(), "one of its six was sold, four went, one is left");
    assert_eq!(claim(&mut street, 1).unwrap_err().reason, Reason::QuotaUsedUp);
    let mut tokens: Vec<Token> = (0..2).map(|_| claim(&mut street, 2).unwrap()).collect();
    assert_eq!(claim(&mut street, 2).unwrap_err().reason, Reason::QuotaUsedUp, "the move has not arrived");
    street.carry(1, 2);
    tokens.extend((0..4).map(|_| claim(&mut street, 2).unwrap()));
    assert_eq!(claim(&mut street, 2).unwrap_err().reason, Reason::QuotaUsedUp);
    for token in &tokens {
        street.redeem(2, &token.qr_text(), None).unwrap();
    }
    street.come_to_rest();
    street.check_agreement("moved");
    assert_eq!(street.balance(2, 0), 1_800);
    // Two of the six go back, and on again.
    let terms = street.leased(&[(1, 6), (2, 0)]);
    let second = street.publish(0, terms).unwrap();
    street.meet();
    street.move_quota(1, second, 2, 4).unwrap();
    street.meet();
    street.move_quota(2, second, 1, 3).unwrap();
    street.meet();
    let sold = [1, 2].map(|shop| std::iter::from_fn(|| street.issue(shop, second, None).ok()).count());
    assert_eq!(sold, [5, 1]);
    street.come_to_rest();
    street.check_agreement("moved back");
}

#[test]
fn what_a_removed_shop_held_is_taken_back_and_what_it_sold_is_not() {
    let mut street = Street::new(211, 4);
    let terms = street.leased(&[(1, 6), (2, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    for _ in 0..2 {
        street.issue(1, promotion, None).unwrap();
    }
    street.come_to_rest();
    let (request, to, from) = (street.request(), street.id(2), street.id(1));
    let reclaim = MoveQuotaCommand { request, promotion, to, count: 4, reclaimed_from: Some(from) };
    assert_eq!(street.run(0, &Command::MoveQuota(reclaim.clone())).unwrap_err().reason, Reason::MemberStays);
    // What it sells when nobody hears of it is past its seal.
    let unheard = street.issue(1, promotion, None).unwrap();
    let held = street.shops[0].ledger.head(from).unwrap().sequence;
    let remove = Command::Remove { shop: from, last_sequence: None, held, reason: String::new() };
    street.run(0, &remove).unwrap();
    let request = street.request();
    let more = MoveQuotaCommand { request, count: 5, ..reclaim.clone() };
    assert_eq!(street.run(0, &Command::MoveQuota(more)).unwrap_err().fact("quota"), Some("4"));
    let request = street.request();
    street.run(0, &Command::MoveQuota(MoveQuotaCommand { request, ..reclaim })).unwrap();
    street.come_to_rest();
    assert_eq!(std::iter::from_fn(|| street.issue(2, promotion, None).ok()).count(), 4);
    assert!(street.redeem(1, &unheard.qr_text(), None).is_err(), "it is no member any more");
    street.come_to_rest();
    let views = street.shops[3].ledger.views();
    let loaded = Promotion::load(&*views, promotion, Currency::CNY).unwrap().unwrap();
    let shares = stock::shares(&*views, &loaded, 0).unwrap();
    let owners: Vec<_> = shares.iter().map(|share| (share.first, share.last, share.owner)).collect();
    assert_eq!(owners, [(1, 2, 0), (3, 6, 1)]);
}

#[test]
fn a_right_passed_on_twice_is_proven_and_charged_once() {
    let (mut street, token) = anywhere(212, |street| street.anywhere(1, &[2, 3]));
    street.meet();
    street.craft_pass(1, &token, 2, &[1, 2, 4], 1);
    street.craft_pass(1, &token, 3, &[1, 3, 4], 1);
    street.meet();
    for shop in [2, 3] {
        street.redeem(shop, &token.qr_text(), None).unwrap(); // both are honest, and are paid
    }
    street.come_to_rest();
    street.check_agreement("passed twice");
    for shop in 0..5 {
        assert_eq!(street.liable(shop), [street.id(1)], "shop {shop}");
    }
    assert_eq!((street.balance(2, 4), street.balance(3, 4)), (300, 300));
    // Two bounties of 1 yuan earned; 4 yuan owed for the proof, 4 for the second pass of the one use.
    assert_eq!(street.balance(1, 4), 200 - 400);
    let doubles = street.shops[4].state().summary.double_redemptions;
    assert_eq!(doubles, 1, "the funder sees it");
}

#[test]
fn two_vouchers_with_one_number_and_a_number_past_the_quota_are_proven() {
    let mut street = Street::new(213, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let genuine = street.issue(1, promotion, None).unwrap();
    street.meet();
    let forge = |street: &Street, change: fn(&mut VoucherBody)| {
        let mut body = genuine.body().clone();
        change(&mut body);
        Token::sign(body, &street.shops[1].keys.signing)
    };
    let twin = forge(&street, |body| body.secret = [7; 10]);
    let past = forge(&street, |body| body.key.number = 51);
    let foreign = Token::sign(twin.body().clone(), &street.shops[2].keys.signing);
    for token in [&twin, &past, &foreign] {
        assert_eq!(
            street.redeem(2, &token.qr_text(), None).unwrap_err(),
            Refusal::new(Reason::VoucherUnknown)
        );
    }
    street.come_to_rest();
    for shop in 0..4 {
        assert_eq!(street.liable(shop), [street.id(1); 2], "shop {shop}");
    }
    street.check_agreement("forged");
    assert_eq!(street.balance(3, 1), 400, "the twin is charged, what nobody can use is not");
    street.redeem(2, &twin.qr_text(), None).unwrap_err();
    street.come_to_rest();
    assert_eq!(street.balance(3, 1), 400, "once");
}

#[test]
fn more_uses_passed_on_than_were_left_are_charged() {
    let (mut street, token) = anywhere(214, |street| {
        let budget = Some(yuan(1_000).into());
        proto::Promotion { uses: 3, budget, ..street.anywhere(1, &[1, 2]) }
    });
    street.redeem(1, &token.qr_text(), None).unwrap();
    street.craft_pass(1, &token, 2, &[1, 2, 4], 3);
    street.come_to_rest();
    street.check_agreement("one too many");
    // It redeemed once for 3 yuan, and owes 3 uses of 4 yuan for one use too many.
    assert_eq!(street.balance(1, 4), 300 - 1_200);
}

#[test]
fn numbers_moved_on_after_they_were_handed_out_are_charged() {
    let mut street = Street::new(215, 3);
    let terms = street.leased(&[(1, 3), (2, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    let tag = street.request();
    let message = proto::QuotaMove {
        request: Some(proto::Request { id: tag.id, hash: tag.hash.to_vec().into() }),
        promotion_id: promotion.as_bytes().to_vec().into(),
        first: 1,
        count: 3,
        to: 1,
        ..Default::default()
    };
    street.plant(1, Kind::QuotaMove, &[], &message);
    street.come_to_rest();
    assert_eq!(street.balance(1, 0), -400);
    street.redeem(1, &token.qr_text(), None).unwrap();
    assert_eq!(std::iter::from_fn(|| street.issue(2, promotion, None).ok()).count(), 3);
    street.come_to_rest();
    street.check_agreement("moved what was sold");
}

#[test]
fn whoever_moves_on_a_number_that_another_shop_had_handed_out_is_not_charged() {
    let mut street = Street::new(227, 4);
    let terms = street.leased(&[(1, 3), (2, 0), (3, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    street.issue(1, promotion, None).unwrap();
    let tag = street.request();
    let message = proto::QuotaMove {
        request: Some(proto::Request { id: tag.id, hash: tag.hash.to_vec().into() }),
        promotion_id: promotion.as_bytes().to_vec().into(),
        first: 1,
        count: 3,
        to: 1,
        ..Default::default()
    };
    street.plant(1, Kind::QuotaMove, &[], &message);
    street.come_to_rest();
    street.move_quota(2, promotion, 3, 3).unwrap();
    street.come_to_rest();
    assert_eq!((street.balance(1, 0), street.balance(2, 0)), (-400, 0));
    street.check_agreement("moved twice");
}

#[test]
fn a_number_that_is_known_to_be_handed_out_is_not_handed_out_by_the_shop_that_got_it() {
    let mut street = Street::new(226, 3);
    let terms = street.leased(&[(1, 3), (0, 1)]);
    let promotion = street.publish(0, terms).unwrap(); // the funder hands out, too, and sees all hand-outs
    street.meet();
    street.issue(1, promotion, None).unwrap();
    street.meet();
    let tag = street.request();
    let message = proto::QuotaMove {
        request: Some(proto::Request { id: tag.id, hash: tag.hash.to_vec().into() }),
        promotion_id: promotion.as_bytes().to_vec().into(),
        first: 1,
        count: 2,
        to: 1,
        ..Default::default()
    };
    street.plant(1, Kind::QuotaMove, &[], &message);
    street.come_to_rest();
    let numbers: Vec<_> = std::iter::from_fn(|| street.issue(0, promotion, None).ok())
        .map(|token| (token.body().key.distributor, token.body().key.number))
        .collect();
    assert_eq!(numbers, [(1, 1), (0, 2)]);
    street.come_to_rest();
    street.check_agreement("one of two");
}

#[test]
fn a_revoked_voucher_is_refused_given_back_and_its_number_handed_out_again() {
    let mut street = Street::new(216, 4);
    let mut terms = street.terms(&[1], 2);
    terms.distributors[0].quota = 1;
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let first = street.issue(1, promotion, None).unwrap();
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    assert_eq!(
        street.revoke(2, &first).unwrap_err().reason,
        Reason::VoucherUnknown,
        "shop 2 has not heard of it"
    );
    street.meet();
    assert_eq!(street.revoke(2, &first).unwrap_err().reason, Reason::NotFunder);
    street.revoke(3, &first).unwrap();
    assert_eq!(street.revoke(3, &first).unwrap_err().reason, Reason::VoucherRevoked);
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    street.come_to_rest();
    assert_eq!(street.redeem(2, &first.qr_text(), None).unwrap_err().reason, Reason::VoucherRevoked);
    let second = street.issue(1, promotion, None).unwrap();
    let key = second.body().key;
    assert_eq!((key.number, key.round), (1, 1));
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    street.redeem(2, &second.qr_text(), None).unwrap();
    street.come_to_rest();
    street.check_agreement("handed out again");
    assert_eq!(street.state(1, &first), VoucherState::Revoked);
    assert_eq!(street.balance(2, 3), 300);
}

#[test]
fn a_revocation_that_comes_after_the_use_changes_nothing() {
    let (mut street, token) = Street::with_a_redemption(217);
    assert_eq!(street.revoke(1, &token).unwrap_err().reason, Reason::VoucherAlreadyRedeemed);
    let promotion = token.body().key.promotion;
    let other = street.issue(1, promotion, None).unwrap();
    street.carry(1, 2);
    street.redeem(2, &other.qr_text(), None).unwrap();
    street.revoke(1, &other).unwrap(); // it has not heard of the use
    street.come_to_rest();
    street.check_agreement("too late");
    assert_eq!(street.balance(2, 3), 600);
    assert_eq!(street.state(1, &other), VoucherState::Redeemed);
}

#[test]
fn vouchers_that_expired_unused_free_their_numbers() {
    let mut street = Street::new(218, 4);
    let mut terms = street.terms(&[1], 2);
    terms.distributors[0].quota = 2;
    terms.reuse_expired = true;
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let tokens = [0, 1].map(|_| street.issue(1, promotion, None).unwrap());
    street.meet();
    street.redeem(2, &tokens[0].qr_text(), None).unwrap();
    street.pass(10 * DAY_MS + HOUR_MS);
    street.come_to_rest();
    assert_eq!(
        street.issue(1, promotion, None).unwrap_err().reason,
        Reason::QuotaUsedUp,
        "late entries may come"
    );
    street.pass(7 * DAY_MS);
    street.come_to_rest();
    let again = street.issue(1, promotion, None).unwrap();
    assert_eq!((again.body().key.number, again.body().key.round), (2, 1));
    assert_eq!(street.issue(1, promotion, None).unwrap_err().reason, Reason::QuotaUsedUp);
    let issued = tokens[1].body().issued;
    let late = street.redeem_with(2, &tokens[1], |redeem| redeem.at = issued);
    assert!(late.is_err(), "the old one is good no more, whatever the till says of the time");
    street.redeem(2, &again.qr_text(), None).unwrap();
    street.come_to_rest();
    street.check_agreement("expired");
}

#[test]
fn a_leased_number_is_free_when_its_voucher_expired() {
    let mut street = Street::new(219, 3);
    let terms = proto::Promotion { reuse_expired: true, ..street.leased(&[(1, 1), (2, 0)]) };
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let first = street.issue(1, promotion, None).unwrap();
    street.pass(11 * DAY_MS);
    let refused = street.issue(1, promotion, None).unwrap_err();
    assert_eq!(refused.reason, Reason::QuotaUsedUp, "a use may still be entered late");
    street.pass(7 * DAY_MS);
    let second = street.issue(1, promotion, None).unwrap();
    assert_eq!(second.body().key, VoucherKey { round: 1, ..first.body().key });
    let at = first.body().issued;
    let old = street.redeem_with(1, &first, |redeem| redeem.at = at).unwrap_err();
    assert!(matches!(old.reason, Reason::VoucherExpired | Reason::TimeTooOld), "{old}");
    street.redeem(1, &second.qr_text(), None).unwrap();
    street.come_to_rest();
    street.check_agreement("again");
}

#[test]
fn a_bundle_is_used_as_often_as_it_says_and_reserved_as_often() {
    let mut street = Street::new(220, 4);
    let terms = proto::Promotion { uses: 3, budget: Some(yuan(600).into()), ..street.terms(&[1], 2) };
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    street.reserve(2, &token, "a", HOUR_MS).unwrap();
    street.reserve(2, &token, "a", 2 * HOUR_MS).unwrap(); // prolonged, not doubled
    street.reserve(2, &token, "b", HOUR_MS).unwrap();
    street.redeem(2, &token.qr_text(), None).unwrap();
    assert_eq!(street.state(2, &token), VoucherState::Reserved);
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::VoucherReserved);
    assert_eq!(street.reserve(2, &token, "c", HOUR_MS).unwrap_err().reason, Reason::VoucherReserved);
    street.redeem_with(2, &token, |redeem| redeem.reservation = "a".into()).unwrap();
    street.pass(HOUR_MS);
    assert_eq!(
        street.reserve(2, &token, "b", 0).unwrap_err().reason,
        Reason::ReservationUnknown,
        "it ran out"
    );
    let last = street.redeem(2, &token.qr_text(), None).unwrap();
    assert_eq!(street.redeem(2, &token.qr_text(), None).unwrap_err().reason, Reason::VoucherAlreadyRedeemed);
    street.void(2, last.id).unwrap();
    street.reserve(2, &token, "d", HOUR_MS).unwrap();
    street.reserve(2, &token, "d", 0).unwrap();
    street.redeem(2, &token.qr_text(), None).unwrap();
    street.come_to_rest();
    street.check_agreement("bundle");
    assert_eq!(street.balance(2, 3), 900);
}

#[test]
fn a_part_taken_back_lowers_the_discount_and_the_voucher_stays_used() {
    let mut street = Street::new(221, 4);
    let percent = proto::PercentOff { basis_points: 1_000, amount_max: Some(yuan(3).into()) };
    let benefit = Some(proto::Benefit { benefit: Some(proto::benefit::Benefit::PercentOff(percent)) });
    let terms = proto::Promotion { benefit, ..street.terms(&[1], 2) };
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    let receipt = street.redeem_with(2, &token, |redeem| redeem.purchase = Purchase::of(yuan(28))).unwrap();
    assert_eq!(receipt.discount.minor(), 280);
    let void = |street: &mut Street, returned: Option<Money>| {
        let (request, at, reason) = (street.request(), street.now, String::new());
        let void = VoidCommand { request, redemption: receipt.id, at, reason, returned };
        street.run(2, &Command::Void(void)).map(|executed| executed.answer)
    };
    for returned in [yuan(0), yuan(28), yuan(30)] {
        assert_eq!(void(&mut street, Some(returned)).unwrap_err().reason, Reason::FieldInvalid);
    }
    assert_eq!(void(&mut street, Some(yuan(19))).unwrap_err().reason, Reason::PurchaseTooLow);
    let Some(Answer::Voided { discount, .. }) = void(&mut street, Some(yuan(8))).unwrap() else { panic!() };
    assert_eq!(discount, yuan(2));
    let Some(Answer::Voided { discount, .. }) = void(&mut street, Some(yuan(5))).unwrap() else { panic!() };
    assert_eq!(discount.minor(), 150);
    assert_eq!(street.state(2, &token), VoucherState::Redeemed);
    street.come_to_rest();
    street.check_agreement("in parts");
    assert_eq!((street.balance(2, 3), street.balance(1, 3)), (150, 100));
    void(&mut street, None).unwrap();
    assert_eq!(void(&mut street, None).unwrap_err().reason, Reason::RedemptionAlreadyVoided);
    street.come_to_rest();
    street.check_agreement("whole");
    assert_eq!((street.balance(2, 3), street.balance(1, 3)), (0, 0));
    street.redeem(2, &token.qr_text(), None).unwrap();
}

#[test]
fn each_answer_is_given_again_to_the_same_request_from_rebuilt_views_too() {
    let (mut street, token) = anywhere(222, |street| {
        let other = street.bytes(3);
        let percent = proto::PercentOff { basis_points: 1_000, amount_max: Some(yuan(3).into()) };
        let benefit = Some(proto::Benefit { benefit: Some(proto::benefit::Benefit::PercentOff(percent)) });
        proto::Promotion { redeemer_ids: vec![other], benefit, ..street.terms(&[1], 2) }
    });
    street.meet();
    let mut commands = Vec::new();
    let presented = || Some(Presented::Token(token.clone()));
    let (request, at) = (street.request(), street.now);
    let key = "basket".to_owned();
    commands.push(Command::Reserve(ReserveCommand {
        request,
        presented: presented(),
        key,
        at,
        lifetime_ms: 0,
    }));
    if let Command::Reserve(reserve) = &mut commands[0] {
        reserve.lifetime_ms = HOUR_MS;
    }
    let Command::Redeem(mut redeem) = street.redemption(&token.qr_text(), yuan(28), None) else {
        unreachable!()
    };
    redeem.reservation = "basket".into();
    commands.push(Command::Redeem(redeem));
    let first: Vec<_> = commands.iter().map(|command| street.run(2, command).unwrap().answer).collect();
    let Some(Answer::Redeemed { redemption, .. }) = first[1] else { panic!("not redeemed") };
    let (request, reason) = (street.request(), String::new());
    let returned = Some(yuan(8));
    commands.push(Command::Void(VoidCommand { request, redemption, at, reason, returned }));
    let voided = street.run(2, &commands[2]).unwrap().answer;
    let answers: Vec<_> = first.into_iter().chain([voided]).collect();
    street.come_to_rest();
    let shop = &mut street.shops[2];
    shop.reopen(std::sync::Arc::new(hutong_store::views::MemViews::new()));
    for (command, answer) in commands.iter().zip(&answers) {
        let again = street.run(2, command).unwrap();
        assert_eq!((again.records.len(), &again.answer), (0, answer));
    }
    let Command::Void(other) = &mut commands[2] else { unreachable!() };
    other.request.hash = [1; 32];
    assert_eq!(street.run(2, &commands[2]).unwrap_err().reason, Reason::RequestIdReused);
}

#[test]
fn a_dry_run_says_what_a_redemption_would_say_and_writes_nothing() {
    let mut street = Street::new(223, 4);
    let terms = street.terms(&[1], 2);
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let bound = street.issue(1, promotion, Some(card(1))).unwrap();
    let bearer = street.issue(1, promotion, None).unwrap();
    let used = street.issue(1, promotion, None).unwrap();
    street.meet();
    street.redeem(2, &used.qr_text(), None).unwrap();
    let before = street.shops[2].ledger.head(street.id(2));
    let question = |card, presented: &[&Token], amount| Qualify {
        presented: presented.iter().map(|token| Presented::Token((*token).clone())).collect(),
        card,
        purchase: Purchase::of(amount),
        at: street.now,
    };
    let ask = |question| street.shops[2].ledger.qualify(&question, street.now).unwrap();
    let found = ask(question(Some(card(1)), &[&bearer, &used], yuan(40)));
    let applies = Applies { discount: yuan(3), eligible: yuan(40), needs_confirmation: false };
    let outcomes: Vec<_> =
        found.iter().map(|q| q.outcome.clone().map_err(|refusal| refusal.reason)).collect();
    assert_eq!(outcomes, [Ok(applies), Err(Reason::VoucherAlreadyRedeemed), Ok(applies)]);
    assert_eq!(found[2].voucher, Some(bound.body().key));
    let low = ask(question(None, &[&bearer, &bound], yuan(5)));
    let reasons: Vec<_> = low.iter().map(|q| q.outcome.as_ref().unwrap_err().reason).collect();
    assert_eq!(reasons, [Reason::PurchaseTooLow, Reason::CardRequired]);
    assert_eq!(street.shops[2].ledger.head(street.id(2)), before);
    let nothing = street.shops[2].ledger.qualify(&question(None, &[], yuan(0)), street.now);
    assert!(matches!(nothing, Err(ExecuteError::Refused(refusal)) if refusal.reason == Reason::FieldInvalid));
}

#[test]
fn a_dry_run_of_an_anywhere_voucher_says_that_its_home_must_be_asked() {
    let (street, token) = anywhere(224, |street| street.anywhere(1, &[2, 3]));
    let question = Qualify {
        presented: vec![Presented::Token(token)],
        card: None,
        purchase: Purchase::of(yuan(40)),
        at: street.now,
    };
    let found = street.shops[2].ledger.qualify(&question, street.now).unwrap();
    assert!(found[0].outcome.as_ref().unwrap().needs_confirmation);
    let elsewhere = street.shops[0].ledger.qualify(&question, street.now).unwrap();
    assert_eq!(elsewhere[0].outcome.as_ref().unwrap_err().reason, Reason::VoucherWrongShop);
}

#[test]
fn an_answer_counts_from_the_shop_that_was_asked_alone() {
    let (mut street, token) = anywhere(230, |street| street.at_risk(1, &[2, 3]));
    street.accept_at_risk(2, &token).unwrap();
    let views = street.shops[2].ledger.views();
    let request =
        hutong_core::command::last_asked(&*views, &token.body().key, street.id(2)).unwrap().unwrap();
    let denial = proto::RightDenial {
        right_request_id: request.as_bytes().to_vec().into(),
        reason: Reason::VoucherAlreadyRedeemed.code().into(),
        facts: Vec::new(),
    };
    street.plant(3, Kind::RightDenial, &[2, 3], &denial);
    street.carry(3, 2);
    assert_eq!(street.outcome(2, request), Asked::Waits);
    street.come_to_rest();
    assert_eq!(street.balance(2, 4), 300, "the right came, and the use is settled");
    street.check_agreement("a forged denial");
}

#[test]
fn who_got_numbers_or_a_right_from_a_cheat_is_not_charged_for_the_cheat() {
    let mut street = Street::new(231, 4);
    let terms = street.leased(&[(1, 3), (2, 0), (3, 0)]);
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    street.issue(1, promotion, None).unwrap();
    let tag = street.request();
    let moved = proto::QuotaMove {
        request: Some(proto::Request { id: tag.id, hash: tag.hash.to_vec().into() }),
        promotion_id: promotion.as_bytes().to_vec().into(),
        first: 1,
        count: 3,
        to: 1,
        ..Default::default()
    };
    let first = street.plant(1, Kind::QuotaMove, &[], &moved);
    street.come_to_rest();
    let tag = street.request();
    let onwards = proto::QuotaMove {
        request: Some(proto::Request { id: tag.id, hash: tag.hash.to_vec().into() }),
        to: 2,
        move_id: first.id().as_bytes().to_vec().into(),
        ..moved
    };
    street.plant(2, Kind::QuotaMove, &[], &onwards);
    street.come_to_rest();
    street.check_agreement("moved on in good faith");
    assert_eq!((street.balance(1, 0), street.balance(2, 0)), (-400, 0));
}

#[test]
fn a_leased_number_that_was_used_is_not_handed_out_again_by_a_cheat() {
    let mut street = Street::new(232, 3);
    let terms = proto::Promotion { reuse_expired: true, ..street.leased(&[(1, 1), (2, 0)]) };
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let first = street.issue(1, promotion, None).unwrap();
    street.redeem(1, &first.qr_text(), None).unwrap();
    let body = VoucherBody { key: VoucherKey { round: 1, ..first.body().key }, ..first.body().clone() };
    let token = Token::sign(body, &street.shops[1].keys.signing);
    let tag = street.request();
    let request = Some(proto::Request { id: tag.id, hash: tag.hash.to_vec().into() });
    let issue = proto::VoucherIssue { request, token: token.bytes().to_vec().into() };
    street.plant(1, Kind::VoucherIssue, &[0, 1], &issue);
    street.come_to_rest();
    for shop in [0, 1] {
        let views = street.shops[shop].ledger.views();
        assert_eq!(report::voucher(&*views, &token.body().key).unwrap(), None, "shop {shop}");
    }
    street.check_agreement("used, and handed out again");
}

#[test]
fn a_refused_request_stays_refused_whatever_happens_meanwhile() {
    let mut street = Street::new(233, 4);
    let mut terms = street.terms(&[1], 2);
    terms.redeemer_ids = vec![street.bytes(3)];
    let promotion = street.publish(3, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    street.meet();
    let presented = Some(Presented::Token(token.clone()));
    street.reserve(2, &token, "a", HOUR_MS).unwrap();
    let transfer =
        TransferCommand { request: street.request(), presented: presented.clone(), to: street.id(3) };
    let (request, at, key) = (street.request(), street.now, "b".into());
    let reserve = ReserveCommand { request, presented, key, at, lifetime_ms: HOUR_MS };
    let commands = [Command::Transfer(transfer), Command::Reserve(reserve)];
    let refused = commands.each_ref().map(|command| street.run(2, command).unwrap_err());
    assert_eq!(refused.each_ref().map(|refusal| refusal.reason), [Reason::VoucherReserved; 2]);
    street.reserve(2, &token, "a", 0).unwrap(); // it is free now
    let again = commands.each_ref().map(|command| street.run(2, command).unwrap_err());
    assert_eq!(again, refused);
    street.transfer(2, &token, 3).unwrap(); // another request
}
