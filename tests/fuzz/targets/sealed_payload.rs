//! A sealed payload opens or is refused, whatever the author sealed.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use hutong_record::{AllianceId, Audience, DecryptionKey, Payload, Place, ShopId, proto::Kind};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<DecryptionKey> = LazyLock::new(|| DecryptionKey::from_seed(&[2; 32]));

fuzz_target!(|bytes: &[u8]| {
    let Ok(payload) = Payload::from_bytes(Bytes::copy_from_slice(bytes)) else { return };
    let me = ShopId::new([2; 32]);
    let place = Place {
        alliance: AllianceId::new([1; 32]),
        shop: ShopId::new([2; 32]),
        incarnation: 0,
        sequence: 1,
        kind: Kind::Sale,
    };
    let audience = Audience::parties([me, ShopId::new([3; 32])]).expect("two parties");
    if let Ok(message) = payload.open(&place, &audience, me, &KEY, &()) {
        // Whoever altered what was sealed had the shop's own key: none has.
        assert!(message.len() < bytes.len());
    }
});
