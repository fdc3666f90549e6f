//! Invitation links and charters are read or refused; a charter keeps its bytes, and so its id.
#![no_main]

use bytes::Bytes;
use hutong_core::{charter::Charter, invitation::InvitationLink};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(charter) = Charter::parse(Bytes::copy_from_slice(bytes)) {
        assert_eq!(charter.bytes(), bytes);
        assert_eq!(charter.id, hutong_record::alliance_id(bytes));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(link) = InvitationLink::parse(text) {
        let again = InvitationLink::parse(&link.text()).expect("what was read can be written");
        assert_eq!((again.charter, again.inviter), (link.charter, link.inviter));
    }
});
