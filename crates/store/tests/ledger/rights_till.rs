//! What tills, nodes and cheats do with rights and numbers.

use hutong_core::{
    command::{
        AskRightCommand, Asked, Command, Confirmation, MoveQuotaCommand, RedeemCommand, ReserveCommand,
        RevokeCommand, TransferCommand, asked, last_asked,
    },
    proof,
    refusal::Refusal,
    report,
    right::{Act, Statement},
    voucher::{Presented, Token, VoucherState},
};
use hutong_record::{RecordId, ShopId, proto, proto::Kind};
use hutong_store::ledger::Executed;

use crate::{
    street::{DAY_MS, Street},
    till::{Receipt, receipt, yuan},
};

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

    /// A shop's own last request for a voucher's right.
    pub(crate) fn last_asked(&self, shop: usize, token: &Token) -> RecordId {
        let views = self.shops[shop].ledger.views();
        last_asked(&*views, &token.body().key, self.id(shop)).unwrap().unwrap()
    }

    pub(crate) fn outcome(&self, shop: usize, request: RecordId) -> Asked {
        asked(&*self.shops[shop].ledger.views(), request).unwrap().unwrap()
    }

    /// The home has not passed the right on, and why.
    pub(crate) fn denial(&self, shop: usize, request: RecordId) -> Refusal {
        match self.outcome(shop, request) {
            Asked::Denied(refusal) => refusal,
            other => panic!("not denied: {other:?}"),
        }
    }

    /// A shop asks a voucher's home for the right, and nobody else hears of the question or the answer.
    pub(crate) fn ask_alone(&mut self, shop: usize, home: usize, token: &Token) -> RecordId {
        let request = self.ask_right(shop, token, shop);
        self.carry(shop, home);
        self.tend(home);
        self.carry(home, shop);
        request
    }

    /// Nobody owes others anything.
    pub(crate) fn check_no_duties(&self) {
        for (at, shop) in self.shops.iter().enumerate() {
            assert_eq!(shop.ledger.duties(self.now, 10).unwrap(), [], "shop {at}");
        }
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

    pub(crate) fn state(&self, shop: usize, token: &Token) -> VoucherState {
        self.voucher(shop, token).state(self.now)
    }

    pub(crate) fn voucher(&self, shop: usize, token: &Token) -> hutong_core::voucher::Voucher {
        report::voucher(&*self.shops[shop].ledger.views(), &token.body().key).unwrap().unwrap()
    }

    pub(crate) fn liable(&self, shop: usize) -> Vec<ShopId> {
        let proofs = proof::all(&*self.shops[shop].ledger.views()).unwrap();
        proofs.into_iter().map(|(liable, _)| liable).collect()
    }

    /// A pass that an honest node would not sign, put on record.
    pub(crate) fn craft_pass(&mut self, from: usize, token: &Token, to: usize, parties: &[usize], uses: u32) {
        self.craft_passes(from, &[token], to, parties, uses);
    }

    /// Several such passes in one record.
    pub(crate) fn craft_passes(
        &mut self,
        from: usize,
        tokens: &[&Token],
        to: usize,
        parties: &[usize],
        uses: u32,
    ) {
        let (shop, to) = (self.id(from), self.id(to));
        let passed = tokens.iter().map(|token| {
            let act = Act::Pass { to, uses };
            let statement = Statement { voucher: token.body().key, step: 0, shop, act, key_epoch: 0 };
            let passes = vec![statement.sign(&self.shops[from].keys.signing)];
            proto::PassedVoucher { token: token.bytes().to_vec().into(), passes }
        });
        let message = proto::VoucherTransfer { vouchers: passed.collect(), ..Default::default() };
        self.plant(from, Kind::VoucherTransfer, parties, &message);
    }

    /// The proofs that a shop holds.
    pub(crate) fn proofs(&self, shop: usize) -> Vec<proto::VoucherProof> {
        let found = proof::all(&*self.shops[shop].ledger.views()).unwrap();
        found.into_iter().map(|(_, proof)| proof).collect()
    }

    /// A hand-out that an honest node would not sign.
    pub(crate) fn craft_issue(&mut self, shop: usize, token: &Token, parties: &[usize]) {
        let request = self.named_request();
        let message = proto::VoucherIssue { request, token: token.bytes().to_vec().into() };
        self.plant(shop, Kind::VoucherIssue, parties, &message);
    }

    /// A revocation that an honest node would not sign, or not send there.
    pub(crate) fn craft_revocation(&mut self, shop: usize, token: &Token, parties: &[usize]) {
        let message = proto::VoucherRevocation {
            request: self.named_request(),
            token: token.bytes().to_vec().into(),
            revoked_unix_ms: self.now.ms(),
            ..Default::default()
        };
        self.plant(shop, Kind::VoucherRevocation, parties, &message);
    }

    /// Numbers 1 to `count` of the first distributor go to the second one, by a record that an honest node would not sign.
    pub(crate) fn craft_move(&mut self, from: usize, promotion: RecordId, count: u32) {
        let message = proto::QuotaMove {
            request: self.named_request(),
            promotion_id: promotion.as_bytes().to_vec().into(),
            first: 1,
            count,
            to: 1,
            ..Default::default()
        };
        self.plant(from, Kind::QuotaMove, &[], &message);
    }
}

/// Shops 0 to 4: shop 4 funds what shop 1 hands out and shops 2 and 3 redeem. One voucher is out.
pub(crate) fn anywhere(seed: u64, terms: fn(&Street) -> proto::Promotion) -> (Street, Token) {
    let mut street = Street::new(seed, 5);
    let terms = terms(&street);
    let promotion = street.publish(4, terms).unwrap();
    street.meet();
    let token = street.issue(1, promotion, None).unwrap();
    (street, token)
}
