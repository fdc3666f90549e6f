//! What two shops owe each other, as this shop sees it: positive amounts are what the ally owes.

use hutong_core::charter::SettlementRules;
use hutong_core::settlement::{
    book::{Line, Matter},
    clearing::Run,
    compare::Differences,
    credit::{Line as CreditLine, Word},
    exposure::{Level, Limit},
    payment::{Outcome, Payment},
    statement::{Case, Statement},
};
use hutong_record::{Currency, ShopId, UnixMillis, proto as record};

use super::{merchant, minor_message, timestamp};

/// One entry of a book.
pub fn line_message(line: &Line, currency: Currency) -> merchant::BookLine {
    let matter = match line.matter {
        Matter::Bounty => merchant::BookLineType::Bounty,
        Matter::Reimbursement => merchant::BookLineType::Reimbursement,
        Matter::Offence => merchant::BookLineType::Offence,
        Matter::TakenBack => merchant::BookLineType::TakenBack,
        Matter::Conceded => merchant::BookLineType::Conceded,
        Matter::Payment => merchant::BookLineType::Payment,
        Matter::Netted => merchant::BookLineType::Netted,
        Matter::CreditLine => merchant::BookLineType::CreditLine,
        Matter::CarriedOver => merchant::BookLineType::CarriedOver,
    };
    merchant::BookLine {
        record_id: line.record.to_string(),
        index: line.index.into(),
        time: Some(timestamp(line.at)),
        r#type: matter.into(),
        debtor_id: line.debtor.to_string(),
        creditor_id: line.creditor.to_string(),
        amount: Some(minor_message(line.minor, currency)),
        receipt_id: line.receipt.map(|id| id.to_string()).unwrap_or_default(),
        disputed: line.disputed,
    }
}

/// How long shops have to settle, as a charter says it.
pub fn settlement_rules(message: merchant::SettlementRules) -> record::SettlementRules {
    record::SettlementRules { period_days: message.period_days, dispute_days: message.dispute_days }
}

/// How long shops have to settle, defaults told.
pub fn settlement_rules_message(rules: SettlementRules) -> merchant::SettlementRules {
    merchant::SettlementRules { period_days: rules.period_days, dispute_days: rules.dispute_days }
}

/// What is said to a receipt.
pub fn receipt_answer(answer: merchant::ReceiptAnswer) -> record::ReceiptAnswer {
    match answer {
        merchant::ReceiptAnswer::Accept => record::ReceiptAnswer::Accept,
        merchant::ReceiptAnswer::Dispute => record::ReceiptAnswer::Dispute,
        merchant::ReceiptAnswer::Withdraw => record::ReceiptAnswer::Withdraw,
        merchant::ReceiptAnswer::Concede => record::ReceiptAnswer::Concede,
        merchant::ReceiptAnswer::Unspecified => record::ReceiptAnswer::Unspecified,
    }
}

/// Why a receipt is disputed.
pub fn dispute_reason(reason: merchant::DisputeReason) -> record::DisputeReason {
    match reason {
        merchant::DisputeReason::NoPurchase => record::DisputeReason::NoPurchase,
        merchant::DisputeReason::Amount => record::DisputeReason::Amount,
        merchant::DisputeReason::Credit => record::DisputeReason::Credit,
        merchant::DisputeReason::Returned => record::DisputeReason::Returned,
        merchant::DisputeReason::SelfDealing => record::DisputeReason::SelfDealing,
        merchant::DisputeReason::Other => record::DisputeReason::Other,
        merchant::DisputeReason::Unspecified => record::DisputeReason::Unspecified,
    }
}

/// The two shops of a book, in the order of who looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Sides {
    /// Who looks.
    pub me: ShopId,
    /// The other one.
    pub ally: ShopId,
    /// The alliance's.
    pub currency: Currency,
}

impl Sides {
    /// What the higher shop owes the lower one, as this shop sees it.
    pub fn money(self, high_owes_low_minor: i64) -> merchant::Money {
        let sign = if self.me < self.ally { 1 } else { -1 };
        minor_message(sign * i128::from(high_owes_low_minor), self.currency)
    }
}

/// A statement, and how it stands; `draft`: what this shop would sign, where nobody has signed. None: there is nothing.
pub fn statement_message(
    case: &Case,
    draft: Option<&Statement>,
    sides: Sides,
) -> Option<merchant::Statement> {
    use merchant::StatementState as State;
    let (own, theirs) = (case.own.last(), case.theirs.last());
    let signed = own.or(theirs).map(|signed| &signed.content);
    let (state, content) = match &case.agreed {
        Some(agreed) => (State::Agreed, &agreed.content),
        None if case.differs() => (State::Differs, signed?),
        None if own.is_some() => (State::Signed, signed?),
        None if theirs.is_some() => (State::Offered, signed?),
        None => (State::Draft, draft?),
    };
    let (mut own_id, mut ally_id) = (own.map(|s| s.record), theirs.map(|s| s.record));
    if let Some(agreed) = &case.agreed {
        let (low, high) = (Some(agreed.low), Some(agreed.high));
        (own_id, ally_id) = if sides.me < sides.ally { (low, high) } else { (high, low) };
    }
    let text = |id: Option<hutong_record::RecordId>| id.map(|id| id.to_string()).unwrap_or_default();
    Some(merchant::Statement {
        ally_id: sides.ally.to_string(),
        number: content.number,
        period_start_time: (content.start.ms() > 0).then(|| timestamp(content.start)),
        period_end_time: Some(timestamp(content.end)),
        state: state.into(),
        opening: Some(sides.money(content.opening_minor)),
        lines: Some(sides.money(content.lines_minor)),
        line_count: content.line_count,
        correction: Some(sides.money(content.correction_minor)),
        closing: Some(sides.money(content.closing_minor)),
        disputed: Some(sides.money(content.disputed_minor)),
        lines_digest: data_encoding::HEXLOWER.encode(&content.lines_digest),
        digest: data_encoding::HEXLOWER.encode(&content.digest()),
        own_record_id: text(own_id),
        ally_record_id: text(ally_id),
    })
}

/// What makes two statements differ; days as text.
pub fn differences_message(
    found: &Differences,
    days: Vec<String>,
    sides: Sides,
) -> merchant::CompareStatementResponse {
    let line = |line: &hutong_core::settlement::compare::LineDifference| merchant::LineDifference {
        record_id: line.record.to_string(),
        index: line.index.into(),
        own: line.own.map(|minor| sides.money(minor)),
        ally: line.theirs.map(|minor| sides.money(minor)),
    };
    merchant::CompareStatementResponse {
        equal: found.fields.is_empty(),
        fields: found.fields.iter().map(|name| (*name).to_owned()).collect(),
        lines: found.lines.iter().map(line).collect(),
        days,
    }
}

/// A payment.
pub fn payment_message(payment: &Payment, currency: Currency) -> merchant::SettlementPayment {
    let (state, reason) = match &payment.outcome {
        Outcome::Open => (merchant::PaymentState::Open, String::new()),
        Outcome::Confirmed => (merchant::PaymentState::Confirmed, String::new()),
        Outcome::Denied(reason) => (merchant::PaymentState::Denied, reason.clone()),
    };
    let (_, debtor, _) = payment.books();
    merchant::SettlementPayment {
        id: payment.id.to_string(),
        payer_id: payment.payer.to_string(),
        payee_id: payment.payee.to_string(),
        amount: Some(minor_message(payment.minor.into(), currency)),
        payment_time: Some(timestamp(payment.paid)),
        reference: payment.reference.clone(),
        state: state.into(),
        reason,
        carried_over_from_id: payment.carried.map(|carried| carried.of.to_string()).unwrap_or_default(),
        debtor_id: payment.carried.map(|_| debtor.to_string()).unwrap_or_default(),
    }
}

/// A netting run; `missing`: the shops whose consent it needs still.
pub fn run_message(run: &Run, missing: &[ShopId], currency: Currency) -> merchant::NettingRun {
    let money = |minor: i64| Some(minor_message(minor.into(), currency));
    let result = run.result();
    let debt = |debt: &hutong_core::settlement::clearing::RunDebt| merchant::NettedDebt {
        debtor_id: debt.debtor.to_string(),
        creditor_id: debt.creditor.to_string(),
        amount: money(debt.minor),
        left: money(debt.left_minor),
    };
    let line = |line: &hutong_core::settlement::clearing::RunLine| merchant::NettedLine {
        debtor_id: line.debtor.to_string(),
        creditor_id: line.creditor.to_string(),
        limit: money(line.limit_minor),
        drawn: money(line.drawn_minor),
    };
    let consented = run.touched().into_iter().filter(|shop| !missing.contains(shop));
    merchant::NettingRun {
        id: run.id.to_string(),
        proposer_id: run.author.to_string(),
        period_end_time: Some(timestamp(run.period)),
        debts: run.debts.iter().map(debt).collect(),
        total: money(result.total),
        cleared: money(result.cleared),
        remainder: money(result.remainder),
        consented_ids: consented.map(|shop| shop.to_string()).collect(),
        missing_ids: missing.iter().map(ToString::to_string).collect(),
        in_effect: run.in_effect,
        lines: run.lines.iter().map(line).collect(),
        drawn: money(result.drawn),
    }
}

/// A credit line, as it stands at a moment.
pub fn credit_line_message(line: &CreditLine, at: UnixMillis, currency: Currency) -> merchant::LineOfCredit {
    let money = |minor: i64| minor_message(minor.into(), currency);
    let limit = |word: &Option<Word>| word.as_ref().map(|word| money(word.limit_minor));
    let until = |word: &Option<Word>| word.as_ref().and_then(|word| word.until).map(timestamp);
    merchant::LineOfCredit {
        creditor_id: line.creditor.to_string(),
        debtor_id: line.debtor.to_string(),
        offered: limit(&line.offered),
        offer_until_time: until(&line.offered),
        accepted: limit(&line.accepted),
        accept_until_time: until(&line.accepted),
        drawn: Some(money(line.drawn_minor())),
        available: Some(money(line.open_minor(at))),
    }
}

/// How much an ally may owe, and what it does; no ally: the limits of all that have none of their own.
pub fn exposure_message(
    ally: Option<ShopId>,
    owed_minor: i128,
    limit: Limit,
    currency: Currency,
) -> merchant::Exposure {
    let state = match limit.level(owed_minor) {
        Level::Within => merchant::ExposureState::Within,
        Level::Warned => merchant::ExposureState::Warned,
        Level::Stopped => merchant::ExposureState::Stopped,
    };
    let money = |minor: Option<i64>| minor.map(|minor| minor_message(minor.into(), currency));
    merchant::Exposure {
        ally_id: ally.map(|ally| ally.to_string()).unwrap_or_default(),
        owed: Some(minor_message(owed_minor, currency)),
        warn: money(limit.warn_minor),
        stop: money(limit.stop_minor),
        state: state.into(),
    }
}
