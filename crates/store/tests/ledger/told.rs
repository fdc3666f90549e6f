//! What tills were told stays told, also where a seal takes away, long after, what their shop went by.

use std::sync::Arc;

use hutong_core::{
    answer::Answer,
    command::{Command, IssueCommand, ReserveCommand, RevokeCommand, VoidCommand},
    refusal::Reason,
    voucher::{Presented, Token},
};
use hutong_record::RecordId;
use hutong_store::views::MemViews;

use crate::{
    street::Street,
    till::{receipt, yuan},
};

/// Shop 2, which goes by numbers that shop 1 moved to it, and what it told its tills.
struct Tills {
    street: Street,
    promotion: RecordId,
    told: Vec<(Command, Option<Answer>)>,
}

impl Tills {
    fn ask(&mut self, command: Command) -> Option<Answer> {
        let answer = self.street.run(2, &command).unwrap().answer;
        self.told.push((command, answer.clone()));
        answer
    }

    fn issue(&mut self) -> Token {
        let (request, at) = (self.street.request(), self.street.now);
        let issue = IssueCommand { request, promotion: self.promotion, card: None, at, redeemer: None };
        match self.ask(Command::Issue(issue)) {
            Some(Answer::HandedOut { mut tokens, .. }) => tokens.remove(0),
            other => panic!("not an answer to a hand-out: {other:?}"),
        }
    }

    fn redeem(&mut self, token: &Token) -> RecordId {
        let command = self.street.redemption(&token.qr_text(), yuan(40), None);
        receipt(self.ask(command)).id
    }

    fn void(&mut self, redemption: RecordId, returned: Option<i64>) {
        let (request, at) = (self.street.request(), self.street.now);
        let (reason, returned) = ("退货".into(), returned.map(yuan));
        self.ask(Command::Void(VoidCommand { request, redemption, at, reason, returned }));
    }

    fn check_told(&mut self, context: &str) {
        for (command, told) in &self.told {
            let again = self.street.run(2, command).unwrap_or_else(|e| panic!("{context}: {command:?}: {e}"));
            assert_eq!((again.answer.as_ref(), again.records.len()), (told.as_ref(), 0), "{context}");
        }
    }
}

/// Numbers come from shop 1 by a move, and the street holds what lies before that move as shop 1's last record.
fn tills(uses: u32) -> (Tills, u64) {
    let mut street = Street::new(521, 4);
    let mut terms = street.leased(&[(1, 6), (2, 0)]);
    terms.uses = uses;
    let promotion = street.publish(0, terms).unwrap();
    street.meet();
    let seal = street.shops[1].ledger.head(street.id(1)).map_or(0, |head| head.sequence);
    street.move_quota(1, promotion, 2, 6).unwrap();
    street.meet();
    (Tills { street, promotion, told: Vec::new() }, seal)
}

#[test]
fn what_a_till_was_told_stays_where_its_record_does_not_count_any_more() {
    let (mut tills, seal) = tills(3);
    let token = tills.issue();
    let first = tills.redeem(&token);
    tills.void(first, Some(5));
    let second = tills.redeem(&token);
    tills.void(second, None);
    tills.redeem(&token);
    let (kept, taken_back) = (tills.issue(), tills.issue());
    let (request, at) = (tills.street.request(), tills.street.now);
    let presented = Some(Presented::Token(kept));
    let reserve = ReserveCommand { request, presented, key: "sat".into(), at, lifetime_ms: 3_600_000 };
    tills.ask(Command::Reserve(reserve));
    let (request, presented) = (tills.street.request(), Some(Presented::Token(taken_back)));
    tills.ask(Command::Revoke(RevokeCommand { request, presented, at, reason: "误发".into() }));
    tills.check_told("before the seal");

    let (shop, reason) = (tills.street.id(1), "失联".into());
    let remove = Command::Remove { shop, last_sequence: Some(seal), held: 0, reason };
    tills.street.run(0, &remove).unwrap();
    tills.street.meet();
    tills.street.check_agreement("the move lies past the seal");
    assert_eq!(tills.street.balance(2, 0), 0, "what the move brought does not count");
    tills.check_told("after the seal");
    let again = tills.street.redeem(2, &token.qr_text(), None).unwrap_err();
    assert!(!matches!(again.reason, Reason::Internal), "{again}");
    tills.street.shops[2].reopen(Arc::new(MemViews::new()));
    tills.check_told("folded anew");
}

#[test]
fn what_a_removed_shop_told_its_tills_past_the_seal_stays_told() {
    let (mut tills, _) = tills(1);
    let seal = tills.street.shops[2].ledger.head(tills.street.id(2)).map_or(0, |head| head.sequence);
    let token = tills.issue();
    let redemption = tills.redeem(&token);
    tills.void(redemption, Some(5));
    let sale = tills.street.sale(yuan(7), None);
    tills.ask(sale);
    let (shop, reason) = (tills.street.id(2), "失联".into());
    let remove = Command::Remove { shop, last_sequence: Some(seal), held: 0, reason };
    tills.street.run(0, &remove).unwrap();
    tills.street.meet();
    tills.check_told("past its own seal");
    tills.street.shops[2].reopen(Arc::new(MemViews::new()));
    tills.check_told("folded anew");
}
