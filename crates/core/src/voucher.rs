//! Vouchers: keys, tokens that verify with no network, and how one stands.

use alloc::{format, string::String, vec::Vec};
use core::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use hutong_record::{
    CardId, Money, PublicKey, RecordId, ShopId, SigningKey, TokenSignature, UnixMillis, proto,
};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::{
    code::{self, SECRET_BYTES},
    promotion::Promotion,
};

/// What the text of a QR code begins with.
const QR_PREFIX: &str = "HT1:";
/// The longest token; ours have about 165 bytes.
const TOKEN_BYTES_MAX: usize = 256;

/// Which voucher: promotion, distributor and number. No two genuine vouchers share one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VoucherKey {
    /// Its promotion.
    pub promotion: RecordId,
    /// Index of the distributor.
    pub distributor: u8,
    /// 1 to the distributor's quota.
    pub number: u32,
}

impl VoucherKey {
    /// Length of its bytes.
    pub const BYTES: usize = 37;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..32].copy_from_slice(self.promotion.as_bytes());
        bytes[32] = self.distributor;
        bytes[33..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }
}

impl fmt::Display for VoucherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.promotion, self.distributor, self.number)
    }
}

impl fmt::Debug for VoucherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "voucher {}-{}-{}", self.promotion.short(), self.distributor, self.number)
    }
}

/// Text that is not a voucher's id, QR text or typed code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the text of a voucher")]
pub struct VoucherTextError;

impl FromStr for VoucherKey {
    type Err = VoucherTextError;

    fn from_str(text: &str) -> Result<Self, VoucherTextError> {
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(VoucherTextError);
        let promotion = next()?.parse().map_err(|_| VoucherTextError)?;
        let distributor = next()?.parse().map_err(|_| VoucherTextError)?;
        let number = next()?.parse().map_err(|_| VoucherTextError)?;
        parts.next().is_none().then_some(Self { promotion, distributor, number }).ok_or(VoucherTextError)
    }
}

/// The facts that a distributor signs. Debug shows neither card nor secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoucherBody {
    /// Which voucher.
    pub key: VoucherKey,
    /// The card that it is bound to; none: bearer.
    pub card: Option<CardId>,
    /// When it was handed out.
    pub issued: UnixMillis,
    /// Good before this moment.
    pub expires: UnixMillis,
    /// What the typed code shows.
    pub secret: [u8; SECRET_BYTES],
}

impl VoucherBody {
    /// The facts alone, for a record that says which voucher was meant and lets nobody use it.
    pub(crate) fn without_secret(&self) -> proto::VoucherBody {
        proto::VoucherBody {
            promotion_id: copy(self.key.promotion.as_bytes()),
            distributor: self.key.distributor.into(),
            number: self.key.number,
            card_id: self.card.map_or_else(Default::default, |card| copy(card.as_bytes())),
            issued_unix_ms: self.issued.ms(),
            expires_unix_ms: self.expires.ms(),
            secret: Default::default(),
        }
    }
}

impl fmt::Debug for VoucherBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VoucherBody({:?})", self.key)
    }
}

/// A token as it travels: body and signature. Debug shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    body: VoucherBody,
    bytes: Vec<u8>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?})", self.body.key)
    }
}

impl Token {
    /// Signs a voucher's facts.
    pub fn sign(body: VoucherBody, key: &SigningKey) -> Self {
        let message = proto::VoucherBody { secret: copy(&body.secret), ..body.without_secret() };
        let encoded = message.encode_to_vec();
        let signature = copy(&TokenSignature::sign(key, &encoded));
        let bytes = proto::VoucherToken { body: encoded.into(), signature }.encode_to_vec();
        Self { body, bytes }
    }

    /// Reads a token; who signed it, [`Token::verify`] tells.
    pub fn parse(bytes: &[u8]) -> Result<Self, VoucherTextError> {
        if bytes.len() > TOKEN_BYTES_MAX {
            return Err(VoucherTextError);
        }
        let token = proto::VoucherToken::decode(bytes).map_err(|_| VoucherTextError)?;
        let message = proto::VoucherBody::decode(token.body.clone()).map_err(|_| VoucherTextError)?;
        // One voucher, one text: who could add bytes to it would show a genuine voucher that no record knows.
        if token.encode_to_vec() != bytes || message.encode_to_vec() != token.body {
            return Err(VoucherTextError);
        }
        let body = parse_body(&message).ok_or(VoucherTextError)?;
        Ok(Self { body, bytes: bytes.into() })
    }

    /// Reads the text of a QR code.
    pub fn parse_qr(text: &str) -> Result<Self, VoucherTextError> {
        let text = text.trim().to_ascii_uppercase();
        let encoded = text.strip_prefix(QR_PREFIX).ok_or(VoucherTextError)?;
        Self::parse(&BASE32_NOPAD.decode(encoded.as_bytes()).map_err(|_| VoucherTextError)?)
    }

    /// Whether the voucher is what `promotion` lets its distributor hand out, signed by that distributor's key.
    pub fn verify(&self, promotion: &Promotion, key: &PublicKey) -> bool {
        let body = &self.body;
        let Some(distributor) = promotion.distributor(body.key.distributor) else { return false };
        let fits = body.key.promotion == promotion.id
            && ((1..=distributor.quota).contains(&body.key.number) || hutong_record::planted!(NoQuotaCheck))
            && body.expires == promotion.expires(body.issued)
            && promotion.check_window(body.issued).is_ok()
            && (body.card.is_some() || !promotion.card_required);
        let Ok(token) = proto::VoucherToken::decode(self.bytes.as_slice()) else { return false };
        let signed = TokenSignature::verify(key, &token.body, &token.signature).is_ok();
        fits && (signed || hutong_record::planted!(NoTokenSignature))
    }

    /// The facts.
    pub const fn body(&self) -> &VoucherBody {
        &self.body
    }

    /// As it travels.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Text of its QR code: upper-case alphanumeric, so that the code stays small.
    pub fn qr_text(&self) -> String {
        format!("{QR_PREFIX}{}", BASE32_NOPAD.encode(&self.bytes))
    }

    /// The code to type in.
    pub fn code(&self) -> String {
        code::format_code(&self.body.secret)
    }
}

fn parse_body(message: &proto::VoucherBody) -> Option<VoucherBody> {
    let card = match message.card_id.as_ref() {
        [] => None,
        bytes => Some(CardId::try_from(bytes).ok()?),
    };
    Some(VoucherBody {
        key: VoucherKey {
            promotion: RecordId::try_from(message.promotion_id.as_ref()).ok()?,
            distributor: u8::try_from(message.distributor).ok()?,
            number: message.number,
        },
        card,
        issued: UnixMillis::new(message.issued_unix_ms).ok()?,
        expires: UnixMillis::new(message.expires_unix_ms).ok()?,
        secret: message.secret.as_ref().try_into().ok()?,
    })
}

fn copy(bytes: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(bytes)
}

/// What a till was shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented {
    /// The QR code's token.
    Token(Token),
    /// The typed code's secret.
    Secret([u8; SECRET_BYTES]),
    /// The text id; enough to look a voucher up, never to redeem one.
    Key(VoucherKey),
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Presented::Token",
            Self::Secret(_) => "Presented::Secret",
            Self::Key(_) => "Presented::Key",
        })
    }
}

impl FromStr for Presented {
    type Err = VoucherTextError;

    fn from_str(text: &str) -> Result<Self, VoucherTextError> {
        if text.len() > 2 * TOKEN_BYTES_MAX {
            return Err(VoucherTextError);
        }
        if let Ok(token) = Token::parse_qr(text) {
            return Ok(Self::Token(token));
        }
        if let Ok(key) = text.trim().parse() {
            return Ok(Self::Key(key));
        }
        code::parse_code(text).map(Self::Secret).map_err(|_| VoucherTextError)
    }
}

/// A voucher as this shop knows it. Kept by its distributor, redeemer, funder and credited shop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// The token.
    pub token: Token,
    /// The record that handed it out, if that has arrived.
    pub issue: Option<RecordId>,
    /// Its use, unless it was not used or the use was taken back.
    pub redemption: Option<Redemption>,
}

/// The use of a voucher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redemption {
    /// The receipt's record.
    pub id: RecordId,
    /// When.
    pub at: UnixMillis,
    /// What was bought.
    pub purchase: Money,
    /// What the voucher took off.
    pub discount: Money,
    /// Who is credited with the customer's coming.
    pub credited: ShopId,
    /// What the funder owes that shop.
    pub bounty: Money,
}

/// Where a voucher is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoucherState {
    /// In the customer's hands.
    Issued,
    /// Used.
    Redeemed,
    /// Past its time.
    Expired,
}

impl Voucher {
    /// Where it is in its life at a moment.
    pub fn state(&self, at: UnixMillis) -> VoucherState {
        match &self.redemption {
            Some(_) => VoucherState::Redeemed,
            None if at >= self.token.body().expires => VoucherState::Expired,
            None => VoucherState::Issued,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body() -> VoucherBody {
        VoucherBody {
            key: VoucherKey { promotion: RecordId::new([1; 32]), distributor: 0, number: 7 },
            card: Some(CardId::new([5; 16])),
            issued: UnixMillis::new(1_000).unwrap(),
            expires: UnixMillis::new(2_000).unwrap(),
            secret: [9; SECRET_BYTES],
        }
    }

    #[test]
    fn a_token_reads_back_from_its_qr_text() {
        let token = Token::sign(body(), &SigningKey::from_seed(&[3; 32]));
        assert_eq!(Token::parse_qr(&token.qr_text()), Ok(token.clone()));
        assert_eq!(token.qr_text().parse(), Ok(Presented::Token(token.clone())));
        assert_eq!(token.code().parse(), Ok(Presented::Secret([9; SECRET_BYTES])));
        assert_eq!(body().key.to_string().parse(), Ok(Presented::Key(body().key)));
        assert!(token.qr_text().len() < 300, "{}", token.qr_text().len());
    }

    #[test]
    fn neither_card_nor_secret_is_shown_by_debug() {
        let token = Token::sign(body(), &SigningKey::from_seed(&[3; 32]));
        let shown = format!("{token:?} {:?} {:?}", body(), Presented::Token(token.clone()));
        assert!(!shown.contains("9, 9") && !shown.contains("5, 5") && !shown.contains("0505"), "{shown}");
    }

    proptest! {
        #[test]
        fn arbitrary_text_and_bytes_never_panic(text in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = text.parse::<Presented>();
            let _ = Token::parse(&bytes);
        }
    }
}
