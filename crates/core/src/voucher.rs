//! Vouchers: keys, tokens that verify with no network, and how one stands.

use alloc::{format, string::String, vec::Vec};
use core::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use hutong_record::{
    CardId, Cryptography, PublicKey, RecordId, SigningKey, StatementKind, UnixMillis, canonical, proto,
    voucher_body_hash,
};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::{
    code::{self, SECRET_BYTES},
    promotion::{Mode, Promotion},
};

mod held;
pub mod life;

pub(crate) use held::Priced;
pub use held::{Reservation, Use, UseStanding, Voucher};
pub use life::VoucherState;

/// What the text of a QR code begins with.
const QR_PREFIX: &str = "HT1:";
/// The longest token; ours have about 165 bytes, 200 where the number was moved.
const TOKEN_BYTES_MAX: usize = 256;

/// Which voucher: promotion, distributor, number, how often that number was handed out before, and how it came to the shop
/// that handed it out. No two genuine vouchers share one, and no shop can make one of another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VoucherKey {
    /// Its promotion.
    pub promotion: RecordId,
    /// Index of the distributor whose number it is from the beginning.
    pub distributor: u8,
    /// 1 to that distributor's quota.
    pub number: u32,
    /// How often the number was handed out before: expiry and revocation free it.
    pub round: u16,
    /// The move that brought the number to the shop that handed it out; none: it was that shop's from the beginning.
    pub moved_by: Option<RecordId>,
}

impl VoucherKey {
    /// In order of promotion, distributor, number and round.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let moved_by = self.moved_by.as_ref().map_or(&[][..], |by| by.as_bytes());
        let (number, round) = (self.number.to_be_bytes(), self.round.to_be_bytes());
        [self.promotion.as_bytes(), &[self.distributor][..], &number, &round, moved_by].concat()
    }

    /// The voucher under the same number after this one; none: there have been too many.
    pub fn next_round(self) -> Option<Self> {
        Some(Self { round: self.round.checked_add(1)?, ..self })
    }

    /// The voucher under the same number before this one; none: it is the first.
    pub fn round_before(self) -> Option<Self> {
        Some(Self { round: self.round.checked_sub(1)?, ..self })
    }

    fn move_id(self) -> bytes::Bytes {
        self.moved_by.map_or_else(Default::default, |by| copy(by.as_bytes()))
    }

    pub(crate) fn message(self) -> proto::VoucherId {
        proto::VoucherId {
            promotion_id: copy(self.promotion.as_bytes()),
            distributor: self.distributor.into(),
            number: self.number,
            round: self.round.into(),
            move_id: self.move_id(),
        }
    }

    pub(crate) fn parse(message: &proto::VoucherId) -> Option<Self> {
        Some(Self {
            promotion: RecordId::try_from(message.promotion_id.as_ref()).ok()?,
            distributor: u8::try_from(message.distributor).ok()?,
            number: message.number,
            round: u16::try_from(message.round).ok()?,
            moved_by: parse_move(&message.move_id)?,
        })
    }
}

/// A move that there may be.
#[expect(clippy::option_option, reason = "none at all: malformed")]
fn parse_move(id: &[u8]) -> Option<Option<RecordId>> {
    if id.is_empty() { Some(None) } else { RecordId::try_from(id).ok().map(Some) }
}

impl fmt::Display for VoucherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.promotion, self.distributor, self.number)?;
        match self.moved_by {
            None if self.round == 0 => Ok(()),
            None => write!(f, "-{}", self.round),
            Some(by) => write!(f, "-{}-{by}", self.round),
        }
    }
}

impl fmt::Debug for VoucherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promotion, distributor, number, round, moved_by } = self;
        write!(f, "voucher {}-{distributor}-{number}-{round}", promotion.short())?;
        moved_by.map_or(Ok(()), |by| write!(f, "-{}", by.short()))
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
        let round = parts.next().map_or(Ok(0), str::parse).map_err(|_| VoucherTextError)?;
        let moved_by = parts.next().map(str::parse).transpose().map_err(|_| VoucherTextError)?;
        let key = Self { promotion, distributor, number, round, moved_by };
        parts.next().is_none().then_some(key).ok_or(VoucherTextError)
    }
}

/// The facts that an issuer signs. Debug shows neither card nor secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoucherBody {
    /// Which voucher.
    pub key: VoucherKey,
    /// The place of the shop that handed it out among the distributors.
    pub issuer: u8,
    /// Designated: the place of the redeemer among the promotion's.
    pub redeemer: u8,
    /// The card that it is bound to; none: bearer.
    pub card: Option<CardId>,
    /// When it was handed out.
    pub issued: UnixMillis,
    /// Good before this moment.
    pub expires: UnixMillis,
    /// What the typed code shows.
    pub secret: [u8; SECRET_BYTES],
    /// Which of the issuer's keys signs the token.
    pub key_epoch: u32,
}

impl VoucherBody {
    fn message(&self) -> proto::VoucherBody {
        proto::VoucherBody { secret: copy(&self.secret), ..self.without_secret() }
    }

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
            round: self.key.round.into(),
            redeemer: self.redeemer.into(),
            issuer: if self.key.moved_by.is_some() { self.issuer.into() } else { 0 },
            move_id: self.key.move_id(),
            key_epoch: self.key_epoch,
        }
    }

    /// What the issuer states by its signature: all of this, in a form that can be shown to anyone.
    fn claim(&self, encoded: &[u8]) -> Vec<u8> {
        let claim = proto::VoucherClaim {
            voucher: Some(self.key.message()),
            issuer: self.issuer.into(),
            move_id: self.key.move_id(),
            body_hash: copy(&voucher_body_hash(encoded)),
            key_epoch: self.key_epoch,
        };
        claim.encode_to_vec()
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
        let encoded = body.message().encode_to_vec();
        let signature = copy(&StatementKind::VoucherClaim.sign(key, &body.claim(&encoded)));
        let bytes = proto::VoucherToken { body: encoded.into(), signature }.encode_to_vec();
        Self { body, bytes }
    }

    /// Reads a token; who signed it, [`Token::verify`] tells.
    pub fn parse(bytes: &[u8]) -> Result<Self, VoucherTextError> {
        if bytes.len() > TOKEN_BYTES_MAX {
            return Err(VoucherTextError);
        }
        // One voucher, one text: who could add bytes to it would show a genuine voucher that no record knows.
        let token: proto::VoucherToken = canonical(bytes).ok_or(VoucherTextError)?;
        let message: proto::VoucherBody = canonical(token.body).ok_or(VoucherTextError)?;
        let body = parse_body(&message).ok_or(VoucherTextError)?;
        Ok(Self { body, bytes: bytes.into() })
    }

    /// Reads the text of a QR code.
    pub fn parse_qr(text: &str) -> Result<Self, VoucherTextError> {
        let text = text.trim().to_ascii_uppercase();
        let encoded = text.strip_prefix(QR_PREFIX).ok_or(VoucherTextError)?;
        Self::parse(&BASE32_NOPAD.decode(encoded.as_bytes()).map_err(|_| VoucherTextError)?)
    }

    /// Whether the voucher is what `promotion` lets an issuer hand out, signed by that issuer's key. Whether the number
    /// was the issuer's, where it was moved, the moves tell.
    pub fn verify(&self, cryptography: &dyn Cryptography, promotion: &Promotion, key: &PublicKey) -> bool {
        self.fits(promotion)
            && (self.is_signed_by(cryptography, key) || hutong_record::planted!(NoTokenSignature))
    }

    fn fits(&self, promotion: &Promotion) -> bool {
        let body = &self.body;
        let Some(distributor) = promotion.distributor(body.key.distributor) else { return false };
        let designated = promotion.mode == Mode::Designated;
        body.key.promotion == promotion.id
            && ((1..=distributor.quota).contains(&body.key.number) || hutong_record::planted!(NoQuotaCheck))
            && promotion.distributor(body.issuer).is_some()
            && (if designated {
                usize::from(body.redeemer) < promotion.redeemers.len()
            } else {
                body.redeemer == 0
            })
            && body.expires == promotion.expires(body.issued)
            && promotion.check_window(body.issued).is_ok()
            && (body.card.is_some() || !promotion.card_required)
    }

    /// Whether the issuer's key signed it, whatever it says.
    pub(crate) fn is_signed_by(&self, cryptography: &dyn Cryptography, key: &PublicKey) -> bool {
        let signed = self.claim();
        StatementKind::VoucherClaim.verify(cryptography, key, &signed.claim, &signed.signature).is_ok()
    }

    /// What the issuer signed, to be shown to others.
    pub(crate) fn claim(&self) -> proto::SignedClaim {
        let token =
            proto::VoucherToken::decode(self.bytes.as_slice()).expect("was decoded when it was parsed");
        proto::SignedClaim { claim: self.body.claim(&token.body).into(), signature: token.signature }
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
    let (distributor, issuer) = (u8::try_from(message.distributor).ok()?, u8::try_from(message.issuer).ok()?);
    let moved_by = parse_move(&message.move_id)?;
    if moved_by.is_none() && issuer != 0 {
        return None;
    }
    Some(VoucherBody {
        key: VoucherKey {
            promotion: RecordId::try_from(message.promotion_id.as_ref()).ok()?,
            distributor,
            number: message.number,
            round: u16::try_from(message.round).ok()?,
            moved_by,
        },
        issuer: if moved_by.is_some() { issuer } else { distributor },
        redeemer: u8::try_from(message.redeemer).ok()?,
        card,
        issued: UnixMillis::new(message.issued_unix_ms).ok()?,
        expires: UnixMillis::new(message.expires_unix_ms).ok()?,
        secret: message.secret.as_ref().try_into().ok()?,
        key_epoch: message.key_epoch,
    })
}

pub(crate) fn copy(bytes: &[u8]) -> bytes::Bytes {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body() -> VoucherBody {
        VoucherBody {
            key: VoucherKey {
                promotion: RecordId::new([1; 32]),
                distributor: 0,
                number: 7,
                round: 0,
                moved_by: None,
            },
            issuer: 0,
            redeemer: 0,
            card: Some(CardId::new([5; 16])),
            issued: UnixMillis::new(1_000).unwrap(),
            expires: UnixMillis::new(2_000).unwrap(),
            secret: [9; SECRET_BYTES],
            key_epoch: 3,
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
    fn a_moved_number_and_its_round_read_back_too() {
        let key = VoucherKey { round: 3, moved_by: Some(RecordId::new([8; 32])), ..body().key };
        let token = Token::sign(
            VoucherBody { key, issuer: 0, redeemer: 2, ..body() },
            &SigningKey::from_seed(&[3; 32]),
        );
        assert_eq!(Token::parse(token.bytes()), Ok(token.clone()));
        assert_eq!(key.to_string().parse(), Ok(Presented::Key(key)));
        assert!(token.bytes().len() <= TOKEN_BYTES_MAX);
    }

    #[test]
    fn a_claim_shows_neither_card_nor_secret() {
        let token = Token::sign(body(), &SigningKey::from_seed(&[3; 32]));
        let claim = token.claim().claim;
        for hidden in [[9; SECRET_BYTES].as_slice(), &[5; 16]] {
            assert!(!claim.windows(hidden.len()).any(|part| part == hidden));
        }
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
