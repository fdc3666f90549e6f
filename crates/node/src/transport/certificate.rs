//! The shop's key as TLS knows it: a self-signed certificate and a handshake signer.

use std::{fmt, sync::Arc};

use hutong_record::{PublicKey, SigningKey};
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

/// What a shop shows at a handshake, as server and as client: its certificate and the key behind it.
///
/// The secret stays inside [`SigningKey`]; TLS asks it for signatures.
#[derive(Clone)]
pub struct Credential {
    certified: Arc<CertifiedKey>,
    public: PublicKey,
}

impl Credential {
    /// The credential of a key. One key always gives the same certificate, byte for byte.
    pub fn new(key: Arc<SigningKey>) -> Self {
        let public = key.public();
        let signer = HandshakeKey(key);
        let certificate = self_signed(&signer);
        Self { certified: Arc::new(CertifiedKey::new(vec![certificate], Arc::new(signer))), public }
    }

    /// The key that others know the shop by.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    #[cfg(test)]
    pub(super) fn certified(&self) -> &CertifiedKey {
        &self.certified
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential of {:?}", self.public)
    }
}

impl ResolvesServerCert for Credential {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified))
    }
}

impl ResolvesClientCert for Credential {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SignatureScheme::ED25519).then(|| Arc::clone(&self.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
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
fn self_signed(key: &HandshakeKey) -> CertificateDer<'static> {
    let mut params = rcgen::CertificateParams::new(vec![CERTIFICATE_NAME.into()])
        .expect("the fixed name is a valid DNS name");
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[1]));
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.distinguished_name = rcgen::DistinguishedName::new();
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
