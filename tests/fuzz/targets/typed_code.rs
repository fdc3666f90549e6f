//! A typed code is read or refused; what is read is the code that was printed.
#![no_main]

use hutong_core::code::{SECRET_BYTES, format_code, parse_code};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(secret) = bytes.first_chunk::<SECRET_BYTES>() {
        assert_eq!(parse_code(&format_code(secret)), Ok(*secret));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(secret) = parse_code(text) {
        assert_eq!(parse_code(&format_code(&secret)), Ok(secret));
    }
});
