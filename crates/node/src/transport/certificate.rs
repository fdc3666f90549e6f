//! The shop's key as TLS knows it: a self-signed certificate and a handshake signer.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use hutong_record::{PublicKey, SigningKey, Succession, proto::SignedKeySuccession};
use prost::Message as _;
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer},
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, Signer},
};

/// DER of a SubjectPublicKeyInfo up to the 32 key bytes (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The name in every certificate. It means nothing: the key is the identity. `.invalid` never resolves (RFC 2606).
pub(super) const CERTIFICATE_NAME: &str = "shop.invalid";

/// Where a certificate holds the succession to its key: an OID below the arc of UUIDs, which anybody may use.
const SUCCESSION_OID: [u64; 3] = [2, 25, 7_165_093_208_731_964_402];
/// The same as an extension begins in DER: its OID.
const SUCCESSION_OID_DER: [u8; 12] = [0x06, 0x0a, 0x69, 0xe3, 0xb7, 0xe1, 0xc9, 0xfa, 0x88, 0xa1, 0xa7, 0x72];
/// The longest succession that is looked at, bytes; ours have some 280.
const SUCCESSION_BYTES_MAX: usize = 512;

/// What a shop shows at a handshake, as server and as client: its certificate and the key behind it. All clones show the
/// same, also after [`Credential::renew`].
///
/// The secret stays inside [`SigningKey`]; TLS asks it for signatures.
#[derive(Clone)]
pub struct Credential(Arc<RwLock<Shown>>);

#[derive(Clone)]
struct Shown {
    certified: Arc<CertifiedKey>,
    public: PublicKey,
}

impl Credential {
    /// The credential of a key that the shop's identity names. One key always gives the same certificate, byte for byte.
    pub fn new(key: Arc<SigningKey>) -> Self {
        Self(Arc::new(RwLock::new(Shown::new(key, None))))
    }

    /// Shows the key of a later epoch from now on, with the proof that it is this shop's: whoever has not heard of the
    /// rotation can check it by the shop's identity.
    pub fn renew(&self, key: Arc<SigningKey>, succession: &Succession) {
        let shown = Shown::new(key, Some(succession));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// The key that others know the shop by.
    pub fn public(&self) -> PublicKey {
        self.shown().public
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.shown().certified
    }

    fn shown(&self) -> Shown {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shown {
    fn new(key: Arc<SigningKey>, succession: Option<&Succession>) -> Self {
        let public = key.public();
        let signer = HandshakeKey(key);
        let certificate = self_signed(&signer, succession);
        Self { certified: Arc::new(CertifiedKey::new(vec![certificate], Arc::new(signer))), public }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential of {:?}", self.public())
    }
}

impl ResolvesServerCert for Credential {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }
}

impl ResolvesClientCert for Credential {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SignatureScheme::ED25519).then(|| self.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The succession that a certificate holds, unverified. It proves itself by its signatures, so it does not matter how the
/// certificate is built around it, nor who built it.
pub(super) fn succession_in(certificate: &[u8]) -> Option<SignedKeySuccession> {
    let at = certificate.windows(SUCCESSION_OID_DER.len()).position(|bytes| *bytes == SUCCESSION_OID_DER)?;
    let rest = certificate[at + SUCCESSION_OID_DER.len()..].strip_prefix(&[0x04])?;
    let (length, rest) = match rest {
        [length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        [0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    if length > SUCCESSION_BYTES_MAX {
        return None;
    }
    SignedKeySuccession::decode(rest.get(..length)?).ok()
}

/// Reads the ed25519 key out of a SubjectPublicKeyInfo, in its one DER form.
pub(super) fn key_of_spki(spki: &[u8]) -> Option<&[u8]> {
    spki.strip_prefix(&SPKI_PREFIX)
}

/// The shop's key behind the signing traits of rustls and rcgen.
#[derive(Clone, Debug)]
struct HandshakeKey(Arc<SigningKey>);

impl rustls::sign::SigningKey for HandshakeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some([&SPKI_PREFIX[..], self.0.public().as_bytes()].concat().into())
    }
}

impl Signer for HandshakeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign_handshake(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// rcgen wants to borrow the public bytes, which the signing key hands out by value.
struct CertificateKey<'a> {
    key: &'a HandshakeKey,
    public: PublicKey,
}

impl rcgen::PublicKeyData for CertificateKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for CertificateKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.0.sign_handshake(message).to_vec())
    }
}

/// Serial and dates are fixed, and ed25519 is deterministic, so the certificate is a function of the key. Its dates
/// are never checked: how long a key counts is the roster's word.
fn self_signed(key: &HandshakeKey, succession: Option<&Succession>) -> CertificateDer<'static> {
    let mut params = rcgen::CertificateParams::new(vec![CERTIFICATE_NAME.into()])
        .expect("the fixed name is a valid DNS name");
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[1]));
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(succession) = succession {
        let content = succession.signed().encode_to_vec();
        params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&SUCCESSION_OID, content));
    }
    params
        .self_signed(&CertificateKey { key, public: key.0.public() })
        .expect("fixed parameters encode, and an ed25519 key signs anything")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(seed: u8) -> Credential {
        Credential::new(Arc::new(SigningKey::from_seed(&[seed; 32])))
    }

    #[test]
    fn one_key_gives_one_certificate() {
        assert_eq!(credential(1).certified().cert, credential(1).certified().cert);
        assert_ne!(credential(1).certified().cert, credential(2).certified().cert);
    }

    #[test]
    fn a_renewed_credential_shows_the_new_key_and_its_succession() {
        let seed = hutong_record::RecoverySeed::new([3; 32]);
        let mut rng = rand::rand_core::UnwrapErr(rand::rngs::SysRng);
        let identity = hutong_record::Identity::create(&seed, hutong_record::UnixMillis::EPOCH, &mut rng);
        let credential = Credential::new(Arc::new(SigningKey::from_seed(&seed.signing_seed())));
        let clone = credential.clone();
        assert_eq!(succession_in(&clone.certified().cert[0]), None);
        let succession = Succession::create(&seed, &identity, 1).unwrap();
        credential.renew(Arc::new(SigningKey::from_seed(&seed.signing_seed_of(1))), &succession);
        assert_eq!(clone.public(), *succession.signing_key());
        assert_eq!(clone.certified().keys_match(), Ok(()));
        let certificate = clone.certified().cert[0].to_vec();
        assert_eq!(succession_in(&certificate).as_ref(), Some(succession.signed()));
        for length in 0..certificate.len() {
            let _any = succession_in(&certificate[..length]); // read or refused
        }
    }

    #[test]
    fn certificate_and_signer_name_the_same_key() {
        assert_eq!(credential(1).certified().keys_match(), Ok(()));
    }

    #[test]
    fn only_the_exact_key_form_is_read() {
        let mut spki = [&SPKI_PREFIX[..], &[7; 32]].concat();
        assert_eq!(key_of_spki(&spki), Some(&[7; 32][..]));
        spki[8] = 0x6e; // X25519
        assert_eq!(key_of_spki(&spki), None);
    }
}
