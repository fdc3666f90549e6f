//! Who may finish a handshake. The certificate's own signature and dates say nothing; its key says all.

use std::{fmt, sync::Arc};

use hutong_record::PublicKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{
    certificate::{key_of_spki, succession_in},
    door::Door,
    pin::Pin,
};

/// Lets in the keys on the door (TRA-1).
pub(super) struct DoorVerifier(pub(super) Arc<Door>);

impl fmt::Debug for DoorVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DoorVerifier")
    }
}

impl ClientCertVerifier for DoorVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let key = sole_key(certificate, chain)?;
        let caller = self.0.caller(key.as_bytes());
        let proven = || self.0.prove(&key, &succession_in(certificate)?);
        // This error, and no other, tells the client `access_denied`.
        caller.or_else(proven).ok_or(CertificateError::ApplicationVerificationFailure)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls13_only())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        proof_of_possession(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Accepts the one key that was called, or a later one of the same shop (TRA-4). It need not be on any list: an
/// invitation's link names the inviter's.
#[derive(Debug)]
pub(super) struct PinnedVerifier(pub(super) Pin);

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = sole_key(certificate, chain)?;
        let is_later =
            || succession_in(certificate).is_some_and(|succession| self.0.leads_to(&key, &succession));
        if key != self.0.key() && !is_later() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls13_only())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        proof_of_possession(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// The admitted key that a certificate shows.
pub(super) fn presented_key(certificate: &CertificateDer<'_>) -> Result<PublicKey, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let spki = parsed.subject_public_key_info();
    let bytes = key_of_spki(&spki).ok_or(CertificateError::BadEncoding)?;
    PublicKey::admit(bytes).map_err(|_| CertificateError::BadEncoding.into())
}

/// There is nobody to vouch for a shop's key, so a chain of more than one certificate is a mistake.
fn sole_key(certificate: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<PublicKey, Error> {
    if !chain.is_empty() {
        return Err(CertificateError::UnknownIssuer.into());
    }
    presented_key(certificate)
}

/// TRA-2: the signature over this very handshake, under the project's one verdict on ed25519.
fn proof_of_possession(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if signed.scheme != SignatureScheme::ED25519 {
        return Err(CertificateError::BadSignature.into());
    }
    presented_key(certificate)?
        .verify_handshake(message, signed.signature())
        .map_err(|_| CertificateError::BadSignature)?;
    Ok(HandshakeSignatureValid::assertion())
}

fn tls13_only() -> Error {
    PeerIncompatible::Tls12NotOfferedOrEnabled.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(presented_key(&CertificateDer::from(bytes)).is_err());
        }

        #[test]
        fn a_damaged_certificate_is_read_or_refused(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = certificate(*good_key().as_bytes()).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            // Whatever is read is an admitted key; its signature then has to verify.
            if let Ok(key) = presented_key(&CertificateDer::from(bytes)) {
                prop_assert_eq!(PublicKey::admit(key.as_bytes()), Ok(key));
            }
        }
    }

    fn good_key() -> PublicKey {
        hutong_record::SigningKey::from_seed(&[1; 32]).public()
    }

    /// A self-signed certificate whose key bytes the author chose.
    struct Chosen([u8; 32]);

    impl rcgen::PublicKeyData for Chosen {
        fn der_bytes(&self) -> &[u8] {
            &self.0
        }

        fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
            &rcgen::PKCS_ED25519
        }
    }

    impl rcgen::SigningKey for Chosen {
        fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            Ok(vec![0; 64])
        }
    }

    fn certificate(key: [u8; 32]) -> CertificateDer<'static> {
        rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&Chosen(key)).unwrap().into()
    }

    #[test]
    fn weak_and_malformed_keys_are_not_presented() {
        let mut identity = [0; 32];
        identity[0] = 1;
        // The order-four point, the identity, and y >= p.
        for weak in [[0; 32], identity, [0xff; 32]] {
            assert_eq!(presented_key(&certificate(weak)), Err(CertificateError::BadEncoding.into()));
        }
        assert!(presented_key(&CertificateDer::from(vec![0x30, 0x00])).is_err());
    }

    #[test]
    fn a_chain_is_refused() {
        let good = good_key();
        let certificate = certificate(*good.as_bytes());
        assert_eq!(sole_key(&certificate, &[]), Ok(good));
        let chain = [certificate.clone()];
        assert_eq!(sole_key(&certificate, &chain), Err(CertificateError::UnknownIssuer.into()));
    }
}
