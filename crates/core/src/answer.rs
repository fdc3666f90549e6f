//! Answers to tills, kept with the request that they answer: a repeat gets the same one for the voucher's whole life.

use alloc::{string::String, vec::Vec};

use hutong_record::{Money, RecordId, ShopId, UnixMillis, proto};
use serde::{Deserialize, Serialize};

use crate::{
    bounds,
    refusal::{Reason, Refusal},
    table,
    view::{Overlay, Reader, ViewError},
    voucher::Token,
};

/// The longest request id.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// What ties a command to a till's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTag {
    /// Chosen by the till.
    pub id: String,
    /// Fingerprint of the whole request ([`hutong_record::request_hash`]).
    pub hash: [u8; 32],
}

impl RequestTag {
    /// Checks the id: 1 to 64 printable ASCII characters.
    pub fn check(&self) -> Result<(), Refusal> {
        bounds::number("request_id", self.id.len(), 1..=REQUEST_ID_BYTES_MAX)?;
        if self.id.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(());
        }
        Err(Refusal::field("request_id", "has characters other than printable ASCII"))
    }

    pub(crate) fn message(&self) -> proto::Request {
        proto::Request { id: self.id.clone(), hash: bytes::Bytes::copy_from_slice(&self.hash) }
    }

    pub(crate) fn parse(message: Option<&proto::Request>) -> Option<Self> {
        let message = message?;
        let tag = Self { id: message.id.clone(), hash: message.hash.as_ref().try_into().ok()? };
        tag.check().is_ok().then_some(tag)
    }
}

/// What a till was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A sale was booked, or a voucher handed out.
    HandedOut {
        /// The sale's record, for a sale.
        sale: Option<RecordId>,
        /// The vouchers.
        tokens: Vec<Token>,
    },
    /// A voucher was used.
    Redeemed {
        /// The receipt's record.
        redemption: RecordId,
        /// The voucher.
        token: Token,
        /// When.
        at: UnixMillis,
        /// What to take off the purchase.
        discount: Money,
        /// Who is credited.
        credited: ShopId,
        /// What the funder owes that shop.
        bounty: Money,
        /// Uses that the voucher has left.
        uses_left: u32,
        /// Accepted at this shop's own risk.
        at_risk: bool,
    },
    /// A redemption was taken back, in part or whole.
    Voided {
        /// The voucher; in the customer's hands again unless a part was taken back.
        token: Token,
        /// What the voucher takes off what was kept.
        discount: Money,
    },
    /// The right to a voucher was passed on.
    Transferred {
        /// The voucher.
        token: Token,
        /// The new holder.
        to: ShopId,
    },
    /// A voucher was taken back.
    Revoked {
        /// The voucher.
        token: Token,
    },
    /// A use was kept free, or given up.
    Reserved {
        /// The voucher.
        token: Token,
        /// Until this moment.
        until: UnixMillis,
    },
    /// Numbers were moved.
    Moved {
        /// How many.
        count: u32,
    },
    /// A touch was noted.
    Touched {
        /// Its record.
        touch: RecordId,
    },
    /// A promotion was published.
    Published {
        /// Its record and id.
        promotion: RecordId,
    },
    /// A receipt was answered.
    Responded {
        /// The response's record.
        record: RecordId,
    },
    /// A payment was recorded.
    PaymentRecorded {
        /// Its record and id.
        payment: RecordId,
    },
    /// A payment was answered.
    PaymentAnswered {
        /// The answer's record.
        record: RecordId,
    },
    /// The attempt was refused.
    Refused(Refusal),
}

#[derive(Serialize, Deserialize)]
struct Entry {
    hash: [u8; 32],
    answer: Answer,
}

/// The answer given to a request before, if any. Another body under the same id is refused.
pub fn earlier(
    view: &(impl Reader + ?Sized),
    request: &RequestTag,
) -> Result<Result<Option<Answer>, Refusal>, ViewError> {
    let entry: Option<Entry> = table::read(view, &table::request(&request.id))?;
    Ok(match entry {
        None => Ok(None),
        Some(entry) if entry.hash != request.hash => Err(Refusal::new(Reason::RequestIdReused)),
        Some(entry) => Ok(Some(entry.answer)),
    })
}

/// Keeps an answer; hand-outs of one request add up.
pub(crate) fn keep<R: Reader + ?Sized>(
    view: &mut Overlay<'_, R>,
    request: &RequestTag,
    answer: Answer,
) -> Result<(), ViewError> {
    let key = table::request(&request.id);
    let before: Option<Entry> = table::read(view, &key)?;
    let answer = match (before.map(|entry| entry.answer), answer) {
        (
            Some(Answer::HandedOut { sale: earlier_sale, tokens: mut earlier }),
            Answer::HandedOut { sale, tokens },
        ) => {
            earlier.extend(tokens);
            Answer::HandedOut { sale: earlier_sale.or(sale), tokens: earlier }
        }
        (Some(Answer::Moved { count: earlier }), Answer::Moved { count }) => {
            Answer::Moved { count: earlier.saturating_add(count) }
        }
        (None, answer) => answer,
        (Some(first), _) => first,
    };
    table::write(view, key, &Entry { hash: request.hash, answer });
    Ok(())
}
