//! What the tills of a street do.

use hutong_core::{
    answer::{Answer, RequestTag},
    command::{Command, Confirmation, IssueCommand, RedeemCommand, SaleCommand, TouchCommand, VoidCommand},
    promotion::Purchase,
    refusal::Refusal,
    voucher::{Presented, Token},
};
use hutong_record::{CardId, Currency, Money, RecordId, proto, request_hash};

use crate::street::{DAY_MS, Street};

pub(crate) fn yuan(yuan: i64) -> Money {
    Money::new(Currency::CNY, yuan * 100).unwrap()
}

pub(crate) const fn card(n: u8) -> CardId {
    CardId::new([n; 16])
}

/// A receipt as the till gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) id: RecordId,
    pub(crate) discount: Money,
    pub(crate) credited: hutong_record::ShopId,
}

impl Street {
    /// A request that was not made before.
    pub(crate) fn request(&mut self) -> RequestTag {
        self.requests += 1;
        let id = format!("till-{}", self.requests);
        RequestTag { hash: request_hash(id.as_bytes()), id }
    }

    /// A new request, as records name it.
    pub(crate) fn named_request(&mut self) -> Option<proto::Request> {
        let RequestTag { id, hash } = self.request();
        Some(proto::Request { id, hash: hash.to_vec().into() })
    }

    /// 3 yuan off for 20 spent, 1 yuan bounty, 50 vouchers a distributor, 30 days to hand out.
    pub(crate) fn terms(&self, distributors: &[usize], redeemer: usize) -> proto::Promotion {
        let distributor = |shop: &usize| proto::Distributor { shop_id: self.bytes(*shop), quota: 50 };
        proto::Promotion {
            title: "面馆请你吃水果".into(),
            distributors: distributors.iter().map(distributor).collect(),
            redeemer_id: self.bytes(redeemer),
            earn_spend_min: Some(yuan(20).into()),
            benefit: Some(proto::Benefit {
                benefit: Some(proto::benefit::Benefit::AmountOff(yuan(3).into())),
            }),
            redeem_spend_min: Some(yuan(10).into()),
            starts_unix_ms: self.now.ms() - DAY_MS,
            ends_unix_ms: self.now.ms() + 30 * DAY_MS,
            voucher_valid_ms: 10 * DAY_MS,
            per_card_max: 0,
            per_day_max: 0,
            budget: Some(yuan(50 * 4 * i64::try_from(distributors.len()).unwrap()).into()),
            bounty: Some(yuan(1).into()),
            card_required: false,
            ..Default::default()
        }
    }

    /// Four shops that all know: shop 1 handed out a voucher, shop 2 redeemed it, shop 3 pays for it.
    pub(crate) fn with_a_redemption(seed: u64) -> (Self, Token) {
        let mut street = Self::new(seed, 4);
        let terms = street.terms(&[1], 2);
        street.publish(3, terms).unwrap();
        street.meet();
        let token = street.sell(1, yuan(20), None).remove(0);
        street.redeem(2, &token.qr_text(), None).unwrap();
        street.meet();
        (street, token)
    }

    pub(crate) fn bytes(&self, shop: usize) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(self.id(shop).as_bytes())
    }

    pub(crate) fn publish(&mut self, funder: usize, terms: proto::Promotion) -> Result<RecordId, Refusal> {
        let request = self.request();
        match self.run(funder, &Command::Publish { request, promotion: Box::new(terms) })?.answer {
            Some(Answer::Published { promotion }) => Ok(promotion),
            other => panic!("not an answer to a publication: {other:?}"),
        }
    }

    pub(crate) fn sale(&mut self, amount: Money, card: Option<CardId>) -> Command {
        let (request, sold) = (self.request(), self.now);
        Command::Sell(SaleCommand { request, sold, card, amount, reference: "01".into() })
    }

    /// Sells, and gives the vouchers that the sale earned.
    pub(crate) fn sell(&mut self, shop: usize, amount: Money, card: Option<CardId>) -> Vec<Token> {
        let command = self.sale(amount, card);
        match self.run(shop, &command).unwrap().answer {
            Some(Answer::HandedOut { tokens, .. }) => tokens,
            other => panic!("not an answer to a sale: {other:?}"),
        }
    }

    /// Hands a voucher out by hand.
    pub(crate) fn issue(
        &mut self,
        shop: usize,
        promotion: RecordId,
        card: Option<CardId>,
    ) -> Result<Token, Refusal> {
        let (request, at) = (self.request(), self.now);
        match self
            .run(shop, &Command::Issue(IssueCommand { request, promotion, card, at, redeemer: None }))?
            .answer
        {
            Some(Answer::HandedOut { mut tokens, .. }) => Ok(tokens.remove(0)),
            other => panic!("not an answer to a hand-out: {other:?}"),
        }
    }

    pub(crate) fn redemption(&mut self, shown: &str, amount: Money, card: Option<CardId>) -> Command {
        let (request, at) = (self.request(), self.now);
        let presented: Option<Presented> = shown.parse().ok();
        let reference = "02".into();
        Command::Redeem(RedeemCommand {
            request,
            presented,
            purchase: Purchase::of(amount),
            card,
            at,
            reference,
            reservation: String::new(),
            confirmation: Confirmation::NotAsked,
        })
    }

    /// Redeems what the customer shows, for 40 yuan.
    pub(crate) fn redeem(
        &mut self,
        shop: usize,
        shown: &str,
        card: Option<CardId>,
    ) -> Result<Receipt, Refusal> {
        let command = self.redemption(shown, yuan(40), card);
        self.run(shop, &command).map(|executed| receipt(executed.answer))
    }

    pub(crate) fn void(&mut self, shop: usize, redemption: RecordId) -> Result<(), Refusal> {
        let (request, at) = (self.request(), self.now);
        let void = VoidCommand { request, redemption, at, reason: "退货".into(), returned: None };
        self.run(shop, &Command::Void(void)).map(|_| ())
    }

    pub(crate) fn touch(&mut self, from: usize, to: usize, card: CardId) -> Result<(), Refusal> {
        let (request, at) = (self.request(), self.now);
        let kind = proto::TouchKind::Invite;
        let touch = TouchCommand { request, kind, to: self.id(to), card, at, channel: "海报".into() };
        self.run(from, &Command::Touch(touch)).map(|_| ())
    }
}

pub(crate) fn receipt(answer: Option<Answer>) -> Receipt {
    match answer {
        Some(Answer::Redeemed { redemption, discount, credited, .. }) => {
            Receipt { id: redemption, discount, credited }
        }
        other => panic!("not an answer to a redemption: {other:?}"),
    }
}
