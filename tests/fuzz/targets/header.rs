//! A header parses or is refused, and what parses is the one encoding of what it says.
#![no_main]

use hutong_record::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::parse(bytes) {
        assert_eq!(header.to_bytes(), bytes);
    }
});
