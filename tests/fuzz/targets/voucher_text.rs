//! What a till was shown is a token, a code or an id, or is refused; what is read is written the same way.
#![no_main]

use hutong_core::voucher::{Presented, Token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(token) = Token::parse(bytes) {
        assert!(Token::parse_qr(&token.qr_text()).as_ref() == Ok(&token));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse() {
        Ok(Presented::Token(token)) => assert!(Token::parse(token.bytes()).as_ref() == Ok(&token)),
        Ok(Presented::Key(key)) => assert!(key.to_string().parse() == Ok(Presented::Key(key))),
        Ok(Presented::Secret(_)) | Err(_) => {}
    }
});
