//! Records: header, signature, payload.

use bytes::Bytes;

use crate::{
    AllianceId, Audience, Header, HeaderError, Payload, PayloadError, RecordId, SIGNATURE_BYTES, ShopId,
    Signature, SigningKey, UnixMillis, hash, proto,
};

/// A record that is well formed: the header parses, the payload fits it by length and hash. Whether it counts is for
/// [`crate::verify_run`] and the ingest ladder to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    id: RecordId,
    header: Header,
    header_bytes: Bytes,
    signature: Option<Signature>,
    payload: Option<Payload>,
}

/// Why a message is not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The header is refused.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A signature of another length than 64, and not absent.
    #[error("a signature has {SIGNATURE_BYTES} bytes or is absent, not {0}")]
    SignatureBytes(usize),
    /// The payload is out of bounds, or of another length than the header says.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The payload is not the one that was signed.
    #[error("the payload does not match the header's hash")]
    PayloadHash,
}

impl Record {
    /// Parses a record as it travels: sizes first, then form, then the payload's length. Its hash is checked later,
    /// by [`Record::check_payload`], after the signature.
    pub fn parse(message: proto::Record) -> Result<Self, RecordError> {
        let header = Header::parse(&message.header)?;
        let signature = match message.signature.as_ref() {
            [] => None,
            bytes => Some(bytes.try_into().map_err(|_| RecordError::SignatureBytes(bytes.len()))?),
        };
        let payload = match message.payload.len() {
            0 => None,
            length if u32::try_from(length) == Ok(header.payload_bytes) => {
                Some(Payload::from_bytes(message.payload)?)
            }
            length => return Err(PayloadError::Size(length).into()),
        };
        let id = Header::id_of(&message.header);
        Ok(Self { id, header, header_bytes: message.header, signature, payload })
    }

    /// Checks the payload against the hash that the header binds. A dropped payload passes.
    pub fn check_payload(&self) -> Result<(), RecordError> {
        match &self.payload {
            Some(payload) if payload.hash() != self.header.payload_hash => Err(RecordError::PayloadHash),
            _ => Ok(()),
        }
    }

    /// As it travels. No copies are made: the parts are shared.
    pub fn to_message(&self) -> proto::Record {
        proto::Record {
            header: self.header_bytes.clone(),
            signature: self.signature.map_or(Bytes::new(), |s| Bytes::copy_from_slice(&s)),
            payload: self.payload.as_ref().map_or(Bytes::new(), |p| p.bytes().clone()),
        }
    }

    /// Its id.
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// What was signed, parsed.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What was signed, to the byte.
    pub const fn header_bytes(&self) -> &Bytes {
        &self.header_bytes
    }

    /// The signature over it, where it came with one.
    pub const fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// The payload, unless it was dropped.
    pub const fn payload(&self) -> Option<&Payload> {
        self.payload.as_ref()
    }

    /// The same record without its signature, for a run whose later record covers it.
    pub fn without_signature(self) -> Self {
        Self { signature: None, ..self }
    }

    /// The same record with its author's signature, which is the same bytes each time. The caller is its author, and has
    /// signed it before.
    pub fn signed_again(self, key: &SigningKey) -> Self {
        let signature = key.sign(hash::SIGN_HEADER, &self.header_bytes);
        Self { signature: Some(signature), ..self }
    }

    /// The same in place.
    pub(crate) const fn drop_signature(&mut self) {
        self.signature = None;
    }

    /// The signed header, as a fork proof holds it.
    pub fn signed_header(&self) -> Option<proto::SignedHeader> {
        let signature = Bytes::copy_from_slice(self.signature.as_ref()?);
        Some(proto::SignedHeader { header: self.header_bytes.clone(), signature })
    }
}

/// Everything of a record but its payload, before it is signed.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The alliance.
    pub alliance: AllianceId,
    /// The author.
    pub shop: ShopId,
    /// The author's key epoch.
    pub key_epoch: u32,
    /// The author's incarnation.
    pub incarnation: u32,
    /// The next place in the author's log.
    pub sequence: u64,
    /// The author's head; none at sequence 1.
    pub previous: Option<RecordId>,
    /// The author's clock.
    pub time: UnixMillis,
    /// What the payload holds.
    pub kind: proto::Kind,
    /// Who can read it.
    pub audience: Audience,
}

impl Draft {
    /// The header of a record with this payload, which binds both.
    pub fn header(self, payload: &Payload) -> Header {
        Header {
            alliance: self.alliance,
            shop: self.shop,
            key_epoch: self.key_epoch,
            incarnation: self.incarnation,
            sequence: self.sequence,
            previous: self.previous,
            time: self.time,
            kind: self.kind,
            audience: self.audience,
            payload_bytes: u32::try_from(payload.bytes().len()).expect("payloads are at most 64 KiB"),
            payload_hash: payload.hash(),
        }
    }
}

/// Signs a draft with its payload.
pub fn sign(draft: Draft, payload: Payload, key: &SigningKey) -> Record {
    let header = draft.header(&payload);
    let header_bytes = header.to_bytes();
    let signature = key.sign(hash::SIGN_HEADER, &header_bytes);
    Record {
        id: Header::id_of(&header_bytes),
        header,
        header_bytes,
        signature: Some(signature),
        payload: Some(payload),
    }
}
