//! The typed code of a voucher: 80 secret bits as sixteen symbols, and two check symbols that catch every error in one
//! or two symbols, and so every swap of neighbours (a Reed-Solomon code over 32 elements, distance three).

use alloc::string::String;

/// Length of the secret behind a code.
pub const SECRET_BYTES: usize = 10;
const DATA_SYMBOLS: usize = 16;
const SYMBOLS: usize = DATA_SYMBOLS + 2;
/// Symbols between two dashes.
const GROUP: usize = 6;
/// Crockford's alphabet: no I, L, O or U, which are misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Why a typed text is not a code. Tills show the same answer for both as for an unknown voucher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Not eighteen symbols of the alphabet.
    #[error("a code has {SYMBOLS} letters and digits")]
    Form,
    /// The check symbols do not fit: a typing error.
    #[error("the code is mistyped")]
    Check,
}

/// The text to type, in three groups.
pub fn format_code(secret: &[u8; SECRET_BYTES]) -> String {
    let mut symbols = [0u8; SYMBOLS];
    symbols[..DATA_SYMBOLS].copy_from_slice(&split(secret));
    let [first, second] = remainder(&symbols);
    symbols[DATA_SYMBOLS] = first;
    symbols[DATA_SYMBOLS + 1] = second;
    let mut text = String::with_capacity(SYMBOLS + 2);
    for (index, symbol) in symbols.iter().enumerate() {
        if index > 0 && index % GROUP == 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET[usize::from(*symbol)]));
    }
    text
}

/// The secret behind a typed text. Case, spaces and dashes do not matter; O reads as 0, I and L as 1.
pub fn parse_code(text: &str) -> Result<[u8; SECRET_BYTES], CodeError> {
    let mut symbols = [0u8; SYMBOLS];
    let mut count = 0;
    for letter in text.chars().filter(|c| !matches!(c, ' ' | '-')) {
        let symbol = symbol_of(letter).ok_or(CodeError::Form)?;
        *symbols.get_mut(count).ok_or(CodeError::Form)? = symbol;
        count += 1;
    }
    if count != SYMBOLS {
        return Err(CodeError::Form);
    }
    if remainder(&symbols) != [0, 0] {
        return Err(CodeError::Check);
    }
    Ok(join(&symbols))
}

fn symbol_of(letter: char) -> Option<u8> {
    let letter = match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let position = ALPHABET.iter().position(|symbol| char::from(*symbol) == letter)?;
    u8::try_from(position).ok()
}

fn split(secret: &[u8; SECRET_BYTES]) -> [u8; DATA_SYMBOLS] {
    let mut bits = [0; 16];
    bits[6..].copy_from_slice(secret);
    let bits = u128::from_be_bytes(bits);
    core::array::from_fn(|i| (bits >> (5 * (DATA_SYMBOLS - 1 - i)) & 31).to_le_bytes()[0])
}

fn join(symbols: &[u8; SYMBOLS]) -> [u8; SECRET_BYTES] {
    let bits = symbols[..DATA_SYMBOLS].iter().fold(0u128, |bits, symbol| bits << 5 | u128::from(*symbol));
    core::array::from_fn(|i| bits.to_be_bytes()[6 + i])
}

/// The symbols, first one highest, as a polynomial over GF(32), modulo (x - a)(x - a^2) = x^2 + 6x + 8, where a = 2.
/// Over data followed by zeros it gives the check symbols; over a whole code it gives zero.
fn remainder(symbols: &[u8; SYMBOLS]) -> [u8; 2] {
    let step = |[high, low]: [u8; 2], symbol: &u8| [low ^ multiply(high, 6), symbol ^ multiply(high, 8)];
    symbols.iter().fold([0, 0], step)
}

/// Product in GF(32) with the primitive polynomial x^5 + x^2 + 1.
const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a, b, 0);
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a <<= 1;
        if a & 32 != 0 {
            a ^= 0b10_0101;
        }
        b >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn symbols(text: &str) -> Vec<char> {
        text.chars().filter(|c| *c != '-').collect()
    }

    fn reads(symbols: &[char]) -> Result<[u8; SECRET_BYTES], CodeError> {
        parse_code(&symbols.iter().collect::<String>())
    }

    fn secrets() -> impl Iterator<Item = [u8; SECRET_BYTES]> {
        (0..40u8).map(|n| {
            core::array::from_fn(|i| {
                n.wrapping_mul(97).wrapping_add(u8::try_from(i).unwrap().wrapping_mul(n + 29))
            })
        })
    }

    #[test]
    fn every_single_symbol_error_is_caught() {
        for secret in secrets() {
            let good = symbols(&format_code(&secret));
            for position in 0..SYMBOLS {
                for other in ALPHABET.iter().map(|s| char::from(*s)).filter(|s| *s != good[position]) {
                    let mut bad = good.clone();
                    bad[position] = other;
                    assert_eq!(reads(&bad), Err(CodeError::Check));
                }
            }
        }
    }

    #[test]
    fn every_swap_of_neighbours_is_caught() {
        for secret in secrets() {
            let good = symbols(&format_code(&secret));
            for position in 0..SYMBOLS - 1 {
                let mut bad = good.clone();
                bad.swap(position, position + 1);
                let expected = if bad == good { Ok(secret) } else { Err(CodeError::Check) };
                assert_eq!(reads(&bad), expected);
            }
        }
    }

    #[test]
    fn other_lengths_and_letters_are_refused() {
        let good = format_code(&[7; SECRET_BYTES]);
        for bad in ["", "U", &good[1..], &format!("{good}0"), &good.replacen('0', "é", 1)[..]] {
            if bad != good {
                assert!(parse_code(bad).is_err(), "{bad}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_code_reads_back_however_it_is_typed(secret in any::<[u8; SECRET_BYTES]>()) {
            let code = format_code(&secret);
            prop_assert_eq!(code.len(), 20);
            prop_assert_eq!(parse_code(&code), Ok(secret));
            let sloppy = code.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " ");
            prop_assert_eq!(parse_code(&sloppy), Ok(secret));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}") {
            let _ = parse_code(&text);
        }
    }
}
