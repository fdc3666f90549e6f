//! Keys of what shops owe each other: a pair's book, exposure, netting, credit lines.

use super::*;

/// The place of a line in a pair's book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineKey {
    pub(crate) at: UnixMillis,
    pub(crate) author: ShopId,
    pub(crate) sequence: u64,
    pub(crate) index: u8,
}

pub(crate) fn lines(pair: PairId) -> Vec<u8> {
    key(LINE, &[pair.as_bytes()])
}

pub(crate) fn line(pair: PairId, line: &LineKey) -> Vec<u8> {
    let LineKey { at, author, sequence, index } = line;
    let (at, sequence) = (at.ms().to_be_bytes(), sequence.to_be_bytes());
    key(LINE, &[pair.as_bytes(), &at, author.as_bytes(), &sequence, &[*index]])
}

/// After this key come the lines from a moment on.
pub(crate) fn line_before(pair: PairId, from: UnixMillis) -> Vec<u8> {
    key(LINE, &[pair.as_bytes(), &from.ms().to_be_bytes()])
}

pub(crate) fn parse_line(key: &[u8]) -> Option<LineKey> {
    let rest = key.get(1 + PairId::BYTES..)?;
    let number = |range: core::ops::Range<usize>| Some(u64::from_be_bytes(rest.get(range)?.try_into().ok()?));
    Some(LineKey {
        at: UnixMillis::new(i64::try_from(number(0..8)?).ok()?).ok()?,
        author: ShopId::try_from(rest.get(8..40)?).ok()?,
        sequence: number(40..48)?,
        index: *rest.get(48)?,
    })
}

/// Where in the logs one and the same debt was shown.
pub(crate) fn shown_by(pair: PairId, subject: &[u8; 32]) -> Vec<u8> {
    key(SHOWN_BY, &[pair.as_bytes(), subject])
}

pub(crate) fn responses(pair: PairId) -> Vec<u8> {
    key(RESPONSE, &[pair.as_bytes()])
}

pub(crate) fn response(pair: PairId, receipt: RecordId, author: ShopId) -> Vec<u8> {
    key(RESPONSE, &[pair.as_bytes(), receipt.as_bytes(), author.as_bytes()])
}

/// The receipt and the author in a key of [`response`].
pub(crate) fn parse_response(key: &[u8]) -> Option<(RecordId, ShopId)> {
    let rest = key.get(1 + PairId::BYTES..)?;
    Some((RecordId::try_from(rest.get(..32)?).ok()?, ShopId::try_from(rest.get(32..)?).ok()?))
}

pub(crate) fn statements_of(pair: PairId, number: u32, author: ShopId) -> Vec<u8> {
    key(STATEMENT, &[pair.as_bytes(), &number.to_be_bytes(), author.as_bytes()])
}

pub(crate) fn statement(pair: PairId, number: u32, author: ShopId, sequence: u64) -> Vec<u8> {
    let (number, sequence) = (number.to_be_bytes(), sequence.to_be_bytes());
    key(STATEMENT, &[pair.as_bytes(), &number, author.as_bytes(), &sequence])
}

pub(crate) fn statement_latest(pair: PairId, author: ShopId) -> Vec<u8> {
    key(STATEMENT_LATEST, &[pair.as_bytes(), author.as_bytes()])
}

pub(crate) fn payment(pair: PairId, notice: RecordId) -> Vec<u8> {
    key(PAYMENT, &[pair.as_bytes(), notice.as_bytes()])
}

/// The ally with whom a payment is.
pub(crate) fn payment_of(notice: RecordId) -> Vec<u8> {
    key(PAYMENT_OF, &[notice.as_bytes()])
}

/// All tables of a pair that its two shops hold alike, line by line.
pub(crate) fn books(pair: PairId) -> [Vec<u8>; 5] {
    [LINE, SHOWN_BY, RESPONSE, STATEMENT, PAYMENT].map(|table| key(table, &[pair.as_bytes()]))
}

/// A receipt that its author conceded.
pub(crate) fn conceded(receipt: RecordId) -> Vec<u8> {
    key(CONCEDED, &[receipt.as_bytes()])
}

/// How much an ally may come to owe; none: all that have no limit of their own.
pub(crate) fn exposure(ally: Option<ShopId>) -> Vec<u8> {
    key(EXPOSURE, &[ally.as_ref().map_or(&[], |ally| ally.as_bytes().as_slice())])
}

/// That an ally passed the limit for warnings was noted.
pub(crate) fn exposure_noted(ally: ShopId) -> Vec<u8> {
    key(EXPOSURE_NOTED, &[ally.as_bytes()])
}

/// Up to when this shop may have signed records that nobody holds.
pub(crate) fn doubt() -> Vec<u8> {
    key(DOUBT, &[])
}

pub(crate) fn netting_rule() -> Vec<u8> {
    key(NETTING_RULE, &[])
}

/// A balance that its author disclosed, by period and pair.
pub(crate) fn balance(period: UnixMillis, low: ShopId, high: ShopId, author: ShopId) -> Vec<u8> {
    key(BALANCE, &[&period.ms().to_be_bytes(), low.as_bytes(), high.as_bytes(), author.as_bytes()])
}

pub(crate) fn balances(period: UnixMillis) -> Vec<u8> {
    key(BALANCE, &[&period.ms().to_be_bytes()])
}

/// The period, the pair and the author in a key of [`balance`].
pub(crate) fn parse_balance(key: &[u8]) -> Option<(UnixMillis, [ShopId; 3])> {
    let period = i64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
    let shop = |at: usize| ShopId::try_from(key.get(at..at + 32)?).ok();
    Some((UnixMillis::new(period).ok()?, [shop(9)?, shop(41)?, shop(73)?]))
}

pub(crate) fn runs(period: UnixMillis) -> Vec<u8> {
    key(RUN, &[&period.ms().to_be_bytes()])
}

pub(crate) fn run(period: UnixMillis, id: RecordId) -> Vec<u8> {
    key(RUN, &[&period.ms().to_be_bytes(), id.as_bytes()])
}

/// The run in a key of [`run`].
pub(crate) fn parse_run(key: &[u8]) -> Option<RecordId> {
    RecordId::try_from(key.get(9..)?).ok()
}

/// The run that a shop consented to for a period.
pub(crate) fn consent(period: UnixMillis, shop: ShopId) -> Vec<u8> {
    key(CONSENT, &[&period.ms().to_be_bytes(), shop.as_bytes()])
}

pub(crate) fn consents(period: UnixMillis) -> Vec<u8> {
    key(CONSENT, &[&period.ms().to_be_bytes()])
}

/// The shop in a key of [`consent`].
pub(crate) fn parse_consent(key: &[u8]) -> Option<ShopId> {
    ShopId::try_from(key.get(9..)?).ok()
}

/// One shop's word on a credit line that it is in: the creditor's first.
pub(crate) fn credit_word(creditor: ShopId, debtor: ShopId, author: ShopId) -> Vec<u8> {
    let by_debtor = u8::from(author == debtor);
    key(CREDIT_WORD, &[creditor.as_bytes(), debtor.as_bytes(), &[by_debtor]])
}

/// After this key come the words on later lines.
pub(crate) fn credit_words_end(creditor: ShopId, debtor: ShopId) -> Vec<u8> {
    key(CREDIT_WORD, &[creditor.as_bytes(), debtor.as_bytes(), &[0xff]])
}

/// Creditor, debtor, and whether the debtor speaks, in a key of [`credit_word`].
pub(crate) fn parse_credit_word(key: &[u8]) -> Option<(ShopId, ShopId, bool)> {
    let shop = |at: usize| ShopId::try_from(key.get(at..at + 32)?).ok();
    Some((shop(1)?, shop(33)?, *key.get(65)? == 1))
}
