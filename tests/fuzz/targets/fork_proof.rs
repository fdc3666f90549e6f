//! A fork proof, an identity, a key succession, a key override, a continuation and a key are taken or refused.
#![no_main]

use hutong_record::{
    Continuation, ForkProof, Identity, KeyOverride, PublicKey, SigningKey, Succession, proto,
};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = proto::ForkProof::decode(bytes) {
        let key = SigningKey::from_seed(&[1; 32]).public();
        if let Ok(proof) = ForkProof::verify(&proof, |_, epoch| (epoch == 0).then_some(key)) {
            let [first, second] = proof.record_ids();
            assert_ne!(first, second);
        }
    }
    if let Ok(signed) = proto::SignedIdentity::decode(bytes) {
        if let Ok(identity) = Identity::verify(&signed) {
            assert_eq!(Identity::verify(identity.signed()), Ok(identity));
        }
    }
    if let Ok(rotation) = proto::KeyRotation::decode(bytes) {
        let parsed = rotation.succession.and_then(|signed| Succession::parse(&signed).ok());
        if let Some(parsed) = parsed {
            assert_eq!(Succession::parse(parsed.signed()), Ok(parsed));
        }
    }
    if let Ok(message) = proto::KeyOverride::decode(bytes) {
        if let Ok(parsed) = KeyOverride::parse(&message) {
            assert_eq!(KeyOverride::parse(parsed.message()), Ok(parsed));
        }
    }
    if let Ok(read) = Continuation::read(bytes) {
        assert_eq!(read.signed().encode_to_vec(), bytes);
    }
    if let Ok(key) = PublicKey::admit(bytes) {
        assert_eq!(key.as_bytes(), bytes);
    }
});
